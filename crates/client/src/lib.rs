//! bcs-client

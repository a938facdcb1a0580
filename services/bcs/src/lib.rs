//! bcs-cli

//! bcs-network

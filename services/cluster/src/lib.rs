//! bcs-cluster

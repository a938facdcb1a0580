//! bcs-discovery-sidecar

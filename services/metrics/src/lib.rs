//! bcs-metrics

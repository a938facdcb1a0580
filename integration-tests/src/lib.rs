//! bcs-integration-tests

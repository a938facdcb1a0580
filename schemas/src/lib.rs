//! bcs-schemas

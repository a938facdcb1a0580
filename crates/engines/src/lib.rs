//! bcs-engines

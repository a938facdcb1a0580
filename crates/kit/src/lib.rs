//! bcs-kit

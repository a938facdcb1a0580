//! tests soon

//! bcs-kubesim

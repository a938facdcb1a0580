//! Black-box tests and benchmarks of the platform: real processes and real servers, looked at from outside.

pub mod bench;
pub mod chaos;
pub mod harness;
pub mod journals;
pub mod ledger;
pub mod outside;

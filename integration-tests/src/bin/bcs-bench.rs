//! The program `bcs-bench`; everything is in the library.

fn main() -> std::process::ExitCode {
    bcs_integration_tests::bench::main()
}

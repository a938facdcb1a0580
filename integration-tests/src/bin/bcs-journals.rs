//! The program `bcs-journals`; everything is in the library.

fn main() -> std::process::ExitCode {
    bcs_integration_tests::journals::main()
}

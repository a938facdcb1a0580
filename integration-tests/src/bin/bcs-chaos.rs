//! The program `bcs-chaos`; everything is in the library.

fn main() -> std::process::ExitCode {
    bcs_integration_tests::chaos::main()
}

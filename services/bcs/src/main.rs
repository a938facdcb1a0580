//! The program `bcs`; everything is in the library.

fn main() -> std::process::ExitCode {
    bcs_cli::main()
}

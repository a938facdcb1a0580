//! The program `bcs`; everything is in the library.

/// Simulated clusters are millions of small objects that come and go.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> std::process::ExitCode {
    bcs_cli::main()
}

//! The program `bcs-bench`; everything is in the library.

/// As `bcs` has it: this program serves the simulated clusters that are measured.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> std::process::ExitCode {
    bcs_integration_tests::bench::main()
}

//! The `bilico` command: parses the command line, runs it, and ends with its exit code.

use std::process::ExitCode;

/// Gives freed memory back to the system within a second, which the overload byte depends on.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    bilico::cli::main()
}

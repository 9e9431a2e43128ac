//! Parse, run, exit status; the rest is in the library.

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    recount::cli::run(std::env::args_os())
}

//! Parse, run, exit status; the rest is in the library.

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // Of the libraries here each could bring a provider of its own; rustls wants to be told which holds.
    let installed = rustls::crypto::ring::default_provider().install_default();
    installed.expect("invariant: nothing has installed a provider before main");
    recount::run(std::env::args_os())
}

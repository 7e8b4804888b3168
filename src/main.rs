//! The one binary: the server, and by name or first argument its check programs.

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    russet::server::main(std::env::args_os().collect())
}

//! The one binary: the server, and by name or first argument its check programs.

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// How many pages the allocator takes at once for objects of a size.
///
/// It describes each such run by 128 bytes of its own, so a short run is dear: of a page, 3 per
/// cent. Keys with their values, small collections, the slots of tables (up to a kilobyte) and the
/// nodes of lists (8 KiB) come in great numbers and stay, and are worth long runs. Pages of
/// hashes, sets and sorted sets go through all sizes in between as they grow: long runs would be
/// left half empty.
#[expect(
    unsafe_code,
    reason = "the allocator reads its options from this symbol"
)]
#[unsafe(export_name = "_rjem_malloc_conf")]
static ALLOCATOR_OPTIONS: Option<&'static std::ffi::c_char> = {
    let options = c"slab_sizes:1-1024:16|7169-8192:16";
    // SAFETY: a string that is never freed, ending in a zero as the allocator expects.
    Some(unsafe { &*options.as_ptr() })
};

fn main() -> ExitCode {
    russet::server::main(std::env::args_os().collect())
}

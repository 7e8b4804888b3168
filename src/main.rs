//! The one binary: the server, and by name or first argument its check programs.

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// What the allocator does otherwise than by itself.
///
/// - `slab_sizes`: how many of its pages (16 KiB, see `.cargo/config.toml`) it takes at once for
///   objects of a size. It describes each such run by 384 bytes of its own, so a short run is dear.
///   Keys with their values, small collections, the slots of tables (up to a kilobyte) and the
///   nodes of lists (8 KiB) come in great numbers and stay, and are worth long runs. Pages of
///   hashes, sets and sorted sets go through all sizes in between as they grow: long runs would be
///   left half empty.
/// - `narenas_ratio`: two arenas a processor, as there are its worker and what works beside it. Of
///   itself it makes four, each with runs of its own that are left half empty; with one, threads
///   that format a big read keep the workers waiting.
/// - `dirty_decay_ms`: what is freed goes back to the system within two seconds, not ten.
#[expect(
    unsafe_code,
    reason = "the allocator reads its options from this symbol"
)]
#[unsafe(export_name = "_rjem_malloc_conf")]
static ALLOCATOR_OPTIONS: Option<&'static std::ffi::c_char> = {
    let options = c"slab_sizes:1-1024:16|7169-8192:16,narenas_ratio:2,dirty_decay_ms:2000";
    // SAFETY: a string that is never freed, ending in a zero as the allocator expects.
    Some(unsafe { &*options.as_ptr() })
};

fn main() -> ExitCode {
    russet::server::main(std::env::args_os().collect())
}

#[cfg(test)]
mod tests {
    use tikv_jemalloc_ctl::raw;

    /// Both the build's settings and ours are silently passed over where their names are wrong.
    #[test]
    #[expect(unsafe_code, reason = "these controls have no safe form")]
    fn the_allocator_is_as_it_was_asked_to_be() {
        // SAFETY: the names end in a zero byte, and the types are those the allocator documents.
        let (page, decay_ms, run, list_run) = unsafe {
            (
                raw::read::<usize>(b"arenas.page\0").unwrap(),
                raw::read::<isize>(b"opt.dirty_decay_ms\0").unwrap(),
                raw::read::<usize>(b"arenas.bin.6.slab_size\0").unwrap(),
                raw::read::<usize>(b"arenas.bin.32.slab_size\0").unwrap(),
            )
        };
        assert_eq!(page, 16 << 10);
        assert_eq!(decay_ms, 2000);
        // Of 96 bytes, a multiple of three pages, and of 8 KiB.
        assert_eq!((run, list_run), (192 << 10, 256 << 10));
        let arenas = tikv_jemalloc_ctl::arenas::narenas::read().unwrap();
        let processors = rustix::thread::sched_getaffinity(None).unwrap().count() as usize;
        // It is content with one where there is one processor; and one more may have been made for
        // what is huge.
        let wanted = if processors > 1 { 2 * processors } else { 1 };
        assert!((wanted..=wanted + 1).contains(&(arenas as usize)));
    }
}

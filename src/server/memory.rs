//! Memory in use, by the allocator's own count, and what can be asked of the allocator.
//!
//! What a thread keeps ready for itself, of what it freed, is not in use, nor is what the allocator
//! needs for that.
//!
//! `unsafe` is expected here for two controls of the allocator that have no safe wrapper: giving
//! free pages back, and the size of what threads keep.

#![expect(
    unsafe_code,
    reason = "these controls of the allocator have no safe form"
)]

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tikv_jemalloc_ctl::thread::ThreadLocal;
use tikv_jemalloc_ctl::{background_thread, epoch, raw, stats, stats_print, thread};

use super::host::Parts;
use crate::base::clock;
use crate::command::host::{Memory, MemoryReport};

/// Bytes allocated by the program, the allocator's rounding included.
pub fn used() -> u64 {
    let _ = epoch::advance();
    allocated()
}

/// Bytes allocated as of the last look at the allocator, less two kinds that the allocator counts
/// and nobody asked for: what was freed and is kept by a thread until it goes back to its arena,
/// and the lists in which each thread keeps it, some 37 kB that come and go with the thread.
fn allocated() -> u64 {
    /// Of all arenas: `MALLCTL_ARENAS_ALL` is 4096.
    const KEPT: &[u8] = b"stats.arenas.4096.tcache_bytes\0";
    const LISTS: &[u8] = b"stats.arenas.4096.internal\0";
    let of_all_arenas = |name| {
        // SAFETY: both names end in a zero byte, and these controls give a `size_t`.
        unsafe { raw::read::<usize>(name) }.unwrap_or(0)
    };
    let own = of_all_arenas(KEPT) + of_all_arenas(LISTS);
    let allocated = stats::allocated::read().unwrap_or(0);
    allocated.saturating_sub(own) as u64
}

thread_local! {
    /// What is known of the room left, see [`over`].
    static ROOM: Cell<Known> = const { Cell::new(Known { limit: 0, until: 0, at_ms: 0 }) };
    /// Where the allocator counts what this thread allocated and freed.
    static COUNTERS: Option<(ThreadLocal<u64>, ThreadLocal<u64>)> = thread::allocatedp::read()
        .ok()
        .zip(thread::deallocatedp::read().ok());
}

/// Below this limit until this thread has allocated so much, or until some time has passed.
#[derive(Clone, Copy)]
struct Known {
    limit: u64,
    until: u64,
    at_ms: i64,
}

/// Shares of the room left that a thread may fill before it looks again: others fill it, too.
const SHARES: u64 = 16;
/// How long a look at the room left is good.
const GOOD_FOR_MS: i64 = 100;

/// Bytes this thread allocated and freed since it began.
fn thread_counts() -> (u64, u64) {
    COUNTERS.with(|counters| {
        counters
            .as_ref()
            .map_or((0, 0), |(allocated, freed)| (allocated.get(), freed.get()))
    })
}

/// Bytes that this thread has allocated less those that it has freed.
pub fn thread_balance() -> i64 {
    let (allocated, freed) = thread_counts();
    allocated as i64 - freed as i64
}

/// Bytes by which the memory in use exceeds `limit`. Asking the allocator takes a while, so a
/// thread that found room enough asks again only when it has filled some of it.
pub fn over(limit: u64) -> u64 {
    let (allocated, _) = thread_counts();
    let (known, now_ms) = (ROOM.get(), clock::unix_ms());
    let fresh = (0..GOOD_FOR_MS).contains(&(now_ms - known.at_ms));
    if known.limit == limit && fresh && allocated < known.until {
        return 0;
    }
    let used = used();
    let room = limit.saturating_sub(used);
    ROOM.set(Known {
        limit,
        until: allocated + room / SHARES,
        at_ms: now_ms,
    });
    used.saturating_sub(limit)
}

/// What the allocator tells about itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AllocatorStats {
    /// Bytes allocated by the program.
    pub allocated: u64,
    /// Bytes in pages that hold allocations.
    pub active: u64,
    /// Bytes in physically resident pages.
    pub resident: u64,
}

/// The allocator's numbers of this moment.
pub fn allocator() -> AllocatorStats {
    let _ = epoch::advance();
    AllocatorStats {
        allocated: allocated(),
        active: stats::active::read().map_or(0, |n| n as u64),
        resident: stats::resident::read().map_or(0, |n| n as u64),
    }
}

/// Bytes of physical memory the process holds.
pub fn resident() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages: u64 = statm
        .split(' ')
        .nth(1)
        .and_then(|n| n.parse().ok())
        .unwrap_or(0);
    pages * rustix::param::page_size() as u64
}

impl Memory for Arc<Parts> {
    fn report(&self) -> MemoryReport {
        let a = allocator();
        let peak = self.peak_memory.fetch_max(a.allocated, Ordering::Relaxed);
        MemoryReport {
            peak: peak.max(a.allocated),
            startup: self.startup_memory.load(Ordering::Relaxed),
            log: self.engine.log.settled_bytes() as u64,
            allocated: a.allocated,
            active: a.active,
            allocator_resident: a.resident,
            resident: resident(),
        }
    }

    fn purge(&self) -> bool {
        purge()
    }

    fn allocator_text(&self) -> Vec<u8> {
        allocator_text()
    }
}

/// Whether threads of the allocator give pages back some seconds after they were freed
/// (`jemalloc-bg-thread`). Otherwise the threads of each arena do as they allocate on, and an idle
/// server keeps what it once needed.
///
/// # Errors
/// The allocator cannot start them.
pub fn give_back_in_background(wanted: bool) -> Result<(), String> {
    background_thread::write(wanted).map_err(|e| e.to_string())
}

/// Gives free pages back to the system. Whether the allocator did.
fn purge() -> bool {
    /// All arenas: `MALLCTL_ARENAS_ALL` is 4096.
    const PURGE: &std::ffi::CStr = c"arena.4096.purge";
    let nothing = std::ptr::null_mut();
    // SAFETY: the name is a C string, and this control takes and gives nothing.
    let result = unsafe {
        tikv_jemalloc_sys::mallctl(
            PURGE.as_ptr(),
            nothing,
            std::ptr::null_mut(),
            std::ptr::null_mut(),
            0,
        )
    };
    result == 0
}

/// What the allocator tells about itself, as text.
fn allocator_text() -> Vec<u8> {
    let mut text = Vec::new();
    match stats_print::stats_print(&mut text, stats_print::Options::default()) {
        Ok(()) => text,
        Err(_) => Vec::new(),
    }
}

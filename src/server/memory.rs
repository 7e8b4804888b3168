//! Memory in use, by the allocator's own count.

use tikv_jemalloc_ctl::{epoch, stats};

/// Bytes allocated by the program, the allocator's rounding included.
pub fn used() -> u64 {
    let _ = epoch::advance();
    stats::allocated::read().map_or(0, |n| n as u64)
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
        allocated: stats::allocated::read().map_or(0, |n| n as u64),
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

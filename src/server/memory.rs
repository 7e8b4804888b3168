//! Memory in use, by the allocator's own count.

use tikv_jemalloc_ctl::{epoch, stats};

/// Bytes allocated by the program, the allocator's rounding included.
pub fn used() -> u64 {
    let _ = epoch::advance();
    stats::allocated::read().map_or(0, |n| n as u64)
}

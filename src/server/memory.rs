//! Memory in use, by the allocator's own count, and what can be asked of the allocator.
//!
//! `unsafe` is expected here for one call: giving free pages back has no safe wrapper.

#![expect(unsafe_code, reason = "mallctl without arguments has no safe form")]

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tikv_jemalloc_ctl::{epoch, stats, stats_print};

use super::host::Parts;
use crate::command::host::{Memory, MemoryReport};

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

impl Memory for Arc<Parts> {
    fn report(&self) -> MemoryReport {
        let a = allocator();
        let peak = self.peak_memory.fetch_max(a.allocated, Ordering::Relaxed);
        MemoryReport {
            peak: peak.max(a.allocated),
            startup: self.startup_memory.load(Ordering::Relaxed),
            log: self.engine.log.memory_bytes() as u64,
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

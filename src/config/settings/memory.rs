//! Memory limits, eviction, lazy freeing, expiry.

use super::super::types::MaxmemoryPolicy;
use super::{Directive, Flags, Honour, INT_MAX, Int, OneOf, Slot, YesNo};

const NO_DEFRAG: Honour = Honour::NoEffect("it qualifies activedefrag, which is refused");

group! {
    /// Memory limits, eviction, lazy freeing, expiry.
    Memory in memory {
        /// The most memory to use; 0 for no limit.
        "maxmemory" = maxmemory: u64 = 0, Int::memory(0, i64::MAX);
        /// Which keys make room when `maxmemory` is reached.
        "maxmemory-policy" = maxmemory_policy: MaxmemoryPolicy = MaxmemoryPolicy::NoEviction,
            OneOf::<MaxmemoryPolicy>::new();
        /// Keys looked at to choose one for eviction.
        "maxmemory-samples" = maxmemory_samples: u32 = 5, Int::range(1, 64);
        /// How much time eviction may take, 0 to 100.
        "maxmemory-eviction-tenacity" = maxmemory_eviction_tenacity: u32 = 10,
            Int::range(0, 100);
        /// How slowly the counter of accesses of an LFU policy grows.
        "lfu-log-factor" = lfu_log_factor: u32 = 10, Int::range(0, INT_MAX);
        /// Minutes after which the counter of accesses of an LFU policy is lowered.
        "lfu-decay-time" = lfu_decay_time_minutes: u32 = 1, Int::range(0, INT_MAX);
        /// A replica leaves the memory limit to its primary.
        "replica-ignore-maxmemory" | "slave-ignore-maxmemory" = replica_ignore_maxmemory: bool =
            true, YesNo;
        /// How much work active expiry does, 1 to 10.
        "active-expire-effort" = active_expire_effort: u32 = 1, Int::range(1, 10);
        /// Free evicted values in the background.
        "lazyfree-lazy-eviction" = lazyfree_lazy_eviction: bool = false, YesNo;
        /// Free expired values in the background.
        "lazyfree-lazy-expire" = lazyfree_lazy_expire: bool = false, YesNo;
        /// Free values that a command replaces in the background.
        "lazyfree-lazy-server-del" = lazyfree_lazy_server_del: bool = false, YesNo;
        /// DEL frees in the background, as UNLINK does.
        "lazyfree-lazy-user-del" = lazyfree_lazy_user_del: bool = false, YesNo;
        /// FLUSHALL, FLUSHDB, SCRIPT FLUSH and FUNCTION FLUSH without SYNC or ASYNC free in the
        /// background.
        "lazyfree-lazy-user-flush" = lazyfree_lazy_user_flush: bool = false, YesNo;
        /// Move tables to larger ones in the background.
        "activerehashing" = activerehashing: bool = true, YesNo
            => Honour::NoEffect("a table grows a segment at a time; none is ever rehashed");
        /// Let the allocator give memory back in the background.
        "jemalloc-bg-thread" = jemalloc_bg_thread: bool = true, YesNo;
        /// Defragment memory while the server runs.
        "activedefrag" = activedefrag: bool = false, YesNo
            => Honour::Refused("Active defragmentation cannot be enabled: it requires a Redis \
                server compiled with a modified Jemalloc like the one shipped by default with \
                the Redis source distribution");
        /// Fragmentation in bytes below which nothing is defragmented.
        "active-defrag-ignore-bytes" = active_defrag_ignore_bytes: u64 = 100 << 20,
            Int::memory(1, i64::MAX) => NO_DEFRAG;
        /// Fragmentation in percent at which defragmentation begins.
        "active-defrag-threshold-lower" = active_defrag_threshold_lower: u32 = 10,
            Int::range(0, 1000) => NO_DEFRAG;
        /// Fragmentation in percent at which defragmentation does its utmost.
        "active-defrag-threshold-upper" = active_defrag_threshold_upper: u32 = 100,
            Int::range(0, 1000) => NO_DEFRAG;
        /// Least share of a CPU for defragmentation.
        "active-defrag-cycle-min" = active_defrag_cycle_min: u32 = 1, Int::range(1, 99)
            => NO_DEFRAG;
        /// Largest share of a CPU for defragmentation.
        "active-defrag-cycle-max" = active_defrag_cycle_max: u32 = 25, Int::range(1, 99)
            => NO_DEFRAG;
        /// Size of a collection above which it is defragmented in steps.
        "active-defrag-max-scan-fields" = active_defrag_max_scan_fields: u64 = 1000,
            Int::range(1, i64::MAX) => NO_DEFRAG;
    }
}

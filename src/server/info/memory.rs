//! The section Memory.

use std::sync::atomic::Ordering;

use crate::command::evict::lagging_of;
use crate::config::Choice;

use super::super::host::Parts;
use super::super::memory::AllocatorStats;
use super::line;

/// Bytes as a person reads them: `1.50M`.
pub fn human(bytes: u64) -> String {
    const UNITS: [(u64, &str); 5] = [
        (1 << 50, "P"),
        (1 << 40, "T"),
        (1 << 30, "G"),
        (1 << 20, "M"),
        (1 << 10, "K"),
    ];
    for (size, unit) in UNITS {
        if bytes >= size {
            return format!("{:.2}{unit}", bytes as f64 / size as f64);
        }
    }
    format!("{bytes}B")
}

fn ratio(a: u64, b: u64) -> f64 {
    if b == 0 { 0.0 } else { a as f64 / b as f64 }
}

/// The memory in use at one instant.
#[derive(Default)]
pub struct Used {
    allocator: AllocatorStats,
    resident: u64,
    log: u64,
    /// The log without what replicas that keep up have in an instant.
    settled_log: u64,
}

impl Used {
    /// Looks until the log is as large behind the look at the allocator as before it: what a
    /// replica that leaves gives back at once must not be in one figure and missing in the other.
    pub fn now(parts: &Parts) -> Used {
        const LOOKS: usize = 5;
        let log_bytes = || parts.engine.log.memory_bytes() as u64;
        let mut used = Used::default();
        for _ in 0..LOOKS {
            used.log = log_bytes();
            let usage = parts.usage.now();
            (used.allocator, used.resident) = (usage.allocator, usage.resident);
            if used.log == log_bytes() {
                break;
            }
        }
        used.settled_log = used.log.min(parts.engine.log.settled_bytes() as u64);
        used
    }
}

/// `# Memory`, with what was in use before the reply was begun.
pub fn memory(parts: &Parts, used: &Used, out: &mut String) {
    let (a, resident, log) = (&used.allocator, used.resident, used.settled_log);
    let settings = parts.engine.config.settings();
    let peak = parts
        .peak_memory
        .fetch_max(a.allocated, Ordering::Relaxed)
        .max(a.allocated);
    let total = rustix::system::sysinfo();
    let total = total.totalram as u64 * u64::from(total.mem_unit);
    let startup = parts.startup_memory.load(Ordering::Relaxed);
    let dataset = a.allocated.saturating_sub(startup);
    out.push_str("# Memory\r\n");
    line(out, "used_memory", a.allocated);
    line(out, "used_memory_human", human(a.allocated));
    line(out, "used_memory_rss", resident);
    line(out, "used_memory_rss_human", human(resident));
    line(out, "used_memory_peak", peak);
    line(out, "used_memory_peak_human", human(peak));
    let share = |part: u64, of: u64| format!("{:.2}%", ratio(part, of) * 100.0);
    line(out, "used_memory_peak_perc", share(a.allocated, peak));
    line(out, "used_memory_overhead", startup);
    line(out, "used_memory_startup", startup);
    line(out, "used_memory_dataset", dataset);
    line(out, "used_memory_dataset_perc", share(dataset, a.allocated));
    line(out, "allocator_allocated", a.allocated);
    line(out, "allocator_active", a.active);
    line(out, "allocator_resident", a.resident);
    line(out, "allocator_muzzy", 0);
    line(out, "total_system_memory", total);
    line(out, "total_system_memory_human", human(total));
    line(out, "maxmemory", settings.memory.maxmemory);
    line(out, "maxmemory_human", human(settings.memory.maxmemory));
    line(
        out,
        "maxmemory_policy",
        settings.memory.maxmemory_policy.as_str(),
    );
    fragmentation(a, resident, out);
    let not_counted = lagging_of(used.log, &settings);
    line(out, "mem_not_counted_for_evict", not_counted);
    line(out, "mem_replication_backlog", log);
    line(out, "mem_total_replication_buffers", log);
    let held = &parts.replication.reservoir.size;
    line(
        out,
        "mem_replica_full_sync_buffer",
        held.load(Ordering::Relaxed),
    );
    // A replica that has been killed holds nothing back, though its worker may not know yet.
    let replicas = parts.replication.replicas.all();
    let read_by_replicas = if replicas.iter().all(|r| r.client.is_killed()) {
        0
    } else {
        lagging_of(log, &settings)
    };
    line(out, "mem_clients_slaves", read_by_replicas);
    line(out, "mem_clients_normal", clients_bytes(parts));
    // No table is ever moved as a whole.
    line(out, "mem_overhead_db_hashtable_rehashing", 0);
    line(out, "mem_cluster_links", 0);
    line(out, "mem_aof_buffer", 0);
    line(out, "mem_allocator", "jemalloc-5.3.0");
    line(out, "active_defrag_running", 0);
    let lazy = &parts.lazyfree;
    line(
        out,
        "lazyfree_pending_objects",
        lazy.pending.load(Ordering::Relaxed),
    );
    line(out, "lazyfreed_objects", lazy.freed.load(Ordering::Relaxed));
}

/// What the connections take that are neither replicas nor primaries.
fn clients_bytes(parts: &Parts) -> u64 {
    parts.engine.clients.account_all()
}

/// The part of Memory that compares what is used with what is held.
fn fragmentation(a: &AllocatorStats, resident: u64, out: &mut String) {
    let two_digits = |x: f64| format!("{x:.2}");
    line(
        out,
        "allocator_frag_ratio",
        two_digits(ratio(a.active, a.allocated)),
    );
    line(
        out,
        "allocator_frag_bytes",
        a.active.saturating_sub(a.allocated),
    );
    line(
        out,
        "allocator_rss_ratio",
        two_digits(ratio(a.resident, a.active)),
    );
    line(
        out,
        "allocator_rss_bytes",
        a.resident.saturating_sub(a.active),
    );
    line(
        out,
        "rss_overhead_ratio",
        two_digits(ratio(resident, a.resident)),
    );
    line(
        out,
        "rss_overhead_bytes",
        resident as i64 - a.resident as i64,
    );
    line(
        out,
        "mem_fragmentation_ratio",
        two_digits(ratio(resident, a.allocated)),
    );
    line(
        out,
        "mem_fragmentation_bytes",
        resident as i64 - a.allocated as i64,
    );
}

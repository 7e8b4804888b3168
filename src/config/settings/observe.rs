//! Slow log, latency, notifications, tracking.

use super::super::special::{Events, Percentiles};
use super::super::types::NotifyClasses;
use super::{Directive, Flags, Honour, Int, Slot, YesNo};

group! {
    /// Slow log, latency, notifications, tracking.
    Observe in observe {
        /// Microseconds from which a command is slow; 0 for every command, -1 for none.
        "slowlog-log-slower-than" = slowlog_log_slower_than_us: i64 = 10_000,
            Int::range(-1, i64::MAX);
        /// Entries kept in the slow log.
        "slowlog-max-len" = slowlog_max_len: u64 = 128, Int::range(0, i64::MAX);
        /// Milliseconds from which an event is kept by the latency monitor; 0 for none.
        "latency-monitor-threshold" = latency_monitor_threshold_ms: u64 = 0,
            Int::range(0, i64::MAX);
        /// Keep a histogram of the latency of each command.
        "latency-tracking" = latency_tracking: bool = true, YesNo;
        /// Percentiles that INFO latencystats shows.
        "latency-tracking-info-percentiles" = latency_tracking_info_percentiles: Vec<f64> =
            vec![50.0, 99.0, 99.9], Percentiles;
        /// Classes of events published about keys.
        "notify-keyspace-events" = notify_keyspace_events: NotifyClasses =
            NotifyClasses::default(), Events;
        /// Most keys remembered for client-side caching; 0 for no limit.
        "tracking-table-max-keys" = tracking_table_max_keys: u64 = 1_000_000,
            Int::range(0, i64::MAX)
            => Honour::Refused("client-side caching is not available in this version of Russet");
    }
}

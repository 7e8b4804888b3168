//! The sections Commandstats, Errorstats and Latencystats.

use std::fmt::Write as _;

use super::super::host::Parts;

/// `# Commandstats`
pub fn commandstats(parts: &Parts, out: &mut String) {
    out.push_str("# Commandstats\r\n");
    for c in parts.engine.table.all() {
        let t = parts.engine.stats.command(c.spec.id);
        if t.calls == 0 && t.rejected == 0 {
            continue;
        }
        let usec = t.nanos / 1000;
        let each = if t.calls == 0 {
            0.0
        } else {
            t.nanos as f64 / 1000.0 / t.calls as f64
        };
        let _ = write!(
            out,
            "cmdstat_{}:calls={},usec={usec},usec_per_call={each:.2},rejected_calls={},\
             failed_calls={}\r\n",
            c.spec.full_name, t.calls, t.rejected, t.failed
        );
    }
}

/// `# Errorstats`
pub fn errorstats(parts: &Parts, out: &mut String) {
    out.push_str("# Errorstats\r\n");
    for (code, count) in parts.engine.stats.error_codes() {
        let _ = write!(out, "errorstat_{code}:count={count}\r\n");
    }
}

/// `# Latencystats`
pub fn latencystats(parts: &Parts, out: &mut String) {
    out.push_str("# Latencystats\r\n");
    let settings = parts.engine.config.settings();
    if !settings.observe.latency_tracking {
        return;
    }
    for c in parts.engine.table.all() {
        let buckets = parts.engine.stats.latency(c.spec.id);
        let total: u64 = buckets.iter().map(|(_, n)| n).sum();
        if total == 0 {
            continue;
        }
        let _ = write!(out, "latency_percentiles_usec_{}:", c.spec.full_name);
        let percentiles = &settings.observe.latency_tracking_info_percentiles;
        let shown: Vec<String> = percentiles
            .iter()
            .map(|p| format!("p{p}={:.3}", percentile(&buckets, total, *p)))
            .collect();
        let _ = write!(out, "{}\r\n", shown.join(","));
    }
}

/// Microseconds that `percent` of the calls did not exceed, by the upper bound of their bucket.
fn percentile(buckets: &[(u64, u64)], total: u64, percent: f64) -> f64 {
    let wanted = (total as f64 * percent / 100.0).ceil() as u64;
    let mut seen = 0;
    for (nanos, count) in buckets {
        seen += count;
        if seen >= wanted {
            return *nanos as f64 / 1000.0;
        }
    }
    buckets
        .last()
        .map_or(0.0, |(nanos, _)| *nanos as f64 / 1000.0)
}

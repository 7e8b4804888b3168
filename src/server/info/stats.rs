//! The sections Persistence, Stats and Replication.

use std::sync::atomic::Ordering;

use crate::base::clock;
use crate::client::Registry;
use crate::command::stats::Totals;
use crate::persist::aof::control::State;

use super::super::host::Parts;
use super::super::rates::{self, PerSecond};
use super::line;

fn status(ok: bool) -> &'static str {
    if ok { "ok" } else { "err" }
}

/// `# Persistence`
pub fn persistence(parts: &Parts, out: &mut String) {
    let s = &parts.saver.status;
    let loading = parts.load.active.load(Ordering::Relaxed);
    let in_progress = s.in_progress.load(Ordering::Relaxed);
    let now_s = clock::unix_ms() / 1000;
    let began = s.began_s.load(Ordering::Relaxed);
    let current = if in_progress && began > 0 {
        now_s - began
    } else {
        -1
    };
    out.push_str("# Persistence\r\n");
    let beside = loading && parts.load.beside.load(Ordering::Relaxed);
    line(out, "loading", i32::from(loading && !beside));
    line(out, "async_loading", i32::from(beside));
    line(out, "current_cow_peak", 0);
    line(out, "current_cow_size", 0);
    line(out, "current_cow_size_age", 0);
    let (done, total) = parts.saver.progress();
    let share = if total == 0 {
        0.0
    } else {
        done as f64 * 100.0 / total as f64
    };
    line(out, "current_fork_perc", format_args!("{share:.2}"));
    line(out, "current_save_keys_processed", done);
    line(out, "current_save_keys_total", total);
    line(
        out,
        "rdb_changes_since_last_save",
        parts.engine.keyspace.dirty(),
    );
    line(out, "rdb_bgsave_in_progress", i32::from(in_progress));
    line(
        out,
        "rdb_last_save_time",
        s.last_save_s.load(Ordering::Relaxed),
    );
    line(
        out,
        "rdb_last_bgsave_status",
        status(s.last_ok.load(Ordering::Relaxed)),
    );
    line(
        out,
        "rdb_last_bgsave_time_sec",
        s.last_seconds.load(Ordering::Relaxed),
    );
    line(out, "rdb_current_bgsave_time_sec", current);
    line(out, "rdb_saves", s.saves.load(Ordering::Relaxed));
    line(out, "rdb_last_cow_size", 0);
    line(
        out,
        "rdb_last_load_keys_expired",
        parts.load.keys_expired.load(Ordering::Relaxed),
    );
    line(
        out,
        "rdb_last_load_keys_loaded",
        parts.load.keys_loaded.load(Ordering::Relaxed),
    );
    append_only(parts, now_s, out);
    if loading {
        load(parts, now_s, out);
    }
}

/// The part of Persistence that tells of the AOF.
fn append_only(parts: &Parts, now_s: i64, out: &mut String) {
    let aof = parts.aof.info();
    let current_s = aof.rewrite_began_s.map_or(-1, |began| now_s - began);
    line(out, "aof_enabled", i32::from(aof.state != State::Off));
    line(out, "aof_rewrite_in_progress", i32::from(aof.rewriting));
    line(out, "aof_rewrite_scheduled", i32::from(aof.scheduled));
    line(out, "aof_last_rewrite_time_sec", aof.last_rewrite_s);
    line(out, "aof_current_rewrite_time_sec", current_s);
    line(
        out,
        "aof_last_bgrewrite_status",
        status(aof.last_rewrite_ok),
    );
    line(out, "aof_rewrites", aof.rewrites);
    line(
        out,
        "aof_rewrites_consecutive_failures",
        aof.failures_in_a_row,
    );
    line(
        out,
        "aof_last_write_status",
        status(parts.aof.write_error().is_none()),
    );
    line(out, "aof_last_cow_size", 0);
    line(out, "module_fork_in_progress", 0);
    line(out, "module_fork_last_cow_size", 0);
    if aof.state != State::Off {
        let s = parts.aof.status();
        line(out, "aof_current_size", aof.current_bytes);
        line(out, "aof_base_size", aof.base_bytes);
        line(out, "aof_pending_rewrite", 0);
        // What the file has is looked at first: it does not pass the end of the stream.
        let written = parts.engine.log.durability().written_offset();
        let end = parts.engine.log.end_offset();
        line(out, "aof_buffer_length", end.saturating_sub(written));
        line(out, "aof_pending_bio_fsync", i32::from(s.is_sync_pending()));
        line(out, "aof_delayed_fsync", s.delayed_fsyncs());
    }
}

/// The part of Persistence that tells of a load that goes on.
fn load(parts: &Parts, now_s: i64, out: &mut String) {
    let (total, loaded) = (&parts.load.total_bytes, &parts.load.loaded_bytes);
    let (total, loaded) = (
        total.load(Ordering::Relaxed),
        loaded.load(Ordering::Relaxed),
    );
    let began = parts.load.began_s.load(Ordering::Relaxed);
    let elapsed = (now_s - began).max(0) as u64;
    let share = if total == 0 {
        0.0
    } else {
        loaded as f64 * 100.0 / total as f64
    };
    let eta = (elapsed * total.saturating_sub(loaded))
        .checked_div(loaded)
        .unwrap_or(1);
    line(out, "loading_start_time", began);
    line(out, "loading_total_bytes", total);
    line(out, "loading_rdb_used_mem", 0);
    line(out, "loading_loaded_bytes", loaded);
    line(out, "loading_loaded_perc", format_args!("{share:.2}"));
    line(out, "loading_eta_seconds", eta);
}

/// `# Stats`
pub fn stats(parts: &Parts, out: &mut String) {
    let engine = &parts.engine;
    let t = engine.stats.totals();
    let rates = parts.rates.current();
    out.push_str("# Stats\r\n");
    line(
        out,
        "total_connections_received",
        engine.clients.accepted.load(Ordering::Relaxed),
    );
    line(out, "total_commands_processed", t.processed);
    line(out, "instantaneous_ops_per_sec", rates.commands);
    line(out, "total_net_input_bytes", t.bytes_in);
    line(out, "total_net_output_bytes", t.bytes_out);
    let repl = &parts.replication.stats;
    line(
        out,
        "total_net_repl_input_bytes",
        repl.bytes_in.load(Ordering::Relaxed),
    );
    line(
        out,
        "total_net_repl_output_bytes",
        repl.bytes_out.load(Ordering::Relaxed),
    );
    line(
        out,
        "instantaneous_input_kbps",
        format_args!("{:.2}", rates.bytes_in as f64 / 1024.0),
    );
    line(
        out,
        "instantaneous_output_kbps",
        format_args!("{:.2}", rates.bytes_out as f64 / 1024.0),
    );
    line(
        out,
        "instantaneous_input_repl_kbps",
        format_args!("{:.2}", rates.replication_in as f64 / 1024.0),
    );
    line(
        out,
        "instantaneous_output_repl_kbps",
        format_args!("{:.2}", rates.replication_out as f64 / 1024.0),
    );
    line(
        out,
        "rejected_connections",
        engine.clients.rejected.load(Ordering::Relaxed),
    );
    line(out, "sync_full", repl.full.load(Ordering::Relaxed));
    line(
        out,
        "sync_partial_ok",
        repl.partial_ok.load(Ordering::Relaxed),
    );
    line(
        out,
        "sync_partial_err",
        repl.partial_err.load(Ordering::Relaxed),
    );
    keys_and_channels(parts, &t, out);
    reads_and_writes(parts, &t, out);
    buffers(&parts.engine.clients, out);
    cycles(parts, &t, &rates, out);
}

/// How often clients were read from and written to. Redis's threaded ones are those of other
/// threads than its first.
fn reads_and_writes(parts: &Parts, t: &Totals, out: &mut String) {
    let (reads, writes) = parts.engine.stats.thread_io(0);
    let beside = |all: u64, first: u64| all.saturating_sub(first);
    for (name, n) in [
        ("total_reads_processed", t.cycles),
        ("total_writes_processed", t.writes),
        ("io_threaded_reads_processed", beside(t.cycles, reads)),
        ("io_threaded_writes_processed", beside(t.writes, writes)),
    ] {
        line(out, name, n);
    }
}

/// What became of the buffers of clients. The room for replies is that which `rbs` of CLIENT LIST
/// shows.
fn buffers(clients: &Registry, out: &mut String) {
    for (name, n) in [
        (
            "client_query_buffer_limit_disconnections",
            &clients.over_input_limit,
        ),
        (
            "client_output_buffer_limit_disconnections",
            &clients.over_output_limit,
        ),
        ("reply_buffer_shrinks", &clients.reply_room_given_back),
        ("reply_buffer_expands", &clients.reply_room_grown),
    ] {
        line(out, name, n.load(Ordering::Relaxed));
    }
}

/// The part of Stats that tells of the rounds of cron and of the workers.
fn cycles(parts: &Parts, t: &Totals, now: &PerSecond, out: &mut String) {
    let stats = &parts.engine.stats;
    line(out, "eventloop_cycles", rates::cycles(stats, t));
    let commands = stats.command_nanos();
    let busy = rates::busy_nanos(stats, commands);
    line(out, "eventloop_duration_sum", busy / 1000);
    line(out, "eventloop_duration_cmd_sum", commands / 1000);
    line(out, "instantaneous_eventloop_cycles_per_sec", now.cycles);
    let each = now.busy_us.checked_div(now.cycles).unwrap_or(0);
    line(out, "instantaneous_eventloop_duration_usec", each);
}

/// `# Debug`: what only its name asks for.
pub fn debug(parts: &Parts, out: &mut String) {
    let stats = &parts.engine.stats;
    let slowest = parts
        .engine
        .table
        .all()
        .filter_map(|c| stats.latency(c.spec.id).pop());
    let slowest = slowest.map(|(nanos, _)| nanos).max().unwrap_or(0);
    let cron = &stats.cron;
    let longest = cron.longest_nanos.load(Ordering::Relaxed).max(slowest);
    out.push_str("# Debug\r\n");
    // The append-only file is written by a thread of its own.
    line(out, "eventloop_duration_aof_sum", 0);
    let cron_us = cron.nanos.load(Ordering::Relaxed) / 1000;
    line(out, "eventloop_duration_cron_sum", cron_us);
    line(out, "eventloop_duration_max", longest / 1000);
    line(out, "eventloop_cmd_per_cycle_max", stats.longest_batch());
}

/// The part of Stats that tells of keys, channels and what is counted beside them.
fn keys_and_channels(parts: &Parts, t: &Totals, out: &mut String) {
    line(out, "expired_subkeys", t.expired_fields);
    line(out, "expired_keys", t.expired);
    line(out, "expired_stale_perc", "0.00");
    line(out, "expired_time_cap_reached_count", 0);
    line(out, "expire_cycle_cpu_milliseconds", 0);
    line(
        out,
        "evicted_keys",
        parts.engine.eviction.evicted.load(Ordering::Relaxed),
    );
    let evicted = parts.engine.clients.evicted.load(Ordering::Relaxed);
    line(out, "evicted_clients", evicted);
    line(out, "evicted_scripts", 0);
    line(out, "total_eviction_exceeded_time", 0);
    line(out, "current_eviction_exceeded_time", 0);
    line(out, "keyspace_hits", t.hits);
    line(out, "keyspace_misses", t.misses);
    line(out, "pubsub_channels", 0);
    line(out, "pubsub_patterns", 0);
    line(out, "pubsubshard_channels", 0);
    line(out, "latest_fork_usec", 0);
    line(
        out,
        "total_forks",
        parts.engine.stats.background_jobs.load(Ordering::Relaxed),
    );
    line(out, "migrate_cached_sockets", 0);
    let own_expiries = parts.engine.own_expiries.len();
    line(out, "slave_expires_tracked_keys", own_expiries);
    for name in [
        "active_defrag_hits",
        "active_defrag_misses",
        "active_defrag_key_hits",
        "active_defrag_key_misses",
    ] {
        line(out, name, 0);
    }
    line(out, "total_active_defrag_time", 0);
    line(out, "current_active_defrag_time", 0);
    line(out, "tracking_total_keys", 0);
    line(out, "tracking_total_items", 0);
    line(out, "tracking_total_prefixes", 0);
    line(
        out,
        "unexpected_error_replies",
        parts
            .replication
            .stats
            .unexpected_errors
            .load(Ordering::Relaxed),
    );
    line(out, "total_error_replies", t.errors);
    line(out, "dump_payload_sanitizations", 0);
}

/// `# Replication`
pub fn replication(parts: &Parts, out: &mut String) {
    out.push_str(&parts.replication.info());
}

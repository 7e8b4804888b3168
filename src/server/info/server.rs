//! The sections Server, Clients and CPU.

use std::sync::OnceLock;
use std::sync::atomic::Ordering;

use crate::base::clock;
use crate::client::registry::Survey;
use crate::config::{Choice, REDIS_VERSION};
use crate::keyspace::locks::{SHARDS, ShardMask};

use super::super::host::Parts;
use super::super::usage::processor_seconds;
use super::line;

/// `# Server`
pub fn server(parts: &Parts, out: &mut String) {
    let settings = parts.engine.config.settings();
    let now_us = clock::unix_us();
    let uptime_s = (now_us / 1000 - parts.engine.started_ms.load(Ordering::Relaxed)) / 1000;
    out.push_str("# Server\r\n");
    line(out, "redis_version", REDIS_VERSION);
    line(out, "redis_git_sha1", "00000000");
    line(out, "redis_git_dirty", 0);
    line(out, "redis_build_id", "0");
    line(out, "redis_mode", "standalone");
    line(out, "os", system_name());
    line(out, "arch_bits", usize::BITS);
    line(out, "monotonic_clock", "X86 TSC or POSIX clock_gettime");
    line(out, "multiplexing_api", "epoll");
    line(out, "atomicvar_api", "rust-std");
    line(out, "gcc_version", "0.0.0");
    line(out, "server_name", "russet");
    line(out, "russet_version", super::super::VERSION);
    line(out, "process_id", std::process::id());
    line(
        out,
        "process_supervised",
        settings.process.supervised.as_str(),
    );
    line(out, "run_id", parts.run_id.as_str());
    line(out, "tcp_port", settings.network.port);
    line(out, "server_time_usec", now_us);
    line(out, "uptime_in_seconds", uptime_s);
    line(out, "uptime_in_days", uptime_s / 86400);
    line(out, "hz", settings.process.hz);
    line(out, "configured_hz", settings.process.hz);
    line(out, "lru_clock", clock::lru_seconds_at(now_us / 1000));
    if let Some(ms) = parts.shutdown.waits_ms() {
        line(out, "shutdown_in_milliseconds", ms);
    }
    line(out, "executable", parts.executable.as_str());
    let file = parts.engine.config.file();
    line(
        out,
        "config_file",
        file.map(|f| f.display().to_string()).unwrap_or_default(),
    );
    line(
        out,
        "io_threads_active",
        i32::from(settings.network.io_threads > 1),
    );
    let bind: Vec<String> = settings
        .network
        .bind
        .iter()
        .map(|b| format!("bind={b}"))
        .collect();
    let mut listener = 0;
    if settings.network.port != 0 {
        line(
            out,
            "listener0",
            format_args!("name=tcp,{},port={}", bind.join(","), settings.network.port),
        );
        listener += 1;
    }
    if let Some(path) = &settings.network.unixsocket {
        line(
            out,
            &format!("listener{listener}"),
            format_args!("name=unix,bind={}", path.display()),
        );
    }
}

fn system_name() -> &'static str {
    static NAME: OnceLock<String> = OnceLock::new();
    NAME.get_or_init(|| {
        let name = rustix::system::uname();
        format!(
            "{} {} {}",
            name.sysname().to_string_lossy(),
            name.release().to_string_lossy(),
            name.machine().to_string_lossy()
        )
    })
}

/// `# Clients`
pub fn clients(parts: &Parts, seen: &Survey, out: &mut String) {
    let engine = &parts.engine;
    let (mut watched, mut waited, mut waited_gone) = (0, 0, 0);
    // Nobody else has anything in the shards.
    if seen.watching > 0 || seen.blocked > 0 {
        for i in 0..SHARDS {
            let mut locked = engine.keyspace.lock(ShardMask::only(i));
            if let Some(shard) = locked.shard(i) {
                watched += shard.watched_keys();
                let (keys, gone) = shard.waited_keys();
                (waited, waited_gone) = (waited + keys, waited_gone + gone);
            }
        }
    }
    let max_clients = engine.config.current().network.maxclients;
    out.push_str("# Clients\r\n");
    line(out, "connected_clients", seen.all - seen.replicas);
    line(out, "cluster_connections", 0);
    line(out, "maxclients", max_clients);
    line(out, "client_recent_max_input_buffer", seen.longest_input);
    line(out, "client_recent_max_output_buffer", seen.longest_output);
    line(out, "blocked_clients", seen.blocked);
    line(out, "tracking_clients", 0);
    line(out, "pubsub_clients", seen.pubsub);
    line(out, "watching_clients", seen.watching);
    line(
        out,
        "clients_in_timeout_table",
        engine.blocked.with_timeout(),
    );
    line(out, "total_watched_keys", watched);
    line(out, "total_blocking_keys", waited);
    line(out, "total_blocking_keys_on_nokey", waited_gone);
}

/// `# CPU`
pub fn cpu(out: &mut String) {
    let (user, system) = processor_seconds();
    out.push_str("# CPU\r\n");
    line(out, "used_cpu_sys", format_args!("{system:.6}"));
    line(out, "used_cpu_user", format_args!("{user:.6}"));
    line(out, "used_cpu_sys_children", "0.000000");
    line(out, "used_cpu_user_children", "0.000000");
}

/// `# Threads`: the connections of each worker, and how often it has read and written.
pub fn threads(parts: &Parts, seen: &Survey, out: &mut String) {
    let workers = parts.engine.config.settings().network.io_threads;
    out.push_str("# Threads\r\n");
    for n in 0..workers {
        let count = seen.of_worker(n);
        let (reads, writes) = parts.engine.stats.thread_io(n);
        line(
            out,
            &format!("io_thread_{n}"),
            format_args!("clients={count},reads={reads},writes={writes}"),
        );
    }
}

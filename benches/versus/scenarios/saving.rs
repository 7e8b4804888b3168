//! BGSAVE while clients write on a schedule: memory, latency, throughput.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::figures::{Bar, Figure};
use crate::load::closed;
use crate::paced::{Latency, Pace, paced};
use crate::requests::{Batches, Replies, Rng, encode, key, value};
use crate::scenarios::pipeline::fill;
use crate::servers::Running;
use crate::{Bench, Outcome, progress};

const KEYS: u64 = 2_000_000;
const RATE: f64 = 20_000.0;
const CONNECTIONS: usize = 20;
/// How long writes run before the snapshot begins.
const BEFORE: Duration = Duration::from_secs(8);

/// SETs of keys that are there, one at a time.
fn writes(keys: u64, depth: usize) -> std::sync::Arc<Batches> {
    let mut rng = Rng::new(7);
    Batches::new(64 * 1024, depth, Replies::Counted, |out| {
        let k = rng.below(keys);
        encode(out, &[b"SET", key(k).as_bytes(), &value(k ^ 3, 64)]);
    })
}

/// The highest used_memory and resident size over a time.
struct Peak {
    used: f64,
    resident: f64,
}

/// Watches memory until told to stop.
fn watch(server: &Running, stop: &AtomicBool) -> Outcome<Peak> {
    let mut c = server.control()?;
    let mut peak = Peak {
        used: 0.0,
        resident: 0.0,
    };
    while !stop.load(Ordering::Relaxed) {
        peak.used = peak.used.max(c.info_number("memory", "used_memory")?);
        peak.resident = peak.resident.max(server.resident_bytes()?);
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(peak)
}

/// What one server showed.
struct Saved {
    seconds: f64,
    before: Latency,
    during: Latency,
    used_ratio: f64,
    resident_ratio: f64,
}

/// Starts a BGSAVE and waits for its end, watching memory.
fn save(server: &Running) -> Outcome<(f64, Peak)> {
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let watcher = scope.spawn(|| watch(server, &stop));
        let begun = Instant::now();
        let saved = server.control().and_then(|mut c| {
            c.ask("BGSAVE")?;
            c.wait_for("persistence", "rdb_bgsave_in_progress", "0")?;
            let seconds = begun.elapsed().as_secs_f64();
            match c.info("persistence")?.get("rdb_last_bgsave_status") {
                Some(status) if status == "ok" => Ok(seconds),
                _ => Err("the snapshot failed".into()),
            }
        });
        stop.store(true, Ordering::Relaxed);
        let peak = watcher.join().map_err(|_| "the watcher died")??;
        Ok((saved?, peak))
    })
}

fn measure(server: &Running, pace: &Pace) -> Outcome<Saved> {
    let mut c = server.control()?;
    let script = |phase: &std::sync::atomic::AtomicUsize| {
        // The first second warms up.
        std::thread::sleep(Duration::from_secs(1));
        phase.store(1, Ordering::Relaxed);
        let calm = {
            let stop = AtomicBool::new(false);
            std::thread::scope(|scope| {
                let watcher = scope.spawn(|| watch(server, &stop));
                std::thread::sleep(BEFORE);
                stop.store(true, Ordering::Relaxed);
                watcher.join().map_err(|_| "the watcher died")?
            })?
        };
        phase.store(2, Ordering::Relaxed);
        let (seconds, peak) = save(server)?;
        phase.store(0, Ordering::Relaxed);
        Ok((seconds, calm, peak))
    };
    let ((seconds, calm, peak), latencies) = paced(server, pace, 3, script)?;
    // A fork's copies are in the child, which is gone: the server says how much they were.
    let copied = c
        .info_number("persistence", "rdb_last_cow_size")
        .unwrap_or(0.0);
    let mut latencies = latencies.into_iter().skip(1);
    let (Some(before), Some(during)) = (latencies.next(), latencies.next()) else {
        return Err("a phase is missing".into());
    };
    Ok(Saved {
        seconds,
        before,
        during,
        used_ratio: (peak.used + copied) / calm.used,
        resident_ratio: (peak.resident + copied) / calm.resident,
    })
}

/// Throughput of writes while a snapshot runs over that while none does.
fn retained(bench: &Bench, server: &Running, keys: u64) -> Outcome<f64> {
    let batches = [writes(keys, 16)];
    let calm = closed(server, 50, &batches, bench.measured())?;
    let mut c = server.control()?;
    c.ask("BGSAVE")?;
    let during = closed(server, 50, &batches, Duration::from_millis(1200))?;
    c.wait_for("persistence", "rdb_bgsave_in_progress", "0")?;
    Ok(during.per_second / calm.per_second)
}

/// The scenario: servers one after the other, each with all its memory to itself.
pub fn bgsave(bench: &Bench) -> Outcome<Vec<Figure>> {
    let keys = bench.scaled(KEYS);
    let pace = Pace {
        rate: RATE,
        connections: CONNECTIONS,
        requests: writes(keys, 1),
    };
    let mut seconds = Figure::named("duration").lower("s");
    let mut used = Figure::named("peak of used_memory, over that before")
        .lower("times")
        .bar(Bar::ValueAtMost(1.10));
    let mut resident = Figure::named("peak of resident memory, over that before")
        .lower("times")
        .bar(Bar::ValueAtMost(1.10));
    let mut median = Figure::named("p50 of writes during").lower("us");
    let mut tail = Figure::named("p99 of writes during").lower("us");
    let mut calm = Figure::named("p99.9 of writes before").lower("us");
    let mut p999 = Figure::named("p99.9 of writes during").lower("us");
    let mut worst = Figure::named("longest write during").lower("us");
    let mut over = Figure::named("p99.9 during, over that before")
        .lower("times")
        .bar(Bar::ValueAtMost(1.5));
    let mut kept = Figure::named("throughput kept during, pipelines of 16")
        .higher("times")
        .bar(Bar::ValueAtLeast(0.85));
    let rounds = bench.rounds.min(3);
    for contender in &bench.contenders {
        let server = contender.start(bench.base_port, &[])?;
        progress(&format!("bgsave: filling {}", contender.name));
        fill(std::slice::from_ref(&server), keys, 64)?;
        for round in 1..=rounds {
            progress(&format!(
                "bgsave: round {round} of {rounds}, {}",
                contender.name
            ));
            let s = measure(&server, &pace)?;
            let name = &contender.name;
            seconds.add(name, s.seconds);
            used.add(name, s.used_ratio);
            resident.add(name, s.resident_ratio);
            median.add(name, s.during.at(50.0));
            tail.add(name, s.during.at(99.0));
            calm.add(name, s.before.at(99.9));
            p999.add(name, s.during.at(99.9));
            worst.add(name, s.during.max());
            over.add(name, s.during.at(99.9) / s.before.at(99.9));
            if s.during.count() < s.seconds * RATE * 0.9 {
                return Err(format!("{name} did not keep up with the writes").into());
            }
            kept.add(name, retained(bench, &server, keys)?);
        }
    }
    Ok(vec![
        seconds, used, resident, median, tail, calm, p999, worst, over, kept,
    ])
}

//! Replicas: what they cost the primary's writers, and how fast one is filled under load.

use std::time::{Duration, Instant};

use crate::control::Control;
use crate::figures::{Bar, Figure};
use crate::load::{closed, during};
use crate::requests::{Batches, encode, key, value};
use crate::scenarios::pipeline::fill;
use crate::servers::{Contender, Running};
use crate::{Bench, Outcome, progress};

const KEYS: u64 = 100_000;

/// Starts a replica of `primary`, of the same kind.
fn replica(bench: &Bench, contender: &Contender, primary: &Running) -> Outcome<Running> {
    let replica = contender.start(bench.base_port, &[])?;
    replica
        .control()?
        .ask(&format!("REPLICAOF 127.0.0.1 {}", primary.port))?;
    Ok(replica)
}

fn is_filled(replica: &Running) -> Outcome<()> {
    replica
        .control()?
        .wait_for("replication", "master_link_status", "up")
}

fn sets(keys: u64, len: usize, depth: usize) -> Vec<std::sync::Arc<Batches>> {
    Batches::drawn(8 * 1024, depth, |rng, out| {
        let k = rng.below(keys);
        encode(out, &[b"SET", key(k).as_bytes(), &value(k ^ 1, len)]);
    })
}

/// Write throughput with 0, 1, 2 and 4 replicas.
pub fn cost(bench: &Bench) -> Outcome<Vec<Figure>> {
    const COUNTS: [usize; 4] = [0, 1, 2, 4];
    let batches = sets(KEYS, 64, 1);
    let directives = ["--repl-diskless-sync-delay", "0"];
    let mut rates = COUNTS.map(|n| Figure::named(&format!("SET with {n} replicas")));
    let mut cpu = COUNTS.map(|n| Figure::named(&format!("primary's CPU with {n} replicas")));
    for contender in &bench.contenders {
        let primary = contender.start(bench.base_port, &directives)?;
        fill(std::slice::from_ref(&primary), KEYS, 64)?;
        let mut replicas = Vec::new();
        for ((n, rate), cpu) in COUNTS.iter().zip(&mut rates).zip(&mut cpu) {
            while replicas.len() < *n {
                let r = replica(bench, contender, &primary)?;
                is_filled(&r)?;
                replicas.push(r);
            }
            for round in 1..=bench.rounds {
                progress(&format!("replicas: {n}, round {round}, {}", contender.name));
                let t = closed(&primary, 50, &batches, bench.measured())?;
                rate.add(&contender.name, t.per_second / 1000.0);
                cpu.add(&contender.name, t.cpu_us);
            }
        }
    }
    let mut kept = Figure::named("throughput kept with one replica")
        .higher("times")
        .bar(Bar::ValueAtLeast(0.92));
    let [alone, one, ..] = &rates;
    for contender in &bench.contenders {
        if let (Some(a), Some(b)) = (alone.median(&contender.name), one.median(&contender.name)) {
            kept.add(&contender.name, b / a);
        }
    }
    let rates = rates.into_iter().map(|f| f.higher("1000/s"));
    let cpu = cpu.into_iter().map(|f| f.lower("us/op"));
    Ok(rates.chain(cpu).chain([kept]).collect())
}

/// How often memory and the link are looked at.
const LOOK: Duration = Duration::from_millis(50);

/// What one full sync showed.
struct Synced {
    /// Until the link was up, or until it was given up.
    seconds: f64,
    gave_up: bool,
    /// Throughput of the clients before, in a second.
    calm: f64,
    /// Throughput of the clients meanwhile, over that before.
    kept: f64,
    /// Resident memory of the primary and its copy, at most, over that before.
    primary_peak: f64,
    /// Resident memory of the replica at most, over that of the primary before.
    replica_peak: f64,
    /// Until the replica had all of the stream, with the clients going on, if ever.
    caught_up: Option<f64>,
    /// Throughput of the clients after that, over that before.
    in_sync: Option<f64>,
}

/// What a forked child has copied by now, where there is one.
fn copied_bytes(c: &mut Control) -> f64 {
    c.info_number("persistence", "current_cow_size")
        .unwrap_or(0.0)
}

/// Bytes of stream that the replica has not applied.
fn lag_bytes(primary: &mut Control, replica: &mut Control) -> Outcome<f64> {
    let end = primary.info_number("replication", "master_repl_offset")?;
    let info = replica.info("replication")?;
    let applied: f64 = info
        .get("slave_repl_offset")
        .ok_or("a replica without an offset")?
        .parse()?;
    Ok(end - applied)
}

/// A replica that answers may still say that it is loading.
fn is_up(c: &mut Control) -> bool {
    c.info("replication")
        .is_ok_and(|info| info.get("master_link_status").is_some_and(|s| s == "up"))
}

fn sync_once(
    bench: &Bench,
    contender: &Contender,
    primary: &Running,
    answered: &dyn Fn() -> u64,
) -> Outcome<Synced> {
    std::thread::sleep(Duration::from_millis(500));
    let (n, begun) = (answered(), Instant::now());
    std::thread::sleep(bench.measured());
    let calm = (answered() - n) as f64 / begun.elapsed().as_secs_f64();
    let before = primary.resident_bytes()?;
    let mut to_primary = primary.control()?;
    let replica = contender.start(bench.base_port, &[])?;
    let mut to_replica = replica.control()?;
    let (n, begun) = (answered(), Instant::now());
    to_replica.ask(&format!("REPLICAOF 127.0.0.1 {}", primary.port))?;
    let (mut primary_peak, mut replica_peak) = (0.0_f64, 0.0_f64);
    let mut gave_up = false;
    while !is_up(&mut to_replica) {
        let copied = copied_bytes(&mut to_primary);
        primary_peak = primary_peak.max(primary.resident_bytes()? + copied);
        replica_peak = replica_peak.max(replica.resident_bytes()?);
        if begun.elapsed() > bench.patience {
            gave_up = true;
            break;
        }
        std::thread::sleep(LOOK);
    }
    let seconds = begun.elapsed().as_secs_f64();
    let kept = (answered() - n) as f64 / seconds / calm;
    let mut caught_up = None;
    while !gave_up && begun.elapsed() < 2 * bench.patience {
        primary_peak = primary_peak.max(primary.resident_bytes()?);
        replica_peak = replica_peak.max(replica.resident_bytes()?);
        // A tenth of a second's worth of stream is always on its way.
        if lag_bytes(&mut to_primary, &mut to_replica)? < calm / 10.0 * SYNCED_VALUE as f64 {
            caught_up = Some(begun.elapsed().as_secs_f64());
            break;
        }
        std::thread::sleep(LOOK);
    }
    let mut in_sync = None;
    if caught_up.is_some() {
        let (n, begun) = (answered(), Instant::now());
        std::thread::sleep(bench.measured());
        in_sync = Some((answered() - n) as f64 / begun.elapsed().as_secs_f64() / calm);
    }
    Ok(Synced {
        seconds,
        gave_up,
        calm,
        kept,
        primary_peak: primary_peak / before,
        replica_peak: replica_peak / before,
        caught_up,
        in_sync,
    })
}

const SYNCED_VALUE: usize = 1000;

/// Ten GETs to a SET, at random.
fn mixed(keys: u64, len: usize, depth: usize) -> Vec<std::sync::Arc<Batches>> {
    Batches::drawn(8 * 1024, depth, |rng, out| {
        let k = rng.below(keys);
        if rng.below(11) == 0 {
            encode(out, &[b"SET", key(k).as_bytes(), &value(k ^ 1, len)]);
        } else {
            encode(out, &[b"GET", key(k).as_bytes()]);
        }
    })
}

/// The figures of full syncs under one load.
struct SyncFigures(Vec<Figure>);

impl SyncFigures {
    fn of(load: &str) -> SyncFigures {
        let named = |what: &str| Figure::named(&format!("{load}: {what}"));
        SyncFigures(vec![
            named("full sync").lower("s").bar(Bar::AtMost(0.5)),
            named("throughput kept meanwhile")
                .higher("times")
                .bar(Bar::ValueAtLeast(0.8)),
            named("throughput before").higher("1000/s"),
            named("full syncs it took").lower("times"),
            named("until the stream was caught up with").lower("s"),
            named("throughput with the replica in sync").higher("times"),
            named("peak memory of the primary, over before").lower("times"),
            named("peak memory of the replica, over that").lower("times"),
        ])
    }

    fn add(&mut self, name: &str, s: &Synced, syncs: f64, patience: Duration) {
        let values = [
            Some(s.seconds),
            Some(s.kept),
            Some(s.calm / 1000.0),
            Some(syncs),
            s.caught_up,
            s.in_sync,
            Some(s.primary_peak),
            Some(s.replica_peak),
        ];
        for (figure, value) in self.0.iter_mut().zip(values) {
            match value {
                Some(value) => figure.add(name, value),
                None => figure.note(name, "not within the time given"),
            }
        }
        if s.gave_up
            && let Some(seconds) = self.0.first_mut()
        {
            let after = patience.as_secs();
            seconds.note(name, &format!("given up after {after} s, not in sync"));
        }
    }
}

/// A full sync of about 1 GB while clients write, or mostly read.
pub fn full_sync(bench: &Bench) -> Outcome<Vec<Figure>> {
    let keys = bench.scaled(1_000_000);
    let loads = [
        ("SET of 1,000 bytes", sets(keys, SYNCED_VALUE, 4)),
        ("ten GET to one SET", mixed(keys, SYNCED_VALUE, 4)),
    ];
    let directives = ["--repl-diskless-sync-delay", "0"];
    let mut figures = Vec::new();
    for (load, batches) in &loads {
        if bench
            .only
            .as_ref()
            .is_some_and(|o| !load.contains(o.as_str()))
        {
            continue;
        }
        let mut of_load = SyncFigures::of(load);
        for contender in &bench.contenders {
            let name = &contender.name;
            let primary = contender.start(bench.base_port, &directives)?;
            progress(&format!("fullsync: filling {name}"));
            fill(std::slice::from_ref(&primary), keys, SYNCED_VALUE)?;
            for round in 1..=bench.rounds.min(3) {
                progress(&format!("fullsync: {load}, round {round}, {name}"));
                let before = primary.control()?.info_number("stats", "sync_full")?;
                let s = during(&primary, 20, batches, |answered| {
                    sync_once(bench, contender, &primary, answered)
                })?;
                let after = primary.control()?.info_number("stats", "sync_full")?;
                of_load.add(name, &s, after - before, bench.patience);
                if s.gave_up {
                    break;
                }
            }
        }
        figures.extend(of_load.0);
    }
    Ok(figures)
}

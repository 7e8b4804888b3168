//! Full and partial syncs under load: how long they take, and what the clients notice.

use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::control::Control;
use crate::figures::{Bar, Figure};
use crate::load::during;
use crate::requests::{Batches, encode, key, value};
use crate::scenarios::pipeline::fill;
use crate::scenarios::replicas::{is_filled, replica, sets};
use crate::servers::{Contender, Running};
use crate::{Bench, Outcome, progress};

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
    /// Resident memory of a replica at most, over that of the primary before.
    replica_peak: f64,
    /// Until all replicas had all of the stream, with the clients going on, if ever.
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

/// What a look at all replicas found.
struct Seen {
    all_up: bool,
    /// Of the largest.
    resident: f64,
}

fn look_at(replicas: &mut [(Running, Control)]) -> Outcome<Seen> {
    let mut seen = Seen {
        all_up: true,
        resident: 0.0,
    };
    for (replica, control) in replicas {
        seen.all_up &= is_up(control);
        seen.resident = seen.resident.max(replica.resident_bytes()?);
    }
    Ok(seen)
}

/// Bytes of stream that the slowest replica has not applied.
fn most_behind(primary: &mut Control, replicas: &mut [(Running, Control)]) -> Outcome<f64> {
    let mut most = 0.0_f64;
    for (_, control) in replicas {
        most = most.max(lag_bytes(primary, control)?);
    }
    Ok(most)
}

/// Requests answered in a second, for as long as is measured.
fn rate(bench: &Bench, answered: &dyn Fn() -> u64) -> f64 {
    let (n, begun) = (answered(), Instant::now());
    std::thread::sleep(bench.measured());
    (answered() - n) as f64 / begun.elapsed().as_secs_f64()
}

/// A tenth of a second's worth of stream, which is always on its way.
fn in_flight(calm: f64) -> f64 {
    calm / 10.0 * SYNCED_VALUE as f64
}

fn sync_once(
    bench: &Bench,
    contender: &Contender,
    primary: &Running,
    count: usize,
    answered: &dyn Fn() -> u64,
) -> Outcome<Synced> {
    std::thread::sleep(Duration::from_millis(500));
    let calm = rate(bench, answered);
    let before = primary.resident_bytes()?;
    let mut to_primary = primary.control()?;
    let mut replicas = Vec::new();
    for _ in 0..count {
        let replica = contender.start(bench.base_port, &[])?;
        let control = replica.control()?;
        replicas.push((replica, control));
    }
    let (n, begun) = (answered(), Instant::now());
    for (_, control) in &mut replicas {
        control.ask(&format!("REPLICAOF 127.0.0.1 {}", primary.port))?;
    }
    let (mut primary_peak, mut replica_peak) = (0.0_f64, 0.0_f64);
    let mut gave_up;
    loop {
        let copied = copied_bytes(&mut to_primary);
        primary_peak = primary_peak.max(primary.resident_bytes()? + copied);
        let seen = look_at(&mut replicas)?;
        replica_peak = replica_peak.max(seen.resident);
        gave_up = begun.elapsed() > bench.patience;
        if seen.all_up || gave_up {
            break;
        }
        std::thread::sleep(LOOK);
    }
    let seconds = begun.elapsed().as_secs_f64();
    let kept = (answered() - n) as f64 / seconds / calm;
    let mut caught_up = None;
    while !gave_up && begun.elapsed() < 2 * bench.patience {
        primary_peak = primary_peak.max(primary.resident_bytes()?);
        replica_peak = replica_peak.max(look_at(&mut replicas)?.resident);
        if most_behind(&mut to_primary, &mut replicas)? < in_flight(calm) {
            caught_up = Some(begun.elapsed().as_secs_f64());
            break;
        }
        std::thread::sleep(LOOK);
    }
    let in_sync = caught_up.map(|_| rate(bench, answered) / calm);
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
    let written = sets(keys, SYNCED_VALUE, 4);
    let mixture = mixed(keys, SYNCED_VALUE, 4);
    let loads = [
        ("SET of 1,000 bytes", &written, 1),
        ("ten GET to one SET", &mixture, 1),
        ("ten GET to one SET, four replicas", &mixture, 4),
    ];
    let mut figures = Vec::new();
    for (load, batches, count) in loads {
        if !bench.wants(load) {
            continue;
        }
        // Several replicas get one data set if the primary waits for all of them.
        let delay = if count > 1 { "1" } else { "0" };
        let directives = ["--repl-diskless-sync-delay", delay];
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
                    sync_once(bench, contender, &primary, count, answered)
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

/// How long a replica is away.
const AWAY: Duration = Duration::from_secs(2);

/// A replica that hears nothing for [`AWAY`] and whose link is cut meanwhile: seconds until it has
/// what it missed, if ever, and the clients' throughput for as long, over that before.
fn resync_once(
    bench: &Bench,
    primary: &Running,
    replica: &Running,
    answered: &dyn Fn() -> u64,
) -> Outcome<(Option<f64>, f64)> {
    let (mut to_primary, mut to_replica) = (primary.control()?, replica.control()?);
    let calm = rate(bench, answered);
    replica.signal(Signal::STOP)?;
    to_primary.ask("CLIENT KILL TYPE replica")?;
    std::thread::sleep(AWAY);
    let (n, begun) = (answered(), Instant::now());
    replica.signal(Signal::CONT)?;
    let mut seconds = None;
    while seconds.is_none() && begun.elapsed() < bench.patience {
        std::thread::sleep(LOOK / 10);
        let is_there = is_up(&mut to_replica)
            && lag_bytes(&mut to_primary, &mut to_replica)? < in_flight(calm);
        if is_there {
            seconds = Some(begun.elapsed().as_secs_f64());
        }
    }
    let kept = (answered() - n) as f64 / begun.elapsed().as_secs_f64() / calm;
    Ok((seconds, kept))
}

/// Partial resyncs while clients write a little and read much.
pub fn partial_sync(bench: &Bench) -> Outcome<Vec<Figure>> {
    let keys = bench.scaled(100_000);
    let batches = mixed(keys, SYNCED_VALUE, 4);
    let directives = [
        "--repl-diskless-sync-delay",
        "0",
        "--repl-backlog-size",
        "512mb",
    ];
    let mut caught_up = Figure::named("until what was missed in 2 s was there").lower("s");
    let mut kept = Figure::named("throughput kept meanwhile").higher("times");
    let mut full = Figure::named("full syncs it took").lower("times");
    for contender in &bench.contenders {
        let name = &contender.name;
        let primary = contender.start(bench.base_port, &directives)?;
        fill(std::slice::from_ref(&primary), keys, SYNCED_VALUE)?;
        let replica = replica(bench, contender, &primary)?;
        is_filled(&replica)?;
        let before = primary.control()?.info_number("stats", "sync_full")?;
        for round in 1..=bench.rounds {
            progress(&format!("resync: round {round}, {name}"));
            let (seconds, share) = during(&primary, 20, &batches, |answered| {
                resync_once(bench, &primary, &replica, answered)
            })?;
            match seconds {
                Some(seconds) => caught_up.add(name, seconds),
                None => caught_up.note(name, "not within the time given"),
            }
            kept.add(name, share);
        }
        let after = primary.control()?.info_number("stats", "sync_full")?;
        full.add(name, after - before);
    }
    Ok(vec![caught_up, kept, full])
}

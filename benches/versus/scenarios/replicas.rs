//! Replicas: what they cost the primary's writers, and how fast one is filled under load.

use std::time::{Duration, Instant};

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

/// A full sync of about 1 GB while clients write.
pub fn full_sync(bench: &Bench) -> Outcome<Vec<Figure>> {
    let keys = bench.scaled(1_000_000);
    let batches = sets(keys, 1000, 4);
    let directives = ["--repl-diskless-sync-delay", "0"];
    let mut seconds = Figure::named("full sync under load")
        .lower("s")
        .bar(Bar::AtMost(0.5));
    let mut kept = Figure::named("throughput kept meanwhile")
        .higher("times")
        .bar(Bar::ValueAtLeast(0.8));
    let mut syncs = Figure::named("full syncs it took").lower("times");
    for contender in &bench.contenders {
        let primary = contender.start(bench.base_port, &directives)?;
        progress(&format!("fullsync: filling {}", contender.name));
        fill(std::slice::from_ref(&primary), keys, 1000)?;
        for round in 1..=bench.rounds.min(3) {
            progress(&format!("fullsync: round {round}, {}", contender.name));
            let before = primary.control()?.info_number("stats", "sync_full")?;
            let (took, ratio) = during(&primary, 20, &batches, |answered| {
                std::thread::sleep(Duration::from_millis(500));
                let (n, begun) = (answered(), Instant::now());
                std::thread::sleep(bench.measured());
                let calm = (answered() - n) as f64 / begun.elapsed().as_secs_f64();
                let (n, begun) = (answered(), Instant::now());
                let replica = replica(bench, contender, &primary)?;
                is_filled(&replica)?;
                let took = begun.elapsed().as_secs_f64();
                Ok((took, (answered() - n) as f64 / took / calm))
            })?;
            seconds.add(&contender.name, took);
            kept.add(&contender.name, ratio);
            let after = primary.control()?.info_number("stats", "sync_full")?;
            syncs.add(&contender.name, after - before);
        }
    }
    Ok(vec![seconds, kept, syncs])
}

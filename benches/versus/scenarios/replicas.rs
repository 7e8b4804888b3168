//! Replicas: what they cost the primary's writers.

use crate::figures::{Bar, Figure};
use crate::load::closed;
use crate::requests::{Batches, encode, key, value};
use crate::scenarios::pipeline::fill;
use crate::servers::{Contender, Running};
use crate::{Bench, Outcome, progress};

const KEYS: u64 = 100_000;

/// Starts a replica of `primary`, of the same kind.
pub fn replica(bench: &Bench, contender: &Contender, primary: &Running) -> Outcome<Running> {
    let replica = contender.start(bench.base_port, &[])?;
    replica
        .control()?
        .ask(&format!("REPLICAOF 127.0.0.1 {}", primary.port))?;
    Ok(replica)
}

/// Waits until it follows.
pub fn is_filled(replica: &Running) -> Outcome<()> {
    replica
        .control()?
        .wait_for("replication", "master_link_status", "up")
}

/// SETs of random keys.
pub fn sets(keys: u64, len: usize, depth: usize) -> Vec<std::sync::Arc<Batches>> {
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

//! Small reads on a schedule beside something large: what the large thing costs the others.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::figures::{Bar, Figure};
use crate::load::during;
use crate::paced::{Latency, Pace, paced};
use crate::requests::{Batches, Replies, Rng, encode, encode_words, key, value};
use crate::scenarios::pipeline::fill;
use crate::servers::Running;
use crate::{Bench, Outcome, progress};

const KEYS: u64 = 100_000;

/// GETs of keys that are there, one at a time.
fn reads(rate: f64) -> Pace {
    let mut rng = Rng::new(11);
    Pace {
        rate,
        connections: 10,
        requests: Batches::new(16 * 1024, 1, Replies::Counted, |out| {
            encode(out, &[b"GET", key(rng.below(KEYS)).as_bytes()]);
        }),
    }
}

/// Latencies of reads while `script` runs.
fn beside<R>(
    server: &Running,
    rate: f64,
    script: impl FnOnce() -> Outcome<R>,
) -> Outcome<(R, Latency)> {
    let (result, during, _) = beside_and_alone(server, rate, script)?;
    Ok((result, during))
}

/// Latencies of reads while `script` runs, and of the half second before.
fn beside_and_alone<R>(
    server: &Running,
    rate: f64,
    script: impl FnOnce() -> Outcome<R>,
) -> Outcome<(R, Latency, Latency)> {
    let (result, latencies) = paced(server, &reads(rate), 2, |phase: &AtomicUsize| {
        std::thread::sleep(Duration::from_millis(500));
        phase.store(1, Ordering::Relaxed);
        let result = script();
        phase.store(0, Ordering::Relaxed);
        result
    })?;
    let mut latencies = latencies.into_iter();
    let (Some(alone), Some(during)) = (latencies.next(), latencies.next()) else {
        return Err("a phase is missing".into());
    };
    Ok((result, during, alone))
}

fn percentiles() -> [Figure; 3] {
    [
        Figure::named("p50 of GET beside").lower("us"),
        Figure::named("p99 of GET beside").lower("us"),
        Figure::named("longest GET beside").lower("us"),
    ]
}

fn note(figures: &mut [Figure; 3], name: &str, latency: &Latency) {
    let [p50, p99, longest] = figures;
    p50.add(name, latency.at(50.0));
    p99.add(name, latency.at(99.0));
    longest.add(name, latency.max());
}

/// Reads of a whole list, set and hash of many elements, one after the other.
pub fn big_reads(bench: &Bench) -> Outcome<Vec<Figure>> {
    let elements = bench.scaled(1_000_000);
    let mut whole = Figure::named("whole collections read").higher("1/s");
    let [p50, p99, longest] = percentiles();
    let mut figures = [p50, p99.bar(Bar::ValueAtMost(2000.0)), longest];
    let mut p99_alone = Figure::named("p99 of GET alone, just before").lower("us");
    for contender in &bench.contenders {
        let server = contender.start(bench.base_port, &[])?;
        fill(std::slice::from_ref(&server), KEYS, 64)?;
        progress(&format!("bigreads: filling {}", contender.name));
        server.control()?.fill(elements, |i, out| {
            encode_words(out, &format!("RPUSH list element:{i}"));
        })?;
        server.control()?.fill(elements, |i, out| {
            encode_words(out, &format!("SADD all member:{i}"));
        })?;
        server.control()?.fill(elements, |i, out| {
            encode_words(out, &format!("HSET map field:{i} {i}"));
        })?;
        for round in 1..=bench.rounds.min(3) {
            progress(&format!("bigreads: round {round}, {}", contender.name));
            let (rate, latency, alone) = beside_and_alone(&server, 5000.0, || {
                let (begun, mut n) = (Instant::now(), 0);
                let mut c = server.control()?;
                while begun.elapsed() < bench.measured() {
                    for request in ["LRANGE list 0 -1", "SMEMBERS all", "HGETALL map"] {
                        c.fill(1, |_, out| encode_words(out, request))?;
                        n += 1;
                    }
                }
                Ok(f64::from(n) / begun.elapsed().as_secs_f64())
            })?;
            whole.add(&contender.name, rate);
            p99_alone.add(&contender.name, alone.at(99.0));
            note(&mut figures, &contender.name, &latency);
        }
    }
    let [p50, p99, longest] = figures;
    Ok(vec![whole, p50, p99, longest, p99_alone])
}

/// Many keys that are due in the same instant.
pub fn expiry(bench: &Bench) -> Outcome<Vec<Figure>> {
    let keys = bench.scaled(1_000_000);
    let mut gone = Figure::named("from the instant until all are gone").lower("s");
    let mut figures = percentiles();
    for contender in &bench.contenders {
        let server = contender.start(bench.base_port, &[])?;
        fill(std::slice::from_ref(&server), KEYS, 64)?;
        for round in 1..=bench.rounds.min(3) {
            progress(&format!("expiry: round {round}, {}", contender.name));
            let mut c = server.control()?;
            let wait = Duration::from_secs(2) + Duration::from_micros(3 * keys);
            let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?;
            let due = (now + wait).as_millis().to_string();
            c.fill(keys, |i, out| {
                let name = format!("due:{i:012}");
                encode(
                    out,
                    &[
                        b"SET",
                        name.as_bytes(),
                        &value(i, 64),
                        b"PXAT",
                        due.as_bytes(),
                    ],
                );
            })?;
            let due = now + wait;
            let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?;
            std::thread::sleep(due.saturating_sub(now));
            let (seconds, latency) = beside(&server, 5000.0, || {
                let begun = Instant::now();
                while c.ask("DBSIZE")?.parse::<u64>()? > KEYS {
                    std::thread::sleep(Duration::from_millis(5));
                }
                Ok(begun.elapsed().as_secs_f64() + 0.5)
            })?;
            gone.add(&contender.name, seconds);
            note(&mut figures, &contender.name, &latency);
        }
    }
    let [p50, p99, longest] = figures;
    Ok(vec![gone, p50, p99, longest])
}

/// Many new keys: the longest command by the server's own account, and the longest GET beside.
pub fn inserts(bench: &Bench) -> Outcome<Vec<Figure>> {
    let keys = bench.scaled(20_000_000);
    let mut rate = Figure::named("inserts").higher("1000/s");
    let mut slowest = Figure::named("slowest command, by the server's slow log")
        .lower("us")
        .bar(Bar::ValueAtMost(2000.0));
    let mut figures = percentiles();
    for contender in &bench.contenders {
        progress(&format!("inserts: {}", contender.name));
        let server = contender.start(bench.base_port, &["--slowlog-log-slower-than", "200"])?;
        fill(std::slice::from_ref(&server), KEYS, 64)?;
        server.control()?.ask("SLOWLOG RESET")?;
        let (per_second, latency) = beside(&server, 2000.0, || {
            let begun = Instant::now();
            server.control()?.fill(keys, |i, out| {
                let name = format!("new:{i:012}");
                encode(out, &[b"SET", name.as_bytes(), b"value of 20 bytes..."]);
            })?;
            Ok(keys as f64 / begun.elapsed().as_secs_f64() / 1000.0)
        })?;
        rate.add(&contender.name, per_second);
        note(&mut figures, &contender.name, &latency);
        slowest.add(&contender.name, slowest_us(&server)?);
    }
    let [p50, p99, longest] = figures;
    Ok(vec![rate, slowest, p50, p99, longest])
}

/// The longest duration in the slow log; what is not in it took less than its threshold.
fn slowest_us(server: &Running) -> Outcome<f64> {
    let log = server.control()?.ask("SLOWLOG GET 128")?;
    let mut lines = log.lines();
    let mut longest = 200.0f64;
    // An entry's lines: id, time, duration, arguments, address, name.
    while let Some(line) = lines.next() {
        let is_time = line.len() == 10 && line.bytes().all(|b| b.is_ascii_digit());
        if is_time && let Some(Ok(us)) = lines.next().map(str::parse::<f64>) {
            longest = longest.max(us);
        }
    }
    Ok(longest)
}

/// SETs under each sync policy, and GETs beside them under `always`.
pub fn aof(bench: &Bench) -> Outcome<Vec<Figure>> {
    let mut all = Vec::new();
    for policy in ["always", "everysec", "no"] {
        let servers = bench.start_all(&["--appendonly", "yes", "--appendfsync", policy])?;
        fill(&servers, KEYS, 64)?;
        let sets = Batches::drawn(16 * 1024, 1, |rng, out| {
            let k = rng.below(KEYS);
            encode(out, &[b"SET", key(k).as_bytes(), &value(k ^ 1, 64)]);
        });
        let what = format!("SET, appendfsync {policy},");
        let names = ["throughput", "p99 of GET beside"];
        let figures = bench.interleave(&what, &servers, &names, |server| {
            with_reads(server, &sets, bench.measured())
        })?;
        let mut figures = figures.into_iter();
        if let (Some(mut rate), Some(mut p99)) = (figures.next(), figures.next()) {
            (rate, p99) = (rate.higher("1000/s"), p99.lower("us"));
            if policy == "always" {
                rate = rate.bar(Bar::AtLeast(1.5));
                p99 = p99.bar(Bar::AtMost(0.5));
            }
            all.extend([rate, p99]);
        }
    }
    Ok(all)
}

/// Throughput of a closed loop in thousands a second, and the p99 of reads beside it.
fn with_reads(server: &Running, sets: &[Arc<Batches>], time: Duration) -> Outcome<Vec<f64>> {
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let reads = scope.spawn(|| {
            beside(server, 1000.0, || {
                while !over.load(Ordering::Relaxed) {
                    std::thread::sleep(Duration::from_millis(10));
                }
                Ok(())
            })
        });
        let rate = during(server, 50, sets, |answered| {
            std::thread::sleep(Duration::from_millis(600));
            let (before, begun) = (answered(), Instant::now());
            std::thread::sleep(time);
            Ok((answered() - before) as f64 / begun.elapsed().as_secs_f64())
        });
        over.store(true, Ordering::Relaxed);
        let ((), latency) = reads.join().map_err(|_| "the reads died")??;
        Ok(vec![rate? / 1000.0, latency.at(99.0)])
    })
}

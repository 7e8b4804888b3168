//! GET and SET in a closed loop: throughput and processor time.

use std::sync::Arc;

use crate::figures::{Bar, Figure};
use crate::load::closed;
use crate::requests::{Batches, Keys, Replies, Rng, encode, key, value};
use crate::servers::Running;
use crate::{Bench, Outcome};

const CLIENTS: usize = 50;
const KEYS: u64 = 100_000;
/// Requests that a load thread repeats.
const REQUESTS: usize = 32 * 1024;

/// Stores the keys `0..n` with values of `len` bytes.
pub fn fill(servers: &[Running], n: u64, len: usize) -> Outcome<()> {
    for s in servers {
        s.control()?.fill(n, |i, out| {
            encode(out, &[b"SET", key(i).as_bytes(), &value(i, len)]);
        })?;
    }
    Ok(())
}

/// GETs of values of `len` bytes that are there.
fn gets(keys: &Keys, depth: usize, len: usize) -> Vec<Arc<Batches>> {
    let reply = format!("${len}\r\n").len() + len + 2;
    per_thread(|rng| {
        Batches::new(REQUESTS, depth, Replies::Fixed(reply), |out| {
            encode(out, &[b"GET", key(keys.pick(rng)).as_bytes()]);
        })
    })
}

/// SETs of values of `len` bytes.
fn sets(keys: &Keys, depth: usize, len: usize) -> Vec<Arc<Batches>> {
    per_thread(|rng| {
        Batches::new(REQUESTS, depth, Replies::Fixed(b"+OK\r\n".len()), |out| {
            let k = keys.pick(rng);
            encode(out, &[b"SET", key(k).as_bytes(), &value(k ^ 1, len)]);
        })
    })
}

fn per_thread(mut batches: impl FnMut(&mut Rng) -> Arc<Batches>) -> Vec<Arc<Batches>> {
    (1..=2).map(|seed| batches(&mut Rng::new(seed))).collect()
}

/// Measures one kind of load on all servers: throughput, processor time.
pub fn measure(
    bench: &Bench,
    servers: &[Running],
    what: &str,
    clients: usize,
    batches: &[Arc<Batches>],
) -> Outcome<(Figure, Figure)> {
    let [throughput, cpu, _] = measure_parts(bench, servers, what, clients, batches)?;
    Ok((throughput, cpu))
}

/// As [`measure`], and of the processor time that which the kernel takes.
fn measure_parts(
    bench: &Bench,
    servers: &[Running],
    what: &str,
    clients: usize,
    batches: &[Arc<Batches>],
) -> Outcome<[Figure; 3]> {
    let names = ["throughput", "server CPU", "server CPU in the kernel"];
    let figures = bench.interleave(what, servers, &names, |server| {
        let t = closed(server, clients, batches, bench.measured())?;
        Ok(vec![t.per_second / 1000.0, t.cpu_us, t.kernel_us])
    })?;
    let [throughput, cpu, kernel] = <[Figure; 3]>::try_from(figures)
        .map_err(|all| format!("{} figures instead of three", all.len()))?;
    Ok([
        throughput.higher("1000/s"),
        cpu.lower("us/op"),
        kernel.lower("us/op"),
    ])
}

/// By the number of connections, without pipelining.
pub fn by_connections(bench: &Bench) -> Outcome<Vec<Figure>> {
    /// Descriptors for the load, beside a few of its own.
    const DESCRIPTORS: u64 = 10_500;
    let limits = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let wanted = rustix::process::Rlimit {
        current: Some(DESCRIPTORS.max(limits.current.unwrap_or(u64::MAX))),
        maximum: limits.maximum,
    };
    rustix::process::setrlimit(rustix::process::Resource::Nofile, wanted)
        .map_err(|e| format!("{DESCRIPTORS} open files are not allowed (ulimit -n): {e}"))?;
    let servers = bench.start_all(&["--maxclients", "10100"])?;
    fill(&servers, KEYS, 64)?;
    let batches = gets(&Keys::Uniform(KEYS), 1, 64);
    let mut all = Vec::new();
    for clients in [10, 1_000, 10_000] {
        let what = format!("GET over {clients} connections,");
        let (throughput, cpu) = measure(bench, &servers, &what, clients, &batches)?;
        all.extend([throughput, cpu]);
    }
    Ok(all)
}

/// By pipeline depth.
pub fn by_depth(bench: &Bench) -> Outcome<Vec<Figure>> {
    let servers = bench.start_all(&[])?;
    fill(&servers, KEYS, 64)?;
    let keys = Keys::Uniform(KEYS);
    let mut all = Vec::new();
    for depth in bench.depths_or(&[1, 16, 64]) {
        for (command, batches) in [
            ("GET", gets(&keys, depth, 64)),
            ("SET", sets(&keys, depth, 64)),
        ] {
            let what = format!("{command}, pipeline {depth},");
            let parts = measure_parts(bench, &servers, &what, CLIENTS, &batches)?;
            let [throughput, cpu, kernel] = parts;
            if depth == 1 {
                all.extend([throughput.bar(Bar::AtLeast(1.5)), cpu, kernel]);
            } else {
                let cpu = cpu.bar(Bar::AtMostOfValkey(0.6)).bar(Bar::AtMost(0.45));
                all.extend([throughput.bar(Bar::AtLeast(2.2)), cpu, kernel]);
            }
        }
    }
    Ok(all)
}

/// By the size of values.
pub fn by_size(bench: &Bench) -> Outcome<Vec<Figure>> {
    let servers = bench.start_all(&[])?;
    let keys = Keys::Uniform(KEYS);
    let mut all = Vec::new();
    for len in [16, 512, 4096] {
        fill(&servers, KEYS, len)?;
        for (command, batches) in [("GET", gets(&keys, 16, len)), ("SET", sets(&keys, 16, len))] {
            let what = format!("{command} of {len} bytes,");
            let (throughput, cpu) = measure(bench, &servers, &what, CLIENTS, &batches)?;
            all.extend([throughput, cpu]);
        }
    }
    Ok(all)
}

/// By the distribution of keys: some often, and so many that no cache holds them.
pub fn by_keys(bench: &Bench) -> Outcome<Vec<Figure>> {
    let servers = bench.start_all(&[])?;
    let many = bench.scaled(5_000_000);
    fill(&servers, many, 64)?;
    let mut all = Vec::new();
    for (name, keys) in [
        ("Zipf over 100,000", Keys::zipf(KEYS.min(many))),
        ("uniform over 5,000,000", Keys::Uniform(many)),
    ] {
        for (command, batches) in [("GET", gets(&keys, 16, 64)), ("SET", sets(&keys, 16, 64))] {
            let what = format!("{command}, {name},");
            let (throughput, cpu) = measure(bench, &servers, &what, CLIENTS, &batches)?;
            all.extend([throughput, cpu]);
        }
    }
    Ok(all)
}

/// Reads and writes mixed.
pub fn mixed(bench: &Bench) -> Outcome<Vec<Figure>> {
    let servers = bench.start_all(&[])?;
    fill(&servers, KEYS, 64)?;
    let mut all = Vec::new();
    for depth in [1, 16] {
        let batches = per_thread(|rng| {
            let mut n = 0u64;
            Batches::new(REQUESTS, depth, Replies::Counted, |out| {
                n += 1;
                let k = rng.below(KEYS);
                if n.is_multiple_of(11) {
                    encode(out, &[b"SET", key(k).as_bytes(), &value(k ^ 1, 64)]);
                } else {
                    encode(out, &[b"GET", key(k).as_bytes()]);
                }
            })
        });
        let what = format!("10 GET to 1 SET, pipeline {depth},");
        let (throughput, cpu) = measure(bench, &servers, &what, CLIENTS, &batches)?;
        all.extend([throughput, cpu]);
    }
    Ok(all)
}

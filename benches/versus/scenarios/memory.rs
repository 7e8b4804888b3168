//! Memory per item, as used_memory and the resident set say before and after the items go in.
//!
//! A server's resident set holds what it needed on the way, too; it is asked for a moment after,
//! when the allocator has had time to give that back.

use std::time::Duration;

use crate::control::Control;
use crate::figures::{Bar, Figure};
use crate::requests::{encode, key, value};
use crate::{Bench, Outcome, progress};

/// A kind of data.
struct Load {
    name: &'static str,
    items: u64,
    /// Bytes an item that Russet may take at most.
    limit: f64,
    encode_one: fn(u64, &mut Vec<u8>),
}

const MILLION: u64 = 1_000_000;

/// The 17-byte member of a number.
fn member(n: u64) -> String {
    format!("member:{n:010}")
}

const LOADS: &[Load] = &[
    Load {
        name: "string of 64 bytes",
        items: MILLION,
        limit: 105.0,
        encode_one: |i, out| encode(out, &[b"SET", key(i).as_bytes(), &value(i, 64)]),
    },
    Load {
        name: "string of 8 bytes",
        items: MILLION,
        limit: 50.0,
        encode_one: |i, out| encode(out, &[b"SET", key(i).as_bytes(), &value(i, 8)]),
    },
    Load {
        name: "string of 64 bytes with EX",
        items: MILLION,
        limit: 125.0,
        encode_one: |i, out| {
            let v = value(i, 64);
            encode(out, &[b"SET", key(i).as_bytes(), &v, b"EX", b"36000"]);
        },
    },
    Load {
        name: "hash of 10 fields",
        items: 200_000,
        limit: 280.0,
        encode_one: |i, out| {
            let name = key(i);
            let fields: Vec<Vec<u8>> = (0..10)
                .flat_map(|f| [format!("field{f:02}").into_bytes(), value(i * 10 + f, 12)])
                .collect();
            let mut argv: Vec<&[u8]> = vec![b"HSET", name.as_bytes()];
            argv.extend(fields.iter().map(Vec::as_slice));
            encode(out, &argv);
        },
    },
    Load {
        name: "member of one set",
        items: MILLION,
        limit: 30.0,
        encode_one: |i, out| encode(out, &[b"SADD", b"s", member(i).as_bytes()]),
    },
    Load {
        name: "member of one sorted set",
        items: MILLION,
        limit: 55.0,
        encode_one: |i, out| {
            let score = (i.wrapping_mul(2_654_435_761) % 10_000_000).to_string();
            encode(
                out,
                &[b"ZADD", b"z", score.as_bytes(), member(i).as_bytes()],
            );
        },
    },
    Load {
        name: "field of one hash",
        items: MILLION,
        limit: 45.0,
        encode_one: |i, out| {
            encode(out, &[b"HSET", b"h", key(i).as_bytes(), &value(i, 11)]);
        },
    },
    Load {
        name: "element of one list",
        items: MILLION,
        limit: 19.2,
        encode_one: |i, out| encode(out, &[b"RPUSH", b"l", member(i).as_bytes()]),
    },
    Load {
        name: "entry of one stream",
        items: MILLION,
        limit: 26.0,
        encode_one: |i, out| {
            let n = i.to_string();
            encode(out, &[b"XADD", b"x", b"*", b"a", n.as_bytes(), b"b", b"1"]);
        },
    },
];

fn used(c: &mut Control) -> Outcome<f64> {
    c.info_number("memory", "used_memory")
}

/// The table of loads.
pub fn per_item(bench: &Bench) -> Outcome<Vec<Figure>> {
    const WARM_UP: u64 = 500;
    const SETTLING: Duration = Duration::from_millis(1500);
    let mut all = Vec::new();
    for load in LOADS.iter().filter(|load| bench.wants(load.name)) {
        // A fresh server each time: what a flush leaves behind is not an item's.
        let mut figure = Figure::named(load.name)
            .lower("bytes")
            .bar(Bar::ValueAtMost(load.limit));
        let mut resident = Figure::named(&format!("{}, resident", load.name))
            .lower("bytes")
            .bar(Bar::ValueAtMost(load.limit));
        for contender in &bench.contenders {
            progress(&format!("memory: {}, {}", load.name, contender.name));
            let server = contender.start(bench.base_port, &[])?;
            let mut c = server.control()?;
            // What a server takes once, for the first requests of a kind, is not an item's.
            if c.takes(WARM_UP, load.encode_one) {
                c.ask("FLUSHALL SYNC")?;
            }
            std::thread::sleep(SETTLING);
            let (before, resident_before) = (used(&mut c)?, server.resident_bytes()?);
            let items = bench.scaled(load.items);
            if let Err(e) = c.fill(items, load.encode_one) {
                progress(&format!("{}: {}: {e}", contender.name, load.name));
                continue;
            }
            figure.add(&contender.name, (used(&mut c)? - before) / items as f64);
            std::thread::sleep(SETTLING);
            let more = server.resident_bytes()? - resident_before;
            resident.add(&contender.name, more / items as f64);
        }
        all.extend([figure, resident]);
    }
    Ok(all)
}

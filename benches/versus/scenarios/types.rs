//! The common commands of each data type, and transactions of ten.

use crate::figures::{Bar, Figure};
use crate::requests::{Batches, Rng, encode, encode_words, key, value};
use crate::scenarios::pipeline::measure;
use crate::servers::Running;
use crate::{Bench, Outcome, progress};

const CLIENTS: usize = 50;
const REQUESTS: usize = 16 * 1024;
/// Pairs of requests.
const PAIRS: u64 = REQUESTS as u64 / 2;
/// Collections of each type.
const COLLECTIONS: u64 = 10_000;
/// Members of each.
const MEMBERS: u64 = 50;

type Encode = fn(&mut Rng, &mut Vec<u8>);
/// A member's words from its number.
type Member = fn(u64) -> String;

fn words(out: &mut Vec<u8>, text: &str) {
    encode_words(out, text);
}

fn pick(rng: &mut Rng) -> (u64, u64) {
    (rng.below(COLLECTIONS), rng.below(MEMBERS))
}

/// LPUSH and LPOP in turn; the list that is pushed to loses an element so many pairs later. However
/// often the requests are repeated, it gets as many as it gives: lists that grow would be longer
/// the faster a server is.
fn push_or_pop(rng: &mut Rng, name: &str, later: u64, out: &mut Vec<u8>) {
    let (pair, pops) = (rng.drawn() / 2, rng.drawn() % 2 == 1);
    rng.next();
    let of = |pair: u64| pair % PAIRS * 7_919 % COLLECTIONS;
    if pops {
        words(out, &format!("LPOP {name}:{}", of(pair + PAIRS - later)));
    } else {
        words(out, &format!("LPUSH {name}:{} e", of(pair)));
    }
}

/// Each command with a request of it.
const COMMANDS: &[(&str, Encode)] = &[
    ("INCR", |r, out| {
        words(out, &format!("INCR n:{}", r.below(COLLECTIONS)))
    }),
    ("MGET of 10", |r, out| {
        let keys: Vec<String> = (0..10).map(|_| key(r.below(COLLECTIONS))).collect();
        words(out, &format!("MGET {}", keys.join(" ")));
    }),
    ("MSET of 10", |r, out| {
        let keys: Vec<String> = (0..10).map(|_| key(r.below(COLLECTIONS))).collect();
        words(out, &format!("MSET {} v", keys.join(" v ")));
    }),
    ("HSET", |r, out| {
        let (c, m) = pick(r);
        words(out, &format!("HSET h:{c} field:{m} value:{}", m ^ 1));
    }),
    ("HGET", |r, out| {
        let (c, m) = pick(r);
        words(out, &format!("HGET h:{c} field:{m}"));
    }),
    ("HGETALL of 50", |r, out| {
        words(out, &format!("HGETALL h:{}", r.below(COLLECTIONS)))
    }),
    ("LPUSH and LPOP", |r, out| {
        push_or_pop(r, "l", PAIRS / 2, out)
    }),
    ("LPUSH and LPOP of a list that comes and goes", |r, out| {
        push_or_pop(r, "q", 0, out)
    }),
    ("LRANGE of 50", |r, out| {
        words(out, &format!("LRANGE l:{} 0 49", r.below(COLLECTIONS)))
    }),
    ("LRANGE of 100", |r, out| {
        words(out, &format!("LRANGE l100:{} 0 99", r.below(COLLECTIONS)))
    }),
    ("SADD", |r, out| {
        let (c, m) = pick(r);
        words(out, &format!("SADD s:{c} member:{m}"));
    }),
    ("SISMEMBER", |r, out| {
        let (c, m) = pick(r);
        words(out, &format!("SISMEMBER s:{c} member:{m}"));
    }),
    ("ZADD", |r, out| {
        let (c, m) = pick(r);
        words(out, &format!("ZADD z:{c} {} member:{m}", r.below(1000)));
    }),
    ("ZSCORE", |r, out| {
        let (c, m) = pick(r);
        words(out, &format!("ZSCORE z:{c} member:{m}"));
    }),
    ("ZRANGE of 10", |r, out| {
        words(out, &format!("ZRANGE z:{} 10 19", r.below(COLLECTIONS)))
    }),
    ("ZRANGE of 100 in one of 100,000", |r, out| {
        let at = r.below(99_900);
        words(out, &format!("ZRANGE big {at} {}", at + 99));
    }),
    ("ZADD to one of 100,000", |r, out| {
        words(
            out,
            &format!(
                "ZADD big {} member:{}",
                r.below(1_000_000),
                r.below(100_000)
            ),
        );
    }),
    ("ZRANK in one of 100,000", |r, out| {
        words(out, &format!("ZRANK big member:{}", r.below(100_000)));
    }),
    ("XADD", |r, out| {
        words(out, &format!("XADD x:{} * a 1 b 2", r.below(100)))
    }),
    ("XRANGE of 10", |r, out| {
        words(out, &format!("XRANGE x:{} - + COUNT 10", r.below(100)))
    }),
];

/// Makes what the requests look at. What a server does not know stays away.
fn prepare(server: &Running) -> Outcome<()> {
    let mut c = server.control()?;
    c.fill(COLLECTIONS, |i, out| {
        encode(out, &[b"SET", key(i).as_bytes(), &value(i, 64)]);
    })?;
    let members = |verb: &str, name: &str, i: u64, one: Member| {
        let all: Vec<String> = (0..MEMBERS).map(one).collect();
        format!("{verb} {name}:{i} {}", all.join(" "))
    };
    let makers: [(&str, &str, Member); 4] = [
        ("HSET", "h", |m| format!("field:{m} value:{m}")),
        ("RPUSH", "l", |m| format!("element:{m}")),
        ("SADD", "s", |m| format!("member:{m}")),
        ("ZADD", "z", |m| format!("{m} member:{m}")),
    ];
    for (verb, name, one) in makers {
        c.takes(COLLECTIONS, |i, out| {
            words(out, &members(verb, name, i, one))
        });
    }
    c.takes(COLLECTIONS, |i, out| {
        let all: Vec<String> = (0..100).map(|m| format!("element:{m}")).collect();
        words(out, &format!("RPUSH l100:{i} {}", all.join(" ")));
    });
    c.takes(100_000, |i, out| {
        words(out, &format!("ZADD big {} member:{i}", i * 7 % 100_000))
    });
    c.takes(100 * 100, |i, out| {
        words(out, &format!("XADD x:{} * a 1 b 2", i % 100))
    });
    Ok(())
}

/// The servers that take such requests, and a note of those that do not.
fn able(servers: Vec<Running>, encode: Encode) -> Outcome<(Vec<Running>, Vec<Running>)> {
    let (mut able, mut other) = (Vec::new(), Vec::new());
    for s in servers {
        let mut rng = Rng::new(3);
        if s.control()?.takes(50, |_, out| encode(&mut rng, out)) {
            able.push(s);
        } else {
            progress(&format!("{} does not know it", s.name));
            other.push(s);
        }
    }
    Ok((able, other))
}

/// The scenario.
pub fn common(bench: &Bench) -> Outcome<Vec<Figure>> {
    let mut servers = bench.start_all(&[])?;
    for s in &servers {
        progress(&format!("types: filling {}", s.name));
        prepare(s)?;
    }
    let mut all = Vec::new();
    for (name, encode_one) in COMMANDS.iter().filter(|(name, _)| bench.wants(name)) {
        let (ready, other) = able(servers, *encode_one)?;
        // At 16 the kernel's share of the shortest commands is beyond half; 64 tells more of what
        // the command itself costs.
        for depth in bench.depths_or(&[16, 64]) {
            let batches = Batches::drawn(REQUESTS, depth, encode_one);
            let what = format!("{name}, pipeline {depth},");
            let (throughput, cpu) = measure(bench, &ready, &what, CLIENTS, &batches)?;
            all.extend([throughput, cpu.bar(Bar::AtMost(0.7))]);
        }
        servers = ready;
        servers.extend(other);
        servers.sort_by_key(|s| bench.contenders.iter().position(|c| c.name == s.name));
    }
    Ok(all)
}

/// Transactions of ten SETs.
pub fn transactions(bench: &Bench) -> Outcome<Vec<Figure>> {
    let servers = bench.start_all(&[])?;
    let batches = Batches::drawn(REQUESTS, 1, |rng, out| {
        words(out, "MULTI");
        for _ in 0..10 {
            let k = rng.below(100_000);
            encode(out, &[b"SET", key(k).as_bytes(), &value(k, 64)]);
        }
        words(out, "EXEC");
    });
    // Each batch is one transaction, answered by twelve replies.
    let batches = batches
        .into_iter()
        .map(Batches::of_replies::<12>)
        .collect::<Vec<_>>();
    let what = "MULTI, ten SET, EXEC,";
    let (throughput, cpu) = measure(bench, &servers, what, CLIENTS, &batches)?;
    Ok(vec![throughput, cpu])
}

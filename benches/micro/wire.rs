//! Bytes from and to clients: the request parser, the reply buffer.

use std::hint::black_box;

use criterion::{Criterion, Throughput};
use russet::oplog::effect::encode;
use russet::resp::parser::{ArgVec, Limits, Parser};
use russet::resp::reply::{Proto, Reply};

use crate::name;

/// Requests in a buffer.
const PIPELINE: u64 = 32;

/// The words of a request for a key.
type Words<'a> = &'a dyn Fn(&[u8]) -> Vec<Vec<u8>>;
/// Writes the reply with this number.
type Write<'a> = &'a dyn Fn(&mut Reply, u64);

/// Parsing of what one read brings.
pub fn requests(c: &mut Criterion) {
    let value = [b'x'; 64];
    let mut group = c.benchmark_group("parse");
    group.throughput(Throughput::Elements(PIPELINE));
    let kinds: [(&str, Words<'_>); 3] = [
        ("GET", &|key| vec![b"GET".to_vec(), key.to_vec()]),
        ("SET", &|key| {
            vec![b"SET".to_vec(), key.to_vec(), value.to_vec()]
        }),
        ("HSET of 5", &|key| {
            let mut words = vec![b"HSET".to_vec(), key.to_vec()];
            words.extend((0..10).map(|i| name(i).to_vec()));
            words
        }),
    ];
    for (what, words) in kinds {
        let mut buffer = Vec::new();
        for i in 0..PIPELINE {
            let words = words(&name(i));
            let words: Vec<&[u8]> = words.iter().map(Vec::as_slice).collect();
            encode(&mut buffer, &words);
        }
        let mut parser = Parser::new(Limits::authenticated(512 << 20));
        group.bench_function(format!("{what}, {PIPELINE} requests"), |b| {
            b.iter(|| {
                let (mut rest, mut found) = (buffer.as_slice(), 0);
                let mut args: ArgVec<'_> = ArgVec::new();
                while let Ok(Some(n)) = parser.next(rest, &mut args) {
                    rest = rest.get(n..).unwrap_or_default();
                    found += 1;
                    black_box(&args);
                    args.clear();
                }
                assert_eq!(found, PIPELINE);
            });
        });
    }
    group.finish();
}

/// Encoding of replies.
pub fn replies(c: &mut Criterion) {
    let mut group = c.benchmark_group("reply");
    group.throughput(Throughput::Elements(PIPELINE));
    let value = [b'x'; 64];
    let kinds: [(&str, Write<'_>); 4] = [
        ("OK", &|r, _| r.ok()),
        ("integer", &|r, i| r.int(i as i64 * 1000)),
        ("bulk of 64 bytes", &|r, _| r.bulk(&value)),
        ("double", &|r, i| r.double(i as f64 / 7.0)),
    ];
    for (what, write) in kinds {
        let mut reply = Reply::new(Proto::Resp2);
        group.bench_function(format!("{what}, {PIPELINE} of them"), |b| {
            b.iter(|| {
                (0..PIPELINE).for_each(|i| write(&mut reply, i));
                black_box(reply.plain());
                reply.clear();
            });
        });
    }
    group.finish();
}

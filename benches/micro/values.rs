//! The table of keys, and each kind of value.

use std::hint::black_box;

use criterion::{BatchSize, Criterion};
use russet::keyspace::entry::{Entry, Meta};
use russet::keyspace::hash;
use russet::keyspace::table::Table;
use russet::keyspace::value::hash::{Hash, HashLimits};
use russet::keyspace::value::list::{End, List, ListLimits};
use russet::keyspace::value::set::{Set, SetLimits};
use russet::keyspace::value::stream::id::StreamId;
use russet::keyspace::value::stream::{NewId, Stream, StreamLimits};
use russet::keyspace::value::zset::{Zset, ZsetLimits};

use crate::{Numbers, name};

/// Elements of what is large: far more than any cache holds entries of.
const LARGE: u64 = 1_000_000;
/// Elements of what is small: one packed block.
const SMALL: u64 = 100;

/// Lookups and inserts.
pub fn table(c: &mut Criterion) {
    let mut group = c.benchmark_group("table");
    let entry = |i: u64| Entry::with_bytes(&name(i), &[b'x'; 64], Meta::default());
    for n in [1000, LARGE] {
        let mut table = Table::new(0);
        for i in 0..n {
            table.insert(hash::of(&name(i)), entry(i));
        }
        let mut numbers = Numbers(1);
        group.bench_function(format!("find one of {n}"), |b| {
            b.iter(|| {
                let key = name(numbers.below(n));
                black_box(table.find(hash::of(&key), &key))
            });
        });
        group.bench_function(format!("miss among {n}"), |b| {
            b.iter(|| {
                let key = name(n + numbers.below(n));
                black_box(table.find(hash::of(&key), &key))
            });
        });
    }
    group.bench_function("insert, 100,000 into an empty one", |b| {
        b.iter_batched(
            || Table::new(0),
            |mut table| {
                for i in 0..100_000 {
                    table.insert(hash::of(&name(i)), entry(i));
                }
                table
            },
            BatchSize::LargeInput,
        );
    });
    group.finish();
}

/// At both ends, and by index.
pub fn lists(c: &mut Criterion) {
    let mut group = c.benchmark_group("list");
    let limits = ListLimits::default();
    for n in [SMALL, LARGE] {
        let mut list = List::default();
        for i in 0..n {
            list.push(limits, End::Tail, &[&name(i)]);
        }
        let mut numbers = Numbers(2);
        group.bench_function(format!("push and pop at the front of {n}"), |b| {
            b.iter(|| {
                list.push(limits, End::Head, &[b"element"]);
                list.pop(limits, End::Head, 1, |e| {
                    black_box(e);
                });
            });
        });
        group.bench_function(format!("index among {n}"), |b| {
            b.iter(|| {
                list.get(numbers.below(n) as usize, |e| {
                    black_box(e);
                })
            });
        });
    }
    group.finish();
}

/// Membership, and members that come and go.
pub fn sets(c: &mut Criterion) {
    let mut group = c.benchmark_group("set");
    let limits = SetLimits::default();
    for n in [SMALL, LARGE] {
        let mut set = Set::new();
        for i in 0..n {
            set.add(&name(i)[..], &limits);
        }
        let mut numbers = Numbers(3);
        group.bench_function(format!("is a member of {n}"), |b| {
            b.iter(|| black_box(set.contains(&name(numbers.below(n))[..])));
        });
        group.bench_function(format!("remove and add among {n}"), |b| {
            b.iter(|| {
                let member = name(numbers.below(n));
                set.remove(&member[..]);
                set.add(&member[..], &limits)
            });
        });
    }
    group.finish();
}

/// By member, by rank, and a change of score.
pub fn sorted_sets(c: &mut Criterion) {
    let mut group = c.benchmark_group("sorted set");
    let limits = ZsetLimits::default();
    for n in [SMALL, LARGE] {
        let mut numbers = Numbers(4);
        let mut zset = Zset::new();
        for i in 0..n {
            zset.insert(&limits, &name(i), numbers.below(LARGE) as f64);
        }
        group.bench_function(format!("score in {n}"), |b| {
            b.iter(|| black_box(zset.score(&name(numbers.below(n)))));
        });
        group.bench_function(format!("rank in {n}"), |b| {
            b.iter(|| black_box(zset.rank(&name(numbers.below(n)))));
        });
        group.bench_function(format!("range of 10 in {n}"), |b| {
            b.iter(|| {
                let from = numbers.below(n - 10) as usize;
                zset.range(from..from + 10, false).for_each(|e| {
                    black_box(e);
                });
            });
        });
        group.bench_function(format!("change of score in {n}"), |b| {
            b.iter(|| {
                let score = numbers.below(LARGE) as f64;
                zset.insert(&limits, &name(numbers.below(n)), score)
            });
        });
    }
    group.finish();
}

/// By field.
pub fn hashes(c: &mut Criterion) {
    let mut group = c.benchmark_group("hash");
    let limits = HashLimits::default();
    for n in [SMALL, LARGE] {
        let mut hash = Hash::new();
        for i in 0..n {
            hash.set(&name(i)[..], &b"a value ..."[..], &limits);
        }
        let mut numbers = Numbers(5);
        group.bench_function(format!("get from {n}"), |b| {
            b.iter(|| black_box(hash.get(&name(numbers.below(n))[..])));
        });
        group.bench_function(format!("set in {n}"), |b| {
            b.iter(|| hash.set(&name(numbers.below(n))[..], &b"other value"[..], &limits));
        });
    }
    group.finish();
}

/// Appending, and a read from the middle.
pub fn streams(c: &mut Criterion) {
    let mut group = c.benchmark_group("stream");
    let limits = StreamLimits::default();
    let texts: [&[u8]; 4] = [b"a", b"1", b"b", b"2"];
    let mut stream = Stream::default();
    let append = |stream: &mut Stream, i: u64| {
        if let Some(id) = stream.new_id(NewId::Auto, i as i64) {
            stream.append(limits, id, &texts);
        }
    };
    (1..LARGE).for_each(|i| append(&mut stream, i));
    let mut numbers = Numbers(6);
    group.bench_function(format!("range of 10 in {LARGE}"), |b| {
        b.iter(|| {
            let ms = numbers.below(LARGE - 20);
            let from = StreamId { ms, seq: 0 };
            stream
                .range(from, StreamId::MAX, false)
                .take(10)
                .for_each(|e| {
                    black_box(e);
                });
        });
    });
    let mut i = LARGE;
    group.bench_function(format!("append to {LARGE}"), |b| {
        b.iter(|| {
            i += 1;
            append(&mut stream, i);
        });
    });
    group.finish();
}

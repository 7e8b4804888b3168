//! What is written and read: the log of effects, RDB, checksums, compression.

use std::hint::black_box;

use criterion::{Criterion, Throughput};
use russet::base::crc;
use russet::base::lzf::{self, Compressor};
use russet::keyspace::value::hash::{Hash, HashLimits};
use russet::keyspace::value::zset::{Zset, ZsetLimits};
use russet::keyspace::value::{Str, Value};
use russet::oplog::effect::UnitEffects;
use russet::oplog::log::Log;
use russet::persist::rdb::dump::{dump, restore};
use russet::persist::rdb::load::Limits;
use russet::persist::rdb::writer::Config;

use crate::{Numbers, name};

/// Appending a unit of SETs, with a backlog that keeps the newest.
pub fn log(c: &mut Criterion) {
    let mut group = c.benchmark_group("log");
    let value = [b'x'; 64];
    for commands in [1, 8] {
        let log = Log::new();
        log.backlog_create(1 << 20);
        let mut unit = UnitEffects::new();
        group.throughput(Throughput::Elements(commands));
        group.bench_function(format!("append a unit of {commands}"), |b| {
            b.iter(|| {
                unit.clear();
                for i in 0..commands {
                    unit.push(0, &[b"SET", &name(i), &value]);
                }
                log.append(&unit)
            });
        });
    }
    group.finish();
}

/// Values of each size and their payloads: there and back.
pub fn rdb(c: &mut Criterion) {
    let mut group = c.benchmark_group("rdb");
    let hash = |n: u64| {
        let mut hash = Hash::new();
        for i in 0..n {
            hash.set(&name(i)[..], &b"a value ..."[..], &HashLimits::default());
        }
        Value::from(hash)
    };
    let mut zset = Zset::new();
    for i in 0..100_000 {
        zset.insert(&ZsetLimits::default(), &name(i), i as f64 / 3.0);
    }
    let values = [
        ("string of 64 bytes", Value::from(Str::new(&[b'x'; 64]))),
        ("hash of 100", hash(100)),
        ("hash of 100,000", hash(100_000)),
        ("sorted set of 100,000", Value::from(zset)),
    ];
    for (what, value) in values {
        let config = Config::default();
        let Ok(payload) = dump(value.as_ref(), config) else {
            continue;
        };
        group.throughput(Throughput::Bytes(payload.len() as u64));
        group.bench_function(format!("write a {what}"), |b| {
            b.iter(|| dump(value.as_ref(), config));
        });
        group.bench_function(format!("read a {what}"), |b| {
            b.iter(|| restore(&payload, Limits::default(), false));
        });
    }
    group.finish();
}

/// CRC-64 as RDB has it: ours, which is the crate `crc-fast`, beside the crate `crc64`.
pub fn checksums(c: &mut Criterion) {
    let mut group = c.benchmark_group("crc64");
    for len in [64, 4096, 1 << 20] {
        let data = text(len);
        assert_eq!(crc::crc64(0, &data), crc64::crc64(0, &data));
        group.throughput(Throughput::Bytes(len as u64));
        group.bench_function(format!("crc-fast, {len} bytes"), |b| {
            b.iter(|| crc::crc64(0, black_box(&data)));
        });
        group.bench_function(format!("crc64, {len} bytes"), |b| {
            b.iter(|| crc64::crc64(0, black_box(&data)));
        });
    }
    group.finish();
}

/// LZF, ours beside the crate `lzf`, of text that compresses about three to one.
pub fn compression(c: &mut Criterion) {
    let mut group = c.benchmark_group("lzf");
    for len in [64, 4096, 1 << 20] {
        let data = text(len);
        let mut compressor = Compressor::default();
        let mut packed = Vec::new();
        group.throughput(Throughput::Bytes(len as u64));
        group.bench_function(format!("compress {len} bytes"), |b| {
            b.iter(|| {
                packed.clear();
                compressor.compress(black_box(&data), 4, &mut packed)
            });
        });
        group.bench_function(format!("compress {len} bytes, crate"), |b| {
            b.iter(|| ::lzf::compress(black_box(&data)));
        });
        let mut back = Vec::new();
        group.bench_function(format!("decompress {len} bytes"), |b| {
            b.iter(|| {
                back.clear();
                lzf::decompress(black_box(&packed), len, &mut back)
            });
        });
        group.bench_function(format!("decompress {len} bytes, crate"), |b| {
            b.iter(|| ::lzf::decompress(black_box(&packed), len));
        });
        assert!(packed.is_empty() || back == data);
    }
    group.finish();
}

/// Words in random order.
fn text(len: usize) -> Vec<u8> {
    let words: [&[u8]; 8] = [
        b"session", b"token", b"user", b"=", b"; ", b"path/", b"value", b"0123",
    ];
    let mut numbers = Numbers(7);
    let mut text = Vec::new();
    while text.len() < len {
        let word = words.get(numbers.below(8) as usize);
        text.extend_from_slice(word.copied().unwrap_or_default());
    }
    text.truncate(len);
    text
}

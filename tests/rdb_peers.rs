//! RDB files and DUMP payloads exchanged with the real servers that are installed, in both
//! directions: `redis-server` and `valkey-server` on the PATH, each left out where it is not.
//!
//! A file written here with values of every type and encoding is loaded by the peer; what the
//! peer then tells through its commands, saves, and dumps is compared with the values.
#![cfg(test)]
#![allow(missing_docs)]

#[path = "rdb_peers/peer.rs"]
mod peer;
#[path = "rdb_peers/sample.rs"]
mod sample;
#[path = "rdb_peers/stream.rs"]
mod stream;

use std::collections::BTreeMap;
use std::fs::File;

use peer::{Peer, Response};
use russet::keyspace::value::Value;
use russet::persist::rdb::dump::{dump, restore};
use russet::persist::rdb::file::{Target, save};
use russet::persist::rdb::{Config, Entry, Limits, Options, Origin, Reader, Sink, Usage};

type Values = BTreeMap<(u32, Vec<u8>), (Value, Option<i64>)>;

/// Expiries of the samples lie in the year 2100.
const EXPIRE_MS: i64 = 4_102_444_800_123;

/// The elements of a value, in an order that depends on them alone.
fn elements(value: &Value) -> Vec<Vec<u8>> {
    sample::elements(value)
}

/// The same, as the peer's commands tell it.
fn told(peer: &mut Peer, key: &[u8], kind: &str) -> Vec<Vec<u8>> {
    let mut all = match kind {
        "string" => vec![peer.bulk(&[b"GET", key])],
        "list" => return peer.bulks(&[b"LRANGE", key, b"0", b"-1"]),
        "set" => peer.bulks(&[b"SMEMBERS", key]),
        "hash" => join_pairs(peer.bulks(&[b"HGETALL", key])),
        "stream" => stream::told(peer, key),
        "zset" => join_pairs(peer.bulks(&[b"ZRANGE", key, b"0", b"-1", b"WITHSCORES"])),
        other => panic!("type {other}"),
    };
    if kind != "zset" {
        all.sort();
    }
    all
}

fn join_pairs(flat: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
    flat.chunks(2).map(|pair| pair.join(&b'=')).collect()
}

struct Collect(Values);

impl Sink for Collect {
    fn aux(&mut self, _name: &[u8], _value: &[u8], _offset: u64) -> Result<(), String> {
        Ok(())
    }

    fn function(&mut self, _code: &[u8], _offset: u64) -> Result<(), String> {
        Ok(())
    }

    fn select_db(&mut self, _db: u64, _offset: u64) -> Result<(), String> {
        Ok(())
    }

    fn entry(&mut self, entry: Entry<'_>) -> Result<(), String> {
        let key = (entry.db as u32, entry.key.to_vec());
        self.0
            .insert(key, (entry.value.into_value(), entry.expire_ms));
        Ok(())
    }
}

fn sample_values() -> Values {
    let mut values = Values::new();
    for (index, (key, value)) in sample::values().into_iter().enumerate() {
        let db = if index % 5 == 4 { 9 } else { 0 };
        let expire_ms = (index % 3 == 0).then_some(EXPIRE_MS + index as i64);
        values.insert((db, key.into_bytes()), (value, expire_ms));
    }
    values
}

fn exchange(program: &str, version: u16) {
    for compress in [true, false] {
        let Some(mut peer) = Peer::prepare(program) else {
            eprintln!("left out: no {program} here");
            return;
        };
        let config = Config {
            version,
            compress,
            ..Config::default()
        };
        let values = sample_values();
        write_file(&peer, config, &values);
        peer.start();
        same_by_commands(&mut peer, &values);
        same_by_payloads(&mut peer, config, &values);
        assert_eq!(peer.call(&[b"SAVE"]), Response::Simple("OK".to_owned()));
        same_by_file(&peer, &values);
    }
}

fn write_file(peer: &Peer, config: Config, values: &Values) {
    let target = Target {
        dir: peer.dir(),
        name: "dump.rdb",
        temp: "temp-1.rdb",
        incremental_fsync: false,
    };
    save(&target, config, |writer| {
        writer.header(&Origin {
            server_version: "8.0.6",
            ..Origin::default()
        })?;
        writer
            .function(b"#!lua name=lib\nredis.register_function('f', function() return 1 end)")?;
        writer.size_hint(0, values.len() as u64, 1)?;
        for ((db, key), (value, expire_ms)) in values {
            writer.entry(*db, key, value.as_ref(), *expire_ms, Usage::IdleSeconds(3))?;
        }
        Ok(())
    })
    .unwrap();
}

fn same_by_commands(peer: &mut Peer, values: &Values) {
    let functions = peer.call(&[b"FUNCTION", b"LIST"]);
    assert!(matches!(functions, Response::Array(list) if list.len() == 1));
    for ((db, key), (value, expire_ms)) in values {
        peer.call(&[b"SELECT", db.to_string().as_bytes()]);
        let name = String::from_utf8_lossy(key);
        let Response::Simple(kind) = peer.call(&[b"TYPE", key]) else {
            panic!("{name}")
        };
        assert_eq!(kind, value.kind().name(), "{name}");
        assert_eq!(told(peer, key, &kind), elements(value), "{name}");
        let expire = Response::Int(expire_ms.unwrap_or(-1));
        assert_eq!(peer.call(&[b"PEXPIRETIME", key]), expire, "{name}");
        if peer.keeps_encodings() {
            let encoding = peer.bulk(&[b"OBJECT", b"ENCODING", key]);
            let ours = value.as_ref().encoding();
            assert_eq!(String::from_utf8_lossy(&encoding), ours, "{name}");
        }
    }
}

fn same_by_payloads(peer: &mut Peer, config: Config, values: &Values) {
    for ((db, key), (value, _)) in values {
        peer.call(&[b"SELECT", db.to_string().as_bytes()]);
        let name = String::from_utf8_lossy(key);
        let theirs = peer.bulk(&[b"DUMP", key]);
        let back = restore(&theirs, Limits::default(), false).unwrap();
        assert_eq!(elements(&back), elements(value), "{name}");
        let ours = dump(value.as_ref(), config).unwrap();
        let restored = peer.call(&[b"RESTORE", b"copy", b"0", &ours, b"REPLACE"]);
        assert_eq!(restored, Response::Simple("OK".to_owned()), "{name}");
        assert_eq!(
            told(peer, b"copy", value.kind().name()),
            elements(value),
            "{name}"
        );
        peer.call(&[b"DEL", b"copy"]);
    }
}

fn same_by_file(peer: &Peer, values: &Values) {
    let file = File::open(peer.dir().join("dump.rdb")).unwrap();
    let mut collect = Collect(Values::new());
    Reader::new(file, Options::default())
        .load(&mut collect)
        .unwrap();
    assert!(collect.0.keys().eq(values.keys()));
    for ((key, (ours, expire_ms)), (theirs, their_expire_ms)) in
        values.iter().zip(collect.0.values())
    {
        let name = String::from_utf8_lossy(&key.1);
        assert_eq!(elements(theirs), elements(ours), "{name}");
        assert_eq!(their_expire_ms, expire_ms, "{name}");
    }
}

#[test]
fn redis_loads_what_we_save_and_we_load_what_it_saves() {
    exchange("redis-server", 10);
}

#[test]
fn valkey_loads_what_we_save_and_we_load_what_it_saves() {
    exchange("valkey-server", 11);
}

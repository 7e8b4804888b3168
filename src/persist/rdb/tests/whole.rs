//! Streams written here and read back.

use super::*;
use crate::keyspace::value::{Str, StrRef, ValueRef};
use crate::persist::rdb::ReplicationPoint;
use crate::persist::rdb::dump::{RestoreError, dump, restore};
use crate::persist::rdb::error::ErrorKind;
use crate::persist::rdb::load::Limits;
use proptest::prelude::*;
use std::mem::discriminant;

fn text(value: &Value) -> Vec<u8> {
    match value {
        Value::Str(string) => string.as_ref().to_vec(),
        other => panic!("not a string: {other:?}"),
    }
}

#[test]
fn everything_about_a_file_comes_back() {
    let mut writer = Writer::new(Vec::new(), Config::default());
    let origin = Origin {
        server_version: "8.0.6",
        created_s: 1_700_000_000,
        used_memory: 5 << 30,
        replication: Some(ReplicationPoint {
            stream_db: 3,
            id: "0123456789012345678901234567890123456789",
            offset: 1 << 40,
        }),
        aof_base: true,
    };
    writer.header(&origin).unwrap();
    writer.function(b"#!lua name=lib\n").unwrap();
    let value = Str::new(b"value");
    let value = ValueRef::Str(value.as_ref());
    writer.size_hint(0, 2, 1).unwrap();
    writer.entry(0, b"plain", value, None, Usage::None).unwrap();
    writer
        .entry(0, b"12", value, Some(-5), Usage::IdleSeconds(70))
        .unwrap();
    writer.size_hint(15, 1, 0).unwrap();
    writer
        .entry(15, b"", value, Some(i64::MAX), Usage::Frequency(200))
        .unwrap();
    let (bytes, length) = writer.finish().unwrap();

    let (sink, summary) = read(&bytes).unwrap();
    assert_eq!(summary.length, length);
    assert_eq!(summary.version, 11);
    assert_eq!(summary.checksum, Checksum::Verified);
    let aux: Vec<String> = sink
        .aux
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    assert_eq!(
        aux.join(" "),
        "redis-ver=8.0.6 redis-bits=64 ctime=1700000000 \
        used-mem=5368709120 repl-stream-db=3 repl-id=0123456789012345678901234567890123456789 \
        repl-offset=1099511627776 aof-base=1"
    );
    assert_eq!(sink.functions, [b"#!lua name=lib\n"]);
    assert_eq!(sink.dbs, [0, 15]);
    assert_eq!(sink.sizes, [(2, 1), (1, 0)]);
    let seen: Vec<_> = sink
        .entries
        .iter()
        .map(|entry| (entry.db, &entry.key[..], entry.expire_ms, entry.usage))
        .collect();
    assert_eq!(
        seen,
        [
            (0, &b"plain"[..], None, Usage::None),
            (0, b"12", Some(-5), Usage::IdleSeconds(70)),
            (15, b"", Some(i64::MAX), Usage::Frequency(200)),
        ]
    );
    assert!(
        sink.entries
            .iter()
            .all(|entry| text(&entry.value) == b"value")
    );
}

#[test]
fn listings_are_those_of_the_fixtures() {
    let mut writer = Writer::new(Vec::new(), Config::default());
    let long = Str::new(b"0123456789012345678901234567890123456789");
    writer
        .entry(9, b"h", ValueRef::Str(long.as_ref()), None, Usage::None)
        .unwrap();
    let short = Str::new(b"-1");
    writer
        .entry(
            0,
            b"ttl",
            ValueRef::Str(short.as_ref()),
            Some(7),
            Usage::None,
        )
        .unwrap();
    let (bytes, _) = writer.finish().unwrap();
    let (sink, _) = read(&[b"REDIS0011", &bytes[..bytes.len() - 8], &[0; 8]].concat()).unwrap();
    let expected = "0 74746c string 7 2d31\n\
                    9 68 string - sha1:40:394f28745cc4992d8d43dd5f788c3366535226e3\n";
    assert_eq!(listing(&sink.entries), expected);
}

#[test]
fn files_of_real_servers_are_read_whole() {
    let fixtures: [(&[u8], &str, i64); 3] = [
        (
            include_bytes!("../../../../tests/fixtures/rdb/redis-7.0.15.rdb"),
            include_str!("../../../../tests/fixtures/rdb/redis-7.0.15.txt"),
            10,
        ),
        (
            include_bytes!("../../../../tests/fixtures/rdb/valkey-8.0.1.rdb"),
            include_str!("../../../../tests/fixtures/rdb/valkey-8.0.1.txt"),
            11,
        ),
        (
            include_bytes!("../../../../tests/fixtures/rdb/redis-8.0.2.rdb"),
            include_str!("../../../../tests/fixtures/rdb/redis-8.0.2.txt"),
            12,
        ),
    ];
    for (bytes, expected, version) in fixtures {
        let (sink, summary) = read(bytes).unwrap();
        assert_eq!(summary.version, version);
        assert_eq!(summary.checksum, Checksum::Verified);
        assert_eq!(sink.functions.len(), 1);
        assert_eq!(listing(&sink.entries), expected);
    }
}

#[test]
fn what_eviction_knew_is_read() {
    let cases: [(&[u8], Usage); 3] = [
        (
            include_bytes!("../../../../tests/fixtures/rdb/redis-7.0.15-lfu.rdb"),
            Usage::Frequency(0),
        ),
        (
            include_bytes!("../../../../tests/fixtures/rdb/redis-8.0.2-lru.rdb"),
            Usage::IdleSeconds(0),
        ),
        (
            include_bytes!("../../../../tests/fixtures/rdb/valkey-8.0.1-lfu.rdb"),
            Usage::Frequency(0),
        ),
    ];
    for (bytes, kind) in cases {
        let (sink, _) = read(bytes).unwrap();
        assert_eq!(sink.entries.len(), 2);
        for entry in &sink.entries {
            assert_eq!(discriminant(&entry.usage), discriminant(&kind));
        }
        let expiring = sink
            .entries
            .iter()
            .filter(|entry| entry.expire_ms.is_some());
        assert_eq!(expiring.count(), 1);
    }
}

#[test]
fn a_stream_is_followed_by_what_follows_it() {
    let bytes = [stream(b""), b"*1\r\n$4\r\nPING\r\n".to_vec()].concat();
    let mut reader = Reader::new(&bytes[..], Options::default());
    reader.load(&mut Collect::default()).unwrap();
    let (rest, ahead) = reader.into_rest();
    assert_eq!([&ahead, rest].concat(), b"*1\r\n$4\r\nPING\r\n");
}

#[test]
fn old_headers_and_expiries_are_read() {
    // Version 3: an expiry in seconds, no checksum.
    let bytes = b"REDIS0003\xfe\x00\xfd\x80\x00\x00\x00\x00\x01k\x01v\xff";
    let (sink, summary) = read(bytes).unwrap();
    assert_eq!(summary.checksum, Checksum::NotChecked);
    assert_eq!(sink.entries[0].expire_ms, Some(128_000));
    assert_eq!(text(&sink.entries[0].value), b"v");
}

#[test]
fn what_only_others_need_is_passed_over() {
    let slots = b"\xf4\x00\x05\x01";
    let module_aux = b"\xf7\x81\x11\x22\x33\x44\x55\x66\x77\x88\x02\x01\x02\x05\x05\x03abc\
                       \x04\0\0\0\0\0\0\0\0\x03\0\0\0\0\x01\x07\x00";
    let body = [&slots[..], module_aux, b"\x00\x01k\x01v"].concat();
    let (sink, _) = read(&stream(&body)).unwrap();
    assert_eq!(sink.entries.len(), 1);
}

#[test]
fn what_does_not_exist_here_is_refused_by_name() {
    for (body, text) in [
        (
            &b"\x07\x01k\x81\x11\x22\x33\x44\x55\x66\x77\x88\x00"[..],
            "module type 'ESIzRFVmd'",
        ),
        (b"\x06\x01k", "Pre-release module format not supported"),
        (b"\xf6\x01", "Pre-release function format not supported"),
        (b"\x08\x01k", "Unknown RDB encoding type 8"),
        (b"\x1a\x01k", "Unknown RDB encoding type 26"),
    ] {
        let error = read(&stream(body)).unwrap_err();
        assert!(error.to_string().contains(text), "{error}");
        assert!(error.offset > 9 && !error.is_short_read());
    }
}

#[test]
fn headers_and_trailers_are_judged() {
    let kind = |bytes: &[u8]| read(bytes).unwrap_err().kind;
    assert!(matches!(kind(b"REDIX0011\xff"), ErrorKind::Signature));
    assert!(matches!(kind(b"REDIS0000\xff"), ErrorKind::Version(0)));
    assert!(matches!(kind(b"REDIS0013\xff"), ErrorKind::Version(13)));
    assert!(matches!(kind(b"REDIS0080\xff"), ErrorKind::Version(80)));
    assert!(matches!(kind(b"REDI"), ErrorKind::Eof));
    let mut bytes = stream(b"");
    *bytes.last_mut().unwrap() = 1;
    let error = read(&bytes).unwrap_err();
    assert_eq!(error.log_lines().len(), 2);
    assert!(error.log_lines()[0].starts_with("Wrong RDB checksum expected: ("));
    assert!(error.log_lines()[1].contains("CRC error"));
    let options = Options {
        skip_checksum: true,
        ..Options::default()
    };
    let summary = Reader::new(&bytes[..], options)
        .load(&mut Collect::default())
        .unwrap();
    assert_eq!(summary.checksum, Checksum::NotChecked);
}

#[test]
fn payloads_need_their_footer() {
    let value = Str::new(b"hello");
    let value = ValueRef::Str(value.as_ref());
    let payload = dump(value, Config::default()).unwrap();
    // As `DUMP` of Redis 7.2 gives it.
    assert_eq!(payload[..8], *b"\x00\x05hello\x0b");
    let back = restore(&payload, Limits::default(), false).unwrap();
    assert_eq!(text(&back), b"hello");
    for at in 0..payload.len() {
        let cut = restore(&payload[..at], Limits::default(), false);
        assert!(matches!(cut, Err(RestoreError::Footer)));
        let mut damaged = payload.clone();
        damaged[at] ^= 1;
        let error = restore(&damaged, Limits::default(), false).unwrap_err();
        assert_eq!(
            error.to_string(),
            "DUMP payload version or checksum are wrong"
        );
    }
    let mut damaged = payload.clone();
    damaged[1] = 4;
    assert!(restore(&damaged, Limits::default(), true).is_ok());
    damaged[1] = 6;
    let error = restore(&damaged, Limits::default(), true).unwrap_err();
    assert_eq!(error.to_string(), "Bad data format");
    let mut newer = payload;
    newer[7] = 13;
    let newer = restore(&newer, Limits::default(), true);
    assert!(matches!(newer, Err(RestoreError::Footer)));
}

proptest! {
    #[test]
    fn any_strings_come_back(
        strings in prop::collection::vec((
            prop::collection::vec(any::<u8>(), 0..30),
            prop_oneof![
                any::<i64>().prop_map(|int| int.to_string().into_bytes()),
                prop::collection::vec(any::<u8>(), 0..100),
                prop::collection::vec(0u8..3, 0..40_000),
            ],
            any::<Option<i64>>(),
        ), 0..12),
        compress in any::<bool>(),
    ) {
        let mut writer = Writer::new(Vec::new(), Config { compress, ..Config::default() });
        writer.header(&Origin::default()).unwrap();
        for (key, string, expire_ms) in &strings {
            let value = Str::new(string);
            let value = ValueRef::Str(value.as_ref());
            writer.entry(0, key, value, *expire_ms, Usage::None).unwrap();
        }
        let (bytes, _) = writer.finish().unwrap();
        let (sink, _) = read(&bytes).unwrap();
        prop_assert_eq!(sink.entries.len(), strings.len());
        for (entry, (key, string, expire_ms)) in sink.entries.iter().zip(&strings) {
            prop_assert_eq!(&entry.key, key);
            prop_assert_eq!(entry.expire_ms, *expire_ms);
            prop_assert_eq!(&text(&entry.value), string);
            let Value::Str(loaded) = &entry.value else { unreachable!() };
            let by_set = Str::new(string);
            prop_assert_eq!(loaded.as_ref().encoding(), by_set.as_ref().encoding());
            let is_int = matches!(loaded.as_ref(), StrRef::Int(_));
            prop_assert_eq!(is_int, matches!(by_set, Str::Int(_)));
        }
    }
}

//! Hashes whose fields expire: those of Redis 8.0, to bytes and back, and damaged in every way.

use super::*;
use crate::keyspace::value::hash::{Hash, HashLimits, Lifetime};
use crate::keyspace::value::packed::MAX_EXPIRY_MS;
use crate::persist::rdb::dump::{RestoreError, dump, restore};
use crate::persist::rdb::listpack;
use crate::persist::rdb::load::Limits;
use crate::persist::rdb::types::ObjectType;
use proptest::prelude::*;

const FIXTURE: &[u8] = include_bytes!("../../../../tests/fixtures/rdb/redis-8.0.2-fields.rdb");

fn hash_of(key: &[u8]) -> Hash {
    let (sink, _) = read(FIXTURE).unwrap();
    let entry = sink.entries.iter().find(|e| e.key == key).unwrap();
    match &entry.value {
        Value::Hash(hash) => hash.clone(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn hashes_of_redis_are_read_with_their_expiries() {
    let expiry = |hash: &Hash, field: &[u8]| hash.record(field).unwrap().expire_ms;
    let small = hash_of(b"small");
    assert_eq!(
        (small.encoding(), small.len(), small.volatile()),
        ("listpackex", 3, 2)
    );
    assert_eq!(expiry(&small, b"a"), Some(4_000_000_000_123));
    assert_eq!(expiry(&small, b"b"), Some(3_999_999_999_999));
    assert_eq!(expiry(&small, b"c"), None);
    assert_eq!(small.get(b"b"), Some(Elem::Bytes(b"two")));
    assert_eq!(hash_of(b"plain").encoding(), "listpack");
    assert_eq!(hash_of(b"was").volatile(), 0);
    assert_eq!(hash_of(b"largewas").volatile(), 0);
    let large = hash_of(b"large");
    assert_eq!(
        (large.encoding(), large.len(), large.volatile()),
        ("hashtable", 300, 100)
    );
    for n in 0..300 {
        let at = (n % 3 == 0).then_some(4_000_000_000_000 + n * 1000);
        assert_eq!(expiry(&large, format!("field:{n}").as_bytes()), at);
    }
}

#[test]
fn a_payload_is_that_of_redis_byte_for_byte() {
    let mut hash = Hash::new();
    let limits = HashLimits::default();
    hash.set_for(b"a", b"1", Lifetime::Until(2_000_000_000_000), &limits);
    hash.set(b"b", b"22", &limits);
    hash.set_for(b"c", b"xx", Lifetime::Until(1_900_000_000_123), &limits);
    let payload = dump(Value::from(hash.clone()).as_ref(), Config::default()).unwrap();
    let small = b"\x19\x7b\x38\xd3\x60\xba\x01\0\0\x2e\x2e\0\0\0\x09\0\
        \x81c\x02\x82xx\x03\xf4\x7b\x38\xd3\x60\xba\x01\0\0\x09\
        \x81a\x02\x01\x01\xf4\0\x20\x4a\xa9\xd1\x01\0\0\x09\
        \x81b\x02\x16\x01\0\x01\xff\x0c\0";
    assert_eq!(payload[..payload.len() - 8], small[..]);
    hash.prepare(1000, &limits);
    assert_eq!(hash.encoding(), "hashtable");
    let payload = dump(Value::from(hash).as_ref(), Config::default()).unwrap();
    assert!(payload.starts_with(b"\x18\x7b\x38\xd3\x60\xba\x01\0\0\x03"));
    let relative = b"\x81\0\0\0\x17\x48\x76\xe7\x86\x01a\xc0\x01";
    assert!(
        payload
            .windows(relative.len())
            .any(|window| window == relative)
    );
    assert_eq!(payload[payload.len() - 10..][..2], [12, 0]);
}

/// A payload of a type and a value, with a footer that is not looked at.
fn restored(kind: u8, body: &[u8]) -> Result<Hash, String> {
    let payload = [&[kind], body, &[12, 0], &[0; 8]].concat();
    match restore(&payload, Limits::default(), true) {
        Ok(Value::Hash(hash)) => Ok(hash),
        Ok(other) => panic!("{other:?}"),
        Err(RestoreError::Data(error)) => Err(error.kind.to_string()),
        Err(other) => panic!("{other}"),
    }
}

fn triples(elements: &[&[u8]]) -> Vec<u8> {
    let mut builder = listpack::Builder::default();
    elements.iter().for_each(|element| builder.push(element));
    let block = builder.finish().to_vec();
    let mut out = vec![0x80];
    out.extend_from_slice(&(block.len() as u32).to_be_bytes());
    out.extend(block);
    out
}

const AT: u64 = 1_900_000_000_123;

fn absolute(at: u64) -> Vec<u8> {
    [&[0x81][..], &at.to_be_bytes()].concat()
}

#[test]
fn every_type_that_carries_expiries_is_read() {
    let mut expected = Hash::new();
    let limits = HashLimits::default();
    expected.set_for(b"f", b"v", Lifetime::Until(AT as i64), &limits);
    expected.set(b"g", b"w", &limits);
    let at = AT.to_string();
    let block = triples(&[b"f", b"v", at.as_bytes(), b"g", b"w", b"0"]);
    let based = [&AT.to_le_bytes()[..], &block].concat();
    let table = [&[2][..], &absolute(AT), b"\x01f\x01v\0\x01g\x01w"].concat();
    let relative = [&AT.to_le_bytes()[..], b"\x02\x01\x01f\x01v\0\x01g\x01w"].concat();
    for (kind, body) in [(22, table), (23, block), (24, relative), (25, based)] {
        assert_eq!(restored(kind, &body), Ok(expected.clone()), "{kind}");
    }
}

#[test]
fn what_cannot_be_such_a_hash_is_refused() {
    let refused = |kind: u8, body: &[u8]| restored(kind, body).unwrap_err();
    let beyond = (MAX_EXPIRY_MS as u64 + 1).to_string();
    for (elements, reason) in [
        (&[&b"f"[..], b"v"][..], "field without expiry"),
        (&[b"f"], "field without value"),
        (&[b"f", b"v", b"x"], "expiry is not a time"),
        (&[b"f", b"v", b"-1"], "expiry is not a time"),
        (&[b"f", b"v", beyond.as_bytes()], "expiry is not a time"),
        (&[b"f", b"v", b"5", b"f", b"w", b"0"], "field comes twice"),
    ] {
        let text = refused(23, &triples(elements));
        assert!(text.contains(reason), "{text}");
        let based = [&AT.to_le_bytes()[..], &triples(elements)].concat();
        assert!(refused(25, &based).contains(reason));
    }
    let twice = [&[2][..], b"\0\x01f\x01v\0\x01f\x01w"].concat();
    assert!(refused(22, &twice).contains("Duplicate hash fields"));
    let late = [&[1][..], &absolute(MAX_EXPIRY_MS as u64 + 1), b"\x01f\x01v"].concat();
    assert!(refused(22, &late).contains("invalid expireAt"));
    let sum = [&MAX_EXPIRY_MS.to_le_bytes()[..], b"\x01\x02\x01f\x01v"].concat();
    assert!(refused(24, &sum).contains("invalid expireAt"));
    let base = [&u64::MAX.to_le_bytes()[..], b"\x01\x02\x01f\x01v"].concat();
    assert!(refused(24, &base).contains("invalid minExpire"));
}

fn field() -> impl Strategy<Value = (Vec<u8>, Vec<u8>, Option<i64>)> {
    let text = || {
        prop_oneof![
            any::<i64>().prop_map(|n| n.to_string().into_bytes()),
            prop::collection::vec(any::<u8>(), 0..80),
        ]
    };
    (text(), text(), prop::option::of(1..=MAX_EXPIRY_MS))
}

proptest! {
    #[test]
    fn any_such_hash_survives(
        fields in prop::collection::vec(field(), 1..300),
        max_entries in prop::sample::select(vec![0usize, 128, 1000]),
    ) {
        let limits = HashLimits { max_entries, max_value: 1000 };
        let mut hash = Hash::new();
        for (field, value, expire_ms) in &fields {
            let lifetime = expire_ms.map_or(Lifetime::Endless, Lifetime::Until);
            hash.set_for(field, value, lifetime, &limits);
        }
        let payload = dump(Value::from(hash.clone()).as_ref(), Config::default()).unwrap();
        let carries = [ObjectType::HashMetadata as u8, ObjectType::HashListpackEx as u8];
        prop_assert_eq!(carries.contains(&payload[0]), hash.volatile() > 0);
        let Value::Hash(back) = restore(&payload, Limits::default(), false).unwrap() else {
            panic!("another type")
        };
        prop_assert_eq!(back, hash);
    }
}

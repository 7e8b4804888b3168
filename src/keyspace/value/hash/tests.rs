//! `Hash` against a standard map.

use std::collections::HashMap;

use proptest::prelude::*;

use super::*;

type Model = HashMap<Vec<u8>, Vec<u8>>;

fn contents(hash: &Hash) -> Model {
    hash.iter()
        .map(|record| (record.key.to_vec(), record.value.to_vec()))
        .collect()
}

fn scanned(hash: &Hash, count: usize) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut seen = Vec::new();
    let mut cursor = 0;
    loop {
        cursor = hash.scan(cursor, count, |r| {
            seen.push((r.key.to_vec(), r.value.to_vec()))
        });
        if cursor == 0 {
            return seen;
        }
    }
}

fn agrees(hash: &Hash, model: &Model) {
    assert_eq!(hash.len(), model.len());
    assert_eq!(hash.iter().len(), model.len());
    assert_eq!(contents(hash), *model);
    let seen = scanned(hash, 10);
    assert_eq!(seen.len(), model.len());
    assert_eq!(seen.into_iter().collect::<Model>(), *model);
    for (field, value) in model {
        assert_eq!(hash.get(field), Some(Elem::from(value)));
    }
    let ranked = (0..hash.len()).filter_map(|rank| hash.nth(rank));
    let ranked: Model = ranked.map(|r| (r.key.to_vec(), r.value.to_vec())).collect();
    assert_eq!(ranked, *model);
    assert_eq!(hash.nth(model.len()), None);
}

/// Few fields, so that operations meet; values of every length class, outside pages included.
fn field() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        4 => (0..400i64).prop_map(|n| n.to_string().into_bytes()),
        4 => (0..400).prop_map(|n| format!("field:{n}").into_bytes()),
        1 => proptest::sample::select(vec!["", "-0", "01", "-1", "9223372036854775807"])
            .prop_map(|s| s.as_bytes().to_vec()),
        1 => (1000usize..1100).prop_map(|n| vec![b'k'; n]),
    ]
}

fn value() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        4 => "[a-z]{0,20}".prop_map(String::into_bytes),
        3 => any::<i64>().prop_map(|n| n.to_string().into_bytes()),
        1 => (60usize..70).prop_map(|n| vec![b'v'; n]),
        1 => (1020usize..1030).prop_map(|n| vec![b'v'; n]),
        1 => Just(vec![b'V'; 10_000]),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]
    #[test]
    fn it_agrees_with_a_map(
        ops in proptest::collection::vec((0..10u8, field(), value()), 0..1500),
        max_entries in proptest::sample::select(vec![0usize, 4, 128, 100_000]),
        max_value in proptest::sample::select(vec![0usize, 64, 20_000]),
    ) {
        let limits = HashLimits { max_entries, max_value };
        let (mut hash, mut model) = (Hash::new(), Model::new());
        let mut held = Vec::new();
        for (n, (kind, field, value)) in ops.iter().enumerate() {
            match kind {
                0..=5 => {
                    let created = model.insert(field.clone(), value.clone()).is_none();
                    prop_assert_eq!(hash.set(field, value, &limits), created);
                }
                6..=8 => {
                    prop_assert_eq!(hash.remove(field), model.remove(field).is_some());
                }
                _ => prop_assert_eq!(hash.contains(field), model.contains_key(field)),
            }
            if n % 200 == 0 {
                held.push((hash.clone(), model.clone()));
            }
        }
        agrees(&hash, &model);
        for (hash, model) in &held {
            agrees(hash, model);
        }
    }
}

#[test]
fn it_changes_representation_as_redis_does() {
    let limits = HashLimits::default();
    let mut hash = Hash::new();
    assert_eq!(hash.encoding(), "listpack");
    for n in 0..128i64 {
        assert!(hash.set(n, n, &limits));
    }
    assert_eq!(hash.encoding(), "listpack");
    assert!(!hash.set(5, &[b'x'; 64], &limits));
    assert_eq!(hash.encoding(), "listpack");
    assert!(hash.set(128, 1, &limits));
    assert_eq!(hash.encoding(), "hashtable");
    for n in 0..128i64 {
        assert!(hash.remove(n));
    }
    assert_eq!((hash.len(), hash.encoding()), (1, "hashtable"));

    let mut long = Hash::new();
    long.set(b"f", &[b'x'; 64], &limits);
    assert_eq!(long.encoding(), "listpack");
    assert!(!long.set(b"f", &[b'x'; 65], &limits));
    assert_eq!((long.len(), long.encoding()), (1, "hashtable"));
    let mut prepared = Hash::new();
    prepared.prepare(64, &limits);
    assert_eq!(prepared.encoding(), "listpack");
    prepared.prepare(65, &limits);
    assert_eq!(prepared.encoding(), "hashtable");
}

#[test]
fn a_small_hash_keeps_the_order_of_insertion() {
    let limits = HashLimits::default();
    let mut hash = Hash::new();
    for field in [b"b", b"a", b"c"] {
        hash.set(field, field, &limits);
    }
    hash.set(b"a", b"longer than before", &limits);
    let order: Vec<_> = hash.iter().map(|record| record.key.to_vec()).collect();
    assert_eq!(order, [b"b", b"a", b"c"]);
}

#[test]
fn stored_pairs_become_a_hash_of_the_right_form() {
    let packed: Packed = [&b"a"[..], b"1", b"b", b"2"].into_iter().collect();
    let small = Hash::from_packed(packed.clone(), &HashLimits::default());
    assert_eq!((small.len(), small.encoding()), (2, "listpack"));
    let limits = HashLimits {
        max_entries: 1,
        max_value: 64,
    };
    let large = Hash::from_packed(packed, &limits);
    assert_eq!((large.len(), large.encoding()), (2, "hashtable"));
    assert_eq!(small, large);
    assert!(small.as_packed().is_some() && large.as_packed().is_none());
}

#[test]
fn a_long_value_is_shared_by_readers_and_clones() {
    let limits = HashLimits::default();
    let mut hash = Hash::new();
    hash.set(b"big", &vec![b'x'; 5_000_000], &limits);
    hash.set(b"small", b"y", &limits);
    let before = hash.clone();
    hash.set(b"small", b"z", &limits);
    let (a, b) = (
        hash.shared_value(b"big").unwrap(),
        before.shared_value(b"big").unwrap(),
    );
    assert_eq!(a.as_ptr(), b.as_ptr());
    assert!(hash.shared_value(b"small").is_none());
    assert_eq!(before.get(b"small"), Some(Elem::Bytes(b"y")));
}

#[test]
fn samples_are_distinct_and_of_the_hash() {
    let limits = HashLimits::default();
    for len in [0i64, 1, 100, 3000] {
        let mut hash = Hash::new();
        for n in 0..len {
            hash.set(n, n * 7, &limits);
        }
        assert_eq!(hash.random().is_none(), len == 0);
        for count in [0usize, 1, 5, 99, 5000] {
            let sample = hash.sample(count);
            assert_eq!(sample.len(), count.min(len as usize));
            let distinct: Model = sample
                .iter()
                .map(|r| (r.key.to_vec(), r.value.to_vec()))
                .collect();
            assert_eq!(distinct.len(), sample.len());
            assert!(sample.iter().all(|r| hash.get(r.key) == Some(r.value)));
        }
    }
}

#[test]
fn a_million_fields_of_16_bytes_cost_at_most_45_bytes_each() {
    let limits = HashLimits::default();
    let mut hash = Hash::new();
    for n in 0..1_000_000 {
        let field = format!("field:{n:010}");
        hash.set(field.as_bytes(), format!("value{n:06}").as_bytes(), &limits);
    }
    let each = hash.size_bytes() as f64 / 1e6;
    println!("{each} bytes a field");
    assert!(each <= 45.0, "{each}");
}

#[test]
fn it_is_one_word_and_sendable() {
    fn sendable<T: Send + Sync>() {}
    sendable::<Hash>();
    assert_eq!(size_of::<Hash>(), 8);
}

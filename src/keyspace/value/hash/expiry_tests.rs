//! `Hash` with expiries against a standard map from fields to values and expiries.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

type Model = BTreeMap<Vec<u8>, (Vec<u8>, Option<i64>)>;

fn contents(hash: &Hash) -> Model {
    let entry = |r: Record<'_>| (r.key.to_vec(), (r.value.to_vec(), r.expire_ms));
    hash.iter().map(entry).collect()
}

fn due(hash: &Hash, now_ms: i64) -> Vec<Vec<u8>> {
    let mut due = Vec::new();
    hash.due(now_ms, |record| {
        due.push(record.key.to_vec());
        true
    });
    due.sort();
    due
}

fn agrees(hash: &Hash, model: &Model) {
    assert_eq!(contents(hash), *model);
    let expiries: Vec<i64> = model.values().filter_map(|(_, at)| *at).collect();
    assert_eq!(hash.volatile(), expiries.len());
    assert_eq!(hash.next_expiry(), expiries.iter().min().copied());
    for now_ms in [0, 1, 250, 500, 999, 1000, i64::MAX] {
        let is_due = |(_, at): &(Vec<u8>, Option<i64>)| at.is_some_and(|at| at <= now_ms);
        let expected: Vec<Vec<u8>> = model
            .iter()
            .filter(|(_, entry)| is_due(entry))
            .map(|(field, _)| field.clone())
            .collect();
        assert_eq!(hash.live_len(now_ms), model.len() - expected.len());
        assert_eq!(due(hash, now_ms), expected);
    }
    for (field, (value, at)) in model {
        let record = hash.record(field).unwrap();
        assert_eq!(
            (record.value.to_vec(), record.expire_ms),
            (value.clone(), *at)
        );
    }
}

/// Few fields, so that operations meet; values of every length class, outside pages included.
fn field() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        4 => (0..300i64).prop_map(|n| n.to_string().into_bytes()),
        4 => (0..300).prop_map(|n| format!("field:{n}").into_bytes()),
        1 => (1020usize..1030).prop_map(|n| vec![b'k'; n]),
    ]
}

fn value() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        4 => "[a-z]{0,20}".prop_map(String::into_bytes),
        3 => any::<i64>().prop_map(|n| n.to_string().into_bytes()),
        1 => (1020usize..1030).prop_map(|n| vec![b'v'; n]),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]
    #[test]
    fn it_agrees_with_a_map(
        ops in proptest::collection::vec((0..12u8, field(), value(), 0..1000i64), 0..1500),
        max_entries in proptest::sample::select(vec![0usize, 40, 100_000]),
        max_value in proptest::sample::select(vec![64usize, 20_000]),
    ) {
        let limits = HashLimits { max_entries, max_value };
        let (mut hash, mut model) = (Hash::new(), Model::new());
        let mut held = Vec::new();
        for (n, (kind, field, value, at)) in ops.iter().enumerate() {
            let before = model.get(field).and_then(|(_, at)| *at);
            let lifetime = match kind {
                0 | 1 => Some((Lifetime::Endless, None)),
                2 | 3 => Some((Lifetime::Kept, before)),
                4 | 5 => Some((Lifetime::Until(*at), Some(*at))),
                _ => None,
            };
            if let Some((lifetime, after)) = lifetime {
                let created = model.insert(field.clone(), (value.clone(), after)).is_none();
                prop_assert_eq!(hash.set_for(field, value, lifetime, &limits), created);
            } else if *kind < 9 {
                let expire_ms = (kind % 3 != 0).then_some(*at);
                hash.set_expiry(field, expire_ms);
                if let Some(entry) = model.get_mut(field) {
                    entry.1 = expire_ms;
                }
            } else if *kind < 11 {
                prop_assert_eq!(hash.remove(field), model.remove(field).is_some());
            } else {
                let expected = model.get(field).map(|e| e.0.clone());
                prop_assert_eq!(hash.get(field).map(Elem::to_vec), expected);
            }
            if n % 300 == 0 {
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
fn what_is_due_is_removed_step_by_step_from_a_large_hash() {
    let limits = HashLimits::default();
    let mut hash = Hash::new();
    for n in 0..20_000i64 {
        let lifetime = if n % 2 == 0 {
            Lifetime::Until(n)
        } else {
            Lifetime::Endless
        };
        hash.set_for(n, &[b'v'; 20], lifetime, &limits);
    }
    let whole = hash.clone();
    while hash.has_due(9_999) {
        let mut some = Vec::new();
        hash.due(9_999, |record| {
            some.push(record.key.to_vec());
            some.len() < 100
        });
        assert!(!some.is_empty() && some.len() <= 100);
        assert!(some.iter().all(|field| hash.remove(field)));
    }
    assert_eq!((hash.len(), hash.volatile()), (15_000, 5_000));
    assert_eq!(hash.next_expiry(), Some(10_000));
    assert_eq!(
        (whole.len(), whole.volatile(), whole.next_expiry()),
        (20_000, 10_000, Some(0))
    );
}

#[test]
fn it_stays_listpackex_and_becomes_a_table_by_the_limits_alone() {
    let limits = HashLimits {
        max_entries: 3,
        max_value: 64,
    };
    let mut hash = Hash::new();
    hash.set(b"a", b"1", &limits);
    assert_eq!(hash.encoding(), "listpack");
    hash.set_expiry(b"missing", Some(5));
    assert_eq!(hash.encoding(), "listpack");
    hash.set_expiry(b"a", Some(5));
    assert_eq!(hash.encoding(), "listpackex");
    hash.set_expiry(b"a", None);
    assert_eq!((hash.encoding(), hash.volatile()), ("listpackex", 0));
    for field in [b"b", b"c", b"d"] {
        hash.set_for(field, b"2", Lifetime::Until(7), &limits);
    }
    assert_eq!((hash.encoding(), hash.volatile()), ("hashtable", 3));
    let mut long = Hash::new();
    long.set_for(b"f", &[b'x'; 65], Lifetime::Until(9), &limits);
    assert_eq!(
        (long.encoding(), long.next_expiry()),
        ("hashtable", Some(9))
    );
}

#[test]
fn fields_without_an_expiry_pay_nothing_for_it() {
    let limits = HashLimits {
        max_entries: 0,
        max_value: 64,
    };
    let mut hash = Hash::new();
    for n in 0..100_000 {
        let (field, value) = (format!("field:{n:010}"), format!("value:{n:05}"));
        hash.set(field.as_bytes(), value.as_bytes(), &limits);
    }
    assert!(
        hash.size_bytes() / hash.len() <= 38,
        "{}",
        hash.size_bytes()
    );
}

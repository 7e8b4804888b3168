//! Tests of `snapshot`.

use super::super::unit::{Expiry, ExpiryMode, Free, Unit, UnitOptions};
use super::super::value::{Value, ValueRef};
use super::*;
use crate::oplog::effect::UnitEffects;
use std::collections::BTreeMap;

pub(super) fn options() -> UnitOptions {
    UnitOptions {
        lfu: None,
        no_touch: false,
        now_ms: 1000,
        access: 0,
        expiry: ExpiryMode::Remove,
        notify: 0,
        log: false,
        expired: Free::Here,
        replaced: Free::Here,
    }
}

fn with_unit<R>(ks: &Keyspace, f: impl FnOnce(&mut Unit<'_>) -> R) -> R {
    let mut effects = UnitEffects::new();
    let mut unit = Unit::new(ks.lock(ShardMask::ALL), options(), &mut effects);
    f(&mut unit)
}

type Model = BTreeMap<(usize, Vec<u8>), Vec<u8>>;

fn picture(ks: &Keyspace) -> Model {
    let mut model = Model::new();
    with_unit(ks, |u| {
        for db in 0..4 {
            u.scan(db, 0, usize::MAX, |e| {
                let value = e.value().to_value();
                let Value::Str(s) = value else {
                    panic!("only strings here")
                };
                model.insert((db, e.key().to_vec()), s.as_ref().to_vec());
            });
        }
    });
    model
}

#[test]
fn a_snapshot_is_the_state_of_its_instant_whatever_is_written_meanwhile() {
    for round in 0..6u64 {
        let ks = Arc::new(Keyspace::new(4));
        let mut seed = round + 1;
        let mut random = move |n: u64| {
            seed = seed
                .wrapping_mul(6364136223846793005)
                .wrapping_add(1442695040888963407);
            (seed >> 33) % n
        };
        with_unit(&ks, |u| {
            for i in 0..20_000 {
                let key = format!("k{i}");
                u.set_bytes(
                    i % 3,
                    key.as_bytes(),
                    format!("v{i}x").as_bytes(),
                    Expiry::Clear,
                );
            }
        });
        let before = picture(&ks);
        let (mut snapshot, ()) = ks.snapshot(|| ()).unwrap();
        assert!(ks.snapshot(|| ()).is_err());
        assert_eq!(
            snapshot.sizes().iter().map(|s| s.keys).sum::<usize>(),
            before.len()
        );
        let mut seen = Model::new();
        let mut out = Vec::new();
        let mut steps = 0;
        while snapshot.next(&mut out) {
            for c in out.drain(..) {
                let ValueRef::Str(s) = c.value() else {
                    panic!("only strings here")
                };
                let double = seen.insert((c.db, c.key().to_vec()), s.to_vec());
                assert!(double.is_none(), "captured twice");
            }
            steps += 1;
            with_unit(&ks, |u| {
                for _ in 0..50 {
                    let key = format!("k{}", random(30_000)).into_bytes();
                    let db = random(3) as usize;
                    match random(5) {
                        0 => drop(u.delete(db, &key)),
                        1 => drop(u.edit_string(db, &key, |b| {
                            b.push(b'+');
                            ((), true)
                        })),
                        2 => drop(u.set_expiry(db, &key, Some(999_999))),
                        _ => u.set_bytes(db, &key, b"new", Expiry::Keep),
                    }
                }
                if steps == 30 && round % 2 == 1 {
                    u.swap(0, 1);
                }
                if steps == 60 && round % 3 == 1 {
                    u.flush(1, Free::Elsewhere);
                }
            });
        }
        drop(snapshot);
        assert_eq!(seen, before);
        assert!(ks.snapshot(|| ()).is_ok());
    }
}

#[test]
fn a_dropped_snapshot_leaves_the_next_one_whole() {
    let ks = Arc::new(Keyspace::new(4));
    with_unit(&ks, |u| {
        for i in 0..5000 {
            u.set_bytes(0, format!("k{i}").as_bytes(), b"v", Expiry::Clear);
        }
    });
    let (mut first, ()) = ks.snapshot(|| ()).unwrap();
    let mut out = Vec::new();
    for _ in 0..10 {
        first.next(&mut out);
    }
    drop(first);
    let (mut second, ()) = ks.snapshot(|| ()).unwrap();
    out.clear();
    while second.next(&mut out) {}
    assert_eq!(out.len(), 5000);
}

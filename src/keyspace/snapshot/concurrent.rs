//! A snapshot beside writers on threads of their own, every type of value against its model.
//!
//! Each writer owns keys of each type and a model of them in plain collections, behind a mutex that
//! it holds for one change of both. The snapshot begins while all these mutexes are held, so its
//! instant has an exact model; from then on nothing holds the writers up. Half of what is captured
//! is looked at as it comes, half only after the writers have changed their values many times,
//! while the snapshot shares their pages.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use parking_lot::Mutex;
use proptest::prelude::*;

use super::super::hash;
use super::super::locks::{Keyspace, ShardMask, shard_of};
use super::super::shard::Captured;
use super::super::unit::{Expiry, Missing, Unit};
use super::super::value::hash::{Hash, HashLimits};
use super::super::value::list::{End, List, ListLimits};
use super::super::value::set::{Set, SetLimits};
use super::super::value::stream::group::{Group, Pending};
use super::super::value::stream::id::StreamId;
use super::super::value::stream::{Stream, StreamLimits};
use super::super::value::zset::{Zset, ZsetLimits};
use super::super::value::{Collection, ValueRef};
use super::tests::options;
use crate::oplog::effect::UnitEffects;

const WRITERS: u64 = 2;
const KEYS_OF_A_TYPE: u64 = 3;
/// Changes of each writer while a snapshot holds what it has captured.
const MEANWHILE: u64 = 150;

/// A value without anything shared.
#[derive(Clone, Debug, PartialEq)]
enum Plain {
    Str(Vec<u8>),
    List(Vec<Vec<u8>>),
    Set(BTreeSet<Vec<u8>>),
    Zset(BTreeMap<Vec<u8>, i64>),
    Hash(BTreeMap<Vec<u8>, Vec<u8>>),
    /// Entries by id, and what is pending in its group.
    Stream(BTreeMap<u64, Vec<u8>>, BTreeSet<u64>),
}

type Model = BTreeMap<Vec<u8>, Plain>;

/// How values are laid out, and where chance begins.
#[derive(Clone, Copy, Debug)]
struct Plan {
    seed: u64,
    /// The most elements of a packed block or a node.
    packed: usize,
    compress_depth: u32,
    /// Different members, fields and texts.
    different: u64,
}

impl Plan {
    fn list(&self) -> ListLimits {
        ListLimits {
            max_listpack_size: self.packed as i32,
            compress_depth: self.compress_depth,
        }
    }

    fn set(&self) -> SetLimits {
        SetLimits {
            max_intset_entries: self.packed,
            max_listpack_entries: self.packed,
            max_listpack_value: 64,
        }
    }

    fn zset(&self) -> ZsetLimits {
        ZsetLimits {
            max_entries: self.packed,
            max_value: 64,
        }
    }

    fn hash(&self) -> HashLimits {
        HashLimits {
            max_entries: self.packed,
            max_value: 64,
        }
    }

    fn stream(&self) -> StreamLimits {
        StreamLimits {
            max_bytes: 4096,
            max_entries: self.packed as u64,
        }
    }
}

struct Writer {
    plan: Plan,
    number: u64,
    random: u64,
    ids: u64,
}

impl Writer {
    fn new(plan: Plan, number: u64) -> Writer {
        Writer {
            plan,
            number,
            random: (plan.seed * WRITERS + number) * 2 + 1,
            ids: 0,
        }
    }

    fn below(&mut self, n: u64) -> u64 {
        self.random = self
            .random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.random >> 33) % n
    }

    /// One of many texts: some are integers, some are long.
    fn text(&mut self) -> Vec<u8> {
        let n = self.below(self.plan.different);
        match n % 4 {
            0 => n.to_string().into_bytes(),
            1 if n.is_multiple_of(41) => vec![b'l'; 600 + n as usize],
            _ => format!("text:{n:08}").into_bytes(),
        }
    }

    /// Changes one value, and its model with it.
    fn change(&mut self, ks: &Keyspace, model: &Mutex<Model>) {
        let mut model = model.lock();
        let kind = self.below(6);
        let of_type = self.below(KEYS_OF_A_TYPE);
        let key = format!("{kind}:{}:{of_type}", self.number).into_bytes();
        let mut effects = UnitEffects::new();
        let mask = ShardMask::only(shard_of(hash::of(&key)));
        let mut unit = Unit::new(ks.lock(mask), options(), &mut effects);
        if self.below(150) == 0 {
            assert_eq!(
                unit.take(0, &key).is_some(),
                model.remove(&key).is_some(),
                "{key:?}"
            );
            return;
        }
        for _ in 0..=self.below(20) {
            let plain = model.remove(&key);
            let left = match kind {
                0 => self.change_string(&mut unit, &key, plain),
                1 => self.change_list(&mut unit, &key, plain),
                2 => self.change_set(&mut unit, &key, plain),
                3 => self.change_zset(&mut unit, &key, plain),
                4 => self.change_hash(&mut unit, &key, plain),
                _ => self.change_stream(&mut unit, &key, plain),
            };
            if let Some(left) = left {
                model.insert(key.clone(), left);
            }
        }
    }

    fn change_string(&mut self, u: &mut Unit<'_>, key: &[u8], was: Option<Plain>) -> Option<Plain> {
        let Some(Plain::Str(mut bytes)) = was else {
            let bytes = vec![b's'; self.below(40_000) as usize + 1];
            u.set_bytes(0, key, &bytes, Expiry::Clear);
            return Some(Plain::Str(bytes));
        };
        let at = self.below(bytes.len() as u64) as usize;
        let byte = b'a' + self.below(26) as u8;
        let edit = move |bytes: &mut Vec<u8>| {
            bytes[at] = byte;
            bytes.push(byte);
        };
        edit(&mut bytes);
        u.edit_string(0, key, |b| (edit(b), true)).unwrap();
        Some(Plain::Str(bytes))
    }

    fn change_list(&mut self, u: &mut Unit<'_>, key: &[u8], was: Option<Plain>) -> Option<Plain> {
        let mut plain = match was {
            Some(Plain::List(plain)) => plain,
            _ => Vec::new(),
        };
        let (limits, text) = (self.plan.list(), self.text());
        let at = self.below(plain.len() as u64 + 1) as usize;
        match self.below(8) {
            0 if at < plain.len() => {
                plain[at] = text.clone();
                edit(u, key, |l: &mut List| {
                    assert!(l.set(limits, at, &text));
                });
            }
            1 => {
                plain.insert(at, text.clone());
                edit(u, key, |l: &mut List| l.insert_at(limits, at, &text));
            }
            2 => {
                let range = at..(at + 5).min(plain.len());
                plain.drain(range.clone());
                edit(u, key, |l: &mut List| l.remove_range(limits, range));
            }
            3 | 4 => {
                plain.insert(0, text.clone());
                edit(u, key, |l: &mut List| l.push(limits, End::Head, &[&text]));
            }
            _ => {
                plain.push(text.clone());
                edit(u, key, |l: &mut List| l.push(limits, End::Tail, &[&text]));
            }
        }
        (!plain.is_empty()).then_some(Plain::List(plain))
    }

    fn change_set(&mut self, u: &mut Unit<'_>, key: &[u8], was: Option<Plain>) -> Option<Plain> {
        let mut plain = match was {
            Some(Plain::Set(plain)) => plain,
            _ => BTreeSet::new(),
        };
        let (limits, text) = (self.plan.set(), self.text());
        if self.below(3) == 0 {
            plain.remove(&text);
            edit(u, key, |s: &mut Set| {
                s.remove(&text);
            });
        } else {
            plain.insert(text.clone());
            edit(u, key, |s: &mut Set| {
                s.add(&text, &limits);
            });
        }
        (!plain.is_empty()).then_some(Plain::Set(plain))
    }

    fn change_zset(&mut self, u: &mut Unit<'_>, key: &[u8], was: Option<Plain>) -> Option<Plain> {
        let mut plain = match was {
            Some(Plain::Zset(plain)) => plain,
            _ => BTreeMap::new(),
        };
        let (limits, text) = (self.plan.zset(), self.text());
        if self.below(3) == 0 {
            plain.remove(&text);
            edit(u, key, |z: &mut Zset| {
                z.remove(&text);
            });
        } else {
            let score = self.below(1000) as i64;
            plain.insert(text.clone(), score);
            edit(u, key, |z: &mut Zset| {
                z.insert(&limits, &text, score as f64);
            });
        }
        (!plain.is_empty()).then_some(Plain::Zset(plain))
    }

    fn change_hash(&mut self, u: &mut Unit<'_>, key: &[u8], was: Option<Plain>) -> Option<Plain> {
        let mut plain = match was {
            Some(Plain::Hash(plain)) => plain,
            _ => BTreeMap::new(),
        };
        let (limits, field, value) = (self.plan.hash(), self.text(), self.text());
        if self.below(3) == 0 {
            plain.remove(&field);
            edit(u, key, |h: &mut Hash| {
                h.remove(&field);
            });
        } else {
            plain.insert(field.clone(), value.clone());
            edit(u, key, |h: &mut Hash| {
                h.set(&field, &value, &limits);
            });
        }
        (!plain.is_empty()).then_some(Plain::Hash(plain))
    }

    fn change_stream(&mut self, u: &mut Unit<'_>, key: &[u8], was: Option<Plain>) -> Option<Plain> {
        let (mut entries, mut pending) = match was {
            Some(Plain::Stream(entries, pending)) => (entries, pending),
            _ => (BTreeMap::new(), BTreeSet::new()),
        };
        let (limits, text) = (self.plan.stream(), self.text());
        let from = self.below(self.ids + 1);
        let old = entries.range(from..).next().map(|(id, _)| *id);
        match (self.below(5), old) {
            (0, Some(old)) => {
                entries.remove(&old);
                edit(u, key, |s: &mut Stream| {
                    s.delete(id(old));
                });
            }
            (1, Some(old)) => {
                pending.insert(old);
                edit(u, key, |s: &mut Stream| {
                    in_group(s, |g, c| deliver(g, c, old))
                });
            }
            (2, _) => {
                let acknowledged = pending.range(from..).next().copied();
                if let Some(old) = acknowledged {
                    pending.remove(&old);
                    edit(u, key, |s: &mut Stream| {
                        in_group(s, |g, _| {
                            g.acknowledge(id(old));
                        });
                    });
                }
            }
            _ => {
                self.ids += 1;
                entries.insert(self.ids, text.clone());
                let new = id(self.ids);
                edit(u, key, |s: &mut Stream| {
                    s.append(limits, new, &[b"field", &text]);
                });
            }
        }
        // A stream stays when its last entry goes.
        u.exists(0, key).then_some(Plain::Stream(entries, pending))
    }
}

fn id(ms: u64) -> StreamId {
    StreamId::new(ms, 0)
}

fn edit<T: Collection>(u: &mut Unit<'_>, key: &[u8], change: impl FnOnce(&mut T)) {
    u.update(0, key, Missing::Create, |value: &mut T| {
        change(value);
        ((), 1)
    })
    .unwrap();
}

/// Changes the stream's one group, with the number of its one consumer.
fn in_group(stream: &mut Stream, change: impl FnOnce(&mut Group, u32)) {
    stream.create_group(b"g", Group::new(StreamId::MIN, None));
    stream.edit_group(b"g", |group, _| {
        group.create_consumer(b"c", 0);
        let consumer = group.number(b"c").unwrap();
        change(group, consumer);
    });
}

fn deliver(group: &mut Group, consumer: u32, ms: u64) {
    let pending = Pending {
        time_ms: 0,
        deliveries: 1,
        owner: consumer,
    };
    assert!(group.assign(id(ms), pending));
}

fn plain(captured: &Captured) -> Plain {
    match captured.value() {
        ValueRef::Str(s) => Plain::Str(s.to_vec()),
        ValueRef::List(l) => {
            let mut all = Vec::new();
            l.visit(0..l.len(), End::Head, |e| all.push(e.to_vec()));
            Plain::List(all)
        }
        ValueRef::Set(s) => Plain::Set(s.iter().map(|e| e.to_vec()).collect()),
        ValueRef::Zset(z) => {
            let pairs = z.iter().map(|(e, score)| (e.to_vec(), score as i64));
            Plain::Zset(pairs.collect())
        }
        ValueRef::Hash(h) => {
            let pairs = h.iter().map(|r| (r.key.to_vec(), r.value.to_vec()));
            Plain::Hash(pairs.collect())
        }
        ValueRef::Stream(s) => {
            let entries = s.range(StreamId::MIN, StreamId::MAX, false).map(|raw| {
                let (_, value) = raw.pairs().next().unwrap();
                (raw.id.ms, value.to_vec())
            });
            let group = s.group(b"g");
            let pending = group
                .into_iter()
                .flat_map(|g| g.pending_from(StreamId::MIN));
            Plain::Stream(entries.collect(), pending.map(|(id, _)| id.ms).collect())
        }
    }
}

/// Takes a snapshot beside the writers and compares it with the model of its instant.
fn check(ks: &Arc<Keyspace>, models: &[Mutex<Model>], writes: &[AtomicU64]) {
    let (mut snapshot, expected) = {
        let held: Vec<_> = models.iter().map(Mutex::lock).collect();
        ks.snapshot(|| {
            let all = held.iter().flat_map(|model| model.iter());
            all.map(|(k, v)| (k.clone(), v.clone())).collect::<Model>()
        })
        .unwrap()
    };
    let mut seen = Model::new();
    let (mut out, mut kept) = (Vec::new(), Vec::new());
    let mut look = |captured: &Captured| {
        let double = seen.insert(captured.key().to_vec(), plain(captured));
        assert!(double.is_none(), "captured twice");
    };
    while snapshot.next(&mut out) {
        for captured in out.drain(..) {
            if captured.key().last().is_some_and(|n| n % 2 == 0) {
                look(&captured);
            } else {
                kept.push(captured);
            }
        }
        thread::yield_now();
    }
    let written = |n: &AtomicU64| n.load(Ordering::Relaxed);
    let before: Vec<u64> = writes.iter().map(written).collect();
    while writes
        .iter()
        .zip(&before)
        .any(|(n, b)| written(n) < b + MEANWHILE)
    {
        thread::yield_now();
    }
    kept.iter().for_each(&mut look);
    assert_eq!(
        seen.keys().collect::<Vec<_>>(),
        expected.keys().collect::<Vec<_>>()
    );
    for (key, value) in &expected {
        assert!(
            seen.get(key) == Some(value),
            "{:?}",
            String::from_utf8_lossy(key)
        );
    }
}

fn run(plan: Plan, snapshots: usize) {
    let ks = Arc::new(Keyspace::new(1));
    let models: Vec<Mutex<Model>> = (0..WRITERS).map(|_| Mutex::default()).collect();
    let writes: Vec<AtomicU64> = (0..WRITERS).map(|_| AtomicU64::new(0)).collect();
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        for (number, (model, written)) in (0..).zip(models.iter().zip(&writes)) {
            let (ks, over) = (&ks, &over);
            scope.spawn(move || {
                let mut writer = Writer::new(plan, number);
                while !over.load(Ordering::Relaxed) {
                    writer.change(ks, model);
                    written.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        /// Ends the writers also when a check fails.
        struct Over<'a>(&'a AtomicBool);
        impl Drop for Over<'_> {
            fn drop(&mut self) {
                self.0.store(true, Ordering::Relaxed);
            }
        }
        let _over = Over(&over);
        while writes.iter().any(|n| n.load(Ordering::Relaxed) < 1000) {
            thread::yield_now();
        }
        for _ in 0..snapshots {
            check(&ks, &models, &writes);
        }
    });
}

#[test]
fn values_of_all_types_are_those_of_the_instant_while_other_threads_write() {
    for seed in 1..=4 {
        run(
            Plan {
                seed,
                packed: 8,
                compress_depth: (seed % 2) as u32,
                different: 3000,
            },
            if cfg!(miri) { 1 } else { 12 },
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 8, ..ProptestConfig::default() })]

    #[test]
    fn snapshots_beside_writers_are_exact_whatever_the_layout(
        seed in any::<u32>(),
        packed in 1usize..200,
        compress_depth in 0u32..3,
        different in 10u64..5000,
    ) {
        run(
            Plan { seed: u64::from(seed), packed, compress_depth, different },
            3,
        );
    }
}

//! The stream against a model that keeps its entries in a list and its blocks as runs of it.

use super::block::Raw;
use super::group::Pending;
use super::*;
use proptest::prelude::*;
use std::collections::BTreeMap;

const LIMITS: StreamLimits = StreamLimits {
    max_bytes: 300,
    max_entries: 7,
};

fn id(ms: u64, seq: u64) -> StreamId {
    StreamId::new(ms, seq)
}

type Texts = Vec<(Vec<u8>, Vec<u8>)>;

fn texts(raw: Raw<'_>) -> Texts {
    raw.pairs().map(|(n, v)| (n.to_vec(), v.to_vec())).collect()
}

fn all(stream: &Stream, from: StreamId, to: StreamId, reverse: bool) -> Vec<(StreamId, Texts)> {
    stream
        .range(from, to, reverse)
        .map(|raw| (raw.id, texts(raw)))
        .collect()
}

/// Entries with whether they are deleted, in blocks.
#[derive(Clone, Debug, Default)]
struct Model {
    blocks: Vec<Vec<(StreamId, Texts, bool)>>,
    last: StreamId,
    max_deleted: StreamId,
    added: u64,
}

impl Model {
    fn live(&self) -> Vec<(StreamId, Texts)> {
        let flat = self.blocks.iter().flatten();
        flat.filter(|e| !e.2).map(|e| (e.0, e.1.clone())).collect()
    }

    fn live_of(block: &[(StreamId, Texts, bool)]) -> u64 {
        block.iter().filter(|e| !e.2).count() as u64
    }

    fn append(&mut self, id: StreamId, texts: Texts, opens: bool) {
        if opens || self.blocks.is_empty() {
            self.blocks.push(Vec::new());
        }
        self.blocks.last_mut().unwrap().push((id, texts, false));
        self.last = id;
        self.added += 1;
    }

    fn delete(&mut self, id: StreamId) -> bool {
        for at in 0..self.blocks.len() {
            let block = &mut self.blocks[at];
            if let Some(entry) = block.iter_mut().find(|e| e.0 == id && !e.2) {
                entry.2 = true;
                if Self::live_of(block) == 0 {
                    self.blocks.remove(at);
                }
                self.max_deleted = self.max_deleted.max(id);
                return true;
            }
        }
        false
    }

    fn trim(&mut self, trim: Trim) -> u64 {
        let mut gone = 0;
        loop {
            let len = self.live().len() as u64;
            let Some(block) = self.blocks.first_mut() else {
                return gone;
            };
            let live = Self::live_of(block);
            if let Until::Length(most) = trim.until
                && len <= most
            {
                return gone;
            }
            if trim.limit > 0 && gone + live > trim.limit {
                return gone;
            }
            let whole = match trim.until {
                Until::Length(most) => len - live >= most,
                Until::Id(least) => block.last().unwrap().0 < least,
            };
            if whole {
                gone += live;
                self.blocks.remove(0);
                continue;
            }
            if trim.approximate {
                return gone;
            }
            let mut left = len;
            for entry in block.iter_mut() {
                let stop = match trim.until {
                    Until::Length(most) => left <= most,
                    Until::Id(least) => entry.0 >= least,
                };
                if stop {
                    return gone;
                }
                if !entry.2 {
                    entry.2 = true;
                    left -= 1;
                    gone += 1;
                }
            }
            return gone;
        }
    }
}

fn check(stream: &Stream, model: &Model) {
    let live = model.live();
    assert_eq!(stream.len(), live.len());
    assert_eq!(all(stream, StreamId::MIN, StreamId::MAX, false), live);
    let first = live.first().map_or(StreamId::MIN, |e| e.0);
    let newest = live.last().map_or(StreamId::MIN, |e| e.0);
    assert_eq!((stream.first_id(), stream.newest()), (first, newest));
    assert_eq!(stream.last_id(), model.last);
    assert_eq!(stream.max_deleted_id(), model.max_deleted);
    assert_eq!(stream.added(), model.added);
    assert_eq!(stream.blocks().count(), model.blocks.len());
    let deleted = model.blocks.first().map(|block| block[0].0);
    assert_eq!(stream.first_or_deleted(), deleted);
    assert_eq!(stream.radix_size(), walked(stream));
}

/// The size of Redis's radix tree, as a walk over all blocks gives it.
fn walked(stream: &Stream) -> (u64, u64) {
    radix::counted(stream.blocks().map(Block::base))
}

#[derive(Clone, Debug)]
enum Op {
    Add {
        ms: u64,
        seq: u64,
        texts: Texts,
    },
    Delete(prop::sample::Index),
    DeleteAny(u64, u64),
    Trim {
        length: bool,
        by: u64,
        approximate: bool,
        limit: u64,
    },
    Range(u64, u64, bool),
}

fn text() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        4 => (-2000i64..2000).prop_map(|n| n.to_string().into_bytes()),
        4 => prop::collection::vec(any::<u8>(), 0..12),
        1 => prop::collection::vec(any::<u8>(), 60..150),
    ]
}

fn entry() -> impl Strategy<Value = Texts> {
    prop_oneof![
        3 => (text(), text()).prop_map(|(a, b)| vec![(b"f".to_vec(), a), (b"42".to_vec(), b)]),
        1 => prop::collection::vec((text(), text()), 1..4),
    ]
}

fn trim_op((length, by, approximate, limit): (bool, u64, bool, u64)) -> Op {
    Op::Trim {
        length,
        by,
        approximate,
        limit,
    }
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        12 => (0u64..4, 0u64..4, entry()).prop_map(|(ms, seq, texts)| Op::Add { ms, seq, texts }),
        4 => any::<prop::sample::Index>().prop_map(Op::Delete),
        1 => (0u64..200, 0u64..4).prop_map(|(ms, seq)| Op::DeleteAny(ms, seq)),
        1 => (any::<bool>(), 0u64..150, any::<bool>(), prop_oneof![Just(0u64), 0u64..30])
            .prop_map(trim_op),
        2 => (0u64..150, 0u64..150, any::<bool>()).prop_map(|(a, b, r)| Op::Range(a, b, r)),
    ]
}

fn flat(texts: &Texts) -> Vec<&[u8]> {
    texts.iter().flat_map(|(n, v)| [n.as_slice(), v]).collect()
}

fn run(ops: Vec<Op>) {
    let (mut stream, mut model) = (Stream::default(), Model::default());
    for (n, op) in ops.into_iter().enumerate() {
        let (before, had) = (stream.clone(), model.clone());
        match op {
            Op::Add { ms, seq, texts } => {
                let wanted = id(stream.last_id().ms + ms, seq);
                let Some(id) = stream.new_id(NewId::Exact(wanted), 0) else {
                    assert!(wanted <= model.last);
                    continue;
                };
                let flat = flat(&texts);
                let bytes = flat.iter().map(|t| t.len()).sum();
                let opens = stream
                    .blocks()
                    .last()
                    .is_none_or(|b| b.is_full(LIMITS, bytes));
                stream.append(LIMITS, id, &flat);
                model.append(id, texts, opens);
            }
            Op::Delete(which) => {
                let live = model.live();
                if !live.is_empty() {
                    let id = live[which.index(live.len())].0;
                    assert!(stream.delete(id) && model.delete(id));
                }
            }
            Op::DeleteAny(ms, seq) => {
                assert_eq!(stream.delete(id(ms, seq)), model.delete(id(ms, seq)));
            }
            Op::Trim {
                length,
                by,
                approximate,
                limit,
            } => {
                let until = if length {
                    Until::Length(by)
                } else {
                    Until::Id(id(by, 0))
                };
                let trim = Trim {
                    until,
                    approximate,
                    limit,
                };
                assert_eq!(stream.trim(trim), model.trim(trim), "{trim:?}");
            }
            Op::Range(a, b, reverse) => {
                let (from, to) = (id(a, 1), id(b, 2));
                let mut expected: Vec<_> = model.live();
                expected.retain(|e| e.0 >= from && e.0 <= to);
                if reverse {
                    expected.reverse();
                }
                assert_eq!(all(&stream, from, to, reverse), expected);
            }
        }
        check(&stream, &model);
        if n % 16 == 0 {
            check(&before, &had);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn it_keeps_what_the_model_keeps(ops in prop::collection::vec(op(), 0..250)) {
        run(ops);
    }
}

#[test]
fn it_keeps_what_the_model_keeps_from_fixed_seeds() {
    use proptest::strategy::ValueTree;
    use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
    for seed in 0..6u8 {
        let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &[seed; 32]);
        let mut runner = TestRunner::new_with_rng(Config::default(), rng);
        let ops = prop::collection::vec(op(), 600..700);
        run(ops.new_tree(&mut runner).unwrap().current());
    }
}

/// Levels of the tree of blocks are split, thinned out and joined on the way.
#[test]
fn the_radix_tree_of_many_blocks_is_counted_right() {
    let limits = StreamLimits {
        max_entries: 1,
        ..LIMITS
    };
    for seed in 0..4u64 {
        let mut random = seed;
        let mut next = move || {
            random = random
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(99);
            random >> 33
        };
        let mut s = Stream::default();
        let mut ids: Vec<StreamId> = Vec::new();
        for n in 0..6000 {
            let last = s.last_id();
            let wanted = match next() % 4 {
                0 => id(last.ms, last.seq + (1 << (next() % 40))),
                1 => id(last.ms + (1 << (next() % 30)), next() % 3),
                _ => id(last.ms + next() % 300, 0),
            };
            if let Some(id) = s.new_id(NewId::Exact(wanted), 0) {
                s.append(limits, id, &[b"f", b"v"]);
                ids.push(id);
            }
            let (phase, len) = (n / 1500, s.len() as u64);
            if phase == 1 || next() % 5 == 0 {
                let at = next() as usize % ids.len();
                s.delete(ids.swap_remove(at));
            }
            if phase == 2 && n % 3 == 0 {
                s.trim(Trim {
                    until: Until::Length(len.saturating_sub(next() % 4)),
                    approximate: true,
                    limit: 0,
                });
            }
            if n % 37 == 0 {
                assert_eq!(s.radix_size(), walked(&s));
            }
        }
        while let Some(id) = ids.pop() {
            s.delete(id);
            if ids.len().is_multiple_of(41) {
                assert_eq!(s.radix_size(), walked(&s));
            }
        }
        assert_eq!((s.len(), s.radix_size()), (0, (0, 1)));
    }
}

#[test]
fn ids_are_made_greater_than_all_before() {
    let mut s = Stream::default();
    assert_eq!(s.new_id(NewId::Auto, 1000), Some(id(1000, 0)));
    assert_eq!(s.new_id(NewId::OfMs(0), 1000), Some(id(0, 1)));
    assert_eq!(s.new_id(NewId::Exact(id(0, 0)), 1000), None);
    s.append(LIMITS, id(1000, 0), &[b"a", b"1"]);
    assert_eq!(s.new_id(NewId::Auto, 900), Some(id(1000, 1)));
    assert_eq!(s.new_id(NewId::OfMs(1000), 0), Some(id(1000, 1)));
    assert_eq!(s.new_id(NewId::OfMs(999), 0), None);
    assert_eq!(s.new_id(NewId::Exact(id(1000, 0)), 0), None);
    s.set_id(id(1000, u64::MAX), None, StreamId::MIN);
    assert_eq!(s.new_id(NewId::OfMs(1000), 0), None);
    assert_eq!(s.new_id(NewId::Auto, 0), Some(id(1001, 0)));
    s.set_id(StreamId::MAX, None, StreamId::MIN);
    assert_eq!(s.new_id(NewId::Auto, i64::MAX), None);
}

#[test]
fn deleted_entries_make_way_for_lower_ids() {
    let mut s = Stream::default();
    for ms in 1..=20 {
        s.append(LIMITS, id(ms, 0), &[b"a", b"1"]);
    }
    for ms in 12..=20 {
        s.delete(id(ms, 0));
    }
    s.set_id(id(11, 0), None, StreamId::MIN);
    s.append(LIMITS, id(11, 5), &[b"b", b"2"]);
    s.append(LIMITS, id(15, 0), &[b"a", b"3"]);
    let ids: Vec<u64> = all(&s, id(10, 0), StreamId::MAX, true)
        .iter()
        .map(|e| e.0.ms)
        .collect();
    assert_eq!(ids, [15, 11, 11, 10]);
    assert!(s.get(id(15, 0)).is_some() && s.get(id(12, 0)).is_none());
}

#[test]
fn an_entry_of_two_small_fields_takes_less_than_26_bytes() {
    let mut s = Stream::default();
    let limits = StreamLimits::default();
    for n in 0..100_000u64 {
        let (a, b) = (format!("value{n}"), n.to_string());
        s.append(
            limits,
            id(1_700_000_000_000 + n / 3, n % 3),
            &[b"name", a.as_bytes(), b"count", b.as_bytes()],
        );
    }
    let each = s.size_bytes() as f64 / 100_000.0;
    assert!(each < 24.0, "{each}");
    assert_eq!(s.blocks().count(), 1000);
}

/// What is pending, and for whom, told by a plain map.
#[test]
fn pending_entries_have_one_owner_each() {
    let mut group = Group::new(StreamId::MIN, None);
    let mut model: BTreeMap<StreamId, (String, i64)> = BTreeMap::new();
    let mut rng = 12345u64;
    for n in 0..20_000i64 {
        rng = rng.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let (which, ms) = (rng >> 33, (rng >> 40) % 700);
        let name = format!("c{}", which % 9);
        let id = id(ms / 2, ms % 2);
        match which % 17 {
            0..8 => {
                let owner = group
                    .number(name.as_bytes())
                    .or_else(|| group.create_consumer(name.as_bytes(), n));
                let pending = Pending {
                    time_ms: n,
                    deliveries: 1,
                    owner: owner.unwrap(),
                };
                assert!(group.assign(id, pending));
                model.insert(id, (name, n));
            }
            8..16 => {
                let gone = group.acknowledge(id).map(|p| p.time_ms);
                assert_eq!(gone, model.remove(&id).map(|m| m.1));
            }
            _ => {
                let had = model.len();
                model.retain(|_, m| m.0 != name);
                let gone = group.delete_consumer(name.as_bytes()).unwrap_or(0);
                assert_eq!(gone, had - model.len());
            }
        }
    }
    assert!(model.len() > 50);
    let pending: Vec<_> = group
        .pending_from(StreamId::MIN)
        .map(|(id, p)| {
            let owner = String::from_utf8_lossy(group.owner_name(p.owner)).into_owned();
            (id, (owner, p.time_ms))
        })
        .collect();
    assert_eq!(pending, model.clone().into_iter().collect::<Vec<_>>());
    for consumer in group.consumers() {
        let name = String::from_utf8_lossy(consumer.name()).into_owned();
        let own: Vec<_> = consumer.pending_from(StreamId::MIN).collect();
        let theirs = model.iter().filter(|m| m.1.0 == name).map(|m| *m.0);
        assert_eq!(own, theirs.collect::<Vec<_>>());
    }
    let (first, last) = group.pending_ends().unwrap();
    assert_eq!(Some(&first), model.keys().next());
    assert_eq!(Some(&last), model.keys().next_back());
}

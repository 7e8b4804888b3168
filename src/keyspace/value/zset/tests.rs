//! Sorted sets against an ordered vector, in both forms.

use std::collections::{BTreeMap, HashMap};

use proptest::prelude::*;

use super::leaf::compare;
use super::*;

/// Members in order.
#[derive(Clone, Default)]
struct Model {
    items: Vec<(Vec<u8>, f64)>,
}

impl Model {
    fn find(&self, member: &[u8]) -> Option<usize> {
        self.items.iter().position(|(m, _)| m == member)
    }

    fn remove(&mut self, member: &[u8]) -> Option<f64> {
        self.find(member).map(|i| self.items.remove(i).1)
    }

    fn insert(&mut self, member: &[u8], score: f64) -> Option<f64> {
        let old = self.find(member).map(|i| self.items[i].1);
        if old != Some(score) {
            self.remove(member);
            let at = self
                .items
                .partition_point(|(m, s)| compare((*s, m), (score, member)).is_lt());
            self.items.insert(at, (member.to_vec(), score));
        }
        old
    }
}

fn owned(iter: Iter<'_>) -> Vec<(Vec<u8>, f64)> {
    iter.map(|(member, score)| (member.to_vec(), score))
        .collect()
}

fn check(zset: &Zset, model: &Model) {
    assert_eq!(zset.len(), model.items.len());
    assert_eq!(owned(zset.iter()), model.items);
    if let View::Large(large) = zset.form.view() {
        large.check();
    }
}

const DEFAULT: ZsetLimits = ZsetLimits {
    max_entries: 128,
    max_value: 64,
};

#[derive(Clone, Debug)]
enum Op {
    Insert(Vec<u8>, f64),
    Add(Vec<u8>, f64, AddOptions),
    Remove(Vec<u8>),
    RemoveRanks(usize, usize),
    Pop(bool, usize),
    ByScore(f64, f64, bool, bool),
    ByLex(Vec<u8>, Vec<u8>, bool, bool),
    Range(usize, usize, bool),
    Rank(Vec<u8>),
    Compact,
}

fn add_to_model(model: &mut Model, member: &[u8], score: f64, o: AddOptions) -> Added {
    let old = model.find(member).map(|i| model.items[i].1);
    if old.is_some() && o.nx || old.is_none() && o.xx {
        return Added::Refused;
    }
    let score = if o.incr {
        old.map_or(score, |old| old + score)
    } else {
        score
    };
    if score.is_nan() {
        return Added::NotANumber;
    }
    if old.is_some_and(|old| o.gt && score <= old || o.lt && score >= old) {
        return Added::Refused;
    }
    match model.insert(member, score) {
        None => Added::New(score),
        Some(old) if old == score => Added::Same(score),
        Some(_) => Added::Changed(score),
    }
}

fn apply(zset: &mut Zset, model: &mut Model, limits: &ZsetLimits, op: &Op) {
    let len = model.items.len();
    match op {
        Op::Insert(member, score) => {
            assert_eq!(
                zset.insert(limits, member, *score),
                model.insert(member, *score)
            );
        }
        Op::Add(member, score, options) => {
            let want = add_to_model(model, member, *score, *options);
            assert_eq!(zset.add(limits, member, *score, *options), want);
        }
        Op::Remove(member) => assert_eq!(zset.remove(member), model.remove(member)),
        Op::RemoveRanks(start, count) => {
            let start = start % (len + 1);
            let end = (start + count).min(len);
            assert_eq!(zset.remove_ranks(start..start + count), end - start);
            model.items.drain(start..end);
        }
        Op::Pop(highest, count) => {
            let mut got = Vec::new();
            let n = zset.pop(*highest, *count, |m, s| got.push((m.to_vec(), s)));
            let count = (*count).min(len);
            let want: Vec<_> = if *highest {
                model.items.drain(len - count..).rev().collect()
            } else {
                model.items.drain(..count).collect()
            };
            assert_eq!((n, got), (count, want));
        }
        Op::Compact => zset.compact(limits),
        op => ask(zset, model, op),
    }
}

/// The operations that change nothing.
fn ask(zset: &Zset, model: &Model, op: &Op) {
    let len = model.items.len();
    match op {
        Op::ByScore(min, max, min_ex, max_ex) => {
            let range = ScoreRange {
                min: *min,
                max: *max,
                min_ex: *min_ex,
                max_ex: *max_ex,
            };
            let ranks = zset.score_ranks(&range);
            let want: Vec<_> = model
                .items
                .iter()
                .filter(|(_, s)| range.contains(*s))
                .cloned()
                .collect();
            assert_eq!(owned(zset.range(ranks, false)), want);
        }
        Op::ByLex(min, max, min_ex, max_ex) => {
            let bound = |b, ex| {
                if ex {
                    LexBound::Excluded(b)
                } else {
                    LexBound::Included(b)
                }
            };
            let range = LexRange {
                min: bound(min, *min_ex),
                max: bound(max, *max_ex),
            };
            let ranks = zset.lex_ranks(&range);
            // With several scores the range is some range; it is exact when there is one.
            if model.items.windows(2).all(|w| w[0].1 == w[1].1) {
                let want: Vec<_> = model
                    .items
                    .iter()
                    .filter(|(m, _)| range.contains(m))
                    .cloned()
                    .collect();
                assert_eq!(owned(zset.range(ranks, false)), want);
            } else {
                assert!(zset.range(ranks, true).count() <= len);
            }
        }
        Op::Range(start, count, reverse) => {
            let start = start % (len + 1);
            let mut want: Vec<_> = model
                .items
                .iter()
                .skip(start)
                .take(*count)
                .cloned()
                .collect();
            if *reverse {
                want.reverse();
            }
            let iter = zset.range(start..start + count, *reverse);
            assert_eq!(iter.len(), want.len());
            assert_eq!(owned(iter), want);
        }
        Op::Rank(member) => {
            let want = model.find(member);
            assert_eq!(zset.rank(member), want.map(|i| (i, model.items[i].1)));
            assert_eq!(zset.score(member), want.map(|i| model.items[i].1));
            let at = want.unwrap_or(len);
            let got = zset.at(at).map(|(m, s)| (m.to_vec(), s));
            assert_eq!(got.as_ref(), model.items.get(at));
        }
        _ => unreachable!("an edit"),
    }
}

fn score() -> impl Strategy<Value = f64> {
    prop_oneof![
        6 => (-4i32..4).prop_map(f64::from),
        3 => (-1000i32..1000).prop_map(|n| f64::from(n) / 8.0),
        1 => Just(-0.0),
        1 => Just(f64::INFINITY),
        1 => Just(f64::NEG_INFINITY),
        1 => any::<f64>().prop_filter("not a number", |n| !n.is_nan()),
    ]
}

fn member() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        8 => (0u32..300).prop_map(|n| format!("member:{n}").into_bytes()),
        4 => (-50i32..400).prop_map(|n| n.to_string().into_bytes()),
        2 => proptest::collection::vec(any::<u8>(), 0..12),
        1 => (0u8..8, 60usize..3000).prop_map(|(b, n)| vec![b; n]),
        1 => (0u8..4, 4000usize..5000).prop_map(|(b, n)| vec![b; n]),
    ]
}

fn options() -> impl Strategy<Value = AddOptions> {
    let plain = AddOptions::default();
    prop_oneof![
        Just(AddOptions { nx: true, ..plain }),
        Just(AddOptions { xx: true, ..plain }),
        Just(AddOptions { gt: true, ..plain }),
        Just(AddOptions {
            lt: true,
            xx: true,
            ..plain
        }),
        Just(AddOptions {
            incr: true,
            ..plain
        }),
        Just(AddOptions {
            incr: true,
            gt: true,
            ..plain
        }),
        Just(AddOptions {
            incr: true,
            nx: true,
            ..plain
        }),
    ]
}

fn op() -> impl Strategy<Value = Op> {
    let index = || any::<u16>().prop_map(usize::from);
    prop_oneof![
        20 => (member(), score()).prop_map(|(m, s)| Op::Insert(m, s)),
        4 => (member(), score(), options()).prop_map(|(m, s, o)| Op::Add(m, s, o)),
        8 => member().prop_map(Op::Remove),
        1 => (index(), 0usize..60).prop_map(|(s, n)| Op::RemoveRanks(s, n)),
        1 => (any::<bool>(), 0usize..10).prop_map(|(h, n)| Op::Pop(h, n)),
        3 => (score(), score(), any::<bool>(), any::<bool>())
            .prop_map(|(a, b, x, y)| Op::ByScore(a, b, x, y)),
        3 => (member(), member(), any::<bool>(), any::<bool>())
            .prop_map(|(a, b, x, y)| Op::ByLex(a, b, x, y)),
        2 => (index(), 0usize..300, any::<bool>()).prop_map(|(s, n, r)| Op::Range(s, n, r)),
        4 => member().prop_map(Op::Rank),
        1 => Just(Op::Compact),
    ]
}

fn run(limits: &ZsetLimits, one_score: bool, ops: &[Op]) {
    let (mut zset, mut model) = (Zset::new(), Model::default());
    let mut kept = Vec::new();
    for (n, op) in ops.iter().enumerate() {
        let op = match op {
            Op::Insert(member, _) if one_score => Op::Insert(member.clone(), 1.0),
            Op::Add(..) if one_score => continue,
            op => op.clone(),
        };
        apply(&mut zset, &mut model, limits, &op);
        if n % 24 == 0 {
            check(&zset, &model);
            kept.push((zset.clone(), model.clone()));
        }
    }
    check(&zset, &model);
    for (zset, model) in &kept {
        check(zset, model);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn any_edits_agree_with_a_vector_and_clones_stay_exact(
        small in any::<bool>(),
        one_score in any::<bool>(),
        ops in proptest::collection::vec(op(), 1..700),
    ) {
        let limits = if small { DEFAULT } else { ZsetLimits { max_entries: 0, max_value: 64 } };
        run(&limits, one_score, &ops);
    }
}

#[test]
fn growing_and_shrinking_over_many_leaves_agrees_with_a_vector() {
    let mut state = 0x2545_F491_4F6C_DD1Du64;
    let mut next = move |n: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % n
    };
    for scores in [1, 3, 1_000_000] {
        let (mut zset, mut model) = (Zset::new(), BTreeMap::new());
        let mut kept = Vec::new();
        for step in 0..60_000u32 {
            let member = format!("m{:05}", next(12_000)).into_bytes();
            let growing = (step / 20_000).is_multiple_of(2);
            if growing || next(6) == 0 {
                let score = next(scores) as f64;
                assert_eq!(
                    zset.insert(&DEFAULT, &member, score),
                    model.insert(member, score)
                );
            } else {
                assert_eq!(zset.remove(&member), model.remove(&member));
            }
            if step % 9_999 == 0 {
                kept.push((zset.clone(), model.clone()));
            }
        }
        kept.push((zset, model));
        for (zset, model) in &kept {
            let mut items: Vec<_> = model.iter().map(|(m, s)| (m.clone(), *s)).collect();
            items.sort_by(|a, b| compare((a.1, &a.0), (b.1, &b.0)));
            check(zset, &Model { items });
            for (rank, (member, score)) in owned(zset.iter()).into_iter().enumerate().step_by(97) {
                assert_eq!(zset.rank(&member), Some((rank, score)));
                assert_eq!(zset.at(rank).map(|(m, _)| m.to_vec()), Some(member));
            }
        }
    }
}

#[test]
fn removing_ranges_of_ranks_over_many_leaves_keeps_the_rest() {
    for (start, count) in [
        (0, 1),
        (0, 4999),
        (1, 4998),
        (2500, 2500),
        (100, 4700),
        (4999, 1),
    ] {
        let (mut zset, mut model) = (Zset::new(), Model::default());
        for n in 0..5000u32 {
            let member = format!("member:{n:06}").into_bytes();
            zset.insert(&DEFAULT, &member, f64::from(n / 7));
            model.items.push((member, f64::from(n / 7)));
        }
        apply(
            &mut zset,
            &mut model,
            &DEFAULT,
            &Op::RemoveRanks(start, count),
        );
        check(&zset, &model);
    }
}

#[test]
fn the_sign_of_a_zero_is_kept_as_redis_keeps_it() {
    let mut zset = Zset::new();
    zset.insert(&DEFAULT, b"a", -0.0);
    assert!(zset.score(b"a").is_some_and(f64::is_sign_positive));
    let large = ZsetLimits {
        max_entries: 0,
        max_value: 0,
    };
    let mut zset = Zset::new();
    zset.insert(&large, b"a", -0.0);
    zset.insert(&large, b"a", 0.0);
    assert!(zset.score(b"a").is_some_and(f64::is_sign_negative));
    zset.insert(&large, b"b", 0.0);
    assert_eq!(zset.rank(b"b"), Some((1, 0.0)));
}

#[test]
fn the_form_changes_where_redis_changes_it() {
    let mut zset = Zset::new();
    for n in 0..128 {
        zset.insert(&DEFAULT, format!("{n}").as_bytes(), f64::from(n));
    }
    assert_eq!(zset.encoding(), "listpack");
    zset.insert(&DEFAULT, b"5", 700.5);
    assert_eq!(zset.encoding(), "listpack");
    zset.insert(&DEFAULT, b"one more", 1.0);
    assert_eq!((zset.encoding(), zset.len()), ("skiplist", 129));
    assert_eq!(zset.score(b"5"), Some(700.5));
    zset.compact(&DEFAULT);
    assert_eq!(zset.encoding(), "skiplist");
    zset.remove(b"one more");
    zset.compact(&DEFAULT);
    assert_eq!((zset.encoding(), zset.len()), ("listpack", 128));
    let mut zset = Zset::new();
    zset.insert(&DEFAULT, &[b'x'; 64], 1.0);
    assert_eq!(zset.encoding(), "listpack");
    zset.insert(&DEFAULT, &[b'x'; 65], 1.0);
    assert_eq!(zset.encoding(), "skiplist");
}

#[test]
fn scores_that_look_like_text_of_a_number_read_back() {
    // The bytes of this double are the digits "12345678".
    let score = f64::from_le_bytes(*b"12345678");
    let mut zset = Zset::new();
    for (member, score) in [(&b"a"[..], score), (b"b", 1.5), (b"c", 1e300), (b"d", -7.0)] {
        zset.insert(&DEFAULT, member, score);
        assert_eq!(zset.score(member), Some(score));
    }
}

#[test]
fn a_scan_yields_what_stays_exactly_once_whatever_else_changes() {
    for churn in [0, 40, 400] {
        let mut zset = Zset::new();
        for n in 0..4000u32 {
            zset.insert(&DEFAULT, format!("stays:{n}").as_bytes(), f64::from(n % 10));
        }
        let (mut seen, mut cursor, mut calls, mut extra) = (HashMap::new(), 0, 0, 0u32);
        loop {
            let mut in_call = 0;
            cursor = zset.scan(cursor, 10, |member, score| {
                *seen.entry(member.to_vec()).or_insert(0) += 1;
                in_call += 1;
                assert!(score >= 0.0);
            });
            assert!((10..20).contains(&in_call) || cursor == 0);
            calls += 1;
            if cursor == 0 {
                break;
            }
            assert!(cursor < 1 << 32 && calls < 100_000);
            // Grows in the first half of the scan and shrinks in the second; scores change.
            for _ in 0..churn {
                if calls < 200 {
                    zset.insert(
                        &DEFAULT,
                        format!("new:{extra}").as_bytes(),
                        f64::from(extra % 7),
                    );
                    extra += 1;
                } else if extra > 0 {
                    extra -= 1;
                    zset.remove(format!("new:{extra}").as_bytes());
                }
                let n = (calls * 31 + extra) % 4000;
                zset.insert(
                    &DEFAULT,
                    format!("stays:{n}").as_bytes(),
                    f64::from(calls % 13),
                );
            }
        }
        for n in 0..4000 {
            let member = format!("stays:{n}").into_bytes();
            assert_eq!(seen.get(&member), Some(&1), "stays:{n}");
        }
        assert!(seen.values().all(|&times| times == 1) || churn > 0);
    }
}

#[test]
fn a_scan_takes_any_cursor() {
    let mut zset = Zset::new();
    for n in 0..1000 {
        zset.insert(&DEFAULT, format!("{n}").as_bytes(), 1.0);
    }
    for cursor in [1, 77, u64::from(u32::MAX), 1 << 32, u64::MAX] {
        let (mut at, mut calls) = (cursor, 0);
        loop {
            at = zset.scan(at, 1, |_, _| ());
            calls += 1;
            if at == 0 {
                break;
            }
            assert!(calls <= 1001);
        }
    }
}

fn million(order: impl Fn(u32) -> f64) -> Zset {
    let mut zset = Zset::new();
    for n in 0..1_000_000u32 {
        zset.insert(&DEFAULT, format!("element:{n:09}").as_bytes(), order(n));
    }
    zset
}

#[test]
fn a_million_members_cost_what_the_table_of_peers_allows() {
    let random = |n: u32| f64::from(n.wrapping_mul(2_654_435_761)) / 3.0;
    for (name, zset) in [
        ("rising", million(f64::from)),
        ("falling", million(|n| -f64::from(n))),
        ("random", million(random)),
        ("equal", million(|_| 0.0)),
    ] {
        let per_member = zset.size_bytes() as f64 / 1e6;
        println!("{name}: {per_member:.1} bytes");
        assert!(per_member <= 50.0, "{name}: {per_member}");
    }
}

#[test]
#[ignore = "prints times"]
fn times() {
    let n = 1_000_000u32;
    let random = |n: u32| f64::from(n.wrapping_mul(2_654_435_761)) / 3.0;
    let timed = |name: &str, what: &mut dyn FnMut(u32)| {
        let start = std::time::Instant::now();
        (0..n).for_each(what);
        println!(
            "{name}: {:.0} ns",
            start.elapsed().as_nanos() as f64 / f64::from(n)
        );
    };
    let members: Vec<String> = (0..n).map(|n| format!("element:{n:09}")).collect();
    let pick = |i: u32| members[(i.wrapping_mul(2_246_822_519) % n) as usize].as_bytes();
    let mut zset = Zset::new();
    timed("ZADD new, random", &mut |i| {
        zset.insert(&DEFAULT, pick(i), random(i));
    });
    let mut rising = Zset::new();
    timed("ZADD new, rising", &mut |i| {
        rising.insert(&DEFAULT, members[i as usize].as_bytes(), f64::from(i));
    });
    let mut sum = 0.0;
    timed("ZSCORE", &mut |i| sum += zset.score(pick(i)).unwrap_or(0.0));
    timed("ZRANK", &mut |i| {
        sum += zset.rank(pick(i)).map_or(0.0, |(_, s)| s)
    });
    timed("ZRANGE 100 / 100", &mut |i| {
        if i % 100 == 0 {
            let start = (i.wrapping_mul(7919) % (zset.len() as u32 - 100)) as usize;
            sum += zset
                .range(start..start + 100, false)
                .map(|(_, s)| s)
                .sum::<f64>();
        }
    });
    timed("ZADD change", &mut |i| {
        zset.insert(&DEFAULT, pick(i), random(i ^ 0x5555));
    });
    let mut count = 0;
    timed("ZSCAN 10 / 10", &mut |i| {
        if i == 0 {
            let mut cursor = 0;
            loop {
                cursor = zset.scan(cursor, 10, |_, _| count += 1);
                if cursor == 0 {
                    break;
                }
            }
        }
    });
    timed("ZREM", &mut |i| {
        zset.remove(pick(i));
    });
    timed("ZPOPMIN", &mut |_| {
        rising.pop(false, 1, |_, s| sum += s);
    });
    assert!(sum.is_finite() && zset.is_empty() && rising.is_empty());
}

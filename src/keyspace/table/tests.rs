//! Tests of `table`.

use super::super::entry::Meta;
use super::super::hash;
use super::super::locks::{SHARD_BITS, shard_of};
use super::super::value::hash::{Hash, HashLimits, Lifetime};
use super::*;
use crate::base::random;
use std::collections::{BTreeMap, BTreeSet};

fn entry(key: &[u8], expire_ms: Option<i64>) -> Entry {
    Entry::with_bytes(
        key,
        b"value",
        Meta {
            expire_ms,
            ..Meta::default()
        },
    )
}

/// Keys of one shard only, as a table holds them in service.
fn keys(n: usize) -> Vec<Vec<u8>> {
    (0..)
        .map(|i| format!("key:{i}").into_bytes())
        .filter(|k| shard_of(hash::of(k)) == 5)
        .take(n)
        .collect()
}

/// Numbers below what it is asked for, the same in every run.
fn dice(mut seed: u64) -> impl FnMut(u64) -> u64 {
    move |below| {
        seed = seed
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        (seed >> 33) % below
    }
}

#[test]
fn removing_what_a_walk_shows_lays_a_segment_out_a_few_times_only() {
    let mut table = Table::new(SHARD_BITS);
    for key in keys(20_000) {
        table.insert(hash::of(&key), entry(&key, Some(1)));
    }
    let before = segment::LAYOUTS.get();
    let (segments, slots) = (table.segments.len(), table.capacity());
    let mut from = 0;
    while table.len() > 100 {
        let mut due: Vec<Vec<u8>> = Vec::new();
        from = table.expired(2, from, 1, |key, _| due.push(key.to_vec()));
        for key in due.iter().take(table.len() - 100) {
            let pos = table.find(hash::of(key), key).unwrap();
            table.remove(pos).unwrap();
        }
    }
    let layouts = segment::LAYOUTS.get() - before;
    assert!(
        layouts <= segments * 16,
        "{layouts} for {segments} segments"
    );
    assert!(
        table.capacity() < slots / 5,
        "{} of {slots}",
        table.capacity()
    );
}

#[test]
fn random_inserts_and_removals_agree_with_a_map() {
    let mut table = Table::new(SHARD_BITS);
    let mut model: BTreeMap<Vec<u8>, Option<i64>> = BTreeMap::new();
    let keys = keys(6000);
    let mut dice = dice(7);
    for step in 0..60_000u64 {
        let key = &keys[dice(keys.len() as u64) as usize];
        let h = hash::of(key);
        let growing = step % 20_000 < 12_000;
        match (table.find(h, key), growing) {
            (Some(pos), false) => {
                let e = table.remove(pos).unwrap();
                assert_eq!(e.as_ref().key(), &key[..]);
                assert_eq!(model.remove(key), Some(e.as_ref().expire_ms()));
            }
            (None, true) => {
                let expire = (dice(2) == 0).then_some(step as i64);
                table.insert(h, entry(key, expire));
                assert_eq!(model.insert(key.clone(), expire), None);
            }
            (found, _) => assert_eq!(found.is_some(), model.contains_key(key)),
        }
        assert_eq!(table.len(), model.len());
    }
    assert_eq!(table.volatile_len(), model.values().flatten().count());
    for key in &keys {
        assert_eq!(
            table.find(hash::of(key), key).is_some(),
            model.contains_key(key)
        );
    }
}

/// Takes keys out and puts them back by chance, with a look at the slots behind each.
fn churn(table: &mut Table, keys: &[Vec<u8>], rounds: u32) {
    let mut dice = dice(3);
    for _ in 0..rounds {
        let key = &keys[dice(keys.len() as u64) as usize];
        let h = hash::of(key);
        let found = table.find(h, key);
        match found {
            Some(pos) => drop(table.remove(pos)),
            None => table.insert(h, entry(key, None)),
        }
        let pos = found.or_else(|| table.find(h, key)).unwrap();
        let segments = table.segments.iter();
        segments.for_each(|seg| seg.assert_order(pos.slot as usize, 64));
    }
}

#[test]
fn tombstones_make_a_segment_an_eighth_larger_at_most() {
    let all = keys(1800);
    let (stay, queues) = all.split_at(1000);
    let mut table = Table::new(SHARD_BITS);
    for k in stay {
        table.insert(hash::of(k), entry(k, None));
    }
    let (slots, before) = (table.capacity(), segment::LAYOUTS.get());
    // Each comes and goes at once, many more than there are slots free.
    for k in queues.iter().cycle().take(20_000) {
        table.insert(hash::of(k), entry(k, None));
        let pos = table.find(hash::of(k), k).unwrap();
        table.remove(pos).unwrap();
    }
    let segments = table.segments.iter();
    segments.for_each(|seg| seg.assert_order(0, usize::MAX));
    assert!(stay.iter().all(|k| table.find(hash::of(k), k).is_some()));
    let (after, layouts) = (table.capacity(), segment::LAYOUTS.get() - before);
    assert!(
        after > slots && after <= slots + slots / 8 + 32,
        "{slots} {after}"
    );
    assert!(layouts < 20_000 / 50, "{layouts}");
}

#[test]
fn keys_that_come_and_go_move_nothing_and_take_no_room() {
    let all = keys(1900);
    let mut table = Table::new(SHARD_BITS);
    for k in &all {
        table.insert(hash::of(k), entry(k, None));
    }
    let (slots, layouts) = (table.capacity(), segment::LAYOUTS.get());
    let (queues, rest) = all.split_at(100);
    let places = |table: &Table| -> Vec<_> {
        let place = |k: &Vec<u8>| table.find(hash::of(k), k).unwrap();
        rest.iter().map(place).collect()
    };
    let before = places(&table);
    // One at a time, so that each finds the place that it left.
    for k in queues.iter().cycle().take(5000) {
        let pos = table.find(hash::of(k), k).unwrap();
        table.remove(pos).unwrap();
        assert!(table.find(hash::of(k), k).is_none());
        table.insert(hash::of(k), entry(k, None));
    }
    assert!(places(&table) == before);
    churn(&mut table, queues, 20_000);
    assert!(segment::LAYOUTS.get() - layouts < 20);
    assert_eq!(table.capacity(), slots);
    churn(&mut table, &all, 50_000);
    assert!(segment::LAYOUTS.get() - layouts < 1000);
    assert!(table.capacity() <= slots);
    table
        .segments
        .iter()
        .for_each(|s| s.assert_order(0, usize::MAX));
}

#[test]
fn tombstones_below_leave_room_above() {
    let mut sorted = keys(1900);
    sorted.sort_by_key(|key| hash::of(key));
    let mut table = Table::new(SHARD_BITS);
    // Half of them, so that the second half finds none of its own room but what the first leaves.
    let (low, high) = sorted.split_at(950);
    for k in low {
        table.insert(hash::of(k), entry(k, None));
    }
    for (gone, come) in low.iter().zip(high) {
        let pos = table.find(hash::of(gone), gone).unwrap();
        table.remove(pos).unwrap();
        table.insert(hash::of(come), entry(come, None));
        table
            .segments
            .iter()
            .for_each(|s| s.assert_order(0, usize::MAX));
    }
    for k in high {
        assert!(table.find(hash::of(k), k).is_some());
    }
    assert_eq!(table.len(), high.len());
}

#[test]
fn a_scan_gives_each_lasting_key_once_while_segments_split() {
    let all = keys(20_000);
    let (lasting, late) = all.split_at(3000);
    let mut table = Table::new(SHARD_BITS);
    for k in lasting {
        table.insert(hash::of(k), entry(k, None));
    }
    let mut seen: BTreeMap<Vec<u8>, u32> = BTreeMap::new();
    let mut cursor = 5u64 << (64 - SHARD_BITS);
    let mut late = late.iter();
    loop {
        let next = table.scan(cursor, 10, |e| {
            *seen.entry(e.key().to_vec()).or_default() += 1
        });
        for k in late.by_ref().take(60) {
            table.insert(hash::of(k), entry(k, None));
        }
        let Some(next) = next else { break };
        assert!(next > cursor);
        cursor = next;
    }
    for k in lasting {
        assert_eq!(seen.get(k), Some(&1), "{:?}", String::from_utf8_lossy(k));
    }
    assert!(seen.values().all(|&n| n == 1));
}

#[test]
fn expired_reports_what_is_due_once_and_nothing_else() {
    let mut table = Table::new(SHARD_BITS);
    for (i, k) in keys(5000).iter().enumerate() {
        table.insert(hash::of(k), entry(k, (i % 2 == 0).then_some(i as i64)));
    }
    let mut due = BTreeSet::new();
    let mut from = 0;
    loop {
        from = table.expired(1000, from, 2, |k, at| {
            assert!(at <= 1000);
            assert!(due.insert(k.to_vec()));
        });
        if from == 0 {
            break;
        }
    }
    assert_eq!(due.len(), 501);
    for k in &due {
        let pos = table.find(hash::of(k), k).unwrap();
        table.remove(pos);
    }
    table.expired(1000, 0, 1 << 20, |_, _| panic!("reported again"));
    assert_eq!(table.volatile_len(), 2500 - 501);
}

#[test]
fn changing_an_expiry_keeps_the_counts() {
    let mut table = Table::new(SHARD_BITS);
    let ks = keys(100);
    for k in &ks {
        table.insert(hash::of(k), entry(k, None));
    }
    for k in &ks {
        let pos = table.find(hash::of(k), k).unwrap();
        table.replace_with(pos, |e| e.with_expiry(Some(5)));
        assert_eq!(table.entry(pos).unwrap().key(), &k[..]);
    }
    assert_eq!(table.volatile_len(), 100);
    for k in &ks {
        let pos = table.find(hash::of(k), k).unwrap();
        table.replace_with(pos, |e| e.with_expiry(None));
    }
    assert_eq!(table.volatile_len(), 0);
}

#[test]
fn every_entry_can_be_the_random_one() {
    let mut table = Table::new(SHARD_BITS);
    let ks = keys(40);
    for k in &ks {
        table.insert(hash::of(k), entry(k, None));
    }
    let seen: BTreeSet<Vec<u8>> = (0..4000)
        .map(|_| table.random(random::below).unwrap().key().to_vec())
        .collect();
    assert_eq!(seen.len(), ks.len());
}

#[test]
fn the_random_entry_is_any_of_many_segments_and_of_few_that_are_left() {
    let mut table = Table::new(SHARD_BITS);
    // All but the first few hundred in one half of the hashes, so that depths differ.
    let half = |key: &[u8]| hash::of(key) << SHARD_BITS >> 63;
    let ks: Vec<Vec<u8>> = keys(12_000);
    let few = ks.iter().filter(|k| half(k) == 1).take(300);
    let ks: Vec<&Vec<u8>> = ks.iter().filter(|k| half(k) == 0).chain(few).collect();
    for k in &ks {
        table.insert(hash::of(k), entry(k, None));
    }
    let mut below = dice(11);
    let draws = 100 * ks.len();
    let mut seen: BTreeMap<Vec<u8>, u32> = BTreeMap::new();
    for _ in 0..draws {
        *seen
            .entry(table.random(&mut below).unwrap().key().to_vec())
            .or_default() += 1;
    }
    assert_eq!(seen.len(), ks.len());
    let sparse: u32 = seen
        .iter()
        .filter(|(k, _)| half(k) == 1)
        .map(|(_, n)| n)
        .sum();
    let each = f64::from(sparse) / 300.0;
    assert!(
        (90.0..110.0).contains(&each),
        "{each} draws of each of the few, 100 of the others"
    );
    for k in &ks[1..] {
        let pos = table.find(hash::of(k), k).unwrap();
        table.remove(pos).unwrap();
    }
    assert_eq!(table.random(&mut below).unwrap().key(), ks[0].as_slice());
}

#[test]
fn slots_cost_less_than_ten_bytes_an_entry() {
    let mut table = Table::new(SHARD_BITS);
    let ks = keys(30_000);
    let mut worst = 0.0f64;
    for (i, k) in ks.iter().enumerate() {
        table.insert(hash::of(k), entry(k, None));
        if i > 3000 {
            worst = worst.max(table.overhead_bytes() as f64 / table.len() as f64);
        }
    }
    assert!(worst < 10.0, "{worst}");
}

#[test]
fn hashes_with_due_fields_are_reported_until_the_fields_are_gone() {
    let limits = HashLimits::default();
    let mut table = Table::new(SHARD_BITS);
    let ks = keys(5000);
    for (i, k) in ks.iter().enumerate() {
        let mut hash = Hash::new();
        hash.set(b"stays", b"v", &limits);
        if i % 2 == 0 {
            hash.set_for(b"goes", b"v", Lifetime::Until(i as i64), &limits);
        }
        table.insert(hash::of(k), Entry::new(k, hash.into(), Meta::default()));
    }
    assert_eq!((table.timed_len(), table.volatile_len()), (2500, 0));
    let report = |table: &mut Table, now_ms: i64| {
        let mut due = BTreeSet::new();
        let mut from = 0;
        loop {
            from = table.with_due_fields(now_ms, from, 2, |at, k| {
                assert!(at <= now_ms);
                assert!(due.insert(k.to_vec()));
            });
            if from == 0 {
                return due;
            }
        }
    };
    let due = report(&mut table, 1000);
    assert_eq!(due.len(), 501);
    assert_eq!(report(&mut table, 1000), due);
    for k in &due {
        let pos = table.find(hash::of(k), k).unwrap();
        let before = table.entry(pos).unwrap().next_field_expiry();
        let entry = table.entry_mut(pos).unwrap();
        assert!(entry.collection::<Hash>().unwrap().remove(b"goes"));
        table.note_fields(pos, before, None);
    }
    assert!(report(&mut table, 1000).is_empty());
    assert_eq!(table.timed_len(), 2500 - 501);
    assert_eq!(report(&mut table, 1002).len(), 1);
    for k in &ks {
        let pos = table.find(hash::of(k), k).unwrap();
        table.remove(pos);
    }
    assert_eq!(table.timed_len(), 0);
}

/// As RESTORE and COPY do when they follow SCAN, and a load of what this process has saved.
#[test]
fn entries_that_come_in_hash_order_are_all_there() {
    let mut sorted = keys(if cfg!(miri) { 2500 } else { 40_000 });
    sorted.sort_by_key(|key| hash::of(key));
    let mut reversed = sorted.clone();
    reversed.reverse();
    let (left, right) = sorted.split_at(sorted.len() / 3);
    let rotated = [right, left].concat();
    for order in [&sorted, &reversed, &rotated] {
        let mut table = Table::new(SHARD_BITS);
        for (n, key) in order.iter().enumerate() {
            table.insert(hash::of(key), entry(key, (n % 3 == 0).then_some(n as i64)));
        }
        assert_eq!(table.len(), order.len());
        for key in order {
            assert!(table.find(hash::of(key), key).is_some(), "{key:?}");
        }
        let mut seen = 0;
        assert_eq!(table.scan(0, usize::MAX, |_| seen += 1), None);
        assert_eq!(seen, order.len());
        let mut due = 0;
        table.expired(i64::MAX, 0, usize::MAX, |_, _| due += 1);
        assert_eq!(due, table.volatile_len());
        for key in order {
            let pos = table.find(hash::of(key), key).unwrap();
            assert!(table.remove(pos).is_some());
        }
        assert!(table.is_empty());
    }
}

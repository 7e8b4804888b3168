//! `Pages` as a structure: scans across splits and merges, ranks, snapshots, shrinking.

use std::collections::HashMap;

use super::*;

/// A small generator with a fixed seed, so that a failure repeats.
struct Rng(u64);

impl Rng {
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % n
    }
}

fn key(n: u64) -> Vec<u8> {
    match n % 5 {
        0 => n.to_string().into_bytes(),
        4 if n % 100 == 4 => [n.to_string().as_bytes(), &[b'k'; 1100]].concat(),
        _ => format!("key:{n}").into_bytes(),
    }
}

fn value(rng: &mut Rng) -> Vec<u8> {
    let len = [3, 8, 20, 100, 600, 1024, 1025, 9000][rng.below(8) as usize];
    vec![b'a' + rng.below(26) as u8; len]
}

fn place(key: &[u8]) -> u64 {
    position(Encoded::new(Elem::from(key)).hashed())
}

/// The records are the model's, each in the page of its position; the counts in the nodes and the
/// bytes are those of the pages.
fn check(pages: &Pages<true>, model: &HashMap<Vec<u8>, Vec<u8>>) {
    assert_eq!(pages.len(), model.len());
    assert_eq!(pages.iter().len(), model.len());
    let found: HashMap<_, _> = pages
        .iter()
        .map(|r| (r.key.to_vec(), r.value.to_vec()))
        .collect();
    assert!(found == *model);
    assert!(pages.iter().all(|r| pages.get(r.key) == Some(r)));
    let ranked: HashMap<_, _> = (0..pages.len())
        .filter_map(|rank| pages.nth(rank))
        .map(|r| (r.key.to_vec(), r.value.to_vec()))
        .collect();
    assert!(ranked == *model);
    assert!(pages.nth(model.len()).is_none());
    let (mut page_bytes, mut at) = (0, 0);
    while at < SPACE {
        let (page, lo, hi) = pages.root.page_at(at).unwrap();
        assert!(lo == at && hi > lo);
        for n in 0..page.len() {
            let place = place(&page.record(n).unwrap().key.to_vec());
            assert!((lo..hi).contains(&place));
        }
        page_bytes += page.size_bytes();
        at = hi;
    }
    assert_eq!(page_bytes, pages.page_bytes);
}

#[test]
fn random_writes_and_removals_agree_with_a_map() {
    for seed in 1..=6 {
        let mut rng = Rng(seed * 7919);
        let (mut pages, mut model) = (Pages::<true>::new(), HashMap::new());
        for round in 0..6 {
            let keys = [50, 400, 3000, 3000, 300, 3000][round];
            let grow = [90, 60, 90, 10, 20, 60][round];
            for _ in 0..3000 {
                let k = key(rng.below(keys));
                if rng.below(100) < grow {
                    let v = value(&mut rng);
                    assert_eq!(pages.insert(&k, &v), model.insert(k, v).is_none());
                } else {
                    assert_eq!(pages.remove(&k), model.remove(&k).is_some());
                }
            }
            check(&pages, &model);
        }
        for k in model.keys().cloned().collect::<Vec<_>>() {
            assert!(pages.remove(&k));
            model.remove(&k);
        }
        check(&pages, &model);
        assert!(pages.size_bytes() < 1000);
    }
}

#[test]
fn a_clone_equals_the_state_at_its_instant() {
    let mut rng = Rng(42);
    let (mut pages, mut model) = (Pages::<true>::new(), HashMap::new());
    let mut held = Vec::new();
    for n in 0..20_000 {
        if n % 2500 == 0 {
            held.push((pages.clone(), model.clone()));
        }
        let k = key(rng.below(4000));
        if rng.below(3) > 0 {
            let v = value(&mut rng);
            pages.insert(&k, &v);
            model.insert(k, v);
        } else {
            pages.remove(&k);
            model.remove(&k);
        }
    }
    held.push((pages, model));
    // The checks run while the other clones are dropped by other threads.
    std::thread::scope(|scope| {
        for (pages, model) in held {
            scope.spawn(move || check(&pages, &model));
        }
    });
}

#[test]
fn a_scan_sees_what_stays_exactly_once_while_pages_split_and_merge() {
    for seed in 1..=20 {
        let mut rng = Rng(seed);
        let mut pages = Pages::<false>::new();
        let staying: Vec<String> = (0..2000).map(|n| format!("stay:{n}")).collect();
        for member in &staying {
            pages.insert(member.as_bytes(), b"");
        }
        let growing = seed % 2 == 0;
        let passing = |n: u64| format!("pass:{n}").into_bytes();
        for n in 0..if growing { 0 } else { 20_000 } {
            pages.insert(&passing(n), b"");
        }
        let mut seen: HashMap<Vec<u8>, u32> = HashMap::new();
        let (mut cursor, mut next, mut calls) = (0, 0, 0);
        loop {
            let count = 1 + rng.below(30) as usize;
            cursor = pages.scan(cursor, count, |r| {
                *seen.entry(r.key.to_vec()).or_default() += 1
            });
            calls += 1;
            if cursor == 0 {
                break;
            }
            for _ in 0..rng.below(if growing { 40 } else { 400 }) {
                if growing {
                    pages.insert(&passing(next), b"");
                } else {
                    pages.remove(&passing(next));
                }
                next += 1;
            }
        }
        assert!(calls > 50, "{calls}");
        assert!(
            staying
                .iter()
                .all(|member| seen.get(member.as_bytes()) == Some(&1))
        );
        assert!(seen.values().all(|&n| n == 1));
    }
}

#[test]
fn a_scan_ends_whatever_the_cursor_and_the_count() {
    let mut pages = Pages::<false>::new();
    for n in 0..1000i64 {
        pages.insert(n, b"");
    }
    for cursor in [1, 12345, SPACE - 1, SPACE, u64::MAX] {
        for count in [0, 1, usize::MAX] {
            let (mut at, mut calls) = (cursor, 0);
            loop {
                at = pages.scan(at, count, |_| {});
                calls += 1;
                if at == 0 {
                    break;
                }
            }
            assert!(calls <= 1001);
        }
    }
}

#[test]
fn scans_return_about_as_many_as_asked() {
    let mut pages = Pages::<false>::new();
    for n in 0..50_000i64 {
        pages.insert(n, b"");
    }
    let mut cursor = 0;
    loop {
        let mut seen = 0;
        cursor = pages.scan(cursor, 10, |_| seen += 1);
        assert!((10..=20).contains(&seen) || cursor == 0, "{seen}");
        if cursor == 0 {
            break;
        }
    }
}

#[test]
fn a_write_after_a_clone_copies_one_path() {
    let mut pages = Pages::<true>::new();
    for n in 0..200_000i64 {
        pages.insert(n, n);
    }
    let before = pages.clone();
    pages.insert(77, b"changed");
    let shared = |a: &Pages<true>, b: &Pages<true>| {
        let (mut same, mut at) = (0, 0);
        let mut pages_seen = 0;
        while at < SPACE {
            let ((x, _, hi), (y, ..)) = (a.root.page_at(at).unwrap(), b.root.page_at(at).unwrap());
            same += usize::from(x.record(0).is_some() && std::ptr::eq(x, y));
            pages_seen += 1;
            at = hi;
        }
        (same, pages_seen)
    };
    let (same, all) = shared(&before, &pages);
    assert!(all > 500 && all - same <= 64, "{same} of {all}");
    assert_eq!(before.get(77).map(|r| r.value), Some(Elem::Int(77)));
    assert_eq!(
        pages.get(77).map(|r| r.value),
        Some(Elem::Bytes(b"changed"))
    );
}

#[test]
fn removing_nearly_all_gives_the_memory_back() {
    let mut pages = Pages::<false>::new();
    for n in 0..100_000i64 {
        pages.insert(format!("member:{n}").as_bytes(), b"");
    }
    let full = pages.size_bytes();
    for n in 100..100_000i64 {
        pages.remove(format!("member:{n}").as_bytes());
    }
    assert_eq!(pages.len(), 100);
    assert!(
        pages.size_bytes() < full / 100,
        "{} of {full}",
        pages.size_bytes()
    );
}

#[test]
fn a_gap_is_not_filled_with_two_records_that_are_as_long_together() {
    let members = [&b"four"[..], b"x", b"yz"];
    for gone in 0..members.len() {
        let mut pages = Pages::<false>::new();
        for member in members {
            pages.insert(member, b"");
        }
        assert!(pages.remove(members[gone]));
        let mut left: Vec<_> = pages.iter().map(|record| record.key.to_vec()).collect();
        let mut expected: Vec<_> = members.iter().map(|member| member.to_vec()).collect();
        expected.remove(gone);
        left.sort();
        expected.sort();
        assert_eq!(left, expected);
    }
}

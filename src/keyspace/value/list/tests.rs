//! Lists against a deque, over limits that make every form and node border.

use std::collections::VecDeque;

use proptest::prelude::*;

use super::entry::check_entries;
use super::*;

type Model = VecDeque<Vec<u8>>;

const DEFAULT: ListLimits = ListLimits {
    max_listpack_size: -2,
    compress_depth: 0,
};

fn all(list: &List, from: End) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    list.visit(0..list.len(), from, |elem| found.push(elem.to_vec()));
    found
}

fn check(list: &List, model: &Model) {
    assert_eq!(list.len(), model.len());
    assert_eq!(
        all(list, End::Head),
        model.iter().cloned().collect::<Vec<_>>()
    );
    assert_eq!(
        all(list, End::Tail),
        model.iter().rev().cloned().collect::<Vec<_>>()
    );
    let mut count = 0;
    list.nodes(|node| match node {
        NodeView::Packed { entries, count: n } => {
            assert_eq!(
                check_entries(entries).map(|c| (c.count, c.canonical)),
                Some((n, true))
            );
            assert!(n > 0 || model.is_empty(), "an empty node stays behind");
            count += n;
        }
        NodeView::Plain(_) => count += 1,
    });
    assert_eq!(count, model.len());
    if let Repr::Large(tree) = &list.repr {
        assert!(!tree.is_empty());
    }
}

/// Which nodes are compressed, of those that are long enough.
fn squeezed(list: &List) -> Vec<bool> {
    let Repr::Large(tree) = &list.repr else {
        return Vec::new();
    };
    let (mut walk, mut found) = (tree.walk(&mut First), Vec::new());
    while let Some(node) = walk.current() {
        found.push(matches!(node, Node::Squeezed(_)));
        walk.forward();
    }
    found
}

#[test]
fn the_nodes_between_the_ends_are_compressed() {
    let limits = ListLimits {
        max_listpack_size: 2,
        compress_depth: 1,
    };
    let (mut list, mut model) = (List::default(), Model::new());
    let text = |n: usize| format!("{n:03}").repeat(20).into_bytes();
    for n in 0..20 {
        list.push(limits, End::Tail, &[&text(n)]);
        model.push_back(text(n));
        check(&list, &model);
        let (nodes, squeezed, _) = list.compression();
        assert_eq!(
            squeezed,
            if n < 2 { 0 } else { nodes.saturating_sub(2) },
            "{n}"
        );
    }
    let mut plain = List::default();
    let open = ListLimits {
        compress_depth: 0,
        ..limits
    };
    for value in &model {
        plain.push(open, End::Tail, &[value]);
    }
    assert!(list.size_bytes() < plain.size_bytes());
    assert!(list.set(limits, 7, &text(99)));
    model[7] = text(99);
    list.insert_at(limits, 9, &text(98));
    model.insert(9, text(98));
    check(&list, &model);
    let state = squeezed(&list);
    let (ends, inner) = (state.len() - 1, &state[1..state.len() - 1]);
    assert!(
        !state[0] && !state[ends] && inner.iter().all(|s| *s),
        "{state:?}"
    );
    while list.pop(limits, End::Head, 1, |_| ()) > 0 {
        model.pop_front();
        check(&list, &model);
        assert_ne!(squeezed(&list).first(), Some(&true));
    }
}

#[test]
fn what_does_not_shrink_is_kept_as_it_is() {
    let limits = ListLimits {
        max_listpack_size: -1,
        compress_depth: 1,
    };
    let (mut list, mut model) = (List::default(), Model::new());
    for _ in 0..6 {
        let noise = crate::base::random::bytes(5000);
        list.push(limits, End::Head, &[&noise]);
        model.push_front(noise.to_vec());
        check(&list, &model);
    }
    assert_eq!(list.compression(), (6, 4, 30_000));
}

#[derive(Clone, Debug)]
enum Op {
    Push(End, Vec<Vec<u8>>),
    Pop(End, usize),
    Set(usize, Vec<u8>),
    Insert(End, Vec<u8>, Vec<u8>),
    InsertAt(usize, Vec<u8>),
    Remove(Vec<u8>, usize, End),
    Trim(usize, usize),
    RemoveRange(usize, usize),
    Range(usize, usize, End),
    Positions(Vec<u8>, End, usize, usize, usize),
    Get(usize),
}

fn model_positions(model: &Model, value: &[u8], from: End, max_len: usize) -> Vec<usize> {
    let order: Vec<usize> = match from {
        End::Head => (0..model.len()).collect(),
        End::Tail => (0..model.len()).rev().collect(),
    };
    order
        .into_iter()
        .take(max_len)
        .filter(|&i| model[i] == value)
        .collect()
}

fn apply(list: &mut List, model: &mut Model, limits: ListLimits, op: &Op) {
    let len = model.len();
    match op {
        Op::Push(end, values) => {
            let slices: Vec<&[u8]> = values.iter().map(Vec::as_slice).collect();
            list.push(limits, *end, &slices);
            for value in values {
                match end {
                    End::Head => model.push_front(value.clone()),
                    End::Tail => model.push_back(value.clone()),
                }
            }
        }
        Op::Pop(end, count) => {
            let mut got = Vec::new();
            let n = list.pop(limits, *end, *count, |elem| got.push(elem.to_vec()));
            let want: Vec<_> = (0..*count)
                .map_while(|_| match end {
                    End::Head => model.pop_front(),
                    End::Tail => model.pop_back(),
                })
                .collect();
            assert_eq!((n, got), (want.len(), want));
        }
        Op::Set(index, value) => {
            let index = index % (len + 1);
            assert_eq!(list.set(limits, index, value), index < len);
            if let Some(slot) = model.get_mut(index) {
                *slot = value.clone();
            }
        }
        Op::Insert(side, pivot, value) => {
            let at = model.iter().position(|v| v == pivot);
            assert_eq!(list.insert(limits, *side, pivot, value), at.is_some());
            if let Some(at) = at {
                model.insert(at + usize::from(*side == End::Tail), value.clone());
            }
        }
        Op::InsertAt(index, value) => {
            let index = index % (len + 1);
            list.insert_at(limits, index, value);
            model.insert(index, value.clone());
        }
        Op::Remove(value, count, from) => {
            let mut gone = model_positions(model, value, *from, usize::MAX);
            gone.truncate(*count);
            assert_eq!(list.remove(limits, value, *count, *from), gone.len());
            gone.sort_unstable();
            for index in gone.into_iter().rev() {
                model.remove(index);
            }
        }
        Op::Trim(start, keep) => {
            let start = start % (len + 1);
            list.trim(limits, start..start + keep);
            *model = model.iter().skip(start).take(*keep).cloned().collect();
        }
        Op::RemoveRange(start, count) => {
            let start = start % (len + 1);
            list.remove_range(limits, start..start + count);
            model.drain(start..(start + count).min(len));
        }
        op => ask(list, model, op),
    }
}

/// The operations that change nothing.
fn ask(list: &List, model: &Model, op: &Op) {
    let len = model.len();
    match op {
        Op::Range(start, count, from) => {
            let start = start % (len + 1);
            let mut got = Vec::new();
            list.visit(start..start + count, *from, |elem| got.push(elem.to_vec()));
            let mut want: Vec<_> = model.iter().skip(start).take(*count).cloned().collect();
            if *from == End::Tail {
                want.reverse();
            }
            assert_eq!(got, want);
        }
        Op::Positions(value, from, skip, most, max_len) => {
            let want: Vec<usize> = model_positions(model, value, *from, *max_len)
                .into_iter()
                .skip(*skip)
                .take(*most)
                .collect();
            assert_eq!(list.positions(value, *from, *skip, *most, *max_len), want);
        }
        Op::Get(index) => {
            let index = index % (len + 2);
            assert_eq!(
                list.get(index, |elem| elem.to_vec()).as_ref(),
                model.get(index)
            );
        }
        _ => unreachable!("an edit"),
    }
}

fn value() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        // Few different ones, so that searches find some.
        8 => (0u8..6).prop_map(|n| vec![b'a' + n]),
        4 => (-200_000i64..200_000).prop_map(|n| n.to_string().into_bytes()),
        1 => any::<i64>().prop_map(|n| n.to_string().into_bytes()),
        2 => proptest::collection::vec(any::<u8>(), 0..200),
        1 => (0usize..5000).prop_map(|n| vec![b'x'; n]),
        1 => (8000usize..20_000).prop_map(|n| vec![b'y'; n]),
    ]
}

fn end() -> impl Strategy<Value = End> {
    prop_oneof![Just(End::Head), Just(End::Tail)]
}

fn op() -> impl Strategy<Value = Op> {
    let index = || any::<u16>().prop_map(usize::from);
    prop_oneof![
        6 => (end(), proptest::collection::vec(value(), 1..80)).prop_map(|(e, v)| Op::Push(e, v)),
        3 => (end(), 0usize..40).prop_map(|(e, n)| Op::Pop(e, n)),
        3 => (index(), value()).prop_map(|(i, v)| Op::Set(i, v)),
        3 => (end(), value(), value()).prop_map(|(e, p, v)| Op::Insert(e, p, v)),
        4 => (index(), value()).prop_map(|(i, v)| Op::InsertAt(i, v)),
        2 => (value(), prop_oneof![Just(usize::MAX), 0usize..6], end())
            .prop_map(|(v, n, e)| Op::Remove(v, n, e)),
        1 => (0usize..40, 0usize..800).prop_map(|(s, n)| Op::Trim(s, n)),
        2 => (index(), 0usize..60).prop_map(|(s, n)| Op::RemoveRange(s, n)),
        3 => (index(), 0usize..300, end()).prop_map(|(s, n, e)| Op::Range(s, n, e)),
        3 => (value(), end(), 0usize..3, 0usize..20, prop_oneof![Just(usize::MAX), 0usize..300])
            .prop_map(|(v, e, s, m, l)| Op::Positions(v, e, s, m, l)),
        2 => index().prop_map(Op::Get),
    ]
}

fn limits() -> impl Strategy<Value = ListLimits> {
    prop_oneof![
        Just(-2),
        Just(-1),
        Just(-5),
        Just(0),
        Just(1),
        Just(2),
        Just(3),
        Just(5),
        Just(40)
    ]
    .prop_flat_map(|max_listpack_size| {
        (0..4u32).prop_map(move |compress_depth| ListLimits {
            max_listpack_size,
            compress_depth,
        })
    })
}

proptest! {
    #[test]
    fn any_edits_agree_with_a_deque_and_clones_stay_exact(
        limits in limits(),
        ops in proptest::collection::vec(op(), 1..80),
    ) {
        let (mut list, mut model) = (List::default(), Model::new());
        let mut kept = Vec::new();
        for (n, op) in ops.iter().enumerate() {
            apply(&mut list, &mut model, limits, op);
            check(&list, &model);
            if n % 16 == 0 {
                kept.push((list.clone(), model.clone()));
            }
        }
        for (list, model) in &kept {
            check(list, model);
        }
    }

    #[test]
    fn hostile_entries_are_refused_or_read_in_bounds(
        entries in proptest::collection::vec(any::<u8>(), 0..200)
    ) {
        let mut list = List::default();
        if list.append_entries(DEFAULT, &entries).is_some() {
            list.settle(DEFAULT);
            prop_assert_eq!(all(&list, End::Head).len(), list.len());
        } else {
            prop_assert!(list.is_empty());
        }
    }
}

#[test]
fn entries_are_those_of_a_redis_listpack() {
    let mut list = List::default();
    let long = vec![b'z'; 100];
    let values: [&[u8]; 8] = [
        b"0",
        b"127",
        b"128",
        b"-1",
        b"-4097",
        b"ab",
        b"9223372036854775807",
        &long,
    ];
    list.push(DEFAULT, End::Tail, &values);
    let mut got = Vec::new();
    list.nodes(|node| match node {
        NodeView::Packed { entries, .. } => got.extend_from_slice(entries),
        NodeView::Plain(_) => panic!("no plain node"),
    });
    let mut want = vec![
        0, 1, 127, 1, 0xC0, 128, 2, 0xDF, 0xFF, 2, 0xF1, 0xFF, 0xEF, 3,
    ];
    want.extend([0x82, b'a', b'b', 3]);
    want.extend([0xF4, 255, 255, 255, 255, 255, 255, 255, 127, 9, 0xE0, 100]);
    want.extend(&long);
    want.push(102);
    assert_eq!(got, want);
    let mut copy = List::default();
    assert_eq!(copy.append_entries(DEFAULT, &want), Some(()));
    assert_eq!(all(&copy, End::Head), values.map(<[u8]>::to_vec));
    // The same numbers in a longer form are taken, in ours.
    let mut copy = List::default();
    assert_eq!(
        copy.append_entries(DEFAULT, &[0xF1, 5, 0, 3, 0x81, b'7', 2]),
        Some(())
    );
    copy.nodes(|node| match node {
        NodeView::Packed { entries, .. } => assert_eq!(entries, [5, 1, 7, 1]),
        NodeView::Plain(_) => panic!("no plain node"),
    });
    for bad in [
        &[0x82, b'a', 3][..],
        &[5, 2],
        &[0xFF],
        &[0xF0, 255, 255, 255, 255, 0],
        &[5],
    ] {
        assert_eq!(
            List::default().append_entries(DEFAULT, bad),
            None,
            "{bad:?}"
        );
    }
}

#[test]
fn back_lengths_round_trip_around_every_form() {
    for limits in [
        DEFAULT,
        ListLimits {
            max_listpack_size: -5,
            ..DEFAULT
        },
    ] {
        for len in [
            0, 62, 63, 64, 124, 125, 126, 127, 128, 4094, 4095, 4096, 8100, 16_370, 16_400,
        ] {
            let mut list = List::default();
            let text = vec![b'q'; len];
            list.push(limits, End::Tail, &[b"a", &text, b"b"]);
            assert_eq!(all(&list, End::Tail), [b"b".to_vec(), text, b"a".to_vec()]);
        }
    }
}

#[test]
fn the_form_changes_where_redis_changes_it() {
    let by_count = ListLimits {
        max_listpack_size: 4,
        ..DEFAULT
    };
    let mut list = List::default();
    list.push(by_count, End::Tail, &[b"a", b"b", b"c", b"d"]);
    assert_eq!(list.encoding(), "listpack");
    list.push(by_count, End::Tail, &[b"e"]);
    assert_eq!(list.encoding(), "quicklist");
    list.pop(by_count, End::Tail, 1, |_| ());
    list.pop(by_count, End::Tail, 1, |_| ());
    assert_eq!(list.encoding(), "quicklist");
    list.pop(by_count, End::Tail, 1, |_| ());
    assert_eq!(list.encoding(), "listpack");
    // By size: 7 bytes of frame and 8185 of text are the limit, however they are encoded.
    let mut list = List::default();
    list.push(DEFAULT, End::Tail, &[&[b'x'; 8185]]);
    assert_eq!(list.encoding(), "listpack");
    let mut list = List::default();
    list.push(DEFAULT, End::Tail, &[&[b'x'; 8186]]);
    assert_eq!(list.encoding(), "quicklist");
    assert!(list.set(DEFAULT, 0, b"small"));
    assert_eq!(list.encoding(), "listpack");
}

#[test]
fn queues_and_stacks_of_a_hundred_thousand_keep_order_in_either_direction() {
    for (push, pop) in [
        (End::Head, End::Tail),
        (End::Tail, End::Head),
        (End::Head, End::Head),
    ] {
        let (mut list, mut model) = (List::default(), Model::new());
        for n in 0..100_000u32 {
            let text = format!("element:{n}");
            apply(
                &mut list,
                &mut model,
                DEFAULT,
                &Op::Push(push, vec![text.into_bytes()]),
            );
            if n % 3 == 0 {
                apply(&mut list, &mut model, DEFAULT, &Op::Pop(pop, 1));
            }
        }
        check(&list, &model);
        while !model.is_empty() {
            apply(&mut list, &mut model, DEFAULT, &Op::Pop(pop, 1000));
        }
        assert_eq!((list.len(), list.encoding()), (0, "listpack"));
    }
}

#[test]
fn a_million_elements_cost_what_the_table_of_peers_allows() {
    for end in [End::Head, End::Tail] {
        let mut list = List::default();
        for n in 0..1_000_000u32 {
            let text = format!("element:{n:09}");
            list.push(DEFAULT, end, &[text.as_bytes()]);
        }
        let per_element = list.size_bytes() as f64 / 1e6;
        assert!(per_element <= 19.2, "{end:?} {per_element}");
    }
}

#[test]
#[ignore = "prints times"]
fn times() {
    let n = 1_000_000u32;
    let time = |name: &str, start: std::time::Instant| {
        println!(
            "{name}: {:.0} ns",
            start.elapsed().as_nanos() as f64 / f64::from(n)
        );
    };
    for end in [End::Head, End::Tail] {
        let mut list = List::default();
        let start = std::time::Instant::now();
        for _ in 0..n {
            list.push(DEFAULT, end, &[b"element:123456789"]);
        }
        time("push", start);
        let start = std::time::Instant::now();
        let mut sum = 0;
        for i in 0..n {
            let index = (u64::from(i) * 7_919_993 % u64::from(n)) as usize;
            sum += list.get(index, |elem| elem.text_len()).unwrap();
        }
        time("get", start);
        assert_eq!(sum, 17 * n as usize);
        let start = std::time::Instant::now();
        list.visit(0..list.len(), end, |elem| sum += elem.text_len());
        time("visit", start);
        let start = std::time::Instant::now();
        for _ in 0..n {
            list.pop(DEFAULT, end, 1, |_| ());
        }
        time("pop", start);
        assert!(sum > 0 && list.is_empty());
    }
}

//! `Packed` against a vector of byte strings.

use proptest::prelude::*;

use super::*;

/// Byte strings that meet every form of the encoding.
fn text() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        4 => "[a-c]{0,3}".prop_map(String::into_bytes),
        3 => any::<i64>().prop_map(|n| n.to_string().into_bytes()),
        3 => (-70i64..5000).prop_map(|n| n.to_string().into_bytes()),
        1 => proptest::sample::select(vec!["-0", "01", "", "-", "9223372036854775808", "1.5"])
            .prop_map(|s| s.as_bytes().to_vec()),
        1 => (100usize..200).prop_map(|n| vec![b'x'; n]),
        1 => proptest::sample::select(vec![127usize, 128, 4095, 4096, 5000])
            .prop_map(|n| vec![0xF6; n]),
    ]
}

#[derive(Clone, Debug)]
enum Op {
    PushBack(Vec<u8>),
    PushFront(Vec<u8>),
    Insert(usize, Vec<u8>),
    Replace(usize, Vec<u8>),
    Remove(usize, usize),
    Pair(Vec<u8>, Vec<u8>),
    SplitAndSwap(usize),
    Hold,
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        text().prop_map(Op::PushBack),
        text().prop_map(Op::PushFront),
        (0usize..40, text()).prop_map(|(i, t)| Op::Insert(i, t)),
        (0usize..40, text()).prop_map(|(i, t)| Op::Replace(i, t)),
        (0usize..40, 0usize..4).prop_map(|(i, n)| Op::Remove(i, n)),
        (text(), text()).prop_map(|(a, b)| Op::Pair(a, b)),
        (0usize..40).prop_map(Op::SplitAndSwap),
        Just(Op::Hold),
    ]
}

fn texts(packed: &Packed) -> Vec<Vec<u8>> {
    packed.iter().map(Elem::to_vec).collect()
}

fn apply(packed: &mut Packed, model: &mut Vec<Vec<u8>>, op: &Op) {
    let len = model.len();
    match op {
        Op::PushBack(t) => {
            packed.push_back(t);
            model.push(t.clone());
        }
        Op::PushFront(t) => {
            packed.push_front(t);
            model.insert(0, t.clone());
        }
        Op::Insert(i, t) => {
            assert_eq!(packed.insert(*i, t), *i <= len);
            if *i <= len {
                model.insert(*i, t.clone());
            }
        }
        Op::Replace(i, t) => {
            assert_eq!(packed.replace(*i, t), *i < len);
            if *i < len {
                model[*i] = t.clone();
            }
        }
        Op::Remove(i, n) => {
            let gone = model.drain((*i).min(len)..(*i + *n).min(len)).count();
            assert_eq!(packed.remove(*i, *n), gone);
        }
        Op::Pair(a, b) => {
            packed.push_pair(a, b);
            model.extend([a.clone(), b.clone()]);
        }
        Op::SplitAndSwap(i) => {
            let i = (*i).min(len);
            let mut tail = packed.split_off(i);
            tail.append(packed);
            *packed = tail;
            model.rotate_left(i);
        }
        Op::Hold => {}
    }
}

proptest! {
    #[test]
    fn it_agrees_with_a_vector(ops in proptest::collection::vec(op(), 0..120)) {
        let (mut packed, mut model) = (Packed::new(), Vec::new());
        let mut held = Vec::new();
        for op in &ops {
            apply(&mut packed, &mut model, op);
            if matches!(op, Op::Hold) {
                held.push((packed.clone(), model.clone()));
            }
            prop_assert_eq!(packed.len(), model.len());
        }
        prop_assert_eq!(texts(&packed), model.clone());
        let mut back: Vec<_> = packed.iter_rev().map(Elem::to_vec).collect();
        back.reverse();
        prop_assert_eq!(back, model.clone());
        for (i, t) in model.iter().enumerate() {
            prop_assert_eq!(packed.get(i).map(Elem::to_vec), Some(t.clone()));
            for stride in 1..=2 {
                let first = model.iter().step_by(stride).position(|u| u == t).map(|p| p * stride);
                let found = if stride == 1 {
                    packed.find::<1>(t)
                } else {
                    packed.find::<2>(t)
                };
                prop_assert_eq!(found.map(|f| f.0), first);
            }
        }
        prop_assert_eq!(packed.size_bytes(), size_class(8 + packed.bytes_used()));
        prop_assert_eq!(texts(&model.iter().collect::<Packed>()), model);
        for (packed, model) in held {
            prop_assert_eq!(texts(&packed), model);
        }
    }
}

#[test]
fn an_empty_sequence_answers_everything() {
    let mut packed = Packed::new();
    assert!(packed.is_empty() && packed.get(0).is_none() && packed.find::<1>(b"").is_none());
    assert_eq!(packed.remove(0, 5), 0);
    assert!(!packed.replace(0, b"x") && !packed.insert(1, b"x"));
    packed.replace_at(packed.end(), b"x");
    assert_eq!(packed.iter().len(), 0);
    assert_eq!(packed.size_bytes(), 16);
    assert!(packed.split_off(0).is_empty() && packed.split_off(9).is_empty());
}

#[test]
fn positions_walk_the_sequence() {
    let packed: Packed = [&b"a"[..], b"12", b""].into_iter().collect();
    let mut pos = packed.first();
    let mut seen = Vec::new();
    while let Some((elem, next)) = packed.read(pos) {
        assert_eq!(packed.next(pos), next);
        seen.push(elem.to_vec());
        pos = next;
    }
    assert_eq!(pos, packed.end());
    assert_eq!(seen, [&b"a"[..], b"12", b""]);
}

#[test]
fn many_elements_are_counted_beyond_16_bits() {
    let mut packed: Packed = (0..70_000i64).collect();
    assert_eq!(packed.len(), 70_000);
    assert_eq!(packed.get(69_999), Some(Elem::Int(69_999)));
    assert_eq!(packed.remove(1, usize::MAX), 69_999);
    assert_eq!(packed.size_bytes(), 16);
}

#[test]
fn a_hash_of_ten_fields_and_190_bytes_takes_at_most_224() {
    let mut packed = Packed::new();
    for n in 0..10 {
        packed.push_pair(
            format!("field{n}").as_bytes(),
            format!("value-{n:07}").as_bytes(),
        );
    }
    assert_eq!(packed.bytes_used(), 4 + 10 * (1 + 6 + 1 + 13));
    assert!(packed.size_bytes() <= 224, "{}", packed.size_bytes());
    assert_eq!(size_of::<Packed>(), 8);
}

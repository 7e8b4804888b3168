//! The small form: one packed block of member, score, member, score, in order.
//!
//! A score that is an integer is kept as one, any other as [`RAW`] and the eight bytes of the
//! double, so that reading it is not parsing it. The mark keeps the bytes from being taken for
//! the text of an integer. A zero loses its sign, as it does in Redis's listpack.

use std::cmp::Ordering;

use super::super::packed::{Elem, Packed, Pos};

/// Marks a score that is not an integer.
const RAW: u8 = b'f';

/// Integers up to here are exact in a double and in the text that Redis would keep.
const INTEGERS: f64 = 4_503_599_627_370_496.0;

fn with_score<R>(score: f64, then: impl FnOnce(Elem<'_>) -> R) -> R {
    if score.abs() <= INTEGERS && score.fract() == 0.0 {
        return then(Elem::Int(score as i64));
    }
    let [a, b, c, d, e, f, g, h] = score.to_le_bytes();
    then(Elem::Bytes(&[RAW, a, b, c, d, e, f, g, h]))
}

fn score_of(elem: Elem<'_>) -> f64 {
    match elem {
        Elem::Int(int) => int as f64,
        Elem::Bytes([RAW, a, b, c, d, e, f, g, h]) => {
            f64::from_le_bytes([*a, *b, *c, *d, *e, *f, *g, *h])
        }
        Elem::Bytes(_) => 0.0,
    }
}

fn compare(a: (f64, Elem<'_>), b: (f64, &[u8])) -> Ordering {
    a.0.partial_cmp(&b.0)
        .unwrap_or(Ordering::Equal)
        .then_with(|| a.1.to_bytes(&mut itoa::Buffer::new()).cmp(b.1))
}

/// An element and the position after it.
fn read(packed: &Packed, pos: Pos) -> Option<(Elem<'_>, f64, Pos)> {
    let (member, pos) = packed.read(pos)?;
    let (score, pos) = packed.read(pos)?;
    Some((member, score_of(score), pos))
}

/// Number of elements.
pub fn len(packed: &Packed) -> usize {
    packed.len() / 2
}

/// All elements in order.
pub fn iter(packed: &Packed) -> impl Iterator<Item = (Elem<'_>, f64)> {
    let mut pos = packed.first();
    std::iter::from_fn(move || {
        let (member, score, next) = read(packed, pos)?;
        pos = next;
        Some((member, score))
    })
}

/// The rank and the score of a member.
pub fn find(packed: &Packed, member: &[u8]) -> Option<(usize, f64)> {
    let (index, pos) = packed.find(member, 2)?;
    Some((index / 2, read(packed, pos)?.1))
}

/// Adds a member that is not there.
pub fn insert(packed: &mut Packed, member: &[u8], score: f64) {
    let mut pos = packed.first();
    while let Some((other, s, next)) = read(packed, pos)
        && compare((s, other), (score, member)).is_lt()
    {
        pos = next;
    }
    with_score(score, |score| packed.insert_pair_at(pos, member, score));
}

/// Removes the elements of a range of ranks.
pub fn remove(packed: &mut Packed, from: usize, count: usize) {
    packed.remove(from * 2, count * 2);
}

/// How many elements, from the first on, satisfy a predicate that no later one satisfies.
pub fn count_while(packed: &Packed, before: impl Fn(f64, &[u8]) -> bool) -> usize {
    iter(packed)
        .take_while(|(member, score)| before(*score, member.to_bytes(&mut itoa::Buffer::new())))
        .count()
}

/// Appends an element that comes after all others.
pub fn push(packed: &mut Packed, member: &[u8], score: f64) {
    with_score(score, |score| packed.push_pair(member, score));
}

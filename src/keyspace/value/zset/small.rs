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

/// A member as it was found.
#[derive(Clone, Copy)]
pub struct Found {
    /// How many elements come before it.
    pub rank: usize,
    pub score: f64,
    at: Pos,
}

/// Finds a member.
pub fn find(packed: &Packed, member: &[u8]) -> Option<Found> {
    let (index, at) = packed.find(member, 2)?;
    let (_, score, _) = read(packed, at)?;
    Some(Found {
        rank: index / 2,
        score,
        at,
    })
}

/// Adds a member that is not there.
pub fn insert(packed: &mut Packed, member: &[u8], score: f64) {
    let mut pos = packed.first();
    // Scores decide alone until one is equal, so members are read only then.
    while let Some((other, next)) = packed.read(packed.next(pos)) {
        let comes_first = match score_of(other).partial_cmp(&score) {
            Some(Ordering::Less) => true,
            Some(Ordering::Equal) => packed
                .read(pos)
                .is_some_and(|(other, _)| other.to_bytes(&mut itoa::Buffer::new()) < member),
            _ => false,
        };
        if !comes_first {
            break;
        }
        pos = next;
    }
    with_score(score, |score| packed.insert_pair_at(pos, member, score));
}

/// Removes a member that was just found.
pub fn remove_found(packed: &mut Packed, found: Found) {
    packed.remove_at(found.at, 2);
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

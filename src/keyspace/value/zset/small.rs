//! The small form: one packed block of member, score, member, score, in order.
//!
//! A score that is an integer is kept as one, any other as [`RAW`] and the eight bytes of the
//! double, so that reading it is not parsing it. The mark keeps the bytes from being taken for
//! the text of an integer. A zero loses its sign, as it does in Redis's listpack.

use std::cmp::Ordering;

use super::super::packed::{self, Elem, Packed, Pos, Probe};

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

/// Elements in order.
pub struct Iter<'a> {
    elems: packed::Iter<'a>,
    left: usize,
}

impl<'a> Iterator for Iter<'a> {
    type Item = (Elem<'a>, f64);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        let member = self.elems.next()?;
        Some((member, score_of(self.elems.next()?)))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

/// The elements of a range of ranks, in order.
pub fn range(packed: &Packed, ranks: std::ops::Range<usize>) -> Iter<'_> {
    let ranks = ranks.start..ranks.end.min(len(packed));
    Iter {
        elems: packed.iter_from(ranks.start * 2),
        left: ranks.len(),
    }
}

/// All elements in order.
pub fn iter(packed: &Packed) -> Iter<'_> {
    range(packed, 0..len(packed))
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
    let (index, at) = packed.find::<2>(member)?;
    let (_, score, _) = read(packed, at)?;
    Some(Found {
        rank: index / 2,
        score,
        at,
    })
}

/// Finds a member, and the place among the others where it belongs with this score, in one walk.
fn locate(packed: &Packed, member: &[u8], score: f64) -> (Option<Found>, Pos) {
    let wanted = Probe::new(Elem::Bytes(member));
    let (mut found, mut place) = (None, None);
    let (mut pos, mut rank) = (packed.first(), 0);
    loop {
        let score_pos = packed.next(pos);
        let Some((other, next)) = packed.read(score_pos) else {
            return (found, place.unwrap_or(pos));
        };
        if found.is_none() && packed.is_at(pos, &wanted) {
            let score = score_of(other);
            let at = pos;
            found = Some(Found { rank, score, at });
        } else if place.is_none() && !comes_first(packed, pos, score_of(other), (score, member)) {
            place = Some(pos);
        }
        if let (Some(_), Some(place)) = (found, place) {
            return (found, place);
        }
        (pos, rank) = (next, rank + 1);
    }
}

/// Whether the element at `pos`, of score `other`, comes before another one.
#[inline]
fn comes_first(packed: &Packed, pos: Pos, other: f64, (score, member): (f64, &[u8])) -> bool {
    // Scores decide alone until one is equal, so members are read only then.
    match other.partial_cmp(&score) {
        Some(Ordering::Less) => true,
        Some(Ordering::Equal) => packed
            .read(pos)
            .is_some_and(|(other, _)| other.to_bytes(&mut itoa::Buffer::new()) < member),
        _ => false,
    }
}

/// Gives a member a score if it is there or, if not, `may_add` allows it. The score it had, and
/// whether it is there now.
pub fn set(
    packed: &mut Packed,
    member: &[u8],
    score: f64,
    may_add: impl FnOnce(&Packed) -> bool,
) -> (Option<f64>, bool) {
    let (found, place) = locate(packed, member, score);
    let Some(found) = found else {
        let adds = may_add(packed);
        if adds {
            with_score(score, |score| packed.insert_pair_at(place, member, score));
        }
        return (None, adds);
    };
    if found.score == score {
        return (Some(found.score), true);
    }
    let score_pos = packed.next(found.at);
    if place == packed.next(score_pos) {
        // It stays between its neighbours.
        with_score(score, |score| packed.replace_at(score_pos, score));
        return (Some(found.score), true);
    }
    let end = packed.end();
    remove_found(packed, found);
    let place = if place > found.at {
        packed.moved_back(place, end)
    } else {
        place
    };
    with_score(score, |score| packed.insert_pair_at(place, member, score));
    (Some(found.score), true)
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

//! The small form: one packed block of member, score, member, score, in order.
//!
//! A score that is an integer is kept as one, any other as [`RAW`] and the eight bytes of the
//! double, so that reading it is not parsing it. The mark keeps the bytes from being taken for
//! the text of an integer. A zero loses its sign, as it does in Redis's listpack.

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

/// Finds a member, and the place among the others where it belongs with this score.
fn locate(packed: &Packed, member: &[u8], score: f64) -> (Option<Found>, Pos) {
    let wanted = Probe::new(Elem::Bytes(member));
    let passes = |pos, other| comes_first(packed, pos, other, (score, member));
    let (mut found, mut rank) = (None, 0);
    let at = packed.pass_pairs(packed.first(), |pos, head, other| {
        let other = score_of(other);
        if wanted.may_begin(head) && packed.is_at(pos, &wanted) {
            let (score, at) = (other, pos);
            found = Some(Found { rank, score, at });
            return false;
        }
        rank += 1;
        passes(pos, other)
    });
    if found.is_some() {
        let after = packed.next(packed.next(at));
        let place = packed.pass_pairs(after, |pos, _, other| passes(pos, score_of(other)));
        return (found, place);
    }
    let found = packed.find_from::<2>(at, &wanted).and_then(|(index, at)| {
        let (_, score, _) = read(packed, at)?;
        let rank = rank + index / 2;
        Some(Found { rank, score, at })
    });
    (found, at)
}

/// Whether the element at `pos`, of score `other`, comes before another one.
#[inline]
fn comes_first(packed: &Packed, pos: Pos, other: f64, (score, member): (f64, &[u8])) -> bool {
    // Scores decide alone until one is equal, so members are read only then.
    if other != score {
        return other < score;
    }
    packed
        .read(pos)
        .is_some_and(|(other, _)| other.to_bytes(&mut itoa::Buffer::new()) < member)
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

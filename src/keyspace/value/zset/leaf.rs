//! A leaf of a large sorted set: scores and members in order, in one shared block.
//!
//! ```text
//! body: | n u32 | tag u8 x n | start u16 x n | score f64 x n | members, end to end |
//! ```
//!
//! A member is found without its score by its tag, eight bits of its hash: the tags come first,
//! in the cache line of the count. Scores lie side by side, so that a search touches few lines.
//! `start` counts from the first member.
//!
//! Guarantees:
//! - Elements are ordered by score, then by the bytes of the member; no member comes twice.
//! - A leaf of two or more elements is at most [`MAX_USED`] bytes, so that an edit moves little,
//!   whatever lies beside it. A longer member is alone in its leaf.

use std::cmp::Ordering;

use super::super::packed::Block;

/// What a block's allocation holds beside the body.
const BLOCK_HEADER: usize = 8;

/// The longest body of a leaf of several elements: an allocation of 2 KiB.
const MAX_USED: usize = 2048 - BLOCK_HEADER;

/// Bytes of the number of elements.
const COUNT: usize = 4;

/// Bytes an element takes beside its member: score, start and tag.
const FIXED: usize = 11;

/// An element to be stored.
#[derive(Clone, Copy)]
pub struct Item<'a> {
    pub score: f64,
    pub member: &'a [u8],
    pub tag: u8,
}

/// A score and a member, as the order compares them.
pub fn compare(a: (f64, &[u8]), b: (f64, &[u8])) -> Ordering {
    // Scores are never NaN: commands refuse it. -0 and 0 are one score.
    a.0.partial_cmp(&b.0)
        .unwrap_or(Ordering::Equal)
        .then_with(|| a.1.cmp(b.1))
}

/// One leaf; see the module's text.
#[derive(Clone)]
pub struct Leaf {
    block: Block,
}

/// The parts of a leaf's body.
#[derive(Clone, Copy)]
pub struct Parts<'a> {
    scores: &'a [[u8; 8]],
    starts: &'a [[u8; 2]],
    tags: &'a [u8],
    members: &'a [u8],
}

impl<'a> Parts<'a> {
    /// Number of elements.
    pub fn len(&self) -> usize {
        self.tags.len()
    }

    /// The element at `i`.
    #[inline]
    pub fn get(&self, i: usize) -> Option<(&'a [u8], f64)> {
        Some((self.member(i), self.score(i)?))
    }

    fn score(&self, i: usize) -> Option<f64> {
        self.scores.get(i).map(|bytes| f64::from_le_bytes(*bytes))
    }

    /// Start of member `i`; the end of all for one past the last.
    fn start(&self, i: usize) -> usize {
        self.starts
            .get(i)
            .map_or(self.members.len(), |b| usize::from(u16::from_le_bytes(*b)))
    }

    fn member(&self, i: usize) -> &'a [u8] {
        self.members
            .get(self.start(i)..self.start(i + 1))
            .unwrap_or_default()
    }

    /// The parts of the elements `from..to`.
    fn slice(&self, from: usize, to: usize) -> Option<Parts<'a>> {
        Some(Parts {
            scores: self.scores.get(from..to)?,
            starts: self.starts.get(from..to)?,
            tags: self.tags.get(from..to)?,
            members: self.members.get(self.start(from)..self.start(to))?,
        })
    }
}

impl Leaf {
    /// A leaf of one element.
    pub fn of(item: Item<'_>) -> Self {
        let block = Block::concat(&[
            &1u32.to_le_bytes(),
            &[item.tag, 0, 0],
            &item.score.to_le_bytes(),
            item.member,
        ]);
        Leaf { block }
    }

    /// A leaf of the elements of both parts.
    fn joined(a: Parts<'_>, b: Parts<'_>) -> Self {
        let n = a.tags.len() + b.tags.len();
        let shift = |starts: &[[u8; 2]], by: usize, out: &mut Vec<u8>| {
            let first = starts.first().map_or(0, |start| u16::from_le_bytes(*start));
            for start in starts {
                let start = usize::from(u16::from_le_bytes(*start) - first) + by;
                out.extend_from_slice(&(start as u16).to_le_bytes());
            }
        };
        let mut starts = Vec::with_capacity(n * 2);
        shift(a.starts, 0, &mut starts);
        shift(b.starts, a.members.len(), &mut starts);
        let block = Block::concat(&[
            &(n as u32).to_le_bytes(),
            a.tags,
            b.tags,
            &starts,
            a.scores.as_flattened(),
            b.scores.as_flattened(),
            a.members,
            b.members,
        ]);
        Leaf { block }
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        let count = self.block.bytes().first_chunk::<COUNT>();
        count.map_or(0, |count| u32::from_le_bytes(*count) as usize)
    }

    /// Bytes taken from the allocator.
    pub fn alloc_bytes(&self) -> usize {
        self.block.alloc_bytes()
    }

    /// Where its elements lie.
    pub fn parts(&self) -> Parts<'_> {
        let n = self.len();
        let body = self.block.bytes().get(COUNT..).unwrap_or_default();
        let (tags, rest) = body.split_at_checked(n).unwrap_or_default();
        let (starts, rest) = rest.split_at_checked(2 * n).unwrap_or_default();
        let (scores, members) = rest.split_at_checked(8 * n).unwrap_or_default();
        Parts {
            scores: scores.as_chunks().0,
            starts: starts.as_chunks().0,
            tags,
            members,
        }
    }

    /// The element at `i`.
    pub fn get(&self, i: usize) -> Option<(&[u8], f64)> {
        self.parts().get(i)
    }

    /// The first element.
    pub fn first(&self) -> (&[u8], f64) {
        self.get(0).unwrap_or((&[], 0.0))
    }

    /// The last element.
    pub fn last(&self) -> (&[u8], f64) {
        self.get(self.len().saturating_sub(1)).unwrap_or((&[], 0.0))
    }

    /// All elements in order.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], f64)> {
        (0..self.len()).map_while(|i| self.get(i))
    }

    /// How many elements, from the first on, satisfy a predicate that no later one satisfies.
    pub fn count_while(&self, mut before: impl FnMut(f64, &[u8]) -> bool) -> usize {
        let parts = self.parts();
        let (mut low, mut high) = (0, parts.tags.len());
        while low < high {
            let middle = low.midpoint(high);
            let score = parts.score(middle).unwrap_or_default();
            if before(score, parts.member(middle)) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low
    }

    /// How many elements come before this score and member.
    pub fn lower_bound(&self, score: f64, member: &[u8]) -> usize {
        self.count_while(|s, m| compare((s, m), (score, member)).is_lt())
    }

    /// Index of a member.
    pub fn find(&self, tag: u8, member: &[u8]) -> Option<usize> {
        let parts = self.parts();
        memchr::memchr_iter(tag, parts.tags).find(|&i| parts.member(i) == member)
    }

    /// Indexes of the members that have this tag.
    pub fn tagged(&self, tag: u8) -> impl Iterator<Item = usize> {
        memchr::memchr_iter(tag, self.parts().tags)
    }

    /// Whether one more member of `len` bytes may be inserted.
    pub fn has_room(&self, len: usize) -> bool {
        self.block.used() + FIXED + len <= MAX_USED
    }

    /// Whether a member of `len` bytes takes so much of a leaf that it should be alone in one.
    pub fn is_long(len: usize) -> bool {
        len > MAX_USED / 4
    }

    /// Whether the leaf is so small that it should be joined with a neighbour.
    pub fn is_sparse(&self) -> bool {
        self.block.used() < MAX_USED / 4
    }

    /// Whether both leaves fit into one that leaves room to grow.
    pub fn joins(&self, other: &Leaf) -> bool {
        self.block.used() + other.block.used() <= MAX_USED / 4 * 3
    }

    /// Appends the elements of the leaf to the right.
    pub fn join(&mut self, right: &Leaf) {
        *self = Leaf::joined(self.parts(), right.parts());
    }

    /// Index that cuts the leaf in two, by bytes, at a place between a third and two thirds that
    /// `chance` chooses; at least 1 and below its length, which is at least 2.
    ///
    /// Leaves that are cut in the middle stay of one size, and grow out of each size of allocation
    /// together: what they leave behind there, nobody needs. Cut at different places, they are of
    /// all sizes at all times, and use each other's memory again.
    pub fn cut(&self, chance: u8) -> usize {
        let parts = self.parts();
        let n = parts.tags.len();
        let bytes = parts.members.len() + FIXED * n;
        let wanted = bytes * (256 + usize::from(chance)) / 768;
        let (mut low, mut high) = (1, n.saturating_sub(1).max(1));
        while low < high {
            let middle = low.midpoint(high);
            if parts.start(middle) + FIXED * middle < wanted {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low
    }

    /// Cuts off the elements from `at` on.
    pub fn split_off(&mut self, at: usize) -> Leaf {
        let parts = self.parts();
        let n = parts.tags.len();
        let none = Parts {
            scores: &[],
            starts: &[],
            tags: &[],
            members: &[],
        };
        let left = Leaf::joined(parts.slice(0, at).unwrap_or(none), none);
        let right = Leaf::joined(parts.slice(at, n).unwrap_or(none), none);
        *self = left;
        right
    }

    /// Inserts an element in front of the one at `i`. The leaf has room for it.
    pub fn insert(&mut self, i: usize, item: Item<'_>) {
        let parts = self.parts();
        let (n, at, bytes) = (parts.tags.len(), parts.start(i), parts.members.len());
        let len = item.member.len();
        let used = self.block.used();
        self.block.resize(used + FIXED + len);
        let body = self.block.bytes_mut();
        // From the right to the left, so that nothing is overwritten before it has moved.
        let (starts, scores, members) = (COUNT + n, COUNT + 3 * n, COUNT + 11 * n);
        body.copy_within(members + at..members + bytes, members + 11 + at + len);
        body.copy_within(members..members + at, members + 11);
        body.copy_within(scores + 8 * i..members, scores + 3 + 8 * (i + 1));
        body.copy_within(scores..scores + 8 * i, scores + 3);
        body.copy_within(starts + 2 * i..scores, starts + 1 + 2 * (i + 1));
        body.copy_within(starts..starts + 2 * i, starts + 1);
        body.copy_within(COUNT + i..starts, COUNT + i + 1);
        put(body, 0, &(n as u32 + 1).to_le_bytes());
        put(body, COUNT + i, &[item.tag]);
        put(body, starts + 1 + 2 * i, &(at as u16).to_le_bytes());
        put(body, scores + 3 + 8 * i, &item.score.to_le_bytes());
        put(body, members + 11 + at, item.member);
        let later = body
            .get_mut(starts + 1 + 2 * (i + 1)..scores + 3)
            .unwrap_or_default();
        for start in later.as_chunks_mut::<2>().0 {
            *start = (u16::from_le_bytes(*start) + len as u16).to_le_bytes();
        }
    }

    /// Removes the elements `i..to`, which are not all.
    pub fn remove(&mut self, i: usize, to: usize) {
        let parts = self.parts();
        let (n, gone) = (parts.tags.len(), to.saturating_sub(i));
        let (at, end, bytes) = (parts.start(i), parts.start(to), parts.members.len());
        let used = self.block.used();
        let body = self.block.bytes_mut();
        let (starts, scores, members) = (COUNT + n, COUNT + 3 * n, COUNT + 11 * n);
        let later = body.get_mut(starts + 2 * to..scores).unwrap_or_default();
        for start in later.as_chunks_mut::<2>().0 {
            *start = (u16::from_le_bytes(*start).wrapping_sub((end - at) as u16)).to_le_bytes();
        }
        // From the left to the right, each part to its new place.
        let left = n - gone;
        let (to_starts, to_scores) = (COUNT + left, COUNT + 3 * left);
        let to_members = COUNT + 11 * left;
        put(body, 0, &(left as u32).to_le_bytes());
        body.copy_within(COUNT + to..starts, COUNT + i);
        body.copy_within(starts..starts + 2 * i, to_starts);
        body.copy_within(starts + 2 * to..scores, to_starts + 2 * i);
        body.copy_within(scores..scores + 8 * i, to_scores);
        body.copy_within(scores + 8 * to..members, to_scores + 8 * i);
        body.copy_within(members..members + at, to_members);
        body.copy_within(members + end..members + bytes, to_members + at);
        self.block.resize(used - FIXED * gone - (end - at));
    }
}

fn put(body: &mut [u8], at: usize, bytes: &[u8]) {
    if let Some(out) = body.get_mut(at..at + bytes.len()) {
        out.copy_from_slice(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(leaf: &Leaf) -> Vec<(Vec<u8>, f64)> {
        leaf.iter().map(|(m, s)| (m.to_vec(), s)).collect()
    }

    fn item(score: f64, member: &[u8]) -> Item<'_> {
        Item {
            score,
            member,
            tag: member.first().copied().unwrap_or(9),
        }
    }

    #[test]
    fn inserts_and_removals_at_every_place_agree_with_a_vector() {
        let members: [&[u8]; 6] = [b"b", b"", b"ccc", b"dddddd", b"e", b"ffff"];
        for place in 0..=members.len() {
            let mut leaf = Leaf::of(item(0.0, members[0]));
            let mut model = vec![(members[0].to_vec(), 0.0)];
            for (i, member) in members.iter().enumerate().skip(1) {
                let at = place.min(i);
                leaf.insert(at, item(i as f64, member));
                model.insert(at, (member.to_vec(), i as f64));
                assert_eq!(texts(&leaf), model);
            }
            for (i, (member, _)) in model.iter().enumerate() {
                let tag = member.first().copied().unwrap_or(9);
                assert_eq!(leaf.find(tag, member), Some(i));
                assert!(leaf.tagged(tag).any(|at| at == i));
            }
            for from in 0..6 {
                for to in from..=6 {
                    if to - from < 6 {
                        let (mut leaf, mut model) = (leaf.clone(), model.clone());
                        leaf.remove(from, to);
                        model.drain(from..to);
                        assert_eq!(texts(&leaf), model);
                    }
                }
            }
            if place > 0 && place < 6 {
                let mut left = leaf.clone();
                let right = left.split_off(place);
                assert_eq!(texts(&left), model[..place]);
                assert_eq!(texts(&right), model[place..]);
                left.join(&right);
                assert_eq!(texts(&left), model);
                assert_eq!(texts(&leaf), model);
            }
        }
    }

    #[test]
    fn a_long_member_is_alone_and_reads_back() {
        let long = vec![b'x'; 100_000];
        let leaf = Leaf::of(item(1.5, &long));
        assert_eq!(leaf.get(0), Some((&long[..], 1.5)));
        assert!(!leaf.has_room(0));
        assert_eq!(leaf.find(b'x', &long), Some(0));
    }

    #[test]
    fn a_cut_leaves_something_on_both_sides() {
        for (first, second) in [(1, 3000), (3000, 1), (1, 1)] {
            let mut leaf = Leaf::of(item(0.0, &vec![b'a'; first]));
            leaf.insert(1, item(1.0, &vec![b'b'; second]));
            for chance in [0, 128, 255] {
                assert_eq!(leaf.cut(chance), 1);
            }
        }
        let mut leaf = Leaf::of(item(0.0, b"m"));
        for n in 1..100 {
            leaf.insert(n, item(n as f64, b"m"));
        }
        assert!((30..36).contains(&leaf.cut(0)));
        assert!((45..55).contains(&leaf.cut(128)));
        assert!((64..70).contains(&leaf.cut(255)));
    }
}

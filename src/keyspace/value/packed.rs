//! `Packed`: a short sequence of byte strings in one allocation.
//!
//! Small lists, hashes, sets and sorted sets are one `Packed` each, as a listpack is in Redis.
//!
//! ```text
//! block body: | count u32 | element | element | ...        (elements: see `elem`)
//! ```
//!
//! - A short string costs its length and one byte, an integer's text one to nine bytes.
//! - There are no back links: the sequences are short, so walking backwards first walks forwards
//!   once to note the offsets ([`Packed::iter_rev`]).
//! - `clone` is O(1); the first write after it copies the block (see `block`).
//! - Positions are indexes, or [`Pos`], a byte offset for those who edit where they have just
//!   read. A `Pos` holds until the next edit before it.
//!
//! Operations by index walk from the front. Callers keep the sequence short (thresholds of the
//! configuration) and below [`MAX_BYTES`]: see [`Packed::fits`].

mod block;
mod elem;
mod probe;
mod slim;
mod strides;

pub use block::{Block, size_class};
pub use elem::{Elem, MAX_EXPIRY_MS, int_text_len};
pub(in crate::keyspace::value) use elem::{Encoded, OUTSIDE, expiry_of, read, span, strip_expiry};
pub(in crate::keyspace::value) use probe::Probe;
pub use slim::{Slim, View, ViewMut};
use smallvec::SmallVec;
use strides::Strides;

/// Length of the count in front of the elements.
const COUNT: usize = 4;

/// What a `Packed` may hold, headers included.
pub const MAX_BYTES: usize = 1 << 30;

/// A short sequence of byte strings in one allocation; see the module's text.
#[derive(Clone)]
#[repr(transparent)]
pub struct Packed {
    block: Block,
}

/// Where an element begins: a byte offset in the block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Pos(usize);

/// The place after the element at `at`, whose first byte is `head`.
#[inline]
fn skip(bytes: &[u8], at: usize, head: u8) -> usize {
    match head {
        0..0x80 => at + 1 + usize::from(head),
        _ => at + span(bytes.get(at..).unwrap_or_default()),
    }
}

impl Default for Packed {
    fn default() -> Packed {
        Packed::new()
    }
}

impl Packed {
    /// An empty sequence.
    pub fn new() -> Packed {
        Packed {
            block: Block::concat(&[&[0; COUNT]]),
        }
    }

    /// The block, for a set of integers, which lives in a `Slim` in a packed block's place.
    pub(in crate::keyspace::value) fn block(&self) -> &Block {
        &self.block
    }

    /// The block, for writing.
    pub(in crate::keyspace::value) fn block_mut(&mut self) -> &mut Block {
        &mut self.block
    }

    /// A block as it stands in a `Slim`; what is in it is the caller's affair.
    pub(in crate::keyspace::value) fn from_block(block: Block) -> Packed {
        Packed { block }
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        match *self.block.bytes() {
            [a, b, c, d, ..] => u32::from_le_bytes([a, b, c, d]) as usize,
            _ => 0,
        }
    }

    /// Whether there is no element.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes the sequence takes in its block, the count and the elements' heads included.
    pub fn bytes_used(&self) -> usize {
        self.block.used()
    }

    /// Bytes taken from the allocator.
    pub fn size_bytes(&self) -> usize {
        self.block.alloc_bytes()
    }

    /// Whether elements of `added` bytes in all may still be added.
    pub fn fits(&self, added: usize) -> bool {
        added < MAX_BYTES && self.block.used() + added < MAX_BYTES
    }

    /// The position of the first element.
    pub fn first(&self) -> Pos {
        Pos(COUNT)
    }

    /// The position after the last element.
    pub fn end(&self) -> Pos {
        Pos(self.block.used())
    }

    fn tail(&self, at: usize) -> &[u8] {
        self.block.bytes().get(at..).unwrap_or_default()
    }

    /// The position of the element with that index, or of the end for `index == len`.
    pub fn pos(&self, index: usize) -> Option<Pos> {
        if index >= self.len() {
            return (index == self.len()).then(|| self.end());
        }
        let (bytes, mut at) = (self.block.bytes(), COUNT);
        for _ in 0..index {
            at = skip(bytes, at, *bytes.get(at)?);
        }
        Some(Pos(at))
    }

    /// The element at a position and the position after it; `None` at the end.
    pub fn read(&self, pos: Pos) -> Option<(Elem<'_>, Pos)> {
        let (elem, rest) = read(self.tail(pos.0))?;
        Some((elem, Pos(self.block.used() - rest.len())))
    }

    /// The position after the element at `pos`.
    pub fn next(&self, pos: Pos) -> Pos {
        Pos(pos.0 + span(self.tail(pos.0)))
    }

    /// The element with that index.
    pub fn get(&self, index: usize) -> Option<Elem<'_>> {
        Some(read(self.tail(self.pos(index)?.0))?.0)
    }

    /// The index of the first element equal to `elem` among those whose index is a multiple of
    /// `STRIDE` (2: the fields of a hash), and its position.
    pub fn find<'e, const STRIDE: usize>(&self, elem: impl Into<Elem<'e>>) -> Option<(usize, Pos)> {
        self.find_from::<STRIDE>(self.first(), &Probe::new(elem.into()))
    }

    /// As [`Packed::find`], from a position on: indexes are counted from there.
    #[inline]
    pub(in crate::keyspace::value) fn find_from<const STRIDE: usize>(
        &self,
        from: Pos,
        wanted: &Probe<'_>,
    ) -> Option<(usize, Pos)> {
        let bytes = self.block.bytes();
        let mut strides = Strides::<STRIDE>::default();
        let (mut at, mut index) = (from.0, 0);
        while let Some(&head) = bytes.get(at) {
            if wanted.may_begin(head) && wanted.begins(bytes.get(at..).unwrap_or_default()) {
                return Some((index, Pos(at)));
            }
            at = strides.next(bytes, at, head)?;
            index += STRIDE;
        }
        None
    }

    /// Goes from the pair at `from` to the first for which `is_passed` is false, or to the end. It
    /// is shown where each begins, the first byte there, and the second element.
    #[inline]
    pub(in crate::keyspace::value) fn pass_pairs(
        &self,
        from: Pos,
        mut is_passed: impl FnMut(Pos, u8, Elem<'_>) -> bool,
    ) -> Pos {
        let bytes = self.block.bytes();
        let mut at = from.0;
        while let Some(&head) = bytes.get(at) {
            let Some((elem, rest)) = bytes.get(skip(bytes, at, head)..).and_then(read) else {
                break;
            };
            if !is_passed(Pos(at), head, elem) {
                break;
            }
            at = bytes.len() - rest.len();
        }
        Pos(at)
    }

    /// Where a position lies that was further back, since elements before it have been removed;
    /// `end` is where the end was then.
    pub fn moved_back(&self, pos: Pos, end: Pos) -> Pos {
        Pos(pos
            .0
            .saturating_sub(end.0.saturating_sub(self.block.used())))
    }

    /// Whether the element at `pos` is the wanted one.
    #[inline]
    pub(in crate::keyspace::value) fn is_at(&self, pos: Pos, wanted: &Probe<'_>) -> bool {
        wanted.begins(self.tail(pos.0))
    }

    /// The elements from the front.
    pub fn iter(&self) -> Iter<'_> {
        Iter {
            rest: self.tail(COUNT),
            left: self.len(),
        }
    }

    /// The elements from an index on.
    pub fn iter_from(&self, index: usize) -> Iter<'_> {
        let left = self.len().saturating_sub(index);
        Iter {
            rest: self.pos(index).map_or(&[], |pos| self.tail(pos.0)),
            left,
        }
    }

    /// The elements from the back.
    pub fn iter_rev(&self) -> IterRev<'_> {
        let mut starts = SmallVec::new();
        let mut at = COUNT;
        while at < self.block.used() {
            starts.push(at);
            at += span(self.tail(at)).max(1);
        }
        IterRev {
            packed: self,
            starts,
        }
    }

    fn set_len(&mut self, len: usize) {
        if let Some(count) = self.block.bytes_mut().first_chunk_mut::<COUNT>() {
            *count = (len as u32).to_le_bytes();
        }
    }

    /// Replaces `removed` elements, which take `old` bytes at `pos`, by the given ones.
    fn splice(&mut self, pos: Pos, removed: usize, old: usize, added: &[Encoded<'_>]) {
        self.splice_bytes(pos, old, added);
        if removed != added.len() {
            self.set_len(self.len() + added.len() - removed);
        }
    }

    fn splice_bytes(&mut self, pos: Pos, old: usize, added: &[Encoded<'_>]) {
        let new = added.iter().map(Encoded::len).sum();
        let mut gap = self.block.splice(pos.0, old, new);
        for elem in added {
            gap = elem.write(gap);
        }
    }

    /// The expiry of the value at `pos`.
    pub fn expiry_at(&self, pos: Pos) -> Option<i64> {
        expiry_of(self.tail(pos.0))
    }

    /// Sets or clears the expiry of the value at `pos`.
    pub fn set_expiry_at(&mut self, pos: Pos, expire_ms: Option<i64>) {
        let old = strip_expiry(self.tail(pos.0)).0.len();
        match expire_ms {
            Some(at_ms) => self.splice_bytes(pos, old, &[Encoded::expiry(at_ms)]),
            None => self.splice_bytes(pos, old, &[]),
        }
    }

    /// Inserts an element before the one at `pos`.
    pub fn insert_at<'e>(&mut self, pos: Pos, elem: impl Into<Elem<'e>>) {
        self.splice(pos, 0, 0, &[Encoded::new(elem.into())]);
    }

    /// Inserts two elements before the one at `pos`.
    pub fn insert_pair_at<'e>(
        &mut self,
        pos: Pos,
        first: impl Into<Elem<'e>>,
        second: impl Into<Elem<'e>>,
    ) {
        self.splice(
            pos,
            0,
            0,
            &[Encoded::new(first.into()), Encoded::new(second.into())],
        );
    }

    /// Replaces the element at `pos`; at the end this does nothing.
    pub fn replace_at<'e>(&mut self, pos: Pos, elem: impl Into<Elem<'e>>) {
        let old = span(self.tail(pos.0));
        if old > 0 {
            self.splice(pos, 1, old, &[Encoded::new(elem.into())]);
        }
    }

    /// Removes up to `count` elements from `pos` on; how many there were.
    pub fn remove_at(&mut self, pos: Pos, count: usize) -> usize {
        let mut rest = self.tail(pos.0);
        let whole = rest.len();
        let mut removed = 0;
        while removed < count && !rest.is_empty() {
            rest = rest.get(span(rest)..).unwrap_or_default();
            removed += 1;
        }
        let old = whole - rest.len();
        self.splice(pos, removed, old, &[]);
        removed
    }

    /// Appends an element.
    pub fn push_back<'e>(&mut self, elem: impl Into<Elem<'e>>) {
        self.insert_at(self.end(), elem);
    }

    /// Appends two elements.
    pub fn push_pair<'e>(&mut self, first: impl Into<Elem<'e>>, second: impl Into<Elem<'e>>) {
        self.insert_pair_at(self.end(), first, second);
    }

    /// Puts an element in front of all.
    pub fn push_front<'e>(&mut self, elem: impl Into<Elem<'e>>) {
        self.insert_at(self.first(), elem);
    }

    /// Inserts an element so that it has that index; false if the index is beyond the end.
    pub fn insert<'e>(&mut self, index: usize, elem: impl Into<Elem<'e>>) -> bool {
        match self.pos(index) {
            Some(pos) => self.insert_at(pos, elem),
            None => return false,
        }
        true
    }

    /// Replaces the element with that index; false if there is none.
    pub fn replace<'e>(&mut self, index: usize, elem: impl Into<Elem<'e>>) -> bool {
        match self.pos(index) {
            Some(pos) if index < self.len() => self.replace_at(pos, elem),
            _ => return false,
        }
        true
    }

    /// Removes up to `count` elements from an index on; how many there were.
    pub fn remove(&mut self, index: usize, count: usize) -> usize {
        match self.pos(index) {
            Some(pos) => self.remove_at(pos, count),
            None => 0,
        }
    }

    /// Appends all elements of another sequence.
    pub fn append(&mut self, other: &Packed) {
        let tail = other.tail(COUNT);
        let end = self.block.used();
        self.block.splice(end, 0, tail.len()).copy_from_slice(tail);
        self.set_len(self.len() + other.len());
    }

    /// Splits in two: keeps the elements before `index`, returns the rest.
    pub fn split_off(&mut self, index: usize) -> Packed {
        let len = self.len();
        let Some(Pos(at)) = self.pos(index) else {
            return Packed::new();
        };
        let count = ((len - index) as u32).to_le_bytes();
        let tail = Packed {
            block: Block::concat(&[&count, self.tail(at)]),
        };
        self.block.resize(at);
        self.set_len(index);
        tail
    }
}

impl<'e, E: Into<Elem<'e>>> Extend<E> for Packed {
    /// Appends elements in one growth.
    fn extend<I: IntoIterator<Item = E>>(&mut self, elems: I) {
        let mut count = self.len();
        let mut tail = Vec::new();
        for elem in elems {
            Encoded::new(elem.into()).append(&mut tail);
            count += 1;
        }
        let end = self.block.used();
        self.block.splice(end, 0, tail.len()).copy_from_slice(&tail);
        self.set_len(count);
    }
}

impl<'e, E: Into<Elem<'e>>> FromIterator<E> for Packed {
    fn from_iter<I: IntoIterator<Item = E>>(elems: I) -> Packed {
        let mut packed = Packed::new();
        packed.extend(elems);
        packed
    }
}

/// Elements from the front.
#[derive(Clone)]
pub struct Iter<'a> {
    rest: &'a [u8],
    left: usize,
}

impl<'a> Iter<'a> {
    /// The next element, the value of a hash's field, and when it expires.
    pub fn next_value(&mut self) -> Option<(Elem<'a>, Option<i64>)> {
        let expire_ms = expiry_of(self.rest);
        Some((self.next()?, expire_ms))
    }
}

impl<'a> Iterator for Iter<'a> {
    type Item = Elem<'a>;

    fn next(&mut self) -> Option<Elem<'a>> {
        let (elem, rest) = read(self.rest)?;
        self.rest = rest;
        self.left = self.left.saturating_sub(1);
        Some(elem)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for Iter<'_> {}

/// Elements from the back.
pub struct IterRev<'a> {
    packed: &'a Packed,
    starts: SmallVec<[usize; 128]>,
}

impl<'a> Iterator for IterRev<'a> {
    type Item = Elem<'a>;

    fn next(&mut self) -> Option<Elem<'a>> {
        let at = self.starts.pop()?;
        Some(read(self.packed.tail(at))?.0)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.starts.len(), Some(self.starts.len()))
    }
}

impl ExactSizeIterator for IterRev<'_> {}

#[cfg(test)]
mod tests;

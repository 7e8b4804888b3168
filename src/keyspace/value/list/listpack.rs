//! The packed node of a list: elements encoded as in a Redis listpack, with spare room in front.
//!
//! ```text
//! block body: | gap u32 | count u32 | gap bytes, unused | entry | entry | ...
//! ```
//!
//! The entries are byte for byte those of a listpack (see [`super::entry`]), so that a node goes
//! into an RDB file as it is, its size is the one that `list-max-listpack-size` limits, and both
//! ends are in reach. The back length costs a byte that `Packed` saves; a list needs it for its
//! tail.
//!
//! Guarantees:
//! - Equal elements are equal bytes.
//! - Adding and removing at either end costs O(1) amortised. The room in front never makes the
//!   allocation larger than its entries' size class, but for what a removal at the front left,
//!   and that is at most half of it. (A list that has become empty keeps its room: it is about to
//!   go, and its room with it.)

use std::ops::Range;

use super::super::packed::{Block, Elem, size_class};
use super::End;
use super::entry::{Entry, last_start, read, span};

/// Bytes in front of the gap: its length and the number of entries.
const HEADER: usize = 8;

/// What a block's allocation holds beside the body.
const BLOCK_HEADER: usize = 8;

/// Entries in one shared block; see the module's text.
#[derive(Clone)]
pub struct Listpack {
    block: Block,
}

impl Default for Listpack {
    fn default() -> Self {
        Listpack {
            block: Block::zeroed(HEADER),
        }
    }
}

impl Listpack {
    /// A node of these entries, which are `count` sound ones in canonical form.
    pub fn of_entries(entries: &[u8], count: usize) -> Self {
        let count = (count as u32).to_le_bytes();
        Listpack {
            block: Block::concat(&[&[0; 4], &count, entries]),
        }
    }

    fn field(&self, at: usize) -> usize {
        let bytes = self.block.bytes().get(at..).and_then(<[u8]>::first_chunk);
        bytes.map_or(0, |bytes| u32::from_le_bytes(*bytes) as usize)
    }

    fn set_field(&mut self, at: usize, value: usize) {
        let bytes = self
            .block
            .bytes_mut()
            .get_mut(at..)
            .and_then(<[u8]>::first_chunk_mut);
        if let Some(bytes) = bytes {
            *bytes = (value as u32).to_le_bytes();
        }
    }

    fn gap(&self) -> usize {
        self.field(0)
    }

    /// Where the block begins, for a prefetch.
    #[inline]
    pub fn address(&self) -> *const u8 {
        self.block.address()
    }

    /// Number of elements.
    pub fn count(&self) -> usize {
        self.field(4)
    }

    fn set_count(&mut self, count: usize) {
        self.set_field(4, count);
    }

    /// All entries.
    pub fn entries(&self) -> &[u8] {
        self.block
            .bytes()
            .get(HEADER + self.gap()..)
            .unwrap_or_default()
    }

    /// Bytes of all entries.
    pub fn size(&self) -> usize {
        self.block.used().saturating_sub(HEADER + self.gap())
    }

    /// Bytes taken from the allocator.
    pub fn alloc_bytes(&self) -> usize {
        self.block.alloc_bytes()
    }

    /// Offset of the element of this index, reached from the nearer end; the end for `count`.
    pub fn offset_of(&self, index: usize) -> Option<usize> {
        let count = self.count();
        let entries = self.entries();
        if index <= count / 2 {
            let mut at = 0;
            for _ in 0..index {
                at += span(entries.get(at..)?)?;
            }
            return Some(at);
        }
        let mut end = entries.len();
        for _ in 0..count.checked_sub(index)? {
            end = last_start(entries.get(..end)?)?;
        }
        Some(end)
    }

    /// The element of this index.
    pub fn get(&self, index: usize) -> Option<Elem<'_>> {
        read(self.entries().get(self.offset_of(index)?..)?)
    }

    /// Shows the elements from index `from` to before `to`, in the order that begins at `end`.
    pub fn visit(&self, from: usize, to: usize, end: End, each: &mut impl FnMut(Elem<'_>)) {
        let at = match end {
            End::Head => self.offset_of(from),
            End::Tail => self.offset_of(to),
        };
        let (before, after) = self
            .entries()
            .split_at_checked(at.unwrap_or(usize::MAX))
            .unwrap_or_default();
        let mut rest = if end == End::Head { after } else { before };
        for _ in from..to {
            let step = match end {
                End::Head => span(rest).and_then(|span| rest.split_at_checked(span)),
                End::Tail => last_start(rest)
                    .and_then(|start| rest.split_at_checked(start))
                    .map(|(left, entry)| (entry, left)),
            };
            let Some((entry, left)) = step else { return };
            let Some(elem) = read(entry) else { return };
            each(elem);
            rest = left;
        }
    }

    /// Adds an element at the end.
    pub fn push_back(&mut self, entry: &Entry<'_>) {
        let (used, gap) = (self.block.used(), self.gap());
        let class = |body: usize| size_class(BLOCK_HEADER + body);
        if gap > 0 && class(used + entry.size()) > class(used) {
            self.drop_gap();
        }
        let used = self.block.used();
        self.block.resize(used + entry.size());
        let body = self.block.bytes_mut();
        if let Some(out) = body.get_mut(used..) {
            entry.write(out);
        }
        self.set_count(self.count() + 1);
    }

    /// Adds an element at the front.
    pub fn push_front(&mut self, entry: &Entry<'_>) {
        let need = entry.size();
        if self.gap() < need {
            // All slack of the class that the entries will need goes to the front.
            let body = HEADER + self.size() + need;
            let gap = size_class(BLOCK_HEADER + body) - BLOCK_HEADER - body + need;
            let old = self.gap();
            self.block.splice(HEADER, old, gap);
            self.set_field(0, gap);
        }
        let gap = self.gap() - need;
        self.set_field(0, gap);
        self.write_at(0, entry);
        self.set_count(self.count() + 1);
    }

    fn write_at(&mut self, at: usize, entry: &Entry<'_>) {
        let from = HEADER + self.gap() + at;
        if let Some(out) = self.block.bytes_mut().get_mut(from..from + entry.size()) {
            entry.write(out);
        }
    }

    /// Gives up the room in front.
    fn drop_gap(&mut self) {
        let gap = self.gap();
        if gap > 0 {
            self.block.splice(HEADER, gap, 0);
            self.set_field(0, 0);
        }
    }

    /// Adds an element at one end.
    pub fn push(&mut self, end: End, entry: &Entry<'_>) {
        if self.count() == 0 {
            self.block = Block::zeroed(HEADER + entry.size());
            self.write_at(0, entry);
            return self.set_count(1);
        }
        match end {
            End::Head => self.push_front(entry),
            End::Tail => self.push_back(entry),
        }
    }

    /// Puts an element in front of the one at offset `at`.
    pub fn insert(&mut self, at: usize, entry: &Entry<'_>) {
        if at == 0 {
            return self.push_front(entry);
        }
        if at == self.size() {
            return self.push_back(entry);
        }
        let (need, gap) = (entry.size(), self.gap());
        if gap >= need {
            self.block
                .bytes_mut()
                .copy_within(HEADER + gap..HEADER + gap + at, HEADER + gap - need);
            self.set_field(0, gap - need);
            self.write_at(at, entry);
        } else {
            entry.write(self.block.splice(HEADER + gap + at, 0, need));
        }
        self.set_count(self.count() + 1);
    }

    /// Replaces the element at offset `at`.
    pub fn replace(&mut self, at: usize, entry: &Entry<'_>) {
        let Some(old) = self.entries().get(at..).and_then(span) else {
            return;
        };
        let from = HEADER + self.gap() + at;
        entry.write(self.block.splice(from, old, entry.size()));
    }

    /// Bytes of the entry at an offset.
    pub fn size_of_entry(&self, offset: usize) -> usize {
        self.entries().get(offset..).and_then(span).unwrap_or(0)
    }

    /// Shows the indexes of the elements equal to `entry`, ascending.
    pub fn matches(&self, entry: &Entry<'_>, mut each: impl FnMut(usize)) {
        let mut rest = self.entries();
        let mut index = 0;
        while let Some(span) = span(rest) {
            if span == entry.size() && entry.begins(rest) {
                each(index);
            }
            index += 1;
            rest = rest.get(span..).unwrap_or_default();
        }
    }

    /// A copy without the elements equal to `entry`, of which `range` names those to go.
    pub fn without(&self, entry: &Entry<'_>, range: Range<usize>) -> Listpack {
        let mut kept = Vec::with_capacity(self.size());
        let (mut rest, mut found, mut count) = (self.entries(), 0, 0);
        while let Some((this, after)) = span(rest).and_then(|span| rest.split_at_checked(span)) {
            let equal = this.len() == entry.size() && entry.begins(this);
            if !(equal && range.contains(&found)) {
                kept.extend_from_slice(this);
                count += 1;
            }
            found += usize::from(equal);
            rest = after;
        }
        Listpack::of_entries(&kept, count)
    }

    /// Removes `count` elements from `index` on.
    pub fn remove_range(&mut self, index: usize, count: usize) {
        let to = self.offset_of(index.saturating_add(count));
        if let (Some(from), Some(to)) = (self.offset_of(index), to) {
            self.remove(from, to, count);
        }
    }

    /// Removes the `count` elements between two offsets.
    fn remove(&mut self, from: usize, to: usize, count: usize) {
        let (gap, left) = (self.gap(), self.count().saturating_sub(count));
        if left == 0 && self.block.is_shared() {
            *self = Listpack::default();
            return;
        }
        self.set_count(left);
        if left == 0 {
            self.set_field(0, self.block.used() - HEADER);
        } else if from > 0 {
            self.block.splice(HEADER + gap + from, to - from, 0);
        } else {
            let gap = (gap + to).min(self.block.used() - HEADER);
            self.set_field(0, gap);
            if gap > self.size() {
                self.drop_gap();
            }
        }
    }

    /// Cuts off the elements from `index`, at offset `at`, on.
    pub fn split_off(&mut self, at: usize, index: usize) -> Listpack {
        let count = self.count();
        let right = Listpack::of_entries(
            self.entries().get(at..).unwrap_or_default(),
            count.saturating_sub(index),
        );
        let left = Listpack::of_entries(self.entries().get(..at).unwrap_or_default(), index);
        *self = left;
        right
    }

    /// Appends all elements of another node.
    pub fn append(&mut self, other: &Listpack) {
        self.drop_gap();
        let (used, count) = (self.block.used(), self.count() + other.count());
        let entries = other.entries();
        self.block
            .splice(used, 0, entries.len())
            .copy_from_slice(entries);
        self.set_count(count);
    }
}

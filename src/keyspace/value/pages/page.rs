//! A page: packed records with a sorted index in front.
//!
//! ```text
//! block body: | index: n entries, room for a multiple of 16 | records |
//! entry:      | offset u16 | fragment u16 |                 (little endian)
//! record:     | key | value, in pages with values |         (encoded as in `packed`)
//!             a value may have its expiry in front
//! ```
//!
//! A fragment is 16 bits of the position: `(position - lo) >> shift`, where `lo` is the start of
//! the page's range, kept beside the page in its leaf. The index is sorted by fragment, so a
//! search reads one or two lines of it and then the one record. Offsets count from the end of the
//! index, so they stay when the index grows. Records lie in the order of their insertion; removing
//! one closes the gap.
//!
//! A split keeps the fragments of both halves at the same shift; only when fewer than 12 bits tell
//! the records of a half apart are its keys hashed again.

mod builder;
mod records;

use std::sync::Arc;

use bytes::Bytes;

use super::super::packed::{
    Block, Elem, Encoded, OUTSIDE, expiry_of, read, size_class, span, strip_expiry,
};
use super::{Key, NEVER, Record, position};
use builder::Builder;
pub(super) use records::Records;

/// A body longer than this splits: the allocation with its header is then at most 4 KiB.
const BODY_MAX: usize = 4096 - 8;

/// Two neighbours whose bodies together are no longer than this become one page.
const MERGE_MAX: usize = 2800;

/// A page shorter than this looks for a neighbour to merge with.
const SPARSE: usize = 1024;

/// Elements longer than this lie outside the page.
const INSIDE_MAX: usize = 1024;

/// Index entries are added in groups, so that records rarely move to make room.
const GROUP: usize = 16;

const ENTRY: usize = 4;

/// A half with fewer possible fragments than this hashes its keys again.
const FEW_FRAGMENTS: u64 = 1 << 12;

/// A page; see the module's text.
#[derive(Clone)]
pub(super) struct Page<const VALUES: bool> {
    block: Block,
    /// Elements too long for the page, by slot; an empty one is a free slot.
    outside: Option<Arc<Vec<Bytes>>>,
    /// The earliest expiry among its records, [`NEVER`] if none has one.
    earliest: i64,
    len: u16,
    shift: u8,
}

/// An index entry.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Entry {
    fragment: u16,
    offset: u16,
}

impl Entry {
    fn read(raw: [u8; ENTRY]) -> Entry {
        let [a, b, c, d] = raw;
        Entry {
            fragment: u16::from_le_bytes([c, d]),
            offset: u16::from_le_bytes([a, b]),
        }
    }

    fn raw(self) -> [u8; ENTRY] {
        let ([a, b], [c, d]) = (self.offset.to_le_bytes(), self.fragment.to_le_bytes());
        [a, b, c, d]
    }
}

/// The shift at which a range of that width has at most 2^16 fragments.
fn shift_for(width: u64) -> u8 {
    let bits = u64::BITS - width.saturating_sub(1).leading_zeros();
    bits.saturating_sub(u16::BITS) as u8
}

/// Bytes of the index of `len` records.
fn index_bytes(len: usize) -> usize {
    len.next_multiple_of(GROUP) * ENTRY
}

impl<const VALUES: bool> Page<VALUES> {
    /// An empty page for a range of that width.
    pub fn new(width: u64) -> Self {
        Page {
            block: Block::concat(&[]),
            outside: None,
            earliest: NEVER,
            len: 0,
            shift: shift_for(width),
        }
    }

    /// Number of records.
    pub fn len(&self) -> usize {
        usize::from(self.len)
    }

    /// The earliest expiry among its records, [`NEVER`] if none has one.
    pub fn earliest(&self) -> i64 {
        self.earliest
    }

    /// Bytes taken from the allocator, elements outside included.
    pub fn size_bytes(&self) -> usize {
        let outside = self.outside.as_ref().map_or(0, |slots| {
            let slot_bytes = |slot: &Bytes| size_of::<Bytes>() + size_class(slot.len());
            slots.iter().map(slot_bytes).sum::<usize>()
        });
        self.block.alloc_bytes() + outside
    }

    /// Whether it should split.
    pub fn is_full(&self) -> bool {
        self.block.used() > BODY_MAX
    }

    /// Whether it should look for a neighbour to merge with.
    pub fn is_sparse(&self) -> bool {
        self.block.used() < SPARSE
    }

    /// Whether the two may become one.
    pub fn may_merge(&self, other: &Self) -> bool {
        self.block.used() + other.block.used() <= MERGE_MAX
    }

    fn index(&self) -> &[[u8; ENTRY]] {
        let bytes = self
            .block
            .bytes()
            .get(..self.len() * ENTRY)
            .unwrap_or_default();
        bytes.as_chunks().0
    }

    fn fragment(&self, position: u64, lo: u64) -> u16 {
        let fragment = position.saturating_sub(lo) >> self.shift;
        u16::try_from(fragment).unwrap_or(u16::MAX)
    }

    /// The first entry whose fragment is not below this one.
    fn lower_bound(&self, fragment: u16) -> usize {
        self.index()
            .partition_point(|&raw| Entry::read(raw).fragment < fragment)
    }

    /// What lies at an offset, to the end of the page.
    fn tail(&self, offset: u16) -> &[u8] {
        let at = index_bytes(self.len()) + usize::from(offset);
        self.block.bytes().get(at..).unwrap_or_default()
    }

    /// What lies from the record of an index entry on.
    fn tail_of(&self, at: usize) -> &[u8] {
        self.index()
            .get(at)
            .map_or(&[], |&raw| self.tail(Entry::read(raw).offset))
    }

    /// The encoded record that `tail` begins with.
    fn encoded<'t>(&self, tail: &'t [u8]) -> &'t [u8] {
        let key = span(tail);
        let value = if VALUES {
            span(tail.get(key..).unwrap_or_default())
        } else {
            0
        };
        tail.get(..key + value).unwrap_or_default()
    }

    /// The element outside that `tail` refers to, if it is such a reference.
    fn outside(&self, tail: &[u8]) -> Option<&Bytes> {
        match *tail {
            [OUTSIDE, a, b, ..] => self
                .outside
                .as_ref()?
                .get(usize::from(u16::from_le_bytes([a, b]))),
            _ => None,
        }
    }

    fn elem<'a>(&'a self, tail: &'a [u8]) -> Option<(Elem<'a>, &'a [u8])> {
        match self.outside(tail) {
            Some(bytes) => Some((Elem::Bytes(bytes), tail.get(3..).unwrap_or_default())),
            None => read(tail),
        }
    }

    /// The record of an index entry.
    pub fn record(&self, at: usize) -> Option<Record<'_>> {
        let (key, rest) = self.elem(self.tail_of(at))?;
        if !VALUES {
            return Some(Record::of_key(key));
        }
        Some(Record {
            key,
            value: self.elem(strip_expiry(rest).1)?.0,
            expire_ms: expiry_of(rest),
        })
    }

    /// The stored value of an index entry, its expiry in front.
    fn value_of(&self, at: usize) -> &[u8] {
        let tail = self.tail_of(at);
        tail.get(span(tail)..).unwrap_or_default()
    }

    /// The expiry of an index entry.
    pub fn expiry(&self, at: usize) -> Option<i64> {
        expiry_of(self.value_of(at))
    }

    /// Follows the change of a record's expiry.
    fn note_expiry(&mut self, before: Option<i64>, after: Option<i64>) {
        if before == after {
            return;
        }
        if let Some(at_ms) = after {
            self.earliest = self.earliest.min(at_ms);
        }
        if before == Some(self.earliest) {
            let all = (0..self.len()).filter_map(|at| self.expiry(at));
            self.earliest = all.min().unwrap_or(NEVER);
        }
    }

    /// The value of an index entry, if it lies outside.
    pub fn shared_value(&self, at: usize) -> Option<Bytes> {
        self.outside(strip_expiry(self.value_of(at)).1).cloned()
    }

    fn position_at(&self, tail: &[u8]) -> u64 {
        match self.elem(tail) {
            Some((Elem::Bytes(bytes), _)) if !bytes.is_empty() => position(bytes),
            _ => position(tail.get(..span(tail)).unwrap_or_default()),
        }
    }

    /// The first entry whose fragment is not below the one of a position in the range `lo..hi`.
    /// Fragments are uniform, so a guess in proportion is a few entries off: one line of memory
    /// where halving would wait for three.
    fn seek(&self, position: u64, lo: u64, hi: u64) -> usize {
        let index = self.index();
        let fragment = self.fragment(position, lo);
        let below = |raw: &[u8; ENTRY]| Entry::read(*raw).fragment < fragment;
        let range = (hi.saturating_sub(lo) >> self.shift).max(1);
        let guess = usize::from(fragment) * index.len() / range as usize;
        let mut at = guess.min(index.len());
        while index.get(at).is_some_and(below) {
            at += 1;
        }
        while at > 0 && !index.get(at - 1).is_some_and(below) {
            at -= 1;
        }
        at
    }

    /// The index entry of a key, or where it would be inserted; `lo..hi` is the page's range.
    pub fn find(&self, key: &Key<'_>, lo: u64, hi: u64) -> Result<usize, usize> {
        let fragment = self.fragment(key.position, lo);
        let start = self.seek(key.position, lo, hi);
        let rest = self.index().get(start..).unwrap_or_default();
        for (n, entry) in rest.iter().map(|&raw| Entry::read(raw)).enumerate() {
            if entry.fragment != fragment {
                break;
            }
            let tail = self.tail(entry.offset);
            let same = match self.outside(tail) {
                Some(bytes) => bytes == key.encoded.body(),
                None => key.encoded.begins(tail),
            };
            if same {
                return Ok(start + n);
            }
        }
        Err(start)
    }

    /// Turns an element that is too long into a reference to a slot.
    fn store<'e>(&mut self, elem: Encoded<'e>) -> Encoded<'e> {
        if elem.body().len() <= INSIDE_MAX {
            return elem;
        }
        let slots = Arc::make_mut(self.outside.get_or_insert_default());
        let free = slots
            .iter()
            .position(Bytes::is_empty)
            .unwrap_or(slots.len());
        let Ok(slot) = u16::try_from(free) else {
            return elem;
        };
        let bytes = Bytes::copy_from_slice(elem.body());
        match slots.get_mut(free) {
            Some(place) => *place = bytes,
            None => slots.push(bytes),
        }
        Encoded::outside(slot)
    }

    /// Frees the slot that the element at `tail` refers to, if it does.
    fn free(&mut self, slot: Option<u16>) {
        let (Some(slot), Some(slots)) = (slot, &mut self.outside) else {
            return;
        };
        let slots = Arc::make_mut(slots);
        if let Some(place) = slots.get_mut(usize::from(slot)) {
            *place = Bytes::new();
        }
        while slots.pop_if(|last| last.is_empty()).is_some() {}
        if slots.is_empty() {
            self.outside = None;
        }
    }

    /// Inserts a record where `find` said that its key belongs.
    pub fn insert(
        &mut self,
        at: usize,
        key: &Key<'_>,
        (value, expire_ms): (Elem<'_>, Option<i64>),
        lo: u64,
    ) {
        let fragment = self.fragment(key.position, lo);
        let stored_key = self.store(key.encoded);
        let stored_value = VALUES.then(|| self.store(Encoded::new(value)));
        let len = self.len();
        if len.is_multiple_of(GROUP) {
            self.block.splice(len * ENTRY, 0, GROUP * ENTRY).fill(0);
        }
        let end = self.block.used();
        // Fits in 16 bits: a page splits beyond 4 KiB, and a record is at most about 2 KiB. A page
        // cannot split only while all its keys share a position, which seeded hashing denies.
        let offset = (end - index_bytes(len + 1)) as u16;
        let expiry = expire_ms.map(Encoded::expiry);
        let parts = [Some(stored_key), expiry, stored_value];
        let record_len = parts.iter().flatten().map(Encoded::len).sum();
        let mut gap = self.block.splice(end, 0, record_len);
        for part in parts.iter().flatten() {
            gap = part.write(gap);
        }
        let index = self
            .block
            .bytes_mut()
            .get_mut(at * ENTRY..(len + 1) * ENTRY);
        let index = index.unwrap_or_default();
        index.copy_within(..(len - at) * ENTRY, ENTRY);
        if let Some(entry) = index.first_chunk_mut() {
            *entry = Entry { fragment, offset }.raw();
        }
        self.len += 1;
        self.note_expiry(None, expire_ms);
    }

    /// Replaces `old` bytes at an offset among the records by a gap of `new` bytes.
    fn splice(&mut self, offset: usize, old: usize, new: usize) -> &mut [u8] {
        let records = index_bytes(self.len());
        if old != new {
            let index = self
                .block
                .bytes_mut()
                .get_mut(..usize::from(self.len) * ENTRY);
            for raw in index.unwrap_or_default().as_chunks_mut().0 {
                let mut entry = Entry::read(*raw);
                if usize::from(entry.offset) > offset {
                    entry.offset = (usize::from(entry.offset) + new - old) as u16;
                    *raw = entry.raw();
                }
            }
        }
        self.block.splice(records + offset, old, new)
    }

    /// Where the stored value of an index entry begins among the records.
    fn value_offset(&self, at: usize) -> usize {
        let offset = self
            .index()
            .get(at)
            .map_or(0, |&raw| Entry::read(raw).offset);
        usize::from(offset) + span(self.tail(offset))
    }

    /// Replaces the value of an index entry and its expiry.
    pub fn set_value(&mut self, at: usize, value: Elem<'_>, expire_ms: Option<i64>) {
        let old = self.value_of(at);
        let (old_len, old_slot, before) = (span(old), slot_of(old), expiry_of(old));
        let offset = self.value_offset(at);
        self.free(old_slot);
        let value = self.store(Encoded::new(value));
        match expire_ms.map(Encoded::expiry) {
            None => value.write(self.splice(offset, old_len, value.len())),
            Some(expiry) => {
                let gap = self.splice(offset, old_len, expiry.len() + value.len());
                value.write(expiry.write(gap))
            }
        };
        self.note_expiry(before, expire_ms);
    }

    /// Sets or clears the expiry of an index entry.
    pub fn set_expiry(&mut self, at: usize, expire_ms: Option<i64>) {
        let old = self.value_of(at);
        let (old_len, before) = (strip_expiry(old).0.len(), expiry_of(old));
        let offset = self.value_offset(at);
        match expire_ms.map(Encoded::expiry) {
            None => self.splice(offset, old_len, 0),
            Some(expiry) => expiry.write(self.splice(offset, old_len, expiry.len())),
        };
        self.note_expiry(before, expire_ms);
    }

    /// Removes the record of an index entry.
    pub fn remove(&mut self, at: usize) {
        let record = self.encoded(self.tail_of(at));
        let record_len = record.len();
        let before = self.expiry(at);
        let slots = [
            slot_of(record),
            record.get(span(record)..).and_then(slot_of),
        ];
        let Some(&raw) = self.index().get(at) else {
            return;
        };
        for slot in slots {
            self.free(slot);
        }
        let offset = usize::from(Entry::read(raw).offset);
        if !self.fill(offset, record_len) {
            self.splice(offset, record_len, 0);
        }
        let end = self.len() * ENTRY;
        self.block
            .bytes_mut()
            .copy_within((at + 1) * ENTRY..end, at * ENTRY);
        self.len -= 1;
        if self.len().is_multiple_of(GROUP) {
            self.block.splice(self.len() * ENTRY, GROUP * ENTRY, 0);
        }
        self.note_expiry(before, None);
    }

    /// Closes a gap among the records with the last record, if it is as long: the usual case,
    /// which spares moving all that lies behind the gap.
    fn fill(&mut self, offset: usize, len: usize) -> bool {
        let records = index_bytes(self.len());
        let Some(from) = self.block.used().checked_sub(records + len) else {
            return false;
        };
        // Short records may end the page where one of that length would begin.
        if self.encoded(self.tail(from as u16)).len() != len {
            return false;
        }
        let begins = |&raw: &[u8; ENTRY]| usize::from(Entry::read(raw).offset) == from;
        let Some(last) = self.index().iter().position(begins) else {
            return false;
        };
        let bytes = self.block.bytes_mut();
        bytes.copy_within(records + from.., records + offset);
        if let Some(raw) = bytes.as_chunks_mut().0.get_mut(last) {
            let moved = Entry {
                offset: offset as u16,
                ..Entry::read(*raw)
            };
            *raw = moved.raw();
        }
        self.block.resize(records + from);
        true
    }

    /// Splits at the median fragment: the two halves and where the second one starts. `None` while
    /// all records share one fragment.
    pub fn split(&self, lo: u64, hi: u64) -> Option<(Self, u64, Self)> {
        let fragment_at = |at: usize| self.index().get(at).map(|&raw| Entry::read(raw).fragment);
        let mut middle = fragment_at(self.len() / 2)?;
        let mut at = self.lower_bound(middle);
        if at == 0 {
            middle = middle.checked_add(1)?;
            at = self.lower_bound(middle);
            middle = fragment_at(at)?;
        }
        let start = lo + (u64::from(middle) << self.shift);
        let left = self.part(0..at, 0, lo, start);
        let right = self.part(at..self.len(), middle, start, hi);
        Some((left, start, right))
    }

    /// The page of some entries for the range `lo..hi`, whose first fragment here is `base`.
    fn part(&self, entries: std::ops::Range<usize>, base: u16, lo: u64, hi: u64) -> Self {
        let width = hi.saturating_sub(lo);
        let again = self.shift > 0 && (width >> self.shift) < FEW_FRAGMENTS;
        let shift = if again { shift_for(width) } else { self.shift };
        let mut builder = Builder::new(shift);
        for &raw in self.index().get(entries).unwrap_or_default() {
            let entry = Entry::read(raw);
            let record = self.encoded(self.tail(entry.offset));
            let fragment = if again {
                ((self.position_at(record) - lo) >> shift) as u16
            } else {
                entry.fragment - base
            };
            builder.push(self, record, fragment);
        }
        builder.finish()
    }

    /// One page of two neighbours for the range `lo..hi` of both.
    pub fn merge(&self, right: &Self, lo: u64, hi: u64) -> Self {
        let mut builder = Builder::new(shift_for(hi - lo));
        for page in [self, right] {
            for &raw in page.index() {
                let record = page.encoded(page.tail(Entry::read(raw).offset));
                let fragment = (page.position_at(record) - lo) >> builder.shift;
                builder.push(page, record, fragment as u16);
            }
        }
        builder.finish()
    }

    /// Hands the records from a position on to `each` until `count` of them were seen, all of a
    /// fragment or none; the position to go on from, `None` at the end of the page.
    pub fn scan<'a>(
        &'a self,
        lo: u64,
        cursor: u64,
        count: usize,
        mut each: impl FnMut(Record<'a>),
    ) -> Option<u64> {
        let first = self.fragment(cursor, lo);
        let start_of = |fragment: u16| lo + (u64::from(fragment) << self.shift);
        // Inside a fragment only after a merge made fragments coarser.
        let inside = start_of(first) < cursor;
        let mut seen = 0;
        let mut last = first;
        for at in self.lower_bound(first)..self.len() {
            let entry = Entry::read(*self.index().get(at)?);
            if seen >= count && entry.fragment != last {
                return Some(start_of(entry.fragment));
            }
            last = entry.fragment;
            let tail = self.tail(entry.offset);
            if inside && entry.fragment == first && self.position_at(tail) < cursor {
                continue;
            }
            if let Some(record) = self.record(at) {
                seen += 1;
                each(record);
            }
        }
        None
    }
}

fn slot_of(tail: &[u8]) -> Option<u16> {
    match *strip_expiry(tail).1 {
        [OUTSIDE, a, b, ..] => Some(u16::from_le_bytes([a, b])),
        _ => None,
    }
}

//! The packed node of a list: elements encoded as in a Redis listpack, with spare room in front.
//!
//! ```text
//! block body: | gap u32 | count u32 | gap bytes, unused | entry | entry | ...
//! entry:      | head, 1..9 bytes | string bytes | back length, 1..5 bytes |
//!
//! head   0vvvvvvv                  integer 0..=127
//!        10llllll                  string of 0..=63 bytes
//!        110vvvvv vvvvvvvv         integer of 13 bits, signed, high bits first
//!        1110llll llllllll         string of 64..=4095 bytes, high bits first
//!        0xF0 l32                  string of 4096 bytes or more
//!        0xF1 i16 | 0xF2 i24 | 0xF3 i32 | 0xF4 i64          little endian
//! back   length of head and string, 7 bits a byte, high bits first; every byte but the first
//!        has its top bit set, so that it reads from the right
//! ```
//!
//! The entries are byte for byte those of a listpack (its specification:
//! <https://github.com/antirez/listpack/blob/master/listpack.md>), so that a node goes into an
//! RDB file as it is, its size is the one that `list-max-listpack-size` limits, and both ends are
//! in reach. The back length costs a byte that `Packed` saves; a list needs it for its tail.
//!
//! Guarantees:
//! - Each element has one encoding here: integers are never kept as strings nor longer than they
//!   need be. Equal elements are equal bytes.
//! - Adding and removing at either end costs O(1) amortised. The room in front never makes the
//!   allocation larger than its entries' size class, but for what a removal at the front left,
//!   and that is at most half of it.

use std::ops::Range;

use super::super::packed::{Block, Elem, size_class};
use super::End;

/// Bytes in front of the gap: its length and the number of entries.
const HEADER: usize = 8;

/// What a block's allocation holds beside the body.
const BLOCK_HEADER: usize = 8;

/// What a listpack has around its entries: six bytes of header, one of end.
pub const LISTPACK_FRAME: usize = 7;

const STR32: u8 = 0xF0;
const INT16: u8 = 0xF1;
const INT24: u8 = 0xF2;
const INT32: u8 = 0xF3;
const INT64: u8 = 0xF4;

/// An element encoded for a listpack.
#[derive(Clone, Copy)]
pub struct Entry<'a> {
    head: [u8; 9],
    head_len: u8,
    back: [u8; 5],
    back_len: u8,
    body: &'a [u8],
}

/// The back length of `len` bytes, and how many bytes it takes.
fn back_length(len: usize) -> ([u8; 5], u8) {
    let seven = |shift: u32, mark: u8| ((len >> shift) as u8 & 0x7F) | mark;
    match len {
        0..=127 => ([len as u8, 0, 0, 0, 0], 1),
        128..=16382 => ([seven(7, 0), seven(0, 0x80), 0, 0, 0], 2),
        16383..=2097150 => ([seven(14, 0), seven(7, 0x80), seven(0, 0x80), 0, 0], 3),
        2097151..=268435454 => (
            [
                seven(21, 0),
                seven(14, 0x80),
                seven(7, 0x80),
                seven(0, 0x80),
                0,
            ],
            4,
        ),
        _ => {
            let [a, b, c] = [seven(21, 0x80), seven(14, 0x80), seven(7, 0x80)];
            ([seven(28, 0), a, b, c, seven(0, 0x80)], 5)
        }
    }
}

fn back_size(len: usize) -> usize {
    match len {
        0..=127 => 1,
        128..=16382 => 2,
        16383..=2097150 => 3,
        2097151..=268435454 => 4,
        _ => 5,
    }
}

impl<'a> Entry<'a> {
    /// Encodes an element in its one form.
    pub fn new(elem: Elem<'a>) -> Self {
        let (head, head_len, body): ([u8; 9], u8, &[u8]) = match elem.canonical() {
            Elem::Int(int) => {
                let (head, len) = int_head(int);
                (head, len, &[])
            }
            Elem::Bytes(body) => {
                let [l0, l1, l2, l3, ..] = body.len().to_le_bytes();
                match body.len() {
                    0..=63 => ([0x80 | l0, 0, 0, 0, 0, 0, 0, 0, 0], 1, body),
                    64..=4095 => ([0xE0 | l1, l0, 0, 0, 0, 0, 0, 0, 0], 2, body),
                    _ => ([STR32, l0, l1, l2, l3, 0, 0, 0, 0], 5, body),
                }
            }
        };
        let (back, back_len) = back_length(usize::from(head_len) + body.len());
        Entry {
            head,
            head_len,
            back,
            back_len,
            body,
        }
    }

    fn parts(&self) -> [&[u8]; 3] {
        [
            self.head
                .get(..usize::from(self.head_len))
                .unwrap_or_default(),
            self.body,
            self.back
                .get(..usize::from(self.back_len))
                .unwrap_or_default(),
        ]
    }

    /// Bytes the entry takes.
    pub fn size(&self) -> usize {
        usize::from(self.head_len) + self.body.len() + usize::from(self.back_len)
    }

    /// Writes the entry into `out`, which is as long as it.
    fn write(&self, mut out: &mut [u8]) {
        for part in self.parts() {
            let Some((front, rest)) = out.split_at_mut_checked(part.len()) else {
                return;
            };
            front.copy_from_slice(part);
            out = rest;
        }
    }

    /// Whether the element is a string and this is its text.
    pub fn is_text(&self, text: &[u8]) -> bool {
        !self.body.is_empty() && self.body == text
    }

    /// Whether `entries` begins with this very element.
    pub fn begins(&self, entries: &[u8]) -> bool {
        let [head, body, _] = self.parts();
        entries
            .strip_prefix(head)
            .is_some_and(|rest| rest.starts_with(body))
    }
}

fn int_head(int: i64) -> ([u8; 9], u8) {
    let [a, b, c, d, e, f, g, h] = int.to_le_bytes();
    match int {
        0..=127 => ([a, 0, 0, 0, 0, 0, 0, 0, 0], 1),
        -4096..=4095 => ([0xC0 | (b & 0x1F), a, 0, 0, 0, 0, 0, 0, 0], 2),
        -0x8000..=0x7FFF => ([INT16, a, b, 0, 0, 0, 0, 0, 0], 3),
        -0x80_0000..=0x7F_FFFF => ([INT24, a, b, c, 0, 0, 0, 0, 0], 4),
        -0x8000_0000..=0x7FFF_FFFF => ([INT32, a, b, c, d, 0, 0, 0, 0], 5),
        _ => ([INT64, a, b, c, d, e, f, g, h], 9),
    }
}

/// Length of the entry that `entries` begins with; `None` at the end.
pub fn span(entries: &[u8]) -> Option<usize> {
    let len = unframed(entries)?;
    Some(len + back_size(len))
}

/// The same without the back length.
fn unframed(entries: &[u8]) -> Option<usize> {
    Some(match *entries {
        [0..=0x7F, ..] => 1,
        [head @ 0x80..=0xBF, ..] => 1 + usize::from(head & 0x3F),
        [0xC0..=0xDF, ..] => 2,
        [head @ 0xE0..=0xEF, low, ..] => 2 + (usize::from(head & 0x0F) << 8 | usize::from(low)),
        [STR32, a, b, c, d, ..] => 5 + u32::from_le_bytes([a, b, c, d]) as usize,
        [INT16, ..] => 3,
        [INT24, ..] => 4,
        [INT32, ..] => 5,
        [INT64, ..] => 9,
        _ => return None,
    })
}

/// Start of the entry that ends where `entries` ends.
fn last_start(entries: &[u8]) -> Option<usize> {
    let (mut len, mut bytes) = (0usize, 0u32);
    for &byte in entries.iter().rev().take(5) {
        len |= usize::from(byte & 0x7F) << (7 * bytes);
        bytes += 1;
        if byte & 0x80 == 0 {
            return entries.len().checked_sub(len + bytes as usize);
        }
    }
    None
}

/// The element that `entries` begins with, its back length left aside.
pub fn read<'e>(entries: &'e [u8]) -> Option<Elem<'e>> {
    let string = |rest: &'e [u8], len: usize| rest.get(..len).map(Elem::Bytes);
    let int = match *entries {
        [head @ 0x80..=0xBF, ref rest @ ..] => return string(rest, usize::from(head & 0x3F)),
        [head @ 0xE0..=0xEF, low, ref rest @ ..] => {
            return string(rest, usize::from(head & 0x0F) << 8 | usize::from(low));
        }
        [STR32, a, b, c, d, ref rest @ ..] => {
            return string(rest, u32::from_le_bytes([a, b, c, d]) as usize);
        }
        [v @ 0..=0x7F, ..] => i64::from(v),
        [head @ 0xC0..=0xDF, low, ..] => {
            // Shifted up to the sign bit and back down to extend the sign of 13 bits.
            let raw = u16::from(head & 0x1F) << 8 | u16::from(low);
            i64::from((raw << 3) as i16 >> 3)
        }
        [INT16, a, b, ..] => i64::from(i16::from_le_bytes([a, b])),
        [INT24, a, b, c, ..] => i64::from(i32::from_le_bytes([0, a, b, c]) >> 8),
        [INT32, a, b, c, d, ..] => i64::from(i32::from_le_bytes([a, b, c, d])),
        [INT64, a, b, c, d, e, f, g, h, ..] => i64::from_le_bytes([a, b, c, d, e, f, g, h]),
        _ => return None,
    };
    Some(Elem::Int(int))
}

/// Entries in one shared block; see the module's text.
#[derive(Clone)]
pub struct Listpack {
    block: Block,
}

impl Default for Listpack {
    fn default() -> Self {
        Listpack {
            block: Block::concat(&[&[0; HEADER]]),
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

    /// Elements from offset `at` on.
    pub fn iter(&self, at: usize) -> Iter<'_> {
        Iter {
            rest: self.entries().get(at..).unwrap_or_default(),
        }
    }

    /// Elements before offset `end`, the last one first.
    pub fn iter_rev(&self, end: usize) -> IterRev<'_> {
        IterRev {
            rest: self.entries().get(..end).unwrap_or_default(),
        }
    }

    /// Shows the elements from index `from` to before `to`, in the order that begins at `end`.
    pub fn visit(&self, from: usize, to: usize, end: End, each: &mut impl FnMut(Elem<'_>)) {
        let wanted = to.saturating_sub(from);
        match end {
            End::Head => {
                let at = self.offset_of(from).unwrap_or(usize::MAX);
                self.iter(at).take(wanted).for_each(each);
            }
            End::Tail => {
                let at = self.offset_of(to).unwrap_or(0);
                self.iter_rev(at).take(wanted).for_each(each);
            }
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
        entry.write(self.block.splice(used, 0, entry.size()));
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

    /// Bytes of the entry of the element of this index.
    pub fn size_of_entry(&self, index: usize) -> usize {
        let offset = self.offset_of(index).unwrap_or(usize::MAX);
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
        let gap = self.gap();
        self.set_count(self.count().saturating_sub(count));
        if from > 0 {
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

/// Elements in order.
pub struct Iter<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Iter<'a> {
    type Item = Elem<'a>;

    fn next(&mut self) -> Option<Elem<'a>> {
        let elem = read(self.rest)?;
        self.rest = span(self.rest)
            .and_then(|span| self.rest.get(span..))
            .unwrap_or_default();
        Some(elem)
    }
}

/// Elements from the last to the first.
pub struct IterRev<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for IterRev<'a> {
    type Item = Elem<'a>;

    fn next(&mut self) -> Option<Elem<'a>> {
        let (rest, entry) = self.rest.split_at_checked(last_start(self.rest)?)?;
        self.rest = rest;
        read(entry)
    }
}

/// What [`check_entries`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checked {
    /// Number of entries.
    pub count: usize,
    /// Whether each is in the one form that [`Entry::new`] gives it.
    pub canonical: bool,
}

/// Checks every head, length and back length of a sequence of listpack entries that comes from
/// outside; `None` when it is not sound.
pub fn check_entries(entries: &[u8]) -> Option<Checked> {
    let mut found = Checked {
        count: 0,
        canonical: true,
    };
    let mut rest = entries;
    while !rest.is_empty() {
        let (entry, after) = rest.split_at_checked(span(rest)?)?;
        let (body, back) = entry.split_at_checked(unframed(entry)?)?;
        let (want, want_len) = back_length(body.len());
        if Some(back) != want.get(..usize::from(want_len)) {
            return None;
        }
        let again = Entry::new(read(entry)?);
        found.canonical &= again.size() == entry.len() && again.begins(entry);
        found.count += 1;
        rest = after;
    }
    Some(found)
}

//! The encoding of one list element: an entry of a Redis listpack.
//!
//! ```text
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
//! Source: <https://github.com/antirez/listpack/blob/master/listpack.md>.
//!
//! [`Entry::new`] gives each element one encoding: integers are never kept as strings nor longer
//! than they need be. So equal elements are equal bytes, provided that what comes from outside
//! passes [`check_entries`].

use super::super::packed::Elem;

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
    #[inline]
    pub fn write(&self, mut out: &mut [u8]) {
        // All strings of less than 64 bytes have one byte in front and one behind.
        if let (1, 1, [first, middle @ .., last]) = (self.head_len, self.back_len, &mut *out) {
            let ([head, ..], [back, ..]) = (self.head, self.back);
            (*first, *last) = (head, back);
            if middle.len() == self.body.len() {
                middle.copy_from_slice(self.body);
            }
            return;
        }
        for part in self.parts() {
            let Some((front, rest)) = out.split_at_mut_checked(part.len()) else {
                return;
            };
            front.copy_from_slice(part);
            out = rest;
        }
    }

    /// Whether this is the element's text.
    pub fn is_text(&self, text: &[u8]) -> bool {
        if self.body.is_empty() {
            // An integer: what stands for it is canonical, and so is its entry.
            return Entry::new(Elem::Bytes(text)).parts() == self.parts();
        }
        self.body == text
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
#[inline]
pub fn span(entries: &[u8]) -> Option<usize> {
    let short = SHORT_SPAN
        .get(usize::from(*entries.first()?))
        .copied()
        .unwrap_or(0);
    if short > 0 {
        return Some(usize::from(short));
    }
    let len = unframed(entries)?;
    Some(len + back_size(len))
}

/// Length of an entry by its first byte; 0 where that byte does not say it.
#[expect(
    clippy::indexing_slicing,
    reason = "the compiler evaluates it: an index out of bounds would not build"
)]
const SHORT_SPAN: [u8; 256] = {
    let mut spans = [0; 256];
    let mut head = 0;
    while head < 256 {
        spans[head] = match head as u8 {
            0..=0x7F => 2,
            head @ 0x80..=0xBF => 2 + (head & 0x3F),
            0xC0..=0xDF => 3,
            INT16 => 4,
            INT24 => 5,
            INT32 => 6,
            INT64 => 10,
            _ => 0,
        };
        head += 1;
    }
    spans
};

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
#[inline]
pub fn last_start(entries: &[u8]) -> Option<usize> {
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
#[inline]
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

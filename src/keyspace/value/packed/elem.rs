//! The encoding of one element inside a packed block or a page.
//!
//! ```text
//! 0lllllll                    string of 0..=127 bytes, which follow
//! 10vvvvvv                    integer 0..=63
//! 110vvvvv vvvvvvvv           integer of 13 bits, signed, high bits first
//! 1110llll llllllll           string of 128..=4095 bytes, high bits of the length first
//! 0xF0 l32                    string of 4096 bytes or more
//! 0xF1 i16 | 0xF2 i24 | 0xF3 i32 | 0xF4 i48 | 0xF5 i64     integers
//! 0xF6 u16                    pages only: the element lies outside, in this slot
//! 0xF7 u48                    before a hash's value: when its field expires, Unix milliseconds
//! ```
//!
//! Multi-byte values are little endian unless said otherwise.
//!
//! Guarantees:
//! 1. An element that is the canonical decimal text of an i64 is stored as that integer, in its
//!    shortest form, and reads back byte for byte; "-0", "01", "+1" stay strings.
//! 2. So each byte string has exactly one encoding, and no encoding is a prefix of another: two
//!    elements are equal if their encodings are, and a search compares bytes only. An expiry in
//!    front of a value counts as part of it: [`span`] and [`read`] pass over both, and no key has
//!    one.

use crate::base::num;
use crate::base::text::same;

/// Marks an element that a page keeps outside of itself.
pub(in crate::keyspace::value) const OUTSIDE: u8 = 0xF6;

/// Marks the expiry of a hash's field.
const EXPIRY: u8 = 0xF7;

/// Bytes of an expiry with its mark.
const EXPIRY_LEN: usize = 7;

/// The latest expiry that can be kept, Unix milliseconds.
pub const MAX_EXPIRY_MS: i64 = (1 << 48) - 1;

const STR12: u8 = 0xE0;
const STR32: u8 = 0xF0;
const INT16: u8 = 0xF1;
const INT24: u8 = 0xF2;
const INT32: u8 = 0xF3;
const INT48: u8 = 0xF4;
const INT64: u8 = 0xF5;

/// An element as it is read or written.
///
/// `Bytes` that are the text of an integer and the `Int` itself are the same element; reading
/// always yields `Int` for those.
#[derive(Clone, Copy, Debug)]
pub enum Elem<'a> {
    /// A byte string.
    Bytes(&'a [u8]),
    /// The canonical decimal text of an integer.
    Int(i64),
}

impl<'a> Elem<'a> {
    /// The element's bytes; an integer is written into `buf`.
    pub fn to_bytes<'b>(self, buf: &'b mut itoa::Buffer) -> &'b [u8]
    where
        'a: 'b,
    {
        match self {
            Elem::Bytes(bytes) => bytes,
            Elem::Int(int) => buf.format(int).as_bytes(),
        }
    }

    /// The element's bytes, owned.
    pub fn to_vec(self) -> Vec<u8> {
        self.to_bytes(&mut itoa::Buffer::new()).to_vec()
    }

    /// The element as an integer, if it is the canonical text of one.
    pub fn as_int(self) -> Option<i64> {
        match self {
            Elem::Bytes(bytes) => num::parse_i64(bytes),
            Elem::Int(int) => Some(int),
        }
    }

    /// Length in bytes of the element's text.
    pub fn text_len(self) -> usize {
        match self {
            Elem::Bytes(bytes) => bytes.len(),
            Elem::Int(int) => int_text_len(int),
        }
    }

    /// The same element, an integer's text turned into `Int`.
    pub fn canonical(self) -> Elem<'a> {
        match self.as_int() {
            Some(int) => Elem::Int(int),
            None => self,
        }
    }
}

impl PartialEq for Elem<'_> {
    fn eq(&self, other: &Elem<'_>) -> bool {
        match (self.canonical(), other.canonical()) {
            (Elem::Int(a), Elem::Int(b)) => a == b,
            (Elem::Bytes(a), Elem::Bytes(b)) => a == b,
            _ => false,
        }
    }
}

impl Eq for Elem<'_> {}

impl<'a> From<&'a [u8]> for Elem<'a> {
    fn from(bytes: &'a [u8]) -> Elem<'a> {
        Elem::Bytes(bytes)
    }
}

impl<'a, const N: usize> From<&'a [u8; N]> for Elem<'a> {
    fn from(bytes: &'a [u8; N]) -> Elem<'a> {
        Elem::Bytes(bytes)
    }
}

impl<'a> From<&'a Vec<u8>> for Elem<'a> {
    fn from(bytes: &'a Vec<u8>) -> Elem<'a> {
        Elem::Bytes(bytes)
    }
}

impl From<i64> for Elem<'_> {
    fn from(int: i64) -> Self {
        Elem::Int(int)
    }
}

/// Length of an integer's decimal text.
pub fn int_text_len(int: i64) -> usize {
    let digits = int.unsigned_abs().checked_ilog10().unwrap_or(0) as usize + 1;
    digits + usize::from(int < 0)
}

/// An element ready to be written or compared: a few bytes of head, then a string's bytes.
#[derive(Clone, Copy)]
pub(in crate::keyspace::value) struct Encoded<'a> {
    head: [u8; 9],
    head_len: u8,
    body: &'a [u8],
}

impl<'a> Encoded<'a> {
    /// Encodes an element in its one form.
    #[inline]
    pub fn new(elem: Elem<'a>) -> Encoded<'a> {
        Encoded::of(elem.canonical())
    }

    /// Encodes an element that is `Bytes` only if it is no integer.
    #[inline]
    pub fn of(elem: Elem<'a>) -> Encoded<'a> {
        match elem {
            Elem::Int(int) => Encoded::int(int),
            Elem::Bytes(bytes) => Encoded::string(bytes),
        }
    }

    /// The reference to an element that lies outside in `slot`.
    pub fn outside(slot: u16) -> Encoded<'static> {
        let [a, b] = slot.to_le_bytes();
        Encoded {
            head: [OUTSIDE, a, b, 0, 0, 0, 0, 0, 0],
            head_len: 3,
            body: &[],
        }
    }

    /// The expiry of the value that follows, which is between 0 and [`MAX_EXPIRY_MS`].
    pub fn expiry(at_ms: i64) -> Encoded<'static> {
        let [a, b, c, d, e, f, ..] = at_ms.clamp(0, MAX_EXPIRY_MS).to_le_bytes();
        Encoded {
            head: [EXPIRY, a, b, c, d, e, f, 0, 0],
            head_len: EXPIRY_LEN as u8,
            body: &[],
        }
    }

    fn string(body: &'a [u8]) -> Encoded<'a> {
        let len = body.len();
        let [l0, l1, l2, l3, ..] = len.to_le_bytes();
        let (head, head_len) = match len {
            0..=127 => ([l0, 0, 0, 0, 0, 0, 0, 0, 0], 1),
            128..=4095 => ([STR12 | l1, l0, 0, 0, 0, 0, 0, 0, 0], 2),
            _ => ([STR32, l0, l1, l2, l3, 0, 0, 0, 0], 5),
        };
        Encoded {
            head,
            head_len,
            body,
        }
    }

    fn int(int: i64) -> Encoded<'a> {
        let [a, b, c, d, e, f, g, h] = int.to_le_bytes();
        let (head, head_len) = match int {
            0..=63 => ([0x80 | a, 0, 0, 0, 0, 0, 0, 0, 0], 1),
            -4096..=4095 => ([0xC0 | (b & 0x1F), a, 0, 0, 0, 0, 0, 0, 0], 2),
            -0x8000..=0x7FFF => ([INT16, a, b, 0, 0, 0, 0, 0, 0], 3),
            -0x80_0000..=0x7F_FFFF => ([INT24, a, b, c, 0, 0, 0, 0, 0], 4),
            -0x8000_0000..=0x7FFF_FFFF => ([INT32, a, b, c, d, 0, 0, 0, 0], 5),
            -0x8000_0000_0000..=0x7FFF_FFFF_FFFF => ([INT48, a, b, c, d, e, f, 0, 0], 7),
            _ => ([INT64, a, b, c, d, e, f, g, h], 9),
        };
        Encoded {
            head,
            head_len,
            body: &[],
        }
    }

    /// What comes before a string's bytes; all of an integer.
    pub fn head(&self) -> &[u8] {
        self.head
            .get(..usize::from(self.head_len))
            .unwrap_or_default()
    }

    /// A string's bytes; empty for an integer.
    pub fn body(&self) -> &'a [u8] {
        self.body
    }

    /// Bytes it takes in a block.
    pub fn len(&self) -> usize {
        usize::from(self.head_len) + self.body.len()
    }

    /// Whether `encoded` begins with this very element.
    pub fn begins(&self, encoded: &[u8]) -> bool {
        let parts = encoded
            .get(..self.len())
            .and_then(|own| own.split_at_checked(usize::from(self.head_len)));
        parts.is_some_and(|(head, body)| same(head, self.head()) && same(body, self.body))
    }

    /// Writes it to the front of `out` and returns what is left of it. `out` is long enough:
    /// callers open gaps of `len` bytes.
    pub fn write<'o>(&self, out: &'o mut [u8]) -> &'o mut [u8] {
        let out = put(out, self.head());
        put(out, self.body)
    }

    /// Appends it to a vector.
    pub fn append(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.head());
        out.extend_from_slice(self.body);
    }

    /// What a hash function reads: the body of a string, or the head of an integer.
    pub fn hashed(&self) -> &[u8] {
        if self.body.is_empty() {
            self.head()
        } else {
            self.body
        }
    }
}

fn put<'o>(out: &'o mut [u8], bytes: &[u8]) -> &'o mut [u8] {
    match out.split_at_mut_checked(bytes.len()) {
        Some((front, rest)) => {
            front.copy_from_slice(bytes);
            rest
        }
        None => &mut [],
    }
}

/// Length of the encoding that `buf` begins with; 0 at the end.
#[inline]
pub(in crate::keyspace::value) fn span(buf: &[u8]) -> usize {
    // Comparisons, the usual forms first: a jump through a table is mispredicted on mixed forms.
    match buf.first() {
        Some(&head) if head < 0x80 => 1 + usize::from(head),
        Some(&head) if head < 0xC0 => 1,
        Some(&head) if head < STR12 => 2,
        Some(_) => span_long(buf),
        None => 0,
    }
}

/// As [`span`], by the first byte alone; 0 where that does not say it, or seldom comes.
#[inline]
pub(super) fn short_span(head: u8) -> u8 {
    SHORT_SPAN
        .get(usize::from(head))
        .copied()
        .unwrap_or_default()
}

#[expect(
    clippy::indexing_slicing,
    reason = "worked out by the compiler, which refuses an index that is out of bounds"
)]
const SHORT_SPAN: [u8; 256] = {
    let mut spans = [0; 256];
    let mut head = 0;
    while head < STR12 as usize {
        spans[head] = match head {
            0..0x80 => head as u8 + 1,
            0x80..0xC0 => 1,
            _ => 2,
        };
        head += 1;
    }
    spans
};

fn span_long(buf: &[u8]) -> usize {
    match *buf {
        [head @ 0xE0..=0xEF, low, ..] => 2 + (usize::from(head & 0x0F) << 8 | usize::from(low)),
        [STR32, a, b, c, d, ..] => 5 + u32::from_le_bytes([a, b, c, d]) as usize,
        [INT16 | OUTSIDE, ..] => 3,
        [INT24, ..] => 4,
        [INT32, ..] => 5,
        [INT48, ..] => 7,
        [INT64, ..] => 9,
        [EXPIRY, _, _, _, _, _, _, ref value @ ..] => match value.first() {
            Some(&EXPIRY) | None => 0,
            Some(_) => EXPIRY_LEN + span(value),
        },
        _ => 0,
    }
}

/// The element that `buf` begins with and the bytes after it. `None` at the end, and for the
/// reference to an element outside.
#[inline]
pub(in crate::keyspace::value) fn read(buf: &[u8]) -> Option<(Elem<'_>, &[u8])> {
    match *buf {
        [len @ 0..=0x7F, ref rest @ ..] => string(rest, usize::from(len)),
        [head @ 0x80..=0xBF, ref rest @ ..] => Some((Elem::Int(i64::from(head & 0x3F)), rest)),
        [head @ 0xC0..=0xDF, low, ref rest @ ..] => {
            // Shifted up to the sign bit and back down to extend the sign of 13 bits.
            let raw = u16::from(head & 0x1F) << 8 | u16::from(low);
            Some((Elem::Int(i64::from((raw << 3) as i16 >> 3)), rest))
        }
        _ => read_long(buf),
    }
}

/// What [`read`] reads, in its rarer forms.
fn read_long(buf: &[u8]) -> Option<(Elem<'_>, &[u8])> {
    let (int, rest) = match *buf {
        [head @ 0xE0..=0xEF, low, ref rest @ ..] => {
            return string(rest, usize::from(head & 0x0F) << 8 | usize::from(low));
        }
        [STR32, a, b, c, d, ref rest @ ..] => {
            return string(rest, u32::from_le_bytes([a, b, c, d]) as usize);
        }
        [INT16, a, b, ref rest @ ..] => (i64::from(i16::from_le_bytes([a, b])), rest),
        [INT24, a, b, c, ref rest @ ..] => (i64::from(i32::from_le_bytes([0, a, b, c]) >> 8), rest),
        [INT32, a, b, c, d, ref rest @ ..] => (i64::from(i32::from_le_bytes([a, b, c, d])), rest),
        [INT48, a, b, c, d, e, f, ref rest @ ..] => {
            (i64::from_le_bytes([0, 0, a, b, c, d, e, f]) >> 16, rest)
        }
        [EXPIRY, _, _, _, _, _, _, ref value @ ..] if value.first() != Some(&EXPIRY) => {
            return read(value);
        }
        [INT64, a, b, c, d, e, f, g, h, ref rest @ ..] => {
            (i64::from_le_bytes([a, b, c, d, e, f, g, h]), rest)
        }
        _ => return None,
    };
    Some((Elem::Int(int), rest))
}

/// The expiry that `buf` begins with, as it is stored, and what follows.
pub(in crate::keyspace::value) fn strip_expiry(buf: &[u8]) -> (&[u8], &[u8]) {
    let len = match buf.first() {
        Some(&EXPIRY) => EXPIRY_LEN,
        _ => 0,
    };
    buf.split_at_checked(len).unwrap_or_default()
}

/// The expiry that `buf` begins with, if it does, Unix milliseconds.
pub(in crate::keyspace::value) fn expiry_of(buf: &[u8]) -> Option<i64> {
    match *buf {
        [EXPIRY, a, b, c, d, e, f, ..] => Some(i64::from_le_bytes([a, b, c, d, e, f, 0, 0])),
        _ => None,
    }
}

#[inline]
fn string(rest: &[u8], len: usize) -> Option<(Elem<'_>, &[u8])> {
    let (bytes, rest) = rest.split_at_checked(len)?;
    Some((Elem::Bytes(bytes), rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(elem: Elem<'_>) -> Vec<u8> {
        let mut out = Vec::new();
        let encoded = Encoded::new(elem);
        encoded.append(&mut out);
        assert_eq!(out.len(), encoded.len());
        assert_eq!(span(&out), out.len());
        let mut gap = vec![0xAA; out.len()];
        assert!(encoded.write(&mut gap).is_empty());
        assert_eq!(gap, out);
        out
    }

    #[test]
    fn integers_round_trip_around_every_border() {
        for bit in 0..64 {
            for near in [-2i64, -1, 0, 1, 2] {
                for int in [
                    (1i64 << bit).wrapping_add(near),
                    (-1i64 << bit).wrapping_add(near),
                ] {
                    let out = encoded(Elem::Int(int));
                    let (back, rest) = read(&out).unwrap();
                    assert!(matches!(back, Elem::Int(i) if i == int), "{int}");
                    assert!(rest.is_empty());
                    assert_eq!(encoded(Elem::Bytes(int.to_string().as_bytes())), out);
                    assert_eq!(int_text_len(int), int.to_string().len());
                }
            }
        }
    }

    #[test]
    fn integers_take_no_more_than_their_digits() {
        let sizes = [
            (0, 1),
            (63, 1),
            (64, 2),
            (-1, 2),
            (4095, 2),
            (4096, 3),
            (-4097, 3),
        ];
        for (int, size) in sizes {
            assert_eq!(encoded(Elem::Int(int)).len(), size, "{int}");
        }
        assert_eq!(encoded(Elem::Int(8_388_607)).len(), 4);
        assert_eq!(encoded(Elem::Int(1_700_000_000_000)).len(), 7);
        assert_eq!(encoded(Elem::Int(i64::MIN)).len(), 9);
    }

    #[test]
    fn texts_that_are_not_canonical_stay_strings() {
        for text in [
            "",
            "-",
            "-0",
            "01",
            "+1",
            " 1",
            "1 ",
            "0x1",
            "1.0",
            "9223372036854775808",
            "--1",
        ] {
            let out = encoded(Elem::Bytes(text.as_bytes()));
            let (back, _) = read(&out).unwrap();
            assert!(
                matches!(back, Elem::Bytes(b) if b == text.as_bytes()),
                "{text}"
            );
        }
    }

    #[test]
    fn strings_round_trip_around_every_length_form() {
        for len in [
            0, 1, 2, 126, 127, 128, 129, 255, 256, 4094, 4095, 4096, 4097, 70_000,
        ] {
            let text = vec![b'x'; len];
            let out = encoded(Elem::Bytes(&text));
            let head = if len < 128 {
                1
            } else if len < 4096 {
                2
            } else {
                5
            };
            assert_eq!(out.len(), len + head);
            assert!(matches!(read(&out).unwrap().0, Elem::Bytes(b) if b == text));
        }
    }

    #[test]
    fn a_cut_encoding_reads_as_the_end() {
        for elem in [
            Elem::Int(i64::MAX),
            Elem::Int(70_000),
            Elem::Bytes(&[b'x'; 300]),
        ] {
            let out = encoded(elem);
            for cut in 0..out.len() {
                assert!(read(&out[..cut]).is_none());
            }
        }
    }

    #[test]
    fn an_expiry_belongs_to_the_value_behind_it() {
        for at_ms in [0, 1, 1_700_000_000_000, MAX_EXPIRY_MS] {
            let mut out = Vec::new();
            Encoded::expiry(at_ms).append(&mut out);
            assert_eq!(span(&out), 0, "an expiry without a value is nothing");
            Encoded::new(Elem::Bytes(b"value")).append(&mut out);
            assert_eq!((span(&out), expiry_of(&out)), (out.len(), Some(at_ms)));
            let (elem, rest) = read(&out).unwrap();
            assert_eq!((elem, rest), (Elem::Bytes(b"value"), &b""[..]));
            assert_eq!(strip_expiry(&out).1, b"\x05value");
        }
        assert_eq!(strip_expiry(b"\x01a"), (&b""[..], &b"\x01a"[..]));
        assert_eq!(expiry_of(b"\x01a"), None);
    }

    #[test]
    fn equality_is_of_texts() {
        assert_eq!(Elem::Int(12), Elem::Bytes(b"12"));
        assert_ne!(Elem::Int(12), Elem::Bytes(b"012"));
        assert_eq!(Elem::Bytes(b"a").text_len(), 1);
        assert_eq!(Elem::Int(-12).to_vec(), b"-12");
    }
}

//! Listpacks: what Redis 7 packs small collections in.
//!
//! ```text
//! total bytes (u32 LE) | elements (u16 LE, 65535 = unknown) | entry ... | 0xFF
//!
//! entry = encoding and data | length of those, backwards in 7-bit groups (1 to 5 bytes)
//!
//! 0xxxxxxx                    integer 0..=127
//! 10llllll data               string up to 63 bytes
//! 110xxxxx xxxxxxxx           integer of 13 bits
//! 1110llll llllllll data      string up to 4095 bytes
//! 11110000 llll (u32 LE) data longer string
//! 11110001..11110100 xx       integer of 16, 24, 32, 64 bits, little endian
//! ```
//!
//! The reader trusts nothing: sizes must agree with each other and with the block, every entry's
//! backward length with its forward one, and the count with the entries.

use crate::base::num::parse_i64;
use crate::persist::rdb::elems::{Elem, Elems, signed_le, unsigned_le};
use crate::persist::rdb::error::BadBlock;

const HEADER: usize = 6;
const END: u8 = 0xff;
const COUNT_UNKNOWN: u32 = 0xffff;
/// Most bytes of an entry beside its data.
const MAX_FRAME: usize = 10;
/// Longest text of an i64.
const MAX_INT_TEXT: usize = 20;

/// The checked elements of a listpack.
pub struct Listpack<'a> {
    block: &'a [u8],
    at: usize,
    read: u64,
    declared: u32,
}

impl<'a> Listpack<'a> {
    /// Begins reading `block`, which must be exactly one listpack.
    pub fn new(block: &'a [u8]) -> Result<Listpack<'a>, BadBlock> {
        let (Some(&total), Some(&count)) = (
            block.first_chunk::<4>(),
            block.get(4..).and_then(<[u8]>::first_chunk::<2>),
        ) else {
            return Err(BadBlock::new("header cut", block.len()));
        };
        if u32::from_le_bytes(total) as usize != block.len() {
            return Err(BadBlock::new("total bytes are not those of the block", 0));
        }
        if block.len() <= HEADER || block.last() != Some(&END) {
            return Err(BadBlock::new("no terminator", block.len()));
        }
        Ok(Listpack {
            block,
            at: HEADER,
            read: 0,
            declared: u32::from(u16::from_le_bytes(count)),
        })
    }

    /// Number of elements the header names, unless it says that it does not know.
    pub fn declared(&self) -> Option<u32> {
        (self.declared != COUNT_UNKNOWN).then_some(self.declared)
    }

    fn finish(&self) -> Result<Option<Elem<'a>>, BadBlock> {
        if self.at + 1 != self.block.len() {
            return Err(BadBlock::new("terminator before the end", self.at));
        }
        if self.declared != COUNT_UNKNOWN && u64::from(self.declared) != self.read {
            return Err(BadBlock::new("element count is wrong", 4));
        }
        Ok(None)
    }
}

/// The element whose encoding begins `rest`, with the length of encoding and data.
fn decode(rest: &[u8]) -> Option<(Elem<'_>, usize)> {
    let (&first, after) = rest.split_first()?;
    let string = |header: usize, length: usize| {
        let data = rest.get(header..header.checked_add(length)?)?;
        Some((Elem::Bytes(data), header + length))
    };
    let int = |bytes: usize| Some((Elem::Int(signed_le(after.get(..bytes)?)), 1 + bytes));
    match first {
        0..=0x7f => Some((Elem::Int(i64::from(first)), 1)),
        0x80..=0xbf => string(1, usize::from(first & 0x3f)),
        0xc0..=0xdf => {
            let raw = (u16::from(first & 0x1f) << 8) | u16::from(*after.first()?);
            let value = ((raw << 3) as i16) >> 3;
            Some((Elem::Int(i64::from(value)), 2))
        }
        0xe0..=0xef => {
            let low = usize::from(*after.first()?);
            string(2, (usize::from(first & 0x0f) << 8) | low)
        }
        0xf0 => string(5, unsigned_le(after.get(..4)?) as usize),
        0xf1 => int(2),
        0xf2 => int(3),
        0xf3 => int(4),
        0xf4 => int(8),
        _ => None,
    }
}

/// The backward length of an entry of `length` bytes: its bytes and how many of them count.
fn back_length(length: usize) -> ([u8; 5], usize) {
    // The bounds are Redis's: 16383 itself already takes three bytes, and so on.
    let groups = match length {
        0..=127 => 1,
        128..=16_382 => 2,
        16_383..=2_097_150 => 3,
        2_097_151..=268_435_454 => 4,
        _ => 5,
    };
    let mut bytes = [0; 5];
    for (index, byte) in bytes.iter_mut().take(groups).enumerate() {
        let shift = 7 * (groups - 1 - index);
        let more = if index == 0 { 0 } else { 0x80 };
        *byte = ((length >> shift) & 0x7f) as u8 | more;
    }
    (bytes, groups)
}

impl<'a> Elems<'a> for Listpack<'a> {
    fn next_elem(&mut self) -> Result<Option<Elem<'a>>, BadBlock> {
        let rest = self.block.get(self.at..).unwrap_or_default();
        if rest.first() == Some(&END) {
            return self.finish();
        }
        let Some((piece, length)) = decode(rest) else {
            return Err(BadBlock::new("entry is malformed or cut", self.at));
        };
        let (back, groups) = back_length(length);
        if rest.get(length..length + groups) != back.get(..groups) {
            return Err(BadBlock::new("backward length is wrong", self.at + length));
        }
        self.at += length + groups;
        self.read += 1;
        if self.at >= self.block.len() {
            return Err(BadBlock::new("entry overlaps the terminator", self.at));
        }
        Ok(Some(piece))
    }

    fn at(&self) -> usize {
        self.at
    }
}

/// The entries of a listpack whose frame [`Listpack::new`] has checked.
pub(super) fn entries(block: &[u8]) -> &[u8] {
    let end = block.len().saturating_sub(1);
    block.get(HEADER..end).unwrap_or_default()
}

/// A listpack being built. Reusable: [`Builder::clear`] keeps the allocation.
#[derive(Default)]
pub struct Builder {
    block: Vec<u8>,
    count: u64,
}

impl Builder {
    /// Forgets the elements.
    pub fn clear(&mut self) {
        self.block.clear();
        self.count = 0;
    }

    /// Keeps no more memory than this for what comes after [`Builder::clear`].
    pub fn shrink_to(&mut self, bytes: usize) {
        self.block.shrink_to(bytes);
    }

    /// Number of elements.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Bytes so far, without the terminator.
    pub fn len_bytes(&self) -> usize {
        self.block.len().max(HEADER)
    }

    /// Appends an element, as an integer where its text is one.
    pub fn push(&mut self, bytes: &[u8]) {
        if bytes.len() <= MAX_INT_TEXT
            && let Some(int) = parse_i64(bytes)
        {
            return self.push_int(int);
        }
        self.begin();
        let length = bytes.len();
        self.block.reserve(MAX_FRAME + length);
        let header = match length {
            0..=63 => {
                self.block.push(0x80 | length as u8);
                1
            }
            64..=4095 => {
                let [high, low] = (length as u16).to_be_bytes();
                self.block.extend_from_slice(&[0xe0 | high, low]);
                2
            }
            _ => {
                self.block.push(0xf0);
                self.block.extend_from_slice(&(length as u32).to_le_bytes());
                5
            }
        };
        self.block.extend_from_slice(bytes);
        self.end_entry(header + length);
    }

    /// Appends an integer.
    pub fn push_int(&mut self, int: i64) {
        self.begin();
        let bytes = int.to_le_bytes();
        let (tag, count) = match int {
            0..=127 => {
                self.block.extend_from_slice(&[int as u8, 1]);
                self.count += 1;
                return;
            }
            -4096..=4095 => {
                let (high, low) = ((int >> 8) & 0x1f, int & 0xff);
                self.block
                    .extend_from_slice(&[0xc0 | high as u8, low as u8]);
                return self.end_entry(2);
            }
            -32_768..=32_767 => (0xf1, 2),
            -8_388_608..=8_388_607 => (0xf2, 3),
            -2_147_483_648..=2_147_483_647 => (0xf3, 4),
            _ => (0xf4, 8),
        };
        self.block.push(tag);
        self.block
            .extend_from_slice(bytes.get(..count).unwrap_or_default());
        self.end_entry(1 + count);
    }

    /// Appends an element as it was read.
    pub fn push_elem(&mut self, piece: Elem<'_>) {
        match piece {
            Elem::Bytes(bytes) => self.push(bytes),
            Elem::Int(int) => self.push_int(int),
        }
    }

    /// Appends `count` entries in their encoded form, which must be sound.
    pub fn append_entries(&mut self, entries: &[u8], count: u64) {
        self.begin();
        self.block.extend_from_slice(entries);
        self.count += count;
    }

    #[inline]
    fn begin(&mut self) {
        if self.block.is_empty() {
            self.block.extend_from_slice(&[0; HEADER]);
        }
    }

    #[inline]
    fn end_entry(&mut self, length: usize) {
        self.count += 1;
        if length <= 127 {
            return self.block.push(length as u8);
        }
        let (back, groups) = back_length(length);
        self.block
            .extend_from_slice(back.get(..groups).unwrap_or_default());
    }

    /// Completes the listpack and lends it; call [`Builder::clear`] before building another.
    ///
    /// A listpack is limited to 4 GiB by its header. Callers bound what they pack far below.
    pub fn finish(&mut self) -> &[u8] {
        self.begin();
        self.block.push(END);
        let total = (self.block.len() as u32).to_le_bytes();
        let count = u16::try_from(self.count).unwrap_or(u16::MAX).to_le_bytes();
        if let Some(header) = self.block.first_chunk_mut::<HEADER>() {
            let ([a, b, c, d], [e, f]) = (total, count);
            *header = [a, b, c, d, e, f];
        }
        &self.block
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::persist::rdb::elems::collect;
    use proptest::prelude::*;

    fn pack(elements: &[&[u8]]) -> Vec<u8> {
        let mut builder = Builder::default();
        for element in elements {
            builder.push(element);
        }
        builder.finish().to_vec()
    }

    fn unpack(block: &[u8]) -> Result<Vec<Vec<u8>>, BadBlock> {
        collect(Listpack::new(block)?)
    }

    #[test]
    fn a_listpack_of_redis_is_read_and_written_alike() {
        // The payload of `ZADD k 1 a 2 b 3 c` without type and footer.
        let block = b"\x16\x00\x00\x00\x06\x00\x81\x61\x02\x01\x01\x81\x62\x02\x02\x01\x81\x63\x02\
                      \x03\x01\xff";
        let elements: [&[u8]; 6] = [b"a", b"1", b"b", b"2", b"c", b"3"];
        assert_eq!(unpack(block).unwrap(), elements);
        assert_eq!(pack(&elements), block);
    }

    #[test]
    fn every_integer_width_and_string_header_survives() {
        let long = vec![b'x'; 5000];
        let longer = vec![b'y'; 70_000];
        let elements: Vec<&[u8]> = vec![
            b"0",
            b"127",
            b"128",
            b"-1",
            b"4095",
            b"-4096",
            b"4096",
            b"-4097",
            b"32767",
            b"-32768",
            b"32768",
            b"8388607",
            b"-8388608",
            b"8388608",
            b"2147483647",
            b"-2147483648",
            b"2147483648",
            b"9223372036854775807",
            b"-9223372036854775808",
            b"9223372036854775808",
            b"-0",
            b"01",
            b"",
            b"-",
            &long[..63],
            &long[..64],
            &long[..4095],
            &long[..4096],
            &long[..124],
            &long[..125],
            &long[..126],
            &long[..127],
            &longer[..16_378],
            &longer[..16_377],
            &longer,
        ];
        assert_eq!(unpack(&pack(&elements)).unwrap(), elements);
    }

    #[test]
    fn a_count_above_sixteen_bits_is_left_unknown() {
        let many: Vec<&[u8]> = vec![b"1"; 70_000];
        let block = pack(&many);
        assert_eq!(block[4..6], [0xff, 0xff]);
        assert_eq!(Listpack::new(&block).unwrap().declared(), None);
        assert_eq!(unpack(&block).unwrap().len(), 70_000);
    }

    #[test]
    fn every_damaged_field_is_found() {
        let good = pack(&[b"hello", b"77", b"-5000"]);
        assert_eq!(Listpack::new(&good).unwrap().declared(), Some(3));
        for at in 0..good.len() {
            assert!(unpack(&good[..at]).is_err(), "cut at {at}");
        }
        let mut damaged = good.clone();
        damaged[0] += 1;
        assert_eq!(unpack(&damaged).unwrap_err().at, 0);
        let mut damaged = good.clone();
        damaged[4] += 1;
        assert_eq!(unpack(&damaged).unwrap_err().what, "element count is wrong");
        let mut damaged = good.clone();
        damaged[6] = 0x8f;
        assert!(unpack(&damaged).is_err());
        let mut damaged = good.clone();
        damaged[12] = 5;
        assert_eq!(
            unpack(&damaged).unwrap_err().what,
            "backward length is wrong"
        );
        let mut damaged = good;
        damaged[13] = 0xf5;
        assert_eq!(
            unpack(&damaged).unwrap_err().what,
            "entry is malformed or cut"
        );
    }

    #[test]
    fn a_declared_string_length_is_not_believed() {
        let block = b"\x0d\0\0\0\x01\0\xf0\xff\xff\xff\xff\x05\xff";
        assert_eq!(unpack(block).unwrap_err().at, 6);
    }

    proptest! {
        #[test]
        fn any_elements_survive(elements in prop::collection::vec(
            prop_oneof![
                any::<i64>().prop_map(|int| int.to_string().into_bytes()),
                prop::collection::vec(any::<u8>(), 0..200),
            ], 0..40))
        {
            let borrowed: Vec<&[u8]> = elements.iter().map(Vec::as_slice).collect();
            prop_assert_eq!(unpack(&pack(&borrowed)).unwrap(), elements);
        }

        #[test]
        fn any_bytes_are_read_or_refused(mut block in prop::collection::vec(any::<u8>(), 7..80)) {
            let total = (block.len() as u32).to_le_bytes();
            block[..4].copy_from_slice(&total);
            *block.last_mut().unwrap() = END;
            let _ = unpack(&block);
        }
    }
}

//! Ziplists: what Redis packed small collections in before version 7.
//!
//! ```text
//! total bytes (u32 LE) | offset of last entry (u32 LE) | entries (u16 LE, 65535 = unknown)
//! entry ... | 0xFF
//!
//! entry = length of the previous entry | encoding | data
//! length of the previous entry: one byte up to 253, or 0xFE and u32 LE
//!
//! 00llllll data               string up to 63 bytes
//! 01llllll llllllll data      string up to 16383 bytes
//! 10______ llll (u32 BE) data longer string
//! 1100 0000, 1101 0000, 1110 0000   integer of 16, 32, 64 bits, little endian
//! 1111 0000, 1111 1110              integer of 24, of 8 bits
//! 1111 xxxx                         integer xxxx-1 for xxxx of 1..=13
//! ```
//!
//! Read only: nothing is written in this form any more.

use crate::persist::rdb::elems::{Elem, Elems, signed_le, unsigned_le};
use crate::persist::rdb::error::BadBlock;

const HEADER: usize = 10;
const END: u8 = 0xff;
const BIG_PREVIOUS: u8 = 0xfe;
const COUNT_UNKNOWN: u32 = 0xffff;

/// The checked elements of a ziplist.
pub struct Ziplist<'a> {
    block: &'a [u8],
    at: usize,
    previous_length: usize,
    last_entry: Option<usize>,
    declared_tail: usize,
    declared_count: u32,
    read: u64,
}

impl<'a> Ziplist<'a> {
    /// Begins reading `block`, which must be exactly one ziplist.
    pub fn new(block: &'a [u8]) -> Result<Ziplist<'a>, BadBlock> {
        let field = |from: usize, to: usize| block.get(from..to).map(unsigned_le);
        let (Some(total), Some(tail), Some(count)) = (field(0, 4), field(4, 8), field(8, 10))
        else {
            return Err(BadBlock::new("header cut", block.len()));
        };
        if total as usize != block.len() {
            return Err(BadBlock::new("total bytes are not those of the block", 0));
        }
        if block.len() <= HEADER || block.last() != Some(&END) {
            return Err(BadBlock::new("no terminator", block.len()));
        }
        let declared_tail = tail as usize;
        if declared_tail >= block.len() {
            return Err(BadBlock::new("last entry outside the block", 4));
        }
        Ok(Ziplist {
            block,
            at: HEADER,
            previous_length: 0,
            last_entry: None,
            declared_tail,
            declared_count: count,
            read: 0,
        })
    }

    fn finish(&self) -> Result<Option<Elem<'a>>, BadBlock> {
        if self.at + 1 != self.block.len() {
            return Err(BadBlock::new("terminator before the end", self.at));
        }
        if self.last_entry.is_some_and(|at| at != self.declared_tail) {
            return Err(BadBlock::new("offset of the last entry is wrong", 4));
        }
        if self.declared_count != COUNT_UNKNOWN && u64::from(self.declared_count) != self.read {
            return Err(BadBlock::new("element count is wrong", 8));
        }
        Ok(None)
    }
}

/// The length of the previous entry, and how many bytes say so.
fn previous_length(rest: &[u8]) -> Option<(usize, usize)> {
    match rest.split_first()? {
        (&BIG_PREVIOUS, after) => Some((unsigned_le(after.get(..4)?) as usize, 5)),
        (&small, _) => Some((usize::from(small), 1)),
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
        0..=0x3f => string(1, usize::from(first)),
        0x40..=0x7f => {
            let low = usize::from(*after.first()?);
            string(2, (usize::from(first & 0x3f) << 8) | low)
        }
        0x80..=0xbf => string(5, u32::from_be_bytes(*after.first_chunk()?) as usize),
        0xc0 => int(2),
        0xd0 => int(4),
        0xe0 => int(8),
        0xf0 => int(3),
        0xfe => int(1),
        0xf1..=0xfd => Some((Elem::Int(i64::from(first & 0x0f) - 1), 1)),
        _ => None,
    }
}

impl<'a> Elems<'a> for Ziplist<'a> {
    fn next_elem(&mut self) -> Result<Option<Elem<'a>>, BadBlock> {
        let rest = self.block.get(self.at..).unwrap_or_default();
        if rest.first() == Some(&END) {
            return self.finish();
        }
        let Some((previous, header)) = previous_length(rest) else {
            return Err(BadBlock::new("entry cut", self.at));
        };
        if previous != self.previous_length {
            return Err(BadBlock::new(
                "length of the previous entry is wrong",
                self.at,
            ));
        }
        let Some((piece, length)) = rest.get(header..).and_then(decode) else {
            return Err(BadBlock::new("entry is malformed or cut", self.at));
        };
        self.last_entry = Some(self.at);
        self.previous_length = header + length;
        self.at += header + length;
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

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::persist::rdb::elems::collect;
    use proptest::prelude::*;

    fn encode(element: &[u8]) -> Vec<u8> {
        let text = std::str::from_utf8(element).unwrap_or("");
        if let Ok(int) = text.parse::<i64>()
            && int.to_string() == text
        {
            let bytes = int.to_le_bytes();
            let tagged = |tag: u8, count: usize| {
                let mut out = vec![tag];
                out.extend_from_slice(&bytes[..count]);
                out
            };
            return match int {
                0..=12 => vec![0xf1 + int as u8],
                -128..=127 => tagged(0xfe, 1),
                -32_768..=32_767 => tagged(0xc0, 2),
                -8_388_608..=8_388_607 => tagged(0xf0, 3),
                -2_147_483_648..=2_147_483_647 => tagged(0xd0, 4),
                _ => tagged(0xe0, 8),
            };
        }
        let length = element.len();
        let mut out = match length {
            0..=63 => vec![length as u8],
            64..=16_383 => vec![0x40 | (length >> 8) as u8, length as u8],
            _ => {
                let mut header = vec![0x80];
                header.extend_from_slice(&(length as u32).to_be_bytes());
                header
            }
        };
        out.extend_from_slice(element);
        out
    }

    /// A ziplist by the format's description, for tests of everything that reads one.
    pub fn build(elements: &[&[u8]]) -> Vec<u8> {
        let mut block = vec![0; HEADER];
        let mut previous = 0usize;
        let mut tail = HEADER;
        for element in elements {
            tail = block.len();
            if previous < 254 {
                block.push(previous as u8);
            } else {
                block.push(BIG_PREVIOUS);
                block.extend_from_slice(&(previous as u32).to_le_bytes());
            }
            block.extend(encode(element));
            previous = block.len() - tail;
        }
        block.push(END);
        let total = (block.len() as u32).to_le_bytes();
        block[..4].copy_from_slice(&total);
        block[4..8].copy_from_slice(&(tail as u32).to_le_bytes());
        let count = u16::try_from(elements.len()).unwrap_or(u16::MAX);
        block[8..10].copy_from_slice(&count.to_le_bytes());
        block
    }

    fn unpack(block: &[u8]) -> Result<Vec<Vec<u8>>, BadBlock> {
        collect(Ziplist::new(block)?)
    }

    #[test]
    fn a_ziplist_of_redis_is_read() {
        // `RPUSH l 2 5` of Redis 2.6, from the format's description in Redis.
        let block = b"\x0f\0\0\0\x0c\0\0\0\x02\0\0\xf3\x02\xf6\xff";
        assert_eq!(unpack(block).unwrap(), [b"2", b"5"]);
        assert_eq!(build(&[b"2", b"5"]), block);
    }

    #[test]
    fn every_encoding_is_read_exactly() {
        let long = vec![b'z'; 20_000];
        let elements: Vec<&[u8]> = vec![
            b"0",
            b"12",
            b"13",
            b"-1",
            b"127",
            b"-128",
            b"128",
            b"32767",
            b"-32768",
            b"32768",
            b"8388607",
            b"-8388608",
            b"8388608",
            b"-2147483648",
            b"2147483648",
            b"9223372036854775807",
            b"-9223372036854775808",
            b"",
            b"x",
            &long[..63],
            &long[..64],
            &long[..16_383],
            &long[..16_384],
            b"after a long one",
            &long[..252],
            &long[..251],
            b"7",
        ];
        assert_eq!(unpack(&build(&elements)).unwrap(), elements);
        assert!(unpack(&build(&[])).unwrap().is_empty());
    }

    #[test]
    fn every_damaged_field_is_found() {
        let good = build(&[b"hello", b"77", b"world"]);
        for at in 0..good.len() {
            assert!(unpack(&good[..at]).is_err(), "cut at {at}");
        }
        for (at, what) in [
            (0, "total bytes are not those of the block"),
            (4, "offset of the last entry is wrong"),
            (5, "last entry outside the block"),
            (8, "element count is wrong"),
            (10, "length of the previous entry is wrong"),
            (17, "length of the previous entry is wrong"),
        ] {
            let mut damaged = good.clone();
            damaged[at] += 1;
            assert_eq!(unpack(&damaged).unwrap_err().what, what, "byte {at}");
        }
        let mut damaged = good;
        damaged[18] = 0xff;
        assert_eq!(
            unpack(&damaged).unwrap_err().what,
            "entry is malformed or cut"
        );
    }

    proptest! {
        #[test]
        fn any_elements_survive(elements in prop::collection::vec(
            prop_oneof![
                any::<i64>().prop_map(|int| int.to_string().into_bytes()),
                prop::collection::vec(any::<u8>(), 0..300),
            ], 0..30))
        {
            let borrowed: Vec<&[u8]> = elements.iter().map(Vec::as_slice).collect();
            prop_assert_eq!(unpack(&build(&borrowed)).unwrap(), elements);
        }

        #[test]
        fn any_mutation_is_read_or_refused(at in 4usize..60, byte in any::<u8>()) {
            let mut block = build(&[b"hello", b"77", b"-700000", b"a longer string", b"", b"1"]);
            let at = at % block.len();
            block[at] = byte;
            let _ = unpack(&block);
        }
    }
}

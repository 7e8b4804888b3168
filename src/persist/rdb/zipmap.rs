//! Zipmaps: small hashes of Redis before 2.6.
//!
//! ```text
//! pairs (u8, 254 = unknown) | entry ... | 0xFF
//! entry = length | field | length | unused bytes (u8) | value | the unused bytes
//! length: one byte up to 253, or 0xFE and u32 LE
//! ```
//!
//! Read only. Elements come as field, value, field, value.

use crate::persist::rdb::elems::{Elem, Elems, unsigned_le};
use crate::persist::rdb::error::BadBlock;

const END: u8 = 0xff;
const BIG: u8 = 0xfe;

/// The checked fields and values of a zipmap.
pub struct Zipmap<'a> {
    block: &'a [u8],
    at: usize,
    declared: u8,
    pairs: u64,
    value_next: bool,
}

impl<'a> Zipmap<'a> {
    /// Begins reading `block`, which must be exactly one zipmap.
    pub fn new(block: &'a [u8]) -> Result<Zipmap<'a>, BadBlock> {
        let [declared, .., END] = block else {
            return Err(BadBlock::new("no terminator", block.len()));
        };
        Ok(Zipmap {
            block,
            at: 1,
            declared: *declared,
            pairs: 0,
            value_next: false,
        })
    }

    fn finish(&self) -> Result<Option<Elem<'a>>, BadBlock> {
        if self.at + 1 != self.block.len() {
            return Err(BadBlock::new("terminator before the end", self.at));
        }
        if self.pairs == 0 {
            return Err(BadBlock::new("no entries", self.at));
        }
        if self.declared != BIG && u64::from(self.declared) != self.pairs {
            return Err(BadBlock::new("pair count is wrong", 0));
        }
        Ok(None)
    }

    /// Reads a length and, after a value's length, the count of unused bytes behind it.
    fn entry(&self) -> Option<(&'a [u8], usize)> {
        let rest = self.block.get(self.at..)?;
        let (length, mut header) = match rest.split_first()? {
            (&END, _) => return None,
            (&BIG, after) => (unsigned_le(after.get(..4)?) as usize, 5),
            (&small, _) => (usize::from(small), 1),
        };
        let mut unused = 0;
        if self.value_next {
            unused = usize::from(*rest.get(header)?);
            header += 1;
        }
        let end = header.checked_add(length)?;
        let data = rest.get(header..end)?;
        Some((data, end + unused))
    }
}

impl<'a> Elems<'a> for Zipmap<'a> {
    fn next_elem(&mut self) -> Result<Option<Elem<'a>>, BadBlock> {
        if !self.value_next && self.block.get(self.at) == Some(&END) {
            return self.finish();
        }
        let Some((data, length)) = self.entry() else {
            return Err(BadBlock::new("entry is malformed or cut", self.at));
        };
        self.at += length;
        if self.at >= self.block.len() {
            return Err(BadBlock::new("entry overlaps the terminator", self.at));
        }
        self.pairs += u64::from(self.value_next);
        self.value_next = !self.value_next;
        Ok(Some(Elem::Bytes(data)))
    }

    fn at(&self) -> usize {
        self.at
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::persist::rdb::elems::collect;
    use proptest::prelude::*;

    fn unpack(block: &[u8]) -> Result<Vec<Vec<u8>>, BadBlock> {
        collect(Zipmap::new(block)?)
    }

    #[test]
    fn unused_bytes_behind_a_value_are_skipped() {
        let block = b"\x02\x03foo\x03\x00bar\x05hello\x05\x02world..\xff";
        let expected: [&[u8]; 4] = [b"foo", b"bar", b"hello", b"world"];
        assert_eq!(unpack(block).unwrap(), expected);
    }

    #[test]
    fn long_values_have_a_four_byte_length() {
        let mut block = b"\xfe\x01k\xfe\x2c\x01\0\0\0".to_vec();
        block.extend(vec![b'v'; 300]);
        block.push(END);
        assert_eq!(unpack(&block).unwrap(), [b"k".to_vec(), vec![b'v'; 300]]);
    }

    #[test]
    fn every_damaged_field_is_found() {
        let good = b"\x02\x03foo\x03\x00bar\x05hello\x05\x02world..\xff";
        for at in 0..good.len() {
            assert!(unpack(&good[..at]).is_err(), "cut at {at}");
        }
        for (at, byte) in [(0, 3), (1, 2), (5, 200), (5, 0xff), (6, 1), (16, 200)] {
            let mut damaged = good.to_vec();
            damaged[at] = byte;
            assert!(unpack(&damaged).is_err(), "byte {at} = {byte}");
        }
        assert!(unpack(b"\x00\xff").is_err());
        assert!(unpack(b"\x01\x01k\xfe\xff\xff\xff\xff\x00v\xff").is_err());
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(mut block in prop::collection::vec(any::<u8>(), 2..60)) {
            *block.last_mut().unwrap() = END;
            let _ = unpack(&block);
        }
    }
}

//! Intsets: sets of integers, sorted, in one width.
//!
//! ```text
//! width in bytes (u32 LE: 2, 4 or 8) | members (u32 LE) | member (LE) ...
//! ```
//!
//! Members must ascend strictly: that is also the proof that none comes twice.

use crate::persist::rdb::elems::{Elem, Elems, signed_le, unsigned_le};
use crate::persist::rdb::error::BadBlock;

const HEADER: usize = 8;

/// The checked members of an intset.
pub struct Intset<'a> {
    rest: std::slice::ChunksExact<'a, u8>,
    width: usize,
    read: usize,
    previous: Option<i64>,
}

impl<'a> Intset<'a> {
    /// Begins reading `block`, which must be exactly one non-empty intset.
    pub fn new(block: &'a [u8]) -> Result<Intset<'a>, BadBlock> {
        let Some((header, members)) = block.split_at_checked(HEADER) else {
            return Err(BadBlock::new("header cut", block.len()));
        };
        let (width, count) = header.split_at(4);
        let (width, count) = (unsigned_le(width), unsigned_le(count));
        if !matches!(width, 2 | 4 | 8) {
            return Err(BadBlock::new("width is not 2, 4 or 8", 0));
        }
        if u64::from(count) * u64::from(width) != members.len() as u64 {
            return Err(BadBlock::new("member count is not that of the block", 4));
        }
        if count == 0 {
            return Err(BadBlock::new("no members", 4));
        }
        let width = width as usize;
        Ok(Intset {
            rest: members.chunks_exact(width),
            width,
            read: 0,
            previous: None,
        })
    }

    /// Number of members, which the length of the block has confirmed.
    pub fn count(&self) -> usize {
        self.rest.len()
    }
}

impl<'a> Elems<'a> for Intset<'a> {
    fn next_elem(&mut self) -> Result<Option<Elem<'a>>, BadBlock> {
        let Some(bytes) = self.rest.next() else {
            return Ok(None);
        };
        let member = signed_le(bytes);
        if self.previous.is_some_and(|previous| previous >= member) {
            return Err(BadBlock::new("members do not ascend", self.at()));
        }
        self.previous = Some(member);
        self.read += 1;
        Ok(Some(Elem::Int(member)))
    }

    fn at(&self) -> usize {
        HEADER + self.read * self.width
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::persist::rdb::elems::collect;
    use proptest::prelude::*;

    /// Appends the intset of `members`, which ascend strictly, in the narrowest width.
    pub fn build(members: &[i64], out: &mut Vec<u8>) {
        let bounds = members.first().zip(members.last());
        let fits =
            |low: i64, high: i64| bounds.is_none_or(|(&min, &max)| min >= low && max <= high);
        let width = if fits(i64::from(i16::MIN), i64::from(i16::MAX)) {
            2
        } else if fits(i64::from(i32::MIN), i64::from(i32::MAX)) {
            4
        } else {
            8
        };
        out.reserve(HEADER + members.len() * width);
        out.extend_from_slice(&(width as u32).to_le_bytes());
        out.extend_from_slice(&(members.len() as u32).to_le_bytes());
        for member in members {
            out.extend(member.to_le_bytes().iter().take(width));
        }
    }

    fn unpack(block: &[u8]) -> Result<Vec<Vec<u8>>, BadBlock> {
        collect(Intset::new(block)?)
    }

    #[test]
    fn each_width_is_read() {
        assert_eq!(
            unpack(b"\x02\0\0\0\x02\0\0\0\xfe\xff\x05\0").unwrap(),
            [&b"-2"[..], b"5"]
        );
        assert_eq!(
            unpack(b"\x04\0\0\0\x01\0\0\0\x40\x0d\x03\0").unwrap(),
            [b"200000"]
        );
        let big = b"\x08\0\0\0\x01\0\0\0\0\0\0\0\0\0\0\x80";
        assert_eq!(unpack(big).unwrap(), [b"-9223372036854775808"]);
    }

    #[test]
    fn every_damaged_field_is_found() {
        assert_eq!(unpack(b"\x03\0\0\0\x01\0\0\0abc").unwrap_err().at, 0);
        assert_eq!(unpack(b"\x02\0\0\0\x02\0\0\0ab").unwrap_err().at, 4);
        assert_eq!(unpack(b"\x02\0\0\0\xff\xff\xff\xffab").unwrap_err().at, 4);
        assert_eq!(
            unpack(b"\x02\0\0\0\0\0\0\0").unwrap_err().what,
            "no members"
        );
        assert_eq!(
            unpack(b"\x02\0\0\0\x02\0\0\0\x05\0\x05\0").unwrap_err().at,
            10
        );
        assert_eq!(
            unpack(b"\x02\0\0\0\x02\0\0\0\x05\0\x04\0").unwrap_err().at,
            10
        );
        assert_eq!(unpack(b"\x02\0\0").unwrap_err().what, "header cut");
    }

    proptest! {
        #[test]
        fn any_members_survive(members in prop::collection::btree_set(
            prop_oneof![any::<i64>(), -40_000i64..40_000, any::<i32>().prop_map(i64::from)], 1..50))
        {
            let members: Vec<i64> = members.into_iter().collect();
            let mut block = Vec::new();
            build(&members, &mut block);
            let expected: Vec<Vec<u8>> =
                members.iter().map(|m| m.to_string().into_bytes()).collect();
            prop_assert_eq!(unpack(&block).unwrap(), expected);
        }
    }
}

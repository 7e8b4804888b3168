//! All records of a page as they lie in memory, so that the processor reads ahead.

use super::super::super::packed::{expiry_of, strip_expiry};
use super::{Page, Record, index_bytes};

/// Records of a page, in the order of their insertion.
#[derive(Clone)]
pub(in super::super) struct Records<'a, const VALUES: bool> {
    page: &'a Page<VALUES>,
    rest: &'a [u8],
}

impl<const VALUES: bool> Page<VALUES> {
    /// All records.
    pub fn records(&self) -> Records<'_, VALUES> {
        let begin = index_bytes(self.len());
        Records {
            page: self,
            rest: self.block.bytes().get(begin..).unwrap_or_default(),
        }
    }
}

impl<'a, const VALUES: bool> Iterator for Records<'a, VALUES> {
    type Item = Record<'a>;

    #[inline]
    fn next(&mut self) -> Option<Record<'a>> {
        let (key, rest) = self.page.elem(self.rest)?;
        if !VALUES {
            self.rest = rest;
            return Some(Record::of_key(key));
        }
        let expire_ms = expiry_of(rest);
        let (value, rest) = self.page.elem(strip_expiry(rest).1)?;
        self.rest = rest;
        Some(Record {
            key,
            value,
            expire_ms,
        })
    }
}

//! A page in the making, out of the records of others: what splits and merges build.

use std::sync::Arc;

use bytes::Bytes;

use super::super::super::packed::{Block, Encoded, expiry_of, span, strip_expiry};
use super::super::NEVER;
use super::{Entry, Page, index_bytes};

/// A page in the making.
pub(super) struct Builder<const VALUES: bool> {
    entries: Vec<Entry>,
    records: Vec<u8>,
    outside: Vec<Bytes>,
    earliest: i64,
    pub(super) shift: u8,
}

impl<const VALUES: bool> Builder<VALUES> {
    pub(super) fn new(shift: u8) -> Self {
        Builder {
            entries: Vec::new(),
            records: Vec::new(),
            outside: Vec::new(),
            earliest: NEVER,
            shift,
        }
    }

    /// Copies an encoded record of another page.
    pub(super) fn push(&mut self, page: &Page<VALUES>, record: &[u8], fragment: u16) {
        let offset = self.records.len() as u16;
        self.entries.push(Entry { fragment, offset });
        if page.earliest != NEVER {
            let value = record.get(span(record)..).unwrap_or_default();
            self.earliest = expiry_of(value).map_or(self.earliest, |at| at.min(self.earliest));
        }
        if page.outside.is_none() {
            self.records.extend_from_slice(record);
            return;
        }
        let (key, value) = record.split_at_checked(span(record)).unwrap_or_default();
        for elem in [key, value] {
            let (expiry, elem) = strip_expiry(elem);
            self.records.extend_from_slice(expiry);
            match page.outside(elem) {
                Some(bytes) => {
                    Encoded::outside(self.outside.len() as u16).append(&mut self.records);
                    self.outside.push(bytes.clone());
                }
                None => self.records.extend_from_slice(elem),
            }
        }
    }

    pub(super) fn finish(mut self) -> Page<VALUES> {
        self.entries.sort_unstable();
        let len = self.entries.len();
        let mut index: Vec<u8> = self.entries.iter().flat_map(|entry| entry.raw()).collect();
        index.resize(index_bytes(len), 0);
        Page {
            block: Block::concat(&[&index, &self.records]),
            outside: (!self.outside.is_empty()).then(|| Arc::new(self.outside)),
            earliest: self.earliest,
            len: len as u16,
            shift: self.shift,
        }
    }
}

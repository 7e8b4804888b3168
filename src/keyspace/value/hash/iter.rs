//! The records of a hash, one after the other.

use super::super::packed::{self, Packed};
use super::super::pages::{self, Record};

/// The elements of a packed hash, two by two.
pub(super) struct Pairs<'a>(packed::Iter<'a>);

/// The records of a packed hash.
pub(super) fn pairs(packed: &Packed) -> Pairs<'_> {
    Pairs(packed.iter())
}

impl<'a> Pairs<'a> {
    /// From an iterator that stands before a field.
    pub(super) fn new(elems: packed::Iter<'a>) -> Pairs<'a> {
        Pairs(elems)
    }
}

#[inline]
fn next_pair<'a>(elems: &mut packed::Iter<'a>) -> Option<Record<'a>> {
    let key = elems.next()?;
    let (value, expire_ms) = elems.next_value()?;
    Some(Record {
        key,
        value,
        expire_ms,
    })
}

impl<'a> Iterator for Pairs<'a> {
    type Item = Record<'a>;

    fn next(&mut self) -> Option<Record<'a>> {
        next_pair(&mut self.0)
    }
}

/// Fields and values of a hash.
#[derive(Clone)]
pub enum Iter<'a> {
    /// Of a packed block.
    Small(packed::Iter<'a>),
    /// Of pages.
    Large(pages::Iter<'a, true>),
}

impl<'a> Iterator for Iter<'a> {
    type Item = Record<'a>;

    fn next(&mut self) -> Option<Record<'a>> {
        match self {
            Iter::Small(elems) => next_pair(elems),
            Iter::Large(records) => records.next(),
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = match self {
            Iter::Small(elems) => elems.len() / 2,
            Iter::Large(records) => records.len(),
        };
        (left, Some(left))
    }
}

impl ExactSizeIterator for Iter<'_> {}

//! A small hash with expiries: a packed block, and what is known of its expiries as a whole.
//!
//! `volatile` and `earliest` always agree with the block. When the earliest expiry goes, the block
//! is walked for the next one, as any change of it walks it.

use super::super::packed::{Elem, Packed};
use super::super::pages::Lifetime;
use super::iter::pairs;

#[derive(Clone)]
pub(super) struct Timed {
    packed: Packed,
    /// Fields that have an expiry.
    volatile: usize,
    /// The earliest expiry, if a field has one.
    earliest: Option<i64>,
}

impl Timed {
    /// The state of a block.
    pub fn new(packed: Packed) -> Timed {
        let mut timed = Timed {
            packed,
            volatile: 0,
            earliest: None,
        };
        timed.volatile = timed.expiries().count();
        timed.earliest = timed.expiries().min();
        timed
    }

    fn expiries(&self) -> impl Iterator<Item = i64> {
        pairs(&self.packed).filter_map(|record| record.expire_ms)
    }

    pub fn packed(&self) -> &Packed {
        &self.packed
    }

    pub fn volatile(&self) -> usize {
        self.volatile
    }

    pub fn next_expiry(&self) -> Option<i64> {
        self.earliest
    }

    /// Follows the change of a field's expiry, which the block shows already.
    fn note(&mut self, before: Option<i64>, after: Option<i64>) {
        if before == after {
            return;
        }
        self.volatile += usize::from(after.is_some());
        self.volatile -= usize::from(before.is_some());
        if before.is_some() && before == self.earliest {
            self.earliest = self.expiries().min();
        } else if let Some(at_ms) = after {
            self.earliest = Some(self.earliest.map_or(at_ms, |first| first.min(at_ms)));
        }
    }

    /// Sets a field; true if it is new.
    pub fn set(&mut self, field: Elem<'_>, value: Elem<'_>, lifetime: Lifetime) -> bool {
        let found = self.packed.find::<2>(field);
        let (pos, before) = match found {
            Some((_, pos)) => {
                let pos = self.packed.next(pos);
                let before = self.packed.expiry_at(pos);
                self.packed.replace_at(pos, value);
                (pos, before)
            }
            None => {
                let pos = self.packed.end();
                self.packed.push_pair(field, value);
                (self.packed.next(pos), None)
            }
        };
        let after = match lifetime {
            Lifetime::Endless => None,
            Lifetime::Kept => before,
            Lifetime::Until(at_ms) => Some(at_ms),
        };
        if after.is_some() {
            self.packed.set_expiry_at(pos, after);
        }
        self.note(before, after);
        found.is_none()
    }

    /// Sets or clears the expiry of a field that is there.
    pub fn set_expiry(&mut self, field: Elem<'_>, expire_ms: Option<i64>) {
        if let Some((_, pos)) = self.packed.find::<2>(field) {
            let pos = self.packed.next(pos);
            let before = self.packed.expiry_at(pos);
            self.packed.set_expiry_at(pos, expire_ms);
            self.note(before, expire_ms);
        }
    }

    /// Removes a field; false if it is not there.
    pub fn remove<'e>(&mut self, field: impl Into<Elem<'e>>) -> bool {
        let Some((_, pos)) = self.packed.find::<2>(field) else {
            return false;
        };
        let before = self.packed.expiry_at(self.packed.next(pos));
        self.packed.remove_at(pos, 2);
        self.note(before, None);
        true
    }
}

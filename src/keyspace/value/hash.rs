//! `Hash`: fields and their values, and when they expire.
//!
//! Small (`listpack`): one packed block, field after value after field, in order of insertion.
//! Large (`hashtable`): pages in hash order. A hash becomes large when it outgrows
//! [`HashLimits`], as Redis decides it, and never becomes small again.
//!
//! A field's expiry stands in front of its value, so that a field without one costs nothing.
//! A small hash one of whose fields was given an expiry (`listpackex`) has its block in a box of
//! its own, with the earliest expiry and the number of fields that have one beside it; like
//! Redis's, it stays that when the last such field is gone. The nodes above the pages know the
//! earliest expiry below them, so that what is due is found without looking at the rest.
//!
//! A field that is due is still there: whoever reads decides what that means. The clock is no
//! concern of this module.
//!
//! A `Hash` is one word; `clone` is O(1) in all forms.
//!
//! Fields and values are byte strings, given back byte for byte; the text of an integer is kept
//! as the integer and read as [`Elem::Int`].

mod iter;
mod timed;

use bytes::Bytes;

pub use self::iter::Iter;
use self::iter::{Pairs, pairs};
use self::timed::Timed;
use super::packed::{Elem, Packed, Slim, View, ViewMut};
pub use super::pages::{Lifetime, Record};
use super::pages::{Pages, distinct_ranks};
use crate::base::random;

/// When a small hash becomes a large one.
#[derive(Clone, Copy, Debug)]
pub struct HashLimits {
    /// `hash-max-listpack-entries`: more fields than this.
    pub max_entries: usize,
    /// `hash-max-listpack-value`: a field or value longer than this.
    pub max_value: usize,
}

impl Default for HashLimits {
    fn default() -> HashLimits {
        HashLimits {
            max_entries: 128,
            max_value: 64,
        }
    }
}

impl HashLimits {
    fn allow(&self, entries: usize, longest: usize) -> bool {
        entries <= self.max_entries && longest <= self.max_value
    }
}

/// Fields and their values; see the module's text.
#[derive(Clone, Default)]
#[repr(transparent)]
pub struct Hash {
    form: Slim<Boxed>,
}

/// What a hash is when it is more than a plain packed block.
#[derive(Clone)]
enum Boxed {
    /// A small hash that has or had fields with an expiry.
    Timed(Timed),
    /// A large hash.
    Pages(Pages<true>),
}

/// The two ways in which records lie.
enum Form<'a> {
    Packed(&'a Packed),
    Pages(&'a Pages<true>),
}

impl Hash {
    /// An empty hash.
    pub fn new() -> Hash {
        Hash::default()
    }

    /// A hash of fields and values in turn, without expiries, as a reader of stored data has them:
    /// the fields must be distinct. Becomes large if the limits say so.
    pub fn from_packed(packed: Packed, limits: &HashLimits) -> Hash {
        let entries = packed.len() / 2;
        let longest = packed.iter().map(Elem::text_len).max().unwrap_or(0);
        let mut hash = Hash {
            form: Slim::small(packed),
        };
        if !limits.allow(entries, longest) {
            hash.enlarge();
        }
        hash
    }

    fn form(&self) -> Form<'_> {
        match self.form.view() {
            View::Small(packed) => Form::Packed(packed),
            View::Large(Boxed::Timed(timed)) => Form::Packed(timed.packed()),
            View::Large(Boxed::Pages(pages)) => Form::Pages(pages),
        }
    }

    /// The packed block of a small hash. Values may have an expiry in front.
    pub fn as_packed(&self) -> Option<&Packed> {
        match self.form() {
            Form::Packed(packed) => Some(packed),
            Form::Pages(_) => None,
        }
    }

    /// Where its bytes begin, for a prefetch.
    #[inline]
    pub fn address(&self) -> *const u8 {
        self.form.address()
    }

    /// Number of fields, those that are due included.
    pub fn len(&self) -> usize {
        match self.form() {
            Form::Packed(packed) => packed.len() / 2,
            Form::Pages(pages) => pages.len(),
        }
    }

    /// Whether there is no field.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The name of the representation.
    pub fn encoding(&self) -> &'static str {
        match self.form.view() {
            View::Small(_) => "listpack",
            View::Large(Boxed::Timed(_)) => "listpackex",
            View::Large(Boxed::Pages(_)) => "hashtable",
        }
    }

    /// About the bytes taken from the allocator, the word itself not counted.
    pub fn size_bytes(&self) -> usize {
        match self.form.view() {
            View::Small(packed) => packed.size_bytes(),
            View::Large(Boxed::Timed(timed)) => size_of::<Boxed>() + timed.packed().size_bytes(),
            View::Large(Boxed::Pages(pages)) => pages.size_bytes(),
        }
    }

    /// A field with its value and expiry.
    pub fn record<'e>(&self, field: impl Into<Elem<'e>>) -> Option<Record<'_>> {
        match self.form() {
            Form::Packed(packed) => {
                let (_, pos) = packed.find::<2>(field)?;
                let (key, value) = packed.read(pos)?;
                Some(Record {
                    key,
                    value: packed.read(value)?.0,
                    expire_ms: packed.expiry_at(value),
                })
            }
            Form::Pages(pages) => pages.get(field),
        }
    }

    /// The value of a field.
    pub fn get<'e>(&self, field: impl Into<Elem<'e>>) -> Option<Elem<'_>> {
        Some(self.record(field)?.value)
    }

    /// The value of a field, if it is a long one that can be shared instead of copied.
    pub fn shared_value<'e>(&self, field: impl Into<Elem<'e>>) -> Option<Bytes> {
        match self.form() {
            Form::Packed(_) => None,
            Form::Pages(pages) => pages.shared_value(field),
        }
    }

    /// Whether there is that field.
    pub fn contains<'e>(&self, field: impl Into<Elem<'e>>) -> bool {
        match self.form() {
            Form::Packed(packed) => packed.find::<2>(field).is_some(),
            Form::Pages(pages) => pages.contains(field),
        }
    }

    /// Number of fields that have an expiry.
    pub fn volatile(&self) -> usize {
        match self.form.view() {
            View::Small(_) => 0,
            View::Large(Boxed::Timed(timed)) => timed.volatile(),
            View::Large(Boxed::Pages(pages)) => pages.volatile(),
        }
    }

    /// The earliest expiry of a field, Unix milliseconds.
    pub fn next_expiry(&self) -> Option<i64> {
        match self.form.view() {
            View::Small(_) => None,
            View::Large(Boxed::Timed(timed)) => timed.next_expiry(),
            View::Large(Boxed::Pages(pages)) => pages.next_expiry(),
        }
    }

    /// Whether a field is due.
    pub fn has_due(&self, now_ms: i64) -> bool {
        self.next_expiry().is_some_and(|at_ms| at_ms <= now_ms)
    }

    /// Hands the fields that are due at `now_ms` on to `each` until it says `false`.
    pub fn due<'a>(&'a self, now_ms: i64, mut each: impl FnMut(Record<'a>) -> bool) {
        if !self.has_due(now_ms) {
            return;
        }
        match self.form() {
            Form::Packed(packed) => {
                let mut due = pairs(packed).filter(|record| record.is_due(now_ms));
                due.all(each);
            }
            Form::Pages(pages) => pages.due(now_ms, &mut each),
        }
    }

    /// Number of fields that are not due.
    pub fn live_len(&self, now_ms: i64) -> usize {
        let mut due = 0;
        self.due(now_ms, |_| {
            due += 1;
            true
        });
        self.len() - due
    }

    /// Sets a field for ever; true if it is new.
    pub fn set<'e>(
        &mut self,
        field: impl Into<Elem<'e>>,
        value: impl Into<Elem<'e>>,
        limits: &HashLimits,
    ) -> bool {
        self.set_for(field, value, Lifetime::Endless, limits)
    }

    /// Sets a field for a lifetime; true if it is new.
    pub fn set_for<'e>(
        &mut self,
        field: impl Into<Elem<'e>>,
        value: impl Into<Elem<'e>>,
        lifetime: Lifetime,
        limits: &HashLimits,
    ) -> bool {
        let (field, value) = (field.into(), value.into());
        if matches!(lifetime, Lifetime::Until(_)) {
            self.become_timed();
        }
        let longest = field.text_len().max(value.text_len());
        let fits = |packed: &Packed| longest <= limits.max_value && packed.fits(2 * longest + 32);
        let created = match self.form.view_mut() {
            ViewMut::Small(packed) if fits(packed) => {
                let found = packed.find::<2>(field);
                match found {
                    Some((_, pos)) => packed.replace_at(packed.next(pos), value),
                    None => packed.push_pair(field, value),
                }
                found.is_none()
            }
            ViewMut::Large(Boxed::Timed(timed)) if fits(timed.packed()) => {
                timed.set(field, value, lifetime)
            }
            ViewMut::Large(Boxed::Pages(pages)) => return pages.set(field, value, lifetime),
            ViewMut::Small(_) | ViewMut::Large(_) => {
                self.enlarge();
                return match self.form.view_mut() {
                    ViewMut::Large(Boxed::Pages(pages)) => pages.set(field, value, lifetime),
                    _ => false,
                };
            }
        };
        if self.len() > limits.max_entries {
            self.enlarge();
        }
        created
    }

    /// Sets or clears the expiry of a field. Nothing happens if it is not there.
    pub fn set_expiry<'e>(&mut self, field: impl Into<Elem<'e>>, expire_ms: Option<i64>) {
        let field = field.into();
        let Some(record) = self.record(field) else {
            return;
        };
        if record.expire_ms == expire_ms {
            return;
        }
        self.become_timed();
        match self.form.view_mut() {
            ViewMut::Large(Boxed::Timed(timed)) => timed.set_expiry(field, expire_ms),
            ViewMut::Large(Boxed::Pages(pages)) => pages.set_expiry(field, expire_ms),
            ViewMut::Small(_) => {}
        }
    }

    /// Removes a field; false if it is not there.
    pub fn remove<'e>(&mut self, field: impl Into<Elem<'e>>) -> bool {
        match self.form.view_mut() {
            ViewMut::Small(packed) => match packed.find::<2>(field) {
                Some((_, pos)) => packed.remove_at(pos, 2) == 2,
                None => false,
            },
            ViewMut::Large(Boxed::Timed(timed)) => timed.remove(field),
            ViewMut::Large(Boxed::Pages(pages)) => pages.remove(field),
        }
    }

    /// Becomes large if something of that length would make it so. Redis looks at all arguments
    /// of a command before it sets the first field.
    pub fn prepare(&mut self, longest: usize, limits: &HashLimits) {
        if longest > limits.max_value {
            self.enlarge();
        }
    }

    /// Gives a plain packed block the box in which expiries are kept track of. As in Redis a
    /// command about expiries asks for it, even if in the end no field gets one.
    pub fn become_timed(&mut self) {
        if let View::Small(packed) = self.form.view() {
            self.form = Slim::large(Boxed::Timed(Timed::new(packed.clone())));
        }
    }

    fn enlarge(&mut self) {
        if let Form::Packed(packed) = self.form() {
            let mut pages = Pages::new();
            for record in pairs(packed) {
                let lifetime = record.expire_ms.map_or(Lifetime::Endless, Lifetime::Until);
                pages.set(record.key, record.value, lifetime);
            }
            self.form = Slim::large(Boxed::Pages(pages));
        }
    }

    /// Fields and values: in order of insertion while small, page by page when large.
    pub fn iter(&self) -> Iter<'_> {
        match self.form() {
            Form::Packed(packed) => Iter::Small(packed.iter()),
            Form::Pages(pages) => Iter::Large(pages.iter()),
        }
    }

    /// Hands fields and values from a cursor on to `each`: all of them while small, at least
    /// `count` when large. Returns the cursor to go on from, 0 at the end. A field that is there
    /// throughout is seen exactly once, except over the change from small to large.
    pub fn scan<'a>(&'a self, cursor: u64, count: usize, each: impl FnMut(Record<'a>)) -> u64 {
        match self.form() {
            Form::Packed(packed) => {
                pairs(packed).for_each(each);
                0
            }
            Form::Pages(pages) => pages.scan(cursor, count, each),
        }
    }

    /// The field and value of that rank in the order of [`Hash::iter`].
    pub fn nth(&self, rank: usize) -> Option<Record<'_>> {
        match self.form() {
            Form::Packed(packed) => Pairs::new(packed.iter_from(rank.checked_mul(2)?)).next(),
            Form::Pages(pages) => pages.nth(rank),
        }
    }

    /// A field and its value, every one equally likely.
    pub fn random(&self) -> Option<Record<'_>> {
        self.nth(random::below(self.len() as u64) as usize)
    }

    /// Distinct fields and their values, `count` of them or all if there are not as many, every
    /// choice equally likely.
    pub fn sample(&self, count: usize) -> Vec<Record<'_>> {
        let ranks = distinct_ranks(self.len(), count);
        match self.form() {
            Form::Packed(packed) => {
                let mut wanted = ranks.iter().peekable();
                let mut chosen = |rank: &usize| wanted.next_if_eq(&rank).is_some();
                pairs(packed)
                    .enumerate()
                    .filter(|(rank, _)| chosen(rank))
                    .map(|p| p.1)
                    .collect()
            }
            Form::Pages(pages) => ranks.iter().filter_map(|&rank| pages.nth(rank)).collect(),
        }
    }
}

impl PartialEq for Hash {
    /// The same fields with the same values and expiries, whatever the representations.
    fn eq(&self, other: &Hash) -> bool {
        let same = |record: Record<'_>| other.record(record.key) == Some(record);
        self.len() == other.len() && self.iter().all(same)
    }
}

impl std::fmt::Debug for Hash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod expiry_tests;
#[cfg(test)]
mod tests;

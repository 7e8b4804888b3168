//! `Hash`: fields and their values.
//!
//! Small (`listpack`): one packed block, field after value after field, in order of insertion.
//! Large (`hashtable`): pages in hash order. A hash becomes large when it outgrows
//! [`HashLimits`], as Redis decides it, and never becomes small again.
//!
//! A `Hash` is one word; `clone` is O(1) in both forms.
//!
//! Fields and values are byte strings, given back byte for byte; the text of an integer is kept
//! as the integer and read as [`Elem::Int`].

use bytes::Bytes;

use super::packed::{self, Elem, Packed, Slim, View, ViewMut};
use super::pages::{self, Pages, Record, distinct_ranks};
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
    form: Slim<Pages<true>>,
}

impl Hash {
    /// An empty hash.
    pub fn new() -> Hash {
        Hash::default()
    }

    /// A hash of fields and values in turn, as a reader of stored data has them: the fields must
    /// be distinct. Becomes large if the limits say so.
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

    /// The packed block of a small hash.
    pub fn as_packed(&self) -> Option<&Packed> {
        match self.form.view() {
            View::Small(packed) => Some(packed),
            View::Large(_) => None,
        }
    }

    /// Number of fields.
    pub fn len(&self) -> usize {
        match self.form.view() {
            View::Small(packed) => packed.len() / 2,
            View::Large(pages) => pages.len(),
        }
    }

    /// Whether there is no field.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The name of the representation.
    pub fn encoding(&self) -> &'static str {
        if self.form.is_large() {
            "hashtable"
        } else {
            "listpack"
        }
    }

    /// About the bytes taken from the allocator, the word itself not counted.
    pub fn size_bytes(&self) -> usize {
        match self.form.view() {
            View::Small(packed) => packed.size_bytes(),
            View::Large(pages) => pages.size_bytes(),
        }
    }

    /// The value of a field.
    pub fn get<'e>(&self, field: impl Into<Elem<'e>>) -> Option<Elem<'_>> {
        match self.form.view() {
            View::Small(packed) => {
                let (_, field) = packed.find(field, 2)?;
                Some(packed.read(packed.next(field))?.0)
            }
            View::Large(pages) => pages.get(field),
        }
    }

    /// The value of a field, if it is a long one that can be shared instead of copied.
    pub fn shared_value<'e>(&self, field: impl Into<Elem<'e>>) -> Option<Bytes> {
        match self.form.view() {
            View::Small(_) => None,
            View::Large(pages) => pages.shared_value(field),
        }
    }

    /// Whether there is that field.
    pub fn contains<'e>(&self, field: impl Into<Elem<'e>>) -> bool {
        match self.form.view() {
            View::Small(packed) => packed.find(field, 2).is_some(),
            View::Large(pages) => pages.contains(field),
        }
    }

    /// Sets a field; true if it is new.
    pub fn set<'e>(
        &mut self,
        field: impl Into<Elem<'e>>,
        value: impl Into<Elem<'e>>,
        limits: &HashLimits,
    ) -> bool {
        let (field, value) = (field.into(), value.into());
        if let ViewMut::Small(packed) = self.form.view_mut() {
            let longest = field.text_len().max(value.text_len());
            if longest <= limits.max_value && packed.fits(2 * longest + 32) {
                let found = packed.find(field, 2);
                match found {
                    Some((_, field)) => packed.replace_at(packed.next(field), value),
                    None => packed.push_pair(field, value),
                }
                if packed.len() / 2 > limits.max_entries {
                    self.enlarge();
                }
                return found.is_none();
            }
            self.enlarge();
        }
        match self.form.view_mut() {
            ViewMut::Large(pages) => pages.insert(field, value),
            ViewMut::Small(_) => false,
        }
    }

    /// Removes a field; false if it is not there.
    pub fn remove<'e>(&mut self, field: impl Into<Elem<'e>>) -> bool {
        match self.form.view_mut() {
            ViewMut::Small(packed) => match packed.find(field, 2) {
                Some((_, field)) => packed.remove_at(field, 2) == 2,
                None => false,
            },
            ViewMut::Large(pages) => pages.remove(field),
        }
    }

    /// Becomes large if something of that length would make it so. Redis looks at all arguments
    /// of a command before it sets the first field.
    pub fn prepare(&mut self, longest: usize, limits: &HashLimits) {
        if !self.form.is_large() && longest > limits.max_value {
            self.enlarge();
        }
    }

    fn enlarge(&mut self) {
        if let View::Small(packed) = self.form.view() {
            let mut pages = Pages::new();
            for Record { key, value } in pairs(packed) {
                pages.insert(key, value);
            }
            self.form = Slim::large(pages);
        }
    }

    /// Fields and values: in order of insertion while small, in hash order when large.
    pub fn iter(&self) -> Iter<'_> {
        match self.form.view() {
            View::Small(packed) => Iter::Small(packed.iter()),
            View::Large(pages) => Iter::Large(pages.iter()),
        }
    }

    /// Hands fields and values from a cursor on to `each`: all of them while small, at least
    /// `count` when large. Returns the cursor to go on from, 0 at the end. A field that is there
    /// throughout is seen exactly once, except over the change from small to large.
    pub fn scan<'a>(&'a self, cursor: u64, count: usize, each: impl FnMut(Record<'a>)) -> u64 {
        match self.form.view() {
            View::Small(packed) => {
                pairs(packed).for_each(each);
                0
            }
            View::Large(pages) => pages.scan(cursor, count, each),
        }
    }

    /// The field and value of that rank in the order of [`Hash::iter`].
    pub fn nth(&self, rank: usize) -> Option<Record<'_>> {
        match self.form.view() {
            View::Small(packed) => Pairs(packed.iter_from(rank.checked_mul(2)?)).next(),
            View::Large(pages) => pages.nth(rank),
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
        match self.form.view() {
            View::Small(packed) => {
                let mut wanted = ranks.iter().peekable();
                let chosen = |rank: &usize| wanted.next_if_eq(&rank).is_some();
                let mut chosen = chosen;
                pairs(packed)
                    .enumerate()
                    .filter(|(rank, _)| chosen(rank))
                    .map(|p| p.1)
                    .collect()
            }
            View::Large(pages) => ranks.iter().filter_map(|&rank| pages.nth(rank)).collect(),
        }
    }
}

impl PartialEq for Hash {
    /// The same fields with the same values, whatever the representations.
    fn eq(&self, other: &Hash) -> bool {
        let same = |record: Record<'_>| other.get(record.key) == Some(record.value);
        self.len() == other.len() && self.iter().all(same)
    }
}

impl std::fmt::Debug for Hash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

/// The elements of a packed hash, two by two.
struct Pairs<'a>(packed::Iter<'a>);

fn pairs(packed: &Packed) -> Pairs<'_> {
    Pairs(packed.iter())
}

impl<'a> Iterator for Pairs<'a> {
    type Item = Record<'a>;

    fn next(&mut self) -> Option<Record<'a>> {
        Some(Record {
            key: self.0.next()?,
            value: self.0.next()?,
        })
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
            Iter::Small(elems) => Some(Record {
                key: elems.next()?,
                value: elems.next()?,
            }),
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

#[cfg(test)]
mod tests;

//! `Set`: distinct byte strings.
//!
//! - `intset`: only integers, a sorted array (see `ints`).
//! - `listpack`: one packed block, in order of insertion.
//! - `hashtable`: pages in hash order.
//!
//! A set starts as an intset and changes as Redis decides it ([`SetLimits`]): to a listpack with
//! its first member that is not an integer, to a hashtable when it outgrows either. It never
//! changes back by itself.
//!
//! A `Set` is one word; `clone` is O(1) in every form.

mod algebra;
mod ints;

use self::ints::Ints;
use super::packed::{self, Elem, Packed, Slim, View, ViewMut, int_text_len};
use super::pages::{self, Pages, distinct_ranks};
use crate::base::random;

pub use self::algebra::{
    difference, intersect, intersection, intersection_len, union, union_effort,
};

/// When a set changes its representation.
#[derive(Clone, Copy, Debug)]
pub struct SetLimits {
    /// `set-max-intset-entries`: more integers than this become a hashtable.
    pub max_intset_entries: usize,
    /// `set-max-listpack-entries`: more members than this become a hashtable.
    pub max_listpack_entries: usize,
    /// `set-max-listpack-value`: a longer member makes a hashtable.
    pub max_listpack_value: usize,
}

impl Default for SetLimits {
    fn default() -> SetLimits {
        SetLimits {
            max_intset_entries: 512,
            max_listpack_entries: 128,
            max_listpack_value: 64,
        }
    }
}

/// An intset holds no more than this whatever the limits say: its block stays below 1 GiB.
const MAX_INTS: usize = 1 << 26;

/// When what stays of a set is this many times smaller than what leaves it, it is built anew.
const REBUILD_RATIO: usize = 5;

/// Distinct byte strings; see the module's text.
#[derive(Clone)]
#[repr(transparent)]
pub struct Set {
    form: Slim<Pages<false>>,
}

/// The three forms, borrowed.
enum Form<'a> {
    Ints(Ints<'a>),
    Packed(&'a Packed),
    Pages(&'a Pages<false>),
}

impl Default for Set {
    fn default() -> Set {
        Set {
            form: Slim::small(Packed::from_block(ints::empty())),
        }
    }
}

impl Set {
    /// An empty set.
    pub fn new() -> Set {
        Set::default()
    }

    /// A set of distinct members, as a reader of stored data has them; a hashtable if the limits
    /// say so.
    pub fn from_packed(members: Packed, limits: &SetLimits) -> Set {
        let longest = members.iter().map(Elem::text_len).max().unwrap_or(0);
        let fits =
            members.len() <= limits.max_listpack_entries && longest <= limits.max_listpack_value;
        let mut set = Set {
            form: Slim::small(members),
        };
        if !fits {
            set.enlarge();
        }
        set
    }

    fn form(&self) -> Form<'_> {
        match self.form.view() {
            View::Large(pages) => Form::Pages(pages),
            View::Small(packed) => match Ints::of(packed.block()) {
                Some(ints) => Form::Ints(ints),
                None => Form::Packed(packed),
            },
        }
    }

    /// The integers of an intset: the bytes of each (2, 4 or 8), and all of them ascending and
    /// little endian.
    pub fn as_ints(&self) -> Option<(usize, &[u8])> {
        match self.form() {
            Form::Ints(ints) => Some((ints.width(), ints.raw())),
            _ => None,
        }
    }

    /// The packed block of a listpack.
    pub fn as_packed(&self) -> Option<&Packed> {
        match self.form() {
            Form::Packed(packed) => Some(packed),
            _ => None,
        }
    }

    fn is_large(&self) -> bool {
        self.form.is_large()
    }

    /// Where its bytes begin, for a prefetch.
    #[inline]
    pub fn address(&self) -> *const u8 {
        self.form.address()
    }

    /// Number of members.
    pub fn len(&self) -> usize {
        match self.form() {
            Form::Ints(ints) => ints.len(),
            Form::Packed(packed) => packed.len(),
            Form::Pages(pages) => pages.len(),
        }
    }

    /// Whether there is no member.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The name of the representation.
    pub fn encoding(&self) -> &'static str {
        match self.form() {
            Form::Ints(_) => "intset",
            Form::Packed(_) => "listpack",
            Form::Pages(_) => "hashtable",
        }
    }

    /// About the bytes taken from the allocator, the word itself not counted.
    pub fn size_bytes(&self) -> usize {
        match self.form.view() {
            View::Small(packed) => packed.size_bytes(),
            View::Large(pages) => pages.size_bytes(),
        }
    }

    /// Whether there is that member.
    pub fn contains<'e>(&self, member: impl Into<Elem<'e>>) -> bool {
        let member = member.into();
        match self.form() {
            Form::Ints(ints) => member.as_int().is_some_and(|int| ints.find(int).is_ok()),
            Form::Packed(packed) => packed.find::<1>(member).is_some(),
            Form::Pages(pages) => pages.contains(member),
        }
    }

    /// Adds a member; false if it is there.
    pub fn add<'e>(&mut self, member: impl Into<Elem<'e>>, limits: &SetLimits) -> bool {
        let member = member.into();
        if let ViewMut::Small(packed) = self.form.view_mut() {
            let len = member.text_len();
            let allowed = len <= limits.max_listpack_value && packed.fits(len + 16);
            if let Some(ints) = Ints::of(packed.block()) {
                if let Some(int) = member.as_int() {
                    let count = ints.len();
                    let added = ints::insert(packed.block_mut(), int);
                    if added && count >= limits.max_intset_entries.min(MAX_INTS) {
                        self.enlarge();
                    }
                    return added;
                }
                let longest = [
                    ints.get(0),
                    ints.len().checked_sub(1).and_then(|n| ints.get(n)),
                ];
                let longest = longest
                    .into_iter()
                    .flatten()
                    .map(int_text_len)
                    .max()
                    .unwrap_or(0);
                if allowed
                    && ints.len() < limits.max_listpack_entries
                    && longest <= limits.max_listpack_value
                {
                    let all = (0..ints.len()).filter_map(|at| ints.get(at)).map(Elem::Int);
                    *packed = all.chain([member]).collect();
                    return true;
                }
            } else {
                if packed.find::<1>(member).is_some() {
                    return false;
                }
                if allowed && packed.len() < limits.max_listpack_entries {
                    packed.push_back(member);
                    return true;
                }
            }
            self.enlarge();
        }
        match self.form.view_mut() {
            ViewMut::Large(pages) => pages.insert(member, b""),
            ViewMut::Small(_) => false,
        }
    }

    /// Takes the form in which Redis would receive `count` members of which this is the first:
    /// for an empty set the one it would be created in, for another a hashtable if that many are
    /// too many for its form.
    pub fn prepare<'e>(&mut self, first: impl Into<Elem<'e>>, count: usize, limits: &SetLimits) {
        match self.form() {
            _ if self.is_empty() => {
                let ints = first.into().as_int().is_some() && count <= limits.max_intset_entries;
                if ints {
                    *self = Set::new();
                } else {
                    self.form = Slim::small(Packed::new());
                    if count > limits.max_listpack_entries {
                        self.enlarge();
                    }
                }
            }
            Form::Ints(_) if count > limits.max_intset_entries => self.enlarge(),
            Form::Packed(_) if count > limits.max_listpack_entries => self.enlarge(),
            _ => {}
        }
    }

    fn enlarge(&mut self) {
        let mut pages = Pages::new();
        for member in self.iter() {
            pages.insert(member, b"");
        }
        self.form = Slim::large(pages);
    }

    /// Removes a member; false if it is not there.
    pub fn remove<'e>(&mut self, member: impl Into<Elem<'e>>) -> bool {
        let member = member.into();
        match self.form.view_mut() {
            ViewMut::Large(pages) => pages.remove(member),
            ViewMut::Small(packed) if Ints::of(packed.block()).is_some() => member
                .as_int()
                .is_some_and(|int| ints::remove(packed.block_mut(), int)),
            ViewMut::Small(packed) => match packed.find::<1>(member) {
                Some((_, pos)) => packed.remove_at(pos, 1) == 1,
                None => false,
            },
        }
    }

    /// The members: ascending in an intset, in order of insertion in a listpack, in hash order
    /// otherwise.
    pub fn iter(&self) -> Iter<'_> {
        Iter(match self.form() {
            Form::Ints(ints) => Walk::Ints(ints, 0),
            Form::Packed(packed) => Walk::Packed(packed.iter()),
            Form::Pages(pages) => Walk::Pages(pages.iter()),
        })
    }

    /// Hands members from a cursor on to `each`: all of them while small, at least `count` of a
    /// hashtable. Returns the cursor to go on from, 0 at the end. A member that is there
    /// throughout is seen exactly once, except over the change to a hashtable.
    pub fn scan<'a>(&'a self, cursor: u64, count: usize, mut each: impl FnMut(Elem<'a>)) -> u64 {
        match self.form() {
            Form::Pages(pages) => pages.scan(cursor, count, |record| each(record.key)),
            _ => {
                self.iter().for_each(each);
                0
            }
        }
    }

    /// The member of that rank in the order of [`Set::iter`].
    pub fn nth(&self, rank: usize) -> Option<Elem<'_>> {
        match self.form() {
            Form::Ints(ints) => ints.get(rank).map(Elem::Int),
            Form::Packed(packed) => packed.get(rank),
            Form::Pages(pages) => pages.nth(rank).map(|record| record.key),
        }
    }

    /// A member, every one equally likely.
    pub fn random(&self) -> Option<Elem<'_>> {
        self.nth(random::below(self.len() as u64) as usize)
    }

    /// Removes and returns a member, every one equally likely.
    pub fn pop_random(&mut self) -> Option<Vec<u8>> {
        let member = self.random()?.to_vec();
        self.remove(&member);
        Some(member)
    }

    /// Distinct members, `count` of them or all if there are not as many, every choice equally
    /// likely.
    pub fn sample(&self, count: usize) -> Vec<Elem<'_>> {
        let ranks = distinct_ranks(self.len(), count);
        if self.is_large() {
            return ranks.iter().filter_map(|&rank| self.nth(rank)).collect();
        }
        let mut wanted = ranks.into_iter().peekable();
        let members = self.iter().enumerate();
        members
            .filter(|(rank, _)| wanted.next_if_eq(rank).is_some())
            .map(|found| found.1)
            .collect()
    }

    /// Removes `count` members, every choice equally likely, and returns them as a set.
    ///
    /// When nearly all leave, what stays is built anew, so that the work is that of the smaller
    /// part; a hashtable may thereby become small again, as in Redis.
    pub fn pop_sample(&mut self, count: usize, limits: &SetLimits) -> Set {
        let stays = self.len().saturating_sub(count);
        if stays == 0 {
            return std::mem::take(self);
        }
        let anew = self.as_packed().is_none() && stays.saturating_mul(REBUILD_RATIO) <= count;
        let mut part = Set::new();
        for member in self.sample(if anew { stays } else { count }) {
            part.add(member, limits);
        }
        for member in part.iter() {
            self.remove(member);
        }
        if anew {
            std::mem::replace(self, part)
        } else {
            part
        }
    }
}

impl PartialEq for Set {
    /// The same members, whatever the representations.
    fn eq(&self, other: &Set) -> bool {
        self.len() == other.len() && self.iter().all(|member| other.contains(member))
    }
}

impl std::fmt::Debug for Set {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

/// The members of a set.
#[derive(Clone)]
pub struct Iter<'a>(Walk<'a>);

#[derive(Clone)]
enum Walk<'a> {
    Ints(Ints<'a>, usize),
    Packed(packed::Iter<'a>),
    Pages(pages::Iter<'a, false>),
}

impl<'a> Iterator for Iter<'a> {
    type Item = Elem<'a>;

    fn next(&mut self) -> Option<Elem<'a>> {
        match &mut self.0 {
            Walk::Ints(ints, at) => {
                let int = ints.get(*at)?;
                *at += 1;
                Some(Elem::Int(int))
            }
            Walk::Packed(elems) => elems.next(),
            Walk::Pages(records) => records.next().map(|record| record.key),
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = match &self.0 {
            Walk::Ints(ints, at) => ints.len() - at,
            Walk::Packed(elems) => elems.len(),
            Walk::Pages(records) => records.len(),
        };
        (left, Some(left))
    }
}

impl ExactSizeIterator for Iter<'_> {}

#[cfg(test)]
mod tests;

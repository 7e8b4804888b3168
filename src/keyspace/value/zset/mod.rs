//! `Zset`: members ordered by score, then by their bytes.
//!
//! Small (`listpack` to clients): one packed block. Large (`skiplist`, the name that clients
//! know): a counted B+tree of leaves in order, and an index from a member's hash to its leaf.
//! A sorted set becomes large when it outgrows [`ZsetLimits`], as Redis decides it, and is made
//! small again only by [`Zset::compact`], for results that a command stores.
//!
//! Costs of the large form: a score, a rank, the element of a rank, the borders of any range and
//! an edit are O(log n); a clone is O(1). About 40 bytes for a member of 17 bytes and its score.
//!
//! Everything that names a range does so by ranks: the caller turns scores or members into
//! ranks ([`Zset::score_ranks`], [`Zset::lex_ranks`]), cuts them by LIMIT as plain numbers, and
//! then counts, reads or removes. [`Zset::scan`] yields each element that is there throughout
//! exactly once, whatever is written between its calls.
//!
//! Scores are never NaN: callers refuse it.

mod index;
mod large;
mod leaf;
mod range;
mod small;
#[cfg(test)]
mod tests;

use std::ops::Range;

use super::packed::{Elem, Packed, Slim, View, ViewMut};
use large::Large;
pub use range::{LexBound, LexRange, ScoreRange};

/// When a small sorted set becomes a large one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ZsetLimits {
    /// `zset-max-listpack-entries`: more members than this.
    pub max_entries: usize,
    /// `zset-max-listpack-value`: a member longer than this.
    pub max_value: usize,
}

impl Default for ZsetLimits {
    fn default() -> Self {
        ZsetLimits {
            max_entries: 128,
            max_value: 64,
        }
    }
}

/// The options of ZADD that decide whether and how a score is set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AddOptions {
    /// Only members that are not there.
    pub nx: bool,
    /// Only members that are there.
    pub xx: bool,
    /// Only to a greater score; new members are added.
    pub gt: bool,
    /// Only to a smaller score; new members are added.
    pub lt: bool,
    /// The score is added to the present one.
    pub incr: bool,
}

/// What [`Zset::add`] did.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Added {
    /// A new member with this score.
    New(f64),
    /// A present member got this other score.
    Changed(f64),
    /// A present member keeps its score, which is the one that was to be set.
    Same(f64),
    /// The options kept it from being done.
    Refused,
    /// The sum is not a number; nothing was done.
    NotANumber,
}

/// Members and their scores; see the module's text.
#[derive(Clone, Default)]
#[repr(transparent)]
pub struct Zset {
    form: Slim<Large>,
}

impl Zset {
    /// An empty sorted set.
    pub fn new() -> Self {
        Zset::default()
    }

    /// Where its bytes begin, for a prefetch.
    #[inline]
    pub fn address(&self) -> *const u8 {
        self.form.address()
    }

    /// Number of members.
    pub fn len(&self) -> usize {
        match self.form.view() {
            View::Small(packed) => small::len(packed),
            View::Large(large) => large.len(),
        }
    }

    /// Whether there is no member.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The name of the form, as OBJECT ENCODING gives it.
    pub fn encoding(&self) -> &'static str {
        if self.is_large() {
            "skiplist"
        } else {
            "listpack"
        }
    }

    /// Whether it has the large form.
    pub fn is_large(&self) -> bool {
        self.form.is_large()
    }

    /// Bytes taken from the allocator.
    pub fn size_bytes(&self) -> usize {
        match self.form.view() {
            View::Small(packed) => packed.size_bytes(),
            View::Large(large) => size_of::<Large>() + large.size_bytes(),
        }
    }

    /// The score of a member.
    pub fn score(&self, member: &[u8]) -> Option<f64> {
        match self.form.view() {
            View::Small(packed) => Some(small::find(packed, member)?.score),
            View::Large(large) => large.score(member),
        }
    }

    /// The rank of a member, counted from the lowest score, and its score.
    pub fn rank(&self, member: &[u8]) -> Option<(usize, f64)> {
        match self.form.view() {
            View::Small(packed) => {
                let found = small::find(packed, member)?;
                Some((found.rank, found.score))
            }
            View::Large(large) => large.rank(member),
        }
    }

    /// Gives a member a score; the score it had. An equal score changes nothing, not even the
    /// sign of a zero.
    pub fn insert(&mut self, limits: &ZsetLimits, member: &[u8], score: f64) -> Option<f64> {
        if let ViewMut::Small(packed) = self.form.view_mut() {
            let (had, is_there) = small::set(packed, member, score, |packed| {
                small::len(packed) < limits.max_entries
                    && member.len() <= limits.max_value
                    && packed.fits(member.len() + 16)
            });
            if is_there {
                return had;
            }
            self.enlarge();
        }
        match self.form.view_mut() {
            ViewMut::Small(_) => None,
            ViewMut::Large(large) => large.insert(member, score),
        }
    }

    /// Sets or raises a member's score as the options of ZADD say.
    pub fn add(
        &mut self,
        limits: &ZsetLimits,
        member: &[u8],
        score: f64,
        options: AddOptions,
    ) -> Added {
        let plain = options == AddOptions::default();
        let present = if plain { None } else { self.score(member) };
        let score = match present {
            None if options.xx => return Added::Refused,
            Some(_) if options.nx => return Added::Refused,
            Some(old) if options.incr => old + score,
            _ => score,
        };
        if score.is_nan() {
            return Added::NotANumber;
        }
        if let Some(old) = present
            && (options.lt && score >= old || options.gt && score <= old)
        {
            return Added::Refused;
        }
        match self.insert(limits, member, score) {
            None => Added::New(score),
            Some(old) if old == score => Added::Same(score),
            Some(_) => Added::Changed(score),
        }
    }

    /// Removes a member; the score it had.
    pub fn remove(&mut self, member: &[u8]) -> Option<f64> {
        match self.form.view_mut() {
            ViewMut::Small(packed) => {
                let found = small::find(packed, member)?;
                small::remove_found(packed, found);
                Some(found.score)
            }
            ViewMut::Large(large) => large.remove(member),
        }
    }

    /// The element of a rank.
    pub fn at(&self, rank: usize) -> Option<(Elem<'_>, f64)> {
        match self.form.view() {
            View::Small(packed) => small::range(packed, rank..rank + 1).next(),
            View::Large(large) => {
                let (member, score) = large.at(rank)?;
                Some((Elem::Bytes(member), score))
            }
        }
    }

    /// The ranks of the elements whose score lies in the range; empty when there are none.
    pub fn score_ranks(&self, range: &ScoreRange) -> Range<usize> {
        self.ranks(
            |score, _| range.is_after(score),
            |score, _| range.reaches(score),
        )
    }

    /// The ranks of the members that lie in the range. Meant for sets whose scores are all equal;
    /// what it yields for others is some range of ranks.
    pub fn lex_ranks(&self, range: &LexRange<'_>) -> Range<usize> {
        self.ranks(
            |_, member| range.is_after(member),
            |_, member| range.reaches(member),
        )
    }

    fn ranks(
        &self,
        below: impl Fn(f64, &[u8]) -> bool,
        not_above: impl Fn(f64, &[u8]) -> bool,
    ) -> Range<usize> {
        let (start, end) = match self.form.view() {
            View::Small(packed) => (
                small::count_while(packed, below),
                small::count_while(packed, not_above),
            ),
            View::Large(large) => (large.count_while(below), large.count_while(not_above)),
        };
        start..end.max(start)
    }

    /// The elements of a range of ranks, from the lowest score on or, reversed, from the highest.
    pub fn range(&self, ranks: Range<usize>, reverse: bool) -> Iter<'_> {
        match self.form.view() {
            View::Large(large) => Iter {
                form: Form::Large(large.range(ranks, reverse)),
            },
            View::Small(packed) => {
                let items = small::range(packed, ranks);
                Iter {
                    form: if reverse {
                        Form::Backward(items.collect::<Vec<_>>().into_iter().rev())
                    } else {
                        Form::Forward(items)
                    },
                }
            }
        }
    }

    /// All elements, from the lowest score on.
    pub fn iter(&self) -> Iter<'_> {
        self.range(0..self.len(), false)
    }

    /// Removes the elements of a range of ranks; how many there were.
    pub fn remove_ranks(&mut self, ranks: Range<usize>) -> usize {
        let len = self.len();
        let end = ranks.end.min(len);
        let count = end.saturating_sub(ranks.start);
        if count == 0 {
            return 0;
        }
        if count == len {
            *self = Zset::new();
            return count;
        }
        match self.form.view_mut() {
            ViewMut::Small(packed) => small::remove(packed, ranks.start, count),
            ViewMut::Large(large) => large.remove_ranks(ranks.start..end),
        }
        count
    }

    /// Removes up to `count` elements of the lowest or, if `highest`, of the highest scores; each
    /// is shown to `each` in the order of removal. Returns how many there were.
    pub fn pop(
        &mut self,
        highest: bool,
        count: usize,
        mut each: impl FnMut(Elem<'_>, f64),
    ) -> usize {
        let len = self.len();
        let count = count.min(len);
        let ranks = if highest { len - count..len } else { 0..count };
        for (member, score) in self.range(ranks.clone(), highest) {
            each(member, score);
        }
        self.remove_ranks(ranks)
    }

    /// Hands elements from a cursor (0 to begin) on to `each`, at least `count` of them if there
    /// are as many, a small set's all at once. Returns the cursor to go on from, 0 at the end.
    /// Cursors are below 2^32.
    pub fn scan(&self, cursor: u64, count: usize, mut each: impl FnMut(Elem<'_>, f64)) -> u64 {
        let Ok(from) = u32::try_from(cursor) else {
            return 0;
        };
        match self.form.view() {
            View::Small(packed) => {
                for (member, score) in small::iter(packed) {
                    // A cursor that a larger form gave out: what came before it stays out.
                    let hash = || index::hash(member.to_bytes(&mut itoa::Buffer::new()));
                    if from == 0 || hash() >= from {
                        each(member, score);
                    }
                }
                0
            }
            View::Large(large) => {
                let next = large.scan(from, count, |m, s| each(Elem::Bytes(m), s));
                next.map_or(0, u64::from)
            }
        }
    }

    /// Makes a large set small if the limits allow it.
    pub fn compact(&mut self, limits: &ZsetLimits) {
        if !self.form.is_large() || self.len() > limits.max_entries {
            return;
        }
        let mut packed = Packed::new();
        for (member, score) in self.iter() {
            if member.text_len() > limits.max_value || !packed.fits(member.text_len() + 16) {
                return;
            }
            small::push(
                &mut packed,
                member.to_bytes(&mut itoa::Buffer::new()),
                score,
            );
        }
        self.form = Slim::small(packed);
    }

    /// Takes the form in which Redis would receive `count` members of which this is the first:
    /// the large one if that many are too many for the small one, or if a new set begins with a
    /// member that is too long for it.
    pub fn prepare(&mut self, first: &[u8], count: usize, limits: &ZsetLimits) {
        let outgrows =
            count > limits.max_entries || self.is_empty() && first.len() > limits.max_value;
        if outgrows && !self.form.is_large() {
            self.enlarge();
        }
    }

    fn enlarge(&mut self) {
        let mut large = Large::default();
        for (member, score) in self.iter() {
            large.insert(member.to_bytes(&mut itoa::Buffer::new()), score);
        }
        self.form = Slim::large(large);
    }
}

/// Elements of a sorted set: a member and its score.
pub struct Iter<'a> {
    form: Form<'a>,
}

enum Form<'a> {
    Forward(small::Iter<'a>),
    /// At most as many as the limit of the small form.
    Backward(std::iter::Rev<std::vec::IntoIter<(Elem<'a>, f64)>>),
    Large(large::Iter<'a>),
}

impl<'a> Iterator for Iter<'a> {
    type Item = (Elem<'a>, f64);

    fn next(&mut self) -> Option<Self::Item> {
        match &mut self.form {
            Form::Forward(items) => items.next(),
            Form::Backward(items) => items.next(),
            Form::Large(items) => {
                let (member, score) = items.next()?;
                Some((Elem::Bytes(member), score))
            }
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        match &self.form {
            Form::Forward(items) => items.size_hint(),
            Form::Backward(items) => items.size_hint(),
            Form::Large(items) => items.size_hint(),
        }
    }
}

impl ExactSizeIterator for Iter<'_> {}

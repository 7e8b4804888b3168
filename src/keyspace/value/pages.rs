//! `Pages`: a large hash or set as a tree of small pages in hash order.
//!
//! ```text
//! root -> inner nodes -> leaf nodes -> pages of packed records (about 2 to 4 KiB)
//!         hash range of each child, number of records below it
//! ```
//!
//! Every record has a position: 48 bits of the seeded hash of its key. A page holds the records
//! whose positions lie in its range; the ranges cover the space without gaps. A full page splits
//! at its median, so no insert touches more than one page and the nodes above it. It is a B+tree
//! over positions rather than a directory of doubling size, because
//! - a clone is O(1), and the first write after it copies one page and a few nodes of at most 64
//!   children, however large the collection is;
//! - the counts in the nodes find the record of any rank in O(log n), hence uniform random records
//!   and samples without repetition;
//! - positions order the records, so that a SCAN cursor is a position.
//!
//! Positions are uniform whatever the keys are (SipHash-1-3 under a key drawn at start), so the
//! nodes and pages are searched by interpolation and crafted keys cannot fill one page.
//!
//! Guarantees:
//! 1. `scan` yields each record that is there throughout exactly once, whatever splits and merges
//!    happen between its calls. Cursors are below 2^48, which every client can hold.
//! 2. A clone equals the collection at its instant, whatever is written later.
//! 3. An element longer than 1 KiB lies outside its page, shared: copying the page copies a handle.
//!
//! `VALUES` says whether a record is a key and a value (hashes) or a key alone (sets).

mod iter;
mod node;
mod page;
mod sample;

use std::sync::{Arc, OnceLock};

use bytes::Bytes;

pub use self::iter::Iter;
use self::node::{Edited, Node};
pub use self::sample::distinct_ranks;
use super::packed::{Elem, Encoded};
use crate::base::random;
use crate::base::sip::SipHash13;

/// Positions are below this.
const SPACE: u64 = 1 << 48;

/// An expiry that never comes.
const NEVER: i64 = i64::MAX;

/// How long a hash's field lives whose value is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lifetime {
    /// For ever: an expiry it had is gone.
    Endless,
    /// As long as it would have anyway.
    Kept,
    /// Until that instant, Unix milliseconds from 0 to [`MAX_EXPIRY_MS`](super::packed).
    Until(i64),
}

/// What a write does to the record of its key.
#[derive(Clone, Copy)]
enum Edit<'a> {
    /// Sets the value; makes the record if it is not there.
    Value(Elem<'a>, Lifetime),
    /// Sets or clears the expiry of a record that is there.
    Expiry(Option<i64>),
}

/// A record as it is read. A set's value is the empty string.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// The field of a hash, the member of a set.
    pub key: Elem<'a>,
    /// The value of a hash's field.
    pub value: Elem<'a>,
    /// When the field expires, Unix milliseconds.
    pub expire_ms: Option<i64>,
}

impl<'a> Record<'a> {
    /// The record of a set's member.
    pub fn of_key(key: Elem<'a>) -> Record<'a> {
        Record {
            key,
            value: Elem::Bytes(b""),
            expire_ms: None,
        }
    }

    /// Whether the field is due.
    pub fn is_due(&self, now_ms: i64) -> bool {
        self.expire_ms.is_some_and(|at_ms| at_ms <= now_ms)
    }
}

/// A key ready to be searched or stored.
#[derive(Clone, Copy)]
struct Key<'a> {
    encoded: Encoded<'a>,
    position: u64,
}

impl<'a> Key<'a> {
    fn new(elem: Elem<'a>) -> Key<'a> {
        let encoded = Encoded::new(elem);
        Key {
            encoded,
            position: position(encoded.hashed()),
        }
    }
}

/// The place of a key in the hash space.
fn position(hashed: &[u8]) -> u64 {
    static HASHER: OnceLock<SipHash13> = OnceLock::new();
    let hasher = HASHER.get_or_init(|| {
        // Tests of the structure are reproducible: they see one fixed key.
        if cfg!(test) {
            return SipHash13::new(1, 2);
        }
        SipHash13::new(random::u64(), random::u64())
    });
    hasher.hash(hashed) >> 16
}

/// A large collection; see the module's text.
#[derive(Clone)]
pub struct Pages<const VALUES: bool> {
    root: Arc<Node<VALUES>>,
    len: usize,
    /// Records that have an expiry.
    volatile: usize,
    page_bytes: usize,
}

impl<const VALUES: bool> Default for Pages<VALUES> {
    fn default() -> Self {
        Pages::new()
    }
}

impl<const VALUES: bool> Pages<VALUES> {
    /// An empty collection.
    pub fn new() -> Self {
        let root = Arc::new(Node::new());
        let page_bytes = root.page_bytes();
        Pages {
            root,
            len: 0,
            volatile: 0,
            page_bytes,
        }
    }

    /// Number of records.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no record.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// About the bytes taken from the allocator: the pages and what lies outside of them exactly,
    /// the nodes by their usual share.
    pub fn size_bytes(&self) -> usize {
        // A page's share of its leaf is 40 bytes; leaves are three quarters full.
        size_of::<Self>() + self.page_bytes + self.page_bytes / 3000 * 56
    }

    /// The record of a key.
    pub fn get<'e>(&self, key: impl Into<Elem<'e>>) -> Option<Record<'_>> {
        let key = Key::new(key.into());
        let (page, at) = self.root.find(&key)?;
        page.record(at)
    }

    /// Whether the key is there.
    pub fn contains<'e>(&self, key: impl Into<Elem<'e>>) -> bool {
        self.root.find(&Key::new(key.into())).is_some()
    }

    /// The value of a key, if it is long enough to lie outside its page: to share, not to copy.
    pub fn shared_value<'e>(&self, key: impl Into<Elem<'e>>) -> Option<Bytes> {
        let key = Key::new(key.into());
        let (page, at) = self.root.find(&key)?;
        page.shared_value(at)
    }

    /// Sets a key's value; true if the key is new. A set passes any value and keeps none.
    pub fn insert<'e>(&mut self, key: impl Into<Elem<'e>>, value: impl Into<Elem<'e>>) -> bool {
        self.set(key, value, Lifetime::Endless)
    }

    /// Sets a key's value and its expiry; true if the key is new.
    pub fn set<'e>(
        &mut self,
        key: impl Into<Elem<'e>>,
        value: impl Into<Elem<'e>>,
        lifetime: Lifetime,
    ) -> bool {
        self.edit(key.into(), Edit::Value(value.into(), lifetime))
            .created
    }

    /// Sets or clears the expiry of a key that is there.
    pub fn set_expiry<'e>(&mut self, key: impl Into<Elem<'e>>, expire_ms: Option<i64>) {
        self.edit(key.into(), Edit::Expiry(expire_ms));
    }

    fn edit(&mut self, key: Elem<'_>, edit: Edit<'_>) -> Edited {
        let key = Key::new(key);
        let edited = Node::edit_root(&mut self.root, &key, edit, &mut self.page_bytes);
        self.len += usize::from(edited.created);
        self.volatile += usize::from(edited.after.is_some());
        self.volatile -= usize::from(edited.before.is_some());
        edited
    }

    /// Number of records that have an expiry.
    pub fn volatile(&self) -> usize {
        self.volatile
    }

    /// The earliest expiry of a record.
    pub fn next_expiry(&self) -> Option<i64> {
        (self.volatile > 0).then(|| self.root.earliest())
    }

    /// Hands the records that are due at `now_ms` on to `each` until it says `false`.
    pub fn due<'a>(&'a self, now_ms: i64, mut each: impl FnMut(Record<'a>) -> bool) {
        if self.volatile > 0 {
            self.root.due(now_ms, &mut each);
        }
    }

    /// Removes a key; false if it is not there.
    pub fn remove<'e>(&mut self, key: impl Into<Elem<'e>>) -> bool {
        let key = Key::new(key.into());
        let removed = Node::remove_root(&mut self.root, &key, &mut self.page_bytes);
        self.len -= usize::from(removed.is_some());
        self.volatile -= usize::from(removed.flatten().is_some());
        removed.is_some()
    }

    /// The record of that rank in hash order.
    pub fn nth(&self, rank: usize) -> Option<Record<'_>> {
        let (page, at) = self.root.nth(rank)?;
        page.record(at)
    }

    /// All records: page after page in hash order, those of each in the order of insertion.
    pub fn iter(&self) -> Iter<'_, VALUES> {
        Iter::new(&self.root, self.len)
    }

    /// Hands records from a cursor on to `each`, at least `count` of them if there are as many;
    /// the cursor to go on from, 0 at the end.
    pub fn scan<'a>(&'a self, cursor: u64, count: usize, mut each: impl FnMut(Record<'a>)) -> u64 {
        let mut cursor = cursor;
        let mut seen = 0;
        // Pages may be empty after removals: those count too, so that one call stays short.
        let mut visits = count.saturating_add(1);
        while cursor < SPACE {
            let Some((page, lo, hi)) = self.root.page_at(cursor) else {
                break;
            };
            let left = count.saturating_sub(seen).max(1);
            let next = page.scan(lo, cursor, left, |record| {
                seen += 1;
                each(record);
            });
            cursor = next.unwrap_or(hi);
            visits -= 1;
            if seen >= count || visits == 0 {
                break;
            }
        }
        if cursor < SPACE { cursor } else { 0 }
    }
}

#[cfg(test)]
mod tests;

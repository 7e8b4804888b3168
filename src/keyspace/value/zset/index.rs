//! Where a member is: from its hash to the number of the leaf that holds it.
//!
//! ```text
//! entry, 8 bytes: | leaf number u32 | hash u32 |      ascending by hash, in pages of up to 1 KiB
//! ```
//!
//! A member's bytes lie in the order tree alone. The index says which leaf to look in; the leaf
//! tells members apart by a tag, eight bits of the same hash, and then by their bytes. When
//! a leaf splits or two are joined, the entries of the members that moved are pointed anew.
//!
//! Pages hang on a counted tree by hash, so the walk of a SCAN is a walk of the tree and its
//! cursor a hash, whatever splits and joins happen between two calls. Hashes are uniform whatever
//! the members are (SipHash-1-3 under a key drawn at start), hence pages are searched by
//! interpolation. Entries of one hash stay in one page.

use std::cell::Cell;
use std::sync::OnceLock;

use smallvec::SmallVec;

use super::super::btree::{Between, First, Level, Tree};
use super::super::packed::Block;
use crate::base::random;
use crate::base::sip::SipHash13;

/// The longest page's body: an allocation of 1 KiB.
const MAX_USED: usize = 1024 - 8;

/// Two pages are joined when one is shorter than this and both fit well into one.
const SPARSE: usize = MAX_USED / 4;

/// Bytes of an entry.
const ENTRY: usize = 8;

/// The hash of a member as the index uses it.
pub fn hash(member: &[u8]) -> u32 {
    static HASHER: OnceLock<SipHash13> = OnceLock::new();
    let hasher = HASHER.get_or_init(|| {
        // Tests of the structure are reproducible: they see one fixed key.
        if cfg!(test) {
            return SipHash13::new(1, 2);
        }
        SipHash13::new(random::u64(), random::u64())
    });
    (hasher.hash(member) >> 32) as u32
}

/// The part of the hash that a leaf keeps.
pub fn tag(hash: u32) -> u8 {
    hash as u8
}

fn entry(hash: u32, leaf: u32) -> [u8; ENTRY] {
    (u64::from(hash) << 32 | u64::from(leaf)).to_le_bytes()
}

fn hash_of(entry: &[u8; ENTRY]) -> u32 {
    (u64::from_le_bytes(*entry) >> 32) as u32
}

fn leaf_of(entry: &[u8; ENTRY]) -> u32 {
    u64::from_le_bytes(*entry) as u32
}

fn entries(page: &Block) -> &[[u8; ENTRY]] {
    page.bytes().as_chunks().0
}

/// How many entries have a smaller hash, in a page whose hashes lie between the bounds.
fn lower_bound(entries: &[[u8; ENTRY]], hash: u32, bounds: &Bounds) -> usize {
    let (low, high) = bounds.get();
    let (width, offset) = (
        u64::from(high.saturating_sub(low)),
        u64::from(hash.saturating_sub(low)),
    );
    let guess = offset * entries.len() as u64 / width.max(1);
    let mut at = (guess as usize).min(entries.len());
    // Uniform hashes put the guess within a few places of the answer.
    while at > 0 && entries.get(at - 1).is_some_and(|e| hash_of(e) >= hash) {
        at -= 1;
    }
    while entries.get(at).is_some_and(|e| hash_of(e) < hash) {
        at += 1;
    }
    at
}

type Pages = Tree<u32, Block>;

/// The hashes between which those of a page lie.
type Bounds = Cell<(u32, u32)>;

fn any_hash() -> Bounds {
    Cell::new((0, u32::MAX))
}

/// Leads to the page of a hash and notes its bounds.
fn seek(hash: u32, bounds: &Bounds) -> Between<'_, u32> {
    Between { key: hash, bounds }
}

/// The member index of one sorted set. Cloning is O(1).
#[derive(Clone, Default)]
pub struct Index {
    pages: Pages,
}

impl Index {
    /// Bytes taken from the allocator.
    pub fn size_bytes(&self) -> usize {
        let mut walk = self.pages.walk(&mut First);
        let mut sum = self.pages.size_bytes();
        while let Some(page) = walk.current() {
            sum += page.alloc_bytes();
            walk.forward();
        }
        sum
    }

    /// Numbers of the leaves that hold a member of this hash.
    pub fn leaves(&self, hash: u32) -> impl Iterator<Item = u32> {
        let bounds = any_hash();
        let page = self.pages.find(&mut seek(hash, &bounds));
        let entries = page.map(entries).unwrap_or_default();
        let rest = entries
            .get(lower_bound(entries, hash, &bounds)..)
            .unwrap_or_default();
        rest.iter()
            .take_while(move |entry| hash_of(entry) == hash)
            .map(leaf_of)
    }

    /// Notes that a member of this hash is in the leaf.
    pub fn insert(&mut self, hash: u32, leaf: u32) {
        let added = entry(hash, leaf);
        let bounds = any_hash();
        self.pages.edit(&mut seek(hash, &bounds), |level, i| {
            let Some(page) = level.leaf_mut(i) else {
                return level.insert_leaf(0, 0, Block::concat(&[&added]), 1);
            };
            let at = lower_bound(entries(page), hash, &bounds) * ENTRY;
            page.splice(at, 0, ENTRY).copy_from_slice(&added);
            let (used, count) = (page.used(), entries(page).len());
            level.set_count(i, count as u64);
            if used > MAX_USED {
                split(level, i);
            }
        });
    }

    /// Forgets one member of this hash in the leaf.
    pub fn remove(&mut self, hash: u32, leaf: u32) {
        let gone = entry(hash, leaf);
        let bounds = any_hash();
        self.pages.edit(&mut seek(hash, &bounds), |level, i| {
            let Some(page) = level.leaf_mut(i) else {
                return;
            };
            let Some(at) = position(entries(page), &gone, &bounds) else {
                return;
            };
            page.splice(at * ENTRY, ENTRY, 0);
            let count = entries(page).len();
            level.set_count(i, count as u64);
            if count == 0 {
                level.remove_leaf(i);
            } else if count * ENTRY < SPARSE {
                join(level, i);
            }
        });
    }

    /// Notes that a member of this hash went from one leaf to another.
    pub fn repoint(&mut self, hash: u32, from: u32, to: u32) {
        let (old, new) = (entry(hash, from), entry(hash, to));
        let bounds = any_hash();
        self.pages.edit(&mut seek(hash, &bounds), |level, i| {
            if let Some(page) = level.leaf_mut(i)
                && let Some(at) = position(entries(page), &old, &bounds)
                && let Some(slot) = page.bytes_mut().as_chunks_mut().0.get_mut(at)
            {
                *slot = new;
            }
        });
    }

    /// Hands each hash from `from` on, ascending, with the distinct leaves that hold members of
    /// it, to `each`, until that returns `false`; the hash after the last one handed out, or
    /// `None` when there is none.
    pub fn scan(&self, from: u32, mut each: impl FnMut(u32, &[u32]) -> bool) -> Option<u32> {
        let bounds = any_hash();
        let mut walk = self.pages.walk(&mut seek(from, &bounds));
        let mut start = walk
            .current()
            .map_or(0, |page| lower_bound(entries(page), from, &bounds));
        let mut more = true;
        while let Some(page) = walk.current() {
            let mut rest = entries(page).get(start..).unwrap_or_default();
            while let Some(first) = rest.first() {
                let hash = hash_of(first);
                if !more {
                    return Some(hash);
                }
                let run = rest
                    .iter()
                    .take_while(|entry| hash_of(entry) == hash)
                    .count();
                let (this, after) = rest.split_at_checked(run).unwrap_or_default();
                let mut leaves: SmallVec<[u32; 4]> = this.iter().map(leaf_of).collect();
                leaves.sort_unstable();
                leaves.dedup();
                more = each(hash, &leaves);
                rest = after;
            }
            walk.forward();
            start = 0;
        }
        None
    }
}

fn position(entries: &[[u8; ENTRY]], wanted: &[u8; ENTRY], bounds: &Bounds) -> Option<usize> {
    let hash = hash_of(wanted);
    let from = lower_bound(entries, hash, bounds);
    let mut run = entries
        .get(from..)?
        .iter()
        .take_while(|entry| hash_of(entry) == hash);
    Some(from + run.position(|entry| entry == wanted)?)
}

/// Splits page `i` somewhere between a third and two thirds, as leaves are cut (see there), but not
/// between entries of one hash.
fn split(level: &mut Level<u32, Block>, i: usize) {
    let Some(page) = level.leaf_mut(i) else {
        return;
    };
    let all = entries(page);
    let chance = all.last().map_or(128, |last| hash_of(last) as u8);
    let wanted = all.len() * (256 + usize::from(chance)) / 768;
    let Some(middle) = all.get(wanted).map(hash_of) else {
        return;
    };
    let mut cut = all.partition_point(|entry| hash_of(entry) < middle);
    if cut == 0 {
        cut = all.partition_point(|entry| hash_of(entry) <= middle);
    }
    let (left, right) = all.split_at_checked(cut).unwrap_or_default();
    let Some(separator) = right.first().map(hash_of) else {
        return;
    };
    let (kept, moved) = (left.len(), right.len());
    let right = Block::concat(&[right.as_flattened()]);
    page.resize(kept * ENTRY);
    level.set_count(i, kept as u64);
    level.insert_leaf(i + 1, separator, right, moved as u64);
}

/// Joins page `i` with a neighbour if both fit into one that leaves room to grow.
fn join(level: &mut Level<u32, Block>, i: usize) {
    let used = |level: &Level<u32, Block>, i: usize| level.leaf(i).map_or(MAX_USED, Block::used);
    let own = used(level, i);
    let left = if own + used(level, i + 1) <= MAX_USED / 4 * 3 {
        i
    } else if i > 0 && used(level, i - 1) + own <= MAX_USED / 4 * 3 {
        i - 1
    } else {
        return;
    };
    if let Some(right) = level.remove_leaf(left + 1)
        && let Some(page) = level.leaf_mut(left)
    {
        let end = page.used();
        page.splice(end, 0, right.used())
            .copy_from_slice(right.bytes());
        let count = entries(page).len();
        level.set_count(left, count as u64);
    }
}

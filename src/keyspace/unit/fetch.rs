//! What is known of a command's keys before it runs: their hashes, and where their entries
//! probably stand. Both were found out for other reasons (which shards to lock, what to ask the
//! processor for), and lookups need not find them out again.
//!
//! What a lookup reads lies in three places, each of which names the next: the slots of the table,
//! the entry, and for most types a value outside of it. All slots are asked for, then all entries,
//! then all values, so that the fetches of a unit overlap. What is added to a stream goes to a
//! place two steps further, to which the same applies.

use smallvec::SmallVec;

use super::super::entry::EntryRef;
use super::super::hash;
use super::super::locks::{Keyspace, ShardMask, shard_of};
use super::super::table::Pos;
use super::Unit;

/// Keys that are looked up together, at most.
pub const TOGETHER: usize = 16;

/// Where entries probably stand: a lookup looks there first, and anywhere else if need be.
pub type Places = [Pos; TOGETHER];

/// Nothing is known of any.
pub const NO_PLACES: Places = [Pos::NOWHERE; TOGETHER];

/// What is known of the keys of the command that runs next.
#[derive(Clone, Copy, Debug)]
pub struct Hint<'a> {
    /// Where the argument begins that is the first key. A pointer is enough: while the unit lasts,
    /// nothing else lies there.
    key: *const u8,
    hash: u64,
    place: Pos,
    /// The hashes of all keys, if there are several.
    all: &'a [u64],
}

impl<'a> Hint<'a> {
    /// Nothing.
    pub const NONE: Hint<'static> = Hint {
        key: std::ptr::null(),
        hash: 0,
        place: Pos::NOWHERE,
        all: &[],
    };

    /// The hash of the argument that is the first key, where its entry may stand, and if there are
    /// several keys the hashes of all of them.
    #[inline]
    pub fn new(key: &[u8], hash: u64, place: Pos, all: &'a [u64]) -> Hint<'a> {
        Hint {
            key: key.as_ptr(),
            hash,
            place,
            all,
        }
    }

    #[inline]
    fn is_of(&self, key: &[u8]) -> bool {
        std::ptr::eq(self.key, key.as_ptr()) && !key.is_empty()
    }

    /// Where the entry of `key` may stand.
    #[inline]
    pub(super) fn place_of(&self, key: &[u8]) -> Pos {
        if self.is_of(key) {
            self.place
        } else {
            Pos::NOWHERE
        }
    }
}

impl Keyspace {
    /// Asks the processor for the entry that a lookup of this hash will find, ahead of the unit
    /// that does it. Left out where somebody else has the shard: nobody waits for that.
    #[inline]
    pub fn fetch_ahead(&self, db: usize, hash: u64) {
        let Some(locked) = self.try_lock(ShardMask::only(shard_of(hash))) else {
            return;
        };
        let from = locked.prefetch_slots(db, hash);
        if let Some((_, entry)) = locked.candidate(db, hash, from) {
            entry.prefetch();
        }
    }
}

impl<'a> Unit<'a> {
    /// Tells what is known of the keys of the command that runs next.
    #[inline]
    pub fn hint(&mut self, hint: Hint<'a>) {
        self.hint = hint;
    }

    #[inline]
    pub(super) fn hash(&self, key: &[u8]) -> u64 {
        if self.hint.is_of(key) {
            return self.hint.hash;
        }
        hash::of(key)
    }

    /// The hashes of a command's keys, if they are known: `count` keys, the first of them `first`.
    fn known_hashes(&self, first: &[u8], count: usize) -> Option<&'a [u64]> {
        let all = self.hint.all;
        (all.len() == count && self.hint.is_of(first)).then_some(all)
    }

    /// Asks the processor for the slots that a lookup of this hash reads first ([`Unit::fetch`]).
    #[inline]
    pub fn slots_of(&self, db: usize, hash: u64) -> Pos {
        self.locked.prefetch_slots(db, hash)
    }

    /// Asks the processor for the entries that lookups of these hashes will find, and for their
    /// values. `places` are where their slots begin, which were asked for ([`Unit::slots_of`]), and
    /// become where the entries probably stand.
    #[inline]
    pub fn fetch(&self, db: usize, hashes: impl Iterator<Item = u64>, places: &mut Places) {
        let mut entries: [Option<EntryRef<'_>>; TOGETHER] = [None; TOGETHER];
        for ((hash, place), entry) in hashes.zip(places.iter_mut()).zip(&mut entries) {
            let found = self.locked.candidate(db, hash, *place);
            *place = found.map_or(Pos::NOWHERE, |(pos, found)| {
                found.prefetch();
                *entry = Some(found);
                pos
            });
        }
        let entries = entries.into_iter().flatten();
        let more = entries
            .clone()
            .fold(false, |more, entry| entry.prefetch_value() | more);
        if more {
            entries.clone().for_each(EntryRef::prefetch_last);
            entries.for_each(EntryRef::prefetch_end);
        }
    }

    /// Shows the items of a command that has a key for each, in order, while what the lookups of
    /// their keys will read is on its way.
    pub fn fetched<T>(
        &mut self,
        db: usize,
        items: &[T],
        key: impl Fn(&T) -> &[u8],
        mut each: impl FnMut(&mut Self, &T),
    ) {
        let first = items.first().map(&key).unwrap_or_default();
        let known = self.known_hashes(first, items.len());
        for (i, some) in items.chunks(TOGETHER).enumerate() {
            let known = known.and_then(|all| all.chunks(TOGETHER).nth(i));
            let hashes: SmallVec<[u64; TOGETHER]> = match known {
                Some(hashes) => SmallVec::from_slice(hashes),
                None => some.iter().map(|item| hash::of(key(item))).collect(),
            };
            let mut places = NO_PLACES;
            for (hash, place) in hashes.iter().zip(&mut places) {
                *place = self.slots_of(db, *hash);
            }
            self.fetch(db, hashes.iter().copied(), &mut places);
            for ((item, hash), place) in some.iter().zip(hashes).zip(places) {
                self.hint = Hint::new(key(item), hash, place, &[]);
                each(self, item);
            }
        }
        // The items may be gone before the unit ends.
        self.hint = Hint::NONE;
    }
}

//! The shards and their locks.
//!
//! A unit of work locks all the shards it needs at once, in ascending order, before its first
//! command runs: [`Keyspace::lock`] with a mask, or nothing. Nobody locks a shard while holding
//! another lock set, so there is no deadlock and no order to remember.
//!
//! `unsafe` is expected here: which shards a [`Locked`] may touch is a bit mask, checked at each
//! access, instead of a guard for each shard.

#![expect(
    unsafe_code,
    reason = "a lock set is a mask over raw mutexes, checked on access"
)]

use std::cell::UnsafeCell;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use lock_api::{RawMutex as _, RawMutexFair as _};
use parking_lot::RawMutex;

use crate::base::padded::CachePadded;

use super::entry::EntryRef;
use super::shard::Shard;
use super::table::Pos;
use super::turns::{Manner, Turns};
use super::waiters::Ticket;

/// Upper bits of a key's hash that choose its shard.
pub const SHARD_BITS: u32 = 6;
/// Number of shards.
pub const SHARDS: usize = 1 << SHARD_BITS;

/// A set of shards, a bit each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ShardMask(u64);

impl ShardMask {
    /// No shard.
    pub const NONE: ShardMask = ShardMask(0);
    /// Every shard.
    pub const ALL: ShardMask = ShardMask(!0);

    /// Adds the shard of a hash.
    #[inline]
    pub fn add_hash(&mut self, hash: u64) {
        self.0 |= 1 << shard_of(hash);
    }

    /// The shard with this index alone.
    pub fn only(index: usize) -> ShardMask {
        ShardMask(1 << (index % SHARDS))
    }

    /// The shards of this set whose index is less.
    fn below(self, index: usize) -> ShardMask {
        ShardMask(self.0 & ((1 << (index % SHARDS)) - 1))
    }

    /// Both sets together.
    #[inline]
    pub fn union(self, other: ShardMask) -> ShardMask {
        ShardMask(self.0 | other.0)
    }

    /// This set less `other`.
    #[inline]
    pub fn without(self, other: ShardMask) -> ShardMask {
        ShardMask(self.0 & !other.0)
    }

    /// Whether all of `other` is in this set.
    #[inline]
    pub fn contains(self, other: ShardMask) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether a shard is in both sets.
    #[inline]
    pub fn meets(self, other: ShardMask) -> bool {
        self.0 & other.0 != 0
    }

    /// Whether there is no shard in it.
    #[inline]
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether there is exactly one shard in it.
    #[inline]
    pub fn is_single(self) -> bool {
        self.0.is_power_of_two()
    }

    /// The indexes of the shards in it, ascending.
    #[inline]
    pub fn iter(self) -> impl Iterator<Item = usize> {
        let mut rest = self.0;
        std::iter::from_fn(move || {
            if rest == 0 {
                return None;
            }
            let i = rest.trailing_zeros() as usize;
            rest &= rest - 1;
            Some(i)
        })
    }
}

/// The index of the shard that holds keys of this hash.
#[inline]
pub fn shard_of(hash: u64) -> usize {
    (hash >> (64 - SHARD_BITS)) as usize
}

/// A shard and its lock. What every unit touches, the lock and the shard's first fields, shares
/// one cache line: it is what travels between the workers' processors.
#[repr(C, align(128))]
struct Cell {
    lock: RawMutex,
    shard: UnsafeCell<Shard>,
}

impl Cell {
    /// Waits for the lock: awake for about as long as a unit holds one, asleep behind that.
    /// `false`: it is left to another, and a turn is to be waited for, with no lock held.
    #[inline]
    fn lock(&self, turns: &Turns) -> bool {
        self.lock.try_lock() || self.wait(turns)
    }

    #[cold]
    fn wait(&self, turns: &Turns) -> bool {
        let manner = turns.manner();
        for _ in 0..manner.looks() {
            std::hint::spin_loop();
            if !self.lock.is_locked() && self.lock.try_lock() {
                turns.looked(manner, true);
                return true;
            }
        }
        if manner == Manner::Polite {
            return false;
        }
        turns.looked(manner, false);
        self.lock.lock();
        true
    }

    /// Asks the processor for the cell's first line, to be written: another processor has
    /// probably had it last, and the lines of a unit's shards shall come at the same time.
    #[inline]
    fn fetch(&self) {
        #[cfg(all(target_arch = "x86_64", not(miri)))]
        // SAFETY: a prefetch changes nothing that the program sees; processors that do not know
        // this one take it for a no-op.
        unsafe {
            std::arch::asm!(
                "prefetchw [{}]",
                in(reg) std::ptr::from_ref(self),
                options(nostack, preserves_flags, readonly)
            );
        }
    }
}

// SAFETY: the shard is only reached through a `Locked` that holds the lock.
unsafe impl Sync for Cell {}

/// All the data of a server.
pub struct Keyspace {
    cells: Box<[Cell]>,
    databases: usize,
    /// Changes since the last successful save, as `rdb_changes_since_last_save` counts them. On a
    /// cache line of its own: every unit reads the other fields, many write this one.
    dirty: Box<CachePadded<AtomicU64>>,
    /// Tickets in all queues, and those of them that need further shards. Changed while the shard
    /// is locked, so whoever locked it sees its share.
    tickets: AtomicUsize,
    wide_tickets: AtomicUsize,
    pub(super) snapshot: super::snapshot::Registry,
    /// The turns that workers take where they want the same shards.
    pub turns: Turns,
}

impl Keyspace {
    /// An empty keyspace of `databases` databases.
    pub fn new(databases: usize) -> Keyspace {
        let cell = |_| Cell {
            lock: RawMutex::INIT,
            shard: UnsafeCell::new(Shard::new(databases, SHARD_BITS)),
        };
        Keyspace {
            cells: (0..SHARDS).map(cell).collect(),
            databases,
            dirty: Box::new(CachePadded(AtomicU64::new(0))),
            tickets: AtomicUsize::new(0),
            wide_tickets: AtomicUsize::new(0),
            snapshot: super::snapshot::Registry::default(),
            turns: Turns::default(),
        }
    }

    /// Number of databases.
    pub fn databases(&self) -> usize {
        self.databases
    }

    /// Changes since the last successful save.
    pub fn dirty(&self) -> u64 {
        self.dirty.load(Ordering::Relaxed)
    }

    /// Counts changes.
    pub fn add_dirty(&self, changes: u64) {
        if changes > 0 {
            self.dirty.fetch_add(changes, Ordering::Relaxed);
        }
    }

    /// Takes `saved` changes off, after a save that covered them.
    pub fn saved(&self, saved: u64) {
        let _ = self
            .dirty
            .0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |d| {
                Some(d.saturating_sub(saved))
            });
    }

    /// Locks the shards of `mask`, in ascending order.
    #[inline]
    pub fn lock(&self, mask: ShardMask) -> Locked<'_> {
        while !self.lock_all(mask) {
            self.turns.wait(mask);
        }
        self.turns.locked(mask);
        Locked {
            keyspace: self,
            mask,
            gives_way: false,
        }
    }

    /// `false`: none of them, and a turn is to be waited for. Who has that is not refused.
    #[inline]
    fn lock_all(&self, mask: ShardMask) -> bool {
        for i in mask.iter() {
            if let Some(c) = self.cells.get(i)
                && !c.lock(&self.turns)
            {
                self.unlock(mask.below(i), false);
                return false;
            }
        }
        true
    }

    /// Locks the shards of `mask` if nobody else has any of them.
    #[inline]
    pub(super) fn try_lock(&self, mask: ShardMask) -> Option<Locked<'_>> {
        let mut locked = self.lock(ShardMask::NONE);
        locked.try_add(mask).then_some(locked)
    }

    /// Locks the shards of `mask`, and those that serving who waits in them needs, so that a
    /// client that waits is served by the very unit that made its key ready, wherever that leads.
    #[inline]
    pub fn lock_to_serve(&self, mask: ShardMask) -> Locked<'_> {
        let locked = self.lock(mask);
        if self.wide_tickets.load(Ordering::Relaxed) == 0 {
            return locked;
        }
        self.widen(locked)
    }

    /// As [`Keyspace::lock_to_serve`] for the first of several pieces of work, each with its
    /// shards, and for as many of the others, in order, as need not be waited for. How many
    /// pieces may be done. So nobody holds what others need while waiting for what others have.
    /// `got` hears of each piece whose shards are locked.
    #[inline]
    pub fn lock_leading(
        &self,
        pieces: impl Iterator<Item = ShardMask> + Clone,
        mut got: impl FnMut(&mut Locked<'_>, usize),
    ) -> (Locked<'_>, usize) {
        let all = pieces
            .clone()
            .fold(ShardMask::NONE, |all, mask| all.union(mask));
        if !all.is_single() {
            for i in all.iter() {
                if let Some(c) = self.cells.get(i) {
                    c.fetch();
                }
            }
        }
        let mut locked = self.lock(ShardMask::NONE);
        let mut count = 0;
        for mask in pieces {
            if count == 0 {
                locked = self.lock_to_serve(mask);
            } else if !locked.try_add(mask) {
                break;
            }
            got(&mut locked, count);
            count += 1;
        }
        if self.wide_tickets.load(Ordering::Relaxed) > 0 {
            locked = self.widen(locked);
        }
        (locked, count)
    }

    #[cold]
    fn widen<'a>(&'a self, mut locked: Locked<'a>) -> Locked<'a> {
        loop {
            let mut mask = locked.mask;
            for i in locked.mask.iter() {
                if let Some(shard) = locked.shard(i) {
                    mask = mask.union(shard.needs());
                }
            }
            if mask == locked.mask {
                return locked;
            }
            drop(locked);
            locked = self.lock(mask);
        }
    }

    /// Unlocks shards that a lock set has and gives up.
    #[inline]
    fn unlock(&self, mask: ShardMask, fairly: bool) {
        for i in mask.iter() {
            if let Some(c) = self.cells.get(i) {
                // SAFETY: they were locked for the lock set whose shards these are, which forgets
                // them with this call.
                unsafe {
                    if fairly {
                        c.lock.unlock_fair();
                    } else {
                        c.lock.unlock();
                    }
                }
            }
        }
    }

    /// Whether somebody waits for a key. Certain for the keys of locked shards alone.
    #[inline]
    pub fn has_waiters(&self) -> bool {
        self.tickets.load(Ordering::Relaxed) > 0
    }

    /// Number of shards.
    #[inline]
    pub fn shard_count(&self) -> usize {
        self.cells.len()
    }
}

/// Locked shards; unlocks them when dropped.
pub struct Locked<'a> {
    keyspace: &'a Keyspace,
    mask: ShardMask,
    gives_way: bool,
}

impl<'a> Locked<'a> {
    /// For work behind the clients' backs, which locks again and again: whoever waits gets the
    /// lock when it is released, however soon we come back for it.
    pub fn giving_way(mut self) -> Locked<'a> {
        self.gives_way = true;
        self
    }

    /// Locks the shards of `mask` as well, if nobody else has any of them.
    #[inline]
    fn try_add(&mut self, mask: ShardMask) -> bool {
        let fresh = mask.without(self.mask);
        if fresh.is_single() {
            let cell = self.keyspace.cells.get(fresh.0.trailing_zeros() as usize);
            let got = cell.is_some_and(|c| c.lock.try_lock());
            if got {
                self.mask = self.mask.union(fresh);
            }
            return got;
        }
        let mut got = ShardMask::NONE;
        for i in fresh.iter() {
            let cell = self.keyspace.cells.get(i);
            if !cell.is_some_and(|c| c.lock.try_lock()) {
                self.keyspace.unlock(got, false);
                return false;
            }
            got = got.union(ShardMask::only(i));
        }
        self.mask = self.mask.union(fresh);
        true
    }

    /// The shards that are locked.
    #[inline]
    pub fn mask(&self) -> ShardMask {
        self.mask
    }

    /// The keyspace whose shards these are.
    pub fn keyspace(&self) -> &'a Keyspace {
        self.keyspace
    }

    /// A locked shard; `None` if it is not in the mask.
    #[inline]
    pub fn shard(&mut self, index: usize) -> Option<&mut Shard> {
        debug_assert!(
            self.mask.contains(ShardMask::only(index)),
            "shard {index} is not locked"
        );
        if !self.mask.contains(ShardMask::only(index)) {
            return None;
        }
        let cell = self.keyspace.cells.get(index)?;
        // SAFETY: this lock set holds the cell's lock, and is mutably borrowed.
        Some(unsafe { &mut *cell.shard.get() })
    }

    /// Tells the locked shards the instant of their unit.
    pub fn set_instant(&mut self, now_ms: i64) {
        for i in self.mask.iter() {
            if let Some(shard) = self.shard(i) {
                shard.now_ms = now_ms;
            }
        }
    }

    /// Queues a ticket for a key; its client has none there.
    pub fn wait_for(&mut self, db: usize, key: &[u8], ticket: Ticket) {
        let keyspace = self.keyspace;
        if let Some(shard) = self.shard_for(super::hash::of(key)) {
            shard.wait_for(db, key, ticket);
            let wide = usize::from(!ticket.needs.is_empty());
            keyspace.wide_tickets.fetch_add(wide, Ordering::Relaxed);
            keyspace.tickets.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Takes a client's ticket for a key back.
    pub fn stop_waiting(&mut self, db: usize, key: &[u8], client: u64) {
        let keyspace = self.keyspace;
        if let Some(shard) = self.shard_for(super::hash::of(key))
            && let Some(ticket) = shard.stop_waiting(db, key, client)
        {
            let wide = usize::from(!ticket.needs.is_empty());
            keyspace.wide_tickets.fetch_sub(wide, Ordering::Relaxed);
            keyspace.tickets.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Asks the processor for the slots that a lookup of `hash` will read, if its shard is locked.
    /// Where they begin.
    #[inline]
    pub fn prefetch_slots(&self, db: usize, hash: u64) -> Pos {
        match self.look(hash).and_then(|s| s.db(db)) {
            Some(d) => d.table.prefetch_slots(hash),
            None => Pos::NOWHERE,
        }
    }

    /// The entry that a lookup of `hash` will compare first, and its place, if the hash's shard is
    /// locked; `from` is what [`Locked::prefetch_slots`] gave.
    #[inline]
    pub fn candidate(&self, db: usize, hash: u64, from: Pos) -> Option<(Pos, EntryRef<'_>)> {
        self.look(hash)?.db(db)?.table.candidate(from, hash)
    }

    /// The shard of a hash, to be looked at.
    #[inline]
    fn look(&self, hash: u64) -> Option<&Shard> {
        let index = shard_of(hash);
        if !self.mask.contains(ShardMask::only(index)) {
            return None;
        }
        let cell = self.keyspace.cells.get(index)?;
        // SAFETY: this lock set holds the cell's lock, and is borrowed: nobody else changes the
        // shard, and this set gives it out to be changed only when it is mutably borrowed.
        Some(unsafe { &*cell.shard.get() })
    }

    /// The shard of a hash.
    #[inline]
    pub fn shard_for(&mut self, hash: u64) -> Option<&mut Shard> {
        self.shard(shard_of(hash))
    }
}

impl Drop for Locked<'_> {
    #[inline]
    fn drop(&mut self) {
        self.keyspace.unlock(self.mask, self.gives_way);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One in each of four shards.
    const HASHES: [u64; 4] = [0, 1 << 58, 2 << 58, 3 << 58];

    fn shard(i: usize) -> ShardMask {
        ShardMask::only(i)
    }

    #[test]
    fn a_unit_ends_before_the_shard_that_somebody_holds() {
        let keyspace = Keyspace::new(1);
        let held = keyspace.lock(shard(2));
        let pieces = [shard(3), shard(1), shard(2), shard(0)];
        let mut heard = Vec::new();
        let (locked, count) = keyspace.lock_leading(pieces.into_iter(), |_, i| heard.push(i));
        assert_eq!((count, heard), (2, vec![0, 1]));
        assert_eq!(locked.mask(), shard(3).union(shard(1)));
        drop(locked);
        // What it gave up, and what it let go, can be had.
        drop(held);
        let (locked, count) = keyspace.lock_leading(pieces.into_iter(), |_, _| ());
        assert_eq!((count, locked.mask().iter().count()), (4, 4));
    }

    #[test]
    fn a_piece_of_several_shards_is_had_whole_or_not_at_all() {
        let keyspace = Keyspace::new(1);
        let held = keyspace.lock(shard(5));
        let pair = shard(4).union(shard(5));
        let (locked, count) = keyspace.lock_leading([shard(9), pair].into_iter(), |_, _| ());
        assert_eq!((count, locked.mask()), (1, shard(9)));
        // The half that it could have had is free again.
        drop(keyspace.lock(shard(4)));
        drop(held);
    }

    #[test]
    fn units_in_opposite_orders_neither_block_each_other_for_ever_nor_overlap() {
        const ROUNDS: usize = 2_000;
        let keyspace = Keyspace::new(1);
        let work = |order: [usize; 4]| {
            for _ in 0..ROUNDS {
                let mut left = &order[..];
                while !left.is_empty() {
                    let (mut locked, count) =
                        keyspace.lock_leading(left.iter().map(|&i| shard(i)), |_, _| ());
                    assert!(count > 0);
                    for &i in &left[..count] {
                        let s = locked.shard_for(HASHES[i]).unwrap();
                        // Not atomic: two at once would lose some.
                        let newest = s.writes.newest();
                        s.writes.note_any(newest + 1);
                    }
                    left = &left[count..];
                }
            }
        };
        std::thread::scope(|scope| {
            scope.spawn(|| work([0, 1, 2, 3]));
            scope.spawn(|| work([3, 2, 1, 0]));
            scope.spawn(|| work([2, 0, 3, 1]));
        });
        let mut all = keyspace.lock(ShardMask::ALL);
        for i in 0..4 {
            assert_eq!(all.shard(i).unwrap().writes.newest(), 3 * ROUNDS as u64);
        }
    }
}

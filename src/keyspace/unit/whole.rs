//! What a unit does to whole databases. Every shard must be locked.

use super::super::entry::EntryRef;
use super::super::hash;
use super::super::locks::{Keyspace, SHARD_BITS, SHARDS, ShardMask, shard_of};
use super::super::shard::Shard;
use super::super::table::Table;
use super::freed::{Free, Garbage};
use super::{ExpiryMode, Unit};

impl Unit<'_> {
    /// Number of keys in a database, over all shards. Every shard must be locked.
    pub fn db_len(&mut self, db: usize) -> usize {
        self.sum(db, Table::len)
    }

    /// Number of keys with an expiry in a database. Every shard must be locked.
    pub fn db_volatile_len(&mut self, db: usize) -> usize {
        self.sum(db, Table::volatile_len)
    }

    /// Number of hashes in a database with fields that have an expiry. Every shard must be
    /// locked.
    pub fn db_timed_len(&mut self, db: usize) -> usize {
        self.sum(db, Table::timed_len)
    }

    fn sum(&mut self, db: usize, of: impl Fn(&Table) -> usize) -> usize {
        (0..SHARDS)
            .filter_map(|i| self.locked.shard(i)?.db(db).map(|d| of(&d.table)))
            .sum()
    }

    /// Visits entries of a database in hash order from `cursor` on, at least `count` of them.
    /// Entries that are due are visited too. Every shard must be locked. Returns the cursor to
    /// go on from, 0 at the end.
    pub fn scan(
        &mut self,
        db: usize,
        cursor: u64,
        count: usize,
        mut visit: impl FnMut(EntryRef<'_>),
    ) -> u64 {
        let mut position = cursor;
        let mut seen = 0usize;
        let mut shard = shard_of(position);
        while shard < SHARDS {
            if let Some(d) = self.locked.shard(shard).and_then(|s| s.db(db)) {
                let left = count.saturating_sub(seen).max(1);
                let next = d.table.scan(position, left, |e| {
                    seen += 1;
                    visit(e);
                });
                if let Some(next) = next {
                    return next;
                }
            }
            shard += 1;
            position = (shard as u64) << (64 - SHARD_BITS);
            if seen >= count && shard < SHARDS {
                return position;
            }
        }
        0
    }

    /// As [`Unit::scan`], but a unit that holds no lock takes each shard's in turn, for at most
    /// `step` entries at a time. Every shard must be locked, or none.
    pub fn walk(
        &mut self,
        db: usize,
        cursor: u64,
        count: usize,
        step: usize,
        mut visit: impl FnMut(EntryRef<'_>),
    ) -> u64 {
        if !self.locked.mask().is_empty() {
            return self.scan(db, cursor, count, visit);
        }
        let keyspace = self.keyspace();
        let seen = &mut self.seen_write;
        keyspace.walk_noting(db, cursor, count, step, &mut visit, |shard| {
            *seen = (*seen).max(shard.writes.newest());
        })
    }
}

impl Keyspace {
    /// The log begins anew: where the shards were written last does not lie in it.
    pub fn forget_writes(&self) {
        let mut locked = self.lock(ShardMask::ALL);
        for index in 0..SHARDS {
            if let Some(shard) = locked.shard(index) {
                shard.writes.forget();
            }
        }
    }

    /// Number of keys in a database, shard after shard.
    pub fn db_len(&self, db: usize) -> usize {
        let len = |index: usize| {
            let mut locked = self.lock(ShardMask::only(index));
            let shard = locked.shard(index)?;
            Some(shard.db(db)?.table.len())
        };
        (0..SHARDS).filter_map(len).sum()
    }

    /// As [`Unit::walk`], without a unit.
    pub fn walk(
        &self,
        db: usize,
        cursor: u64,
        count: usize,
        step: usize,
        mut visit: impl FnMut(EntryRef<'_>),
    ) -> u64 {
        self.walk_noting(db, cursor, count, step, &mut visit, |_| {})
    }

    fn walk_noting(
        &self,
        db: usize,
        cursor: u64,
        count: usize,
        step: usize,
        visit: &mut impl FnMut(EntryRef<'_>),
        mut note: impl FnMut(&Shard),
    ) -> u64 {
        let (mut position, mut seen) = (cursor, 0usize);
        let mut index = shard_of(position);
        while index < SHARDS {
            let mut locked = self.lock(ShardMask::only(index));
            let Some(shard) = locked.shard(index) else {
                break;
            };
            note(shard);
            let left = count.saturating_sub(seen).clamp(1, step);
            let next = shard.db(db).and_then(|d| {
                d.table.scan(position, left, |entry| {
                    seen += 1;
                    visit(entry);
                })
            });
            drop(locked);
            position = match next {
                Some(next) => next,
                None => {
                    index += 1;
                    (index as u64) << (64 - SHARD_BITS)
                }
            };
            if seen >= count && index < SHARDS {
                return position;
            }
        }
        0
    }
}

impl Unit<'_> {
    /// A random key of a database that is not due. Every shard must be locked.
    pub fn random_key(&mut self, db: usize) -> Option<Box<[u8]>> {
        let mut tries = 100;
        loop {
            let total = self.db_len(db);
            if total == 0 {
                return None;
            }
            let mut nth = crate::base::random::below(total as u64) as usize;
            let mut found = None;
            for i in 0..SHARDS {
                let Some(d) = self.locked.shard(i).and_then(|s| s.db(db)) else {
                    continue;
                };
                if nth < d.table.len() {
                    found = d
                        .table
                        .random(crate::base::random::below)
                        .map(|e| e.key().into());
                    break;
                }
                nth -= d.table.len();
            }
            let key: Box<[u8]> = found?;
            tries -= 1;
            if tries == 0 && self.options.expiry != ExpiryMode::Remove {
                return Some(key);
            }
            if self.exists(db, &key) {
                return Some(key);
            }
        }
    }

    /// Empties a database; how many keys it had. Every shard must be locked.
    pub fn flush(&mut self, db: usize, free: Free) -> usize {
        let had = self.db_len(db);
        for i in 0..SHARDS {
            if let Some(t) = self.locked.shard(i).and_then(|s| s.flush(db, SHARD_BITS)) {
                self.freed.push(Garbage::Table(t), free);
            }
        }
        had
    }

    /// Exchanges two databases. Every shard must be locked.
    pub fn swap(&mut self, a: usize, b: usize) {
        for i in 0..SHARDS {
            if let Some(s) = self.locked.shard(i) {
                s.swap(a, b);
            }
        }
        self.counters.dirty += 1;
    }

    /// The keys of `db` in the locked shard `index` that are due, of the next segment that has
    /// some. The caller removes them by [`Unit::expire_keys`].
    pub fn due_keys(&mut self, db: usize, index: usize) -> Vec<Box<[u8]>> {
        let now_ms = self.options.now_ms;
        let mut due: Vec<Box<[u8]>> = Vec::new();
        if let Some(d) = self.locked.shard(index).and_then(|s| s.db_mut(db)) {
            let from = d.expire_from;
            d.expire_from = d
                .table
                .expired(now_ms, from, 1, |key, _| due.push(key.into()));
        }
        due
    }

    /// Removes those of the keys that are still due. Their shard is locked.
    pub fn expire_keys(&mut self, db: usize, keys: &[Box<[u8]>]) {
        for key in keys {
            self.live(db, hash::of(key), key);
        }
    }
}

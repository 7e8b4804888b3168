//! Waiting for keys, as a unit sees it.

use super::super::hash;
use super::super::locks::ShardMask;
use super::super::value::ValueKind;
use super::super::waiters::{Ready, Ticket};
use super::{ExpiryMode, Unit};
use crate::keyspace::entry::EntryRef;

impl Unit<'_> {
    /// Whether the key's shard is locked. A command that is tried again for a client that waits
    /// sees only the keys of which this holds: for the others it would find nothing.
    #[inline]
    pub fn holds(&self, key: &[u8]) -> bool {
        let mut mask = ShardMask::NONE;
        mask.add_hash(hash::of(key));
        self.locked.mask().contains(mask)
    }

    /// Queues a ticket for a key.
    pub fn wait_for(&mut self, db: usize, key: &[u8], ticket: Ticket) {
        self.locked.wait_for(db, key, ticket);
    }

    /// Takes a client's ticket for a key back.
    pub fn stop_waiting(&mut self, db: usize, key: &[u8], client: u64) {
        self.locked.stop_waiting(db, key, client);
    }

    /// Has those who wait for a key tried again, without anybody else hearing of a change.
    pub fn make_ready(&mut self, db: usize, key: &[u8]) {
        if let Some(shard) = self.locked.shard_for(hash::of(key)) {
            shard.make_ready(db, key);
        }
    }

    /// The keys of the locked shards that became ready since the last call, in the order in which
    /// they did.
    pub fn take_ready(&mut self) -> Vec<Ready> {
        let mask = self.locked.mask();
        let mut ready = Vec::new();
        for i in mask.iter() {
            if let Some(shard) = self.locked.shard(i) {
                shard.take_ready(&mut ready);
            }
        }
        ready.sort_unstable_by_key(|r| r.stamp);
        ready
    }

    /// The ticket at a place of a key's queue.
    pub fn ticket_at(&mut self, db: usize, key: &[u8], place: usize) -> Option<Ticket> {
        let shard = self.locked.shard_for(hash::of(key))?;
        shard.db(db)?.waiters.at(key, place)
    }

    /// Whether somebody wants to know that the key went.
    pub fn wants_gone(&mut self, db: usize, key: &[u8]) -> bool {
        let shard = self.locked.shard_for(hash::of(key));
        shard
            .and_then(|s| s.db(db))
            .is_some_and(|d| d.waiters.wants_gone(key))
    }

    /// The type of the value at a key that is not due, without any trace: a key that is due stays.
    pub fn kind_of(&mut self, db: usize, key: &[u8]) -> Option<ValueKind> {
        if self.options.expiry != ExpiryMode::Ignore && self.is_due(db, key) {
            return None;
        }
        let hash = hash::of(key);
        let table = &self.locked.shard_for(hash)?.db(db)?.table;
        table
            .entry(table.find(hash, key)?)
            .map(EntryRef::value_kind)
    }
}

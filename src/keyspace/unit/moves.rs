//! Keys that come, go and change their name as wholes, and looks at them that leave no trace.

use super::super::entry::{EntryRef, Meta};
use super::super::shard::NewValue;
use super::super::value::Value;
use super::freed::Free;
use super::{ExpiryMode, NotifyClass, Unit};

/// A database and a key in it.
pub type Place<'k> = (usize, &'k [u8]);

impl Unit<'_> {
    /// The entry of a key, counted as a hit or a miss but without touching its access time.
    pub fn inspect(&mut self, db: usize, key: &[u8]) -> Option<EntryRef<'_>> {
        let hash = self.hash(key);
        let Some(pos) = self.live(db, hash, key) else {
            self.counters.misses += 1;
            self.notify(NotifyClass::KEY_MISS, "keymiss", db, key);
            return None;
        };
        self.counters.hits += 1;
        self.locked.shard_for(hash)?.db(db)?.table.entry(pos)
    }

    /// As [`Unit::inspect`], and nobody is told of a miss.
    pub fn inspect_quietly(&mut self, db: usize, key: &[u8]) -> Option<EntryRef<'_>> {
        let hash = self.hash(key);
        let Some(pos) = self.live(db, hash, key) else {
            self.counters.misses += 1;
            return None;
        };
        self.counters.hits += 1;
        self.locked.shard_for(hash)?.db(db)?.table.entry(pos)
    }

    /// Removes a key. Whether it was there.
    pub fn delete(&mut self, db: usize, key: &[u8]) -> bool {
        self.remove(db, key, Free::Here)
    }

    /// Removes a key and says who frees its value. Whether it was there.
    pub fn remove(&mut self, db: usize, key: &[u8], free: Free) -> bool {
        match self.take(db, key) {
            Some(entry) => {
                self.discard(entry, free);
                true
            }
            None => false,
        }
    }

    /// Puts a value at a key as a new one: what was there before goes, with its expiry, and event
    /// `new` is told in any case.
    pub fn place(&mut self, to: Place<'_>, value: Value, expire_ms: Option<i64>) {
        self.place_used(to, value, expire_ms, self.options.access);
    }

    /// As [`Unit::place`], with what tells how the key was used.
    fn place_used(
        &mut self,
        (db, key): Place<'_>,
        value: Value,
        expire_ms: Option<i64>,
        access: u32,
    ) {
        let hash = self.hash(key);
        let found = self.live(db, hash, key);
        if found.is_none() {
            self.remove_hidden(db, hash, key);
        }
        let Some(shard) = self.locked.shard_for(hash) else {
            return;
        };
        let old = found.and_then(|pos| shard.remove(db, pos));
        let meta = Meta {
            expire_ms,
            access,
            mark: false,
        };
        shard.insert(db, hash, key, NewValue::Value(value), meta);
        if let Some(old) = old {
            self.discard(old, self.options.replaced);
        }
        self.counters.dirty += 1;
        if expire_ms.is_some() {
            self.note_own_expiry(db, key);
        }
        self.notify(NotifyClass::NEW, "new", db, key);
    }

    /// Makes room for a new key where one lies that is due and hidden: on a writable replica, whose
    /// client is about to write it.
    pub(super) fn remove_hidden(&mut self, db: usize, hash: u64, key: &[u8]) {
        if self.options.expiry != ExpiryMode::Hide {
            return;
        }
        let Some(shard) = self.locked.shard_for(hash) else {
            return;
        };
        let hidden = shard.db(db).and_then(|d| d.table.find(hash, key));
        if let Some(old) = hidden.and_then(|pos| shard.remove(db, pos)) {
            self.discard(old, self.options.expired);
            self.counters.expired += 1;
            self.notify(NotifyClass::EXPIRED, "expired", db, key);
        }
    }

    /// Remembers a key with an expiry that no primary knows of.
    #[inline]
    pub(super) fn note_own_expiry(&mut self, db: usize, key: &[u8]) {
        if self.options.expiry == ExpiryMode::Hide {
            self.own_expiries.push((db, key.into()));
        }
    }

    /// Moves what is at `from` to `to`, over whatever is there. Whether there was something.
    pub fn rename(&mut self, from: Place<'_>, to: Place<'_>) -> bool {
        let Some(entry) = self.take(from.0, from.1) else {
            return false;
        };
        let expire_ms = entry.as_ref().expire_ms();
        let access = self.options.touched(entry.as_ref().access());
        self.place_used(to, entry.into_value(), expire_ms, access);
        // Taking and placing count one change each; together they are one.
        self.counters.dirty -= 1;
        true
    }
}

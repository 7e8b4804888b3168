//! Fields of hashes that are due.
//!
//! As with keys, a primary removes them where it meets them and logs the removal (an `HDEL` for
//! each), a replica's clients do not see them, and the link to a primary and the replay of a file
//! see them as any other. A hash whose last field goes this way goes too.

use super::super::shard::CollectionEdit;
use super::super::value::hash::Hash;
use super::{ExpiryMode, NotifyClass, Unit};

impl Unit<'_> {
    /// The instant at which a field must be due to be hidden: never for those who see everything.
    pub fn fields_now(&self) -> i64 {
        match self.options.expiry {
            ExpiryMode::Ignore => i64::MIN,
            ExpiryMode::Hide | ExpiryMode::Remove => self.options.now_ms,
        }
    }

    /// Removes these fields of a hash, which are due and have been met, and tells of it.
    pub fn expire_fields(&mut self, db: usize, key: &[u8], fields: &[&[u8]]) {
        if self.expire_fields_quietly(db, key, fields) > 0 {
            self.notify(NotifyClass::HASH, "hexpired", db, key);
            self.drop_emptied(db, key);
        }
    }

    /// As [`Unit::expire_fields`], but nobody is told unless the key goes (`HSETEX` with a
    /// condition).
    pub fn expire_fields_untold(&mut self, db: usize, key: &[u8], fields: &[&[u8]]) {
        if self.expire_fields_quietly(db, key, fields) > 0 {
            self.drop_emptied(db, key);
        }
    }

    /// Removes up to `limit` fields of a hash that are due; how many there were.
    pub fn expire_due_fields(&mut self, db: usize, key: &[u8], limit: usize) -> usize {
        if self.options.expiry != ExpiryMode::Remove {
            return 0;
        }
        let now_ms = self.options.now_ms;
        let mut due: Vec<Vec<u8>> = Vec::new();
        if let Some(entry) = self.peek(db, key)
            && let super::ValueRef::Hash(hash) = entry.value()
        {
            hash.due(now_ms, |record| {
                due.push(record.key.to_vec());
                due.len() < limit
            });
        }
        let fields: Vec<&[u8]> = due.iter().map(Vec::as_slice).collect();
        self.expire_fields(db, key, &fields);
        fields.len()
    }

    /// Removes fields and logs it; how many were there.
    fn expire_fields_quietly(&mut self, db: usize, key: &[u8], fields: &[&[u8]]) -> usize {
        if fields.is_empty() || self.options.expiry != ExpiryMode::Remove {
            return 0;
        }
        let hash = self.hash(key);
        let Some(pos) = self.live(db, hash, key) else {
            return 0;
        };
        let log = self.options.log;
        let effects = &mut *self.effects;
        let Some(shard) = self.locked.shard_for(hash) else {
            return 0;
        };
        let edited = shard.edit_collection::<Hash, _>(
            db,
            pos,
            key,
            |old| old,
            |hash| {
                let mut removed = 0;
                for field in fields.iter().filter(|field| hash.remove(**field)) {
                    removed += 1;
                    if log {
                        effects.push(db as u32, &[b"HDEL", key, field]);
                    }
                }
                (removed, removed as u64)
            },
        );
        let removed = match edited {
            CollectionEdit::Done { result, .. } => result,
            CollectionEdit::Gone | CollectionEdit::OtherType => 0,
        };
        self.counters.expired_fields += removed as u64;
        removed
    }

    /// Removes a hash that has lost its last field.
    fn drop_emptied(&mut self, db: usize, key: &[u8]) {
        let hash = self.hash(key);
        let Some(pos) = self.live(db, hash, key) else {
            return;
        };
        let Some(shard) = self.locked.shard_for(hash) else {
            return;
        };
        let entry = shard.db(db).and_then(|d| d.table.entry(pos));
        let is_empty = entry.is_some_and(|entry| match entry.value() {
            super::ValueRef::Hash(hash) => hash.is_empty(),
            _ => false,
        });
        if is_empty {
            shard.remove(db, pos);
            self.notify(NotifyClass::GENERIC, "del", db, key);
        }
    }

    /// Hands the hashes of which a field is due on to `each`, with the instant since when, looking
    /// at up to `budget` segments of `db` in the locked shard `index`.
    pub fn hashes_with_due_fields(
        &mut self,
        db: usize,
        index: usize,
        budget: usize,
        each: impl FnMut(i64, &[u8]),
    ) {
        let now_ms = self.options.now_ms;
        if let Some(d) = self.locked.shard(index).and_then(|s| s.db_mut(db)) {
            let from = d.fields_from;
            d.fields_from = d.table.with_due_fields(now_ms, from, budget, each);
        }
    }
}

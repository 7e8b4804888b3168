//! Filling a keyspace with many keys at once, as a load does.
//!
//! Whoever reads the keys makes whole entries of them, without a lock; they are then put in batch
//! by batch, in the order of their hashes: each shard is locked once for a batch, and what the next
//! insertions will read is asked for while the present one runs. All that a load needs of the hooks
//! of a shard is there: the snapshot mark, and clients that watch or wait for a key.

use super::entry::{Entry, Meta, prefetch};
use super::hash;
use super::locks::{Keyspace, SHARDS, ShardMask, shard_of};
use super::shard::NewValue;

/// How many insertions ahead the slots are asked for.
const SLOTS_AHEAD: usize = 8;
/// How many insertions ahead the entry is asked for, which another thread has written.
const ENTRY_AHEAD: usize = 12;

/// A key that is to go into a keyspace.
pub struct Newcomer {
    hash: u64,
    entry: Entry,
    db: u32,
}

impl Newcomer {
    /// A key of database `db`.
    pub fn new(db: u32, key: &[u8], value: NewValue<'_>, meta: Meta) -> Newcomer {
        Newcomer {
            hash: hash::of(key),
            entry: value.into_entry(key, meta),
            db,
        }
    }

    /// The key.
    pub fn key(&self) -> &[u8] {
        self.entry.as_ref().key()
    }

    /// Its database.
    pub fn db(&self) -> u32 {
        self.db
    }

    /// The index of the shard that it goes to.
    pub fn shard(&self) -> usize {
        shard_of(self.hash)
    }

    /// Bytes that it takes, a handle's target not counted.
    pub fn size_bytes(&self) -> usize {
        self.entry.as_ref().size_bytes()
    }
}

impl Keyspace {
    /// Makes room for so many keys of a database, which are about to come.
    pub fn make_room(&self, db: usize, keys: u64) {
        /// A few find room soon enough.
        const FEW: usize = 64;
        let keys = usize::try_from(keys / SHARDS as u64).unwrap_or(usize::MAX);
        if keys < FEW {
            return;
        }
        for shard in 0..SHARDS {
            let mut locked = self.lock(ShardMask::only(shard)).giving_way();
            if let Some(db) = locked.shard(shard).and_then(|s| s.db_mut(db)) {
                db.table.reserve(keys);
            }
        }
    }

    /// Gives back the room of keys of a database that did not come, if that is most of it.
    pub fn give_back_room(&self, db: usize) {
        for shard in 0..SHARDS {
            let mut locked = self.lock(ShardMask::only(shard)).giving_way();
            if let Some(db) = locked.shard(shard).and_then(|s| s.db_mut(db)) {
                db.table.give_back_room();
            }
        }
    }

    /// Puts keys in, and empties `newcomers`. A key that is there already is replaced if `replace`
    /// says so.
    ///
    /// # Errors
    /// The first key that was there already; of the others, some are in.
    pub fn fill(
        &self,
        newcomers: &mut Vec<Newcomer>,
        replace: bool,
        now_ms: i64,
    ) -> Result<(), Newcomer> {
        newcomers.sort_unstable_by_key(|n| n.hash);
        while let Some(last) = newcomers.last() {
            let shard = shard_of(last.hash);
            let mut locked = self.lock(ShardMask::only(shard)).giving_way();
            locked.set_instant(now_ms);
            let Some(shard_data) = locked.shard(shard) else {
                return Ok(());
            };
            while let Some(n) = newcomers.pop_if(|n| shard_of(n.hash) == shard) {
                let left = newcomers.len();
                if let Some(at) = left.checked_sub(ENTRY_AHEAD)
                    && let Some(later) = newcomers.get(at)
                {
                    prefetch(later.entry.address(), 1);
                }
                if let Some(at) = left.checked_sub(SLOTS_AHEAD)
                    && let Some(later) = newcomers.get(at)
                    && shard_of(later.hash) == shard
                    && let Some(db) = shard_data.db(later.db as usize)
                {
                    db.table.prefetch_slots(later.hash);
                }
                let Newcomer { hash, entry, db } = n;
                if let Err(entry) = shard_data.put_entry(db as usize, hash, entry, replace) {
                    return Err(Newcomer { hash, entry, db });
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keyspace::value::ValueRef;

    fn newcomer(db: u32, key: &str, value: &str) -> Newcomer {
        let value = NewValue::Bytes(value.as_bytes());
        Newcomer::new(db, key.as_bytes(), value, Meta::default())
    }

    fn get(keyspace: &Keyspace, db: usize, key: &str) -> Option<Vec<u8>> {
        let hash = hash::of(key.as_bytes());
        let mut locked = keyspace.lock(ShardMask::only(shard_of(hash)));
        let table = &locked.shard(shard_of(hash))?.db(db)?.table;
        let (_, entry) = table.find_entry(hash, key.as_bytes())?;
        match entry.value() {
            ValueRef::Str(s) => Some(s.as_bytes(&mut itoa::Buffer::new()).to_vec()),
            _ => None,
        }
    }

    fn len(keyspace: &Keyspace, db: usize) -> usize {
        let mut locked = keyspace.lock(ShardMask::ALL);
        let shards = 0..SHARDS;
        shards
            .filter_map(|i| Some(locked.shard(i)?.db(db)?.table.len()))
            .sum()
    }

    #[test]
    fn every_key_of_every_batch_is_found() {
        let keyspace = Keyspace::new(2);
        for batch in 0..40 {
            let keys = (0..1000).map(|i| (i % 2, format!("key:{batch}:{i}")));
            let mut all: Vec<_> = keys.map(|(db, k)| newcomer(db, &k, &k)).collect();
            assert!(keyspace.fill(&mut all, false, 0).is_ok());
            assert!(all.is_empty());
        }
        assert_eq!(len(&keyspace, 0) + len(&keyspace, 1), 40_000);
        for batch in 0..40 {
            for i in 0..1000 {
                let key = format!("key:{batch}:{i}");
                assert_eq!(get(&keyspace, i % 2, &key).unwrap(), key.as_bytes());
                assert_eq!(get(&keyspace, 1 - i % 2, &key), None);
            }
        }
    }

    #[test]
    fn a_key_that_is_there_is_told_or_replaced() {
        let keyspace = Keyspace::new(1);
        assert!(
            keyspace
                .fill(&mut vec![newcomer(0, "a", "1")], false, 0)
                .is_ok()
        );
        let mut again = vec![newcomer(0, "b", "2"), newcomer(0, "a", "3")];
        let told = keyspace.fill(&mut again, false, 0).err().unwrap();
        assert_eq!((told.db(), told.key()), (0, &b"a"[..]));
        assert_eq!(get(&keyspace, 0, "a").unwrap(), b"1");
        let mut again = vec![newcomer(0, "b", "4"), newcomer(0, "a", "5")];
        assert!(keyspace.fill(&mut again, true, 0).is_ok());
        assert_eq!(get(&keyspace, 0, "a").unwrap(), b"5");
        assert_eq!(get(&keyspace, 0, "b").unwrap(), b"4");
        assert_eq!(len(&keyspace, 0), 2);
    }

    #[test]
    fn who_watches_a_key_learns_that_it_came() {
        use std::sync::Arc;
        use std::sync::atomic::{AtomicBool, Ordering};
        let keyspace = Keyspace::new(1);
        let flag = Arc::new(AtomicBool::new(false));
        let shard = shard_of(hash::of(b"a"));
        let mut locked = keyspace.lock(ShardMask::only(shard));
        locked.shard(shard).unwrap().watch(0, b"a", &flag);
        drop(locked);
        assert!(
            keyspace
                .fill(&mut vec![newcomer(0, "a", "1")], false, 0)
                .is_ok()
        );
        assert!(flag.load(Ordering::Acquire));
    }
}

//! What a command sees of the keyspace: the locked shards of its unit, one instant, and the few
//! ways to look and to change.
//!
//! A [`Unit`] lives as long as the locks are held: a few pipelined commands, one EXEC, one
//! script. It expires keys as it meets them, counts hits and misses, and gathers what must happen
//! because of it: effects for the log (an expiry's `DEL`) and keyspace events.

mod edits;
mod fetch;
mod fields;
mod freed;
mod moves;
mod types;
mod waiting;
mod whole;

pub use fetch::{Hint, NO_PLACES, Places, TOGETHER};
pub use freed::{Free, Freed, Garbage};
pub use moves::Place;
pub use types::{
    Counters, Event, Expiry, ExpiryMode, Missing, NotifyClass, UnitOptions, WrongType,
};

use super::entry::{Entry, EntryRef, Meta};
use super::hash;
use super::locks::{Keyspace, Locked, ShardMask};
use super::shard::{NewValue, Shard, WatchFlag};
use super::table::Pos;
use super::value::{Collection, StrRef, Value, ValueRef};
use crate::oplog::effect::UnitEffects;

/// The locked shards of a unit and what came of it.
pub struct Unit<'a> {
    locked: Locked<'a>,
    /// How the unit works.
    pub options: UnitOptions,
    /// Effects of the unit, in order.
    pub effects: &'a mut UnitEffects,
    /// Events of the unit, in order.
    pub events: Vec<Event>,
    /// What was counted.
    pub counters: Counters,
    hint: Hint<'a>,
    /// What was removed, to be freed after the locks are released.
    pub freed: Freed,
    /// Keys that were given an expiry in a unit that hides what is due: nobody else removes them.
    pub own_expiries: Vec<(usize, Box<[u8]>)>,
    /// The newest write of shards that were looked at and are no longer locked.
    seen_write: u64,
}

impl<'a> Unit<'a> {
    /// A unit over locked shards.
    pub fn new(
        mut locked: Locked<'a>,
        options: UnitOptions,
        effects: &'a mut UnitEffects,
    ) -> Unit<'a> {
        locked.set_instant(options.now_ms);
        Unit {
            locked,
            options,
            effects,
            events: Vec::new(),
            counters: Counters::default(),
            hint: Hint::NONE,
            freed: Freed::default(),
            own_expiries: Vec::new(),
            seen_write: 0,
        }
    }

    /// The shards that are locked.
    pub fn mask(&self) -> ShardMask {
        self.locked.mask()
    }

    /// The keyspace.
    pub fn keyspace(&self) -> &'a Keyspace {
        self.locked.keyspace()
    }

    /// Locks other shards, for a command that chose them itself. The unit has done nothing yet.
    pub fn relock(&mut self, mask: ShardMask) {
        debug_assert!(self.locked.mask().is_empty(), "a unit locks once");
        self.locked = self.keyspace().lock_to_serve(mask);
        self.locked.set_instant(self.options.now_ms);
    }

    /// Moves the unit's instant on: what follows is as if it were a unit of its own.
    pub fn set_now(&mut self, now_ms: i64) {
        self.options.now_ms = now_ms;
        self.locked.set_instant(now_ms);
    }

    /// A locked shard, for what looks at it as a whole.
    pub fn shard(&mut self, index: usize) -> Option<&mut Shard> {
        self.locked.shard(index)
    }

    /// Whether the key is there and due, seen or not.
    pub fn is_due(&mut self, db: usize, key: &[u8]) -> bool {
        let hash = self.hash(key);
        let now_ms = self.options.now_ms;
        self.locked
            .shard_for(hash)
            .and_then(|s| s.db(db))
            .and_then(|d| d.table.entry(d.table.find(hash, key)?))
            .and_then(EntryRef::expire_ms)
            .is_some_and(|at| at <= now_ms)
    }

    /// Notes a keyspace event.
    #[inline]
    pub fn notify(&mut self, class: NotifyClass, name: &'static str, db: usize, key: &[u8]) {
        if self.options.notify & class.0 != 0 {
            self.events.push(Event {
                class,
                name,
                db,
                key: key.into(),
            });
        }
    }

    /// The key's place if it is there and not due.
    #[inline]
    fn live(&mut self, db: usize, hash: u64, key: &[u8]) -> Option<Pos> {
        let now_ms = self.options.now_ms;
        let near = self.hint.place_of(key);
        let table = &self.locked.shard_for(hash)?.db(db)?.table;
        let (pos, entry) = table.find_entry_near(near, hash, key)?;
        match entry.expire_ms() {
            Some(at) if at <= now_ms => self.due(db, hash, key, pos),
            _ => Some(pos),
        }
    }

    #[cold]
    fn due(&mut self, db: usize, hash: u64, key: &[u8], pos: Pos) -> Option<Pos> {
        match self.options.expiry {
            ExpiryMode::Ignore => Some(pos),
            ExpiryMode::Hide => None,
            ExpiryMode::Remove => {
                let entry = self.locked.shard_for(hash)?.remove(db, pos)?;
                self.discard(entry, self.options.expired);
                self.counters.expired += 1;
                if self.options.log {
                    let name: &[u8] = if self.options.expired == Free::Elsewhere {
                        b"UNLINK"
                    } else {
                        b"DEL"
                    };
                    self.effects.push(db as u32, &[name, key]);
                }
                self.notify(NotifyClass::EXPIRED, "expired", db, key);
                None
            }
        }
    }

    /// The entry of a key, counted as a read: hit or miss, access time.
    #[inline]
    pub fn read_entry(&mut self, db: usize, key: &[u8]) -> Option<EntryRef<'_>> {
        let hash = self.hash(key);
        let Some(pos) = self.live(db, hash, key) else {
            self.counters.misses += 1;
            self.notify(NotifyClass::KEY_MISS, "keymiss", db, key);
            return None;
        };
        self.counters.hits += 1;
        let table = &mut self.locked.shard_for(hash)?.db_mut(db)?.table;
        let mut entry = table.entry_mut(pos)?;
        entry.set_access(self.options.touched(entry.as_ref().access()));
        Some(entry.into_ref())
    }

    /// Notes that a key was looked up to be written, by a command that then changes nothing of its
    /// value.
    pub fn touch(&mut self, db: usize, key: &[u8]) {
        if let Some(old) = self.peek(db, key).map(EntryRef::access) {
            self.set_access(db, key, self.options.touched(old));
        }
    }

    /// The value of a key, counted as a read.
    #[inline]
    pub fn read(&mut self, db: usize, key: &[u8]) -> Option<ValueRef<'_>> {
        self.read_entry(db, key).map(EntryRef::value)
    }

    /// The string at a key, counted as a read.
    ///
    /// # Errors
    /// [`WrongType`] if it holds another type.
    #[inline]
    pub fn read_str(&mut self, db: usize, key: &[u8]) -> Result<Option<StrRef<'_>>, WrongType> {
        match self.read(db, key) {
            None => Ok(None),
            Some(ValueRef::Str(s)) => Ok(Some(s)),
            Some(_) => Err(WrongType),
        }
    }

    /// The collection at a key, counted as a read.
    ///
    /// # Errors
    /// [`WrongType`] if it holds another type.
    pub fn read_as<T: Collection>(
        &mut self,
        db: usize,
        key: &[u8],
    ) -> Result<Option<&T>, WrongType> {
        match self.read(db, key) {
            None => Ok(None),
            Some(v) => T::from_ref(v).map(Some).ok_or(WrongType),
        }
    }

    /// The entry of a key, without counting and without touching it.
    pub fn peek(&mut self, db: usize, key: &[u8]) -> Option<EntryRef<'_>> {
        let hash = self.hash(key);
        let pos = self.live(db, hash, key)?;
        self.locked.shard_for(hash)?.db(db)?.table.entry(pos)
    }

    /// Whether the key is there, not counted as a read.
    pub fn exists(&mut self, db: usize, key: &[u8]) -> bool {
        let hash = self.hash(key);
        self.live(db, hash, key).is_some()
    }

    /// The key's expiry: `None` if there is no key, `Some(None)` if it has none.
    pub fn expire_of(&mut self, db: usize, key: &[u8]) -> Option<Option<i64>> {
        self.peek(db, key).map(EntryRef::expire_ms)
    }

    /// Sets the string `bytes`, whatever was there.
    #[inline]
    pub fn set_bytes(&mut self, db: usize, key: &[u8], bytes: &[u8], expiry: Expiry) {
        self.put(db, key, NewValue::Bytes(bytes), expiry);
    }

    /// Sets a value, whatever was there.
    pub fn set_value(&mut self, db: usize, key: &[u8], value: Value, expiry: Expiry) {
        self.put(db, key, NewValue::Value(value), expiry);
    }

    #[inline]
    fn put(&mut self, db: usize, key: &[u8], value: NewValue<'_>, expiry: Expiry) {
        let hash = self.hash(key);
        let found = self.live(db, hash, key);
        let access = self.options.access;
        if found.is_none() {
            self.remove_hidden(db, hash, key);
        }
        if let Expiry::At(_) = expiry {
            self.note_own_expiry(db, key);
        }
        let Some(shard) = self.locked.shard_for(hash) else {
            return;
        };
        self.counters.dirty += 1;
        let Some(pos) = found else {
            let expire_ms = if let Expiry::At(at) = expiry {
                Some(at)
            } else {
                None
            };
            shard.insert(
                db,
                hash,
                key,
                value,
                Meta {
                    expire_ms,
                    access,
                    mark: false,
                },
            );
            self.notify(NotifyClass::NEW, "new", db, key);
            return;
        };
        let expire_ms = match expiry {
            Expiry::Clear => None,
            Expiry::At(at) => Some(at),
            Expiry::Keep => shard
                .db(db)
                .and_then(|d| d.table.entry(pos))
                .and_then(EntryRef::expire_ms),
        };
        let old = shard.db(db).and_then(|d| d.table.entry(pos));
        let touched = |old: EntryRef<'_>| self.options.touched(old.access());
        let meta = Meta {
            expire_ms,
            access: old.map_or(access, touched),
            mark: false,
        };
        if let Some(old) = shard.replace(db, pos, key, value, meta) {
            self.discard(old, self.options.replaced);
        }
    }

    /// Removes a key, and gives what it held.
    pub fn take(&mut self, db: usize, key: &[u8]) -> Option<Entry> {
        let hash = self.hash(key);
        let pos = self.live(db, hash, key)?;
        let entry = self.locked.shard_for(hash)?.remove(db, pos)?;
        self.counters.dirty += 1;
        Some(entry)
    }

    /// Sets or clears the expiry of a key that is there. Whether it was.
    pub fn set_expiry(&mut self, db: usize, key: &[u8], expire_ms: Option<i64>) -> bool {
        let hash = self.hash(key);
        let Some(pos) = self.live(db, hash, key) else {
            return false;
        };
        let Some(shard) = self.locked.shard_for(hash) else {
            return false;
        };
        shard.rebuild(db, pos, key, |e| e.with_expiry(expire_ms));
        self.counters.dirty += 1;
        if expire_ms.is_some() {
            self.note_own_expiry(db, key);
        }
        true
    }

    /// Writes the 24 bits of access time of a key (`RESTORE` with `IDLETIME` or `FREQ`).
    pub fn set_access(&mut self, db: usize, key: &[u8], access: u32) {
        let hash = self.hash(key);
        if let Some(pos) = self.live(db, hash, key)
            && let Some(d) = self.locked.shard_for(hash).and_then(|s| s.db_mut(db))
            && let Some(mut e) = d.table.entry_mut(pos)
        {
            e.set_access(access);
        }
    }

    /// Tells the clients that watch `key` that a command wrote it, though nothing is different.
    pub fn signal(&mut self, db: usize, key: &[u8]) {
        if let Some(s) = self.locked.shard_for(hash::of(key)) {
            s.signal(db, key);
        }
    }

    /// Registers a watch.
    pub fn watch(&mut self, db: usize, key: &[u8], flag: &WatchFlag) {
        let hash = self.hash(key);
        if let Some(s) = self.locked.shard_for(hash) {
            s.watch(db, key, flag);
        }
    }

    /// Removes a watch.
    pub fn unwatch(&mut self, db: usize, key: &[u8], flag: &WatchFlag) {
        let hash = self.hash(key);
        if let Some(s) = self.locked.shard_for(hash) {
            s.unwatch(db, key, flag);
        }
    }

    /// Notes that everything up to `offset` of the log may concern the locked shards, and gives
    /// the newest offset that one of them saw.
    pub fn wrote(&mut self, offset: u64) {
        for i in self.locked.mask().iter() {
            if let Some(s) = self.locked.shard(i) {
                s.writes.note_any(offset);
            }
        }
    }

    /// As [`Unit::wrote`], for a unit that can have written keys with these hashes alone.
    pub fn wrote_keys(&mut self, offset: u64, hashes: &[u64]) {
        for &hash in hashes {
            if let Some(s) = self.locked.shard_for(hash) {
                s.writes.note_key(hash, offset);
            }
        }
    }

    /// The newest log offset at which one of these keys was written, by their hashes, as far as
    /// that is known.
    pub fn newest_write_of(&mut self, hashes: &[u64]) -> u64 {
        let of = |hash: &u64| {
            self.locked
                .shard_for(*hash)
                .map(|s| s.writes.newest_of(*hash))
        };
        let newest = hashes.iter().filter_map(of).max();
        newest.unwrap_or(0).max(self.seen_write)
    }

    /// The newest log offset written by any shard that is locked or was looked at.
    pub fn newest_write(&mut self) -> u64 {
        let mask = self.locked.mask();
        let seen = self.seen_write;
        mask.iter()
            .filter_map(|i| self.locked.shard(i).map(|s| s.writes.newest()))
            .max()
            .unwrap_or(0)
            .max(seen)
    }
}

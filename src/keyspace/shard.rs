//! A shard: its slice of every database, and the hooks that every change passes through.
//!
//! What a change must do, whatever command makes it, is done here and nowhere else:
//!
//! 1. before: an entry that a running snapshot has not captured yet is captured
//!    ([`Shard::capture`]);
//! 2. after: clients that watch the key learn of it, and if somebody waits for the key it is ready
//!    ([`Shard::touched`]).
//!
//! To add a hook (tracking, memory limits), add it to these two.

mod change;
mod waiting;
mod writes;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use hashbrown::HashMap;
use smallvec::SmallVec;

use super::entry::{Entry, EntryRef, Meta};
use super::locks::ShardMask;
use super::sizes::SizeClass;
use super::table::{Pos, Table};
use super::value::{Collection, ValueKind, ValueRef};
use super::waiters::{Needs, Ready, Waiters};

pub use change::{CollectionEdit, Edited, NewValue};
pub use writes::Writes;

/// Set when a watched key changes; one for each client, shared by all the keys it watches.
pub type WatchFlag = Arc<AtomicBool>;

/// An entry as it was at the instant of a snapshot: a copy, or the entry itself where it has been
/// replaced since.
pub struct Captured {
    /// The database.
    pub db: usize,
    entry: Entry,
}

impl Captured {
    /// Copies an entry: small values by their bytes, large ones by a handle.
    pub fn of(db: usize, e: EntryRef<'_>) -> Captured {
        let entry = e.to_entry();
        Captured { db, entry }
    }

    /// The key.
    pub fn key(&self) -> &[u8] {
        self.entry.as_ref().key()
    }

    /// The value.
    pub fn value(&self) -> ValueRef<'_> {
        self.entry.as_ref().value()
    }

    /// Absolute expiry, Unix milliseconds.
    pub fn expire_ms(&self) -> Option<i64> {
        self.entry.as_ref().expire_ms()
    }

    /// Its access bits at the time of the copy.
    pub fn access(&self) -> u32 {
        self.entry.as_ref().access()
    }

    /// Bytes that the copy itself takes, a handle's target not counted.
    pub fn copied_bytes(&self) -> usize {
        self.entry.as_ref().size_bytes() + size_of::<Captured>()
    }
}

/// A client's watch on a key.
struct Watch {
    flag: WatchFlag,
    /// There was no such key when the watch began, or it was due. As long as that stays so,
    /// nothing has changed for the client.
    was_gone: bool,
}

/// One database's slice in one shard. The table's place in memory is what a lookup reads first.
#[repr(C, align(64))]
pub struct Db {
    /// The keys.
    pub table: Table,
    /// Number that the database had when the running snapshot began.
    label: usize,
    watched: HashMap<Box<[u8]>, SmallVec<[Watch; 1]>>,
    /// Who waits for which key.
    pub waiters: Waiters,
    /// Segment from which active expiry goes on.
    pub expire_from: usize,
    /// Segment from which active expiry of fields goes on.
    pub fields_from: usize,
}

/// A slice of all databases. What every unit touches comes first, and shares a cache line
/// with the shard's lock.
#[repr(C)]
pub struct Shard {
    /// The instant of the unit that holds the lock, Unix milliseconds.
    pub now_ms: i64,
    dbs: Vec<Db>,
    /// How far the log must have got for replies that show what is here.
    pub writes: Writes,
    /// Mark of entries that need no capture; all entries have it while no snapshot runs.
    mark: bool,
    capturing: bool,
    captures: Vec<Captured>,
    flushed: Vec<(usize, Table)>,
    /// Keys that somebody waits for and that have changed.
    ready: Vec<Ready>,
    needs: Needs,
}

/// It does for them and for a lock of a word.
const _: () = assert!(std::mem::offset_of!(Shard, captures) <= 64 - size_of::<usize>());

impl Shard {
    /// An empty shard of `databases` databases, for keys whose first `shard_bits` hash bits agree.
    pub fn new(databases: usize, shard_bits: u32) -> Shard {
        let db = |label| Db {
            table: Table::new(shard_bits),
            label,
            watched: HashMap::new(),
            waiters: Waiters::default(),
            expire_from: 0,
            fields_from: 0,
        };
        Shard {
            dbs: (0..databases).map(db).collect(),
            mark: false,
            capturing: false,
            captures: Vec::new(),
            flushed: Vec::new(),
            ready: Vec::new(),
            needs: Needs::default(),
            writes: Writes::default(),
            now_ms: 0,
        }
    }

    /// A database.
    #[inline]
    pub fn db(&self, db: usize) -> Option<&Db> {
        self.dbs.get(db)
    }

    /// A database, for what needs no hook (access times, expiry's own place).
    #[inline]
    pub fn db_mut(&mut self, db: usize) -> Option<&mut Db> {
        self.dbs.get_mut(db)
    }

    /// Captures the entry at `pos` if a snapshot runs and has not got it yet.
    #[inline]
    fn capture(&mut self, db: usize, pos: Pos) {
        if self.capturing {
            self.capture_now(db, pos);
        }
    }

    fn capture_now(&mut self, db: usize, pos: Pos) {
        let Some(d) = self.dbs.get_mut(db) else {
            return;
        };
        if let Some(mut e) = d.table.entry_mut(pos)
            && e.as_ref().mark() != self.mark
        {
            self.captures.push(Captured::of(d.label, e.as_ref()));
            e.set_mark(self.mark);
        }
    }

    /// Tells the clients that watch `key`, and notes that it is ready for those that wait for it.
    #[inline]
    fn touched(&mut self, db: usize, key: &[u8]) {
        if let Some(d) = self.dbs.get_mut(db) {
            d.touched(db, key, self.now_ms, &mut self.ready);
        }
    }

    /// Tells the clients that watch `key` of a change that left it as it was.
    pub(super) fn signal(&mut self, db: usize, key: &[u8]) {
        self.touched(db, key);
    }

    /// Shards that serving who waits here needs.
    #[inline]
    pub(super) fn needs(&self) -> ShardMask {
        self.needs.mask()
    }

    /// Inserts an entry for a key that is not there.
    pub fn insert(&mut self, db: usize, hash: u64, key: &[u8], value: NewValue<'_>, meta: Meta) {
        let meta = Meta {
            mark: self.mark,
            ..meta
        };
        if let Some(d) = self.dbs.get_mut(db) {
            d.table.insert(hash, value.into_entry(key, meta));
        }
        self.touched(db, key);
    }

    /// Puts in an entry that was made elsewhere. One of its key that is there already is replaced,
    /// or stays, and the new one comes back.
    pub(super) fn put_entry(
        &mut self,
        db: usize,
        hash: u64,
        mut entry: Entry,
        replace: bool,
    ) -> Result<(), Entry> {
        entry.as_mut().set_mark(self.mark);
        let Some(d) = self.dbs.get_mut(db) else {
            return Ok(());
        };
        if let Some(pos) = d.table.find(hash, entry.as_ref().key()) {
            if !replace {
                return Err(entry);
            }
            let before = d
                .table
                .entry(pos)
                .map_or(SizeClass::NONE, EntryRef::size_class);
            d.table.note_size(before, entry.as_ref().size_class());
            let key = entry.as_ref().key().to_vec();
            self.rebuild(db, pos, &key, |_| entry);
            return Ok(());
        }
        let heard = !d.watched.is_empty() || !d.waiters.is_empty();
        let key = heard.then(|| entry.as_ref().key().to_vec());
        d.table.insert(hash, entry);
        if let Some(key) = key {
            self.touched(db, &key);
        }
        Ok(())
    }

    /// Removes the entry at `pos`.
    pub fn remove(&mut self, db: usize, pos: Pos) -> Option<Entry> {
        self.capture(db, pos);
        let entry = self.dbs.get_mut(db)?.table.remove(pos)?;
        self.touched(db, entry.as_ref().key());
        Some(entry)
    }

    /// Replaces the value at `pos`, and gives the old entry unless it was overwritten in place
    /// or a snapshot has taken it.
    pub fn replace(
        &mut self,
        db: usize,
        pos: Pos,
        key: &[u8],
        value: NewValue<'_>,
        meta: Meta,
    ) -> Option<Entry> {
        let meta = Meta {
            mark: self.mark,
            ..meta
        };
        let mut replaced = None;
        if let Some(d) = self.dbs.get_mut(db) {
            let uncaptured =
                self.capturing && d.table.entry(pos).is_some_and(|e| e.mark() != self.mark);
            let in_place = match (&value, d.table.entry_mut(pos)) {
                (NewValue::Bytes(b), Some(mut e))
                    if !uncaptured
                        && e.as_ref().expire_ms() == meta.expire_ms
                        && super::value::integer_text(b).is_none() =>
                {
                    e.set_access(meta.access);
                    let before = e.as_ref().size_class();
                    let done = e.overwrite_bytes(b);
                    if done {
                        let after = SizeClass::of(ValueKind::String, b.len());
                        d.table.note_size(before, after);
                    }
                    done
                }
                _ => false,
            };
            if !in_place {
                let (mut before, mut after) = (SizeClass::NONE, SizeClass::NONE);
                d.table.replace_with(pos, |old| {
                    before = old.as_ref().size_class();
                    replaced = Some(old);
                    let new = value.into_entry(key, meta);
                    after = new.as_ref().size_class();
                    new
                });
                d.table.note_size(before, after);
            }
            if uncaptured && let Some(entry) = replaced.take() {
                let db = d.label;
                self.captures.push(Captured { db, entry });
            }
        }
        self.touched(db, key);
        replaced
    }

    /// Gives the collection at `pos` to `change`, which edits it in place and says how many changes
    /// it made. The access bits become what `touched` makes of them.
    #[inline]
    pub fn edit_collection<T: Collection, R>(
        &mut self,
        db: usize,
        pos: Pos,
        key: &[u8],
        touched: impl FnOnce(u32) -> u32,
        change: impl FnOnce(&mut T) -> (R, u64),
    ) -> CollectionEdit<R> {
        self.capture(db, pos);
        let Some(d) = self.dbs.get_mut(db) else {
            return CollectionEdit::Gone;
        };
        let Some(mut entry) = d.table.entry_mut(pos) else {
            return CollectionEdit::Gone;
        };
        if entry.as_ref().value_kind() != T::KIND {
            return CollectionEdit::OtherType;
        }
        let access = touched(entry.as_ref().access());
        entry.set_access(access);
        let Some(collection) = entry.collection::<T>() else {
            return CollectionEdit::OtherType;
        };
        let (fields_before, size_before) =
            (collection.next_field_expiry(), collection.size_class());
        let (result, changes) = change(collection);
        let (fields_after, size_after) = (collection.next_field_expiry(), collection.size_class());
        let empty = collection.is_empty();
        d.table.note_fields(pos, fields_before, fields_after);
        d.table.note_size(size_before, size_after);
        if changes > 0 {
            d.touched(db, key, self.now_ms, &mut self.ready);
        }
        CollectionEdit::Done {
            result,
            changes,
            empty,
        }
    }

    /// Gives the entry at `pos` to `change`, which edits it in place and says what became of it.
    /// The fields of a hash keep their expiries.
    #[inline]
    pub fn edit<R>(
        &mut self,
        db: usize,
        pos: Pos,
        key: &[u8],
        change: impl FnOnce(super::entry::EntryMut<'_>) -> (R, Edited),
    ) -> Option<R> {
        self.capture(db, pos);
        let d = self.dbs.get_mut(db)?;
        let (result, edited) = change(d.table.entry_mut(pos)?);
        d.table.note_size(edited.before, edited.after);
        if edited.changed {
            d.touched(db, key, self.now_ms, &mut self.ready);
        }
        Some(result)
    }

    /// Replaces the entry at `pos` by what `change` makes of it. If the value's length is another
    /// one, the caller tells the table.
    pub fn rebuild(
        &mut self,
        db: usize,
        pos: Pos,
        key: &[u8],
        change: impl FnOnce(Entry) -> Entry,
    ) {
        self.capture(db, pos);
        if let Some(d) = self.dbs.get_mut(db) {
            d.table.replace_with(pos, change);
        }
        self.touched(db, key);
    }

    /// Empties a database. The keys come back, so that they are freed without the lock; while a
    /// snapshot runs they go to it instead.
    pub fn flush(&mut self, db: usize, shard_bits: u32) -> Option<Table> {
        let d = self.dbs.get_mut(db)?;
        let table = std::mem::replace(&mut d.table, Table::new(shard_bits));
        for key in d.watched.keys() {
            if table.find(super::hash::of(key), key).is_some() {
                d.tell_watchers(key, self.now_ms);
            }
        }
        let was_there = |key: &[u8]| table.find(super::hash::of(key), key).is_some();
        d.waiters.make_all_ready(db, was_there, &mut self.ready);
        d.expire_from = 0;
        d.fields_from = 0;
        if self.capturing && !table.is_empty() {
            self.flushed.push((d.label, table));
            return None;
        }
        Some(table)
    }

    /// Takes over another shard's tables; its own go to `old`. No snapshot runs.
    pub(super) fn replace_with(
        &mut self,
        other: &mut Shard,
        shard_bits: u32,
        old: &mut Vec<Table>,
    ) {
        for db in 0..self.dbs.len() {
            old.extend(self.flush(db, shard_bits));
            if let (Some(mine), Some(theirs)) = (self.dbs.get_mut(db), other.dbs.get_mut(db)) {
                std::mem::swap(&mut mine.table, &mut theirs.table);
                for key in mine.watched.keys() {
                    if mine.table.find(super::hash::of(key), key).is_some() {
                        mine.tell_watchers(key, self.now_ms);
                    }
                }
            }
        }
        self.mark = other.mark;
    }

    /// Exchanges two databases.
    pub fn swap(&mut self, a: usize, b: usize) {
        let (Some(x), Some(y)) = (self.dbs.get(a), self.dbs.get(b)) else {
            return;
        };
        let keys: Vec<(usize, Box<[u8]>)> = [(a, x, y), (b, y, x)]
            .into_iter()
            .flat_map(|(db, here, there)| {
                here.watched.keys().filter_map(move |k| {
                    let hash = super::hash::of(k);
                    let known =
                        here.table.find(hash, k).is_some() || there.table.find(hash, k).is_some();
                    known.then(|| (db, k.clone()))
                })
            })
            .collect();
        self.dbs.swap(a, b);
        let (low, high) = (a.min(b), a.max(b));
        if low != high {
            let (front, back) = self.dbs.split_at_mut(high);
            if let (Some(p), Some(q)) = (front.get_mut(low), back.first_mut()) {
                std::mem::swap(&mut p.watched, &mut q.watched);
                std::mem::swap(&mut p.waiters, &mut q.waiters);
                p.waiters.make_all_ready(low, |_| true, &mut self.ready);
                q.waiters.make_all_ready(high, |_| true, &mut self.ready);
            }
        }
        for (db, key) in keys {
            self.touched(db, &key);
        }
    }

    /// Registers a client that watches `key`.
    pub fn watch(&mut self, db: usize, key: &[u8], flag: &WatchFlag) {
        let now_ms = self.now_ms;
        if let Some(d) = self.dbs.get_mut(db) {
            let was_gone = d.is_gone(key, now_ms);
            let flag = Arc::clone(flag);
            d.watched
                .entry(key.into())
                .or_default()
                .push(Watch { flag, was_gone });
        }
    }

    /// Forgets a client's watch on `key`.
    pub fn unwatch(&mut self, db: usize, key: &[u8], flag: &WatchFlag) {
        let Some(d) = self.dbs.get_mut(db) else {
            return;
        };
        if let Some(flags) = d.watched.get_mut(key) {
            flags.retain(|w| !Arc::ptr_eq(&w.flag, flag));
            if flags.is_empty() {
                d.watched.remove(key);
            }
        }
    }

    /// Number of keys that are watched in all databases.
    pub fn watched_keys(&self) -> usize {
        self.dbs.iter().map(|d| d.watched.len()).sum()
    }

    /// Begins a snapshot: from now on every entry of this instant is captured once.
    pub(super) fn begin_snapshot(&mut self) {
        self.mark = !self.mark;
        self.capturing = true;
        for (i, d) in self.dbs.iter_mut().enumerate() {
            d.label = i;
        }
    }

    /// Captures entries of the database that was `label` when the snapshot began, from `position`
    /// on, until `budget_bytes` have been copied. Returns the position to go on from.
    pub(super) fn snapshot_step(
        &mut self,
        label: usize,
        position: u64,
        budget_bytes: usize,
        out: &mut Vec<Captured>,
    ) -> Option<u64> {
        let mark = self.mark;
        let d = self.dbs.iter_mut().find(|d| d.label == label)?;
        let mut copied = 0;
        d.table.scan_mut(position, |mut e| {
            if e.as_ref().mark() != mark {
                let c = Captured::of(label, e.as_ref());
                copied += c.copied_bytes();
                out.push(c);
                e.set_mark(mark);
            }
            copied += size_of::<u64>();
            copied >= budget_bytes
        })
    }

    /// What writers captured, and the tables that were emptied, since the last call.
    pub(super) fn take_captures(&mut self) -> (Vec<Captured>, Vec<(usize, Table)>) {
        (
            std::mem::take(&mut self.captures),
            std::mem::take(&mut self.flushed),
        )
    }

    /// Ends the snapshot for this shard: all its entries carry the mark.
    pub(super) fn end_snapshot(&mut self) {
        self.capturing = false;
    }

    /// The mark in force.
    pub(super) fn mark(&self) -> bool {
        self.mark
    }
}

impl Db {
    /// Whether there is no such key, or it is due.
    fn is_gone(&self, key: &[u8], now_ms: i64) -> bool {
        let found = self.table.find(super::hash::of(key), key);
        let entry = found.and_then(|pos| self.table.entry(pos));
        entry.is_none_or(|e| e.expire_ms().is_some_and(|at| at <= now_ms))
    }

    /// As [`Shard::touched`].
    #[inline]
    fn touched(&mut self, db: usize, key: &[u8], now_ms: i64, ready: &mut Vec<Ready>) {
        if !self.watched.is_empty() {
            self.tell_watchers(key, now_ms);
        }
        if !self.waiters.is_empty() {
            ready.extend(self.waiters.make_ready(db, key));
        }
    }

    /// Tells the clients that watch `key`, which has just changed.
    #[cold]
    fn tell_watchers(&self, key: &[u8], now_ms: i64) {
        if let Some(watches) = self.watched.get(key) {
            let is_gone = self.is_gone(key, now_ms);
            for w in watches.iter().filter(|w| !(w.was_gone && is_gone)) {
                w.flag.store(true, Ordering::Release);
            }
        }
    }
}

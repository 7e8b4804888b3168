//! What a unit takes out of the keyspace, kept until the locks are released: freeing a large value
//! takes time that other clients would wait for.
//!
//! Small values are freed where they are removed. Large ones are freed by the worker once it has
//! unlocked, or on the freeing thread, as the command (UNLINK) or a `lazyfree-*` directive says.

use super::super::entry::Entry;
use super::super::table::Table;
use super::super::value::ValueRef;
use super::Unit;

/// A collection of more elements than this is worth another thread, as in Redis.
const LARGE_ELEMENTS: usize = 64;

/// A collection of more elements than this takes a millisecond or so to free.
const HUGE_ELEMENTS: usize = 20_000;

/// Something to be freed.
pub enum Garbage {
    /// An emptied database's slice.
    Table(Table),
    /// A removed key with its value.
    Entry(Entry),
}

impl Garbage {
    /// Number of keys in it.
    pub fn keys(&self) -> usize {
        match self {
            Garbage::Table(table) => table.len(),
            Garbage::Entry(_) => 1,
        }
    }

    /// Whether a worker's other connections would notice that it frees this.
    pub fn is_huge(&self) -> bool {
        match self {
            Garbage::Table(table) => table.len() > HUGE_ELEMENTS,
            Garbage::Entry(entry) => entry.as_ref().value().elements() > HUGE_ELEMENTS,
        }
    }
}

/// Who frees what a unit removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Free {
    /// The worker, as soon as it has unlocked.
    Here,
    /// The freeing thread.
    Elsewhere,
}

impl Free {
    /// What a `lazyfree-*` directive means.
    pub fn lazily(lazy: bool) -> Free {
        if lazy { Free::Elsewhere } else { Free::Here }
    }
}

/// What a unit removed and has not freed.
#[derive(Default)]
pub struct Freed {
    /// For the worker.
    pub here: Vec<Garbage>,
    /// For the freeing thread.
    pub elsewhere: Vec<Garbage>,
}

impl Freed {
    /// Adds something.
    pub fn push(&mut self, garbage: Garbage, free: Free) {
        match free {
            Free::Here => self.here.push(garbage),
            Free::Elsewhere => self.elsewhere.push(garbage),
        }
    }
}

fn is_large(value: ValueRef<'_>) -> bool {
    let effort = match value {
        ValueRef::Str(_) => 1,
        ValueRef::List(list) => list.len(),
        ValueRef::Set(set) => set.len(),
        ValueRef::Zset(zset) => zset.len(),
        ValueRef::Hash(hash) => hash.len(),
        ValueRef::Stream(stream) => stream.effort(),
    };
    effort > LARGE_ELEMENTS
}

impl Unit<'_> {
    /// Frees a removed entry, now if that is quickly done.
    #[inline]
    pub fn discard(&mut self, entry: Entry, free: Free) {
        if is_large(entry.as_ref().value()) {
            self.freed.push(Garbage::Entry(entry), free);
        }
    }
}

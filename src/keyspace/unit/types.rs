//! The words in which a unit is asked and answers.

use super::freed::Free;
use crate::keyspace::lfu::Lfu;

/// What happens to a key that is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExpiryMode {
    /// It is removed, and the removal is an effect: a primary.
    Remove,
    /// It is there but not seen: a replica's clients.
    Hide,
    /// It is seen: the replica's link to its primary, and replay of a file.
    Ignore,
}

/// What becomes of the key's expiry when its value is replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expiry {
    /// The key has none afterwards.
    Clear,
    /// It stays as it is.
    Keep,
    /// Absolute, Unix milliseconds.
    At(i64),
}

/// What [`Unit::update`] does where the key is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missing {
    /// Begin with an empty collection; it stays only if it is not empty afterwards.
    Create,
    /// Do nothing.
    Skip,
}

/// The key holds a value of another type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("WRONGTYPE Operation against a key holding the wrong kind of value")]
pub struct WrongType;

/// Classes of keyspace events, a bit each, as `notify-keyspace-events` names them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotifyClass(pub u32);

impl NotifyClass {
    /// `g`
    pub const GENERIC: NotifyClass = NotifyClass(1 << 2);
    /// `$`
    pub const STRING: NotifyClass = NotifyClass(1 << 3);
    /// `l`
    pub const LIST: NotifyClass = NotifyClass(1 << 4);
    /// `s`
    pub const SET: NotifyClass = NotifyClass(1 << 5);
    /// `h`
    pub const HASH: NotifyClass = NotifyClass(1 << 6);
    /// `z`
    pub const ZSET: NotifyClass = NotifyClass(1 << 7);
    /// `x`
    pub const EXPIRED: NotifyClass = NotifyClass(1 << 8);
    /// `e`
    pub const EVICTED: NotifyClass = NotifyClass(1 << 9);
    /// `t`
    pub const STREAM: NotifyClass = NotifyClass(1 << 10);
    /// `m`
    pub const KEY_MISS: NotifyClass = NotifyClass(1 << 11);
    /// `n`
    pub const NEW: NotifyClass = NotifyClass(1 << 14);
}

/// A keyspace event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Its class.
    pub class: NotifyClass,
    /// Its name, as Redis documents it.
    pub name: &'static str,
    /// The database.
    pub db: usize,
    /// The key.
    pub key: Box<[u8]>,
}

/// What a unit counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Reads that found their key.
    pub hits: u64,
    /// Reads that did not.
    pub misses: u64,
    /// Keys that were due and removed.
    pub expired: u64,
    /// Fields of hashes that were due and removed.
    pub expired_fields: u64,
    /// Changes, as `rdb_changes_since_last_save` counts them.
    pub dirty: u64,
}

/// How a unit works.
#[derive(Clone, Copy, Debug)]
pub struct UnitOptions {
    /// The instant, Unix milliseconds.
    pub now_ms: i64,
    /// 24 bits of access for entries that are made, and under an LRU clock for those that are read.
    pub access: u32,
    /// The clock of an LFU policy, under which reading counts up.
    pub lfu: Option<Lfu>,
    /// Using an entry leaves its access bits as they are (`CLIENT NO-TOUCH`).
    pub no_touch: bool,
    /// What happens to keys that are due.
    pub expiry: ExpiryMode,
    /// Classes of events somebody wants.
    pub notify: u32,
    /// Whether effects are wanted at all.
    pub log: bool,
    /// Who frees what was due (`lazyfree-lazy-expire`). If it is the freeing thread, the effect is
    /// `UNLINK` instead of `DEL`.
    pub expired: Free,
    /// Who frees values that others take the place of (`lazyfree-lazy-server-del`).
    pub replaced: Free,
}

impl UnitOptions {
    /// The access bits of an entry that had `old` and is used now.
    #[inline]
    pub fn touched(&self, old: u32) -> u32 {
        if self.no_touch {
            return old;
        }
        match self.lfu {
            None => self.access,
            Some(lfu) => lfu.touched(old),
        }
    }
}

//! Which keys go when memory is short.
//!
//! No order of all keys is kept. As in Redis, a few random keys are looked at for every key that
//! goes, and the best of those that were ever looked at and did not go yet stand in a [`Pool`].
//! A look locks one shard for an instant.

use super::hash;
use super::lfu::Lfu;
use super::locks::{Keyspace, SHARDS, ShardMask};
use super::table::Table;
use crate::base::random;

/// Candidates that are remembered.
const POOL_KEYS: usize = 16;
/// Bits of an LRU clock.
pub const CLOCK_MASK: u32 = (1 << 24) - 1;

/// Seconds since a key with these access bits was used, under an LRU clock.
pub fn idle_s(clock: u32, access: u32) -> u64 {
    u64::from(clock.wrapping_sub(access) & CLOCK_MASK)
}

/// How a key's worth is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// The least recently used goes first.
    Lru,
    /// The least frequently used.
    Lfu,
    /// The one that expires soonest.
    Ttl,
    /// Any.
    Random,
}

/// What is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Search {
    /// What tells a key's worth.
    pub order: Order,
    /// Only keys with an expiry go.
    pub volatile: bool,
    /// Keys looked at for each that goes.
    pub samples: usize,
    /// 24 bits of LRU clock now.
    pub clock: u32,
    /// The LFU clock now.
    pub lfu: Lfu,
}

/// A key that may go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// The higher, the sooner it goes.
    score: u64,
    /// Its database.
    pub db: usize,
    /// Its name.
    pub key: Box<[u8]>,
}

impl Candidate {
    /// The shard it is in.
    pub fn shard(&self) -> ShardMask {
        let mut mask = ShardMask::NONE;
        mask.add_hash(hash::of(&self.key));
        mask
    }
}

/// The best candidates seen, the best one last.
#[derive(Debug, Default)]
pub struct Pool {
    candidates: Vec<Candidate>,
    made_for: Option<(Order, bool)>,
}

impl Pool {
    /// Looks at some keys and gives the best candidate; `None` if there is none at all. It may be
    /// gone by now.
    pub fn choose(&mut self, keyspace: &Keyspace, search: &Search) -> Option<Candidate> {
        let wanted = Some((search.order, search.volatile));
        if self.made_for != wanted {
            self.candidates.clear();
            self.made_for = wanted;
        }
        if search.order == Order::Random {
            return look(keyspace, search);
        }
        for _ in 0..search.samples {
            match look(keyspace, search) {
                Some(candidate) => self.add(candidate),
                None => break,
            }
        }
        self.candidates.pop()
    }

    fn add(&mut self, new: Candidate) {
        let known = |c: &Candidate| c.db == new.db && c.key == new.key;
        self.candidates.retain(|c| !known(c));
        let at = self.candidates.partition_point(|c| c.score < new.score);
        self.candidates.insert(at, new);
        if self.candidates.len() > POOL_KEYS {
            self.candidates.remove(0);
        }
    }
}

/// A random key of the keyspace.
fn look(keyspace: &Keyspace, search: &Search) -> Option<Candidate> {
    let suits = |table: &Table| {
        let keys = if search.volatile {
            table.volatile_len()
        } else {
            table.len()
        };
        keys > 0
    };
    let first = random::below(SHARDS as u64) as usize;
    for index in (first..SHARDS).chain(0..first) {
        let mut locked = keyspace.lock(ShardMask::only(index));
        let shard = locked.shard(index)?;
        let tables = || (0..keyspace.databases()).filter_map(|db| Some((db, &shard.db(db)?.table)));
        let suitable = tables().filter(|(_, table)| suits(table)).count() as u64;
        if suitable == 0 {
            continue;
        }
        let nth = random::below(suitable) as usize;
        let (db, table) = tables().filter(|(_, table)| suits(table)).nth(nth)?;
        let entry = if search.volatile {
            table.random_volatile(random::below)?
        } else {
            table.random(random::below)?
        };
        let score = match search.order {
            Order::Lru => idle_s(search.clock, entry.access()),
            Order::Lfu => u64::from(u8::MAX - search.lfu.counter(entry.access())),
            Order::Ttl => u64::MAX - entry.expire_ms().unwrap_or(i64::MAX).max(0) as u64,
            Order::Random => 0,
        };
        let key = entry.key().into();
        return Some(Candidate { score, db, key });
    }
    None
}

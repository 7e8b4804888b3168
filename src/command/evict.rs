//! Making room: what happens before a batch of commands while more memory is used than `maxmemory`
//! allows.
//!
//! Keys go one by one, each in a unit of its own, so that its `DEL` is in the log before a
//! command that comes after. A round takes a time that `maxmemory-eviction-tenacity` sets; if that
//! was not enough the commands run all the same, and the next batch goes on. Only where no key may
//! go are commands refused that need memory. Of several workers one evicts at a time.
//!
//! A replica evicts nothing by itself, whatever `replica-ignore-maxmemory` says: its data are its
//! primary's.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::base::clock;
use crate::config::{MaxmemoryPolicy, Settings};
use crate::keyspace::eviction::{CLOCK_MASK, Candidate, Order, Pool, Search};
use crate::keyspace::lfu::Lfu;
use crate::keyspace::unit::{Free, NotifyClass};
use crate::oplog::effect::UnitEffects;

use super::engine::{Engine, Gate};

/// Keys that go between two looks at the memory in use.
const KEYS_PER_LOOK: usize = 16;
/// Candidates that turn out to be gone, in a row, before the search is given up.
const MAX_MISSES: usize = 1000;

/// The state of eviction.
#[derive(Debug, Default)]
pub struct Eviction {
    pool: Mutex<Pool>,
    /// Keys that went.
    pub evicted: AtomicU64,
}

/// Whether there is room for commands that need memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Room {
    /// There is, or will be soon.
    Enough,
    /// There is not, and no key may go.
    Short,
}

impl Room {
    /// The gate that is shut, as a bit of all gates.
    pub fn gate(self) -> u32 {
        match self {
            Room::Enough => 0,
            Room::Short => Gate::OUT_OF_MEMORY.bit(),
        }
    }
}

fn counts_accesses(policy: MaxmemoryPolicy) -> bool {
    use MaxmemoryPolicy::{AllkeysLfu, VolatileLfu};
    matches!(policy, AllkeysLfu | VolatileLfu)
}

/// Whether the policy goes by when or how often keys are used.
pub fn looks_at_access(policy: MaxmemoryPolicy) -> bool {
    use MaxmemoryPolicy::{AllkeysLru, VolatileLru};
    matches!(policy, AllkeysLru | VolatileLru) || counts_accesses(policy)
}

/// The LFU clock, if the policy counts accesses.
pub fn lfu(settings: &Settings, now_ms: i64) -> Option<Lfu> {
    let m = &settings.memory;
    counts_accesses(m.maxmemory_policy)
        .then(|| Lfu::at(now_ms, m.lfu_decay_time_minutes, m.lfu_log_factor))
}

/// The access bits of a key that has been idle for so long; an idle time that the clock cannot
/// tell becomes half its range.
pub fn accessed_before(clock: u32, idle_s: u64) -> u32 {
    let mask = u64::from(CLOCK_MASK);
    let idle_s = if idle_s > mask { mask / 2 } else { idle_s };
    (u64::from(clock).wrapping_sub(idle_s) & mask) as u32
}

fn search(settings: &Settings, now_ms: i64) -> Option<Search> {
    let m = &settings.memory;
    let (order, volatile) = match m.maxmemory_policy {
        MaxmemoryPolicy::VolatileLru => (Order::Lru, true),
        MaxmemoryPolicy::VolatileLfu => (Order::Lfu, true),
        MaxmemoryPolicy::VolatileRandom => (Order::Random, true),
        MaxmemoryPolicy::VolatileTtl => (Order::Ttl, true),
        MaxmemoryPolicy::AllkeysLru => (Order::Lru, false),
        MaxmemoryPolicy::AllkeysLfu => (Order::Lfu, false),
        MaxmemoryPolicy::AllkeysRandom => (Order::Random, false),
        MaxmemoryPolicy::NoEviction => return None,
    };
    Some(Search {
        order,
        volatile,
        samples: m.maxmemory_samples as usize,
        clock: clock::lru_seconds_at(now_ms),
        lfu: Lfu::at(now_ms, m.lfu_decay_time_minutes, m.lfu_log_factor),
    })
}

/// Of so much memory that the log takes, what is kept for readers that lag, not as backlog.
pub fn lagging_of(log_bytes: u64, settings: &Settings) -> u64 {
    log_bytes.saturating_sub(settings.replication.repl_backlog_size)
}

/// How long a round may take; `None` without a limit.
fn time_limit(tenacity: u32) -> Option<Duration> {
    match tenacity {
        0..=10 => Some(Duration::from_micros(50 * u64::from(tenacity))),
        11..100 => {
            let us = 500.0 * 1.15f64.powi(tenacity as i32 - 10);
            Some(Duration::from_micros(us as u64))
        }
        _ => None,
    }
}

/// What came of waiting for another thread to free memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Waited {
    /// There was nothing to wait for.
    NotAtAll,
    /// It is done, or memory is below the limit.
    Freed,
    /// It still goes on at the time limit.
    TooLong,
}

/// Between two looks at memory that another thread frees.
const FREE_LOOK: Duration = Duration::from_micros(50);

impl Engine {
    /// Bytes of the log that no limit counts: a replica that lags must not cost keys.
    pub fn lagging_bytes(&self, settings: &Settings) -> u64 {
        lagging_of(self.log.memory_bytes() as u64, settings)
    }

    /// Evicts keys if more memory is used than allowed. No lock is held.
    #[inline]
    pub fn make_room(&self, settings: &Settings) -> Room {
        if settings.memory.maxmemory == 0 {
            return Room::Enough;
        }
        self.make_room_below(settings)
    }

    fn make_room_below(&self, settings: &Settings) -> Room {
        let gates = self.gates.load();
        let is_replica = Gate::REPLICA.among(gates);
        if Gate::LOADING.among(gates) || (is_replica && settings.memory.replica_ignore_maxmemory) {
            return Room::Enough;
        }
        let over = || {
            let over = self.host.memory_over(settings.memory.maxmemory);
            if over == 0 {
                return 0;
            }
            // The log may grow or shrink between two looks: no key goes because of that.
            let before = self.lagging_bytes(settings);
            let over = self.host.memory_over(settings.memory.maxmemory);
            over.saturating_sub(before.max(self.lagging_bytes(settings)))
        };
        let excess = over();
        if excess == 0 {
            return Room::Enough;
        }
        let now_ms = clock::unix_ms();
        if Gate::PAUSED.among(gates) && self.pause.is_on(now_ms) {
            return Room::Enough;
        }
        match search(settings, now_ms) {
            Some(search) if !is_replica => self.evict(settings, &search, excess, over),
            _ => Room::Short,
        }
    }

    fn evict(
        &self,
        settings: &Settings,
        search: &Search,
        mut excess: u64,
        over: impl Fn() -> u64,
    ) -> Room {
        let Some(mut pool) = self.eviction.pool.try_lock() else {
            return Room::Enough;
        };
        let limit = time_limit(settings.memory.maxmemory_eviction_tenacity);
        let free = Free::lazily(settings.memory.lazyfree_lazy_eviction);
        let (begun, mut effects) = (Instant::now(), UnitEffects::new());
        let (mut misses, mut since_look, mut freed) = (0, 0, 0i64);
        let mut some_went = false;
        // What was removed before, here or by a client, may still be on its way.
        if self.await_frees(&over, begun, limit) == Waited::Freed && over() == 0 {
            return Room::Enough;
        }
        loop {
            let Some(victim) = pool.choose(&self.keyspace, search) else {
                let waited = self.await_frees(&over, begun, limit);
                return if over() == 0 || some_went && waited == Waited::TooLong {
                    Room::Enough
                } else {
                    Room::Short
                };
            };
            let before = self.host.thread_balance();
            if self.remove_victim(&victim, free, &mut effects) {
                (misses, since_look, some_went) = (0, since_look + 1, true);
                self.eviction.evicted.fetch_add(1, Ordering::Relaxed);
            } else {
                misses += 1;
                if misses > MAX_MISSES {
                    return Room::Short;
                }
            }
            freed += before - self.host.thread_balance();
            // No other key is to go for memory that another thread is about to free.
            if self.await_frees(&over, begun, limit) == Waited::Freed && over() == 0 {
                return Room::Enough;
            }
            if since_look >= KEYS_PER_LOOK || freed >= i64::try_from(excess).unwrap_or(i64::MAX) {
                excess = over();
                if excess == 0 {
                    return Room::Enough;
                }
                (since_look, freed) = (0, 0);
            }
            if limit.is_some_and(|limit| begun.elapsed() > limit) {
                return Room::Enough;
            }
        }
    }

    /// Waits while memory is over its limit and another thread is freeing some.
    fn await_frees(
        &self,
        over: &impl Fn() -> u64,
        begun: Instant,
        limit: Option<Duration>,
    ) -> Waited {
        let mut waited = Waited::NotAtAll;
        while self.host.frees_pending() && over() > 0 {
            if limit.is_some_and(|limit| begun.elapsed() > limit) {
                return Waited::TooLong;
            }
            waited = Waited::Freed;
            std::thread::sleep(FREE_LOOK);
        }
        waited
    }

    /// Removes a candidate. Whether it was still there.
    fn remove_victim(&self, victim: &Candidate, free: Free, effects: &mut UnitEffects) -> bool {
        let name: &[u8] = match free {
            Free::Here => b"DEL",
            Free::Elsewhere => b"UNLINK",
        };
        let (db, key) = (victim.db, &*victim.key);
        self.in_unit(victim.shard(), effects, |unit| {
            // The role changes only while every shard is locked.
            if self.gates.is(Gate::REPLICA) || !unit.remove(db, key, free) {
                return false;
            }
            if unit.options.log {
                unit.effects.push(db as u32, &[name, key]);
            }
            unit.notify(NotifyClass::EVICTED, "evicted", db, key);
            true
        })
    }
}

#[cfg(test)]
mod tests;

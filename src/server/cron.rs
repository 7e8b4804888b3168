//! What happens without being asked: removing keys and fields of hashes that are due,
//! saving at save points, evicting while too much memory is used.
//!
//! A round visits every shard of every database, one lock at a time, for a few keys each,
//! so that no client waits long, and spends at most a quarter of the time between two rounds, or
//! as much more as `active-expire-effort` allows.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::base::clock;
use crate::command::engine::{Engine, Gate};
use crate::command::latency;
use crate::keyspace::locks::{SHARDS, ShardMask};
use crate::oplog::effect::UnitEffects;

use super::host::Parts;

/// Fields of one hash that are removed under one lock.
const FIELDS_PER_LOCK: usize = 256;

/// Hashes with fields that are due which a round looks for.
const HASHES_PER_ROUND: usize = 16 * 1024;

/// Hashes whose fields are removed before others get a turn.
const HASHES_PER_TURN: usize = 16;

/// A hash with fields that are due: its database, since when, its shard and its key.
type DueHash = (usize, i64, usize, Box<[u8]>);

/// Segments with hashes that have something due which are looked at under one lock.
const SEGMENTS_PER_LOCK: usize = 2;

/// Keys that are removed under one lock: some tens of microseconds.
const KEYS_PER_LOCK: usize = 64;

/// Runs until the process ends.
pub async fn run(parts: Arc<Parts>) {
    let engine = &parts.engine;
    let mut effects = UnitEffects::new();
    let mut last = tokio::time::Instant::now();
    let mut was_replica = engine.gates.is(Gate::REPLICA);
    loop {
        let hz = u64::from(engine.config.current().process.hz.clamp(1, 500));
        let period = Duration::from_millis(1000 / hz);
        // A round begins a period after the last one began, however long that took.
        tokio::time::sleep_until(last + period).await;
        last = tokio::time::Instant::now();
        if engine.cron_paused.load(Ordering::Relaxed) {
            continue;
        }
        let begun = Instant::now();
        if may_expire(engine) {
            let effort = engine.config.current().memory.active_expire_effort;
            expire(engine, &mut effects, expiry_budget(period, effort)).await;
            note_cycle(engine, begun.elapsed());
        }
        expire_own(engine, &mut effects);
        // What memory is short of is made up for even while nobody asks for anything.
        engine.make_room(&engine.config.current());
        engine.evict_clients();
        let is_replica = engine.gates.is(Gate::REPLICA);
        if std::mem::replace(&mut was_replica, is_replica) != is_replica {
            // What the kernel refuses is logged.
            let _ = parts.oom.follow(&engine.config.current(), is_replica);
        }
        parts.saver.poll();
        parts.poll_aof();
        let replication = &parts.replication.stats;
        parts
            .rates
            .sample(clock::unix_ms(), &engine.stats, replication);
        engine.stats.cron.ran(begun.elapsed().as_nanos() as u64);
    }
}

/// How long a round may look for what is due: 25 to 43 hundredths of the time between two rounds,
/// as in Redis.
fn expiry_budget(period: Duration, effort: u32) -> Duration {
    period * (25 + 2 * effort.clamp(1, 10).saturating_sub(1)) / 100
}

fn note_cycle(engine: &Engine, took: Duration) {
    let threshold_ms = engine.config.current().observe.latency_monitor_threshold_ms;
    let now_s = clock::unix_ms() / 1000;
    let took_ms = took.as_millis() as u64;
    engine
        .latency
        .note(latency::EXPIRE_CYCLE, took_ms, threshold_ms, now_s);
}

fn may_expire(engine: &Engine) -> bool {
    let gates = engine.gates.load();
    if Gate::REPLICA.among(gates) || Gate::LOADING.among(gates) {
        return false;
    }
    let paused = Gate::PAUSED.among(gates) && engine.pause.is_on(clock::unix_ms());
    engine.active_expire.load(Ordering::Relaxed) && !paused
}

/// What a writable replica's own clients let expire.
fn expire_own(engine: &Engine, effects: &mut UnitEffects) {
    if engine.own_expiries.is_empty() {
        return;
    }
    let gates = engine.gates.load();
    if !Gate::REPLICA.among(gates) {
        engine.own_expiries.clear();
    } else if !Gate::LOADING.among(gates) && engine.active_expire.load(Ordering::Relaxed) {
        engine.expire_own(effects);
    }
}

/// One round over all shards, for at most `budget`, and half of it for fields of hashes.
async fn expire(engine: &Engine, effects: &mut UnitEffects, budget: Duration) {
    let begun = Instant::now();
    let mut hashes: Vec<DueHash> = Vec::new();
    for index in 0..SHARDS {
        for db in 0..engine.keyspace.databases() {
            let mut look = hashes.len() < HASHES_PER_ROUND;
            while look || begun.elapsed() < budget {
                let shard = ShardMask::only(index);
                let due = engine.in_unit(shard, effects, |unit| {
                    if look {
                        unit.hashes_with_due_fields(db, index, SEGMENTS_PER_LOCK, |at_ms, key| {
                            hashes.push((db, at_ms, index, key.into()));
                        });
                    }
                    unit.due_keys(db, index)
                });
                look = false;
                if due.is_empty() {
                    break;
                }
                for keys in due.chunks(KEYS_PER_LOCK) {
                    engine.in_unit(shard, effects, |unit| unit.expire_keys(db, keys));
                }
                tokio::task::yield_now().await;
            }
        }
    }
    expire_fields(engine, effects, hashes, budget / 2).await;
}

/// Removes the fields of these hashes that are due, those that have been due for longest first.
async fn expire_fields(
    engine: &Engine,
    effects: &mut UnitEffects,
    mut hashes: Vec<DueHash>,
    budget: Duration,
) {
    let begun = Instant::now();
    hashes.sort_unstable();
    for (n, (db, _, index, key)) in hashes.iter().enumerate() {
        while begun.elapsed() < budget {
            let removed = engine.in_unit(ShardMask::only(*index), effects, |unit| {
                unit.expire_due_fields(*db, key, FIELDS_PER_LOCK)
            });
            if removed < FIELDS_PER_LOCK {
                break;
            }
            tokio::task::yield_now().await;
        }
        if n % HASHES_PER_TURN == 0 {
            tokio::task::yield_now().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_effort_means_more_time() {
        let period = Duration::from_millis(100);
        let budgets = [1, 2, 10].map(|effort| expiry_budget(period, effort).as_millis());
        assert_eq!(budgets, [25, 27, 43]);
    }
}

//! What a unit's replies depend on: the newest writes of the keys it looked at or changed, as far
//! as these are known, or else of all the shards that it locked.
//!
//! The log must have got as far before the replies go out (see [`crate::oplog::durable`]). Where
//! there is no AOF nobody asks, and all that is noted is the shards' newest offset: should one be
//! switched on, reads wait rather too long for it than not long enough.

use smallvec::SmallVec;

use super::super::ctx::Ctx;
use super::plan::{Plan, Planned};
use super::{BATCH_MAX, Engine};
use crate::keyspace::unit::Unit;
use crate::oplog::durable::Need;

/// See the module.
pub(super) struct Dependence {
    /// Whether replies wait for anything.
    waits: bool,
    keys: Option<SmallVec<[u64; BATCH_MAX]>>,
}

impl Dependence {
    /// That of a unit of these requests, which have run.
    #[inline]
    pub fn of(engine: &Engine, ctx: &Ctx<'_>, plan: &Plan<'_>, planned: &[Planned<'_>]) -> Self {
        let waits = engine.log.durability().need() != Need::Nothing;
        // Clients that waited may have been served with other keys.
        let names_all = waits && ctx.served.is_empty();
        let keys = names_all
            .then(|| plan.all_keys(planned, ctx.unit.mask()))
            .flatten();
        Self { waits, keys }
    }

    /// The unit's effects reach up to `offset` in the log.
    #[inline]
    pub fn note(&self, unit: &mut Unit<'_>, offset: u64) {
        match &self.keys {
            Some(keys) => unit.wrote_keys(offset, keys),
            None => unit.wrote(offset),
        }
    }

    /// How far the log must have got. `end` is where the unit's own effects end.
    #[inline]
    pub fn durable_at(&self, unit: &mut Unit<'_>, end: u64) -> u64 {
        if !self.waits {
            return 0;
        }
        let newest = match &self.keys {
            Some(keys) => unit.newest_write_of(keys),
            None => unit.newest_write(),
        };
        newest.max(end)
    }
}

#[cfg(test)]
mod tests {
    use super::BATCH_MAX;
    use crate::command::testing::TestServer;
    use crate::oplog::durable::Need;

    /// Keys of one shard, so that nothing but the key tells them apart.
    fn neighbours(count: usize) -> Vec<String> {
        let shard =
            |key: &str| crate::keyspace::locks::shard_of(crate::keyspace::hash::of(key.as_bytes()));
        let keys = (0..).map(|n| format!("k{n}"));
        keys.filter(|key| shard(key) == 7).take(count).collect()
    }

    fn server() -> TestServer {
        let t = TestServer::new();
        t.engine.log.durability().set_need(Need::Synced);
        t
    }

    #[test]
    fn a_read_depends_on_its_own_keys() {
        let mut t = server();
        let keys = neighbours(4);
        let [a, b, c, d] = [0, 1, 2, 3].map(|i| keys[i].as_str());
        let set_a = t.durable_at(&format!("SET {a} 1"));
        let set_b = t.durable_at(&format!("SET {b} 1"));
        assert!(0 < set_a && set_a < set_b);
        assert_eq!(t.durable_at(&format!("GET {a}")), set_a);
        assert_eq!(t.durable_at(&format!("MGET {c} {a} {b}")), set_b);
        assert_eq!(t.durable_at(&format!("EXISTS {c} {d}")), 0);
        assert_eq!(t.durable_at("PING"), 0);
        // What a key is no more is shown as well, and what a command that changes nothing found.
        let del = t.durable_at(&format!("DEL {a}"));
        assert_eq!(t.durable_at(&format!("GET {a}")), del);
        assert_eq!(t.durable_at(&format!("SET {b} 2 NX")), set_b);
        // Both ends of a move.
        let rename = t.durable_at(&format!("RENAME {b} {c}"));
        assert_eq!(t.durable_at(&format!("TYPE {b}")), rename);
        assert_eq!(t.durable_at(&format!("TYPE {c}")), rename);
    }

    #[test]
    fn an_expired_key_is_one_that_was_written() {
        let mut t = server();
        let key = &neighbours(1)[0];
        let set = t.durable_at(&format!("SET {key} 1 PX 10"));
        t.advance(11);
        let gone = t.durable_at(&format!("GET {key}"));
        assert!(gone > set, "it has become a DEL in the log");
        assert_eq!(t.durable_at(&format!("GET {key}")), gone);
    }

    #[test]
    fn who_cannot_name_its_keys_depends_on_the_shards() {
        let mut t = server();
        let keys = neighbours(20);
        let newest = t.durable_at(&format!("SET {} 1", keys[0]));
        for whole in ["KEYS *", "SCAN 0 COUNT 1000", "RANDOMKEY"] {
            assert_eq!(t.durable_at(whole), newest, "{whole}");
        }
        // A transaction does not say which keys it changed.
        for line in ["MULTI", &format!("SET {} 1", keys[1])] {
            t.run(line);
        }
        let exec = t.durable_at("EXEC");
        assert!(exec > newest);
        assert_eq!(t.durable_at(&format!("GET {}", keys[2])), exec);
        // More keys than a shard remembers: the oldest stand for the rest.
        let offsets: Vec<u64> = keys
            .iter()
            .map(|key| t.durable_at(&format!("SET {key} 2")))
            .collect();
        assert_eq!(t.durable_at(&format!("GET {}", keys[19])), offsets[19]);
        let forgotten = t.durable_at(&format!("GET {}", keys[0]));
        assert!(offsets[0] <= forgotten && forgotten < offsets[19]);
        // Nor are the keys of a command looked at one by one where there are many.
        let many = neighbours(21 + BATCH_MAX).split_off(20).join(" ");
        assert_eq!(t.durable_at(&format!("MGET {many}")), offsets[19]);
        let few = neighbours(20 + BATCH_MAX).split_off(20).join(" ");
        assert_eq!(t.durable_at(&format!("MGET {few}")), forgotten);
    }

    #[test]
    fn who_is_served_writes_what_nobody_named() {
        let mut t = server();
        let keys = neighbours(3);
        let [from, to, other] = [0, 1, 2].map(|i| keys[i].as_str());
        let mut waiter = t.client();
        let mut begun = waiter.begin(&format!("BLMOVE {from} {to} LEFT LEFT 0"));
        let push = t.durable_at(&format!("RPUSH {from} a"));
        assert_eq!(waiter.reply_to(&mut begun).as_deref(), Some("\"a\""));
        assert_eq!(t.durable_at(&format!("LLEN {to}")), push);
        assert_eq!(
            t.durable_at(&format!("LLEN {other}")),
            push,
            "rather too long"
        );
    }

    #[test]
    fn nothing_is_waited_for_without_an_aof() {
        let mut t = TestServer::new();
        let key = &neighbours(1)[0];
        assert_eq!(t.durable_at(&format!("SET {key} 1")), 0);
        t.engine.log.durability().set_need(Need::Synced);
        assert_eq!(
            t.durable_at(&format!("GET {key}")),
            t.engine.log.end_offset()
        );
    }
}

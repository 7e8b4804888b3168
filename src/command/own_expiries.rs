//! Keys that clients of a writable replica gave an expiry.
//!
//! A replica removes nothing on its own: its primary says what has expired. But a key that only
//! the replica has would stay for ever, so those are remembered by name, as Redis does, and
//! removed when they are due. Nobody else is told: they are in no other server's data.
//!
//! A primary forgets what it remembered as a replica; it removes all that is due anyway.

use std::collections::{HashSet, VecDeque};

use parking_lot::Mutex;

use super::engine::Engine;
use crate::keyspace::hash;
use crate::keyspace::locks::ShardMask;
use crate::oplog::effect::UnitEffects;

/// Keys looked at in one round.
const KEYS_PER_ROUND: usize = 256;

/// A database and a key in it.
type Place = (usize, Box<[u8]>);

/// The keys, each once, in the order in which they are looked at.
#[derive(Debug, Default)]
struct Tracked {
    order: VecDeque<Place>,
    known: HashSet<Place>,
}

/// The keys that are remembered.
#[derive(Debug, Default)]
pub struct OwnExpiries(Mutex<Tracked>);

impl OwnExpiries {
    /// Remembers keys.
    pub fn track(&self, places: Vec<Place>) {
        let mut tracked = self.0.lock();
        for place in places {
            if tracked.known.insert(place.clone()) {
                tracked.order.push_back(place);
            }
        }
    }

    /// Number of keys remembered.
    pub fn len(&self) -> usize {
        self.0.lock().order.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Forgets all of them.
    pub fn clear(&self) {
        *self.0.lock() = Tracked::default();
    }

    /// The next keys to look at, which are no longer remembered.
    fn take_some(&self) -> Vec<Place> {
        let mut tracked = self.0.lock();
        let count = tracked.order.len().min(KEYS_PER_ROUND);
        let places: Vec<Place> = tracked.order.drain(..count).collect();
        for place in &places {
            tracked.known.remove(place);
        }
        places
    }
}

impl Engine {
    /// Removes some of the remembered keys that are due; forgets those that are gone or have no
    /// expiry any more.
    pub fn expire_own(&self, effects: &mut UnitEffects) {
        let mut waiting = Vec::new();
        for (db, key) in self.own_expiries.take_some() {
            let mut mask = ShardMask::NONE;
            mask.add_hash(hash::of(&key));
            let waits = self.in_unit(mask, effects, |unit| {
                unit.options.log = false;
                // A look at a key that is due removes it.
                unit.expire_of(db, &key).flatten().is_some()
            });
            if waits {
                waiting.push((db, key));
            }
        }
        self.own_expiries.track(waiting);
    }
}

#[cfg(test)]
mod tests {
    use crate::command::testing::TestServer;
    use crate::oplog::effect::UnitEffects;

    #[test]
    fn a_writable_replica_removes_what_its_own_clients_let_expire() {
        let mut t = TestServer::new();
        t.run("SET primary v PX 10");
        t.set_replica(true);
        t.engine
            .gates
            .set(crate::command::engine::Gate::READ_ONLY, false);
        t.run("SET own v PX 10");
        t.run("SET own v PX 10");
        t.run("SET later v");
        t.run("PEXPIRE later 1000");
        t.run("SET kept v PX 10");
        t.run("PERSIST kept");
        assert_eq!(t.engine.own_expiries.len(), 3);
        t.advance(10);
        t.effects();
        t.engine.expire_own(&mut UnitEffects::new());
        assert_eq!(t.engine.own_expiries.len(), 1);
        assert_eq!(t.effects(), [""; 0]);
        t.session.origin = crate::command::session::Origin::Primary;
        assert_eq!(t.run("EXISTS primary own later kept"), ":3");
    }
    #[test]
    fn what_is_due_and_hidden_makes_room_for_what_a_client_of_a_writable_replica_writes() {
        let mut t = TestServer::new();
        for key in ["counter", "text", "hash", "moved"] {
            t.run(&format!("SET {key} 5 PX 10"));
        }
        t.set_replica(true);
        t.engine
            .gates
            .set(crate::command::engine::Gate::READ_ONLY, false);
        t.advance(10);
        assert_eq!(t.run("DBSIZE"), ":4");
        assert_eq!(t.run("INCR counter"), ":1");
        assert_eq!(t.run("APPEND text v"), ":1");
        assert_eq!(t.run("HSET hash f v"), ":1");
        assert_eq!(t.run("RENAME hash moved"), "+OK");
        assert_eq!(t.run("TTL counter"), ":-1");
        assert_eq!(t.run("TTL text"), ":-1");
        assert_eq!(t.run("TTL moved"), ":-1");
        assert_eq!(t.run("DBSIZE"), ":3");
    }
}

//! The clients that wait for keys, as their shard sees it.

use super::super::waiters::{Ready, Ticket};
use super::Shard;

impl Shard {
    /// Queues a ticket for a key; its client has none there.
    pub(in crate::keyspace) fn wait_for(&mut self, db: usize, key: &[u8], ticket: Ticket) {
        if let Some(d) = self.dbs.get_mut(db) {
            d.waiters.add(key, ticket);
            self.needs.add(ticket.needs);
        }
    }

    /// Takes a client's ticket for a key back.
    pub(in crate::keyspace) fn stop_waiting(
        &mut self,
        db: usize,
        key: &[u8],
        client: u64,
    ) -> Option<Ticket> {
        let ticket = self.dbs.get_mut(db)?.waiters.remove(key, client)?;
        self.needs.remove(ticket.needs);
        Some(ticket)
    }

    /// Has those who wait for `key` tried again, though who watches it is not to hear of a change.
    pub(in crate::keyspace) fn make_ready(&mut self, db: usize, key: &[u8]) {
        if let Some(d) = self.dbs.get_mut(db) {
            self.ready.extend(d.waiters.make_ready(db, key));
        }
    }

    /// Takes the keys that became ready.
    pub(in crate::keyspace) fn take_ready(&mut self, out: &mut Vec<Ready>) {
        for ready in self.ready.drain(..) {
            if let Some(d) = self.dbs.get_mut(ready.db) {
                d.waiters.unready(&ready.key);
            }
            out.push(ready);
        }
    }

    /// Number of keys that somebody waits for in all databases, and of those whose going somebody
    /// waits for.
    pub fn waited_keys(&self) -> (usize, usize) {
        self.dbs.iter().fold((0, 0), |(keys, gone), d| {
            let (k, g) = d.waiters.key_counts();
            (keys + k, gone + g)
        })
    }
}

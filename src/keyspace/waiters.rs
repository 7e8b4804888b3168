//! Who waits for which key, in the order in which they began to wait.
//!
//! A client that waits for a key has a [`Ticket`] in the queue of that key, in the key's shard; one
//! that waits for several keys has one in each of their queues. Whoever changes a key that somebody
//! waits for puts it on its shard's list of ready keys ([`Waiters::make_ready`], called by the one
//! hook behind every change), with a stamp that orders ready keys over all shards. The unit that
//! made the change takes the list before it lets go of the locks, and serves.
//!
//! What is served, and whether a ticket is still good, is not decided here: a client that waits in
//! several shards may have been served in another one, and its tickets elsewhere are left over
//! until it takes them back itself.
//!
//! A client whose service needs shards beyond its key's own (the destination of BLMOVE) says so in
//! its ticket. [`Needs`] sums that up for a shard, so that a unit locks those shards before it
//! runs its first command, and not when it is too late for the ascending order.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};

use hashbrown::HashMap;

use super::locks::{SHARDS, ShardMask};
use super::value::ValueKind;

/// One client's place in the queue of one key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket {
    /// The client.
    pub client: u64,
    /// A key of this type may serve it.
    pub kind: ValueKind,
    /// It also wants to know when the key goes, or changes its type.
    pub on_gone: bool,
    /// Shards that serving it needs, besides the key's own.
    pub needs: ShardMask,
}

/// A key that somebody waits for and that has changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ready {
    /// Ascending in the order of the changes.
    pub stamp: u64,
    /// The database.
    pub db: usize,
    /// The key.
    pub key: Box<[u8]>,
}

static STAMP: AtomicU64 = AtomicU64::new(0);

#[derive(Debug, Default)]
struct Queue {
    tickets: VecDeque<Ticket>,
    /// How many of them want to know when the key goes.
    on_gone: usize,
    /// The key is on the shard's list already.
    ready: bool,
}

/// The queues of one database's slice in one shard.
#[derive(Debug, Default)]
pub struct Waiters {
    queues: HashMap<Box<[u8]>, Queue>,
}

impl Waiters {
    /// Whether nobody waits.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.queues.is_empty()
    }

    /// Number of keys that somebody waits for, and of those whose going somebody waits for.
    pub fn key_counts(&self) -> (usize, usize) {
        let on_gone = self.queues.values().filter(|q| q.on_gone > 0).count();
        (self.queues.len(), on_gone)
    }

    /// Queues a ticket behind those for the same key, of which none is the client's.
    pub(super) fn add(&mut self, key: &[u8], ticket: Ticket) {
        let queue = self.queues.entry(key.into()).or_default();
        queue.on_gone += usize::from(ticket.on_gone);
        queue.tickets.push_back(ticket);
    }

    /// Takes a client's ticket back.
    pub(super) fn remove(&mut self, key: &[u8], client: u64) -> Option<Ticket> {
        let queue = self.queues.get_mut(key)?;
        let at = queue.tickets.iter().position(|t| t.client == client)?;
        let ticket = queue.tickets.remove(at)?;
        queue.on_gone -= usize::from(ticket.on_gone);
        if queue.tickets.is_empty() {
            self.queues.remove(key);
        }
        Some(ticket)
    }

    /// The ticket at a place of a key's queue.
    pub fn at(&self, key: &[u8], place: usize) -> Option<Ticket> {
        self.queues.get(key)?.tickets.get(place).copied()
    }

    /// Whether somebody wants to know that the key went.
    pub fn wants_gone(&self, key: &[u8]) -> bool {
        self.queues.get(key).is_some_and(|q| q.on_gone > 0)
    }

    /// Notes that `key` has changed; what goes on the shard's list if that is news to somebody.
    pub(super) fn make_ready(&mut self, db: usize, key: &[u8]) -> Option<Ready> {
        let queue = self.queues.get_mut(key)?;
        if std::mem::replace(&mut queue.ready, true) {
            return None;
        }
        Some(Ready {
            stamp: STAMP.fetch_add(1, Ordering::Relaxed),
            db,
            key: key.into(),
        })
    }

    /// As [`Waiters::make_ready`], for every key that somebody waits for and `among` holds of.
    pub(super) fn make_all_ready(
        &mut self,
        db: usize,
        among: impl Fn(&[u8]) -> bool,
        out: &mut Vec<Ready>,
    ) {
        for (key, queue) in &mut self.queues {
            if !queue.ready && among(key) {
                queue.ready = true;
                out.push(Ready {
                    stamp: STAMP.fetch_add(1, Ordering::Relaxed),
                    db,
                    key: key.clone(),
                });
            }
        }
    }

    /// The key has been taken off the list: the next change puts it there again.
    pub(super) fn unready(&mut self, key: &[u8]) {
        if let Some(queue) = self.queues.get_mut(key) {
            queue.ready = false;
        }
    }
}

/// The shards that serving the clients of one shard needs.
#[derive(Debug)]
pub struct Needs {
    counts: [u32; SHARDS],
    mask: ShardMask,
}

impl Default for Needs {
    fn default() -> Needs {
        Needs {
            counts: [0; SHARDS],
            mask: ShardMask::NONE,
        }
    }
}

impl Needs {
    /// All of them.
    #[inline]
    pub fn mask(&self) -> ShardMask {
        self.mask
    }

    pub(super) fn add(&mut self, needs: ShardMask) {
        for shard in needs.iter() {
            if let Some(n) = self.counts.get_mut(shard) {
                *n += 1;
            }
        }
        self.mask = self.mask.union(needs);
    }

    pub(super) fn remove(&mut self, needs: ShardMask) {
        for shard in needs.iter() {
            if let Some(n) = self.counts.get_mut(shard) {
                *n -= 1;
                if *n == 0 {
                    self.mask = self.mask.without(ShardMask::only(shard));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ticket(client: u64) -> Ticket {
        Ticket {
            client,
            kind: ValueKind::List,
            on_gone: client % 2 == 1,
            needs: ShardMask::NONE,
        }
    }

    #[test]
    fn a_key_is_ready_once_until_it_is_taken() {
        let mut w = Waiters::default();
        assert_eq!(w.make_ready(0, b"k"), None);
        w.add(b"k", ticket(1));
        assert!(w.make_ready(0, b"k").is_some());
        assert_eq!(w.make_ready(0, b"k"), None);
        w.unready(b"k");
        assert!(w.make_ready(0, b"k").is_some());
    }

    #[test]
    fn tickets_keep_their_order() {
        let mut w = Waiters::default();
        for client in [3, 2, 1] {
            w.add(b"k", ticket(client));
        }
        assert_eq!(w.key_counts(), (1, 1));
        assert_eq!(w.remove(b"k", 3), Some(ticket(3)));
        assert_eq!(w.at(b"k", 0), Some(ticket(2)));
        assert_eq!(w.at(b"k", 1), Some(ticket(1)));
        assert!(w.wants_gone(b"k"));
        assert_eq!(w.remove(b"k", 1), Some(ticket(1)));
        assert!(!w.wants_gone(b"k"));
        assert_eq!(w.remove(b"k", 2), Some(ticket(2)));
        assert!(w.is_empty());
    }

    #[test]
    fn a_shard_is_needed_as_long_as_somebody_needs_it() {
        let mut needs = Needs::default();
        let (a, b) = (ShardMask::only(3), ShardMask::only(60));
        needs.add(a);
        needs.add(a.union(b));
        needs.remove(a);
        assert_eq!(needs.mask(), a.union(b));
        needs.remove(a.union(b));
        assert!(needs.mask().is_empty());
    }
}

//! A consumer group: how far it has read, who reads, and what is delivered but not acknowledged.
//!
//! - Every pending entry is in the group's list with its owner, and its id in its owner's list:
//!   the two change together, in this file alone.
//! - A consumer is known to pending entries by a number, which is used again when it is gone:
//!   none of its entries are pending then.
//! - Cloning is O(1), and a change after it copies only pages on its path.

use std::sync::Arc;

use super::id::StreamId;
use super::names::{Name, Names};
use super::pending::{self, ById};
use crate::keyspace::value::btree::Slots;

/// An entry delivered and not acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pending {
    /// When it was delivered last, Unix milliseconds.
    pub time_ms: i64,
    /// How often it was delivered.
    pub deliveries: u64,
    /// The number of the consumer it was delivered to.
    pub owner: u32,
}

/// One who reads for a group.
#[derive(Clone)]
pub struct Consumer {
    name: Name,
    /// When it last tried to do something, Unix milliseconds.
    pub seen_ms: i64,
    /// When it last got something, Unix milliseconds; -1 for never.
    pub active_ms: i64,
    pending: ById<()>,
}

impl Consumer {
    /// Its name.
    pub fn name(&self) -> &[u8] {
        &self.name
    }

    /// How many entries are pending for it.
    pub fn pending_len(&self) -> usize {
        self.pending.len()
    }

    /// The entries pending for it, from an id on.
    pub fn pending_from(&self, from: StreamId) -> impl Iterator<Item = StreamId> + '_ {
        self.pending.iter_from(from).map(|(id, ())| id)
    }
}

/// A consumer group.
#[derive(Clone, Default)]
pub struct Group {
    /// The last entry delivered.
    pub last_id: StreamId,
    /// How many entries were read since the stream began, as far as that is known.
    pub entries_read: Option<i64>,
    pending: ById<Pending>,
    consumers: Slots<Arc<Consumer>>,
    numbers: Names<u32>,
}

impl Group {
    /// A group that has read up to `last_id`.
    pub fn new(last_id: StreamId, entries_read: Option<i64>) -> Group {
        Group {
            last_id,
            entries_read,
            ..Group::default()
        }
    }

    /// How many entries are pending.
    pub fn pending_len(&self) -> usize {
        self.pending.len()
    }

    /// What is pending, from an id on.
    pub fn pending_from(&self, from: StreamId) -> pending::Iter<'_, Pending> {
        self.pending.iter_from(from)
    }

    /// The least and the greatest id that are pending.
    pub fn pending_ends(&self) -> Option<(StreamId, StreamId)> {
        Some((self.pending.first()?.0, self.pending.last()?.0))
    }

    /// A pending entry.
    pub fn pending(&self, id: StreamId) -> Option<Pending> {
        self.pending.get(id).copied()
    }

    /// How many consumers there are.
    pub fn consumers_len(&self) -> usize {
        self.numbers.len()
    }

    /// The consumers by name.
    pub fn consumers(&self) -> impl Iterator<Item = &Consumer> + '_ {
        self.numbers
            .iter()
            .filter_map(|(_, number)| self.consumer(*number))
    }

    /// The number of the consumer of this name.
    pub fn number(&self, name: &[u8]) -> Option<u32> {
        self.numbers.get(name).copied()
    }

    /// The consumer of a number.
    pub fn consumer(&self, number: u32) -> Option<&Consumer> {
        self.consumers.get(number).map(|consumer| &**consumer)
    }

    /// The consumer of a number, to be changed.
    pub fn consumer_mut(&mut self, number: u32) -> Option<&mut Consumer> {
        self.consumers.get_mut(number).map(Arc::make_mut)
    }

    /// The name of the consumer of a number.
    pub fn owner_name(&self, number: u32) -> &[u8] {
        self.consumer(number).map_or(&[], Consumer::name)
    }

    /// Makes a consumer of this name, which was active at no time yet. `None` if there is one.
    pub fn create_consumer(&mut self, name: &[u8], seen_ms: i64) -> Option<u32> {
        if self.number(name).is_some() {
            return None;
        }
        let name: Name = name.into();
        let number = self.consumers.insert(Arc::new(Consumer {
            name: Arc::clone(&name),
            seen_ms,
            active_ms: -1,
            pending: ById::default(),
        }));
        self.numbers.insert(name, number);
        Some(number)
    }

    /// Removes a consumer with what is pending for it. How much that was.
    pub fn delete_consumer(&mut self, name: &[u8]) -> Option<usize> {
        let number = self.numbers.remove(name)?;
        let consumer = self.consumers.remove(number)?;
        for id in consumer.pending_from(StreamId::MIN) {
            self.pending.remove(id);
        }
        Some(consumer.pending_len())
    }

    /// Makes an entry pending, or changes the one that is: its owner is `pending.owner` from now
    /// on. Whether there is such a consumer.
    pub fn assign(&mut self, id: StreamId, pending: Pending) -> bool {
        let Some(owner) = self.consumer_mut(pending.owner) else {
            return false;
        };
        owner.pending.insert(id, ());
        if let Some(before) = self.pending.insert(id, pending)
            && before.owner != pending.owner
            && let Some(owner) = self.consumer_mut(before.owner)
        {
            owner.pending.remove(id);
        }
        true
    }

    /// Takes an entry out of what is pending.
    pub fn acknowledge(&mut self, id: StreamId) -> Option<Pending> {
        let pending = self.pending.remove(id)?;
        if let Some(owner) = self.consumer_mut(pending.owner) {
            owner.pending.remove(id);
        }
        Some(pending)
    }

    /// Changes when and how often a pending entry was delivered.
    pub fn redeliver(&mut self, id: StreamId, time_ms: i64) {
        self.pending.edit(id, |pending| {
            pending.time_ms = time_ms;
            pending.deliveries = pending.deliveries.wrapping_add(1);
        });
    }

    /// Bytes taken from the allocator.
    pub fn size_bytes(&self) -> usize {
        let consumers: usize = self
            .consumers
            .iter()
            .map(|c| size_of::<Consumer>() + 16 + c.pending.size_bytes())
            .sum();
        size_of::<Group>()
            + 16
            + consumers
            + self.pending.size_bytes()
            + self.numbers.size_bytes()
            + self.consumers.size_bytes()
    }
}

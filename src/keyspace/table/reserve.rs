//! Room for many keys at once, as a load wants it: segments are split and given their slots before
//! the keys come, so that none is split, or grows slot by slot, while they do. What is left of the
//! room when they have come can be given back.

use super::segment::{CHUNK_SLOTS, MAX_ENTRIES, pointer_of, with_scratch};
use super::{MAX_DEPTH, Table};
use crate::keyspace::entry::Entry;
use crate::keyspace::hash;

/// How deep the directory of a table of so many keys is, so that no segment will have to split.
fn depth_for(keys: usize) -> u32 {
    let fits = |depth: &u32| with_spread(keys >> depth) <= MAX_ENTRIES;
    (0..MAX_DEPTH).find(fits).unwrap_or(MAX_DEPTH)
}

/// What a segment may come to hold where so many are to be expected: keys fall at random.
fn with_spread(keys: usize) -> usize {
    keys + 2 * keys.isqrt()
}

impl Table {
    /// Makes room for so many keys in all. They need not come.
    pub fn reserve(&mut self, keys: usize) {
        if keys <= self.len {
            return;
        }
        self.begin();
        let depth = depth_for(keys);
        let mut id = 0;
        // What a split adds stands behind, and is looked at as well.
        while let Some(seg) = self.segments.get_mut(id) {
            if seg.depth < depth {
                with_scratch(|sorted| {
                    if let Some(seg) = self.segments.get_mut(id) {
                        seg.drain_into(sorted);
                    }
                    self.split(id as u32, sorted);
                });
                continue;
            }
            if seg.depth == depth {
                seg.widen(with_spread(keys >> depth));
            }
            id += 1;
        }
    }

    /// Gives back the room that was made for keys that have not come, if most of it was: with fewer
    /// segments, which are not merged otherwise, so that every entry is put in anew.
    pub fn give_back_room(&mut self) {
        if self.len * 2 + CHUNK_SLOTS >= self.capacity() {
            return;
        }
        let len = self.len;
        // From here on the entries are in nobody's table but in these segments.
        let segments = std::mem::take(&mut self.segments);
        *self = Table::new(self.shard_bits);
        self.reserve(len);
        for slot in segments.iter().flat_map(|seg| seg.all()) {
            let Some(p) = pointer_of(slot) else { continue };
            // SAFETY: the slot owned a live entry, and nobody looks at it any more.
            let entry = unsafe { Entry::from_raw(p) };
            self.insert(hash::of(entry.as_ref().key()), entry);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::entry::{Entry, Meta};
    use super::super::super::hash;
    use super::*;

    fn insert(table: &mut Table, keys: std::ops::Range<u32>) {
        for i in keys {
            let key = format!("key:{i}");
            let entry = Entry::with_bytes(key.as_bytes(), b"value", Meta::default());
            table.insert(hash::of(key.as_bytes()), entry);
        }
    }

    fn all_there(table: &Table, keys: std::ops::Range<u32>) {
        assert_eq!(table.len(), keys.len());
        for i in keys {
            let key = format!("key:{i}");
            let found = table.find(hash::of(key.as_bytes()), key.as_bytes());
            assert!(found.is_some(), "{key}");
        }
    }

    #[test]
    fn room_that_was_made_is_enough_and_not_much_too_much() {
        for keys in [1, 50, 1000, 1900, 2000, 20_000, 100_000] {
            let mut table = Table::new(0);
            table.reserve(keys as usize);
            let before = table.capacity();
            insert(&mut table, 0..keys);
            all_there(&table, 0..keys);
            let (after, keys) = (table.capacity(), keys as usize);
            assert!(
                after <= before + before / 20 + 64,
                "{keys}: {before} {after}"
            );
            assert!(before <= keys + keys / 4 + 200, "{keys}: {before}");
        }
    }

    #[test]
    fn keys_that_are_there_stay_there() {
        let mut table = Table::new(0);
        insert(&mut table, 0..5000);
        for room in [10, 6000, 50_000, 50_000, 7000] {
            table.reserve(room);
            all_there(&table, 0..5000);
        }
        insert(&mut table, 5000..60_000);
        all_there(&table, 0..60_000);
    }

    #[test]
    fn room_for_keys_that_did_not_come_is_given_back() {
        for (room, came) in [(100_000, 20_000), (100_000, 300), (5000, 1), (5000, 0)] {
            let mut table = Table::new(0);
            table.reserve(room);
            insert(&mut table, 0..came);
            let bytes = table.overhead_bytes();
            table.give_back_room();
            all_there(&table, 0..came);
            let capacity = table.capacity();
            assert!(
                capacity <= came as usize * 5 / 4 + 200,
                "{came}: {capacity}"
            );
            assert!(table.overhead_bytes() < bytes / 2, "{came}");
            insert(&mut table, came..came + 5000);
            all_there(&table, 0..came + 5000);
        }
    }

    #[test]
    fn room_that_is_half_taken_stays() {
        let mut table = Table::new(0);
        table.reserve(10_000);
        insert(&mut table, 0..8000);
        let (capacity, bytes) = (table.capacity(), table.overhead_bytes());
        table.give_back_room();
        assert_eq!(
            (table.capacity(), table.overhead_bytes()),
            (capacity, bytes)
        );
        all_there(&table, 0..8000);
    }

    #[test]
    fn expiries_are_still_counted() {
        let mut table = Table::new(0);
        for i in 0..3000 {
            let key = format!("key:{i}");
            let meta = Meta {
                expire_ms: (i % 3 == 0).then_some(1000 + i),
                ..Meta::default()
            };
            let entry = Entry::with_bytes(key.as_bytes(), b"value", meta);
            table.insert(hash::of(key.as_bytes()), entry);
        }
        let shown = |table: &Table| {
            let volatile: u32 = table.segments.iter().map(|s| s.volatile).sum();
            assert_eq!(volatile, 1000);
            let earliest = table.segments.iter().map(|s| s.earliest_ms).min();
            assert_eq!(earliest, Some(1000));
            (table.volatile_len(), format!("{:?}", table.sizes()))
        };
        let before = shown(&table);
        assert_eq!(before.0, 1000);
        table.reserve(30_000);
        assert_eq!(shown(&table), before);
        table.give_back_room();
        assert_eq!(shown(&table), before);
    }
}

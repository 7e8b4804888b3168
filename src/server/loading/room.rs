//! Room for the keys that a stream says it holds.
//!
//! What it says is not believed as such: room is made for as many keys as a stream of its length
//! may well hold, and for a multiple of those that have come. A stream that lies makes us allocate
//! a fraction of its own length. What most of the keys did not come for is given back at the end.

use std::collections::BTreeMap;

use crate::keyspace::locks::Keyspace;

/// A key for so many bytes of the stream is believed. Its slot takes about eight.
const BYTES_A_KEY: u64 = 32;
/// So many keys are believed for each that has come.
const BELIEVED: u64 = 8;
/// Keys that come before room is made for others.
const FIRST: u64 = 1024;

/// See the module.
#[derive(Debug)]
pub struct Room {
    /// Keys that a stream of this length may well hold.
    plausible: u64,
    /// What the stream says of each database.
    said: BTreeMap<usize, u64>,
    db: usize,
    /// The keys that have come when room is made the next time.
    next: u64,
    /// Room was made.
    made: bool,
}

impl Room {
    /// For a stream of so many bytes, 0 if that is not known.
    pub fn of(bytes: u64) -> Room {
        Room {
            plausible: bytes / BYTES_A_KEY,
            said: BTreeMap::new(),
            db: 0,
            next: u64::MAX,
            made: false,
        }
    }

    /// The database that is spoken of from here on; it is there.
    pub fn select(&mut self, db: u64) {
        self.db = usize::try_from(db).unwrap_or(usize::MAX);
    }

    /// The stream says that the database has so many keys.
    pub fn hint(&mut self, keys: u64, came: u64) {
        self.said.insert(self.db, keys);
        self.next = self.next.min(came.saturating_add(FIRST));
    }

    /// Whether room is to be made, now that so many keys have come.
    #[inline]
    pub fn is_wanted(&self, came: u64) -> bool {
        came >= self.next
    }

    /// Makes it.
    pub fn make(&mut self, keyspace: &Keyspace, came: u64) {
        self.made = true;
        for (db, keys) in self.believed(came) {
            keyspace.make_room(db, keys);
        }
    }

    /// Gives back what was made for keys that were due and left out, or were never there.
    pub fn give_back(&self, keyspace: &Keyspace) {
        for db in self.said.keys().filter(|_| self.made) {
            keyspace.give_back_room(*db);
        }
    }

    /// The keys of each database that there is to be room for.
    fn believed(&mut self, came: u64) -> Vec<(usize, u64)> {
        let said: u128 = self.said.values().map(|keys| u128::from(*keys)).sum();
        let most = came.saturating_mul(BELIEVED).max(self.plausible);
        self.next = match u128::from(most) < said {
            true => came.saturating_mul(BELIEVED),
            false => u64::MAX,
        };
        let part = |keys: u64| {
            let part = u128::from(keys) * u128::from(most) / said.max(1);
            u64::try_from(part).unwrap_or(u64::MAX).min(keys)
        };
        self.said
            .iter()
            .map(|(db, keys)| (*db, part(*keys)))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plausible_word_is_believed_at_once() {
        let mut room = Room::of(100_000 * 80);
        assert!(!room.is_wanted(5000));
        room.select(1);
        room.hint(100_000, 0);
        assert!(!room.is_wanted(FIRST - 1));
        assert!(room.is_wanted(FIRST));
        assert_eq!(room.believed(FIRST), [(1, 100_000)]);
        assert!(!room.is_wanted(u64::MAX - 1));
    }

    #[test]
    fn of_an_incredible_one_as_much_as_what_came_makes_credible() {
        let mut room = Room::of(1000);
        room.select(0);
        room.hint(u64::MAX, 0);
        room.select(3);
        room.hint(u64::MAX, 0);
        let believed = room.believed(1024);
        assert_eq!(
            believed.iter().map(|(db, _)| *db).collect::<Vec<_>>(),
            [0, 3]
        );
        let sum: u64 = believed.iter().map(|(_, keys)| keys).sum();
        assert!(
            (1024 * BELIEVED - 2..=1024 * BELIEVED).contains(&sum),
            "{sum}"
        );
        assert!(!room.is_wanted(1025));
        assert!(room.is_wanted(1024 * BELIEVED));
    }

    #[test]
    fn a_database_that_is_told_of_late_gets_its_room() {
        let mut room = Room::of(0);
        room.select(0);
        room.hint(5000, 0);
        room.believed(5000);
        assert!(!room.is_wanted(6000));
        room.select(1);
        room.hint(10_000, 5000);
        assert!(room.is_wanted(5000 + FIRST));
        assert_eq!(room.believed(6024), [(0, 5000), (1, 10_000)]);
    }
}

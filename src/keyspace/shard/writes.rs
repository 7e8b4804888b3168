//! What a shard remembers of its newest writes: how far the log must have got before a reply that
//! shows them may go out.
//!
//! One offset for a shard would be true enough, but where each fsync stands for 20 writes nearly
//! every shard has one that waits, and so would nearly every read. Therefore the last few keys are
//! remembered by their hashes, each with its offset. What is no longer remembered, or was written
//! by somebody who could not tell which keys, holds for all keys. Keys with one hash wait for each
//! other, in whatever database.

/// Keys that are remembered: some times as many as wait in a shard when each of 50 clients has a
/// write of its own under way.
const KEYS: usize = 16;

/// See the module. Offsets are those of the log; 0 stands for nothing.
#[derive(Debug, Default)]
pub struct Writes {
    of_any: u64,
    recent: Option<Box<Recent>>,
}

/// In no order. An offset of 0 stands for an empty place.
#[derive(Debug, Default)]
struct Recent {
    hashes: [u64; KEYS],
    offsets: [u64; KEYS],
}

impl Recent {
    fn place_of(&self, hash: u64) -> Option<usize> {
        self.hashes.iter().position(|h| *h == hash)
    }

    fn place_of_oldest(&self) -> usize {
        let oldest = self.offsets.iter().enumerate().min_by_key(|(_, o)| **o);
        oldest.map_or(0, |(place, _)| place)
    }
}

impl Writes {
    /// Any key may have been written, up to `offset`.
    #[inline]
    pub fn note_any(&mut self, offset: u64) {
        self.of_any = self.of_any.max(offset);
    }

    /// The keys with this hash have been written, up to `offset`.
    pub fn note_key(&mut self, hash: u64, offset: u64) {
        let recent = self.recent.get_or_insert_default();
        let place = recent.place_of(hash);
        let place = place.unwrap_or_else(|| recent.place_of_oldest());
        if let (Some(h), Some(o)) = (recent.hashes.get_mut(place), recent.offsets.get_mut(place)) {
            if *h != hash {
                self.of_any = self.of_any.max(*o);
                *h = hash;
            }
            *o = offset.max(*o);
        }
    }

    /// The newest write of all.
    pub fn newest(&self) -> u64 {
        let recent = self.recent.as_deref();
        let newest = recent.and_then(|recent| recent.offsets.iter().max());
        newest.map_or(self.of_any, |o| self.of_any.max(*o))
    }

    /// The newest write that may have been one of the keys with this hash.
    pub fn newest_of(&self, hash: u64) -> u64 {
        let own = self.recent.as_deref().and_then(|recent| {
            let place = recent.place_of(hash)?;
            recent.offsets.get(place).copied()
        });
        own.unwrap_or(0).max(self.of_any)
    }

    /// The log begins anew: nothing of this lies in it.
    pub fn forget(&mut self) {
        *self = Writes::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_waits_for_its_own_writes_alone() {
        let mut writes = Writes::default();
        writes.note_any(5);
        writes.note_key(1, 10);
        writes.note_key(2, 20);
        writes.note_key(1, 30);
        assert_eq!([1, 2, 3].map(|h| writes.newest_of(h)), [30, 20, 5]);
        assert_eq!(writes.newest(), 30);
        writes.note_any(25);
        assert_eq!([1, 2, 3].map(|h| writes.newest_of(h)), [30, 25, 25]);
        writes.forget();
        assert_eq!((writes.newest_of(1), writes.newest()), (0, 0));
    }

    #[test]
    fn no_key_is_told_less_than_its_newest_write() {
        let mut writes = Writes::default();
        let mut model = std::collections::HashMap::new();
        let mut random = 7u64;
        for offset in 1..20_000 {
            random = random
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            // Some keys often, others seldom; 0 as well, which is what an empty place holds.
            let hash = (random >> 33) % (1 + (random >> 50) % 40);
            writes.note_key(hash, offset);
            model.insert(hash, offset);
            for (hash, offset) in &model {
                assert!(writes.newest_of(*hash) >= *offset);
            }
            assert!(writes.newest_of(1_000) <= writes.newest());
        }
        let fresh = model.iter().filter(|(h, o)| writes.newest_of(**h) == **o);
        assert!(
            fresh.count() >= KEYS,
            "those that are remembered are told apart"
        );
    }
}

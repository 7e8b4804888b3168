//! Names to numbers, whatever the case: the lookup every request begins with.
//!
//! A name of up to 16 bytes is loaded into two words (overlapping, so every length is read by
//! fixed-size loads), lower-cased there all at once, and looked up by open addressing with
//! linear probing at a load of at most one half. Longer names, of which there are a handful,
//! are compared one by one. Nothing is allocated by a lookup.

/// A name of at most 16 bytes, lower-cased. Two names are equal exactly when all three agree:
/// for a given length the words hold every byte.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
struct Folded {
    low: u64,
    high: u64,
    len: u8,
}

/// Lower-cases the ASCII letters among eight bytes and leaves all other bytes alone.
const fn lower(word: u64) -> u64 {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = 0x80 * ONES;
    let low7 = word & !HIGH;
    let at_least_a = low7 + (0x80 - b'A' as u64) * ONES;
    let above_z = low7 + (0x7f - b'Z' as u64) * ONES;
    let upper = (at_least_a ^ above_z) & !word & HIGH;
    word | (upper >> 2)
}

impl Folded {
    #[inline]
    fn new(name: &[u8]) -> Option<Self> {
        let len = u8::try_from(name.len()).ok().filter(|&len| len <= 16)?;
        let (low, high) = if let (Some(head), Some(tail)) =
            (name.first_chunk::<8>(), name.last_chunk::<8>())
        {
            (u64::from_le_bytes(*head), u64::from_le_bytes(*tail))
        } else if let (Some(head), Some(tail)) = (name.first_chunk::<4>(), name.last_chunk::<4>()) {
            (
                u64::from(u32::from_le_bytes(*head)),
                u64::from(u32::from_le_bytes(*tail)),
            )
        } else {
            match *name {
                [a, b, c] => (u64::from_le_bytes([a, b, c, 0, 0, 0, 0, 0]), 0),
                [a, b] => (u64::from_le_bytes([a, b, 0, 0, 0, 0, 0, 0]), 0),
                [a] => (u64::from(a), 0),
                _ => (0, 0),
            }
        };
        Some(Self {
            low: lower(low),
            high: lower(high),
            len,
        })
    }

    #[inline]
    fn hash(self) -> usize {
        let mixed = (self.low ^ self.high.rotate_left(29)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        // The upper half has seen every input bit.
        (mixed >> 32) as usize
    }
}

/// One place of the table; free when `number` is `FREE`.
#[derive(Clone, Copy, Debug)]
struct Slot {
    name: Folded,
    number: u16,
}

const FREE: u16 = u16::MAX;
const EMPTY: Slot = Slot {
    name: Folded {
        low: 0,
        high: 0,
        len: 0,
    },
    number: FREE,
};

/// A case-insensitive map from names to small numbers.
#[derive(Clone, Debug)]
pub struct NameIndex {
    slots: Box<[Slot]>,
    long: Vec<(Box<[u8]>, u16)>,
    len: usize,
}

impl Default for NameIndex {
    fn default() -> Self {
        Self {
            slots: vec![EMPTY; 8].into_boxed_slice(),
            long: Vec::new(),
            len: 0,
        }
    }
}

impl NameIndex {
    /// The number stored under `name`.
    #[inline]
    pub fn get(&self, name: &[u8]) -> Option<u16> {
        let Some(folded) = Folded::new(name) else {
            return self.get_long(name);
        };
        let mask = self.slots.len().wrapping_sub(1);
        let mut at = folded.hash() & mask;
        // Half of the slots at least are free, so the probe ends.
        while let Some(slot) = self.slots.get(at) {
            if slot.number == FREE {
                return None;
            }
            if slot.name == folded {
                return Some(slot.number);
            }
            at = (at + 1) & mask;
        }
        None
    }

    #[cold]
    fn get_long(&self, name: &[u8]) -> Option<u16> {
        let found = self
            .long
            .iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(name));
        found.map(|&(_, number)| number)
    }

    /// Stores `number` (below `u16::MAX`) under `name`; false, and nothing stored, when the name
    /// is taken.
    pub fn insert(&mut self, name: &[u8], number: u16) -> bool {
        if self.get(name).is_some() {
            return false;
        }
        let Some(folded) = Folded::new(name) else {
            self.long.push((name.into(), number));
            return true;
        };
        if (self.len + 1) * 2 > self.slots.len() {
            let wider = vec![EMPTY; self.slots.len() * 2].into_boxed_slice();
            let old = std::mem::replace(&mut self.slots, wider);
            for slot in old.iter().filter(|slot| slot.number != FREE) {
                self.place(*slot);
            }
        }
        self.place(Slot {
            name: folded,
            number,
        });
        self.len += 1;
        true
    }

    fn place(&mut self, slot: Slot) {
        let mask = self.slots.len().wrapping_sub(1);
        let mut at = slot.name.hash() & mask;
        while let Some(place) = self.slots.get_mut(at) {
            if place.number == FREE {
                *place = slot;
                return;
            }
            at = (at + 1) & mask;
        }
    }

    /// Forgets `name`. The table is rebuilt, which is fine for what happens at start alone.
    pub fn remove(&mut self, name: &[u8]) {
        self.long
            .retain(|(known, _)| !known.eq_ignore_ascii_case(name));
        let Some(folded) = Folded::new(name) else {
            return;
        };
        let kept: Vec<Slot> = self
            .slots
            .iter()
            .copied()
            .filter(|slot| slot.number != FREE && slot.name != folded)
            .collect();
        self.slots.fill(EMPTY);
        self.len = kept.len();
        for slot in kept {
            self.place(slot);
        }
    }

    /// All stored numbers, ascending.
    pub fn numbers(&self) -> Vec<u16> {
        let short = self
            .slots
            .iter()
            .map(|slot| slot.number)
            .filter(|&number| number != FREE);
        let mut all: Vec<u16> = short
            .chain(self.long.iter().map(|&(_, number)| number))
            .collect();
        all.sort_unstable();
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_length_is_found_in_any_case_and_only_then() {
        let mut index = NameIndex::default();
        let names: Vec<String> = (1..=40)
            .map(|len| {
                (0..len)
                    .map(|i| char::from(b'a' + ((i * 7 + len) % 26) as u8))
                    .collect()
            })
            .collect();
        for (number, name) in names.iter().enumerate() {
            assert!(index.insert(name.as_bytes(), number as u16));
            assert!(!index.insert(name.to_uppercase().as_bytes(), 999));
        }
        for (number, name) in names.iter().enumerate() {
            assert_eq!(
                index.get(name.to_uppercase().as_bytes()),
                Some(number as u16)
            );
            let mut changed = name.clone().into_bytes();
            for at in 0..changed.len() {
                changed[at] ^= 0x80;
                assert_eq!(index.get(&changed), None);
                changed[at] ^= 0x80;
            }
        }
        assert_eq!(index.get(b""), None);
        assert_eq!(index.numbers(), (0..40).collect::<Vec<u16>>());
    }

    #[test]
    fn only_letters_are_folded() {
        for byte in 0..=255u8 {
            let expected = u64::from(byte.to_ascii_lowercase());
            assert_eq!(lower(u64::from(byte)), expected, "{byte:#x}");
            assert_eq!(lower(u64::from(byte) << 56), expected << 56, "{byte:#x}");
            // Neighbours do not carry into each other.
            let all = u64::from_le_bytes([byte, b'Z', 0xff, b'[', b'@', b'A', 0, byte]);
            let bytes = lower(all).to_le_bytes();
            assert_eq!(&bytes[1..7], &[b'z', 0xff, b'[', b'@', b'a', 0]);
        }
    }

    #[test]
    fn a_zero_byte_is_part_of_the_name() {
        let mut index = NameIndex::default();
        assert!(index.insert(b"get", 1));
        assert_eq!(index.get(b"get\0"), None);
        assert_eq!(index.get(b"ge"), None);
    }

    #[test]
    fn a_removed_name_is_gone_and_its_neighbours_stay() {
        let mut index = NameIndex::default();
        for number in 0..100u16 {
            assert!(index.insert(format!("name{number}").as_bytes(), number));
        }
        index.remove(b"NAME50");
        assert_eq!(index.get(b"name50"), None);
        assert_eq!(index.numbers().len(), 99);
        assert!(
            (0..100)
                .filter(|n| *n != 50)
                .all(|n| { index.get(format!("Name{n}").as_bytes()) == Some(n) })
        );
    }
}

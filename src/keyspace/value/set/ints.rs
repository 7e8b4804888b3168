//! A sorted array of integers of one width: Redis's `intset`.
//!
//! ```text
//! block body: | width << 28, u32 | integer | integer | ...      (little endian, ascending)
//! ```
//!
//! The width is 2, 4 or 8 bytes, what the widest integer ever added needed; it never shrinks. The
//! body's length gives the count. The mark in front stands where a packed block has its count,
//! which is always smaller, so that a set can tell the two apart.

use super::super::packed::Block;

const MARK: usize = 4;

/// A mark is at least this; a packed block's count is less.
const MARKED: u32 = 2 << 28;

/// The integers of a block, borrowed.
#[derive(Clone, Copy)]
pub(super) struct Ints<'a> {
    width: usize,
    raw: &'a [u8],
}

fn mark(width: usize) -> [u8; MARK] {
    ((width as u32) << 28).to_le_bytes()
}

/// The fewest bytes that hold an integer.
fn width_of(int: i64) -> usize {
    if i16::try_from(int).is_ok() {
        2
    } else if i32::try_from(int).is_ok() {
        4
    } else {
        8
    }
}

fn store(out: &mut [u8], int: i64) {
    let width = out.len();
    out.copy_from_slice(int.to_le_bytes().get(..width).unwrap_or_default());
}

/// An empty block of integers.
pub(super) fn empty() -> Block {
    Block::concat(&[&mark(2)])
}

impl<'a> Ints<'a> {
    /// The integers of a block, if it is one of integers.
    pub fn of(block: &'a Block) -> Option<Ints<'a>> {
        let (&head, raw) = block.bytes().split_first_chunk::<MARK>()?;
        let head = u32::from_le_bytes(head);
        (head >= MARKED).then_some(Ints {
            width: (head >> 28) as usize,
            raw,
        })
    }

    /// Bytes of one integer: 2, 4 or 8.
    pub fn width(self) -> usize {
        self.width
    }

    /// The integers as they are stored, little endian.
    pub fn raw(self) -> &'a [u8] {
        self.raw
    }

    pub fn len(self) -> usize {
        self.raw.len() / self.width
    }

    pub fn get(self, at: usize) -> Option<i64> {
        let start = at.checked_mul(self.width)?;
        match *self.raw.get(start..start.checked_add(self.width)?)? {
            [a, b] => Some(i64::from(i16::from_le_bytes([a, b]))),
            [a, b, c, d] => Some(i64::from(i32::from_le_bytes([a, b, c, d]))),
            [a, b, c, d, e, f, g, h] => Some(i64::from_le_bytes([a, b, c, d, e, f, g, h])),
            _ => None,
        }
    }

    /// The index of an integer, or where it belongs.
    pub fn find(self, int: i64) -> Result<usize, usize> {
        let (mut from, mut to) = (0, self.len());
        // Integers often come in ascending order: the end first.
        match to.checked_sub(1).and_then(|last| self.get(last)) {
            Some(last) if int > last => return Err(to),
            _ => {}
        }
        while from < to {
            let middle = from + (to - from) / 2;
            match self.get(middle) {
                Some(found) if found == int => return Ok(middle),
                Some(found) if found < int => from = middle + 1,
                _ => to = middle,
            }
        }
        Err(from)
    }
}

/// Adds an integer; false if it is there.
pub(super) fn insert(block: &mut Block, int: i64) -> bool {
    let Some(ints) = Ints::of(block) else {
        return false;
    };
    let Err(at) = ints.find(int) else {
        return false;
    };
    let width = width_of(int).max(ints.width);
    if width > ints.width {
        let mut wide = vec![0; MARK + ints.len() * width];
        let (head, rest) = wide.split_at_mut(MARK);
        head.copy_from_slice(&mark(width));
        for (n, out) in rest.chunks_exact_mut(width).enumerate() {
            store(out, ints.get(n).unwrap_or_default());
        }
        *block = Block::concat(&[&wide]);
    }
    store(block.splice(MARK + at * width, 0, width), int);
    true
}

/// Removes an integer; false if it is not there.
pub(super) fn remove(block: &mut Block, int: i64) -> bool {
    let Some(ints) = Ints::of(block) else {
        return false;
    };
    let Ok(at) = ints.find(int) else { return false };
    let width = ints.width;
    block.splice(MARK + at * width, width, 0);
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn it_agrees_with_a_sorted_set_over_all_widths() {
        let mut block = empty();
        let mut model = BTreeSet::new();
        let mut seed = 88172645463325252u64;
        for round in 0..6000u64 {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            let shift = if round < 1000 {
                50
            } else if round < 2000 {
                34
            } else {
                0
            };
            let int = if seed.is_multiple_of(3) {
                (seed % 50) as i64
            } else {
                seed as i64 >> shift
            };
            if seed % 7 < 4 {
                assert_eq!(insert(&mut block, int), model.insert(int));
            } else {
                let victim = model.range(int..).next().copied().unwrap_or(int);
                assert_eq!(remove(&mut block, victim), model.remove(&victim));
            }
            let ints = Ints::of(&block).unwrap();
            let width = if round < 1000 {
                2
            } else if round < 2000 {
                4
            } else {
                8
            };
            assert!(ints.width() <= width);
            assert_eq!(ints.len(), model.len());
        }
        let ints = Ints::of(&block).unwrap();
        assert_eq!(ints.width(), 8);
        assert!((0..ints.len()).filter_map(|at| ints.get(at)).eq(model));
        assert_eq!(ints.get(ints.len()), None);
        assert_eq!(ints.get(usize::MAX), None);
    }

    #[test]
    fn widths_are_what_the_widest_integer_needs() {
        let borders = [
            (i64::from(i16::MIN), 2),
            (i64::from(i16::MAX) + 1, 4),
            (i64::from(i32::MIN), 4),
            (i64::from(i32::MIN) - 1, 8),
            (i64::MAX, 8),
        ];
        for (int, width) in borders {
            let mut block = empty();
            insert(&mut block, 1);
            insert(&mut block, int);
            let ints = Ints::of(&block).unwrap();
            assert_eq!((ints.width(), ints.len()), (width, 2));
            assert_eq!(ints.raw().len(), 2 * width);
            assert!(ints.find(int).is_ok() && ints.find(1).is_ok());
        }
    }
}

//! How large the radix tree is in which Redis keeps the blocks of a stream.
//!
//! XINFO STREAM tells its keys and its nodes. There is no such tree here: its size is kept up to
//! date as blocks come and go. A key is the 16 bytes of a block's base id. The tree has
//!
//! - a node at the end of each key,
//! - one at each *parting*, where keys that agree so far go on differently,
//! - one for each *stretch* of at least one byte that lies between the root, or behind the byte
//!   that follows a parting, and the next parting or end.
//!
//! ```text
//!            stretch        parting    stretch      end
//!   (root) 00 00 01 93 2f ---- * ---- 5e 00 .. 00 ---- o
//!                              |
//!                              +----- 07 00 .. 00 ---- o
//! ```
//!
//! - A key that comes or goes changes but the stretch in which it parts from the neighbour that it
//!   has most in common with. The partings next to that place, above and below, tell by how much.
//! - `right` has the depths of all partings on the way to the last key, so that appending a
//!   greatest key looks for nothing.

use super::id::StreamId;

/// Bytes of a key.
const KEY_BYTES: u32 = 16;

/// The size of the radix tree of a set of keys.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Radix {
    keys: u64,
    nodes: u64,
    /// Bit `d`: a parting behind the first `d` bytes of the last key.
    right: u16,
}

/// The keys themselves.
pub trait Keys {
    /// The last key that `is_left` is true of, and the key after it. It is true of none that comes
    /// after one that it is false of.
    fn split(&self, is_left: impl Fn(StreamId) -> bool) -> (Option<StreamId>, Option<StreamId>);
}

fn number(id: StreamId) -> u128 {
    u128::from(id.ms) << 64 | u128::from(id.seq)
}

/// How many bytes two keys agree in.
fn common(a: StreamId, b: StreamId) -> u32 {
    (number(a) ^ number(b)).leading_zeros() / 8
}

/// The least and the greatest key that agree with this one in its first `depth` bytes.
fn family(key: StreamId, depth: u32) -> (StreamId, StreamId) {
    let rest = u128::MAX.checked_shr(8 * depth).unwrap_or(0);
    let id = |n: u128| StreamId::new((n >> 64) as u64, n as u64);
    (id(number(key) & !rest), id(number(key) | rest))
}

/// The bits of all partings less deep than this.
fn above(depth: u32) -> u16 {
    (1u16 << depth) - 1
}

/// Nodes of the way from a parting, or from the root if there is none, to the next place.
fn stretch(from: Option<u32>, to: u32) -> u64 {
    u64::from(to > from.map_or(0, |depth| depth + 1))
}

impl Radix {
    /// Keys and nodes. The root is always there.
    pub fn size(&self) -> (u64, u64) {
        (self.keys, self.nodes.max(1))
    }

    /// Counts a key that is greater than all others, of which `last` is the greatest.
    pub fn appended(&mut self, last: Option<StreamId>, key: StreamId) {
        self.keys += 1;
        let Some(last) = last else {
            self.nodes = 1 + stretch(None, KEY_BYTES);
            return;
        };
        let depth = common(last, key);
        let (bit, over) = (1u16 << depth, self.right & above(depth));
        if self.right & bit == 0 {
            let under = self.right & !above(depth);
            let to = under.trailing_zeros().min(KEY_BYTES);
            let from = over.checked_ilog2();
            self.nodes += 1 + stretch(from, depth) + stretch(Some(depth), to);
            self.nodes -= stretch(from, to);
        }
        self.nodes += 1 + stretch(Some(depth), KEY_BYTES);
        self.right = over | bit;
    }

    /// Counts a key that has gone; `keys` are those that are left.
    pub fn removed(&mut self, key: StreamId, keys: &impl Keys) {
        let (before, after) = keys.split(|k| k < key);
        let left = before.map(|k| common(k, key));
        let right = after.map(|k| common(k, key));
        let Some(depth) = left.max(right) else {
            *self = Radix::default();
            return;
        };
        self.keys -= 1;
        self.nodes -= 1 + stretch(Some(depth), KEY_BYTES);
        // Neighbours to both sides that part from it in one place part there from each other.
        if left != right {
            // Those that part from it there lie all to one side, from the nearest to the farthest.
            let (least, greatest) = family(key, depth);
            let (nearest, farthest, next) = if left > right {
                let (next, farthest) = keys.split(|k| k < least);
                (before, farthest, next)
            } else {
                let (farthest, next) = keys.split(|k| k <= greatest);
                (after, farthest, next)
            };
            let to = match nearest.zip(farthest) {
                Some((a, b)) if a != b => common(a, b),
                _ => KEY_BYTES,
            };
            if to > depth {
                let from = left
                    .min(right)
                    .max(next.zip(farthest).map(|(a, b)| common(a, b)));
                self.nodes += stretch(from, to);
                self.nodes -= 1 + stretch(from, depth) + stretch(Some(depth), to);
                if left < right && next.is_none() {
                    self.right &= !(1 << depth);
                }
            }
        }
        if let (None, Some(last)) = (after, before) {
            self.right = (self.right & above(depth)) | partings(last, depth, keys);
        }
    }
}

/// The partings on the way to the last key, from some depth on.
fn partings(last: StreamId, depth: u32, keys: &impl Keys) -> u16 {
    let (mut found, mut least) = (0, last);
    loop {
        let (outside, _) = keys.split(|k| k < least);
        match outside.map(|k| common(k, last)) {
            Some(at) if at >= depth => {
                found |= 1 << at;
                (least, _) = family(last, at);
            }
            _ => return found,
        }
    }
}

/// Nodes of a radix tree of these keys, in order, which agree in their first `depth` bytes: one
/// for what all have in common, one where they part, and one at the end of each.
#[cfg(test)]
fn nodes(keys: &[[u8; 16]], depth: usize) -> u64 {
    let (first, last) = match keys {
        [] => return 0,
        [_] => return 1 + u64::from(depth < 16),
        [first, .., last] => (first, last),
    };
    let pairs = first.iter().zip(last).skip(depth);
    let common = pairs.take_while(|(a, b)| a == b).count();
    let at = depth + common;
    let parts = keys.chunk_by(|a, b| a[at] == b[at]);
    let below: u64 = parts.map(|part| nodes(part, at + 1)).sum();
    u64::from(common > 0) + 1 + below
}

/// The size that a walk over all keys, in order, comes to.
#[cfg(test)]
pub fn counted(keys: impl Iterator<Item = StreamId>) -> (u64, u64) {
    let keys: Vec<[u8; 16]> = keys.map(StreamId::to_bytes).collect();
    (keys.len() as u64, nodes(&keys, 0).max(1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    impl Keys for BTreeSet<StreamId> {
        fn split(
            &self,
            is_left: impl Fn(StreamId) -> bool,
        ) -> (Option<StreamId>, Option<StreamId>) {
            let last = self.iter().rev().find(|k| is_left(**k));
            let first = self.iter().find(|k| !is_left(**k));
            (last.copied(), first.copied())
        }
    }

    /// Keys of few different bytes, so that they part at all depths.
    fn key() -> impl Strategy<Value = StreamId> {
        let byte = prop_oneof![6 => Just(0u8), 2 => Just(1u8), 1 => Just(2u8), 1 => any::<u8>()];
        proptest::array::uniform16(byte).prop_map(|bytes| {
            let n = u128::from_be_bytes(bytes);
            StreamId::new((n >> 64) as u64, n as u64)
        })
    }

    #[derive(Clone, Debug)]
    enum Step {
        /// Appends a key this much above the last one.
        Append(u128),
        RemoveFirst,
        RemoveLast,
        Remove(prop::sample::Index),
    }

    fn step() -> impl Strategy<Value = Step> {
        let distance = (0..128u32, 1..4u128).prop_map(|(bit, n)| n << bit.min(126));
        prop_oneof![
            4 => distance.prop_map(Step::Append),
            1 => Just(Step::RemoveFirst),
            1 => Just(Step::RemoveLast),
            1 => any::<prop::sample::Index>().prop_map(Step::Remove),
        ]
    }

    fn append(radix: &mut Radix, keys: &mut BTreeSet<StreamId>, key: StreamId) {
        radix.appended(keys.last().copied(), key);
        keys.insert(key);
    }

    proptest! {
        #[test]
        fn any_set_of_keys_counts_as_a_walk_counts_it(
            (set, order) in proptest::collection::btree_set(key(), 0..60).prop_flat_map(|set| {
                let order = set.iter().copied().collect::<Vec<_>>();
                (Just(set), Just(order).prop_shuffle())
            })
        ) {
            let (mut radix, mut keys) = (Radix::default(), BTreeSet::new());
            for key in &set {
                append(&mut radix, &mut keys, *key);
                prop_assert_eq!(radix.size(), counted(keys.iter().copied()));
            }
            for key in order {
                keys.remove(&key);
                radix.removed(key, &keys);
                prop_assert_eq!(radix.size(), counted(keys.iter().copied()));
            }
            prop_assert_eq!(radix, Radix::default());
        }

        #[test]
        fn keys_that_come_and_go_count_as_a_walk_counts_them(
            first in key(),
            steps in proptest::collection::vec(step(), 1..120),
        ) {
            let (mut radix, mut keys) = (Radix::default(), BTreeSet::new());
            append(&mut radix, &mut keys, first);
            for step in steps {
                let gone = match step {
                    Step::Append(distance) => {
                        let last = keys.last().map_or(0, |k| number(*k));
                        if let Some(n) = last.checked_add(distance) {
                            let key = StreamId::new((n >> 64) as u64, n as u64);
                            append(&mut radix, &mut keys, key);
                        }
                        None
                    }
                    Step::RemoveFirst => keys.pop_first(),
                    Step::RemoveLast => keys.pop_last(),
                    Step::Remove(at) if !keys.is_empty() => {
                        let key = *keys.iter().nth(at.index(keys.len())).unwrap();
                        keys.take(&key)
                    }
                    Step::Remove(_) => None,
                };
                if let Some(key) = gone {
                    radix.removed(key, &keys);
                }
                prop_assert_eq!(radix.size(), counted(keys.iter().copied()));
            }
        }
    }
}

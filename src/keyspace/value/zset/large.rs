//! The large form: a counted tree of leaves by score and member, and the member index.
//!
//! A member's bytes and its score are stored once, in a leaf. The order tree names leaves by
//! number ([`Slots`]), and so does the index, so that neither owns a leaf twice and a leaf is
//! copied on write only while a clone of the whole set is alive.
//!
//! Invariants:
//! - Every element is in the leaf whose separators enclose its score and member.
//! - The index holds, for every element, its hash with the number of its leaf, and nothing else.
//! - No leaf is empty.

use std::cmp::Ordering::{Greater, Less};
use std::ops::Range;

use super::super::btree::{At, By, Level, Ranked, Slots, Tree, Walk};
use super::index::{self, Index};
use super::leaf::{Item, Leaf, Parts, compare};

/// A lower bound of a leaf's elements: its first element, the member cut as short as it may be.
#[derive(Clone, Default)]
pub struct Separator {
    score: f64,
    member: Box<[u8]>,
}

impl Separator {
    /// The shortest bound above `left` and not above `right`.
    fn between(left: (&[u8], f64), right: (&[u8], f64)) -> Self {
        if left.1 < right.1 {
            return Separator {
                score: right.1,
                member: Box::default(),
            };
        }
        let common = left
            .0
            .iter()
            .zip(right.0)
            .take_while(|(a, b)| a == b)
            .count();
        let member = right.0.get(..common + 1).unwrap_or(right.0);
        Separator {
            score: right.1,
            member: member.into(),
        }
    }

    fn reached_by(&self, score: f64, member: &[u8]) -> bool {
        compare((self.score, &self.member), (score, member)).is_le()
    }
}

type Bottom = Level<Separator, u32>;

/// A large sorted set. Cloning is O(1).
#[derive(Clone, Default)]
pub struct Large {
    order: Tree<Separator, u32>,
    store: Store,
}

/// The leaves and the index of their members.
#[derive(Clone, Default)]
struct Store {
    leaves: Slots<Leaf>,
    index: Index,
}

/// An element on its way into a leaf.
#[derive(Clone, Copy)]
struct Entry<'a> {
    item: Item<'a>,
    hash: u32,
}

impl<'a> Entry<'a> {
    fn new(score: f64, member: &'a [u8]) -> Self {
        let hash = index::hash(member);
        Entry {
            item: Item {
                score,
                member,
                tag: index::tag(hash),
            },
            hash,
        }
    }
}

fn seek<'a>(item: &Item<'a>) -> By<impl FnMut(&Separator) -> bool + use<'a>> {
    let Item { score, member, .. } = *item;
    By(move |separator: &Separator| separator.reached_by(score, member))
}

impl Large {
    /// Number of elements.
    pub fn len(&self) -> usize {
        self.order.len() as usize
    }

    /// Bytes taken from the allocator, separators' members left aside.
    pub fn size_bytes(&self) -> usize {
        self.order.size_bytes()
            + self.store.leaves.size_bytes()
            + self
                .store
                .leaves
                .iter()
                .map(Leaf::alloc_bytes)
                .sum::<usize>()
            + self.store.index.size_bytes()
    }

    /// The score of a member.
    pub fn score(&self, member: &[u8]) -> Option<f64> {
        let (id, i) = self.store.locate(&Entry::new(0.0, member))?;
        Some(self.store.leaves.get(id)?.get(i)?.1)
    }

    /// The rank and the score of a member.
    pub fn rank(&self, member: &[u8]) -> Option<(usize, f64)> {
        let (id, i) = self.store.locate(&Entry::new(0.0, member))?;
        let score = self.store.leaves.get(id)?.get(i)?.1;
        // Where it is in its leaf is known; the tree says what lies to the left of that.
        let mut seek = Ranked {
            reaches: |separator: &Separator| separator.reached_by(score, member),
            before: 0,
        };
        let leaf = self.order.find(&mut seek);
        debug_assert_eq!(
            leaf,
            Some(&id),
            "the index names the leaf that the order leads to"
        );
        Some((seek.before as usize + i, score))
    }

    /// How many elements satisfy `before`, which no later one satisfies; `reaches` is the same
    /// question for a separator, where the bound itself counts as not yet passed.
    fn count_before(
        &self,
        reaches: impl FnMut(&Separator) -> bool,
        before: impl FnMut(f64, &[u8]) -> bool,
    ) -> usize {
        let mut seek = Ranked { reaches, before: 0 };
        let leaf = self
            .order
            .find(&mut seek)
            .and_then(|id| self.store.leaves.get(*id));
        seek.before as usize + leaf.map_or(0, |leaf| leaf.count_while(before))
    }

    /// How many elements satisfy a predicate that no later one satisfies.
    pub fn count_while(&self, before: impl Fn(f64, &[u8]) -> bool) -> usize {
        self.count_before(
            |separator| before(separator.score, &separator.member),
            &before,
        )
    }

    /// Gives a member a score; the score it had.
    pub fn insert(&mut self, member: &[u8], score: f64) -> Option<f64> {
        let entry = Entry::new(score, member);
        let Some((id, i)) = self.store.locate(&entry) else {
            let leaf = self.place(&entry);
            self.store.index.insert(entry.hash, leaf);
            return None;
        };
        let leaf = self.store.leaves.get(id)?;
        let old = leaf.get(i)?.1;
        if old == score {
            return Some(old);
        }
        // Within the leaf's own bounds the tree need not know. The leaf has room: it has just
        // given up as much.
        let inside = |(m, s): (&[u8], f64), side| compare((s, m), (score, member)) == side;
        if leaf.len() > 1 && inside(leaf.first(), Less) && inside(leaf.last(), Greater) {
            let leaf = self.store.leaves.get_mut(id)?;
            leaf.remove(i, i + 1);
            let at = leaf.lower_bound(score, member);
            leaf.insert(at, entry.item);
            return Some(old);
        }
        let item = Item {
            score: old,
            ..entry.item
        };
        self.take_out(&item, i);
        // Its index entry still names the leaf it was in, even if that was joined to another.
        let to = self.place(&entry);
        self.store.index.repoint(entry.hash, id, to);
        Some(old)
    }

    /// Removes a member; the score it had.
    pub fn remove(&mut self, member: &[u8]) -> Option<f64> {
        let entry = Entry::new(0.0, member);
        let (id, i) = self.store.locate(&entry)?;
        let score = self.store.leaves.get(id)?.get(i)?.1;
        self.store.index.remove(entry.hash, id);
        let item = Item {
            score,
            ..entry.item
        };
        self.take_out(&item, i);
        Some(score)
    }

    /// Puts an element into the leaf where it belongs; the leaf's number.
    fn place(&mut self, entry: &Entry<'_>) -> u32 {
        let store = &mut self.store;
        self.order.edit(&mut seek(&entry.item), |level, i| {
            store.insert(level, i, &entry.item)
        })
    }

    /// Takes an element, the one at `at` there, out of its leaf.
    fn take_out(&mut self, item: &Item<'_>, at: usize) {
        let store = &mut self.store;
        self.order.edit(&mut seek(item), |level, i| {
            store.remove(level, i, at..at + 1);
        });
    }

    /// The element of a rank.
    pub fn at(&self, rank: usize) -> Option<(&[u8], f64)> {
        let mut at = At(rank as u64);
        let id = *self.order.find(&mut at)?;
        self.store.leaves.get(id)?.get(at.0 as usize)
    }

    /// Removes the elements of a range of ranks, which is not empty and within the length.
    pub fn remove_ranks(&mut self, ranks: Range<usize>) {
        let mut left = ranks.len();
        while left > 0 {
            let mut at = At(ranks.start as u64);
            self.order.find(&mut at);
            let (inside, store) = (at.0 as usize, &mut self.store);
            let done = self.order.edit(&mut At(ranks.start as u64), |level, i| {
                let Some(id) = level.leaf(i).copied() else {
                    return 0;
                };
                let Some(leaf) = store.leaves.get(id) else {
                    return 0;
                };
                let to = leaf.len().min(inside.saturating_add(left));
                for at in inside..to {
                    if let Some((member, _)) = leaf.get(at) {
                        store.index.remove(index::hash(member), id);
                    }
                }
                store.remove(level, i, inside..to);
                to.saturating_sub(inside)
            });
            if done == 0 {
                return;
            }
            left -= done;
        }
    }

    /// Elements of a range of ranks, in order or in reverse.
    pub fn range(&self, ranks: Range<usize>, reverse: bool) -> Iter<'_> {
        let end = ranks.end.min(self.len());
        let left = end.saturating_sub(ranks.start);
        let mut at = At(if reverse {
            end.saturating_sub(1)
        } else {
            ranks.start
        } as u64);
        let walk = self.order.walk(&mut at);
        let leaves = &self.store.leaves;
        let leaf = walk.current().and_then(|id| leaves.get(*id));
        let leaf = leaf.map(Leaf::parts);
        Iter {
            leaves,
            walk,
            leaf,
            next: at.0 as usize,
            left,
            reverse,
        }
    }

    /// Hands elements from a hash on to `each`, in hash order: at least `count`, if there are as
    /// many. The hash to go on from, `None` at the end.
    pub fn scan(&self, from: u32, count: usize, mut each: impl FnMut(&[u8], f64)) -> Option<u32> {
        let mut done = 0;
        self.store.index.scan(from, |hash, leaves| {
            for leaf in leaves.iter().filter_map(|id| self.store.leaves.get(*id)) {
                for (member, score) in leaf.tagged(index::tag(hash)).filter_map(|i| leaf.get(i)) {
                    if index::hash(member) == hash {
                        each(member, score);
                        done += 1;
                    }
                }
            }
            done < count
        })
    }
}

impl Store {
    /// The leaf that holds a member, and its index there.
    fn locate(&self, entry: &Entry<'_>) -> Option<(u32, usize)> {
        self.index.leaves(entry.hash).find_map(|id| {
            let i = self
                .leaves
                .get(id)?
                .find(entry.item.tag, entry.item.member)?;
            Some((id, i))
        })
    }

    /// Puts an element into leaf `i` of a level, which it belongs to, or into a new one beside it;
    /// the number of the leaf that took it.
    fn insert(&mut self, level: &mut Bottom, i: usize, item: &Item<'_>) -> u32 {
        let (score, member) = (item.score, item.member);
        let found = level
            .leaf(i)
            .and_then(|id| Some((*id, self.leaves.get(*id)?)));
        let Some((id, leaf)) = found else {
            let id = self.leaves.insert(Leaf::of(*item));
            level.insert_leaf(level.len(), Separator::default(), id, 1);
            return id;
        };
        let (at, len) = (leaf.lower_bound(score, member), leaf.len());
        if leaf.has_room(member.len()) {
            if let Some(leaf) = self.leaves.get_mut(id) {
                leaf.insert(at, *item);
            }
            level.set_count(i, len as u64 + 1);
            return id;
        }
        // A long member gets a leaf of its own. Any other begins one where it lies beyond a full
        // leaf at the end of a level, so that elements which come in order fill their leaves.
        let alone = len == 1 || Leaf::is_long(member.len());
        if at == len && (alone || i + 1 == level.len()) {
            let separator = Separator::between(leaf.last(), (member, score));
            let id = self.leaves.insert(Leaf::of(*item));
            level.insert_leaf(i + 1, separator, id, 1);
            return id;
        }
        if at == 0 && (alone || i == 0) {
            let separator = Separator::between((member, score), leaf.first());
            let new = self.leaves.insert(Leaf::of(*item));
            if i == 0 {
                level.insert_leaf(0, separator, new, 1);
            } else {
                // The leaf's own bound reaches below the element: the new one takes its place.
                level.insert_leaf(i + 1, separator, id, len as u64);
                level.set_count(i, 1);
                if let Some(slot) = level.leaf_mut(i) {
                    *slot = new;
                }
            }
            return new;
        }
        let cut = if alone { at } else { leaf.cut(item.tag) };
        let is_right = self.split(level, i, id, cut).reached_by(score, member);
        self.insert(level, i + usize::from(is_right), item)
    }

    /// Splits leaf `i`, of number `id`, in front of its element `at`; the bound between the two.
    fn split(&mut self, level: &mut Bottom, i: usize, id: u32, at: usize) -> Separator {
        let Some(leaf) = self.leaves.get_mut(id) else {
            return Separator::default();
        };
        let right = leaf.split_off(at);
        let separator = Separator::between(leaf.last(), right.first());
        let (kept, moved) = (leaf.len() as u64, right.len() as u64);
        let new = self.leaves.insert(right);
        self.repoint_all(id, new);
        level.set_count(i, kept);
        level.insert_leaf(i + 1, separator.clone(), new, moved);
        separator
    }

    /// Points the index entries of all members of leaf `to` there, which were in `from`.
    fn repoint_all(&mut self, from: u32, to: u32) {
        for (member, _) in self.leaves.get(to).iter().flat_map(|leaf| leaf.iter()) {
            self.index.repoint(index::hash(member), from, to);
        }
    }

    /// Removes elements of leaf `i`, and the leaf with its last one; joins what became sparse.
    /// The index is the caller's.
    fn remove(&mut self, level: &mut Bottom, i: usize, range: Range<usize>) {
        let Some(id) = level.leaf(i).copied() else {
            return;
        };
        let Some(len) = self.leaves.get(id).map(Leaf::len) else {
            return;
        };
        if range.len() >= len {
            self.leaves.remove(id);
            level.remove_leaf(i);
            return;
        }
        let Some(leaf) = self.leaves.get_mut(id) else {
            return;
        };
        leaf.remove(range.start, range.end);
        level.set_count(i, leaf.len() as u64);
        if !leaf.is_sparse() {
            return;
        }
        let joins = |left: usize| {
            let (a, b) = (level.leaf(left)?, level.leaf(left + 1)?);
            self.leaves
                .get(*a)?
                .joins(self.leaves.get(*b)?)
                .then_some((left, *a, *b))
        };
        if let Some((left, a, b)) = joins(i).or_else(|| joins(i.checked_sub(1)?)) {
            self.join(level, left, a, b);
        }
    }

    /// Joins leaf `i + 1`, of number `right`, to leaf `i`, of number `left`.
    fn join(&mut self, level: &mut Bottom, i: usize, left: u32, right: u32) {
        level.remove_leaf(i + 1);
        let Some(gone) = self.leaves.remove(right) else {
            return;
        };
        for (member, _) in gone.iter() {
            self.index.repoint(index::hash(member), right, left);
        }
        if let Some(leaf) = self.leaves.get_mut(left) {
            leaf.join(&gone);
            level.set_count(i, leaf.len() as u64);
        }
    }
}

/// Elements of a range of ranks.
pub struct Iter<'a> {
    leaves: &'a Slots<Leaf>,
    walk: Walk<'a, Separator, u32>,
    leaf: Option<Parts<'a>>,
    /// Index of the next element in the leaf.
    next: usize,
    left: usize,
    reverse: bool,
}

impl Iter<'_> {
    /// Turns to the leaf that the walk stands on.
    fn enter(&mut self) {
        let leaf = self.walk.current().and_then(|id| self.leaves.get(*id));
        self.leaf = leaf.map(Leaf::parts);
    }
}

impl<'a> Iterator for Iter<'a> {
    type Item = (&'a [u8], f64);

    fn next(&mut self) -> Option<Self::Item> {
        if self.left == 0 {
            return None;
        }
        self.left -= 1;
        let leaf = self.leaf?;
        let item = leaf.get(self.next)?;
        if !self.reverse {
            self.next += 1;
            if self.next >= leaf.len() {
                self.walk.forward();
                self.enter();
                self.next = 0;
            }
        } else if self.next > 0 {
            self.next -= 1;
        } else {
            self.walk.backward();
            self.enter();
            self.next = self.leaf.map_or(0, |leaf| leaf.len().saturating_sub(1));
        }
        Some(item)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for Iter<'_> {}

#[cfg(test)]
impl Large {
    /// Checks every invariant of the module's text.
    pub fn check(&self) {
        let mut walk = self.order.walk(&mut At(0));
        let (mut elements, mut last) = (0, None::<(Vec<u8>, f64)>);
        while let Some(id) = walk.current() {
            let leaf = self.store.leaves.get(*id).unwrap();
            assert!(leaf.len() > 0 && walk.count() == leaf.len() as u64);
            for (member, score) in leaf.iter() {
                if let Some((m, s)) = &last {
                    assert!(compare((*s, m), (score, member)).is_lt());
                }
                last = Some((member.to_vec(), score));
                let entry = Entry::new(score, member);
                assert_eq!(self.store.locate(&entry).map(|(leaf, _)| leaf), Some(*id));
                assert_eq!(self.order.find(&mut seek(&entry.item)), Some(id));
                elements += 1;
            }
            walk.forward();
        }
        assert_eq!(elements, self.len());
        let mut entries = 0;
        let all = self.store.index.scan(0, |hash, _| {
            entries += self.store.index.leaves(hash).count();
            true
        });
        assert_eq!((entries, all), (elements, None));
        assert_eq!(
            self.store.leaves.iter().map(Leaf::len).sum::<usize>(),
            elements
        );
    }
}

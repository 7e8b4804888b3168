//! A counted B+tree over shared leaves: the spine of lists and sorted sets.
//!
//! The tree knows nothing of what a leaf holds. A leaf is a handle `H` (an `Arc` of a page, or the
//! number of a slot that holds one) with the number of elements below it and a separator `S`, the
//! lower bound of its keys (`()` where only positions matter). Whoever owns the leaves edits
//! them inside [`Tree::edit`], which hands out the bottom level the leaf hangs on and afterwards
//! repairs counts and shape on the way up.
//!
//! Guarantees:
//! - Cloning a tree is O(1); an edit copies only the levels on its path, and only while a clone
//!   still holds them.
//! - A level has at most [`FANOUT`] children. An emptied level disappears at once; a level that
//!   shrinks is joined with a neighbour when both fit well into one.
//! - Child `i` holds keys in `[separator i, separator i + 1)`. The separator of a level's first
//!   child is never consulted: the level's own, kept by its parent, bounds that child, and takes
//!   its place when the level is joined to its left neighbour.
//! - A level that overflows at the edge of the tree leaves a full level behind, so that loading
//!   in order, from either end, makes a dense tree.

mod slots;
#[cfg(test)]
mod tests;
mod walk;

use std::cell::Cell;
use std::sync::Arc;

pub use slots::Slots;
pub use walk::Walk;

/// Most children of one level.
pub const FANOUT: usize = 64;

/// A level with fewer children than this looks for a neighbour to join.
const SPARSE: usize = FANOUT / 4;

/// Children of a joined level at most, so that it does not split again soon.
const JOINED_MAX: usize = FANOUT - SPARSE;

/// Room is added to a level this many children at a time: levels are many, and mostly full.
const LEVEL_STEP: usize = 8;

/// Decides which child of a level to descend into.
pub trait Seek<S> {
    /// Index of the child to take; both slices have one item per child and are not empty.
    /// An index past the end is taken as the last child.
    fn choose(&mut self, separators: &[S], counts: &[u64]) -> usize;
}

/// Descends to the first leaf.
pub struct First;

impl<S> Seek<S> for First {
    fn choose(&mut self, _: &[S], _: &[u64]) -> usize {
        0
    }
}

/// Descends to the last leaf.
pub struct Last;

impl<S> Seek<S> for Last {
    fn choose(&mut self, separators: &[S], _: &[u64]) -> usize {
        separators.len().saturating_sub(1)
    }
}

/// Descends to the leaf that holds the element of this position, leaving in `0` the position
/// within that leaf. A position past the end leads to the last leaf, and what remains is then
/// at least that leaf's count.
pub struct At(pub u64);

impl<S> Seek<S> for At {
    fn choose(&mut self, _: &[S], counts: &[u64]) -> usize {
        let last = counts.len().saturating_sub(1);
        for (i, &count) in counts.iter().enumerate() {
            if self.0 < count || i == last {
                return i;
            }
            self.0 -= count;
        }
        last
    }
}

/// Descends to the last child whose separator satisfies the predicate (separators are ordered,
/// and those that satisfy it come first); to the first child when none does.
pub struct By<F>(pub F);

impl<S, F: FnMut(&S) -> bool> Seek<S> for By<F> {
    fn choose(&mut self, separators: &[S], _: &[u64]) -> usize {
        separators
            .get(1..)
            .unwrap_or_default()
            .partition_point(|s| (self.0)(s))
    }
}

/// As [`By`] for a number, and notes between which bounds the keys of the leaf lie.
pub struct Between<'a, S> {
    /// The wanted key.
    pub key: S,
    /// The lower bound and the upper one, itself outside. They are kept as they are set where the
    /// tree has none: for the first leaf and for the last.
    pub bounds: &'a Cell<(S, S)>,
}

impl<S: Copy + Ord> Seek<S> for Between<'_, S> {
    fn choose(&mut self, separators: &[S], _: &[u64]) -> usize {
        let rest = separators.get(1..).unwrap_or_default();
        let i = rest.partition_point(|separator| *separator <= self.key);
        let (mut low, mut high) = self.bounds.get();
        if let Some(bound) = i.checked_sub(1).and_then(|i| rest.get(i)) {
            low = *bound;
        }
        if let Some(bound) = rest.get(i) {
            high = *bound;
        }
        self.bounds.set((low, high));
        i
    }
}

/// As [`By`], and counts in `before` the elements of all leaves to the left of the path.
pub struct Ranked<F> {
    /// Whether the wanted key is at or right of a separator.
    pub reaches: F,
    /// Elements passed by so far.
    pub before: u64,
}

impl<S, F: FnMut(&S) -> bool> Seek<S> for Ranked<F> {
    fn choose(&mut self, separators: &[S], counts: &[u64]) -> usize {
        let rest = separators.get(1..).unwrap_or_default();
        let i = rest.partition_point(|s| (self.reaches)(s));
        self.before += counts.iter().take(i).sum::<u64>();
        i
    }
}

/// What hangs below a level.
#[derive(Clone)]
enum Kids<S, H> {
    Leaves(Vec<H>),
    Levels(Vec<Arc<Level<S, H>>>),
}

/// One inner node: counts, separators and children, in parallel.
#[derive(Clone)]
pub struct Level<S, H> {
    /// The sum of `counts`.
    total: u64,
    counts: Vec<u64>,
    separators: Vec<S>,
    kids: Kids<S, H>,
}

impl<S, H> Level<S, H> {
    fn bottom() -> Self {
        Level {
            total: 0,
            counts: Vec::new(),
            separators: Vec::new(),
            kids: Kids::Leaves(Vec::new()),
        }
    }

    /// Number of children.
    pub fn len(&self) -> usize {
        self.counts.len()
    }

    /// Whether the level has no children (the root of an empty tree).
    pub fn is_empty(&self) -> bool {
        self.counts.is_empty()
    }

    fn choose(&self, seek: &mut impl Seek<S>) -> usize {
        if self.counts.len() <= 1 {
            // Still asked, because a seek may count what it passes.
            if !self.counts.is_empty() {
                seek.choose(&self.separators, &self.counts);
            }
            return 0;
        }
        seek.choose(&self.separators, &self.counts)
            .min(self.counts.len() - 1)
    }

    /// The leaf handle at `i` of a bottom level.
    pub fn leaf(&self, i: usize) -> Option<&H> {
        match &self.kids {
            Kids::Leaves(leaves) => leaves.get(i),
            Kids::Levels(_) => None,
        }
    }

    /// The leaf handle at `i`, to be edited; its count follows with [`Level::set_count`].
    pub fn leaf_mut(&mut self, i: usize) -> Option<&mut H> {
        match &mut self.kids {
            Kids::Leaves(leaves) => leaves.get_mut(i),
            Kids::Levels(_) => None,
        }
    }

    /// Elements below child `i`; 0 when there is no such child.
    pub fn count(&self, i: usize) -> u64 {
        self.counts.get(i).copied().unwrap_or(0)
    }

    /// Records how many elements leaf `i` now holds.
    pub fn set_count(&mut self, i: usize, count: u64) {
        if let Some(slot) = self.counts.get_mut(i) {
            self.total = self.total - *slot + count;
            *slot = count;
        }
    }

    /// Hangs a leaf in front of child `i` (`i` at most [`Level::len`]). `separator` bounds its
    /// keys from below; at `i` 0 it bounds instead those of the former first child, now second.
    pub fn insert_leaf(&mut self, i: usize, separator: S, leaf: H, count: u64) {
        if let Kids::Leaves(leaves) = &mut self.kids {
            let i = i.min(leaves.len());
            make_room(leaves);
            leaves.insert(i, leaf);
            self.note_child(i, separator, count);
        }
    }

    /// Takes leaf `i` off.
    pub fn remove_leaf(&mut self, i: usize) -> Option<H> {
        match &mut self.kids {
            Kids::Leaves(leaves) if i < leaves.len() => {
                let leaf = leaves.remove(i);
                self.forget_child(i);
                Some(leaf)
            }
            _ => None,
        }
    }

    fn note_child(&mut self, i: usize, separator: S, count: u64) {
        make_room(&mut self.counts);
        self.counts.insert(i, count);
        self.total += count;
        make_room(&mut self.separators);
        let at = if i == 0 && !self.separators.is_empty() {
            1
        } else {
            i
        };
        self.separators.insert(at, separator);
    }

    fn forget_child(&mut self, i: usize) {
        self.total -= self.counts.remove(i);
        self.separators.remove(i);
    }
}

/// Grows a full vector by a few places, and not to its double.
fn make_room<T>(items: &mut Vec<T>) {
    if items.len() == items.capacity() {
        items.reserve_exact(LEVEL_STEP);
    }
}

impl<S: Clone, H: Clone> Level<S, H> {
    /// Cuts off the children from `at` on as a level of their own.
    fn split_off(&mut self, at: usize) -> Self {
        let counts = self.counts.split_off(at);
        let total = counts.iter().sum();
        self.total -= total;
        Level {
            total,
            counts,
            separators: self.separators.split_off(at),
            kids: match &mut self.kids {
                Kids::Leaves(leaves) => Kids::Leaves(leaves.split_off(at)),
                Kids::Levels(levels) => Kids::Levels(levels.split_off(at)),
            },
        }
    }

    /// Takes over the children of the right neighbour, whose own lower bound is `separator`.
    fn join(&mut self, separator: S, right: &Self) {
        self.total += right.total;
        self.counts.extend_from_slice(&right.counts);
        self.separators.push(separator);
        self.separators
            .extend_from_slice(right.separators.get(1..).unwrap_or_default());
        match (&mut self.kids, &right.kids) {
            (Kids::Leaves(a), Kids::Leaves(b)) => a.extend_from_slice(b),
            (Kids::Levels(a), Kids::Levels(b)) => a.extend_from_slice(b),
            // All levels of one height are of one kind.
            _ => {}
        }
    }

    /// Where to cut an overfull level: in the middle, but at the edge of the tree so that a full
    /// level stays behind.
    fn cut(&self, edge: Edge) -> usize {
        match edge {
            Edge::Inside => self.len() / 2,
            Edge::Right => FANOUT.min(self.len() - 1),
            Edge::Left => self.len().saturating_sub(FANOUT).max(1),
        }
    }

    /// Repairs the shape around child `i`, whose content has just changed.
    fn repair(&mut self, i: usize, edge: Edge) {
        let Kids::Levels(levels) = &mut self.kids else {
            return;
        };
        let Some(child) = levels.get_mut(i) else {
            return;
        };
        if child.is_empty() {
            levels.remove(i);
            self.forget_child(i);
            return;
        }
        if child.len() > FANOUT {
            let child = Arc::make_mut(child);
            let right = child.split_off(child.cut(edge));
            let (kept, cut) = (child.total, right.total);
            let Some(separator) = right.separators.first().cloned() else {
                return;
            };
            make_room(levels);
            levels.insert(i + 1, Arc::new(right));
            make_room(&mut self.counts);
            self.counts.insert(i + 1, cut);
            self.total += cut;
            make_room(&mut self.separators);
            self.separators.insert(i + 1, separator);
            self.set_count(i, kept);
            return;
        }
        if child.len() < SPARSE {
            let size = |at: usize| levels.get(at).map_or(FANOUT, |level| level.len());
            if i + 1 < levels.len() && size(i) + size(i + 1) <= JOINED_MAX {
                self.join_children(i);
            } else if i > 0 && size(i - 1) + size(i) <= JOINED_MAX {
                self.join_children(i - 1);
            }
        }
    }

    fn join_children(&mut self, i: usize) {
        let Kids::Levels(levels) = &mut self.kids else {
            return;
        };
        if i + 1 >= levels.len() {
            return;
        }
        let right = levels.remove(i + 1);
        let separator = self.separators.remove(i + 1);
        if let Some(left) = levels.get_mut(i) {
            Arc::make_mut(left).join(separator, &right);
        }
        let moved = self.counts.remove(i + 1);
        self.total -= moved;
        let count = self.count(i) + moved;
        self.set_count(i, count);
    }
}

/// Which edge of the tree a path runs along.
#[derive(Clone, Copy, PartialEq)]
enum Edge {
    Inside,
    Left,
    Right,
}

/// A counted B+tree with leaf handles `H` and separators `S`.
#[derive(Clone)]
pub struct Tree<S, H> {
    root: Arc<Level<S, H>>,
}

impl<S: Clone, H: Clone> Default for Tree<S, H> {
    fn default() -> Self {
        Tree {
            root: Arc::new(Level::bottom()),
        }
    }
}

impl<S: Clone, H: Clone> Tree<S, H> {
    /// Where the root begins, for a prefetch.
    pub fn address(&self) -> *const u8 {
        Arc::as_ptr(&self.root).cast()
    }

    /// Elements in all leaves.
    pub fn len(&self) -> u64 {
        self.root.total
    }

    /// Whether no leaf holds an element.
    pub fn is_empty(&self) -> bool {
        self.root.total == 0
    }

    /// The leaf that `seek` leads to; `None` in a tree without leaves.
    pub fn find(&self, seek: &mut impl Seek<S>) -> Option<&H> {
        let mut level = &*self.root;
        loop {
            let i = level.choose(seek);
            match &level.kids {
                Kids::Leaves(leaves) => return leaves.get(i),
                Kids::Levels(levels) => level = levels.get(i)?,
            }
        }
    }

    /// A walk over the leaves that stands on the one `seek` leads to.
    pub fn walk(&self, seek: &mut impl Seek<S>) -> Walk<'_, S, H> {
        Walk::new(&self.root, seek)
    }

    /// Number of leaves, if there are at most `most`; `None` beyond.
    pub fn leaves_up_to(&self, most: usize) -> Option<usize> {
        match &self.root.kids {
            Kids::Leaves(leaves) if leaves.len() <= most => Some(leaves.len()),
            Kids::Levels(levels) if levels.len() <= most => {
                let mut walk = self.walk(&mut First);
                let mut n = 0;
                while walk.current().is_some() {
                    n += 1;
                    if n > most {
                        return None;
                    }
                    walk.forward();
                }
                Some(n)
            }
            _ => None,
        }
    }

    /// Hands the bottom level that `seek` leads to, and the index of the leaf there, to `edit`;
    /// then brings counts and shape in order up to the root. `edit` may change leaves, insert
    /// and remove some, and must leave every count right. In an empty tree the level has no
    /// leaves and the index is 0.
    pub fn edit<R>(
        &mut self,
        seek: &mut impl Seek<S>,
        edit: impl FnOnce(&mut Level<S, H>, usize) -> R,
    ) -> R {
        let result = edit_below(&mut self.root, seek, edit, true, true);
        if self.root.len() > FANOUT {
            self.grow();
        }
        while let Kids::Levels(levels) = &self.root.kids {
            match levels.as_slice() {
                [] => self.root = Arc::new(Level::bottom()),
                [only] => self.root = Arc::clone(only),
                _ => break,
            }
        }
        result
    }

    fn grow(&mut self) {
        let root = Arc::make_mut(&mut self.root);
        // Whichever end grew, a root is cut in the middle: it happens once per height.
        let right = root.split_off(root.cut(Edge::Inside));
        let left = std::mem::replace(root, Level::bottom());
        let counts = vec![left.total, right.total];
        let separators = [&left, &right]
            .iter()
            .filter_map(|level| level.separators.first().cloned())
            .collect();
        let kids = Kids::Levels(vec![Arc::new(left), Arc::new(right)]);
        let total = counts.iter().sum();
        self.root = Arc::new(Level {
            total,
            counts,
            separators,
            kids,
        });
    }

    /// Bytes the levels take, leaves not counted.
    pub fn size_bytes(&self) -> usize {
        level_size(&self.root)
    }
}

fn level_size<S, H>(level: &Level<S, H>) -> usize {
    let own = std::mem::size_of::<Level<S, H>>()
        + 16
        + level.counts.capacity() * 8
        + level.separators.capacity() * std::mem::size_of::<S>();
    own + match &level.kids {
        Kids::Leaves(leaves) => leaves.capacity() * std::mem::size_of::<H>(),
        Kids::Levels(levels) => {
            levels.capacity() * 8 + levels.iter().map(|kid| level_size(kid)).sum::<usize>()
        }
    }
}

fn edit_below<S: Clone, H: Clone, R>(
    node: &mut Arc<Level<S, H>>,
    seek: &mut impl Seek<S>,
    edit: impl FnOnce(&mut Level<S, H>, usize) -> R,
    left_edge: bool,
    right_edge: bool,
) -> R {
    let level = Arc::make_mut(node);
    let i = level.choose(seek);
    let left_edge = left_edge && i == 0;
    let right_edge = right_edge && i + 1 >= level.len();
    if let Kids::Levels(levels) = &mut level.kids
        && let Some(child) = levels.get_mut(i)
    {
        let result = edit_below(child, seek, edit, left_edge, right_edge);
        let count = child.total;
        level.set_count(i, count);
        let edge = match (left_edge, right_edge) {
            (_, true) => Edge::Right,
            (true, false) => Edge::Left,
            (false, false) => Edge::Inside,
        };
        level.repair(i, edge);
        return result;
    }
    edit(level, i)
}

//! `List`: one packed node while small, a counted tree of packed nodes when large.
//!
//! A small list is a single listpack (`listpack` to clients), limited as `list-max-listpack-size`
//! says. Beyond that it is a `quicklist`: a tree whose leaves are nodes of up to that size, with
//! the number of elements kept in every level, so that an index is found in O(log n), either end
//! is O(1) but for the height of the tree, and a clone is O(1). An element too large for a node
//! is a leaf of its own and is never copied by an edit beside it.
//!
//! When the form changes is what Redis 7.2 does: a listpack becomes a quicklist before an
//! addition would exceed the limit; a quicklist of one node becomes a listpack when an operation
//! that can shrink it leaves at most half of the limit.
//!
//! Reading hands elements to a closure instead of lending them out of an iterator, because a node
//! may have to be unpacked to be read.

mod entry;
mod listpack;
mod node;
mod squeezed;
mod stored;
#[cfg(test)]
mod tests;

use std::ops::Range;

use super::btree::{At, First, Last, Tree};
use super::packed::Elem;
use entry::Entry;
use listpack::Listpack;
use node::Node;
pub use stored::NodeView;

/// The directives that shape a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListLimits {
    /// `list-max-listpack-size`: elements of a node, or when negative -1..-5 for 4, 8, 16, 32
    /// or 64 KiB.
    pub max_listpack_size: i32,
    /// `list-compress-depth`: nodes at either end that are not compressed; 0: none is.
    pub compress_depth: u32,
}

impl Default for ListLimits {
    fn default() -> Self {
        ListLimits {
            max_listpack_size: -2,
            compress_depth: 0,
        }
    }
}

/// Gives elements of `bytes` and more a node of their own in every list, whatever its limits; 0
/// puts that back (`DEBUG QUICKLIST-PACKED-THRESHOLD`).
pub fn set_packed_threshold(bytes: usize) {
    node::set_plain_from(bytes);
}

/// An end of a list, or the direction that begins there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The left end: index 0.
    Head,
    /// The right end.
    Tail,
}

/// A list of byte strings. Cloning is O(1).
#[derive(Clone)]
pub struct List {
    repr: Repr,
}

#[derive(Clone)]
enum Repr {
    Small(Listpack),
    Large(Tree<(), Node>),
}

impl Default for List {
    fn default() -> Self {
        List {
            repr: Repr::Small(Listpack::default()),
        }
    }
}

impl List {
    /// Where its bytes begin, for a prefetch.
    #[inline]
    pub fn address(&self) -> *const u8 {
        match &self.repr {
            Repr::Small(node) => node.address(),
            Repr::Large(tree) => tree.address(),
        }
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        match &self.repr {
            Repr::Small(node) => node.count(),
            Repr::Large(tree) => tree.len() as usize,
        }
    }

    /// Whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The name of the form, as OBJECT ENCODING gives it.
    pub fn encoding(&self) -> &'static str {
        match &self.repr {
            Repr::Small(_) => "listpack",
            Repr::Large(_) => "quicklist",
        }
    }

    /// Bytes taken from the allocator.
    pub fn size_bytes(&self) -> usize {
        match &self.repr {
            Repr::Small(node) => node.alloc_bytes(),
            Repr::Large(tree) => {
                let mut walk = tree.walk(&mut First);
                let mut sum = tree.size_bytes();
                while let Some(node) = walk.current() {
                    sum += node.alloc_bytes();
                    walk.forward();
                }
                sum
            }
        }
    }

    /// The index that a client means: negative ones count from the tail. `None` outside.
    pub fn resolve(&self, index: i64) -> Option<usize> {
        let len = self.len();
        let index = match usize::try_from(index) {
            Ok(index) => index,
            Err(_) => len.checked_sub(usize::try_from(index.unsigned_abs()).ok()?)?,
        };
        (index < len).then_some(index)
    }

    /// Adds the values one by one at an end: pushed at the head they end up in reverse.
    pub fn push(&mut self, limits: ListLimits, end: End, values: &[&[u8]]) {
        let bytes = values
            .iter()
            .fold(0usize, |sum, value| sum.saturating_add(value.len()));
        self.grow(limits, bytes, values.len());
        match &mut self.repr {
            Repr::Small(node) => {
                for value in values {
                    node.push(end, &Entry::new(Elem::Bytes(value)));
                }
            }
            Repr::Large(tree) => {
                let mut rest = values;
                while !rest.is_empty() {
                    let done = match end {
                        End::Head => tree.edit(&mut First, |level, i| {
                            node::extend(level, i, limits, end, rest)
                        }),
                        End::Tail => tree.edit(&mut Last, |level, i| {
                            node::extend(level, i, limits, end, rest)
                        }),
                    };
                    rest = rest.get(done..).unwrap_or_default();
                    if !rest.is_empty() && limits.compress_depth > 0 {
                        squeezed::settle(tree, limits.compress_depth as usize, None);
                    }
                }
            }
        }
        self.compress(limits, None);
    }

    /// Removes up to `count` elements from an end, each shown to `each` in the order of removal.
    /// Returns how many there were.
    pub fn pop(
        &mut self,
        limits: ListLimits,
        end: End,
        count: usize,
        mut each: impl FnMut(Elem<'_>),
    ) -> usize {
        let wanted = count.min(self.len());
        let mut left = wanted;
        while left > 0 {
            let done = match &mut self.repr {
                Repr::Small(node) => {
                    let from = if end == End::Head {
                        0
                    } else {
                        node.count() - left
                    };
                    node.visit(from, from + left, end, &mut each);
                    node.remove_range(from, left);
                    left
                }
                Repr::Large(tree) => {
                    let mut take = |level: &mut node::Bottom, i: usize| {
                        let Some(node) = level.leaf(i) else {
                            return left;
                        };
                        let (has, n) = (node.count(), left.min(node.count()));
                        let from = if end == End::Head { 0 } else { has - n };
                        node.visit(from, from + n, end, &mut each);
                        node::remove(level, i, from, n);
                        n
                    };
                    match end {
                        End::Head => tree.edit(&mut First, &mut take),
                        End::Tail => tree.edit(&mut Last, &mut take),
                    }
                }
            };
            left -= done;
        }
        if wanted > 0 {
            self.shrink(limits);
            self.compress(limits, None);
        }
        wanted
    }

    /// Shows the element at `index` to `show`.
    pub fn get<R>(&self, index: usize, show: impl FnOnce(Elem<'_>) -> R) -> Option<R> {
        match &self.repr {
            Repr::Small(node) if index < node.count() => node.get(index).map(show),
            Repr::Small(_) => None,
            Repr::Large(tree) => {
                let mut at = At(index as u64);
                tree.find(&mut at)?.show(at.0 as usize, show)
            }
        }
    }

    /// Replaces the element at `index`; `false` when there is none. As in Redis a small list makes
    /// room for the value even then.
    pub fn set(&mut self, limits: ListLimits, index: usize, value: &[u8]) -> bool {
        if !self.is_empty() {
            self.grow(limits, value.len(), 1);
        }
        if index >= self.len() {
            return false;
        }
        match &mut self.repr {
            Repr::Small(node) => {
                if let Some(offset) = node.offset_of(index) {
                    node.replace(offset, &Entry::new(Elem::Bytes(value)));
                }
            }
            Repr::Large(tree) => {
                // The tree is asked twice: an edit learns the leaf, not the position within.
                let at = position_in_leaf(tree, index);
                tree.edit(&mut At(index as u64), |level, i| {
                    node::replace(level, i, at, limits, value);
                });
            }
        }
        self.shrink(limits);
        self.compress(limits, Some(index));
        true
    }

    /// Inserts a value in front of the element at `index`, or at the tail for the length.
    pub fn insert_at(&mut self, limits: ListLimits, index: usize, value: &[u8]) {
        if index == 0 || index >= self.len() {
            let end = if index == 0 { End::Head } else { End::Tail };
            return self.push(limits, end, &[value]);
        }
        self.grow(limits, value.len(), 1);
        match &mut self.repr {
            Repr::Small(node) => {
                if let Some(offset) = node.offset_of(index) {
                    node.insert(offset, &Entry::new(Elem::Bytes(value)));
                }
            }
            Repr::Large(tree) => {
                let at = position_in_leaf(tree, index);
                tree.edit(&mut At(index as u64), |level, i| {
                    node::insert(level, i, at, limits, value);
                });
            }
        }
        self.compress(limits, Some(index));
    }

    /// Inserts a value before (`End::Head`) or after the first element equal to `pivot`; `false`
    /// when there is none. As in Redis a small list makes room for the value even then.
    pub fn insert(&mut self, limits: ListLimits, side: End, pivot: &[u8], value: &[u8]) -> bool {
        if !self.is_empty() {
            self.grow(limits, value.len(), 1);
        }
        match self.positions(pivot, End::Head, 0, 1, usize::MAX).first() {
            Some(&index) => {
                self.insert_at(limits, index + usize::from(side == End::Tail), value);
                true
            }
            None => false,
        }
    }

    /// Removes the first `count` elements equal to `value`, counted from `from`. Returns how many
    /// there were.
    pub fn remove(&mut self, limits: ListLimits, value: &[u8], count: usize, from: End) -> usize {
        let entry = Entry::new(Elem::Bytes(value));
        // Which of a node's `found` matches go, when `left` are still wanted.
        let chosen = |found: usize, left: usize| match from {
            End::Head => 0..found.min(left),
            End::Tail => found - found.min(left)..found,
        };
        let mut removed = 0;
        match &mut self.repr {
            Repr::Small(node) => {
                let mut found = 0;
                node.matches(&entry, |_| found += 1);
                let range = chosen(found, count);
                if !range.is_empty() {
                    removed = range.len();
                    *node = node.without(&entry, range);
                }
            }
            Repr::Large(tree) => {
                // Everything on the near side of `edge` has been searched.
                let mut edge = if from == End::Head { 0 } else { tree.len() };
                while removed < count && edge < tree.len() + u64::from(from == End::Tail) {
                    let inside = if from == End::Head {
                        edge
                    } else {
                        edge.wrapping_sub(1)
                    };
                    let mut at = At(inside);
                    let Some(node) = tree.find(&mut at) else {
                        break;
                    };
                    let (start, has) = (inside - at.0, node.count() as u64);
                    let mut found = 0;
                    node.matches(&entry, &mut |_| found += 1);
                    let range = chosen(found, count - removed);
                    edge = match from {
                        End::Head => start + has - range.len() as u64,
                        End::Tail => start,
                    };
                    if !range.is_empty() {
                        removed += range.len();
                        tree.edit(&mut At(start), |level, i| {
                            node::remove_matches(level, i, &entry, range);
                            node::join_small(level, i, limits);
                        });
                    }
                    if from == End::Tail && edge == 0 {
                        break;
                    }
                }
            }
        }
        if removed > 0 {
            self.shrink(limits);
            self.compress_all(limits);
        }
        removed
    }

    /// Removes the elements of a range of indexes.
    pub fn remove_range(&mut self, limits: ListLimits, range: Range<usize>) {
        let end = range.end.min(self.len());
        let mut left = end.saturating_sub(range.start);
        if left == 0 {
            return;
        }
        match &mut self.repr {
            Repr::Small(node) => node.remove_range(range.start, left),
            Repr::Large(tree) => {
                while left > 0 {
                    let at = position_in_leaf(tree, range.start);
                    let done = tree.edit(&mut At(range.start as u64), |level, i| {
                        let has = level.leaf(i).map_or(0, Node::count);
                        let n = left.min(has.saturating_sub(at));
                        node::remove(level, i, at, n);
                        n
                    });
                    if done == 0 {
                        break;
                    }
                    left -= done;
                }
            }
        }
        self.shrink(limits);
        self.compress(limits, Some(range.start));
    }

    /// Keeps the elements of a range of indexes and removes all others.
    pub fn trim(&mut self, limits: ListLimits, keep: Range<usize>) {
        let len = self.len();
        if keep.is_empty() || keep.start >= len {
            *self = List::default();
            return;
        }
        self.remove_range(limits, keep.end.min(len)..len);
        self.remove_range(limits, 0..keep.start);
    }

    /// Shows the elements of a range of indexes, in the order that begins at `from`.
    pub fn visit(&self, range: Range<usize>, from: End, mut each: impl FnMut(Elem<'_>)) {
        let (start, end) = (range.start, range.end.min(self.len()));
        if start >= end {
            return;
        }
        let tree = match &self.repr {
            Repr::Small(node) => return node.visit(start, end, from, &mut each),
            Repr::Large(tree) => tree,
        };
        let mut left = end - start;
        let first = if from == End::Head { start } else { end - 1 };
        let mut at = At(first as u64);
        let mut walk = tree.walk(&mut at);
        let mut inside = at.0 as usize;
        while let Some(node) = walk.current()
            && left > 0
        {
            let n = if from == End::Head {
                let n = left.min(node.count().saturating_sub(inside));
                node.visit(inside, inside + n, from, &mut each);
                walk.forward();
                inside = 0;
                n
            } else {
                let n = left.min(inside + 1);
                node.visit(inside + 1 - n, inside + 1, from, &mut each);
                walk.backward();
                inside = (walk.count() as usize).saturating_sub(1);
                n
            };
            left -= n;
        }
    }

    /// Indexes of the elements equal to `value` among the first `max_len` from `from`, in that
    /// order: `skip` of them left out, at most `most` returned.
    pub fn positions(
        &self,
        value: &[u8],
        from: End,
        skip: usize,
        most: usize,
        max_len: usize,
    ) -> Vec<usize> {
        let entry = Entry::new(Elem::Bytes(value));
        let (len, mut found, mut skip) = (self.len(), Vec::new(), skip);
        let mut inside = Vec::new();
        // One node's matches, in the direction of the search; `false` ends the search.
        let mut search = |node: &Node, start: usize| {
            inside.clear();
            node.matches(&entry, &mut |index| inside.push(start + index));
            if from == End::Tail {
                inside.reverse();
            }
            for &index in &inside {
                let passed = if from == End::Head {
                    index
                } else {
                    len - 1 - index
                };
                if passed >= max_len || found.len() >= most {
                    return false;
                }
                if skip > 0 {
                    skip -= 1;
                } else {
                    found.push(index);
                }
            }
            let passed = if from == End::Head {
                start + node.count()
            } else {
                len - start
            };
            passed < max_len && found.len() < most
        };
        match &self.repr {
            Repr::Small(node) => {
                search(&Node::Packed(node.clone()), 0);
            }
            Repr::Large(tree) if from == End::Head => {
                let (mut walk, mut start) = (tree.walk(&mut First), 0);
                while let Some(node) = walk.current()
                    && search(node, start)
                {
                    start += node.count();
                    walk.forward();
                }
            }
            Repr::Large(tree) => {
                let (mut walk, mut end) = (tree.walk(&mut Last), len);
                while let Some(node) = walk.current()
                    && search(node, end - node.count())
                {
                    end -= node.count();
                    walk.backward();
                }
            }
        }
        found
    }

    fn grow(&mut self, limits: ListLimits, bytes: usize, count: usize) {
        if let Repr::Small(node) = &self.repr
            && limits.exceeded(node.size().saturating_add(bytes), node.count() + count)
        {
            self.become_large();
        }
    }

    fn become_large(&mut self) {
        if let Repr::Small(node) = &mut self.repr {
            let node = std::mem::take(node);
            let mut tree = Tree::default();
            if node.count() > 0 {
                let count = node.count() as u64;
                tree.edit(&mut Last, |level: &mut node::Bottom, _| {
                    level.insert_leaf(0, (), Node::Packed(node), count);
                });
            }
            self.repr = Repr::Large(tree);
        }
    }

    fn shrink(&mut self, limits: ListLimits) {
        self.become_small(|size, count| limits.small_again(size, count));
    }

    fn become_small(&mut self, fits: impl FnOnce(usize, usize) -> bool) {
        let Repr::Large(tree) = &self.repr else {
            return;
        };
        match tree.leaves_up_to(1) {
            Some(0) => *self = List::default(),
            Some(_) => {
                let only = match tree.find(&mut First) {
                    Some(Node::Squeezed(node)) => Some(node.open()),
                    other => other.cloned(),
                };
                if let Some(Node::Packed(node)) = only
                    && fits(node.size(), node.count())
                {
                    self.repr = Repr::Small(node);
                }
            }
            None => {}
        }
    }
}

/// Position, within its leaf, of the element at `index`.
fn position_in_leaf(tree: &Tree<(), Node>, index: usize) -> usize {
    let mut at = At(index as u64);
    tree.find(&mut at);
    at.0 as usize
}

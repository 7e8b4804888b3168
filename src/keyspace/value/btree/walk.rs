//! A walk over the leaves of a tree, in either direction, borrowing the tree.

use smallvec::SmallVec;

use super::{Kids, Level, Seek};

/// Stands on a leaf, or past either end.
pub struct Walk<'a, S, H> {
    /// The path from the root: each level with the index of the child taken. Empty when the walk
    /// has left the tree.
    path: SmallVec<[(&'a Level<S, H>, usize); 6]>,
}

impl<'a, S, H> Walk<'a, S, H> {
    pub(super) fn new(root: &'a Level<S, H>, seek: &mut impl Seek<S>) -> Self {
        let mut walk = Walk {
            path: SmallVec::new(),
        };
        let mut level = root;
        loop {
            if level.is_empty() {
                walk.path.clear();
                return walk;
            }
            let i = level.choose(seek);
            walk.path.push((level, i));
            match &level.kids {
                Kids::Levels(levels) => match levels.get(i) {
                    Some(next) => level = next,
                    None => return walk,
                },
                Kids::Leaves(_) => return walk,
            }
        }
    }

    /// The leaf the walk stands on.
    pub fn current(&self) -> Option<&'a H> {
        let (level, i) = self.path.last()?;
        level.leaf(*i)
    }

    /// Elements in the leaf the walk stands on.
    pub fn count(&self) -> u64 {
        self.path.last().map_or(0, |(level, i)| level.count(*i))
    }

    /// Steps to the next leaf; past the last one the walk has no current leaf.
    pub fn forward(&mut self) {
        while let Some((level, i)) = self.path.pop() {
            if i + 1 < level.len() {
                self.path.push((level, i + 1));
                self.descend(|_| 0);
                return;
            }
        }
    }

    /// Steps to the previous leaf; before the first one the walk has no current leaf.
    pub fn backward(&mut self) {
        while let Some((level, i)) = self.path.pop() {
            if i > 0 {
                self.path.push((level, i - 1));
                self.descend(|level| level.len().saturating_sub(1));
                return;
            }
        }
    }

    fn descend(&mut self, pick: impl Fn(&Level<S, H>) -> usize) {
        while let Some((level, i)) = self.path.last() {
            let Kids::Levels(levels) = &level.kids else {
                return;
            };
            let Some(next) = levels.get(*i) else { return };
            self.path.push((next, pick(next)));
        }
    }
}

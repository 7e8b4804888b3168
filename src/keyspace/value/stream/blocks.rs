//! The blocks of a stream, in order: a tree of them, and beside it the last one.
//!
//! Additions go to the last block. As it does not hang on the tree, they need not descend to it
//! nor count up on every level: only a block that is full is hung up.
//!
//! Guarantee: there is a last block unless there is none at all.

use std::sync::Arc;

use super::block::Block;
use super::id::StreamId;
use super::radix::Keys;
use crate::keyspace::value::btree::{By, Last, Tree, Walk};

/// The blocks. Cloning them is O(1).
#[derive(Clone, Default)]
pub struct Blocks {
    tree: Tree<StreamId, Arc<Block>>,
    last: Option<Arc<Block>>,
}

/// One of the blocks.
#[derive(Clone, Copy)]
pub enum Which {
    /// The first.
    First,
    /// That in which an entry of this id stands if it is there.
    Of(StreamId),
    /// The last.
    Last,
}

impl Which {
    /// Whether it is at or right of the block with this base.
    fn reaches(self, base: StreamId) -> bool {
        match self {
            Which::First => false,
            Which::Of(id) => base <= id,
            Which::Last => true,
        }
    }
}

impl Blocks {
    /// Entries in all blocks that are not deleted.
    pub fn entries(&self) -> u64 {
        self.tree.len() + self.last.as_ref().map_or(0, |block| block.live())
    }

    /// How many blocks there are, or hardly more than `most` if they are more.
    pub fn count_up_to(&self, most: usize) -> usize {
        self.tree.leaves_up_to(most).unwrap_or(most) + usize::from(self.last.is_some())
    }

    /// Bytes taken from the allocator, blocks not counted.
    pub fn size_bytes(&self) -> usize {
        self.tree.size_bytes()
    }

    /// The last block.
    pub fn last(&self) -> Option<&Block> {
        self.last.as_deref()
    }

    /// As [`Blocks::last`], to be changed.
    pub fn last_mut(&mut self) -> Option<&mut Arc<Block>> {
        self.last.as_mut()
    }

    /// One of the blocks; `None` if there is none.
    pub fn get(&self, which: Which) -> Option<&Block> {
        if self.is_last(which) {
            return self.last();
        }
        let mut seek = By(|base: &StreamId| which.reaches(*base));
        self.tree.find(&mut seek).map(|block| &**block)
    }

    fn is_last(&self, which: Which) -> bool {
        let reached = self.last().is_none_or(|last| which.reaches(last.base()));
        reached || self.tree.leaves_up_to(0).is_some()
    }

    /// A walk that begins at one of the blocks.
    pub fn walk(&self, which: Which) -> Steps<'_> {
        let at = if self.is_last(which) {
            At::Last
        } else {
            At::Tree(
                self.tree
                    .walk(&mut By(|base: &StreamId| which.reaches(*base))),
            )
        };
        Steps { blocks: self, at }
    }

    /// Adds a block behind the others, whose ids come after theirs.
    pub fn push(&mut self, block: Block) {
        let Some(full) = self.last.replace(Arc::new(block)) else {
            return;
        };
        let (base, live) = (full.base(), full.live());
        self.tree.edit(&mut Last, |level, i| {
            let at = if level.is_empty() { 0 } else { i + 1 };
            level.insert_leaf(at, base, full, live);
        });
    }

    /// Changes one of the blocks by `change`, which says whether it is to stay. Gives the block if
    /// it is not.
    pub fn edit(
        &mut self,
        which: Which,
        change: impl FnOnce(&mut Arc<Block>) -> bool,
    ) -> Option<Arc<Block>> {
        if self.is_last(which) {
            if self.last.as_mut().is_none_or(change) {
                return None;
            }
            let before = self.tree.edit(&mut Last, |level, i| level.remove_leaf(i));
            return std::mem::replace(&mut self.last, before);
        }
        let mut seek = By(|base: &StreamId| which.reaches(*base));
        self.tree.edit(&mut seek, |level, i| {
            let block = level.leaf_mut(i)?;
            if !change(block) {
                return level.remove_leaf(i);
            }
            let live = block.live();
            level.set_count(i, live);
            None
        })
    }
}

impl Keys for Blocks {
    fn split(&self, is_left: impl Fn(StreamId) -> bool) -> (Option<StreamId>, Option<StreamId>) {
        let last = self.last().map(Block::base);
        if last.is_some_and(&is_left) {
            return (last, None);
        }
        let base = |walk: &Walk<'_, StreamId, Arc<Block>>| walk.current().map(|b| b.base());
        let mut walk = self.tree.walk(&mut By(|base: &StreamId| is_left(*base)));
        let found = base(&walk);
        if found.is_some_and(&is_left) {
            walk.forward();
            return (found, base(&walk).or(last));
        }
        // A separator may lie well below the first block of its level.
        walk.backward();
        (base(&walk), found.or(last))
    }
}

/// A walk over the blocks, in either direction.
pub struct Steps<'a> {
    blocks: &'a Blocks,
    at: At<'a>,
}

/// Where a walk stands.
enum At<'a> {
    Tree(Walk<'a, StreamId, Arc<Block>>),
    Last,
    /// Past either end.
    Outside,
}

impl<'a> Steps<'a> {
    /// The block it stands on; `None` past either end.
    pub fn current(&self) -> Option<&'a Block> {
        match &self.at {
            At::Tree(walk) => walk.current().map(|block| &**block),
            At::Last => self.blocks.last(),
            At::Outside => None,
        }
    }

    /// Steps to the next block.
    pub fn forward(&mut self) {
        if let At::Tree(walk) = &mut self.at {
            walk.forward();
            if walk.current().is_none() {
                self.at = At::Last;
            }
        } else {
            self.at = At::Outside;
        }
    }

    /// Steps to the block before.
    pub fn backward(&mut self) {
        match &mut self.at {
            At::Tree(walk) => walk.backward(),
            At::Last => self.at = At::Tree(self.blocks.tree.walk(&mut Last)),
            At::Outside => {}
        }
        if self.current().is_none() {
            self.at = At::Outside;
        }
    }
}

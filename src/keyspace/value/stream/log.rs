//! The entries of a stream: their blocks, and what is known of them all.
//!
//! - `first_id` and `newest` are ids of entries that are there, or `0-0` when there are none.
//! - `last_id` is at least the id of every entry that is there. It is not always greater than
//!   those of deleted ones (`XSETID`): an addition clears deleted ones out of its way.
//! - `radix` counts the blocks, each by its base, which never changes.

use std::sync::Arc;

use super::block::{Block, Item, Raw};
use super::blocks::{Blocks, Which};
use super::group::Group;
use super::id::StreamId;
use super::radix::Radix;
use super::range::Range;
use super::{StreamLimits, Trim, Until};
use crate::keyspace::value::packed::Elem;

/// The entries of a stream.
#[derive(Clone, Default)]
pub struct Entries {
    pub(super) blocks: Blocks,
    /// The size of Redis's tree of the same blocks.
    radix: Radix,
    pub(super) last_id: StreamId,
    pub(super) first_id: StreamId,
    pub(super) newest: StreamId,
    pub(super) max_deleted_id: StreamId,
    pub(super) added: u64,
}

/// Fields and values in turn, as pairs.
fn pairs<'a>(texts: &'a [&'a [u8]]) -> impl Iterator<Item = (Elem<'a>, Elem<'a>)> + Clone {
    texts.chunks_exact(2).filter_map(|pair| match *pair {
        [name, value] => Some((Elem::Bytes(name), Elem::Bytes(value))),
        _ => None,
    })
}

impl Entries {
    /// How many there are.
    pub fn len(&self) -> u64 {
        self.blocks.entries()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The greatest id ever given.
    pub fn last_id(&self) -> StreamId {
        self.last_id
    }

    /// The id of the first entry, `0-0` if there is none.
    pub fn first_id(&self) -> StreamId {
        self.first_id
    }

    /// The id of the last entry that is there, `0-0` if there is none.
    pub fn newest(&self) -> StreamId {
        self.newest
    }

    /// The greatest id of an entry that was deleted by its id.
    pub fn max_deleted_id(&self) -> StreamId {
        self.max_deleted_id
    }

    /// How many entries were ever added.
    pub fn added(&self) -> u64 {
        self.added
    }

    /// The entries between two ids, both included.
    pub fn range(&self, from: StreamId, to: StreamId, reverse: bool) -> Range<'_> {
        Range::new(&self.blocks, from, to, reverse)
    }

    /// The entry of an id.
    pub fn get(&self, id: StreamId) -> Option<Raw<'_>> {
        self.blocks.get(Which::Of(id))?.find(id)
    }

    /// The blocks in order.
    pub fn blocks(&self) -> impl Iterator<Item = &Block> {
        let mut walk = self.blocks.walk(Which::First);
        std::iter::from_fn(move || {
            let block = walk.current()?;
            walk.forward();
            Some(block)
        })
    }

    /// The id of the first entry, deleted ones counted; `None` if there is none.
    pub fn first_or_deleted(&self) -> Option<StreamId> {
        let block = self.blocks.get(Which::First)?;
        block.raws().next().map(|raw| raw.id)
    }

    /// Adds an entry, whose fields and values come in turn. The id is greater than `last_id`.
    pub(super) fn append(&mut self, limits: StreamLimits, id: StreamId, texts: &[&[u8]]) {
        let clear = self.make_way(id);
        debug_assert!(clear, "entries that are there lie below the last id");
        let text_bytes = texts.iter().map(|text| text.len()).sum();
        let names = pairs(texts).map(|(name, _)| name);
        let count = texts.len() / 2;
        let mut item = Item {
            id,
            count,
            same: true,
            deleted: false,
        };
        match self.blocks.last_mut() {
            Some(block) if !block.is_full(limits, text_bytes) => {
                let block = Arc::make_mut(block);
                item.same = block.names_count() == count && block.has_names(names);
                block.append(item, pairs(texts));
            }
            last => {
                // Somebody else who holds it keeps it as it is.
                let base = last.map(|full| {
                    if let Some(full) = Arc::get_mut(full) {
                        full.shrink();
                    }
                    full.base()
                });
                self.radix.appended(base, id);
                let mut block = Block::new(id, names);
                block.append(item, pairs(texts));
                self.blocks.push(block);
            }
        }
        if self.len() == 1 {
            self.first_id = id;
        }
        self.last_id = id;
        self.newest = id;
        self.added = self.added.wrapping_add(1);
    }

    /// Clears deleted entries whose ids are not below that of an addition. Whether that is enough.
    fn make_way(&mut self, id: StreamId) -> bool {
        while let Some(block) = self.blocks.last().filter(|b| b.last() >= id) {
            if block.deleted() == 0 {
                return false;
            }
            let gone = self.blocks.edit(Which::Last, |block| {
                if block.live() > 0 {
                    *block = Arc::new(block.compacted());
                }
                block.live() > 0
            });
            self.forget(gone);
        }
        true
    }

    /// Counts a block that was taken off.
    fn forget(&mut self, gone: Option<Arc<Block>>) {
        if let Some(block) = gone {
            self.radix.removed(block.base(), &self.blocks);
        }
    }

    /// Deletes an entry, which is there.
    pub(super) fn delete(&mut self, id: StreamId) {
        let mut before = None;
        let gone = self.blocks.edit(Which::Of(id), |block| {
            let stays = block.live() > 1;
            if stays {
                before = Arc::make_mut(block).delete(id);
            }
            stays
        });
        self.forget(gone);
        self.max_deleted_id = self.max_deleted_id.max(id);
        if self.is_empty() {
            (self.first_id, self.newest) = (StreamId::MIN, StreamId::MIN);
        } else if id == self.first_id {
            self.find_first();
        } else if id == self.newest {
            self.newest = before.unwrap_or_else(|| self.find_newest());
        }
    }

    fn find_newest(&self) -> StreamId {
        let newest = self.range(StreamId::MIN, StreamId::MAX, true).next();
        newest.map_or(StreamId::MIN, |raw| raw.id)
    }

    fn find_first(&mut self) {
        let first = self.range(StreamId::MIN, StreamId::MAX, false).next();
        self.first_id = first.map_or(StreamId::MIN, |raw| raw.id);
    }

    /// Removes entries from the front on, as Redis does: block by block, and within the block
    /// where that stops only if it is to be exact. Returns how many went.
    pub(super) fn trim(&mut self, trim: Trim) -> u64 {
        let mut deleted = 0;
        while let Some(block) = self.blocks.get(Which::First) {
            let (len, live) = (self.len(), block.live());
            if matches!(trim.until, Until::Length(most) if len <= most) {
                break;
            }
            if trim.limit != 0 && deleted + live > trim.limit {
                break;
            }
            let whole = match trim.until {
                Until::Length(most) => len - live >= most,
                Until::Id(least) => block.last() < least,
            };
            if whole {
                let gone = self.blocks.edit(Which::First, |_| false);
                self.forget(gone);
                deleted += live;
                continue;
            }
            if !trim.approximate {
                deleted += self.trim_block(trim.until);
            }
            break;
        }
        if self.is_empty() {
            (self.first_id, self.newest) = (StreamId::MIN, StreamId::MIN);
        } else if deleted > 0 {
            self.find_first();
        }
        deleted
    }

    /// Deletes entries of the first block.
    fn trim_block(&mut self, until: Until) -> u64 {
        let len = self.len();
        let mut deleted = 0;
        self.blocks.edit(Which::First, |block| {
            deleted = Arc::make_mut(block).delete_front(|id, marked| match until {
                Until::Length(most) => len - marked <= most,
                Until::Id(least) => id >= least,
            });
            true
        });
        deleted
    }

    /// Whether an entry that was deleted by its id may lie at or after `from`.
    pub fn has_deleted_from(&self, from: StreamId) -> bool {
        !self.is_empty()
            && self.max_deleted_id != StreamId::MIN
            && self.first_id <= self.max_deleted_id
            && from <= self.max_deleted_id
    }

    /// How many entries were added up to this one, if that can be told.
    pub fn added_up_to(&self, id: StreamId) -> Option<i64> {
        let added = self.added as i64;
        if self.added == 0 {
            return Some(0);
        }
        if (self.is_empty() && id <= self.last_id) || id == self.last_id {
            return Some(added);
        }
        if id > self.last_id {
            return None;
        }
        let unbroken = self.max_deleted_id == StreamId::MIN || self.max_deleted_id < self.first_id;
        let before = added.wrapping_sub(self.len() as i64);
        match id.cmp(&self.first_id) {
            std::cmp::Ordering::Less if unbroken => Some(before),
            std::cmp::Ordering::Equal if unbroken => Some(before.wrapping_add(1)),
            _ => None,
        }
    }

    /// How many entries a group has not read yet, if that can be told.
    pub fn lag(&self, group: &Group) -> Option<i64> {
        let added = self.added as i64;
        if self.added == 0 || self.is_empty() {
            return Some(0);
        }
        if group.last_id < self.first_id && self.max_deleted_id < self.first_id {
            return Some(self.len() as i64);
        }
        let read = match group.entries_read {
            Some(read) if !self.has_deleted_from(group.last_id) => read,
            _ => self.added_up_to(group.last_id)?,
        };
        Some(added.wrapping_sub(read))
    }

    /// Keys and nodes of the radix tree that Redis keeps the blocks in.
    pub fn radix_size(&self) -> (u64, u64) {
        self.radix.size()
    }

    /// Hangs a block behind the others. It must have entries, and its ids must come after theirs.
    pub(super) fn push_block(&mut self, block: Block) -> bool {
        let Some(first) = block.raws().next() else {
            return false;
        };
        if first.id < block.base() {
            return false;
        }
        let first_id = first.id;
        let before = self.blocks.last().map(Block::base);
        if before >= Some(block.base()) || !self.make_way(first_id) {
            return false;
        }
        let last = self.blocks.last().map(Block::base);
        self.radix.appended(last, block.base());
        self.blocks.push(block);
        true
    }

    /// Finds out, after blocks were hung, what is known of all entries.
    pub(super) fn settle(&mut self) {
        self.find_first();
        self.newest = self.find_newest();
    }

    /// Bytes taken from the allocator.
    pub fn size_bytes(&self) -> usize {
        self.blocks.size_bytes() + self.blocks().map(Block::size_bytes).sum::<usize>()
    }
}

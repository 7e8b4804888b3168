//! `Stream`: entries by id in packed blocks, and the groups that read them.
//!
//! | module | holds |
//! |---|---|
//! | [`id`] | ids and their texts |
//! | [`block`] | neighbouring entries in one piece of memory |
//! | [`blocks`] | the blocks: a tree, and the last one beside it |
//! | [`log`] | all entries, and what is known of them |
//! | [`radix`] | how large Redis's tree of these blocks is |
//! | [`range`] | reading them in either direction |
//! | [`group`] | a consumer group: its consumers, what is pending |
//! | [`names`], [`pending`] | trees by name and by id |
//!
//! A stream is one handle. Cloning it is O(1); a change after it copies what lies on its path: the
//! head of the stream, a level of each height, a block or a page. Blocks end where Redis ends the
//! nodes of its radix tree (`stream-node-max-bytes`, `stream-node-max-entries`), so approximate
//! trimming removes the same entries.

pub mod block;
pub mod blocks;
pub mod group;
pub mod id;
pub mod log;
pub mod names;
pub mod pending;
pub mod radix;
pub mod range;
#[cfg(test)]
mod tests;

use std::ops::Deref;
use std::sync::Arc;

use block::Block;
use group::Group;
use id::StreamId;
use log::Entries;
use names::{Iter, Names};

/// Texts of one entry longer than this in sum are refused.
pub const MAX_ENTRY_BYTES: usize = 1 << 30;

/// The directives that shape a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamLimits {
    /// `stream-node-max-bytes`: length of a block's listpack; 0 for no limit.
    pub max_bytes: usize,
    /// `stream-node-max-entries`: entries of a block; 0 for no limit.
    pub max_entries: u64,
}

impl Default for StreamLimits {
    fn default() -> Self {
        StreamLimits {
            max_bytes: 4096,
            max_entries: 100,
        }
    }
}

/// The id that a new entry is to have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NewId {
    /// `*`: of the present millisecond.
    Auto,
    /// `<ms>-*`: the next one of this millisecond.
    OfMs(u64),
    /// This one.
    Exact(StreamId),
}

/// What trimming leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// At most so many entries.
    Length(u64),
    /// No entry below this id.
    Id(StreamId),
}

/// How to trim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trim {
    /// What it leaves.
    pub until: Until,
    /// Whether only whole blocks go.
    pub approximate: bool,
    /// Most entries that go; 0 for no limit.
    pub limit: u64,
}

/// What a stream says of itself in a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Heading {
    /// How many entries there are.
    pub len: u64,
    /// The greatest id ever given.
    pub last_id: StreamId,
    /// The greatest id that was deleted, and how many entries were ever added; unknown to files
    /// before Redis 7.
    pub history: Option<(StreamId, u64)>,
}

/// A stream.
#[derive(Clone, Default)]
pub struct Stream {
    inner: Arc<Inner>,
}

#[derive(Clone, Default)]
struct Inner {
    entries: Entries,
    groups: Names<Arc<Group>>,
}

impl std::fmt::Debug for Stream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Stream({} entries, last {:?})", self.len(), self.last_id)
    }
}

impl Deref for Stream {
    type Target = Entries;

    fn deref(&self) -> &Entries {
        &self.inner.entries
    }
}

impl Stream {
    fn entries_mut(&mut self) -> &mut Entries {
        &mut Arc::make_mut(&mut self.inner).entries
    }

    /// Where its bytes begin, for a prefetch.
    pub fn address(&self) -> *const u8 {
        Arc::as_ptr(&self.inner).cast()
    }

    /// Where its last block begins, for a prefetch; null if there is none.
    pub fn last_address(&self) -> *const u8 {
        let last = self.inner.entries.blocks.last();
        last.map_or(std::ptr::null(), |block| std::ptr::from_ref(block).cast())
    }

    /// Where its last block ends, for a prefetch; null if there is none.
    pub fn end_address(&self) -> *const u8 {
        let last = self.inner.entries.blocks.last();
        last.map_or(std::ptr::null(), Block::end_address)
    }

    /// Number of entries.
    pub fn len(&self) -> usize {
        usize::try_from(self.inner.entries.len()).unwrap_or(usize::MAX)
    }

    /// Whether there are no entries: a stream lives on without any.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The name of the form, as OBJECT ENCODING gives it.
    pub fn encoding(&self) -> &'static str {
        "stream"
    }

    /// Bytes taken from the allocator.
    pub fn size_bytes(&self) -> usize {
        let groups: usize = self.groups().map(|(_, group)| group.size_bytes()).sum();
        let entries = self.inner.entries.size_bytes();
        size_of::<Inner>() + 16 + entries + self.inner.groups.size_bytes() + groups
    }

    /// How much there is to free, in pieces: as Redis counts it, not more than roughly.
    pub fn effort(&self) -> usize {
        const ENOUGH: usize = 1000;
        let entries = &self.inner.entries;
        let blocks = entries.blocks.count_up_to(ENOUGH);
        let first = self
            .groups()
            .next()
            .map_or(0, |(_, group)| 1 + group.pending_len());
        blocks + self.groups_len() * first
    }

    /// The id of an entry that is added at `now_ms`. `None` if it would not be greater than all
    /// before it.
    pub fn new_id(&self, wanted: NewId, now_ms: i64) -> Option<StreamId> {
        let last = self.last_id;
        let now_ms = u64::try_from(now_ms).unwrap_or_default();
        let id = match wanted {
            NewId::Exact(id) => id,
            NewId::Auto if now_ms > last.ms => StreamId::new(now_ms, 0),
            NewId::Auto => last.next()?,
            NewId::OfMs(ms) if ms == last.ms => StreamId::new(ms, last.seq.checked_add(1)?),
            NewId::OfMs(ms) => StreamId::new(ms, 0),
        };
        (id > last).then_some(id)
    }

    /// Adds an entry, whose fields and values come in turn, under an id of [`Stream::new_id`].
    pub fn append(&mut self, limits: StreamLimits, id: StreamId, texts: &[&[u8]]) {
        self.entries_mut().append(limits, id, texts);
    }

    /// Deletes an entry. Whether it was there.
    pub fn delete(&mut self, id: StreamId) -> bool {
        // What is shared stays so if there is nothing to delete.
        let is_there = self.get(id).is_some();
        if is_there {
            self.entries_mut().delete(id);
        }
        is_there
    }

    /// Removes entries from the front on. Returns how many went.
    pub fn trim(&mut self, trim: Trim) -> u64 {
        self.entries_mut().trim(trim)
    }

    /// Sets the greatest id ever given, and what else is given (`XSETID`).
    pub fn set_id(&mut self, last_id: StreamId, added: Option<u64>, max_deleted: StreamId) {
        let entries = self.entries_mut();
        entries.last_id = last_id;
        if let Some(added) = added {
            entries.added = added;
        }
        if max_deleted != StreamId::MIN {
            entries.max_deleted_id = max_deleted;
        }
    }

    /// Number of groups.
    pub fn groups_len(&self) -> usize {
        self.inner.groups.len()
    }

    /// The groups by name.
    pub fn groups(&self) -> Groups<'_> {
        Groups(self.inner.groups.iter())
    }

    /// The group of this name.
    pub fn group(&self, name: &[u8]) -> Option<&Group> {
        self.inner.groups.get(name).map(|group| &**group)
    }

    /// Makes a group. Whether its name was free.
    pub fn create_group(&mut self, name: &[u8], group: Group) -> bool {
        if self.group(name).is_some() {
            return false;
        }
        let groups = &mut Arc::make_mut(&mut self.inner).groups;
        groups.insert(name.into(), Arc::new(group));
        true
    }

    /// Removes a group. Whether it was there.
    pub fn destroy_group(&mut self, name: &[u8]) -> bool {
        self.group(name).is_some() && Arc::make_mut(&mut self.inner).groups.remove(name).is_some()
    }

    /// Changes a group, beside the entries it reads.
    pub fn edit_group<R>(
        &mut self,
        name: &[u8],
        change: impl FnOnce(&mut Group, &Entries) -> R,
    ) -> Option<R> {
        self.group(name)?;
        let Inner { entries, groups } = Arc::make_mut(&mut self.inner);
        groups.edit(name, |group| change(Arc::make_mut(group), entries))
    }

    /// A stream of these blocks, in order, with what a file says of it; `None` if the two do not
    /// agree, or ids are out of order.
    pub fn from_blocks(
        blocks: impl IntoIterator<Item = Block>,
        heading: Heading,
    ) -> Option<Stream> {
        let mut entries = Entries::default();
        for block in blocks {
            if !entries.push_block(block) {
                return None;
            }
        }
        entries.settle();
        if entries.len() != heading.len || heading.last_id < entries.newest {
            return None;
        }
        entries.last_id = heading.last_id;
        entries.added = heading.len;
        if let Some((max_deleted, added)) = heading.history {
            entries.max_deleted_id = max_deleted;
            entries.added = added;
        }
        Some(Stream {
            inner: Arc::new(Inner {
                entries,
                groups: Names::default(),
            }),
        })
    }
}

/// Groups by name.
pub struct Groups<'a>(Iter<'a, Arc<Group>>);

impl<'a> Iterator for Groups<'a> {
    type Item = (&'a [u8], &'a Group);

    fn next(&mut self) -> Option<Self::Item> {
        self.0.next().map(|(name, group)| (&**name, &**group))
    }
}

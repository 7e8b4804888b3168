//! One segment of a table: slots in tag order, in chunks of which the last may be a short one.
//!
//! An entry that is taken out leaves a tombstone where closing the gap would move others: a slot
//! with its tag and no pointer. It keeps its place in the order, and is the place of the next
//! entry whose tag comes there. So a key that comes and goes, as the list of a queue does, moves
//! nothing, though slots are nearly all taken.
//!
//! `unsafe` is expected here: a chunk's length follows from its place and the segment's slots, so
//! its pointer alone is kept.

mod layout;

use std::cmp::Ordering;
use std::ptr::{self, NonNull};
use std::slice;

use super::super::entry::{Entry, EntryRef, prefetch};
#[cfg(test)]
pub(super) use layout::LAYOUTS;
pub(super) use layout::with_scratch;

/// Slots in a whole chunk.
pub(super) const CHUNK_SLOTS: usize = 128;
/// Chunks in a segment that is about to split.
const MAX_CHUNKS: usize = 16;
/// Slots in a segment that is about to split.
pub(super) const MAX_SLOTS: usize = MAX_CHUNKS * CHUNK_SLOTS;
/// Entries that a segment may hold before it splits.
pub(super) const MAX_ENTRIES: usize = MAX_SLOTS * LOAD_NUM / LOAD_DEN - 1;
/// Slots behind the last home, for what robin-hood order pushes over the end.
const SLACK: usize = 32;
/// A segment grows when more than 47 of 48 slots would be taken. A search passes over four slots at
/// a time, and so takes no more steps than one slot by slot at a load of 0.95.
const LOAD_NUM: usize = 47;
const LOAD_DEN: usize = 48;

pub(super) const TAG_SHIFT: u32 = 48;
/// Entries are aligned, so that the lowest bit is none of a pointer's.
pub(super) const POINTER_MASK: usize = (1 << TAG_SHIFT) - 1 - TOMBSTONE;
/// In place of a pointer, this makes a slot a tombstone.
const TOMBSTONE: usize = 1;

pub(super) type Slot = *mut u8;

#[inline]
pub(super) fn tag_of(slot: Slot) -> usize {
    slot.addr() >> TAG_SHIFT
}

#[inline]
pub(super) fn pointer_of(slot: Slot) -> Option<NonNull<u8>> {
    NonNull::new(slot.map_addr(|a| a & POINTER_MASK))
}

/// Whether there is no entry: nothing at all, or a tombstone.
#[inline]
fn is_vacant(slot: Slot) -> bool {
    slot.addr() & POINTER_MASK == 0
}

#[inline]
fn is_tombstone(slot: Slot) -> bool {
    is_vacant(slot) && !slot.is_null()
}

#[inline]
fn tombstone_of(slot: Slot) -> Slot {
    ptr::without_provenance_mut(slot.addr() & !POINTER_MASK | TOMBSTONE)
}

#[inline]
pub(super) fn tagged(entry: Entry, tag: usize) -> Slot {
    entry
        .into_raw()
        .as_ptr()
        .map_addr(|a| a | (tag << TAG_SHIFT))
}

/// Asks for the first line, which holds a short key, of an entry behind the one at `at`.
pub(super) fn prefetch_ahead(slots: &[Slot], at: usize) {
    const AHEAD: usize = 12;
    if let Some(p) = slots.get(at + AHEAD).and_then(|s| pointer_of(*s)) {
        prefetch(p.as_ptr(), 1);
    }
}

/// Passes over slots of lower tags from `at` on, four at a time; where to go on slot by slot.
///
/// No slot is empty between the first that is looked at, the home of `tag`, and one of a lower tag:
/// whatever stands there has its home before that of `tag`.
#[inline]
fn pass_lower(slots: &[Slot], mut at: usize, tag: usize) -> usize {
    while let Some(&slot) = slots.get(at + 3)
        && tag_of(slot) < tag
        && !slot.is_null()
    {
        at += 4;
    }
    at
}

/// A stretch of the hash space: its slots in tag order.
pub(super) struct Segment {
    /// As many as the slots fill; all are whole but the last.
    chunks: [Option<NonNull<Slot>>; MAX_CHUNKS],
    slots: u32,
    pub(super) len: u32,
    /// Slots are given back when no more entries than this are left.
    shrinks_at: u32,
    tombstones: u32,
    /// Bits of the hash, behind the shard's, that all entries here share.
    pub(super) depth: u32,
    /// Entries that have an expiry.
    pub(super) volatile: u32,
    /// No entry here expires before this instant, Unix milliseconds.
    pub(super) earliest_ms: i64,
    /// No field of a hash here expires before this instant, Unix milliseconds.
    pub(super) fields_ms: i64,
}

/// Slots in chunk `i` of a segment with so many slots.
#[inline]
fn chunk_len(slots: usize, i: usize) -> usize {
    slots.saturating_sub(i * CHUNK_SLOTS).min(CHUNK_SLOTS)
}

impl Segment {
    /// A segment without any slots, to be laid out.
    pub(super) fn new(depth: u32) -> Segment {
        Segment {
            chunks: [None; MAX_CHUNKS],
            slots: 0,
            len: 0,
            shrinks_at: u32::MAX,
            tombstones: 0,
            depth,
            volatile: 0,
            earliest_ms: i64::MAX,
            fields_ms: i64::MAX,
        }
    }

    /// The slots of chunk `i`; none behind the last.
    #[inline]
    fn chunk(&self, i: usize) -> &[Slot] {
        match self.chunks.get(i) {
            // SAFETY: a chunk has this length, and is borrowed with the segment.
            Some(Some(p)) => unsafe {
                slice::from_raw_parts(p.as_ptr(), chunk_len(self.slots(), i))
            },
            _ => &[],
        }
    }

    /// As [`Segment::chunk`], to be changed.
    #[inline]
    fn chunk_mut(&mut self, i: usize) -> &mut [Slot] {
        let len = chunk_len(self.slots(), i);
        match self.chunks.get(i) {
            // SAFETY: a chunk has this length, and is mutably borrowed with the segment.
            Some(Some(p)) => unsafe { slice::from_raw_parts_mut(p.as_ptr(), len) },
            _ => &mut [],
        }
    }

    /// Whether one more entry would crowd the slots.
    #[inline]
    pub(super) fn is_full(&self) -> bool {
        (self.len as usize + 1) * LOAD_DEN > self.slots() * LOAD_NUM
    }

    #[inline]
    pub(super) fn slots(&self) -> usize {
        self.slots as usize
    }

    /// Bytes of the slots.
    pub(super) fn bytes(&self) -> usize {
        self.slots() * size_of::<Slot>()
    }

    #[inline]
    pub(super) fn home(&self, tag: usize) -> usize {
        (tag * (self.slots() - SLACK)) >> 16
    }

    #[inline]
    pub(super) fn get(&self, at: usize) -> Slot {
        let slot = self.chunk(at / CHUNK_SLOTS).get(at % CHUNK_SLOTS);
        slot.copied().unwrap_or(ptr::null_mut())
    }

    #[inline]
    pub(super) fn put(&mut self, at: usize, slot: Slot) {
        if let Some(s) = self.chunk_mut(at / CHUNK_SLOTS).get_mut(at % CHUNK_SLOTS) {
            *s = slot;
        }
    }

    /// The entry of `key`, and its slot.
    #[inline]
    pub(super) fn find(&self, tag: usize, key: &[u8]) -> Option<(usize, EntryRef<'_>)> {
        self.search(self.home(tag), tag, |entry| entry.has_key(key))
    }

    /// The first entry of this tag from its home on, and its slot.
    #[inline]
    pub(super) fn first_of(&self, home: usize, tag: usize) -> Option<(usize, EntryRef<'_>)> {
        self.search(home, tag, |_| true)
    }

    /// The first entry of this tag that is `wanted`, and its slot.
    #[inline]
    fn search(
        &self,
        home: usize,
        tag: usize,
        wanted: impl Fn(EntryRef<'_>) -> bool,
    ) -> Option<(usize, EntryRef<'_>)> {
        let (mut chunk, mut within) = (home / CHUNK_SLOTS, home % CHUNK_SLOTS);
        loop {
            let all = self.chunk(chunk);
            within = pass_lower(all, within, tag);
            for (at, &slot) in all.iter().enumerate().skip(within) {
                let t = tag_of(slot);
                if t >= tag {
                    if t > tag || slot.is_null() {
                        return None;
                    }
                    let Some(p) = pointer_of(slot) else { continue };
                    // SAFETY: a slot with a pointer owns a live entry.
                    let entry = unsafe { EntryRef::from_raw(p) };
                    if wanted(entry) {
                        return Some((chunk * CHUNK_SLOTS + at, entry));
                    }
                } else if slot.is_null() {
                    return None;
                }
            }
            if all.is_empty() {
                return None;
            }
            chunk += 1;
            within = 0;
        }
    }

    /// Asks for the slots that a lookup of `tag` begins with. The first of them.
    #[inline]
    pub(super) fn prefetch_slots(&self, tag: usize) -> usize {
        let at = self.home(tag);
        if let Some(s) = self.chunk(at / CHUNK_SLOTS).get(at % CHUNK_SLOTS) {
            // In a crowded stretch it goes on in the next line.
            prefetch(ptr::from_ref(s).cast(), 2);
        }
        at
    }

    /// Asks for the entry of a slot, if there is one.
    #[inline]
    pub(super) fn prefetch_slot(&self, at: usize) {
        if let Some(p) = pointer_of(self.get(at)) {
            // SAFETY: a slot with a pointer owns a live entry.
            unsafe { EntryRef::from_raw(p) }.prefetch();
        }
    }

    /// Puts `slot` in its place by tag; gives it back if there is no room behind it.
    pub(super) fn insert(&mut self, slot: Slot) -> Result<usize, Slot> {
        let tag = tag_of(slot);
        let home = self.home(tag);
        let mut at = self.place_for(home, tag);
        if at > home && is_tombstone(self.get(at - 1)) {
            // Its tag is not greater.
            at -= 1;
            self.tombstones -= 1;
        } else {
            let free = self.free_from(at);
            if free >= self.slots() {
                return Err(slot);
            }
            self.tombstones -= u32::from(is_tombstone(self.get(free)));
            self.move_up(at, free);
        }
        self.put(at, slot);
        self.len += 1;
        Ok(at)
    }

    /// Where a new slot of this tag goes, from its home on: the first slot that is empty, has a
    /// greater tag, or is a tombstone of this one. The number of slots if there is none.
    fn place_for(&self, home: usize, tag: usize) -> usize {
        let (mut chunk, mut within) = (home / CHUNK_SLOTS, home % CHUNK_SLOTS);
        loop {
            let all = self.chunk(chunk);
            if all.is_empty() {
                return self.slots();
            }
            within = pass_lower(all, within, tag);
            let rest = all.get(within..).unwrap_or_default();
            let ends = |s: Slot| match tag_of(s).cmp(&tag) {
                Ordering::Less => s.is_null(),
                Ordering::Equal => is_vacant(s),
                Ordering::Greater => true,
            };
            if let Some(n) = rest.iter().position(|s| ends(*s)) {
                return chunk * CHUNK_SLOTS + within + n;
            }
            chunk += 1;
            within = 0;
        }
    }

    /// The first slot from `from` on without an entry; the number of slots if there is none.
    fn free_from(&self, from: usize) -> usize {
        let (mut chunk, mut within) = (from / CHUNK_SLOTS, from % CHUNK_SLOTS);
        loop {
            let rest = self.chunk(chunk).get(within..).unwrap_or_default();
            if rest.is_empty() {
                return self.slots();
            }
            // Nearly all are taken: eight at a time, without a look at where they end.
            let (groups, _) = rest.as_chunks::<8>();
            let empty = |group: &[Slot; 8]| group.iter().any(|s| is_vacant(*s));
            let passed = groups.iter().position(empty).unwrap_or(groups.len()) * 8;
            let mut near = rest.iter().skip(passed);
            if let Some(n) = near.position(|s| is_vacant(*s)) {
                return chunk * CHUNK_SLOTS + within + passed + n;
            }
            chunk += 1;
            within = 0;
        }
    }

    /// Moves the slots from `at` up to `free`, which has no entry, up by one: within each chunk at
    /// once, for in a segment that is nearly full they are many.
    fn move_up(&mut self, at: usize, free: usize) {
        let mut to = free;
        while to > at {
            let (chunk, within) = (to / CHUNK_SLOTS, to % CHUNK_SLOTS);
            if within == 0 {
                let moved = self.get(to - 1);
                self.put(to, moved);
                to -= 1;
                continue;
            }
            let from = at.max(chunk * CHUNK_SLOTS);
            let first = from % CHUNK_SLOTS;
            self.chunk_mut(chunk).copy_within(first..within, first + 1);
            to = from;
        }
    }

    /// Takes out the slot at `at`. [`Segment::tidy`] is to follow.
    pub(super) fn take(&mut self, at: usize) -> Slot {
        let taken = self.get(at);
        self.len -= 1;
        let behind = self.get(at + 1);
        if !behind.is_null() && self.home(tag_of(behind)) != at + 1 {
            // A search for what stands behind comes by here.
            self.put(at, tombstone_of(taken));
            self.tombstones += 1;
            return taken;
        }
        self.put(at, ptr::null_mut());
        // Tombstones in front of it have served their purpose.
        let mut end = at;
        while end > 0 && is_tombstone(self.get(end - 1)) {
            end -= 1;
            self.put(end, ptr::null_mut());
            self.tombstones -= 1;
        }
        taken
    }

    /// All slots, in tag order, gaps among them.
    pub(super) fn all(&self) -> impl Iterator<Item = Slot> {
        (0..MAX_CHUNKS).flat_map(|i| self.chunk(i).iter().copied())
    }

    /// Looks at `most` slots from `from` on: tags do not fall, nothing is empty between an entry
    /// and its home, and with all of them what is counted is there.
    #[cfg(test)]
    pub(super) fn assert_order(&self, from: usize, most: usize) {
        let (mut empty, mut last) = (None, 0);
        for at in (from..self.slots()).take(most) {
            let slot = self.get(at);
            if slot.is_null() {
                empty = Some(at);
                continue;
            }
            assert!(tag_of(slot) >= last, "tags fall at {at}");
            last = tag_of(slot);
            let home = self.home(last);
            assert!(
                home <= at && empty.is_none_or(|e| home > e),
                "a gap before {at}"
            );
        }
        if most >= self.slots() && from == 0 {
            let count = |f: fn(Slot) -> bool| self.all().filter(|s| f(*s)).count();
            assert_eq!(count(is_tombstone), self.tombstones as usize);
            assert_eq!(count(|s| !is_vacant(s)), self.len as usize);
        }
    }

    pub(super) fn note_expiry(&mut self, expire_ms: Option<i64>) {
        if let Some(at) = expire_ms {
            self.volatile += 1;
            self.earliest_ms = self.earliest_ms.min(at);
        }
    }

    pub(super) fn note_fields(&mut self, expire_ms: Option<i64>) {
        if let Some(at) = expire_ms {
            self.fields_ms = self.fields_ms.min(at);
        }
    }

    pub(super) fn forget_expiry(&mut self, expire_ms: Option<i64>) {
        if expire_ms.is_some() {
            self.volatile -= 1;
            if self.volatile == 0 {
                self.earliest_ms = i64::MAX;
            }
        }
    }
}

impl Drop for Segment {
    fn drop(&mut self) {
        self.set_slots(0);
    }
}

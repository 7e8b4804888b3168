//! The table of one database within one shard: extendible hashing over segments whose slots are
//! kept in hash order.
//!
//! ```text
//!   hash:  | shard bits | directory: local depth d | tag: next 16 bits | rest |
//!
//!   directory --> segment --> chunks of 128 slots; a slot is a pointer with the tag on top
//!                 [ t0 .  t3 t9 .  .  t40 ... ]      sorted by tag, gaps are empty slots
//! ```
//!
//! - A segment is an open-addressed array in robin-hood order: an entry's home is its tag scaled
//!   to the array, entries stand sorted by tag at or behind their home. A lookup compares 16-bit
//!   tags before it touches an entry, and ends at the first greater tag. What is removed leaves a
//!   tombstone there rather than moving its neighbours.
//! - A segment grows by 32 slots, and by moving slots alone (homes follow from tags): a large one
//!   that grew by insertions is full to between 0.95 and 0.98, one that room was made for may be
//!   emptier. At 2048 slots it splits in two by the next bit of the hash:
//!   no insert ever rehashes more than one segment.
//! - Scanning walks segments in directory order and slots in tag order: hash order. A cursor is a
//!   hash position, so a key that is present throughout comes exactly once, whatever splits.
//! - Each segment counts its entries with an expiry and keeps a lower bound of the earliest one,
//!   so active expiry finds what is due without an index of its own. It does the same for the
//!   fields of hashes, and the table counts the hashes that have such fields.
//!
//! Deliberately absent: merging of half-empty segments. Chunks are given back as a segment
//! empties, and an empty table gives back everything.
//!
//! `unsafe` is expected here: slots own entries as tagged raw pointers.

#![expect(
    unsafe_code,
    reason = "slots are tagged pointers that own their entries"
)]

mod reserve;
mod sample;
mod segment;

use std::ptr::NonNull;

use self::segment::{
    POINTER_MASK, Segment, Slot, TAG_SHIFT, pointer_of, tag_of, tagged, with_scratch,
};
use super::entry::{Entry, EntryMut, EntryRef};
use super::sizes::{SizeClass, Sizes};

/// The directory never has more than `2^MAX_DEPTH` places.
const MAX_DEPTH: u32 = 26;

/// How many slots ahead a walk asks for entries.
const WALK_AHEAD: usize = 8;

/// Where an entry stands; valid until the table changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pos {
    segment: u32,
    slot: u32,
}

impl Pos {
    /// Where nothing stands.
    pub const NOWHERE: Pos = Pos {
        segment: u32::MAX,
        slot: 0,
    };
}

/// A table from keys to entries. What a lookup reads comes first, within one cache line.
#[repr(C)]
pub struct Table {
    segments: Vec<Segment>,
    directory: Vec<u32>,
    /// Bits of the hash that chose the shard and are the same for every key here.
    shard_bits: u32,
    depth: u32,
    len: usize,
    volatile: usize,
    /// Hashes with fields that have an expiry.
    timed: usize,
    sizes: Sizes,
}

// SAFETY: the table owns its entries, which are `Send + Sync`.
unsafe impl Send for Table {}
// SAFETY: as above.
unsafe impl Sync for Table {}

impl Table {
    /// An empty table for keys whose first `shard_bits` hash bits are the same. Allocates nothing.
    pub fn new(shard_bits: u32) -> Table {
        Table {
            shard_bits,
            directory: Vec::new(),
            depth: 0,
            segments: Vec::new(),
            len: 0,
            volatile: 0,
            timed: 0,
            sizes: Sizes::default(),
        }
    }

    /// Number of entries.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no entry.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Number of entries that have an expiry.
    pub fn volatile_len(&self) -> usize {
        self.volatile
    }

    /// Number of hashes with fields that have an expiry.
    pub fn timed_len(&self) -> usize {
        self.timed
    }

    /// How large the values are.
    pub fn sizes(&self) -> &Sizes {
        &self.sizes
    }

    /// Follows a value whose length may have changed in place.
    #[inline]
    pub fn note_size(&mut self, before: SizeClass, after: SizeClass) {
        self.sizes.moved(before, after);
    }

    /// Slots allocated, taken or not.
    pub fn capacity(&self) -> usize {
        self.segments.iter().map(Segment::slots).sum()
    }

    #[inline]
    fn directory_index(&self, hash: u64) -> usize {
        if self.depth == 0 {
            return 0;
        }
        ((hash << self.shard_bits) >> (64 - self.depth)) as usize
    }

    #[inline]
    fn tag(&self, hash: u64, depth: u32) -> usize {
        ((hash << (self.shard_bits + depth)) >> TAG_SHIFT) as usize
    }

    #[inline]
    fn segment_of(&self, hash: u64) -> Option<(u32, &Segment)> {
        let id = match self.depth {
            // The first segment is the only one, if there is one.
            0 => 0,
            _ => *self.directory.get(self.directory_index(hash))?,
        };
        Some((id, self.segments.get(id as usize)?))
    }

    /// Asks the processor for the slots that a lookup of `hash` will read. Where they begin.
    #[inline]
    pub fn prefetch_slots(&self, hash: u64) -> Pos {
        let Some((segment, seg)) = self.segment_of(hash) else {
            return Pos::NOWHERE;
        };
        let slot = seg.prefetch_slots(self.tag(hash, seg.depth)) as u32;
        Pos { segment, slot }
    }

    /// The entry that a lookup of `hash` will compare first, nearly always the one that it finds,
    /// and where it stands. The slots have been asked for, and have come: their search begins at
    /// `from`, which [`Table::prefetch_slots`] gave.
    #[inline]
    pub fn candidate(&self, from: Pos, hash: u64) -> Option<(Pos, EntryRef<'_>)> {
        let segment = from.segment;
        let seg = self.segments.get(segment as usize)?;
        let (slot, entry) = seg.first_of(from.slot as usize, self.tag(hash, seg.depth))?;
        let slot = slot as u32;
        Some((Pos { segment, slot }, entry))
    }

    /// As [`Table::find_entry`], with a look first at where the entry probably stands.
    #[inline]
    pub fn find_entry_near(&self, near: Pos, hash: u64, key: &[u8]) -> Option<(Pos, EntryRef<'_>)> {
        match self.entry(near).filter(|entry| entry.has_key(key)) {
            Some(entry) => Some((near, entry)),
            None => self.find_entry(hash, key),
        }
    }

    /// Where the entry of `key` stands.
    #[inline]
    pub fn find(&self, hash: u64, key: &[u8]) -> Option<Pos> {
        self.find_entry(hash, key).map(|(pos, _)| pos)
    }

    /// The entry of `key`, and where it stands.
    #[inline]
    pub fn find_entry(&self, hash: u64, key: &[u8]) -> Option<(Pos, EntryRef<'_>)> {
        let (segment, seg) = self.segment_of(hash)?;
        let (slot, entry) = seg.find(self.tag(hash, seg.depth), key)?;
        let slot = slot as u32;
        Some((Pos { segment, slot }, entry))
    }

    fn pointer(&self, pos: Pos) -> Option<NonNull<u8>> {
        pointer_of(
            self.segments
                .get(pos.segment as usize)?
                .get(pos.slot as usize),
        )
    }

    /// The entry at a position that [`Table::find`] gave.
    #[inline]
    pub fn entry(&self, pos: Pos) -> Option<EntryRef<'_>> {
        // SAFETY: the table owns the entry and is borrowed.
        self.pointer(pos).map(|p| unsafe { EntryRef::from_raw(p) })
    }

    /// The entry at a position, to be changed in place. Its expiry does not change this way;
    /// whoever changes that of its fields says so by [`Table::note_fields`], and whoever changes
    /// its length by [`Table::note_size`].
    #[inline]
    pub fn entry_mut(&mut self, pos: Pos) -> Option<EntryMut<'_>> {
        // SAFETY: the table owns the entry and is mutably borrowed.
        self.pointer(pos).map(|p| unsafe { EntryMut::from_raw(p) })
    }

    /// Makes the first segment, if there is none.
    #[inline]
    fn begin(&mut self) {
        if self.directory.is_empty() {
            let mut first = Segment::new(0);
            let fits = first.lay_out(&[]);
            debug_assert!(fits, "nothing always fits");
            self.segments.push(first);
            self.directory.push(0);
            self.depth = 0;
        }
    }

    /// Inserts an entry whose key is not in the table.
    pub fn insert(&mut self, hash: u64, entry: Entry) {
        let expire_ms = entry.as_ref().expire_ms();
        let fields_ms = entry.as_ref().next_field_expiry();
        self.begin();
        self.len += 1;
        self.sizes.add(entry.as_ref().size_class());
        if expire_ms.is_some() {
            self.volatile += 1;
        }
        self.timed += usize::from(fields_ms.is_some());
        let mut entry = entry;
        loop {
            let Some((id, seg)) = self.segment_of(hash) else {
                return;
            };
            let tag = self.tag(hash, seg.depth);
            let Some(seg) = self.segments.get_mut(id as usize) else {
                return;
            };
            if !seg.is_full() {
                match seg.insert(tagged(entry, tag)) {
                    Ok(_) => {
                        seg.note_expiry(expire_ms);
                        seg.note_fields(fields_ms);
                        return;
                    }
                    Err(slot) => match pointer_of(slot) {
                        // SAFETY: the slot was made from `entry` just now.
                        Some(p) => entry = unsafe { Entry::from_raw(p) },
                        None => return,
                    },
                }
                if seg.make_way() {
                    continue;
                }
            }
            self.make_room(id);
        }
    }

    /// Gives a segment more slots, or splits it.
    fn make_room(&mut self, id: u32) {
        with_scratch(|sorted| {
            let Some(seg) = self.segments.get_mut(id as usize) else {
                return;
            };
            seg.drain_into(sorted);
            if !seg.lay_out_grown(sorted) {
                self.split(id, sorted);
            }
        });
    }

    /// Splits a segment whose slots have been taken out; a half in which they crowd too much to be
    /// laid out is split again. (Entries that come in hash order, as from SCAN, fill one half to
    /// the brim before the other one gets its first.)
    fn split(&mut self, id: u32, sorted: &mut [Slot]) {
        let Some(seg) = self.segments.get(id as usize) else {
            return;
        };
        let depth = seg.depth + 1;
        let fields_ms = seg.fields_ms;
        let (lower_len, bounds) = retag(sorted, self.shard_bits + depth);
        let new_id = self.segments.len() as u32;
        if self.segments.len() == self.segments.capacity() {
            // There are many tables, and room for twice the segments would be a part of their size.
            self.segments.reserve_exact(new_id as usize / 8 + 1);
        }
        self.segments.push(Segment::new(depth));
        self.point_upper_half(id, new_id, depth);
        let (lower, upper) = sorted.split_at_mut(lower_len);
        for ((half, bound), id) in [lower, upper].into_iter().zip(bounds).zip([id, new_id]) {
            let Some(seg) = self.segments.get_mut(id as usize) else {
                continue;
            };
            seg.depth = depth;
            (seg.volatile, seg.earliest_ms) = bound;
            // Still a lower bound for each half; the next look at it makes it exact.
            seg.fields_ms = fields_ms;
            if !seg.lay_out(half) {
                self.split(id, half);
            }
        }
    }

    /// Points the upper half of the directory places of `id` at `new_id`.
    fn point_upper_half(&mut self, id: u32, new_id: u32, depth: u32) {
        if depth > self.depth {
            debug_assert!(
                depth <= MAX_DEPTH,
                "a directory of 2^26 places has no crowded segment"
            );
            self.directory = self.directory.iter().flat_map(|&d| [d, d]).collect();
            self.depth = depth;
        }
        let span = 1usize << (self.depth - depth);
        if let Some(first) = self.directory.iter().position(|&d| d == id) {
            for d in self.directory.iter_mut().skip(first + span).take(span) {
                *d = new_id;
            }
        }
    }

    /// Takes out the entry at a position.
    pub fn remove(&mut self, pos: Pos) -> Option<Entry> {
        let seg = self.segments.get_mut(pos.segment as usize)?;
        let p = pointer_of(seg.take(pos.slot as usize))?;
        // SAFETY: the slot has been taken out, so the entry is ours alone.
        let entry = unsafe { Entry::from_raw(p) };
        let expire_ms = entry.as_ref().expire_ms();
        self.timed -= usize::from(entry.as_ref().next_field_expiry().is_some());
        seg.forget_expiry(expire_ms);
        seg.tidy();
        self.len -= 1;
        self.sizes.remove(entry.as_ref().size_class());
        if expire_ms.is_some() {
            self.volatile -= 1;
        }
        if self.len == 0 {
            let sizes = std::mem::take(&mut self.sizes);
            *self = Table::new(self.shard_bits);
            // The next key is likely to come soon.
            self.sizes = sizes;
        }
        Some(entry)
    }

    /// Replaces the entry at a position by what `f` makes of it; the key must stay the same, and
    /// whoever changes the value's length tells it by [`Table::note_size`].
    pub fn replace_with(&mut self, pos: Pos, f: impl FnOnce(Entry) -> Entry) {
        let Some(seg) = self.segments.get_mut(pos.segment as usize) else {
            return;
        };
        let slot = seg.get(pos.slot as usize);
        let Some(p) = pointer_of(slot) else { return };
        // SAFETY: the slot is overwritten below before anybody can read it.
        let old = unsafe { Entry::from_raw(p) };
        let before = old.as_ref().expire_ms();
        let fields_before = old.as_ref().next_field_expiry();
        let new = f(old);
        let after = new.as_ref().expire_ms();
        let fields_after = new.as_ref().next_field_expiry();
        seg.put(pos.slot as usize, tagged(new, tag_of(slot)));
        if before != after {
            seg.forget_expiry(before);
            seg.note_expiry(after);
            self.volatile =
                self.volatile + usize::from(after.is_some()) - usize::from(before.is_some());
        }
        self.note_fields(pos, fields_before, fields_after);
    }

    /// Follows the change of the earliest expiry among the fields of the hash at a position.
    pub fn note_fields(&mut self, pos: Pos, before: Option<i64>, after: Option<i64>) {
        if before == after {
            return;
        }
        self.timed += usize::from(after.is_some());
        self.timed -= usize::from(before.is_some());
        if let Some(seg) = self.segments.get_mut(pos.segment as usize) {
            seg.note_fields(after);
        }
    }

    /// Visits entries in hash order from `cursor`, whole groups of equal position at a time,
    /// until `visit` has been called for at least `count` entries. Returns the position to go on
    /// from, `None` at the end. The position is a hash whose low bits are zero.
    pub fn scan(
        &self,
        cursor: u64,
        count: usize,
        mut visit: impl FnMut(EntryRef<'_>),
    ) -> Option<u64> {
        let mut left = count;
        self.walk(cursor, |p| {
            // SAFETY: the slot owns a live entry and the table is borrowed.
            visit(unsafe { EntryRef::from_raw(p) });
            left = left.saturating_sub(1);
            left == 0
        })
    }

    /// As [`Table::scan`], with entries to be changed in place; stops after the group in which
    /// `visit` said `true`.
    pub fn scan_mut(
        &mut self,
        cursor: u64,
        mut visit: impl FnMut(EntryMut<'_>) -> bool,
    ) -> Option<u64> {
        // SAFETY: the slot owns a live entry and the table is mutably borrowed.
        self.walk(cursor, |p| visit(unsafe { EntryMut::from_raw(p) }))
    }

    /// The walk under both scans: `visit` says when enough has been seen.
    fn walk(&self, cursor: u64, mut visit: impl FnMut(NonNull<u8>) -> bool) -> Option<u64> {
        let shard_mask = if self.shard_bits == 0 {
            0
        } else {
            !0u64 << (64 - self.shard_bits)
        };
        let mut enough = false;
        let mut position = cursor;
        loop {
            let (_, seg) = self.segment_of(position)?;
            let shift = self.shard_bits + seg.depth;
            let span = 1u64.checked_shl(64 - shift).unwrap_or(0);
            let prefix = position & !span.wrapping_sub(1);
            let from = self.tag(position, seg.depth);
            let mut last = None;
            for at in seg.home(from)..seg.slots() {
                let slot = seg.get(at);
                seg.prefetch_slot(at + WALK_AHEAD);
                let Some(p) = pointer_of(slot) else { continue };
                let tag = tag_of(slot);
                if tag < from {
                    continue;
                }
                if enough && last != Some(tag) {
                    return Some(prefix | ((tag as u64) << (TAG_SHIFT - shift)));
                }
                enough |= visit(p);
                last = Some(tag);
            }
            let (next, wrapped) = prefix.overflowing_add(span);
            if wrapped || span == 0 || (next & shard_mask) != (cursor & shard_mask) {
                return None;
            }
            position = next;
        }
    }

    /// Bytes of directory and segments, the entries apart.
    pub fn overhead_bytes(&self) -> usize {
        self.directory.capacity() * size_of::<u32>()
            + self.segments.capacity() * size_of::<Segment>()
            + self.segments.iter().map(Segment::bytes).sum::<usize>()
    }
}

impl Drop for Table {
    fn drop(&mut self) {
        for seg in &self.segments {
            for slot in seg.all() {
                if let Some(p) = pointer_of(slot) {
                    // SAFETY: the slot owned the entry, and is gone after this.
                    drop(unsafe { Entry::from_raw(p) });
                }
            }
        }
    }
}

/// Gives slots that are sorted by their tags the tags that begin before bit `shift` from above, one
/// further down, and sorts them by those within each half. How many are in the lower half, and for
/// each half how many entries have an expiry and a lower bound of the earliest.
fn retag(sorted: &mut [Slot], shift: u32) -> (usize, [(u32, i64); 2]) {
    let mut bounds = [(0u32, i64::MAX); 2];
    let mut lower_len = 0;
    for i in 0..sorted.len() {
        segment::prefetch_ahead(sorted, i);
        let Some(old) = sorted.get(i).copied() else {
            break;
        };
        let Some(p) = pointer_of(old) else { continue };
        // SAFETY: the slot owns a live entry.
        let e = unsafe { EntryRef::from_raw(p) };
        let hash = super::hash::of(e.key());
        // What was the tag's first bit says which half, so the halves stand apart already.
        let upper = ((hash << (shift - 1)) >> 63) as usize;
        lower_len += 1 - upper;
        if let (Some(b), Some(at)) = (bounds.get_mut(upper), e.expire_ms()) {
            b.0 += 1;
            b.1 = b.1.min(at);
        }
        let tag = ((hash << shift) >> TAG_SHIFT) as usize;
        let slot = old.map_addr(|a| (a & POINTER_MASK) | (tag << TAG_SHIFT));
        // Only those that had the same tag can stand in the wrong order now, and they are few.
        let half = if upper == 0 { 0 } else { lower_len };
        let mut at = i;
        while at > half
            && let Some(&before) = sorted.get(at - 1)
            && tag_of(before) > tag
        {
            if let Some(place) = sorted.get_mut(at) {
                *place = before;
            }
            at -= 1;
        }
        if let Some(place) = sorted.get_mut(at) {
            *place = slot;
        }
    }
    (lower_len, bounds)
}

#[cfg(test)]
mod tests;

//! One segment of a table: slots in tag order, in chunks of which the last may be a short one.
//!
//! `unsafe` is expected here: a chunk's length follows from its place and the segment's slots, so
//! its pointer alone is kept.

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::cell::Cell;
use std::ptr::{self, NonNull};
use std::slice;

use super::super::entry::{Entry, EntryRef, prefetch};

/// Slots in a whole chunk.
pub(super) const CHUNK_SLOTS: usize = 128;
/// Slots come in multiples of this, which makes the last chunk a multiple of 256 bytes and 1024 at
/// most: exact size classes, whose runs of pages are of one length and so can follow each other.
const STEP_SLOTS: usize = 32;
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
pub(super) const POINTER_MASK: usize = (1 << TAG_SHIFT) - 1;

pub(super) type Slot = *mut u8;

thread_local! {
    /// Where a thread puts the slots of a segment that is laid out anew.
    static SCRATCH: Cell<Vec<Slot>> = const { Cell::new(Vec::new()) };
}

#[cfg(test)]
thread_local! {
    /// How often this thread has laid a segment out.
    pub(super) static LAYOUTS: Cell<usize> = const { Cell::new(0) };
}

/// Gives `f` room for the slots of a segment, which a thread keeps for the next time.
pub(super) fn with_scratch<T>(f: impl FnOnce(&mut Vec<Slot>) -> T) -> T {
    // Without it where a thread ends, or within such an `f`: then there is new room.
    let mut room = SCRATCH.try_with(Cell::take).unwrap_or_default();
    let result = f(&mut room);
    room.clear();
    let _ = SCRATCH.try_with(|scratch| scratch.set(room));
    result
}

#[inline]
pub(super) fn tag_of(slot: Slot) -> usize {
    slot.addr() >> TAG_SHIFT
}

#[inline]
pub(super) fn pointer_of(slot: Slot) -> Option<NonNull<u8>> {
    NonNull::new(slot.map_addr(|a| a & POINTER_MASK))
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

fn chunk_layout(len: usize) -> Layout {
    // SAFETY: a power of two, and at most `CHUNK_SLOTS` slots.
    unsafe { Layout::from_size_align_unchecked(len * size_of::<Slot>(), align_of::<Slot>()) }
}

/// Slots that take so many entries and one more without being crowded.
fn slots_for(len: usize) -> usize {
    let least = ((len + 1) * LOAD_DEN).div_ceil(LOAD_NUM);
    least.next_multiple_of(STEP_SLOTS)
}

/// Slots without which sorted entries have no room: from the home of each on there must be as many
/// as it and those behind it are.
fn least_slots_for(sorted: &[Slot]) -> usize {
    let left = (1..=sorted.len()).rev();
    let least = sorted.iter().zip(left).map(|(&slot, left)| {
        let tag = tag_of(slot);
        // The home of a tag is its share of the slots but for the slack.
        (left << 16).saturating_sub(tag * SLACK) / ((1 << 16) - tag)
    });
    least.max().unwrap_or(0).next_multiple_of(STEP_SLOTS)
}

impl Segment {
    /// A segment without any slots, to be laid out.
    pub(super) fn new(depth: u32) -> Segment {
        Segment {
            chunks: [None; MAX_CHUNKS],
            slots: 0,
            len: 0,
            shrinks_at: u32::MAX,
            depth,
            volatile: 0,
            earliest_ms: i64::MAX,
            fields_ms: i64::MAX,
        }
    }

    /// Gives the segment so many slots. What they hold is anybody's guess.
    fn set_slots(&mut self, slots: usize) {
        let before = self.slots();
        for (i, chunk) in self.chunks.iter_mut().enumerate() {
            let (had, wanted) = (chunk_len(before, i), chunk_len(slots, i));
            if had == wanted {
                continue;
            }
            if let Some(p) = chunk.take() {
                // SAFETY: it was allocated with this length, and nothing points at it.
                unsafe { dealloc(p.as_ptr().cast(), chunk_layout(had)) };
            }
            if wanted > 0 {
                let layout = chunk_layout(wanted);
                // SAFETY: the size is not zero. Zeros are empty slots.
                let p = unsafe { alloc_zeroed(layout) };
                match NonNull::new(p) {
                    Some(p) => *chunk = Some(p.cast()),
                    None => handle_alloc_error(layout),
                }
            }
        }
        self.slots = slots as u32;
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
                    if t > tag {
                        return None;
                    }
                    // SAFETY: a slot that is not null owns a live entry.
                    let entry = unsafe { EntryRef::from_raw(pointer_of(slot)?) };
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
            // SAFETY: a slot that is not null owns a live entry.
            unsafe { EntryRef::from_raw(p) }.prefetch();
        }
    }

    /// Puts `slot` in its place by tag; gives it back if there is no room behind it.
    pub(super) fn insert(&mut self, slot: Slot) -> Result<usize, Slot> {
        let tag = tag_of(slot);
        let at = self.place_for(tag);
        let free = self.free_from(at);
        if free >= self.slots() {
            return Err(slot);
        }
        self.move_up(at, free);
        self.put(at, slot);
        self.len += 1;
        Ok(at)
    }

    /// Where a new slot of this tag goes: the first slot that is empty or has a greater tag. The
    /// number of slots if there is none.
    fn place_for(&self, tag: usize) -> usize {
        let home = self.home(tag);
        let (mut chunk, mut within) = (home / CHUNK_SLOTS, home % CHUNK_SLOTS);
        loop {
            let all = self.chunk(chunk);
            if all.is_empty() {
                return self.slots();
            }
            within = pass_lower(all, within, tag);
            let rest = all.get(within..).unwrap_or_default();
            if let Some(n) = rest.iter().position(|s| s.is_null() || tag_of(*s) > tag) {
                return chunk * CHUNK_SLOTS + within + n;
            }
            chunk += 1;
            within = 0;
        }
    }

    /// The first empty slot from `from` on; the number of slots if there is none.
    fn free_from(&self, from: usize) -> usize {
        let (mut chunk, mut within) = (from / CHUNK_SLOTS, from % CHUNK_SLOTS);
        loop {
            let rest = self.chunk(chunk).get(within..).unwrap_or_default();
            if rest.is_empty() {
                return self.slots();
            }
            // Nearly all are taken: eight at a time, without a look at where they end.
            let (groups, _) = rest.as_chunks::<8>();
            let empty = |group: &[Slot; 8]| group.iter().any(|s| s.is_null());
            let passed = groups.iter().position(empty).unwrap_or(groups.len()) * 8;
            let mut near = rest.iter().skip(passed);
            if let Some(n) = near.position(|s| s.is_null()) {
                return chunk * CHUNK_SLOTS + within + passed + n;
            }
            chunk += 1;
            within = 0;
        }
    }

    /// Moves the slots from `at` up to `free`, which is empty, up by one: within each chunk at
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

    /// Takes out the slot at `at` and closes the gap.
    pub(super) fn take(&mut self, at: usize) -> Slot {
        let taken = self.get(at);
        let end = self.run_end(at + 1);
        self.move_down(at, end);
        self.put(end - 1, ptr::null_mut());
        self.len -= 1;
        taken
    }

    /// The first slot from `from` on that is empty or holds an entry at its home; the number of
    /// slots if there is none.
    fn run_end(&self, from: usize) -> usize {
        let (mut chunk, mut within) = (from / CHUNK_SLOTS, from % CHUNK_SLOTS);
        loop {
            let rest = self.chunk(chunk).get(within..).unwrap_or_default();
            if rest.is_empty() {
                return self.slots();
            }
            let first = chunk * CHUNK_SLOTS + within;
            let ends = |(n, s): (usize, &Slot)| s.is_null() || self.home(tag_of(*s)) == first + n;
            if let Some(n) = rest.iter().enumerate().position(ends) {
                return first + n;
            }
            chunk += 1;
            within = 0;
        }
    }

    /// Moves the slots behind `at` and in front of `end` down by one, within each chunk at once.
    fn move_down(&mut self, at: usize, end: usize) {
        let mut to = at;
        while to + 1 < end {
            let (chunk, within) = (to / CHUNK_SLOTS, to % CHUNK_SLOTS);
            let last = (end - 1).min(chunk * CHUNK_SLOTS + CHUNK_SLOTS - 1);
            if last == to {
                let moved = self.get(to + 1);
                self.put(to, moved);
                to += 1;
                continue;
            }
            self.chunk_mut(chunk)
                .copy_within(within + 1..=last % CHUNK_SLOTS, within);
            to = last;
        }
    }

    /// Moves all slots that are taken to the end of `all`, in tag order. What stays behind is
    /// anybody's guess until the segment is laid out.
    pub(super) fn drain_into(&mut self, all: &mut Vec<Slot>) {
        all.reserve(self.len as usize);
        for i in 0..MAX_CHUNKS {
            // Few slots are empty, so that most go in long runs.
            for taken in self.chunk(i).split(|s| s.is_null()) {
                all.extend_from_slice(taken);
            }
        }
        self.len = 0;
    }

    /// All slots, in tag order, gaps among them.
    pub(super) fn all(&self) -> impl Iterator<Item = Slot> {
        (0..MAX_CHUNKS).flat_map(|i| self.chunk(i).iter().copied())
    }

    /// Lays sorted slots out with room for one more, over more slots than that takes if their tags
    /// crowd. `false` if they crowd so much towards the end that a whole segment has no room behind
    /// their homes; then nothing has been laid out.
    #[must_use]
    pub(super) fn lay_out(&mut self, sorted: &[Slot]) -> bool {
        self.lay_out_over(sorted, slots_for(sorted.len()))
    }

    /// Lays the slots that were drained from a full segment out over more of them. `false` if it
    /// cannot grow; then nothing has been laid out.
    #[must_use]
    pub(super) fn lay_out_grown(&mut self, sorted: &[Slot]) -> bool {
        let slots = self.slots();
        slots < MAX_SLOTS && self.lay_out_over(sorted, slots + STEP_SLOTS)
    }

    /// Gives slots back if the entries would fit into half of them.
    ///
    /// They may not come to much where tags crowd, as those that are left do while somebody removes
    /// keys in the order of a walk. It is tried again when half of these have gone, not for each.
    pub(super) fn shrink(&mut self) {
        if self.len > self.shrinks_at || !self.is_sparse() {
            return;
        }
        with_scratch(|sorted| {
            self.drain_into(sorted);
            let fits = self.lay_out(sorted);
            debug_assert!(fits, "they fit into the slots they were in");
        });
        if self.is_sparse() {
            self.shrinks_at = self.len / 2;
        }
    }

    fn is_sparse(&self) -> bool {
        self.slots() > 2 * STEP_SLOTS && self.len as usize * 2 + 2 * STEP_SLOTS < self.slots()
    }

    fn lay_out_over(&mut self, sorted: &[Slot], slots: usize) -> bool {
        #[cfg(test)]
        LAYOUTS.set(LAYOUTS.get() + 1);
        let mut slots = slots.min(MAX_SLOTS);
        loop {
            self.set_slots(slots);
            if self.place(sorted) {
                self.len = sorted.len() as u32;
                self.shrinks_at = u32::MAX;
                return true;
            }
            if slots == MAX_SLOTS {
                for i in 0..MAX_CHUNKS {
                    self.chunk_mut(i).fill(ptr::null_mut());
                }
                return false;
            }
            slots = (slots + STEP_SLOTS).max(least_slots_for(sorted));
            slots = slots.min(MAX_SLOTS);
        }
    }

    /// Puts sorted slots where they belong, and nothing elsewhere. `false` if there is no room.
    fn place(&mut self, sorted: &[Slot]) -> bool {
        let scale = self.slots() - SLACK;
        let mut rest = sorted;
        let mut next = 0;
        for i in 0..self.slots().div_ceil(CHUNK_SLOTS) {
            let first = i * CHUNK_SLOTS;
            let chunk = self.chunk_mut(i);
            chunk.fill(ptr::null_mut());
            let mut placed = 0;
            for &slot in rest {
                let at = ((tag_of(slot) * scale) >> 16).max(next);
                let Some(place) = chunk.get_mut(at - first) else {
                    break;
                };
                *place = slot;
                next = at + 1;
                placed += 1;
            }
            rest = rest.get(placed..).unwrap_or_default();
        }
        rest.is_empty()
    }

    /// Lays the slots out for so many entries, if there is less room, and if they can be.
    pub(super) fn widen(&mut self, len: usize) {
        let (before, wanted) = (self.slots(), slots_for(len).min(MAX_SLOTS));
        if wanted <= before {
            return;
        }
        with_scratch(|sorted| {
            self.drain_into(sorted);
            let fits = self.lay_out_over(sorted, wanted) || self.lay_out_over(sorted, before);
            debug_assert!(fits, "they fit into the slots they were in");
        });
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

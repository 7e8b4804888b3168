//! Laying the slots of a segment out: how many there are, and where entries stand that come sorted.
//!
//! Tombstones are gone after it.

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::cell::Cell;
use std::ptr::{self, NonNull};

use super::{
    CHUNK_SLOTS, LOAD_DEN, LOAD_NUM, MAX_CHUNKS, MAX_SLOTS, SLACK, Segment, Slot, chunk_len,
    is_vacant, tag_of,
};

/// Slots come in multiples of this, which makes the last chunk a multiple of 256 bytes and 1024 at
/// most: exact size classes, whose runs of pages are of one length and so can follow each other.
const STEP_SLOTS: usize = 32;
/// A segment is laid out anew when more than one of so many slots is a tombstone: then that costs
/// each removal a few slots, and a search passes over few that serve nobody. It grows by as much
/// at most to have room for them.
const TOMBSTONE_SHARE: usize = 8;

thread_local! {
    /// Where a thread puts the slots of a segment that is laid out anew.
    static SCRATCH: Cell<Vec<Slot>> = const { Cell::new(Vec::new()) };
}

#[cfg(test)]
thread_local! {
    /// How often this thread has laid a segment out.
    pub(in crate::keyspace::table) static LAYOUTS: Cell<usize> = const { Cell::new(0) };
}

/// Gives `f` room for the slots of a segment, which a thread keeps for the next time.
pub(in crate::keyspace::table) fn with_scratch<T>(f: impl FnOnce(&mut Vec<Slot>) -> T) -> T {
    // Without it where a thread ends, or within such an `f`: then there is new room.
    let mut room = SCRATCH.try_with(Cell::take).unwrap_or_default();
    let result = f(&mut room);
    room.clear();
    let _ = SCRATCH.try_with(|scratch| scratch.set(room));
    result
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
    /// Gives the segment so many slots. What they hold is anybody's guess.
    pub(super) fn set_slots(&mut self, slots: usize) {
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

    /// Moves all slots that have an entry to the end of `all`, in tag order. What stays behind is
    /// anybody's guess until the segment is laid out.
    pub(in crate::keyspace::table) fn drain_into(&mut self, all: &mut Vec<Slot>) {
        all.reserve(self.len as usize);
        for i in 0..MAX_CHUNKS {
            // Few slots are empty, so that most go in long runs.
            for taken in self.chunk(i).split(|s| is_vacant(*s)) {
                all.extend_from_slice(taken);
            }
        }
        self.len = 0;
        self.tombstones = 0;
    }

    /// Lays sorted slots out with room for one more, over more slots than that takes if their tags
    /// crowd. `false` if they crowd so much towards the end that a whole segment has no room behind
    /// their homes; then nothing has been laid out.
    #[must_use]
    pub(in crate::keyspace::table) fn lay_out(&mut self, sorted: &[Slot]) -> bool {
        self.lay_out_over(sorted, slots_for(sorted.len()))
    }

    /// Rids the segment of its tombstones, where there is no room behind some place, and gives it
    /// more slots for those to come. `false` if there was none, and so nothing was done.
    pub(in crate::keyspace::table) fn make_way(&mut self) -> bool {
        let len = self.len as usize;
        self.clear_tombstones(slots_for(len + len / TOMBSTONE_SHARE))
    }

    /// Rids the segment of its tombstones, and lets it grow by a step if it has fewer slots than
    /// this. `false` if there was none, and so nothing was done.
    fn clear_tombstones(&mut self, enough: usize) -> bool {
        if self.tombstones == 0 {
            return false;
        }
        let (before, shrinks_at) = (self.slots(), self.shrinks_at);
        let slots = before.max((before + STEP_SLOTS).min(enough));
        self.lay_out_again(|seg, sorted| seg.lay_out_over(sorted, slots));
        self.shrinks_at = shrinks_at;
        true
    }

    /// Takes the entries out and has them laid out by `f`.
    fn lay_out_again(&mut self, f: impl FnOnce(&mut Segment, &[Slot]) -> bool) {
        with_scratch(|sorted| {
            self.drain_into(sorted);
            let fits = f(self, sorted);
            debug_assert!(fits, "they fit into the slots they were in");
        });
    }

    /// Lays the slots that were drained from a full segment out over more of them. `false` if it
    /// cannot grow; then nothing has been laid out.
    #[must_use]
    pub(in crate::keyspace::table) fn lay_out_grown(&mut self, sorted: &[Slot]) -> bool {
        let slots = self.slots();
        slots < MAX_SLOTS && self.lay_out_over(sorted, slots + STEP_SLOTS)
    }

    /// What is to do when an entry has been taken out: gives slots back if the entries would fit
    /// into half of them, and clears tombstones away if they are many.
    ///
    /// Giving back may not come to much where tags crowd, as those that are left do while somebody
    /// removes keys in the order of a walk. It is tried again when half of these have gone, not for
    /// each.
    #[inline]
    pub(in crate::keyspace::table) fn tidy(&mut self) {
        if self.len <= self.shrinks_at && self.is_sparse() {
            self.lay_out_again(Segment::lay_out);
            if self.is_sparse() {
                self.shrinks_at = self.len / 2;
            }
        } else if self.tombstones as usize * TOMBSTONE_SHARE > self.slots() {
            self.clear_tombstones(0);
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
    pub(in crate::keyspace::table) fn widen(&mut self, len: usize) {
        let (before, wanted) = (self.slots(), slots_for(len).min(MAX_SLOTS));
        if wanted <= before {
            return;
        }
        self.lay_out_again(|seg, sorted| {
            seg.lay_out_over(sorted, wanted) || seg.lay_out_over(sorted, before)
        });
    }
}

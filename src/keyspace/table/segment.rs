//! One segment of a table: slots in tag order, grown chunk by chunk.

use std::ptr::{self, NonNull};

use super::super::entry::{Entry, EntryRef, prefetch};

/// Slots in a chunk; a chunk is 512 bytes, an exact size class.
pub(super) const CHUNK_SLOTS: usize = 64;
/// Chunks in a segment that is about to split.
pub(super) const MAX_CHUNKS: usize = 32;
/// Slots behind the last home, for what robin-hood order pushes over the end.
const SLACK: usize = 16;
/// A segment grows when more than 19 of 20 slots are taken.
const LOAD_NUM: usize = 19;
const LOAD_DEN: usize = 20;

pub(super) const TAG_SHIFT: u32 = 48;
pub(super) const POINTER_MASK: usize = (1 << TAG_SHIFT) - 1;

pub(super) type Slot = *mut u8;
pub(super) type Chunk = [Slot; CHUNK_SLOTS];

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

/// A stretch of the hash space: its slots in tag order.
pub(super) struct Segment {
    pub(super) chunks: [Option<Box<Chunk>>; MAX_CHUNKS],
    pub(super) chunk_count: u32,
    pub(super) len: u32,
    /// Bits of the hash, behind the shard's, that all entries here share.
    pub(super) depth: u32,
    /// Entries that have an expiry.
    pub(super) volatile: u32,
    /// No entry here expires before this instant, Unix milliseconds.
    pub(super) earliest_ms: i64,
    /// No field of a hash here expires before this instant, Unix milliseconds.
    pub(super) fields_ms: i64,
}

const EMPTY_CHUNK: Chunk = [ptr::null_mut(); CHUNK_SLOTS];

impl Segment {
    pub(super) fn new(depth: u32, chunk_count: usize) -> Segment {
        let mut chunks = [const { None }; MAX_CHUNKS];
        for c in chunks.iter_mut().take(chunk_count) {
            *c = Some(Box::new(EMPTY_CHUNK));
        }
        Segment {
            chunks,
            chunk_count: chunk_count as u32,
            len: 0,
            depth,
            volatile: 0,
            earliest_ms: i64::MAX,
            fields_ms: i64::MAX,
        }
    }

    /// Whether one more entry would crowd the slots.
    #[inline]
    pub(super) fn is_full(&self) -> bool {
        (self.len as usize + 1) * LOAD_DEN > self.slots() * LOAD_NUM
    }

    #[inline]
    pub(super) fn slots(&self) -> usize {
        self.chunk_count as usize * CHUNK_SLOTS
    }

    #[inline]
    pub(super) fn home(&self, tag: usize) -> usize {
        (tag * (self.slots() - SLACK)) >> 16
    }

    #[inline]
    pub(super) fn get(&self, at: usize) -> Slot {
        match self.chunks.get(at / CHUNK_SLOTS) {
            Some(Some(c)) => c.get(at % CHUNK_SLOTS).copied().unwrap_or(ptr::null_mut()),
            _ => ptr::null_mut(),
        }
    }

    #[inline]
    pub(super) fn put(&mut self, at: usize, slot: Slot) {
        if let Some(Some(c)) = self.chunks.get_mut(at / CHUNK_SLOTS)
            && let Some(s) = c.get_mut(at % CHUNK_SLOTS)
        {
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
        let mut at = home;
        let mut chunk = at / CHUNK_SLOTS;
        let mut within = at % CHUNK_SLOTS;
        while let Some(Some(c)) = self.chunks.get(chunk) {
            for &slot in c.get(within..).unwrap_or_default() {
                let t = tag_of(slot);
                if t >= tag {
                    if t > tag {
                        return None;
                    }
                    // SAFETY: a slot that is not null owns a live entry.
                    let entry = unsafe { EntryRef::from_raw(pointer_of(slot)?) };
                    if wanted(entry) {
                        return Some((at, entry));
                    }
                } else if slot.is_null() {
                    return None;
                }
                at += 1;
            }
            chunk += 1;
            within = 0;
        }
        None
    }

    /// Asks for the slots that a lookup of `tag` begins with. The first of them.
    #[inline]
    pub(super) fn prefetch_slots(&self, tag: usize) -> usize {
        let at = self.home(tag);
        if let Some(Some(c)) = self.chunks.get(at / CHUNK_SLOTS)
            && let Some(s) = c.get(at % CHUNK_SLOTS)
        {
            prefetch(ptr::from_ref(s).cast(), 1);
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
        let mut at = self.home(tag);
        let end = self.slots();
        loop {
            if at >= end {
                return Err(slot);
            }
            let here = self.get(at);
            if here.is_null() || tag_of(here) > tag {
                break;
            }
            at += 1;
        }
        let mut free = at;
        while !self.get(free).is_null() {
            free += 1;
            if free >= end {
                return Err(slot);
            }
        }
        self.move_up(at, free);
        self.put(at, slot);
        self.len += 1;
        Ok(at)
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
            if let Some(Some(c)) = self.chunks.get_mut(chunk) {
                let first = from % CHUNK_SLOTS;
                c.copy_within(first..within, first + 1);
            }
            to = from;
        }
    }

    /// Takes out the slot at `at` and closes the gap.
    pub(super) fn take(&mut self, at: usize) -> Slot {
        let taken = self.get(at);
        let mut gap = at;
        let end = self.slots();
        loop {
            let next = gap + 1;
            if next >= end {
                break;
            }
            let s = self.get(next);
            if s.is_null() || self.home(tag_of(s)) == next {
                break;
            }
            self.put(gap, s);
            gap = next;
        }
        self.put(gap, ptr::null_mut());
        self.len -= 1;
        taken
    }

    /// All slots, in tag order.
    pub(super) fn drain(&mut self) -> Vec<Slot> {
        let mut all = Vec::with_capacity(self.len as usize);
        for c in self.chunks.iter_mut().flatten() {
            for s in c.iter_mut() {
                if !s.is_null() {
                    all.push(*s);
                    *s = ptr::null_mut();
                }
            }
        }
        self.len = 0;
        all
    }

    /// Lays sorted slots out over `chunk_count` chunks, or more if their tags crowd. `false` if
    /// they crowd so much towards the end that a whole segment has no room behind their homes;
    /// then nothing has been laid out.
    #[must_use]
    pub(super) fn lay_out(&mut self, sorted: &[Slot], chunk_count: usize) -> bool {
        let mut count = chunk_count.clamp(1, MAX_CHUNKS);
        loop {
            for (i, c) in self.chunks.iter_mut().enumerate() {
                if i >= count {
                    *c = None;
                } else if let Some(c) = c {
                    **c = EMPTY_CHUNK;
                } else {
                    *c = Some(Box::new(EMPTY_CHUNK));
                }
            }
            self.chunk_count = count as u32;
            if self.place(sorted) {
                self.len = sorted.len() as u32;
                return true;
            }
            if count == MAX_CHUNKS {
                self.drain();
                return false;
            }
            count += 1;
        }
    }

    /// Puts sorted slots into empty chunks. `false` as soon as one finds no room.
    fn place(&mut self, sorted: &[Slot]) -> bool {
        let mut next = 0;
        for &s in sorted {
            let at = self.home(tag_of(s)).max(next);
            if at >= self.slots() {
                return false;
            }
            self.put(at, s);
            next = at + 1;
        }
        true
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

pub(super) fn chunks_for(len: usize) -> usize {
    (len * LOAD_DEN).div_ceil(LOAD_NUM * CHUNK_SLOTS).max(1)
}

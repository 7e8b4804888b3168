//! Looks at a table that follow no key: what is due, and entries by chance.

use super::super::entry::EntryRef;
use super::segment::{MAX_SLOTS, pointer_of};
use super::{Table, WALK_AHEAD};

impl Table {
    /// The entries that are due at `now_ms`, from segment `from` on: calls `due` for each, until
    /// `budget` segments with something due have been looked at. Returns the segment to go on
    /// from, 0 at the end. What is reported is not reported again: the caller removes it.
    pub fn expired(
        &mut self,
        now_ms: i64,
        from: usize,
        budget: usize,
        mut due: impl FnMut(&[u8], i64),
    ) -> usize {
        let mut looked = 0;
        let mut id = from;
        while let Some(seg) = self.segments.get_mut(id) {
            id += 1;
            if seg.volatile == 0 || seg.earliest_ms > now_ms {
                continue;
            }
            let mut earliest = i64::MAX;
            for at in 0..seg.slots() {
                seg.prefetch_slot(at + WALK_AHEAD);
                let Some(p) = pointer_of(seg.get(at)) else {
                    continue;
                };
                // SAFETY: the slot owns a live entry.
                let e = unsafe { EntryRef::from_raw(p) };
                match e.expire_ms() {
                    Some(at) if at <= now_ms => due(e.key(), at),
                    Some(at) => earliest = earliest.min(at),
                    None => {}
                }
            }
            seg.earliest_ms = earliest;
            looked += 1;
            if looked >= budget {
                return id;
            }
        }
        0
    }

    /// As [`Table::expired`], for the hashes of which a field is due; `due` is told since when.
    /// They are reported again until the caller has removed what is due.
    pub fn with_due_fields(
        &mut self,
        now_ms: i64,
        from: usize,
        budget: usize,
        mut due: impl FnMut(i64, &[u8]),
    ) -> usize {
        if self.timed == 0 {
            return 0;
        }
        let mut looked = 0;
        let later = self.segments.iter_mut().enumerate().skip(from);
        for (id, seg) in later.filter(|(_, seg)| seg.fields_ms <= now_ms) {
            let mut earliest = i64::MAX;
            for p in (0..seg.slots()).filter_map(|at| pointer_of(seg.get(at))) {
                // SAFETY: the slot owns a live entry.
                let e = unsafe { EntryRef::from_raw(p) };
                let Some(at) = e.next_field_expiry() else {
                    continue;
                };
                earliest = earliest.min(at);
                if at <= now_ms {
                    due(at, e.key());
                }
            }
            seg.fields_ms = earliest;
            looked += 1;
            if looked >= budget {
                return id + 1;
            }
        }
        0
    }

    /// A random entry with an expiry; `random(n)` gives a number below `n`. Not each has the same
    /// chance: those behind a stretch without any have more.
    pub fn random_volatile(&self, mut random: impl FnMut(u64) -> u64) -> Option<EntryRef<'_>> {
        if self.volatile == 0 {
            return None;
        }
        let first = random(self.segments.len() as u64) as usize;
        let (before, after) = self.segments.split_at_checked(first)?;
        let seg = after.iter().chain(before).find(|seg| seg.volatile > 0)?;
        let slots = seg.slots();
        let from = random(slots as u64) as usize;
        let mut entries = (from..slots).chain(0..from).filter_map(|at| {
            let p = pointer_of(seg.get(at))?;
            // SAFETY: the slot owns a live entry and the table is borrowed.
            Some(unsafe { EntryRef::from_raw(p) })
        });
        entries.find(|e| e.expire_ms().is_some())
    }

    /// A random entry, each with the same chance; `random(n)` gives a number below `n`.
    pub fn random(&self, mut random: impl FnMut(u64) -> u64) -> Option<EntryRef<'_>> {
        /// Draws that come to nothing, with few entries in much room, before slots are counted.
        const DRAWS: usize = 64;
        if self.len == 0 {
            return None;
        }
        let drawn = (0..DRAWS).find_map(|_| self.draw(&mut random));
        drawn.or_else(|| self.random_by_count(random))
    }

    /// A random entry, by the directory. Each has the same chance, and there is one that none is
    /// hit.
    fn draw(&self, random: &mut impl FnMut(u64) -> u64) -> Option<EntryRef<'_>> {
        let (id, slots) = match self.depth {
            0 => (0, self.segments.first()?.slots()),
            depth => (*self.directory.get(random(1 << depth) as usize)?, MAX_SLOTS),
        };
        let seg = self.segments.get(id as usize)?;
        // One that is less deep has the more places in the directory.
        if random(1 << self.depth.saturating_sub(seg.depth)) != 0 {
            return None;
        }
        let p = pointer_of(seg.get(random(slots as u64) as usize))?;
        // SAFETY: the slot owns a live entry and the table is borrowed.
        Some(unsafe { EntryRef::from_raw(p) })
    }

    /// A random entry, each with the same chance, by the number of its slot among all.
    fn random_by_count(&self, mut random: impl FnMut(u64) -> u64) -> Option<EntryRef<'_>> {
        let slots = self.capacity() as u64;
        loop {
            let mut at = random(slots) as usize;
            for seg in &self.segments {
                if at >= seg.slots() {
                    at -= seg.slots();
                    continue;
                }
                if let Some(p) = pointer_of(seg.get(at)) {
                    // SAFETY: the slot owns a live entry and the table is borrowed.
                    return Some(unsafe { EntryRef::from_raw(p) });
                }
                break;
            }
        }
    }

    /// Sum of the expiries of at most `most` entries and their number, for an average. Looks at a
    /// few segments for one that has any, and at a few slots of that.
    pub fn sample_expiries(&self, most: usize) -> (i128, u64) {
        const SEGMENTS: usize = 16;
        const SLOTS: usize = 256;
        let mut segments = self.segments.iter().take(SEGMENTS);
        let Some(seg) = segments.find(|seg| seg.volatile > 0) else {
            return (0, 0);
        };
        (0..seg.slots().min(SLOTS))
            .filter_map(|at| pointer_of(seg.get(at)))
            // SAFETY: the slot owns a live entry and the table is borrowed.
            .filter_map(|p| unsafe { EntryRef::from_raw(p) }.expire_ms())
            .take(most)
            .fold((0, 0), |(sum, n), ms| (sum + i128::from(ms), n + 1))
    }
}

//! A consistent picture of the whole keyspace without stopping it and without `fork`.
//!
//! 1. [`Keyspace::snapshot`] takes all shard locks for an instant, flips the mark that says
//!    "captured", lets the caller note what belongs to that instant (the oplog's offset), and
//!    lets go.
//! 2. Whoever is about to change or remove an entry that lacks the mark copies it first (a handle
//!    where the value is large); an emptied database goes to the snapshot whole.
//! 3. [`Snapshot::next`] walks shard by shard in hash order, in steps of a few kilobytes under the
//!    lock, and hands out what it captured. In between it fetches what writers captured in the
//!    shards that the walk has not reached, so that their copies do not pile up.
//!
//! Each entry of the instant comes exactly once, in no particular order of databases; entries
//! made later never come. One snapshot runs at a time; a second one is refused. Dropping an
//! unfinished snapshot walks on without copying, so that the marks agree again.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::locks::{Keyspace, SHARD_BITS, SHARDS, ShardMask};
use super::shard::Captured;
use super::table::Table;

/// Bytes copied under a shard's lock in one step: some microseconds for which a client that
/// needs the shard waits.
const STEP_BYTES: usize = 8 * 1024;
/// After so many steps the captures of one further shard are fetched.
const STEPS_A_SWEEP: u32 = 8;

/// Whether a snapshot runs.
#[derive(Default)]
pub struct Registry {
    running: AtomicBool,
}

/// A snapshot is running already.
#[derive(Debug, thiserror::Error)]
#[error("a snapshot is already in progress")]
pub struct Busy;

/// Keys of a database at the snapshot's instant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DbSize {
    /// All keys.
    pub keys: usize,
    /// Keys with an expiry.
    pub volatile: usize,
    /// Hashes with fields that have an expiry.
    pub timed: usize,
}

/// A running snapshot.
pub struct Snapshot {
    keyspace: Arc<Keyspace>,
    sizes: Vec<DbSize>,
    dirty: u64,
    shard: usize,
    label: usize,
    position: u64,
    flushed: Vec<FlushedTable>,
    steps: u32,
    /// The shard whose captures were fetched last.
    swept: usize,
}

/// A table that was emptied while the snapshot ran.
struct FlushedTable {
    label: usize,
    table: Table,
    position: u64,
    mark: bool,
}

fn first_position(shard: usize) -> u64 {
    (shard as u64) << (64 - SHARD_BITS)
}

impl Keyspace {
    /// Begins a snapshot of this instant. `at_instant` runs while every shard is locked.
    ///
    /// # Errors
    /// [`Busy`] while another snapshot runs.
    pub fn snapshot<T>(
        self: &Arc<Self>,
        at_instant: impl FnOnce() -> T,
    ) -> Result<(Snapshot, T), Busy> {
        if self.snapshot.running.swap(true, Ordering::AcqRel) {
            return Err(Busy);
        }
        let mut sizes = vec![DbSize::default(); self.databases()];
        let mut locked = self.lock(ShardMask::ALL);
        for i in 0..SHARDS {
            let Some(shard) = locked.shard(i) else {
                continue;
            };
            shard.begin_snapshot();
            for (n, size) in sizes.iter_mut().enumerate() {
                if let Some(d) = shard.db(n) {
                    size.keys += d.table.len();
                    size.volatile += d.table.volatile_len();
                    size.timed += d.table.timed_len();
                }
            }
        }
        let noted = at_instant();
        let dirty = self.dirty();
        drop(locked);
        let snapshot = Snapshot {
            keyspace: Arc::clone(self),
            sizes,
            dirty,
            shard: 0,
            label: 0,
            position: first_position(0),
            flushed: Vec::new(),
            steps: 0,
            swept: 0,
        };
        Ok((snapshot, noted))
    }

    /// Takes over all the data of `new`, and gives back its own, to be freed. Waits for a snapshot
    /// to end: the marks of both sets of entries must agree.
    pub fn replace_with(&self, new: Keyspace) -> Vec<Table> {
        while self.snapshot.running.swap(true, Ordering::AcqRel) {
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        let mut old = Vec::new();
        let mut mine = self.lock(ShardMask::ALL);
        let mut theirs = new.lock(ShardMask::ALL);
        for i in 0..SHARDS {
            if let (Some(mine), Some(theirs)) = (mine.shard(i), theirs.shard(i)) {
                mine.replace_with(theirs, SHARD_BITS, &mut old);
            }
        }
        drop((mine, theirs));
        self.snapshot.running.store(false, Ordering::Release);
        old
    }

    /// Whether a snapshot runs.
    pub fn snapshot_running(&self) -> bool {
        self.snapshot.running.load(Ordering::Acquire)
    }
}

impl Snapshot {
    /// Keys of each database at the instant.
    pub fn sizes(&self) -> &[DbSize] {
        &self.sizes
    }

    /// Changes since the last save, as counted at the instant.
    pub fn dirty(&self) -> u64 {
        self.dirty
    }

    /// Appends the next captured entries to `out`; `false` when everything has been given.
    /// A call that returns `true` may have appended nothing.
    pub fn next(&mut self, out: &mut Vec<Captured>) -> bool {
        if let Some(f) = self.flushed.last_mut() {
            if !f.step(out) {
                self.flushed.pop();
            }
            return true;
        }
        if self.shard >= SHARDS {
            return false;
        }
        self.sweep(out);
        let first = first_position(self.shard);
        let mut locked = self.keyspace.lock(ShardMask::only(self.shard)).giving_way();
        let Some(shard) = locked.shard(self.shard) else {
            return false;
        };
        match shard.snapshot_step(self.label, self.position, STEP_BYTES, out) {
            Some(position) => self.position = position,
            None => {
                self.label += 1;
                self.position = first;
            }
        }
        let mark = shard.mark();
        let (captures, tables) = shard.take_captures();
        if self.label >= self.sizes.len() {
            shard.end_snapshot();
            self.shard += 1;
            self.label = 0;
            self.position = first_position(self.shard % SHARDS);
        }
        drop(locked);
        out.extend(captures);
        self.keep(tables, first, mark);
        true
    }

    /// Now and then fetches what writers captured in the next shard that is still to be walked.
    fn sweep(&mut self, out: &mut Vec<Captured>) {
        self.steps += 1;
        if !self.steps.is_multiple_of(STEPS_A_SWEEP) {
            return;
        }
        self.swept += 1;
        if self.swept <= self.shard || self.swept >= SHARDS {
            self.swept = self.shard + 1;
        }
        let mut locked = self.keyspace.lock(ShardMask::only(self.swept % SHARDS));
        let Some(shard) = locked.shard(self.swept % SHARDS) else {
            return;
        };
        let mark = shard.mark();
        let (captures, tables) = shard.take_captures();
        drop(locked);
        out.extend(captures);
        self.keep(tables, first_position(self.swept % SHARDS), mark);
    }

    fn keep(&mut self, tables: Vec<(usize, Table)>, position: u64, mark: bool) {
        let kept = tables.into_iter().map(|(label, table)| FlushedTable {
            label,
            table,
            position,
            mark,
        });
        self.flushed.extend(kept);
    }
}

impl FlushedTable {
    fn step(&mut self, out: &mut Vec<Captured>) -> bool {
        let mut copied = 0;
        let (label, mark) = (self.label, self.mark);
        let next = self.table.scan_mut(self.position, |e| {
            if e.as_ref().mark() != mark {
                let c = Captured::of(label, e.as_ref());
                copied += c.copied_bytes();
                out.push(c);
            }
            copied >= STEP_BYTES
        });
        match next {
            Some(position) => {
                self.position = position;
                true
            }
            None => false,
        }
    }
}

impl Drop for Snapshot {
    fn drop(&mut self) {
        let mut out = Vec::new();
        while self.next(&mut out) {
            out.clear();
            self.flushed.clear();
        }
        self.keyspace
            .snapshot
            .running
            .store(false, Ordering::Release);
    }
}

#[cfg(test)]
mod concurrent;
#[cfg(test)]
mod tests;

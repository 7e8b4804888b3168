//! What commands cost: one set of counters for each worker, written by it alone, added up by
//! whoever asks.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;

/// Buckets of a latency histogram: bucket `n` counts calls of `2^n` to `2^(n+1)` nanoseconds.
pub const LATENCY_BUCKETS: usize = 40;

/// Counters of one command on one worker.
#[derive(Debug)]
pub struct CommandCounters {
    /// Calls that ran.
    pub calls: AtomicU64,
    /// Nanoseconds they took.
    pub nanos: AtomicU64,
    /// Calls refused before they ran (arity, rights, state of the server).
    pub rejected: AtomicU64,
    /// Calls that ran and replied with an error.
    pub failed: AtomicU64,
    /// Calls by duration.
    pub latency: [AtomicU32; LATENCY_BUCKETS],
}

impl Default for CommandCounters {
    fn default() -> Self {
        CommandCounters {
            calls: AtomicU64::new(0),
            nanos: AtomicU64::new(0),
            rejected: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            latency: [const { AtomicU32::new(0) }; LATENCY_BUCKETS],
        }
    }
}

/// Adds to a counter that only this worker writes: a load and a store, no locked instruction.
#[inline]
pub fn bump(counter: &AtomicU64, by: u64) {
    counter.store(
        counter.load(Ordering::Relaxed).wrapping_add(by),
        Ordering::Relaxed,
    );
}

impl CommandCounters {
    /// Counts a call that ran, by its duration as well if it is `tracked`.
    #[inline]
    pub fn ran(&self, nanos: u64, failed: bool, tracked: bool) {
        bump(&self.calls, 1);
        bump(&self.nanos, nanos);
        if failed {
            bump(&self.failed, 1);
        }
        if tracked && let Some(b) = self.bucket(nanos) {
            b.store(b.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
        }
    }

    #[inline]
    fn bucket(&self, nanos: u64) -> Option<&AtomicU32> {
        let bucket = (63 - (nanos | 1).leading_zeros()) as usize;
        self.latency.get(bucket.min(LATENCY_BUCKETS - 1))
    }

    fn reset(&self) {
        for c in [&self.calls, &self.nanos, &self.rejected, &self.failed] {
            c.store(0, Ordering::Relaxed);
        }
        for b in &self.latency {
            b.store(0, Ordering::Relaxed);
        }
    }
}

/// Counters of one worker.
#[derive(Debug)]
pub struct WorkerStats {
    /// By command id.
    pub commands: Vec<CommandCounters>,
    /// Reads that found their key.
    pub hits: AtomicU64,
    /// Reads that did not.
    pub misses: AtomicU64,
    /// Keys that were due and removed.
    pub expired: AtomicU64,
    /// Fields of hashes that were due and removed.
    pub expired_fields: AtomicU64,
    /// Commands processed.
    pub processed: AtomicU64,
    /// Bytes read from clients.
    pub bytes_in: AtomicU64,
    /// Bytes written to clients.
    pub bytes_out: AtomicU64,
    /// Error replies.
    pub errors: AtomicU64,
    /// Times that something was read from a client and what was complete of it ran.
    pub cycles: AtomicU64,
    /// Times that something was written to a client.
    pub writes: AtomicU64,
    /// Most commands that ran at once.
    pub longest_batch: AtomicU64,
    /// Number of the thread that serves clients, if it is one's.
    pub thread: AtomicU32,
}

impl WorkerStats {
    fn new(commands: usize) -> WorkerStats {
        WorkerStats {
            commands: (0..commands).map(|_| CommandCounters::default()).collect(),
            hits: AtomicU64::new(0),
            misses: AtomicU64::new(0),
            expired: AtomicU64::new(0),
            expired_fields: AtomicU64::new(0),
            processed: AtomicU64::new(0),
            bytes_in: AtomicU64::new(0),
            bytes_out: AtomicU64::new(0),
            errors: AtomicU64::new(0),
            cycles: AtomicU64::new(0),
            writes: AtomicU64::new(0),
            longest_batch: AtomicU64::new(0),
            thread: AtomicU32::new(u32::MAX),
        }
    }

    fn counters(&self) -> [&AtomicU64; 10] {
        [
            &self.hits,
            &self.misses,
            &self.expired,
            &self.expired_fields,
            &self.processed,
            &self.bytes_in,
            &self.bytes_out,
            &self.errors,
            &self.cycles,
            &self.writes,
        ]
    }
}

/// One command's sums over all workers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CommandTotals {
    /// See [`CommandCounters::calls`].
    pub calls: u64,
    /// See [`CommandCounters::nanos`].
    pub nanos: u64,
    /// See [`CommandCounters::rejected`].
    pub rejected: u64,
    /// See [`CommandCounters::failed`].
    pub failed: u64,
}

/// Sums over all workers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// See [`WorkerStats::hits`].
    pub hits: u64,
    /// See [`WorkerStats::misses`].
    pub misses: u64,
    /// See [`WorkerStats::expired`].
    pub expired: u64,
    /// See [`WorkerStats::expired_fields`].
    pub expired_fields: u64,
    /// See [`WorkerStats::processed`].
    pub processed: u64,
    /// See [`WorkerStats::bytes_in`].
    pub bytes_in: u64,
    /// See [`WorkerStats::bytes_out`].
    pub bytes_out: u64,
    /// See [`WorkerStats::errors`].
    pub errors: u64,
    /// See [`WorkerStats::cycles`].
    pub cycles: u64,
    /// See [`WorkerStats::writes`].
    pub writes: u64,
}

/// What the rounds of cron cost.
#[derive(Debug, Default)]
pub struct CronCounters {
    /// Rounds.
    pub rounds: AtomicU64,
    /// Nanoseconds they took.
    pub nanos: AtomicU64,
    /// Nanoseconds that the longest took.
    pub longest_nanos: AtomicU64,
}

impl CronCounters {
    /// Counts a round.
    pub fn ran(&self, nanos: u64) {
        self.rounds.fetch_add(1, Ordering::Relaxed);
        self.nanos.fetch_add(nanos, Ordering::Relaxed);
        self.longest_nanos.fetch_max(nanos, Ordering::Relaxed);
    }

    fn reset(&self) {
        for n in [&self.rounds, &self.nanos, &self.longest_nanos] {
            n.store(0, Ordering::Relaxed);
        }
    }
}

/// The counters of all workers, and what is counted rarely enough for one place.
#[derive(Debug, Default)]
pub struct Stats {
    workers: Mutex<Vec<Arc<WorkerStats>>>,
    /// Counters for commands inside transactions and scripts, which every worker adds to.
    nested: OnceLock<Arc<WorkerStats>>,
    /// Snapshots begun for a file or for replicas: where Redis forks, and INFO's `total_forks`.
    pub background_jobs: AtomicU64,
    /// What the rounds of cron cost.
    pub cron: CronCounters,
    /// Error replies by code, for INFO errorstats.
    error_codes: Mutex<std::collections::BTreeMap<Box<str>, u64>>,
}

/// Codes counted at most, so that nobody fills the table by inventing errors.
const ERROR_CODES_MAX: usize = 128;

impl Stats {
    /// Counters for a new worker, for `commands` command ids.
    pub fn worker(&self, commands: usize) -> Arc<WorkerStats> {
        self.nested.get_or_init(|| self.add(commands));
        self.add(commands)
    }

    fn add(&self, commands: usize) -> Arc<WorkerStats> {
        let w = Arc::new(WorkerStats::new(commands));
        self.workers.lock().push(Arc::clone(&w));
        w
    }

    /// Counts keys and fields that the server itself removed because they were due.
    pub fn count_expired(&self, keys: u64, fields: u64) {
        if let Some(n) = self.nested.get() {
            n.expired.fetch_add(keys, Ordering::Relaxed);
            n.expired_fields.fetch_add(fields, Ordering::Relaxed);
        }
    }

    /// Counts a command that ran inside a transaction or a script.
    pub fn count_nested(&self, id: u16, nanos: u64, failed: bool, tracked: bool) {
        if let Some(c) = self
            .nested
            .get()
            .and_then(|n| n.commands.get(usize::from(id)))
        {
            c.calls.fetch_add(1, Ordering::Relaxed);
            c.nanos.fetch_add(nanos, Ordering::Relaxed);
            c.failed.fetch_add(u64::from(failed), Ordering::Relaxed);
            if tracked && let Some(b) = c.bucket(nanos) {
                b.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// Sums.
    pub fn totals(&self) -> Totals {
        let mut t = Totals::default();
        for w in self.workers.lock().iter() {
            for (sum, count) in [
                (&mut t.hits, &w.hits),
                (&mut t.misses, &w.misses),
                (&mut t.expired, &w.expired),
                (&mut t.expired_fields, &w.expired_fields),
                (&mut t.processed, &w.processed),
                (&mut t.bytes_in, &w.bytes_in),
                (&mut t.bytes_out, &w.bytes_out),
                (&mut t.errors, &w.errors),
                (&mut t.cycles, &w.cycles),
                (&mut t.writes, &w.writes),
            ] {
                *sum += count.load(Ordering::Relaxed);
            }
        }
        t
    }

    /// How often the thread of this number has read from clients and written to them.
    pub fn thread_io(&self, number: u32) -> (u64, u64) {
        let workers = self.workers.lock();
        let mine = |w: &&Arc<WorkerStats>| w.thread.load(Ordering::Relaxed) == number;
        let each = workers.iter().filter(mine).map(|w| {
            let load = |n: &AtomicU64| n.load(Ordering::Relaxed);
            (load(&w.cycles), load(&w.writes))
        });
        each.fold((0, 0), |sum, (r, w)| (sum.0 + r, sum.1 + w))
    }

    /// Nanoseconds that commands have run for, on all workers.
    pub fn command_nanos(&self) -> u64 {
        let workers = self.workers.lock();
        let commands = workers.iter().flat_map(|w| &w.commands);
        commands.map(|c| c.nanos.load(Ordering::Relaxed)).sum()
    }

    /// Most commands that ran at once on any worker.
    pub fn longest_batch(&self) -> u64 {
        let workers = self.workers.lock();
        let each = workers
            .iter()
            .map(|w| w.longest_batch.load(Ordering::Relaxed));
        each.max().unwrap_or(0)
    }

    /// Sums of one command.
    pub fn command(&self, id: u16) -> CommandTotals {
        let mut t = CommandTotals::default();
        for w in self.workers.lock().iter() {
            if let Some(c) = w.commands.get(usize::from(id)) {
                t.calls += c.calls.load(Ordering::Relaxed);
                t.nanos += c.nanos.load(Ordering::Relaxed);
                t.rejected += c.rejected.load(Ordering::Relaxed);
                t.failed += c.failed.load(Ordering::Relaxed);
            }
        }
        t
    }

    /// One command's calls by duration: `(upper bound in nanoseconds, calls)`.
    pub fn latency(&self, id: u16) -> Vec<(u64, u64)> {
        let mut sum = [0u64; LATENCY_BUCKETS];
        for w in self.workers.lock().iter() {
            if let Some(c) = w.commands.get(usize::from(id)) {
                for (s, b) in sum.iter_mut().zip(&c.latency) {
                    *s += u64::from(b.load(Ordering::Relaxed));
                }
            }
        }
        sum.iter()
            .enumerate()
            .filter(|(_, n)| **n > 0)
            .map(|(i, n)| (1u64 << (i + 1), *n))
            .collect()
    }

    /// Counts an error reply by its code.
    pub fn count_error(&self, code: &str) {
        let mut codes = self.error_codes.lock();
        if let Some(n) = codes.get_mut(code) {
            *n += 1;
        } else if codes.len() < ERROR_CODES_MAX {
            codes.insert(code.into(), 1);
        }
    }

    /// Counts an error reply to a command that no worker runs: to a client that waited.
    pub fn count_error_alone(&self, code: &str) {
        self.count_error(code);
        if let Some(n) = self.nested.get() {
            n.errors.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Error replies by code.
    pub fn error_codes(&self) -> Vec<(Box<str>, u64)> {
        self.error_codes
            .lock()
            .iter()
            .map(|(k, v)| (k.clone(), *v))
            .collect()
    }

    /// `CONFIG RESETSTAT`.
    pub fn reset(&self) {
        for w in self.workers.lock().iter() {
            for c in w.counters() {
                c.store(0, Ordering::Relaxed);
            }
            w.longest_batch.store(0, Ordering::Relaxed);
            for c in &w.commands {
                c.reset();
            }
        }
        self.cron.reset();
        self.error_codes.lock().clear();
    }
}

//! A snapshot as an RDB stream: what BGSAVE, SAVE, an AOF rewrite and a full sync have in common.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::base::clock;
use crate::command::evict;
use crate::config::{Config, REDIS_VERSION};
use crate::keyspace::eviction;
use crate::keyspace::lfu::Lfu;
use crate::keyspace::shard::Captured;
use crate::keyspace::snapshot::Snapshot;
use crate::persist::rdb::writer::{Config as Format, Origin, ReplicationPoint, Usage, Writer};

use super::pacing::Pacer;

/// Where a data set stands in a replication stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamPoint {
    /// The history: 40 hexadecimal digits.
    pub replid: String,
    /// Bytes of stream that the data set contains.
    pub offset: u64,
    /// The database selected in the stream; -1 for none.
    pub db: i64,
}

/// What is written around the entries.
#[derive(Clone, Debug, Default)]
pub struct Heading {
    /// The data set's place in a replication stream.
    pub point: Option<StreamPoint>,
    /// Sources of function libraries.
    pub functions: Vec<Vec<u8>>,
    /// The stream is the base of an append-only file.
    pub aof_base: bool,
    /// Leave the keys out (`REPLCONF rdb-filter-only`).
    pub without_data: bool,
}

/// Progress of a snapshot that others look at, and how they stop it.
#[derive(Debug, Default)]
pub struct Progress {
    /// Set by who wants the snapshot to end without a result.
    pub cancelled: Arc<AtomicBool>,
    /// Set by who wants it to fail, as if it could not be written (`DEBUG ABORT-BACKGROUND`).
    pub failed: AtomicBool,
    /// Until when it is not held back, by [`clock::mono_us`].
    hurries_until_us: AtomicU64,
    /// Keys written.
    pub keys: AtomicU64,
    /// Keys there are to write.
    pub total_keys: AtomicU64,
}

impl Progress {
    /// It is not held back for a while. Whoever sees it threatened looks again before that is over.
    pub fn hurry(&self) {
        const WHILE_US: u64 = 300_000;
        let until = clock::mono_us() + WHILE_US;
        self.hurries_until_us.store(until, Ordering::Relaxed);
    }

    /// Whether it is to be over soon.
    pub fn hurries(&self) -> bool {
        clock::mono_us() < self.hurries_until_us.load(Ordering::Relaxed)
    }

    /// Of a snapshot that `cancelled` ends.
    pub fn cancelled_by(cancelled: Arc<AtomicBool>) -> Progress {
        Progress {
            cancelled,
            ..Progress::default()
        }
    }

    /// Looks whether the snapshot is to go on.
    ///
    /// # Errors
    /// `Interrupted` once it is cancelled, another error once it is to fail.
    pub fn check(&self) -> io::Result<()> {
        if self.failed.load(Ordering::Relaxed) {
            return Err(io::Error::other("aborted by DEBUG ABORT-BACKGROUND"));
        }
        if self.cancelled.load(Ordering::Relaxed) {
            return Err(io::ErrorKind::Interrupted.into());
        }
        Ok(())
    }

    /// `rdb-key-save-delay`: waits so long, or until the snapshot is to end.
    ///
    /// # Errors
    /// See [`Progress::check`].
    pub fn wait(&self, us: i32) -> io::Result<()> {
        /// How late the end is noticed at most.
        const SLICE: Duration = Duration::from_millis(5);
        let until = Instant::now() + Duration::from_micros(u64::try_from(us).unwrap_or(0));
        loop {
            self.check()?;
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            std::thread::sleep(left.min(SLICE));
        }
    }
}

/// How the configuration wants RDB streams written.
pub fn format(config: &Config) -> Format {
    let settings = config.current();
    let rdb = &settings.rdb;
    Format {
        compress: rdb.rdbcompression,
        checksum: rdb.rdbchecksum,
        ..Format::default()
    }
    .with_version(u16::try_from(rdb.rdb_version).unwrap_or(u16::MAX))
}

/// Writes a snapshot from the header to the last entry.
///
/// # Errors
/// What the stream says, or see [`Progress::check`].
pub fn write<W: Write>(
    mut snapshot: Snapshot,
    writer: &mut Writer<W>,
    heading: &Heading,
    config: &Config,
    progress: &Progress,
) -> io::Result<()> {
    let point = heading.point.as_ref().map(|p| ReplicationPoint {
        stream_db: p.db,
        id: &p.replid,
        offset: i64::try_from(p.offset).unwrap_or(i64::MAX),
    });
    if snapshot.sizes().iter().any(|size| size.timed > 0) {
        writer.carry_field_expiry();
    }
    writer.header(&Origin {
        server_version: REDIS_VERSION,
        created_s: clock::unix_ms() / 1000,
        used_memory: super::memory::used(),
        replication: point,
        aof_base: heading.aof_base,
    })?;
    for code in &heading.functions {
        writer.function(code)?;
    }
    if heading.without_data {
        return Ok(());
    }
    let total: usize = snapshot.sizes().iter().map(|s| s.keys).sum();
    progress.total_keys.store(total as u64, Ordering::Relaxed);
    for (db, size) in snapshot.sizes().iter().enumerate() {
        if size.keys > 0 {
            writer.select_db(db as u32)?;
            writer.size_hint(db as u32, size.keys as u64, size.volatile as u64)?;
        }
    }
    let mut out: Vec<Captured> = Vec::new();
    let usages = Usages::now(config);
    // That of the snapshot's instant, as a forked child would have it.
    let delay_us = config.current().rdb.rdb_key_save_delay;
    let mut pacer = Pacer::default();
    progress.check()?;
    while snapshot.next(&mut out) {
        if !progress.hurries() {
            pacer.step();
        }
        let keys = out.len() as u64;
        for c in out.drain(..) {
            writer.entry(
                c.db as u32,
                c.key(),
                c.value(),
                c.expire_ms(),
                usages.of(&c),
            )?;
            if delay_us > 0 {
                progress.wait(delay_us)?;
            }
        }
        progress.check()?;
        progress.keys.fetch_add(keys, Ordering::Relaxed);
    }
    Ok(())
}

/// What is written of how keys are used: what the eviction policy goes by, as Redis does it.
struct Usages {
    idle: bool,
    lfu: Option<Lfu>,
    clock: u32,
}

impl Usages {
    /// At this instant.
    fn now(config: &Config) -> Usages {
        let settings = config.current();
        let now_ms = clock::unix_ms();
        Usages {
            idle: evict::looks_at_access(settings.memory.maxmemory_policy),
            lfu: evict::lfu(&settings, now_ms),
            clock: clock::lru_seconds_at(now_ms),
        }
    }

    fn of(&self, captured: &Captured) -> Usage {
        let access = captured.access();
        match self.lfu {
            Some(lfu) => Usage::Frequency(lfu.counter(access)),
            None if self.idle => Usage::IdleSeconds(eviction::idle_s(self.clock, access)),
            None => Usage::None,
        }
    }
}

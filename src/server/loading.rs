//! Loading data into the keyspace: an RDB stream, entry by entry.
//!
//! While data is loaded at start, clients are connected and told LOADING; the load itself runs on
//! threads of its own: one reads a file ahead, one makes entries of it, and of a large one
//! two put them into the keyspace ([`filling`]), many into a shard under one lock.

mod filling;
mod room;

use std::io::Read;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::thread::Scope;
use std::time::{Duration, Instant};

use crate::base::clock;
use crate::command::engine::Engine;
use crate::command::evict;
use crate::keyspace::entry::Meta;
use crate::keyspace::fill::Newcomer;
use crate::keyspace::lfu::Lfu;
use crate::keyspace::locks::Keyspace;
use crate::oplog::effect::UnitEffects;
use crate::persist::rdb::Usage;
use crate::persist::rdb::ahead::ReadAhead;
use crate::persist::rdb::error::{Error, ErrorKind};
use crate::persist::rdb::file::{LoadFile, OpenError};
use crate::persist::rdb::reader::{Entry, Options, Reader, Sink, Summary, Verdict};

use self::filling::{Filler, Filling};
use self::room::Room;
use super::pacing::MachinePacer;
use super::snapshotting::StreamPoint;

/// What INFO tells of a load that goes on.
#[derive(Debug, Default)]
pub struct LoadStatus {
    /// A load goes on.
    pub active: AtomicBool,
    /// It goes beside the present data, which are read meanwhile.
    pub beside: AtomicBool,
    /// When it began, Unix seconds.
    pub began_s: AtomicI64,
    /// Bytes there are.
    pub total_bytes: AtomicU64,
    /// Bytes read.
    pub loaded_bytes: Arc<AtomicU64>,
    /// Keys that the last load found due and left out.
    pub keys_expired: AtomicU64,
    /// Keys that the last load brought.
    pub keys_loaded: AtomicU64,
}

/// What a stream told besides its keys.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Loaded {
    /// The data set's place in a replication stream, if the stream names it whole.
    pub point: Option<StreamPoint>,
    /// Sources of function libraries.
    pub functions: Vec<Vec<u8>>,
    /// Keys that are there now.
    pub keys: u64,
    /// Keys that were due and left out.
    pub expired: u64,
    /// Keys without elements, left out.
    pub empty: u64,
}

/// How a stream is loaded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LoadMode {
    /// Keys that are due are kept: the primary removes them.
    pub keep_due: bool,
    /// Replicas that were here before the start are to be told what is due and left out: its
    /// removal goes into the log. Nobody else writes there meanwhile.
    pub tell_due: bool,
    /// A key that is there already is replaced instead of refused (`DEBUG RELOAD MERGE`).
    pub replace: bool,
}

/// Keys between two looks at the settings.
const LOOK_EVERY: u64 = 256;

fn key_load_delay(engine: &Engine) -> u64 {
    u64::try_from(engine.config.current().rdb.key_load_delay).unwrap_or(0)
}

/// What becomes of a file's word on how a key was used.
struct Access {
    lfu: Option<Lfu>,
    clock: u32,
}

impl Access {
    fn of(&self, usage: Usage) -> u32 {
        match (usage, self.lfu) {
            (Usage::Frequency(frequency), Some(lfu)) => lfu.with_counter(frequency),
            (Usage::IdleSeconds(idle_s), None) => evict::accessed_before(self.clock, idle_s),
            _ => self.lfu.map_or(self.clock, Lfu::fresh),
        }
    }
}

/// What goes on beside a load.
#[derive(Clone, Debug, Default)]
pub struct Watch {
    /// Receives the number of bytes read.
    pub progress: Option<Arc<AtomicU64>>,
    /// Set when the load is to end.
    pub cancelled: Option<Arc<AtomicBool>>,
    /// The load yields to whoever else wants the processors, except while this is set.
    pub urgent: Option<Arc<AtomicBool>>,
}

/// Puts what a reader yields into the keyspace.
struct EngineSink<'s, 'e> {
    engine: &'e Engine,
    databases: usize,
    filler: Filler<'s, 'e>,
    access: Access,
    /// `key-load-delay`, which tests use.
    delay_us: u64,
    cancelled: Option<Arc<AtomicBool>>,
    urgent: Option<Arc<AtomicBool>>,
    pacer: MachinePacer,
    mode: LoadMode,
    effects: UnitEffects,
    now_ms: i64,
    replid: Option<String>,
    offset: Option<u64>,
    stream_db: i64,
    room: Room,
    /// What came so far.
    loaded: Loaded,
}

impl<'s, 'e: 's> EngineSink<'s, 'e> {
    /// A sink into a keyspace, by this engine's settings, for a stream of so many bytes, 0 if that
    /// is not known.
    fn new(
        scope: &'s Scope<'s, 'e>,
        engine: &'e Engine,
        keyspace: &'e Keyspace,
        mode: LoadMode,
        watch: &Watch,
        bytes: u64,
    ) -> EngineSink<'s, 'e> {
        let now_ms = clock::unix_ms();
        let filling = Filling {
            keyspace,
            replace: mode.replace,
            now_ms,
        };
        EngineSink {
            engine,
            databases: keyspace.databases(),
            filler: Filler::new(scope, filling),
            access: Access {
                lfu: evict::lfu(&engine.config.current(), now_ms),
                clock: clock::lru_seconds_at(now_ms),
            },
            delay_us: key_load_delay(engine),
            cancelled: watch.cancelled.clone(),
            urgent: watch.urgent.clone(),
            pacer: MachinePacer::default(),
            mode,
            effects: UnitEffects::new(),
            now_ms,
            replid: None,
            offset: None,
            stream_db: -1,
            room: Room::of(bytes),
            loaded: Loaded::default(),
        }
    }

    /// The removal of a key that is left out, as that of any key that is due.
    fn tell_removal(&mut self, db: u64, key: &[u8]) {
        let Ok(db) = u32::try_from(db) else { return };
        let lazily = self.engine.config.current().memory.lazyfree_lazy_expire;
        let name: &[u8] = if lazily { b"UNLINK" } else { b"DEL" };
        self.effects.push(db, &[name, key]);
        self.engine.log.append(&self.effects);
        self.effects.clear();
    }

    /// What came, at the end of the stream.
    fn finish(mut self) -> Result<Loaded, String> {
        let keyspace = self.filler.keyspace();
        let filled = self.filler.finish();
        self.room.give_back(keyspace);
        filled?;
        if let (Some(replid), Some(offset)) = (self.replid.take(), self.offset) {
            self.loaded.point = Some(StreamPoint {
                replid,
                offset,
                db: self.stream_db,
            });
        }
        Ok(self.loaded)
    }
}

fn text(value: &[u8]) -> Option<&str> {
    std::str::from_utf8(value).ok()
}

impl<'s, 'e: 's> Sink for EngineSink<'s, 'e> {
    fn aux(&mut self, name: &[u8], value: &[u8], _: u64) -> Verdict {
        match name {
            b"repl-id" if value.len() == 40 => self.replid = text(value).map(str::to_owned),
            b"repl-offset" => self.offset = text(value).and_then(|t| t.parse().ok()),
            b"repl-stream-db" => {
                self.stream_db = text(value).and_then(|t| t.parse().ok()).unwrap_or(-1);
            }
            b"redis-ver" => {
                tracing::info!(
                    "Loading RDB produced by version {}",
                    String::from_utf8_lossy(value)
                );
            }
            b"ctime" => {
                let made = text(value).and_then(|t| t.parse::<i64>().ok()).unwrap_or(0);
                let age = (self.now_ms / 1000 - made).max(0);
                tracing::info!("RDB age {age} seconds");
            }
            b"used-mem" => {
                let used = text(value)
                    .and_then(|t| t.parse::<f64>().ok())
                    .unwrap_or(0.0);
                tracing::info!("RDB memory usage when created {:.2} Mb", used / 1048576.0);
            }
            b"aof-base" if value == b"1" => tracing::info!("RDB is base AOF"),
            _ => {}
        }
        Ok(())
    }

    fn function(&mut self, code: &[u8], _: u64) -> Verdict {
        self.loaded.functions.push(code.to_vec());
        Ok(())
    }

    fn select_db(&mut self, db: u64, _: u64) -> Verdict {
        let databases = self.databases;
        if db >= databases as u64 {
            return Err(format!(
                "FATAL: Data file was created with a Redis server configured to handle more than \
                 {databases} databases. Exiting"
            ));
        }
        self.room.select(db);
        Ok(())
    }

    fn size_hint(&mut self, keys: u64, _: u64) {
        self.room.hint(keys, self.loaded.keys);
    }

    fn entry(&mut self, entry: Entry<'_>) -> Verdict {
        if !self.mode.keep_due && entry.expire_ms.is_some_and(|at| at < self.now_ms) {
            self.loaded.expired += 1;
            if self.mode.tell_due {
                self.tell_removal(entry.db, entry.key);
            }
            return Ok(());
        }
        let meta = Meta {
            expire_ms: entry.expire_ms,
            access: self.access.of(entry.usage),
            mark: false,
        };
        // The number has been checked when the database was selected.
        let db = u32::try_from(entry.db).unwrap_or(u32::MAX);
        self.filler
            .put(Newcomer::new(db, entry.key, entry.value, meta))?;
        self.loaded.keys += 1;
        if self.room.is_wanted(self.loaded.keys) {
            self.room.make(self.filler.keyspace(), self.loaded.keys);
        }
        if self.loaded.keys.is_multiple_of(LOOK_EVERY) || self.delay_us > 0 {
            self.delay_us = key_load_delay(self.engine);
            let flag = self.cancelled.as_ref();
            if flag.is_some_and(|f| f.load(Ordering::Relaxed)) {
                return Err("Loading was cancelled".to_owned());
            }
            if let Some(urgent) = &self.urgent
                && !urgent.load(Ordering::Relaxed)
            {
                self.pacer.step();
            }
        }
        if self.delay_us > 0 {
            std::thread::sleep(Duration::from_micros(self.delay_us));
        }
        Ok(())
    }

    fn empty_key(&mut self, _: u64, key: &[u8]) -> Verdict {
        /// Of how many the log tells.
        const TOLD: u64 = 10;
        if self.loaded.empty < TOLD {
            tracing::info!(
                "rdbLoadObject skipping empty key: {}",
                String::from_utf8_lossy(key)
            );
        }
        self.loaded.empty += 1;
        Ok(())
    }
}

/// Why the data could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The file is there and cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The stream is damaged or holds what does not exist here.
    #[error("{}", .0.log_lines().join("\n"))]
    Stream(Error),
}

/// How readers are to read, by the configuration.
pub fn reader_options(engine: &Engine) -> Options {
    let settings = engine.config.current();
    Options {
        limits: super::limits::of(&settings),
        skip_checksum: !settings.rdb.rdbchecksum,
        ..Options::default()
    }
}

/// Loads an RDB stream to its end, into a keyspace that need not be the engine's.
///
/// # Errors
/// What is wrong with it; keys that came before it are there.
pub fn load_stream(
    engine: &Engine,
    keyspace: &Keyspace,
    stream: impl Read,
    mode: LoadMode,
    watch: Watch,
) -> Result<(Loaded, Summary), Error> {
    std::thread::scope(|scope| {
        let sink = EngineSink::new(scope, engine, keyspace, mode, &watch, 0);
        read_into(sink, Reader::new(stream, options(engine, watch.progress)))
    })
}

/// As [`load_stream`], of a file, which is read on a thread of its own, into the engine's keyspace.
///
/// # Errors
/// As [`load_stream`].
pub fn load_opened(
    engine: &Engine,
    file: LoadFile,
    mode: LoadMode,
    watch: Watch,
) -> Result<(Loaded, Summary), Error> {
    std::thread::scope(|scope| {
        let sink = EngineSink::new(scope, engine, &engine.keyspace, mode, &watch, file.size);
        let ahead = ReadAhead::begin(scope, file).map_err(|e| Error {
            offset: 0,
            kind: ErrorKind::Io(e),
        })?;
        read_into(sink, Reader::new(ahead, options(engine, watch.progress)))
    })
}

fn options(engine: &Engine, progress: Option<Arc<AtomicU64>>) -> Options {
    Options {
        progress,
        ..reader_options(engine)
    }
}

fn read_into<R: Read>(
    mut sink: EngineSink<'_, '_>,
    mut reader: Reader<R>,
) -> Result<(Loaded, Summary), Error> {
    let outcome = reader.load(&mut sink);
    let offset = reader.offset();
    // An error may have ended the threads; keys that came before it are to be there.
    let finished = sink.finish();
    let summary = outcome?;
    let loaded = finished.map_err(|reason| Error {
        offset,
        kind: ErrorKind::Sink(reason),
    })?;
    Ok((loaded, summary))
}

/// Loads the RDB file at `path`, with Redis's log lines; `None` if there is none.
///
/// # Errors
/// See [`LoadError`]; what is to be logged is its text.
pub fn load_file(
    engine: &Engine,
    path: &Path,
    mode: LoadMode,
    status: &LoadStatus,
) -> Result<Option<Loaded>, LoadError> {
    let Some(file) = LoadFile::open(path)? else {
        return Ok(None);
    };
    let begun = Instant::now();
    status.total_bytes.store(file.size, Ordering::Relaxed);
    status.loaded_bytes.store(0, Ordering::Relaxed);
    let watch = Watch {
        progress: Some(Arc::clone(&status.loaded_bytes)),
        ..Watch::default()
    };
    let (loaded, _) = load_opened(engine, file, mode, watch).map_err(LoadError::Stream)?;
    tracing::info!(
        "Done loading RDB, keys loaded: {}, keys expired: {}, empty keys skipped: {}.",
        loaded.keys,
        loaded.expired,
        loaded.empty
    );
    tracing::info!(
        "DB loaded from disk: {:.3} seconds",
        begun.elapsed().as_secs_f64()
    );
    Ok(Some(loaded))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::snapshotting::{self, Heading, Progress};
    use super::*;
    use crate::command::testing::TestServer;
    use crate::keyspace::locks::{SHARDS, ShardMask};
    use crate::persist::rdb::writer::{Config as Format, Writer};

    /// Slots of the first database.
    fn slots(keyspace: &Keyspace) -> usize {
        let mut locked = keyspace.lock(ShardMask::ALL);
        (0..SHARDS)
            .filter_map(|i| Some(locked.shard(i)?.db(0)?.table.capacity()))
            .sum()
    }

    #[test]
    fn room_for_keys_that_are_due_and_left_out_is_given_back() {
        const DUE: usize = 60_000;
        const STAY: usize = 2000;
        let mut from = TestServer::new();
        for i in 0..DUE {
            from.run(&format!(
                "SET due:{i} some-value-that-is-not-very-short PX 1"
            ));
        }
        for i in 0..STAY {
            from.run(&format!("SET stays:{i} value"));
        }
        let (snapshot, ()) = from.engine.keyspace.snapshot(|| ()).unwrap();
        let mut writer = Writer::new(Vec::new(), Format::default());
        let (heading, progress) = (Heading::default(), Progress::default());
        let config = &from.engine.config;
        snapshotting::write(snapshot, &mut writer, &heading, config, &progress).unwrap();
        let (bytes, _) = writer.finish().unwrap();
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("dump.rdb");
        fs::write(&path, bytes).unwrap();
        for (later_ms, keys, most_slots) in [
            (0, STAY + DUE, (STAY + DUE) * 2),
            (1000, STAY, SHARDS * 128),
        ] {
            let mut to = TestServer::new();
            to.advance(later_ms);
            let status = LoadStatus::default();
            let loaded = load_file(&to.engine, &path, LoadMode::default(), &status);
            assert_eq!(loaded.unwrap().unwrap().keys, keys as u64);
            assert_eq!(to.run("DBSIZE"), format!(":{keys}"));
            assert_eq!(to.run("GET stays:1999"), "\"value\"");
            let slots = slots(&to.engine.keyspace);
            assert!(slots <= most_slots, "{slots} for {keys}");
        }
    }
}

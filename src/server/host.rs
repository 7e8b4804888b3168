//! What commands ask of the parts above them, answered by those parts.
//!
//! The engine holds its host, and the parts hold the engine; so the parts come in when they exist,
//! right after the engine and before the first connection.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Instant;

use parking_lot::Mutex;

use crate::base::clock;
use crate::command::ctx::{CommandError, Later, Suspended};
use crate::command::engine::{Engine, Held, PauseReason};
use crate::command::host::{
    Aside, DbInfo, EmptyFile, Host, Memory, Persistence, ReloadRequest, Replicating,
    ShutdownRequest, Work,
};
use crate::config::{Change, Settings};
use crate::keyspace::locks::ShardMask;
use crate::keyspace::unit::{Event, Free, Garbage};
use crate::keyspace::value::{Value, ValueRef};
use crate::oplog::effect::UnitEffects;
use crate::persist::aof::control::Aof;
use crate::persist::rdb::dump::{self, RestoreError};
use crate::persist::rdb::writer;
use crate::resp::errors;

use super::aside::Helpers;
use super::lazyfree::Lazyfree;
use super::limits;
use super::loading::{self, LoadMode, LoadStatus};
use super::oom::OomScore;
use super::replication::Replication;
use super::saving::{Failure, Saver};
use super::settings::Effects;
use super::shutdown::Shutdown;
use super::snapshotting::Progress;
use super::usage::Sampler;

/// Stops threads until an instant.
pub type StopAll = Box<dyn Fn(Instant) -> Pin<Box<dyn Future<Output = ()>>> + Send + Sync>;

/// The parts above the commands.
pub struct Parts {
    /// The server they belong to.
    pub engine: Arc<Engine>,
    /// RDB files.
    pub saver: Arc<Saver>,
    /// The append-only file.
    pub aof: Arc<Aof>,
    /// The end.
    pub shutdown: Arc<Shutdown>,
    /// What INFO tells of a load.
    pub load: Arc<LoadStatus>,
    /// What waits to be freed.
    pub lazyfree: Arc<super::lazyfree::Counts>,
    /// Rates of the last seconds.
    pub rates: super::rates::Rates,
    /// Forty hexadecimal digits, new at each start.
    pub run_id: String,
    /// The path the server was started by.
    pub executable: String,
    /// The most memory that was ever in use, as far as anybody looked.
    pub peak_memory: AtomicU64,
    /// Memory in use, for INFO.
    pub usage: Sampler,
    /// Memory in use before any data was loaded.
    pub startup_memory: AtomicU64,
    /// Our primary and our replicas.
    pub replication: Arc<Replication>,
    /// The AOF rewrite that runs, if one does.
    pub rewriting: Mutex<Weak<Progress>>,
    /// RESTORE believes the checksum of its payload (`DEBUG SET-SKIP-CHECKSUM-VALIDATION`).
    pub skip_checksum: AtomicBool,
    /// See [`OomScore`].
    pub oom: OomScore,
    /// Do what needs no worker.
    pub helpers: Arc<Helpers>,
    /// Stops the workers and the main thread until then, once they are there.
    pub stop_all: OnceLock<StopAll>,
    /// While a data set is loaded: whether an AOF is to be written as soon as it is there.
    pub append_after_load: Mutex<Option<bool>>,
}

/// The host of a server.
pub struct ServerHost {
    /// Frees large things.
    pub lazyfree: Lazyfree,
    /// What follows when a setting changes.
    pub effects: Effects,
    /// The parts, once they are there.
    pub parts: OnceLock<Arc<Parts>>,
}

impl Host for ServerHost {
    fn aof_write_error(&self) -> Option<String> {
        self.parts.get().and_then(|p| p.aof.write_error())
    }

    fn publish_events(&self, _: &[Event]) {}

    fn free_later(&self, garbage: Vec<Garbage>) {
        self.lazyfree.free(garbage);
    }

    fn frees_pending(&self) -> bool {
        self.lazyfree.is_busy()
    }

    fn freed(&self) -> Pin<Box<dyn Future<Output = ()>>> {
        let caught_up = self.lazyfree.caught_up();
        Box::pin(async move {
            let _ = caught_up.await;
        })
    }

    fn memory_over(&self, limit: u64) -> u64 {
        super::memory::over(limit)
    }

    fn thread_begins(&self) {
        super::usage::follow_thread();
    }

    fn thread_balance(&self) -> i64 {
        super::memory::thread_balance()
    }

    fn free_apart(&self, garbage: Vec<Garbage>) {
        self.lazyfree.free_uncounted(garbage);
    }

    fn dump(&self, value: ValueRef<'_>) -> Result<Vec<u8>, CommandError> {
        let settings = self.settings()?;
        let config = writer::Config {
            compress: settings.rdb.rdbcompression,
            ..writer::Config::default()
        };
        let config = config.with_version(settings.rdb.rdb_version as u16);
        dump::dump(value, config).map_err(|e| CommandError::new(format!("ERR {e}")))
    }

    fn restore(&self, payload: &[u8]) -> Result<Value, CommandError> {
        let settings = self.settings()?;
        let parts = self.parts.get();
        let believe = parts.is_some_and(|p| p.skip_checksum.load(Ordering::Relaxed));
        dump::restore(payload, limits::of(&settings), believe).map_err(|e| {
            if let RestoreError::Data(reason) = &e {
                tracing::warn!("Bad payload of RESTORE: {reason}");
            }
            CommandError::new(format!("ERR {e}"))
        })
    }

    fn setting_changed(&self, change: &Change<'_>) -> Result<(), String> {
        self.effects.run(change)
    }

    fn reset_stats(&self) {
        self.lazyfree.counts.freed.store(0, Ordering::Relaxed);
        if let Some(parts) = self.parts.get() {
            parts.replication.stats.reset();
            parts.saver.status.saves.store(0, Ordering::Relaxed);
            parts.aof.reset_counts();
            parts.rates.reset();
            let evicted = &parts.engine.eviction.evicted;
            evicted.store(0, Ordering::Relaxed);
            let jobs = &parts.engine.stats.background_jobs;
            jobs.store(0, Ordering::Relaxed);
        }
    }

    fn info(&self, sections: &[Vec<u8>], databases: &mut dyn FnMut() -> Vec<DbInfo>) -> String {
        self.parts
            .get()
            .map(|p| super::info::text(p, sections, databases))
            .unwrap_or_default()
    }

    fn serialized_len(&self, value: ValueRef<'_>) -> usize {
        /// Version and checksum behind a payload, and the type before it.
        const FRAME_BYTES: usize = 11;
        let payload = dump::dump(value, Default::default());
        payload.map_or(0, |p| p.len().saturating_sub(FRAME_BYTES))
    }

    fn memory(&self) -> Option<&dyn Memory> {
        self.parts.get().map(|p| p as &dyn Memory)
    }

    fn persistence(&self) -> Option<&dyn Persistence> {
        self.parts.get().map(|p| p as &dyn Persistence)
    }

    fn aside(&self) -> Option<&dyn Aside> {
        self.parts.get().map(|p| p as &dyn Aside)
    }

    fn replication(&self) -> Option<&dyn Replicating> {
        let parts = self.parts.get()?;
        Some(&parts.replication)
    }
}

impl ServerHost {
    /// The settings in force.
    ///
    /// # Errors
    /// Before the parts are there.
    fn settings(&self) -> Result<Arc<Settings>, CommandError> {
        match self.parts.get() {
            Some(parts) => Ok(parts.engine.config.settings()),
            None => Err(CommandError::new(errors::LOADING)),
        }
    }
}

const SAVING: &str = "ERR Background save already in progress";
const OTHER_SNAPSHOT: &str = "ERR Another child process is active (AOF?): can't BGSAVE right now. \
Use BGSAVE SCHEDULE in order to schedule a BGSAVE whenever possible.";

/// Runs `work` on a thread that may wait for disks, then replies with what it gives.
fn in_background<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
    reply: impl FnOnce(T) -> Later + 'static,
) -> Suspended {
    let task = tokio::task::spawn_blocking(work);
    Box::pin(async move {
        match task.await {
            Ok(result) => reply(result),
            Err(e) => ok_or_error(Err(CommandError::new(format!("ERR {e}")))),
        }
    })
}

/// `+OK` or an error.
fn ok_or_error(result: Result<(), CommandError>) -> Later {
    Box::new(move |_, r| match result {
        Ok(()) => r.ok(),
        Err(e) => r.error(e.0.as_bytes()),
    })
}

impl Aside for Arc<Parts> {
    fn run(&self, work: Work) {
        self.helpers.run(&self.engine, work);
    }

    fn stop_all_until(&self, then: Instant) -> Pin<Box<dyn Future<Output = ()>>> {
        match self.stop_all.get() {
            Some(stop) => stop(then),
            None => Box::pin(std::future::ready(())),
        }
    }
}

impl Persistence for Arc<Parts> {
    fn save(&self) -> Suspended {
        let saver = Arc::clone(&self.saver);
        in_background(
            move || {
                saver.save().map_err(|e| match e {
                    Failure::Busy(_) => CommandError::new(SAVING),
                    Failure::File(_) => CommandError::new("ERR"),
                })
            },
            ok_or_error,
        )
    }

    fn bgsave(&self, schedule: bool, nested: bool) -> Result<&'static str, CommandError> {
        let status = &self.saver.status;
        let relaxed = std::sync::atomic::Ordering::Relaxed;
        if status.in_progress.load(relaxed) {
            return Err(CommandError::new(SAVING));
        }
        if self.engine.keyspace.snapshot_running() {
            if !schedule {
                return Err(CommandError::new(OTHER_SNAPSHOT));
            }
            status.scheduled.store(true, relaxed);
            return Ok("Background saving scheduled");
        }
        if nested {
            status.scheduled.store(true, relaxed);
        } else {
            let failed = |e| CommandError::new(format!("ERR Can't save in background: {e}"));
            self.saver.start_background().map_err(failed)?;
        }
        Ok("Background saving started")
    }

    fn bgrewriteaof(&self, nested: bool) -> Result<&'static str, CommandError> {
        Parts::bgrewriteaof(self, nested)
    }

    fn last_save(&self) -> i64 {
        self.saver
            .status
            .last_save_s
            .load(std::sync::atomic::Ordering::Relaxed)
    }

    fn flushed_all(&self, nested: bool) -> EmptyFile {
        self.saver.cancel_soon();
        if self.engine.config.current().rdb.save.is_empty() {
            return EmptyFile::NotWanted;
        }
        let saver = Arc::clone(&self.saver);
        if nested {
            saver.status.scheduled.store(true, Ordering::Relaxed);
            return EmptyFile::Soon;
        }
        EmptyFile::Now(Box::pin(async move {
            let task = tokio::task::spawn_blocking(move || {
                saver.cancel();
                // A full sync has the only snapshot there can be: its turn comes after that.
                if let Err(Failure::Busy(_)) = saver.save() {
                    saver.status.scheduled.store(true, Ordering::Relaxed);
                }
            });
            let _ = task.await;
        }))
    }

    fn shutdown(&self, request: ShutdownRequest) -> Suspended {
        let shutdown = Arc::clone(&self.shutdown);
        Box::pin(async move {
            // A task of its own, which outlives a client that goes away.
            let run = async move { shutdown.run(request).await };
            let _ = tokio::task::spawn_local(run).await;
            let later: Later =
                Box::new(|_, r| r.error("ERR Errors trying to SHUTDOWN. Check logs."));
            later
        })
    }

    fn shutdown_abort(&self) -> bool {
        self.shutdown.abort()
    }

    fn debug_reload(&self, request: ReloadRequest) -> Suspended {
        let me = Arc::clone(self);
        in_background(move || me.reload(request), ok_or_error)
    }

    fn debug_loadaof(&self) -> Suspended {
        let me = Arc::clone(self);
        in_background(move || me.reload_aof(), ok_or_error)
    }

    fn debug_abort_background(&self) -> bool {
        self.abort_background()
    }

    fn debug_skip_checksum(&self, on: bool) {
        self.skip_checksum.store(on, Ordering::Relaxed);
    }

    fn debug_aof_flush_sleep(&self, us: u64) {
        self.aof.status().set_flush_sleep_us(us);
    }
}

impl Parts {
    fn reload(&self, request: ReloadRequest) -> Result<(), CommandError> {
        let _alone = Alone::new(&self.engine);
        if request.save {
            self.saver.cancel();
            self.saver.save().map_err(|e| {
                tracing::warn!("Error trying to save the DB: {e}");
                CommandError::new("ERR Error trying to save the DB, check server logs.")
            })?;
        }
        self.saver.name.wait();
        if request.flush {
            self.empty();
        }
        let path = self.engine.config.settings().rdb.dbfilename.clone();
        let mode = LoadMode {
            replace: request.merge,
            ..LoadMode::default()
        };
        match loading::load_file(&self.engine, &path, mode, &self.load) {
            Ok(Some(loaded)) => {
                self.load.keys_loaded.store(loaded.keys, Ordering::Relaxed);
                let expired = &self.load.keys_expired;
                expired.store(loaded.expired, Ordering::Relaxed);
                tracing::warn!("DB reloaded by DEBUG RELOAD");
                Ok(())
            }
            Ok(None) => Err(reload_failed("no such file")),
            Err(e) => Err(reload_failed(&e.to_string())),
        }
    }

    fn reload_aof(&self) -> Result<(), CommandError> {
        let failed = |e| {
            tracing::warn!("Error trying to load the AOF files: {e}");
            CommandError::new("ERR Error trying to load the AOF files, check server logs.")
        };
        let _alone = Alone::new(&self.engine);
        self.aof.reread_manifest().map_err(failed)?;
        self.empty();
        super::aof::load(&self.engine, &self.aof, &self.load).map_err(failed)?;
        self.engine.keyspace.saved(u64::MAX);
        tracing::warn!("Append Only File loaded by DEBUG LOADAOF");
        Ok(())
    }

    /// Removes every key, without an effect.
    pub fn empty(&self) {
        empty(&self.engine);
    }
}

/// While it lives every client is held back, as by a command of Redis's that takes long: what they
/// wrote between the save and the load would be lost, and stand in the load's way.
struct Alone<'a>(&'a Engine);

impl<'a> Alone<'a> {
    fn new(engine: &'a Engine) -> Alone<'a> {
        engine.hold_clients(PauseReason::Reload, clock::unix_ms(), i64::MAX, Held::All);
        // Whoever did not see it yet is done when all shards can be had.
        drop(engine.keyspace.lock(ShardMask::ALL));
        Alone(engine)
    }
}

impl Drop for Alone<'_> {
    fn drop(&mut self) {
        self.0
            .release_clients(PauseReason::Reload, clock::unix_ms());
    }
}

/// Removes every key, without an effect.
pub fn empty(engine: &Engine) {
    let mut effects = UnitEffects::new();
    engine.in_unit(ShardMask::ALL, &mut effects, |unit| {
        for db in 0..engine.keyspace.databases() {
            unit.flush(db, Free::Elsewhere);
        }
    });
}

fn reload_failed(reason: &str) -> CommandError {
    tracing::warn!("Error trying to load the RDB dump: {reason}");
    CommandError::new("ERR Error trying to load the RDB dump, check server logs.")
}

//! RDB files: SAVE, BGSAVE, save points, and what INFO tells of them.
//!
//! A save is a snapshot written by a thread of its own; one at a time, and none while an AOF
//! rewrite or a full sync has the snapshot. A scheduled one begins when the other has ended.

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use parking_lot::Mutex;

use crate::base::clock;
use crate::command::engine::{Engine, Gate};
use crate::keyspace::snapshot::{Busy, Snapshot};
use crate::persist::aof::status::Status as AofStatus;
use crate::persist::rdb::file::{self, SaveError, Target};

use super::pacing;
use super::rdb_name::RdbName;
use super::snapshotting::{self, Heading, Progress, StreamPoint};

/// Seconds between two tries of a save point after a failure.
const RETRY_SECONDS: i64 = 5;

/// Tells where the data set stands in the replication stream; called at a snapshot's instant.
pub type PointOf = Box<dyn Fn() -> Option<StreamPoint> + Send + Sync>;

/// What INFO persistence tells of saves.
#[derive(Debug)]
pub struct SaveStatus {
    /// A background save runs.
    pub in_progress: AtomicBool,
    /// Unix seconds of the last successful save.
    pub last_save_s: AtomicI64,
    /// The last background save succeeded.
    pub last_ok: AtomicBool,
    /// Seconds the last background save took; -1 before the first.
    pub last_seconds: AtomicI64,
    /// Unix seconds at which the last background save began.
    pub last_try_s: AtomicI64,
    /// When the running one began, Unix seconds; 0 if none runs.
    pub began_s: AtomicI64,
    /// Saves since the start.
    pub saves: AtomicU64,
    /// A background save waits for its turn.
    pub scheduled: AtomicBool,
}

/// Why a save did not happen.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// Somebody else has the snapshot.
    #[error(transparent)]
    Busy(#[from] Busy),
    /// The file could not be written.
    #[error(transparent)]
    File(#[from] SaveError),
}

/// The data set of an instant, about to be saved.
pub struct Instantly {
    snapshot: Snapshot,
    point: Option<StreamPoint>,
}

/// Saves the data set.
pub struct Saver {
    engine: Arc<Engine>,
    /// See [`SaveStatus`].
    pub status: SaveStatus,
    /// The running background save's progress.
    running: Mutex<Option<Arc<Progress>>>,
    point_of: Mutex<PointOf>,
    /// Sources of function libraries that were loaded and are saved again.
    pub functions: Mutex<Vec<Vec<u8>>>,
    /// The name that saves are written under.
    pub name: Arc<RdbName>,
    /// Is told while a snapshot is written, for `no-appendfsync-on-rewrite`.
    pub aof: OnceLock<Arc<AofStatus>>,
}

impl Saver {
    /// A saver that has saved nothing yet.
    pub fn new(engine: Arc<Engine>) -> Saver {
        Saver {
            engine,
            status: SaveStatus {
                in_progress: AtomicBool::new(false),
                last_save_s: AtomicI64::new(clock::unix_ms() / 1000),
                last_ok: AtomicBool::new(true),
                last_seconds: AtomicI64::new(-1),
                last_try_s: AtomicI64::new(0),
                began_s: AtomicI64::new(0),
                saves: AtomicU64::new(0),
                scheduled: AtomicBool::new(false),
            },
            running: Mutex::new(None),
            point_of: Mutex::new(Box::new(|| None)),
            functions: Mutex::new(Vec::new()),
            name: Arc::default(),
            aof: OnceLock::new(),
        }
    }

    /// Says who knows the place in the replication stream.
    pub fn set_point_of(&self, point_of: PointOf) {
        *self.point_of.lock() = point_of;
    }

    /// Takes the snapshot that is to be saved: the instant of the save.
    ///
    /// # Errors
    /// [`Busy`] while another snapshot runs, or the file of one is on its way to the disk.
    pub fn begin(&self) -> Result<Instantly, Busy> {
        if self.status.in_progress.load(Ordering::Acquire) {
            return Err(Busy);
        }
        let (snapshot, point) = self.engine.keyspace.snapshot(|| (self.point_of.lock())())?;
        Ok(Instantly { snapshot, point })
    }

    /// Saves the data set of this moment on the calling thread.
    ///
    /// # Errors
    /// See [`Failure`]; logged.
    pub fn save(&self) -> Result<(), Failure> {
        let taken = self.begin()?;
        self.write(taken, &Progress::default())?;
        Ok(())
    }

    /// Writes a snapshot under the configured name.
    fn write(&self, taken: Instantly, progress: &Progress) -> Result<(), SaveError> {
        let Instantly { snapshot, point } = taken;
        let dirty = snapshot.dirty();
        let settings = self.engine.config.settings();
        let heading = Heading {
            point,
            functions: self.functions.lock().clone(),
            ..Heading::default()
        };
        let temp = file::temp_name(std::process::id());
        let target = Target {
            dir: Path::new("."),
            name: &settings.rdb.dbfilename.to_string_lossy(),
            temp: &temp,
            incremental_fsync: settings.rdb.rdb_save_incremental_fsync,
        };
        let config = &self.engine.config;
        let _claim = self.name.claim();
        let saved = file::save(&target, snapshotting::format(config), |writer| {
            snapshotting::write(snapshot, writer, &heading, config, progress)
        });
        match saved {
            Ok(_) => {
                tracing::info!("DB saved on disk");
                self.engine.keyspace.saved(dirty);
                self.status
                    .last_save_s
                    .store(clock::unix_ms() / 1000, Ordering::Relaxed);
                self.status.saves.fetch_add(1, Ordering::Relaxed);
                self.set_ok(true);
                Ok(())
            }
            Err(e) => {
                if !progress.cancelled.load(Ordering::Relaxed) {
                    tracing::warn!("{e}");
                }
                Err(e)
            }
        }
    }

    /// Removes the file of a save that is not to be finished: the process ends at once.
    pub fn remove_temp_file(&self) {
        // There need not be one.
        let _ = std::fs::remove_file(file::temp_name(std::process::id()));
    }

    /// A file that was written for replicas, and would have been a save, could not be written.
    pub fn note_failure(&self) {
        self.set_ok(false);
    }

    /// Notes whether the last background save succeeded, which may stop or allow writes.
    fn set_ok(&self, ok: bool) {
        self.status.last_ok.store(ok, Ordering::Relaxed);
        self.update_gate();
    }

    /// Sets or clears the gate that stops writes after a failed save.
    pub fn update_gate(&self) {
        let settings = self.engine.config.current();
        let stop = settings.rdb.stop_writes_on_bgsave_error
            && !settings.rdb.save.is_empty()
            && !self.status.last_ok.load(Ordering::Relaxed);
        self.engine.gates.set(Gate::SAVE_FAILED, stop);
    }

    /// Begins a background save of this moment.
    ///
    /// # Errors
    /// [`Busy`] if a snapshot runs; the system's word if no thread can be made.
    pub fn start_background(self: &Arc<Self>) -> io::Result<()> {
        let taken = self.begin().map_err(io::Error::other)?;
        self.set_in_progress(true);
        self.engine
            .stats
            .background_jobs
            .fetch_add(1, Ordering::Relaxed);
        let now_s = clock::unix_ms() / 1000;
        self.status.last_try_s.store(now_s, Ordering::Relaxed);
        self.status.began_s.store(now_s, Ordering::Relaxed);
        self.status.scheduled.store(false, Ordering::Relaxed);
        let progress = Arc::new(Progress::default());
        *self.running.lock() = Some(Arc::clone(&progress));
        let me = Arc::clone(self);
        let thread = std::thread::Builder::new().name("bgsave".to_owned());
        let started = thread.spawn(move || me.background(taken, &progress));
        if let Err(e) = started {
            self.set_in_progress(false);
            tracing::warn!("Can't save in background: {e}");
            self.set_ok(false);
            return Err(e);
        }
        tracing::info!("Background saving started by pid {}", std::process::id());
        Ok(())
    }

    fn background(&self, taken: Instantly, progress: &Progress) {
        pacing::yield_to_clients();
        let begun = Instant::now();
        let outcome = self.write(taken, progress);
        let cancelled = progress.cancelled.load(Ordering::Relaxed);
        self.status
            .last_seconds
            .store(begun.elapsed().as_secs() as i64, Ordering::Relaxed);
        self.status.began_s.store(0, Ordering::Relaxed);
        *self.running.lock() = None;
        match outcome {
            Ok(()) => tracing::info!("Background saving terminated with success"),
            Err(_) if cancelled => tracing::warn!("Background saving terminated by signal 10"),
            Err(_) => {
                tracing::warn!("Background saving error");
                self.set_ok(false);
            }
        }
        self.set_in_progress(false);
    }

    fn set_in_progress(&self, running: bool) {
        if let Some(aof) = self.aof.get() {
            aof.set_snapshot_running(running);
        }
        self.status.in_progress.store(running, Ordering::Release);
    }

    /// A full sync has the snapshot: it is shown, and cancelled, as a background save is.
    pub fn lend(&self, progress: &Arc<Progress>) {
        self.engine
            .stats
            .background_jobs
            .fetch_add(1, Ordering::Relaxed);
        *self.running.lock() = Some(Arc::clone(progress));
        let now_s = clock::unix_ms() / 1000;
        self.status.began_s.store(now_s, Ordering::Relaxed);
        self.set_in_progress(true);
    }

    /// A full sync has ended; `saved` are the changes that are in the file now, if it wrote one.
    pub fn give_back(&self, saved: Option<u64>) {
        *self.running.lock() = None;
        self.status.began_s.store(0, Ordering::Relaxed);
        if let Some(dirty) = saved {
            self.engine.keyspace.saved(dirty);
            let now_s = clock::unix_ms() / 1000;
            self.status.last_save_s.store(now_s, Ordering::Relaxed);
            self.status.saves.fetch_add(1, Ordering::Relaxed);
            self.set_ok(true);
        }
        self.set_in_progress(false);
    }

    /// Stops a running background save; it leaves no file.
    pub fn cancel_soon(&self) {
        if let Some(p) = &*self.running.lock() {
            p.cancelled.store(true, Ordering::Relaxed);
        }
    }

    /// Makes a running background save or full sync fail. Whether one runs.
    pub fn fail_soon(&self) -> bool {
        let running = self.running.lock();
        if let Some(p) = &*running {
            p.failed.store(true, Ordering::Relaxed);
        }
        running.is_some()
    }

    /// Stops a running background save and waits until it has ended.
    pub fn cancel(&self) {
        self.cancel_soon();
        while self.status.in_progress.load(Ordering::Acquire) {
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
    }

    /// Keys written by the running background save, and keys there are to write.
    pub fn progress(&self) -> (u64, u64) {
        let running = self.running.lock();
        let both = running.as_ref().map(|p| {
            (
                p.keys.load(Ordering::Relaxed),
                p.total_keys.load(Ordering::Relaxed),
            )
        });
        both.unwrap_or_default()
    }

    /// What cron asks ten times a second: begins a save that is scheduled or that a save point
    /// demands.
    pub fn poll(self: &Arc<Self>) {
        if self.engine.keyspace.snapshot_running()
            || self.status.in_progress.load(Ordering::Acquire)
            || self.engine.gates.is_loading()
        {
            return;
        }
        let now_s = clock::unix_ms() / 1000;
        let since_try = now_s - self.status.last_try_s.load(Ordering::Relaxed);
        if self.status.scheduled.load(Ordering::Relaxed) {
            if since_try > RETRY_SECONDS || self.status.last_ok.load(Ordering::Relaxed) {
                let _ = self.start_background();
            }
            return;
        }
        let dirty = self.engine.keyspace.dirty();
        let since_save = now_s - self.status.last_save_s.load(Ordering::Relaxed);
        let settings = self.engine.config.current();
        let due = settings
            .rdb
            .save
            .iter()
            .find(|p| dirty >= p.changes.unsigned_abs() && since_save > p.seconds);
        if let Some(p) = due
            && (since_try > RETRY_SECONDS || self.status.last_ok.load(Ordering::Relaxed))
        {
            tracing::info!("{} changes in {} seconds. Saving...", p.changes, p.seconds);
            let _ = self.start_background();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::testing::TestServer;

    #[test]
    fn no_save_begins_while_the_file_of_another_is_on_its_way_to_the_disk() {
        let engine = Arc::clone(&TestServer::new().engine);
        let saver = Arc::new(Saver::new(Arc::clone(&engine)));
        saver.lend(&Arc::default());
        assert!(!engine.keyspace.snapshot_running());
        assert!(saver.begin().is_err());
        saver.status.scheduled.store(true, Ordering::Relaxed);
        saver.poll();
        assert!(saver.status.scheduled.load(Ordering::Relaxed));
        saver.give_back(None);
        assert!(saver.begin().is_ok());
    }
}

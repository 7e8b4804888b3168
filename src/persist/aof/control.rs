//! The AOF of a server: off, on, or on as soon as its first rewrite has succeeded.
//!
//! ```text
//!          start (boot, after loading)
//!   Off ------------------------------> On <----.
//!    ^ \                                 |       | the rewrite succeeds
//!    |  `--- enable (CONFIG SET) ---> WaitRewrite
//!    `------------- disable ----------------'
//! ```
//!
//! Waiting, the AOF on disk is still the old one, or none: what is written meanwhile goes to a
//! temporary file, and both become the AOF in one step when the rewrite is complete. If it fails,
//! the next one begins anew.
//!
//! Locks: `manifest` is held while the manifest on disk changes, `life` only for an instant, never
//! across I/O, and neither while waiting for the writer's thread, which takes `manifest` itself.

use super::engine::Policy;
use super::folder::{AofError, Folder, failed, strerror};
use super::limiter::Limiter;
use super::load::{self, LoadOptions, LoadTarget, Loaded};
use super::manifest::{End, Manifest};
use super::rewriting::{Format, write_file};
use super::sink::Target;
use super::status::Status;
use super::writer::{OnFatal, Writer};
use crate::oplog::durable::Need;
use crate::oplog::log::Log;
use parking_lot::Mutex;
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tracing::{info, warn};

/// How long a rewrite that has been killed may take to end, in milliseconds.
const KILLED_WAIT_MS: u32 = 1000;

/// What the configuration says about the AOF.
#[derive(Debug, Clone, Copy, Default)]
pub struct Options {
    /// `appendfsync` and `no-appendfsync-on-rewrite`.
    pub policy: Policy,
    /// `aof-use-rdb-preamble`: the base is an RDB file, not commands.
    pub rdb_preamble: bool,
    /// `aof-timestamp-enabled`.
    pub timestamps: bool,
    /// `auto-aof-rewrite-percentage`; 0: never by itself.
    pub auto_percentage: u32,
    /// `auto-aof-rewrite-min-size`.
    pub auto_min_bytes: u64,
    /// `aof-disable-auto-gc`.
    pub keep_history: bool,
    /// `aof-rewrite-incremental-fsync`.
    pub incremental_fsync: bool,
    /// `aof-load-truncated`.
    pub load_truncated: bool,
    /// `databases`.
    pub databases: u32,
}

/// See the module.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum State {
    /// No AOF is written.
    #[default]
    Off,
    /// An AOF is wanted; it begins to count when a rewrite has succeeded.
    WaitRewrite,
    /// Writes go to the last file of the manifest.
    On,
}

/// What INFO persistence tells of the AOF.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Info {
    /// Whether an AOF is written or about to be.
    pub state: State,
    /// A rewrite runs.
    pub rewriting: bool,
    /// A rewrite begins when it can.
    pub scheduled: bool,
    /// Seconds the last rewrite took; -1 before the first.
    pub last_rewrite_s: i64,
    /// When the running rewrite began, Unix seconds.
    pub rewrite_began_s: Option<i64>,
    /// The last rewrite succeeded, or there was none.
    pub last_rewrite_ok: bool,
    /// Rewrites begun since the start.
    pub rewrites: u64,
    /// Rewrites that failed since the last that succeeded.
    pub failures_in_a_row: u64,
    /// Size of base and incremental files.
    pub current_bytes: u64,
    /// That size when the last rewrite ended.
    pub base_bytes: u64,
}

/// A rewrite was asked for; what is to be done about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Request {
    /// One runs already.
    InProgress,
    /// It begins when the other snapshot has ended.
    Scheduled,
    /// [`Aof::begin_rewrite`] now.
    Start,
}

/// The changing part; see the locks.
#[derive(Default)]
pub(super) struct Life {
    pub state: State,
    pub writer: Option<Arc<Writer>>,
    /// The running rewrite; set to end it.
    pub cancel: Option<Arc<AtomicBool>>,
    pub scheduled: bool,
    pub last_failed: bool,
    pub last_rewrite_s: Option<i64>,
    pub began_s: Option<i64>,
    pub rewrites: u64,
    pub failures: u64,
    limiter: Limiter,
    /// Size of all files but the one that is appended to.
    pub closed_bytes: u64,
    /// See [`Info::base_bytes`].
    pub base_bytes: u64,
}

/// See the module.
pub struct Aof {
    pub(super) folder: Folder,
    pub(super) log: Arc<Log>,
    pub(super) status: Arc<Status>,
    pub(super) on_fatal: OnFatal,
    pub(super) options: Mutex<Options>,
    pub(super) manifest: Mutex<Manifest>,
    pub(super) life: Mutex<Life>,
}

impl Aof {
    /// Reads the manifest; nothing is written yet. `on_fatal` ends the process when `always`
    /// cannot be kept.
    pub fn open(
        folder: Folder,
        log: Arc<Log>,
        options: Options,
        on_fatal: OnFatal,
    ) -> Result<Arc<Self>, AofError> {
        let manifest = folder.load_manifest()?;
        Ok(Arc::new(Self {
            folder,
            log,
            status: Arc::new(Status::default()),
            on_fatal,
            options: Mutex::new(options),
            manifest: Mutex::new(manifest),
            life: Mutex::new(Life::default()),
        }))
    }

    /// What the writer tells, and DEBUG's and the snapshot's knobs.
    pub fn status(&self) -> &Arc<Status> {
        &self.status
    }

    /// Why writes must be refused, as the reply to them; only while there is an AOF.
    pub fn write_error(&self) -> Option<String> {
        let error = self.status.misconf()?;
        (self.life.lock().state != State::Off).then_some(error)
    }

    /// What INFO tells.
    pub fn info(&self) -> Info {
        let life = self.life.lock();
        Info {
            state: life.state,
            rewriting: life.cancel.is_some(),
            scheduled: life.scheduled,
            last_rewrite_s: life.last_rewrite_s.unwrap_or(-1),
            rewrite_began_s: life.began_s,
            last_rewrite_ok: !life.last_failed,
            rewrites: life.rewrites,
            failures_in_a_row: life.failures,
            current_bytes: self.current_bytes(&life),
            base_bytes: life.base_bytes,
        }
    }

    /// Back to zero, as CONFIG RESETSTAT does.
    pub fn reset_counts(&self) {
        let mut life = self.life.lock();
        life.rewrites = 0;
        life.failures = 0;
        drop(life);
        self.status.reset_delayed_fsyncs();
    }

    pub(super) fn current_bytes(&self, life: &Life) -> u64 {
        let appended = match life.state {
            State::Off => 0,
            State::WaitRewrite | State::On => self.status.file_bytes.load(Ordering::Relaxed),
        };
        life.closed_bytes.saturating_add(appended)
    }

    /// The stream's place behind the last file, if that was closed in good order.
    pub fn end(&self) -> Option<End> {
        self.manifest.lock().end().cloned()
    }

    /// See [`Manifest::offset_floor`].
    pub fn offset_floor(&self) -> Option<u64> {
        let manifest = self.manifest.lock();
        let size = self.folder.size_bytes(&manifest.last_incr()?.name).ok()?;
        manifest.offset_floor(size)
    }

    /// Takes over changed settings.
    pub fn configure(&self, options: Options) {
        *self.options.lock() = options;
        {
            // Whoever ends the writer takes it from here first: it is told nothing after that.
            let life = self.life.lock();
            if let Some(writer) = &life.writer {
                writer.configure(options.policy);
                self.log.set_annotations(options.timestamps);
            }
        }
        self.delete_history();
    }

    pub(super) fn delete_history(&self) {
        if !self.options.lock().keep_history {
            // It has been logged, and what is left over does no harm.
            let _ = self.folder.delete_history(&mut self.manifest.lock());
        }
    }

    /// Loads the AOF, after moving one of the time before manifests into the folder.
    pub fn load(&self, target: &mut dyn LoadTarget) -> Result<Loaded, AofError> {
        let manifest = {
            let mut manifest = self.manifest.lock();
            self.folder.upgrade(&mut manifest)?;
            manifest.clone()
        };
        let options = *self.options.lock();
        let options = LoadOptions {
            truncate_cut_tail: options.load_truncated,
            databases: options.databases,
        };
        let loaded = load::load(&self.folder, &manifest, options, target)?;
        if let Loaded::Data {
            total_bytes,
            base_bytes,
            ..
        } = loaded
        {
            let mut life = self.life.lock();
            let appended = self.current_bytes(&life) - life.closed_bytes;
            life.closed_bytes = total_bytes.saturating_sub(appended);
            // What the size was when the last rewrite ended is not written down anywhere; the
            // base alone makes the first automatic rewrite come early rather than late.
            life.base_bytes = base_bytes;
        }
        Ok(loaded)
    }

    /// Reads the manifest anew, as DEBUG LOADAOF does before it loads. What is in memory of the
    /// stream is brought to the file first.
    pub fn reread_manifest(&self) -> Result<(), AofError> {
        let writer = self.life.lock().writer.clone();
        if let Some(writer) = writer {
            writer
                .flush()
                .map_err(|e| failed("Fail to fsync the AOF file".to_owned(), e))?;
        }
        *self.manifest.lock() = self.folder.load_manifest()?;
        self.delete_history();
        Ok(())
    }

    /// Begins to append, after loading and before the first client. `write_base` writes the empty
    /// data set that a new AOF begins with.
    pub fn start(
        self: &Arc<Self>,
        write_base: impl FnOnce(Format, &mut dyn Write) -> io::Result<()>,
    ) -> Result<(), AofError> {
        self.folder.create()?;
        let options = *self.options.lock();
        let mut manifest = self.manifest.lock();
        let mut next = manifest.clone();
        if next.is_empty() {
            let name = next.next_base(&self.folder.filename, options.rdb_preamble);
            let temp = self
                .folder
                .dir
                .join(format!("temp-rewriteaof-{}.aof", std::process::id()));
            write_file(&temp, &options, write_base)?;
            self.folder.adopt(&temp, &name)?;
            info!("Creating AOF base file {} on server start", name.display());
        }
        let Some(cursor) = self.log.aof_reader() else {
            return Err(AofError::Content("the log has another AOF".to_owned()));
        };
        let new = next.last_incr().is_none();
        if new {
            next.next_incr(&self.folder.filename, Some(cursor.position()));
        }
        next.set_end(None);
        let name = next
            .last_incr()
            .map(|file| file.name.clone())
            .unwrap_or_default();
        let shown = name.display();
        let file = OpenOptions::new()
            .append(true)
            .create(true)
            .open(self.folder.file(&name))
            .map_err(|e| failed(format!("Can't open the append-only file {shown}"), e))?;
        if next != *manifest {
            self.folder.save_manifest(&next)?;
            *manifest = next.clone();
        }
        drop(manifest);
        let size = self.folder.size_bytes(&name)?;
        let mut total = 0u64;
        for file in next.files() {
            total = total.saturating_add(self.folder.size_bytes(&file.name)?);
        }
        let target = Target {
            file: Arc::new(file),
            size,
            select: self.log.position().db,
        };
        self.start_writer(cursor, target)?;
        {
            let mut life = self.life.lock();
            life.state = State::On;
            life.closed_bytes = total.saturating_sub(size);
        }
        let verb = if new { "Creating" } else { "Opening" };
        info!("{verb} AOF incr file {shown} on server start");
        self.delete_history();
        Ok(())
    }

    pub(super) fn start_writer(
        &self,
        cursor: crate::oplog::log::Cursor,
        target: Target,
    ) -> Result<(), AofError> {
        let options = *self.options.lock();
        self.log.set_annotations(options.timestamps);
        let status = Arc::clone(&self.status);
        let on_fatal = Arc::clone(&self.on_fatal);
        let writer = Writer::start(cursor, target, options.policy, status, on_fatal)
            .map_err(|e| failed("Can't start the AOF writer's thread".to_owned(), e))?;
        let mut life = self.life.lock();
        // Who changed the settings meanwhile found no writer to tell.
        let now = *self.options.lock();
        if now.policy != options.policy {
            writer.configure(now.policy);
        }
        self.log.set_annotations(now.timestamps);
        life.writer = Some(Arc::new(writer));
        Ok(())
    }

    /// An AOF is wanted from now on. Returns whether to begin its first rewrite now; otherwise it
    /// is scheduled. `other_snapshot`: a snapshot that is not an AOF rewrite runs; `nested`: inside
    /// a transaction.
    pub fn enable(&self, other_snapshot: bool, nested: bool) -> bool {
        let (cancel, errors) = {
            let mut life = self.life.lock();
            if life.state != State::Off {
                return false;
            }
            life.state = State::WaitRewrite;
            life.closed_bytes = 0;
            life.scheduled = other_snapshot || nested;
            (life.cancel.clone(), self.status.clear_errors())
        };
        self.wait_for_base();
        if errors.sync {
            warn!("AOF reopen, just ignore the AOF fsync error in bio job");
        }
        if errors.write {
            warn!("AOF reopen, just ignore the last error.");
        }
        if other_snapshot {
            info!(
                "AOF was enabled but there is already another background operation. An AOF \
                 background was scheduled to start when possible."
            );
        } else if nested {
            info!(
                "AOF was enabled during a transaction. An AOF background was scheduled to start \
                 when possible."
            );
        } else if let Some(cancel) = cancel {
            info!(
                "AOF was enabled but there is already an AOF rewriting in background. Stopping \
                 background AOF and starting a rewrite now."
            );
            self.kill(&cancel);
            self.life.lock().scheduled = true;
            return false;
        }
        !(other_snapshot || nested)
    }

    /// The rewrite that [`Aof::enable`] asked for could not begin.
    pub fn enable_failed(&self) {
        self.life.lock().state = State::Off;
        self.no_base_awaited();
        self.log.durability().set_need(Need::Nothing);
        warn!(
            "Redis needs to enable the AOF but can't trigger a background AOF rewrite operation. \
             Check the above logs for more info about the error."
        );
    }

    /// No AOF is wanted any more. What was written stays on disk, complete up to now. `replid` is
    /// the history that the log's offsets belong to.
    pub fn disable(&self, replid: Option<String>) {
        let (state, writer, cancel) = {
            let mut life = self.life.lock();
            life.scheduled = false;
            let state = std::mem::take(&mut life.state);
            life.closed_bytes = 0;
            (state, life.writer.take(), life.cancel.clone())
        };
        if let Some(writer) = writer {
            match writer.stop() {
                Ok(offset) if state == State::On => {
                    self.note_end(Some(self.end_at(offset, replid)))
                }
                Ok(_) => {}
                Err(error) => warn!("Fail to fsync the AOF file: {}", strerror(&error)),
            }
        }
        self.no_base_awaited();
        self.log.durability().set_need(Need::Nothing);
        if let Some(cancel) = cancel {
            self.kill(&cancel);
        }
    }

    /// Nothing is durable until the first base is complete, but it will be.
    pub(super) fn wait_for_base(&self) {
        self.log.durability().set_baseless(true);
        self.log.durability().set_need(Need::Accepted);
    }

    pub(super) fn no_base_awaited(&self) {
        self.log.durability().set_baseless(false);
    }

    /// Brings the AOF to disk before the process ends, and notes where it ends.
    pub fn finish(&self, replid: Option<String>) {
        let (state, writer) = {
            let life = self.life.lock();
            (life.state, life.writer.clone())
        };
        let Some(writer) = writer else { return };
        info!("Calling fsync() on the AOF file.");
        match writer.flush() {
            Ok(offset) if state == State::On => self.note_end(Some(self.end_at(offset, replid))),
            Ok(_) => {}
            Err(error) => warn!("Fail to fsync the AOF file: {}.", strerror(&error)),
        }
    }

    /// The process does not end after all.
    pub fn resume(&self) {
        self.note_end(None);
    }

    fn end_at(&self, offset: u64, replid: Option<String>) -> End {
        let at = self.log.position();
        let stream_db = at.db.filter(|_| at.offset == offset);
        End {
            offset,
            replid,
            stream_db,
        }
    }

    fn note_end(&self, end: Option<End>) {
        let mut manifest = self.manifest.lock();
        let mut next = manifest.clone();
        // Without it nothing is lost but the offset; the failure has been logged.
        if next.set_end(end) && self.folder.save_manifest(&next).is_ok() {
            *manifest = next;
        }
    }

    fn kill(&self, cancel: &AtomicBool) {
        info!("Killing running AOF rewrite child: {}", std::process::id());
        cancel.store(true, Ordering::SeqCst);
    }

    /// Ends a running rewrite soon, without a result. Returns whether one runs.
    pub fn kill_rewrite(&self) -> bool {
        let cancel = self.life.lock().cancel.clone();
        if let Some(cancel) = &cancel {
            self.kill(cancel);
        }
        cancel.is_some()
    }

    /// Waits until a rewrite that has been killed is over, which it is soon: Redis waits for its
    /// child as well. No lock is held that the rewrite may want.
    pub fn await_killed_rewrite(&self) {
        let dying = || {
            let life = self.life.lock();
            life.cancel
                .as_ref()
                .is_some_and(|c| c.load(Ordering::SeqCst))
        };
        for _ in 0..KILLED_WAIT_MS {
            if !dying() {
                return;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// BGREWRITEAOF: what to do, and for [`Request::Scheduled`] it has been done.
    pub fn request_rewrite(&self, other_snapshot: bool, nested: bool) -> Request {
        let mut life = self.life.lock();
        if life.cancel.is_some() {
            return Request::InProgress;
        }
        if other_snapshot || nested {
            life.scheduled = true;
            // Whoever asks for it need not wait for the limit.
            life.failures = 0;
            return Request::Scheduled;
        }
        Request::Start
    }

    /// Asked ten times a second: whether a rewrite is to begin now, because one is scheduled or the
    /// AOF has grown. `any_snapshot`: any snapshot runs.
    pub fn poll_rewrite(&self, now_s: i64, any_snapshot: bool) -> bool {
        let options = *self.options.lock();
        let mut life = self.life.lock();
        if any_snapshot || life.cancel.is_some() {
            return false;
        }
        let failures = life.failures;
        if life.scheduled {
            return !life.limiter.holds_back(failures, now_s);
        }
        let current = self.current_bytes(&life);
        if life.state != State::On
            || options.auto_percentage == 0
            || current <= options.auto_min_bytes
        {
            return false;
        }
        let base = i128::from(life.base_bytes.max(1));
        let growth = i128::from(current) * 100 / base - 100;
        if growth < i128::from(options.auto_percentage) || life.limiter.holds_back(failures, now_s)
        {
            return false;
        }
        drop(life);
        info!("Starting automatic rewriting of AOF on {growth}% growth");
        true
    }
}

#[cfg(test)]
mod tests;

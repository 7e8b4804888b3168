//! The writer as a state machine: one step at a time, the time a parameter, no thread in sight.
//!
//! ```text
//!   log --cursor--> pending bytes --append--> file --fsync--> disk
//!                                      |                 |
//!                                written_offset     synced_offset
//! ```
//!
//! - The file holds the stream without what is for replicas alone, with `#TS:` annotations when
//!   they are on, and with a SELECT of its own at the start where the stream has none. So an
//!   offset is never computed from the file's size; the two published offsets are the cursor's.
//! - `always`: every append is followed by an fsync in the same step; replies wait for
//!   `synced_offset`, and all that waited are released at once. When either fails the process must
//!   end ([`Next::Fatal`]): replies may not go out, and what was changed cannot be taken back.
//! - `everysec`: an fsync is started in the background once a second while there is something
//!   unsynced. Replies wait for `written_offset`, except while an fsync is going on: an append may
//!   then block on the disk, and clients must not feel that. That is when Redis keeps the bytes in
//!   memory and replies. Since nobody waits, what comes is collected for some milliseconds.
//! - An append that fails is undone by cutting the file to its former size, and tried again after
//!   a second; until it succeeds the status makes write commands fail with MISCONF.
//! - Rotation: at a barrier of the log the old file is completed and synced, then the new one is
//!   opened (which puts it into the manifest). So a file that is not the last is always whole.
//!   But under `always`, replies do not wait meanwhile, as during any other fsync: tens of
//!   megabytes may be on their way to the disk.
//! - While replies wait for `written_offset`, whoever has such replies may do the writing itself
//!   ([`Engine::commit`]; see [`super::shared`]).

use super::folder::strerror;
use super::sink::{AofFile, Target, append_all};
use super::status::{Fsync, NO_SPACE, Status};
use crate::oplog::durable::Need;
use crate::oplog::log::{AofRead, Cursor, Piece, Position};
use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tracing::{info, warn};

/// The most that is read from the log in one step.
const READ_BYTES: usize = 1024 * 1024;
const SYNC_EVERY_MS: u64 = 1000;
/// Between two writes during a background fsync.
const COLLECT_MS: u64 = 10;
const RETRY_AFTER_MS: u64 = 1000;
/// The most of the log that a thread with other work writes.
const COMMIT_BYTES: u64 = 256 * 1024;
/// Seconds an fsync may take before writing during it counts as delayed.
const DELAYED_AFTER_MS: u64 = 2000;
/// Between two log entries about failing writes.
const ERROR_LOG_EVERY_MS: u64 = 30_000;
const SELECT_HEAD: &[u8] = b"*2\r\n$6\r\nSELECT\r\n";

/// What the configuration says about syncing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Policy {
    /// `appendfsync`.
    pub fsync: Fsync,
    /// `no-appendfsync-on-rewrite`: no fsync while a snapshot is being written.
    pub no_sync_during_snapshot: bool,
}

/// Syncs files somewhere else.
pub trait BackgroundSync: Send {
    /// Starts syncing `file`. Only called when [`BackgroundSync::poll`] has nothing to say.
    fn start(&mut self, file: Arc<dyn AofFile>);

    /// The result, once there is one.
    fn poll(&mut self) -> Option<io::Result<()>>;
}

/// What the caller of [`Engine::step`] does next.
#[derive(Debug, PartialEq, Eq)]
pub enum Next {
    /// Call again at once.
    Again,
    /// Sleep until the log has more, or the given time is over.
    Sleep {
        /// Milliseconds, if anything is due by itself.
        timeout_ms: Option<u64>,
    },
    /// The process must end without another reply.
    Fatal,
}

/// Opens the next file, which begins at the given place, once the old one is complete and on disk.
pub type Open = Box<dyn FnOnce(Position) -> io::Result<Arc<dyn AofFile>> + Send>;
/// Is told how a rotation ended: the size of the file that was completed, or why not.
pub type Rotated = Box<dyn FnOnce(io::Result<u64>) + Send>;

/// A rotation that waits for the cursor to reach the barrier.
pub(super) struct Rotation {
    /// The barrier's place.
    pub at: Position,
    pub open: Open,
    pub done: Rotated,
}

/// A background fsync that is going on.
struct Syncing {
    /// Log offset that is on disk when it succeeds.
    offset: u64,
    started_ms: u64,
    delay_counted: bool,
}

/// See the module.
pub struct Engine {
    cursor: Cursor,
    target: Target,
    policy: Policy,
    status: Arc<Status>,
    background: Box<dyn BackgroundSync>,
    pieces: Vec<Piece>,
    pending: Vec<u8>,
    /// Log offset up to which everything is in the file.
    written: u64,
    /// Whether the file has bytes that no fsync has covered or is covering.
    unsynced: bool,
    syncing: Option<Syncing>,
    last_sync_ms: u64,
    retry_at_ms: Option<u64>,
    last_error_log_ms: Option<u64>,
    at_barrier: bool,
    /// The old file is on its way to disk, the new one is not open yet.
    rotating: bool,
    fatal: bool,
    /// One for each barrier of the log, in order.
    pub(super) rotations: VecDeque<Rotation>,
}

impl Engine {
    /// A writer that continues `target` with what `cursor` reads.
    pub fn new(
        cursor: Cursor,
        target: Target,
        policy: Policy,
        status: Arc<Status>,
        background: Box<dyn BackgroundSync>,
        now_ms: u64,
    ) -> Self {
        let written = cursor.position();
        status.file_bytes.store(target.size, Ordering::Relaxed);
        status.set_write_error(0);
        status.set_sync_error(0);
        let engine = Self {
            cursor,
            target,
            policy,
            status,
            background,
            pieces: Vec::new(),
            pending: Vec::new(),
            written,
            unsynced: false,
            syncing: None,
            last_sync_ms: now_ms,
            retry_at_ms: None,
            last_error_log_ms: None,
            at_barrier: false,
            rotating: false,
            fatal: false,
            rotations: VecDeque::new(),
        };
        engine.cursor.log().durability().reset(written);
        engine.publish_need();
        engine
    }

    /// The cursor, to sleep on and to be woken by.
    pub fn cursor(&self) -> &Cursor {
        &self.cursor
    }

    /// Whether the last append failed and is to be tried again.
    pub fn is_failing(&self) -> bool {
        self.retry_at_ms.is_some()
    }

    /// Whether `always` could not be kept. That does not go away: an fsync that succeeds after one
    /// that failed says nothing about what the failed one was to bring to disk.
    pub fn is_fatal(&self) -> bool {
        self.fatal
    }

    /// Whether more of the log is to be read as soon as it is appended.
    pub fn wants_more(&self) -> bool {
        !self.is_failing() && !self.at_barrier && self.syncing.is_none()
    }

    /// Changes the policy. What `always` owes for the past is paid by the next step.
    pub fn configure(&mut self, policy: Policy) {
        self.policy = policy;
        self.publish_need();
    }

    /// Does what can be done now without waiting for anything but the disk.
    pub fn step(&mut self, now_ms: u64) -> Next {
        self.finish_background_sync();
        if self.fatal {
            return Next::Fatal;
        }
        if self.retry_at_ms.is_some_and(|at| now_ms < at) {
            return self.sleep(now_ms);
        }
        let read = self.fill();
        if !self.pending.is_empty() && !self.append(now_ms) {
            if self.policy.fsync == Fsync::Always {
                warn!(
                    "Can't recover from AOF write error when the AOF fsync policy is 'always'. \
                     Exiting..."
                );
                self.fatal = true;
                return Next::Fatal;
            }
            return self.sleep(now_ms);
        }
        self.written = self.cursor.position();
        self.sync(now_ms);
        if self.fatal {
            return Next::Fatal;
        }
        self.publish();
        self.at_barrier = read == AofRead::Barrier;
        if self.at_barrier && !self.rotations.is_empty() {
            self.rotate(now_ms);
            return Next::Again;
        }
        if read == AofRead::More {
            Next::Again
        } else {
            self.sleep(now_ms)
        }
    }

    /// Whether bytes in the file wait for an fsync that is yet to begin.
    pub fn is_unsynced(&self) -> bool {
        self.unsynced
    }

    /// Log offset up to which everything is in the file.
    pub fn written(&self) -> u64 {
        self.written
    }

    /// Whether the next step, if there is something to write, ends with an fsync for which replies
    /// wait.
    pub fn syncs_at_once(&self) -> bool {
        self.policy.fsync == Fsync::Always && !self.syncs_suspended() && self.wants_more()
    }

    /// A step for a thread with other work, if no more is to be done than to append a little.
    /// `false` if there is more to do, now or behind it.
    pub fn commit(&mut self, now_ms: u64) -> bool {
        let is_little = self.policy.fsync != Fsync::Always
            && self.wants_more()
            && self.pending.is_empty()
            && self.rotations.is_empty()
            && self.status.flush_sleep_us.load(Ordering::Relaxed) == 0
            && self.cursor.lag() <= COMMIT_BYTES;
        is_little
            && matches!(self.step(now_ms), Next::Sleep { .. })
            && !self.is_failing()
            && !self.at_barrier
    }

    /// Puts everything appended to the log so far into the file and on disk, or says why not.
    /// Returns the offset up to which that is so.
    pub fn flush(&mut self, now_ms: u64) -> io::Result<u64> {
        let end = self.cursor.log().end_offset();
        self.retry_at_ms = None;
        loop {
            let next = self.step(now_ms);
            if self.is_failing() || next == Next::Fatal {
                return Err(io::Error::from_raw_os_error(
                    self.status.write_error().max(1),
                ));
            }
            if self.written >= end || self.at_barrier {
                break;
            }
        }
        self.target.file.sync()?;
        self.unsynced = false;
        self.last_sync_ms = now_ms;
        self.cursor.log().durability().publish_synced(self.written);
        Ok(self.written)
    }

    /// Reads from the log into `pending`, unless that still holds what could not be written.
    fn fill(&mut self) -> AofRead {
        if !self.pending.is_empty() {
            return AofRead::More;
        }
        let read = self.cursor.try_read_aof(READ_BYTES, &mut self.pieces);
        for piece in self.pieces.drain(..) {
            match piece {
                Piece::Data(bytes) => {
                    if let Some(db) = self.target.select.take()
                        && !bytes.starts_with(SELECT_HEAD)
                    {
                        let db = db.to_string();
                        crate::oplog::effect::encode(
                            &mut self.pending,
                            &[b"SELECT", db.as_bytes()],
                        );
                    }
                    self.pending.extend_from_slice(&bytes);
                }
                Piece::Second(unix_s) => {
                    self.pending
                        .extend_from_slice(format!("#TS:{unix_s}\r\n").as_bytes());
                }
            }
        }
        read
    }

    /// Appends `pending` to the file. `false`: not all of it, and what did get there was taken
    /// out again or has left `pending`.
    fn append(&mut self, now_ms: u64) -> bool {
        let sleep_us = self.status.flush_sleep_us.load(Ordering::Relaxed);
        if sleep_us > 0 {
            std::thread::sleep(std::time::Duration::from_micros(sleep_us));
        }
        self.count_delay(now_ms);
        let done = append_all(&*self.target.file, &self.pending);
        if let Some(error) = done.error {
            self.append_failed(done.bytes, &error, now_ms);
            return false;
        }
        self.unsynced = true;
        self.grow(done.bytes);
        self.pending.clear();
        self.pending.shrink_to(4 * READ_BYTES);
        if self.retry_at_ms.take().is_some() {
            info!("AOF write error looks solved, Redis can write again.");
            self.status.set_write_error(0);
            self.publish_need();
        }
        true
    }

    fn append_failed(&mut self, done: usize, error: &io::Error, now_ms: u64) {
        let since = self
            .last_error_log_ms
            .map(|last| now_ms.saturating_sub(last));
        let log = since.is_none_or(|ms| ms > ERROR_LOG_EVERY_MS);
        if log {
            self.last_error_log_ms = Some(now_ms);
        }
        let mut errno = error.raw_os_error().unwrap_or(NO_SPACE);
        if done == 0 {
            if log {
                warn!("Error writing to the AOF file: {}", strerror(error));
            }
        } else {
            errno = NO_SPACE;
            let expected = self.pending.len();
            if log {
                warn!(
                    "Short write while writing to the AOF file: (nwritten={done}, \
                     expected={expected})"
                );
            }
            if let Err(error) = self.target.file.truncate(self.target.size) {
                if log {
                    warn!(
                        "Could not remove short write from the append-only file.  Redis may \
                         refuse to load the AOF the next time it starts.  ftruncate: {}",
                        strerror(&error)
                    );
                }
                self.pending.drain(..done);
                self.unsynced = true;
                self.grow(done);
            }
        }
        self.status.set_write_error(errno);
        self.retry_at_ms = Some(now_ms + RETRY_AFTER_MS);
        self.publish_need();
    }

    fn grow(&mut self, bytes: usize) {
        self.target.size += bytes as u64;
        self.status
            .file_bytes
            .store(self.target.size, Ordering::Relaxed);
    }

    fn count_delay(&mut self, now_ms: u64) {
        let Some(syncing) = &mut self.syncing else {
            return;
        };
        if syncing.delay_counted || now_ms < syncing.started_ms + DELAYED_AFTER_MS {
            return;
        }
        syncing.delay_counted = true;
        self.status.delayed_fsyncs.fetch_add(1, Ordering::Relaxed);
        info!(
            "Asynchronous AOF fsync is taking too long (disk is busy?). Writing the AOF buffer \
             without waiting for fsync to complete, this may slow down Redis."
        );
    }

    fn syncs_suspended(&self) -> bool {
        self.policy.no_sync_during_snapshot && self.status.snapshot_running.load(Ordering::Relaxed)
    }

    /// Syncs if the policy asks for it now.
    fn sync(&mut self, now_ms: u64) {
        if !self.unsynced || self.syncs_suspended() {
            return;
        }
        match self.policy.fsync {
            Fsync::No => {}
            Fsync::Always => {
                if let Err(error) = self.target.file.sync() {
                    self.always_failed(&error);
                    return;
                }
                self.unsynced = false;
                self.last_sync_ms = now_ms;
            }
            Fsync::EverySec => {
                if self.syncing.is_none() && now_ms >= self.last_sync_ms + SYNC_EVERY_MS {
                    self.start_background_sync(now_ms);
                }
            }
        }
    }

    fn always_failed(&mut self, error: &io::Error) {
        self.fatal = true;
        warn!(
            "Can't persist AOF for fsync error when the AOF fsync policy is 'always': {}. \
             Exiting...",
            strerror(error)
        );
    }

    fn start_background_sync(&mut self, now_ms: u64) {
        self.syncing = Some(Syncing {
            offset: self.written,
            started_ms: now_ms,
            delay_counted: false,
        });
        self.unsynced = false;
        self.last_sync_ms = now_ms;
        self.status.sync_pending.store(true, Ordering::Relaxed);
        self.publish_need();
        self.background.start(Arc::clone(&self.target.file));
    }

    fn finish_background_sync(&mut self) {
        if self.syncing.is_none() {
            return;
        }
        let Some(result) = self.background.poll() else {
            return;
        };
        let Some(syncing) = self.syncing.take() else {
            return;
        };
        self.status.sync_pending.store(false, Ordering::Relaxed);
        match result {
            Ok(()) => {
                self.status.set_sync_error(0);
                self.cursor
                    .log()
                    .durability()
                    .publish_synced(syncing.offset);
            }
            Err(error) if self.policy.fsync == Fsync::Always => self.always_failed(&error),
            Err(error) => {
                self.unsynced = true;
                let errno = error.raw_os_error().unwrap_or(libc::EIO);
                if self.status.set_sync_error(errno) == 0 {
                    warn!("Fail to fsync the AOF file: {}", strerror(&error));
                }
            }
        }
        self.publish_need();
    }

    /// Completes the old file and goes on in the new one. When that fails, the old one goes on.
    fn rotate(&mut self, now_ms: u64) {
        let Some(rotation) = self.rotations.pop_front() else {
            return;
        };
        self.cursor.pass_barrier();
        self.at_barrier = false;
        self.rotating = true;
        self.publish_need();
        let opened = self
            .target
            .file
            .sync()
            .and_then(|()| (rotation.open)(rotation.at));
        self.rotating = false;
        match opened {
            Ok(file) => {
                let old_size = self.target.size;
                self.target = Target {
                    file,
                    size: 0,
                    select: rotation.at.db,
                };
                self.unsynced = false;
                self.last_sync_ms = now_ms;
                self.status.file_bytes.store(0, Ordering::Relaxed);
                self.cursor.log().durability().publish_synced(self.written);
                (rotation.done)(Ok(old_size));
            }
            Err(error) => (rotation.done)(Err(error)),
        }
        self.publish_need();
    }

    fn publish(&self) {
        let durability = self.cursor.log().durability();
        if durability.written_offset() != self.written {
            durability.publish_written(self.written);
        }
        let all_synced = !self.unsynced && self.syncing.is_none();
        if all_synced && durability.synced_offset() != self.written {
            durability.publish_synced(self.written);
        }
        self.publish_need();
    }

    fn publish_need(&self) {
        let need = match self.policy.fsync {
            Fsync::Always if !self.syncs_suspended() => Need::Synced,
            _ if self.is_failing() || self.syncing.is_some() || self.rotating => Need::Accepted,
            _ => Need::Written,
        };
        let durability = self.cursor.log().durability();
        if durability.need() != need {
            durability.set_need(need);
        }
    }

    fn sleep(&self, now_ms: u64) -> Next {
        let timeout = |at: u64| at.saturating_sub(now_ms).max(1);
        if let Some(at) = self.retry_at_ms {
            return Next::Sleep {
                timeout_ms: Some(timeout(at)),
            };
        }
        // Nobody waits for what is written while a background fsync goes on, which wakes the writer
        // when it is done.
        let collected_at = self.syncing.is_some().then_some(now_ms + COLLECT_MS);
        let sync_due = self.policy.fsync == Fsync::EverySec && self.unsynced;
        let sync_at = (sync_due && self.syncing.is_none() && !self.syncs_suspended())
            .then_some(self.last_sync_ms + SYNC_EVERY_MS);
        // Whether a snapshot still runs is asked anew now and then.
        let recheck_at = (self.unsynced && self.syncs_suspended()).then_some(now_ms + 100);
        Next::Sleep {
            timeout_ms: [collected_at, sync_at, recheck_at]
                .into_iter()
                .flatten()
                .min()
                .map(timeout),
        }
    }
}

#[cfg(test)]
mod tests;

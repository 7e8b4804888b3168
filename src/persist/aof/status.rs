//! What the writer tells the rest of the server, and the few things it is told at any moment.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, Ordering};

/// When the file is synced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Fsync {
    /// Before the reply of each write.
    Always,
    /// Once a second, in the background.
    #[default]
    EverySec,
    /// When the system pleases.
    No,
}

/// Shared by the writer's thread, INFO and the check before each write command. All relaxed: each
/// value stands for itself.
#[derive(Debug, Default)]
pub struct Status {
    /// Number of the system's error of the last write, 0 when it went well.
    write_error: AtomicI32,
    /// The same of the last background fsync.
    sync_error: AtomicI32,
    pub(super) file_bytes: AtomicU64,
    pub(super) delayed_fsyncs: AtomicU64,
    pub(super) sync_pending: AtomicBool,
    pub(super) flush_sleep_us: AtomicU64,
    pub(super) snapshot_running: AtomicBool,
}

/// Which kinds of errors there were.
pub(super) struct Errors {
    pub write: bool,
    pub sync: bool,
}

/// `ENOSPC`, which a write that came up short stands for.
pub(super) const NO_SPACE: i32 = libc::ENOSPC;

impl Status {
    /// The number of the system's error that keeps the AOF from being written, if there is one:
    /// write commands are then refused with MISCONF.
    pub fn error(&self) -> Option<i32> {
        let write = self.write_error.load(Ordering::Relaxed);
        let sync = self.sync_error.load(Ordering::Relaxed);
        [write, sync].into_iter().find(|error| *error != 0)
    }

    /// The reply to a write command while the AOF cannot be written.
    pub fn misconf(&self) -> Option<String> {
        let error = self.error()?;
        let reason = super::folder::strerror(&io::Error::from_raw_os_error(error));
        Some(format!("MISCONF Errors writing to the AOF file: {reason}"))
    }

    /// How often a write had to wait two seconds for an fsync.
    pub fn delayed_fsyncs(&self) -> u64 {
        self.delayed_fsyncs.load(Ordering::Relaxed)
    }

    /// Back to zero, as CONFIG RESETSTAT does.
    pub fn reset_delayed_fsyncs(&self) {
        self.delayed_fsyncs.store(0, Ordering::Relaxed);
    }

    /// Whether a background fsync is going on.
    pub fn is_sync_pending(&self) -> bool {
        self.sync_pending.load(Ordering::Relaxed)
    }

    /// DEBUG AOF-FLUSH-SLEEP: microseconds to wait before each write.
    pub fn set_flush_sleep_us(&self, us: u64) {
        self.flush_sleep_us.store(us, Ordering::Relaxed);
    }

    /// Tells whether a snapshot is being written, for `no-appendfsync-on-rewrite`.
    pub fn set_snapshot_running(&self, running: bool) {
        self.snapshot_running.store(running, Ordering::Relaxed);
    }

    /// Forgets the errors of an AOF that is no longer written; returns which there were.
    pub(super) fn clear_errors(&self) -> Errors {
        Errors {
            write: self.write_error.swap(0, Ordering::Relaxed) != 0,
            sync: self.sync_error.swap(0, Ordering::Relaxed) != 0,
        }
    }

    pub(super) fn write_error(&self) -> i32 {
        self.write_error.load(Ordering::Relaxed)
    }

    pub(super) fn set_write_error(&self, error: i32) {
        self.write_error.store(error, Ordering::Relaxed);
    }

    /// Returns the former value.
    pub(super) fn set_sync_error(&self, error: i32) -> i32 {
        self.sync_error.swap(error, Ordering::Relaxed)
    }
}

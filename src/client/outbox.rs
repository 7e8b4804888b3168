//! Output from elsewhere: what somebody other than a connection's own command sends to it.
//!
//! Published messages, invalidations, MONITOR lines and replies to served waiters go in here,
//! under a small lock, and wake the connection's worker, which writes them behind what it is
//! writing. The byte count is what output-buffer limits look at.

use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::Notify;

/// The outbox of one connection.
#[derive(Debug, Default)]
pub struct Outbox {
    queue: Mutex<Vec<Bytes>>,
    queued_bytes: AtomicUsize,
    wake: Notify,
}

impl Outbox {
    /// Puts a message in and wakes the worker.
    pub fn push(&self, message: Bytes) {
        self.queued_bytes
            .fetch_add(message.len(), Ordering::Relaxed);
        self.queue.lock().push(message);
        self.wake.notify_one();
    }

    /// Takes everything that is in it.
    pub fn take(&self) -> Vec<Bytes> {
        let taken = std::mem::take(&mut *self.queue.lock());
        let bytes: usize = taken.iter().map(Bytes::len).sum();
        self.queued_bytes.fetch_sub(bytes, Ordering::Relaxed);
        taken
    }

    /// Bytes that wait in it.
    pub fn queued_bytes(&self) -> usize {
        self.queued_bytes.load(Ordering::Relaxed)
    }

    /// Wakes the worker without a message: to look at the connection's flags.
    pub fn wake(&self) {
        self.wake.notify_one();
    }

    /// Waits until something was put in or the worker was woken.
    pub async fn woken(&self) {
        self.wake.notified().await;
    }
}

//! Output from elsewhere: what somebody other than a connection's own command sends to it.
//!
//! Published messages, invalidations, MONITOR lines and replies to served waiters go in here,
//! under a small lock, and wake the connection's worker, which writes them behind what it is
//! writing. The byte count is what output-buffer limits look at.

use std::future::poll_fn;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use parking_lot::Mutex;

/// Who waits to be woken. It is asked for with every request, so the waker is kept from one time to
/// the next.
#[derive(Debug, Default)]
struct Wake {
    woken: bool,
    waker: Option<Waker>,
}

/// The outbox of one connection.
#[derive(Debug, Default)]
pub struct Outbox {
    queue: Mutex<Vec<Bytes>>,
    queued_bytes: AtomicUsize,
    wake: Mutex<Wake>,
}

impl Outbox {
    /// Puts a message in and wakes the worker.
    pub fn push(&self, message: Bytes) {
        self.queued_bytes
            .fetch_add(message.len(), Ordering::Relaxed);
        self.queue.lock().push(message);
        self.wake();
    }

    /// Takes everything that is in it.
    pub fn take(&self) -> Vec<Bytes> {
        if self.queued_bytes() == 0 {
            return Vec::new();
        }
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
        let waker = {
            let mut wake = self.wake.lock();
            wake.woken = true;
            wake.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Waits until something was put in or the worker was woken. One task at a time does so.
    pub async fn woken(&self) {
        poll_fn(|context| self.poll_woken(context)).await;
    }

    /// As [`Outbox::woken`].
    pub fn poll_woken(&self, context: &Context<'_>) -> Poll<()> {
        let mut wake = self.wake.lock();
        if std::mem::take(&mut wake.woken) {
            return Poll::Ready(());
        }
        let task = context.waker();
        if wake.waker.as_ref().is_none_or(|w| !w.will_wake(task)) {
            wake.waker = Some(task.clone());
        }
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::AtomicU32;

    #[derive(Default)]
    struct Task(AtomicU32);

    impl std::task::Wake for Task {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn who_waits_is_woken_once_and_nothing_is_missed_in_between() {
        let outbox = Outbox::default();
        let tasks = [Arc::new(Task::default()), Arc::new(Task::default())];
        let woken = |i: usize| tasks[i].0.load(Ordering::Relaxed);
        let poll = |i: usize| {
            let waker = Waker::from(Arc::clone(&tasks[i]));
            outbox.poll_woken(&Context::from_waker(&waker))
        };
        outbox.wake();
        assert!(poll(0).is_ready(), "it was woken before it waited");
        assert!(poll(0).is_pending());
        outbox.push(Bytes::from_static(b"message"));
        outbox.wake();
        assert_eq!(woken(0), 1);
        assert_eq!(outbox.take(), ["message"]);
        assert!(poll(0).is_ready());
        // The connection has gone on in another task.
        assert!(poll(0).is_pending());
        assert!(poll(1).is_pending());
        outbox.wake();
        assert_eq!((woken(0), woken(1)), (1, 1));
        assert!(poll(1).is_ready());
    }
}

//! Sleeping and waking readers, without a cost while all of them are awake.
//!
//! A reader that finds nothing to read raises its flag and counts itself as a sleeper, looks once
//! more, and sleeps. Whoever lowers the flag takes the reader off the count: the waker, or the
//! reader itself when it gives up. An appender publishes the offset before it looks at the count,
//! the reader counts itself before it looks at the offset, both sequentially consistent, so at
//! least one of the two sees the other.
//!
//! A reader on a thread may say how far the log is to have grown before anybody calls it, which it
//! does before it raises its flag: so whoever sees the flag sees that as well, or what a later
//! sleep says, and the reader looks once more behind that.

use parking_lot::{Condvar, Mutex};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Instant;
use tokio::sync::Notify;

/// Where one reader sleeps: a thread on the condition variable, a task on the notifier.
#[derive(Debug, Default)]
struct Bed {
    asleep: AtomicBool,
    /// It is called once the log ends behind this.
    beyond: AtomicU64,
    called: Mutex<bool>,
    thread: Condvar,
    task: Notify,
}

impl Bed {
    fn call(&self) {
        *self.called.lock() = true;
        self.thread.notify_one();
        self.task.notify_one();
    }
}

/// Makes a blocking [`super::Cursor::wait`] return early, from any thread.
#[derive(Debug, Clone)]
pub struct WakeHandle(Arc<Bed>);

impl WakeHandle {
    /// Ends the present wait of the cursor, or the next one if it is not waiting.
    pub fn wake(&self) {
        self.0.call();
    }
}

/// The beds of all readers of a log.
#[derive(Debug, Default)]
pub(super) struct Wakeups {
    sleepers: AtomicUsize,
    beds: Mutex<Vec<Arc<Bed>>>,
}

/// One reader's bed; leaving the registry when dropped is up to [`Wakeups::leave`].
#[derive(Debug, Clone)]
pub(super) struct Sleeper(Arc<Bed>);

impl Sleeper {
    pub fn handle(&self) -> WakeHandle {
        WakeHandle(Arc::clone(&self.0))
    }
}

/// A raised flag; lowers it when dropped, if no waker did.
struct Asleep<'a> {
    wakeups: &'a Wakeups,
    bed: &'a Bed,
}

impl Drop for Asleep<'_> {
    fn drop(&mut self) {
        if self.bed.asleep.swap(false, Ordering::SeqCst) {
            self.wakeups.sleepers.fetch_sub(1, Ordering::SeqCst);
        }
    }
}

impl Wakeups {
    pub fn join(&self) -> Sleeper {
        let bed = Arc::new(Bed::default());
        self.beds.lock().push(Arc::clone(&bed));
        Sleeper(bed)
    }

    pub fn leave(&self, sleeper: &Sleeper) {
        self.beds.lock().retain(|bed| !Arc::ptr_eq(bed, &sleeper.0));
    }

    /// Calls those who wait for less than what the log's `end` is.
    #[inline]
    pub fn wake_all(&self, end: impl FnOnce() -> u64) {
        if self.sleepers.load(Ordering::SeqCst) > 0 {
            self.wake_sleepers(end());
        }
    }

    #[cold]
    fn wake_sleepers(&self, end: u64) {
        for bed in self.beds.lock().iter() {
            if bed.asleep.load(Ordering::SeqCst)
                && end > bed.beyond.load(Ordering::SeqCst)
                && bed.asleep.swap(false, Ordering::SeqCst)
            {
                self.sleepers.fetch_sub(1, Ordering::SeqCst);
                bed.call();
            }
        }
    }

    fn lie_down<'a>(&'a self, bed: &'a Bed) -> Asleep<'a> {
        if !bed.asleep.swap(true, Ordering::SeqCst) {
            self.sleepers.fetch_add(1, Ordering::SeqCst);
        }
        Asleep { wakeups: self, bed }
    }

    /// Sleeps on a task until `ready`.
    pub async fn sleep(&self, sleeper: &Sleeper, ready: impl Fn() -> bool) {
        sleeper.0.beyond.store(0, Ordering::SeqCst);
        while !ready() {
            let _asleep = self.lie_down(&sleeper.0);
            if ready() {
                return;
            }
            sleeper.0.task.notified().await;
        }
    }

    /// Sleeps on a thread until `ready`, the deadline or a [`WakeHandle::wake`]. What is appended
    /// wakes it when the log ends behind `beyond`, and never if that is `u64::MAX`.
    pub fn sleep_blocking(
        &self,
        sleeper: &Sleeper,
        beyond: u64,
        deadline: Option<Instant>,
        ready: impl Fn() -> bool,
    ) -> bool {
        let bed = &sleeper.0;
        bed.beyond.store(beyond, Ordering::SeqCst);
        let _asleep = (beyond != u64::MAX).then(|| self.lie_down(bed));
        let mut called = bed.called.lock();
        while !*called && !ready() {
            match deadline {
                None => bed.thread.wait(&mut called),
                Some(deadline) => {
                    if bed.thread.wait_until(&mut called, deadline).timed_out() {
                        break;
                    }
                }
            }
        }
        *called = false;
        ready()
    }
}

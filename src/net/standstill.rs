//! A stop of all workers (`DEBUG SLEEP`), and how they begin again.
//!
//! Where one thread does everything, what arrived while it slept is handled before anything that
//! arrives later. Several threads that merely slept equally long do not give that: the first to
//! wake would take new requests while another still has old ones in its sockets. So each worker,
//! once the time is over, lets its connections handle what has arrived, and then stands still until
//! all others have done so. A client that hears from any worker after the stop can rely on this:
//! what anybody sent before its own request has been run.
//!
//! Of stops that overlap, all workers see the same order (the queues are filled under one lock), so
//! none waits for another in turn.

use std::sync::Arc;
use std::time::Instant;

use parking_lot::{Condvar, Mutex};
use tokio::sync::Notify;

/// One stop.
#[derive(Debug)]
pub(super) struct Standstill {
    until: Instant,
    /// Workers that have yet to handle what has arrived.
    behind: Mutex<usize>,
    together: Condvar,
    over: Notify,
}

/// One worker's part in a stop. A worker that ends without taking part drops it.
#[derive(Debug)]
pub(super) struct Part(Arc<Standstill>);

impl Standstill {
    /// A stop of so many workers, and the part of each.
    pub(super) fn new(until: Instant, workers: usize) -> (Arc<Standstill>, Vec<Part>) {
        let stop = Arc::new(Standstill {
            until,
            behind: Mutex::new(workers),
            together: Condvar::new(),
            over: Notify::new(),
        });
        let parts = (0..workers).map(|_| Part(Arc::clone(&stop))).collect();
        (stop, parts)
    }

    /// Ends when all workers have handled what arrived during the stop. For one waiter.
    pub(super) async fn over(&self) {
        self.over.notified().await;
    }
}

impl Part {
    /// Stops this thread, lets its connections catch up, and waits for the other workers.
    pub(super) async fn take(self) {
        std::thread::sleep(self.0.until.saturating_duration_since(Instant::now()));
        // One turn of the worker's loop: what yields is woken behind the connections that the
        // sockets have something for, and as a task of its own takes its place behind them. In a
        // second turn who has been answered in the first would be served before others are done.
        let _ = tokio::task::spawn_local(tokio::task::yield_now()).await;
        let stop = Arc::clone(&self.0);
        drop(self);
        let mut behind = stop.behind.lock();
        stop.together.wait_while(&mut behind, |n| *n > 0);
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        let mut behind = self.0.behind.lock();
        *behind = behind.saturating_sub(1);
        if *behind == 0 {
            self.0.together.notify_all();
            self.0.over.notify_one();
        }
    }
}

//! The end of a server: by signal or SHUTDOWN, with the data saved as configured.
//!
//! A request stops nothing yet: first replicas may catch up (for `shutdown-timeout` seconds at
//! most, clients' writes paused meanwhile), then the data is saved. Only when nothing has gone
//! wrong, or FORCE was said, does the main loop end.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::base::clock;
use crate::command::engine::{Engine, PauseReason};
use crate::command::host::ShutdownRequest;
use crate::config::ShutdownOptions;
use crate::keyspace::locks::ShardMask;

use super::saving::Saver;

/// Whether all replicas have everything.
pub type CaughtUp = Box<dyn Fn() -> bool + Send + Sync>;

/// Whether the shutdown may go on to save.
pub type MaySave = Box<dyn Fn(&ShutdownRequest) -> bool + Send + Sync>;

/// The state of a shutdown.
pub struct Shutdown {
    engine: Arc<Engine>,
    saver: Arc<Saver>,
    running: AtomicBool,
    aborted: AtomicBool,
    done: AtomicBool,
    ended: Notify,
    /// How long it waits for replicas, Unix milliseconds; 0 while it does not.
    waits_until_ms: AtomicI64,
    caught_up: Mutex<CaughtUp>,
    /// Asked before the data is saved.
    before_save: Mutex<MaySave>,
    /// Runs right before the end: flushes what must be on disk.
    last_words: Mutex<Box<dyn Fn() + Send + Sync>>,
}

impl Shutdown {
    /// Nothing has been asked yet.
    pub fn new(engine: Arc<Engine>, saver: Arc<Saver>) -> Shutdown {
        Shutdown {
            engine,
            saver,
            running: AtomicBool::new(false),
            aborted: AtomicBool::new(false),
            done: AtomicBool::new(false),
            ended: Notify::new(),
            waits_until_ms: AtomicI64::new(0),
            caught_up: Mutex::new(Box::new(|| true)),
            before_save: Mutex::new(Box::new(|_| true)),
            last_words: Mutex::new(Box::new(|| ())),
        }
    }

    /// Says who knows whether replicas have everything.
    pub fn set_caught_up(&self, caught_up: CaughtUp) {
        *self.caught_up.lock() = caught_up;
    }

    /// Says who is asked before the data is saved; the reason of a refusal is logged there.
    pub fn set_before_save(&self, before_save: MaySave) {
        *self.before_save.lock() = before_save;
    }

    /// Says what is to be done right before the end, when no command runs any more.
    pub fn set_last_words(&self, last_words: Box<dyn Fn() + Send + Sync>) {
        *self.last_words.lock() = last_words;
    }

    /// The request that a signal with these options stands for.
    pub fn by_signal(options: ShutdownOptions) -> ShutdownRequest {
        ShutdownRequest {
            save: options.save,
            no_save: options.nosave,
            now: options.now,
            force: options.force,
        }
    }

    /// Waits until the server is to end.
    pub async fn ended(&self) {
        let waiting = self.ended.notified();
        tokio::pin!(waiting);
        waiting.as_mut().enable();
        if self.done.load(Ordering::Acquire) {
            return;
        }
        waiting.await;
    }

    /// Milliseconds that a shutdown still waits for replicas at most, if one does.
    pub fn waits_ms(&self) -> Option<i64> {
        let until = self.waits_until_ms.load(Ordering::Relaxed);
        (until > 0).then(|| (until - clock::unix_ms()).max(0))
    }

    /// Stops a shutdown that waits for replicas. Whether there was one.
    pub fn abort(&self) -> bool {
        if !self.running.load(Ordering::Acquire) {
            return false;
        }
        self.aborted.store(true, Ordering::Release);
        true
    }

    /// Goes through a shutdown, or joins one that goes on. Returns only if it did not happen.
    pub async fn run(&self, request: ShutdownRequest) {
        if self.running.swap(true, Ordering::AcqRel) {
            self.wait_for_other().await;
            return;
        }
        self.aborted.store(false, Ordering::Release);
        tracing::warn!("User requested shutdown...");
        let went_on = self.let_replicas_catch_up(request).await;
        if went_on && self.save(request) {
            // No unit begins any more, so what is acknowledged is what `last_words` finds. The
            // process ends with the shards locked.
            std::mem::forget(self.engine.keyspace.lock(ShardMask::ALL));
            (self.last_words.lock())();
            self.done.store(true, Ordering::Release);
            self.ended.notify_waiters();
            std::future::pending::<()>().await;
        }
        if !went_on {
            tracing::warn!("Shutdown manually aborted.");
        }
        self.running.store(false, Ordering::Release);
    }

    async fn wait_for_other(&self) {
        while self.running.load(Ordering::Acquire) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Pauses writes until replicas have everything. `false` if the shutdown was aborted.
    async fn let_replicas_catch_up(&self, request: ShutdownRequest) -> bool {
        let seconds = self
            .engine
            .config
            .current()
            .process
            .shutdown_timeout_seconds;
        if request.now || seconds == 0 || (self.caught_up.lock())() {
            return true;
        }
        tracing::info!("Waiting for replicas before shutting down.");
        let now_ms = clock::unix_ms();
        let until = now_ms + i64::from(seconds) * 1000;
        self.waits_until_ms.store(until, Ordering::Relaxed);
        self.engine
            .hold_clients(PauseReason::Shutdown, now_ms, until, false);
        let mut went_on = true;
        while clock::unix_ms() < until && !(self.caught_up.lock())() {
            if self.aborted.load(Ordering::Acquire) {
                went_on = false;
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        self.engine
            .release_clients(PauseReason::Shutdown, clock::unix_ms());
        self.waits_until_ms.store(0, Ordering::Relaxed);
        went_on
    }

    /// Saves if the request or the configuration wants it. `false` if that failed and was not
    /// forced.
    fn save(&self, request: ShutdownRequest) -> bool {
        if !(self.before_save.lock())(&request) {
            tracing::warn!("{FAILED}");
            return false;
        }
        self.saver.cancel();
        let has_points = !self.engine.config.current().rdb.save.is_empty();
        if !(request.save || has_points && !request.no_save) {
            return true;
        }
        tracing::info!("Saving the final RDB snapshot before exiting.");
        if self.saver.save().is_ok() {
            return true;
        }
        if request.force {
            tracing::warn!("Error trying to save the DB. Exit anyway.");
            return true;
        }
        tracing::warn!("Error trying to save the DB, can't exit.");
        tracing::warn!("{FAILED}");
        false
    }
}

const FAILED: &str = "Errors trying to shut down the server. Check the logs for more information.";

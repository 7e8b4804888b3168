//! The end of a server: by signal or SHUTDOWN, with the data saved as configured.
//!
//! ```text
//!   asked --> replicas catch up (at most shutdown-timeout seconds) --> saved --> ended
//!                 |  SHUTDOWN ABORT                                     |  it failed, no FORCE
//!                 +---------------------> the server goes on <----------+
//! ```
//!
//! Whether or not replicas were waited for, they are sent what their sockets take before the end.
//!
//! From the moment a shutdown waits or saves, clients' writes are held back, and they stay so until
//! the process is gone: what has been answered is in the files and, where a replica was waited for,
//! on the replica. A server that goes on lets the writes go on, too.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::base::clock;
use crate::command::engine::{Engine, Held, PauseReason};
use crate::command::host::ShutdownRequest;
use crate::config::ShutdownOptions;
use crate::keyspace::locks::ShardMask;

use super::saving::Saver;

/// How often replicas and files are looked at.
const LOOK: Duration = Duration::from_millis(10);

/// How long a server that ends goes on sending to replicas at most.
const PARTING: Duration = Duration::from_secs(1);

/// The replicas, as a shutdown sees them.
pub trait Followers: Send + Sync {
    /// Whether all of them have everything.
    fn caught_up(&self) -> bool;

    /// Asks them to say what they have.
    fn ask(&self);

    /// Whether the socket of one of them takes more of what it has not been sent.
    fn may_be_sent_more(&self) -> bool;

    /// Logs who has not caught up, and how many have.
    fn report(&self);
}

/// Whether the shutdown may go on to save.
pub type MaySave = Box<dyn Fn(&ShutdownRequest) -> bool + Send + Sync>;

/// The state of a shutdown.
pub struct Shutdown {
    engine: Arc<Engine>,
    saver: Arc<Saver>,
    followers: Arc<dyn Followers>,
    /// A signal has asked for it and cron has yet to begin it.
    asked: AtomicBool,
    running: AtomicBool,
    aborted: AtomicBool,
    done: AtomicBool,
    ended: Notify,
    /// How long it waits for replicas, Unix milliseconds; 0 while it does not.
    waits_until_ms: AtomicI64,
    /// Asked before the data is saved.
    before_save: Mutex<MaySave>,
    /// Runs right before the end: flushes what must be on disk.
    last_words: Mutex<Box<dyn Fn() + Send + Sync>>,
}

/// Why a shutdown did not happen.
enum Stopped {
    /// SHUTDOWN ABORT.
    Aborted,
    /// The data could not be saved; logged.
    Unsaved,
}

impl Shutdown {
    /// Nothing has been asked yet.
    pub fn new(engine: Arc<Engine>, saver: Arc<Saver>, followers: Arc<dyn Followers>) -> Shutdown {
        Shutdown {
            engine,
            saver,
            followers,
            asked: AtomicBool::new(false),
            running: AtomicBool::new(false),
            aborted: AtomicBool::new(false),
            done: AtomicBool::new(false),
            ended: Notify::new(),
            waits_until_ms: AtomicI64::new(0),
            before_save: Mutex::new(Box::new(|_| true)),
            last_words: Mutex::new(Box::new(|| ())),
        }
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
        let waits = self.waits_until_ms.load(Ordering::Acquire) != 0;
        if self.asked.swap(false, Ordering::AcqRel) {
            tracing::info!("Shutdown manually aborted.");
            return true;
        }
        if !waits {
            return false;
        }
        if !self.aborted.swap(true, Ordering::AcqRel) {
            tracing::info!("Shutdown manually aborted.");
        }
        true
    }

    /// Whether a shutdown goes on.
    pub fn is_running(&self) -> bool {
        self.running.load(Ordering::Acquire)
    }

    /// Goes through the shutdown that a signal asks for. Nothing begins while cron is paused.
    pub async fn run_by_signal(self: &Arc<Self>, request: ShutdownRequest) {
        self.asked.store(true, Ordering::Release);
        while self.engine.cron_paused.load(Ordering::Relaxed) {
            tokio::time::sleep(LOOK).await;
        }
        if self.asked.swap(false, Ordering::AcqRel) {
            self.run(request).await;
        }
    }

    /// Goes through a shutdown, or joins one that goes on. Returns only if it did not happen.
    ///
    /// To be run to its end: whoever asked may go away meanwhile, which changes nothing.
    pub async fn run(self: &Arc<Self>, request: ShutdownRequest) {
        if self.running.swap(true, Ordering::AcqRel) {
            while self.running.load(Ordering::Acquire) {
                tokio::time::sleep(LOOK).await;
            }
            return;
        }
        self.aborted.store(false, Ordering::Release);
        tracing::info!("User requested shutdown...");
        match self.go_through(request).await {
            Ok(()) => {
                // No unit begins any more, so what is acknowledged is what `last_words` finds. The
                // process ends with the shards locked.
                std::mem::forget(self.engine.keyspace.lock(ShardMask::ALL));
                (self.last_words.lock())();
                self.done.store(true, Ordering::Release);
                self.ended.notify_waiters();
                std::future::pending::<()>().await;
            }
            Err(Stopped::Unsaved) => tracing::warn!(
                "Errors trying to shut down the server. Check the logs for more information."
            ),
            Err(Stopped::Aborted) => {}
        }
        self.engine
            .release_clients(PauseReason::Shutdown, clock::unix_ms());
        self.running.store(false, Ordering::Release);
    }

    async fn go_through(self: &Arc<Self>, request: ShutdownRequest) -> Result<(), Stopped> {
        self.let_replicas_catch_up(request).await?;
        self.hold_writes();
        self.followers.report();
        let me = Arc::clone(self);
        // On another thread, so that a signal is heard meanwhile.
        let saved = tokio::task::spawn_blocking(move || me.save(request)).await;
        saved.unwrap_or(Err(Stopped::Unsaved))?;
        self.send_the_rest().await;
        Ok(())
    }

    /// Gives replicas what has been written and their sockets take at once.
    async fn send_the_rest(&self) {
        let begun = Instant::now();
        while self.followers.may_be_sent_more() && begun.elapsed() < PARTING {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// No write that has not begun is run from here on, and none is half done.
    fn hold_writes(&self) {
        let now_ms = clock::unix_ms();
        self.engine
            .hold_clients(PauseReason::Shutdown, now_ms, i64::MAX, Held::Writes);
        drop(self.engine.keyspace.lock(ShardMask::ALL));
    }

    /// Holds writes back until replicas have everything.
    async fn let_replicas_catch_up(&self, request: ShutdownRequest) -> Result<(), Stopped> {
        let settings = self.engine.config.current();
        let seconds = settings.process.shutdown_timeout_seconds;
        if request.now || seconds == 0 || self.followers.caught_up() {
            return Ok(());
        }
        let until = clock::unix_ms() + i64::from(seconds) * 1000;
        self.waits_until_ms.store(until, Ordering::Release);
        self.hold_writes();
        self.followers.ask();
        tracing::info!("Waiting for replicas before shutting down.");
        let mut aborted = false;
        while !aborted && clock::unix_ms() < until && !self.followers.caught_up() {
            tokio::time::sleep(LOOK).await;
            aborted = self.aborted.load(Ordering::Acquire);
        }
        self.waits_until_ms.store(0, Ordering::Release);
        if aborted {
            Err(Stopped::Aborted)
        } else {
            Ok(())
        }
    }

    /// Writes the RDB file if the request or the configuration wants it.
    fn save(&self, request: ShutdownRequest) -> Result<(), Stopped> {
        if self.saver.status.in_progress.load(Ordering::Acquire) {
            tracing::warn!("There is a child saving an .rdb. Killing it!");
        }
        self.saver.cancel();
        self.saver.name.wait();
        if !(self.before_save.lock())(&request) {
            return Err(Stopped::Unsaved);
        }
        let has_points = !self.engine.config.current().rdb.save.is_empty();
        if !(request.save || has_points && !request.no_save) {
            return Ok(());
        }
        tracing::info!("Saving the final RDB snapshot before exiting.");
        if self.saver.save().is_ok() {
            return Ok(());
        }
        if request.force {
            tracing::warn!("Error trying to save the DB. Exit anyway.");
            return Ok(());
        }
        tracing::warn!("Error trying to save the DB, can't exit.");
        Err(Stopped::Unsaved)
    }
}

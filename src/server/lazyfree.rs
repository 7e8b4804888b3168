//! Freeing large things away from the workers: one thread, a queue, and a count for INFO.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;

use tokio::sync::oneshot;

use super::usage::follow_thread;
use crate::keyspace::unit::Garbage;

/// What waits to be freed.
#[derive(Debug, Default)]
pub struct Counts {
    /// Lots that wait, of whatever kind.
    jobs: AtomicU64,
    /// Keys that wait.
    pub pending: AtomicU64,
    /// Keys freed since the start or the last reset.
    pub freed: AtomicU64,
}

enum Job {
    Free(Vec<Garbage>),
    /// To be freed, and not counted as lazy.
    FreeUncounted(Vec<Garbage>),
    /// To be told that everything before it has been freed.
    Tell(oneshot::Sender<()>),
}

/// The freeing thread's queue.
pub struct Lazyfree {
    queue: mpsc::Sender<Job>,
    /// Its counts.
    pub counts: Arc<Counts>,
}

impl Lazyfree {
    /// Starts the thread.
    ///
    /// # Errors
    /// If no thread can be made.
    pub fn start() -> io::Result<Lazyfree> {
        let (queue, work) = mpsc::channel::<Job>();
        let counts = Arc::new(Counts::default());
        let theirs = Arc::clone(&counts);
        std::thread::Builder::new()
            .name("bio_lazy_free".to_owned())
            .spawn(move || {
                follow_thread();
                for job in work {
                    let garbage = match job {
                        Job::Free(garbage) => garbage,
                        Job::FreeUncounted(garbage) => {
                            drop(garbage);
                            theirs.jobs.fetch_sub(1, Ordering::Release);
                            continue;
                        }
                        Job::Tell(tell) => {
                            // Whoever asked may have gone.
                            let _ = tell.send(());
                            continue;
                        }
                    };
                    let keys = keys_in(&garbage);
                    drop(garbage);
                    theirs.jobs.fetch_sub(1, Ordering::Release);
                    theirs.pending.fetch_sub(keys, Ordering::Relaxed);
                    theirs.freed.fetch_add(keys, Ordering::Relaxed);
                }
            })?;
        Ok(Lazyfree { queue, counts })
    }

    /// Frees on the thread.
    pub fn free(&self, garbage: Vec<Garbage>) {
        self.counts
            .pending
            .fetch_add(keys_in(&garbage), Ordering::Relaxed);
        self.counts.jobs.fetch_add(1, Ordering::Relaxed);
        // The thread ends only with the process; without it everything is freed here.
        drop(self.queue.send(Job::Free(garbage)));
    }

    /// Frees on the thread what nobody counts as lazy.
    pub fn free_uncounted(&self, garbage: Vec<Garbage>) {
        self.counts.jobs.fetch_add(1, Ordering::Relaxed);
        drop(self.queue.send(Job::FreeUncounted(garbage)));
    }

    /// Whether anything given to the thread has not been freed yet.
    pub fn is_busy(&self) -> bool {
        self.counts.jobs.load(Ordering::Acquire) > 0
    }

    /// Ends when all that was given to the thread so far has been freed.
    pub fn caught_up(&self) -> oneshot::Receiver<()> {
        let (tell, told) = oneshot::channel();
        drop(self.queue.send(Job::Tell(tell)));
        told
    }
}

fn keys_in(garbage: &[Garbage]) -> u64 {
    garbage.iter().map(|g| g.keys() as u64).sum()
}

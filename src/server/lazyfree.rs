//! Freeing large things away from the workers: one thread, a queue, and a count for INFO.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;

use crate::keyspace::unit::Garbage;

/// What waits to be freed.
#[derive(Debug, Default)]
pub struct Counts {
    /// Keys that wait.
    pub pending: AtomicU64,
    /// Keys freed since the start or the last reset.
    pub freed: AtomicU64,
}

/// The freeing thread's queue.
pub struct Lazyfree {
    queue: mpsc::Sender<Vec<Garbage>>,
    /// Its counts.
    pub counts: Arc<Counts>,
}

impl Lazyfree {
    /// Starts the thread.
    ///
    /// # Errors
    /// If no thread can be made.
    pub fn start() -> io::Result<Lazyfree> {
        let (queue, work) = mpsc::channel::<Vec<Garbage>>();
        let counts = Arc::new(Counts::default());
        let theirs = Arc::clone(&counts);
        std::thread::Builder::new()
            .name("bio_lazy_free".to_owned())
            .spawn(move || {
                for garbage in work {
                    let keys = keys_in(&garbage);
                    drop(garbage);
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
        // The thread ends only with the process; without it everything is freed here.
        drop(self.queue.send(garbage));
    }
}

fn keys_in(garbage: &[Garbage]) -> u64 {
    garbage.iter().map(|g| g.keys() as u64).sum()
}

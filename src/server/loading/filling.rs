//! The second half of a load: entries go into the keyspace on a thread of their own, batch by
//! batch, while the stream is read on. A load of less than a batch needs no thread.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{Builder, Scope, ScopedJoinHandle};

use crate::keyspace::fill::Newcomer;
use crate::keyspace::locks::Keyspace;
use crate::persist::rdb::reader::Verdict;

/// Keys in a batch; many go into each shard under one lock.
const BATCH_KEYS: usize = 8192;
/// Bytes of entries in a batch.
const BATCH_BYTES: usize = 4 << 20;
/// Batches that wait for the thread.
const AHEAD: usize = 2;

/// How keys go in.
#[derive(Clone, Copy)]
pub struct Filling<'e> {
    /// Where to.
    pub keyspace: &'e Keyspace,
    /// A key that is there already is replaced instead of refused.
    pub replace: bool,
    /// The instant of the load, Unix milliseconds.
    pub now_ms: i64,
}

impl Filling<'_> {
    fn put(&self, batch: &mut Vec<Newcomer>) -> Verdict {
        let outcome = self.keyspace.fill(batch, self.replace, self.now_ms);
        outcome.map_err(|n| {
            format!(
                "RDB has duplicated key '{}' in DB {}",
                String::from_utf8_lossy(n.key()),
                n.db()
            )
        })
    }
}

struct Thread<'s> {
    to: SyncSender<Vec<Newcomer>>,
    /// Batches that are in, to be used again.
    emptied: Receiver<Vec<Newcomer>>,
    handle: ScopedJoinHandle<'s, Verdict>,
}

/// Gathers entries into batches.
pub struct Filler<'s, 'e> {
    scope: &'s Scope<'s, 'e>,
    filling: Filling<'e>,
    batch: Vec<Newcomer>,
    batch_bytes: usize,
    thread: Option<Thread<'s>>,
}

impl<'s, 'e: 's> Filler<'s, 'e> {
    /// One whose thread is of this scope.
    pub fn new(scope: &'s Scope<'s, 'e>, filling: Filling<'e>) -> Filler<'s, 'e> {
        Filler {
            scope,
            filling,
            batch: Vec::new(),
            batch_bytes: 0,
            thread: None,
        }
    }

    /// Takes an entry.
    ///
    /// # Errors
    /// What was wrong with an entry, this one or one that came before.
    pub fn put(&mut self, newcomer: Newcomer) -> Verdict {
        self.batch_bytes += newcomer.size_bytes();
        self.batch.push(newcomer);
        if self.batch.len() < BATCH_KEYS && self.batch_bytes < BATCH_BYTES {
            return Ok(());
        }
        self.batch_bytes = 0;
        if self.thread.is_none() {
            self.thread = self.begin();
        }
        let Some(thread) = &self.thread else {
            // There is no thread to be had: it is slower, and no worse.
            return self.filling.put(&mut self.batch);
        };
        let empty = thread.emptied.try_recv().unwrap_or_default();
        let batch = std::mem::replace(&mut self.batch, empty);
        match thread.to.send(batch) {
            Ok(()) => Ok(()),
            Err(_) => self.end(),
        }
    }

    fn begin(&self) -> Option<Thread<'s>> {
        let (to, batches) = sync_channel::<Vec<Newcomer>>(AHEAD);
        let (back, emptied) = sync_channel(AHEAD + 1);
        let filling = self.filling;
        let run = move || {
            for mut batch in batches {
                filling.put(&mut batch)?;
                // If there are enough of them, this one goes.
                let _ = back.try_send(batch);
            }
            Ok(())
        };
        let builder = Builder::new().name("load_fill".to_owned());
        let handle = builder.spawn_scoped(self.scope, run).ok()?;
        Some(Thread {
            to,
            emptied,
            handle,
        })
    }

    /// Waits for the thread. What it stumbled over.
    fn end(&mut self) -> Verdict {
        let Some(Thread { to, handle, .. }) = self.thread.take() else {
            return Ok(());
        };
        drop(to);
        let ended = handle.join();
        ended.unwrap_or_else(|_| Err("the thread that fills the keyspace is gone".to_owned()))
    }

    /// Puts the rest in.
    ///
    /// # Errors
    /// What was wrong with an entry.
    pub fn finish(mut self) -> Verdict {
        self.end()?;
        self.filling.put(&mut self.batch)
    }
}

//! The second half of a load: entries go into the keyspace on threads of their own, batch by
//! batch, while the stream is read on. Each thread has its part of the shards; a load of less than
//! a batch needs no thread.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{Builder, Scope, ScopedJoinHandle};

use crate::keyspace::fill::Newcomer;
use crate::keyspace::locks::Keyspace;
use crate::persist::rdb::reader::Verdict;

/// Keys in a batch; many go into each shard under one lock.
const BATCH_KEYS: usize = 16384;
/// Bytes of entries in a batch.
const BATCH_BYTES: usize = 8 << 20;
/// Parts of the shards, each with a thread.
const PARTS: usize = 2;
/// Batches that wait for a thread.
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

/// What goes to one part of the shards.
#[derive(Default)]
struct Part<'s> {
    batch: Vec<Newcomer>,
    bytes: usize,
    thread: Option<Thread<'s>>,
}

impl<'s> Part<'s> {
    fn put<'e: 's>(
        &mut self,
        newcomer: Newcomer,
        scope: &'s Scope<'s, 'e>,
        filling: Filling<'e>,
    ) -> Verdict {
        self.bytes += newcomer.size_bytes();
        self.batch.push(newcomer);
        if self.batch.len() < BATCH_KEYS && self.bytes < BATCH_BYTES {
            return Ok(());
        }
        self.bytes = 0;
        if self.thread.is_none() {
            self.thread = Thread::begin(scope, filling);
        }
        let Some(thread) = &self.thread else {
            // There is no thread to be had: it is slower, and no worse.
            return filling.put(&mut self.batch);
        };
        let empty = thread.emptied.try_recv().unwrap_or_default();
        let batch = std::mem::replace(&mut self.batch, empty);
        match thread.to.send(batch) {
            Ok(()) => Ok(()),
            Err(_) => self.end(),
        }
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
}

impl<'s> Thread<'s> {
    fn begin<'e: 's>(scope: &'s Scope<'s, 'e>, filling: Filling<'e>) -> Option<Thread<'s>> {
        let (to, batches) = sync_channel::<Vec<Newcomer>>(AHEAD);
        let (back, emptied) = sync_channel(AHEAD + 1);
        let run = move || {
            for mut batch in batches {
                filling.put(&mut batch)?;
                // If there are enough of them, this one goes.
                let _ = back.try_send(batch);
            }
            Ok(())
        };
        let builder = Builder::new().name("load_fill".to_owned());
        let handle = builder.spawn_scoped(scope, run).ok()?;
        Some(Thread {
            to,
            emptied,
            handle,
        })
    }
}

/// Gathers entries into batches.
pub struct Filler<'s, 'e> {
    scope: &'s Scope<'s, 'e>,
    filling: Filling<'e>,
    parts: [Part<'s>; PARTS],
}

impl<'s, 'e: 's> Filler<'s, 'e> {
    /// One whose threads are of this scope.
    pub fn new(scope: &'s Scope<'s, 'e>, filling: Filling<'e>) -> Filler<'s, 'e> {
        Filler {
            scope,
            filling,
            parts: Default::default(),
        }
    }

    /// Where entries go.
    pub fn keyspace(&self) -> &'e Keyspace {
        self.filling.keyspace
    }

    /// Takes an entry.
    ///
    /// # Errors
    /// What was wrong with an entry, this one or one that came before.
    pub fn put(&mut self, newcomer: Newcomer) -> Verdict {
        match self.parts.get_mut(newcomer.shard() % PARTS) {
            Some(part) => part.put(newcomer, self.scope, self.filling),
            None => Ok(()),
        }
    }

    /// Puts the rest in.
    ///
    /// # Errors
    /// What was wrong with an entry.
    pub fn finish(mut self) -> Verdict {
        let mut verdict = Ok(());
        for part in &mut self.parts {
            let ended = part.end();
            let rest = self.filling.put(&mut part.batch);
            verdict = verdict.and(ended).and(rest);
        }
        verdict
    }
}

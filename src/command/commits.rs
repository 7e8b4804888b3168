//! Between a worker's connections and the threads that read the log: one call each way, instead of
//! one for each connection.
//!
//! The log's readers, the append-only file's among them, are woken when all connections that were
//! ready have run: the task that does it is put behind them, by the first of them that writes.
//!
//! The reply to a write waits until the AOF has got as far as the write (see
//! [`crate::oplog::durable`]), and what brings it there moves on for many connections at once. So
//! one task waits for the nearest offset and wakes its neighbours.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::poll_fn;
use std::task::{Poll, Waker};

use tokio::sync::Notify;

use crate::oplog::durable::Durability;
use crate::oplog::log::Log;

/// Whose replies wait, by log offset and by a number of their own, and whether the log has grown.
#[derive(Debug, Default)]
pub struct Commits {
    waiting: RefCell<BTreeMap<(u64, u64), Waker>>,
    waits: Cell<u64>,
    nearer: Notify,
    unread: Cell<bool>,
    grown: Notify,
}

/// A wait's place in the queue, given up with the wait.
struct Place<'a> {
    commits: &'a Commits,
    key: (u64, u64),
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.commits.waiting.borrow_mut().remove(&self.key);
    }
}

impl Commits {
    /// Notes that the log has grown.
    pub fn appended(&self) {
        if !self.unread.replace(true) {
            self.grown.notify_one();
        }
    }

    /// For as long as it is polled, has what was appended written or wakes the log's readers, after
    /// whoever was ready has run.
    pub async fn pass_on(&self, log: &Log) {
        loop {
            self.grown.notified().await;
            self.unread.set(false);
            if log.durability().try_commit() {
                self.wake(log.durability());
                log.wake_replicas();
            } else {
                log.wake();
            }
        }
    }

    /// Waits until a reply that depends on the log up to `offset` may go out.
    pub async fn wait(&self, durability: &Durability, offset: u64) {
        let number = self.waits.get();
        self.waits.set(number.wrapping_add(1));
        let key = (offset, number);
        let _place = Place { commits: self, key };
        poll_fn(|cx| {
            if durability.is_reached(offset) {
                return Poll::Ready(());
            }
            // What it waits for may have been appended by another worker, which has more to run.
            self.appended();
            let mut waiting = self.waiting.borrow_mut();
            waiting.insert(key, cx.waker().clone());
            if waiting.first_key_value().is_some_and(|(k, _)| *k == key) {
                self.nearer.notify_one();
            }
            Poll::Pending
        })
        .await;
    }

    /// Wakes those who wait, for as long as it is polled.
    pub async fn release(&self, durability: &Durability) {
        loop {
            let nearest = self.nearest();
            let nearer = self.nearer.notified();
            let Some(offset) = nearest else {
                nearer.await;
                continue;
            };
            tokio::select! {
                biased;
                () = durability.wait(offset) => self.wake(durability),
                () = nearer => {}
            }
        }
    }

    fn nearest(&self) -> Option<u64> {
        let waiting = self.waiting.borrow();
        waiting.first_key_value().map(|((offset, _), _)| *offset)
    }

    fn wake(&self, durability: &Durability) {
        let mut waiting = self.waiting.borrow_mut();
        while let Some(first) = waiting.first_entry() {
            if !durability.is_reached(first.key().0) {
                break;
            }
            first.remove().wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;
    use std::sync::Arc;

    use tokio::task::LocalSet;

    use super::*;
    use crate::oplog::durable::{Committer, Need};
    use std::sync::atomic::{AtomicUsize, Ordering};

    async fn settle() {
        for _ in 0..8 {
            tokio::task::yield_now().await;
        }
    }

    fn run(test: impl Future<Output = ()>) {
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        LocalSet::new().block_on(&runtime.unwrap(), test);
    }

    #[test]
    fn each_wait_ends_when_its_own_offset_is_reached() {
        run(async {
            let durability = Arc::new(Durability::default());
            durability.set_need(Need::Written);
            let commits = Rc::new(Commits::default());
            let (d, c) = (Arc::clone(&durability), Rc::clone(&commits));
            tokio::task::spawn_local(async move { c.release(&d).await });
            let waits = [30, 10, 20, 10].map(|offset| {
                let (d, c) = (Arc::clone(&durability), Rc::clone(&commits));
                tokio::task::spawn_local(async move { c.wait(&d, offset).await })
            });
            let over = || waits.each_ref().map(|wait| wait.is_finished());
            settle().await;
            assert_eq!(over(), [false; 4]);
            durability.publish_written(10);
            settle().await;
            assert_eq!(over(), [false, true, false, true]);
            let (d, c) = (Arc::clone(&durability), Rc::clone(&commits));
            let nearer = tokio::task::spawn_local(async move { c.wait(&d, 15).await });
            settle().await;
            durability.publish_written(19);
            settle().await;
            assert!(nearer.is_finished() && !over()[2]);
            durability.set_need(Need::Nothing);
            settle().await;
            assert_eq!(over(), [true; 4]);
            assert!(commits.waiting.borrow().is_empty());
        });
    }

    /// Writes by itself, as the AOF does for a thread that asks for it.
    #[derive(Debug)]
    struct Writes(Arc<Log>, AtomicUsize);

    impl Committer for Writes {
        fn try_commit(&self) -> bool {
            self.1.fetch_add(1, Ordering::SeqCst);
            let end = self.0.end_offset();
            self.0.durability().publish_written(end);
            true
        }
    }

    #[test]
    fn what_waits_is_written_once_when_all_who_were_ready_have_run() {
        run(async {
            let log = Log::new();
            let _reader = log.aof_reader().unwrap();
            let writes = Arc::new(Writes(Arc::clone(&log), AtomicUsize::new(0)));
            log.durability().set_committer(writes.clone());
            log.durability().set_need(Need::Written);
            let commits = Rc::new(Commits::default());
            let (l, c) = (Arc::clone(&log), Rc::clone(&commits));
            tokio::task::spawn_local(async move { c.pass_on(&l).await });
            settle().await;
            // The first has not appended anything: it shows what another worker has.
            let elsewhere = log.append_raw(b"x", true, None);
            let mut offsets = vec![elsewhere];
            offsets.extend([b"y", b"z"].map(|bytes| log.append_raw(bytes, true, None)));
            let waits: Vec<_> = offsets
                .into_iter()
                .map(|offset| {
                    let (l, c) = (Arc::clone(&log), Rc::clone(&commits));
                    tokio::task::spawn_local(async move { c.wait(l.durability(), offset).await })
                })
                .collect();
            settle().await;
            assert!(waits.iter().all(|wait| wait.is_finished()));
            assert_eq!(writes.1.load(Ordering::SeqCst), 1);
        });
    }

    #[test]
    fn a_wait_that_is_given_up_leaves_the_queue() {
        run(async {
            let durability = Arc::new(Durability::default());
            durability.set_need(Need::Synced);
            let commits = Rc::new(Commits::default());
            let (d, c) = (Arc::clone(&durability), Rc::clone(&commits));
            let wait = tokio::task::spawn_local(async move { c.wait(&d, 1).await });
            settle().await;
            assert_eq!(commits.waiting.borrow().len(), 1);
            wait.abort();
            settle().await;
            assert!(commits.waiting.borrow().is_empty());
        });
    }
}

//! How much of the log the AOF has brought to disk, and waiting for it.
//!
//! Two offsets only ever grow while an AOF is open: `written` (the kernel has the bytes: they
//! survive the death of the process) and `synced` (the disk has them: they survive the death of
//! the machine). Whoever writes the AOF publishes them, its thread or, for the first of the two, a
//! [`Committer`] on the thread of a worker; a connection whose reply depends on a write parks
//! the reply until the offset of that write is reached. Threads never wait here, and one fsync
//! releases every reply that waited for it.
//!
//! [`Need`] says what a reply must wait for under the policy in force. While the AOF cannot be
//! written under `everysec` or `no`, the need is [`Need::Accepted`]: as in Redis, writes are then
//! refused by MISCONF, and replies to what was accepted before are not held back for ever.
//!
//! An AOF that was just switched on counts for nothing until its first base is complete: until
//! then [`Durability::synced_offset`], which WAITAOF and acknowledgements to a primary go by, is 0.

use parking_lot::{Mutex, RwLock};
use std::fmt::Debug;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering};
use tokio::sync::Notify;

/// What the reply to a write waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// Nothing: there is no AOF.
    Nothing,
    /// Nothing at present, although there is an AOF, or will be: it is failing or busy with an
    /// fsync under a policy that tolerates that, or waits for its first rewrite.
    Accepted,
    /// The write has been handed to the kernel (`everysec` and `no`).
    Written,
    /// The write is on disk (`always`).
    Synced,
}

/// Brings the log to the kernel on the thread that asks for it. A write into a file's pages takes
/// less time than waking a thread to make it.
pub trait Committer: Send + Sync + Debug {
    /// Writes what the log holds, if that is quickly done and nobody else is about to. `true` if
    /// all that the caller has appended is written, or will be without anybody being woken for it.
    fn try_commit(&self) -> bool;
}

/// The published offsets and those who wait for them.
#[derive(Debug, Default)]
pub struct Durability {
    written: AtomicU64,
    synced: AtomicU64,
    need: AtomicU8,
    /// How many changes of the policy that demand [`Need::Synced`] the AOF thread has yet to hear
    /// of. Held while the need changes.
    demands: Mutex<usize>,
    /// Whether what is synced lacks the base it belongs to.
    baseless: AtomicBool,
    waiting: AtomicUsize,
    moved: Notify,
    committer: RwLock<Option<Arc<dyn Committer>>>,
}

impl Durability {
    /// Says who writes for a thread that would have to wait otherwise, from now on.
    pub fn set_committer(&self, committer: Arc<dyn Committer>) {
        *self.committer.write() = Some(committer);
    }

    /// Has what was appended to the log written by this thread, where replies wait for that. If
    /// not, the AOF's thread is to be woken.
    pub fn try_commit(&self) -> bool {
        if self.need() != Need::Written {
            return false;
        }
        let committer = self.committer.read();
        committer.as_ref().is_some_and(|it| it.try_commit())
    }

    /// Log offset up to which the AOF has been given to the kernel.
    pub fn written_offset(&self) -> u64 {
        self.written.load(Ordering::SeqCst)
    }

    /// Log offset up to which the AOF is on disk, base included.
    pub fn synced_offset(&self) -> u64 {
        if self.baseless.load(Ordering::SeqCst) {
            return 0;
        }
        self.synced.load(Ordering::SeqCst)
    }

    /// What replies to writes wait for at present.
    pub fn need(&self) -> Need {
        match self.need.load(Ordering::SeqCst) {
            1 => Need::Accepted,
            2 => Need::Written,
            3 => Need::Synced,
            _ => Need::Nothing,
        }
    }

    /// Changes what replies wait for; those that wait look again. While a demand for
    /// [`Need::Synced`] is open, nothing less takes its place as long as there is an AOF.
    pub fn set_need(&self, need: Need) {
        let demands = self.demands.lock();
        self.publish_need(if *demands > 0 && need != Need::Nothing {
            Need::Synced
        } else {
            need
        });
    }

    /// Replies wait for the disk from here on, also while the AOF thread still ends a step under
    /// another policy. [`Durability::demand_heard`] once it knows the new one.
    pub fn demand_sync(&self) {
        let mut demands = self.demands.lock();
        *demands += 1;
        self.publish_need(Need::Synced);
    }

    /// The AOF thread knows of a demand now, or has ended.
    pub fn demand_heard(&self) {
        let mut demands = self.demands.lock();
        *demands = demands.saturating_sub(1);
    }

    fn publish_need(&self, need: Need) {
        let code = match need {
            Need::Nothing => 0,
            Need::Accepted => 1,
            Need::Written => 2,
            Need::Synced => 3,
        };
        self.need.store(code, Ordering::SeqCst);
        self.wake();
    }

    /// Whether a reply that depends on the log up to `offset` may go out. Cheap enough for every
    /// batch: two loads.
    pub fn is_reached(&self, offset: u64) -> bool {
        match self.need() {
            Need::Nothing | Need::Accepted => true,
            Need::Written => self.written_offset() >= offset,
            Need::Synced => self.synced.load(Ordering::SeqCst) >= offset,
        }
    }

    /// Waits until a reply that depends on the log up to `offset` may go out.
    pub async fn wait(&self, offset: u64) {
        self.wait_for(|| self.is_reached(offset)).await;
    }

    /// Waits until the log up to `offset` is on disk, whatever the policy.
    pub async fn wait_synced(&self, offset: u64) {
        self.wait_for(|| self.synced_offset() >= offset).await;
    }

    /// Publishes that the kernel has the log up to `offset`.
    pub fn publish_written(&self, offset: u64) {
        self.written.store(offset, Ordering::SeqCst);
        if self.need() == Need::Written {
            self.wake();
        }
    }

    /// Publishes that the disk has the log up to `offset`.
    pub fn publish_synced(&self, offset: u64) {
        self.synced.store(offset, Ordering::SeqCst);
        self.wake();
    }

    /// Says whether the AOF still lacks its base.
    pub fn set_baseless(&self, baseless: bool) {
        self.baseless.store(baseless, Ordering::SeqCst);
        self.wake();
    }

    /// Both offsets begin anew at `offset`, which may lie before the old ones: an AOF is opened.
    pub fn reset(&self, offset: u64) {
        self.written.store(offset, Ordering::SeqCst);
        self.synced.store(offset, Ordering::SeqCst);
        self.wake();
    }

    fn wake(&self) {
        if self.waiting.load(Ordering::SeqCst) > 0 {
            self.moved.notify_waiters();
        }
    }

    async fn wait_for(&self, reached: impl Fn() -> bool) {
        while !reached() {
            let _counted = Counted::new(&self.waiting);
            let mut moved = std::pin::pin!(self.moved.notified());
            moved.as_mut().enable();
            // Between the look above and the registration the offset may have moved.
            if reached() {
                return;
            }
            moved.await;
        }
    }
}

/// Counts one waiter for as long as it lives, also when its future is dropped.
struct Counted<'a>(&'a AtomicUsize);

impl<'a> Counted<'a> {
    fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::SeqCst);
        Self(count)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;
    use std::time::Duration;

    fn block_on<F: Future>(future: F) -> F::Output {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build();
        runtime.unwrap().block_on(future)
    }

    #[test]
    fn one_sync_releases_every_reply_that_waited_for_it() {
        let durability = Arc::new(Durability::default());
        durability.set_need(Need::Synced);
        let waiters: Vec<_> = [5u64, 10, 10, 7]
            .map(|offset| {
                let durability = Arc::clone(&durability);
                thread::spawn(move || block_on(durability.wait(offset)))
            })
            .into_iter()
            .collect();
        durability.publish_written(10);
        thread::sleep(Duration::from_millis(20));
        assert!(waiters.iter().all(|waiter| !waiter.is_finished()));
        durability.publish_synced(10);
        for waiter in waiters {
            waiter.join().unwrap();
        }
    }

    #[test]
    fn giving_up_the_need_releases_replies() {
        let durability = Arc::new(Durability::default());
        durability.set_need(Need::Written);
        assert!(!durability.is_reached(1));
        let waiter = {
            let durability = Arc::clone(&durability);
            thread::spawn(move || block_on(durability.wait(1)))
        };
        thread::sleep(Duration::from_millis(10));
        durability.set_need(Need::Nothing);
        waiter.join().unwrap();
    }

    #[test]
    fn a_demand_holds_while_a_step_under_the_old_policy_ends() {
        let durability = Durability::default();
        durability.set_need(Need::Written);
        durability.publish_written(9);
        durability.demand_sync();
        durability.set_need(Need::Written);
        assert!(!durability.is_reached(9), "nothing of it is on disk");
        durability.demand_heard();
        durability.set_need(Need::Synced);
        assert!(!durability.is_reached(9));
        durability.set_need(Need::Written);
        assert!(durability.is_reached(9), "the policy has changed again");
        durability.demand_sync();
        durability.set_need(Need::Nothing);
        assert!(durability.is_reached(10), "the AOF has ended");
    }

    #[test]
    fn an_aof_without_its_base_has_synced_nothing_yet_holds_no_reply_back() {
        let durability = Durability::default();
        durability.set_need(Need::Synced);
        durability.set_baseless(true);
        durability.publish_synced(7);
        assert_eq!(durability.synced_offset(), 0);
        assert!(durability.is_reached(7) && !durability.is_reached(8));
        durability.set_baseless(false);
        assert_eq!(durability.synced_offset(), 7);
    }

    #[test]
    fn a_dropped_wait_is_no_longer_counted() {
        let durability = Durability::default();
        block_on(async {
            let wait = durability.wait_synced(1);
            assert!(
                tokio::time::timeout(Duration::from_millis(5), wait)
                    .await
                    .is_err()
            );
        });
        assert_eq!(durability.waiting.load(Ordering::SeqCst), 0);
    }
}

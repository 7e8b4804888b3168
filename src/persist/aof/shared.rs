//! The writer as it is shared by its own thread and by threads with replies that wait for it.
//!
//! Under `everysec` and `no` a reply waits until the kernel has the write. Waking a thread for
//! that, and being woken by it, takes longer than the write itself, the more so the busier the
//! processors are. So a worker writes for itself, and for everybody who has appended before, when
//! its connections have run. What takes longer is the thread's: an fsync, a rotation, an error, a
//! lot of bytes, and everything for a while when a write has stood still.
//!
//! Nobody waits for the lock. Who does not get it leaves a note, and whoever has it looks for one
//! after letting it go: either sees the other, since both put a fence between the two. The thread
//! needs no note, for it goes to sleep only where there is nothing behind what it has written.

use super::engine::Engine;
use crate::base::clock;
use crate::oplog::durable::Committer;
use crate::oplog::log::WakeHandle;
use parking_lot::Mutex;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering, fence};

/// How often a thread with other work writes for those who came meanwhile.
const ROUNDS: usize = 3;
/// A write that takes longer has stood still.
const SLOW_US: u64 = 5_000;
/// How long the thread does it all after that; longer each time it happens again right behind.
const AFTER_SLOW_US: u64 = 1_000_000;
const AFTER_SLOW_MOST_US: u64 = 64_000_000;

/// See the module.
pub struct Shared {
    desk: Mutex<Desk>,
    wanted: AtomicBool,
    thread: WakeHandle,
}

/// What the lock is for.
struct Desk {
    /// `None` when nobody writes any more.
    engine: Option<Engine>,
    /// Until then the thread does it all.
    thread_until_us: u64,
    /// How long that is when a write stands still.
    after_slow_us: u64,
}

impl Desk {
    /// Notes how long a write took.
    fn took(&mut self, began_us: u64, ended_us: u64) {
        if ended_us.saturating_sub(began_us) <= SLOW_US {
            self.after_slow_us = AFTER_SLOW_US;
        } else {
            self.thread_until_us = ended_us + self.after_slow_us;
            self.after_slow_us = (2 * self.after_slow_us).min(AFTER_SLOW_MOST_US);
        }
    }
}

impl Shared {
    /// Shares `engine`, whose own thread `thread` wakes.
    pub fn new(engine: Engine, thread: WakeHandle) -> Self {
        Self {
            desk: Mutex::new(Desk {
                engine: Some(engine),
                thread_until_us: 0,
                after_slow_us: AFTER_SLOW_US,
            }),
            wanted: AtomicBool::new(false),
            thread,
        }
    }

    /// What the writer's thread does with the engine. `None` after [`Shared::end`].
    pub fn with<R>(&self, work: impl FnOnce(&mut Engine) -> R) -> Option<R> {
        let result = self.desk.lock().engine.as_mut().map(work);
        fence(Ordering::SeqCst);
        result
    }

    /// Nobody writes any more.
    pub fn end(&self) {
        drop(self.desk.lock().engine.take());
    }

    /// Writes what there is. `None` if somebody else does.
    fn commit(&self) -> Option<bool> {
        self.wanted.store(true, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        let mut desk = self.desk.try_lock()?;
        // A swap: what those have appended whose note it takes away is seen from here on.
        self.wanted.swap(false, Ordering::SeqCst);
        let began_us = clock::mono_us();
        let is_the_threads = began_us < desk.thread_until_us;
        let Some(engine) = desk.engine.as_mut().filter(|_| !is_the_threads) else {
            return Some(false);
        };
        let was_unsynced = engine.is_unsynced();
        let done = engine.commit(began_us / 1000);
        if engine.is_unsynced() && !was_unsynced {
            // It must know that there is something to sync, and when.
            self.thread.wake();
        }
        desk.took(began_us, clock::mono_us());
        Some(done)
    }
}

impl Committer for Shared {
    fn try_commit(&self) -> bool {
        for _ in 0..ROUNDS {
            match self.commit() {
                None => return true,
                Some(false) => return false,
                Some(true) => {}
            }
            fence(Ordering::SeqCst);
            if !self.wanted.load(Ordering::SeqCst) {
                return true;
            }
        }
        false
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oplog::effect::UnitEffects;
    use crate::oplog::log::Log;
    use crate::persist::aof::engine::{BackgroundSync, Policy};
    use crate::persist::aof::sink::{AofFile, Target};
    use crate::persist::aof::status::{Fsync, Status};
    use std::io;
    use std::sync::Arc;
    use std::thread;
    use std::time::Duration;

    #[derive(Debug, Default)]
    struct Disk {
        content: Mutex<Vec<u8>>,
        slow: AtomicBool,
    }

    impl AofFile for Disk {
        fn append(&self, bytes: &[u8]) -> io::Result<usize> {
            if self.slow.load(Ordering::Relaxed) {
                thread::sleep(Duration::from_micros(2 * SLOW_US));
            }
            self.content.lock().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn sync(&self) -> io::Result<()> {
            Ok(())
        }

        fn truncate(&self, _: u64) -> io::Result<()> {
            Err(io::Error::from_raw_os_error(libc::EIO))
        }
    }

    struct NoSync;

    impl BackgroundSync for NoSync {
        fn start(&mut self, _: Arc<dyn AofFile>) {}

        fn poll(&mut self) -> Option<io::Result<()>> {
            None
        }
    }

    fn shared(log: &Arc<Log>) -> (Arc<Disk>, Arc<Shared>) {
        let disk = Arc::new(Disk::default());
        let cursor = log.aof_reader().unwrap();
        let thread = cursor.wake_handle();
        let target = Target {
            file: disk.clone(),
            size: 0,
            select: None,
        };
        let policy = Policy {
            fsync: Fsync::No,
            no_sync_during_snapshot: false,
        };
        let status = Arc::new(Status::default());
        let engine = Engine::new(cursor, target, policy, status, Box::new(NoSync), 0);
        let shared = Arc::new(Shared::new(engine, thread));
        log.durability().set_committer(shared.clone());
        (disk, shared)
    }

    fn append(log: &Log, number: u32) -> u64 {
        let mut unit = UnitEffects::new();
        unit.push(0, &[b"SET", number.to_string().as_bytes()]);
        log.append(&unit)
    }

    #[test]
    fn whoever_is_told_that_it_will_be_written_need_not_come_back() {
        let log = Log::new();
        log.backlog_create(1 << 30);
        let (disk, shared) = shared(&log);
        thread::scope(|scope| {
            for thread in 0..3 {
                let (log, shared) = (&log, &shared);
                scope.spawn(move || {
                    for i in 0..20_000 {
                        append(log, thread * 100_000 + i);
                        if log.durability().try_commit() {
                            continue;
                        }
                        // What the thread does once it is woken.
                        while log.durability().written_offset() < log.end_offset() {
                            shared.with(|engine| engine.step(0));
                        }
                    }
                });
            }
        });
        assert_eq!(log.durability().written_offset(), log.end_offset());
        let mut expected = Vec::new();
        for bytes in log.reader(0).unwrap().try_read(usize::MAX) {
            expected.extend_from_slice(&bytes);
        }
        assert!(*disk.content.lock() == expected);
    }

    #[test]
    fn a_write_that_stands_still_makes_it_the_threads_for_a_while() {
        let log = Log::new();
        let (disk, shared) = shared(&log);
        append(&log, 1);
        disk.slow.store(true, Ordering::Relaxed);
        assert!(log.durability().try_commit());
        disk.slow.store(false, Ordering::Relaxed);
        let offset = append(&log, 2);
        assert!(!log.durability().try_commit());
        shared.desk.lock().thread_until_us = 0;
        assert!(log.durability().try_commit());
        assert!(log.durability().is_reached(offset));
    }

    #[test]
    fn the_while_grows_until_a_write_goes_well_again() {
        let log = Log::new();
        let (_, shared) = shared(&log);
        let mut desk = shared.desk.lock();
        for (slow, until_us) in [
            (true, 1_010_000),
            (true, 2_010_000),
            (true, 4_010_000),
            (false, 4_010_000),
            (true, 1_010_000),
        ] {
            desk.took(0, if slow { 10_000 } else { SLOW_US });
            assert_eq!(desk.thread_until_us, until_us);
        }
        (0..20).for_each(|_| desk.took(0, 10_000));
        assert_eq!(desk.thread_until_us, 64_010_000);
    }
}

//! What the process uses, for whoever looks often.
//!
//! The allocator finds its sums by going through all its arenas, and the system writes a text about
//! every process that asks. Both take longer than the rest of INFO, so they are asked at most once
//! in [`GOOD_FOR_US`], which is short enough for nobody to see an older state than the one he knows
//! of: a data set, say, that has just been loaded by threads which come and go. What those threads
//! that work for clients have allocated and freed since is exact even so: the allocator counts it
//! with each thread, and [`Sampler::now`] adds what these counts say.
//!
//! `unsafe` is expected here for reading those counters, which the allocator keeps with each
//! thread: one is read only while its thread is on the list, which the thread leaves before it
//! ends. The other reason is a call of the C library.

#![expect(
    unsafe_code,
    reason = "the counters of other threads and getrusage have no safe form"
)]

use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use tikv_jemalloc_ctl::raw;

use super::memory::{self, AllocatorStats};
use crate::base::clock;

/// How long a look at the allocator and the system is good.
const GOOD_FOR_US: u64 = 1_000;

/// Where the allocator counts what one thread allocated and freed.
#[derive(Clone, Copy)]
struct Counters {
    allocated: &'static AtomicU64,
    freed: &'static AtomicU64,
}

impl Counters {
    /// Those of this thread.
    fn own() -> Option<Counters> {
        let find = |name: &[u8]| {
            // SAFETY: the names end in a zero byte, and these controls give a `uint64_t *`.
            let place = unsafe { raw::read::<*mut u64>(name) }.ok()?;
            // SAFETY: the place is aligned and lives as long as this thread, which takes it off the
            // list before it ends. Its own writes are plain stores of a whole word.
            (!place.is_null()).then(|| unsafe { AtomicU64::from_ptr(place) })
        };
        Some(Counters {
            allocated: find(b"thread.allocatedp\0")?,
            freed: find(b"thread.deallocatedp\0")?,
        })
    }

    fn balance(self) -> i64 {
        let (allocated, freed) = (&self.allocated, &self.freed);
        let freed = freed.load(Ordering::Relaxed);
        allocated.load(Ordering::Relaxed).wrapping_sub(freed) as i64
    }

    fn is(self, other: Counters) -> bool {
        std::ptr::eq(self.allocated, other.allocated)
    }
}

/// The threads that are followed.
struct Threads {
    running: Vec<Counters>,
    /// The balances of those that have ended.
    ended: i64,
}

static THREADS: Mutex<Threads> = Mutex::new(Threads {
    running: Vec::new(),
    ended: 0,
});

/// Takes its thread off the list when that ends.
struct Listed(Option<Counters>);

impl Drop for Listed {
    fn drop(&mut self) {
        let Some(own) = self.0 else { return };
        let mut threads = THREADS.lock();
        if let Some(at) = threads.running.iter().position(|c| c.is(own)) {
            threads.running.swap_remove(at);
            threads.ended = threads.ended.wrapping_add(own.balance());
        }
    }
}

thread_local! {
    static LISTED: Listed = {
        let own = Counters::own();
        THREADS.lock().running.extend(own);
        Listed(own)
    };
}

/// Follows what this thread allocates and frees from now on.
pub fn follow_thread() {
    LISTED.with(|_| ());
}

/// Bytes that the threads which are followed have allocated less those that they have freed.
fn balance() -> i64 {
    let threads = THREADS.lock();
    let each = threads.running.iter().map(|c| c.balance());
    each.fold(threads.ended, i64::wrapping_add)
}

/// What is in use.
#[derive(Clone, Copy, Debug, Default)]
pub struct Usage {
    /// The allocator's numbers: those of pages as of the last look.
    pub allocator: AllocatorStats,
    /// Bytes of physical memory that the process held at the last look.
    pub resident: u64,
}

/// The last look.
#[derive(Default)]
struct Look {
    usage: Usage,
    balance: i64,
    at_us: Option<u64>,
}

impl Look {
    /// Looks now. The sums are those of a moment between two balances: unless these are about the
    /// same, it is not known what the sums have in them, and the next who asks looks again.
    fn at(now_us: u64) -> Look {
        const ABOUT: u64 = 16 * 1024;
        const TRIES: usize = 4;
        let resident = memory::resident();
        let mut before = balance();
        let mut look = Look::default();
        for _ in 0..TRIES {
            let allocator = memory::allocator();
            look.usage = Usage {
                allocator,
                resident,
            };
            look.balance = balance();
            if look.balance.abs_diff(before) <= ABOUT {
                look.at_us = Some(now_us);
                break;
            }
            before = look.balance;
        }
        look
    }
}

/// Looks now and then.
#[derive(Default)]
pub struct Sampler(Mutex<Look>);

impl Sampler {
    /// What is in use now.
    pub fn now(&self) -> Usage {
        follow_thread();
        let now_us = clock::mono_us();
        let mut look = self.0.lock();
        let age_us = look.at_us.map(|at| now_us.saturating_sub(at));
        if age_us.is_none_or(|age| age >= GOOD_FOR_US) {
            *look = Look::at(now_us);
        }
        let since = balance().wrapping_sub(look.balance);
        let mut usage = look.usage;
        usage.allocator.allocated = usage.allocator.allocated.saturating_add_signed(since);
        usage
    }
}

/// Seconds of processor time of all threads, in user mode and in the kernel.
pub fn processor_seconds() -> (f64, f64) {
    // SAFETY: zero is a value of every field, and the call writes none but the structure's own.
    let usage = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        libc::getrusage(libc::RUSAGE_SELF, &raw mut usage);
        usage
    };
    let seconds = |time: libc::timeval| time.tv_sec as f64 + time.tv_usec as f64 / 1e6;
    (seconds(usage.ru_utime), seconds(usage.ru_stime))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::AtomicBool;

    /// Larger than anything that other tests allocate meanwhile; nothing is written to it.
    const LARGE: usize = 1 << 30;

    /// One at a time.
    static ALONE: Mutex<()> = Mutex::new(());

    fn large() -> Vec<u8> {
        std::hint::black_box(Vec::with_capacity(LARGE))
    }

    #[test]
    fn what_is_allocated_between_two_looks_is_seen_at_once() {
        let _alone = ALONE.lock();
        let sampler = Sampler::default();
        let now = || sampler.now().allocator.allocated;
        let about = LARGE as u64 / 2;
        let before = now();
        let own = large();
        let during = now();
        assert!(during > before + about, "{before} {during}");
        drop(own);
        let after = now();
        assert!(after < during - about, "{during} {after}");
        // What a thread has allocated stays when the thread ends.
        let kept = std::thread::spawn(|| {
            follow_thread();
            large()
        });
        let kept = kept.join().unwrap();
        let with_kept = now();
        assert!(with_kept > after + about, "{after} {with_kept}");
        drop(kept);
    }

    #[test]
    fn a_look_while_much_is_freed_is_not_kept() {
        const PIECES: usize = 400;
        const EACH: usize = 16 << 20;
        let _alone = ALONE.lock();
        let sampler = Sampler::default();
        for _ in 0..30 {
            let done = Arc::new(AtomicBool::new(false));
            let (told, end) = std::sync::mpsc::channel::<()>();
            let flag = Arc::clone(&done);
            let freeing = std::thread::spawn(move || {
                follow_thread();
                let pieces = std::iter::repeat_with(|| Vec::<u8>::with_capacity(EACH));
                let pieces: Vec<_> = pieces.take(PIECES).collect();
                drop(std::hint::black_box(pieces));
                flag.store(true, Ordering::Release);
                let _ = end.recv();
            });
            while !done.load(Ordering::Acquire) {
                sampler.now();
            }
            let at_once = sampler.now().allocator.allocated;
            let exact = memory::allocator().allocated;
            let apart = at_once.abs_diff(exact);
            assert!(apart < 3 * EACH as u64 / 2, "{at_once} {exact}");
            drop(told);
            freeing.join().unwrap();
        }
    }

    #[test]
    fn processor_time_grows_with_work() {
        let (user, _) = processor_seconds();
        let begun = std::time::Instant::now();
        while processor_seconds().0 < user + 0.01 {
            assert!(begun.elapsed().as_secs() < 60);
            std::hint::black_box((0..100_000u64).sum::<u64>());
        }
    }
}

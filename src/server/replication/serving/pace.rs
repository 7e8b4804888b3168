//! How often a replica is sent a stream that does not pause.
//!
//! Each piece of the stream costs both sides system calls and the replica a wake-up, whatever is
//! in it, and many clients write far more often than that pays. So pieces of a stream that does not
//! pause wait for company. Those of one that has paused go out at once, [`BURST`] of them: what an
//! application writes in a few commands is to be seen on the replica like that. What somebody waits
//! for in `WAIT` goes out at once as well ([`Hurry`]). The runtime's timers count milliseconds,
//! hence a timer of the kernel's.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};
use tokio::io::unix::AsyncFd;
use tokio::sync::Notify;

/// Between the beginnings of two pieces, on average. So long at most does the end of a stream stay
/// here, where INFO tells of the memory that it takes.
const APART: Duration = Duration::from_micros(250);

/// So many pieces may go out at once behind a pause that is as long as they are worth.
const BURST: u32 = 32;

/// However long nothing was sent, it is as if the next piece had been due then.
fn earliest(now: Instant) -> Instant {
    now.checked_sub(APART * (BURST - 1)).unwrap_or(now)
}

/// How far the stream is in a hurry: acknowledgements of it are waited for.
#[derive(Debug, Default)]
pub struct Hurry {
    wanted: AtomicU64,
    told: Notify,
}

impl Hurry {
    /// What is before `offset` is to go out at once; it is at the end of the stream.
    pub fn up_to(&self, offset: u64) {
        self.wanted.store(offset, Ordering::SeqCst);
        self.told.notify_waiters();
    }

    /// Waits until what is behind `position` is wanted. Safe to drop and to call again.
    async fn reaches(&self, position: u64) {
        loop {
            let told = self.told.notified();
            tokio::pin!(told);
            told.as_mut().enable();
            if self.wanted.load(Ordering::SeqCst) > position {
                return;
            }
            told.await;
        }
    }
}

/// Says when the next piece is due.
pub struct Pace {
    /// `None` where the process has no descriptor left for it: then every piece is due at once.
    timer: Option<AsyncFd<OwnedFd>>,
    due: Instant,
}

impl Pace {
    /// For one replica. Belongs to the runtime it is made in.
    #[expect(
        deprecated,
        reason = "sound for a descriptor that is owned and stays the same; the newer form is unsafe"
    )]
    pub fn new() -> Pace {
        let timer = timerfd_create(
            TimerfdClockId::Monotonic,
            TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC,
        );
        Pace {
            timer: timer.ok().and_then(|timer| AsyncFd::new(timer).ok()),
            due: earliest(Instant::now()),
        }
    }

    /// A piece goes out, and nothing is left behind it.
    pub fn sent(&mut self) {
        self.due = self.due.max(earliest(Instant::now())) + APART;
    }

    /// Waits until the next piece, which begins at `position`, is due. Safe to drop and to call
    /// again.
    ///
    /// # Errors
    /// If the timer fails, which it does not.
    pub async fn is_due(&self, position: u64, hurry: &Hurry) -> io::Result<()> {
        tokio::select! {
            biased;
            () = hurry.reaches(position) => Ok(()),
            due = self.has_passed() => due,
        }
    }

    async fn has_passed(&self) -> io::Result<()> {
        let left = self.due.saturating_duration_since(Instant::now());
        let Some(timer) = self.timer.as_ref().filter(|_| !left.is_zero()) else {
            return Ok(());
        };
        let once = Itimerspec {
            it_interval: Timespec::default(),
            it_value: Timespec {
                tv_sec: 0,
                tv_nsec: i64::from(left.subsec_nanos()),
            },
        };
        timerfd_settime(timer, TimerfdTimerFlags::empty(), &once)?;
        loop {
            let mut ready = timer.readable().await?;
            match rustix::io::read(timer, &mut [0; 8]) {
                Ok(_) => return Ok(()),
                // It was ready before it was set.
                Err(rustix::io::Errno::AGAIN) => ready.clear_ready(),
                Err(e) => return Err(e.into()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::Future;

    async fn is_due_at_once(pace: &Pace, hurry: &Hurry) -> bool {
        tokio::select! {
            biased;
            due = pace.is_due(100, hurry) => due.is_ok(),
            () = std::future::ready(()) => false,
        }
    }

    fn run(test: impl Future<Output = ()>) {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        runtime.enable_io().build().unwrap().block_on(test);
    }

    #[test]
    fn a_stream_that_does_not_pause_waits_and_what_comes_behind_a_pause_does_not() {
        run(async {
            let (mut pace, calm) = (Pace::new(), Hurry::default());
            let begun = Instant::now();
            for _ in 0..2 * BURST {
                // A wait that is given up leaves nothing behind.
                let _ = is_due_at_once(&pace, &calm).await;
                pace.is_due(100, &calm).await.unwrap();
                pace.sent();
            }
            assert!(begun.elapsed() >= APART * (BURST - 1));
            pace.due = Instant::now().checked_sub(APART * 2 * BURST).unwrap();
            for _ in 1..BURST {
                pace.sent();
            }
            assert!(is_due_at_once(&pace, &calm).await);
        });
    }

    #[test]
    fn what_is_waited_for_is_due_at_once() {
        run(async {
            let (mut pace, hurry) = (Pace::new(), Hurry::default());
            pace.due = Instant::now() + Duration::from_secs(600);
            hurry.up_to(100);
            assert!(!is_due_at_once(&pace, &hurry).await);
            hurry.up_to(101);
            assert!(is_due_at_once(&pace, &hurry).await);
            // Those who wait already are told.
            let wanted = async {
                tokio::task::yield_now().await;
                hurry.up_to(102);
            };
            let due = pace.is_due(101, &hurry);
            let (due, ()) = tokio::join!(due, wanted);
            due.unwrap();
            pace.sent();
        });
    }
}

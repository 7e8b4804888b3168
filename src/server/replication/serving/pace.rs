//! How often a replica is sent a stream that does not pause.
//!
//! Each piece of the stream costs both sides system calls and the replica a wake-up, whatever is
//! in it, and many clients write far more often than that pays. So what comes right behind a piece
//! waits for company, for a time that a client in `WAIT` does not notice; a stream that has paused
//! goes out at once. The runtime's timers count milliseconds, hence a timer of the kernel's.

use std::io;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};
use tokio::io::unix::AsyncFd;

/// Between the beginnings of two pieces. Half of it costs a primary that shares its processors with
/// one replica four per cent of its writes more, and with four nine; twice as much wins nothing
/// with one.
const APART: Duration = Duration::from_micros(500);

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
            due: Instant::now(),
        }
    }

    /// A piece goes out, and nothing is left behind it.
    pub fn sent(&mut self) {
        self.due = Instant::now() + APART;
    }

    /// Waits until the next piece is due. Safe to drop and to call again.
    ///
    /// # Errors
    /// If the timer fails, which it does not.
    pub async fn is_due(&self) -> io::Result<()> {
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

    async fn is_due_at_once(pace: &Pace) -> bool {
        tokio::select! {
            biased;
            due = pace.is_due() => due.is_ok(),
            () = std::future::ready(()) => false,
        }
    }

    #[test]
    fn what_follows_a_piece_waits_and_what_comes_later_does_not() {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        runtime.enable_io().build().unwrap().block_on(async {
            let mut pace = Pace::new();
            assert!(is_due_at_once(&pace).await);
            for _ in 0..3 {
                let begun = Instant::now();
                pace.sent();
                // A wait that is given up leaves nothing behind.
                let _ = is_due_at_once(&pace).await;
                pace.is_due().await.unwrap();
                assert!(begun.elapsed() >= APART);
                assert!(is_due_at_once(&pace).await);
            }
        });
    }
}

//! Holds automatic rewrites back while they keep failing.
//!
//! Each rewrite that fails leaves an incremental file behind. After the third failure in a row the
//! next try waits a minute, then two, four and so on up to an hour. A rewrite that a person asks
//! for is not held back, and one success forgets it all.

use tracing::warn;

const FAILURES_ALLOWED: u64 = 3;
const LONGEST_DELAY_MINUTES: i64 = 60;

/// See the module.
#[derive(Debug, Default)]
pub struct Limiter {
    delay_minutes: i64,
    retry_at_s: Option<i64>,
}

impl Limiter {
    /// Whether a rewrite must wait at `now_s`, after `failures` in a row. Called when one is due;
    /// the first call after a failure decides how long to wait.
    pub fn holds_back(&mut self, failures: u64, now_s: i64) -> bool {
        if failures < FAILURES_ALLOWED {
            *self = Self::default();
            return false;
        }
        if let Some(at) = self.retry_at_s {
            if now_s >= at {
                self.retry_at_s = None;
            }
            return now_s < at;
        }
        self.delay_minutes = (self.delay_minutes * 2).clamp(1, LONGEST_DELAY_MINUTES);
        self.retry_at_s = Some(now_s + self.delay_minutes * 60);
        warn!(
            "Background AOF rewrite has repeatedly failed and triggered the limit, will retry in \
             {} minutes",
            self.delay_minutes
        );
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_up_to_an_hour_and_a_success_forgets_them() {
        let mut limiter = Limiter::default();
        assert!(!limiter.holds_back(2, 0));
        let mut now = 1000;
        for minutes in [1, 2, 4, 8, 16, 32, 60, 60] {
            assert!(limiter.holds_back(3, now));
            assert!(limiter.holds_back(3, now + minutes * 60 - 1));
            now += minutes * 60;
            assert!(!limiter.holds_back(3, now), "{minutes}");
        }
        assert!(!limiter.holds_back(0, now));
        assert!(limiter.holds_back(3, now));
        assert!(!limiter.holds_back(3, now + 60));
    }
}

//! The only reader of time. Everyone else takes an instant as a parameter.
//!
//! Wall-clock time is the Unix epoch in a signed 64-bit count, as expiries and the RDB format
//! have it. Monotonic time counts from the first call in this process and serves durations and
//! timeouts; it is read for every command, so [`tsc`] makes that cheap.

use std::time::{SystemTime, UNIX_EPOCH};

mod tsc;

/// Microseconds since the Unix epoch; 0 if the system clock stands before it.
#[inline]
pub fn unix_us() -> i64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    since.as_secs() as i64 * 1_000_000 + i64::from(since.subsec_micros())
}

/// Milliseconds since the Unix epoch.
#[inline]
pub fn unix_ms() -> i64 {
    #[cfg(test)]
    if let Some(ms) = pinned::PINNED_MS.get() {
        return ms;
    }
    unix_us() / 1000
}

/// Time that stands still, for tests of what depends on the instant.
#[cfg(test)]
pub mod pinned {
    use std::cell::Cell;

    thread_local! {
        pub(super) static PINNED_MS: Cell<Option<i64>> = const { Cell::new(None) };
    }

    /// From now on [`super::unix_ms`] gives `ms` on this thread.
    pub fn pin(ms: i64) {
        PINNED_MS.set(Some(ms));
    }
}

/// The clock of LRU ages: Unix seconds in 24 bits, which wrap every 194 days.
#[inline]
pub fn lru_seconds() -> u32 {
    lru_seconds_at(unix_ms())
}

/// [`lru_seconds`] of a given instant in Unix milliseconds.
#[inline]
pub fn lru_seconds_at(unix_ms: i64) -> u32 {
    const LRU_BITS: u32 = 24;
    ((unix_ms / 1000) as u32) & ((1 << LRU_BITS) - 1)
}

/// Microseconds since the first call in this process, for durations and timeouts. A thread never
/// sees it decrease; two threads may disagree by about a microsecond, so subtract saturating.
#[inline]
pub fn mono_us() -> u64 {
    tsc::now_ns() / 1000
}

/// As [`mono_us`], in nanoseconds: for what adds up durations of less than a microsecond.
#[inline]
pub fn mono_ns() -> u64 {
    tsc::now_ns()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn monotonic_time_never_decreases_and_moves() {
        let mut last = mono_us();
        let begin = last;
        while last - begin < 2_000 {
            let now = mono_us();
            assert!(now >= last);
            last = now;
        }
    }

    #[test]
    fn lru_clock_wraps_at_24_bits() {
        assert_eq!(lru_seconds_at((1 << 24) * 1000 + 5_999), 5);
        assert_eq!(lru_seconds_at(0xff_ffff * 1000), 0xff_ffff);
    }

    #[test]
    fn wall_clock_units_agree() {
        let (us, ms) = (unix_us(), unix_ms());
        assert!(ms - us / 1000 < 1000);
        assert!(ms > 1_600_000_000_000);
    }
}

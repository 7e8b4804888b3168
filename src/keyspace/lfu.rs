//! The 24 bits of access of an entry under an LFU policy, as Redis keeps them.
//!
//! ```text
//!   16 bits: minutes of the last decrement   8 bits: logarithmic counter
//! ```
//!
//! The counter grows with a probability that falls as it grows, and falls by one for every
//! `lfu-decay-time` minutes without an access.

use crate::base::random;

/// The counter of a new key, so that it is not the first to go.
const INITIAL: u8 = 5;

/// The clock and the settings of an LFU policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lfu {
    /// Minutes of Unix time, of which 16 bits count.
    pub minutes: u16,
    /// `lfu-decay-time`
    pub decay_minutes: u32,
    /// `lfu-log-factor`
    pub log_factor: u32,
}

impl Lfu {
    /// At an instant.
    pub fn at(now_ms: i64, decay_minutes: u32, log_factor: u32) -> Lfu {
        Lfu {
            minutes: (now_ms / 60_000) as u16,
            decay_minutes,
            log_factor,
        }
    }

    /// The access bits of a key with this counter.
    pub fn with_counter(self, counter: u8) -> u32 {
        u32::from(self.minutes) << 8 | u32::from(counter)
    }

    /// The access bits of a new key.
    pub fn fresh(self) -> u32 {
        self.with_counter(INITIAL)
    }

    /// The counter of a key now.
    pub fn counter(self, access: u32) -> u8 {
        let last = (access >> 8) as u16;
        let elapsed = u32::from(self.minutes.wrapping_sub(last));
        let periods = elapsed.checked_div(self.decay_minutes).unwrap_or(0);
        (access as u8).saturating_sub(u8::try_from(periods).unwrap_or(u8::MAX))
    }

    /// The access bits of a key that is accessed now.
    pub fn touched(self, access: u32) -> u32 {
        let counter = self.counter(access);
        let above = u64::from(counter.saturating_sub(INITIAL));
        let odds = above * u64::from(self.log_factor) + 1;
        let grows = counter < u8::MAX && random::below(odds) == 0;
        self.with_counter(counter + u8::from(grows))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_counter_grows_ever_more_slowly_and_falls_with_time() {
        let now = Lfu::at(90_000_000, 1, 10);
        let mut access = now.fresh();
        assert_eq!(now.counter(access), 5);
        for _ in 0..1000 {
            access = now.touched(access);
        }
        let grown = now.counter(access);
        assert!((10..60).contains(&grown), "{grown}");
        let later = Lfu::at(90_000_000 + 3 * 60_000, 1, 10);
        assert_eq!(later.counter(access), grown - 3);
        assert_eq!(
            Lfu {
                decay_minutes: 0,
                ..later
            }
            .counter(access),
            grown
        );
        let much_later = Lfu::at(90_000_000 + 600 * 60_000, 1, 10);
        assert_eq!(much_later.counter(access), 0);
    }

    #[test]
    fn a_factor_of_zero_counts_every_access() {
        let now = Lfu::at(0, 1, 0);
        let access = (0..300).fold(now.fresh(), |access, _| now.touched(access));
        assert_eq!(now.counter(access), 255);
    }
}

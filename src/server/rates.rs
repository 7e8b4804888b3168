//! Rates of the last seconds, from samples that cron takes: INFO's `instantaneous_*`.

use std::collections::VecDeque;

use parking_lot::Mutex;

use crate::command::stats::Totals;

/// Samples kept: with ten a second, the rates are those of the last 1.6 seconds.
const SAMPLES: usize = 16;

/// What happened in a second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PerSecond {
    /// Commands.
    pub commands: u64,
    /// Bytes read.
    pub bytes_in: u64,
    /// Bytes written.
    pub bytes_out: u64,
}

#[derive(Clone, Copy, Debug)]
struct Sample {
    at_ms: i64,
    commands: u64,
    bytes_in: u64,
    bytes_out: u64,
}

/// The samples.
#[derive(Debug, Default)]
pub struct Rates {
    samples: Mutex<VecDeque<Sample>>,
}

impl Rates {
    /// Takes a sample; at most one every 100 ms counts.
    pub fn sample(&self, now_ms: i64, totals: Totals) {
        let mut samples = self.samples.lock();
        if samples.back().is_some_and(|s| now_ms - s.at_ms < 100) {
            return;
        }
        samples.push_back(Sample {
            at_ms: now_ms,
            commands: totals.processed,
            bytes_in: totals.bytes_in,
            bytes_out: totals.bytes_out,
        });
        if samples.len() > SAMPLES {
            samples.pop_front();
        }
    }

    /// The rates between the oldest and the newest sample.
    pub fn current(&self) -> PerSecond {
        let samples = self.samples.lock();
        let (Some(a), Some(b)) = (samples.front(), samples.back()) else {
            return PerSecond::default();
        };
        let ms = (b.at_ms - a.at_ms).max(1) as u64;
        let rate = |new: u64, old: u64| new.saturating_sub(old) * 1000 / ms;
        PerSecond {
            commands: rate(b.commands, a.commands),
            bytes_in: rate(b.bytes_in, a.bytes_in),
            bytes_out: rate(b.bytes_out, a.bytes_out),
        }
    }
}

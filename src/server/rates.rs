//! Rates of the last seconds, from samples that cron takes: INFO's `instantaneous_*`.

use std::collections::VecDeque;
use std::sync::atomic::Ordering;

use parking_lot::Mutex;

use crate::command::stats::{Stats, Totals};

use super::replication::SyncStats;

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
    /// Bytes read from our primary.
    pub replication_in: u64,
    /// Bytes written to our replicas.
    pub replication_out: u64,
    /// Rounds of cron, and requests or pipelines that were read.
    pub cycles: u64,
    /// Microseconds that they took.
    pub busy_us: u64,
}

#[derive(Clone, Copy, Debug)]
struct Sample {
    at_ms: i64,
    /// Since the start, all of them.
    counts: PerSecond,
}

/// The samples.
#[derive(Debug, Default)]
pub struct Rates {
    samples: Mutex<VecDeque<Sample>>,
}

impl Rates {
    /// Takes a sample; at most one every 100 ms counts.
    pub fn sample(&self, now_ms: i64, stats: &Stats, replication: &SyncStats) {
        let mut samples = self.samples.lock();
        if samples.back().is_some_and(|s| now_ms - s.at_ms < 100) {
            return;
        }
        let totals = stats.totals();
        samples.push_back(Sample {
            at_ms: now_ms,
            counts: PerSecond {
                commands: totals.processed,
                bytes_in: totals.bytes_in,
                bytes_out: totals.bytes_out,
                replication_in: replication.bytes_in.load(Ordering::Relaxed),
                replication_out: replication.bytes_out.load(Ordering::Relaxed),
                cycles: cycles(stats, &totals),
                busy_us: busy_nanos(stats, stats.command_nanos()) / 1000,
            },
        });
        if samples.len() > SAMPLES {
            samples.pop_front();
        }
    }

    /// Forgets the samples, whose counts begin anew.
    pub fn reset(&self) {
        self.samples.lock().clear();
    }

    /// The rates between the oldest and the newest sample.
    pub fn current(&self) -> PerSecond {
        let samples = self.samples.lock();
        let (Some(a), Some(b)) = (samples.front(), samples.back()) else {
            return PerSecond::default();
        };
        let ms = (b.at_ms - a.at_ms).max(1) as u64;
        let rate =
            |of: fn(&PerSecond) -> u64| of(&b.counts).saturating_sub(of(&a.counts)) * 1000 / ms;
        PerSecond {
            commands: rate(|c| c.commands),
            bytes_in: rate(|c| c.bytes_in),
            bytes_out: rate(|c| c.bytes_out),
            replication_in: rate(|c| c.replication_in),
            replication_out: rate(|c| c.replication_out),
            cycles: rate(|c| c.cycles),
            busy_us: rate(|c| c.busy_us),
        }
    }
}

/// Where Redis counts the rounds of its event loop: rounds of cron, and requests or pipelines that
/// workers have read.
pub fn cycles(stats: &Stats, totals: &Totals) -> u64 {
    totals.cycles + stats.cron.rounds.load(Ordering::Relaxed)
}

/// Nanoseconds that those took, of which commands took so many.
pub fn busy_nanos(stats: &Stats, command_nanos: u64) -> u64 {
    command_nanos + stats.cron.nanos.load(Ordering::Relaxed)
}

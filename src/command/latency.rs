//! The latency monitor: for each kind of event the newest spikes, at most one a second.
//!
//! Whoever does something that may take long notes it under a fixed name ([`COMMAND`],
//! [`EXPIRE_CYCLE`], ...). What is below `latency-monitor-threshold` is not kept; with a
//! threshold of 0 nothing is.

use std::collections::{BTreeMap, VecDeque};

use parking_lot::Mutex;

/// Spikes kept of an event.
const SAMPLES_MAX: usize = 160;

/// A command that may be slow by its complexity.
pub const COMMAND: &str = "command";
/// A command of constant or logarithmic time.
pub const FAST_COMMAND: &str = "fast-command";
/// A round of removing what is due.
pub const EXPIRE_CYCLE: &str = "expire-cycle";

/// One spike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    /// When, Unix seconds.
    pub unix_s: i64,
    /// How long, milliseconds.
    pub ms: u64,
}

/// The spikes of one event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Series {
    /// The newest spikes, oldest first.
    pub samples: VecDeque<Sample>,
    /// The longest one ever, milliseconds.
    pub max_ms: u64,
}

impl Series {
    fn add(&mut self, sample: Sample) {
        self.max_ms = self.max_ms.max(sample.ms);
        match self.samples.back_mut() {
            Some(last) if last.unix_s == sample.unix_s => last.ms = last.ms.max(sample.ms),
            _ => {
                if self.samples.len() == SAMPLES_MAX {
                    self.samples.pop_front();
                }
                self.samples.push_back(sample);
            }
        }
    }
}

/// The spikes of all events.
#[derive(Debug, Default)]
pub struct LatencyMonitor {
    events: Mutex<BTreeMap<&'static str, Series>>,
}

impl LatencyMonitor {
    /// Notes that `event` took `ms` at `unix_s`, if that is a spike by this threshold.
    #[inline]
    pub fn note(&self, event: &'static str, ms: u64, threshold_ms: u64, unix_s: i64) {
        if threshold_ms > 0 && ms >= threshold_ms {
            self.add(event, Sample { unix_s, ms });
        }
    }

    #[cold]
    fn add(&self, event: &'static str, sample: Sample) {
        self.events.lock().entry(event).or_default().add(sample);
    }

    /// All events that had a spike, by name.
    pub fn all(&self) -> Vec<(&'static str, Series)> {
        let events = self.events.lock();
        events.iter().map(|(name, s)| (*name, s.clone())).collect()
    }

    /// One event's spikes.
    pub fn get(&self, event: &[u8]) -> Option<Series> {
        let name = std::str::from_utf8(event).ok()?;
        self.events.lock().get(name).cloned()
    }

    /// Forgets the events that `forgotten` names. How many there were.
    pub fn reset(&self, forgotten: impl Fn(&str) -> bool) -> usize {
        let mut events = self.events.lock();
        let before = events.len();
        events.retain(|name, _| !forgotten(name));
        before - events.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_keeps_its_longest_spike() {
        let m = LatencyMonitor::default();
        m.note(COMMAND, 9, 10, 1);
        assert_eq!(m.get(b"command"), None);
        for (ms, s) in [(10, 1), (30, 1), (20, 1), (15, 2)] {
            m.note(COMMAND, ms, 10, s);
        }
        let series = m.get(b"command").unwrap();
        let kept: Vec<(i64, u64)> = series.samples.iter().map(|s| (s.unix_s, s.ms)).collect();
        assert_eq!(kept, [(1, 30), (2, 15)]);
        assert_eq!(series.max_ms, 30);
        m.note(COMMAND, 99, 0, 3);
        assert_eq!(m.get(b"command").unwrap().samples.len(), 2);
    }

    #[test]
    fn old_spikes_make_room() {
        let m = LatencyMonitor::default();
        (0..500).for_each(|s| m.note(EXPIRE_CYCLE, 5, 1, s));
        let series = m.get(b"expire-cycle").unwrap();
        assert_eq!(series.samples.len(), SAMPLES_MAX);
        assert_eq!(series.samples.back().unwrap().unix_s, 499);
        assert_eq!(m.reset(|name| name == "command"), 0);
        assert_eq!(m.reset(|_| true), 1);
    }
}

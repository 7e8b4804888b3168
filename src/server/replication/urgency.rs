//! When a snapshot for replicas has to hurry.
//!
//! It goes slowly for the clients' sake while the stream behind it waits on the primary, within
//! `client-output-buffer-limit replica`: above that the replica is cut off, and begins anew. How
//! fast the stream grows changes with what the clients may do, so it hurries for a while at a time.

use crate::config::OutputLimit;

/// What waits behind a snapshot, and how far that has come.
pub struct Behind {
    /// Bytes of stream that wait.
    pub bytes: f64,
    /// Keys that are written.
    pub done: f64,
    /// Keys there are to write.
    pub total: f64,
    /// Since the snapshot was taken.
    pub seconds: f64,
}

impl Behind {
    /// Whether it comes near one of the limits by the snapshot's end, if both go on as they did.
    pub fn threatens(&self, limit: &OutputLimit) -> bool {
        self.fills(limit.hard_bytes as f64)
            || self.stays_above(limit.soft_bytes as f64, limit.soft_seconds as f64)
    }

    /// A little tells nothing yet.
    fn tells(&self, limit: f64) -> bool {
        const LITTLE_PART: f64 = 16.0;
        limit > 0.0 && self.bytes > limit / LITTLE_PART
    }

    /// By how much both grow until the end; without bound while nothing is written.
    fn growth(&self) -> f64 {
        self.total / self.done
    }

    /// Whether it will be so much of a limit that ends the replica at once that the rest may not
    /// do for what comes between the snapshot's end and the replica's.
    fn fills(&self, limit: f64) -> bool {
        const MUCH: f64 = 0.75;
        self.tells(limit) && self.bytes * self.growth() > limit * MUCH
    }

    /// Whether it will be more than half of a limit, for more than half of the time that it may be
    /// above it.
    fn stays_above(&self, limit: f64, seconds: f64) -> bool {
        let by_its_end = self.bytes * self.growth();
        let part_above = 1.0 - limit / 2.0 / by_its_end;
        self.tells(limit)
            && by_its_end > limit / 2.0
            && self.seconds * self.growth() * part_above > seconds / 2.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_is_urgent_once_its_stream_comes_near_a_limit() {
        const LIMIT: f64 = 256.0 * 1024.0 * 1024.0;
        let behind = |bytes, done, total, seconds| Behind {
            bytes,
            done,
            total,
            seconds,
        };
        let fills = |bytes, done, total| behind(bytes, done, total, 1.0).fills(LIMIT);
        // A little tells nothing yet.
        assert!(!fills(LIMIT / 17.0, 0.0, 10.0));
        assert!(fills(LIMIT / 13.0, 1.0, 10.0));
        assert!(!fills(LIMIT / 14.0, 1.0, 10.0));
        assert!(!fills(LIMIT / 13.0, 5.0, 10.0));
        assert!(!fills(LIMIT / 2.0, 9.0, 10.0));
        assert!(fills(LIMIT / 15.0, 0.0, 10.0));
        // Nothing waits, or there is nothing to send.
        assert!(!fills(0.0, 0.0, 10.0));
        assert!(!fills(LIMIT, 0.0, 0.0));
        let stays =
            |bytes, done, seconds| behind(bytes, done, 10.0, seconds).stays_above(LIMIT, 60.0);
        // It grows to the limit within 40 s, and is above half of it for 20 of these.
        assert!(!stays(LIMIT / 2.0, 5.0, 20.0));
        assert!(stays(LIMIT / 2.0, 5.0, 31.0));
        // Within 40 s to four times the limit: above half of it for 35 of these.
        assert!(stays(LIMIT * 2.0, 5.0, 20.0));
        assert!(!stays(LIMIT / 5.0, 5.0, 1000.0));
        assert!(stays(LIMIT / 5.0, 0.0, 1.0));
    }
}

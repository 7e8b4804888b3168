//! Under `always`: whom an fsync waits for before it begins.
//!
//! One fsync serves all that was written before it. But the clients that the last one has released
//! come back a moment after it has ended. If the next begins at once, with those who came while
//! the last went on, the clients stay two groups for good, and each waits for the other's fsync
//! as well as for its own: on a disk that takes a millisecond, ten clients that wait for each
//! reply get two thirds more of it in one group than in two. So the writer waits until those who
//! were released are back, for half the time that an fsync takes at the most: then one group is
//! ahead of two by a third, and two overlap what the clients do with what the disk does.
//!
//! That pays only where clients wait for one reply before they send the next write, and come back
//! soon. Where they do not, the wait is left out for a growing number of fsyncs, and one that goes
//! well takes back little of that: where every other wait is in vain, none at all is better.

/// However slow the disk is, nobody is waited for longer.
const LONGEST_US: u64 = 4000;
/// A group is back when so many eighths of its bytes are: not every write is as long as the one
/// before, and the last ones take the longest.
const ENOUGH_EIGHTHS: u64 = 7;
/// Fsyncs without a wait after a wait in vain, the fewest and the most.
const ALONE: (u32, u32) = (4, 1024);

/// Who was released by the last fsync, and how fsyncs and waits went lately.
#[derive(Debug)]
pub struct Company {
    /// What an fsync takes, averaged over some.
    usual_us: u64,
    /// When the last one ended.
    ended_us: u64,
    /// Where the log ends once those whom it released are back.
    due: u64,
    /// Fsyncs yet to go without a wait.
    alone: u32,
    /// That many after the next wait in vain.
    penalty: u32,
}

/// What to wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wait {
    /// Until the log has grown beyond this offset,
    pub beyond: u64,
    /// or until this time.
    pub until_us: u64,
}

impl Company {
    /// Nobody has been released yet.
    pub fn new() -> Company {
        Company {
            usual_us: 0,
            ended_us: 0,
            due: 0,
            alone: 0,
            penalty: ALONE.0,
        }
    }

    /// An fsync that began at `began_us` has ended at `ended_us` and brought so many bytes of log
    /// to disk, while the log has grown to `end`.
    pub fn released(&mut self, bytes: u64, end: u64, began_us: u64, ended_us: u64) {
        let took_us = ended_us.saturating_sub(began_us);
        self.usual_us = match self.usual_us {
            0 => took_us,
            usual_us => (usual_us * 7 + took_us) / 8,
        };
        self.ended_us = ended_us;
        self.due = end.saturating_add(bytes / 8 * ENOUGH_EIGHTHS);
        self.alone = self.alone.saturating_sub(1);
    }

    /// Whom those wait for who have written since the last fsync; `end` is that of the log.
    pub fn expected(&self, end: u64, now_us: u64) -> Option<Wait> {
        let until_us = self.ended_us + (self.usual_us / 2).min(LONGEST_US);
        let is_due = self.alone == 0 && end < self.due && now_us < until_us;
        is_due.then(|| Wait {
            beyond: self.due - 1,
            until_us,
        })
    }

    /// How a wait went.
    pub fn waited(&mut self, they_came: bool) {
        if they_came {
            self.penalty = (self.penalty - self.penalty / 8).max(ALONE.0);
        } else {
            self.alone = self.penalty;
            self.penalty = (self.penalty * 2).min(ALONE.1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ops::Range;

    const BYTES: u64 = 100;

    /// Writes a millisecond of clients that wait for each reply and come back after a time from
    /// `back_us`, on a disk that syncs in `sync_us`.
    fn rate(clients: u64, sync_us: u64, back_us: Range<u64>, waits: bool) -> f64 {
        let mut seed = 1_u64;
        let mut random = |from: &Range<u64>| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            from.start + (seed >> 33) % (from.end - from.start)
        };
        let mut company = Company::new();
        let mut arrivals: Vec<u64> = (0..clients).collect();
        let (mut now_us, mut synced) = (1000, 0);
        while synced < 200_000 {
            arrivals.sort_unstable();
            let here = |now_us| arrivals.iter().filter(|at| **at <= now_us).count() as u64;
            let end = |now_us| (synced + here(now_us)) * BYTES;
            if here(now_us) == 0 {
                now_us = arrivals[0];
            }
            if let Some(wait) = company.expected(end(now_us), now_us).filter(|_| waits) {
                let back = (now_us..wait.until_us).find(|at| end(*at) > wait.beyond);
                company.waited(back.is_some());
                now_us = back.unwrap_or(wait.until_us);
            }
            let group = here(now_us);
            let (began_us, written) = (now_us, synced + group);
            now_us += sync_us;
            let end = written + (here(now_us) - group);
            company.released(group * BYTES, end * BYTES, began_us, now_us);
            for at in arrivals.iter_mut().take(usize::try_from(group).unwrap()) {
                *at = now_us + random(&back_us);
            }
            synced = written;
        }
        synced as f64 * 1000.0 / now_us as f64
    }

    #[test]
    fn clients_that_come_back_soon_become_one_group() {
        for (clients, sync_us, back_us) in
            [(3, 1000, 20..60), (10, 1000, 20..100), (50, 4000, 50..400)]
        {
            let one = rate(clients, sync_us, back_us.clone(), true);
            let two = rate(clients, sync_us, back_us.clone(), false);
            let all_at_once = clients as f64 * 1000.0 / (sync_us + back_us.end) as f64;
            assert!(one > 0.85 * all_at_once, "{one} of {all_at_once}");
            assert!(one > 1.5 * two, "{one}, {two} without");
        }
    }

    #[test]
    fn clients_that_take_their_time_are_not_waited_for() {
        for back_us in [150..400, 300..2000, 90..110, 0..200] {
            let with = rate(50, 200, back_us.clone(), true);
            let without = rate(50, 200, back_us.clone(), false);
            assert!(
                with > 0.97 * without,
                "{back_us:?}: {with}, {without} without"
            );
        }
    }

    #[test]
    fn nobody_is_waited_for_long_nor_without_a_reason() {
        let mut company = Company::new();
        assert_eq!(company.expected(10, 1), None, "nobody was released");
        for _ in 0..100 {
            company.released(400, 1000, 0, 100_000);
        }
        let wait = Wait {
            beyond: 1349,
            until_us: 104_000,
        };
        assert_eq!(company.expected(1000, 100_000), Some(wait));
        assert_eq!(company.expected(1349, 103_999), Some(wait));
        assert_eq!(company.expected(1350, 103_999), None, "they are back");
        assert_eq!(company.expected(1349, 104_000), None, "it is too late");
        company.waited(false);
        for _ in 0..ALONE.0 {
            assert_eq!(company.expected(1000, 100_000), None);
            company.released(400, 1000, 0, 100_000);
        }
        assert_eq!(company.expected(1000, 100_000), Some(wait));
    }

    #[test]
    fn no_offset_and_no_time_overflows() {
        let mut company = Company::new();
        company.released(u64::MAX, u64::MAX, 7, 0);
        assert_eq!(company.expected(u64::MAX, 0), None);
    }
}

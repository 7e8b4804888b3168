//! One snapshot on its way to several replicas.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc::{self, error::TrySendError};

use crate::base::clock;

use super::full_sync::{Delivery, Job};

/// Bytes of a data set in a piece: whoever passes it on is woken that much less often.
const PIECE_BYTES: usize = 256 << 10;

/// A piece that takes so long to fill goes out as it is: to a replica, silence is a sign of death.
const OLD_US: u64 = 1_000_000;

/// Room that a piece may be sent without.
const LEFT_BYTES: usize = 64 << 10;

/// Writes to all members that are still there.
pub struct FanOut<'j> {
    job: &'j Arc<Job>,
    piece: Vec<u8>,
    /// When the piece was begun.
    begun_us: u64,
}

impl<'j> FanOut<'j> {
    /// For the members of a job.
    pub fn new(job: &'j Arc<Job>) -> FanOut<'j> {
        FanOut {
            job,
            piece: Vec::new(),
            begun_us: 0,
        }
    }

    /// Gives one of them its delivery, as soon as it takes it. Whether it is still there.
    ///
    /// # Errors
    /// The snapshot is to end, however long the replica may take.
    fn give(&self, to: &mpsc::Sender<Delivery>, mut what: Delivery) -> io::Result<bool> {
        const LOOK: Duration = Duration::from_micros(500);
        loop {
            what = match to.try_send(what) {
                Ok(()) => return Ok(true),
                Err(TrySendError::Closed(_)) => return Ok(false),
                Err(TrySendError::Full(back)) => back,
            };
            self.job.progress.check()?;
            std::thread::sleep(LOOK);
        }
    }

    /// Gives all of them a delivery.
    ///
    /// # Errors
    /// None is left, or the snapshot is to end.
    pub fn send(&mut self, what: impl Fn() -> Delivery) -> io::Result<()> {
        let mut alive = 0;
        for to in self.job.receivers() {
            if self.give(&to, what())? {
                alive += 1;
            }
        }
        if alive > 0 {
            return Ok(());
        }
        if !self.job.progress.cancelled.swap(true, Ordering::AcqRel) {
            tracing::warn!("Diskless rdb transfer, last replica dropped, killing fork child.");
        }
        Err(io::ErrorKind::BrokenPipe.into())
    }
}

impl FanOut<'_> {
    fn write_at(&mut self, now_us: u64, bytes: &[u8]) -> io::Result<()> {
        if self.piece.is_empty() {
            self.piece.reserve_exact(PIECE_BYTES);
            self.begun_us = now_us;
        }
        self.piece.extend_from_slice(bytes);
        let is_old = now_us.saturating_sub(self.begun_us) > OLD_US;
        if self.piece.len() >= PIECE_BYTES - LEFT_BYTES || is_old {
            self.flush()?;
        }
        Ok(())
    }
}

impl Write for FanOut<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_at(clock::mono_us(), bytes)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        let piece = Bytes::from(std::mem::take(&mut self.piece));
        if piece.is_empty() {
            return Ok(());
        }
        self.send(|| Delivery::Piece(piece.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::super::full_sync::Deliveries;
    use super::super::full_sync::tests::job;
    use super::*;

    /// The piece that went out, if one did.
    fn piece(deliveries: &mut Deliveries) -> Option<Bytes> {
        match deliveries.try_recv() {
            Ok(Delivery::Piece(piece)) => Some(piece),
            _ => None,
        }
    }

    #[test]
    fn a_piece_goes_out_once_it_is_old_and_the_next_one_is_young() {
        let (job, mut all) = job(2);
        let mut out = FanOut::new(&job);
        let begun_us = 7_000_000;
        for (later_us, bytes, sent) in [
            (0, "a", None),
            (OLD_US, "b", None),
            (OLD_US + 1, "c", Some("abc")),
            (OLD_US + 2, "d", None),
            (2 * OLD_US + 2, "e", None),
            (2 * OLD_US + 3, "f", Some("def")),
        ] {
            out.write_at(begun_us + later_us, bytes.as_bytes()).unwrap();
            for deliveries in &mut all {
                let piece = piece(deliveries);
                assert_eq!(piece.as_deref(), sent.map(str::as_bytes), "{bytes}");
            }
        }
    }

    #[test]
    fn a_piece_goes_out_once_it_is_nearly_full() {
        let (job, mut all) = job(1);
        let mut out = FanOut::new(&job);
        let nearly = PIECE_BYTES - LEFT_BYTES;
        out.write_at(0, &vec![1; nearly - 1]).unwrap();
        assert!(piece(&mut all[0]).is_none());
        out.write_at(0, &[2; 3]).unwrap();
        assert_eq!(piece(&mut all[0]).unwrap().len(), nearly + 2);
    }

    #[test]
    fn what_nobody_takes_ends_the_snapshot() {
        let (job, all) = job(2);
        drop(all);
        let mut out = FanOut::new(&job);
        out.write_at(0, b"a").unwrap();
        let error = out.flush().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
        assert!(job.progress.cancelled.load(Ordering::Acquire));
    }
}

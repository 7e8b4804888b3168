//! Our side of a full sync over two connections (`repl-rdb-channel`): the data set comes over one,
//! and the stream behind it over the main one, at the same time.
//!
//! The primary asked for the second connection by `+RDBCHANNELSYNC`. If the main connection breaks
//! while a received file is loaded, the file is loaded all the same, and the stream is continued
//! by a partial resync; if either breaks before, everything begins anew.

use std::future::Future;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use tokio::net::TcpStream;

use crate::base::clock;
use crate::config::PrimaryAddress;
use crate::persist::rdb::file::reason;
use crate::replication::psync::handshake::{Handshake, Outcome};

use super::Replication;
use super::link::{Ended, Link, Received};
use super::reservoir::Reservoir;

const MAIN_LOST: &str = "Connection with master lost while receiving the RDB (rdb-channel).";

/// Does `work` while the stream is read beside it, and gives up if that ends.
async fn beside<T>(
    main: &TcpStream,
    held: &mut Reservoir,
    work: impl Future<Output = Result<T, String>>,
) -> Result<T, String> {
    tokio::select! {
        done = work => done,
        () = held.fill(main) => Err(MAIN_LOST.to_owned()),
    }
}

impl Link {
    /// Receives a data set over a connection of its own, and loads it.
    ///
    /// # Errors
    /// The line to log, and what became of the link.
    pub(super) async fn receive_beside(
        &mut self,
        primary: &PrimaryAddress,
        main_client: u64,
    ) -> Result<Received, (String, Ended)> {
        let repl = self.repl();
        if repl.pauses.is(Place::BeforeRdbChannel) {
            stop_process();
        }
        let failed = |reason: String| (reason, Ended::Failed);
        let mut side = Link::dial(&repl, primary).await.map_err(|e| {
            let reason = reason(&e);
            failed(format!(
                "Unable to connect to master (rdb-channel): {reason}"
            ))
        })?;
        let machine = {
            let now_ms = clock::mono_us() / 1000;
            Handshake::of_side(side.handshake_settings(), main_client, now_ms)
        };
        let point = match side.talk(machine).await {
            Outcome::Full(Some(point)) => point,
            Outcome::Failed(reason) | Outcome::TryLater(reason) => return Err(failed(reason)),
            _ => {
                return Err(failed("Unexpected reply to PSYNC (rdb-channel)".to_owned()));
            }
        };
        tracing::info!("Starting to receive RDB and replication stream in parallel.");
        repl.begin_transfer();
        let mut held = Reservoir::new(&repl, self.take_unread(), true);
        let aborted = |reason: String| (reason, Ended::Aborted);
        let opening = side.open_intake(Some(point));
        let (framing, mut intake) = beside(self.stream(), &mut held, opening)
            .await
            .map_err(aborted)?;
        let pumping = side.pump(framing, &mut intake);
        if let Err(reason) = beside(self.stream(), &mut held, pumping).await {
            if intake.is_loading() {
                tracing::info!("Aborting rdb channel sync while loading the RDB.");
            }
            intake.abandon().await;
            return Err(aborted(reason));
        }
        // By this the primary learns that nothing of it was lost.
        drop(side);
        let stream_db = self.finish(intake, &mut held).await.map_err(aborted)?;
        Ok(Received { stream_db, held })
    }
}

/// Where `DEBUG REPL-PAUSE` may stop the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    BeforeRdbChannel = 1,
    OnStreamingBuffer = 2,
}

/// The place that DEBUG chose, if it did.
#[derive(Debug, Default)]
pub struct Pauses(AtomicU8);

impl Pauses {
    pub(super) fn is(&self, place: Place) -> bool {
        self.0.load(Ordering::Relaxed) == place as u8
    }

    /// Stops the process at a place if that is wanted; then until it is not wanted any more, or for
    /// a while.
    pub(super) async fn pass(&self, place: Place) {
        const STEPS: u32 = 1000;
        if !self.is(place) {
            return;
        }
        stop_process();
        for _ in 0..STEPS {
            if !self.is(place) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

/// Until somebody sends SIGCONT.
fn stop_process() {
    tracing::info!("Process is about to stop.");
    let me = rustix::process::getpid();
    let _ = rustix::process::kill_process(me, rustix::process::Signal::STOP);
}

impl Replication {
    /// `DEBUG REPL-PAUSE`
    pub(super) fn pause_at(&self, place: &[u8]) -> bool {
        let code = match place.to_ascii_lowercase().as_slice() {
            b"clear" => 0,
            b"before-rdb-channel" => Place::BeforeRdbChannel as u8,
            b"on-streaming-repl-buf" => Place::OnStreamingBuffer as u8,
            _ => return false,
        };
        self.pauses.0.store(code, Ordering::Relaxed);
        true
    }
}

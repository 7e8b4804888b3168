//! A replica that syncs over two connections (`repl-rdb-channel`).
//!
//! ```text
//!   main  PSYNC -> +RDBCHANNELSYNC id .......... stream, from the snapshot on .... ACK: online
//!   side  REPLCONF main-ch-client-id id, PSYNC ? -1 -> +FULLRESYNC, data set, mark -> closed
//! ```
//!
//! The stream goes to the replica while the data set does, so it does not pile up here. Whichever
//! connection ends before the data set is there takes the other one with it.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use parking_lot::Mutex;
use tokio::sync::mpsc;

use crate::base::clock;
use crate::client::Client;
use crate::oplog::log::Cursor;
use crate::replication::replicas::{Replica, ReplicaState};

use super::super::Replication;
use super::{Feed, LOOK, gone};

/// A replica's main connection.
pub struct Main {
    replica: Arc<Replica>,
    /// The stream behind the snapshot, once that has begun.
    begin: mpsc::Sender<Option<Cursor>>,
    side: Mutex<Option<Arc<Client>>>,
    has_data_set: AtomicBool,
    /// Where the stream begins.
    from: AtomicU64,
}

impl Main {
    /// The snapshot has begun, and this is the stream behind it.
    pub fn begin(&self, stream: Option<Cursor>) {
        let from = stream.as_ref().map_or(0, Cursor::position);
        self.from.store(from, Ordering::Release);
        // It is told once. One that is gone needs no stream.
        let _ = self.begin.try_send(stream);
    }

    /// Where its stream begins.
    pub fn from(&self) -> u64 {
        self.from.load(Ordering::Acquire)
    }

    /// The replica has been sent its whole data set.
    pub fn has_data_set(&self) -> bool {
        self.has_data_set.load(Ordering::Acquire)
    }
}

/// The main connections, by the numbers of their clients.
#[derive(Default)]
pub struct Mains(Mutex<HashMap<u64, Arc<Main>>>);

impl Mains {
    fn open(&self, replica: &Arc<Replica>) -> (Arc<Main>, mpsc::Receiver<Option<Cursor>>) {
        let (begin, begun) = mpsc::channel(1);
        let main = Arc::new(Main {
            replica: Arc::clone(replica),
            begin,
            side: Mutex::new(None),
            has_data_set: AtomicBool::new(false),
            from: AtomicU64::new(0),
        });
        self.0.lock().insert(replica.client.id, Arc::clone(&main));
        (main, begun)
    }

    /// Whether a main connection of this number waits for its second one.
    pub fn is_awaited(&self, main: u64) -> bool {
        let mains = self.0.lock();
        mains.get(&main).is_some_and(|m| m.side.lock().is_none())
    }

    /// A second connection has come.
    fn join(&self, main: u64, side: &Arc<Client>) -> Option<Arc<Main>> {
        let main = self.0.lock().get(&main).cloned()?;
        let mut joined = main.side.lock();
        if joined.is_some() {
            return None;
        }
        *joined = Some(Arc::clone(side));
        drop(joined);
        Some(main)
    }
}

/// Ends the second connection with the main one.
struct Opened {
    repl: Arc<Replication>,
    main: Arc<Main>,
}

impl Drop for Opened {
    fn drop(&mut self) {
        self.repl
            .mains
            .0
            .lock()
            .remove(&self.main.replica.client.id);
        if let Some(side) = self.main.side.lock().take() {
            side.kill();
        }
    }
}

/// Ends the main connection if the second one ends too early.
struct Joined(Arc<Main>);

impl Drop for Joined {
    fn drop(&mut self) {
        if !self.0.has_data_set() {
            self.0.replica.client.kill();
        }
    }
}

impl Feed {
    /// Whether this replica is to come with a second connection.
    pub(super) fn calls_for_side(&self) -> bool {
        let traits = &self.replica.traits;
        let settings = self.repl.engine.config.current();
        let r = &settings.replication;
        traits.rdb_channel
            && !traits.rdb_only
            && !traits.is_filtered()
            && r.repl_rdb_channel
            && r.repl_diskless_sync
    }

    /// Serves a main connection.
    pub(super) async fn serve_main(&mut self) -> io::Result<()> {
        let repl = Arc::clone(&self.repl);
        tracing::info!(
            "Replica {} is capable of rdb channel synchronization, and partial sync isn't \
             possible. Full sync will continue with dedicated rdb channel.",
            self.replica
        );
        let (main, begun) = {
            let mut s = repl.state.lock();
            repl.ensure_backlog(&mut s.history);
            repl.replicas.add(Arc::clone(&self.replica));
            repl.mains.open(&self.replica)
        };
        let _opened = Opened {
            repl: Arc::clone(&repl),
            main: Arc::clone(&main),
        };
        self.put(format!("+RDBCHANNELSYNC {}\r\n", self.client.id));
        self.send_all().await?;
        self.cursor = Some(self.await_snapshot(&main, begun).await?);
        self.replica
            .set_state(ReplicaState::SendBulkAndStream, clock::unix_ms());
        tracing::info!(
            "Starting to deliver RDB and replication stream to replica: {}",
            self.replica
        );
        self.main = Some(main);
        self.stream().await
    }

    async fn await_snapshot(
        &mut self,
        main: &Main,
        mut begun: mpsc::Receiver<Option<Cursor>>,
    ) -> io::Result<Cursor> {
        let opened = Instant::now();
        let mut look = tokio::time::interval(LOOK);
        loop {
            tokio::select! {
                stream = begun.recv() => {
                    return stream.flatten().ok_or_else(|| gone("the full sync was given up"));
                }
                r = self.transport.readable() => {
                    r?;
                    self.listen()?;
                }
                () = self.client.outbox.woken() => self.check()?,
                _ = look.tick() => self.check()?,
            }
            if main.side.lock().is_none() && opened.elapsed() > self.timeout() {
                tracing::warn!(
                    "Disconnecting timedout replica (rdb-channel has not come): {}",
                    self.replica
                );
                return Err(io::ErrorKind::TimedOut.into());
            }
        }
    }

    /// The stream has been behind the data set until now: whether that has changed.
    pub(super) fn settle(&mut self) {
        let there = |m: &Arc<Main>| m.has_data_set() && self.replica.has_acknowledged();
        if self.main.as_ref().is_some_and(there) {
            self.main = None;
            self.online();
        }
    }

    /// Serves a second connection, up to its end.
    pub(super) async fn serve_side(&mut self, main: u64) -> io::Result<()> {
        let joined = self.repl.mains.join(main, &self.client);
        let joined = Joined(joined.ok_or_else(|| gone("its main connection is not there"))?);
        self.client.rdb_channel.store(true, Ordering::Relaxed);
        tracing::info!(
            "Full resync requested by replica {} (rdb-channel)",
            self.replica
        );
        let main = Arc::clone(&joined.0);
        let mut deliveries = self.repl.request_full(&self.replica, Some(main));
        self.deliver(&mut deliveries).await?;
        joined.0.replica.heard(clock::unix_ms());
        joined.0.has_data_set.store(true, Ordering::Release);
        // The replica closes it, so that nothing is lost on the way.
        let sent = Instant::now();
        while sent.elapsed() < self.timeout() {
            self.attend().await?;
        }
        Ok(())
    }
}

//! A received data set on its way into the keyspace.
//!
//! Three ways, by `repl-diskless-load`:
//!
//! - to a file beside the RDB file; once it is there whole, the old data go and the file is loaded,
//!   and only when it has been loaded whole, and the disk has it, does it take the RDB file's name:
//!   until then the last good RDB and AOF stay on the disk. A disk that is slow keeps nobody from
//!   the data that have been loaded. Where there are no old data, the file is loaded while it
//!   grows, into a keyspace of its own, which is empty for everybody else until then;
//! - into the empty keyspace as it arrives;
//! - into a second keyspace beside the present one, which goes on serving reads until the new one
//!   is whole.
//!
//! Reading and loading happen on a thread that may block; pieces go to it through a bounded queue.

use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::base::clock;
use crate::keyspace::locks::Keyspace;
use crate::keyspace::unit::Garbage;
use crate::persist::rdb::Summary;
use crate::persist::rdb::error::Error;
use crate::persist::rdb::file::{LoadFile, reason};
use crate::replication::history::ReplId;

use super::super::loading::{self, LoadMode, Loaded, Watch};
use super::Replication;
use super::growing::{self, Growing, Growth, Written};
use super::received::TempFile;

/// Pieces that wait for the thread.
const PIECES_AHEAD: usize = 32;

/// Where a data set goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Destination {
    /// To this file first.
    File(PathBuf),
    /// Into the keyspace, which is empty.
    Keyspace,
    /// Into a keyspace of its own.
    Beside,
}

enum Piece {
    Data(Vec<u8>),
    /// The data set is whole.
    End,
}

/// What the thread has made of it.
enum Made {
    File(Written),
    Loaded(Loaded),
    Beside(Loaded, Keyspace),
}

/// Ends a load when it goes.
#[derive(Default)]
struct Cancel(Arc<AtomicBool>);

impl Drop for Cancel {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// A load from a file that is still growing.
type Early = JoinHandle<Result<(Loaded, Keyspace), String>>;

/// A data set that is being received.
pub struct Intake {
    /// Removed with us, unless we come to the end.
    temp: Option<TempFile>,
    repl: Arc<Replication>,
    into: Destination,
    point: Option<(ReplId, u64)>,
    to: Option<mpsc::Sender<Piece>>,
    /// The thread's outcome has been taken.
    asked: bool,
    /// The file is loaded while it grows.
    early: Option<Early>,
    cancel: Cancel,
    thread: JoinHandle<Result<Made, String>>,
}

/// The pieces as a stream that blocks; a sender that goes away without an end breaks it.
struct Pieces {
    from: mpsc::Receiver<Piece>,
    piece: Vec<u8>,
    at: usize,
    ended: bool,
}

impl Pieces {
    /// The next piece; `None` at the end.
    fn next(&mut self) -> io::Result<Option<Vec<u8>>> {
        if self.ended {
            return Ok(None);
        }
        match self.from.blocking_recv() {
            Some(Piece::Data(piece)) => return Ok(Some(piece)),
            Some(Piece::End) => self.ended = true,
            None => return Err(io::Error::other("connection lost")),
        }
        Ok(None)
    }
}

impl Read for Pieces {
    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        while self.at >= self.piece.len() && !self.ended {
            if let Some(piece) = self.next()? {
                (self.piece, self.at) = (piece, 0);
            }
        }
        let left = self.piece.get(self.at..).unwrap_or_default();
        let n = left.len().min(room.len());
        if let (Some(to), Some(from)) = (room.get_mut(..n), left.get(..n)) {
            to.copy_from_slice(from);
        }
        self.at += n;
        Ok(n)
    }
}

impl Intake {
    /// Prepares for a data set of this point.
    ///
    /// # Errors
    /// The line to log.
    pub async fn begin(
        repl: &Arc<Replication>,
        into: Destination,
        point: Option<(ReplId, u64)>,
    ) -> Result<Intake, String> {
        let (to, from) = mpsc::channel(PIECES_AHEAD);
        let mut pieces = Pieces {
            from,
            piece: Vec::new(),
            at: 0,
            ended: false,
        };
        let me = Arc::clone(repl);
        let cancel = Cancel::default();
        let flag = Arc::clone(&cancel.0);
        let (mut early, mut temp) = (None, None);
        let thread = match &into {
            Destination::File(path) => {
                let (file, made) = TempFile::create(path.clone()).await.map_err(|e| {
                    let why = reason(&e);
                    format!(
                        "Opening the temp file needed for MASTER <-> REPLICA synchronization: {why}"
                    )
                })?;
                temp = Some(made);
                let growth = Arc::new(Growth::default());
                if repl.is_empty() {
                    early = load_early(repl, path, &growth, flag);
                }
                tokio::task::spawn_blocking(move || {
                    growing::write(|| pieces.next(), file, &growth).map(Made::File)
                })
            }
            Destination::Keyspace => {
                let serving = Serving::stop(repl, true).await;
                tokio::task::spawn_blocking(move || {
                    let loaded = serving.load(pieces, &me.engine.keyspace, flag);
                    loaded.map(Made::Loaded)
                })
            }
            Destination::Beside => {
                let known = repl.state.lock().history.id;
                let same = point.is_some_and(|(id, _)| id == known);
                let serving = Serving::beside(repl, same).await;
                tokio::task::spawn_blocking(move || {
                    let beside = Keyspace::new(me.engine.keyspace.databases());
                    let loaded = serving.load(pieces, &beside, flag)?;
                    Ok(Made::Beside(loaded, beside))
                })
            }
        };
        Ok(Intake {
            temp,
            repl: Arc::clone(repl),
            into,
            point,
            to: Some(to),
            asked: false,
            early,
            cancel,
            thread,
        })
    }

    /// Whether what arrives is loaded at once.
    pub fn is_loading(&self) -> bool {
        !matches!(self.into, Destination::File(_))
    }

    /// Takes a piece.
    ///
    /// # Errors
    /// The line to log: nothing more is taken.
    pub async fn put(&mut self, piece: Vec<u8>) -> Result<(), String> {
        let sent = match &self.to {
            Some(to) => to.send(Piece::Data(piece)).await.is_ok(),
            None => false,
        };
        if sent {
            Ok(())
        } else {
            Err(self.failed().await)
        }
    }

    /// Resolves when nothing more is taken, with the line to log.
    pub async fn failed(&mut self) -> String {
        if let Some(to) = &self.to {
            to.closed().await;
        }
        let outcome = (&mut self.thread).await;
        self.asked = true;
        match outcome {
            Ok(Err(reason)) => reason,
            Ok(Ok(_)) => "The data set from MASTER ended before its time".to_owned(),
            Err(e) => e.to_string(),
        }
    }

    /// Forgets a data set that will not be whole.
    pub async fn abandon(mut self) {
        self.cancel.0.store(true, Ordering::Relaxed);
        self.to = None;
        // One that has told its reason already cannot be asked again.
        if !self.asked
            && let Ok(Err(reason)) = (&mut self.thread).await
            && self.is_loading()
        {
            tracing::warn!("{reason}");
        }
        self.gave_up().await;
    }

    /// What was loaded in part goes.
    async fn gave_up(&self) {
        if self.into == Destination::Beside {
            tracing::info!("MASTER <-> REPLICA sync: Discarding temporary DB in background");
        } else if self.into == Destination::Keyspace {
            self.repl.empty().await;
        }
        self.repl.engine.end_loading(clock::unix_ms());
        self.repl.load.active.store(false, Ordering::Relaxed);
    }

    /// The data set has arrived whole: it becomes ours. The database its stream begins in.
    ///
    /// # Errors
    /// The line to log.
    pub async fn finish(mut self) -> Result<i64, String> {
        if let Some(to) = self.to.take() {
            let _ = to.send(Piece::End).await;
        }
        let made = (&mut self.thread).await.map_err(|e| e.to_string())?;
        let loaded = match made {
            Err(reason) => Err(reason),
            Ok(Made::Loaded(loaded)) => Ok(loaded),
            Ok(Made::Beside(loaded, keyspace)) => {
                self.repl.detach().await;
                tracing::info!("MASTER <-> REPLICA sync: Swapping active DB with loaded DB");
                self.swap(keyspace).await?;
                tracing::info!("MASTER <-> REPLICA sync: Discarding old DB in background");
                Ok(loaded)
            }
            Ok(Made::File(file)) => self.load_file(file).await,
        };
        let loaded = match loaded {
            Ok(loaded) => loaded,
            Err(reason) => {
                self.gave_up().await;
                return Err(reason);
            }
        };
        self.repl.become_copy(self.point, &loaded).await;
        Ok(loaded.point.as_ref().map_or(0, |p| p.db.max(0)))
    }

    async fn swap(&self, keyspace: Keyspace) -> Result<(), String> {
        let engine = Arc::clone(&self.repl.engine);
        let swapped = tokio::task::spawn_blocking(move || {
            let old = engine.keyspace.replace_with(keyspace);
            engine
                .host
                .free_later(old.into_iter().map(Garbage::Table).collect());
        });
        swapped.await.map_err(|e| e.to_string())
    }

    /// Loads the file that was received, in place of what there is.
    async fn load_file(&mut self, written: Written) -> Result<Loaded, String> {
        let Some(temp) = self.temp.take() else {
            return Err(String::new());
        };
        let serving = Serving::stop(&self.repl, false).await;
        let me = Arc::clone(&self.repl);
        let flag = Arc::clone(&self.cancel.0);
        let opened = LoadFile::open(temp.path()).map_err(|e| e.to_string())?;
        let file = opened.ok_or("the file received is not there any more")?;
        me.load.total_bytes.store(file.size, Ordering::Relaxed);
        let loaded = match self.early.take() {
            None => {
                let load = tokio::task::spawn_blocking(move || serving.load_file(file, flag));
                load.await.map_err(|e| e.to_string())?
            }
            Some(early) => {
                me.reservoir.set_awaited(true);
                let ended = early.await;
                me.reservoir.set_awaited(false);
                match ended.map_err(|e| e.to_string())? {
                    Ok((loaded, keyspace)) => self.swap(keyspace).await.map(|()| loaded),
                    Err(reason) => Err(reason),
                }
            }
        };
        match &loaded {
            Ok(_) => temp.keep(me, written).await,
            Err(_) => self.repl.empty().await,
        }
        loaded
    }
}

/// The right to load a data set in place of the present one.
struct Serving {
    repl: Arc<Replication>,
    from_socket: bool,
    /// Nobody is kept from anything by a load that takes longer, until its file is there in full.
    in_background: bool,
}

impl Serving {
    /// Stops everything that works on the present data, and removes it.
    async fn stop(repl: &Arc<Replication>, from_socket: bool) -> Serving {
        // From here on REPLICAOF, which would drop us halfway, is told to wait.
        repl.engine.begin_loading(clock::unix_ms());
        repl.stop_savers().await;
        repl.detach().await;
        tracing::info!("MASTER <-> REPLICA sync: Flushing old data");
        repl.mark_loading(false);
        repl.engine.begin_loading(clock::unix_ms());
        repl.empty().await;
        repl.engine.begin_loading(clock::unix_ms());
        tracing::info!("MASTER <-> REPLICA sync: Loading DB in memory");
        Serving {
            repl: Arc::clone(repl),
            from_socket,
            in_background: false,
        }
    }

    /// Stops what would keep the old data on disk; `same`: the old data are an earlier state of
    /// the new, so they may be read meanwhile.
    async fn beside(repl: &Arc<Replication>, same: bool) -> Serving {
        repl.stop_savers().await;
        tracing::info!("MASTER <-> REPLICA sync: Loading DB in memory");
        if same {
            repl.engine.begin_loading_beside(clock::unix_ms());
        } else {
            repl.engine.begin_loading(clock::unix_ms());
        }
        repl.mark_loading(same);
        Serving {
            repl: Arc::clone(repl),
            from_socket: true,
            in_background: false,
        }
    }

    /// Loads, on a thread that may block.
    fn load(
        self,
        stream: impl Read,
        into: &Keyspace,
        cancelled: Arc<AtomicBool>,
    ) -> Result<Loaded, String> {
        let (mode, watch) = self.begin(&cancelled);
        let loaded = loading::load_stream(&self.repl.engine, into, stream, mode, watch);
        self.told(loaded, &cancelled)
    }

    /// As [`Serving::load`], of a file, in place of what there is.
    fn load_file(self, file: LoadFile, cancelled: Arc<AtomicBool>) -> Result<Loaded, String> {
        let (mode, watch) = self.begin(&cancelled);
        let loaded = loading::load_opened(&self.repl.engine, file, mode, watch);
        self.told(loaded, &cancelled)
    }

    fn begin(&self, cancelled: &Arc<AtomicBool>) -> (LoadMode, Watch) {
        let mode = LoadMode {
            keep_due: true,
            ..LoadMode::default()
        };
        let progress = Arc::clone(&self.repl.load.loaded_bytes);
        progress.store(0, Ordering::Relaxed);
        let watch = Watch {
            progress: Some(progress),
            cancelled: Some(Arc::clone(cancelled)),
            urgent: self
                .in_background
                .then(|| Arc::clone(&self.repl.reservoir.presses)),
        };
        (mode, watch)
    }

    /// Tells the log how it went.
    fn told(
        &self,
        outcome: Result<(Loaded, Summary), Error>,
        cancelled: &AtomicBool,
    ) -> Result<Loaded, String> {
        let (loaded, _) = outcome.map_err(|e| {
            let is_wanted = !cancelled.load(Ordering::Relaxed);
            for line in e.log_lines().iter().filter(|_| is_wanted) {
                tracing::warn!("{line}");
            }
            let from = if self.from_socket {
                "from socket"
            } else {
                "from disk"
            };
            format!(
                "Failed trying to load the MASTER synchronization DB {from}, check server logs."
            )
        })?;
        tracing::info!(
            "Done loading RDB, keys loaded: {}, keys expired: {}, empty keys skipped: {}.",
            loaded.keys,
            loaded.expired,
            loaded.empty
        );
        Ok(loaded)
    }
}

/// Begins to load the file at `path` while it grows; who reads the present data, which are none,
/// notices nothing of it.
fn load_early(
    repl: &Arc<Replication>,
    path: &Path,
    growth: &Arc<Growth>,
    cancelled: Arc<AtomicBool>,
) -> Option<Early> {
    let growing = Growing::open(path, growth).ok()?;
    let serving = Serving {
        repl: Arc::clone(repl),
        from_socket: false,
        in_background: true,
    };
    let databases = repl.engine.keyspace.databases();
    Some(tokio::task::spawn_blocking(move || {
        let beside = Keyspace::new(databases);
        let loaded = serving.load(growing, &beside, cancelled)?;
        Ok((loaded, beside))
    }))
}

impl Replication {
    /// Stops whoever writes the present data to the disk; what is there stays there.
    async fn stop_savers(self: &Arc<Self>) {
        let me = Arc::clone(self);
        let stopped = tokio::task::spawn_blocking(move || {
            if let Some(append_only) = me.append_only.get() {
                append_only.stop();
            }
            me.cancel_sync();
            me.saver.cancel();
        });
        let _ = stopped.await;
    }

    /// What we have is about to become the beginning of nothing: nobody may continue with it.
    async fn detach(&self) {
        {
            let mut s = self.state.lock();
            if std::mem::take(&mut s.resumable) {
                tracing::info!("Discarding previously cached master state.");
            }
        }
        self.replicas.disconnect();
        self.engine.log.backlog_free();
        // They notice on their workers; the stream changes its offsets only without readers.
        while self.engine.log.readers() > 0 {
            self.replicas.disconnect();
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// The link was cut off while a data set was about to be loaded, or was being loaded beside
    /// the present one: nobody else will say that it is not coming.
    pub(super) async fn give_up_load(&self) {
        if !self.load.active.swap(false, Ordering::Relaxed) && !self.engine.gates.is_loading() {
            return;
        }
        self.engine.end_loading(clock::unix_ms());
        if let Some(append_only) = self.append_only.get() {
            let append_only = Arc::clone(append_only);
            let _ = tokio::task::spawn_blocking(move || append_only.restart()).await;
        }
    }

    fn mark_loading(&self, beside: bool) {
        self.load.beside.store(beside, Ordering::Relaxed);
        let now_s = clock::unix_ms() / 1000;
        self.load.began_s.store(now_s, Ordering::Relaxed);
        self.load.active.store(true, Ordering::Relaxed);
        self.load.total_bytes.store(0, Ordering::Relaxed);
    }

    /// Removes every key.
    async fn empty(self: &Arc<Self>) {
        let me = Arc::clone(self);
        let emptied = tokio::task::spawn_blocking(move || {
            super::super::host::empty(&me.engine);
        });
        let _ = emptied.await;
    }

    /// The data are those of `point` now, and the stream goes on from there.
    async fn become_copy(self: &Arc<Self>, point: Option<(ReplId, u64)>, loaded: &Loaded) {
        let offset = point.map_or(0, |(_, offset)| offset);
        let db = loaded.point.as_ref().map_or(0, |p| p.db.max(0));
        while let Err(e) = self.engine.log.set_offset(offset, u32::try_from(db).ok()) {
            tracing::debug!("{e}");
            self.replicas.disconnect();
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        // Who reads waits for what was written where it looks: nothing yet, in this stream.
        self.engine.keyspace.forget_writes();
        self.adopt(point);
        self.create_backlog();
        self.saver.functions.lock().clone_from(&loaded.functions);
        self.engine.keyspace.add_dirty(1);
        self.engine.end_loading(clock::unix_ms());
        self.load.active.store(false, Ordering::Relaxed);
        tracing::info!("MASTER <-> REPLICA sync: Finished with success");
        if let Some(append_only) = self.append_only.get() {
            let append_only = Arc::clone(append_only);
            let _ = tokio::task::spawn_blocking(move || append_only.restart()).await;
        }
    }
}

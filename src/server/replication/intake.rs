//! A received data set on its way into the keyspace.
//!
//! Three ways, by `repl-diskless-load`:
//!
//! - to a file beside the RDB file; once it is there whole, the old data go and the file is loaded,
//!   and only when it has been loaded whole does it take the RDB file's name: until then the last
//!   good RDB and AOF stay on the disk;
//! - into the empty keyspace as it arrives;
//! - into a second keyspace beside the present one, which goes on serving reads until the new one
//!   is whole.
//!
//! Reading and loading happen on a thread that may block; pieces go to it through a bounded queue.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::base::clock;
use crate::keyspace::locks::Keyspace;
use crate::keyspace::unit::Garbage;
use crate::persist::rdb::file::{LoadFile, reason, sync_dir};
use crate::replication::history::ReplId;

use super::super::loading::{self, LoadMode, Loaded};
use super::Replication;

/// Pieces that wait for the thread.
const PIECES_AHEAD: usize = 32;
/// Bytes between two syncs of a growing file.
const SYNC_EVERY: usize = 8 << 20;

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
    File,
    Loaded(Loaded),
    Beside(Loaded, Keyspace),
}

/// A file that goes unless it has been given another name.
struct TempFile(PathBuf);

impl Drop for TempFile {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// A data set that is being received.
pub struct Intake {
    /// Removed with us, however we end.
    _temp: Option<TempFile>,
    repl: Arc<Replication>,
    into: Destination,
    point: Option<(ReplId, u64)>,
    to: Option<mpsc::Sender<Piece>>,
    thread: JoinHandle<Result<Made, String>>,
}

/// The pieces as a stream that blocks; a sender that goes away without an end breaks it.
struct Pieces {
    from: mpsc::Receiver<Piece>,
    piece: Vec<u8>,
    at: usize,
    ended: bool,
}

impl Read for Pieces {
    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        while self.at >= self.piece.len() && !self.ended {
            match self.from.blocking_recv() {
                Some(Piece::Data(piece)) => (self.piece, self.at) = (piece, 0),
                Some(Piece::End) => self.ended = true,
                None => return Err(io::Error::other("connection lost")),
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
        let pieces = Pieces {
            from,
            piece: Vec::new(),
            at: 0,
            ended: false,
        };
        let me = Arc::clone(repl);
        let thread = match &into {
            Destination::File(path) => {
                let open = OpenOptions::new().write(true).create_new(true).open(path);
                let file = open.map_err(|e| {
                    let why = reason(&e);
                    format!(
                        "Opening the temp file needed for MASTER <-> REPLICA synchronization: {why}"
                    )
                })?;
                tokio::task::spawn_blocking(move || to_file(pieces, file).map(|()| Made::File))
            }
            Destination::Keyspace => {
                let serving = Serving::stop(repl, true).await;
                tokio::task::spawn_blocking(move || {
                    let loaded = serving.load(pieces, &me.engine.keyspace);
                    loaded.map(Made::Loaded)
                })
            }
            Destination::Beside => {
                let known = repl.state.lock().history.id;
                let same = point.is_some_and(|(id, _)| id == known);
                let serving = Serving::beside(repl, same).await;
                tokio::task::spawn_blocking(move || {
                    let beside = Keyspace::new(me.engine.keyspace.databases());
                    let loaded = serving.load(pieces, &beside)?;
                    Ok(Made::Beside(loaded, beside))
                })
            }
        };
        let temp = match &into {
            Destination::File(path) => Some(TempFile(path.clone())),
            _ => None,
        };
        Ok(Intake {
            _temp: temp,
            repl: Arc::clone(repl),
            into,
            point,
            to: Some(to),
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
        match (&mut self.thread).await {
            Ok(Err(reason)) => reason,
            Ok(Ok(_)) => "The data set from MASTER ended before its time".to_owned(),
            Err(e) => e.to_string(),
        }
    }

    /// Forgets a data set that will not be whole.
    pub async fn abandon(mut self) {
        self.to = None;
        if !self.thread.is_finished() {
            let _ = (&mut self.thread).await;
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
            Ok(Made::File) => self.load_file().await,
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
    async fn load_file(&self) -> Result<Loaded, String> {
        let Destination::File(path) = self.into.clone() else {
            return Err(String::new());
        };
        let serving = Serving::stop(&self.repl, false).await;
        let me = Arc::clone(&self.repl);
        let loading = tokio::task::spawn_blocking(move || {
            let opened = LoadFile::open(&path).map_err(|e| e.to_string())?;
            let file = opened.ok_or("the file received is not there any more")?;
            me.load.total_bytes.store(file.size, Ordering::Relaxed);
            let outcome = serving.load(file, &me.engine.keyspace);
            outcome.and_then(|loaded| {
                if me.drops_received_file() {
                    return Ok(loaded);
                }
                let name = me.engine.config.settings().rdb.dbfilename.clone();
                let renamed = fs::rename(&path, &name).and_then(|()| sync_dir(Path::new(".")));
                match renamed {
                    Ok(()) => Ok(loaded),
                    Err(e) => Err(format!(
                        "Failed trying to rename the temp DB into {} in MASTER <-> REPLICA \
                         synchronization: {}",
                        name.display(),
                        reason(&e)
                    )),
                }
            })
        });
        let loaded = loading.await.map_err(|e| e.to_string())?;
        if loaded.is_err() {
            self.repl.empty().await;
        }
        loaded
    }
}

fn to_file(mut pieces: Pieces, mut file: File) -> Result<(), String> {
    let write_error = |e: io::Error| {
        format!(
            "Write error or short write writing to the DB dump file needed for MASTER <-> \
             REPLICA synchronization: {}",
            reason(&e)
        )
    };
    let mut room = vec![0; 256 * 1024];
    let mut unsynced = 0;
    loop {
        let n = pieces.read(&mut room).map_err(|e| reason(&e))?;
        if n == 0 {
            break;
        }
        file.write_all(room.get(..n).unwrap_or_default())
            .map_err(write_error)?;
        unsynced += n;
        if unsynced >= SYNC_EVERY {
            file.sync_data().map_err(write_error)?;
            unsynced = 0;
        }
    }
    file.sync_all().map_err(|e| {
        format!(
            "Failed trying to sync the temp DB to disk in MASTER <-> REPLICA synchronization: {}",
            reason(&e)
        )
    })
}

/// The right to load a data set in place of the present one.
struct Serving {
    repl: Arc<Replication>,
    from_socket: bool,
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
        }
    }

    /// Stops what would keep the old data on disk; `same`: the old data are an earlier state of
    /// the new, so they may be read meanwhile.
    async fn beside(repl: &Arc<Replication>, same: bool) -> Serving {
        repl.stop_savers().await;
        tracing::info!("MASTER <-> REPLICA sync: Loading DB in memory");
        if !same {
            repl.engine.begin_loading(clock::unix_ms());
        }
        repl.mark_loading(same);
        Serving {
            repl: Arc::clone(repl),
            from_socket: true,
        }
    }

    /// Loads, on a thread that may block.
    fn load(self, stream: impl Read, into: &Keyspace) -> Result<Loaded, String> {
        let mode = LoadMode {
            keep_due: true,
            ..LoadMode::default()
        };
        let progress = Arc::clone(&self.repl.load.loaded_bytes);
        progress.store(0, Ordering::Relaxed);
        let engine = &self.repl.engine;
        let loaded = loading::load_stream_into(engine, into, stream, mode, Some(progress));
        let (loaded, _) = loaded.map_err(|e| {
            for line in e.log_lines() {
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

//! A rewrite: a snapshot of the data becomes the new base, and what is appended from that instant
//! on goes to a new incremental file.
//!
//! ```text
//!   begin_rewrite ---> mark --------------> run: base written, renamed, manifest switched
//!   (can files be     (all shards locked:   |
//!    created?)         the log is split     `--> history deleted in the background
//!                      here)
//! ```
//!
//! Whatever happens in between, the manifest on disk names files that together are the data set:
//!
//! 1. Until the split is reached by the writer, it names the old files.
//! 2. Then the old files and the new incremental one ([`crate::persist::aof::engine`] completes
//!    the old one first).
//! 3. When the base is on disk under its final name: the new base and the new incremental file.
//!    A failure before leaves state 2, which loads as well, and is why failures are limited.
//!
//! While the AOF waits for its first rewrite, state 2 does not exist: the incremental file has a
//! temporary name until step 3.

use super::control::{Aof, Life, Options, State};
use super::folder::{AofError, failed, strerror};
use super::sink::{AofFile, Target};
use super::writer::Rotator;
use crate::base::clock;
use crate::oplog::log::{Cursor, Position};
use crate::persist::rdb::file::GrowingFile;
use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;
use tracing::{debug, info, warn};

/// What a base consists of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// An RDB file.
    Rdb,
    /// Commands that make the data set.
    Commands,
}

/// How the stream is split.
enum Split {
    /// There is no AOF: the base alone is made.
    None,
    /// The writer goes on in a new file.
    Rotate {
        rotator: Rotator,
        rotated: Option<mpsc::Receiver<io::Result<()>>>,
    },
    /// The writer begins with a temporary file.
    Initial {
        file: Option<Arc<dyn AofFile>>,
        cursor: Option<(Cursor, Position)>,
        start_offset: Option<u64>,
    },
}

enum Failure {
    /// Somebody ended it; no fault of its own.
    Killed,
    /// It has been logged.
    Error,
}

impl From<AofError> for Failure {
    fn from(_: AofError) -> Self {
        Failure::Error
    }
}

/// A rewrite that has begun. Dropped without [`Rewrite::run`], it has failed.
pub struct Rewrite {
    aof: Arc<Aof>,
    options: Options,
    split: Split,
    cancel: Arc<AtomicBool>,
    began_us: u64,
    concluded: bool,
}

impl Aof {
    /// Begins a rewrite, unless one runs or its files cannot be created, which has been logged.
    pub fn begin_rewrite(self: &Arc<Self>) -> Option<Rewrite> {
        let cancel = Arc::new(AtomicBool::new(false));
        let (state, writer) = {
            let mut life = self.life.lock();
            if life.cancel.is_some() {
                return None;
            }
            life.cancel = Some(Arc::clone(&cancel));
            life.began_s = Some(clock::unix_ms() / 1000);
            (life.state, life.writer.clone())
        };
        let split = match (state, writer) {
            (State::Off, _) => self.folder.create().map(|()| Split::None),
            (State::On, Some(writer)) => self.try_next_incr().map(|()| Split::Rotate {
                rotator: writer.rotator(),
                rotated: None,
            }),
            (State::On | State::WaitRewrite, _) => {
                self.open_temp_incr().map(|file| Split::Initial {
                    file: Some(file),
                    cursor: None,
                    start_offset: None,
                })
            }
        };
        let mut life = self.life.lock();
        let Ok(split) = split else {
            life.last_failed = true;
            life.failures += 1;
            life.cancel = None;
            life.began_s = None;
            return None;
        };
        life.scheduled = false;
        life.rewrites += 1;
        drop(life);
        let options = *self.options.lock();
        let began_us = clock::mono_us();
        let aof = Arc::clone(self);
        Some(Rewrite {
            aof,
            options,
            split,
            cancel,
            began_us,
            concluded: false,
        })
    }

    /// Whether the file that the writer will go on in can be created.
    fn try_next_incr(&self) -> Result<(), AofError> {
        self.folder.create()?;
        // Locked until it is there: the writer may be about to make one of that name its file,
        // for a rewrite that has failed meanwhile.
        let manifest = self.manifest.lock();
        let name = manifest.clone().next_incr(&self.folder.filename, None);
        self.create_incr(&name).map(drop)
    }

    fn open_temp_incr(&self) -> Result<Arc<dyn AofFile>, AofError> {
        self.folder.create()?;
        let name = self.folder.temp_incr_name();
        let file = self.create_incr(&name)?;
        info!(
            "Creating AOF incr file {} on background rewrite",
            name.display()
        );
        Ok(Arc::new(file))
    }

    fn create_incr(&self, name: &OsString) -> Result<File, AofError> {
        let path = self.folder.file(name);
        let made = fs::remove_file(&path)
            .or_else(ignore_missing)
            .and_then(|()| OpenOptions::new().append(true).create(true).open(&path));
        made.map_err(|e| {
            failed(
                format!("Can't open the append-only file {}", name.display()),
                e,
            )
        })
    }

    /// On the writer's thread, the old file being complete: creates the next one and names it in
    /// the manifest.
    fn open_next_incr(&self, at: Position) -> Result<Arc<dyn AofFile>, AofError> {
        let mut manifest = self.manifest.lock();
        let mut next = manifest.clone();
        let name = next.next_incr(&self.folder.filename, Some(at.offset));
        let file = self.create_incr(&name)?;
        self.folder.save_manifest(&next)?;
        *manifest = next;
        info!(
            "Creating AOF incr file {} on background rewrite",
            name.display()
        );
        Ok(Arc::new(file))
    }
}

fn ignore_missing(error: io::Error) -> io::Result<()> {
    if error.kind() == io::ErrorKind::NotFound {
        Ok(())
    } else {
        Err(error)
    }
}

/// At once: the next rewrite uses the same names.
fn remove(paths: &[PathBuf]) {
    for path in paths {
        if let Err(error) = fs::remove_file(path).or_else(ignore_missing) {
            warn!("Can't delete {}: {}", path.display(), strerror(&error));
        }
    }
}

fn into_io(error: AofError) -> io::Error {
    match error {
        AofError::Io { error, .. } => error,
        other => io::Error::other(other),
    }
}

impl Rewrite {
    /// Set when the rewrite is to end without a result; whoever makes the snapshot looks at it.
    pub fn cancelled(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.cancel)
    }

    /// Splits the stream. Called once, at the instant of the snapshot, with all shards locked.
    pub fn mark(&mut self) {
        match &mut self.split {
            Split::None => {}
            Split::Rotate { rotator, rotated } => {
                let (answer, result) = mpsc::channel();
                *rotated = Some(result);
                let aof = Arc::downgrade(&self.aof);
                let counts = Arc::downgrade(&self.aof);
                rotator.rotate_here(
                    Box::new(move |at| {
                        let aof = aof.upgrade().ok_or_else(|| io::Error::other("closing"))?;
                        aof.open_next_incr(at).map_err(into_io)
                    }),
                    Box::new(move |outcome| {
                        let outcome = outcome.map(|old_bytes| {
                            if let Some(aof) = counts.upgrade() {
                                aof.life.lock().closed_bytes += old_bytes;
                            }
                        });
                        // Nobody waits for it if the rewrite has failed meanwhile.
                        let _ = answer.send(outcome);
                    }),
                );
            }
            Split::Initial {
                cursor,
                start_offset,
                ..
            } => {
                *cursor = self
                    .aof
                    .log
                    .aof_reader()
                    .map(|cursor| (cursor, self.aof.log.position()));
                *start_offset = cursor.as_ref().map(|(cursor, _)| cursor.position());
            }
        }
    }

    /// Writes the base with `write` and makes it the AOF's. Blocks for as long as that takes;
    /// returns whether it succeeded.
    pub fn run(mut self, write: impl FnOnce(Format, &mut dyn Write) -> io::Result<()>) -> bool {
        info!(
            "Background append only file rewriting started by pid {}",
            std::process::id()
        );
        self.aof.status.set_snapshot_running(true);
        let temp = self.temp_base();
        let outcome = self
            .start_initial_writer()
            .and_then(|()| self.write_base(&temp, write))
            .and_then(|()| self.switch(&temp));
        self.conclude(outcome)
    }

    fn temp_base(&self) -> PathBuf {
        let pid = std::process::id();
        self.aof
            .folder
            .dir
            .join(format!("temp-rewriteaof-bg-{pid}.aof"))
    }

    fn start_initial_writer(&mut self) -> Result<(), Failure> {
        let Split::Initial { file, cursor, .. } = &mut self.split else {
            return Ok(());
        };
        let (Some(file), Some((cursor, at))) = (file.take(), cursor.take()) else {
            return Err(Failure::Error);
        };
        self.aof.start_writer(
            cursor,
            Target {
                file,
                size: 0,
                select: at.db,
            },
        )?;
        Ok(())
    }

    fn write_base(
        &self,
        temp: &Path,
        write: impl FnOnce(Format, &mut dyn Write) -> io::Result<()>,
    ) -> Result<(), Failure> {
        let cancel = Arc::clone(&self.cancel);
        let written = write_file(temp, &self.options, |format, out| {
            write(
                format,
                &mut Cancellable {
                    out,
                    cancel: &cancel,
                },
            )
        });
        if self.is_cancelled() {
            return Err(Failure::Killed);
        }
        written?;
        let shown = temp.file_name().unwrap_or_default().display();
        info!("Successfully created the temporary AOF base file {shown}");
        Ok(())
    }

    fn is_cancelled(&self) -> bool {
        self.cancel.load(Ordering::SeqCst)
    }

    /// Waits until the writer has passed the split; until then the old files are not complete.
    fn wait_for_split(&self) -> Result<(), Failure> {
        let Split::Rotate { rotated, .. } = &self.split else {
            return Ok(());
        };
        let Some(rotated) = rotated else {
            warn!("Background AOF rewrite has no snapshot");
            return Err(Failure::Error);
        };
        loop {
            match rotated.recv_timeout(Duration::from_millis(100)) {
                Ok(Ok(())) => return Ok(()),
                Ok(Err(_)) | Err(mpsc::RecvTimeoutError::Disconnected) => {
                    return Err(if self.is_cancelled() {
                        Failure::Killed
                    } else {
                        Failure::Error
                    });
                }
                Err(mpsc::RecvTimeoutError::Timeout) if self.is_cancelled() => {
                    return Err(Failure::Killed);
                }
                Err(mpsc::RecvTimeoutError::Timeout) => {
                    if let Some(error) = self.aof.status.misconf() {
                        warn!("Background AOF rewrite can't end while the AOF fails: {error}");
                        return Err(Failure::Error);
                    }
                }
            }
        }
    }

    /// Makes the base and the new incremental file the AOF.
    fn switch(&mut self, temp: &Path) -> Result<(), Failure> {
        self.wait_for_split()?;
        info!("Background AOF rewrite terminated with success");
        let began_us = clock::mono_us();
        let aof = &self.aof;
        let folder = &aof.folder;
        let temp_shown = temp.file_name().unwrap_or_default().display();
        let mut manifest = aof.manifest.lock();
        let mut next = manifest.clone();
        let base = next.next_base(&folder.filename, self.options.rdb_preamble);
        folder.adopt(temp, &base)?;
        info!(
            "Successfully renamed the temporary AOF base file {temp_shown} into {}",
            base.display()
        );
        let mut made = vec![folder.file(&base)];
        if let Split::Initial { start_offset, .. } = self.split {
            let from = folder.temp_incr_name();
            let to = next.next_incr(&folder.filename, start_offset);
            let (from_shown, to_shown) = (from.display(), to.display());
            if let Err(error) = fs::rename(folder.file(&from), folder.file(&to)) {
                remove(&made);
                let doing = format!(
                    "Error trying to rename the temporary AOF incr file {from_shown} into \
                     {to_shown}"
                );
                return Err(failed(doing, error).into());
            }
            info!("Successfully renamed the temporary AOF incr file {from_shown} into {to_shown}");
            made.push(folder.file(&to));
        }
        next.mark_incr_as_history(!matches!(self.split, Split::None));
        if let Err(error) = folder.save_manifest(&next) {
            remove(&made);
            return Err(error.into());
        }
        *manifest = next;
        drop(manifest);
        let base_bytes = folder.size_bytes(&base).unwrap_or(0);
        {
            let mut life = aof.life.lock();
            if life.state != State::Off {
                life.closed_bytes = base_bytes;
                life.base_bytes = aof.current_bytes(&life);
            }
            if life.state == State::WaitRewrite {
                life.state = State::On;
            }
        }
        aof.delete_history();
        info!("Background AOF rewrite finished successfully");
        let took_us = clock::mono_us().saturating_sub(began_us);
        debug!("Background AOF rewrite signal handler took {took_us}us");
        Ok(())
    }

    fn conclude(&mut self, outcome: Result<(), Failure>) -> bool {
        self.concluded = true;
        let aof = &self.aof;
        aof.status.set_snapshot_running(false);
        let succeeded = outcome.is_ok();
        match &outcome {
            Ok(()) => {}
            Err(Failure::Error) => warn!("Background AOF rewrite terminated with error"),
            Err(Failure::Killed) => {
                warn!(
                    "Background AOF rewrite terminated by signal {}",
                    libc::SIGUSR1
                );
            }
        }
        if !succeeded {
            // Its new file is in the manifest when the rewrite is said to be over.
            if matches!(&self.split, Split::Rotate { rotated, .. } if rotated.is_some()) {
                let _ = self.wait_for_split();
            }
            remove(&[self.temp_base()]);
            if matches!(self.split, Split::Initial { .. }) {
                self.drop_temp_incr();
            }
        }
        let mut life = aof.life.lock();
        match outcome {
            Ok(()) => {
                life.last_failed = false;
                life.failures = 0;
            }
            Err(Failure::Error) => {
                life.last_failed = true;
                life.failures += 1;
            }
            Err(Failure::Killed) => {}
        }
        self.note_times(&mut life);
        let waits = life.state == State::WaitRewrite;
        life.scheduled |= waits;
        if waits {
            aof.wait_for_base();
        } else if succeeded {
            // Who waits for the disk finds the rewrite over.
            aof.no_base_awaited();
        }
        succeeded
    }

    fn note_times(&self, life: &mut Life) {
        let took_us = clock::mono_us().saturating_sub(self.began_us);
        life.last_rewrite_s = Some(i64::try_from(took_us / 1_000_000).unwrap_or(i64::MAX));
        life.began_s = None;
        life.cancel = None;
    }

    /// What was collected since the split is worthless without a base.
    fn drop_temp_incr(&self) {
        let writer = {
            let mut life = self.aof.life.lock();
            if life.state == State::On {
                None
            } else {
                life.writer.take()
            }
        };
        if let Some(writer) = writer
            && let Err(error) = writer.stop()
        {
            debug!("The temp incr aof file is given up: {}", strerror(&error));
        }
        let name = self.aof.folder.temp_incr_name();
        info!(
            "Removing the temp incr aof file {} in the background",
            name.display()
        );
        remove(&[self.aof.folder.file(&name)]);
    }
}

impl Drop for Rewrite {
    fn drop(&mut self) {
        if !self.concluded {
            let killed = self.is_cancelled();
            self.conclude(Err(if killed {
                Failure::Killed
            } else {
                Failure::Error
            }));
        }
    }
}

/// Writes a base to `path` and syncs it; nothing is left there when that fails.
pub(super) fn write_file(
    path: &Path,
    options: &Options,
    write: impl FnOnce(Format, &mut dyn Write) -> io::Result<()>,
) -> Result<(), AofError> {
    let file = File::create(path).map_err(|e| {
        let doing = "Opening the temp file for AOF rewrite in rewriteAppendOnlyFile()";
        failed(doing.to_owned(), e)
    })?;
    let written = write_content(file, options, write);
    written.map_err(|error| {
        // The error that is reported is the first one.
        let _ = fs::remove_file(path);
        failed(
            "Write error writing append only file on disk".to_owned(),
            error,
        )
    })
}

fn write_content(
    file: File,
    options: &Options,
    write: impl FnOnce(Format, &mut dyn Write) -> io::Result<()>,
) -> io::Result<()> {
    let growing = GrowingFile::new(file, options.incremental_fsync);
    let mut out = BufWriter::with_capacity(64 * 1024, growing);
    if options.rdb_preamble {
        write(Format::Rdb, &mut out)?;
    } else {
        if options.timestamps {
            write!(out, "#TS:{}\r\n", clock::unix_ms() / 1000)?;
        }
        write(Format::Commands, &mut out)?;
    }
    out.into_inner()
        .map_err(io::IntoInnerError::into_error)?
        .finish()?;
    Ok(())
}

/// Fails once the rewrite is cancelled, so that no writer has to ask.
struct Cancellable<'a> {
    out: &'a mut dyn Write,
    cancel: &'a AtomicBool,
}

impl Write for Cancellable<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.cancel.load(Ordering::Relaxed) {
            return Err(io::Error::other("the rewrite was cancelled"));
        }
        self.out.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

//! A data set on its way to a file, which is read while it grows.
//!
//! The file takes what comes at the speed of the connection, and is synced to the disk by a thread
//! of its own; whoever reads it waits where it ends for now. That the disk has all of it is waited
//! for by [`Written::sync`], when there is time.

use std::fs::File;
use std::io::{self, Read, Write as _};
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::{Builder, JoinHandle};

use parking_lot::{Condvar, Mutex};

use crate::persist::rdb::file::reason;

/// Bytes between two syncs of a growing file.
const SYNC_EVERY: usize = 8 << 20;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    NotYet,
    Whole,
    Broken,
}

/// How far a file has grown.
pub struct Growth {
    state: Mutex<(u64, End)>,
    changed: Condvar,
}

impl Default for Growth {
    fn default() -> Growth {
        Growth {
            state: Mutex::new((0, End::NotYet)),
            changed: Condvar::new(),
        }
    }
}

impl Growth {
    fn grown(&self, bytes: usize) {
        self.state.lock().0 += bytes as u64;
        self.changed.notify_all();
    }

    fn ended(&self, end: End) {
        self.state.lock().1 = end;
        self.changed.notify_all();
    }
}

/// Reads a file from its beginning to where it will end.
pub struct Growing {
    file: File,
    at: u64,
    growth: Arc<Growth>,
}

impl Growing {
    /// Opens the file at `path`.
    ///
    /// # Errors
    /// The system's.
    pub fn open(path: &Path, growth: &Arc<Growth>) -> io::Result<Growing> {
        Ok(Growing {
            file: File::open(path)?,
            at: 0,
            growth: Arc::clone(growth),
        })
    }
}

impl Read for Growing {
    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        let mut state = self.growth.state.lock();
        while state.0 <= self.at {
            match state.1 {
                End::NotYet => self.growth.changed.wait(&mut state),
                End::Whole => return Ok(0),
                End::Broken => return Err(io::Error::other("connection lost")),
            }
        }
        drop(state);
        let n = self.file.read(room)?;
        self.at += n as u64;
        Ok(n)
    }
}

/// Syncs a file whenever it is told that it is worth it.
struct Syncer {
    worth_it: SyncSender<()>,
    thread: JoinHandle<io::Result<()>>,
}

impl Syncer {
    fn of(file: &File) -> io::Result<Syncer> {
        let (worth_it, told) = sync_channel(1);
        let file = file.try_clone()?;
        let run = move || told.iter().try_for_each(|()| file.sync_data());
        let thread = Builder::new().name("repl_fsync".to_owned()).spawn(run)?;
        Ok(Syncer { worth_it, thread })
    }

    fn end(self) -> io::Result<()> {
        drop(self.worth_it);
        let gone = |_| Err(io::Error::other("the thread that syncs is gone"));
        self.thread.join().unwrap_or_else(gone)
    }
}

/// A file that is whole, though the disk may not have all of it.
pub struct Written {
    file: File,
    syncer: Syncer,
}

impl Written {
    /// Waits until the disk has it.
    ///
    /// # Errors
    /// The line to log.
    pub fn sync(self) -> Result<(), String> {
        let synced = self.syncer.end().and_then(|()| self.file.sync_all());
        synced.map_err(|e| {
            format!(
                "Failed trying to sync the temp DB to disk in MASTER <-> REPLICA synchronization: \
                 {}",
                reason(&e)
            )
        })
    }
}

/// Writes what comes from `pieces` to `file`, up to its end.
///
/// # Errors
/// The line to log.
pub fn write(
    pieces: impl FnMut() -> io::Result<Option<Vec<u8>>>,
    file: File,
    growth: &Growth,
) -> Result<Written, String> {
    let written = write_all(pieces, file, growth);
    growth.ended(match &written {
        Ok(_) => End::Whole,
        Err(_) => End::Broken,
    });
    written
}

fn write_all(
    mut pieces: impl FnMut() -> io::Result<Option<Vec<u8>>>,
    mut file: File,
    growth: &Growth,
) -> Result<Written, String> {
    let write_error = |e: io::Error| {
        format!(
            "Write error or short write writing to the DB dump file needed for MASTER <-> \
             REPLICA synchronization: {}",
            reason(&e)
        )
    };
    let syncer = Syncer::of(&file).map_err(write_error)?;
    let mut unsynced = 0;
    while let Some(piece) = pieces().map_err(|e| reason(&e))? {
        file.write_all(&piece).map_err(write_error)?;
        growth.grown(piece.len());
        unsynced += piece.len();
        if unsynced >= SYNC_EVERY {
            // One that has not come to it yet, or has failed, need not be told twice.
            let _ = syncer.worth_it.try_send(());
            unsynced = 0;
        }
    }
    Ok(Written { file, syncer })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives a little at a time, then ends or breaks.
    fn slowly(breaks: bool) -> impl FnMut() -> io::Result<Option<Vec<u8>>> {
        let mut left = 50_u8;
        move || {
            std::thread::sleep(std::time::Duration::from_millis(1));
            match left.checked_sub(1) {
                Some(less) => {
                    left = less;
                    Ok(Some(vec![left; 1000]))
                }
                None if breaks => Err(io::Error::other("gone")),
                None => Ok(None),
            }
        }
    }

    fn grow(breaks: bool) -> (Result<(), String>, io::Result<Vec<u8>>) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("growing");
        let file = File::create(&path).unwrap();
        let growth = Arc::new(Growth::default());
        let mut growing = Growing::open(&path, &growth).unwrap();
        let reader = std::thread::spawn(move || {
            let mut all = Vec::new();
            growing.read_to_end(&mut all).map(|_| all)
        });
        let written = write(slowly(breaks), file, &growth).and_then(Written::sync);
        (written, reader.join().unwrap())
    }

    #[test]
    fn what_is_written_is_read_to_its_end() {
        let (written, read) = grow(false);
        written.unwrap();
        let expected: Vec<u8> = (0..50).rev().flat_map(|n| [n; 1000]).collect();
        assert!(read.unwrap() == expected);
    }

    #[test]
    fn a_file_that_will_not_be_whole_is_no_end() {
        let (written, read) = grow(true);
        assert_eq!(written.unwrap_err(), "gone");
        assert_eq!(read.unwrap_err().to_string(), "connection lost");
    }
}

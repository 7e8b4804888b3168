//! The file that is appended to, as far as the writer needs to know it.
//!
//! A trait, so that tests can put a disk behind it that is full, slow or dies in the middle of a
//! write.

use std::fmt::Debug;
use std::fs::File;
use std::io::{self, Write};
use std::sync::Arc;

/// A file opened for appending.
pub trait AofFile: Send + Sync + Debug {
    /// Appends a part of `bytes` and returns how much.
    fn append(&self, bytes: &[u8]) -> io::Result<usize>;

    /// Returns when the content is on disk.
    fn sync(&self) -> io::Result<()>;

    /// Cuts the file to `len` bytes.
    fn truncate(&self, len: u64) -> io::Result<()>;
}

impl AofFile for File {
    fn append(&self, bytes: &[u8]) -> io::Result<usize> {
        let mut file = self;
        file.write(bytes)
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_data()
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        self.set_len(len)
    }
}

/// Where the writer appends.
#[derive(Debug)]
pub struct Target {
    /// The file.
    pub file: Arc<dyn AofFile>,
    /// Bytes already in it.
    pub size: u64,
    /// The database the stream has selected where this file begins. Written to the file as SELECT
    /// before its first command, unless the stream itself goes on with one.
    pub select: Option<u32>,
}

/// What became of an attempt to append everything.
#[derive(Debug)]
pub(super) struct Appended {
    pub bytes: usize,
    pub error: Option<io::Error>,
}

/// Appends all of `bytes`. A short write is tried again: it often is no more than that, and when
/// the disk is full the next attempt says so.
pub(super) fn append_all(file: &dyn AofFile, bytes: &[u8]) -> Appended {
    let mut done = 0;
    while let Some(rest) = bytes.get(done..).filter(|rest| !rest.is_empty()) {
        match file.append(rest) {
            Ok(0) => {
                let error = Some(io::Error::from(io::ErrorKind::WriteZero));
                return Appended { bytes: done, error };
            }
            Ok(n) => done += n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => {
                return Appended {
                    bytes: done,
                    error: Some(error),
                };
            }
        }
    }
    Appended {
        bytes: done,
        error: None,
    }
}

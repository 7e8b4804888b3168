//! What can be wrong with an RDB stream, and where.
//!
//! Every error names the offset in the stream at which it was noticed; inside a packed block
//! (listpack, ziplist, zipmap, intset) it also names the byte of the block. The sentences are
//! Redis's, because people and test suites search logs for them.

use std::fmt;
use std::io;

/// A failed read, with the number of bytes of the stream consumed when it was noticed.
#[derive(Debug, thiserror::Error)]
#[error("Internal error in RDB reading offset {offset}, function at rdb.rs -> {kind}")]
pub struct Error {
    /// Bytes of the stream consumed before the failure.
    pub offset: u64,
    /// What failed.
    #[source]
    pub kind: ErrorKind,
}

/// The reason of an [`Error`].
#[derive(Debug, thiserror::Error)]
pub enum ErrorKind {
    /// The first five bytes are not `REDIS`.
    #[error("Wrong signature trying to load DB from file")]
    Signature,
    /// The version is below 1 or above [`super::MAX_READ_VERSION`].
    #[error("Can't handle RDB format version {0}")]
    Version(i64),
    /// The stream ended inside an item.
    #[error("Unexpected EOF reading RDB file")]
    Eof,
    /// The operating system refused a read.
    #[error("{0}")]
    Io(#[source] io::Error),
    /// The bytes contradict the format.
    #[error("{0}")]
    Corrupt(Corruption),
    /// No object type or opcode has this number.
    #[error("Unknown RDB encoding type {0}")]
    UnknownType(u8),
    /// A type, or a feature of a type, that this server cannot represent; loading a part of it
    /// would be loading it wrong.
    #[error("{0}")]
    Unsupported(String),
    /// The trailer's CRC-64 is not that of the bytes read.
    #[error("RDB CRC error")]
    Checksum {
        /// The sum of the bytes read.
        expected: u64,
        /// The sum found in the trailer.
        got: u64,
    },
    /// The consumer of the entries refused one.
    #[error("{0}")]
    Sink(String),
}

/// A contradiction in the stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Corruption {
    /// The sentence Redis logs for it, or ours in its style.
    pub what: String,
    /// Byte of the packed block at fault, for contradictions inside one.
    pub at: Option<usize>,
}

impl fmt::Display for Corruption {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)?;
        if let Some(at) = self.at {
            write!(f, " (byte {at} of the block)")?;
        }
        Ok(())
    }
}

impl ErrorKind {
    /// A contradiction described by `what`.
    pub fn corrupt(what: impl Into<String>) -> ErrorKind {
        ErrorKind::Corrupt(Corruption {
            what: what.into(),
            at: None,
        })
    }

    /// A contradiction in a packed block, under the sentence of the check that found it.
    pub fn block(check: &str, bad: BadBlock) -> ErrorKind {
        ErrorKind::Corrupt(Corruption {
            what: format!("{check} {}", bad.what),
            at: Some(bad.at),
        })
    }
}

impl Error {
    /// Whether more bytes could have made it right: a cut file or a broken connection.
    pub fn is_short_read(&self) -> bool {
        matches!(self.kind, ErrorKind::Eof | ErrorKind::Io(_))
    }

    /// The lines Redis writes to its log for this failure, in order.
    pub fn log_lines(&self) -> Vec<String> {
        match &self.kind {
            ErrorKind::Signature | ErrorKind::Version(_) => vec![self.kind.to_string()],
            ErrorKind::Checksum { expected, got } => vec![
                format!(
                    "Wrong RDB checksum expected: ({expected:x}) but got ({got:x}). Aborting now."
                ),
                self.to_string(),
            ],
            ErrorKind::Eof | ErrorKind::Io(_) => vec![
                "Short read or OOM loading DB. Unrecoverable error, aborting now.".to_owned(),
                self.to_string(),
            ],
            ErrorKind::Corrupt(_) | ErrorKind::UnknownType(_) | ErrorKind::Unsupported(_) => {
                vec![self.to_string()]
            }
            ErrorKind::Sink(reason) => vec![reason.clone()],
        }
    }
}

/// A contradiction inside a packed block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BadBlock {
    /// What is wrong.
    pub what: &'static str,
    /// Byte of the block where it is.
    pub at: usize,
}

impl BadBlock {
    pub(super) fn new(what: &'static str, at: usize) -> BadBlock {
        BadBlock { what, at }
    }
}

/// Result of reading from an RDB stream.
pub type Result<T> = std::result::Result<T, Error>;

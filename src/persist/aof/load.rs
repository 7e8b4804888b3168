//! Loading: the files of the manifest, in order, into a [`LoadTarget`].
//!
//! - The files are one history. Whatever stops in the middle of it stops the server, with one
//!   exception: a cut at the end of the last file, which is what a crash leaves behind. With
//!   `aof-load-truncated yes` that tail is cut off and loading has succeeded.
//! - A transaction is applied when its EXEC has been read, never in part. A file cut inside one is
//!   cut back to before its MULTI, wherever inside the cut lies. (Redis keeps the commands between
//!   MULTI and the cut in the file, unapplied, and later appends behind an open MULTI.)
//! - A file that is not the last is never touched.
//! - The sentences are Redis's, because people and tools search for them; behind a refusal comes
//!   the offset up to which the file is well formed.
//!
//! The data itself is not this module's business: a base in RDB format is handed over as a stream,
//! a command as its database and arguments.

use super::folder::{AofError, Folder, strerror};
use super::manifest::Manifest;
use super::reader::{CommandReader, ReadError};
use crate::persist::rdb::file::LoadFile;
use std::ffi::OsStr;
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::time::Instant;
use tracing::{info, warn};

/// How many commands are applied between two reports of progress.
const COMMANDS_PER_REPORT: u64 = 1024;
const INPUT_BUFFER_BYTES: usize = 256 * 1024;

/// Why a command was not applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// There is no command of that name. Loading stops: data would be missing.
    UnknownCommand,
    /// Loading is to be given up, because the server shuts down.
    Aborted,
}

/// What receives the data.
pub trait LoadTarget {
    /// Loading begins: `total_bytes` in all files together.
    fn begin(&mut self, total_bytes: u64);

    /// Loads the RDB file that `input` begins with, and returns its length in bytes; what is
    /// read beyond is no matter. Reports its own progress, and has logged what its error says.
    fn load_rdb(&mut self, input: LoadFile) -> Result<u64, String>;

    /// Applies one command. An error reply of the command itself is not a refusal.
    fn apply(&mut self, db: u32, argv: &[&[u8]]) -> Result<(), Refusal>;

    /// `bytes` more have been read. Called every thousand commands or so; clients may be served.
    fn progress(&mut self, bytes: u64) -> Result<(), Refusal>;
}

/// How to load.
#[derive(Debug, Clone, Copy)]
pub struct LoadOptions {
    /// `aof-load-truncated`.
    pub truncate_cut_tail: bool,
    /// How many databases there are; a SELECT beyond is ignored, as the command would fail.
    pub databases: u32,
}

/// What was there to load.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loaded {
    /// There is no AOF.
    Nothing,
    /// There are files, all of them empty.
    Empty,
    /// Data was loaded.
    Data {
        /// All files together, in bytes, a tail cut off not counted.
        total_bytes: u64,
        /// The base alone.
        base_bytes: u64,
        /// Whether a tail was cut off.
        truncated: bool,
    },
}

enum OneFile {
    Whole,
    Empty,
    Truncated { removed_bytes: u64 },
}

/// Loads what `manifest` names.
pub fn load(
    folder: &Folder,
    manifest: &Manifest,
    options: LoadOptions,
    target: &mut dyn LoadTarget,
) -> Result<Loaded, AofError> {
    let Some(last) = manifest.files().last() else {
        return Ok(Loaded::Nothing);
    };
    let mut total_bytes = 0u64;
    for file in manifest.files() {
        total_bytes = total_bytes.saturating_add(folder.size_bytes(&file.name)?);
    }
    if total_bytes == 0 {
        return Ok(Loaded::Empty);
    }
    target.begin(total_bytes);
    let base_bytes = match manifest.base() {
        Some(base) => folder.size_bytes(&base.name)?,
        None => 0,
    };
    let mut truncated = false;
    for file in manifest.files() {
        let start = Instant::now();
        let is_last = std::ptr::eq(file, last);
        let is_base = manifest.base().is_some_and(|base| std::ptr::eq(file, base));
        let job = FileJob {
            folder,
            name: &file.name,
            is_last,
            options,
        };
        let outcome = job.load(target)?;
        if let OneFile::Truncated { removed_bytes } = outcome {
            truncated = true;
            total_bytes = total_bytes.saturating_sub(removed_bytes);
        }
        if !matches!(outcome, OneFile::Empty) {
            let kind = if is_base { "base" } else { "incr" };
            let seconds = start.elapsed().as_secs_f64();
            info!(
                "DB loaded from {kind} file {}: {seconds:.3} seconds",
                file.name.display()
            );
        }
    }
    Ok(Loaded::Data {
        total_bytes,
        base_bytes,
        truncated,
    })
}

struct FileJob<'a> {
    folder: &'a Folder,
    name: &'a OsStr,
    is_last: bool,
    options: LoadOptions,
}

/// How reading the commands of one file ended.
enum Ending {
    /// Behind a whole command.
    Whole,
    /// Inside a command or a transaction; whole commands end at this offset.
    Cut { valid_up_to: u64 },
}

impl FileJob<'_> {
    fn load(&self, target: &mut dyn LoadTarget) -> Result<OneFile, AofError> {
        let name = self.name.display();
        let mut file = self.open()?;
        let size = file.metadata().map_err(|e| self.unreadable(&e))?.len();
        if size == 0 {
            return Ok(OneFile::Empty);
        }
        let mut magic = [0; 5];
        let read = file
            .read_at(&mut magic, 0)
            .map_err(|e| self.unreadable(&e))?;
        let mut start = 0;
        if read == magic.len() && &magic == b"REDIS" {
            start = self.load_rdb(&file, target)?;
            file.seek(SeekFrom::Start(start))
                .map_err(|e| self.unreadable(&e))?;
        }
        let input = BufReader::with_capacity(INPUT_BUFFER_BYTES, file);
        match self.replay(CommandReader::new(input, start), target)? {
            Ending::Whole => Ok(OneFile::Whole),
            Ending::Cut { valid_up_to } if self.is_last && self.options.truncate_cut_tail => {
                self.truncate(valid_up_to)?;
                Ok(OneFile::Truncated {
                    removed_bytes: size.saturating_sub(valid_up_to),
                })
            }
            Ending::Cut { valid_up_to } => {
                warn!(
                    "Unexpected end of file reading the append only file {name}. You can: 1) Make \
                     a backup of your AOF file, then use ./redis-check-aof --fix \
                     <filename.manifest>. 2) Alternatively you can set the 'aof-load-truncated' \
                     configuration option to yes and restart the server."
                );
                if !self.is_last {
                    warn!("Fatal error: the truncated file is not the last file");
                }
                Err(self.well_formed_up_to("unexpected end of file", valid_up_to, size))
            }
        }
    }

    fn open(&self) -> Result<File, AofError> {
        let name = self.name.display();
        File::open(self.folder.file(self.name)).map_err(|error| {
            let doing = if error.kind() == io::ErrorKind::NotFound {
                format!("The append log file {name} doesn't exist")
            } else {
                format!("Fatal error: can't open the append log file {name} for reading")
            };
            super::folder::failed(doing, error)
        })
    }

    fn load_rdb(&self, file: &File, target: &mut dyn LoadTarget) -> Result<u64, AofError> {
        let name = self.name.display();
        let old_style = self.name == self.folder.filename;
        if old_style {
            info!("Reading RDB preamble from AOF file...");
        } else {
            info!("Reading RDB base file on AOF loading...");
        }
        // Both stand at the same place: whoever reads on moves there first.
        let input = file.try_clone().map_err(|e| self.unreadable(&e))?;
        let length = target.load_rdb(LoadFile::of(input)).map_err(|reason| {
            let what = if old_style {
                "RDB preamble of the AOF"
            } else {
                "RDB base"
            };
            warn!("Error reading the {what} file {name}, AOF loading aborted");
            AofError::Content(format!("{name}: {reason}"))
        })?;
        if old_style {
            info!("Reading the remaining AOF tail...");
        }
        Ok(length)
    }

    fn replay<R: BufRead>(
        &self,
        mut reader: CommandReader<R>,
        target: &mut dyn LoadTarget,
    ) -> Result<Ending, AofError> {
        let name = self.name.display();
        let mut replay = Replay {
            db: 0,
            databases: self.options.databases,
            open: None,
        };
        let mut valid_up_to = reader.offset();
        let mut reported = reader.offset();
        let mut commands = 0u64;
        loop {
            let argv = match reader.next_command() {
                Ok(Some(argv)) => argv,
                Ok(None) if replay.open.is_some() => {
                    warn!("Revert incomplete MULTI/EXEC transaction in AOF file {name}");
                    return Ok(Ending::Cut { valid_up_to });
                }
                Ok(None) => {
                    self.report(target, reader.offset() - reported)?;
                    return Ok(Ending::Whole);
                }
                Err(ReadError::Cut) => return Ok(Ending::Cut { valid_up_to }),
                Err(ReadError::Format) => {
                    warn!(
                        "Bad file format reading the append only file {name}: make a backup of \
                         your AOF file, then use ./redis-check-aof --fix <filename.manifest>"
                    );
                    let size = self.folder.size_bytes(self.name)?;
                    return Err(self.well_formed_up_to("bad file format", valid_up_to, size));
                }
                Err(ReadError::Io(error)) => return Err(self.unreadable(&error)),
            };
            replay
                .command(argv, target)
                .map_err(|refused| self.refused(&refused))?;
            if replay.open.is_none() {
                valid_up_to = reader.offset();
            }
            commands += 1;
            if commands.is_multiple_of(COMMANDS_PER_REPORT) {
                self.report(target, reader.offset() - reported)?;
                reported = reader.offset();
            }
        }
    }

    fn report(&self, target: &mut dyn LoadTarget, bytes: u64) -> Result<(), AofError> {
        target.progress(bytes).map_err(|refusal| {
            self.refused(&Refused {
                refusal,
                command: String::new(),
            })
        })
    }

    fn refused(&self, refused: &Refused) -> AofError {
        let name = self.name.display();
        match refused.refusal {
            Refusal::UnknownCommand => {
                let text = format!(
                    "Unknown command '{}' reading the append only file {name}",
                    refused.command
                );
                warn!("{text}");
                AofError::Content(text)
            }
            Refusal::Aborted => AofError::Content(format!("loading of {name} was given up")),
        }
    }

    fn unreadable(&self, error: &io::Error) -> AofError {
        let text = format!(
            "Unrecoverable error reading the append only file {}: {}",
            self.name.display(),
            strerror(error)
        );
        warn!("{text}");
        AofError::Content(text)
    }

    fn well_formed_up_to(&self, reason: &str, offset: u64, size: u64) -> AofError {
        let name = self.name.display();
        warn!("The AOF file {name} is well formed up to offset {offset} of {size}");
        AofError::Content(format!("{name}: {reason} at offset {offset} of {size}"))
    }

    fn truncate(&self, valid_up_to: u64) -> Result<(), AofError> {
        let name = self.name.display();
        warn!("!!! Warning: short read while loading the AOF file {name}!!!");
        warn!("!!! Truncating the AOF {name} at offset {valid_up_to} !!!");
        let truncated = OpenOptions::new()
            .write(true)
            .open(self.folder.file(self.name))
            .and_then(|file| file.set_len(valid_up_to).and_then(|()| file.sync_all()));
        truncated.map_err(|error| {
            super::folder::failed(format!("Error truncating the AOF file {name}"), error)
        })?;
        warn!("AOF {name} loaded anyway because aof-load-truncated is enabled");
        Ok(())
    }
}

struct Refused {
    refusal: Refusal,
    command: String,
}

/// The state that commands of a file leave for those behind them.
struct Replay {
    db: u32,
    databases: u32,
    /// The commands since an open MULTI.
    open: Option<Vec<Vec<Vec<u8>>>>,
}

impl Replay {
    fn command(&mut self, argv: &[Vec<u8>], target: &mut dyn LoadTarget) -> Result<(), Refused> {
        let Some(name) = argv.first() else {
            return Ok(());
        };
        if name.eq_ignore_ascii_case(b"multi") {
            self.open.get_or_insert_default();
            return Ok(());
        }
        if name.eq_ignore_ascii_case(b"exec") {
            for argv in self.open.take().unwrap_or_default() {
                self.apply(&argv, target)?;
            }
            return Ok(());
        }
        if let Some(queue) = &mut self.open {
            queue.push(argv.to_vec());
            return Ok(());
        }
        self.apply(argv, target)
    }

    fn apply(&mut self, argv: &[Vec<u8>], target: &mut dyn LoadTarget) -> Result<(), Refused> {
        if let [name, db] = argv
            && name.eq_ignore_ascii_case(b"select")
        {
            let db = crate::base::num::parse_i64(db).and_then(|db| u32::try_from(db).ok());
            self.db = db.filter(|db| *db < self.databases).unwrap_or(self.db);
            return Ok(());
        }
        let words: smallvec::SmallVec<[&[u8]; 16]> = argv.iter().map(Vec::as_slice).collect();
        target.apply(self.db, &words).map_err(|refusal| Refused {
            refusal,
            command: words
                .first()
                .map(|name| String::from_utf8_lossy(name).into_owned())
                .unwrap_or_default(),
        })
    }
}

#[cfg(test)]
mod tests;

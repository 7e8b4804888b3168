//! RDB files on disk: written beside their final name and moved there whole, opened for loading.
//!
//! A file is complete under its final name or not there at all: the data is synced before the
//! rename, the directory after it. While it grows it is synced every 4 MiB
//! (`rdb-save-incremental-fsync`), so that no write-back of gigabytes stalls the disk at the end,
//! and its pages leave the cache once they are durable: nobody reads a snapshot soon.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use rustix::fs::{Advice, fadvise};

use crate::persist::rdb::writer::{Config, Writer};

/// Bytes between two syncs of a growing file.
const SYNC_EVERY: u64 = 4 << 20;

/// Why a file was not saved. The texts are the lines Redis logs.
#[derive(Debug, thiserror::Error)]
pub enum SaveError {
    /// The temporary file could not be made.
    #[error(
        "Failed opening the temp RDB file {temp} (in server root dir {dir}) for saving: {}",
        reason(.source)
    )]
    Open {
        /// Its name.
        temp: String,
        /// The directory.
        dir: String,
        /// The system's reason.
        source: io::Error,
    },
    /// A write, sync or close failed.
    #[error("Write error while saving DB to the disk({step}): {}", reason(.source))]
    Write {
        /// The step that failed, by the name of Redis's function for it.
        step: &'static str,
        /// The system's reason.
        source: io::Error,
    },
    /// The finished file could not be moved to its name.
    #[error(
        "Error moving temp DB file {temp} on the final destination {name} \
         (in server root dir {dir}): {}",
        reason(.source)
    )]
    Rename {
        /// The temporary name.
        temp: String,
        /// The final name.
        name: String,
        /// The directory.
        dir: String,
        /// The system's reason.
        source: io::Error,
    },
    /// The file is there, but its name may not survive a power cut.
    #[error("Failed to fsync directory while saving DB: {}", reason(.0))]
    SyncDir(#[source] io::Error),
}

/// The system's text for an error, without the number that Rust appends.
pub fn reason(error: &io::Error) -> String {
    let text = error.to_string();
    match text.rfind(" (os error ") {
        Some(end) => text.get(..end).unwrap_or_default().to_owned(),
        None => text,
    }
}

/// A file that is being written, synced as it grows.
pub struct GrowingFile {
    file: File,
    incremental: bool,
    written: u64,
    synced: u64,
}

impl GrowingFile {
    /// Takes over `file`, which is empty.
    pub fn new(file: File, incremental: bool) -> GrowingFile {
        GrowingFile {
            file,
            incremental,
            written: 0,
            synced: 0,
        }
    }

    fn sync_grown(&mut self) -> io::Result<()> {
        self.file.sync_data()?;
        self.forget_pages();
        self.synced = self.written;
        Ok(())
    }

    /// Lets the cache drop the pages. A refusal costs memory, not data: it is not an error.
    fn forget_pages(&self) {
        let _ = fadvise(&self.file, 0, None, Advice::DontNeed);
    }

    /// Syncs data and metadata, and gives the file back.
    pub fn finish(self) -> io::Result<File> {
        self.file.sync_all()?;
        self.forget_pages();
        Ok(self.file)
    }
}

impl Write for GrowingFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.file.write(bytes)?;
        self.written += count as u64;
        if self.incremental && self.written - self.synced >= SYNC_EVERY {
            self.sync_grown()?;
        }
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Where and how a file is saved.
#[derive(Debug, Clone)]
pub struct Target<'a> {
    /// The directory (`dir`).
    pub dir: &'a Path,
    /// The final name in it (`dbfilename`).
    pub name: &'a str,
    /// The name while it grows, in the same directory.
    pub temp: &'a str,
    /// `rdb-save-incremental-fsync`.
    pub incremental_fsync: bool,
}

/// The name under which process `pid` lets a snapshot grow.
pub fn temp_name(pid: u32) -> String {
    format!("temp-{pid}.rdb")
}

/// Removes a temporary file on the way out, unless it has become the real one.
struct TempFile {
    path: PathBuf,
    keep: bool,
}

impl Drop for TempFile {
    fn drop(&mut self) {
        if !self.keep {
            // It may never have been made, or be out of reach like the directory itself.
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn write_error(step: &'static str) -> impl FnOnce(io::Error) -> SaveError {
    move |source| SaveError::Write { step, source }
}

/// Saves what `fill` writes, from the header to the last entry, as a whole file. Returns its
/// size in bytes. A `fill` that fails, for whatever reason, leaves no file behind.
pub fn save(
    target: &Target<'_>,
    config: Config,
    fill: impl FnOnce(&mut Writer<GrowingFile>) -> io::Result<()>,
) -> Result<u64, SaveError> {
    let written = write(target, config, fill)?;
    let size = written.size();
    written.name(target)?;
    Ok(size)
}

/// A file that is whole, though neither durable nor under its final name; it goes unless it gets
/// there.
pub struct Written {
    growing: GrowingFile,
    temp: TempFile,
    size: u64,
}

impl Written {
    /// Its bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Opens it for reading, from its beginning.
    ///
    /// # Errors
    /// The system's.
    pub fn open(&self) -> io::Result<File> {
        File::open(&self.temp.path)
    }

    /// Waits until the disk has it and gives it its final name.
    ///
    /// # Errors
    /// See [`SaveError`].
    pub fn name(mut self, target: &Target<'_>) -> Result<(), SaveError> {
        self.growing.finish().map_err(write_error("fsync"))?;
        let named = fs::rename(&self.temp.path, target.dir.join(target.name));
        named.map_err(|source| SaveError::Rename {
            temp: target.temp.to_owned(),
            name: target.name.to_owned(),
            dir: target.dir.display().to_string(),
            source,
        })?;
        self.temp.keep = true;
        sync_dir(target.dir).map_err(SaveError::SyncDir)
    }
}

/// Writes what `fill` writes, as [`save`] does, and leaves sync and name to [`Written::name`].
///
/// # Errors
/// See [`SaveError`].
pub fn write(
    target: &Target<'_>,
    config: Config,
    fill: impl FnOnce(&mut Writer<GrowingFile>) -> io::Result<()>,
) -> Result<Written, SaveError> {
    let path = target.dir.join(target.temp);
    let file = File::create(&path).map_err(|source| SaveError::Open {
        temp: target.temp.to_owned(),
        dir: target.dir.display().to_string(),
        source,
    })?;
    let temp = TempFile { path, keep: false };
    let growing = GrowingFile::new(file, target.incremental_fsync);
    let mut writer = Writer::new(growing, config);
    fill(&mut writer).map_err(write_error("rdbSaveRio"))?;
    let (growing, size) = writer.finish().map_err(write_error("rdbSaveRio"))?;
    Ok(Written {
        growing,
        temp,
        size,
    })
}

/// Makes the names in a directory durable.
pub fn sync_dir(dir: &Path) -> io::Result<()> {
    // A relative name without a directory part has the empty path as its parent.
    let dir = if dir.as_os_str().is_empty() {
        Path::new(".")
    } else {
        dir
    };
    File::open(dir)?.sync_all()
}

/// A file opened for loading.
#[derive(Debug)]
pub struct LoadFile {
    file: File,
    /// Its size when it was opened, 0 for what has none.
    pub size: u64,
}

impl LoadFile {
    /// Opens `path`; `None` if there is no such file.
    pub fn open(path: &Path) -> Result<Option<LoadFile>, OpenError> {
        let file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => {
                return Err(OpenError {
                    path: path.display().to_string(),
                    source,
                });
            }
        };
        Ok(Some(LoadFile::of(file)))
    }

    /// A file that is open already, from where it stands.
    pub fn of(file: File) -> LoadFile {
        let size = file.metadata().map_or(0, |metadata| metadata.len());
        // Read-ahead is a hint; where it is refused, reading is merely slower.
        let _ = fadvise(&file, 0, None, Advice::Sequential);
        LoadFile { file, size }
    }
}

impl Read for LoadFile {
    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        self.file.read(room)
    }
}

/// A file that is there and cannot be read. The text is the line Redis logs.
#[derive(Debug, thiserror::Error)]
#[error("Fatal error: can't open the RDB file {path} for reading: {}", reason(.source))]
pub struct OpenError {
    /// The file.
    pub path: String,
    /// The system's reason.
    pub source: io::Error,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::persist::rdb::writer::Origin;

    fn target<'a>(dir: &'a Path, name: &'a str) -> Target<'a> {
        Target {
            dir,
            name,
            temp: "temp-1.rdb",
            incremental_fsync: true,
        }
    }

    fn names(dir: &Path) -> Vec<String> {
        let entries = fs::read_dir(dir).unwrap();
        entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect()
    }

    #[test]
    fn a_saved_file_stands_alone_under_its_name() {
        let dir = tempfile::tempdir().unwrap();
        let size = save(
            &target(dir.path(), "dump.rdb"),
            Config::default(),
            |writer| {
                writer.header(&Origin::default())?;
                writer.raw(&vec![0; 9 << 20])
            },
        )
        .unwrap();
        assert_eq!(names(dir.path()), ["dump.rdb"]);
        assert_eq!(
            fs::metadata(dir.path().join("dump.rdb")).unwrap().len(),
            size
        );
        let opened = LoadFile::open(&dir.path().join("dump.rdb"))
            .unwrap()
            .unwrap();
        assert_eq!(opened.size, size);
        assert!(
            LoadFile::open(&dir.path().join("other.rdb"))
                .unwrap()
                .is_none()
        );
    }

    #[test]
    fn a_whole_file_is_read_before_it_has_its_name() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("dump.rdb"), "old").unwrap();
        let target = target(dir.path(), "dump.rdb");
        let text = b"a data set";
        let written = write(&target, Config::default(), |w| w.raw(text)).unwrap();
        let mut read = Vec::new();
        written.open().unwrap().read_to_end(&mut read).unwrap();
        assert!(read.starts_with(text) && read.len() as u64 == written.size());
        assert_eq!(fs::read(dir.path().join("dump.rdb")).unwrap(), b"old");
        written.name(&target).unwrap();
        assert_eq!(fs::read(dir.path().join("dump.rdb")).unwrap(), read);
        drop(write(&target, Config::default(), |w| w.raw(b"another")).unwrap());
        assert_eq!(names(dir.path()), ["dump.rdb"]);
    }

    #[test]
    fn a_failed_save_leaves_the_old_file_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("dump.rdb"), "old").unwrap();
        let error = save(&target(dir.path(), "dump.rdb"), Config::default(), |_| {
            Err(io::Error::from_raw_os_error(28))
        })
        .unwrap_err();
        let text = "Write error while saving DB to the disk(rdbSaveRio): No space left on device";
        assert_eq!(error.to_string(), text);
        assert_eq!(names(dir.path()), ["dump.rdb"]);
        assert_eq!(fs::read(dir.path().join("dump.rdb")).unwrap(), b"old");
    }

    #[test]
    fn failures_are_told_in_the_words_of_redis() {
        let dir = tempfile::tempdir().unwrap();
        let missing = dir.path().join("missing");
        let error = save(&target(&missing, "d.rdb"), Config::default(), |_| Ok(())).unwrap_err();
        let expected = format!(
            "Failed opening the temp RDB file temp-1.rdb (in server root dir {}) for saving: No \
             such file or directory",
            missing.display()
        );
        assert_eq!(error.to_string(), expected);
        fs::create_dir(dir.path().join("taken")).unwrap();
        let error = save(&target(dir.path(), "taken"), Config::default(), |_| Ok(())).unwrap_err();
        assert!(error.to_string().starts_with(
            "Error moving temp DB file temp-1.rdb on the final destination taken (in server root"
        ));
        assert_eq!(names(dir.path()), ["taken"]);
    }
}

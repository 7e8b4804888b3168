//! The AOF on disk: a folder of files and the manifest that names them.
//!
//! What is assumed of the disk, and what therefore holds after a crash at any instant:
//!
//! - `rename` replaces a file at once: a reader sees the old manifest or the new one, never a
//!   mixture. The new one is synced before, the folder after.
//! - A file is in the manifest only after it exists, and is deleted only after the manifest that
//!   no longer names it for loading is on disk. What is left over by a crash is harmless: a file
//!   that no manifest names, or a history file that is gone already.

use super::manifest::{FileInfo, Manifest};
use std::ffi::{OsStr, OsString};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use tracing::{info, trace, warn};

/// Why the AOF cannot be used. What a person reads has been logged when this is returned, in the
/// sentences of Redis.
#[derive(Debug, thiserror::Error)]
pub enum AofError {
    /// The manifest says something it must not say.
    #[error("the AOF manifest is not valid: {0}")]
    Manifest(#[from] super::manifest::ManifestError),
    /// The system refused something.
    #[error("{doing}: {error}")]
    Io {
        /// What was tried.
        doing: String,
        /// What the system said.
        error: io::Error,
    },
    /// The content of a file cannot be loaded.
    #[error("{0}")]
    Content(String),
}

/// The system's words for `error`, as the C library prints them.
pub fn strerror(error: &io::Error) -> String {
    let text = error.to_string();
    match text.rfind(" (os error ") {
        Some(at) => text.get(..at).unwrap_or_default().to_owned(),
        None => text,
    }
}

/// Logs `doing: error` as a warning and makes it the error to return.
pub(super) fn failed(doing: String, error: io::Error) -> AofError {
    warn!("{doing}: {}", strerror(&error));
    AofError::Io { doing, error }
}

/// Where the AOF lives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Folder {
    /// The server's working folder (`dir`).
    pub dir: PathBuf,
    /// The AOF's folder inside it (`appenddirname`).
    pub dirname: OsString,
    /// The stem of all names (`appendfilename`).
    pub filename: OsString,
}

impl Folder {
    /// The folder itself.
    pub fn path(&self) -> PathBuf {
        self.dir.join(&self.dirname)
    }

    /// A file inside it.
    pub fn file(&self, name: &OsStr) -> PathBuf {
        self.path().join(name)
    }

    /// The name of the manifest.
    pub fn manifest_name(&self) -> OsString {
        join(&[&self.filename, OsStr::new(".manifest")])
    }

    /// The name under which a new manifest is written.
    pub fn temp_manifest_name(&self) -> OsString {
        join(&[OsStr::new("temp-"), &self.filename, OsStr::new(".manifest")])
    }

    /// The name of the incremental file that collects writes until the first rewrite succeeds.
    pub fn temp_incr_name(&self) -> OsString {
        join(&[OsStr::new("temp-"), &self.filename, OsStr::new(".incr")])
    }

    /// The file of the time before manifests.
    pub fn old_file(&self) -> PathBuf {
        self.dir.join(&self.filename)
    }

    /// Reads the manifest. No folder or no manifest is an empty manifest.
    pub fn load_manifest(&self) -> Result<Manifest, AofError> {
        if !self.path().is_dir() {
            trace!("The AOF directory {} doesn't exist", self.dirname.display());
            return Ok(Manifest::default());
        }
        let name = self.manifest_name();
        let path = self.file(&name);
        if !path.exists() {
            trace!("The AOF manifest file {} doesn't exist", name.display());
            return Ok(Manifest::default());
        }
        read_manifest(&path, &self.shown(&name))
    }

    /// Writes the manifest: a temporary file, synced, renamed, the folder synced.
    pub fn save_manifest(&self, manifest: &Manifest) -> Result<(), AofError> {
        let temp = self.temp_manifest_name();
        let name = self.manifest_name();
        let (temp_path, path) = (self.file(&temp), self.file(&name));
        let shown = temp.display();
        let mut file = OpenOptions::new()
            .write(true)
            .truncate(true)
            .create(true)
            .open(&temp_path)
            .map_err(|e| failed(format!("Can't open the AOF manifest file {shown}"), e))?;
        file.write_all(&manifest.format()).map_err(|e| {
            failed(
                format!("Error trying to write the temporary AOF manifest file {shown}"),
                e,
            )
        })?;
        file.sync_data()
            .map_err(|e| failed(format!("Fail to fsync the temp AOF file {shown}"), e))?;
        fs::rename(&temp_path, &path).map_err(|e| {
            let into = name.display();
            let doing = format!(
                "Error trying to rename the temporary AOF manifest file {shown} into {into}"
            );
            failed(doing, e)
        })?;
        sync_folder(&self.path()).map_err(|e| {
            failed(
                format!(
                    "Fail to fsync AOF directory {}",
                    self.shown(&name).display()
                ),
                e,
            )
        })
    }

    /// Makes sure that the folder is there.
    pub fn create(&self) -> Result<(), AofError> {
        let doing = || {
            format!(
                "Can't open or create append-only dir {}",
                self.dirname.display()
            )
        };
        match fs::create_dir(self.path()) {
            Ok(()) => sync_folder(&self.dir).map_err(|e| failed(doing(), e)),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && self.path().is_dir() => {
                Ok(())
            }
            Err(error) => Err(failed(doing(), error)),
        }
    }

    /// Moves a finished base into the folder.
    pub fn adopt(&self, temp: &Path, name: &OsStr) -> Result<(), AofError> {
        let moved = fs::rename(temp, self.file(name)).and_then(|()| sync_folder(&self.path()));
        moved.map_err(|error| {
            let (from, to) = (
                temp.file_name().unwrap_or_default().display(),
                name.display(),
            );
            failed(
                format!("Error trying to rename the temporary AOF base file {from} into {to}"),
                error,
            )
        })
    }

    /// The size of a file in bytes.
    pub fn size_bytes(&self, name: &OsStr) -> Result<u64, AofError> {
        match fs::metadata(self.file(name)) {
            Ok(data) => Ok(data.len()),
            Err(error) => {
                let doing = format!(
                    "Unable to obtain the AOF file {} length. stat",
                    name.display()
                );
                Err(failed(doing, error))
            }
        }
    }

    /// Moves a single AOF of the time before manifests into the folder as its base, when there is
    /// one and the folder has no AOF of its own. Tried again after an interruption at any step.
    pub fn upgrade(&self, manifest: &mut Manifest) -> Result<(), AofError> {
        if !self.old_file().exists() || !self.wants_upgrade(manifest) {
            return Ok(());
        }
        self.create()?;
        let mut upgraded = manifest.clone();
        upgraded.adopt_old_file(&self.filename);
        self.save_manifest(&upgraded)?;
        let (from, into) = (self.filename.display(), self.dirname.display());
        fs::rename(self.old_file(), self.file(&self.filename)).map_err(|e| {
            failed(
                format!("Error trying to move the old AOF file {from} into dir {into}"),
                e,
            )
        })?;
        info!(
            "Successfully migrated an old-style AOF file ({from}) into the AOF directory ({into})."
        );
        *manifest = upgraded;
        Ok(())
    }

    fn wants_upgrade(&self, manifest: &Manifest) -> bool {
        if !self.path().is_dir() || manifest.is_empty() {
            return true;
        }
        let interrupted = manifest.incr().is_empty()
            && manifest
                .base()
                .is_some_and(|base| base.name == self.filename);
        interrupted && !self.file(&self.filename).exists()
    }

    /// Deletes `files` on a thread of its own: unlinking a large file takes time.
    pub fn delete_in_background(&self, files: Vec<PathBuf>) {
        let delete = move || {
            for path in files {
                // Gone already is what is wanted; anything else is left for a person to see.
                if let Err(error) = fs::remove_file(&path)
                    && error.kind() != io::ErrorKind::NotFound
                {
                    warn!("Can't delete {}: {}", path.display(), strerror(&error));
                }
            }
        };
        let spawned = std::thread::Builder::new()
            .name("aof-unlink".to_owned())
            .spawn(delete);
        if let Err(error) = spawned {
            warn!(
                "Can't delete old AOF files in the background: {}",
                strerror(&error)
            );
        }
    }

    /// Deletes the history files and forgets them.
    pub fn delete_history(&self, manifest: &mut Manifest) -> Result<(), AofError> {
        let mut without = manifest.clone();
        let files: Vec<FileInfo> = without.take_history();
        if files.is_empty() {
            return Ok(());
        }
        for file in &files {
            info!(
                "Removing the history file {} in the background",
                file.name.display()
            );
        }
        self.delete_in_background(files.iter().map(|file| self.file(&file.name)).collect());
        self.save_manifest(&without)?;
        *manifest = without;
        Ok(())
    }

    fn shown(&self, name: &OsStr) -> PathBuf {
        Path::new(&self.dirname).join(name)
    }
}

/// Reads the manifest at `path`, which messages call `shown`, and logs why it cannot be used.
pub fn read_manifest(path: &Path, shown: &Path) -> Result<Manifest, AofError> {
    let content = fs::read(path).map_err(|e| {
        let shown = shown.display();
        failed(
            format!("Fatal error: can't open the AOF manifest file {shown} for reading"),
            e,
        )
    })?;
    Manifest::parse(&content).map_err(|error| {
        for line in manifest_error_lines(&error) {
            warn!("{line}");
        }
        AofError::Manifest(error)
    })
}

/// What Redis logs about a manifest it refuses, one log entry each.
pub fn manifest_error_lines(error: &super::manifest::ManifestError) -> Vec<String> {
    let mut lines = vec!["\n*** FATAL AOF MANIFEST FILE ERROR ***\n".to_owned()];
    if let Some(text) = &error.text {
        lines.push(format!(
            "Reading the manifest file, at line {}\n",
            error.line
        ));
        lines.push(format!(">>> '{text}'\n"));
    }
    lines.push(format!("{}\n", error.reason));
    lines
}

/// Makes renames and new names inside `path` durable.
pub fn sync_folder(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

fn join(parts: &[&OsStr]) -> OsString {
    let mut out = OsString::new();
    for part in parts {
        out.push(part);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder() -> (tempfile::TempDir, Folder) {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder {
            dir: dir.path().to_owned(),
            dirname: "appendonlydir".into(),
            filename: "appendonly.aof".into(),
        };
        (dir, folder)
    }

    #[test]
    fn a_manifest_comes_back_from_disk() {
        let (_dir, folder) = folder();
        assert_eq!(folder.load_manifest().unwrap(), Manifest::default());
        folder.create().unwrap();
        folder.create().unwrap();
        assert_eq!(folder.load_manifest().unwrap(), Manifest::default());
        let mut manifest = Manifest::default();
        manifest.next_base(&folder.filename, true);
        folder.save_manifest(&manifest).unwrap();
        assert_eq!(folder.load_manifest().unwrap(), manifest);
        assert!(!folder.file(&folder.temp_manifest_name()).exists());
    }

    #[test]
    fn a_folder_that_is_a_file_is_an_error() {
        let (_dir, folder) = folder();
        fs::write(folder.path(), b"").unwrap();
        assert!(folder.create().is_err());
    }

    #[test]
    fn an_old_file_moves_into_the_folder_whatever_interrupted_the_move() {
        let (_dir, folder) = folder();
        fs::write(folder.old_file(), b"old").unwrap();
        let mut manifest = folder.load_manifest().unwrap();
        // Interrupted between the manifest and the rename.
        folder.create().unwrap();
        let mut half = Manifest::default();
        half.adopt_old_file(&folder.filename);
        folder.save_manifest(&half).unwrap();
        folder.upgrade(&mut manifest).unwrap();
        assert!(!folder.old_file().exists());
        assert_eq!(fs::read(folder.file(&folder.filename)).unwrap(), b"old");
        assert_eq!(folder.load_manifest().unwrap(), half);

        // Another old file does not replace the one that is in use.
        fs::write(folder.old_file(), b"stray").unwrap();
        let mut manifest = folder.load_manifest().unwrap();
        folder.upgrade(&mut manifest).unwrap();
        assert_eq!(fs::read(folder.file(&folder.filename)).unwrap(), b"old");
        assert!(folder.old_file().exists());
    }

    #[test]
    fn history_is_deleted_and_forgotten() {
        let (_dir, folder) = folder();
        folder.create().unwrap();
        let mut manifest = Manifest::default();
        let old = manifest.next_base(&folder.filename, true);
        fs::write(folder.file(&old), b"x").unwrap();
        manifest.next_base(&folder.filename, true);
        folder.delete_history(&mut manifest).unwrap();
        assert_eq!(folder.load_manifest().unwrap().history(), []);
        for _ in 0..500 {
            if !folder.file(&old).exists() {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        panic!("the history file was not deleted");
    }

    #[test]
    fn a_system_error_is_shown_in_the_words_of_the_c_library() {
        assert_eq!(
            strerror(&io::Error::from_raw_os_error(2)),
            "No such file or directory"
        );
    }
}

//! The file of a received data set, from its making until it is the RDB file or is gone.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::task::spawn_blocking;

use super::Replication;
use super::growing::Written;
use crate::persist::rdb::file::{reason, sync_dir};

/// A file that goes unless it has been given another name.
pub struct TempFile(PathBuf);

impl Drop for TempFile {
    fn drop(&mut self) {
        // If it has been given another name there is none of this.
        let _ = fs::remove_file(&self.0);
    }
}

impl TempFile {
    /// A new file at `path`, to be written. A disk that is busy may take its time to make it.
    ///
    /// # Errors
    /// The system's; that there is such a file already is one.
    pub async fn create(path: PathBuf) -> io::Result<(File, TempFile)> {
        let create = move || {
            let file = OpenOptions::new().write(true).create_new(true).open(&path);
            file.map(|file| (file, TempFile(path)))
        };
        spawn_blocking(create).await.map_err(io::Error::other)?
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Makes it the RDB file as soon as the disk has it, unless files of full syncs are not wanted.
    /// When this returns, the name is claimed for it.
    pub async fn keep(self, repl: Arc<Replication>, written: Written) {
        let name = Arc::clone(&repl.saver.name);
        let Ok(claim) = spawn_blocking(move || name.claim()).await else {
            return;
        };
        spawn_blocking(move || {
            if !repl.drops_received_file()
                && let Err(line) = written.sync().and_then(|()| self.rename(&repl))
            {
                tracing::warn!("{line}");
            }
            drop(self);
            drop(claim);
        });
    }

    fn rename(&self, repl: &Replication) -> Result<(), String> {
        let name = repl.engine.config.settings().rdb.dbfilename.clone();
        let renamed = fs::rename(&self.0, &name).and_then(|()| sync_dir(Path::new(".")));
        renamed.map_err(|e| {
            format!(
                "Failed trying to rename the temp DB into {} in MASTER <-> REPLICA \
                 synchronization: {}",
                name.display(),
                reason(&e)
            )
        })
    }
}

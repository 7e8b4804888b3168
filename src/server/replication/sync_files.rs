//! `rdb-del-sync-files`: an instance that keeps no files by choice keeps none of a full sync
//! either, neither the one it gave its replicas nor the one it got from its primary.

use std::fs;
use std::path::Path;
use std::sync::atomic::Ordering;

use crate::config::Settings;
use crate::replication::replicas::ReplicaState;

use super::Replication;

/// Whether files of full syncs are to go.
fn unwanted(settings: &Settings) -> bool {
    settings.rdb.rdb_del_sync_files && settings.rdb.save.is_empty() && !settings.aof.appendonly
}

impl Replication {
    /// A file was written for replicas, in place of the data set's own.
    pub(super) fn note_sync_file(&self) {
        let wanted = self.engine.config.current().rdb.rdb_del_sync_files;
        self.left_file.store(wanted, Ordering::Relaxed);
    }

    /// Removes the file that was written for replicas once no replica needs it.
    pub(super) fn poll_sync_file(&self) {
        if !self.left_file.load(Ordering::Relaxed) {
            return;
        }
        let settings = self.engine.config.settings();
        if !settings.rdb.rdb_del_sync_files {
            self.left_file.store(false, Ordering::Relaxed);
        }
        let in_use = |state| {
            matches!(
                state,
                ReplicaState::WaitStart | ReplicaState::WaitEnd | ReplicaState::SendBulk
            )
        };
        if !unwanted(&settings) || self.replicas.all().iter().any(|r| in_use(r.state())) {
            return;
        }
        self.left_file.store(false, Ordering::Relaxed);
        tracing::info!(
            "Removing the RDB file used to feed replicas in a persistence-less instance"
        );
        remove(&settings.rdb.dbfilename);
    }

    /// Whether the file that was received from the primary is to go after it was loaded; then
    /// the one of earlier days goes with it.
    pub(super) fn drops_received_file(&self) -> bool {
        let settings = self.engine.config.settings();
        let drops = unwanted(&settings);
        if drops {
            tracing::info!(
                "Removing the RDB file obtained from the master. This replica has persistence \
                 disabled"
            );
            remove(&settings.rdb.dbfilename);
        }
        drops
    }
}

fn remove(file: &Path) {
    if let Err(e) = fs::remove_file(file)
        && e.kind() != std::io::ErrorKind::NotFound
    {
        tracing::warn!("Can't remove {}: {e}", file.display());
    }
}

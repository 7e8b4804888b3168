//! What commands ask of the parts above them: persistence, replication, configuration changes,
//! shutdown. Implemented by `server`; a test implements what it needs.

use crate::keyspace::table::Table;
use crate::keyspace::unit::Event;

use super::ctx::{CommandError, Suspended};
use super::session::{ReplicaFacts, Session};

/// How `SHUTDOWN` was called.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ShutdownRequest {
    /// `SAVE`: also without save points.
    pub save: bool,
    /// `NOSAVE`.
    pub no_save: bool,
    /// `NOW`: do not wait for replicas.
    pub now: bool,
    /// `FORCE`: errors do not stop it.
    pub force: bool,
}

/// A replica or a primary, as ROLE tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Role {
    /// A primary: its offset, and each replica's address, port and acknowledged offset.
    Primary(u64, Vec<(String, u16, u64)>),
    /// A replica: primary's host and port, state of the link, offset (-1 before a sync).
    Replica(String, u16, &'static str, i64),
}

/// What lies above the commands.
pub trait Host: Send + Sync {
    /// The text of INFO for these sections (none: the default ones).
    fn info(&self, sections: &[&[u8]]) -> String;

    /// Sets directives, all or none, with their effects.
    ///
    /// # Errors
    /// The error to reply with; nothing has changed.
    fn config_set(&self, pairs: &[(&[u8], &[u8])]) -> Result<(), CommandError>;

    /// Rewrites the configuration file.
    ///
    /// # Errors
    /// The error to reply with.
    fn config_rewrite(&self) -> Result<(), CommandError>;

    /// `CONFIG RESETSTAT` for what the engine does not count itself.
    fn reset_stats(&self);

    /// `SAVE`: replies when the file is there.
    fn save(&self) -> Suspended;

    /// `BGSAVE`; `schedule`: behind what is running. The status text to reply with.
    ///
    /// # Errors
    /// The error to reply with.
    fn bgsave(&self, schedule: bool) -> Result<&'static str, CommandError>;

    /// `BGREWRITEAOF`. The status text to reply with.
    ///
    /// # Errors
    /// The error to reply with.
    fn bgrewriteaof(&self) -> Result<&'static str, CommandError>;

    /// When the last successful save ended, Unix seconds.
    fn last_save(&self) -> i64;

    /// `SHUTDOWN`: the process ends, or the reply says why not.
    fn shutdown(&self, request: ShutdownRequest) -> Suspended;

    /// `SHUTDOWN ABORT`. Whether one was going on.
    fn shutdown_abort(&self) -> bool;

    /// `DEBUG RELOAD`.
    fn debug_reload(&self, save: bool, flush: bool, merge: bool) -> Suspended;

    /// `DEBUG LOADAOF`.
    fn debug_loadaof(&self) -> Suspended;

    /// `REPLICAOF host port`.
    fn replicaof(&self, host: &str, port: u16);

    /// `REPLICAOF NO ONE`.
    fn promote(&self);

    /// ROLE.
    fn role(&self) -> Role;

    /// `REPLCONF ACK`: the replica on this session has processed up to `offset`, and holds up to
    /// `synced` on disk.
    fn replica_ack(&self, session: &Session, offset: u64, synced: Option<u64>);

    /// `REPLCONF GETACK` from our primary: the offset we have processed.
    fn replica_offset(&self) -> u64;

    /// Number of replicas that have acknowledged `offset`.
    fn replicas_at(&self, offset: u64) -> usize;

    /// Waits until `count` replicas have acknowledged `offset` or `timeout_ms` have passed (0:
    /// for ever), then replies with their number.
    fn wait_replicas(&self, offset: u64, count: usize, timeout_ms: u64) -> Suspended;

    /// Checks that a SYNC or PSYNC can be served on a session of such a replica now.
    ///
    /// # Errors
    /// The error to reply with.
    fn may_sync(&self, facts: &ReplicaFacts) -> Result<(), CommandError>;

    /// Why the append-only file could not be written the last time.
    fn aof_write_error(&self) -> Option<String>;

    /// Publishes keyspace events, after the locks of their unit are released.
    fn publish_events(&self, events: &[Event]);

    /// Frees emptied tables away from the caller's thread.
    fn free_later(&self, tables: Vec<Table>);

    /// Memory in use, bytes, as INFO tells it.
    fn used_memory(&self) -> u64;

    /// `MEMORY PURGE`: gives free pages back to the system.
    fn purge_memory(&self);
}

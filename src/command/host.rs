//! What commands ask of the parts above them: persistence, replication, configuration changes,
//! shutdown. Implemented by `server`; a test implements what it needs.

use std::pin::Pin;
use std::time::Instant;

use super::ctx::{CommandError, Suspended};
use super::engine::Engine;
use super::session::ReplicaFacts;
use crate::config::Change;
use crate::keyspace::sizes::SizeSums;
use crate::keyspace::unit::{Event, Garbage};
use crate::keyspace::value::{Value, ValueRef};

/// What lies above the commands.
pub trait Host: Send + Sync {
    /// The refusal of writes while the append-only file cannot be written.
    fn aof_write_error(&self) -> Option<String>;

    /// Publishes keyspace events, after the locks of their unit are released.
    fn publish_events(&self, events: &[Event]);

    /// Frees what was removed away from the caller's thread.
    fn free_later(&self, garbage: Vec<Garbage>);

    /// Whether something is being freed away from the thread that removed it.
    fn frees_pending(&self) -> bool {
        false
    }

    /// Ends when everything given to [`Host::free_later`] so far has been freed.
    fn freed(&self) -> Pin<Box<dyn Future<Output = ()>>> {
        Box::pin(std::future::ready(()))
    }

    /// Bytes by which the memory in use exceeds `limit`; 0 below it.
    fn memory_over(&self, limit: u64) -> u64 {
        let _ = limit;
        0
    }

    /// A thread begins to work for clients.
    fn thread_begins(&self) {}

    /// Bytes that this thread has allocated less those that it has freed.
    fn thread_balance(&self) -> i64 {
        0
    }

    /// Frees on a thread of its own what would hold a worker up; nobody counts it as lazy.
    fn free_apart(&self, garbage: Vec<Garbage>);

    /// The payload of DUMP for a value.
    ///
    /// # Errors
    /// The error to reply with.
    fn dump(&self, value: ValueRef<'_>) -> Result<Vec<u8>, CommandError>;

    /// The value in a payload of RESTORE.
    ///
    /// # Errors
    /// The error to reply with.
    fn restore(&self, payload: &[u8]) -> Result<Value, CommandError>;

    /// Gives a changed directive its effect, before the new settings are published. Called with
    /// old and new exchanged to undo it.
    ///
    /// # Errors
    /// The reason that CONFIG SET replies with.
    fn setting_changed(&self, change: &Change<'_>) -> Result<(), String>;

    /// `CONFIG RESETSTAT`, for what the engine does not count itself.
    fn reset_stats(&self);

    /// The text of INFO: `sections` in lower case, none for the default ones; `databases` is what
    /// the sections Keyspace and Keysizes tell.
    fn info(&self, sections: &[Vec<u8>], databases: &mut dyn FnMut() -> Vec<DbInfo>) -> String {
        let _ = (sections, databases);
        String::new()
    }

    /// Bytes of a value in an RDB file; 0 where no such files are written.
    fn serialized_len(&self, value: ValueRef<'_>) -> usize {
        let _ = value;
        0
    }

    /// Saving and loading, where there is any.
    fn persistence(&self) -> Option<&dyn Persistence> {
        None
    }

    /// The process's memory, where somebody looks at it.
    fn memory(&self) -> Option<&dyn Memory> {
        None
    }

    /// Threads for what takes long, where there are any.
    fn aside(&self) -> Option<&dyn Aside> {
        None
    }

    /// Replication, where there is any.
    fn replication(&self) -> Option<&dyn Replicating> {
        None
    }
}

/// What INFO tells of a database.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DbInfo {
    /// Keys.
    pub keys: u64,
    /// Keys with an expiry.
    pub volatile: u64,
    /// Average time to live of a sample of those, milliseconds.
    pub average_ttl_ms: i64,
    /// Hashes with fields that have an expiry.
    pub timed: u64,
    /// How large the values are.
    pub sizes: SizeSums,
}

/// Work that takes long and needs no worker.
pub type Work = Box<dyn FnOnce(&Engine) + Send>;

/// Threads beside the workers.
pub trait Aside {
    /// Runs `work` on one of a few threads, which give way to those that serve clients, once one is
    /// free. If there can be no such thread, `work` is dropped.
    fn run(&self, work: Work);

    /// Stops every thread that serves clients or replicas until then; the caller's stops once it
    /// is done with the command it runs. Ends when what arrived meanwhile has been handled.
    fn stop_all_until(&self, then: Instant) -> Pin<Box<dyn Future<Output = ()>>>;
}

/// The process's memory.
pub trait Memory {
    /// The numbers of this moment.
    fn report(&self) -> MemoryReport;

    /// Gives free pages back to the system. Whether the allocator did.
    fn purge(&self) -> bool;

    /// What the allocator tells about itself, as text.
    fn allocator_text(&self) -> Vec<u8>;
}

/// Memory in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemoryReport {
    /// Most that was ever allocated.
    pub peak: u64,
    /// Allocated before there was any data.
    pub startup: u64,
    /// Held by the log, for replicas and the append-only file.
    pub log: u64,
    /// Allocated now.
    pub allocated: u64,
    /// In pages that hold allocations.
    pub active: u64,
    /// In pages of the allocator that are resident.
    pub allocator_resident: u64,
    /// Resident in all.
    pub resident: u64,
}

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

/// How `DEBUG RELOAD` was called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReloadRequest {
    /// Save first.
    pub save: bool,
    /// Empty the keyspace before loading.
    pub flush: bool,
    /// Keys that are there are replaced.
    pub merge: bool,
}

/// What becomes of the file after `FLUSHALL`.
pub enum EmptyFile {
    /// There are no save points.
    NotWanted,
    /// It is written in the background.
    Soon,
    /// It is written while this is awaited, which holds no lock.
    Now(Pin<Box<dyn Future<Output = ()>>>),
}

/// Saving, loading and the end of the server.
pub trait Persistence {
    /// `SAVE`: replies when the file is there.
    fn save(&self) -> Suspended;

    /// `BGSAVE`; `schedule`: behind what is running; `nested`: the caller holds every shard, so it
    /// begins as soon as the caller has let go. The status text to reply with.
    ///
    /// # Errors
    /// The error to reply with.
    fn bgsave(&self, schedule: bool, nested: bool) -> Result<&'static str, CommandError>;

    /// `BGREWRITEAOF`; `nested`: inside a transaction, so it begins soon after. The status text to
    /// reply with.
    ///
    /// # Errors
    /// The error to reply with.
    fn bgrewriteaof(&self, nested: bool) -> Result<&'static str, CommandError>;

    /// When the last successful save ended, Unix seconds.
    fn last_save(&self) -> i64;

    /// Stops a running background save: `FLUSHALL` makes it worthless. If there are save points,
    /// an empty file takes its place; `nested`: inside a transaction, so it is written soon after.
    fn flushed_all(&self, nested: bool) -> EmptyFile;

    /// `SHUTDOWN`: the process ends, or the reply says why not.
    fn shutdown(&self, request: ShutdownRequest) -> Suspended;

    /// `SHUTDOWN ABORT`. Whether one was going on.
    fn shutdown_abort(&self) -> bool;

    /// `DEBUG RELOAD`.
    fn debug_reload(&self, request: ReloadRequest) -> Suspended;

    /// `DEBUG LOADAOF`.
    fn debug_loadaof(&self) -> Suspended;

    /// `DEBUG ABORT-BACKGROUND`: what writes a snapshot at the moment, be it for BGSAVE, an AOF
    /// rewrite or a full sync, fails as if the disk had. Whether there was anything.
    fn debug_abort_background(&self) -> bool;

    /// `DEBUG SET-SKIP-CHECKSUM-VALIDATION`: RESTORE believes the checksum of its payload.
    fn debug_skip_checksum(&self, on: bool);

    /// `DEBUG AOF-FLUSH-SLEEP`: microseconds before each write to the AOF.
    fn debug_aof_flush_sleep(&self, us: u64);
}

/// What WAIT and WAITAOF wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WaitRequest {
    /// Who waits.
    pub client: u64,
    /// The log up to here.
    pub offset: u64,
    /// So many replicas.
    pub replicas: usize,
    /// WAITAOF: the replicas' disks, and whether ours too; `None` for WAIT.
    pub local: Option<bool>,
    /// For so long; 0 for ever.
    pub timeout_ms: u64,
}

/// A replica or a primary, as ROLE tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Role {
    /// A primary: its offset, and each replica's address, port and acknowledged offset.
    Primary(u64, Vec<(String, u16, u64)>),
    /// A replica: primary's host and port, state of the link, offset (-1 before a sync).
    Replica(String, u16, &'static str, i64),
}

/// Replication.
pub trait Replicating {
    /// `REPLICAOF host port`; `locked`: the caller holds every shard. `false` if that is the
    /// primary already.
    fn replicaof(&self, host: &str, port: u16, locked: bool) -> bool;

    /// `REPLICAOF NO ONE`; `locked`: the caller holds every shard. `false` if it is a primary
    /// already.
    fn promote(&self, locked: bool) -> bool;

    /// ROLE.
    fn role(&self) -> Role;

    /// The replication section of INFO.
    fn info(&self) -> String;

    /// `DEBUG CHANGE-REPL-ID`.
    fn change_id(&self);

    /// Checks that SYNC or PSYNC of such a replica can be served now.
    ///
    /// # Errors
    /// The error to reply with.
    fn may_sync(&self, facts: &ReplicaFacts) -> Result<(), CommandError>;

    /// Whether a replica on the connection of this number is to come with a second one.
    fn awaits_side(&self, main_client: u64) -> bool;

    /// `DEBUG REPL-PAUSE`: stops the process at a place of a full sync. `false` if there is no
    /// place of that name.
    fn pause_at(&self, place: &[u8]) -> bool;

    /// What of a request is fulfilled: our own disk's part, and by how many replicas.
    fn acknowledged(&self, request: &WaitRequest) -> (bool, usize);

    /// Waits until a request is fulfilled or its time is up, then replies.
    fn wait(&self, request: WaitRequest) -> Suspended;
}

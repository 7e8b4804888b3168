//! What commands ask of the parts above them: persistence, replication, configuration changes,
//! shutdown. Implemented by `server`; a test implements what it needs.

use crate::keyspace::table::Table;
use crate::keyspace::unit::Event;

/// What lies above the commands.
pub trait Host: Send + Sync {
    /// Why the append-only file could not be written the last time.
    fn aof_write_error(&self) -> Option<String>;

    /// Publishes keyspace events, after the locks of their unit are released.
    fn publish_events(&self, events: &[Event]);

    /// Frees emptied tables away from the caller's thread.
    fn free_later(&self, tables: Vec<Table>);
}

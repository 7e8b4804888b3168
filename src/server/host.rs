//! What commands ask of the parts above them, answered by those parts.

use crate::command::host::Host;
use crate::keyspace::table::Table;
use crate::keyspace::unit::Event;

use super::lazyfree::Lazyfree;

/// The parts above the commands.
pub struct Parts {
    /// Frees large things.
    pub lazyfree: Lazyfree,
}

impl Host for Parts {
    fn aof_write_error(&self) -> Option<String> {
        None
    }

    fn publish_events(&self, _: &[Event]) {}

    fn free_later(&self, tables: Vec<Table>) {
        self.lazyfree.free(tables);
    }
}

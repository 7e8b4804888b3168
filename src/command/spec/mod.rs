//! The command table: what every command is, and which commands exist.
//!
//! `commands.toml` says what a command is: arity, flags, ACL categories, key specs and
//! documentation. It is data, compiled in and parsed once into [`CommandSpec`]s. Which commands
//! exist is decided elsewhere: [`table::CommandTable::build`] takes the handlers, and a record
//! without one is unknown to clients. Nothing about a command is written down twice.
//!
//! | module | holds |
//! |---|---|
//! | [`flags`] | the bit sets and the words they are printed by |
//! | [`keys`] | key specs and the extraction of a request's keys |
//! | [`docs`] | what COMMAND DOCS tells |
//! | [`record`] | the parser of `commands.toml` |
//! | [`names`] | the case-insensitive index of names |
//! | [`table`] | the commands that exist, lookup, renames, the errors of unknown ones |
//!
//! To add a command: a record in `commands.toml`, behind its container if it is a subcommand, and
//! its handler in the list given to `build`.

pub mod docs;
pub mod flags;
pub mod keys;
pub mod names;
pub mod record;
pub mod table;

pub use flags::{AclCategories, CommandFlags, KeyFlags};
pub use keys::{KeyPositions, KeyRef, KeyShape, UnknownKeys};
pub use record::{SpecError, specs};
pub use table::{Command, CommandTable, TableError};

#[cfg(test)]
mod golden;

use docs::CommandDocs;
use keys::KeyRule;

/// What a command or a subcommand is.
#[derive(Clone, Debug)]
pub struct CommandSpec {
    /// Dense number over all records, built or not: an index for statistics and ACL bitmaps.
    /// It is the same in every table of one process and means nothing outside of it.
    pub id: u16,
    /// The command's own name, `get` of `config|get`, in lower case.
    pub name: String,
    /// The name of statistics, ACL and errors: `config|get`. Renaming a command leaves it alone.
    pub full_name: String,
    /// The id of the container of a subcommand.
    pub container: Option<u16>,
    /// Number of arguments with the command's name; negative: at least that many.
    pub arity: i32,
    /// What it is and where it may run.
    pub flags: CommandFlags,
    /// Its ACL categories, those that follow from flags included.
    pub acl_categories: AclCategories,
    /// Where its keys are.
    pub keys: KeyRule,
    /// Hints for clients and proxies.
    pub tips: Vec<String>,
    /// What COMMAND DOCS tells.
    pub docs: Box<CommandDocs>,
}

impl CommandSpec {
    /// Whether a request of `argc` arguments, the name included, has a permitted length.
    #[inline]
    pub fn arity_ok(&self, argc: usize) -> bool {
        let beyond = argc as i64 - i64::from(self.arity).abs();
        beyond == 0 || beyond > 0 && self.arity < 0
    }

    /// The error reply to a request of the wrong length.
    pub fn arity_error(&self) -> String {
        format!(
            "ERR wrong number of arguments for '{}' command",
            self.full_name
        )
    }
}

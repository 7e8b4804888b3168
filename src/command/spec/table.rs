//! The commands that exist: found by name, in any case, under the names clients use.
//!
//! The table is generic over the handler, so it can be tested and used without one. It is built
//! once at start and read by all workers without a lock.
//!
//! `rename-command` changes the name clients use, and nothing else: statistics, ACL and errors
//! keep the original full name, and [`CommandTable::lookup_original`] still finds it. As in
//! Redis a rename sees the renames before it.

use super::CommandSpec;
use super::names::NameIndex;
use super::record::{SpecError, specs};

/// The longest piece of a client's text that an error repeats, in bytes.
const QUOTED_MAX: usize = 128;

/// Why a table cannot be built.
#[derive(Debug, thiserror::Error)]
pub enum TableError {
    /// The command table itself is wrong.
    #[error("{0}")]
    Spec(&'static SpecError),
    /// A handler for a command that has no record.
    #[error("no record for the handler of '{0}'")]
    NoRecord(String),
    /// Two handlers for one command.
    #[error("two handlers for '{0}'")]
    TwoHandlers(String),
    /// `rename-command` of what does not exist.
    #[error("No such command in rename-command")]
    NoSuchCommand,
    /// `rename-command` to a name that is taken.
    #[error("Target command name already exists")]
    TargetExists,
}

/// A command that exists.
#[derive(Debug)]
pub struct Command<H> {
    /// What it is.
    pub spec: &'static CommandSpec,
    /// What runs it; a pure container such as CONFIG has none.
    pub handler: Option<H>,
    subcommands: Option<NameIndex>,
}

impl<H> Command<H> {
    /// Whether it has subcommands.
    pub fn is_container(&self) -> bool {
        self.subcommands.is_some()
    }

    /// Whether the first word of a request alone says that it is this command.
    #[inline]
    pub fn has_one_word(&self) -> bool {
        self.subcommands.is_none() && self.spec.container.is_none()
    }
}

/// The commands that exist.
#[derive(Debug)]
pub struct CommandTable<H> {
    /// By id; `None` for a record without handlers.
    commands: Vec<Option<Command<H>>>,
    /// Top-level commands by the names clients use.
    names: NameIndex,
    /// Top-level commands by the names of their records.
    originals: NameIndex,
}

impl<H: Clone> CommandTable<H> {
    /// The table of all commands in `handlers`, each given by its full name (`get`,
    /// `config|get`), with `renames` (old name, new name; a new name of no bytes removes the
    /// command) applied in order. A container exists when one of its subcommands does.
    pub fn build<N: AsRef<[u8]>>(
        handlers: &[(&str, H)],
        renames: &[(N, N)],
    ) -> Result<Self, TableError> {
        let specs = specs().map_err(TableError::Spec)?;
        let mut records = std::collections::HashMap::new();
        for spec in specs {
            records.insert(spec.full_name.as_str(), spec);
        }
        let mut table = Self {
            commands: specs.iter().map(|_| None).collect(),
            names: NameIndex::default(),
            originals: NameIndex::default(),
        };
        for (name, handler) in handlers {
            let spec = records
                .get(name)
                .ok_or_else(|| TableError::NoRecord((*name).to_owned()))?;
            if let Some(container) = spec.container.and_then(|id| specs.get(usize::from(id))) {
                let command = table.ensure(container);
                if let Some(command) = command {
                    let index = command.subcommands.get_or_insert_default();
                    index.insert(spec.name.as_bytes(), spec.id);
                }
            }
            if let Some(command) = table.ensure(spec)
                && command.handler.replace(handler.clone()).is_some()
            {
                return Err(TableError::TwoHandlers((*name).to_owned()));
            }
        }
        table.originals = table.names.clone();
        for (old, new) in renames {
            table.rename(old.as_ref(), new.as_ref())?;
        }
        Ok(table)
    }

    /// The place of `spec`, entered under its name if it is new.
    fn ensure(&mut self, spec: &'static CommandSpec) -> Option<&mut Command<H>> {
        let place = self.commands.get_mut(usize::from(spec.id))?;
        if place.is_none() && spec.container.is_none() {
            self.names.insert(spec.name.as_bytes(), spec.id);
        }
        Some(place.get_or_insert(Command {
            spec,
            handler: None,
            subcommands: None,
        }))
    }

    fn rename(&mut self, old: &[u8], new: &[u8]) -> Result<(), TableError> {
        let id = self.names.get(old).ok_or(TableError::NoSuchCommand)?;
        self.names.remove(old);
        if new.is_empty() || self.names.insert(new, id) {
            return Ok(());
        }
        Err(TableError::TargetExists)
    }
}

impl<H> CommandTable<H> {
    /// The command of a request: the subcommand if its first word is a container's name and it
    /// has a second one.
    #[inline]
    pub fn lookup(&self, args: &[&[u8]]) -> Option<&Command<H>> {
        self.lookup_in(&self.names, args)
    }

    /// As [`Self::lookup`], then by the names before renames: for requests that the server
    /// itself made up, such as effects and rewritten commands.
    pub fn lookup_original(&self, args: &[&[u8]]) -> Option<&Command<H>> {
        self.lookup(args)
            .or_else(|| self.lookup_in(&self.originals, args))
    }

    #[inline]
    fn lookup_in(&self, names: &NameIndex, args: &[&[u8]]) -> Option<&Command<H>> {
        let (name, rest) = args.split_first()?;
        let command = self.by_id(names.get(name)?)?;
        match (&command.subcommands, rest.first()) {
            (Some(subcommands), Some(name)) => self.by_id(subcommands.get(name)?),
            _ => Some(command),
        }
    }

    /// The command a client calls `name`, written with a bar for a subcommand: `config|get`.
    pub fn lookup_name(&self, name: &[u8]) -> Option<&Command<H>> {
        let mut words = name.split(|&byte| byte == b'|');
        let command = self.by_id(self.names.get(words.next()?)?)?;
        match (words.next(), words.next()) {
            (None, _) => Some(command),
            (Some(name), None) => self.by_id(command.subcommands.as_ref()?.get(name)?),
            (Some(_), Some(_)) => None,
        }
    }

    /// The command with this id.
    #[inline]
    pub fn by_id(&self, id: u16) -> Option<&Command<H>> {
        self.commands.get(usize::from(id))?.as_ref()
    }

    /// How many ids there are: the length of an array indexed by id.
    pub fn id_count(&self) -> usize {
        self.commands.len()
    }

    /// Every command and subcommand that exists, whatever it is called and whether or not a
    /// rename removed it, in the order of ids. ACL and statistics see commands this way.
    pub fn all(&self) -> impl Iterator<Item = &Command<H>> {
        self.commands.iter().flatten()
    }

    /// The top-level commands that clients can call, in the order of ids.
    pub fn top_level(&self) -> impl Iterator<Item = &Command<H>> {
        self.names
            .numbers()
            .into_iter()
            .filter_map(|id| self.by_id(id))
    }

    /// The subcommands of a container that exist, in the order of ids.
    pub fn subcommands(&self, command: &Command<H>) -> impl Iterator<Item = &Command<H>> {
        let numbers = command
            .subcommands
            .as_ref()
            .map_or_else(Vec::new, NameIndex::numbers);
        numbers.into_iter().filter_map(|id| self.by_id(id))
    }

    /// The error reply to a request that [`Self::lookup`] does not find. It repeats the client's
    /// bytes, line ends made blanks, each piece at most 128 bytes long and up to its first zero
    /// byte, as Redis does.
    pub fn unknown_error(&self, args: &[&[u8]]) -> Vec<u8> {
        let name = args.first().copied().unwrap_or_default();
        let container = self.names.get(name).and_then(|id| self.by_id(id));
        let mut text = Vec::with_capacity(256);
        if container.is_some_and(Command::is_container) {
            text.extend_from_slice(b"ERR unknown subcommand '");
            text.extend_from_slice(quoted(args.get(1).copied().unwrap_or_default(), QUOTED_MAX));
            text.extend_from_slice(b"'. Try ");
            text.extend_from_slice(&name.to_ascii_uppercase());
            text.extend_from_slice(b" HELP.");
        } else {
            text.extend_from_slice(b"ERR unknown command '");
            text.extend_from_slice(quoted(name, QUOTED_MAX));
            text.extend_from_slice(b"', with args beginning with: ");
            let start = text.len();
            for arg in args.get(1..).unwrap_or_default() {
                // Quotes and blanks count, the last argument may run over by them.
                let Some(left) = QUOTED_MAX
                    .checked_sub(text.len() - start)
                    .filter(|&n| n > 0)
                else {
                    break;
                };
                text.push(b'\'');
                text.extend_from_slice(quoted(arg, left));
                text.extend_from_slice(b"' ");
            }
        }
        for byte in &mut text {
            if matches!(byte, b'\r' | b'\n') {
                *byte = b' ';
            }
        }
        text
    }
}

/// The piece of `text` that an error shows.
fn quoted(text: &[u8], max: usize) -> &[u8] {
    let text = text.get(..max).unwrap_or(text);
    text.split(|&byte| byte == 0).next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: &[(&str, &str)] = &[];

    fn table(renames: &[(&str, &str)]) -> CommandTable<u8> {
        let handlers = [
            ("get", 1),
            ("config|get", 2),
            ("config|set", 3),
            ("command", 4),
        ];
        CommandTable::build(&handlers, renames).unwrap()
    }

    fn handler(table: &CommandTable<u8>, args: &[&[u8]]) -> Option<u8> {
        table.lookup(args).and_then(|command| command.handler)
    }

    fn error(table: &CommandTable<u8>, args: &[&[u8]]) -> String {
        String::from_utf8(table.unknown_error(args)).unwrap()
    }

    #[test]
    fn a_command_is_found_in_any_case_and_only_with_a_handler() {
        let table = table(NONE);
        assert_eq!(handler(&table, &[b"gEt", b"k"]), Some(1));
        assert_eq!(handler(&table, &[b"CONFIG", b"Set", b"a", b"b"]), Some(3));
        assert!(table.lookup(&[b"set", b"k", b"v"]).is_none());
        assert!(table.lookup(&[b"config", b"rewrite"]).is_none());
        assert!(table.lookup(&[]).is_none());
    }

    #[test]
    fn a_container_exists_by_its_subcommands() {
        let table = table(NONE);
        let config = table.lookup(&[b"config"]).unwrap();
        assert_eq!((config.handler, config.is_container()), (None, true));
        assert!(!config.spec.arity_ok(1));
        let names: Vec<_> = table
            .subcommands(config)
            .map(|sub| &sub.spec.full_name)
            .collect();
        assert_eq!(names, ["config|get", "config|set"]);
        assert_eq!(table.top_level().count(), 3);
        assert_eq!(table.all().count(), 5);
    }

    #[test]
    fn a_full_name_is_looked_up_with_a_bar() {
        let table = table(NONE);
        assert_eq!(table.lookup_name(b"CONFIG|GET").unwrap().handler, Some(2));
        assert!(table.lookup_name(b"config|get|x").is_none());
        assert!(table.lookup_name(b"get|x").is_none());
        assert!(table.lookup_name(b"config|").is_none());
    }

    #[test]
    fn a_rename_changes_the_name_for_clients_alone() {
        let table = table(&[("CONFIG", "hidden"), ("get", "")]);
        assert_eq!(handler(&table, &[b"Hidden", b"get", b"x"]), Some(2));
        assert!(table.lookup(&[b"config", b"get", b"x"]).is_none());
        assert!(table.lookup(&[b"get", b"k"]).is_none());
        assert_eq!(
            table.lookup_original(&[b"get", b"k"]).unwrap().handler,
            Some(1)
        );
        let error = error(&table, &[b"hidden", b"nope"]);
        assert_eq!(error, "ERR unknown subcommand 'nope'. Try HIDDEN HELP.");
        assert_eq!(table.lookup(&[b"hidden"]).unwrap().spec.full_name, "config");
        assert_eq!((table.top_level().count(), table.all().count()), (2, 5));
    }

    #[test]
    fn renames_see_the_renames_before_them() {
        let table = table(&[("get", "a"), ("command", "get"), ("a", "command")]);
        assert_eq!(handler(&table, &[b"command"]), Some(1));
        assert_eq!(handler(&table, &[b"get"]), Some(4));
        let build = |renames| CommandTable::build(&[("get", 1), ("set", 2)], renames).unwrap_err();
        assert!(matches!(build(&[("nope", "a")]), TableError::NoSuchCommand));
        assert!(matches!(build(&[("get", "SET")]), TableError::TargetExists));
    }

    #[test]
    fn a_handler_needs_a_record_and_is_alone() {
        let build = |handlers| CommandTable::build(handlers, NONE).unwrap_err().to_string();
        assert_eq!(build(&[("gte", 1)]), "no record for the handler of 'gte'");
        assert_eq!(build(&[("get", 1), ("get", 2)]), "two handlers for 'get'");
    }

    #[test]
    fn errors_repeat_what_the_client_sent_within_bounds() {
        let table = table(NONE);
        assert_eq!(
            error(&table, &[b"foo", b"bar", b"b\r\nz"]),
            "ERR unknown command 'foo', with args beginning with: 'bar' 'b  z' "
        );
        let long = [b'x'; 300];
        let shown = "x".repeat(128);
        assert_eq!(
            error(&table, &[&long, &long, b"y"]),
            format!("ERR unknown command '{shown}', with args beginning with: '{shown}' ")
        );
        let nearly = &long[..125];
        let text = error(&table, &[b"f", nearly, b"yy"]);
        assert!(text.ends_with("xxx' "), "{text}");
        let text = error(&table, &[b"f", &long[..120], b"yyyyyyyyyy"]);
        assert!(text.ends_with("xxx' 'yyyyy' "), "{text}");
        let config = table.lookup(&[b"config", b"get"]).unwrap();
        assert_eq!(
            config.spec.arity_error(),
            "ERR wrong number of arguments for 'config|get' command"
        );
    }
}

//! From `commands.toml` to [`CommandSpec`]s.
//!
//! The text is compiled in and parsed once, at the first use. Every mistake that can be told
//! from the file alone is an error with the command's name; a test parses the real file, so a
//! server never meets one.

use std::sync::OnceLock;

use serde::Deserialize;

use super::CommandSpec;
use super::docs::{ArgumentRecord, CommandDocs};
use super::flags::{AclCategories, CommandFlags, KeyFlags};
use super::keys::{BeginSearch, FindKeys, GetKeys, KeyRule, KeySpec};

const SOURCE: &str = include_str!("../commands.toml");

/// What is wrong with one record.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// A word in a list of flags or categories that is none.
    #[error("unknown word '{0}'")]
    Word(String),
    /// An argument that is not of the described form.
    #[error("malformed argument '{0}'")]
    Argument(String),
    /// A key spec with two beginnings, or two ways to find keys.
    #[error("contradictory key spec")]
    KeySpec,
    /// A subcommand that does not follow its container.
    #[error("not behind its container")]
    Container,
    /// More commands than numbers for them.
    #[error("too many commands")]
    TooMany,
}

/// What is wrong with the command table.
#[derive(Debug, thiserror::Error)]
pub enum SpecError {
    /// Not TOML, or not of the right shape.
    #[error("commands.toml: {0}")]
    Toml(#[from] toml::de::Error),
    /// One record is wrong.
    #[error("commands.toml: {command}: {error}")]
    Record {
        /// The full name of the command.
        command: String,
        /// What is wrong.
        error: RecordError,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    command: Vec<Record>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Record {
    name: String,
    arity: i32,
    #[serde(default)]
    flags: String,
    #[serde(default)]
    acl: String,
    #[serde(default)]
    keys: Vec<KeyRecord>,
    getkeys: Option<GetKeys>,
    #[serde(default)]
    tips: String,
    group: String,
    since: String,
    summary: String,
    complexity: Option<String>,
    deprecated: Option<String>,
    replaced_by: Option<String>,
    #[serde(default)]
    syscmd: bool,
    #[serde(default)]
    history: Vec<(String, String)>,
    #[serde(default)]
    args: Vec<ArgumentRecord>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyRecord {
    flags: String,
    at: Option<usize>,
    keyword: Option<(String, i32)>,
    range: Option<(i32, usize, usize)>,
    keynum: Option<(usize, usize, usize)>,
    notes: Option<String>,
}

/// Every command of the table, containers before their subcommands; a spec's `id` is its
/// index here.
pub fn specs() -> Result<&'static [CommandSpec], &'static SpecError> {
    static SPECS: OnceLock<Result<Vec<CommandSpec>, SpecError>> = OnceLock::new();
    SPECS.get_or_init(|| parse(SOURCE)).as_deref()
}

fn parse(source: &str) -> Result<Vec<CommandSpec>, SpecError> {
    let file: File = toml::from_str(source)?;
    let mut specs: Vec<CommandSpec> = Vec::with_capacity(file.command.len());
    for record in file.command {
        let command = record.name.clone();
        let spec = record
            .spec(&specs)
            .map_err(|error| SpecError::Record { command, error })?;
        specs.push(spec);
    }
    Ok(specs)
}

impl Record {
    fn spec(self, before: &[CommandSpec]) -> Result<CommandSpec, RecordError> {
        let mut flags = CommandFlags::EMPTY;
        for word in self.flags.split_whitespace() {
            flags.insert(known(word, CommandFlags::from_name)?);
        }
        let mut named = AclCategories::EMPTY;
        for word in self.acl.split_whitespace() {
            named.insert(known(word, AclCategories::from_name)?);
        }
        let specs = self
            .keys
            .into_iter()
            .map(KeyRecord::spec)
            .collect::<Result<Vec<_>, _>>()?;
        let keys = KeyRule::new(specs, self.getkeys);
        if keys.movable {
            flags.insert(CommandFlags::MOVABLE_KEYS);
        }
        let (container, own) = match self.name.split_once('|') {
            None => (None, self.name.as_str()),
            Some((container, own)) => {
                let spec = before.iter().rev().find(|spec| spec.container.is_none());
                let spec = spec.filter(|spec| spec.full_name == container);
                (Some(spec.ok_or(RecordError::Container)?.id), own)
            }
        };
        Ok(CommandSpec {
            id: u16::try_from(before.len()).map_err(|_| RecordError::TooMany)?,
            name: own.to_owned(),
            container,
            arity: self.arity,
            flags,
            acl_categories: AclCategories::implied(flags, named),
            keys,
            tips: self.tips.split_whitespace().map(str::to_owned).collect(),
            docs: Box::new(CommandDocs {
                summary: self.summary,
                since: self.since,
                group: self.group,
                complexity: self.complexity,
                syscmd: self.syscmd,
                deprecated_since: self.deprecated,
                replaced_by: self.replaced_by,
                history: self.history,
                arguments: self
                    .args
                    .into_iter()
                    .map(ArgumentRecord::parse)
                    .collect::<Result<Vec<_>, _>>()?,
            }),
            full_name: self.name,
        })
    }
}

impl KeyRecord {
    fn spec(self) -> Result<KeySpec, RecordError> {
        let mut flags = KeyFlags::EMPTY;
        for word in self.flags.split_whitespace() {
            flags.insert(known(word, KeyFlags::from_name)?);
        }
        let begin = match (self.at, self.keyword) {
            (None, None) => BeginSearch::Unknown,
            (Some(at), None) => BeginSearch::Index(at),
            (None, Some((word, start_from))) => BeginSearch::Keyword { word, start_from },
            (Some(_), Some(_)) => return Err(RecordError::KeySpec),
        };
        let find = match (self.range, self.keynum) {
            (None, None) => FindKeys::Unknown,
            (Some((last, step, limit)), None) => FindKeys::Range { last, step, limit },
            (None, Some((count_at, first, step))) => FindKeys::KeyNum {
                count_at,
                first,
                step,
            },
            (Some(_), Some(_)) => return Err(RecordError::KeySpec),
        };
        Ok(KeySpec {
            flags,
            begin,
            find,
            notes: self.notes,
        })
    }
}

fn known<T>(word: &str, from_name: impl Fn(&[u8]) -> Option<T>) -> Result<T, RecordError> {
    from_name(word.as_bytes()).ok_or_else(|| RecordError::Word(word.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(record: &str) -> String {
        let head = "arity = 1\ngroup = \"g\"\nsince = \"1\"\nsummary = \"s\"\n";
        parse(&format!("[[command]]\n{head}{record}"))
            .unwrap_err()
            .to_string()
    }

    #[test]
    fn the_compiled_in_table_parses() {
        let specs = specs().unwrap();
        assert!(
            specs
                .iter()
                .enumerate()
                .all(|(at, spec)| usize::from(spec.id) == at)
        );
    }

    #[test]
    fn a_mistake_in_a_record_is_named() {
        assert!(error("name = \"a\"\nflags = \"wirte\"").contains("a: unknown word 'wirte'"));
        assert!(error("name = \"a|b\"").contains("a|b: not behind its container"));
        assert!(error("name = \"a\"\nargs = [\"x\"]").contains("malformed argument 'x'"));
        assert!(error("name = \"a\"\nnickname = \"b\"").contains("nickname"));
        let both = "name = \"a\"\nkeys = [{ flags = \"RO\", at = 1, keyword = [\"k\", 1] }]";
        assert!(error(both).contains("contradictory key spec"));
    }
}

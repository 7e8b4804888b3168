//! What COMMAND DOCS tells about a command, the tree of its arguments included.
//!
//! In the table an argument is one string, `name type [token=T] [?] [*] [**] [@n] [since=V]
//! [until=V] [show=TEXT]`; a choice or a block is a list of its own string and its parts. None of
//! this is read while commands run, so it stays off the hot records.

use serde::Deserialize;

use super::record::RecordError;

/// What COMMAND DOCS tells about a command.
#[derive(Clone, Debug)]
pub struct CommandDocs {
    /// One sentence.
    pub summary: String,
    /// The version of Redis that brought the command.
    pub since: String,
    /// The documentation group, `string` or `sorted-set`.
    pub group: String,
    /// Time complexity, where there is one to tell.
    pub complexity: Option<String>,
    /// An internal command that no client should send.
    pub syscmd: bool,
    /// Since when it should not be used any more.
    pub deprecated_since: Option<String>,
    /// What to use instead.
    pub replaced_by: Option<String>,
    /// Version and what it changed.
    pub history: Vec<(String, String)>,
    /// The syntax.
    pub arguments: Vec<Argument>,
}

/// One argument of a command's syntax.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Argument {
    /// Its name, unique among its siblings.
    pub name: String,
    /// Its kind.
    pub kind: ArgumentKind,
    /// The name to show to people, when it is another.
    pub display: Option<String>,
    /// The key spec it belongs to.
    pub key_spec: Option<i64>,
    /// The word that stands before it, or that it is.
    pub token: Option<String>,
    /// The version that brought it.
    pub since: Option<String>,
    /// The version that deprecated it.
    pub deprecated_since: Option<String>,
    /// May be left out.
    pub optional: bool,
    /// May be repeated.
    pub multiple: bool,
    /// Is repeated together with its token.
    pub multiple_token: bool,
    /// The parts of a block, the alternatives of a choice.
    pub parts: Vec<Argument>,
}

/// The kind of an argument.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum ArgumentKind {
    /// Any bytes.
    #[default]
    String,
    /// A whole number.
    Integer,
    /// A number.
    Double,
    /// A key.
    Key,
    /// A glob pattern.
    Pattern,
    /// A point in time.
    UnixTime,
    /// The token itself.
    PureToken,
    /// One of its parts.
    OneOf,
    /// All of its parts in order.
    Block,
}

const KINDS: [(ArgumentKind, &str); 9] = [
    (ArgumentKind::String, "string"),
    (ArgumentKind::Integer, "integer"),
    (ArgumentKind::Double, "double"),
    (ArgumentKind::Key, "key"),
    (ArgumentKind::Pattern, "pattern"),
    (ArgumentKind::UnixTime, "unix-time"),
    (ArgumentKind::PureToken, "pure-token"),
    (ArgumentKind::OneOf, "oneof"),
    (ArgumentKind::Block, "block"),
];

impl ArgumentKind {
    /// As COMMAND DOCS prints it.
    pub fn name(self) -> &'static str {
        KINDS
            .iter()
            .find(|(kind, _)| *kind == self)
            .map_or("string", |(_, name)| name)
    }

    /// Whether it consists of parts, and therefore has nothing of its own to show.
    pub fn has_parts(self) -> bool {
        matches!(self, Self::OneOf | Self::Block)
    }
}

/// An argument as the table holds it.
#[derive(Deserialize)]
#[serde(untagged)]
pub(super) enum ArgumentRecord {
    Plain(String),
    WithParts(Vec<ArgumentRecord>),
}

impl ArgumentRecord {
    pub(super) fn parse(self) -> Result<Argument, RecordError> {
        let argument = match self {
            Self::Plain(text) => parse_words(&text)?,
            Self::WithParts(records) => {
                let mut records = records.into_iter();
                let Some(Self::Plain(text)) = records.next() else {
                    return Err(RecordError::Argument(
                        "a list without its own string".into(),
                    ));
                };
                let parts = records.map(Self::parse).collect::<Result<Vec<_>, _>>()?;
                Argument {
                    parts,
                    ..parse_words(&text)?
                }
            }
        };
        if argument.kind.has_parts() == argument.parts.is_empty() {
            return Err(RecordError::Argument(argument.name));
        }
        Ok(argument)
    }
}

fn parse_words(text: &str) -> Result<Argument, RecordError> {
    let bad = || RecordError::Argument(text.to_owned());
    let mut words = text.split(' ');
    let name = words
        .next()
        .filter(|name| !name.is_empty())
        .ok_or_else(bad)?;
    let kind = words.next().ok_or_else(bad)?;
    let (kind, _) = KINDS
        .iter()
        .find(|(_, known)| *known == kind)
        .ok_or_else(bad)?;
    let mut argument = Argument {
        name: name.to_owned(),
        kind: *kind,
        ..Argument::default()
    };
    for word in words {
        let value = |prefix: &str| word.strip_prefix(prefix).map(str::to_owned);
        if word == "?" {
            argument.optional = true;
        } else if word == "*" || word == "**" {
            argument.multiple = true;
            argument.multiple_token = word == "**";
        } else if let Some(spec) = value("@") {
            argument.key_spec = Some(spec.parse().map_err(|_| bad())?);
        } else if let Some(token) = value("token=") {
            argument.token = Some(token);
        } else if let Some(version) = value("since=") {
            argument.since = Some(version);
        } else if let Some(version) = value("until=") {
            argument.deprecated_since = Some(version);
        } else if let Some(display) = value("show=") {
            argument.display = Some(display);
        } else {
            return Err(bad());
        }
    }
    Ok(argument)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_mark_of_an_argument_is_read() {
        let text = "keys key token=KEYS ? ** @1 since=3.0.6 until=6.0.0 show=key";
        let argument = ArgumentRecord::Plain(text.into()).parse().unwrap();
        assert_eq!(argument.kind.name(), "key");
        assert_eq!(argument.token.as_deref(), Some("KEYS"));
        assert_eq!(argument.key_spec, Some(1));
        assert_eq!(argument.since.as_deref(), Some("3.0.6"));
        assert_eq!(argument.deprecated_since.as_deref(), Some("6.0.0"));
        assert_eq!(argument.display.as_deref(), Some("key"));
        assert!(argument.optional && argument.multiple && argument.multiple_token);
    }

    #[test]
    fn a_mistyped_argument_is_refused() {
        for text in [
            "",
            "name",
            "name sort",
            "name string optional",
            "name oneof",
            "k key @x",
        ] {
            assert!(
                ArgumentRecord::Plain(text.into()).parse().is_err(),
                "{text}"
            );
        }
    }
}

//! COMMAND: what the command table says, in the shapes clients parse.
//!
//! Everything here is a function of the table and the arguments; nothing touches the data set.
//! Only commands that clients can call are told about, under their original names, as Redis does
//! after `rename-command`. Where Redis's order follows its hash table, ours follows the command
//! table, so the same request always gets the same bytes.

use crate::base::glob;
use crate::command::spec::docs::{Argument, CommandDocs};
use crate::command::spec::keys::{BeginSearch, FindKeys, KeySpec};
use crate::command::spec::{
    AclCategories, Command, CommandFlags, CommandSpec, CommandTable, KeyFlags, UnknownKeys,
};
use crate::resp::errors;
use crate::resp::reply::Reply;

/// COMMAND: every top-level command with its subcommands.
pub fn all<H>(table: &CommandTable<H>, reply: &mut Reply) {
    reply.array(table.top_level().count());
    for command in table.top_level() {
        write_info(table, command, reply);
    }
}

/// COMMAND COUNT.
pub fn count<H>(table: &CommandTable<H>, reply: &mut Reply) {
    reply.len_int(table.top_level().count());
}

/// COMMAND INFO [name ...]: one element for each name, null for what does not exist.
pub fn info<H>(table: &CommandTable<H>, names: &[&[u8]], reply: &mut Reply) {
    if names.is_empty() {
        return all(table, reply);
    }
    reply.array(names.len());
    for name in names {
        match table.lookup_name(name) {
            Some(command) => write_info(table, command, reply),
            None => reply.null(),
        }
    }
}

/// COMMAND DOCS [name ...]: a map by full name; what does not exist is left out.
pub fn docs<H>(table: &CommandTable<H>, names: &[&[u8]], reply: &mut Reply) {
    let commands: Vec<_> = if names.is_empty() {
        table.top_level().collect()
    } else {
        names
            .iter()
            .filter_map(|name| table.lookup_name(name))
            .collect()
    };
    reply.map(commands.len());
    for command in commands {
        write_docs(table, command, reply);
    }
}

/// COMMAND LIST [FILTERBY MODULE name | ACLCAT category | PATTERN pattern]: full names, those of
/// subcommands included.
pub fn list<H>(table: &CommandTable<H>, options: &[&[u8]], reply: &mut Reply) {
    let filter = match *options {
        [] => Filter::Everything,
        [word, kind, value] if word.eq_ignore_ascii_case(b"filterby") => {
            match kind.to_ascii_lowercase().as_slice() {
                // No command comes from a module.
                b"module" => Filter::Nothing,
                b"aclcat" => {
                    AclCategories::from_name(value).map_or(Filter::Nothing, Filter::Category)
                }
                b"pattern" => Filter::Pattern(value),
                _ => return reply.error(errors::SYNTAX),
            }
        }
        _ => return reply.error(errors::SYNTAX),
    };
    let names: Vec<&str> = table
        .top_level()
        .flat_map(|command| std::iter::once(command).chain(table.subcommands(command)))
        .filter(|command| filter.takes(command.spec))
        .map(|command| command.spec.full_name.as_str())
        .collect();
    reply.array(names.len());
    for name in names {
        text(reply, name);
    }
}

enum Filter<'a> {
    Everything,
    Nothing,
    Category(AclCategories),
    Pattern(&'a [u8]),
}

impl Filter<'_> {
    fn takes(&self, spec: &CommandSpec) -> bool {
        match self {
            Self::Everything => true,
            Self::Nothing => false,
            Self::Category(category) => spec.acl_categories.contains(*category),
            Self::Pattern(pattern) => glob::matches(pattern, spec.full_name.as_bytes(), true),
        }
    }
}

/// COMMAND GETKEYS and, with `flags`, COMMAND GETKEYSANDFLAGS of the command line `line`.
pub fn get_keys<H>(table: &CommandTable<H>, line: &[&[u8]], flags: bool, reply: &mut Reply) {
    let Some(command) = table.lookup(line) else {
        return reply.error("ERR Invalid command specified");
    };
    let spec = command.spec;
    if !spec.keys.has_keys() {
        return reply.error("ERR The command has no key arguments");
    }
    if !spec.arity_ok(line.len()) {
        return reply.error("ERR Invalid number of arguments specified for command");
    }
    let keys = match spec.keys.keys(line) {
        Ok(keys) if !keys.is_empty() => keys,
        _ if spec.flags.contains(CommandFlags::NO_MANDATORY_KEYS) => return reply.array(0),
        _ => return reply.error(format!("ERR {UnknownKeys}")),
    };
    reply.array(keys.len());
    for key in keys {
        let name = line.get(key.position).copied().unwrap_or_default();
        if flags {
            reply.array(2);
            reply.bulk(name);
            write_key_flags(key.flags, reply);
        } else {
            reply.bulk(name);
        }
    }
}

/// COMMAND HELP's lines, without the heading and the last two that every HELP has.
pub const HELP: &[&str] = &[
    "(no subcommand)",
    "    Describe all commands.",
    "COUNT",
    "    Count the commands.",
    "LIST [FILTERBY MODULE <name>|ACLCAT <category>|PATTERN <pattern>]",
    "    List the names of commands.",
    "INFO [<command-name> ...]",
    "    Describe the given commands, or all.",
    "DOCS [<command-name> ...]",
    "    Return the documentation of the given commands, or of all.",
    "GETKEYS <full-command>",
    "    Find the keys in a command line.",
    "GETKEYSANDFLAGS <full-command>",
    "    Find the keys in a command line and how they are used.",
];

fn text(reply: &mut Reply, text: &str) {
    reply.bulk(text.as_bytes());
}

fn number(reply: &mut Reply, n: usize) {
    reply.len_int(n);
}

fn write_info<H>(table: &CommandTable<H>, command: &Command<H>, reply: &mut Reply) {
    let spec = command.spec;
    reply.array(10);
    text(reply, &spec.full_name);
    reply.int(i64::from(spec.arity));
    let flags = spec.flags.without(CommandFlags::HIDDEN);
    reply.set(flags.len());
    flags.names().for_each(|name| reply.simple(name));
    let range = spec.keys.legacy;
    for n in [range.first, range.last, range.step] {
        reply.int(i64::from(n));
    }
    reply.set(spec.acl_categories.len());
    for name in spec.acl_categories.names() {
        reply.simple(&format!("@{name}"));
    }
    reply.set(spec.tips.len());
    spec.tips.iter().for_each(|tip| text(reply, tip));
    reply.set(spec.keys.specs.len());
    spec.keys
        .specs
        .iter()
        .for_each(|spec| write_key_spec(spec, reply));
    if command.is_container() {
        reply.array(table.subcommands(command).count());
        for subcommand in table.subcommands(command) {
            write_info(table, subcommand, reply);
        }
    } else {
        reply.set(0);
    }
}

fn write_key_flags(flags: KeyFlags, reply: &mut Reply) {
    reply.set(flags.len());
    flags.names().for_each(|name| reply.simple(name));
}

fn write_key_spec(spec: &KeySpec, reply: &mut Reply) {
    reply.map(3 + usize::from(spec.notes.is_some()));
    if let Some(notes) = &spec.notes {
        text(reply, "notes");
        text(reply, notes);
    }
    text(reply, "flags");
    write_key_flags(spec.flags, reply);

    let step = |kind: &str, fields: usize, reply: &mut Reply| {
        reply.map(2);
        text(reply, "type");
        text(reply, kind);
        text(reply, "spec");
        reply.map(fields);
    };
    text(reply, "begin_search");
    match &spec.begin {
        BeginSearch::Unknown => step("unknown", 0, reply),
        BeginSearch::Index(at) => {
            step("index", 1, reply);
            text(reply, "index");
            number(reply, *at);
        }
        BeginSearch::Keyword { word, start_from } => {
            step("keyword", 2, reply);
            text(reply, "keyword");
            text(reply, word);
            text(reply, "startfrom");
            reply.int(i64::from(*start_from));
        }
    }
    text(reply, "find_keys");
    match spec.find {
        FindKeys::Unknown => step("unknown", 0, reply),
        FindKeys::Range {
            last,
            step: keystep,
            limit,
        } => {
            step("range", 3, reply);
            text(reply, "lastkey");
            reply.int(i64::from(last));
            text(reply, "keystep");
            number(reply, keystep);
            text(reply, "limit");
            number(reply, limit);
        }
        FindKeys::KeyNum {
            count_at,
            first,
            step: keystep,
        } => {
            step("keynum", 3, reply);
            for (name, n) in [
                ("keynumidx", count_at),
                ("firstkey", first),
                ("keystep", keystep),
            ] {
                text(reply, name);
                number(reply, n);
            }
        }
    }
}

/// The fields of a map that are there, name and value.
fn present<'a, const N: usize>(
    fields: [(&'static str, Option<&'a String>); N],
) -> impl Iterator<Item = (&'static str, &'a str)> + Clone {
    fields
        .into_iter()
        .filter_map(|(name, value)| Some((name, value?.as_str())))
}

fn write_docs<H>(table: &CommandTable<H>, command: &Command<H>, reply: &mut Reply) {
    let docs: &CommandDocs = &command.spec.docs;
    let heads = present([
        ("summary", Some(&docs.summary)),
        ("since", Some(&docs.since)),
        ("group", Some(&docs.group)),
        ("complexity", docs.complexity.as_ref()),
    ]);
    let deprecation = present([
        ("deprecated_since", docs.deprecated_since.as_ref()),
        ("replaced_by", docs.replaced_by.as_ref()),
    ]);
    let flags: Vec<&str> = [
        docs.deprecated_since.is_some().then_some("deprecated"),
        docs.syscmd.then_some("syscmd"),
    ]
    .into_iter()
    .flatten()
    .collect();

    text(reply, &command.spec.full_name);
    let optional = [
        !flags.is_empty(),
        !docs.history.is_empty(),
        !docs.arguments.is_empty(),
        command.is_container(),
    ];
    let optional = optional.into_iter().filter(|&there| there).count();
    reply.map(heads.clone().count() + deprecation.clone().count() + optional);
    for (name, value) in heads {
        text(reply, name);
        text(reply, value);
    }
    if !flags.is_empty() {
        text(reply, "doc_flags");
        reply.set(flags.len());
        flags.iter().for_each(|flag| reply.simple(flag));
    }
    for (name, value) in deprecation {
        text(reply, name);
        text(reply, value);
    }
    if !docs.history.is_empty() {
        text(reply, "history");
        reply.set(docs.history.len());
        for (version, change) in &docs.history {
            reply.array(2);
            text(reply, version);
            text(reply, change);
        }
    }
    if !docs.arguments.is_empty() {
        text(reply, "arguments");
        write_arguments(&docs.arguments, reply);
    }
    if command.is_container() {
        text(reply, "subcommands");
        reply.map(table.subcommands(command).count());
        for subcommand in table.subcommands(command) {
            write_docs(table, subcommand, reply);
        }
    }
}

fn write_arguments(arguments: &[Argument], reply: &mut Reply) {
    reply.array(arguments.len());
    for argument in arguments {
        write_argument(argument, reply);
    }
}

fn write_argument(argument: &Argument, reply: &mut Reply) {
    let has_parts = argument.kind.has_parts();
    let display = argument.display.as_ref().unwrap_or(&argument.name);
    let tail = present([
        ("token", argument.token.as_ref()),
        ("since", argument.since.as_ref()),
        ("deprecated_since", argument.deprecated_since.as_ref()),
    ]);
    let flags: Vec<&str> = [
        argument.optional.then_some("optional"),
        argument.multiple.then_some("multiple"),
        argument.multiple_token.then_some("multiple_token"),
    ]
    .into_iter()
    .flatten()
    .collect();

    // Name, type, and either the parts or what to display.
    let there = usize::from(argument.key_spec.is_some()) + usize::from(!flags.is_empty());
    reply.map(3 + there + tail.clone().count());
    text(reply, "name");
    text(reply, &argument.name);
    text(reply, "type");
    text(reply, argument.kind.name());
    if !has_parts {
        text(reply, "display_text");
        text(reply, display);
    }
    if let Some(spec) = argument.key_spec {
        text(reply, "key_spec_index");
        reply.int(spec);
    }
    for (name, value) in tail {
        text(reply, name);
        text(reply, value);
    }
    if !flags.is_empty() {
        text(reply, "flags");
        reply.set(flags.len());
        flags.iter().for_each(|flag| reply.simple(flag));
    }
    if has_parts {
        text(reply, "arguments");
        write_arguments(&argument.parts, reply);
    }
}

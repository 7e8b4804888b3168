//! COMMAND: what the command table says, in the shapes clients parse.
//!
//! Everything here is a function of the table and the arguments; nothing touches the data set.
//! Only commands that clients can call are told about, under their original names, as Redis does
//! after `rename-command`. Where Redis's order follows its hash table, ours follows the command
//! table, so the same request always gets the same bytes.

use crate::base::glob;
use crate::command::ctx::{CommandError, Ctx, Outcome};
use crate::command::spec::docs::{Argument, CommandDocs};
use crate::command::spec::keys::{BeginSearch, FindKeys, KeySpec};
use crate::command::spec::{
    AclCategories, Command, CommandFlags, CommandSpec, CommandTable, KeyFlags, KeyPositions,
};
use crate::oplog::effect::Effect;
use crate::resp::reply::Reply;

use super::{Family, Locks, help};

/// This family's commands.
pub const HANDLERS: Family = &[
    ("command", command_handler, Locks::Nothing),
    ("command|count", count_handler, Locks::Nothing),
    ("command|docs", docs_handler, Locks::Nothing),
    ("command|getkeys", get_keys_handler, Locks::Nothing),
    (
        "command|getkeysandflags",
        get_keys_and_flags_handler,
        Locks::Nothing,
    ),
    ("command|help", help_handler, Locks::Nothing),
    ("command|info", info_handler, Locks::Nothing),
    ("command|list", list_handler, Locks::Nothing),
];

/// What follows the subcommand's name.
fn rest<'a, 'b>(args: &'a [&'b [u8]]) -> &'a [&'b [u8]] {
    args.get(2..).unwrap_or_default()
}

fn command_handler(ctx: &mut Ctx<'_>, _args: &[&[u8]], reply: &mut Reply) -> Outcome {
    all(&ctx.engine.table, reply);
    Ok(Effect::None)
}

fn count_handler(ctx: &mut Ctx<'_>, _args: &[&[u8]], reply: &mut Reply) -> Outcome {
    count(&ctx.engine.table, reply);
    Ok(Effect::None)
}

fn info_handler(ctx: &mut Ctx<'_>, args: &[&[u8]], reply: &mut Reply) -> Outcome {
    info(&ctx.engine.table, rest(args), reply);
    Ok(Effect::None)
}

fn docs_handler(ctx: &mut Ctx<'_>, args: &[&[u8]], reply: &mut Reply) -> Outcome {
    docs(&ctx.engine.table, rest(args), reply);
    Ok(Effect::None)
}

fn list_handler(ctx: &mut Ctx<'_>, args: &[&[u8]], reply: &mut Reply) -> Outcome {
    list(&ctx.engine.table, rest(args), reply)?;
    Ok(Effect::None)
}

fn get_keys_handler(ctx: &mut Ctx<'_>, args: &[&[u8]], reply: &mut Reply) -> Outcome {
    get_keys(&ctx.engine.table, rest(args), false, reply)?;
    Ok(Effect::None)
}

fn get_keys_and_flags_handler(ctx: &mut Ctx<'_>, args: &[&[u8]], reply: &mut Reply) -> Outcome {
    get_keys(&ctx.engine.table, rest(args), true, reply)?;
    Ok(Effect::None)
}

fn help_handler(_ctx: &mut Ctx<'_>, args: &[&[u8]], reply: &mut Reply) -> Outcome {
    help(args, HELP, reply);
    Ok(Effect::None)
}

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
pub fn list<H>(
    table: &CommandTable<H>,
    options: &[&[u8]],
    reply: &mut Reply,
) -> Result<(), CommandError> {
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
                _ => return Err(CommandError::SYNTAX),
            }
        }
        _ => return Err(CommandError::SYNTAX),
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
    Ok(())
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
pub fn get_keys<H>(
    table: &CommandTable<H>,
    line: &[&[u8]],
    flags: bool,
    reply: &mut Reply,
) -> Result<(), CommandError> {
    let refuse = |text: &'static str| Err(CommandError::new(text));
    let Some(command) = table.lookup(line) else {
        return refuse("ERR Invalid command specified");
    };
    let spec = command.spec;
    if !spec.keys.has_keys() {
        return refuse("ERR The command has no key arguments");
    }
    if !spec.arity_ok(line.len()) {
        return refuse("ERR Invalid number of arguments specified for command");
    }
    let keys = match spec.keys.keys(line) {
        Ok(keys) if !keys.is_empty() => keys,
        _ if spec.flags.contains(CommandFlags::NO_MANDATORY_KEYS) => KeyPositions::new(),
        _ => return refuse("ERR Invalid arguments specified for command"),
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
    Ok(())
}

const HELP: &[&str] = &[
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resp::reply::Proto;

    fn table() -> CommandTable<()> {
        let names = [
            "get",
            "eval",
            "command",
            "command|docs",
            "xinfo|help",
            "publish",
        ];
        let renames = [("publish", "")];
        CommandTable::build(&names.map(|name| (name, ())), &renames).unwrap()
    }

    fn shown(proto: Proto, write: impl Fn(&CommandTable<()>, &mut Reply)) -> String {
        let mut reply = Reply::new(proto);
        write(&table(), &mut reply);
        String::from_utf8(reply.plain().to_vec())
            .unwrap()
            .replace("\r\n", " ")
    }

    #[test]
    fn info_has_the_shapes_of_either_protocol() {
        let names: [&[u8]; 2] = [b"GET", b"nope"];
        let resp2 = shown(Proto::Resp2, |table, reply| info(table, &names, reply));
        assert_eq!(
            resp2,
            "*2 *10 $3 get :2 *2 +readonly +fast :1 :1 :1 *3 +@read +@string +@fast *0 \
             *1 *6 $5 flags *2 +RO +access $12 begin_search *4 $4 type $5 index $4 spec *2 \
             $5 index :1 $9 find_keys *4 $4 type $5 range $4 spec *6 $7 lastkey :0 \
             $7 keystep :1 $5 limit :0 *0 $-1 "
        );
        let resp3 = shown(Proto::Resp3, |table, reply| info(table, &names, reply));
        assert!(resp3.contains(":2 ~2 +readonly"), "{resp3}");
        assert!(resp3.contains("~1 %3 $5 flags ~2 +RO"), "{resp3}");
        assert!(resp3.ends_with(":0 ~0 _ "), "{resp3}");
    }

    #[test]
    fn subcommands_are_nested_and_a_removed_command_is_not_told() {
        let text = shown(Proto::Resp2, |table, reply| {
            count(table, reply);
            all(table, reply);
        });
        assert!(text.starts_with(":4 *4 *10 "), "{text}");
        assert!(text.contains(" *0 *1 *10 $12 command|docs :-2 "), "{text}");
        assert!(!text.contains("publish"));
    }

    #[test]
    fn docs_leave_out_what_does_not_exist() {
        let names: [&[u8]; 2] = [b"nope", b"xinfo|help"];
        let text = shown(Proto::Resp3, |table, reply| docs(table, &names, reply));
        assert!(
            text.starts_with("%1 $10 xinfo|help %4 $7 summary "),
            "{text}"
        );
        let get: [&[u8]; 1] = [b"get"];
        let text = shown(Proto::Resp3, |table, reply| docs(table, &get, reply));
        let argument = "*1 %4 $4 name $3 key $4 type $3 key $12 display_text $3 key \
                        $14 key_spec_index :0 ";
        assert!(text.ends_with(argument), "{text}");
    }

    #[test]
    fn list_takes_one_filter() {
        let listed = |options: &[&[u8]]| {
            shown(Proto::Resp2, |table, reply| {
                list(table, options, reply).unwrap()
            })
        };
        assert_eq!(listed(&[b"FilterBy", b"AclCat", b"READ"]), "*1 $3 get ");
        assert_eq!(
            listed(&[b"filterby", b"pattern", b"*|d*"]),
            "*1 $12 command|docs "
        );
        assert_eq!(listed(&[b"filterby", b"module", b"x"]), "*0 ");
        assert_eq!(listed(&[b"filterby", b"aclcat", b"x"]), "*0 ");
        assert!(listed(&[]).starts_with("*6 $3 get "));
        let mut reply = Reply::new(Proto::Resp2);
        let options: [&[&[u8]]; 3] = [
            &[b"filterby"],
            &[b"filterby", b"x", b"y"],
            &[b"x", b"pattern", b"y"],
        ];
        for options in options {
            assert_eq!(
                list(&table(), options, &mut reply),
                Err(CommandError::SYNTAX)
            );
        }
        assert!(reply.is_empty());
    }

    #[test]
    fn get_keys_tells_keys_or_why_not() {
        let keys = |line: &str, flags| {
            let line: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
            let mut reply = Reply::new(Proto::Resp3);
            match get_keys(&table(), &line, flags, &mut reply) {
                Ok(()) => String::from_utf8(reply.plain().to_vec())
                    .unwrap()
                    .replace("\r\n", " "),
                Err(error) => error.to_string(),
            }
        };
        assert_eq!(keys("get k", false), "*1 $1 k ");
        assert_eq!(keys("get k", true), "*1 *2 $1 k ~2 +RO +access ");
        assert_eq!(keys("eval s 0", false), "*0 ");
        assert_eq!(keys("eval s 2 k", false), "*0 ");
        assert_eq!(keys("nope k", false), "ERR Invalid command specified");
        assert_eq!(
            keys("command", false),
            "ERR The command has no key arguments"
        );
        assert_eq!(
            keys("get k l", false),
            "ERR Invalid number of arguments specified for command"
        );
    }
}

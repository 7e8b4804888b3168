//! The handlers, one file a family, and the list of all of them.
//!
//! To add a command: its record in `commands.toml`, its handler in its family's file, and a line
//! in that family's `HANDLERS`.

pub mod bitmap;
pub mod client;
pub mod command;
pub mod config;
pub mod connection;
pub mod debug;
pub mod expire;
pub mod geo;
pub mod hash;
pub mod hyperloglog;
pub mod info;
pub mod keys;
pub mod latency;
pub mod list;
pub mod persistence;
pub mod replication;
pub mod scan;
pub mod set;
pub mod slowlog;
pub mod sort;
pub mod stream;
pub mod string;
pub mod zset;

use crate::keyspace::unit::NotifyClass;
use crate::keyspace::value::packed::Elem;
use crate::oplog::effect::Effect;
use crate::resp::reply::Reply;

use super::ctx::{CommandError, Ctx, Handler, Outcome};
use super::multi;

/// What a command's unit locks before it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Locks {
    /// Nothing: it touches no key.
    Nothing,
    /// The shards of its keys.
    Keys,
    /// Every shard: it works on whole databases.
    All,
    /// Nothing beforehand; the handler locks what it needs, so it is a unit of its own. Inside
    /// EXEC every shard is locked already.
    Own,
}

impl Locks {
    /// What must be locked for a command that runs inside a larger unit, where it can lock nothing
    /// for itself.
    pub fn inside_unit(self) -> Locks {
        match self {
            Locks::Own => Locks::All,
            other => other,
        }
    }
}

/// How a command runs.
#[derive(Clone, Copy, Debug)]
pub struct Action {
    /// The handler.
    pub run: Handler,
    /// What is locked.
    pub locks: Locks,
}

/// A family's commands by full name.
pub type Family = &'static [(&'static str, Handler, Locks)];

const TRANSACTIONS: Family = &[
    ("multi", multi::multi, Locks::Nothing),
    ("exec", multi::exec, Locks::Own),
    ("discard", multi::discard, Locks::Own),
    ("watch", multi::watch, Locks::Keys),
    ("unwatch", multi::unwatch, Locks::Own),
];

/// Every family, a line each.
const FAMILIES: &[Family] = &[
    TRANSACTIONS,
    bitmap::HANDLERS,
    client::HANDLERS,
    command::HANDLERS,
    config::HANDLERS,
    connection::HANDLERS,
    debug::HANDLERS,
    geo::HANDLERS,
    hash::HANDLERS,
    hyperloglog::HANDLERS,
    info::HANDLERS,
    latency::HANDLERS,
    list::HANDLERS,
    expire::HANDLERS,
    keys::HANDLERS,
    persistence::HANDLERS,
    scan::HANDLERS,
    slowlog::HANDLERS,
    stream::HANDLERS,
    sort::HANDLERS,
    replication::HANDLERS,
    set::HANDLERS,
    string::HANDLERS,
    zset::HANDLERS,
];

/// Every command that exists.
pub fn handlers() -> Vec<(&'static str, Action)> {
    FAMILIES
        .iter()
        .copied()
        .flatten()
        .map(|&(name, run, locks)| (name, Action { run, locks }))
        .collect()
}

/// The reply of a container's HELP: `lines`, between the heading and the entry of HELP itself.
pub fn help(args: &[&[u8]], lines: &[&str], reply: &mut Reply) {
    // The name the client used, whatever rename-command made of it.
    let name = args
        .first()
        .copied()
        .unwrap_or_default()
        .to_ascii_uppercase();
    let name = String::from_utf8_lossy(&name);
    reply.array(lines.len() + 3);
    reply.simple(&format!(
        "{name} <subcommand> [<arg> [value] [opt] ...]. Subcommands are:"
    ));
    lines.iter().for_each(|line| reply.simple(line));
    reply.simple("HELP");
    reply.simple("    Print this help.");
}

/// The argument at `at`; nothing where there is none, which arity rules out.
fn arg<'a>(args: &[&'a [u8]], at: usize) -> &'a [u8] {
    args.get(at).copied().unwrap_or_default()
}

/// What a container says to a subcommand whose arguments no form takes.
fn bad_subcommand(args: &[&[u8]]) -> CommandError {
    let container = String::from_utf8_lossy(arg(args, 0)).to_uppercase();
    let name = arg(args, 1);
    let name = String::from_utf8_lossy(name.get(..name.len().min(128)).unwrap_or_default());
    CommandError::new(format!(
        "ERR unknown subcommand or wrong number of arguments for '{name}'. Try {container} HELP."
    ))
}

/// Tells that elements left `key`, and whether nothing was left of it.
fn notify_removal(
    ctx: &mut Ctx<'_>,
    (class, event): (NotifyClass, &'static str),
    key: &[u8],
    emptied: bool,
) {
    ctx.notify(class, event, key);
    if emptied {
        ctx.notify(NotifyClass::GENERIC, "del", key);
    }
}

/// The end of a command that removed elements of `key`: `removed` says how many, and whether
/// nothing was left; nothing where there was no key.
fn removal(
    ctx: &mut Ctx<'_>,
    event: (NotifyClass, &'static str),
    key: &[u8],
    removed: Option<(usize, bool)>,
    reply: &mut Reply,
) -> Outcome {
    let (removed, emptied) = removed.unwrap_or((0, false));
    reply.len_int(removed);
    if removed == 0 {
        return Ok(Effect::None);
    }
    notify_removal(ctx, event, key, emptied);
    Ok(Effect::Verbatim)
}

/// Writes an element of a collection as a bulk string.
#[inline]
fn bulk(reply: &mut Reply, elem: Elem<'_>) {
    match elem {
        Elem::Bytes(bytes) => reply.bulk(bytes),
        Elem::Int(int) => reply.bulk_int(int),
    }
}

//! CLIENT: what connections are called, how they are treated, who they are, and ending them.
//!
//! - [`line`]: CLIENT LIST's line of a connection, and CLIENT LIST and INFO themselves.
//! - [`kill`]: CLIENT KILL.
//!
//! A command changes its own connection through the session, and mirrors what others may see in
//! the [`Client`](crate::client::Client).

pub mod kill;
pub mod line;

use crate::command::families::arg;
use std::sync::atomic::Ordering;

use super::connection::{check_name, is_graphic};
use super::{Family, Locks, bad_subcommand, help};
use crate::base::num;
use crate::client::ClientKind;
use crate::command::ctx::{CommandError, Ctx, Outcome};
use crate::command::engine::{Held, PauseReason};
use crate::command::session::ReplyMode;
use crate::oplog::effect::Effect;
use crate::resp::errors;
use crate::resp::reply::Reply;

/// CLIENT's subcommands.
pub const HANDLERS: Family = &[
    ("client|getname", getname, Locks::Nothing),
    ("client|help", help_handler, Locks::Nothing),
    ("client|id", id, Locks::Nothing),
    ("client|info", line::info, Locks::Nothing),
    ("client|kill", kill::kill, Locks::Nothing),
    ("client|list", line::list, Locks::Nothing),
    ("client|no-evict", no_evict, Locks::Nothing),
    ("client|no-touch", no_touch, Locks::Nothing),
    // The two that open and shut a gate end their batch: what follows finds the gate changed.
    ("client|pause", pause, Locks::Own),
    ("client|unpause", unpause, Locks::Own),
    ("client|reply", reply_mode, Locks::Nothing),
    ("client|setinfo", setinfo, Locks::Nothing),
    ("client|setname", setname, Locks::Nothing),
    ("client|unblock", unblock, Locks::Nothing),
];

/// The kind of client that a word names.
fn kind(word: &[u8]) -> Result<ClientKind, CommandError> {
    match word.to_ascii_lowercase().as_slice() {
        b"normal" => Ok(ClientKind::Normal),
        b"slave" | b"replica" => Ok(ClientKind::Replica),
        b"pubsub" => Ok(ClientKind::Pubsub),
        b"master" => Ok(ClientKind::Primary),
        _ => Err(CommandError::new(format!(
            "ERR Unknown client type '{}'",
            String::from_utf8_lossy(word)
        ))),
    }
}

/// `CLIENT ID`
pub fn id(ctx: &mut Ctx<'_>, _: &[&[u8]], reply: &mut Reply) -> Outcome {
    reply.int(i64::try_from(ctx.session.client.id).unwrap_or(i64::MAX));
    Ok(Effect::None)
}

/// `CLIENT GETNAME`
pub fn getname(ctx: &mut Ctx<'_>, _: &[&[u8]], reply: &mut Reply) -> Outcome {
    let names = ctx.session.client.names.lock();
    reply.bulk_opt((!names.name.is_empty()).then_some(&names.name));
    Ok(Effect::None)
}

/// `CLIENT SETNAME name`
pub fn setname(ctx: &mut Ctx<'_>, args: &[&[u8]], reply: &mut Reply) -> Outcome {
    let name = arg(args, 2);
    check_name(name)?;
    ctx.session.client.names.lock().name = name.to_vec();
    reply.ok();
    Ok(Effect::None)
}

/// `CLIENT SETINFO LIB-NAME name | LIB-VER version`
pub fn setinfo(ctx: &mut Ctx<'_>, args: &[&[u8]], reply: &mut Reply) -> Outcome {
    let (attribute, value) = (arg(args, 2), arg(args, 3));
    let shown = String::from_utf8_lossy(attribute);
    let mut names = ctx.session.client.names.lock();
    let names = &mut *names;
    let field = match attribute.to_ascii_lowercase().as_slice() {
        b"lib-name" => &mut names.lib_name,
        b"lib-ver" => &mut names.lib_ver,
        _ => {
            return Err(CommandError::new(format!(
                "ERR Unrecognized option '{shown}'"
            )));
        }
    };
    if !is_graphic(value) {
        return Err(CommandError::new(format!(
            "ERR {shown} cannot contain spaces, newlines or special characters."
        )));
    }
    *field = value.to_vec();
    reply.ok();
    Ok(Effect::None)
}

/// `ON` or `OFF`.
fn on_or_off(word: &[u8]) -> Result<bool, CommandError> {
    if word.eq_ignore_ascii_case(b"on") {
        Ok(true)
    } else if word.eq_ignore_ascii_case(b"off") {
        Ok(false)
    } else {
        Err(CommandError::SYNTAX)
    }
}

/// `CLIENT NO-EVICT ON | OFF`
pub fn no_evict(ctx: &mut Ctx<'_>, args: &[&[u8]], reply: &mut Reply) -> Outcome {
    let on = on_or_off(arg(args, 2))?;
    ctx.session.client.no_evict.store(on, Ordering::Relaxed);
    reply.ok();
    Ok(Effect::None)
}

/// `CLIENT NO-TOUCH ON | OFF`
pub fn no_touch(ctx: &mut Ctx<'_>, args: &[&[u8]], reply: &mut Reply) -> Outcome {
    let on = on_or_off(arg(args, 2))?;
    ctx.session.no_touch = on;
    ctx.session.client.no_touch.store(on, Ordering::Relaxed);
    ctx.unit.options.no_touch = on;
    reply.ok();
    Ok(Effect::None)
}

/// `CLIENT PAUSE timeout [WRITE | ALL]`
pub fn pause(ctx: &mut Ctx<'_>, args: &[&[u8]], reply: &mut Reply) -> Outcome {
    if args.len() > 4 {
        return Err(bad_subcommand(args));
    }
    let held = match args.get(3) {
        None => Held::All,
        Some(mode) if mode.eq_ignore_ascii_case(b"all") => Held::All,
        Some(mode) if mode.eq_ignore_ascii_case(b"write") => Held::Writes,
        Some(_) => {
            return Err(CommandError::new(
                "ERR CLIENT PAUSE mode must be WRITE or ALL",
            ));
        }
    };
    let timeout_ms =
        num::parse_i64(arg(args, 2)).ok_or(CommandError::new(errors::TIMEOUT_NOT_INTEGER))?;
    if timeout_ms < 0 {
        return Err(CommandError::new(errors::TIMEOUT_NEGATIVE));
    }
    let until = ctx
        .now_ms()
        .checked_add(timeout_ms)
        .ok_or(CommandError::new("ERR timeout is out of range"))?;
    let now_ms = ctx.now_ms();
    ctx.engine
        .hold_clients(PauseReason::Client, now_ms, until, held);
    reply.ok();
    Ok(Effect::None)
}

/// `CLIENT UNPAUSE`
pub fn unpause(ctx: &mut Ctx<'_>, _: &[&[u8]], reply: &mut Reply) -> Outcome {
    let now_ms = ctx.now_ms();
    ctx.engine.release_clients(PauseReason::Client, now_ms);
    reply.ok();
    Ok(Effect::None)
}

/// `CLIENT REPLY ON | OFF | SKIP`: only ON is replied to.
pub fn reply_mode(ctx: &mut Ctx<'_>, args: &[&[u8]], reply: &mut Reply) -> Outcome {
    let mode = &mut ctx.session.reply_mode;
    match arg(args, 2).to_ascii_lowercase().as_slice() {
        b"on" => {
            *mode = ReplyMode::On;
            reply.ok();
        }
        b"off" => *mode = ReplyMode::Off,
        b"skip" => {
            *mode = match mode {
                ReplyMode::Off => ReplyMode::Off,
                ReplyMode::On => ReplyMode::Skip,
                // This command is itself one that is not replied to.
                ReplyMode::Skip | ReplyMode::SkipNext => ReplyMode::SkipNext,
            };
        }
        _ => return Err(CommandError::SYNTAX),
    }
    Ok(Effect::None)
}

/// `CLIENT UNBLOCK client-id [TIMEOUT | ERROR]`: how many clients were unblocked.
pub fn unblock(ctx: &mut Ctx<'_>, args: &[&[u8]], reply: &mut Reply) -> Outcome {
    if args.len() > 4 {
        return Err(bad_subcommand(args));
    }
    let error = match args.get(3) {
        None => None,
        Some(reason) if reason.eq_ignore_ascii_case(b"timeout") => None,
        Some(reason) if reason.eq_ignore_ascii_case(b"error") => {
            Some("UNBLOCKED client unblocked via CLIENT UNBLOCK")
        }
        Some(_) => {
            return Err(CommandError::new(
                "ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR",
            ));
        }
    };
    let id = num::parse_i64(arg(args, 2)).ok_or(CommandError::NOT_INTEGER)?;
    let id = u64::try_from(id).unwrap_or(0);
    let engine = ctx.engine;
    let ended = engine.blocked.unblock(id, error, &engine.stats);
    reply.int(i64::from(ended));
    Ok(Effect::None)
}

fn help_handler(_: &mut Ctx<'_>, args: &[&[u8]], reply: &mut Reply) -> Outcome {
    help(args, HELP, reply);
    Ok(Effect::None)
}

const HELP: &[&str] = &[
    "GETNAME",
    "    Show the name of this connection.",
    "ID",
    "    Show the id of this connection.",
    "INFO",
    "    Describe this connection.",
    "KILL <ip:port>",
    "    Close the connection that comes from <ip:port>.",
    "KILL <option> <value> [<option> <value> [...]]",
    "    Close the connections that meet every condition:",
    "    * ADDR (<ip:port>|<unixsocket>:0), LADDR (<ip:port>|<unixsocket>:0)",
    "      by the address it comes from, or arrived at",
    "    * TYPE (NORMAL|MASTER|REPLICA|PUBSUB), USER <username>, ID <client-id>",
    "    * MAXAGE <seconds>",
    "      at least so old",
    "    * SKIPME (YES|NO)",
    "      spare this connection (default: yes)",
    "LIST [TYPE (NORMAL|MASTER|REPLICA|PUBSUB)] | [ID <client-id> ...]",
    "    Describe connections.",
    "NO-EVICT (ON|OFF)",
    "    Exempt this connection from eviction of clients.",
    "NO-TOUCH (ON|OFF)",
    "    Do not count this connection's commands as uses of keys.",
    "PAUSE <timeout> [WRITE|ALL]",
    "    Hold back writes, or everything, for <timeout> milliseconds.",
    "REPLY (ON|OFF|SKIP)",
    "    Reply to this connection, or do not, or not to the next command.",
    "SETINFO (LIB-NAME|LIB-VER) <value>",
    "    Name the client's library, or its version.",
    "SETNAME <name>",
    "    Name this connection.",
    "UNBLOCK <client-id> [TIMEOUT|ERROR]",
    "    End the wait of a blocked connection.",
    "UNPAUSE",
    "    Let held back commands go on.",
];

#[cfg(test)]
mod tests;

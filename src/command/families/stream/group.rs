//! XGROUP and XACK.

use super::{arg, edit_group, id_arg, ids_from, shown};
use crate::command::ctx::{CommandError, Ctx, Outcome, int_arg};
use crate::command::families::bad_subcommand;
use crate::keyspace::unit::{Missing, NotifyClass};
use crate::keyspace::value::stream::Stream;
use crate::keyspace::value::stream::group::Group;
use crate::keyspace::value::stream::id::StreamId;
use crate::oplog::effect::Effect;
use crate::resp::reply::Reply;

/// The options behind the id of CREATE and SETID.
#[derive(Default)]
struct Options {
    mkstream: bool,
    entries_read: Option<i64>,
}

fn options(args: &[&[u8]], creates: bool) -> Result<Options, CommandError> {
    let mut options = Options::default();
    let mut rest = args.get(5..).unwrap_or_default().iter();
    while let Some(word) = rest.next() {
        if creates && word.eq_ignore_ascii_case(b"mkstream") {
            options.mkstream = true;
        } else if word.eq_ignore_ascii_case(b"entriesread")
            && let Some(n) = rest.next()
        {
            options.entries_read = match int_arg(n)? {
                -1 => None,
                n @ 0.. => Some(n),
                _ => {
                    return Err(CommandError::new(
                        "ERR value for ENTRIESREAD must be positive or -1",
                    ));
                }
            };
        } else {
            return Err(bad_subcommand(args));
        }
    }
    Ok(options)
}

fn key_required() -> CommandError {
    CommandError::new(
        "ERR The XGROUP subcommand requires the key to exist. Note that for CREATE you may want \
         to use the MKSTREAM option to create an empty stream automatically.",
    )
}

pub(super) fn no_such_group(group: &[u8], key: &[u8]) -> CommandError {
    CommandError::new(format!(
        "NOGROUP No such consumer group '{}' for key name '{}'",
        shown(group),
        shown(key)
    ))
}

/// Checks that the key and the group are there.
fn require(ctx: &mut Ctx<'_>, key: &[u8], group: &[u8]) -> Result<StreamId, CommandError> {
    let stream = ctx.lookup::<Stream>(key)?.ok_or_else(key_required)?;
    match stream.group(group) {
        Some(_) => Ok(stream.last_id()),
        None => Err(no_such_group(group, key)),
    }
}

/// `XGROUP CREATE key group id|$ [MKSTREAM] [ENTRIESREAD entries-read]`
pub fn create(ctx: &mut Ctx<'_>, args: &[&[u8]], reply: &mut Reply) -> Outcome {
    let options = options(args, true)?;
    let (key, name) = (arg(args, 2), arg(args, 3));
    let last_id = match ctx.lookup::<Stream>(key)? {
        Some(stream) => stream.last_id(),
        None if options.mkstream => StreamId::MIN,
        None => return Err(key_required()),
    };
    if args.len() > 8 {
        return Err(bad_subcommand(args));
    }
    let id = match arg(args, 4) {
        b"$" => last_id,
        text => id_arg(text)?,
    };
    let made = ctx.update::<Stream, _>(key, Missing::Create, |stream| {
        let group = Group::new(id, options.entries_read);
        (stream.create_group(name, group), 0)
    })?;
    if !made.is_some_and(|(made, _)| made) {
        return Err(CommandError::new(
            "BUSYGROUP Consumer Group name already exists",
        ));
    }
    ctx.unit.counters.dirty += 1;
    reply.ok();
    ctx.notify(NotifyClass::STREAM, "xgroup-create", key);
    Ok(Effect::Verbatim)
}

/// `XGROUP SETID key group id|$ [ENTRIESREAD entries-read]`
pub fn setid(ctx: &mut Ctx<'_>, args: &[&[u8]], reply: &mut Reply) -> Outcome {
    let options = options(args, false)?;
    let (key, name) = (arg(args, 2), arg(args, 3));
    let last_id = require(ctx, key, name)?;
    if args.len() != 5 && args.len() != 7 {
        return Err(bad_subcommand(args));
    }
    let id = match arg(args, 4) {
        b"$" => last_id,
        b"-" => StreamId::MIN,
        b"+" => StreamId::MAX,
        text => id_arg(text)?,
    };
    edit_group(ctx, key, name, |group, _| {
        group.last_id = id;
        group.entries_read = options.entries_read;
        ((), 1)
    })?;
    reply.ok();
    ctx.notify(NotifyClass::STREAM, "xgroup-setid", key);
    Ok(Effect::Verbatim)
}

/// `XGROUP DESTROY key group`
pub fn destroy(ctx: &mut Ctx<'_>, args: &[&[u8]], reply: &mut Reply) -> Outcome {
    let (key, name) = (arg(args, 2), arg(args, 3));
    ctx.lookup::<Stream>(key)?.ok_or_else(key_required)?;
    let gone =
        ctx.update::<Stream, _>(key, Missing::Skip, |stream| (stream.destroy_group(name), 0))?;
    let gone = gone.is_some_and(|(gone, _)| gone);
    reply.int(i64::from(gone));
    if !gone {
        return Ok(Effect::None);
    }
    // Groups are none of the business of those who watch the key; those who wait for this one are
    // told that it has gone.
    ctx.unit.counters.dirty += 1;
    ctx.unit.make_ready(ctx.session.db, key);
    ctx.notify(NotifyClass::STREAM, "xgroup-destroy", key);
    Ok(Effect::Verbatim)
}

/// `XGROUP CREATECONSUMER key group consumer`
pub fn create_consumer(ctx: &mut Ctx<'_>, args: &[&[u8]], reply: &mut Reply) -> Outcome {
    let (key, name, consumer) = (arg(args, 2), arg(args, 3), arg(args, 4));
    require(ctx, key, name)?;
    let now_ms = ctx.now_ms();
    let made = edit_group(ctx, key, name, |group, _| {
        let made = group.create_consumer(consumer, now_ms).is_some();
        (made, u64::from(made))
    })?;
    let made = made.unwrap_or(false);
    reply.int(i64::from(made));
    super::notify_consumer(ctx, key, made);
    Ok(if made { Effect::Verbatim } else { Effect::None })
}

/// `XGROUP DELCONSUMER key group consumer`
pub fn delete_consumer(ctx: &mut Ctx<'_>, args: &[&[u8]], reply: &mut Reply) -> Outcome {
    let (key, name, consumer) = (arg(args, 2), arg(args, 3), arg(args, 4));
    require(ctx, key, name)?;
    let gone = edit_group(ctx, key, name, |group, _| {
        let gone = group.delete_consumer(consumer);
        (gone, u64::from(gone.is_some()))
    })?;
    let Some(pending) = gone.flatten() else {
        reply.int(0);
        return Ok(Effect::None);
    };
    reply.len_int(pending);
    ctx.notify(NotifyClass::STREAM, "xgroup-delconsumer", key);
    Ok(Effect::Verbatim)
}

/// `XACK key group id [id ...]`
pub fn xack(ctx: &mut Ctx<'_>, args: &[&[u8]], reply: &mut Reply) -> Outcome {
    let (key, name) = (arg(args, 1), arg(args, 2));
    let stream = ctx.read_as::<Stream>(key)?;
    if stream.and_then(|stream| stream.group(name)).is_none() {
        reply.int(0);
        return Ok(Effect::None);
    }
    let ids = ids_from(args, 3)?;
    let acknowledged = edit_group(ctx, key, name, |group, _| {
        let known = ids.iter().filter(|id| group.acknowledge(**id).is_some());
        let n = known.count();
        (n, n as u64)
    })?;
    let acknowledged = acknowledged.unwrap_or(0);
    reply.len_int(acknowledged);
    Ok(if acknowledged > 0 {
        Effect::Verbatim
    } else {
        Effect::None
    })
}

/// `XGROUP HELP`
pub fn help(_: &mut Ctx<'_>, args: &[&[u8]], reply: &mut Reply) -> Outcome {
    let lines = [
        "CREATE <key> <groupname> <id|$> [option]",
        "    Create a new consumer group. Options are:",
        "    * MKSTREAM",
        "      Create the empty stream if it does not exist.",
        "    * ENTRIESREAD entries_read",
        "      Set the group's entries_read counter (internal use).",
        "CREATECONSUMER <key> <groupname> <consumer>",
        "    Create a new consumer in the specified group.",
        "DELCONSUMER <key> <groupname> <consumer>",
        "    Remove the specified consumer.",
        "DESTROY <key> <groupname>",
        "    Remove the specified group.",
        "SETID <key> <groupname> <id|$> [ENTRIESREAD entries_read]",
        "    Set the current group ID and entries_read counter.",
    ];
    crate::command::families::help(args, &lines, reply);
    Ok(Effect::None)
}

//! Streams: entries, and the groups that read them.
//!
//! | module | holds |
//! |---|---|
//! | [`add`] | XADD and XTRIM |
//! | [`range`] | XRANGE, XREVRANGE, and how entries are written |
//! | [`read`] | XREAD |
//! | [`group_read`] | XREADGROUP |
//! | [`group`] | XGROUP, XACK |
//! | [`claim`] | XCLAIM, XAUTOCLAIM |
//! | [`pending`] | XPENDING |
//! | [`info`] | XINFO |
//!
//! What a group does to its own state (a delivery, an acknowledgement) counts as a change but is
//! none for WATCH, as in Redis. It reaches replicas as XCLAIM, XACK and XGROUP, whose outcome does
//! not depend on the time.

mod add;
mod claim;
mod group;
mod group_read;
mod info;
mod pending;
mod range;
mod read;
#[cfg(test)]
mod tests;

use crate::command::families::arg;
use smallvec::SmallVec;

use crate::command::ctx::{CommandError, Ctx, Outcome, int_arg};
use crate::keyspace::unit::{Missing, NotifyClass};
use crate::keyspace::value::stream::Stream;
use crate::keyspace::value::stream::group::{Group, Pending};
use crate::keyspace::value::stream::id::StreamId;
use crate::oplog::effect::{Effect, Encoded};
use crate::resp::reply::Reply;

use super::{Family, Locks};

/// The family.
pub const HANDLERS: Family = &[
    ("xadd", add::xadd, Locks::Keys),
    ("xtrim", add::xtrim, Locks::Keys),
    ("xdel", xdel, Locks::Keys),
    ("xlen", xlen, Locks::Keys),
    ("xsetid", xsetid, Locks::Keys),
    ("xrange", range::xrange, Locks::Keys),
    ("xrevrange", range::xrevrange, Locks::Keys),
    ("xread", read::xread, Locks::Keys),
    ("xreadgroup", group_read::xreadgroup, Locks::Keys),
    ("xack", group::xack, Locks::Keys),
    ("xgroup|create", group::create, Locks::Keys),
    ("xgroup|setid", group::setid, Locks::Keys),
    ("xgroup|destroy", group::destroy, Locks::Keys),
    ("xgroup|createconsumer", group::create_consumer, Locks::Keys),
    ("xgroup|delconsumer", group::delete_consumer, Locks::Keys),
    ("xgroup|help", group::help, Locks::Nothing),
    ("xclaim", claim::xclaim, Locks::Keys),
    ("xautoclaim", claim::xautoclaim, Locks::Keys),
    ("xpending", pending::xpending, Locks::Keys),
    ("xinfo|stream", info::stream, Locks::Keys),
    ("xinfo|groups", info::groups, Locks::Keys),
    ("xinfo|consumers", info::consumers, Locks::Keys),
    ("xinfo|help", info::help, Locks::Nothing),
];

const INVALID_ID: CommandError = CommandError(std::borrow::Cow::Borrowed(
    "ERR Invalid stream ID specified as stream command argument",
));

/// An id that is no `-` and no `+`; a missing second part is 0.
fn id_arg(text: &[u8]) -> Result<StreamId, CommandError> {
    StreamId::parse(text, 0).ok_or(INVALID_ID)
}

/// An end of a range: whether it is excluded, and its id.
fn bound(text: &[u8], missing_seq: u64) -> Result<(bool, StreamId), CommandError> {
    let (excluded, id) = match text {
        b"-" => (false, Some(StreamId::MIN)),
        b"+" => (false, Some(StreamId::MAX)),
        [b'(', rest @ ..] if !rest.is_empty() => (true, StreamId::parse(rest, missing_seq)),
        _ => (false, StreamId::parse(text, missing_seq)),
    };
    Ok((excluded, id.ok_or(INVALID_ID)?))
}

/// The first id of a range.
fn start_arg(text: &[u8]) -> Result<StreamId, CommandError> {
    match bound(text, 0)? {
        (false, id) => Ok(id),
        (true, id) => id
            .next()
            .ok_or(CommandError::new("ERR invalid start ID for the interval")),
    }
}

/// The last id of a range.
fn end_arg(text: &[u8]) -> Result<StreamId, CommandError> {
    match bound(text, u64::MAX)? {
        (false, id) => Ok(id),
        (true, id) => id
            .previous()
            .ok_or(CommandError::new("ERR invalid end ID for the interval")),
    }
}

/// All arguments from `from` on as ids, or none of them.
fn ids_from(args: &[&[u8]], from: usize) -> Result<SmallVec<[StreamId; 8]>, CommandError> {
    let texts = args.get(from..).unwrap_or_default();
    texts.iter().map(|text| id_arg(text)).collect()
}

/// A name as it is shown in an error.
fn shown(name: &[u8]) -> std::borrow::Cow<'_, str> {
    String::from_utf8_lossy(name)
}

fn no_group(key: &[u8], group: &[u8], tail: &str) -> CommandError {
    CommandError::new(format!(
        "NOGROUP No such key '{}' or consumer group '{}'{tail}",
        shown(key),
        shown(group)
    ))
}

/// Writes an id as a bulk string.
fn bulk_id(reply: &mut Reply, id: StreamId) {
    reply.bulk(&id.text());
}

/// The request with some arguments replaced, as it is logged.
fn replaced(ctx: &Ctx<'_>, args: &[&[u8]], with: &[(usize, &[u8])]) -> Effect {
    if with.is_empty() {
        return Effect::Verbatim;
    }
    if !ctx.unit.options.log {
        return Effect::None;
    }
    let mut argv: SmallVec<[&[u8]; 16]> = SmallVec::from_slice(args);
    for &(at, text) in with {
        if let Some(place) = argv.get_mut(at) {
            *place = text;
        }
    }
    Effect::Rewritten(Encoded::one(&argv))
}

/// The commands that repeat what was done to a group.
struct Repeat<'a> {
    key: &'a [u8],
    group: &'a [u8],
    wanted: bool,
    commands: Encoded,
}

impl<'a> Repeat<'a> {
    fn new(ctx: &Ctx<'_>, key: &'a [u8], group: &'a [u8]) -> Repeat<'a> {
        Repeat {
            key,
            group,
            wanted: ctx.unit.options.log,
            commands: Encoded::default(),
        }
    }

    /// An entry is pending as it is now.
    fn claim(&mut self, group: &Group, id: StreamId, pending: Pending) {
        if !self.wanted {
            return;
        }
        self.commands.push(&[
            b"XCLAIM",
            self.key,
            self.group,
            group.owner_name(pending.owner),
            b"0",
            &id.text(),
            b"TIME",
            itoa::Buffer::new().format(pending.time_ms).as_bytes(),
            b"RETRYCOUNT",
            itoa::Buffer::new().format(pending.deliveries).as_bytes(),
            b"FORCE",
            b"JUSTID",
            b"LASTID",
            &group.last_id.text(),
        ]);
    }

    /// The group has read so far.
    fn position(&mut self, group: &Group) {
        if !self.wanted {
            return;
        }
        let entries_read = group.entries_read.unwrap_or(-1);
        self.commands.push(&[
            b"XGROUP",
            b"SETID",
            self.key,
            self.group,
            &group.last_id.text(),
            b"ENTRIESREAD",
            itoa::Buffer::new().format(entries_read).as_bytes(),
        ]);
    }

    /// A consumer was made.
    fn consumer(&mut self, name: &[u8]) {
        if self.wanted {
            self.commands
                .push(&[b"XGROUP", b"CREATECONSUMER", self.key, self.group, name]);
        }
    }
}

/// Changes a group's own state: no change of the key for those who watch it. `change` counts what
/// it did.
fn edit_group<R>(
    ctx: &mut Ctx<'_>,
    key: &[u8],
    group: &[u8],
    change: impl FnOnce(&mut Group, &crate::keyspace::value::stream::log::Entries) -> (R, u64),
) -> Result<Option<R>, CommandError> {
    let edited = ctx.update::<Stream, _>(key, Missing::Skip, |stream| {
        (stream.edit_group(group, change), 0)
    })?;
    Ok(match edited.and_then(|(edited, _)| edited) {
        Some((result, changes)) => {
            ctx.unit.counters.dirty += changes;
            Some(result)
        }
        None => None,
    })
}

/// The consumer of this name, made if it is not there, and seen now. Whether it was made.
fn meet(group: &mut Group, name: &[u8], now_ms: i64) -> (u32, bool) {
    if let Some(number) = group.number(name) {
        if let Some(consumer) = group.consumer_mut(number) {
            consumer.seen_ms = now_ms;
        }
        return (number, false);
    }
    let number = group.create_consumer(name, now_ms).unwrap_or_default();
    (number, true)
}

fn notify_consumer(ctx: &mut Ctx<'_>, key: &[u8], made: bool) {
    if made {
        ctx.notify(NotifyClass::STREAM, "xgroup-createconsumer", key);
    }
}

/// `XLEN key`
fn xlen(ctx: &mut Ctx<'_>, args: &[&[u8]], reply: &mut Reply) -> Outcome {
    let len = ctx.read_as::<Stream>(arg(args, 1))?.map_or(0, Stream::len);
    reply.len_int(len);
    Ok(Effect::None)
}

/// `XDEL key id [id ...]`
fn xdel(ctx: &mut Ctx<'_>, args: &[&[u8]], reply: &mut Reply) -> Outcome {
    let key = arg(args, 1);
    if ctx.lookup::<Stream>(key)?.is_none() {
        reply.int(0);
        return Ok(Effect::None);
    }
    let ids = ids_from(args, 2)?;
    let deleted = ctx.update::<Stream, _>(key, Missing::Skip, |stream| {
        let deleted = ids.iter().filter(|id| stream.delete(**id)).count();
        (deleted, deleted as u64)
    })?;
    let deleted = deleted.map_or(0, |(deleted, _)| deleted);
    reply.len_int(deleted);
    if deleted == 0 {
        return Ok(Effect::None);
    }
    ctx.notify(NotifyClass::STREAM, "xdel", key);
    Ok(Effect::Verbatim)
}

/// `XSETID key last-id [ENTRIESADDED entries-added] [MAXDELETEDID max-deleted-id]`
fn xsetid(ctx: &mut Ctx<'_>, args: &[&[u8]], reply: &mut Reply) -> Outcome {
    let (key, last) = (arg(args, 1), id_arg(arg(args, 2))?);
    let (mut added, mut max_deleted) = (None, StreamId::MIN);
    let mut options = args.get(3..).unwrap_or_default().iter();
    while let Some(option) = options.next() {
        if option.eq_ignore_ascii_case(b"entriesadded") {
            let n = int_arg(options.next().ok_or(CommandError::SYNTAX)?)?;
            let n = u64::try_from(n).ok();
            added = Some(n.ok_or(CommandError::new("ERR entries_added must be positive"))?);
        } else if option.eq_ignore_ascii_case(b"maxdeletedid") {
            max_deleted = id_arg(options.next().ok_or(CommandError::SYNTAX)?)?;
            if last < max_deleted {
                return Err(CommandError::new(
                    "ERR The ID specified in XSETID is smaller than the provided \
                     max_deleted_entry_id",
                ));
            }
        } else {
            return Err(CommandError::SYNTAX);
        }
    }
    let stream = ctx.lookup::<Stream>(key)?;
    let stream = stream.ok_or(CommandError::NO_SUCH_KEY)?;
    if last < stream.max_deleted_id() {
        return Err(CommandError::new(
            "ERR The ID specified in XSETID is smaller than current max_deleted_entry_id",
        ));
    }
    if !stream.is_empty() && last < stream.newest() {
        return Err(CommandError::new(
            "ERR The ID specified in XSETID is smaller than the target stream top item",
        ));
    }
    if added.is_some_and(|added| added < stream.len() as u64) {
        return Err(CommandError::new(
            "ERR The entries_added specified in XSETID is smaller than the target stream length",
        ));
    }
    ctx.update::<Stream, _>(key, Missing::Skip, |stream| {
        stream.set_id(last, added, max_deleted);
        ((), 0)
    })?;
    ctx.unit.counters.dirty += 1;
    reply.ok();
    ctx.notify(NotifyClass::STREAM, "xsetid", key);
    Ok(Effect::Verbatim)
}

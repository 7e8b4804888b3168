//! XINFO.

use super::group::no_such_group;
use super::range::{Span, later, write_entry};
use super::{arg, bulk_id};
use crate::command::ctx::{CommandError, Ctx, Outcome, int_arg};
use crate::command::families::bad_subcommand;
use crate::keyspace::value::stream::Stream;
use crate::keyspace::value::stream::group::{Consumer, Group};
use crate::keyspace::value::stream::id::StreamId;
use crate::keyspace::value::stream::log::Entries;
use crate::oplog::effect::Effect;
use crate::resp::reply::Reply;

/// Entries, and pending ones of each list, that FULL shows unless told otherwise.
const DEFAULT_COUNT: usize = 10;

fn int(reply: &mut Reply, name: &str, n: i64) {
    reply.bulk(name.as_bytes());
    reply.int(n);
}

fn id(reply: &mut Reply, name: &str, id: StreamId) {
    reply.bulk(name.as_bytes());
    bulk_id(reply, id);
}

fn int_or_null(reply: &mut Reply, name: &str, n: Option<i64>) {
    reply.bulk(name.as_bytes());
    match n {
        Some(n) => reply.int(n),
        None => reply.null(),
    }
}

/// How many entries FULL shows, 0 for all; `None` without FULL.
fn full_count(args: &[&[u8]]) -> Result<Option<usize>, CommandError> {
    match args.get(3..).unwrap_or_default() {
        [] => Ok(None),
        [full] if full.eq_ignore_ascii_case(b"full") => Ok(Some(DEFAULT_COUNT)),
        [full, count, n]
            if full.eq_ignore_ascii_case(b"full") && count.eq_ignore_ascii_case(b"count") =>
        {
            Ok(Some(match int_arg(n)? {
                n @ 0.. => usize::try_from(n).unwrap_or(usize::MAX),
                _ => DEFAULT_COUNT,
            }))
        }
        _ => Err(bad_subcommand(args)),
    }
}

/// `XINFO STREAM key [FULL [COUNT count]]`
pub fn stream(ctx: &mut Ctx<'_>, args: &[&[u8]], reply: &mut Reply) -> Outcome {
    let stream = ctx.read_as::<Stream>(arg(args, 2))?;
    let stream = stream.ok_or(CommandError::NO_SUCH_KEY)?;
    let full = full_count(args)?;
    let Some(count) = full else {
        write_short(stream, reply);
        return Ok(Effect::None);
    };
    later(
        stream,
        full_size(stream, count),
        reply,
        move |stream, reply| {
            write_full(stream, count, reply);
        },
    );
    Ok(Effect::None)
}

/// Roughly how many things FULL shows.
fn full_size(stream: &Stream, count: usize) -> usize {
    /// Groups that are asked how much there is of them.
    const LOOKS: usize = 100;
    let shown = |all: usize| all.min(some_of(count));
    let groups = stream.groups().take(LOOKS);
    let of_groups: usize = groups
        .map(|(_, group)| 2 * shown(group.pending_len()) + group.consumers_len())
        .sum();
    shown(stream.len()) + stream.groups_len() + of_groups
}

fn write_head(stream: &Stream, reply: &mut Reply) {
    let (keys, nodes) = stream.radix_size();
    int(reply, "length", stream.len() as i64);
    int(reply, "radix-tree-keys", keys as i64);
    int(reply, "radix-tree-nodes", nodes as i64);
    id(reply, "last-generated-id", stream.last_id());
    id(reply, "max-deleted-entry-id", stream.max_deleted_id());
    int(reply, "entries-added", stream.added() as i64);
    id(reply, "recorded-first-entry-id", stream.first_id());
}

fn write_short(stream: &Stream, reply: &mut Reply) {
    reply.map(10);
    write_head(stream, reply);
    int(reply, "groups", stream.groups_len() as i64);
    for (name, reverse) in [("first-entry", false), ("last-entry", true)] {
        reply.bulk(name.as_bytes());
        match stream.range(StreamId::MIN, StreamId::MAX, reverse).next() {
            Some(entry) => write_entry(reply, entry),
            None => reply.null(),
        }
    }
}

fn write_full(stream: &Stream, count: usize, reply: &mut Reply) {
    reply.map(9);
    write_head(stream, reply);
    reply.bulk(b"entries");
    Span::since(StreamId::MIN, count).write(stream, reply);
    reply.bulk(b"groups");
    reply.array(stream.groups_len());
    for (name, group) in stream.groups() {
        write_group(stream, name, group, count, reply);
    }
}

/// At most `count` of them, if that is not 0.
fn some_of(count: usize) -> usize {
    if count == 0 { usize::MAX } else { count }
}

fn write_group(stream: &Entries, name: &[u8], group: &Group, count: usize, reply: &mut Reply) {
    reply.map(7);
    reply.bulk(b"name");
    reply.bulk(name);
    id(reply, "last-delivered-id", group.last_id);
    int_or_null(reply, "entries-read", group.entries_read);
    int_or_null(reply, "lag", stream.lag(group));
    int(reply, "pel-count", group.pending_len() as i64);
    reply.bulk(b"pending");
    reply.array(group.pending_len().min(some_of(count)));
    for (id, pending) in group.pending_from(StreamId::MIN).take(some_of(count)) {
        reply.array(4);
        bulk_id(reply, id);
        reply.bulk(group.owner_name(pending.owner));
        reply.int(pending.time_ms);
        reply.int(pending.deliveries as i64);
    }
    reply.bulk(b"consumers");
    reply.array(group.consumers_len());
    for consumer in group.consumers() {
        write_consumer(group, consumer, count, reply);
    }
}

fn write_consumer(group: &Group, consumer: &Consumer, count: usize, reply: &mut Reply) {
    reply.map(5);
    reply.bulk(b"name");
    reply.bulk(consumer.name());
    int(reply, "seen-time", consumer.seen_ms);
    int(reply, "active-time", consumer.active_ms);
    int(reply, "pel-count", consumer.pending_len() as i64);
    reply.bulk(b"pending");
    reply.array(consumer.pending_len().min(some_of(count)));
    for id in consumer.pending_from(StreamId::MIN).take(some_of(count)) {
        let pending = group.pending(id);
        reply.array(3);
        bulk_id(reply, id);
        reply.int(pending.map_or(0, |pending| pending.time_ms));
        reply.int(pending.map_or(0, |pending| pending.deliveries as i64));
    }
}

/// `XINFO GROUPS key`
pub fn groups(ctx: &mut Ctx<'_>, args: &[&[u8]], reply: &mut Reply) -> Outcome {
    let stream = ctx.read_as::<Stream>(arg(args, 2))?;
    let stream = stream.ok_or(CommandError::NO_SUCH_KEY)?;
    reply.array(stream.groups_len());
    for (name, group) in stream.groups() {
        reply.map(6);
        reply.bulk(b"name");
        reply.bulk(name);
        int(reply, "consumers", group.consumers_len() as i64);
        int(reply, "pending", group.pending_len() as i64);
        id(reply, "last-delivered-id", group.last_id);
        int_or_null(reply, "entries-read", group.entries_read);
        int_or_null(reply, "lag", stream.lag(group));
    }
    Ok(Effect::None)
}

/// `XINFO CONSUMERS key group`
pub fn consumers(ctx: &mut Ctx<'_>, args: &[&[u8]], reply: &mut Reply) -> Outcome {
    let (key, name) = (arg(args, 2), arg(args, 3));
    let now_ms = ctx.now_ms();
    let stream = ctx.read_as::<Stream>(key)?;
    let stream = stream.ok_or(CommandError::NO_SUCH_KEY)?;
    let group = stream.group(name).ok_or_else(|| no_such_group(name, key))?;
    reply.array(group.consumers_len());
    for consumer in group.consumers() {
        let inactive_ms = match consumer.active_ms {
            -1 => -1,
            active_ms => now_ms.wrapping_sub(active_ms),
        };
        reply.map(4);
        reply.bulk(b"name");
        reply.bulk(consumer.name());
        int(reply, "pending", consumer.pending_len() as i64);
        int(reply, "idle", now_ms.wrapping_sub(consumer.seen_ms).max(0));
        int(reply, "inactive", inactive_ms);
    }
    Ok(Effect::None)
}

/// `XINFO HELP`
pub fn help(_: &mut Ctx<'_>, args: &[&[u8]], reply: &mut Reply) -> Outcome {
    let lines = [
        "CONSUMERS <key> <groupname>",
        "    Show consumers of <groupname>.",
        "GROUPS <key>",
        "    Show the stream consumer groups.",
        "STREAM <key> [FULL [COUNT <count>]",
        "    Show information about the stream.",
    ];
    crate::command::families::help(args, &lines, reply);
    Ok(Effect::None)
}

//! XRANGE and XREVRANGE, and how entries are written.
//!
//! Entries that may be many are written from a handle when the locks are released.

use super::{arg, bulk_id, end_arg, start_arg};
use crate::command::ctx::{CommandError, Ctx, Outcome, int_arg};
use crate::command::families::bulk;
use crate::keyspace::value::stream::Stream;
use crate::keyspace::value::stream::block::Raw;
use crate::keyspace::value::stream::id::StreamId;
use crate::keyspace::value::stream::log::Entries;
use crate::oplog::effect::Effect;
use crate::resp::reply::Reply;

/// More than this is written after the locks are released.
const DEFER_ABOVE: usize = 256;

/// Writes an entry: its id, and an array of its fields and values.
pub(super) fn write_entry(reply: &mut Reply, entry: Raw<'_>) {
    reply.array(2);
    bulk_id(reply, entry.id);
    reply.array(entry.count() * 2);
    for (name, value) in entry.pairs() {
        bulk(reply, name);
        bulk(reply, value);
    }
}

/// A range of entries, of which at most `count` are meant, if that is not 0.
#[derive(Clone, Copy)]
pub(super) struct Span {
    pub from: StreamId,
    pub to: StreamId,
    pub count: usize,
    pub reverse: bool,
}

impl Span {
    /// Entries from an id on.
    pub fn since(from: StreamId, count: usize) -> Span {
        Span {
            from,
            to: StreamId::MAX,
            count,
            reverse: false,
        }
    }

    /// Writes the entries at once, as an array.
    pub fn write(self, entries: &Entries, reply: &mut Reply) {
        let most = match self.count {
            0 => usize::MAX,
            count => count,
        };
        let slot = reply.defer_len();
        let mut written = 0;
        for entry in entries.range(self.from, self.to, self.reverse).take(most) {
            write_entry(reply, entry);
            written += 1;
        }
        reply.set_array_len(slot, written);
    }

    /// Writes the entries, later if they may be many.
    pub fn show(self, stream: &Stream, reply: &mut Reply) {
        let most = match self.count {
            0 => stream.len(),
            count => count.min(stream.len()),
        };
        later(stream, most, reply, move |stream, reply| {
            self.write(stream, reply);
        });
    }
}

/// Writes a part of the reply that takes about as long as `elements` do: now, or from a handle
/// when the locks are released.
pub(super) fn later(
    stream: &Stream,
    elements: usize,
    reply: &mut Reply,
    write: impl FnOnce(&Stream, &mut Reply) + Send + 'static,
) {
    if elements > DEFER_ABOVE {
        let stream = stream.clone();
        reply.deferred_of(elements, Box::new(move |reply| write(&stream, reply)));
    } else {
        write(stream, reply);
    }
}

fn range(ctx: &mut Ctx<'_>, args: &[&[u8]], reverse: bool, reply: &mut Reply) -> Outcome {
    let (from, to) = if reverse { (3, 2) } else { (2, 3) };
    let (from, to) = (start_arg(arg(args, from))?, end_arg(arg(args, to))?);
    let mut count = None;
    let mut options = args.get(4..).unwrap_or_default().iter();
    while let Some(option) = options.next() {
        match options.next() {
            Some(n) if option.eq_ignore_ascii_case(b"count") => count = Some(int_arg(n)?.max(0)),
            _ => return Err(CommandError::SYNTAX),
        }
    }
    match (ctx.read_as::<Stream>(arg(args, 1))?, count) {
        (None, _) => reply.array(0),
        (Some(_), Some(0)) => reply.null_array(),
        (Some(stream), count) => {
            let span = Span {
                from,
                to,
                count: count.map_or(0, |n| usize::try_from(n).unwrap_or(usize::MAX)),
                reverse,
            };
            span.show(stream, reply);
        }
    }
    Ok(Effect::None)
}

/// `XRANGE key start end [COUNT count]`
pub fn xrange(ctx: &mut Ctx<'_>, args: &[&[u8]], reply: &mut Reply) -> Outcome {
    range(ctx, args, false, reply)
}

/// `XREVRANGE key end start [COUNT count]`
pub fn xrevrange(ctx: &mut Ctx<'_>, args: &[&[u8]], reply: &mut Reply) -> Outcome {
    range(ctx, args, true, reply)
}

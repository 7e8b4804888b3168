//! Lists.
//!
//! A range of more than a few elements, and anything of a list in several nodes, is written from
//! a handle when the locks are released.

use crate::base::num;
use crate::command::ctx::{CommandError, Ctx, Outcome, int_arg};
use crate::command::families::{arg, bulk};
use crate::command::limits;
use crate::keyspace::unit::{Missing, NotifyClass};
use crate::keyspace::value::list::{End, List, ListLimits};
use crate::oplog::effect::Effect;
use crate::resp::errors;
use crate::resp::reply::Reply;

use super::{Family, Locks, notify_removal, removal};

mod blocking;
mod moves;
mod pops;
mod positions;
#[cfg(test)]
mod tests;

/// The family.
pub const HANDLERS: Family = &[
    ("lpush", lpush, Locks::Keys),
    ("rpush", rpush, Locks::Keys),
    ("lpushx", lpushx, Locks::Keys),
    ("rpushx", rpushx, Locks::Keys),
    ("lpop", pops::lpop, Locks::Keys),
    ("rpop", pops::rpop, Locks::Keys),
    ("lmpop", pops::lmpop, Locks::Keys),
    ("llen", llen, Locks::Keys),
    ("lrange", lrange, Locks::Keys),
    ("lindex", lindex, Locks::Keys),
    ("lset", lset, Locks::Keys),
    ("linsert", linsert, Locks::Keys),
    ("lrem", lrem, Locks::Keys),
    ("ltrim", ltrim, Locks::Keys),
    ("lpos", positions::lpos, Locks::Keys),
    ("lmove", moves::lmove, Locks::Keys),
    ("rpoplpush", moves::rpoplpush, Locks::Keys),
    ("blpop", blocking::blpop, Locks::Keys),
    ("brpop", blocking::brpop, Locks::Keys),
    ("blmpop", blocking::blmpop, Locks::Keys),
    ("blmove", blocking::blmove, Locks::Keys),
    ("brpoplpush", blocking::brpoplpush, Locks::Keys),
];

/// What concerns more elements than this happens after the locks are released.
const DEFER_ABOVE: usize = 512;

/// A longer element is copied after the locks are released.
const DEFER_ABOVE_BYTES: usize = 16 * 1024;

/// `LEFT` or `RIGHT`.
fn end_arg(word: &[u8]) -> Result<End, CommandError> {
    if word.eq_ignore_ascii_case(b"left") {
        Ok(End::Head)
    } else if word.eq_ignore_ascii_case(b"right") {
        Ok(End::Tail)
    } else {
        Err(CommandError::SYNTAX)
    }
}

/// A count that must not be negative, or the refusal given for it.
fn count_arg(text: &[u8], refusal: &'static str) -> Result<usize, CommandError> {
    let n = num::parse_i64(text).and_then(|n| usize::try_from(n).ok());
    n.ok_or(CommandError::new(refusal))
}

/// An integer that has a negative.
fn symmetric_arg(text: &[u8]) -> Result<i64, CommandError> {
    match int_arg(text)? {
        i64::MIN => Err(CommandError::new(errors::OUT_OF_SYMMETRIC_RANGE)),
        n => Ok(n),
    }
}

fn push_event(end: End) -> &'static str {
    match end {
        End::Head => "lpush",
        End::Tail => "rpush",
    }
}

fn push(
    ctx: &mut Ctx<'_>,
    args: &[&[u8]],
    end: End,
    missing: Missing,
    reply: &mut Reply,
) -> Outcome {
    let key = arg(args, 1);
    let values = args.get(2..).unwrap_or_default();
    let limits = limits::list(ctx.settings);
    let len = ctx.update::<List, _>(key, missing, |list| {
        list.push(limits, end, values);
        (list.len(), values.len() as u64)
    })?;
    let Some((len, _)) = len else {
        reply.int(0);
        return Ok(Effect::None);
    };
    reply.len_int(len);
    ctx.notify(NotifyClass::LIST, push_event(end), key);
    Ok(Effect::Verbatim)
}

/// `LPUSH key element [element ...]`
fn lpush(ctx: &mut Ctx<'_>, args: &[&[u8]], reply: &mut Reply) -> Outcome {
    push(ctx, args, End::Head, Missing::Create, reply)
}

/// `RPUSH key element [element ...]`
fn rpush(ctx: &mut Ctx<'_>, args: &[&[u8]], reply: &mut Reply) -> Outcome {
    push(ctx, args, End::Tail, Missing::Create, reply)
}

/// `LPUSHX key element [element ...]`
fn lpushx(ctx: &mut Ctx<'_>, args: &[&[u8]], reply: &mut Reply) -> Outcome {
    push(ctx, args, End::Head, Missing::Skip, reply)
}

/// `RPUSHX key element [element ...]`
fn rpushx(ctx: &mut Ctx<'_>, args: &[&[u8]], reply: &mut Reply) -> Outcome {
    push(ctx, args, End::Tail, Missing::Skip, reply)
}

/// `LLEN key`
fn llen(ctx: &mut Ctx<'_>, args: &[&[u8]], reply: &mut Reply) -> Outcome {
    let len = ctx.read_as::<List>(arg(args, 1))?.map_or(0, List::len);
    reply.len_int(len);
    Ok(Effect::None)
}

/// Whether elements of this list are to be copied when the locks are released.
fn defers(list: &List, elements: usize) -> bool {
    elements > DEFER_ABOVE || list.encoding() == "quicklist"
}

/// Writes the elements of a range of indexes, in the order that begins at `from`.
fn show_range(list: &List, range: std::ops::Range<usize>, from: End, reply: &mut Reply) {
    if range.is_empty() {
        return reply.array(0);
    }
    if !defers(list, range.len()) {
        reply.array(range.len());
        return list.visit(range, from, |elem| bulk(reply, elem));
    }
    let (list, elements) = (list.clone(), range.len());
    let write = move |reply: &mut Reply| {
        reply.array(range.len());
        list.visit(range, from, |elem| {
            bulk(reply, elem);
            reply.breathe();
        });
    };
    reply.deferred_of(elements, Box::new(write));
}

/// The indexes between two that a client gave, both included, of a list of `len` elements.
fn range_of(start: i64, stop: i64, len: usize) -> std::ops::Range<usize> {
    let len = i64::try_from(len).unwrap_or(i64::MAX);
    let absolute = |index: i64| if index < 0 { index + len } else { index };
    let start = absolute(start).max(0);
    let end = absolute(stop).min(len - 1) + 1;
    if start >= end {
        return 0..0;
    }
    start as usize..end as usize
}

/// `LRANGE key start stop`
fn lrange(ctx: &mut Ctx<'_>, args: &[&[u8]], reply: &mut Reply) -> Outcome {
    let (start, stop) = (int_arg(arg(args, 2))?, int_arg(arg(args, 3))?);
    match ctx.read_as::<List>(arg(args, 1))? {
        None => reply.array(0),
        Some(list) => show_range(list, range_of(start, stop, list.len()), End::Head, reply),
    }
    Ok(Effect::None)
}

/// `LINDEX key index`
fn lindex(ctx: &mut Ctx<'_>, args: &[&[u8]], reply: &mut Reply) -> Outcome {
    let Some(list) = ctx.read_as::<List>(arg(args, 1))? else {
        reply.null();
        return Ok(Effect::None);
    };
    let Some(index) = list.resolve(int_arg(arg(args, 2))?) else {
        reply.null();
        return Ok(Effect::None);
    };
    let written = list.get(index, |elem| {
        let short = elem.text_len() <= DEFER_ABOVE_BYTES;
        if short {
            bulk(reply, elem);
        }
        short
    });
    if written == Some(false) {
        let list = list.clone();
        reply.deferred(Box::new(move |reply| {
            list.get(index, |elem| bulk(reply, elem));
        }));
    }
    Ok(Effect::None)
}

/// `LSET key index element`
fn lset(ctx: &mut Ctx<'_>, args: &[&[u8]], reply: &mut Reply) -> Outcome {
    let (key, value) = (arg(args, 1), arg(args, 3));
    let list = ctx.lookup::<List>(key)?;
    list.ok_or(CommandError::NO_SUCH_KEY)?;
    let index = int_arg(arg(args, 2))?;
    let limits = limits::list(ctx.settings);
    let done = ctx.update::<List, _>(key, Missing::Skip, |list| {
        let index = list.resolve(index).unwrap_or(usize::MAX);
        let done = list.set(limits, index, value);
        (done, u64::from(done))
    })?;
    if !done.is_some_and(|(done, _)| done) {
        return Err(CommandError::new(errors::INDEX_OUT_OF_RANGE));
    }
    ctx.notify(NotifyClass::LIST, "lset", key);
    reply.ok();
    Ok(Effect::Verbatim)
}

/// `LINSERT key BEFORE|AFTER pivot element`
fn linsert(ctx: &mut Ctx<'_>, args: &[&[u8]], reply: &mut Reply) -> Outcome {
    let (key, pivot, value) = (arg(args, 1), arg(args, 3), arg(args, 4));
    let side = match arg(args, 2) {
        word if word.eq_ignore_ascii_case(b"before") => End::Head,
        word if word.eq_ignore_ascii_case(b"after") => End::Tail,
        _ => return Err(CommandError::SYNTAX),
    };
    let limits = limits::list(ctx.settings);
    let done = ctx.update::<List, _>(key, Missing::Skip, |list| {
        let inserted = list.insert(limits, side, pivot, value);
        (inserted.then_some(list.len()), u64::from(inserted))
    })?;
    match done {
        None => reply.int(0),
        Some((None, _)) => reply.int(-1),
        Some((Some(len), _)) => {
            ctx.notify(NotifyClass::LIST, "linsert", key);
            reply.len_int(len);
            return Ok(Effect::Verbatim);
        }
    }
    Ok(Effect::None)
}

/// `LREM key count element`
fn lrem(ctx: &mut Ctx<'_>, args: &[&[u8]], reply: &mut Reply) -> Outcome {
    let (key, value) = (arg(args, 1), arg(args, 3));
    let count = symmetric_arg(arg(args, 2))?;
    let from = if count < 0 { End::Tail } else { End::Head };
    let most = match count.unsigned_abs() {
        0 => usize::MAX,
        n => usize::try_from(n).unwrap_or(usize::MAX),
    };
    let limits = limits::list(ctx.settings);
    let removed = ctx.update::<List, _>(key, Missing::Skip, |list| {
        let n = list.remove(limits, value, most, from);
        (n, n as u64)
    })?;
    removal(ctx, (NotifyClass::LIST, "lrem"), key, removed, reply)
}

/// `LTRIM key start stop`
fn ltrim(ctx: &mut Ctx<'_>, args: &[&[u8]], reply: &mut Reply) -> Outcome {
    let key = arg(args, 1);
    let (start, stop) = (int_arg(arg(args, 2))?, int_arg(arg(args, 3))?);
    let limits = limits::list(ctx.settings);
    let trimmed = ctx.update::<List, _>(key, Missing::Skip, |list| {
        let len = list.len();
        let keep = range_of(start, stop, len);
        if keep.len() < len {
            list.trim(limits, keep);
        }
        let removed = len - list.len();
        (removed, removed as u64)
    })?;
    reply.ok();
    let Some((removed, emptied)) = trimmed else {
        return Ok(Effect::None);
    };
    // The event comes even if all elements were kept, and those who watch the list are told.
    if removed == 0 {
        let db = ctx.db();
        ctx.unit.signal(db, key);
    }
    notify_removal(ctx, (NotifyClass::LIST, "ltrim"), key, emptied);
    Ok(if removed > 0 {
        Effect::Verbatim
    } else {
        Effect::None
    })
}

/// Takes one element off an end.
fn pop_one(list: &mut List, limits: ListLimits, end: End) -> Option<Vec<u8>> {
    let mut popped = None;
    list.pop(limits, end, 1, |elem| popped = Some(elem.to_vec()));
    popped
}

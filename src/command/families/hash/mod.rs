//! Hashes.
//!
//! A field that is due is met in one of three ways, which the unit decides: a primary removes it,
//! and that goes to the log as an `HDEL` in front of what the command itself does; a replica's
//! client does not see it; replay sees it as any other. Commands that name a field remove it when
//! it is due; those that read all of a hash pass over what is due and leave it to active expiry,
//! and HLEN counts it, as in Redis. What gives fields an expiry is in [`expire`] and [`until`].

mod expire;
mod read;
#[cfg(test)]
mod tests;
mod until;

use std::collections::HashSet;

use crate::base::long_double::LongDouble;
use crate::base::num;
use crate::command::ctx::{CommandError, Ctx, Outcome, int_arg};
use crate::command::families::{arg, bulk};
use crate::command::limits;
use crate::keyspace::unit::{Missing, NotifyClass};
use crate::keyspace::value::hash::{Hash, Lifetime, Record};
use crate::keyspace::value::packed::Elem;
use crate::oplog::effect::{Effect, Encoded};
use crate::resp::errors;
use crate::resp::reply::Reply;

use super::{Family, Locks};

/// The family.
pub const HANDLERS: Family = &[
    ("hset", hset, Locks::Keys),
    ("hmset", hmset, Locks::Keys),
    ("hsetnx", hsetnx, Locks::Keys),
    ("hget", hget, Locks::Keys),
    ("hmget", hmget, Locks::Keys),
    ("hdel", hdel, Locks::Keys),
    ("hgetdel", hgetdel, Locks::Keys),
    ("hgetex", until::hgetex, Locks::Keys),
    ("hsetex", until::hsetex, Locks::Keys),
    ("hexpire", expire::hexpire, Locks::Keys),
    ("hpexpire", expire::hpexpire, Locks::Keys),
    ("hexpireat", expire::hexpireat, Locks::Keys),
    ("hpexpireat", expire::hpexpireat, Locks::Keys),
    ("httl", expire::httl, Locks::Keys),
    ("hpttl", expire::hpttl, Locks::Keys),
    ("hexpiretime", expire::hexpiretime, Locks::Keys),
    ("hpexpiretime", expire::hpexpiretime, Locks::Keys),
    ("hpersist", expire::hpersist, Locks::Keys),
    ("hlen", hlen, Locks::Keys),
    ("hstrlen", hstrlen, Locks::Keys),
    ("hexists", hexists, Locks::Keys),
    ("hincrby", hincrby, Locks::Keys),
    ("hincrbyfloat", hincrbyfloat, Locks::Keys),
    ("hkeys", read::hkeys, Locks::Keys),
    ("hvals", read::hvals, Locks::Keys),
    ("hgetall", read::hgetall, Locks::Keys),
    ("hrandfield", read::hrandfield, Locks::Keys),
    ("hscan", read::hscan, Locks::Keys),
];

/// A value longer than this is shared with the reply instead of copied, where it can be.
const SHARE_ABOVE: usize = 1024;

/// The reply to a command whose arguments do not come in the number they must.
fn wrong_arity(args: &[&[u8]]) -> CommandError {
    let name = String::from_utf8_lossy(arg(args, 0)).to_ascii_lowercase();
    CommandError::new(format!(
        "ERR wrong number of arguments for '{name}' command"
    ))
}

/// Sets the pairs of `args`; how many fields are new.
fn set_pairs(ctx: &mut Ctx<'_>, args: &[&[u8]]) -> Result<usize, CommandError> {
    let key = arg(args, 1);
    let pairs = args.get(2..).unwrap_or_default();
    if pairs.len() % 2 != 0 || pairs.is_empty() {
        return Err(wrong_arity(args));
    }
    let limits = limits::hash(ctx.settings);
    let longest = pairs.iter().map(|p| p.len()).max().unwrap_or(0);
    let set = |hash: &mut Hash| {
        hash.prepare(longest, &limits);
        let mut new = 0;
        for pair in pairs.chunks_exact(2) {
            if let [field, value] = pair {
                new += usize::from(hash.set(*field, *value, &limits));
            }
        }
        (new, (pairs.len() / 2) as u64)
    };
    let done = ctx.update::<Hash, _>(key, Missing::Create, set)?;
    ctx.notify(NotifyClass::HASH, "hset", key);
    Ok(done.map_or(0, |(new, _)| new))
}

/// `HSET key field value [field value ...]`
fn hset(ctx: &mut Ctx<'_>, args: &[&[u8]], reply: &mut Reply) -> Outcome {
    let new = set_pairs(ctx, args)?;
    reply.len_int(new);
    Ok(Effect::Verbatim)
}

/// `HMSET key field value [field value ...]`
fn hmset(ctx: &mut Ctx<'_>, args: &[&[u8]], reply: &mut Reply) -> Outcome {
    set_pairs(ctx, args)?;
    reply.ok();
    Ok(Effect::Verbatim)
}

/// What a look at a field met.
#[derive(Clone, Copy)]
enum Met<'h> {
    /// Nothing.
    Nothing,
    /// A field that is due.
    Due,
    /// A field.
    Field(Record<'h>),
}

fn meet<'h>(hash: Option<&'h Hash>, field: &[u8], now_ms: i64) -> Met<'h> {
    match hash.and_then(|hash| hash.record(field)) {
        None => Met::Nothing,
        Some(record) if record.is_due(now_ms) => Met::Due,
        Some(record) => Met::Field(record),
    }
}

/// Removes fields of `key` that were met and are due.
fn expire(ctx: &mut Ctx<'_>, key: &[u8], due: &[&[u8]]) {
    if !due.is_empty() {
        let db = ctx.db();
        ctx.unit.expire_fields(db, key, due);
    }
}

/// `HSETNX key field value`
fn hsetnx(ctx: &mut Ctx<'_>, args: &[&[u8]], reply: &mut Reply) -> Outcome {
    let (key, field, value) = (arg(args, 1), arg(args, 2), arg(args, 3));
    let now_ms = ctx.unit.fields_now();
    match meet(ctx.lookup::<Hash>(key)?, field, now_ms) {
        Met::Nothing => {}
        Met::Due => expire(ctx, key, &[field]),
        Met::Field(_) => {
            ctx.touch(key);
            reply.int(0);
            return Ok(Effect::None);
        }
    }
    let limits = limits::hash(ctx.settings);
    ctx.update::<Hash, _>(key, Missing::Create, |h| {
        h.prepare(field.len().max(value.len()), &limits);
        h.set(field, value, &limits);
        ((), 1)
    })?;
    ctx.notify(NotifyClass::HASH, "hset", key);
    reply.int(1);
    Ok(Effect::Verbatim)
}

/// Reads one field of `key`: `show` writes the reply for its record, if there is one.
fn one(
    ctx: &mut Ctx<'_>,
    key: &[u8],
    field: &[u8],
    show: impl FnOnce(Option<(&Hash, Record<'_>)>),
) -> Outcome {
    let now_ms = ctx.unit.fields_now();
    let hash = ctx.read_as::<Hash>(key)?;
    match (hash, meet(hash, field, now_ms)) {
        (Some(hash), Met::Field(record)) => show(Some((hash, record))),
        (_, Met::Due) => {
            show(None);
            expire(ctx, key, &[field]);
        }
        _ => show(None),
    }
    Ok(Effect::None)
}

/// `HGET key field`
fn hget(ctx: &mut Ctx<'_>, args: &[&[u8]], reply: &mut Reply) -> Outcome {
    one(ctx, arg(args, 1), arg(args, 2), |found| match found {
        None => reply.null(),
        Some((hash, record)) => value(hash, record, reply),
    })
}

/// Writes the value of a field; a long one is shared, not copied.
fn value(hash: &Hash, record: Record<'_>, reply: &mut Reply) {
    if matches!(record.value, Elem::Bytes(b) if b.len() > SHARE_ABOVE)
        && let Some(shared) = hash.shared_value(record.key)
    {
        reply.shared_bulk(shared);
    } else {
        bulk(reply, record.value);
    }
}

/// How [`values`] looks at fields.
struct Look {
    /// The instant at which a field must be due.
    now_ms: i64,
    /// The fields are taken: one that is named twice is gone the second time.
    taken: bool,
}

/// Writes the values of fields. Which of them are due, and which have a value.
fn values<'a>(
    hash: Option<&Hash>,
    fields: &[&'a [u8]],
    look: Look,
    reply: &mut Reply,
) -> (Vec<&'a [u8]>, Vec<&'a [u8]>) {
    let (mut due, mut found) = (Vec::new(), Vec::new());
    let mut gone = HashSet::new();
    reply.array(fields.len());
    for field in fields {
        match (hash, meet(hash, field, look.now_ms)) {
            (Some(hash), Met::Field(record)) if !look.taken || gone.insert(*field) => {
                value(hash, record, reply);
                found.push(*field);
            }
            (_, Met::Due) => {
                reply.null();
                due.push(*field);
            }
            _ => reply.null(),
        }
    }
    (due, found)
}

/// `HMGET key field [field ...]`
fn hmget(ctx: &mut Ctx<'_>, args: &[&[u8]], reply: &mut Reply) -> Outcome {
    let key = arg(args, 1);
    let fields = args.get(2..).unwrap_or_default();
    let now_ms = ctx.unit.fields_now();
    let look = Look {
        now_ms,
        taken: false,
    };
    let (due, _) = values(ctx.read_as::<Hash>(key)?, fields, look, reply);
    expire(ctx, key, &due);
    Ok(Effect::None)
}

/// What is left of a hash after fields were taken out of it.
fn notify_removal(ctx: &mut Ctx<'_>, key: &[u8], emptied: bool) {
    ctx.notify(NotifyClass::HASH, "hdel", key);
    if emptied {
        ctx.notify(NotifyClass::GENERIC, "del", key);
    }
}

/// `HDEL key field [field ...]`
fn hdel(ctx: &mut Ctx<'_>, args: &[&[u8]], reply: &mut Reply) -> Outcome {
    let key = arg(args, 1);
    let fields = args.get(2..).unwrap_or_default();
    let removed = ctx.update::<Hash, _>(key, Missing::Skip, |hash| {
        let n = fields.iter().filter(|f| hash.remove(**f)).count();
        (n, n as u64)
    })?;
    let (removed, emptied) = removed.unwrap_or((0, false));
    if removed > 0 {
        notify_removal(ctx, key, emptied);
    }
    reply.len_int(removed);
    Ok(if removed > 0 {
        Effect::Verbatim
    } else {
        Effect::None
    })
}

/// The fields of `FIELDS numfields field [field ...]`, which `words` must be.
fn named_fields<'w, 'a>(words: &'w [&'a [u8]]) -> Result<&'w [&'a [u8]], CommandError> {
    named_fields_or(words, "ERR Number of fields must be a positive integer")
}

/// As [`named_fields`], with the sentence about a number that is not one.
fn named_fields_or<'w, 'a>(
    words: &'w [&'a [u8]],
    not_positive: &'static str,
) -> Result<&'w [&'a [u8]], CommandError> {
    let is_fields = |word: &&[u8]| word.eq_ignore_ascii_case(b"fields");
    if !words.first().is_some_and(is_fields) {
        return Err(CommandError::new(
            "ERR Mandatory argument FIELDS is missing or not at the right position",
        ));
    }
    let mismatch = "ERR The `numfields` parameter must match the number of arguments";
    let [_, count, fields @ ..] = words else {
        return Err(CommandError::new(not_positive));
    };
    match num::parse_i64(count).filter(|n| *n > 0) {
        None => Err(CommandError::new(not_positive)),
        Some(count) if count != fields.len() as i64 => Err(CommandError::new(mismatch)),
        Some(_) => Ok(fields),
    }
}

/// `HGETDEL key FIELDS numfields field [field ...]`
fn hgetdel(ctx: &mut Ctx<'_>, args: &[&[u8]], reply: &mut Reply) -> Outcome {
    let key = arg(args, 1);
    ctx.lookup::<Hash>(key)?;
    let fields = named_fields(args.get(2..).unwrap_or_default())?;
    let now_ms = ctx.unit.fields_now();
    let look = Look {
        now_ms,
        taken: true,
    };
    let (due, found) = values(ctx.lookup::<Hash>(key)?, fields, look, reply);
    expire(ctx, key, &due);
    if found.is_empty() {
        return Ok(Effect::None);
    }
    let done = ctx.update::<Hash, _>(key, Missing::Skip, |hash| {
        let n = found.iter().filter(|f| hash.remove(**f)).count();
        (n, n as u64)
    })?;
    notify_removal(ctx, key, done.is_some_and(|(_, emptied)| emptied));
    let mut argv: Vec<&[u8]> = vec![b"HDEL", key];
    argv.extend(fields);
    Ok(Effect::Rewritten(Encoded::one(&argv)))
}

/// `HLEN key`
fn hlen(ctx: &mut Ctx<'_>, args: &[&[u8]], reply: &mut Reply) -> Outcome {
    let len = ctx.read_as::<Hash>(arg(args, 1))?.map_or(0, Hash::len);
    reply.len_int(len);
    Ok(Effect::None)
}

/// `HSTRLEN key field`
fn hstrlen(ctx: &mut Ctx<'_>, args: &[&[u8]], reply: &mut Reply) -> Outcome {
    one(ctx, arg(args, 1), arg(args, 2), |found| {
        reply.len_int(found.map_or(0, |(_, record)| record.value.text_len()));
    })
}

/// `HEXISTS key field`
fn hexists(ctx: &mut Ctx<'_>, args: &[&[u8]], reply: &mut Reply) -> Outcome {
    one(ctx, arg(args, 1), arg(args, 2), |found| {
        reply.int(i64::from(found.is_some()));
    })
}

/// What an increment begins with: `read` makes it of a value that is there. The second part is
/// the expiry that the field has and keeps.
fn base<N>(
    ctx: &mut Ctx<'_>,
    key: &[u8],
    field: &[u8],
    zero: N,
    read: impl FnOnce(Elem<'_>) -> Result<N, CommandError>,
) -> Result<(N, Option<i64>), CommandError> {
    let now_ms = ctx.unit.fields_now();
    match meet(ctx.lookup::<Hash>(key)?, field, now_ms) {
        Met::Nothing => Ok((zero, None)),
        Met::Field(record) => {
            let expire_ms = record.expire_ms;
            Ok((read(record.value)?, expire_ms))
        }
        Met::Due => {
            expire(ctx, key, &[field]);
            Ok((zero, None))
        }
    }
}

/// How long a value lives whose field has this expiry.
fn lifetime(expire_ms: Option<i64>) -> Lifetime {
    expire_ms.map_or(Lifetime::Endless, Lifetime::Until)
}

/// `HINCRBY key field increment`
fn hincrby(ctx: &mut Ctx<'_>, args: &[&[u8]], reply: &mut Reply) -> Outcome {
    let (key, field) = (arg(args, 1), arg(args, 2));
    let by = int_arg(arg(args, 3))?;
    let (current, expire_ms) = base(ctx, key, field, 0, |value| {
        let error = CommandError::new("ERR hash value is not an integer");
        value.as_int().ok_or(error)
    })?;
    let new = current
        .checked_add(by)
        .ok_or(CommandError::new(errors::INCREMENT_OVERFLOW))?;
    let limits = limits::hash(ctx.settings);
    ctx.update::<Hash, _>(key, Missing::Create, |h| {
        h.prepare(field.len(), &limits);
        h.set_for(field, new, lifetime(expire_ms), &limits);
        ((), 1)
    })?;
    ctx.notify(NotifyClass::HASH, "hincrby", key);
    reply.int(new);
    Ok(Effect::Verbatim)
}

/// `HINCRBYFLOAT key field increment`
fn hincrbyfloat(ctx: &mut Ctx<'_>, args: &[&[u8]], reply: &mut Reply) -> Outcome {
    let (key, field) = (arg(args, 1), arg(args, 2));
    let by = LongDouble::parse(arg(args, 3)).ok_or(CommandError::NOT_FLOAT)?;
    if by.is_nan() || !by.is_finite() {
        return Err(CommandError::new("ERR value is NaN or Infinity"));
    }
    let (current, expire_ms) = base(ctx, key, field, LongDouble::ZERO, |value| {
        let error = CommandError::new("ERR hash value is not a float");
        LongDouble::parse(value.to_bytes(&mut itoa::Buffer::new())).ok_or(error)
    })?;
    let new = current + by;
    if new.is_nan() || !new.is_finite() {
        return Err(CommandError::new(errors::INCREMENT_NOT_FINITE));
    }
    let text = new.fmt_human();
    let limits = limits::hash(ctx.settings);
    ctx.update::<Hash, _>(key, Missing::Create, |h| {
        h.prepare(field.len().max(text.len()), &limits);
        h.set_for(field, &*text, lifetime(expire_ms), &limits);
        ((), 1)
    })?;
    ctx.notify(NotifyClass::HASH, "hincrbyfloat", key);
    reply.bulk(&text);
    let mut logged = Encoded::one(&[b"HSET", key, field, &text]);
    if let Some(at_ms) = expire_ms {
        // HSET takes the expiry away.
        let mut at = itoa::Buffer::new();
        let at = at.format(at_ms).as_bytes();
        logged.push(&[b"HPEXPIREAT", key, at, b"FIELDS", b"1", field]);
    }
    Ok(Effect::Rewritten(logged))
}

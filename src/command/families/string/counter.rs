//! Counters: strings that are read as numbers and written back changed.

use crate::base::long_double::LongDouble;
use crate::command::ctx::{CommandError, Ctx, Outcome, int_arg};
use crate::keyspace::unit::{Expiry, NotifyClass, WrongType};
use crate::keyspace::value::{Str, StrRef, ValueRef};
use crate::oplog::effect::Effect;
use crate::resp::errors;
use crate::resp::reply::Reply;

/// `INCR key`
pub fn incr(ctx: &mut Ctx<'_>, args: &[&[u8]], reply: &mut Reply) -> Outcome {
    add(ctx, args, 1, reply)
}

/// `DECR key`
pub fn decr(ctx: &mut Ctx<'_>, args: &[&[u8]], reply: &mut Reply) -> Outcome {
    add(ctx, args, -1, reply)
}

/// `INCRBY key increment`
pub fn incrby(ctx: &mut Ctx<'_>, args: &[&[u8]], reply: &mut Reply) -> Outcome {
    let by = int_arg(args.get(2).copied().unwrap_or_default())?;
    add(ctx, args, by, reply)
}

/// `DECRBY key decrement`
pub fn decrby(ctx: &mut Ctx<'_>, args: &[&[u8]], reply: &mut Reply) -> Outcome {
    let by = int_arg(args.get(2).copied().unwrap_or_default())?;
    let by = by
        .checked_neg()
        .ok_or(CommandError::new("ERR decrement would overflow"))?;
    add(ctx, args, by, reply)
}

/// The string at `key`, for a command that will write it.
fn current<'c>(ctx: &'c mut Ctx<'_>, key: &[u8]) -> Result<Option<StrRef<'c>>, WrongType> {
    match ctx.peek(key).map(|entry| entry.value()) {
        None => Ok(None),
        Some(ValueRef::Str(string)) => Ok(Some(string)),
        Some(_) => Err(WrongType),
    }
}

fn add(ctx: &mut Ctx<'_>, args: &[&[u8]], by: i64, reply: &mut Reply) -> Outcome {
    let key = args.get(1).copied().unwrap_or_default();
    let added = |old: i64| {
        let overflow = CommandError::new(errors::INCREMENT_OVERFLOW);
        old.checked_add(by).ok_or(overflow)
    };
    let db = ctx.db();
    let new = match ctx.unit.edit_int(db, key, added) {
        Some(new) => new?,
        // There is none yet, or one that is kept as text.
        None => {
            let old = match current(ctx, key)? {
                None => 0,
                Some(string) => string.as_integer().ok_or(CommandError::NOT_INTEGER)?,
            };
            let new = added(old)?;
            ctx.set_value(key, Str::Int(new), Expiry::Keep);
            new
        }
    };
    ctx.notify(NotifyClass::STRING, "incrby", key);
    reply.int(new);
    Ok(Effect::Verbatim)
}

/// `INCRBYFLOAT key increment`
///
/// Logged as the SET of its result: another machine might round or print differently.
pub fn incrbyfloat(ctx: &mut Ctx<'_>, args: &[&[u8]], reply: &mut Reply) -> Outcome {
    let &[_, key, by] = args else {
        return Err(CommandError::SYNTAX);
    };
    let old = match current(ctx, key)? {
        None => LongDouble::from_i64(0),
        Some(StrRef::Int(n)) => LongDouble::from_i64(n),
        Some(StrRef::Inline(text)) => LongDouble::parse(text).ok_or(CommandError::NOT_FLOAT)?,
        Some(StrRef::Heap(text)) => LongDouble::parse(text).ok_or(CommandError::NOT_FLOAT)?,
    };
    let new = old + LongDouble::parse(by).ok_or(CommandError::NOT_FLOAT)?;
    if !new.is_finite() {
        return Err(CommandError::new(errors::INCREMENT_NOT_FINITE));
    }
    let text = new.fmt_human();
    ctx.set_value(key, Str::Inline((*text).into()), Expiry::Keep);
    ctx.notify(NotifyClass::STRING, "incrbyfloat", key);
    reply.bulk(&text);
    Ok(ctx.rewritten(&[b"SET", key, &text, b"KEEPTTL"]))
}

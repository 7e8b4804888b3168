//! The lifetime of fields: giving one, asking for it, taking it away.
//!
//! As with keys, an expiry is kept and logged as an absolute one in milliseconds, for the fields
//! alone that got it; an expiry in the past removes its fields, logged as an `HDEL` for each.
//! These commands take a field that is due for one that is still there, but for HTTL and HPERSIST.

use smallvec::SmallVec;

use super::super::expire::Conditions;
use super::{arg, named_fields_or};
use crate::base::num;
use crate::command::ctx::{CommandError, Ctx, Outcome};
use crate::keyspace::unit::{Missing, NotifyClass};
use crate::keyspace::value::hash::Hash;
use crate::oplog::effect::Effect;
use crate::resp::reply::Reply;

/// The latest expiry that a command may ask for, Unix milliseconds; Redis's limit.
const LATEST_MS: i64 = (1 << 46) - 1;

/// The reply for a field that is not there.
const NO_FIELD: i64 = -2;

/// The reply for a field without an expiry.
const NO_EXPIRY: i64 = -1;

/// The instant that a command means by a number of units of `unit_ms` from `base_ms` on.
pub(super) fn instant(
    word: &[u8],
    unit_ms: i64,
    base_ms: i64,
    command: &str,
) -> Result<i64, CommandError> {
    let number = num::parse_i64(word).ok_or(CommandError::NOT_INTEGER)?;
    if number < 0 {
        return Err(CommandError::new("ERR invalid expire time, must be >= 0"));
    }
    let at_ms = number
        .checked_mul(unit_ms)
        .and_then(|ms| ms.checked_add(base_ms));
    at_ms
        .filter(|at| *at <= LATEST_MS)
        .ok_or_else(|| CommandError::new(format!("ERR invalid expire time in '{command}' command")))
}

/// `HEXPIRE key seconds [NX | XX | GT | LT] FIELDS numfields field [field ...]`
pub(super) fn hexpire(ctx: &mut Ctx<'_>, args: &[&[u8]], reply: &mut Reply) -> Outcome {
    let now_ms = ctx.now_ms();
    set_expiry(ctx, args, "hexpire", (1000, now_ms), reply)
}

/// `HPEXPIRE key milliseconds [NX | XX | GT | LT] FIELDS numfields field [field ...]`
pub(super) fn hpexpire(ctx: &mut Ctx<'_>, args: &[&[u8]], reply: &mut Reply) -> Outcome {
    let now_ms = ctx.now_ms();
    set_expiry(ctx, args, "hpexpire", (1, now_ms), reply)
}

/// `HEXPIREAT key unix-seconds [NX | XX | GT | LT] FIELDS numfields field [field ...]`
pub(super) fn hexpireat(ctx: &mut Ctx<'_>, args: &[&[u8]], reply: &mut Reply) -> Outcome {
    set_expiry(ctx, args, "hexpireat", (1000, 0), reply)
}

/// `HPEXPIREAT key unix-milliseconds [NX | XX | GT | LT] FIELDS numfields field [field ...]`
pub(super) fn hpexpireat(ctx: &mut Ctx<'_>, args: &[&[u8]], reply: &mut Reply) -> Outcome {
    set_expiry(ctx, args, "hpexpireat", (1, 0), reply)
}

fn set_expiry(
    ctx: &mut Ctx<'_>,
    args: &[&[u8]],
    command: &str,
    (unit_ms, base_ms): (i64, i64),
    reply: &mut Reply,
) -> Outcome {
    let key = arg(args, 1);
    ctx.lookup::<Hash>(key)?;
    let at_ms = instant(arg(args, 2), unit_ms, base_ms, command)?;
    let mut conditions = Conditions::default();
    let (option, rest) = if conditions.add(arg(args, 3)) {
        (args.get(3), args.get(4..))
    } else {
        (None, args.get(3..))
    };
    let fields = named_fields_or(
        rest.unwrap_or_default(),
        "ERR Parameter `numFields` should be greater than 0",
    )?;
    let past = at_ms <= ctx.now_ms() && ctx.deletes_expired();
    let mut changed: Vec<&[u8]> = Vec::new();
    let mut answers: Vec<i64> = Vec::new();
    let done = ctx.update::<Hash, _>(key, Missing::Skip, |hash| {
        hash.become_timed();
        for field in fields {
            answers.push(match hash.record(*field) {
                None => NO_FIELD,
                Some(record) if !conditions.allow(record.expire_ms, at_ms) => 0,
                Some(_) => {
                    changed.push(field);
                    set_or_remove(hash, field, at_ms, past)
                }
            });
        }
        ((), changed.len() as u64)
    })?;
    let Some(((), emptied)) = done else {
        all(fields, NO_FIELD, reply);
        return Ok(Effect::None);
    };
    reply.array(answers.len());
    answers.iter().for_each(|answer| reply.int(*answer));
    if changed.is_empty() {
        return Ok(Effect::None);
    }
    if past {
        tell_of_removal(ctx, key, &changed, emptied);
        return Ok(Effect::None);
    }
    ctx.notify(NotifyClass::HASH, "hexpire", key);
    Ok(expire_effect(ctx, key, at_ms, option.copied(), &changed))
}

/// The reply for a field that was given an expiry.
fn set_or_remove(hash: &mut Hash, field: &[u8], at_ms: i64, past: bool) -> i64 {
    if past {
        hash.remove(field);
        return 2;
    }
    hash.set_expiry(field, Some(at_ms));
    1
}

fn all(fields: &[&[u8]], answer: i64, reply: &mut Reply) {
    reply.array(fields.len());
    fields.iter().for_each(|_| reply.int(answer));
}

/// Logs and tells that fields are gone because they were given an expiry in the past.
pub(super) fn tell_of_removal(ctx: &mut Ctx<'_>, key: &[u8], fields: &[&[u8]], emptied: bool) {
    if ctx.unit.options.log {
        let db = ctx.db() as u32;
        for field in fields {
            ctx.unit.effects.push(db, &[b"HDEL", key, field]);
        }
    }
    super::notify_removal(ctx, key, emptied);
}

/// The effect of giving these fields an expiry.
pub(super) fn expire_effect(
    ctx: &Ctx<'_>,
    key: &[u8],
    at_ms: i64,
    option: Option<&[u8]>,
    fields: &[&[u8]],
) -> Effect {
    let (mut at, mut count) = (itoa::Buffer::new(), itoa::Buffer::new());
    let mut argv: SmallVec<[&[u8]; 16]> = SmallVec::new();
    argv.extend([b"HPEXPIREAT", key, at.format(at_ms).as_bytes()]);
    argv.extend(option);
    argv.extend([&b"FIELDS"[..], count.format(fields.len()).as_bytes()]);
    argv.extend_from_slice(fields);
    ctx.rewritten(&argv)
}

/// `HTTL key FIELDS numfields field [field ...]`
pub(super) fn httl(ctx: &mut Ctx<'_>, args: &[&[u8]], reply: &mut Reply) -> Outcome {
    let now_ms = ctx.now_ms();
    tell(ctx, args, reply, |at| seconds((at - now_ms).max(0)))
}

/// `HPTTL key FIELDS numfields field [field ...]`
pub(super) fn hpttl(ctx: &mut Ctx<'_>, args: &[&[u8]], reply: &mut Reply) -> Outcome {
    let now_ms = ctx.now_ms();
    tell(ctx, args, reply, |at| (at - now_ms).max(0))
}

/// `HEXPIRETIME key FIELDS numfields field [field ...]`
pub(super) fn hexpiretime(ctx: &mut Ctx<'_>, args: &[&[u8]], reply: &mut Reply) -> Outcome {
    tell(ctx, args, reply, seconds)
}

/// `HPEXPIRETIME key FIELDS numfields field [field ...]`
pub(super) fn hpexpiretime(ctx: &mut Ctx<'_>, args: &[&[u8]], reply: &mut Reply) -> Outcome {
    tell(ctx, args, reply, |at| at)
}

/// Seconds, rounded up; `ms` is not negative.
fn seconds(ms: i64) -> i64 {
    ms / 1000 + i64::from(ms % 1000 > 0)
}

/// Replies with what `show` makes of the expiry of each field.
fn tell(
    ctx: &mut Ctx<'_>,
    args: &[&[u8]],
    reply: &mut Reply,
    show: impl Fn(i64) -> i64,
) -> Outcome {
    let now_ms = ctx.unit.fields_now();
    let hash = ctx.read_as::<Hash>(arg(args, 1))?;
    let fields = super::named_fields(args.get(2..).unwrap_or_default())?;
    reply.array(fields.len());
    for field in fields {
        reply.int(match super::meet(hash, field, now_ms) {
            super::Met::Field(record) => record.expire_ms.map_or(NO_EXPIRY, &show),
            super::Met::Nothing | super::Met::Due => NO_FIELD,
        });
    }
    Ok(Effect::None)
}

/// `HPERSIST key FIELDS numfields field [field ...]`
pub(super) fn hpersist(ctx: &mut Ctx<'_>, args: &[&[u8]], reply: &mut Reply) -> Outcome {
    let key = arg(args, 1);
    ctx.lookup::<Hash>(key)?;
    let fields = super::named_fields(args.get(2..).unwrap_or_default())?;
    let now_ms = ctx.unit.fields_now();
    let done = ctx.update::<Hash, _>(key, Missing::Skip, |hash| {
        let answer = |field: &&[u8]| match hash.record(*field) {
            None => NO_FIELD,
            Some(record) if record.is_due(now_ms) => NO_FIELD,
            Some(record) if record.expire_ms.is_none() => NO_EXPIRY,
            Some(_) => {
                hash.set_expiry(*field, None);
                1
            }
        };
        let answers: Vec<i64> = fields.iter().map(answer).collect();
        let changes = answers.iter().filter(|answer| **answer == 1).count();
        ((answers, changes), changes as u64)
    })?;
    let Some(((answers, changes), _)) = done else {
        all(fields, NO_FIELD, reply);
        return Ok(Effect::None);
    };
    reply.array(answers.len());
    answers.iter().for_each(|answer| reply.int(*answer));
    if changes == 0 {
        return Ok(Effect::None);
    }
    ctx.notify(NotifyClass::HASH, "hpersist", key);
    Ok(Effect::Verbatim)
}

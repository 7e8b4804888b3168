//! DUMP and RESTORE: one value as bytes, and back. The format belongs to persistence, which the
//! host reaches.

use std::sync::Arc;

use smallvec::SmallVec;

use crate::command::ctx::{CommandError, Ctx, Outcome, int_arg};
use crate::command::evict;
use crate::keyspace::locks::ShardMask;
use crate::keyspace::unit::{Free, NotifyClass};
use crate::oplog::effect::Effect;
use crate::resp::errors;
use crate::resp::reply::Reply;

/// `DUMP key`
///
/// The value is taken by its handle and written once the lock is released.
pub fn dump(ctx: &mut Ctx<'_>, args: &[&[u8]], reply: &mut Reply) -> Outcome {
    let &[_, key] = args else {
        return Err(CommandError::SYNTAX);
    };
    let Some(value) = ctx.read(key).map(|value| value.to_value()) else {
        reply.null();
        return Ok(Effect::None);
    };
    let host = Arc::clone(&ctx.engine.host);
    let elements = value.as_ref().elements();
    let write = move |reply: &mut Reply| match host.dump(value.as_ref()) {
        Ok(payload) => reply.shared_bulk(payload.into()),
        Err(error) => reply.error(error.0.as_bytes()),
    };
    reply.deferred_of(elements, Box::new(write));
    Ok(Effect::None)
}

/// What RESTORE takes behind its fixed arguments.
#[derive(Default)]
struct Options {
    replace: bool,
    absolute: bool,
    idle_s: Option<i64>,
    frequency: Option<i64>,
}

impl Options {
    fn parse(args: &[&[u8]]) -> Result<Options, CommandError> {
        let mut o = Options::default();
        let mut rest = args.iter();
        while let Some(arg) = rest.next() {
            let is = |name: &[u8]| arg.eq_ignore_ascii_case(name);
            if is(b"REPLACE") {
                o.replace = true;
            } else if is(b"ABSTTL") {
                o.absolute = true;
            } else if is(b"IDLETIME")
                && o.frequency.is_none()
                && let Some(seconds) = rest.next()
            {
                o.idle_s = Some(int_arg(seconds)?);
                if o.idle_s < Some(0) {
                    let text = "ERR Invalid IDLETIME value, must be >= 0";
                    return Err(CommandError::new(text));
                }
            } else if is(b"FREQ")
                && o.idle_s.is_none()
                && let Some(count) = rest.next()
            {
                let count = int_arg(count)?;
                o.frequency = Some(count);
                if !(0..=255).contains(&count) {
                    let text = "ERR Invalid FREQ value, must be >= 0 and <= 255";
                    return Err(CommandError::new(text));
                }
            } else {
                return Err(CommandError::SYNTAX);
            }
        }
        Ok(o)
    }
}

/// `RESTORE key ttl payload [REPLACE] [ABSTTL] [IDLETIME seconds | FREQ count]`
///
/// The payload is read before anything is locked. As in Redis, FREQ counts under an LFU policy
/// alone, and IDLETIME under any other.
pub fn restore(ctx: &mut Ctx<'_>, args: &[&[u8]], reply: &mut Reply) -> Outcome {
    let &[_, key, ttl, payload, ref options @ ..] = args else {
        return Err(CommandError::SYNTAX);
    };
    let o = Options::parse(options)?;
    let value = ctx.engine.host.restore(payload);
    if ctx.unit.mask().is_empty() {
        let mut mask = ShardMask::NONE;
        mask.add_hash(crate::keyspace::hash::of(key));
        ctx.unit.relock(mask);
    }
    if !o.replace && ctx.exists(key) {
        return Err(CommandError::new(errors::BUSY_KEY));
    }
    let ttl = int_arg(ttl)?;
    if ttl < 0 {
        return Err(CommandError::new("ERR Invalid TTL value, must be >= 0"));
    }
    let value = value?;
    let now_ms = ctx.now_ms();
    let at_ms = match ttl {
        0 => None,
        _ if o.absolute => Some(ttl),
        _ => Some(ttl.saturating_add(now_ms)),
    };
    reply.ok();
    if at_ms.is_some_and(|at| at <= now_ms) && ctx.deletes_expired() {
        return Ok(remove_replaced(ctx, key));
    }
    let db = ctx.db();
    ctx.unit.place((db, key), value, at_ms);
    let access = match (ctx.unit.options.lfu, o.idle_s, o.frequency) {
        (Some(lfu), _, Some(frequency)) => {
            Some(lfu.with_counter(u8::try_from(frequency).unwrap_or(u8::MAX)))
        }
        (None, Some(idle_s), _) => {
            let idle_s = u64::try_from(idle_s).unwrap_or(0);
            Some(evict::accessed_before(ctx.unit.options.access, idle_s))
        }
        _ => None,
    };
    if let Some(access) = access {
        ctx.unit.set_access(db, key, access);
    }
    ctx.notify(NotifyClass::GENERIC, "restore", key);
    let Some(at_ms) = at_ms.filter(|_| !o.absolute) else {
        return Ok(Effect::Verbatim);
    };
    let mut text = itoa::Buffer::new();
    let mut effect: SmallVec<[&[u8]; 10]> = SmallVec::from_slice(args);
    if let Some(time) = effect.get_mut(2) {
        *time = text.format(at_ms).as_bytes();
    }
    effect.push(b"ABSTTL");
    Ok(ctx.rewritten(&effect))
}

/// What RESTORE with a time in the past does: the key it would have replaced goes.
fn remove_replaced(ctx: &mut Ctx<'_>, key: &[u8]) -> Effect {
    let db = ctx.db();
    let free = ctx.unit.options.replaced;
    if !ctx.unit.remove(db, key, free) {
        return Effect::None;
    }
    ctx.notify(NotifyClass::GENERIC, "del", key);
    match free {
        Free::Here => ctx.rewritten(&[b"DEL", key]),
        Free::Elsewhere => ctx.rewritten(&[b"UNLINK", key]),
    }
}

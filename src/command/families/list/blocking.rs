//! The commands that wait for an element.

use super::*;
use crate::command::blocking::{Nothing, Wait, timeout_seconds};
use crate::keyspace::value::ValueKind;

/// `BLPOP key [key ...] timeout`
pub fn blpop(ctx: &mut Ctx<'_>, args: &[&[u8]], reply: &mut Reply) -> Outcome {
    pop(ctx, args, End::Head, reply)
}

/// `BRPOP key [key ...] timeout`
pub fn brpop(ctx: &mut Ctx<'_>, args: &[&[u8]], reply: &mut Reply) -> Outcome {
    pop(ctx, args, End::Tail, reply)
}

fn pop(ctx: &mut Ctx<'_>, args: &[&[u8]], end: End, reply: &mut Reply) -> Outcome {
    let [_, keys @ .., timeout] = args else {
        return Err(CommandError::SYNTAX);
    };
    let timeout_ms = timeout_seconds(timeout, ctx.now_ms())?;
    let limits = limits::list(ctx.settings);
    for key in keys {
        if !ctx.holds(key) || ctx.lookup::<List>(key)?.is_none() {
            continue;
        }
        reply.array(2);
        reply.bulk(key);
        let popped = ctx.update::<List, _>(key, Missing::Skip, |list| {
            let n = list.pop(limits, end, 1, |elem| bulk(reply, elem));
            (n, n as u64)
        })?;
        let emptied = popped.is_some_and(|(_, emptied)| emptied);
        pops::notify_pop(ctx, end, key, emptied);
        return Ok(ctx.rewritten(&[pops::pop_name(end), key]));
    }
    let wait = Wait {
        keys,
        kind: ValueKind::List,
        on_gone: false,
        also: &[],
        timeout_ms,
        argv: args,
        nothing: Nothing::NullArray,
    };
    ctx.wait(&wait, reply)
}

/// `BLMPOP timeout numkeys key [key ...] LEFT|RIGHT [COUNT count]`
pub fn blmpop(ctx: &mut Ctx<'_>, args: &[&[u8]], reply: &mut Reply) -> Outcome {
    let request = pops::MultiPop::parse(args.get(2..).unwrap_or_default())?;
    let timeout_ms = timeout_seconds(arg(args, 1), ctx.now_ms())?;
    if let Some(effect) = request.run(ctx, reply)? {
        return Ok(effect);
    }
    let wait = Wait {
        keys: request.keys,
        kind: ValueKind::List,
        on_gone: false,
        also: &[],
        timeout_ms,
        argv: args,
        nothing: Nothing::NullArray,
    };
    ctx.wait(&wait, reply)
}

/// `BLMOVE source destination LEFT|RIGHT LEFT|RIGHT timeout`
pub fn blmove(ctx: &mut Ctx<'_>, args: &[&[u8]], reply: &mut Reply) -> Outcome {
    let (from, to) = (end_arg(arg(args, 3))?, end_arg(arg(args, 4))?);
    let timeout_ms = timeout_seconds(arg(args, 5), ctx.now_ms())?;
    let logged = [
        b"LMOVE",
        arg(args, 1),
        arg(args, 2),
        arg(args, 3),
        arg(args, 4),
    ];
    move_or_wait(ctx, args, (from, to), timeout_ms, &logged, reply)
}

/// `BRPOPLPUSH source destination timeout`
pub fn brpoplpush(ctx: &mut Ctx<'_>, args: &[&[u8]], reply: &mut Reply) -> Outcome {
    let timeout_ms = timeout_seconds(arg(args, 3), ctx.now_ms())?;
    let logged = [b"RPOPLPUSH", arg(args, 1), arg(args, 2)];
    let ends = (End::Tail, End::Head);
    move_or_wait(ctx, args, ends, timeout_ms, &logged, reply)
}

fn move_or_wait(
    ctx: &mut Ctx<'_>,
    args: &[&[u8]],
    (from, to): (End, End),
    timeout_ms: u64,
    logged: &[&[u8]],
    reply: &mut Reply,
) -> Outcome {
    let (source, destination) = (arg(args, 1), arg(args, 2));
    if ctx.lookup::<List>(source)?.is_none() {
        let wait = Wait {
            keys: &[source],
            kind: ValueKind::List,
            on_gone: false,
            also: &[destination],
            timeout_ms,
            argv: args,
            nothing: Nothing::Null,
        };
        return ctx.wait(&wait, reply);
    }
    moves::move_one(ctx, args, from, to, reply)?;
    Ok(ctx.rewritten(logged))
}

#[cfg(test)]
mod tests;

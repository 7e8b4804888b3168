//! Emptying and exchanging databases.

use std::ops::Range;

use super::{db_index, int32_arg};
use crate::command::ctx::{CommandError, Ctx, Later, Outcome};
use crate::keyspace::unit::Free;
use crate::oplog::effect::Effect;
use crate::resp::reply::Reply;

/// A synchronous flush of more keys than this waits for a helper thread that frees them, so that
/// the worker's other connections do not.
const HELPER_KEYS: usize = 10_000;

/// `FLUSHDB [SYNC | ASYNC]`
pub fn flushdb(ctx: &mut Ctx<'_>, args: &[&[u8]], reply: &mut Reply) -> Outcome {
    let free = who_frees(ctx, args)?;
    let db = ctx.db();
    flush(ctx, db..db + 1, free, reply);
    Ok(Effect::Verbatim)
}

/// `FLUSHALL [SYNC | ASYNC]`
pub fn flushall(ctx: &mut Ctx<'_>, args: &[&[u8]], reply: &mut Reply) -> Outcome {
    let free = who_frees(ctx, args)?;
    let databases = ctx.engine.keyspace.databases();
    flush(ctx, 0..databases, free, reply);
    if let Some(persistence) = ctx.engine.host.persistence() {
        persistence.flushed_all();
    }
    Ok(Effect::Verbatim)
}

fn who_frees(ctx: &Ctx<'_>, args: &[&[u8]]) -> Result<Free, CommandError> {
    match args.get(1..).unwrap_or_default() {
        [] => Ok(Free::lazily(ctx.settings.memory.lazyfree_lazy_user_flush)),
        [how] if how.eq_ignore_ascii_case(b"SYNC") => Ok(Free::Here),
        [how] if how.eq_ignore_ascii_case(b"ASYNC") => Ok(Free::Elsewhere),
        _ => Err(CommandError::SYNTAX),
    }
}

fn flush(ctx: &mut Ctx<'_>, dbs: Range<usize>, free: Free, reply: &mut Reply) {
    let keys: usize = dbs.map(|db| ctx.unit.flush(db, free)).sum();
    ctx.unit.counters.dirty += keys as u64;
    if free == Free::Here && keys > HELPER_KEYS && !ctx.nested && ctx.is_client() {
        let garbage = std::mem::take(&mut ctx.unit.freed.here);
        ctx.suspended = Some(Box::pin(async move {
            // The thread cannot fail, and if it were refused, nothing would be left to free.
            let _ = tokio::task::spawn_blocking(move || drop(garbage)).await;
            let done: Later = Box::new(|_, reply| reply.ok());
            done
        }));
    } else {
        reply.ok();
    }
}

/// `SWAPDB index1 index2`
pub fn swapdb(ctx: &mut Ctx<'_>, args: &[&[u8]], reply: &mut Reply) -> Outcome {
    let &[_, first, second] = args else {
        return Err(CommandError::SYNTAX);
    };
    let first = int32_arg(first).map_err(|_| CommandError::new("ERR invalid first DB index"))?;
    let second = int32_arg(second).map_err(|_| CommandError::new("ERR invalid second DB index"))?;
    let (first, second) = (db_index(ctx, first)?, db_index(ctx, second)?);
    if first == second {
        ctx.unit.counters.dirty += 1;
    } else {
        ctx.unit.swap(first, second);
    }
    reply.ok();
    Ok(Effect::Verbatim)
}

//! Emptying and exchanging databases.

use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;

use super::{db_index, int32_arg};
use crate::command::ctx::{CommandError, Ctx, Later, Outcome};
use crate::command::host::EmptyFile;
use crate::keyspace::unit::Free;
use crate::oplog::effect::Effect;
use crate::resp::reply::Reply;

/// `FLUSHDB [SYNC | ASYNC]`
pub fn flushdb(ctx: &mut Ctx<'_>, args: &[&[u8]], reply: &mut Reply) -> Outcome {
    let free = who_frees(ctx, args)?;
    let db = ctx.db();
    let freeing = flush(ctx, db..db + 1, free);
    reply_behind(ctx, freeing, None, reply);
    Ok(Effect::Verbatim)
}

/// `FLUSHALL [SYNC | ASYNC]`
pub fn flushall(ctx: &mut Ctx<'_>, args: &[&[u8]], reply: &mut Reply) -> Outcome {
    let free = who_frees(ctx, args)?;
    let databases = ctx.engine.keyspace.databases();
    let freeing = flush(ctx, 0..databases, free);
    let persistence = ctx.engine.host.persistence();
    let nested = ctx.nested || !ctx.is_client();
    let file = persistence.map_or(EmptyFile::NotWanted, |p| p.flushed_all(nested));
    let mut written = None;
    match file {
        EmptyFile::NotWanted => {}
        EmptyFile::Soon => {
            // What was not saved is gone: nothing is left to save but the void itself.
            ctx.unit.counters.dirty = 0;
            ctx.engine.keyspace.saved(ctx.engine.keyspace.dirty());
        }
        EmptyFile::Now(writing) => written = Some(writing),
    }
    reply_behind(ctx, freeing, written, reply);
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

/// Empties databases. A synchronous flush leaves the freeing to the thread for that, as Redis does
/// since 8.0, and its reply waits: `true`.
fn flush(ctx: &mut Ctx<'_>, dbs: Range<usize>, free: Free) -> bool {
    let waits = free == Free::Here && !ctx.nested && ctx.is_client();
    let free = if waits { Free::Elsewhere } else { free };
    let keys: usize = dbs.map(|db| ctx.unit.flush(db, free)).sum();
    ctx.unit.counters.dirty += keys as u64;
    waits && keys > 0
}

/// Replies once everything has been freed, and the file is there.
fn reply_behind(
    ctx: &mut Ctx<'_>,
    freeing: bool,
    written: Option<Pin<Box<dyn Future<Output = ()>>>>,
    reply: &mut Reply,
) {
    if !freeing && written.is_none() {
        return reply.ok();
    }
    let host = Arc::clone(&ctx.engine.host);
    ctx.suspended = Some(Box::pin(async move {
        // The unit has ended: what it took out is in the queue.
        if freeing {
            host.freed().await;
        }
        if let Some(written) = written {
            written.await;
        }
        let done: Later = Box::new(|_, reply| reply.ok());
        done
    }));
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

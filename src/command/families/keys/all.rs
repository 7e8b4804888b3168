//! Commands on all keys of a database.

use crate::base::glob;
use crate::command::ctx::{CommandError, Ctx, Outcome};
use crate::keyspace::entry::EntryRef;
use crate::keyspace::locks::ShardMask;
use crate::keyspace::unit::ExpiryMode;
use crate::oplog::effect::Effect;
use crate::resp::reply::Reply;

/// Keys looked at under one hold of a shard's lock.
const STEP_KEYS: usize = 512;

/// `KEYS pattern`
///
/// Keys that are due are not told and not removed. The shards are locked one after the other, for
/// [`STEP_KEYS`] keys at a time, so nobody waits for the whole of it; inside a transaction all of
/// them are locked as for every command there.
pub fn keys(ctx: &mut Ctx<'_>, args: &[&[u8]], reply: &mut Reply) -> Outcome {
    let &[_, pattern] = args else {
        return Err(CommandError::SYNTAX);
    };
    if is_literal(pattern) {
        return one_key(ctx, pattern, reply);
    }
    let db = ctx.db();
    let (now_ms, sees_due) = (ctx.now_ms(), ctx.unit.options.expiry == ExpiryMode::Ignore);
    let slot = reply.defer_len();
    let mut count = 0;
    ctx.unit
        .walk(db, 0, usize::MAX, STEP_KEYS, |entry: EntryRef<'_>| {
            let key = entry.key();
            let wanted = pattern == b"*" || glob::matches(pattern, key, false);
            let due = || entry.expire_ms().is_some_and(|at| at <= now_ms);
            if wanted && (sees_due || !due()) {
                reply.bulk(key);
                count += 1;
            }
        });
    reply.set_array_len(slot, count);
    Ok(Effect::None)
}

/// Whether a pattern matches itself and nothing else.
fn is_literal(pattern: &[u8]) -> bool {
    !pattern
        .iter()
        .any(|byte| matches!(byte, b'*' | b'?' | b'[' | b'\\'))
}

/// KEYS of a pattern that can only be one key: no walk.
fn one_key(ctx: &mut Ctx<'_>, key: &[u8], reply: &mut Reply) -> Outcome {
    if ctx.unit.mask().is_empty() {
        let mut mask = ShardMask::NONE;
        mask.add_hash(crate::keyspace::hash::of(key));
        ctx.unit.relock(mask);
    }
    let db = ctx.db();
    let hidden = ctx.unit.options.expiry != ExpiryMode::Ignore && ctx.unit.is_due(db, key);
    if hidden || !ctx.exists(key) {
        reply.array(0);
    } else {
        reply.array(1);
        reply.bulk(key);
    }
    Ok(Effect::None)
}

/// `RANDOMKEY`
pub fn randomkey(ctx: &mut Ctx<'_>, _: &[&[u8]], reply: &mut Reply) -> Outcome {
    let db = ctx.db();
    reply.bulk_opt(ctx.unit.random_key(db).as_deref());
    Ok(Effect::None)
}

/// `DBSIZE`
pub fn dbsize(ctx: &mut Ctx<'_>, _: &[&[u8]], reply: &mut Reply) -> Outcome {
    let db = ctx.db();
    reply.len_int(ctx.unit.db_len(db));
    Ok(Effect::None)
}

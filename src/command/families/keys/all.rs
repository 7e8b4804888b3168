//! Commands on all keys of a database.

use std::sync::Arc;

use bytes::Bytes;

use crate::base::glob;
use crate::command::ctx::{CommandError, Ctx, Outcome};
use crate::keyspace::entry::EntryRef;
use crate::keyspace::locks::ShardMask;
use crate::keyspace::unit::ExpiryMode;
use crate::oplog::durable::Need;
use crate::oplog::effect::Effect;
use crate::resp::reply::Reply;

/// Keys looked at under one hold of a shard's lock.
const STEP_KEYS: usize = 512;

/// Keys found are set aside in pieces of about this length.
const PIECE_BYTES: usize = 64 * 1024;

/// `KEYS pattern`
///
/// Keys that are due are not told and not removed. The shards are locked one after the other, for
/// [`STEP_KEYS`] keys at a time, so nobody waits for the whole of it; inside a transaction all of
/// them are locked as for every command there. The walk through a large database is left to a
/// helper thread, unless the reply has to wait until what it tells is durable.
pub fn keys(ctx: &mut Ctx<'_>, args: &[&[u8]], reply: &mut Reply) -> Outcome {
    let &[_, pattern] = args else {
        return Err(CommandError::SYNTAX);
    };
    if is_literal(pattern) {
        return one_key(ctx, pattern, reply);
    }
    let db = ctx.db();
    let mut found = Found {
        now_ms: ctx.now_ms(),
        sees_due: ctx.unit.options.expiry == ExpiryMode::Ignore,
        pattern: pattern.into(),
        keys: Reply::new(reply.proto()),
        pieces: Vec::new(),
        count: 0,
    };
    if ctx.unit.mask().is_empty() && ctx.engine.log.durability().need() == Need::Nothing {
        let keyspace = Arc::clone(&ctx.engine.keyspace);
        let keys = keyspace.db_len(db);
        let walk = move |reply: &mut Reply| {
            keyspace.walk(db, 0, usize::MAX, STEP_KEYS, |entry| found.look(entry));
            found.write(reply);
        };
        reply.deferred_of(keys, Box::new(walk));
        return Ok(Effect::None);
    }
    ctx.unit
        .walk(db, 0, usize::MAX, STEP_KEYS, |entry| found.look(entry));
    found.write(reply);
    Ok(Effect::None)
}

/// The keys that match, as they are replied.
struct Found {
    now_ms: i64,
    sees_due: bool,
    pattern: Box<[u8]>,
    keys: Reply,
    pieces: Vec<Bytes>,
    count: usize,
}

impl Found {
    fn look(&mut self, entry: EntryRef<'_>) {
        let key = entry.key();
        let wanted = *self.pattern == *b"*" || glob::matches(&self.pattern, key, false);
        let due = || entry.expire_ms().is_some_and(|at| at <= self.now_ms);
        if wanted && (self.sees_due || !due()) {
            self.keys.bulk(key);
            self.count += 1;
            if self.keys.len_bytes() > PIECE_BYTES {
                self.pieces.extend(self.keys.drain_chunks());
            }
        }
    }

    fn write(mut self, reply: &mut Reply) {
        reply.array(self.count);
        for piece in self.pieces {
            reply.raw_shared(piece);
            reply.breathe();
        }
        reply.append(&mut self.keys);
    }
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

//! MULTI, EXEC, DISCARD, WATCH, UNWATCH.
//!
//! EXEC is one unit: it locks the shards of every queued command's keys, all of them at once,
//! checks the watched keys, and runs the queue. Its effects go to the log between MULTI and EXEC.

use std::sync::atomic::Ordering;

use crate::keyspace::locks::ShardMask;
use crate::oplog::effect::Effect;
use crate::resp::reply::Reply;

use super::ctx::{CommandError, Ctx, Outcome};
use super::engine::{Engine, Gate};
use super::session::{Origin, Session, Watched};
use super::spec::CommandFlags;

/// Commands queued by MULTI.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Queue {
    commands: Vec<Vec<Box<[u8]>>>,
    /// A command was refused while queueing: EXEC fails.
    pub failed: bool,
    /// The flags of all queued commands together.
    pub flags: CommandFlags,
    /// A queued command may not run while data are loaded.
    pub denies_loading: bool,
    /// A queued command may not run on stale data.
    pub denies_stale: bool,
    bytes: usize,
}

impl Queue {
    /// Queues a command.
    pub fn push(&mut self, args: &[&[u8]], flags: CommandFlags) {
        self.bytes += args.iter().map(|a| a.len()).sum::<usize>();
        self.flags.insert(flags);
        self.denies_loading |= !flags.contains(CommandFlags::LOADING);
        self.denies_stale |= !flags.contains(CommandFlags::STALE);
        self.commands
            .push(args.iter().map(|a| (*a).into()).collect());
    }

    /// Number of queued commands.
    pub fn len(&self) -> usize {
        self.commands.len()
    }

    /// Whether nothing is queued.
    pub fn is_empty(&self) -> bool {
        self.commands.is_empty()
    }

    /// Bytes of arguments that are queued.
    pub fn size_bytes(&self) -> usize {
        self.bytes
    }
}

impl Session {
    fn set_multi(&mut self, queue: Option<Queue>) {
        let len = queue.as_ref().map_or(-1, |q| q.len() as i64);
        self.client.multi.store(len, Ordering::Relaxed);
        self.client.multi_bytes.store(0, Ordering::Relaxed);
        self.multi = queue;
    }
}

/// `MULTI`
pub fn multi(ctx: &mut Ctx<'_>, _: &[&[u8]], reply: &mut Reply) -> Outcome {
    if ctx.session.multi.is_some() {
        return Err(CommandError::new("ERR MULTI calls can not be nested"));
    }
    ctx.session.set_multi(Some(Queue::default()));
    reply.ok();
    Ok(Effect::None)
}

/// `DISCARD`
pub fn discard(ctx: &mut Ctx<'_>, _: &[&[u8]], reply: &mut Reply) -> Outcome {
    if ctx.session.multi.is_none() {
        return Err(CommandError::new("ERR DISCARD without MULTI"));
    }
    discard_all(ctx);
    reply.ok();
    Ok(Effect::None)
}

/// Leaves the transaction, if there is one, and forgets all watches.
pub fn discard_all(ctx: &mut Ctx<'_>) {
    ctx.session.set_multi(None);
    unwatch_all(ctx);
}

/// `WATCH key [key ...]`
pub fn watch(ctx: &mut Ctx<'_>, args: &[&[u8]], reply: &mut Reply) -> Outcome {
    if ctx.session.multi.is_some() {
        return Err(CommandError::new("ERR WATCH inside MULTI is not allowed"));
    }
    let db = ctx.db();
    if !ctx.session.watch_broken() {
        for key in args.iter().skip(1) {
            if ctx
                .session
                .watched
                .iter()
                .any(|w| w.db == db && *w.key == **key)
            {
                continue;
            }
            let was_gone = ctx.unit.is_due(db, key) || !ctx.unit.exists(db, key);
            ctx.unit.watch(db, key, &ctx.session.watch_flag);
            ctx.session.watched.push(Watched {
                db,
                key: (*key).into(),
                was_gone,
            });
        }
        ctx.session
            .client
            .watching
            .store(ctx.session.watched.len() as u32, Ordering::Relaxed);
    }
    reply.ok();
    Ok(Effect::None)
}

/// `UNWATCH`
pub fn unwatch(ctx: &mut Ctx<'_>, _: &[&[u8]], reply: &mut Reply) -> Outcome {
    unwatch_all(ctx);
    reply.ok();
    Ok(Effect::None)
}

/// Forgets all watches of the session. The command holds no locks, or all that are needed.
pub fn unwatch_all(ctx: &mut Ctx<'_>) {
    let watched = std::mem::take(&mut ctx.session.watched);
    if !watched.is_empty() {
        let mask = mask_of(watched.iter().map(|w| &*w.key));
        if !ctx.unit.mask().contains(mask) {
            ctx.relock(mask);
        }
        for w in &watched {
            ctx.unit.unwatch(w.db, &w.key, &ctx.session.watch_flag);
        }
    }
    ctx.session.client.watching.store(0, Ordering::Relaxed);
    ctx.session.watch_flag.store(false, Ordering::Release);
}

/// Forgets the watches of a session that ends.
pub fn end_session(engine: &Engine, session: &mut Session) {
    let watched = std::mem::take(&mut session.watched);
    if watched.is_empty() {
        return;
    }
    let mut locked = engine
        .keyspace
        .lock(mask_of(watched.iter().map(|w| &*w.key)));
    for w in &watched {
        if let Some(shard) = locked.shard_for(crate::keyspace::hash::of(&w.key)) {
            shard.unwatch(w.db, &w.key, &session.watch_flag);
        }
    }
}

/// The shards of these keys.
fn mask_of<'k>(keys: impl Iterator<Item = &'k [u8]>) -> ShardMask {
    let mut mask = ShardMask::NONE;
    for key in keys {
        mask.add_hash(crate::keyspace::hash::of(key));
    }
    mask
}

/// `EXEC`
pub fn exec(ctx: &mut Ctx<'_>, _: &[&[u8]], reply: &mut Reply) -> Outcome {
    let Some(queue) = ctx.session.multi.take() else {
        return Err(CommandError::new("ERR EXEC without MULTI"));
    };
    ctx.session.set_multi(None);
    let watched = std::mem::take(&mut ctx.session.watched);
    let engine = ctx.engine;
    let mut mask = mask_of(watched.iter().map(|w| &*w.key));
    for command in &queue.commands {
        let args: Vec<&[u8]> = command.iter().map(|a| &**a).collect();
        mask = mask.union(engine.locks_of(&args));
    }
    ctx.relock(mask);
    let broken = ctx.session.watch_broken()
        || watched
            .iter()
            .any(|w| !w.was_gone && ctx.unit.is_due(w.db, &w.key));
    for w in &watched {
        ctx.unit.unwatch(w.db, &w.key, &ctx.session.watch_flag);
    }
    ctx.session.client.watching.store(0, Ordering::Relaxed);
    ctx.session.watch_flag.store(false, Ordering::Release);
    if queue.failed {
        return Err(CommandError::new(
            "EXECABORT Transaction discarded because of previous errors.",
        ));
    }
    // We may have become a replica since EXEC was let through.
    if queue.flags.contains(CommandFlags::WRITE)
        && ctx.session.origin == Origin::Client
        && engine.gates.is(Gate::READ_ONLY)
    {
        return Err(CommandError::new(
            "EXECABORT Transaction discarded because of: READONLY You can't write against a read \
             only replica.",
        ));
    }
    if broken {
        reply.null_array();
        return Ok(Effect::None);
    }
    let mark = ctx.unit.effects.mark();
    reply.array(queue.len());
    ctx.nested = true;
    for command in &queue.commands {
        let args: Vec<&[u8]> = command.iter().map(|a| &**a).collect();
        engine.run_queued(ctx, &args, reply);
    }
    ctx.nested = false;
    ctx.unit.effects.wrap_multi(mark);
    Ok(Effect::None)
}

//! OBJECT: how a value is kept. A look of this kind counts as a read but touches nothing.

use crate::base::clock;
use crate::command::ctx::{CommandError, Ctx, Outcome};
use crate::command::evict;
use crate::keyspace::entry::EntryRef;
use crate::keyspace::eviction;
use crate::keyspace::value::{StrRef, ValueRef};
use crate::oplog::effect::Effect;
use crate::resp::reply::Reply;

/// Integers below this are shared objects in Redis, whose reference count is not counted.
const SHARED_INTEGERS: i64 = 10_000;

fn inspect(
    ctx: &mut Ctx<'_>,
    args: &[&[u8]],
    reply: &mut Reply,
    show: impl FnOnce(EntryRef<'_>, &mut Reply),
) -> Outcome {
    let &[_, _, key] = args else {
        return Err(CommandError::SYNTAX);
    };
    let db = ctx.db();
    match ctx.unit.inspect_quietly(db, key) {
        Some(entry) => show(entry, reply),
        None => reply.null(),
    }
    Ok(Effect::None)
}

/// `OBJECT ENCODING key`
pub fn encoding(ctx: &mut Ctx<'_>, args: &[&[u8]], reply: &mut Reply) -> Outcome {
    inspect(ctx, args, reply, |entry, reply| {
        reply.bulk(entry.value().encoding().as_bytes());
    })
}

/// `OBJECT REFCOUNT key`. Where keys are evicted by what is known of each, Redis shares nothing.
pub fn refcount(ctx: &mut Ctx<'_>, args: &[&[u8]], reply: &mut Reply) -> Outcome {
    let memory = &ctx.settings.memory;
    let shares = memory.maxmemory == 0 || !evict::looks_at_access(memory.maxmemory_policy);
    inspect(ctx, args, reply, |entry, reply| match entry.value() {
        ValueRef::Str(StrRef::Int(0..SHARED_INTEGERS)) if shares => {
            reply.int(i64::from(i32::MAX));
        }
        _ => reply.int(1),
    })
}

/// `OBJECT IDLETIME key`
pub fn idletime(ctx: &mut Ctx<'_>, args: &[&[u8]], reply: &mut Reply) -> Outcome {
    let counts = ctx.unit.options.lfu.is_some();
    let now = clock::lru_seconds_at(ctx.now_ms());
    let mut there = false;
    inspect(ctx, args, reply, |entry, reply| {
        there = true;
        if !counts {
            reply.int(eviction::idle_s(now, entry.access()) as i64);
        }
    })?;
    if there && counts {
        return Err(CommandError::new(
            "ERR An LFU maxmemory policy is selected, idle time not tracked. Please note that \
             when switching between policies at runtime LRU and LFU data will take some time to \
             adjust.",
        ));
    }
    Ok(Effect::None)
}

/// `OBJECT FREQ key`
pub fn freq(ctx: &mut Ctx<'_>, args: &[&[u8]], reply: &mut Reply) -> Outcome {
    let lfu = ctx.unit.options.lfu;
    let mut there = false;
    inspect(ctx, args, reply, |entry, reply| {
        there = true;
        if let Some(lfu) = lfu {
            reply.int(i64::from(lfu.counter(entry.access())));
        }
    })?;
    if there && lfu.is_none() {
        return Err(CommandError::new(
            "ERR An LFU maxmemory policy is not selected, access frequency not tracked. Please \
             note that when switching between policies at runtime LRU and LFU data will take \
             some time to adjust.",
        ));
    }
    Ok(Effect::None)
}

/// `OBJECT HELP`
pub fn help(_: &mut Ctx<'_>, args: &[&[u8]], reply: &mut Reply) -> Outcome {
    let lines = [
        "ENCODING <key>",
        "    Return the kind of internal representation used in order to store the value",
        "    associated with a <key>.",
        "FREQ <key>",
        "    Return the access frequency index of the <key>. The returned integer is",
        "    proportional to the logarithm of the recent access frequency of the key.",
        "IDLETIME <key>",
        "    Return the idle time of the <key>, that is the approximated number of",
        "    seconds elapsed since the last access to the key.",
        "REFCOUNT <key>",
        "    Return the number of references of the value associated with the specified",
        "    <key>.",
    ];
    super::super::help(args, &lines, reply);
    Ok(Effect::None)
}

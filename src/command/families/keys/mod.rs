//! Keys as such, whatever they hold: whether they are there, removing, renaming, moving and
//! copying them, and (in files of their own) what concerns whole databases or looks inside.
//!
//! - [`all`]: KEYS, RANDOMKEY, DBSIZE.
//! - [`flush`]: FLUSHDB, FLUSHALL, SWAPDB.
//! - [`object`]: OBJECT. [`memory`]: MEMORY.
//! - [`payload`]: DUMP and RESTORE.

mod all;
mod flush;
mod memory;
mod object;
mod payload;
#[cfg(test)]
mod tests;

use super::{Family, Locks};
use crate::command::ctx::{CommandError, Ctx, Outcome, int_arg};
use crate::keyspace::unit::{ExpiryMode, Free, NotifyClass};
use crate::oplog::effect::Effect;
use crate::resp::errors;
use crate::resp::reply::Reply;

/// The commands of this family.
pub const HANDLERS: Family = &[
    ("del", del, Locks::Keys),
    ("unlink", unlink, Locks::Keys),
    ("exists", exists, Locks::Keys),
    ("touch", touch, Locks::Keys),
    ("type", type_of, Locks::Keys),
    ("rename", rename, Locks::Keys),
    ("renamenx", renamenx, Locks::Keys),
    ("move", move_to, Locks::Keys),
    ("copy", copy, Locks::Keys),
    ("keys", all::keys, Locks::Own),
    ("randomkey", all::randomkey, Locks::All),
    ("dbsize", all::dbsize, Locks::All),
    ("flushdb", flush::flushdb, Locks::All),
    ("flushall", flush::flushall, Locks::All),
    ("swapdb", flush::swapdb, Locks::All),
    ("object|encoding", object::encoding, Locks::Keys),
    ("object|freq", object::freq, Locks::Keys),
    ("object|idletime", object::idletime, Locks::Keys),
    ("object|refcount", object::refcount, Locks::Keys),
    ("object|help", object::help, Locks::Nothing),
    ("memory|usage", memory::usage, Locks::Keys),
    ("memory|stats", memory::stats, Locks::Own),
    ("memory|doctor", memory::doctor, Locks::Nothing),
    ("memory|malloc-stats", memory::malloc_stats, Locks::Nothing),
    ("memory|purge", memory::purge, Locks::Nothing),
    ("memory|help", memory::help, Locks::Nothing),
    ("dump", payload::dump, Locks::Keys),
    ("restore", payload::restore, Locks::Own),
];

/// The 32-bit integer an argument is.
fn int32_arg(arg: &[u8]) -> Result<i32, CommandError> {
    i32::try_from(int_arg(arg)?).map_err(|_| {
        CommandError::new(
            "ERR value is out of range, value must between -2147483648 and 2147483647",
        )
    })
}

/// The database an argument names.
fn db_arg(ctx: &Ctx<'_>, arg: &[u8]) -> Result<usize, CommandError> {
    db_index(ctx, int32_arg(arg)?)
}

fn db_index(ctx: &Ctx<'_>, index: i32) -> Result<usize, CommandError> {
    usize::try_from(index)
        .ok()
        .filter(|&db| db < ctx.engine.keyspace.databases())
        .ok_or(CommandError::new(errors::DB_OUT_OF_RANGE))
}

/// `DEL key [key ...]`
pub fn del(ctx: &mut Ctx<'_>, args: &[&[u8]], reply: &mut Reply) -> Outcome {
    let free = Free::lazily(ctx.settings.memory.lazyfree_lazy_user_del);
    remove(ctx, args, free, reply)
}

/// `UNLINK key [key ...]`
pub fn unlink(ctx: &mut Ctx<'_>, args: &[&[u8]], reply: &mut Reply) -> Outcome {
    remove(ctx, args, Free::Elsewhere, reply)
}

fn remove(ctx: &mut Ctx<'_>, args: &[&[u8]], free: Free, reply: &mut Reply) -> Outcome {
    let db = ctx.db();
    let mut removed = 0;
    // A writable replica's own client removes, and is told of, what is due and merely hidden.
    let expiry = ctx.unit.options.expiry;
    if expiry == ExpiryMode::Hide {
        ctx.unit.options.expiry = ExpiryMode::Ignore;
    }
    for key in args.iter().skip(1) {
        if ctx.unit.remove(db, key, free) {
            ctx.notify(NotifyClass::GENERIC, "del", key);
            removed += 1;
        }
    }
    ctx.unit.options.expiry = expiry;
    reply.int(removed);
    Ok(if removed > 0 {
        Effect::Verbatim
    } else {
        Effect::None
    })
}

/// `EXISTS key [key ...]`
pub fn exists(ctx: &mut Ctx<'_>, args: &[&[u8]], reply: &mut Reply) -> Outcome {
    let db = ctx.db();
    let keys = args.iter().skip(1);
    reply.len_int(
        keys.filter(|key| ctx.unit.inspect(db, key).is_some())
            .count(),
    );
    Ok(Effect::None)
}

/// `TOUCH key [key ...]`
///
/// Touches even for a client that is said not to (`CLIENT NO-TOUCH`): it asks for nothing else.
pub fn touch(ctx: &mut Ctx<'_>, args: &[&[u8]], reply: &mut Reply) -> Outcome {
    let no_touch = std::mem::replace(&mut ctx.unit.options.no_touch, false);
    let keys = args.iter().skip(1);
    reply.len_int(keys.filter(|key| ctx.read(key).is_some()).count());
    ctx.unit.options.no_touch = no_touch;
    Ok(Effect::None)
}

/// `TYPE key`
pub fn type_of(ctx: &mut Ctx<'_>, args: &[&[u8]], reply: &mut Reply) -> Outcome {
    let &[_, key] = args else {
        return Err(CommandError::SYNTAX);
    };
    let db = ctx.db();
    let entry = ctx.unit.inspect(db, key);
    reply.simple(entry.map_or("none", |e| e.value_kind().name()));
    Ok(Effect::None)
}

/// `RENAME key newkey`
pub fn rename(ctx: &mut Ctx<'_>, args: &[&[u8]], reply: &mut Reply) -> Outcome {
    let &[_, from, to] = args else {
        return Err(CommandError::SYNTAX);
    };
    if !ctx.exists(from) {
        return Err(CommandError::NO_SUCH_KEY);
    }
    reply.ok();
    Ok(rename_present(ctx, from, to))
}

/// `RENAMENX key newkey`
pub fn renamenx(ctx: &mut Ctx<'_>, args: &[&[u8]], reply: &mut Reply) -> Outcome {
    let &[_, from, to] = args else {
        return Err(CommandError::SYNTAX);
    };
    if !ctx.exists(from) {
        return Err(CommandError::NO_SUCH_KEY);
    }
    if ctx.exists(to) {
        reply.int(0);
        return Ok(Effect::None);
    }
    reply.int(1);
    Ok(rename_present(ctx, from, to))
}

fn rename_present(ctx: &mut Ctx<'_>, from: &[u8], to: &[u8]) -> Effect {
    if from == to {
        ctx.touch(from);
        return Effect::None;
    }
    let db = ctx.db();
    ctx.unit.rename((db, from), (db, to));
    ctx.notify(NotifyClass::GENERIC, "rename_from", from);
    ctx.notify(NotifyClass::GENERIC, "rename_to", to);
    Effect::Verbatim
}

/// `MOVE key db`
pub fn move_to(ctx: &mut Ctx<'_>, args: &[&[u8]], reply: &mut Reply) -> Outcome {
    let &[_, key, db] = args else {
        return Err(CommandError::SYNTAX);
    };
    let (here, there) = (ctx.db(), db_arg(ctx, db)?);
    if here == there {
        return Err(CommandError::new(errors::SAME_OBJECT));
    }
    if !ctx.exists(key) || ctx.unit.exists(there, key) {
        reply.int(0);
        return Ok(Effect::None);
    }
    ctx.unit.rename((here, key), (there, key));
    ctx.notify(NotifyClass::GENERIC, "move_from", key);
    ctx.unit.notify(NotifyClass::GENERIC, "move_to", there, key);
    reply.int(1);
    Ok(Effect::Verbatim)
}

/// `COPY source destination [DB db] [REPLACE]`
pub fn copy(ctx: &mut Ctx<'_>, args: &[&[u8]], reply: &mut Reply) -> Outcome {
    let &[_, from, to, ref options @ ..] = args else {
        return Err(CommandError::SYNTAX);
    };
    let here = ctx.db();
    let (mut there, mut replace) = (here, false);
    let mut rest = options.iter();
    while let Some(option) = rest.next() {
        if option.eq_ignore_ascii_case(b"REPLACE") {
            replace = true;
        } else if option.eq_ignore_ascii_case(b"DB")
            && let Some(db) = rest.next()
        {
            there = db_arg(ctx, db)?;
        } else {
            return Err(CommandError::SYNTAX);
        }
    }
    if here == there && from == to {
        return Err(CommandError::new(errors::SAME_OBJECT));
    }
    let source = ctx.unit.read_entry(here, from);
    let Some((value, expire_ms)) = source.map(|e| (e.value().to_value(), e.expire_ms())) else {
        reply.int(0);
        return Ok(Effect::None);
    };
    if ctx.unit.exists(there, to) && !replace {
        reply.int(0);
        return Ok(Effect::None);
    }
    ctx.unit.place((there, to), value, expire_ms);
    ctx.unit.notify(NotifyClass::GENERIC, "copy_to", there, to);
    reply.int(1);
    Ok(Effect::Verbatim)
}

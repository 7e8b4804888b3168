//! Strings: GET and SET in all their forms, the commands on several keys, and (in files of their
//! own) counters, ranges and LCS.
//!
//! - [`counter`]: INCR, DECR, INCRBY, DECRBY, INCRBYFLOAT.
//! - [`range`]: APPEND, SETRANGE, GETRANGE, SUBSTR, STRLEN.
//! - [`lcs`]: the longest common subsequence of two strings.
//!
//! Every expiry a client gives goes to the log as an absolute one in milliseconds. A long string
//! is replied with by reference, so the lock is held for no copy of it.

mod counter;
mod lcs;
pub mod range;
#[cfg(test)]
mod tests;

use smallvec::SmallVec;

use super::{Family, Locks};
use crate::command::ctx::{CommandError, Ctx, Outcome, int_arg};
use crate::keyspace::unit::{Expiry, NotifyClass, WrongType};
use crate::keyspace::value::{StrRef, ValueRef};
use crate::oplog::effect::Effect;
use crate::resp::reply::Reply;

/// The commands of this family.
pub const HANDLERS: Family = &[
    ("get", get, Locks::Keys),
    ("set", set, Locks::Keys),
    ("setnx", setnx, Locks::Keys),
    ("setex", setex, Locks::Keys),
    ("psetex", psetex, Locks::Keys),
    ("getset", getset, Locks::Keys),
    ("getdel", getdel, Locks::Keys),
    ("getex", getex, Locks::Keys),
    ("mget", mget, Locks::Keys),
    ("mset", mset, Locks::Keys),
    ("msetnx", msetnx, Locks::Keys),
    ("incr", counter::incr, Locks::Keys),
    ("decr", counter::decr, Locks::Keys),
    ("incrby", counter::incrby, Locks::Keys),
    ("decrby", counter::decrby, Locks::Keys),
    ("incrbyfloat", counter::incrbyfloat, Locks::Keys),
    ("append", range::append, Locks::Keys),
    ("strlen", range::strlen, Locks::Keys),
    ("setrange", range::setrange, Locks::Keys),
    ("getrange", range::getrange, Locks::Keys),
    ("substr", range::getrange, Locks::Keys),
    ("lcs", lcs::lcs, Locks::Keys),
];

/// Strings shorter than this are copied into the reply: a reference would cost more.
const MIN_SHARED_BYTES: usize = 4096;

/// Writes a string as a bulk.
#[inline]
fn write_string(reply: &mut Reply, string: StrRef<'_>) {
    match string {
        StrRef::Int(n) => reply.bulk_int(n),
        StrRef::Inline(bytes) => reply.bulk(bytes),
        StrRef::Heap(bytes) if bytes.len() < MIN_SHARED_BYTES => reply.bulk(bytes),
        StrRef::Heap(_) => {
            if let Some(bytes) = string.shared() {
                reply.shared_bulk(bytes);
            }
        }
    }
}

/// Replies with the string at `key`, or null.
#[inline]
fn reply_with(ctx: &mut Ctx<'_>, key: &[u8], reply: &mut Reply) -> Result<bool, WrongType> {
    match ctx.read_str(key)? {
        Some(string) => {
            write_string(reply, string);
            Ok(true)
        }
        None => {
            reply.null();
            Ok(false)
        }
    }
}

/// `GET key`
pub fn get(ctx: &mut Ctx<'_>, args: &[&[u8]], reply: &mut Reply) -> Outcome {
    let &[_, key] = args else {
        return Err(CommandError::SYNTAX);
    };
    reply_with(ctx, key, reply)?;
    Ok(Effect::None)
}

/// How the number behind EX, PX, EXAT or PXAT is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum TimeForm {
    Ex,
    Px,
    ExAt,
    PxAt,
}

impl TimeForm {
    fn of(option: &[u8]) -> Option<TimeForm> {
        let forms = [
            (&b"EX"[..], TimeForm::Ex),
            (b"PX", TimeForm::Px),
            (b"EXAT", TimeForm::ExAt),
            (b"PXAT", TimeForm::PxAt),
        ];
        forms
            .into_iter()
            .find_map(|(name, form)| option.eq_ignore_ascii_case(name).then_some(form))
    }

    /// The absolute time in milliseconds that `number` stands for.
    fn resolve(self, number: &[u8], now_ms: i64, command: &str) -> Result<i64, CommandError> {
        let n = int_arg(number)?;
        let invalid =
            || CommandError::new(format!("ERR invalid expire time in '{command}' command"));
        if n <= 0 {
            return Err(invalid());
        }
        let (unit_ms, base) = match self {
            TimeForm::Ex => (1000, now_ms),
            TimeForm::Px => (1, now_ms),
            TimeForm::ExAt => (1000, 0),
            TimeForm::PxAt => (1, 0),
        };
        n.checked_mul(unit_ms)
            .and_then(|ms| ms.checked_add(base))
            .ok_or_else(invalid)
    }
}

/// What SET and GETEX take behind their fixed arguments.
#[derive(Default)]
struct Options<'a> {
    only_new: bool,
    only_present: bool,
    get: bool,
    keep_expiry: bool,
    persist: bool,
    expire: Option<(TimeForm, &'a [u8])>,
}

impl<'a> Options<'a> {
    /// The options of SET.
    fn of_set(args: &[&'a [u8]]) -> Result<Options<'a>, CommandError> {
        let mut o = Options::default();
        let mut rest = args.iter();
        while let Some(arg) = rest.next() {
            let is = |name: &[u8]| arg.eq_ignore_ascii_case(name);
            if is(b"NX") && !o.only_present {
                o.only_new = true;
            } else if is(b"XX") && !o.only_new {
                o.only_present = true;
            } else if is(b"GET") {
                o.get = true;
            } else if is(b"KEEPTTL") && o.expire.is_none() {
                o.keep_expiry = true;
            } else {
                o.expire_option(arg, &mut rest)?;
            }
        }
        Ok(o)
    }

    /// The options of GETEX.
    fn of_getex(args: &[&'a [u8]]) -> Result<Options<'a>, CommandError> {
        let mut o = Options::default();
        let mut rest = args.iter();
        while let Some(arg) = rest.next() {
            if arg.eq_ignore_ascii_case(b"PERSIST") && o.expire.is_none() {
                o.persist = true;
            } else {
                o.expire_option(arg, &mut rest)?;
            }
        }
        Ok(o)
    }

    /// One of EX, PX, EXAT, PXAT with its number. The same one may come again, the last counts.
    fn expire_option(
        &mut self,
        arg: &[u8],
        rest: &mut std::slice::Iter<'_, &'a [u8]>,
    ) -> Result<(), CommandError> {
        let form = TimeForm::of(arg).ok_or(CommandError::SYNTAX)?;
        let other = self.expire.is_some_and(|(earlier, _)| earlier != form);
        if other || self.keep_expiry || self.persist {
            return Err(CommandError::SYNTAX);
        }
        let number = rest.next().ok_or(CommandError::SYNTAX)?;
        self.expire = Some((form, number));
        Ok(())
    }
}

/// `SET key value [NX | XX] [GET] [EX s | PX ms | EXAT s | PXAT ms | KEEPTTL]`
pub fn set(ctx: &mut Ctx<'_>, args: &[&[u8]], reply: &mut Reply) -> Outcome {
    let &[_, key, value, ref options @ ..] = args else {
        return Err(CommandError::SYNTAX);
    };
    if options.is_empty() {
        ctx.set_bytes(key, value, Expiry::Clear);
        ctx.notify(NotifyClass::STRING, "set", key);
        reply.ok();
        return Ok(Effect::Verbatim);
    }
    let o = Options::of_set(options)?;
    let expire = match o.expire {
        Some((form, number)) => Some((form, form.resolve(number, ctx.now_ms(), "set")?)),
        None => None,
    };
    if o.get {
        reply_with(ctx, key, reply)?;
    }
    if (o.only_new || o.only_present) && ctx.exists(key) == o.only_new {
        if !o.get {
            ctx.touch(key);
            reply.null();
        }
        return Ok(Effect::None);
    }
    let expiry = match expire {
        Some((_, at)) => Expiry::At(at),
        None if o.keep_expiry => Expiry::Keep,
        None => Expiry::Clear,
    };
    ctx.set_bytes(key, value, expiry);
    ctx.notify(NotifyClass::STRING, "set", key);
    if expire.is_some() {
        ctx.notify(NotifyClass::GENERIC, "expire", key);
    }
    if !o.get {
        reply.ok();
    }
    Ok(match expire {
        Some((TimeForm::PxAt, _)) => Effect::Verbatim,
        Some((_, at)) => set_until(ctx, key, value, at),
        None if o.get => {
            let is_get = |(i, a): &(usize, &&[u8])| *i >= 3 && a.eq_ignore_ascii_case(b"GET");
            let words = args.iter().enumerate().filter(|w| !is_get(w));
            let words: SmallVec<[&[u8]; 8]> = words.map(|(_, a)| *a).collect();
            ctx.rewritten(&words)
        }
        None => Effect::Verbatim,
    })
}

/// The effect of setting `value` until `at_ms`.
fn set_until(ctx: &Ctx<'_>, key: &[u8], value: &[u8], at_ms: i64) -> Effect {
    let mut text = itoa::Buffer::new();
    let at = text.format(at_ms).as_bytes();
    ctx.rewritten(&[b"SET", key, value, b"PXAT", at])
}

/// `SETNX key value`
pub fn setnx(ctx: &mut Ctx<'_>, args: &[&[u8]], reply: &mut Reply) -> Outcome {
    let &[_, key, value] = args else {
        return Err(CommandError::SYNTAX);
    };
    if ctx.exists(key) {
        ctx.touch(key);
        reply.int(0);
        return Ok(Effect::None);
    }
    ctx.set_bytes(key, value, Expiry::Clear);
    ctx.notify(NotifyClass::STRING, "set", key);
    reply.int(1);
    Ok(Effect::Verbatim)
}

/// `SETEX key seconds value`
pub fn setex(ctx: &mut Ctx<'_>, args: &[&[u8]], reply: &mut Reply) -> Outcome {
    set_with_expiry(ctx, args, TimeForm::Ex, "setex", reply)
}

/// `PSETEX key milliseconds value`
pub fn psetex(ctx: &mut Ctx<'_>, args: &[&[u8]], reply: &mut Reply) -> Outcome {
    set_with_expiry(ctx, args, TimeForm::Px, "psetex", reply)
}

fn set_with_expiry(
    ctx: &mut Ctx<'_>,
    args: &[&[u8]],
    form: TimeForm,
    command: &str,
    reply: &mut Reply,
) -> Outcome {
    let &[_, key, number, value] = args else {
        return Err(CommandError::SYNTAX);
    };
    let at = form.resolve(number, ctx.now_ms(), command)?;
    ctx.set_bytes(key, value, Expiry::At(at));
    ctx.notify(NotifyClass::STRING, "set", key);
    ctx.notify(NotifyClass::GENERIC, "expire", key);
    reply.ok();
    Ok(set_until(ctx, key, value, at))
}

/// `GETSET key value`
pub fn getset(ctx: &mut Ctx<'_>, args: &[&[u8]], reply: &mut Reply) -> Outcome {
    let &[_, key, value] = args else {
        return Err(CommandError::SYNTAX);
    };
    reply_with(ctx, key, reply)?;
    ctx.set_bytes(key, value, Expiry::Clear);
    ctx.notify(NotifyClass::STRING, "set", key);
    Ok(ctx.rewritten(&[b"SET", key, value]))
}

/// `GETDEL key`
pub fn getdel(ctx: &mut Ctx<'_>, args: &[&[u8]], reply: &mut Reply) -> Outcome {
    let &[_, key] = args else {
        return Err(CommandError::SYNTAX);
    };
    if !reply_with(ctx, key, reply)? {
        return Ok(Effect::None);
    }
    ctx.delete(key);
    ctx.notify(NotifyClass::GENERIC, "del", key);
    Ok(ctx.rewritten(&[b"DEL", key]))
}

/// `GETEX key [EX s | PX ms | EXAT s | PXAT ms | PERSIST]`
pub fn getex(ctx: &mut Ctx<'_>, args: &[&[u8]], reply: &mut Reply) -> Outcome {
    let &[_, key, ref options @ ..] = args else {
        return Err(CommandError::SYNTAX);
    };
    let o = Options::of_getex(options)?;
    let mark = reply.mark();
    if !reply_with(ctx, key, reply)? {
        return Ok(Effect::None);
    }
    let now_ms = ctx.now_ms();
    let expire = match o
        .expire
        .map(|(form, n)| (form, form.resolve(n, now_ms, "getex")))
    {
        None => None,
        Some((form, Ok(at))) => Some((form, at)),
        Some((_, Err(error))) => {
            reply.rewind(mark);
            return Err(error);
        }
    };
    match expire {
        Some((TimeForm::ExAt | TimeForm::PxAt, at)) if at <= now_ms && ctx.deletes_expired() => {
            Ok(super::expire::delete_expired(ctx, key))
        }
        Some((_, at)) => {
            ctx.set_expiry(key, Some(at));
            ctx.notify(NotifyClass::GENERIC, "expire", key);
            let mut text = itoa::Buffer::new();
            Ok(ctx.rewritten(&[b"PEXPIREAT", key, text.format(at).as_bytes()]))
        }
        None if o.persist && ctx.unit.expire_of(ctx.session.db, key).flatten().is_some() => {
            ctx.set_expiry(key, None);
            ctx.notify(NotifyClass::GENERIC, "persist", key);
            Ok(ctx.rewritten(&[b"PERSIST", key]))
        }
        None => Ok(Effect::None),
    }
}

/// `MGET key [key ...]`
pub fn mget(ctx: &mut Ctx<'_>, args: &[&[u8]], reply: &mut Reply) -> Outcome {
    let keys = args.get(1..).unwrap_or_default();
    reply.array(keys.len());
    let db = ctx.db();
    ctx.unit.fetched(
        db,
        keys,
        |key| key,
        |unit, key| match unit.read(db, key) {
            Some(ValueRef::Str(string)) => write_string(reply, string),
            _ => reply.null(),
        },
    );
    Ok(Effect::None)
}

/// The keys and values of MSET and MSETNX.
fn pairs<'b, 'a>(args: &'b [&'a [u8]], command: &str) -> Result<&'b [[&'a [u8]; 2]], CommandError> {
    match args.get(1..).unwrap_or_default().as_chunks() {
        (pairs, []) => Ok(pairs),
        _ => Err(CommandError::new(format!(
            "ERR wrong number of arguments for '{command}' command"
        ))),
    }
}

fn set_all(ctx: &mut Ctx<'_>, pairs: &[[&[u8]; 2]]) {
    let db = ctx.db();
    ctx.unit.fetched(
        db,
        pairs,
        |[key, _]| key,
        |unit, [key, value]| {
            unit.set_bytes(db, key, value, Expiry::Clear);
            unit.notify(NotifyClass::STRING, "set", db, key);
        },
    );
}

/// `MSET key value [key value ...]`
pub fn mset(ctx: &mut Ctx<'_>, args: &[&[u8]], reply: &mut Reply) -> Outcome {
    set_all(ctx, pairs(args, "mset")?);
    reply.ok();
    Ok(Effect::Verbatim)
}

/// `MSETNX key value [key value ...]`
pub fn msetnx(ctx: &mut Ctx<'_>, args: &[&[u8]], reply: &mut Reply) -> Outcome {
    let pairs = pairs(args, "msetnx")?;
    if let Some([key, _]) = pairs.iter().find(|[key, _]| ctx.exists(key)) {
        ctx.touch(key);
        reply.int(0);
        return Ok(Effect::None);
    }
    set_all(ctx, pairs);
    reply.int(1);
    Ok(Effect::Verbatim)
}

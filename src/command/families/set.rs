//! Sets.
//!
//! Reads of several sets work on handles: those are cloned under the locks, which is O(1) each,
//! and once they hold more than a few members the algebra itself is left to a deferred part of
//! the reply. So it is with the `STORE` forms, if they have much to do: see [`storing`].
//!
//! One refusal is ours: a negative count of SRANDMEMBER asks for a reply of any length, whatever
//! the set's size, and beyond [`MAX_REPEATED`] it is out of range.

use crate::base::num;
use crate::command::ctx::{CommandError, Ctx, Outcome};
use crate::command::families::{arg, bulk};
use crate::command::limits;
use crate::command::storing::{self, Logged, Store};
use crate::keyspace::unit::{Missing, NotifyClass, WrongType};
use crate::keyspace::value::packed::Elem;
use crate::keyspace::value::set::{self, Set, SetLimits};
use crate::oplog::effect::{Effect, Encoded};
use crate::resp::errors;
use crate::resp::reply::Reply;

use super::scan::{Scanned, Walk, walk};
use super::{Family, Locks, notify_removal, removal};

/// The family.
pub const HANDLERS: Family = &[
    ("sadd", sadd, Locks::Keys),
    ("srem", srem, Locks::Keys),
    ("scard", scard, Locks::Keys),
    ("sismember", sismember, Locks::Keys),
    ("smismember", smismember, Locks::Keys),
    ("smembers", smembers, Locks::Keys),
    ("spop", spop, Locks::Keys),
    ("srandmember", srandmember, Locks::Keys),
    ("smove", smove, Locks::Keys),
    ("sinter", sinter, Locks::Keys),
    ("sinterstore", sinterstore, Locks::Keys),
    ("sintercard", sintercard, Locks::Keys),
    ("sunion", sunion, Locks::Keys),
    ("sunionstore", sunionstore, Locks::Keys),
    ("sdiff", sdiff, Locks::Keys),
    ("sdiffstore", sdiffstore, Locks::Keys),
    ("sscan", sscan, Locks::Keys),
];

/// What concerns more members than this happens after the locks are released.
const DEFER_ABOVE: usize = 512;

/// Members that one SREM of a popped sample names at most, as Redis has it.
const SREM_BATCH: usize = 1024;

/// How many members, repeated ones counted, SRANDMEMBER replies with at most.
const MAX_REPEATED: u64 = 1 << 24;

/// Writes a whole set; a large one when the locks are released.
fn show(set: Set, reply: &mut Reply) {
    let write = |set: &Set, reply: &mut Reply| {
        reply.set(set.len());
        for member in set.iter() {
            bulk(reply, member);
            if !reply.breathe() {
                break;
            }
        }
    };
    if set.len() > DEFER_ABOVE {
        reply.deferred_of(set.len(), Box::new(move |reply| write(&set, reply)));
    } else {
        write(&set, reply);
    }
}

/// `SADD key member [member ...]`
fn sadd(ctx: &mut Ctx<'_>, args: &[&[u8]], reply: &mut Reply) -> Outcome {
    let key = arg(args, 1);
    let members = args.get(2..).unwrap_or_default();
    let limits = limits::set(ctx.settings);
    let added = ctx.update::<Set, _>(key, Missing::Create, |set| {
        set.prepare(arg(members, 0), members.len(), &limits);
        let n = members.iter().filter(|m| set.add(**m, &limits)).count();
        (n, n as u64)
    })?;
    let added = added.map_or(0, |(n, _)| n);
    reply.len_int(added);
    if added == 0 {
        return Ok(Effect::None);
    }
    ctx.notify(NotifyClass::SET, "sadd", key);
    Ok(Effect::Verbatim)
}

/// `SREM key member [member ...]`
fn srem(ctx: &mut Ctx<'_>, args: &[&[u8]], reply: &mut Reply) -> Outcome {
    let key = arg(args, 1);
    let members = args.get(2..).unwrap_or_default();
    let removed = ctx.update::<Set, _>(key, Missing::Skip, |set| {
        let n = members.iter().filter(|m| set.remove(**m)).count();
        (n, n as u64)
    })?;
    removal(ctx, (NotifyClass::SET, "srem"), key, removed, reply)
}

/// `SCARD key`
fn scard(ctx: &mut Ctx<'_>, args: &[&[u8]], reply: &mut Reply) -> Outcome {
    let len = ctx.read_as::<Set>(arg(args, 1))?.map_or(0, Set::len);
    reply.len_int(len);
    Ok(Effect::None)
}

/// `SISMEMBER key member`
fn sismember(ctx: &mut Ctx<'_>, args: &[&[u8]], reply: &mut Reply) -> Outcome {
    let set = ctx.read_as::<Set>(arg(args, 1))?;
    reply.int(i64::from(set.is_some_and(|s| s.contains(arg(args, 2)))));
    Ok(Effect::None)
}

/// `SMISMEMBER key member [member ...]`
fn smismember(ctx: &mut Ctx<'_>, args: &[&[u8]], reply: &mut Reply) -> Outcome {
    let members = args.get(2..).unwrap_or_default();
    let set = ctx.read_as::<Set>(arg(args, 1))?;
    reply.array(members.len());
    for member in members {
        reply.int(i64::from(set.is_some_and(|s| s.contains(*member))));
    }
    Ok(Effect::None)
}

/// `SMEMBERS key`
fn smembers(ctx: &mut Ctx<'_>, args: &[&[u8]], reply: &mut Reply) -> Outcome {
    match ctx.read_as::<Set>(arg(args, 1))? {
        None => reply.set(0),
        Some(set) => show(set.clone(), reply),
    }
    Ok(Effect::None)
}

/// A count that must not be negative.
fn positive(text: &[u8]) -> Result<usize, CommandError> {
    let n = num::parse_i64(text).and_then(|n| usize::try_from(n).ok());
    n.ok_or(CommandError::new(errors::NOT_POSITIVE))
}

/// `SPOP key [count]`
fn spop(ctx: &mut Ctx<'_>, args: &[&[u8]], reply: &mut Reply) -> Outcome {
    let key = arg(args, 1);
    match args.get(2..).unwrap_or_default() {
        [] => {}
        [count] => return spop_count(ctx, key, positive(count)?, reply),
        _ => return Err(CommandError::SYNTAX),
    }
    let popped = ctx.update::<Set, _>(key, Missing::Skip, |set| {
        let member = set.pop_random();
        let changes = u64::from(member.is_some());
        (member, changes)
    })?;
    let Some((Some(member), emptied)) = popped else {
        reply.null();
        return Ok(Effect::None);
    };
    notify_removal(ctx, (NotifyClass::SET, "spop"), key, emptied);
    reply.bulk(&member);
    Ok(ctx.rewritten(&[b"SREM", key, &member]))
}

fn spop_count(ctx: &mut Ctx<'_>, key: &[u8], count: usize, reply: &mut Reply) -> Outcome {
    let limits = limits::set(ctx.settings);
    let popped = ctx.update::<Set, _>(key, Missing::Skip, |set| {
        if count == 0 {
            return (Set::new(), 0);
        }
        let popped = set.pop_sample(count, &limits);
        let changes = popped.len() as u64;
        (popped, changes)
    })?;
    let Some((popped, emptied)) = popped.filter(|(popped, _)| !popped.is_empty()) else {
        reply.set(0);
        return Ok(Effect::None);
    };
    notify_removal(ctx, (NotifyClass::SET, "spop"), key, emptied);
    let effect = if emptied {
        let lazy = ctx.settings.memory.lazyfree_lazy_server_del;
        ctx.rewritten(&[if lazy { b"UNLINK" } else { b"DEL" }, key])
    } else if ctx.unit.options.log {
        removal_of(key, &popped)
    } else {
        Effect::None
    };
    show(popped, reply);
    Ok(effect)
}

/// The SREMs that remove these members.
fn removal_of(key: &[u8], members: &Set) -> Effect {
    let mut members = members.iter().map(Elem::to_vec).peekable();
    let mut encoded = Encoded::default();
    while members.peek().is_some() {
        let batch: Vec<Vec<u8>> = members.by_ref().take(SREM_BATCH).collect();
        let mut argv: Vec<&[u8]> = vec![b"SREM", key];
        argv.extend(batch.iter().map(Vec::as_slice));
        encoded.push(&argv);
    }
    Effect::Rewritten(encoded)
}

/// `SRANDMEMBER key [count]`
fn srandmember(ctx: &mut Ctx<'_>, args: &[&[u8]], reply: &mut Reply) -> Outcome {
    let key = arg(args, 1);
    let count = match args.get(2..).unwrap_or_default() {
        [] => {
            match ctx.read_as::<Set>(key)?.and_then(Set::random) {
                None => reply.null(),
                Some(member) => bulk(reply, member),
            }
            return Ok(Effect::None);
        }
        [count] => num::parse_i64(count).ok_or(CommandError::NOT_INTEGER)?,
        _ => return Err(CommandError::SYNTAX),
    };
    if count == i64::MIN {
        return Err(CommandError::new(errors::OUT_OF_SYMMETRIC_RANGE));
    }
    match ctx.read_as::<Set>(key)? {
        Some(_) if count < 0 && count.unsigned_abs() > MAX_REPEATED => {
            return Err(CommandError::new("ERR value is out of range"));
        }
        Some(set) if count.unsigned_abs() > DEFER_ABOVE as u64 => {
            let set = set.clone();
            let elements = usize::try_from(count.unsigned_abs()).unwrap_or(usize::MAX);
            let elements = if count < 0 {
                elements
            } else {
                elements.min(set.len())
            };
            let write = move |reply: &mut Reply| random_members(&set, count, reply);
            reply.deferred_of(elements, Box::new(write));
        }
        Some(set) => random_members(set, count, reply),
        None => reply.array(0),
    }
    Ok(Effect::None)
}

/// Distinct members for a positive count, members that may repeat for a negative one.
fn random_members(set: &Set, count: i64, reply: &mut Reply) {
    let n = usize::try_from(count.unsigned_abs()).unwrap_or(usize::MAX);
    if count < 0 {
        reply.array(n);
        for member in (0..n).map_while(|_| set.random()) {
            bulk(reply, member);
            if !reply.breathe() {
                break;
            }
        }
        return;
    }
    let sample = set.sample(n);
    reply.array(sample.len());
    sample.into_iter().for_each(|member| bulk(reply, member));
}

/// `SMOVE source destination member`
fn smove(ctx: &mut Ctx<'_>, args: &[&[u8]], reply: &mut Reply) -> Outcome {
    let (source, destination, member) = (arg(args, 1), arg(args, 2), arg(args, 3));
    let Some(set) = ctx.lookup::<Set>(source)? else {
        reply.int(0);
        return Ok(Effect::None);
    };
    let there = set.contains(member);
    ctx.lookup::<Set>(destination)?;
    reply.int(i64::from(there));
    if !there || source == destination {
        ctx.touch(source);
        if source != destination {
            ctx.touch(destination);
        }
        return Ok(Effect::None);
    }
    let limits = limits::set(ctx.settings);
    let removed = ctx.update::<Set, _>(source, Missing::Skip, |set| (set.remove(member), 1))?;
    notify_removal(
        ctx,
        (NotifyClass::SET, "srem"),
        source,
        removed.is_some_and(|(_, emptied)| emptied),
    );
    let added = ctx.update::<Set, _>(destination, Missing::Create, |set| {
        if set.is_empty() {
            set.prepare(member, 1, &limits);
        }
        let added = set.add(member, &limits);
        (added, u64::from(added))
    })?;
    if added.is_some_and(|(added, _)| added) {
        ctx.notify(NotifyClass::SET, "sadd", destination);
    }
    Ok(Effect::Verbatim)
}

/// Handles on the sets at `keys`, an empty one for each key that is not there.
fn handles(ctx: &mut Ctx<'_>, keys: &[&[u8]]) -> Result<Vec<Set>, WrongType> {
    keys.iter()
        .map(|key| Ok(ctx.read_as::<Set>(key)?.cloned().unwrap_or_default()))
        .collect()
}

/// What is made of several sets.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Operation {
    Intersection,
    Union,
    Difference,
}

impl Operation {
    fn of(self, sets: &[Set], limits: &SetLimits) -> Set {
        let sets: Vec<&Set> = sets.iter().collect();
        match self {
            Operation::Intersection => set::intersection(&sets, limits),
            Operation::Union => set::union(&sets, limits),
            Operation::Difference => set::difference(&sets, limits),
        }
    }

    /// The event of its STORE form.
    fn event(self) -> &'static str {
        match self {
            Operation::Intersection => "sinterstore",
            Operation::Union => "sunionstore",
            Operation::Difference => "sdiffstore",
        }
    }

    /// The result as a reply.
    fn reply(self, ctx: &mut Ctx<'_>, args: &[&[u8]], reply: &mut Reply) -> Outcome {
        let sets = handles(ctx, args.get(1..).unwrap_or_default())?;
        let limits = limits::set(ctx.settings);
        when_unlocked(sets, reply, move |sets, reply| {
            if self != Operation::Intersection {
                return show(self.of(sets, &limits), reply);
            }
            let len = reply.defer_len();
            let mut n = 0;
            set::intersect(&sets.iter().collect::<Vec<_>>(), |member| {
                bulk(reply, member);
                n += 1;
                true
            });
            reply.set_set_len(len, n);
        });
        Ok(Effect::None)
    }

    /// How many elements are gone through to make the result.
    fn effort(self, sets: &[Set]) -> usize {
        let lens = || sets.iter().map(Set::len);
        match self {
            Operation::Intersection => lens().min().unwrap_or(0).saturating_mul(sets.len()),
            Operation::Union => set::union_effort(sets),
            Operation::Difference => {
                let first = lens().next().unwrap_or(0);
                first
                    .saturating_mul(sets.len())
                    .min(first + lens().sum::<usize>())
            }
        }
    }

    /// The result as the value of `args[1]`.
    fn store(self, ctx: &mut Ctx<'_>, args: &[&[u8]], reply: &mut Reply) -> Outcome {
        let reads = args.get(2..).unwrap_or_default();
        let store = Store {
            args,
            key: arg(args, 1),
            event: self.event(),
            elements_count: false,
            logged: Logged::Request { reads },
        };
        let sets = handles(ctx, reads)?;
        let limits = limits::set(ctx.settings);
        if storing::is_large(ctx, self.effort(&sets)) {
            let make = move || Ok(self.of(&sets, &limits).into());
            return storing::later(ctx, &store, Box::new(make));
        }
        let result = self.of(&sets, &limits);
        drop(sets);
        Ok(storing::now(ctx, &store, result, reply))
    }
}

/// Writes what comes of the sets: at once if they are small, else when the locks are released.
fn when_unlocked(
    sets: Vec<Set>,
    reply: &mut Reply,
    write: impl FnOnce(&[Set], &mut Reply) + Send + 'static,
) {
    let members = sets.iter().map(Set::len).sum::<usize>();
    if members > DEFER_ABOVE {
        reply.deferred_of(members, Box::new(move |reply| write(&sets, reply)));
    } else {
        write(&sets, reply);
    }
}

/// `SINTER key [key ...]`
fn sinter(ctx: &mut Ctx<'_>, args: &[&[u8]], reply: &mut Reply) -> Outcome {
    Operation::Intersection.reply(ctx, args, reply)
}

/// `SINTERSTORE destination key [key ...]`
fn sinterstore(ctx: &mut Ctx<'_>, args: &[&[u8]], reply: &mut Reply) -> Outcome {
    Operation::Intersection.store(ctx, args, reply)
}

/// `SUNION key [key ...]`
fn sunion(ctx: &mut Ctx<'_>, args: &[&[u8]], reply: &mut Reply) -> Outcome {
    Operation::Union.reply(ctx, args, reply)
}

/// `SUNIONSTORE destination key [key ...]`
fn sunionstore(ctx: &mut Ctx<'_>, args: &[&[u8]], reply: &mut Reply) -> Outcome {
    Operation::Union.store(ctx, args, reply)
}

/// `SDIFF key [key ...]`
fn sdiff(ctx: &mut Ctx<'_>, args: &[&[u8]], reply: &mut Reply) -> Outcome {
    Operation::Difference.reply(ctx, args, reply)
}

/// `SDIFFSTORE destination key [key ...]`
fn sdiffstore(ctx: &mut Ctx<'_>, args: &[&[u8]], reply: &mut Reply) -> Outcome {
    Operation::Difference.store(ctx, args, reply)
}

/// `SINTERCARD numkeys key [key ...] [LIMIT limit]`
fn sintercard(ctx: &mut Ctx<'_>, args: &[&[u8]], reply: &mut Reply) -> Outcome {
    let keys = num::parse_i64(arg(args, 1)).filter(|n| *n > 0);
    let keys = keys.ok_or(CommandError::new("ERR numkeys should be greater than 0"))?;
    let rest = args.get(2..).unwrap_or_default();
    let split = usize::try_from(keys).ok();
    let split = split.and_then(|keys| rest.split_at_checked(keys));
    let (keys, mut options) = split.ok_or(CommandError::new(
        "ERR Number of keys can't be greater than number of args",
    ))?;
    let mut limit = 0;
    while let [option, after @ ..] = options {
        let ([value, after @ ..], true) = (after, option.eq_ignore_ascii_case(b"limit")) else {
            return Err(CommandError::SYNTAX);
        };
        limit = positive(value).map_err(|_| CommandError::new("ERR LIMIT can't be negative"))?;
        options = after;
    }
    let sets = handles(ctx, keys)?;
    when_unlocked(sets, reply, move |sets, reply| {
        let sets: Vec<&Set> = sets.iter().collect();
        reply.len_int(set::intersection_len(&sets, limit));
    });
    Ok(Effect::None)
}

/// `SSCAN key cursor [MATCH pattern] [COUNT count]`
fn sscan(ctx: &mut Ctx<'_>, args: &[&[u8]], reply: &mut Reply) -> Outcome {
    walk::<Set>(ctx, args, Scanned::Members, reply, scan)
}

fn scan(set: &Set, walk: &Walk, reply: &mut Reply) {
    let mut buffer = itoa::Buffer::new();
    let mut found: Vec<Elem<'_>> = Vec::new();
    let next = set.scan(walk.cursor, walk.count, |member| {
        if walk.wants(member.to_bytes(&mut buffer)) {
            found.push(member);
        }
    });
    reply.array(2);
    reply.bulk(itoa::Buffer::new().format(next).as_bytes());
    reply.array(found.len());
    found.into_iter().for_each(|member| bulk(reply, member));
}

#[cfg(test)]
mod tests;

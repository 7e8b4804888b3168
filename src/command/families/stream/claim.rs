//! XCLAIM and XAUTOCLAIM: pending entries change their consumer.

use smallvec::SmallVec;

use super::range::{later, write_entry};
use super::{Repeat, arg, bulk_id, edit_group, id_arg, meet, no_group, notify_consumer, start_arg};
use crate::base::num;
use crate::command::ctx::{CommandError, Ctx, Outcome};
use crate::keyspace::value::stream::Stream;
use crate::keyspace::value::stream::group::{Group, Pending};
use crate::keyspace::value::stream::id::StreamId;
use crate::keyspace::value::stream::log::Entries;
use crate::oplog::effect::Encoded;
use crate::resp::reply::Reply;

/// Entries looked at for each one that XAUTOCLAIM may claim.
const LOOKS_PER_CLAIM: u64 = 10;

/// Entries that XAUTOCLAIM claims at most by default.
const DEFAULT_COUNT: u64 = 100;

/// The group must be there.
fn require(ctx: &mut Ctx<'_>, key: &[u8], group: &[u8]) -> Result<(), CommandError> {
    let stream = ctx.read_as::<Stream>(key)?;
    match stream.and_then(|stream| stream.group(group)) {
        Some(_) => Ok(()),
        None => Err(no_group(key, group, "")),
    }
}

fn millis_arg(text: &[u8], what: &str, command: &str) -> Result<i64, CommandError> {
    num::parse_i64(text)
        .ok_or_else(|| CommandError::new(format!("ERR Invalid {what} argument for {command}")))
}

/// Writes what was claimed: the ids, or the entries, which were there a moment ago.
fn write_claimed(
    ctx: &mut Ctx<'_>,
    key: &[u8],
    ids: Vec<StreamId>,
    just_ids: bool,
    reply: &mut Reply,
) -> Result<(), CommandError> {
    if just_ids {
        reply.array(ids.len());
        ids.iter().for_each(|id| bulk_id(reply, *id));
        return Ok(());
    }
    let Some(stream) = ctx.lookup::<Stream>(key)? else {
        reply.array(0);
        return Ok(());
    };
    later(stream, ids.len(), reply, move |stream, reply| {
        reply.array(ids.len());
        for entry in ids.iter().filter_map(|id| stream.get(*id)) {
            write_entry(reply, entry);
        }
    });
    Ok(())
}

/// The options of XCLAIM.
struct Options {
    min_idle_ms: i64,
    ids: SmallVec<[StreamId; 8]>,
    time_ms: i64,
    deliveries: Option<u64>,
    force: bool,
    just_ids: bool,
    last_id: StreamId,
}

fn parse(ctx: &Ctx<'_>, args: &[&[u8]]) -> Result<Options, CommandError> {
    let now_ms = ctx.now_ms();
    let min_idle = millis_arg(arg(args, 4), "min-idle-time", "XCLAIM")?;
    let texts = args.get(5..).unwrap_or_default();
    let ids: SmallVec<[StreamId; 8]> = texts.iter().map_while(|t| id_arg(t).ok()).collect();
    let mut options = Options {
        min_idle_ms: min_idle.max(0),
        time_ms: now_ms,
        deliveries: None,
        force: false,
        just_ids: false,
        last_id: StreamId::MIN,
        ids,
    };
    let mut rest = texts.get(options.ids.len()..).unwrap_or_default().iter();
    while let Some(word) = rest.next() {
        let is = |name: &[u8]| word.eq_ignore_ascii_case(name);
        let unknown = || {
            CommandError::new(format!(
                "ERR Unrecognized XCLAIM option '{}'",
                super::shown(word)
            ))
        };
        if is(b"force") {
            options.force = true;
        } else if is(b"justid") {
            options.just_ids = true;
        } else if is(b"idle") {
            let idle = millis_arg(rest.next().ok_or_else(unknown)?, "IDLE option", "XCLAIM")?;
            options.time_ms = now_ms.wrapping_sub(idle);
        } else if is(b"time") {
            let text = rest.next().ok_or_else(unknown)?;
            options.time_ms = millis_arg(text, "TIME option", "XCLAIM")?;
        } else if is(b"retrycount") {
            let text = rest.next().ok_or_else(unknown)?;
            let n = millis_arg(text, "RETRYCOUNT option", "XCLAIM")?;
            options.deliveries = u64::try_from(n).ok();
        } else if is(b"lastid") {
            options.last_id = id_arg(rest.next().ok_or_else(unknown)?)?;
        } else {
            return Err(unknown());
        }
    }
    // A time that cannot be is taken as now: clients do their sums with clocks of their own.
    if options.time_ms < 0 || options.time_ms > now_ms {
        options.time_ms = now_ms;
    }
    Ok(options)
}

/// A group's state while entries change their consumer.
struct Claim<'g, 'r, 'a> {
    group: &'g mut Group,
    entries: &'g Entries,
    repeat: &'r mut Repeat<'a>,
    number: u32,
    now_ms: i64,
    changes: u64,
}

impl Claim<'_, '_, '_> {
    /// Takes an entry that is no longer there off what is pending.
    fn forget(&mut self, id: StreamId, pending: Pending) {
        self.repeat.claim(self.group, id, pending);
        self.group.acknowledge(id);
        self.changes += 1;
    }

    fn take(&mut self, id: StreamId, pending: Pending) {
        self.group.assign(id, pending);
        if let Some(consumer) = self.group.consumer_mut(self.number) {
            consumer.active_ms = self.now_ms;
        }
        self.repeat.claim(self.group, id, pending);
        self.changes += 1;
    }

    /// What XCLAIM does with one id. Whether it was claimed.
    fn one(&mut self, options: &Options, id: StreamId) -> bool {
        let before = self.group.pending(id);
        if self.entries.get(id).is_none() {
            if let Some(pending) = before {
                self.forget(id, pending);
            }
            return false;
        }
        if before.is_none() && !options.force {
            return false;
        }
        if let Some(pending) = before
            && options.min_idle_ms > 0
            && self.now_ms.wrapping_sub(pending.time_ms) < options.min_idle_ms
        {
            return false;
        }
        // One that is made by FORCE has been delivered once.
        let had = before.map_or(1, |pending| pending.deliveries);
        let deliveries = match options.deliveries {
            Some(n) => n,
            None if options.just_ids => had,
            None => had.wrapping_add(1),
        };
        let pending = Pending {
            time_ms: options.time_ms,
            deliveries,
            owner: self.number,
        };
        self.take(id, pending);
        true
    }
}

/// Lets `act` claim entries of a group for a consumer, who is met, and made if need be. Gives what
/// `act` gave, or nothing of it if there is no such group, and the commands that repeat it all.
fn claim_for<R: Default>(
    ctx: &mut Ctx<'_>,
    [key, name, consumer]: [&[u8]; 3],
    act: impl FnOnce(&mut Claim<'_, '_, '_>) -> R,
) -> Result<(R, Encoded), CommandError> {
    let now_ms = ctx.now_ms();
    let mut repeat = Repeat::new(ctx, key, name);
    let done = edit_group(ctx, key, name, |group, entries| {
        let (number, made) = meet(group, consumer, now_ms);
        let mut claim = Claim {
            group,
            entries,
            repeat: &mut repeat,
            number,
            now_ms,
            changes: 0,
        };
        let result = act(&mut claim);
        ((result, made), claim.changes + u64::from(made))
    })?;
    let (result, made) = done.unwrap_or_default();
    notify_consumer(ctx, key, made);
    Ok((result, repeat.commands))
}

/// `XCLAIM key group consumer min-idle-time id [id ...] [IDLE ms] [TIME unix-time-milliseconds]
/// [RETRYCOUNT count] [FORCE] [JUSTID] [LASTID lastid]`
pub fn xclaim(ctx: &mut Ctx<'_>, args: &[&[u8]], reply: &mut Reply) -> Outcome {
    let (key, name, consumer) = (arg(args, 1), arg(args, 2), arg(args, 3));
    require(ctx, key, name)?;
    let options = parse(ctx, args)?;
    let (claimed, repeat) = claim_for(ctx, [key, name, consumer], |claim| {
        let moved = options.last_id > claim.group.last_id;
        if moved {
            claim.group.last_id = options.last_id;
        }
        let ids = options.ids.iter().copied();
        let claimed: Vec<StreamId> = ids.filter(|id| claim.one(&options, *id)).collect();
        // A claim tells the position too.
        if moved && claim.changes == 0 {
            claim.repeat.position(claim.group);
            claim.changes += 1;
        }
        claimed
    })?;
    write_claimed(ctx, key, claimed, options.just_ids, reply)?;
    Ok(repeat.into())
}

/// What XAUTOCLAIM came to.
#[derive(Default)]
struct Found {
    claimed: Vec<StreamId>,
    deleted: Vec<StreamId>,
    next: StreamId,
}

/// The options of XAUTOCLAIM.
struct Auto {
    min_idle_ms: i64,
    from: StreamId,
    count: u64,
    just_ids: bool,
}

fn parse_auto(args: &[&[u8]]) -> Result<Auto, CommandError> {
    const MOST: i64 = i64::MAX / 16;
    let min_idle = millis_arg(arg(args, 4), "min-idle-time", "XAUTOCLAIM")?;
    let mut auto = Auto {
        min_idle_ms: min_idle.max(0),
        from: start_arg(arg(args, 5))?,
        count: DEFAULT_COUNT,
        just_ids: false,
    };
    let mut rest = args.get(6..).unwrap_or_default().iter();
    while let Some(word) = rest.next() {
        if word.eq_ignore_ascii_case(b"justid") {
            auto.just_ids = true;
        } else if word.eq_ignore_ascii_case(b"count")
            && let Some(n) = rest.next()
        {
            auto.count = match num::parse_i64(n) {
                Some(n @ 1..=MOST) => n.unsigned_abs(),
                _ => return Err(CommandError::new("ERR COUNT must be > 0")),
            };
        } else {
            return Err(CommandError::SYNTAX);
        }
    }
    Ok(auto)
}

impl Claim<'_, '_, '_> {
    /// What XAUTOCLAIM does with the group.
    fn all(&mut self, auto: &Auto) -> Found {
        let mut found = Found::default();
        // Read from a handle, because what is read changes.
        let before = self.group.clone();
        let mut pending = before.pending_from(auto.from);
        let (mut looks, mut left) = (auto.count.saturating_mul(LOOKS_PER_CLAIM), auto.count);
        while looks > 0 && left > 0 {
            looks -= 1;
            let Some((id, &was)) = pending.next() else {
                return found;
            };
            if self.entries.get(id).is_none() {
                self.forget(id, was);
                found.deleted.push(id);
                left -= 1;
                continue;
            }
            let idle_ms = self.now_ms.wrapping_sub(was.time_ms);
            if auto.min_idle_ms > 0 && idle_ms < auto.min_idle_ms {
                continue;
            }
            let again = Pending {
                time_ms: self.now_ms,
                deliveries: was.deliveries.wrapping_add(u64::from(!auto.just_ids)),
                owner: self.number,
            };
            self.take(id, again);
            found.claimed.push(id);
            left -= 1;
        }
        found.next = pending.next().map_or(StreamId::MIN, |(id, _)| id);
        found
    }
}

/// `XAUTOCLAIM key group consumer min-idle-time start [COUNT count] [JUSTID]`
pub fn xautoclaim(ctx: &mut Ctx<'_>, args: &[&[u8]], reply: &mut Reply) -> Outcome {
    let (key, name, consumer) = (arg(args, 1), arg(args, 2), arg(args, 3));
    let auto = parse_auto(args)?;
    require(ctx, key, name)?;
    let (found, repeat) = claim_for(ctx, [key, name, consumer], |claim| claim.all(&auto))?;
    reply.array(3);
    bulk_id(reply, found.next);
    write_claimed(ctx, key, found.claimed, auto.just_ids, reply)?;
    reply.array(found.deleted.len());
    found.deleted.iter().for_each(|id| bulk_id(reply, *id));
    Ok(repeat.into())
}

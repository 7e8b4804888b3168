//! Reads of many fields: all of them, random ones, and a scan. Fields that are due are passed over.

use super::super::scan::{Scanned, Walk, walk};
use super::{arg, bulk};
use crate::base::{num, random};
use crate::command::ctx::{CommandError, Ctx, Outcome};
use crate::keyspace::value::hash::{Hash, Record};
use crate::keyspace::value::packed::Elem;
use crate::keyspace::value::pages::distinct_ranks;
use crate::oplog::effect::Effect;
use crate::resp::errors;
use crate::resp::reply::Reply;

/// Replies of more fields than this are formatted after the locks are released.
const DEFER_ABOVE: usize = 512;

/// How many fields, repeated ones counted, HRANDFIELD replies with at most, unless
/// `client-output-buffer-limit` bounds the reply. The bound is ours: a negative count asks for a
/// reply of any length, whatever the hash's size.
const MAX_REPEATED: i64 = 1 << 24;

/// Fields that are due which HRANDFIELD removes at most before it chooses among the others.
const EXPIRE_MAX: usize = 1024;

/// Which halves of a record a reply shows.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Show {
    Fields,
    Values,
    Both,
}

fn show(hash: &Hash, now_ms: i64, what: Show, reply: &mut Reply) {
    match what {
        Show::Both => reply.map(hash.live_len(now_ms)),
        Show::Fields | Show::Values => reply.array(hash.live_len(now_ms)),
    }
    for record in hash.iter().filter(|record| !record.is_due(now_ms)) {
        if what != Show::Values {
            bulk(reply, record.key);
        }
        if what != Show::Fields {
            bulk(reply, record.value);
        }
        if !reply.breathe() {
            break;
        }
    }
}

fn whole(ctx: &mut Ctx<'_>, key: &[u8], what: Show, reply: &mut Reply) -> Outcome {
    let now_ms = ctx.unit.fields_now();
    match ctx.read_as::<Hash>(key)? {
        None if what == Show::Both => reply.map(0),
        None => reply.array(0),
        Some(hash) if hash.len() > DEFER_ABOVE => {
            let hash = hash.clone();
            reply.deferred_of(hash.len(), Box::new(move |r| show(&hash, now_ms, what, r)));
        }
        Some(hash) => show(hash, now_ms, what, reply),
    }
    Ok(Effect::None)
}

/// `HKEYS key`
pub(super) fn hkeys(ctx: &mut Ctx<'_>, args: &[&[u8]], reply: &mut Reply) -> Outcome {
    whole(ctx, arg(args, 1), Show::Fields, reply)
}

/// `HVALS key`
pub(super) fn hvals(ctx: &mut Ctx<'_>, args: &[&[u8]], reply: &mut Reply) -> Outcome {
    whole(ctx, arg(args, 1), Show::Values, reply)
}

/// `HGETALL key`
pub(super) fn hgetall(ctx: &mut Ctx<'_>, args: &[&[u8]], reply: &mut Reply) -> Outcome {
    whole(ctx, arg(args, 1), Show::Both, reply)
}

/// `HRANDFIELD key [count [WITHVALUES]]`
pub(super) fn hrandfield(ctx: &mut Ctx<'_>, args: &[&[u8]], reply: &mut Reply) -> Outcome {
    let key = arg(args, 1);
    let now_ms = ctx.unit.fields_now();
    let Some(count) = args.get(2) else {
        expire_some(ctx, key, now_ms)?;
        let hash = ctx.read_as::<Hash>(key)?;
        match hash.and_then(|hash| random_field(hash, now_ms)) {
            None => reply.null(),
            Some(record) => bulk(reply, record.key),
        }
        return Ok(Effect::None);
    };
    let count = num::parse_i64(count).ok_or(CommandError::NOT_INTEGER)?;
    if count == i64::MIN {
        return Err(CommandError::new(errors::OUT_OF_SYMMETRIC_RANGE));
    }
    let with_values = match args.get(3..).unwrap_or_default() {
        [] => false,
        [word] if word.eq_ignore_ascii_case(b"withvalues") => true,
        _ => return Err(CommandError::SYNTAX),
    };
    if with_values && count.unsigned_abs() > i64::MAX.unsigned_abs() / 2 {
        return Err(CommandError::new("ERR value is out of range"));
    }
    expire_some(ctx, key, now_ms)?;
    // What may wait for a client bounds its reply, too.
    let limits = &ctx.settings.network.client_output_buffer_limit;
    let is_bounded = !ctx.nested && limits.normal.hard_bytes > 0;
    match ctx.read_as::<Hash>(key)? {
        Some(_) if count < -MAX_REPEATED && !is_bounded => {
            return Err(CommandError::new("ERR value is out of range"));
        }
        Some(hash) if count.unsigned_abs() > DEFER_ABOVE as u64 => {
            let hash = hash.clone();
            let elements = usize::try_from(count.unsigned_abs()).unwrap_or(usize::MAX);
            let elements = if count < 0 {
                elements
            } else {
                elements.min(hash.len())
            };
            let write = move |r: &mut Reply| random_fields(&hash, now_ms, count, with_values, r);
            reply.deferred_of(elements, Box::new(write));
        }
        Some(hash) if count != 0 => random_fields(hash, now_ms, count, with_values, reply),
        _ => reply.array(0),
    }
    Ok(Effect::None)
}

/// Removes what is due before a random field is chosen.
fn expire_some(ctx: &mut Ctx<'_>, key: &[u8], now_ms: i64) -> Result<(), CommandError> {
    if ctx.lookup::<Hash>(key)?.is_some_and(|h| h.has_due(now_ms)) {
        let db = ctx.db();
        ctx.unit.expire_due_fields(db, key, EXPIRE_MAX);
    }
    Ok(())
}

/// The fields that are not due, if some are: too many to have been removed, or not ours to remove.
fn live_among_due(hash: &Hash, now_ms: i64) -> Option<Vec<Record<'_>>> {
    let live = || hash.iter().filter(|record| !record.is_due(now_ms));
    hash.has_due(now_ms).then(|| live().collect())
}

fn random_of<'a>(live: &[Record<'a>]) -> Option<Record<'a>> {
    let rank = random::below(live.len() as u64) as usize;
    live.get(rank).copied()
}

fn random_field(hash: &Hash, now_ms: i64) -> Option<Record<'_>> {
    match live_among_due(hash, now_ms) {
        Some(live) => random_of(&live),
        None => hash.random(),
    }
}

/// Distinct fields for a positive count, fields that may repeat for a negative one.
fn random_fields(hash: &Hash, now_ms: i64, count: i64, with_values: bool, reply: &mut Reply) {
    let one = |reply: &mut Reply, key: Elem<'_>, value: Elem<'_>| {
        if with_values && reply.is_resp3() {
            reply.array(2);
        }
        bulk(reply, key);
        if with_values {
            bulk(reply, value);
        }
    };
    let heading = |reply: &mut Reply, n: usize| {
        reply.array(if with_values && !reply.is_resp3() {
            n.saturating_mul(2)
        } else {
            n
        });
    };
    let n = usize::try_from(count.unsigned_abs()).unwrap_or(usize::MAX);
    let live = live_among_due(hash, now_ms);
    if count > 0 {
        let sample = match &live {
            Some(live) => {
                let ranks = distinct_ranks(live.len(), n);
                ranks
                    .iter()
                    .filter_map(|at| live.get(*at))
                    .copied()
                    .collect()
            }
            None => hash.sample(n),
        };
        heading(reply, sample.len());
        sample.iter().for_each(|r| one(reply, r.key, r.value));
        return;
    }
    let any = match &live {
        Some(live) => live.len(),
        None => hash.len(),
    };
    let n = if any == 0 { 0 } else { n };
    heading(reply, n);
    let random = || match &live {
        Some(live) => random_of(live),
        None => hash.random(),
    };
    for record in (0..n).map_while(|_| random()) {
        one(reply, record.key, record.value);
        if !reply.breathe() {
            break;
        }
    }
}

/// `HSCAN key cursor [MATCH pattern] [COUNT count] [NOVALUES]`
pub(super) fn hscan(ctx: &mut Ctx<'_>, args: &[&[u8]], reply: &mut Reply) -> Outcome {
    let now_ms = ctx.unit.fields_now();
    walk::<Hash>(
        ctx,
        args,
        Scanned::Fields,
        reply,
        move |hash, walk, reply| {
            scan(hash, walk, now_ms, reply);
        },
    )
}

fn scan(hash: &Hash, walk: &Walk, now_ms: i64, reply: &mut Reply) {
    let mut buffer = itoa::Buffer::new();
    let mut found = Vec::new();
    let next = hash.scan(walk.cursor, walk.count, |record| {
        if !record.is_due(now_ms) && walk.wants(record.key.to_bytes(&mut buffer)) {
            found.push(record);
        }
    });
    reply.array(2);
    reply.bulk(itoa::Buffer::new().format(next).as_bytes());
    reply.array(if walk.no_values {
        found.len()
    } else {
        found.len() * 2
    });
    for record in found {
        bulk(reply, record.key);
        if !walk.no_values {
            bulk(reply, record.value);
        }
    }
}

//! Elements of a sorted set in no order: ZSCAN and ZRANDMEMBER.

use std::collections::HashSet;

use super::{DEFER_ABOVE, arg, bulk, element, heading};
use crate::base::{num, random};
use crate::command::ctx::{CommandError, Ctx, Outcome};
use crate::command::families::scan::{Scanned, Walk, walk};
use crate::keyspace::value::zset::Zset;
use crate::oplog::effect::Effect;
use crate::resp::errors;
use crate::resp::reply::Reply;

/// How many elements, repeated ones counted, ZRANDMEMBER replies with at most.
const MAX_REPEATED: u64 = 1 << 24;

/// `ZSCAN key cursor [MATCH pattern] [COUNT count]`
pub(super) fn zscan(ctx: &mut Ctx<'_>, args: &[&[u8]], reply: &mut Reply) -> Outcome {
    walk::<Zset>(ctx, args, Scanned::Members, reply, scan)
}

fn scan(zset: &Zset, walk: &Walk, reply: &mut Reply) {
    reply.array(2);
    let mut buffer = itoa::Buffer::new();
    let mut found = Reply::new(reply.proto());
    let mut n = 0;
    let large = zset.is_large();
    let next = zset.scan(walk.cursor, walk.count, |member, score| {
        if walk.wants(member.to_bytes(&mut buffer)) {
            bulk(&mut found, member);
            // Redis prints the score of a skiplist with all its digits here, and here alone.
            found.bulk(&if large {
                num::fmt_g17(score)
            } else {
                num::fmt_f64(score)
            });
            n += 2;
        }
    });
    reply.bulk(itoa::Buffer::new().format(next).as_bytes());
    reply.array(n);
    reply.raw(found.plain());
}

/// `ZRANDMEMBER key [count [WITHSCORES]]`
pub(super) fn zrandmember(ctx: &mut Ctx<'_>, args: &[&[u8]], reply: &mut Reply) -> Outcome {
    let key = arg(args, 1);
    let Some(count) = args.get(2) else {
        let zset = ctx.read_as::<Zset>(key)?;
        match zset.and_then(|zset| zset.at(random_rank(zset.len()))) {
            Some((member, _)) => bulk(reply, member),
            None => reply.null(),
        }
        return Ok(Effect::None);
    };
    let count = num::parse_i64(count).ok_or(CommandError::NOT_INTEGER)?;
    if count == i64::MIN {
        return Err(CommandError::new(errors::OUT_OF_SYMMETRIC_RANGE));
    }
    let scores = match args.get(3..).unwrap_or_default() {
        [] => false,
        [word] if word.eq_ignore_ascii_case(b"withscores") => true,
        _ => return Err(CommandError::SYNTAX),
    };
    let out_of_range = || CommandError::new("ERR value is out of range");
    if scores && count.unsigned_abs() > i64::MAX as u64 / 2 {
        return Err(out_of_range());
    }
    match ctx.read_as::<Zset>(key)? {
        Some(_) if count < 0 && count.unsigned_abs() > MAX_REPEATED => return Err(out_of_range()),
        Some(zset) if count.unsigned_abs() > DEFER_ABOVE as u64 => {
            let zset = zset.clone();
            let n = usize::try_from(count.unsigned_abs()).unwrap_or(usize::MAX);
            reply.deferred_of(
                n,
                Box::new(move |reply| {
                    random_elements(&zset, count, scores, reply);
                }),
            );
        }
        Some(zset) => random_elements(zset, count, scores, reply),
        None => reply.array(0),
    }
    Ok(Effect::None)
}

fn random_rank(len: usize) -> usize {
    usize::try_from(random::below(len as u64)).unwrap_or(0)
}

/// Distinct elements for a positive count, elements that may repeat for a negative one.
fn random_elements(zset: &Zset, count: i64, scores: bool, reply: &mut Reply) {
    let n = usize::try_from(count.unsigned_abs()).unwrap_or(usize::MAX);
    let len = zset.len();
    if count >= 0 && n >= len {
        heading(reply, len, scores);
        for (member, score) in zset.iter() {
            element(reply, member, score, scores);
        }
        return;
    }
    heading(reply, n, scores);
    let mut write = |rank| {
        if let Some((member, score)) = zset.at(rank) {
            element(reply, member, score, scores);
        }
    };
    if count < 0 {
        (0..n).for_each(|_| write(random_rank(len)));
    } else {
        distinct_ranks(n, len).for_each(write);
    }
}

/// `n` different numbers below `len`, every choice of them equally likely (Floyd's algorithm).
fn distinct_ranks(n: usize, len: usize) -> impl Iterator<Item = usize> {
    let mut chosen = HashSet::new();
    (len - n..len).map(move |last| {
        let rank = random_rank(last + 1);
        if chosen.insert(rank) {
            return rank;
        }
        chosen.insert(last);
        last
    })
}

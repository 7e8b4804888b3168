//! Sorted sets.
//!
//! A range is first turned into ranks, which costs O(log n), whatever names it: ranks, scores or
//! members. A reply of many elements is written from a handle when the locks are released; so is
//! what is made of several sets. What is stored is made beside the workers if it is much.
//!
//! One refusal is ours: a negative count of ZRANDMEMBER asks for a reply of any length, whatever
//! the set's size, and beyond a limit it is out of range.

mod algebra;
mod blocking;
pub mod pops;
mod ranges;
mod walk;

#[cfg(test)]
mod tests;

use crate::command::families::{arg, bulk, notify_removal, removal};
use smallvec::SmallVec;

use crate::base::num;
use crate::command::ctx::{CommandError, Ctx, Outcome, int_arg};
use crate::command::limits;
use crate::keyspace::unit::{Missing, NotifyClass};
use crate::keyspace::value::packed::Elem;
use crate::keyspace::value::zset::{AddOptions, Added, LexRange, ScoreRange, Zset};
use crate::oplog::effect::Effect;
use crate::resp::reply::Reply;

use super::{Family, Locks};

/// The family.
pub const HANDLERS: Family = &[
    ("zadd", zadd, Locks::Keys),
    ("zincrby", zincrby, Locks::Keys),
    ("zrem", zrem, Locks::Keys),
    ("zscore", zscore, Locks::Keys),
    ("zmscore", zmscore, Locks::Keys),
    ("zcard", zcard, Locks::Keys),
    ("zcount", zcount, Locks::Keys),
    ("zlexcount", zlexcount, Locks::Keys),
    ("zrank", zrank, Locks::Keys),
    ("zrevrank", zrevrank, Locks::Keys),
    ("zrange", ranges::zrange, Locks::Keys),
    ("zrangebyscore", ranges::zrangebyscore, Locks::Keys),
    ("zrangebylex", ranges::zrangebylex, Locks::Keys),
    ("zrevrange", ranges::zrevrange, Locks::Keys),
    ("zrevrangebyscore", ranges::zrevrangebyscore, Locks::Keys),
    ("zrevrangebylex", ranges::zrevrangebylex, Locks::Keys),
    ("zrangestore", ranges::zrangestore, Locks::Keys),
    ("zremrangebyrank", ranges::zremrangebyrank, Locks::Keys),
    ("zremrangebyscore", ranges::zremrangebyscore, Locks::Keys),
    ("zremrangebylex", ranges::zremrangebylex, Locks::Keys),
    ("zpopmin", pops::zpopmin, Locks::Keys),
    ("zpopmax", pops::zpopmax, Locks::Keys),
    ("zmpop", pops::zmpop, Locks::Keys),
    ("bzpopmin", blocking::bzpopmin, Locks::Keys),
    ("bzpopmax", blocking::bzpopmax, Locks::Keys),
    ("bzmpop", blocking::bzmpop, Locks::Keys),
    ("zunion", algebra::zunion, Locks::Keys),
    ("zunionstore", algebra::zunionstore, Locks::Keys),
    ("zinter", algebra::zinter, Locks::Keys),
    ("zinterstore", algebra::zinterstore, Locks::Keys),
    ("zintercard", algebra::zintercard, Locks::Keys),
    ("zdiff", algebra::zdiff, Locks::Keys),
    ("zdiffstore", algebra::zdiffstore, Locks::Keys),
    ("zrandmember", walk::zrandmember, Locks::Keys),
    ("zscan", walk::zscan, Locks::Keys),
];

/// What concerns more elements than this happens after the locks are released.
const DEFER_ABOVE: usize = 512;

/// Begins an array of `n` elements, with their scores or without: RESP2 has them side by side.
fn heading(reply: &mut Reply, n: usize, scores: bool) {
    let flat = scores && !reply.is_resp3();
    reply.array(if flat { n.saturating_mul(2) } else { n });
}

/// Writes an element below such a [`heading`].
fn element(reply: &mut Reply, member: Elem<'_>, score: f64, scores: bool) {
    if scores && reply.is_resp3() {
        reply.array(2);
    }
    bulk(reply, member);
    if scores {
        reply.double(score);
    }
}

fn score_range(min: &[u8], max: &[u8]) -> Result<ScoreRange, CommandError> {
    ScoreRange::parse(min, max).ok_or(CommandError::new("ERR min or max is not a float"))
}

fn lex_range<'a>(min: &'a [u8], max: &'a [u8]) -> Result<LexRange<'a>, CommandError> {
    LexRange::parse(min, max).ok_or(CommandError::new(
        "ERR min or max not valid string range item",
    ))
}

/// What ZADD says before its scores.
#[derive(Clone, Copy, Default)]
struct ZaddOptions {
    add: AddOptions,
    /// `CH`: members whose score changed are counted, too.
    count_changed: bool,
}

impl ZaddOptions {
    /// Takes the options off the front of `args`; what is left.
    fn take<'s, 'a>(&mut self, mut args: &'s [&'a [u8]]) -> &'s [&'a [u8]] {
        while let [word, rest @ ..] = args {
            // Options have two or four letters; most scores are told apart by that or a digit.
            if !word.first().is_some_and(u8::is_ascii_alphabetic) {
                break;
            }
            let is = |name: &[u8]| word.eq_ignore_ascii_case(name);
            let option = match () {
                () if is(b"NX") => &mut self.add.nx,
                () if is(b"XX") => &mut self.add.xx,
                () if is(b"GT") => &mut self.add.gt,
                () if is(b"LT") => &mut self.add.lt,
                () if is(b"CH") => &mut self.count_changed,
                () if is(b"INCR") => &mut self.add.incr,
                () => break,
            };
            *option = true;
            args = rest;
        }
        args
    }

    fn check(&self, pairs: usize) -> Result<(), CommandError> {
        let AddOptions {
            nx,
            xx,
            gt,
            lt,
            incr,
        } = self.add;
        if nx && xx {
            return Err(CommandError::new(
                "ERR XX and NX options at the same time are not compatible",
            ));
        }
        if nx && (gt || lt) || gt && lt {
            return Err(CommandError::new(
                "ERR GT, LT, and/or NX options at the same time are not compatible",
            ));
        }
        if incr && pairs > 1 {
            return Err(CommandError::new(
                "ERR INCR option supports a single increment-element pair",
            ));
        }
        Ok(())
    }
}

/// What a ZADD did in all.
#[derive(Default)]
struct Tally {
    added: usize,
    changed: usize,
    /// The score of the last member, unless the options refused it.
    score: Option<f64>,
    not_a_number: bool,
}

impl Tally {
    fn note(&mut self, added: Added) {
        self.score = match added {
            Added::New(score) => {
                self.added += 1;
                Some(score)
            }
            Added::Changed(score) => {
                self.changed += 1;
                Some(score)
            }
            Added::Same(score) => Some(score),
            Added::Refused => None,
            Added::NotANumber => {
                self.not_a_number = true;
                None
            }
        };
    }
}

/// `ZADD key [NX | XX] [GT | LT] [CH] [INCR] score member [score member ...]`
pub fn zadd(ctx: &mut Ctx<'_>, args: &[&[u8]], reply: &mut Reply) -> Outcome {
    add(ctx, args, ZaddOptions::default(), reply)
}

/// `ZINCRBY key increment member`
fn zincrby(ctx: &mut Ctx<'_>, args: &[&[u8]], reply: &mut Reply) -> Outcome {
    let mut options = ZaddOptions::default();
    options.add.incr = true;
    add(ctx, args, options, reply)
}

fn add(ctx: &mut Ctx<'_>, args: &[&[u8]], mut options: ZaddOptions, reply: &mut Reply) -> Outcome {
    let key = arg(args, 1);
    let pairs = options.take(args.get(2..).unwrap_or_default());
    if !pairs.len().is_multiple_of(2) || pairs.is_empty() {
        return Err(CommandError::SYNTAX);
    }
    let count = pairs.len() / 2;
    options.check(count)?;
    let mut scores: SmallVec<[f64; 8]> = SmallVec::new();
    for text in pairs.iter().step_by(2) {
        scores.push(num::parse_f64(text).ok_or(CommandError::NOT_FLOAT)?);
    }
    let (limits, add) = (limits::zset(ctx.settings), options.add);
    // Only a set that is there can have what XX wants.
    let missing = if add.xx {
        Missing::Skip
    } else {
        Missing::Create
    };
    let tally = ctx.update::<Zset, _>(key, missing, |zset| {
        zset.prepare(arg(pairs, 1), count, &limits);
        let mut tally = Tally::default();
        for (score, member) in scores.iter().zip(pairs.iter().skip(1).step_by(2)) {
            tally.note(zset.add(&limits, member, *score, add));
        }
        let changes = (tally.added + tally.changed) as u64;
        (tally, changes)
    })?;
    let tally = tally.map(|(tally, _)| tally).unwrap_or_default();
    if tally.not_a_number {
        return Err(CommandError::new(
            "ERR resulting score is not a number (NaN)",
        ));
    }
    match tally.score {
        Some(score) if add.incr => reply.double(score),
        None if add.incr => reply.null(),
        _ if options.count_changed => reply.len_int(tally.added + tally.changed),
        _ => reply.len_int(tally.added),
    }
    if tally.added + tally.changed == 0 {
        return Ok(Effect::None);
    }
    ctx.notify(
        NotifyClass::ZSET,
        if add.incr { "zincr" } else { "zadd" },
        key,
    );
    Ok(Effect::Verbatim)
}

/// `ZREM key member [member ...]`
fn zrem(ctx: &mut Ctx<'_>, args: &[&[u8]], reply: &mut Reply) -> Outcome {
    let key = arg(args, 1);
    let members = args.get(2..).unwrap_or_default();
    let removed = ctx.update::<Zset, _>(key, Missing::Skip, |zset| {
        let n = members
            .iter()
            .filter(|member| zset.remove(member).is_some())
            .count();
        (n, n as u64)
    })?;
    removal(ctx, (NotifyClass::ZSET, "zrem"), key, removed, reply)
}

/// `ZSCORE key member`
fn zscore(ctx: &mut Ctx<'_>, args: &[&[u8]], reply: &mut Reply) -> Outcome {
    let zset = ctx.read_as::<Zset>(arg(args, 1))?;
    match zset.and_then(|zset| zset.score(arg(args, 2))) {
        Some(score) => reply.double(score),
        None => reply.null(),
    }
    Ok(Effect::None)
}

/// `ZMSCORE key member [member ...]`
fn zmscore(ctx: &mut Ctx<'_>, args: &[&[u8]], reply: &mut Reply) -> Outcome {
    let members = args.get(2..).unwrap_or_default();
    let zset = ctx.read_as::<Zset>(arg(args, 1))?;
    reply.array(members.len());
    for member in members {
        match zset.and_then(|zset| zset.score(member)) {
            Some(score) => reply.double(score),
            None => reply.null(),
        }
    }
    Ok(Effect::None)
}

/// `ZCARD key`
fn zcard(ctx: &mut Ctx<'_>, args: &[&[u8]], reply: &mut Reply) -> Outcome {
    let len = ctx.read_as::<Zset>(arg(args, 1))?.map_or(0, Zset::len);
    reply.len_int(len);
    Ok(Effect::None)
}

/// `ZCOUNT key min max`
fn zcount(ctx: &mut Ctx<'_>, args: &[&[u8]], reply: &mut Reply) -> Outcome {
    let range = score_range(arg(args, 2), arg(args, 3))?;
    let zset = ctx.read_as::<Zset>(arg(args, 1))?;
    reply.len_int(zset.map_or(0, |zset| zset.score_ranks(&range).len()));
    Ok(Effect::None)
}

/// `ZLEXCOUNT key min max`
fn zlexcount(ctx: &mut Ctx<'_>, args: &[&[u8]], reply: &mut Reply) -> Outcome {
    let range = lex_range(arg(args, 2), arg(args, 3))?;
    let zset = ctx.read_as::<Zset>(arg(args, 1))?;
    reply.len_int(zset.map_or(0, |zset| zset.lex_ranks(&range).len()));
    Ok(Effect::None)
}

/// `ZRANK key member [WITHSCORE]`
fn zrank(ctx: &mut Ctx<'_>, args: &[&[u8]], reply: &mut Reply) -> Outcome {
    rank(ctx, args, false, reply)
}

/// `ZREVRANK key member [WITHSCORE]`
fn zrevrank(ctx: &mut Ctx<'_>, args: &[&[u8]], reply: &mut Reply) -> Outcome {
    rank(ctx, args, true, reply)
}

fn rank(ctx: &mut Ctx<'_>, args: &[&[u8]], reverse: bool, reply: &mut Reply) -> Outcome {
    let with_score = match args.get(3..).unwrap_or_default() {
        [] => false,
        [word] if word.eq_ignore_ascii_case(b"withscore") => true,
        [_] => return Err(CommandError::SYNTAX),
        _ => {
            let name = if reverse { "zrevrank" } else { "zrank" };
            return Err(CommandError::new(format!(
                "ERR wrong number of arguments for '{name}' command"
            )));
        }
    };
    let zset = ctx.read_as::<Zset>(arg(args, 1))?;
    let found = zset.and_then(|zset| {
        let (rank, score) = zset.rank(arg(args, 2))?;
        Some((if reverse { zset.len() - 1 - rank } else { rank }, score))
    });
    match found {
        Some((rank, score)) if with_score => {
            reply.array(2);
            reply.len_int(rank);
            reply.double(score);
        }
        Some((rank, _)) => reply.len_int(rank),
        None if with_score => reply.null_array(),
        None => reply.null(),
    }
    Ok(Effect::None)
}

/// Keys, and the arguments behind them.
type KeysAndRest<'s, 'a> = (&'s [&'a [u8]], &'s [&'a [u8]]);

/// Splits `numkeys key [key ...] rest`, where a number that is none is `refusal`.
fn split_keys<'s, 'a>(
    args: &'s [&'a [u8]],
    refusal: &'static str,
) -> Result<KeysAndRest<'s, 'a>, CommandError> {
    let (count, rest) = args.split_first().ok_or(CommandError::SYNTAX)?;
    let count = int_arg(count).ok().filter(|n| *n > 0);
    let count = count.ok_or(CommandError::new(refusal))?;
    let split = usize::try_from(count).ok();
    split
        .and_then(|count| rest.split_at_checked(count))
        .ok_or(CommandError::SYNTAX)
}

//! Ranges of a sorted set, by rank, by score and by member: read, stored and removed.
//!
//! All forms come down to a [`Request`], and that to ranks from the lowest score on.

use std::ops::Range;

use super::{arg, element, heading, lex_range, removal, score_range};
use crate::command::ctx::{CommandError, Ctx, Outcome, int_arg};
use crate::command::limits;
use crate::command::storing::{self, Logged, Store};
use crate::keyspace::unit::{Missing, NotifyClass};
use crate::keyspace::value::zset::{LexRange, ScoreRange, Zset};
use crate::oplog::effect::Effect;
use crate::resp::reply::Reply;

/// What names a range.
#[derive(Clone, Copy)]
enum Bounds<'a> {
    /// First and last rank, negative ones from the end.
    Ranks(i64, i64),
    Scores(ScoreRange),
    Members(LexRange<'a>),
}

impl Bounds<'_> {
    /// The ranks from the lowest score on; ranks that are bounds count from the highest if
    /// `reverse`.
    fn ranks(&self, zset: &Zset, reverse: bool) -> Range<usize> {
        match *self {
            Bounds::Scores(range) => zset.score_ranks(&range),
            Bounds::Members(range) => zset.lex_ranks(&range),
            Bounds::Ranks(first, last) => {
                let len = zset.len();
                let from_start = |rank: i64| match usize::try_from(rank) {
                    Ok(rank) => Some(rank),
                    Err(_) => len.checked_sub(usize::try_from(rank.unsigned_abs()).ok()?),
                };
                let start = from_start(first).unwrap_or(0);
                let end = from_start(last).map_or(0, |last| last.saturating_add(1).min(len));
                let start = start.min(end);
                if reverse {
                    len - end..len - start
                } else {
                    start..end
                }
            }
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum By {
    /// The arguments say it.
    Unsaid,
    Rank,
    Score,
    Member,
}

/// What the older names of ZRANGE say by themselves.
#[derive(Clone, Copy)]
struct Form {
    by: By,
    /// `None`: the arguments say it.
    reverse: Option<bool>,
    /// The range is stored: it has a destination before its source, and all its scores.
    store: bool,
}

/// A range that is asked for.
struct Request<'a> {
    bounds: Bounds<'a>,
    reverse: bool,
    scores: bool,
    /// How many to leave out, and how many to give; negative numbers as Redis takes them.
    limit: (i64, i64),
}

impl<'a> Request<'a> {
    /// Reads `min max [options]`.
    fn parse(args: &[&'a [u8]], form: Form) -> Result<Request<'a>, CommandError> {
        let [min, max, options @ ..] = args else {
            return Err(CommandError::SYNTAX);
        };
        let (mut by, mut reverse) = (form.by, form.reverse);
        let (mut scores, mut limit) = (false, (0, -1));
        let mut options = options;
        while let [word, rest @ ..] = options {
            let is = |name: &[u8]| word.eq_ignore_ascii_case(name);
            options = rest;
            if !form.store && is(b"WITHSCORES") {
                scores = true;
            } else if let ([offset, count, rest @ ..], true) = (rest, is(b"LIMIT")) {
                limit = (int_arg(offset)?, int_arg(count)?);
                options = rest;
            } else if reverse.is_none() && is(b"REV") {
                reverse = Some(true);
            } else if by == By::Unsaid && is(b"BYLEX") {
                by = By::Member;
            } else if by == By::Unsaid && is(b"BYSCORE") {
                by = By::Score;
            } else {
                return Err(CommandError::SYNTAX);
            }
        }
        let by_rank = matches!(by, By::Unsaid | By::Rank);
        if by_rank && limit.1 != -1 {
            return Err(CommandError::new(
                "ERR syntax error, LIMIT is only supported in combination with either BYSCORE or \
                 BYLEX",
            ));
        }
        if scores && by == By::Member {
            return Err(CommandError::new(
                "ERR syntax error, WITHSCORES not supported in combination with BYLEX",
            ));
        }
        let reverse = reverse.unwrap_or(false);
        // A range from the highest on names its higher bound first.
        let (low, high) = if reverse { (max, min) } else { (min, max) };
        let bounds = match by {
            By::Unsaid | By::Rank => Bounds::Ranks(int_arg(min)?, int_arg(max)?),
            By::Score => Bounds::Scores(score_range(low, high)?),
            By::Member => Bounds::Members(lex_range(low, high)?),
        };
        Ok(Request {
            bounds,
            reverse,
            scores,
            limit: if by_rank { (0, -1) } else { limit },
        })
    }

    /// A negative offset leaves out everything of a small set. In a large one it counts from the
    /// far end of the range, as in Redis 8: -1 begins with the last element.
    fn behind_the_end(&self, zset: &Zset, ranks: Range<usize>) -> Range<usize> {
        let back = usize::try_from(self.limit.0.unsigned_abs()).unwrap_or(usize::MAX);
        if !zset.is_large() || back > ranks.len() {
            return ranks.start..ranks.start;
        }
        let count = usize::try_from(self.limit.1).map_or(back, |count| count.min(back));
        if self.reverse {
            ranks.start + back - count..ranks.start + back
        } else {
            ranks.end - back..ranks.end - back + count
        }
    }

    /// The ranks from the lowest score on.
    fn ranks(&self, zset: &Zset) -> Range<usize> {
        let Range { start, end } = self.bounds.ranks(zset, self.reverse);
        let len = end - start;
        let offset = match usize::try_from(self.limit.0) {
            Ok(offset) => offset.min(len),
            Err(_) => return self.behind_the_end(zset, start..end),
        };
        let count = usize::try_from(self.limit.1).map_or(len, |count| count.min(len));
        let count = count.min(len - offset);
        if self.reverse {
            end - offset - count..end - offset
        } else {
            start + offset..start + offset + count
        }
    }
}

/// Writes the elements of these ranks, many of them when the locks are released.
pub(super) fn show(
    zset: &Zset,
    ranks: Range<usize>,
    reverse: bool,
    scores: bool,
    reply: &mut Reply,
) {
    if ranks.len() > super::DEFER_ABOVE {
        let zset = zset.clone();
        reply.deferred_of(
            ranks.len(),
            Box::new(move |reply| {
                write(&zset, ranks, reverse, scores, reply);
            }),
        );
    } else {
        write(zset, ranks, reverse, scores, reply);
    }
}

fn write(zset: &Zset, ranks: Range<usize>, reverse: bool, scores: bool, reply: &mut Reply) {
    heading(reply, ranks.len(), scores);
    for (member, score) in zset.range(ranks, reverse) {
        element(reply, member, score, scores);
        if !reply.breathe() {
            return;
        }
    }
}

fn read(ctx: &mut Ctx<'_>, args: &[&[u8]], form: Form, reply: &mut Reply) -> Outcome {
    let request = Request::parse(args.get(2..).unwrap_or_default(), form)?;
    match ctx.read_as::<Zset>(arg(args, 1))? {
        None => reply.array(0),
        Some(zset) => {
            let ranks = request.ranks(zset);
            show(zset, ranks, request.reverse, request.scores, reply);
        }
    }
    Ok(Effect::None)
}

const fn old_form(by: By, reverse: bool) -> Form {
    Form {
        by,
        reverse: Some(reverse),
        store: false,
    }
}

/// `ZRANGE key start stop [BYSCORE | BYLEX] [REV] [LIMIT offset count] [WITHSCORES]`
pub(super) fn zrange(ctx: &mut Ctx<'_>, args: &[&[u8]], reply: &mut Reply) -> Outcome {
    let form = Form {
        by: By::Unsaid,
        reverse: None,
        store: false,
    };
    read(ctx, args, form, reply)
}

/// `ZRANGEBYSCORE key min max [WITHSCORES] [LIMIT offset count]`
pub(super) fn zrangebyscore(ctx: &mut Ctx<'_>, args: &[&[u8]], reply: &mut Reply) -> Outcome {
    read(ctx, args, old_form(By::Score, false), reply)
}

/// `ZRANGEBYLEX key min max [LIMIT offset count]`
pub(super) fn zrangebylex(ctx: &mut Ctx<'_>, args: &[&[u8]], reply: &mut Reply) -> Outcome {
    read(ctx, args, old_form(By::Member, false), reply)
}

/// `ZREVRANGE key start stop [WITHSCORES]`
pub(super) fn zrevrange(ctx: &mut Ctx<'_>, args: &[&[u8]], reply: &mut Reply) -> Outcome {
    read(ctx, args, old_form(By::Rank, true), reply)
}

/// `ZREVRANGEBYSCORE key max min [WITHSCORES] [LIMIT offset count]`
pub(super) fn zrevrangebyscore(ctx: &mut Ctx<'_>, args: &[&[u8]], reply: &mut Reply) -> Outcome {
    read(ctx, args, old_form(By::Score, true), reply)
}

/// `ZREVRANGEBYLEX key max min [LIMIT offset count]`
pub(super) fn zrevrangebylex(ctx: &mut Ctx<'_>, args: &[&[u8]], reply: &mut Reply) -> Outcome {
    read(ctx, args, old_form(By::Member, true), reply)
}

/// `ZRANGESTORE dst src min max [BYSCORE | BYLEX] [REV] [LIMIT offset count]`
pub(super) fn zrangestore(ctx: &mut Ctx<'_>, args: &[&[u8]], reply: &mut Reply) -> Outcome {
    let form = Form {
        by: By::Unsaid,
        reverse: None,
        store: true,
    };
    let request = Request::parse(args.get(3..).unwrap_or_default(), form)?;
    let limits = limits::zset(ctx.settings);
    let source = ctx.read_as::<Zset>(arg(args, 2))?.cloned();
    let source = source.unwrap_or_default();
    let ranks = request.ranks(&source);
    let (reverse, by_ranks) = (request.reverse, matches!(request.bounds, Bounds::Ranks(..)));
    let elements = ranks.len();
    let copy = move || {
        let mut result = Zset::new();
        // Redis goes in the order asked for, and knows the number beforehand only of ranks: of
        // that depends whether a zero keeps its sign.
        if by_ranks {
            result.prepare(b"", elements, &limits);
        }
        for (member, score) in source.range(ranks, reverse) {
            result.insert(&limits, member.to_bytes(&mut itoa::Buffer::new()), score);
        }
        result
    };
    let store = Store {
        args,
        key: arg(args, 1),
        event: "zrangestore",
        elements_count: false,
        logged: Logged::Request {
            reads: args.get(2..3).unwrap_or_default(),
        },
    };
    if storing::is_large(ctx, elements) {
        return storing::later(ctx, &store, Box::new(move || Ok(copy().into())));
    }
    Ok(storing::now(ctx, &store, copy(), reply))
}

/// `ZREMRANGEBYRANK key start stop`
pub(super) fn zremrangebyrank(ctx: &mut Ctx<'_>, args: &[&[u8]], reply: &mut Reply) -> Outcome {
    let bounds = Bounds::Ranks(int_arg(arg(args, 2))?, int_arg(arg(args, 3))?);
    remove(ctx, arg(args, 1), bounds, "zremrangebyrank", reply)
}

/// `ZREMRANGEBYSCORE key min max`
pub(super) fn zremrangebyscore(ctx: &mut Ctx<'_>, args: &[&[u8]], reply: &mut Reply) -> Outcome {
    let bounds = Bounds::Scores(score_range(arg(args, 2), arg(args, 3))?);
    remove(ctx, arg(args, 1), bounds, "zremrangebyscore", reply)
}

/// `ZREMRANGEBYLEX key min max`
pub(super) fn zremrangebylex(ctx: &mut Ctx<'_>, args: &[&[u8]], reply: &mut Reply) -> Outcome {
    let bounds = Bounds::Members(lex_range(arg(args, 2), arg(args, 3))?);
    remove(ctx, arg(args, 1), bounds, "zremrangebylex", reply)
}

fn remove(
    ctx: &mut Ctx<'_>,
    key: &[u8],
    bounds: Bounds<'_>,
    event: &'static str,
    reply: &mut Reply,
) -> Outcome {
    let removed = ctx.update::<Zset, _>(key, Missing::Skip, |zset| {
        let n = zset.remove_ranks(bounds.ranks(zset, false));
        (n, n as u64)
    })?;
    removal(ctx, (NotifyClass::ZSET, event), key, removed, reply)
}

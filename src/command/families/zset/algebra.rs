//! What is made of several sorted sets, or plain sets whose members score 1: union, intersection
//! and difference.
//!
//! The sources are handles, cloned under the locks, which is O(1) each. They are gone through from
//! the smallest to the largest, as Redis does, because sums of doubles depend on the order.

use std::cmp::{Ordering, Reverse};
use std::collections::HashMap;
use std::collections::hash_map::Entry;

use smallvec::SmallVec;

use super::{arg, element, heading};
use crate::base::num;
use crate::command::ctx::{CommandError, Ctx, Outcome, int_arg};
use crate::command::limits;
use crate::command::storing::{self, Logged, Store};
use crate::keyspace::value::ValueRef;
use crate::keyspace::value::packed::Elem;
use crate::keyspace::value::set::Set;
use crate::keyspace::value::zset::{Zset, ZsetLimits};
use crate::oplog::effect::Effect;
use crate::resp::reply::Reply;

/// A member with a place of its own; most need no allocation.
type Member = SmallVec<[u8; 24]>;

/// What a key holds that takes part.
#[derive(Clone)]
enum Held {
    Zset(Zset),
    Set(Set),
}

struct Source {
    held: Held,
    weight: f64,
}

impl Source {
    fn len(&self) -> usize {
        match &self.held {
            Held::Zset(zset) => zset.len(),
            Held::Set(set) => set.len(),
        }
    }

    fn score(&self, member: Elem<'_>) -> Option<f64> {
        match &self.held {
            Held::Zset(zset) => zset.score(member.to_bytes(&mut itoa::Buffer::new())),
            Held::Set(set) => set.contains(member).then_some(1.0),
        }
    }

    /// Its members and scores, until `each` returns false.
    fn each<'a>(&'a self, mut each: impl FnMut(Elem<'a>, f64) -> bool) {
        match &self.held {
            Held::Zset(zset) => zset.iter().all(|(member, score)| each(member, score)),
            Held::Set(set) => set.iter().all(|member| each(member, 1.0)),
        };
    }

    fn weighted(&self, score: f64) -> f64 {
        number(self.weight * score)
    }
}

/// An infinite score of weight 0, and the sum of opposite infinities, count as 0.
fn number(score: f64) -> f64 {
    if score.is_nan() { 0.0 } else { score }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Operation {
    Union,
    Intersection,
    Difference,
}

/// `AGGREGATE`.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Aggregate {
    Sum,
    Min,
    Max,
}

impl Aggregate {
    fn of(self, present: f64, other: f64) -> f64 {
        match self {
            Aggregate::Sum => number(present + other),
            Aggregate::Min if other < present => other,
            Aggregate::Max if other > present => other,
            Aggregate::Min | Aggregate::Max => present,
        }
    }
}

/// What is to be made of what.
struct Request {
    operation: Operation,
    sources: Vec<Source>,
    aggregate: Aggregate,
    scores: bool,
    /// How far to count, 0 if to the end.
    limit: usize,
}

/// Which options a form of the commands takes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Wanted {
    Elements,
    Stored,
    Count,
}

impl Request {
    /// Reads `numkeys key [key ...] [options]` and takes handles on what the keys hold.
    fn parse(
        ctx: &mut Ctx<'_>,
        name: &str,
        args: &[&[u8]],
        operation: Operation,
        wanted: Wanted,
    ) -> Result<Request, CommandError> {
        let count = int_arg(arg(args, 0))?;
        if count < 1 {
            return Err(CommandError::new(format!(
                "ERR at least 1 input key is needed for '{name}' command"
            )));
        }
        let split = usize::try_from(count).ok();
        let split = split.and_then(|n| args.get(1..)?.split_at_checked(n));
        let (keys, mut options) = split.ok_or(CommandError::SYNTAX)?;
        let mut sources = Vec::new();
        for key in keys {
            let held = match ctx.read(key) {
                None => Held::Set(Set::new()),
                Some(ValueRef::Zset(zset)) => Held::Zset(zset.clone()),
                Some(ValueRef::Set(set)) => Held::Set(set.clone()),
                Some(_) => return Err(crate::keyspace::unit::WrongType.into()),
            };
            sources.push(Source { held, weight: 1.0 });
        }
        let mut request = Request {
            operation,
            sources,
            aggregate: Aggregate::Sum,
            scores: false,
            limit: 0,
        };
        while !options.is_empty() {
            options = request.take_option(options, wanted)?;
        }
        Ok(request)
    }

    /// Takes an option off the front; what is left.
    fn take_option<'s, 'a>(
        &mut self,
        options: &'s [&'a [u8]],
        wanted: Wanted,
    ) -> Result<&'s [&'a [u8]], CommandError> {
        let (word, rest) = options.split_first().ok_or(CommandError::SYNTAX)?;
        let is = |name: &[u8]| word.eq_ignore_ascii_case(name);
        let combines = self.operation != Operation::Difference && wanted != Wanted::Count;
        if combines && is(b"WEIGHTS") {
            let weights = rest.split_at_checked(self.sources.len());
            let (weights, rest) = weights.ok_or(CommandError::SYNTAX)?;
            for (source, weight) in self.sources.iter_mut().zip(weights) {
                source.weight = num::parse_f64(weight)
                    .ok_or(CommandError::new("ERR weight value is not a float"))?;
            }
            return Ok(rest);
        }
        if wanted == Wanted::Elements && is(b"WITHSCORES") {
            self.scores = true;
            return Ok(rest);
        }
        let [value, rest @ ..] = rest else {
            return Err(CommandError::SYNTAX);
        };
        if combines && is(b"AGGREGATE") {
            self.aggregate = match value.to_ascii_lowercase().as_slice() {
                b"sum" => Aggregate::Sum,
                b"min" => Aggregate::Min,
                b"max" => Aggregate::Max,
                _ => return Err(CommandError::SYNTAX),
            };
            return Ok(rest);
        }
        if wanted == Wanted::Count && is(b"LIMIT") {
            let limit = num::parse_i64(value).and_then(|n| usize::try_from(n).ok());
            self.limit = limit.ok_or(CommandError::new("ERR LIMIT can't be negative"))?;
            return Ok(rest);
        }
        Err(CommandError::SYNTAX)
    }

    /// Whether it is too much to be done under the locks.
    fn is_large(&self) -> bool {
        self.len() > super::DEFER_ABOVE
    }

    /// The elements of all sources.
    fn len(&self) -> usize {
        self.sources.iter().map(Source::len).sum()
    }

    /// How many elements are gone through to make the result.
    fn effort(&self) -> usize {
        let lens = || self.sources.iter().map(Source::len);
        let many = |len: Option<usize>| len.unwrap_or(0).saturating_mul(self.sources.len());
        match self.operation {
            Operation::Union => self.len(),
            Operation::Intersection => many(lens().min()),
            Operation::Difference => many(lens().next()),
        }
    }

    /// The result as a sorted set.
    fn zset(self, limits: &ZsetLimits) -> Zset {
        let members = self.result();
        let mut result = Zset::new();
        // A large set keeps the sign of a zero, so it must not begin as a small one.
        if let Some((longest, _)) = members.iter().max_by_key(|(member, _)| member.len()) {
            result.prepare(longest, members.len(), limits);
        }
        for (member, score) in members {
            result.insert(limits, &member, score);
        }
        result
    }

    /// The result, ordered by score and member.
    fn result(mut self) -> Vec<(Member, f64)> {
        let mut result = match self.operation {
            Operation::Union => self.union(),
            Operation::Difference => self.difference(),
            Operation::Intersection => {
                let mut result = Vec::new();
                self.intersect(|member, score| {
                    result.push((own(member), score));
                    true
                });
                result
            }
        };
        result.sort_unstable_by(|(a, a_score), (b, b_score)| {
            let by_score = a_score.partial_cmp(b_score).unwrap_or(Ordering::Equal);
            by_score.then_with(|| a.cmp(b))
        });
        result
    }

    fn union(&mut self) -> Vec<(Member, f64)> {
        self.sources.sort_by_key(Source::len);
        let mut scores: HashMap<Member, f64> = HashMap::new();
        for source in &self.sources {
            source.each(|member, score| {
                let score = source.weighted(score);
                match scores.entry(own(member)) {
                    Entry::Vacant(vacant) => {
                        vacant.insert(score);
                    }
                    Entry::Occupied(mut present) => {
                        *present.get_mut() = self.aggregate.of(*present.get(), score);
                    }
                }
                true
            });
        }
        scores.into_iter().collect()
    }

    fn difference(&self) -> Vec<(Member, f64)> {
        let mut result = Vec::new();
        let Some((first, others)) = self.sources.split_first() else {
            return result;
        };
        // The largest is the likeliest to have a member.
        let mut others: Vec<&Source> = others.iter().collect();
        others.sort_by_key(|source| Reverse(source.len()));
        first.each(|member, score| {
            if others.iter().all(|other| other.score(member).is_none()) {
                result.push((own(member), score));
            }
            true
        });
        result
    }

    /// Hands what all sources share on to `each` until it returns false.
    fn intersect(&mut self, mut each: impl FnMut(Elem<'_>, f64) -> bool) {
        self.sources.sort_by_key(Source::len);
        let aggregate = self.aggregate;
        let Some((smallest, others)) = self.sources.split_first() else {
            return;
        };
        smallest.each(|member, score| {
            let mut shared = Some(smallest.weighted(score));
            for other in others {
                let Some(score) = other.score(member) else {
                    shared = None;
                    break;
                };
                // Redis leaves a product that is no number to the aggregation here.
                shared = shared.map(|sum| aggregate.of(sum, score * other.weight));
            }
            shared.is_none_or(|score| each(member, score))
        });
    }
}

fn own(member: Elem<'_>) -> Member {
    Member::from_slice(member.to_bytes(&mut itoa::Buffer::new()))
}

/// The result as a reply.
fn show(
    ctx: &mut Ctx<'_>,
    name: &str,
    args: &[&[u8]],
    operation: Operation,
    reply: &mut Reply,
) -> Outcome {
    let args = args.get(1..).unwrap_or_default();
    let request = Request::parse(ctx, name, args, operation, Wanted::Elements)?;
    let scores = request.scores;
    let (large, len) = (request.is_large(), request.len());
    let write = move |reply: &mut Reply| {
        let result = request.result();
        heading(reply, result.len(), scores);
        for (member, score) in &result {
            element(reply, Elem::Bytes(member), *score, scores);
        }
    };
    if large {
        reply.deferred_of(len, Box::new(write));
    } else {
        write(reply);
    }
    Ok(Effect::None)
}

/// The result as the value of `args[1]`.
fn store(
    ctx: &mut Ctx<'_>,
    name: &'static str,
    args: &[&[u8]],
    operation: Operation,
    reply: &mut Reply,
) -> Outcome {
    let rest = args.get(2..).unwrap_or_default();
    let request = Request::parse(ctx, name, rest, operation, Wanted::Stored)?;
    let reads = rest.get(1..=request.sources.len()).unwrap_or_default();
    let store = Store {
        args,
        key: arg(args, 1),
        event: name,
        elements_count: false,
        logged: Logged::Request { reads },
    };
    let limits = limits::zset(ctx.settings);
    if storing::is_large(ctx, request.effort()) {
        let make = move || Ok(request.zset(&limits).into());
        return storing::later(ctx, &store, Box::new(make));
    }
    Ok(storing::now(ctx, &store, request.zset(&limits), reply))
}

/// `ZUNION numkeys key [key ...] [WEIGHTS weight [weight ...]] [AGGREGATE <SUM | MIN | MAX>]
/// [WITHSCORES]`
pub(super) fn zunion(ctx: &mut Ctx<'_>, args: &[&[u8]], reply: &mut Reply) -> Outcome {
    show(ctx, "zunion", args, Operation::Union, reply)
}

/// `ZUNIONSTORE destination numkeys key [key ...] [WEIGHTS weight [weight ...]]
/// [AGGREGATE <SUM | MIN | MAX>]`
pub(super) fn zunionstore(ctx: &mut Ctx<'_>, args: &[&[u8]], reply: &mut Reply) -> Outcome {
    store(ctx, "zunionstore", args, Operation::Union, reply)
}

/// `ZINTER numkeys key [key ...] [WEIGHTS weight [weight ...]] [AGGREGATE <SUM | MIN | MAX>]
/// [WITHSCORES]`
pub(super) fn zinter(ctx: &mut Ctx<'_>, args: &[&[u8]], reply: &mut Reply) -> Outcome {
    show(ctx, "zinter", args, Operation::Intersection, reply)
}

/// `ZINTERSTORE destination numkeys key [key ...] [WEIGHTS weight [weight ...]]
/// [AGGREGATE <SUM | MIN | MAX>]`
pub(super) fn zinterstore(ctx: &mut Ctx<'_>, args: &[&[u8]], reply: &mut Reply) -> Outcome {
    store(ctx, "zinterstore", args, Operation::Intersection, reply)
}

/// `ZDIFF numkeys key [key ...] [WITHSCORES]`
pub(super) fn zdiff(ctx: &mut Ctx<'_>, args: &[&[u8]], reply: &mut Reply) -> Outcome {
    show(ctx, "zdiff", args, Operation::Difference, reply)
}

/// `ZDIFFSTORE destination numkeys key [key ...]`
pub(super) fn zdiffstore(ctx: &mut Ctx<'_>, args: &[&[u8]], reply: &mut Reply) -> Outcome {
    store(ctx, "zdiffstore", args, Operation::Difference, reply)
}

/// `ZINTERCARD numkeys key [key ...] [LIMIT limit]`
pub(super) fn zintercard(ctx: &mut Ctx<'_>, args: &[&[u8]], reply: &mut Reply) -> Outcome {
    let rest = args.get(1..).unwrap_or_default();
    let op = Operation::Intersection;
    let mut request = Request::parse(ctx, "zintercard", rest, op, Wanted::Count)?;
    let (large, len) = (request.is_large(), request.len());
    let mut write = move |reply: &mut Reply| {
        let (mut n, limit) = (0, request.limit);
        request.intersect(|_, _| {
            n += 1;
            n != limit
        });
        reply.len_int(n);
    };
    if large {
        reply.deferred_of(len, Box::new(write));
    } else {
        write(reply);
    }
    Ok(Effect::None)
}

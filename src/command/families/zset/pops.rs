//! Pops: the core that every form shares, those that wait included, and the forms that do not wait.

use super::{arg, bulk, notify_removal, split_keys};
use crate::base::num;
use crate::command::ctx::{CommandError, Ctx, Outcome};
use crate::keyspace::unit::{Missing, NotifyClass};
use crate::keyspace::value::packed::Elem;
use crate::keyspace::value::zset::Zset;
use crate::oplog::effect::Effect;
use crate::resp::errors;
use crate::resp::reply::Reply;

/// The end of a sorted set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The lowest scores.
    Min,
    /// The highest scores.
    Max,
}

impl Side {
    /// Reads `MIN` or `MAX`.
    ///
    /// # Errors
    /// [`CommandError::SYNTAX`].
    pub fn parse(word: &[u8]) -> Result<Side, CommandError> {
        match () {
            () if word.eq_ignore_ascii_case(b"min") => Ok(Side::Min),
            () if word.eq_ignore_ascii_case(b"max") => Ok(Side::Max),
            () => Err(CommandError::SYNTAX),
        }
    }

    /// The command that pops here, which is how every pop is propagated.
    pub fn command(self) -> &'static [u8] {
        match self {
            Side::Min => b"ZPOPMIN",
            Side::Max => b"ZPOPMAX",
        }
    }

    fn event(self) -> &'static str {
        match self {
            Side::Min => "zpopmin",
            Side::Max => "zpopmax",
        }
    }
}

/// How what was popped is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// Member and score side by side: ZPOPMIN without a count, or in RESP2.
    Flat,
    /// A pair each: ZPOPMIN with a count in RESP3.
    Pairs,
    /// The key, a member and its score: BZPOPMIN.
    KeyFlat,
    /// The key, and an array of pairs: ZMPOP, BZMPOP.
    KeyPairs,
}

/// Pops up to `count` elements, 1 at least, of the sorted set at `key`, writes them, and notes the
/// events. How many there were: 0, with nothing written, if the key is not there.
///
/// # Errors
/// The key holds another type.
pub fn pop(
    ctx: &mut Ctx<'_>,
    key: &[u8],
    side: Side,
    count: usize,
    shape: Shape,
    reply: &mut Reply,
) -> Result<usize, CommandError> {
    let highest = side == Side::Max;
    let popped = ctx.update::<Zset, _>(key, Missing::Skip, |zset| {
        let (len, n) = (zset.len(), count.min(zset.len()));
        match shape {
            Shape::Flat => reply.array(n * 2),
            Shape::Pairs => reply.array(n),
            Shape::KeyFlat => {
                reply.array(n * 2 + 1);
                reply.bulk(key);
            }
            Shape::KeyPairs => {
                reply.array(2);
                reply.bulk(key);
                reply.array(n);
            }
        }
        let pairs = matches!(shape, Shape::Pairs | Shape::KeyPairs);
        let write = move |reply: &mut Reply, member: Elem<'_>, score: f64| {
            if pairs {
                reply.array(2);
            }
            bulk(reply, member);
            reply.double(score);
        };
        if n > super::DEFER_ABOVE {
            // The handle in the reply keeps the elements; the set itself only lets go of them.
            let ranks = if highest { len - n..len } else { 0..n };
            let (kept, kept_ranks) = (zset.clone(), ranks.clone());
            reply.deferred_of(
                n,
                Box::new(move |reply| {
                    for (member, score) in kept.range(kept_ranks, highest) {
                        write(reply, member, score);
                    }
                }),
            );
            zset.remove_ranks(ranks);
        } else {
            zset.pop(highest, n, |member, score| write(reply, member, score));
        }
        (n, n as u64)
    })?;
    let (n, emptied) = popped.unwrap_or((0, false));
    if n > 0 {
        notify_removal(ctx, (NotifyClass::ZSET, side.event()), key, emptied);
    }
    Ok(n)
}

/// The effect of a pop of `n` elements, as ZMPOP and BZMPOP propagate it.
pub fn pop_effect(ctx: &Ctx<'_>, key: &[u8], side: Side, n: usize) -> Effect {
    ctx.rewritten(&[
        side.command(),
        key,
        itoa::Buffer::new().format(n).as_bytes(),
    ])
}

/// What ZMPOP and BZMPOP say from the number of keys on.
#[derive(Clone, Copy, Debug)]
pub struct MultiPop<'s, 'a> {
    /// The keys, in order of preference.
    pub keys: &'s [&'a [u8]],
    /// Which end.
    pub side: Side,
    /// How many at most, 1 at least.
    pub count: usize,
}

impl<'s, 'a> MultiPop<'s, 'a> {
    /// Reads `numkeys key [key ...] <MIN | MAX> [COUNT count]`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(args: &'s [&'a [u8]]) -> Result<MultiPop<'s, 'a>, CommandError> {
        let (keys, rest) = split_keys(args, "ERR numkeys should be greater than 0")?;
        let [side, options @ ..] = rest else {
            return Err(CommandError::SYNTAX);
        };
        let side = Side::parse(side)?;
        let count = match options {
            [] => 1,
            [word, count, after @ ..] if word.eq_ignore_ascii_case(b"count") => {
                let n = num::parse_i64(count).and_then(|n| usize::try_from(n).ok());
                let n = n.filter(|n| *n > 0);
                let n = n.ok_or(CommandError::new("ERR count should be greater than 0"))?;
                if !after.is_empty() {
                    return Err(CommandError::SYNTAX);
                }
                n
            }
            _ => return Err(CommandError::SYNTAX),
        };
        Ok(MultiPop { keys, side, count })
    }

    /// Pops from the first key that is there and writes it. `None`, with nothing written, if none
    /// is.
    ///
    /// # Errors
    /// A key before it holds another type.
    pub fn pop(
        &self,
        ctx: &mut Ctx<'_>,
        reply: &mut Reply,
    ) -> Result<Option<Effect>, CommandError> {
        for key in self.keys {
            if !ctx.holds(key) {
                continue;
            }
            let n = pop(ctx, key, self.side, self.count, Shape::KeyPairs, reply)?;
            if n > 0 {
                return Ok(Some(pop_effect(ctx, key, self.side, n)));
            }
        }
        Ok(None)
    }
}

/// `ZPOPMIN key [count]`
pub(super) fn zpopmin(ctx: &mut Ctx<'_>, args: &[&[u8]], reply: &mut Reply) -> Outcome {
    zpop(ctx, args, Side::Min, reply)
}

/// `ZPOPMAX key [count]`
pub(super) fn zpopmax(ctx: &mut Ctx<'_>, args: &[&[u8]], reply: &mut Reply) -> Outcome {
    zpop(ctx, args, Side::Max, reply)
}

fn zpop(ctx: &mut Ctx<'_>, args: &[&[u8]], side: Side, reply: &mut Reply) -> Outcome {
    let key = arg(args, 1);
    let count = match args.get(2..).unwrap_or_default() {
        [] => None,
        [count] => {
            let n = num::parse_i64(count).and_then(|n| usize::try_from(n).ok());
            Some(n.ok_or(CommandError::new(errors::NOT_POSITIVE))?)
        }
        _ => return Err(CommandError::SYNTAX),
    };
    if count == Some(0) {
        ctx.lookup::<Zset>(key)?;
        reply.array(0);
        return Ok(Effect::None);
    }
    let shape = if count.is_some() && reply.is_resp3() {
        Shape::Pairs
    } else {
        Shape::Flat
    };
    if pop(ctx, key, side, count.unwrap_or(1), shape, reply)? == 0 {
        reply.array(0);
        return Ok(Effect::None);
    }
    Ok(Effect::Verbatim)
}

/// `ZMPOP numkeys key [key ...] <MIN | MAX> [COUNT count]`
pub(super) fn zmpop(ctx: &mut Ctx<'_>, args: &[&[u8]], reply: &mut Reply) -> Outcome {
    let request = MultiPop::parse(args.get(1..).unwrap_or_default())?;
    match request.pop(ctx, reply)? {
        Some(effect) => Ok(effect),
        None => {
            reply.null_array();
            Ok(Effect::None)
        }
    }
}

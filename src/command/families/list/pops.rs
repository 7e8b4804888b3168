//! Taking elements off the ends of lists.

use super::*;
use crate::base::num;

/// `LPOP key [count]`
pub fn lpop(ctx: &mut Ctx<'_>, args: &[&[u8]], reply: &mut Reply) -> Outcome {
    pop(ctx, args, End::Head, reply)
}

/// `RPOP key [count]`
pub fn rpop(ctx: &mut Ctx<'_>, args: &[&[u8]], reply: &mut Reply) -> Outcome {
    pop(ctx, args, End::Tail, reply)
}

fn pop_event(end: End) -> &'static str {
    match end {
        End::Head => "lpop",
        End::Tail => "rpop",
    }
}

/// Notes that elements left `key` at `end`.
pub(super) fn notify_pop(ctx: &mut Ctx<'_>, end: End, key: &[u8], emptied: bool) {
    notify_removal(ctx, (NotifyClass::LIST, pop_event(end)), key, emptied);
}

fn pop(ctx: &mut Ctx<'_>, args: &[&[u8]], end: End, reply: &mut Reply) -> Outcome {
    let key = arg(args, 1);
    let count = match args.get(2..).unwrap_or_default() {
        [] => return pop_single(ctx, key, end, reply),
        [count] => count_arg(count, errors::NOT_POSITIVE)?,
        _ => {
            return Err(CommandError::new(format!(
                "ERR wrong number of arguments for '{}' command",
                pop_event(end)
            )));
        }
    };
    match ctx.lookup::<List>(key)? {
        None => {
            reply.null_array();
            return Ok(Effect::None);
        }
        Some(_) if count == 0 => {
            reply.array(0);
            return Ok(Effect::None);
        }
        Some(_) => {}
    }
    pop_many(ctx, key, end, count, reply)?;
    Ok(Effect::Verbatim)
}

fn pop_single(ctx: &mut Ctx<'_>, key: &[u8], end: End, reply: &mut Reply) -> Outcome {
    let limits = limits::list(ctx.settings);
    let popped = ctx.update::<List, _>(key, Missing::Skip, |list| {
        let n = list.pop(limits, end, 1, |elem| bulk(reply, elem));
        (n, n as u64)
    })?;
    match popped {
        Some((1.., emptied)) => {
            notify_pop(ctx, end, key, emptied);
            Ok(Effect::Verbatim)
        }
        _ => {
            reply.null();
            Ok(Effect::None)
        }
    }
}

/// Pops up to `count` elements of a list that is there and writes them as an array; how many.
fn pop_many(
    ctx: &mut Ctx<'_>,
    key: &[u8],
    end: End,
    count: usize,
    reply: &mut Reply,
) -> Result<usize, CommandError> {
    let limits = limits::list(ctx.settings);
    let popped = ctx.update::<List, _>(key, Missing::Skip, |list| {
        let (len, n) = (list.len(), count.min(list.len()));
        let range = match end {
            End::Head => 0..n,
            End::Tail => len - n..len,
        };
        if n > DEFER_ABOVE {
            // The handle in the reply keeps the elements; the list itself only lets go of them.
            show_range(list, range.clone(), end, reply);
            list.remove_range(limits, range);
        } else {
            reply.array(n);
            list.pop(limits, end, n, |elem| bulk(reply, elem));
        }
        (n, n as u64)
    })?;
    let (n, emptied) = popped.unwrap_or((0, false));
    if n > 0 {
        notify_pop(ctx, end, key, emptied);
    }
    Ok(n)
}

/// `LMPOP numkeys key [key ...] LEFT|RIGHT [COUNT count]`
pub fn lmpop(ctx: &mut Ctx<'_>, args: &[&[u8]], reply: &mut Reply) -> Outcome {
    let request = MultiPop::parse(args.get(1..).unwrap_or_default())?;
    if let Some(effect) = request.run(ctx, reply)? {
        return Ok(effect);
    }
    reply.null_array();
    Ok(Effect::None)
}

/// The name of the command that pops at an end.
pub(super) fn pop_name(end: End) -> &'static [u8] {
    match end {
        End::Head => b"LPOP",
        End::Tail => b"RPOP",
    }
}

/// What LMPOP and BLMPOP ask for.
pub(super) struct MultiPop<'a> {
    pub keys: &'a [&'a [u8]],
    end: End,
    count: usize,
}

impl<'a> MultiPop<'a> {
    /// `numkeys key [key ...] LEFT|RIGHT [COUNT count]`
    pub fn parse(words: &'a [&'a [u8]]) -> Result<MultiPop<'a>, CommandError> {
        let keys = num::parse_i64(arg(words, 0)).filter(|n| *n > 0);
        let keys = keys.ok_or(CommandError::new("ERR numkeys should be greater than 0"))?;
        let rest = words.get(1..).unwrap_or_default();
        let split = usize::try_from(keys).ok();
        let split = split.and_then(|keys| rest.split_at_checked(keys));
        let Some((keys, [end, options @ ..])) = split else {
            return Err(CommandError::SYNTAX);
        };
        let end = end_arg(end)?;
        let count = match options {
            [] => 1,
            [word, count, after @ ..] if word.eq_ignore_ascii_case(b"count") => {
                let count = count_arg(count, "").ok().filter(|n| *n > 0);
                let count = count.ok_or(CommandError::new("ERR count should be greater than 0"))?;
                if !after.is_empty() {
                    return Err(CommandError::SYNTAX);
                }
                count
            }
            _ => return Err(CommandError::SYNTAX),
        };
        Ok(MultiPop { keys, end, count })
    }

    /// Pops from the first list that is there. `None` if none is: nothing is written.
    pub fn run(
        &self,
        ctx: &mut Ctx<'_>,
        reply: &mut Reply,
    ) -> Result<Option<Effect>, CommandError> {
        for key in self.keys {
            if !ctx.holds(key) || ctx.lookup::<List>(key)?.is_none() {
                continue;
            }
            reply.array(2);
            reply.bulk(key);
            let n = pop_many(ctx, key, self.end, self.count, reply)?;
            let n = itoa::Buffer::new().format(n).to_owned();
            let name = pop_name(self.end);
            return Ok(Some(ctx.rewritten(&[name, key, n.as_bytes()])));
        }
        Ok(None)
    }
}

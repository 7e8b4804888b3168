//! Moving an element from one list to another, or from one end of a list to its other end.

use super::*;

/// `LMOVE source destination LEFT|RIGHT LEFT|RIGHT`
pub fn lmove(ctx: &mut Ctx<'_>, args: &[&[u8]], reply: &mut Reply) -> Outcome {
    let (from, to) = (end_arg(arg(args, 3))?, end_arg(arg(args, 4))?);
    move_one(ctx, args, from, to, reply)
}

/// `RPOPLPUSH source destination`
pub fn rpoplpush(ctx: &mut Ctx<'_>, args: &[&[u8]], reply: &mut Reply) -> Outcome {
    move_one(ctx, args, End::Tail, End::Head, reply)
}

/// Moves an element of the first key's list to the second key's.
pub(super) fn move_one(
    ctx: &mut Ctx<'_>,
    args: &[&[u8]],
    from: End,
    to: End,
    reply: &mut Reply,
) -> Outcome {
    let (source, destination) = (arg(args, 1), arg(args, 2));
    if ctx.lookup::<List>(source)?.is_none() {
        reply.null();
        return Ok(Effect::None);
    }
    ctx.lookup::<List>(destination)?;
    let limits = limits::list(ctx.settings);
    let within = source == destination;
    let popped = ctx.update::<List, _>(source, Missing::Skip, |list| {
        let popped = if within {
            rotate(list, limits, from, to)
        } else {
            pop_one(list, limits, from)
        };
        (popped, 1)
    })?;
    let Some((Some(value), emptied)) = popped else {
        reply.null();
        return Ok(Effect::None);
    };
    if !within {
        ctx.update::<List, _>(destination, Missing::Create, |list| {
            list.push(limits, to, &[&value]);
            ((), 1)
        })?;
        // The two edits are one change.
        ctx.unit.counters.dirty = ctx.unit.counters.dirty.saturating_sub(1);
    }
    ctx.notify(NotifyClass::LIST, push_event(to), destination);
    pops::notify_pop(ctx, from, source, emptied);
    reply.bulk(&value);
    Ok(Effect::Verbatim)
}

/// Moves an element within its list. A list must not change its form for being an element shorter
/// or longer in between: one in several nodes gets the element before it loses it.
fn rotate(list: &mut List, limits: ListLimits, from: End, to: End) -> Option<Vec<u8>> {
    if list.encoding() != "quicklist" {
        let value = pop_one(list, limits, from)?;
        list.push(limits, to, &[&value]);
        return Some(value);
    }
    let index = match from {
        End::Head => 0,
        End::Tail => list.len().checked_sub(1)?,
    };
    let value = list.get(index, |elem| elem.to_vec())?;
    list.push(limits, to, &[&value]);
    pop_one(list, limits, from)
}

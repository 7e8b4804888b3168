//! MEMORY: what a key costs.

use crate::command::ctx::{CommandError, Ctx, Outcome, int_arg};
use crate::keyspace::value::ValueRef;
use crate::oplog::effect::Effect;
use crate::resp::reply::Reply;

/// Bytes of the table's slot for one key: a pointer, and its share of the slots left free.
const SLOT_BYTES: usize = 9;

/// `MEMORY USAGE key [SAMPLES count]`
///
/// Every collection knows its size, so nothing is estimated from samples: the count is checked,
/// and any count gives the exact answer.
pub fn usage(ctx: &mut Ctx<'_>, args: &[&[u8]], reply: &mut Reply) -> Outcome {
    let &[_, _, key, ref options @ ..] = args else {
        return Err(CommandError::SYNTAX);
    };
    let mut rest = options.iter();
    while let Some(option) = rest.next() {
        let samples = match rest.next() {
            Some(count) if option.eq_ignore_ascii_case(b"SAMPLES") => int_arg(count)?,
            _ => return Err(CommandError::SYNTAX),
        };
        if samples < 0 {
            return Err(CommandError::SYNTAX);
        }
    }
    let Some(entry) = ctx.peek(key) else {
        reply.null();
        return Ok(Effect::None);
    };
    let own_bytes = SLOT_BYTES + entry.size_bytes();
    match entry.value() {
        string @ ValueRef::Str(_) => reply.len_int(own_bytes + string.size_bytes()),
        collection => {
            let handle = collection.to_value();
            reply.deferred(Box::new(move |reply| {
                reply.len_int(own_bytes + handle.as_ref().size_bytes());
            }));
        }
    }
    Ok(Effect::None)
}

/// `MEMORY HELP`
pub fn help(_: &mut Ctx<'_>, args: &[&[u8]], reply: &mut Reply) -> Outcome {
    let lines = [
        "DOCTOR",
        "    Return memory problems reports.",
        "MALLOC-STATS",
        "    Return internal statistics report from the memory allocator.",
        "PURGE",
        "    Attempt to purge dirty pages for reclamation by the allocator.",
        "STATS",
        "    Return information about the memory usage of the server.",
        "USAGE <key> [SAMPLES <count>]",
        "    Return memory in bytes used by <key> and its value. Nested values are",
        "    sampled up to <count> times (default: 5, 0 means sample all).",
    ];
    super::super::help(args, &lines, reply);
    Ok(Effect::None)
}

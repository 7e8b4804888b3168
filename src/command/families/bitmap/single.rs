//! One bit of a string.

use crate::base::num;
use crate::command::ctx::{CommandError, Ctx, Outcome};
use crate::command::families::string::range::grow;
use crate::keyspace::unit::NotifyClass;
use crate::oplog::effect::Effect;
use crate::resp::reply::Reply;

/// The bit that `offset` names, if a string may be that long.
///
/// # Errors
/// It is no number, or out of range.
pub fn bit_offset(ctx: &Ctx<'_>, offset: Option<i64>) -> Result<usize, CommandError> {
    let limit = usize::try_from(ctx.settings.network.proto_max_bulk_len).unwrap_or(usize::MAX);
    offset
        .and_then(|offset| usize::try_from(offset).ok())
        .filter(|offset| !ctx.is_client() || (offset >> 3) < limit)
        .ok_or(CommandError::new(
            "ERR bit offset is not an integer or out of range",
        ))
}

/// A bit's byte, and its mask in it.
fn place(ctx: &Ctx<'_>, offset: &[u8]) -> Result<(usize, u8), CommandError> {
    let offset = bit_offset(ctx, num::parse_i64(offset))?;
    Ok((offset >> 3, 0x80 >> (offset & 7)))
}

/// `SETBIT key offset value`
pub fn setbit(ctx: &mut Ctx<'_>, args: &[&[u8]], reply: &mut Reply) -> Outcome {
    let &[_, key, offset, value] = args else {
        return Err(CommandError::SYNTAX);
    };
    let (at, mask) = place(ctx, offset)?;
    let value = match value {
        b"0" => false,
        b"1" => true,
        _ => {
            return Err(CommandError::new(
                "ERR bit is not an integer or out of range",
            ));
        }
    };
    let (old, changed) = ctx.edit_string(key, |bytes| {
        let grows = bytes.len() <= at;
        grow(bytes, at + 1);
        let Some(byte) = bytes.get_mut(at) else {
            return ((false, false), false);
        };
        let old = *byte & mask != 0;
        *byte = if value { *byte | mask } else { *byte & !mask };
        let changed = grows || old != value;
        ((old, changed), changed)
    })?;
    reply.int(i64::from(old));
    if !changed {
        return Ok(Effect::None);
    }
    ctx.notify(NotifyClass::STRING, "setbit", key);
    Ok(Effect::Verbatim)
}

/// `GETBIT key offset`
pub fn getbit(ctx: &mut Ctx<'_>, args: &[&[u8]], reply: &mut Reply) -> Outcome {
    let &[_, key, offset] = args else {
        return Err(CommandError::SYNTAX);
    };
    let (at, mask) = place(ctx, offset)?;
    let is_set = ctx.read_str(key)?.is_some_and(|string| {
        let mut digits = itoa::Buffer::new();
        let byte = string.as_bytes(&mut digits).get(at);
        byte.is_some_and(|byte| byte & mask != 0)
    });
    reply.int(i64::from(is_set));
    Ok(Effect::None)
}

//! Strings as arrays of bytes.

use std::ops::Range;

use crate::command::ctx::{CommandError, Ctx, Outcome, int_arg};
use crate::keyspace::unit::{Expiry, NotifyClass, WrongType};
use crate::keyspace::value::ValueRef;
use crate::oplog::effect::Effect;
use crate::resp::errors;
use crate::resp::reply::Reply;

/// A gap of zeros longer than this is taken from the system, which has zeroed pages at hand,
/// instead of being written under the shard's lock.
const LONG_GAP_BYTES: usize = 64 * 1024;

/// Length of the string at `key`, for a command that will write it.
fn current_len(ctx: &mut Ctx<'_>, key: &[u8]) -> Result<Option<usize>, WrongType> {
    match ctx.peek(key).map(|entry| entry.value()) {
        None => Ok(None),
        Some(ValueRef::Str(string)) => Ok(Some(string.len())),
        Some(_) => Err(WrongType),
    }
}

/// The end of `len` bytes behind `at`, if a string may be that long.
fn checked_end(ctx: &Ctx<'_>, at: usize, len: usize) -> Result<usize, CommandError> {
    let end = at.checked_add(len).filter(|&end| {
        let limit = ctx.settings.network.proto_max_bulk_len;
        isize::try_from(end).is_ok() && (!ctx.is_client() || end as u64 <= limit)
    });
    end.ok_or(CommandError::new(errors::STRING_TOO_LONG))
}

/// `APPEND key value`
pub fn append(ctx: &mut Ctx<'_>, args: &[&[u8]], reply: &mut Reply) -> Outcome {
    let &[_, key, value] = args else {
        return Err(CommandError::SYNTAX);
    };
    let len = match current_len(ctx, key)? {
        None => {
            ctx.set_bytes(key, value, Expiry::Clear);
            value.len()
        }
        Some(len) => {
            let end = checked_end(ctx, len, value.len())?;
            ctx.edit_string(key, |bytes| {
                bytes.extend_from_slice(value);
                ((), true)
            })?;
            end
        }
    };
    ctx.notify(NotifyClass::STRING, "append", key);
    reply.len_int(len);
    Ok(Effect::Verbatim)
}

/// `SETRANGE key offset value`
pub fn setrange(ctx: &mut Ctx<'_>, args: &[&[u8]], reply: &mut Reply) -> Outcome {
    let &[_, key, offset, value] = args else {
        return Err(CommandError::SYNTAX);
    };
    let offset = usize::try_from(int_arg(offset)?)
        .map_err(|_| CommandError::new(errors::OFFSET_OUT_OF_RANGE))?;
    let len = current_len(ctx, key)?.unwrap_or(0);
    if value.is_empty() {
        reply.len_int(len);
        return Ok(Effect::None);
    }
    let end = checked_end(ctx, offset, value.len())?;
    ctx.edit_string(key, |bytes| {
        overwrite(bytes, offset..end, value);
        ((), true)
    })?;
    ctx.notify(NotifyClass::STRING, "setrange", key);
    reply.len_int(len.max(end));
    Ok(Effect::Verbatim)
}

/// Makes `bytes` at least `len` long, with zeros.
pub fn grow(bytes: &mut Vec<u8>, len: usize) {
    let gap = len.saturating_sub(bytes.len());
    if gap > LONG_GAP_BYTES {
        let mut grown = vec![0; len];
        if let Some(head) = grown.get_mut(..bytes.len()) {
            head.copy_from_slice(bytes);
        }
        *bytes = grown;
    } else if gap > 0 {
        bytes.resize(len, 0);
    }
}

/// Puts `value` at `range`, with zeros between the end of `bytes` and there.
fn overwrite(bytes: &mut Vec<u8>, range: Range<usize>, value: &[u8]) {
    grow(bytes, range.end);
    if let Some(place) = bytes.get_mut(range) {
        place.copy_from_slice(value);
    }
}

/// `GETRANGE key start end`, and its old name SUBSTR
pub fn getrange(ctx: &mut Ctx<'_>, args: &[&[u8]], reply: &mut Reply) -> Outcome {
    let &[_, key, start, end] = args else {
        return Err(CommandError::SYNTAX);
    };
    let (start, end) = (int_arg(start)?, int_arg(end)?);
    let Some(string) = ctx.read_str(key)? else {
        reply.bulk(b"");
        return Ok(Effect::None);
    };
    let mut digits = itoa::Buffer::new();
    let range = byte_range(start, end, string.len());
    match string.shared() {
        Some(bytes) => reply.shared_bulk(bytes.slice(range)),
        None => {
            let bytes = string.as_bytes(&mut digits);
            reply.bulk(bytes.get(range).unwrap_or_default());
        }
    }
    Ok(Effect::None)
}

/// The bytes from `start` to `end`, both included and counted from the end where negative; empty
/// if they lie the wrong way round. An end before the string is its first byte: so did Redis
/// always answer.
fn byte_range(start: i64, end: i64, len: usize) -> Range<usize> {
    let signed_len = i64::try_from(len).unwrap_or(i64::MAX);
    if len == 0 || (start < 0 && end < 0 && start > end) {
        return 0..0;
    }
    let resolve = |index: i64| match index {
        0.. => index,
        _ => index.saturating_add(signed_len).max(0),
    };
    let (start, end) = (resolve(start), resolve(end).min(signed_len - 1));
    if start > end {
        return 0..0;
    }
    start as usize..end as usize + 1
}

/// `STRLEN key`
pub fn strlen(ctx: &mut Ctx<'_>, args: &[&[u8]], reply: &mut Reply) -> Outcome {
    let &[_, key] = args else {
        return Err(CommandError::SYNTAX);
    };
    let len = ctx.read_str(key)?.map_or(0, |string| string.len());
    reply.len_int(len);
    Ok(Effect::None)
}

//! BITOP: strings combined bit by bit, as if the shorter ones went on with zeros.

use bytes::Bytes;

use crate::command::ctx::{CommandError, Ctx, Outcome};
use crate::keyspace::unit::{Expiry, NotifyClass, WrongType};
use crate::keyspace::value::{Str, Value};
use crate::oplog::effect::Effect;
use crate::resp::reply::Reply;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operation {
    And,
    Or,
    Xor,
    Not,
}

impl Operation {
    fn parse(name: &[u8]) -> Option<Operation> {
        let names = [
            (&b"AND"[..], Operation::And),
            (b"OR", Operation::Or),
            (b"XOR", Operation::Xor),
            (b"NOT", Operation::Not),
        ];
        names
            .into_iter()
            .find_map(|(n, op)| name.eq_ignore_ascii_case(n).then_some(op))
    }

    /// The result, as long as the longest source.
    fn of(self, sources: &[Bytes]) -> Vec<u8> {
        let len = sources.iter().map(Bytes::len).max().unwrap_or(0);
        let mut result = Vec::with_capacity(len);
        if let Some(first) = sources.first() {
            result.extend_from_slice(first);
        }
        result.resize(len, 0);
        if self == Operation::Not {
            result.iter_mut().for_each(|byte| *byte = !*byte);
        }
        for source in sources.iter().skip(1) {
            let both = result.iter_mut().zip(source.iter());
            match self {
                Operation::And => both.for_each(|(byte, other)| *byte &= other),
                Operation::Or => both.for_each(|(byte, other)| *byte |= other),
                Operation::Xor => both.for_each(|(byte, other)| *byte ^= other),
                Operation::Not => {}
            }
            if self == Operation::And
                && let Some(behind) = result.get_mut(source.len()..)
            {
                behind.fill(0);
            }
        }
        result
    }
}

/// The string at `key`, empty if there is none.
fn source(ctx: &mut Ctx<'_>, key: &[u8]) -> Result<Bytes, WrongType> {
    let string = ctx.read_str(key)?;
    Ok(string.map_or_else(Bytes::new, |s| {
        s.shared().unwrap_or_else(|| Bytes::from(s.to_vec()))
    }))
}

/// `BITOP AND|OR|XOR|NOT destkey key [key ...]`
pub fn bitop(ctx: &mut Ctx<'_>, args: &[&[u8]], reply: &mut Reply) -> Outcome {
    let &[_, name, target, ref keys @ ..] = args else {
        return Err(CommandError::SYNTAX);
    };
    let operation = Operation::parse(name).ok_or(CommandError::SYNTAX)?;
    if operation == Operation::Not && keys.len() != 1 {
        return Err(CommandError::new(
            "ERR BITOP NOT must be called with a single source key.",
        ));
    }
    let mut sources = Vec::with_capacity(keys.len());
    for key in keys {
        sources.push(source(ctx, key)?);
    }
    let result = operation.of(&sources);
    drop(sources);
    reply.len_int(result.len());
    if result.is_empty() {
        if !ctx.delete(target) {
            return Ok(Effect::None);
        }
        ctx.notify(NotifyClass::GENERIC, "del", target);
        return Ok(Effect::Verbatim);
    }
    let value = Value::Str(Str::Heap(result.into()));
    ctx.set_value(target, value, Expiry::Clear);
    ctx.notify(NotifyClass::STRING, "set", target);
    Ok(Effect::Verbatim)
}

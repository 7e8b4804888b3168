//! BITFIELD: integers of any width at any bit of a string.

use super::single;
use crate::base::num;
use crate::command::ctx::{CommandError, Ctx, Outcome, int_arg};
use crate::command::families::string::range::grow;
use crate::keyspace::unit::NotifyClass;
use crate::oplog::effect::Effect;
use crate::resp::reply::Reply;

/// What happens to a number that does not fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Overflow {
    Wrap,
    Saturate,
    Fail,
}

/// An integer's width and sign: `i1` to `i64`, `u1` to `u63`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Width {
    bits: u32,
    signed: bool,
}

impl Width {
    fn parse(arg: &[u8]) -> Result<Width, CommandError> {
        let refused = CommandError::new(
            "ERR Invalid bitfield type. Use something like i16 u8. Note that u64 is not supported \
             but i64 is.",
        );
        let (signed, digits) = match arg {
            [b'i', digits @ ..] => (true, digits),
            [b'u', digits @ ..] => (false, digits),
            _ => return Err(refused),
        };
        let most = if signed { 64 } else { 63 };
        match num::parse_i64(digits) {
            Some(bits) if (1..=most).contains(&bits) => Ok(Width {
                bits: bits as u32,
                signed,
            }),
            _ => Err(refused),
        }
    }

    /// All bits of the field.
    fn mask(self) -> u64 {
        u64::MAX >> (64 - self.bits)
    }

    fn min(self) -> i128 {
        if self.signed {
            -(1 << (self.bits - 1))
        } else {
            0
        }
    }

    fn max(self) -> i128 {
        if self.signed {
            (1 << (self.bits - 1)) - 1
        } else {
            i128::from(self.mask())
        }
    }

    /// The number that the field's bits are.
    fn number(self, raw: u64) -> i64 {
        let unused = 64 - self.bits;
        if self.signed {
            ((raw << unused) as i64) >> unused
        } else {
            raw as i64
        }
    }

    /// The bits for a number, `None` if it does not fit and must not be made to.
    fn raw(self, number: i128, overflow: Overflow) -> Option<u64> {
        let kept = match overflow {
            Overflow::Saturate => number.clamp(self.min(), self.max()),
            Overflow::Fail if number < self.min() || number > self.max() => return None,
            Overflow::Fail | Overflow::Wrap => number,
        };
        Some(kept as u64 & self.mask())
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    Get,
    Set(i64, Overflow),
    Increment(i64, Overflow),
}

/// One subcommand.
#[derive(Clone, Copy, Debug)]
struct Operation {
    action: Action,
    width: Width,
    /// The field's first bit.
    offset: usize,
}

impl Operation {
    /// The byte behind the field's last.
    fn end(self) -> usize {
        (self.offset + self.width.bits as usize).div_ceil(8)
    }

    /// What it replies, null if the number does not fit; whether it changed the bytes, which are
    /// long enough if it writes.
    fn run(self, bytes: &mut [u8]) -> (Option<i64>, bool) {
        let old = read(bytes, self.offset, self.width);
        let shown = self.width.number(old);
        let (number, overflow) = match self.action {
            Action::Get => return (Some(shown), false),
            // To an unsigned field every negative number is too large.
            Action::Set(n, overflow) if !self.width.signed => (i128::from(n as u64), overflow),
            Action::Set(n, overflow) => (i128::from(n), overflow),
            Action::Increment(by, overflow) => (i128::from(shown) + i128::from(by), overflow),
        };
        let Some(new) = self.width.raw(number, overflow) else {
            return (None, false);
        };
        write(bytes, self.offset, self.width, new);
        let result = match self.action {
            Action::Increment(..) => self.width.number(new),
            _ => shown,
        };
        (Some(result), old != new)
    }
}

/// Bits from the window's end to the field's.
fn shift(offset: usize, width: Width) -> u32 {
    // The window is sixteen bytes from the field's first one on, of which nine are in use.
    128 - (offset % 8) as u32 - width.bits
}

/// The bits of a field, zeros where the string ends.
fn read(bytes: &[u8], offset: usize, width: Width) -> u64 {
    let mut window = [0; 16];
    let there = bytes.get(offset / 8..).unwrap_or_default();
    for (to, from) in window.iter_mut().zip(there.iter().take(9)) {
        *to = *from;
    }
    (u128::from_be_bytes(window) >> shift(offset, width)) as u64 & width.mask()
}

fn write(bytes: &mut [u8], offset: usize, width: Width, raw: u64) {
    let shift = shift(offset, width);
    let mask = (u128::from(width.mask()) << shift).to_be_bytes();
    let raw = (u128::from(raw) << shift).to_be_bytes();
    let there = bytes.get_mut(offset / 8..).unwrap_or_default();
    for (byte, (mask, raw)) in there.iter_mut().zip(mask.into_iter().zip(raw)).take(9) {
        *byte = (*byte & !mask) | raw;
    }
}

/// The bit that `#n`, the n-th field of this width, or a plain number means.
fn offset_arg(ctx: &Ctx<'_>, arg: &[u8], width: Width) -> Result<usize, CommandError> {
    let Some(digits) = arg.strip_prefix(b"#") else {
        return single::bit_offset(ctx, num::parse_i64(arg));
    };
    let nth = num::parse_i64(digits);
    single::bit_offset(ctx, nth.and_then(|n| n.checked_mul(i64::from(width.bits))))
}

fn parse(ctx: &Ctx<'_>, args: &[&[u8]]) -> Result<Vec<Operation>, CommandError> {
    let mut operations = Vec::new();
    let mut overflow = Overflow::Wrap;
    let mut rest = args;
    while let [name, after @ ..] = rest {
        let is = |word: &[u8]| name.eq_ignore_ascii_case(word);
        if let [how, after @ ..] = after
            && is(b"OVERFLOW")
        {
            overflow = match how {
                how if how.eq_ignore_ascii_case(b"WRAP") => Overflow::Wrap,
                how if how.eq_ignore_ascii_case(b"SAT") => Overflow::Saturate,
                how if how.eq_ignore_ascii_case(b"FAIL") => Overflow::Fail,
                _ => return Err(CommandError::new("ERR Invalid OVERFLOW type specified")),
            };
            rest = after;
            continue;
        }
        let (width, offset, value, after) = match after {
            [width, offset, after @ ..] if is(b"GET") => (width, offset, None, after),
            [width, offset, value, after @ ..] if is(b"SET") || is(b"INCRBY") => {
                (width, offset, Some(value), after)
            }
            _ => return Err(CommandError::SYNTAX),
        };
        let width = Width::parse(width)?;
        let offset = offset_arg(ctx, offset, width)?;
        let action = match value {
            None => Action::Get,
            Some(value) if is(b"SET") => Action::Set(int_arg(value)?, overflow),
            Some(value) => Action::Increment(int_arg(value)?, overflow),
        };
        operations.push(Operation {
            action,
            width,
            offset,
        });
        rest = after;
    }
    Ok(operations)
}

/// `BITFIELD key [GET width offset | [OVERFLOW WRAP|SAT|FAIL] SET width offset value | INCRBY
/// width offset increment] ...`
pub fn bitfield(ctx: &mut Ctx<'_>, args: &[&[u8]], reply: &mut Reply) -> Outcome {
    let &[_, key, ref rest @ ..] = args else {
        return Err(CommandError::SYNTAX);
    };
    let operations = parse(ctx, rest)?;
    let writers = operations.iter().filter(|o| o.action != Action::Get);
    let Some(len) = writers.map(|o| o.end()).max() else {
        return get_all(ctx, key, &operations, reply);
    };
    let (results, grew, changed) = ctx.edit_string(key, |bytes| {
        let grew = bytes.len() < len;
        grow(bytes, len);
        let (mut results, mut changed) = (Vec::with_capacity(operations.len()), false);
        for operation in &operations {
            let (result, new) = operation.run(bytes);
            let wrote = operation.action != Action::Get && result.is_some();
            changed |= new || (grew && wrote);
            results.push(result);
        }
        ((results, grew, changed), grew || changed)
    })?;
    reply.array(results.len());
    for result in results {
        match result {
            Some(n) => reply.int(n),
            None => reply.null(),
        }
    }
    if changed {
        ctx.notify(NotifyClass::STRING, "setbit", key);
    }
    // A field that did not fit has made the string longer all the same.
    Ok(if grew || changed {
        Effect::Verbatim
    } else {
        Effect::None
    })
}

/// `BITFIELD_RO key [GET width offset] ...`
pub fn bitfield_ro(ctx: &mut Ctx<'_>, args: &[&[u8]], reply: &mut Reply) -> Outcome {
    let &[_, key, ref rest @ ..] = args else {
        return Err(CommandError::SYNTAX);
    };
    let operations = parse(ctx, rest)?;
    if operations.iter().any(|o| o.action != Action::Get) {
        return Err(CommandError::new(
            "ERR BITFIELD_RO only supports the GET subcommand",
        ));
    }
    get_all(ctx, key, &operations, reply)
}

fn get_all(ctx: &mut Ctx<'_>, key: &[u8], operations: &[Operation], reply: &mut Reply) -> Outcome {
    let string = ctx.read_str(key)?;
    let mut digits = itoa::Buffer::new();
    let bytes = string.map_or(&b""[..], |s| s.as_bytes(&mut digits));
    reply.array(operations.len());
    for o in operations {
        reply.int(o.width.number(read(bytes, o.offset, o.width)));
    }
    Ok(Effect::None)
}

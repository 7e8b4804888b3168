//! BITCOUNT and BITPOS: what is set within a span of bytes or bits.

use crate::command::ctx::{CommandError, Ctx, Outcome, int_arg};
use crate::keyspace::value::{BYTES_PER_ELEMENT, StrRef};
use crate::oplog::effect::Effect;
use crate::resp::reply::Reply;

/// A string longer than this is looked through when the locks are released.
const DEFER_ABOVE_BYTES: usize = 64 * 1024;

/// What the indices of a span count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unit {
    Bytes,
    Bits,
}

impl Unit {
    fn parse(arg: &[u8]) -> Result<Unit, CommandError> {
        if arg.eq_ignore_ascii_case(b"BIT") {
            Ok(Unit::Bits)
        } else if arg.eq_ignore_ascii_case(b"BYTE") {
            Ok(Unit::Bytes)
        } else {
            Err(CommandError::SYNTAX)
        }
    }
}

/// A span as the client gives it.
#[derive(Clone, Copy, Debug)]
struct Span {
    start: i64,
    end: Option<i64>,
    unit: Unit,
}

impl Span {
    const WHOLE: Span = Span {
        start: 0,
        end: None,
        unit: Unit::Bytes,
    };

    /// The first and the last bit of it in a string of `len` bytes, if there is one between.
    fn bits(self, len: usize) -> Option<(usize, usize)> {
        let bytes = i64::try_from(len).ok()?;
        let total = match self.unit {
            Unit::Bytes => bytes,
            Unit::Bits => bytes.checked_mul(8)?,
        };
        let place = |index: i64| match index {
            0.. => index,
            _ => index.saturating_add(total).max(0),
        };
        let (start, end) = (
            place(self.start),
            place(self.end.unwrap_or(-1)).min(total - 1),
        );
        if start > end {
            return None;
        }
        let (start, end) = (start as usize, end as usize);
        Some(match self.unit {
            Unit::Bytes => (start * 8, end * 8 + 7),
            Unit::Bits => (start, end),
        })
    }
}

/// Runs `look` on the string's bytes: at once, or when the locks are released.
fn look(string: StrRef<'_>, reply: &mut Reply, look: impl Fn(&[u8], &mut Reply) + Send + 'static) {
    match string.shared() {
        Some(bytes) if bytes.len() > DEFER_ABOVE_BYTES => {
            let work = bytes.len() / BYTES_PER_ELEMENT;
            reply.deferred_of(work, Box::new(move |reply| look(&bytes, reply)));
        }
        _ => look(string.as_bytes(&mut itoa::Buffer::new()), reply),
    }
}

/// `BITCOUNT key [start end [BYTE | BIT]]`
pub fn bitcount(ctx: &mut Ctx<'_>, args: &[&[u8]], reply: &mut Reply) -> Outcome {
    let (key, span) = match args {
        [_, key] => (key, Span::WHOLE),
        [_, key, start, end] | [_, key, start, end, _] => {
            let (start, end) = (int_arg(start)?, Some(int_arg(end)?));
            let unit = args
                .get(4)
                .map_or(Ok(Unit::Bytes), |unit| Unit::parse(unit))?;
            (key, Span { start, end, unit })
        }
        _ => return Err(CommandError::SYNTAX),
    };
    let reversed =
        matches!(span, Span { start, end: Some(end), .. } if end < 0 && start < 0 && start > end);
    match ctx.read_str(key)? {
        Some(string) if !reversed => look(string, reply, move |bytes, reply| {
            let count = span
                .bits(bytes.len())
                .map_or(0, |(from, to)| count(bytes, from, to));
            reply.int(i64::try_from(count).unwrap_or(i64::MAX));
        }),
        _ => reply.int(0),
    }
    Ok(Effect::None)
}

/// Number of bits that are set from bit `from` to bit `to`, both included.
fn count(bytes: &[u8], from: usize, to: usize) -> u64 {
    let part = bytes.get(from / 8..to / 8 + 1).unwrap_or_default();
    let (words, rest) = part.as_chunks::<8>();
    let whole: u64 = words
        .iter()
        .map(|w| u64::from(u64::from_le_bytes(*w).count_ones()))
        .sum();
    let rest: u64 = rest.iter().map(|b| u64::from(b.count_ones())).sum();
    let before = part.first().map_or(0, |b| b & !(0xff >> (from % 8)));
    let behind = part.last().map_or(0, |b| b & (0x7f >> (to % 8)));
    whole + rest - u64::from(before.count_ones()) - u64::from(behind.count_ones())
}

/// `BITPOS key bit [start [end [BYTE | BIT]]]`
pub fn bitpos(ctx: &mut Ctx<'_>, args: &[&[u8]], reply: &mut Reply) -> Outcome {
    let &[_, key, bit, ref span @ ..] = args else {
        return Err(CommandError::SYNTAX);
    };
    let bit = match int_arg(bit)? {
        0 => false,
        1 => true,
        _ => return Err(CommandError::new("ERR The bit argument must be 1 or 0.")),
    };
    let span = match span {
        [] => Span::WHOLE,
        [start, rest @ ..] => {
            let start = int_arg(start)?;
            let (end, unit) = match rest {
                [] => (None, Unit::Bytes),
                [end] => (Some(int_arg(end)?), Unit::Bytes),
                [end, unit] => {
                    let unit = Unit::parse(unit)?;
                    (Some(int_arg(end)?), unit)
                }
                _ => return Err(CommandError::SYNTAX),
            };
            Span { start, end, unit }
        }
    };
    match ctx.read_str(key)? {
        Some(string) => look(string, reply, move |bytes, reply| {
            reply.int(position(bytes, span, bit));
        }),
        // As if it were zeros without end.
        None => reply.int(if bit { -1 } else { 0 }),
    }
    Ok(Effect::None)
}

/// What BITPOS replies: a clear bit is found behind the string, too, unless the span has an end.
fn position(bytes: &[u8], span: Span, bit: bool) -> i64 {
    let Some((from, to)) = span.bits(bytes.len()) else {
        return -1;
    };
    match find(bytes, from, to, bit) {
        Some(at) => at as i64,
        None if !bit && span.end.is_none() => bytes.len() as i64 * 8,
        None => -1,
    }
}

/// The first bit from `from` to `to`, both included, that is `bit`.
fn find(bytes: &[u8], from: usize, to: usize, bit: bool) -> Option<usize> {
    let dull: u8 = if bit { 0 } else { 0xff };
    let part = bytes.get(from / 8..to / 8 + 1)?;
    let (first, rest) = part.split_first()?;
    let in_first = (first ^ dull) & (0xff >> (from % 8));
    let at = if in_first != 0 {
        from / 8 * 8 + in_first.leading_zeros() as usize
    } else {
        let (words, tail) = rest.as_chunks::<8>();
        let skipped = words
            .iter()
            .position(|w| *w != [dull; 8])
            .unwrap_or(words.len());
        let ahead = rest.get(skipped * 8..).unwrap_or(tail);
        let nth = ahead.iter().position(|b| *b != dull)?;
        let byte = ahead.get(nth)? ^ dull;
        (from / 8 + 1 + skipped * 8 + nth) * 8 + byte.leading_zeros() as usize
    };
    (at <= to).then_some(at)
}

//! HyperLogLog: PFADD, PFCOUNT, PFMERGE, and what looks inside: PFDEBUG, PFSELFTEST.
//!
//! The value is a string in the layout of [`hll`]. PFCOUNT of one key keeps its result there, so
//! it is an effect when it has to count.

use crate::base::random;
use crate::command::ctx::{CommandError, Ctx, Later, Outcome};
use crate::keyspace::unit::NotifyClass;
use crate::keyspace::value::hll::{self, Corrupted, Cursor, Histogram, REGISTERS, Registers, Run};
use crate::keyspace::value::{StrRef, ValueRef};
use crate::oplog::effect::Effect;
use crate::resp::reply::Reply;

use super::{Family, Locks};

/// The family.
pub const HANDLERS: Family = &[
    ("pfadd", pfadd, Locks::Keys),
    ("pfcount", pfcount, Locks::Keys),
    ("pfmerge", pfmerge, Locks::Keys),
    ("pfdebug", pfdebug, Locks::Keys),
    ("pfselftest", pfselftest, Locks::Nothing),
];

const INVALID: CommandError = CommandError(std::borrow::Cow::Borrowed(
    "WRONGTYPE Key is not a valid HyperLogLog string value.",
));

impl From<Corrupted> for CommandError {
    fn from(_: Corrupted) -> CommandError {
        CommandError::new("INVALIDOBJ Corrupted HLL object detected")
    }
}

/// `hll-sparse-max-bytes`
fn sparse_max(ctx: &Ctx<'_>) -> usize {
    usize::try_from(ctx.settings.encoding.hll_sparse_max_bytes).unwrap_or(usize::MAX)
}

fn valid(string: StrRef<'_>) -> Result<StrRef<'_>, CommandError> {
    let bytes = match string {
        StrRef::Int(_) => return Err(INVALID),
        StrRef::Inline(bytes) => bytes,
        StrRef::Heap(bytes) => bytes.as_slice(),
    };
    if hll::is_hll(bytes) {
        Ok(string)
    } else {
        Err(INVALID)
    }
}

/// Whether there is a HyperLogLog at a key that is about to be written.
fn is_there(ctx: &mut Ctx<'_>, key: &[u8]) -> Result<bool, CommandError> {
    match ctx.peek(key).map(|entry| entry.value()) {
        None => Ok(false),
        Some(ValueRef::Str(string)) => valid(string).map(|_| true),
        Some(_) => Err(crate::keyspace::unit::WrongType.into()),
    }
}

/// The HyperLogLog at a key that is read: by reference, or a copy of a short one.
fn read(ctx: &mut Ctx<'_>, key: &[u8]) -> Result<Option<bytes::Bytes>, CommandError> {
    let Some(string) = ctx.read_str(key)? else {
        return Ok(None);
    };
    let string = valid(string)?;
    Ok(Some(
        string.shared().unwrap_or_else(|| string.to_vec().into()),
    ))
}

/// `PFADD key [element ...]`
fn pfadd(ctx: &mut Ctx<'_>, args: &[&[u8]], reply: &mut Reply) -> Outcome {
    let &[_, key, ref elements @ ..] = args else {
        return Err(CommandError::SYNTAX);
    };
    let max = sparse_max(ctx);
    let there = is_there(ctx, key)?;
    let added = ctx.edit_string(key, |bytes| {
        let mut changed = !there;
        if !there {
            *bytes = hll::create();
        }
        // What is found to be corrupt half way must not have changed.
        let before = (hll::is_sparse(bytes) && elements.len() > 1).then(|| bytes.clone());
        for element in elements {
            match hll::add(bytes, element, max) {
                Ok(new) => changed |= new,
                Err(error) => {
                    if let Some(before) = before {
                        *bytes = before;
                    }
                    return (Err(error), false);
                }
            }
        }
        if changed {
            hll::invalidate(bytes);
        }
        (Ok(changed), changed)
    })??;
    reply.int(i64::from(added));
    if !added {
        return Ok(Effect::None);
    }
    ctx.notify(NotifyClass::STRING, "pfadd", key);
    Ok(Effect::Verbatim)
}

/// `PFCOUNT key [key ...]`
fn pfcount(ctx: &mut Ctx<'_>, args: &[&[u8]], reply: &mut Reply) -> Outcome {
    let keys = args.get(1..).unwrap_or_default();
    let [key] = keys else {
        return count_union(ctx, keys, reply);
    };
    let Some(bytes) = read(ctx, key)? else {
        reply.int(0);
        return Ok(Effect::None);
    };
    if let Some(cardinality) = hll::cached(&bytes) {
        reply.int(cardinality as i64);
        return Ok(Effect::None);
    }
    let cardinality = hll::count(&bytes)?;
    // Only who holds the string alone changes it in place.
    drop(bytes);
    ctx.edit_string(key, |bytes| {
        hll::set_cached(bytes, cardinality);
        ((), true)
    })?;
    reply.int(cardinality as i64);
    Ok(Effect::Verbatim)
}

/// The cardinality of all the keys together, counted when the locks are released.
fn count_union(ctx: &mut Ctx<'_>, keys: &[&[u8]], reply: &mut Reply) -> Outcome {
    let mut sources = Vec::with_capacity(keys.len());
    for key in keys {
        sources.extend(read(ctx, key)?);
    }
    reply.deferred(Box::new(move |reply| {
        let mut registers: Box<Registers> = Box::new([0; REGISTERS]);
        for bytes in &sources {
            if let Err(error) = hll::merge_into(&mut registers, bytes) {
                return reply.error(CommandError::from(error).0.as_bytes());
            }
        }
        reply.int(Histogram::of(&registers).estimate() as i64);
    }));
    Ok(Effect::None)
}

/// `PFMERGE destkey [sourcekey ...]`
fn pfmerge(ctx: &mut Ctx<'_>, args: &[&[u8]], reply: &mut Reply) -> Outcome {
    let &[_, target, ..] = args else {
        return Err(CommandError::SYNTAX);
    };
    let mut registers: Box<Registers> = Box::new([0; REGISTERS]);
    let mut dense = false;
    for key in args.iter().skip(1) {
        if let Some(bytes) = read(ctx, key)? {
            dense |= !hll::is_sparse(&bytes);
            hll::merge_into(&mut registers, &bytes)?;
        }
    }
    let max = sparse_max(ctx);
    let there = is_there(ctx, target)?;
    ctx.edit_string(target, |bytes| {
        if !there {
            *bytes = hll::create();
        }
        (write_all(bytes, &registers, dense, max), true)
    })??;
    ctx.notify(NotifyClass::STRING, "pfadd", target);
    reply.ok();
    Ok(Effect::Verbatim)
}

/// Raises every register of a HyperLogLog that is known to be whole.
fn write_all(
    bytes: &mut Vec<u8>,
    registers: &Registers,
    dense: bool,
    max: usize,
) -> Result<(), Corrupted> {
    if dense {
        hll::to_dense(bytes)?;
    }
    let mut cursor = Cursor::default();
    for (index, value) in registers.iter().enumerate().filter(|(_, v)| **v > 0) {
        hll::raise(bytes, &mut cursor, index, *value, max)?;
    }
    hll::invalidate(bytes);
    Ok(())
}

/// `PFDEBUG GETREG | DECODE | ENCODING | TODENSE key`, `PFDEBUG SIMD ON | OFF`
fn pfdebug(ctx: &mut Ctx<'_>, args: &[&[u8]], reply: &mut Reply) -> Outcome {
    let &[_, what, key] = args else {
        return Err(CommandError::SYNTAX);
    };
    let is = |name: &[u8]| what.eq_ignore_ascii_case(name);
    if is(b"SIMD") {
        let on = key.eq_ignore_ascii_case(b"ON");
        if !on && !key.eq_ignore_ascii_case(b"OFF") {
            return Err(CommandError::new("ERR Argument must be ON or OFF"));
        }
        hll::read_four_at_a_time(on);
        reply.simple(if on { "enabled" } else { "disabled" });
        return Ok(Effect::None);
    }
    if !is_there(ctx, key)? {
        return Err(CommandError::new("ERR The specified key does not exist"));
    }
    if is(b"GETREG") || is(b"TODENSE") {
        let converted = ctx.edit_string(key, |bytes| match hll::to_dense(bytes) {
            Ok(converted) => (Ok(converted), converted),
            error => (error, false),
        })??;
        if is(b"TODENSE") {
            reply.int(i64::from(converted));
        } else if let Some(bytes) = read(ctx, key)? {
            reply.array(REGISTERS);
            hll::each_register(&bytes, |value| reply.int(i64::from(value)));
        }
        return Ok(if converted {
            Effect::Verbatim
        } else {
            Effect::None
        });
    }
    let Some(bytes) = read(ctx, key)? else {
        return Ok(Effect::None);
    };
    if is(b"ENCODING") {
        let sparse = hll::is_sparse(&bytes);
        reply.simple(if sparse { "sparse" } else { "dense" });
    } else if is(b"DECODE") {
        if !hll::is_sparse(&bytes) {
            return Err(CommandError::new("ERR HLL encoding is not sparse"));
        }
        reply.bulk(decoded(&bytes)?.as_bytes());
    } else {
        return Err(CommandError::new(format!(
            "ERR Unknown PFDEBUG subcommand '{}'",
            String::from_utf8_lossy(what)
        )));
    }
    Ok(Effect::None)
}

/// The runs of a sparse HyperLogLog in words.
fn decoded(bytes: &[u8]) -> Result<String, Corrupted> {
    let mut words = Vec::new();
    for run in hll::sparse_runs(bytes) {
        words.push(match run? {
            Run::Zeros(n) if n <= 64 => format!("z:{n}"),
            Run::Zeros(n) => format!("Z:{n}"),
            Run::Values(value, n) => format!("v:{value},{n}"),
        });
    }
    Ok(words.join(" "))
}

/// `PFSELFTEST`: takes a second or so, which a helper thread spends.
fn pfselftest(ctx: &mut Ctx<'_>, _: &[&[u8]], reply: &mut Reply) -> Outcome {
    let max = sparse_max(ctx);
    if ctx.nested || !ctx.is_client() {
        show_test(self_test(max), reply);
        return Ok(Effect::None);
    }
    ctx.suspended = Some(Box::pin(async move {
        let result = tokio::task::spawn_blocking(move || self_test(max)).await;
        let result = result.unwrap_or_else(|error| Err(format!("TESTFAILED {error}")));
        let done: Later = Box::new(|_, reply| show_test(result, reply));
        done
    }));
    Ok(Effect::None)
}

fn show_test(result: Result<(), String>, reply: &mut Reply) {
    match result {
        Ok(()) => reply.ok(),
        Err(error) => reply.error(error.as_bytes()),
    }
}

/// Counts ten million elements, and looks at the estimates, sparse and dense, on the way.
fn self_test(max: usize) -> Result<(), String> {
    const ELEMENTS: u64 = 10_000_000;
    let corrupted = |error: Corrupted| format!("TESTFAILED {error}");
    let (mut sparse, mut dense) = (hll::create(), hll::create());
    hll::to_dense(&mut dense).map_err(corrupted)?;
    let standard_error = 1.04 / (REGISTERS as f64).sqrt();
    let (seed, mut checkpoint) = (random::u64(), 1);
    for n in 1..=ELEMENTS {
        let element = (n ^ seed).to_le_bytes();
        hll::add(&mut dense, &element, max).map_err(corrupted)?;
        hll::add(&mut sparse, &element, max).map_err(corrupted)?;
        if n != checkpoint {
            continue;
        }
        if n < (max / 2) as u64 && !hll::is_sparse(&sparse) {
            return Err("TESTFAILED sparse encoding not used".to_owned());
        }
        let count = hll::count(&dense).map_err(corrupted)?;
        if count != hll::count(&sparse).map_err(corrupted)? {
            return Err("TESTFAILED dense/sparse disagree".to_owned());
        }
        let most = match n {
            10 => 1,
            n => (standard_error * 6.0 * n as f64).ceil() as u64,
        };
        let off = count.abs_diff(n);
        if off > most {
            return Err(format!("TESTFAILED Too big error. card:{n} abserr:{off}"));
        }
        checkpoint *= 10;
    }
    Ok(())
}

#[cfg(test)]
mod tests;

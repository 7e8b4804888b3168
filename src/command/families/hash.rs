//! Hashes, without the expiry of fields.

use crate::base::long_double::LongDouble;
use crate::base::{glob, num};
use crate::command::ctx::{CommandError, Ctx, Outcome, int_arg};
use crate::command::limits;
use crate::keyspace::unit::{Missing, NotifyClass};
use crate::keyspace::value::hash::Hash;
use crate::keyspace::value::packed::Elem;
use crate::oplog::effect::{Effect, Encoded};
use crate::resp::errors;
use crate::resp::reply::Reply;

use super::scan::{ScanOptions, Scanned, parse_cursor};
use super::{Family, Locks};

/// The family.
pub const HANDLERS: Family = &[
    ("hset", hset, Locks::Keys),
    ("hmset", hmset, Locks::Keys),
    ("hsetnx", hsetnx, Locks::Keys),
    ("hget", hget, Locks::Keys),
    ("hmget", hmget, Locks::Keys),
    ("hdel", hdel, Locks::Keys),
    ("hgetdel", hgetdel, Locks::Keys),
    ("hlen", hlen, Locks::Keys),
    ("hstrlen", hstrlen, Locks::Keys),
    ("hexists", hexists, Locks::Keys),
    ("hincrby", hincrby, Locks::Keys),
    ("hincrbyfloat", hincrbyfloat, Locks::Keys),
    ("hkeys", hkeys, Locks::Keys),
    ("hvals", hvals, Locks::Keys),
    ("hgetall", hgetall, Locks::Keys),
    ("hrandfield", hrandfield, Locks::Keys),
    ("hscan", hscan, Locks::Keys),
];

/// Replies of more fields than this are formatted after the locks are released.
const DEFER_ABOVE: usize = 512;

/// How many fields, repeated ones counted, HRANDFIELD replies with at most. The bound is ours: a
/// negative count asks for a reply of any length, whatever the hash's size.
const MAX_REPEATED: i64 = 1 << 24;

fn arg<'a>(args: &[&'a [u8]], at: usize) -> &'a [u8] {
    args.get(at).copied().unwrap_or_default()
}

/// Writes an element as a bulk string.
fn bulk(reply: &mut Reply, elem: Elem<'_>) {
    match elem {
        Elem::Bytes(b) => reply.bulk(b),
        Elem::Int(n) => reply.bulk_int(n),
    }
}

/// Sets the pairs of `args`; how many fields are new.
fn set_pairs(ctx: &mut Ctx<'_>, args: &[&[u8]]) -> Result<usize, CommandError> {
    let key = arg(args, 1);
    let pairs = args.get(2..).unwrap_or_default();
    if pairs.len() % 2 != 0 || pairs.is_empty() {
        let name = String::from_utf8_lossy(arg(args, 0)).to_ascii_lowercase();
        return Err(CommandError::new(format!(
            "ERR wrong number of arguments for '{name}' command"
        )));
    }
    let limits = limits::hash(ctx.settings);
    let longest = pairs.iter().map(|p| p.len()).max().unwrap_or(0);
    let set = |hash: &mut Hash| {
        hash.prepare(longest, &limits);
        let mut new = 0;
        for pair in pairs.chunks_exact(2) {
            if let [field, value] = pair {
                new += usize::from(hash.set(*field, *value, &limits));
            }
        }
        (new, (pairs.len() / 2) as u64)
    };
    let done = ctx.update::<Hash, _>(key, Missing::Create, set)?;
    ctx.notify(NotifyClass::HASH, "hset", key);
    Ok(done.map_or(0, |(new, _)| new))
}

/// `HSET key field value [field value ...]`
fn hset(ctx: &mut Ctx<'_>, args: &[&[u8]], reply: &mut Reply) -> Outcome {
    let new = set_pairs(ctx, args)?;
    reply.len_int(new);
    Ok(Effect::Verbatim)
}

/// `HMSET key field value [field value ...]`
fn hmset(ctx: &mut Ctx<'_>, args: &[&[u8]], reply: &mut Reply) -> Outcome {
    set_pairs(ctx, args)?;
    reply.ok();
    Ok(Effect::Verbatim)
}

/// `HSETNX key field value`
fn hsetnx(ctx: &mut Ctx<'_>, args: &[&[u8]], reply: &mut Reply) -> Outcome {
    let (key, field, value) = (arg(args, 1), arg(args, 2), arg(args, 3));
    if ctx.lookup::<Hash>(key)?.is_some_and(|h| h.contains(field)) {
        reply.int(0);
        return Ok(Effect::None);
    }
    let limits = limits::hash(ctx.settings);
    ctx.update::<Hash, _>(key, Missing::Create, |h| {
        h.prepare(field.len().max(value.len()), &limits);
        h.set(field, value, &limits);
        ((), 1)
    })?;
    ctx.notify(NotifyClass::HASH, "hset", key);
    reply.int(1);
    Ok(Effect::Verbatim)
}

/// `HGET key field`
fn hget(ctx: &mut Ctx<'_>, args: &[&[u8]], reply: &mut Reply) -> Outcome {
    let field = arg(args, 2);
    match ctx.read_as::<Hash>(arg(args, 1))? {
        None => reply.null(),
        Some(hash) => one_value(hash, field, reply),
    }
    Ok(Effect::None)
}

/// The value of a field; a long one is shared, not copied.
fn one_value(hash: &Hash, field: &[u8], reply: &mut Reply) {
    match hash.get(field) {
        None => reply.null(),
        Some(value) => match hash.shared_value(field) {
            Some(shared) => reply.shared_bulk(shared),
            None => bulk(reply, value),
        },
    }
}

/// `HMGET key field [field ...]`
fn hmget(ctx: &mut Ctx<'_>, args: &[&[u8]], reply: &mut Reply) -> Outcome {
    let fields = args.get(2..).unwrap_or_default();
    let hash = ctx.read_as::<Hash>(arg(args, 1))?;
    reply.array(fields.len());
    for field in fields {
        match hash {
            None => reply.null(),
            Some(hash) => one_value(hash, field, reply),
        }
    }
    Ok(Effect::None)
}

/// What is left of a hash after fields were taken out of it.
fn notify_removal(ctx: &mut Ctx<'_>, key: &[u8], emptied: bool) {
    ctx.notify(NotifyClass::HASH, "hdel", key);
    if emptied {
        ctx.notify(NotifyClass::GENERIC, "del", key);
    }
}

/// `HDEL key field [field ...]`
fn hdel(ctx: &mut Ctx<'_>, args: &[&[u8]], reply: &mut Reply) -> Outcome {
    let key = arg(args, 1);
    let fields = args.get(2..).unwrap_or_default();
    let removed = ctx.update::<Hash, _>(key, Missing::Skip, |hash| {
        let n = fields.iter().filter(|f| hash.remove(**f)).count();
        (n, n as u64)
    })?;
    let (removed, emptied) = removed.unwrap_or((0, false));
    if removed > 0 {
        notify_removal(ctx, key, emptied);
    }
    reply.len_int(removed);
    Ok(if removed > 0 {
        Effect::Verbatim
    } else {
        Effect::None
    })
}

/// `HGETDEL key FIELDS numfields field [field ...]`
fn hgetdel(ctx: &mut Ctx<'_>, args: &[&[u8]], reply: &mut Reply) -> Outcome {
    let key = arg(args, 1);
    if !arg(args, 2).eq_ignore_ascii_case(b"fields") {
        return Err(CommandError::new(
            "ERR Mandatory argument FIELDS is missing or not at the right position",
        ));
    }
    let count = num::parse_i64(arg(args, 3)).filter(|n| (1..=i64::from(i32::MAX)).contains(n));
    let count = count.ok_or(CommandError::new(
        "ERR Number of fields must be a positive integer",
    ))?;
    let fields = args.get(4..).unwrap_or_default();
    if fields.len() as i64 != count {
        return Err(CommandError::new(
            "ERR The `numfields` parameter must match the number of arguments",
        ));
    }
    let hash = ctx.lookup::<Hash>(key)?;
    reply.array(fields.len());
    let mut found: Vec<&[u8]> = Vec::new();
    for field in fields {
        match hash {
            // A field that is named twice is gone the second time.
            Some(hash) if hash.contains(*field) && !found.contains(field) => {
                one_value(hash, field, reply);
                found.push(field);
            }
            _ => reply.null(),
        }
    }
    if found.is_empty() {
        return Ok(Effect::None);
    }
    let done = ctx.update::<Hash, _>(key, Missing::Skip, |hash| {
        let n = found.iter().filter(|f| hash.remove(**f)).count();
        (n, n as u64)
    })?;
    notify_removal(ctx, key, done.is_some_and(|(_, emptied)| emptied));
    let mut argv: Vec<&[u8]> = vec![b"HDEL", key];
    argv.extend(found);
    Ok(Effect::Rewritten(Encoded::one(&argv)))
}

/// `HLEN key`
fn hlen(ctx: &mut Ctx<'_>, args: &[&[u8]], reply: &mut Reply) -> Outcome {
    let len = ctx.read_as::<Hash>(arg(args, 1))?.map_or(0, Hash::len);
    reply.len_int(len);
    Ok(Effect::None)
}

/// `HSTRLEN key field`
fn hstrlen(ctx: &mut Ctx<'_>, args: &[&[u8]], reply: &mut Reply) -> Outcome {
    let hash = ctx.read_as::<Hash>(arg(args, 1))?;
    let len = hash
        .and_then(|h| h.get(arg(args, 2)))
        .map_or(0, Elem::text_len);
    reply.len_int(len);
    Ok(Effect::None)
}

/// `HEXISTS key field`
fn hexists(ctx: &mut Ctx<'_>, args: &[&[u8]], reply: &mut Reply) -> Outcome {
    let hash = ctx.read_as::<Hash>(arg(args, 1))?;
    reply.int(i64::from(hash.is_some_and(|h| h.contains(arg(args, 2)))));
    Ok(Effect::None)
}

/// `HINCRBY key field increment`
fn hincrby(ctx: &mut Ctx<'_>, args: &[&[u8]], reply: &mut Reply) -> Outcome {
    let (key, field) = (arg(args, 1), arg(args, 2));
    let by = int_arg(arg(args, 3))?;
    let current = match ctx.lookup::<Hash>(key)?.and_then(|h| h.get(field)) {
        None => 0,
        Some(value) => value
            .as_int()
            .ok_or(CommandError::new("ERR hash value is not an integer"))?,
    };
    let new = current
        .checked_add(by)
        .ok_or(CommandError::new(errors::INCREMENT_OVERFLOW))?;
    let limits = limits::hash(ctx.settings);
    ctx.update::<Hash, _>(key, Missing::Create, |h| {
        h.prepare(field.len(), &limits);
        h.set(field, new, &limits);
        ((), 1)
    })?;
    ctx.notify(NotifyClass::HASH, "hincrby", key);
    reply.int(new);
    Ok(Effect::Verbatim)
}

/// `HINCRBYFLOAT key field increment`
fn hincrbyfloat(ctx: &mut Ctx<'_>, args: &[&[u8]], reply: &mut Reply) -> Outcome {
    let (key, field) = (arg(args, 1), arg(args, 2));
    let by = LongDouble::parse(arg(args, 3)).ok_or(CommandError::NOT_FLOAT)?;
    if by.is_nan() || !by.is_finite() {
        return Err(CommandError::new("ERR value is NaN or Infinity"));
    }
    let current = match ctx.lookup::<Hash>(key)?.and_then(|h| h.get(field)) {
        None => LongDouble::ZERO,
        Some(value) => LongDouble::parse(value.to_bytes(&mut itoa::Buffer::new()))
            .ok_or(CommandError::new("ERR hash value is not a float"))?,
    };
    let new = current + by;
    if new.is_nan() || !new.is_finite() {
        return Err(CommandError::new(errors::INCREMENT_NOT_FINITE));
    }
    let text = new.fmt_human();
    let limits = limits::hash(ctx.settings);
    ctx.update::<Hash, _>(key, Missing::Create, |h| {
        h.prepare(field.len().max(text.len()), &limits);
        h.set(field, &*text, &limits);
        ((), 1)
    })?;
    ctx.notify(NotifyClass::HASH, "hincrbyfloat", key);
    reply.bulk(&text);
    Ok(Effect::Rewritten(Encoded::one(&[
        b"HSET", key, field, &text,
    ])))
}

/// Which halves of a record a reply shows.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Show {
    Fields,
    Values,
    Both,
}

fn show(hash: &Hash, what: Show, reply: &mut Reply) {
    match what {
        Show::Both => reply.map(hash.len()),
        Show::Fields | Show::Values => reply.array(hash.len()),
    }
    for record in hash.iter() {
        if what != Show::Values {
            bulk(reply, record.key);
        }
        if what != Show::Fields {
            bulk(reply, record.value);
        }
        if !reply.breathe() {
            break;
        }
    }
}

fn whole(ctx: &mut Ctx<'_>, key: &[u8], what: Show, reply: &mut Reply) -> Outcome {
    match ctx.read_as::<Hash>(key)? {
        None if what == Show::Both => reply.map(0),
        None => reply.array(0),
        Some(hash) if hash.len() > DEFER_ABOVE => {
            let hash = hash.clone();
            reply.deferred_of(hash.len(), Box::new(move |r| show(&hash, what, r)));
        }
        Some(hash) => show(hash, what, reply),
    }
    Ok(Effect::None)
}

/// `HKEYS key`
fn hkeys(ctx: &mut Ctx<'_>, args: &[&[u8]], reply: &mut Reply) -> Outcome {
    whole(ctx, arg(args, 1), Show::Fields, reply)
}

/// `HVALS key`
fn hvals(ctx: &mut Ctx<'_>, args: &[&[u8]], reply: &mut Reply) -> Outcome {
    whole(ctx, arg(args, 1), Show::Values, reply)
}

/// `HGETALL key`
fn hgetall(ctx: &mut Ctx<'_>, args: &[&[u8]], reply: &mut Reply) -> Outcome {
    whole(ctx, arg(args, 1), Show::Both, reply)
}

/// `HRANDFIELD key [count [WITHVALUES]]`
fn hrandfield(ctx: &mut Ctx<'_>, args: &[&[u8]], reply: &mut Reply) -> Outcome {
    let key = arg(args, 1);
    let with_values = match args.get(3..).unwrap_or_default() {
        [] => false,
        [word] if word.eq_ignore_ascii_case(b"withvalues") => true,
        _ => return Err(CommandError::SYNTAX),
    };
    let Some(count) = args.get(2) else {
        match ctx.read_as::<Hash>(key)?.and_then(Hash::random) {
            None => reply.null(),
            Some(record) => bulk(reply, record.key),
        }
        return Ok(Effect::None);
    };
    let count = num::parse_i64(count).ok_or(CommandError::NOT_INTEGER)?;
    let max = i64::MAX / if with_values { 2 } else { 1 };
    if count < -max || count > max {
        return Err(CommandError::new("ERR value is out of range"));
    }
    match ctx.read_as::<Hash>(key)? {
        Some(_) if count < -MAX_REPEATED => {
            return Err(CommandError::new("ERR value is out of range"));
        }
        Some(hash) if count.unsigned_abs() > DEFER_ABOVE as u64 => {
            let hash = hash.clone();
            let elements = usize::try_from(count.unsigned_abs()).unwrap_or(usize::MAX);
            let elements = if count < 0 {
                elements
            } else {
                elements.min(hash.len())
            };
            let write = move |r: &mut Reply| random_fields(&hash, count, with_values, r);
            reply.deferred_of(elements, Box::new(write));
        }
        Some(hash) if count != 0 => random_fields(hash, count, with_values, reply),
        _ => reply.array(0),
    }
    Ok(Effect::None)
}

/// Distinct fields for a positive count, fields that may repeat for a negative one.
fn random_fields(hash: &Hash, count: i64, with_values: bool, reply: &mut Reply) {
    let one = |reply: &mut Reply, key: Elem<'_>, value: Elem<'_>| {
        if with_values && reply.is_resp3() {
            reply.array(2);
        }
        bulk(reply, key);
        if with_values {
            bulk(reply, value);
        }
    };
    let heading = |reply: &mut Reply, n: usize| {
        reply.array(if with_values && !reply.is_resp3() {
            n.saturating_mul(2)
        } else {
            n
        });
    };
    let n = usize::try_from(count.unsigned_abs()).unwrap_or(usize::MAX);
    if count > 0 {
        let sample = hash.sample(n);
        heading(reply, sample.len());
        sample.iter().for_each(|r| one(reply, r.key, r.value));
        return;
    }
    heading(reply, n);
    for record in (0..n).map_while(|_| hash.random()) {
        one(reply, record.key, record.value);
        if !reply.breathe() {
            break;
        }
    }
}

/// `HSCAN key cursor [MATCH pattern] [COUNT count] [NOVALUES]`
fn hscan(ctx: &mut Ctx<'_>, args: &[&[u8]], reply: &mut Reply) -> Outcome {
    let cursor = parse_cursor(arg(args, 2))?;
    let Some(hash) = ctx.read_as::<Hash>(arg(args, 1))? else {
        reply.array(2);
        reply.bulk(b"0");
        reply.array(0);
        return Ok(Effect::None);
    };
    // Only a hash that is there has its options looked at, as in Redis.
    let options = ScanOptions::parse(args.get(3..).unwrap_or_default(), Scanned::Fields)?;
    let (count, no_values) = (options.count, options.no_values);
    if count <= DEFER_ABOVE {
        scan(hash, cursor, count, options.pattern, no_values, reply);
        return Ok(Effect::None);
    }
    let hash = hash.clone();
    let pattern = options.pattern.map(<[u8]>::to_vec);
    let elements = count.min(hash.len());
    let write = move |r: &mut Reply| scan(&hash, cursor, count, pattern.as_deref(), no_values, r);
    reply.deferred_of(elements, Box::new(write));
    Ok(Effect::None)
}

fn scan(
    hash: &Hash,
    cursor: u64,
    count: usize,
    pattern: Option<&[u8]>,
    no_values: bool,
    reply: &mut Reply,
) {
    let mut buffer = itoa::Buffer::new();
    let mut found = Vec::new();
    let next = hash.scan(cursor, count, |record| {
        if pattern.is_none_or(|p| glob::matches(p, record.key.to_bytes(&mut buffer), false)) {
            found.push(record);
        }
    });
    reply.array(2);
    reply.bulk(itoa::Buffer::new().format(next).as_bytes());
    reply.array(if no_values {
        found.len()
    } else {
        found.len() * 2
    });
    for record in found {
        bulk(reply, record.key);
        if !no_values {
            bulk(reply, record.value);
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::command::testing::TestServer;

    #[test]
    fn fields_are_set_read_counted_and_removed() {
        let mut t = TestServer::new();
        assert_eq!(t.run("HSET h a 1 b 2 a 3"), ":2");
        assert_eq!(t.run("HGET h a"), r#""3""#);
        assert_eq!(t.run("HMGET h a x b"), r#"["3", nil, "2"]"#);
        assert_eq!(t.run("HSETNX h a 9"), ":0");
        assert_eq!(t.run("HLEN h"), ":2");
        assert_eq!(t.run("HSTRLEN h a"), ":1");
        assert_eq!(t.run("HDEL h a b c"), ":2");
        assert_eq!(t.run("HLEN h"), ":0");
        assert_eq!(t.effects(), ["HSET h a 1 b 2 a 3", "HDEL h a b c"]);
    }

    #[test]
    fn increments_are_exact_and_floats_are_propagated_by_their_result() {
        let mut t = TestServer::new();
        assert_eq!(t.run("HINCRBY h n 5"), ":5");
        assert_eq!(t.run("HINCRBYFLOAT h f 0.1"), r#""0.1""#);
        assert_eq!(t.run("HINCRBYFLOAT h f 0.2"), r#""0.3""#);
        assert_eq!(t.run("HSET h s text"), ":1");
        assert_eq!(t.run("HINCRBY h s 1"), "-ERR hash value is not an integer");
        assert_eq!(
            t.run("HINCRBY h n 9223372036854775807"),
            "-ERR increment or decrement would overflow"
        );
        assert_eq!(
            t.effects(),
            [
                "HINCRBY h n 5",
                "HSET h f 0.1",
                "HSET h f 0.3",
                "HSET h s text"
            ]
        );
    }

    #[test]
    fn a_taken_field_is_gone_the_second_time_it_is_named() {
        let mut t = TestServer::new();
        t.run("HSET h a 1 b 2");
        assert_eq!(t.run("HGETDEL h FIELDS 3 a a x"), r#"["1", nil, nil]"#);
        assert_eq!(t.effects(), ["HSET h a 1 b 2", "HDEL h a"]);
    }

    #[test]
    fn a_large_hash_reads_whole() {
        let mut t = TestServer::new();
        for n in 0..1000 {
            t.run(&format!("HSET h field{n} {n}"));
        }
        assert_eq!(t.run("HVALS h").matches(',').count(), 999);
    }

    #[test]
    fn a_key_of_another_type_is_refused() {
        let mut t = TestServer::new();
        t.run("SET s x");
        let refusal = "-WRONGTYPE Operation against a key holding the wrong kind of value";
        for command in [
            "HGET s f",
            "HSET s f v",
            "HDEL s f",
            "HLEN s",
            "HINCRBY s f 1",
        ] {
            assert_eq!(t.run(command), refusal, "{command}");
        }
    }
}

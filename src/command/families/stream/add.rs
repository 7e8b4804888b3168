//! XADD and XTRIM.
//!
//! Both are logged with what they came to: the id that was given, and an exact limit in the place
//! of an approximate one.

use super::{arg, id_arg, replaced};
use crate::command::ctx::{CommandError, Ctx, Outcome, int_arg};
use crate::command::limits;
use crate::keyspace::unit::{Missing, NotifyClass};
use crate::keyspace::value::stream::id::StreamId;
use crate::keyspace::value::stream::{MAX_ENTRY_BYTES, NewId, Stream, Trim, Until};
use crate::oplog::effect::Effect;
use crate::resp::reply::Reply;

const BOTH_STRATEGIES: &str =
    "ERR syntax error, MAXLEN and MINID options at the same time are not compatible";

/// Blocks that approximate trimming removes at most unless LIMIT says otherwise.
const BLOCKS_AT_ONCE: u64 = 100;

/// The options of XADD and XTRIM.
struct Options {
    no_mkstream: bool,
    id: NewId,
    /// Where the id stands.
    id_at: usize,
    trim: Option<Trim>,
    /// Where the limit of the trimming stands.
    trim_at: usize,
}

/// The `~` or `=` between a strategy and its limit: whether it trims approximately, and how many
/// words it is.
fn precision(rest: &[&[u8]]) -> (bool, usize) {
    match rest {
        [b"~", _, ..] => (true, 1),
        [b"=", _, ..] => (false, 1),
        _ => (false, 0),
    }
}

fn new_id(text: &[u8]) -> Result<NewId, CommandError> {
    match text.strip_suffix(b"-*") {
        Some(ms) => match StreamId::parse(ms, 0) {
            Some(id) if !ms.contains(&b'-') => Ok(NewId::OfMs(id.ms)),
            _ => Err(super::INVALID_ID),
        },
        None => id_arg(text).map(NewId::Exact),
    }
}

fn parse(ctx: &Ctx<'_>, args: &[&[u8]], xadd: bool) -> Result<Options, CommandError> {
    let mut options = Options {
        no_mkstream: false,
        id: NewId::Auto,
        id_at: args.len(),
        trim: None,
        trim_at: 0,
    };
    let (mut until, mut approximate, mut limit) = (None, false, None);
    let mut at = 2;
    while let Some(word) = args.get(at) {
        let rest = args.get(at + 1..).unwrap_or_default();
        let is = |name: &[u8]| word.eq_ignore_ascii_case(name) && !rest.is_empty();
        if xadd && *word == b"*" {
            options.id_at = at;
            break;
        } else if is(b"maxlen") || is(b"minid") {
            if until.is_some() {
                return Err(CommandError::new(BOTH_STRATEGIES));
            }
            let (about, words) = precision(rest);
            approximate = about;
            at += 1 + words;
            options.trim_at = at;
            until = Some(if is(b"maxlen") {
                let most = u64::try_from(int_arg(arg(args, at))?);
                let negative = CommandError::new("ERR The MAXLEN argument must be >= 0.");
                Until::Length(most.map_err(|_| negative)?)
            } else {
                Until::Id(id_arg(arg(args, at))?)
            });
        } else if is(b"limit") {
            at += 1;
            let most = u64::try_from(int_arg(arg(args, at))?);
            let negative = CommandError::new("ERR The LIMIT argument must be >= 0.");
            limit = Some(most.map_err(|_| negative)?);
        } else if xadd && word.eq_ignore_ascii_case(b"nomkstream") {
            options.no_mkstream = true;
        } else if xadd {
            options.id = new_id(word)?;
            options.id_at = at;
            break;
        } else {
            return Err(CommandError::SYNTAX);
        }
        at += 1;
    }
    let Some(until) = until else {
        return match limit {
            Some(1..) => Err(CommandError::new(
                "ERR syntax error, LIMIT cannot be used without specifying a trimming strategy",
            )),
            _ if !xadd => Err(CommandError::new(
                "ERR syntax error, XTRIM must be called with a trimming strategy",
            )),
            _ => checked_limit(ctx, limit, false).map(|_| options),
        };
    };
    options.trim = Some(Trim {
        until,
        approximate,
        limit: checked_limit(ctx, limit, approximate)?,
    });
    Ok(options)
}

/// How many entries may go. What a primary or a file dictates has no limit: it says exactly what
/// is left.
fn checked_limit(
    ctx: &Ctx<'_>,
    given: Option<u64>,
    approximate: bool,
) -> Result<u64, CommandError> {
    match given {
        _ if !ctx.is_client() => Ok(0),
        Some(_) if !approximate => Err(CommandError::new(
            "ERR syntax error, LIMIT cannot be used without the special ~ option",
        )),
        Some(limit) => Ok(limit),
        None if !approximate => Ok(0),
        None => Ok(
            match BLOCKS_AT_ONCE.saturating_mul(ctx.settings.encoding.stream_node_max_entries) {
                0 => 10_000,
                limit => limit.min(1_000_000),
            },
        ),
    }
}

/// The limit that trims to exactly what is left.
fn exact_limit(stream: &Stream, trim: Trim) -> Vec<u8> {
    match trim.until {
        Until::Length(_) => stream.len().to_string().into_bytes(),
        Until::Id(_) => {
            let first = stream.first_or_deleted().unwrap_or(StreamId::MAX);
            first.text().to_vec()
        }
    }
}

/// `XADD key [NOMKSTREAM] [MAXLEN|MINID [=|~] threshold [LIMIT count]] id field value ...`
pub fn xadd(ctx: &mut Ctx<'_>, args: &[&[u8]], reply: &mut Reply) -> Outcome {
    let options = parse(ctx, args, true)?;
    let key = arg(args, 1);
    let texts = args.get(options.id_at + 1..).unwrap_or_default();
    if texts.is_empty() || texts.len() % 2 == 1 {
        return Err(CommandError::new(
            "ERR wrong number of arguments for 'xadd' command",
        ));
    }
    if options.id == NewId::Exact(StreamId::MIN) {
        return Err(CommandError::new(
            "ERR The ID specified in XADD must be greater than 0-0",
        ));
    }
    if texts.iter().map(|text| text.len()).sum::<usize>() > MAX_ENTRY_BYTES {
        ctx.lookup::<Stream>(key)?;
        return Err(CommandError::new("ERR Elements are too large to be stored"));
    }
    let (limits, now_ms) = (limits::stream(ctx.settings), ctx.now_ms());
    let missing = if options.no_mkstream {
        Missing::Skip
    } else {
        Missing::Create
    };
    let done = ctx.update::<Stream, _>(key, missing, |stream| {
        if stream.last_id() == StreamId::MAX {
            let exhausted = "ERR The stream has exhausted the last possible ID, unable to add \
                             more items";
            return (Err(exhausted), 0);
        }
        let Some(id) = stream.new_id(options.id, now_ms) else {
            let smaller = "ERR The ID specified in XADD is equal or smaller than the target \
                           stream top item";
            return (Err(smaller), 0);
        };
        stream.append(limits, id, texts);
        let trimmed = options.trim.map_or(0, |trim| stream.trim(trim));
        let exact = options.trim.filter(|trim| trim.approximate);
        let exact = exact.map(|trim| exact_limit(stream, trim));
        (Ok((id, trimmed > 0, exact)), 1)
    })?;
    let Some((added, _)) = done else {
        reply.null();
        return Ok(Effect::None);
    };
    let (id, trimmed, exact) = added.map_err(CommandError::new)?;
    let id = id.text();
    reply.bulk(&id);
    ctx.notify(NotifyClass::STREAM, "xadd", key);
    if trimmed {
        ctx.notify(NotifyClass::STREAM, "xtrim", key);
    }
    let mut with: smallvec::SmallVec<[(usize, &[u8]); 3]> = smallvec::SmallVec::new();
    if let Some(exact) = &exact {
        with.extend([(options.trim_at - 1, &b"="[..]), (options.trim_at, exact)]);
    }
    if !matches!(options.id, NewId::Exact(_)) {
        with.push((options.id_at, &id));
    }
    Ok(replaced(ctx, args, &with))
}

/// `XTRIM key MAXLEN|MINID [=|~] threshold [LIMIT count]`
pub fn xtrim(ctx: &mut Ctx<'_>, args: &[&[u8]], reply: &mut Reply) -> Outcome {
    let options = parse(ctx, args, false)?;
    let key = arg(args, 1);
    let done = ctx.update::<Stream, _>(key, Missing::Skip, |stream| {
        let deleted = options.trim.map_or(0, |trim| stream.trim(trim));
        let exact = options.trim.filter(|trim| trim.approximate && deleted > 0);
        (
            (deleted, exact.map(|trim| exact_limit(stream, trim))),
            deleted,
        )
    })?;
    let Some(((deleted @ 1.., exact), _)) = done else {
        reply.int(0);
        return Ok(Effect::None);
    };
    reply.int(deleted as i64);
    ctx.notify(NotifyClass::STREAM, "xtrim", key);
    Ok(match &exact {
        Some(exact) => replaced(
            ctx,
            args,
            &[(options.trim_at - 1, b"="), (options.trim_at, exact)],
        ),
        None => Effect::Verbatim,
    })
}

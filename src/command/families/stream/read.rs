//! XREAD, and the arguments that it shares with XREADGROUP.

use smallvec::SmallVec;

use super::id_arg;
use super::range::Span;
use crate::command::blocking::{self, Nothing, Wait};
use crate::command::ctx::{CommandError, Ctx, Outcome, int_arg};
use crate::keyspace::value::ValueKind;
use crate::keyspace::value::stream::Stream;
use crate::keyspace::value::stream::id::StreamId;
use crate::oplog::effect::Effect;
use crate::resp::reply::Reply;

/// What is read, and how.
pub(super) struct Request<'a> {
    /// `BLOCK`, milliseconds.
    pub timeout_ms: Option<u64>,
    /// `COUNT`; 0 for all.
    pub count: usize,
    /// `GROUP`: the group and the consumer.
    pub group: Option<(&'a [u8], &'a [u8])>,
    /// `NOACK`
    pub noack: bool,
    /// The streams.
    pub keys: &'a [&'a [u8]],
    /// An id for each.
    pub ids: &'a [&'a [u8]],
}

impl<'a> Request<'a> {
    /// Reads the arguments.
    pub fn parse(
        ctx: &Ctx<'_>,
        args: &'a [&'a [u8]],
        of_group: bool,
    ) -> Result<Request<'a>, CommandError> {
        let mut request = Request {
            timeout_ms: None,
            count: 0,
            group: None,
            noack: false,
            keys: &[],
            ids: &[],
        };
        let mut rest = args.get(1..).unwrap_or_default();
        loop {
            let (word, after) = rest.split_first().ok_or(CommandError::SYNTAX)?;
            let is = |name: &[u8]| word.eq_ignore_ascii_case(name);
            rest = match after {
                [ms, rest @ ..] if is(b"block") => {
                    request.timeout_ms = Some(blocking::timeout_ms(ms, ctx.now_ms())?);
                    rest
                }
                [n, rest @ ..] if is(b"count") => {
                    let n = int_arg(n)?.max(0);
                    request.count = usize::try_from(n).unwrap_or(usize::MAX);
                    rest
                }
                [_, ..] if is(b"streams") => {
                    if after.len() % 2 != 0 {
                        return Err(unbalanced(of_group));
                    }
                    (request.keys, request.ids) = after.split_at(after.len() / 2);
                    break;
                }
                [group, consumer, rest @ ..] if is(b"group") => {
                    if !of_group {
                        return Err(not_here("GROUP"));
                    }
                    request.group = Some((*group, *consumer));
                    rest
                }
                rest if is(b"noack") => {
                    if !of_group {
                        return Err(not_here("NOACK"));
                    }
                    request.noack = true;
                    rest
                }
                _ => return Err(CommandError::SYNTAX),
            };
        }
        if of_group && request.group.is_none() {
            return Err(CommandError::new("ERR Missing GROUP option for XREADGROUP"));
        }
        Ok(request)
    }

    /// Waits if that is asked for, or replies that there is nothing. `ids` stand in the place of
    /// those that must not be read anew.
    pub fn nothing(
        &self,
        ctx: &mut Ctx<'_>,
        args: &[&[u8]],
        ids: &[(usize, StreamId)],
        reply: &mut Reply,
    ) -> Outcome {
        let Some(timeout_ms) = self.timeout_ms else {
            reply.null_array();
            return Ok(Effect::None);
        };
        let texts: SmallVec<[_; 4]> = ids.iter().map(|(at, id)| (*at, id.text())).collect();
        let mut argv: SmallVec<[&[u8]; 16]> = SmallVec::from_slice(args);
        let first = args.len() - self.ids.len();
        for (at, text) in &texts {
            if let Some(place) = argv.get_mut(first + at) {
                *place = text;
            }
        }
        let wait = Wait {
            keys: self.keys,
            kind: ValueKind::Stream,
            on_gone: self.group.is_some(),
            also: &[],
            timeout_ms,
            argv: &argv,
            nothing: Nothing::NullArray,
        };
        ctx.wait(&wait, reply)
    }
}

fn unbalanced(of_group: bool) -> CommandError {
    let (name, symbols) = if of_group {
        ("xreadgroup", "an ID or '>'")
    } else {
        ("xread", "an ID, '+', or '$'")
    };
    CommandError::new(format!(
        "ERR Unbalanced '{name}' list of streams: for each stream key {symbols} must be specified."
    ))
}

fn not_here(option: &str) -> CommandError {
    CommandError::new(format!(
        "ERR The {option} option is only supported by XREADGROUP. You called XREAD instead."
    ))
}

/// Begins the reply for so many streams.
pub(super) fn write_head(reply: &mut Reply, streams: usize) {
    if reply.is_resp3() {
        reply.map(streams);
    } else {
        reply.array(streams);
    }
}

/// Begins the reply for one stream.
pub(super) fn write_key(reply: &mut Reply, key: &[u8]) {
    if !reply.is_resp3() {
        reply.array(2);
    }
    reply.bulk(key);
}

/// `XREAD [COUNT count] [BLOCK milliseconds] STREAMS key [key ...] id [id ...]`
pub fn xread(ctx: &mut Ctx<'_>, args: &[&[u8]], reply: &mut Reply) -> Outcome {
    let request = Request::parse(ctx, args, false)?;
    let mut found: SmallVec<[(&[u8], Stream, Span); 1]> = SmallVec::new();
    let mut resolved: SmallVec<[(usize, StreamId); 1]> = SmallVec::new();
    for (at, (key, id)) in request.keys.iter().zip(request.ids).enumerate() {
        if !ctx.holds(key) {
            continue;
        }
        let stream = ctx.read_as::<Stream>(key)?;
        let last = stream.map_or(StreamId::MIN, |stream| stream.last_id());
        let newest = stream.map_or(StreamId::MIN, |stream| stream.newest());
        let span = match *id {
            b"$" => {
                resolved.push((at, last));
                continue;
            }
            // The last entry alone, whatever the count.
            b"+" => {
                resolved.push((at, last));
                Span::since(newest, 1)
            }
            b">" => {
                return Err(CommandError::new(
                    "ERR The > ID can be specified only when calling XREADGROUP using the GROUP \
                     <group> <consumer> option.",
                ));
            }
            id => match id_arg(id)?.next() {
                Some(from) => Span::since(from, request.count),
                None => continue,
            },
        };
        if let Some(stream) = stream.filter(|s| !s.is_empty() && newest >= span.from) {
            found.push((*key, stream.clone(), span));
        }
    }
    if found.is_empty() {
        return request.nothing(ctx, args, &resolved, reply);
    }
    write_head(reply, found.len());
    for (key, stream, span) in &found {
        write_key(reply, key);
        span.show(stream, reply);
    }
    Ok(Effect::None)
}

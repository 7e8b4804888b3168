//! XPENDING.

use super::range::later;
use super::{arg, bulk_id, end_arg, no_group, start_arg};
use crate::command::ctx::{CommandError, Ctx, Outcome, int_arg};
use crate::keyspace::value::stream::Stream;
use crate::keyspace::value::stream::group::Group;
use crate::keyspace::value::stream::id::StreamId;
use crate::oplog::effect::Effect;
use crate::resp::reply::Reply;

/// Which pending entries are listed.
struct Query {
    min_idle_ms: i64,
    from: StreamId,
    to: StreamId,
    count: u64,
    consumer: Option<Vec<u8>>,
}

fn parse(args: &[&[u8]]) -> Result<Query, CommandError> {
    let rest = args.get(3..).unwrap_or_default();
    let (idle, rest) = match rest {
        [word, idle, rest @ ..] if word.eq_ignore_ascii_case(b"idle") => {
            let idle = int_arg(idle)?;
            if rest.len() < 3 {
                return Err(CommandError::SYNTAX);
            }
            (idle, rest)
        }
        _ => (0, rest),
    };
    let &[from, to, count, ref consumer @ ..] = rest else {
        return Err(CommandError::SYNTAX);
    };
    Ok(Query {
        min_idle_ms: idle,
        count: u64::try_from(int_arg(count)?).unwrap_or(0),
        from: start_arg(from)?,
        to: end_arg(to)?,
        consumer: consumer.first().map(|name| name.to_vec()),
    })
}

/// `XPENDING key group [[IDLE min-idle-time] start end count [consumer]]`
pub fn xpending(ctx: &mut Ctx<'_>, args: &[&[u8]], reply: &mut Reply) -> Outcome {
    let query = match args.len() {
        3 => None,
        6..=9 => Some(parse(args)?),
        _ => return Err(CommandError::SYNTAX),
    };
    let (key, name) = (arg(args, 1), arg(args, 2));
    let now_ms = ctx.now_ms();
    let stream = ctx.read_as::<Stream>(key)?;
    let Some((stream, group)) = stream.and_then(|s| s.group(name).map(|group| (s, group))) else {
        return Err(no_group(key, name, ""));
    };
    let Some(query) = query else {
        write_summary(group, reply);
        return Ok(Effect::None);
    };
    let most = usize::try_from(query.count).unwrap_or(usize::MAX);
    let elements = match query.min_idle_ms {
        0 => most.min(group.pending_len()),
        _ => group.pending_len(),
    };
    let name = name.to_vec();
    later(stream, elements, reply, move |stream, reply| {
        if let Some(group) = stream.group(&name) {
            query.write(group, now_ms, reply);
        }
    });
    Ok(Effect::None)
}

fn write_summary(group: &Group, reply: &mut Reply) {
    reply.array(4);
    reply.len_int(group.pending_len());
    let Some((first, last)) = group.pending_ends() else {
        reply.null();
        reply.null();
        return reply.null_array();
    };
    bulk_id(reply, first);
    bulk_id(reply, last);
    let slot = reply.defer_len();
    let mut written = 0;
    for consumer in group.consumers().filter(|c| c.pending_len() > 0) {
        reply.array(2);
        reply.bulk(consumer.name());
        reply.bulk_int(consumer.pending_len() as i64);
        written += 1;
    }
    reply.set_array_len(slot, written);
}

impl Query {
    fn write(&self, group: &Group, now_ms: i64, reply: &mut Reply) {
        let owner = match &self.consumer {
            None => None,
            Some(name) => match group.number(name).and_then(|number| group.consumer(number)) {
                Some(consumer) => Some(consumer),
                None => return reply.array(0),
            },
        };
        let slot = reply.defer_len();
        let written = match owner {
            Some(consumer) => {
                self.write_each(group, consumer.pending_from(self.from), now_ms, reply)
            }
            None => {
                let ids = group.pending_from(self.from).map(|(id, _)| id);
                self.write_each(group, ids, now_ms, reply)
            }
        };
        reply.set_array_len(slot, written);
    }
    fn write_each(
        &self,
        group: &Group,
        ids: impl Iterator<Item = StreamId>,
        now_ms: i64,
        reply: &mut Reply,
    ) -> usize {
        let mut written = 0;
        for id in ids.take_while(|id| *id <= self.to) {
            if written as u64 >= self.count {
                break;
            }
            let Some(pending) = group.pending(id) else {
                continue;
            };
            let idle_ms = now_ms.wrapping_sub(pending.time_ms);
            if self.min_idle_ms != 0 && idle_ms < self.min_idle_ms {
                continue;
            }
            reply.array(4);
            bulk_id(reply, id);
            reply.bulk(group.owner_name(pending.owner));
            reply.int(idle_ms.max(0));
            reply.int(pending.deliveries as i64);
            written += 1;
        }
        written
    }
}

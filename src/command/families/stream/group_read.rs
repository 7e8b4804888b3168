//! XREADGROUP: entries nobody of the group has read yet, or those pending for the consumer.

use smallvec::SmallVec;

use super::range::{Span, later, write_entry};
use super::read::{Request, write_head, write_key};
use super::{Repeat, bulk_id, edit_group, id_arg, meet, no_group, notify_consumer};
use crate::command::ctx::{CommandError, Ctx, Outcome};
use crate::keyspace::value::stream::Stream;
use crate::keyspace::value::stream::group::{Group, Pending};
use crate::keyspace::value::stream::id::StreamId;
use crate::keyspace::value::stream::log::Entries;
use crate::oplog::effect::Encoded;
use crate::resp::reply::Reply;

/// What is wanted of one stream.
#[derive(Clone, Copy)]
enum Wanted {
    /// `>`
    New,
    /// What is pending for the consumer after this id.
    After(StreamId),
}

fn meaningless(symbol: char) -> CommandError {
    CommandError::new(format!(
        "ERR The {symbol} ID is meaningless in the context of XREADGROUP: you want to read the \
         history of this consumer by specifying a proper ID, or use the > ID to get new \
         messages. The {symbol} ID would just return an empty result set."
    ))
}

/// What an id asks for. The greatest one is `>` in another form.
fn wanted(id: &[u8]) -> Result<Wanted, CommandError> {
    match id {
        b"$" => Err(meaningless('$')),
        b"+" => Err(meaningless('+')),
        b">" => Ok(Wanted::New),
        id => Ok(match id_arg(id)? {
            StreamId::MAX => Wanted::New,
            id => Wanted::After(id),
        }),
    }
}

/// What one stream came to.
enum Served {
    Nothing,
    New(Span),
    Pending(Vec<StreamId>),
}

/// `XREADGROUP GROUP group consumer [COUNT count] [BLOCK milliseconds] [NOACK] STREAMS key [key
/// ...] id [id ...]`
pub fn xreadgroup(ctx: &mut Ctx<'_>, args: &[&[u8]], reply: &mut Reply) -> Outcome {
    let request = Request::parse(ctx, args, true)?;
    let (group, consumer) = request.group.unwrap_or_default();
    let mut streams: SmallVec<[(&[u8], Wanted); 1]> = SmallVec::new();
    for (key, id) in request.keys.iter().zip(request.ids) {
        if !ctx.holds(key) {
            continue;
        }
        let stream = ctx.read_as::<Stream>(key)?;
        if stream.and_then(|stream| stream.group(group)).is_none() {
            return Err(no_group(key, group, " in XREADGROUP with GROUP option"));
        }
        streams.push((key, wanted(id)?));
    }
    let mut served: SmallVec<[(&[u8], Served); 1]> = SmallVec::new();
    let mut commands = Encoded::default();
    for &(key, wanted) in &streams {
        let mut repeat = Repeat::new(ctx, key, group);
        std::mem::swap(&mut repeat.commands, &mut commands);
        let now_ms = ctx.now_ms();
        let edited = edit_group(ctx, key, group, |group, entries| {
            let (number, made) = meet(group, consumer, now_ms);
            if made && request.noack {
                repeat.consumer(consumer);
            }
            let reader = Reader {
                number,
                now_ms,
                count: request.count,
                noack: request.noack,
            };
            let outcome = match wanted {
                Wanted::After(id) => reader.again(group, entries, id),
                Wanted::New => reader.deliver(group, entries, &mut repeat),
            };
            let changes = u64::from(made) + u64::from(matches!(outcome, Served::New(_)));
            ((outcome, made), changes)
        })?;
        std::mem::swap(&mut repeat.commands, &mut commands);
        let (outcome, made) = edited.unwrap_or((Served::Nothing, false));
        notify_consumer(ctx, key, made);
        if !matches!(outcome, Served::Nothing) {
            served.push((key, outcome));
        }
    }
    if served.is_empty() {
        request.nothing(ctx, args, &[], reply)?;
        return Ok(commands.into());
    }
    write_head(reply, served.len());
    for (key, outcome) in served {
        write_key(reply, key);
        let Some(stream) = ctx.lookup::<Stream>(key)? else {
            continue;
        };
        match outcome {
            Served::Nothing => {}
            Served::New(span) => span.show(stream, reply),
            Served::Pending(ids) => show_pending(stream, ids, reply),
        }
    }
    Ok(commands.into())
}

/// The consumer that reads.
struct Reader {
    number: u32,
    now_ms: i64,
    count: usize,
    noack: bool,
}

impl Reader {
    /// Entries at most.
    fn most(&self) -> usize {
        match self.count {
            0 => usize::MAX,
            count => count,
        }
    }

    /// What is pending for the consumer after an id; that counts as a delivery of what is there.
    fn again(&self, group: &mut Group, entries: &Entries, after: StreamId) -> Served {
        let consumer = group.consumer(self.number).zip(after.next());
        let ids = consumer.map(|(consumer, from)| {
            let ids = consumer.pending_from(from).take(self.most());
            ids.collect::<Vec<_>>()
        });
        let ids = ids.unwrap_or_default();
        for id in ids.iter().filter(|id| entries.get(**id).is_some()) {
            group.redeliver(*id, self.now_ms);
        }
        Served::Pending(ids)
    }

    /// Delivers what the group has not read. The span of it.
    fn deliver(&self, group: &mut Group, entries: &Entries, repeat: &mut Repeat<'_>) -> Served {
        let Some(from) = group.last_id.next() else {
            return Served::Nothing;
        };
        if entries.is_empty() || entries.newest() < from {
            return Served::Nothing;
        }
        for entry in entries.range(from, StreamId::MAX, false).take(self.most()) {
            group.entries_read = entries_read(group, entries, entry.id);
            group.last_id = entry.id;
            if self.noack {
                continue;
            }
            let pending = Pending {
                time_ms: self.now_ms,
                deliveries: 1,
                owner: self.number,
            };
            group.assign(entry.id, pending);
            repeat.claim(group, entry.id, pending);
        }
        if !self.noack
            && let Some(consumer) = group.consumer_mut(self.number)
        {
            consumer.active_ms = self.now_ms;
        }
        repeat.position(group);
        Served::New(Span {
            to: group.last_id,
            ..Span::since(from, 0)
        })
    }
}

/// How many entries the group has read once it has read this one.
fn entries_read(group: &Group, entries: &Entries, id: StreamId) -> Option<i64> {
    let (last, first) = (group.last_id, entries.first_id());
    let counts_on = last >= first && !entries.has_deleted_from(last);
    match group.entries_read {
        Some(n) if counts_on => Some(n.wrapping_add(1)),
        before if entries.added() == 0 => before,
        _ => entries.added_up_to(id),
    }
}

/// Writes entries that are pending. One that is no longer there has no fields.
fn show_pending(stream: &Stream, ids: Vec<StreamId>, reply: &mut Reply) {
    later(stream, ids.len(), reply, move |stream, reply| {
        reply.array(ids.len());
        for id in ids {
            match stream.get(id) {
                Some(entry) => write_entry(reply, entry),
                None => {
                    reply.array(2);
                    bulk_id(reply, id);
                    reply.null_array();
                }
            }
        }
    });
}

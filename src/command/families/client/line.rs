//! CLIENT LIST and CLIENT INFO: a line of `name=value` fields for each connection, in the order
//! of Redis 8.0.
//!
//! A connection shares its worker's reply buffer, so `rbp` and `obl` are 0; it owns what the socket
//! would not take (`oll`, `omem`) and the room of a long queue of that (`rbs`).

use std::fmt::Write;
use std::sync::atomic::Ordering::Relaxed;

use super::kind;
use crate::base::num;
use crate::client::{Client, ClientKind};
use crate::command::ctx::{CommandError, Ctx, Outcome};
use crate::command::engine::Engine;
use crate::command::session::Session;
use crate::oplog::effect::Effect;
use crate::resp::reply::Reply;

/// `CLIENT INFO`
pub fn info(ctx: &mut Ctx<'_>, args: &[&[u8]], reply: &mut Reply) -> Outcome {
    let mut text = Vec::new();
    write_line(&mut text, ctx, args, &ctx.session.client);
    reply.verbatim("txt", &text);
    Ok(Effect::None)
}

/// `CLIENT LIST [TYPE type | ID id [id ...]]`
pub fn list(ctx: &mut Ctx<'_>, args: &[&[u8]], reply: &mut Reply) -> Outcome {
    let clients = &ctx.engine.clients;
    let shown = match args.get(2..).unwrap_or_default() {
        [] => clients.all(),
        [option, word] if option.eq_ignore_ascii_case(b"type") => {
            let wanted = kind(word)?;
            let mut all = clients.all();
            all.retain(|c| c.kind() == wanted);
            all
        }
        [option, ids @ ..] if !ids.is_empty() && option.eq_ignore_ascii_case(b"id") => {
            let mut found = Vec::new();
            for id in ids {
                let id = num::parse_i64(id).ok_or(CommandError::new("ERR Invalid client ID"))?;
                found.extend(u64::try_from(id).ok().and_then(|id| clients.get(id)));
            }
            found
        }
        _ => return Err(CommandError::SYNTAX),
    };
    let mut text = Vec::with_capacity(shown.len().saturating_mul(300));
    for client in shown {
        write_line(&mut text, ctx, args, &client);
    }
    reply.verbatim("txt", &text);
    Ok(Effect::None)
}

/// Appends a connection's line. `args` is the command that is running, which the connection that
/// runs it shows as its last.
fn write_line(out: &mut Vec<u8>, ctx: &Ctx<'_>, args: &[&[u8]], client: &Client) {
    let engine = ctx.engine;
    let mine = client.id == ctx.session.client.id;
    let seconds_since = |ms: i64| (ctx.now_ms() - ms).max(0) / 1000;
    let idle = if mine {
        0
    } else {
        seconds_since(client.last_ms.load(Relaxed))
    };
    let mut text = format!(
        "id={} addr={} laddr={} fd={} name=",
        client.id, client.addr, client.laddr, client.fd
    );
    let names = client.names.lock().clone();
    out.extend_from_slice(text.as_bytes());
    out.extend_from_slice(&names.name);
    text.clear();
    let (channels, patterns) = (client.channels.load(Relaxed), client.patterns.load(Relaxed));
    let mut field = |name: &str, value: &dyn std::fmt::Display| {
        // Writing to a string does not fail.
        let _ = write!(text, " {name}={value}");
    };
    field("age", &seconds_since(client.created_ms));
    field("idle", &idle);
    field("flags", &flags(client, mine.then_some(&*ctx.session)));
    field("db", &client.db.load(Relaxed));
    field("sub", &channels.saturating_sub(patterns));
    field("psub", &patterns);
    field("ssub", &0);
    field("multi", &client.multi.load(Relaxed));
    field("watch", &client.watching.load(Relaxed));
    let memory = Memory::of(client, if mine { args } else { &[] });
    memory.fields(&mut field);
    let waiting = client.unsent_bytes.load(Relaxed) > 0;
    field("events", &if waiting { "rw" } else { "r" });
    let running = if mine { Some(args) } else { None };
    field("cmd", &last_command(engine, client, running));
    out.extend_from_slice(text.as_bytes());
    out.extend_from_slice(b" user=");
    out.extend_from_slice(&names.user);
    let resp = format!(" redir=-1 resp={} lib-name=", client.resp.load(Relaxed));
    out.extend_from_slice(resp.as_bytes());
    out.extend_from_slice(&names.lib_name);
    out.extend_from_slice(b" lib-ver=");
    out.extend_from_slice(&names.lib_ver);
    let end = format!(" io-thread={}\n", client.worker.load(Relaxed));
    out.extend_from_slice(end.as_bytes());
}

fn last_command<'e>(engine: &'e Engine, client: &Client, running: Option<&[&[u8]]>) -> &'e str {
    let command = match running {
        Some(args) => engine.table.lookup_original(args),
        None => u16::try_from(client.last_command.load(Relaxed))
            .ok()
            .and_then(|id| engine.table.by_id(id)),
    };
    command.map_or("NULL", |c| &c.spec.full_name)
}

/// The letters of `flags=`; `session` where it is the asking connection's own.
fn flags(client: &Client, session: Option<&Session>) -> String {
    let kind = client.kind();
    let letters = [
        ('S', kind == ClientKind::Replica),
        ('C', client.rdb_channel.load(Relaxed)),
        ('M', kind == ClientKind::Primary),
        ('P', kind == ClientKind::Pubsub),
        ('x', client.multi.load(Relaxed) >= 0),
        ('b', client.blocked.load(Relaxed)),
        ('d', client.watch_flag.load(Relaxed)),
        ('c', session.is_some_and(|s| s.closing)),
        ('A', client.is_killed()),
        ('U', client.unix_socket),
        ('e', client.no_evict.load(Relaxed)),
        ('T', client.no_touch.load(Relaxed)),
    ];
    let set = letters.into_iter().filter(|(_, on)| *on);
    let text: String = set.map(|(letter, _)| letter).collect();
    if text.is_empty() {
        "N".to_owned()
    } else {
        text
    }
}

/// What a connection costs, bytes.
struct Memory {
    query: u64,
    query_free: u64,
    arguments: u64,
    transaction: u64,
    unsent: u64,
    reply_room: u64,
    total: u64,
}

impl Memory {
    fn of(client: &Client, running: &[&[u8]]) -> Memory {
        Memory {
            query: client.query_buffer.load(Relaxed),
            query_free: client.query_buffer_free.load(Relaxed),
            arguments: running.iter().map(|a| a.len() as u64).sum::<u64>()
                + client.arguments.load(Relaxed),
            transaction: client.multi_bytes.load(Relaxed),
            unsent: client.unsent_bytes.load(Relaxed) + client.outbox.queued_bytes() as u64,
            reply_room: client.reply_room.load(Relaxed),
            total: client.memory_bytes() + running.iter().map(|a| a.len() as u64).sum::<u64>(),
        }
    }

    fn fields(&self, field: &mut dyn FnMut(&str, &dyn std::fmt::Display)) {
        field("qbuf", &self.query);
        field("qbuf-free", &self.query_free);
        field("argv-mem", &self.arguments);
        field("multi-mem", &self.transaction);
        field("rbs", &self.reply_room);
        field("rbp", &0);
        field("obl", &0);
        field("oll", &u64::from(self.unsent > 0));
        field("omem", &self.unsent);
        field("tot-mem", &self.total);
    }
}

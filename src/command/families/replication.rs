//! REPLICAOF, ROLE, WAIT, and what replicas say: REPLCONF, SYNC, PSYNC.

use crate::base::{args as words, num};
use crate::client::ClientKind;
use crate::keyspace::locks::ShardMask;
use crate::oplog::durable::Need;
use crate::oplog::effect::Effect;
use crate::resp::errors;
use crate::resp::reply::Reply;

use super::super::ctx::{CommandError, Ctx, Outcome};
use super::super::engine::Gate;
use super::super::host::{Replicating, Role, WaitRequest};
use super::super::session::Handover;
use super::{Family, Locks};

/// The family. WAIT is a unit of its own: it waits for what was written before it.
pub const HANDLERS: Family = &[
    ("replicaof", replicaof, Locks::Own),
    ("slaveof", replicaof, Locks::Own),
    ("role", role, Locks::Own),
    ("replconf", replconf, Locks::Nothing),
    ("sync", sync, Locks::Own),
    ("psync", psync, Locks::Own),
    ("wait", wait, Locks::Own),
    ("waitaof", waitaof, Locks::Own),
];

/// The longest address a replica may announce.
const MAX_ADDRESS: usize = 256;

fn replication<'c>(ctx: &Ctx<'c>) -> Result<&'c dyn Replicating, CommandError> {
    let none = || CommandError::new("ERR this server does not replicate");
    ctx.engine.host.replication().ok_or_else(none)
}

/// `REPLICAOF host port`, `REPLICAOF NO ONE`
fn replicaof(ctx: &mut Ctx<'_>, args: &[&[u8]], reply: &mut Reply) -> Outcome {
    let [_, host, port] = args else {
        return Err(CommandError::SYNTAX);
    };
    // A primary's stream is applied by the very link that this would end.
    if !ctx.is_client() {
        return Err(CommandError::new(
            "ERR REPLICAOF is taken from clients alone",
        ));
    }
    let replication = replication(ctx)?;
    let locked = ctx.unit.mask() == ShardMask::ALL;
    let client = &ctx.session.client;
    if host.eq_ignore_ascii_case(b"no") && port.eq_ignore_ascii_case(b"one") {
        if replication.promote(locked) {
            tracing::info!(
                "MASTER MODE enabled (user request from 'id={} addr={}')",
                client.id,
                client.addr
            );
            ctx.unit.options.log = ctx.engine.log.is_active();
        }
        reply.ok();
        return Ok(Effect::None);
    }
    if client.kind() == ClientKind::Replica {
        return Err(CommandError::new(
            "ERR Command is not valid when client is a replica.",
        ));
    }
    let port = num::parse_i64(port).and_then(|p| u16::try_from(p).ok());
    let port = port.ok_or_else(|| CommandError::new("ERR Invalid master port"))?;
    let host = String::from_utf8_lossy(host);
    if replication.replicaof(&host, port, locked) {
        tracing::info!(
            "REPLICAOF {host}:{port} enabled (user request from 'id={} addr={}')",
            client.id,
            client.addr
        );
        reply.ok();
    } else {
        reply.simple("OK Already connected to specified master");
    }
    Ok(Effect::None)
}

/// `ROLE`
fn role(ctx: &mut Ctx<'_>, _: &[&[u8]], reply: &mut Reply) -> Outcome {
    match replication(ctx)?.role() {
        Role::Primary(offset, replicas) => {
            reply.array(3);
            reply.bulk(b"master");
            reply.int(i64::try_from(offset).unwrap_or(i64::MAX));
            reply.array(replicas.len());
            for (ip, port, offset) in replicas {
                reply.array(3);
                reply.bulk(ip.as_bytes());
                reply.bulk_int(i64::from(port));
                reply.bulk_int(i64::try_from(offset).unwrap_or(i64::MAX));
            }
        }
        Role::Replica(host, port, state, offset) => {
            reply.array(5);
            reply.bulk(b"slave");
            reply.bulk(host.as_bytes());
            reply.int(i64::from(port));
            reply.bulk(state.as_bytes());
            reply.int(offset);
        }
    }
    Ok(Effect::None)
}

/// `REPLCONF option value [option value ...]`
fn replconf(ctx: &mut Ctx<'_>, args: &[&[u8]], reply: &mut Reply) -> Outcome {
    if args.len().is_multiple_of(2) {
        return Err(CommandError::SYNTAX);
    }
    for pair in args.get(1..).unwrap_or_default().chunks(2) {
        let [option, value] = pair else {
            return Err(CommandError::SYNTAX);
        };
        let facts = &mut ctx.session.replica;
        match option.to_ascii_lowercase().as_slice() {
            b"listening-port" => {
                let port = num::parse_i64(value).ok_or(CommandError::NOT_INTEGER)?;
                facts.listening_port = u16::try_from(port).unwrap_or(0);
            }
            b"ip-address" if value.len() < MAX_ADDRESS => {
                facts.ip_address = Some(String::from_utf8_lossy(value).into_owned());
            }
            b"ip-address" => {
                return Err(CommandError::new(format!(
                    "ERR REPLCONF ip-address provided by replica instance is too long: {} bytes",
                    value.len()
                )));
            }
            b"capa" => {
                facts.capa_eof |= value.eq_ignore_ascii_case(b"eof");
                facts.capa_psync2 |= value.eq_ignore_ascii_case(b"psync2");
                facts.capa_rdb_channel |= value.eq_ignore_ascii_case(b"rdb-channel-repl");
            }
            // From a client that is no replica, or to a server that is none: no reply, as ever.
            b"ack" | b"getack" => return Ok(Effect::None),
            b"rdb-only" => facts.rdb_only = flag(value)?,
            b"rdb-channel" => facts.rdb_channel = flag(value)?,
            b"main-ch-client-id" => {
                let id = num::parse_u64(value).ok_or(CommandError::NOT_INTEGER)?;
                facts.main_client = Some(id);
                if !replication(ctx)?.awaits_side(id) {
                    return Err(CommandError::new(format!(
                        "ERR Unrecognized RDB client id: {id}"
                    )));
                }
            }
            b"version" => facts.version = Some(String::from_utf8_lossy(value).into_owned()),
            b"rdb-filter-only" => {
                let filters = words::split_args(value)
                    .ok_or_else(|| CommandError::new("ERR Missing rdb-filter-only values"))?;
                (facts.filter_data, facts.filter_functions) = (true, true);
                for filter in filters {
                    if !filter.eq_ignore_ascii_case(b"functions") {
                        return Err(CommandError::new(format!(
                            "ERR Unsupported rdb-filter-only option: {}",
                            String::from_utf8_lossy(&filter)
                        )));
                    }
                    facts.filter_functions = false;
                }
            }
            _ => {
                return Err(CommandError::new(format!(
                    "ERR Unrecognized REPLCONF option: {}",
                    String::from_utf8_lossy(option)
                )));
            }
        }
    }
    reply.ok();
    Ok(Effect::None)
}

fn flag(value: &[u8]) -> Result<bool, CommandError> {
    match num::parse_i64(value) {
        None => Err(CommandError::NOT_INTEGER),
        Some(0) => Ok(false),
        Some(1) => Ok(true),
        Some(_) => Err(CommandError::new(
            "ERR value is out of range, value must between 0 and 1",
        )),
    }
}

/// `SYNC`
fn sync(ctx: &mut Ctx<'_>, _: &[&[u8]], _: &mut Reply) -> Outcome {
    hand_over(ctx, Handover::Sync)
}

/// `PSYNC replid offset`
fn psync(ctx: &mut Ctx<'_>, args: &[&[u8]], _: &mut Reply) -> Outcome {
    let [_, replid, offset, ..] = args else {
        return Err(CommandError::SYNTAX);
    };
    let Some(offset) = num::parse_i64(offset) else {
        tracing::warn!(
            "Replica {} asks for synchronization but with a wrong offset",
            ctx.session.client.addr
        );
        return Err(CommandError::NOT_INTEGER);
    };
    let replid = replid.to_vec();
    hand_over(ctx, Handover::Psync { replid, offset })
}

fn hand_over(ctx: &mut Ctx<'_>, handover: Handover) -> Outcome {
    replication(ctx)?.may_sync(&ctx.session.replica)?;
    ctx.session.handover = Some(handover);
    Ok(Effect::None)
}

/// `WAIT numreplicas timeout`
fn wait(ctx: &mut Ctx<'_>, args: &[&[u8]], reply: &mut Reply) -> Outcome {
    let [_, replicas, timeout] = args else {
        return Err(CommandError::SYNTAX);
    };
    if ctx.engine.gates.is(Gate::REPLICA) {
        return Err(CommandError::new(
            "ERR WAIT cannot be used with replica instances. Please also note that since Redis \
             4.0 if a replica is configured to be writable (which is not the default) writes to \
             replicas are just local and are not propagated.",
        ));
    }
    let replicas = num::parse_i64(replicas).ok_or(CommandError::NOT_INTEGER)?;
    let request = WaitRequest {
        client: ctx.session.client.id,
        offset: written(ctx),
        replicas: usize::try_from(replicas).unwrap_or(0),
        local: None,
        timeout_ms: timeout_ms(ctx.now_ms(), timeout)?,
    };
    wait_for(ctx, request, reply)
}

/// `WAITAOF numlocal numreplicas timeout`
fn waitaof(ctx: &mut Ctx<'_>, args: &[&[u8]], reply: &mut Reply) -> Outcome {
    let [_, local, replicas, timeout] = args else {
        return Err(CommandError::SYNTAX);
    };
    let local = flag(local)?;
    let replicas = num::parse_i64(replicas).ok_or(CommandError::NOT_INTEGER)?;
    let replicas = usize::try_from(replicas)
        .map_err(|_| CommandError::new("ERR value is out of range, must be positive"))?;
    let timeout_ms = timeout_ms(ctx.now_ms(), timeout)?;
    if ctx.engine.gates.is(Gate::REPLICA) {
        return Err(CommandError::new(
            "ERR WAITAOF cannot be used with replica instances. Please also note that writes to \
             replicas are just local and are not propagated.",
        ));
    }
    if local && ctx.engine.log.durability().need() == Need::Nothing {
        return Err(CommandError::new(errors::WAITAOF_WITHOUT_AOF));
    }
    let request = WaitRequest {
        client: ctx.session.client.id,
        offset: written(ctx),
        replicas,
        local: Some(local),
        timeout_ms,
    };
    wait_for(ctx, request, reply)
}

/// How far the stream was when the client last wrote. It may have become another stream since, that
/// of a primary, which is not as long.
fn written(ctx: &Ctx<'_>) -> u64 {
    ctx.session.last_write.min(ctx.engine.log.end_offset())
}

fn wait_for(ctx: &mut Ctx<'_>, request: WaitRequest, reply: &mut Reply) -> Outcome {
    let replication = replication(ctx)?;
    let (local, replicas) = replication.acknowledged(&request);
    let fulfilled = replicas >= request.replicas && (local || request.local != Some(true));
    if fulfilled || ctx.nested {
        if request.local.is_some() {
            reply.array(2);
            reply.int(i64::from(local));
        }
        reply.len_int(replicas);
    } else {
        ctx.suspended = Some(replication.wait(request));
    }
    Ok(Effect::None)
}

fn timeout_ms(now_ms: i64, text: &[u8]) -> Result<u64, CommandError> {
    let ms = num::parse_i64(text)
        .ok_or_else(|| CommandError::new("ERR timeout is not an integer or out of range"))?;
    let timeout_ms = u64::try_from(ms).map_err(|_| CommandError::new("ERR timeout is negative"))?;
    // The instant at which it ends must be one that can be told.
    if ms > i64::MAX - now_ms {
        return Err(CommandError::new("ERR timeout is out of range"));
    }
    Ok(timeout_ms)
}

//! DEBUG, as far as tests of a server need it. Its sub-commands are no interface for programs.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::base::num;
use crate::keyspace::eviction;
use crate::keyspace::locks::ShardMask;
use crate::keyspace::unit::{Expiry, ExpiryMode};
use crate::keyspace::value::ValueRef;
use crate::oplog::effect::{Effect, Encoded};
use crate::resp::reply::Reply;

use super::super::ctx::{CommandError, Ctx, Later, Outcome};
use super::super::digest::{DatasetDigest, Digest};
use super::super::host::{Persistence, ReloadRequest};
use super::{Family, Locks};

/// The family.
pub const HANDLERS: Family = &[("debug", debug, Locks::Own)];

/// `DEBUG QUICKLIST-PACKED-THRESHOLD size`
fn packed_threshold(size: &[u8], reply: &mut Reply) -> Outcome {
    let bytes = num::parse_memory(size).and_then(|n| usize::try_from(n).ok());
    match bytes.filter(|n| *n <= PACKED_THRESHOLD_MAX) {
        Some(bytes) => {
            crate::keyspace::value::list::set_packed_threshold(bytes);
            reply.ok();
            Ok(Effect::None)
        }
        None => Err(CommandError::new(
            "ERR argument must be a memory value bigger than 1 and smaller than 4gb",
        )),
    }
}

/// The largest threshold that Redis takes.
const PACKED_THRESHOLD_MAX: usize = (1 << 32) - (1 << 20);

const HELP: &[&str] = &[
    "ABORT-BACKGROUND",
    "    Make the running BGSAVE, AOF rewrite or full sync fail, as if it could not write.",
    "AOF-FLUSH-SLEEP <microseconds>",
    "    Wait so long before each write to the append-only file. 0 ends it.",
    "CHANGE-REPL-ID",
    "    Take a new replication id, with which no replica can continue.",
    "CONFIG-REWRITE-FORCE-ALL",
    "    As CONFIG REWRITE, with a line for every directive.",
    "DIGEST",
    "    Output a hex signature representing the current DB content.",
    "DIGEST-VALUE <key> [<key> ...]",
    "    Output a hex signature of the values of all the specified keys.",
    "ERROR <string>",
    "    Return a Redis protocol error with <string> as message.",
    "LISTPACK <key>",
    "    Write the size of a listpack encoded value to the server log.",
    "LOADAOF",
    "    Reload the append-only file.",
    "LOG <message>",
    "    Write <message> to the server log.",
    "OBJECT <key>",
    "    Show low level info about `key` and associated value.",
    "PAUSE-CRON <0|1>",
    "    1: do nothing without being asked; 0: go on.",
    "POPULATE <count> [<prefix>] [<size>]",
    "    Create <count> string keys named key:<num>, or <prefix>:<num>.",
    "PROTOCOL <type>",
    "    Reply with a test value of the specified type.",
    "QUICKLIST-PACKED-THRESHOLD <size>",
    "    Give list elements of so many bytes a node of their own; 0: as configured.",
    "RELOAD [option ...]",
    "    Save the RDB on disk and reload it back to memory: MERGE, NOFLUSH, NOSAVE.",
    "REPLICATE <word> [<word> ...]",
    "    Put a command into the stream without running it.",
    "REPL-PAUSE <clear|before-rdb-channel|on-streaming-repl-buf>",
    "    Stop the process when a full sync of this replica comes to that place.",
    "REPLYBUFFER RESIZING <0|1>",
    "    0: connections keep the room that long queues of replies took; 1: they give it back.",
    "SET-ACTIVE-EXPIRE <0|1>",
    "    Setting it to 0 disables expiring keys in background.",
    "SET-SKIP-CHECKSUM-VALIDATION <0|1>",
    "    Setting it to 1 makes RESTORE take payloads whose checksum is wrong.",
    "SLEEP <seconds>",
    "    Stop the server for <seconds>. Decimals allowed.",
    "STRINGMATCH-LEN <length> <pattern>",
    "    Match <pattern> against <length> letters A.",
];

fn wrong(args: &[&[u8]]) -> CommandError {
    let name = String::from_utf8_lossy(args.get(1).copied().unwrap_or_default()).into_owned();
    CommandError::new(format!(
        "ERR unknown subcommand or wrong number of arguments for '{name}'. Try DEBUG HELP."
    ))
}

/// `DEBUG REPL-PAUSE place`
fn repl_pause(ctx: &mut Ctx<'_>, args: &[&[u8]], place: &[u8], reply: &mut Reply) -> Outcome {
    let replication = ctx.engine.host.replication();
    if !replication.is_some_and(|r| r.pause_at(place)) {
        return Err(wrong(args));
    }
    reply.ok();
    Ok(Effect::None)
}

/// `DEBUG subcommand [argument ...]`
fn debug(ctx: &mut Ctx<'_>, args: &[&[u8]], reply: &mut Reply) -> Outcome {
    let name = args
        .get(1)
        .copied()
        .unwrap_or_default()
        .to_ascii_lowercase();
    let rest = args.get(2..).unwrap_or_default();
    match (name.as_slice(), rest) {
        (b"help", []) => super::help(args, HELP, reply),
        (b"sleep", [seconds]) => return sleep(ctx, seconds, reply),
        (b"set-active-expire", [on]) => {
            ctx.engine
                .active_expire
                .store(on != b"0", Ordering::Relaxed);
            reply.ok();
        }
        (b"digest", []) => return digest(ctx, reply),
        (b"digest-value", keys) => digest_values(ctx, keys, reply),
        (b"object", [key]) => return object(ctx, key, reply),
        (b"listpack", [key]) => return listpack(ctx, key, reply),
        (b"reload", options) => return reload(ctx, options),
        (b"loadaof", []) => {
            ctx.suspended = Some(persistence(ctx)?.debug_loadaof());
        }
        (b"abort-background", []) => {
            if !persistence(ctx)?.debug_abort_background() {
                return Err(CommandError::new("ERR No background job is running"));
            }
            reply.ok();
        }
        (b"set-skip-checksum-validation", [on]) => {
            persistence(ctx)?.debug_skip_checksum(on != b"0");
            reply.ok();
        }
        (b"aof-flush-sleep", [us]) => {
            let us = num::parse_u64(us).ok_or(CommandError::NOT_INTEGER)?;
            persistence(ctx)?.debug_aof_flush_sleep(us);
            reply.ok();
        }
        (b"populate", [_, ..]) if rest.len() <= 3 => return populate(ctx, rest, reply),
        (b"log", [message]) => {
            tracing::warn!("DEBUG LOG: {}", String::from_utf8_lossy(message));
            reply.ok();
        }
        (b"error", [text]) => reply.error(text),
        (b"change-repl-id", []) => {
            if let Some(replication) = ctx.engine.host.replication() {
                replication.change_id();
            }
            reply.ok();
        }
        (b"repl-pause", [place]) => return repl_pause(ctx, args, place, reply),
        (b"replicate", [_, ..]) => {
            reply.ok();
            return Ok(Effect::from(Encoded::one(rest)));
        }
        (b"protocol", [kind]) => return protocol(ctx, kind, reply),
        (b"pause-cron", [on]) => {
            ctx.engine.cron_paused.store(on != b"0", Ordering::Relaxed);
            reply.ok();
        }
        (b"config-rewrite-force-all", []) => {
            let rewritten = ctx.engine.config.rewrite(true);
            rewritten.map_err(|e| CommandError::new(e.to_string()))?;
            reply.ok();
        }
        (b"replybuffer", [what, on]) if what.eq_ignore_ascii_case(b"resizing") => {
            let keep = &ctx.engine.clients.keep_reply_room;
            keep.store(*on == b"0", Ordering::Relaxed);
            reply.ok();
        }
        (b"quicklist-packed-threshold", [size]) => return packed_threshold(size, reply),
        (b"stringmatch-len", [length, pattern]) => {
            return match_len(args, (length, pattern), reply);
        }
        _ => return Err(wrong(args)),
    }
    Ok(Effect::None)
}

/// `DEBUG SLEEP seconds`: blocks every thread that serves anybody, which is the point of it. Who
/// called it goes on when what others sent meanwhile has been handled.
fn sleep(ctx: &mut Ctx<'_>, seconds: &[u8], reply: &mut Reply) -> Outcome {
    let seconds = num::parse_f64(seconds).ok_or(CommandError::NOT_FLOAT)?;
    if seconds.is_finite() && seconds > 0.0 {
        let pause = Duration::from_secs_f64(seconds.min(3600.0));
        let threads = ctx.engine.host.aside();
        let others = threads.map(|t| t.stop_all_until(Instant::now() + pause));
        std::thread::sleep(pause);
        // A transaction holds every shard: nobody could handle anything before it ends.
        if let Some(others) = others.filter(|_| !ctx.nested) {
            ctx.suspended = Some(Box::pin(async move {
                others.await;
                let ok: Later = Box::new(|_, reply| reply.ok());
                ok
            }));
            return Ok(Effect::None);
        }
    }
    reply.ok();
    Ok(Effect::None)
}

/// Locks the shards of these keys, unless an outer unit has locked all.
fn lock_keys(ctx: &mut Ctx<'_>, keys: &[&[u8]]) {
    if ctx.nested {
        return;
    }
    let mut mask = ShardMask::NONE;
    for key in keys {
        mask.add_hash(crate::keyspace::hash::of(key));
    }
    ctx.unit.relock(mask);
}

/// Adds all keys to a digest. Every shard is locked.
fn add_all(ctx: &mut Ctx<'_>, all: &mut DatasetDigest) {
    for db in 0..ctx.engine.keyspace.databases() {
        ctx.unit.scan(db, 0, usize::MAX, |e| {
            all.add(db, e.key(), e.value(), e.expire_ms().is_some());
        });
    }
}

/// `DEBUG DIGEST`
fn digest(ctx: &mut Ctx<'_>, reply: &mut Reply) -> Outcome {
    let mut all = DatasetDigest::default();
    if ctx.nested {
        add_all(ctx, &mut all);
        reply.simple(&all.finish().hex());
        return Ok(Effect::None);
    }
    let Ok((mut snapshot, ())) = ctx.engine.keyspace.snapshot(|| ()) else {
        // Somebody else's snapshot is going on, which may take long.
        ctx.relock(ShardMask::ALL);
        add_all(ctx, &mut all);
        reply.simple(&all.finish().hex());
        return Ok(Effect::None);
    };
    let mut out = Vec::new();
    while snapshot.next(&mut out) {
        for c in out.drain(..) {
            all.add(c.db, c.key(), c.value(), c.expire_ms().is_some());
        }
    }
    reply.simple(&all.finish().hex());
    Ok(Effect::None)
}

/// `DEBUG DIGEST-VALUE key [key ...]`
fn digest_values(ctx: &mut Ctx<'_>, keys: &[&[u8]], reply: &mut Reply) {
    lock_keys(ctx, keys);
    reply.array(keys.len());
    for key in keys {
        let mut digest = Digest::default();
        if let Some(e) = ctx.peek(key) {
            digest.add_value(e.value(), e.expire_ms().is_some());
        }
        reply.simple(&digest.hex());
    }
}

/// `DEBUG OBJECT key`. A key that is due and still there, as on a replica, is shown too.
fn object(ctx: &mut Ctx<'_>, key: &[u8], reply: &mut Reply) -> Outcome {
    lock_keys(ctx, &[key]);
    let usual = std::mem::replace(&mut ctx.unit.options.expiry, ExpiryMode::Ignore);
    let outcome = describe(ctx, key, reply);
    ctx.unit.options.expiry = usual;
    outcome
}

fn describe(ctx: &mut Ctx<'_>, key: &[u8], reply: &mut Reply) -> Outcome {
    let now_s = crate::base::clock::lru_seconds_at(ctx.now_ms());
    let host = &ctx.engine.host;
    let db = ctx.session.db;
    let entry = ctx.unit.peek(db, key).ok_or(CommandError::NO_SUCH_KEY)?;
    let idle = eviction::idle_s(now_s, entry.access());
    let nodes = match entry.value() {
        ValueRef::List(list) if list.encoding() == "quicklist" => {
            let (nodes, _, size) = list.compression();
            let average = list.len() as f64 / nodes.max(1) as f64;
            let encoding = &ctx.settings.encoding;
            format!(
                " ql_nodes:{nodes} ql_avg_node:{average:.2} ql_listpack_max:{} ql_compressed:{} \
                 ql_uncompressed_size:{size}",
                encoding.list_max_listpack_size,
                u32::from(encoding.list_compress_depth > 0),
            )
        }
        _ => String::new(),
    };
    let length = host.serialized_len(entry.value());
    reply.simple(&format!(
        "Value at:{:p} refcount:1 encoding:{} serializedlength:{length} lru:{} \
         lru_seconds_idle:{idle}{nodes}",
        entry.key().as_ptr(),
        entry.value().encoding(),
        entry.access(),
    ));
    Ok(Effect::None)
}

/// `DEBUG LISTPACK key`: tells in the log what a small collection takes.
fn listpack(ctx: &mut Ctx<'_>, key: &[u8], reply: &mut Reply) -> Outcome {
    lock_keys(ctx, &[key]);
    let entry = ctx.peek(key).ok_or(CommandError::NO_SUCH_KEY)?;
    let value = entry.value();
    if !value.encoding().starts_with("listpack") {
        return Err(CommandError::new("ERR Not a listpack encoded object."));
    }
    tracing::info!(
        "{}: {} in {} bytes",
        crate::base::args::quote(key),
        value.encoding(),
        value.size_bytes()
    );
    reply.simple("Listpack structure printed on stdout");
    Ok(Effect::None)
}

/// `DEBUG RELOAD [NOSAVE] [NOFLUSH] [MERGE]`
fn reload(ctx: &mut Ctx<'_>, options: &[&[u8]]) -> Outcome {
    let mut request = ReloadRequest {
        save: true,
        flush: true,
        merge: false,
    };
    for option in options {
        match option.to_ascii_lowercase().as_slice() {
            b"nosave" => request.save = false,
            b"noflush" => request.flush = false,
            b"merge" => request.merge = true,
            _ => {
                return Err(CommandError::new(
                    "ERR DEBUG RELOAD only supports the MERGE, NOFLUSH and NOSAVE options.",
                ));
            }
        }
    }
    ctx.suspended = Some(persistence(ctx)?.debug_reload(request));
    Ok(Effect::None)
}

/// Who saves and loads, for a command that waits for it.
fn persistence<'c>(ctx: &Ctx<'c>) -> Result<&'c dyn Persistence, CommandError> {
    if ctx.nested {
        return Err(CommandError::new(
            "ERR this DEBUG command can't run inside a transaction",
        ));
    }
    let none = || CommandError::new("ERR this server keeps no files");
    ctx.engine.host.persistence().ok_or_else(none)
}

/// `DEBUG POPULATE count [prefix] [size]`
fn populate(ctx: &mut Ctx<'_>, args: &[&[u8]], reply: &mut Reply) -> Outcome {
    let positive = CommandError::new("ERR value is out of range, must be positive");
    let number = |at: usize| -> Result<Option<usize>, CommandError> {
        let Some(text) = args.get(at) else {
            return Ok(None);
        };
        let n = num::parse_i64(text).ok_or(CommandError::NOT_INTEGER)?;
        usize::try_from(n).map(Some).map_err(|_| positive.clone())
    };
    let count = number(0)?.unwrap_or(0);
    let size = number(2)?.unwrap_or(0);
    let prefix = args.get(1).copied().unwrap_or(b"key");
    let db = ctx.db();
    let mut effects = crate::oplog::effect::UnitEffects::new();
    for n in 0..count {
        let key = [prefix, b":", n.to_string().as_bytes()].concat();
        let mut value = format!("value:{n}").into_bytes();
        if size > 0 {
            value.resize(size, 0);
        }
        let set = |unit: &mut crate::keyspace::unit::Unit<'_>| {
            if !unit.exists(db, &key) {
                unit.set_bytes(db, &key, &value, Expiry::Clear);
            }
        };
        if ctx.nested {
            set(&mut ctx.unit);
        } else {
            let mut mask = ShardMask::NONE;
            mask.add_hash(crate::keyspace::hash::of(&key));
            ctx.engine.in_unit(mask, &mut effects, set);
        }
    }
    reply.ok();
    Ok(Effect::None)
}

/// What Redis shows as a double.
#[expect(
    clippy::approx_constant,
    reason = "it is this number that clients' tests expect"
)]
const PROTOCOL_DOUBLE: f64 = 3.141;

/// `DEBUG PROTOCOL type`: one value of each type of RESP3.
fn protocol(_: &mut Ctx<'_>, kind: &[u8], reply: &mut Reply) -> Outcome {
    match kind.to_ascii_lowercase().as_slice() {
        b"string" => reply.bulk(b"Hello World"),
        b"integer" => reply.int(12345),
        b"double" => reply.double(PROTOCOL_DOUBLE),
        b"null" => reply.null(),
        b"array" => {
            reply.array(3);
            (0..3).for_each(|n| reply.int(n));
        }
        b"set" => {
            reply.set(3);
            (0..3).for_each(|n| reply.int(n));
        }
        b"map" => {
            reply.map(3);
            for n in 0..3 {
                reply.int(n);
                reply.bool(n == 1);
            }
        }
        b"attrib" => {
            if reply.is_resp3() {
                reply.attribute(1);
                reply.bulk(b"key-popularity");
                reply.array(2);
                reply.bulk(b"key:123");
                reply.int(90);
            }
            reply.bulk(b"Some real reply following the attribute");
        }
        b"push" => {
            if !reply.is_resp3() {
                return Err(CommandError::new(
                    "ERR RESP2 is not supported by this command",
                ));
            }
            reply.push(2);
            reply.bulk(b"server-cpu-usage");
            reply.int(42);
        }
        b"verbatim" => reply.verbatim("txt", b"This is a verbatim\nstring"),
        b"true" => reply.bool(true),
        b"false" => reply.bool(false),
        b"bignum" => reply.big_number(b"1234567999999999999999999999999999999"),
        _ => {
            return Err(CommandError::new(
                "ERR Wrong protocol type name. Please use one of the following: \
                 string|integer|double|null|array|set|map|attrib|push|verbatim|true|false",
            ));
        }
    }
    Ok(Effect::None)
}

/// `DEBUG STRINGMATCH-LEN length pattern`: matches against that many letters `A`.
fn match_len(args: &[&[u8]], (length, pattern): (&[u8], &[u8]), reply: &mut Reply) -> Outcome {
    let length = num::parse_u64(length)
        .ok_or_else(|| wrong(args))?
        .min(1 << 20);
    let text = vec![b'A'; usize::try_from(length).unwrap_or(0)];
    reply.int(i64::from(crate::base::glob::matches(pattern, &text, false)));
    Ok(Effect::None)
}

#[cfg(test)]
mod tests {
    use crate::command::testing::TestServer;

    #[test]
    fn a_pattern_is_matched_against_letters_if_their_number_is_one() {
        let mut t = TestServer::with(&["--enable-debug-command", "yes"]);
        let wrong = "-ERR unknown subcommand or wrong number of arguments for 'stringmatch-len'. \
                     Try DEBUG HELP.";
        t.expect(&[
            ("DEBUG stringmatch-len 3 A?A", ":1"),
            ("DEBUG stringmatch-len 3 A", ":0"),
            ("DEBUG stringmatch-len a b", wrong),
            ("DEBUG stringmatch-len 3", wrong),
        ]);
    }
}

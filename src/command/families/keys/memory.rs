//! MEMORY: what a key costs, and what the process does with its memory.
//!
//! STATS names the parts that Redis names, in its order; those that do not exist here are 0. What
//! an expiry costs is part of its key's entry, so tables of expiries have no overhead.

use crate::client::ClientKind;
use crate::command::ctx::{CommandError, Ctx, Outcome, int_arg};
use crate::command::host::MemoryReport;
use crate::keyspace::locks::{SHARDS, ShardMask};
use crate::keyspace::shard::Shard;
use crate::keyspace::value::ValueRef;
use crate::oplog::effect::Effect;
use crate::resp::reply::{LenSlot, Reply};

/// Bytes of the table's slot for one key: a pointer, and its share of the slots left free.
const SLOT_BYTES: usize = 9;

/// `MEMORY USAGE key [SAMPLES count]`
///
/// Every collection knows its size, so nothing is estimated from samples: the count is checked,
/// and any count gives the exact answer.
pub fn usage(ctx: &mut Ctx<'_>, args: &[&[u8]], reply: &mut Reply) -> Outcome {
    let &[_, _, key, ref options @ ..] = args else {
        return Err(CommandError::SYNTAX);
    };
    let mut rest = options.iter();
    while let Some(option) = rest.next() {
        let samples = match rest.next() {
            Some(count) if option.eq_ignore_ascii_case(b"SAMPLES") => int_arg(count)?,
            _ => return Err(CommandError::SYNTAX),
        };
        if samples < 0 {
            return Err(CommandError::SYNTAX);
        }
    }
    let Some(entry) = ctx.peek(key) else {
        reply.null();
        return Ok(Effect::None);
    };
    let own_bytes = SLOT_BYTES + entry.size_bytes();
    match entry.value() {
        string @ ValueRef::Str(_) => reply.len_int(own_bytes + string.size_bytes()),
        collection => {
            let handle = collection.to_value();
            let elements = handle.as_ref().elements();
            let write = move |reply: &mut Reply| {
                reply.len_int(own_bytes + handle.as_ref().size_bytes());
            };
            reply.deferred_of(elements, Box::new(write));
        }
    }
    Ok(Effect::None)
}

/// A database's share of the memory.
#[derive(Clone, Copy, Default)]
struct DbShare {
    keys: usize,
    table_bytes: usize,
}

/// What the databases' tables take, shard by shard: not of one instant, and nobody waits.
fn shares(ctx: &mut Ctx<'_>) -> Vec<DbShare> {
    let keyspace = &ctx.engine.keyspace;
    let mut shares = vec![DbShare::default(); keyspace.databases()];
    let mut add = |shard: &Shard| {
        for (db, share) in shares.iter_mut().enumerate() {
            if let Some(db) = shard.db(db) {
                share.keys += db.table.len();
                share.table_bytes += db.table.overhead_bytes();
            }
        }
    };
    for index in 0..SHARDS {
        if ctx.unit.mask().is_empty() {
            if let Some(shard) = keyspace.lock(ShardMask::only(index)).shard(index) {
                add(shard);
            }
        } else if let Some(shard) = ctx.unit.shard(index) {
            add(shard);
        }
    }
    shares
}

fn report(ctx: &Ctx<'_>) -> MemoryReport {
    let memory = ctx.engine.host.memory();
    memory.map(|memory| memory.report()).unwrap_or_default()
}

/// Bytes of the buffers of ordinary clients, and of replicas.
fn client_buffers(ctx: &Ctx<'_>) -> (u64, u64) {
    use std::sync::atomic::Ordering::Relaxed;
    let (mut normal, mut replicas) = (0, 0);
    for client in ctx.engine.clients.all() {
        let bytes = client.unsent_bytes.load(Relaxed)
            + client.query_buffer.load(Relaxed)
            + client.query_buffer_free.load(Relaxed);
        if client.kind() == ClientKind::Replica {
            replicas += bytes;
        } else {
            normal += bytes;
        }
    }
    (normal, replicas)
}

fn ratio(part: u64, of: u64) -> f64 {
    if of == 0 {
        0.0
    } else {
        part as f64 / of as f64
    }
}

/// `MEMORY STATS`
pub fn stats(ctx: &mut Ctx<'_>, _: &[&[u8]], reply: &mut Reply) -> Outcome {
    let r = report(ctx);
    let shares = shares(ctx);
    let (normal, replicas) = client_buffers(ctx);
    let keys: u64 = shares.iter().map(|s| s.keys as u64).sum();
    let tables: u64 = shares.iter().map(|s| s.table_bytes as u64).sum();
    let overhead = r.startup + r.log + normal + replicas + tables;
    let data = r.allocated.saturating_sub(overhead);
    let loaded = r.allocated.saturating_sub(r.startup);
    let mut fields = Fields::new(reply);
    fields.int("peak.allocated", r.peak);
    fields.int("total.allocated", r.allocated);
    fields.int("startup.allocated", r.startup);
    fields.int("replication.backlog", r.log);
    fields.int("replica.fullsync.buffer", 0);
    fields.int("clients.slaves", replicas);
    fields.int("clients.normal", normal);
    for name in [
        "cluster.links",
        "aof.buffer",
        "lua.caches",
        "functions.caches",
        "script.VMs",
    ] {
        fields.int(name, 0);
    }
    for (db, share) in shares.iter().enumerate().filter(|(_, s)| s.keys > 0) {
        fields.database(db, share.table_bytes as u64);
    }
    fields.int("overhead.db.hashtable.lut", tables);
    fields.int("overhead.db.hashtable.rehashing", 0);
    fields.int("overhead.total", overhead);
    fields.int("db.dict.rehashing.count", 0);
    fields.int("keys.count", keys);
    fields.int("keys.bytes-per-key", loaded.checked_div(keys).unwrap_or(0));
    fields.int("dataset.bytes", data);
    fields.double("dataset.percentage", ratio(data, loaded) * 100.0);
    fields.double("peak.percentage", ratio(r.allocated, r.peak) * 100.0);
    fields.int("allocator.allocated", r.allocated);
    fields.int("allocator.active", r.active);
    fields.int("allocator.resident", r.allocator_resident);
    fields.int("allocator.muzzy", 0);
    fields.pair("allocator-fragmentation", r.active, r.allocated);
    fields.pair("allocator-rss", r.allocator_resident, r.active);
    fields.pair("rss-overhead", r.resident, r.allocator_resident);
    fields.double("fragmentation", ratio(r.resident, r.allocated));
    fields.difference("fragmentation.bytes", r.resident, r.allocated);
    fields.end();
    Ok(Effect::None)
}

/// The map that STATS replies with.
struct Fields<'r> {
    reply: &'r mut Reply,
    slot: LenSlot,
    count: usize,
}

impl Fields<'_> {
    fn new(reply: &mut Reply) -> Fields<'_> {
        let slot = reply.defer_len();
        Fields {
            reply,
            slot,
            count: 0,
        }
    }

    fn name(&mut self, name: &str) {
        self.count += 1;
        self.reply.bulk(name.as_bytes());
    }

    fn int(&mut self, name: &str, value: u64) {
        self.name(name);
        self.reply.int(i64::try_from(value).unwrap_or(i64::MAX));
    }

    fn double(&mut self, name: &str, value: f64) {
        self.name(name);
        self.reply.double(value);
    }

    fn difference(&mut self, name: &str, from: u64, of: u64) {
        self.name(name);
        self.reply.int((i128::from(from) - i128::from(of)) as i64);
    }

    /// The ratio of two amounts and their difference.
    fn pair(&mut self, name: &str, amount: u64, of: u64) {
        self.double(&format!("{name}.ratio"), ratio(amount, of));
        self.difference(&format!("{name}.bytes"), amount, of);
    }

    fn database(&mut self, db: usize, table_bytes: u64) {
        self.name(&format!("db.{db}"));
        self.reply.map(2);
        self.reply.bulk(b"overhead.hashtable.main");
        self.reply.int(table_bytes as i64);
        self.reply.bulk(b"overhead.hashtable.expires");
        self.reply.int(0);
    }

    fn end(self) {
        self.reply.set_map_len(self.slot, self.count);
    }
}

/// Less memory than this tells the doctor nothing.
const TOO_LITTLE_BYTES: u64 = 5 << 20;

/// A waste of less than this is no issue, whatever its ratio.
const NO_WASTE_BYTES: u64 = 10 << 20;

/// `MEMORY DOCTOR`
pub fn doctor(ctx: &mut Ctx<'_>, _: &[&[u8]], reply: &mut Reply) -> Outcome {
    let r = report(ctx);
    if r.allocated < TOO_LITTLE_BYTES {
        reply.verbatim(
            "txt",
            b"Hi Sam, this instance is empty or is using very little memory, my issues detector \
              can't be used in these conditions. Please, leave for your mission on Earth and fill \
              it with some data. The new Sam and I will be back to our programming as soon as I \
              finished rebooting.\n",
        );
        return Ok(Effect::None);
    }
    let issues = issues(ctx, &r);
    let text = if issues.is_empty() {
        "Hi Sam, I can't find any memory issue in your instance. I can only account for what \
         occurs on this base.\n"
            .to_owned()
    } else {
        format!(
            "Sam, I detected a few issues in this Redis instance memory implants:\n\n{issues}\
             I'm here to keep you safe, Sam. I want to help you.\n"
        )
    };
    reply.verbatim("txt", text.as_bytes());
    Ok(Effect::None)
}

/// What is wrong with the memory, a paragraph each.
fn issues(ctx: &Ctx<'_>, r: &MemoryReport) -> String {
    let wasteful = |amount: u64, of: u64, limit: f64| {
        ratio(amount, of) > limit && amount.saturating_sub(of) > NO_WASTE_BYTES
    };
    let (normal, replicas) = client_buffers(ctx);
    let clients = ctx.engine.clients.len() as u64;
    let found = [
        (
            ratio(r.peak, r.allocated) > 1.5,
            "Peak memory: this instance once used more than 150% of what it uses now. The \
             allocator keeps pages after a peak, so the resident set may be larger than the data; \
             they are used again as data comes. MEMORY PURGE gives them back to the system.",
        ),
        (
            wasteful(r.resident, r.allocated, 1.4),
            "High total RSS: the resident set is more than 1.4 times what is allocated. A peak of \
             memory leads to this, or a workload that frees values of changing sizes.",
        ),
        (
            wasteful(r.active, r.allocated, 1.1),
            "High allocator fragmentation: pages in use are more than 1.1 times what is \
             allocated in them. A peak of memory leads to this, or values of changing sizes.",
        ),
        (
            wasteful(r.allocator_resident, r.active, 1.1),
            "High allocator RSS overhead: the allocator holds more than 1.1 times the pages it \
             uses, usually after a peak of memory. MEMORY PURGE gives them back to the system.",
        ),
        (
            wasteful(r.resident, r.allocator_resident, 1.1),
            "High process RSS overhead: the process holds more than 1.1 times the memory of its \
             allocator.",
        ),
        (
            replicas > NO_WASTE_BYTES,
            "Big replica buffers: output for replicas waits in more than 10MB of buffers. A \
             replica or its network is too slow; INFO tells how far each one lags.",
        ),
        (
            normal.checked_div(clients).unwrap_or(0) > 200 << 10,
            "Big client buffers: clients have more than 200K of buffers each, on average. CLIENT \
             LIST tells whose: clients that read slowly, or ask for a lot at once.",
        ),
    ];
    let told = found.iter().filter(|(is_found, _)| *is_found);
    told.map(|(_, text)| format!(" * {text}\n\n")).collect()
}

/// `MEMORY MALLOC-STATS`
pub fn malloc_stats(ctx: &mut Ctx<'_>, _: &[&[u8]], reply: &mut Reply) -> Outcome {
    let memory = ctx.engine.host.memory();
    let text = memory.map(|memory| memory.allocator_text());
    reply.verbatim("txt", &text.unwrap_or_default());
    Ok(Effect::None)
}

/// `MEMORY PURGE`
pub fn purge(ctx: &mut Ctx<'_>, _: &[&[u8]], reply: &mut Reply) -> Outcome {
    if ctx
        .engine
        .host
        .memory()
        .is_some_and(|memory| !memory.purge())
    {
        return Err(CommandError::new("ERR Error purging dirty pages"));
    }
    reply.ok();
    Ok(Effect::None)
}

/// `MEMORY HELP`
pub fn help(_: &mut Ctx<'_>, args: &[&[u8]], reply: &mut Reply) -> Outcome {
    let lines = [
        "DOCTOR",
        "    Return memory problems reports.",
        "MALLOC-STATS",
        "    Return internal statistics report from the memory allocator.",
        "PURGE",
        "    Attempt to purge dirty pages for reclamation by the allocator.",
        "STATS",
        "    Return information about the memory usage of the server.",
        "USAGE <key> [SAMPLES <count>]",
        "    Return memory in bytes used by <key> and its value. Nested values are",
        "    sampled up to <count> times (default: 5, 0 means sample all).",
    ];
    super::super::help(args, &lines, reply);
    Ok(Effect::None)
}

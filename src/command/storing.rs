//! Results that become the value of a key: `SUNIONSTORE`, `ZRANGESTORE`, `SORT ... STORE` and their
//! like.
//!
//! What is quickly made is part of the unit that read it ([`now`]). What takes longer ([`later`])
//! is made on a thread beside the workers, from handles, while no lock is held: the value, and
//! where it is needed its encoding for the log. Under the lock it is only put in its place; what
//! was there before is freed when the lock is released. The client's next commands wait.
//!
//! Between the reading and the storing other commands run:
//!
//! - What is stored is made of what was there when the command came, whatever has become of that.
//! - The log gets the request if nobody has changed what it read, so that it comes to the same
//!   wherever it is run again. Else it gets the result: DEL and what fills the key, in a
//!   transaction. Whether somebody has is seen as WATCH sees it: the command watches the keys that
//!   it read until it has replied (INFO counts them among `watched_keys`).
//! - The server may have changed: what would forbid a write now forbids the storing, and clients
//!   that are held back are waited for.
//!
//! The command is counted, and goes to the slow log, with the time that the thread took.
//!
//! Inside a transaction or a script, and for a primary's stream or a file that is replayed, a
//! result is made within the unit, however long that takes.
//!
//! To make a command store later: where it [`is_large`], hand [`later`] a closure over clones of
//! what it needs, else the value to [`now`].

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use smallvec::SmallVec;
use tokio::sync::oneshot;

use super::ctx::{CommandError, Ctx, Later, Outcome};
use super::engine::{Engine, Gate};
use super::latency;
use super::session::ReplyMode;
use super::slowlog::{self, SlowEntry};
use super::spec::CommandFlags;
use crate::base::{clock, num};
use crate::keyspace::hash;
use crate::keyspace::locks::{Keyspace, ShardMask};
use crate::keyspace::shard::WatchFlag;
use crate::keyspace::unit::{Expiry, NotifyClass, Unit};
use crate::keyspace::value::list::End;
use crate::keyspace::value::packed::Elem;
use crate::keyspace::value::{Value, ValueKind, ValueRef};
use crate::oplog::effect::{Effect, Encoded, Shared, UnitEffects};
use crate::resp::errors;
use crate::resp::reply::Reply;

/// What goes through more elements than this is done beside the workers: a millisecond's work,
/// about as long as another client may be let wait. The threads there are few, and have less of
/// the processors than the workers.
const LARGE: usize = 2048;

/// Elements that one command of a logged result has at most.
const BATCH: usize = 512;

/// How often a thread that has something to store looks whether clients are still held back.
const LOOK: Duration = Duration::from_millis(1);

/// Makes what is stored, away from all locks.
pub type Make = Box<dyn FnOnce() -> Result<Value, CommandError> + Send>;

/// A result's place, and how it is told of.
#[derive(Clone, Copy)]
pub struct Store<'a> {
    /// The request.
    pub args: &'a [&'a [u8]],
    /// The key.
    pub key: &'a [u8],
    /// The keyspace event.
    pub event: &'static str,
    /// Each element counts as a change, instead of the value as one.
    pub elements_count: bool,
    /// What is logged.
    pub logged: Logged<'a>,
}

/// What the log gets.
#[derive(Clone, Copy)]
pub enum Logged<'a> {
    /// The result.
    Result,
    /// The request, which makes the same of the same data everywhere.
    Request {
        /// The keys that it reads.
        reads: &'a [&'a [u8]],
    },
}

/// Whether a command that goes through so many `elements` leaves its result to [`later`].
pub fn is_large(ctx: &Ctx<'_>, elements: usize) -> bool {
    elements > LARGE && may_wait(ctx)
}

/// Whether a command may leave its result to [`later`]: not inside a transaction, and not on a
/// replica, whose own clients' writes go nowhere.
pub fn may_wait(ctx: &Ctx<'_>) -> bool {
    !ctx.nested
        && ctx.is_client()
        && !ctx.engine.gates.is(Gate::REPLICA)
        && ctx.engine.host.aside().is_some()
}

/// Makes `value` the value of its key, within the unit that made it, and replies with its length.
pub fn now(
    ctx: &mut Ctx<'_>,
    store: &Store<'_>,
    value: impl Into<Value>,
    reply: &mut Reply,
) -> Effect {
    let value = value.into();
    reply.len_int(value.as_ref().elements());
    let effect = match store.logged {
        Logged::Result if ctx.unit.options.log => {
            Effect::Rewritten(replacement(store.key, value.as_ref()))
        }
        _ => Effect::Verbatim,
    };
    let place = Place {
        db: ctx.db(),
        key: Cow::Borrowed(store.key),
        event: store.event,
        elements_count: store.elements_count,
    };
    if place.put(&mut ctx.unit, value) {
        effect
    } else {
        Effect::None
    }
}

/// Has the value made and stored on another thread, which then replies with its length.
///
/// # Errors
/// If there are no such threads.
pub fn later(ctx: &mut Ctx<'_>, store: &Store<'_>, make: Make) -> Outcome {
    let lost = || CommandError::new("ERR no thread to store the result");
    let engine = ctx.engine;
    let aside = engine.host.aside().ok_or_else(lost)?;
    let mut watches = None;
    let request = match store.logged {
        Logged::Result => None,
        Logged::Request { reads } => {
            let watched = watches.insert(Watches::new(ctx, reads));
            Some(Request {
                encoded: Encoded::one(store.args),
                mask: mask_of(reads.iter().copied()),
                changed: Arc::clone(&watched.flag),
            })
        }
    };
    let place = Place {
        db: ctx.db(),
        key: Cow::Owned(store.key.to_vec()),
        event: store.event,
        elements_count: store.elements_count,
    };
    let job = Job { place, request };
    let account = Account::new(ctx, store.args);
    let (told, outcome) = oneshot::channel();
    aside.run(Box::new(move |engine| {
        let begun = clock::mono_ns();
        let stored = make().and_then(|value| job.store(engine, value));
        let nanos = clock::mono_ns().saturating_sub(begun);
        account.settle(engine, nanos, stored.is_err());
        // The client may have gone.
        let _ = told.send(stored);
    }));
    let stats = Arc::clone(&engine.stats);
    let silent = matches!(ctx.session.reply_mode, ReplyMode::Off | ReplyMode::Skip);
    ctx.blocked = true;
    ctx.suspended = Some(Box::pin(async move {
        let stored = outcome.await.unwrap_or_else(|_| Err(lost()));
        drop(watches);
        let later: Later = Box::new(move |session, reply| {
            let mark = reply.mark();
            match stored {
                Ok((len, offset)) => {
                    session.last_write = session.last_write.max(offset);
                    reply.len_int(len);
                }
                Err(error) => {
                    reply.error(error.0.as_bytes());
                    for code in reply.drain_error_codes() {
                        stats.count_error_alone(&code);
                    }
                }
            }
            if silent {
                reply.rewind(mark);
            }
        });
        later
    }));
    Ok(Effect::None)
}

/// What is told of the command once it is done.
struct Account {
    id: Option<u16>,
    entry: SlowEntry,
}

impl Account {
    fn new(ctx: &Ctx<'_>, args: &[&[u8]]) -> Account {
        let spec = ctx.engine.table.lookup(args).map(|c| &c.spec);
        let client = &ctx.session.client;
        Account {
            id: spec.map(|s| s.id),
            entry: SlowEntry {
                id: 0,
                unix_s: ctx.now_ms() / 1000,
                duration_us: 0,
                args: slowlog::kept(spec.map_or("", |s| &s.full_name), args),
                addr: client.addr.clone(),
                name: client.names.lock().name.clone(),
            },
        }
    }

    fn settle(self, engine: &Engine, nanos: u64, failed: bool) {
        let settings = engine.config.current();
        let observe = &settings.observe;
        if let Some(id) = self.id {
            let tracked = observe.latency_tracking;
            engine.stats.count_nested(id, nanos, failed, tracked);
        }
        let (ms, unix_s) = (nanos / 1_000_000, self.entry.unix_s);
        let threshold_ms = observe.latency_monitor_threshold_ms;
        engine
            .latency
            .note(latency::COMMAND, ms, threshold_ms, unix_s);
        let duration_us = (nanos / 1000) as i64;
        let (limit_us, max_len) = (
            observe.slowlog_log_slower_than_us,
            observe.slowlog_max_len as usize,
        );
        if limit_us >= 0 && duration_us >= limit_us && max_len > 0 {
            let entry = SlowEntry {
                duration_us,
                ..self.entry
            };
            engine.slowlog.push(entry, max_len);
        }
    }
}

fn mask_of<'k>(keys: impl Iterator<Item = &'k [u8]>) -> ShardMask {
    let mut mask = ShardMask::NONE;
    keys.for_each(|key| mask.add_hash(hash::of(key)));
    mask
}

/// Watches on what a command read. They end when it has replied, or its client has gone, in which
/// case what was read counts as changed.
struct Watches {
    keyspace: Arc<Keyspace>,
    db: usize,
    keys: Vec<Box<[u8]>>,
    flag: WatchFlag,
}

impl Watches {
    fn new(ctx: &mut Ctx<'_>, keys: &[&[u8]]) -> Watches {
        let watches = Watches {
            keyspace: Arc::clone(&ctx.engine.keyspace),
            db: ctx.db(),
            keys: keys.iter().map(|key| (*key).into()).collect(),
            flag: WatchFlag::default(),
        };
        for key in keys {
            ctx.unit.watch(watches.db, key, &watches.flag);
        }
        watches
    }
}

impl Drop for Watches {
    fn drop(&mut self) {
        self.flag.store(true, Ordering::Release);
        let mask = mask_of(self.keys.iter().map(|key| &**key));
        let mut locked = self.keyspace.lock(mask);
        for key in &self.keys {
            if let Some(shard) = locked.shard_for(hash::of(key)) {
                shard.unwatch(self.db, key, &self.flag);
            }
        }
    }
}

/// Where a value goes.
struct Place<'a> {
    db: usize,
    key: Cow<'a, [u8]>,
    event: &'static str,
    elements_count: bool,
}

impl Place<'_> {
    /// Puts a value there; an empty one leaves no key. Whether anything has changed.
    fn put(&self, unit: &mut Unit<'_>, value: Value) -> bool {
        let (db, key) = (self.db, &*self.key);
        let len = value.as_ref().elements();
        if len == 0 {
            let was_there = unit.delete(db, key);
            if was_there {
                unit.notify(NotifyClass::GENERIC, "del", db, key);
            }
            return was_there;
        }
        let class = match value.kind() {
            ValueKind::List => NotifyClass::LIST,
            ValueKind::Set => NotifyClass::SET,
            ValueKind::Zset => NotifyClass::ZSET,
            ValueKind::Hash => NotifyClass::HASH,
            ValueKind::Stream => NotifyClass::STREAM,
            ValueKind::String => NotifyClass::STRING,
        };
        if self.elements_count {
            unit.counters.dirty += len as u64 - 1;
        }
        unit.set_value(db, key, value, Expiry::Clear);
        unit.notify(class, self.event, db, key);
        true
    }
}

/// The request, as long as it is what is to be logged.
struct Request {
    encoded: Encoded,
    /// The shards of what it reads.
    mask: ShardMask,
    changed: WatchFlag,
}

/// A result that is made on a thread of its own.
struct Job {
    place: Place<'static>,
    request: Option<Request>,
}

/// What came of an attempt to store.
enum Attempt {
    /// It is done, with so many changes.
    Stored(u64),
    /// Not now: clients are held back.
    Held,
    /// Not yet: the log wants the result.
    Unencoded,
    Refused(CommandError),
}

impl Job {
    /// Puts a value in its place. Its length, and an offset of the log behind it.
    fn store(mut self, engine: &Engine, value: Value) -> Result<(usize, u64), CommandError> {
        let len = value.as_ref().elements();
        let own = mask_of(std::iter::once(&*self.place.key));
        let mut encoded = None;
        if self.request.is_none() && engine.log.is_active() {
            encoded = Some(Shared::from(replacement(&self.place.key, value.as_ref())));
        }
        let mut value = Some(value);
        let mut effects = UnitEffects::new();
        loop {
            // Making room locks shards.
            let room = engine.make_room(&engine.config.current()).gate();
            let reads = self.request.as_ref().map_or(ShardMask::NONE, |r| r.mask);
            let attempt = engine.in_unit(own.union(reads), &mut effects, |unit| {
                self.attempt(engine, unit, &mut value, encoded.as_ref(), room)
            });
            match attempt {
                Attempt::Stored(changes) => {
                    engine.keyspace.add_dirty(changes);
                    return Ok((len, engine.log.end_offset()));
                }
                Attempt::Refused(error) => return Err(error),
                Attempt::Held => std::thread::sleep(LOOK),
                Attempt::Unencoded => {
                    self.request = None;
                    let replacement = value
                        .as_ref()
                        .map(|v| replacement(&self.place.key, v.as_ref()));
                    encoded = replacement.map(Shared::from);
                }
            }
        }
    }

    /// Puts the value in its place, if an ordinary write might.
    fn attempt(
        &self,
        engine: &Engine,
        unit: &mut Unit<'_>,
        value: &mut Option<Value>,
        encoded: Option<&Shared>,
        room: u32,
    ) -> Attempt {
        if engine.pause.is_on(clock::unix_ms()) {
            return Attempt::Held;
        }
        // What it was when the command came may have changed.
        if engine.gates.is(Gate::REPLICA) {
            return Attempt::Refused(CommandError::new(errors::READ_ONLY));
        }
        let flags = CommandFlags::WRITE.union(CommandFlags::DENYOOM);
        if let Err(refusal) = engine.check_late_write(flags, room) {
            let text = String::from_utf8_lossy(&refusal).into_owned();
            return Attempt::Refused(CommandError::new(text));
        }
        let unchanged = |r: &&Request| !r.changed.load(Ordering::Acquire);
        let request = self.request.as_ref().filter(unchanged);
        let log = unit.options.log;
        if log && request.is_none() && encoded.is_none() {
            return Attempt::Unencoded;
        }
        let before = unit.counters.dirty;
        let put = |value| self.place.put(unit, value);
        if value.take().is_some_and(put) && log {
            let db = self.place.db as u32;
            match (request, encoded) {
                (Some(request), _) => unit.effects.push_encoded(db, &request.encoded),
                (None, Some(encoded)) => unit.effects.push_shared(db, encoded),
                (None, None) => {}
            }
        }
        Attempt::Stored(unit.counters.dirty - before)
    }
}

/// The commands that make `value` the value of `key`, whatever was there.
fn replacement(key: &[u8], value: ValueRef<'_>) -> Encoded {
    let mut encoded = Encoded::one(&[b"DEL", key]);
    let mut words = Words::default();
    let mut add = |name: &[u8], each: &[Elem<'_>]| {
        each.iter().for_each(|word| words.push(*word));
        if words.0.len() >= BATCH * each.len() {
            words.take(name, key, &mut encoded);
        }
    };
    let name: &[u8] = match value {
        ValueRef::List(list) => {
            list.visit(0..list.len(), End::Head, |element| {
                add(b"RPUSH", &[element])
            });
            b"RPUSH"
        }
        ValueRef::Set(set) => {
            set.iter().for_each(|member| add(b"SADD", &[member]));
            b"SADD"
        }
        ValueRef::Zset(zset) => {
            for (member, score) in zset.iter() {
                add(b"ZADD", &[Elem::Bytes(&num::fmt_f64(score)), member]);
            }
            b"ZADD"
        }
        // No command stores a result of another type.
        ValueRef::Str(_) | ValueRef::Hash(_) | ValueRef::Stream(_) => return encoded,
    };
    words.take(name, key, &mut encoded);
    encoded
}

/// The arguments of one command, most of which need no allocation.
#[derive(Default)]
struct Words(Vec<SmallVec<[u8; 24]>>);

impl Words {
    fn push(&mut self, word: Elem<'_>) {
        let mut digits = itoa::Buffer::new();
        self.0
            .push(SmallVec::from_slice(word.to_bytes(&mut digits)));
    }

    /// Adds what there is as a command.
    fn take(&mut self, name: &[u8], key: &[u8], encoded: &mut Encoded) {
        if !self.0.is_empty() {
            let words = self.0.iter().map(SmallVec::as_slice);
            let argv: Vec<&[u8]> = [name, key].into_iter().chain(words).collect();
            encoded.push(&argv);
            self.0.clear();
        }
    }
}

#[cfg(test)]
mod tests;

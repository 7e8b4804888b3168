//! Commands that wait for a key.
//!
//! A handler that finds nothing ends with [`Ctx::wait`]: it says for which keys it waits, for how
//! long, and what is to be run when one of them is ready. The client gets a place in the queue of
//! each key ([`crate::keyspace::waiters`]) while the shards are locked, and its connection awaits
//! the reply; no thread waits.
//!
//! Whoever changes such a key serves, before it lets go of its locks: behind each command of a
//! batch, behind a whole EXEC or script. A client is served by running its command again, on
//! behalf of its session, as part of the unit that made the key ready: its effects follow the
//! unit's, nobody overtakes it, and what it makes ready in turn is served next. Keys whose shards
//! the unit does not hold are passed over: there is nothing in them that could serve it, or the
//! client would have been served already. (Redis, which looks at all of them, ends the wait with
//! WRONGTYPE where one before the ready key has got another type meanwhile. To tell that, whoever
//! writes to a shard that somebody waits in would have to lock the shards of all his keys.) If the
//! command finds nothing, the client keeps its place.
//!
//! Whoever wants to end a wait takes what is in the waiter's slot, under its lock: a unit that
//! serves it, its timeout, CLIENT UNBLOCK, CLIENT KILL, a change of role. Only one of them can. The
//! slot is locked while the command is tried, so that a unit elsewhere waits for the outcome and
//! does not miss its turn. Lock order: shards, then one slot.
//!
//! To make a command wait: give its handler a last line `ctx.wait(&Wait { .. }, reply)`, let it
//! pass over keys that [`Ctx::holds`] is not true of, and return effects that do not wait
//! (BLPOP is logged as LPOP).

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::base::clock;
use crate::base::long_double::LongDouble;
use crate::base::num;
use crate::client::Client;
use crate::config::Settings;
use crate::keyspace::hash;
use crate::keyspace::locks::{Keyspace, ShardMask};
use crate::keyspace::unit::Unit;
use crate::keyspace::value::ValueKind;
use crate::keyspace::waiters::{Ready, Ticket};
use crate::oplog::effect::Effect;
use crate::resp::reply::{Proto, Reply};

use super::ack_waits::AckWaits;
use super::ctx::{CommandError, Ctx, Later, Outcome};
use super::engine::Engine;
use super::session::{Origin, ReplyMode, Session};
use super::stats::Stats;

/// What a client is told when its wait ends for a change of our role.
pub const ROLE_CHANGED: &str =
    "UNBLOCKED force unblock from blocking operation, instance state changed (master -> replica?)";

/// What a command waits for.
pub struct Wait<'w> {
    /// It is tried again when one of these keys has changed.
    pub keys: &'w [&'w [u8]],
    /// Only a key of this type can serve it.
    pub kind: ValueKind,
    /// It is also tried again when a key goes or changes its type.
    pub on_gone: bool,
    /// Other keys that it touches when it is served.
    pub also: &'w [&'w [u8]],
    /// For so long; 0 for ever.
    pub timeout_ms: u64,
    /// What is run again: the request, with what must not be read anew resolved.
    pub argv: &'w [&'w [u8]],
    /// The reply where it must not wait. When the time is up it is a null array for all of them.
    pub nothing: Nothing,
}

/// The reply of a command that found nothing and must not wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nothing {
    /// A null.
    Null,
    /// A null array.
    NullArray,
}

impl Nothing {
    /// Writes it.
    pub fn write(self, reply: &mut Reply) {
        match self {
            Nothing::Null => reply.null(),
            Nothing::NullArray => reply.null_array(),
        }
    }
}

/// How a wait ended.
enum Answer {
    Served {
        reply: Reply,
        offset: u64,
    },
    TimedOut,
    Error {
        text: Cow<'static, str>,
        close: bool,
    },
}

/// A reply for a client that was served, to be sent when its effects are in the log.
pub struct Served {
    sender: oneshot::Sender<Answer>,
    reply: Reply,
}

impl Served {
    /// Sends it; the effects end at `offset` of the log.
    pub fn send(self, offset: u64) {
        let reply = self.reply;
        // A connection that has gone away takes no reply.
        let _ = self.sender.send(Answer::Served { reply, offset });
    }
}

/// What is needed to end a wait.
struct Slot {
    session: Session,
    argv: Vec<Box<[u8]>>,
    proto: Proto,
    sender: oneshot::Sender<Answer>,
}

struct Waiter {
    db: usize,
    keys: Vec<Box<[u8]>>,
    client: Arc<Client>,
    has_timeout: bool,
    /// Table id of the command that waits.
    command: Option<u16>,
    /// Empty once the wait has ended.
    slot: Mutex<Option<Slot>>,
}

impl Waiter {
    /// Counts the call that waited, for whoever ended it without serving it: before anybody is
    /// told, so that who looks then finds it.
    fn count(&self, stats: &Stats, failed: bool) {
        if let Some(id) = self.command {
            stats.count_nested(id, 0, failed, false);
        }
    }

    /// Ends the wait, for whoever comes first.
    fn claim(&self) -> Option<Slot> {
        let slot = self.slot.lock().take();
        if slot.is_some() {
            self.client.blocked.store(false, Ordering::Relaxed);
        }
        slot
    }
}

/// The clients that wait for keys, by id.
#[derive(Default)]
pub struct Blocked {
    /// Those that wait for acknowledgements.
    pub acks: Arc<AckWaits>,
    waiters: Mutex<HashMap<u64, Arc<Waiter>>>,
}

impl Blocked {
    fn get(&self, client: u64) -> Option<Arc<Waiter>> {
        self.waiters.lock().get(&client).cloned()
    }

    /// Number of clients that wait for a limited time.
    pub fn with_timeout(&self) -> usize {
        let waiters = self.waiters.lock();
        waiters.values().filter(|w| w.has_timeout).count() + self.acks.with_timeout()
    }

    /// `CLIENT UNBLOCK`: as if the time were up, or with an error. Whether the client waited.
    pub fn unblock(&self, client: u64, error: Option<&'static str>, stats: &Stats) -> bool {
        if self.acks.end(client, error) {
            return true;
        }
        let answer = match error {
            None => Answer::TimedOut,
            Some(text) => Answer::Error {
                text: Cow::Borrowed(text),
                close: false,
            },
        };
        let Some(waiter) = self.get(client) else {
            return false;
        };
        let Some(slot) = waiter.claim() else {
            return false;
        };
        waiter.count(stats, error.is_some());
        slot.sender.send(answer).is_ok()
    }

    /// Ends the wait of a client that is killed: nothing is taken for it any more.
    pub fn cancel(&self, client: u64) {
        if let Some(waiter) = self.get(client) {
            waiter.claim();
        }
    }

    /// Ends all waits with an error, and the connections behind it: our role has changed.
    pub fn end_all(&self, stats: &Stats) {
        let waiters: Vec<Arc<Waiter>> = self.waiters.lock().values().cloned().collect();
        for waiter in waiters {
            let Some(slot) = waiter.claim() else { continue };
            waiter.count(stats, true);
            let _ = slot.sender.send(Answer::Error {
                text: Cow::Borrowed(ROLE_CHANGED),
                close: true,
            });
        }
    }
}

/// A client's places in the queues; they are given up when it is dropped, wherever the connection
/// is by then.
struct Places {
    waiter: Arc<Waiter>,
    blocked: Arc<Blocked>,
    keyspace: Arc<Keyspace>,
}

impl Drop for Places {
    fn drop(&mut self) {
        let Places {
            waiter,
            blocked,
            keyspace,
        } = self;
        waiter.claim();
        // Whoever served the client has seen to all of this, if it held all the shards.
        if blocked.waiters.lock().remove(&waiter.client.id).is_none() {
            return;
        }
        let mut locked = keyspace.lock(mask_of(waiter.keys.iter().map(|k| &**k)));
        for key in &waiter.keys {
            locked.stop_waiting(waiter.db, key, waiter.client.id);
        }
    }
}

fn mask_of<'k>(keys: impl Iterator<Item = &'k [u8]>) -> ShardMask {
    let mut mask = ShardMask::NONE;
    keys.for_each(|key| mask.add_hash(hash::of(key)));
    mask
}

impl Ctx<'_> {
    /// Whether the command may look at `key`: always, unless it is tried again for a client that
    /// waits, and then only if the unit holds the key's shard.
    pub fn holds(&self, key: &[u8]) -> bool {
        !self.serving || self.unit.holds(key)
    }

    /// The end of a command that found nothing: it waits, or does not if it must not.
    pub fn wait(&mut self, wait: &Wait<'_>, reply: &mut Reply) -> Outcome {
        if self.serving {
            self.unserved = true;
        } else if self.nested || self.session.origin != Origin::Client {
            wait.nothing.write(reply);
        } else {
            self.begin_to_wait(wait, reply.proto());
        }
        Ok(Effect::None)
    }

    fn begin_to_wait(&mut self, wait: &Wait<'_>, proto: Proto) {
        let engine = self.engine;
        let client = Arc::clone(&self.session.client);
        let db = self.db();
        let mut keys: Vec<Box<[u8]>> = Vec::with_capacity(wait.keys.len());
        for key in wait.keys {
            if !keys.iter().any(|k| **k == **key) {
                keys.push((*key).into());
            }
        }
        let also = mask_of(wait.also.iter().copied());
        for key in &keys {
            let needs = also.without(mask_of(std::iter::once(&**key)));
            let ticket = Ticket {
                client: client.id,
                kind: wait.kind,
                on_gone: wait.on_gone,
                needs,
            };
            self.unit.wait_for(db, key, ticket);
        }
        let (sender, answer) = oneshot::channel();
        let mut session = Session::new(Arc::clone(&client), Origin::Client, true);
        session.db = db;
        session.resp3 = self.session.resp3;
        session.no_touch = self.session.no_touch;
        let waiter = Arc::new(Waiter {
            db,
            keys,
            client,
            has_timeout: wait.timeout_ms > 0,
            command: engine.table.lookup(wait.argv).map(|c| c.spec.id),
            slot: Mutex::new(Some(Slot {
                session,
                argv: wait.argv.iter().map(|a| (*a).into()).collect(),
                proto,
                sender,
            })),
        });
        let id = waiter.client.id;
        engine
            .blocked
            .waiters
            .lock()
            .insert(id, Arc::clone(&waiter));
        let ending = Ending {
            places: Places {
                waiter,
                blocked: Arc::clone(&engine.blocked),
                keyspace: Arc::clone(&engine.keyspace),
            },
            answer,
            stats: Arc::clone(&engine.stats),
            silent: self.session.reply_mode != ReplyMode::On
                && self.session.reply_mode != ReplyMode::SkipNext,
        };
        let timeout_ms = wait.timeout_ms;
        self.blocked = true;
        self.suspended = Some(Box::pin(ending.wait(timeout_ms)));
    }
}

/// A wait, as its connection sees it.
struct Ending {
    places: Places,
    answer: oneshot::Receiver<Answer>,
    stats: Arc<Stats>,
    /// `CLIENT REPLY` keeps the reply back.
    silent: bool,
}

impl Ending {
    async fn wait(mut self, timeout_ms: u64) -> Later {
        let answer = match timeout_ms {
            0 => (&mut self.answer).await.ok(),
            ms => match tokio::time::timeout(Duration::from_millis(ms), &mut self.answer).await {
                Ok(answer) => answer.ok(),
                Err(_) if self.places.waiter.claim().is_some() => {
                    self.places.waiter.count(&self.stats, false);
                    Some(Answer::TimedOut)
                }
                // Somebody else ends it just now.
                Err(_) => (&mut self.answer).await.ok(),
            },
        };
        let Ending {
            places,
            stats,
            silent,
            ..
        } = self;
        drop(places);
        Box::new(move |session, reply| {
            let mark = reply.mark();
            match answer {
                // Killed.
                None => session.closing = true,
                Some(Answer::Served {
                    reply: mut served,
                    offset,
                }) => {
                    session.last_write = session.last_write.max(offset);
                    if !silent {
                        reply.append(&mut served);
                        reply.resolve();
                    }
                    return;
                }
                Some(Answer::TimedOut) => reply.null_array(),
                Some(Answer::Error { text, close }) => {
                    reply.error(text.as_bytes());
                    for code in reply.drain_error_codes() {
                        stats.count_error_alone(&code);
                    }
                    session.closing |= close;
                }
            }
            if silent {
                reply.rewind(mark);
            }
        })
    }
}

impl Engine {
    /// As [`Engine::serve_waiters`], behind a unit of the server's own; `nobody` is where the
    /// session lives that such a unit lacks.
    pub(super) fn serve_behind<'a>(
        &'a self,
        mut unit: Unit<'a>,
        settings: &'a Settings,
        nobody: &'a mut Option<Session>,
    ) -> (Unit<'a>, Vec<Served>) {
        if !self.keyspace.has_waiters() {
            return (unit, Vec::new());
        }
        let ready = unit.take_ready();
        if ready.is_empty() {
            return (unit, Vec::new());
        }
        let client = self.clients.unlisted(unit.options.now_ms);
        let session = nobody.insert(Session::new(client, Origin::Client, true));
        let mut ctx = Ctx::new(unit, session, self, settings);
        self.serve_ready(&mut ctx, ready);
        (ctx.unit, ctx.served)
    }

    /// Serves those who wait for keys that the unit has made ready.
    #[inline]
    pub(super) fn serve_waiters(&self, ctx: &mut Ctx<'_>) {
        if self.keyspace.has_waiters() {
            let ready = ctx.unit.take_ready();
            self.serve_ready(ctx, ready);
        }
    }

    #[cold]
    fn serve_ready(&self, ctx: &mut Ctx<'_>, mut ready: Vec<Ready>) {
        // A key may have become due while a transaction ran.
        if !ready.is_empty() {
            ctx.unit.set_now(clock::unix_ms());
        }
        // What a served client pushes elsewhere makes that ready in turn.
        while !ready.is_empty() {
            for r in &ready {
                self.serve_key(ctx, r.db, &r.key);
            }
            ready = ctx.unit.take_ready();
        }
    }

    fn serve_key(&self, ctx: &mut Ctx<'_>, db: usize, key: &[u8]) {
        let mut place = 0;
        while let Some(ticket) = ctx.unit.ticket_at(db, key, place) {
            let kind = ctx.unit.kind_of(db, key);
            if kind.is_none() && !ctx.unit.wants_gone(db, key) {
                return;
            }
            let wanted = ticket.on_gone || kind == Some(ticket.kind);
            // Who is served leaves the queue.
            if !(wanted && self.serve_one(ctx, ticket)) {
                place += 1;
            }
        }
    }

    /// Tries a client's command again. Whether its wait is over.
    fn serve_one(&self, ctx: &mut Ctx<'_>, ticket: Ticket) -> bool {
        debug_assert!(ctx.unit.mask().contains(ticket.needs));
        let Some(waiter) = self.blocked.get(ticket.client) else {
            return false;
        };
        let mut guard = waiter.slot.lock();
        let Some(mut slot) = guard.take() else {
            return false;
        };
        let Some(reply) = self.try_again(ctx, &mut slot) else {
            *guard = Some(slot);
            return false;
        };
        drop(guard);
        waiter.client.blocked.store(false, Ordering::Relaxed);
        let mut left = false;
        for key in &waiter.keys {
            if ctx.unit.holds(key) {
                ctx.unit.stop_waiting(waiter.db, key, ticket.client);
            } else {
                left = true;
            }
        }
        if !left {
            self.blocked.waiters.lock().remove(&ticket.client);
        }
        ctx.served.push(Served {
            sender: slot.sender,
            reply,
        });
        true
    }

    /// Runs the command of a client that waits. Its reply, if there is one now.
    fn try_again(&self, ctx: &mut Ctx<'_>, slot: &mut Slot) -> Option<Reply> {
        let Slot {
            session,
            argv,
            proto,
            ..
        } = slot;
        let argv: Vec<&[u8]> = argv.iter().map(|a| &**a).collect();
        let command = self.table.lookup(&argv)?;
        let action = command.handler?;
        let mut reply = Reply::new(*proto);
        std::mem::swap(ctx.session, session);
        let no_touch = std::mem::replace(&mut ctx.unit.options.no_touch, ctx.session.no_touch);
        let nested = std::mem::replace(&mut ctx.nested, false);
        (ctx.serving, ctx.unserved) = (true, false);
        let begun = Instant::now();
        let failed = self.call(ctx, command, action, &argv, &mut reply);
        ctx.serving = false;
        ctx.nested = nested;
        ctx.unit.options.no_touch = no_touch;
        let nanos = begun.elapsed().as_nanos() as u64;
        if !ctx.unserved {
            self.note_slow(ctx, command, &argv, nanos);
        }
        std::mem::swap(ctx.session, session);
        if ctx.unserved {
            return None;
        }
        let tracked = ctx.settings.observe.latency_tracking;
        self.stats
            .count_nested(command.spec.id, nanos, failed, tracked);
        for code in reply.drain_error_codes() {
            self.stats.count_error_alone(&code);
        }
        Some(reply)
    }
}

const OUT_OF_RANGE: CommandError = CommandError(Cow::Borrowed("ERR timeout is out of range"));
const NEGATIVE: CommandError = CommandError(Cow::Borrowed("ERR timeout is negative"));

/// A timeout in seconds, which may have a fraction, as milliseconds; a started one counts.
///
/// # Errors
/// If it is no number, negative, or ends beyond what a clock can tell.
pub fn timeout_seconds(text: &[u8], now_ms: i64) -> Result<u64, CommandError> {
    let seconds = LongDouble::parse(text).ok_or(CommandError::new(
        "ERR timeout is not a float or out of range",
    ))?;
    // Beyond the range of milliseconds the last bits do not matter, and of what is beyond the
    // range of a double the sign alone does.
    let text = seconds.fmt_human();
    let seconds = num::parse_f64(&text).unwrap_or(match text.first() {
        Some(b'-') => f64::NEG_INFINITY,
        _ => f64::INFINITY,
    });
    let ms = (seconds * 1000.0).ceil();
    if ms >= i64::MAX as f64 {
        return Err(OUT_OF_RANGE);
    }
    if ms < 0.0 {
        return Err(NEGATIVE);
    }
    checked(ms as i64, now_ms)
}

/// A timeout in milliseconds.
///
/// # Errors
/// If it is no integer, negative, or ends beyond what a clock can tell.
pub fn timeout_ms(text: &[u8], now_ms: i64) -> Result<u64, CommandError> {
    let ms = num::parse_i64(text).ok_or(CommandError::new(
        "ERR timeout is not an integer or out of range",
    ))?;
    checked(ms, now_ms)
}

fn checked(ms: i64, now_ms: i64) -> Result<u64, CommandError> {
    let length = u64::try_from(ms).map_err(|_| NEGATIVE)?;
    ms.checked_add(now_ms).ok_or(OUT_OF_RANGE)?;
    Ok(length)
}

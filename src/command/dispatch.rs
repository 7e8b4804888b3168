//! The one path by which a command runs.
//!
//! A connection hands over the complete requests in its buffer. [`Engine::run`] takes as many of
//! them as [`BATCH_MAX`], and runs them in units of at most [`UNIT_MAX`]. A unit locks the shards
//! of all its keys once, runs its commands in order, appends their effects to the log while the
//! locks are held, and lets go:
//!
//! 1. plan the batch: look up each command, hash its keys, collect the shards. A command that
//!    locks for itself, or needs all shards, is a unit of its own.
//! 2. lock: the first command's shards, waiting for them, ascending; those of the commands behind
//!    it as far as they are free. Where one is not, the unit ends before that command, so that
//!    two workers whose batches meet wait for each other's units at most, not for batches.
//!    Prefetch: the slots as each shard is locked, then the entries.
//! 3. for each command: may it run (see [`gates`]), is it to be queued, run it, count it.
//! 4. append the effects, unlock, publish events, format what handlers deferred. Waking the log's
//!    readers is the caller's: see [`Ran::appended`].
//!
//! EXEC and scripts run their commands by [`Engine::run_queued`] inside their own unit.

mod after;
mod apply;
mod durability;
mod gates;
mod plan;

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::base::clock;
use crate::config::Settings;
use crate::keyspace::lfu::Lfu;
use crate::keyspace::locks::ShardMask;
use crate::keyspace::unit::{ExpiryMode, Free, NO_PLACES, TOGETHER, Unit, UnitOptions};
use crate::oplog::effect::{Effect, UnitEffects};
use crate::resp::reply::Reply;

pub use super::engine::Engine;
pub use apply::FromPrimary;

use self::durability::Dependence;
use self::plan::{Plan, Planned};
use super::ctx::{Ctx, Suspended};
use super::engine::Gate;
use super::evict::{self, Room};
use super::families::Action;
use super::latency;
use super::session::{Origin, ReplyMode, Session};
use super::slowlog::{self, SlowEntry};
use super::spec::{Command, CommandFlags};
use super::stats::{WorkerStats, bump};

/// Commands of one connection that are looked at together.
pub const BATCH_MAX: usize = 32;

/// Commands that run under one set of locks: enough for their fetches from memory to overlap and
/// for a key that all connections want to change hands seldom, and few enough for nobody to wait
/// long. A unit ends early where a further shard is taken.
const UNIT_MAX: usize = 16;
const _: () = assert!(UNIT_MAX <= TOGETHER);

/// Deferred parts of more elements than this are left in the reply: a helper thread runs them.
pub const HELPER_ELEMENTS: usize = 4096;

/// What a worker keeps between batches.
pub struct Scratch {
    /// The worker's counters.
    pub stats: Arc<WorkerStats>,
    effects: UnitEffects,
}

impl Scratch {
    /// For a worker of this engine.
    pub fn new(engine: &Engine) -> Scratch {
        Scratch {
            stats: engine.worker(),
            effects: UnitEffects::new(),
        }
    }
}

/// What came of a batch.
#[derive(Default)]
pub struct Ran {
    /// Requests that were dealt with; the rest stay for the next call.
    pub consumed: usize,
    /// The log has grown. Whoever runs commands wakes its readers ([`Log::wake`]), which need not
    /// be for each batch.
    ///
    /// [`Log::wake`]: crate::oplog::log::Log::wake
    pub appended: bool,
    /// The replies may go out once the log is durable up to here.
    pub durable_at: u64,
    /// The last request's reply comes later.
    pub suspended: Option<Suspended>,
    /// The next request is held back by CLIENT PAUSE for this many milliseconds at most.
    pub paused_ms: Option<u64>,
}

/// Requests that are left of a batch, with their plan.
type Requests<'p, 'r> = (&'p [Planned<'p>], &'r [&'r [&'r [u8]]]);

/// Where the effects of a unit go.
#[derive(Clone, Copy)]
pub enum Propagation<'b> {
    /// To the log, as the handlers returned them.
    Own,
    /// These bytes of the primary's stream take their place.
    Primary(&'b FromPrimary<'b>),
    /// Nowhere: the data comes from a file.
    Nowhere,
}

impl Engine {
    /// Runs the first of `requests`, in units. At least one is consumed unless CLIENT PAUSE holds
    /// it back. Where the reply has deferred parts left, they are for a helper thread.
    pub fn run(
        &self,
        scratch: &mut Scratch,
        session: &mut Session,
        requests: &[&[&[u8]]],
        reply: &mut Reply,
    ) -> Ran {
        self.run_as(scratch, session, requests, reply, Propagation::Own)
    }

    /// As [`Engine::run`], for streams that are not a client's.
    pub fn run_as(
        &self,
        scratch: &mut Scratch,
        session: &mut Session,
        requests: &[&[&[u8]]],
        reply: &mut Reply,
        propagation: Propagation<'_>,
    ) -> Ran {
        let settings = self.config.current();
        let plan = self.plan(requests);
        let mut left: Requests<'_, '_> = (&plan.requests, requests);
        let mut ran = Ran::default();
        while !left.0.is_empty() {
            let before = ran.consumed;
            let room = if session.origin == Origin::Client {
                self.make_room(&settings)
            } else {
                Room::Enough
            };
            let gate = room.gate();
            let ended = self.run_unit(
                scratch,
                session,
                &settings,
                gate,
                &plan,
                left,
                reply,
                propagation,
                &mut ran,
            );
            if ended || !reply.is_plain() {
                break;
            }
            let done = ran.consumed - before;
            left = (
                left.0.get(done..).unwrap_or_default(),
                left.1.get(done..).unwrap_or_default(),
            );
        }
        let errors = reply.errors();
        if reply.has_deferred() && reply.deferred_elements() <= HELPER_ELEMENTS {
            reply.resolve();
            self.count_errors(&scratch.stats, errors, reply);
        }
        ran
    }

    /// Runs as many of the planned requests as can be locked together without waiting for each
    /// other's shards. Whether the batch ends here.
    #[expect(
        clippy::too_many_arguments,
        reason = "one call site, all of it the batch's state"
    )]
    fn run_unit(
        &self,
        scratch: &mut Scratch,
        session: &mut Session,
        settings: &Settings,
        gate: u32,
        plan: &Plan<'_>,
        (planned, requests): Requests<'_, '_>,
        reply: &mut Reply,
        propagation: Propagation<'_>,
        ran: &mut Ran,
    ) -> bool {
        scratch.effects.clear();
        // What may change in the instant for which somebody locks every shard (our role, whether
        // the log is followed) is looked at behind the locks.
        let first = planned.iter().take(UNIT_MAX);
        let db = session.db;
        // Where nothing is known of a key, nothing stands: a command without keys does no harm.
        let mut places = NO_PLACES;
        let (locked, count) = self
            .keyspace
            .lock_leading(first.map(|p| p.shards), |locked, i| {
                if let Some((p, place)) = planned.get(i).zip(places.get_mut(i))
                    && p.first_key > 0
                {
                    *place = locked.prefetch_slots(db, p.hash);
                }
            });
        let planned = planned.get(..count).unwrap_or_default();
        let gates = self.gates.load() | gate;
        let options = self.unit_options(settings, session, gates, &propagation);
        scratch.effects.set_unix_s(options.now_ms / 1000);
        let unit = Unit::new(locked, options, &mut scratch.effects);
        let mut ctx = Ctx::new(unit, session, self, settings);
        let hashes = planned.iter().map(|p| p.hash);
        ctx.unit.fetch(db, hashes, &mut places);
        let mut ended = false;
        let mut clock = clock::mono_ns();
        for ((p, args), place) in planned.iter().zip(requests).zip(places) {
            if let Some(hint) = plan.hint(p, args, place) {
                ctx.unit.hint(hint);
            }
            if let Some(ms) = self.held_back(&ctx, p.command, args, gates) {
                ran.paused_ms = Some(ms);
                note_last(&ctx, p.command);
                ended = true;
                break;
            }
            self.one(
                &mut ctx,
                &scratch.stats,
                p.command,
                args,
                reply,
                gates,
                &mut clock,
            );
            self.serve_waiters(&mut ctx);
            ran.consumed += 1;
            let s = &ctx.session;
            if ctx.suspended.is_some() || s.closing || s.handover.is_some() {
                ended = true;
                break;
            }
        }
        ran.suspended = ctx.suspended.take();
        if ran.suspended.is_some() {
            ctx.session.client.blocked.store(true, Ordering::Relaxed);
        }
        self.finish(ctx, &scratch.stats, propagation, (plan, planned), ran);
        ended
    }

    /// Runs `work` over these shards as a unit of the server's own, with its effects in the log.
    pub fn in_unit<R>(
        &self,
        mask: ShardMask,
        effects: &mut UnitEffects,
        work: impl FnOnce(&mut Unit<'_>) -> R,
    ) -> R {
        let settings = self.config.current();
        let mut nobody = None;
        effects.clear();
        let locked = self.keyspace.lock_to_serve(mask).giving_way();
        let now_ms = clock::unix_ms();
        effects.set_unix_s(now_ms / 1000);
        let lfu = evict::lfu(&settings, now_ms);
        let options = UnitOptions {
            now_ms,
            access: lfu.map_or_else(|| clock::lru_seconds_at(now_ms), Lfu::fresh),
            lfu,
            no_touch: false,
            expiry: ExpiryMode::Remove,
            notify: settings.observe.notify_keyspace_events.bits(),
            log: self.log.is_active(),
            expired: Free::lazily(settings.memory.lazyfree_lazy_expire),
            replaced: Free::lazily(settings.memory.lazyfree_lazy_server_del),
        };
        let mut unit = Unit::new(locked, options, effects);
        let result = work(&mut unit);
        let served;
        (unit, served) = self.serve_behind(unit, &settings, &mut nobody);
        let appended = !unit.effects.is_empty();
        let mut offset = 0;
        if appended {
            offset = self.log.append(unit.effects);
            unit.wrote(offset);
        }
        let (counters, freed) = (unit.counters, std::mem::take(&mut unit.freed));
        let events = std::mem::take(&mut unit.events);
        drop(unit);
        if appended {
            self.log.wake();
        }
        served.into_iter().for_each(|s| s.send(offset));
        self.stats
            .count_expired(counters.expired, counters.expired_fields);
        if !events.is_empty() {
            self.host.publish_events(&events);
        }
        self.free(freed);
        result
    }

    fn unit_options(
        &self,
        settings: &Settings,
        session: &Session,
        gates: u32,
        propagation: &Propagation<'_>,
    ) -> UnitOptions {
        let now_ms = clock::unix_ms();
        let expiry = match session.origin {
            Origin::Primary | Origin::Replay => ExpiryMode::Ignore,
            Origin::Client if Gate::REPLICA.among(gates) => ExpiryMode::Hide,
            Origin::Client if Gate::PAUSED.among(gates) && self.pause.is_on(now_ms) => {
                ExpiryMode::Hide
            }
            Origin::Client => ExpiryMode::Remove,
        };
        let lfu = evict::lfu(settings, now_ms);
        UnitOptions {
            now_ms,
            access: lfu.map_or_else(|| clock::lru_seconds_at(now_ms), Lfu::fresh),
            lfu,
            no_touch: session.no_touch,
            expiry,
            notify: settings.observe.notify_keyspace_events.bits(),
            log: matches!(propagation, Propagation::Own)
                && self.log.is_active()
                && !Gate::REPLICA.among(gates),
            expired: Free::lazily(settings.memory.lazyfree_lazy_expire),
            replaced: Free::lazily(settings.memory.lazyfree_lazy_server_del),
        }
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "one call site, all of it the batch's state"
    )]
    #[inline]
    fn one(
        &self,
        ctx: &mut Ctx<'_>,
        stats: &WorkerStats,
        command: Option<&Command<Action>>,
        args: &[&[u8]],
        reply: &mut Reply,
        gates: u32,
        clock: &mut u64,
    ) {
        if args.is_empty() {
            return;
        }
        let silent = (ctx.session.reply_mode != ReplyMode::On).then(|| reply.mark());
        let errors = reply.errors();
        match self.admit(ctx, command, args, gates) {
            Ok(Some((command, action))) => {
                let failed = self.call(ctx, command, action, args, reply);
                let now = clock::mono_ns();
                let nanos = now.saturating_sub(*clock);
                *clock = now;
                // What waits is counted when it is served.
                if !ctx.blocked {
                    if let Some(c) = stats.commands.get(usize::from(command.spec.id)) {
                        c.ran(nanos, failed, ctx.settings.observe.latency_tracking);
                    }
                    self.note_slow(ctx, command, args, nanos);
                }
            }
            Ok(None) => reply.queued(),
            Err(text) => {
                if let Some(q) = &mut ctx.session.multi {
                    q.failed = true;
                }
                if let Some(c) = command
                    && let Some(counters) = stats.commands.get(usize::from(c.spec.id))
                {
                    bump(&counters.rejected, 1);
                }
                reply.error(text);
            }
        }
        note_last(ctx, command);
        bump(&stats.processed, 1);
        self.count_errors(stats, errors, reply);
        if let Some(mark) = silent {
            self.silence(ctx.session, mark, reply);
        }
    }

    /// Runs a command that may run. Whether it replied with an error.
    #[inline]
    pub(super) fn call(
        &self,
        ctx: &mut Ctx<'_>,
        command: &Command<Action>,
        action: Action,
        args: &[&[u8]],
        reply: &mut Reply,
    ) -> bool {
        let errors = reply.errors();
        let effects = ctx.unit.effects.mark();
        let db = ctx.session.db as u32;
        let is_exec = || command.spec.name == "exec";
        let mut failed = false;
        match (action.run)(ctx, args, reply) {
            Ok(Effect::None) => {}
            Ok(effect) => {
                if ctx.unit.options.log {
                    ctx.unit.effects.push_effect(db, args, &effect);
                }
            }
            Err(e) => {
                reply.error(e.0.as_bytes());
                failed = true;
            }
        }
        let arbitrary = CommandFlags::TOUCHES_ARBITRARY_KEYS;
        if ctx.unit.effects.commands() > 1
            && !ctx.nested
            && !command.spec.flags.contains(arbitrary)
            && !is_exec()
        {
            ctx.unit.effects.wrap_multi(effects);
        }
        // What a queued command replies with is its own failure, not EXEC's.
        failed || reply.errors() != errors && !is_exec()
    }

    /// Runs a command of a transaction or a script, inside its unit.
    pub fn run_queued(&self, ctx: &mut Ctx<'_>, args: &[&[u8]], reply: &mut Reply) {
        let Some(command) = self.table.lookup_original(args) else {
            reply.error(self.table.unknown_error(args));
            return;
        };
        let Some(action) = command.handler else {
            return;
        };
        let begun = clock::mono_ns();
        let failed = self.call(ctx, command, action, args, reply);
        let nanos = clock::mono_ns().saturating_sub(begun);
        let tracked = ctx.settings.observe.latency_tracking;
        self.stats
            .count_nested(command.spec.id, nanos, failed, tracked);
        self.note_slow(ctx, command, args, nanos);
    }

    /// Notes a command that took long, where somebody wants to know.
    #[inline]
    pub(super) fn note_slow(
        &self,
        ctx: &Ctx<'_>,
        command: &Command<Action>,
        args: &[&[u8]],
        nanos: u64,
    ) {
        let observe = &ctx.settings.observe;
        let limit_us = observe.slowlog_log_slower_than_us;
        let slow = limit_us >= 0 && (nanos / 1000) as i64 >= limit_us;
        if slow || observe.latency_monitor_threshold_ms > 0 {
            self.note_slow_now(ctx, command, args, nanos);
        }
    }

    #[cold]
    fn note_slow_now(&self, ctx: &Ctx<'_>, command: &Command<Action>, args: &[&[u8]], nanos: u64) {
        let (threshold, max_len) = (
            ctx.settings.observe.slowlog_log_slower_than_us,
            ctx.settings.observe.slowlog_max_len as usize,
        );
        let us = (nanos / 1000) as i64;
        let fast = command.spec.flags.contains(CommandFlags::FAST);
        self.latency.note(
            if fast {
                latency::FAST_COMMAND
            } else {
                latency::COMMAND
            },
            nanos / 1_000_000,
            ctx.settings.observe.latency_monitor_threshold_ms,
            ctx.now_ms() / 1000,
        );
        if threshold < 0
            || us < threshold
            || max_len == 0
            || command.spec.flags.contains(CommandFlags::SKIP_SLOWLOG)
            || ctx.session.origin == Origin::Replay
        {
            return;
        }
        let client = &ctx.session.client;
        let entry = SlowEntry {
            id: 0,
            unix_s: ctx.now_ms() / 1000,
            duration_us: us,
            args: slowlog::kept(&command.spec.full_name, args),
            addr: client.addr.clone(),
            name: client.names.lock().name.clone(),
        };
        self.slowlog.push(entry, max_len);
    }

    /// Ends the unit: effects to the log, locks released, events out.
    #[inline]
    fn finish(
        &self,
        mut ctx: Ctx<'_>,
        stats: &WorkerStats,
        propagation: Propagation<'_>,
        (plan, planned): (&Plan<'_>, &[Planned<'_>]),
        ran: &mut Ran,
    ) {
        let mut end = 0;
        let depends = Dependence::of(self, &ctx, plan, planned);
        match propagation {
            Propagation::Own if ctx.unit.effects.is_empty() => {}
            Propagation::Own => {
                let offset = self.log.append(ctx.unit.effects);
                depends.note(&mut ctx.unit, offset);
                ctx.session.last_write = offset;
                end = offset;
                ran.appended = true;
            }
            Propagation::Primary(stream) => {
                let db = Some(ctx.session.db as u32);
                let offset = self.log.append_raw(stream.bytes, stream.for_aof, db);
                depends.note(&mut ctx.unit, offset);
                end = offset;
                ran.appended = true;
            }
            Propagation::Nowhere => {}
        }
        let durable_at = depends.durable_at(&mut ctx.unit, end);
        ran.durable_at = ran.durable_at.max(durable_at);
        let counters = ctx.unit.counters;
        let events = std::mem::take(&mut ctx.unit.events);
        let freed = std::mem::take(&mut ctx.unit.freed);
        let served = std::mem::take(&mut ctx.served);
        let last_ms = ctx.now_ms();
        ctx.session.client.last_ms.store(last_ms, Ordering::Relaxed);
        let own_expiries = std::mem::take(&mut ctx.unit.own_expiries);
        drop(ctx);
        if !own_expiries.is_empty() && self.gates.is(Gate::REPLICA) {
            self.own_expiries.track(own_expiries);
        }
        served.into_iter().for_each(|s| s.send(end));
        if counters.dirty > 0 {
            self.keyspace.add_dirty(counters.dirty);
        }
        if counters.hits > 0 {
            bump(&stats.hits, counters.hits);
        }
        if counters.misses > 0 {
            bump(&stats.misses, counters.misses);
        }
        if counters.expired > 0 {
            bump(&stats.expired, counters.expired);
        }
        if counters.expired_fields > 0 {
            bump(&stats.expired_fields, counters.expired_fields);
        }
        if !events.is_empty() {
            self.host.publish_events(&events);
        }
        self.free(freed);
    }
}

/// Shows a command as its client's last one.
#[inline]
fn note_last(ctx: &Ctx<'_>, command: Option<&Command<Action>>) {
    if let Some(c) = command {
        let last = &ctx.session.client.last_command;
        last.store(u32::from(c.spec.id), Ordering::Relaxed);
    }
}

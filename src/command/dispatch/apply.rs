//! Applying the stream of our primary: the same handlers, under the same locks, without the checks
//! that are for clients.
//!
//! A unit is what [`FromPrimary`] holds: whole commands, whole transactions. Its bytes go to the
//! log as they came, while the shards are locked. A link that has been cut off (by REPLICAOF, which
//! changes the number under [`Gates::link`]) applies nothing any more; that is decided behind the
//! locks, so nothing of an old primary slips in behind the change.
//!
//! [`Gates::link`]: super::super::engine::Gates::link

use crate::base::clock;
use crate::keyspace::locks::ShardMask;
use crate::keyspace::unit::{Hint, NO_PLACES, Places, TOGETHER, Unit};
use crate::resp::reply::Reply;

use super::super::ctx::Ctx;
use super::super::engine::Engine;
use super::super::session::Session;
use super::super::stats::bump;
use super::plan::{Planned, is_bracket};
use super::{Propagation, Ran, Scratch};

/// A unit of the primary's stream.
#[derive(Clone, Copy, Debug)]
pub struct FromPrimary<'b> {
    /// Its commands.
    pub commands: &'b [&'b [&'b [u8]]],
    /// The bytes they came as.
    pub bytes: &'b [u8],
    /// Whether the AOF keeps them.
    pub for_aof: bool,
    /// The link they came by.
    pub link: u64,
}

/// Asks the processor for what the lookups of these commands will read.
fn expect(ctx: &Ctx<'_>, planned: &[Planned<'_>]) -> Places {
    let db = ctx.session.db;
    let mut places = NO_PLACES;
    for (p, place) in planned.iter().zip(&mut places) {
        if p.first_key > 0 {
            *place = ctx.unit.slots_of(db, p.hash);
        }
    }
    let hashes = planned.iter().map(|p| p.hash);
    ctx.unit.fetch(db, hashes, &mut places);
    places
}

impl Engine {
    /// Applies a unit of the primary's stream. `failed` hears of commands that reply with an
    /// error, which the primary's did not. `false` if the link has been cut off: nothing was done.
    /// Whoever calls wakes the log's readers, as for [`Ran::appended`].
    pub fn apply(
        &self,
        scratch: &mut Scratch,
        session: &mut Session,
        stream: &FromPrimary<'_>,
        reply: &mut Reply,
        failed: &mut dyn FnMut(&[&[u8]], &Reply),
    ) -> bool {
        let settings = self.config.current();
        let plan = self.plan_together(stream.commands);
        let shards = plan.requests.iter().map(|p| p.shards);
        let mask = shards.fold(ShardMask::NONE, ShardMask::union);
        scratch.effects.clear();
        let locked = self.keyspace.lock_to_serve(mask);
        // Whoever changes our role holds every shard or none: after the shards, always.
        let link = self.gates.link.lock();
        if *link != stream.link {
            return false;
        }
        let propagation = Propagation::Primary(stream);
        let gates = self.gates.load();
        let options = self.unit_options(&settings, session, gates, &propagation);
        let unit = Unit::new(locked, options, &mut scratch.effects);
        let mut ctx = Ctx::new(unit, session, self, &settings);
        ctx.nested = true;
        let mut clock = clock::mono_ns();
        let some = plan.requests.chunks(TOGETHER);
        for (planned, commands) in some.zip(stream.commands.chunks(TOGETHER)) {
            let places = expect(&ctx, planned);
            for ((p, args), place) in planned.iter().zip(commands).zip(places) {
                if args.is_empty() || is_bracket(args) {
                    continue;
                }
                if let Some(key) = args.get(p.first_key).filter(|_| p.first_key > 0) {
                    let hint = Hint::new(key, p.hash, place, plan.hashes_of(p));
                    ctx.unit.hint(hint);
                }
                let stats = &scratch.stats;
                if self.apply_one(&mut ctx, stats, p, args, reply, &mut clock) {
                    failed(args, reply);
                }
                reply.clear();
            }
        }
        self.serve_waiters(&mut ctx);
        self.finish(ctx, &scratch.stats, propagation, &mut Ran::default());
        drop(link);
        true
    }

    /// Runs one of them. Whether it replied with an error.
    fn apply_one(
        &self,
        ctx: &mut Ctx<'_>,
        stats: &super::WorkerStats,
        planned: &Planned<'_>,
        args: &[&[u8]],
        reply: &mut Reply,
        clock: &mut u64,
    ) -> bool {
        let known = planned.command.and_then(|c| Some((c, c.handler?)));
        let Some((command, action)) = known else {
            reply.error(self.table.unknown_error(args));
            return true;
        };
        if !command.spec.arity_ok(args.len()) {
            reply.error(command.spec.arity_error());
            return true;
        }
        let is_error = self.call(ctx, command, action, args, reply);
        let now = clock::mono_ns();
        let nanos = now.saturating_sub(*clock);
        *clock = now;
        if let Some(c) = stats.commands.get(usize::from(command.spec.id)) {
            c.ran(nanos, is_error, ctx.settings.observe.latency_tracking);
        }
        bump(&stats.processed, 1);
        self.note_slow(ctx, command, args, nanos);
        is_error
    }
}

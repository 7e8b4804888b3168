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
use crate::keyspace::unit::{NO_PLACES, Places, TOGETHER, Unit};
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
                if let Some(hint) = plan.hint(p, args, place) {
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
        let requests = (&plan, plan.requests.as_slice());
        self.finish(
            ctx,
            &scratch.stats,
            propagation,
            requests,
            &mut Ran::default(),
        );
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

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use super::*;
    use crate::client::registry::NewClient;
    use crate::command::session::Origin;
    use crate::command::testing::TestServer;

    fn session(t: &TestServer) -> Session {
        let client = t.engine.clients.register(NewClient::default(), 0);
        Session::new(client, Origin::Primary, true)
    }

    /// Applies these as one unit; the names of those that failed.
    fn apply(t: &TestServer, session: &mut Session, lines: &[String]) -> Vec<String> {
        let split: Vec<Vec<&[u8]>> = lines
            .iter()
            .map(|line| line.split(' ').map(str::as_bytes).collect())
            .collect();
        let commands: Vec<&[&[u8]]> = split.iter().map(Vec::as_slice).collect();
        let mut bytes = String::new();
        for line in lines {
            write!(bytes, "*{}\r\n", line.split(' ').count()).unwrap();
            line.split(' ')
                .for_each(|arg| write!(bytes, "${}\r\n{arg}\r\n", arg.len()).unwrap());
        }
        let mut failures = Vec::new();
        let unit = FromPrimary {
            commands: &commands,
            bytes: bytes.as_bytes(),
            for_aof: true,
            link: *t.engine.gates.link.lock(),
        };
        let applied = t.engine.apply(
            &mut Scratch::new(&t.engine),
            session,
            &unit,
            &mut Reply::default(),
            &mut |args, _| failures.push(String::from_utf8_lossy(args[0]).into_owned()),
        );
        assert!(applied);
        failures
    }

    /// What was found out about keys of one database is not taken for another's, and what goes and
    /// comes within a unit is found where it is.
    #[test]
    fn a_stream_does_what_its_commands_did() {
        let mut lines = Vec::new();
        for i in 0..198 {
            let k = i * 7 % 11;
            lines.push(match i % 9 {
                0 => format!("SELECT {}", i / 9 % 2),
                1 => "MULTI".to_owned(),
                2 => format!("SET k{k} {i}"),
                3 => format!("DEL k{} k{}", k + 1, k + 2),
                4 => "EXEC".to_owned(),
                5 => format!("MSET k{k} a{i} k{} b{i} k{} c{i}", k + 3, k + 5),
                6 => format!("APPEND k{} {i}", k + 4),
                7 => format!("RENAME k{k} k{}", k + 6),
                _ => format!("RPUSH l{k} {i}"),
            });
        }
        let (primary, replica) = (&mut TestServer::new(), &mut TestServer::new());
        // What fails does not get into a stream.
        lines.retain(|line| !primary.run(line).starts_with('-'));
        let mut session = session(replica);
        for unit in lines.chunks(45) {
            assert_eq!(apply(replica, &mut session, unit), [""; 0]);
        }
        for db in 0..2 {
            let state = |t: &mut TestServer| {
                t.run(&format!("SELECT {db}"));
                let strings = (0..20).map(|k| t.run(&format!("GET k{k}")));
                let strings: Vec<String> = strings.collect();
                let lists = (0..11).map(|k| t.run(&format!("LRANGE l{k} 0 -1")));
                (strings, lists.collect::<Vec<_>>(), t.run("DBSIZE"))
            };
            assert_eq!(state(primary), state(replica));
        }
    }

    #[test]
    fn what_fails_is_told_and_the_rest_runs() {
        let mut t = TestServer::new();
        let lines = ["SET a 1", "NOSUCH a", "GET", "LPUSH a 1", "SET b 2"].map(str::to_owned);
        let mut session = session(&t);
        assert_eq!(apply(&t, &mut session, &lines), ["NOSUCH", "GET", "LPUSH"]);
        assert_eq!(t.run("MGET a b"), r#"["1", "2"]"#);
    }
}

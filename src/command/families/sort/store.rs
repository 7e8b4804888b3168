//! SORT with STORE: the sorted elements become a list.
//!
//! Of few elements this is part of the unit that read them, and the effect is the command itself,
//! if that comes to the same everywhere.
//! Many are sorted, and their list is made, on a thread beside the workers while no lock is held
//! ([`later`]); only the finished list is put in its place under the target's lock. Between the
//! reading and the storing other commands run, so the effect is then not the command, which might
//! come to something else on a replica, but the list: DEL and RPUSH in a transaction. And the
//! server may have changed meanwhile: what would forbid a write now forbids the storing.

use std::time::Duration;

use tokio::sync::oneshot;

use crate::base::clock;
use crate::command::ctx::{CommandError, Ctx, Later, Outcome};
use crate::command::engine::{Engine, Gate};
use crate::command::limits;
use crate::command::spec::CommandFlags;
use crate::keyspace::hash;
use crate::keyspace::locks::ShardMask;
use crate::keyspace::unit::{Expiry, NotifyClass, Unit};
use crate::keyspace::value::list::{End, List, ListLimits};
use crate::oplog::effect::{Effect, Encoded, UnitEffects};
use crate::resp::errors;
use crate::resp::reply::Reply;

use super::order::{Elements, Plan, Sorted};
use super::{Gathered, Shown};

/// Elements that a stored list is given at a time.
const BATCH: usize = 512;

/// How often a thread that has a list to store looks whether clients are still held back.
const LOOK: Duration = Duration::from_millis(1);

/// Sorts, away from all locks.
pub(super) type Sort = Box<dyn FnOnce() -> Result<Sorted, CommandError> + Send>;

/// Hands on what is stored, a batch at a time.
fn batches(sorted: &Sorted, found: &Gathered, gets: usize, mut each: impl FnMut(&[&[u8]])) {
    let mut batch = Elements::default();
    for (place, element) in sorted.places() {
        match found {
            Gathered::Plain(shown) => {
                let text = |is_shown: &bool| if *is_shown { element } else { b"" };
                shown.iter().for_each(|s| batch.push(text(s)));
            }
            Gathered::Each(found, texts) => {
                for shown in found.iter().skip(place * gets).take(gets) {
                    match shown {
                        Shown::Element => batch.push(element),
                        Shown::Nothing => batch.push(b""),
                        Shown::Copy(text) => batch.push(texts.get(*text)),
                        Shown::Shared(bytes) => batch.push(bytes),
                    }
                }
            }
        }
        if batch.len() >= BATCH {
            each(&batch.iter().collect::<Vec<_>>());
            batch = Elements::default();
        }
    }
    if batch.len() > 0 {
        each(&batch.iter().collect::<Vec<_>>());
    }
}

/// Makes the result the list at `target`, within the unit that read the elements.
pub(super) fn now(
    ctx: &mut Ctx<'_>,
    target: &[u8],
    plan: &Plan,
    sorted: &Sorted,
    found: &Gathered,
    gets: usize,
    reply: &mut Reply,
) -> Effect {
    let as_list = plan.may_be_chance();
    let limits = limits::list(ctx.settings);
    let mut list = List::default();
    let mut encoded = Encoded::one(&[b"DEL", target]);
    batches(sorted, found, gets, |values| {
        list.push(limits, End::Tail, values);
        if as_list {
            encoded.push(&rpush(target, values));
        }
    });
    reply.len_int(list.len());
    let db = ctx.db();
    if !put(&mut ctx.unit, db, target, list) {
        Effect::None
    } else if as_list {
        Effect::Rewritten(encoded)
    } else {
        Effect::Verbatim
    }
}

fn rpush<'a>(target: &'a [u8], values: &[&'a [u8]]) -> Vec<&'a [u8]> {
    let words = [b"RPUSH".as_slice(), target];
    words.into_iter().chain(values.iter().copied()).collect()
}

/// Puts a list in its place. Whether anything has changed.
fn put(unit: &mut Unit<'_>, db: usize, target: &[u8], list: List) -> bool {
    if list.is_empty() {
        let was_there = unit.delete(db, target);
        if was_there {
            unit.notify(NotifyClass::GENERIC, "del", db, target);
        }
        return was_there;
    }
    unit.counters.dirty += list.len() as u64 - 1;
    unit.set_value(db, target, list.into(), Expiry::Clear);
    unit.notify(NotifyClass::LIST, "sortstore", db, target);
    true
}

/// Whether a command may leave the storing to a thread: not inside a transaction, and not on a
/// replica, whose own clients' writes go nowhere.
pub(super) fn may_wait(ctx: &Ctx<'_>) -> bool {
    let engine = ctx.engine;
    let is_primary = !engine.gates.is(Gate::REPLICA);
    !ctx.nested && ctx.is_client() && is_primary && engine.host.aside().is_some()
}

/// A list that is made on a thread of its own.
struct Job {
    db: usize,
    target: Vec<u8>,
    limits: ListLimits,
    found: Gathered,
    gets: usize,
}

/// Sorts and stores on a thread of its own, then replies.
pub(super) fn later(
    ctx: &mut Ctx<'_>,
    target: &[u8],
    sort: Sort,
    found: Gathered,
    gets: usize,
) -> Outcome {
    let lost = || CommandError::new("ERR no thread to sort on");
    let aside = ctx.engine.host.aside().ok_or_else(lost)?;
    let job = Job {
        db: ctx.db(),
        target: target.to_vec(),
        limits: limits::list(ctx.settings),
        found,
        gets,
    };
    let (told, outcome) = oneshot::channel();
    aside.run(Box::new(move |engine| {
        let stored = sort().and_then(|sorted| job.store(engine, &sorted));
        // The client may have gone.
        let _ = told.send(stored);
    }));
    ctx.suspended = Some(Box::pin(async move {
        let stored = outcome.await.unwrap_or_else(|_| Err(lost()));
        let later: Later = Box::new(move |session, reply| match stored {
            Ok((len, offset)) => {
                session.last_write = session.last_write.max(offset);
                reply.len_int(len);
            }
            Err(error) => reply.error(error.0.as_bytes()),
        });
        later
    }));
    Ok(Effect::None)
}

impl Job {
    /// Makes the list and puts it in its place. Its length, and an offset of the log behind it.
    fn store(self, engine: &Engine, sorted: &Sorted) -> Result<(usize, u64), CommandError> {
        let target = self.target.as_slice();
        let mut list = List::default();
        let mut encoded = Encoded::one(&[b"DEL", target]);
        batches(sorted, &self.found, self.gets, |values| {
            list.push(self.limits, End::Tail, values);
            encoded.push(&rpush(target, values));
        });
        let len = list.len();
        let mut mask = ShardMask::NONE;
        mask.add_hash(hash::of(target));
        let mut effects = UnitEffects::new();
        loop {
            // Making room locks shards.
            let room = engine.make_room(&engine.config.current()).gate();
            let put = engine.in_unit(mask, &mut effects, |unit| {
                self.put(engine, unit, &list, &encoded, room)
            });
            match put {
                Some(dirty) => {
                    engine.keyspace.add_dirty(dirty?);
                    return Ok((len, engine.log.end_offset()));
                }
                None => std::thread::sleep(LOOK),
            }
        }
    }

    /// Puts the list in its place, if an ordinary write might: how many changes that was, or `None`
    /// while clients are held back.
    fn put(
        &self,
        engine: &Engine,
        unit: &mut Unit<'_>,
        list: &List,
        encoded: &Encoded,
        room: u32,
    ) -> Option<Result<u64, CommandError>> {
        if engine.pause.is_on(clock::unix_ms()) {
            return None;
        }
        // What it was when the command came may have changed.
        if engine.gates.is(Gate::REPLICA) {
            return Some(Err(CommandError::new(errors::READ_ONLY)));
        }
        let flags = CommandFlags::WRITE.union(CommandFlags::DENYOOM);
        if let Err(refusal) = engine.check_late_write(flags, room) {
            let text = String::from_utf8_lossy(&refusal).into_owned();
            return Some(Err(CommandError::new(text)));
        }
        let before = unit.counters.dirty;
        if put(unit, self.db, &self.target, list.clone()) && unit.options.log {
            let mark = unit.effects.mark();
            unit.effects.push_encoded(self.db as u32, encoded);
            unit.effects.wrap_multi(mark);
        }
        Some(Ok(unit.counters.dirty - before))
    }
}

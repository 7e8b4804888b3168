//! What is known of a batch before anything is locked: its commands, the hashes of their keys, the
//! shards they need.

use smallvec::SmallVec;

use super::super::families::{Action, Locks};
use super::super::spec::{Command, CommandFlags};
use super::{BATCH_MAX, Engine};
use crate::base::text::same;
use crate::keyspace::hash;
use crate::keyspace::locks::ShardMask;
use crate::keyspace::table::Pos;
use crate::keyspace::unit::Hint;

/// A request that is about to run.
pub(super) struct Planned<'e> {
    pub command: Option<&'e Command<Action>>,
    pub first_key: usize,
    pub hash: u64,
    pub shards: ShardMask,
    /// Where the hashes of all keys are in [`Plan::hashes`], if there are several keys.
    several: (u32, u32),
    /// Whether these are all the keys that it looks at or changes.
    names_all: bool,
}

/// The plan of a batch.
#[derive(Default)]
pub(super) struct Plan<'e> {
    pub requests: SmallVec<[Planned<'e>; BATCH_MAX]>,
    /// The hashes of the keys of those commands that have several.
    hashes: SmallVec<[u64; 2 * BATCH_MAX]>,
}

impl<'e> Plan<'e> {
    /// A request with the shards it needs: those of its keys, or all.
    #[inline]
    fn of(
        &mut self,
        command: Option<&'e Command<Action>>,
        locks: Locks,
        args: &[&[u8]],
    ) -> Planned<'e> {
        let mut p = Planned {
            command,
            first_key: 0,
            hash: 0,
            shards: ShardMask::NONE,
            several: (0, 0),
            names_all: false,
        };
        match (locks, command) {
            (Locks::All, _) => p.shards = ShardMask::ALL,
            (Locks::Keys, Some(c)) => {
                let from = self.hashes.len() as u32;
                (p.first_key, p.hash) = add_keys(c, args, &mut p.shards, |hash| {
                    self.hashes.push(hash);
                });
                p.several = (from, self.hashes.len() as u32);
                let arbitrary = CommandFlags::TOUCHES_ARBITRARY_KEYS;
                p.names_all = p.first_key > 0 && !c.spec.flags.contains(arbitrary);
            }
            (Locks::Nothing, _) => p.names_all = true,
            _ => {}
        }
        p
    }

    /// The hashes of all keys that these requests look at or change, if that is known: not where
    /// other shards than theirs were `locked`. Nor where there are many: shards are locked now.
    pub fn all_keys(
        &self,
        planned: &[Planned<'_>],
        locked: ShardMask,
    ) -> Option<SmallVec<[u64; BATCH_MAX]>> {
        let mut all = SmallVec::new();
        let mut shards = ShardMask::NONE;
        for p in planned {
            if !p.names_all {
                return None;
            }
            shards = shards.union(p.shards);
            match p.several {
                (from, to) if (to - from) as usize > BATCH_MAX => return None,
                (from, to) if from < to => {
                    all.extend_from_slice(self.hashes.get(from as usize..to as usize)?);
                }
                _ if p.first_key > 0 => all.push(p.hash),
                _ => {}
            }
            if all.len() > BATCH_MAX {
                return None;
            }
        }
        (shards == locked).then_some(all)
    }

    /// What is known of a request's keys, if it has any; the first probably stands at `place`.
    #[inline]
    pub fn hint(&self, planned: &Planned<'_>, args: &[&[u8]], place: Pos) -> Option<Hint<'_>> {
        if planned.first_key == 0 {
            return None;
        }
        let (from, to) = planned.several;
        let all = self.hashes.get(from as usize..to as usize);
        let key = args.get(planned.first_key)?;
        Some(Hint::new(key, planned.hash, place, all.unwrap_or_default()))
    }
}

/// What brackets a transaction: in a stream, that is one unit already.
pub(super) fn is_bracket(args: &[&[u8]]) -> bool {
    let is = |name: &[u8]| args.first().is_some_and(|a| a.eq_ignore_ascii_case(name));
    is(b"multi") || is(b"exec")
}

/// The command before, and what it was called: pipelines often repeat one, to the letter.
type Before<'r, 'e> = Option<(&'r [u8], &'e Command<Action>)>;

impl Engine {
    /// Plans the first of these requests, up to the first that must be a unit of its own.
    pub(super) fn plan<'e>(&'e self, requests: &[&[&[u8]]]) -> Plan<'e> {
        let mut plan = Plan::default();
        let mut before = None;
        for args in requests.iter().take(BATCH_MAX) {
            let (command, locks) = self.look_up(args, &mut before);
            let alone = matches!(locks, Locks::All | Locks::Own);
            if alone && !plan.requests.is_empty() {
                break;
            }
            let p = plan.of(command, locks, args);
            plan.requests.push(p);
            if alone {
                break;
            }
        }
        plan
    }

    /// Plans commands of a stream, which run under one set of locks whatever they are.
    pub(super) fn plan_together<'e>(&'e self, commands: &[&[&[u8]]]) -> Plan<'e> {
        let mut plan = Plan::default();
        let mut before = None;
        for args in commands {
            let (command, mut locks) = self.look_up(args, &mut before);
            if !is_bracket(args) {
                locks = locks.inside_unit();
            }
            let p = plan.of(command, locks, args);
            plan.requests.push(p);
        }
        plan
    }

    /// A request's command, and what it locks if it can run.
    #[inline]
    fn look_up<'r, 'e>(
        &'e self,
        args: &[&'r [u8]],
        before: &mut Before<'r, 'e>,
    ) -> (Option<&'e Command<Action>>, Locks) {
        let name = args.first().copied().unwrap_or_default();
        let command = match *before {
            Some((before, command)) if same(before, name) => Some(command),
            _ => self.table.lookup(args),
        };
        *before = command.filter(|c| c.has_one_word()).map(|c| (name, c));
        let locks = match command {
            Some(c) if c.spec.arity_ok(args.len()) => c.handler.map_or(Locks::Nothing, |a| a.locks),
            _ => Locks::Nothing,
        };
        (command, locks)
    }

    /// The shards that a queued command needs.
    pub fn locks_of(&self, args: &[&[u8]]) -> ShardMask {
        let (command, locks) = self.look_up(args, &mut None);
        Plan::default()
            .of(command, locks.inside_unit(), args)
            .shards
    }
}

/// Adds the shards of a command's keys; the index of its first key and that key's hash. `each` is
/// shown the hashes of all keys of a command that may have several.
#[inline]
fn add_keys(
    command: &Command<Action>,
    args: &[&[u8]],
    mask: &mut ShardMask,
    mut each: impl FnMut(u64),
) -> (usize, u64) {
    if let Some(only) = command.spec.keys.shape.only() {
        return args.get(only).map_or((0, 0), |key| {
            let h = hash::of(key);
            mask.add_hash(h);
            (only, h)
        });
    }
    let mut first = (0, 0);
    let mut add = |index: usize| {
        if let Some(key) = args.get(index) {
            let h = hash::of(key);
            mask.add_hash(h);
            each(h);
            if first.0 == 0 {
                first = (index, h);
            }
        }
    };
    match command.spec.keys.shape.positions(args.len()) {
        Some(positions) => positions.for_each(&mut add),
        None => match command.spec.keys.keys(args) {
            Ok(keys) => keys.iter().for_each(|k| add(k.position)),
            Err(_) => *mask = ShardMask::ALL,
        },
    }
    first
}

//! HSETEX and HGETEX: values and their lifetimes at once.

use smallvec::SmallVec;

use super::expire::{expire_effect, instant, tell_of_removal};
use super::{Look, Met, arg, expire, meet, named_fields, values, wrong_arity};
use crate::base::num;
use crate::command::ctx::{CommandError, Ctx, Outcome};
use crate::command::limits;
use crate::keyspace::unit::{Missing, NotifyClass};
use crate::keyspace::value::hash::{Hash, Lifetime};
use crate::oplog::effect::Effect;
use crate::resp::reply::Reply;

/// The unit of the number behind a word, and whether it counts from now.
fn time_form(word: &[u8]) -> Option<(i64, bool)> {
    match word.to_ascii_lowercase().as_slice() {
        b"ex" => Some((1000, true)),
        b"px" => Some((1, true)),
        b"exat" => Some((1000, false)),
        b"pxat" => Some((1, false)),
        _ => None,
    }
}

/// Whether a field that is given this expiry is removed instead.
fn is_past(ctx: &Ctx<'_>, at_ms: i64) -> bool {
    at_ms <= ctx.now_ms() && ctx.deletes_expired()
}

/// What HGETEX does to the expiry of the fields it reads.
enum Change {
    Nothing,
    Clear,
    Set(i64),
}

/// `HGETEX key [EX seconds | PX ms | EXAT unix-s | PXAT unix-ms | PERSIST] FIELDS numfields field
/// [field ...]`
pub(super) fn hgetex(ctx: &mut Ctx<'_>, args: &[&[u8]], reply: &mut Reply) -> Outcome {
    let key = arg(args, 1);
    ctx.lookup::<Hash>(key)?;
    let now_ms = ctx.now_ms();
    let word = arg(args, 2);
    let (change, rest) = if let Some((unit_ms, relative)) = time_form(word) {
        let base_ms = if relative { now_ms } else { 0 };
        let at_ms = instant(arg(args, 3), unit_ms, base_ms, "hgetex")?;
        (Change::Set(at_ms), args.get(4..))
    } else if word.eq_ignore_ascii_case(b"persist") {
        (Change::Clear, args.get(3..))
    } else {
        (Change::Nothing, args.get(2..))
    };
    let fields = named_fields(rest.unwrap_or_default())?;
    let fields_now = ctx.unit.fields_now();
    let taken = matches!(change, Change::Set(at_ms) if is_past(ctx, at_ms));
    let look = Look {
        now_ms: fields_now,
        taken,
    };
    let (due, found) = values(ctx.lookup::<Hash>(key)?, fields, look, reply);
    expire(ctx, key, &due);
    match change {
        Change::Nothing => Ok(Effect::None),
        Change::Clear => clear(ctx, key, fields, &found),
        Change::Set(at_ms) => set(ctx, key, fields, &found, at_ms),
    }
}

fn clear(ctx: &mut Ctx<'_>, key: &[u8], fields: &[&[u8]], found: &[&[u8]]) -> Outcome {
    let done = ctx.update::<Hash, _>(key, Missing::Skip, |hash| {
        let before = hash.volatile();
        hash.become_timed();
        found.iter().for_each(|field| hash.set_expiry(*field, None));
        let changes = before - hash.volatile();
        (changes, changes as u64)
    })?;
    if done.is_none_or(|(changes, _)| changes == 0) {
        return Ok(Effect::None);
    }
    ctx.notify(NotifyClass::HASH, "hpersist", key);
    let mut count = itoa::Buffer::new();
    let mut argv: SmallVec<[&[u8]; 16]> = SmallVec::new();
    let count = count.format(fields.len()).as_bytes();
    argv.extend([&b"HPERSIST"[..], key, b"FIELDS", count]);
    argv.extend_from_slice(fields);
    Ok(ctx.rewritten(&argv))
}

fn set(ctx: &mut Ctx<'_>, key: &[u8], fields: &[&[u8]], found: &[&[u8]], at_ms: i64) -> Outcome {
    let past = is_past(ctx, at_ms);
    let mut removed: Vec<&[u8]> = Vec::new();
    let done = ctx.update::<Hash, _>(key, Missing::Skip, |hash| {
        hash.become_timed();
        for field in found {
            if !past {
                hash.set_expiry(*field, Some(at_ms));
            } else if hash.remove(*field) {
                removed.push(field);
            }
        }
        ((), found.len() as u64)
    })?;
    if found.is_empty() {
        return Ok(Effect::None);
    }
    if past {
        let emptied = done.is_some_and(|(_, emptied)| emptied);
        tell_of_removal(ctx, key, &removed, emptied);
        return Ok(Effect::None);
    }
    ctx.notify(NotifyClass::HASH, "hexpire", key);
    Ok(expire_effect(ctx, key, at_ms, None, fields))
}

/// What must hold of all fields for HSETEX to set them.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Condition {
    /// None is there.
    Absent,
    /// All are there.
    Present,
}

/// What HSETEX is asked for.
struct Request<'w, 'a> {
    condition: Option<Condition>,
    lifetime: Lifetime,
    /// Where the word stands that says how long.
    time_at: Option<usize>,
    pairs: &'w [&'a [u8]],
}

impl<'w, 'a> Request<'w, 'a> {
    fn parse(args: &'w [&'a [u8]], now_ms: i64) -> Result<Request<'w, 'a>, CommandError> {
        let mut request = Request {
            condition: None,
            lifetime: Lifetime::Endless,
            time_at: None,
            pairs: &[],
        };
        let mut at = 2;
        while let Some(word) = args.get(at) {
            let is = |name: &[u8]| word.eq_ignore_ascii_case(name);
            if is(b"fields") {
                request.pairs = pairs(args, at + 1)?;
                return Ok(request);
            }
            let condition = if is(b"fnx") {
                Some(Condition::Absent)
            } else if is(b"fxx") {
                Some(Condition::Present)
            } else {
                None
            };
            if condition.is_some() {
                if request.condition.is_some() {
                    return Err(CommandError::new(
                        "ERR Only one of FXX or FNX arguments can be specified",
                    ));
                }
                request.condition = condition;
                at += 1;
                continue;
            }
            at = request.take_time(args, at, now_ms)?;
        }
        Err(wrong_arity(args))
    }

    /// Takes in the word at `at` that says how long the fields live; where the next word stands.
    fn take_time(&mut self, args: &[&[u8]], at: usize, now_ms: i64) -> Result<usize, CommandError> {
        let word = arg(args, at);
        let form = time_form(word);
        if form.is_none() && !word.eq_ignore_ascii_case(b"keepttl") {
            let word = String::from_utf8_lossy(word);
            return Err(CommandError::new(format!("ERR unknown argument: {word}")));
        }
        if self.time_at.is_some() {
            return Err(CommandError::new(
                "ERR Only one of EX, PX, EXAT, PXAT or KEEPTTL arguments can be specified",
            ));
        }
        self.time_at = Some(at);
        let Some((unit_ms, relative)) = form else {
            self.lifetime = Lifetime::Kept;
            return Ok(at + 1);
        };
        let number = args.get(at + 1).ok_or_else(|| wrong_arity(args))?;
        let base_ms = if relative { now_ms } else { 0 };
        self.lifetime = Lifetime::Until(instant(number, unit_ms, base_ms, "hsetex")?);
        Ok(at + 2)
    }
}

/// The fields and values behind `FIELDS`, whose number stands at `at`.
fn pairs<'w, 'a>(args: &'w [&'a [u8]], at: usize) -> Result<&'w [&'a [u8]], CommandError> {
    let count = args.get(at).filter(|_| args.len() > at + 2);
    let count = count.ok_or_else(|| wrong_arity(args))?;
    let count = num::parse_i64(count).filter(|n| (1..=i64::from(i32::MAX)).contains(n));
    let count = count.ok_or(CommandError::new("ERR invalid number of fields"))?;
    let pairs = args.get(at + 1..).unwrap_or_default();
    if pairs.len() as i64 == count * 2 {
        Ok(pairs)
    } else {
        Err(wrong_arity(args))
    }
}

/// `HSETEX key [FNX | FXX] [EX seconds | PX ms | EXAT unix-s | PXAT unix-ms | KEEPTTL] FIELDS
/// numfields field value [field value ...]`
pub(super) fn hsetex(ctx: &mut Ctx<'_>, args: &[&[u8]], reply: &mut Reply) -> Outcome {
    let now_ms = ctx.now_ms();
    let request = Request::parse(args, now_ms)?;
    let key = arg(args, 1);
    ctx.lookup::<Hash>(key)?;
    if let Some(condition) = request.condition
        && !holds(ctx, key, condition, request.pairs)?
    {
        reply.int(0);
        return Ok(Effect::None);
    }
    reply.int(1);
    let past = match request.lifetime {
        Lifetime::Until(at_ms) => is_past(ctx, at_ms),
        Lifetime::Endless | Lifetime::Kept => false,
    };
    if past {
        return set_into_the_past(ctx, key, request.pairs);
    }
    let limits = limits::hash(ctx.settings);
    let longest = request.pairs.iter().map(|p| p.len()).max().unwrap_or(0);
    ctx.update::<Hash, _>(key, Missing::Create, |hash| {
        hash.prepare(longest, &limits);
        for pair in request.pairs.chunks_exact(2) {
            if let [field, value] = pair {
                hash.set_for(*field, *value, request.lifetime, &limits);
            }
        }
        ((), (request.pairs.len() / 2) as u64)
    })?;
    ctx.notify(NotifyClass::HASH, "hset", key);
    let (Lifetime::Until(at_ms), Some(at)) = (request.lifetime, request.time_at) else {
        return Ok(Effect::Verbatim);
    };
    ctx.notify(NotifyClass::HASH, "hexpire", key);
    let mut text = itoa::Buffer::new();
    let mut argv: SmallVec<[&[u8]; 16]> = SmallVec::from_slice(args);
    if let Some([word, number]) = argv.get_mut(at..at + 2) {
        *word = b"PXAT";
        *number = text.format(at_ms).as_bytes();
    }
    Ok(ctx.rewritten(&argv))
}

/// Whether the condition holds. Fields that are due and stand in the way are removed, up to the
/// first that denies it.
fn holds(
    ctx: &mut Ctx<'_>,
    key: &[u8],
    condition: Condition,
    pairs: &[&[u8]],
) -> Result<bool, CommandError> {
    let now_ms = ctx.unit.fields_now();
    let mut due: Vec<&[u8]> = Vec::new();
    let hash = ctx.lookup::<Hash>(key)?;
    let holds = pairs.iter().step_by(2).all(|field| {
        let present = match meet(hash, field, now_ms) {
            Met::Nothing => false,
            Met::Field(_) => true,
            Met::Due => {
                due.push(field);
                false
            }
        };
        present == (condition == Condition::Present)
    });
    let db = ctx.db();
    ctx.unit.expire_fields_untold(db, key, &due);
    Ok(holds)
}

/// HSETEX with an expiry in the past: whatever was there is gone. As in Redis the fields are set
/// before they are removed, for which a small hash may have to become a large one.
fn set_into_the_past(ctx: &mut Ctx<'_>, key: &[u8], pairs: &[&[u8]]) -> Outcome {
    let fields: Vec<&[u8]> = pairs.iter().step_by(2).copied().collect();
    let limits = limits::hash(ctx.settings);
    let longest = pairs.iter().map(|p| p.len()).max().unwrap_or(0);
    let done = ctx.update::<Hash, _>(key, Missing::Skip, |hash| {
        hash.become_timed();
        hash.prepare(longest, &limits);
        for pair in pairs.chunks_exact(2) {
            if let [field, value] = pair {
                hash.set(*field, *value, &limits);
            }
        }
        fields.iter().for_each(|field| {
            hash.remove(*field);
        });
        ((), fields.len() as u64)
    })?;
    ctx.notify(NotifyClass::HASH, "hset", key);
    let emptied = done.is_none_or(|(_, emptied)| emptied);
    tell_of_removal(ctx, key, &fields, emptied);
    Ok(Effect::None)
}

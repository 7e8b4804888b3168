//! SORT and SORT_RO.
//!
//! - [`request`]: the options. [`order`]: the elements and their order.
//!
//! Without patterns the order depends on one value alone: its handle is cloned and everything else
//! happens when the locks are released, on a helper thread if it is large. With patterns every
//! shard is locked, because the keys they lead to are not known beforehand: the weights of BY and
//! what GET leads to are read under the locks, so that they are of one instant. To let go of the
//! locks between pieces would be to compare weights of different instants: where a transaction
//! exchanges two of them, both could be seen alike, and the order would be none that the data ever
//! had. SORT is atomic in Redis, and clients build on that.
//!
//! Of many elements those within LIMIT are chosen first, which is not yet sorting; the sorting and
//! the writing happen outside, with STORE on a thread beside the workers ([`store`]).
//!
//! Fields of hashes that are met and due are removed, as by any command that reads them.
//!
//! Elements of equal weight keep the value's own order, those of a set the order of their bytes.

mod order;
mod request;
mod store;
#[cfg(test)]
mod tests;

use bytes::Bytes;

use crate::command::ctx::{CommandError, Ctx, Outcome};
use crate::command::storing;
use crate::keyspace::hash;
use crate::keyspace::locks::ShardMask;
use crate::keyspace::unit::WrongType;
use crate::keyspace::value::list::List;
use crate::keyspace::value::packed::Elem;
use crate::keyspace::value::{StrRef, Value, ValueRef};
use crate::oplog::effect::Effect;
use crate::resp::reply::Reply;

use self::order::{Elements, Sorted, Weights};
use self::request::{By, Get, Pattern, Request};
use super::{Family, Locks};

/// The family.
pub const HANDLERS: Family = &[("sort", sort, Locks::Own), ("sort_ro", sort_ro, Locks::Own)];

/// What concerns more elements than this happens when the locks are released.
const DEFER_ABOVE: usize = 512;

/// `SORT key [BY pattern] [LIMIT offset count] [GET pattern ...] [ASC | DESC] [ALPHA]
/// [STORE destination]`
fn sort(ctx: &mut Ctx<'_>, args: &[&[u8]], reply: &mut Reply) -> Outcome {
    run(ctx, args, &Request::parse(args, true)?, reply)
}

/// `SORT_RO`: SORT without STORE.
fn sort_ro(ctx: &mut Ctx<'_>, args: &[&[u8]], reply: &mut Reply) -> Outcome {
    run(ctx, args, &Request::parse(args, false)?, reply)
}

fn run(ctx: &mut Ctx<'_>, args: &[&[u8]], request: &Request<'_>, reply: &mut Reply) -> Outcome {
    lock(ctx, request);
    let value = match ctx.read(request.key) {
        None => Value::List(List::default()),
        Some(value @ (ValueRef::List(_) | ValueRef::Set(_) | ValueRef::Zset(_))) => {
            value.to_value()
        }
        Some(_) => return Err(WrongType.into()),
    };
    let len = value.as_ref().elements();
    let plan = request.plan(&value);
    let needs_no_key = !request.gets.iter().any(Get::is_pattern);
    let stores_later = request
        .store
        .filter(|_| len > DEFER_ABOVE && storing::may_wait(ctx));
    if needs_no_key
        && plan.by.is_none()
        && let Some(target) = stores_later
    {
        let sort = Box::new(move || plan.sort(&value, Weights::Own));
        let shown = Gathered::Plain(request.shown());
        return store::later(ctx, args, target, sort, shown, request.gets.len());
    }
    if needs_no_key && plan.by.is_none() && request.store.is_none() {
        let shown = request.shown();
        return if len > DEFER_ABOVE {
            let write = move |reply: &mut Reply| match plan.sort(&value, Weights::Own) {
                Ok(sorted) => write_plain(&sorted, &shown, reply),
                Err(error) => reply.error(error.0.as_bytes()),
            };
            reply.deferred_of(len, Box::new(write));
            Ok(Effect::None)
        } else {
            write_plain(&plan.sort(&value, Weights::Own)?, &shown, reply);
            Ok(Effect::None)
        };
    }
    let elements = plan.load(&value);
    let mut met = Met::default();
    let weights = match &plan.by {
        Some(pattern) => weigh(ctx, &elements, pattern, plan.alpha, &mut met),
        None => Weights::Own,
    };
    if matches!(weights, Weights::Broken) {
        return Err(NOT_DOUBLE);
    }
    if len > DEFER_ABOVE && (request.store.is_none() || stores_later.is_some()) {
        let (elements, weights) = if needs_no_key {
            (elements, weights)
        } else {
            plan.narrow(elements, weights)?
        };
        let gets = request.gets.len();
        let found = gather(ctx, &elements, request, &mut met);
        met.expire(ctx);
        if let Some(target) = stores_later {
            let sort = Box::new(move || plan.order(elements, weights));
            return store::later(ctx, args, target, sort, found, gets);
        }
        let write = move |reply: &mut Reply| match plan.order(elements, weights) {
            Ok(sorted) => write_found(&sorted, &found, gets, reply),
            Err(error) => reply.error(error.0.as_bytes()),
        };
        reply.deferred_of(len, Box::new(write));
        return Ok(Effect::None);
    }
    let gets = request.gets.len();
    let (elements, weights) = plan.narrow(elements, weights)?;
    let found = gather(ctx, &elements, request, &mut met);
    let sorted = plan.order(elements, weights)?;
    met.expire(ctx);
    match request.store {
        None => {
            write_found(&sorted, &found, gets, reply);
            Ok(Effect::None)
        }
        Some(target) => Ok(store::now(ctx, target, &plan, &sorted, &found, gets, reply)),
    }
}

/// Locks what the request needs: the keys that it names, or every shard if patterns lead to others.
fn lock(ctx: &mut Ctx<'_>, request: &Request<'_>) {
    if !ctx.unit.mask().is_empty() {
        return;
    }
    let mut mask = ShardMask::NONE;
    if request.has_patterns() {
        mask = ShardMask::ALL;
    } else {
        mask.add_hash(hash::of(request.key));
        if let Some(target) = request.store {
            mask.add_hash(hash::of(target));
        }
    }
    ctx.relock(mask);
}

/// What a pattern leads to.
enum Found<'a> {
    Nothing,
    /// A field of a hash that is due.
    Due,
    String(StrRef<'a>),
    Field(Elem<'a>),
}

/// Looks up what `pattern` makes of `element`. `key` is scratch space.
fn look<'c>(
    ctx: &'c mut Ctx<'_>,
    pattern: &Pattern,
    element: &[u8],
    key: &mut Vec<u8>,
) -> Found<'c> {
    pattern.key(element, key);
    let now_ms = ctx.unit.fields_now();
    match (ctx.read(key), &pattern.field) {
        (Some(ValueRef::Str(string)), None) => Found::String(string),
        (Some(ValueRef::Hash(hash)), Some(field)) => {
            hash.record(field.as_slice())
                .map_or(Found::Nothing, |record| {
                    if record.is_due(now_ms) {
                        Found::Due
                    } else {
                        Found::Field(record.value)
                    }
                })
        }
        _ => Found::Nothing,
    }
}

/// Fields that were met and are due, each with the key of its hash.
#[derive(Default)]
struct Met(Vec<(Vec<u8>, Vec<u8>)>);

impl Met {
    fn note(&mut self, found: &Found<'_>, pattern: &Pattern, key: &[u8]) {
        if let (Found::Due, Some(field)) = (found, &pattern.field) {
            self.0.push((key.to_vec(), field.clone()));
        }
    }

    fn expire(self, ctx: &mut Ctx<'_>) {
        let db = ctx.db();
        for (key, field) in &self.0 {
            ctx.unit.expire_fields(db, key, &[field]);
        }
    }
}

/// Reads the weights by which the elements are sorted.
fn weigh(
    ctx: &mut Ctx<'_>,
    elements: &Elements,
    pattern: &Pattern,
    alpha: bool,
    met: &mut Met,
) -> Weights {
    let (mut key, mut digits) = (Vec::new(), itoa::Buffer::new());
    let mut texts = Elements::default();
    let (mut numbers, mut missing) = (Vec::new(), Vec::new());
    let mut broken = false;
    for element in elements.iter() {
        let found = look(ctx, pattern, element, &mut key);
        met.note(&found, pattern, &key);
        let text = match found {
            Found::Nothing | Found::Due => None,
            Found::String(string) => Some(string.as_bytes(&mut digits)),
            Found::Field(field) => Some(field.to_bytes(&mut digits)),
        };
        if alpha {
            missing.push(text.is_none());
            texts.push(text.unwrap_or_default());
        } else {
            let number = text.map_or(Some(0.0), order::number);
            broken |= number.is_none();
            numbers.push(number.unwrap_or(0.0));
        }
    }
    match (alpha, broken) {
        (true, _) => Weights::Texts { texts, missing },
        (false, false) => Weights::Numbers(numbers),
        (false, true) => Weights::Broken,
    }
}

/// Writes elements as often as GET asks for them, or nulls where it asks for nothing.
fn write_plain(sorted: &Sorted, shown: &[bool], reply: &mut Reply) {
    reply.array(sorted.len().saturating_mul(shown.len()));
    for element in sorted.iter() {
        for is_shown in shown {
            if *is_shown {
                reply.bulk(element);
            } else {
                reply.null();
            }
        }
        if !reply.breathe() {
            return;
        }
    }
}

/// What GET leads to for one element.
enum Shown {
    Element,
    Nothing,
    /// One of the texts that were copied.
    Copy(usize),
    Shared(Bytes),
}

/// What the GETs lead to: for each element in turn, one after the other, or the same for all.
enum Gathered {
    Plain(Vec<bool>),
    Each(Vec<Shown>, Elements),
}

/// Reads what the GETs of a request lead to.
fn gather(
    ctx: &mut Ctx<'_>,
    elements: &Elements,
    request: &Request<'_>,
    met: &mut Met,
) -> Gathered {
    if !request.gets.iter().any(Get::is_pattern) {
        return Gathered::Plain(request.shown());
    }
    let (mut key, mut digits) = (Vec::new(), itoa::Buffer::new());
    let (mut found, mut texts) = (Vec::new(), Elements::default());
    let mut copy = |text: &[u8]| {
        texts.push(text);
        Shown::Copy(texts.len() - 1)
    };
    for element in elements.iter() {
        for get in &request.gets {
            found.push(match get {
                Get::Element => Shown::Element,
                Get::Nothing => Shown::Nothing,
                Get::Pattern(pattern) => {
                    let found = look(ctx, pattern, element, &mut key);
                    met.note(&found, pattern, &key);
                    match found {
                        Found::Nothing | Found::Due => Shown::Nothing,
                        Found::String(string) => match string.shared() {
                            Some(bytes) => Shown::Shared(bytes),
                            None => copy(string.as_bytes(&mut digits)),
                        },
                        Found::Field(field) => copy(field.to_bytes(&mut digits)),
                    }
                }
            });
        }
    }
    Gathered::Each(found, texts)
}

/// Writes the sorted elements with what was gathered for them.
fn write_found(sorted: &Sorted, found: &Gathered, gets: usize, reply: &mut Reply) {
    let (found, texts) = match found {
        Gathered::Plain(shown) => return write_plain(sorted, shown, reply),
        Gathered::Each(found, texts) => (found, texts),
    };
    reply.array(sorted.len().saturating_mul(gets));
    for (place, element) in sorted.places() {
        for shown in found.iter().skip(place * gets).take(gets) {
            match shown {
                Shown::Element => reply.bulk(element),
                Shown::Nothing => reply.null(),
                Shown::Copy(text) => reply.bulk(texts.get(*text)),
                Shown::Shared(bytes) => reply.shared_bulk(bytes.clone()),
            }
        }
        if !reply.breathe() {
            return;
        }
    }
}

/// A score that is no number.
const NOT_DOUBLE: CommandError = CommandError(std::borrow::Cow::Borrowed(
    "ERR One or more scores can't be converted into double",
));

impl Request<'_> {
    fn has_patterns(&self) -> bool {
        matches!(self.by, By::Pattern(_)) || self.gets.iter().any(Get::is_pattern)
    }

    /// Which GETs show the element; the others show nothing. For requests whose GETs have no
    /// pattern.
    fn shown(&self) -> Vec<bool> {
        self.gets
            .iter()
            .map(|get| matches!(get, Get::Element))
            .collect()
    }
}

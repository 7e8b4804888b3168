//! GEOSEARCH, GEORADIUS and their like: places within a circle or a box.
//!
//! The cells that cover the shape are ranges of scores, hence of ranks; the elements of those are
//! looked at one by one. If they are many, that happens when the locks are released; a result that
//! is stored is then made beside the workers.

use std::cmp::Ordering;
use std::ops::Range;

use super::cell::Place;
use super::shape::{Extent, Shape};
use super::{arg, distance, distance_text, number, place_arg, unit_m, write_place};
use crate::command::ctx::{CommandError, Ctx, Outcome, int_arg};
use crate::command::limits;
use crate::command::storing::{self, Logged, Store};
use crate::keyspace::hash;
use crate::keyspace::locks::ShardMask;
use crate::keyspace::value::zset::{ScoreRange, Zset, ZsetLimits};
use crate::oplog::effect::Effect;
use crate::resp::reply::Reply;

/// What looks at more elements than this does so when the locks are released.
const DEFER_ABOVE: usize = 256;

/// Which of the commands it is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    /// GEORADIUS; with or without STORE.
    Radius { stores: bool },
    /// GEORADIUSBYMEMBER; with or without STORE.
    RadiusByMember { stores: bool },
    /// GEOSEARCH.
    Search,
    /// GEOSEARCHSTORE.
    SearchStore,
}

impl Form {
    fn is_search(self) -> bool {
        matches!(self, Form::Search | Form::SearchStore)
    }

    fn takes_store(self) -> bool {
        matches!(
            self,
            Form::Radius { stores: true } | Form::RadiusByMember { stores: true }
        )
    }
}

/// What is asked for, so far as it has been read.
#[derive(Clone, Copy, Default)]
struct Query<'a> {
    from_member: bool,
    center: Option<Place>,
    /// With the metres of its unit.
    extent: Option<(Extent, f64)>,
    with_distance: bool,
    with_hash: bool,
    with_place: bool,
    choice: Choice,
    store: Option<&'a [u8]>,
    /// The scores of what is stored are distances.
    store_distances: bool,
}

/// Which of what lies inside, and in what order.
#[derive(Clone, Copy, Default)]
struct Choice {
    order: Option<Order>,
    /// 0: all.
    count: usize,
    /// The first so many that are met will do.
    any: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Order {
    Nearest,
    Farthest,
}

/// An element that lies inside.
struct Found {
    member: Vec<u8>,
    score: f64,
    place: Place,
    distance_m: f64,
}

impl<'a> Query<'a> {
    /// Takes an option off the front; what is left.
    fn take_option<'s>(
        &mut self,
        options: &'s [&'a [u8]],
        form: Form,
        source: Option<&Zset>,
    ) -> Result<&'s [&'a [u8]], CommandError> {
        let (word, rest) = options.split_first().ok_or(CommandError::SYNTAX)?;
        let is = |name: &[u8]| word.eq_ignore_ascii_case(name);
        match () {
            () if is(b"WITHDIST") => self.with_distance = true,
            () if is(b"WITHHASH") => self.with_hash = true,
            () if is(b"WITHCOORD") => self.with_place = true,
            () if is(b"ANY") => self.choice.any = true,
            () if is(b"ASC") => self.choice.order = Some(Order::Nearest),
            () if is(b"DESC") => self.choice.order = Some(Order::Farthest),
            () if is(b"STOREDIST") && form == Form::SearchStore => self.store_distances = true,
            () => return self.take_valued(word, rest, form, source),
        }
        Ok(rest)
    }

    fn take_valued<'s>(
        &mut self,
        word: &[u8],
        rest: &'s [&'a [u8]],
        form: Form,
        source: Option<&Zset>,
    ) -> Result<&'s [&'a [u8]], CommandError> {
        let is = |name: &[u8]| word.eq_ignore_ascii_case(name);
        match rest {
            [count, rest @ ..] if is(b"COUNT") => {
                let count = int_arg(count)?;
                if count <= 0 {
                    return Err(CommandError::new("ERR COUNT must be > 0"));
                }
                self.choice.count = usize::try_from(count).unwrap_or(usize::MAX);
                Ok(rest)
            }
            [key, rest @ ..] if form.takes_store() && (is(b"STORE") || is(b"STOREDIST")) => {
                self.store = Some(*key);
                self.store_distances = is(b"STOREDIST");
                Ok(rest)
            }
            _ if form.is_search() => self.take_shape(word, rest, source),
            _ => Err(CommandError::SYNTAX),
        }
    }

    fn take_shape<'s>(
        &mut self,
        word: &[u8],
        rest: &'s [&'a [u8]],
        source: Option<&Zset>,
    ) -> Result<&'s [&'a [u8]], CommandError> {
        let is = |name: &[u8]| word.eq_ignore_ascii_case(name);
        let from_place = self.center.is_some() && !self.from_member;
        let (by_radius, by_box) = match self.extent {
            Some((Extent::Radius(_), _)) => (true, false),
            Some((Extent::Box { .. }, _)) => (false, true),
            None => (false, false),
        };
        match rest {
            [member, rest @ ..] if is(b"FROMMEMBER") && !from_place => {
                self.from_member = true;
                if let Some(zset) = source {
                    self.center = Some(member_place(zset, member)?);
                }
                Ok(rest)
            }
            [lon, lat, rest @ ..] if is(b"FROMLONLAT") && !self.from_member => {
                self.center = Some(place_arg(lon, lat)?);
                Ok(rest)
            }
            [radius, unit, rest @ ..] if is(b"BYRADIUS") && !by_box => {
                self.extent = Some(radius_arg(radius, unit)?);
                Ok(rest)
            }
            [width, height, unit, rest @ ..] if is(b"BYBOX") && !by_radius => {
                let width = number(width, "ERR need numeric width")?;
                let height = number(height, "ERR need numeric height")?;
                if width < 0.0 || height < 0.0 {
                    return Err(CommandError::new("ERR height or width cannot be negative"));
                }
                self.extent = Some((Extent::Box { width, height }, unit_m(unit)?));
                Ok(rest)
            }
            _ => Err(CommandError::SYNTAX),
        }
    }

    fn check(&self, form: Form, name: &[u8]) -> Result<(), CommandError> {
        let name = String::from_utf8_lossy(name);
        let text = if self.store.is_some()
            && (self.with_distance || self.with_hash || self.with_place)
        {
            let what = if form.is_search() {
                "GEOSEARCHSTORE"
            } else {
                "STORE option in GEORADIUS"
            };
            format!("ERR {what} is not compatible with WITHDIST, WITHHASH and WITHCOORD options")
        } else if form.is_search() && !self.from_member && self.center.is_none() {
            format!("ERR exactly one of FROMMEMBER or FROMLONLAT can be specified for {name}")
        } else if form.is_search() && self.extent.is_none() {
            format!("ERR exactly one of BYRADIUS and BYBOX can be specified for {name}")
        } else if self.choice.any && self.choice.count == 0 {
            "ERR the ANY argument requires COUNT argument".to_owned()
        } else {
            return Ok(());
        };
        Err(CommandError::new(text))
    }

    fn shape(&self) -> Option<Shape> {
        let (extent, unit_m) = self.extent?;
        Some(Shape {
            center: self.center?,
            extent,
            unit_m,
        })
    }
}

impl Choice {
    /// What lies inside, in the order and number asked for.
    fn find(self, zset: &Zset, shape: &Shape, ranks: &[Range<usize>]) -> Vec<Found> {
        let limit = if self.any { self.count } else { 0 };
        let mut found: Vec<Found> = Vec::new();
        for (member, score) in ranks.iter().flat_map(|r| zset.range(r.clone(), false)) {
            let place = Place::of_score(score);
            let Some(distance_m) = shape.distance_inside(place) else {
                continue;
            };
            found.push(Found {
                member: member.to_vec(),
                score,
                place,
                distance_m,
            });
            if found.len() == limit {
                break;
            }
        }
        // The first so many are of use only in some order; ANY takes them as they come.
        let nearest_first = (self.count > 0 && !self.any).then_some(Order::Nearest);
        if let Some(order) = self.order.or(nearest_first) {
            found.sort_by(|a, b| {
                let (a, b) = match order {
                    Order::Nearest => (a.distance_m, b.distance_m),
                    Order::Farthest => (b.distance_m, a.distance_m),
                };
                a.partial_cmp(&b).unwrap_or(Ordering::Equal)
            });
        }
        if self.count > 0 {
            found.truncate(self.count);
        }
        found
    }

    /// The same as a sorted set, of scores or of distances.
    fn zset(
        self,
        zset: &Zset,
        shape: &Shape,
        ranks: &[Range<usize>],
        distances: bool,
        limits: &ZsetLimits,
    ) -> Zset {
        let mut result = Zset::new();
        for one in self.find(zset, shape, ranks) {
            let score = if distances {
                one.distance_m / shape.unit_m
            } else {
                one.score
            };
            result.insert(limits, &one.member, score);
        }
        result
    }
}

/// What a query replies with for each element.
#[derive(Clone, Copy)]
struct Shown {
    distance: bool,
    hash: bool,
    place: bool,
    unit_m: f64,
}

impl Shown {
    fn write(self, found: &[Found], reply: &mut Reply) {
        let extra = usize::from(self.distance) + usize::from(self.hash) + usize::from(self.place);
        reply.array(found.len());
        for one in found {
            if extra > 0 {
                reply.array(extra + 1);
            }
            reply.bulk(&one.member);
            if self.distance {
                reply.bulk(distance_text(one.distance_m / self.unit_m).as_bytes());
            }
            if self.hash {
                reply.int(one.score as i64);
            }
            if self.place {
                write_place(one.place, reply);
            }
        }
    }
}

fn radius_arg(radius: &[u8], unit: &[u8]) -> Result<(Extent, f64), CommandError> {
    let (radius, unit_m) = distance(radius, unit)?;
    Ok((Extent::Radius(radius), unit_m))
}

fn member_place(zset: &Zset, member: &[u8]) -> Result<Place, CommandError> {
    let score = zset.score(member).ok_or(CommandError::new(
        "ERR could not decode requested zset member",
    ))?;
    Ok(Place::of_score(score))
}

fn search(ctx: &mut Ctx<'_>, args: &[&[u8]], form: Form, reply: &mut Reply) -> Outcome {
    let (key, mut query) = match form {
        Form::SearchStore => (arg(args, 2), Query::default()),
        _ => (arg(args, 1), Query::default()),
    };
    let source = ctx.read_as::<Zset>(key)?.cloned();
    let options = match form {
        Form::Radius { .. } => {
            query.center = Some(place_arg(arg(args, 2), arg(args, 3))?);
            query.extent = Some(radius_arg(arg(args, 4), arg(args, 5))?);
            6
        }
        Form::RadiusByMember { .. } => {
            // Without a source nothing is said about the member or the radius.
            if let Some(zset) = &source {
                query.center = Some(member_place(zset, arg(args, 2))?);
                query.extent = Some(radius_arg(arg(args, 3), arg(args, 4))?);
            }
            5
        }
        Form::Search => 2,
        Form::SearchStore => {
            query.store = Some(arg(args, 1));
            3
        }
    };
    let mut options = args.get(options..).unwrap_or_default();
    while !options.is_empty() {
        options = query.take_option(options, form, source.as_ref())?;
    }
    query.check(form, arg(args, 0))?;
    let found = source.zip(query.shape());
    let Some(target) = query.store else {
        match found {
            Some((zset, shape)) => show(zset, shape, query, reply),
            None => reply.array(0),
        }
        return Ok(Effect::None);
    };
    let store = Store {
        args,
        key: target,
        event: if form.is_search() {
            "geosearchstore"
        } else {
            "georadiusstore"
        },
        elements_count: true,
        logged: Logged::Request { reads: &[key] },
    };
    let Some((zset, shape)) = found else {
        return Ok(storing::now(ctx, &store, Zset::new(), reply));
    };
    let limits = limits::zset(ctx.settings);
    let (ranks, choice) = (ranks(&zset, &shape), query.choice);
    let elements = ranks.iter().map(ExactSizeIterator::len).sum();
    let distances = query.store_distances;
    let make = move || choice.zset(&zset, &shape, &ranks, distances, &limits);
    if storing::is_large(ctx, elements) {
        return storing::later(ctx, &store, Box::new(move || Ok(make().into())));
    }
    Ok(storing::now(ctx, &store, make(), reply))
}

fn ranks(zset: &Zset, shape: &Shape) -> Vec<Range<usize>> {
    let of_cell = |cell: super::cell::Cell| {
        zset.score_ranks(&ScoreRange {
            min: cell.first_score() as f64,
            max: cell.end_score() as f64,
            min_ex: false,
            max_ex: true,
        })
    };
    shape.cells().into_iter().map(of_cell).collect()
}

/// Writes what lies inside, when the locks are released if many elements may.
fn show(zset: Zset, shape: Shape, query: Query<'_>, reply: &mut Reply) {
    let (ranks, choice) = (ranks(&zset, &shape), query.choice);
    let elements: usize = ranks.iter().map(ExactSizeIterator::len).sum();
    let shown = Shown {
        distance: query.with_distance,
        hash: query.with_hash,
        place: query.with_place,
        unit_m: shape.unit_m,
    };
    let write = move |reply: &mut Reply| {
        shown.write(&choice.find(&zset, &shape, &ranks), reply);
    };
    if elements > DEFER_ABOVE {
        reply.deferred_of(elements, Box::new(write));
    } else {
        write(reply);
    }
}

/// Locks the key and every destination: which of several counts is known only when all is read.
fn lock(ctx: &mut Ctx<'_>, args: &[&[u8]]) {
    if !ctx.unit.mask().is_empty() {
        return;
    }
    let mut mask = ShardMask::NONE;
    mask.add_hash(hash::of(arg(args, 1)));
    for pair in args.windows(2).skip(4) {
        if let [word, key] = pair
            && (word.eq_ignore_ascii_case(b"store") || word.eq_ignore_ascii_case(b"storedist"))
        {
            mask.add_hash(hash::of(key));
        }
    }
    ctx.relock(mask);
}

/// `GEORADIUS key longitude latitude radius <M | KM | FT | MI> [WITHCOORD] [WITHDIST] [WITHHASH]
/// [COUNT count [ANY]] [ASC | DESC] [STORE key | STOREDIST key]`
pub(super) fn georadius(ctx: &mut Ctx<'_>, args: &[&[u8]], reply: &mut Reply) -> Outcome {
    lock(ctx, args);
    search(ctx, args, Form::Radius { stores: true }, reply)
}

/// GEORADIUS without STORE.
pub(super) fn georadius_ro(ctx: &mut Ctx<'_>, args: &[&[u8]], reply: &mut Reply) -> Outcome {
    search(ctx, args, Form::Radius { stores: false }, reply)
}

/// `GEORADIUSBYMEMBER key member radius <M | KM | FT | MI> [WITHCOORD] [WITHDIST] [WITHHASH]
/// [COUNT count [ANY]] [ASC | DESC] [STORE key | STOREDIST key]`
pub(super) fn georadiusbymember(ctx: &mut Ctx<'_>, args: &[&[u8]], reply: &mut Reply) -> Outcome {
    lock(ctx, args);
    search(ctx, args, Form::RadiusByMember { stores: true }, reply)
}

/// GEORADIUSBYMEMBER without STORE.
pub(super) fn georadiusbymember_ro(
    ctx: &mut Ctx<'_>,
    args: &[&[u8]],
    reply: &mut Reply,
) -> Outcome {
    search(ctx, args, Form::RadiusByMember { stores: false }, reply)
}

/// `GEOSEARCH key <FROMMEMBER member | FROMLONLAT longitude latitude>
/// <BYRADIUS radius unit | BYBOX width height unit> [ASC | DESC] [COUNT count [ANY]] [WITHCOORD]
/// [WITHDIST] [WITHHASH]`
pub(super) fn geosearch(ctx: &mut Ctx<'_>, args: &[&[u8]], reply: &mut Reply) -> Outcome {
    search(ctx, args, Form::Search, reply)
}

/// `GEOSEARCHSTORE destination source`, and as GEOSEARCH, without WITH and with `[STOREDIST]`.
pub(super) fn geosearchstore(ctx: &mut Ctx<'_>, args: &[&[u8]], reply: &mut Reply) -> Outcome {
    search(ctx, args, Form::SearchStore, reply)
}

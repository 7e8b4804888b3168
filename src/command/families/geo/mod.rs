//! Places: members of sorted sets whose scores are cells of a fine grid.

mod cell;
mod search;
mod shape;

#[cfg(test)]
mod tests;

use crate::base::num::{self, NumText};
use crate::command::ctx::{CommandError, Ctx, Outcome};
use crate::command::families::arg;
use crate::keyspace::value::zset::Zset;
use crate::oplog::effect::Effect;
use crate::resp::reply::Reply;

use super::{Family, Locks, zset};
use cell::Place;

/// The family.
pub const HANDLERS: Family = &[
    ("geoadd", geoadd, Locks::Keys),
    ("geodist", geodist, Locks::Keys),
    ("geohash", geohash, Locks::Keys),
    ("geopos", geopos, Locks::Keys),
    ("georadius", search::georadius, Locks::Own),
    ("georadius_ro", search::georadius_ro, Locks::Keys),
    ("georadiusbymember", search::georadiusbymember, Locks::Own),
    (
        "georadiusbymember_ro",
        search::georadiusbymember_ro,
        Locks::Keys,
    ),
    ("geosearch", search::geosearch, Locks::Keys),
    ("geosearchstore", search::geosearchstore, Locks::Keys),
];

fn number(text: &[u8], refusal: &'static str) -> Result<f64, CommandError> {
    num::parse_f64(text).ok_or(CommandError::new(refusal))
}

/// A place given by two arguments.
fn place_arg(lon: &[u8], lat: &[u8]) -> Result<Place, CommandError> {
    let number = |text: &[u8]| num::parse_f64(text).ok_or(CommandError::NOT_FLOAT);
    let place = Place {
        lon: number(lon)?,
        lat: number(lat)?,
    };
    if !place.is_valid() {
        return Err(CommandError::new(format!(
            "ERR invalid longitude,latitude pair {:.6},{:.6}",
            place.lon, place.lat
        )));
    }
    Ok(place)
}

/// Metres that a unit has.
fn unit_m(unit: &[u8]) -> Result<f64, CommandError> {
    match unit.to_ascii_lowercase().as_slice() {
        b"m" => Ok(1.0),
        b"km" => Ok(1000.0),
        b"ft" => Ok(0.3048),
        b"mi" => Ok(1609.34),
        _ => Err(CommandError::new(
            "ERR unsupported unit provided. please use M, KM, FT, MI",
        )),
    }
}

/// A radius, and the metres of its unit.
fn distance(radius: &[u8], unit: &[u8]) -> Result<(f64, f64), CommandError> {
    let radius = number(radius, "ERR need numeric radius")?;
    if radius < 0.0 {
        return Err(CommandError::new("ERR radius cannot be negative"));
    }
    Ok((radius, unit_m(unit)?))
}

/// A distance with four decimals; halves go to the even neighbour.
fn distance_text(distance: f64) -> String {
    let scaled = (distance * 10_000.0).round_ties_even() as u64;
    format!("{}.{:04}", scaled / 10_000, scaled % 10_000)
}

fn write_place(place: Place, reply: &mut Reply) {
    reply.array(2);
    reply.double(place.lon);
    reply.double(place.lat);
}

/// `GEOADD key [NX | XX] [CH] longitude latitude member [longitude latitude member ...]`, which is
/// a ZADD and is propagated as one.
fn geoadd(ctx: &mut Ctx<'_>, args: &[&[u8]], reply: &mut Reply) -> Outcome {
    let rest = args.get(2..).unwrap_or_default();
    let is_option = |word: &&&[u8]| {
        let is = |name: &[u8]| word.eq_ignore_ascii_case(name);
        is(b"NX") || is(b"XX") || is(b"CH")
    };
    let (options, triples) = rest.split_at(rest.iter().take_while(is_option).count());
    let has = |name: &[u8]| options.iter().any(|o| o.eq_ignore_ascii_case(name));
    if !triples.len().is_multiple_of(3) || has(b"NX") && has(b"XX") {
        return Err(CommandError::SYNTAX);
    }
    let mut scores: Vec<NumText> = Vec::new();
    for triple in triples.chunks_exact(3) {
        let place = place_arg(arg(triple, 0), arg(triple, 1))?;
        scores.push(NumText::from_i64(place.score() as i64));
    }
    let mut zadd: Vec<&[u8]> = vec![b"ZADD", arg(args, 1)];
    zadd.extend(options);
    for (score, triple) in scores.iter().zip(triples.chunks_exact(3)) {
        zadd.extend([score.as_ref(), arg(triple, 2)]);
    }
    match zset::zadd(ctx, &zadd, reply)? {
        Effect::Verbatim => Ok(ctx.rewritten(&zadd)),
        effect => Ok(effect),
    }
}

/// `GEODIST key member1 member2 [M | KM | FT | MI]`
fn geodist(ctx: &mut Ctx<'_>, args: &[&[u8]], reply: &mut Reply) -> Outcome {
    let unit_m = match args.get(4..).unwrap_or_default() {
        [] => 1.0,
        [unit] => unit_m(unit)?,
        _ => return Err(CommandError::SYNTAX),
    };
    let zset = ctx.read_as::<Zset>(arg(args, 1))?;
    let place = |member| Some(Place::of_score(zset?.score(member)?));
    match place(arg(args, 2)).zip(place(arg(args, 3))) {
        Some((a, b)) => {
            let text = distance_text(shape::distance_m(a, b) / unit_m);
            reply.bulk(text.as_bytes());
        }
        None => reply.null(),
    }
    Ok(Effect::None)
}

/// `GEOHASH key [member [member ...]]`
fn geohash(ctx: &mut Ctx<'_>, args: &[&[u8]], reply: &mut Reply) -> Outcome {
    let members = args.get(2..).unwrap_or_default();
    let zset = ctx.read_as::<Zset>(arg(args, 1))?;
    reply.array(members.len());
    for member in members {
        match zset.and_then(|zset| zset.score(member)) {
            Some(score) => reply.bulk(&Place::of_score(score).geohash()),
            None => reply.null(),
        }
    }
    Ok(Effect::None)
}

/// `GEOPOS key [member [member ...]]`
fn geopos(ctx: &mut Ctx<'_>, args: &[&[u8]], reply: &mut Reply) -> Outcome {
    let members = args.get(2..).unwrap_or_default();
    let zset = ctx.read_as::<Zset>(arg(args, 1))?;
    reply.array(members.len());
    for member in members {
        match zset.and_then(|zset| zset.score(member)) {
            Some(score) => write_place(Place::of_score(score), reply),
            None => reply.null_array(),
        }
    }
    Ok(Effect::None)
}

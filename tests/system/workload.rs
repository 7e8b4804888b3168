//! Random commands over a small key space, so that they meet the same keys again and again.
//!
//! A command here gives the same reply on every server that is right: nothing random, nothing
//! that depends on the instant it runs at, no encodings that Redis changed between versions.
//! Scores and increments are halves and integers, which every version prints alike; others only
//! where the peer is known to print them as we do.

mod templates;

use crate::support::Dice;
use templates as t;

/// One request.
pub type Request = Vec<Vec<u8>>;

/// How many keys of each type there are.
const KEYS: u64 = 12;
/// The deadlines given to keys lie so far ahead that none passes during a test.
const FAR_FUTURE_MS: u64 = 4_102_444_800_000;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Family {
    Strings,
    Hashes,
    Keys,
    Expiry,
    Lists,
    Sets,
    SortedSets,
    Streams,
    Bitmaps,
    HyperLogLogs,
    Sort,
    Geo,
    Doubles,
    OfRedis8,
}

/// All that Redis 7.0 has.
pub const ALL: &[Family] = &[
    Family::Strings,
    Family::Hashes,
    Family::Keys,
    Family::Expiry,
    Family::Lists,
    Family::Sets,
    Family::SortedSets,
    Family::Streams,
    Family::Bitmaps,
    Family::HyperLogLogs,
    Family::Sort,
    Family::Geo,
];

/// All of them, where scores may be written in different ways.
pub fn all_and_doubles() -> Vec<Family> {
    [ALL, &[Family::SortedSets, Family::Doubles]].concat()
}

/// All of them, and what Redis 7.0 does not have.
pub fn all_of_redis_8() -> Vec<Family> {
    let new: &[Family] = &[Family::OfRedis8, Family::OfRedis8];
    [all_and_doubles().as_slice(), new].concat()
}

/// Whether what a reply to this request holds comes in no particular order.
pub fn is_unordered(request: &Request) -> bool {
    let unordered: &[&[u8]] = &[
        b"HGETALL",
        b"HKEYS",
        b"HVALS",
        b"KEYS",
        b"SMEMBERS",
        b"SUNION",
        b"SINTER",
        b"SDIFF",
        b"SPOP",
        b"SRANDMEMBER",
        b"HRANDFIELD",
        b"ZRANDMEMBER",
        b"SCAN",
        b"HSCAN",
        b"SSCAN",
        b"ZSCAN",
    ];
    let by_distance = |word: &Vec<u8>| matches!(word.as_slice(), b"ASC" | b"DESC");
    unordered.contains(&request[0].as_slice())
        || request[0].starts_with(b"GEO") && !request.iter().any(by_distance)
}

/// The keys that commands are about.
pub fn all_keys() -> impl Iterator<Item = String> {
    let letters = "shxltzybpeg".chars();
    letters.flat_map(|letter| (0..KEYS).map(move |n| format!("{letter}{n}")))
}

/// The next command of one of the families.
pub fn command(dice: &mut Dice, families: &[Family]) -> Request {
    let family = families[usize::try_from(dice.below(families.len() as u64)).unwrap()];
    let template = match family {
        Family::Strings => dice.pick(t::STRINGS),
        Family::Hashes => dice.pick(t::HASHES),
        Family::Keys => dice.pick(t::KEYSPACE),
        Family::Expiry => dice.pick(t::EXPIRY),
        Family::Lists => dice.pick(t::LISTS),
        Family::Sets => dice.pick(t::SETS),
        Family::SortedSets => dice.pick(t::SORTED_SETS),
        Family::Streams => dice.pick(t::STREAMS),
        Family::Bitmaps => dice.pick(t::BITMAPS),
        Family::HyperLogLogs => dice.pick(t::HYPERLOGLOGS),
        Family::Sort => dice.pick(t::SORT),
        Family::Geo => dice.pick(t::GEO),
        Family::Doubles => dice.pick(t::DOUBLES),
        Family::OfRedis8 => dice.pick(t::OF_REDIS_8),
    };
    template
        .split(' ')
        .map(|word| fill(dice, word, families))
        .collect()
}

/// Puts something random in the place of a word's marker, which may stand after a `(` or `[`.
fn fill(dice: &mut Dice, word: &str, families: &[Family]) -> Vec<u8> {
    let Some(open) = word.find('<') else {
        return word.as_bytes().to_vec();
    };
    let (before, marker) = word.split_at(open);
    let mut filled = before.as_bytes().to_vec();
    filled.extend(match marker {
        "<s>" | "<h>" | "<x>" | "<l>" | "<t>" | "<z>" | "<y>" | "<b>" | "<p>" | "<g>" => {
            format!("{}{}", &marker[1..2], dice.below(KEYS)).into_bytes()
        }
        "<any>" => any_key(dice, families),
        // Few streams, so that they grow.
        "<e>" => format!("e{}", dice.below(3)).into_bytes(),
        "<tick>" => dice.tick().to_string().into_bytes(),
        "<old>" => dice.recent(200).to_string().into_bytes(),
        "<id>" => format!("{}-{}", dice.recent(60), dice.below(2) * dice.below(2)).into_bytes(),
        tick if tick.starts_with("<tick>-") => {
            let rest = tick.trim_start_matches("<tick>-");
            let rest = fill(dice, rest, families);
            [dice.tick().to_string().as_bytes(), b"-", &rest].concat()
        }
        "<old>-1" => format!("{}-1", dice.recent(200)).into_bytes(),
        "<f>" => format!("f{}", dice.below(24)).into_bytes(),
        "<m>" => format!("m{}", dice.below(24)).into_bytes(),
        "<v>" => value(dice),
        "<text>" => value(dice).into_iter().filter(|byte| *byte > 0).collect(),
        "<n>" => integer(dice).to_string().into_bytes(),
        "<float>" => float(dice).into_bytes(),
        "<lon>" => thousandths(dice, 180).into_bytes(),
        "<lat>" => thousandths(dice, 85).into_bytes(),
        "<bit>" => dice.below(700).to_string().into_bytes(),
        "<small>" => dice.below(40).to_string().into_bytes(),
        "<index>" => (signed(dice, 12)).to_string().into_bytes(),
        "<half>" => half(dice).into_bytes(),
        "<at>" => (FAR_FUTURE_MS + dice.below(1000)).to_string().into_bytes(),
        "<pattern>" => dice
            .pick(&["*", "s*", "?1", "[hl][0-3]", "*[!0-5]"])
            .as_bytes()
            .to_vec(),
        other => panic!("no such marker: {other}"),
    });
    filled
}

fn any_key(dice: &mut Dice, families: &[Family]) -> Vec<u8> {
    let mut letters = vec!["s", "x", "nokey"];
    for (family, letter) in [
        (Family::Hashes, "h"),
        (Family::Lists, "l"),
        (Family::Sets, "t"),
        (Family::SortedSets, "z"),
        (Family::Streams, "e"),
        (Family::Bitmaps, "b"),
        (Family::HyperLogLogs, "p"),
        (Family::Geo, "g"),
    ] {
        if families.contains(&family) {
            letters.push(letter);
        }
    }
    format!("{}{}", dice.pick(&letters), dice.below(KEYS)).into_bytes()
}

fn signed(dice: &mut Dice, limit: u64) -> i64 {
    let magnitude = i64::try_from(dice.below(limit)).unwrap();
    if dice.below(2) == 0 {
        magnitude
    } else {
        -magnitude
    }
}

fn integer(dice: &mut Dice) -> i64 {
    let limit = 1 << (1 + dice.below(62));
    signed(dice, limit)
}

fn half(dice: &mut Dice) -> String {
    let half = signed(dice, 40);
    if half % 2 == 0 {
        (half / 2).to_string()
    } else {
        format!("{}{}.5", if half < 0 { "-" } else { "" }, half.abs() / 2)
    }
}

/// Any double there is that is finite, or one with few digits.
fn float(dice: &mut Dice) -> String {
    let bits = f64::from_bits(dice.roll());
    match dice.below(4) {
        0 if bits.is_finite() => format!("{bits:e}"),
        1 => format!("{}", signed(dice, 1 << 40) as f64 / 1024.0),
        2 => format!("{}", signed(dice, 1000) as f64 / 7.0),
        _ => format!("{}e{}", signed(dice, 100), signed(dice, 25)),
    }
}

fn thousandths(dice: &mut Dice, limit: u64) -> String {
    let n = signed(dice, limit * 1000);
    let sign = if n < 0 { "-" } else { "" };
    format!("{sign}{}.{:03}", n.abs() / 1000, n.abs() % 1000)
}

/// Short and long, text, numbers and every byte there is.
fn value(dice: &mut Dice) -> Vec<u8> {
    let len = match dice.below(8) {
        0 => 0,
        1..=4 => dice.below(20),
        5 | 6 => dice.below(100),
        _ => dice.below(2000),
    };
    match dice.below(4) {
        0 => (0..len).map(|_| dice.roll().to_le_bytes()[3]).collect(),
        1 => vec![b'x'; usize::try_from(len).unwrap()],
        2 => integer(dice).to_string().into_bytes(),
        _ => (0..len)
            .map(|_| b'a' + u8::try_from(dice.below(26)).unwrap())
            .collect(),
    }
}

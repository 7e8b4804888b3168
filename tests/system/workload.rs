//! Random commands over a small key space, so that they meet the same keys again and again.
//!
//! A command here gives the same reply on every server that is right: nothing random, nothing
//! that depends on the instant it runs at, no encodings that Redis changed between versions.
//! Scores and increments are halves and integers, which every version prints alike.

use crate::support::Dice;

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
}

/// All of them.
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
];

/// Whether the elements of a reply to this command come in no particular order.
pub fn is_unordered(command: &str) -> bool {
    let unordered = [
        "HGETALL", "HKEYS", "HVALS", "KEYS", "SMEMBERS", "SUNION", "SINTER", "SDIFF",
    ];
    unordered.contains(&command)
}

/// The keys that commands are about.
pub fn all_keys() -> impl Iterator<Item = String> {
    let letters = "shxltzbpe".chars();
    letters.flat_map(|letter| (0..KEYS).map(move |n| format!("{letter}{n}")))
}

/// The next command of one of the families.
pub fn command(dice: &mut Dice, families: &[Family]) -> Request {
    let family = families[usize::try_from(dice.below(families.len() as u64)).unwrap()];
    let template = match family {
        Family::Strings => dice.pick(STRINGS),
        Family::Hashes => dice.pick(HASHES),
        Family::Keys => dice.pick(KEYSPACE),
        Family::Expiry => dice.pick(EXPIRY),
        Family::Lists => dice.pick(LISTS),
        Family::Sets => dice.pick(SETS),
        Family::SortedSets => dice.pick(SORTED_SETS),
        Family::Streams => dice.pick(STREAMS),
        Family::Bitmaps => dice.pick(BITMAPS),
        Family::HyperLogLogs => dice.pick(HYPERLOGLOGS),
        Family::Sort => dice.pick(SORT),
    };
    template
        .split(' ')
        .map(|word| fill(dice, word, families))
        .collect()
}

/// The templates. Lower-case words in angle brackets stand for something random, see [`fill`].
/// An `<x>` key may come to hold any type. An `<any>` key is now and then one of another family,
/// which has to be an error on both sides.
const STRINGS: &[&str] = &[
    "SET <s> <v>",
    "SET <s> <v>",
    "SET <s> <n>",
    "SET <s> <v> NX",
    "SET <s> <v> XX GET",
    "SET <s> <v> KEEPTTL",
    "SET <s> <v> PXAT <at>",
    "SET <s> <v> EX 0",
    "SET <s> <v> NX XX",
    "GET <s>",
    "GET <any>",
    "GETSET <s> <v>",
    "GETDEL <s>",
    "GETEX <s> PXAT <at>",
    "GETEX <s> PERSIST",
    "MSET <s> <v> <s> <n>",
    "MSETNX <s> <v> <s> <v>",
    "MGET <s> <any> <s>",
    "SETNX <s> <v>",
    "APPEND <s> <v>",
    "STRLEN <s>",
    "SETRANGE <s> <small> <v>",
    "SETRANGE <s> -1 <v>",
    "GETRANGE <s> <index> <index>",
    "SUBSTR <s> <index> <index>",
    "INCR <s>",
    "DECR <s>",
    "INCRBY <s> <n>",
    "DECRBY <s> <n>",
    "INCRBYFLOAT <s> <half>",
    "INCRBY <s> 9223372036854775807",
    "LCS <s> <s>",
    "LCS <s> <s> LEN",
    "LCS <s> <s> IDX MINMATCHLEN 2 WITHMATCHLEN",
    "OBJECT ENCODING <s>",
];

const HASHES: &[&str] = &[
    "HSET <h> <f> <v>",
    "HSET <h> <f> <v> <f> <n>",
    "HSET <h> <f>",
    "HMSET <h> <f> <n> <f> <v>",
    "HSETNX <h> <f> <v>",
    "HGET <h> <f>",
    "HGET <any> <f>",
    "HMGET <h> <f> <f> <f>",
    "HGETALL <h>",
    "HKEYS <h>",
    "HVALS <h>",
    "HLEN <h>",
    "HSTRLEN <h> <f>",
    "HEXISTS <h> <f>",
    "HDEL <h> <f>",
    "HDEL <h> <f> <f> <f>",
    "HINCRBY <h> <f> <n>",
    "HINCRBYFLOAT <h> <f> <half>",
    "HINCRBY <h> <f> 9223372036854775807",
    "OBJECT ENCODING <h>",
];

const KEYSPACE: &[&str] = &[
    "DEL <any>",
    "UNLINK <any> <any>",
    "EXISTS <any> <any> <any>",
    "TYPE <any>",
    "KEYS <pattern>",
    "DBSIZE",
    "RENAME <s> <s>",
    "RENAMENX <any> <x>",
    "COPY <any> <x>",
    "COPY <any> <x> REPLACE",
    "COPY <s> <s> REPLACE",
    "COPY <any> <any> DB 3",
    "MOVE <any> 3",
    "TOUCH <any> <any>",
    "SWAPDB 3 4",
    "OBJECT ENCODING nokey",
    "GET",
    "NOSUCHCOMMAND <s>",
];

const EXPIRY: &[&str] = &[
    "PEXPIREAT <any> <at>",
    "PEXPIREAT <any> <at> NX",
    "PEXPIREAT <any> <at> XX",
    "PEXPIREAT <any> <at> GT",
    "PEXPIREAT <any> <at> LT",
    "PEXPIREAT <any> <at> NX GT",
    "EXPIREAT <any> 4102444800",
    "EXPIREAT <any> 1",
    "PEXPIRE <any> -1",
    "EXPIRE <any> soon",
    "EXPIRE <any> 9223372036854775807",
    "PEXPIRETIME <any>",
    "EXPIRETIME <any>",
    "PERSIST <any>",
    "PERSIST <any>",
    "TTL nokey",
];

const LISTS: &[&str] = &[
    "LPUSH <l> <v>",
    "RPUSH <l> <v> <n> <m>",
    "LPUSHX <l> <v>",
    "RPUSHX <l> <n>",
    "LPOP <l>",
    "RPOP <l>",
    "LPOP <l> <small>",
    "RPOP <l> 0",
    "LLEN <l>",
    "LLEN <any>",
    "LRANGE <l> <index> <index>",
    "LINDEX <l> <index>",
    "LSET <l> <index> <v>",
    "LREM <l> <index> <m>",
    "LTRIM <l> <index> -1",
    "LINSERT <l> BEFORE <m> <v>",
    "LINSERT <l> AFTER <m> <n>",
    "LPOS <l> <m>",
    "LPOS <l> <m> RANK -1 COUNT 0",
    "LPOS <l> <m> COUNT 2 MAXLEN 5",
    "LMOVE <l> <l> LEFT RIGHT",
    "LMOVE <l> <l> RIGHT RIGHT",
    "RPOPLPUSH <l> <l>",
    "LMPOP 2 <l> <l> LEFT COUNT 2",
];

const SETS: &[&str] = &[
    "SADD <t> <m>",
    "SADD <t> <n>",
    "SADD <t> <m> <m> <small>",
    "SREM <t> <m> <m>",
    "SISMEMBER <t> <m>",
    "SMISMEMBER <t> <m> <m> <n>",
    "SMEMBERS <t>",
    "SCARD <t>",
    "SCARD <any>",
    "SMOVE <t> <t> <m>",
    "SUNION <t> <t>",
    "SINTER <t> <t>",
    "SDIFF <t> <t>",
    "SUNIONSTORE <t> <t> <t>",
    "SINTERSTORE <t> <t> <t>",
    "SDIFFSTORE <t> <t> <t>",
    "SINTERCARD 2 <t> <t>",
    "SINTERCARD 2 <t> <t> LIMIT 1",
];

/// A `<y>` set has one score: ranges by member are undefined in others.
const SORTED_SETS: &[&str] = &[
    "ZADD <z> <half> <m>",
    "ZADD <z> <half> <m> <half> <m>",
    "ZADD <z> NX <half> <m>",
    "ZADD <z> XX CH <half> <m>",
    "ZADD <z> GT <half> <m>",
    "ZADD <z> LT CH <half> <m>",
    "ZADD <z> INCR <half> <m>",
    "ZADD <z> +inf <m>",
    "ZADD <z> nan <m>",
    "ZINCRBY <z> <half> <m>",
    "ZREM <z> <m> <m>",
    "ZSCORE <z> <m>",
    "ZMSCORE <z> <m> <m>",
    "ZRANK <z> <m>",
    "ZREVRANK <z> <m>",
    "ZCARD <z>",
    "ZCARD <any>",
    "ZCOUNT <z> <half> +inf",
    "ZCOUNT <z> (<half> <half>",
    "ZRANGE <z> <index> <index>",
    "ZRANGE <z> <index> <index> REV WITHSCORES",
    "ZRANGE <z> -inf <half> BYSCORE LIMIT 1 3",
    "ZADD <y> 0 <m> 0 <m> 0 <m>",
    "ZRANGE <y> - [<m> BYLEX",
    "ZREVRANGE <z> 0 <index> WITHSCORES",
    "ZRANGEBYSCORE <z> (<half> +inf WITHSCORES LIMIT 0 4",
    "ZREVRANGEBYSCORE <z> +inf <half>",
    "ZRANGEBYLEX <y> - +",
    "ZLEXCOUNT <y> - [<m>",
    "ZPOPMIN <z>",
    "ZPOPMAX <z> 2",
    "ZREMRANGEBYRANK <z> <index> <index>",
    "ZREMRANGEBYSCORE <z> <half> <half>",
    "ZREMRANGEBYLEX <y> [<m> (<m>",
    "ZUNIONSTORE <z> 2 <z> <z> WEIGHTS 2 0.5",
    "ZINTERSTORE <z> 2 <z> <z> AGGREGATE MAX",
    "ZDIFFSTORE <z> 2 <z> <z>",
    "ZUNION 2 <z> <t> WITHSCORES",
    "ZINTER 2 <z> <z>",
    "ZDIFF 2 <z> <z> WITHSCORES",
    "ZINTERCARD 2 <z> <z>",
    "ZRANGESTORE <z> <z> 0 2",
    "ZMPOP 2 <z> <z> MIN COUNT 2",
    "OBJECT ENCODING <z>",
];

/// Ids rise from command to command, whatever the key, and old ones are among the last of them.
/// What tells of time passed is left out, and lag, which Redis 8 counts better. Nothing tells
/// whether a consumer that got nothing was made: since Redis 7.2 it is.
const STREAMS: &[&str] = &[
    "XADD <e> <tick>-* name <v> count <n>",
    "XADD <e> <tick>-* name <m> count <n>",
    "XADD <e> <tick> <f> <v>",
    "XADD <e> <tick>-<small> <f> <v> <f> <n> 7 <m>",
    "XADD <e> NOMKSTREAM <tick>-* <f> <m>",
    "XADD <e> MAXLEN <small> <tick>-* name <n> count <n>",
    "XADD <e> MAXLEN ~ <small> <tick>-* name <n> count <n>",
    "XADD <e> MINID ~ <old> LIMIT 50 <tick>-* name <n> count <n>",
    "XADD <e> MINID <old> <tick>-* name <n>",
    "XADD <e> <old>-1 <f> <v>",
    "XADD <e> 0-0 <f> <v>",
    "XTRIM <e> MAXLEN <small>",
    "XTRIM <e> MAXLEN ~ 5",
    "XTRIM <e> MINID = <old>",
    "XTRIM <e> MAXLEN 5 LIMIT 3",
    "XDEL <e> <id> <id> <id>",
    "XLEN <e>",
    "XLEN <any>",
    "XRANGE <e> - + COUNT 5",
    "XRANGE <e> <old> (<id>",
    "XREVRANGE <e> + (<id> COUNT 4",
    "XREVRANGE <e> + -",
    "XREAD COUNT 3 STREAMS <e> <e> <id> 0",
    "XREAD STREAMS <e> $",
    "XGROUP CREATE <e> g1 <old> MKSTREAM",
    "XGROUP CREATE <e> g2 $",
    "XGROUP SETID <e> g1 <old>",
    "XGROUP CREATECONSUMER <e> g1 c0",
    "XGROUP DELCONSUMER <e> g2 c2",
    "XGROUP DESTROY <e> g2",
    "XREADGROUP GROUP g1 c1 COUNT 3 STREAMS <e> >",
    "XREADGROUP GROUP g1 c1 COUNT 2 STREAMS <e> <e> > >",
    "XREADGROUP GROUP g2 c2 COUNT 9 NOACK STREAMS <e> >",
    "XREADGROUP GROUP g1 c2 COUNT 3 STREAMS <e> 0",
    "XACK <e> g1 <id> <id> <id>",
    "XCLAIM <e> g1 c2 0 <id> <id>",
    "XCLAIM <e> g2 c3 0 <id> <id> FORCE JUSTID",
    "XAUTOCLAIM <e> g1 c2 0 - COUNT 2",
    "XPENDING <e> g1",
    "XINFO STREAM <e>",
    "XSETID <e> <tick>-9",
    "OBJECT ENCODING <e>",
];

/// Bits are set in `<b>` keys alone, of which no encoding is asked: Redis turns an integer into raw
/// bytes when a bit of it is looked at to be set, even to what it is.
const BITMAPS: &[&str] = &[
    "SETBIT <b> <bit> 1",
    "SETBIT <b> <bit> 0",
    "GETBIT <b> <bit>",
    "GETBIT <any> <bit>",
    "BITCOUNT <b>",
    "BITCOUNT <s>",
    "BITCOUNT <b> <index> <index>",
    "BITCOUNT <s> <index> <index> BIT",
    "BITPOS <b> 1",
    "BITPOS <b> 0",
    "BITPOS <s> 0 <index>",
    "BITPOS <b> 1 <index> <index>",
    "BITPOS <s> 0 <index> <index> BIT",
    "BITPOS <b> 1 <index> <index> BIT",
    "BITOP AND <b> <b> <s>",
    "BITOP OR <b> <b> <b> <s>",
    "BITOP XOR <b> <b> <any>",
    "BITOP NOT <b> <b>",
    "BITFIELD <b> GET u8 <bit> SET i13 <bit> <small> INCRBY u2 <bit> 1",
    "BITFIELD <b> OVERFLOW SAT SET u7 #<small> <n> INCRBY i64 <bit> <n>",
    "BITFIELD <b> OVERFLOW FAIL INCRBY i5 <bit> 9 SET u63 <bit> <n> GET i1 <bit>",
    "BITFIELD_RO <s> GET i64 <bit> GET u1 <bit>",
    "GET <b>",
];

const HYPERLOGLOGS: &[&str] = &[
    "PFADD <p> <v> <v> <v>",
    "PFADD <p> <n> <n> <n> <n> <n> <n> <n> <n> <n> <n> <n> <n>",
    "PFADD <p> <m>",
    "PFADD <p>",
    "PFADD <any> <m>",
    "PFCOUNT <p>",
    "PFCOUNT <p> <p> <p>",
    "PFCOUNT <any>",
    "PFMERGE <p> <p> <p>",
    "PFMERGE <p> <any>",
    "PFDEBUG ENCODING <p>",
    "PFDEBUG DECODE <p>",
    "GET <p>",
    "DEL <p>",
];

/// Nothing whose order is open where two elements weigh the same.
const SORT: &[&str] = &[
    "SORT <l>",
    "SORT <l> DESC LIMIT <index> <index>",
    "SORT <t> ALPHA",
    "SORT <t> ALPHA DESC LIMIT 1 <small>",
    "SORT <t> BY h*->f1 ASC",
    "SORT <t> BY s* GET # GET h*->f2 GET s*",
    "SORT <l> BY nosort GET # GET nothing",
    "SORT <l> BY nosort DESC LIMIT <index> <index>",
    "SORT <l> BY s* STORE <l>",
    "SORT <t> BY nosort STORE <l>",
    "SORT <l> ALPHA STORE <x>",
    "SORT <any> LIMIT 0 0",
    "SORT_RO <t> ALPHA GET #",
    "SORT_RO <l> STORE <l>",
];

/// Puts something random in the place of a word's marker, which may stand after a `(` or `[`.
fn fill(dice: &mut Dice, word: &str, families: &[Family]) -> Vec<u8> {
    let Some(open) = word.find('<') else {
        return word.as_bytes().to_vec();
    };
    let (before, marker) = word.split_at(open);
    let mut filled = before.as_bytes().to_vec();
    filled.extend(match marker {
        "<s>" | "<h>" | "<x>" | "<l>" | "<t>" | "<z>" | "<y>" | "<b>" | "<p>" => {
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
        "<n>" => integer(dice).to_string().into_bytes(),
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

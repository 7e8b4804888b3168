//! Facts about well-known commands, as Redis 8.0 tells them by COMMAND INFO and COMMAND
//! GETKEYSANDFLAGS: a mistyped record, or a key function gone astray, shows here.

use super::keys::KeyShape;
use super::{CommandSpec, CommandTable, KeyFlags, specs};

/// Name, arity, first key, last key, step | flags | categories, the words in order.
const INFO: &[&str] = &[
    "get 2 1 1 1 | fast readonly | fast read string",
    "set -3 1 1 1 | denyoom write | slow string write",
    "mset -3 1 -1 2 | denyoom write | slow string write",
    "del -2 1 -1 1 | write | keyspace slow write",
    "sort -2 1 1 1 | denyoom movablekeys write | dangerous list set slow sortedset write",
    "eval -3 0 0 0 | movablekeys no_mandatory_keys noscript skip_monitor stale | scripting slow",
    "migrate -6 3 3 1 | movablekeys write | dangerous keyspace slow write",
    "xadd -5 1 1 1 | denyoom fast write | fast stream write",
    "xreadgroup -7 0 0 0 | blocking movablekeys write | blocking slow stream write",
    "bitfield -2 1 1 1 | denyoom write | bitmap slow write",
    "pfcount -2 1 -1 1 | readonly | hyperloglog read slow",
    "zunionstore -4 1 1 1 | denyoom movablekeys write | slow sortedset write",
    "georadius -6 1 1 1 | denyoom movablekeys write | geo slow write",
    "blpop -3 1 -2 1 | blocking write | blocking list slow write",
    "config -2 0 0 0 |  | slow",
    "config|get -3 0 0 0 | admin loading noscript stale | admin dangerous slow",
    "memory|usage -3 2 2 1 | readonly | read slow",
    "spublish 3 1 1 1 | fast loading pubsub stale | fast pubsub",
    "hsetex -6 1 1 1 | denyoom fast write | fast hash write",
    "publish 3 0 0 0 | fast loading pubsub stale | fast pubsub",
    "auth -2 0 0 0 | allow_busy fast loading no_auth noscript stale | connection fast",
    "exec 1 0 0 0 | loading noscript skip_slowlog stale | slow transaction",
    "shutdown -1 0 0 0 | admin allow_busy loading no_multi noscript stale | \
     admin dangerous slow",
    "restore-asking -4 1 1 1 | asking denyoom write | dangerous keyspace slow write",
    "client|kill -3 0 0 0 | admin loading noscript stale | admin connection dangerous slow",
    "fcall_ro -3 0 0 0 | movablekeys no_mandatory_keys noscript readonly skip_monitor stale | \
     scripting slow",
];

/// A request, and its keys with their flags; nothing where there are none or it is malformed.
const KEYS: &[(&str, &str)] = &[
    ("GET k", "k:RO+access"),
    ("SET k v", "k:OW+update"),
    ("SET k v EX 10 get", "k:RW+access+update"),
    ("SET k get", "k:OW+update"),
    ("MSET a 1 b 2", "a:OW+update b:OW+update"),
    ("MGET a b c", "a:RO+access b:RO+access c:RO+access"),
    ("DEL a b", "a:RM+delete b:RM+delete"),
    ("COPY a b DB 1", "a:RO+access b:OW+update"),
    ("EVAL s 0", ""),
    (
        "EVAL s 2 k1 k2 a1",
        "k1:RW+access+update k2:RW+access+update",
    ),
    ("EVAL s 3 k1", ""),
    ("EVAL s -1 k", ""),
    ("EVAL s x k", ""),
    ("EVAL s 9223372036854775807 k", ""),
    ("FCALL_RO f 1 k a", "k:RO+access"),
    ("SORT k", "k:RO+access"),
    (
        "SORT k BY store GET store STORE d",
        "k:RO+access d:OW+update",
    ),
    (
        "SORT k LIMIT 0 store STORE d STORE e",
        "k:RO+access e:OW+update",
    ),
    ("SORT k STORE", "k:RO+access"),
    ("SORT_RO k BY x", "k:RO+access"),
    ("MIGRATE h 1 k 0 10 COPY", "k:RW+access+delete"),
    (
        "MIGRATE h 1  0 10 COPY KEYS a b",
        "a:RW+access+delete b:RW+access+delete",
    ),
    ("MIGRATE h 1 k 0 10 KEYS a b", ""),
    ("MIGRATE h 1  0 10 AUTH keys KEYS a", "a:RW+access+delete"),
    (
        "MIGRATE h 1  0 10 AUTH2 keys keys KEYS a",
        "a:RW+access+delete",
    ),
    ("MIGRATE h 1  0 10 KEYS", ":RW+access+delete"),
    (
        "XREAD COUNT 1 BLOCK 0 STREAMS a b 0 0",
        "a:RO+access b:RO+access",
    ),
    ("XREAD STREAMS a", ""),
    ("XREAD COUNT 1", ""),
    (
        "XREADGROUP GROUP streams c COUNT 1 STREAMS a b > >",
        "a:RO+access b:RO+access",
    ),
    ("XGROUP CREATE s g $", "s:RW+insert"),
    (
        "ZUNIONSTORE d 2 a b WEIGHTS 1 2",
        "d:OW+update a:RO+access b:RO+access",
    ),
    ("ZUNIONSTORE d 3 a b", ""),
    ("ZUNIONSTORE d 0 a", ""),
    ("ZINTER 2 a b", "a:RO+access b:RO+access"),
    ("LMPOP 2 a b LEFT", "a:RW+access+delete b:RW+access+delete"),
    ("BLMPOP 0 1 a LEFT", "a:RW+access+delete"),
    ("BLPOP a b 0", "a:RW+access+delete b:RW+access+delete"),
    ("BLMOVE a b LEFT RIGHT 0", "a:RW+access+delete b:RW+insert"),
    (
        "GEORADIUS k 1 2 3 km STORE d STOREDIST e",
        "k:RO+access d:OW+update e:OW+update",
    ),
    ("GEORADIUSBYMEMBER k store 10 km", "k:RO+access"),
    (
        "GEOSEARCHSTORE d s FROMMEMBER m BYRADIUS 1 km",
        "d:OW+update s:RO+access",
    ),
    ("BITFIELD k GET u8 0", "k:RO+access"),
    (
        "BITFIELD k OVERFLOW SAT GET u8 0 INCRBY u8 0 1",
        "k:RW+access+update",
    ),
    ("BITFIELD k GET u8", "k:RW+access+update"),
    ("BITOP AND d a b", "d:OW+update a:RO+access b:RO+access"),
    ("MEMORY USAGE k", "k:RO"),
    ("OBJECT ENCODING k", "k:RO"),
    ("PFCOUNT a b", "a:RW+access b:RW+access"),
    (
        "PFMERGE d a b",
        "d:RW+access+insert a:RO+access b:RO+access",
    ),
    ("PFMERGE d", ""),
    ("HGETEX h FIELDS 1 f", "h:RW+access+update"),
    ("XADD s * f v", "s:RW+update"),
];

fn table() -> CommandTable<()> {
    let all: Vec<_> = specs()
        .unwrap()
        .iter()
        .map(|spec| (spec.full_name.as_str(), ()))
        .collect();
    let renames: &[(&str, &str)] = &[];
    CommandTable::build(&all, renames).unwrap()
}

fn sorted(names: impl Iterator<Item = &'static str>) -> String {
    let mut names: Vec<_> = names.collect();
    names.sort_unstable();
    names.join(" ")
}

fn describe(spec: &CommandSpec) -> String {
    let range = spec.keys.legacy;
    format!(
        "{} {} {} {} {} | {} | {}",
        spec.full_name,
        spec.arity,
        range.first,
        range.last,
        range.step,
        sorted(spec.flags.without(super::CommandFlags::HIDDEN).names()),
        sorted(spec.acl_categories.names()),
    )
}

#[test]
fn well_known_commands_are_as_redis_describes_them() {
    let table = table();
    for expected in INFO {
        let name = expected.split(' ').next().unwrap();
        let command = table.lookup_name(name.as_bytes()).unwrap();
        assert_eq!(describe(command.spec), *expected);
    }
    assert_eq!(table.top_level().count(), 253);
    assert_eq!(table.all().count(), 382);
}

#[test]
fn keys_of_requests_are_found_as_redis_finds_them() {
    let table = table();
    for (line, expected) in KEYS {
        let args: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
        let spec = table.lookup(&args).unwrap().spec;
        let found = spec.keys.keys(&args).map(|keys| {
            let shown = keys.iter().map(|key| {
                let flags: Vec<_> = key.flags.names().collect();
                format!(
                    "{}:{}",
                    String::from_utf8_lossy(args[key.position]),
                    flags.join("+")
                )
            });
            shown.collect::<Vec<_>>().join(" ")
        });
        assert_eq!(found.unwrap_or_default(), *expected, "{line}");
    }
}

#[test]
fn the_summary_of_the_specs_agrees_with_the_specs() {
    let table = table();
    for (line, _) in KEYS {
        let args: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
        let spec = table.lookup(&args).unwrap().spec;
        let Some(positions) = spec.keys.shape.positions(args.len()) else {
            assert_eq!(spec.keys.shape, KeyShape::Movable);
            continue;
        };
        if let Ok(keys) = spec.keys.keys(&args) {
            let keys: Vec<_> = keys.iter().map(|key| key.position).collect();
            assert_eq!(positions.collect::<Vec<_>>(), keys, "{line}");
        }
    }
}

#[test]
fn a_shard_channel_is_a_key_for_the_cluster_alone() {
    let table = table();
    let args: [&[u8]; 3] = [b"spublish", b"c", b"m"];
    let rule = &table.lookup(&args).unwrap().spec.keys;
    assert!(!rule.has_keys() && rule.keys(&args).unwrap().is_empty());
    let channels = rule.keys_and_channels(&args).unwrap();
    assert_eq!((channels[0].position, channels.len()), (1, 1));
    assert!(channels[0].flags.contains(KeyFlags::NOT_KEY));
}

#[test]
fn no_request_makes_the_search_leave_it() {
    // Every command, given counts and words where its keys would be, at every length.
    let words: [&[u8]; 6] = [
        b"9223372036854775807",
        b"-1",
        b"0",
        b"STREAMS",
        b"KEYS",
        b"STORE",
    ];
    for spec in specs().unwrap() {
        for word in words {
            for argc in 0..9 {
                let args = vec![word; argc];
                let keys = spec.keys.keys_and_channels(&args).unwrap_or_default();
                assert!(keys.iter().all(|key| (1..argc).contains(&key.position)));
                let range = spec.keys.shape.positions(argc).into_iter().flatten();
                assert!(range.into_iter().all(|at| (1..argc).contains(&at)));
            }
        }
    }
}

#[test]
fn every_record_is_complete_and_refers_to_what_it_has() {
    for spec in specs().unwrap() {
        let (name, docs) = (&spec.full_name, &spec.docs);
        assert!(
            docs.summary.ends_with('.') && docs.summary.len() > 10,
            "{name}"
        );
        assert!(
            docs.history.iter().all(|(_, change)| change.ends_with('.')),
            "{name}"
        );
        assert!(
            docs.complexity.as_ref().is_none_or(|text| !text.is_empty()),
            "{name}"
        );
        assert_eq!(
            docs.deprecated_since.is_some(),
            docs.replaced_by.is_some(),
            "{name}"
        );
        let mut arguments: Vec<_> = docs.arguments.iter().collect();
        while let Some(argument) = arguments.pop() {
            let spec_there = |at| usize::try_from(at).is_ok_and(|at| at < spec.keys.specs.len());
            assert!(
                argument.key_spec.is_none_or(spec_there),
                "{name} {}",
                argument.name
            );
            arguments.extend(&argument.parts);
        }
    }
}

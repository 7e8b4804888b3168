//! Bits as clients see them, compared with a plain array of bits.

use proptest::prelude::*;

use crate::command::testing::{Resp, TestServer};

const WRONG_TYPE: &str = "-WRONGTYPE Operation against a key holding the wrong kind of value";
const SYNTAX: &str = "-ERR syntax error";

/// The bits of a string, first one first.
fn bits(bytes: &[u8]) -> Vec<bool> {
    let bit = |byte: &u8, n: u32| byte & (0x80 >> n) != 0;
    bytes
        .iter()
        .flat_map(|byte| (0..8).map(move |n| bit(byte, n)))
        .collect()
}

/// The span's bits by the documented rules.
fn span(len: i64, start: i64, end: i64) -> Option<(i64, i64)> {
    let place = |i: i64| if i < 0 { (len + i).max(0) } else { i };
    let (from, to) = (place(start), place(end).min(len - 1));
    (from <= to).then_some((from, to))
}

fn run(t: &mut TestServer, words: &[&str]) -> i64 {
    let words: Vec<&[u8]> = words.iter().map(|w| w.as_bytes()).collect();
    t.reply_args(&words).int()
}

fn checks_spans(bytes: &[u8], spans: &[(i64, i64)]) {
    let mut t = TestServer::new();
    t.run_args(&[b"SET", b"k", bytes]);
    let all = bits(bytes);
    for &(start, end) in spans {
        for (unit, scale) in [("BYTE", 8), ("BIT", 1)] {
            let (s, e) = (start.to_string(), end.to_string());
            let found = span(all.len() as i64 / scale, start, end);
            let reversed = start < 0 && end < 0 && start > end;
            let inside = found.map_or(0..0, |(a, b)| {
                (a * scale) as usize..((b + 1) * scale) as usize
            });
            let set = all[inside.clone()].iter().filter(|b| **b).count() as i64;
            let counted = run(&mut t, &["BITCOUNT", "k", &s, &e, unit]);
            assert_eq!(
                counted,
                if reversed { 0 } else { set },
                "{bytes:?} {s} {e} {unit}"
            );
            for bit in [false, true] {
                let wanted = inside.clone().find(|at| all[*at] == bit);
                let wanted = wanted.map_or(-1, |at| at as i64);
                let name = if bit { "1" } else { "0" };
                let position = run(&mut t, &["BITPOS", "k", name, &s, &e, unit]);
                assert_eq!(position, wanted, "{bytes:?} {bit} {s} {e} {unit}");
            }
        }
    }
}

#[test]
fn spans_at_every_edge_are_counted_and_searched() {
    let ends: Vec<i64> = (-20..20).chain([i64::MIN, i64::MAX]).collect();
    let spans: Vec<(i64, i64)> = ends
        .iter()
        .flat_map(|s| ends.iter().map(move |e| (*s, *e)))
        .collect();
    for bytes in [&[0, 0x81][..], &[0xff, 0xff], &[0; 2], &[0xf0]] {
        checks_spans(bytes, &spans);
    }
}

fn config() -> ProptestConfig {
    ProptestConfig {
        cases: 64,
        failure_persistence: None,
        ..Default::default()
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn any_span_of_any_string_is_as_in_the_model(
        bytes in prop::collection::vec(prop_oneof![Just(0u8), Just(255), any::<u8>()], 1..200),
        spans in prop::collection::vec((-2000i64..2000, -2000i64..2000), 1..20),
    ) {
        checks_spans(&bytes, &spans);
    }

    #[test]
    fn any_combination_of_strings_is_as_in_the_model(
        sources in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..70), 1..20),
    ) {
        let mut t = TestServer::new();
        let names: Vec<String> = (0..sources.len()).map(|n| format!("k{n}")).collect();
        for (name, bytes) in names.iter().zip(&sources) {
            if !bytes.is_empty() {
                t.run_args(&[b"SET", name.as_bytes(), bytes]);
            }
        }
        let len = sources.iter().map(Vec::len).max().unwrap();
        let at = |s: &[u8], i: usize| s.get(i).copied().unwrap_or(0);
        let fold = |f: fn(u8, u8) -> u8| -> Vec<u8> {
            (0..len)
                .map(|i| sources.iter().map(|s| at(s, i)).reduce(f).unwrap())
                .collect()
        };
        for (op, wanted) in [
            ("AND", fold(|a, b| a & b)),
            ("OR", fold(|a, b| a | b)),
            ("XOR", fold(|a, b| a ^ b)),
        ] {
            let line = format!("BITOP {op} d {}", names.join(" "));
            assert_eq!(t.reply(&line).int(), len as i64);
            assert_eq!(t.reply("GETRANGE d 0 -1").bytes(), wanted);
            let exists = format!(":{}", i32::from(len > 0));
            assert_eq!(t.run("EXISTS d"), exists);
        }
        t.run("BITOP NOT d k0");
        let inverted: Vec<u8> = sources[0].iter().map(|b| !b).collect();
        assert_eq!(t.reply("GETRANGE d 0 -1").bytes(), inverted);
    }

    #[test]
    fn a_field_keeps_what_fits_and_leaves_its_neighbours_alone(
        width in 1u32..=64,
        signed in any::<bool>(),
        offset in 0usize..100,
        value in any::<i64>(),
        increment in any::<i64>(),
        how in 0usize..3,
    ) {
        let width = if signed { width } else { width.min(63) };
        field_as_in_the_model(width, signed, offset, value, increment, how);
    }
}

fn field_as_in_the_model(
    width: u32,
    signed: bool,
    offset: usize,
    value: i64,
    increment: i64,
    how: usize,
) {
    let kind = format!("{}{width}", if signed { "i" } else { "u" });
    let (min, max) = if signed {
        (-(1i128 << (width - 1)), (1i128 << (width - 1)) - 1)
    } else {
        (0, (1i128 << width) - 1)
    };
    let fit = |n: i128| -> Option<i128> {
        match how {
            _ if (min..=max).contains(&n) => Some(n),
            0 => Some((n - min).rem_euclid(max - min + 1) + min),
            1 => Some(if n > max { max } else { min }),
            _ => None,
        }
    };
    let how = ["WRAP", "SAT", "FAIL"][how];
    let mut t = TestServer::new();
    let noise: Vec<u8> = (0..25u8).map(|n| n.wrapping_mul(37) + 11).collect();
    t.run_args(&[b"SET", b"k", &noise]);
    let before = bits(&noise);
    let field = |all: &[bool]| -> i128 {
        let raw = all[offset..offset + width as usize]
            .iter()
            .fold(0i128, |n, b| n * 2 + i128::from(*b));
        if raw > max { raw - (1 << width) } else { raw }
    };
    let shown = |n: Option<i128>| n.map_or("nil".to_owned(), |n| format!(":{n}"));
    let old = field(&before);
    let given = if signed {
        i128::from(value)
    } else {
        i128::from(value as u64)
    };
    let set = fit(given);
    let after_set = set.unwrap_or(old);
    let sum = fit(after_set + i128::from(increment));
    let line = format!(
        "BITFIELD k GET {kind} {offset} OVERFLOW {how} SET {kind} {offset} {value} \
         INCRBY {kind} {offset} {increment} GET {kind} {offset}"
    );
    let wanted = [
        shown(Some(old)),
        shown(set.map(|_| old)),
        shown(sum),
        shown(Some(sum.unwrap_or(after_set))),
    ];
    assert_eq!(t.run(&line), format!("[{}]", wanted.join(", ")), "{line}");
    let after = bits(t.reply("GET k").bytes());
    assert_eq!(field(&after), sum.unwrap_or(after_set));
    let around = |all: &[bool]| [&all[..offset], &all[offset + width as usize..]].concat();
    assert_eq!(around(&after), around(&before));
}

#[test]
fn a_clear_bit_is_found_behind_a_string_whose_end_is_not_given() {
    let mut t = TestServer::new();
    t.run_args(&[b"SET", b"k", &[255, 255, 255]]);
    t.run("SET e ''");
    t.expect(&[
        ("BITPOS k 0", ":24"),
        ("BITPOS k 0 1", ":24"),
        ("BITPOS k 0 3", ":-1"),
        ("BITPOS k 0 0 -1", ":-1"),
        ("BITPOS k 1 1", ":8"),
        ("BITPOS none 0", ":0"),
        ("BITPOS none 0 5 6 BIT", ":0"),
        ("BITPOS none 1", ":-1"),
        ("BITPOS e 0", ":-1"),
        ("BITCOUNT k", ":24"),
        ("BITCOUNT none", ":0"),
        ("BITCOUNT e", ":0"),
    ]);
}

#[test]
fn long_strings_are_looked_through_by_reference() {
    let mut t = TestServer::new();
    t.run("SETBIT k 8000000 1");
    t.expect(&[
        ("BITCOUNT k", ":1"),
        ("BITPOS k 1", ":8000000"),
        ("BITPOS k 0", ":0"),
        ("BITPOS k 1 1000001", ":-1"),
    ]);
    let two = t.pipeline(&[&[b"BITCOUNT", b"k"], &[b"SETBIT", b"k", b"1", b"1"]]);
    assert_eq!(two.iter().map(Resp::int).collect::<Vec<_>>(), [1, 0]);
}

#[test]
fn a_field_of_the_nth_width_is_addressed_by_a_hash_sign() {
    let mut t = TestServer::new();
    t.expect(&[
        ("BITFIELD k SET u8 #0 65 SET u8 #1 66", "[:0, :0]"),
        ("GET k", "\"AB\""),
        (
            "BITFIELD_RO k GET u8 #1 GET u4 #1 GET i64 #9",
            "[:66, :1, :0]",
        ),
        ("BITFIELD_RO none GET u63 0", "[:0]"),
        ("BITFIELD none GET u63 0", "[:0]"),
        ("BITFIELD k", "[]"),
        ("EXISTS none", ":0"),
    ]);
    assert_eq!(t.effects().len(), 1);
}

#[test]
fn what_changes_nothing_is_not_propagated() {
    let mut t = TestServer::new();
    t.run("BITFIELD k SET u8 0 255");
    t.effects();
    t.run("BITFIELD k SET u8 0 255");
    t.run("BITFIELD k OVERFLOW FAIL INCRBY u8 0 1");
    t.run("BITOP OR none nothing");
    assert_eq!(t.effects(), [""; 0]);
    t.run("BITOP OR k nothing");
    assert_eq!(t.effects(), ["BITOP OR k nothing"]);
}

#[test]
fn wrong_arguments_are_refused() {
    let mut t = TestServer::new();
    t.run("SADD s a");
    t.run("SET k v");
    let kind = "-ERR Invalid bitfield type. Use something like i16 u8. Note that u64 is not \
                supported but i64 is.";
    let number = "-ERR value is not an integer or out of range";
    let offset = "-ERR bit offset is not an integer or out of range";
    t.expect(&[
        ("BITCOUNT k 1", SYNTAX),
        ("BITCOUNT none 1 2 zap", SYNTAX),
        ("BITCOUNT none x 2", number),
        ("BITCOUNT none x 2 zap", number),
        ("BITCOUNT k a b c d", SYNTAX),
        ("BITCOUNT s", WRONG_TYPE),
        ("BITPOS k 2", "-ERR The bit argument must be 1 or 0."),
        ("BITPOS s 1", WRONG_TYPE),
        ("BITPOS k 1 0 1 zap", SYNTAX),
        ("BITOP NAND d k", SYNTAX),
        ("BITOP AND d k s", WRONG_TYPE),
        (
            "BITOP NOT d k k",
            "-ERR BITOP NOT must be called with a single source key.",
        ),
        ("BITFIELD k GET u64 0", kind),
        ("BITFIELD k GET i65 0", kind),
        ("BITFIELD k GET i0 0", kind),
        ("BITFIELD k GET x8 0", kind),
        ("BITFIELD k GET u8 -1", offset),
        ("BITFIELD k GET u8 #9223372036854775807", offset),
        ("BITFIELD k SET u8 4294967296 1", offset),
        ("BITFIELD k SET u8 0 x", number),
        ("BITFIELD k SET u8 0", SYNTAX),
        ("BITFIELD k OVERFLOW", SYNTAX),
        (
            "BITFIELD k OVERFLOW x",
            "-ERR Invalid OVERFLOW type specified",
        ),
        ("BITFIELD s SET u8 0 1", WRONG_TYPE),
        (
            "BITFIELD_RO k SET u8 0 1",
            "-ERR BITFIELD_RO only supports the GET subcommand",
        ),
    ]);
}

//! Values of every type in every encoding.

use russet::base::num::fmt_f64;
use russet::keyspace::value::hash::{Hash, HashLimits};
use russet::keyspace::value::list::{End, List, ListLimits};
use russet::keyspace::value::packed::Elem;
use russet::keyspace::value::set::{Set, SetLimits};
use russet::keyspace::value::zset::{Zset, ZsetLimits};
use russet::keyspace::value::{Str, Value};

/// The elements of a value, in an order that depends on them alone.
pub fn elements(value: &Value) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    match value {
        Value::Str(string) => all.push(string.as_ref().to_vec()),
        Value::List(list) => list.visit(0..list.len(), End::Head, |elem| all.push(elem.to_vec())),
        Value::Set(set) => all.extend(set.iter().map(|elem| elem.to_vec())),
        Value::Hash(hash) => {
            all.extend(
                hash.iter()
                    .map(|pair| [pair.key.to_vec(), pair.value.to_vec()].join(&b'=')),
            );
        }
        Value::Stream(stream) => all.extend(crate::stream::lines(stream)),
        Value::Zset(zset) => {
            let scored = |(member, score): (Elem<'_>, f64)| {
                [&member.to_vec()[..], b"=", &fmt_f64(score)].concat()
            };
            all.extend(zset.iter().map(scored));
        }
    }
    if !matches!(value, Value::List(_) | Value::Zset(_)) {
        all.sort();
    }
    all
}

/// Bytes without any pattern.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 7u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    (0..length).map(|_| next()).collect()
}

fn strings() -> Vec<(String, Value)> {
    let ints = [
        0,
        12,
        -1,
        127,
        -128,
        128,
        -129,
        32_767,
        -32_768,
        32_768,
        i64::from(i32::MAX),
    ];
    let wide = [i64::from(i32::MIN), 1 << 31, i64::MAX, i64::MIN];
    let mut texts: Vec<Vec<u8>> = ints
        .iter()
        .chain(&wide)
        .map(|int| int.to_string().into_bytes())
        .collect();
    texts.extend([
        b"".to_vec(),
        b"012".to_vec(),
        b"hello".to_vec(),
        b"ab".repeat(3000),
    ]);
    texts.extend([
        noise(200),
        noise(20_000),
        [vec![b'x'; 300_000], noise(10)].concat(),
    ]);
    let named =
        |(index, text): (usize, &Vec<u8>)| (format!("string:{index}"), Str::new(text).into());
    texts.iter().enumerate().map(named).collect()
}

fn list(elements: &[Vec<u8>]) -> Value {
    let mut list = List::default();
    for element in elements {
        list.push(ListLimits::default(), End::Tail, &[element]);
    }
    list.into()
}

fn set(members: &[Vec<u8>]) -> Value {
    let mut set = Set::default();
    for member in members {
        set.add(member.as_slice(), &SetLimits::default());
    }
    set.into()
}

fn zset(pairs: &[(Vec<u8>, f64)]) -> Value {
    let mut zset = Zset::default();
    for (member, score) in pairs {
        zset.insert(&ZsetLimits::default(), member, *score);
    }
    zset.into()
}

fn hash(pairs: &[(Vec<u8>, Vec<u8>)]) -> Value {
    let mut hash = Hash::default();
    for (field, value) in pairs {
        hash.set(field.as_slice(), value.as_slice(), &HashLimits::default());
    }
    hash.into()
}

fn texts(texts: &[&str]) -> Vec<Vec<u8>> {
    texts.iter().map(|text| text.as_bytes().to_vec()).collect()
}

fn numbered(prefix: &str, count: usize) -> Vec<Vec<u8>> {
    (0..count)
        .map(|index| format!("{prefix}{index}").into_bytes())
        .collect()
}

/// Names and values.
pub fn values() -> Vec<(String, Value)> {
    let mixed = texts(&[
        "1",
        "a",
        "-5",
        "",
        "70000",
        "3.5",
        "012",
        "9223372036854775807",
        "-4097",
    ]);
    let mut values = strings();
    let mut add = |name: &str, value| values.push((name.to_owned(), value));
    add("list:one", list(&mixed[1..2]));
    add("list:small", list(&mixed));
    add("list:many", list(&numbered("element ", 3000)));
    add(
        "list:huge",
        list(&[
            vec![b'z'; 9000],
            mixed[0].clone(),
            noise(30_000),
            mixed[3].clone(),
        ]),
    );
    add("set:16", set(&texts(&["1", "2", "-3", "1000"])));
    add("set:32", set(&texts(&["1", "-100000"])));
    add("set:64", set(&texts(&["1", "-9223372036854775808"])));
    add("set:small", set(&mixed));
    add("set:many", set(&numbered("member ", 1000)));
    add("set:ints", set(&numbered("", 1000)));
    add("set:long", set(&[noise(100), mixed[0].clone()]));
    let pairs: Vec<_> = mixed
        .iter()
        .cloned()
        .zip(mixed.iter().rev().cloned())
        .collect();
    add("hash:small", hash(&pairs));
    let many = numbered("field ", 1000)
        .into_iter()
        .zip(numbered("", 1000))
        .collect::<Vec<_>>();
    add("hash:many", hash(&many));
    add("hash:long", hash(&[(mixed[1].clone(), noise(5000))]));
    // Scores that Redis 7.0, which prints them otherwise, prints in the same way.
    let scores = [
        f64::NEG_INFINITY,
        -2.5,
        0.0,
        0.5,
        3.0,
        1e10,
        1e15,
        5e15,
        f64::INFINITY,
    ];
    add(
        "zset:small",
        zset(&mixed.iter().cloned().zip(scores).collect::<Vec<_>>()),
    );
    let many = numbered("member ", 1000)
        .into_iter()
        .zip((0..).map(|i| f64::from(i % 77) / 4.0));
    add("zset:many", zset(&many.collect::<Vec<_>>()));
    add("zset:long", zset(&[(noise(100), 1.0)]));
    values.extend(crate::stream::values());
    values
}

//! SORT against a plain sort, and the options one by one.

use proptest::prelude::*;

use crate::command::testing::TestServer;

const WRONG_TYPE: &str = "-WRONGTYPE Operation against a key holding the wrong kind of value";
const NOT_DOUBLE: &str = "-ERR One or more scores can't be converted into double";

fn config() -> ProptestConfig {
    ProptestConfig {
        cases: 64,
        failure_persistence: None,
        ..Default::default()
    }
}

fn texts(t: &mut TestServer, line: &str) -> Vec<String> {
    t.reply(line).elements().iter().map(|e| e.text()).collect()
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn any_list_is_sorted_as_the_model_sorts_it(
        numbers in prop::collection::vec(-50i64..50, 1..1200),
        start in -3i64..40,
        count in -3i64..1300,
        descending in any::<bool>(),
        alpha in any::<bool>(),
        by in any::<bool>(),
    ) {
        let mut t = TestServer::new();
        let words: Vec<String> = numbers.iter().map(i64::to_string).collect();
        t.run(&format!("RPUSH l {}", words.join(" ")));
        let weight = |n: i64| (n * 7919).rem_euclid(23);
        for n in -50..50 {
            t.run(&format!("SET w:{n} {}", weight(n)));
        }
        let mut model = numbers.clone();
        let text = |n: i64| n.to_string();
        model.sort_by(|a, b| {
            let compared = match (by, alpha) {
                (true, true) => text(weight(*a)).cmp(&text(weight(*b))),
                (true, false) => weight(*a).cmp(&weight(*b)).then(text(*a).cmp(&text(*b))),
                (false, true) => text(*a).cmp(&text(*b)),
                (false, false) => a.cmp(b),
            };
            if descending { compared.reverse() } else { compared }
        });
        let from = start.max(0) as usize;
        let take = usize::try_from(count).unwrap_or(usize::MAX);
        let wanted: Vec<String> = model.iter().skip(from).take(take).map(|n| text(*n)).collect();
        let mut line = format!("SORT l LIMIT {start} {count}");
        for (on, word) in [(descending, " DESC"), (alpha, " ALPHA"), (by, " BY w:*")] {
            if on {
                line.push_str(word);
            }
        }
        prop_assert_eq!(texts(&mut t, &line), wanted.clone());
        prop_assert_eq!(t.reply(&format!("{line} STORE d")).int(), wanted.len() as i64);
        prop_assert_eq!(texts(&mut t, "LRANGE d 0 -1"), wanted.clone());
        let shown = texts(&mut t, &format!("{line} GET # GET w:*"));
        let pairs: Vec<String> = wanted
            .iter()
            .flat_map(|n| [n.clone(), weight(n.parse().unwrap()).to_string()])
            .collect();
        prop_assert_eq!(shown, pairs);
    }
}

#[test]
fn many_elements_come_with_what_get_leads_to_whatever_it_is() {
    let mut t = TestServer::new();
    let words: Vec<String> = (0..900).map(|n| n.to_string()).collect();
    t.run(&format!("RPUSH l {}", words.join(" ")));
    let long = "x".repeat(70_000);
    t.run(&format!("MSET w1 -5 w2 -7 s1 one s2 {long} s899 7"));
    t.run("HSET h2 name two count 2");
    t.expect(&[
        (
            "SORT l BY w* LIMIT 0 3 GET # GET s* GET none GET h*->name GET h*->count",
            &format!(
                r#"["2", "{long}", nil, "two", "2", {}]"#,
                r#""1", "one", nil, nil, nil, "0", nil, nil, nil, nil"#
            ),
        ),
        (
            "SORT l DESC LIMIT 0 2 GET s* GET #",
            r#"["7", "899", nil, "898"]"#,
        ),
        (
            "SORT l DESC LIMIT 898 5 GET s* GET #",
            r#"["one", "1", nil, "0"]"#,
        ),
        ("SORT l BY nosort LIMIT 1 1 GET s*", r#"["one"]"#),
        ("SORT l BY nosort LIMIT 900 1 GET s*", "[]"),
        ("SORT l LIMIT 0 0 GET s*", "[]"),
        ("SORT l BY s* GET #", NOT_DOUBLE),
        ("SORT l BY s* LIMIT 0 1 GET s*", NOT_DOUBLE),
    ]);
    assert_eq!(t.reply("SORT l GET s*").elements().len(), 900);
}

#[test]
fn sets_and_sorted_sets_are_sorted_too() {
    let mut t = TestServer::new();
    t.run("SADD s 3 1 2");
    t.expect(&[
        ("SORT s", r#"["1", "2", "3"]"#),
        ("SORT s DESC LIMIT 0 2", r#"["3", "2"]"#),
        ("SORT_RO s DESC", r#"["3", "2", "1"]"#),
        ("SORT none", "[]"),
        ("SORT s BY nosort STORE d", ":3"),
        ("LRANGE d 0 -1", r#"["1", "2", "3"]"#),
    ]);
    let mut zset = crate::keyspace::value::zset::Zset::new();
    for (member, score) in [("c", 1.0), ("a", 2.0), ("b", 3.0)] {
        zset.insert(&Default::default(), member.as_bytes(), score);
    }
    t.put(b"z", zset.into());
    t.expect(&[
        ("SORT z ALPHA", r#"["a", "b", "c"]"#),
        ("SORT z BY nosort", r#"["c", "a", "b"]"#),
        ("SORT z BY nosort DESC", r#"["b", "a", "c"]"#),
        ("SORT z BY nosort DESC LIMIT 0 2", r#"["b", "a"]"#),
        ("SORT z BY nosort ASC LIMIT 1 1", r#"["a"]"#),
        ("SORT z BY nosort LIMIT 5 1", "[]"),
    ]);
}

#[test]
fn patterns_lead_to_strings_and_to_fields_of_hashes() {
    let mut t = TestServer::new();
    t.run("RPUSH l 1 2 3");
    t.run("MSET w1 30 w2 20 w3 10 t1 one t2 two");
    for (n, weight) in [(1, 5), (2, 7), (3, 6)] {
        t.run(&format!("HSET h{n} w {weight} name n{n}"));
    }
    t.expect(&[
        ("SORT l BY w*", r#"["3", "2", "1"]"#),
        ("SORT l BY h*->w", r#"["1", "3", "2"]"#),
        ("SORT l BY none*", r#"["1", "2", "3"]"#),
        ("SORT l BY none* ALPHA DESC", r#"["1", "2", "3"]"#),
        ("SORT l BY w* GET t*", r#"[nil, "two", "one"]"#),
        (
            "SORT l GET # GET h*->name GET fixed",
            r#"["1", "n1", nil, "2", "n2", nil, "3", "n3", nil]"#,
        ),
        ("SORT l GET h*", "[nil, nil, nil]"),
        ("SORT l GET w*->x", "[nil, nil, nil]"),
        ("SORT l GET t*-> BY nosort", "[nil, nil, nil]"),
        ("SORT l GET t* STORE d", ":3"),
        ("LRANGE d 0 -1", r#"["one", "two", ""]"#),
    ]);
}

#[test]
fn a_result_is_propagated_as_the_request_and_an_empty_one_removes() {
    let mut t = TestServer::new();
    t.run("RPUSH l 2 1");
    t.run("SET d x");
    t.effects();
    t.expect(&[
        ("SORT l STORE d", ":2"),
        ("SORT l", r#"["1", "2"]"#),
        ("SORT none STORE d", ":0"),
        ("SORT none STORE d", ":0"),
        ("EXISTS d", ":0"),
    ]);
    assert_eq!(t.effects(), ["SORT l STORE d", "SORT none STORE d"]);
    t.expect(&[
        ("MULTI", "+OK"),
        ("SORT l BY w* GET # STORE d", "+QUEUED"),
        ("SORT l", "+QUEUED"),
        ("EXEC", r#"[:2, ["1", "2"]]"#),
    ]);
}

#[test]
fn an_order_that_redis_leaves_to_chance_is_propagated_as_a_list() {
    let mut t = TestServer::new();
    t.run("SADD s c a b");
    t.effects();
    t.expect(&[("SORT s BY w* ALPHA STORE d", ":3")]);
    assert_eq!(t.effects(), ["MULTI", "DEL d", "RPUSH d a b c", "EXEC"]);
}

#[test]
fn a_large_result_is_the_same_outside_the_locks() {
    let mut t = TestServer::new();
    let words: Vec<String> = (0..5000).rev().map(|n| n.to_string()).collect();
    t.run(&format!("RPUSH l {}", words.join(" ")));
    let sorted = texts(&mut t, "SORT l");
    assert!(sorted.iter().enumerate().all(|(i, n)| *n == i.to_string()));
    assert_eq!(sorted.len(), 5000);
    t.run("RPUSH l x");
    assert_eq!(t.run("SORT l"), NOT_DOUBLE);
    assert_eq!(t.run("SORT l BY l*").len(), t.run("SORT l ALPHA").len());
}

#[test]
fn what_cannot_be_sorted_is_refused() {
    let mut t = TestServer::new();
    t.run("SET str v");
    t.run("HSET h f v");
    t.run("RPUSH l a 1");
    t.run("RPUSH e '' 1 ' 2' 1e400");
    t.expect(&[
        ("SORT str", WRONG_TYPE),
        ("SORT h", WRONG_TYPE),
        ("SORT l", NOT_DOUBLE),
        ("SORT e", NOT_DOUBLE),
        ("SORT e BY nosort LIMIT 0 1", r#"[""]"#),
        ("SORT str LIMIT 0", "-ERR syntax error"),
        ("SORT_RO l STORE d", "-ERR syntax error"),
        (
            "SORT l LIMIT x 1",
            "-ERR value is not an integer or out of range",
        ),
        ("SORT l BY", "-ERR syntax error"),
    ]);
    t.run("RPOP e");
    t.expect(&[("SORT e", r#"["", "1", " 2"]"#)]);
}

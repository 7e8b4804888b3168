//! Sets as their clients, replicas and subscribers see them.

use crate::command::testing::TestServer;

const WRONG_TYPE: &str = "-WRONGTYPE Operation against a key holding the wrong kind of value";

fn sorted(t: &mut TestServer, line: &str) -> Vec<String> {
    let mut members: Vec<String> = t.reply(line).elements().iter().map(|m| m.text()).collect();
    members.sort();
    members
}

#[test]
fn members_are_added_counted_and_removed() {
    let mut t = TestServer::new();
    t.expect(&[
        ("SADD s a b a", ":2"),
        ("SADD s b", ":0"),
        ("SCARD s", ":2"),
        ("SISMEMBER s a", ":1"),
        ("SISMEMBER s x", ":0"),
        ("SMISMEMBER s a x b", "[:1, :0, :1]"),
        ("SMISMEMBER none a", "[:0]"),
        ("SREM s x", ":0"),
        ("SREM s a b c", ":2"),
        ("SCARD s", ":0"),
        ("SREM s a", ":0"),
        ("SMEMBERS s", "[]"),
    ]);
    assert_eq!(t.effects(), ["SADD s a b a", "SREM s a b c"]);
}

#[test]
fn events_tell_the_change_and_then_the_end_of_the_key() {
    let mut t = TestServer::with(&["--notify-keyspace-events", "KEA"]);
    t.run("SADD s a b c d");
    t.run("SADD s a");
    t.run("SREM s a");
    t.run("SMOVE s other b");
    t.run("SPOP s");
    t.run("SPOP s 5");
    t.run("SMOVE other s b");
    t.run("SUNIONSTORE u s");
    t.run("SINTERSTORE u s none");
    assert_eq!(
        t.events(),
        [
            "0 sadd s",
            "0 srem s",
            "0 srem s",
            "0 sadd other",
            "0 spop s",
            "0 spop s",
            "0 del s",
            "0 srem other",
            "0 del other",
            "0 sadd s",
            "0 sunionstore u",
            "0 del u",
        ]
    );
}

#[test]
fn a_pop_is_propagated_as_the_removal_of_what_it_took() {
    let mut t = TestServer::new();
    t.run("SADD s only");
    assert_eq!(t.run("SPOP s"), r#""only""#);
    assert_eq!(t.run("SPOP s"), "nil");
    assert_eq!(t.run("SPOP s 3"), "[]");
    assert_eq!(t.effects(), ["SADD s only", "SREM s only"]);
    t.run("SADD s a b c");
    assert_eq!(t.run("SPOP s 0"), "[]");
    assert_eq!(sorted(&mut t, "SPOP s 3"), ["a", "b", "c"]);
    assert_eq!(t.effects(), ["SADD s a b c", "DEL s"]);
}

#[test]
fn a_pop_of_many_is_propagated_in_batches() {
    let mut t = TestServer::new();
    let members: Vec<String> = (0..5000).map(|n| format!("m{n}")).collect();
    t.run(&format!("SADD s {}", members.join(" ")));
    t.effects();
    let popped = sorted(&mut t, "SPOP s 2500");
    assert_eq!(popped.len(), 2500);
    let effects = t.effects();
    let words: Vec<Vec<&str>> = effects.iter().map(|e| e.split(' ').collect()).collect();
    let lengths: Vec<usize> = words.iter().map(Vec::len).collect();
    assert_eq!(lengths, [1, 1026, 1026, 454, 1]);
    let mut removed: Vec<&str> = words[1..4].iter().flat_map(|w| &w[2..]).copied().collect();
    removed.sort_unstable();
    assert_eq!(removed, popped);
    assert_eq!(t.run("SCARD s"), ":2500");
    assert_eq!(t.run(&format!("SISMEMBER s {}", popped[0])), ":0");
}

#[test]
fn random_members_are_distinct_for_a_positive_count_only() {
    let mut t = TestServer::new();
    t.run("SADD s a b c");
    t.expect(&[
        ("SRANDMEMBER none", "nil"),
        ("SRANDMEMBER none 5", "[]"),
        ("SRANDMEMBER s 0", "[]"),
    ]);
    assert_eq!(sorted(&mut t, "SRANDMEMBER s 5"), ["a", "b", "c"]);
    let mut two = sorted(&mut t, "SRANDMEMBER s 2");
    two.dedup();
    assert_eq!(two.len(), 2);
    assert_eq!(sorted(&mut t, "SRANDMEMBER s -1000").len(), 1000);
    for count in ["-9223372036854775808", "-9223372036854775807"] {
        let refused = t.run(&format!("SRANDMEMBER s {count}"));
        assert!(
            refused.starts_with("-ERR value is out of range"),
            "{refused}"
        );
    }
}

#[test]
fn a_member_moves_only_if_it_is_there_and_both_are_sets() {
    let mut t = TestServer::new();
    t.run("SADD a x y");
    t.run("SADD b y");
    t.run("SET str v");
    t.effects();
    t.expect(&[
        ("SMOVE a b none", ":0"),
        ("SMOVE none str x", ":0"),
        ("SMOVE a str none", WRONG_TYPE),
        ("SMOVE str a x", WRONG_TYPE),
        ("SMOVE a a x", ":1"),
        ("SMOVE a a none", ":0"),
        ("SMOVE a b y", ":1"),
        ("SMOVE a new x", ":1"),
        ("SCARD a", ":0"),
        ("SMEMBERS new", r#"["x"]"#),
    ]);
    assert_eq!(t.effects(), ["SMOVE a b y", "SMOVE a new x"]);
}

#[test]
fn the_algebra_of_sets_is_the_same_small_and_large() {
    for size in [20, 2000] {
        let mut t = TestServer::new();
        let mut numbers = |key: &str, step: usize| {
            let all: Vec<String> = (0..size).step_by(step).map(|n| n.to_string()).collect();
            t.run(&format!("SADD {key} {}", all.join(" ")));
            all
        };
        let (two, three) = (numbers("two", 2), numbers("three", 3));
        let pick = |keep: &dyn Fn(usize) -> bool| -> Vec<String> {
            let mut all: Vec<_> = (0..size)
                .filter(|n| keep(*n))
                .map(|n| n.to_string())
                .collect();
            all.sort();
            all
        };
        let both = pick(&|n| n % 6 == 0);
        let any = pick(&|n| n % 2 == 0 || n % 3 == 0);
        let first = pick(&|n| n % 2 == 0 && n % 3 != 0);
        assert_eq!(sorted(&mut t, "SINTER two three"), both);
        assert_eq!(sorted(&mut t, "SUNION two none three"), any);
        assert_eq!(sorted(&mut t, "SDIFF two three none"), first);
        assert_eq!(sorted(&mut t, "SINTER two none"), Vec::<String>::new());
        let count = |n: usize| format!(":{n}");
        assert_eq!(t.run("SINTERCARD 2 two three"), count(both.len()));
        assert_eq!(t.run("SINTERCARD 2 two three LIMIT 2"), ":2");
        assert_eq!(t.run("SINTERCARD 1 three LIMIT 0"), count(three.len()));
        assert_eq!(t.run("SINTERSTORE two two three"), count(both.len()));
        assert_eq!(t.run("SCARD two"), count(both.len()));
        assert!(two.len() > both.len());
    }
}

#[test]
fn a_store_of_nothing_removes_what_was_there() {
    let mut t = TestServer::new();
    t.run("SET str v");
    t.effects();
    t.expect(&[
        ("SDIFFSTORE none a b", ":0"),
        ("SUNIONSTORE str a b", ":0"),
        ("GET str", "nil"),
    ]);
    assert_eq!(t.effects(), ["SUNIONSTORE str a b"]);
}

#[test]
fn members_come_as_a_set_and_random_ones_as_an_array_in_resp3() {
    let mut t = TestServer::new();
    t.set_resp3(true);
    t.run("SADD s a");
    t.expect(&[
        ("SMEMBERS s", r#"~["a"]"#),
        ("SINTER s s", r#"~["a"]"#),
        ("SUNION s s", r#"~["a"]"#),
        ("SDIFF s s", "~[]"),
        ("SRANDMEMBER s 1", r#"["a"]"#),
        ("SPOP s 1", r#"~["a"]"#),
        ("SPOP s", "_"),
    ]);
}

#[test]
fn what_is_no_count_and_no_set_is_refused() {
    let mut t = TestServer::new();
    t.run("SET str v");
    t.run("SADD s a");
    let positive = "-ERR value is out of range, must be positive";
    t.expect(&[
        ("SPOP s -1", positive),
        ("SPOP none x", positive),
        ("SPOP s 1 2", "-ERR syntax error"),
        (
            "SRANDMEMBER s x",
            "-ERR value is not an integer or out of range",
        ),
        ("SINTERCARD 0 s", "-ERR numkeys should be greater than 0"),
        (
            "SINTERCARD 2 s",
            "-ERR Number of keys can't be greater than number of args",
        ),
        ("SINTERCARD 1 s LIMIT", "-ERR syntax error"),
        ("SINTERCARD 1 s LIMIT -1", "-ERR LIMIT can't be negative"),
        ("SINTER none str", WRONG_TYPE),
        ("SUNIONSTORE d s str", WRONG_TYPE),
        ("SADD str a", WRONG_TYPE),
        ("SPOP str", WRONG_TYPE),
        ("SPOP str 1", WRONG_TYPE),
        ("SMEMBERS str", WRONG_TYPE),
    ]);
}

#[test]
fn a_scan_yields_every_member_once() {
    for (size, count) in [(50, 10), (3000, 10), (3000, 1000)] {
        let mut t = TestServer::new();
        let mut all: Vec<String> = (0..size).map(|n| format!("m{n}")).collect();
        t.run(&format!("SADD s {}", all.join(" ")));
        let (mut seen, mut cursor) = (Vec::new(), "0".to_owned());
        loop {
            let step = t.reply(&format!("SSCAN s {cursor} COUNT {count}"));
            seen.extend(step.elements()[1].elements().iter().map(|m| m.text()));
            cursor = step.elements()[0].text();
            if cursor == "0" {
                break;
            }
        }
        all.sort();
        seen.sort();
        assert_eq!(seen, all);
    }
}

#[test]
fn a_scan_is_filtered_and_its_arguments_are_checked() {
    let mut t = TestServer::new();
    t.run("SADD s 1 10 x");
    t.run("SADD i 1 20 3");
    t.run("SET str v");
    t.expect(&[
        ("SSCAN s 0 MATCH x", r#"["0", ["x"]]"#),
        ("SSCAN i 0 MATCH 2*", r#"["0", ["20"]]"#),
        ("SSCAN none 0 MATCH", r#"["0", []]"#),
        ("SSCAN s 0 MATCH", "-ERR syntax error"),
        ("SSCAN s 0 TYPE set", "-ERR syntax error"),
        ("SSCAN s 0 COUNT 0", "-ERR syntax error"),
        ("SSCAN none text", "-ERR invalid cursor"),
        ("SSCAN str 0", WRONG_TYPE),
    ]);
}

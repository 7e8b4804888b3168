//! Clients that wait for elements, and those who push them.

use crate::command::testing::{Begun, TestClient, TestServer};
use crate::keyspace::hash;
use crate::keyspace::locks::shard_of;

#[track_caller]
fn served(client: &mut TestClient, waiting: &mut Begun, reply: &str) {
    assert_eq!(client.reply_to(waiting).as_deref(), Some(reply));
}

/// Keys of different shards.
fn keys(n: usize) -> Vec<String> {
    let mut keys: Vec<String> = Vec::new();
    let shard = |k: &String| shard_of(hash::of(k.as_bytes()));
    for i in 0.. {
        let key = format!("k{i}");
        if keys.iter().all(|k| shard(k) != shard(&key)) {
            keys.push(key);
        }
        if keys.len() == n {
            break;
        }
    }
    keys
}

#[test]
fn what_is_there_is_taken_at_once() {
    let mut t = TestServer::new();
    t.run("RPUSH b 1 2 3 4 5 6");
    t.expect(&[
        ("BLPOP a b 0", r#"["b", "1"]"#),
        ("BRPOP a b 0", r#"["b", "6"]"#),
        ("BLMPOP 0 2 a b LEFT COUNT 2", r#"["b", ["2", "3"]]"#),
        ("BLMOVE b c RIGHT LEFT 0", r#""5""#),
        ("BRPOPLPUSH b c 0", r#""4""#),
        ("EXISTS b", ":0"),
    ]);
    assert_eq!(
        t.effects(),
        [
            "RPUSH b 1 2 3 4 5 6",
            "LPOP b",
            "RPOP b",
            "LPOP b 2",
            "LMOVE b c RIGHT LEFT",
            "RPOPLPUSH b c"
        ]
    );
}

#[test]
fn timeouts_are_checked() {
    let mut t = TestServer::new();
    t.expect(&[
        ("BLPOP a x", "-ERR timeout is not a float or out of range"),
        ("BLPOP a nan", "-ERR timeout is not a float or out of range"),
        (
            "BLPOP a 1e5000",
            "-ERR timeout is not a float or out of range",
        ),
        ("BLPOP a inf", "-ERR timeout is out of range"),
        ("BLPOP a -infinity", "-ERR timeout is negative"),
        ("BLPOP a 1e400", "-ERR timeout is out of range"),
        ("BLPOP a -1e400", "-ERR timeout is negative"),
        ("BLPOP a -1", "-ERR timeout is negative"),
        ("BLPOP a -0.001", "-ERR timeout is negative"),
        (
            "BLPOP a 9223372036854775807",
            "-ERR timeout is out of range",
        ),
        ("BLPOP a 1e300", "-ERR timeout is out of range"),
        ("BLPOP a 0.01", "nil-array"),
        ("BLMPOP 0.001 1 a LEFT", "nil-array"),
        ("BLMOVE a b LEFT LEFT 0.001", "nil-array"),
        ("BRPOPLPUSH a b 0.001", "nil-array"),
        (
            "BLMPOP x 1 a LEFT COUNT 1",
            "-ERR timeout is not a float or out of range",
        ),
        ("BLMPOP x 0 a LEFT", "-ERR numkeys should be greater than 0"),
        ("BLMPOP x 1 a FOO", "-ERR syntax error"),
        (
            "BLMPOP -1 1 a LEFT COUNT 0",
            "-ERR count should be greater than 0",
        ),
        ("BLMPOP 0 0 a LEFT", "-ERR numkeys should be greater than 0"),
    ]);
}

#[test]
fn who_came_first_is_served_first() {
    let mut t = TestServer::new();
    let (mut a, mut b) = (t.client(), t.client());
    let mut first = a.begin("BLPOP k 0");
    let mut second = b.begin("BRPOP k 0");
    t.run("RPUSH k 1");
    served(&mut a, &mut first, r#"["k", "1"]"#);
    assert_eq!(b.reply_to(&mut second), None);
    t.run("RPUSH k 2 3");
    served(&mut b, &mut second, r#"["k", "3"]"#);
    assert_eq!(t.run("LRANGE k 0 -1"), r#"["2"]"#);
    assert_eq!(
        t.effects(),
        ["RPUSH k 1", "LPOP k", "RPUSH k 2 3", "RPOP k"]
    );
}

#[test]
fn nobody_overtakes_in_a_pipeline_and_a_transaction_is_not_cut_in_two() {
    let mut t = TestServer::new();
    let mut c = t.client();
    let mut waiting = c.begin("BLPOP k 0");
    let replies = t.pipeline(&[&[b"RPUSH", b"k", b"1"], &[b"LPOP", b"k"]]);
    assert_eq!(replies[1].to_string(), "nil");
    served(&mut c, &mut waiting, r#"["k", "1"]"#);
    let mut waiting = c.begin("BLPOP k 0");
    for line in ["MULTI", "RPUSH k 1", "DEL k", "LPUSH k 2"] {
        t.run(line);
    }
    t.effects();
    t.run("EXEC");
    served(&mut c, &mut waiting, r#"["k", "2"]"#);
    assert_eq!(
        t.effects(),
        ["MULTI", "RPUSH k 1", "DEL k", "LPUSH k 2", "EXEC", "LPOP k"]
    );
}

#[test]
fn in_a_transaction_nothing_waits() {
    let mut t = TestServer::new();
    for line in [
        "MULTI",
        "BLPOP k 0",
        "BLMOVE k l LEFT LEFT 0",
        "BLMPOP 0 1 k LEFT",
    ] {
        t.run(line);
    }
    assert_eq!(t.run("EXEC"), "[nil-array, nil, nil-array]");
}

#[test]
fn several_keys_in_several_shards_serve_once() {
    let mut t = TestServer::new();
    let k = keys(3);
    let mut c = t.client();
    let line = format!("BLPOP {} {} {} 0", k[0], k[1], k[2]);
    for at in 0..3 {
        let mut waiting = c.begin(&line);
        t.run(&format!("RPUSH {} x", k[at]));
        t.run(&format!("RPUSH {} y", k[(at + 1) % 3]));
        served(&mut c, &mut waiting, &format!("[\"{}\", \"x\"]", k[at]));
        assert_eq!(t.run(&format!("LPOP {}", k[(at + 1) % 3])), r#""y""#);
    }
    assert!(!t.engine.keyspace.has_waiters());
}

#[test]
fn what_a_served_move_pushes_serves_the_next() {
    let mut t = TestServer::new();
    let k = keys(3);
    let (mut a, mut b, mut c) = (t.client(), t.client(), t.client());
    let mut pop = c.begin(&format!("BLPOP {} 0", k[2]));
    let mut second = b.begin(&format!("BLMOVE {} {} LEFT RIGHT 0", k[1], k[2]));
    let mut first = a.begin(&format!("BRPOPLPUSH {} {} 0", k[0], k[1]));
    t.run(&format!("RPUSH {} x", k[0]));
    served(&mut a, &mut first, r#""x""#);
    served(&mut b, &mut second, r#""x""#);
    served(&mut c, &mut pop, &format!("[\"{}\", \"x\"]", k[2]));
    assert_eq!(t.run("DBSIZE"), ":0");
    assert!(!t.engine.keyspace.has_waiters());
}

#[test]
fn a_key_of_another_type_serves_nobody() {
    let mut t = TestServer::new();
    let mut c = t.client();
    let mut waiting = c.begin("BLPOP k 0");
    t.run("SET k v");
    assert_eq!(c.reply_to(&mut waiting), None);
    t.run("RPUSH other x");
    t.run("RENAME other k");
    served(&mut c, &mut waiting, r#"["k", "x"]"#);
}

#[test]
fn a_move_to_a_wrong_type_fails_and_the_next_is_served() {
    let mut t = TestServer::new();
    let (mut a, mut b) = (t.client(), t.client());
    let mut first = a.begin("BLMOVE k bad LEFT LEFT 0");
    let mut second = b.begin("BLPOP k 0");
    t.run("SET bad v");
    t.run("RPUSH k x");
    served(
        &mut a,
        &mut first,
        "-WRONGTYPE Operation against a key holding the wrong kind of value",
    );
    served(&mut b, &mut second, r#"["k", "x"]"#);
}

#[test]
fn whole_databases_that_change_places_serve() {
    let mut t = TestServer::new();
    let mut c = t.client();
    let mut waiting = c.begin("BLPOP k 0");
    for line in ["SELECT 1", "RPUSH k x", "SWAPDB 0 1"] {
        t.run(line);
    }
    served(&mut c, &mut waiting, r#"["k", "x"]"#);
}

#[test]
fn a_key_that_is_due_serves_nobody_and_stays_until_somebody_looks() {
    let mut t = TestServer::new();
    let mut c = t.client();
    let mut waiting = c.begin("BLPOP k 0");
    for line in ["SELECT 1", "RPUSH k x", "PEXPIRE k 10"] {
        t.run(line);
    }
    t.advance(11);
    t.effects();
    t.run("SWAPDB 0 1");
    assert_eq!(c.reply_to(&mut waiting), None);
    assert_eq!(t.effects(), ["SWAPDB 0 1"]);
}

#[test]
fn a_client_that_goes_away_leaves_its_place() {
    let mut t = TestServer::new();
    let (mut a, mut b) = (t.client(), t.client());
    let first = a.begin("BLMOVE k l LEFT LEFT 0");
    let mut second = b.begin("BLPOP k 0");
    drop(first);
    t.run("RPUSH k x");
    served(&mut b, &mut second, r#"["k", "x"]"#);
    assert!(!t.engine.keyspace.has_waiters());
}

#[test]
fn a_reply_comes_in_the_protocol_of_who_waits() {
    let mut t = TestServer::new();
    let mut c = t.client();
    c.set_resp3(true);
    assert_eq!(c.run("BLPOP k 0.001"), "_");
    let mut waiting = c.begin("BLMPOP 0 1 k RIGHT COUNT 9");
    t.run("RPUSH k x y");
    served(&mut c, &mut waiting, r#"["k", ["y", "x"]]"#);
    assert_eq!(t.run("LPOP k"), "nil");
}

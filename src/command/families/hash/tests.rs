//! Hash commands by their replies, effects and events.

use crate::command::testing::TestServer;
use crate::keyspace::locks::{SHARDS, ShardMask};

#[test]
fn fields_are_set_read_counted_and_removed() {
    let mut t = TestServer::new();
    assert_eq!(t.run("HSET h a 1 b 2 a 3"), ":2");
    assert_eq!(t.run("HGET h a"), r#""3""#);
    assert_eq!(t.run("HMGET h a x b"), r#"["3", nil, "2"]"#);
    assert_eq!(t.run("HSETNX h a 9"), ":0");
    assert_eq!(t.run("HLEN h"), ":2");
    assert_eq!(t.run("HSTRLEN h a"), ":1");
    assert_eq!(t.run("HDEL h a b c"), ":2");
    assert_eq!(t.run("HLEN h"), ":0");
    assert_eq!(t.effects(), ["HSET h a 1 b 2 a 3", "HDEL h a b c"]);
}

#[test]
fn increments_are_exact_and_floats_are_propagated_by_their_result() {
    let mut t = TestServer::new();
    assert_eq!(t.run("HINCRBY h n 5"), ":5");
    assert_eq!(t.run("HINCRBYFLOAT h f 0.1"), r#""0.1""#);
    assert_eq!(t.run("HINCRBYFLOAT h f 0.2"), r#""0.3""#);
    assert_eq!(t.run("HSET h s text"), ":1");
    assert_eq!(t.run("HINCRBY h s 1"), "-ERR hash value is not an integer");
    assert_eq!(
        t.run("HINCRBY h n 9223372036854775807"),
        "-ERR increment or decrement would overflow"
    );
    assert_eq!(
        t.effects(),
        [
            "HINCRBY h n 5",
            "HSET h f 0.1",
            "HSET h f 0.3",
            "HSET h s text"
        ]
    );
}

#[test]
fn a_taken_field_is_gone_the_second_time_it_is_named() {
    let mut t = TestServer::new();
    t.run("HSET h a 1 b 2");
    assert_eq!(t.run("HGETDEL h FIELDS 3 a a x"), r#"["1", nil, nil]"#);
    assert_eq!(t.effects(), ["HSET h a 1 b 2", "HDEL h a a x"]);
}

#[test]
fn a_large_hash_reads_whole() {
    let mut t = TestServer::new();
    for n in 0..1000 {
        t.run(&format!("HSET h field{n} {n}"));
    }
    assert_eq!(t.run("HVALS h").matches(',').count(), 999);
}

#[test]
fn a_key_of_another_type_is_refused() {
    let mut t = TestServer::new();
    t.run("SET s x");
    let refusal = "-WRONGTYPE Operation against a key holding the wrong kind of value";
    for command in [
        "HGET s f",
        "HSET s f v",
        "HDEL s f",
        "HLEN s",
        "HINCRBY s f 1",
    ] {
        assert_eq!(t.run(command), refusal, "{command}");
    }
}

/// Now, as the test server begins.
const START: &str = "1700000000000";

fn with_events() -> TestServer {
    TestServer::with(&["--notify-keyspace-events", "KEA"])
}

#[test]
fn an_expiry_is_logged_as_an_absolute_one_for_the_fields_that_got_it() {
    let mut t = with_events();
    t.run("HSET h a 1 b 2 c 3");
    t.expect(&[
        ("HEXPIRE h 10 FIELDS 2 a none", "[:1, :-2]"),
        ("HPEXPIRE h 20000 NX FIELDS 2 a b", "[:0, :1]"),
        ("HEXPIREAT h 1700000030 GT FIELDS 3 a b c", "[:1, :1, :0]"),
        (
            "HPEXPIREAT h 1700000005000 LT FIELDS 3 a b c",
            "[:1, :1, :1]",
        ),
        ("HPEXPIREAT h 1700000006000 XX FIELDS 1 a", "[:1]"),
        ("HPEXPIRE h 0 FIELDS 3 a c a", "[:2, :2, :-2]"),
        ("HPERSIST h FIELDS 3 a b b", "[:-2, :1, :-1]"),
        ("HPERSIST h FIELDS 1 b", "[:-1]"),
        ("HEXPIREAT h 1 FIELDS 1 b", "[:2]"),
        ("EXISTS h", ":0"),
        ("HEXPIRE h 10 FIELDS 1 b", "[:-2]"),
    ]);
    assert_eq!(
        t.effects(),
        [
            "HSET h a 1 b 2 c 3",
            "HPEXPIREAT h 1700000010000 FIELDS 1 a",
            "HPEXPIREAT h 1700000020000 NX FIELDS 1 b",
            "HPEXPIREAT h 1700000030000 GT FIELDS 2 a b",
            "HPEXPIREAT h 1700000005000 LT FIELDS 3 a b c",
            "HPEXPIREAT h 1700000006000 XX FIELDS 1 a",
            "MULTI",
            "HDEL h a",
            "HDEL h c",
            "EXEC",
            "HPERSIST h FIELDS 3 a b b",
            "HDEL h b",
        ]
    );
    let hexpires = ["0 hexpire h"; 5];
    let mut expected = vec!["0 new h", "0 hset h"];
    expected.extend(hexpires);
    expected.extend(["0 hdel h", "0 hpersist h", "0 hdel h", "0 del h"]);
    let events = t.events();
    let events: Vec<&str> = events.iter().map(String::as_str).collect();
    assert_eq!(
        events,
        expected.split_off(usize::from(events[0] != "0 new h"))
    );
}

#[test]
fn the_time_left_is_told_and_rounded_up() {
    let mut t = TestServer::new();
    t.run("HSET h a 1 b 2");
    t.run("HPEXPIRE h 1001 FIELDS 1 a");
    t.expect(&[
        ("HTTL h FIELDS 3 a b none", "[:2, :-1, :-2]"),
        ("HPTTL h FIELDS 1 a", "[:1001]"),
        ("HEXPIRETIME h FIELDS 1 a", "[:1700000002]"),
        ("HPEXPIRETIME h FIELDS 1 a", "[:1700000001001]"),
        ("HTTL none FIELDS 2 a b", "[:-2, :-2]"),
    ]);
}

#[test]
fn who_meets_a_field_that_is_due_removes_it() {
    let mut t = with_events();
    let prepare = |t: &mut TestServer| {
        t.run("DEL h");
        t.run("HSETEX h PX 10 FIELDS 2 a 1 b 2");
        t.run("HSET h c 3");
        t.advance(10);
        t.effects();
        t.events();
    };
    for (command, reply, effects) in [
        ("HGET h a", "nil", &["HDEL h a"][..]),
        ("HEXISTS h a", ":0", &["HDEL h a"]),
        ("HSTRLEN h a", ":0", &["HDEL h a"]),
        ("HMGET h a c a", r#"[nil, "3", nil]"#, &["HDEL h a"]),
        (
            "HSETNX h a 5",
            ":1",
            &["MULTI", "HDEL h a", "HSETNX h a 5", "EXEC"],
        ),
        (
            "HINCRBY h a 5",
            ":5",
            &["MULTI", "HDEL h a", "HINCRBY h a 5", "EXEC"],
        ),
        (
            "HGETDEL h FIELDS 2 a c",
            r#"[nil, "3"]"#,
            &["MULTI", "HDEL h a", "HDEL h a c", "EXEC"],
        ),
        ("HGETEX h FIELDS 2 a c", r#"[nil, "3"]"#, &["HDEL h a"]),
        (
            "HRANDFIELD h",
            r#""c""#,
            &["MULTI", "HDEL h a", "HDEL h b", "EXEC"],
        ),
    ] {
        prepare(&mut t);
        assert_eq!(t.run(command), reply, "{command}");
        assert_eq!(t.effects(), effects, "{command}");
        assert_eq!(t.events()[0], "0 hexpired h", "{command}");
    }
    prepare(&mut t);
    t.expect(&[
        ("HGETALL h", r#"["c", "3"]"#),
        ("HKEYS h", r#"["c"]"#),
        ("HVALS h", r#"["3"]"#),
        ("HSCAN h 0", r#"["0", ["c", "3"]]"#),
        ("HLEN h", ":3"),
        ("HTTL h FIELDS 1 a", "[:-2]"),
        ("HPERSIST h FIELDS 1 a", "[:-2]"),
    ]);
    assert!(t.effects().is_empty() && t.events().is_empty());
    t.run("HDEL h c");
    t.events();
    assert_eq!(t.run("HMGET h a b"), "[nil, nil]");
    assert_eq!(t.events(), ["0 hexpired h", "0 del h"]);
    assert_eq!(t.run("EXISTS h"), ":0");
}

#[test]
fn a_value_that_is_set_lives_for_ever_unless_the_command_says_otherwise() {
    let mut t = TestServer::new();
    t.run("HSETEX h EX 100 FIELDS 3 a 1 b 2 c 3");
    t.run("HSET h a 5");
    t.run("HINCRBY h b 5");
    t.run("HSETEX h KEEPTTL FIELDS 2 c 4 d 5");
    assert_eq!(t.run("HTTL h FIELDS 4 a b c d"), "[:-1, :100, :100, :-1]");
    t.expect(&[
        ("HSETEX h FNX FIELDS 2 x 1 a 1", ":0"),
        ("HSETEX h FXX FIELDS 2 x 1 a 1", ":0"),
        ("HSETEX h FXX PX 5 FIELDS 1 a 1", ":1"),
        ("HSETEX h PXAT 1 FIELDS 2 b 1 x 1", ":1"),
        ("HEXISTS h b", ":0"),
        ("HSETEX h2 FXX FIELDS 1 a 1", ":0"),
        ("EXISTS h2", ":0"),
    ]);
    let at = |ms: &str| format!("HSETEX h PXAT {}{ms} FIELDS 3 a 1 b 2 c 3", &START[..7]);
    assert_eq!(
        t.effects(),
        [
            at("100000").as_str(),
            "HSET h a 5",
            "HINCRBY h b 5",
            "HSETEX h KEEPTTL FIELDS 2 c 4 d 5",
            "HSETEX h FXX PXAT 1700000000005 FIELDS 1 a 1",
            "MULTI",
            "HDEL h b",
            "HDEL h x",
            "EXEC",
        ]
    );
}

#[test]
fn who_repeats_an_increment_keeps_the_lifetime_of_the_field() {
    let increments = [
        ("HINCRBYFLOAT h a 1.5", r#""2.5""#),
        ("HINCRBY h b 5", ":7"),
        ("HSETEX h KEEPTTL FIELDS 1 c 4", ":1"),
        ("HINCRBYFLOAT h d 1", r#""5""#),
        ("HINCRBYFLOAT h new 1", r#""1""#),
    ];
    let mut t = TestServer::new();
    t.run("HSETEX h EX 100 FIELDS 3 a 1 b 2 c 3");
    t.run("HSET h d 4");
    let mut replica = TestServer::new();
    replica.session.origin = crate::command::session::Origin::Primary;
    t.effects().iter().for_each(|line| {
        replica.run(line);
    });
    t.expect(&increments);
    let effects = t.effects();
    let at = "HPEXPIREAT h 1700000100000 FIELDS 1 a";
    assert_eq!(
        effects,
        [
            "MULTI",
            "HSET h a 2.5",
            at,
            "EXEC",
            increments[1].0,
            increments[2].0,
            "HSET h d 5",
            "HSET h new 1",
        ]
    );
    let looks = ["HPEXPIRETIME h FIELDS 5 a b c d new", "HMGET h a b c d new"];
    let expected = looks.map(|line| t.run(line));
    // Whoever repeats it may do so after the fields became due; all servers have one clock here.
    t.advance(200_000);
    effects.iter().for_each(|line| {
        replica.run(line);
    });
    assert_eq!(looks.map(|line| replica.run(line)), expected);
    assert_eq!(t.run("HINCRBYFLOAT h a 1"), r#""1""#);
    assert_eq!(t.effects(), ["MULTI", "HDEL h a", "HSET h a 1", "EXEC"]);
}

#[test]
fn reading_may_change_how_long_fields_live() {
    let mut t = TestServer::new();
    t.run("HSET h a 1 b 2");
    t.expect(&[
        ("HGETEX h EX 10 FIELDS 2 a x", r#"["1", nil]"#),
        ("HGETEX h PERSIST FIELDS 2 a b", r#"["1", "2"]"#),
        ("HGETEX h PERSIST FIELDS 2 a b", r#"["1", "2"]"#),
        ("HGETEX h EXAT 1 FIELDS 3 a x a", r#"["1", nil, nil]"#),
        ("HGETALL h", r#"["b", "2"]"#),
    ]);
    assert_eq!(
        t.effects(),
        [
            "HSET h a 1 b 2",
            "HPEXPIREAT h 1700000010000 FIELDS 2 a x",
            "HPERSIST h FIELDS 2 a b",
            "HDEL h a"
        ]
    );
}

#[test]
fn a_replica_hides_what_is_due_and_waits_for_its_primary() {
    let mut t = TestServer::new();
    t.run("HSETEX h PX 10 FIELDS 1 a 1");
    t.run("HSET h b 2");
    t.effects();
    t.set_replica(true);
    t.advance(10);
    t.expect(&[
        ("HGET h a", "nil"),
        ("HRANDFIELD h 5", r#"["b"]"#),
        ("HRANDFIELD h -2", r#"["b", "b"]"#),
        ("HGETALL h", r#"["b", "2"]"#),
        ("HLEN h", ":2"),
    ]);
    assert!(t.effects().is_empty());
    t.session.origin = crate::command::session::Origin::Primary;
    assert_eq!(t.run("HGET h a"), r#""1""#);
    assert_eq!(t.run("HPEXPIREAT h 1 FIELDS 1 b"), "[:1]");
    assert_eq!(t.run("HLEN h"), ":2");
}

#[test]
fn what_cannot_be_asked_for_is_refused() {
    let mut t = TestServer::new();
    t.run("HSET h a 1");
    let fields = "-ERR Mandatory argument FIELDS is missing or not at the right position";
    let number = "-ERR The `numfields` parameter must match the number of arguments";
    let time = "-ERR invalid expire time in 'hpexpireat' command";
    t.expect(&[
        ("HEXPIRE h 10 NX XX FIELDS 1 a", fields),
        (
            "HEXPIRE h -1 FOO 1 a",
            "-ERR invalid expire time, must be >= 0",
        ),
        ("HEXPIRE h 10 FIELDS 2 a", number),
        ("HPEXPIREAT h 70368744177664 FIELDS 1 a", time),
        ("HPEXPIREAT h 70368744177663 FIELDS 1 a", "[:1]"),
        (
            "HEXPIRE h 10 FIELDS 0 a",
            "-ERR Parameter `numFields` should be greater than 0",
        ),
        (
            "HTTL h FIELDS 0 a",
            "-ERR Number of fields must be a positive integer",
        ),
        ("HGETEX h KEEPTTL FIELDS 1 a", fields),
        (
            "HGETEX h EX 10 FIELDS",
            "-ERR Number of fields must be a positive integer",
        ),
        ("HGETEX h EX 10 FIELDS 1", number),
        ("HSETEX h FOO FIELDS 1 a 1", "-ERR unknown argument: FOO"),
        ("HSETEX h FIELDS 0 a 1", "-ERR invalid number of fields"),
        (
            "HSETEX h FIELDS 1 a 1 FNX",
            "-ERR wrong number of arguments for 'hsetex' command",
        ),
        (
            "HSETEX h EX 1 KEEPTTL FIELDS 1 a 1",
            "-ERR Only one of EX, PX, EXAT, PXAT or KEEPTTL arguments can be specified",
        ),
        (
            "HSETEX h FNX FXX FIELDS 1 a 1",
            "-ERR Only one of FXX or FNX arguments can be specified",
        ),
    ]);
}

#[test]
fn the_count_of_random_fields_is_read_before_the_words_behind_it() {
    let mut t = TestServer::new();
    t.run("HSET h a 1");
    let range = "-ERR value is out of range, value must between -9223372036854775807 and \
                 9223372036854775807";
    let number = "-ERR value is not an integer or out of range";
    let syntax = "-ERR syntax error";
    t.expect(&[
        ("HRANDFIELD h -9223372036854775808", range),
        ("HRANDFIELD h -9223372036854775808 FOO", range),
        ("HRANDFIELD h x FOO", number),
        ("HRANDFIELD h x WITHVALUES FOO", number),
        ("HRANDFIELD h 1 FOO", syntax),
        ("HRANDFIELD none 1 WITHVALUES FOO", syntax),
        (
            "HRANDFIELD none 9223372036854775807 WITHVALUES",
            "-ERR value is out of range",
        ),
    ]);
}

/// Hashes of a database with fields that have an expiry.
fn timed(t: &TestServer, db: usize) -> usize {
    let mut locked = t.engine.keyspace.lock(ShardMask::ALL);
    let timed = |i| locked.shard(i).unwrap().db(db).unwrap().table.timed_len();
    (0..SHARDS).map(timed).sum()
}

#[test]
fn a_move_takes_the_lifetimes_along() {
    let mut t = TestServer::new();
    t.run("HSETEX h EX 100 FIELDS 1 a 1");
    t.run("COPY h h2");
    t.run("RENAME h h3");
    t.run("MOVE h3 1");
    assert_eq!(t.run("HTTL h2 FIELDS 1 a"), "[:100]");
    t.run("SWAPDB 0 1");
    assert_eq!(t.run("HTTL h3 FIELDS 1 a"), "[:100]");
    assert_eq!([timed(&t, 0), timed(&t, 1)], [1, 1]);
    t.run("FLUSHALL");
    assert_eq!([timed(&t, 0), timed(&t, 1)], [0, 0]);
}

#[test]
fn commands_about_expiries_change_the_form_even_if_no_field_gets_one() {
    for command in [
        "HPEXPIRE h 10000 FIELDS 1 none",
        "HPEXPIRE h 10000 XX FIELDS 1 a",
        "HGETEX h PERSIST FIELDS 1 a",
        "HGETEX h PX 10000 FIELDS 1 none",
        "HSETEX h EXAT 1 FIELDS 1 none 1",
    ] {
        let mut t = TestServer::new();
        t.run("HSET h a 1 b 2");
        t.run("HGETEX h FIELDS 1 a");
        t.run("HSETEX h FIELDS 1 a 1");
        assert_eq!(t.run("OBJECT ENCODING h"), r#""listpack""#);
        t.run(command);
        assert_eq!(t.run("OBJECT ENCODING h"), r#""listpackex""#, "{command}");
    }
    let mut t = TestServer::with(&["--hash-max-listpack-entries", "2"]);
    t.run("HSET h a 1 b 2");
    t.run("HSETEX h EXAT 1 FIELDS 1 c 3");
    assert_eq!(t.run("OBJECT ENCODING h"), r#""hashtable""#);
    assert_eq!(t.run("HLEN h"), ":2");
}

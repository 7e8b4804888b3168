//! Lists as their clients, replicas and subscribers see them.

use crate::command::testing::TestServer;

const WRONG_TYPE: &str = "-WRONGTYPE Operation against a key holding the wrong kind of value";

#[test]
fn elements_are_pushed_and_popped_at_both_ends() {
    let mut t = TestServer::new();
    t.expect(&[
        ("LPUSHX l x", ":0"),
        ("RPUSHX l x", ":0"),
        ("RPUSH l a b", ":2"),
        ("LPUSH l 1 2", ":4"),
        ("LPUSHX l 3", ":5"),
        ("RPUSHX l c", ":6"),
        ("LRANGE l 0 -1", r#"["3", "2", "1", "a", "b", "c"]"#),
        ("LLEN l", ":6"),
        ("LPOP l", r#""3""#),
        ("RPOP l", r#""c""#),
        ("LPOP l 2", r#"["2", "1"]"#),
        ("RPOP l 9", r#"["b", "a"]"#),
        ("LPOP l", "nil"),
        ("RPOP l 2", "nil-array"),
        ("LPOP l 0", "nil-array"),
        ("LLEN l", ":0"),
    ]);
    assert_eq!(
        t.effects(),
        [
            "RPUSH l a b",
            "LPUSH l 1 2",
            "LPUSHX l 3",
            "RPUSHX l c",
            "LPOP l",
            "RPOP l",
            "LPOP l 2",
            "RPOP l 9"
        ]
    );
}

#[test]
fn ranges_and_indexes_count_from_either_end() {
    let mut t = TestServer::new();
    t.run("RPUSH l a b c d");
    t.expect(&[
        ("LRANGE l 1 2", r#"["b", "c"]"#),
        ("LRANGE l -2 100", r#"["c", "d"]"#),
        ("LRANGE l -100 0", r#"["a"]"#),
        ("LRANGE l 3 1", "[]"),
        ("LRANGE l 4 9", "[]"),
        ("LRANGE l 0 -9", "[]"),
        (
            "LRANGE l -9223372036854775808 9223372036854775807",
            r#"["a", "b", "c", "d"]"#,
        ),
        ("LRANGE none 0 -1", "[]"),
        ("LINDEX l 0", r#""a""#),
        ("LINDEX l -1", r#""d""#),
        ("LINDEX l 4", "nil"),
        ("LINDEX l -5", "nil"),
        ("LINDEX l -9223372036854775808", "nil"),
        ("LINDEX none text", "nil"),
        (
            "LINDEX l text",
            "-ERR value is not an integer or out of range",
        ),
    ]);
}

#[test]
fn elements_are_replaced_inserted_removed_and_trimmed() {
    let mut t = TestServer::new();
    t.run("RPUSH l a b a c a");
    t.effects();
    t.expect(&[
        ("LSET l 1 B", "+OK"),
        ("LSET l -1 z", "+OK"),
        ("LSET l 5 x", "-ERR index out of range"),
        ("LSET none text x", "-ERR no such key"),
        ("LINSERT l BEFORE a first", ":6"),
        ("LINSERT l after B second", ":7"),
        ("LINSERT l AFTER none x", ":-1"),
        ("LINSERT none AFTER a x", ":0"),
        ("LINSERT l between a x", "-ERR syntax error"),
        (
            "LRANGE l 0 -1",
            r#"["first", "a", "B", "second", "a", "c", "z"]"#,
        ),
        ("LREM l -1 a", ":1"),
        ("LREM l 0 none", ":0"),
        ("LTRIM l 1 -2", "+OK"),
        ("LTRIM l 0 -1", "+OK"),
        ("LRANGE l 0 -1", r#"["a", "B", "second", "c"]"#),
        ("LTRIM l 5 9", "+OK"),
        ("LTRIM none 0 0", "+OK"),
        ("LLEN l", ":0"),
    ]);
    assert_eq!(
        t.effects(),
        [
            "LSET l 1 B",
            "LSET l -1 z",
            "LINSERT l BEFORE a first",
            "LINSERT l after B second",
            "LREM l -1 a",
            "LTRIM l 1 -2",
            "LTRIM l 5 9",
        ]
    );
}

#[test]
fn positions_honour_rank_count_and_length() {
    let mut t = TestServer::new();
    t.run("RPUSH l a b c 1 2 3 c c");
    t.expect(&[
        ("LPOS l c", ":2"),
        ("LPOS l none", "nil"),
        ("LPOS none c", "nil"),
        ("LPOS none c COUNT 1", "[]"),
        ("LPOS l c RANK 2", ":6"),
        ("LPOS l c RANK -1", ":7"),
        ("LPOS l c RANK 4", "nil"),
        ("LPOS l c COUNT 2", "[:2, :6]"),
        ("LPOS l c COUNT 0 RANK -2", "[:6, :2]"),
        ("LPOS l c COUNT 0 MAXLEN 3", "[:2]"),
        ("LPOS l c MAXLEN 2", "nil"),
        ("LPOS l c COUNT 0 MAXLEN 2", "[]"),
        ("LPOS l 3 RANK -1 MAXLEN 3", ":5"),
        ("LPOS l c COUNT -1", "-ERR COUNT can't be negative"),
        ("LPOS l c MAXLEN -1", "-ERR MAXLEN can't be negative"),
        ("LPOS l c RANK", "-ERR syntax error"),
        ("LPOS l c WIDTH 1", "-ERR syntax error"),
    ]);
    assert!(
        t.run("LPOS l c RANK 0")
            .starts_with("-ERR RANK can't be zero")
    );
}

#[test]
fn an_element_moves_between_lists_and_around_one() {
    let mut t = TestServer::with(&["--notify-keyspace-events", "KEA"]);
    t.run("RPUSH a 1 2");
    t.run("SET str v");
    t.effects();
    t.events();
    t.expect(&[
        ("LMOVE none a LEFT RIGHT", "nil"),
        ("LMOVE none str LEFT RIGHT", "nil"),
        ("LMOVE a str LEFT RIGHT", WRONG_TYPE),
        ("LMOVE str a LEFT RIGHT", WRONG_TYPE),
        ("LMOVE a b LEFT up", "-ERR syntax error"),
        ("LMOVE a a LEFT RIGHT", r#""1""#),
        ("LRANGE a 0 -1", r#"["2", "1"]"#),
        ("RPOPLPUSH a b", r#""1""#),
        ("LMOVE a b right right", r#""2""#),
        ("LRANGE b 0 -1", r#"["1", "2"]"#),
        ("LLEN a", ":0"),
    ]);
    assert_eq!(
        t.effects(),
        [
            "LMOVE a a LEFT RIGHT",
            "RPOPLPUSH a b",
            "LMOVE a b right right"
        ]
    );
    assert_eq!(
        t.events(),
        [
            "0 rpush a",
            "0 lpop a",
            "0 lpush b",
            "0 rpop a",
            "0 rpush b",
            "0 rpop a",
            "0 del a"
        ]
    );
}

#[test]
fn a_list_of_one_element_survives_its_rotation() {
    let mut t = TestServer::with(&["--notify-keyspace-events", "KEA"]);
    t.run("RPUSH l only");
    assert_eq!(t.run("RPOPLPUSH l l"), r#""only""#);
    assert_eq!(t.run("LRANGE l 0 -1"), r#"["only"]"#);
    assert_eq!(t.events(), ["0 rpush l", "0 lpush l", "0 rpop l"]);
}

#[test]
fn the_first_list_that_has_elements_is_popped() {
    let mut t = TestServer::new();
    t.run("RPUSH b 1 2 3 4");
    t.run("SET str v");
    t.effects();
    t.expect(&[
        ("LMPOP 2 a b LEFT", r#"["b", ["1"]]"#),
        ("LMPOP 2 a b RIGHT COUNT 2", r#"["b", ["4", "3"]]"#),
        ("LMPOP 1 b right count 9", r#"["b", ["2"]]"#),
        ("LMPOP 2 a b LEFT", "nil-array"),
        ("LMPOP 2 a str LEFT", WRONG_TYPE),
        ("LMPOP 0 a LEFT", "-ERR numkeys should be greater than 0"),
        ("LMPOP 2 a LEFT", "-ERR syntax error"),
        ("LMPOP 1 a UP", "-ERR syntax error"),
        (
            "LMPOP 1 a LEFT COUNT 0",
            "-ERR count should be greater than 0",
        ),
        ("LMPOP 1 a LEFT COUNT 1 COUNT 1", "-ERR syntax error"),
    ]);
    assert_eq!(t.effects(), ["LPOP b 1", "RPOP b 2", "RPOP b 1"]);
}

#[test]
fn a_large_list_reads_and_pops_as_a_small_one() {
    let mut t = TestServer::new();
    let all: Vec<String> = (0..3000).map(|n| format!("element:{n}")).collect();
    t.run(&format!("RPUSH l {}", all.join(" ")));
    let texts = |t: &mut TestServer, line: &str| -> Vec<String> {
        t.reply(line).elements().iter().map(|e| e.text()).collect()
    };
    assert_eq!(texts(&mut t, "LRANGE l 0 -1"), all);
    assert_eq!(texts(&mut t, "LRANGE l 1000 1999"), all[1000..2000]);
    assert_eq!(texts(&mut t, "LPOP l 1000"), all[..1000]);
    let mut tail = texts(&mut t, "RPOP l 1500");
    tail.reverse();
    assert_eq!(tail, all[1500..]);
    assert_eq!(t.run("LPOS l element:1200"), ":200");
    assert_eq!(texts(&mut t, "RPOP l 1000").len(), 500);
    assert_eq!(t.run("LLEN l"), ":0");
}

#[test]
fn an_element_too_large_for_a_node_comes_back_whole() {
    let mut t = TestServer::new();
    let large = vec![b'x'; 100_000];
    t.run_args(&[b"RPUSH", b"l", b"a", &large, b"b"]);
    assert_eq!(t.reply("LINDEX l 1").bytes(), large);
    assert_eq!(t.reply("LRANGE l 1 1").elements()[0].bytes(), large);
    assert_eq!(t.run("LPOP l"), r#""a""#);
    assert_eq!(t.reply("LPOP l").bytes(), large);
    assert_eq!(t.run("LPOP l"), r#""b""#);
}

#[test]
fn what_is_no_list_and_no_count_is_refused() {
    let mut t = TestServer::new();
    t.run("SET str v");
    for command in [
        "LPUSH str a",
        "RPUSHX str a",
        "LPOP str",
        "LPOP str 0",
        "LLEN str",
        "LRANGE str 0 1",
        "LINDEX str text",
        "LSET str text a",
        "LINSERT str BEFORE a b",
        "LREM str 0 a",
        "LTRIM str 0 0",
        "LPOS str a",
    ] {
        assert_eq!(t.run(command), WRONG_TYPE, "{command}");
    }
    t.expect(&[
        ("LPOP l -1", "-ERR value is out of range, must be positive"),
        ("RPOP l x", "-ERR value is out of range, must be positive"),
        (
            "RPOP l 1 2",
            "-ERR wrong number of arguments for 'rpop' command",
        ),
    ]);
}

#[test]
fn a_rotation_leaves_the_form_of_the_list_alone() {
    let mut t = TestServer::with(&["--list-max-listpack-size", "4"]);
    t.run("RPUSH full 1 2 3 4");
    t.run("RPUSH long 1 2 3 4 5");
    t.run("LPOP long 2");
    t.expect(&[
        ("OBJECT ENCODING full", r#""listpack""#),
        ("OBJECT ENCODING long", r#""quicklist""#),
        ("LMOVE full full LEFT RIGHT", r#""1""#),
        ("LMOVE long long RIGHT LEFT", r#""5""#),
        ("LRANGE full 0 -1", r#"["2", "3", "4", "1"]"#),
        ("LRANGE long 0 -1", r#"["5", "3", "4"]"#),
        ("OBJECT ENCODING full", r#""listpack""#),
        ("OBJECT ENCODING long", r#""quicklist""#),
    ]);
}

#[test]
fn a_trim_that_keeps_everything_still_fails_a_transaction() {
    let mut t = TestServer::new();
    let mut other = t.client();
    t.run("RPUSH l a b");
    t.expect(&[("WATCH l", "+OK"), ("MULTI", "+OK"), ("PING", "+QUEUED")]);
    other.run("LTRIM l 0 -1");
    assert_eq!(t.run("EXEC"), "nil-array");
}

#[test]
fn a_full_small_list_grows_for_a_value_that_finds_no_place() {
    for command in ["LINSERT l AFTER none c", "LSET l 9 c"] {
        let mut t = TestServer::with(&["--list-max-listpack-size", "2"]);
        t.run("RPUSH l a b");
        assert_eq!(t.run("OBJECT ENCODING l"), r#""listpack""#);
        t.run(command);
        assert_eq!(t.run("OBJECT ENCODING l"), r#""quicklist""#, "{command}");
        assert_eq!(t.run("LRANGE l 0 -1"), r#"["a", "b"]"#);
    }
}

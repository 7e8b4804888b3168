//! The string commands as a client sees them, compared line by line with Redis 8.0.2.

use crate::command::testing::TestServer;

const SYNTAX: &str = "-ERR syntax error";
const NOT_INTEGER: &str = "-ERR value is not an integer or out of range";
const WRONG_TYPE: &str = "-WRONGTYPE Operation against a key holding the wrong kind of value";

/// A server with a hash `h`.
fn with_hash() -> TestServer {
    let t = TestServer::with(&["--notify-keyspace-events", "KEAmn"]);
    t.put_hash("h", &[("f", "v")]);
    t
}

#[test]
fn set_takes_each_option_and_refuses_what_contradicts() {
    let mut t = with_hash();
    t.expect(&[
        ("SET k v NX XX", SYNTAX),
        ("SET k v EX 10 PX 20", SYNTAX),
        ("SET k v KEEPTTL EX 10", SYNTAX),
        ("SET k v EX 10 KEEPTTL", SYNTAX),
        ("SET k v PERSIST", SYNTAX),
        ("SET k v EX", SYNTAX),
        ("SET k v FOO", SYNTAX),
        ("SET k v EX abc", NOT_INTEGER),
        ("SET k v EX 0", "-ERR invalid expire time in 'set' command"),
        ("SET k v PX -1", "-ERR invalid expire time in 'set' command"),
        (
            "SET k v EX 9223372036854775",
            "-ERR invalid expire time in 'set' command",
        ),
        (
            "SET k v PX 9223372036854775807",
            "-ERR invalid expire time in 'set' command",
        ),
        ("SET k v XX", "nil"),
        ("SET k v XX GET", "nil"),
        ("SET k v NX NX GET", "nil"),
        ("SET k w NX GET", "\"v\""),
        ("SET k w NX", "nil"),
        ("SET k w XX get", "\"v\""),
        ("SET h v GET", WRONG_TYPE),
        ("SET h v NX GET", WRONG_TYPE),
        ("SET h v NX", "nil"),
        ("GET k", "\"w\""),
        ("GET h", WRONG_TYPE),
        ("SET h v", "+OK"),
        ("GET h", "\"v\""),
    ]);
}

#[test]
fn more_keys_than_are_fetched_at_once_come_in_their_order() {
    let mut t = with_hash();
    let keys: Vec<String> = (0..50).map(|n| format!("key:{n}")).collect();
    let pairs: Vec<String> = keys.iter().map(|k| format!("{k} v{k}")).collect();
    t.expect(&[(&format!("MSET {}", pairs.join(" ")), "+OK")]);
    t.expect(&[("DEL key:17", ":1"), ("DEL key:32", ":1")]);
    let shown: Vec<String> = keys
        .iter()
        .map(|k| match k.as_str() {
            "key:17" | "key:32" => "nil".to_owned(),
            k => format!("\"v{k}\""),
        })
        .collect();
    let request = format!("MGET h {} key:3 h", keys.join(" "));
    let reply = format!("[nil, {}, \"vkey:3\", nil]", shown.join(", "));
    t.expect(&[(&request, &reply)]);
}

#[test]
fn a_relative_expiry_is_logged_as_an_absolute_one() {
    let mut t = TestServer::new();
    t.run("SET a v EX 10");
    t.run("SET b v px 10 EX");
    t.run("SET b v px 10 px 20");
    t.run("SET c v EXAT 1700000001");
    t.run("set d v pxat 1700000000500");
    t.run("SETEX e 10 v");
    t.run("PSETEX f 10 v");
    t.run("set e v get pxat 1700000000500");
    t.run("set e v GET keepttl GET");
    t.run("SET e v GET EX 1");
    t.run("GETSET e w");
    assert_eq!(
        t.effects(),
        [
            "SET a v PXAT 1700000010000",
            "SET b v PXAT 1700000000020",
            "SET c v PXAT 1700000001000",
            "set d v pxat 1700000000500",
            "SET e v PXAT 1700000010000",
            "SET f v PXAT 1700000000010",
            "set e v get pxat 1700000000500",
            "set e v keepttl",
            "SET e v PXAT 1700000001000",
            "SET e w",
        ]
    );
}

#[test]
fn what_set_did_not_change_is_not_logged() {
    let mut t = TestServer::new();
    t.run("SET k v");
    t.effects();
    for line in [
        "SET k w NX",
        "SET k w NX GET",
        "SET x w XX",
        "SETNX k w",
        "MSETNX x 1 k 2",
    ] {
        t.run(line);
    }
    t.run("GETEX k");
    t.run("GETEX x EX 10");
    t.run("GETDEL x");
    t.run("INCR k");
    assert_eq!(t.effects(), [""; 0]);
}

#[test]
fn a_time_in_the_past_is_taken_and_the_key_gone_at_the_next_look() {
    let mut t = TestServer::new();
    t.expect(&[("SET k v EXAT 1", "+OK"), ("GET k", "nil")]);
    assert_eq!(t.effects(), ["SET k v PXAT 1000", "DEL k"]);
}

#[test]
fn keepttl_keeps_and_plain_set_clears_the_expiry() {
    let mut t = TestServer::new();
    t.run("SET k v PX 100");
    t.run("SET k w KEEPTTL");
    t.advance(99);
    assert_eq!(t.run("GET k"), "\"w\"");
    t.advance(1);
    assert_eq!(t.run("GET k"), "nil");
    t.run("SET k v PX 100");
    t.run("SET k w");
    t.advance(1000);
    assert_eq!(t.run("GET k"), "\"w\"");
}

#[test]
fn getex_moves_the_expiry_and_logs_what_it_did() {
    let mut t = with_hash();
    t.run("SET k v");
    t.effects();
    t.expect(&[
        ("GETEX k", "\"v\""),
        ("GETEX k PERSIST", "\"v\""),
        ("GETEX k EX 10", "\"v\""),
        ("GETEX k PERSIST", "\"v\""),
        ("GETEX k PXAT 1700000000100", "\"v\""),
        ("GETEX k PERSIST EX 10", SYNTAX),
        ("GETEX k EX 10 PERSIST", SYNTAX),
        ("GETEX k KEEPTTL", SYNTAX),
        ("GETEX k NX", SYNTAX),
        (
            "GETEX k EX 0",
            "-ERR invalid expire time in 'getex' command",
        ),
        ("GETEX h EX 0", WRONG_TYPE),
        ("GETEX none EX abc", "nil"),
        ("GETEX k EXAT 1", "\"v\""),
        ("GET k", "nil"),
    ]);
    assert_eq!(
        t.effects(),
        [
            "PEXPIREAT k 1700000010000",
            "PERSIST k",
            "PEXPIREAT k 1700000000100",
            "DEL k",
        ]
    );
}

#[test]
fn getdel_takes_the_key_along() {
    let mut t = with_hash();
    t.run("SET k v");
    t.expect(&[
        ("GETDEL k", "\"v\""),
        ("GETDEL k", "nil"),
        ("GETDEL h", WRONG_TYPE),
    ]);
    assert_eq!(t.effects(), ["SET k v", "DEL k"]);
}

#[test]
fn several_keys_are_set_all_or_none() {
    let mut t = with_hash();
    t.expect(&[
        (
            "MSET a 1 b",
            "-ERR wrong number of arguments for 'mset' command",
        ),
        (
            "MSETNX a 1 b",
            "-ERR wrong number of arguments for 'msetnx' command",
        ),
        ("MSET a 1 b 2 a 3", "+OK"),
        ("MSETNX c 1 b 2", ":0"),
        ("MSETNX c 1 c 2", ":1"),
        ("MGET a b h none c", "[\"3\", \"2\", nil, nil, \"2\"]"),
    ]);
    assert_eq!(t.effects(), ["MSET a 1 b 2 a 3", "MSETNX c 1 c 2"]);
    assert_eq!(t.engine.keyspace.dirty(), 5);
}

#[test]
fn counters_stay_within_64_bits() {
    let mut t = with_hash();
    let overflow = "-ERR increment or decrement would overflow";
    t.expect(&[
        ("INCR n", ":1"),
        ("INCRBY n 9223372036854775806", ":9223372036854775807"),
        ("INCR n", overflow),
        (
            "DECRBY n -9223372036854775808",
            "-ERR decrement would overflow",
        ),
        ("DECRBY n 9223372036854775807", ":0"),
        ("DECR n", ":-1"),
        ("DECRBY n 9223372036854775807", ":-9223372036854775808"),
        ("DECR n", overflow),
        ("INCRBY n abc", NOT_INTEGER),
        ("INCR h", WRONG_TYPE),
        ("SET s abc", "+OK"),
        ("INCR s", NOT_INTEGER),
        ("SET s ' 1'", "+OK"),
        ("INCR s", NOT_INTEGER),
        ("GET n", "\"-9223372036854775808\""),
    ]);
}

#[test]
fn incrbyfloat_is_logged_as_its_result() {
    let mut t = with_hash();
    t.expect(&[
        ("SET f 1 PX 1000", "+OK"),
        ("INCRBYFLOAT f 1", "\"2\""),
        ("INCRBYFLOAT f 1.5", "\"3.5\""),
        ("INCR f", NOT_INTEGER),
        (
            "INCRBYFLOAT f inf",
            "-ERR increment would produce NaN or Infinity",
        ),
        ("INCRBYFLOAT f abc", "-ERR value is not a valid float"),
        ("INCRBYFLOAT h 1", WRONG_TYPE),
        ("INCRBYFLOAT new 3.0e3", "\"3000\""),
        ("INCR new", ":3001"),
    ]);
    assert_eq!(
        t.effects(),
        [
            "SET f 1 PXAT 1700000001000",
            "SET f 2 KEEPTTL",
            "SET f 3.5 KEEPTTL",
            "SET new 3000 KEEPTTL",
            "INCR new",
        ]
    );
}

#[test]
fn ranges_are_written_and_read() {
    let mut t = with_hash();
    let too_long = "-ERR string exceeds maximum allowed size (proto-max-bulk-len)";
    t.expect(&[
        ("SETRANGE s 0 ''", ":0"),
        ("SETRANGE s 3 ab", ":5"),
        ("GET s", "\"\\x00\\x00\\x00ab\""),
        ("SETRANGE s 1 x", ":5"),
        ("GETRANGE s 1 3", "\"x\\x00a\""),
        ("SETRANGE s -1 x", "-ERR offset is out of range"),
        ("SETRANGE s abc x", NOT_INTEGER),
        ("SETRANGE s 536870912 x", too_long),
        ("SETRANGE s 9223372036854775807 xx", too_long),
        ("SETRANGE h 0 ''", WRONG_TYPE),
        ("SETRANGE s 100000 x", ":100001"),
        ("GETRANGE s 0 5", "\"\\x00x\\x00ab\\x00\""),
        ("STRLEN s", ":100001"),
        ("SET n 1234", "+OK"),
        ("SETRANGE n 1 x", ":4"),
        ("GET n", "\"1x34\""),
    ]);
    assert_eq!(t.effects().len(), 5);
}

#[test]
fn negative_indexes_count_from_the_end() {
    let mut t = with_hash();
    t.run("SET g abcdef");
    t.run("SET n 1234");
    t.expect(&[
        ("GETRANGE g 0 -1", "\"abcdef\""),
        ("GETRANGE g -3 -2", "\"de\""),
        ("GETRANGE g 0 -100", "\"a\""),
        ("GETRANGE g -100 -99", "\"a\""),
        ("GETRANGE g -3 -100", "\"\""),
        ("GETRANGE g 5 2", "\"\""),
        ("GETRANGE g 2 9223372036854775807", "\"cdef\""),
        ("GETRANGE g -9223372036854775808 -1", "\"abcdef\""),
        ("GETRANGE none 0 -1", "\"\""),
        ("GETRANGE n 1 2", "\"23\""),
        ("SUBSTR g 1 2", "\"bc\""),
        ("GETRANGE g a b", NOT_INTEGER),
        ("GETRANGE h 0 1", WRONG_TYPE),
    ]);
}

#[test]
fn bits_are_set_and_read() {
    let mut t = with_hash();
    let offset = "-ERR bit offset is not an integer or out of range";
    let bit = "-ERR bit is not an integer or out of range";
    t.expect(&[
        ("SETBIT k 0 0", ":0"),
        ("SETBIT k 0 0", ":0"),
        ("SETBIT k 7 1", ":0"),
        ("SETBIT k 7 1", ":1"),
        ("SETBIT k 9 1", ":0"),
        ("GET k", "\"\\x01@\""),
        ("GETBIT k 7", ":1"),
        ("GETBIT k 8", ":0"),
        ("GETBIT k 100", ":0"),
        ("GETBIT none 0", ":0"),
        ("SETBIT k 4294967296 1", offset),
        ("SETBIT k -1 1", offset),
        ("SETBIT k abc 5", offset),
        ("GETBIT k -1", offset),
        ("SETBIT k 1 2", bit),
        ("SETBIT k 1 abc", bit),
        ("SETBIT h 0 1", WRONG_TYPE),
        ("GETBIT h 0", WRONG_TYPE),
        ("SET n 1", "+OK"),
        ("GETBIT n 2", ":1"),
        ("SETBIT n 6 1", ":0"),
        ("GET n", "\"3\""),
    ]);
    assert_eq!(
        t.effects(),
        [
            "SETBIT k 0 0",
            "SETBIT k 7 1",
            "SETBIT k 9 1",
            "SET n 1",
            "SETBIT n 6 1"
        ]
    );
}

#[test]
fn append_makes_the_key_and_keeps_its_expiry() {
    let mut t = with_hash();
    t.expect(&[
        ("APPEND e ''", ":0"),
        ("GET e", "\"\""),
        ("APPEND e 12", ":2"),
        ("INCR e", ":13"),
        ("SET k a PX 100", "+OK"),
        ("APPEND k b", ":2"),
        ("APPEND h x", WRONG_TYPE),
    ]);
    assert_eq!(t.effects()[4], "APPEND k b");
    t.advance(100);
    assert_eq!(t.run("GET k"), "nil");
}

#[test]
fn a_string_beyond_the_limit_is_refused_to_clients() {
    let mut t = TestServer::with(&["--proto-max-bulk-len", "1mb"]);
    t.run("SETRANGE s 1048575 x");
    let too_long = "-ERR string exceeds maximum allowed size (proto-max-bulk-len)";
    assert_eq!(t.run("APPEND s x"), too_long);
    assert_eq!(t.run("SETRANGE s 1048576 x"), too_long);
    t.session.origin = crate::command::session::Origin::Primary;
    assert_eq!(t.run("APPEND s x"), ":1048577");
}

#[test]
fn a_long_string_is_replied_whole_whatever_happens_to_it_next() {
    let mut t = TestServer::new();
    let long = vec![b'x'; 100_000];
    t.run_args(&[b"SET", b"k", &long]);
    let replies = t.pipeline(&[
        &[b"GET", b"k"],
        &[b"APPEND", b"k", b"y"],
        &[b"GETRANGE", b"k", b"99999", b"-1"],
        &[b"GETDEL", b"k"],
    ]);
    assert_eq!(replies[0].bytes(), long);
    assert_eq!(replies[2].bytes(), b"xy");
    assert_eq!(replies[3].bytes().len(), 100_001);
}

#[test]
fn lcs_tells_length_bytes_and_places() {
    let mut t = with_hash();
    t.run("MSET a ohmytext b mynewtext");
    let matches = "[\"matches\", [[[:4, :7], [:5, :8]], [[:2, :3], [:0, :1]]], \"len\", :6]";
    let long_ones = "[\"matches\", [[[:4, :7], [:5, :8], :4]], \"len\", :6]";
    t.expect(&[
        ("LCS a b", "\"mytext\""),
        ("LCS a b LEN", ":6"),
        ("LCS a b IDX", matches),
        ("LCS a b IDX MINMATCHLEN 4 WITHMATCHLEN", long_ones),
        ("LCS a b IDX MINMATCHLEN -1", matches),
        (
            "LCS a b LEN IDX",
            "-ERR If you want both the length and indexes, please just use IDX.",
        ),
        ("LCS a b MINMATCHLEN", SYNTAX),
        ("LCS a b MINMATCHLEN x", NOT_INTEGER),
        (
            "LCS a h FOO",
            "-ERR The specified keys must contain string values",
        ),
        ("LCS none a", "\"\""),
        ("LCS none a IDX", "[\"matches\", [], \"len\", :0]"),
    ]);
    t.set_resp3(true);
    assert_eq!(t.run("LCS none a IDX"), "{\"matches\": [], \"len\": :0}");
}

#[test]
fn a_large_lcs_is_computed_off_the_worker_and_a_too_large_one_refused() {
    let mut t = TestServer::new();
    let (a, b) = (vec![b'a'; 2000], [b"ab".repeat(1000)].concat());
    t.run_args(&[b"MSET", b"a", &a, b"b", &b]);
    assert_eq!(t.run("LCS a b LEN"), ":1000");
    t.run("MULTI");
    t.run("LCS a b LEN");
    assert_eq!(t.run("EXEC"), "[:1000]");
    t.run_args(&[b"SET", b"c", &a.repeat(100)]);
    assert_eq!(
        t.run("LCS c b"),
        "-ERR Insufficient memory, transient memory for LCS exceeds proto-max-bulk-len"
    );
}

#[test]
fn events_are_told_in_order() {
    let mut t = with_hash();
    t.run("SET k v EX 10");
    t.run("SET k v NX GET");
    t.run("SET x v NX GET");
    t.run("APPEND k y");
    t.run("INCR n");
    t.run("INCRBYFLOAT n 1");
    t.run("SETRANGE k 0 z");
    t.run("GETEX k PERSIST");
    t.run("GETEX k EX 1");
    t.run("GETDEL k");
    t.run("GET k");
    let events = [
        "new k",
        "set k",
        "expire k",
        "keymiss x",
        "new x",
        "set x",
        "append k",
        "new n",
        "incrby n",
        "incrbyfloat n",
        "setrange k",
        "persist k",
        "expire k",
        "del k",
        "keymiss k",
    ];
    assert_eq!(t.events(), events.map(|e| format!("0 {e}")));
}

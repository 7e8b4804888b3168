//! The commands on keys as a client sees them, compared line by line with Redis 8.0.2.

use crate::command::engine::Gate;
use crate::command::testing::{Resp, TestServer};

const SYNTAX: &str = "-ERR syntax error";
const NOT_INTEGER: &str = "-ERR value is not an integer or out of range";
const NO_SUCH_KEY: &str = "-ERR no such key";
const SAME: &str = "-ERR source and destination objects are the same";
const NO_DB: &str = "-ERR DB index is out of range";

fn notifying() -> TestServer {
    TestServer::with(&["--notify-keyspace-events", "KEAn"])
}

/// The keys in a reply of KEYS, in order.
fn sorted(reply: &Resp) -> Vec<String> {
    let mut keys: Vec<String> = reply.elements().iter().map(Resp::text).collect();
    keys.sort();
    keys
}

#[test]
fn keys_are_counted_and_removed() {
    let mut t = TestServer::new();
    t.put_hash("h", &[("f", "v")]);
    t.expect(&[
        ("MSET a 1 b 2 c 3", "+OK"),
        ("EXISTS a a none", ":2"),
        ("TOUCH a a none", ":2"),
        ("TYPE a", "+string"),
        ("TYPE h", "+hash"),
        ("TYPE none", "+none"),
        ("DBSIZE", ":4"),
        ("DEL a none b", ":2"),
        ("DEL a", ":0"),
        ("UNLINK c none", ":1"),
        ("DBSIZE", ":1"),
        ("RANDOMKEY", "\"h\""),
    ]);
    assert_eq!(
        t.effects(),
        ["MSET a 1 b 2 c 3", "DEL a none b", "UNLINK c none"]
    );
    assert_eq!(t.engine.keyspace.dirty(), 6);
}

#[test]
fn a_large_value_is_freed_without_the_lock_by_whoever_is_asked() {
    let many: Vec<String> = (0..1000).map(|n| n.to_string()).collect();
    let fields: Vec<(&str, &str)> = many.iter().map(|n| (&n[..], "v")).collect();
    let mut t = TestServer::with(&["--lazyfree-lazy-user-del", "yes"]);
    for line in ["UNLINK h", "DEL h", "FLUSHALL ASYNC", "FLUSHALL"] {
        t.put_hash("h", &fields);
        t.run(line);
        assert_eq!(t.freed_elsewhere(), 1, "{line}");
    }
    for line in ["EXPIRE h 0", "SET h v"] {
        t.put_hash("h", &fields);
        t.run(line);
        t.run("DEL h");
        assert_eq!(t.freed_elsewhere(), 0, "{line}");
    }
    let mut t = TestServer::with(&["--lazyfree-lazy-server-del", "yes"]);
    for line in ["SET h v", "RENAME a h"] {
        t.run("SET a v");
        t.put_hash("h", &fields);
        t.run(line);
        t.run("DEL h");
        assert_eq!(t.freed_elsewhere(), 1, "{line}");
    }
}

#[test]
fn a_renamed_key_keeps_value_and_expiry() {
    let mut t = notifying();
    t.put_hash("h", &[("f", "v")]);
    t.run("PEXPIRE h 1000");
    t.run("SET old v");
    t.effects();
    t.events();
    t.expect(&[
        ("RENAME none x", NO_SUCH_KEY),
        ("RENAME none none", NO_SUCH_KEY),
        ("RENAMENX none x", NO_SUCH_KEY),
        ("RENAME h h", "+OK"),
        ("RENAMENX h h", ":0"),
        ("RENAMENX h old", ":0"),
        ("RENAME h old", "+OK"),
        ("RENAMENX old new", ":1"),
        ("TYPE new", "+hash"),
        ("PTTL new", ":1000"),
        ("DBSIZE", ":1"),
    ]);
    assert_eq!(t.effects(), ["RENAME h old", "RENAMENX old new"]);
    let events = [
        "new old",
        "rename_from h",
        "rename_to old",
        "new new",
        "rename_from old",
        "rename_to new",
    ];
    assert_eq!(t.events(), events.map(|e| format!("0 {e}")));
}

#[test]
fn renaming_counts_as_one_change() {
    let mut t = TestServer::new();
    t.run("SET a 1");
    t.run("SET b 1");
    t.run("RENAME a b");
    assert_eq!(t.engine.keyspace.dirty(), 3);
    t.run("COPY b c");
    t.run("MOVE c 1");
    assert_eq!(t.engine.keyspace.dirty(), 5);
}

#[test]
fn what_is_due_at_the_new_name_goes_first() {
    let mut t = TestServer::new();
    t.run("SET a 1");
    t.run("SET b 2 PX 10");
    t.effects();
    t.advance(10);
    assert_eq!(t.run("RENAMENX a b"), ":1");
    assert_eq!(t.effects(), ["MULTI", "DEL b", "RENAMENX a b", "EXEC"]);
    assert_eq!(t.run("TTL b"), ":-1");
}

#[test]
fn keys_move_and_are_copied_between_databases() {
    let mut t = notifying();
    t.put_hash("h", &[("f", "v")]);
    t.run("PEXPIRE h 1000");
    let int_range = "-ERR value is out of range, value must between -2147483648 and 2147483647";
    t.effects();
    t.events();
    t.expect(&[
        ("MOVE h 0", SAME),
        ("MOVE h abc", NOT_INTEGER),
        ("MOVE h 99", NO_DB),
        ("MOVE h -1", NO_DB),
        ("MOVE h 99999999999", int_range),
        ("MOVE none 1", ":0"),
        ("COPY none x", ":0"),
        ("COPY h h", SAME),
        ("COPY h h DB abc", NOT_INTEGER),
        ("COPY h h DB 77", NO_DB),
        ("COPY h h DB", SYNTAX),
        ("COPY h h FOO", SYNTAX),
        ("COPY h h DB 1", ":1"),
        ("COPY h h DB 1", ":0"),
        ("MOVE h 1", ":0"),
        ("COPY h h db 1 replace", ":1"),
        ("MOVE h 2", ":1"),
        ("EXISTS h", ":0"),
    ]);
    assert_eq!(
        t.effects(),
        ["COPY h h DB 1", "COPY h h db 1 replace", "MOVE h 2"]
    );
    let events = [
        "1 new h",
        "1 copy_to h",
        "1 new h",
        "1 copy_to h",
        "2 new h",
        "0 move_from h",
        "2 move_to h",
    ];
    assert_eq!(t.events(), events);
    for db in [1, 2] {
        t.session.select(db);
        t.expect(&[("TYPE h", "+hash"), ("PTTL h", ":1000")]);
    }
}

#[test]
fn a_copy_is_independent_of_its_source() {
    let mut t = TestServer::new();
    let long = "x".repeat(20_000);
    t.run_args(&[b"SET", b"a", long.as_bytes()]);
    t.run("COPY a b");
    t.run("APPEND b y");
    assert_eq!(t.run("STRLEN a"), ":20000");
    assert_eq!(t.run("STRLEN b"), ":20001");
}

#[test]
fn databases_are_emptied_and_exchanged() {
    let mut t = TestServer::new();
    t.run("SET a 0");
    t.session.select(1);
    t.run("MSET a 1 b 1");
    t.session.select(0);
    t.effects();
    t.expect(&[
        ("SWAPDB 0 99", NO_DB),
        ("SWAPDB 0 -1", NO_DB),
        ("SWAPDB a b", "-ERR invalid first DB index"),
        ("SWAPDB 0 99999999999", "-ERR invalid second DB index"),
        ("SWAPDB 0 0", "+OK"),
        ("SWAPDB 0 1", "+OK"),
        ("GET a", "\"1\""),
        ("DBSIZE", ":2"),
        ("FLUSHDB FOO", SYNTAX),
        ("FLUSHDB ASYNC SYNC", SYNTAX),
        ("FLUSHALL FOO", SYNTAX),
        ("FLUSHDB async", "+OK"),
        ("FLUSHDB", "+OK"),
        ("SWAPDB 0 1", "+OK"),
        ("GET a", "\"0\""),
        ("FLUSHALL SYNC", "+OK"),
        ("DBSIZE", ":0"),
    ]);
    assert_eq!(
        t.effects(),
        [
            "SELECT 0",
            "SWAPDB 0 0",
            "SWAPDB 0 1",
            "FLUSHDB async",
            "FLUSHDB",
            "SWAPDB 0 1",
            "FLUSHALL SYNC",
        ]
    );
}

#[test]
fn flushing_breaks_transactions_that_watch_what_was_there() {
    let mut t = TestServer::new();
    t.run("SET k v");
    let mut other = t.client();
    for (key, flush, reply) in [("k", "FLUSHALL", "nil-array"), ("none", "FLUSHDB", "[:1]")] {
        t.run("SET k v");
        other.run(&format!("WATCH {key}"));
        t.run(flush);
        other.run("MULTI");
        other.run("INCR n");
        assert_eq!(other.run("EXEC"), reply, "{flush}");
    }
}

#[test]
fn many_keys_are_flushed_with_the_reply_behind_it() {
    let mut t = TestServer::new();
    for n in 0..10_001 {
        t.run(&format!("SET {n} v"));
    }
    assert_eq!(t.run("FLUSHALL SYNC"), "+OK");
    assert_eq!(t.run("DBSIZE"), ":0");
}

#[test]
fn keys_match_patterns_and_hide_what_is_due() {
    let mut t = TestServer::new();
    t.run("MSET a 1 ab 1 abc 1 b 1 '' 1 a*b 1");
    t.run("SET due 1 PX 10");
    t.advance(10);
    assert_eq!(
        sorted(&t.reply("KEYS *")),
        ["", "a", "a*b", "ab", "abc", "b"]
    );
    assert_eq!(sorted(&t.reply("KEYS a?")), ["ab"]);
    assert_eq!(sorted(&t.reply("KEYS a\\*b")), ["a*b"]);
    assert_eq!(sorted(&t.reply("KEYS [ab]")), ["a", "b"]);
    t.expect(&[
        ("KEYS abc", "[\"abc\"]"),
        ("KEYS ''", "[\"\"]"),
        ("KEYS none", "[]"),
        ("KEYS due", "[]"),
        ("KEYS d*", "[]"),
        ("DBSIZE", ":7"),
    ]);
    t.run("MULTI");
    t.run("KEYS *c");
    t.run("KEYS ab");
    assert_eq!(t.run("EXEC"), "[[\"abc\"], [\"ab\"]]");
}

#[test]
fn randomkey_removes_what_is_due_without_a_transaction() {
    let mut t = TestServer::new();
    for n in 0..5 {
        t.run(&format!("SET {n} v PX 10"));
    }
    t.effects();
    t.advance(10);
    assert_eq!(t.run("RANDOMKEY"), "nil");
    let effects = t.effects();
    assert_eq!(effects.len(), 5);
    assert!(effects.iter().all(|e| e.starts_with("DEL ")));
}

#[test]
fn object_tells_how_a_value_is_kept() {
    let mut t = TestServer::new();
    t.put_hash("h", &[("f", "v")]);
    t.run("MSET n 5 big 10000 s abc");
    t.run_args(&[b"SET", b"raw", &[b'x'; 45]]);
    t.run("SET f 1.5");
    t.run("INCRBYFLOAT f 0.5");
    t.run("APPEND n2 1");
    t.run("APPEND n2 1");
    t.advance(5000);
    t.run("EXISTS n");
    t.run("GET s");
    t.expect(&[
        ("OBJECT ENCODING n", "\"int\""),
        ("OBJECT ENCODING n2", "\"raw\""),
        ("OBJECT ENCODING f", "\"embstr\""),
        ("OBJECT ENCODING s", "\"embstr\""),
        ("OBJECT ENCODING raw", "\"raw\""),
        ("OBJECT ENCODING h", "\"listpack\""),
        ("OBJECT ENCODING none", "nil"),
        ("OBJECT REFCOUNT n", ":2147483647"),
        ("OBJECT REFCOUNT big", ":1"),
        ("OBJECT REFCOUNT none", "nil"),
        ("OBJECT IDLETIME n", ":5"),
        ("OBJECT IDLETIME s", ":0"),
        ("OBJECT IDLETIME none", "nil"),
        ("OBJECT FREQ none", "nil"),
        (
            "OBJECT ENCODING",
            "-ERR wrong number of arguments for 'object|encoding' command",
        ),
        (
            "OBJECT FOO s",
            "-ERR unknown subcommand 'FOO'. Try OBJECT HELP.",
        ),
    ]);
    assert!(
        t.run("OBJECT FREQ s")
            .starts_with("-ERR An LFU maxmemory policy is not selected")
    );
    assert_eq!(t.reply("OBJECT HELP").elements().len(), 15);
}

#[test]
fn looks_that_leave_no_trace_do_not_move_the_access_time() {
    let mut t = TestServer::new();
    t.run("SET k v");
    t.advance(9000);
    for line in [
        "TYPE k",
        "TTL k",
        "EXISTS k",
        "OBJECT ENCODING k",
        "MEMORY USAGE k",
    ] {
        t.run(line);
        assert_eq!(t.run("OBJECT IDLETIME k"), ":9", "{line}");
    }
    t.session.no_touch = true;
    t.run("GET k");
    assert_eq!(t.run("OBJECT IDLETIME k"), ":9");
    t.run("TOUCH k");
    assert_eq!(t.run("OBJECT IDLETIME k"), ":0");
}

/// As Redis 8.0 does it, where a look by a client that set NO-TOUCH leaves the time as it is, and
/// any other look for a command that may write moves it, whether or not it writes then.
#[test]
fn writes_move_the_access_time_unless_the_client_leaves_no_trace() {
    let mut t = TestServer::new();
    let values = [
        (
            "SET k 10",
            "INCR k|DECRBY k 3|INCRBYFLOAT k 1.5|APPEND k 1|SET k 11|SET k 11 KEEPTTL",
        ),
        (
            "SET k 10",
            "SET k 5 XX GET|GETSET k 3|SETRANGE k 0 9|SETBIT k 3 1|SETBIT k 3 0",
        ),
        (
            "SET k 10",
            "SETEX k 100 1|MSET k 3|SETNX k 1|SET k 1 NX|MSETNX k 1 l 2|EXPIRE k 100",
        ),
        (
            "SET k 10",
            "PERSIST k|EXPIRE k 100 XX|BITFIELD k SET u8 0 3|BITOP NOT k k|RENAME k k",
        ),
        (
            "SET k hello",
            "APPEND k x|SETRANGE k 1 z|SETBIT k 1 1|GETEX k",
        ),
        (
            "RPUSH k a b c",
            "LPUSH k z|LSET k 0 q|LREM k 0 zz|SET k v|SORT k ALPHA STORE k",
        ),
        (
            "SADD k a b",
            "SADD k a|SREM k x|SMOVE k l x|SMOVE k k a|SINTERSTORE k k",
        ),
        (
            "ZADD k 1 a 2 b",
            "ZADD k 1 a|ZINCRBY k 1 a|ZREM k x|ZRANGESTORE k k 0 -1",
        ),
        (
            "HSET k f 1",
            "HSETNX k f 2|HINCRBY k f 1|HDEL k x|HEXPIRE k 100 FIELDS 1 f",
        ),
    ];
    for (value, lines) in values {
        for line in lines.split('|') {
            for (no_touch, idle) in [(true, ":9"), (false, ":0")] {
                t.run("FLUSHALL");
                t.run(value);
                t.advance(9000);
                t.session.no_touch = no_touch;
                let reply = t.run(line);
                assert!(!reply.starts_with('-'), "{line}: {reply}");
                assert_eq!(t.run("OBJECT IDLETIME k"), idle, "{value}; {line}");
                t.session.no_touch = false;
            }
        }
    }
    t.run("FLUSHALL");
    t.run("SET k v");
    t.advance(9000);
    t.session.no_touch = true;
    t.run("RENAME k l");
    assert_eq!(t.run("OBJECT IDLETIME l"), ":9");
}

#[test]
fn memory_usage_grows_with_the_value() {
    let mut t = TestServer::new();
    t.put_hash("h", &[("f", "v")]);
    t.run("SET k v");
    t.run_args(&[b"SET", b"long", &[b'x'; 100_000]]);
    t.expect(&[
        ("MEMORY USAGE none", "nil"),
        ("MEMORY USAGE k SAMPLES", SYNTAX),
        ("MEMORY USAGE k SAMPLES -1", SYNTAX),
        ("MEMORY USAGE k SAMPLES abc", NOT_INTEGER),
        ("MEMORY USAGE k FOO", SYNTAX),
        (
            "MEMORY FOO",
            "-ERR unknown subcommand 'FOO'. Try MEMORY HELP.",
        ),
    ]);
    let usage = |t: &mut TestServer, key: &str| t.reply(&format!("MEMORY USAGE {key}")).int();
    assert!(usage(&mut t, "k") < 64);
    assert!(usage(&mut t, "h SAMPLES 0") > usage(&mut t, "k"));
    assert!(usage(&mut t, "long samples 5") > 100_000);
}

#[test]
fn memory_stats_name_what_redis_names() {
    let mut t = TestServer::new();
    t.run("SET a 1");
    t.session.select(3);
    t.run("MSET a 1 b 2");
    t.set_resp3(true);
    let reply = t.reply("MEMORY STATS");
    let fields = reply.elements();
    let value = |name: &str| {
        let at = fields.iter().step_by(2).position(|f| f.text() == name);
        fields[at.expect(name) * 2 + 1].clone()
    };
    assert_eq!(fields.len() / 2, 35);
    assert_eq!(value("keys.count").int(), 3);
    assert_eq!(value("db.3").elements().len(), 4);
    assert!(value("overhead.db.hashtable.lut").int() > 0);
    assert_eq!(value("peak.percentage").to_string(), ",0");
    t.run("MULTI");
    t.run("MEMORY STATS");
    assert_eq!(t.reply("EXEC").elements().len(), 1);
    t.expect(&[("MEMORY PURGE", "+OK"), ("MEMORY MALLOC-STATS", "=txt:")]);
    assert!(
        t.run("MEMORY DOCTOR")
            .starts_with("=txt:Hi Sam, this instance is empty")
    );
    assert_eq!(t.reply("MEMORY HELP").elements().len(), 14);
}

#[test]
fn a_dumped_value_is_restored() {
    let mut t = notifying();
    t.run("SET k v");
    t.effects();
    t.events();
    t.expect(&[
        ("DUMP none", "nil"),
        ("DUMP k", "\"dump:v\""),
        ("RESTORE r 0 dump:v", "+OK"),
        (
            "RESTORE r 0 dump:v",
            "-BUSYKEY Target key name already exists.",
        ),
        ("RESTORE r 1000 dump:w REPLACE", "+OK"),
        ("PTTL r", ":1000"),
        ("GET r", "\"w\""),
        ("RESTORE r 1700000002000 dump:w replace absttl", "+OK"),
        ("PTTL r", ":2000"),
        ("RESTORE r 1 dump:w replace absttl", "+OK"),
        ("EXISTS r", ":0"),
        ("RESTORE r 1 dump:w replace absttl", "+OK"),
        ("RESTORE i 0 dump:v IDLETIME 1000", "+OK"),
        ("OBJECT IDLETIME i", ":1000"),
        ("RESTORE f 1000 dump:v freq 100", "+OK"),
    ]);
    assert_eq!(
        t.effects(),
        [
            "RESTORE r 0 dump:v",
            "RESTORE r 1700000001000 dump:w REPLACE ABSTTL",
            "RESTORE r 1700000002000 dump:w replace absttl",
            "DEL r",
            "RESTORE i 0 dump:v IDLETIME 1000",
            "RESTORE f 1700000001000 dump:v freq 100 ABSTTL",
        ]
    );
    let events = [
        "new r",
        "restore r",
        "new r",
        "restore r",
        "new r",
        "restore r",
        "del r",
        "new i",
        "restore i",
        "new f",
        "restore f",
    ];
    assert_eq!(t.events(), events.map(|e| format!("0 {e}")));
}

#[test]
fn restore_says_what_is_wrong_in_order() {
    let mut t = TestServer::new();
    t.run("SET x 1");
    t.expect(&[
        ("RESTORE x 0 abc FOO", SYNTAX),
        ("RESTORE x 0 abc IDLETIME", SYNTAX),
        ("RESTORE x 0 abc FREQ 1 IDLETIME 1", SYNTAX),
        (
            "RESTORE x 0 abc IDLETIME -1",
            "-ERR Invalid IDLETIME value, must be >= 0",
        ),
        (
            "RESTORE x 0 abc FREQ 256",
            "-ERR Invalid FREQ value, must be >= 0 and <= 255",
        ),
        (
            "RESTORE x abc abc",
            "-BUSYKEY Target key name already exists.",
        ),
        ("RESTORE x abc abc REPLACE", NOT_INTEGER),
        (
            "RESTORE x -1 abc REPLACE",
            "-ERR Invalid TTL value, must be >= 0",
        ),
        (
            "RESTORE x 0 abc REPLACE",
            "-ERR DUMP payload version or checksum are wrong",
        ),
        ("GET x", "\"1\""),
    ]);
}

#[test]
fn a_writable_replica_removes_a_key_that_is_due_when_its_own_client_says_so() {
    for (command, left) in [("DEL", ":1"), ("UNLINK", ":1"), ("EXISTS", ":3")] {
        let mut t = TestServer::new();
        t.expect(&[
            ("SET due v PX 5", "+OK"),
            ("SET other v PX 5", "+OK"),
            ("SET k v", "+OK"),
        ]);
        t.advance(10);
        t.engine.gates.set(Gate::REPLICA, true);
        let there = if command == "EXISTS" { ":1" } else { ":2" };
        assert_eq!(t.run(&format!("{command} due k none")), there);
        assert_eq!(t.run("DBSIZE"), left);
        assert_eq!(t.run("EXISTS other"), ":0");
    }
}

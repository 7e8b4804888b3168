//! The family through an engine: replies, what replicas are told, and events.

use crate::command::testing::{START_MS, TestServer};

fn server() -> TestServer {
    TestServer::with(&["--notify-keyspace-events", "Etg"])
}

/// A stream `s` of so many entries `n-0`, and a group `g` that has read nothing.
fn grown(entries: usize) -> TestServer {
    let mut t = server();
    for n in 1..=entries {
        t.run(&format!("XADD s {n}-0 f {n}"));
    }
    t.run("XGROUP CREATE s g 0");
    t.effects();
    t.events();
    t
}

#[test]
fn entries_get_ids_that_rise() {
    let mut t = server();
    t.expect(&[
        (
            "XADD s 0-0 a 1",
            "-ERR The ID specified in XADD must be greater than 0-0",
        ),
        ("XADD s NOMKSTREAM * a 1", "nil"),
        ("XADD s 0-* a 1", r#""0-1""#),
        ("XADD s * a 1", &format!(r#""{START_MS}-0""#)),
        ("XADD s * a 1", &format!(r#""{START_MS}-1""#)),
        (
            "XADD s 5-1 a 1",
            "-ERR The ID specified in XADD is equal or smaller than the target stream top item",
        ),
        (
            "XADD s * a",
            "-ERR wrong number of arguments for 'xadd' command",
        ),
        ("XADD s 18446744073709551615-18446744073709551615 a 1", {
            r#""18446744073709551615-18446744073709551615""#
        }),
        (
            "XADD s * a 1",
            "-ERR The stream has exhausted the last possible ID, unable to add more items",
        ),
        ("XLEN s", ":4"),
        ("TYPE s", "+stream"),
        ("OBJECT ENCODING s", r#""stream""#),
    ]);
    assert_eq!(
        t.effects(),
        [
            "XADD s 0-1 a 1".to_owned(),
            format!("XADD s {START_MS}-0 a 1"),
            format!("XADD s {START_MS}-1 a 1"),
            "XADD s 18446744073709551615-18446744073709551615 a 1".to_owned(),
        ]
    );
    assert_eq!(t.events(), ["0 xadd s"; 4]);
}

#[test]
fn approximate_trimming_is_logged_as_what_it_left() {
    let mut t = TestServer::with(&["--stream-node-max-entries", "10"]);
    for n in 1..=35 {
        t.run(&format!("XADD s {n}-0 f v"));
    }
    t.effects();
    t.expect(&[
        ("XTRIM s MAXLEN ~ 18", ":10"),
        ("XTRIM s MAXLEN ~ 24", ":0"),
        ("XADD s MINID ~ 25-5 LIMIT 1000 99-* f v", r#""99-0""#),
        ("XLEN s", ":16"),
        ("XDEL s 21-0 22-0 77-0", ":2"),
        ("XADD s MAXLEN 3 100-0 f v", r#""100-0""#),
        ("XRANGE s - + COUNT 1", r#"[["35-0", ["f", "v"]]]"#),
    ]);
    assert_eq!(
        t.effects(),
        [
            "XTRIM s MAXLEN = 25",
            "XADD s MINID = 21-0 LIMIT 1000 99-0 f v",
            "XDEL s 21-0 22-0 77-0",
            "XADD s MAXLEN 3 100-0 f v",
        ]
    );
}

#[test]
fn ranges_have_open_ends_and_both_directions() {
    let mut t = grown(5);
    t.expect(&[
        ("XRANGE s (1-0 (3-0", r#"[["2-0", ["f", "2"]]]"#),
        (
            "XRANGE s 2 3",
            r#"[["2-0", ["f", "2"]], ["3-0", ["f", "3"]]]"#,
        ),
        ("XREVRANGE s + (4-0 COUNT 3", r#"[["5-0", ["f", "5"]]]"#),
        ("XREVRANGE s 2 - COUNT 1", r#"[["2-0", ["f", "2"]]]"#),
        ("XRANGE s - + COUNT 0", "nil-array"),
        ("XRANGE none - + COUNT 0", "[]"),
        ("XRANGE s 9 +", "[]"),
        (
            "XRANGE s (18446744073709551615-18446744073709551615 +",
            "-ERR invalid start ID for the interval",
        ),
        ("XRANGE s - (0-0", "-ERR invalid end ID for the interval"),
        (
            "XRANGE s ( +",
            "-ERR Invalid stream ID specified as stream command argument",
        ),
    ]);
}

#[test]
fn reading_goes_on_after_an_id() {
    let mut t = grown(3);
    t.run("XADD t 7-0 a b");
    t.expect(&[
        (
            "XREAD COUNT 1 STREAMS s none t 1 0 +",
            r#"[["s", [["2-0", ["f", "2"]]]], ["t", [["7-0", ["a", "b"]]]]]"#,
        ),
        ("XREAD STREAMS s $", "nil-array"),
        ("XREAD STREAMS s 3-0", "nil-array"),
    ]);
    t.set_resp3(true);
    t.expect(&[("XREAD STREAMS s 2", r#"{"s": [["3-0", ["f", "3"]]]}"#)]);
}

#[test]
fn deliveries_reach_replicas_as_claims_and_a_position() {
    let mut t = grown(3);
    t.expect(&[
        (
            "XREADGROUP GROUP g c COUNT 2 STREAMS s >",
            r#"[["s", [["1-0", ["f", "1"]], ["2-0", ["f", "2"]]]]]"#,
        ),
        (
            "XREADGROUP GROUP g c STREAMS s 1-0",
            r#"[["s", [["2-0", ["f", "2"]]]]]"#,
        ),
        ("XDEL s 2-0", ":1"),
        (
            "XREADGROUP GROUP g c STREAMS s 1-0",
            r#"[["s", [["2-0", nil-array]]]]"#,
        ),
        ("XREADGROUP GROUP g d STREAMS s 0", r#"[["s", []]]"#),
        (
            "XREADGROUP GROUP g e NOACK STREAMS s >",
            r#"[["s", [["3-0", ["f", "3"]]]]]"#,
        ),
        ("XREADGROUP GROUP g e STREAMS s >", "nil-array"),
        (
            "XREADGROUP GROUP x e STREAMS s >",
            "-NOGROUP No such key 's' or consumer group 'x' in XREADGROUP with GROUP option",
        ),
        ("XPENDING s g", r#"[:2, "1-0", "2-0", [["c", "2"]]]"#),
        ("XACK s g 1-0 9-9", ":1"),
        ("XACK s g 1-0", ":0"),
        ("XGROUP DELCONSUMER s g c", ":1"),
    ]);
    let claim = |id: &str| {
        format!("XCLAIM s g c 0 {id} TIME {START_MS} RETRYCOUNT 1 FORCE JUSTID LASTID {id}")
    };
    assert_eq!(
        t.effects(),
        [
            "MULTI".to_owned(),
            claim("1-0"),
            claim("2-0"),
            "XGROUP SETID s g 2-0 ENTRIESREAD 2".to_owned(),
            "EXEC".to_owned(),
            "XDEL s 2-0".to_owned(),
            "MULTI".to_owned(),
            "XGROUP CREATECONSUMER s g e".to_owned(),
            "XGROUP SETID s g 3-0 ENTRIESREAD 3".to_owned(),
            "EXEC".to_owned(),
            "XACK s g 1-0 9-9".to_owned(),
            "XGROUP DELCONSUMER s g c".to_owned(),
        ]
    );
    assert_eq!(
        t.events(),
        [
            "0 xgroup-createconsumer s",
            "0 xdel s",
            "0 xgroup-createconsumer s",
            "0 xgroup-createconsumer s",
            "0 xgroup-delconsumer s",
        ]
    );
}

#[test]
fn claims_move_entries_and_forget_those_that_are_gone() {
    let mut t = grown(4);
    t.run("XREADGROUP GROUP g c STREAMS s >");
    t.run("XDEL s 2-0");
    t.effects();
    t.advance(1000);
    let now = START_MS + 1000;
    t.expect(&[
        ("XCLAIM s g d 2000 1-0", "[]"),
        (
            "XCLAIM s g d 500 1-0 2-0 IDLE 100",
            r#"[["1-0", ["f", "1"]]]"#,
        ),
        (
            "XCLAIM s g d 0 3-0 JUSTID RETRYCOUNT 7 TIME 5",
            r#"["3-0"]"#,
        ),
        (
            "XPENDING s g - + 9 d",
            &format!(
                r#"[["1-0", "d", :100, :2], ["3-0", "d", :{}, :7]]"#,
                now - 5
            ),
        ),
        (
            "XAUTOCLAIM s g e 500 - COUNT 1",
            r#"["4-0", [["3-0", ["f", "3"]]], []]"#,
        ),
        ("XDEL s 4-0", ":1"),
        ("XAUTOCLAIM s g e 0 4-0 JUSTID", r#"["0-0", [], ["4-0"]]"#),
        (
            "XAUTOCLAIM s g e 0 - COUNT abc FOO",
            "-ERR COUNT must be > 0",
        ),
        ("XAUTOCLAIM s g e 0 - COUNT", "-ERR syntax error"),
        ("XCLAIM s g e 0 9-9 LASTID 99-0", "[]"),
        (
            "XCLAIM s g e 0 1-0 BAD",
            "-ERR Unrecognized XCLAIM option 'BAD'",
        ),
        (
            "XCLAIM s x e 0 1-0",
            "-NOGROUP No such key 's' or consumer group 'x'",
        ),
    ]);
    let claim = |who: &str, id: &str, time: i64, n: u8| {
        format!("XCLAIM s g {who} 0 {id} TIME {time} RETRYCOUNT {n} FORCE JUSTID LASTID 4-0")
    };
    assert_eq!(
        t.effects(),
        [
            "MULTI".to_owned(),
            claim("d", "1-0", now - 100, 2),
            claim("c", "2-0", START_MS, 1),
            "EXEC".to_owned(),
            claim("d", "3-0", 5, 7),
            claim("e", "3-0", now, 8),
            "XDEL s 4-0".to_owned(),
            claim("c", "4-0", START_MS, 1),
            "XGROUP SETID s g 99-0 ENTRIESREAD 4".to_owned(),
        ]
    );
}

#[test]
fn groups_are_made_and_moved() {
    let mut t = server();
    t.expect(&[
        ("XGROUP CREATE s g $ MKSTREAM ENTRIESREAD 3", "+OK"),
        (
            "XGROUP CREATE s g 0",
            "-BUSYGROUP Consumer Group name already exists",
        ),
        ("XGROUP CREATE s h 5-5 ENTRIESREAD -2", {
            "-ERR value for ENTRIESREAD must be positive or -1"
        }),
        (
            "XGROUP create s h 0 NO",
            "-ERR unknown subcommand or wrong number of arguments for 'create'. \
             Try XGROUP HELP.",
        ),
        ("XGROUP SETID s g +", "+OK"),
        (
            "XGROUP SETID s h 0",
            "-NOGROUP No such consumer group 'h' for key name 's'",
        ),
        ("XGROUP CREATECONSUMER s g c", ":1"),
        ("XGROUP CREATECONSUMER s g c", ":0"),
        ("XGROUP DESTROY s g", ":1"),
        ("XGROUP DESTROY s g", ":0"),
        ("EXISTS s", ":1"),
        ("XLEN s", ":0"),
    ]);
    assert_eq!(
        t.effects(),
        [
            "XGROUP CREATE s g $ MKSTREAM ENTRIESREAD 3",
            "XGROUP SETID s g +",
            "XGROUP CREATECONSUMER s g c",
            "XGROUP DESTROY s g",
        ]
    );
}

#[test]
fn a_stream_tells_of_itself() {
    let mut t = grown(3);
    t.run("XREADGROUP GROUP g c COUNT 1 STREAMS s >");
    t.run("XDEL s 2-0");
    t.set_resp3(true);
    assert_eq!(
        t.run("XINFO GROUPS s"),
        concat!(
            r#"[{"name": "g", "consumers": :1, "pending": :1, "last-delivered-id": "1-0", "#,
            r#""entries-read": :1, "lag": _}]"#
        )
    );
    let short = t.run("XINFO STREAM s");
    for part in [
        r#""length": :2, "radix-tree-keys": :1, "radix-tree-nodes": :2"#,
        r#""last-generated-id": "3-0", "max-deleted-entry-id": "2-0", "entries-added": :3"#,
        r#""recorded-first-entry-id": "1-0", "groups": :1, "first-entry": ["1-0", ["f", "1"]]"#,
        r#""last-entry": ["3-0", ["f", "3"]]"#,
    ] {
        assert!(short.contains(part), "{short}");
    }
    let full = t.run("XINFO STREAM s FULL COUNT 1");
    let pending = format!(r#""pel-count": :1, "pending": [["1-0", "c", :{START_MS}, :1]]"#);
    assert!(full.contains(&pending), "{full}");
    t.advance(50);
    assert_eq!(
        t.run("XINFO CONSUMERS s g"),
        r#"[{"name": "c", "pending": :1, "idle": :50, "inactive": :50}]"#
    );
}

#[test]
fn last_ids_are_set_within_bounds() {
    let mut t = grown(3);
    t.run("XDEL s 3-0");
    t.expect(&[
        ("XSETID none 1-1", "-ERR no such key"),
        (
            "XSETID s 2-5",
            "-ERR The ID specified in XSETID is smaller than current max_deleted_entry_id",
        ),
        (
            "XSETID s 9-9 ENTRIESADDED 1",
            "-ERR The entries_added specified in XSETID is smaller than the target stream length",
        ),
        ("XSETID s 9-9 ENTRIESADDED 10 MAXDELETEDID 8-8", "+OK"),
        (
            "XSETID s 9-9 MAXDELETEDID 10-0",
            "-ERR The ID specified in XSETID is smaller than the provided max_deleted_entry_id",
        ),
        ("XADD s 9-* a b", r#""9-10""#),
    ]);
}

#[test]
fn a_group_that_reads_is_no_change_for_those_who_watch() {
    let mut t = grown(2);
    let mut other = t.client();
    t.expect(&[("WATCH s", "+OK")]);
    other.expect(&[
        (
            "XREADGROUP GROUP g c COUNT 1 STREAMS s >",
            r#"[["s", [["1-0", ["f", "1"]]]]]"#,
        ),
        ("XACK s g 1-0", ":1"),
        ("XGROUP CREATE s h 0", "+OK"),
        ("XGROUP DELCONSUMER s g c", ":0"),
        ("XGROUP DESTROY s g", ":1"),
    ]);
    t.expect(&[
        ("MULTI", "+OK"),
        ("XLEN s", "+QUEUED"),
        ("EXEC", "[:2]"),
        ("WATCH s", "+OK"),
    ]);
    other.run("XADD s 9-0 a b");
    t.expect(&[
        ("MULTI", "+OK"),
        ("XLEN s", "+QUEUED"),
        ("EXEC", "nil-array"),
    ]);
}

#[test]
fn long_ranges_are_written_from_a_handle() {
    let mut t = grown(1000);
    for line in ["XRANGE s - +", "XREVRANGE s + -", "XREAD STREAMS s 0"] {
        let reply = t.reply(line);
        let reply = match line.starts_with("XREAD ") {
            true => &reply.elements()[0].elements()[1],
            false => &reply,
        };
        assert_eq!(reply.elements().len(), 1000, "{line}");
    }
    let read = t.reply("XREADGROUP GROUP g c STREAMS s >");
    assert_eq!(read.elements()[0].elements()[1].elements().len(), 1000);
    assert_eq!(t.reply("XPENDING s g - + 5000").elements().len(), 1000);
    let claimed = t.reply("XAUTOCLAIM s g d 0 - COUNT 600");
    assert_eq!(claimed.elements()[1].elements().len(), 600);
    assert_eq!(claimed.elements()[0].text(), "601-0");
    let full = t.reply("XINFO STREAM s FULL COUNT 0");
    assert_eq!(full.elements()[15].elements().len(), 1000);
}

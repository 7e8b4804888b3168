//! HyperLogLog as clients and replicas see it. The expected bytes are those of Redis 7.0 after the
//! same commands.

use crate::command::testing::TestServer;

const INVALID: &str = "-WRONGTYPE Key is not a valid HyperLogLog string value.";
const CORRUPTED: &str = "-INVALIDOBJ Corrupted HLL object detected";

fn add_range(t: &mut TestServer, key: &str, range: std::ops::Range<usize>) {
    let words: Vec<String> = range.map(|n| n.to_string()).collect();
    for part in words.chunks(500) {
        t.run(&format!("PFADD {key} {}", part.join(" ")));
    }
}

#[test]
fn elements_are_counted_once() {
    let mut t = TestServer::new();
    t.expect(&[
        ("PFADD h", ":1"),
        ("PFADD h", ":0"),
        ("PFCOUNT h", ":0"),
        ("PFADD h a b c d e f g", ":1"),
        ("PFADD h a g", ":0"),
        ("PFCOUNT h", ":7"),
        ("PFCOUNT h", ":7"),
        ("PFCOUNT none", ":0"),
        ("PFADD i a x", ":1"),
        ("PFCOUNT h i none", ":8"),
        ("PFMERGE m h i", "+OK"),
        ("PFCOUNT m", ":8"),
        ("PFDEBUG ENCODING m", "+sparse"),
    ]);
    assert_eq!(
        t.effects(),
        [
            "PFADD h",
            "PFCOUNT h",
            "PFADD h a b c d e f g",
            "PFCOUNT h",
            "PFADD i a x",
            "PFMERGE m h i",
            "PFCOUNT m"
        ]
    );
}

#[test]
fn the_bytes_are_those_of_redis() {
    let mut t = TestServer::new();
    t.run("PFADD h a b c");
    assert_eq!(
        t.reply("GET h").bytes(),
        b"HYLL\x01\0\0\0\0\0\0\0\0\0\0\x80\x60\xf3\x80\x50\xb1\x84\x4b\xfb\x80\x42\x5a".as_slice()
    );
}

#[test]
fn a_sparse_one_that_grows_too_long_becomes_dense_and_counts_the_same() {
    let mut t = TestServer::with(&["--hll-sparse-max-bytes", "300"]);
    add_range(&mut t, "h", 0..100);
    assert_eq!(t.run("PFDEBUG ENCODING h"), "+sparse");
    let sparse = t.run("PFCOUNT h");
    t.run("COPY h d");
    assert_eq!(t.run("PFDEBUG TODENSE d"), ":1");
    assert_eq!(t.run("PFDEBUG TODENSE d"), ":0");
    t.run("PFADD d x");
    t.run("PFADD h x");
    assert_eq!(t.run("PFCOUNT d"), t.run("PFCOUNT h"));
    assert_ne!(t.run("PFCOUNT d"), sparse);
    add_range(&mut t, "h", 100..1000);
    assert_eq!(t.run("PFDEBUG ENCODING h"), "+dense");
    assert_eq!(t.run("STRLEN h"), ":12304");
    add_range(&mut t, "d", 100..1000);
    assert_eq!(t.run("PFDEBUG GETREG d"), t.run("PFDEBUG GETREG h"));
}

#[test]
fn a_merge_is_dense_if_a_source_is() {
    let mut t = TestServer::new();
    add_range(&mut t, "a", 0..50);
    add_range(&mut t, "b", 25..75);
    t.run("PFMERGE sparse a b");
    t.run("COPY a dense");
    t.run("PFDEBUG TODENSE dense");
    t.run("PFMERGE other dense b");
    assert_eq!(t.run("PFDEBUG ENCODING sparse"), "+sparse");
    assert_eq!(t.run("PFDEBUG ENCODING other"), "+dense");
    assert_eq!(t.run("PFCOUNT sparse"), t.run("PFCOUNT a b"));
    assert_eq!(t.run("PFCOUNT sparse"), t.run("PFCOUNT other"));
    assert_eq!(
        t.run("PFDEBUG GETREG sparse"),
        t.run("PFDEBUG GETREG other")
    );
}

#[test]
fn a_merge_into_itself_invalidates_and_changes_no_register() {
    let mut t = TestServer::new();
    add_range(&mut t, "a", 0..300);
    let before = t.run("PFDEBUG DECODE a");
    assert_eq!(t.run("PFMERGE a"), "+OK");
    assert_eq!(t.run("PFDEBUG DECODE a"), before);
}

#[test]
fn strings_that_are_none_are_refused_and_left_alone() {
    let mut t = TestServer::new();
    t.run("SET s text");
    t.run("SET n 5");
    t.run("SET e ''");
    t.run("SADD set a");
    for key in ["s", "n", "e"] {
        for command in ["PFADD", "PFCOUNT", "PFCOUNT none", "PFMERGE", "PFMERGE d"] {
            assert_eq!(t.run(&format!("{command} {key}")), INVALID);
        }
        assert_eq!(t.run(&format!("PFDEBUG ENCODING {key}")), INVALID);
    }
    let wrong = "-WRONGTYPE Operation against a key holding the wrong kind of value";
    t.expect(&[
        ("PFADD set a", wrong),
        ("PFCOUNT set", wrong),
        ("PFMERGE d set", wrong),
        ("EXISTS d", ":0"),
        ("GET n", "\"5\""),
        (
            "PFDEBUG ENCODING none",
            "-ERR The specified key does not exist",
        ),
    ]);
}

#[test]
fn corrupted_runs_are_noticed_and_nothing_changes() {
    let header = b"HYLL\x01\0\0\0\0\0\0\0\0\0\0\x80";
    for body in [
        &b"\x7f"[..],
        b"",
        b"\x80",
        b"\x7f\xff\x7f\xff",
        b"\x80\x7f\xff",
    ] {
        let mut t = TestServer::new();
        let bytes = [header, body].concat();
        t.run_args(&[b"SET", b"h", &bytes]);
        t.effects();
        for line in [
            "PFCOUNT h",
            "PFCOUNT h none",
            "PFMERGE d h",
            "PFDEBUG TODENSE h",
        ] {
            assert_eq!(t.run(line), CORRUPTED, "{line} {body:?}");
        }
        let words: Vec<String> = (0..200).map(|n| n.to_string()).collect();
        t.run(&format!("PFADD h {}", words.join(" ")));
        if t.effects().is_empty() {
            assert_eq!(t.reply("GET h").bytes(), bytes);
        }
    }
}

#[test]
fn the_self_test_passes() {
    assert_eq!(super::self_test(3000), Ok(()));
}

//! The check program: its lines beside those of `redis-check-rdb` of Redis 8.0.

use super::*;
use crate::persist::rdb::check::{check_stream, run};

fn checked(bytes: &[u8]) -> (bool, String) {
    let mut out = Vec::new();
    let (sound, _) = check_stream(bytes, &mut out).unwrap();
    (sound, String::from_utf8(out).unwrap())
}

#[test]
fn a_sound_file_is_listed_and_counted() {
    let body = b"\xfa\x09redis-ver\x058.0.2\xfe\x00\xfb\x02\x01\x00\x01k\x01v\
                 \xfc\x01\x00\x00\x00\x00\x00\x00\x00\x00\x01l\x01v";
    let (sound, text) = checked(&stream(body));
    assert!(sound);
    let expected = [
        "[offset 26] AUX FIELD redis-ver = '8.0.2'",
        "[offset 28] Selecting DB ID 0",
        "[offset 59] RDB file was saved with checksum disabled: no check performed.",
        "[offset 59] \\o/ RDB looks OK! \\o/",
        "[info] 2 keys read",
        "[info] 1 expires",
        "[info] 1 already expired",
        "[info] 0 subexpires\n",
    ];
    assert_eq!(text, expected.join("\n"));
}

#[test]
fn an_unsound_file_is_located() {
    for (body, expected) in [
        (
            &b"\x08\x01k"[..],
            "--- RDB ERROR DETECTED ---\n\
             [offset 10] Invalid object type: 8\n\
             [additional info] While doing: read-type\n\
             [additional info] Reading type 0 (string)\n\
             [info] 0 keys read\n[info] 0 expires\n[info] 0 already expired\n\
             [info] 0 subexpires\n",
        ),
        (
            b"\x00\x01a\xc9abc",
            "--- RDB ERROR DETECTED ---\n\
             [offset 13] Internal error in RDB reading offset 13, function at rdb.rs -> \
             Unknown RDB string encoding type 9\n\
             [additional info] While doing: read-object-value\n\
             [additional info] Reading key 'a'\n\
             [additional info] Reading type 0 (string)\n\
             [info] 1 keys read\n[info] 0 expires\n[info] 0 already expired\n\
             [info] 0 subexpires\n",
        ),
        (
            b"\xfe\xc3",
            "--- RDB ERROR DETECTED ---\n\
             [offset 11] Internal error in RDB reading offset 11, function at rdb.rs -> \
             Special encoding 3 where a length is expected\n\
             [additional info] While doing: read-len\n\
             [additional info] Reading type 0 (string)\n\
             [info] 0 keys read\n[info] 0 expires\n[info] 0 already expired\n\
             [info] 0 subexpires\n",
        ),
        (
            b"\x00\x01a\x01b\x00\x01c\x3f",
            "--- RDB ERROR DETECTED ---\n\
             [offset 18] Unexpected EOF reading RDB file\n\
             [additional info] While doing: read-object-value\n\
             [additional info] Reading key 'c'\n\
             [additional info] Reading type 0 (string)\n\
             [info] 2 keys read\n[info] 0 expires\n[info] 0 already expired\n\
             [info] 0 subexpires\n",
        ),
    ] {
        let (sound, text) = checked(&stream(body));
        assert!(!sound);
        assert_eq!(text, expected);
    }
}

#[test]
fn arguments_and_exit_codes_are_those_of_redis() {
    let run = |args: &[&str]| {
        let args: Vec<String> = args.iter().map(|arg| (*arg).to_owned()).collect();
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let code = run(&args, "v=8.0.6", &mut out, &mut err);
        (
            code,
            String::from_utf8(out).unwrap(),
            String::from_utf8(err).unwrap(),
        )
    };
    let usage = "Usage: redis-check-rdb <rdb-file-name>\n".to_owned();
    assert_eq!(run(&["redis-check-rdb"]), (1, String::new(), usage.clone()));
    assert_eq!(
        run(&["redis-check-rdb", "a", "b"]),
        (1, String::new(), usage)
    );
    let version = "redis-check-rdb v=8.0.6\n".to_owned();
    assert_eq!(
        run(&["redis-check-rdb", "--version"]),
        (0, version, String::new())
    );
    let missing = "[offset 0] Checking RDB file /nonexistent/x.rdb\n".to_owned();
    assert_eq!(
        run(&["x", "/nonexistent/x.rdb"]),
        (1, missing, String::new())
    );
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), stream(b"")).unwrap();
    let path = file.path().to_str().unwrap();
    let (code, out, _) = run(&["redis-check-rdb", path]);
    assert_eq!(code, 0);
    assert!(out.contains("\\o/ RDB looks OK! \\o/"));
}

//! `redis-check-aof` beside the original: the same files in, the same output and exit code out.
//!
//! The original is whatever `redis-check-aof` is on the PATH; where there is none, there is nothing
//! to compare with. Each file is a sound AOF that was cut, or in which a byte was changed, a
//! deterministic choice of both.
#![cfg(test)]

use russet::persist::aof::check::{Console, run};
use std::ffi::OsString;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

const PROGRAM: &str = "redis-check-aof";

fn original(dir: &Path, args: &[&str]) -> Option<(i32, String)> {
    let run = Command::new(PROGRAM)
        .args(args)
        .current_dir(dir)
        .stdin(Stdio::null())
        .output()
        .ok()?;
    Some((
        run.status.code()?,
        String::from_utf8_lossy(&run.stdout).into_owned(),
    ))
}

fn ours(dir: &Path, args: &[&str]) -> (i32, String) {
    let mut all = vec![OsString::from(PROGRAM)];
    all.extend(args.iter().map(|arg| match arg.strip_prefix("./") {
        Some(name) => dir.join(name).into_os_string(),
        None => OsString::from(arg),
    }));
    let mut out = Vec::new();
    let console = &mut Console {
        input: &mut std::io::empty(),
        out: &mut out,
        log_line: &|text| format!("{text}\n"),
        version: "",
    };
    let code = run(&all, console);
    let prefix = format!("{}/", dir.display());
    (code, String::from_utf8_lossy(&out).replace(&prefix, "./"))
}

fn command(words: &[&str]) -> String {
    let mut out = format!("*{}\r\n", words.len());
    for word in words {
        out.push_str(&format!("${}\r\n{word}\r\n", word.len()));
    }
    out
}

fn sound_file() -> String {
    [
        "#TS:100\r\n".to_owned(),
        command(&["SELECT", "0"]),
        command(&["set", "key", "some value"]),
        command(&["MULTI"]),
        command(&["set", "a", ""]),
        command(&["HSET", "h", "field", "value"]),
        "#TS:101\r\n".to_owned(),
        command(&["EXEC"]),
        command(&["del", "a"]),
        "#TS:102\r\n".to_owned(),
        command(&["set", "key", "other"]),
    ]
    .concat()
}

/// Of a line that ends early the original prints one byte of memory it has not written.
fn without_garbage(mut ran: (i32, String)) -> (i32, String) {
    if let Some(at) = ran.1.find("got: 00") {
        ran.1.replace_range(at + 7..at + 9, "..");
    }
    ran
}

fn assert_same(dir: &Path, content: &[u8], args: &[&str]) -> bool {
    let path = dir.join("a");
    fs::write(&path, content).unwrap();
    let Some(theirs) = original(dir, args) else {
        return false;
    };
    let left_by_theirs = fs::read(&path).unwrap();
    fs::write(&path, content).unwrap();
    assert_eq!(
        without_garbage(ours(dir, args)),
        without_garbage(theirs),
        "{:?}",
        String::from_utf8_lossy(content)
    );
    assert_eq!(fs::read(&path).unwrap(), left_by_theirs);
    true
}

#[test]
fn cut_files_get_the_same_verdict() {
    let dir = tempfile::tempdir().unwrap();
    let whole = sound_file();
    for len in 0..=whole.len() {
        if !assert_same(dir.path(), &whole.as_bytes()[..len], &["./a"]) {
            return;
        }
    }
}

#[test]
fn changed_bytes_get_the_same_verdict() {
    let dir = tempfile::tempdir().unwrap();
    let whole = sound_file();
    for at in 0..whole.len() {
        for byte in [b'\n', b'\r', b'-', b'9', b'*', b'#', b'x'] {
            let mut content = whole.clone().into_bytes();
            content[at] = byte;
            if at % 7 == 0 && !assert_same(dir.path(), &content, &["./a"]) {
                return;
            }
        }
    }
}

#[test]
fn moments_cut_at_the_same_place() {
    let dir = tempfile::tempdir().unwrap();
    for moment in [
        "0",
        "99",
        "100",
        "101",
        "102",
        "-1",
        " 5",
        "",
        "1e3",
        "99999999999999999999",
    ] {
        let args = ["--truncate-to-timestamp", moment, "./a"];
        if !assert_same(dir.path(), sound_file().as_bytes(), &args) {
            return;
        }
    }
}

#[test]
fn manifests_get_the_same_verdict() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("b"), sound_file()).unwrap();
    fs::write(dir.path().join("empty"), "").unwrap();
    for manifest in [
        "file b seq 1 type b\nfile empty seq 1 type i\n",
        "file b seq 1 type i\nfile b seq 2 type i\nfile gone seq 1 type h\n",
        "file empty seq 1 type b\n",
        "file b seq 1 type b\nfile gone seq 1 type i\n",
        "# only\nfile b seq 7 type i startoffset 3\n",
    ] {
        if !assert_same(dir.path(), manifest.as_bytes(), &["./a"]) {
            return;
        }
    }
}

//! The append-only file cut at every byte of its last kilobyte.
//!
//! With `aof-load-truncated yes` the server must come up with exactly the units before the cut;
//! with `no` it must refuse, naming the end of the file, unless the cut falls between commands.

use crate::aof::{Unit, last_file, units};
use crate::support::{Setup, rounds};
use std::fs;
use std::path::Path;
use std::thread;

const TAIL_BYTES: usize = 1024;
const WORKERS: usize = 2;

fn setup(truncated: &str) -> Setup {
    Setup::russet()
        .set("appendonly", &["yes"])
        .set("appendfsync", &["always"])
        .set("aof-load-truncated", &[truncated])
        .set("aof-use-rdb-preamble", &["no"])
}

/// Writes commands and transactions that count `n` upwards, and gives the file's bytes.
fn written() -> (Setup, Vec<u8>) {
    let setup = setup("yes");
    let server = setup.start();
    let mut client = server.client();
    for count in 0..60 {
        let value = count.to_string();
        if count % 3 == 0 {
            client.ok(&["MULTI"]);
            client.text(&["SET", "n", &value]);
            client.text(&["HSET", "h", "field", &value]);
            client.text(&["SET", "in-transaction", &value]);
            client.call(&["EXEC"]);
        } else {
            client.ok(&["SET", "n", &value]);
        }
    }
    server.kill();
    let bytes = fs::read(last_file(setup.dir())).unwrap();
    (setup, bytes)
}

fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

/// The value of `key` after the units that end at or before `cut`.
fn expected(units: &[Unit], cut: usize, key: &[u8]) -> Option<Vec<u8>> {
    let whole = units.iter().take_while(|unit| unit.end <= cut);
    let sets = whole
        .flat_map(|unit| &unit.commands)
        .filter(|command| command[0].eq_ignore_ascii_case(b"SET") && command[1] == key);
    sets.last().map(|command| command[2].clone())
}

/// Puts a file cut at `cut` into the data folder of `setup`.
fn place(source: &Setup, setup: &Setup, bytes: &[u8], cut: usize) {
    let folder = setup.dir().join("appendonlydir");
    let _ = fs::remove_dir_all(&folder);
    copy_folder(&source.dir().join("appendonlydir"), &folder);
    fs::write(last_file(setup.dir()), &bytes[..cut]).unwrap();
}

fn loads_the_units_before(source: &Setup, setup: &Setup, bytes: &[u8], cut: usize) {
    place(source, setup, bytes, cut);
    let server = setup.start();
    let mut client = server.client();
    let whole = units(bytes);
    for key in ["n", "in-transaction"] {
        let value = expected(&whole, cut, key.as_bytes()).unwrap();
        let found = client.text(&["GET", key]);
        assert_eq!(
            found.as_bytes(),
            value,
            "{key} after a cut at {cut} of {}",
            bytes.len()
        );
    }
    // What was cut off is gone from the file too, so the next command follows a whole one.
    client.ok(&["SET", "n", "after"]);
    server.kill();
    assert_eq!(
        setup.start().client().text(&["GET", "n"]),
        "after",
        "cut at {cut}"
    );
}

fn refuses(source: &Setup, setup: &Setup, bytes: &[u8], cut: usize) {
    place(source, setup, bytes, cut);
    if units(bytes).iter().any(|unit| unit.end == cut) {
        setup.start();
        return;
    }
    let seen = setup.log().len();
    let status = setup.spawn().wait_for_exit();
    assert_eq!(status.code(), Some(1), "cut at {cut}");
    let log = setup.log().split_off(seen);
    assert!(
        log.contains("Unexpected end of file reading the append only file"),
        "cut at {cut}:\n{log}"
    );
}

/// Runs `check` for the cuts, a few at a time.
fn at_every_cut(truncated: &str, check: fn(&Setup, &Setup, &[u8], usize)) {
    let (source, bytes) = written();
    let step = rounds("RUSSET_CUT_STEP", 16);
    let cuts: Vec<usize> = (bytes.len() - TAIL_BYTES..=bytes.len())
        .step_by(step)
        .collect();
    thread::scope(|scope| {
        for worker in 0..WORKERS {
            let (source, bytes, cuts) = (&source, &bytes, &cuts);
            scope.spawn(move || {
                let setup = setup(truncated);
                for cut in cuts.iter().skip(worker).step_by(WORKERS) {
                    check(source, &setup, bytes, *cut);
                }
            });
        }
    });
}

#[test]
fn a_cut_tail_loads_the_commands_before_it() {
    at_every_cut("yes", loads_the_units_before);
}

#[test]
fn a_cut_tail_is_refused_when_it_is_not_allowed() {
    at_every_cut("no", refuses);
}

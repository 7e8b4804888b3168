//! Loading seen from outside: which commands arrive, what is refused, what becomes of the files.

use super::*;
use crate::oplog::effect::encode;
use std::ffi::OsString;
use std::fs;
use std::io::Read;

/// Records what arrives. Its "RDB" is the word REDIS, a length byte, and that many bytes.
#[derive(Default)]
struct Recorder {
    total: u64,
    reported: u64,
    applied: Vec<(u32, String)>,
}

impl LoadTarget for Recorder {
    fn begin(&mut self, total_bytes: u64) {
        self.total = total_bytes;
    }

    fn load_rdb(&mut self, mut input: LoadFile) -> Result<u64, String> {
        let mut head = [0; 6];
        input.read_exact(&mut head).map_err(|e| e.to_string())?;
        let mut body = vec![0; usize::from(head[5])];
        input.read_exact(&mut body).map_err(|e| e.to_string())?;
        self.applied
            .push((0, format!("RDB {}", String::from_utf8(body).unwrap())));
        // Reading ahead does no harm.
        let _ = input.read(&mut [0; 100]);
        self.reported += 6 + u64::from(head[5]);
        Ok(6 + u64::from(head[5]))
    }

    fn apply(&mut self, db: u32, argv: &[&[u8]]) -> Result<(), Refusal> {
        if argv[0] == b"bla" {
            return Err(Refusal::UnknownCommand);
        }
        let words: Vec<_> = argv
            .iter()
            .map(|word| String::from_utf8_lossy(word))
            .collect();
        self.applied.push((db, words.join(" ")));
        Ok(())
    }

    fn progress(&mut self, bytes: u64) -> Result<(), Refusal> {
        self.reported += bytes;
        Ok(())
    }
}

struct Setup {
    _dir: tempfile::TempDir,
    folder: Folder,
    manifest: Manifest,
}

impl Setup {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder {
            dir: dir.path().to_owned(),
            dirname: "aof".into(),
            filename: "a".into(),
        };
        folder.create().unwrap();
        Self {
            _dir: dir,
            folder,
            manifest: Manifest::default(),
        }
    }

    fn base(&mut self, content: &[u8]) -> OsString {
        let name = self.manifest.next_base(OsStr::new("a"), true);
        fs::write(self.folder.file(&name), content).unwrap();
        name
    }

    fn incr(&mut self, content: &[u8]) -> OsString {
        let name = self.manifest.next_incr(OsStr::new("a"), None);
        fs::write(self.folder.file(&name), content).unwrap();
        name
    }

    fn load(&self, truncate_cut_tail: bool) -> (Result<Loaded, AofError>, Recorder) {
        let mut target = Recorder::default();
        let options = LoadOptions {
            truncate_cut_tail,
            databases: 16,
        };
        let result = load(&self.folder, &self.manifest, options, &mut target);
        (result, target)
    }
}

fn command(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let words: Vec<&[u8]> = text.split(' ').map(str::as_bytes).collect();
    encode(&mut out, &words);
    out
}

fn commands(texts: &[&str]) -> Vec<u8> {
    texts.iter().flat_map(|text| command(text)).collect()
}

fn applied(target: &Recorder) -> Vec<String> {
    target
        .applied
        .iter()
        .map(|(db, text)| format!("{db} {text}"))
        .collect()
}

#[test]
fn base_and_incremental_files_arrive_in_order() {
    let mut setup = Setup::new();
    setup.base(b"REDIS\x03abc");
    setup.incr(&commands(&["select 9", "set k1 v1"]));
    setup.incr(b"");
    setup.incr(&commands(&["set k2 v2"]));
    let (result, target) = setup.load(true);
    assert!(matches!(
        result,
        Ok(Loaded::Data { base_bytes: 9, truncated: false, total_bytes })
            if total_bytes == target.total
    ));
    // A file begins in database 0, whatever the one before it selected.
    assert_eq!(
        applied(&target),
        ["0 RDB abc", "9 set k1 v1", "0 set k2 v2"]
    );
    assert_eq!(target.reported, target.total);
}

#[test]
fn a_preamble_is_followed_by_commands() {
    let mut setup = Setup::new();
    setup.base(&[&b"REDIS\x01a"[..], &commands(&["set k v"])].concat());
    let (result, target) = setup.load(false);
    assert!(result.is_ok());
    assert_eq!(applied(&target), ["0 RDB a", "0 set k v"]);
}

#[test]
fn no_file_and_empty_files_are_told_apart() {
    let mut setup = Setup::new();
    assert_eq!(setup.load(true).0.unwrap(), Loaded::Nothing);
    setup.incr(b"");
    assert_eq!(setup.load(true).0.unwrap(), Loaded::Empty);
}

#[test]
fn a_missing_file_is_fatal() {
    let mut setup = Setup::new();
    let name = setup.incr(b"");
    fs::remove_file(setup.folder.file(&name)).unwrap();
    assert!(setup.load(true).0.is_err());
}

#[test]
fn transactions_arrive_whole_and_select_inside_them_counts() {
    let mut setup = Setup::new();
    setup.incr(&commands(&[
        "MULTI",
        "select 3",
        "set a 1",
        "select 99",
        "select x",
        "set b 2",
        "EXEC",
        "set c 3",
    ]));
    let (result, target) = setup.load(false);
    assert!(result.is_ok());
    assert_eq!(applied(&target), ["3 set a 1", "3 set b 2", "3 set c 3"]);
}

#[test]
fn an_unknown_command_and_a_bad_format_stop_loading() {
    for bad in [
        commands(&["set a 1", "bla foo", "set b 2"]),
        [&command("set a 1")[..], b"!!!"].concat(),
    ] {
        let mut setup = Setup::new();
        let name = setup.incr(&bad);
        let (result, target) = setup.load(true);
        assert!(result.is_err());
        assert_eq!(applied(&target), ["0 set a 1"]);
        assert_eq!(
            fs::read(setup.folder.file(&name)).unwrap(),
            bad,
            "the file is left alone"
        );
    }
}

#[test]
fn a_cut_file_that_is_not_the_last_is_refused_and_left_alone() {
    let mut setup = Setup::new();
    let cut = &command("set a 1")[..9];
    let first = setup.incr(cut);
    setup.incr(&command("set b 2"));
    let (result, target) = setup.load(true);
    assert!(result.unwrap_err().to_string().contains("at offset 0 of 9"));
    assert_eq!(applied(&target), Vec::<String>::new());
    assert_eq!(fs::read(setup.folder.file(&first)).unwrap(), cut);
}

/// More than a kilobyte of single commands and transactions, and where each unit ends.
fn long_history() -> (Vec<u8>, Vec<(usize, usize)>) {
    let mut bytes = command("select 2");
    let mut units = vec![(0, 0), (bytes.len(), 0)];
    let mut applied = 0;
    let mut number = 0;
    while bytes.len() < 2500 {
        number += 1;
        if number % 3 == 0 {
            bytes.extend(command("MULTI"));
            for step in 0..3 {
                bytes.extend(command(&format!("set t{number} {step}")));
            }
            bytes.extend(command("EXEC"));
            applied += 3;
        } else {
            bytes.extend(command(&format!(
                "set key:{number} {}",
                "v".repeat(number % 13)
            )));
            applied += 1;
        }
        if number % 4 == 0 {
            bytes.extend(format!("#TS:{number}\r\n").bytes());
        }
        units.push((bytes.len(), applied));
    }
    (bytes, units)
}

#[test]
fn cut_at_every_byte_of_the_last_kilobyte_a_prefix_loads_or_the_file_is_refused() {
    let (bytes, units) = long_history();
    let mut setup = Setup::new();
    let name = setup.incr(b"");
    let path = setup.folder.file(&name);
    let (_, whole) = {
        fs::write(&path, &bytes).unwrap();
        setup.load(false)
    };
    for cut in bytes.len() - 1024..=bytes.len() {
        fs::write(&path, &bytes[..cut]).unwrap();
        // Behind the last whole unit only an annotation may have been cut; that loses nothing.
        let (_, expected) = *units.iter().rev().find(|(end, _)| *end <= cut).unwrap();
        let (refused, before) = setup.load(false);
        let (loaded, target) = setup.load(true);
        let truncated = match loaded {
            Ok(Loaded::Data {
                truncated,
                total_bytes,
                ..
            }) => {
                assert_eq!(total_bytes, fs::metadata(&path).unwrap().len());
                truncated
            }
            other => panic!("cut at {cut}: {other:?}"),
        };
        assert_eq!(refused.is_err(), truncated, "cut at {cut}");
        assert_eq!(before.applied, target.applied);
        assert!(target.applied.len() >= expected && whole.applied.starts_with(&target.applied));

        // What is left is well formed and goes on: a write after the restart is not lost.
        let mut file = fs::read(&path).unwrap();
        file.extend(command("set after 1"));
        fs::write(&path, &file).unwrap();
        let (again, more) = setup.load(false);
        assert!(again.is_ok(), "cut at {cut}");
        assert_eq!(more.applied.len(), target.applied.len() + 1, "cut at {cut}");
    }
}

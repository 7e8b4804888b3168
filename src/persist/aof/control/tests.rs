//! Life of an AOF on a real disk: boot, rewrites that succeed, fail and are killed, switching on
//! and off; and after each, what a restart would load.

use super::super::load::Refusal;
use super::super::rewriting::Rewrite;
use super::super::status::Fsync;
use super::*;
use crate::oplog::effect::{UnitEffects, encode};
use crate::persist::rdb::file::LoadFile;
use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::path::Path;
use std::thread;
use std::time::Duration;

type Data = BTreeMap<String, String>;

/// Keys that loading sets. Its "RDB" is REDIS, a length of four bytes, and commands.
#[derive(Default)]
struct Keys {
    data: Data,
    total: u64,
}

impl LoadTarget for Keys {
    fn begin(&mut self, total_bytes: u64) {
        self.total = total_bytes;
    }

    fn load_rdb(&mut self, mut input: LoadFile) -> Result<u64, String> {
        let mut head = [0; 9];
        input.read_exact(&mut head).map_err(|e| e.to_string())?;
        let len = u64::from(u32::from_le_bytes(head[5..].try_into().unwrap()));
        let body = io::BufReader::new(input.take(len));
        let mut reader = super::super::reader::CommandReader::new(body, 0);
        while let Some(argv) = reader.next_command().map_err(|e| e.to_string())? {
            let words: Vec<&[u8]> = argv.iter().map(Vec::as_slice).collect();
            self.apply(0, &words).map_err(|_| "refused".to_owned())?;
        }
        Ok(9 + len)
    }

    fn apply(&mut self, db: u32, argv: &[&[u8]]) -> Result<(), Refusal> {
        let word = |i: usize| String::from_utf8(argv[i].to_vec()).unwrap();
        assert_eq!(word(0), "SET");
        self.data.insert(format!("{db}:{}", word(1)), word(2));
        Ok(())
    }

    fn progress(&mut self, _: u64) -> Result<(), Refusal> {
        Ok(())
    }
}

/// A server as far as the AOF sees one: data, the log, and the AOF of both.
struct Server {
    aof: Arc<Aof>,
    log: Arc<Log>,
    data: Data,
    effects: UnitEffects,
}

fn folder(dir: &Path) -> Folder {
    Folder {
        dir: dir.to_owned(),
        dirname: "appendonlydir".into(),
        filename: "a".into(),
    }
}

fn options() -> Options {
    Options {
        policy: Policy {
            fsync: Fsync::EverySec,
            no_sync_during_snapshot: false,
        },
        rdb_preamble: true,
        load_truncated: true,
        incremental_fsync: true,
        databases: 16,
        ..Options::default()
    }
}

impl Server {
    fn opened(dir: &Path, options: Options) -> Self {
        let log = Log::new();
        let fatal: OnFatal = Arc::new(|| panic!("fatal"));
        let aof = Aof::open(folder(dir), Arc::clone(&log), options, fatal).unwrap();
        Self {
            aof,
            log,
            data: Data::new(),
            effects: UnitEffects::new(),
        }
    }

    /// As a boot with `appendonly yes`.
    fn boot(dir: &Path, options: Options) -> Self {
        let mut server = Self::opened(dir, options);
        let mut keys = Keys::default();
        server.aof.load(&mut keys).unwrap();
        server.data = keys.data;
        let floor = server.aof.offset_floor().unwrap_or(0);
        server.log.set_offset(floor, None).unwrap();
        server
            .aof
            .start(|format, out| write_base(&Data::new(), format, out))
            .unwrap();
        server
    }

    fn set(&mut self, db: u32, key: &str, value: &str) {
        self.data.insert(format!("{db}:{key}"), value.to_owned());
        self.effects.clear();
        self.effects
            .push(db, &[b"SET", key.as_bytes(), value.as_bytes()]);
        self.log.append(&self.effects);
        self.log.wake();
    }

    /// The instant of a snapshot; nothing else writes meanwhile.
    fn begin(&self) -> (Rewrite, Data) {
        let mut rewrite = self.aof.begin_rewrite().unwrap();
        rewrite.mark();
        (rewrite, self.data.clone())
    }

    fn rewrite(&self) -> bool {
        let (rewrite, data) = self.begin();
        rewrite.run(|format, out| write_base(&data, format, out))
    }

    fn manifest(&self) -> Vec<String> {
        let text = self.aof.folder.load_manifest().unwrap().format();
        String::from_utf8(text)
            .unwrap()
            .lines()
            .map(str::to_owned)
            .collect()
    }

    fn flush(&self) {
        let writer = self.aof.life.lock().writer.clone().unwrap();
        writer.flush().unwrap();
    }

    /// What a restart at this moment would load.
    fn on_disk(&self) -> Data {
        let dir = self.aof.folder.dir.clone();
        let mut keys = Keys::default();
        Self::opened(&dir, options()).aof.load(&mut keys).unwrap();
        keys.data
    }
}

fn write_base(data: &Data, format: Format, out: &mut dyn Write) -> io::Result<()> {
    let mut commands = Vec::new();
    for (key, value) in data {
        let (db, key) = key.split_once(':').unwrap();
        if format == Format::Commands {
            encode(&mut commands, &[b"SELECT", db.as_bytes()]);
        }
        encode(&mut commands, &[b"SET", key.as_bytes(), value.as_bytes()]);
    }
    if format == Format::Rdb {
        out.write_all(b"REDIS")?;
        out.write_all(&(commands.len() as u32).to_le_bytes())?;
    }
    out.write_all(&commands)
}

fn starts_with(lines: &[String], expected: &[&str]) {
    assert_eq!(lines.len(), expected.len(), "{lines:?}");
    for (line, start) in lines.iter().zip(expected) {
        assert!(line.starts_with(start), "{lines:?}");
    }
}

#[test]
fn a_first_boot_makes_a_base_and_a_file_to_append_to() {
    let dir = tempfile::tempdir().unwrap();
    let mut server = Server::boot(dir.path(), options());
    starts_with(
        &server.manifest(),
        &[
            "file a.1.base.rdb seq 1 type b",
            "file a.1.incr.aof seq 1 type i startoffset 0",
        ],
    );
    server.set(0, "k", "v");
    server.flush();
    assert_eq!(server.on_disk(), server.data);
    let info = server.aof.info();
    assert_eq!((info.state, info.last_rewrite_s), (State::On, -1));
    assert_eq!(info.current_bytes, 9 + server.log.end_offset());
}

#[test]
fn a_restart_goes_on_in_the_same_file_and_after_the_same_offset() {
    let dir = tempfile::tempdir().unwrap();
    let mut server = Server::boot(dir.path(), options());
    server.set(3, "k", "v");
    server.aof.finish(Some("0123456789".repeat(4)));
    let end = server.log.end_offset();
    let noted = End {
        offset: end,
        replid: Some("0123456789".repeat(4)),
        stream_db: Some(3),
    };
    assert_eq!(server.aof.end(), Some(noted));
    let data = server.data.clone();
    drop(server);

    let mut server = Server::boot(dir.path(), options());
    assert_eq!(server.data, data);
    assert_eq!(server.log.end_offset(), end);
    assert_eq!(server.aof.end(), None, "the file goes on");
    starts_with(
        &server.manifest(),
        &["file a.1.base.rdb", "file a.1.incr.aof"],
    );
    server.set(0, "more", "x");
    server.flush();
    assert_eq!(server.on_disk(), server.data);
}

#[test]
fn files_of_an_older_server_stay_without_offsets() {
    let dir = tempfile::tempdir().unwrap();
    let folder = folder(dir.path());
    folder.create().unwrap();
    let mut content = Vec::new();
    encode(&mut content, &[b"SET", b"k", b"v"]);
    fs::write(folder.file("a.1.incr.aof".as_ref()), content).unwrap();
    fs::write(
        folder.file("a.manifest".as_ref()),
        "file a.1.incr.aof seq 1 type i\n",
    )
    .unwrap();
    let mut server = Server::boot(dir.path(), options());
    server.set(0, "l", "w");
    server.aof.finish(None);
    assert_eq!(server.manifest(), ["file a.1.incr.aof seq 1 type i"]);
    assert_eq!(server.on_disk(), server.data);
}

#[test]
fn a_rewrite_replaces_the_files_and_loses_nothing() {
    for rdb_preamble in [true, false] {
        let dir = tempfile::tempdir().unwrap();
        let mut server = Server::boot(
            dir.path(),
            Options {
                rdb_preamble,
                ..options()
            },
        );
        server.set(2, "before", "1");
        let (rewrite, data) = server.begin();
        server.set(2, "during", "2");
        assert!(rewrite.run(|format, out| write_base(&data, format, out)));
        server.set(2, "after", "3");
        server.flush();
        let base = if rdb_preamble {
            "file a.2.base.rdb seq 2"
        } else {
            "file a.2.base.aof seq 2"
        };
        starts_with(
            &server.manifest(),
            &[base, "file a.2.incr.aof seq 2 type i startoffset "],
        );
        // RDB of this test knows one database only.
        let mut on_disk = server.on_disk();
        if rdb_preamble {
            let before = on_disk.remove("0:before").unwrap();
            on_disk.insert("2:before".to_owned(), before);
        }
        assert_eq!(on_disk, server.data);
        let info = server.aof.info();
        assert!(info.last_rewrite_ok && info.last_rewrite_s >= 0 && !info.rewriting);
        assert_eq!((info.rewrites, info.failures_in_a_row), (1, 0));
        let files: u64 = fs::read_dir(server.aof.folder.path())
            .unwrap()
            .map(|entry| entry.unwrap())
            .filter(|entry| entry.file_name().to_str().unwrap().starts_with("a.2."))
            .map(|entry| entry.metadata().unwrap().len())
            .sum();
        assert_eq!(info.current_bytes, files);
    }
}

#[test]
fn the_files_in_the_middle_of_a_rewrite_load_as_well() {
    let dir = tempfile::tempdir().unwrap();
    let mut server = Server::boot(dir.path(), options());
    server.set(5, "before", "1");
    let (rewrite, data) = server.begin();
    server.set(5, "during", "2");
    server.flush();
    assert_eq!(server.manifest().len(), 3);
    let expected = server.data.clone();
    assert!(rewrite.run(|format, out| {
        assert_eq!(server.on_disk(), expected);
        write_base(&data, format, out)
    }));
}

#[test]
fn rewrites_under_write_load_lose_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut server = Server::boot(dir.path(), options());
    for round in 0..5 {
        let (rewrite, data) = server.begin();
        let run = thread::spawn(move || {
            rewrite.run(|format, out| {
                thread::sleep(Duration::from_millis(10));
                write_base(&data, format, out)
            })
        });
        for i in 0..3000 {
            server.set(0, &format!("k{}", i % 700), &format!("{round}:{i}"));
        }
        assert!(run.join().unwrap());
    }
    server.flush();
    assert_eq!(server.on_disk(), server.data);
    starts_with(
        &server.manifest(),
        &["file a.6.base.rdb", "file a.6.incr.aof"],
    );
}

#[test]
fn a_failed_rewrite_leaves_one_more_file_and_a_killed_one_is_no_failure() {
    let dir = tempfile::tempdir().unwrap();
    let mut server = Server::boot(dir.path(), options());
    server.set(0, "a", "1");
    let (rewrite, _) = server.begin();
    assert!(!rewrite.run(|_, _| Err(io::Error::from_raw_os_error(libc::ENOSPC))));
    server.set(0, "b", "2");
    let (rewrite, data) = server.begin();
    server.aof.kill_rewrite();
    assert!(!rewrite.run(|format, out| write_base(&data, format, out)));
    server.set(0, "c", "3");
    server.flush();
    starts_with(
        &server.manifest(),
        &[
            "file a.1.base",
            "file a.1.incr",
            "file a.2.incr",
            "file a.3.incr",
        ],
    );
    assert_eq!(server.on_disk(), server.data);
    let info = server.aof.info();
    assert_eq!((info.failures_in_a_row, info.last_rewrite_ok), (1, false));
    assert!(
        fs::read_dir(dir.path()).unwrap().count() == 1,
        "no temporary file is left"
    );
    assert!(server.rewrite());
    assert_eq!(server.on_disk(), server.data);
    starts_with(&server.manifest(), &["file a.2.base", "file a.4.incr"]);
}

#[test]
fn a_dropped_rewrite_has_failed_and_the_next_one_may_begin() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::boot(dir.path(), options());
    drop(server.aof.begin_rewrite().unwrap());
    assert_eq!(server.aof.info().failures_in_a_row, 1);
    assert!(server.aof.begin_rewrite().is_some());
}

#[test]
fn history_is_kept_as_long_as_configured() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::boot(
        dir.path(),
        Options {
            keep_history: true,
            ..options()
        },
    );
    assert!(server.rewrite() && server.rewrite());
    starts_with(
        &server.manifest(),
        &[
            "file a.3.base.rdb seq 3 type b",
            "file a.2.incr.aof seq 2 type h",
            "file a.2.base.rdb seq 2 type h",
            "file a.1.incr.aof seq 1 type h",
            "file a.1.base.rdb seq 1 type h",
            "file a.3.incr.aof seq 3 type i",
        ],
    );
    server.aof.configure(options());
    starts_with(
        &server.manifest(),
        &["file a.3.base.rdb", "file a.3.incr.aof"],
    );
}

#[test]
fn switched_on_at_run_time_it_counts_from_the_first_rewrite_that_succeeds() {
    let dir = tempfile::tempdir().unwrap();
    let mut server = Server::opened(dir.path(), options());
    server.data.insert("0:old".to_owned(), "x".to_owned());
    assert!(server.aof.enable(false, false));
    let (rewrite, _) = server.begin();
    server.set(0, "lost", "with its file");
    assert!(!rewrite.run(|_, _| Err(io::Error::other("no"))));
    assert!(!folder(dir.path()).file("temp-a.incr".as_ref()).exists());
    assert_eq!(server.manifest(), Vec::<String>::new());
    assert!(server.aof.info().scheduled, "it tries again");
    assert_eq!(server.log.durability().need(), Need::Accepted);
    assert!(!server.log.is_active());

    let (rewrite, data) = server.begin();
    server.set(0, "new", "y");
    assert!(rewrite.run(|format, out| write_base(&data, format, out)));
    assert_eq!(server.aof.info().state, State::On);
    server.set(0, "newer", "z");
    server.flush();
    assert_eq!(
        server.log.durability().synced_offset(),
        server.log.end_offset()
    );
    starts_with(
        &server.manifest(),
        &["file a.1.base.rdb", "file a.1.incr.aof"],
    );
    assert_eq!(server.on_disk(), server.data);

    server.aof.disable(None);
    assert!(!server.log.is_active());
    assert_eq!(server.log.durability().need(), Need::Nothing);
    assert!(server.manifest()[1].contains(" endoffset "));
    server.set(0, "unlogged", "1");
    assert!(!server.on_disk().contains_key("0:unlogged"));

    // A rewrite without an AOF makes a base alone.
    assert!(server.rewrite());
    starts_with(&server.manifest(), &["file a.2.base.rdb"]);
    assert_eq!(server.on_disk(), server.data);

    // And on again: the number of the incremental files goes on.
    assert!(server.aof.enable(false, false));
    assert!(server.rewrite());
    starts_with(
        &server.manifest(),
        &["file a.3.base.rdb", "file a.2.incr.aof"],
    );
}

#[test]
fn switching_off_during_the_first_rewrite_leaves_the_old_files() {
    let dir = tempfile::tempdir().unwrap();
    let mut server = Server::boot(dir.path(), options());
    server.set(0, "a", "1");
    server.aof.disable(None);
    let before = server.manifest();
    let old = server.on_disk();
    assert!(server.aof.enable(false, false));
    let (rewrite, data) = server.begin();
    server.set(0, "b", "2");
    server.aof.disable(None);
    assert!(!rewrite.run(|format, out| write_base(&data, format, out)));
    assert_eq!((server.manifest(), server.on_disk()), (before, old));
    assert!(!server.aof.info().scheduled);
    assert!(!folder(dir.path()).file("temp-a.incr".as_ref()).exists());
}

#[test]
fn a_scheduled_rewrite_waits_for_other_snapshots() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::boot(dir.path(), options());
    assert_eq!(server.aof.request_rewrite(true, false), Request::Scheduled);
    assert!(!server.aof.poll_rewrite(0, true));
    assert!(server.aof.poll_rewrite(0, false));
    assert_eq!(server.aof.request_rewrite(false, true), Request::Scheduled);
    assert_eq!(server.aof.request_rewrite(false, false), Request::Start);
    let (rewrite, _) = server.begin();
    assert!(!server.aof.info().scheduled);
    assert_eq!(
        server.aof.request_rewrite(false, false),
        Request::InProgress
    );
    drop(rewrite);
}

#[test]
fn growth_triggers_a_rewrite_until_failures_hold_it_back() {
    let dir = tempfile::tempdir().unwrap();
    let growing = Options {
        auto_percentage: 100,
        auto_min_bytes: 1000,
        ..options()
    };
    let mut server = Server::boot(dir.path(), growing);
    server.set(0, "k", &"v".repeat(2000));
    server.flush();
    assert!(server.aof.poll_rewrite(0, false));
    assert!(server.rewrite());
    assert!(!server.aof.poll_rewrite(0, false), "no growth since");
    server.set(0, "k", &"v".repeat(4000));
    server.flush();
    for _ in 0..3 {
        assert!(server.aof.poll_rewrite(0, false));
        drop(server.begin());
    }
    assert!(!server.aof.poll_rewrite(0, false));
    assert!(!server.aof.poll_rewrite(59, false));
    assert!(server.aof.poll_rewrite(60, false));
    server.aof.configure(options());
    assert!(!server.aof.poll_rewrite(1000, false), "switched off");
}

#[test]
fn the_manifest_can_be_read_anew_while_the_aof_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let mut server = Server::boot(dir.path(), options());
    server.set(0, "k", "v");
    server.aof.reread_manifest().unwrap();
    let mut keys = Keys::default();
    server.aof.load(&mut keys).unwrap();
    assert_eq!(keys.data, server.data);
    assert_eq!(server.aof.info().current_bytes, keys.total);
    server.set(0, "l", "w");
    assert!(server.rewrite());
    server.flush();
    assert_eq!(server.on_disk(), server.data);
}

#[test]
fn a_folder_that_cannot_be_made_fails_the_rewrite_at_once() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("appendonlydir"), b"in the way").unwrap();
    let server = Server::opened(dir.path(), options());
    assert!(server.aof.enable(false, false));
    assert!(server.aof.begin_rewrite().is_none());
    server.aof.enable_failed();
    let info = server.aof.info();
    assert_eq!(
        (info.state, info.last_rewrite_ok, info.rewriting),
        (State::Off, false, false)
    );
}

#[test]
fn replies_wait_for_the_disk_as_soon_as_always_is_set() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::boot(dir.path(), options());
    let mut always = options();
    always.policy.fsync = Fsync::Always;
    server.aof.configure(always);
    assert_eq!(server.log.durability().need(), Need::Synced);
}

//! Disks without room, and files that cannot be put in their place: what is refused then, what is
//! kept, and that it goes on when there is room again.
//!
//! The small disk is a tmpfs, which only root may mount; elsewhere these tests say that they were
//! skipped and pass.

use crate::support::{Client, Reply, Server, Setup, wait_until};
use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::process::{Command, ExitStatus};
use std::time::Duration;
use tempfile::TempDir;

const LIMIT: Duration = Duration::from_secs(20);
const NO_SPACE: &str = "No space left on device";

/// A disk of 4 MiB.
struct Disk(TempDir);

impl Disk {
    /// `None`, with a word about it, where it cannot be mounted.
    fn mount(test: &str) -> Option<Disk> {
        let dir = tempfile::tempdir().unwrap();
        let mount = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=4m", "tmpfs"])
            .arg(dir.path())
            .output();
        if mount.is_ok_and(|done| done.status.success()) {
            return Some(Disk(dir));
        }
        // Past the capture of the test's output: a skip has to be seen.
        let _ = writeln!(
            std::io::stderr(),
            "SKIPPED {test}: only root can mount a tmpfs"
        );
        None
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    /// Fills it but for so many bytes.
    fn fill(&self, leave: u64) {
        let path = self.path().join("ballast");
        let mut file = File::create(path).unwrap();
        while file.write(&[0; 4096]).is_ok_and(|n| n > 0) {}
        let size = file.metadata().unwrap().len();
        file.set_len(size.saturating_sub(leave)).unwrap();
    }

    fn free(&self) {
        fs::remove_file(self.path().join("ballast")).unwrap();
    }

    fn setup(&self) -> Setup {
        Setup::russet().set("dir", &[self.path().to_str().unwrap()])
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.path()).status();
    }
}

fn value(n: usize) -> String {
    format!("{n:0>4096}")
}

/// Sets keys `k0`, `k1`, ... from `first` on until one is refused; how many are there, and the
/// refusal, if the connection lived to bring one.
fn set_until_refused(client: &mut Client, first: usize) -> (usize, Option<String>) {
    for n in first..first + 20_000 {
        let (key, value) = (format!("k{n}"), value(n));
        match client.try_call(&["SET", &key, &value]) {
            Ok(Reply::Error(text)) => return (n, Some(text)),
            Ok(_) => std::thread::sleep(Duration::from_millis(1)),
            Err(_) => return (n, None),
        }
    }
    panic!("a full disk refused nothing");
}

fn all_there(client: &mut Client, count: usize) {
    for n in 0..count {
        assert_eq!(client.text(&["GET", &format!("k{n}")]), value(n), "k{n}");
    }
}

fn wait_for_ok(client: &mut Client, request: &[&str]) {
    wait_until("a write to be accepted", LIMIT, || {
        client.call(request) == Reply::SimpleString(b"OK".to_vec())
    });
}

#[test]
fn everysec_refuses_writes_until_there_is_room_and_loses_none() {
    let Some(disk) = Disk::mount("everysec on a full disk") else {
        return;
    };
    let setup = disk
        .setup()
        .set("appendonly", &["yes"])
        .set("appendfsync", &["everysec"])
        .set("auto-aof-rewrite-percentage", &["0"]);
    let server = setup.start();
    let mut client = server.client();
    disk.fill(64 << 10);
    let (count, refusal) = set_until_refused(&mut client, 0);
    let expected = format!("MISCONF Errors writing to the AOF file: {NO_SPACE}");
    assert_eq!(refusal.unwrap(), expected);
    assert_eq!(client.info("aof_last_write_status"), "err");
    all_there(&mut client, count);

    disk.free();
    wait_for_ok(&mut client, &["SET", &format!("k{count}"), &value(count)]);
    assert_eq!(client.info("aof_last_write_status"), "ok");
    wait_until("the AOF to be written", LIMIT, || {
        client.info_number("aof_buffer_length") == 0
    });
    server.kill();
    let log = setup.log();
    assert!(log.contains("AOF write error looks solved"), "{log}");
    let server = setup.start();
    all_there(&mut server.client(), count + 1);
}

#[test]
fn always_ends_the_server_and_keeps_what_it_acknowledged() {
    let Some(disk) = Disk::mount("always on a full disk") else {
        return;
    };
    let setup = disk
        .setup()
        .set("appendonly", &["yes"])
        .set("appendfsync", &["always"])
        .set("auto-aof-rewrite-percentage", &["0"]);
    let mut server = setup.start();
    disk.fill(64 << 10);
    let (count, refusal) = set_until_refused(&mut server.client(), 0);
    assert_eq!(refusal, None, "the reply to a write that is not on disk");
    assert_eq!(server.wait_for_exit().code(), Some(1));
    let log = setup.log();
    assert!(
        log.contains(NO_SPACE) || log.contains("Short write"),
        "{log}"
    );
    assert!(
        log.contains("Can't recover from AOF write error when the AOF fsync policy is 'always'"),
        "{log}"
    );
    disk.free();
    all_there(&mut setup.start().client(), count);
}

#[test]
fn a_rewrite_without_room_leaves_the_aof_as_it_is() {
    let Some(disk) = Disk::mount("a rewrite on a full disk") else {
        return;
    };
    let setup = disk
        .setup()
        .set("appendonly", &["yes"])
        .set("rdbcompression", &["no"])
        .set("auto-aof-rewrite-percentage", &["0"]);
    let server = setup.start();
    let mut client = server.client();
    for n in 0..200 {
        client.ok(&["SET", &format!("k{n}"), &value(n)]);
    }
    disk.fill(256 << 10);
    client.text(&["BGREWRITEAOF"]);
    wait_until("the rewrite to fail", LIMIT, || {
        client.info("aof_last_bgrewrite_status") == "err"
    });
    client.ok(&["SET", "k200", &value(200)]);
    let left: Vec<_> = fs::read_dir(disk.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.starts_with("temp-"))
        .collect();
    assert_eq!(left, [""; 0]);
    disk.free();
    client.text(&["BGREWRITEAOF"]);
    wait_until("the rewrite to succeed", LIMIT, || {
        client.info("aof_last_bgrewrite_status") == "ok"
    });
    server.kill();
    all_there(&mut setup.start().client(), 201);
}

/// Saves in the background; whether that succeeded.
fn save(client: &mut Client) -> bool {
    client.text(&["BGSAVE"]);
    wait_until("the save to end", LIMIT, || {
        client.info("rdb_bgsave_in_progress") == "0"
    });
    client.info("rdb_last_bgsave_status") == "ok"
}

fn refuses_writes(client: &mut Client) -> bool {
    matches!(client.call(&["SET", "x", "y"]), Reply::Error(text)
        if text.starts_with("MISCONF Redis is configured to save RDB snapshots"))
}

#[test]
fn a_save_without_room_stops_writes_and_leaves_the_last_file() {
    let Some(disk) = Disk::mount("a save on a full disk") else {
        return;
    };
    let setup = disk
        .setup()
        .set("save", &["3600", "1"])
        .set("rdbcompression", &["no"]);
    let server = setup.start();
    let mut client = server.client();
    client.ok(&["SET", "k0", &value(0)]);
    assert!(save(&mut client));
    for n in 1..200 {
        client.ok(&["SET", &format!("k{n}"), &value(n)]);
    }
    disk.fill(256 << 10);
    assert!(!save(&mut client));
    assert!(refuses_writes(&mut client));
    assert_eq!(client.text(&["GET", "k199"]), value(199));
    // What was saved before is still whole.
    let other = Setup::russet();
    fs::copy(disk.path().join("dump.rdb"), other.dir().join("dump.rdb")).unwrap();
    let last = other.start();
    assert_eq!(last.client().int(&["DBSIZE"]), 1);

    disk.free();
    assert!(save(&mut client));
    client.ok(&["SET", "x", "y"]);
    server.kill();
    all_there(&mut setup.start().client(), 200);
}

/// SHUTDOWN, and how the process ended, if it did.
fn shut_down(server: &mut Server) -> Result<ExitStatus, String> {
    match server.client().try_call(&["SHUTDOWN"]) {
        Ok(Reply::Error(text)) => Err(text),
        _ => Ok(server.wait_for_exit()),
    }
}

#[test]
fn a_save_that_finds_a_folder_in_its_place_stops_writes_and_shutdowns() {
    let setup = Setup::russet().set("save", &["3600", "1"]);
    let mut server = setup.start();
    let mut client = server.client();
    client.ok(&["SET", "k0", &value(0)]);
    let file = setup.dir().join("dump.rdb");
    fs::create_dir(&file).unwrap();
    assert!(!save(&mut client));
    assert!(refuses_writes(&mut client));
    let refusal = shut_down(&mut server).unwrap_err();
    assert_eq!(refusal, "ERR Errors trying to SHUTDOWN. Check logs.");
    fs::remove_dir(&file).unwrap();
    assert!(save(&mut client));
    client.ok(&["SET", "k1", &value(1)]);
    assert!(shut_down(&mut server).unwrap().success());
    all_there(&mut setup.start().client(), 2);
}

/// A replica that cannot save what it applies ends, unless it is told to go on.
#[test]
fn a_replica_that_cannot_save_ends_unless_it_is_told_to_go_on() {
    for (told, ends) in [("no", true), ("yes", false)] {
        let primary = Setup::russet().start();
        let setup = Setup::russet()
            .set("save", &["3600", "1"])
            .set("replica-ignore-disk-write-errors", &[told])
            .set("replicaof", &["127.0.0.1", &primary.port().to_string()]);
        let mut replica = setup.start();
        let (mut p, mut r) = (primary.client(), replica.client());
        p.ok(&["SET", "before", "1"]);
        wait_until("the link to be up", LIMIT, || {
            r.call(&["GET", "before"]) == Reply::BulkString(b"1".to_vec())
        });
        // No file can take the name of a folder.
        let _ = fs::remove_file(setup.dir().join("dump.rdb"));
        fs::create_dir(setup.dir().join("dump.rdb")).unwrap();
        r.call(&["BGSAVE"]);
        wait_until("the save to fail", LIMIT, || {
            r.info("rdb_last_bgsave_status") == "err"
        });
        p.ok(&["SET", "behind", "2"]);
        if ends {
            assert_eq!(replica.wait_for_exit().code(), Some(1));
        } else {
            wait_until("the write to be applied", LIMIT, || {
                r.call(&["GET", "behind"]) == Reply::BulkString(b"2".to_vec())
            });
        }
        let line = if ends {
            "Replica was unable to write command to disk."
        } else {
            "Replica is applying a command even though it is unable to write to disk."
        };
        assert!(setup.log().contains(line));
    }
}

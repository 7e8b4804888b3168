//! Russet and Debian's redis-server as each other's primary, replica, and reader of files.

use crate::pair::wait_for_equal_offsets;
use crate::support::{Client, Dice, Relay, Reply, Server, Setup, encode, rounds, wait_until};
use crate::workload::{ALL, command};
use bytes::BytesMut;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

const SOON: Duration = Duration::from_secs(30);

/// What both sides need to be compared and to keep the whole load in the backlog.
pub fn plain(setup: Setup) -> Setup {
    setup
        .set("repl-backlog-size", &["256mb"])
        .set("repl-diskless-sync-delay", &["0"])
}

/// Sends `count` random commands in pipelines and reads their replies; errors are part of it.
pub fn write_some(client: &mut Client, seed: u64, count: usize) {
    let mut dice = Dice::new(seed);
    for _ in 0..count / 50 {
        let mut pipeline = BytesMut::new();
        for _ in 0..50 {
            encode(&mut pipeline, &command(&mut dice, ALL));
        }
        client.send_bytes(&pipeline).unwrap();
        for _ in 0..50 {
            client.receive().unwrap();
        }
    }
}

pub fn assert_equal_data(primary: &mut Client, replica: &mut Client) {
    wait_for_equal_offsets(primary, replica);
    let mut digests = (String::new(), String::new());
    wait_until("equal digests", SOON, || {
        digests = (primary.digest(), replica.digest());
        digests.0 == digests.1
    });
    assert_ne!(digests.0, "0".repeat(40), "there was data to compare");
}

fn full_sync(primary: Setup, replica: Setup) {
    let primary = plain(primary).start();
    let mut writer = primary.client();
    write_some(&mut writer, 11, 20_000);
    let port = primary.port().to_string();
    let replica = plain(replica)
        .set("replicaof", &["127.0.0.1", &port])
        .start();
    let mut reader = replica.client();
    assert_equal_data(&mut writer, &mut reader);
    write_some(&mut writer, 12, 20_000);
    assert_equal_data(&mut writer, &mut reader);
    assert_eq!(writer.info_number("sync_full"), 1);
}

#[test]
fn redis_syncs_from_us() {
    full_sync(Setup::russet_for_redis_7_0(), Setup::redis());
}

#[test]
fn we_sync_from_redis() {
    full_sync(Setup::redis(), Setup::russet());
}

#[test]
fn valkey_syncs_from_us_and_we_from_valkey() {
    let (Some(replica), Some(primary)) = (Setup::valkey(), Setup::valkey()) else {
        eprintln!("skipped: valkey-server is not installed");
        return;
    };
    full_sync(Setup::russet(), replica);
    full_sync(primary, Setup::russet());
}

#[test]
fn we_sync_from_ourselves() {
    full_sync(Setup::russet(), Setup::russet());
}

/// A writer that goes on until it is told to stop.
pub struct Load {
    stop: Arc<AtomicBool>,
    thread: thread::JoinHandle<()>,
}

impl Load {
    pub fn on(server: &Server) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (told, mut client) = (Arc::clone(&stop), server.client());
        let thread = thread::spawn(move || {
            let mut seed = 1000;
            while !told.load(Ordering::Relaxed) {
                seed += 1;
                write_some(&mut client, seed, 50);
                thread::sleep(Duration::from_millis(1));
            }
        });
        Self { stop, thread }
    }

    pub fn stop(self) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap();
    }
}

/// Cuts the link again and again under a write load. Each cut must cost a partial resync and
/// nothing else, and the data must be equal in the end.
fn cut_links(primary: Setup, replica: Setup) {
    let cuts = rounds("RUSSET_LINK_CUTS", 200);
    let primary = plain(primary).start();
    let mut observer = primary.client();
    write_some(&mut observer, 21, 5_000);
    let relay = Relay::to(primary.port());
    let port = relay.port().to_string();
    let replica = plain(replica)
        .set("replicaof", &["127.0.0.1", &port])
        .start();
    let mut reader = replica.client();
    wait_for_equal_offsets(&mut observer, &mut reader);
    let load = Load::on(&primary);
    for cut in 0..cuts as u64 {
        wait_until("the replica to be online again", SOON, || {
            observer.info_number("sync_partial_ok") == cut
                && observer.info("slave0").contains("state=online")
                && reader.info("master_link_status") == "up"
        });
        assert_eq!(relay.cut(), 1, "one link at a time");
    }
    load.stop();
    assert_equal_data(&mut observer, &mut reader);
    assert_eq!(observer.info_number("sync_full"), 1);
    assert_eq!(observer.info_number("sync_partial_ok"), cuts as u64);
}

#[test]
fn link_cuts_cost_redis_only_partial_resyncs() {
    cut_links(Setup::russet_for_redis_7_0(), Setup::redis());
}

#[test]
fn link_cuts_cost_us_only_partial_resyncs() {
    cut_links(Setup::redis(), Setup::russet());
}

/// One server writes its files, the other starts on them.
fn load_files(writer: &Setup, reader: Setup, aof: bool, preamble: bool) {
    let appendonly = if aof { "yes" } else { "no" };
    let preamble = if preamble { "yes" } else { "no" };
    let with = |setup: Setup| {
        setup
            .set("appendonly", &[appendonly])
            .set("aof-use-rdb-preamble", &[preamble])
            .set("auto-aof-rewrite-percentage", &["0"])
    };
    let mut server = with(writer.clone()).start();
    let mut client = server.client();
    write_some(&mut client, 31, 20_000);
    if aof {
        client.text(&["BGREWRITEAOF"]);
        wait_until("the rewrite", SOON, || {
            client.info("aof_rewrite_in_progress") == "0"
                && client.info("aof_rewrite_scheduled") == "0"
        });
        write_some(&mut client, 32, 5_000);
    } else {
        client.ok(&["SAVE"]);
    }
    let written = client.digest();
    assert!(server.stop().success());
    let server = with(reader.data_of(writer)).start();
    assert_eq!(server.client().digest(), written);
}

#[test]
fn redis_loads_our_rdb_file() {
    load_files(&Setup::russet_for_redis_7_0(), Setup::redis(), false, false);
}

#[test]
fn we_load_redis_rdb_file() {
    load_files(&Setup::redis(), Setup::russet(), false, false);
}

#[test]
fn redis_loads_our_aof() {
    load_files(&Setup::russet_for_redis_7_0(), Setup::redis(), true, true);
    load_files(&Setup::russet_for_redis_7_0(), Setup::redis(), true, false);
}

#[test]
fn we_load_redis_aof() {
    load_files(&Setup::redis(), Setup::russet(), true, true);
    load_files(&Setup::redis(), Setup::russet(), true, false);
}

/// What is known of how a key is used is read from the other's file.
fn load_usage(writer: &Setup, reader: Setup) {
    for (policy, of_restore, of_object, told) in [
        ("allkeys-lru", "IDLETIME", "IDLETIME", 5000),
        ("volatile-lfu", "FREQ", "FREQ", 77),
        ("noeviction", "IDLETIME", "IDLETIME", 0),
    ] {
        let with = |setup: Setup| {
            setup
                .set("maxmemory-policy", &[policy])
                .set("lfu-decay-time", &["0"])
        };
        let mut server = with(writer.clone()).start();
        let mut client = server.client();
        client.ok(&["SET", "from", "value"]);
        let Reply::BulkString(payload) = client.call(&["DUMP", "from"]) else {
            panic!("no payload");
        };
        let given = told.to_string();
        let given = [of_restore.as_bytes(), given.as_bytes()];
        let [option, value] = given;
        client.ok(&[
            &b"RESTORE"[..],
            b"key",
            b"0",
            &payload,
            option,
            value,
            b"REPLACE",
        ]);
        client.ok(&["SAVE"]);
        assert!(server.stop().success());
        let server = with(reader.clone().data_of(writer)).start();
        let found = server.client().int(&["OBJECT", of_object, "key"]);
        assert!((told..told + 60).contains(&found), "{policy}: {found}");
    }
}

#[test]
fn redis_reads_from_our_file_how_keys_are_used() {
    load_usage(&Setup::russet_for_redis_7_0(), Setup::redis());
}

#[test]
fn we_read_from_a_file_of_redis_how_keys_are_used() {
    load_usage(&Setup::redis(), Setup::russet());
}

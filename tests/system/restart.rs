//! What a server that starts again over its files still knows.

use crate::support::{Client, Server, Setup, wait_until};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::sleep;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(30);

fn rewrite(client: &mut Client) {
    client.text(&["BGREWRITEAOF"]);
    wait_until("the rewrite to end", LIMIT, || {
        client.info("aof_rewrite_in_progress") == "0"
    });
    assert_eq!(client.info("aof_last_bgrewrite_status"), "ok");
}

#[test]
fn a_key_that_was_given_more_time_after_the_rewrite_is_there() {
    let setup = Setup::russet().set("appendonly", &["yes"]);
    let server = setup.start();
    let mut client = server.client();
    client.ok(&["SET", "kept", "v", "PX", "1500"]);
    client.ok(&["SET", "due", "v", "PX", "1500"]);
    rewrite(&mut client);
    client.int(&["PERSIST", "kept"]);
    client.int(&["APPEND", "kept", "w"]);
    wait_until("the AOF to be written", LIMIT, || {
        client.info_number("aof_buffer_length") == 0
    });
    server.kill();
    sleep(Duration::from_millis(1600));
    let server = setup.start();
    let mut client = server.client();
    assert_eq!(client.text(&["GET", "kept"]), "vw");
    assert_eq!(client.int(&["EXISTS", "due"]), 0);
}

#[test]
fn what_is_written_while_a_debugging_command_loads_again_is_not_lost() {
    let setup = Setup::russet().set("appendonly", &["yes"]);
    let server = setup.set("enable-debug-command", &["yes"]).start();
    let mut client = server.client();
    client.ok(&["DEBUG", "POPULATE", "50000"]);
    let port = server.port();
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let mut client = Client::connect(port).unwrap();
            let mut acknowledged = 0;
            while !is_over.load(Ordering::Relaxed) {
                let value = client.int(&["INCR", "n"]);
                acknowledged += 1;
                assert_eq!(value, acknowledged);
            }
            acknowledged
        });
        for _ in 0..2 {
            sleep(Duration::from_millis(50));
            client.ok(&["DEBUG", "RELOAD"]);
        }
        // The log knows nothing of these.
        assert_eq!(client.int(&["DBSIZE"]), 50_001);
        client.ok(&["DEBUG", "LOADAOF"]);
        is_over.store(true, Ordering::Relaxed);
        let acknowledged = writer.join().unwrap();
        assert_eq!(client.text(&["GET", "n"]), acknowledged.to_string());
    });
}

fn link_is_up(replica: &mut Client) -> bool {
    replica.info("master_link_status") == "up"
}

fn follows(primary: &Server) -> Setup {
    Setup::russet().set("replicaof", &["127.0.0.1", &primary.port().to_string()])
}

fn wait_for_offset(replica: &mut Client, primary: &mut Client) {
    wait_until("the replica to catch up", LIMIT, || {
        replica.info("master_repl_offset") == primary.info("master_repl_offset")
    });
}

#[test]
fn a_stream_that_says_replicaof_ends_no_replica() {
    let setup = Setup::russet().set("enable-debug-command", &["yes"]);
    let primary = setup.start();
    let replica = follows(&primary).start();
    let (mut theirs, mut ours) = (primary.client(), replica.client());
    wait_until("the first sync", LIMIT, || link_is_up(&mut ours));
    theirs.ok(&["DEBUG", "REPLICATE", "REPLICAOF", "NO", "ONE"]);
    theirs.ok(&["SET", "k", "v"]);
    wait_for_offset(&mut ours, &mut theirs);
    assert_eq!(ours.text(&["GET", "k"]), "v");
    assert!(link_is_up(&mut ours));
}

#[test]
fn a_primary_that_was_stopped_goes_on_from_its_aof() {
    let mut primary = Setup::russet().set("appendonly", &["yes"]).start();
    let replica = follows(&primary).start();
    let mut client = replica.client();
    wait_until("the first sync", LIMIT, || link_is_up(&mut client));
    primary.client().ok(&["SET", "k", "v"]);
    assert!(primary.stop().success());
    primary.start_again();
    wait_until("the link", LIMIT, || link_is_up(&mut client));
    let mut ours = primary.client();
    ours.ok(&["SET", "l", "w"]);
    wait_for_offset(&mut client, &mut ours);
    assert_eq!(ours.info("sync_full"), "0");
    assert_eq!(ours.info("sync_partial_ok"), "1");
    assert_eq!(ours.digest(), client.digest());
}

#[test]
fn a_replica_that_was_stopped_goes_on_from_its_aof() {
    let primary = Setup::russet().start();
    let mut replica = follows(&primary).set("appendonly", &["yes"]).start();
    let mut client = replica.client();
    wait_until("the first sync", LIMIT, || {
        link_is_up(&mut client) && client.info("aof_rewrite_in_progress") == "0"
    });
    let mut ours = primary.client();
    ours.ok(&["SET", "k", "v"]);
    wait_for_offset(&mut client, &mut ours);
    assert!(replica.stop().success());
    ours.ok(&["SET", "l", "w"]);
    replica.start_again();
    let mut client = replica.client();
    wait_until("the link", LIMIT, || link_is_up(&mut client));
    wait_for_offset(&mut client, &mut ours);
    assert_eq!(ours.info("sync_full"), "1");
    assert_eq!(ours.info("sync_partial_ok"), "1");
    assert_eq!(ours.digest(), client.digest());
}

#[test]
fn full_syncs_leave_no_file_where_none_is_wanted() {
    let without = |setup: Setup| {
        setup
            .set("rdb-del-sync-files", &["yes"])
            .set("repl-diskless-sync", &["no"])
            .set("repl-diskless-load", &["disabled"])
    };
    let primary_setup = without(Setup::russet());
    let primary = primary_setup.start();
    primary.client().ok(&["SET", "k", "v"]);
    let replica_setup = without(follows(&primary));
    let replica = replica_setup.start();
    let mut client = replica.client();
    wait_until("the sync", LIMIT, || link_is_up(&mut client));
    assert_eq!(client.text(&["GET", "k"]), "v");
    wait_until("the files to go", LIMIT, || {
        let gone = |setup: &Setup| !setup.dir().join("dump.rdb").exists();
        gone(&primary_setup) && gone(&replica_setup)
    });
    let log = primary_setup.log();
    assert!(
        log.contains("Removing the RDB file used to feed replicas"),
        "{log}"
    );
}

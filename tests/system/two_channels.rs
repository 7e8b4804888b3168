//! Full syncs while writes go on: the stream is read beside the data set, over a second connection
//! or behind the first one, and nothing of it is lost or applied twice.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use crate::support::{Client, Relay, Reply, Server, Setup, encode, wait_until};

const SOON: Duration = Duration::from_secs(30);

/// Writes until it is told to stop.
struct Writer {
    stop: Arc<AtomicBool>,
    thread: thread::JoinHandle<()>,
}

impl Writer {
    fn to(server: &Server, value_len: usize) -> Writer {
        let stop = Arc::new(AtomicBool::new(false));
        let (mut client, ended) = (server.client(), Arc::clone(&stop));
        let value = "w".repeat(value_len);
        let thread = thread::spawn(move || {
            for n in 0_u64.. {
                if ended.load(Ordering::Relaxed) {
                    return;
                }
                client.int(&["INCR", "writes"]);
                client.ok(&["SET", &format!("written:{}", n % 500), &value]);
            }
        });
        Writer { stop, thread }
    }

    fn stop(self) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap();
    }
}

fn primary(keys: usize) -> Server {
    let setup = Setup::russet()
        .set("repl-diskless-sync-delay", &["0"])
        .set("rdb-key-save-delay", &["200"]);
    let server = setup.start();
    let mut client = server.client();
    for n in 0..keys {
        client.ok(&["SET", &format!("key:{n}"), &"v".repeat(100)]);
    }
    server
}

fn follow(replica: &mut Client, port: u16) {
    replica.ok(&["REPLICAOF", "127.0.0.1", &port.to_string()]);
}

fn settles(primary: &mut Client, replica: &mut Client) {
    wait_until("the replica to have everything", SOON, || {
        replica.info("master_link_status") == "up"
            && primary.info("master_repl_offset") == replica.info("slave_repl_offset")
    });
    assert_eq!(primary.digest(), replica.digest());
}

/// Writes go on until the link is up.
fn settles_behind(writer: Writer, primary: &mut Client, replica: &mut Client) {
    wait_until("the link to be up", SOON, || {
        replica.info("master_link_status") == "up"
    });
    writer.stop();
    settles(primary, replica);
}

#[test]
fn writes_go_to_the_replica_while_its_data_set_does() {
    let server = primary(3000);
    let replica = Setup::russet().start();
    let (mut p, mut r) = (server.client(), replica.client());
    let writer = Writer::to(&server, 1000);
    follow(&mut r, server.port());
    wait_until("both connections to be at work", SOON, || {
        p.info("slave0").contains("state=send_bulk_and_stream")
    });
    assert!(
        p.text(&["CLIENT", "LIST", "TYPE", "REPLICA"])
            .contains("flags=SC")
    );
    assert_eq!(p.info("connected_slaves"), "1");
    wait_until("the stream to be held", SOON, || {
        r.info_number("replica_full_sync_buffer_size") > 0
    });
    settles_behind(writer, &mut p, &mut r);
    assert!(r.info_number("replica_full_sync_buffer_peak") > 0);
    assert_eq!(r.info("replica_full_sync_buffer_size"), "0");
    assert_eq!(p.info("sync_full"), "1");
    assert!(p.info("slave0").contains("state=online"));
}

#[test]
fn what_is_beyond_the_limit_waits_on_the_primary() {
    let server = primary(2000);
    let replica = Setup::russet()
        .set("replica-full-sync-buffer-limit", &["64kb"])
        .start();
    let (mut p, mut r) = (server.client(), replica.client());
    let writer = Writer::to(&server, 1000);
    follow(&mut r, server.port());
    wait_until("the limit to be reached", SOON, || {
        replica
            .log()
            .contains("Replication buffer limit has been reached")
    });
    settles_behind(writer, &mut p, &mut r);
    assert_eq!(p.info("sync_full"), "1");
}

#[test]
fn one_connection_is_read_on_while_the_file_is_loaded() {
    let server = primary(1000);
    let replica = Setup::russet()
        .set("repl-rdb-channel", &["no"])
        .set("key-load-delay", &["2000"])
        .start();
    let (mut p, mut r) = (server.client(), replica.client());
    let writer = Writer::to(&server, 1000);
    follow(&mut r, server.port());
    wait_until("the stream to be held", SOON, || {
        r.info("loading") == "1" && r.info_number("replica_full_sync_buffer_size") > 100_000
    });
    r.ok(&["CONFIG", "SET", "key-load-delay", "0"]);
    settles_behind(writer, &mut p, &mut r);
    assert_eq!(p.info("sync_full"), "1");
}

#[test]
fn a_link_that_breaks_while_the_file_is_loaded_costs_a_partial_resync() {
    let server = primary(1000);
    let relay = Relay::to(server.port());
    let replica = Setup::russet().set("key-load-delay", &["2000"]).start();
    let (mut p, mut r) = (server.client(), replica.client());
    follow(&mut r, relay.port());
    wait_until("the load to begin", SOON, || r.info("loading") == "1");
    p.ok(&["SET", "during", "the load"]);
    relay.cut();
    wait_until("the replica to notice", SOON, || {
        replica
            .log()
            .contains("After loading RDB, replica will try psync with master")
    });
    p.ok(&["SET", "behind", "the cut"]);
    r.ok(&["CONFIG", "SET", "key-load-delay", "0"]);
    settles(&mut p, &mut r);
    assert_eq!(p.info("sync_full"), "1");
    assert_eq!(p.info("sync_partial_ok"), "1");
}

#[test]
fn a_second_connection_that_breaks_begins_the_sync_anew() {
    let server = primary(3000);
    let replica = Setup::russet().start();
    let (mut p, mut r) = (server.client(), replica.client());
    follow(&mut r, server.port());
    wait_until("both connections to be at work", SOON, || {
        p.info("slave0").contains("state=send_bulk_and_stream")
    });
    let list = p.text(&["CLIENT", "LIST", "TYPE", "REPLICA"]);
    let side = list.lines().find(|l| l.contains("flags=SC")).unwrap();
    let id = side.split(' ').next().unwrap().trim_start_matches("id=");
    assert_eq!(p.int(&["CLIENT", "KILL", "ID", id]), 1);
    wait_until("a second sync", SOON, || p.info("sync_full") == "2");
    p.ok(&["CONFIG", "SET", "rdb-key-save-delay", "0"]);
    settles(&mut p, &mut r);
}

#[test]
fn a_replica_may_say_who_it_is_right_behind_its_password() {
    let server = Setup::russet().set("requirepass", &["secret"]).start();
    let mut client = Client::connect(server.port()).unwrap();
    let mut words = bytes::BytesMut::new();
    encode(&mut words, &["AUTH", "secret"]);
    let long = [
        "REPLCONF", "capa", "eof", "rdb-only", "1", "capa", "psync2", "rdb-only", "0", "capa",
        "eof",
    ];
    encode(&mut words, &long);
    client.send_bytes(&words).unwrap();
    for _ in 0..2 {
        let reply = client.receive().unwrap();
        assert_eq!(reply, Reply::SimpleString("OK".into()));
    }
}

/// Takes its data set, and then neither speaks nor hangs up.
#[test]
fn a_replica_that_never_acknowledges_its_data_set_is_given_up() {
    let setup = Setup::russet()
        .set("repl-diskless-sync-delay", &["0"])
        .set("repl-timeout", &["2"]);
    let server = setup.start();
    let mut p = server.client();
    p.ok(&["SET", "key", "value"]);
    let mut main = server.client();
    let capabilities = ["capa", "eof", "capa", "psync2", "capa", "rdb-channel-repl"];
    main.ok(&[&["REPLCONF"], &capabilities[..]].concat());
    main.send(&["PSYNC", "?", "-1"]).unwrap();
    let Reply::SimpleString(called) = main.receive().unwrap() else {
        panic!("no status");
    };
    let called = String::from_utf8(called).unwrap();
    let id = called.strip_prefix("RDBCHANNELSYNC ").unwrap();
    let mut side = server.client();
    side.ok(&[
        "REPLCONF",
        "capa",
        "eof",
        "rdb-only",
        "1",
        "rdb-channel",
        "1",
        "main-ch-client-id",
        id,
    ]);
    side.send(&["PSYNC", "?", "-1"]).unwrap();
    wait_until("the data set to be sent", SOON, || {
        server.log().contains("rdb only replica")
    });
    drop(side);
    wait_until("the replica to be given up", SOON, || {
        p.info("connected_slaves") == "0"
    });
    assert!(server.log().contains("Disconnecting timedout replica"));
}

/// What would work on data that are about to go is refused; what reads them is answered.
#[test]
fn reads_go_on_and_saves_do_not_while_a_data_set_is_loaded_beside_the_present_one() {
    let server = primary(1000);
    let replica = Setup::russet()
        .set("repl-diskless-load", &["swapdb"])
        .set("repl-timeout", &["5"])
        .start();
    let (mut p, mut r) = (server.client(), replica.client());
    p.ok(&["CONFIG", "SET", "rdb-key-save-delay", "0"]);
    follow(&mut r, server.port());
    wait_until("the link to be up", SOON, || {
        r.info("master_link_status") == "up"
    });
    settles(&mut p, &mut r);
    r.ok(&["CONFIG", "SET", "key-load-delay", "4000"]);
    // More than the backlog holds is written while the replica is away.
    r.send(&["DEBUG", "SLEEP", "1"]).unwrap();
    thread::sleep(Duration::from_millis(200));
    assert_eq!(p.int(&["CLIENT", "KILL", "TYPE", "REPLICA"]), 1);
    for n in 0..40 {
        p.ok(&["SET", &format!("big:{n}"), &"w".repeat(100_000)]);
    }
    r.receive().unwrap();
    wait_until("the load to begin", SOON, || r.info("async_loading") == "1");
    assert_eq!(r.text(&["GET", "key:1"]), "v".repeat(100));
    for refused in ["SAVE", "BGSAVE", "BGREWRITEAOF"] {
        let error = r.error(&[refused]);
        assert!(error.starts_with("LOADING "), "{refused}: {error}");
    }
    let promoted = r.error(&["REPLICAOF", "NO", "ONE"]);
    assert!(promoted.starts_with("LOADING "), "{promoted}");
    assert_eq!(r.info("async_loading"), "1");
    r.ok(&["CONFIG", "SET", "key-load-delay", "0"]);
    settles(&mut p, &mut r);
    r.ok(&["SAVE"]);
}

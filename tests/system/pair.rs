//! A primary and its replica, started from conf/, through what a person does with them.

use crate::support::{Client, Relay, Reply, Server, Setup, wait_until};
use std::time::Duration;

const SOON: Duration = Duration::from_secs(20);

/// The session of a web application: a token with five fields and a lifetime.
const TOKEN: &str = "access:6fJ0vT2";
const FIELDS: [&str; 10] = [
    "user",
    "alice",
    "scope",
    "read write",
    "issued",
    "1767225600",
    "client",
    "web",
    "address",
    "203.0.113.7",
];

pub struct Pair {
    pub primary: Server,
    pub replica: Server,
    pub link: Relay,
}

impl Pair {
    pub fn start() -> Self {
        let primary_setup = Setup::russet()
            .config("conf/primary.conf")
            .set("repl-diskless-sync-delay", &["0"])
            .set("enable-debug-command", &["yes"]);
        let link = Relay::to(primary_setup.port());
        let replica_setup = Setup::russet()
            .config("conf/replica.conf")
            .set("replicaof", &["127.0.0.1", &link.port().to_string()])
            .set("enable-debug-command", &["yes"]);
        let primary = primary_setup.start();
        let replica = replica_setup.start();
        let pair = Self {
            primary,
            replica,
            link,
        };
        pair.wait_for_link();
        pair
    }

    pub fn wait_for_link(&self) {
        let mut replica = self.replica.client();
        wait_until("the replica's link", SOON, || {
            replica.info("master_link_status") == "up"
        });
    }

    /// Waits until the replica has all that the primary has written.
    pub fn wait_for_equal_offsets(&self) {
        wait_for_equal_offsets(&mut self.primary.client(), &mut self.replica.client());
    }
}

pub fn wait_for_equal_offsets(primary: &mut Client, replica: &mut Client) {
    wait_until("the replica to catch up", SOON, || {
        replica.info("master_link_status") == "up"
            && primary.info("master_repl_offset") == replica.info("master_repl_offset")
    });
}

fn store_token(primary: &mut Client, lifetime_ms: &str) {
    let request: Vec<&str> = ["HSET", TOKEN].into_iter().chain(FIELDS).collect();
    assert_eq!(primary.int(&request), 5);
    assert_eq!(primary.int(&["PEXPIRE", TOKEN, lifetime_ms]), 1);
}

/// Reads as a client does that prefers the replica and falls back to the primary.
fn read_user(replica: &mut Client, primary: &mut Client) -> Reply {
    match replica.call(&["HGET", TOKEN, "user"]) {
        Reply::Null => primary.call(&["HGET", TOKEN, "user"]),
        found => found,
    }
}

#[test]
fn a_session_token_lives_on_both_servers_and_expires_on_both() {
    let pair = Pair::start();
    let (mut primary, mut replica) = (pair.primary.client(), pair.replica.client());
    store_token(&mut primary, "1500");
    assert_eq!(
        read_user(&mut replica, &mut primary),
        Reply::BulkString(b"alice".to_vec())
    );
    pair.wait_for_equal_offsets();
    let Reply::Array(stored) = replica.call(&["HGETALL", TOKEN]) else {
        panic!("no fields")
    };
    assert_eq!(stored.len(), FIELDS.len());
    let left_ms = replica.int(&["PTTL", TOKEN]);
    assert!((1..=1500).contains(&left_ms), "{left_ms}");

    wait_until("the token to expire on the replica", SOON, || {
        replica.int(&["EXISTS", TOKEN]) == 0
    });
    assert_eq!(primary.int(&["EXISTS", TOKEN]), 0);
    assert_eq!(read_user(&mut replica, &mut primary), Reply::Null);
    assert_eq!(replica.int(&["PTTL", TOKEN]), -2);
    wait_until("the replica to drop the key", SOON, || {
        replica.int(&["DBSIZE"]) == 0
    });
}

#[test]
fn a_replica_refuses_writes() {
    let pair = Pair::start();
    let refusal = pair.replica.client().error(&["SET", "key", "value"]);
    assert_eq!(
        refusal,
        "READONLY You can't write against a read only replica."
    );
}

#[test]
fn a_cut_link_is_mended_by_a_partial_resync() {
    let pair = Pair::start();
    let mut primary = pair.primary.client();
    for round in 0..5 {
        pair.link.cut();
        primary.ok(&["SET", "round", &round.to_string()]);
        pair.wait_for_equal_offsets();
    }
    assert_eq!(pair.replica.client().text(&["GET", "round"]), "4");
    assert_eq!(primary.info_number("sync_full"), 1);
    assert!(primary.info_number("sync_partial_ok") >= 1);
}

#[test]
fn a_restarted_replica_goes_on_with_a_partial_resync() {
    let mut pair = Pair::start();
    let mut primary = pair.primary.client();
    // A snapshot carries the replication id and offset that the replica needs to go on.
    pair.replica
        .client()
        .ok(&["CONFIG", "SET", "appendonly", "no"]);
    primary.ok(&["SET", "before", "1"]);
    pair.wait_for_equal_offsets();
    assert!(pair.replica.stop().success());
    primary.ok(&["SET", "meanwhile", "2"]);
    pair.replica.set_for_restart("appendonly", &["no"]);
    pair.replica.start_again();
    pair.wait_for_equal_offsets();
    assert_eq!(pair.replica.client().text(&["GET", "before"]), "1");
    assert_eq!(pair.replica.client().text(&["GET", "meanwhile"]), "2");
    assert_eq!(primary.info_number("sync_full"), 1);
}

#[test]
fn a_restarted_primary_has_its_data_and_its_replica_back() {
    let mut pair = Pair::start();
    let mut primary = pair.primary.client();
    store_token(&mut primary, "600000");
    pair.wait_for_equal_offsets();
    assert!(pair.primary.stop().success());
    pair.primary.start_again();
    let mut primary = pair.primary.client();
    assert_eq!(primary.int(&["HLEN", TOKEN]), 5);
    primary.ok(&["SET", "after", "1"]);
    pair.wait_for_equal_offsets();
    assert_eq!(pair.replica.client().text(&["GET", "after"]), "1");
    assert_eq!(primary.digest(), pair.replica.client().digest());
}

#[test]
fn a_promoted_replica_takes_writes_and_its_sibling_follows_partially() {
    let pair = Pair::start();
    let port = pair.link.port().to_string();
    let sibling = Setup::russet()
        .set("replicaof", &["127.0.0.1", &port])
        .start();
    let (mut primary, mut promoted) = (pair.primary.client(), pair.replica.client());
    let mut sibling = sibling.client();
    primary.ok(&["SET", "old", "1"]);
    pair.wait_for_equal_offsets();
    wait_for_equal_offsets(&mut primary, &mut sibling);

    promoted.ok(&["REPLICAOF", "NO", "ONE"]);
    promoted.ok(&["SET", "new", "2"]);
    sibling.ok(&["REPLICAOF", "127.0.0.1", &pair.replica.port().to_string()]);
    wait_for_equal_offsets(&mut promoted, &mut sibling);
    assert_eq!(sibling.text(&["GET", "old"]), "1");
    assert_eq!(sibling.text(&["GET", "new"]), "2");
    assert_eq!(promoted.info_number("sync_full"), 0);
    assert_eq!(promoted.info_number("sync_partial_ok"), 1);
}

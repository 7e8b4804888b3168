//! Eviction as clients and replicas see it. The tests' host says how often too much memory is used;
//! [`KEYS_PER_LOOK`] keys go each time.

use super::KEYS_PER_LOOK;
use crate::command::testing::TestServer;

const OOM: &str = "-OOM command not allowed when used memory > 'maxmemory'.";

fn server(policy: &str) -> TestServer {
    TestServer::with(&[
        "--maxmemory",
        "1mb",
        "--maxmemory-policy",
        policy,
        "--maxmemory-eviction-tenacity",
        "100",
        "--notify-keyspace-events",
        "KEA",
    ])
}

fn fill(t: &mut TestServer, prefix: &str, count: usize, options: &str) {
    for n in 0..count {
        t.run(&format!("SET {prefix}:{n} v{options}"));
    }
}

/// The keys that go when memory is short for so many looks, in their order. What is found short is
/// looked at twice.
fn evicted(t: &mut TestServer, looks: u64) -> Vec<String> {
    t.effects();
    t.events();
    t.be_short_of_memory(2 * looks);
    t.run("PING");
    let effects = t.effects();
    let keys: Vec<String> = effects
        .iter()
        .map(|e| e.strip_prefix("DEL ").unwrap().to_owned())
        .collect();
    let events: Vec<String> = keys.iter().map(|k| format!("0 evicted {k}")).collect();
    assert_eq!(t.events(), events);
    keys
}

#[test]
fn the_least_recently_used_go_first_and_are_deleted_in_the_log() {
    let mut t = server("allkeys-lru");
    fill(&mut t, "old", 400, "");
    t.advance(100_000);
    fill(&mut t, "new", 400, "");
    let gone = evicted(&mut t, 8);
    assert_eq!(gone.len(), 8 * KEYS_PER_LOOK);
    let old = gone.iter().filter(|key| key.starts_with("old")).count();
    assert!(old > gone.len() * 8 / 10, "{old}");
    assert_eq!(t.run("DBSIZE"), format!(":{}", 800 - gone.len()));
    assert!(
        gone.iter()
            .all(|key| t.run(&format!("EXISTS {key}")) == ":0")
    );
}

#[test]
fn the_least_frequently_used_go_first() {
    let mut t = server("allkeys-lfu");
    fill(&mut t, "rare", 200, "");
    fill(&mut t, "often", 200, "");
    for n in 0..200 {
        for _ in 0..30 {
            t.run(&format!("GET often:{n}"));
        }
    }
    let counter = t.reply("OBJECT FREQ often:1").int();
    assert!(counter > t.reply("OBJECT FREQ rare:1").int());
    assert!(t.run("OBJECT IDLETIME often:1").starts_with("-ERR An LFU"));
    let gone = evicted(&mut t, 5);
    let rare = gone.iter().filter(|key| key.starts_with("rare")).count();
    assert!(rare > gone.len() * 8 / 10, "{rare}");
}

#[test]
fn a_volatile_policy_spares_keys_without_an_expiry() {
    for policy in [
        "volatile-lru",
        "volatile-lfu",
        "volatile-random",
        "volatile-ttl",
    ] {
        let mut t = server(policy);
        fill(&mut t, "stay", 100, "");
        fill(&mut t, "soon", 100, " EX 100");
        fill(&mut t, "late", 100, " EX 100000");
        let gone = evicted(&mut t, 3);
        assert!(gone.iter().all(|key| !key.starts_with("stay")), "{policy}");
        let soon = gone.iter().filter(|key| key.starts_with("soon")).count();
        if policy == "volatile-ttl" {
            assert!(soon > gone.len() * 8 / 10, "{soon}");
        }
        let rest = evicted(&mut t, 100);
        assert_eq!(gone.len() + rest.len(), 200, "{policy}");
        assert_eq!(t.run("SET k v"), OOM, "{policy}");
        t.be_short_of_memory(0);
        assert_eq!(t.run("SET k v"), "+OK", "{policy}");
    }
}

#[test]
fn without_eviction_commands_that_need_memory_are_refused() {
    let mut t = server("noeviction");
    t.run("SET k v");
    t.be_short_of_memory(1000);
    t.expect(&[
        ("SET k w", OOM),
        ("GET k", "\"v\""),
        ("DEL k", ":1"),
        ("MULTI", "+OK"),
        ("SET k w", OOM),
    ]);
    assert!(t.run("EXEC").starts_with("-EXECABORT"));
    t.be_short_of_memory(0);
    assert_eq!(t.run("SET k w"), "+OK");
}

#[test]
fn a_replica_leaves_the_limit_to_its_primary() {
    let mut t = server("allkeys-random");
    fill(&mut t, "k", 50, "");
    t.set_replica(true);
    t.be_short_of_memory(10);
    t.run("PING");
    assert_eq!(t.run("DBSIZE"), ":50");
    t.set_replica(false);
    t.run("PING");
    assert_ne!(t.run("DBSIZE"), ":50");
}

#[test]
fn any_key_may_go_and_frequencies_are_restored() {
    let mut t = server("allkeys-random");
    fill(&mut t, "k", 50, "");
    assert_eq!(evicted(&mut t, 2).len(), 2 * KEYS_PER_LOOK);
    assert!(t.run("OBJECT FREQ k:1").starts_with("-ERR An LFU") || t.run("EXISTS k:1") == ":0");
    let mut t = server("allkeys-lfu");
    t.run("RESTORE r 0 dump:x FREQ 100");
    assert_eq!(t.run("OBJECT FREQ r"), ":100");
}

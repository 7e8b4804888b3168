//! `kill -9` under load, again and again over the same data, and what has to be there afterwards.
//!
//! Every writer counts a key of its own upwards and notes each acknowledgement. After the restart
//! a key must stand at a count between the last acknowledged and the last sent one.

use crate::aof::{last_file, units};
use crate::support::{Client, Dice, Reply, Setup, encode, rounds};
use bytes::BytesMut;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

const WRITERS: usize = 4;

/// What one writer has sent, and what was acknowledged and when.
#[derive(Default)]
struct Counts {
    sent: AtomicI64,
    acknowledged: AtomicI64,
    /// The last count acknowledged more than a second before the kill.
    settled: AtomicI64,
}

fn start(setup: &Setup, counts: &[Arc<Counts>], run: Duration) {
    let server = setup.start();
    let mut writers = Vec::new();
    for (number, counts) in counts.iter().enumerate() {
        let (mut client, counts) = (server.client(), Arc::clone(counts));
        writers.push(thread::spawn(move || {
            count_up(&mut client, number, &counts, run)
        }));
    }
    thread::sleep(run);
    server.kill();
    for writer in writers {
        writer.join().unwrap();
    }
}

/// Counts until the connection breaks, now and then in a transaction with a second key.
fn count_up(client: &mut Client, number: usize, counts: &Counts, run: Duration) {
    let (key, twin) = (format!("count:{number}"), format!("twin:{number}"));
    let settles = Instant::now() + run.saturating_sub(Duration::from_millis(1000));
    loop {
        let next = counts.sent.load(Ordering::Relaxed) + 1;
        counts.sent.store(next, Ordering::Relaxed);
        let value = next.to_string();
        let done = if next % 10 == 0 {
            let _ = client.send(&["MULTI"]);
            let _ = client.send(&["SET", &key, &value]);
            let _ = client.send(&["SET", &twin, &value]);
            let queued = (0..3).all(|_| client.receive().is_ok());
            queued && client.try_call(&["EXEC"]).is_ok()
        } else {
            client.try_call(&["SET", &key, &value]).is_ok()
        };
        if !done {
            return;
        }
        counts.acknowledged.store(next, Ordering::Relaxed);
        if Instant::now() < settles {
            counts.settled.store(next, Ordering::Relaxed);
        }
    }
}

fn count_of(client: &mut Client, key: &str) -> i64 {
    let text = client.call(&["GET", key]);
    match text {
        crate::support::Reply::BulkString(text) => {
            String::from_utf8(text).unwrap().parse().unwrap()
        }
        crate::support::Reply::Null => 0,
        other => panic!("{key} is {other:?}"),
    }
}

/// The highest count of each key among the whole units that the file holds.
fn counts_on_disk(setup: &Setup) -> HashMap<String, i64> {
    let bytes = std::fs::read(last_file(setup.dir())).unwrap();
    let mut counts = HashMap::new();
    for command in units(&bytes).iter().flat_map(|unit| &unit.commands) {
        if command[0].eq_ignore_ascii_case(b"SET") {
            let value = String::from_utf8_lossy(&command[2]).parse().unwrap();
            counts.insert(String::from_utf8_lossy(&command[1]).into_owned(), value);
        }
    }
    counts
}

fn setup(policy: &str, rewrite_at_percent: &str) -> Setup {
    Setup::russet()
        .set("appendonly", &["yes"])
        .set("appendfsync", &[policy])
        .set("auto-aof-rewrite-percentage", &[rewrite_at_percent])
        .set("auto-aof-rewrite-min-size", &["200kb"])
}

fn new_counts() -> Vec<Arc<Counts>> {
    (0..WRITERS).map(|_| Arc::new(Counts::default())).collect()
}

#[test]
fn always_loses_no_acknowledged_write() {
    // Rewrites happen all the time, so that the kill hits them too.
    let setup = setup("always", "100");
    let mut dice = Dice::new(7);
    let counts = new_counts();
    for round in 0..rounds("RUSSET_KILL_ROUNDS", 40) {
        start(&setup, &counts, Duration::from_millis(20 + dice.below(150)));
        let server = setup.start();
        let mut client = server.client();
        for (number, counts) in counts.iter().enumerate() {
            let found = count_of(&mut client, &format!("count:{number}"));
            let acknowledged = counts.acknowledged.load(Ordering::Relaxed);
            let sent = counts.sent.load(Ordering::Relaxed);
            assert!(
                (acknowledged..=sent).contains(&found),
                "round {round}, writer {number}: {found} of {acknowledged} to {sent}"
            );
            // A transaction is there whole or not at all.
            let twin = count_of(&mut client, &format!("twin:{number}"));
            assert_eq!(twin, found - found % 10, "round {round}, writer {number}");
            counts.sent.store(found, Ordering::Relaxed);
        }
        server.kill();
    }
}

#[test]
fn everysec_loses_nothing_that_was_written_to_the_file() {
    let mut dice = Dice::new(8);
    let (mut setup_now, mut counts) = (setup("everysec", "0"), new_counts());
    for round in 0..rounds("RUSSET_KILL_ROUNDS", 40) {
        if round % 25 == 24 {
            (setup_now, counts) = (setup("everysec", "0"), new_counts());
        }
        // Now and then long enough for a second to pass between a write and the kill.
        let run = if round % 10 == 0 {
            1500
        } else {
            20 + dice.below(150)
        };
        start(&setup_now, &counts, Duration::from_millis(run));
        let on_disk = counts_on_disk(&setup_now);
        let server = setup_now.start();
        let mut client = server.client();
        for (number, counts) in counts.iter().enumerate() {
            let key = format!("count:{number}");
            let found = count_of(&mut client, &key);
            let written = on_disk.get(&key).copied().unwrap_or(0);
            assert_eq!(found, written, "round {round}, writer {number}");
            let settled = counts.settled.load(Ordering::Relaxed);
            let sent = counts.sent.load(Ordering::Relaxed);
            assert!(
                (settled..=sent).contains(&found),
                "round {round}, writer {number}: {found} of {settled} to {sent}"
            );
            counts.sent.store(found, Ordering::Relaxed);
            counts.acknowledged.store(found, Ordering::Relaxed);
            counts.settled.store(found, Ordering::Relaxed);
        }
        server.kill();
    }
}

#[test]
fn under_always_no_reply_goes_out_before_its_write_is_on_disk() {
    let server = Setup::russet()
        .set("appendonly", &["yes"])
        .set("appendfsync", &["always"])
        .set("enable-debug-command", &["yes"])
        .start();
    let mut client = server.client();
    client.ok(&["SET", "large", &"x".repeat(4000)]);
    let slow = Duration::from_millis(300);
    client.ok(&["DEBUG", "AOF-FLUSH-SLEEP", &slow.as_micros().to_string()]);
    // Enough replies behind it that they do not wait for each other.
    let mut pipeline = BytesMut::new();
    encode(&mut pipeline, &["SET", "small", "1"]);
    for _ in 0..300 {
        encode(&mut pipeline, &["GET", "large"]);
    }
    let begun = Instant::now();
    client.send_bytes(&pipeline).unwrap();
    assert_eq!(
        client.receive().unwrap(),
        Reply::SimpleString(b"OK".to_vec())
    );
    assert!(begun.elapsed() >= slow);
}

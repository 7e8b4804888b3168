//! A snapshot holds the data of its instant exactly, whatever is written while it is taken.
//!
//! Writers are paused while the digest of the data is told and the snapshot begins. It is slowed
//! down, and several clients change values of all types meanwhile: large ones, too, whose pages
//! the snapshot holds while they are written.

use crate::interop::write_some;
use crate::support::{Client, Server, Setup, rounds, wait_until};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

const SOON: Duration = Duration::from_secs(60);
const WRITERS: u64 = 3;

/// Under these most values are large.
fn with_small_thresholds(setup: Setup) -> Setup {
    [
        ("hash-max-listpack-entries", "4"),
        ("zset-max-listpack-entries", "4"),
        ("set-max-listpack-entries", "4"),
        ("set-max-intset-entries", "4"),
        ("list-max-listpack-size", "3"),
        ("list-compress-depth", "1"),
        ("stream-node-max-entries", "4"),
        ("hll-sparse-max-bytes", "100"),
    ]
    .into_iter()
    .fold(setup, |setup, (directive, value)| {
        setup.set(directive, &[value])
    })
}

/// Values of which each is many pages.
fn fill(client: &mut Client) {
    for part in 0..100 {
        let texts = (0..200).map(|n| format!("{}", part * 200 + n));
        let texts: Vec<String> = texts.collect();
        for (command, key, parts) in [
            ("RPUSH", "list", 1),
            ("SADD", "set", 1),
            ("ZADD", "zset", 2),
            ("HSET", "hash", 2),
        ] {
            let mut request = vec![command, key];
            for text in &texts {
                request.extend(std::iter::repeat_n(text.as_str(), parts));
            }
            client.int(&request);
        }
        client.text(&["XADD", "stream", "*", "field", &texts[0]]);
        client.int(&["SETRANGE", "string", &texts[0], "text"]);
    }
}

/// Changes the large values here and there.
fn change(client: &mut Client, n: u64) {
    let at = (n * 7919 % 20_000).to_string();
    for request in [
        &["LSET", "list", &at, "changed"][..],
        &["RPOPLPUSH", "list", "list"],
        &["SREM", "set", &at],
        &["SADD", "set", "more", &at],
        &["ZINCRBY", "zset", "0.5", &at],
        &["ZREM", "zset", "1", &at],
        &["HINCRBY", "hash", &at, "1"],
        &["HPEXPIREAT", "hash", "4102444800000", "FIELDS", "1", &at],
        &["HDEL", "hash", "2", &at],
        &["XADD", "stream", "MAXLEN", "90", "*", "field", &at],
        &["SETRANGE", "string", &at, "changed"],
    ] {
        client.call(request);
    }
}

struct Writers {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<u64>>,
}

impl Writers {
    fn on(server: &Server, round: u64) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let threads = (0..WRITERS).map(|writer| {
            let (told, mut client) = (Arc::clone(&stop), server.client());
            thread::spawn(move || {
                let mut writes = round * 1000 + writer;
                while !told.load(Ordering::Relaxed) {
                    write_some(&mut client, writes, 50);
                    change(&mut client, writes);
                    writes += WRITERS;
                }
                writes
            })
        });
        Self {
            threads: threads.collect(),
            stop,
        }
    }

    fn stop(self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads {
            thread.join().unwrap();
        }
    }
}

#[test]
fn a_snapshot_is_exact_while_values_of_all_types_are_written() {
    let setup = with_small_thresholds(Setup::russet()).set("save", &[""]);
    let server = setup.start();
    let mut client = server.client();
    fill(&mut client);
    write_some(&mut client, 1, 20_000);
    client.ok(&["CONFIG", "SET", "rdb-key-save-delay", "300"]);
    for round in 1..=rounds("RUSSET_SNAPSHOT_ROUNDS", 5) as u64 {
        let writers = Writers::on(&server, round);
        thread::sleep(Duration::from_millis(50));
        client.ok(&["CLIENT", "PAUSE", "60000", "WRITE"]);
        let digest = client.digest();
        client.text(&["BGSAVE"]);
        client.ok(&["CLIENT", "UNPAUSE"]);
        wait_until("the snapshot", SOON, || {
            client.info_number("rdb_saves") == round
        });
        assert_eq!(client.info("rdb_last_bgsave_status"), "ok");
        writers.stop();
        assert_ne!(client.digest(), digest, "something was written");
        let other = with_small_thresholds(Setup::russet())
            .data_of(&setup)
            .start();
        assert_eq!(other.client().digest(), digest, "round {round}");
    }
}

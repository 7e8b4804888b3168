//! Commands that store what they make of large sets and sorted sets: everybody comes to the same
//! result, and nobody is held up meanwhile.

use crate::pair::Pair;
use crate::support::{Client, Reply, Setup, encode, wait_until};
use bytes::BytesMut;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

const SOON: Duration = Duration::from_secs(60);
const MEMBERS: usize = 40_000;
/// Elements of the two halves that the sets have in common.
const SHARED: usize = MEMBERS / 2;

/// What is stored at `d`, and how many elements that is.
const COMMANDS: [(&str, usize); 11] = [
    ("SUNIONSTORE d s1 s2", MEMBERS + SHARED),
    ("SINTERSTORE d s1 s2", SHARED),
    ("SDIFFSTORE d s1 s2", SHARED),
    ("ZUNIONSTORE d 2 z1 z2 WEIGHTS 2 0.3", MEMBERS + SHARED),
    ("ZUNIONSTORE d 3 z1 s1 z2 AGGREGATE MIN", MEMBERS + SHARED),
    ("ZINTERSTORE d 2 z1 z2", SHARED),
    ("ZDIFFSTORE d 2 z1 z2", SHARED),
    ("ZDIFFSTORE d 2 z1 z1", 0),
    ("ZRANGESTORE d z1 100 -1 REV", MEMBERS - 100),
    ("ZRANGESTORE d z1 -inf +inf BYSCORE LIMIT 5 30000", 30_000),
    (
        "GEOSEARCHSTORE d g FROMLONLAT 1 1 BYBOX 9000 9000 km STOREDIST",
        MEMBERS,
    ),
];

fn words(line: &str) -> Vec<&str> {
    line.split(' ').collect()
}

/// Two sets `s1` and `s2`, two sorted sets `z1` and `z2`, and places `g`.
fn fill(client: &mut Client, members: usize) {
    let mut pipeline = BytesMut::new();
    let mut requests = 0;
    for first in (0..members).step_by(500) {
        for (key, from) in [("s1", 0), ("s2", members / 2)] {
            let mut request = vec!["SADD".to_owned(), key.to_owned()];
            request.extend((first..first + 500).map(|i| format!("member:{}", i + from)));
            encode(&mut pipeline, &request);
        }
        for (key, from) in [("z1", 0), ("z2", members / 2)] {
            let mut request = vec!["ZADD".to_owned(), key.to_owned()];
            for i in first..first + 500 {
                let score = ((i * 7919) % members) as f64 / 3.0;
                request.extend([score.to_string(), format!("member:{}", i + from)]);
            }
            encode(&mut pipeline, &request);
        }
        let mut request = vec!["GEOADD".to_owned(), "g".to_owned()];
        for i in first..first + 500 {
            let place = i as f64 * 2.0 / members as f64;
            request.extend([
                place.to_string(),
                (2.0 - place).to_string(),
                format!("p{i}"),
            ]);
        }
        encode(&mut pipeline, &request);
        requests += 5;
    }
    client.send_bytes(&pipeline).unwrap();
    for _ in 0..requests {
        assert!(matches!(client.receive().unwrap(), Reply::Integer(_)));
    }
}

/// A pair whose primary keeps an append-only file, with something to make results of.
fn filled_pair() -> (Pair, Client) {
    let pair = Pair::start();
    let mut client = pair.primary.client();
    client.ok(&["CONFIG", "SET", "appendonly", "yes"]);
    fill(&mut client, MEMBERS);
    (pair, client)
}

/// Checks that the replica has what the primary has, and that the log makes the same again.
fn same_everywhere(pair: &Pair, client: &mut Client) {
    let digest = client.digest();
    pair.wait_for_equal_offsets();
    assert_eq!(pair.replica.client().digest(), digest);
    client.ok(&["DEBUG", "LOADAOF"]);
    assert_eq!(client.digest(), digest);
}

fn digest_of(client: &mut Client, key: &str) -> Reply {
    client.call(&["DEBUG", "DIGEST-VALUE", key])
}

#[test]
fn a_large_result_is_the_same_in_a_transaction_on_a_replica_and_after_a_replay() {
    let (pair, mut client) = filled_pair();
    for (command, len) in COMMANDS {
        let mut pipeline = BytesMut::new();
        for line in ["SET d x EX 1000", command, "EXISTS d", "TTL d", "ECHO end"] {
            encode(&mut pipeline, &words(line));
        }
        client.send_bytes(&pipeline).unwrap();
        let mut next = || client.receive().unwrap();
        assert_eq!(next(), Reply::SimpleString(b"OK".to_vec()));
        assert_eq!(next(), Reply::Integer(len as i64), "{command}");
        assert_eq!(next(), Reply::Integer(i64::from(len > 0)));
        assert_eq!(next(), Reply::Integer(if len > 0 { -1 } else { -2 }));
        assert_eq!(next(), Reply::BulkString(b"end".to_vec()));
        let beside = digest_of(&mut client, "d");
        pair.wait_for_equal_offsets();
        assert_eq!(
            digest_of(&mut pair.replica.client(), "d"),
            beside,
            "{command}"
        );
        client.ok(&["MULTI"]);
        assert_eq!(client.text(&words(command)), "QUEUED");
        let within = client.call(&["EXEC"]);
        assert_eq!(within, Reply::Array(vec![Reply::Integer(len as i64)]));
        assert_eq!(digest_of(&mut client, "d"), beside, "{command}");
        let copy = command.replacen(" d ", &format!(" kept:{len}:{} ", command.len()), 1);
        assert_eq!(client.int(&words(&copy)), len as i64);
    }
    same_everywhere(&pair, &mut client);
}

#[test]
fn what_changes_while_a_result_is_made_leaves_no_difference_on_a_replica_or_in_the_log() {
    let (pair, mut client) = filled_pair();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let changes = scope.spawn(|| {
            let mut client = pair.primary.client();
            let mut rounds = 0;
            while !done.load(Ordering::Relaxed) {
                let (old, new) = (format!("member:{rounds}"), format!("new:{rounds}"));
                client.int(&["SREM", "s2", &old]);
                client.int(&["SADD", "s1", &new]);
                client.int(&["ZADD", "z1", &rounds.to_string(), &new]);
                client.int(&["ZREM", "z2", &old]);
                client.int(&["GEOADD", "g", "1.5", "1.5", &old]);
                rounds += 1;
                std::thread::sleep(Duration::from_millis(1));
            }
            rounds
        });
        for round in 0..3 {
            for (i, (command, _)) in COMMANDS.iter().enumerate() {
                let own = command.replacen(" d ", &format!(" d{round}:{i} "), 1);
                client.int(&words(&own));
            }
            // What is read is written as well.
            client.int(&words("SUNIONSTORE s2 s1 s2"));
            client.int(&words("ZUNIONSTORE z1 2 z1 z2 AGGREGATE MAX"));
        }
        done.store(true, Ordering::Relaxed);
        assert!(changes.join().unwrap() > 0);
    });
    same_everywhere(&pair, &mut client);
}

#[test]
fn what_is_read_can_be_read_and_written_while_a_result_is_made() {
    let server = Setup::russet().start();
    let (mut client, mut other) = (server.client(), server.client());
    fill(&mut client, 100_000);
    for command in [
        "SUNIONSTORE z1 s1 s2",
        "SDIFFSTORE z2 s1 s2",
        "ZUNIONSTORE d 2 s1 s2",
        "ZINTERSTORE d 2 s1 s2",
        "GEOSEARCHSTORE d g FROMLONLAT 1 1 BYBOX 9000 9000 km",
    ] {
        let read = if command.starts_with("GEO") {
            "g"
        } else {
            "s2"
        };
        let write = if read == "g" {
            ["GEOADD", "g", "1", "1", "new"].to_vec()
        } else {
            ["SADD", read, "new"].to_vec()
        };
        wait_until("somebody to be served meanwhile", SOON, || {
            client.send(&words(command)).unwrap();
            let before = is_busy(&mut other);
            other.int(&["EXISTS", read]);
            other.int(&write);
            let during = before && is_busy(&mut other);
            assert!(matches!(client.receive().unwrap(), Reply::Integer(1..)));
            during
        });
    }
}

/// Whether the result is not there yet.
fn is_busy(control: &mut Client) -> bool {
    control.info("blocked_clients") == "1"
}

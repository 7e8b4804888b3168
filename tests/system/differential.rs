//! The same random commands to Russet and to Debian's redis-server, replies compared byte by byte.
//!
//! Commands go in pipelines, some of them in transactions; now and then clients block, and are
//! served by another ([`blocking`]). Replies whose order is not defined are compared as what they
//! hold. Every so often both servers must hold the same data, by `DEBUG DIGEST`, and must load
//! what the other dumps. Seeds take turns at the thresholds at which values change their form. A
//! difference names the seed and the command; a seed that once showed a fault stays in [`SEEDS`].
//!
//! `RUSSET_DIFFERENTIAL_PEER` names another program to compare with. With one of Redis 8, hash
//! fields that expire and the like are compared as well. `RUSSET_DIFFERENTIAL_LOG` names a file
//! that takes the requests of a run that failed, as they were sent.
//!
//! Differences from Redis 7.0 that are meant, because Redis 8 differs in the same way:
//! - Reading and claiming for a consumer makes the consumer even if there is nothing for it. Here
//!   every consumer is made beforehand.
//! - Lists and sets have a packed form while they are small: no encoding is asked of them.
//! - Doubles are written with as few digits as tell them apart: what is written is read as a double
//!   in the replies about sorted sets.
//! - A zero in a sorted set's listpack has no sign: no weight is negative.

mod blocking;
mod replies;

use crate::support::{Client, Dice, Reply, Server, Setup, encode, rounds};
use crate::workload::{
    Family, Request, all_and_doubles, all_keys, all_of_redis_8, command, is_unordered,
};
use bytes::BytesMut;
use replies::{Protocol, contents};

/// Seeds that are run unless `RUSSET_DIFFERENTIAL_SEED` names one.
const SEEDS: &[u64] = &[1, 2, 3, 4];
/// Commands after which the data are compared.
const ROUND: usize = 5000;
/// Commands that are sent at once.
const PIPELINE: usize = 32;

/// Directives under which values change their form, with small values and with large ones.
const THRESHOLDS: [&[&str]; 3] = [
    &[],
    &[
        "hash-max-listpack-entries",
        "8",
        "hash-max-listpack-value",
        "40",
        "zset-max-listpack-entries",
        "6",
        "set-max-intset-entries",
        "5",
        "list-max-listpack-size",
        "4",
        "list-compress-depth",
        "1",
        "stream-node-max-entries",
        "5",
        "hll-sparse-max-bytes",
        "40",
    ],
    &[
        "hash-max-listpack-entries",
        "16",
        "zset-max-listpack-entries",
        "16",
        "zset-max-listpack-value",
        "8",
        "list-max-listpack-size",
        "-1",
        "stream-node-max-bytes",
        "300",
    ],
];

/// Clients of one of the servers.
struct Side {
    main: Client,
    control: Client,
    /// Clients that block.
    blocked: Vec<Client>,
}

impl Side {
    fn of(server: &Server, protocol: Protocol, thresholds: &[&str]) -> Self {
        let mut control = server.client();
        control.ok(&["FLUSHALL"]);
        for words in THRESHOLDS.iter().flat_map(|all| all.chunks(2)) {
            let default = defaults(words[0]);
            control.ok(&["CONFIG", "SET", words[0], default]);
        }
        for words in thresholds.chunks(2) {
            control.ok(&["CONFIG", "SET", words[0], words[1]]);
        }
        let mut main = server.client();
        protocol.choose(&mut main);
        let blocked = [(); blocking::CLIENTS].map(|()| {
            let mut client = server.client();
            protocol.choose(&mut client);
            client
        });
        Side {
            main,
            control,
            blocked: blocked.into(),
        }
    }
}

fn defaults(directive: &str) -> &'static str {
    match directive {
        "hash-max-listpack-entries" | "zset-max-listpack-entries" => "128",
        "hash-max-listpack-value" | "zset-max-listpack-value" => "64",
        "set-max-intset-entries" => "512",
        "list-max-listpack-size" => "-2",
        "list-compress-depth" => "0",
        "stream-node-max-entries" => "100",
        "stream-node-max-bytes" => "4096",
        "hll-sparse-max-bytes" => "3000",
        other => panic!("no default of {other}"),
    }
}

#[test]
fn random_commands_are_answered_as_redis_answers_them() {
    let commands = rounds("RUSSET_DIFFERENTIAL_COMMANDS", 20_000);
    let peer = std::env::var("RUSSET_DIFFERENTIAL_PEER").ok();
    let theirs = peer.map_or_else(Setup::redis, Setup::program).start();
    let of_redis_8 = theirs.client().info("redis_version").starts_with("8.");
    let (ours, families) = if of_redis_8 {
        (Setup::russet(), all_of_redis_8())
    } else {
        (Setup::russet_for_redis_7_0(), all_and_doubles())
    };
    let ours = ours.start();
    let extra = rounds("RUSSET_DIFFERENTIAL_SEED", 0) as u64;
    let seeds: Vec<u64> = match extra {
        0 => SEEDS.to_vec(),
        seed => vec![seed],
    };
    for seed in seeds {
        let protocol = if seed % 2 == 0 {
            Protocol::Resp3
        } else {
            Protocol::Resp2
        };
        let thresholds = THRESHOLDS[usize::try_from(seed % 3).unwrap()];
        let sides = [&ours, &theirs].map(|server| Side::of(server, protocol, thresholds));
        let mut run = Run {
            seed,
            protocol,
            families: families.clone(),
            of_redis_8,
            dice: Dice::new(seed),
            sides,
            done: 0,
            past: Vec::new(),
        };
        while run.done < commands {
            let end = commands.min(run.done + ROUND);
            run.round(end);
        }
    }
}

/// One seed's commands.
struct Run {
    seed: u64,
    protocol: Protocol,
    families: Vec<Family>,
    /// Whether the peer is Redis 8.
    of_redis_8: bool,
    dice: Dice,
    sides: [Side; 2],
    done: usize,
    /// What was sent, to tell how a difference came about.
    past: Vec<Request>,
}

impl Run {
    fn round(&mut self, end: usize) {
        while self.done < end {
            let mut batch = Vec::new();
            while batch.len() < PIPELINE {
                self.add(&mut batch);
            }
            self.pipeline(&batch);
            if self.dice.below(8) == 0 {
                self.block();
            }
        }
        let [got, expected] = self.sides.each_mut().map(|side| side.control.digest());
        if got != expected {
            self.tell_difference();
        }
        let [ours, theirs] = &mut self.sides;
        exchange(&mut ours.control, &mut theirs.control);
    }

    /// Fails and names the keys that hold something else, or expire at another time. A digest is
    /// that of scores as text, and large ones are written in several ways.
    fn tell_difference(&mut self) {
        let mut text = String::new();
        for (db, key) in (0..6).flat_map(|db| all_keys().map(move |key| (db, key))) {
            let held = self
                .sides
                .each_mut()
                .map(|side| held(&mut side.control, db, &key));
            let [got, expected] = held;
            let same = got.read == expected.read
                && (got.reply == expected.reply
                    || self.contents_in(Protocol::Resp2, &got.read, &got.reply)
                        == self.contents_in(Protocol::Resp2, &expected.read, &expected.reply));
            if same && got.expires == expected.expires {
                continue;
            }
            text += &self.history(&got.read);
            for (name, held) in [("got", got), ("expected", expected)] {
                let (read, reply) = (shown(&held.read), held.reply.escape_ascii());
                text += &format!("{name} {db} {read} {reply}, expires {}\n", held.expires);
            }
        }
        for side in &mut self.sides {
            side.control.ok(&["SELECT", "0"]);
        }
        assert!(text.is_empty(), "{text}{}: the data differ", self.place());
    }

    fn place(&self) -> String {
        format!(
            "seed {}, {:?}, command {}",
            self.seed, self.protocol, self.done
        )
    }

    /// A random command. In Redis SORT makes a large set of a small sorted set, for good, and in
    /// Redis 8 large ones alone keep the sign of a zero: so they are not sorted there.
    fn command(&mut self) -> Request {
        loop {
            let request = command(&mut self.dice, &self.families);
            let sorts = self.of_redis_8 && request[0].starts_with(b"SORT");
            if !(sorts && matches!(request[1][0], b'x' | b'z' | b'g')) {
                return request;
            }
        }
    }

    /// Puts a command or a transaction to a pipeline, after what it needs.
    fn add(&mut self, batch: &mut Vec<Request>) {
        if self.dice.below(60) > 0 {
            let request = self.command();
            batch.extend(consumers_of(&request));
            batch.push(request);
            return;
        }
        if self.dice.below(4) == 0 {
            batch.push(words("WATCH s1 h2 nokey"));
            if self.dice.below(2) == 0 {
                batch.push(words("APPEND s1 more"));
            }
        }
        batch.push(words("MULTI"));
        for _ in 0..self.dice.below(12) {
            let request = self.command();
            if !is_unordered(&request) {
                batch.extend(consumers_of(&request));
                batch.push(request);
            }
        }
        let end = if self.dice.below(5) == 0 {
            "DISCARD"
        } else {
            "EXEC"
        };
        batch.push(words(end));
    }

    /// Sends the same commands to both and compares what they answer.
    fn pipeline(&mut self, batch: &[Request]) {
        let mut bytes = BytesMut::new();
        for request in batch {
            encode(&mut bytes, request);
        }
        for side in &mut self.sides {
            side.main.send_bytes(&bytes).unwrap();
        }
        for request in batch {
            let protocol = self.protocol;
            let [got, expected] = self.sides.each_mut().map(|side| {
                let length = |bytes: &[u8]| protocol.length(bytes);
                side.main.receive_raw(length).unwrap()
            });
            self.compare(request, &got, &expected);
            self.done += 1;
            self.past.push(request.clone());
        }
    }

    /// The last requests about the same keys; those of a transaction are in it.
    fn history(&self, request: &Request) -> String {
        const SHOWN: usize = 60;
        if let Ok(path) = std::env::var("RUSSET_DIFFERENTIAL_LOG") {
            let mut bytes = BytesMut::new();
            for request in self.past.iter().chain([request]) {
                encode(&mut bytes, request);
            }
            std::fs::write(path, bytes).unwrap();
        }
        let past = || self.past.iter().rev();
        let queued = past().take_while(|earlier| earlier[0] != b"MULTI");
        let queued = queued.take(if request[0] == b"EXEC" { SHOWN } else { 0 });
        let words = queued.chain([request]).flatten();
        let keys: Vec<&Vec<u8>> = words.filter(|word| is_key(word)).collect();
        let about = past().filter(|earlier| earlier.iter().any(|word| keys.contains(&word)));
        let lines: Vec<String> = about.take(SHOWN).map(shown).collect();
        lines
            .iter()
            .rev()
            .fold(String::new(), |text, line| text + line + "\n")
    }

    fn contents_in(&self, protocol: Protocol, request: &Request, reply: &[u8]) -> Vec<String> {
        contents(protocol, self.of_redis_8, request, reply)
    }

    fn compare(&self, request: &Request, got: &[u8], expected: &[u8]) {
        let same = got == expected
            || self.contents_in(self.protocol, request, got)
                == self.contents_in(self.protocol, request, expected);
        assert!(
            same,
            "{}{}: {}\n  got      {}\n  expected {}",
            self.history(request),
            self.place(),
            shown(request),
            got.escape_ascii(),
            expected.escape_ascii(),
        );
    }
}

/// What a key holds.
struct Held {
    read: Request,
    reply: Vec<u8>,
    expires: i64,
}

fn held(client: &mut Client, db: usize, key: &str) -> Held {
    client.ok(&["SELECT", &db.to_string()]);
    let read = match client.text(&["TYPE", key]).as_str() {
        "string" => format!("GET {key}"),
        "list" => format!("LRANGE {key} 0 -1"),
        "set" => format!("SMEMBERS {key}"),
        "zset" => format!("ZRANGE {key} 0 -1 WITHSCORES"),
        "hash" => format!("HGETALL {key}"),
        "stream" => format!("XRANGE {key} - +"),
        _ => format!("EXISTS {key}"),
    };
    let read = words(&read);
    client.send(&read).unwrap();
    let reply = client
        .receive_raw(|bytes| Protocol::Resp2.length(bytes))
        .unwrap();
    Held {
        read,
        reply,
        expires: client.int(&["PEXPIRETIME", key]),
    }
}

/// The requests that make the consumer of another one, see the module.
fn consumers_of(request: &Request) -> Vec<Request> {
    let word = |at: usize| request.get(at).map_or(&b""[..], Vec::as_slice);
    let made = |key, group, name| {
        let request = [&b"XGROUP"[..], b"CREATECONSUMER", key, group, name];
        request.map(<[u8]>::to_vec).into()
    };
    match word(0) {
        b"XREADGROUP" => {
            let options = request.iter().position(|word| word == b"STREAMS");
            let names = &request[options.map_or(request.len(), |at| at + 1)..];
            let keys = names[..names.len() / 2].iter();
            keys.map(|key| made(key, word(2), word(3))).collect()
        }
        b"XCLAIM" | b"XAUTOCLAIM" => vec![made(word(1), word(2), word(3))],
        _ => Vec::new(),
    }
}

/// What either server dumps, the other restores, and it is the same.
fn exchange(ours: &mut Client, theirs: &mut Client) {
    const COPY: &str = "exchanged";
    for key in all_keys() {
        let [mine, others] = [&mut *ours, &mut *theirs].map(|client| {
            // A digest is that of the value with its expiry, which a payload does not carry.
            client.int(&["PERSIST", &key]);
            client.call(&["DUMP", &key])
        });
        let (Reply::BulkString(mine), Reply::BulkString(others)) = (mine, others) else {
            continue;
        };
        for (client, payload) in [(&mut *ours, &others), (&mut *theirs, &mine)] {
            client.ok(&[b"RESTORE", COPY.as_bytes(), b"0", payload, b"REPLACE"]);
            let [before, after] = [&key, COPY].map(|key| {
                let reply = held(client, 0, key).reply;
                // A zero that had a sign while its set was large has none in a listpack.
                reply
                    .escape_ascii()
                    .to_string()
                    .replace("$2\\r\\n-0\\r", "$1\\r\\n0\\r")
            });
            let Reply::Array(digests) = client.call(&["DEBUG", "DIGEST-VALUE", &key, COPY]) else {
                panic!("{key}: no digests");
            };
            let same = digests[0] == digests[1] || is_zset(client, &key) && before == after;
            assert!(same, "{key} came back as something else: {before} {after}");
            client.int(&["DEL", COPY]);
        }
    }
}

/// Whether a word is the name of a key of the workload.
fn is_key(word: &[u8]) -> bool {
    matches!(word, [letter, b'0'..=b'9', ..] if b"shxltzybpegq".contains(letter)) && word.len() < 4
}

fn is_zset(client: &mut Client, key: &str) -> bool {
    client.text(&["TYPE", key]) == "zset"
}

fn words(text: &str) -> Request {
    text.split(' ')
        .map(|word| word.as_bytes().to_vec())
        .collect()
}

fn shown(request: &Request) -> String {
    let words = request.iter().map(|word| word.escape_ascii().to_string());
    words.collect::<Vec<_>>().join(" ")
}

//! The same random commands to Russet and to Debian's redis-server, replies compared byte by byte.
//!
//! Replies whose order is not defined are compared as what they hold. After each seed both
//! servers must hold the same data, by `DEBUG DIGEST`. A difference names the seed and the
//! command; a seed that once showed a fault stays in [`SEEDS`].

use crate::support::{Client, Dice, Reply, Setup, encode, rounds};
use crate::workload::{ALL, Request, all_keys, command, is_unordered};
use bytes::BytesMut;
use redis_protocol::resp3::decode::complete::decode as decode3;
use redis_protocol::resp3::types::OwnedFrame as Frame3;

/// Seeds that are always run.
const SEEDS: &[u64] = &[1, 2, 3];

#[derive(Clone, Copy, Debug)]
enum Protocol {
    Resp2,
    Resp3,
}

#[test]
fn random_commands_are_answered_as_redis_answers_them() {
    let commands = rounds("RUSSET_DIFFERENTIAL_COMMANDS", 20_000);
    let ours = Setup::russet_for_redis_7_0().start();
    let theirs = Setup::redis().start();
    let extra = rounds("RUSSET_DIFFERENTIAL_SEED", 0) as u64;
    for &seed in SEEDS.iter().chain((extra > 0).then_some(&extra)) {
        let protocol = if seed % 2 == 0 {
            Protocol::Resp3
        } else {
            Protocol::Resp2
        };
        let (our_server, their_server) = (&ours, &theirs);
        let (mut ours, mut theirs) = (our_server.client(), their_server.client());
        for client in [&mut ours, &mut theirs] {
            client.ok(&["FLUSHALL"]);
            if let Protocol::Resp3 = protocol {
                client.send(&["HELLO", "3"]).unwrap();
                client.receive_raw(|bytes| length(protocol, bytes)).unwrap();
            }
        }
        compare(seed, protocol, commands, &mut ours, &mut theirs);
        let (mut ours, mut theirs) = (our_server.client(), their_server.client());
        exchange(&mut ours, &mut theirs);
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
            let Reply::Array(digests) = client.call(&["DEBUG", "DIGEST-VALUE", &key, COPY]) else {
                panic!("{key}: no digests");
            };
            assert_eq!(digests[0], digests[1], "{key} came back as something else");
            client.int(&["DEL", COPY]);
        }
    }
}

fn compare(seed: u64, protocol: Protocol, commands: usize, ours: &mut Client, theirs: &mut Client) {
    let mut dice = Dice::new(seed);
    for at in 0..commands {
        let request = command(&mut dice, ALL);
        let [got, expected] = [&mut *ours, &mut *theirs].map(|client| {
            let mut bytes = BytesMut::new();
            encode(&mut bytes, &request);
            client.send_bytes(&bytes).unwrap();
            client.receive_raw(|bytes| length(protocol, bytes)).unwrap()
        });
        if got == expected {
            continue;
        }
        let name = String::from_utf8_lossy(&request[0]).into_owned();
        let same = is_unordered(&name)
            && contents(protocol, &name, &got) == contents(protocol, &name, &expected);
        assert!(
            same,
            "seed {seed}, {protocol:?}, command {at}: {}\n  got      {}\n  expected {}",
            shown(&request),
            got.escape_ascii(),
            expected.escape_ascii(),
        );
    }
    let [got, expected] = [ours, theirs].map(|client| {
        client.send(&["DEBUG", "DIGEST"]).unwrap();
        client.receive_raw(|bytes| length(protocol, bytes)).unwrap()
    });
    assert_eq!(
        got, expected,
        "seed {seed}: the data differ after {commands} commands"
    );
}

fn shown(request: &Request) -> String {
    let words = request.iter().map(|word| word.escape_ascii().to_string());
    words.collect::<Vec<_>>().join(" ")
}

/// The length of the first whole reply in `bytes`.
fn length(protocol: Protocol, bytes: &[u8]) -> Option<usize> {
    match protocol {
        Protocol::Resp2 => {
            let decoded = redis_protocol::resp2::decode::decode(bytes).unwrap();
            decoded.map(|(_, length)| length)
        }
        Protocol::Resp3 => decode3(bytes).unwrap().map(|(_, length)| length),
    }
}

/// A reply with what has no order put in order.
fn contents(protocol: Protocol, name: &str, reply: &[u8]) -> Vec<String> {
    let frame = match protocol {
        Protocol::Resp2 => {
            let decoded = redis_protocol::resp2::decode::decode(reply).unwrap();
            decoded.unwrap().0.into_resp3()
        }
        Protocol::Resp3 => decode3(reply).unwrap().unwrap().0,
    };
    let mut parts: Vec<String> = match frame {
        Frame3::Array { data, .. } if name == "HGETALL" => {
            data.chunks(2).map(|pair| format!("{pair:?}")).collect()
        }
        Frame3::Array { data, .. } => data.iter().map(|part| format!("{part:?}")).collect(),
        Frame3::Map { data, .. } => data.iter().map(|pair| format!("{pair:?}")).collect(),
        Frame3::Set { data, .. } => data.iter().map(|part| format!("{part:?}")).collect(),
        other => vec![format!("{other:?}")],
    };
    parts.sort();
    parts
}

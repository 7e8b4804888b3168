//! Replies that a server writes elsewhere than where it runs commands: they come whole, in their
//! place, and hold nobody up.

use crate::support::{Client, Reply, Setup, encode};
use bytes::BytesMut;

const ELEMENTS: usize = 30_000;

fn element(i: usize) -> Vec<u8> {
    format!("element:{i:09}").into_bytes()
}

/// A list of [`ELEMENTS`] in order, and a set of the same.
fn fill(client: &mut Client) {
    for from in (0..ELEMENTS).step_by(1000) {
        for (command, key) in [("rpush", "list"), ("sadd", "set")] {
            let mut request = vec![command.as_bytes().to_vec(), key.as_bytes().to_vec()];
            request.extend((from..from + 1000).map(element));
            client.int(&request);
        }
    }
}

fn bulks(reply: Reply) -> Vec<Vec<u8>> {
    let Reply::Array(elements) = reply else {
        panic!("{reply:?}")
    };
    let text = |element| match element {
        Reply::BulkString(bytes) => bytes,
        other => panic!("{other:?}"),
    };
    elements.into_iter().map(text).collect()
}

#[test]
fn large_replies_keep_their_place_in_a_pipeline() {
    let server = Setup::russet().start();
    let mut client = server.client();
    fill(&mut client);
    let all: Vec<Vec<u8>> = (0..ELEMENTS).map(element).collect();
    let mut pipeline = BytesMut::new();
    for request in [
        "set a 1",
        "lrange list 0 -1",
        "incr a",
        "smembers set",
        "rpop list",
        "multi",
        "lrange list 0 -1",
        "incr a",
        "exec",
        "lrange list -2 -1",
        "keys *",
        "nosuchcommand",
        "get a",
    ] {
        encode(&mut pipeline, &request.split(' ').collect::<Vec<_>>());
    }
    client.send_bytes(&pipeline).unwrap();
    let mut next = || client.receive().unwrap();
    assert_eq!(next(), Reply::SimpleString(b"OK".to_vec()));
    assert!(bulks(next()) == all);
    assert_eq!(next(), Reply::Integer(2));
    let mut members = bulks(next());
    members.sort_unstable();
    assert!(members == all);
    assert_eq!(next(), Reply::BulkString(element(ELEMENTS - 1)));
    for reply in ["OK", "QUEUED", "QUEUED"] {
        assert_eq!(next(), Reply::SimpleString(reply.into()));
    }
    let Reply::Array(mut replies) = next() else {
        panic!("no reply to EXEC")
    };
    assert_eq!(replies.pop(), Some(Reply::Integer(3)));
    assert!(bulks(replies.remove(0)) == all[..ELEMENTS - 1]);
    assert!(bulks(next()) == all[ELEMENTS - 3..ELEMENTS - 1]);
    let mut keys = bulks(next());
    keys.sort_unstable();
    assert_eq!(keys, [b"a".to_vec(), b"list".to_vec(), b"set".to_vec()]);
    assert!(matches!(next(), Reply::Error(_)));
    assert_eq!(next(), Reply::BulkString(b"3".to_vec()));
}

#[test]
fn a_client_that_leaves_in_the_middle_of_a_large_reply_takes_nothing_along() {
    let server = Setup::russet().start();
    let mut client = server.client();
    fill(&mut client);
    for _ in 0..20 {
        let mut leaving = server.client();
        let mut pipeline = BytesMut::new();
        for _ in 0..50 {
            encode(&mut pipeline, &["lrange", "list", "0", "-1"]);
        }
        leaving.send_bytes(&pipeline).unwrap();
    }
    assert_eq!(client.text(&["ping"]), "PONG");
    let reply = client.call(&["lrange", "list", "0", "-1"]);
    assert_eq!(bulks(reply).len(), ELEMENTS);
}

#[test]
fn a_pipeline_is_read_to_its_end_before_its_client_reads_a_reply() {
    let server = Setup::russet().start();
    let mut client = server.client();
    let text = "x".repeat(4096);
    let mut pipeline = BytesMut::new();
    for _ in 0..16 * 1024 {
        encode(&mut pipeline, &["echo", &text]);
    }
    client.send_bytes(&pipeline).unwrap();
    for _ in 0..16 * 1024 {
        let reply = client.receive_raw(|bytes| {
            let whole = text.len() + "$4096\r\n\r\n".len();
            (bytes.len() >= whole).then_some(whole)
        });
        assert!(reply.unwrap().ends_with(b"x\r\n"));
    }
    assert_eq!(client.text(&["ping"]), "PONG");
}

#[test]
fn a_large_sort_is_stored_in_its_place_and_replayed_as_it_was() {
    let server = Setup::russet().set("appendonly", &["yes"]).start();
    let mut client = server.client();
    fill(&mut client);
    let mut weights = BytesMut::new();
    for i in 0..ELEMENTS {
        let key = [b"weight:".to_vec(), element(i)].concat();
        let weight = ((ELEMENTS - i) * 10).to_string();
        encode(&mut weights, &[b"set", key.as_slice(), weight.as_bytes()]);
    }
    client.send_bytes(&weights).unwrap();
    for _ in 0..ELEMENTS {
        client.receive().unwrap();
    }
    let stored = client.int(&["sort", "list", "alpha", "desc", "store", "plain"]);
    assert_eq!(stored, ELEMENTS as i64);
    let mut pipeline = BytesMut::new();
    for request in [
        "set by old",
        "sort list by weight:* get # get weight:* get none:* limit 0 20000 store by",
        "rpop by",
        "sort set by weight:* limit 40000 1 store plain2",
        "exists plain2",
        "sort set limit 0 2 store by2",
    ] {
        encode(&mut pipeline, &request.split(' ').collect::<Vec<_>>());
    }
    client.send_bytes(&pipeline).unwrap();
    let mut next = || client.receive().unwrap();
    assert_eq!(next(), Reply::SimpleString(b"OK".to_vec()));
    assert_eq!(next(), Reply::Integer(60_000));
    assert_eq!(next(), Reply::BulkString(Vec::new()));
    assert_eq!(next(), Reply::Integer(0));
    assert_eq!(next(), Reply::Integer(0));
    assert!(matches!(next(), Reply::Error(_)));
    let mut backwards: Vec<Vec<u8>> = (0..ELEMENTS).map(element).collect();
    backwards.reverse();
    assert!(bulks(client.call(&["lrange", "plain", "0", "-1"])) == backwards);
    let first = bulks(client.call(&["lrange", "by", "0", "2"]));
    assert_eq!(first, [element(ELEMENTS - 1), b"10".to_vec(), Vec::new()]);
    let before = client.digest();
    client.ok(&["debug", "loadaof"]);
    assert_eq!(client.digest(), before);
}

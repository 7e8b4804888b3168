//! Streams with groups, and what a server tells of them.

use russet::keyspace::value::Value;
use russet::keyspace::value::stream::group::{Group, Pending};
use russet::keyspace::value::stream::id::StreamId;
use russet::keyspace::value::stream::{NewId, Stream, StreamLimits, Trim, Until};

use crate::peer::{Peer, Response};

fn text(id: StreamId) -> Vec<u8> {
    id.text().to_vec()
}

fn line(words: &[&[u8]]) -> Vec<u8> {
    words.join(&b' ')
}

/// Entries, then what is known of the groups: a line each.
pub fn lines(stream: &Stream) -> Vec<Vec<u8>> {
    let mut all = vec![line(&[b"last", &text(stream.last_id())])];
    for entry in stream.range(StreamId::MIN, StreamId::MAX, false) {
        let mut words = vec![text(entry.id)];
        for (name, value) in entry.pairs() {
            words.extend([name.to_vec(), value.to_vec()]);
        }
        all.push(words.join(&b' '));
    }
    for (name, group) in stream.groups() {
        let consumers = group.consumers_len().to_string();
        let pending = group.pending_len().to_string();
        let last = text(group.last_id);
        all.push(line(&[
            b"group",
            name,
            consumers.as_bytes(),
            pending.as_bytes(),
            &last,
        ]));
        for (id, pending) in group.pending_from(StreamId::MIN) {
            let owner = group.owner_name(pending.owner);
            let deliveries = pending.deliveries.to_string();
            all.push(line(&[b"pending", &text(id), owner, deliveries.as_bytes()]));
        }
    }
    all
}

fn bytes(response: &Response) -> Vec<u8> {
    match response {
        Response::Bulk(bytes) => bytes.clone(),
        Response::Int(n) => n.to_string().into_bytes(),
        other => panic!("{other:?}"),
    }
}

fn array(response: &Response) -> &[Response] {
    match response {
        Response::Array(elements) => elements,
        other => panic!("{other:?}"),
    }
}

/// The value behind a name in a reply of names and values.
fn field(reply: &[Response], name: &str) -> Vec<u8> {
    let mut pairs = reply.chunks(2);
    let found = pairs.find(|pair| bytes(&pair[0]) == name.as_bytes());
    bytes(&found.unwrap()[1])
}

/// The same as [`lines`], as the peer's commands tell it.
pub fn told(peer: &mut Peer, key: &[u8]) -> Vec<Vec<u8>> {
    let info = peer.call(&[b"XINFO", b"STREAM", key]);
    let mut all = vec![line(&[b"last", &field(array(&info), "last-generated-id")])];
    for entry in array(&peer.call(&[b"XRANGE", key, b"-", b"+"])) {
        let [id, texts] = array(entry) else {
            panic!("{entry:?}")
        };
        let mut words = vec![bytes(id)];
        words.extend(array(texts).iter().map(bytes));
        all.push(words.join(&b' '));
    }
    for group in array(&peer.call(&[b"XINFO", b"GROUPS", key])) {
        let names = ["name", "consumers", "pending", "last-delivered-id"];
        let group: Vec<_> = names.iter().map(|name| field(array(group), name)).collect();
        let words: Vec<&[u8]> = group.iter().map(Vec::as_slice).collect();
        all.push([b"group ".to_vec(), line(&words)].concat());
        for pending in array(&peer.call(&[b"XPENDING", key, &group[0], b"-", b"+", b"9999"])) {
            let parts: Vec<_> = array(pending).iter().map(bytes).collect();
            all.push(line(&[b"pending", &parts[0], &parts[1], &parts[3]]));
        }
    }
    all
}

fn grown(entries: u64) -> Stream {
    let mut stream = Stream::default();
    for n in 0..entries {
        let id = stream.new_id(NewId::OfMs(1000 + n / 3), 0).unwrap();
        let (value, number) = (format!("value {n}"), (n * 7919 % 5000).to_string());
        let texts: &[&[u8]] = match n % 5 {
            0 => &[b"other", value.as_bytes()],
            _ => &[b"name", value.as_bytes(), b"number", number.as_bytes()],
        };
        stream.append(StreamLimits::default(), id, texts);
    }
    stream
}

/// Names and values.
pub fn values() -> Vec<(String, Value)> {
    let small = grown(3);
    let mut empty = small.clone();
    empty.trim(Trim {
        until: Until::Length(0),
        approximate: false,
        limit: 0,
    });
    empty.create_group(b"none", Group::new(StreamId::MAX, None));
    let mut many = grown(700);
    for n in (0..700).step_by(9) {
        many.delete(StreamId::new(1000 + n / 3, n % 3));
    }
    many.trim(Trim {
        until: Until::Length(555),
        approximate: false,
        limit: 0,
    });
    for name in ["g1", "g2"] {
        let mut group = Group::new(StreamId::new(1150, 0), Some(77));
        for n in 0..200u64 {
            let consumer = format!("consumer {}", n % 7);
            let owner = group.number(consumer.as_bytes());
            let owner = owner.or_else(|| group.create_consumer(consumer.as_bytes(), 12_345));
            let pending = Pending {
                time_ms: 1_700_000_000_000 + n as i64,
                deliveries: n % 3,
                owner: owner.unwrap(),
            };
            group.assign(StreamId::new(1000 + n, n % 3), pending);
        }
        group.create_consumer(b"idle", 99);
        many.create_group(name.as_bytes(), group);
    }
    [("small", small), ("empty", empty), ("many", many)]
        .into_iter()
        .map(|(name, stream)| (format!("stream:{name}"), stream.into()))
        .collect()
}

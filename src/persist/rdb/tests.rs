//! Whole streams: what goes out comes back, what others wrote comes in, and nothing that is cut
//! or damaged does more than fail.

mod check;
mod fields;
mod hostile;
mod mutated;
mod streams;
mod values;
mod whole;

use crate::persist::rdb::reader::{Checksum, Entry, Options, Reader, Sink, Summary, Verdict};
use crate::persist::rdb::{Config, Error, Origin, Usage, Writer};

use crate::keyspace::value::Value;
use crate::keyspace::value::list::End;
use crate::keyspace::value::packed::Elem;
use crate::keyspace::value::pages::Record;
use crate::keyspace::value::stream::Stream;
use crate::keyspace::value::stream::id::StreamId;
use sha1::{Digest, Sha1};

/// An entry that was read.
#[derive(Debug, Clone)]
struct Loaded {
    db: u64,
    key: Vec<u8>,
    value: Value,
    expire_ms: Option<i64>,
    usage: Usage,
}

/// Keeps everything.
#[derive(Debug, Default)]
struct Collect {
    aux: Vec<(String, String)>,
    functions: Vec<Vec<u8>>,
    dbs: Vec<u64>,
    sizes: Vec<(u64, u64)>,
    entries: Vec<Loaded>,
    empty: Vec<Vec<u8>>,
}

impl Sink for Collect {
    fn aux(&mut self, name: &[u8], value: &[u8], _offset: u64) -> Verdict {
        let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
        self.aux.push((text(name), text(value)));
        Ok(())
    }

    fn function(&mut self, code: &[u8], _offset: u64) -> Verdict {
        self.functions.push(code.to_vec());
        Ok(())
    }

    fn select_db(&mut self, db: u64, _offset: u64) -> Verdict {
        self.dbs.push(db);
        Ok(())
    }

    fn size_hint(&mut self, keys: u64, expires: u64) {
        self.sizes.push((keys, expires));
    }

    fn entry(&mut self, entry: Entry<'_>) -> Verdict {
        self.entries.push(Loaded {
            db: entry.db,
            key: entry.key.to_vec(),
            value: entry.value.into_value(),
            expire_ms: entry.expire_ms,
            usage: entry.usage,
        });
        Ok(())
    }

    fn empty_key(&mut self, _db: u64, key: &[u8]) -> Verdict {
        self.empty.push(key.to_vec());
        Ok(())
    }
}

fn read(bytes: &[u8]) -> Result<(Collect, Summary), Error> {
    let mut sink = Collect::default();
    let summary = Reader::new(bytes, Options::default()).load(&mut sink)?;
    Ok((sink, summary))
}

/// A stream of version 11 without checksum whose body is `body`.
fn stream(body: &[u8]) -> Vec<u8> {
    [b"REDIS0011", body, b"\xff\0\0\0\0\0\0\0\0"].concat()
}

/// The name of a string in a listing: its hexadecimal digits, or length and SHA-1 of a long one.
fn token(bytes: &[u8]) -> String {
    match bytes.len() {
        0 => "-".to_owned(),
        1..=32 => hex(bytes),
        length => format!("sha1:{length}:{}", hex(&Sha1::digest(bytes))),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The elements of a value in the order of the listings.
fn tokens(value: &Value) -> Vec<String> {
    let mut tokens = Vec::new();
    match value {
        Value::Str(string) => tokens.push(token(&string.as_ref().to_vec())),
        Value::List(list) => {
            list.visit(0..list.len(), End::Head, |elem| {
                tokens.push(token(&elem.to_vec()))
            });
        }
        Value::Stream(stream) => tokens.extend(stream_tokens(stream)),
        Value::Hash(hash) => {
            let pair = |record: Record<'_>| {
                let expiry = record.expire_ms.map(|at_ms| format!("@{at_ms}"));
                let (field, value) = (record.key.to_vec(), record.value.to_vec());
                let expiry = expiry.unwrap_or_default();
                format!("{}={}{expiry}", token(&field), token(&value))
            };
            tokens.extend(hash.iter().map(pair));
            tokens.sort();
        }
        Value::Set(set) => {
            tokens.extend(set.iter().map(|elem| token(&elem.to_vec())));
            tokens.sort();
        }
        Value::Zset(zset) => {
            let scored = |(member, score): (Elem<'_>, f64)| {
                format!("{}={}", token(&member.to_vec()), hex(&score.to_be_bytes()))
            };
            tokens.extend(zset.iter().map(scored));
        }
    }
    tokens
}

/// What a stream holds: its ids, then its entries and its groups.
fn stream_tokens(stream: &Stream) -> Vec<String> {
    let show = |id: StreamId| String::from_utf8_lossy(&id.text()).into_owned();
    let mut tokens = vec![format!(
        "last={} first={} deleted={} added={}",
        show(stream.last_id()),
        show(stream.first_id()),
        show(stream.max_deleted_id()),
        stream.added()
    )];
    for entry in stream.range(StreamId::MIN, StreamId::MAX, false) {
        let pair = |(name, value): (Elem<'_>, Elem<'_>)| {
            format!("{}={}", token(&name.to_vec()), token(&value.to_vec()))
        };
        let pairs: Vec<_> = entry.pairs().map(pair).collect();
        tokens.push(format!("{}:{}", show(entry.id), pairs.join(",")));
    }
    for (name, group) in stream.groups() {
        tokens.push(format!(
            "group {} last={} read={:?}",
            token(name),
            show(group.last_id),
            group.entries_read
        ));
        for (id, pending) in group.pending_from(StreamId::MIN) {
            tokens.push(format!(
                "pending {} {} {} {}",
                show(id),
                pending.time_ms,
                pending.deliveries,
                token(group.owner_name(pending.owner))
            ));
        }
        for consumer in group.consumers() {
            tokens.push(format!(
                "consumer {} {} {} {}",
                token(consumer.name()),
                consumer.seen_ms,
                consumer.active_ms,
                consumer.pending_len()
            ));
        }
    }
    tokens
}

/// A line for each entry: database, key, type, expiry, elements.
fn listing(entries: &[Loaded]) -> String {
    let mut lines: Vec<_> = entries
        .iter()
        .map(|entry| {
            let tokens = tokens(&entry.value);
            let mut elements = tokens.join(" ");
            if tokens.len() > 40 {
                let sum = hex(&Sha1::digest(elements.as_bytes()));
                elements = format!("sha1:{}:{sum}", tokens.len());
            }
            let expire = entry.expire_ms.map_or("-".to_owned(), |ms| ms.to_string());
            let kind = entry.value.kind().name();
            let line = format!(
                "{} {} {kind} {expire} {elements}",
                entry.db,
                token(&entry.key)
            );
            (entry.db, entry.key.clone(), line)
        })
        .collect();
    lines.sort();
    lines.into_iter().map(|(_, _, line)| line + "\n").collect()
}

//! A data set as commands: the base of a rewrite with `aof-use-rdb-preamble no`.
//!
//! | value | commands |
//! |---|---|
//! | string | SET |
//! | list, set | RPUSH, SADD |
//! | hash | HMSET, and HPEXPIREAT for each field with an expiry |
//! | sorted set | ZADD |
//! | stream | XADD, XSETID, XGROUP, XCLAIM |
//! | expiry | PEXPIREAT behind the value |
//!
//! A collection comes in commands of at most 64 elements, so that no command is long to run. One
//! batch at a time is in memory, whatever the size of the collection.

mod stream;

use crate::base::num::fmt_f64;
use crate::keyspace::value::hash::Hash;
use crate::keyspace::value::list::{End, List};
use crate::keyspace::value::packed::Elem;
use crate::keyspace::value::{StrRef, ValueRef};
use crate::oplog::effect::encode;
use std::io::{self, Write};

/// Elements in one command.
const BATCH: usize = 64;

/// Writes keys to `out`. What is written is complete after each call.
pub struct Commands<W> {
    out: W,
    db: Option<u32>,
    /// One command.
    buffer: Vec<u8>,
}

impl<W: Write> Commands<W> {
    /// A writer at the start of a file.
    pub fn new(out: W) -> Self {
        Self {
            out,
            db: None,
            buffer: Vec::new(),
        }
    }

    /// A function library, by its source.
    pub fn function(&mut self, code: &[u8]) -> io::Result<()> {
        self.command(&[b"FUNCTION", b"LOAD", code])
    }

    /// A key with its value, in database `db`.
    pub fn entry(
        &mut self,
        db: u32,
        key: &[u8],
        value: ValueRef<'_>,
        expire_ms: Option<i64>,
    ) -> io::Result<()> {
        if self.db != Some(db) {
            self.db = Some(db);
            self.command(&[b"SELECT", itoa::Buffer::new().format(db).as_bytes()])?;
        }
        match value {
            ValueRef::Str(string) => self.string(key, string),
            ValueRef::List(list) => self.list(key, list),
            ValueRef::Set(set) => {
                let mut batch = self.batch(b"SADD", key, 1, set.len());
                set.iter().try_for_each(|member| batch.push(&[member]))
            }
            ValueRef::Hash(hash) => {
                let mut batch = self.batch(b"HMSET", key, 2, hash.len());
                hash.iter()
                    .try_for_each(|record| batch.push(&[record.key, record.value]))?;
                self.field_expiries(key, hash)
            }
            ValueRef::Zset(zset) => {
                let mut batch = self.batch(b"ZADD", key, 2, zset.len());
                zset.iter().try_for_each(|(member, score)| {
                    batch.push(&[Elem::Bytes(&fmt_f64(score)), member])
                })
            }
            ValueRef::Stream(stream) => self.stream(key, stream),
        }?;
        match expire_ms {
            Some(at) => {
                self.command(&[b"PEXPIREAT", key, itoa::Buffer::new().format(at).as_bytes()])
            }
            None => Ok(()),
        }
    }

    fn command(&mut self, argv: &[&[u8]]) -> io::Result<()> {
        self.buffer.clear();
        encode(&mut self.buffer, argv);
        self.send()
    }

    fn send(&mut self) -> io::Result<()> {
        const KEEP_BYTES: usize = 1024 * 1024;
        let written = self.out.write_all(&self.buffer);
        self.buffer.clear();
        self.buffer.shrink_to(KEEP_BYTES);
        written
    }

    fn string(&mut self, key: &[u8], value: StrRef<'_>) -> io::Result<()> {
        self.command(&[b"SET", key, value.as_bytes(&mut itoa::Buffer::new())])
    }

    fn list(&mut self, key: &[u8], list: &List) -> io::Result<()> {
        let mut batch = self.batch(b"RPUSH", key, 1, list.len());
        let mut outcome = Ok(());
        list.visit(0..list.len(), End::Head, |elem| {
            if outcome.is_ok() {
                outcome = batch.push(&[elem]);
            }
        });
        outcome
    }

    fn field_expiries(&mut self, key: &[u8], hash: &Hash) -> io::Result<()> {
        if hash.volatile() == 0 {
            return Ok(());
        }
        for record in hash.iter() {
            let Some(at_ms) = record.expire_ms else {
                continue;
            };
            let (mut at, mut field) = (itoa::Buffer::new(), itoa::Buffer::new());
            let at = at.format(at_ms).as_bytes();
            let field = record.key.to_bytes(&mut field);
            self.command(&[b"HPEXPIREAT", key, at, b"FIELDS", b"1", field])?;
        }
        Ok(())
    }

    fn batch<'a>(
        &'a mut self,
        name: &'static [u8],
        key: &'a [u8],
        words_each: usize,
        elements: usize,
    ) -> Batch<'a, W> {
        Batch {
            commands: self,
            name,
            key,
            words_each,
            left: elements,
            open: 0,
        }
    }
}

/// The elements of one collection on their way into commands.
struct Batch<'a, W> {
    commands: &'a mut Commands<W>,
    name: &'static [u8],
    key: &'a [u8],
    words_each: usize,
    /// Elements not yet pushed.
    left: usize,
    /// Elements the present command still takes.
    open: usize,
}

impl<W: Write> Batch<'_, W> {
    fn push(&mut self, words: &[Elem<'_>]) -> io::Result<()> {
        let buffer = &mut self.commands.buffer;
        if self.open == 0 {
            self.open = self.left.clamp(1, BATCH);
            let count = 2 + self.open * self.words_each;
            write!(buffer, "*{count}\r\n")?;
            put(buffer, self.name)?;
            put(buffer, self.key)?;
        }
        for word in words {
            put(buffer, word.to_bytes(&mut itoa::Buffer::new()))?;
        }
        self.left = self.left.saturating_sub(1);
        self.open -= 1;
        if self.open == 0 {
            self.commands.send()
        } else {
            Ok(())
        }
    }
}

fn put(buffer: &mut Vec<u8>, word: &[u8]) -> io::Result<()> {
    write!(buffer, "${}\r\n", word.len())?;
    buffer.extend_from_slice(word);
    buffer.extend_from_slice(b"\r\n");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::reader::CommandReader;
    use super::*;
    use crate::keyspace::value::hash::{HashLimits, Lifetime};
    use crate::keyspace::value::list::ListLimits;
    use crate::keyspace::value::set::{Set, SetLimits};
    use crate::keyspace::value::zset::{Zset, ZsetLimits};
    use crate::keyspace::value::{Str, Value};
    use std::collections::BTreeSet;

    fn written(entries: &[(u32, &str, Value, Option<i64>)]) -> Vec<Vec<String>> {
        let mut out = Vec::new();
        let mut commands = Commands::new(&mut out);
        for (db, key, value, expire_ms) in entries {
            commands
                .entry(*db, key.as_bytes(), value.as_ref(), *expire_ms)
                .unwrap();
        }
        let mut reader = CommandReader::new(out.as_slice(), 0);
        let mut read = Vec::new();
        while let Some(argv) = reader.next_command().unwrap() {
            read.push(
                argv.iter()
                    .map(|word| String::from_utf8(word.clone()).unwrap())
                    .collect(),
            );
        }
        assert_eq!(reader.offset(), out.len() as u64);
        read
    }

    #[test]
    fn strings_databases_and_expiries() {
        let read = written(&[
            (0, "a", Str::new(b"12").into(), None),
            (0, "b", Str::new(b"").into(), Some(1_700_000_000_123)),
            (9, "c", Str::new(&[b'x'; 200]).into(), None),
        ]);
        let lines: Vec<String> = read.iter().map(|argv| argv.join(" ")).collect();
        let long = format!("SET c {}", "x".repeat(200));
        assert_eq!(
            lines,
            [
                "SELECT 0",
                "SET a 12",
                "SET b ",
                "PEXPIREAT b 1700000000123",
                "SELECT 9",
                &long
            ]
        );
    }

    /// Lengths around the batch, small and large encodings of each type.
    const LENGTHS: [usize; 6] = [1, 63, 64, 65, 128, 1000];

    /// Checks the commands' shape and returns their elements in order.
    fn elements(read: &[Vec<String>], name: &str, each: usize) -> Vec<Vec<String>> {
        let mut out = Vec::new();
        let (_, full) = read[1..].split_last().unwrap();
        assert!(full.iter().all(|argv| argv.len() == 2 + 64 * each));
        for argv in &read[1..] {
            assert_eq!((argv[0].as_str(), argv[1].as_str()), (name, "k"));
            out.extend(argv[2..].chunks(each).map(<[String]>::to_vec));
        }
        out
    }

    #[test]
    fn lists_keep_their_order() {
        for length in LENGTHS {
            let mut list = List::default();
            let expected: Vec<String> = (0..length).map(|i| format!("{i}")).collect();
            for text in &expected {
                list.push(ListLimits::default(), End::Tail, &[text.as_bytes()]);
            }
            let read = written(&[(0, "k", list.into(), None)]);
            assert_eq!(elements(&read, "RPUSH", 1).concat(), expected);
        }
    }

    #[test]
    fn sets_hashes_and_sorted_sets_are_complete() {
        for length in LENGTHS {
            for letter in ["", "m"] {
                let (mut set, mut hash, mut zset) = (Set::new(), Hash::new(), Zset::new());
                for i in 0..length {
                    let text = format!("{letter}{i}");
                    set.add(text.as_bytes(), &SetLimits::default());
                    hash.set(text.as_bytes(), text.as_bytes(), &HashLimits::default());
                    zset.insert(&ZsetLimits::default(), text.as_bytes(), i as f64 / 8.0);
                }
                let names: BTreeSet<String> = (0..length).map(|i| format!("{letter}{i}")).collect();
                let read = written(&[(0, "k", set.into(), None)]);
                let found: BTreeSet<String> =
                    elements(&read, "SADD", 1).into_iter().flatten().collect();
                assert_eq!(found, names);
                let read = written(&[(0, "k", hash.into(), None)]);
                let found = elements(&read, "HMSET", 2);
                assert!(found.iter().all(|pair| pair[0] == pair[1]) && found.len() == length);
                let read = written(&[(0, "k", zset.into(), None)]);
                let found: BTreeSet<Vec<String>> = elements(&read, "ZADD", 2).into_iter().collect();
                let expected = (0..length).map(|i| {
                    vec![
                        fmt_f64(i as f64 / 8.0).as_str().to_owned(),
                        format!("{letter}{i}"),
                    ]
                });
                assert_eq!(found, expected.collect());
            }
        }
    }

    #[test]
    fn fields_with_an_expiry_get_it_behind_the_hash() {
        let mut hash = Hash::new();
        let limits = HashLimits::default();
        hash.set(b"a", b"1", &limits);
        hash.set_for(7, b"2", Lifetime::Until(1_900_000_000_000), &limits);
        let read = written(&[(0, "h", hash.into(), Some(2_000_000_000_000))]);
        let lines: Vec<String> = read.iter().map(|argv| argv.join(" ")).collect();
        assert_eq!(
            lines,
            [
                "SELECT 0",
                "HMSET h a 1 7 2",
                "HPEXPIREAT h 1900000000000 FIELDS 1 7",
                "PEXPIREAT h 2000000000000"
            ]
        );
    }

    #[test]
    fn functions_are_loaded_by_their_source() {
        let mut out = Vec::new();
        Commands::new(&mut out).function(b"#!lua name=x").unwrap();
        assert_eq!(
            out,
            b"*3\r\n$8\r\nFUNCTION\r\n$4\r\nLOAD\r\n$12\r\n#!lua name=x\r\n"
        );
    }
}

//! A data set as commands: the base of an AOF whose `aof-use-rdb-preamble` is off.
//!
//! Each key becomes the commands that make it, collections in portions of [`PORTION`] elements, so
//! that no single command is huge.

use std::io::{self, Write};

use crate::base::num;
use crate::keyspace::value::list::End;
use crate::keyspace::value::packed::Elem;
use crate::keyspace::value::{StrRef, ValueRef};
use crate::oplog::effect::encode;

/// Elements of one command, as Redis portions them.
const PORTION: usize = 64;

/// Writes keys as commands.
pub struct Commands<'w> {
    out: &'w mut dyn Write,
    db: Option<u32>,
    buffer: Vec<u8>,
}

impl<'w> Commands<'w> {
    /// Begins a file.
    pub fn new(out: &'w mut dyn Write) -> Commands<'w> {
        Commands {
            out,
            db: None,
            buffer: Vec::new(),
        }
    }

    /// Writes the commands that make one key.
    ///
    /// # Errors
    /// What the file says.
    pub fn entry(
        &mut self,
        db: u32,
        key: &[u8],
        value: ValueRef<'_>,
        expire_ms: Option<i64>,
    ) -> io::Result<()> {
        if self.db != Some(db) {
            encode(&mut self.buffer, &[b"SELECT", db.to_string().as_bytes()]);
            self.db = Some(db);
        }
        match value {
            ValueRef::Str(s) => self.string(key, s),
            ValueRef::List(list) => {
                let mut run = Run::new(&mut self.buffer, b"RPUSH", key, 1);
                list.visit(0..list.len(), End::Head, |elem| run.push(elem));
                run.end();
            }
            ValueRef::Set(set) => {
                let mut run = Run::new(&mut self.buffer, b"SADD", key, 1);
                set.iter().for_each(|member| run.push(member));
                run.end();
            }
            ValueRef::Zset(zset) => {
                let mut run = Run::new(&mut self.buffer, b"ZADD", key, 2);
                for (member, score) in zset.iter() {
                    run.push(Elem::Bytes(&num::fmt_f64(score)));
                    run.push(member);
                }
                run.end();
            }
            ValueRef::Hash(hash) => {
                let mut run = Run::new(&mut self.buffer, b"HMSET", key, 2);
                for record in hash.iter() {
                    run.push(record.key);
                    run.push(record.value);
                }
                run.end();
            }
        }
        if let Some(at) = expire_ms {
            encode(
                &mut self.buffer,
                &[b"PEXPIREAT", key, at.to_string().as_bytes()],
            );
        }
        self.out.write_all(&self.buffer)?;
        self.buffer.clear();
        Ok(())
    }

    fn string(&mut self, key: &[u8], value: StrRef<'_>) {
        let mut scratch = itoa::Buffer::new();
        encode(
            &mut self.buffer,
            &[b"SET", key, value.as_bytes(&mut scratch)],
        );
    }
}

/// Elements on their way into commands of [`PORTION`] elements each.
struct Run<'b> {
    out: &'b mut Vec<u8>,
    name: &'static [u8],
    key: &'b [u8],
    width: usize,
    words: Vec<Vec<u8>>,
}

impl<'b> Run<'b> {
    fn new(out: &'b mut Vec<u8>, name: &'static [u8], key: &'b [u8], width: usize) -> Run<'b> {
        Run {
            out,
            name,
            key,
            width,
            words: Vec::new(),
        }
    }

    fn push(&mut self, elem: Elem<'_>) {
        self.words.push(elem.to_vec());
        if self.words.len() == PORTION * self.width {
            self.flush();
        }
    }

    fn flush(&mut self) {
        let mut argv: Vec<&[u8]> = vec![self.name, self.key];
        argv.extend(self.words.iter().map(Vec::as_slice));
        encode(self.out, &argv);
        self.words.clear();
    }

    fn end(mut self) {
        if !self.words.is_empty() {
            self.flush();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keyspace::value::Str;
    use crate::keyspace::value::hash::{Hash, HashLimits};

    #[test]
    fn a_large_hash_is_portioned_and_its_expiry_comes_last() {
        let mut hash = Hash::new();
        for n in 0..65i64 {
            hash.set(n, n, &HashLimits::default());
        }
        let mut file = Vec::new();
        let mut commands = Commands::new(&mut file);
        commands
            .entry(3, b"h", ValueRef::Hash(&hash), Some(99))
            .unwrap();
        commands
            .entry(3, b"s", ValueRef::Str(Str::new(b"x").as_ref()), None)
            .unwrap();
        let text = String::from_utf8(file).unwrap();
        assert!(text.starts_with("*2\r\n$6\r\nSELECT\r\n$1\r\n3\r\n*130\r\n$5\r\nHMSET\r\n"));
        assert!(text.contains("*4\r\n$5\r\nHMSET\r\n$1\r\nh\r\n$2\r\n64\r\n$2\r\n64\r\n"));
        assert!(text.contains("*3\r\n$9\r\nPEXPIREAT\r\n$1\r\nh\r\n$2\r\n99\r\n"));
        assert!(text.ends_with("*3\r\n$3\r\nSET\r\n$1\r\ns\r\n$1\r\nx\r\n"));
        assert_eq!(text.matches("SELECT").count(), 1);
    }
}

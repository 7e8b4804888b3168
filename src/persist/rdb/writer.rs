//! The byte level of writing: a buffered, checksummed stream and the fields of the format. What a
//! value looks like is in [`save`](super::save).
//!
//! ```text
//! "REDIS" version (4 digits)
//! aux fields, function libraries
//! per database: SELECTDB n, RESIZEDB keys expires
//! per key: [SELECTDB n] [EXPIRETIME_MS ms] [IDLE s | FREQ n] type key value
//! EOF, CRC-64 of everything before (zero when it was not computed)
//! ```
//!
//! The version in front is the oldest one that has all types inside: the configured one, unless
//! fields of hashes expire ([`Writer::carry_field_expiry`]).

use std::io::{self, Write};

use crate::base::crc::crc64;
use crate::base::lzf::Compressor;
use crate::base::num::parse_i64;
use crate::persist::rdb::elems::Elem;
use crate::persist::rdb::listpack;
use crate::persist::rdb::types::{
    DEFAULT_VERSION, ENC_INT8, ENC_INT16, ENC_INT32, ENC_LZF, FIELD_EXPIRY_VERSION,
    MIN_WRITE_VERSION, OP_AUX, OP_EOF, OP_EXPIRETIME_MS, OP_FREQ, OP_FUNCTION2, OP_IDLE,
    OP_RESIZEDB, OP_SELECTDB, ObjectType,
};

const BUFFER: usize = 64 << 10;
/// Shorter strings do not compress.
const MIN_COMPRESS: usize = 21;
/// What compression must save to be used.
const MIN_SAVING: usize = 4;
/// Longest text of a 32-bit integer.
const MAX_INT_TEXT: usize = 11;

/// How to write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Config {
    /// Version named in front, which also decides among the types.
    pub version: u16,
    /// `rdbcompression`.
    pub compress: bool,
    /// `rdbchecksum`.
    pub checksum: bool,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            version: DEFAULT_VERSION,
            compress: true,
            checksum: true,
        }
    }
}

impl Config {
    /// The nearest version that can be written.
    pub fn with_version(self, version: u16) -> Config {
        Config {
            version: version.clamp(MIN_WRITE_VERSION, DEFAULT_VERSION),
            ..self
        }
    }
}

/// What the file says about its origin.
#[derive(Debug, Clone, Default)]
pub struct Origin<'a> {
    /// `redis-ver`.
    pub server_version: &'a str,
    /// `ctime`: unix seconds.
    pub created_s: i64,
    /// `used-mem`, bytes.
    pub used_memory: u64,
    /// Where the data set stands in the replication stream.
    pub replication: Option<ReplicationPoint<'a>>,
    /// Whether this is the base file of an append-only file.
    pub aof_base: bool,
}

/// A position in a replication stream.
#[derive(Debug, Clone)]
pub struct ReplicationPoint<'a> {
    /// `repl-stream-db`: the database selected in the stream, -1 for none.
    pub stream_db: i64,
    /// `repl-id`: 40 hexadecimal digits.
    pub id: &'a str,
    /// `repl-offset`.
    pub offset: i64,
}

/// What eviction knows of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Usage {
    /// Nothing is kept.
    #[default]
    None,
    /// Seconds since it was used.
    IdleSeconds(u64),
    /// LFU counter.
    Frequency(u8),
}

/// An RDB stream being written.
pub struct Writer<W> {
    inner: W,
    config: Config,
    buffer: Vec<u8>,
    written: u64,
    sum: u64,
    compressor: Compressor,
    luck: Luck,
    packed: Vec<u8>,
    /// The database of the entry written last.
    db: Option<u32>,
    /// Room for the packed blocks of small collections.
    pub(super) listpack: listpack::Builder,
}

/// Memory that a writer works with, to be used again by the next one.
#[derive(Default)]
pub struct Room {
    buffer: Vec<u8>,
    packed: Vec<u8>,
    listpack: listpack::Builder,
}

impl Room {
    /// Bytes of each part that are worth keeping.
    const KEPT: usize = 8 << 10;

    /// Gives back what only a large value needed.
    pub fn shrink(&mut self) {
        self.buffer.shrink_to(Room::KEPT);
        self.packed.shrink_to(Room::KEPT);
        self.listpack.shrink_to(Room::KEPT);
    }
}

/// How compression fares. Data that does not compress costs most of the time of a snapshot, so
/// where one string after the other has failed, only some of the next ones are tried.
#[derive(Debug, Default)]
struct Luck {
    misses: u32,
}

impl Luck {
    /// Failures in a row before strings are passed over.
    const PATIENCE: u32 = 64;
    /// One of so many is tried then.
    const TRIED: u32 = 64;

    fn is_worth_a_try(&mut self) -> bool {
        if self.misses < Luck::PATIENCE {
            return true;
        }
        self.misses += 1;
        if self.misses < Luck::PATIENCE + Luck::TRIED {
            return false;
        }
        self.misses = Luck::PATIENCE;
        true
    }

    fn note(&mut self, shorter: bool) {
        self.misses = if shorter { 0 } else { self.misses + 1 };
    }
}

impl<W: Write> Writer<W> {
    /// Writes to `inner` as `config` says.
    pub fn new(inner: W, config: Config) -> Writer<W> {
        Writer {
            inner,
            config,
            buffer: Vec::new(),
            written: 0,
            sum: 0,
            compressor: Compressor::default(),
            luck: Luck::default(),
            packed: Vec::new(),
            db: None,
            listpack: listpack::Builder::default(),
        }
    }

    /// Raises the version to one that has hashes whose fields expire. Comes before the header.
    pub fn carry_field_expiry(&mut self) {
        self.config.version = self.config.version.max(FIELD_EXPIRY_VERSION);
    }

    /// Compresses with this from now on, and gives back what it did so with: a new one begins by
    /// clearing a table that is larger than most values.
    pub fn swap_compressor(&mut self, other: &mut Compressor) {
        std::mem::swap(&mut self.compressor, other);
    }

    /// Works with this memory from now on, and gives back what it did so with. Nothing may be
    /// buffered.
    pub fn swap_room(&mut self, other: &mut Room) {
        std::mem::swap(&mut self.buffer, &mut other.buffer);
        std::mem::swap(&mut self.packed, &mut other.packed);
        std::mem::swap(&mut self.listpack, &mut other.listpack);
    }

    /// How it writes.
    pub fn config(&self) -> Config {
        self.config
    }

    /// Bytes written, those still buffered included.
    pub fn offset(&self) -> u64 {
        self.written + self.buffer.len() as u64
    }

    /// Hands what is buffered to the stream.
    pub fn flush_buffer(&mut self) -> io::Result<()> {
        if self.config.checksum {
            self.sum = crc64(self.sum, &self.buffer);
        }
        self.inner.write_all(&self.buffer)?;
        self.written += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }

    /// Bytes as they are.
    pub fn raw(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.buffer.len() + bytes.len() >= BUFFER {
            self.flush_buffer()?;
            if bytes.len() >= BUFFER {
                if self.config.checksum {
                    self.sum = crc64(self.sum, bytes);
                }
                self.inner.write_all(bytes)?;
                self.written += bytes.len() as u64;
                return Ok(());
            }
        }
        self.buffer.extend_from_slice(bytes);
        Ok(())
    }

    /// One byte.
    pub fn byte(&mut self, byte: u8) -> io::Result<()> {
        self.raw(&[byte])
    }

    /// A length field.
    pub fn length(&mut self, length: u64) -> io::Result<()> {
        let [.., high, low] = length.to_be_bytes();
        if length < 1 << 6 {
            self.byte(low)
        } else if length < 1 << 14 {
            self.raw(&[0x40 | high, low])
        } else if let Ok(short) = u32::try_from(length) {
            self.byte(0x80)?;
            self.raw(&short.to_be_bytes())
        } else {
            self.byte(0x81)?;
            self.raw(&length.to_be_bytes())
        }
    }

    /// A string, as an integer or compressed where that is shorter.
    pub fn string(&mut self, bytes: &[u8]) -> io::Result<()> {
        if bytes.len() <= MAX_INT_TEXT
            && let Some(int) = parse_i64(bytes)
            && let Ok(int) = i32::try_from(int)
        {
            return self.integer(int);
        }
        if self.config.compress
            && bytes.len() >= MIN_COMPRESS
            && self.luck.is_worth_a_try()
            && self.compressed(bytes)?
        {
            return Ok(());
        }
        self.length(bytes.len() as u64)?;
        self.raw(bytes)
    }

    /// The string that is the decimal text of `int`.
    pub fn int_string(&mut self, int: i64) -> io::Result<()> {
        match i32::try_from(int) {
            Ok(short) => self.integer(short),
            Err(_) => {
                let mut text = itoa::Buffer::new();
                let text = text.format(int).as_bytes();
                self.length(text.len() as u64)?;
                self.raw(text)
            }
        }
    }

    fn integer(&mut self, int: i32) -> io::Result<()> {
        let [a, b, c, d] = int.to_le_bytes();
        let special = |form: u8| 0xc0 | form;
        if i8::try_from(int).is_ok() {
            self.raw(&[special(ENC_INT8), a])
        } else if i16::try_from(int).is_ok() {
            self.raw(&[special(ENC_INT16), a, b])
        } else {
            self.raw(&[special(ENC_INT32), a, b, c, d])
        }
    }

    fn compressed(&mut self, bytes: &[u8]) -> io::Result<bool> {
        let mut packed = std::mem::take(&mut self.packed);
        packed.clear();
        let shorter = self.compressor.compress(bytes, MIN_SAVING, &mut packed);
        self.luck.note(shorter);
        let outcome = if shorter {
            self.compressed_parts(&packed, bytes.len())
        } else {
            Ok(())
        };
        packed.shrink_to(1 << 20);
        self.packed = packed;
        outcome.map(|()| shorter)
    }

    fn compressed_parts(&mut self, packed: &[u8], length: usize) -> io::Result<()> {
        self.byte(0xc0 | ENC_LZF)?;
        self.length(packed.len() as u64)?;
        self.length(length as u64)?;
        self.raw(packed)
    }

    /// An element, as the string it is.
    pub fn elem(&mut self, elem: Elem<'_>) -> io::Result<()> {
        match elem {
            Elem::Bytes(bytes) => self.string(bytes),
            Elem::Int(int) => self.int_string(int),
        }
    }

    /// A binary64.
    pub fn double(&mut self, value: f64) -> io::Result<()> {
        self.raw(&value.to_le_bytes())
    }

    /// The listpack built in [`Writer::listpack`], as a string; the builder is empty after it.
    pub(super) fn built_listpack(&mut self) -> io::Result<()> {
        let mut builder = std::mem::take(&mut self.listpack);
        let outcome = self.string(builder.finish());
        builder.clear();
        self.listpack = builder;
        outcome
    }

    /// The signature and version, and the aux fields of `origin`.
    pub fn header(&mut self, origin: &Origin<'_>) -> io::Result<()> {
        self.raw(format!("REDIS{:04}", self.config.version).as_bytes())?;
        self.aux(b"redis-ver", origin.server_version.as_bytes())?;
        self.aux_int(b"redis-bits", i64::from(usize::BITS))?;
        self.aux_int(b"ctime", origin.created_s)?;
        self.aux_int(
            b"used-mem",
            i64::try_from(origin.used_memory).unwrap_or(i64::MAX),
        )?;
        if let Some(point) = &origin.replication {
            self.aux_int(b"repl-stream-db", point.stream_db)?;
            self.aux(b"repl-id", point.id.as_bytes())?;
            self.aux_int(b"repl-offset", point.offset)?;
        }
        self.aux_int(b"aof-base", i64::from(origin.aof_base))
    }

    /// A named string about the whole file.
    pub fn aux(&mut self, name: &[u8], value: &[u8]) -> io::Result<()> {
        self.byte(OP_AUX)?;
        self.string(name)?;
        self.string(value)
    }

    fn aux_int(&mut self, name: &[u8], value: i64) -> io::Result<()> {
        self.byte(OP_AUX)?;
        self.string(name)?;
        self.int_string(value)
    }

    /// A function library, by its source.
    pub fn function(&mut self, code: &[u8]) -> io::Result<()> {
        self.byte(OP_FUNCTION2)?;
        self.string(code)
    }

    /// Entries that follow belong to `db`.
    pub fn select_db(&mut self, db: u32) -> io::Result<()> {
        if self.db == Some(db) {
            return Ok(());
        }
        self.db = Some(db);
        self.byte(OP_SELECTDB)?;
        self.length(u64::from(db))
    }

    /// Tells how many keys database `db` has, and how many with an expiry, before its first one.
    pub fn size_hint(&mut self, db: u32, keys: u64, expires: u64) -> io::Result<()> {
        self.select_db(db)?;
        self.byte(OP_RESIZEDB)?;
        self.length(keys)?;
        self.length(expires)
    }

    /// What precedes a value: its expiry, usage, type and key.
    pub fn entry_head(
        &mut self,
        kind: ObjectType,
        key: &[u8],
        expire_ms: Option<i64>,
        usage: Usage,
    ) -> io::Result<()> {
        if let Some(expire_ms) = expire_ms {
            self.byte(OP_EXPIRETIME_MS)?;
            self.raw(&expire_ms.to_le_bytes())?;
        }
        match usage {
            Usage::None => {}
            Usage::IdleSeconds(idle_s) => {
                self.byte(OP_IDLE)?;
                self.length(idle_s)?;
            }
            Usage::Frequency(frequency) => self.raw(&[OP_FREQ, frequency])?,
        }
        self.byte(kind as u8)?;
        self.string(key)
    }

    /// Ends the file, flushes, and gives the stream back with the number of bytes written.
    pub fn finish(mut self) -> io::Result<(W, u64)> {
        self.byte(OP_EOF)?;
        self.flush_buffer()?;
        let sum = if self.config.checksum { self.sum } else { 0 };
        self.inner.write_all(&sum.to_le_bytes())?;
        self.inner.flush()?;
        Ok((self.inner, self.written + 8))
    }

    /// Flushes what was written without ending a file, for payloads that end otherwise.
    pub(super) fn into_inner(mut self) -> io::Result<W> {
        self.flush_buffer()?;
        Ok(self.inner)
    }
}

impl Writer<Vec<u8>> {
    /// Hands what is buffered to the vector, which gets room for so many bytes behind it.
    pub(super) fn flush_with_room(&mut self, more: usize) -> io::Result<()> {
        self.inner.reserve_exact(self.buffer.len() + more);
        self.flush_buffer()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::persist::rdb::source::Source;
    use proptest::prelude::*;

    fn written(build: impl FnOnce(&mut Writer<Vec<u8>>) -> io::Result<()>) -> Vec<u8> {
        let mut writer = Writer::new(Vec::new(), Config::default());
        build(&mut writer).unwrap();
        writer.into_inner().unwrap()
    }

    #[test]
    fn lengths_take_the_shortest_form() {
        for (length, bytes) in [
            (63, &b"\x3f"[..]),
            (64, b"\x40\x40"),
            (16_383, b"\x7f\xff"),
            (16_384, b"\x80\0\0\x40\0"),
            (u64::from(u32::MAX), b"\x80\xff\xff\xff\xff"),
            (1 << 32, b"\x81\0\0\0\x01\0\0\0\0"),
        ] {
            assert_eq!(written(|writer| writer.length(length)), bytes);
        }
    }

    #[test]
    fn strings_take_the_shortest_form() {
        for (text, bytes) in [
            (&b"12"[..], &b"\xc0\x0c"[..]),
            (b"-129", b"\xc1\x7f\xff"),
            (b"2147483647", b"\xc2\xff\xff\xff\x7f"),
            (b"2147483648", b"\x0a2147483648"),
            (b"012", b"\x03012"),
            (b"", b"\x00"),
        ] {
            assert_eq!(written(|writer| writer.string(text)), bytes);
        }
        assert_eq!(
            written(|writer| writer.int_string(1 << 40)),
            b"\x0d1099511627776"
        );
        assert!(written(|writer| writer.string(&[b'a'; 1000])).len() < 30);
    }

    #[test]
    fn a_whole_file_has_its_checksum() {
        let mut writer = Writer::new(Vec::new(), Config::default());
        let origin = Origin {
            server_version: "8.0.6",
            ..Origin::default()
        };
        writer.header(&origin).unwrap();
        writer.size_hint(0, 1, 0).unwrap();
        let head = (ObjectType::String, b"key");
        writer
            .entry_head(head.0, head.1, Some(5), Usage::Frequency(9))
            .unwrap();
        writer.string(&vec![7; 200_000]).unwrap();
        let offset = writer.offset();
        let (file, length) = writer.finish().unwrap();
        assert_eq!(file.len() as u64, length);
        assert_eq!(offset + 9, length);
        assert!(file.starts_with(b"REDIS0011\xfa\x09redis-ver\x058.0.6\xfa\x0aredis-bits\xc0\x40"));
        let (body, sum) = file.split_at(file.len() - 8);
        assert_eq!(sum, crc64(0, body).to_le_bytes());
    }

    #[test]
    fn without_checksum_the_trailer_is_zero() {
        let config = Config {
            checksum: false,
            ..Config::default()
        };
        let (file, _) = Writer::new(Vec::new(), config).finish().unwrap();
        assert_eq!(file, b"\xff\0\0\0\0\0\0\0\0");
    }

    #[test]
    fn compression_is_tried_again_behind_data_that_does_not_compress() {
        let mut writer = Writer::new(Vec::new(), Config::default());
        let mut state = 1_u64;
        for _ in 0..1000 {
            let noise = std::iter::repeat_with(|| {
                state = state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1);
                (state >> 56) as u8
            });
            let noise: Vec<u8> = noise.take(100).collect();
            writer.string(&noise).unwrap();
        }
        let before = writer.offset() as usize;
        for _ in 0..1000 {
            writer.string(&[b'a'; 100]).unwrap();
        }
        let plain = 1000 * 102;
        assert!(writer.offset() as usize - before < plain / 4);
    }

    proptest! {
        #[test]
        fn any_string_survives(
            strings in prop::collection::vec(prop_oneof![
                any::<i64>().prop_map(|int| int.to_string().into_bytes()),
                prop::collection::vec(any::<u8>(), 0..300),
                prop::collection::vec(0u8..2, 0..100_000),
            ], 0..20),
            compress in any::<bool>(),
        ) {
            let mut writer = Writer::new(Vec::new(), Config { compress, ..Config::default() });
            for string in &strings {
                writer.string(string).unwrap();
            }
            let bytes = writer.into_inner().unwrap();
            let mut source = Source::with_buffer(&bytes[..], 100);
            for string in &strings {
                let piece: Elem<'_> = source.string().unwrap();
                let mut text = itoa::Buffer::new();
                prop_assert_eq!(piece.to_bytes(&mut text), &string[..]);
            }
            prop_assert_eq!(source.offset(), bytes.len() as u64);
        }
    }
}

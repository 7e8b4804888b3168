//! The byte level of reading: a buffered stream that knows its offset and its checksum, and the
//! lengths, numbers and strings of the format.
//!
//! ```text
//! 00llllll                    length up to 63
//! 01llllll llllllll           length up to 16383
//! 10000000 (u32 BE)           longer length
//! 10000001 (u64 BE)           longer length
//! 110000tt                    a string in a special form: integer of 8, 16, 32 bits, or LZF
//! ```
//!
//! Guarantees: a declared length costs memory only as its bytes arrive; a string that lies whole
//! in the buffer is lent from it without a copy; bytes are checksummed in large runs; no read is
//! asked for while the bytes needed are there, so a socket never blocks on what comes after the
//! last item ([`Source::into_rest`] gives back what was read ahead).

use std::io::{ErrorKind as IoKind, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::base::crc::crc64;
use crate::base::lzf;
use crate::persist::rdb::elems::{Elem, signed_le};
use crate::persist::rdb::error::{Error, ErrorKind, Result};
use crate::persist::rdb::types::{ENC_INT8, ENC_INT16, ENC_INT32, ENC_LZF};

const BUFFER: usize = 128 << 10;
/// What is reserved at once for a string that is longer than the buffer.
const STEP: u64 = 1 << 20;

/// A decoded length field: a length, or the number of a special string form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Length {
    /// A plain length.
    Plain(u64),
    /// A special form.
    Special(u8),
}

/// A string as [`Source::text`] gives it.
#[derive(Debug, PartialEq, Eq)]
pub enum Text<'a> {
    /// Lent until the next call.
    Lent(Elem<'a>),
    /// Read into a buffer of its own, of its size.
    Own(Vec<u8>),
}

/// A stream being read.
pub struct Source<R> {
    inner: R,
    buffer: Box<[u8]>,
    /// First unread byte of the buffer.
    at: usize,
    /// End of what the buffer holds.
    end: usize,
    /// First byte of the buffer that the checksum does not cover yet.
    summed: usize,
    /// Offset in the stream of the buffer's first byte.
    base: u64,
    sum: u64,
    checksum: bool,
    progress: Option<Arc<AtomicU64>>,
    /// Strings that had to be assembled are lent from here.
    scratch: Vec<u8>,
    /// Compressed bytes on their way to the scratch.
    packed: Vec<u8>,
}

impl<R: Read> Source<R> {
    /// Reads from `inner`.
    pub fn new(inner: R) -> Source<R> {
        Source::with_buffer(inner, BUFFER)
    }

    /// Reads from `inner` through a buffer of `size` bytes (at least 64).
    pub fn with_buffer(inner: R, size: usize) -> Source<R> {
        Source {
            inner,
            buffer: vec![0; size.max(64)].into_boxed_slice(),
            at: 0,
            end: 0,
            summed: 0,
            base: 0,
            sum: 0,
            checksum: true,
            progress: None,
            scratch: Vec::new(),
            packed: Vec::new(),
        }
    }

    /// Leaves out the checksum: a trailer is then taken as it is.
    pub fn without_checksum(&mut self) {
        self.checksum = false;
    }

    /// Whether bytes are checksummed.
    pub fn sums(&self) -> bool {
        self.checksum
    }

    /// Publishes the offset whenever bytes arrive.
    pub fn report_progress(&mut self, progress: Arc<AtomicU64>) {
        self.progress = Some(progress);
    }

    /// Bytes consumed.
    pub fn offset(&self) -> u64 {
        self.base + self.at as u64
    }

    /// CRC-64 of the bytes consumed.
    pub fn checksum(&mut self) -> u64 {
        self.sum_consumed();
        self.sum
    }

    /// The stream, and the bytes read from it that were not consumed.
    pub fn into_rest(self) -> (R, Vec<u8>) {
        let ahead = self.buffer.get(self.at..self.end).unwrap_or_default();
        (self.inner, ahead.to_vec())
    }

    /// A failure at the present offset.
    pub fn fail(&self, kind: ErrorKind) -> Error {
        Error {
            offset: self.offset(),
            kind,
        }
    }

    /// A contradiction at the present offset.
    pub fn corrupt(&self, what: impl Into<String>) -> Error {
        self.fail(ErrorKind::corrupt(what))
    }

    fn sum_consumed(&mut self) {
        if self.checksum
            && let Some(bytes) = self.buffer.get(self.summed..self.at)
        {
            self.sum = crc64(self.sum, bytes);
        }
        self.summed = self.at;
    }

    fn read_some(inner: &mut R, room: &mut [u8]) -> std::result::Result<usize, ErrorKind> {
        loop {
            match inner.read(room) {
                Ok(0) => return Err(ErrorKind::Eof),
                Ok(count) => return Ok(count.min(room.len())),
                Err(error) if error.kind() == IoKind::Interrupted => {}
                Err(error) => return Err(ErrorKind::Io(error)),
            }
        }
    }

    fn note_progress(&self) {
        if let Some(progress) = &self.progress {
            progress.store(self.base + self.end as u64, Ordering::Relaxed);
        }
    }

    /// Makes `count` unread bytes lie in the buffer. `count` is at most the buffer's size.
    fn ensure(&mut self, count: usize) -> Result<()> {
        if self.end - self.at >= count {
            return Ok(());
        }
        if self.buffer.len() - self.at < count {
            self.sum_consumed();
            self.buffer.copy_within(self.at..self.end, 0);
            self.base += self.at as u64;
            self.end -= self.at;
            self.at = 0;
            self.summed = 0;
        }
        while self.end - self.at < count {
            let room = self.buffer.get_mut(self.end..).unwrap_or_default();
            match Self::read_some(&mut self.inner, room) {
                Ok(more) => self.end += more,
                Err(kind) => return Err(self.fail(kind)),
            }
            self.note_progress();
        }
        Ok(())
    }

    /// The next `count` bytes, which must not exceed the buffer's size.
    fn take(&mut self, count: usize) -> Result<&[u8]> {
        self.ensure(count)?;
        let from = self.at;
        self.at += count;
        Ok(self.buffer.get(from..self.at).unwrap_or_default())
    }

    /// The next `N` bytes.
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let bytes = self.take(N)?.first_chunk::<N>().copied();
        bytes.ok_or_else(|| self.fail(ErrorKind::Eof))
    }

    /// The next byte.
    pub fn byte(&mut self) -> Result<u8> {
        let [byte] = self.array()?;
        Ok(byte)
    }

    /// A unix time of 8 bytes.
    pub fn millis(&mut self) -> Result<i64> {
        Ok(i64::from_le_bytes(self.array()?))
    }

    /// A binary64.
    pub fn double(&mut self) -> Result<f64> {
        Ok(f64::from_le_bytes(self.array()?))
    }

    /// A length field.
    pub fn length_field(&mut self) -> Result<Length> {
        let first = self.byte()?;
        let low = u64::from(first & 0x3f);
        match first >> 6 {
            0 => Ok(Length::Plain(low)),
            1 => Ok(Length::Plain((low << 8) | u64::from(self.byte()?))),
            3 => Ok(Length::Special(first & 0x3f)),
            _ => match first {
                0x80 => Ok(Length::Plain(u64::from(u32::from_be_bytes(self.array()?)))),
                0x81 => Ok(Length::Plain(u64::from_be_bytes(self.array()?))),
                _ => Err(self.corrupt(format!(
                    "Unknown length encoding {} in rdbLoadLen()",
                    first >> 6
                ))),
            },
        }
    }

    /// A length field that must be a plain length.
    pub fn length(&mut self) -> Result<u64> {
        match self.length_field()? {
            Length::Plain(length) => Ok(length),
            Length::Special(form) => Err(self.corrupt(format!(
                "Special encoding {form} where a length is expected"
            ))),
        }
    }

    /// A string, lent until the next call.
    pub fn string(&mut self) -> Result<Elem<'_>> {
        match self.length_field()? {
            Length::Plain(length) if length <= self.buffer.len() as u64 => {
                Ok(Elem::Bytes(self.take(length as usize)?))
            }
            Length::Plain(length) => self.in_scratch(|source, out| source.append(length, out)),
            Length::Special(ENC_LZF) => {
                let (compressed, length) = self.packed_lengths()?;
                self.in_scratch(|source, out| source.unpack(compressed, length, out))
            }
            Length::Special(form) => Ok(Elem::Int(self.integer(form)?)),
        }
    }

    /// A string, in a buffer of its own when it is longer than `lend_up_to`.
    pub fn text(&mut self, lend_up_to: usize) -> Result<Text<'_>> {
        let lend_up_to = lend_up_to as u64;
        let mut own = Vec::new();
        match self.length_field()? {
            Length::Plain(length) if length > lend_up_to => {
                self.append(length, &mut own)?;
                Ok(Text::Own(own))
            }
            Length::Plain(length) if length <= self.buffer.len() as u64 => {
                Ok(Text::Lent(Elem::Bytes(self.take(length as usize)?)))
            }
            Length::Plain(length) => self
                .in_scratch(|source, out| source.append(length, out))
                .map(Text::Lent),
            Length::Special(ENC_LZF) => {
                let (compressed, length) = self.packed_lengths()?;
                if length > lend_up_to {
                    self.unpack(compressed, length, &mut own)?;
                    return Ok(Text::Own(own));
                }
                self.in_scratch(|source, out| source.unpack(compressed, length, out))
                    .map(Text::Lent)
            }
            Length::Special(form) => Ok(Text::Lent(Elem::Int(self.integer(form)?))),
        }
    }

    /// Fills the scratch, and lends it.
    fn in_scratch(
        &mut self,
        fill: impl FnOnce(&mut Self, &mut Vec<u8>) -> Result<()>,
    ) -> Result<Elem<'_>> {
        let mut scratch = std::mem::take(&mut self.scratch);
        scratch.clear();
        scratch.shrink_to(STEP as usize);
        let outcome = fill(self, &mut scratch);
        self.scratch = scratch;
        outcome.map(|()| Elem::Bytes(&self.scratch))
    }

    /// A string, appended to `out`; its integer instead when it is stored as one.
    pub fn string_into(&mut self, out: &mut Vec<u8>) -> Result<Option<i64>> {
        match self.length_field()? {
            Length::Plain(length) => self.append(length, out).map(|()| None),
            Length::Special(ENC_LZF) => {
                let (compressed, length) = self.packed_lengths()?;
                self.unpack(compressed, length, out).map(|()| None)
            }
            Length::Special(form) => self.integer(form).map(Some),
        }
    }

    /// A string as its bytes, appended to `out`.
    pub fn text_into(&mut self, out: &mut Vec<u8>) -> Result<()> {
        if let Some(int) = self.string_into(out)? {
            out.extend_from_slice(itoa::Buffer::new().format(int).as_bytes());
        }
        Ok(())
    }

    fn integer(&mut self, form: u8) -> Result<i64> {
        match form {
            ENC_INT8 => Ok(signed_le(&self.array::<1>()?)),
            ENC_INT16 => Ok(signed_le(&self.array::<2>()?)),
            ENC_INT32 => Ok(signed_le(&self.array::<4>()?)),
            _ => Err(self.corrupt(format!("Unknown RDB string encoding type {form}"))),
        }
    }

    /// The two lengths in front of a compressed string: compressed, and not.
    fn packed_lengths(&mut self) -> Result<(u64, u64)> {
        let compressed = self.length()?;
        let length = self.length()?;
        if !lzf::plausible(compressed, length) {
            return Err(self.corrupt("Invalid LZF compressed string"));
        }
        Ok((compressed, length))
    }

    fn unpack(&mut self, compressed: u64, length: u64, out: &mut Vec<u8>) -> Result<()> {
        let mut packed = std::mem::take(&mut self.packed);
        packed.clear();
        let outcome = self.append(compressed, &mut packed);
        let whole = outcome.map(|()| lzf::decompress(&packed, length as usize, out));
        packed.shrink_to(STEP as usize);
        self.packed = packed;
        whole?.ok_or_else(|| self.corrupt("Invalid LZF compressed string"))
    }

    /// Appends `count` bytes of the stream to `out`.
    pub fn append(&mut self, count: u64, out: &mut Vec<u8>) -> Result<()> {
        let mut left = count;
        let buffered = (self.end - self.at) as u64;
        let ready = left.min(buffered) as usize;
        out.reserve(left.min(STEP) as usize);
        out.extend_from_slice(self.take(ready)?);
        left -= ready as u64;
        // What the buffer could hold goes through it; more than that is read in place.
        if left > 0 && left <= self.buffer.len() as u64 {
            out.extend_from_slice(self.take(left as usize)?);
            return Ok(());
        }
        while left > 0 {
            let step = left.min(STEP.max(out.len() as u64)) as usize;
            self.append_direct(step, out)?;
            left -= step as u64;
        }
        Ok(())
    }

    /// Appends `count` bytes past the buffer, which is empty.
    fn append_direct(&mut self, count: usize, out: &mut Vec<u8>) -> Result<()> {
        self.sum_consumed();
        let start = out.len();
        out.reserve_exact(count);
        out.resize(start + count, 0);
        let mut filled = start;
        let mut outcome = Ok(());
        while let Some(room) = out.get_mut(filled..)
            && !room.is_empty()
        {
            match Self::read_some(&mut self.inner, room) {
                Ok(more) => filled += more,
                Err(kind) => {
                    outcome = Err(kind);
                    break;
                }
            }
        }
        out.truncate(filled);
        if self.checksum
            && let Some(bytes) = out.get(start..)
        {
            self.sum = crc64(self.sum, bytes);
        }
        self.base += (filled - start) as u64;
        self.note_progress();
        outcome.map_err(|kind| self.fail(kind))
    }

    /// Passes over a string. A compressed one is checked for its bounds, not decoded.
    pub fn skip_string(&mut self) -> Result<()> {
        match self.length_field()? {
            Length::Plain(length) => self.skip(length),
            Length::Special(ENC_LZF) => {
                let (compressed, _) = self.packed_lengths()?;
                self.skip(compressed)
            }
            Length::Special(form) => self.integer(form).map(|_| ()),
        }
    }

    /// Passes over `count` bytes.
    pub fn skip(&mut self, count: u64) -> Result<()> {
        let mut left = count;
        while left > 0 {
            self.ensure(1)?;
            let step = left.min((self.end - self.at) as u64);
            self.at += step as usize;
            left -= step;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives one byte at a time, as a slow socket may.
    struct Trickle<'a>(&'a [u8]);

    impl Read for Trickle<'_> {
        fn read(&mut self, room: &mut [u8]) -> std::io::Result<usize> {
            let count = room.len().min(1);
            self.0.read(&mut room[..count])
        }
    }

    fn source(bytes: &[u8]) -> Source<&[u8]> {
        Source::with_buffer(bytes, 64)
    }

    #[test]
    fn every_length_form_is_read() {
        let mut source = source(b"\x3f\x7f\xff\x80\0\x01\0\0\x81\0\0\0\x01\0\0\0\0\xc3\x82");
        assert_eq!(source.length().unwrap(), 63);
        assert_eq!(source.length().unwrap(), 16_383);
        assert_eq!(source.length().unwrap(), 65_536);
        assert_eq!(source.length().unwrap(), 1 << 32);
        assert_eq!(source.length_field().unwrap(), Length::Special(3));
        let error = source.length().unwrap_err();
        assert_eq!(error.offset, 19);
        assert!(
            error.to_string().contains("Unknown length encoding 2"),
            "{error}"
        );
    }

    #[test]
    fn every_string_form_is_read() {
        let bytes = b"\x03abc\xc0\xff\xc1\x00\x80\xc2\xff\xff\xff\x7f\xc3\x05\x28\x00a\xe0\x1e\x00";
        let mut whole = source(bytes);
        assert_eq!(whole.string().unwrap(), Elem::Bytes(b"abc"));
        assert_eq!(whole.string().unwrap(), Elem::Int(-1));
        assert_eq!(whole.string().unwrap(), Elem::Int(-32_768));
        assert_eq!(whole.string().unwrap(), Elem::Int(2_147_483_647));
        assert_eq!(whole.string().unwrap(), Elem::Bytes(&[b'a'; 40]));
        assert!(matches!(whole.string().unwrap_err().kind, ErrorKind::Eof));
        let mut slow = Source::with_buffer(Trickle(bytes), 64);
        let mut text = Vec::new();
        for _ in 0..5 {
            slow.text_into(&mut text).unwrap();
        }
        assert_eq!(
            text,
            ["abc-1-327682147483647", &"a".repeat(40)]
                .concat()
                .into_bytes()
        );
        let mut skipped = source(bytes);
        for _ in 0..5 {
            skipped.skip_string().unwrap();
        }
        assert_eq!(skipped.offset(), bytes.len() as u64);
        assert_eq!(skipped.checksum(), crc64(0, bytes));
        assert_eq!(slow.checksum(), crc64(0, bytes));
    }

    #[test]
    fn strings_larger_than_the_buffer_keep_offset_and_checksum() {
        let mut bytes = vec![0x80, 0, 0x30, 0, 0];
        bytes.extend((0..3 << 20).map(|i: u32| (i * 7) as u8));
        bytes.extend(b"\x02hi");
        let mut source = source(&bytes);
        assert_eq!(
            source.string().unwrap(),
            Elem::Bytes(&bytes[5..bytes.len() - 3])
        );
        assert_eq!(source.offset(), bytes.len() as u64 - 3);
        assert_eq!(source.string().unwrap(), Elem::Bytes(b"hi"));
        assert_eq!(source.checksum(), crc64(0, &bytes));
    }

    #[test]
    fn a_declared_length_costs_nothing() {
        for bytes in [
            &b"\x81\xff\xff\xff\xff\xff\xff\xff\xffabc"[..],
            b"\xc3\x81\0\0\0\xff\0\0\0\0\x81\0\0\0\xff\0\0\0\0abc",
        ] {
            let mut source = source(bytes);
            let mut out = Vec::new();
            assert!(source.string_into(&mut out).unwrap_err().is_short_read());
            assert!(out.capacity() <= 4 << 20, "{}", out.capacity());
        }
        let mut bomb = source(b"\xc3\x03\x81\0\0\0\xff\0\0\0\0abc");
        let error = bomb.string().unwrap_err();
        assert!(error.to_string().contains("Invalid LZF"), "{error}");
    }

    #[test]
    fn what_was_read_ahead_is_given_back() {
        let mut source = source(b"\x02hitail of the stream");
        source.string().unwrap();
        let (_, ahead) = source.into_rest();
        assert_eq!(ahead, b"tail of the stream");
    }
}

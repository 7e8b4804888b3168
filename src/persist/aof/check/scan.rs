//! Records of an AOF, read strictly: unlike the server's loader this looks at every line end.
//!
//! Arguments are skipped, not kept, whatever length they declare.

use super::reader_at;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};

const MAX_NUMBER_LINE_BYTES: u64 = 127;
const MAX_ANNOTATION_BYTES: u64 = 1023;

/// Reads one file and remembers what was wrong with it.
pub(super) struct Scanner<'f> {
    input: BufReader<&'f File>,
    offset: u64,
    /// Lines seen, from one, over all files.
    pub line: u64,
    /// Between MULTI and EXEC.
    pub in_transaction: bool,
    /// Where the last read began.
    began_at: u64,
    /// Whether the last read met the end of the file.
    at_end: bool,
    error: Option<String>,
    buffer: Vec<u8>,
}

impl<'f> Scanner<'f> {
    pub fn new(file: &'f File, start: u64, line: u64) -> io::Result<Self> {
        Ok(Self {
            input: reader_at(file, start)?,
            offset: start,
            line,
            in_transaction: false,
            began_at: start,
            at_end: false,
            error: None,
            buffer: Vec::new(),
        })
    }

    /// Offset of the next byte.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// The next byte, not consumed.
    pub fn peek(&mut self) -> io::Result<Option<u8>> {
        let next = self.input.fill_buf()?.first().copied();
        self.at_end = next.is_none();
        Ok(next)
    }

    /// What is wrong, with the offset of the read that found it. A transaction left open by the
    /// file's end is wrong as well.
    pub fn error(&mut self) -> Option<String> {
        if self.at_end && self.in_transaction && self.error.is_none() {
            self.fail("Reached EOF before reading EXEC for MULTI");
        }
        self.error.take()
    }

    fn fail(&mut self, reason: &str) {
        self.error = Some(format!("0x{:16x}: {reason}", self.began_at));
    }

    fn read_line(&mut self, limit: u64) -> bool {
        self.began_at = self.offset;
        self.buffer.clear();
        let read = (&mut self.input)
            .take(limit)
            .read_until(b'\n', &mut self.buffer);
        let Ok(read) = read else { return false };
        self.offset += read as u64;
        let whole = self.buffer.last() == Some(&b'\n') || read as u64 == limit;
        self.at_end = !whole;
        read > 0
    }

    /// An annotation's line; `None` if it cannot be read.
    pub fn annotation(&mut self) -> Option<&[u8]> {
        self.read_line(MAX_ANNOTATION_BYTES)
            .then_some(self.buffer.as_slice())
    }

    /// Reads a command; `false` if it is not well formed, or not where it may stand.
    pub fn command(&mut self, shown: &str) -> bool {
        let Some(count) = self.number(b'*') else {
            return false;
        };
        for index in 0..count {
            let mut name = [0; 6];
            let Some(len) = self.argument(&mut name) else {
                return false;
            };
            if index > 0 {
                continue;
            }
            let name = usize::try_from(len)
                .ok()
                .and_then(|len| name.get(..len))
                .unwrap_or(b"");
            if name.eq_ignore_ascii_case(b"multi") {
                if self.in_transaction {
                    self.fail(&format!("Unexpected MULTI in AOF {shown}"));
                    return false;
                }
                self.in_transaction = true;
            } else if name.eq_ignore_ascii_case(b"exec") {
                if !self.in_transaction {
                    self.fail(&format!("Unexpected EXEC in AOF {shown}"));
                    return false;
                }
                self.in_transaction = false;
            }
        }
        true
    }

    /// A line of `prefix`, a number and a line end.
    fn number(&mut self, prefix: u8) -> Option<i64> {
        if !self.read_line(MAX_NUMBER_LINE_BYTES) {
            return None;
        }
        let (first, text) = self.buffer.split_first()?;
        if *first != prefix {
            let (prefix, first) = (char::from(prefix), char::from(*first));
            self.fail(&format!("Expected prefix '{prefix}', got: '{first}'"));
            return None;
        }
        let (number, rest) = leading_number(text);
        let end = [rest.first(), rest.get(1)].map(|byte| byte.copied().unwrap_or(0));
        self.line_end(end).then_some(number)
    }

    fn line_end(&mut self, end: [u8; 2]) -> bool {
        if &end == b"\r\n" {
            self.line += 1;
            return true;
        }
        // Printed as the C program prints its signed characters.
        let [a, b] = end.map(|byte| i32::from(byte.cast_signed()));
        self.fail(&format!("Expected \\r\\n, got: {a:02x}{b:02x}"));
        false
    }

    /// Skips an argument and returns its length; its first bytes go to `head`.
    fn argument(&mut self, head: &mut [u8]) -> Option<i64> {
        let len = self.number(b'$')?;
        if !(0..=i64::MAX - 2).contains(&len) {
            self.fail(&format!(
                "Expected to read string of {len} bytes, which is not in the suitable range"
            ));
            return None;
        }
        self.began_at = self.offset;
        let whole = len.unsigned_abs() + 2;
        let mut tail = [0; 2];
        let mut read = 0;
        while read < whole {
            let Ok(bytes) = self.input.fill_buf() else {
                break;
            };
            let wanted = usize::try_from(whole - read).unwrap_or(usize::MAX);
            let bytes = bytes.get(..wanted.min(bytes.len())).unwrap_or(bytes);
            if bytes.is_empty() {
                break;
            }
            let at = usize::try_from(read).unwrap_or(usize::MAX);
            if let Some(room) = head.get_mut(at..) {
                room.iter_mut()
                    .zip(bytes)
                    .for_each(|(to, from)| *to = *from);
            }
            if let [.., last] = bytes {
                let before = bytes.len().checked_sub(2).and_then(|at| bytes.get(at));
                tail = [before.copied().unwrap_or(tail[1]), *last];
            }
            let n = bytes.len();
            self.input.consume(n);
            read += n as u64;
        }
        self.offset += read;
        if read < whole {
            self.at_end = true;
            self.fail(&format!("Expected to read {whole} bytes, got {read} bytes"));
            return None;
        }
        self.line_end(tail).then_some(len)
    }
}

/// The number a text begins with, as the C library reads it, and what is behind it.
fn leading_number(text: &[u8]) -> (i64, &[u8]) {
    let blank = |byte: &u8| matches!(byte, b' ' | b'\t'..=b'\r');
    let mut rest = text;
    while let Some((_, after)) = rest.split_first().filter(|(first, _)| blank(first)) {
        rest = after;
    }
    let negative = rest.first() == Some(&b'-');
    if let Some((b'-' | b'+', after)) = rest.split_first() {
        rest = after;
    }
    let mut number = 0i64;
    let mut digits = 0;
    while let Some((digit, after)) = rest.split_first().filter(|(d, _)| d.is_ascii_digit()) {
        let digit = i64::from(digit - b'0');
        number = number.saturating_mul(10);
        number = if negative {
            number.saturating_sub(digit)
        } else {
            number.saturating_add(digit)
        };
        rest = after;
        digits += 1;
    }
    if digits == 0 {
        (0, text)
    } else {
        (number, rest)
    }
}

//! The request parser: RESP arrays of bulk strings, and inline commands.
//!
//! It borrows: arguments are slices of the read buffer, and a complete request in the buffer is
//! parsed in one pass without an allocation. Only a request that is cut off leaves state behind:
//! how far it has been read and where its arguments lie, so that no byte is looked at twice
//! however many reads it takes. What a client declares (counts, lengths) is never allocated.
//!
//! There are two ways through. [`Parser::next`] first tries a complete, plainly written multibulk
//! request; whatever is cut off, inline, large, odd or wrong takes the second way, which alone
//! knows limits and error texts. Both follow Redis to the letter where clients can tell: the two
//! bytes after a length or a payload are skipped without a look, a count below one is an empty
//! request, and a NUL in a line hides the line's end.
//!
//! After an error the parser is done for: the connection gets the text and is closed.

use crate::base::args;
use smallvec::SmallVec;
use thiserror::Error;

/// Arguments as slices of the read buffer. A batch of 32 short requests fits inline.
pub type ArgVec<'b> = SmallVec<[&'b [u8]; 96]>;

/// How long a line may grow before its end is found.
const MAX_LINE_BYTES: usize = 64 * 1024;
/// The greatest argument count.
const MAX_COUNT: i64 = i32::MAX as i64;
/// The greatest argument count before authentication.
const MAX_COUNT_UNAUTHENTICATED: i64 = 10;
/// The greatest argument before authentication.
const MAX_BULK_UNAUTHENTICATED: i64 = 16384;

/// What a peer may ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The greatest argument in bytes: `proto-max-bulk-len`.
    pub max_bulk: i64,
    /// Whether the peer may send more than ten arguments, or one beyond 16 KiB.
    pub authenticated: bool,
}

impl Limits {
    /// Those of a client that need not, or did, authenticate.
    pub const fn authenticated(max_bulk: i64) -> Self {
        Self {
            max_bulk,
            authenticated: true,
        }
    }

    /// Those of a client that has yet to authenticate.
    pub const fn unauthenticated(max_bulk: i64) -> Self {
        Self {
            max_bulk,
            authenticated: false,
        }
    }

    /// Those of the primary that we follow: it may send what it accepted itself.
    pub const fn primary() -> Self {
        Self::authenticated(i64::MAX)
    }
}

/// Why a peer's bytes are no request. The text is what Redis replies, without the code `ERR`.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum ProtocolError {
    /// 64 KiB without a line end.
    #[error("Protocol error: too big inline request")]
    InlineTooBig,
    /// An inline request whose quotes do not match.
    #[error("Protocol error: unbalanced quotes in request")]
    UnbalancedQuotes,
    /// 64 KiB after `*` without a line end.
    #[error("Protocol error: too big mbulk count string")]
    CountTooBig,
    /// An argument count that is no number or too great.
    #[error("Protocol error: invalid multibulk length")]
    InvalidCount,
    /// More than ten arguments before authentication.
    #[error("Protocol error: unauthenticated multibulk length")]
    UnauthenticatedCount,
    /// 64 KiB after `$` without a line end.
    #[error("Protocol error: too big bulk count string")]
    BulkCountTooBig,
    /// Something else where an argument's length should begin.
    #[error("Protocol error: expected '$', got '{}'", char::from(*.0))]
    ExpectedBulk(u8),
    /// An argument length that is no number, negative or too great.
    #[error("Protocol error: invalid bulk length")]
    InvalidBulk,
    /// An argument beyond 16 KiB before authentication.
    #[error("Protocol error: unauthenticated bulk length")]
    UnauthenticatedBulk,
}

impl ProtocolError {
    /// The error reply with its code, as bytes: the unexpected byte is shown as it came.
    pub fn reply_text(&self) -> Vec<u8> {
        match self {
            Self::ExpectedBulk(byte) => [
                b"ERR Protocol error: expected '$', got '",
                &[*byte][..],
                b"'",
            ]
            .concat(),
            other => format!("ERR {other}").into_bytes(),
        }
    }

    /// The words in which the server's log names the error.
    pub fn log_reason(&self) -> &'static str {
        match self {
            Self::InlineTooBig => "too big inline request",
            Self::UnbalancedQuotes => "unbalanced quotes in inline request",
            Self::CountTooBig => "too big mbulk count string",
            Self::InvalidCount => "invalid mbulk count",
            Self::UnauthenticatedCount => "unauth mbulk count",
            Self::BulkCountTooBig => "too big bulk count string",
            Self::ExpectedBulk(_) => "expected $ but got something else",
            Self::InvalidBulk => "invalid bulk length",
            Self::UnauthenticatedBulk => "unauth bulk length",
        }
    }
}

/// The parser of one connection.
#[derive(Debug)]
pub struct Parser {
    limits: Limits,
    /// Greatest count and length that the first way accepts.
    quick_count: usize,
    quick_bulk: usize,
    /// State of a request that is cut off. All empty between requests.
    partial: Partial,
    /// Arguments of an inline request that had quotes.
    quoted: Vec<Vec<u8>>,
}

#[derive(Debug, Default)]
struct Partial {
    /// Bytes of the request already parsed.
    pos: usize,
    /// Bytes of the request in which the end of the current line is known not to lie.
    scanned: usize,
    /// Arguments still to come; 0 before the count has been read.
    missing: usize,
    /// Length of the argument whose payload comes next.
    bulk: Option<usize>,
    /// Start and length of the arguments already there.
    spans: Vec<(usize, usize)>,
}

impl Partial {
    fn is_empty(&self) -> bool {
        self.scanned == 0 && self.missing == 0
    }

    fn reset(&mut self) {
        self.spans.clear();
        self.spans.shrink_to(64);
        *self = Self {
            spans: std::mem::take(&mut self.spans),
            ..Self::default()
        };
    }
}

impl Parser {
    /// A parser at the start of a stream.
    pub fn new(limits: Limits) -> Self {
        let mut parser = Self {
            limits,
            quick_count: 0,
            quick_bulk: 0,
            partial: Partial::default(),
            quoted: Vec::new(),
        };
        parser.set_limits(limits);
        parser
    }

    /// Applies from the next count or length on.
    pub fn set_limits(&mut self, limits: Limits) {
        let (count, bulk) = if limits.authenticated {
            (MAX_COUNT, limits.max_bulk)
        } else {
            (
                MAX_COUNT_UNAUTHENTICATED,
                limits.max_bulk.min(MAX_BULK_UNAUTHENTICATED),
            )
        };
        self.limits = limits;
        self.quick_count = usize::try_from(count).unwrap_or(0);
        self.quick_bulk = usize::try_from(bulk).unwrap_or(0);
    }

    /// The limits in force.
    pub fn limits(&self) -> Limits {
        self.limits
    }

    /// Parses one request. `buf` begins with the request's first byte: after `None` the caller
    /// reads more behind the same bytes, after `Some(n)` it goes on `n` bytes further.
    ///
    /// On `Some` the arguments have been appended to `args`, which is not cleared. An empty
    /// request (a blank line, `*0`) appends none; so does an inline request with quotes, whose
    /// arguments are not in the buffer: they are to be had from [`Parser::take_quoted`]. On
    /// `None` and on an error `args` is as it was.
    #[inline]
    pub fn next<'b>(
        &mut self,
        buf: &'b [u8],
        args: &mut ArgVec<'b>,
    ) -> Result<Option<usize>, ProtocolError> {
        if self.partial.is_empty() {
            let before = args.len();
            if let Some(consumed) = self.quick(buf, args) {
                return Ok(Some(consumed));
            }
            args.truncate(before);
        }
        self.careful(buf, args)
    }

    /// The arguments of the inline request just parsed, if it had quotes; empty otherwise.
    pub fn take_quoted(&mut self) -> Vec<Vec<u8>> {
        std::mem::take(&mut self.quoted)
    }

    /// Bytes of a request that is cut off of which the arguments are known.
    pub fn parsed_bytes(&self) -> usize {
        self.partial.pos
    }

    /// Where the argument ends that is cut off, in bytes of its request.
    pub fn expected_bytes(&self) -> Option<usize> {
        let ends = |len: usize| self.partial.pos.checked_add(len)?.checked_add(2);
        self.partial.bulk.and_then(ends)
    }

    /// Whether a request has begun that is not complete.
    pub fn is_partial(&self) -> bool {
        !self.partial.is_empty()
    }

    /// How many bytes beyond `buffered`, the bytes of the current request at hand, the current
    /// argument needs at least: a hint how much to read, never how much to allocate.
    pub fn missing_bytes(&self, buffered: usize) -> usize {
        match self.partial.bulk {
            Some(len) => (self.partial.pos + len + 2).saturating_sub(buffered),
            None => 0,
        }
    }

    /// The first way: a complete request, lengths of at most seven digits, within the limits.
    #[inline]
    fn quick<'b>(&self, buf: &'b [u8], args: &mut ArgVec<'b>) -> Option<usize> {
        let (count, mut pos) = quick_length(buf, 0, b'*')?;
        if count == 0 || count > self.quick_count {
            return None;
        }
        for _ in 0..count {
            let (len, start) = quick_length(buf, pos, b'$')?;
            if len > self.quick_bulk {
                return None;
            }
            pos = start + len + 2;
            if pos > buf.len() {
                return None;
            }
            args.push(buf.get(start..start + len)?);
        }
        Some(pos)
    }

    /// The second way: everything else, and the state across reads.
    #[cold]
    fn careful<'b>(
        &mut self,
        buf: &'b [u8],
        args: &mut ArgVec<'b>,
    ) -> Result<Option<usize>, ProtocolError> {
        if self.partial.missing == 0 {
            match buf.first() {
                None => return Ok(None),
                Some(b'*') => {}
                Some(_) => return self.inline(buf, args),
            }
            let Some(line_end) = self.line_end(buf, b'\r', ProtocolError::CountTooBig)? else {
                return Ok(None);
            };
            let count = self.count(buf.get(1..line_end).unwrap_or_default())?;
            self.line_done(line_end);
            if count == 0 {
                return Ok(Some(self.finish(buf, args)));
            }
            self.partial.missing = count;
        }
        while self.partial.missing > 0 {
            let len = match self.partial.bulk {
                Some(len) => len,
                None => {
                    let too_big = ProtocolError::BulkCountTooBig;
                    let Some(line_end) = self.line_end(buf, b'\r', too_big)? else {
                        return Ok(None);
                    };
                    let line = buf.get(self.partial.pos..line_end).unwrap_or_default();
                    // An empty line has its own end for a first byte.
                    let Some(digits) = line.strip_prefix(b"$") else {
                        let got = line.first().copied().unwrap_or(b'\r');
                        return Err(ProtocolError::ExpectedBulk(got));
                    };
                    let len = self.bulk_length(digits)?;
                    self.line_done(line_end);
                    self.partial.bulk = Some(len);
                    len
                }
            };
            let start = self.partial.pos;
            if buf.len().saturating_sub(start) < len.saturating_add(2) {
                return Ok(None);
            }
            self.partial.spans.push((start, len));
            self.partial.bulk = None;
            self.partial.missing -= 1;
            self.partial.pos = start + len + 2;
            self.partial.scanned = self.partial.pos;
        }
        Ok(Some(self.finish(buf, args)))
    }

    /// Hands out the arguments and forgets the request. Returns its length.
    fn finish<'b>(&mut self, buf: &'b [u8], args: &mut ArgVec<'b>) -> usize {
        let consumed = self.partial.pos;
        args.extend(self.partial.spans.iter().map(|&(start, len)| {
            // Every span was checked against a shorter form of this buffer.
            buf.get(start..start + len).unwrap_or_default()
        }));
        self.partial.reset();
        consumed
    }

    /// Where the current line's `end` byte stands, once the byte after it is there too.
    fn line_end(
        &mut self,
        buf: &[u8],
        end: u8,
        too_big: ProtocolError,
    ) -> Result<Option<usize>, ProtocolError> {
        let from = self.partial.scanned.max(self.partial.pos);
        let unseen = buf.get(from..).unwrap_or_default();
        // Redis searches with strchr, so nothing behind a NUL is ever found.
        let hit = memchr::memchr2(end, 0, unseen).map_or(buf.len(), |at| from + at);
        self.partial.scanned = hit;
        if buf.get(hit) == Some(&end) {
            let complete = end == b'\n' || hit + 2 <= buf.len();
            return Ok(complete.then_some(hit));
        }
        if buf.len().saturating_sub(self.partial.pos) > MAX_LINE_BYTES {
            return Err(too_big);
        }
        Ok(None)
    }

    fn line_done(&mut self, line_end: usize) {
        self.partial.pos = line_end + 2;
        self.partial.scanned = self.partial.pos;
    }

    fn count(&self, digits: &[u8]) -> Result<usize, ProtocolError> {
        let count = crate::base::num::parse_i64(digits).ok_or(ProtocolError::InvalidCount)?;
        if count > MAX_COUNT {
            return Err(ProtocolError::InvalidCount);
        }
        if count > MAX_COUNT_UNAUTHENTICATED && !self.limits.authenticated {
            return Err(ProtocolError::UnauthenticatedCount);
        }
        Ok(usize::try_from(count).unwrap_or(0))
    }

    fn bulk_length(&self, digits: &[u8]) -> Result<usize, ProtocolError> {
        let len = crate::base::num::parse_i64(digits).ok_or(ProtocolError::InvalidBulk)?;
        if len < 0 || len > self.limits.max_bulk {
            return Err(ProtocolError::InvalidBulk);
        }
        if len > MAX_BULK_UNAUTHENTICATED && !self.limits.authenticated {
            return Err(ProtocolError::UnauthenticatedBulk);
        }
        usize::try_from(len).map_err(|_| ProtocolError::InvalidBulk)
    }

    fn inline<'b>(
        &mut self,
        buf: &'b [u8],
        args: &mut ArgVec<'b>,
    ) -> Result<Option<usize>, ProtocolError> {
        let Some(line_end) = self.line_end(buf, b'\n', ProtocolError::InlineTooBig)? else {
            return Ok(None);
        };
        self.partial.reset();
        let line = buf.get(..line_end).unwrap_or_default();
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if memchr::memchr2(b'"', b'\'', line).is_none() {
            args.extend(args::split_unquoted(line));
        } else {
            self.quoted = args::split_args(line).ok_or(ProtocolError::UnbalancedQuotes)?;
        }
        Ok(Some(line_end + 1))
    }
}

/// Reads `<prefix><digits>\r\n` at `pos`: the number and where the next byte stands. `None` for
/// whatever is not complete and plain.
#[inline(always)]
fn quick_length(buf: &[u8], pos: usize, prefix: u8) -> Option<(usize, usize)> {
    const MAX_DIGITS: usize = 7;
    let line = buf.get(pos..)?;
    // The shortest and commonest form, in one bounds check.
    if let [first, digit, b'\r', b'\n', ..] = line {
        let value = digit.wrapping_sub(b'0');
        return (*first == prefix && value < 10).then_some((usize::from(value), pos + 4));
    }
    if let [
        first,
        tens @ b'1'..=b'9',
        ones @ b'0'..=b'9',
        b'\r',
        b'\n',
        ..,
    ] = line
    {
        let value = usize::from(tens - b'0') * 10 + usize::from(ones - b'0');
        return (*first == prefix).then_some((value, pos + 5));
    }
    let (first, rest) = line.split_first()?;
    let mut value = 0usize;
    if *first != prefix || rest.first() == Some(&b'0') {
        return None;
    }
    for (at, byte) in rest.iter().take(MAX_DIGITS + 1).enumerate() {
        let digit = byte.wrapping_sub(b'0');
        if digit < 10 {
            value = value * 10 + usize::from(digit);
            continue;
        }
        let plain = *byte == b'\r' && at > 0 && rest.get(at + 1) == Some(&b'\n');
        return plain.then_some((value, pos + at + 3));
    }
    None
}

#[cfg(test)]
mod tests;

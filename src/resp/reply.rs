//! The reply buffer of one connection.
//!
//! Handlers append to it in memory; only `net` writes it to a socket. Nearly every reply is a few
//! bytes in one `Vec<u8>` ([`Reply::plain`]), which is kept for the next batch. Two things leave
//! the plain form, each remembered with its place in the stream:
//!
//! - [`Reply::shared_bulk`]: a large string that is referred to, not copied;
//! - [`Reply::deferred`]: a part that is formatted later, when the locks under which its source
//!   was cloned are released. [`Reply::resolve`] runs those, in order, each writing where it was
//!   registered.
//!
//! A part of many elements says so ([`Reply::deferred_of`]), and is left to a helper thread, which
//! hands it on in pieces ([`Reply::stream`]).
//!
//! So the way out is: `if !is_plain() { resolve() }`, then either write [`Reply::plain`] or
//! [`Reply::io_slices`] and [`Reply::clear`], or take the bytes along by [`Reply::drain_chunks`].
//!
//! An aggregate whose length is not known yet is begun by [`Reply::defer_len`] and closed by
//! [`Reply::set_array_len`] and its like, which move what follows to make room.
//!
//! Errors are counted and their codes collected as they are written, for the statistics.

use crate::base::long_double::LongDouble;
use crate::base::num::{NumText, fmt_f64};
use bytes::Bytes;
use late::{Insert, Open};

mod late;
mod stream;

pub use late::{Deferred, LenSlot, Mark};
pub use stream::Sink;

/// The protocol a connection speaks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Proto {
    /// The default.
    #[default]
    Resp2,
    /// After `HELLO 3`.
    Resp3,
}

/// Bulk strings shorter than this are cheaper to copy than to refer to.
const MIN_SHARED_BYTES: usize = 4096;

/// What the buffer keeps of its capacity when cleared.
const KEEP_BYTES: usize = 64 * 1024;

/// Replies on their way to one connection.
#[derive(Default)]
pub struct Reply {
    buf: Vec<u8>,
    proto: Proto,
    errors: u64,
    error_codes: Vec<Box<str>>,
    /// Ordered by place.
    inserts: Vec<Insert>,
    shared_bytes: usize,
    deferred: usize,
    /// About how many elements the deferred parts write or look at.
    deferred_elements: usize,
    /// Where it goes, while a helper thread formats it.
    outlet: Option<stream::Outlet>,
    /// Aggregates whose length is open, outermost first.
    open: Vec<Open>,
}

impl Reply {
    /// An empty buffer.
    pub fn new(proto: Proto) -> Self {
        Self {
            proto,
            ..Self::default()
        }
    }

    /// Takes room for so many bytes beforehand.
    pub fn with_room(mut self, bytes: usize) -> Self {
        self.buf.reserve(bytes);
        self
    }

    /// The protocol of what is written from now on.
    #[inline]
    pub fn proto(&self) -> Proto {
        self.proto
    }

    /// Whether the protocol is RESP3.
    #[inline]
    pub fn is_resp3(&self) -> bool {
        self.proto == Proto::Resp3
    }

    /// Switches the protocol for what is written from now on.
    pub fn set_proto(&mut self, proto: Proto) {
        self.proto = proto;
    }

    // Scalars.

    /// `+text`.
    pub fn simple(&mut self, text: &str) {
        self.buf.push(b'+');
        self.buf.extend_from_slice(text.as_bytes());
        self.crlf();
    }

    /// `+OK`.
    #[inline]
    pub fn ok(&mut self) {
        self.buf.extend_from_slice(b"+OK\r\n");
    }

    /// `+PONG`.
    #[inline]
    pub fn pong(&mut self) {
        self.buf.extend_from_slice(b"+PONG\r\n");
    }

    /// `+QUEUED`.
    #[inline]
    pub fn queued(&mut self) {
        self.buf.extend_from_slice(b"+QUEUED\r\n");
    }

    /// `-text`, where `text` begins with its code. Line ends at either end are cut off, those
    /// inside become blanks.
    #[cold]
    pub fn error(&mut self, text: impl AsRef<[u8]>) {
        self.write_error(text.as_ref());
    }

    fn write_error(&mut self, text: &[u8]) {
        let text = trim_line_ends(text);
        self.errors += 1;
        self.error_codes.push(error_code(text).into());
        self.buf.push(b'-');
        let sanitised = text
            .iter()
            .map(|&b| if matches!(b, b'\r' | b'\n') { b' ' } else { b });
        self.buf.extend(sanitised);
        self.crlf();
    }

    /// `:n`.
    #[inline]
    pub fn int(&mut self, n: i64) {
        self.number_line(b':', n);
    }

    /// `:n` of a length or count.
    #[inline]
    pub fn len_int(&mut self, n: usize) {
        self.int(i64::try_from(n).unwrap_or(i64::MAX));
    }

    /// A bulk string.
    #[inline]
    pub fn bulk(&mut self, bytes: &[u8]) {
        // One reservation for all four pieces: a header takes at most 22 bytes.
        self.buf.reserve(bytes.len() + 24);
        self.number_line(b'$', bytes.len() as i64);
        self.buf.extend_from_slice(bytes);
        self.crlf();
    }

    /// A bulk string, or null.
    #[inline]
    pub fn bulk_opt(&mut self, bytes: Option<&[u8]>) {
        match bytes {
            Some(bytes) => self.bulk(bytes),
            None => self.null(),
        }
    }

    /// A bulk string that is a number's decimal text.
    #[inline]
    pub fn bulk_int(&mut self, n: i64) {
        self.bulk(itoa::Buffer::new().format(n).as_bytes());
    }

    /// A bulk string that refers to `bytes`; a short one is copied.
    pub fn shared_bulk(&mut self, bytes: Bytes) {
        if bytes.len() < MIN_SHARED_BYTES {
            return self.bulk(&bytes);
        }
        self.number_line(b'$', bytes.len() as i64);
        self.push_shared(bytes);
        self.crlf();
    }

    /// No value.
    #[inline]
    pub fn null(&mut self) {
        self.buf.extend_from_slice(if self.is_resp3() {
            b"_\r\n"
        } else {
            b"$-1\r\n"
        });
    }

    /// No value where an array was asked for.
    #[inline]
    pub fn null_array(&mut self) {
        self.buf.extend_from_slice(if self.is_resp3() {
            b"_\r\n"
        } else {
            b"*-1\r\n"
        });
    }

    /// A double; RESP2: its text.
    pub fn double(&mut self, value: f64) {
        // Most scores are integers, and printed as such.
        let n = value as i64;
        if !self.is_resp3() && n != 0 && n.unsigned_abs() < 1 << 53 && n as f64 == value {
            return self.bulk_int(n);
        }
        self.float_text(&fmt_f64(value));
    }

    /// A long double in the form for people; RESP2: its text.
    pub fn long_double(&mut self, value: LongDouble) {
        self.float_text(&value.fmt_human());
    }

    fn float_text(&mut self, text: &NumText) {
        if self.is_resp3() {
            self.buf.push(b',');
            self.buf.extend_from_slice(text);
            self.crlf();
        } else {
            self.bulk(text);
        }
    }

    /// A truth value; RESP2: 1 or 0.
    pub fn bool(&mut self, value: bool) {
        self.buf.extend_from_slice(match (self.proto, value) {
            (Proto::Resp3, true) => b"#t\r\n",
            (Proto::Resp3, false) => b"#f\r\n",
            (Proto::Resp2, true) => b":1\r\n",
            (Proto::Resp2, false) => b":0\r\n",
        });
    }

    /// An integer of any size, given as its digits; RESP2: a bulk string.
    pub fn big_number(&mut self, digits: &[u8]) {
        if self.is_resp3() {
            self.buf.push(b'(');
            self.buf.extend_from_slice(digits);
            self.crlf();
        } else {
            self.bulk(digits);
        }
    }

    /// A text with its format, of which three letters are sent; RESP2: a bulk string.
    pub fn verbatim(&mut self, ext: &str, text: &[u8]) {
        if !self.is_resp3() {
            return self.bulk(text);
        }
        self.number_line(b'=', (text.len() + 4) as i64);
        self.buf
            .extend(ext.bytes().chain(std::iter::repeat(b' ')).take(3));
        self.buf.push(b':');
        self.buf.extend_from_slice(text);
        self.crlf();
    }

    // Aggregates: the header; the caller writes the elements.

    /// An array of `n` elements.
    #[inline]
    pub fn array(&mut self, n: usize) {
        self.head(b'*', n);
    }

    /// A map of `n` pairs; RESP2: an array of twice as many.
    #[inline]
    pub fn map(&mut self, n: usize) {
        let (prefix, n) = self.map_head(n);
        self.head(prefix, n);
    }

    /// A set of `n` elements; RESP2: an array.
    #[inline]
    pub fn set(&mut self, n: usize) {
        self.head(if self.is_resp3() { b'~' } else { b'*' }, n);
    }

    /// A push message of `n` elements; RESP2: an array.
    #[inline]
    pub fn push(&mut self, n: usize) {
        self.head(if self.is_resp3() { b'>' } else { b'*' }, n);
    }

    /// `n` pairs about the reply that follows. RESP3 alone has them: ask [`Reply::is_resp3`].
    pub fn attribute(&mut self, n: usize) {
        debug_assert!(self.is_resp3());
        self.head(b'|', n);
    }

    fn map_head(&self, pairs: usize) -> (u8, usize) {
        if self.is_resp3() {
            (b'%', pairs)
        } else {
            (b'*', pairs.saturating_mul(2))
        }
    }

    // Ready-made parts.

    /// Bytes that are valid RESP already.
    #[inline]
    pub fn raw(&mut self, bytes: &[u8]) {
        self.buf.extend_from_slice(bytes);
    }

    /// Bytes that are valid RESP already, referred to unless short.
    pub fn raw_shared(&mut self, bytes: Bytes) {
        if bytes.len() < MIN_SHARED_BYTES {
            self.buf.extend_from_slice(&bytes);
        } else {
            self.push_shared(bytes);
        }
    }

    // The way out.

    /// Bytes to be sent, deferred parts not counted.
    #[inline]
    pub fn len_bytes(&self) -> usize {
        self.buf.len() + self.shared_bytes
    }

    /// Whether there is nothing to send.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.buf.is_empty() && self.inserts.is_empty()
    }

    /// Whether [`Reply::plain`] is all there is.
    #[inline]
    pub fn is_plain(&self) -> bool {
        self.inserts.is_empty()
    }

    /// The bytes of a plain reply.
    #[inline]
    pub fn plain(&self) -> &[u8] {
        &self.buf
    }

    /// Forgets what has been sent. Keeps the protocol, the count of errors, and a buffer of
    /// moderate size.
    #[inline]
    pub fn clear(&mut self) {
        self.buf.clear();
        if self.buf.capacity() > KEEP_BYTES {
            self.buf.shrink_to(KEEP_BYTES);
        }
        if !self.inserts.is_empty() {
            self.inserts = Vec::new();
        }
        self.shared_bytes = 0;
        (self.deferred, self.deferred_elements) = (0, 0);
        self.open.clear();
        self.error_codes.clear();
    }

    /// Gives back what an idle connection does not need.
    pub fn shrink(&mut self) {
        self.buf.shrink_to_fit();
        self.inserts.shrink_to_fit();
        self.open.shrink_to_fit();
        self.error_codes.shrink_to_fit();
    }

    /// Bytes of memory the buffer itself holds.
    pub fn capacity_bytes(&self) -> usize {
        self.buf.capacity() + self.inserts.capacity() * size_of::<Insert>()
    }

    // Pieces.

    #[inline]
    fn crlf(&mut self) {
        self.buf.extend_from_slice(b"\r\n");
    }

    #[inline]
    fn head(&mut self, prefix: u8, n: usize) {
        self.number_line(prefix, i64::try_from(n).unwrap_or(i64::MAX));
    }

    /// Nearly all lengths and counts are short: theirs are arrays of a fixed length, which are
    /// written without a call.
    #[inline(always)]
    fn number_line(&mut self, prefix: u8, n: i64) {
        let digit = |n: i64| b'0' + (n % 10) as u8;
        let buf = &mut self.buf;
        match n {
            0..10 => buf.extend_from_slice(&[prefix, digit(n), b'\r', b'\n']),
            10..100 => {
                buf.extend_from_slice(&[prefix, digit(n / 10), digit(n), b'\r', b'\n']);
            }
            100..1000 => {
                let line = [
                    prefix,
                    digit(n / 100),
                    digit(n / 10),
                    digit(n),
                    b'\r',
                    b'\n',
                ];
                buf.extend_from_slice(&line);
            }
            _ => self.long_number_line(prefix, n),
        }
    }

    fn long_number_line(&mut self, prefix: u8, n: i64) {
        self.buf.push(prefix);
        self.buf
            .extend_from_slice(itoa::Buffer::new().format(n).as_bytes());
        self.crlf();
    }
}

fn trim_line_ends(mut text: &[u8]) -> &[u8] {
    while let [b'\r' | b'\n', rest @ ..] | [rest @ .., b'\r' | b'\n'] = text {
        text = rest;
    }
    text
}

/// The first word, if it ends within 32 bytes.
fn error_code(text: &[u8]) -> &str {
    let head = text.get(..text.len().min(32)).unwrap_or_default();
    let word = memchr::memchr(b' ', head).and_then(|end| head.get(..end));
    word.and_then(|word| std::str::from_utf8(word).ok())
        .unwrap_or("ERR")
}

#[cfg(test)]
mod tests;

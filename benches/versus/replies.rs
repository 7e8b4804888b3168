//! Counting replies in a byte stream without building them.

/// Counts the replies of a RESP stream, however it is cut into pieces.
#[derive(Default)]
pub struct Counter {
    /// Elements that the reply still lacks; 0 between replies.
    lacking: u64,
    /// Bytes of a bulk that are still to come.
    skip: usize,
    /// A line that is cut off.
    line: Vec<u8>,
}

/// What a piece of the stream completed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    /// Replies, errors among them.
    pub replies: u64,
    /// Errors at top level.
    pub errors: u64,
}

impl Counter {
    /// Takes the next bytes of the stream.
    pub fn feed(&mut self, mut bytes: &[u8]) -> Counted {
        let mut counted = Counted::default();
        while !bytes.is_empty() {
            if self.skip > 0 {
                let n = self.skip.min(bytes.len());
                self.skip -= n;
                bytes = bytes.get(n..).unwrap_or_default();
                if self.skip == 0 {
                    self.element(0, &mut counted);
                }
                continue;
            }
            let Some(end) = memchr::memchr(b'\n', bytes) else {
                self.line.extend_from_slice(bytes);
                break;
            };
            let (head, rest) = bytes.split_at(end + 1);
            bytes = rest;
            if self.line.is_empty() {
                self.header(head, &mut counted);
            } else {
                self.line.extend_from_slice(head);
                let line = std::mem::take(&mut self.line);
                self.header(&line, &mut counted);
            }
        }
        counted
    }

    fn header(&mut self, line: &[u8], counted: &mut Counted) {
        let text = line.get(1..).unwrap_or_default();
        let number = || {
            std::str::from_utf8(text)
                .ok()
                .and_then(|t| t.trim_end().parse::<i64>().ok())
                .unwrap_or(-1)
        };
        match line.first() {
            Some(b'$' | b'=' | b'!') if number() >= 0 => self.skip = number() as usize + 2,
            Some(b'*' | b'~' | b'>') => self.element(number().max(0) as u64, counted),
            Some(b'%') => self.element(2 * number().max(0) as u64, counted),
            first => {
                if first == Some(&b'-') && self.lacking == 0 {
                    counted.errors += 1;
                }
                self.element(0, counted);
            }
        }
    }

    /// An element is there, which itself has so many.
    fn element(&mut self, inner: u64, counted: &mut Counted) {
        self.lacking = self.lacking.saturating_sub(1) + inner;
        if self.lacking == 0 {
            counted.replies += 1;
        }
    }
}

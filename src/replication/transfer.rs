//! How the data set of a full sync is framed.
//!
//! ```text
//!   "\n"*  "$" length CRLF  length bytes                         from a file
//!   "\n"*  "$EOF:" mark CRLF  bytes  mark                        as it is made
//! ```
//!
//! The mark is 40 random characters. It is looked for everywhere, not only at the end of what has
//! arrived: whatever follows it belongs to the stream.

use memchr::memmem;

/// Bytes of a mark.
pub const MARK_BYTES: usize = 40;

/// How long the data set is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// So many bytes.
    Length(u64),
    /// Up to this mark.
    Mark([u8; MARK_BYTES]),
}

/// The line in front of a data set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Header {
    /// Nothing yet: the primary is alive.
    KeepAlive,
    /// The data set follows.
    Begins(Framing),
    /// The primary gave up, or it is no primary; the line to log.
    Failed(String),
}

/// Reads the line in front of a data set.
pub fn header(line: &[u8]) -> Header {
    let text = String::from_utf8_lossy(line);
    match line.split_first() {
        None => Header::KeepAlive,
        Some((b'-', reason)) => Header::Failed(format!(
            "MASTER aborted replication with an error: {}",
            String::from_utf8_lossy(reason)
        )),
        Some((b'$', rest)) => {
            let mark = rest.strip_prefix(b"EOF:").and_then(|m| m.first_chunk());
            let length = || text.get(1..)?.trim().parse().ok();
            match mark {
                Some(mark) => Header::Begins(Framing::Mark(*mark)),
                None => match length() {
                    Some(length) => Header::Begins(Framing::Length(length)),
                    None => bad(&text),
                },
            }
        }
        Some(_) => bad(&text),
    }
}

fn bad(text: &str) -> Header {
    Header::Failed(format!(
        "Bad protocol from MASTER, the first byte is not '$' (we received '{text}'), are you sure \
         the host and port are right?"
    ))
}

/// Finds the end of a data set in what arrives.
#[derive(Debug)]
pub struct Receiver {
    framing: Framing,
    received: u64,
    /// The last bytes that arrived, which may be the beginning of the mark.
    held: Vec<u8>,
}

/// What [`Receiver::push`] made of a piece.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Received {
    /// Bytes of the data set.
    pub data: Vec<u8>,
    /// The data set is whole; what came behind it.
    pub rest: Option<Vec<u8>>,
}

impl Receiver {
    /// For a data set framed so.
    pub fn new(framing: Framing) -> Receiver {
        Receiver {
            framing,
            received: 0,
            held: Vec::new(),
        }
    }

    /// Bytes of the data set that have been given out.
    pub fn received(&self) -> u64 {
        self.received
    }

    /// A buffer to read the next `bytes` bytes into, behind what it holds already.
    pub fn room(&mut self, bytes: usize) -> Vec<u8> {
        let mut room = Vec::with_capacity(self.held.len() + bytes);
        room.append(&mut self.held);
        room
    }

    /// Takes what has arrived, in the buffer that [`Receiver::room`] gave.
    pub fn push(&mut self, piece: Vec<u8>) -> Received {
        let received = match self.framing {
            Framing::Length(length) => {
                let left = usize::try_from(length - self.received).unwrap_or(usize::MAX);
                let mut data = piece;
                let rest = (data.len() >= left).then(|| data.split_off(left));
                Received { data, rest }
            }
            Framing::Mark(mark) => self.until(&mark, piece),
        };
        self.received += received.data.len() as u64;
        received
    }

    fn until(&mut self, mark: &[u8; MARK_BYTES], mut data: Vec<u8>) -> Received {
        if let Some(at) = memmem::find(&data, mark) {
            let rest = data.split_off(at).get(MARK_BYTES..).map(<[u8]>::to_vec);
            return Received {
                data,
                rest: Some(rest.unwrap_or_default()),
            };
        }
        self.held = data.split_off(data.len().saturating_sub(MARK_BYTES - 1));
        Received { data, rest: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MARK: [u8; MARK_BYTES] = *b"0123456789abcdef0123456789abcdef01234567";

    fn feed(framing: Framing, stream: &[u8], step: usize) -> (Vec<u8>, Vec<u8>) {
        let mut receiver = Receiver::new(framing);
        let (mut data, mut rest, mut ended) = (Vec::new(), Vec::new(), false);
        for piece in stream.chunks(step) {
            if ended {
                rest.extend_from_slice(piece);
                continue;
            }
            let mut room = receiver.room(piece.len());
            room.extend_from_slice(piece);
            let got = receiver.push(room);
            data.extend(got.data);
            if let Some(r) = got.rest {
                ended = true;
                rest.extend(r);
            }
        }
        assert!(ended);
        assert_eq!(receiver.received(), data.len() as u64);
        (data, rest)
    }

    #[test]
    fn a_data_set_ends_at_its_mark_wherever_the_pieces_are_cut() {
        let mut set = b"REDIS0011".to_vec();
        set.extend_from_slice(&MARK[..20]);
        set.extend_from_slice(&[7; 100]);
        let mut stream = set.clone();
        stream.extend_from_slice(&MARK);
        stream.extend_from_slice(b"*1\r\n$4\r\nPING\r\n");
        for step in 1..stream.len() {
            let (data, rest) = feed(Framing::Mark(MARK), &stream, step);
            assert_eq!(data, set, "{step}");
            assert_eq!(rest, b"*1\r\n$4\r\nPING\r\n");
        }
    }

    #[test]
    fn a_data_set_ends_after_its_length() {
        for step in 1..12 {
            let (data, rest) = feed(Framing::Length(6), b"abcdefxyz", step);
            assert_eq!(
                (data.as_slice(), rest.as_slice()),
                (&b"abcdef"[..], &b"xyz"[..])
            );
        }
    }

    #[test]
    fn the_line_in_front_tells_the_framing_or_what_is_wrong() {
        assert_eq!(header(b""), Header::KeepAlive);
        assert_eq!(header(b"$12"), Header::Begins(Framing::Length(12)));
        let mut line = b"$EOF:".to_vec();
        line.extend_from_slice(&MARK);
        assert_eq!(header(&line), Header::Begins(Framing::Mark(MARK)));
        for wrong in [
            &b"$-1"[..],
            b"$x",
            b"$EOF:short",
            b"+OK",
            b"$99999999999999999999",
        ] {
            match header(wrong) {
                Header::Failed(text) => assert!(text.starts_with("Bad protocol"), "{text}"),
                other => panic!("{other:?}"),
            }
        }
        let gone = Header::Failed("MASTER aborted replication with an error: ERR no".to_owned());
        assert_eq!(header(b"-ERR no"), gone);
    }
}

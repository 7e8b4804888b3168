//! The primary's stream, cut into what a replica applies as one unit.
//!
//! A unit is a run of whole commands whose bytes go to the replica's own log as they came. It never
//! ends inside MULTI ... EXEC: what lies between is applied, and logged, together or not at all, so
//! the offset at which a replica resumes is always a place between two transactions. PING, REPLCONF
//! and PUBLISH are not for the AOF and stand in units of their own.
//!
//! Bytes are parsed once, however many reads a command takes to arrive.

use std::collections::VecDeque;

use smallvec::SmallVec;

use crate::resp::parser::{ArgVec, Limits, Parser, ProtocolError};

/// Bytes after which a unit is not prolonged.
const UNIT_BYTES: usize = 128 * 1024;
/// Bytes applied before the buffer is moved together.
const COMPACT_BYTES: usize = 1 << 20;

/// What is wrong with the stream.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StreamError {
    /// Not RESP.
    #[error("{}", .0.log_reason())]
    Protocol(ProtocolError),
    /// A line that is no array: primaries do not send such.
    #[error(
        "Receiving inline protocol from master, master stream corruption? Closing the master \
             connection and discarding the cached master."
    )]
    Inline,
}

#[derive(Clone, Copy, Debug)]
struct Command {
    /// Arguments, and where the command ends.
    args: usize,
    end: usize,
    kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Write,
    NotForAof,
    Multi,
    Exec,
    /// No command: bytes that do not count.
    Blank,
}

fn kind_of(name: &[u8]) -> Kind {
    const NOT_FOR_AOF: [&[u8]; 4] = [b"ping", b"replconf", b"publish", b"spublish"];
    let is = |other: &[u8]| name.eq_ignore_ascii_case(other);
    if is(b"multi") {
        Kind::Multi
    } else if is(b"exec") || is(b"discard") {
        Kind::Exec
    } else if NOT_FOR_AOF.into_iter().any(is) {
        Kind::NotForAof
    } else {
        Kind::Write
    }
}

/// Cuts a stream.
#[derive(Debug)]
pub struct Cutter {
    parser: Parser,
    buffer: Vec<u8>,
    /// Place in the stream of the buffer's first byte, and of the first byte not yet parsed.
    base: usize,
    parsed: usize,
    /// Place in the stream of the first byte not yet applied.
    applied_to: usize,
    /// Begin and end of each argument, in the stream.
    spans: VecDeque<(usize, usize)>,
    commands: VecDeque<Command>,
    /// How many of the commands are not part of an open transaction.
    closed: usize,
    in_multi: bool,
}

/// Commands that are applied as one unit.
#[derive(Debug)]
pub struct Batch<'a> {
    args: Vec<&'a [u8]>,
    counts: SmallVec<[usize; 64]>,
    /// The bytes they are made of; empty if these do not count.
    pub bytes: &'a [u8],
    /// Whether the AOF keeps them.
    pub for_aof: bool,
    taken: Taken,
}

/// What [`Cutter::consume`] takes off.
#[derive(Clone, Copy, Debug)]
pub struct Taken {
    commands: usize,
    args: usize,
    end: usize,
}

impl<'a> Batch<'a> {
    /// The commands.
    pub fn commands(&self) -> SmallVec<[&[&'a [u8]]; 64]> {
        let mut rest = self.args.as_slice();
        let mut out = SmallVec::new();
        for &count in &self.counts {
            let Some((command, others)) = rest.split_at_checked(count) else {
                break;
            };
            out.push(command);
            rest = others;
        }
        out
    }

    /// To be given to [`Cutter::consume`] once the batch has been applied.
    pub fn taken(&self) -> Taken {
        self.taken
    }
}

impl Default for Cutter {
    fn default() -> Cutter {
        Cutter {
            parser: Parser::new(Limits::primary()),
            buffer: Vec::new(),
            base: 0,
            parsed: 0,
            applied_to: 0,
            spans: VecDeque::new(),
            commands: VecDeque::new(),
            closed: 0,
            in_multi: false,
        }
    }
}

impl Cutter {
    /// Takes bytes that have arrived.
    ///
    /// # Errors
    /// The stream is damaged; what came before is still to be had.
    pub fn push(&mut self, bytes: &[u8]) -> Result<(), StreamError> {
        self.buffer.extend_from_slice(bytes);
        loop {
            let unparsed = self
                .buffer
                .get(self.parsed - self.base..)
                .unwrap_or_default();
            match unparsed.first() {
                Some(b'*' | b'\r' | b'\n') => {}
                Some(_) => return Err(StreamError::Inline),
                None => return Ok(()),
            }
            let origin = unparsed.as_ptr() as usize;
            let mut args = ArgVec::new();
            let consumed = self
                .parser
                .next(unparsed, &mut args)
                .map_err(StreamError::Protocol)?;
            let Some(consumed) = consumed else {
                return Ok(());
            };
            let kind = match args.first() {
                Some(name) => kind_of(name),
                None if unparsed.starts_with(b"*") => Kind::NotForAof,
                None => Kind::Blank,
            };
            for arg in &args {
                let from = self.parsed + (arg.as_ptr() as usize).saturating_sub(origin);
                self.spans.push_back((from, from + arg.len()));
            }
            self.parsed += consumed;
            self.commands.push_back(Command {
                args: args.len(),
                end: self.parsed,
                kind,
            });
            match kind {
                Kind::Multi => self.in_multi = true,
                Kind::Exec => self.in_multi = false,
                _ => {}
            }
            if !self.in_multi {
                self.closed = self.commands.len();
            }
        }
    }

    /// The next unit: about `max_commands`, more only where a transaction is longer.
    pub fn batch(&self, max_commands: usize) -> Option<Batch<'_>> {
        let ready = self.commands.iter().take(self.closed);
        let kind = ready.clone().next()?.kind;
        let mut taken = Taken {
            commands: 0,
            args: 0,
            end: self.applied_to,
        };
        let mut in_multi = false;
        let mut counts = SmallVec::new();
        for command in ready {
            let same = match kind {
                Kind::Blank | Kind::NotForAof => command.kind == kind,
                _ => in_multi || !matches!(command.kind, Kind::Blank | Kind::NotForAof),
            };
            let full = taken.commands >= max_commands || taken.end - self.applied_to >= UNIT_BYTES;
            if !same || full && !in_multi {
                break;
            }
            in_multi = match command.kind {
                Kind::Multi => true,
                Kind::Exec => false,
                _ => in_multi,
            };
            counts.push(command.args);
            taken.commands += 1;
            taken.args += command.args;
            taken.end = command.end;
        }
        let slice = |&(from, to): &(usize, usize)| {
            self.buffer
                .get(from - self.base..to - self.base)
                .unwrap_or_default()
        };
        let bytes = self.buffer.get(self.applied()..taken.end - self.base);
        Some(Batch {
            args: self.spans.iter().take(taken.args).map(slice).collect(),
            counts,
            bytes: bytes.filter(|_| kind != Kind::Blank).unwrap_or_default(),
            for_aof: !matches!(kind, Kind::Blank | Kind::NotForAof),
            taken,
        })
    }

    /// Where in the buffer the first byte lies that has not been applied.
    fn applied(&self) -> usize {
        self.applied_to.saturating_sub(self.base)
    }

    /// Forgets a batch that has been applied.
    pub fn consume(&mut self, taken: Taken) {
        self.commands
            .drain(..taken.commands.min(self.commands.len()));
        self.spans.drain(..taken.args.min(self.spans.len()));
        self.closed = self.closed.saturating_sub(taken.commands);
        self.applied_to = taken.end;
        let applied = self.applied();
        if applied >= self.buffer.len() {
            self.base += self.buffer.len();
            self.buffer.clear();
            self.buffer.shrink_to(COMPACT_BYTES);
        } else if applied >= COMPACT_BYTES {
            self.buffer.drain(..applied);
            self.base += applied;
        }
    }

    /// Bytes that have arrived and are not applied yet.
    pub fn waiting_bytes(&self) -> usize {
        self.buffer.len() - self.applied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oplog::effect::encode;

    fn stream(lines: &[&str]) -> Vec<u8> {
        let mut out = Vec::new();
        for line in lines {
            if *line == "\n" {
                out.push(b'\n');
                continue;
            }
            let args: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
            encode(&mut out, &args);
        }
        out
    }

    /// The units, each as its commands joined by `;`, and all bytes that count.
    fn cut(stream: &[u8], step: usize, max: usize) -> (Vec<String>, Vec<u8>) {
        let mut cutter = Cutter::default();
        let (mut units, mut bytes) = (Vec::new(), Vec::new());
        for piece in stream.chunks(step) {
            cutter.push(piece).unwrap();
            while let Some(batch) = cutter.batch(max) {
                let text = |c: &&[&[u8]]| String::from_utf8(c.join(&b' ')).unwrap();
                let commands: Vec<String> = batch.commands().iter().map(text).collect();
                let mark = if batch.for_aof { "" } else { "!" };
                units.push(format!("{mark}{}", commands.join(";")));
                bytes.extend_from_slice(batch.bytes);
                let taken = batch.taken();
                cutter.consume(taken);
            }
        }
        assert_eq!(cutter.waiting_bytes(), 0);
        (units, bytes)
    }

    #[test]
    fn commands_that_arrive_together_are_one_unit() {
        let s = stream(&["SELECT 0", "SET a 1", "SET b 2"]);
        let (units, bytes) = cut(&s, s.len(), 64);
        assert_eq!(units, ["SELECT 0;SET a 1;SET b 2"]);
        assert_eq!(bytes, s);
        assert_eq!(cut(&s, s.len(), 2).0, ["SELECT 0;SET a 1", "SET b 2"]);
    }

    #[test]
    fn a_transaction_is_never_cut_wherever_the_reads_end() {
        let s = stream(&[
            "SET a 1", "MULTI", "SET b 2", "PING", "SET c 3", "EXEC", "SET d 4",
        ]);
        for step in 1..=s.len() {
            for max in [1, 2, 64] {
                let (units, bytes) = cut(&s, step, max);
                assert_eq!(bytes, s);
                let whole = "MULTI;SET b 2;PING;SET c 3;EXEC";
                assert!(units.iter().any(|u| u.contains(whole)), "{units:?}");
            }
        }
    }

    #[test]
    fn what_is_not_for_the_aof_stands_alone() {
        let s = stream(&["SET a 1", "PING", "REPLCONF GETACK *", "SET b 2"]);
        let (units, bytes) = cut(&s, s.len(), 64);
        assert_eq!(units, ["SET a 1", "!PING;REPLCONF GETACK *", "SET b 2"]);
        assert_eq!(bytes, s);
    }

    #[test]
    fn blank_lines_do_not_count() {
        let s = stream(&["SET a 1", "\n", "\n", "SET b 2"]);
        let (units, bytes) = cut(&s, 5, 64);
        assert_eq!(bytes, stream(&["SET a 1", "SET b 2"]));
        assert_eq!(units.iter().filter(|u| u.contains("SET")).count(), 2);
    }

    #[test]
    fn an_open_transaction_waits() {
        let mut cutter = Cutter::default();
        cutter.push(&stream(&["MULTI", "SET a 1"])).unwrap();
        assert!(cutter.batch(64).is_none());
        assert!(cutter.waiting_bytes() > 0);
    }

    #[test]
    fn a_line_that_is_no_array_is_an_error() {
        let mut cutter = Cutter::default();
        assert_eq!(cutter.push(b"SET a 1\r\n"), Err(StreamError::Inline));
    }

    #[test]
    fn memory_does_not_grow_with_the_stream() {
        let mut cutter = Cutter::default();
        let big = "x".repeat(100_000);
        let s = stream(&[&format!("SET a {big}")]);
        let (head, tail) = s.split_at(s.len() / 2);
        cutter.push(head).unwrap();
        for _ in 0..200 {
            cutter.push(tail).unwrap();
            cutter.push(head).unwrap();
            while let Some(batch) = cutter.batch(64) {
                let taken = batch.taken();
                cutter.consume(taken);
            }
            assert!(cutter.buffer.len() < 2 * COMPACT_BYTES);
        }
    }
}

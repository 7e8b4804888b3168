//! Commands out of an AOF file, one after the other, each with the offset behind it.
//!
//! ```text
//! *3\r\n $3\r\nSET\r\n $1\r\nk\r\n $1\r\nv\r\n      a command
//! #TS:1700000000\r\n                                an annotation: skipped
//! ```
//!
//! As lenient as Redis is with a file it wrote itself: the text behind a number and the two bytes
//! behind an argument are not looked at. A file that ends inside a command is told apart from one
//! with something else where a command belongs, because the first is what a crash leaves behind.
//! (Stricter than Redis in one point: a cut annotation counts as a cut. Redis takes it for whole,
//! appends the next command to that line, and cannot read the file again.)
//! Lengths are not believed: memory grows with what is really there.

use crate::base::num;
use std::io::{self, BufRead, Read};

/// Longest line that is read at once; longer annotations come in pieces.
const MAX_LINE_BYTES: usize = 1024;
/// What an argument's buffer reserves before its bytes have been seen.
const TRUSTED_BYTES: usize = 64 * 1024;

/// Why no further command could be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The file ends inside a command.
    #[error("unexpected end of file")]
    Cut,
    /// There is something else where a command belongs.
    #[error("bad file format")]
    Format,
    /// The system could not read.
    #[error("{0}")]
    Io(#[from] io::Error),
}

/// Reads commands from `input` and counts its bytes.
#[derive(Debug)]
pub struct CommandReader<R> {
    input: R,
    offset: u64,
    line: Vec<u8>,
    args: Vec<Vec<u8>>,
}

impl<R: BufRead> CommandReader<R> {
    /// A reader whose first byte has the file offset `offset`.
    pub fn new(input: R, offset: u64) -> Self {
        Self {
            input,
            offset,
            line: Vec::new(),
            args: Vec::new(),
        }
    }

    /// Bytes of the file consumed so far.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// The next command's arguments; `None` at the end of the file.
    pub fn next_command(&mut self) -> Result<Option<&[Vec<u8>]>, ReadError> {
        let count = loop {
            if !self.read_line()? {
                return Ok(None);
            }
            match self.line.split_first() {
                Some((b'#', _)) => self.finish_annotation()?,
                Some((b'*', [])) => return Err(ReadError::Cut),
                Some((b'*', digits)) => break num::leading_i64(digits),
                _ => return Err(ReadError::Format),
            }
        };
        if !(1..=i64::from(i32::MAX)).contains(&count) {
            return Err(ReadError::Format);
        }
        let mut filled = 0;
        for _ in 0..count {
            self.read_argument(filled)?;
            filled += 1;
        }
        Ok(self.args.get(..filled))
    }

    /// An annotation without its newline is a cut file: what is appended would become part of it.
    fn finish_annotation(&mut self) -> Result<(), ReadError> {
        while self.line.last() != Some(&b'\n') {
            if !self.read_line()? {
                return Err(ReadError::Cut);
            }
        }
        Ok(())
    }

    fn read_argument(&mut self, index: usize) -> Result<(), ReadError> {
        if !self.read_line()? {
            return Err(ReadError::Cut);
        }
        let Some((b'$', digits)) = self.line.split_first() else {
            return Err(ReadError::Format);
        };
        let len = u64::try_from(num::leading_i64(digits)).map_err(|_| ReadError::Format)?;
        if self.args.len() <= index {
            self.args.push(Vec::new());
        }
        let Some(arg) = self.args.get_mut(index) else {
            return Err(ReadError::Format);
        };
        arg.clear();
        arg.shrink_to(TRUSTED_BYTES);
        arg.reserve(
            usize::try_from(len)
                .unwrap_or(usize::MAX)
                .min(TRUSTED_BYTES),
        );
        let read = (&mut self.input).take(len).read_to_end(arg)?;
        let mut end = [0; 2];
        let rest = if read as u64 == len {
            read_up_to(&mut self.input, &mut end)?
        } else {
            0
        };
        self.offset += (read + rest) as u64;
        if rest < end.len() {
            Err(ReadError::Cut)
        } else {
            Ok(())
        }
    }

    /// Reads a line, its newline included, or what fits of it; `false` at the end of the file.
    fn read_line(&mut self) -> Result<bool, ReadError> {
        self.line.clear();
        let limit = MAX_LINE_BYTES as u64 - 1;
        let read = (&mut self.input)
            .take(limit)
            .read_until(b'\n', &mut self.line)?;
        self.offset += read as u64;
        Ok(read > 0)
    }
}

fn read_up_to(input: &mut impl Read, out: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while let Some(rest) = out.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match input.read(rest) {
            Ok(0) => break,
            Ok(n) => filled += n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn commands(bytes: &[u8]) -> (Vec<Vec<Vec<u8>>>, u64, Option<ReadError>) {
        let mut reader = CommandReader::new(bytes, 0);
        let mut out = Vec::new();
        let mut good = 0;
        loop {
            match reader.next_command() {
                Ok(Some(args)) => out.push(args.to_vec()),
                Ok(None) => return (out, reader.offset(), None),
                Err(error) => return (out, good, Some(error)),
            }
            good = reader.offset();
        }
    }

    const FILE: &[u8] =
        b"#TS:1\r\n*2\r\n$3\r\nGET\r\n$0\r\n\r\n#TS:2\r\n*1\r\n$1\r\nX\r\n#TS:3\r\n";

    #[test]
    fn annotations_are_skipped_and_offsets_counted() {
        let (read, offset, error) = commands(FILE);
        assert_eq!(read, [vec![b"GET".to_vec(), vec![]], vec![b"X".to_vec()]]);
        assert_eq!((offset, error.is_none()), (FILE.len() as u64, true));
    }

    #[test]
    fn a_file_cut_anywhere_yields_whole_commands_and_says_cut() {
        for len in 0..FILE.len() {
            let (read, offset, error) = commands(&FILE[..len]);
            assert!(read.len() <= 2 && offset <= len as u64);
            assert!(
                !matches!(error, Some(ReadError::Format | ReadError::Io(_))),
                "at {len}"
            );
        }
    }

    #[test]
    fn anything_else_is_a_format_error() {
        for bytes in [
            &b"!!!*1\r\n$1\r\nX\r\n"[..],
            b"PING\r\n",
            b"*0\r\n",
            b"*-1\r\n",
            b"*1\r\nX\r\n",
            b"\0",
        ] {
            assert!(
                matches!(commands(bytes).2, Some(ReadError::Format)),
                "{bytes:?}"
            );
        }
    }

    #[test]
    fn declared_lengths_reserve_nothing() {
        for bytes in [
            &b"*2147483647\r\n"[..],
            b"*1\r\n$9223372036854775807\r\nabc",
        ] {
            assert!(matches!(commands(bytes).2, Some(ReadError::Cut)));
        }
    }

    proptest! {
        #[test]
        fn no_input_panics(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            commands(&bytes);
        }
    }
}

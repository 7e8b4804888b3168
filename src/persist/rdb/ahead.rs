//! Reading ahead: a stream is read by a thread of its own, so that copying a file out of the
//! system's memory goes on beside what is made of it.
//!
//! Only for streams that end by themselves, as files do: whoever gives up waits for the read that
//! goes on. A few buffers are on their way at most, whatever the length of the stream.

use std::io::{self, Read};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{Builder, Scope};

/// Bytes read at once.
const PIECE: usize = 512 << 10;
/// Pieces that have been read and not been asked for.
const AHEAD: usize = 2;

type Piece = io::Result<Vec<u8>>;

/// The reading end.
pub struct ReadAhead {
    from: Receiver<Piece>,
    /// What has been used up goes back to be filled again.
    empty: SyncSender<Vec<u8>>,
    piece: Vec<u8>,
    at: usize,
    ended: bool,
}

impl ReadAhead {
    /// Begins to read `stream` on a thread of `scope`.
    ///
    /// # Errors
    /// There is no thread to be had.
    pub fn begin<'s>(
        scope: &'s Scope<'s, '_>,
        stream: impl Read + Send + 's,
    ) -> io::Result<ReadAhead> {
        let (to, from) = sync_channel(AHEAD);
        let (empty, emptied) = sync_channel(AHEAD + 2);
        let reader = Builder::new().name("rdb_ahead".to_owned());
        reader.spawn_scoped(scope, move || read(stream, &to, &emptied))?;
        Ok(ReadAhead {
            from,
            empty,
            piece: Vec::new(),
            at: 0,
            ended: false,
        })
    }
}

/// Reads to the end, to an error, or until nobody wants more.
fn read(mut stream: impl Read, to: &SyncSender<Piece>, emptied: &Receiver<Vec<u8>>) {
    loop {
        let mut piece = emptied.try_recv().unwrap_or_default();
        piece.resize(PIECE, 0);
        let outcome = match stream.read(&mut piece) {
            Ok(count) => {
                piece.truncate(count);
                Ok(piece)
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => Err(error),
        };
        let last = outcome.as_ref().map_or(true, Vec::is_empty);
        if to.send(outcome).is_err() || last {
            return;
        }
    }
}

impl Read for ReadAhead {
    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        if self.at >= self.piece.len() && !self.ended {
            let next = match self.from.recv() {
                Ok(next) => next?,
                Err(_) => Vec::new(),
            };
            self.ended = next.is_empty();
            self.at = 0;
            // If it has enough of them, this one goes.
            let _ = self
                .empty
                .try_send(std::mem::replace(&mut self.piece, next));
        }
        let left = self.piece.get(self.at..).unwrap_or_default();
        let count = left.len().min(room.len());
        if let (Some(to), Some(from)) = (room.get_mut(..count), left.get(..count)) {
            to.copy_from_slice(from);
        }
        self.at += count;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_read_ahead_is_what_is_there() {
        let bytes: Vec<u8> = (0..3 * PIECE + 17).map(|i| (i * 31 % 251) as u8).collect();
        let mut read = Vec::new();
        std::thread::scope(|scope| {
            let mut ahead = ReadAhead::begin(scope, bytes.as_slice()).unwrap();
            ahead.read_to_end(&mut read).unwrap();
            assert_eq!(ahead.read(&mut [0; 8]).unwrap(), 0);
        });
        assert!(read == bytes);
    }

    #[test]
    fn whoever_has_enough_may_go_away() {
        std::thread::scope(|scope| {
            let mut ahead = ReadAhead::begin(scope, io::repeat(7)).unwrap();
            let mut some = [0; 10];
            ahead.read_exact(&mut some).unwrap();
            assert_eq!(some, [7; 10]);
        });
    }

    #[test]
    fn an_error_comes_where_it_happened() {
        struct Breaks(usize);
        impl Read for Breaks {
            fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
                self.0 += 1;
                if self.0 > 2 {
                    return Err(io::Error::other("broken"));
                }
                Ok(room.len())
            }
        }
        std::thread::scope(|scope| {
            let mut ahead = ReadAhead::begin(scope, Breaks(0)).unwrap();
            let mut read = Vec::new();
            let error = ahead.read_to_end(&mut read).unwrap_err();
            assert_eq!(
                (error.to_string().as_str(), read.len()),
                ("broken", 2 * PIECE)
            );
        });
    }
}

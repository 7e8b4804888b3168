//! A reply that is formatted away from the connection's worker, and handed on piece by piece.
//!
//! The worker takes its buffer's contents out ([`Reply::take`]); a helper thread runs the deferred
//! parts by [`Reply::stream`]. A part that writes many elements calls [`Reply::breathe`] between
//! them: what has gathered goes to the sink, so that the whole reply is never in memory, and the
//! part learns when nobody wants the rest.

use bytes::Bytes;

use super::Reply;
use super::late::{Insert, What};

/// What has gathered is handed on when it is this long.
const PIECE_BYTES: usize = 64 * 1024;

/// Room for a piece and the element that goes beyond it, in most replies.
const PIECE_ROOM: usize = PIECE_BYTES + 1024;

/// Takes a piece of a reply; `false` if nobody wants the rest.
pub type Sink = Box<dyn FnMut(Vec<Bytes>) -> bool + Send>;

/// Where a reply that is being streamed goes.
pub(super) struct Outlet {
    sink: Sink,
    closed: bool,
}

impl Reply {
    /// Takes everything out that waits to be sent, deferred parts as they are.
    pub fn take(&mut self) -> Reply {
        let fresh = Reply {
            errors: self.errors,
            ..Reply::new(self.proto)
        };
        std::mem::replace(self, fresh)
    }

    /// Runs the deferred parts in the order of the stream, and hands everything to `sink`. Returns
    /// the codes of the errors that the parts wrote.
    pub fn stream(mut self, sink: Sink) -> Vec<Box<str>> {
        let plain = std::mem::take(&mut self.buf);
        let inserts = std::mem::take(&mut self.inserts);
        (self.deferred, self.deferred_elements, self.shared_bytes) = (0, 0, 0);
        self.error_codes.clear();
        self.outlet = Some(Outlet {
            sink,
            closed: false,
        });
        let mut copied = 0;
        for Insert { at, what } in inserts {
            self.raw(plain.get(copied..at).unwrap_or_default());
            copied = at;
            match what {
                What::Shared(bytes) => self.push_shared(bytes),
                What::Deferred(deferred) => {
                    let current = std::mem::replace(&mut self.proto, deferred.proto);
                    (deferred.part)(&mut self);
                    self.resolve();
                    self.proto = current;
                }
            }
            if !self.breathe() {
                break;
            }
        }
        self.raw(plain.get(copied..).unwrap_or_default());
        self.hand_on();
        std::mem::take(&mut self.error_codes)
    }

    /// To be called by a deferred part between two elements: hands on what has gathered. `false` if
    /// the rest is not wanted.
    #[inline]
    pub fn breathe(&mut self) -> bool {
        match &self.outlet {
            None => true,
            Some(outlet) if outlet.closed => {
                self.buf.clear();
                self.inserts.clear();
                false
            }
            Some(_) if self.len_bytes() < PIECE_BYTES => true,
            // A length that is still open moves what follows it; a part of a part comes later.
            Some(_) if !self.open.is_empty() || self.deferred > 0 => true,
            Some(_) => self.hand_on(),
        }
    }

    fn hand_on(&mut self) -> bool {
        let codes = std::mem::take(&mut self.error_codes);
        let pieces = self.drain_chunks();
        self.error_codes = codes;
        self.buf.reserve(PIECE_ROOM);
        let Some(outlet) = &mut self.outlet else {
            return true;
        };
        if !outlet.closed && !pieces.is_empty() {
            outlet.closed = !(outlet.sink)(pieces);
        }
        !outlet.closed
    }
}

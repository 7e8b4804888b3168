//! What is not plain bytes in order: shared strings, deferred parts, lengths known later; the way
//! back to a mark, and the way out in several pieces.
//!
//! Invariants: `inserts` is ordered by place, and equal places keep the order of their coming. An
//! open length remembers how many inserts came before it, because an insert at its own place may
//! stand on either side of the header to be.

use super::{Proto, Reply};
use bytes::Bytes;
use std::io::IoSlice;

/// A part that is written when the locks are released.
pub type Deferred = Box<dyn FnOnce(&mut Reply) + Send>;

/// Something that belongs between `buf[..at]` and `buf[at..]`.
pub(super) struct Insert {
    pub(super) at: usize,
    pub(super) what: What,
}

pub(super) enum What {
    Shared(Bytes),
    Deferred(Waiting),
}

/// A deferred part that has not run.
pub(super) struct Waiting {
    /// The protocol of its registration, in which it is written.
    pub(super) proto: Proto,
    /// About how many elements it writes or looks at.
    elements: usize,
    pub(super) part: Deferred,
}

#[derive(Clone, Copy)]
pub(super) struct Open {
    pub(super) at: usize,
    inserts: usize,
    closed: bool,
}

/// An aggregate whose length is still to be set.
#[must_use = "the reply is malformed until the length is set"]
#[derive(Debug)]
pub struct LenSlot(usize);

/// A place in the stream to which [`Reply::rewind`] goes back.
#[derive(Clone, Copy, Debug)]
pub struct Mark {
    len: usize,
    inserts: usize,
    open: usize,
    errors: u64,
    codes: usize,
}

impl Reply {
    /// An aggregate whose length is set later. Several may be open at once.
    pub fn defer_len(&mut self) -> LenSlot {
        let open = Open {
            at: self.buf.len(),
            inserts: self.inserts.len(),
            closed: false,
        };
        self.open.push(open);
        LenSlot(self.open.len() - 1)
    }

    /// Makes the aggregate an array of `n` elements.
    pub fn set_array_len(&mut self, slot: LenSlot, n: usize) {
        self.close(slot, b'*', n);
    }

    /// Makes the aggregate a map of `n` pairs.
    pub fn set_map_len(&mut self, slot: LenSlot, n: usize) {
        let (prefix, n) = self.map_head(n);
        self.close(slot, prefix, n);
    }

    /// Makes the aggregate a set of `n` elements.
    pub fn set_set_len(&mut self, slot: LenSlot, n: usize) {
        self.close(slot, if self.is_resp3() { b'~' } else { b'*' }, n);
    }

    fn close(&mut self, LenSlot(index): LenSlot, prefix: u8, n: usize) {
        let Some(slot) = self.open.get_mut(index) else {
            return;
        };
        slot.closed = true;
        let Open { at, inserts, .. } = *slot;
        let end = self.buf.len();
        self.head(prefix, n);
        let header = self.buf.len() - end;
        if let Some(tail) = self.buf.get_mut(at..) {
            tail.rotate_right(header);
        }
        self.inserts
            .iter_mut()
            .skip(inserts)
            .for_each(|insert| insert.at += header);
        self.open
            .iter_mut()
            .skip(index + 1)
            .for_each(|inner| inner.at += header);
        while self.open.last().is_some_and(|slot| slot.closed) {
            self.open.pop();
        }
    }

    pub(super) fn push_shared(&mut self, bytes: Bytes) {
        self.shared_bytes += bytes.len();
        self.inserts.push(Insert {
            at: self.buf.len(),
            what: What::Shared(bytes),
        });
    }

    /// Registers a part that is written by [`Reply::resolve`], at this place in the stream and in
    /// the protocol of now. It writes whole elements: it may not close aggregates begun outside.
    pub fn deferred(&mut self, part: Deferred) {
        self.deferred_of(0, part);
    }

    /// As [`Reply::deferred`], for a part that writes or looks at about so many elements: from some
    /// number on it is run by a helper thread.
    pub fn deferred_of(&mut self, elements: usize, part: Deferred) {
        self.deferred += 1;
        self.deferred_elements += elements;
        self.inserts.push(Insert {
            at: self.buf.len(),
            what: What::Deferred(Waiting {
                proto: self.proto,
                elements,
                part,
            }),
        });
    }

    /// About how many elements the deferred parts write or look at.
    #[inline]
    pub fn deferred_elements(&self) -> usize {
        self.deferred_elements
    }

    /// Whether [`Reply::resolve`] has something to do.
    #[inline]
    pub fn has_deferred(&self) -> bool {
        self.deferred > 0
    }

    /// Runs the deferred parts in the order of the stream, those that they register in turn
    /// included. To be called without locks.
    pub fn resolve(&mut self) {
        while self.deferred > 0 {
            self.resolve_once();
        }
    }

    fn resolve_once(&mut self) {
        debug_assert!(self.open.is_empty(), "a length is still open");
        let is_deferred = |insert: &Insert| matches!(insert.what, What::Deferred(..));
        let Some(first) = self.inserts.iter().position(is_deferred) else {
            (self.deferred, self.deferred_elements) = (0, 0);
            return;
        };
        // Everything from the first deferred part on is laid out anew behind what precedes it.
        let later = self.inserts.split_off(first);
        let base = later.first().map_or(self.buf.len(), |insert| insert.at);
        let tail = self.buf.split_off(base.min(self.buf.len()));
        (self.deferred, self.deferred_elements) = (0, 0);
        let mut copied = 0;
        for Insert { at, what } in later {
            let upto = at - base;
            self.buf
                .extend_from_slice(tail.get(copied..upto).unwrap_or_default());
            copied = upto;
            match what {
                What::Shared(bytes) => {
                    self.inserts.push(Insert {
                        at: self.buf.len(),
                        what: What::Shared(bytes),
                    });
                }
                What::Deferred(waiting) => {
                    let current = std::mem::replace(&mut self.proto, waiting.proto);
                    (waiting.part)(self);
                    self.proto = current;
                }
            }
        }
        self.buf
            .extend_from_slice(tail.get(copied..).unwrap_or_default());
    }

    /// Moves all of `other` behind what is here, statistics included, and leaves it empty.
    pub fn append(&mut self, other: &mut Reply) {
        let base = self.buf.len();
        self.buf.append(&mut other.buf);
        let moved = other.inserts.drain(..);
        self.inserts.extend(moved.map(|insert| Insert {
            at: insert.at + base,
            ..insert
        }));
        self.error_codes.append(&mut other.error_codes);
        self.errors += std::mem::take(&mut other.errors);
        self.shared_bytes += std::mem::take(&mut other.shared_bytes);
        self.deferred += std::mem::take(&mut other.deferred);
        self.deferred_elements += std::mem::take(&mut other.deferred_elements);
        other.open.clear();
    }

    /// This place in the stream.
    #[inline]
    pub fn mark(&self) -> Mark {
        Mark {
            len: self.buf.len(),
            inserts: self.inserts.len(),
            open: self.open.len(),
            errors: self.errors,
            codes: self.error_codes.len(),
        }
    }

    /// Takes back everything written since `mark`, which must be of this batch.
    pub fn rewind(&mut self, mark: Mark) {
        self.buf.truncate(mark.len);
        for Insert { what, .. } in self.inserts.drain(mark.inserts.min(self.inserts.len())..) {
            match what {
                What::Shared(bytes) => self.shared_bytes -= bytes.len(),
                What::Deferred(waiting) => {
                    self.deferred -= 1;
                    self.deferred_elements -= waiting.elements;
                }
            }
        }
        self.open.truncate(mark.open);
        self.errors = mark.errors;
        self.error_codes.truncate(mark.codes);
    }

    /// Whether anything was written since `mark`.
    #[inline]
    pub fn written_since(&self, mark: Mark) -> bool {
        self.buf.len() != mark.len || self.inserts.len() != mark.inserts
    }

    /// How many error replies were written since `mark`.
    #[inline]
    pub fn errors_since(&self, mark: Mark) -> u64 {
        self.errors - mark.errors
    }

    /// How many error replies were ever written to this buffer.
    #[inline]
    pub fn errors(&self) -> u64 {
        self.errors
    }

    /// The codes of the errors written since the last call (`ERR`, `WRONGTYPE`, ...).
    pub fn drain_error_codes(&mut self) -> impl Iterator<Item = Box<str>> + '_ {
        self.error_codes.drain(..)
    }

    /// All bytes in order, for a vectored write. Deferred parts must have been resolved.
    pub fn io_slices(&self) -> Vec<IoSlice<'_>> {
        debug_assert!(!self.has_deferred());
        let mut slices = Vec::with_capacity(self.inserts.len() * 2 + 1);
        let mut from = 0;
        let mut add = |bytes| {
            if !<[u8]>::is_empty(bytes) {
                slices.push(IoSlice::new(bytes));
            }
        };
        for insert in &self.inserts {
            add(self.buf.get(from..insert.at).unwrap_or_default());
            from = insert.at;
            if let What::Shared(bytes) = &insert.what {
                add(bytes);
            }
        }
        add(self.buf.get(from..).unwrap_or_default());
        slices
    }

    /// Takes all bytes along, in order and without a copy, and leaves the buffer empty. Resolves
    /// deferred parts first.
    pub fn drain_chunks(&mut self) -> Vec<Bytes> {
        self.resolve();
        let whole = Bytes::from(std::mem::take(&mut self.buf));
        let mut chunks = Vec::with_capacity(self.inserts.len() * 2 + 1);
        let mut from = 0;
        for Insert { at, what } in self.inserts.drain(..) {
            let at = at.min(whole.len());
            if at > from {
                chunks.push(whole.slice(from..at));
                from = at;
            }
            if let What::Shared(bytes) = what {
                chunks.push(bytes);
            }
        }
        if whole.len() > from {
            chunks.push(whole.slice(from..));
        }
        self.clear();
        chunks
    }
}

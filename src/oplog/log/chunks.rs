//! The bytes of the log: a run of chunks, the last of which is still being filled.
//!
//! ```text
//!  first                                                        end
//!    | sealed chunk | sealed chunk | one large append | tail .... |
//! ```
//!
//! A sealed chunk never changes and is shared by reference with whoever reads it. The tail is
//! written by the next append, so what is read from it is copied; that is at most one chunk for a
//! reader that keeps up, and a reader that lags finds sealed chunks. Chunks have one size, so a
//! chunk that nobody holds any more becomes the next tail and a full backlog turns without the
//! allocator. An append larger than a chunk becomes a chunk of its own, copied by the caller
//! before it takes the log's lock.

use bytes::{Bytes, BytesMut};
use std::collections::VecDeque;

pub(super) const MAX_CHUNK_BYTES: usize = 64 * 1024;
const MIN_CHUNK_BYTES: usize = 4 * 1024;
/// What `bytes` allocates beside the content of a sealed chunk.
const SHARED_BYTES: usize = 48;
/// Chunks for which room is kept.
const SHORT_LIST: usize = 64;

#[derive(Debug)]
struct Chunk {
    start: u64,
    bytes: Bytes,
}

impl Chunk {
    fn end(&self) -> u64 {
        self.start + self.bytes.len() as u64
    }
}

/// See the module. What every append changes comes last.
#[derive(Debug)]
#[repr(C)]
pub(super) struct Chunks {
    sealed: VecDeque<Chunk>,
    spare: Option<BytesMut>,
    chunk_bytes: usize,
    tail_start: u64,
    tail: BytesMut,
}

impl Chunks {
    /// Where what every append changes begins.
    pub const CHANGED_FROM: usize = std::mem::offset_of!(Chunks, tail_start);

    pub fn new(start: u64) -> Self {
        Self {
            sealed: VecDeque::new(),
            tail: BytesMut::new(),
            tail_start: start,
            spare: None,
            chunk_bytes: MAX_CHUNK_BYTES,
        }
    }

    /// Small backlogs get small chunks, so that what is kept stays near what was asked for. The
    /// first one is taken now: a backlog costs memory when it is made, not at the next write.
    pub fn fit_to_backlog(&mut self, backlog_bytes: usize) {
        self.chunk_bytes = (backlog_bytes / 16).clamp(MIN_CHUNK_BYTES, MAX_CHUNK_BYTES);
        if self.tail.capacity() == 0 {
            self.tail = BytesMut::with_capacity(self.chunk_bytes);
        }
    }

    /// The offset of the oldest byte kept.
    pub fn first(&self) -> u64 {
        self.sealed
            .front()
            .map_or(self.tail_start, |chunk| chunk.start)
    }

    /// The offset behind the newest byte.
    pub fn end(&self) -> u64 {
        self.tail_start + self.tail.len() as u64
    }

    /// Bytes of memory in use.
    pub fn memory_bytes(&self) -> usize {
        let spare = self.spare.as_ref().map_or(0, BytesMut::capacity);
        let chunks = self.sealed.iter();
        let sealed: usize = chunks.map(|c| c.bytes.len() + SHARED_BYTES).sum();
        sealed + self.tail.capacity() + spare + self.sealed.capacity() * size_of::<Chunk>()
    }

    /// Bytes of memory that [`Chunks::release`] would leave.
    pub fn memory_bytes_behind(&self, offset: u64) -> usize {
        let ended = |chunk: &&Chunk| chunk.end() <= offset;
        let mut kept = self.memory_bytes();
        for chunk in self.sealed.iter().take_while(ended) {
            kept -= chunk.bytes.len() + SHARED_BYTES;
        }
        let reused = |chunk: &Chunk| chunk.bytes.len() == self.chunk_bytes;
        if self.spare.is_none() && self.sealed.iter().take_while(ended).any(reused) {
            kept += self.chunk_bytes;
        }
        kept
    }

    /// Size of the next chunk: what a lagging reader keeps beyond the backlog is not cut small.
    fn next_size(&self) -> usize {
        let kept = usize::try_from(self.end() - self.first()).unwrap_or(usize::MAX);
        let wanted = (kept / 64).checked_next_power_of_two();
        wanted
            .unwrap_or(MAX_CHUNK_BYTES)
            .clamp(self.chunk_bytes, MAX_CHUNK_BYTES)
    }

    /// Copies `bytes` to the end.
    pub fn put(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let room = self.tail.capacity() - self.tail.len();
            if room == 0 {
                self.seal();
                let size = self.next_size();
                self.tail = match self.spare.take() {
                    Some(spare) if spare.capacity() >= size => spare,
                    _ => BytesMut::with_capacity(size),
                };
                continue;
            }
            let (now, later) = bytes.split_at(room.min(bytes.len()));
            self.tail.extend_from_slice(now);
            bytes = later;
        }
    }

    /// Puts `bytes` to the end as a chunk of its own.
    pub fn put_shared(&mut self, bytes: Bytes) {
        self.seal();
        let start = self.tail_start;
        self.tail_start += bytes.len() as u64;
        self.sealed.push_back(Chunk { start, bytes });
    }

    fn seal(&mut self) {
        if self.tail.is_empty() {
            return;
        }
        let start = self.tail_start;
        self.tail_start = self.end();
        // `split` leaves the room behind the content to the tail.
        self.sealed.push_back(Chunk {
            start,
            bytes: self.tail.split().freeze(),
        });
    }

    /// How many bytes of `[from, to)` lie in the tail, and are copied by whoever reads them.
    pub fn copied(&self, from: u64, to: u64) -> usize {
        to.saturating_sub(from.max(self.tail_start)) as usize
    }

    /// Hands `sink` the bytes of `[from, to)` in order, in as few parts as they lie in.
    /// The range must lie within `[first, end]`; what does not is left out.
    pub fn read(&self, from: u64, to: u64, mut sink: impl FnMut(Bytes)) {
        let index = self.sealed.partition_point(|chunk| chunk.end() <= from);
        for chunk in self.sealed.range(index..) {
            if chunk.start >= to {
                return;
            }
            let begin = from.saturating_sub(chunk.start) as usize;
            let end = (to.min(chunk.end()) - chunk.start) as usize;
            if begin < end {
                sink(chunk.bytes.slice(begin..end));
            }
        }
        if to > self.tail_start {
            let begin = from.saturating_sub(self.tail_start) as usize;
            let end = (to - self.tail_start) as usize;
            if let Some(part) = self.tail.get(begin..end).filter(|part| !part.is_empty()) {
                sink(Bytes::copy_from_slice(part));
            }
        }
    }

    /// Forgets chunks that end at or before `offset`. The tail is emptied in place when nothing
    /// in it is wanted either.
    pub fn release(&mut self, offset: u64) {
        while self
            .sealed
            .front()
            .is_some_and(|chunk| chunk.end() <= offset)
        {
            let Some(chunk) = self.sealed.pop_front() else {
                break;
            };
            if self.spare.is_none()
                && chunk.bytes.len() == self.chunk_bytes
                && let Ok(mut free) = chunk.bytes.try_into_mut()
            {
                free.clear();
                self.spare = Some(free);
            }
        }
        // A reader that lagged far leaves a long list behind.
        if self.sealed.capacity() > 4 * self.sealed.len().max(SHORT_LIST) {
            self.sealed.shrink_to(SHORT_LIST);
        }
        if self.sealed.is_empty() && offset >= self.end() {
            self.tail_start = self.end();
            self.tail.clear();
        }
    }

    /// Every byte's offset grows by `offset`.
    pub fn shift(&mut self, offset: u64) {
        for chunk in &mut self.sealed {
            chunk.start += offset;
        }
        self.tail_start += offset;
    }

    /// Forgets everything, memory included; the next byte has offset `start`.
    pub fn reset(&mut self, start: u64) {
        let chunk_bytes = self.chunk_bytes;
        *self = Self {
            chunk_bytes,
            ..Self::new(start)
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(chunks: &Chunks, from: u64, to: u64) -> Vec<u8> {
        let mut out = Vec::new();
        chunks.read(from, to, |bytes| out.extend_from_slice(&bytes));
        out
    }

    #[test]
    fn what_is_put_is_read_back_from_any_offset() {
        let mut chunks = Chunks::new(1000);
        chunks.fit_to_backlog(0);
        let mut stream = Vec::new();
        for i in 0..500usize {
            let piece = vec![i as u8; i % 311];
            stream.extend_from_slice(&piece);
            if i % 7 == 0 {
                chunks.put_shared(piece.into())
            } else {
                chunks.put(&piece)
            }
        }
        assert_eq!(chunks.end(), 1000 + stream.len() as u64);
        for from in (0..stream.len()).step_by(997) {
            for len in [0, 1, 500, 40_000, stream.len()] {
                let to = (from + len).min(stream.len());
                let read = all(&chunks, 1000 + from as u64, 1000 + to as u64);
                assert_eq!(read, stream[from..to]);
            }
        }
    }

    #[test]
    fn releasing_keeps_what_is_behind_the_offset() {
        let mut chunks = Chunks::new(0);
        chunks.fit_to_backlog(0);
        let stream: Vec<u8> = (0..100_000u32).map(|i| i as u8).collect();
        chunks.put(&stream);
        chunks.release(50_000);
        assert!(chunks.first() <= 50_000 && chunks.first() > 50_000 - 16_384);
        assert_eq!(all(&chunks, 50_000, 100_000), stream[50_000..]);
        chunks.release(100_000);
        assert_eq!((chunks.first(), chunks.end()), (100_000, 100_000));
        chunks.put(b"more");
        assert_eq!(all(&chunks, 100_000, 100_004), b"more");
    }

    #[test]
    fn a_turning_ring_reuses_its_chunks() {
        let mut chunks = Chunks::new(0);
        chunks.fit_to_backlog(64 * 1024);
        let piece = vec![7u8; 1000];
        let mut highest = 0;
        for _ in 0..2000 {
            chunks.put(&piece);
            chunks.release(chunks.end().saturating_sub(64 * 1024));
            highest = highest.max(chunks.memory_bytes());
        }
        assert!(highest < 64 * 1024 + 4 * 16 * 1024, "{highest}");
        assert!(chunks.spare.is_some());
    }
}

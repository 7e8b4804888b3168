//! A place from which somebody follows the log.
//!
//! A cursor belongs to one reader. What it has read it no longer holds in the log, unless it says
//! so ([`Cursor::try_read_holding`]); the bytes themselves stay alive as long as the reader keeps
//! the handles. A reader that must not drop anything before it is safe elsewhere therefore keeps
//! the handles, or reads no more than it can put away.

use super::wakeup::{Sleeper, WakeHandle};
use super::{Log, State};
use bytes::Bytes;
use smallvec::SmallVec;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Consecutive bytes of the stream in a few shared parts.
pub type Segments = SmallVec<[Bytes; 4]>;

/// What the AOF's cursor reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// Bytes of the stream.
    Data(Bytes),
    /// A new second (unix time) began between the units before and behind.
    Second(i64),
}

/// Where reading for the AOF stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AofRead {
    /// There is more to read.
    More,
    /// At the end of the stream, that is behind a whole unit.
    End,
    /// At a barrier; see [`Log::aof_barrier`].
    Barrier,
}

/// See the module.
#[derive(Debug)]
pub struct Cursor {
    log: Arc<Log>,
    id: u64,
    position: u64,
    /// The log does not know yet how far this cursor has come.
    holds: bool,
    /// What the log has been told, see [`Cursor::keeps_up`].
    keeps_up: bool,
    for_aof: bool,
    sleeper: Sleeper,
}

impl Cursor {
    pub(super) fn new(log: Arc<Log>, id: u64, position: u64, for_aof: bool) -> Self {
        let sleeper = log.wakeups(for_aof).join();
        Self {
            log,
            id,
            position,
            holds: false,
            keeps_up: false,
            for_aof,
            sleeper,
        }
    }

    /// Offset of the next byte this cursor reads.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Bytes of the stream not yet read.
    pub fn lag(&self) -> u64 {
        self.log.end_offset().saturating_sub(self.position)
    }

    /// Whether this cursor skips what is not for the AOF.
    pub fn is_for_aof(&self) -> bool {
        self.for_aof
    }

    /// The next bytes of the stream, at most `max_bytes`; empty when there are none.
    pub fn try_read(&mut self, max_bytes: usize) -> Segments {
        let out = self.try_read_holding(max_bytes);
        self.let_go();
        out
    }

    /// As [`Cursor::try_read`], but the log holds what is read until [`Cursor::let_go`]. So it is
    /// counted as the log's memory while it waits for a slow connection to take it.
    pub fn try_read_holding(&mut self, max_bytes: usize) -> Segments {
        let mut out = Segments::new();
        let mut state = self.log.stream.state.lock();
        let to = state
            .chunks
            .end()
            .min(self.position.saturating_add(max_bytes as u64));
        state
            .chunks
            .read(self.position, to, |bytes| out.push(bytes));
        let copied = state.chunks.copied(self.position, to);
        if let Some(reader) = state.readers.iter_mut().find(|reader| reader.id == self.id) {
            reader.copied += copied;
        }
        self.position = to;
        self.holds |= !out.is_empty();
        out
    }

    /// Lets the log drop what has been read.
    pub fn let_go(&mut self) {
        if std::mem::take(&mut self.holds) {
            self.log.stream.state.lock().moved(self.id, self.position);
        }
    }

    /// Tells whether this reader takes what comes as soon as it comes. One that does is left out of
    /// [`Log::settled_bytes`]; at first none does.
    pub fn keeps_up(&mut self, keeps_up: bool) {
        if self.keeps_up == keeps_up {
            return;
        }
        self.keeps_up = keeps_up;
        let mut state = self.log.stream.state.lock();
        if let Some(reader) = state.readers.iter_mut().find(|reader| reader.id == self.id) {
            reader.keeps_up = keeps_up;
        }
    }

    /// The next bytes for the AOF, appended to `out`: at most about `max_bytes` of stream.
    pub fn try_read_aof(&mut self, max_bytes: usize, out: &mut Vec<Piece>) -> AofRead {
        let mut state = self.log.stream.state.lock();
        let end = state.chunks.end();
        let barrier = state.barriers.front().copied();
        let to = end.min(self.position.saturating_add(max_bytes as u64));
        let to = barrier.map_or(to, |barrier| to.min(barrier));
        while self.position < to {
            self.position = state.read_piece_for_aof(self.position, to, out);
        }
        state.moved(self.id, self.position);
        if barrier == Some(self.position) {
            AofRead::Barrier
        } else if self.position == end {
            AofRead::End
        } else {
            AofRead::More
        }
    }

    /// Goes on behind the barrier this cursor stands at.
    pub fn pass_barrier(&mut self) {
        let mut state = self.log.stream.state.lock();
        if state.barriers.front() == Some(&self.position) {
            state.barriers.pop_front();
        }
    }

    /// Waits until there is something to read. Safe to drop and to call again.
    pub async fn readable(&self) {
        let ready = || self.log.end_offset() > self.position;
        let wakeups = self.log.wakeups(self.for_aof);
        wakeups.sleep(&self.sleeper, ready).await;
    }

    /// Blocks until there is something to read, `timeout` is over, or a [`WakeHandle`] calls.
    /// Returns whether there is something to read.
    pub fn wait(&self, timeout: Option<Duration>) -> bool {
        self.waiter().wait_beyond(self.position, timeout)
    }

    /// Waits in this cursor's place, for whoever cannot hold the cursor meanwhile.
    pub fn waiter(&self) -> Waiter {
        Waiter {
            log: Arc::clone(&self.log),
            for_aof: self.for_aof,
            sleeper: self.sleeper.clone(),
        }
    }

    /// Ends waits of this cursor from elsewhere.
    pub fn wake_handle(&self) -> WakeHandle {
        self.sleeper.handle()
    }

    /// The log this cursor follows.
    pub fn log(&self) -> &Arc<Log> {
        &self.log
    }
}

/// A cursor's bed without the cursor.
#[derive(Debug)]
pub struct Waiter {
    log: Arc<Log>,
    for_aof: bool,
    sleeper: Sleeper,
}

impl Waiter {
    /// As [`Cursor::wait`], for a reader that is only interested in the stream behind `offset`. No
    /// append wakes it before that; at `u64::MAX`, none does.
    pub fn wait_beyond(&self, offset: u64, timeout: Option<Duration>) -> bool {
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        let ready = || self.log.end_offset() > offset;
        let wakeups = self.log.wakeups(self.for_aof);
        wakeups.sleep_blocking(&self.sleeper, offset, deadline, ready)
    }
}

impl Drop for Cursor {
    fn drop(&mut self) {
        self.log.wakeups(self.for_aof).leave(&self.sleeper);
        let mut state = self.log.stream.state.lock();
        state.readers.retain(|reader| reader.id != self.id);
        if self.for_aof && !state.readers.iter().any(|reader| reader.for_aof) {
            state.skips.clear();
            state.seconds.clear();
            state.barriers.clear();
        }
        state.trim();
        self.log.finish(state);
    }
}

impl State {
    fn moved(&mut self, id: u64, position: u64) {
        let before = self.readers.iter().map(|reader| reader.position).min();
        if let Some(reader) = self.readers.iter_mut().find(|reader| reader.id == id) {
            (reader.position, reader.copied) = (position, 0);
        }
        // Only the slowest reader's step can free anything.
        if before != self.readers.iter().map(|reader| reader.position).min() {
            self.trim();
        }
    }

    /// Adds to `out` what begins at `from` and ends at the next mark, `to` at the latest.
    fn read_piece_for_aof(&mut self, from: u64, to: u64, out: &mut Vec<Piece>) -> u64 {
        while let Some(second) = self.seconds.front().filter(|second| second.at <= from) {
            out.push(Piece::Second(second.unix_s));
            self.seconds.pop_front();
        }
        while self.skips.front().is_some_and(|skip| skip.to <= from) {
            self.skips.pop_front();
        }
        let mut stop = to;
        if let Some(skip) = self.skips.front() {
            if skip.from <= from {
                return skip.to.min(to);
            }
            stop = stop.min(skip.from);
        }
        if let Some(second) = self.seconds.front() {
            stop = stop.min(second.at);
        }
        self.chunks
            .read(from, stop, |bytes| out.push(Piece::Data(bytes)));
        stop
    }
}

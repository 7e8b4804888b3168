//! The log: every write in one order, as one stream of RESP bytes with a replication offset.
//!
//! ```text
//!   units --append--> [ chunk | chunk | chunk | tail ]
//!                       ^backlog's tail  ^replica  ^AOF        (cursors)
//! ```
//!
//! Offsets count bytes of the stream as replicas see it; offset N stands behind N bytes. (The
//! "first byte offset" that INFO prints counts from one; [`Log::backlog`] speaks of it.)
//!
//! Guarantees, each asserted or tested below:
//!
//! 1. Every reader sees the same bytes in the same order, whatever its speed.
//! 2. Appends are made with the shards locked, so they do little: one mutex, one copy into
//!    chunks. Waking the readers is [`Log::wake`], called after the shards are unlocked.
//! 3. Without a reader and without a backlog nothing is kept, nothing is locked and the offset
//!    stands still, as Redis's does.
//! 4. Memory is what the slowest cursor and the backlog need, whichever is more, to a chunk.
//!    A cursor that lags is the business of who owns it ([`Cursor::lag`]); dropping it frees
//!    what it held.
//! 5. A partial resync is served from whatever is still kept, be it for the backlog's sake or
//!    for a slow reader's.
//!
//! SELECT. The log knows which database the stream selected last and puts SELECT before a part
//! for another one. After [`Log::force_select`] the next part gets its SELECT in any case: a
//! replica that loads a snapshot starts in database 0. On a replica the primary's bytes, SELECTs
//! included, come by [`Log::append_raw`], with the database they end in; nothing may be added to
//! that stream, or offsets would differ from the primary's. So whoever starts reading in the
//! middle, as a new AOF file does, asks [`Log::position`] for the database in force there and
//! writes its own SELECT: the file is not the stream.
//!
//! The AOF reads the same stream with two differences. Stretches for replicas alone (PING,
//! REPLCONF GETACK, PUBLISH) are marked and skipped. When annotations are on, the log notes at
//! which offset a new second began, and the AOF's cursor yields that second between two units.
//!
//! A rewrite of the AOF splits the stream: what is before belongs to the old file, what is behind
//! to the new one. [`Log::aof_barrier`], called in the instant of the snapshot, makes the AOF's
//! cursor stop there, so that it cannot run past before the writer has heard of the rewrite.

mod chunks;
mod cursor;
#[cfg(test)]
mod tests;
mod wakeup;

pub use cursor::{AofRead, Cursor, Piece, Segments, Waiter};
pub use wakeup::WakeHandle;

use self::chunks::{Chunks, MAX_CHUNK_BYTES};
use self::wakeup::Wakeups;
use crate::base::padded::CachePadded;
use crate::oplog::durable::Durability;
use crate::oplog::effect::{UnitEffects, encode};
use bytes::Bytes;
use parking_lot::{Mutex, MutexGuard};
use smallvec::SmallVec;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// A place in the stream and the database selected there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// Bytes of stream before this place.
    pub offset: u64,
    /// The database the stream has selected; `None` when the next command brings its SELECT.
    pub db: Option<u32>,
}

/// The backlog as INFO and PSYNC see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backlog {
    /// The size asked for, in bytes.
    pub size_bytes: u64,
    /// Offset of the oldest byte kept; a reader may start here. INFO prints it plus one.
    pub first: u64,
    /// Bytes kept. May exceed the size by a part of a chunk, or by what a slow reader holds.
    pub histlen: u64,
}

/// Why [`Log::set_offset`] refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the replication offset cannot change while {readers} readers follow the log")]
pub struct HasReaders {
    /// How many cursors are open.
    pub readers: usize,
}

/// A stretch of the stream that is not for the AOF.
#[derive(Debug, Clone, Copy)]
struct Skip {
    from: u64,
    to: u64,
}

/// A second that began at an offset.
#[derive(Debug, Clone, Copy)]
struct Second {
    at: u64,
    unix_s: i64,
}

#[derive(Debug)]
struct Reader {
    id: u64,
    position: u64,
    for_aof: bool,
    /// Bytes it has copied, and holds beside those that are kept for it.
    copied: usize,
    /// It takes what comes as soon as it comes.
    keeps_up: bool,
}

/// What an append looks at comes last, next to the lock and the end: few lines to hand over from
/// one processor to the other.
#[derive(Debug)]
#[repr(C)]
struct State {
    readers: Vec<Reader>,
    next_reader: u64,
    /// The size of the backlog and the offset at which it was created.
    backlog: Option<(u64, u64)>,
    skips: VecDeque<Skip>,
    seconds: VecDeque<Second>,
    /// Where the AOF's cursor stops until it is told to go on.
    barriers: VecDeque<u64>,
    scratch: Vec<u8>,
    chunks: Chunks,
    db: Option<u32>,
    last_second: i64,
    annotate: bool,
    /// The stream is our primary's.
    following: bool,
}

/// A cache line does for what every append changes.
const _: () =
    assert!(size_of::<State>() - std::mem::offset_of!(State, chunks) - Chunks::CHANGED_FROM <= 64);

/// See the module. One per server, shared by reference.
#[derive(Debug)]
pub struct Log {
    /// Read by every unit, whether it writes or not, and seldom changed.
    active: AtomicBool,
    stream: CachePadded<Stream>,
    /// Where replicas' readers sleep.
    replicas: CachePadded<Wakeups>,
    /// Where the AOF's reader sleeps.
    aof: CachePadded<Wakeups>,
    durability: CachePadded<Durability>,
}

/// What every append changes.
#[derive(Debug)]
struct Stream {
    state: Mutex<State>,
    /// The end of the chunks, for whoever does without the lock.
    end: AtomicU64,
}

impl Log {
    /// An empty, inactive log at offset 0.
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            active: AtomicBool::new(false),
            stream: CachePadded(Stream {
                state: Mutex::new(State {
                    readers: Vec::new(),
                    next_reader: 0,
                    backlog: None,
                    skips: VecDeque::new(),
                    seconds: VecDeque::new(),
                    barriers: VecDeque::new(),
                    scratch: Vec::new(),
                    chunks: Chunks::new(0),
                    db: None,
                    last_second: 0,
                    annotate: false,
                    following: false,
                }),
                end: AtomicU64::new(0),
            }),
            replicas: CachePadded::default(),
            aof: CachePadded::default(),
            durability: CachePadded::default(),
        })
    }

    /// Whether anybody consumes the log. While false, appends do nothing.
    #[inline]
    pub fn is_active(&self) -> bool {
        self.active.load(Ordering::SeqCst)
    }

    /// Bytes in the stream so far: the replication offset.
    #[inline]
    pub fn end_offset(&self) -> u64 {
        self.stream.end.load(Ordering::SeqCst)
    }

    /// The end of the stream and the database selected there, taken together.
    pub fn position(&self) -> Position {
        let state = self.stream.state.lock();
        Position {
            offset: state.chunks.end(),
            db: state.db,
        }
    }

    /// How far the AOF has brought the stream to disk.
    pub fn durability(&self) -> &Durability {
        &self.durability
    }

    /// Appends what a unit wrote and returns the offset behind it. Called with the unit's shards
    /// locked; [`Log::wake`] follows once they are unlocked.
    pub fn append(&self, unit: &UnitEffects) -> u64 {
        if unit.is_empty() || !self.is_active() {
            return self.end_offset();
        }
        if unit.len_bytes() >= MAX_CHUNK_BYTES {
            return self.append_large(unit);
        }
        let mut state = self.stream.state.lock();
        if state.following {
            return self.publish(state);
        }
        state.begin_unit(unit.unix_s());
        for part in unit.parts() {
            state.select(part.db);
            state.put(part.for_aof, |chunks| chunks.put(part.bytes));
        }
        self.publish(state)
    }

    /// As `append`, with the copies made before the lock is taken, where any are needed.
    #[cold]
    fn append_large(&self, unit: &UnitEffects) -> u64 {
        let parts: SmallVec<[_; 4]> = unit
            .parts()
            .map(|part| {
                let copy = || Bytes::copy_from_slice(part.bytes);
                (
                    part.db,
                    part.for_aof,
                    part.shared.cloned().unwrap_or_else(copy),
                )
            })
            .collect();
        let mut state = self.stream.state.lock();
        if state.following {
            return self.publish(state);
        }
        state.begin_unit(unit.unix_s());
        for (db, for_aof, bytes) in parts {
            state.select(db);
            state.put(for_aof, |chunks| {
                if bytes.len() < MAX_CHUNK_BYTES {
                    chunks.put(&bytes);
                } else {
                    chunks.put_shared(bytes);
                }
            });
        }
        self.publish(state)
    }

    /// Appends whole commands of the primary's stream as they came. `db_after` is the database
    /// selected behind them when they contain a SELECT. Returns the offset behind them.
    pub fn append_raw(&self, bytes: &[u8], for_aof: bool, db_after: Option<u32>) -> u64 {
        if !self.is_active() {
            return self.end_offset();
        }
        let mut state = self.stream.state.lock();
        state.put(for_aof, |chunks| chunks.put(bytes));
        if db_after.is_some() {
            state.db = db_after;
        }
        self.publish(state)
    }

    /// Appends a command that is for replicas alone and for no database: PING, REPLCONF GETACK.
    pub fn append_not_for_aof(&self, argv: &[&[u8]]) -> u64 {
        if !self.is_active() {
            return self.end_offset();
        }
        let mut state = self.stream.state.lock();
        if state.following {
            return self.publish(state);
        }
        let mut scratch = std::mem::take(&mut state.scratch);
        scratch.clear();
        encode(&mut scratch, argv);
        state.put(false, |chunks| chunks.put(&scratch));
        state.scratch = scratch;
        self.publish(state)
    }

    /// The next command brings its SELECT, whatever is selected now.
    pub fn force_select(&self) {
        self.stream.state.lock().db = None;
    }

    /// From now on the stream is a primary's, and nothing of our own is added to it; or it is our
    /// own again, and the next command brings its SELECT. Returns where it stands.
    pub fn set_following(&self, following: bool) -> u64 {
        let mut state = self.stream.state.lock();
        state.following = following;
        if !following {
            state.db = None;
        }
        state.chunks.end()
    }

    /// Notes the seconds in which units ran, from now on or no longer, for `#TS:` annotations.
    pub fn set_annotations(&self, on: bool) {
        let mut state = self.stream.state.lock();
        state.annotate = on;
        if !on {
            state.seconds.clear();
            state.last_second = 0;
        }
    }

    /// Moves the stream to `offset`, which a primary or a file dictates, with `db` selected. What
    /// was kept belongs to another history and is forgotten; a backlog stays, empty.
    pub fn set_offset(&self, offset: u64, db: Option<u32>) -> Result<(), HasReaders> {
        let mut state = self.stream.state.lock();
        let readers = state.readers.len();
        if readers > 0 {
            return Err(HasReaders { readers });
        }
        state.chunks.reset(offset);
        state.skips.clear();
        state.seconds.clear();
        state.barriers.clear();
        state.db = db;
        if let Some((_, created)) = &mut state.backlog {
            *created = offset;
        }
        self.finish(state);
        Ok(())
    }

    /// What the stream holds so far turns out to have been written behind `offset` bytes that are
    /// not here: every place in it moves up by as much.
    ///
    /// # Errors
    /// Somebody follows the log already.
    pub fn rebase(&self, offset: u64) -> Result<(), HasReaders> {
        let mut state = self.stream.state.lock();
        let readers = state.readers.len();
        if readers > 0 {
            return Err(HasReaders { readers });
        }
        state.chunks.shift(offset);
        if let Some((_, created)) = &mut state.backlog {
            *created += offset;
        }
        for second in &mut state.seconds {
            second.at += offset;
        }
        // Notes for the AOF are only made while it reads.
        state.skips.clear();
        state.barriers.clear();
        self.finish(state);
        Ok(())
    }

    /// A cursor for a replica, at `from`; `None` when the stream does not reach there or no longer
    /// holds it. Sees every byte.
    pub fn reader(self: &Arc<Self>, from: u64) -> Option<Cursor> {
        self.open(Some(from), false)
    }

    /// A cursor for a replica at the end of the stream.
    pub fn reader_at_end(self: &Arc<Self>) -> Option<Cursor> {
        self.open(None, false)
    }

    /// The AOF's cursor, at the end of the stream. There is one at a time.
    pub fn aof_reader(self: &Arc<Self>) -> Option<Cursor> {
        self.open(None, true)
    }

    /// Makes the AOF's cursor stop at the present end of the stream, and returns that place. To be
    /// called with every shard locked; [`Cursor::pass_barrier`] lets the cursor go on.
    pub fn aof_barrier(&self) -> Position {
        let mut state = self.stream.state.lock();
        let offset = state.chunks.end();
        if state.readers.iter().any(|reader| reader.for_aof) {
            state.barriers.push_back(offset);
        }
        Position {
            offset,
            db: state.db,
        }
    }

    fn open(self: &Arc<Self>, from: Option<u64>, for_aof: bool) -> Option<Cursor> {
        let mut state = self.stream.state.lock();
        let end = state.chunks.end();
        let from = from.unwrap_or(end);
        // What the AOF must skip is only noted while an AOF reads: it cannot start in the past.
        if from < state.chunks.first() || from > end {
            return None;
        }
        let id = state.next_reader;
        state.next_reader += 1;
        state.readers.push(Reader {
            id,
            position: from,
            for_aof,
            copied: 0,
            keeps_up: false,
        });
        self.finish(state);
        Some(Cursor::new(Arc::clone(self), id, from, for_aof))
    }

    /// Starts keeping the last `size_bytes` of the stream; resizes a backlog that is there.
    pub fn backlog_create(&self, size_bytes: u64) {
        let mut state = self.stream.state.lock();
        let created = state
            .backlog
            .map_or(state.chunks.end(), |(_, created)| created);
        state.backlog = Some((size_bytes, created));
        state
            .chunks
            .fit_to_backlog(usize::try_from(size_bytes).unwrap_or(usize::MAX));
        state.trim();
        self.finish(state);
    }

    /// Changes the size of the backlog, if there is one.
    pub fn backlog_resize(&self, size_bytes: u64) {
        if self.stream.state.lock().backlog.is_some() {
            self.backlog_create(size_bytes);
        }
    }

    /// Stops keeping a backlog.
    pub fn backlog_free(&self) {
        let mut state = self.stream.state.lock();
        state.backlog = None;
        state.trim();
        self.finish(state);
    }

    /// The backlog, if there is one.
    pub fn backlog(&self) -> Option<Backlog> {
        let state = self.stream.state.lock();
        let (size_bytes, created) = state.backlog?;
        let first = state.chunks.first().max(created);
        Some(Backlog {
            size_bytes,
            first,
            histlen: state.chunks.end() - first,
        })
    }

    /// See [`Backlog::first`].
    pub fn backlog_first_offset(&self) -> Option<u64> {
        self.backlog().map(|backlog| backlog.first)
    }

    /// See [`Backlog::histlen`]; 0 without a backlog.
    pub fn backlog_histlen(&self) -> u64 {
        self.backlog().map_or(0, |backlog| backlog.histlen)
    }

    /// Bytes of memory the log holds, and those copied from it by readers that hold them.
    pub fn memory_bytes(&self) -> usize {
        let state = self.stream.state.lock();
        let copied = state.readers.iter().map(|reader| reader.copied);
        state.chunks.memory_bytes() + copied.sum::<usize>()
    }

    /// As [`Log::memory_bytes`], but as if readers that keep up had read everything: what they
    /// have not taken yet they will have in an instant.
    pub fn settled_bytes(&self) -> usize {
        let state = self.stream.state.lock();
        let lagging = || state.readers.iter().filter(|reader| !reader.keeps_up);
        let wanted = state.wanted(lagging().map(|reader| reader.position));
        let copied: usize = lagging().map(|reader| reader.copied).sum();
        state.chunks.memory_bytes_behind(wanted) + copied
    }

    /// How many cursors are open.
    pub fn readers(&self) -> usize {
        self.stream.state.lock().readers.len()
    }

    /// Wakes the readers that sleep. One call per batch, after the shards are unlocked; when all
    /// readers are busy it is two loads.
    #[inline]
    pub fn wake(&self) {
        self.wake_replicas();
        self.aof.wake_all(|| self.end_offset());
    }

    /// As [`Log::wake`], but for the AOF's reader: what there is for it has been taken care of.
    #[inline]
    pub fn wake_replicas(&self) {
        self.replicas.wake_all(|| self.end_offset());
    }

    fn wakeups(&self, for_aof: bool) -> &Wakeups {
        if for_aof { &self.aof } else { &self.replicas }
    }

    /// Publishes the end of the stream and unlocks it.
    fn publish(&self, state: MutexGuard<'_, State>) -> u64 {
        let end = state.chunks.end();
        self.stream.end.store(end, Ordering::SeqCst);
        end
    }

    /// As `publish`, when readers or the backlog have come or gone.
    fn finish(&self, state: MutexGuard<'_, State>) -> u64 {
        let end = state.chunks.end();
        self.stream.end.store(end, Ordering::SeqCst);
        self.active.store(
            state.backlog.is_some() || !state.readers.is_empty(),
            Ordering::SeqCst,
        );
        end
    }
}

impl State {
    fn begin_unit(&mut self, unix_s: i64) {
        if self.annotate && unix_s > self.last_second {
            self.last_second = unix_s;
            self.seconds.push_back(Second {
                at: self.chunks.end(),
                unix_s,
            });
        }
    }

    fn select(&mut self, db: Option<u32>) {
        let Some(db) = db.filter(|db| self.db != Some(*db)) else {
            return;
        };
        self.db = Some(db);
        let mut scratch = std::mem::take(&mut self.scratch);
        scratch.clear();
        encode(
            &mut scratch,
            &[b"SELECT", itoa::Buffer::new().format(db).as_bytes()],
        );
        self.chunks.put(&scratch);
        self.scratch = scratch;
    }

    fn put(&mut self, for_aof: bool, put: impl FnOnce(&mut Chunks)) {
        let from = self.chunks.end();
        put(&mut self.chunks);
        let to = self.chunks.end();
        if !for_aof && self.readers.iter().any(|reader| reader.for_aof) {
            match self.skips.back_mut() {
                Some(last) if last.to == from => last.to = to,
                _ => self.skips.push_back(Skip { from, to }),
            }
        }
        // A trim per chunk, not per unit.
        if from / MAX_CHUNK_BYTES as u64 != to / MAX_CHUNK_BYTES as u64 {
            self.trim();
        }
    }

    /// The first byte wanted by readers at these positions, or for the backlog.
    fn wanted(&self, readers: impl Iterator<Item = u64>) -> u64 {
        let end = self.chunks.end();
        let slowest = readers.min().unwrap_or(end);
        match self.backlog {
            Some((size, created)) => slowest.min(end.saturating_sub(size).max(created)),
            None => slowest,
        }
    }

    /// Releases what neither a reader nor the backlog wants.
    fn trim(&mut self) {
        let end = self.chunks.end();
        let wanted = self.wanted(self.readers.iter().map(|reader| reader.position));
        self.chunks.release(wanted);
        if self.readers.is_empty() && self.backlog.is_none() {
            self.chunks.reset(end);
        }
        let aof = self.readers.iter().find(|reader| reader.for_aof);
        let aof = aof.map_or(end, |reader| reader.position);
        while self.skips.front().is_some_and(|skip| skip.to <= aof) {
            self.skips.pop_front();
        }
        while self.seconds.front().is_some_and(|second| second.at < aof) {
            self.seconds.pop_front();
        }
    }
}

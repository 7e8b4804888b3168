//! What comes of the primary's stream while its data set is being received or loaded.
//!
//! It is read on all the while, so that it does not pile up on the primary, which would give the
//! replica up and begin anew. `replica-full-sync-buffer-limit` bounds what is held (without it,
//! the hard limit of `client-output-buffer-limit replica`, as the primary would count it); then
//! nothing more is read, and what follows waits where it is. Nothing of this is applied or
//! acknowledged before the data set is loaded; then it is applied first, in the order it came.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::net::TcpStream;

use crate::base::clock;

use super::Replication;

/// Bytes in a piece.
const PIECE: usize = 256 * 1024;

/// How much is held, for INFO.
#[derive(Debug, Default)]
pub struct Level {
    /// Bytes held.
    pub size: AtomicU64,
    /// The most there have ever been.
    pub peak: AtomicU64,
    /// So much is held that the load must come to an end, whoever else wants the processors, or
    /// it is awaited.
    pub presses: Arc<AtomicBool>,
    much: AtomicBool,
    awaited: AtomicBool,
}

impl Level {
    /// Everybody waits for the load from here on, or nobody any more.
    pub fn set_awaited(&self, awaited: bool) {
        self.awaited.store(awaited, Ordering::Relaxed);
        self.press();
    }

    /// So much is held now, of what may be held; 0 for any number.
    fn set_held(&self, bytes: u64, limit: u64) {
        self.size.store(bytes, Ordering::Relaxed);
        self.peak.fetch_max(bytes, Ordering::Relaxed);
        let much = limit > 0 && bytes > limit / PRESSING_PART;
        self.much.store(much, Ordering::Relaxed);
        self.press();
    }

    /// Both are said by the thread that replicates.
    fn press(&self) {
        let presses = self.much.load(Ordering::Relaxed) || self.awaited.load(Ordering::Relaxed);
        self.presses.store(presses, Ordering::Relaxed);
    }
}

/// The load hurries once so much of the limit is held.
const PRESSING_PART: u64 = 4;

/// See the module.
pub struct Reservoir {
    repl: Arc<Replication>,
    pieces: VecDeque<Vec<u8>>,
    /// The piece that is being filled.
    tail: Vec<u8>,
    bytes: u64,
    /// It comes beside the data set, on a connection of its own.
    beside: bool,
    /// The limit has been reached, and the log tells of it.
    told: bool,
    ended: bool,
}

impl Reservoir {
    /// One that holds what has been read already. `beside`: the stream has a connection of its own.
    pub fn new(repl: &Arc<Replication>, first: Vec<u8>, beside: bool) -> Reservoir {
        let mut reservoir = Reservoir {
            repl: Arc::clone(repl),
            bytes: first.len() as u64,
            pieces: VecDeque::new(),
            tail: Vec::new(),
            beside,
            told: false,
            ended: false,
        };
        if !first.is_empty() {
            reservoir.pieces.push_back(first);
        }
        reservoir.note();
        reservoir
    }

    /// Bytes held.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Whether the stream has a connection of its own.
    pub fn is_beside(&self) -> bool {
        self.beside
    }

    /// Whether the stream has come to its end, or is broken.
    pub fn has_ended(&self) -> bool {
        self.ended
    }

    fn note(&self) {
        self.repl.reservoir.set_held(self.bytes, self.limit());
    }

    /// Bytes that may be held; 0 for any number.
    fn limit(&self) -> u64 {
        let settings = self.repl.engine.config.current();
        match settings.replication.replica_full_sync_buffer_limit {
            0 => {
                settings
                    .network
                    .client_output_buffer_limit
                    .replica
                    .hard_bytes
            }
            limit => limit,
        }
    }

    fn is_full(&self) -> bool {
        let limit = self.limit();
        limit > 0 && self.bytes >= limit
    }

    /// Reads once from the socket what is there, if there is room for it. Whether there was.
    pub fn read(&mut self, socket: &TcpStream) -> bool {
        if self.ended || self.is_full() {
            return false;
        }
        if self.tail.len() == self.tail.capacity() {
            let full = std::mem::replace(&mut self.tail, Vec::with_capacity(PIECE));
            if !full.is_empty() {
                self.pieces.push_back(full);
            }
        }
        match socket.try_read_buf(&mut self.tail) {
            Ok(0) => self.ended = true,
            Ok(n) => {
                self.bytes += n as u64;
                let stats = &self.repl.stats;
                stats.bytes_in.fetch_add(n as u64, Ordering::Relaxed);
                self.repl.state.lock().last_io_ms = clock::unix_ms();
            }
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => self.ended = true,
        }
        self.note();
        true
    }

    /// Reads on until the stream ends. Once there is no more room it looks again every second: the
    /// limit may be raised. May be dropped at any time.
    pub async fn fill(&mut self, socket: &TcpStream) {
        while !self.ended {
            if self.is_full() {
                if !self.told {
                    self.told = true;
                    tracing::info!(
                        "Replication buffer limit has been reached ({} bytes), stopped buffering \
                         replication stream. What follows waits on the master's side.",
                        self.bytes
                    );
                }
                tokio::time::sleep(Duration::from_secs(1)).await;
                continue;
            }
            if socket.readable().await.is_err() {
                self.ended = true;
                return;
            }
            self.read(socket);
            if self.ended {
                return;
            }
            // Others of this thread have their turn, however fast the primary is.
            tokio::task::yield_now().await;
        }
    }

    /// The next bytes to be applied.
    pub fn take(&mut self) -> Option<Vec<u8>> {
        let piece = match self.pieces.pop_front() {
            Some(piece) => piece,
            None if self.tail.is_empty() => return None,
            None => std::mem::take(&mut self.tail),
        };
        self.bytes -= piece.len() as u64;
        self.note();
        Some(piece)
    }
}

impl Drop for Reservoir {
    fn drop(&mut self) {
        self.repl.reservoir.set_held(0, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_load_hurries_while_it_is_awaited_or_much_is_held() {
        const LIMIT: u64 = 1000;
        let level = Level::default();
        let held_and_pressing = |bytes, limit| {
            level.set_held(bytes, limit);
            level.presses.load(Ordering::Relaxed)
        };
        assert!(!held_and_pressing(250, LIMIT));
        assert!(held_and_pressing(251, LIMIT));
        assert!(!held_and_pressing(251, 0));
        // What little comes meanwhile does not take the hurry away.
        level.set_awaited(true);
        assert!(held_and_pressing(252, 0));
        assert!(held_and_pressing(10, LIMIT));
        assert!(held_and_pressing(900, LIMIT));
        // It goes on for the sake of what is held when nobody waits any more.
        level.set_awaited(false);
        assert!(level.presses.load(Ordering::Relaxed));
        assert!(!held_and_pressing(0, 0));
        level.set_awaited(true);
        level.set_awaited(false);
        assert!(!level.presses.load(Ordering::Relaxed));
        assert_eq!(level.peak.load(Ordering::Relaxed), 900);
    }
}

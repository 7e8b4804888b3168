//! What the configuration in force lets a client do.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;

use super::Connection;
use crate::base::clock;
use crate::client::{Client, ClientKind};
use crate::command::ctx::{Later, Suspended};
use crate::command::stats::bump;
use crate::config::OutputLimit;
use crate::net::worker::Worker;
use crate::resp::parser::Limits;

/// Replies that may wait for a client that has yet to authenticate.
const UNAUTHENTICATED_OUTPUT_BYTES: u64 = 1024;

impl Worker {
    /// The parser's limits for a client.
    pub(super) fn limits(&self, authenticated: bool) -> Limits {
        let max_bulk = self.settings(|s| s.network.proto_max_bulk_len);
        let max_bulk = i64::try_from(max_bulk).unwrap_or(i64::MAX);
        if authenticated {
            Limits::authenticated(max_bulk)
        } else {
            Limits::unauthenticated(max_bulk)
        }
    }

    pub(super) fn query_buffer_limit(&self) -> u64 {
        self.settings(|s| s.network.client_query_buffer_limit)
    }

    /// How long a client may still stay idle; `None` for ever.
    pub(super) fn idle_limit(&self, client: &Client) -> Option<Duration> {
        let seconds = self.settings(|s| s.network.timeout_seconds);
        (seconds > 0 && client.kind() == ClientKind::Normal)
            .then(|| Duration::from_millis(u64::from(seconds) * 1000 + 500))
    }

    pub(super) fn is_idle(&self, client: &Client) -> bool {
        let seconds = i64::from(self.settings(|s| s.network.timeout_seconds));
        seconds > 0 && clock::unix_ms() - client.last_ms.load(Ordering::Relaxed) > seconds * 1000
    }

    /// `client-output-buffer-limit` of a class of clients.
    fn output_limit(&self, kind: ClientKind) -> OutputLimit {
        self.settings(|s| {
            let limits = &s.network.client_output_buffer_limit;
            match kind {
                ClientKind::Pubsub => limits.pubsub,
                _ => limits.normal,
            }
        })
    }
}

/// Makes room for `more` bytes of a request that is to become `expected` bytes long, if that is
/// known: twice what there is, but no more than the request needs.
pub(super) fn make_room(own: &mut Vec<u8>, more: usize, expected: Option<usize>) {
    let needed = own.len() + more;
    if needed <= own.capacity() {
        return;
    }
    let doubled = own.capacity().saturating_mul(2).max(needed);
    let target = match expected {
        Some(whole) if (needed..doubled).contains(&whole) => whole,
        _ => doubled,
    };
    own.reserve_exact(target - own.len());
}

/// Places for pieces of replies that a connection keeps when all have been sent.
const UNSENT_KEPT: usize = 64;

impl Connection {
    /// How long the connection may stay as it is: idle, or with too much waiting for its client.
    pub(super) fn time_limit(&self, worker: &Worker) -> Option<Duration> {
        let idle = worker.idle_limit(&self.client);
        let soft = self.soft_limit_time(worker);
        idle.into_iter().chain(soft).min()
    }

    /// How long more may wait for the client than the soft limit allows, if it does.
    pub(super) fn soft_limit_time(&self, worker: &Worker) -> Option<Duration> {
        if self.over_soft_since_ms == 0 {
            return None;
        }
        let limit = worker.output_limit(self.client.kind());
        let seconds = limit.soft_seconds.saturating_add(1);
        Some(Duration::from_secs(seconds.min(u64::from(u32::MAX))))
    }

    /// Whether there is a bound for what may ever wait for the client.
    pub(super) fn has_hard_limit(&self, worker: &Worker) -> bool {
        worker.output_limit(self.client.kind()).hard_bytes > 0
    }

    /// Whether what waits for the client, `ahead` bytes elsewhere included, is more than it may
    /// ever be.
    pub(super) fn is_over_hard_limit(&self, worker: &Worker, ahead: usize) -> bool {
        let limit = if self.session.authenticated {
            worker.output_limit(self.client.kind()).hard_bytes
        } else {
            UNAUTHENTICATED_OUTPUT_BYTES
        };
        limit > 0 && self.waiting_bytes(ahead) > limit
    }

    fn waiting_bytes(&self, ahead: usize) -> u64 {
        (ahead + self.unsent.iter().map(Bytes::len).sum::<usize>()) as u64
    }

    /// Whether what waits for the client, `ahead` bytes elsewhere included, is within
    /// `client-output-buffer-limit`.
    pub(super) fn within_output_limit(&mut self, worker: &Worker, ahead: usize) -> bool {
        let limit = worker.output_limit(self.client.kind());
        if limit.hard_bytes == 0 && limit.soft_bytes == 0 && self.session.authenticated {
            return true;
        }
        if !self.is_over_hard_limit(worker, ahead) {
            let soft = limit.soft_bytes;
            if soft == 0 || self.waiting_bytes(ahead) <= soft {
                self.over_soft_since_ms = 0;
                return true;
            }
            let now_ms = clock::unix_ms();
            if self.over_soft_since_ms == 0 {
                self.over_soft_since_ms = now_ms;
            }
            let over_ms = (now_ms - self.over_soft_since_ms).max(0) as u64;
            if over_ms <= limit.soft_seconds.saturating_mul(1000) {
                return true;
            }
        }
        let over = &worker.engine.clients.over_output_limit;
        over.fetch_add(1, Ordering::Relaxed);
        // Nobody is to get what is in the buffer that the worker's connections share.
        drop(worker.reply.borrow_mut().take());
        tracing::warn!(
            "Client id={} addr={} scheduled to be closed ASAP for overcoming of output buffer \
             limits.",
            self.client.id,
            self.client.addr
        );
        false
    }

    /// The end of a pause, or of so many milliseconds; it says nothing to the client.
    pub(super) fn hold_back(&self, worker: &Worker, ms: u64) -> Suspended {
        self.client.blocked.store(true, Ordering::Relaxed);
        let engine = Arc::clone(&worker.engine);
        Box::pin(async move {
            engine.pause.wait(ms).await;
            let nothing: Later = Box::new(|_, _| ());
            nothing
        })
    }

    /// Counts what was written at once.
    #[inline]
    pub(super) fn count_output(&self, worker: &Worker, bytes: usize) {
        bump(&self.client.bytes_out, bytes as u64);
        worker.count_output(bytes);
    }

    /// Gives back the room of a long queue of replies once they are sent, or shows it.
    #[inline]
    pub(super) fn give_back_room(&mut self, worker: &Worker) {
        if self.unsent.capacity() > UNSENT_KEPT {
            self.settle_room(worker);
        }
    }

    #[cold]
    fn settle_room(&mut self, worker: &Worker) {
        let clients = &worker.engine.clients;
        let room = (self.unsent.capacity() * size_of::<Bytes>()) as u64;
        let shown = self.client.reply_room.swap(room, Ordering::Relaxed);
        if room > shown {
            clients.reply_room_grown.fetch_add(1, Ordering::Relaxed);
        }
        if self.unsent.is_empty() && !clients.keep_reply_room.load(Ordering::Relaxed) {
            self.unsent = VecDeque::new();
            let given_back = &clients.reply_room_given_back;
            given_back.fetch_add(1, Ordering::Relaxed);
            self.client.reply_room.store(0, Ordering::Relaxed);
        }
    }

    /// Follows what the connection takes, and has some connection closed if all together take more
    /// than `maxmemory-clients`. `false` if it is this one.
    #[inline]
    pub(super) fn within_memory_limit(&self, worker: &Worker) -> bool {
        let clients = &worker.engine.clients;
        if clients.memory_limit() == 0 {
            return true;
        }
        if clients.account(&self.client) {
            worker.engine.evict_clients();
        }
        !self.client.is_killed()
    }

    /// Shows how much of a request is there.
    pub(super) fn note_input(&self) {
        let (len, capacity) = (self.unread.len(), self.unread.capacity());
        let parsed = self.parser.parsed_bytes().min(len);
        let c = &self.client;
        for (shown, bytes) in [
            (&c.query_buffer, len - parsed),
            (&c.query_buffer_free, capacity - len),
            (&c.arguments, parsed),
        ] {
            shown.store(bytes as u64, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::make_room;

    #[test]
    fn room_doubles_until_the_end_of_the_request_is_near() {
        let mut own = vec![0; 1000];
        make_room(&mut own, 10, Some(1 << 30));
        assert_eq!(own.capacity(), 2000);
        make_room(&mut own, 1000, Some(1 << 30));
        assert_eq!(own.capacity(), 2000);
        own.resize(2000, 0);
        make_room(&mut own, 10, Some(2500));
        assert_eq!(own.capacity(), 2500);
        own.resize(2500, 0);
        make_room(&mut own, 10_000, Some(2600));
        assert_eq!(own.capacity(), 12_500);
        make_room(&mut own, 10_001, None);
        assert_eq!(own.capacity(), 25_000);
    }
}

//! What the configuration in force lets a client do.

use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::base::clock;
use crate::client::{Client, ClientKind};
use crate::net::worker::Worker;
use crate::resp::parser::Limits;

impl Worker {
    /// The parser's limits for a client.
    pub(super) fn limits(&self, authenticated: bool) -> Limits {
        let max_bulk = self.engine.config.current().network.proto_max_bulk_len;
        let max_bulk = i64::try_from(max_bulk).unwrap_or(i64::MAX);
        if authenticated {
            Limits::authenticated(max_bulk)
        } else {
            Limits::unauthenticated(max_bulk)
        }
    }

    pub(super) fn query_buffer_limit(&self) -> u64 {
        self.engine
            .config
            .current()
            .network
            .client_query_buffer_limit
    }

    /// How long a client may still stay idle; `None` for ever.
    pub(super) fn idle_limit(&self, client: &Client) -> Option<Duration> {
        let seconds = self.engine.config.current().network.timeout_seconds;
        let exempt = client.kind() != ClientKind::Normal;
        (seconds > 0 && !exempt).then(|| Duration::from_millis(u64::from(seconds) * 1000 + 500))
    }

    pub(super) fn is_idle(&self, client: &Client) -> bool {
        let seconds = i64::from(self.engine.config.current().network.timeout_seconds);
        seconds > 0 && clock::unix_ms() - client.last_ms.load(Ordering::Relaxed) > seconds * 1000
    }

    pub(super) fn hard_output_limit(&self, pubsub: bool) -> u64 {
        let settings = self.engine.config.current();
        let limits = &settings.network.client_output_buffer_limit;
        if pubsub {
            limits.pubsub.hard_bytes
        } else {
            limits.normal.hard_bytes
        }
    }
}

//! What happens by time: pings, the backlog's end, full syncs that wait for company.

use std::sync::Arc;
use std::time::Duration;

use crate::base::clock;
use crate::replication::history::History;

use super::Replication;

/// Runs until the process ends.
pub async fn run(repl: Arc<Replication>) {
    let mut next_second_ms = 0;
    let mut last_ping_ms = clock::unix_ms();
    loop {
        tokio::select! {
            () = repl.sync_wanted.notified() => {}
            () = tokio::time::sleep(Duration::from_millis(100)) => {}
        }
        let now_ms = clock::unix_ms();
        repl.poll_syncs(now_ms);
        repl.poll_sync_file();
        repl.update_good();
        if now_ms >= next_second_ms {
            next_second_ms = now_ms + 1000;
            repl.expire_backlog(now_ms);
        }
        // Looked at every time, for it may have been changed.
        let period_s = repl
            .engine
            .config
            .current()
            .replication
            .repl_ping_replica_period_seconds;
        if now_ms - last_ping_ms >= i64::from(period_s) * 1000 {
            last_ping_ms = now_ms;
            repl.ping();
        }
    }
}

impl Replication {
    /// A sign of life in the stream; a replica of ours that is one itself gets its primary's.
    fn ping(&self) {
        if !self.replicas.is_empty() && self.state.lock().primary.is_none() {
            self.engine.log.append_not_for_aof(&[b"PING"]);
            self.engine.log.wake();
        }
    }

    /// Asks all replicas to acknowledge what they have.
    pub(super) fn request_acks(&self) {
        if self.state.lock().primary.is_none() {
            let log = &self.engine.log;
            log.append_not_for_aof(&[b"REPLCONF", b"GETACK", b"*"]);
            log.wake();
        }
    }

    /// Frees the backlog of a primary that has had no replica for long enough. Without a backlog
    /// the offset stands still while data changes, so the history ends with it.
    fn expire_backlog(&self, now_ms: i64) {
        let ttl_s = self
            .engine
            .config
            .current()
            .replication
            .repl_backlog_ttl_seconds;
        let mut s = self.state.lock();
        if ttl_s == 0
            || s.primary.is_some()
            || !self.replicas.is_empty()
            || self.engine.log.backlog().is_none()
            || (now_ms - s.no_replicas_since_ms) / 1000 <= i64::try_from(ttl_s).unwrap_or(i64::MAX)
        {
            return;
        }
        s.history = History::default();
        self.engine.log.backlog_free();
        tracing::info!(
            "Replication backlog freed after {ttl_s} seconds without connected replicas."
        );
    }
}

//! What ends a replica's connection from our side: a kill, silence, and output that waits.

use std::io;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::base::clock;
use crate::oplog::log::Cursor;
use crate::replication::replicas::ReplicaState;

use super::{Feed, gone};

impl Feed {
    /// `repl-timeout`
    pub(super) fn timeout(&self) -> Duration {
        let settings = self.repl.engine.config.current();
        Duration::from_secs(u64::from(settings.replication.repl_timeout_seconds))
    }

    /// Ends the connection if somebody or some limit wants that.
    pub(super) fn check(&mut self) -> io::Result<()> {
        if self.client.is_killed() {
            return Err(gone("killed"));
        }
        let online = self.replica.state() == ReplicaState::Online;
        // One that has been sent its data set says that it is busy with it, or what it has.
        let must_speak = online || self.main.as_ref().is_some_and(|m| m.has_data_set());
        let silent_ms = self.replica.silent_ms(clock::unix_ms());
        if must_speak
            && !self.replica.traits.pre_psync
            && u128::from(silent_ms.unsigned_abs()) > self.timeout().as_millis() + 1000
        {
            tracing::warn!(
                "Disconnecting timedout replica (streaming sync): {}",
                self.replica
            );
            return Err(io::ErrorKind::TimedOut.into());
        }
        self.check_limits()
    }

    /// `client-output-buffer-limit replica`, against what the replica has not been sent.
    fn check_limits(&mut self) -> io::Result<()> {
        let lag = self.cursor.as_ref().map_or(0, Cursor::lag);
        let waiting = lag + self.out.iter().map(|b| b.len() as u64).sum::<u64>();
        self.client.unsent_bytes.store(waiting, Ordering::Relaxed);
        let settings = self.repl.engine.config.current();
        let limit = &settings.network.client_output_buffer_limit.replica;
        // Less than the backlog holds is held anyway.
        let backlog = settings.replication.repl_backlog_size;
        let hard = limit.hard_bytes > 0 && waiting > limit.hard_bytes.max(backlog);
        let online = self.replica.state() == ReplicaState::Online;
        // All that has come since its snapshot; of that, what it has not taken waits here.
        let end = self.repl.engine.log.end_offset();
        let behind = self.main.as_ref().map_or(0, |m| end - m.from().min(end));
        if !online {
            self.repl.mind_sync(waiting, behind, limit);
        }
        let soft = limit.soft_bytes > 0 && waiting > limit.soft_bytes.max(backlog);
        if !soft {
            self.over_soft_since = None;
        }
        let patience = Duration::from_secs(limit.soft_seconds);
        let since = *self.over_soft_since.get_or_insert_with(Instant::now);
        if hard || soft && since.elapsed() > patience {
            tracing::warn!(
                "Client id={} addr={} (replica {}) scheduled to be closed ASAP for overcoming of \
                 output buffer limits.",
                self.client.id,
                self.client.addr,
                self.replica
            );
            return Err(gone("output buffer limit"));
        }
        Ok(())
    }
}

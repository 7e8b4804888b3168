//! What INFO and ROLE tell.

use std::fmt::Write as _;
use std::sync::atomic::Ordering;

use crate::base::clock;
use crate::command::host::Role;
use crate::replication::replicas::ReplicaState;

use super::super::shutdown::Followers;
use super::{LinkState, Replication, State};

fn seconds_since(then_ms: i64, now_ms: i64) -> i64 {
    (now_ms - then_ms).max(0) / 1000
}

impl Followers for Replication {
    fn caught_up(&self) -> bool {
        let end = self.engine.log.end_offset();
        self.replicas.all().iter().all(|r| r.ack_offset() >= end)
    }

    fn ask(&self) {
        self.request_acks();
    }

    fn may_be_sent_more(&self) -> bool {
        let end = self.engine.log.end_offset();
        self.engine.log.wake();
        self.replicas.all().iter().any(|r| r.takes_more(end))
    }

    fn report(&self) {
        let now_ms = clock::unix_ms();
        let end = self.engine.log.end_offset();
        let all = self.replicas.all();
        let mut in_sync = 0;
        for replica in &all {
            let behind = end.saturating_sub(replica.ack_offset());
            if behind == 0 {
                in_sync += 1;
                continue;
            }
            tracing::info!(
                "Lagging replica {replica} reported offset {behind} behind master, lag={}, \
                 state={}.",
                replica.lag_ms(now_ms) / 1000,
                replica.state().word().unwrap_or_default()
            );
        }
        if !all.is_empty() {
            tracing::info!(
                "{in_sync} of {} replicas are in sync when shutting down.",
                all.len()
            );
        }
    }
}

impl Replication {
    /// ROLE.
    pub(super) fn role(&self) -> Role {
        let s = self.state.lock();
        let end = self.engine.log.end_offset();
        let Some(primary) = &s.primary else {
            let all = self.replicas.all();
            let online = all.iter().filter(|r| r.state() == ReplicaState::Online);
            let replicas = online
                .map(|r| {
                    let (ip, port) = r.address();
                    (ip.to_owned(), port, r.ack_offset())
                })
                .collect();
            return Role::Primary(end, replicas);
        };
        let (word, offset) = match s.link {
            LinkState::None => ("none", -1),
            LinkState::Connect => ("connect", -1),
            LinkState::Connecting => ("connecting", -1),
            LinkState::Handshake => ("handshake", -1),
            LinkState::Transfer => ("sync", -1),
            LinkState::Connected => ("connected", i64::try_from(end).unwrap_or(i64::MAX)),
        };
        Role::Replica(primary.host.clone(), primary.port, word, offset)
    }

    /// The replication section of INFO.
    pub fn info(&self) -> String {
        let now_ms = clock::unix_ms();
        let s = self.state.lock();
        let settings = self.engine.config.settings();
        let r = &settings.replication;
        let mut out = String::from("# Replication\r\n");
        let role = if s.primary.is_some() {
            "slave"
        } else {
            "master"
        };
        let _ = write!(out, "role:{role}\r\n");
        self.info_link(&s, now_ms, &mut out);
        if s.primary.is_some() {
            let _ = write!(
                out,
                "slave_priority:{}\r\nslave_read_only:{}\r\nreplica_announced:{}\r\n",
                r.replica_priority,
                u8::from(r.replica_read_only),
                u8::from(r.replica_announced)
            );
        }
        let _ = write!(out, "connected_slaves:{}\r\n", self.replicas.len());
        if r.min_replicas_to_write > 0 && r.min_replicas_max_lag_seconds > 0 {
            let lag_ms = i64::from(r.min_replicas_max_lag_seconds) * 1000;
            let good = self.replicas.good(now_ms, lag_ms);
            let _ = write!(out, "min_slaves_good_slaves:{good}\r\n");
        }
        out.push_str(&self.replicas.info_lines(now_ms));
        let backlog = self.engine.log.backlog();
        let first = backlog.map_or(0, |b| b.first.saturating_add(1));
        let _ = write!(
            out,
            "master_failover_state:no-failover\r\nmaster_replid:{}\r\nmaster_replid2:{}\r\n\
             master_repl_offset:{}\r\nsecond_repl_offset:{}\r\nrepl_backlog_active:{}\r\n\
             repl_backlog_size:{}\r\nrepl_backlog_first_byte_offset:{first}\r\n\
             repl_backlog_histlen:{}\r\n",
            s.history.id,
            s.history.id2,
            self.engine.log.end_offset(),
            s.history.second_offset,
            u8::from(backlog.is_some()),
            r.repl_backlog_size,
            backlog.map_or(0, |b| b.histlen)
        );
        out
    }

    fn info_link(&self, s: &State, now_ms: i64, out: &mut String) {
        let Some(primary) = &s.primary else { return };
        let up = s.link == LinkState::Connected;
        let last_io = if up {
            seconds_since(s.last_io_ms, now_ms)
        } else {
            -1
        };
        let offset = if up || s.resumable {
            self.engine.log.end_offset()
        } else {
            1
        };
        let waiting = s.client.as_ref();
        let read = offset + waiting.map_or(0, |c| c.query_buffer.load(Ordering::Relaxed));
        let _ = write!(
            out,
            "master_host:{}\r\nmaster_port:{}\r\nmaster_link_status:{}\r\n\
             master_last_io_seconds_ago:{last_io}\r\nmaster_sync_in_progress:{}\r\n\
             slave_read_repl_offset:{read}\r\nslave_repl_offset:{offset}\r\n\
             replica_full_sync_buffer_size:{}\r\nreplica_full_sync_buffer_peak:{}\r\n",
            primary.host,
            primary.port,
            if up { "up" } else { "down" },
            u8::from(s.link == LinkState::Transfer),
            self.reservoir.size.load(Ordering::Relaxed),
            self.reservoir.peak.load(Ordering::Relaxed)
        );
        if s.link == LinkState::Transfer {
            let t = &s.transfer;
            let percent = match t.total {
                0 => 0.0,
                total => t.read as f64 / total as f64 * 100.0,
            };
            let _ = write!(
                out,
                "master_sync_total_bytes:{}\r\nmaster_sync_read_bytes:{}\r\n\
                 master_sync_left_bytes:{}\r\nmaster_sync_perc:{percent:.2}\r\n\
                 master_sync_last_io_seconds_ago:{}\r\n",
                t.total,
                t.read,
                t.total as i64 - t.read as i64,
                seconds_since(t.last_io_ms, now_ms)
            );
        }
        if !up {
            let down = match s.down_since_ms {
                0 => -1,
                then => seconds_since(then, now_ms),
            };
            let _ = write!(out, "master_link_down_since_seconds:{down}\r\n");
        }
    }
}

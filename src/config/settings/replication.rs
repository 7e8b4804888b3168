//! Both sides of replication.

use super::super::special::ReplicaOf;
use super::super::types::{DisklessLoad, PrimaryAddress, PropagationErrorBehavior, Secret};
use super::{Directive, Flags, Honour, INT_MAX, Int, OneOf, Slot, Text, YesNo};

group! {
    /// Both sides of replication.
    Replication in replication {
        /// The primary to replicate. Changed at run time by the REPLICAOF command.
        "replicaof" | "slaveof" = replicaof: Option<PrimaryAddress> = None, ReplicaOf,
            [IMMUTABLE];
        /// Password for the primary.
        "masterauth" = masterauth: Secret = Secret::default(), Text::ANY, [SENSITIVE];
        /// User name for the primary; without one the password is the default user's.
        "masteruser" = masteruser: Secret = Secret::default(), Text::ANY, [SENSITIVE];
        /// A replica answers reads while it has no link to its primary.
        "replica-serve-stale-data" | "slave-serve-stale-data" = replica_serve_stale_data: bool =
            true, YesNo;
        /// A replica refuses writes.
        "replica-read-only" | "slave-read-only" = replica_read_only: bool = true, YesNo;
        /// A replica frees its old data set in the background before a full sync.
        "replica-lazy-flush" | "slave-lazy-flush" = replica_lazy_flush: bool = false, YesNo
            => Honour::NoEffect("data that a full sync replaces are always freed elsewhere");
        /// Rank of the replica when Sentinel chooses one to promote; 0 for never.
        "replica-priority" | "slave-priority" = replica_priority: u32 = 100,
            Int::range(0, INT_MAX);
        /// The address under which the replica makes itself known.
        "replica-announce-ip" | "slave-announce-ip" = replica_announce_ip: Option<String> = None,
            Text::ANY;
        /// The port under which the replica makes itself known; 0 for its own.
        "replica-announce-port" | "slave-announce-port" = replica_announce_port: u16 = 0,
            Int::range(0, 65535);
        /// Sentinel tells clients of this replica.
        "replica-announced" = replica_announced: bool = true, YesNo;
        /// A replica goes on when it cannot write to the disk.
        "replica-ignore-disk-write-errors" = replica_ignore_disk_write_errors: bool = false,
            YesNo;
        /// Let the kernel collect small packets to replicas.
        "repl-disable-tcp-nodelay" = repl_disable_tcp_nodelay: bool = false, YesNo;
        /// Send the data set of a full sync without writing it to the disk first.
        "repl-diskless-sync" = repl_diskless_sync: bool = true, YesNo;
        /// Seconds to wait for more replicas before a diskless sync begins.
        "repl-diskless-sync-delay" = repl_diskless_sync_delay_seconds: u32 = 5,
            Int::range(0, INT_MAX);
        /// Begin a diskless sync as soon as so many replicas wait; 0 for no such number.
        "repl-diskless-sync-max-replicas" = repl_diskless_sync_max_replicas: u32 = 0,
            Int::range(0, INT_MAX);
        /// Whether a replica loads the data set of a full sync from the socket.
        "repl-diskless-load" = repl_diskless_load: DisklessLoad = DisklessLoad::Disabled,
            OneOf::<DisklessLoad>::new(), [DENY_LOADING];
        /// Bytes of the stream kept for replicas that come back; at least 16 KiB.
        "repl-backlog-size" = repl_backlog_size: u64 = 1 << 20,
            Int::memory(1, i64::MAX).clamped(16 << 10, i64::MAX);
        /// Seconds without replicas after which the backlog is freed; 0 for never.
        "repl-backlog-ttl" = repl_backlog_ttl_seconds: u64 = 3600, Int::range(0, i64::MAX);
        /// Seconds of silence after which a replication link is given up.
        "repl-timeout" = repl_timeout_seconds: u32 = 60, Int::range(1, INT_MAX);
        /// Seconds between the pings of a primary to its replicas.
        "repl-ping-replica-period" | "repl-ping-slave-period" =
            repl_ping_replica_period_seconds: u32 = 10, Int::range(1, INT_MAX);
        /// Refuse writes unless so many replicas are connected and in time; 0 for no such number.
        "min-replicas-to-write" | "min-slaves-to-write" = min_replicas_to_write: u32 = 0,
            Int::range(0, INT_MAX);
        /// Seconds by which a replica may lag and still count for `min-replicas-to-write`.
        "min-replicas-max-lag" | "min-slaves-max-lag" = min_replicas_max_lag_seconds: u32 = 10,
            Int::range(0, INT_MAX);
        /// What follows a command from the primary or the AOF that fails.
        "propagation-error-behavior" = propagation_error_behavior: PropagationErrorBehavior =
            PropagationErrorBehavior::Ignore, OneOf::<PropagationErrorBehavior>::new();
        /// Send the data set of a full sync over a connection of its own.
        "repl-rdb-channel" = repl_rdb_channel: bool = true, YesNo, [HIDDEN];
        /// Bytes of the stream that a replica holds while it receives or loads a data set; 0: the
        /// hard limit of `client-output-buffer-limit replica`.
        "replica-full-sync-buffer-limit" = replica_full_sync_buffer_limit: u64 = 0,
            Int::memory(0, i64::MAX);
    }
}

//! Listeners, connections and their limits.

use super::super::special::{Bind, MemoryOrPercentCodec, OutputLimitsCodec};
use super::super::types::{MemoryOrPercent, OutputLimits};
use super::{Directive, Flags, Honour, INT_MAX, Int, Slot, Text, YesNo, limit};
use std::path::PathBuf;

fn cores() -> u32 {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    u32::try_from(cores.min(128)).unwrap_or(1)
}

group! {
    /// Listeners, connections and their limits.
    Network in network {
        /// Addresses to listen on; one that begins with `-` may be missing, `*` is every IPv4
        /// and `::*` every IPv6 address.
        "bind" = bind: Vec<String> = vec!["*".to_owned(), "-::*".to_owned()], Bind;
        /// The address from which connections to a primary are made.
        "bind-source-addr" = bind_source_addr: Option<String> = None, Text::ANY;
        /// TCP port; 0 for none.
        "port" = port: u16 = 6379, Int::range(0, 65535);
        /// Length of the queue of connections not yet accepted.
        "tcp-backlog" = tcp_backlog: u32 = 511, Int::range(0, INT_MAX), [IMMUTABLE];
        /// Path of a Unix socket to listen on.
        "unixsocket" = unixsocket: Option<PathBuf> = None, Text::ANY, [IMMUTABLE];
        /// Permissions of the Unix socket, octal; 0 leaves them to the umask.
        "unixsocketperm" = unixsocketperm: u32 = 0, Int::octal(0, 0o777), [IMMUTABLE];
        /// Refuses connections from elsewhere while the default user needs no password.
        "protected-mode" = protected_mode: bool = true, YesNo;
        /// Seconds of idleness after which a client is disconnected; 0 for never.
        "timeout" = timeout_seconds: u32 = 0, Int::range(0, INT_MAX);
        /// Seconds between TCP keepalive probes; 0 for none.
        "tcp-keepalive" = tcp_keepalive_seconds: u32 = 300, Int::range(0, INT_MAX);
        /// Most clients connected at a time.
        "maxclients" = maxclients: u32 = 10_000, Int::range(1, u32::MAX as i64);
        /// Worker threads; each executes the commands of its own connections.
        "io-threads" = io_threads: u32 = cores(), Int::range(1, 128), [IMMUTABLE];
        /// The longest argument a client may send.
        "proto-max-bulk-len" = proto_max_bulk_len: u64 = 512 << 20,
            Int::memory(1 << 20, i64::MAX);
        /// The most bytes of unexecuted input a client may have.
        "client-query-buffer-limit" = client_query_buffer_limit: u64 = 1 << 30,
            Int::memory(1 << 20, i64::MAX);
        /// For each class of client, how much output may wait before it is disconnected.
        "client-output-buffer-limit" = client_output_buffer_limit: OutputLimits = OutputLimits {
            normal: limit(0, 0, 0),
            replica: limit(256 << 20, 64 << 20, 60),
            pubsub: limit(32 << 20, 8 << 20, 60),
        }, OutputLimitsCodec;
        /// The most memory that all clients together may use.
        "maxmemory-clients" = maxmemory_clients: MemoryOrPercent = MemoryOrPercent::Bytes(0),
            MemoryOrPercentCodec;
        /// A mark (SO_MARK) on every listening socket; 0 for none.
        "socket-mark-id" = socket_mark_id: u32 = 0, Int::range(0, u32::MAX as i64), [IMMUTABLE]
            => Honour::Refused("sockets are not marked in this version of Russet");
        /// Connections accepted in one round of the event loop.
        "max-new-connections-per-cycle" = max_new_connections_per_cycle: u32 = 10,
            Int::range(1, 1000)
            => Honour::NoEffect("accepting does not hold up the execution of commands");
        /// TLS connections accepted in one round of the event loop.
        "max-new-tls-connections-per-cycle" = max_new_tls_connections_per_cycle: u32 = 1,
            Int::range(1, 1000)
            => Honour::NoEffect("accepting does not hold up the execution of commands");
    }
}

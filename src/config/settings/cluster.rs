//! Cluster mode.

use super::super::types::ClusterEndpointType;
use super::{Directive, Flags, Honour, INT_MAX, Int, OneOf, Slot, Text, YesNo};
use std::path::PathBuf;

const NO_CLUSTER: Honour =
    Honour::Refused("Cluster mode is not available in this version of Russet");

group! {
    /// Cluster mode.
    Cluster in cluster {
        /// Be a node of a cluster.
        "cluster-enabled" = enabled: bool = false, YesNo, [IMMUTABLE] => NO_CLUSTER;
        /// File in which the node keeps its view of the cluster.
        "cluster-config-file" = config_file: PathBuf = PathBuf::from("nodes.conf"), Text::ANY,
            [IMMUTABLE] => NO_CLUSTER;
        /// Port of the cluster bus; 0 for `port` plus 10000.
        "cluster-port" = port: u16 = 0, Int::range(0, 65535), [IMMUTABLE] => NO_CLUSTER;
        /// Milliseconds of silence after which a node is taken for failing.
        "cluster-node-timeout" = node_timeout_ms: u64 = 15_000, Int::range(0, i64::MAX)
            => NO_CLUSTER;
        /// Milliseconds between pings; 0 for the usual.
        "cluster-ping-interval" = ping_interval_ms: u64 = 0, Int::range(0, i64::MAX), [HIDDEN]
            => NO_CLUSTER;
        /// How old a replica's data may be for a failover, as a factor; 0 for any age.
        "cluster-replica-validity-factor" | "cluster-slave-validity-factor" =
            replica_validity_factor: u32 = 10, Int::range(0, INT_MAX) => NO_CLUSTER;
        /// Replicas that a primary keeps when one of them migrates.
        "cluster-migration-barrier" = migration_barrier: u32 = 1, Int::range(0, INT_MAX)
            => NO_CLUSTER;
        /// Replicas migrate to primaries that have none.
        "cluster-allow-replica-migration" = allow_replica_migration: bool = true, YesNo
            => NO_CLUSTER;
        /// Refuse all keys while a slot is served by nobody.
        "cluster-require-full-coverage" = require_full_coverage: bool = true, YesNo => NO_CLUSTER;
        /// A replica never takes over by itself.
        "cluster-replica-no-failover" | "cluster-slave-no-failover" =
            replica_no_failover: bool = false, YesNo => NO_CLUSTER;
        /// Answer reads while the cluster is down.
        "cluster-allow-reads-when-down" = allow_reads_when_down: bool = false, YesNo => NO_CLUSTER;
        /// Deliver sharded messages while the cluster is down.
        "cluster-allow-pubsubshard-when-down" = allow_pubsubshard_when_down: bool = true, YesNo
            => NO_CLUSTER;
        /// The address under which the node makes itself known.
        "cluster-announce-ip" = announce_ip: Option<String> = None, Text::ANY => NO_CLUSTER;
        /// The host name under which the node makes itself known.
        "cluster-announce-hostname" = announce_hostname: Option<String> = None,
            Text::checked(host_name) => NO_CLUSTER;
        /// A name of the node for people to read.
        "cluster-announce-human-nodename" = announce_human_nodename: Option<String> = None,
            Text::checked(node_name) => NO_CLUSTER;
        /// The port under which the node makes itself known.
        "cluster-announce-port" = announce_port: u16 = 0, Int::range(0, 65535) => NO_CLUSTER;
        /// The TLS port under which the node makes itself known.
        "cluster-announce-tls-port" = announce_tls_port: u16 = 0, Int::range(0, 65535)
            => NO_CLUSTER;
        /// The bus port under which the node makes itself known.
        "cluster-announce-bus-port" = announce_bus_port: u16 = 0, Int::range(0, 65535)
            => NO_CLUSTER;
        /// How a node names itself to clients.
        "cluster-preferred-endpoint-type" = preferred_endpoint_type: ClusterEndpointType =
            ClusterEndpointType::Ip, OneOf::<ClusterEndpointType>::new() => NO_CLUSTER;
        /// Most bytes that may wait for one other node; 0 for no limit.
        "cluster-link-sendbuf-limit" = link_sendbuf_limit: u64 = 0, Int::memory(0, i64::MAX)
            => NO_CLUSTER;
        /// Percent of the commands that are checked for use in a cluster.
        "cluster-compatibility-sample-ratio" = compatibility_sample_ratio: u32 = 0,
            Int::range(0, 100) => NO_CLUSTER;
    }
}

/// Longest host name, one more than is allowed.
const HOST_NAME_MAX: usize = 256;

fn host_name(text: &[u8]) -> Result<(), &'static str> {
    if text.len() >= HOST_NAME_MAX {
        return Err("Hostnames must be less than 256 characters");
    }
    if text
        .iter()
        .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.'))
    {
        Ok(())
    } else {
        Err("Hostnames may only contain alphanumeric characters, hyphens or dots")
    }
}

fn node_name(text: &[u8]) -> Result<(), &'static str> {
    const REFUSED: &[u8] = b"!#$%&()*+:;<>?@[]^{|}~\0";
    let is_valid = |byte: &u8| !REFUSED.contains(byte);
    if text.iter().all(is_valid) {
        Ok(())
    } else {
        Err("Announced human node name contained invalid character")
    }
}

//! Russet: a drop-in `redis-server`.
//!
//! The map, from what knows nothing of the rest to what knows everything. A folder imports only
//! what its `mod.rs` says it may; `tests/tidy.rs` enforces the table.
//!
//! | folder | holds |
//! |---|---|
//! | [`base`] | clock, numbers as Redis reads and prints them, glob, checksums, random |
//! | [`config`] | the directive table, the redis.conf parser and rewriter, typed settings |
//! | [`resp`] | the incremental request parser and the reply buffer |
//! | [`oplog`] | effects and the one ordered stream that AOF, backlog and replicas read |
//! | [`keyspace`] | entries, tables, values, shards and their locks, expiry, snapshots |
//! | [`client`] | the registry of connections and their outboxes |
//! | [`command`] | the command table, the one path of dispatch, the families of handlers |
//! | [`net`] | listeners and the connection loop |
//! | [`persist`] | RDB and AOF |
//! | [`replication`] | PSYNC in both directions |
//! | [`server`] | the wiring, cron, INFO, signals, and the programs of the binary |

pub mod base;
pub mod client;
pub mod command;
pub mod config;
pub mod keyspace;
pub mod net;
pub mod oplog;
pub mod persist;
pub mod replication;
pub mod resp;
pub mod server;

/// As in the server, so that tests can count what is allocated; Miri watches its own.
#[cfg(all(test, not(miri)))]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

//! The command table, dispatch, and the families of handlers. Imports everything below it:
//! `base`, `config`, `resp`, `oplog`, `keyspace`, `client`. What lies above (persistence,
//! replication, the server's own affairs) is reached through [`host::Host`] alone.
//!
//! - [`spec`]: what a command is, from `commands.toml`.
//! - [`families`]: the handlers, one file a family; [`multi`]: transactions.
//! - [`ctx`]: what a handler is given; [`session`]: a connection's state.
//! - [`blocking`]: commands that wait for a key; [`storing`]: results that become a key's value.
//! - [`commits`]: between connections and those who read the log.
//! - [`engine`]: the server as commands see it; [`dispatch`]: the one path a command runs by.
//! - [`stats`], [`slowlog`], [`latency`]: what commands cost.

pub mod ack_waits;
pub mod blocking;
pub mod client_memory;
pub mod commits;
pub mod ctx;
pub mod digest;
pub mod dispatch;
pub mod engine;
pub mod evict;
pub mod families;
pub mod host;
pub mod latency;
pub mod limits;
pub mod multi;
pub mod own_expiries;
pub mod session;
pub mod slowlog;
pub mod spec;
pub mod stats;
pub mod storing;
#[cfg(test)]
pub mod testing;

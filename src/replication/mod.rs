//! PSYNC in both directions, as pure parts: time, bytes and the state of the log come in as
//! arguments, and what is to be done comes out. Sockets, threads and the keyspace are in `server`.
//!
//! - [`history`]: replication ids, and which stretch of which history this server knows.
//! - [`psync::primary`]: whether a replica may continue, and why not.
//! - [`psync::handshake`]: the replica's side of the way to a stream.
//! - [`transfer`]: how the data set of a full sync is framed on the wire.
//! - [`stream`]: the primary's stream, cut into what a replica applies as one unit.
//! - [`replicas`]: the replicas of this server, as ROLE, INFO, WAIT and min-replicas see them.

pub mod history;
pub mod psync;
pub mod replicas;
pub mod stream;
pub mod transfer;

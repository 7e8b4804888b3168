//! Listeners, workers and the connection loop. Imports `base`, `config`, `resp`, `client` and
//! `command`.
//!
//! - [`listener`]: sockets, and who may connect.
//! - [`worker`]: the threads that own connections.
//! - [`affinity`]: which worker a connection is best served by.
//! - [`connection`]: read, run, write, for one connection.
//! - `input`: the buffer that a worker's connections read into.
//! - `standstill`: how all workers stop and begin again together.
//! - [`transport`]: TCP and Unix sockets as one thing.

pub mod affinity;
pub mod connection;
mod input;
pub mod listener;
mod standstill;
pub mod transport;
pub mod worker;

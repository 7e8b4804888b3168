//! The two sides of PSYNC, without sockets and clocks.

pub mod handshake;
pub mod primary;

//! The RDB format: files, diskless transfers, AOF preambles, and DUMP payloads.
//!
//! | module | holds |
//! |---|---|
//! | [`types`] | the numbers of the format |
//! | [`source`], [`writer`] | lengths, strings, checksum: the bytes of a stream, either way |
//! | [`listpack`], [`ziplist`], [`zipmap`], [`intset`] | the packed blocks inside it |
//! | [`load`], [`save`] | values |
//! | [`reader`] | a whole stream, driven into a [`Sink`] |
//! | [`file`] | files on disk: written whole or not at all, opened for loading |
//! | [`ahead`] | reading a file beside what is made of it |
//! | [`check`] | the program `redis-check-rdb` |
//! | [`dump`] | one value with a footer, for DUMP and RESTORE |
//! | [`error`] | what can be wrong, where, in Redis's sentences |
//!
//! Nothing here knows sockets or the keyspace's tables: streams are `std::io`, values come and go
//! one at a time, so files, full syncs, AOF bases and DEBUG RELOAD share every line.
//!
//! To add a value type: its numbers are in [`types`] already; read it in [`load`], choose its type
//! and write it in [`save`], and give the round-trip tests a generator of it.

pub mod ahead;
pub mod check;
pub mod dump;
pub mod elems;
pub mod error;
pub mod file;
pub mod intset;
pub mod listpack;
pub mod load;
pub mod reader;
pub mod save;
pub mod source;
pub mod types;
pub mod writer;
pub mod ziplist;
pub mod zipmap;

pub use error::{Error, ErrorKind};
pub use load::Limits;
pub use reader::{Entry, Options, Reader, Sink, Summary};
pub use writer::{Config, Origin, ReplicationPoint, Usage, Writer};

#[cfg(test)]
mod tests;

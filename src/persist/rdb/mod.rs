//! The RDB format: files, diskless transfers, AOF preambles, and DUMP payloads.
//!
//! | module | holds |
//! |---|---|
//! | [`types`] | the numbers of the format |
//! | [`source`], [`writer`] | lengths, strings, checksum: the bytes of a stream, either way |
//! | [`listpack`], [`ziplist`], [`zipmap`], [`intset`], [`lzf`] | the packed blocks inside it |
//! | [`file`] | files on disk: written whole or not at all, opened for loading |
//! | [`error`] | what can be wrong, where, in Redis's sentences |
//!
//! Nothing here knows sockets or the keyspace's tables: streams are `std::io`.

pub mod error;
pub mod file;
pub mod intset;
pub mod listpack;
pub mod lzf;
pub mod piece;
pub mod source;
pub mod types;
pub mod writer;
pub mod ziplist;
pub mod zipmap;

pub use error::{Error, ErrorKind};
pub use writer::{Config, Origin, ReplicationPoint, Usage, Writer};

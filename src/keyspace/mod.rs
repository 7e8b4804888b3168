//! The data: entries in segmented tables in shards. Imports `base` and `oplog::effect`.
//!
//! - [`value`]: the types and their encodings, pure structures.
//! - [`entry`]: a key and its value in one allocation; [`hash`]: a key's hash.
//! - [`table`]: one database's entries within one shard.
//! - [`shard`]: the slice of all databases behind one lock, and the hooks of every change.
//! - [`locks`]: the shards and how several are locked; [`turns`]: who gives way to whom;
//!   [`unit`]: what a command sees of them.
//! - [`fill`]: many keys at once.
//! - [`waiters`]: who waits for which key.
//! - [`eviction`], [`lfu`]: which keys go when memory is short.
//! - [`snapshot`]: a consistent picture without a fork.

pub mod entry;
pub mod eviction;
pub mod fill;
pub mod hash;
pub mod lfu;
pub mod locks;
pub mod shard;
pub mod sizes;
pub mod snapshot;
pub mod table;
pub mod turns;
pub mod unit;
pub mod value;
pub mod waiters;

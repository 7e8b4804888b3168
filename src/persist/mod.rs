//! RDB and AOF.

pub mod aof;
pub mod rdb;

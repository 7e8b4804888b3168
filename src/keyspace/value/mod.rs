//! The value types and their encodings.

pub mod btree;
pub mod hash;
pub mod list;
pub mod packed;
pub mod pages;
pub mod set;
pub mod zset;

//! The data: entries in segmented tables in shards. Imports `base` and `oplog::effect`.

pub mod value;

//! The thresholds of encodings, from the configuration in force.

use crate::config::Settings;
use crate::keyspace::value::hash::HashLimits;
use crate::keyspace::value::list::ListLimits;
use crate::keyspace::value::set::SetLimits;
use crate::keyspace::value::stream::StreamLimits;
use crate::keyspace::value::zset::ZsetLimits;

fn count(n: u64) -> usize {
    usize::try_from(n).unwrap_or(usize::MAX)
}

/// When a hash leaves its packed block.
pub fn hash(settings: &Settings) -> HashLimits {
    let e = &settings.encoding;
    HashLimits {
        max_entries: count(e.hash_max_listpack_entries),
        max_value: count(e.hash_max_listpack_value),
    }
}

/// How long a list's nodes are.
pub fn list(settings: &Settings) -> ListLimits {
    ListLimits {
        max_listpack_size: settings.encoding.list_max_listpack_size,
        compress_depth: settings.encoding.list_compress_depth,
    }
}

/// When a set leaves its integers, and its packed block.
pub fn set(settings: &Settings) -> SetLimits {
    let e = &settings.encoding;
    SetLimits {
        max_intset_entries: count(e.set_max_intset_entries),
        max_listpack_entries: count(e.set_max_listpack_entries),
        max_listpack_value: count(e.set_max_listpack_value),
    }
}

/// When a sorted set leaves its packed block.
pub fn zset(settings: &Settings) -> ZsetLimits {
    let e = &settings.encoding;
    ZsetLimits {
        max_entries: count(e.zset_max_listpack_entries),
        max_value: count(e.zset_max_listpack_value),
    }
}

/// How long a stream's blocks are.
pub fn stream(settings: &Settings) -> StreamLimits {
    let e = &settings.encoding;
    StreamLimits {
        max_bytes: count(e.stream_node_max_bytes),
        max_entries: e.stream_node_max_entries,
    }
}

//! When values change their encoding.

use super::{Directive, Flags, Honour, INT_MAX, Int, Slot};

group! {
    /// When values change their encoding.
    Encoding in encoding {
        /// Most fields of a hash in one packed block.
        "hash-max-listpack-entries" | "hash-max-ziplist-entries" =
            hash_max_listpack_entries: u64 = 512, Int::range(0, i64::MAX);
        /// Longest field or value of a hash in one packed block.
        "hash-max-listpack-value" | "hash-max-ziplist-value" =
            hash_max_listpack_value: u64 = 64, Int::memory(0, i64::MAX);
        /// Most members of a set that is an array of integers.
        "set-max-intset-entries" = set_max_intset_entries: u64 = 512, Int::range(0, i64::MAX);
        /// Most members of a set in one packed block.
        "set-max-listpack-entries" = set_max_listpack_entries: u64 = 128,
            Int::range(0, i64::MAX);
        /// Longest member of a set in one packed block.
        "set-max-listpack-value" = set_max_listpack_value: u64 = 64, Int::range(0, i64::MAX);
        /// Most members of a sorted set in one packed block.
        "zset-max-listpack-entries" | "zset-max-ziplist-entries" =
            zset_max_listpack_entries: u64 = 128, Int::range(0, i64::MAX);
        /// Longest member of a sorted set in one packed block.
        "zset-max-listpack-value" | "zset-max-ziplist-value" =
            zset_max_listpack_value: u64 = 64, Int::memory(0, i64::MAX);
        /// Size of a node of a list: so many elements, or -1 to -5 for 4 to 64 KiB.
        "list-max-listpack-size" | "list-max-ziplist-size" = list_max_listpack_size: i32 = -2,
            Int::range(i32::MIN as i64, INT_MAX);
        /// Nodes at each end of a list that are not compressed; 0 compresses none.
        "list-compress-depth" = list_compress_depth: u32 = 0, Int::range(0, INT_MAX);
        /// Longest sparse HyperLogLog.
        "hll-sparse-max-bytes" = hll_sparse_max_bytes: u64 = 3000, Int::memory(0, i64::MAX);
        /// Most bytes in a node of a stream; 0 for no limit.
        "stream-node-max-bytes" = stream_node_max_bytes: u64 = 4096, Int::memory(0, i64::MAX);
        /// Most entries in a node of a stream; 0 for no limit.
        "stream-node-max-entries" = stream_node_max_entries: u64 = 100, Int::range(0, i64::MAX);
    }
}

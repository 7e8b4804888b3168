//! RDB files and when they are written.

use super::super::codec::rdb_file_name;
use super::super::special::Save;
use super::super::types::{SanitizeDumpPayload, SavePoint};
use super::{Directive, Flags, Honour, INT_MAX, Int, OneOf, Slot, Text, YesNo, point};
use std::path::PathBuf;

group! {
    /// RDB files and when they are written.
    Rdb in rdb {
        /// When to save: after so many seconds, if there were so many changes.
        "save" = save: Vec<SavePoint> = vec![point(3600, 1), point(300, 100), point(60, 10_000)],
            Save;
        /// Name of the RDB file.
        "dbfilename" = dbfilename: PathBuf = PathBuf::from("dump.rdb"),
            Text::checked(rdb_file_name), [PROTECTED];
        /// Compress strings with LZF.
        "rdbcompression" = rdbcompression: bool = true, YesNo;
        /// End the file with a checksum, and check it when loading.
        "rdbchecksum" = rdbchecksum: bool = true, YesNo, [IMMUTABLE];
        /// Version of the format to write: 11, or 10 for replicas and tools of Redis 7.0.
        "rdb-version" = rdb_version: u32 = 11, Int::range(10, 11);
        /// Refuse writes after a background save has failed.
        "stop-writes-on-bgsave-error" = stop_writes_on_bgsave_error: bool = true, YesNo;
        /// Delete the RDB files of replication where neither RDB nor AOF is wanted.
        "rdb-del-sync-files" = rdb_del_sync_files: bool = false, YesNo;
        /// Force the file to the disk piece by piece while it is written.
        "rdb-save-incremental-fsync" = rdb_save_incremental_fsync: bool = true, YesNo;
        /// Microseconds to wait after each key that is saved; for tests. A negative number is
        /// the count of keys between waits of a microsecond.
        "rdb-key-save-delay" = rdb_key_save_delay: i32 = 0,
            Int::range(i32::MIN as i64, INT_MAX), [HIDDEN];
        /// Microseconds to wait after each key that is loaded; for tests. A negative number is
        /// the count of keys between waits of a microsecond.
        "key-load-delay" = key_load_delay: i32 = 0,
            Int::range(i32::MIN as i64, INT_MAX), [HIDDEN];
        /// Bytes loaded between two looks at the clients.
        "loading-process-events-interval-bytes" = loading_process_events_interval_bytes: u64 =
            512 << 10, Int::range(1024, INT_MAX), [HIDDEN]
            => Honour::NoEffect("workers answer clients all through a load");
        /// When payloads of RDB files and RESTORE are checked in depth.
        "sanitize-dump-payload" = sanitize_dump_payload: SanitizeDumpPayload =
            SanitizeDumpPayload::No, OneOf::<SanitizeDumpPayload>::new()
            => Honour::NoEffect("every payload is checked in depth");
    }
}

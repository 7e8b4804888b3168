//! The append-only file.

use super::super::codec::{aof_directory_name, aof_file_name};
use super::super::types::AppendFsync;
use super::{Directive, Flags, Honour, INT_MAX, Int, OneOf, Slot, Text, YesNo};
use std::path::PathBuf;

group! {
    /// The append-only file.
    Aof in aof {
        /// Keep an append-only file.
        "appendonly" = appendonly: bool = false, YesNo;
        /// Prefix of the names of its files.
        "appendfilename" = appendfilename: PathBuf = PathBuf::from("appendonly.aof"),
            Text::checked(aof_file_name), [IMMUTABLE];
        /// Directory of its files, inside `dir`.
        "appenddirname" = appenddirname: PathBuf = PathBuf::from("appendonlydir"),
            Text::checked(aof_directory_name), [IMMUTABLE];
        /// When it is forced to the disk.
        "appendfsync" = appendfsync: AppendFsync = AppendFsync::EverySecond,
            OneOf::<AppendFsync>::new();
        /// Do not force it to the disk while a save or a rewrite is running.
        "no-appendfsync-on-rewrite" = no_appendfsync_on_rewrite: bool = false, YesNo;
        /// Rewrite it when it has grown by so many percent since the last time; 0 for never.
        "auto-aof-rewrite-percentage" = auto_aof_rewrite_percentage: u32 = 100,
            Int::range(0, INT_MAX);
        /// Do not rewrite it by itself below this size.
        "auto-aof-rewrite-min-size" = auto_aof_rewrite_min_size: u64 = 64 << 20,
            Int::memory(0, i64::MAX);
        /// Load a file whose last command is cut off, and truncate it there.
        "aof-load-truncated" = aof_load_truncated: bool = true, YesNo;
        /// Write the base file of a rewrite in RDB format.
        "aof-use-rdb-preamble" = aof_use_rdb_preamble: bool = true, YesNo;
        /// Note the time in the file, so that it can be cut at a moment.
        "aof-timestamp-enabled" = aof_timestamp_enabled: bool = false, YesNo;
        /// Force the file of a rewrite to the disk piece by piece.
        "aof-rewrite-incremental-fsync" = aof_rewrite_incremental_fsync: bool = true, YesNo;
        /// Keep the files that a rewrite has replaced; for tests.
        "aof-disable-auto-gc" = aof_disable_auto_gc: bool = false, YesNo, [HIDDEN];
    }
}

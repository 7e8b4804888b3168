//! Error replies whose text is fixed, code included: what [`super::reply::Reply::error`] takes.
//! Clients compare these texts, so each stands here once.

/// The key holds another type.
pub const WRONG_TYPE: &str = "WRONGTYPE Operation against a key holding the wrong kind of value";
/// Arguments that no form of the command takes.
pub const SYNTAX: &str = "ERR syntax error";
/// An integer argument or value that is none, or does not fit 64 bits.
pub const NOT_INTEGER: &str = "ERR value is not an integer or out of range";
/// A float argument or value that is none.
pub const NOT_FLOAT: &str = "ERR value is not a valid float";
/// A value that must not be negative.
pub const NOT_POSITIVE: &str = "ERR value is out of range, must be positive";
/// The one integer of which the negative does not fit 64 bits, where both signs are taken.
pub const OUT_OF_SYMMETRIC_RANGE: &str = "ERR value is out of range, value must between \
     -9223372036854775807 and 9223372036854775807";
/// The key must exist.
pub const NO_SUCH_KEY: &str = "ERR no such key";
/// An index outside of the collection.
pub const INDEX_OUT_OF_RANGE: &str = "ERR index out of range";
/// A string would grow beyond `proto-max-bulk-len`.
pub const STRING_TOO_LONG: &str = "ERR string exceeds maximum allowed size (proto-max-bulk-len)";
/// An offset outside of what a string may have.
pub const OFFSET_OUT_OF_RANGE: &str = "ERR offset is out of range";
/// An integer counter would leave 64 bits.
pub const INCREMENT_OVERFLOW: &str = "ERR increment or decrement would overflow";
/// A float counter would not be finite.
pub const INCREMENT_NOT_FINITE: &str = "ERR increment would produce NaN or Infinity";
/// A database index that is out of `databases`.
pub const DB_OUT_OF_RANGE: &str = "ERR DB index is out of range";
/// Source and destination are one.
pub const SAME_OBJECT: &str = "ERR source and destination objects are the same";
/// A cursor that is no number.
pub const INVALID_CURSOR: &str = "ERR invalid cursor";
/// A timeout argument that is no float.
pub const TIMEOUT_NOT_FLOAT: &str = "ERR timeout is not a float or out of range";
/// A timeout argument that is no integer.
pub const TIMEOUT_NOT_INTEGER: &str = "ERR timeout is not an integer or out of range";
/// A timeout argument below zero.
pub const TIMEOUT_NEGATIVE: &str = "ERR timeout is negative";
/// A command before AUTH.
pub const NO_AUTH: &str = "NOAUTH Authentication required.";
/// The data set is being loaded.
pub const LOADING: &str = "LOADING Redis is loading the dataset in memory";
/// A write on a read-only replica.
pub const READ_ONLY: &str = "READONLY You can't write against a read only replica.";
/// A replica that lost its primary and may not answer from stale data.
pub const MASTER_DOWN: &str =
    "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.";
/// A write while too few replicas follow.
pub const NO_REPLICAS: &str = "NOREPLICAS Not enough good replicas to write.";
/// A write while snapshots fail.
pub const BGSAVE_FAILED: &str = "MISCONF Redis is configured to save RDB snapshots, but it's \
     currently unable to persist to disk. Commands that may modify the data set are disabled, \
     because this instance is configured to report errors during writes if RDB snapshotting \
     fails (stop-writes-on-bgsave-error option). Please check the Redis logs for details about \
     the RDB error.";
/// WAITAOF for a disk that nothing is written to.
pub const WAITAOF_WITHOUT_AOF: &str =
    "ERR WAITAOF cannot be used when numlocal is set but appendonly is disabled.";
/// A write beyond `maxmemory` with nothing to evict.
pub const OUT_OF_MEMORY: &str = "OOM command not allowed when used memory > 'maxmemory'.";
/// EXEC after a command that could not be queued.
pub const EXEC_ABORT: &str = "EXECABORT Transaction discarded because of previous errors.";
/// EVALSHA of an unknown script.
pub const NO_SCRIPT: &str = "NOSCRIPT No matching script. Please use EVAL.";
/// RESTORE or MIGRATE onto a key that exists.
pub const BUSY_KEY: &str = "BUSYKEY Target key name already exists.";

//! The thresholds of encodings, as the RDB reader takes them.

use crate::command::limits;
use crate::config::Settings;
use crate::persist::rdb::load::Limits;

/// Those of the configuration in force.
pub fn of(settings: &Settings) -> Limits {
    Limits {
        hash: limits::hash(settings),
        list: limits::list(settings),
        set: limits::set(settings),
        zset: limits::zset(settings),
    }
}

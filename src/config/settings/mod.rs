//! The typed settings, and with each field its line of the directive table.
//!
//! A group of [`Settings`] is declared by one macro: the field with its type and default, and the
//! directive with its names, codec, flags and [`Honour`]. The documentation of the field is the
//! documentation of the directive. The default of a directive is the default of its field.
//!
//! Defaults are those of Redis 8.0.2, compared directive by directive with a fresh one. What is
//! different, and why:
//!
//! | directive | here | Redis | reason |
//! |---|---|---|---|
//! | `io-threads` | the number of cores | 1 | every worker executes commands |
//! | `rdb-version` | 11 | absent | lowers the format for older replicas |
//!
//! Values are taken and refused as there, in the same words, but for amounts of memory of 2^63
//! bytes and more, which are not amounts of memory here, and for what [`Honour::Refused`] marks.

use super::codec::{INT_MAX, Int, OneOf, Text, YesNo};
use super::directive::{Directive, Flags, Honour, Slot};

/// `opt!(x)` is `Some(x)`, `opt!()` is `None`.
macro_rules! opt {
    () => {
        None
    };
    ($value:expr) => {
        Some($value)
    };
}

/// `honour!()` is `Honour::Yes`; otherwise it is what is given.
macro_rules! honour {
    () => {
        Honour::Yes
    };
    ($value:expr) => {
        $value
    };
}

/// Declares a group: a struct of typed fields, their defaults, and their directives.
macro_rules! group {
    (
        $(#[doc = $group_doc:literal])+
        $Group:ident in $group:ident {
            $(
                $(#[doc = $doc:literal])+
                $name:literal $(| $alias:literal)? = $field:ident: $ty:ty = $default:expr,
                $codec:expr $(, [$($flag:ident)+])? $(=> $honour:expr)?;
            )+
        }
    ) => {
        $(#[doc = $group_doc])+
        #[derive(Debug, Clone, PartialEq)]
        pub struct $Group {
            $($(#[doc = $doc])+ pub $field: $ty,)+
        }

        impl Default for $Group {
            fn default() -> $Group {
                $Group { $($field: $default,)+ }
            }
        }

        pub(super) const DIRECTIVES: &[Directive] = &[
            $(Directive {
                name: $name,
                alias: opt!($($alias)?),
                flags: Flags::new(0 $($(| Flags::$flag)+)?),
                doc: concat!($($doc),+),
                honour: honour!($($honour)?),
                access: &Slot {
                    get: |settings| &settings.$group.$field,
                    get_mut: |settings| &mut settings.$group.$field,
                    codec: $codec,
                },
            },)+
        ];
    };
}

mod acl;
mod aof;
mod cluster;
mod encoding;
mod memory;
mod network;
mod observe;
mod process;
mod rdb;
mod replication;
mod tls;

pub use acl::Acl;
pub use aof::Aof;
pub use cluster::Cluster;
pub use encoding::Encoding;
pub use memory::Memory;
pub use network::Network;
pub use observe::Observe;
pub use process::Process;
pub use rdb::Rdb;
pub use replication::Replication;
pub use tls::Tls;

use super::types::{OutputLimit, SavePoint};

/// Everything a configuration file can set, typed. Immutable once published: see
/// [`Config`](super::Config).
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Settings {
    /// Listeners, connections and their limits.
    pub network: Network,
    /// The process: files, logging, databases, shutdown.
    pub process: Process,
    /// Memory limits, eviction, lazy freeing, expiry.
    pub memory: Memory,
    /// RDB files and when they are written.
    pub rdb: Rdb,
    /// The append-only file.
    pub aof: Aof,
    /// Both sides of replication.
    pub replication: Replication,
    /// When values change their encoding.
    pub encoding: Encoding,
    /// Slow log, latency, notifications.
    pub observe: Observe,
    /// Passwords and users.
    pub acl: Acl,
    /// Cluster mode.
    pub cluster: Cluster,
    /// TLS.
    pub tls: Tls,
}

/// The directives of every group.
pub(super) const GROUPS: &[&[Directive]] = &[
    network::DIRECTIVES,
    process::DIRECTIVES,
    memory::DIRECTIVES,
    rdb::DIRECTIVES,
    aof::DIRECTIVES,
    replication::DIRECTIVES,
    encoding::DIRECTIVES,
    observe::DIRECTIVES,
    acl::DIRECTIVES,
    cluster::DIRECTIVES,
    tls::DIRECTIVES,
];

const fn limit(hard_bytes: u64, soft_bytes: u64, soft_seconds: u64) -> OutputLimit {
    OutputLimit {
        hard_bytes,
        soft_bytes,
        soft_seconds,
    }
}

const fn point(seconds: i64, changes: i64) -> SavePoint {
    SavePoint { seconds, changes }
}

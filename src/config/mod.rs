//! The directive table, the redis.conf parser and rewriter, and the typed settings. Imports `base`.
//!
//! - [`Settings`] is what the rest of the server reads: a plain struct, immutable once published.
//!   `settings/` declares each field together with its directive.
//! - [`Config`] is the live object: it publishes the current `Settings`, and serves CONFIG GET,
//!   CONFIG SET and CONFIG REWRITE.
//! - [`LoadSource`] is where the settings of a start come from: a file, standard input, the
//!   command line. `load` reads them as redis-server does.
//!
//! Guarantees:
//!
//! - A CONFIG SET of several directives takes effect as a whole or not at all. Readers see the
//!   settings before or after it, nothing between.
//! - CONFIG REWRITE replaces the file in one step; a crash leaves the old file or the new one.
//! - Loading what CONFIG REWRITE wrote gives the settings that were in force.
//! - No file, argument or client input can make this module panic or recurse without bound.
//!
//! What is deliberately absent: modules (`loadmodule`, `<module>.<name>`), and the directives of
//! Sentinel. They are refused by name.

mod codec;
mod directive;
mod include;
mod live;
mod load;
mod rewrite;
pub mod settings;
mod special;
mod types;

pub use directive::{Directive, Flags, Honour, directives, is_sensitive};
pub use live::{Change, Changed, Config, ConfigError, Follower, SetContext};
pub use load::{Fatal, LoadError, LoadSource, RenameCheck};
pub use rewrite::RewriteError;
pub use settings::Settings;
pub use types::{
    AclPubsubDefault, AppendFsync, Choice, ClusterEndpointType, DisklessLoad, LogLevel,
    MaxmemoryPolicy, MemoryOrPercent, NotifyClasses, OomScoreAdj, OutputLimit, OutputLimits,
    PrimaryAddress, PropagationErrorBehavior, ProtectedAction, SanitizeDumpPayload, SavePoint,
    Secret, ShutdownOptions, Supervised, SyslogFacility, TlsAuthClients,
};

/// The version of Redis whose behaviour is the measure, as INFO and fatal errors name it.
pub const REDIS_VERSION: &str = "8.0.6";

/// What the C library calls an error, without the number that Rust adds.
fn os_text(error: &std::io::Error) -> String {
    let text = error.to_string();
    match text.split_once(" (os error ") {
        Some((text, _)) => text.to_owned(),
        None => text,
    }
}

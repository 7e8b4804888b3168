//! The wiring. Imports everything; imported by `main` alone.
//!
//! - [`program`]: which program the binary is asked to be, and its arguments.
//! - [`boot`]: from settings to a running server, and its end.
//! - [`logging`]: log lines in Redis's form.
//! - [`host`]: what commands ask of the parts above them.
//! - [`settings`]: what follows when CONFIG SET changes a directive; [`process`]: the process as
//!   the system sees it.
//! - [`info`]: the text of INFO; [`rates`]: what it tells of the last seconds.
//! - [`cron`]: what happens without being asked.
//! - [`aside`]: threads for what takes long.
//! - [`lazyfree`]: freeing large things away from the workers; [`memory`]: what is in use;
//!   [`usage`]: the same for whoever looks often.
//! - [`pacing`]: holding back what works behind the clients' backs.
//! - [`snapshotting`]: a snapshot as an RDB stream; [`saving`]: RDB files; [`loading`]: reading
//!   them; [`limits`]: the thresholds they are read with.
//! - [`replication`]: our primary and our replicas.
//! - [`aof`]: the append-only file.
//! - [`shutdown`]: the end.

mod aof;
mod aside;
mod boot;
mod cron;
mod host;
mod info;
mod lazyfree;
mod limits;
mod loading;
mod logging;
mod logo;
mod memory;
mod oom;
mod pacing;
mod process;
mod program;
mod rates;
mod rdb_name;
mod replication;
mod saving;
mod settings;
mod shutdown;
mod snapshotting;
mod title;
mod usage;

pub use program::main;

/// The version of Russet.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

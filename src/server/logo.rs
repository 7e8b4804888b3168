//! The banner at start.

use crate::config::REDIS_VERSION;

/// The banner, with what a person (or a test) looks for in it: version, mode, port, process id.
pub fn logo(port: u16, pid: u32) -> String {
    format!(
        r"
        .-------------.
       /  .---------.  \      Russet {} (Redis {REDIS_VERSION} compatible) 64 bit
      |  /  ______   \  |
      | |  |  __  \   | |     Running in standalone mode
      | |  | |__) |   | |     Port: {port}
      | |  |  _  /    | |     PID: {pid}
      | |  |_| \_\    | |
       \ '-----------' /
        '-------------'

",
        super::VERSION
    )
}

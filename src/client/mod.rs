//! Connections as the rest of the server sees them. Imports `base` and `resp`.
//!
//! A connection's own state (its session) lives on its worker. What others may look at or act on
//! lives here: who it is, what it did last, whether it must close, and its outbox, through which
//! anybody may send it something.

pub mod outbox;
pub mod registry;

pub use outbox::Outbox;
pub use registry::{Client, ClientKind, ClientNames, Registry};

//! The command table, dispatch, and the families of handlers.

pub mod spec;

//! The one ordered stream of writes. Imports `base` and `resp`.
//!
//! [`effect`] is what a unit of work writes, [`log`] the stream those writes form, [`durable`] how
//! much of it the AOF has brought to disk.

pub mod durable;
pub mod effect;
pub mod log;

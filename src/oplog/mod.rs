//! The one ordered stream of writes. Imports `base` and `resp`.

pub mod effect;
pub mod log;

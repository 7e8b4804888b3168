//! The wire: requests in, replies out. Imports `base` alone.

pub mod errors;
pub mod parser;
pub mod peek;
pub mod reply;

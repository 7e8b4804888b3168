//! The registry of connections. Imports `base` and `resp`.

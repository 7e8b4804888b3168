//! The multi-part append-only file.

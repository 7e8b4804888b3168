//! Russet.

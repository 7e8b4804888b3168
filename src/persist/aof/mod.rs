//! The multi-part append-only file.
//!
//! | module | is |
//! |---|---|
//! | [`manifest`] | which files there are, as text |
//! | [`folder`] | those files on disk: manifest, names, upgrade of the old single file |
pub mod folder;
pub mod manifest;

//! The multi-part append-only file.
//!
//! | module | is |
//! |---|---|
//! | [`manifest`] | which files there are, as text |
//! | [`folder`] | those files on disk: manifest, names, upgrade of the old single file |
//! | [`reader`] | commands out of a file |
//! | [`load`] | all files into memory, and what is done about a cut tail |

pub mod folder;
pub mod load;
pub mod manifest;
pub mod reader;

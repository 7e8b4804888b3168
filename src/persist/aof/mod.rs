//! The multi-part append-only file.
//!
//! | module | is |
//! |---|---|
//! | [`manifest`] | which files there are, as text |
//! | [`folder`] | those files on disk: manifest, names, upgrade of the old single file |
//! | [`reader`] | commands out of a file |
//! | [`load`] | all files into memory, and what is done about a cut tail |
//! | [`engine`] | from the log into the file: appends, fsyncs, errors, rotation, as a state machine |
//! | [`writer`] | the thread that runs it |
//! | [`sink`], [`status`] | the file it appends to, and what it tells the server |

pub mod engine;
pub mod folder;
pub mod load;
pub mod manifest;
pub mod reader;
pub mod sink;
pub mod status;
pub mod writer;

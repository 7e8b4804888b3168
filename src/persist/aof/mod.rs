//! The multi-part append-only file.
//!
//! | module | is |
//! |---|---|
//! | [`manifest`] | which files there are, as text |
//! | [`folder`] | those files on disk: manifest, names, upgrade of the old single file |
//! | [`reader`] | commands out of a file |
//! | [`load`] | all files into memory, and what is done about a cut tail |
//! | [`engine`] | from the log into the file: appends, fsyncs, errors, rotation; a state machine |
//! | [`writer`] | the thread that runs it |
//! | [`company`] | whom an fsync waits for under `always` |
//! | [`shared`] | the writer as others than its thread may use it |
//! | [`sink`], [`status`] | the file it appends to, and what it tells the server |
//! | [`commands`] | a data set as commands |
//! | [`control`] | the AOF of a server: off, on, waiting; sizes, automatic rewrites |
//! | [`rewriting`] | one rewrite, from the snapshot to the switched manifest |
//! | [`limiter`] | patience with rewrites that keep failing |
//! | [`check`] | the program `redis-check-aof` |

pub mod check;
pub mod commands;
mod company;
pub mod control;
pub mod engine;
pub mod folder;
pub mod limiter;
pub mod load;
pub mod manifest;
pub mod reader;
pub mod rewriting;
pub mod shared;
pub mod sink;
pub mod status;
pub mod writer;

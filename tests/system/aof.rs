//! The append-only file as the tests need to see it: where its units of work end.
//!
//! A unit is a command outside a transaction, or a transaction from MULTI to EXEC. A cut inside a
//! unit loses that unit and nothing before it.

use crate::support::Reply;
use redis_protocol::resp2::decode::decode;
use std::path::{Path, PathBuf};

/// A unit: the offset it ends at, and its commands.
pub struct Unit {
    pub end: usize,
    pub commands: Vec<Vec<Vec<u8>>>,
}

/// The last of the incremental files in a server's data folder.
pub fn last_file(dir: &Path) -> PathBuf {
    let folder = dir.join("appendonlydir");
    let manifest = std::fs::read_to_string(folder.join("appendonly.aof.manifest")).unwrap();
    let last = manifest.lines().rev().find(|line| line.contains(" type i"));
    let name = last.and_then(|line| line.split(' ').nth(1));
    folder.join(name.unwrap_or_else(|| panic!("no incremental file in {manifest:?}")))
}

/// The whole units at the start of `bytes`; what follows the last one is cut off.
pub fn units(bytes: &[u8]) -> Vec<Unit> {
    let mut units = Vec::new();
    let mut at = 0;
    let mut open: Option<Vec<Vec<Vec<u8>>>> = None;
    while let Ok(Some((Reply::Array(words), length))) = decode(&bytes[at..]) {
        at += length;
        let command: Vec<Vec<u8>> = words.into_iter().map(into_bytes).collect();
        let name = command[0].to_ascii_uppercase();
        match (&mut open, name.as_slice()) {
            (None, b"MULTI") => open = Some(Vec::new()),
            (Some(_), b"EXEC") => {
                units.push(Unit {
                    end: at,
                    commands: open.take().unwrap(),
                });
            }
            (Some(commands), _) => commands.push(command),
            (None, _) => units.push(Unit {
                end: at,
                commands: vec![command],
            }),
        }
    }
    units
}

fn into_bytes(word: Reply) -> Vec<u8> {
    match word {
        Reply::BulkString(bytes) => bytes,
        other => panic!("an argument is {other:?}"),
    }
}

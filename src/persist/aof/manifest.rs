//! The manifest: which files make up the AOF, in which order, and where each begins and ends.
//!
//! ```text
//! file appendonly.aof.2.base.rdb seq 2 type b
//! file appendonly.aof.1.incr.aof seq 1 type h
//! file appendonly.aof.3.incr.aof seq 3 type i startoffset 511
//! file appendonly.aof.4.incr.aof seq 4 type i startoffset 902 endoffset 998
//! ```
//!
//! A line is a list of key and value pairs, quoted as in redis.conf where a name needs it. `b` is
//! the base (a whole data set, at most one), `i` what was appended since, in order of `seq`, and
//! `h` a file of an earlier rewrite that is only there to be deleted. The format is that of Redis
//! 7.0; unknown keys are skipped, as every Redis that reads manifests does.
//!
//! `startoffset` and `endoffset` are Redis 8.0's: the replication offset at which a file begins,
//! and, once it has been closed in good order, ends. Beside `endoffset` Russet writes two keys of
//! its own, so that the offset means something after a restart: `replid`, the history it belongs
//! to, and `streamdb`, the database the stream had selected there. Files without offsets (written
//! by older versions) stay without; an offset is never made up from a file's size, except by
//! [`Manifest::offset_floor`], which only promises not to be too low.

use crate::base::{args, num};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

/// Longest line, its newline included, that a manifest may have.
const MAX_LINE_BYTES: usize = 1024;

/// What a file of the manifest is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A whole data set.
    Base,
    /// Commands appended since the base was taken.
    Incr,
    /// Replaced by a rewrite; to be deleted.
    History,
}

impl Kind {
    fn letter(self) -> char {
        match self {
            Kind::Base => 'b',
            Kind::Incr => 'i',
            Kind::History => 'h',
        }
    }
}

/// Where in the replication stream a file ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct End {
    /// The replication offset.
    pub offset: u64,
    /// The replication id of the history it belongs to.
    pub replid: Option<String>,
    /// The database the stream had selected there.
    pub stream_db: Option<u32>,
}

/// One file of the manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileInfo {
    /// Its name inside the AOF folder.
    pub name: OsString,
    /// Its number among its kind.
    pub seq: i64,
    /// What it is.
    pub kind: Kind,
    /// The replication offset at which it begins, if that is known.
    pub start_offset: Option<u64>,
    /// Where it ends, if it was closed in good order.
    pub end: Option<End>,
}

/// Why a manifest was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason} (line {line})")]
pub struct ManifestError {
    /// Number of the line, from one.
    pub line: usize,
    /// The line, when it could be read at all.
    pub text: Option<String>,
    /// The reason, in Redis's words.
    pub reason: &'static str,
}

const INVALID: &str = "Invalid AOF manifest file format";

/// See the module.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Manifest {
    base: Option<FileInfo>,
    history: Vec<FileInfo>,
    incr: Vec<FileInfo>,
    base_seq: i64,
    incr_seq: i64,
}

impl Manifest {
    /// Reads a manifest. Refuses what Redis refuses, for the same reason.
    pub fn parse(content: &[u8]) -> Result<Self, ManifestError> {
        let mut manifest = Self::default();
        let mut rest = content;
        let mut line = 0;
        while let Some(piece) = next_piece(&mut rest) {
            line += 1;
            if piece.first() == Some(&b'#') {
                continue;
            }
            if piece.last() != Some(&b'\n') {
                let reason = "The AOF manifest file contains too long line";
                return Err(ManifestError {
                    line,
                    text: None,
                    reason,
                });
            }
            let text = trim(piece);
            manifest.add_line(text).map_err(|reason| {
                let text = Some(String::from_utf8_lossy(text).into_owned());
                ManifestError { line, text, reason }
            })?;
        }
        if line == 0 {
            let reason = "Found an empty AOF manifest";
            return Err(ManifestError {
                line,
                text: None,
                reason,
            });
        }
        Ok(manifest)
    }

    fn add_line(&mut self, text: &[u8]) -> Result<(), &'static str> {
        let file = parse_line(text)?;
        match file.kind {
            Kind::Base if self.base.is_some() => Err("Found duplicate base file information"),
            Kind::Base => {
                self.base_seq = file.seq;
                self.base = Some(file);
                Ok(())
            }
            Kind::History => {
                self.history.push(file);
                Ok(())
            }
            Kind::Incr if file.seq <= self.incr_seq => Err("Found a non-monotonic sequence number"),
            Kind::Incr => {
                self.incr_seq = file.seq;
                self.incr.push(file);
                Ok(())
            }
        }
    }

    /// The manifest as the text of its file: base, history, then incremental files.
    pub fn format(&self) -> Vec<u8> {
        let mut out = Vec::new();
        for file in self.base.iter().chain(&self.history).chain(&self.incr) {
            file.format(&mut out);
        }
        out
    }

    /// The base file.
    pub fn base(&self) -> Option<&FileInfo> {
        self.base.as_ref()
    }

    /// The incremental files, oldest first.
    pub fn incr(&self) -> &[FileInfo] {
        &self.incr
    }

    /// The files that only wait for their deletion.
    pub fn history(&self) -> &[FileInfo] {
        &self.history
    }

    /// The files to load, in order.
    pub fn files(&self) -> impl Iterator<Item = &FileInfo> {
        self.base.iter().chain(&self.incr)
    }

    /// Whether there is nothing to load.
    pub fn is_empty(&self) -> bool {
        self.base.is_none() && self.incr.is_empty()
    }

    /// Makes `name`, a single file of the time before manifests, the base.
    pub fn adopt_old_file(&mut self, name: &OsStr) {
        self.base_seq = 1;
        self.base = Some(FileInfo::new(name.to_owned(), 1, Kind::Base));
    }

    /// Makes room for a new base: names it, and turns the present one into history.
    pub fn next_base(&mut self, filename: &OsStr, rdb_preamble: bool) -> OsString {
        if let Some(old) = self.base.take() {
            self.history.insert(
                0,
                FileInfo {
                    kind: Kind::History,
                    ..old
                },
            );
        }
        self.base_seq = self.base_seq.saturating_add(1);
        let mut name = filename.to_owned();
        name.push(format!(".{}.base", self.base_seq));
        name.push(if rdb_preamble { ".rdb" } else { ".aof" });
        self.base = Some(FileInfo::new(name.clone(), self.base_seq, Kind::Base));
        name
    }

    /// Adds a new incremental file that begins at the replication offset `start_offset`.
    pub fn next_incr(&mut self, filename: &OsStr, start_offset: Option<u64>) -> OsString {
        self.incr_seq = self.incr_seq.saturating_add(1);
        let mut name = filename.to_owned();
        name.push(format!(".{}.incr.aof", self.incr_seq));
        let file = FileInfo::new(name.clone(), self.incr_seq, Kind::Incr);
        self.incr.push(FileInfo {
            start_offset,
            ..file
        });
        name
    }

    /// The incremental file that is appended to, if there is one.
    pub fn last_incr(&self) -> Option<&FileInfo> {
        self.incr.last()
    }

    /// Notes where the last incremental file ends, or, with `None`, that it goes on. A file that
    /// does not know where it began does not learn where it ends. Returns whether that changed
    /// anything.
    pub fn set_end(&mut self, end: Option<End>) -> bool {
        let Some(last) = self.incr.last_mut() else {
            return false;
        };
        let end = end.filter(|_| last.start_offset.is_some());
        let changed = last.end != end;
        last.end = end;
        changed
    }

    /// A rewrite has succeeded: incremental files become history, but not the last one if it is
    /// the one being appended to.
    pub fn mark_incr_as_history(&mut self, keep_last: bool) {
        let keep = if keep_last { self.incr.pop() } else { None };
        let old = std::mem::take(&mut self.incr);
        self.history.splice(
            0..0,
            old.into_iter().map(|file| FileInfo {
                kind: Kind::History,
                ..file
            }),
        );
        self.incr.extend(keep);
    }

    /// Takes the history out of the manifest; the caller deletes the files.
    pub fn take_history(&mut self) -> Vec<FileInfo> {
        std::mem::take(&mut self.history)
    }

    /// Where the stream stands behind the last file, when that was written down.
    pub fn end(&self) -> Option<&End> {
        self.last_incr()?.end.as_ref()
    }

    /// An offset that is not below any the stream has had: the recorded end, or, for a file whose
    /// end was not recorded, its start plus its size. Redis 8.0 continues counting from here.
    pub fn offset_floor(&self, last_incr_bytes: u64) -> Option<u64> {
        let last = self.last_incr()?;
        match &last.end {
            Some(end) => Some(end.offset),
            None => Some(last.start_offset?.saturating_add(last_incr_bytes)),
        }
    }
}

impl FileInfo {
    fn new(name: OsString, seq: i64, kind: Kind) -> Self {
        Self {
            name,
            seq,
            kind,
            start_offset: None,
            end: None,
        }
    }

    fn format(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"file ");
        let name = self.name.as_bytes();
        if needs_quotes(name) {
            out.extend_from_slice(args::quote(name).as_bytes());
        } else {
            out.extend_from_slice(name);
        }
        let mut rest = format!(" seq {} type {}", self.seq, self.kind.letter());
        if let Some(offset) = self.start_offset {
            rest.push_str(&format!(" startoffset {offset}"));
        }
        if let Some(end) = &self.end {
            rest.push_str(&format!(" endoffset {}", end.offset));
            if let Some(replid) = &end.replid {
                rest.push_str(&format!(" replid {replid}"));
            }
            if let Some(db) = end.stream_db {
                rest.push_str(&format!(" streamdb {db}"));
            }
        }
        rest.push('\n');
        out.extend_from_slice(rest.as_bytes());
    }
}

/// What one read of a line of limited length yields: through a newline, or as much as fits.
fn next_piece<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    if rest.is_empty() {
        return None;
    }
    let limit = rest.len().min(MAX_LINE_BYTES);
    let end = rest
        .iter()
        .take(limit)
        .position(|byte| *byte == b'\n')
        .map_or(limit, |at| at + 1);
    let (piece, after) = rest.split_at(end);
    *rest = after;
    Some(piece)
}

fn trim(mut text: &[u8]) -> &[u8] {
    let blank = |byte: &u8| matches!(byte, b' ' | b'\t' | b'\r' | b'\n');
    while let Some((_, after)) = text.split_first().filter(|(first, _)| blank(first)) {
        text = after;
    }
    while let Some((_, before)) = text.split_last().filter(|(last, _)| blank(last)) {
        text = before;
    }
    text
}

fn parse_line(text: &[u8]) -> Result<FileInfo, &'static str> {
    let words = if text.is_empty() {
        None
    } else {
        args::split_args(text)
    };
    let words = words
        .filter(|words| words.len() >= 6 && words.len() % 2 == 0)
        .ok_or(INVALID)?;
    let mut name = None;
    let mut seq = 0;
    let mut letter = None;
    let mut start_offset = None;
    let mut end_offset = None;
    let mut replid = None;
    let mut stream_db = None;
    for pair in words.chunks_exact(2) {
        let [key, value] = pair else { continue };
        match key.to_ascii_lowercase().as_slice() {
            b"file" => {
                if value.contains(&b'/') || value.contains(&b'\\') {
                    return Err("File can't be a path, just a filename");
                }
                name = Some(OsString::from_vec(value.clone()));
            }
            b"seq" => seq = num::leading_i64(trim(value)),
            b"type" => letter = value.first().copied(),
            b"startoffset" => start_offset = u64::try_from(num::leading_i64(trim(value))).ok(),
            b"endoffset" => end_offset = u64::try_from(num::leading_i64(trim(value))).ok(),
            b"replid" => replid = parse_replid(value),
            b"streamdb" => stream_db = u32::try_from(num::leading_i64(trim(value))).ok(),
            _ => {}
        }
    }
    let (Some(name), Some(letter)) = (name, letter) else {
        return Err(INVALID);
    };
    if seq == 0 {
        return Err(INVALID);
    }
    let kind = match letter {
        b'b' => Kind::Base,
        b'i' => Kind::Incr,
        b'h' => Kind::History,
        _ => return Err("Unknown AOF file type"),
    };
    let end = end_offset.map(|offset| End {
        offset,
        replid,
        stream_db,
    });
    Ok(FileInfo {
        name,
        seq,
        kind,
        start_offset,
        end,
    })
}

fn parse_replid(text: &[u8]) -> Option<String> {
    let hex = text.len() == 40 && text.iter().all(u8::is_ascii_hexdigit);
    hex.then(|| String::from_utf8_lossy(text).into_owned())
}

fn needs_quotes(name: &[u8]) -> bool {
    // A name that begins with a single quote would be read as a quoted one.
    let plain = |byte: &u8| byte.is_ascii_graphic() && !matches!(byte, b'\\' | b'"' | b'\'');
    name.is_empty() || !name.iter().all(plain)
}

#[cfg(test)]
mod tests;

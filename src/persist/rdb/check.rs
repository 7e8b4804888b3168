//! `redis-check-rdb`: reads a file as the server would, and tells what it finds.
//!
//! Options, output and exit codes are those of Redis 8's program: one argument, the file, or
//! `-v`/`--version`; exit code 0 for a sound file, 1 for anything else.

use std::fs::File;
use std::io::{self, Read, Write};

use crate::base::clock;
use crate::persist::rdb::error::{Error, ErrorKind};
use crate::persist::rdb::reader::{
    Checksum, Entry, ModuleEntry, Options, Reader, Sink, Summary, Verdict,
};
use crate::persist::rdb::types::ObjectType;

/// Runs the program on its arguments, the program's own name first; returns its exit code.
/// `version` is what `--version` prints after the name.
pub fn run(args: &[String], version: &str, out: &mut dyn Write, err: &mut dyn Write) -> i32 {
    let outcome = match args {
        [_, option] if option == "-v" || option == "--version" => {
            writeln!(out, "redis-check-rdb {version}").map(|()| true)
        }
        [_, path] => check_file(path, out),
        _ => {
            let name = args.first().map_or("redis-check-rdb", String::as_str);
            writeln!(err, "Usage: {name} <rdb-file-name>").map(|()| false)
        }
    };
    // An output that is closed is no sign of a sound file.
    i32::from(!outcome.unwrap_or(false))
}

/// Checks the file at `path`; whether it is sound.
pub fn check_file(path: &str, out: &mut dyn Write) -> io::Result<bool> {
    writeln!(out, "[offset 0] Checking RDB file {path}")?;
    match File::open(path) {
        Ok(file) => Ok(check_stream(file, out)?.0),
        Err(_) => Ok(false),
    }
}

/// Checks the RDB that `stream` begins with. Gives back whether it is sound, and what was read
/// beyond its end, as the preamble of an append-only file has something behind it.
pub fn check_stream<R: Read>(stream: R, out: &mut dyn Write) -> io::Result<(bool, (R, Vec<u8>))> {
    let options = Options {
        check_modules: true,
        ..Options::default()
    };
    let mut reader = Reader::new(stream, options);
    let mut report = Report {
        out,
        now_ms: clock::unix_ms(),
        failed: None,
        keys: 0,
        expires: 0,
        expired: 0,
    };
    let outcome = reader.load(&mut report);
    let sound = outcome.is_ok();
    match outcome {
        Ok(summary) => report.sound(&summary),
        Err(error) => report.unsound(&error, &reader),
    }
    if let Some(error) = report.failed {
        return Err(error);
    }
    Ok((sound, reader.into_rest()))
}

/// Counts entries and prints what is worth a line.
struct Report<'o> {
    out: &'o mut dyn Write,
    now_ms: i64,
    /// The first failure to print.
    failed: Option<io::Error>,
    keys: u64,
    expires: u64,
    expired: u64,
}

impl Report<'_> {
    fn line(&mut self, text: &[u8]) {
        let written = self
            .out
            .write_all(text)
            .and_then(|()| self.out.write_all(b"\n"));
        if let Err(error) = written {
            self.failed.get_or_insert(error);
        }
    }

    fn info(&mut self, offset: u64, text: &str) {
        self.line(format!("[offset {offset}] {text}").as_bytes());
    }

    fn count(&mut self, expire_ms: Option<i64>) {
        self.keys += 1;
        if let Some(expire_ms) = expire_ms {
            self.expires += 1;
            self.expired += u64::from(expire_ms < self.now_ms);
        }
    }

    fn totals(&mut self) {
        self.line(format!("[info] {} keys read", self.keys).as_bytes());
        self.line(format!("[info] {} expires", self.expires).as_bytes());
        self.line(format!("[info] {} already expired", self.expired).as_bytes());
        self.line(b"[info] 0 subexpires");
    }

    fn sound(&mut self, summary: &Summary) {
        match summary.checksum {
            Checksum::Verified => self.info(summary.length, "Checksum OK"),
            Checksum::WrittenWithout => self.info(
                summary.length,
                "RDB file was saved with checksum disabled: no check performed.",
            ),
            Checksum::NotChecked => {}
        }
        self.info(summary.length, "\\o/ RDB looks OK! \\o/");
        self.totals();
    }

    fn unsound<R: Read>(&mut self, error: &Error, reader: &Reader<R>) {
        let what = match &error.kind {
            ErrorKind::UnknownType(byte) => format!("Invalid object type: {byte}"),
            // The program takes a key without elements, and every failed read, for a cut file.
            ErrorKind::Eof | ErrorKind::Io(_) | ErrorKind::Sink(_) => ErrorKind::Eof.to_string(),
            ErrorKind::Signature | ErrorKind::Version(_) | ErrorKind::Checksum { .. } => {
                error.kind.to_string()
            }
            ErrorKind::Corrupt(_) | ErrorKind::Unsupported(_) => error.to_string(),
        };
        self.line(b"--- RDB ERROR DETECTED ---");
        self.info(error.offset, &what);
        let doing = reader.stage().name();
        self.line(format!("[additional info] While doing: {doing}").as_bytes());
        if let Some(key) = reader.key() {
            let line = [b"[additional info] Reading key '", key, b"'"].concat();
            self.line(&line);
            self.keys += 1;
        }
        // Before the first key the program names type 0, which its state begins as.
        let first = (self.keys == 0).then_some(ObjectType::String);
        if let Some(kind) = reader.kind().or(first) {
            let (byte, name) = (kind as u8, kind.name());
            self.line(format!("[additional info] Reading type {byte} ({name})").as_bytes());
        }
        self.totals();
    }
}

impl Sink for Report<'_> {
    fn aux(&mut self, name: &[u8], value: &[u8], offset: u64) -> Verdict {
        let head = format!("[offset {offset}] AUX FIELD ");
        let line = [head.as_bytes(), name, b" = '", value, b"'"].concat();
        self.line(&line);
        Ok(())
    }

    fn function(&mut self, _code: &[u8], _offset: u64) -> Verdict {
        Ok(())
    }

    fn select_db(&mut self, db: u64, offset: u64) -> Verdict {
        self.info(offset, &format!("Selecting DB ID {db}"));
        Ok(())
    }

    fn entry(&mut self, entry: Entry<'_>) -> Verdict {
        self.count(entry.expire_ms);
        Ok(())
    }

    fn empty_key(&mut self, _db: u64, _key: &[u8]) -> Verdict {
        Err("key without elements".to_owned())
    }

    fn module_aux(&mut self, name: &str, offset: u64) {
        self.info(offset, &format!("MODULE AUX for: {name}"));
    }

    fn module_entry(&mut self, entry: ModuleEntry<'_>) {
        self.count(entry.expire_ms);
    }
}

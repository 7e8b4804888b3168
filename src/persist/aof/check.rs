//! `redis-check-aof`: reads an AOF as the server would, tells where it stops being one, and can cut
//! it off there, or at a moment in time.
//!
//! Options, output and exit codes are those of Redis's program:
//!
//! ```text
//! redis-check-aof [--fix|--truncate-to-timestamp $timestamp] <file.manifest|file.aof>
//! ```
//!
//! Exit code 0: the file is sound, or was made so. A manifest stands for all files it names, of
//! which only the last may be cut. The count of lines goes on from file to file and leaves
//! annotations out, as in the original.

mod scan;

use self::scan::Scanner;
use super::folder::{manifest_error_lines, strerror};
use super::manifest::{FileInfo, Manifest};
use crate::persist::rdb::check::check_stream;
use std::ffi::{OsStr, OsString};
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, Read, Seek, SeekFrom, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Longest piece of a manifest's line that is looked at.
const MAX_LINE_BYTES: usize = 1024;

/// What the program talks to.
pub struct Console<'a> {
    /// Answers to questions.
    pub input: &'a mut dyn BufRead,
    /// What it prints.
    pub out: &'a mut dyn Write,
    /// Lays out a warning as the server's log does, line end included: the manifest's errors are
    /// log lines.
    pub log_line: &'a dyn Fn(&str) -> String,
    /// What `--version` prints behind the name.
    pub version: &'a str,
}

/// Ends the program.
enum Stop {
    /// With this exit code; the reason has been printed.
    Exit(i32),
    /// The output cannot be written.
    Output,
}

impl From<io::Error> for Stop {
    fn from(_: io::Error) -> Self {
        Stop::Output
    }
}

type Outcome<T> = Result<T, Stop>;

/// Runs the program on its arguments, the program's own name first; returns its exit code.
pub fn run(args: &[OsString], console: &mut Console<'_>) -> i32 {
    match main(args, console) {
        Ok(()) => 0,
        Err(Stop::Exit(code)) => code,
        // Nobody is left to tell.
        Err(Stop::Output) => 1,
    }
}

fn main(args: &[OsString], console: &mut Console<'_>) -> Outcome<()> {
    let bytes: Vec<&[u8]> = args.iter().map(|arg| arg.as_bytes()).collect();
    let (path, fix, until) = match *bytes.as_slice() {
        [_, b"-v" | b"--version"] => {
            writeln!(console.out, "redis-check-aof {}", console.version)?;
            return Ok(());
        }
        [_, path] => (path, false, None),
        [_, b"--fix", path] => (path, true, None),
        [_, b"--truncate-to-timestamp", timestamp, path] => {
            let Some(timestamp) = parse_timestamp(timestamp) else {
                writeln!(console.out, "Invalid timestamp, aborting...")?;
                return Err(Stop::Exit(1));
            };
            (
                path,
                false,
                Some(timestamp).filter(|timestamp| *timestamp != 0),
            )
        }
        _ => {
            let name = bytes.first().copied().unwrap_or(b"redis-check-aof");
            writeln!(
                console.out,
                "Usage: {} [--fix|--truncate-to-timestamp $timestamp] <file.manifest|file.aof>",
                String::from_utf8_lossy(name)
            )?;
            return Err(Stop::Exit(1));
        }
    };
    let path = Path::new(OsStr::from_bytes(path));
    let mut check = Check {
        console,
        fix,
        until,
        line: 1,
    };
    let head = check.head(path)?;
    if is_manifest(&head) {
        check.multi_part(path)
    } else {
        check.old_style(path)
    }
}

/// A whole text as a number, as the C library reads one: no text at all is 0.
fn parse_timestamp(text: &[u8]) -> Option<i64> {
    if text.is_empty() {
        return Some(0);
    }
    std::str::from_utf8(text).ok()?.trim_start().parse().ok()
}

/// Whether what is not a comment begins like a line of a manifest.
fn is_manifest(content: &[u8]) -> bool {
    let mut lines = content.split_inclusive(|byte| *byte == b'\n');
    lines
        .find(|line| line.first() != Some(&b'#'))
        .is_some_and(|line| line.starts_with(b"file"))
}

/// How the check of one file ended well.
enum Verdict {
    Valid,
    Empty,
    Truncated,
    TruncatedTo(i64),
}

struct Check<'a, 'c> {
    console: &'a mut Console<'c>,
    fix: bool,
    /// Unix time behind which everything is cut off.
    until: Option<i64>,
    /// The line of the file that is read, from one.
    line: u64,
}

/// One file to check.
struct Subject<'a> {
    /// As messages call it.
    name: String,
    path: &'a Path,
    is_last: bool,
    is_rdb: bool,
}

impl Check<'_, '_> {
    fn say(&mut self, text: &str) -> Outcome<()> {
        Ok(writeln!(self.console.out, "{text}")?)
    }

    /// Says `text` and ends the program with an error.
    fn fail<T>(&mut self, text: &str) -> Outcome<T> {
        self.say(text)?;
        Err(Stop::Exit(1))
    }

    /// The start of a file, comments and a line of a manifest at least.
    fn head(&mut self, path: &Path) -> Outcome<Vec<u8>> {
        let shown = path.display();
        let mut head = Vec::new();
        let read = File::open(path).and_then(|file| {
            let mut input = io::BufReader::new(file);
            loop {
                let start = head.len();
                let limit = MAX_LINE_BYTES as u64;
                (&mut input).take(limit).read_until(b'\n', &mut head)?;
                if head.get(start) != Some(&b'#') {
                    return Ok(());
                }
            }
        });
        match read {
            Ok(()) => Ok(head),
            Err(error) => self.fail(&format!("Cannot open file {shown}: {}", strerror(&error))),
        }
    }

    fn multi_part(&mut self, path: &Path) -> Outcome<()> {
        self.say("Start checking Multi Part AOF")?;
        let content = match std::fs::read(path) {
            Ok(content) => content,
            Err(error) => {
                let shown = path.display();
                return self.fail(&format!("Cannot read file: {shown}: {}", strerror(&error)));
            }
        };
        let manifest = match Manifest::parse(&content) {
            Ok(manifest) => manifest,
            Err(error) => {
                for line in manifest_error_lines(&error) {
                    let line = (self.console.log_line)(&line);
                    self.console.out.write_all(line.as_bytes())?;
                }
                return Err(Stop::Exit(1));
            }
        };
        let folder = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        let count = manifest.files().count();
        if let Some(base) = manifest.base() {
            let is_rdb = self.is_rdb(&folder.join(&base.name))?;
            let format = if is_rdb { "RDB" } else { "RESP" };
            self.say(&format!("Start to check BASE AOF ({format} format)."))?;
            self.part(folder, base, count == 1, is_rdb, "BASE AOF")?;
        }
        if let Some(last) = manifest.incr().len().checked_sub(1) {
            self.say("Start to check INCR files.")?;
            for (index, file) in manifest.incr().iter().enumerate() {
                self.part(folder, file, index == last, false, "INCR AOF")?;
            }
        }
        self.say("All AOF files and manifest are valid")
    }

    fn part(
        &mut self,
        folder: &Path,
        file: &FileInfo,
        is_last: bool,
        is_rdb: bool,
        kind: &str,
    ) -> Outcome<()> {
        let path = folder.join(&file.name);
        let name = file.name.display().to_string();
        let verdict = self.file(&Subject {
            name,
            path: &path,
            is_last,
            is_rdb,
        })?;
        self.verdict(kind, file.name.display(), &verdict)
    }

    fn old_style(&mut self, path: &Path) -> Outcome<()> {
        let is_rdb = self.is_rdb(path)?;
        self.say("Start checking Old-Style AOF")?;
        let name = path.display().to_string();
        let verdict = self.file(&Subject {
            name,
            path,
            is_last: true,
            is_rdb,
        })?;
        self.verdict("AOF", path.as_os_str().display(), &verdict)
    }

    fn verdict(
        &mut self,
        kind: &str,
        name: std::ffi::os_str::Display<'_>,
        verdict: &Verdict,
    ) -> Outcome<()> {
        match verdict {
            Verdict::Valid => self.say(&format!("{kind} {name} is valid")),
            Verdict::Empty => self.say(&format!("{kind} {name} is empty")),
            Verdict::Truncated => self.say(&format!("Successfully truncated AOF {name}")),
            Verdict::TruncatedTo(until) => self.say(&format!(
                "Successfully truncated AOF {name} to timestamp {until}"
            )),
        }
    }

    fn is_rdb(&mut self, path: &Path) -> Outcome<bool> {
        let mut head = Vec::new();
        let read = File::open(path).and_then(|file| file.take(8).read_to_end(&mut head));
        if let Err(error) = read {
            let shown = path.display();
            return self.fail(&format!("Cannot open file {shown}: {}", strerror(&error)));
        }
        Ok(head.len() == 8 && head.starts_with(b"REDIS"))
    }

    fn file(&mut self, subject: &Subject<'_>) -> Outcome<Verdict> {
        let name = &subject.name;
        let opened = OpenOptions::new().read(true).write(true).open(subject.path);
        let file = match opened {
            Ok(file) => file,
            Err(error) => {
                let shown = subject.path.display();
                let reason = strerror(&error);
                return self.fail(&format!("Cannot open file {shown}: {reason}, aborting..."));
            }
        };
        let Ok(size) = file.metadata().map(|data| data.len()) else {
            return self.fail(&format!("Cannot stat file: {name}, aborting..."));
        };
        if size == 0 {
            return Ok(Verdict::Empty);
        }
        let start = if subject.is_rdb {
            self.preamble(&file, subject)?
        } else {
            0
        };
        let mut scanner = match Scanner::new(&file, start, self.line) {
            Ok(scanner) => scanner,
            Err(error) => {
                let reason = strerror(&error);
                return self.fail(&format!("Failed to fseek in AOF {name}: {reason}"));
            }
        };
        let scanned = self.scan(&mut scanner, subject);
        self.line = scanner.line;
        let valid_up_to = match scanned? {
            Scanned::UpTo(offset) => offset,
            Scanned::Moment { at } => return self.cut_at_moment(&file, subject, at),
        };
        self.conclude(&file, subject, size, valid_up_to)
    }

    /// Checks the RDB file that an AOF begins with; returns its length.
    fn preamble(&mut self, file: &File, subject: &Subject<'_>) -> Outcome<u64> {
        let shown = subject.path.display();
        self.say(&format!("[offset 0] Checking RDB file {shown}"))?;
        let (sound, (mut file, beyond)) = check_stream(file, self.console.out)?;
        if !sound {
            return self.fail("RDB preamble of AOF file is not sane, aborting.");
        }
        self.say("RDB preamble is OK, proceeding with AOF tail...")?;
        Ok(file.stream_position()?.saturating_sub(beyond.len() as u64))
    }

    /// Reads records until something is wrong or the file ends.
    fn scan(&mut self, scanner: &mut Scanner<'_>, subject: &Subject<'_>) -> Outcome<Scanned> {
        let name = &subject.name;
        let shown = subject.path.display().to_string();
        let mut up_to = scanner.offset();
        loop {
            if !scanner.in_transaction {
                up_to = scanner.offset();
            }
            match scanner.peek() {
                Ok(None) => break,
                Ok(Some(b'#')) => {
                    if let Some(at) = self.annotation(scanner, &shown, subject.is_last)? {
                        return Ok(Scanned::Moment { at });
                    }
                }
                Ok(Some(b'*')) => {
                    if !scanner.command(&shown) {
                        break;
                    }
                }
                Ok(Some(_)) => {
                    self.say(&format!("AOF {name} format error"))?;
                    break;
                }
                Err(_) => {
                    return self.fail(&format!("Failed to read from AOF {name}, aborting..."));
                }
            }
        }
        if let Some(error) = scanner.error() {
            self.say(&error)?;
        }
        Ok(Scanned::UpTo(up_to))
    }

    /// Reads an annotation; the offset of one that lies behind the moment to cut at.
    fn annotation(
        &mut self,
        scanner: &mut Scanner<'_>,
        shown: &str,
        is_last: bool,
    ) -> Outcome<Option<u64>> {
        let at = scanner.offset();
        let Some(line) = scanner.annotation() else {
            return self.fail(&format!(
                "Failed to read annotations from AOF {shown}, aborting..."
            ));
        };
        let (Some(until), Some(text)) = (self.until, line.strip_prefix(b"#TS:")) else {
            return Ok(None);
        };
        let Some(timestamp) = text.strip_suffix(b"\r\n").and_then(parse_timestamp) else {
            return self.fail("Invalid timestamp annotation");
        };
        if timestamp <= until {
            return Ok(None);
        }
        if at == 0 {
            return self.fail(&format!(
                "AOF {shown} has nothing before timestamp {until}, aborting..."
            ));
        }
        if !is_last {
            self.say(&format!(
                "Failed to truncate AOF {shown} to timestamp {until} to offset {at} because it is \
                 not the last file."
            ))?;
            return self.fail(
                "If you insist, please delete all files after this file according to the manifest \
                 file and delete the corresponding records in manifest file manually. Then re-run \
                 redis-check-aof.",
            );
        }
        Ok(Some(at))
    }

    fn cut_at_moment(&mut self, file: &File, subject: &Subject<'_>, at: u64) -> Outcome<Verdict> {
        let until = self.until.unwrap_or_default();
        if file.set_len(at).is_err() {
            let shown = subject.path.display();
            return self.fail(&format!(
                "Failed to truncate AOF {shown} to timestamp {until}"
            ));
        }
        Ok(Verdict::TruncatedTo(until))
    }

    fn conclude(
        &mut self,
        file: &File,
        subject: &Subject<'_>,
        size: u64,
        up_to: u64,
    ) -> Outcome<Verdict> {
        let name = &subject.name;
        let diff = size.saturating_sub(up_to);
        if let Some(until) = self.until.filter(|_| diff == 0) {
            self.say(&format!(
                "Truncate nothing in AOF {name} to timestamp {until}"
            ))?;
            return Ok(Verdict::Valid);
        }
        let line = self.line;
        self.say(&format!(
            "AOF analyzed: filename={name}, size={size}, ok_up_to={up_to}, ok_up_to_line={line}, \
             diff={diff}"
        ))?;
        if diff == 0 {
            return Ok(Verdict::Valid);
        }
        if !self.fix {
            return self.fail(&format!(
                "AOF {name} is not valid. Use the --fix option to try fixing it."
            ));
        }
        if !subject.is_last {
            return self.fail(&format!(
                "Failed to truncate AOF {name} because it is not the last file"
            ));
        }
        self.say(&format!(
            "This will shrink the AOF {name} from {size} bytes, with {diff} bytes, to {up_to} bytes"
        ))?;
        write!(self.console.out, "Continue? [y/N]: ")?;
        self.console.out.flush()?;
        if !self.confirmed() {
            return self.fail("Aborting...");
        }
        if file.set_len(up_to).is_err() {
            return self.fail(&format!("Failed to truncate AOF {name}"));
        }
        Ok(Verdict::Truncated)
    }

    /// Whether the next character typed is a yes.
    fn confirmed(&mut self) -> bool {
        let mut answer = [0];
        self.console.input.read_exact(&mut answer).is_ok() && answer.eq_ignore_ascii_case(b"y")
    }
}

/// Where reading the records of a file ended.
enum Scanned {
    /// Well formed up to this offset.
    UpTo(u64),
    /// At an annotation that lies behind the moment to cut at.
    Moment { at: u64 },
}

/// Opens `file` for scanning from `offset`.
fn reader_at(mut file: &File, offset: u64) -> io::Result<io::BufReader<&File>> {
    file.seek(SeekFrom::Start(offset))?;
    Ok(io::BufReader::with_capacity(64 * 1024, file))
}

#[cfg(test)]
mod tests;

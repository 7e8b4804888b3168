//! Loading: configuration file, standard input and command line, as redis-server takes them.
//!
//! The three are one text: the file, then standard input, then the options of the command line,
//! each option a line. Later lines win, `save` alone adds up. Line numbers of errors count through
//! that text, which is why an option's error names a line beyond the file's last.
//!
//! `dir` takes effect at once for the relative paths that follow it (`include`, `logfile`), but
//! the process is not moved: that is the caller's part once loading has succeeded.

use super::directive::{Found, lookup};
use super::include::expand;
use super::live::{Config, RenamedCommands};
use super::{REDIS_VERSION, Settings, os_text};
use crate::base::args::{quote, split_args};
use sha2::{Digest, Sha256};
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// How deep `include` may nest.
const INCLUDE_DEPTH: usize = 64;

/// How many files may be included in all: files that include others twice over would otherwise
/// be read without end.
const INCLUDE_COUNT: usize = 10_000;

/// Directives of the past, with one argument, that are skipped without a word.
const RETIRED: [&[u8]; 4] = [
    b"list-max-ziplist-entries",
    b"list-max-ziplist-value",
    b"lua-replicate-commands",
    b"io-threads-do-reads",
];

/// What a default user who may do everything is granted, each right under all its names.
const FULL_RIGHTS: [&[&[u8]]; 4] = [
    &[b"on"],
    &[b"~*", b"allkeys"],
    &[b"&*", b"allchannels"],
    &[b"+@all", b"allcommands"],
];

/// Where the settings of a start come from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LoadSource {
    /// The configuration file, absolute.
    pub file: Option<PathBuf>,
    /// Whether standard input follows it.
    pub stdin: bool,
    /// The options of the command line as lines of a configuration file.
    pub options: Vec<u8>,
}

impl LoadSource {
    /// Reads the arguments after the program's name: `[file] [-] [--directive value ...] [-]`.
    ///
    /// An argument with two leading dashes begins a directive, except right after a directive's
    /// name, where it is the value: `--logfile --odd--name` sets the file. `--save` followed by
    /// another directive or by nothing is `--save ""`.
    pub fn from_args<I: IntoIterator<Item = OsString>>(args: I) -> LoadSource {
        let args: Vec<OsString> = args.into_iter().collect();
        let mut args: &[OsString] = &args;
        let mut source = LoadSource::default();
        if let [file, rest @ ..] = args
            && !file.as_bytes().starts_with(b"-")
        {
            let absolute = std::path::absolute(file);
            source.file = Some(absolute.unwrap_or_else(|_| PathBuf::from(file)));
            args = rest;
        }
        let mut is_first = source.file.is_none();
        let mut wants_value = false;
        while let [arg, rest @ ..] = args {
            let text = arg.as_bytes();
            if text == b"-" && (is_first || rest.is_empty()) {
                source.stdin = true;
            } else if let (false, Some(directive)) = (wants_value, text.strip_prefix(b"--")) {
                let is_bare = split_args(text).is_some_and(|parts| parts.len() == 1);
                wants_value = source.push_directive(directive, is_bare, rest.first());
            } else {
                source.options.extend_from_slice(quote(text).as_bytes());
                source.options.push(b' ');
                wants_value = false;
            }
            is_first = false;
            args = rest;
        }
        source
    }

    /// Begins the line of a directive; `is_bare` if its argument holds the name alone. Returns
    /// whether the next argument is a value whatever it looks like.
    fn push_directive(&mut self, directive: &[u8], is_bare: bool, next: Option<&OsString>) -> bool {
        if !self.options.is_empty() {
            self.options.push(b'\n');
        }
        self.options.extend_from_slice(directive);
        self.options.push(b' ');
        let is_save = directive.eq_ignore_ascii_case(b"save");
        let ends_here = next.is_none_or(|next| next.as_bytes().starts_with(b"--"));
        if is_save && ends_here {
            self.options.extend_from_slice(b"\"\"");
        }
        is_bare && !(is_save && ends_here)
    }
}

/// Why the configuration could not be loaded. The server does not start then.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LoadError {
    /// A file cannot be read. Redis logs this text; it does not print it as a fatal error.
    #[error("Fatal error, can't open config file '{}': {reason}", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// What the operating system says.
        reason: String,
    },
    /// A line is wrong, or the settings as a whole are. The text is the block that Redis prints
    /// on standard error.
    #[error("{0}")]
    Fatal(Fatal),
}

/// The fatal error of a configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fatal {
    /// The line at fault with its number from 1; `None` if no single line is.
    pub line: Option<(usize, Vec<u8>)>,
    /// The included file it stands in; `None` for the main text.
    pub included: Option<PathBuf>,
    /// What is wrong.
    pub message: String,
}

impl fmt::Display for Fatal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "\n*** FATAL CONFIG FILE ERROR (Redis {REDIS_VERSION}) ***"
        )?;
        if let Some(path) = &self.included {
            writeln!(f, "In the included file '{}'", path.display())?;
        }
        if let Some((number, line)) = &self.line {
            writeln!(f, "Reading the configuration file, at line {number}")?;
            writeln!(f, ">>> '{}'", String::from_utf8_lossy(line))?;
        }
        write!(f, "{}", self.message)
    }
}

/// Checks a `rename-command` against the command table: the command and its new name. The error
/// is the text for the fatal block ("No such command in rename-command").
pub type RenameCheck<'a> = dyn FnMut(&[u8], &[u8]) -> Result<(), String> + 'a;

impl Config {
    /// Loads the configuration of a start.
    ///
    /// # Errors
    /// [`LoadError`]: log the text of `Open`, print that of `Fatal` on standard error, and end
    /// with exit code 1.
    pub fn load(
        source: &LoadSource,
        check_rename: &mut RenameCheck<'_>,
    ) -> Result<Config, LoadError> {
        let mut text = match &source.file {
            Some(path) => read_file(path)?,
            None => Vec::new(),
        };
        if source.stdin {
            if !text.is_empty() && !text.ends_with(b"\n") {
                text.push(b'\n');
            }
            let read = std::io::stdin().lock().read_to_end(&mut text);
            read.map_err(|error| LoadError::Open {
                path: PathBuf::from("-"),
                reason: os_text(&error),
            })?;
        }
        text.push(b'\n');
        text.extend_from_slice(&source.options);
        let mut loader = Loader::new(check_rename);
        loader.opened.extend(
            source
                .file
                .iter()
                .filter_map(|path| path.canonicalize().ok()),
        );
        loader.text(&text, None)?;
        let renamed = loader.finish()?;
        Ok(Config::new(loader.settings, source.file.clone(), renamed))
    }
}

fn read_file(path: &Path) -> Result<Vec<u8>, LoadError> {
    std::fs::read(path).map_err(|error| LoadError::Open {
        path: path.to_path_buf(),
        reason: os_text(&error),
    })
}

/// A line and the file it was included from, for an error found later.
#[derive(Debug, Clone)]
struct Place {
    number: usize,
    line: Vec<u8>,
    included: Option<PathBuf>,
}

impl Place {
    fn fails(&self, message: impl Into<String>) -> LoadError {
        LoadError::Fatal(Fatal {
            line: Some((self.number, self.line.clone())),
            included: self.included.clone(),
            message: message.into(),
        })
    }
}

struct Loader<'a, 'b> {
    settings: Settings,
    check_rename: &'a mut RenameCheck<'b>,
    renamed: RenamedCommands,
    /// A `save` line has been seen: the next ones add to it.
    save_seen: bool,
    /// The files being read, the innermost last, to notice a loop.
    opened: Vec<PathBuf>,
    /// How many files have been included.
    included: usize,
    /// The passwords that a `user default` line gives, `None` for `nopass`, to be checked against
    /// `requirepass` at the end.
    default_user: Option<(Place, Option<Vec<Vec<u8>>>)>,
}

impl<'a, 'b> Loader<'a, 'b> {
    fn new(check_rename: &'a mut RenameCheck<'b>) -> Loader<'a, 'b> {
        let mut settings = Settings::default();
        if let Ok(dir) = std::env::current_dir() {
            settings.process.dir = dir;
        }
        Loader {
            settings,
            check_rename,
            renamed: Vec::new(),
            save_seen: false,
            opened: Vec::new(),
            included: 0,
            default_user: None,
        }
    }

    fn text(&mut self, text: &[u8], included: Option<&Path>) -> Result<(), LoadError> {
        for (index, line) in text.split(|byte| *byte == b'\n').enumerate() {
            let line = trim(line);
            if line.is_empty() || line.starts_with(b"#") {
                continue;
            }
            let place = Place {
                number: index + 1,
                line: line.to_vec(),
                included: included.map(Path::to_path_buf),
            };
            let Some(args) = split_args(line) else {
                return Err(place.fails("Unbalanced quotes in configuration line"));
            };
            let args: Vec<&[u8]> = args.iter().map(Vec::as_slice).collect();
            let [name, args @ ..] = args.as_slice() else {
                continue;
            };
            match lookup(name) {
                Some(found) => {
                    self.directive(found, args)
                        .map_err(|message| place.fails(message))?;
                }
                None => self.other(&name.to_ascii_lowercase(), args, &place)?,
            }
        }
        Ok(())
    }

    /// A line of the directive table.
    fn directive(&mut self, found: Found, args: &[&[u8]]) -> Result<(), String> {
        let directive = found.directive;
        let append = directive.name == "save" && self.save_seen;
        self.save_seen |= directive.name == "save";
        if !directive.takes_many() {
            return match args {
                [_] => directive.set(&mut self.settings, args, append),
                _ => Err("wrong number of arguments".to_owned()),
            };
        }
        // One argument may hold them all: `--save "900 1 300 10"`.
        match args {
            [one] if !one.is_empty() => {
                let parts = split_args(one).ok_or("Unbalanced quotes in configuration line")?;
                let parts: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
                directive.set(&mut self.settings, &parts, append)
            }
            _ => directive.set(&mut self.settings, args, append),
        }
    }

    /// A line that is not in the table: `include`, `rename-command`, `user`, and what is refused.
    fn other(&mut self, name: &[u8], args: &[&[u8]], place: &Place) -> Result<(), LoadError> {
        match (name, args) {
            (name, [_]) if RETIRED.contains(&name) => Ok(()),
            (b"include", [pattern]) => self.include(pattern, place),
            (b"rename-command", [command, new]) => {
                (self.check_rename)(command, new).map_err(|message| place.fails(message))?;
                self.renamed.push((command.to_vec(), new.to_vec()));
                Ok(())
            }
            (b"user", [user, rules @ ..]) => self.user(user, rules, place),
            (b"loadmodule", [_, ..]) => {
                Err(place.fails("modules are not available in Russet: they need Redis itself"))
            }
            (b"sentinel", _) => {
                Err(place.fails("Sentinel mode is not available in this version of Russet"))
            }
            (name, [_, ..]) if name.contains(&b'.') => {
                Err(place.fails("this is the directive of a module, and modules are not available"))
            }
            _ => Err(place.fails("Bad directive or wrong number of arguments")),
        }
    }

    fn include(&mut self, pattern: &[u8], place: &Place) -> Result<(), LoadError> {
        for path in expand(&self.settings.process.dir, pattern) {
            let text = read_file(&path).map_err(|error| match error {
                // Redis names the file as the directive does.
                LoadError::Open { reason, .. } if !path.exists() => LoadError::Open {
                    path: PathBuf::from(OsStr::from_bytes(pattern)),
                    reason,
                },
                other => other,
            })?;
            let identity = path.canonicalize().unwrap_or_else(|_| path.clone());
            if self.opened.contains(&identity) {
                let message = format!("'{}' includes itself", path.display());
                return Err(place.fails(message));
            }
            self.included += 1;
            if self.opened.len() >= INCLUDE_DEPTH || self.included > INCLUDE_COUNT {
                return Err(place.fails("too many files are included"));
            }
            self.opened.push(identity);
            self.text(&text, Some(&path))?;
            self.opened.pop();
        }
        Ok(())
    }

    /// A `user` line. Redis's CONFIG REWRITE always writes one for the default user; in its plain
    /// form it says no more than `requirepass` does, and is taken. Anything else needs ACLs, and
    /// so does a line that leaves out a permission, since the rules begin with none.
    fn user(&mut self, user: &[u8], rules: &[&[u8]], place: &Place) -> Result<(), LoadError> {
        let refusal = "users and rules are not available in this version of Russet";
        let mut passwords = Vec::new();
        let mut has_password = true;
        for rule in rules {
            match *rule {
                b"nopass" => has_password = false,
                [b'#', hash @ ..] => passwords.push(hash.to_ascii_lowercase()),
                [b'>', password @ ..] => passwords.push(hex_sha256(password)),
                rule if FULL_RIGHTS.iter().any(|right| right.contains(&rule)) => {}
                b"sanitize-payload" => {}
                _ => return Err(place.fails(refusal)),
            }
        }
        let granted = |right: &&[&[u8]]| right.iter().any(|rule| rules.contains(rule));
        if user != b"default" || !FULL_RIGHTS.iter().all(granted) {
            return Err(place.fails(refusal));
        }
        self.default_user = Some((place.clone(), has_password.then_some(passwords)));
        Ok(())
    }

    /// The checks of the settings as a whole. Returns the renamed commands.
    fn finish(&mut self) -> Result<RenamedCommands, LoadError> {
        if let Some((place, passwords)) = &self.default_user {
            let requirepass = &self.settings.acl.requirepass;
            let expected =
                (!requirepass.is_empty()).then(|| vec![hex_sha256(requirepass.as_bytes())]);
            if *passwords != expected {
                let text = "the password of the default user differs from requirepass; other \
                            users and passwords are not available in this version of Russet";
                return Err(place.fails(text));
            }
        }
        let logfile = &self.settings.process.logfile;
        if !logfile.as_os_str().is_empty() {
            let path = self.settings.process.dir.join(logfile);
            let opened = std::fs::OpenOptions::new()
                .append(true)
                .create(true)
                .open(path);
            opened.map_err(|error| {
                let message = format!("Can't open the log file: {}", os_text(&error));
                LoadError::Fatal(Fatal {
                    line: None,
                    included: None,
                    message,
                })
            })?;
        }
        Ok(std::mem::take(&mut self.renamed))
    }
}

/// The SHA-256 of a password in hexadecimal digits, as ACL rules write it.
pub(super) fn hex_sha256(password: &[u8]) -> Vec<u8> {
    let digest = Sha256::digest(password);
    digest
        .iter()
        .flat_map(|byte| format!("{byte:02x}").into_bytes())
        .collect()
}

/// `line` without blanks at its ends.
pub(super) fn trim(line: &[u8]) -> &[u8] {
    let is_blank = |byte: &u8| matches!(byte, b' ' | b'\t' | b'\r' | b'\n');
    let start = line
        .iter()
        .position(|byte| !is_blank(byte))
        .unwrap_or(line.len());
    let end = line
        .iter()
        .rposition(|byte| !is_blank(byte))
        .map_or(start, |last| last + 1);
    line.get(start..end).unwrap_or_default()
}

#[cfg(test)]
#[path = "load_tests.rs"]
mod tests;

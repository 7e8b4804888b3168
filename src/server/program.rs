//! Which program the binary is asked to be, by its name or its first argument, and what it does
//! with its arguments before anything runs.

use std::ffi::OsString;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::ExitCode;

use crate::config::{LoadSource, REDIS_VERSION};
use crate::persist::aof::check::Console;

use super::{boot, logging};

/// The programs in the binary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Program {
    Server,
    CheckRdb,
    CheckAof,
}

/// The program that a name asks for.
fn by_name(name: &[u8]) -> Option<Program> {
    let base = name.rsplit(|b| *b == b'/').next().unwrap_or(name);
    if base.ends_with(b"check-rdb") {
        return Some(Program::CheckRdb);
    }
    if base.ends_with(b"check-aof") {
        return Some(Program::CheckAof);
    }
    None
}

/// Runs the program that the arguments ask for.
pub fn main(args: Vec<OsString>) -> ExitCode {
    let mut args = args.into_iter();
    let executable = args.next().unwrap_or_default();
    let rest: Vec<OsString> = args.collect();
    let program = by_name(executable.as_bytes());
    let named = rest.first().and_then(|a| match a.as_bytes() {
        b"check-rdb" => Some(Program::CheckRdb),
        b"check-aof" => Some(Program::CheckAof),
        _ => None,
    });
    match (program, named) {
        (Some(p), _) => run(p, &executable, rest),
        (None, Some(p)) => run(p, &executable, rest.into_iter().skip(1).collect()),
        (None, None) => run(Program::Server, &executable, rest),
    }
}

fn run(program: Program, executable: &OsString, args: Vec<OsString>) -> ExitCode {
    match program {
        Program::Server => server(executable, args),
        Program::CheckRdb => {
            let mut words = vec![executable.to_string_lossy().into_owned()];
            words.extend(args.iter().map(|a| a.to_string_lossy().into_owned()));
            let (mut out, mut err) = (std::io::stdout(), std::io::stderr());
            let code = crate::persist::rdb::check::run(&words, REDIS_VERSION, &mut out, &mut err);
            ExitCode::from(u8::try_from(code).unwrap_or(1))
        }
        Program::CheckAof => {
            let mut words = vec![executable.clone()];
            words.extend(args);
            let mut console = Console {
                input: &mut std::io::stdin().lock(),
                out: &mut std::io::stdout(),
                log_line: &logging::line_of_warning,
                version: REDIS_VERSION,
            };
            let code = crate::persist::aof::check::run(&words, &mut console);
            ExitCode::from(u8::try_from(code).unwrap_or(1))
        }
    }
}

fn server(executable: &OsString, args: Vec<OsString>) -> ExitCode {
    let mut out = std::io::stdout();
    if let [only] = args.as_slice() {
        match only.as_bytes() {
            b"-v" | b"--version" => {
                let _ = writeln!(out, "{}", version_line());
                return ExitCode::SUCCESS;
            }
            b"-h" | b"--help" => {
                let _ = out.write_all(usage(executable).as_bytes());
                return ExitCode::SUCCESS;
            }
            _ => {}
        }
    }
    if args
        .first()
        .is_some_and(|a| a.as_bytes() == b"--test-memory")
    {
        let _ = std::io::stderr()
            .write_all(b"The memory test is not part of this server; use memtest86 instead.\n");
        return ExitCode::FAILURE;
    }
    super::title::make_room();
    boot::run(&absolute(executable), LoadSource::from_args(args))
}

/// The path the server was started by, as INFO shows it.
fn absolute(executable: &OsString) -> String {
    if !executable.as_bytes().contains(&b'/') {
        let found = std::env::current_exe().ok();
        let dir = found.as_deref().and_then(Path::parent);
        let path = dir.map_or_else(|| executable.into(), |d| d.join(executable));
        return path.display().to_string();
    }
    let path = std::path::absolute(executable).unwrap_or_else(|_| executable.into());
    path.display().to_string()
}

fn version_line() -> String {
    format!(
        "Redis server v={REDIS_VERSION} sha=00000000:0 malloc=jemalloc bits=64 \
         build=russet-{}",
        super::VERSION
    )
}

fn usage(executable: &OsString) -> String {
    let name = Path::new(executable)
        .file_name()
        .map_or_else(|| "russet".to_owned(), |n| n.to_string_lossy().into_owned());
    format!(
        "Usage: {name} [/path/to/redis.conf] [options] [-]\n\
         \x20      {name} - (read config from stdin)\n\
         \x20      {name} -v or --version\n\
         \x20      {name} -h or --help\n\
         \x20      {name} check-rdb <file>\n\
         \x20      {name} check-aof [options] <file>\n\
         \n\
         Examples:\n\
         \x20      {name} (run the server with default conf)\n\
         \x20      echo 'maxmemory 128mb' | {name} -\n\
         \x20      {name} /etc/redis/6379.conf\n\
         \x20      {name} --port 7777\n\
         \x20      {name} --port 7777 --replicaof 127.0.0.1 8888\n\
         \x20      {name} /etc/myredis.conf --loglevel verbose -\n\
         \x20      {name} /etc/myredis.conf --loglevel verbose\n"
    )
}

//! The command line that ps shows: `proc-title-template`.
//!
//! What ps reads is the memory in which the kernel left the arguments, followed by the environment.
//! The title takes the place of both, as in Redis, so that it may be longer than the arguments:
//!
//! ```text
//!   arg_start            arg_end = env_start                env_end
//!      | ./russet \0 conf \0 | PATH=... \0 HOME=... \0 ... \0 |
//!      | ./russet 127.0.0.1:6379 ... \0 \0 \0 \0 \0 \0 ... \0 |
//! ```
//!
//! The kernel takes a byte other than zero at the end of the arguments as the sign that the title
//! goes on behind them. The memory is written through `/proc/self/mem`, which refuses what is not
//! ours to write; where that fails, or there is no /proc, the command line stays as it was given.
//! The environment is moved out of the way first ([`make_room`]), so nobody misses it.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::config::Settings;

/// Moves the environment to memory of its own. To be called before there is a second thread.
pub fn make_room() {
    for (name, value) in std::env::vars_os().collect::<Vec<_>>() {
        // Not every entry is a variable; what is none stays where it is.
        if name.is_empty() || name.as_bytes().contains(&b'=') {
            continue;
        }
        #[expect(
            unsafe_code,
            reason = "the environment changes its place, and its contents stay as they were"
        )]
        // SAFETY: there is one thread, so nobody reads the environment meanwhile.
        unsafe {
            std::env::set_var(name, value);
        }
    }
}

/// Where the title goes and what it is made of.
pub struct Title {
    /// The first argument.
    program: OsString,
    config_file: Option<PathBuf>,
    /// The addresses of the memory; none if it is not known.
    start: u64,
    bytes: usize,
}

impl Title {
    /// To be made before the first [`Title::set`], which overwrites what this reads.
    pub fn new(config_file: Option<&Path>) -> Title {
        let stat = fs::read("/proc/self/stat").unwrap_or_default();
        let (start, bytes) = area(&stat).unwrap_or_default();
        Title {
            program: std::env::args_os().next().unwrap_or_default(),
            config_file: config_file.map(Path::to_owned),
            start,
            bytes,
        }
    }

    /// Shows the title that the settings want.
    pub fn set(&self, settings: &Settings) {
        if !settings.process.set_proc_title || self.bytes == 0 {
            return;
        }
        let mut text = self.text(settings);
        // Room for the zero behind it.
        text.resize(self.bytes, 0);
        if let Some(last) = text.last_mut() {
            *last = 0;
        }
        if let Err(e) = self.write(&text) {
            tracing::debug!("The process title stays as it is: {e}");
        }
    }

    fn write(&self, text: &[u8]) -> io::Result<()> {
        let memory = File::options().write(true).open("/proc/self/mem")?;
        memory.write_all_at(text, self.start)
    }

    /// The template with its variables in place. What is not a variable has been refused before.
    fn text(&self, settings: &Settings) -> Vec<u8> {
        let mut out = Vec::new();
        let mut rest = settings.process.proc_title_template.as_str();
        while let Some((before, after)) = rest.split_once('{') {
            out.extend_from_slice(before.as_bytes());
            if let Some(literal) = after.strip_prefix('{') {
                out.push(b'{');
                rest = literal;
                continue;
            }
            let (variable, behind) = after.split_once('}').unwrap_or((after, ""));
            out.extend(self.variable(variable, settings));
            rest = behind;
        }
        out.extend_from_slice(rest.as_bytes());
        // An empty variable at the end leaves its blank.
        out.truncate(out.trim_ascii_end().len());
        out
    }

    fn variable(&self, name: &str, settings: &Settings) -> Vec<u8> {
        let (network, tls_port) = (&settings.network, settings.tls.port);
        let path = |p: Option<&PathBuf>| p.map(|p| p.clone().into_os_string().into_vec());
        match name {
            "title" => self.program.as_bytes().to_vec(),
            "listen-addr" if network.port == 0 && tls_port == 0 => {
                let socket = path(network.unixsocket.as_ref()).unwrap_or_default();
                [b"unixsocket:".as_slice(), &socket].concat()
            }
            "listen-addr" => {
                let address = network.bind.first().map_or("*", String::as_str);
                let port = [network.port, tls_port].into_iter().find(|p| *p > 0);
                format!("{address}:{}", port.unwrap_or(0)).into_bytes()
            }
            "port" => network.port.to_string().into_bytes(),
            "tls-port" => tls_port.to_string().into_bytes(),
            "unixsocket" => path(network.unixsocket.as_ref()).unwrap_or_default(),
            "config-file" => path(self.config_file.as_ref()).unwrap_or_else(|| b"-".to_vec()),
            // The mode of a server that is alone has no name.
            _ => Vec::new(),
        }
    }
}

/// The start and the size of the memory, from /proc/self/stat: its fields 48 to 51.
fn area(stat: &[u8]) -> Option<(u64, usize)> {
    // The name of the program, in brackets, may hold anything.
    let behind = stat.iter().rposition(|b| *b == b')')?;
    let text = std::str::from_utf8(stat.get(behind + 1..)?).ok()?;
    // The first field behind the name is the third.
    let mut fields = text.split_ascii_whitespace().skip(48 - 3);
    let mut next = || fields.next()?.parse::<u64>().ok();
    let (arg_start, arg_end, env_start, env_end) = (next()?, next()?, next()?, next()?);
    let end = if arg_end == env_start && env_end > env_start {
        env_end
    } else {
        arg_end
    };
    let bytes = usize::try_from(end.checked_sub(arg_start)?).ok()?;
    (arg_start > 0).then_some((arg_start, bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, LoadSource};

    fn title(options: &[&str]) -> String {
        let source = LoadSource::from_args(options.iter().map(OsString::from));
        let config = Config::load(&source, &mut |_, _| Ok(())).unwrap();
        let title = Title {
            program: "bin/redis-server".into(),
            config_file: None,
            start: 0,
            bytes: 0,
        };
        String::from_utf8(title.text(&config.settings())).unwrap()
    }

    #[test]
    fn a_title_names_the_program_and_where_it_listens() {
        assert_eq!(title(&[]), "bin/redis-server *:6379");
        let bound = ["--bind", "127.0.0.1", "--port", "7001"];
        assert_eq!(title(&bound), "bin/redis-server 127.0.0.1:7001");
        let local = ["--port", "0", "--unixsocket", "/run/s"];
        assert_eq!(title(&local), "bin/redis-server unixsocket:/run/s");
    }

    #[test]
    fn a_template_may_hold_every_variable_and_brackets() {
        let template = "{{{port}} {tls-port} [{unixsocket}] {config-file} {title}";
        assert_eq!(
            title(&["--proc-title-template", template]),
            "{6379} 0 [] - bin/redis-server"
        );
    }

    #[test]
    fn the_memory_is_found_behind_a_name_with_brackets() {
        let mut stat = b"1 (a) b) c) S".to_vec();
        (4..48).for_each(|_| stat.extend_from_slice(b" 7"));
        let contiguous = [stat.as_slice(), b" 1000 1020 1020 1100 0\n"].concat();
        assert_eq!(area(&contiguous), Some((1000, 100)));
        let apart = [stat.as_slice(), b" 1000 1020 1024 1100 0\n"].concat();
        assert_eq!(area(&apart), Some((1000, 20)));
        assert_eq!(area(b"1 (x) S"), None);
        assert_eq!(area(b""), None);
    }
}

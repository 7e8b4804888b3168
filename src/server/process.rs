//! The process as the system sees it: background, pid file, service manager, open files, pages.
//!
//! Going to the background forks, so it comes before the first thread; everything else may come
//! later. Nothing here ends the process: what cannot be had is logged, or returned to the caller.

use std::fs;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::{Path, PathBuf};

use rustix::process::{Resource, Rlimit, Signal, getpid, getrlimit, kill_process, setrlimit};

use crate::config::{Settings, Supervised};

/// Open files kept for ourselves besides the clients' sockets.
const RESERVED_FILES: u64 = 32;
/// Where the process id goes when `daemonize` is asked for and no file is named.
const DEFAULT_PID_FILE: &str = "/var/run/redis.pid";

/// Why the server cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    /// The limit of open files leaves no room for a single client.
    #[error(
        "Your current 'ulimit -n' of {limit} is not enough for the server to start. Please \
         increase your open file limit to at least {needed}. Exiting."
    )]
    TooFewFiles {
        /// The limit.
        limit: u64,
        /// Files wanted for `maxclients`.
        needed: u64,
    },
}

/// The service manager that waits for word of us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Supervisor {
    /// It is told by messages to a socket.
    Systemd,
    /// It has been told, by our stopping ourselves.
    Upstart,
}

/// Finds the service manager that the settings and the environment name, and greets it.
pub fn supervisor(configured: Supervised) -> Option<Supervisor> {
    let has = |name| std::env::var_os(name).is_some();
    let mode = match configured {
        Supervised::Auto if has("UPSTART_JOB") => {
            tracing::debug!("Upstart supervision detected.");
            Supervised::Upstart
        }
        Supervised::Auto if has("NOTIFY_SOCKET") => {
            tracing::debug!("Systemd supervision detected.");
            Supervised::Systemd
        }
        other => other,
    };
    match mode {
        Supervised::Systemd if has("NOTIFY_SOCKET") => {
            tracing::info!(
                "WARNING supervised by systemd - you MUST set appropriate values for \
                 TimeoutStartSec and TimeoutStopSec in your service unit."
            );
            tell_systemd("STATUS=Redis is loading...\n");
            Some(Supervisor::Systemd)
        }
        Supervised::Systemd => {
            tracing::warn!("systemd supervision requested, but NOTIFY_SOCKET not found!");
            None
        }
        Supervised::Upstart if has("UPSTART_JOB") => {
            tracing::info!("supervised by upstart, will stop to signal readiness.");
            let _ = kill_process(getpid(), Signal::STOP);
            Some(Supervisor::Upstart)
        }
        Supervised::Upstart => {
            tracing::warn!("upstart supervision requested, but UPSTART_JOB not found!");
            None
        }
        Supervised::Auto | Supervised::No => None,
    }
}

impl Supervisor {
    /// Says that the server serves.
    pub fn ready(self, replica: bool) {
        if self == Supervisor::Systemd {
            tell_systemd(if replica {
                "STATUS=Ready to accept connections in read-only mode. Waiting for MASTER <-> \
                 REPLICA sync\n"
            } else {
                "STATUS=Ready to accept connections\n"
            });
            tell_systemd("READY=1\n");
        }
    }

    /// Says that the server is about to end.
    pub fn stopping(self) {
        if self == Supervisor::Systemd {
            tell_systemd("STOPPING=1\n");
        }
    }
}

/// One message to systemd's socket.
fn tell_systemd(message: &str) {
    let told = || -> io::Result<()> {
        let Some(name) = std::env::var_os("NOTIFY_SOCKET") else {
            return Ok(());
        };
        let address = match name.as_encoded_bytes().split_first() {
            // An `@` stands for the zero byte that begins an abstract name.
            Some((b'@', rest)) => SocketAddr::from_abstract_name(rest)?,
            _ => SocketAddr::from_pathname(&name)?,
        };
        let socket = UnixDatagram::unbound()?;
        socket.send_to_addr(message.as_bytes(), &address).map(drop)
    };
    if let Err(e) = told() {
        tracing::warn!("Can't send to systemd socket: {e}");
    }
}

/// Goes to the background: the caller's process ends, and a child of it without a terminal, with
/// its standard streams closed, goes on. No thread may have been started yet.
///
/// # Errors
/// What the system says; the process is still the caller's then.
pub fn daemonize() -> io::Result<()> {
    #[expect(
        unsafe_code,
        reason = "no safe interface forks; there is one thread, so the child may do anything"
    )]
    // SAFETY: the process has one thread, hence no lock that another one holds in the child.
    let child = unsafe { libc::fork() };
    match child {
        -1 => return Err(io::Error::last_os_error()),
        0 => {}
        _ => std::process::exit(0),
    }
    rustix::process::setsid()?;
    let null = fs::File::options()
        .read(true)
        .write(true)
        .open("/dev/null")?;
    rustix::stdio::dup2_stdin(&null)?;
    rustix::stdio::dup2_stdout(&null)?;
    rustix::stdio::dup2_stderr(&null)?;
    Ok(())
}

/// The file that holds the process id; removed with this value.
#[derive(Debug)]
pub struct PidFile(PathBuf);

impl PidFile {
    /// Where the process id goes, if anywhere.
    pub fn path(settings: &Settings, in_background: bool) -> Option<PathBuf> {
        let named = settings.process.pidfile.clone();
        named.or_else(|| in_background.then(|| PathBuf::from(DEFAULT_PID_FILE)))
    }

    /// Writes the process id, as far as it can be written.
    pub fn write(path: &Path) -> PidFile {
        // `dir` may change before the file is removed.
        let path = std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf());
        if let Err(e) = fs::write(&path, format!("{}\n", std::process::id())) {
            tracing::warn!("Failed to write PID file: {}", os_text(&e));
        }
        PidFile(path)
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        tracing::info!("Removing the pid file.");
        let _ = fs::remove_file(&self.0);
    }
}

/// Raises the limit of open files to what so many clients need. How many clients it allows then,
/// at most `wanted`; none is an error.
///
/// # Errors
/// [`ProcessError::TooFewFiles`].
pub fn allow_clients(wanted: u32) -> Result<u32, ProcessError> {
    let needed = u64::from(wanted) + RESERVED_FILES;
    let before = getrlimit(Resource::Nofile);
    // No limit is a limit of everything.
    let (soft, hard) = (
        before.current.unwrap_or(u64::MAX),
        before.maximum.unwrap_or(u64::MAX),
    );
    if soft >= needed {
        return Ok(wanted);
    }
    let raise = |to: u64| {
        setrlimit(
            Resource::Nofile,
            Rlimit {
                current: Some(to),
                maximum: before.maximum.map(|_| hard.max(to)),
            },
        )
    };
    let Err(refusal) = raise(needed) else {
        tracing::info!(
            "Increased maximum number of open files to {needed} (it was originally set to {soft})."
        );
        return Ok(wanted);
    };
    let best = if hard > soft && hard < needed && raise(hard).is_ok() {
        hard
    } else {
        soft
    };
    if best <= RESERVED_FILES {
        return Err(ProcessError::TooFewFiles {
            limit: soft,
            needed,
        });
    }
    let possible = u32::try_from(best - RESERVED_FILES).unwrap_or(wanted);
    tracing::warn!(
        "You requested maxclients of {wanted} requiring at least {needed} max file descriptors."
    );
    tracing::warn!(
        "Server can't set maximum open files to {needed} because of OS error: {}.",
        os_text(&refusal.into())
    );
    tracing::warn!(
        "Current maximum open files is {best}. maxclients has been reduced to {possible} to \
         compensate for low ulimit. If you need higher maxclients increase 'ulimit -n'."
    );
    Ok(possible)
}

/// Keeps the kernel from backing our memory with huge pages where it would do so unasked: a page
/// that is written to is then copied whole.
pub fn avoid_huge_pages(settings: &Settings) {
    let path = "/sys/kernel/mm/transparent_hugepage/enabled";
    let always = fs::read_to_string(path).is_ok_and(|text| text.contains("[always]"));
    if !always {
        return;
    }
    let disabled = settings.process.disable_thp
        && rustix::thread::disable_transparent_huge_pages(true).is_ok();
    if !disabled {
        tracing::warn!(
            "WARNING You have Transparent Huge Pages (THP) support enabled in your kernel. This \
             will create latency and memory usage issues with Redis. To fix this issue run the \
             command 'echo madvise > {path}' as root, and add it to your /etc/rc.local in order \
             to retain the setting after a reboot. Redis must be restarted after THP is disabled \
             (set to 'madvise' or 'never')."
        );
    }
}

/// Warns if the kernel cuts `tcp-backlog` down.
pub fn check_backlog(settings: &Settings) {
    let path = "/proc/sys/net/core/somaxconn";
    let limit = fs::read_to_string(path)
        .ok()
        .and_then(|text| text.trim().parse::<u32>().ok());
    let wanted = settings.network.tcp_backlog;
    if let Some(limit) = limit.filter(|limit| *limit < wanted) {
        tracing::warn!(
            "WARNING: The TCP backlog setting of {wanted} cannot be enforced because {path} is \
             set to the lower value of {limit}."
        );
    }
}

/// What the C library calls an error, without the number that Rust adds.
pub fn os_text(error: &io::Error) -> String {
    let text = error.to_string();
    let end = text.find(" (os error").unwrap_or(text.len());
    text.get(..end).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pid_file_lives_as_long_as_the_server() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.pid");
        let file = PidFile::write(&path);
        let text = fs::read_to_string(&path).unwrap();
        assert_eq!(text, format!("{}\n", std::process::id()));
        drop(file);
        assert!(!path.exists());
    }

    #[test]
    fn a_daemon_without_a_pid_file_has_the_usual_one() {
        let mut settings = Settings::default();
        assert_eq!(PidFile::path(&settings, false), None);
        let usual = Some(PathBuf::from(DEFAULT_PID_FILE));
        assert_eq!(PidFile::path(&settings, true), usual);
        settings.process.pidfile = Some(PathBuf::from("a.pid"));
        assert_eq!(
            PidFile::path(&settings, false),
            Some(PathBuf::from("a.pid"))
        );
    }

    #[test]
    fn clients_within_the_limit_need_nothing() {
        assert_eq!(allow_clients(1).ok(), Some(1));
    }
}

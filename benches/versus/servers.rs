//! The servers: found, started alike, looked at through /proc, ended.

use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};
use tempfile::TempDir;

use crate::Outcome;
use crate::control::Control;
use crate::ending;

/// Russet's name in tables.
pub const RUSSET: &str = "russet";

/// A server that takes part.
pub struct Contender {
    /// Its name in tables.
    pub name: String,
    /// What it says of its version.
    pub version: String,
    program: PathBuf,
    directives: Vec<String>,
}

/// Russet and its peers.
pub fn contenders(
    russet: &Path,
    peers: &[String],
    peer_io_threads: Option<u32>,
) -> Outcome<Vec<Contender>> {
    let mut all = vec![contender(RUSSET, russet, Vec::new())?];
    for peer in peers.iter().filter(|p| *p != "none") {
        let mut directives = Vec::new();
        if let Some(n) = peer_io_threads {
            directives.extend(["--io-threads".to_owned(), n.to_string()]);
        }
        let name = Path::new(peer)
            .file_name()
            .map_or(peer.clone(), |n| n.to_string_lossy().into_owned());
        let name = name.trim_end_matches("-server").to_owned();
        all.push(contender(&name, Path::new(peer), directives).map_err(|e| {
            format!(
                "{peer} does not run ({e}). On Debian `apt install {}` brings it (valkey-server \
                 from bookworm-backports on Debian 12), and a service that it starts may be \
                 stopped; or leave it out with --peers.",
                peer
            )
        })?);
    }
    Ok(all)
}

fn contender(name: &str, program: &Path, directives: Vec<String>) -> Outcome<Contender> {
    // It will be started in a folder of its own, so a path must not depend on this one.
    let program = match program.components().count() {
        0 | 1 => program.to_owned(),
        _ => std::path::absolute(program)?,
    };
    let said = Command::new(&program).arg("--version").output()?;
    Ok(Contender {
        name: name.to_owned(),
        version: String::from_utf8_lossy(&said.stdout).trim().to_owned(),
        program,
        directives,
    })
}

/// A free port, the first from `base` on.
fn free_port(base: u16) -> Outcome<u16> {
    (base..u16::MAX)
        .find(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok())
        .ok_or_else(|| "no port is free".into())
}

impl Contender {
    /// Starts the server with these directives, on an empty data folder.
    pub fn start(&self, base_port: u16, directives: &[&str]) -> Outcome<Running> {
        let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
        self.start_in(base_port, directives, dir)
    }

    /// Starts the server on a data folder.
    pub fn start_in(&self, base_port: u16, directives: &[&str], dir: TempDir) -> Outcome<Running> {
        let port = free_port(base_port)?;
        let mut command = Command::new(&self.program);
        command
            .args(["--port", &port.to_string(), "--bind", "127.0.0.1"])
            .args(["--save", "", "--appendonly", "no", "--protected-mode", "no"])
            .args(["--logfile", "log", "--dir"])
            .arg(dir.path())
            .args(&self.directives)
            .args(directives)
            .current_dir(dir.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let running = Running {
            name: self.name.clone(),
            port,
            child: command.spawn()?,
            dir: Some(dir),
        };
        if let Some(dir) = &running.dir {
            ending::started(running.child.id(), dir.path());
        }
        running.wait_until_it_serves()?;
        Ok(running)
    }
}

/// Processor time of a server.
#[derive(Clone, Copy)]
pub struct CpuSeconds {
    /// User and system.
    pub all: f64,
    /// System alone: what the kernel took for the server's calls.
    pub kernel: f64,
}

/// A server that runs; it ends with this.
pub struct Running {
    /// Its name in tables.
    pub name: String,
    /// Where it listens.
    pub port: u16,
    child: Child,
    dir: Option<TempDir>,
}

impl Running {
    fn wait_until_it_serves(&self) -> Outcome<()> {
        let begun = Instant::now();
        loop {
            let pong = Control::connect(self.port).and_then(|mut c| c.ask("PING"));
            if pong.is_ok_and(|p| p == "PONG") {
                return Ok(());
            }
            if begun.elapsed() > Duration::from_secs(120) {
                return Err(format!("{} does not answer on port {}", self.name, self.port).into());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// A connection for what is not measured.
    pub fn control(&self) -> Outcome<Control> {
        Control::connect(self.port)
    }

    /// Processor seconds the server has used.
    pub fn cpu_seconds(&self) -> Outcome<CpuSeconds> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        // The name in brackets may hold blanks; what follows it begins with field 3.
        let (_, fields) = stat.rsplit_once(") ").ok_or("a strange /proc/pid/stat")?;
        let mut ticks = fields.split(' ').skip(11).map(str::parse::<u64>);
        let mut seconds = || -> Outcome<f64> {
            let ticks = ticks.next().ok_or("a short /proc/pid/stat")??;
            Ok(ticks as f64 / rustix::param::clock_ticks_per_second() as f64)
        };
        let (user, kernel) = (seconds()?, seconds()?);
        Ok(CpuSeconds {
            all: user + kernel,
            kernel,
        })
    }

    /// Resident bytes of the server.
    pub fn resident_bytes(&self) -> Outcome<f64> {
        let statm = std::fs::read_to_string(format!("/proc/{}/statm", self.child.id()))?;
        let pages = statm.split(' ').nth(1).ok_or("a strange /proc/pid/statm")?;
        Ok(pages.parse::<f64>()? * rustix::param::page_size() as f64)
    }

    /// Sends the server a signal.
    pub fn signal(&self, signal: Signal) -> Outcome<()> {
        let pid = Pid::from_child(&self.child);
        Ok(rustix::process::kill_process(pid, signal)?)
    }

    /// Ends the server as SHUTDOWN does, and gives its data folder.
    pub fn shut_down(mut self, how: &str) -> Outcome<TempDir> {
        // The connection closes instead of a reply.
        drop(self.control()?.ask(&format!("SHUTDOWN {how}")));
        ending::ended(self.child.id());
        self.child.wait()?;
        self.dir.take().ok_or_else(|| "no data folder".into())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        drop(self.child.kill());
        ending::ended(self.child.id());
        drop(self.child.wait());
    }
}

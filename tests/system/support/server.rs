//! Server processes: Russet's, or one of the real ones beside it.

use super::{Client, wait_until};
use std::fs::{self, File};
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tempfile::TempDir;

const START_LIMIT: Duration = Duration::from_secs(60);
const STOP_LIMIT: Duration = Duration::from_secs(30);

/// How a server is started; can be started several times over the same data.
#[derive(Clone)]
pub struct Setup {
    program: PathBuf,
    config: Option<PathBuf>,
    dir: Arc<TempDir>,
    port: u16,
    args: Vec<String>,
}

impl Setup {
    /// This crate's server. `RUSSET_TEST_SERVER` names another one to stand in its place, which
    /// tells a fault of a test from one of the server.
    pub fn russet() -> Self {
        let stand_in = std::env::var_os("RUSSET_TEST_SERVER").map(PathBuf::from);
        Self::of(stand_in.unwrap_or_else(|| env!("CARGO_BIN_EXE_russet").into()))
    }

    /// This crate's server, writing files and full syncs that Redis 7.0 reads.
    pub fn russet_for_redis_7_0() -> Self {
        let setup = Self::russet();
        if std::env::var_os("RUSSET_TEST_SERVER").is_some() {
            return setup;
        }
        setup.set("rdb-version", &["10"])
    }

    /// Debian's redis-server.
    pub fn redis() -> Self {
        Self::of("redis-server".into())
    }

    /// Debian's valkey-server, of bookworm-backports and later; `None` where it is not installed.
    pub fn valkey() -> Option<Self> {
        let installed = Command::new("valkey-server")
            .arg("--version")
            .output()
            .is_ok();
        installed.then(|| Self::of("valkey-server".into()))
    }

    /// Another server, by the path of its program.
    pub fn program(path: String) -> Self {
        Self::of(path.into())
    }

    fn of(program: PathBuf) -> Self {
        let dir = Arc::new(tempfile::tempdir().unwrap());
        Self {
            program,
            config: None,
            dir,
            port: free_port(),
            args: Vec::new(),
        }
    }

    /// Starts from a configuration file of the repository, as a user would.
    pub fn config(mut self, file: &str) -> Self {
        self.config = Some(Path::new(env!("CARGO_MANIFEST_DIR")).join(file));
        self
    }

    /// Adds a directive on the command line, one argument for each of its words.
    pub fn set(mut self, directive: &str, words: &[&str]) -> Self {
        self.args.push(format!("--{directive}"));
        self.args
            .extend(words.iter().map(|word| (*word).to_owned()));
        self
    }

    /// Uses the data folder of another server, to load what that one wrote.
    pub fn data_of(mut self, other: &Self) -> Self {
        self.dir = Arc::clone(&other.dir);
        self
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Everything the server has logged since its first start.
    pub fn log(&self) -> String {
        let bytes = fs::read(self.log_path()).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    fn log_path(&self) -> PathBuf {
        self.dir.path().join(format!("log-{}", self.port))
    }

    /// Starts the process without waiting for it to serve.
    pub fn spawn(&self) -> Server {
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.log_path())
            .unwrap();
        let mut command = Command::new(&self.program);
        command.current_dir(self.dir.path());
        if let Some(config) = &self.config {
            // The files of conf/ keep their data below the folder they are started from.
            fs::create_dir_all(self.dir.path().join("data/primary")).unwrap();
            fs::create_dir_all(self.dir.path().join("data/replica")).unwrap();
            command.arg(config);
        } else {
            command.args([
                "--save",
                "",
                "--appendonly",
                "no",
                "--enable-debug-command",
                "yes",
            ]);
        }
        command
            .args(["--port", &self.port.to_string(), "--bind", "127.0.0.1"])
            .args(&self.args)
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log);
        let child = command.spawn();
        let child = child.unwrap_or_else(|error| panic!("{}: {error}", self.program.display()));
        Server {
            setup: self.clone(),
            child,
        }
    }

    /// Starts the process and waits until it serves, its data loaded.
    pub fn start(&self) -> Server {
        let mut server = self.spawn();
        wait_until(&format!("port {} to serve", self.port), START_LIMIT, || {
            if let Some(status) = server.child.try_wait().unwrap() {
                panic!("the server ended at once ({status}):\n{}", self.log());
            }
            let pong = Client::connect(self.port).and_then(|mut client| client.try_call(&["PING"]));
            pong.is_ok_and(
                |reply| !matches!(reply, super::Reply::Error(text) if text.starts_with("LOADING")),
            )
        });
        server
    }
}

/// A running server process; ended when dropped.
pub struct Server {
    setup: Setup,
    child: Child,
}

impl Server {
    pub fn port(&self) -> u16 {
        self.setup.port
    }

    pub fn client(&self) -> Client {
        Client::connect(self.setup.port).unwrap()
    }

    /// Everything it has logged.
    pub fn log(&self) -> String {
        self.setup.log()
    }

    /// `kill -9`.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Starts a server that has ended over the same data.
    pub fn start_again(&mut self) {
        *self = self.setup.start();
    }

    /// Changes how the server is started the next time.
    pub fn set_for_restart(&mut self, directive: &str, words: &[&str]) {
        self.setup = self.setup.clone().set(directive, words);
    }

    /// SIGTERM, and the exit that follows.
    pub fn stop(&mut self) -> ExitStatus {
        let pid = self.child.id().to_string();
        assert!(
            Command::new("kill")
                .args(["-TERM", &pid])
                .status()
                .unwrap()
                .success()
        );
        self.wait_for_exit()
    }

    /// The exit of a server that ends by itself.
    pub fn wait_for_exit(&mut self) -> ExitStatus {
        let mut status = None;
        wait_until("the server to exit", STOP_LIMIT, || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        status.unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let log = self.setup.log();
            let from = log.len().saturating_sub(4000);
            let tail = log.get(from..).unwrap_or(&log);
            eprintln!("--- log of port {} ---\n{tail}", self.setup.port);
        }
    }
}

/// A port nobody listens on, below those that the system gives to outgoing connections: so none of
/// those takes it while its server is restarting.
pub fn free_port() -> u16 {
    const FIRST: u32 = 12_000;
    const COUNT: u32 = 20_000;
    static NEXT: AtomicU32 = AtomicU32::new(0);
    loop {
        let step = NEXT.fetch_add(1, Ordering::Relaxed);
        // Other test processes begin elsewhere.
        let at = std::process::id().wrapping_mul(127).wrapping_add(step) % COUNT;
        let port = u16::try_from(FIRST + at).unwrap();
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
}

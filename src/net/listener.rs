//! Listening sockets, and who may connect.
//!
//! One task on the server's main thread accepts for each listening socket and deals connections
//! out to the workers in turn. Refusals (`maxclients`, protected mode) are written here, with
//! Redis's words, before a worker hears of the connection.

use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use socket2::{Domain, Protocol, Socket, TcpKeepalive, Type};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::task::JoinHandle;

use crate::base::clock;
use crate::client::registry::NewClient;
use crate::command::dispatch::Engine;
use crate::config::Settings;

use super::transport::Transport;
use super::worker::Workers;

const DENIED: &[u8] = b"-DENIED Redis is running in protected mode because protected mode is \
enabled and no password is set for the default user. In this mode connections are only accepted \
from the loopback interface. If you want to connect from external computers to Redis you may \
adopt one of the following solutions: 1) Just disable protected mode sending the command 'CONFIG \
SET protected-mode no' from the loopback interface by connecting to Redis from the same host the \
server is running, however MAKE SURE Redis is not publicly accessible from internet if you do so. \
Use CONFIG REWRITE to make this change permanent. 2) Alternatively you can just disable the \
protected mode by editing the Redis configuration file, and setting the protected mode option to \
'no', and then restarting the server. 3) If you started the server manually just for testing, \
restart it with the '--protected-mode no' option. 4) Set up an authentication password for the \
default user. NOTE: You only need to do one of the above things in order for the server to start \
accepting connections from the outside.\r\n";

/// How long replacing sockets waits for the main thread to close the old ones.
const CLOSE_PATIENCE: Duration = Duration::from_secs(2);

/// A socket on its way to a worker.
#[derive(Debug)]
pub enum Accepted {
    /// TCP.
    Tcp(std::net::TcpStream),
    /// A Unix socket.
    Unix(std::os::unix::net::UnixStream),
}

impl Accepted {
    /// Registers the socket with the worker's runtime.
    ///
    /// # Errors
    /// If the runtime refuses it.
    pub fn into_transport(self) -> io::Result<Transport> {
        Ok(match self {
            Accepted::Tcp(s) => Transport::Tcp(TcpStream::from_std(s)?),
            Accepted::Unix(s) => Transport::Unix(UnixStream::from_std(s)?),
        })
    }

    /// Takes a socket off its worker's runtime.
    ///
    /// # Errors
    /// If the runtime does not let go of it.
    pub fn from_transport(transport: Transport) -> io::Result<Accepted> {
        Ok(match transport {
            Transport::Tcp(s) => Accepted::Tcp(s.into_std()?),
            Transport::Unix(s) => Accepted::Unix(s.into_std()?),
        })
    }

    fn fd(&self) -> i32 {
        match self {
            Accepted::Tcp(s) => s.as_raw_fd(),
            Accepted::Unix(s) => s.as_raw_fd(),
        }
    }

    /// Writes a refusal, if the socket takes it at once.
    fn refuse(mut self, text: &[u8]) {
        let _ = match &mut self {
            Accepted::Tcp(s) => s.write_all(text),
            Accepted::Unix(s) => s.write_all(text),
        };
    }
}

/// Why the server cannot listen.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// A TCP address.
    #[error(
        "Warning: Could not create server TCP listening socket {address}:{port}: bind: {}",
        plain(error)
    )]
    Tcp {
        /// As configured.
        address: String,
        /// The port.
        port: u16,
        /// What the system says.
        error: io::Error,
    },
    /// The Unix socket.
    #[error("Failed opening Unix socket: bind: {}", plain(error))]
    Unix {
        /// What the system says.
        error: io::Error,
    },
}

/// What the C library calls an error, without the number that Rust adds.
fn plain(error: &io::Error) -> String {
    let text = error.to_string();
    let end = text.find(" (os error").unwrap_or(text.len());
    text.get(..end).unwrap_or_default().to_owned()
}

/// Bound sockets that nobody accepts on yet.
#[derive(Debug, Default)]
pub struct Bound {
    tcp: Vec<std::net::TcpListener>,
    unix: Option<(std::os::unix::net::UnixListener, PathBuf)>,
}

impl Bound {
    /// Binds what the settings name. Port 0 binds no TCP socket.
    ///
    /// # Errors
    /// The first address that cannot be bound and is not optional (`-` in front).
    pub fn bind(settings: &Settings) -> Result<Bound, ListenError> {
        let mut bound = Bound {
            tcp: Self::bind_tcp(settings)?,
            unix: None,
        };
        if let Some(path) = &settings.network.unixsocket {
            bound.unix = Some((bind_unix(path, settings)?, path.clone()));
        }
        Ok(bound)
    }

    /// Binds the TCP addresses alone.
    ///
    /// # Errors
    /// As [`Bound::bind`].
    pub fn bind_tcp(settings: &Settings) -> Result<Vec<std::net::TcpListener>, ListenError> {
        let port = settings.network.port;
        let mut bound = Vec::new();
        if port == 0 {
            return Ok(bound);
        }
        for configured in &settings.network.bind {
            let (name, optional) = match configured.strip_prefix('-') {
                Some(rest) => (rest, true),
                None => (configured.as_str(), false),
            };
            let listening = resolve(name)
                .and_then(|ip| listen_tcp(SocketAddr::new(ip, port), settings.network.tcp_backlog));
            match listening {
                Ok(l) => bound.push(l),
                Err(error) if optional && unavailable(&error) => {}
                Err(error) => {
                    let address = name.to_owned();
                    return Err(ListenError::Tcp {
                        address,
                        port,
                        error,
                    });
                }
            }
        }
        Ok(bound)
    }

    /// Whether a TCP socket is bound.
    pub fn has_tcp(&self) -> bool {
        !self.tcp.is_empty()
    }

    /// The Unix socket's path.
    pub fn unix_path(&self) -> Option<&Path> {
        self.unix.as_ref().map(|(_, p)| p.as_path())
    }
}

fn unavailable(e: &io::Error) -> bool {
    matches!(
        e.raw_os_error(),
        Some(libc::EADDRNOTAVAIL | libc::EAFNOSUPPORT | libc::EPROTONOSUPPORT | libc::ENOENT)
    )
}

fn resolve(name: &str) -> io::Result<IpAddr> {
    match name {
        "*" => Ok(IpAddr::V4(Ipv4Addr::UNSPECIFIED)),
        "::*" => Ok(IpAddr::V6(Ipv6Addr::UNSPECIFIED)),
        _ => {
            if let Ok(ip) = name.parse() {
                return Ok(ip);
            }
            let mut found = std::net::ToSocketAddrs::to_socket_addrs(&(name, 0))?;
            found
                .next()
                .map(|a| a.ip())
                .ok_or_else(|| io::ErrorKind::NotFound.into())
        }
    }
}

fn listen_tcp(addr: SocketAddr, backlog: u32) -> io::Result<std::net::TcpListener> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
    if addr.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&addr.into())?;
    socket.listen(i32::try_from(backlog).unwrap_or(i32::MAX))?;
    Ok(socket.into())
}

fn bind_unix(
    path: &Path,
    settings: &Settings,
) -> Result<std::os::unix::net::UnixListener, ListenError> {
    let bound = || {
        let _ = std::fs::remove_file(path);
        let listener = std::os::unix::net::UnixListener::bind(path)?;
        listener.set_nonblocking(true)?;
        let mode = settings.network.unixsocketperm;
        if mode != 0 {
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))?;
        }
        Ok(listener)
    };
    bound().map_err(|error| ListenError::Unix { error })
}

/// The TCP sockets that are being accepted on.
#[derive(Default)]
struct Tcp {
    tasks: Vec<JoinHandle<()>>,
    /// The addresses and the port they were bound to.
    bound_to: Option<(Vec<String>, u16)>,
}

/// The sockets that are being accepted on.
pub struct Listeners {
    engine: Arc<Engine>,
    workers: Arc<Mutex<Workers>>,
    tcp: Mutex<Tcp>,
    unix: Mutex<Option<PathBuf>>,
}

impl Listeners {
    /// Accepts on `bound` from now on. Runs on the main thread's runtime.
    ///
    /// # Errors
    /// If the runtime refuses a socket.
    pub fn start(
        engine: &Arc<Engine>,
        workers: Workers,
        bound: Bound,
    ) -> io::Result<Arc<Listeners>> {
        let listeners = Arc::new(Listeners {
            engine: Arc::clone(engine),
            workers: Arc::new(Mutex::new(workers)),
            tcp: Mutex::new(Tcp::default()),
            unix: Mutex::new(None),
        });
        listeners.accept_tcp(bound.tcp, &engine.config.current())?;
        if let Some((listener, path)) = bound.unix {
            let listener = UnixListener::from_std(listener)?;
            *listeners.unix.lock() = Some(path.clone());
            let me = Arc::clone(&listeners);
            tokio::spawn(async move { me.unix_loop(listener, path).await });
        }
        Ok(listeners)
    }

    /// Stops all workers until then. Ends when they have handled what arrived meanwhile.
    pub fn stop_workers_until(&self, then: Instant) -> impl Future<Output = ()> + use<> {
        self.workers.lock().stop_until(then)
    }

    fn accept_tcp(
        self: &Arc<Self>,
        bound: Vec<std::net::TcpListener>,
        settings: &Settings,
    ) -> io::Result<()> {
        let mut tcp = self.tcp.lock();
        for listener in bound {
            let listener = TcpListener::from_std(listener)?;
            let me = Arc::clone(self);
            tcp.tasks
                .push(tokio::spawn(async move { me.tcp_loop(listener).await }));
        }
        tcp.bound_to = Some((settings.network.bind.clone(), settings.network.port));
        Ok(())
    }

    /// Replaces the TCP sockets, after `port` or `bind` changed; does nothing if they are the
    /// right ones already. The old ones are closed first, for an address may be common to both:
    /// after an error nothing is listened on. Called in the context of the main thread's runtime,
    /// from another thread.
    ///
    /// # Errors
    /// Which address could not be bound.
    pub fn rebind(self: &Arc<Self>, settings: &Settings) -> Result<(), ListenError> {
        let (bind, port) = (&settings.network.bind, settings.network.port);
        if matches!(&self.tcp.lock().bound_to, Some((b, p)) if b == bind && *p == port) {
            return Ok(());
        }
        let closing = self.close_tcp();
        let deadline = Instant::now() + CLOSE_PATIENCE;
        while !closing.iter().all(JoinHandle::is_finished) && Instant::now() < deadline {
            std::thread::sleep(Duration::from_micros(100));
        }
        let bound = Bound::bind_tcp(settings)?;
        self.accept_tcp(bound, settings)
            .map_err(|error| ListenError::Tcp {
                address: bind.join(" "),
                port,
                error,
            })
    }

    /// Ends the accepting tasks; their sockets are closed when they have finished.
    fn close_tcp(&self) -> Vec<JoinHandle<()>> {
        let mut tcp = self.tcp.lock();
        tcp.bound_to = None;
        tcp.tasks.iter().for_each(JoinHandle::abort);
        std::mem::take(&mut tcp.tasks)
    }

    /// Stops accepting and removes the Unix socket.
    pub fn close(&self) {
        self.close_tcp();
        if let Some(path) = self.unix.lock().take() {
            tracing::info!("Removing the unix socket file.");
            let _ = std::fs::remove_file(path);
        }
    }

    async fn tcp_loop(&self, listener: TcpListener) {
        loop {
            match listener.accept().await {
                Ok((stream, peer)) => {
                    let laddr = stream
                        .local_addr()
                        .map(|a| a.to_string())
                        .unwrap_or_default();
                    match stream.into_std() {
                        Ok(s) => self.welcome_tcp(s, peer, laddr),
                        Err(e) => tracing::warn!("Accepting client connection: {e}"),
                    }
                }
                Err(e) => accept_failed(&e).await,
            }
        }
    }

    async fn unix_loop(&self, listener: UnixListener, path: PathBuf) {
        let name = format!("{}:0", path.display());
        loop {
            match listener.accept().await {
                Ok((stream, _)) => match stream.into_std() {
                    Ok(s) => {
                        let new = NewClient {
                            addr: name.clone(),
                            laddr: name.clone(),
                            fd: s.as_raw_fd(),
                            unix_socket: true,
                        };
                        self.admit(Accepted::Unix(s), new);
                    }
                    Err(e) => tracing::warn!("Accepting client connection: {e}"),
                },
                Err(e) => accept_failed(&e).await,
            }
        }
    }

    fn welcome_tcp(&self, stream: std::net::TcpStream, peer: SocketAddr, laddr: String) {
        let settings = self.engine.config.current();
        let _ = stream.set_nodelay(true);
        let keepalive = u64::from(settings.network.tcp_keepalive_seconds);
        if keepalive > 0 {
            let k = TcpKeepalive::new()
                .with_time(Duration::from_secs(keepalive))
                .with_interval(Duration::from_secs((keepalive / 3).max(1)))
                .with_retries(3);
            let _ = socket2::SockRef::from(&stream).set_tcp_keepalive(&k);
        }
        let fd = stream.as_raw_fd();
        let accepted = Accepted::Tcp(stream);
        if settings.network.protected_mode
            && settings.acl.requirepass.is_empty()
            && !peer.ip().to_canonical().is_loopback()
        {
            self.engine.clients.count_rejected();
            accepted.refuse(DENIED);
            return;
        }
        let new = NewClient {
            addr: peer.to_string(),
            laddr,
            fd,
            unix_socket: false,
        };
        self.admit(accepted, new);
    }

    fn admit(&self, accepted: Accepted, mut new: NewClient) {
        let clients = &self.engine.clients;
        if clients.len() >= self.engine.config.current().network.maxclients as usize {
            clients.count_rejected();
            accepted.refuse(b"-ERR max number of clients reached\r\n");
            return;
        }
        new.fd = accepted.fd();
        tracing::debug!("Accepted {}", new.addr);
        let client = clients.register(new, clock::unix_ms());
        self.workers.lock().assign(accepted, client);
    }
}

/// Says why accepting failed, and waits where trying again at once would be in vain.
async fn accept_failed(e: &io::Error) {
    tracing::warn!("Accepting client connection: {e}");
    if matches!(
        e.raw_os_error(),
        Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM)
    ) {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

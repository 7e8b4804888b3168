//! The state of one connection that its commands see and change. It lives on the connection's
//! worker; what others may see of it is mirrored in its [`Client`].

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::client::Client;
use crate::keyspace::shard::WatchFlag;

use super::multi::Queue;

/// Whose commands a session carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A client's.
    Client,
    /// Our primary's: they are applied as they are, whatever our role forbids to clients, and
    /// their effects are the primary's own bytes.
    Primary,
    /// A file's, while it is loaded: nothing is logged.
    Replay,
}

/// `CLIENT REPLY`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplyMode {
    /// Every command is replied to.
    On,
    /// None is.
    Off,
    /// The next command is not replied to.
    SkipNext,
    /// This command is not replied to.
    Skip,
}

/// What a replica has told about itself by REPLCONF.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReplicaFacts {
    /// Port it listens on.
    pub listening_port: u16,
    /// Address it wants to be known by.
    pub ip_address: Option<String>,
    /// It can load an RDB whose end is marked, not announced.
    pub capa_eof: bool,
    /// It understands `+CONTINUE <replid>`.
    pub capa_psync2: bool,
    /// It can take the RDB over a second connection.
    pub capa_rdb_channel: bool,
    /// This is such a second connection.
    pub rdb_channel: bool,
    /// The number of the main connection that it belongs to.
    pub main_client: Option<u64>,
    /// It wants the RDB alone, and nothing after it.
    pub rdb_only: bool,
    /// It wants no keys.
    pub filter_data: bool,
    /// It wants no functions.
    pub filter_functions: bool,
    /// Its version, as it says.
    pub version: Option<String>,
}

/// What becomes of the connection after a command that takes it over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Handover {
    /// `SYNC`.
    Sync,
    /// `PSYNC replid offset`.
    Psync {
        /// The history the replica knows.
        replid: Vec<u8>,
        /// The first byte it wants.
        offset: i64,
    },
}

/// A key that WATCH named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watched {
    /// Its database.
    pub db: usize,
    /// The key.
    pub key: Box<[u8]>,
    /// It was missing or due when it was watched: that it is due is no change.
    pub was_gone: bool,
}

/// One connection's state.
#[derive(Debug)]
pub struct Session {
    /// The connection in the registry.
    pub client: Arc<Client>,
    /// Selected database.
    pub db: usize,
    /// Whose commands these are.
    pub origin: Origin,
    /// It may run commands.
    pub authenticated: bool,
    /// Commands queued by MULTI.
    pub multi: Option<Queue>,
    /// Keys watched.
    pub watched: Vec<Watched>,
    /// Set by whoever changes a watched key.
    pub watch_flag: WatchFlag,
    /// `CLIENT REPLY`.
    pub reply_mode: ReplyMode,
    /// `CLIENT NO-TOUCH`.
    pub no_touch: bool,
    /// The connection closes when its replies have been written.
    pub closing: bool,
    /// Log offset behind this connection's newest write: what WAIT waits for.
    pub last_write: u64,
    /// The connection is taken over by replication.
    pub handover: Option<Handover>,
    /// What REPLCONF told.
    pub replica: ReplicaFacts,
    /// RESP version; the reply buffer follows it.
    pub resp3: bool,
}

impl Session {
    /// The session of a new connection.
    pub fn new(client: Arc<Client>, origin: Origin, authenticated: bool) -> Session {
        Session {
            watch_flag: Arc::clone(&client.watch_flag),
            client,
            db: 0,
            origin,
            authenticated,
            multi: None,
            watched: Vec::new(),
            reply_mode: ReplyMode::On,
            no_touch: false,
            closing: false,
            last_write: 0,
            handover: None,
            replica: ReplicaFacts::default(),
            resp3: false,
        }
    }

    /// Selects a database.
    pub fn select(&mut self, db: usize) {
        self.db = db;
        self.client.db.store(db as u32, Ordering::Relaxed);
    }

    /// Whether the client is on this machine.
    pub fn is_local(&self) -> bool {
        let addr = &self.client.addr;
        self.client.unix_socket || addr.starts_with("127.0.0.1:") || addr.starts_with("[::1]:")
    }

    /// Whether a watched key has changed.
    pub fn watch_broken(&self) -> bool {
        self.watch_flag.load(Ordering::Acquire)
    }
}

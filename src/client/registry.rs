//! All connections of the server, by id.
//!
//! The registry is touched when a connection comes or goes and by the few commands that look at
//! all of them (CLIENT LIST, CLIENT KILL, INFO). A connection updates its own [`Client`] by plain
//! atomic stores, once a batch.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, AtomicU64, Ordering};

use parking_lot::Mutex;

use super::outbox::Outbox;

/// About what a connection's task takes: its session and its parser.
const TASK_BYTES: u64 = 512;

/// About what a watch takes in its shard and in its session.
const WATCH_BYTES: u64 = 128;

/// What a connection is to us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientKind {
    /// An ordinary client.
    Normal,
    /// A replica of ours.
    Replica,
    /// A subscriber.
    Pubsub,
    /// The link to our primary.
    Primary,
}

/// What a client calls itself and who it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientNames {
    /// `CLIENT SETNAME`.
    pub name: Vec<u8>,
    /// `CLIENT SETINFO LIB-NAME`.
    pub lib_name: Vec<u8>,
    /// `CLIENT SETINFO LIB-VER`.
    pub lib_ver: Vec<u8>,
    /// The authenticated user.
    pub user: Vec<u8>,
}

/// One connection.
#[derive(Debug)]
pub struct Client {
    /// Unique over the server's life, ascending.
    pub id: u64,
    /// Remote address, `ip:port` or `path:0` for a Unix socket.
    pub addr: String,
    /// Local address.
    pub laddr: String,
    /// The socket's file descriptor; -1 where there is none.
    pub fd: i32,
    /// When it connected, Unix milliseconds.
    pub created_ms: i64,
    /// Whether it came by a Unix socket.
    pub unix_socket: bool,
    /// Names and user.
    pub names: Mutex<ClientNames>,
    /// Messages from elsewhere.
    pub outbox: Outbox,
    /// Selected database.
    pub db: AtomicU32,
    /// Last interaction, Unix milliseconds.
    pub last_ms: AtomicI64,
    /// Table id of the last command; `u32::MAX` before the first.
    pub last_command: AtomicU32,
    /// Commands processed.
    pub commands: AtomicU64,
    /// Bytes received.
    pub bytes_in: AtomicU64,
    /// Bytes sent.
    pub bytes_out: AtomicU64,
    /// Bytes in the query buffer, and its capacity beyond them.
    pub query_buffer: AtomicU64,
    /// Free bytes in the query buffer.
    pub query_buffer_free: AtomicU64,
    /// Commands queued by MULTI; -1 outside.
    pub multi: AtomicI64,
    /// Bytes of the commands queued by MULTI.
    pub multi_bytes: AtomicU64,
    /// Bytes of the arguments that have come of a request that is cut off.
    pub arguments: AtomicU64,
    /// What [`Registry::account`] has counted.
    accounted: AtomicU64,
    /// Keys watched.
    pub watching: AtomicU32,
    /// Set when a watched key has changed; shared with the shards that hold the watches.
    pub watch_flag: Arc<AtomicBool>,
    /// RESP version.
    pub resp: AtomicU32,
    /// Channels and patterns subscribed.
    pub channels: AtomicU32,
    /// Patterns subscribed.
    pub patterns: AtomicU32,
    /// A blocking command waits.
    pub blocked: AtomicBool,
    /// `CLIENT NO-EVICT on`.
    pub no_evict: AtomicBool,
    /// `CLIENT NO-TOUCH on`.
    pub no_touch: AtomicBool,
    /// A replica's second connection, for its data set.
    pub rdb_channel: AtomicBool,
    /// Number of the worker that serves it.
    pub worker: AtomicU32,
    /// Bytes of replies that are not written yet.
    pub unsent_bytes: AtomicU64,
    /// Bytes of room that the connection keeps for pieces of replies, beyond a little.
    pub reply_room: AtomicU64,
    kind: AtomicU32,
    killed: AtomicBool,
}

impl Client {
    /// What the connection is to us.
    pub fn kind(&self) -> ClientKind {
        match self.kind.load(Ordering::Relaxed) {
            1 => ClientKind::Replica,
            2 => ClientKind::Pubsub,
            3 => ClientKind::Primary,
            _ => ClientKind::Normal,
        }
    }

    /// Says what the connection is to us.
    pub fn set_kind(&self, kind: ClientKind) {
        let code = match kind {
            ClientKind::Normal => 0,
            ClientKind::Replica => 1,
            ClientKind::Pubsub => 2,
            ClientKind::Primary => 3,
        };
        self.kind.store(code, Ordering::Relaxed);
    }

    /// Bytes that the connection takes.
    pub fn memory_bytes(&self) -> u64 {
        let load = |n: &AtomicU64| n.load(Ordering::Relaxed);
        let input = load(&self.query_buffer) + load(&self.query_buffer_free);
        let unsent = load(&self.unsent_bytes) + load(&self.reply_room);
        let output = unsent + self.outbox.queued_bytes() as u64;
        let watches = u64::from(self.watching.load(Ordering::Relaxed)) * WATCH_BYTES;
        let own = size_of::<Client>() as u64 + TASK_BYTES;
        own + input + output + watches + load(&self.arguments) + load(&self.multi_bytes)
    }

    /// Bytes that `maxmemory-clients` is for: replicas and primaries have limits of their own.
    fn counted_bytes(&self) -> u64 {
        match self.kind() {
            ClientKind::Normal | ClientKind::Pubsub if !self.is_killed() => self.memory_bytes(),
            _ => 0,
        }
    }

    /// Asks the connection to close as soon as its worker looks.
    pub fn kill(&self) {
        self.killed.store(true, Ordering::Release);
        self.outbox.wake();
    }

    /// Whether somebody asked the connection to close.
    #[inline]
    pub fn is_killed(&self) -> bool {
        self.killed.load(Ordering::Acquire)
    }
}

/// A connection that is about to be registered.
#[derive(Clone, Debug, Default)]
pub struct NewClient {
    /// Remote address.
    pub addr: String,
    /// Local address.
    pub laddr: String,
    /// File descriptor.
    pub fd: i32,
    /// Whether it came by a Unix socket.
    pub unix_socket: bool,
}

/// What all connections are doing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Survey {
    /// How many there are.
    pub all: usize,
    /// Replicas.
    pub replicas: usize,
    /// Subscribers.
    pub pubsub: usize,
    /// Those that wait in a blocking command.
    pub blocked: usize,
    /// Those that watch keys.
    pub watching: usize,
    /// Bytes of the longest query buffer.
    pub longest_input: u64,
    /// Bytes of the longest replies that are not written yet.
    pub longest_output: u64,
    of_workers: Vec<usize>,
}

impl Survey {
    /// Connections of the worker of this number.
    pub fn of_worker(&self, number: u32) -> usize {
        let count = self.of_workers.get(number as usize);
        count.copied().unwrap_or(0)
    }
}

/// All connections.
#[derive(Debug, Default)]
pub struct Registry {
    clients: Mutex<BTreeMap<u64, Arc<Client>>>,
    last_id: AtomicU64,
    /// Connections accepted since the start.
    pub accepted: AtomicU64,
    /// Connections refused because of `maxclients`.
    pub rejected: AtomicU64,
    /// Connections closed because they sent more than `client-query-buffer-limit`.
    pub over_input_limit: AtomicU64,
    /// Connections closed because they did not read what they asked for.
    pub over_output_limit: AtomicU64,
    /// Connections closed because all together took more than `maxmemory-clients`.
    pub evicted: AtomicU64,
    /// `maxmemory-clients` in bytes; 0 for no limit.
    memory_limit: AtomicU64,
    /// Held by whoever looks for connections to close.
    pub evicting: Mutex<()>,
    /// `DEBUG REPLYBUFFER RESIZING 0` sets it: room for replies is not given back.
    pub keep_reply_room: AtomicBool,
    /// How often a connection was found to have got more room for its replies.
    pub reply_room_grown: AtomicU64,
    /// How often a connection gave back the room for its replies.
    pub reply_room_given_back: AtomicU64,
    /// What the connections take that the limit is for, as far as it has been counted.
    memory: AtomicU64,
}

impl Registry {
    /// Registers a connection made at `now_ms`.
    pub fn register(&self, new: NewClient, now_ms: i64) -> Arc<Client> {
        self.accepted.fetch_add(1, Ordering::Relaxed);
        let client = self.make(new, now_ms);
        self.clients.lock().insert(client.id, Arc::clone(&client));
        client
    }

    /// A client that is no connection and in no list: whoever replays a file.
    pub fn unlisted(&self, now_ms: i64) -> Arc<Client> {
        self.make(NewClient::default(), now_ms)
    }

    fn make(&self, new: NewClient, now_ms: i64) -> Arc<Client> {
        let id = self.last_id.fetch_add(1, Ordering::Relaxed) + 1;
        Arc::new(Client {
            id,
            addr: new.addr,
            laddr: new.laddr,
            fd: new.fd,
            created_ms: now_ms,
            unix_socket: new.unix_socket,
            names: Mutex::new(ClientNames {
                user: b"default".to_vec(),
                ..Default::default()
            }),
            outbox: Outbox::default(),
            db: AtomicU32::new(0),
            last_ms: AtomicI64::new(now_ms),
            last_command: AtomicU32::new(u32::MAX),
            commands: AtomicU64::new(0),
            bytes_in: AtomicU64::new(0),
            bytes_out: AtomicU64::new(0),
            query_buffer: AtomicU64::new(0),
            query_buffer_free: AtomicU64::new(0),
            multi: AtomicI64::new(-1),
            multi_bytes: AtomicU64::new(0),
            arguments: AtomicU64::new(0),
            accounted: AtomicU64::new(0),
            watching: AtomicU32::new(0),
            watch_flag: Arc::new(AtomicBool::new(false)),
            resp: AtomicU32::new(2),
            channels: AtomicU32::new(0),
            patterns: AtomicU32::new(0),
            blocked: AtomicBool::new(false),
            no_evict: AtomicBool::new(false),
            no_touch: AtomicBool::new(false),
            rdb_channel: AtomicBool::new(false),
            worker: AtomicU32::new(0),
            unsent_bytes: AtomicU64::new(0),
            reply_room: AtomicU64::new(0),
            kind: AtomicU32::new(0),
            killed: AtomicBool::new(false),
        })
    }

    /// Sets the counts of accepted and refused connections back to zero.
    pub fn reset_counts(&self) {
        self.accepted.store(0, Ordering::Relaxed);
        self.rejected.store(0, Ordering::Relaxed);
        self.over_input_limit.store(0, Ordering::Relaxed);
        self.over_output_limit.store(0, Ordering::Relaxed);
        self.evicted.store(0, Ordering::Relaxed);
    }

    /// Counts a connection that was refused.
    pub fn count_rejected(&self) {
        self.accepted.fetch_add(1, Ordering::Relaxed);
        self.rejected.fetch_add(1, Ordering::Relaxed);
    }

    /// Forgets a connection that has closed.
    pub fn forget(&self, id: u64) {
        if let Some(client) = self.clients.lock().remove(&id) {
            let counted = client.accounted.swap(0, Ordering::Relaxed);
            self.memory.fetch_sub(counted, Ordering::Relaxed);
        }
    }

    /// Sets `maxmemory-clients`, in bytes; 0 for no limit.
    pub fn set_memory_limit(&self, bytes: u64) {
        self.memory_limit.store(bytes, Ordering::Relaxed);
    }

    /// `maxmemory-clients` in bytes; 0 for no limit.
    #[inline]
    pub fn memory_limit(&self) -> u64 {
        self.memory_limit.load(Ordering::Relaxed)
    }

    /// Follows what a connection takes. Whether all together take more than they may.
    pub fn account(&self, client: &Client) -> bool {
        let now = client.counted_bytes();
        let before = client.accounted.swap(now, Ordering::Relaxed);
        // The sum wraps for an instant where two connections count at once, and comes right again.
        let change = now.wrapping_sub(before);
        let sum = self
            .memory
            .fetch_add(change, Ordering::Relaxed)
            .wrapping_add(change);
        sum > self.memory_limit() && sum <= i64::MAX as u64
    }

    /// Counts all connections anew: the sum of what they take.
    pub fn account_all(&self) -> u64 {
        let clients = self.clients.lock();
        let mut sum = 0;
        for client in clients.values() {
            let now = client.counted_bytes();
            client.accounted.store(now, Ordering::Relaxed);
            sum += now;
        }
        self.memory.store(sum, Ordering::Relaxed);
        sum
    }

    /// Looks at all connections once.
    pub fn survey(&self) -> Survey {
        let clients = self.clients.lock();
        let mut seen = Survey {
            all: clients.len(),
            ..Survey::default()
        };
        for client in clients.values() {
            match client.kind() {
                ClientKind::Replica => seen.replicas += 1,
                ClientKind::Pubsub => seen.pubsub += 1,
                ClientKind::Normal | ClientKind::Primary => {}
            }
            seen.blocked += usize::from(client.blocked.load(Ordering::Relaxed));
            seen.watching += usize::from(client.watching.load(Ordering::Relaxed) > 0);
            let load = |n: &AtomicU64| n.load(Ordering::Relaxed);
            seen.longest_input = seen.longest_input.max(load(&client.query_buffer));
            seen.longest_output = seen.longest_output.max(load(&client.unsent_bytes));
            let worker = client.worker.load(Ordering::Relaxed) as usize;
            if worker >= seen.of_workers.len() {
                seen.of_workers.resize(worker + 1, 0);
            }
            if let Some(count) = seen.of_workers.get_mut(worker) {
                *count += 1;
            }
        }
        seen
    }

    /// A connection by id.
    pub fn get(&self, id: u64) -> Option<Arc<Client>> {
        self.clients.lock().get(&id).cloned()
    }

    /// All connections, by ascending id.
    pub fn all(&self) -> Vec<Arc<Client>> {
        self.clients.lock().values().cloned().collect()
    }

    /// Number of connections.
    pub fn len(&self) -> usize {
        self.clients.lock().len()
    }

    /// Whether there is no connection.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The id given last.
    pub fn last_id(&self) -> u64 {
        self.last_id.load(Ordering::Relaxed)
    }
}

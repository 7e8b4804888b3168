//! The replicas of this server: what INFO and ROLE tell of them, who has acknowledged what, and
//! how many are good enough for `min-replicas-to-write`.
//!
//! A replica is served on the worker that accepted it, which updates its own record by plain
//! atomic stores; everybody else only looks.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU8, AtomicU64, Ordering};

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::client::Client;

/// How far a replica has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplicaState {
    /// It waits for a snapshot to begin.
    WaitStart,
    /// The snapshot it will get, or is getting as it is made, is under way.
    WaitEnd,
    /// It is being sent a file.
    SendBulk,
    /// It is sent its data set over one connection, and the stream over another.
    SendBulkAndStream,
    /// It follows the stream.
    Online,
    /// It wanted the data set alone, and has it.
    Transmitted,
}

impl ReplicaState {
    /// INFO's word for it; `None` if INFO leaves the replica out.
    pub fn word(self) -> Option<&'static str> {
        match self {
            ReplicaState::WaitStart | ReplicaState::WaitEnd => Some("wait_bgsave"),
            ReplicaState::SendBulk => Some("send_bulk"),
            ReplicaState::SendBulkAndStream => Some("send_bulk_and_stream"),
            ReplicaState::Online => Some("online"),
            ReplicaState::Transmitted => None,
        }
    }
}

/// What a replica said of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Traits {
    /// Address it is known by, if not the one it came from.
    pub ip_address: Option<String>,
    /// Port it listens on; 0 if it did not say.
    pub listening_port: u16,
    /// It can find the end of a data set by a mark.
    pub eof: bool,
    /// It understands `+CONTINUE <replid>`.
    pub psync2: bool,
    /// It asked by SYNC: it knows no offsets and acknowledges nothing.
    pub pre_psync: bool,
    /// It wants the data set and no stream.
    pub rdb_only: bool,
    /// It can take its data set over a second connection.
    pub rdb_channel: bool,
    /// This is such a second connection, of the replica whose main connection has this number.
    pub side_of: Option<u64>,
    /// It wants no keys.
    pub without_data: bool,
    /// It wants no functions.
    pub without_functions: bool,
}

impl Traits {
    /// Whether one snapshot serves both.
    pub fn same_contents(&self, other: &Traits) -> bool {
        self.without_data == other.without_data
            && self.without_functions == other.without_functions
            && self.side_of.is_some() == other.side_of.is_some()
    }

    /// Whether it wants less than everything.
    pub fn is_filtered(&self) -> bool {
        self.without_data || self.without_functions
    }
}

/// A replica.
#[derive(Debug)]
pub struct Replica {
    /// Its connection.
    pub client: Arc<Client>,
    /// What it said of itself.
    pub traits: Traits,
    /// When it asked, Unix milliseconds.
    pub asked_ms: i64,
    state: AtomicU8,
    ack_offset: AtomicU64,
    fsync_offset: AtomicU64,
    ack_ms: AtomicI64,
    acked: AtomicBool,
    sent_offset: AtomicU64,
    stuck: AtomicBool,
}

impl fmt::Display for Replica {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&name(&self.client, &self.traits))
    }
}

/// The name a replica has in log lines.
pub fn name(client: &Client, traits: &Traits) -> String {
    let ip = ip_of(client, traits);
    match traits.listening_port {
        0 => format!("{ip}:<unknown-replica-port>"),
        port => format!("{ip}:{port}"),
    }
}

fn ip_of<'a>(client: &'a Client, traits: &'a Traits) -> &'a str {
    if let Some(ip) = traits.ip_address.as_deref().filter(|ip| !ip.is_empty()) {
        return ip;
    }
    let host = client.addr.rsplit_once(':').map_or("", |(host, _)| host);
    host.trim_start_matches('[').trim_end_matches(']')
}

impl Replica {
    /// A replica that has just asked.
    pub fn new(client: Arc<Client>, traits: Traits, now_ms: i64) -> Replica {
        Replica {
            client,
            traits,
            asked_ms: now_ms,
            state: AtomicU8::new(0),
            ack_offset: AtomicU64::new(0),
            fsync_offset: AtomicU64::new(0),
            ack_ms: AtomicI64::new(now_ms),
            acked: AtomicBool::new(false),
            sent_offset: AtomicU64::new(0),
            stuck: AtomicBool::new(false),
        }
    }

    /// How far it has come.
    pub fn state(&self) -> ReplicaState {
        match self.state.load(Ordering::Acquire) {
            0 => ReplicaState::WaitStart,
            1 => ReplicaState::WaitEnd,
            2 => ReplicaState::SendBulk,
            3 => ReplicaState::Online,
            5 => ReplicaState::SendBulkAndStream,
            _ => ReplicaState::Transmitted,
        }
    }

    /// It has come further.
    pub fn set_state(&self, state: ReplicaState, now_ms: i64) {
        let code = match state {
            ReplicaState::WaitStart => 0,
            ReplicaState::WaitEnd => 1,
            ReplicaState::SendBulk => 2,
            ReplicaState::Online => 3,
            ReplicaState::Transmitted => 4,
            ReplicaState::SendBulkAndStream => 5,
        };
        self.state.store(code, Ordering::Release);
        self.ack_ms.store(now_ms, Ordering::Relaxed);
    }

    /// It acknowledges the stream up to `offset`, and up to `synced` on its disk.
    pub fn acknowledge(&self, offset: u64, synced: Option<u64>, now_ms: i64) {
        self.ack_offset.fetch_max(offset, Ordering::AcqRel);
        if let Some(synced) = synced {
            self.fsync_offset.fetch_max(synced, Ordering::AcqRel);
        }
        self.ack_ms.store(now_ms, Ordering::Relaxed);
        self.acked.store(true, Ordering::Release);
    }

    /// It has shown a sign of life.
    pub fn heard(&self, now_ms: i64) {
        self.ack_ms.store(now_ms, Ordering::Relaxed);
    }

    /// Whether it has ever acknowledged anything.
    pub fn has_acknowledged(&self) -> bool {
        self.acked.load(Ordering::Acquire)
    }

    /// The stream up to which it has acknowledged.
    pub fn ack_offset(&self) -> u64 {
        self.ack_offset.load(Ordering::Acquire)
    }

    /// Its socket has been given the stream up to `offset`, and takes no more if it is `stuck`.
    pub fn note_sent(&self, offset: u64, stuck: bool) {
        self.sent_offset.store(offset, Ordering::Release);
        self.stuck.store(stuck, Ordering::Release);
    }

    /// Whether its socket takes more of the stream, which goes up to `end`, at once.
    pub fn takes_more(&self, end: u64) -> bool {
        self.state() == ReplicaState::Online
            && !self.stuck.load(Ordering::Acquire)
            && self.sent_offset.load(Ordering::Acquire) < end
    }

    /// Address and port others reach it by.
    pub fn address(&self) -> (&str, u16) {
        let ip = ip_of(&self.client, &self.traits);
        (ip, self.traits.listening_port)
    }

    /// Milliseconds since it was heard of, or came further.
    pub fn silent_ms(&self, now_ms: i64) -> i64 {
        (now_ms - self.ack_ms.load(Ordering::Relaxed)).max(0)
    }

    /// Milliseconds since it was heard of; 0 unless it follows the stream.
    pub fn lag_ms(&self, now_ms: i64) -> i64 {
        match self.state() {
            ReplicaState::Online => self.silent_ms(now_ms),
            _ => 0,
        }
    }
}

/// All of them, in the order they came.
#[derive(Debug, Default)]
pub struct Replicas {
    list: Mutex<Vec<Arc<Replica>>>,
    /// Something was acknowledged, or somebody came or went.
    changed: Notify,
}

impl Replicas {
    /// Adds one.
    pub fn add(&self, replica: Arc<Replica>) {
        self.list.lock().push(replica);
        self.changed.notify_waiters();
    }

    /// One is gone. How many there are left.
    pub fn remove(&self, replica: &Replica) -> usize {
        let mut list = self.list.lock();
        list.retain(|r| r.client.id != replica.client.id);
        let left = list.len();
        drop(list);
        self.changed.notify_waiters();
        left
    }

    /// All of them.
    pub fn all(&self) -> Vec<Arc<Replica>> {
        self.list.lock().clone()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.list.lock().len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Closes all of them.
    pub fn disconnect(&self) {
        for r in self.list.lock().iter() {
            r.client.kill();
        }
    }

    /// Wakes those who wait for acknowledgements.
    pub fn changed(&self) {
        self.changed.notify_waiters();
    }

    /// To be registered before looking, and awaited after.
    pub fn on_change(&self) -> tokio::sync::futures::Notified<'_> {
        self.changed.notified()
    }

    /// How many have acknowledged the stream up to `offset`.
    pub fn acknowledged(&self, offset: u64) -> usize {
        self.count(|r| r.ack_offset.load(Ordering::Acquire) >= offset)
    }

    /// How many have the stream up to `offset` on disk.
    pub fn synced(&self, offset: u64) -> usize {
        self.count(|r| r.fsync_offset.load(Ordering::Acquire) >= offset)
    }

    /// How many were heard of within `max_lag_ms`.
    pub fn good(&self, now_ms: i64, max_lag_ms: i64) -> usize {
        self.count(|r| r.lag_ms(now_ms) / 1000 <= max_lag_ms / 1000)
    }

    fn count(&self, which: impl Fn(&Replica) -> bool) -> usize {
        let list = self.list.lock();
        let online = list.iter().filter(|r| r.state() == ReplicaState::Online);
        online.filter(|r| which(r)).count()
    }

    /// The `slaveN` lines of INFO.
    pub fn info_lines(&self, now_ms: i64) -> String {
        let list = self.list.lock();
        let told = list.iter().filter_map(|r| Some((r, r.state().word()?)));
        told.enumerate()
            .map(|(n, (r, state))| {
                let (ip, port) = r.address();
                let (offset, lag) = (r.ack_offset(), r.lag_ms(now_ms) / 1000);
                format!("slave{n}:ip={ip},port={port},state={state},offset={offset},lag={lag}\r\n")
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::Registry;
    use crate::client::registry::NewClient;

    fn replica(addr: &str, traits: Traits) -> Arc<Replica> {
        let new = NewClient {
            addr: addr.to_owned(),
            ..NewClient::default()
        };
        Arc::new(Replica::new(
            Registry::default().register(new, 0),
            traits,
            0,
        ))
    }

    #[test]
    fn a_replica_is_named_by_where_it_listens() {
        let r = replica("[::1]:5000", Traits::default());
        assert_eq!(r.to_string(), "::1:<unknown-replica-port>");
        let announced = Traits {
            ip_address: Some("10.1.1.1".to_owned()),
            listening_port: 6380,
            ..Traits::default()
        };
        assert_eq!(
            replica("127.0.0.1:5000", announced).to_string(),
            "10.1.1.1:6380"
        );
    }

    #[test]
    fn only_replicas_online_count_and_those_heard_of_lately_are_good() {
        let replicas = Replicas::default();
        let r = replica("127.0.0.1:1", Traits::default());
        replicas.add(Arc::clone(&r));
        r.acknowledge(100, None, 0);
        assert_eq!(
            (replicas.acknowledged(100), replicas.good(0, 10_000)),
            (0, 0)
        );
        r.set_state(ReplicaState::Online, 1000);
        assert_eq!(replicas.acknowledged(100), 1);
        assert_eq!(replicas.acknowledged(101), 0);
        assert_eq!(replicas.synced(1), 0);
        assert!(r.takes_more(100));
        r.note_sent(60, true);
        assert!(!r.takes_more(100));
        r.note_sent(100, false);
        assert!(!r.takes_more(100) && r.takes_more(101));
        r.acknowledge(50, Some(40), 1000);
        assert_eq!((r.ack_offset(), replicas.synced(40)), (100, 1));
        assert_eq!(replicas.good(11_999, 10_000), 1);
        assert_eq!(replicas.good(12_000, 10_000), 0);
        assert_eq!(
            replicas.info_lines(3500),
            "slave0:ip=127.0.0.1,port=0,state=online,offset=100,lag=2\r\n"
        );
        assert_eq!(replicas.remove(&r), 0);
    }
}

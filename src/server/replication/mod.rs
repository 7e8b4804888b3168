//! Replication at work: the state that commands, the link to our primary and the links to our
//! replicas share, and every change of our role.
//!
//! - [`serving`]: a replica of ours, from SYNC to the end of its connection.
//! - [`full_sync`]: one snapshot for all replicas that wait for one; [`urgency`]: when it hurries.
//! - [`link`]: our own primary: connecting, handshake, receiving; [`beside`]: receiving over a
//!   second connection; [`following`]: its stream.
//! - [`intake`]: a received data set on its way into the keyspace; [`growing`]: through a file;
//!   [`received`]: what becomes of the file; [`reservoir`]: what comes behind it meanwhile.
//! - [`words`]: what a replica says.
//! - [`sync_files`]: the files that full syncs leave behind.
//! - [`commands`]: what commands ask; [`report`]: INFO and ROLE; [`cron`]: what happens by time.
//!
//! Order of locks: shards, then the number of the link ([`Gates::link`]), then [`State`], then the
//! log. A change of role holds all shards for an instant, so every unit runs wholly before or
//! wholly behind it: what ran before is in the stream, what runs behind sees the new role.
//!
//! [`Gates::link`]: crate::command::engine::Gates::link

mod beside;
mod commands;
mod cron;
mod fan_out;
mod following;
mod full_sync;
mod growing;
mod intake;
mod link;
mod received;
mod report;
mod reservoir;
mod serving;
mod sync_files;
mod urgency;
mod words;

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;
use tokio::sync::{Notify, watch};

use crate::base::clock;
use crate::client::Client;
use crate::command::engine::{Engine, Gate};
use crate::config::{PrimaryAddress, Settings};
use crate::keyspace::locks::ShardMask;
use crate::replication::history::{History, ReplId};
use crate::replication::replicas::Replicas;

use super::loading::LoadStatus;
use super::logging;
use super::saving::Saver;
use super::snapshotting::StreamPoint;
use beside::Pauses;
use full_sync::FullSyncs;
use reservoir::Level;
use serving::Mains;

/// How far the link to our primary is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkState {
    /// We have no primary.
    None,
    /// About to connect.
    Connect,
    /// Connecting.
    Connecting,
    /// Talking about how to go on.
    Handshake,
    /// Receiving or loading a data set.
    Transfer,
    /// Following the stream.
    Connected,
}

/// A full sync as INFO tells it.
#[derive(Clone, Copy, Debug, Default)]
struct Transfer {
    /// Bytes in all; 0 if not known.
    total: u64,
    read: u64,
    last_io_ms: i64,
}

/// What the role consists of.
#[derive(Debug)]
struct State {
    history: History,
    primary: Option<PrimaryAddress>,
    link: LinkState,
    /// What we have is a prefix of our history's stream: a partial resync may be tried.
    resumable: bool,
    /// When the link went down, Unix milliseconds; 0 if it has never been up.
    down_since_ms: i64,
    transfer: Transfer,
    /// When the last replica left, or we became a primary.
    no_replicas_since_ms: i64,
    /// The link's connection, while it follows the stream.
    client: Option<Arc<Client>>,
    /// When the primary was last heard of, Unix milliseconds.
    last_io_ms: i64,
}

/// What happened since the start, for INFO.
#[derive(Debug, Default)]
pub struct SyncStats {
    /// Full syncs given.
    pub full: AtomicU64,
    /// Partial ones given.
    pub partial_ok: AtomicU64,
    /// Partial ones refused.
    pub partial_err: AtomicU64,
    /// Bytes received from our primary.
    pub bytes_in: AtomicU64,
    /// Bytes sent to replicas.
    pub bytes_out: AtomicU64,
    /// Commands of our primary that failed here.
    pub unexpected_errors: AtomicU64,
    /// When the log last told that commands are applied which cannot be saved, Unix milliseconds.
    pub disk_warning_ms: AtomicI64,
}

impl SyncStats {
    /// `CONFIG RESETSTAT`
    pub fn reset(&self) {
        let all = [
            &self.full,
            &self.partial_ok,
            &self.partial_err,
            &self.bytes_in,
            &self.bytes_out,
            &self.unexpected_errors,
        ];
        for count in all {
            count.store(0, Ordering::Relaxed);
        }
    }
}

/// What else must follow when the data set is replaced. Both may block.
pub trait AppendOnly: Send + Sync {
    /// The data set is about to go: nothing more may be appended to its file, which stays as it is
    /// until the new one is whole.
    fn stop(&self);

    /// The data set is another one, or we were promoted before it came: if the file was stopped, a
    /// new one begins with what is there. Its cursor on the log must be gone by the end of
    /// [`AppendOnly::stop`]: the log's offset changes in between.
    fn restart(&self);
}

/// See the module.
pub struct Replication {
    engine: Arc<Engine>,
    saver: Arc<Saver>,
    load: Arc<LoadStatus>,
    state: Mutex<State>,
    /// Our replicas.
    pub replicas: Replicas,
    /// `min-replicas-to-write` and `min-replicas-max-lag` in force.
    enough: Mutex<(u32, u32)>,
    /// See [`SyncStats`].
    pub stats: SyncStats,
    /// The append-only file, where there is one.
    pub append_only: OnceLock<Arc<dyn AppendOnly>>,
    syncs: FullSyncs,
    /// Main connections of replicas that come with a second one.
    mains: Mains,
    pauses: Pauses,
    /// What is held of our primary's stream during a full sync.
    pub reservoir: Level,
    /// See [`sync_files`].
    left_file: AtomicBool,
    sync_wanted: Notify,
    /// Changes with every change of the primary.
    link_number: watch::Sender<u64>,
}

impl Replication {
    /// With the role that the configuration says.
    pub fn new(engine: Arc<Engine>, saver: Arc<Saver>, load: Arc<LoadStatus>) -> Arc<Replication> {
        let primary = engine.config.settings().replication.replicaof.clone();
        let is_replica = primary.is_some();
        let me = Arc::new(Replication {
            state: Mutex::new(State {
                history: History::default(),
                primary,
                link: if is_replica {
                    LinkState::Connect
                } else {
                    LinkState::None
                },
                resumable: false,
                down_since_ms: 0,
                transfer: Transfer::default(),
                no_replicas_since_ms: clock::unix_ms(),
                client: None,
                last_io_ms: 0,
            }),
            engine,
            saver,
            load,
            replicas: Replicas::default(),
            enough: Mutex::default(),
            stats: SyncStats::default(),
            append_only: OnceLock::new(),
            syncs: FullSyncs::default(),
            mains: Mains::default(),
            pauses: Pauses::default(),
            reservoir: Level::default(),
            left_file: AtomicBool::new(false),
            sync_wanted: Notify::new(),
            link_number: watch::Sender::new(0),
        });
        if is_replica {
            me.engine.log.set_following(true);
            me.engine.gates.set(Gate::REPLICA, true);
        }
        me.settings_changed(&me.engine.config.settings());
        let teller = Arc::clone(&me);
        me.saver.set_point_of(Box::new(move || teller.point()));
        me
    }

    /// Begins to replicate and to serve replicas. On the main thread, once the data is loaded.
    pub fn start(self: &Arc<Self>) {
        tokio::task::spawn_local(link::run(Arc::clone(self)));
        tokio::task::spawn_local(cron::run(Arc::clone(self)));
    }

    /// The data set is about to be loaded at the start of a primary: keys that are found due belong
    /// into the backlog, for replicas that come back.
    pub fn expect_replicas(&self) {
        self.create_backlog();
    }

    /// The data set does not say where it stands: no replica can continue with it.
    pub fn expect_nobody(&self) {
        self.engine.log.backlog_free();
    }

    /// The data set that was loaded at the start stood at `point` of a history: a replica may
    /// continue from there, a primary's replicas may continue with it. `false` if the point does
    /// not say enough for that.
    pub fn restore(&self, point: &StreamPoint) -> bool {
        let Some(id) = ReplId::parse(point.replid.as_bytes()) else {
            return false;
        };
        // The wire's offsets are signed.
        if i64::try_from(point.offset).is_err() {
            return false;
        }
        let mut s = self.state.lock();
        if s.primary.is_some() {
            let Ok(db) = u32::try_from(point.db) else {
                return false;
            };
            if self.engine.log.set_offset(point.offset, Some(db)).is_err() {
                return false;
            }
            s.history = History::of(id);
            s.resumable = true;
            tracing::info!("{SYNTHESIZED}");
        } else {
            // What is in the log by now was written while the data set was loaded.
            if self.engine.log.rebase(point.offset).is_err() {
                return false;
            }
            s.history = History::continued(id, point.offset);
            s.no_replicas_since_ms = clock::unix_ms();
            self.create_backlog();
        }
        true
    }

    /// Where our data set stands in a stream that others know: what an RDB file is to say. Every
    /// shard is locked.
    pub fn point(&self) -> Option<StreamPoint> {
        let s = self.state.lock();
        let known = match s.primary {
            Some(_) => s.resumable,
            None => self.engine.log.backlog().is_some(),
        };
        known.then(|| {
            let position = self.engine.log.position();
            StreamPoint {
                replid: s.history.id.to_string(),
                offset: position.offset,
                db: i64::from(position.db.unwrap_or(0)),
            }
        })
    }

    /// Gives changed settings their effect, before or after they are published.
    pub fn settings_changed(&self, settings: &Settings) {
        let log = &self.engine.log;
        log.backlog_resize(settings.replication.repl_backlog_size);
        self.gates_from(&self.state.lock(), settings);
        let r = &settings.replication;
        let mut enough = self.enough.lock();
        *enough = (r.min_replicas_to_write, r.min_replicas_max_lag_seconds);
        self.good_from(&enough);
    }

    /// Sets the conditions that follow from our role.
    fn update_gates(&self, s: &State) {
        self.gates_from(s, &self.engine.config.current());
    }

    fn gates_from(&self, s: &State, settings: &Settings) {
        let r = &settings.replication;
        let replica = s.primary.is_some();
        let stale = replica && s.link != LinkState::Connected && !r.replica_serve_stale_data;
        let gates = &self.engine.gates;
        gates.set(Gate::REPLICA, replica);
        gates.set(Gate::READ_ONLY, replica && r.replica_read_only);
        gates.set(Gate::STALE, stale);
    }

    /// Counts the good replicas, which may allow or forbid writes.
    fn update_good(&self) {
        self.good_from(&self.enough.lock());
    }

    /// Under the lock of what is enough: of several who count, the last one sets the condition.
    fn good_from(&self, &(wanted, lag_s): &(u32, u32)) {
        let good = || {
            let max_lag_ms = i64::from(lag_s) * 1000;
            self.replicas.good(clock::unix_ms(), max_lag_ms)
        };
        let few = wanted > 0 && lag_s > 0 && good() < wanted as usize;
        self.engine.gates.set(Gate::FEW_REPLICAS, few);
    }

    fn create_backlog(&self) {
        let size = self.engine.config.current().replication.repl_backlog_size;
        self.engine.log.backlog_create(size);
    }

    /// The link is in another state.
    fn set_link(&self, link: LinkState) {
        let mut s = self.state.lock();
        if s.primary.is_none() {
            return;
        }
        if s.link == LinkState::Connected && link != LinkState::Connected {
            s.down_since_ms = clock::unix_ms();
            s.client = None;
        }
        if link == LinkState::Connected {
            s.down_since_ms = 0;
        }
        s.link = link;
        self.update_gates(&s);
    }

    /// REPLICAOF host port. `locked`: the caller holds every shard. `false` if that is our primary
    /// already.
    pub fn set_primary(&self, address: PrimaryAddress, locked: bool) -> bool {
        let keyspace = &self.engine.keyspace;
        let barrier = (!locked).then(|| keyspace.lock(ShardMask::ALL));
        let mut number = self.engine.gates.link.lock();
        let mut s = self.state.lock();
        let same = |p: &PrimaryAddress| {
            p.port == address.port && p.host.eq_ignore_ascii_case(&address.host)
        };
        if s.primary.as_ref().is_some_and(same) {
            tracing::info!(
                "REPLICAOF would result into synchronization with the master we are already \
                 connected with. No operation performed."
            );
            return false;
        }
        if s.primary.is_none() {
            tracing::info!("{SYNTHESIZED}");
            self.engine.log.set_following(true);
            s.resumable = true;
        }
        s.primary = Some(address.clone());
        s.link = LinkState::Connect;
        s.down_since_ms = 0;
        s.client = None;
        self.update_gates(&s);
        *number += 1;
        self.link_number.send_replace(*number);
        drop((s, number, barrier));
        self.engine.blocked.end_all(&self.engine.stats);
        logging::set_replica(true);
        self.engine.config.set_replicaof(Some(address));
        self.replicas.changed();
        true
    }

    /// REPLICAOF NO ONE. `locked`: the caller holds every shard. `false` if we are a primary
    /// already.
    pub fn promote(&self, locked: bool) -> bool {
        let keyspace = &self.engine.keyspace;
        let barrier = (!locked).then(|| keyspace.lock(ShardMask::ALL));
        let mut number = self.engine.gates.link.lock();
        let mut s = self.state.lock();
        if s.primary.is_none() {
            return false;
        }
        s.primary = None;
        s.link = LinkState::None;
        s.client = None;
        s.down_since_ms = 0;
        s.no_replicas_since_ms = clock::unix_ms();
        if std::mem::take(&mut s.resumable) {
            tracing::info!("Discarding previously cached master state.");
        }
        let end = self.engine.log.set_following(false);
        s.history.shift(end);
        self.update_gates(&s);
        *number += 1;
        self.link_number.send_replace(*number);
        // They must hear of the new name of our history; they continue from where they are.
        self.replicas.disconnect();
        drop((s, number, barrier));
        logging::set_replica(false);
        self.engine.config.set_replicaof(None);
        self.replicas.changed();
        if let Some(a) = self.append_only.get() {
            let a = Arc::clone(a);
            std::thread::spawn(move || a.restart());
        }
        true
    }

    /// Begins a history without a past (`DEBUG CHANGE-REPL-ID`).
    pub fn change_id(&self) {
        self.state.lock().history = History::default();
        tracing::info!("Changing replication IDs after receiving change-repl-id");
    }
}

const SYNTHESIZED: &str = "Before turning into a replica, using my own master parameters to \
synthesize a cached master: I may be able to synchronize with the new master with just a partial \
transfer.";

//! The server as commands see it, and the few things they ask of what lies above them.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU32, Ordering};

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::client::Registry;
use crate::config::Config;
use crate::keyspace::hash;
use crate::keyspace::locks::Keyspace;
use crate::keyspace::turns::Turns;
use crate::oplog::log::Log;

use super::blocking::Blocked;
use super::families::Action;
use super::host::Host;
use super::spec::CommandTable;
use super::stats::{Stats, WorkerStats};

/// For how long clients wait for a load instead of being told `LOADING`.
const UNSEEN_LOAD_MS: i64 = 250;

/// Conditions of the server that forbid or change commands, a bit each. Nearly always none is
/// set, and one load finds that out.
#[derive(Debug, Default)]
pub struct Gates {
    bits: AtomicU32,
    /// The number of the link whose stream may be applied. Whoever changes the server's role
    /// changes it, and holds it meanwhile. Locked after shards, never before.
    pub link: Mutex<u64>,
}

/// One condition; see [`Gates`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gate(u32);

impl Gate {
    /// The data set is being loaded.
    pub const LOADING: Gate = Gate(1);
    /// This server is a replica: clients do not see what is due, and nobody removes it.
    pub const REPLICA: Gate = Gate(1 << 1);
    /// Clients may not write, for it is a replica.
    pub const READ_ONLY: Gate = Gate(1 << 2);
    /// The link to the primary is down and stale data must not be served.
    pub const STALE: Gate = Gate(1 << 3);
    /// The last background save failed, which stops writes.
    pub const SAVE_FAILED: Gate = Gate(1 << 4);
    /// The append-only file cannot be written.
    pub const AOF_FAILED: Gate = Gate(1 << 5);
    /// There are fewer good replicas than `min-replicas-to-write`.
    pub const FEW_REPLICAS: Gate = Gate(1 << 6);
    /// Clients are held back; see [`Pause`].
    pub const PAUSED: Gate = Gate(1 << 7);
    /// More memory is used than `maxmemory`, and nothing can be evicted.
    pub const OUT_OF_MEMORY: Gate = Gate(1 << 8);
    /// The server is shutting down and waits for its replicas.
    pub const SHUTTING_DOWN: Gate = Gate(1 << 9);
    /// A data set is being loaded beside the present one, which serves reads meanwhile.
    pub const LOADING_BESIDE: Gate = Gate(1 << 10);
}

impl Gate {
    /// Its bit among all gates.
    pub fn bit(self) -> u32 {
        self.0
    }
}

impl Gates {
    /// All conditions at once.
    #[inline]
    pub fn load(&self) -> u32 {
        self.bits.load(Ordering::Acquire)
    }

    /// Whether a condition holds.
    pub fn is(&self, gate: Gate) -> bool {
        self.load() & gate.0 != 0
    }

    /// Whether a data set is being loaded, in place of the present one or beside it.
    pub fn is_loading(&self) -> bool {
        self.load() & (Gate::LOADING.0 | Gate::LOADING_BESIDE.0) != 0
    }

    /// Sets or clears a condition.
    pub fn set(&self, gate: Gate, on: bool) {
        if on {
            self.bits.fetch_or(gate.0, Ordering::AcqRel);
        } else {
            self.bits.fetch_and(!gate.0, Ordering::AcqRel);
        }
    }
}

impl Gate {
    /// Whether this condition is among `bits`.
    #[inline]
    pub fn among(self, bits: u32) -> bool {
        bits & self.0 != 0
    }
}

/// Why clients are held back. Pauses of different reasons do not end each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PauseReason {
    /// `CLIENT PAUSE`.
    Client,
    /// Replicas catch up before the server ends.
    Shutdown,
    /// A load has just begun, and may be over in a moment.
    Loading,
    /// A debugging command empties the data set and loads it again.
    Reload,
}

/// What a pause holds back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Held {
    /// Commands that write.
    Writes,
    /// Every command.
    All,
    /// Commands that would be refused with `LOADING`.
    DeniedWhileLoading,
    /// Commands that would be refused with `LOADING` although the present data are there.
    DeniedWhileLoadingBeside,
}

/// Holding clients back: until when, and what, for each reason.
#[derive(Debug, Default)]
pub struct Pause {
    state: Mutex<[Option<(i64, Held)>; 4]>,
    changed: Notify,
}

impl Pause {
    /// Whether anything is held back at `now_ms`.
    pub fn is_on(&self, now_ms: i64) -> bool {
        self.until(now_ms, |_| true).is_some()
    }

    /// The end of the pause in force at `now_ms` for a command that `concerns` names.
    pub fn until(&self, now_ms: i64, concerns: impl Fn(Held) -> bool) -> Option<i64> {
        let state = self.state.lock();
        let held = state.iter().flatten();
        held.filter(|(until, held)| *until > now_ms && concerns(*held))
            .map(|(until, _)| *until)
            .max()
    }

    /// The end of the pause in force at `now_ms` for this reason.
    pub fn until_for(&self, reason: PauseReason, now_ms: i64) -> Option<i64> {
        let slot = *Pause::slot(reason, &mut self.state.lock());
        slot.map(|(until, _)| until).filter(|until| *until > now_ms)
    }

    /// Waits until a pause ends or `for_ms` have passed.
    pub async fn wait(&self, for_ms: u64) {
        let changed = self.changed.notified();
        // It may have ended since the caller looked.
        if self.state.lock().iter().all(Option::is_none) {
            return;
        }
        let _ = tokio::time::timeout(std::time::Duration::from_millis(for_ms), changed).await;
    }

    fn slot(reason: PauseReason, state: &mut [Option<(i64, Held)>; 4]) -> &mut Option<(i64, Held)> {
        let [client, shutdown, loading, reload] = state;
        match reason {
            PauseReason::Client => client,
            PauseReason::Shutdown => shutdown,
            PauseReason::Loading => loading,
            PauseReason::Reload => reload,
        }
    }
}

/// The server as commands see it.
pub struct Engine {
    /// The data.
    pub keyspace: Arc<Keyspace>,
    /// The one stream of writes.
    pub log: Arc<Log>,
    /// The commands.
    pub table: CommandTable<Action>,
    /// The configuration.
    pub config: Arc<Config>,
    /// The connections.
    pub clients: Arc<Registry>,
    /// What commands cost.
    pub stats: Arc<Stats>,
    /// Clients that wait for keys.
    pub blocked: Arc<Blocked>,
    /// Conditions that forbid commands.
    pub gates: Gates,
    /// Who is held back, and until when.
    pub pause: Pause,
    /// Commands slower than the threshold.
    pub slowlog: super::slowlog::Slowlog,
    /// What makes room.
    pub eviction: super::evict::Eviction,
    /// Spikes of latency.
    pub latency: super::latency::LatencyMonitor,
    /// What lies above.
    pub host: Arc<dyn Host>,
    /// `DEBUG SET-ACTIVE-EXPIRE 0` clears it.
    pub active_expire: std::sync::atomic::AtomicBool,
    /// `DEBUG PAUSE-CRON 1` sets it: nothing happens without being asked.
    pub cron_paused: std::sync::atomic::AtomicBool,
    /// Keys that clients of a writable replica gave an expiry.
    pub own_expiries: super::own_expiries::OwnExpiries,
    /// When the server started, Unix milliseconds.
    pub started_ms: AtomicI64,
}

impl Engine {
    /// Counters for a new worker.
    pub fn worker(&self) -> Arc<WorkerStats> {
        self.stats.worker(self.table.id_count())
    }

    /// The calling thread is the worker of this number from here on (see
    /// [`crate::keyspace::turns`]).
    pub fn worker_begins(number: usize) {
        Turns::enlist(number);
    }

    /// Whether workers take turns.
    pub fn takes_turns(&self) -> bool {
        self.keyspace.turns.are_taken()
    }

    /// Asks the processor for what a lookup of this key will read, ahead of the command that does
    /// it. Not while workers are in each other's way.
    #[inline]
    pub fn fetch_ahead(&self, db: usize, key: &[u8]) {
        if !self.takes_turns() {
            self.keyspace.fetch_ahead(db, hash::of(key));
        }
    }

    /// The worker that had better serve the connection that the calling one has just served, and
    /// that is another's, `home`: a host while workers take turns, home otherwise.
    #[inline]
    pub fn better_worker(&self, number: usize, home: usize) -> Option<usize> {
        let turns = &self.keyspace.turns;
        let homeward = || (number != home && !turns.are_taken()).then_some(home);
        turns.host().or_else(homeward)
    }

    /// The calling worker has done what a connection wanted for now.
    #[inline]
    pub fn worker_goes_on(&self) {
        self.keyspace.turns.go_on();
    }

    /// The calling worker has nothing to do.
    pub fn worker_rests(&self) {
        self.keyspace.turns.rest();
    }

    /// Holds clients back until `until_ms`. A pause for the same reason that is still going on is
    /// prolonged and widened, never shortened.
    pub fn hold_clients(&self, reason: PauseReason, now_ms: i64, until_ms: i64, held: Held) {
        {
            let mut state = self.pause.state.lock();
            let slot = Pause::slot(reason, &mut state);
            let before = slot.filter(|(until, _)| *until > now_ms);
            let (old_until, old_held) = before.unwrap_or((0, held));
            let all = held == Held::All || old_held == Held::All;
            *slot = Some((until_ms.max(old_until), if all { Held::All } else { held }));
        }
        self.gates.set(Gate::PAUSED, true);
    }

    /// The data set is about to be replaced, or is being loaded from now on: what needs it is
    /// refused, after a moment in which it waits. A small data set is there before that moment is
    /// over, as it is in Redis, which stops what it saves, empties itself and loads between two
    /// commands. Called again where the next of these begins, each has its own moment.
    pub fn begin_loading(&self, now_ms: i64) {
        self.hold_for_load(now_ms, Held::DeniedWhileLoading);
        self.gates.set(Gate::LOADING, true);
    }

    /// As [`Engine::begin_loading`], of a data set that is to take the place of the present one:
    /// refused is what must not run beside that (see [`CommandFlags::NO_ASYNC_LOADING`]).
    ///
    /// [`CommandFlags::NO_ASYNC_LOADING`]: super::spec::CommandFlags::NO_ASYNC_LOADING
    pub fn begin_loading_beside(&self, now_ms: i64) {
        self.hold_for_load(now_ms, Held::DeniedWhileLoadingBeside);
        self.gates.set(Gate::LOADING_BESIDE, true);
    }

    fn hold_for_load(&self, now_ms: i64, held: Held) {
        let until_ms = now_ms.saturating_add(UNSEEN_LOAD_MS);
        self.hold_clients(PauseReason::Loading, now_ms, until_ms, held);
    }

    /// The data set is there, or will not come.
    pub fn end_loading(&self, now_ms: i64) {
        self.gates.set(Gate::LOADING, false);
        self.gates.set(Gate::LOADING_BESIDE, false);
        self.release_clients(PauseReason::Loading, now_ms);
    }

    /// Ends a pause.
    pub fn release_clients(&self, reason: PauseReason, now_ms: i64) {
        *Pause::slot(reason, &mut self.pause.state.lock()) = None;
        self.shut_pause_gate(now_ms);
        self.pause.changed.notify_waiters();
    }

    /// Lets commands pass again without a look at the pause, once there is none.
    pub fn shut_pause_gate(&self, now_ms: i64) {
        let over = || !self.pause.is_on(now_ms);
        if over() {
            self.gates.set(Gate::PAUSED, false);
            // Another one may have begun in between.
            if !over() {
                self.gates.set(Gate::PAUSED, true);
            }
        }
    }
}

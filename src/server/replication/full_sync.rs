//! Full syncs: one snapshot for all replicas that wait for the same contents.
//!
//! ```text
//!   WaitStart --snapshot--> WaitEnd --file whole--> SendBulk --sent--> Online      (to disk)
//!                           WaitEnd --pieces, mark--------------------> Online      (to sockets)
//! ```
//!
//! A [`Job`] is a snapshot on its way, written by a thread of its own: to the RDB file, which each
//! replica then reads at its own speed, or in pieces to all replicas at once, at the speed of the
//! slowest. The stream behind the snapshot's instant is held for the job as long as it runs, so a
//! replica that comes while a file is being written can still join.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::mpsc;

use crate::base::{clock, random};
use crate::config::OutputLimit;
use crate::keyspace::snapshot::Snapshot;
use crate::oplog::log::Cursor;
use crate::persist::rdb::file::{self, Target, Written};
use crate::persist::rdb::writer::Writer;
use crate::replication::history::{History, ReplId};
use crate::replication::replicas::{Replica, ReplicaState, Traits};
use crate::replication::transfer::MARK_BYTES;

use super::super::pacing;
use super::super::snapshotting::{self, Heading, Progress, StreamPoint};
use super::Replication;
use super::fan_out::FanOut;
use super::serving::Main;
use super::urgency::Behind;

/// Pieces that wait for a replica before the snapshot waits for it.
const PIECES_AHEAD: usize = 6;

/// What a replica is given, in this order.
pub enum Delivery {
    /// The snapshot began: its history, its offset, and the stream from there on.
    Begin(ReplId, u64, Option<Cursor>),
    /// The file is whole: to be sent with its length.
    File(std::fs::File, u64),
    /// Pieces follow, up to this mark.
    Mark([u8; MARK_BYTES]),
    /// A piece.
    Piece(Bytes),
    /// That was the last piece.
    End,
    /// It did not work out.
    Failed,
}

/// How a replica gets its deliveries.
pub type Deliveries = mpsc::Receiver<Delivery>;

struct Member {
    replica: Arc<Replica>,
    /// The main connection, if this is a second one.
    main: Option<Arc<Main>>,
    to: mpsc::Sender<Delivery>,
}

/// A snapshot on its way.
pub(super) struct Job {
    to_sockets: bool,
    contents: Traits,
    id: ReplId,
    offset: u64,
    /// Holds the stream behind the snapshot.
    pin: Mutex<Option<Cursor>>,
    /// Who gets it; `None` once nobody can join any more.
    members: Mutex<Option<Vec<Member>>>,
    pub(super) progress: Arc<Progress>,
    begun: Instant,
}

/// Replicas that wait, and the snapshot on its way.
#[derive(Default)]
pub struct FullSyncs {
    waiting: Mutex<Vec<Member>>,
    job: Mutex<Option<Arc<Job>>>,
}

impl Job {
    /// Lets a replica have this snapshot; gives it back if that is too late.
    fn admit(&self, repl: &Replication, member: Member) -> Result<(), Member> {
        let mut members = self.members.lock();
        let Some(members) = members.as_mut() else {
            return Err(member);
        };
        let now_ms = clock::unix_ms();
        let cursor = (!member.replica.traits.rdb_only)
            .then(|| repl.engine.log.reader(self.offset))
            .flatten();
        if let Some(main) = &member.main {
            main.begin(repl.engine.log.reader(self.offset));
        }
        member.replica.set_state(ReplicaState::WaitEnd, now_ms);
        // The channel is empty: there is room.
        let _ = member
            .to
            .try_send(Delivery::Begin(self.id, self.offset, cursor));
        members.push(member);
        Ok(())
    }

    /// Those who still want it.
    pub(super) fn receivers(&self) -> Vec<mpsc::Sender<Delivery>> {
        let members = self.members.lock();
        let all = members.iter().flatten();
        all.filter(|m| !m.to.is_closed())
            .map(|m| m.to.clone())
            .collect()
    }

    /// Whether this snapshot can still be had by, and is what, a replica wants.
    fn suits(&self, traits: &Traits) -> bool {
        let members = self.members.lock();
        let first = members.iter().flatten().find(|m| !m.to.is_closed());
        !self.to_sockets
            && self.contents.same_contents(traits)
            && first.is_some_and(|f| {
                let f = &f.replica.traits;
                (traits.eof || !f.eof) && (traits.psync2 || !f.psync2)
            })
    }
}

impl Replication {
    /// A replica must be given everything. What it gets comes out of the channel.
    pub(super) fn request_full(
        &self,
        replica: &Arc<Replica>,
        main: Option<Arc<Main>>,
    ) -> Deliveries {
        let (to, deliveries) = mpsc::channel(PIECES_AHEAD);
        let mut member = Member {
            replica: Arc::clone(replica),
            main,
            to,
        };
        self.stats.full.fetch_add(1, Ordering::Relaxed);
        let job = self.syncs.job.lock().clone();
        match job {
            Some(job) if job.id == self.state.lock().history.id && job.suits(&replica.traits) => {
                match job.admit(self, member) {
                    Ok(()) => {
                        tracing::info!("Waiting for end of BGSAVE for SYNC");
                        return deliveries;
                    }
                    Err(back) => member = back,
                }
            }
            Some(job) if job.to_sockets => {
                tracing::info!("Current BGSAVE has socket target. Waiting for next BGSAVE for SYNC")
            }
            Some(_) => tracing::info!(
                "Can't attach the replica to the current BGSAVE. Waiting for next BGSAVE for SYNC"
            ),
            None if self.saver.status.in_progress.load(Ordering::Acquire) => tracing::info!(
                "Can't attach the replica to the current BGSAVE. Waiting for next BGSAVE for SYNC"
            ),
            None if self.engine.keyspace.snapshot_running() => tracing::info!(
                "No BGSAVE in progress, but another BG operation is active. BGSAVE for \
                 replication delayed"
            ),
            None if self.delay_ms(&replica.traits) > 0 => {
                tracing::info!("Delay next BGSAVE for diskless SYNC");
            }
            None => {}
        }
        self.syncs.waiting.lock().push(member);
        self.sync_wanted.notify_one();
        deliveries
    }

    /// Whether a snapshot for replicas is on its way.
    pub fn full_sync_running(&self) -> bool {
        self.syncs.job.lock().is_some()
    }

    /// So many bytes of stream wait for a replica behind its snapshot, of so many that have come
    /// since. While either is on the way to its limit the snapshot is not held back for the
    /// clients' sake: a replica that is cut off begins anew.
    pub(super) fn mind_sync(&self, waiting: u64, behind: u64, limit: &OutputLimit) {
        if let Some(job) = &*self.syncs.job.lock() {
            let of = |bytes: u64| Behind {
                bytes: bytes as f64,
                done: job.progress.keys.load(Ordering::Relaxed) as f64,
                total: job.progress.total_keys.load(Ordering::Relaxed) as f64,
                seconds: job.begun.elapsed().as_secs_f64(),
            };
            // What a replica takes beside its data set waits there, within a limit like ours.
            let both = OutputLimit {
                hard_bytes: limit.hard_bytes.saturating_mul(2),
                soft_bytes: 0,
                soft_seconds: 0,
            };
            if of(waiting).threatens(limit) || of(behind).threatens(&both) {
                job.progress.hurry();
            }
        }
    }

    /// How long such a replica waits for company.
    fn delay_ms(&self, traits: &Traits) -> i64 {
        let settings = self.engine.config.current();
        let r = &settings.replication;
        if r.repl_diskless_sync && traits.eof {
            i64::from(r.repl_diskless_sync_delay_seconds) * 1000
        } else {
            0
        }
    }

    /// Begins a snapshot if replicas wait and it is time; gives up one that nobody wants.
    pub(super) fn poll_syncs(self: &Arc<Self>, now_ms: i64) {
        self.syncs.waiting.lock().retain(|m| !m.to.is_closed());
        let job = self.syncs.job.lock().clone();
        if let Some(job) = job {
            self.give_up_unwanted(&job);
            return;
        }
        if self.engine.keyspace.snapshot_running()
            || self.saver.status.in_progress.load(Ordering::Acquire)
            || !self.is_time(now_ms)
        {
            return;
        }
        let group = self.next_group();
        if !group.is_empty() {
            self.begin(group);
        }
    }

    /// A replica has left: what was held for it alone goes at once.
    pub(super) fn forget_unwanted(&self) {
        let job = self.syncs.job.lock().clone();
        if let Some(job) = job {
            self.give_up_unwanted(&job);
        }
    }

    /// Ends a snapshot that no replica waits for any more, unless its file is of use as a save.
    fn give_up_unwanted(&self, job: &Job) {
        let is_save = !job.to_sockets && !self.engine.config.current().rdb.save.is_empty();
        let mut members = job.members.lock();
        let wanted = members.iter().flatten().any(|m| !m.to.is_closed());
        if is_save || wanted || members.is_none() {
            return;
        }
        if !job.to_sockets {
            // From here on nobody joins.
            *members = None;
        }
        drop(members);
        // Its thread may take a while to notice.
        *job.pin.lock() = None;
        if !job.progress.cancelled.swap(true, Ordering::AcqRel) && job.to_sockets {
            tracing::warn!("Diskless rdb transfer, last replica dropped, killing fork child.");
        }
    }

    /// Whether those who wait have waited long enough.
    fn is_time(&self, now_ms: i64) -> bool {
        let waiting = self.syncs.waiting.lock();
        let max = self
            .engine
            .config
            .current()
            .replication
            .repl_diskless_sync_max_replicas as usize;
        let is_due = |m: &Member| now_ms - m.replica.asked_ms >= self.delay_ms(&m.replica.traits);
        waiting.iter().any(is_due) || max > 0 && waiting.len() >= max
    }

    /// Takes those off the queue whom one snapshot serves.
    fn next_group(&self) -> Vec<Member> {
        let mut waiting = self.syncs.waiting.lock();
        let Some(first) = waiting.first().map(|m| m.replica.traits.clone()) else {
            return Vec::new();
        };
        let all = std::mem::take(&mut *waiting);
        let (group, others) = all
            .into_iter()
            .partition(|m| m.replica.traits.same_contents(&first));
        *waiting = others;
        group
    }

    fn begin(self: &Arc<Self>, group: Vec<Member>) {
        let Some(contents) = group.first().map(|m| m.replica.traits.clone()) else {
            return;
        };
        let diskless = self.engine.config.current().replication.repl_diskless_sync;
        let all_find_marks = group.iter().all(|m| m.replica.traits.eof);
        let beside = contents.side_of.is_some();
        let to_sockets = (diskless || beside || contents.is_filtered()) && all_find_marks;
        let target = match (to_sockets, beside) {
            (true, true) => "replicas sockets (rdb-channel)",
            (true, false) => "replicas sockets",
            (false, _) => "disk",
        };
        tracing::info!("Starting BGSAVE for SYNC with target: {target}");
        let begun = self.engine.keyspace.snapshot(|| self.instant());
        let (snapshot, (point, id, pin)) = match begun {
            Ok(begun) => begun,
            Err(_) => {
                self.syncs.waiting.lock().extend(group);
                return;
            }
        };
        let job = Arc::new(Job {
            to_sockets,
            contents,
            id,
            offset: point.offset,
            pin: Mutex::new(pin),
            members: Mutex::new(Some(Vec::new())),
            progress: Arc::new(Progress::default()),
            begun: Instant::now(),
        });
        self.saver.lend(&job.progress);
        *self.syncs.job.lock() = Some(Arc::clone(&job));
        for member in group {
            // Nobody has ended it yet.
            let _ = job.admit(self, member);
        }
        if to_sockets {
            // Nobody joins any more, and those who have hold what they need.
            *job.pin.lock() = None;
        }
        let what = if to_sockets { "RDB transfer" } else { "saving" };
        tracing::info!("Background {what} started by pid {}", std::process::id());
        let me = Arc::clone(self);
        let worker = std::thread::Builder::new().name("repl_sync".to_owned());
        let run = Arc::clone(&job);
        let spawned = worker.spawn(move || {
            match run.to_sockets {
                true => pacing::yield_to_machine(),
                false => pacing::yield_until_hurried(),
            }
            me.run_job(&run, snapshot, point);
        });
        if let Err(e) = spawned {
            tracing::warn!("Can't save in background: {e}");
            self.end_job(&job, None);
        }
    }

    /// What belongs to the instant of the snapshot; every shard is locked.
    fn instant(&self) -> (StreamPoint, ReplId, Option<Cursor>) {
        let s = self.state.lock();
        let position = self.engine.log.position();
        let pin = self.engine.log.reader_at_end();
        if s.primary.is_none() {
            // The replicas begin in database 0, whatever the stream has selected.
            self.engine.log.force_select();
        }
        let point = StreamPoint {
            replid: s.history.id.to_string(),
            offset: position.offset,
            db: i64::from(position.db.unwrap_or(0)),
        };
        (point, s.history.id, pin)
    }

    fn run_job(&self, job: &Arc<Job>, snapshot: Snapshot, point: StreamPoint) {
        let functions = match job.contents.without_functions {
            true => Vec::new(),
            false => self.saver.functions.lock().clone(),
        };
        let heading = Heading {
            point: Some(point),
            functions,
            without_data: job.contents.without_data,
            ..Heading::default()
        };
        if job.to_sockets {
            let outcome = self.write_to_sockets(job, snapshot, &heading);
            self.end_sockets(job, outcome);
        } else {
            self.write_to_disk(job, snapshot, &heading);
        }
    }

    fn write_to_disk(&self, job: &Arc<Job>, snapshot: Snapshot, heading: &Heading) {
        let settings = self.engine.config.settings();
        let dirty = snapshot.dirty();
        let temp = format!("temp-{}.repl.rdb", std::process::id());
        let target = Target {
            dir: Path::new("."),
            name: &settings.rdb.dbfilename.to_string_lossy(),
            temp: &temp,
            incremental_fsync: settings.rdb.rdb_save_incremental_fsync,
        };
        let config = &self.engine.config;
        let _claim = self.saver.name.claim();
        let written = file::write(&target, snapshotting::format(config), |writer| {
            snapshotting::write(snapshot, writer, heading, config, &job.progress)
        });
        let saved = written.and_then(|written| {
            deliver(job, &written);
            written.name(&target)
        });
        match saved {
            Ok(()) => {
                tracing::info!("DB saved on disk");
                tracing::info!("Background saving terminated with success");
                self.note_sync_file();
                self.end_job(job, Some(dirty));
            }
            Err(_) if job.progress.cancelled.load(Ordering::Relaxed) => {
                tracing::warn!("Background saving terminated by signal 10");
                self.fail_job(job);
            }
            Err(e) => {
                tracing::warn!("{e}");
                tracing::warn!("Background saving error");
                self.saver.note_failure();
                self.fail_job(job);
            }
        }
    }

    fn write_to_sockets(
        &self,
        job: &Arc<Job>,
        snapshot: Snapshot,
        heading: &Heading,
    ) -> io::Result<()> {
        let mark = random::run_id();
        let mark: [u8; MARK_BYTES] = mark.as_bytes().try_into().map_err(io::Error::other)?;
        let config = &self.engine.config;
        let mut fan = FanOut::new(job);
        fan.send(|| Delivery::Mark(mark))?;
        let mut writer = Writer::new(&mut fan, snapshotting::format(config));
        snapshotting::write(snapshot, &mut writer, heading, config, &job.progress)?;
        writer.finish()?;
        Ok(())
    }

    fn end_sockets(&self, job: &Arc<Job>, outcome: io::Result<()>) {
        match outcome {
            Ok(()) => {
                let up = job.receivers().len();
                tracing::info!(
                    "Diskless rdb transfer, done reading from pipe, {up} replicas still up."
                );
                tracing::info!("Background RDB transfer terminated with success");
                for member in self.end_job(job, None) {
                    let _ = member.to.blocking_send(Delivery::End);
                }
            }
            Err(_)
                if job.progress.cancelled.load(Ordering::Relaxed)
                    && job.contents.side_of.is_none() =>
            {
                tracing::warn!("Background transfer terminated by signal 10");
                self.fail_job(job);
            }
            Err(e) => {
                tracing::warn!("Background transfer error: {e}");
                self.fail_job(job);
            }
        }
    }

    fn fail_job(&self, job: &Arc<Job>) {
        for member in self.end_job(job, None) {
            if !member.to.is_closed() {
                tracing::warn!("SYNC failed. BGSAVE child returned an error");
            }
            // One that has too much to take yet notices that nothing follows.
            let _ = member.to.try_send(Delivery::Failed);
        }
    }

    /// Ends a job, whose members are given back. `saved`: changes that are in the file now.
    fn end_job(&self, job: &Arc<Job>, saved: Option<u64>) -> Vec<Member> {
        let members = job.members.lock().take();
        *job.pin.lock() = None;
        *self.syncs.job.lock() = None;
        self.saver.give_back(saved);
        self.sync_wanted.notify_one();
        members.unwrap_or_default()
    }

    /// Stops the snapshot that is on its way: what it shows is about to be replaced.
    pub(super) fn cancel_sync(&self) {
        if let Some(job) = &*self.syncs.job.lock() {
            job.progress.cancelled.store(true, Ordering::Release);
        }
    }

    /// The first replica needs a backlog, and what came before it is not in any.
    pub(super) fn ensure_backlog(&self, history: &mut History) {
        if self.engine.log.backlog().is_none() {
            *history = History::default();
            self.create_backlog();
            tracing::info!(
                "Replication backlog created, my new replication IDs are '{}' and '{}'",
                history.id,
                history.id2
            );
        }
    }
}

/// Gives the file to those who have joined; nobody joins any more. That the disk has all of it is
/// of no concern to them, and may take it seconds.
fn deliver(job: &Job, written: &Written) {
    let members = job.members.lock().take();
    for member in members.into_iter().flatten() {
        let delivery = match written.open() {
            Ok(file) => Delivery::File(file, written.size()),
            Err(e) => {
                tracing::warn!("SYNC failed. Can't open/stat DB after BGSAVE: {e}");
                Delivery::Failed
            }
        };
        // One that has gone needs none.
        let _ = member.to.blocking_send(delivery);
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::super::saving::Saver;
    use super::*;
    use crate::command::testing::TestServer;

    /// A snapshot on its way to so many replicas, and what they are given.
    pub fn job(replicas: usize) -> (Arc<Job>, Vec<Deliveries>) {
        let engine = Arc::clone(&TestServer::new().engine);
        let (members, all) = (0..replicas)
            .map(|_| {
                let (to, deliveries) = mpsc::channel(PIECES_AHEAD);
                let client = engine.clients.unlisted(0);
                let replica = Arc::new(Replica::new(client, Traits::default(), 0));
                let main = None;
                (Member { replica, main, to }, deliveries)
            })
            .unzip();
        let job = Job {
            to_sockets: true,
            contents: Traits::default(),
            id: ReplId::NONE,
            offset: 0,
            pin: Mutex::default(),
            members: Mutex::new(Some(members)),
            progress: Arc::default(),
            begun: Instant::now(),
        };
        (Arc::new(job), all)
    }

    #[test]
    fn a_snapshot_hurries_for_the_sake_of_a_limit_and_not_if_there_is_none() {
        const MB: u64 = 1 << 20;
        let engine = Arc::clone(&TestServer::new().engine);
        let saver = Arc::new(Saver::new(Arc::clone(&engine)));
        let repl = Replication::new(engine, saver, Arc::default());
        let hurries = |hard_bytes, soft_bytes, soft_seconds, waiting, behind| {
            let (job, _deliveries) = job(1);
            job.progress.total_keys.store(100, Ordering::Relaxed);
            job.progress.keys.store(50, Ordering::Relaxed);
            *repl.syncs.job.lock() = Some(Arc::clone(&job));
            let limit = OutputLimit {
                hard_bytes,
                soft_bytes,
                soft_seconds,
            };
            repl.mind_sync(waiting, behind, &limit);
            job.progress.hurries()
        };
        // Half of the keys are written: twice as much will wait by the end.
        assert!(!hurries(64 * MB, 0, 0, 23 * MB, 0));
        assert!(hurries(64 * MB, 0, 0, 25 * MB, 0));
        assert!(hurries(0, 64 * MB, 0, 17 * MB, 0));
        assert!(!hurries(0, 64 * MB, 60, 60 * MB, 0));
        assert!(!hurries(256 * MB, 64 * MB, 60, 60 * MB, 0));
        assert!(!hurries(0, 0, 0, u64::MAX, 0));
        // A replica that takes the stream holds as much again.
        assert!(!hurries(64 * MB, 0, 0, 0, 47 * MB));
        assert!(hurries(64 * MB, 0, 0, 0, 49 * MB));
        assert!(!hurries(64 * MB, 64 * MB, 60, 23 * MB, 47 * MB));
        assert!(!hurries(0, 0, 0, 0, u64::MAX));
    }
}

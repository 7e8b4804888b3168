//! The writer against a disk that is full, slow or broken, on a clock that the test turns.

use super::*;
use crate::oplog::durable::Durability;
use crate::oplog::effect::UnitEffects;
use crate::oplog::log::Log;
use parking_lot::Mutex;

#[derive(Debug, Default)]
struct Disk {
    content: Vec<u8>,
    on_disk: usize,
    /// Bytes the file may have; more is ENOSPC.
    room: Option<usize>,
    /// Bytes one write takes at most.
    short: Option<usize>,
    sync_error: Option<i32>,
    truncate_fails: bool,
    syncs: usize,
}

#[derive(Debug, Default)]
struct FakeFile(Mutex<Disk>);

impl AofFile for FakeFile {
    fn append(&self, bytes: &[u8]) -> io::Result<usize> {
        let mut disk = self.0.lock();
        let room = disk
            .room
            .map_or(usize::MAX, |room| room.saturating_sub(disk.content.len()));
        if room == 0 {
            return Err(io::Error::from_raw_os_error(NO_SPACE));
        }
        let n = bytes.len().min(room).min(disk.short.unwrap_or(usize::MAX));
        disk.content.extend_from_slice(&bytes[..n]);
        Ok(n)
    }

    fn sync(&self) -> io::Result<()> {
        let mut disk = self.0.lock();
        disk.syncs += 1;
        if let Some(error) = disk.sync_error {
            return Err(io::Error::from_raw_os_error(error));
        }
        disk.on_disk = disk.content.len();
        Ok(())
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        let mut disk = self.0.lock();
        if disk.truncate_fails {
            return Err(io::Error::from_raw_os_error(libc::EIO));
        }
        disk.content.truncate(len as usize);
        Ok(())
    }
}

#[derive(Clone, Default)]
struct ManualSync {
    started: Arc<Mutex<Vec<Arc<dyn AofFile>>>>,
    result: Arc<Mutex<Option<io::Result<()>>>>,
}

impl BackgroundSync for ManualSync {
    fn start(&mut self, file: Arc<dyn AofFile>) {
        self.started.lock().push(file);
    }

    fn poll(&mut self) -> Option<io::Result<()>> {
        self.result.lock().take()
    }
}

struct Bench {
    log: Arc<Log>,
    file: Arc<FakeFile>,
    sync: ManualSync,
    status: Arc<Status>,
    engine: Engine,
}

impl Bench {
    fn new(fsync: Fsync) -> Self {
        Self::with_select(fsync, None)
    }

    fn with_select(fsync: Fsync, select: Option<u32>) -> Self {
        let log = Log::new();
        log.set_offset(1000, select).unwrap();
        let file = Arc::new(FakeFile::default());
        let status = Arc::new(Status::default());
        let sync = ManualSync::default();
        let engine = Engine::new(
            log.aof_reader().unwrap(),
            Target {
                file: file.clone(),
                size: 0,
                select,
            },
            Policy {
                fsync,
                no_sync_during_snapshot: false,
            },
            Arc::clone(&status),
            Box::new(sync.clone()),
            0,
        );
        Self {
            log,
            file,
            sync,
            status,
            engine,
        }
    }

    fn append(&self, name: &str) -> u64 {
        let mut unit = UnitEffects::new();
        unit.push(0, &[name.as_bytes()]);
        self.log.append(&unit)
    }

    /// Steps until the engine would sleep or is done for.
    fn run(&mut self, now_ms: u64) -> Next {
        loop {
            match self.engine.step(now_ms) {
                Next::Again => {}
                next => return next,
            }
        }
    }

    fn content(&self) -> String {
        String::from_utf8(self.file.0.lock().content.clone()).unwrap()
    }

    fn durability(&self) -> &Durability {
        self.log.durability()
    }
}

const SELECT_0: &str = "*2\r\n$6\r\nSELECT\r\n$1\r\n0\r\n";
const A: &str = "*1\r\n$1\r\nA\r\n";
const B: &str = "*1\r\n$1\r\nB\r\n";

#[test]
fn always_syncs_once_for_all_that_came_before_and_then_releases_replies() {
    let mut bench = Bench::new(Fsync::Always);
    assert_eq!(bench.durability().need(), Need::Synced);
    let first = bench.append("A");
    let second = bench.append("B");
    assert!(!bench.durability().is_reached(first));
    assert_eq!(bench.run(5), Next::Sleep { timeout_ms: None });
    assert!(bench.durability().is_reached(second));
    assert_eq!(bench.content(), format!("{SELECT_0}{A}{B}"));
    assert_eq!(bench.file.0.lock().syncs, 1);
    assert_eq!(bench.run(6), Next::Sleep { timeout_ms: None });
    assert_eq!(bench.file.0.lock().syncs, 1, "nothing new, nothing to sync");
}

#[test]
fn always_ends_the_process_when_it_cannot_write_or_sync() {
    let mut bench = Bench::new(Fsync::Always);
    bench.file.0.lock().room = Some(10);
    let offset = bench.append("A");
    assert_eq!(bench.run(0), Next::Fatal);
    assert!(!bench.durability().is_reached(offset));
    assert_eq!(
        bench.content(),
        "",
        "the part that was written is taken out again"
    );

    let mut bench = Bench::new(Fsync::Always);
    bench.file.0.lock().sync_error = Some(libc::EIO);
    let offset = bench.append("A");
    assert_eq!(bench.run(0), Next::Fatal);
    bench.file.0.lock().sync_error = None;
    assert_eq!(bench.run(5000), Next::Fatal, "a later fsync proves nothing");
    assert!(!bench.durability().is_reached(offset));
}

#[test]
fn everysec_releases_replies_when_written_and_syncs_after_a_second() {
    let mut bench = Bench::new(Fsync::EverySec);
    let offset = bench.append("A");
    assert_eq!(bench.durability().need(), Need::Written);
    assert!(!bench.durability().is_reached(offset));
    assert_eq!(
        bench.run(100),
        Next::Sleep {
            timeout_ms: Some(900)
        }
    );
    assert!(bench.durability().is_reached(offset));
    assert_eq!(bench.durability().synced_offset(), 1000);
    assert!(bench.sync.started.lock().is_empty());

    // Due by time alone, without another write.
    let collects = Next::Sleep {
        timeout_ms: Some(10),
    };
    assert_eq!(bench.run(1000), collects);
    assert_eq!(bench.sync.started.lock().len(), 1);
    assert!(bench.status.is_sync_pending());
    assert!(!bench.engine.wants_more(), "it comes back by itself");
    // While the disk syncs, replies do not wait for it.
    let later = bench.append("B");
    assert!(bench.durability().is_reached(later));
    bench.run(1100);
    assert_eq!(bench.content(), format!("{SELECT_0}{A}{B}"));

    *bench.sync.result.lock() = Some(Ok(()));
    bench.run(1200);
    assert_eq!(
        bench.durability().synced_offset(),
        offset,
        "what came during it is not covered"
    );
    assert_eq!(bench.durability().need(), Need::Written);
    bench.run(2000);
    assert_eq!(bench.sync.started.lock().len(), 2);
    *bench.sync.result.lock() = Some(Ok(()));
    bench.run(2001);
    assert_eq!(bench.durability().synced_offset(), later);
    assert_eq!(bench.run(9999), Next::Sleep { timeout_ms: None });
    assert_eq!(
        bench.sync.started.lock().len(),
        2,
        "idle and synced: nothing to do"
    );
}

#[test]
fn everysec_counts_a_sync_that_takes_too_long_once() {
    let mut bench = Bench::new(Fsync::EverySec);
    bench.append("A");
    bench.run(1000);
    for now_ms in [2000, 3100, 3200] {
        bench.append("B");
        bench.run(now_ms);
    }
    assert_eq!(bench.status.delayed_fsyncs(), 1);
}

#[test]
fn a_background_sync_that_fails_refuses_writes_until_one_succeeds() {
    let mut bench = Bench::new(Fsync::EverySec);
    bench.append("A");
    bench.run(1000);
    *bench.sync.result.lock() = Some(Err(io::Error::from_raw_os_error(libc::EIO)));
    bench.run(1010);
    assert_eq!(
        bench.status.misconf().unwrap(),
        "MISCONF Errors writing to the AOF file: Input/output error"
    );
    bench.run(2010);
    assert_eq!(bench.sync.started.lock().len(), 2);
    *bench.sync.result.lock() = Some(Ok(()));
    bench.run(2020);
    assert_eq!(bench.status.misconf(), None);
}

#[test]
fn no_never_syncs_by_itself() {
    let mut bench = Bench::new(Fsync::No);
    let offset = bench.append("A");
    assert_eq!(bench.run(5000), Next::Sleep { timeout_ms: None });
    assert!(bench.durability().is_reached(offset));
    assert_eq!(
        (bench.file.0.lock().syncs, bench.sync.started.lock().len()),
        (0, 0)
    );
}

#[test]
fn short_writes_that_go_on_are_no_error() {
    let mut bench = Bench::new(Fsync::EverySec);
    bench.file.0.lock().short = Some(3);
    bench.append("A");
    bench.run(0);
    assert_eq!(bench.content(), format!("{SELECT_0}{A}"));
    assert_eq!(bench.status.error(), None);
}

#[test]
fn a_full_disk_leaves_whole_commands_and_loses_none_once_there_is_room() {
    let whole = format!("{SELECT_0}{A}{B}");
    for room in 0..=whole.len() {
        let mut bench = Bench::new(Fsync::EverySec);
        bench.append("A");
        bench.run(0);
        let good = bench.content();
        bench.file.0.lock().room = Some(room.max(good.len()));
        let offset = bench.append("B");
        bench.run(10);
        if room < whole.len() {
            assert_eq!(bench.content(), good, "a partial write is taken out again");
            assert_eq!(
                bench.status.misconf().unwrap(),
                "MISCONF Errors writing to the AOF file: No space left on device"
            );
            assert!(
                bench.durability().is_reached(offset),
                "replies are not held back for ever"
            );
            // Not tried again before a second is over, whatever wakes it.
            bench.file.0.lock().room = None;
            assert_eq!(
                bench.run(500),
                Next::Sleep {
                    timeout_ms: Some(510)
                }
            );
            bench.run(1010);
        }
        assert_eq!(bench.content(), whole);
        assert_eq!(bench.status.error(), None);
        assert_eq!(bench.durability().written_offset(), offset);
        assert_eq!(
            bench.durability().need(),
            if room < whole.len() {
                Need::Accepted
            } else {
                Need::Written
            }
        );
    }
}

#[test]
fn a_short_write_that_cannot_be_undone_is_continued() {
    let whole = format!("{SELECT_0}{A}");
    for room in 1..whole.len() {
        let mut bench = Bench::new(Fsync::EverySec);
        *bench.file.0.lock() = Disk {
            room: Some(room),
            truncate_fails: true,
            ..Disk::default()
        };
        bench.append("A");
        bench.run(0);
        assert_eq!(bench.content(), whole[..room]);
        bench.file.0.lock().room = None;
        bench.run(2000);
        assert_eq!(bench.content(), whole);
    }
}

#[test]
fn no_sync_during_a_snapshot_when_configured() {
    let mut bench = Bench::new(Fsync::Always);
    bench.engine.configure(Policy {
        fsync: Fsync::Always,
        no_sync_during_snapshot: true,
    });
    bench.status.set_snapshot_running(true);
    let offset = bench.append("A");
    assert_eq!(
        bench.run(0),
        Next::Sleep {
            timeout_ms: Some(100)
        }
    );
    assert!(
        bench.durability().is_reached(offset),
        "written is enough meanwhile"
    );
    assert_eq!(bench.durability().synced_offset(), 1000);
    bench.status.set_snapshot_running(false);
    bench.run(100);
    assert_eq!(bench.durability().synced_offset(), offset);
    assert_eq!(bench.durability().need(), Need::Synced);
}

#[test]
fn turning_to_always_syncs_what_is_owed() {
    let mut bench = Bench::new(Fsync::EverySec);
    let offset = bench.append("A");
    bench.run(0);
    bench.engine.configure(Policy {
        fsync: Fsync::Always,
        no_sync_during_snapshot: false,
    });
    assert!(!bench.durability().is_reached(offset));
    bench.run(1);
    assert!(bench.durability().is_reached(offset));
}

#[test]
fn a_file_begins_with_the_database_of_the_stream() {
    let mut bench = Bench::with_select(Fsync::EverySec, Some(0));
    bench.run(0);
    assert_eq!(bench.content(), "", "not before there is a command");
    bench.append("A");
    bench.run(0);
    assert_eq!(bench.content(), format!("{SELECT_0}{A}"));
    assert_eq!(
        bench.log.end_offset(),
        1000 + A.len() as u64,
        "the stream has no SELECT"
    );

    // The stream's own SELECT is enough.
    let mut bench = Bench::with_select(Fsync::EverySec, Some(3));
    bench.append("A");
    bench.run(0);
    assert_eq!(bench.content(), format!("{SELECT_0}{A}"));
}

fn rotate(bench: &mut Bench, next: Option<&Arc<FakeFile>>) -> Arc<Mutex<Option<io::Result<u64>>>> {
    let at = bench.log.aof_barrier();
    let next = next.cloned();
    let old = Arc::clone(&bench.file);
    let open: Open = Box::new(move |_| {
        let disk = old.0.lock();
        assert_eq!(
            disk.on_disk,
            disk.content.len(),
            "the old file is on disk before the new"
        );
        let file = next.ok_or_else(|| io::Error::from_raw_os_error(libc::EACCES))?;
        Ok(file as Arc<dyn AofFile>)
    });
    let result = Arc::new(Mutex::new(None));
    let answer = Arc::clone(&result);
    let done: Rotated = Box::new(move |outcome| *answer.lock() = Some(outcome));
    bench
        .engine
        .rotations
        .push_back(Rotation { at, open, done });
    result
}

#[test]
fn a_rotation_splits_the_stream_at_its_offset() {
    let mut bench = Bench::new(Fsync::EverySec);
    bench.append("A");
    let next = Arc::new(FakeFile::default());
    let result = rotate(&mut bench, Some(&next));
    bench.append("B");
    bench.run(0);
    assert_eq!(bench.content(), format!("{SELECT_0}{A}"));
    let second = String::from_utf8(next.0.lock().content.clone()).unwrap();
    assert_eq!(second, format!("{SELECT_0}{B}"));
    assert!(matches!(*result.lock(), Some(Ok(size)) if size == bench.content().len() as u64));
    assert_eq!(bench.durability().written_offset(), bench.log.end_offset());
}

#[test]
fn a_rotation_that_fails_goes_on_in_the_old_file() {
    let mut bench = Bench::new(Fsync::EverySec);
    bench.append("A");
    let result = rotate(&mut bench, None);
    bench.append("B");
    bench.run(0);
    assert_eq!(bench.content(), format!("{SELECT_0}{A}{B}"));
    assert!(matches!(*result.lock(), Some(Err(_))));
}

/// A file that notes what replies wait for while it is synced.
#[derive(Debug)]
struct Watched {
    log: Arc<Log>,
    seen: Mutex<Vec<Need>>,
}

impl AofFile for Watched {
    fn append(&self, bytes: &[u8]) -> io::Result<usize> {
        Ok(bytes.len())
    }

    fn sync(&self) -> io::Result<()> {
        self.seen.lock().push(self.log.durability().need());
        Ok(())
    }

    fn truncate(&self, _: u64) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn replies_wait_for_the_fsync_of_a_rotation_under_always_alone() {
    for (fsync, meanwhile, otherwise) in [
        (Fsync::EverySec, Need::Accepted, Need::Written),
        (Fsync::No, Need::Accepted, Need::Written),
        (Fsync::Always, Need::Synced, Need::Synced),
    ] {
        let mut bench = Bench::new(fsync);
        let watched = Arc::new(Watched {
            log: Arc::clone(&bench.log),
            seen: Mutex::default(),
        });
        bench.engine.target.file = watched.clone();
        let done = Arc::new(FakeFile::default());
        for next in [None, Some(&done)] {
            bench.append("A");
            rotate(&mut bench, next);
            bench.run(0);
            assert_eq!(watched.seen.lock().last(), Some(&meanwhile));
            assert_eq!(bench.durability().need(), otherwise);
        }
    }
}

#[test]
fn a_thread_with_other_work_appends_and_does_nothing_else() {
    for fsync in [Fsync::EverySec, Fsync::No] {
        let mut bench = Bench::new(fsync);
        let offset = bench.append("A");
        assert!(bench.engine.commit(100));
        assert!(bench.durability().is_reached(offset) && bench.engine.is_unsynced());
        assert!(bench.engine.commit(101), "there is nothing left to do");
        bench.append(&"A".repeat(COMMIT_BYTES as usize));
        assert!(!bench.engine.commit(102), "that takes a while");
        bench.run(102);
        bench.file.0.lock().room = Some(0);
        let offset = bench.append("B");
        assert!(!bench.engine.commit(103), "to be tried again by the thread");
        assert_eq!(bench.durability().need(), Need::Accepted);
        bench.file.0.lock().room = None;
        assert!(!bench.engine.commit(5000));
        bench.run(5000);
        assert_eq!(bench.durability().written_offset(), offset);
    }
    let mut bench = Bench::new(Fsync::EverySec);
    bench.append("A");
    assert!(
        bench.engine.commit(1000),
        "it may start the fsync that is due"
    );
    assert_eq!(bench.sync.started.lock().len(), 1);
    bench.append("B");
    assert!(!bench.engine.commit(1001), "and then leaves the file alone");
    *bench.sync.result.lock() = Some(Ok(()));
    bench.run(1002);
    let next = Arc::new(FakeFile::default());
    bench.append("C");
    rotate(&mut bench, Some(&next));
    assert!(!bench.engine.commit(1003));
    let mut bench = Bench::new(Fsync::EverySec);
    bench.log.aof_barrier();
    bench.append("A");
    assert!(!bench.engine.commit(0), "the order for it is on its way");
    let mut bench = Bench::new(Fsync::Always);
    bench.append("A");
    assert!(!bench.engine.commit(0));
    assert_eq!(bench.content(), "");
}

#[test]
fn a_barrier_without_its_order_holds_the_writer() {
    let mut bench = Bench::new(Fsync::EverySec);
    bench.append("A");
    bench.log.aof_barrier();
    bench.append("B");
    bench.run(0);
    assert_eq!(bench.content(), format!("{SELECT_0}{A}"));
    assert!(!bench.engine.wants_more());
}

#[test]
fn flush_brings_everything_to_disk_or_says_why_not() {
    let mut bench = Bench::new(Fsync::No);
    bench.append("A");
    let next = Arc::new(FakeFile::default());
    rotate(&mut bench, Some(&next));
    let offset = bench.append("B");
    assert_eq!(bench.engine.flush(0).unwrap(), offset);
    assert_eq!(bench.durability().synced_offset(), offset);
    {
        let disk = next.0.lock();
        assert_eq!(disk.on_disk, disk.content.len());
    }

    next.0.lock().room = Some(0);
    bench.append("A");
    let error = bench.engine.flush(1).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(NO_SPACE));
}

#[test]
fn annotations_go_to_the_file_alone() {
    let mut bench = Bench::new(Fsync::EverySec);
    bench.log.set_annotations(true);
    let mut unit = UnitEffects::new();
    unit.set_unix_s(1_628_217_470);
    unit.push(0, &[b"A"]);
    bench.log.append(&unit);
    bench.run(0);
    assert_eq!(bench.content(), format!("#TS:1628217470\r\n{SELECT_0}{A}"));
    assert_eq!(
        bench.log.end_offset(),
        1000 + (SELECT_0.len() + A.len()) as u64
    );
}

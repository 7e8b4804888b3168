//! The thread on real files, and on a disk that takes its time.

use super::super::status::Fsync;
use super::*;
use crate::oplog::effect::UnitEffects;
use std::fs::{self, OpenOptions};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

fn open(path: &Path) -> io::Result<Arc<dyn AofFile>> {
    let file = OpenOptions::new().append(true).create(true).open(path)?;
    Ok(Arc::new(file))
}

fn append(log: &Log, number: u32) -> u64 {
    let mut unit = UnitEffects::new();
    unit.push(0, &[b"SET", number.to_string().as_bytes()]);
    let offset = log.append(&unit);
    log.wake();
    offset
}

fn block_on<F: Future>(future: F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build();
    runtime.unwrap().block_on(future)
}

fn start(log: &Arc<Log>, path: &Path, fsync: Fsync) -> Writer {
    start_on(log, open(path).unwrap(), fsync)
}

fn start_on(log: &Arc<Log>, file: Arc<dyn AofFile>, fsync: Fsync) -> Writer {
    Writer::start(
        log.aof_reader().unwrap(),
        Target {
            file,
            size: 0,
            select: None,
        },
        Policy {
            fsync,
            no_sync_during_snapshot: false,
        },
        Arc::new(Status::default()),
        Arc::new(|| panic!("fatal")),
    )
    .unwrap()
}

#[test]
fn replies_are_released_by_a_thread_nobody_nudges() {
    let dir = tempfile::tempdir().unwrap();
    let log = Log::new();
    let path = dir.path().join("a");
    let writer = start(&log, &path, Fsync::Always);
    for number in 0..20 {
        let offset = append(&log, number);
        block_on(log.durability().wait(offset));
        assert!(fs::metadata(&path).unwrap().len() >= offset);
    }
    assert_eq!(writer.stop().unwrap(), log.end_offset());
    assert!(!log.is_active());
    assert_eq!(log.durability().need(), Need::Nothing);
}

/// A file whose fsync takes its time.
#[derive(Debug)]
struct SlowDisk(AtomicUsize);

impl AofFile for SlowDisk {
    fn append(&self, bytes: &[u8]) -> io::Result<usize> {
        Ok(bytes.len())
    }

    fn sync(&self) -> io::Result<()> {
        self.0.fetch_add(1, Ordering::Relaxed);
        thread::sleep(Duration::from_millis(20));
        Ok(())
    }

    fn truncate(&self, _: u64) -> io::Result<()> {
        Ok(())
    }
}

fn start_slow(log: &Arc<Log>) -> (Writer, Arc<SlowDisk>) {
    let disk = Arc::new(SlowDisk(AtomicUsize::new(0)));
    let writer = start_on(log, disk.clone(), Fsync::Always);
    (writer, disk)
}

#[test]
fn clients_of_a_slow_disk_share_each_fsync() {
    const ROUNDS: usize = 40;
    let log = Log::new();
    let (writer, disk) = start_slow(&log);
    thread::scope(|scope| {
        for client in 0..4 {
            let log = &log;
            scope.spawn(move || {
                // They do not begin together.
                thread::sleep(Duration::from_millis(5 * client));
                for number in 0..ROUNDS {
                    let offset = append(log, 10 + u32::try_from(number).unwrap());
                    block_on(log.durability().wait(offset));
                }
            });
        }
    });
    let syncs = disk.0.load(Ordering::Relaxed);
    assert!(
        syncs < 2 * ROUNDS - ROUNDS / 8,
        "{syncs} for {ROUNDS} rounds"
    );
    writer.stop().unwrap();
}

#[test]
fn an_order_that_comes_while_company_is_awaited_is_carried_out() {
    let log = Log::new();
    let (writer, _) = start_slow(&log);
    for number in 0..5 {
        // The next one is shorter, so that more is waited for than comes.
        for number in [u32::MAX - number, number] {
            let offset = append(&log, number);
            if number > 5 {
                block_on(log.durability().wait(offset));
            }
        }
        thread::sleep(Duration::from_micros(200));
        writer.flush().unwrap();
    }
    writer.stop().unwrap();
}

#[test]
fn what_others_write_is_synced_a_second_later() {
    let dir = tempfile::tempdir().unwrap();
    let log = Log::new();
    let path = dir.path().join("a");
    let writer = start(&log, &path, Fsync::EverySec);
    let mut unit = UnitEffects::new();
    unit.push(0, &[b"SET", b"k", b"v"]);
    let offset = log.append(&unit);
    // The thread may still be on its way to sleep, and have the lock.
    while log.durability().written_offset() < offset {
        assert!(log.durability().try_commit());
    }
    assert_eq!(fs::metadata(&path).unwrap().len(), offset);
    let synced = log.durability().wait_synced(offset);
    let wait = async { tokio::time::timeout(Duration::from_secs(10), synced).await };
    block_on(wait).unwrap();
    writer.stop().unwrap();
    append(&log, 1);
    assert!(!log.durability().try_commit(), "there is no AOF any more");
}

#[test]
fn rotations_under_load_lose_and_repeat_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let log = Log::new();
    log.backlog_create(1 << 30);
    let writer = start(&log, &dir.path().join("0"), Fsync::EverySec);
    let rotator = writer.rotator();
    let mut splits = Vec::new();
    thread::scope(|scope| {
        for thread in 0..2 {
            let log = &log;
            scope.spawn(move || {
                for i in 0..20_000 {
                    append(log, thread * 100_000 + i);
                }
            });
        }
        for number in 1..6 {
            thread::sleep(Duration::from_millis(5));
            let path = dir.path().join(number.to_string());
            let at = rotator.rotate_here(
                Box::new(move |_| open(&path)),
                Box::new(|result| assert!(result.is_ok(), "{result:?}")),
            );
            splits.push(at);
        }
    });
    writer.stop().unwrap();
    let mut expected = Vec::new();
    for bytes in log.reader(0).unwrap().try_read(usize::MAX) {
        expected.extend_from_slice(&bytes);
    }
    let mut files = Vec::new();
    for number in 0..6usize {
        let content = fs::read(dir.path().join(number.to_string())).unwrap();
        let select = b"*2\r\n$6\r\nSELECT\r\n$1\r\n0\r\n";
        let from = splits
            .get(number.wrapping_sub(1))
            .and_then(|at| at.db)
            .map_or(0, |_| if content.is_empty() { 0 } else { select.len() });
        files.extend_from_slice(&content[from..]);
    }
    assert!(files == expected);
}

#[test]
fn orders_to_a_stopped_writer_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let log = Log::new();
    let writer = start(&log, &dir.path().join("a"), Fsync::No);
    let rotator = writer.rotator();
    drop(writer);
    let (answer, result) = mpsc::channel();
    rotator.rotate_here(
        Box::new(|_| Err(gone())),
        Box::new(move |outcome| answer.send(outcome.is_err()).unwrap()),
    );
    assert!(result.recv().unwrap());
}

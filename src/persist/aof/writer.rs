//! The writer's thread, its helper for background fsyncs, and the handle to both.

use super::company::Company;
use super::engine::{BackgroundSync, Engine, Next, Open, Policy, Rotated, Rotation};
use super::folder::strerror;
use super::shared::Shared;
use super::sink::{AofFile, Target};
use super::status::{Fsync, Status};
use crate::base::clock;
use crate::oplog::durable::Need;
use crate::oplog::log::{Cursor, Log, Position, Waiter, WakeHandle};
use parking_lot::{Condvar, Mutex};
use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, mpsc};
use std::thread::{self, JoinHandle};
use std::time::Duration;
use tracing::warn;

/// Ends the process; called when a write can neither be made durable nor taken back.
pub type OnFatal = Arc<dyn Fn() + Send + Sync>;

type Answer<T> = mpsc::SyncSender<T>;

enum Order {
    Rotate(Rotation),
    Configure(Policy, Option<Demand>),
    Flush(Answer<io::Result<u64>>),
    /// As `Flush`, then end.
    Stop(Answer<io::Result<u64>>),
}

/// A demand for replies to wait for the disk, until the thread has heard of it.
struct Demand(Arc<Log>);

impl Drop for Demand {
    fn drop(&mut self) {
        self.0.durability().demand_heard();
    }
}

impl Order {
    /// Nobody is there to carry it out. Flush and stop say so by dropping their channel.
    fn refuse(self) {
        if let Order::Rotate(rotation) = self {
            (rotation.done)(Err(gone()));
        }
    }
}

#[derive(Default)]
struct Queue {
    orders: VecDeque<Order>,
    closed: bool,
}

#[derive(Default)]
struct Orders {
    queue: Mutex<Queue>,
}

impl Orders {
    /// The next one. A function, so that the lock is gone before the order is carried out.
    fn next(&self) -> Option<Order> {
        self.queue.lock().orders.pop_front()
    }

    /// Adds what `order` makes while no other order can come in between.
    fn push<T>(&self, order: impl FnOnce() -> (Order, T)) -> T {
        let mut queue = self.queue.lock();
        let (order, result) = order();
        if queue.closed {
            drop(queue);
            order.refuse();
        } else {
            queue.orders.push_back(order);
        }
        result
    }

    fn close(&self) {
        let left = {
            let mut queue = self.queue.lock();
            queue.closed = true;
            std::mem::take(&mut queue.orders)
        };
        left.into_iter().for_each(Order::refuse);
    }
}

/// The writer's thread. Dropping the handle stops it as [`Writer::stop`] does.
pub struct Writer {
    orders: Arc<Orders>,
    wake: WakeHandle,
    log: Arc<Log>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Writer {
    /// Starts the thread. `cursor` stands where `target` begins or goes on.
    pub fn start(
        cursor: Cursor,
        target: Target,
        policy: Policy,
        status: Arc<Status>,
        on_fatal: OnFatal,
    ) -> io::Result<Self> {
        let orders = Arc::new(Orders::default());
        let wake = cursor.wake_handle();
        let log = Arc::clone(cursor.log());
        let background = Box::new(SyncThread::start(wake.clone())?);
        let engine = Engine::new(cursor, target, policy, status, background, now_ms());
        let waiter = engine.cursor().waiter();
        let shared = Arc::new(Shared::new(engine, wake.clone()));
        log.durability().set_committer(shared.clone());
        let loop_orders = Arc::clone(&orders);
        let thread = thread::Builder::new()
            .name("aof-writer".to_owned())
            .spawn(move || {
                run(&shared, &waiter, &loop_orders, &on_fatal);
                shared.end();
                loop_orders.close();
            })?;
        Ok(Self {
            orders,
            wake,
            log,
            thread: Mutex::new(Some(thread)),
        })
    }

    /// What starts rotations from elsewhere.
    pub fn rotator(&self) -> Rotator {
        Rotator {
            orders: Arc::clone(&self.orders),
            wake: self.wake.clone(),
            log: Arc::clone(&self.log),
        }
    }

    /// Changes the policy. Under `always`, replies wait for the disk from here on.
    pub fn configure(&self, policy: Policy) {
        let demands = policy.fsync == Fsync::Always && !policy.no_sync_during_snapshot;
        let demand = demands.then(|| {
            self.log.durability().demand_sync();
            Demand(Arc::clone(&self.log))
        });
        self.order(Order::Configure(policy, demand));
    }

    /// Blocks until what the log holds now is in the file and on disk, or cannot be. Returns the
    /// offset up to which the file is complete.
    pub fn flush(&self) -> io::Result<u64> {
        let (answer, result) = mpsc::sync_channel(1);
        self.order(Order::Flush(answer));
        result.recv().unwrap_or_else(|_| Err(gone()))
    }

    /// As [`Writer::flush`], and ends the thread.
    pub fn stop(&self) -> io::Result<u64> {
        let (answer, result) = mpsc::sync_channel(1);
        self.order(Order::Stop(answer));
        let result = result.recv().unwrap_or_else(|_| Err(gone()));
        self.join();
        result
    }

    fn order(&self, order: Order) {
        self.orders.push(|| (order, ()));
        self.wake.wake();
    }

    fn join(&self) {
        let Some(thread) = self.thread.lock().take() else {
            return;
        };
        // The last handle may be dropped by what a rotation on that very thread has called.
        if thread.thread().id() != thread::current().id() && thread.join().is_err() {
            warn!("The AOF writer's thread has died");
        }
        // Nobody brings anything to disk any more, so no reply waits for it.
        self.log.durability().set_need(Need::Nothing);
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        if self.thread.lock().is_some() {
            let (answer, _) = mpsc::sync_channel(1);
            self.order(Order::Stop(answer));
            self.join();
        }
    }
}

/// Splits the file at the present end of the log.
#[derive(Clone)]
pub struct Rotator {
    orders: Arc<Orders>,
    wake: WakeHandle,
    log: Arc<Log>,
}

impl Rotator {
    /// Goes on in another file from here; called with every shard locked, and quick. `open` is
    /// called once the present file is complete and on disk; `done` learns the size of that file,
    /// or why the present file goes on.
    pub fn rotate_here(&self, open: Open, done: Rotated) -> Position {
        // Barrier and order are made in one: a flush ordered later finds both or neither.
        let at = self.orders.push(|| {
            let at = self.log.aof_barrier();
            (Order::Rotate(Rotation { at, open, done }), at)
        });
        self.wake.wake();
        at
    }
}

fn gone() -> io::Error {
    io::Error::other("the AOF writer's thread has ended")
}

fn now_ms() -> u64 {
    clock::mono_us() / 1000
}

fn run(shared: &Shared, waiter: &Waiter, orders: &Orders, on_fatal: &OnFatal) {
    let mut company = Company::new();
    loop {
        while let Some(order) = orders.next() {
            let ends = shared.with(|engine| carry_out(order, engine, on_fatal));
            if ends != Some(false) {
                return;
            }
        }
        if !await_company(shared, waiter, &mut company) {
            continue;
        }
        let step = shared.with(|engine| {
            let next = step(engine, &mut company);
            let beyond = if engine.wants_more() {
                engine.cursor().position()
            } else {
                u64::MAX
            };
            (next, beyond)
        });
        match step {
            Some((Next::Again, _)) => {}
            Some((Next::Sleep { timeout_ms }, beyond)) => {
                waiter.wait_beyond(beyond, timeout_ms.map(Duration::from_millis));
            }
            Some((Next::Fatal, _)) => {
                on_fatal();
                return;
            }
            None => return,
        }
    }
}

/// Waits for those whom the last fsync has released, if the next one is to. `false` if something
/// else has come up meanwhile.
fn await_company(shared: &Shared, waiter: &Waiter, company: &mut Company) -> bool {
    let expected = shared.with(|engine| {
        let end = engine.cursor().log().end_offset();
        let is_asked = engine.syncs_at_once();
        is_asked.then(|| company.expected(end, clock::mono_us()))
    });
    let Some(wait) = expected.flatten().flatten() else {
        return true;
    };
    let left_us = wait.until_us.saturating_sub(clock::mono_us());
    if waiter.wait_beyond(wait.beyond, Some(Duration::from_micros(left_us))) {
        company.waited(true);
        return true;
    }
    if clock::mono_us() < wait.until_us {
        return false;
    }
    // In vain only if somebody has waited with us.
    if shared.with(|engine| engine.cursor().lag() > 0) == Some(true) {
        company.waited(false);
    }
    true
}

/// A step of the engine, of which those learn who wait for company.
fn step(engine: &mut Engine, company: &mut Company) -> Next {
    let syncs = engine.syncs_at_once();
    let (before, began_us) = (engine.written(), clock::mono_us());
    let next = engine.step(began_us / 1000);
    let bytes = engine.written().saturating_sub(before);
    if syncs && bytes > 0 {
        let end = engine.cursor().log().end_offset();
        company.released(bytes, end, began_us, clock::mono_us());
    }
    next
}

/// Whether that was the last one.
fn carry_out(order: Order, engine: &mut Engine, on_fatal: &OnFatal) -> bool {
    match order {
        Order::Rotate(rotation) => engine.rotations.push_back(rotation),
        Order::Configure(policy, demand) => {
            engine.configure(policy);
            drop(demand);
        }
        Order::Flush(answer) => drop(answer.send(engine.flush(now_ms()))),
        Order::Stop(answer) => {
            let result = engine.flush(now_ms());
            for rotation in engine.rotations.drain(..) {
                Order::Rotate(rotation).refuse();
            }
            if engine.is_fatal() {
                on_fatal();
            }
            drop(answer.send(result));
            return true;
        }
    }
    false
}

#[derive(Default)]
struct SyncState {
    job: Option<Arc<dyn AofFile>>,
    result: Option<io::Result<()>>,
    closed: bool,
}

#[derive(Default)]
struct SyncShared {
    state: Mutex<SyncState>,
    changed: Condvar,
}

/// Syncs one file at a time on a thread of its own and wakes the writer when it is done.
struct SyncThread {
    shared: Arc<SyncShared>,
    thread: Option<JoinHandle<()>>,
}

impl SyncThread {
    fn start(wake: WakeHandle) -> io::Result<Self> {
        let shared = Arc::new(SyncShared::default());
        let work = Arc::clone(&shared);
        let thread = thread::Builder::new()
            .name("aof-fsync".to_owned())
            .spawn(move || {
                let mut state = work.state.lock();
                loop {
                    if let Some(file) = state.job.take() {
                        drop(state);
                        let result = file.sync();
                        drop(file);
                        state = work.state.lock();
                        state.result = Some(result);
                        wake.wake();
                    } else if state.closed {
                        return;
                    } else {
                        work.changed.wait(&mut state);
                    }
                }
            })?;
        Ok(Self {
            shared,
            thread: Some(thread),
        })
    }
}

impl BackgroundSync for SyncThread {
    fn start(&mut self, file: Arc<dyn AofFile>) {
        self.shared.state.lock().job = Some(file);
        self.shared.changed.notify_one();
    }

    fn poll(&mut self) -> Option<io::Result<()>> {
        self.shared.state.lock().result.take()
    }
}

impl Drop for SyncThread {
    fn drop(&mut self) {
        self.shared.state.lock().closed = true;
        self.shared.changed.notify_one();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            warn!("The AOF fsync thread has died: {}", strerror(&gone()));
        }
    }
}

#[cfg(test)]
mod tests {
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
        const ROUNDS: usize = 20;
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
            syncs < 2 * ROUNDS - ROUNDS / 4,
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
}

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

    fn are_waiting(&self) -> bool {
        !self.queue.lock().orders.is_empty()
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
        // It may have slept through the call that came with an order.
        if await_company(shared, waiter, &mut company) && orders.are_waiting() {
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

/// Waits for those whom the last fsync has released, if the next one is to. Whether it has slept.
fn await_company(shared: &Shared, waiter: &Waiter, company: &mut Company) -> bool {
    let expected = shared.with(|engine| {
        let end = engine.cursor().log().end_offset();
        let is_asked = engine.syncs_at_once();
        is_asked.then(|| company.expected(end, clock::mono_us()))
    });
    let Some(wait) = expected.flatten().flatten() else {
        return false;
    };
    let left_us = wait.until_us.saturating_sub(clock::mono_us());
    if waiter.wait_beyond(wait.beyond, Some(Duration::from_micros(left_us))) {
        company.waited(true);
    } else if clock::mono_us() >= wait.until_us
        // In vain only if somebody has waited with us.
        && shared.with(|engine| engine.cursor().lag() > 0) == Some(true)
    {
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
mod tests;

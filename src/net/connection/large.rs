//! Replies that take long to format: a helper thread writes them, and the worker's other
//! connections go on.
//!
//! The threads are the worker's own for this ([`threads`]), of lower priority than the workers.
//! That alone would not do: a thread that the system lets run keeps its processor for milliseconds,
//! whoever waits. So it pauses after each piece ([`PAUSE`]) as long as other commands run on the
//! server: an idle processor takes over at once what waits on another.
//!
//! The thread hands pieces on through a [`Flow`]. While the socket takes them, it stays little
//! ahead: it waits where [`AHEAD_BYTES`] have not been sent. A client that does not read for
//! [`PATIENCE`] altogether does not keep a thread: the rest of its reply gathers in memory, as far
//! as `client-output-buffer-limit` lets it. Commands that the client sent behind wait. A connection
//! that ends shuts its flow, and the thread stops at its next piece.

use std::io;
use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use parking_lot::{Condvar, Mutex};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::Notify;

use super::Connection;
use crate::net::worker::Worker;
use crate::resp::reply::Reply;

/// Bytes that the helper thread may be ahead of the socket.
const AHEAD_BYTES: usize = 512 * 1024;
/// How long the thread waits for the socket, over the whole reply.
const PATIENCE: Duration = Duration::from_secs(5);
/// Input that is kept while the reply is written; a client that sends more is not read from.
const INPUT_BYTES: usize = 1024 * 1024;
/// How long a thread gives its processor up between two pieces.
const PAUSE: Duration = Duration::from_micros(100);
/// Pieces for which it does so after other commands have run.
const PAUSES: u32 = 16;
/// Lower than the workers' priority: their clients come first.
const NICENESS: i32 = 5;

/// The way of a reply's pieces from the thread to the connection.
#[derive(Default)]
struct Flow {
    state: Mutex<State>,
    /// Told when there is room, or the connection has ended.
    room: Condvar,
    /// Told when there is something to take.
    news: Notify,
}

#[derive(Default)]
struct State {
    pieces: Vec<Bytes>,
    bytes: usize,
    end: End,
    /// Nobody takes any more.
    shut: bool,
}

/// Whether more pieces come.
#[derive(Default)]
enum End {
    #[default]
    NotYet,
    /// The reply is complete, with errors of these codes.
    Complete(Vec<Box<str>>),
    /// The thread ended before its time: what has been sent is no reply.
    Broken,
}

impl Flow {
    /// Hands pieces on, when there is room or `patience` has run out. `false` if nobody wants them.
    fn put(&self, pieces: Vec<Bytes>, patience: &mut Duration) -> bool {
        let mut state = self.state.lock();
        let begun = Instant::now();
        while state.bytes >= AHEAD_BYTES && !state.shut {
            let left = patience.saturating_sub(begun.elapsed());
            if left.is_zero() || self.room.wait_for(&mut state, left).timed_out() {
                break;
            }
        }
        *patience = patience.saturating_sub(begun.elapsed());
        if state.shut {
            return false;
        }
        state.bytes += pieces.iter().map(Bytes::len).sum::<usize>();
        state.pieces.extend(pieces);
        drop(state);
        self.news.notify_one();
        true
    }

    /// The pieces that wait, and whether they are the last.
    fn take(&self) -> (Vec<Bytes>, End) {
        let mut state = self.state.lock();
        state.bytes = 0;
        let taken = (
            std::mem::take(&mut state.pieces),
            std::mem::take(&mut state.end),
        );
        drop(state);
        self.room.notify_one();
        taken
    }

    fn waiting_bytes(&self) -> usize {
        self.state.lock().bytes
    }
}

/// The thread's end of a flow: however it goes, the connection learns of its end.
struct Sender(Arc<Flow>, End);

impl Drop for Sender {
    fn drop(&mut self) {
        self.0.state.lock().end = std::mem::take(&mut self.1);
        self.0.news.notify_one();
    }
}

/// The connection's end of a flow: dropping it stops the thread.
struct Receiver(Arc<Flow>);

impl Drop for Receiver {
    fn drop(&mut self) {
        self.0.state.lock().shut = true;
        self.0.room.notify_one();
    }
}

/// Formats on a helper thread.
fn begin(worker: &Worker, reply: Reply) -> Receiver {
    let flow = Arc::new(Flow::default());
    let sender = Sender(Arc::clone(&flow), End::Broken);
    let engine = Arc::clone(&worker.engine);
    drop(worker.formatting.spawn_blocking(move || {
        let mut sender = sender;
        let mut patience = PATIENCE;
        let sink = Arc::clone(&sender.0);
        let (mut commands, mut pauses) = (engine.stats.totals().processed, 0u32);
        let codes = reply.stream(Box::new(move |pieces| {
            let wanted = sink.put(pieces, &mut patience);
            let before = std::mem::replace(&mut commands, engine.stats.totals().processed);
            pauses = if commands == before {
                pauses.saturating_sub(1)
            } else {
                PAUSES
            };
            if wanted && pauses > 0 {
                std::thread::sleep(PAUSE);
            }
            wanted
        }));
        sender.1 = End::Complete(codes);
    }));
    Receiver(flow)
}

/// A runtime for nothing but its threads that may block: those that format.
///
/// # Errors
/// If it cannot be made.
pub fn threads() -> io::Result<Runtime> {
    Builder::new_current_thread()
        .thread_name("large_reply")
        .on_thread_start(lower_priority)
        .build()
}

/// For good: a thread may not raise its priority again.
fn lower_priority() {
    // By default the system may end a pause as much later again, to wake several sleepers at once.
    let _ = rustix::thread::set_current_timer_slack(NonZeroU64::new(1));
    let id = rustix::thread::gettid().as_raw_nonzero().get();
    if let Some(id) = rustix::process::Pid::from_raw(id) {
        let _ = rustix::process::setpriority_process(Some(id), NICENESS);
    }
}

impl Connection {
    /// What the worker's reply buffer holds, if parts of it are for a helper thread.
    pub(super) fn take_large(worker: &Worker) -> Option<Reply> {
        let mut reply = worker.reply.borrow_mut();
        reply.has_deferred().then(|| reply.take())
    }

    /// Has a reply formatted and sends it, as far as the socket takes it. `false` if the connection
    /// is to close.
    pub(super) async fn send_large(&mut self, worker: &Worker, reply: Reply) -> io::Result<bool> {
        let flow = begin(worker, reply);
        // Of a reply that is longer than may wait for the client nothing is sent, as in Redis,
        // which sends nothing of a reply before it is complete.
        let hold = self.has_hard_limit(worker);
        let (mut held, mut formatted) = (Vec::new(), 0);
        loop {
            if hold || self.unsent.is_empty() {
                let (pieces, end) = flow.0.take();
                if hold {
                    formatted += pieces.iter().map(Bytes::len).sum::<usize>();
                    held.extend(pieces);
                } else {
                    self.unsent.extend(pieces);
                    self.send_unsent(worker)?;
                }
                match end {
                    End::NotYet => {}
                    End::Broken => return Ok(false),
                    End::Complete(codes) => {
                        if !self.within_output_limit(worker, formatted) {
                            return Ok(false);
                        }
                        self.unsent.extend(held);
                        self.send_unsent(worker)?;
                        worker.count_errors(&codes);
                        return Ok(true);
                    }
                }
            }
            let waiting = formatted + flow.0.waiting_bytes();
            if !self.within_output_limit(worker, waiting) || !self.within_memory_limit(worker) {
                return Ok(false);
            }
            let limit = self.time_limit(worker);
            tokio::select! {
                biased;
                r = self.transport.readable(), if self.unread.len() < INPUT_BYTES => {
                    r?;
                    if !self.read_ahead(worker)? {
                        return Ok(false);
                    }
                }
                w = self.transport.writable(), if !self.unsent.is_empty() => {
                    w?;
                    self.send_unsent(worker)?;
                }
                () = flow.0.news.notified() => {}
                // A soft limit is over by the clock alone.
                () = async { tokio::time::sleep(limit.unwrap_or_default()).await },
                    if limit.is_some() => {}
                () = self.client.outbox.woken() => {
                    if self.client.is_killed() {
                        return Ok(false);
                    }
                }
            }
            // The worker's other connections have their turn between two pieces.
            tokio::task::yield_now().await;
        }
    }
}

//! The threads that own connections: each a current-thread runtime with a `LocalSet`. A connection
//! stays on its worker, and its commands run there, but for two reasons to move: workers that are
//! in each other's way (see [`crate::keyspace::turns`]), and connections of one client that have
//! been dealt out to several (see [`super::affinity`]).

use std::cell::RefCell;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::Instant;

use tokio::runtime::{Builder, Handle};
use tokio::sync::mpsc;
use tokio::task::LocalSet;

use crate::client::Client;
use crate::command::commits::Commits;
use crate::command::dispatch::{Engine, Ran, Scratch};
use crate::command::multi;
use crate::command::session::Session;
use crate::command::stats::bump;
use crate::config::{Follower, Settings};
use crate::resp::reply::{Proto, Reply};

use super::affinity::{Affinity, Board};
use super::connection::{Moving, Taken, serve, serve_moved, threads};
use super::input::Input;
use super::listener::Accepted;
use super::standstill::{Part, Standstill};

/// Size of the input buffer that a worker's connections share.
const INPUT_BYTES: usize = 64 * 1024;
/// What the reply buffer has room for from the beginning. Whoever asks for INFO does not change by
/// that what it shows.
const REPLY_BYTES: usize = 32 * 1024;
/// Replies beyond this are given to the socket before the rest of a pipeline runs.
const FLUSH_BYTES: usize = 256 * 1024;

/// Takes over connections that turn out to be replicas.
pub trait Takeover: Send + Sync {
    /// Serves the connection until it ends. Runs on the connection's worker.
    fn take(&self, taken: Taken) -> Pin<Box<dyn Future<Output = ()>>>;
}

/// What a worker's connections share.
pub struct Worker {
    /// Its number.
    pub number: usize,
    /// The server.
    pub engine: Arc<Engine>,
    /// Who takes over replicas.
    pub takeover: Arc<dyn Takeover>,
    /// The input buffer.
    pub input: RefCell<Input>,
    /// The reply buffer.
    pub reply: RefCell<Reply>,
    /// The threads that format large replies.
    pub formatting: Handle,
    /// Replies that wait for the append-only file.
    pub commits: Commits,
    /// Replies beyond this many bytes are sent before a pipeline's end.
    pub flush_bytes: usize,
    /// Which of its connections belong elsewhere.
    pub affinity: RefCell<Affinity>,
    settings: RefCell<Follower>,
    scratch: RefCell<Scratch>,
    /// The queues of all workers, by number.
    queues: Vec<mpsc::WeakUnboundedSender<Task>>,
}

impl Worker {
    fn new(
        number: usize,
        engine: Arc<Engine>,
        takeover: Arc<dyn Takeover>,
        formatting: Handle,
        queues: Vec<mpsc::WeakUnboundedSender<Task>>,
        board: Board,
    ) -> Worker {
        let scratch = Scratch::new(&engine);
        let thread = &scratch.stats.thread;
        thread.store(u32::try_from(number).unwrap_or(u32::MAX), Ordering::Relaxed);
        let scratch = RefCell::new(scratch);
        Worker {
            number,
            settings: RefCell::new(engine.config.follower()),
            engine,
            takeover,
            input: RefCell::new(Input::new(INPUT_BYTES)),
            reply: RefCell::new(Reply::new(Proto::Resp2).with_room(REPLY_BYTES)),
            formatting,
            commits: Commits::default(),
            flush_bytes: FLUSH_BYTES,
            affinity: RefCell::new(Affinity::new(board, number)),
            scratch,
            queues,
        }
    }

    /// Gives a connection to another worker. If there are none any more, it ends.
    pub fn hand_on(&self, to: usize, moving: Moving) {
        if let Some(queue) = self.queues.get(to).and_then(|q| q.upgrade()) {
            let _ = queue.send(Task::Adopt(moving));
        }
    }

    /// Runs the first of these requests, and sees to it that the log's readers hear of them.
    pub fn run(&self, session: &mut Session, requests: &[&[&[u8]]], reply: &mut Reply) -> Ran {
        let scratch = &mut self.scratch.borrow_mut();
        let ran = self.engine.run(scratch, session, requests, reply);
        let (n, longest) = (ran.consumed as u64, &scratch.stats.longest_batch);
        if n > longest.load(Ordering::Relaxed) {
            longest.store(n, Ordering::Relaxed);
        }
        if ran.appended {
            self.commits.appended();
        }
        ran
    }

    /// Looks at the settings in force.
    #[inline]
    pub fn settings<R>(&self, look: impl FnOnce(&Settings) -> R) -> R {
        look(self.settings.borrow_mut().current())
    }

    /// Whether clients may run commands without authenticating.
    pub fn needs_no_password(&self) -> bool {
        self.settings(|s| s.acl.requirepass.is_empty())
    }

    /// Counts bytes read.
    pub fn count_input(&self, n: usize) {
        let stats = &self.scratch.borrow().stats;
        bump(&stats.bytes_in, n as u64);
        bump(&stats.cycles, 1);
    }

    /// Counts bytes written at once.
    pub fn count_output(&self, n: usize) {
        let stats = &self.scratch.borrow().stats;
        bump(&stats.bytes_out, n as u64);
        bump(&stats.writes, 1);
    }

    /// Counts errors that a helper thread replied with.
    pub fn count_errors(&self, codes: &[Box<str>]) {
        bump(&self.scratch.borrow().stats.errors, codes.len() as u64);
        codes
            .iter()
            .for_each(|code| self.engine.stats.count_error(code));
    }

    /// Undoes what a session registered with the server.
    pub fn end_session(&self, session: &mut Session) {
        multi::end_session(&self.engine, session);
    }
}

/// What a worker is given to do.
enum Task {
    /// Serve this connection.
    Serve(Accepted, Arc<Client>),
    /// Go on serving this one.
    Adopt(Moving),
    /// Stop together with all others (`DEBUG SLEEP`).
    Stop(Part),
}

/// The workers of a server.
#[derive(Debug)]
pub struct Workers {
    queues: Vec<mpsc::UnboundedSender<Task>>,
    threads: Vec<JoinHandle<()>>,
    next: usize,
}

impl Workers {
    /// Starts `count` workers.
    ///
    /// # Errors
    /// If a thread or its runtime cannot be made.
    pub fn start(
        count: usize,
        engine: &Arc<Engine>,
        takeover: &Arc<dyn Takeover>,
    ) -> io::Result<Workers> {
        let (queues, incoming): (Vec<_>, Vec<_>) =
            (0..count.max(1)).map(|_| mpsc::unbounded_channel()).unzip();
        let all: Vec<_> = queues.iter().map(|q| q.downgrade()).collect();
        let board = Board::new(all.len());
        let mut workers = Workers {
            queues,
            threads: Vec::new(),
            next: 0,
        };
        for (i, incoming) in incoming.into_iter().enumerate() {
            let (all, board) = (all.clone(), board.clone());
            let (engine, takeover) = (Arc::clone(engine), Arc::clone(takeover));
            let idle = Arc::clone(&engine);
            let runtime = Builder::new_current_thread()
                .enable_all()
                .on_thread_park(move || idle.worker_rests())
                .build()?;
            let formatting = threads()?;
            let thread = std::thread::Builder::new()
                .name(format!("worker_{i}"))
                .spawn(move || {
                    engine.host.thread_begins();
                    Engine::worker_begins(i);
                    let handle = formatting.handle().clone();
                    let worker = Rc::new(Worker::new(i, engine, takeover, handle, all, board));
                    LocalSet::new().block_on(&runtime, work(worker, incoming));
                    // Outside of any runtime, and without waiting: the flows are shut.
                    formatting.shutdown_background();
                })?;
            workers.threads.push(thread);
        }
        Ok(workers)
    }

    /// Gives a connection to the next worker in turn.
    pub fn assign(&mut self, accepted: Accepted, client: Arc<Client>) {
        let n = self.queues.len().max(1);
        let index = self.next % n;
        client.worker.store(index as u32, Ordering::Relaxed);
        if let Some(queue) = self.queues.get(index) {
            let _ = queue.send(Task::Serve(accepted, client));
        }
        self.next = (self.next + 1) % n;
    }

    /// Stops all workers until then, the connections of replicas among what they serve. Ends when
    /// they have handled what arrived meanwhile.
    pub fn stop_until(&mut self, then: Instant) -> impl Future<Output = ()> + use<> {
        let (stop, parts) = Standstill::new(then, self.queues.len());
        for (queue, part) in self.queues.iter().zip(parts) {
            let _ = queue.send(Task::Stop(part));
        }
        async move { stop.over().await }
    }

    /// Number of workers.
    pub fn count(&self) -> usize {
        self.threads.len()
    }
}

async fn work(worker: Rc<Worker>, mut incoming: mpsc::UnboundedReceiver<Task>) {
    let me = Rc::clone(&worker);
    tokio::task::spawn_local(async move {
        me.commits.release(me.engine.log.durability()).await;
    });
    let me = Rc::clone(&worker);
    tokio::task::spawn_local(async move {
        me.commits.pass_on(&me.engine.log).await;
    });
    while let Some(task) = incoming.recv().await {
        let (accepted, client) = match task {
            Task::Serve(accepted, client) => (accepted, client),
            Task::Adopt(moving) => {
                tokio::task::spawn_local(serve_moved(Rc::clone(&worker), moving));
                continue;
            }
            Task::Stop(part) => {
                part.take().await;
                continue;
            }
        };
        match accepted.into_transport() {
            Ok(transport) => {
                tokio::task::spawn_local(serve(Rc::clone(&worker), transport, client));
            }
            Err(e) => {
                tracing::warn!("Error registering fd event for the new client: {e}");
                worker.engine.clients.forget(client.id);
            }
        }
    }
}

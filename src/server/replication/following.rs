//! Following the primary's stream: reading, applying, acknowledging.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tokio::net::TcpStream;

use crate::base::{args, clock};
use crate::client::registry::NewClient;
use crate::client::{Client, ClientKind};
use crate::command::dispatch::{FromPrimary, Scratch};
use crate::command::engine::{Gate, PauseReason};
use crate::command::session::{Origin, Session};
use crate::command::spec::CommandFlags;
use crate::oplog::durable::Need;
use crate::oplog::effect::encode;
use crate::persist::rdb::file::reason;
use crate::replication::stream::Cutter;
use crate::resp::reply::{Proto, Reply};

use super::beside::Place;
use super::reservoir::Reservoir;
use super::{LinkState, Replication};

/// Bytes read at once.
const READ_BYTES: usize = 256 * 1024;
/// Commands that are applied under one set of locks.
const UNIT_COMMANDS: usize = 64;

/// How much of the backlog is logged when a command fails.
const TOLD_BYTES: u64 = 256;

/// Applies the primary's stream.
pub struct Follower {
    repl: Arc<Replication>,
    scratch: Scratch,
    reply: Reply,
    room: Vec<u8>,
    client: Option<Arc<Client>>,
}

/// What one connection's stream has come to.
struct Stream {
    socket: TcpStream,
    session: Session,
    cutter: Cutter,
    /// What the socket would not take.
    unsent: Vec<u8>,
    number: u64,
    acknowledges: bool,
    /// Something has come that CLIENT PAUSE holds back.
    held_back: bool,
}

/// The stream cannot be followed any further.
struct Broken;

/// What was held back during a full sync over two connections, on its way into the keyspace; the
/// log tells of that, however it ends.
struct Streaming {
    bytes: usize,
    is_told: bool,
}

impl Streaming {
    fn begin(held: &Reservoir) -> Streaming {
        if held.is_beside() {
            tracing::info!(
                "MASTER <-> REPLICA sync: Starting to stream replication buffer into the db \
                 ({} bytes).",
                held.bytes()
            );
        }
        Streaming {
            bytes: 0,
            is_told: held.is_beside(),
        }
    }

    /// All of it is in.
    fn end(mut self) {
        if std::mem::take(&mut self.is_told) {
            tracing::info!(
                "MASTER <-> REPLICA sync: Successfully streamed replication buffer into the db \
                 ({} bytes in total)",
                self.bytes
            );
        }
    }
}

impl Drop for Streaming {
    fn drop(&mut self) {
        if self.is_told {
            tracing::warn!("Master client was freed while streaming the replication buffer.");
        }
    }
}

impl Follower {
    /// One is enough for a server.
    pub fn new(repl: &Arc<Replication>) -> Follower {
        Follower {
            repl: Arc::clone(repl),
            scratch: Scratch::new(&repl.engine),
            reply: Reply::new(Proto::Resp2),
            room: vec![0; READ_BYTES],
            client: None,
        }
    }

    /// The connection is gone, however it ended.
    pub fn forget(&mut self) {
        if let Some(client) = self.client.take() {
            self.repl.engine.clients.forget(client.id);
        }
    }

    /// Follows the stream on `socket` until it ends. What is `held` came before, and database `db`
    /// is selected.
    pub async fn follow(
        &mut self,
        socket: TcpStream,
        held: Reservoir,
        db: u32,
        number: u64,
        acknowledges: bool,
    ) {
        use std::os::fd::AsRawFd as _;
        let address = |a: io::Result<std::net::SocketAddr>| a.map(|a| a.to_string());
        let new = NewClient {
            addr: address(socket.peer_addr()).unwrap_or_default(),
            laddr: address(socket.local_addr()).unwrap_or_default(),
            fd: socket.as_raw_fd(),
            unix_socket: false,
        };
        let now_ms = clock::unix_ms();
        let client = self.repl.engine.clients.register(new, now_ms);
        client.set_kind(ClientKind::Primary);
        self.client = Some(Arc::clone(&client));
        let mut session = Session::new(Arc::clone(&client), Origin::Primary, true);
        session.select(db as usize);
        {
            let mut s = self.repl.state.lock();
            s.client = Some(Arc::clone(&client));
            s.last_io_ms = now_ms;
        }
        self.repl.set_link(LinkState::Connected);
        let mut stream = Stream {
            socket,
            session,
            cutter: Cutter::default(),
            unsent: Vec::new(),
            number,
            acknowledges,
            held_back: false,
        };
        let resumable = self.run(&mut stream, &client, held).await.is_ok();
        self.forget();
        tracing::info!("Connection with master lost.");
        if resumable && acknowledges {
            tracing::info!("Caching the disconnected master state.");
        } else {
            self.repl.state.lock().resumable = false;
        }
    }

    /// `Ok` if the stream may be continued.
    async fn run(
        &mut self,
        s: &mut Stream,
        client: &Client,
        held: Reservoir,
    ) -> Result<(), Broken> {
        self.acknowledge(s);
        if !self.drain(s, client, held).await? {
            return Ok(());
        }
        let mut second = tokio::time::interval(Duration::from_secs(1));
        second.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            if !self.repl.is_followed(s.number) || client.is_killed() {
                return Ok(());
            }
            let held_ms = self.held_ms();
            if s.held_back && held_ms.is_none() {
                s.held_back = false;
                if !self.take(s, &[])? {
                    return Ok(());
                }
            }
            let unsent = !s.unsent.is_empty();
            let pause = &self.repl.engine.pause;
            tokio::select! {
                () = pause.wait(held_ms.unwrap_or_default()), if held_ms.is_some() => {}
                r = s.socket.readable() => {
                    if r.is_err() || !self.read(s, client)? {
                        return Ok(());
                    }
                }
                w = s.socket.writable(), if unsent => {
                    if w.is_err() || !send(s) {
                        return Ok(());
                    }
                }
                () = client.outbox.woken() => {}
                _ = second.tick() => {
                    self.acknowledge(s);
                    if self.is_silent() {
                        tracing::warn!("MASTER timeout: no data nor PING received...");
                        return Ok(());
                    }
                }
            }
        }
    }

    /// Applies what was held back, and what comes meanwhile. `false` if the link has ended.
    async fn drain(
        &mut self,
        s: &mut Stream,
        client: &Client,
        mut held: Reservoir,
    ) -> Result<bool, Broken> {
        let mut told = Instant::now();
        let mut streaming = Streaming::begin(&held);
        if streaming.is_told {
            self.repl.pauses.pass(Place::OnStreamingBuffer).await;
        }
        while !client.is_killed()
            && let Some(piece) = held.take()
        {
            if !self.take(s, &piece)? {
                return Ok(false);
            }
            // What waits for the end of CLIENT PAUSE leaves no room for more.
            while let Some(ms) = self
                .held_ms()
                .filter(|_| s.held_back && !client.is_killed())
            {
                self.repl.engine.pause.wait(ms.min(1000)).await;
                self.acknowledge(s);
            }
            if std::mem::take(&mut s.held_back) && !self.take(s, &[])? {
                return Ok(false);
            }
            streaming.bytes += piece.len();
            held.read(&s.socket);
            if told.elapsed() > Duration::from_secs(1) {
                told = Instant::now();
                self.acknowledge(s);
            }
            tokio::task::yield_now().await;
        }
        if client.is_killed() {
            return Ok(false);
        }
        streaming.end();
        self.repl.state.lock().last_io_ms = clock::unix_ms();
        Ok(!held.has_ended())
    }

    /// Milliseconds for which CLIENT PAUSE still holds the stream back, if it does.
    fn held_ms(&self) -> Option<u64> {
        let engine = &self.repl.engine;
        if !engine.gates.is(Gate::PAUSED) {
            return None;
        }
        let now_ms = clock::unix_ms();
        let until = engine.pause.until_for(PauseReason::Client, now_ms)?;
        Some(until.saturating_sub(now_ms).unsigned_abs())
    }

    fn is_silent(&self) -> bool {
        let settings = self.repl.engine.config.current();
        let timeout_ms = i64::from(settings.replication.repl_timeout_seconds) * 1000;
        clock::unix_ms() - self.repl.state.lock().last_io_ms > timeout_ms
    }

    /// Reads and applies what is there. `false` at the end.
    fn read(&mut self, s: &mut Stream, client: &Client) -> Result<bool, Broken> {
        let mut room = std::mem::take(&mut self.room);
        let n = s.socket.try_read(&mut room);
        let outcome = match n {
            Ok(0) => Ok(false),
            Ok(n) => {
                let now_ms = clock::unix_ms();
                self.repl.state.lock().last_io_ms = now_ms;
                client.last_ms.store(now_ms, Ordering::Relaxed);
                client.bytes_in.fetch_add(n as u64, Ordering::Relaxed);
                let stats = &self.repl.stats;
                stats.bytes_in.fetch_add(n as u64, Ordering::Relaxed);
                self.take(s, room.get(..n).unwrap_or_default())
            }
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => Ok(true),
            Err(e) => {
                tracing::debug!("Reading from client: {}", reason(&e));
                Ok(false)
            }
        };
        self.room = room;
        outcome
    }

    /// Applies every unit that is whole, unless CLIENT PAUSE holds it back. `false` if the link has
    /// been cut off.
    fn take(&mut self, s: &mut Stream, bytes: &[u8]) -> Result<bool, Broken> {
        let damaged = s.cutter.push(bytes);
        let mut asked = false;
        s.held_back = self.held_ms().is_some();
        while !s.held_back
            && let Some(batch) = s.cutter.batch(UNIT_COMMANDS)
        {
            let commands = batch.commands();
            let mut commands = commands;
            if !batch.for_aof {
                asked |= commands.iter().any(|c| is_getack(c));
                commands.retain(|c| !is_for_the_link(c));
            }
            let unit = FromPrimary {
                commands: &commands,
                bytes: batch.bytes,
                for_aof: batch.for_aof,
                link: s.number,
            };
            self.repl.check_disk(s.number, &commands);
            let mut failures = Vec::new();
            let before = self.repl.engine.log.end_offset();
            let applied = self.repl.engine.apply(
                &mut self.scratch,
                &mut s.session,
                &unit,
                &mut self.reply,
                &mut |args, reply| failures.push(failure(args, reply)),
            );
            if !applied {
                self.repl.engine.log.wake();
                return Ok(false);
            }
            for (error, command) in failures {
                self.repl.tell_failure(&error, &command, before);
            }
            let taken = batch.taken();
            drop(commands);
            s.cutter.consume(taken);
        }
        self.repl.engine.log.wake();
        let client = &s.session.client;
        client
            .query_buffer
            .store(s.cutter.waiting_bytes() as u64, Ordering::Relaxed);
        if asked {
            self.acknowledge(s);
        }
        damaged.map(|()| true).map_err(|e| {
            tracing::warn!("Protocol error from master: {e}");
            Broken
        })
    }

    /// Tells the primary what we have.
    fn acknowledge(&mut self, s: &mut Stream) {
        if !s.acknowledges || !s.unsent.is_empty() {
            return;
        }
        let log = &self.repl.engine.log;
        let offset = log.end_offset().to_string();
        let synced = log.durability().synced_offset().to_string();
        if log.durability().need() == Need::Nothing {
            encode(&mut s.unsent, &[b"REPLCONF", b"ACK", offset.as_bytes()]);
        } else {
            encode(
                &mut s.unsent,
                &[
                    b"REPLCONF",
                    b"ACK",
                    offset.as_bytes(),
                    b"FACK",
                    synced.as_bytes(),
                ],
            );
        }
        send(s);
    }
}

/// PING and REPLCONF are for the link; what else is not for the AOF (PUBLISH) is for us.
fn is_for_the_link(command: &[&[u8]]) -> bool {
    let is = |name: &[u8]| command.first().is_none_or(|c| c.eq_ignore_ascii_case(name));
    is(b"ping") || is(b"replconf")
}

fn is_getack(command: &[&[u8]]) -> bool {
    matches!(command, [name, what, ..] if name.eq_ignore_ascii_case(b"replconf")
        && what.eq_ignore_ascii_case(b"getack"))
}

/// Sends what the socket takes. `false` if it is broken.
fn send(s: &mut Stream) -> bool {
    match s.socket.try_write(&s.unsent) {
        Ok(n) => {
            s.unsent.drain(..n.min(s.unsent.len()));
            true
        }
        Err(e) => e.kind() == io::ErrorKind::WouldBlock,
    }
}

/// The text of an error, and the command it came from.
fn failure(args: &[&[u8]], reply: &Reply) -> (String, String) {
    let text = String::from_utf8_lossy(reply.plain());
    let name = args.first().copied().unwrap_or_default();
    (
        text.trim_end().trim_start_matches('-').to_owned(),
        String::from_utf8_lossy(name).to_ascii_lowercase(),
    )
}

impl Replication {
    /// Whether this is still the link whose stream is applied.
    fn is_followed(&self, number: u64) -> bool {
        *self.engine.gates.link.lock() == number
    }

    /// Ends the process where it may not apply what it cannot save, for then what it acknowledges
    /// would be lost with it (`replica-ignore-disk-write-errors`).
    fn check_disk(&self, link: u64, commands: &[&[&[u8]]]) {
        /// Between two warnings.
        const QUIET_MS: i64 = 10_000;
        let gates = self.engine.gates.load();
        if !Gate::SAVE_FAILED.among(gates) && !Gate::AOF_FAILED.among(gates) {
            return;
        }
        let table = &self.engine.table;
        let writes = |args: &&[&[u8]]| {
            let command = table.lookup(args);
            command.is_some_and(|c| c.spec.flags.contains(CommandFlags::WRITE))
        };
        if !commands.iter().any(writes) || !self.is_followed(link) {
            return;
        }
        let settings = self.engine.config.current();
        if !settings.replication.replica_ignore_disk_write_errors {
            tracing::warn!("Replica was unable to write command to disk.");
            std::process::exit(1);
        }
        let now_ms = clock::unix_ms();
        let last_ms = self.stats.disk_warning_ms.load(Ordering::Relaxed);
        if now_ms - last_ms > QUIET_MS {
            self.stats.disk_warning_ms.store(now_ms, Ordering::Relaxed);
            tracing::warn!(
                "Replica is applying a command even though it is unable to write to disk."
            );
        }
    }

    /// A command that went well on the primary failed here: the data differ. It came behind
    /// `offset` in the log.
    fn tell_failure(&self, error: &str, command: &str, offset: u64) {
        let n = self.stats.unexpected_errors.fetch_add(1, Ordering::Relaxed);
        tracing::warn!(
            "== CRITICAL == This replica is sending an error to its master: '{error}' after \
             processing the command '{command}'"
        );
        if n == 0 {
            tracing::debug!("The data of this replica may differ from its primary's.");
        }
        self.tell_backlog(offset);
    }

    /// The stream's last bytes before `offset`, which show what was applied until then.
    fn tell_backlog(&self, offset: u64) {
        let log = &self.engine.log;
        let Some(backlog) = log.backlog() else { return };
        if self.engine.config.current().process.hide_user_data_from_log {
            tracing::info!(
                "hide-user-data-from-log is on, skip logging backlog content to avoid spilling \
                 user data."
            );
            return;
        }
        let from = backlog.first.max(offset.saturating_sub(TOLD_BYTES));
        let told = offset.saturating_sub(from);
        let reader = log.reader(from).filter(|_| told > 0);
        let Some(mut reader) = reader else {
            return;
        };
        let bytes = reader.try_read(told as usize).concat();
        tracing::warn!("Latest backlog is: '{}'", args::quote(&bytes));
    }
}

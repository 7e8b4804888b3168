//! A replica of ours: from SYNC or PSYNC to the end of its connection, on the worker that accepted
//! it.
//!
//! A replica costs the writers nothing: it reads the log by a cursor of its own. One that is slow
//! is cut off by `client-output-buffer-limit`, which counts what it has not been sent; one that is
//! silent, by `repl-timeout`. While it is sent its snapshot, the stream behind that is held for it
//! and counts, as in Redis; the snapshot goes slowly for the sake of the clients, and hurries when
//! much is held, so that a replica is not cut off, and begins anew, for the snapshot's patience.

mod beside;
mod limits;
mod pace;

use std::collections::VecDeque;
use std::future::Future;
use std::io::{self, IoSlice, Read as _};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bytes::Bytes;
use smallvec::SmallVec;

use crate::base::clock;
use crate::client::{Client, ClientKind};
use crate::command::session::{Handover, ReplicaFacts};
use crate::net::connection::Taken;
use crate::net::transport::Transport;
use crate::net::worker::Takeover;
use crate::oplog::log::Cursor;
use crate::replication::psync::primary::{self, Kept, Refusal, Request};
use crate::replication::replicas::{Replica, ReplicaState, Traits, name};
use crate::resp::parser::{ArgVec, Limits, Parser};

pub use self::beside::{Main, Mains};
use self::pace::Pace;
use super::full_sync::{Deliveries, Delivery};
use super::{Replication, words};

/// Bytes of stream taken at once.
const READ_BYTES: usize = 256 * 1024;
/// How often limits and timeouts are looked at.
const LOOK: Duration = Duration::from_millis(100);
/// How long a replica that is ahead of us is kept waiting.
const CATCH_UP: Duration = Duration::from_secs(5);
/// How often somebody who waits is told that we are there.
const NEWLINE: Duration = Duration::from_secs(1);
/// What a file is read in.
const FILE_PIECE: usize = 256 * 1024;
/// The greatest thing a replica may say.
const MAX_WORDS: i64 = 64 * 1024;

impl Takeover for Arc<Replication> {
    fn take(&self, taken: Taken) -> Pin<Box<dyn Future<Output = ()>>> {
        Box::pin(serve(Arc::clone(self), taken))
    }
}

fn traits_of(facts: &ReplicaFacts, pre_psync: bool) -> Traits {
    Traits {
        ip_address: facts.ip_address.clone(),
        listening_port: facts.listening_port,
        eof: facts.capa_eof,
        psync2: facts.capa_psync2,
        pre_psync,
        rdb_only: facts.rdb_only,
        rdb_channel: facts.capa_rdb_channel,
        side_of: facts.rdb_channel.then_some(facts.main_client).flatten(),
        without_data: facts.filter_data,
        without_functions: facts.filter_functions,
    }
}

/// Waits until there is something to send, and time for it.
async fn next_piece(cursor: &Cursor, pace: &Pace) -> io::Result<()> {
    cursor.readable().await;
    pace.is_due().await
}

async fn serve(repl: Arc<Replication>, taken: Taken) {
    let Taken {
        transport,
        session,
        handover,
        unread,
    } = taken;
    let client = Arc::clone(&session.client);
    let pre_psync = handover == Handover::Sync;
    let traits = traits_of(&session.replica, pre_psync);
    let now_ms = clock::unix_ms();
    tracing::info!(
        "Replica {} asks for synchronization",
        name(&client, &traits)
    );
    client.set_kind(ClientKind::Replica);
    let replica = Arc::new(Replica::new(Arc::clone(&client), traits, now_ms));
    if repl
        .engine
        .config
        .current()
        .replication
        .repl_disable_tcp_nodelay
        && let Transport::Tcp(tcp) = &transport
    {
        let _ = tcp.set_nodelay(false);
    }
    let mut feed = Feed {
        repl: Arc::clone(&repl),
        replica: Arc::clone(&replica),
        client,
        transport,
        parser: Parser::new(Limits::authenticated(MAX_WORDS)),
        unread,
        out: VecDeque::new(),
        cursor: None,
        main: None,
        over_soft_since: None,
        moved: Instant::now(),
    };
    let ended = feed.run(&handover).await;
    // Whoever waits until it is gone may rely on its connection being closed.
    drop(feed);
    repl.forget_unwanted();
    let left = repl.replicas.remove(&replica);
    if left == 0 {
        repl.state.lock().no_replicas_since_ms = clock::unix_ms();
    }
    repl.update_good();
    if let Err(e) = ended {
        tracing::debug!("Replica {replica}: {e}");
    }
    let which = match replica.traits.side_of {
        Some(_) => "(rdbchannel) ",
        None => "",
    };
    tracing::info!("Connection with replica {which}{replica} lost.");
}

/// What a connection with a replica consists of.
struct Feed {
    repl: Arc<Replication>,
    replica: Arc<Replica>,
    client: Arc<Client>,
    transport: Transport,
    parser: Parser,
    unread: Vec<u8>,
    /// To be sent.
    out: VecDeque<Bytes>,
    /// The stream.
    cursor: Option<Cursor>,
    /// Both of its connections are at work.
    main: Option<Arc<Main>>,
    over_soft_since: Option<Instant>,
    /// When the socket last took something, or had nothing to take.
    moved: Instant,
}

fn gone(why: &'static str) -> io::Error {
    io::Error::other(why)
}

impl Feed {
    async fn run(&mut self, handover: &Handover) -> io::Result<()> {
        if let Some(main) = self.replica.traits.side_of {
            return self.serve_side(main).await;
        }
        if let Handover::Psync { replid, offset } = handover {
            self.let_it_come(replid, *offset).await?;
            if self.try_partial(replid, *offset) {
                return self.stream().await;
            }
            if self.calls_for_side() {
                return self.serve_main().await;
            }
        }
        let mut deliveries = self.begin_full();
        if self.deliver(&mut deliveries).await? {
            self.stream().await?;
        }
        Ok(())
    }

    /// Waits until our own primary has brought us to where the replica is already. It may have
    /// followed that primary itself, or by a faster way, before it came to us.
    async fn let_it_come(&mut self, replid: &[u8], offset: i64) -> io::Result<()> {
        let begun = Instant::now();
        let mut newline = begun;
        while begun.elapsed() < CATCH_UP {
            let end = {
                let s = self.repl.state.lock();
                let request = Request { replid, offset };
                let kept = self.repl.kept();
                if s.primary.is_none() || !primary::is_ahead(&s.history, kept, request) {
                    return Ok(());
                }
                kept.end
            };
            if newline == begun {
                tracing::info!(
                    "Replica {} is ahead of us: it asks for offset {offset}, and we have received \
                     {end} bytes. Waiting for the rest.",
                    self.replica
                );
            }
            if newline == begun || newline.elapsed() > NEWLINE {
                newline = Instant::now();
                self.put("\n".to_owned());
                self.send_all().await?;
            }
            self.check()?;
            tokio::time::sleep(CATCH_UP / 1000).await;
        }
        Ok(())
    }

    /// Continues from where the replica is, if that can be.
    fn try_partial(&mut self, replid: &[u8], offset: i64) -> bool {
        let repl = Arc::clone(&self.repl);
        let s = repl.state.lock();
        let log = &repl.engine.log;
        let kept = repl.kept();
        let request = Request { replid, offset };
        let name = self.replica.to_string();
        let cursor = primary::decide(&s.history, kept, request, &name).and_then(|partial| {
            let cursor = log.reader(partial.from).ok_or(Refusal::NotKept {
                replica: name.clone(),
                asked: offset,
                ahead: false,
            })?;
            Ok((partial, cursor))
        });
        match cursor {
            Ok((partial, cursor)) => {
                self.cursor = Some(cursor);
                self.put(if self.replica.traits.psync2 {
                    format!("+CONTINUE {}\r\n", s.history.id)
                } else {
                    "+CONTINUE\r\n".to_owned()
                });
                let now_ms = clock::unix_ms();
                self.replica.set_state(ReplicaState::Online, now_ms);
                repl.replicas.add(Arc::clone(&self.replica));
                drop(s);
                tracing::info!(
                    "Partial resynchronization request from {name} accepted. Sending {} bytes of \
                     backlog starting from offset {offset}.",
                    partial.missing
                );
                repl.stats.partial_ok.fetch_add(1, Ordering::Relaxed);
                repl.update_good();
                true
            }
            Err(refusal) => {
                drop(s);
                tracing::info!("{refusal}");
                if let Refusal::NotKept { ahead: true, .. } = refusal {
                    tracing::warn!(
                        "Warning: replica {name} tried to PSYNC with an offset that is greater \
                         than the master replication offset."
                    );
                }
                if !request.is_forced_full() {
                    repl.stats.partial_err.fetch_add(1, Ordering::Relaxed);
                }
                false
            }
        }
    }

    fn begin_full(&mut self) -> Deliveries {
        let repl = Arc::clone(&self.repl);
        let mut s = repl.state.lock();
        repl.ensure_backlog(&mut s.history);
        repl.replicas.add(Arc::clone(&self.replica));
        drop(s);
        repl.request_full(&self.replica, None)
    }

    /// Gives the replica its data set. Whether the stream follows.
    async fn deliver(&mut self, deliveries: &mut Deliveries) -> io::Result<bool> {
        const PERIOD: Duration = Duration::from_secs(1);
        let begun = tokio::time::Instant::now();
        let mut alive = tokio::time::interval_at(begun + PERIOD, PERIOD);
        let mut in_pieces = None;
        loop {
            let delivery = tokio::select! {
                d = deliveries.recv() => d.ok_or_else(|| gone("the full sync was given up"))?,
                r = self.transport.readable() => {
                    r?;
                    self.listen()?;
                    continue;
                }
                () = self.client.outbox.woken() => {
                    self.check()?;
                    continue;
                }
                _ = alive.tick() => {
                    if in_pieces.is_none() {
                        self.put("\n".to_owned());
                        self.send_all().await?;
                    }
                    self.check()?;
                    continue;
                }
            };
            match delivery {
                Delivery::Begin(id, offset, cursor) => {
                    self.cursor = cursor;
                    if !self.replica.traits.pre_psync {
                        self.put(format!("+FULLRESYNC {id} {offset}\r\n"));
                    }
                }
                Delivery::Mark(mark) => {
                    in_pieces = Some(mark);
                    self.put(format!("$EOF:{}\r\n", String::from_utf8_lossy(&mark)));
                }
                Delivery::Piece(piece) => self.out.push_back(piece),
                Delivery::File(file, size) => {
                    self.send_file(file, size).await?;
                    return Ok(self.online());
                }
                Delivery::End => {
                    if let Some(mark) = in_pieces {
                        self.out.push_back(Bytes::copy_from_slice(&mark));
                    }
                    self.send_all().await?;
                    if self.replica.traits.side_of.is_some() {
                        return Ok(self.online());
                    }
                    tracing::info!(
                        "Streamed RDB transfer with replica {} succeeded (socket). Waiting for \
                         REPLCONF ACK from replica to enable streaming",
                        self.replica
                    );
                    return Ok(self.online() && self.await_ack().await?);
                }
                Delivery::Failed => return Err(gone("the full sync failed")),
            }
            self.send_all().await?;
        }
    }

    /// The replica has its data set. Whether it wants the stream.
    fn online(&mut self) -> bool {
        let now_ms = clock::unix_ms();
        if self.replica.traits.rdb_only {
            self.replica.set_state(ReplicaState::Transmitted, now_ms);
            tracing::info!(
                "RDB transfer completed, rdb only replica ({}) should be disconnected asap",
                self.replica
            );
            return false;
        }
        self.replica.set_state(ReplicaState::Online, now_ms);
        self.repl.update_good();
        self.repl.replicas.changed();
        tracing::info!("Synchronization with replica {} succeeded", self.replica);
        true
    }

    /// Behind a mark nothing may follow before the replica has found it.
    async fn await_ack(&mut self) -> io::Result<bool> {
        while !self.replica.has_acknowledged() {
            self.attend().await?;
        }
        Ok(true)
    }

    /// Waits for a word of the replica, for a while at most, and heeds it.
    async fn attend(&mut self) -> io::Result<()> {
        tokio::select! {
            r = self.transport.readable() => {
                r?;
                self.listen()
            }
            () = self.client.outbox.woken() => self.check(),
            () = tokio::time::sleep(LOOK) => self.check(),
        }
    }

    async fn send_file(&mut self, file: std::fs::File, size: u64) -> io::Result<()> {
        self.replica
            .set_state(ReplicaState::SendBulk, clock::unix_ms());
        self.put(format!("${size}\r\n"));
        let mut file = Some(file);
        let mut sent = 0;
        while sent < size {
            let Some(mut f) = file.take() else { break };
            let read = tokio::task::spawn_blocking(move || {
                let mut piece = vec![0; FILE_PIECE];
                let n = f.read(&mut piece)?;
                piece.truncate(n);
                Ok::<_, io::Error>((f, piece))
            });
            let (f, mut piece) = read.await.map_err(io::Error::other)??;
            if piece.is_empty() {
                tracing::warn!("Read error sending DB to replica: premature EOF");
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            file = Some(f);
            piece.truncate(usize::try_from(size - sent).unwrap_or(usize::MAX));
            sent += piece.len() as u64;
            self.out.push_back(piece.into());
            self.send_all().await?;
        }
        self.send_all().await
    }

    /// Feeds the stream until the connection ends.
    async fn stream(&mut self) -> io::Result<()> {
        let mut look = tokio::time::interval(LOOK);
        let mut pace = Pace::new();
        loop {
            if self.out.is_empty()
                && let Some(cursor) = &mut self.cursor
            {
                let before = cursor.position();
                self.out.extend(cursor.try_read_holding(READ_BYTES));
                let taken = cursor.position() - before;
                // As much as may be taken is no piece of a stream but one of a backlog.
                if taken > 0 && taken < READ_BYTES as u64 {
                    pace.sent();
                }
                // What was read may be of another history already, of which the replica must not
                // take it for a part: whoever changes the history kills us before it goes on.
                if self.client.is_killed() {
                    return Err(gone("killed"));
                }
            }
            self.send_some()?;
            let stuck = !self.out.is_empty();
            let Some(cursor) = &mut self.cursor else {
                return Ok(());
            };
            cursor.keeps_up(!stuck);
            if !stuck {
                cursor.let_go();
            }
            let unsent: usize = self.out.iter().map(Bytes::len).sum();
            let sent = cursor.position().saturating_sub(unsent as u64);
            self.replica.note_sent(sent, stuck);
            tokio::select! {
                r = self.transport.readable() => {
                    r?;
                    self.listen()?;
                }
                w = self.transport.writable(), if stuck => w?,
                r = next_piece(cursor, &pace), if !stuck => r?,
                () = self.client.outbox.woken() => self.check()?,
                _ = look.tick() => self.check()?,
            }
            self.settle();
        }
    }

    fn put(&mut self, text: String) {
        self.out.push_back(text.into());
    }

    /// Sends what the socket takes.
    fn send_some(&mut self) -> io::Result<()> {
        while !self.out.is_empty() {
            let slices: SmallVec<[IoSlice<'_>; 16]> =
                self.out.iter().take(16).map(|b| IoSlice::new(b)).collect();
            let mut sent = match self.transport.try_write_vectored(&slices) {
                Ok(n) => n,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(e) => return Err(e),
            };
            drop(slices);
            self.moved = Instant::now();
            let total = sent as u64;
            self.repl
                .stats
                .bytes_out
                .fetch_add(total, Ordering::Relaxed);
            self.client.bytes_out.fetch_add(total, Ordering::Relaxed);
            while let Some(front) = self.out.front_mut() {
                if sent < front.len() {
                    let _ = front.split_to(sent);
                    break;
                }
                sent -= front.len();
                self.out.pop_front();
            }
        }
        self.moved = Instant::now();
        Ok(())
    }

    /// Sends everything.
    async fn send_all(&mut self) -> io::Result<()> {
        loop {
            self.send_some()?;
            if self.out.is_empty() {
                return Ok(());
            }
            tokio::select! {
                w = self.transport.writable() => w?,
                () = self.client.outbox.woken() => self.check()?,
                () = tokio::time::sleep(LOOK) => {
                    self.check()?;
                    if self.moved.elapsed() > self.timeout() {
                        tracing::warn!(
                            "Disconnecting timedout replica (full sync): {}",
                            self.replica
                        );
                        return Err(io::ErrorKind::TimedOut.into());
                    }
                }
            }
        }
    }

    /// Reads what the replica says: acknowledgements, and newlines while it is busy.
    fn listen(&mut self) -> io::Result<()> {
        let mut piece = [0; 4096];
        loop {
            let n = match self.transport.try_read(&mut piece) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(n) => n,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(e) => return Err(e),
            };
            self.client.bytes_in.fetch_add(n as u64, Ordering::Relaxed);
            let words = piece.get(..n).unwrap_or_default();
            self.unread.extend_from_slice(words);
            self.heed()?;
            if self.unread.len() as i64 > 2 * MAX_WORDS {
                return Err(gone("it talks too much"));
            }
        }
    }

    fn heed(&mut self) -> io::Result<()> {
        let mut at = 0;
        loop {
            let mut args = ArgVec::new();
            let rest = self.unread.get(at..).unwrap_or_default();
            let Ok(parsed) = self.parser.next(rest, &mut args) else {
                return Err(gone("protocol error"));
            };
            let Some(consumed) = parsed else { break };
            at += consumed;
            self.parser.take_quoted();
            let now_ms = clock::unix_ms();
            self.client.last_ms.store(now_ms, Ordering::Relaxed);
            if args.is_empty() {
                self.replica.heard(now_ms);
            } else if let Some((offset, synced)) = words::acknowledgement(&args) {
                self.replica.acknowledge(offset, synced, now_ms);
                self.repl.replicas.changed();
                self.repl.update_good();
            } else if words::needs_no_reply(&args) {
                self.replica.heard(now_ms);
            } else {
                let name = words::command(&self.repl, &args);
                if words::concerns_keys(&self.repl, &args) {
                    tracing::warn!(
                        "== CRITICAL == This master is sending an error to its replica: 'Replica \
                         can't interact with the keyspace' after processing the command '{name}'"
                    );
                }
                tracing::warn!(
                    "Replica generated a reply to command '{name}', disconnecting it: '{}'",
                    self.replica
                );
                return Err(gone("it sent a command"));
            }
        }
        self.unread.drain(..at);
        Ok(())
    }
}

impl Replication {
    /// What is kept of the stream.
    fn kept(&self) -> Kept {
        let log = &self.engine.log;
        Kept {
            first: log.backlog().map(|b| b.first),
            end: log.end_offset(),
        }
    }
}

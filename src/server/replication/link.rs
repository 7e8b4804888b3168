//! The link to our primary: connect, shake hands, receive what is missing, follow. One task on the
//! main thread; it begins anew whenever the link ends, at once after a loss, after a second
//! otherwise, until REPLICAOF says something else.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::net::{TcpSocket, TcpStream, lookup_host};

use crate::base::clock;
use crate::config::{DisklessLoad, PrimaryAddress};
use crate::oplog::effect::encode;
use crate::persist::rdb::file::reason;
use crate::replication::history::{History, ReplId};
use crate::replication::psync::handshake::{Handshake, Outcome, Settings};
use crate::replication::transfer::{self, Framing, Header, Receiver};

use super::following::Follower;
use super::intake::{Destination, Intake};
use super::reservoir::Reservoir;
use super::{LinkState, Replication};

/// The longest line a primary may send before its stream.
const MAX_LINE: usize = 64 * 1024;
/// Bytes read at once.
const READ_BYTES: usize = 256 * 1024;
/// Between two tries.
const PAUSE: Duration = Duration::from_secs(1);
/// Before the next try to receive a data set.
const BREATH: Duration = Duration::from_millis(50);

/// Why a link ended; the reason has been logged.
pub enum Ended {
    /// It was up, and may be continued.
    Lost,
    /// It never came up.
    Failed,
    /// The data set could not be received; the next try is made at once.
    Aborted,
}

/// Follows whatever primary there is, for ever.
pub async fn run(repl: Arc<Replication>) {
    let mut number = repl.link_number.subscribe();
    let mut follower = Follower::new(&repl);
    loop {
        let current = *number.borrow_and_update();
        let primary = repl.state.lock().primary.clone();
        let Some(primary) = primary else {
            if number.changed().await.is_err() {
                return;
            }
            continue;
        };
        tracing::info!("Connecting to MASTER {}:{}", primary.host, primary.port);
        loop {
            let ended = tokio::select! {
                ended = once(&repl, &primary, current, &mut follower) => ended,
                _ = number.changed() => {
                    repl.give_up_load().await;
                    break;
                }
            };
            repl.set_link(LinkState::Connect);
            follower.forget();
            if let Ended::Failed = ended {
                tokio::select! {
                    () = tokio::time::sleep(PAUSE) => {}
                    _ = number.changed() => break,
                }
                tracing::info!("Connecting to MASTER {}:{}", primary.host, primary.port);
            } else {
                if let Ended::Aborted = ended {
                    tokio::time::sleep(BREATH).await;
                }
                let (host, port) = (&primary.host, primary.port);
                let after = match ended {
                    Ended::Aborted => " after failure",
                    _ => "",
                };
                tracing::info!("Reconnecting to MASTER {host}:{port}{after}");
            }
        }
        // Whatever was to be continued is continued with the new primary.
        number.mark_changed();
        follower.forget();
    }
}

/// One connection, from the beginning to the end.
async fn once(
    repl: &Arc<Replication>,
    primary: &PrimaryAddress,
    number: u64,
    follower: &mut Follower,
) -> Ended {
    let mut link = match Link::connect(repl, primary).await {
        Ok(link) => link,
        Err(e) => {
            tracing::warn!("Error condition on socket for SYNC: {}", reason(&e));
            return Ended::Failed;
        }
    };
    repl.set_link(LinkState::Handshake);
    let Received { stream_db, held } = match link.shake_hands().await {
        Outcome::Failed(reason) => {
            tracing::warn!("{reason}");
            return Ended::Failed;
        }
        Outcome::TryLater(reason) => {
            tracing::info!("{reason}");
            return Ended::Failed;
        }
        Outcome::Continue(id) => {
            if repl.continue_as(id) {
                repl.see_replicas_off().await;
            }
            let unread = std::mem::take(&mut link.buffer);
            let db = repl.engine.log.position().db.unwrap_or(0);
            Received {
                stream_db: db,
                held: Reservoir::new(repl, unread, false),
            }
        }
        Outcome::Side(main_client) => match link.receive_beside(primary, main_client).await {
            Ok(received) => received,
            Err((reason, ended)) => {
                tracing::warn!("{reason}");
                return ended;
            }
        },
        Outcome::Full(point) => {
            repl.begin_transfer();
            match link.receive(point).await {
                Ok(received) => received,
                Err(reason) => {
                    tracing::warn!("{reason}");
                    return Ended::Aborted;
                }
            }
        }
    };
    let Link {
        stream,
        acknowledges,
        ..
    } = link;
    follower
        .follow(stream, held, stream_db, number, acknowledges)
        .await;
    Ended::Lost
}

/// A data set that was loaded.
pub(super) struct Received {
    /// The database that its stream begins in.
    pub stream_db: u32,
    /// What has come of the stream by now.
    pub held: Reservoir,
}

/// A connection that does not follow the stream yet.
pub(super) struct Link {
    repl: Arc<Replication>,
    stream: TcpStream,
    /// Read and not yet looked at.
    buffer: Vec<u8>,
    /// The primary understands offsets.
    acknowledges: bool,
}

fn local_port(repl: &Replication) -> u16 {
    let settings = repl.engine.config.current();
    match settings.replication.replica_announce_port {
        0 => settings.network.port,
        port => port,
    }
}

impl Link {
    async fn connect(repl: &Arc<Replication>, primary: &PrimaryAddress) -> io::Result<Link> {
        repl.set_link(LinkState::Connecting);
        tracing::info!("MASTER <-> REPLICA sync started");
        let link = Link::dial(repl, primary).await?;
        tracing::info!("Non blocking connect for SYNC fired the event.");
        Ok(link)
    }

    /// Another connection to our primary.
    pub(super) async fn dial(
        repl: &Arc<Replication>,
        primary: &PrimaryAddress,
    ) -> io::Result<Link> {
        let timeout = Duration::from_secs(u64::from(
            repl.engine
                .config
                .current()
                .replication
                .repl_timeout_seconds,
        ));
        let stream = tokio::time::timeout(timeout, dial(repl, primary))
            .await
            .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))?;
        stream.set_nodelay(true)?;
        let keepalive = socket2::TcpKeepalive::new().with_time(timeout);
        let _ = socket2::SockRef::from(&stream).set_tcp_keepalive(&keepalive);
        Ok(Link {
            repl: Arc::clone(repl),
            stream,
            buffer: Vec::new(),
            acknowledges: true,
        })
    }

    pub(super) fn repl(&self) -> Arc<Replication> {
        Arc::clone(&self.repl)
    }

    pub(super) fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// What was read and not looked at.
    pub(super) fn take_unread(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.buffer)
    }

    fn timeout_ms(&self) -> u64 {
        let settings = self.repl.engine.config.current();
        u64::from(settings.replication.repl_timeout_seconds) * 1000
    }

    /// What a handshake tells the primary of us.
    pub(super) fn handshake_settings(&self) -> Settings {
        let settings = self.repl.engine.config.settings();
        let r = &settings.replication;
        let secret = |s: &crate::config::Secret| (!s.is_empty()).then(|| s.as_bytes().to_vec());
        let resume = {
            let s = self.repl.state.lock();
            s.resumable
                .then(|| (s.history.id, self.repl.engine.log.end_offset()))
        };
        Settings {
            user: secret(&r.masteruser),
            password: secret(&r.masterauth),
            port: local_port(&self.repl),
            announce_ip: r.replica_announce_ip.clone().filter(|ip| !ip.is_empty()),
            resume,
            rdb_channel: r.repl_rdb_channel,
            timeout_ms: self.timeout_ms(),
        }
    }

    async fn shake_hands(&mut self) -> Outcome {
        let now_ms = clock::mono_us() / 1000;
        self.talk(Handshake::new(self.handshake_settings(), now_ms))
            .await
    }

    /// Talks with the primary as `machine` says, to the end.
    pub(super) async fn talk(&mut self, mut machine: Handshake) -> Outcome {
        loop {
            let output = machine.poll_output();
            if let Err(e) = self.send(&output).await {
                return Outcome::Failed(format!(
                    "Sending command to master in replication handshake: -Writing to master: {}",
                    reason(&e)
                ));
            }
            if let Some(outcome) = machine.poll_outcome() {
                return outcome;
            }
            // In steps, for the timeout may be changed meanwhile.
            machine.set_timeout_ms(self.timeout_ms());
            let left = machine
                .deadline_ms()
                .saturating_sub(clock::mono_us() / 1000);
            let step = Duration::from_millis(left).min(PAUSE);
            match tokio::time::timeout(step, self.line()).await {
                Ok(Ok(line)) => machine.handle_line(&line, clock::mono_us() / 1000),
                Ok(Err(e)) => {
                    tracing::warn!("Failed to read response from the server: {}", reason(&e));
                    return Outcome::Failed(
                        "Master did not respond to command during SYNC handshake".to_owned(),
                    );
                }
                Err(_) => machine.handle_time(clock::mono_us() / 1000),
            }
        }
    }

    /// Receives and loads a data set.
    async fn receive(&mut self, point: Option<(ReplId, u64)>) -> Result<Received, String> {
        self.acknowledges = point.is_some();
        let (framing, mut intake) = self.open_intake(point).await?;
        if let Err(reason) = self.pump(framing, &mut intake).await {
            intake.abandon().await;
            return Err(reason);
        }
        if !intake.is_loading() && self.acknowledges && matches!(framing, Framing::Mark(_)) {
            self.ask_for_stream().await;
        }
        let unread = self.take_unread();
        let mut held = Reservoir::new(&self.repl, unread, false);
        let stream_db = self.finish(intake, &mut held).await?;
        Ok(Received { stream_db, held })
    }

    /// Waits until the data set begins, and prepares for it.
    pub(super) async fn open_intake(
        &mut self,
        point: Option<(ReplId, u64)>,
    ) -> Result<(Framing, Intake), String> {
        let framing = self.header().await?;
        let into = self.choose_intake();
        let target = match into {
            Destination::File(_) => "to disk",
            Destination::Keyspace | Destination::Beside => "to parser",
        };
        match framing {
            Framing::Mark(_) => tracing::info!(
                "MASTER <-> REPLICA sync: receiving streamed RDB from master with EOF {target}"
            ),
            Framing::Length(n) => {
                tracing::info!("MASTER <-> REPLICA sync: receiving {n} bytes from master {target}")
            }
        }
        if let Framing::Length(n) = framing {
            self.repl.state.lock().transfer.total = n;
        }
        let intake = Intake::begin(&self.repl, into, point).await?;
        Ok((framing, intake))
    }

    /// Loads what was received, and reads the stream meanwhile. The database that it begins in.
    pub(super) async fn finish(&self, intake: Intake, held: &mut Reservoir) -> Result<u32, String> {
        let finishing = intake.finish();
        tokio::pin!(finishing);
        let mut alive = tokio::time::interval(PAUSE);
        let mut told = false;
        loop {
            tokio::select! {
                loaded = &mut finishing => return Ok(u32::try_from(loaded?).unwrap_or(0)),
                () = held.fill(&self.stream), if !held.has_ended() => {}
                _ = alive.tick() => {
                    let _ = self.stream.try_write(b"\n");
                }
            }
            if held.has_ended() && held.is_beside() && !std::mem::replace(&mut told, true) {
                tracing::info!("Aborting rdb channel sync while loading the RDB.");
                tracing::info!("After loading RDB, replica will try psync with master.");
            }
        }
    }

    /// Tells the primary that the mark has been found, so that the stream may follow it while the
    /// file is loaded. That nothing has been acknowledged yet is what the offset says: what the
    /// data set holds is not here before it is loaded.
    async fn ask_for_stream(&self) {
        let mut words = Vec::new();
        encode(&mut words, &[b"REPLCONF", b"ACK", b"0"]);
        // A connection that is broken by now is noticed by who reads it.
        let _ = self.send(&words).await;
    }

    /// Waits for the line in front of the data set.
    async fn header(&mut self) -> Result<Framing, String> {
        loop {
            let patience = Duration::from_millis(self.timeout_ms());
            let line = tokio::time::timeout(patience, self.line()).await;
            let line = line.map_err(|_| TRANSFER_TIMEOUT.to_owned())?;
            let line = line
                .map_err(|e| format!("I/O error reading bulk count from MASTER: {}", reason(&e)))?;
            self.repl.state.lock().transfer.last_io_ms = clock::unix_ms();
            match transfer::header(&line) {
                Header::KeepAlive => {}
                Header::Begins(framing) => return Ok(framing),
                Header::Failed(reason) => return Err(reason),
            }
        }
    }

    fn choose_intake(&self) -> Destination {
        let settings = self.repl.engine.config.current();
        match settings.replication.repl_diskless_load {
            DisklessLoad::SwapDb => Destination::Beside,
            DisklessLoad::OnEmptyDb if self.repl.is_empty() => Destination::Keyspace,
            _ => {
                let now_s = clock::unix_ms() / 1000;
                let name = format!("temp-{now_s}.{}.rdb", std::process::id());
                Destination::File(PathBuf::from(name))
            }
        }
    }

    /// Moves the data set from the socket to where it goes.
    pub(super) async fn pump(
        &mut self,
        framing: Framing,
        intake: &mut Intake,
    ) -> Result<(), String> {
        let mut receiver = Receiver::new(framing);
        let mut piece = std::mem::take(&mut self.buffer);
        let mut alive = tokio::time::interval(PAUSE);
        loop {
            let got = receiver.push(piece);
            {
                let mut s = self.repl.state.lock();
                s.transfer.read = receiver.received();
                s.transfer.last_io_ms = clock::unix_ms();
            }
            if !got.data.is_empty() {
                intake.put(got.data).await?;
            }
            if let Some(rest) = got.rest {
                self.buffer = rest;
                return Ok(());
            }
            let deadline = tokio::time::sleep(Duration::from_millis(self.timeout_ms()));
            tokio::pin!(deadline);
            piece = receiver.room(READ_BYTES);
            let before = piece.len();
            while piece.len() == before {
                tokio::select! {
                    r = self.stream.readable() => r.map_err(lost)?,
                    _ = alive.tick(), if intake.is_loading() => {
                        let _ = self.stream.try_write(b"\n");
                    }
                    () = &mut deadline => return Err(TRANSFER_TIMEOUT.to_owned()),
                    reason = intake.failed() => return Err(reason),
                }
                match self.stream.try_read_buf(&mut piece) {
                    Ok(0) => return Err(lost(io::Error::other("connection lost"))),
                    Ok(n) => {
                        let stats = &self.repl.stats;
                        stats.bytes_in.fetch_add(n as u64, Ordering::Relaxed);
                    }
                    Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                    Err(e) => return Err(lost(e)),
                }
            }
        }
    }

    async fn send(&self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            self.stream.writable().await?;
            match self.stream.try_write(bytes) {
                Ok(n) => bytes = bytes.get(n..).unwrap_or_default(),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    /// The next line, without its end.
    async fn line(&mut self) -> io::Result<Vec<u8>> {
        let mut room = [0; 4096];
        loop {
            if let Some(end) = memchr::memchr(b'\n', &self.buffer) {
                let mut line: Vec<u8> = self.buffer.drain(..=end).collect();
                while matches!(line.last(), Some(b'\r' | b'\n')) {
                    line.pop();
                }
                return Ok(line);
            }
            if self.buffer.len() > MAX_LINE {
                return Err(io::Error::other("the line does not end"));
            }
            self.stream.readable().await?;
            match self.stream.try_read(&mut room) {
                Ok(0) => return Err(io::Error::other("Connection reset by peer")),
                Ok(n) => {
                    let stats = &self.repl.stats;
                    stats.bytes_in.fetch_add(n as u64, Ordering::Relaxed);
                    self.buffer
                        .extend_from_slice(room.get(..n).unwrap_or_default());
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                Err(e) => return Err(e),
            }
        }
    }
}

const TRANSFER_TIMEOUT: &str = "Timeout receiving bulk data from MASTER... If the problem persists \
try to set the 'repl-timeout' parameter in redis.conf to a larger value.";

fn lost(e: io::Error) -> String {
    format!("I/O error trying to sync with MASTER: {}", reason(&e))
}

async fn dial(repl: &Replication, primary: &PrimaryAddress) -> io::Result<TcpStream> {
    let source = repl
        .engine
        .config
        .settings()
        .network
        .bind_source_addr
        .clone();
    let source = source.filter(|s| !s.is_empty());
    let mut failure = io::Error::other("Name or service not known");
    for address in lookup_host((primary.host.as_str(), primary.port)).await? {
        let socket = match address {
            std::net::SocketAddr::V4(_) => TcpSocket::new_v4()?,
            std::net::SocketAddr::V6(_) => TcpSocket::new_v6()?,
        };
        if let Some(source) = &source {
            let ip = source.parse().map_err(io::Error::other)?;
            socket.bind(std::net::SocketAddr::new(ip, 0))?;
        }
        match socket.connect(address).await {
            Ok(stream) => return Ok(stream),
            Err(e) => failure = e,
        }
    }
    Err(failure)
}

impl Replication {
    pub(super) fn begin_transfer(&self) {
        self.state.lock().transfer = super::Transfer {
            last_io_ms: clock::unix_ms(),
            ..super::Transfer::default()
        };
        self.set_link(LinkState::Transfer);
    }

    /// The primary goes on where we stand, perhaps under another name. Whether our replicas must
    /// leave for that.
    fn continue_as(&self, id: Option<ReplId>) -> bool {
        let mut renamed = false;
        let mut s = self.state.lock();
        let end = self.engine.log.end_offset();
        if let Some(id) = id.filter(|id| *id != s.history.id) {
            tracing::info!("Master replication ID changed to {id}");
            renamed = true;
            s.history.grew_out_of(id, end);
            // They must hear of it too; they continue from where they are.
            self.replicas.disconnect();
        }
        if self.engine.log.backlog().is_none() {
            self.create_backlog();
        }
        drop(s);
        tracing::info!("MASTER <-> REPLICA sync: Master accepted a Partial Resynchronization.");
        renamed
    }

    /// Waits until replicas that were told to leave have left: whoever sees our link up must not
    /// see theirs up still. They do so within moments, on their workers.
    async fn see_replicas_off(&self) {
        let gone = async {
            loop {
                let changed = self.replicas.on_change();
                tokio::pin!(changed);
                changed.as_mut().enable();
                if self.replicas.is_empty() {
                    return;
                }
                changed.await;
            }
        };
        let _ = tokio::time::timeout(PAUSE, gone).await;
    }

    /// The data set is that of `point` now.
    pub(super) fn adopt(&self, point: Option<(ReplId, u64)>) {
        let mut s = self.state.lock();
        s.resumable = point.is_some();
        s.history = match point {
            Some((id, _)) => History::of(id),
            None => History::default(),
        };
    }

    /// Whether there is no key.
    pub(super) fn is_empty(&self) -> bool {
        let keyspace = &self.engine.keyspace;
        let mut locked = keyspace.lock(crate::keyspace::locks::ShardMask::ALL);
        (0..crate::keyspace::locks::SHARDS).all(|i| {
            locked.shard(i).is_none_or(|shard| {
                (0..keyspace.databases()).all(|db| shard.db(db).is_none_or(|d| d.table.is_empty()))
            })
        })
    }
}

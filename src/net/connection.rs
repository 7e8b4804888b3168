//! One connection: read, run, write.
//!
//! A worker's connections share one input buffer and one reply buffer: a connection reads what is
//! there, lets those read who are ready as well ([`reading`]), runs every complete request, and
//! tries to write the replies at once. Only what is left over is its own: a request that is cut
//! off, and replies the socket would not take. An idle connection owns no buffer at all.
//!
//! Order of replies: whatever must wait (an fsync, a blocking command, CLIENT PAUSE) holds back
//! everything behind it on this connection, and nothing on any other.

mod large;
mod life;
mod limits;
mod reading;

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use smallvec::SmallVec;
use tokio::time::timeout;

use crate::client::Client;
use crate::command::ctx::Suspended;
use crate::command::dispatch::{BATCH_MAX, Ran};
use crate::command::session::{Handover, Session};
use crate::resp::parser::{ArgVec, Parser, ProtocolError};
use crate::resp::reply::{Proto, Reply};

pub use large::threads;
pub use life::{Moving, serve, serve_moved};

use self::limits::make_room;
use super::affinity::Place;
use super::input::Fresh;
use super::transport::Transport;
use super::worker::Worker;

/// A connection that replication takes over: it is no longer a client's.
pub struct Taken {
    /// The socket.
    pub transport: Transport,
    /// Its state as a client.
    pub session: Session,
    /// What it asked for.
    pub handover: Handover,
    /// Bytes read and not yet parsed.
    pub unread: Vec<u8>,
}

/// One connection's own state. `T` is its socket, registered with the worker's runtime.
struct Connection<T = Transport> {
    transport: T,
    session: Session,
    client: Arc<Client>,
    parser: Parser,
    /// What has been read and not been looked at, in the worker's buffer.
    fresh: Fresh,
    /// Bytes of a request that is cut off.
    unread: Vec<u8>,
    /// Replies that the socket would not take.
    unsent: VecDeque<Bytes>,
    proto: Proto,
    /// Since when more waits for the client than the soft limit allows, Unix milliseconds; 0 while
    /// it does not.
    over_soft_since_ms: i64,
    /// The number of its own worker. It may be with another while workers take turns.
    home: usize,
    /// Whether that is the right one.
    place: Place,
}

/// How a connection's time with a worker ends.
enum End {
    /// It closes.
    Closes,
    /// Replication takes it over.
    HandedOver,
    /// It goes on with the worker of this number.
    Moves(usize),
}

/// What a connection that has nothing to do waits for.
enum Event {
    /// There is something to read.
    Readable,
    /// There is room for replies that wait.
    Writable,
    /// Somebody else has something for it, or for its client.
    Woken,
    /// A limit of time is over.
    Due,
}

/// Why the pump stopped.
enum Stop {
    /// Everything that was complete has run.
    Drained,
    /// The last request's reply comes later.
    Suspended(Suspended),
    /// CLIENT PAUSE holds the next request back.
    Paused(u64),
    /// The connection is replication's from here on.
    Handover,
    /// The connection closes once its replies are out.
    Close,
}

impl Connection {
    /// Runs the connection.
    async fn run(&mut self, worker: &Worker) -> io::Result<End> {
        loop {
            if !self.wait_for_input(worker).await? {
                return Ok(End::Closes);
            }
            if !self.read_some(worker)? {
                continue;
            }
            if !self.let_others_read(worker).await {
                return Ok(End::Closes);
            }
            let elsewhere = loop {
                let (stop, durable_at) = self.pump(worker);
                let elsewhere = self.better_worker(worker);
                let large = Connection::take_large(worker);
                // While a large reply goes out, requests are read that nobody has looked at.
                let read_ahead = large.is_some();
                let durability = worker.engine.log.durability();
                if !durability.is_reached(durable_at) {
                    self.park_replies(worker);
                    worker.commits.wait(durability, durable_at).await;
                }
                if let Some(reply) = large
                    && !self.send_large(worker, reply).await?
                {
                    return Ok(End::Closes);
                }
                let queued = worker.reply.borrow().len_bytes();
                if !self.within_output_limit(worker, queued) {
                    return Ok(End::Closes);
                }
                self.send(worker)?;
                worker.engine.worker_goes_on();
                if !self.within_memory_limit(worker) {
                    return Ok(End::Closes);
                }
                match stop {
                    Stop::Drained if read_ahead => {}
                    Stop::Drained => break elsewhere,
                    Stop::Close => {
                        self.flush(worker).await?;
                        return Ok(End::Closes);
                    }
                    Stop::Handover => {
                        self.flush(worker).await?;
                        return Ok(End::HandedOver);
                    }
                    Stop::Paused(ms) => {
                        let pause = self.hold_back(worker, ms);
                        // Both may have come at once: who is killed runs nothing more.
                        let goes_on = self.finish_suspended(worker, pause).await?;
                        if !goes_on || self.client.is_killed() {
                            return Ok(End::Closes);
                        }
                    }
                    Stop::Suspended(later) => {
                        if !self.finish_suspended(worker, later).await? {
                            return Ok(End::Closes);
                        }
                    }
                }
            };
            if let Some(number) = elsewhere {
                return Ok(End::Moves(number));
            }
        }
    }

    /// Waits until there is something to read, sending what waits to be sent meanwhile. `false`
    /// if the connection is to close.
    async fn wait_for_input(&mut self, worker: &Worker) -> io::Result<bool> {
        loop {
            if self.client.is_killed() {
                return Ok(false);
            }
            self.collect_outbox(worker);
            if !self.within_output_limit(worker, 0) {
                return Ok(false);
            }
            self.give_back_room(worker);
            let limit = self.time_limit(worker);
            match self.event(limit).await? {
                Event::Readable => return Ok(true),
                Event::Writable => self.send_unsent(worker)?,
                Event::Woken => {}
                Event::Due => {
                    if worker.is_idle(&self.client) {
                        tracing::debug!("Closing idle client");
                        return Ok(false);
                    }
                }
            }
        }
    }

    /// Waits for the first of what the connection may wait for.
    async fn event(&self, limit: Option<Duration>) -> io::Result<Event> {
        let want_write = !self.unsent.is_empty();
        let first = poll_fn(|context| {
            if want_write && let Poll::Ready(w) = self.transport.poll_writable(context) {
                return Poll::Ready(w.map(|()| Event::Writable));
            }
            // A client may send all of its requests before it reads a reply: it is read from even
            // when its replies wait. What bounds them is the output limit.
            if let Poll::Ready(r) = self.transport.poll_readable(context) {
                return Poll::Ready(r.map(|()| Event::Readable));
            }
            let woken = self.client.outbox.poll_woken(context);
            woken.map(|()| Ok(Event::Woken))
        });
        match limit {
            // A timer is made, and the clock read for it, only where there is a limit.
            Some(limit) => timeout(limit, first).await.unwrap_or(Ok(Event::Due)),
            None => first.await,
        }
    }

    /// Runs every complete request that has been read. Replies are in the worker's buffer.
    fn pump(&mut self, worker: &Worker) -> (Stop, u64) {
        let input = worker.input.borrow();
        let fresh = input.get(std::mem::take(&mut self.fresh));
        let mut own = std::mem::take(&mut self.unread);
        let joined = !own.is_empty();
        if joined {
            make_room(&mut own, fresh.len(), self.parser.expected_bytes());
            own.extend_from_slice(fresh);
        }
        let data: &[u8] = if joined { &own } else { fresh };
        if data.len() as u64 > worker.query_buffer_limit() {
            let over = &worker.engine.clients.over_input_limit;
            over.fetch_add(1, Ordering::Relaxed);
            tracing::warn!(
                "Closing client that reached max query buffer length: id={} addr={}",
                self.client.id,
                self.client.addr
            );
            return (Stop::Close, 0);
        }
        let mut reply = worker.reply.borrow_mut();
        reply.set_proto(self.proto);
        let mut pos = 0;
        let mut durable_at = 0;
        let stop = loop {
            match self.batch(worker, data, &mut pos, &mut reply, &mut durable_at) {
                Some(stop) => break stop,
                // It closes as soon as somebody looks; what is behind does not run.
                None if self.is_over_hard_limit(worker, reply.len_bytes()) => break Stop::Drained,
                // A long pipeline of big replies: let the socket have what there is.
                None if reply.len_bytes() > worker.flush_bytes
                    && self.unsent.is_empty()
                    && reply.is_plain()
                    && worker.engine.log.durability().is_reached(durable_at) =>
                {
                    self.try_send_plain(worker, &mut reply);
                }
                None => {}
            }
        };
        self.proto = reply.proto();
        if joined {
            own.drain(..pos);
            if own.is_empty() {
                own = Vec::new();
            }
        } else {
            own.extend_from_slice(fresh.get(pos..).unwrap_or_default());
        }
        self.unread = own;
        self.note_input();
        (stop, durable_at)
    }

    /// Parses and runs up to a batch of requests. `None` if there may be more.
    fn batch(
        &mut self,
        worker: &Worker,
        data: &[u8],
        pos: &mut usize,
        reply: &mut Reply,
        durable_at: &mut u64,
    ) -> Option<Stop> {
        let mut args: ArgVec<'_> = ArgVec::new();
        let mut bounds: SmallVec<[(usize, usize, usize); BATCH_MAX]> = SmallVec::new();
        let mut at = *pos;
        let mut quoted = Vec::new();
        let mut failure: Option<ProtocolError> = None;
        let (mut more, was_authenticated) = (true, self.parser.limits().authenticated);
        while bounds.len() < BATCH_MAX {
            let first = args.len();
            match self
                .parser
                .next(data.get(at..).unwrap_or_default(), &mut args)
            {
                Ok(Some(n)) => {
                    at += n;
                    quoted = self.parser.take_quoted();
                    if !quoted.is_empty() {
                        break;
                    }
                    if args.len() == first {
                        // A blank belongs to the request before it, so that what is left over
                        // begins where the parser thinks it does.
                        *bounds.last_mut().map_or(&mut *pos, |(_, _, end)| end) = at;
                        continue;
                    }
                    bounds.push((first, args.len(), at));
                }
                Ok(None) => {
                    more = false;
                    break;
                }
                Err(e) => {
                    failure = Some(e);
                    break;
                }
            }
        }
        let requests: SmallVec<[&[&[u8]]; BATCH_MAX]> = bounds
            .iter()
            .map(|(from, to, _)| args.get(*from..*to).unwrap_or_default())
            .collect();
        let mut rest = requests.as_slice();
        let mut ends = bounds.iter().map(|(_, _, end)| *end);
        while !rest.is_empty() {
            let ran = worker.run(&mut self.session, rest, reply);
            for end in ends.by_ref().take(ran.consumed) {
                *pos = end;
            }
            rest = rest.get(ran.consumed..).unwrap_or_default();
            if let Some(stop) = self.after(worker, ran, durable_at) {
                // What it knows of a request that is cut off lies behind requests still to run.
                self.parser = Parser::new(self.parser.limits());
                return Some(stop);
            }
        }
        if !quoted.is_empty() {
            let words: Vec<&[u8]> = quoted.iter().map(Vec::as_slice).collect();
            let ran = worker.run(&mut self.session, &[&words], reply);
            if ran.consumed > 0 {
                *pos = at;
            }
            return self.after(worker, ran, durable_at);
        }
        if let Some(e) = failure {
            *pos = at;
            return self.refuse(&e, worker, was_authenticated, reply);
        }
        if !more {
            return Some(Stop::Drained);
        }
        *pos = at;
        None
    }

    /// Replies to bytes that are no request; the connection closes. What came behind AUTH is looked
    /// at again instead.
    fn refuse(
        &mut self,
        e: &ProtocolError,
        worker: &Worker,
        was_authenticated: bool,
        reply: &mut Reply,
    ) -> Option<Stop> {
        if self.session.authenticated && !was_authenticated {
            self.parser = Parser::new(worker.limits(true));
            return None;
        }
        tracing::debug!(
            "Protocol error ({}) from client: {}",
            e.log_reason(),
            self.client.addr
        );
        reply.error(e.reply_text());
        Some(Stop::Close)
    }

    fn after(&mut self, worker: &Worker, ran: Ran, durable_at: &mut u64) -> Option<Stop> {
        *durable_at = ran.durable_at.max(*durable_at);
        if self.session.authenticated != self.parser.limits().authenticated {
            self.parser
                .set_limits(worker.limits(self.session.authenticated));
        }
        if let Some(later) = ran.suspended {
            return Some(Stop::Suspended(later));
        }
        if self.session.handover.is_some() {
            return Some(Stop::Handover);
        }
        if self.session.closing {
            return Some(Stop::Close);
        }
        ran.paused_ms.map(Stop::Paused)
    }

    /// Awaits a suspended command's reply and sends it. `false` if the client went away.
    async fn finish_suspended(&mut self, worker: &Worker, later: Suspended) -> io::Result<bool> {
        let mut later = later;
        let write = loop {
            if !self.within_output_limit(worker, 0) {
                break None;
            }
            self.give_back_room(worker);
            let limit = self.soft_limit_time(worker);
            tokio::select! {
                biased;
                write = &mut later => break Some(write),
                w = self.transport.writable(), if !self.unsent.is_empty() => {
                    w?;
                    self.send_unsent(worker)?;
                }
                // However much there is, up to the limit of the query buffer: who went away behind
                // it must not be given what others push.
                r = self.transport.readable() => {
                    r?;
                    if !self.read_ahead(worker)? || !self.within_memory_limit(worker) {
                        break None;
                    }
                }
                // A soft limit is over by the clock alone.
                () = async { tokio::time::sleep(limit.unwrap_or_default()).await },
                    if limit.is_some() => {}
                () = self.client.outbox.woken() => {
                    if self.client.is_killed() {
                        break None;
                    }
                    self.collect_outbox(worker);
                    self.send_unsent(worker)?;
                }
            }
        };
        self.client.blocked.store(false, Ordering::Relaxed);
        let Some(write) = write else { return Ok(false) };
        {
            let mut reply = worker.reply.borrow_mut();
            reply.set_proto(self.proto);
            write(&mut self.session, &mut reply);
            self.proto = reply.proto();
        }
        let log = &worker.engine.log;
        let durability = log.durability();
        // The stream may be another one by now, that of a primary, which is not as long.
        let offset = self.session.last_write.min(log.end_offset());
        if !durability.is_reached(offset) {
            self.park_replies(worker);
            worker.commits.wait(durability, offset).await;
        }
        let queued = worker.reply.borrow().len_bytes();
        if !self.within_output_limit(worker, queued) {
            return Ok(false);
        }
        self.send(worker)?;
        if self.session.closing {
            self.flush(worker).await?;
            return Ok(false);
        }
        Ok(true)
    }

    /// Sends the replies in the worker's buffer, as far as the socket takes them; the rest waits.
    fn send(&mut self, worker: &Worker) -> io::Result<()> {
        let mut reply = worker.reply.borrow_mut();
        if !reply.is_empty() {
            if self.unsent.is_empty() && reply.is_plain() {
                self.try_send_plain(worker, &mut reply);
            }
            if !reply.is_empty() {
                self.unsent.extend(reply.drain_chunks());
            }
        }
        reply.clear();
        drop(reply);
        self.send_unsent(worker)
    }

    /// One write of the plain buffer; what was not taken waits.
    fn try_send_plain(&mut self, worker: &Worker, reply: &mut Reply) {
        let plain = reply.plain();
        let sent = self.transport.try_write(plain).unwrap_or(0);
        self.count_output(worker, sent);
        if let Some(rest) = plain.get(sent..)
            && !rest.is_empty()
        {
            self.unsent.push_back(Bytes::copy_from_slice(rest));
        }
        reply.clear();
    }

    /// Moves the worker's replies aside, before an await.
    fn park_replies(&mut self, worker: &Worker) {
        let mut reply = worker.reply.borrow_mut();
        self.unsent.extend(reply.drain_chunks());
        reply.clear();
    }

    /// Writes what waits, as far as the socket takes it.
    fn send_unsent(&mut self, worker: &Worker) -> io::Result<()> {
        while !self.unsent.is_empty() {
            let slices: SmallVec<[io::IoSlice<'_>; 16]> = self
                .unsent
                .iter()
                .take(16)
                .map(|b| io::IoSlice::new(b))
                .collect();
            // Nearly always there is one piece, for which the plain call is the cheaper.
            let written = match slices.as_slice() {
                [one] => self.transport.try_write(one),
                several => self.transport.try_write_vectored(several),
            };
            let mut sent = match written {
                Ok(n) => n,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => break,
                Err(e) => return Err(e),
            };
            drop(slices);
            self.count_output(worker, sent);
            while let Some(front) = self.unsent.front_mut() {
                if sent < front.len() {
                    let _ = front.split_to(sent);
                    break;
                }
                sent -= front.len();
                self.unsent.pop_front();
            }
        }
        let waiting: usize = self.unsent.iter().map(Bytes::len).sum();
        self.client
            .unsent_bytes
            .store(waiting as u64, Ordering::Relaxed);
        Ok(())
    }

    /// Writes everything that waits, for a few seconds at most: the connection is about to close.
    async fn flush(&mut self, worker: &Worker) -> io::Result<()> {
        let deadline = tokio::time::sleep(Duration::from_secs(5));
        tokio::pin!(deadline);
        loop {
            self.send_unsent(worker)?;
            if self.unsent.is_empty() {
                return Ok(());
            }
            tokio::select! {
                w = self.transport.writable() => w?,
                () = &mut deadline => return Err(io::ErrorKind::TimedOut.into()),
            }
        }
    }

    /// Takes messages from elsewhere behind what waits.
    fn collect_outbox(&mut self, worker: &Worker) {
        let messages = self.client.outbox.take();
        if !messages.is_empty() {
            self.unsent.extend(messages);
            let _ = self.send_unsent(worker);
        }
    }
}

//! A connection from its first worker to its end: it is served, moves to another worker and goes on
//! there, closes, or becomes replication's.

use std::collections::VecDeque;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::client::Client;
use crate::command::session::{Origin, Session};
use crate::resp::parser::Parser;
use crate::resp::reply::Proto;

use super::super::affinity::Place;
use super::super::input::Fresh;
use super::super::listener::Accepted;
use super::super::transport::Transport;
use super::super::worker::Worker;
use super::{Connection, End, Taken};

/// A connection on its way from one worker to another. It waits for nothing but input, and for its
/// client to take what it has not taken yet.
pub struct Moving(Box<Connection<Accepted>>);

/// Serves a connection until it closes or moves.
pub async fn serve(worker: Rc<Worker>, transport: Transport, client: Arc<Client>) {
    let session = Session::new(
        Arc::clone(&client),
        Origin::Client,
        worker.needs_no_password(),
    );
    let limits = worker.limits(session.authenticated);
    let c = Connection {
        transport,
        session,
        client,
        parser: Parser::new(limits),
        fresh: Fresh::default(),
        unread: Vec::new(),
        unsent: VecDeque::new(),
        proto: Proto::Resp2,
        over_soft_since_ms: 0,
        home: worker.number,
        place: Place::default(),
    };
    live(worker, c).await;
}

/// Serves a connection that has moved until it closes or moves again.
pub async fn serve_moved(worker: Rc<Worker>, moving: Moving) {
    let client = Arc::clone(&moving.0.client);
    client.worker.store(worker.number as u32, Ordering::Relaxed);
    let (socket, rest) = moving.0.put(());
    match socket.into_transport() {
        Ok(transport) => live(worker, rest.put(transport).1).await,
        Err(e) => lose(&worker, rest, &e),
    }
}

async fn live(worker: Rc<Worker>, mut c: Connection) {
    let ended = c.run(&worker).await;
    let client = Arc::clone(&c.client);
    if let Ok(End::Moves(to)) = ended {
        let (transport, rest) = c.put(());
        match Accepted::from_transport(transport) {
            Ok(socket) => worker.hand_on(to, Moving(Box::new(rest.put(socket).1))),
            Err(e) => lose(&worker, rest, &e),
        }
        return;
    }
    if let Ok(End::HandedOver) = ended
        && let Some(handover) = c.session.handover.take()
    {
        let taken = Taken {
            transport: c.transport,
            session: c.session,
            handover,
            unread: c.unread,
        };
        worker.takeover.take(taken).await;
    } else {
        worker.end_session(&mut c.session);
    }
    worker.engine.clients.forget(client.id);
}

/// Ends a connection whose socket a runtime would not take or leave.
fn lose(worker: &Worker, mut c: Connection<()>, e: &io::Error) {
    tracing::warn!("Error registering fd event for the client: {e}");
    worker.end_session(&mut c.session);
    worker.engine.clients.forget(c.client.id);
}

impl Connection {
    /// The worker with which the connection, which has just been served, had better go on: that
    /// where nobody is in its way, or its own, which is the one that serves its neighbours.
    pub(super) fn better_worker(&mut self, worker: &Worker) -> Option<usize> {
        let engine = &worker.engine;
        let elsewhere = engine.better_worker(worker.number, self.home);
        if elsewhere.is_some() || worker.number != self.home {
            return elsewhere;
        }
        let transport = &self.transport;
        let processor = || match engine.takes_turns() {
            // Who is where tells nothing then.
            true => None,
            false => transport.processor(),
        };
        let mut affinity = worker.affinity.borrow_mut();
        self.home = affinity.better_worker(&mut self.place, processor)?;
        Some(self.home)
    }
}

impl<T> Connection<T> {
    /// The socket, and everything else with another in its place.
    fn put<U>(self, transport: U) -> (T, Connection<U>) {
        let rest = Connection {
            transport,
            session: self.session,
            client: self.client,
            parser: self.parser,
            fresh: self.fresh,
            unread: self.unread,
            unsent: self.unsent,
            proto: self.proto,
            over_soft_since_ms: self.over_soft_since_ms,
            home: self.home,
            place: self.place,
        };
        (self.transport, rest)
    }
}

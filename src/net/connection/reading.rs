//! Reading. Between reading a request and running it, whoever else is ready reads its own.
//!
//! Clients that wait for each reply are ready in crowds: the kernel tells of all that have come
//! since it was asked last. If each of them is read from, served and replied to before the next,
//! every request waits for its key to come from memory with nothing else to do, and every reply
//! wakes its client in turn. So a connection that has read a little asks for what its request will
//! look up, and goes to the end of the queue of those who are ready: when it is its turn again, all
//! have read, and what they will look up is on its way for all of them at the same time. Fifty
//! unpipelined clients get a fourth more by this, more than half of it because replies follow each
//! other.

use std::future::poll_fn;
use std::io;
use std::task::Poll;

use super::Connection;
use crate::command::stats::bump;
use crate::net::worker::Worker;
use crate::resp::peek::key_of_one;

/// A request of more bytes has more to do than to wait for its key.
const LITTLE_BYTES: usize = 2048;
/// How many go to the end of the queue at a time. More would come back to connections that the
/// processor has forgotten meanwhile: a thousand that are ready lose by it.
const CROWD: usize = 128;

impl Connection {
    /// Reads what is there behind the unread bytes. `false` if there was nothing after all.
    pub(super) fn read_some(&mut self, worker: &Worker) -> io::Result<bool> {
        let mut input = worker.input.borrow_mut();
        match self.transport.try_read(input.free()) {
            Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(n) => {
                self.fresh = input.read(n);
                bump(&self.client.bytes_in, n as u64);
                worker.count_input(n);
                Ok(true)
            }
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => Ok(false),
            Err(e) => Err(e),
        }
    }

    /// Reads while a command waits, so that a client that goes away is noticed. `false` at the
    /// end of the stream, or when the client has sent more than it may.
    pub(super) fn read_ahead(&mut self, worker: &Worker) -> io::Result<bool> {
        let mut input = worker.input.borrow_mut();
        match self.transport.try_read(input.free()) {
            Ok(0) => Ok(false),
            Ok(n) => {
                self.unread.extend_from_slice(input.get(input.read(n)));
                self.note_input();
                Ok(self.unread.len() as u64 <= worker.query_buffer_limit())
            }
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => Ok(true),
            Err(e) => Err(e),
        }
    }

    /// Waits until whoever is ready has read, if what has been read here is one request: several
    /// look their keys up together anyway. `false` if the connection is to close meanwhile.
    pub(super) async fn let_others_read(&mut self, worker: &Worker) -> bool {
        if self.fresh.len() > LITTLE_BYTES || !self.unread.is_empty() {
            return true;
        }
        {
            let mut input = worker.input.borrow_mut();
            if input.holders() >= CROWD {
                return true;
            }
            // Nearly always a key, and nothing is lost if it is not.
            let Some(key) = key_of_one(input.get(self.fresh)) else {
                return true;
            };
            worker.engine.fetch_ahead(self.session.db, key);
            if !input.hold(self.fresh) {
                return true;
            }
        }
        let _held = Held(worker);
        go_to_the_end().await;
        !self.client.is_killed()
    }
}

/// What the connection has read is held until it is dropped, which is before anybody else reads.
struct Held<'a>(&'a Worker);

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.0.input.borrow_mut().release();
    }
}

/// Lets those run who are ready now.
async fn go_to_the_end() {
    let mut is_back = false;
    poll_fn(|context| {
        if is_back {
            return Poll::Ready(());
        }
        is_back = true;
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

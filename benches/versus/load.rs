//! The closed loop: every connection has one pipeline under way, and sends the next when the last
//! reply is there.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

use crate::Outcome;
use crate::replies::Counter;
use crate::requests::{Batches, Replies};
use crate::servers::Running;

/// Threads that make the load.
const THREADS: usize = 2;
/// Not counted at the beginning of a round.
const WARM_UP: Duration = Duration::from_millis(400);

/// What a round showed.
#[derive(Clone, Copy)]
pub struct Throughput {
    /// Requests answered in a second.
    pub per_second: f64,
    /// Microseconds of the server's processor time for each,
    pub cpu_us: f64,
    /// and of it those that the kernel took.
    pub kernel_us: f64,
}

/// Drives `server` with `connections` connections for a time; each thread takes one of the
/// `batches`, and each connection begins at another place of it.
pub fn closed(
    server: &Running,
    connections: usize,
    batches: &[Arc<Batches>],
    time: Duration,
) -> Outcome<Throughput> {
    let measured = during(server, connections, batches, |answered| {
        std::thread::sleep(WARM_UP);
        let (cpu, before, begun) = (server.cpu_seconds()?, answered(), Instant::now());
        std::thread::sleep(time);
        let requests = (answered() - before) as f64;
        let seconds = begun.elapsed().as_secs_f64();
        let after = server.cpu_seconds()?;
        let used = (after.all - cpu.all, after.kernel - cpu.kernel);
        Ok((requests, seconds, used))
    });
    let (requests, seconds, (cpu, kernel)) = measured?;
    if requests == 0.0 {
        return Err(format!("{} answered nothing", server.name).into());
    }
    Ok(Throughput {
        per_second: requests / seconds,
        cpu_us: cpu * 1e6 / requests,
        kernel_us: kernel * 1e6 / requests,
    })
}

/// Drives `server` while `script` runs, which is given a way to ask how many requests have been
/// answered.
pub fn during<R>(
    server: &Running,
    connections: usize,
    batches: &[Arc<Batches>],
    script: impl FnOnce(&dyn Fn() -> u64) -> Outcome<R>,
) -> Outcome<R> {
    let stop = AtomicBool::new(false);
    let connected = AtomicUsize::new(0);
    let done: Vec<AtomicU64> = (0..THREADS).map(|_| AtomicU64::new(0)).collect();
    let answered = || -> u64 { done.iter().map(|d| d.load(Ordering::Relaxed)).sum() };
    std::thread::scope(|scope| {
        let mut threads = Vec::new();
        for (i, done) in done.iter().enumerate() {
            let share = connections / THREADS + usize::from(i < connections % THREADS);
            let Some(batches) = batches.get(i % batches.len().max(1)) else {
                return Err("no requests".into());
            };
            let (stop, connected) = (&stop, &connected);
            threads.push(scope.spawn(move || {
                let driven = connect_all(server.port, share, batches).and_then(|all| {
                    connected.fetch_add(1, Ordering::Relaxed);
                    drive(all, batches, stop, done)
                });
                if driven.is_err() {
                    connected.fetch_add(1, Ordering::Relaxed);
                }
                driven
            }));
        }
        while connected.load(Ordering::Relaxed) < THREADS {
            std::thread::sleep(Duration::from_millis(5));
        }
        let result = script(&answered);
        stop.store(true, Ordering::Relaxed);
        for t in threads {
            t.join().map_err(|_| "a load thread died")??;
        }
        result
    })
}

struct Connection {
    stream: TcpStream,
    counter: Counter,
    /// The batch under way.
    at: usize,
    /// Bytes of it that are sent.
    sent: usize,
    /// Replies, or their bytes, that are still to come.
    lacking: u64,
    writing: bool,
}

/// A thread's connections, and their readiness.
struct Driven {
    poll: Poll,
    connections: Vec<Connection>,
}

fn connect_all(port: u16, connections: usize, batches: &Batches) -> Outcome<Driven> {
    let poll = Poll::new()?;
    let mut all = Vec::new();
    for i in 0..connections {
        let mut stream = connect(port)?;
        let interest = Interest::READABLE | Interest::WRITABLE;
        poll.registry().register(&mut stream, Token(i), interest)?;
        all.push(Connection {
            stream,
            counter: Counter::default(),
            at: i * batches.len() / connections,
            sent: 0,
            lacking: 0,
            writing: true,
        });
    }
    Ok(Driven {
        poll,
        connections: all,
    })
}

fn drive(driven: Driven, batches: &Batches, stop: &AtomicBool, done: &AtomicU64) -> Outcome<()> {
    let Driven {
        mut poll,
        connections: mut all,
    } = driven;
    let mut events = Events::with_capacity(all.len().max(16));
    let mut buffer = vec![0u8; 256 * 1024];
    for c in &mut all {
        c.begin(batches)?;
    }
    while !stop.load(Ordering::Relaxed) {
        match poll.poll(&mut events, Some(Duration::from_millis(200))) {
            Err(e) if e.kind() == ErrorKind::Interrupted => continue,
            other => other?,
        }
        for event in &events {
            let Some(c) = all.get_mut(event.token().0) else {
                continue;
            };
            if c.writing && event.is_writable() {
                c.write(batches)?;
            }
            if event.is_readable() {
                c.read(batches, &mut buffer, done)?;
            }
        }
    }
    Ok(())
}

/// A connected stream for a poll.
pub fn connect(port: u16) -> Outcome<TcpStream> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let stream = std::net::TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    stream.set_nonblocking(true)?;
    Ok(TcpStream::from_std(stream))
}

impl Connection {
    /// Sends the batch at `at`.
    fn begin(&mut self, batches: &Batches) -> Outcome<()> {
        self.lacking = match batches.replies {
            Replies::Fixed(bytes) => (bytes * batches.depth) as u64,
            Replies::Counted => batches.depth as u64,
        };
        self.sent = 0;
        self.write(batches)
    }

    fn write(&mut self, batches: &Batches) -> Outcome<()> {
        let batch = batches.get(self.at)?;
        self.writing = false;
        while let Some(rest) = batch.get(self.sent..).filter(|r| !r.is_empty()) {
            match self.stream.write(rest) {
                Ok(n) => self.sent += n,
                Err(e) if e.kind() == ErrorKind::WouldBlock => {
                    self.writing = true;
                    break;
                }
                Err(e) => return Err(e.into()),
            }
        }
        Ok(())
    }

    fn read(&mut self, batches: &Batches, buffer: &mut [u8], done: &AtomicU64) -> Outcome<()> {
        loop {
            let n = match self.stream.read(buffer) {
                Ok(0) => return Err("the server closed the connection".into()),
                Ok(n) => n,
                Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(e) => return Err(e.into()),
            };
            let bytes = buffer.get(..n).unwrap_or_default();
            let came = match batches.replies {
                Replies::Fixed(_) => n as u64,
                Replies::Counted => self.counter.feed(bytes).replies,
            };
            self.lacking = self
                .lacking
                .checked_sub(came)
                .ok_or("replies are longer than they should be: is a key missing?")?;
            if self.lacking == 0 {
                done.fetch_add(batches.depth as u64, Ordering::Relaxed);
                self.at = (self.at + 1) % batches.len();
                self.begin(batches)?;
            }
            // A short read has emptied the socket.
            if n < buffer.len() {
                return Ok(());
            }
        }
    }
}

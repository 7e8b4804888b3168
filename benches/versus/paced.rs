//! The open loop: one request after the other on a schedule, over several connections in turn,
//! each measured from the instant at which it was to go out.
//!
//! One thread sends and one receives. Request `i` goes out at `begin + i / rate` on connection
//! `i % connections`, so the receiver knows from the number of replies of a connection when the
//! next one's request was due, and the two threads share nothing.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream as Blocking;
use std::num::NonZeroU64;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

use crate::Outcome;
use crate::load::connect;
use crate::replies::Counter;
use crate::requests::Batches;
use crate::servers::Running;

/// A schedule.
#[derive(Clone)]
pub struct Pace {
    /// Requests in a second.
    pub rate: f64,
    /// Connections that take turns.
    pub connections: usize,
    /// The requests, a pipeline of one each.
    pub requests: Arc<Batches>,
}

/// Latencies of one phase, in microseconds.
pub struct Latency {
    histogram: Histogram<u64>,
}

impl Latency {
    fn new() -> Outcome<Latency> {
        Ok(Latency {
            histogram: Histogram::new(3)?,
        })
    }

    /// A percentile.
    pub fn at(&self, percentile: f64) -> f64 {
        self.histogram.value_at_percentile(percentile) as f64
    }

    /// The longest.
    pub fn max(&self) -> f64 {
        self.histogram.max() as f64
    }

    /// Replies.
    pub fn count(&self) -> f64 {
        self.histogram.len() as f64
    }
}

/// Drives `server` on a schedule while `script` runs; `script` is given a phase to move on, and
/// there is a [`Latency`] for each of `phases` phases.
pub fn paced<R>(
    server: &Running,
    pace: &Pace,
    phases: usize,
    script: impl FnOnce(&AtomicUsize) -> Outcome<R>,
) -> Outcome<(R, Vec<Latency>)> {
    let stop = AtomicBool::new(false);
    let phase = AtomicUsize::new(0);
    let mut receivers = Vec::new();
    let mut senders = Vec::new();
    for _ in 0..pace.connections {
        let stream = connect(server.port)?;
        let copy: OwnedFd = stream.as_fd().try_clone_to_owned()?;
        senders.push(Blocking::from(copy));
        receivers.push(stream);
    }
    let begin = Instant::now() + Duration::from_millis(20);
    std::thread::scope(|scope| {
        let sender = scope.spawn(|| send(&mut senders, pace, begin, &stop));
        let receiver = scope.spawn(|| receive(&mut receivers, pace, begin, phases, &phase, &stop));
        let result = script(&phase);
        stop.store(true, Ordering::Relaxed);
        sender.join().map_err(|_| "the sender died")??;
        let latencies = receiver.join().map_err(|_| "the receiver died")??;
        Ok((result?, latencies))
    })
}

/// When request `i` is due.
fn due(begin: Instant, rate: f64, i: u64) -> Instant {
    begin + Duration::from_secs_f64(i as f64 / rate)
}

fn send(senders: &mut [Blocking], pace: &Pace, begin: Instant, stop: &AtomicBool) -> Outcome<()> {
    // Without it the kernel may wake us 50 us late, to wake several sleepers at once.
    rustix::thread::set_current_timer_slack(NonZeroU64::new(1))?;
    let mut i = 0u64;
    while !stop.load(Ordering::Relaxed) {
        let at = due(begin, pace.rate, i);
        let now = Instant::now();
        if at > now {
            std::thread::sleep(at - now);
            continue;
        }
        let mut rest = pace.requests.get(i as usize % pace.requests.len())?;
        let connection = i as usize % pace.connections;
        let stream = senders.get_mut(connection).ok_or("no connection")?;
        while !rest.is_empty() {
            match stream.write(rest) {
                Ok(n) => rest = rest.get(n..).unwrap_or_default(),
                // The server does not keep up; requests wait here, and their latency counts.
                Err(e) if e.kind() == ErrorKind::WouldBlock => {
                    if stop.load(Ordering::Relaxed) {
                        return Ok(());
                    }
                    std::thread::sleep(Duration::from_micros(200));
                }
                Err(e) => return Err(e.into()),
            }
        }
        i += 1;
    }
    Ok(())
}

fn receive(
    streams: &mut [TcpStream],
    pace: &Pace,
    begin: Instant,
    phases: usize,
    phase: &AtomicUsize,
    stop: &AtomicBool,
) -> Outcome<Vec<Latency>> {
    let mut poll = Poll::new()?;
    let mut events = Events::with_capacity(streams.len().max(16));
    for (i, stream) in streams.iter_mut().enumerate() {
        poll.registry()
            .register(stream, Token(i), Interest::READABLE)?;
    }
    let mut latencies = Vec::new();
    for _ in 0..phases {
        latencies.push(Latency::new()?);
    }
    let mut counters: Vec<(Counter, u64)> = Vec::new();
    counters.resize_with(streams.len(), || (Counter::default(), 0));
    let mut buffer = vec![0u8; 64 * 1024];
    while !stop.load(Ordering::Relaxed) {
        match poll.poll(&mut events, Some(Duration::from_millis(100))) {
            Err(e) if e.kind() == ErrorKind::Interrupted => continue,
            other => other?,
        }
        for event in &events {
            let index = event.token().0;
            let (Some(stream), Some((counter, answered))) =
                (streams.get_mut(index), counters.get_mut(index))
            else {
                continue;
            };
            let came = read_all(stream, counter, &mut buffer)?;
            let now = Instant::now();
            let Some(latency) = latencies.get_mut(phase.load(Ordering::Relaxed)) else {
                continue;
            };
            for _ in 0..came {
                let i = *answered * pace.connections as u64 + index as u64;
                *answered += 1;
                let waited = now.saturating_duration_since(due(begin, pace.rate, i));
                latency.histogram.record(waited.as_micros() as u64)?;
            }
        }
    }
    Ok(latencies)
}

/// Reads what is there; how many replies it completed.
fn read_all(stream: &mut TcpStream, counter: &mut Counter, buffer: &mut [u8]) -> Outcome<u64> {
    let mut replies = 0;
    loop {
        match stream.read(buffer) {
            Ok(0) => return Err("the server closed the connection".into()),
            Ok(n) => {
                let counted = counter.feed(buffer.get(..n).unwrap_or_default());
                if counted.errors > 0 {
                    return Err("a request was refused".into());
                }
                replies += counted.replies;
                if n < buffer.len() {
                    return Ok(replies);
                }
            }
            Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(replies),
            Err(e) => return Err(e.into()),
        }
    }
}

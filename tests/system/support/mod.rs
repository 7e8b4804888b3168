//! What the tests drive servers with: processes, a client, a relay that cuts links, waiting.
//!
//! Every server runs in a temporary folder on a free port of the loopback interface and is ended,
//! by its process id, when its handle is dropped. The peers are Debian's own `redis-server`; a
//! test that needs one fails where it is not installed rather than pass without it.

mod client;
mod relay;
mod server;

pub use client::{Client, Reply, encode, field_of_clients};
pub use relay::Relay;
pub use server::{Server, Setup};

use std::time::{Duration, Instant};

/// Polls until `done` says so; panics, naming `what`, when that takes longer than `limit`.
pub fn wait_until(what: &str, limit: Duration, mut done: impl FnMut() -> bool) {
    let started = Instant::now();
    while !done() {
        assert!(started.elapsed() < limit, "waited {limit:?} for {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A number from the environment, or `default`: how long the long tests run.
pub fn rounds(variable: &str, default: usize) -> usize {
    std::env::var(variable)
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(default)
}

/// A small generator (xorshift64*), so that a failing run can be repeated from its seed.
pub struct Dice {
    state: u64,
    ticks: u64,
}

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self {
            state: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1,
            ticks: 1000,
        }
    }

    /// A number greater than all before it.
    pub fn tick(&mut self) -> u64 {
        self.ticks += 1;
        self.ticks
    }

    /// One of the last numbers that [`Dice::tick`] gave.
    pub fn recent(&mut self, among: u64) -> u64 {
        self.ticks - self.below(among).min(self.ticks)
    }

    pub fn roll(&mut self) -> u64 {
        self.state ^= self.state >> 12;
        self.state ^= self.state << 25;
        self.state ^= self.state >> 27;
        self.state.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    pub fn below(&mut self, limit: u64) -> u64 {
        (self.roll() >> 16) % limit
    }

    pub fn pick<'a, T: ?Sized>(&mut self, among: &[&'a T]) -> &'a T {
        let at = self.below(among.len() as u64);
        among[usize::try_from(at).unwrap()]
    }
}

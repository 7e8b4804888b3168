//! Threads for work that takes long and needs no worker: a fixed number, however much waits.
//!
//! They begin when there is work and none of them is free, and stay. Work begins in the order it
//! came. They give way to the threads that serve clients.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::{Condvar, Mutex};

use super::pacing;
use super::usage::follow_thread;
use crate::command::engine::Engine;
use crate::command::host::Work;

/// How many there are at most.
const THREADS: usize = 4;

/// The threads and what waits for them.
#[derive(Default)]
pub struct Helpers {
    state: Mutex<State>,
    news: Condvar,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Work>,
    threads: usize,
    /// Threads that wait for work.
    free: usize,
}

/// One of the threads, for as long as it lives.
struct Helper(Arc<Helpers>);

impl Drop for Helper {
    fn drop(&mut self) {
        self.0.state.lock().threads -= 1;
    }
}

impl Helper {
    fn next(&self) -> Work {
        let mut state = self.0.state.lock();
        loop {
            if let Some(work) = state.waiting.pop_front() {
                return work;
            }
            state.free += 1;
            self.0.news.wait(&mut state);
            state.free -= 1;
        }
    }
}

impl Helpers {
    /// Has `work` done. If there can be no thread, it is dropped.
    pub fn run(self: &Arc<Self>, engine: &Arc<Engine>, work: Work) {
        let mut state = self.state.lock();
        state.waiting.push_back(work);
        self.news.notify_one();
        if state.waiting.len() <= state.free || state.threads >= THREADS {
            return;
        }
        state.threads += 1;
        drop(state);
        let (helper, engine) = (Helper(Arc::clone(self)), Arc::clone(engine));
        let thread = std::thread::Builder::new().name("aside".to_owned());
        let begun = thread.spawn(move || {
            pacing::yield_to_clients();
            follow_thread();
            loop {
                helper.next()(&engine);
            }
        });
        if let Err(e) = begun {
            tracing::warn!("Can't begin a thread: {e}");
            let mut state = self.state.lock();
            if state.threads == 0 {
                state.waiting.clear();
            }
        }
    }
}

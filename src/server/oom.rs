//! `oom-score-adj`: which processes the kernel ends first when memory is short.
//!
//! The score that the process had is kept from the first adjustment on: relative values are added
//! to it, and it comes back when the directive is switched off. The third value, for a child that
//! writes a snapshot, is for nobody: snapshots are written by threads of the server.

use std::fs;
use std::io;

use parking_lot::Mutex;

use crate::config::{OomScoreAdj, Settings};

/// Where the kernel shows and takes the score.
const FILE: &str = "/proc/self/oom_score_adj";

/// The least and the greatest score.
const SCORES: (i32, i32) = (-1000, 1000);

/// The process's score.
#[derive(Debug, Default)]
pub struct OomScore {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// The score before it was adjusted.
    base: Option<i32>,
    /// What was written last.
    written: Option<i32>,
}

impl OomScore {
    /// Gives the process the score that these settings want for its role; nothing if it has it.
    ///
    /// # Errors
    /// If the kernel refuses; logged.
    pub fn follow(&self, settings: &Settings, is_replica: bool) -> io::Result<()> {
        let mut state = self.state.lock();
        let process = &settings.process;
        if process.oom_score_adj == OomScoreAdj::No && state.base.is_none() {
            return Ok(());
        }
        let adjusted = state.adjust(
            process.oom_score_adj,
            process.oom_score_adj_values,
            is_replica,
        );
        if let Err(e) = &adjusted {
            tracing::warn!("Unable to write oom_score_adj: {e}");
        }
        adjusted
    }
}

impl State {
    fn adjust(&mut self, mode: OomScoreAdj, values: [i32; 3], is_replica: bool) -> io::Result<()> {
        let base = match self.base {
            Some(base) => base,
            None => {
                let text = fs::read_to_string(FILE)?;
                text.trim().parse().map_err(io::Error::other)?
            }
        };
        let [primary, replica, _] = values;
        let value = if is_replica { replica } else { primary };
        let score = match mode {
            OomScoreAdj::No => base,
            OomScoreAdj::Absolute => value,
            OomScoreAdj::Yes | OomScoreAdj::Relative => base + value,
        };
        let score = score.clamp(SCORES.0, SCORES.1);
        if self.written != Some(score) {
            fs::write(FILE, score.to_string())?;
        }
        let is_off = mode == OomScoreAdj::No;
        self.base = (!is_off).then_some(base);
        self.written = (!is_off).then_some(score);
        Ok(())
    }
}

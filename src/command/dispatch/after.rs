//! What is left to do once a command or a unit has run: count errors, take back replies that must
//! not be sent, free what was removed.

use super::super::engine::Engine;
use super::super::session::{ReplyMode, Session};
use super::super::stats::{WorkerStats, bump};
use crate::keyspace::unit::{Freed, Garbage};
use crate::resp::reply::{Mark, Reply};

impl Engine {
    /// Counts the errors that came to a reply since it had `before`.
    pub(super) fn count_errors(&self, stats: &WorkerStats, before: u64, reply: &mut Reply) {
        if reply.errors() != before {
            bump(&stats.errors, reply.errors() - before);
            for code in reply.drain_error_codes() {
                self.stats.count_error(&code);
            }
        }
    }

    /// `CLIENT REPLY`: takes back what must not be sent.
    pub(super) fn silence(&self, session: &mut Session, mark: Mark, reply: &mut Reply) {
        match session.reply_mode {
            ReplyMode::On => {}
            ReplyMode::Off => reply.rewind(mark),
            ReplyMode::SkipNext => {
                reply.rewind(mark);
                session.reply_mode = ReplyMode::Skip;
            }
            ReplyMode::Skip => {
                reply.rewind(mark);
                session.reply_mode = ReplyMode::On;
            }
        }
    }

    /// Frees what a unit removed. No lock is held.
    pub(super) fn free(&self, freed: Freed) {
        let Freed { mut here, .. } = freed;
        if here.iter().any(Garbage::is_huge) {
            let huge = here.extract_if(.., |garbage| garbage.is_huge()).collect();
            self.host.free_apart(huge);
        }
        drop(here);
        if !freed.elsewhere.is_empty() {
            self.host.free_later(freed.elsewhere);
        }
    }
}

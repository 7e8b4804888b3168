//! Loading an append-only file: what its base holds, then its commands.
//!
//! One thread reads commands, another runs them, many at a time as a pipeline is run, so that a
//! unit waits once for the memory that its keys lie in. Nobody sees the data meanwhile, and a
//! command that fails keeps no other from running.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread::{Builder, scope};
use std::time::Duration;

use crate::base::clock;
use crate::command::dispatch::{Propagation, Scratch};
use crate::command::engine::Engine;
use crate::command::session::{Origin, Session};
use crate::persist::aof::control::Aof;
use crate::persist::aof::folder::AofError;
use crate::persist::aof::load::{LoadTarget, Loaded, Refusal};
use crate::persist::rdb::file::{LoadFile, reason};
use crate::resp::reply::{Proto, Reply};

use super::super::loading::{self, LoadMode, LoadStatus};

/// Loads the files of `aof`.
///
/// # Errors
/// What is wrong with them; logged.
pub fn load(engine: &Engine, aof: &Aof, status: &LoadStatus) -> Result<Loaded, AofError> {
    replay(engine, status, |target| aof.load(target))?
}

/// Runs the commands that `read` finds. All have run when this returns.
fn replay<R>(
    engine: &Engine,
    status: &LoadStatus,
    read: impl FnOnce(&mut Replay<'_>) -> R,
) -> Result<R, AofError> {
    scope(|scope| {
        let (to, from) = sync_channel(AHEAD);
        let (back, empty) = channel();
        Builder::new()
            .name("aof_replay".to_owned())
            .spawn_scoped(scope, move || run(engine, &from, &back))
            .map_err(|e| {
                let text = format!("Can't replay the append only file: {}", reason(&e));
                tracing::warn!("{text}");
                AofError::Content(text)
            })?;
        let mut replay = Replay {
            engine,
            status,
            collected: Collected::default(),
            to,
            empty,
            on_their_way: 0,
        };
        let outcome = read(&mut replay);
        replay.hand_over();
        Ok(outcome)
    })
}

/// Bytes of commands that are handed over together, unless one of them is longer.
const TOGETHER_BYTES: usize = 64 << 10;
/// Lots of commands that wait to be run.
const AHEAD: usize = 4;

/// Commands of one database.
#[derive(Default)]
struct Collected {
    db: usize,
    bytes: Vec<u8>,
    /// Where each argument ends in `bytes`.
    arguments: Vec<usize>,
    /// Where each command ends in `arguments`.
    commands: Vec<usize>,
}

impl Collected {
    fn push(&mut self, argv: &[&[u8]]) {
        for arg in argv {
            self.bytes.extend_from_slice(arg);
            self.arguments.push(self.bytes.len());
        }
        self.commands.push(self.arguments.len());
    }

    fn clear(&mut self) {
        self.bytes.clear();
        self.bytes.shrink_to(2 * TOGETHER_BYTES);
        self.arguments.clear();
        self.commands.clear();
    }
}

/// What ends at these places.
fn parts<'a, T>(whole: &'a [T], ends: &[usize]) -> Vec<&'a [T]> {
    let mut from = 0;
    let part = |&to: &usize| whole.get(std::mem::replace(&mut from, to)..to);
    ends.iter()
        .map(part)
        .map(Option::unwrap_or_default)
        .collect()
}

/// Runs what comes, and gives back what it came in.
fn run(engine: &Engine, from: &Receiver<Collected>, back: &Sender<Collected>) {
    let client = engine.clients.unlisted(clock::unix_ms());
    let mut session = Session::new(client, Origin::Replay, true);
    let mut scratch = Scratch::new(engine);
    let mut reply = Reply::new(Proto::Resp2);
    for mut collected in from {
        session.select(collected.db);
        let arguments = parts(&collected.bytes, &collected.arguments);
        let all = parts(&arguments, &collected.commands);
        let mut left = all.as_slice();
        while !left.is_empty() {
            let ran = engine.run_as(
                &mut scratch,
                &mut session,
                left,
                &mut reply,
                Propagation::Nowhere,
            );
            reply.clear();
            left = left.get(ran.consumed.max(1)..).unwrap_or_default();
        }
        collected.clear();
        // Whoever reads may have come to an end.
        let _ = back.send(collected);
    }
}

/// What receives the data of an AOF.
struct Replay<'e> {
    engine: &'e Engine,
    status: &'e LoadStatus,
    collected: Collected,
    to: SyncSender<Collected>,
    empty: Receiver<Collected>,
    /// Lots that have not come back.
    on_their_way: usize,
}

impl Replay<'_> {
    /// Hands over what has been collected.
    fn hand_over(&mut self) {
        if self.collected.commands.is_empty() {
            return;
        }
        let next = match self.empty.try_recv() {
            Ok(empty) => {
                self.on_their_way -= 1;
                empty
            }
            Err(_) => Collected::default(),
        };
        let full = std::mem::replace(&mut self.collected, next);
        self.collected.db = full.db;
        if self.to.send(full).is_ok() {
            self.on_their_way += 1;
        }
    }

    /// Waits until all that has been read has run.
    fn settle(&mut self) {
        self.hand_over();
        while self.on_their_way > 0 && self.empty.recv().is_ok() {
            self.on_their_way -= 1;
        }
    }
}

impl LoadTarget for Replay<'_> {
    fn begin(&mut self, total_bytes: u64) {
        self.status
            .total_bytes
            .store(total_bytes, Ordering::Relaxed);
        self.status.loaded_bytes.store(0, Ordering::Relaxed);
    }

    fn load_rdb(&mut self, input: LoadFile) -> Result<u64, String> {
        self.settle();
        let watch = loading::Watch {
            progress: Some(Arc::clone(&self.status.loaded_bytes)),
            ..loading::Watch::default()
        };
        // A key that is due by now may have been given more time by a command that follows.
        let mode = LoadMode {
            keep_due: true,
            ..LoadMode::default()
        };
        match loading::load_opened(self.engine, input, mode, watch) {
            Ok((loaded, summary)) => {
                self.status
                    .keys_loaded
                    .store(loaded.keys, Ordering::Relaxed);
                self.status
                    .keys_expired
                    .store(loaded.expired, Ordering::Relaxed);
                Ok(summary.length)
            }
            Err(e) => {
                for line in e.log_lines() {
                    tracing::warn!("{line}");
                }
                Err(e.to_string())
            }
        }
    }

    fn apply(&mut self, db: u32, argv: &[&[u8]]) -> Result<(), Refusal> {
        if self.engine.table.lookup_original(argv).is_none() {
            return Err(Refusal::UnknownCommand);
        }
        let db = db as usize;
        let len: usize = argv.iter().map(|arg| arg.len()).sum();
        if self.collected.db != db || self.collected.bytes.len() + len > TOGETHER_BYTES {
            self.hand_over();
            self.collected.db = db;
        }
        self.collected.push(argv);
        if len > TOGETHER_BYTES {
            // Of long ones there is never more than one.
            self.settle();
        }
        let delay_us = self.engine.config.current().rdb.key_load_delay;
        if delay_us > 0 {
            self.settle();
            std::thread::sleep(Duration::from_micros(delay_us as u64));
        }
        Ok(())
    }

    fn progress(&mut self, bytes: u64) -> Result<(), Refusal> {
        self.status.loaded_bytes.fetch_add(bytes, Ordering::Relaxed);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::testing::TestServer;

    /// Replays these and returns the server.
    fn replayed(commands: &[(u32, String)]) -> TestServer {
        let t = TestServer::new();
        replay(&t.engine, &LoadStatus::default(), |target| {
            for (db, command) in commands {
                let argv: Vec<&[u8]> = command.split(' ').map(str::as_bytes).collect();
                target.apply(*db, &argv).unwrap();
            }
        })
        .unwrap();
        t
    }

    #[test]
    fn commands_run_in_their_order_and_in_their_databases_however_long_they_are() {
        let mut commands = Vec::new();
        let mut expected = TestServer::new();
        for i in 0..400_u32 {
            let db = i / 50 % 2;
            let (k, long) = (i % 7, "x".repeat(TOGETHER_BYTES / 3 + 1));
            let command = match i % 10 {
                0..=3 => format!("APPEND k{k} {i},"),
                4 => format!("SET k{k} {i}"),
                5 => format!("MSET k{k} {i} k{} {i}", k + 1),
                6 if i % 3 == 0 => "FLUSHDB".to_owned(),
                6 => format!("SET long{k} {long}"),
                7 => format!("SET longer{k} {long}{long}{long}"),
                8 => format!("LPUSH k{k} fails"),
                _ => format!("RPUSH l{k} {i}"),
            };
            expected.run(&format!("SELECT {db}"));
            expected.run(&command);
            commands.push((db, command));
        }
        let mut loaded = replayed(&commands);
        assert_eq!(loaded.run("DEBUG DIGEST"), expected.run("DEBUG DIGEST"));
        assert_ne!(loaded.run("DBSIZE"), ":0");
    }

    #[test]
    fn an_unknown_command_is_refused_at_once() {
        let mut t = TestServer::new();
        replay(&t.engine, &LoadStatus::default(), |target| {
            assert_eq!(target.apply(0, &[b"SET", b"a", b"1"]), Ok(()));
            assert_eq!(target.apply(0, &[b"NOSUCH"]), Err(Refusal::UnknownCommand));
        })
        .unwrap();
        assert_eq!(t.run("GET a"), r#""1""#);
    }
}

//! The append-only file of this server: what it needs of the configuration, the data it is made
//! of and loaded into ([`replay`]), and when it is rewritten.

mod replay;

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use crate::base::clock;
use crate::command::ctx::CommandError;
use crate::command::engine::{Engine, Gate};
use crate::config::{AppendFsync, Settings};
use crate::keyspace::snapshot::Snapshot;
use crate::persist::aof::commands::Commands;
use crate::persist::aof::control::{Aof, Options, Request, State};
use crate::persist::aof::engine::Policy;
use crate::persist::aof::folder::{AofError, Folder};
use crate::persist::aof::load::Loaded;
use crate::persist::aof::rewriting::{Format, Rewrite};
use crate::persist::aof::status::Fsync;
use crate::persist::rdb::writer::Writer;

use super::host::Parts;
use super::loading::LoadStatus;
use super::pacing::{self, Pacer};
use super::replication::AppendOnly;
use super::snapshotting::{self, Heading, Progress, StreamPoint};

/// What the configuration says about the AOF.
pub fn options(settings: &Settings) -> Options {
    let aof = &settings.aof;
    let fsync = match aof.appendfsync {
        AppendFsync::Always => Fsync::Always,
        AppendFsync::EverySecond => Fsync::EverySec,
        AppendFsync::No => Fsync::No,
    };
    Options {
        policy: Policy {
            fsync,
            no_sync_during_snapshot: aof.no_appendfsync_on_rewrite,
        },
        rdb_preamble: aof.aof_use_rdb_preamble,
        timestamps: aof.aof_timestamp_enabled,
        auto_percentage: aof.auto_aof_rewrite_percentage,
        auto_min_bytes: aof.auto_aof_rewrite_min_size,
        keep_history: aof.aof_disable_auto_gc,
        incremental_fsync: aof.aof_rewrite_incremental_fsync,
        load_truncated: aof.aof_load_truncated,
        databases: settings.process.databases,
    }
}

/// Reads the manifest of this server's AOF.
///
/// # Errors
/// A manifest that is there and not valid; logged.
pub fn open(engine: &Engine) -> Result<Arc<Aof>, AofError> {
    let settings = engine.config.settings();
    let folder = Folder {
        dir: ".".into(),
        dirname: settings.aof.appenddirname.clone().into_os_string(),
        filename: settings.aof.appendfilename.clone().into_os_string(),
    };
    // The writer has logged why: with `always` no reply may go out, and nothing can be undone.
    let on_fatal = Arc::new(|| std::process::exit(1));
    Aof::open(
        folder,
        Arc::clone(&engine.log),
        options(&settings),
        on_fatal,
    )
}

/// Loads the AOF at start, with Redis's log line. `false` if there is none.
///
/// # Errors
/// What is wrong with it; logged.
pub fn load(engine: &Engine, aof: &Aof, status: &LoadStatus) -> Result<bool, AofError> {
    let begun = Instant::now();
    match replay::load(engine, aof, status)? {
        Loaded::Nothing | Loaded::Empty => Ok(false),
        Loaded::Data { .. } => {
            tracing::info!(
                "DB loaded from append only file: {:.3} seconds",
                begun.elapsed().as_secs_f64()
            );
            Ok(true)
        }
    }
}

/// Begins to append, after loading.
///
/// # Errors
/// What the files say; logged.
pub fn start(engine: &Engine, aof: &Arc<Aof>) -> Result<(), AofError> {
    aof.start(|format, out| {
        let config = &engine.config;
        if format == Format::Rdb {
            let (snapshot, ()) = engine.keyspace.snapshot(|| ()).map_err(io::Error::other)?;
            write_rdb(snapshot, out, config, &Progress::default())?;
        }
        Ok(())
    })
}

fn write_rdb(
    snapshot: Snapshot,
    out: &mut dyn Write,
    config: &crate::config::Config,
    progress: &Progress,
) -> io::Result<()> {
    let mut writer = Writer::new(out, snapshotting::format(config));
    let heading = Heading {
        aof_base: true,
        ..Heading::default()
    };
    snapshotting::write(snapshot, &mut writer, &heading, config, progress)?;
    writer.finish()?;
    Ok(())
}

fn write_commands(
    mut snapshot: Snapshot,
    out: &mut dyn Write,
    config: &crate::config::Config,
    progress: &Progress,
) -> io::Result<()> {
    let mut commands = Commands::new(out);
    let mut captured = Vec::new();
    let delay_us = config.current().rdb.rdb_key_save_delay;
    let mut pacer = Pacer::default();
    progress.check()?;
    while snapshot.next(&mut captured) {
        pacer.step();
        for c in captured.drain(..) {
            commands.entry(c.db as u32, c.key(), c.value(), c.expire_ms())?;
            if delay_us > 0 {
                progress.wait(delay_us)?;
            }
        }
        progress.check()?;
    }
    Ok(())
}

/// A rewrite from its snapshot to its end, on the thread that calls.
fn run_rewrite(engine: &Engine, mut rewrite: Rewrite, progress: &Progress) {
    pacing::yield_to_clients();
    let snapshot = loop {
        match engine.keyspace.snapshot(|| rewrite.mark()) {
            Ok((snapshot, ())) => break snapshot,
            // One that began in the same instant, or a digest: it ends by itself.
            Err(_) if rewrite.cancelled().load(Ordering::SeqCst) => return,
            Err(_) => std::thread::sleep(std::time::Duration::from_millis(1)),
        }
    };
    let config = &engine.config;
    rewrite.run(|format, out| match format {
        Format::Rdb => write_rdb(snapshot, out, config, progress),
        Format::Commands => write_commands(snapshot, out, config, progress),
    });
}

impl Parts {
    /// Whether a snapshot runs that is not an AOF rewrite's.
    fn other_snapshot(&self) -> bool {
        self.engine.keyspace.snapshot_running() && !self.aof.info().rewriting
    }

    /// Begins a rewrite. Its snapshot is taken on its own thread, so this may be called with
    /// shards locked. `false` if it could not begin; logged.
    pub fn start_rewrite(&self) -> bool {
        let Some(rewrite) = self.aof.begin_rewrite() else {
            return false;
        };
        self.engine
            .stats
            .background_jobs
            .fetch_add(1, Ordering::Relaxed);
        let engine = Arc::clone(&self.engine);
        let progress = Arc::new(Progress::cancelled_by(rewrite.cancelled()));
        *self.rewriting.lock() = Arc::downgrade(&progress);
        let thread = std::thread::Builder::new().name("aof_rewrite".to_owned());
        match thread.spawn(move || run_rewrite(&engine, rewrite, &progress)) {
            Ok(_) => true,
            Err(e) => {
                tracing::warn!("Can't rewrite append only file in background: {e}");
                false
            }
        }
    }

    /// `BGREWRITEAOF`: the status text to reply with.
    ///
    /// # Errors
    /// The error to reply with.
    pub fn bgrewriteaof(&self, nested: bool) -> Result<&'static str, CommandError> {
        if !nested {
            self.aof.await_killed_rewrite();
        }
        match self.aof.request_rewrite(self.other_snapshot(), nested) {
            Request::InProgress => Err(CommandError::new(
                "ERR Background append only file rewriting already in progress",
            )),
            Request::Scheduled => Ok("Background append only file rewriting scheduled"),
            Request::Start if self.start_rewrite() => {
                Ok("Background append only file rewriting started")
            }
            Request::Start => Err(CommandError::new(
                "ERR Can't execute an AOF background rewriting. Please check the server logs for \
                 more information.",
            )),
        }
    }

    /// CONFIG SET appendonly; `nested`: inside a transaction. While data are loaded it is only
    /// noted, see [`Parts::begin_appending`].
    ///
    /// # Errors
    /// The reason that CONFIG SET replies with.
    pub fn want_aof(&self, on: bool, nested: bool) -> Result<(), String> {
        let mut after_load = self.append_after_load.lock();
        if let Some(wanted) = &mut *after_load {
            *wanted = on;
            return Ok(());
        }
        self.switch_aof(on, nested)
    }

    fn switch_aof(&self, on: bool, nested: bool) -> Result<(), String> {
        if !on {
            self.aof.disable(self.history());
            return Ok(());
        }
        if self.aof.enable(self.other_snapshot(), nested) && !self.start_rewrite() {
            self.aof.enable_failed();
            return Err("Unable to turn on AOF. Check server logs.".to_owned());
        }
        Ok(())
    }

    /// The history that the log's offsets belong to, if the data set is a part of it.
    fn history(&self) -> Option<String> {
        self.replication.point().map(|p| p.replid)
    }

    /// The process is about to end and its data set is complete.
    pub fn finish_aof(&self) {
        self.aof.finish(self.history());
    }

    /// Begins to append as it is wanted when the data are there. `from_aof`: they came from the
    /// AOF, which is continued; otherwise a new one begins with them.
    ///
    /// # Errors
    /// What the files say; logged.
    pub fn begin_appending(&self, mut from_aof: bool) -> Result<(), AofError> {
        let mut on = false;
        loop {
            {
                // Not held while the files are opened: a transaction may wait for it with every
                // shard locked.
                let mut after_load = self.append_after_load.lock();
                if after_load.unwrap_or(on) == on {
                    *after_load = None;
                    return Ok(());
                }
            }
            if !on && std::mem::take(&mut from_aof) {
                start(&self.engine, &self.aof)?;
            } else if let Err(e) = self.switch_aof(!on, false) {
                tracing::warn!("{e}");
                *self.append_after_load.lock() = None;
                return Ok(());
            }
            on = !on;
        }
    }

    /// The stream goes on from where the AOF that was loaded ends.
    pub fn adopt_aof_offset(&self) {
        let end = self.aof.end();
        let point = end.and_then(|end| {
            Some(StreamPoint {
                replid: end.replid?,
                offset: end.offset,
                db: end.stream_db.map_or(-1, i64::from),
            })
        });
        let restored = point.is_some_and(|p| self.replication.restore(&p));
        if !restored && let Some(floor) = self.aof.offset_floor() {
            // Nobody reads yet.
            let _ = self.engine.log.set_offset(floor, None);
        }
    }

    /// Makes whatever writes a snapshot fail. Whether there was anything.
    pub fn abort_background(&self) -> bool {
        if self.saver.fail_soon() {
            return true;
        }
        let rewriting = self.rewriting.lock().upgrade();
        if let Some(progress) = &rewriting {
            progress.failed.store(true, Ordering::Relaxed);
        }
        rewriting.is_some()
    }

    /// What a shutdown does about the AOF before it saves. `false` if it cannot end yet.
    pub fn prepare_aof_end(&self, force: bool) -> bool {
        let info = self.aof.info();
        if info.state == State::Off || !info.rewriting {
            return true;
        }
        if info.state == State::WaitRewrite {
            if !force {
                tracing::warn!("Writing initial AOF, can't exit.");
                return false;
            }
            tracing::warn!("Writing initial AOF. Exit anyway.");
        }
        tracing::warn!("There is a child rewriting the AOF. Killing it!");
        self.aof.kill_rewrite();
        true
    }

    /// What cron asks ten times a second: a rewrite that is due, and whether writes must be
    /// refused.
    pub fn poll_aof(&self) {
        let now_s = clock::unix_ms() / 1000;
        let any = self.engine.keyspace.snapshot_running();
        if self.aof.poll_rewrite(now_s, any) {
            self.start_rewrite();
        }
        self.engine
            .gates
            .set(Gate::AOF_FAILED, self.aof.write_error().is_some());
    }

    /// Whether an AOF is written or wanted.
    pub fn aof_is_on(&self) -> bool {
        self.aof.info().state != State::Off
    }
}

/// Tells a shutdown what to do about the AOF: before it saves, and when nothing runs any more.
pub fn register_shutdown(parts: &Arc<Parts>) {
    let weak = Arc::downgrade(parts);
    parts.shutdown.set_before_save(Box::new(move |request| {
        weak.upgrade()
            .is_none_or(|parts| parts.prepare_aof_end(request.force))
    }));
    let weak = Arc::downgrade(parts);
    parts.shutdown.set_last_words(Box::new(move || {
        if let Some(parts) = weak.upgrade() {
            parts.finish_aof();
        }
    }));
}

/// The append-only file as replication sees it: it ends where another history begins.
pub struct FollowedHistory(pub std::sync::Weak<Parts>);

impl AppendOnly for FollowedHistory {
    fn stop(&self) {
        if let Some(parts) = self.0.upgrade() {
            let on = parts.aof_is_on();
            parts.append_after_load.lock().get_or_insert(on);
            parts.aof.disable(parts.history());
        }
    }

    fn restart(&self) {
        let Some(parts) = self.0.upgrade() else {
            return;
        };
        if !parts.aof_is_on()
            && let Err(e) = parts.begin_appending(false)
        {
            tracing::warn!("{e}");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::super::loading::{self, LoadMode};
    use super::*;
    use crate::command::testing::TestServer;

    const FILENAME: &str = "a";

    /// A data set of some megabytes, as a base holds it.
    fn base() -> Vec<u8> {
        let mut t = TestServer::with(&["--rdbcompression", "no"]);
        for i in 0..3000 {
            let value = format!("{i}").repeat(300);
            t.run(&format!("SET key:{i} {value}"));
        }
        t.run("SET due 1 PXAT 1700000000001");
        t.run("RPUSH list a b c");
        let (snapshot, ()) = t.engine.keyspace.snapshot(|| ()).unwrap();
        let mut base = Vec::new();
        write_rdb(snapshot, &mut base, &t.engine.config, &Progress::default()).unwrap();
        base
    }

    /// Loads a folder whose base is `base`, and what follows it.
    fn load_folder(base: &[u8], commands: &str) -> (TestServer, Result<Loaded, AofError>) {
        let t = TestServer::new();
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder {
            dir: dir.path().to_owned(),
            dirname: "aof".into(),
            filename: FILENAME.into(),
        };
        folder.create().unwrap();
        let write = |name: &str, bytes: &[u8]| {
            fs::write(folder.file(Path::new(name).as_os_str()), bytes).unwrap();
        };
        write("a.1.base.rdb", base);
        write("a.1.incr.aof", commands.as_bytes());
        let files = "file a.1.base.rdb seq 1 type b\nfile a.1.incr.aof seq 1 type i\n";
        write("a.manifest", files.as_bytes());
        let log = Arc::clone(&t.engine.log);
        let options = options(&t.engine.config.settings());
        let aof = Aof::open(folder, log, options, Arc::new(|| ())).unwrap();
        let status = LoadStatus::default();
        let loaded = replay::load(&t.engine, &aof, &status);
        (t, loaded)
    }

    /// Loads the same from a stream that nobody reads ahead.
    fn load_stream(base: &[u8]) -> (TestServer, Result<u64, String>) {
        let t = TestServer::new();
        let mode = LoadMode {
            keep_due: true,
            ..LoadMode::default()
        };
        let (engine, watch) = (&t.engine, loading::Watch::default());
        let loaded = loading::load_stream(engine, &engine.keyspace, base, mode, watch);
        let length = loaded.map(|(_, summary)| summary.length);
        (t, length.map_err(|e| e.to_string()))
    }

    #[test]
    fn a_base_loads_as_the_stream_it_is() {
        let base = base();
        assert!(base.len() > 2 << 20);
        let (mut expected, length) = load_stream(&base);
        assert_eq!(length.unwrap(), base.len() as u64);
        let (mut t, loaded) = load_folder(&base, "*2\r\n$3\r\nDEL\r\n$5\r\nkey:7\r\n");
        assert!(matches!(loaded.unwrap(), Loaded::Data { .. }));
        assert_eq!(t.run("EXISTS key:7"), ":0");
        expected.run("DEL key:7");
        assert_eq!(t.run("DEBUG DIGEST"), expected.run("DEBUG DIGEST"));
        assert_eq!(t.run("DBSIZE"), ":3001");
    }

    #[test]
    fn commands_behind_a_base_in_the_same_file_are_found() {
        let mut file = base();
        file.extend_from_slice(b"*3\r\n$3\r\nSET\r\n$3\r\nnew\r\n$1\r\n1\r\n");
        let (mut t, loaded) = load_folder(&file, "*2\r\n$4\r\nINCR\r\n$3\r\nnew\r\n");
        assert!(matches!(loaded.unwrap(), Loaded::Data { .. }));
        assert_eq!(t.run("GET new"), r#""2""#);
        assert_eq!(t.run("DBSIZE"), ":3003");
    }

    #[test]
    fn a_damaged_base_is_refused_at_the_offset_of_the_damage() {
        let base = base();
        let cut = |at: usize| base.get(..at).unwrap().to_vec();
        let mut flipped = base.clone();
        *flipped.last_mut().unwrap() ^= 1;
        for damaged in [cut(20), cut(1 << 20), cut(base.len() - 1), flipped] {
            let (_, expected) = load_stream(&damaged);
            let (_, refused) = load_folder(&damaged, "");
            let told = refused.unwrap_err().to_string();
            assert_eq!(told, format!("a.1.base.rdb: {}", expected.unwrap_err()));
            assert!(told.contains("offset"), "{told}");
        }
    }
}

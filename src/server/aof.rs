//! The append-only file of this server: what it needs of the configuration, the data it is made
//! of and loaded into, and when it is rewritten.

use std::io::{self, Read, Write};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use crate::base::clock;
use crate::command::ctx::CommandError;
use crate::command::dispatch::{Propagation, Scratch};
use crate::command::engine::{Engine, Gate};
use crate::command::session::{Origin, Session};
use crate::config::{AppendFsync, Settings};
use crate::keyspace::snapshot::Snapshot;
use crate::persist::aof::commands::Commands;
use crate::persist::aof::control::{Aof, Options, Request, State};
use crate::persist::aof::engine::Policy;
use crate::persist::aof::folder::{AofError, Folder};
use crate::persist::aof::load::{LoadTarget, Loaded, Refusal};
use crate::persist::aof::rewriting::{Format, Rewrite};
use crate::persist::aof::status::Fsync;
use crate::persist::rdb::writer::Writer;
use crate::resp::reply::{Proto, Reply};

use super::host::Parts;
use super::loading::{self, LoadMode, LoadStatus};
use super::replication::AppendOnly;
use super::snapshotting::{self, Heading, Progress};

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
    let mut target = Replay::new(engine, status);
    let loaded = aof.load(&mut target)?;
    match loaded {
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

/// What receives the data of an AOF.
struct Replay<'e> {
    engine: &'e Engine,
    status: &'e LoadStatus,
    session: Session,
    scratch: Scratch,
    reply: Reply,
}

impl<'e> Replay<'e> {
    fn new(engine: &'e Engine, status: &'e LoadStatus) -> Replay<'e> {
        let client = engine.clients.unlisted(clock::unix_ms());
        Replay {
            engine,
            status,
            session: Session::new(client, Origin::Replay, true),
            scratch: Scratch::new(engine),
            reply: Reply::new(Proto::Resp2),
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

    fn load_rdb(&mut self, input: &mut dyn Read) -> Result<u64, String> {
        let progress = Some(Arc::clone(&self.status.loaded_bytes));
        match loading::load_stream(self.engine, input, LoadMode::default(), progress) {
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
        self.session.select(db as usize);
        self.engine.run_as(
            &mut self.scratch,
            &mut self.session,
            &[argv],
            &mut self.reply,
            Propagation::Nowhere,
        );
        self.reply.clear();
        let delay_us = self.engine.config.current().rdb.key_load_delay;
        if delay_us > 0 {
            std::thread::sleep(std::time::Duration::from_micros(delay_us as u64));
        }
        Ok(())
    }

    fn progress(&mut self, bytes: u64) -> Result<(), Refusal> {
        self.status.loaded_bytes.fetch_add(bytes, Ordering::Relaxed);
        Ok(())
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
) -> io::Result<()> {
    let mut commands = Commands::new(out);
    let mut captured = Vec::new();
    while snapshot.next(&mut captured) {
        for c in captured.drain(..) {
            commands.entry(c.db as u32, &c.key, c.value.as_ref(), c.expire_ms)?;
            let delay_us = config.current().rdb.rdb_key_save_delay;
            if delay_us > 0 {
                std::thread::sleep(std::time::Duration::from_micros(delay_us as u64));
            }
        }
    }
    Ok(())
}

/// A rewrite from its snapshot to its end, on the thread that calls.
fn run_rewrite(engine: &Engine, mut rewrite: Rewrite) {
    snapshotting::yield_to_clients();
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
        Format::Rdb => write_rdb(snapshot, out, config, &Progress::default()),
        Format::Commands => write_commands(snapshot, out, config),
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
        let thread = std::thread::Builder::new().name("aof_rewrite".to_owned());
        match thread.spawn(move || run_rewrite(&engine, rewrite)) {
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

    /// Turns the AOF on or off.
    ///
    /// # Errors
    /// The reason that CONFIG SET replies with.
    pub fn switch_aof(&self, on: bool) -> Result<(), String> {
        if !on {
            self.aof.disable(None);
            return Ok(());
        }
        if self.aof.enable(self.other_snapshot(), false) && !self.start_rewrite() {
            self.aof.enable_failed();
            return Err("Unable to turn on AOF. Check server logs.".to_owned());
        }
        Ok(())
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

/// The append-only file as replication sees it: it ends where another history begins.
pub struct FollowedHistory(pub std::sync::Weak<Parts>);

impl AppendOnly for FollowedHistory {
    fn stop(&self) {
        if let Some(parts) = self.0.upgrade() {
            parts.aof.disable(None);
        }
    }

    fn restart(&self) {
        let Some(parts) = self.0.upgrade() else {
            return;
        };
        let wanted = parts.engine.config.current().aof.appendonly;
        if wanted
            && !parts.aof_is_on()
            && let Err(e) = parts.switch_aof(true)
        {
            tracing::warn!("{e}");
        }
    }
}

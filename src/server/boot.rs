//! From settings to a running server, and its end.
//!
//! The order matters and is Redis's: settings, logging, banner, sockets (so that a port in use is
//! found before a gigabyte is loaded), data, "Ready to accept connections".

use std::io;
use std::path::Path;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use parking_lot::Mutex;
use tokio::runtime::Builder;
use tokio::task::LocalSet;

use crate::base::{clock, random};
use crate::client::Registry;
use crate::command::dispatch::Engine;
use crate::command::engine::{Gate, Gates, Pause};
use crate::command::families;
use crate::command::latency::LatencyMonitor;
use crate::command::own_expiries::OwnExpiries;
use crate::command::slowlog::Slowlog;
use crate::command::spec::CommandTable;
use crate::config::{Config, LoadError, LoadSource, REDIS_VERSION, Settings};
use crate::keyspace::locks::Keyspace;
use crate::net::listener::{Bound, Listeners};
use crate::net::worker::{Takeover, Workers};
use crate::oplog::log::Log;
use crate::persist::aof::folder::AofError;
use crate::persist::rdb::check;

use super::host::{Parts, ServerHost, StopAll};
use super::lazyfree::Lazyfree;
use super::loading::{self, LoadMode, LoadStatus};
use super::process::PidFile;
use super::rates::Rates;
use super::replication::Replication;
use super::saving::Saver;
use super::settings::Effects;
use super::shutdown::{Followers, Shutdown};
use super::title::Title;
use super::usage::Sampler;
use super::{cron, logging, logo, memory, process};

/// Why a server could not start.
#[derive(Debug, thiserror::Error)]
enum StartError {
    /// Nobody has logged it yet.
    #[error("{0}")]
    Untold(#[from] io::Error),
    /// The append-only file cannot be used; its part has logged why, in Redis's lines.
    #[error("{0}")]
    AppendOnlyFile(#[from] AofError),
}

/// Starts a server and serves until it is told to stop.
pub fn run(executable: &str, source: LoadSource) -> ExitCode {
    logging::install();
    let config = match load_config(&source) {
        Ok(c) => c,
        Err(e) => {
            match &e {
                LoadError::Open { .. } => tracing::warn!("{e}"),
                LoadError::Fatal(_) => eprint!("{e}"),
            }
            return ExitCode::FAILURE;
        }
    };
    match start(executable, config, &source) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            if let StartError::Untold(e) = e {
                tracing::warn!("{e}");
            }
            ExitCode::FAILURE
        }
    }
}

fn load_config(source: &LoadSource) -> Result<Config, LoadError> {
    let handlers = families::handlers();
    let mut renames: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
    Config::load(source, &mut |old, new| {
        renames.push((old.to_vec(), new.to_vec()));
        CommandTable::build(&handlers, &renames)
            .map(drop)
            .map_err(|e| e.to_string())
    })
}

fn start(executable: &str, config: Config, source: &LoadSource) -> Result<(), StartError> {
    let settings = config.settings();
    std::env::set_current_dir(&settings.process.dir)?;
    logging::set_level(settings.process.loglevel);
    logging::set_file(&settings.process.logfile);
    logging::set_replica(settings.replication.replicaof.is_some());
    let supervisor = process::supervisor(settings.process.supervised);
    let in_background = settings.process.daemonize && supervisor.is_none();
    if in_background {
        process::daemonize()?;
    }
    announce(executable, &config, source);
    let settings = prepare(&config, in_background)?;
    let title = Title::new(config.file());
    title.set(&settings);
    let bound = Bound::bind(&settings).map_err(|e| {
        tracing::warn!("{e}");
        io::Error::other(format!(
            "Failed listening on port {} (tcp), aborting.",
            settings.network.port
        ))
    })?;
    // After the sockets: a second server on the same port must not touch the first one's file.
    let pid_file = settings.process.pidfile.as_deref().map(PidFile::write);
    let (has_tcp, has_unix) = (bound.has_tcp(), bound.unix_path().is_some());
    let host = Arc::new(ServerHost {
        lazyfree: Lazyfree::start()?,
        effects: Effects::default(),
        parts: OnceLock::new(),
    });
    let engine = engine(config, Arc::<ServerHost>::clone(&host))?;
    // Before the files are looked at: what is wrong with them is told by a server that is there.
    tracing::info!("Server initialized");
    let parts = parts(&engine, &host, executable)?;
    super::settings::register(&host.effects, &engine);
    super::settings::register_title(&host.effects, title);
    super::settings::register_replication(&host.effects, &parts.replication);
    super::settings::register_oom(&host.effects, &parts);
    engine.limit_clients(&settings);
    // What the kernel refuses is logged, and no reason not to start.
    let _ = parts.oom.follow(&settings, engine.gates.is(Gate::REPLICA));
    // Nor is an allocator that cannot.
    let _ = super::memory::give_back_in_background(settings.memory.jemalloc_bg_thread);
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let served = LocalSet::new().block_on(&runtime, async {
        let takeover: Arc<dyn Takeover> = Arc::new(Arc::clone(&parts.replication));
        let count = settings.network.io_threads as usize;
        let workers = Workers::start(count, &engine, &takeover)?;
        engine.gates.set(Gate::LOADING, true);
        let listeners = Listeners::start(&engine, workers, bound)?;
        super::settings::register_listeners(&host.effects, &listeners);
        let _ = parts.stop_all.set(stop_all(&listeners));
        tokio::task::spawn_local(signals(Arc::clone(&parts)));
        load(&parts).await?;
        engine.gates.set(Gate::LOADING, false);
        tokio::task::spawn_local(cron::run(Arc::clone(&parts)));
        parts.replication.start();
        if has_tcp {
            tracing::info!("Ready to accept connections tcp");
        }
        if has_unix {
            tracing::info!("Ready to accept connections unix");
        }
        if let Some(s) = supervisor {
            s.ready(settings.replication.replicaof.is_some());
        }
        parts.shutdown.ended().await;
        if let Some(s) = supervisor {
            s.stopping();
        }
        drop(pid_file);
        listeners.close();
        tracing::warn!("Redis is now ready to exit, bye bye...");
        Ok(())
    });
    // Whoever still works in the background waits for shards that stay locked.
    runtime.shutdown_background();
    served
}

/// Stops the workers and the thread that this is called on, by DEBUG SLEEP.
fn stop_all(listeners: &Arc<Listeners>) -> StopAll {
    let (main, weak) = (tokio::runtime::Handle::current(), Arc::downgrade(listeners));
    Box::new(move |then| {
        let stopped = weak.upgrade().map(|l| l.stop_workers_until(then));
        main.spawn(async move {
            std::thread::sleep(then.saturating_duration_since(Instant::now()));
        });
        Box::pin(async move {
            if let Some(over) = stopped {
                over.await;
            }
        })
    })
}

/// Fits the settings and the process to each other, before anything is opened.
fn prepare(config: &Config, in_background: bool) -> io::Result<Arc<Settings>> {
    let settings = config.settings();
    let possible = process::allow_clients(settings.network.maxclients).map_err(io::Error::other)?;
    process::check_backlog(&settings);
    process::avoid_huge_pages(&settings);
    Ok(config.update(|s| {
        s.network.maxclients = possible;
        s.process.pidfile = PidFile::path(s, in_background);
    }))
}

/// The parts above the commands, made known to the engine's host.
fn parts(
    engine: &Arc<Engine>,
    host: &ServerHost,
    executable: &str,
) -> Result<Arc<Parts>, StartError> {
    let saver = Arc::new(Saver::new(Arc::clone(engine)));
    let load = Arc::new(LoadStatus::default());
    let replication = Replication::new(Arc::clone(engine), Arc::clone(&saver), Arc::clone(&load));
    let aof = super::aof::open(engine)?;
    let shutdown = Shutdown::new(
        Arc::clone(engine),
        Arc::clone(&saver),
        Arc::clone(&replication) as Arc<dyn Followers>,
    );
    let parts = Arc::new(Parts {
        engine: Arc::clone(engine),
        saver,
        aof: Arc::clone(&aof),
        shutdown: Arc::new(shutdown),
        load,
        lazyfree: Arc::clone(&host.lazyfree.counts),
        rates: Rates::default(),
        run_id: random::run_id(),
        executable: executable.to_owned(),
        peak_memory: AtomicU64::new(0),
        usage: Sampler::default(),
        startup_memory: AtomicU64::new(memory::used()),
        replication,
        rewriting: Mutex::default(),
        skip_checksum: AtomicBool::new(false),
        oom: Default::default(),
        helpers: Arc::default(),
        stop_all: OnceLock::new(),
        append_after_load: Mutex::new(Some(engine.config.current().aof.appendonly)),
    });
    let _ = parts.saver.aof.set(Arc::clone(aof.status()));
    super::aof::register_shutdown(&parts);
    super::settings::register_aof(&host.effects, &parts);
    let followed = super::aof::FollowedHistory(Arc::downgrade(&parts));
    let _ = parts.replication.append_only.set(Arc::new(followed));
    let _ = host.parts.set(Arc::clone(&parts));
    // The stream of a primary is applied on this thread.
    super::usage::follow_thread();
    Ok(parts)
}

/// Loads the data set from disk, on a thread, while clients are told LOADING.
async fn load(parts: &Arc<Parts>) -> Result<(), StartError> {
    let me = Arc::clone(parts);
    parts.load.active.store(true, Ordering::Relaxed);
    parts
        .load
        .began_s
        .store(clock::unix_ms() / 1000, Ordering::Relaxed);
    let task = tokio::task::spawn_blocking(move || load_from_disk(&me));
    let loaded = tokio::select! {
        loaded = task => loaded.map_err(io::Error::other)?,
        () = parts.shutdown.ended() => return Ok(()),
    };
    parts.load.active.store(false, Ordering::Relaxed);
    parts.engine.keyspace.saved(u64::MAX);
    loaded
}

/// Loads the AOF if it is on, the RDB file otherwise, and begins to append.
fn load_from_disk(parts: &Parts) -> Result<(), StartError> {
    let settings = parts.engine.config.settings();
    if settings.aof.appendonly {
        super::aof::load(&parts.engine, &parts.aof, &parts.load)?;
        parts.adopt_aof_offset();
        return Ok(parts.begin_appending(true)?);
    }
    let is_replica = settings.replication.replicaof.is_some();
    let mode = LoadMode {
        keep_due: is_replica,
        tell_due: !is_replica,
        ..LoadMode::default()
    };
    if !is_replica {
        parts.replication.expect_replicas();
    }
    let name = &settings.rdb.dbfilename;
    let loaded =
        loading::load_file(&parts.engine, name, mode, &parts.load).map_err(|e| fatal(name, &e))?;
    let mut restored = false;
    if let Some(l) = loaded {
        parts.load.keys_loaded.store(l.keys, Ordering::Relaxed);
        parts.load.keys_expired.store(l.expired, Ordering::Relaxed);
        restored = l.point.is_some_and(|p| parts.replication.restore(&p));
        *parts.saver.functions.lock() = l.functions;
    }
    if !restored && !is_replica {
        parts.replication.expect_nobody();
    }
    Ok(parts.begin_appending(false)?)
}

/// The end of a server whose RDB file cannot be loaded. A damaged one is looked through, as
/// redis-check-rdb does, for what the log is to tell about it.
fn fatal(file: &Path, error: &loading::LoadError) -> io::Error {
    let verdict = match error {
        loading::LoadError::Open(_) => "Fatal error loading the DB, check server logs. Exiting.",
        loading::LoadError::Stream(_) => "Terminating server after rdb file reading failure.",
    };
    if matches!(error, loading::LoadError::Stream(_)) {
        tracing::warn!("{error}");
        let mut report = Vec::new();
        // The report tells of its own failure, too.
        let _ = check::check_file(&file.to_string_lossy(), &mut report);
        logging::raw(&String::from_utf8_lossy(&report));
        return io::Error::other(verdict);
    }
    io::Error::other(format!("{error}\n{verdict}"))
}

fn engine(config: Config, host: Arc<ServerHost>) -> io::Result<Arc<Engine>> {
    let settings = config.settings();
    let handlers = families::handlers();
    let table =
        CommandTable::build(&handlers, config.renamed_commands()).map_err(io::Error::other)?;
    Ok(Arc::new(Engine {
        keyspace: Arc::new(Keyspace::new(settings.process.databases as usize)),
        log: Log::new(),
        table,
        config: Arc::new(config),
        clients: Arc::new(Registry::default()),
        stats: Arc::default(),
        blocked: Arc::default(),
        gates: Gates::default(),
        pause: Pause::default(),
        slowlog: Slowlog::default(),
        latency: LatencyMonitor::default(),
        eviction: Default::default(),
        host,
        active_expire: AtomicBool::new(true),
        cron_paused: AtomicBool::new(false),
        own_expiries: OwnExpiries::default(),
        started_ms: AtomicI64::new(clock::unix_ms()),
    }))
}

fn announce(executable: &str, config: &Config, source: &LoadSource) {
    let settings = config.settings();
    let pid = std::process::id();
    tracing::info!("oO0OoO0OoO0Oo Redis is starting oO0OoO0OoO0Oo");
    tracing::info!(
        "Redis version={REDIS_VERSION}, bits=64, commit=00000000, modified=0, pid={pid}, just \
         started"
    );
    if source.file.is_none() && !source.stdin && source.options.is_empty() {
        tracing::warn!(
            "Warning: no config file specified, using the default config. In order to specify a \
             config file use {executable} /path/to/redis.conf"
        );
    } else {
        tracing::info!("Configuration loaded");
    }
    let port = settings.network.port;
    let terminal = std::io::IsTerminal::is_terminal(&std::io::stdout());
    let to_stdout = settings.process.logfile.as_os_str().is_empty();
    if settings.process.always_show_logo || (to_stdout && terminal) {
        logging::raw(&logo::logo(port, pid));
    } else {
        tracing::info!("Running mode=standalone, port={port}.");
    }
}

/// Ends the server as the configuration says when a signal asks for it.
async fn signals(parts: Arc<Parts>) -> io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut term = signal(SignalKind::terminate())?;
    let mut int = signal(SignalKind::interrupt())?;
    loop {
        let by_term = tokio::select! {
            _ = term.recv() => true,
            _ = int.recv() => false,
        };
        let settings = parts.engine.config.settings();
        let options = if by_term {
            tracing::warn!("Received SIGTERM scheduling shutdown...");
            settings.process.shutdown_on_sigterm
        } else {
            tracing::warn!("Received SIGINT scheduling shutdown...");
            settings.process.shutdown_on_sigint
        };
        if parts.shutdown.is_running() && !by_term {
            tracing::warn!("You insist... exiting now.");
            parts.saver.remove_temp_file();
            std::process::exit(1);
        }
        let shutdown = Arc::clone(&parts.shutdown);
        tokio::task::spawn_local(async move {
            shutdown.run_by_signal(Shutdown::by_signal(options)).await;
        });
    }
}

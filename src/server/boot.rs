//! From settings to a running server, and its end.
//!
//! The order matters and is Redis's: settings, logging, banner, sockets (so that a port in use is
//! found before a gigabyte is loaded), data, "Ready to accept connections".

use std::io;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64};

use tokio::runtime::Builder;
use tokio::task::LocalSet;

use crate::base::clock;
use crate::client::Registry;
use crate::command::dispatch::Engine;
use crate::command::engine::{Gates, Pause};
use crate::command::families;
use crate::command::slowlog::Slowlog;
use crate::command::spec::CommandTable;
use crate::command::stats::Stats;
use crate::config::{Config, LoadError, LoadSource, REDIS_VERSION};
use crate::keyspace::locks::Keyspace;
use crate::net::listener::{Bound, Listeners};
use crate::net::worker::{Takeover, Workers};
use crate::oplog::log::Log;

use super::host::Parts;
use super::lazyfree::Lazyfree;
use super::{cron, logging, logo};

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
            tracing::warn!("{e}");
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

fn start(executable: &str, config: Config, source: &LoadSource) -> io::Result<()> {
    let settings = config.settings();
    std::env::set_current_dir(&settings.process.dir)?;
    logging::set_level(settings.process.loglevel);
    logging::set_file(&settings.process.logfile);
    logging::set_replica(settings.replication.replicaof.is_some());
    announce(executable, &config, source);
    let bound = Bound::bind(&settings).map_err(|e| {
        tracing::warn!("{e}");
        io::Error::other(format!(
            "Failed listening on port {} (tcp), aborting.",
            settings.network.port
        ))
    })?;
    let (has_tcp, has_unix) = (bound.has_tcp(), bound.unix_path().is_some());
    let engine = engine(config)?;
    tracing::info!("Server initialized");
    let runtime = Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, async {
        let takeover: Arc<dyn Takeover> = Arc::new(NoReplicas);
        let count = settings.network.io_threads as usize;
        let workers = Workers::start(count, &engine, &takeover)?;
        let listeners = Listeners::start(&engine, workers, bound)?;
        tokio::task::spawn_local(cron::run(Arc::clone(&engine)));
        if has_tcp {
            tracing::info!("Ready to accept connections tcp");
        }
        if has_unix {
            tracing::info!("Ready to accept connections unix");
        }
        wait_for_signal().await?;
        listeners.close();
        tracing::warn!("Redis is now ready to exit, bye bye...");
        Ok(())
    })
}

struct NoReplicas;

impl Takeover for NoReplicas {
    fn take(
        &self,
        _: crate::net::connection::Taken,
    ) -> std::pin::Pin<Box<dyn Future<Output = ()>>> {
        Box::pin(async {})
    }
}

fn engine(config: Config) -> io::Result<Arc<Engine>> {
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
        stats: Stats::default(),
        gates: Gates::default(),
        pause: Pause::default(),
        slowlog: Slowlog::default(),
        host: Arc::new(Parts {
            lazyfree: Lazyfree::start()?,
        }),
        active_expire: AtomicBool::new(true),
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

async fn wait_for_signal() -> io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut term = signal(SignalKind::terminate())?;
    let mut int = signal(SignalKind::interrupt())?;
    tokio::select! {
        _ = term.recv() => tracing::warn!("Received SIGTERM scheduling shutdown..."),
        _ = int.recv() => tracing::warn!("Received SIGINT scheduling shutdown..."),
    }
    Ok(())
}

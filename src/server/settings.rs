//! What follows when CONFIG SET changes a directive.
//!
//! Most directives need nothing: whoever honours them reads the settings in force. The others
//! have an effect registered here by [`Effects::on`]. An effect is called for each changed
//! directive that it is registered for, before the new settings are published; when it or a later
//! one fails, it is called again with the old and the new settings exchanged. An effect that
//! belongs to several directives therefore compares the new settings with what there is.
//!
//! To give another directive an effect: `effects.on(&["name"], ...)` where the part that acts is
//! wired. Effects run on a worker, and inside EXEC they run while every shard is locked: they
//! must not lock shards, and must not wait for somebody who does.

use std::sync::Arc;

use parking_lot::RwLock;

use crate::command::engine::{Engine, Gate};
use crate::config::{Change, Settings};
use crate::net::listener::Listeners;

use super::host::Parts;
use super::replication::Replication;
use super::title::Title;
use super::{logging, memory, process};

/// An effect; the error is the reason that CONFIG SET replies with.
type Effect = Box<dyn Fn(&Change<'_>) -> Result<(), String> + Send + Sync>;

/// The effects of directives, by name.
#[derive(Default)]
pub struct Effects {
    registered: RwLock<Vec<(&'static [&'static str], Effect)>>,
}

impl Effects {
    /// Calls `effect` when one of these directives changes.
    pub fn on(
        &self,
        directives: &'static [&'static str],
        effect: impl Fn(&Change<'_>) -> Result<(), String> + Send + Sync + 'static,
    ) {
        self.registered.write().push((directives, Box::new(effect)));
    }

    /// Runs the effects of one changed directive.
    ///
    /// # Errors
    /// The reason of the first that failed.
    pub fn run(&self, change: &Change<'_>) -> Result<(), String> {
        let registered = self.registered.read();
        let concerned = registered
            .iter()
            .filter(|(names, _)| names.contains(&change.directive));
        for (_, effect) in concerned {
            effect(change)?;
        }
        Ok(())
    }
}

/// Registers the effects on replication.
pub fn register_replication(effects: &Effects, replication: &Arc<Replication>) {
    const DIRECTIVES: &[&str] = &[
        "repl-backlog-size",
        "replica-read-only",
        "replica-serve-stale-data",
        "min-replicas-to-write",
        "min-replicas-max-lag",
    ];
    let replication = Arc::clone(replication);
    effects.on(DIRECTIVES, move |change| {
        replication.settings_changed(change.new);
        Ok(())
    });
}

/// Registers the effect on the command line that ps shows.
pub fn register_title(effects: &Effects, title: Title) {
    effects.on(&["proc-title-template"], move |change| {
        title.set(change.new);
        Ok(())
    });
}

/// Registers the effect on the score by which the kernel ends processes.
pub fn register_oom(effects: &Effects, parts: &Arc<Parts>) {
    let weak = Arc::downgrade(parts);
    effects.on(&["oom-score-adj", "oom-score-adj-values"], move |change| {
        let Some(parts) = weak.upgrade() else {
            return Ok(());
        };
        let is_replica = parts.engine.gates.is(Gate::REPLICA);
        let followed = parts.oom.follow(change.new, is_replica);
        followed.map_err(|_| "Failed to set current oom_score_adj. Check server logs.".to_owned())
    });
}

/// Registers the effects on the process and on the engine.
pub fn register(effects: &Effects, engine: &Arc<Engine>) {
    effects.on(&["loglevel"], |change| {
        logging::set_level(change.new.process.loglevel);
        Ok(())
    });
    effects.on(&["dir"], |change| {
        std::env::set_current_dir(&change.new.process.dir).map_err(|e| process::os_text(&e))
    });
    effects.on(&["maxclients"], |change| {
        let wanted = change.new.network.maxclients;
        match process::allow_clients(wanted) {
            Ok(possible) if possible != wanted => Err(format!(
                "The operating system is not able to handle the specified number of clients, try \
                 with {possible}"
            )),
            Ok(_) => Ok(()),
            Err(e) => Err(e.to_string()),
        }
    });
    effects.on(&["jemalloc-bg-thread"], |change| {
        memory::give_back_in_background(change.new.memory.jemalloc_bg_thread)
    });
    let weak = Arc::downgrade(engine);
    let with_engine = move |act: fn(&Engine, &Settings)| {
        let weak = weak.clone();
        move |change: &Change<'_>| {
            if let Some(engine) = weak.upgrade() {
                act(&engine, change.new);
            }
            Ok(())
        }
    };
    effects.on(
        &["maxmemory"],
        with_engine(|_, new| {
            let (limit, used) = (new.memory.maxmemory, memory::used());
            if limit > 0 && limit < used {
                tracing::warn!(
                    "WARNING: the new maxmemory value set via CONFIG SET ({limit}) is smaller \
                     than the current memory usage ({used}). This will result in key eviction \
                     and/or the inability to accept new write commands depending on the \
                     maxmemory-policy."
                );
            }
        }),
    );
    effects.on(
        &["maxmemory-clients", "maxmemory"],
        with_engine(|engine, new| engine.limit_clients(new)),
    );
    effects.on(
        &["slowlog-max-len"],
        with_engine(|engine, new| {
            engine
                .slowlog
                .truncate(new.observe.slowlog_max_len as usize);
        }),
    );
}

/// Registers the effects on the append-only file.
pub fn register_aof(effects: &Effects, parts: &Arc<Parts>) {
    let weak = Arc::downgrade(parts);
    effects.on(&["appendonly"], move |change| {
        let Some(parts) = weak.upgrade() else {
            return Ok(());
        };
        parts.aof.configure(super::aof::options(change.new));
        parts.want_aof(change.new.aof.appendonly, change.context.nested)
    });
    let weak = Arc::downgrade(parts);
    effects.on(
        &[
            "appendfsync",
            "no-appendfsync-on-rewrite",
            "aof-use-rdb-preamble",
            "aof-timestamp-enabled",
            "auto-aof-rewrite-percentage",
            "auto-aof-rewrite-min-size",
            "aof-disable-auto-gc",
            "aof-rewrite-incremental-fsync",
            "aof-load-truncated",
        ],
        move |change| {
            if let Some(parts) = weak.upgrade() {
                parts.aof.configure(super::aof::options(change.new));
            }
            Ok(())
        },
    );
}

/// Registers the effects on the listening sockets. Called on the main thread's runtime, on which
/// connections are accepted.
pub fn register_listeners(effects: &Effects, listeners: &Arc<Listeners>) {
    let runtime = tokio::runtime::Handle::current();
    let weak = Arc::downgrade(listeners);
    effects.on(&["port", "bind"], move |change| {
        let Some(listeners) = weak.upgrade() else {
            return Ok(());
        };
        let _on_main = runtime.enter();
        listeners.rebind(change.new).map_err(|e| {
            tracing::warn!("{e}");
            let text = match change.directive {
                "port" => "Unable to listen on this port. Check server logs.",
                _ => "Failed to bind to specified addresses.",
            };
            text.to_owned()
        })
    });
}

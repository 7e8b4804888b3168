//! The live configuration: the settings in force, CONFIG GET and CONFIG SET.
//!
//! Readers take the current `Arc<Settings>` without a lock. Changes are made one at a time: each
//! works on a copy, has its side effects applied by the caller's hook, and is published only when
//! all of them have succeeded. A hook that fails is asked to undo, newest first.

use super::Settings;
use super::directive::{Directive, Flags, Found, directives, lookup};
use super::rewrite::{self, RewriteError};
use super::types::PrimaryAddress;
use crate::base::glob;
use arc_swap::{ArcSwap, Cache, Guard};
use parking_lot::Mutex;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tracing::warn;

/// Why a CONFIG SET was refused; the `Display` text is the whole error reply.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// The directive cannot be changed while a data set is loaded.
    #[error("LOADING Redis is loading the dataset in memory")]
    Loading,
    /// There is no such directive.
    #[error("ERR Unknown option or number of arguments for CONFIG SET - '{0}'")]
    Unknown(String),
    /// The value, the directive or a side effect stands against it.
    #[error("ERR CONFIG SET failed (possibly related to argument '{name}') - {reason}")]
    Failed {
        /// The directive, as the client or the table names it.
        name: String,
        /// What is wrong.
        reason: String,
    },
}

/// What the state of the server and the connection of the client permit to CONFIG SET.
#[derive(Debug, Clone, Copy)]
pub struct SetContext {
    /// A data set is being loaded.
    pub loading: bool,
    /// It is a part of a transaction, which must not wait for anything.
    pub nested: bool,
    /// `enable-protected-configs` lets this client change protected directives.
    pub protected_allowed: bool,
}

/// One changed directive, as the hook of [`Config::set`] is given it.
#[derive(Debug, Clone, Copy)]
pub struct Change<'a> {
    /// The primary name.
    pub directive: &'static str,
    /// All settings before the change.
    pub old: &'a Settings,
    /// All settings after it, every directive of the command included.
    pub new: &'a Settings,
    /// Under what conditions it is changed.
    pub context: SetContext,
}

/// What a CONFIG SET has changed.
#[derive(Debug, Clone)]
pub struct Changed {
    /// Primary names of the directives whose value is another one now, in the order given.
    pub directives: Vec<&'static str>,
    /// The settings now in force.
    pub settings: Arc<Settings>,
}

/// Commands and their new names.
pub(super) type RenamedCommands = Vec<(Vec<u8>, Vec<u8>)>;

/// The live configuration of a server.
#[derive(Debug)]
pub struct Config {
    published: Arc<ArcSwap<Settings>>,
    /// Held through every change, its side effects included.
    changing: Mutex<()>,
    file: Option<PathBuf>,
    renamed_commands: RenamedCommands,
}

/// One thread's view of the settings in force: cheaper again than [`Config::current`], for who
/// looks at them with every request.
pub struct Follower(Cache<Arc<ArcSwap<Settings>>, Arc<Settings>>);

impl Follower {
    /// The settings in force.
    #[inline]
    pub fn current(&mut self) -> &Settings {
        self.0.load()
    }
}

impl Config {
    pub(super) fn new(
        settings: Settings,
        file: Option<PathBuf>,
        renamed_commands: RenamedCommands,
    ) -> Config {
        Config {
            published: Arc::new(ArcSwap::from_pointee(settings)),
            changing: Mutex::new(()),
            file,
            renamed_commands,
        }
    }

    /// The settings in force, to be kept as long as needed.
    pub fn settings(&self) -> Arc<Settings> {
        self.published.load_full()
    }

    /// The settings in force, for a short look: cheaper than [`Config::settings`], and not to be
    /// held across an await.
    pub fn current(&self) -> Guard<Arc<Settings>> {
        self.published.load()
    }

    /// See [`Follower`].
    pub fn follower(&self) -> Follower {
        Follower(Cache::new(Arc::clone(&self.published)))
    }

    /// The absolute path of the configuration file, if one was given.
    pub fn file(&self) -> Option<&Path> {
        self.file.as_deref()
    }

    /// The `rename-command` directives in their order: the command and its new name, which is
    /// empty for a command that is to be disabled.
    pub fn renamed_commands(&self) -> &[(Vec<u8>, Vec<u8>)] {
        &self.renamed_commands
    }

    /// CONFIG GET: names and values of the directives that match any of `patterns`.
    ///
    /// A pattern matches primary names and aliases; whichever match are shown. A name without
    /// wildcards is shown as the client wrote it, and finds hidden directives too.
    pub fn get<P: AsRef<[u8]>>(&self, patterns: &[P]) -> Vec<(Vec<u8>, Vec<u8>)> {
        let settings = self.current();
        let mut shown: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
        let mut show = |name: &[u8], directive: &Directive| {
            if !shown
                .iter()
                .any(|(known, _)| known.eq_ignore_ascii_case(name))
            {
                shown.push((name.to_vec(), directive.show(&settings)));
            }
        };
        for pattern in patterns {
            let pattern = pattern.as_ref();
            if !pattern
                .iter()
                .any(|byte| matches!(byte, b'[' | b'*' | b'?'))
            {
                if let Some(found) = lookup(pattern) {
                    show(pattern, found.directive);
                }
                continue;
            }
            for directive in directives().filter(|d| !d.flags.has(Flags::HIDDEN)) {
                for name in [Some(directive.name), directive.alias]
                    .into_iter()
                    .flatten()
                {
                    if glob::matches(pattern, name.as_bytes(), true) {
                        show(name.as_bytes(), directive);
                    }
                }
            }
        }
        shown
    }

    /// CONFIG SET: sets all of `pairs`, or none of them.
    ///
    /// `apply` is called for each directive whose value changes, before the new settings are
    /// published; it has the side effects (sockets, files, limits). When it fails, it is called
    /// again for that directive and for those before it, with `old` and `new` exchanged, and the
    /// old settings stay. A side effect that belongs to several directives is best made to depend
    /// on the state of the thing itself: it then happens for the first of them, and the next finds
    /// nothing to do. The hook must not change the configuration itself.
    ///
    /// # Errors
    /// [`ConfigError`], whose text is the error reply. Nothing has changed then.
    pub fn set<T: AsRef<[u8]>>(
        &self,
        pairs: &[(T, T)],
        context: SetContext,
        apply: &mut dyn FnMut(&Change<'_>) -> Result<(), String>,
    ) -> Result<Changed, ConfigError> {
        let found = checked_names(pairs, context)?;
        let _changing = self.changing.lock();
        let old = self.settings();
        let mut new = (*old).clone();
        for (found, (_, value)) in found.iter().zip(pairs) {
            set_one(found.directive, &mut new, value.as_ref()).map_err(|reason| {
                ConfigError::Failed {
                    name: found.name.to_owned(),
                    reason,
                }
            })?;
        }
        let mut changed: Vec<Found> = Vec::new();
        for found in found {
            let name = found.directive.name;
            let is_new = changed.iter().all(|known| known.directive.name != name);
            if is_new && found.directive.access.differs(&old, &new) {
                changed.push(found);
            }
        }
        apply_all(&changed, [&old, &new], context, apply)?;
        let settings = Arc::new(new);
        self.published.store(Arc::clone(&settings));
        let directives = changed.iter().map(|found| found.directive.name).collect();
        Ok(Changed {
            directives,
            settings,
        })
    }

    /// Changes settings from inside the server, for what is not CONFIG SET: the port that the
    /// kernel chose, the pid file that `daemonize` implies. No side effects follow.
    pub fn update(&self, change: impl FnOnce(&mut Settings)) -> Arc<Settings> {
        let _changing = self.changing.lock();
        let mut settings = (*self.settings()).clone();
        change(&mut settings);
        let settings = Arc::new(settings);
        self.published.store(Arc::clone(&settings));
        settings
    }

    /// Notes the primary chosen by REPLICAOF, so that CONFIG GET and CONFIG REWRITE know it.
    pub fn set_replicaof(&self, primary: Option<PrimaryAddress>) -> Arc<Settings> {
        self.update(|settings| settings.replication.replicaof = primary)
    }

    /// CONFIG REWRITE: writes the settings in force into the configuration file, keeping its
    /// comments and its order. `force_all` writes every directive, also at its default.
    ///
    /// # Errors
    /// [`RewriteError`], whose text is the error reply. The file is unchanged then.
    pub fn rewrite(&self, force_all: bool) -> Result<(), RewriteError> {
        let file = self.file.as_deref().ok_or(RewriteError::NoFile)?;
        let _changing = self.changing.lock();
        rewrite::rewrite(file, &self.current(), force_all)
    }
}

/// Finds the directives of `pairs` and checks that they may be changed now and by this client.
fn checked_names<T: AsRef<[u8]>>(
    pairs: &[(T, T)],
    context: SetContext,
) -> Result<Vec<Found>, ConfigError> {
    let mut seen: Vec<Found> = Vec::with_capacity(pairs.len().min(64));
    for (name, _) in pairs {
        let name = name.as_ref();
        let text = || String::from_utf8_lossy(name).into_owned();
        let Some(found) = lookup(name) else {
            return Err(ConfigError::Unknown(text()));
        };
        let flags = found.directive.flags;
        let failed = |reason: &str| ConfigError::Failed {
            name: text(),
            reason: reason.to_owned(),
        };
        if flags.has(Flags::IMMUTABLE) {
            return Err(failed("can't set immutable config"));
        }
        if flags.has(Flags::PROTECTED) && !context.protected_allowed {
            return Err(failed("can't set protected config"));
        }
        if flags.has(Flags::DENY_LOADING) && context.loading {
            return Err(ConfigError::Loading);
        }
        if seen.iter().any(|known| known.name == found.name) {
            return Err(failed("duplicate parameter"));
        }
        seen.push(found);
    }
    Ok(seen)
}

/// Sets one directive from the one argument of CONFIG SET, which spaces divide.
fn set_one(directive: &Directive, settings: &mut Settings, value: &[u8]) -> Result<(), String> {
    if directive.takes_many() && value.is_empty() {
        directive.set(settings, &[], false)
    } else if directive.takes_many() {
        let args: Vec<&[u8]> = value.split(|byte| *byte == b' ').collect();
        directive.set(settings, &args, false)
    } else {
        directive.set(settings, &[value], false)
    }
}

/// Runs the hook for every changed directive; undoes all of it at the first failure.
fn apply_all(
    changed: &[Found],
    [old, new]: [&Settings; 2],
    context: SetContext,
    apply: &mut dyn FnMut(&Change<'_>) -> Result<(), String>,
) -> Result<(), ConfigError> {
    for (done, found) in changed.iter().enumerate() {
        let Err(reason) = apply(&Change {
            directive: found.directive.name,
            old,
            new,
            context,
        }) else {
            continue;
        };
        warn!(
            "Failed applying new configuration. Possibly related to new {} setting. \
             Restoring previous settings.",
            found.name
        );
        for undone in changed.iter().take(done + 1).rev() {
            let back = Change {
                directive: undone.directive.name,
                old: new,
                new: old,
                context,
            };
            if let Err(problem) = apply(&back) {
                warn!("Failed applying restored failed CONFIG SET command: {problem}");
            }
        }
        return Err(ConfigError::Failed {
            name: found.name.to_owned(),
            reason,
        });
    }
    Ok(())
}

#[cfg(test)]
#[path = "live_tests.rs"]
mod tests;

//! What a directive is: its names, its flags, its documentation, how far this server honours it,
//! and the access to its field in [`Settings`].
//!
//! The table itself is spread over the groups of `settings/`, where one macro declares a field of
//! `Settings` and its directive together, so neither can exist without the other. To add a
//! directive, add a line to a group; nothing else needs an edit.
//!
//! Guarantee: a directive never takes effect in appearance only. Either the server acts upon it
//! ([`Honour::Yes`]), or its effect is empty here by construction ([`Honour::NoEffect`]), or any
//! value but the default is refused ([`Honour::Refused`]).

use super::codec::{Codec, Line};
use super::settings::{GROUPS, Settings};
use std::collections::HashMap;
use std::fmt::Debug;
use std::sync::LazyLock;

/// How far the server honours a directive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Honour {
    /// The server acts upon every value.
    Yes,
    /// Every value is accepted and shown; the text says why none of them can change anything.
    NoEffect(&'static str),
    /// Only the default is accepted; the text is the reason a client is given for the rest.
    Refused(&'static str),
}

/// Properties of a directive, as a set of bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flags(u8);

impl Flags {
    /// Cannot be changed by CONFIG SET.
    pub const IMMUTABLE: u8 = 1;
    /// Can be changed by CONFIG SET only as `enable-protected-configs` permits.
    pub const PROTECTED: u8 = 1 << 1;
    /// Its value is a secret: CONFIG SET of it is redacted in the slow log and in MONITOR.
    pub const SENSITIVE: u8 = 1 << 2;
    /// Shown by CONFIG GET for its exact name, not for a pattern.
    pub const HIDDEN: u8 = 1 << 3;
    /// Cannot be changed while a data set is being loaded.
    pub const DENY_LOADING: u8 = 1 << 4;

    pub(super) const fn new(bits: u8) -> Flags {
        Flags(bits)
    }

    /// Whether `flag` is set.
    pub fn has(self, flag: u8) -> bool {
        self.0 & flag != 0
    }
}

/// One line of the directive table.
#[derive(Debug)]
pub struct Directive {
    /// The primary name.
    pub name: &'static str,
    /// An older name, equally accepted, and shown by CONFIG GET when it matches.
    pub alias: Option<&'static str>,
    /// Whether, when and by whom it can be changed.
    pub flags: Flags,
    /// One sentence or two for the reader of the documentation.
    pub doc: &'static str,
    /// How far this server honours it.
    pub honour: Honour,
    pub(super) access: &'static dyn Access,
}

impl Directive {
    /// Whether it takes several arguments.
    pub fn takes_many(&self) -> bool {
        self.access.takes_many()
    }

    /// The value as CONFIG GET shows it.
    pub fn show(&self, settings: &Settings) -> Vec<u8> {
        self.access.show(settings)
    }

    /// Sets the directive from its arguments. `append` continues a list of an earlier line of a
    /// configuration file instead of replacing it (`save` alone is such a list).
    ///
    /// # Errors
    /// The text that follows "CONFIG SET failed (...) - ", or ends the fatal error of a file.
    /// `settings` is unchanged then.
    pub(super) fn set(
        &self,
        settings: &mut Settings,
        args: &[&[u8]],
        append: bool,
    ) -> Result<(), String> {
        let Honour::Refused(reason) = self.honour else {
            return self.access.set(settings, args, append);
        };
        let mut probe = settings.clone();
        self.access.set(&mut probe, args, append)?;
        if self.access.differs(&probe, &DEFAULTS) {
            return Err(reason.to_owned());
        }
        *settings = probe;
        Ok(())
    }
}

/// Typed access to one field, with the type erased.
pub(super) trait Access: Sync + Debug {
    fn takes_many(&self) -> bool;
    fn set(&self, settings: &mut Settings, args: &[&[u8]], append: bool) -> Result<(), String>;
    fn show(&self, settings: &Settings) -> Vec<u8>;
    fn differs(&self, a: &Settings, b: &Settings) -> bool;
    fn lines(&self, name: &str, settings: &Settings, default: &Settings) -> Vec<Line>;
}

/// A field of `Settings` and the codec of its type.
#[derive(Debug)]
pub(super) struct Slot<T: 'static, C> {
    pub get: fn(&Settings) -> &T,
    pub get_mut: fn(&mut Settings) -> &mut T,
    pub codec: C,
}

impl<T: PartialEq + Debug, C: Codec<T> + Debug> Access for Slot<T, C> {
    fn takes_many(&self) -> bool {
        self.codec.takes_many()
    }

    fn set(&self, settings: &mut Settings, args: &[&[u8]], append: bool) -> Result<(), String> {
        let value = self.codec.parse(args, (self.get)(settings), append)?;
        *(self.get_mut)(settings) = value;
        Ok(())
    }

    fn show(&self, settings: &Settings) -> Vec<u8> {
        self.codec.show((self.get)(settings))
    }

    fn differs(&self, a: &Settings, b: &Settings) -> bool {
        (self.get)(a) != (self.get)(b)
    }

    fn lines(&self, name: &str, settings: &Settings, default: &Settings) -> Vec<Line> {
        self.codec
            .lines(name, (self.get)(settings), (self.get)(default))
    }
}

/// The settings of a server started without any directive.
pub(super) static DEFAULTS: LazyLock<Settings> = LazyLock::new(Settings::default);

/// Every directive, grouped as [`Settings`] is.
pub fn directives() -> impl Iterator<Item = &'static Directive> {
    GROUPS.iter().flat_map(|group| group.iter())
}

/// A directive found under one of its two names.
#[derive(Debug, Clone, Copy)]
pub(super) struct Found {
    pub directive: &'static Directive,
    /// The name it was found by, in the table's spelling.
    pub name: &'static str,
}

static BY_NAME: LazyLock<HashMap<&'static [u8], Found>> = LazyLock::new(|| {
    let names = directives().flat_map(|d| [Some(d.name), d.alias].map(|name| (d, name)));
    names
        .filter_map(|(directive, name)| name.map(|name| (name.as_bytes(), directive, name)))
        .map(|(key, directive, name)| (key, Found { directive, name }))
        .collect()
});

/// Finds a directive by either name, whatever the case.
pub(super) fn lookup(name: &[u8]) -> Option<Found> {
    BY_NAME.get(name.to_ascii_lowercase().as_slice()).copied()
}

/// Whether CONFIG SET of `name` carries a secret, to be redacted wherever commands are recorded.
pub fn is_sensitive(name: &[u8]) -> bool {
    lookup(name).is_some_and(|found| found.directive.flags.has(Flags::SENSITIVE))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn names_and_aliases_are_unique_and_lower_case() {
        let mut seen = HashSet::new();
        for directive in directives() {
            for name in [Some(directive.name), directive.alias]
                .into_iter()
                .flatten()
            {
                assert!(seen.insert(name), "{name} stands twice");
                assert_eq!(name, name.to_ascii_lowercase());
            }
        }
    }

    #[test]
    fn every_directive_is_documented_and_every_exception_reasoned() {
        for directive in directives() {
            assert!(directive.doc.trim().len() > 10, "{}", directive.name);
            match directive.honour {
                Honour::Yes => {}
                Honour::NoEffect(reason) | Honour::Refused(reason) => {
                    assert!(reason.len() > 10, "{}", directive.name);
                }
            }
        }
    }

    #[test]
    fn a_lookup_ignores_case_and_knows_aliases() {
        let found = lookup(b"SlaveOf").expect("an alias of replicaof");
        assert_eq!((found.directive.name, found.name), ("replicaof", "slaveof"));
        assert!(lookup(b"no-such-directive").is_none());
        assert!(is_sensitive(b"RequirePass") && !is_sensitive(b"port"));
    }

    #[test]
    fn a_refused_directive_takes_its_default_and_nothing_else() {
        let mut settings = Settings::default();
        let found = lookup(b"cluster-enabled").expect("known");
        assert_eq!(found.directive.set(&mut settings, &[b"no"], false), Ok(()));
        let refusal = found.directive.set(&mut settings, &[b"yes"], false);
        assert!(refusal.is_err_and(|text| text.contains("luster")));
        let wrong = found.directive.set(&mut settings, &[b"maybe"], false);
        assert_eq!(wrong, Err("argument must be 'yes' or 'no'".to_owned()));
    }
}

//! What a handler is given: the unit it works in, the session it works for, and the server.

use std::borrow::Cow;
use std::future::Future;
use std::pin::Pin;

use crate::base::num;
use crate::config::Settings;
use crate::keyspace::entry::{Entry, EntryRef};
use crate::keyspace::locks::ShardMask;
use crate::keyspace::unit::{Expiry, Missing, NotifyClass, Unit, WrongType};
use crate::keyspace::value::{Collection, StrRef, Value, ValueRef};
use crate::oplog::effect::{Effect, Encoded};
use crate::resp::reply::Reply;

use super::blocking::Served;
use super::dispatch::Engine;
use super::engine::Gate;
use super::session::{Origin, Session};

/// What a handler returns: the effect of what it did, or the error to reply with, in which case
/// it changed nothing.
pub type Outcome = Result<Effect, CommandError>;

/// A command's implementation.
pub type Handler = fn(&mut Ctx<'_>, &[&[u8]], &mut Reply) -> Outcome;

/// An error reply: its text, code included.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct CommandError(pub Cow<'static, str>);

impl CommandError {
    /// `ERR syntax error`
    pub const SYNTAX: CommandError = CommandError(Cow::Borrowed("ERR syntax error"));
    /// `ERR value is not an integer or out of range`
    pub const NOT_INTEGER: CommandError =
        CommandError(Cow::Borrowed("ERR value is not an integer or out of range"));
    /// `ERR value is not a valid float`
    pub const NOT_FLOAT: CommandError =
        CommandError(Cow::Borrowed("ERR value is not a valid float"));
    /// `ERR no such key`
    pub const NO_SUCH_KEY: CommandError = CommandError(Cow::Borrowed("ERR no such key"));

    /// An error whose text is not fixed.
    pub fn new(text: impl Into<Cow<'static, str>>) -> CommandError {
        CommandError(text.into())
    }
}

impl From<WrongType> for CommandError {
    fn from(_: WrongType) -> CommandError {
        CommandError(Cow::Borrowed(
            "WRONGTYPE Operation against a key holding the wrong kind of value",
        ))
    }
}

/// The integer an argument is.
///
/// # Errors
/// [`CommandError::NOT_INTEGER`].
pub fn int_arg(arg: &[u8]) -> Result<i64, CommandError> {
    num::parse_i64(arg).ok_or(CommandError::NOT_INTEGER)
}

/// A reply that comes later: the rest of the connection's commands wait for it. It is awaited on
/// the connection's own worker, with no lock held.
pub type Suspended = Pin<Box<dyn Future<Output = Later>>>;

/// What a suspended command writes in the end.
pub type Later = Box<dyn FnOnce(&mut Session, &mut Reply)>;

/// What a handler works with.
pub struct Ctx<'a> {
    /// The locked shards and the instant.
    pub unit: Unit<'a>,
    /// The connection's state.
    pub session: &'a mut Session,
    /// The server.
    pub engine: &'a Engine,
    /// The configuration in force.
    pub settings: &'a Settings,
    /// Set by a handler whose reply comes later; it has written nothing then.
    pub suspended: Option<Suspended>,
    /// The command runs inside EXEC or a script: it must not wait.
    pub nested: bool,
    /// A command is tried again for a client that waits; see [`super::blocking`].
    pub serving: bool,
    /// It found nothing again.
    pub unserved: bool,
    /// The suspended command waits for a key.
    pub blocked: bool,
    /// Replies to clients that were served.
    pub served: Vec<Served>,
}

impl<'a> Ctx<'a> {
    /// For a command or a batch of them.
    #[inline]
    pub fn new(
        unit: Unit<'a>,
        session: &'a mut Session,
        engine: &'a Engine,
        settings: &'a Settings,
    ) -> Ctx<'a> {
        Ctx {
            unit,
            session,
            engine,
            settings,
            suspended: None,
            nested: false,
            serving: false,
            unserved: false,
            blocked: false,
            served: Vec::new(),
        }
    }
}

impl Ctx<'_> {
    /// The database the session has selected.
    #[inline]
    pub fn db(&self) -> usize {
        self.session.db
    }

    /// Locks the shards that the command chose itself; the unit has done nothing yet.
    pub fn relock(&mut self, mask: ShardMask) {
        self.unit.relock(mask);
        // Whether the log is followed, and what our role is, changes only while every shard is
        // locked.
        if self.session.origin == Origin::Client {
            self.unit.options.log =
                self.engine.log.is_active() && !self.engine.gates.is(Gate::REPLICA);
        }
    }

    /// The unit's instant, Unix milliseconds.
    #[inline]
    pub fn now_ms(&self) -> i64 {
        self.unit.options.now_ms
    }

    /// The value at `key`, counted as a read.
    #[inline]
    pub fn read(&mut self, key: &[u8]) -> Option<ValueRef<'_>> {
        self.unit.read(self.session.db, key)
    }

    /// The string at `key`, counted as a read.
    ///
    /// # Errors
    /// [`WrongType`].
    #[inline]
    pub fn read_str(&mut self, key: &[u8]) -> Result<Option<StrRef<'_>>, WrongType> {
        self.unit.read_str(self.session.db, key)
    }

    /// The collection at `key`, counted as a read.
    ///
    /// # Errors
    /// [`WrongType`].
    #[inline]
    pub fn read_as<T: Collection>(&mut self, key: &[u8]) -> Result<Option<&T>, WrongType> {
        self.unit.read_as(self.session.db, key)
    }

    /// The collection at `key`, for a command that will write it: not counted as a read.
    ///
    /// # Errors
    /// [`WrongType`].
    pub fn lookup<T: Collection>(&mut self, key: &[u8]) -> Result<Option<&T>, WrongType> {
        match self.unit.peek(self.session.db, key) {
            None => Ok(None),
            Some(e) => T::from_ref(e.value()).map(Some).ok_or(WrongType),
        }
    }

    /// The entry at `key`, not counted.
    pub fn peek(&mut self, key: &[u8]) -> Option<EntryRef<'_>> {
        self.unit.peek(self.session.db, key)
    }

    /// Whether `key` is there, not counted.
    pub fn exists(&mut self, key: &[u8]) -> bool {
        self.unit.exists(self.session.db, key)
    }

    /// Notes a look at `key` by a command that then leaves its value as it is.
    pub fn touch(&mut self, key: &[u8]) {
        self.unit.touch(self.session.db, key);
    }

    /// Sets a string.
    #[inline]
    pub fn set_bytes(&mut self, key: &[u8], bytes: &[u8], expiry: Expiry) {
        self.unit.set_bytes(self.session.db, key, bytes, expiry);
    }

    /// Sets a value.
    pub fn set_value(&mut self, key: &[u8], value: impl Into<Value>, expiry: Expiry) {
        self.unit
            .set_value(self.session.db, key, value.into(), expiry);
    }

    /// Edits a collection; see [`Unit::update`].
    ///
    /// # Errors
    /// [`WrongType`].
    pub fn update<T: Collection, R>(
        &mut self,
        key: &[u8],
        missing: Missing,
        change: impl FnOnce(&mut T) -> (R, u64),
    ) -> Result<Option<(R, bool)>, WrongType> {
        self.unit.update(self.session.db, key, missing, change)
    }

    /// Edits a string's bytes; see [`Unit::edit_string`].
    ///
    /// # Errors
    /// [`WrongType`].
    pub fn edit_string<R>(
        &mut self,
        key: &[u8],
        change: impl FnOnce(&mut Vec<u8>) -> (R, bool),
    ) -> Result<R, WrongType> {
        self.unit.edit_string(self.session.db, key, change)
    }

    /// Removes `key` and gives what it held.
    pub fn take(&mut self, key: &[u8]) -> Option<Entry> {
        self.unit.take(self.session.db, key)
    }

    /// Removes `key`. Whether it was there.
    pub fn delete(&mut self, key: &[u8]) -> bool {
        self.unit.delete(self.session.db, key)
    }

    /// Sets or clears the expiry of `key`. Whether it was there.
    pub fn set_expiry(&mut self, key: &[u8], expire_ms: Option<i64>) -> bool {
        self.unit.set_expiry(self.session.db, key, expire_ms)
    }

    /// The effect of a command that is logged as `argv` instead of as it came.
    pub fn rewritten(&self, argv: &[&[u8]]) -> Effect {
        if self.unit.options.log {
            Effect::Rewritten(Encoded::one(argv))
        } else {
            Effect::None
        }
    }

    /// Whether a client's limits apply: not to what a primary or a file dictates.
    pub fn is_client(&self) -> bool {
        self.session.origin == Origin::Client
    }

    /// Whether a key that is given a time in the past goes at once: on a primary. A replica and
    /// a file that is loaded keep it until they are told.
    pub fn deletes_expired(&self) -> bool {
        self.is_client() && !self.engine.gates.is(Gate::REPLICA)
    }

    /// Notes a keyspace event.
    #[inline]
    pub fn notify(&mut self, class: NotifyClass, name: &'static str, key: &[u8]) {
        self.unit.notify(class, name, self.session.db, key);
    }
}

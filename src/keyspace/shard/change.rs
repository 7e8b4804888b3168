//! What goes into an entry, and what comes of changing one.

use crate::keyspace::entry::{Entry, Meta};
use crate::keyspace::sizes::SizeClass;
use crate::keyspace::value::{Str, Value, ValueRef};

/// What an edit did to a value.
#[derive(Clone, Copy, Debug)]
pub struct Edited {
    /// Whether it changed at all.
    pub changed: bool,
    /// Where it was counted by its length.
    pub before: SizeClass,
    /// Where it is to be counted now.
    pub after: SizeClass,
}

impl Edited {
    /// Nothing.
    pub const NOTHING: Edited = Edited {
        changed: false,
        before: SizeClass::NONE,
        after: SizeClass::NONE,
    };
}

/// What came of the edit of a collection.
pub enum CollectionEdit<R> {
    /// There is no entry.
    Gone,
    /// The entry holds another type; nothing was done.
    OtherType,
    /// It was edited.
    Done {
        /// What the edit gave.
        result: R,
        /// How many changes it made.
        changes: u64,
        /// Nothing is left of the collection.
        empty: bool,
    },
}

/// A value on its way into an entry.
pub enum NewValue<'a> {
    /// String bytes, encoded as `SET` does.
    Bytes(&'a [u8]),
    /// A value.
    Value(Value),
}

impl NewValue<'_> {
    /// As a value of its own.
    pub fn into_value(self) -> Value {
        match self {
            NewValue::Bytes(b) => Value::Str(Str::new(b)),
            NewValue::Value(v) => v,
        }
    }

    pub(in crate::keyspace) fn into_entry(self, key: &[u8], meta: Meta) -> Entry {
        match self {
            NewValue::Bytes(b) => Entry::with_bytes(key, b, meta),
            NewValue::Value(v) => Entry::new(key, v, meta),
        }
    }
}

impl ValueRef<'_> {
    /// An owned value: a handle for a collection or a long string, a copy for a short string.
    pub fn to_value(self) -> Value {
        match self {
            ValueRef::Str(s) => Value::Str(s.to_str()),
            ValueRef::List(v) => Value::List(v.clone()),
            ValueRef::Set(v) => Value::Set(v.clone()),
            ValueRef::Zset(v) => Value::Zset(v.clone()),
            ValueRef::Hash(v) => Value::Hash(v.clone()),
            ValueRef::Stream(v) => Value::Stream(v.clone()),
        }
    }
}

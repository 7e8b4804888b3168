//! The value types and their encodings.
//!
//! A [`Value`] is what a key holds, outside of its entry: the form in which a value enters the
//! keyspace (a command, an RDB reader), leaves it (a snapshot, a removal), and is handed to a
//! reader that works without the shard's lock. Cloning one is O(1) but for strings that live
//! inline in their entry, which are at most [`INLINE_MAX_BYTES`] long.
//!
//! Adding a type: its structure in a file of its own, a variant here, its [`ValueKind`], the
//! [`Collection`] impl, and its layout in `keyspace::entry`.

use std::sync::Arc;

use bytes::Bytes;

use super::sizes::SizeClass;
use crate::base::num;

use hash::Hash;
use list::List;
use set::Set;
use stream::Stream;
use zset::Zset;

pub mod btree;
pub mod hash;
pub mod hll;
pub mod list;
pub mod packed;
pub mod pages;
pub mod set;
pub mod stream;
pub mod zset;

/// A string of at most this many bytes lives inside its entry; a longer one is shared bytes, so
/// that a reader takes a handle and copies nothing.
pub const INLINE_MAX_BYTES: usize = 16 * 1024;

/// So many bytes of a string take about as long to go through as an element of a collection.
pub const BYTES_PER_ELEMENT: usize = 256;

/// The longest string that Redis reports as `embstr`.
const EMBSTR_MAX_BYTES: usize = 44;

/// A type as `TYPE` names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ValueKind {
    /// A byte string or an integer.
    String,
    /// A list.
    List,
    /// A set.
    Set,
    /// A sorted set.
    Zset,
    /// A hash.
    Hash,
    /// A stream.
    Stream,
}

impl ValueKind {
    /// The name that `TYPE` replies with.
    pub fn name(self) -> &'static str {
        match self {
            ValueKind::String => "string",
            ValueKind::List => "list",
            ValueKind::Set => "set",
            ValueKind::Zset => "zset",
            ValueKind::Hash => "hash",
            ValueKind::Stream => "stream",
        }
    }
}

/// A string value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Str {
    /// The canonical text of a signed 64-bit integer.
    Int(i64),
    /// At most [`INLINE_MAX_BYTES`] bytes, kept inside the entry.
    Inline(Box<[u8]>),
    /// Anything longer, and any string that was edited in place (`APPEND`, `SETRANGE`, `SETBIT`).
    Heap(Arc<Vec<u8>>),
}

impl Str {
    /// The value of `bytes` in the encoding that `SET` gives it.
    pub fn new(bytes: &[u8]) -> Str {
        if let Some(n) = integer_text(bytes) {
            return Str::Int(n);
        }
        if bytes.len() <= INLINE_MAX_BYTES {
            Str::Inline(bytes.into())
        } else {
            Str::Heap(Arc::new(bytes.to_vec()))
        }
    }
}

/// The integer whose canonical text `bytes` is, if it is one: what `SET` stores as an integer.
pub fn integer_text(bytes: &[u8]) -> Option<i64> {
    if bytes.is_empty() || bytes.len() > 20 {
        return None;
    }
    match bytes.first() {
        Some(b'0'..=b'9' | b'-') => num::parse_i64(bytes),
        _ => None,
    }
}

/// A string as a reader sees it inside an entry.
#[derive(Clone, Copy, Debug)]
pub enum StrRef<'a> {
    /// An integer.
    Int(i64),
    /// Bytes inside the entry.
    Inline(&'a [u8]),
    /// Shared bytes.
    Heap(&'a Arc<Vec<u8>>),
}

impl<'a> StrRef<'a> {
    /// Length in bytes of the string's text.
    pub fn len(self) -> usize {
        match self {
            StrRef::Int(n) => {
                let digits = n.unsigned_abs().checked_ilog10().unwrap_or(0) as usize + 1;
                digits + usize::from(n < 0)
            }
            StrRef::Inline(b) => b.len(),
            StrRef::Heap(b) => b.len(),
        }
    }

    /// Whether the string is empty.
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// The string's bytes; an integer is formatted into `scratch`.
    pub fn as_bytes<'s>(self, scratch: &'s mut itoa::Buffer) -> &'s [u8]
    where
        'a: 's,
    {
        match self {
            StrRef::Int(n) => scratch.format(n).as_bytes(),
            StrRef::Inline(b) => b,
            StrRef::Heap(b) => b.as_slice(),
        }
    }

    /// The string's bytes in a buffer of their own.
    pub fn to_vec(self) -> Vec<u8> {
        self.as_bytes(&mut itoa::Buffer::new()).to_vec()
    }

    /// A handle on shared bytes, without a copy; `None` where the bytes live in the entry.
    pub fn shared(self) -> Option<Bytes> {
        match self {
            StrRef::Heap(b) => Some(Bytes::from_owner(SharedVec(Arc::clone(b)))),
            _ => None,
        }
    }

    /// The integer this string holds, by Redis's strict reading.
    pub fn as_integer(self) -> Option<i64> {
        match self {
            StrRef::Int(n) => Some(n),
            StrRef::Inline(b) => num::parse_i64(b),
            StrRef::Heap(b) => num::parse_i64(b),
        }
    }

    /// The name that `OBJECT ENCODING` replies with.
    pub fn encoding(self) -> &'static str {
        match self {
            StrRef::Int(_) => "int",
            StrRef::Inline(b) if b.len() <= EMBSTR_MAX_BYTES => "embstr",
            StrRef::Inline(_) | StrRef::Heap(_) => "raw",
        }
    }

    /// An owned copy: O(1) for shared bytes.
    pub fn to_str(self) -> Str {
        match self {
            StrRef::Int(n) => Str::Int(n),
            StrRef::Inline(b) => Str::Inline(b.into()),
            StrRef::Heap(b) => Str::Heap(Arc::clone(b)),
        }
    }
}

/// Lets `Bytes` own a share of a string.
struct SharedVec(Arc<Vec<u8>>);

impl AsRef<[u8]> for SharedVec {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Str {
    /// The same string, borrowed.
    pub fn as_ref(&self) -> StrRef<'_> {
        match self {
            Str::Int(n) => StrRef::Int(*n),
            Str::Inline(b) => StrRef::Inline(b),
            Str::Heap(b) => StrRef::Heap(b),
        }
    }
}

/// A value outside of its entry.
#[derive(Clone)]
pub enum Value {
    /// A string.
    Str(Str),
    /// A list.
    List(List),
    /// A set.
    Set(Set),
    /// A sorted set.
    Zset(Zset),
    /// A hash.
    Hash(Hash),
    /// A stream.
    Stream(Stream),
}

impl Value {
    /// The same value, borrowed.
    pub fn as_ref(&self) -> ValueRef<'_> {
        match self {
            Value::Str(s) => ValueRef::Str(s.as_ref()),
            Value::List(v) => ValueRef::List(v),
            Value::Set(v) => ValueRef::Set(v),
            Value::Zset(v) => ValueRef::Zset(v),
            Value::Hash(v) => ValueRef::Hash(v),
            Value::Stream(v) => ValueRef::Stream(v),
        }
    }

    /// The type.
    pub fn kind(&self) -> ValueKind {
        self.as_ref().kind()
    }
}

impl From<Str> for Value {
    fn from(s: Str) -> Value {
        Value::Str(s)
    }
}

/// A value as a reader sees it inside its entry.
#[derive(Clone, Copy)]
pub enum ValueRef<'a> {
    /// A string.
    Str(StrRef<'a>),
    /// A list.
    List(&'a List),
    /// A set.
    Set(&'a Set),
    /// A sorted set.
    Zset(&'a Zset),
    /// A hash.
    Hash(&'a Hash),
    /// A stream.
    Stream(&'a Stream),
}

impl ValueRef<'_> {
    /// Where a look at a value that lies outside of its entry begins, for a prefetch; null for
    /// one that lies inside.
    #[inline]
    pub fn address(self) -> *const u8 {
        match self {
            ValueRef::Str(StrRef::Heap(bytes)) => Arc::as_ptr(bytes).cast(),
            ValueRef::Str(_) => std::ptr::null(),
            ValueRef::List(list) => list.address(),
            ValueRef::Set(set) => set.address(),
            ValueRef::Zset(zset) => zset.address(),
            ValueRef::Hash(hash) => hash.address(),
            ValueRef::Stream(stream) => stream.address(),
        }
    }
}

impl std::fmt::Debug for Value {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.as_ref().fmt(f)
    }
}

impl std::fmt::Debug for ValueRef<'_> {
    /// A string shows its bytes; a collection only how long it is.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            ValueRef::Str(s) => s.fmt(f),
            ValueRef::List(v) => write!(f, "List({})", v.len()),
            ValueRef::Set(v) => write!(f, "Set({})", v.len()),
            ValueRef::Zset(v) => write!(f, "Zset({})", v.len()),
            ValueRef::Hash(v) => write!(f, "Hash({})", v.len()),
            ValueRef::Stream(v) => write!(f, "Stream({})", v.len()),
        }
    }
}

impl ValueRef<'_> {
    /// The type.
    pub fn kind(&self) -> ValueKind {
        match self {
            ValueRef::Str(_) => ValueKind::String,
            ValueRef::List(_) => ValueKind::List,
            ValueRef::Set(_) => ValueKind::Set,
            ValueRef::Zset(_) => ValueKind::Zset,
            ValueRef::Hash(_) => ValueKind::Hash,
            ValueRef::Stream(_) => ValueKind::Stream,
        }
    }

    /// Its length: bytes of a string, elements of a collection.
    #[expect(
        clippy::len_without_is_empty,
        reason = "an empty collection has no key"
    )]
    pub fn len(&self) -> usize {
        match self {
            ValueRef::Str(s) => s.len(),
            ValueRef::List(v) => v.len(),
            ValueRef::Set(v) => v.len(),
            ValueRef::Zset(v) => v.len(),
            ValueRef::Hash(v) => v.len(),
            ValueRef::Stream(v) => v.len(),
        }
    }

    /// Elements of a collection; a string counts as one for every [`BYTES_PER_ELEMENT`].
    pub fn elements(&self) -> usize {
        match self {
            ValueRef::Str(s) => s.len() / BYTES_PER_ELEMENT,
            collection => collection.len(),
        }
    }

    /// Bytes of memory that the value takes besides its entry.
    pub fn size_bytes(&self) -> usize {
        match self {
            ValueRef::Str(StrRef::Heap(b)) => size_of::<[usize; 5]>() + b.capacity(),
            ValueRef::Str(_) => 0,
            ValueRef::List(v) => v.size_bytes(),
            ValueRef::Set(v) => v.size_bytes(),
            ValueRef::Zset(v) => v.size_bytes(),
            ValueRef::Hash(v) => v.size_bytes(),
            ValueRef::Stream(v) => v.size_bytes(),
        }
    }

    /// The name that `OBJECT ENCODING` replies with.
    pub fn encoding(&self) -> &'static str {
        match self {
            ValueRef::Str(s) => s.encoding(),
            ValueRef::List(v) => v.encoding(),
            ValueRef::Set(v) => v.encoding(),
            ValueRef::Zset(v) => v.encoding(),
            ValueRef::Hash(v) => v.encoding(),
            ValueRef::Stream(v) => v.encoding(),
        }
    }
}

mod sealed {
    /// Keeps [`super::Collection`] to the types whose handles an entry can hold: `KIND` vouches
    /// for the type behind it.
    pub trait Sealed {}
}

/// A type that an entry holds by its handle.
pub trait Collection: sealed::Sealed + Clone + Default + Into<Value> + Send + Sync {
    /// The kind that stands for exactly this type.
    const KIND: ValueKind;

    /// The collection in a borrowed value, if it is one of this type.
    fn from_ref(value: ValueRef<'_>) -> Option<&Self>;

    /// Whether nothing is left of it, in which case its key goes.
    fn is_empty(&self) -> bool;

    /// Where it is counted by its length.
    fn size_class(&self) -> SizeClass;

    /// The earliest expiry of a field, Unix milliseconds; only hashes have such fields.
    fn next_field_expiry(&self) -> Option<i64>;
}

macro_rules! collections {
    ($($kind:ident empty if $empty:expr, next expiry $expiry:expr;)*) => {$(
        impl sealed::Sealed for $kind {}

        impl Collection for $kind {
            const KIND: ValueKind = ValueKind::$kind;

            fn from_ref(value: ValueRef<'_>) -> Option<&Self> {
                if let ValueRef::$kind(v) = value { Some(v) } else { None }
            }

            fn is_empty(&self) -> bool {
                let empty: fn(&Self) -> bool = $empty;
                empty(self)
            }

            #[inline]
            fn size_class(&self) -> SizeClass {
                SizeClass::of(ValueKind::$kind, self.len())
            }

            #[inline]
            fn next_field_expiry(&self) -> Option<i64> {
                let expiry: fn(&Self) -> Option<i64> = $expiry;
                expiry(self)
            }
        }

        impl From<$kind> for Value {
            fn from(v: $kind) -> Value {
                Value::$kind(v)
            }
        }
    )*};
}

collections! {
    List empty if |list| list.len() == 0, next expiry |_| None;
    Set empty if |set| set.len() == 0, next expiry |_| None;
    Zset empty if |zset| zset.len() == 0, next expiry |_| None;
    Hash empty if |hash| hash.len() == 0, next expiry |hash| hash.next_expiry();
    // A stream without entries still has its last id and its groups.
    Stream empty if |_| false, next expiry |_| None;
}

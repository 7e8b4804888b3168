//! A key and what it holds, in one allocation.
//!
//! ```text
//!   0      1      2        5      6        8          8 or 16
//!   +------+------+--------+------+--------+----------+-----------+--------+-------+---------+
//!   | kind | flags| access | klen | vlen   | expiry?  | area      | klen?  | key   | bytes?  |
//!   | 1    | 1    | 3      | 1    | 2      | 8        | 0, 8, n   | 4      | klen  | vlen    |
//!   +------+------+--------+------+--------+----------+-----------+--------+-------+---------+
//! ```
//!
//! - `kind`: the value's type and, for strings, its encoding.
//! - `flags`: has an expiry, carries the snapshot mark, has a long key.
//! - `access`: 24 bits of LRU clock (seconds) or LFU counter, as Redis keeps them.
//! - `klen`: the key's length; a key of 255 bytes or more has its length in four bytes of its own.
//! - `vlen`: the length of an inline string, at most [`INLINE_MAX_BYTES`].
//! - `expiry`: absolute Unix time in milliseconds, present only if the flag says so.
//! - `area`: what is not an inline string: the integer, the `Arc` of a long string, or the handle
//!   of a collection, always at an offset that is a multiple of eight.
//!
//! The allocation's size is a function of the header, so nothing stores it; it is rounded up to
//! eight bytes, and an inline string is overwritten in place while the rounded size is the same.
//!
//! `unsafe` is expected here: the layout is the point of the module. Everything that is read from
//! the bytes was written by this module; the types keep ownership ([`Entry`]) apart from borrowing
//! ([`EntryRef`], [`EntryMut`]).

#![expect(
    unsafe_code,
    reason = "an entry is one allocation with a layout of its own"
)]

mod borrowed;

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error, realloc};
use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::ptr::{self, NonNull};
use std::sync::Arc;

use super::value::{INLINE_MAX_BYTES, Str, Value};
use super::value::{hash::Hash, list::List, set::Set, stream::Stream, zset::Zset};

const FLAG_EXPIRY: u8 = 1;
const FLAG_MARK: u8 = 2;
const FLAG_LONG_KEY: u8 = 4;

const HEADER_BYTES: usize = 8;
const ALIGN: usize = 8;
const LONG_KEY: u8 = 255;

/// What `kind` can be.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Kind {
    Int = 0,
    Inline = 1,
    Heap = 2,
    List = 3,
    Set = 4,
    Zset = 5,
    Hash = 6,
    Stream = 7,
}

impl Kind {
    #[inline]
    fn of(byte: u8) -> Kind {
        match byte {
            0 => Kind::Int,
            1 => Kind::Inline,
            2 => Kind::Heap,
            3 => Kind::List,
            4 => Kind::Set,
            5 => Kind::Zset,
            6 => Kind::Hash,
            _ => Kind::Stream,
        }
    }

    /// Looked up, not computed: it is wanted for every key that is compared.
    #[inline]
    fn area_bytes(self) -> usize {
        AREA_BYTES.get(self as usize).map_or(0, |n| usize::from(*n))
    }
}

/// The bytes of each kind's area.
const AREA_BYTES: [u8; 8] = {
    const fn area(size: usize) -> u8 {
        size.next_multiple_of(ALIGN) as u8
    }
    [
        area(8),
        area(0),
        area(8),
        area(size_of::<List>()),
        area(size_of::<Set>()),
        area(size_of::<Zset>()),
        area(size_of::<Hash>()),
        area(size_of::<Stream>()),
    ]
};

/// Bytes of a cache line.
const LINE_BYTES: usize = 64;

/// Asks the processor for `lines` cache lines from an address on.
#[inline]
pub(super) fn prefetch(p: *const u8, lines: usize) {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    for line in 0..lines {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        let p = p.wrapping_add(line * LINE_BYTES);
        // SAFETY: a prefetch reads nothing that the program sees, whatever the address.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(p.cast()) }
    }
    #[cfg(not(all(target_arch = "x86_64", not(miri))))]
    let _ = (p, lines, LINE_BYTES);
}

const _: () = assert!(align_of::<List>() <= ALIGN && align_of::<Set>() <= ALIGN);
const _: () = assert!(align_of::<Zset>() <= ALIGN && align_of::<Hash>() <= ALIGN);
const _: () = assert!(align_of::<Stream>() <= ALIGN);

/// The fields of an entry that are fixed when it is made.
#[derive(Clone, Copy, Debug, Default)]
pub struct Meta {
    /// Absolute expiry, Unix milliseconds.
    pub expire_ms: Option<i64>,
    /// 24 bits of LRU clock or LFU counter.
    pub access: u32,
    /// The snapshot mark in force.
    pub mark: bool,
}

/// An owned entry.
pub struct Entry(NonNull<u8>);

// SAFETY: an entry owns its bytes and a value that is itself `Send + Sync`.
unsafe impl Send for Entry {}
// SAFETY: as above; a shared entry is only read.
unsafe impl Sync for Entry {}

/// A borrowed entry.
#[derive(Clone, Copy)]
pub struct EntryRef<'a>(NonNull<u8>, PhantomData<&'a Entry>);

/// A mutably borrowed entry: changes that keep its allocation.
pub struct EntryMut<'a>(NonNull<u8>, PhantomData<&'a mut Entry>);

fn layout(size: usize) -> Layout {
    // SAFETY: the alignment is a power of two; sizes come from lengths already in memory, far
    // below isize::MAX.
    unsafe { Layout::from_size_align_unchecked(size.next_multiple_of(ALIGN), ALIGN) }
}

/// Where the parts of an entry are.
#[derive(Clone, Copy)]
struct Shape {
    area: usize,
    key: usize,
    klen: usize,
    value: usize,
    size: usize,
}

fn shape(kind: Kind, has_expiry: bool, klen: usize, vlen: usize) -> Shape {
    let area = HEADER_BYTES + if has_expiry { 8 } else { 0 };
    let after_area = area + kind.area_bytes();
    let key = after_area + if klen >= LONG_KEY as usize { 4 } else { 0 };
    let value = key + klen;
    Shape {
        area,
        key,
        klen,
        value,
        size: value + vlen,
    }
}

/// What goes into the area or the inline bytes of a new entry.
enum Payload<'a> {
    Int(i64),
    Inline(&'a [u8]),
    Heap(Arc<Vec<u8>>),
    List(List),
    Set(Set),
    Zset(Zset),
    Hash(Hash),
    Stream(Stream),
}

impl Payload<'_> {
    fn kind(&self) -> Kind {
        match self {
            Payload::Int(_) => Kind::Int,
            Payload::Inline(_) => Kind::Inline,
            Payload::Heap(_) => Kind::Heap,
            Payload::List(_) => Kind::List,
            Payload::Set(_) => Kind::Set,
            Payload::Zset(_) => Kind::Zset,
            Payload::Hash(_) => Kind::Hash,
            Payload::Stream(_) => Kind::Stream,
        }
    }
}

impl Entry {
    /// An entry that holds `value`.
    pub fn new(key: &[u8], value: Value, meta: Meta) -> Entry {
        match value {
            Value::Str(Str::Inline(b)) if b.len() <= INLINE_MAX_BYTES => {
                Entry::build(key, Payload::Inline(&b), meta)
            }
            Value::Str(Str::Inline(b)) => {
                Entry::build(key, Payload::Heap(Arc::new(b.into_vec())), meta)
            }
            Value::Str(Str::Int(n)) => Entry::build(key, Payload::Int(n), meta),
            Value::Str(Str::Heap(b)) => Entry::build(key, Payload::Heap(b), meta),
            Value::List(v) => Entry::build(key, Payload::List(v), meta),
            Value::Set(v) => Entry::build(key, Payload::Set(v), meta),
            Value::Zset(v) => Entry::build(key, Payload::Zset(v), meta),
            Value::Hash(v) => Entry::build(key, Payload::Hash(v), meta),
            Value::Stream(v) => Entry::build(key, Payload::Stream(v), meta),
        }
    }

    /// An entry that holds the string `bytes` in the encoding that `SET` gives it.
    pub fn with_bytes(key: &[u8], bytes: &[u8], meta: Meta) -> Entry {
        if let Some(n) = super::value::integer_text(bytes) {
            Entry::build(key, Payload::Int(n), meta)
        } else if bytes.len() <= INLINE_MAX_BYTES {
            Entry::build(key, Payload::Inline(bytes), meta)
        } else {
            Entry::build(key, Payload::Heap(Arc::new(bytes.to_vec())), meta)
        }
    }

    fn build(key: &[u8], payload: Payload<'_>, meta: Meta) -> Entry {
        let kind = payload.kind();
        let vlen = if let Payload::Inline(b) = payload {
            b.len()
        } else {
            0
        };
        let s = shape(kind, meta.expire_ms.is_some(), key.len(), vlen);
        let l = layout(s.size);
        // SAFETY: the size is never zero; every write below stays within `s.size` bytes.
        unsafe {
            let Some(p) = NonNull::new(alloc(l)) else {
                handle_alloc_error(l)
            };
            let base = p.as_ptr();
            let mut flags = 0;
            if meta.mark {
                flags |= FLAG_MARK;
            }
            if let Some(at) = meta.expire_ms {
                flags |= FLAG_EXPIRY;
                base.add(HEADER_BYTES).cast::<i64>().write(at);
            }
            let short = if key.len() >= LONG_KEY as usize {
                flags |= FLAG_LONG_KEY;
                base.add(s.key - 4)
                    .cast::<u32>()
                    .write_unaligned(key.len() as u32);
                LONG_KEY
            } else {
                key.len() as u8
            };
            base.write(kind as u8);
            base.add(1).write(flags);
            write_access(base, meta.access);
            base.add(5).write(short);
            base.add(6).cast::<u16>().write(vlen as u16);
            ptr::copy_nonoverlapping(key.as_ptr(), base.add(s.key), key.len());
            let area = base.add(s.area);
            match payload {
                Payload::Int(n) => area.cast::<i64>().write(n),
                Payload::Inline(b) => {
                    ptr::copy_nonoverlapping(b.as_ptr(), base.add(s.value), b.len());
                }
                Payload::Heap(b) => area.cast::<Arc<Vec<u8>>>().write(b),
                Payload::List(v) => area.cast::<List>().write(v),
                Payload::Set(v) => area.cast::<Set>().write(v),
                Payload::Zset(v) => area.cast::<Zset>().write(v),
                Payload::Hash(v) => area.cast::<Hash>().write(v),
                Payload::Stream(v) => area.cast::<Stream>().write(v),
            }
            Entry(p)
        }
    }

    /// The entry as a raw pointer, whose upper 16 bits are zero on every supported target.
    pub(super) fn into_raw(self) -> NonNull<u8> {
        ManuallyDrop::new(self).0
    }

    /// Takes back what [`Entry::into_raw`] gave.
    ///
    /// # Safety
    /// `p` came from `into_raw` and is owned by nobody else.
    pub(super) unsafe fn from_raw(p: NonNull<u8>) -> Entry {
        Entry(p)
    }

    /// Where it is, for a prefetch.
    pub(super) fn address(&self) -> *const u8 {
        self.0.as_ptr()
    }

    /// The same entry, borrowed.
    pub fn as_ref(&self) -> EntryRef<'_> {
        EntryRef(self.0, PhantomData)
    }

    /// The same entry, mutably borrowed.
    pub fn as_mut(&mut self) -> EntryMut<'_> {
        EntryMut(self.0, PhantomData)
    }

    /// The value without its entry: moves collections and shared bytes.
    pub fn into_value(self) -> Value {
        let e = ManuallyDrop::new(self);
        let r = EntryRef(e.0, PhantomData);
        let s = r.shape();
        // SAFETY: the area holds what `kind` says; the entry is not dropped afterwards, only its
        // bytes are freed.
        unsafe {
            let area = e.0.as_ptr().add(s.area);
            let v = match r.kind() {
                Kind::Int => Value::Str(Str::Int(area.cast::<i64>().read())),
                Kind::Inline => Value::Str(Str::Inline(r.inline_bytes().into())),
                Kind::Heap => Value::Str(Str::Heap(area.cast::<Arc<Vec<u8>>>().read())),
                Kind::List => Value::List(area.cast::<List>().read()),
                Kind::Set => Value::Set(area.cast::<Set>().read()),
                Kind::Zset => Value::Zset(area.cast::<Zset>().read()),
                Kind::Hash => Value::Hash(area.cast::<Hash>().read()),
                Kind::Stream => Value::Stream(area.cast::<Stream>().read()),
            };
            dealloc(e.0.as_ptr(), layout(s.size));
            v
        }
    }

    /// The same entry with another expiry. Moves only where the field comes or goes.
    pub fn with_expiry(mut self, expire_ms: Option<i64>) -> Entry {
        let had = self.as_ref().expire_ms();
        match (had, expire_ms) {
            (None, None) => self,
            (Some(_), Some(at)) => {
                self.as_mut().write_expiry(at);
                self
            }
            (None, Some(at)) => self.insert_expiry(at),
            (Some(_), None) => self.remove_expiry(),
        }
    }

    fn insert_expiry(self, at: i64) -> Entry {
        let e = ManuallyDrop::new(self);
        let s = EntryRef(e.0, PhantomData).shape();
        let new_size = s.size + 8;
        // SAFETY: the bytes behind the header move up by eight within the grown allocation; a
        // collection's handle may be moved bytewise.
        unsafe {
            let p = resize(e.0, s.size, new_size);
            let base = p.as_ptr();
            let tail = base.add(HEADER_BYTES);
            ptr::copy(tail, tail.add(8), s.size - HEADER_BYTES);
            tail.cast::<i64>().write(at);
            *base.add(1) |= FLAG_EXPIRY;
            Entry(p)
        }
    }

    fn remove_expiry(self) -> Entry {
        let e = ManuallyDrop::new(self);
        let s = EntryRef(e.0, PhantomData).shape();
        let new_size = s.size - 8;
        // SAFETY: the bytes behind the expiry move down by eight before the allocation shrinks.
        unsafe {
            let base = e.0.as_ptr();
            let tail = base.add(HEADER_BYTES);
            ptr::copy(tail.add(8), tail, s.size - HEADER_BYTES - 8);
            *base.add(1) &= !FLAG_EXPIRY;
            Entry(resize(e.0, s.size, new_size))
        }
    }

    /// A copy under another key, sharing what can be shared.
    pub fn to_key(self, key: &[u8], mark: bool) -> Entry {
        let r = self.as_ref();
        let meta = Meta {
            expire_ms: r.expire_ms(),
            access: r.access(),
            mark,
        };
        Entry::new(key, self.into_value(), meta)
    }
}

/// Changes an allocation's size, keeping its bytes.
///
/// # Safety
/// `p` was allocated with `layout(old)`.
unsafe fn resize(p: NonNull<u8>, old: usize, new: usize) -> NonNull<u8> {
    if layout(old).size() == layout(new).size() {
        return p;
    }
    // SAFETY: by the caller; the new size is not zero.
    let q = unsafe { realloc(p.as_ptr(), layout(old), layout(new).size()) };
    match NonNull::new(q) {
        Some(q) => q,
        None => handle_alloc_error(layout(new)),
    }
}

/// # Safety
/// `base` points at an entry's header.
unsafe fn write_access(base: *mut u8, access: u32) {
    let [a, b, c, _] = access.to_le_bytes();
    // SAFETY: bytes 2 to 4 belong to the header.
    unsafe {
        base.add(2).write(a);
        base.add(3).write(b);
        base.add(4).write(c);
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        let r = EntryRef(self.0, PhantomData);
        let s = r.shape();
        // SAFETY: the area holds what `kind` says and is dropped once; the layout is that of
        // the allocation.
        unsafe {
            let area = self.0.as_ptr().add(s.area);
            match r.kind() {
                Kind::Int | Kind::Inline => {}
                Kind::Heap => ptr::drop_in_place(area.cast::<Arc<Vec<u8>>>()),
                Kind::List => ptr::drop_in_place(area.cast::<List>()),
                Kind::Set => ptr::drop_in_place(area.cast::<Set>()),
                Kind::Zset => ptr::drop_in_place(area.cast::<Zset>()),
                Kind::Hash => ptr::drop_in_place(area.cast::<Hash>()),
                Kind::Stream => ptr::drop_in_place(area.cast::<Stream>()),
            }
            dealloc(self.0.as_ptr(), layout(s.size));
        }
    }
}

#[cfg(test)]
mod tests;

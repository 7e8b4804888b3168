//! Borrowed entries: reading one, and changes that keep its allocation.

use std::alloc::{alloc, handle_alloc_error};
use std::marker::PhantomData;
use std::ptr::{self, NonNull};
use std::sync::Arc;

use crate::base::text::same;

use super::super::sizes::SizeClass;
use super::super::value::{Collection, INLINE_MAX_BYTES, StrRef, ValueKind, ValueRef};
use super::super::value::{hash::Hash, list::List, set::Set, stream::Stream, zset::Zset};
use super::{
    Entry, EntryMut, EntryRef, FLAG_EXPIRY, FLAG_LONG_KEY, FLAG_MARK, HEADER_BYTES, Kind, Meta,
    Shape, layout, prefetch, shape, write_access,
};

impl<'a> EntryRef<'a> {
    /// # Safety
    /// `p` points at a live entry that is not mutated during `'a`.
    pub(in super::super) unsafe fn from_raw(p: NonNull<u8>) -> EntryRef<'a> {
        EntryRef(p, PhantomData)
    }

    #[inline]
    pub(super) fn byte(self, at: usize) -> u8 {
        // SAFETY: called with offsets inside the header only.
        unsafe { self.0.as_ptr().add(at).read() }
    }

    #[inline]
    pub(super) fn kind(self) -> Kind {
        Kind::of(self.byte(0))
    }

    #[inline]
    pub(super) fn has(self, flag: u8) -> bool {
        self.byte(1) & flag != 0
    }

    #[inline]
    pub(super) fn vlen(self) -> usize {
        // SAFETY: bytes 6 and 7 of the header, aligned.
        unsafe { self.0.as_ptr().add(6).cast::<u16>().read() as usize }
    }

    #[inline]
    pub(super) fn shape(self) -> Shape {
        let kind = self.kind();
        let mut klen = self.byte(5) as usize;
        if self.has(FLAG_LONG_KEY) {
            let at = HEADER_BYTES + if self.has(FLAG_EXPIRY) { 8 } else { 0 } + kind.area_bytes();
            // SAFETY: a long key's length stands right behind the area.
            klen = unsafe { self.0.as_ptr().add(at).cast::<u32>().read_unaligned() as usize };
        }
        shape(kind, self.has(FLAG_EXPIRY), klen, self.vlen())
    }

    /// The key's bytes.
    #[inline]
    pub fn key(self) -> &'a [u8] {
        let s = self.shape();
        // SAFETY: the shape lies within the allocation.
        unsafe { std::slice::from_raw_parts(self.0.as_ptr().add(s.key), s.klen) }
    }

    #[inline]
    pub(super) fn inline_bytes(self) -> &'a [u8] {
        let s = self.shape();
        // SAFETY: the shape lies within the allocation.
        unsafe { std::slice::from_raw_parts(self.0.as_ptr().add(s.value), self.vlen()) }
    }

    /// Absolute expiry, Unix milliseconds.
    #[inline]
    pub fn expire_ms(self) -> Option<i64> {
        if !self.has(FLAG_EXPIRY) {
            return None;
        }
        // SAFETY: the flag says that the field is there.
        Some(unsafe { self.0.as_ptr().add(HEADER_BYTES).cast::<i64>().read() })
    }

    /// The earliest expiry of a field, if the value is a hash some of whose fields have one.
    #[inline]
    pub fn next_field_expiry(self) -> Option<i64> {
        if self.kind() != Kind::Hash {
            return None;
        }
        match self.area_value(Kind::Hash) {
            ValueRef::Hash(hash) => hash.next_expiry(),
            _ => None,
        }
    }

    /// The snapshot mark.
    #[inline]
    pub fn mark(self) -> bool {
        self.has(FLAG_MARK)
    }

    /// 24 bits of LRU clock or LFU counter.
    #[inline]
    pub fn access(self) -> u32 {
        u32::from_le_bytes([self.byte(2), self.byte(3), self.byte(4), 0])
    }

    /// A copy of the entry: small values by their bytes, others by a handle.
    pub fn to_entry(self) -> Entry {
        if !matches!(self.kind(), Kind::Int | Kind::Inline) {
            let meta = Meta {
                expire_ms: self.expire_ms(),
                access: self.access(),
                mark: self.mark(),
            };
            return Entry::new(self.key(), self.value().to_value(), meta);
        }
        let size = self.shape().size;
        let l = layout(size);
        // SAFETY: the size is never zero; an integer or an inline string owns nothing beside its
        // bytes, so a copy of them is an entry of its own.
        unsafe {
            let Some(p) = NonNull::new(alloc(l)) else {
                handle_alloc_error(l)
            };
            ptr::copy_nonoverlapping(self.0.as_ptr(), p.as_ptr(), size);
            Entry::from_raw(p)
        }
    }

    /// Bytes that the entry itself occupies, before the allocator rounds them up.
    pub fn size_bytes(self) -> usize {
        layout(self.shape().size).size()
    }

    /// The value.
    #[inline]
    pub fn value(self) -> ValueRef<'a> {
        match self.kind() {
            Kind::Inline => ValueRef::Str(StrRef::Inline(self.inline_bytes())),
            kind => self.area_value(kind),
        }
    }

    #[inline]
    pub(super) fn area_value(self, kind: Kind) -> ValueRef<'a> {
        let at = HEADER_BYTES + if self.has(FLAG_EXPIRY) { 8 } else { 0 };
        // SAFETY: the area holds what `kind` says and lives as long as the entry.
        unsafe {
            let area = self.0.as_ptr().add(at);
            match kind {
                Kind::Int | Kind::Inline => ValueRef::Str(StrRef::Int(area.cast::<i64>().read())),
                Kind::Heap => ValueRef::Str(StrRef::Heap(&*area.cast::<Arc<Vec<u8>>>())),
                Kind::List => ValueRef::List(&*area.cast::<List>()),
                Kind::Set => ValueRef::Set(&*area.cast::<Set>()),
                Kind::Zset => ValueRef::Zset(&*area.cast::<Zset>()),
                Kind::Hash => ValueRef::Hash(&*area.cast::<Hash>()),
                Kind::Stream => ValueRef::Stream(&*area.cast::<Stream>()),
            }
        }
    }

    /// Where the value is counted by its length.
    #[inline]
    pub fn size_class(self) -> SizeClass {
        match self.kind() {
            Kind::Inline => SizeClass::of(ValueKind::String, self.vlen()),
            kind => match self.area_value(kind) {
                ValueRef::Str(StrRef::Int(n)) => SizeClass::of_int(n),
                value => SizeClass::of(value.kind(), value.len()),
            },
        }
    }

    /// Whether this is the entry of `key`.
    #[inline]
    pub fn has_key(self, key: &[u8]) -> bool {
        same(self.key(), key)
    }

    /// Asks the processor for the entry: the two cache lines that most entries fill.
    #[inline]
    pub fn prefetch(self) {
        prefetch(self.0.as_ptr(), 2);
    }

    /// Asks the processor for what a look at the value begins with, where it lies outside of the
    /// entry. Worth it once the entry has come. Whether there is more to ask for: first by
    /// [`EntryRef::prefetch_last`], then by [`EntryRef::prefetch_end`].
    #[inline]
    pub fn prefetch_value(self) -> bool {
        /// Enough for the processor to see that one line after the other is read.
        const LINES: usize = 4;
        /// A collection is searched, by steps too irregular for the processor to run ahead.
        const MORE_LINES: usize = 8;
        match self.kind() {
            Kind::Int | Kind::Inline => {}
            kind @ (Kind::Heap | Kind::Stream) => prefetch(self.area_value(kind).address(), LINES),
            kind => prefetch(self.area_value(kind).address(), MORE_LINES),
        }
        self.kind() == Kind::Stream
    }

    /// Asks the processor for the last block of a stream, which additions go to. Worth it once the
    /// value has come.
    #[inline]
    pub fn prefetch_last(self) {
        const LINES: usize = 3;
        if let ValueRef::Stream(stream) = self.value() {
            prefetch(stream.last_address(), LINES);
        }
    }

    /// Asks the processor for where the last block of a stream ends. Worth it once that block has
    /// come.
    #[inline]
    pub fn prefetch_end(self) {
        const LINES: usize = 2;
        if let ValueRef::Stream(stream) = self.value() {
            prefetch(stream.end_address(), LINES);
        }
    }

    /// The value's type.
    #[inline]
    pub fn value_kind(self) -> ValueKind {
        match self.kind() {
            Kind::Int | Kind::Inline | Kind::Heap => ValueKind::String,
            Kind::List => ValueKind::List,
            Kind::Set => ValueKind::Set,
            Kind::Zset => ValueKind::Zset,
            Kind::Hash => ValueKind::Hash,
            Kind::Stream => ValueKind::Stream,
        }
    }
}

impl<'a> EntryMut<'a> {
    /// # Safety
    /// `p` points at a live entry that nobody else reaches during `'a`.
    pub(in super::super) unsafe fn from_raw(p: NonNull<u8>) -> EntryMut<'a> {
        EntryMut(p, PhantomData)
    }

    /// The same entry, mutably borrowed for a shorter time.
    #[inline]
    pub fn reborrow(&mut self) -> EntryMut<'_> {
        EntryMut(self.0, PhantomData)
    }

    /// The same entry, read.
    #[inline]
    pub fn as_ref(&self) -> EntryRef<'_> {
        EntryRef(self.0, PhantomData)
    }

    pub(super) fn write_expiry(&mut self, at: i64) {
        // SAFETY: called only where the field is there.
        unsafe { self.0.as_ptr().add(HEADER_BYTES).cast::<i64>().write(at) }
    }

    /// Writes the snapshot mark.
    pub fn set_mark(&mut self, mark: bool) {
        // SAFETY: byte 1 of the header.
        unsafe {
            let p = self.0.as_ptr().add(1);
            let flags = p.read();
            p.write(if mark {
                flags | FLAG_MARK
            } else {
                flags & !FLAG_MARK
            });
        }
    }

    /// Writes the 24 bits of LRU clock or LFU counter.
    #[inline]
    pub fn set_access(&mut self, access: u32) {
        // Written only if it is different: many processors read an entry within the second that
        // the clock counts, and a line that nobody writes stays in all their caches.
        if self.as_ref().access() != access {
            // SAFETY: the entry is live.
            unsafe { write_access(self.0.as_ptr(), access) }
        }
    }

    /// The same entry, to be read for as long as it was borrowed.
    #[inline]
    pub fn into_ref(self) -> EntryRef<'a> {
        EntryRef(self.0, PhantomData)
    }

    /// Overwrites an inline string or an integer in place, if the allocation's size stays the
    /// same. `false` if it does not, and nothing has changed.
    #[inline]
    pub fn overwrite_bytes(&mut self, bytes: &[u8]) -> bool {
        let r = self.as_ref();
        if r.kind() != Kind::Inline || bytes.len() > INLINE_MAX_BYTES {
            return false;
        }
        let s = r.shape();
        let old = layout(s.size).size();
        if layout(s.value + bytes.len()).size() != old {
            return false;
        }
        // SAFETY: the new bytes end within the same rounded size.
        unsafe {
            let base = self.0.as_ptr();
            ptr::copy_nonoverlapping(bytes.as_ptr(), base.add(s.value), bytes.len());
            base.add(6).cast::<u16>().write(bytes.len() as u16);
        }
        true
    }

    /// The integer in the entry, if the value is kept as one.
    #[inline]
    pub fn int(self) -> Option<&'a mut i64> {
        if self.as_ref().kind() != Kind::Int {
            return None;
        }
        let s = self.as_ref().shape();
        // SAFETY: the area of an integer is eight aligned bytes, borrowed as the entry is.
        Some(unsafe { &mut *self.0.as_ptr().add(s.area).cast::<i64>() })
    }

    /// The collection in the entry, if it is one of type `T`.
    #[inline]
    pub fn collection<T: Collection>(self) -> Option<&'a mut T> {
        if self.as_ref().value_kind() != T::KIND {
            return None;
        }
        let s = self.as_ref().shape();
        // SAFETY: `KIND` names the type whose handle the area holds, and each kind has one type.
        Some(unsafe { &mut *self.0.as_ptr().add(s.area).cast::<T>() })
    }

    /// The shared bytes of a long string.
    pub fn heap(self) -> Option<&'a mut Arc<Vec<u8>>> {
        if self.as_ref().kind() != Kind::Heap {
            return None;
        }
        let s = self.as_ref().shape();
        // SAFETY: the area of a heap string is its `Arc`.
        Some(unsafe { &mut *self.0.as_ptr().add(s.area).cast::<Arc<Vec<u8>>>() })
    }
}

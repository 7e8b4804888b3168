//! `Block`: bytes behind one thin, shared, exact-fit allocation.
//!
//! ```text
//! ptr -> | refs u32 | used u32 | body: `used` bytes | slack up to the size class |
//! ```
//!
//! Small collections and the pages of large ones are blocks. A standard `Box<[u8]>` handle is two
//! words and an `Arc<Vec<u8>>` is two allocations; with millions of small hashes the second word
//! costs 16 bytes each, and in a page the second allocation costs every lookup a cache miss.
//! Hence this type: a handle of 8 bytes, the count of owners in the allocation itself.
//!
//! Guarantees:
//! 1. The allocation's size is `size_class(HEADER + used)`, a function of `used` alone: growing
//!    inside a class moves nothing, and nothing is kept beyond the class that the body needs.
//! 2. `clone` is O(1) and shares. A writer copies first unless it is the only owner, so a clone
//!    never changes.
//! 3. Every byte of the body is initialised. The slack is never exposed.
//! 4. The pointer is a multiple of 8: `Slim` keeps a tag in its low bits.

#![expect(
    unsafe_code,
    reason = "a thin refcounted allocation has no safe form in std"
)]

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error, realloc};
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicU32, Ordering, fence};

/// Bytes in front of the body.
const HEADER: usize = size_of::<Header>();

/// The longest body; a longer one ends the process as an allocation that cannot be served.
pub const MAX_BODY: usize = u32::MAX as usize - (1 << 16);

/// More owners than this is a leak of handles, not use.
const MAX_REFS: u32 = i32::MAX as u32;

#[repr(C, align(8))]
struct Header {
    refs: AtomicU32,
    used: u32,
}

/// Shared bytes; see the module's text.
#[repr(transparent)]
pub struct Block {
    head: NonNull<Header>,
}

// SAFETY: a block is an owner's count and plain bytes. The count is atomic, the bytes are written
// only through `&mut self` while the count is one.
unsafe impl Send for Block {}
// SAFETY: as above; `&Block` only reads the bytes or raises the count.
unsafe impl Sync for Block {}

/// The allocation that a request of `n` bytes takes from jemalloc: multiples of 16 up to 128, then
/// four steps to each doubling.
pub const fn size_class(n: usize) -> usize {
    if n <= 8 {
        return 8;
    }
    if n <= 128 {
        return (n + 15) & !15;
    }
    let step = 1usize << ((n - 1).ilog2() - 2);
    (n + step - 1) & !(step - 1)
}

fn layout(used: usize) -> Layout {
    match Layout::from_size_align(size_class(HEADER + used), align_of::<Header>()) {
        Ok(layout) if used <= MAX_BODY => layout,
        _ => handle_alloc_error(Layout::new::<Header>()),
    }
}

impl Block {
    /// A block whose body is the given slices, one after the other.
    pub fn concat(parts: &[&[u8]]) -> Block {
        let used = parts
            .iter()
            .fold(0usize, |sum, part| sum.saturating_add(part.len()));
        let block = Block::uninit(used);
        let mut at = block.body();
        for part in parts {
            // SAFETY: the body has room for the sum of the lengths, and a fresh allocation
            // overlaps no slice.
            unsafe {
                ptr::copy_nonoverlapping(part.as_ptr(), at, part.len());
                at = at.add(part.len());
            }
        }
        block
    }

    /// A block whose body is so many zeros.
    pub fn zeroed(used: usize) -> Block {
        let block = Block::uninit(used);
        // SAFETY: the body has room for so many bytes.
        unsafe { ptr::write_bytes(block.body(), 0, used) };
        block
    }

    /// One owner, header written, body not yet: every caller writes all of it before returning.
    fn uninit(used: usize) -> Block {
        let layout = layout(used);
        // SAFETY: the layout is never of size zero.
        let Some(head) = NonNull::new(unsafe { alloc(layout) }.cast::<Header>()) else {
            handle_alloc_error(layout)
        };
        // SAFETY: the allocation holds and is aligned for a header.
        unsafe {
            head.write(Header {
                refs: AtomicU32::new(1),
                used: used as u32,
            })
        };
        Block { head }
    }

    fn body(&self) -> *mut u8 {
        // SAFETY: every allocation is at least as long as its header.
        unsafe { self.head.as_ptr().cast::<u8>().add(HEADER) }
    }

    fn refs(&self) -> &AtomicU32 {
        // SAFETY: the header lives as long as any handle.
        unsafe { &(*self.head.as_ptr()).refs }
    }

    /// Where the allocation begins, for a prefetch.
    #[inline]
    pub fn address(&self) -> *const u8 {
        self.head.as_ptr().cast_const().cast()
    }

    /// Length of the body in bytes.
    #[inline]
    pub fn used(&self) -> usize {
        // SAFETY: as in `refs`; `used` changes only through `&mut self` of the one owner.
        unsafe { (*self.head.as_ptr()).used as usize }
    }

    /// Bytes taken from the allocator.
    pub fn alloc_bytes(&self) -> usize {
        size_class(HEADER + self.used())
    }

    /// Whether another handle shares the bytes.
    pub fn is_shared(&self) -> bool {
        // Acquire: what the last other owner did before it let go happens before our writes.
        self.refs().load(Ordering::Acquire) != 1
    }

    /// The body.
    pub fn bytes(&self) -> &[u8] {
        // SAFETY: `used` bytes of the body are initialised and nobody writes while `self` is
        // borrowed: writers hold the only handle mutably.
        unsafe { std::slice::from_raw_parts(self.body(), self.used()) }
    }

    /// The body for writing; copied first if it is shared.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        if self.is_shared() {
            *self = Block::concat(&[self.bytes()]);
        }
        // SAFETY: this is the only handle and it is borrowed mutably.
        unsafe { std::slice::from_raw_parts_mut(self.body(), self.used()) }
    }

    /// Makes the body `new` bytes long; what is added is zero.
    pub fn resize(&mut self, new: usize) {
        let old = self.used();
        if self.is_shared() {
            let kept = self.bytes().get(..new.min(old)).unwrap_or_default();
            let fresh = Block::uninit(new);
            // SAFETY: `kept` is at most `new` bytes, the fresh body exactly `new`.
            unsafe {
                ptr::copy_nonoverlapping(kept.as_ptr(), fresh.body(), kept.len());
                ptr::write_bytes(fresh.body().add(kept.len()), 0, new - kept.len());
            }
            *self = fresh;
            return;
        }
        let (from, to) = (layout(old), layout(new));
        if from.size() != to.size() {
            let raw = self.head.as_ptr().cast::<u8>();
            // SAFETY: the block was allocated with exactly `layout(old)`; the new size is not
            // zero and was checked by `layout`.
            let Some(head) = NonNull::new(unsafe { realloc(raw, from, to.size()) }) else {
                handle_alloc_error(to)
            };
            self.head = head.cast();
        }
        // SAFETY: the allocation now has room for `new` bytes of body; only this handle exists.
        unsafe {
            if new > old {
                ptr::write_bytes(self.body().add(old), 0, new - old);
            }
            (*self.head.as_ptr()).used = new as u32;
        }
    }

    /// Replaces `removed` bytes at `at` by a gap of `added` bytes and returns the gap, whose
    /// content is unspecified. Positions beyond the end count as the end.
    pub fn splice(&mut self, at: usize, removed: usize, added: usize) -> &mut [u8] {
        let old = self.used();
        let at = at.min(old);
        let tail = at.saturating_add(removed).min(old);
        let new = (old - (tail - at)).saturating_add(added);
        if added > tail - at {
            self.resize(new);
            self.bytes_mut().copy_within(tail..old, at + added);
        } else if new != old {
            self.bytes_mut().copy_within(tail..old, at + added);
            self.resize(new);
        }
        self.bytes_mut().get_mut(at..at + added).unwrap_or_default()
    }
}

impl Clone for Block {
    fn clone(&self) -> Block {
        // Relaxed is enough to raise a count that cannot reach zero meanwhile.
        if self.refs().fetch_add(1, Ordering::Relaxed) >= MAX_REFS {
            std::process::abort();
        }
        Block { head: self.head }
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        // Release, and acquire by whoever frees: every owner's reads come before the end.
        if self.refs().fetch_sub(1, Ordering::Release) != 1 {
            return;
        }
        fence(Ordering::Acquire);
        // SAFETY: this was the last handle, and the layout is the one it was allocated with.
        unsafe { dealloc(self.head.as_ptr().cast(), layout(self.used())) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn size_classes_are_those_of_jemalloc() {
        let given = [
            1, 8, 9, 16, 17, 128, 129, 160, 161, 192, 224, 225, 256, 257, 320, 4096, 4097,
        ];
        let class = [
            8, 8, 16, 16, 32, 128, 160, 160, 192, 192, 224, 256, 256, 320, 320, 4096, 5120,
        ];
        assert_eq!(given.map(size_class), class);
    }

    #[test]
    fn a_clone_keeps_its_bytes_whatever_the_writer_does() {
        let mut block = Block::concat(&[b"hello ", b"world"]);
        let before = block.clone();
        block.bytes_mut()[0] = b'J';
        let middle = block.clone();
        block.resize(300);
        block.splice(0, 5, 2).copy_from_slice(b"by");
        assert_eq!(before.bytes(), b"hello world");
        assert_eq!(middle.bytes(), b"Jello world");
        assert_eq!(&block.bytes()[..8], b"by world");
        assert_eq!(block.used(), 297);
        assert!(block.bytes()[8..].iter().all(|&b| b == 0));
        assert!(!block.is_shared());
    }

    #[test]
    fn splice_agrees_with_a_vector_for_every_small_shape() {
        for at in 0..6 {
            for removed in 0..6 {
                for added in [0, 1, 2, 5, 40] {
                    let mut block = Block::concat(&[b"abcde"]);
                    let mut model = b"abcde".to_vec();
                    block.splice(at, removed, added).fill(b'x');
                    let (from, to) = (at.min(5), (at + removed).min(5));
                    model.splice(from..to, std::iter::repeat_n(b'x', added));
                    assert_eq!(block.bytes(), model, "{at} {removed} {added}");
                }
            }
        }
    }

    #[test]
    fn shared_handles_cross_threads() {
        let block = Block::concat(&[&[7u8; 1000]]);
        std::thread::scope(|scope| {
            for n in 0..4 {
                let mut mine = block.clone();
                scope.spawn(move || {
                    mine.bytes_mut().fill(n);
                    mine.resize(2000);
                    assert!(mine.bytes()[..1000].iter().all(|&b| b == n));
                });
            }
        });
        assert!(block.bytes().iter().all(|&b| b == 7));
    }
}

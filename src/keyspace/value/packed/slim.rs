//! `Slim<T>`: a small collection's block or a large one's `Box<T>`, in one word.
//!
//! An enum of the two would be two words, and behind an entry's single pointer that means one
//! more allocation of 16 bytes for every small hash, set, list or sorted set. Both pointers are
//! multiples of at least 2, so the lowest bit says which one it is: 0 a block, 1 a box.
//!
//! `Slim` is `repr(transparent)` over that pointer: whoever stores the word may view it as the
//! collection again.

#![expect(
    unsafe_code,
    reason = "an owning tagged pointer has no safe form in std"
)]

use std::marker::PhantomData;
use std::ptr::NonNull;

use super::Packed;

/// The tag of a large collection.
const LARGE: usize = 1;

/// One word that owns a [`Packed`] or a `Box<T>`.
#[repr(transparent)]
pub struct Slim<T> {
    word: NonNull<u8>,
    owns: PhantomData<Box<T>>,
}

/// What a [`Slim`] holds, borrowed.
pub enum View<'a, T> {
    /// One packed block.
    Small(&'a Packed),
    /// The large form.
    Large(&'a T),
}

/// What a [`Slim`] holds, borrowed for writing.
pub enum ViewMut<'a, T> {
    /// One packed block.
    Small(&'a mut Packed),
    /// The large form.
    Large(&'a mut T),
}

// SAFETY: a `Slim` owns its `Packed` (Send and Sync) or its `T`, as an enum of the two would.
unsafe impl<T: Send> Send for Slim<T> {}
// SAFETY: as above.
unsafe impl<T: Sync> Sync for Slim<T> {}

impl<T> Slim<T> {
    const ALIGNED: () = assert!(align_of::<T>() >= 2 && size_of::<Packed>() == size_of::<usize>());

    /// Holds a packed block.
    pub fn small(packed: Packed) -> Slim<T> {
        let () = Self::ALIGNED;
        // SAFETY: `Packed` is transparent over a `NonNull`, so the word is that pointer; its
        // ownership moves into the word.
        let word = unsafe { std::mem::transmute::<Packed, NonNull<u8>>(packed) };
        Slim {
            word,
            owns: PhantomData,
        }
    }

    /// Holds the large form.
    pub fn large(large: T) -> Slim<T> {
        let () = Self::ALIGNED;
        let raw = NonNull::from(Box::leak(Box::new(large))).cast::<u8>();
        Slim {
            word: raw.map_addr(|addr| addr | LARGE),
            owns: PhantomData,
        }
    }

    /// The box's pointer, if it is one.
    fn boxed(&self) -> Option<NonNull<T>> {
        let addr = self.word.as_ptr().addr();
        let raw = self.word.as_ptr().map_addr(|addr| addr & !LARGE);
        if addr & LARGE == 0 {
            None
        } else {
            NonNull::new(raw.cast())
        }
    }

    /// Where what it holds begins, for a prefetch.
    #[inline]
    pub fn address(&self) -> *const u8 {
        self.word.as_ptr().map_addr(|addr| addr & !LARGE)
    }

    /// Whether it is the large form.
    pub fn is_large(&self) -> bool {
        self.boxed().is_some()
    }

    /// What it holds.
    pub fn view(&self) -> View<'_, T> {
        match self.boxed() {
            // SAFETY: the pointer came from a box that this word owns.
            Some(large) => View::Large(unsafe { large.as_ref() }),
            // SAFETY: an untagged word is a valid `Packed`, which is transparent over it.
            None => View::Small(unsafe { &*(&raw const self.word).cast::<Packed>() }),
        }
    }

    /// What it holds, for writing.
    pub fn view_mut(&mut self) -> ViewMut<'_, T> {
        match self.boxed() {
            // SAFETY: as in `view`; the word is borrowed mutably.
            Some(mut large) => ViewMut::Large(unsafe { large.as_mut() }),
            // SAFETY: as in `view`. A `Packed` written through this is untagged again, since
            // every block's address is a multiple of 8.
            None => ViewMut::Small(unsafe { &mut *(&raw mut self.word).cast::<Packed>() }),
        }
    }
}

impl<T: Clone> Clone for Slim<T> {
    fn clone(&self) -> Slim<T> {
        match self.view() {
            View::Small(packed) => Slim::small(packed.clone()),
            View::Large(large) => Slim::large(large.clone()),
        }
    }
}

impl<T> Drop for Slim<T> {
    fn drop(&mut self) {
        match self.boxed() {
            // SAFETY: the word owns the box, and nothing uses the word after this.
            Some(large) => drop(unsafe { Box::from_raw(large.as_ptr()) }),
            // SAFETY: the word owns the block, and nothing uses the word after this.
            None => drop(unsafe { std::mem::transmute::<NonNull<u8>, Packed>(self.word) }),
        }
    }
}

impl<T> Default for Slim<T> {
    fn default() -> Slim<T> {
        Slim::small(Packed::new())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[test]
    fn it_is_one_word_and_drops_what_it_holds_once() {
        assert_eq!(size_of::<Slim<Arc<u8>>>(), 8);
        let large = Arc::new(5u64);
        let slim = Slim::large(Arc::clone(&large));
        let twin = slim.clone();
        assert_eq!(Arc::strong_count(&large), 3);
        assert!(matches!(twin.view(), View::Large(l) if **l == 5));
        drop((slim, twin));
        assert_eq!(Arc::strong_count(&large), 1);
    }

    #[test]
    fn a_small_one_can_be_written_and_then_become_large() {
        let mut slim: Slim<Arc<u8>> = Slim::default();
        if let ViewMut::Small(packed) = slim.view_mut() {
            for n in 0..100 {
                packed.push_back(n);
            }
        }
        assert!(matches!(slim.view(), View::Small(p) if p.len() == 100));
        let twin = slim.clone();
        slim = Slim::large(Arc::new(1));
        assert!(slim.is_large() && !twin.is_large());
        if let ViewMut::Large(large) = slim.view_mut() {
            *large = Arc::new(2);
        }
        assert!(matches!(slim.view(), View::Large(l) if **l == 2));
    }
}

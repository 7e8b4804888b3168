//! A copy-on-write arena: handles found by a small number that stays theirs while they live.
//!
//! A second structure (a sorted set's member index) can name a page by its number without holding
//! it, so that the page's own copy-on-write copies only while a clone of the whole arena is alive.
//!
//! The arena is a radix tree of [`WIDTH`] places a node behind `Arc`: a clone is O(1), and an edit
//! after it copies one node of each height. Numbers are given out from 0 up; one that was given
//! back is used again before a new one. The numbers that are free form a chain through their own
//! places, so that they too cost a clone nothing.

use std::sync::Arc;

/// Places of a node, and the bits of a number that choose one.
const WIDTH: usize = 1 << BITS;
const BITS: u32 = 6;

/// Ends the chain of free numbers.
const NONE: u32 = u32::MAX;

#[derive(Clone)]
enum Place<T> {
    Used(T),
    /// The next free number.
    Free(u32),
}

#[derive(Clone)]
enum Node<T> {
    Inner(Arc<[Node<T>]>),
    Places(Arc<[Place<T>]>),
}

/// Numbered handles `T` of shared pages.
#[derive(Clone)]
pub struct Slots<T> {
    root: Node<T>,
    /// Levels of inner nodes above the places.
    height: u32,
    /// The first free number below `next`.
    free: u32,
    next: u32,
}

impl<T: Clone> Default for Slots<T> {
    fn default() -> Self {
        Slots {
            root: Node::Places(Arc::new([])),
            height: 0,
            free: NONE,
            next: 0,
        }
    }
}

impl<T: Clone> Slots<T> {
    /// All handles, in no order that means anything.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        (0..self.next).filter_map(|id| self.get(id))
    }

    /// The handle of number `id`.
    pub fn get(&self, id: u32) -> Option<&T> {
        let (mut node, mut id, mut shift) = (&self.root, id, self.height * BITS);
        loop {
            match node {
                Node::Inner(kids) => {
                    node = kids.get((id >> shift) as usize)?;
                    id &= (1 << shift) - 1;
                    shift = shift.saturating_sub(BITS);
                }
                Node::Places(places) => match places.get(id as usize)? {
                    Place::Used(handle) => return Some(handle),
                    Place::Free(_) => return None,
                },
            }
        }
    }

    /// The handle of number `id` to be changed.
    pub fn get_mut(&mut self, id: u32) -> Option<&mut T> {
        match self.place_mut(id)? {
            Place::Used(handle) => Some(handle),
            Place::Free(_) => None,
        }
    }

    fn place_mut(&mut self, id: u32) -> Option<&mut Place<T>> {
        let (mut node, mut id, mut shift) = (&mut self.root, id, self.height * BITS);
        loop {
            match node {
                Node::Inner(kids) => {
                    node = Arc::make_mut(kids).get_mut((id >> shift) as usize)?;
                    id &= (1 << shift) - 1;
                    shift = shift.saturating_sub(BITS);
                }
                Node::Places(places) => return Arc::make_mut(places).get_mut(id as usize),
            }
        }
    }

    /// Files a handle and returns its number.
    pub fn insert(&mut self, handle: T) -> u32 {
        let id = if self.free == NONE {
            self.next += 1;
            self.make_place(self.next - 1);
            self.next - 1
        } else {
            self.free
        };
        if let Some(place) = self.place_mut(id) {
            let before = std::mem::replace(place, Place::Used(handle));
            if let Place::Free(next) = before {
                self.free = next;
            }
        }
        id
    }

    /// Gives the number back and hands out the handle.
    pub fn remove(&mut self, id: u32) -> Option<T> {
        self.get(id)?;
        let free = self.free;
        let place = self.place_mut(id)?;
        match std::mem::replace(place, Place::Free(free)) {
            Place::Used(handle) => {
                self.free = id;
                Some(handle)
            }
            Place::Free(_) => None,
        }
    }

    /// Sees to it that the next new number has a place.
    fn make_place(&mut self, id: u32) {
        if u64::from(id) >> ((self.height + 1) * BITS) > 0 {
            let root = std::mem::replace(&mut self.root, Node::Places(Arc::new([])));
            self.root = Node::Inner(Arc::new([root]));
            self.height += 1;
        }
        let (mut node, mut id, mut shift) = (&mut self.root, id, self.height * BITS);
        loop {
            match node {
                Node::Inner(kids) => {
                    let at = (id >> shift) as usize;
                    id &= (1 << shift) - 1;
                    shift = shift.saturating_sub(BITS);
                    if at >= kids.len() {
                        let kid = if shift > 0 {
                            Node::Inner(Arc::new([]))
                        } else {
                            Node::Places(Arc::new([]))
                        };
                        *kids = kids.iter().cloned().chain([kid]).collect();
                    }
                    match Arc::make_mut(kids).get_mut(at) {
                        Some(kid) => node = kid,
                        None => return,
                    }
                }
                Node::Places(places) => {
                    if id as usize >= places.len() {
                        // Doubled, so that a small arena is small and a large one seldom copied.
                        let more = places.len().clamp(4, WIDTH / 2);
                        let fresh = std::iter::repeat_n(Place::Free(NONE), more);
                        *places = places.iter().cloned().chain(fresh).collect();
                    }
                    return;
                }
            }
        }
    }

    /// Bytes the arena takes, pages not counted.
    pub fn size_bytes(&self) -> usize {
        let places = (self.next as usize).next_multiple_of(4);
        places * size_of::<Place<T>>() + places.div_ceil(WIDTH) * (size_of::<Node<T>>() + 16)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_used_again_and_clones_keep_their_pages() {
        let mut slots = Slots::default();
        let ids: Vec<u32> = (0..200).map(|n| slots.insert(n)).collect();
        assert_eq!(ids, (0..200).collect::<Vec<_>>());
        let before = slots.clone();
        assert_eq!(slots.remove(70), Some(70));
        assert_eq!(slots.get(70), None);
        assert_eq!(slots.remove(70), None);
        *slots.get_mut(71).unwrap() = 1071;
        assert_eq!(slots.insert(5), 70);
        assert_eq!(slots.insert(6), 200);
        let found = [70, 71, 200].map(|id| slots.get(id).copied());
        assert_eq!(found, [Some(5), Some(1071), Some(6)]);
        let found = [70, 71, 200].map(|id| before.get(id).copied());
        assert_eq!(found, [Some(70), Some(71), None]);
        assert_eq!(slots.get(u32::MAX), None);
        assert_eq!(slots.get_mut(u32::MAX), None);
    }

    #[test]
    fn it_grows_over_three_heights_and_empties_again() {
        let n = 64 * 64 + 300;
        let mut slots = Slots::default();
        for id in 0..n {
            assert_eq!(slots.insert(id * 2), id);
        }
        let before = slots.clone();
        for id in 0..n {
            assert_eq!(slots.get(id), Some(&(id * 2)));
            assert_eq!(slots.remove(id), Some(id * 2));
        }
        assert_eq!(slots.iter().count(), 0);
        let mut ids: Vec<u32> = (0..n).map(|_| slots.insert(1)).collect();
        ids.sort_unstable();
        assert_eq!(ids, (0..n).collect::<Vec<_>>());
        assert_eq!(slots.insert(1), n);
        assert_eq!(
            before.iter().copied().collect::<Vec<_>>(),
            (0..n).map(|id| id * 2).collect::<Vec<_>>()
        );
    }
}

//! A copy-on-write arena: handles found by a small number that stays theirs while they live.
//!
//! A second structure (a sorted set's member index) can name a page by its number without holding
//! it, so that the page's own copy-on-write copies only while a clone of the whole arena is alive.
//! The arena itself is chunks of [`CHUNK`] places behind `Arc`: a clone is O(1), and the first
//! edit after it copies one chunk and the list of chunks.

use std::sync::Arc;

/// Places in a chunk.
const CHUNK: usize = 64;

type Chunk<T> = [Option<T>; CHUNK];

/// Numbered handles `T` of shared pages.
#[derive(Clone)]
pub struct Slots<T> {
    chunks: Arc<Vec<Arc<Chunk<T>>>>,
    /// Numbers given back, to be used again before new ones.
    free: Arc<Vec<u32>>,
    next: u32,
}

impl<T: Clone> Default for Slots<T> {
    fn default() -> Self {
        Slots {
            chunks: Arc::new(Vec::new()),
            free: Arc::new(Vec::new()),
            next: 0,
        }
    }
}

impl<T: Clone> Slots<T> {
    /// All handles, in no order that means anything.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.chunks.iter().flat_map(|chunk| chunk.iter().flatten())
    }

    /// The handle of number `id`.
    pub fn get(&self, id: u32) -> Option<&T> {
        let (chunk, place) = (id as usize / CHUNK, id as usize % CHUNK);
        self.chunks.get(chunk)?.get(place)?.as_ref()
    }

    /// The handle of number `id` to be changed.
    pub fn get_mut(&mut self, id: u32) -> Option<&mut T> {
        let (chunk, place) = (id as usize / CHUNK, id as usize % CHUNK);
        let chunk = Arc::make_mut(Arc::make_mut(&mut self.chunks).get_mut(chunk)?);
        chunk.get_mut(place)?.as_mut()
    }

    /// Files a handle and returns its number.
    pub fn insert(&mut self, page: T) -> u32 {
        let id = match self.free.is_empty() {
            true => None,
            false => Arc::make_mut(&mut self.free).pop(),
        };
        let id = id.unwrap_or_else(|| {
            self.next += 1;
            self.next - 1
        });
        let chunks = Arc::make_mut(&mut self.chunks);
        let (chunk, place) = (id as usize / CHUNK, id as usize % CHUNK);
        if chunk == chunks.len() {
            chunks.push(Arc::new([const { None }; CHUNK]));
        }
        if let Some(slot) = chunks
            .get_mut(chunk)
            .and_then(|c| Arc::make_mut(c).get_mut(place))
        {
            *slot = Some(page);
        }
        id
    }

    /// Gives the number back and hands out the handle.
    pub fn remove(&mut self, id: u32) -> Option<T> {
        let (chunk, place) = (id as usize / CHUNK, id as usize % CHUNK);
        let chunk = Arc::make_mut(Arc::make_mut(&mut self.chunks).get_mut(chunk)?);
        let page = chunk.get_mut(place)?.take()?;
        Arc::make_mut(&mut self.free).push(id);
        Some(page)
    }

    /// Bytes the arena takes, pages not counted.
    pub fn size_bytes(&self) -> usize {
        self.chunks.len() * (size_of::<Chunk<T>>() + 16)
            + self.chunks.capacity() * 8
            + self.free.capacity() * 4
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
        assert_eq!(
            (slots.get(70), slots.get(71), slots.get(200)),
            (Some(&5), Some(&1071), Some(&6))
        );
        assert_eq!(
            (before.get(70), before.get(71), before.get(200)),
            (Some(&70), Some(&71), None)
        );
        assert_eq!(slots.get(u32::MAX), None);
    }
}

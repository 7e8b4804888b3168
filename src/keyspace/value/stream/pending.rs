//! Values by id, in the order of ids: the pending entries of a group, those of a consumer.
//!
//! Pages of up to [`PAGE`] neighbours hang on a counted tree behind `Arc`: a clone is O(1), a
//! change after it copies one page and one level of each height. A page that overflows at the end
//! stays full, because ids mostly come in order; a page that shrinks joins its neighbour.

use std::sync::Arc;

use super::id::StreamId;
use crate::keyspace::value::btree::{By, First, Last, Level, Tree, Walk};

/// Most values of a page.
const PAGE: usize = 64;

/// A page with fewer values looks for a neighbour to join.
const SPARSE: usize = PAGE / 4;

/// Values of a joined page at most.
const JOINED_MAX: usize = PAGE * 3 / 4;

type Page<V> = Arc<Vec<(StreamId, V)>>;

/// Values `V` by id.
#[derive(Clone)]
pub struct ById<V: Clone> {
    tree: Option<Tree<StreamId, Page<V>>>,
}

impl<V: Clone> Default for ById<V> {
    fn default() -> Self {
        ById { tree: None }
    }
}

fn upto(id: StreamId) -> By<impl FnMut(&StreamId) -> bool> {
    By(move |bound: &StreamId| *bound <= id)
}

fn position<V>(page: &[(StreamId, V)], id: StreamId) -> Result<usize, usize> {
    match page.last() {
        Some((last, _)) if *last < id => Err(page.len()),
        _ => page.binary_search_by_key(&id, |(id, _)| *id),
    }
}

impl<V: Clone> ById<V> {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.tree.as_ref().map_or(0, |tree| tree.len() as usize)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The value of an id.
    pub fn get(&self, id: StreamId) -> Option<&V> {
        let page = self.tree.as_ref()?.find(&mut upto(id))?;
        let at = position(page, id).ok()?;
        page.get(at).map(|(_, value)| value)
    }

    /// Sets the value of an id. The value it had.
    pub fn insert(&mut self, id: StreamId, value: V) -> Option<V> {
        let tree = self.tree.get_or_insert_default();
        tree.edit(&mut upto(id), |level, i| {
            let Some(page) = level.leaf_mut(i) else {
                level.insert_leaf(0, id, Arc::new(vec![(id, value)]), 1);
                return None;
            };
            let page = Arc::make_mut(page);
            match position(page, id) {
                Ok(at) => {
                    let slot = page.get_mut(at)?;
                    return Some(std::mem::replace(&mut slot.1, value));
                }
                Err(at) if page.len() < PAGE => page.insert(at, (id, value)),
                Err(at) => {
                    let cut = if at == PAGE { PAGE } else { PAGE / 2 };
                    let mut right = page.split_off(cut);
                    if at >= cut {
                        right.insert(at - cut, (id, value));
                    } else {
                        page.insert(at, (id, value));
                    }
                    let bound = right.first().map_or(id, |(id, _)| *id);
                    let (left_len, right_len) = (page.len() as u64, right.len() as u64);
                    level.set_count(i, left_len);
                    level.insert_leaf(i + 1, bound, Arc::new(right), right_len);
                    return None;
                }
            }
            let len = page.len() as u64;
            level.set_count(i, len);
            None
        })
    }

    /// Changes the value of an id, if there is one.
    pub fn edit<R>(&mut self, id: StreamId, change: impl FnOnce(&mut V) -> R) -> Option<R> {
        self.get(id)?;
        self.tree.as_mut()?.edit(&mut upto(id), |level, i| {
            let page = Arc::make_mut(level.leaf_mut(i)?);
            let at = position(page, id).ok()?;
            page.get_mut(at).map(|(_, value)| change(value))
        })
    }

    /// Takes out the value of an id.
    pub fn remove(&mut self, id: StreamId) -> Option<V> {
        self.get(id)?;
        let removed = self.tree.as_mut()?.edit(&mut upto(id), |level, i| {
            let page = Arc::make_mut(level.leaf_mut(i)?);
            let at = position(page, id).ok()?;
            let (_, value) = page.remove(at);
            let len = page.len();
            level.set_count(i, len as u64);
            if len == 0 {
                level.remove_leaf(i);
            } else if len < SPARSE {
                join_near(level, i);
            }
            Some(value)
        });
        if self.is_empty() {
            self.tree = None;
        }
        removed
    }

    /// The least id with its value.
    pub fn first(&self) -> Option<(StreamId, &V)> {
        self.iter_from(StreamId::MIN).next()
    }

    /// The greatest id with its value.
    pub fn last(&self) -> Option<(StreamId, &V)> {
        let page = self.tree.as_ref()?.find(&mut Last)?;
        page.last().map(|(id, value)| (*id, value))
    }

    /// All from an id on, in the order of ids.
    pub fn iter_from(&self, from: StreamId) -> Iter<'_, V> {
        let walk = self.tree.as_ref().map(|tree| tree.walk(&mut upto(from)));
        let page = walk.as_ref().and_then(Walk::current);
        let page = page.map_or(&[][..], |page| page.as_slice());
        let begin = position(page, from).unwrap_or_else(|at| at);
        Iter {
            walk,
            page: page.get(begin..).unwrap_or_default().iter(),
        }
    }

    /// Bytes taken from the allocator.
    pub fn size_bytes(&self) -> usize {
        let Some(tree) = &self.tree else { return 0 };
        let mut sum = tree.size_bytes();
        let mut walk = tree.walk(&mut First);
        while let Some(page) = walk.current() {
            sum += page.capacity() * size_of::<(StreamId, V)>() + 40;
            walk.forward();
        }
        sum
    }
}

/// Joins page `i` with one beside it if both fit well into one.
fn join_near<V: Clone>(level: &mut Level<StreamId, Page<V>>, i: usize) {
    let fits = |left: usize| {
        left + 1 < level.len() && level.count(left) + level.count(left + 1) <= JOINED_MAX as u64
    };
    let left = match i.checked_sub(1) {
        _ if fits(i) => i,
        Some(before) if fits(before) => before,
        _ => return,
    };
    let Some(right) = level.remove_leaf(left + 1) else {
        return;
    };
    if let Some(page) = level.leaf_mut(left) {
        let page = Arc::make_mut(page);
        page.extend_from_slice(&right);
        let len = page.len() as u64;
        level.set_count(left, len);
    }
}

/// Values by id, from the least id on.
pub struct Iter<'a, V: Clone> {
    walk: Option<Walk<'a, StreamId, Page<V>>>,
    page: std::slice::Iter<'a, (StreamId, V)>,
}

impl<'a, V: Clone> Iterator for Iter<'a, V> {
    type Item = (StreamId, &'a V);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some((id, value)) = self.page.next() {
                return Some((*id, value));
            }
            let walk = self.walk.as_mut()?;
            walk.forward();
            self.page = walk.current()?.iter();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn all(map: &ById<usize>, from: StreamId) -> Vec<(StreamId, usize)> {
        map.iter_from(from).map(|(id, v)| (id, *v)).collect()
    }

    proptest! {
        #[test]
        fn it_is_a_map(ops in prop::collection::vec((0u64..600, 0u8..4), 0..3000)) {
            let mut model: BTreeMap<StreamId, usize> = BTreeMap::new();
            let mut map = ById::default();
            for (n, (ms, op)) in ops.into_iter().enumerate() {
                let id = StreamId::new(ms / 3, ms % 3);
                let (before, had) = (map.clone(), model.clone());
                match op {
                    0 => prop_assert_eq!(map.remove(id), model.remove(&id)),
                    1 => {
                        let expected = model.get_mut(&id).map(|v| std::mem::replace(v, n));
                        prop_assert_eq!(map.edit(id, |v| std::mem::replace(v, n)), expected);
                    }
                    _ => prop_assert_eq!(map.insert(id, n), model.insert(id, n)),
                }
                prop_assert_eq!(map.len(), model.len());
                prop_assert_eq!(map.get(id), model.get(&id));
                if n % 128 == 0 {
                    let rest: Vec<_> = model.range(id..).map(|(k, v)| (*k, *v)).collect();
                    prop_assert_eq!(all(&map, id), rest);
                    let first = model.iter().next().map(|(k, v)| (*k, v));
                    prop_assert_eq!(map.first(), first);
                    let last = model.iter().next_back().map(|(k, v)| (*k, v));
                    prop_assert_eq!(map.last(), last);
                    let had: Vec<_> = had.into_iter().collect();
                    prop_assert_eq!(all(&before, StreamId::MIN), had);
                }
            }
        }
    }

    #[test]
    fn pages_in_order_are_full_and_acknowledged_ones_go() {
        let mut map = ById::default();
        for ms in 0..6400 {
            map.insert(StreamId::new(ms, 0), ms as usize);
        }
        assert!(map.size_bytes() < 6400 * 28);
        for ms in 0..6400 {
            if ms % 7 != 0 {
                assert_eq!(map.remove(StreamId::new(ms, 0)), Some(ms as usize));
            }
        }
        assert_eq!(map.len(), 915);
        assert!(map.size_bytes() < 915 * 24 * 4);
    }
}

//! Things by name, in the order of their names: the groups of a stream, the consumers of a group.
//!
//! A counted tree whose every leaf is one thing, so that a clone is O(1) and a change after it
//! copies one level of each height.

use std::sync::Arc;

use crate::keyspace::value::btree::{By, First, Tree, Walk};

/// A name.
pub type Name = Arc<[u8]>;

/// Things `T` by name.
#[derive(Clone)]
pub struct Names<T> {
    /// None of them, and no memory for them, in most streams.
    tree: Option<Tree<Name, (Name, T)>>,
}

impl<T> Default for Names<T> {
    fn default() -> Self {
        Names { tree: None }
    }
}

fn upto(name: &[u8]) -> By<impl FnMut(&Name) -> bool + '_> {
    By(move |bound: &Name| **bound <= *name)
}

impl<T: Clone> Names<T> {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.tree.as_ref().map_or(0, |tree| tree.len() as usize)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The thing of this name.
    pub fn get(&self, name: &[u8]) -> Option<&T> {
        let (found, thing) = self.tree.as_ref()?.find(&mut upto(name))?;
        (**found == *name).then_some(thing)
    }

    /// Changes the thing of this name, if there is one.
    pub fn edit<R>(&mut self, name: &[u8], change: impl FnOnce(&mut T) -> R) -> Option<R> {
        self.get(name)?;
        self.tree.as_mut()?.edit(&mut upto(name), |level, i| {
            level.leaf_mut(i).map(|(_, thing)| change(thing))
        })
    }

    /// Adds a thing under a name that is free.
    pub fn insert(&mut self, name: Name, thing: T) {
        let tree = self.tree.get_or_insert_default();
        tree.edit(&mut upto(&name.clone()), |level, i| {
            let leaf = (Arc::clone(&name), thing);
            match level.leaf_mut(i) {
                // In front of a leaf whose bound is lower than its name, which bounds it from now
                // on; the new leaf takes its place and its bound.
                Some(here) if *here.0 > *name => {
                    let behind = std::mem::replace(here, leaf);
                    level.insert_leaf(i + 1, Arc::clone(&behind.0), behind, 1);
                }
                Some(_) => level.insert_leaf(i + 1, name, leaf, 1),
                None => level.insert_leaf(0, name, leaf, 1),
            }
        });
    }

    /// Takes the thing of this name out.
    pub fn remove(&mut self, name: &[u8]) -> Option<T> {
        self.get(name)?;
        let tree = self.tree.as_mut()?;
        let (_, thing) = tree.edit(&mut upto(name), |level, i| level.remove_leaf(i))?;
        if self.is_empty() {
            self.tree = None;
        }
        Some(thing)
    }

    /// All of them, by name.
    pub fn iter(&self) -> Iter<'_, T> {
        Iter {
            walk: self.tree.as_ref().map(|tree| tree.walk(&mut First)),
        }
    }

    /// Bytes that names and levels take, things not counted.
    pub fn size_bytes(&self) -> usize {
        let names: usize = self.iter().map(|(name, _)| name.len() + 16).sum();
        names + self.tree.as_ref().map_or(0, Tree::size_bytes)
    }
}

/// Things by name, from the least name on.
pub struct Iter<'a, T> {
    walk: Option<Walk<'a, Name, (Name, T)>>,
}

impl<'a, T> Iterator for Iter<'a, T> {
    type Item = (&'a Name, &'a T);

    fn next(&mut self) -> Option<Self::Item> {
        let walk = self.walk.as_mut()?;
        let (name, thing) = walk.current()?;
        walk.forward();
        Some((name, thing))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    proptest! {
        #[test]
        fn it_is_a_map(ops in prop::collection::vec((0u16..400, any::<bool>()), 0..900)) {
            let mut model = BTreeMap::new();
            let mut names = Names::default();
            for (n, (name, add)) in ops.into_iter().enumerate() {
                let text = name.to_string().into_bytes();
                let before = names.clone();
                let had = model.clone();
                if !add {
                    prop_assert_eq!(names.remove(&text), model.remove(&text));
                } else if names.edit(&text, |thing| *thing = n).is_some() {
                    prop_assert!(model.insert(text, n).is_some());
                } else {
                    names.insert(text.as_slice().into(), n);
                    prop_assert!(model.insert(text, n).is_none());
                }
                if n % 64 == 0 {
                    let all: Vec<_> = names.iter().map(|(k, v)| (k.to_vec(), *v)).collect();
                    prop_assert_eq!(all, model.clone().into_iter().collect::<Vec<_>>());
                    let all: Vec<_> = before.iter().map(|(k, v)| (k.to_vec(), *v)).collect();
                    prop_assert_eq!(all, had.into_iter().collect::<Vec<_>>());
                }
                prop_assert_eq!(names.len(), model.len());
            }
        }
    }
}

//! All records of a tree: pages in hash order, the records of each as they lie in memory.

use smallvec::SmallVec;

use super::Record;
use super::node::Node;
use super::page::{Page, Records};

/// All records; see the module's text.
#[derive(Clone)]
pub struct Iter<'a, const VALUES: bool> {
    /// The nodes on the way down, each with the child to visit next.
    path: SmallVec<[(&'a Node<VALUES>, usize); 6]>,
    page: Option<Records<'a, VALUES>>,
    left: usize,
}

impl<'a, const VALUES: bool> Iter<'a, VALUES> {
    pub(super) fn new(root: &'a Node<VALUES>, len: usize) -> Self {
        let mut path = SmallVec::new();
        path.push((root, 0));
        Iter {
            path,
            page: None,
            left: len,
        }
    }

    /// The next page in order.
    fn next_page(&mut self) -> Option<&'a Page<VALUES>> {
        loop {
            let (node, next) = self.path.last_mut()?;
            let at = *next;
            *next += 1;
            match node {
                Node::Leaf(slots) => match slots.get(at) {
                    Some(slot) => return Some(&slot.page),
                    None => self.path.pop(),
                },
                Node::Inner(children) => match children.get(at) {
                    Some(child) => {
                        self.path.push((&child.node, 0));
                        continue;
                    }
                    None => self.path.pop(),
                },
            };
        }
    }
}

impl<'a, const VALUES: bool> Iterator for Iter<'a, VALUES> {
    type Item = Record<'a>;

    fn next(&mut self) -> Option<Record<'a>> {
        loop {
            if let Some(record) = self.page.as_mut().and_then(Iterator::next) {
                self.left = self.left.saturating_sub(1);
                return Some(record);
            }
            self.page = Some(self.next_page()?.records());
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl<const VALUES: bool> ExactSizeIterator for Iter<'_, VALUES> {}

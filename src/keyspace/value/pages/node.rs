//! The tree above the pages: nodes of at most 64 children, each with the start of its range.
//!
//! The ranges of a node's children lie side by side and cover the node's own range; the first
//! child starts where the node does. Leaves hold pages, inner nodes hold nodes with the number of
//! records below them. A write makes unique (`Arc::make_mut`) only the nodes on its path.

use std::sync::Arc;

use super::super::packed::Elem;
use super::page::Page;
use super::{Key, SPACE};

/// A node with this many children splits in two.
const FANOUT: usize = 64;

/// A node with fewer children than this looks for a neighbour to merge with.
const FEW: usize = FANOUT / 4;

/// Neighbours with together no more children than this become one node.
const MERGED_MAX: usize = FANOUT * 3 / 4;

#[derive(Clone)]
pub(super) enum Node<const VALUES: bool> {
    Leaf(Vec<Slot<VALUES>>),
    Inner(Vec<Child<VALUES>>),
}

#[derive(Clone)]
pub(super) struct Slot<const VALUES: bool> {
    lo: u64,
    pub page: Page<VALUES>,
}

#[derive(Clone)]
pub(super) struct Child<const VALUES: bool> {
    lo: u64,
    len: usize,
    pub node: Arc<Node<VALUES>>,
}

/// A range of positions, `lo` included, `hi` not.
#[derive(Clone, Copy)]
struct Range {
    lo: u64,
    hi: u64,
}

const WHOLE: Range = Range { lo: 0, hi: SPACE };

/// What has the start of a range.
trait Ranged {
    fn lo(&self) -> u64;
}

impl<const VALUES: bool> Ranged for Slot<VALUES> {
    fn lo(&self) -> u64 {
        self.lo
    }
}

impl<const VALUES: bool> Ranged for Child<VALUES> {
    fn lo(&self) -> u64 {
        self.lo
    }
}

impl Range {
    /// The child whose range holds a position. Positions are uniform: a guess in proportion is
    /// at most a few children off.
    fn locate<T: Ranged>(self, children: &[T], position: u64) -> usize {
        let offset = position.saturating_sub(self.lo);
        let guess = offset * children.len() as u64 / (self.hi - self.lo).max(1);
        let mut at = (guess as usize).min(children.len().saturating_sub(1));
        while children.get(at).is_some_and(|child| child.lo() > position) && at > 0 {
            at -= 1;
        }
        while children
            .get(at + 1)
            .is_some_and(|child| child.lo() <= position)
        {
            at += 1;
        }
        at
    }

    /// The range of a child.
    fn of<T: Ranged>(self, children: &[T], at: usize) -> Range {
        let lo = children.get(at).map_or(self.lo, T::lo);
        Range {
            lo,
            hi: children.get(at + 1).map_or(self.hi, T::lo),
        }
    }
}

/// The second half of a node that split.
struct Sprout<const VALUES: bool> {
    lo: u64,
    node: Arc<Node<VALUES>>,
}

impl<const VALUES: bool> Node<VALUES> {
    /// A leaf with one empty page.
    pub fn new() -> Self {
        Node::Leaf(vec![Slot {
            lo: 0,
            page: Page::new(SPACE),
        }])
    }

    /// Bytes of all pages of a leaf; 0 for an inner node.
    pub fn page_bytes(&self) -> usize {
        match self {
            Node::Leaf(slots) => slots.iter().map(|slot| slot.page.size_bytes()).sum(),
            Node::Inner(_) => 0,
        }
    }

    fn children(&self) -> usize {
        match self {
            Node::Leaf(slots) => slots.len(),
            Node::Inner(children) => children.len(),
        }
    }

    /// Number of records below.
    fn len(&self) -> usize {
        match self {
            Node::Leaf(slots) => slots.iter().map(|slot| slot.page.len()).sum(),
            Node::Inner(children) => children.iter().map(|child| child.len).sum(),
        }
    }

    /// The page whose range holds a position, and that range.
    pub fn page_at(&self, position: u64) -> Option<(&Page<VALUES>, u64, u64)> {
        let mut node = self;
        let mut range = WHOLE;
        loop {
            match node {
                Node::Leaf(slots) => {
                    let at = range.locate(slots, position);
                    let Range { lo, hi } = range.of(slots, at);
                    return slots.get(at).map(|slot| (&slot.page, lo, hi));
                }
                Node::Inner(children) => {
                    let at = range.locate(children, position);
                    range = range.of(children, at);
                    node = &children.get(at)?.node;
                }
            }
        }
    }

    /// The page and the index entry of a key.
    pub fn find(&self, key: &Key<'_>) -> Option<(&Page<VALUES>, usize)> {
        let (page, lo, hi) = self.page_at(key.position)?;
        Some((page, page.find(key, lo, hi).ok()?))
    }

    /// The page and the index entry of the record of that rank.
    pub fn nth(&self, rank: usize) -> Option<(&Page<VALUES>, usize)> {
        let mut node = self;
        let mut rank = rank;
        'down: loop {
            match node {
                Node::Leaf(slots) => {
                    for slot in slots {
                        if rank < slot.page.len() {
                            return Some((&slot.page, rank));
                        }
                        rank -= slot.page.len();
                    }
                    return None;
                }
                Node::Inner(children) => {
                    for child in children {
                        if rank < child.len {
                            node = &child.node;
                            continue 'down;
                        }
                        rank -= child.len;
                    }
                    return None;
                }
            }
        }
    }

    /// Sets a key's value under a root, which grows by a level when it is full; true if the key is
    /// new. `bytes` follows the bytes of the pages.
    pub fn upsert_root(
        root: &mut Arc<Self>,
        key: &Key<'_>,
        value: Elem<'_>,
        bytes: &mut usize,
    ) -> bool {
        let (created, sprout) = Arc::make_mut(root).upsert(WHOLE, key, value, bytes);
        if let Some(Sprout { lo, node }) = sprout {
            let first = Child {
                lo: 0,
                len: root.len(),
                node: Arc::clone(root),
            };
            let second = Child {
                lo,
                len: node.len(),
                node,
            };
            *root = Arc::new(Node::Inner(vec![first, second]));
        }
        created
    }

    fn upsert(
        &mut self,
        range: Range,
        key: &Key<'_>,
        value: Elem<'_>,
        bytes: &mut usize,
    ) -> (bool, Option<Sprout<VALUES>>) {
        let created = match self {
            Node::Leaf(slots) => upsert_page(slots, range, key, value, bytes),
            Node::Inner(children) => {
                let at = range.locate(children, key.position);
                let below = range.of(children, at);
                let Some(child) = children.get_mut(at) else {
                    return (false, None);
                };
                let (created, sprout) =
                    Arc::make_mut(&mut child.node).upsert(below, key, value, bytes);
                child.len += usize::from(created);
                if let Some(Sprout { lo, node }) = sprout {
                    let len = node.len();
                    child.len -= len;
                    children.insert(at + 1, Child { lo, len, node });
                }
                created
            }
        };
        (created, self.split())
    }

    fn split(&mut self) -> Option<Sprout<VALUES>> {
        if self.children() < FANOUT {
            return None;
        }
        let (lo, node) = match self {
            Node::Leaf(slots) => {
                let right = slots.split_off(FANOUT / 2);
                (right.first()?.lo, Node::Leaf(right))
            }
            Node::Inner(children) => {
                let right = children.split_off(FANOUT / 2);
                (right.first()?.lo, Node::Inner(right))
            }
        };
        Some(Sprout {
            lo,
            node: Arc::new(node),
        })
    }

    /// Removes a key under a root, which shrinks by a level when it has one child left.
    pub fn remove_root(root: &mut Arc<Self>, key: &Key<'_>, bytes: &mut usize) -> bool {
        let removed = Arc::make_mut(root).remove(WHOLE, key, bytes);
        while let Node::Inner(children) = &**root
            && let [only] = children.as_slice()
        {
            *root = Arc::clone(&only.node);
        }
        removed
    }

    fn remove(&mut self, range: Range, key: &Key<'_>, bytes: &mut usize) -> bool {
        match self {
            Node::Leaf(slots) => remove_from_page(slots, range, key, bytes),
            Node::Inner(children) => {
                let at = range.locate(children, key.position);
                let below = range.of(children, at);
                let Some(child) = children.get_mut(at) else {
                    return false;
                };
                let node = Arc::make_mut(&mut child.node);
                let removed = node.remove(below, key, bytes);
                child.len -= usize::from(removed);
                if node.children() < FEW {
                    merge_child(children, at);
                }
                removed
            }
        }
    }

    /// Takes over the children of the neighbour to the right.
    fn absorb(&mut self, right: &Self) {
        match (self, right) {
            (Node::Leaf(left), Node::Leaf(right)) => left.extend_from_slice(right),
            (Node::Inner(left), Node::Inner(right)) => left.extend_from_slice(right),
            // All leaves are at one depth, so neighbours are of one kind.
            _ => {}
        }
    }
}

fn upsert_page<const VALUES: bool>(
    slots: &mut Vec<Slot<VALUES>>,
    range: Range,
    key: &Key<'_>,
    value: Elem<'_>,
    bytes: &mut usize,
) -> bool {
    let at = range.locate(slots, key.position);
    let Range { lo, hi } = range.of(slots, at);
    let Some(Slot { page, .. }) = slots.get_mut(at) else {
        return false;
    };
    let before = page.size_bytes();
    let found = page.find(key, lo, hi);
    match found {
        Ok(entry) if VALUES => page.set_value(entry, value),
        Ok(_) => return false,
        Err(entry) => page.insert(entry, key, value, lo),
    }
    let mut after = page.size_bytes();
    if page.is_full()
        && let Some((left, start, right)) = page.split(lo, hi)
    {
        after = left.size_bytes() + right.size_bytes();
        *page = left;
        slots.insert(
            at + 1,
            Slot {
                lo: start,
                page: right,
            },
        );
    }
    *bytes = *bytes + after - before;
    found.is_err()
}

fn remove_from_page<const VALUES: bool>(
    slots: &mut Vec<Slot<VALUES>>,
    range: Range,
    key: &Key<'_>,
    bytes: &mut usize,
) -> bool {
    let at = range.locate(slots, key.position);
    let Range { lo, hi } = range.of(slots, at);
    let Some(Slot { page, .. }) = slots.get_mut(at) else {
        return false;
    };
    let Ok(entry) = page.find(key, lo, hi) else {
        return false;
    };
    let before = page.size_bytes();
    page.remove(entry);
    *bytes = *bytes + page.size_bytes() - before;
    if page.is_sparse() {
        for left in [Some(at), at.checked_sub(1)].into_iter().flatten() {
            let whole = Range {
                lo: range.of(slots, left).lo,
                hi: range.of(slots, left + 1).hi,
            };
            let Some([a, b]) = slots.get(left..left + 2) else {
                continue;
            };
            if !a.page.may_merge(&b.page) {
                continue;
            }
            let merged = a.page.merge(&b.page, whole.lo, whole.hi);
            let before = a.page.size_bytes() + b.page.size_bytes();
            *bytes = *bytes + merged.size_bytes() - before;
            slots.remove(left + 1);
            if let Some(slot) = slots.get_mut(left) {
                slot.page = merged;
            }
            break;
        }
    }
    true
}

/// Merges the child at `at` with a neighbour, if the two fit in one node.
fn merge_child<const VALUES: bool>(children: &mut Vec<Child<VALUES>>, at: usize) {
    for left in [Some(at), at.checked_sub(1)].into_iter().flatten() {
        let Some([a, b]) = children.get_mut(left..left + 2) else {
            continue;
        };
        if a.node.children() + b.node.children() > MERGED_MAX {
            continue;
        }
        Arc::make_mut(&mut a.node).absorb(&b.node);
        a.len += b.len;
        children.remove(left + 1);
        return;
    }
}

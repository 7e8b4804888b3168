//! The tree above the pages: nodes of at most 64 children, each with the start of its range.
//!
//! The ranges of a node's children lie side by side and cover the node's own range; the first
//! child starts where the node does. Leaves hold pages, inner nodes hold nodes with the number of
//! records below them and their earliest expiry. A write makes unique (`Arc::make_mut`) only the
//! nodes on its path.

use std::sync::Arc;

use super::page::Page;
use super::{Edit, Key, Lifetime, NEVER, Record, SPACE};

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
    /// The earliest expiry among the records below, [`NEVER`] if none has one.
    earliest: i64,
    pub node: Arc<Node<VALUES>>,
}

/// A range of positions, `lo` included, `hi` not.
#[derive(Clone, Copy)]
struct Range {
    lo: u64,
    hi: u64,
}

const WHOLE: Range = Range { lo: 0, hi: SPACE };

impl<const VALUES: bool> Child<VALUES> {
    fn new(lo: u64, node: Arc<Node<VALUES>>) -> Self {
        Child {
            lo,
            len: node.len(),
            earliest: node.earliest(),
            node,
        }
    }
}

/// What became of a record.
#[derive(Clone, Copy, Default)]
pub(super) struct Edited {
    /// It was not there before.
    pub created: bool,
    /// The expiry it had.
    pub before: Option<i64>,
    /// The expiry it has.
    pub after: Option<i64>,
}

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

    /// The earliest expiry among the records below, [`NEVER`] if none has one.
    pub fn earliest(&self) -> i64 {
        let first = match self {
            Node::Leaf(slots) => slots.iter().map(|slot| slot.page.earliest()).min(),
            Node::Inner(children) => children.iter().map(|child| child.earliest).min(),
        };
        first.unwrap_or(NEVER)
    }

    /// Hands the records that are due at `now_ms` on to `each` until it says `false`.
    pub fn due<'a>(&'a self, now_ms: i64, each: &mut impl FnMut(Record<'a>) -> bool) -> bool {
        match self {
            Node::Leaf(slots) => {
                let due = slots.iter().filter(|slot| slot.page.earliest() <= now_ms);
                let mut records = due.flat_map(|Slot { page, .. }| {
                    let due = move |at: &usize| page.expiry(*at).is_some_and(|ms| ms <= now_ms);
                    let entries = (0..page.len()).filter(due);
                    entries.filter_map(|at| page.record(at))
                });
                records.all(each)
            }
            Node::Inner(children) => {
                let mut due = children.iter().filter(|child| child.earliest <= now_ms);
                due.all(|child| child.node.due(now_ms, each))
            }
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

    /// Edits the record of a key under a root, which grows by a level when it is full. `bytes`
    /// follows the bytes of the pages.
    pub fn edit_root(
        root: &mut Arc<Self>,
        key: &Key<'_>,
        edit: Edit<'_>,
        bytes: &mut usize,
    ) -> Edited {
        let (edited, sprout) = Arc::make_mut(root).edit(WHOLE, key, edit, bytes);
        if let Some(Sprout { lo, node }) = sprout {
            let first = Child::new(0, Arc::clone(root));
            let second = Child::new(lo, node);
            *root = Arc::new(Node::Inner(vec![first, second]));
        }
        edited
    }

    fn edit(
        &mut self,
        range: Range,
        key: &Key<'_>,
        edit: Edit<'_>,
        bytes: &mut usize,
    ) -> (Edited, Option<Sprout<VALUES>>) {
        let edited = match self {
            Node::Leaf(slots) => edit_page(slots, range, key, edit, bytes),
            Node::Inner(children) => {
                let at = range.locate(children, key.position);
                let below = range.of(children, at);
                let Some(child) = children.get_mut(at) else {
                    return (Edited::default(), None);
                };
                let node = Arc::make_mut(&mut child.node);
                let (edited, sprout) = node.edit(below, key, edit, bytes);
                child.len += usize::from(edited.created);
                if edited.before != edited.after || sprout.is_some() {
                    child.earliest = node.earliest();
                }
                if let Some(Sprout { lo, node }) = sprout {
                    let second = Child::new(lo, node);
                    child.len -= second.len;
                    children.insert(at + 1, second);
                }
                edited
            }
        };
        (edited, self.split())
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

    /// Removes a key under a root, which shrinks by a level when it has one child left. The expiry
    /// that the record had, `None` if there was none such.
    pub fn remove_root(
        root: &mut Arc<Self>,
        key: &Key<'_>,
        bytes: &mut usize,
    ) -> Option<Option<i64>> {
        let removed = Arc::make_mut(root).remove(WHOLE, key, bytes);
        while let Node::Inner(children) = &**root
            && let [only] = children.as_slice()
        {
            *root = Arc::clone(&only.node);
        }
        removed
    }

    fn remove(&mut self, range: Range, key: &Key<'_>, bytes: &mut usize) -> Option<Option<i64>> {
        match self {
            Node::Leaf(slots) => remove_from_page(slots, range, key, bytes),
            Node::Inner(children) => {
                let at = range.locate(children, key.position);
                let below = range.of(children, at);
                let child = children.get_mut(at)?;
                let node = Arc::make_mut(&mut child.node);
                let removed = node.remove(below, key, bytes)?;
                child.len -= 1;
                if removed.is_some() {
                    child.earliest = node.earliest();
                }
                if node.children() < FEW {
                    merge_child(children, at);
                }
                Some(removed)
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

fn edit_page<const VALUES: bool>(
    slots: &mut Vec<Slot<VALUES>>,
    range: Range,
    key: &Key<'_>,
    edit: Edit<'_>,
    bytes: &mut usize,
) -> Edited {
    let at = range.locate(slots, key.position);
    let Range { lo, hi } = range.of(slots, at);
    let Some(Slot { page, .. }) = slots.get_mut(at) else {
        return Edited::default();
    };
    let bytes_before = page.size_bytes();
    let found = page.find(key, lo, hi);
    let before = match found {
        Ok(entry) if VALUES => page.expiry(entry),
        _ => None,
    };
    let after = match edit {
        Edit::Value(_, Lifetime::Kept) => before,
        Edit::Value(_, Lifetime::Until(at_ms)) | Edit::Expiry(Some(at_ms)) => Some(at_ms),
        Edit::Value(_, Lifetime::Endless) | Edit::Expiry(None) => None,
    };
    match (found, edit) {
        (Ok(entry), Edit::Value(value, _)) if VALUES => page.set_value(entry, value, after),
        (Ok(entry), Edit::Expiry(_)) if VALUES => page.set_expiry(entry, after),
        (Err(entry), Edit::Value(value, _)) => page.insert(entry, key, (value, after), lo),
        _ => return Edited::default(),
    }
    let mut bytes_after = page.size_bytes();
    if page.is_full()
        && let Some((left, start, right)) = page.split(lo, hi)
    {
        bytes_after = left.size_bytes() + right.size_bytes();
        *page = left;
        slots.insert(
            at + 1,
            Slot {
                lo: start,
                page: right,
            },
        );
    }
    *bytes = *bytes + bytes_after - bytes_before;
    Edited {
        created: found.is_err(),
        before,
        after,
    }
}

fn remove_from_page<const VALUES: bool>(
    slots: &mut Vec<Slot<VALUES>>,
    range: Range,
    key: &Key<'_>,
    bytes: &mut usize,
) -> Option<Option<i64>> {
    let at = range.locate(slots, key.position);
    let Range { lo, hi } = range.of(slots, at);
    let Slot { page, .. } = slots.get_mut(at)?;
    let entry = page.find(key, lo, hi).ok()?;
    let expiry = if VALUES { page.expiry(entry) } else { None };
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
    Some(expiry)
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
        a.earliest = a.earliest.min(b.earliest);
        children.remove(left + 1);
        return;
    }
}

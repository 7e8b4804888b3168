//! A list's node: packed elements, or one large element on its own.

use std::sync::atomic::{AtomicUsize, Ordering};

use triomphe::ThinArc;

use super::super::btree::Level;
use super::super::packed::{Elem, size_class};
use super::entry::{Entry, LISTPACK_FRAME};
use super::listpack::Listpack;
use super::squeezed::{MIN_BYTES, Squeezed, squeezed};
use super::{End, ListLimits};

/// What a packed node's allocation holds beside its entries.
const NODE_OVERHEAD: usize = 16;

/// The longest node that a size limit may name.
const LARGEST_NODE: usize = 64 << 10;

/// The size limit that applies beside a limit by count.
const SAFE_NODE: usize = 8 << 10;

/// Bytes from which on an element gets a node of its own, for tests; 0: as the limits say.
static PLAIN_FROM: AtomicUsize = AtomicUsize::new(0);

/// `DEBUG QUICKLIST-PACKED-THRESHOLD`
pub(super) fn set_plain_from(bytes: usize) {
    PLAIN_FROM.store(bytes, Ordering::Relaxed);
}

impl ListLimits {
    /// Bytes of a node.
    fn bytes(self) -> usize {
        match self.max_listpack_size {
            size @ ..=-1 => {
                let doublings = size.unsigned_abs().saturating_sub(1).min(4);
                (4096 << doublings).min(LARGEST_NODE)
            }
            _ => SAFE_NODE,
        }
    }

    /// Elements of a node.
    fn count(self) -> usize {
        match self.max_listpack_size {
            ..=-1 => usize::MAX,
            count => count.max(1) as usize,
        }
    }

    /// Whether a listpack of `size` bytes of entries and `count` elements is too much for one node.
    pub(super) fn exceeded(self, size: usize, count: usize) -> bool {
        size.saturating_add(LISTPACK_FRAME) > self.bytes() || count > self.count()
    }

    /// Whether a list that shrank to this one node becomes a plain listpack again: at half of the
    /// limit, so that a list on the edge does not change its form with every command.
    pub(super) fn small_again(self, size: usize, count: usize) -> bool {
        size + LISTPACK_FRAME <= self.bytes() / 2 && count <= self.count() / 2
    }

    /// Whether an element gets a node of its own.
    fn is_plain(self, entry: &Entry<'_>) -> bool {
        match PLAIN_FROM.load(Ordering::Relaxed) {
            0 => entry.size() + NODE_OVERHEAD > self.bytes(),
            from => entry.size() >= from,
        }
    }

    /// Whether the node takes the element too.
    fn has_room(self, node: &Listpack, entry: &Entry<'_>) -> bool {
        node.size() + entry.size() + NODE_OVERHEAD <= self.bytes() && node.count() < self.count()
    }
}

/// Bytes on their own. One word, so that a handle of a node takes two: a list of small elements has
/// one for every few hundred.
pub(super) type SharedBytes = ThinArc<(), u8>;

pub(super) fn shared(bytes: &[u8]) -> SharedBytes {
    ThinArc::from_header_and_slice((), bytes)
}

/// One leaf of a large list. A clone shares.
#[derive(Clone)]
pub(super) enum Node {
    Packed(Listpack),
    /// An element too long to be moved about with others.
    Plain(SharedBytes),
    /// An inner node, compressed; never at the ends, and opened to be edited.
    Squeezed(Squeezed),
}

/// The bottom level of a list's tree.
pub(super) type Bottom = Level<(), Node>;

impl Node {
    pub(super) fn alone(limits: ListLimits, value: Elem<'_>) -> Node {
        let entry = Entry::new(value);
        match value {
            Elem::Bytes(bytes) if limits.is_plain(&entry) => Node::Plain(shared(bytes)),
            _ => {
                let mut node = Listpack::default();
                node.push_back(&entry);
                Node::Packed(node)
            }
        }
    }

    pub(super) fn count(&self) -> usize {
        match self {
            Node::Packed(node) => node.count(),
            Node::Plain(_) => 1,
            Node::Squeezed(node) => node.count(),
        }
    }

    /// Whether it is long enough to be compressed, and is not.
    pub(super) fn is_open(&self) -> bool {
        !matches!(self, Node::Squeezed(_)) && self.open_size() >= MIN_BYTES
    }

    /// Bytes of its content when it is not compressed.
    pub(super) fn open_size(&self) -> usize {
        match self {
            Node::Packed(node) => node.size(),
            Node::Plain(bytes) => bytes.slice.len(),
            Node::Squeezed(node) => node.size(),
        }
    }

    /// Gives the element at `index` to `show`.
    pub(super) fn show<R>(&self, index: usize, show: impl FnOnce(Elem<'_>) -> R) -> Option<R> {
        match self {
            Node::Packed(node) => node.get(index).map(show),
            Node::Plain(bytes) => (index == 0).then(|| show(Elem::Bytes(&bytes.slice))),
            Node::Squeezed(node) => match node.open() {
                Node::Packed(node) => node.get(index).map(show),
                Node::Plain(bytes) => (index == 0).then(|| show(Elem::Bytes(&bytes.slice))),
                Node::Squeezed(_) => None,
            },
        }
    }

    /// Shows the elements from `from` to before `to`, in the order that begins at `end`.
    pub(super) fn visit(&self, from: usize, to: usize, end: End, each: &mut impl FnMut(Elem<'_>)) {
        match self {
            Node::Packed(node) => node.visit(from, to, end, each),
            Node::Plain(bytes) if from < to => each(Elem::Bytes(&bytes.slice)),
            Node::Plain(_) => {}
            Node::Squeezed(node) if from < to => node.open().visit(from, to, end, each),
            Node::Squeezed(_) => {}
        }
    }

    /// Indexes of the elements equal to `entry`, ascending.
    pub(super) fn matches(&self, entry: &Entry<'_>, each: &mut impl FnMut(usize)) {
        match self {
            Node::Packed(node) => node.matches(entry, each),
            Node::Squeezed(node) => node.open().matches(entry, each),
            Node::Plain(bytes) => {
                if entry.is_text(&bytes.slice) {
                    each(0);
                }
            }
        }
    }

    pub(super) fn alloc_bytes(&self) -> usize {
        match self {
            Node::Packed(node) => node.alloc_bytes(),
            Node::Plain(bytes) => size_class(bytes.slice.len() + 16),
            Node::Squeezed(node) => node.alloc_bytes(),
        }
    }
}

/// Opens leaf `i`, if it is compressed.
pub(super) fn open(level: &mut Bottom, i: usize) {
    if let Some(Node::Squeezed(node)) = level.leaf(i) {
        let open = node.open();
        if let Some(leaf) = level.leaf_mut(i) {
            *leaf = open;
        }
    }
}

/// Compresses leaf `i`, if it is long enough.
pub(super) fn squeeze(level: &mut Bottom, i: usize) {
    if let Some(node) = level.leaf(i).and_then(squeezed)
        && let Some(leaf) = level.leaf_mut(i)
    {
        *leaf = node;
    }
}

/// Adds values at one end of a list whose end leaf is `i` of `level`: as many as that leaf and
/// one new leaf take. Returns how many; always at least one of a non-empty sequence.
pub(super) fn extend(
    level: &mut Bottom,
    i: usize,
    limits: ListLimits,
    end: End,
    values: &[&[u8]],
) -> usize {
    open(level, i);
    let mut values = values.iter();
    let total = values.len();
    let mut fill = |node: &mut Listpack| {
        while let Some(value) = values.as_slice().first() {
            let entry = Entry::new(Elem::Bytes(value));
            if limits.is_plain(&entry) || !limits.has_room(node, &entry) {
                break;
            }
            node.push(end, &entry);
            values.next();
        }
        node.count() as u64
    };
    if let Some(Node::Packed(node)) = level.leaf_mut(i) {
        let count = fill(node);
        level.set_count(i, count);
    }
    let at = if end == End::Head { 0 } else { level.len() };
    let mut node = Listpack::default();
    let count = fill(&mut node);
    if count > 0 {
        level.insert_leaf(at, (), Node::Packed(node), count);
    } else if let Some(value) = values.next() {
        level.insert_leaf(at, (), Node::alone(limits, Elem::Bytes(value)), 1);
    }
    total - values.len()
}

/// Inserts a value in front of element `at` of leaf `i`, which may be one past its last.
pub(super) fn insert(level: &mut Bottom, i: usize, at: usize, limits: ListLimits, value: &[u8]) {
    open(level, i);
    let entry = Entry::new(Elem::Bytes(value));
    let count = level.leaf(i).map_or(0, Node::count);
    let takes = |level: &mut Bottom, i: usize| match level.leaf(i) {
        Some(Node::Packed(node)) => !limits.is_plain(&entry) && limits.has_room(node, &entry),
        _ => false,
    };
    if takes(level, i) {
        if let Some(Node::Packed(node)) = level.leaf_mut(i)
            && let Some(offset) = node.offset_of(at)
        {
            node.insert(offset, &entry);
        }
        return level.set_count(i, count as u64 + 1);
    }
    if at == 0 || at >= count {
        // Between two leaves: the neighbour's free end, or a leaf of its own.
        let (place, neighbour, end) = match at {
            0 => (i, i.checked_sub(1), End::Tail),
            _ => ((i + 1).min(level.len()), Some(i + 1), End::Head),
        };
        if let Some(neighbour) = neighbour {
            open(level, neighbour);
        }
        if let Some(neighbour) = neighbour
            && takes(level, neighbour)
            && let Some(Node::Packed(node)) = level.leaf_mut(neighbour)
        {
            node.push(end, &entry);
            let count = node.count() as u64;
            return level.set_count(neighbour, count);
        }
        return level.insert_leaf(place, (), Node::alone(limits, Elem::Bytes(value)), 1);
    }
    let cut = if limits.is_plain(&entry) {
        at
    } else {
        count / 2
    };
    split(level, i, cut);
    if at <= cut {
        insert(level, i, at, limits, value);
    } else {
        insert(level, i + 1, at - cut, limits, value);
    }
}

/// Splits leaf `i` in front of its element `cut`, which is not its first.
fn split(level: &mut Bottom, i: usize, cut: usize) {
    let Some(Node::Packed(node)) = level.leaf_mut(i) else {
        return;
    };
    let Some(offset) = node.offset_of(cut) else {
        return;
    };
    let right = node.split_off(offset, cut);
    let (kept, moved) = (node.count() as u64, right.count() as u64);
    level.set_count(i, kept);
    level.insert_leaf(i + 1, (), Node::Packed(right), moved);
}

/// Replaces element `at` of leaf `i`.
pub(super) fn replace(level: &mut Bottom, i: usize, at: usize, limits: ListLimits, value: &[u8]) {
    open(level, i);
    let entry = Entry::new(Elem::Bytes(value));
    match level.leaf_mut(i) {
        Some(Node::Packed(node)) => {
            let Some(offset) = node.offset_of(at) else {
                return;
            };
            let new_size = node.size() + entry.size() - node.size_of_entry(offset);
            let is_alone = node.count() == 1 && !limits.is_plain(&entry);
            if is_alone || !limits.exceeded(new_size, node.count()) {
                return node.replace(offset, &entry);
            }
        }
        Some(node @ (Node::Plain(_) | Node::Squeezed(_))) => {
            *node = Node::alone(limits, Elem::Bytes(value));
            return;
        }
        None => return,
    }
    if let Some(node) = level.leaf(i)
        && node.count() == 1
    {
        if let Some(node) = level.leaf_mut(i) {
            *node = Node::alone(limits, Elem::Bytes(value));
        }
        return;
    }
    remove(level, i, at, 1);
    insert(level, i, at, limits, value);
}

/// Removes `count` elements of leaf `i` from `at` on, and the leaf with its last element.
pub(super) fn remove(level: &mut Bottom, i: usize, at: usize, count: usize) {
    if level.leaf(i).is_some_and(|leaf| leaf.count() > count) {
        open(level, i);
    }
    let Some(leaf) = level.leaf_mut(i) else {
        return;
    };
    let left = leaf.count().saturating_sub(count);
    match leaf {
        Node::Packed(node) if left > 0 => {
            node.remove_range(at, count);
            level.set_count(i, left as u64);
        }
        _ => {
            level.remove_leaf(i);
        }
    }
}

/// Takes the elements equal to `entry` out of leaf `i`: those of the matches that `range` names,
/// counted from the leaf's first.
pub(super) fn remove_matches(
    level: &mut Bottom,
    i: usize,
    entry: &Entry<'_>,
    range: std::ops::Range<usize>,
) {
    open(level, i);
    let Some(leaf) = level.leaf_mut(i) else {
        return;
    };
    let left = leaf.count().saturating_sub(range.len());
    match leaf {
        Node::Packed(node) if left > 0 => {
            *node = node.without(entry, range);
            level.set_count(i, left as u64);
        }
        _ => {
            level.remove_leaf(i);
        }
    }
}

/// Joins leaf `i`, if it became small, with a neighbour that leaves room to grow.
pub(super) fn join_small(level: &mut Bottom, i: usize, limits: ListLimits) {
    let most = limits.bytes() / 4 * 3;
    let weight = |level: &Bottom, i: usize| match level.leaf(i) {
        Some(Node::Packed(node)) => Some((node.size() + NODE_OVERHEAD, node.count())),
        _ => None,
    };
    let Some((size, count)) = weight(level, i) else {
        return;
    };
    if size > limits.bytes() / 4 {
        return;
    }
    let fits = |other: Option<(usize, usize)>| {
        other.is_some_and(|(bytes, n)| bytes + size <= most && n + count <= limits.count())
    };
    let left = if fits(weight(level, i + 1)) {
        i
    } else if i > 0 && fits(weight(level, i - 1)) {
        i - 1
    } else {
        return;
    };
    let moved = level.count(left + 1);
    if let Some(Node::Packed(right)) = level.remove_leaf(left + 1)
        && let Some(Node::Packed(node)) = level.leaf_mut(left)
    {
        node.append(&right);
        let count = level.count(left) + moved;
        level.set_count(left, count);
    }
}

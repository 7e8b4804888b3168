//! The inner nodes of a list, compressed (`list-compress-depth`).
//!
//! With a depth of N the first and the last N nodes are as they are, and those between them are
//! kept as LZF streams, as in Redis. Nodes are read through a copy that is thrown away, and are
//! opened to be edited; [`List::compress`] behind an edit puts in order what is near the ends and
//! around the place that was edited, and looks no further.
//!
//! ```text
//!   size u32 | count u32 | payload
//! ```
//! `size` is that of the node's bytes: listpack entries, or one large element if `count` is 0. A
//! payload of that very size is the bytes themselves: they would not shrink, and are not tried
//! again.

use smallvec::SmallVec;

use super::super::btree::{At, First, Last, Tree};
use super::super::packed::size_class;
use super::listpack::Listpack;
use super::node::{self, Node, SharedBytes, shared};
use super::{List, ListLimits, Repr};
use crate::base::lzf;

/// Shorter nodes are left alone.
pub(super) const MIN_BYTES: usize = 48;
/// What compression must save to be worth it.
const MIN_SAVING: usize = 8;
const HEADER: usize = 8;

/// A compressed node.
#[derive(Clone)]
pub(super) struct Squeezed(SharedBytes);

impl Squeezed {
    /// Compresses a node that is long enough.
    fn of(node: &Node) -> Option<Squeezed> {
        let (bytes, count) = match node {
            Node::Packed(node) => (node.entries(), node.count()),
            Node::Plain(bytes) => (&bytes.slice, 0),
            Node::Squeezed(_) => return None,
        };
        let (size, count) = (u32::try_from(bytes.len()), u32::try_from(count));
        let (Ok(size), Ok(count)) = (size, count) else {
            return None;
        };
        if bytes.len() < MIN_BYTES {
            return None;
        }
        let mut out = Vec::with_capacity(HEADER + bytes.len());
        out.extend_from_slice(&size.to_le_bytes());
        out.extend_from_slice(&count.to_le_bytes());
        let shrunk = lzf::with_own(|c| c.compress(bytes, MIN_SAVING, &mut out));
        if !shrunk {
            out.extend_from_slice(bytes);
        }
        Some(Squeezed(shared(&out)))
    }

    fn field(&self, at: usize) -> usize {
        let bytes = self.0.slice.get(at..).and_then(<[u8]>::first_chunk);
        bytes.map_or(0, |b| u32::from_le_bytes(*b) as usize)
    }

    /// Number of elements.
    pub(super) fn count(&self) -> usize {
        self.field(4).max(1)
    }

    /// Bytes of the node when it is open.
    pub(super) fn size(&self) -> usize {
        self.field(0)
    }

    /// The node.
    pub(super) fn open(&self) -> Node {
        let (size, count) = (self.field(0), self.field(4));
        let payload = self.0.slice.get(HEADER..).unwrap_or_default();
        let mut bytes = Vec::new();
        let bytes: &[u8] = if payload.len() == size {
            payload
        } else {
            bytes.reserve_exact(size);
            let whole = lzf::decompress(payload, size, &mut bytes);
            debug_assert!(whole.is_some(), "we compressed it ourselves");
            &bytes
        };
        match count {
            0 => Node::Plain(shared(bytes)),
            count => Node::Packed(Listpack::of_entries(bytes, count)),
        }
    }

    pub(super) fn alloc_bytes(&self) -> usize {
        size_class(self.0.slice.len() + 16)
    }
}

/// What a look at the nodes found to be wrong: the index of a node's first element, and whether
/// it is to be compressed or opened.
type Wrong = SmallVec<[(u64, bool); 8]>;

impl List {
    /// Compresses and opens nodes, after an edit at one of the ends or `around` an index.
    pub(super) fn compress(&mut self, limits: ListLimits, around: Option<usize>) {
        if let Repr::Large(tree) = &mut self.repr
            && limits.compress_depth > 0
        {
            settle(tree, limits.compress_depth as usize, around);
        }
    }
    /// As [`List::compress`], with a look at every node.
    pub(super) fn compress_all(&mut self, limits: ListLimits) {
        let depth = limits.compress_depth as usize;
        self.compress(limits, None);
        let Repr::Large(tree) = &mut self.repr else {
            return;
        };
        if depth == 0 || tree.leaves_up_to(depth.saturating_mul(2)).is_some() {
            return;
        }
        let mut open = Vec::new();
        let (mut walk, mut start) = (tree.walk(&mut First), 0);
        while let Some(node) = walk.current() {
            open.push((start, node.is_open()));
            start += node.count() as u64;
            walk.forward();
        }
        drop(walk);
        let inner = open.len().saturating_sub(depth.saturating_mul(2));
        for (start, is_open) in open.into_iter().skip(depth).take(inner) {
            if is_open {
                tree.edit(&mut At(start), node::squeeze);
            }
        }
    }

    /// Nodes, those that are compressed, and the bytes of all of them when they are open.
    pub fn compression(&self) -> (usize, usize, usize) {
        let Repr::Large(tree) = &self.repr else {
            return (1, 0, 0);
        };
        let (mut nodes, mut squeezed, mut size) = (0, 0, 0);
        let mut walk = tree.walk(&mut First);
        while let Some(node) = walk.current() {
            nodes += 1;
            size += node.open_size();
            squeezed += usize::from(matches!(node, Node::Squeezed(_)));
            walk.forward();
        }
        (nodes, squeezed, size)
    }
}

/// See [`List::compress`].
pub(super) fn settle(tree: &mut Tree<(), Node>, depth: usize, around: Option<usize>) {
    let mut wrong = Wrong::new();
    if tree.leaves_up_to(depth.saturating_mul(2)).is_some() {
        let (mut walk, mut start) = (tree.walk(&mut First), 0);
        while let Some(node) = walk.current() {
            if matches!(node, Node::Squeezed(_)) {
                wrong.push((start, false));
            }
            start += node.count() as u64;
            walk.forward();
        }
    } else {
        let mut note = |start: u64, node: &Node, inner: bool| {
            if inner == node.is_open() {
                wrong.push((start, inner));
            }
        };
        let (mut walk, mut start) = (tree.walk(&mut First), 0);
        for i in 0..=depth {
            let Some(node) = walk.current() else { break };
            note(start, node, i == depth);
            start += if i < depth { node.count() as u64 } else { 0 };
            walk.forward();
        }
        let inner_from = start;
        let (mut walk, mut end) = (tree.walk(&mut Last), tree.len());
        for i in 0..=depth {
            let Some(node) = walk.current() else { break };
            note(end - node.count() as u64, node, i == depth);
            end -= if i < depth { node.count() as u64 } else { 0 };
            walk.backward();
        }
        let inner = inner_from..end;
        if let Some(index) = around.map(|i| (i as u64).min(tree.len().saturating_sub(1))) {
            // The node itself, and those that a split or a leaf of its own put beside it.
            let mut at = At(index);
            let mut walk = tree.walk(&mut at);
            let mut start = index - at.0;
            for _ in 0..2 {
                walk.backward();
                let Some(node) = walk.current() else { break };
                start -= node.count() as u64;
            }
            let mut walk = tree.walk(&mut At(start));
            for _ in 0..5 {
                let Some(node) = walk.current() else { break };
                let end = start + node.count() as u64;
                if inner.contains(&start) && end <= inner.end {
                    note(start, node, true);
                }
                start = end;
                walk.forward();
            }
        }
    }
    for (start, inner) in wrong {
        tree.edit(&mut At(start), |level, i| {
            if inner {
                node::squeeze(level, i);
            } else {
                node::open(level, i);
            }
        });
    }
}

/// Compresses a node, if it is long enough.
pub(super) fn squeezed(node: &Node) -> Option<Node> {
    Squeezed::of(node).map(Node::Squeezed)
}

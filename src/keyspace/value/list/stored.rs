//! How a list is stored: node by node, as a snapshot writes it and a loader brings it back.

use super::super::btree::{First, Last};
use super::entry::{check_entries, read, span};
use super::listpack::Listpack;
use super::node::Node;
use super::{End, List, ListLimits, Repr};

/// A node as it is stored; see [`List::nodes`].
#[derive(Clone, Copy, Debug)]
pub enum NodeView<'a> {
    /// Listpack entries without the listpack's header and end byte.
    Packed {
        /// The entries.
        entries: &'a [u8],
        /// How many there are.
        count: usize,
    },
    /// One large element.
    Plain(&'a [u8]),
}

impl List {
    /// Shows the nodes as they are stored, for an RDB file.
    pub fn nodes(&self, mut each: impl FnMut(NodeView<'_>)) {
        let mut show = |node: &Node| {
            let opened;
            let node = match node {
                Node::Squeezed(node) => {
                    opened = node.open();
                    &opened
                }
                open => open,
            };
            match node {
                Node::Packed(node) => {
                    each(NodeView::Packed {
                        entries: node.entries(),
                        count: node.count(),
                    });
                }
                Node::Plain(bytes) => each(NodeView::Plain(&bytes.slice)),
                Node::Squeezed(_) => {}
            }
        };
        match &self.repr {
            Repr::Small(node) => show(&Node::Packed(node.clone())),
            Repr::Large(tree) => {
                let mut walk = tree.walk(&mut First);
                while let Some(node) = walk.current() {
                    show(node);
                    walk.forward();
                }
            }
        }
    }

    /// Appends the entries of a listpack (without its header and end byte) that comes from a file
    /// or a client; `None`, with nothing appended, when they are not sound. Small and canonical
    /// sequences become a node as they are. [`List::settle`] ends a series of these.
    pub fn append_entries(&mut self, limits: ListLimits, entries: &[u8]) -> Option<()> {
        let checked = check_entries(entries)?;
        if !checked.canonical || limits.exceeded(entries.len(), checked.count) {
            let mut rest = entries;
            while let Some(elem) = read(rest) {
                self.push(
                    limits,
                    End::Tail,
                    &[elem.to_bytes(&mut itoa::Buffer::new())],
                );
                rest = span(rest)
                    .and_then(|span| rest.get(span..))
                    .unwrap_or_default();
            }
            return Some(());
        }
        if checked.count > 0 {
            let node = Listpack::of_entries(entries, checked.count);
            match &mut self.repr {
                Repr::Small(own) if own.count() == 0 => *own = node,
                _ => {
                    self.become_large();
                    if let Repr::Large(tree) = &mut self.repr {
                        tree.edit(&mut Last, |level, _| {
                            let count = node.count() as u64;
                            level.insert_leaf(level.len(), (), Node::Packed(node), count);
                        });
                    }
                }
            }
        }
        Some(())
    }

    /// Chooses the form by the size alone, as Redis does with a list it has loaded.
    pub fn settle(&mut self, limits: ListLimits) {
        match &self.repr {
            Repr::Small(_) => self.grow(limits, 0, 0),
            Repr::Large(_) => self.become_small(|size, count| !limits.exceeded(size, count)),
        }
        self.compress_all(limits);
    }
}

//! Replication ids: the names of histories.
//!
//! A history is a stream of writes; an id names it. A server that is promoted begins a new history
//! that shares its past with the old one, so it keeps the old id as a second one, valid up to the
//! offset at which it took over:
//!
//! ```text
//!   id2  ------------------------->|          second_offset: first byte that is not id2's
//!   id   --------------------------+------->
//! ```
//!
//! Offsets here and on the wire count from one: "offset N" names the Nth byte of the stream, so a
//! server that has N bytes asks for N + 1.

use std::fmt;

use crate::base::random;

/// A replication id: 40 characters, hexadecimal digits as servers make them.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct ReplId([u8; 40]);

impl ReplId {
    /// What stands where there is no id.
    pub const NONE: ReplId = ReplId([b'0'; 40]);

    /// A new one.
    pub fn random() -> ReplId {
        ReplId::parse(random::run_id().as_bytes()).unwrap_or(ReplId::NONE)
    }

    /// Reads an id; `None` if it is not 40 printable characters.
    pub fn parse(text: &[u8]) -> Option<ReplId> {
        let id: [u8; 40] = text.try_into().ok()?;
        id.iter().all(u8::is_ascii_graphic).then_some(ReplId(id))
    }

    /// Whether a peer means this id; case does not matter.
    pub fn is(&self, text: &[u8]) -> bool {
        self.0.eq_ignore_ascii_case(text)
    }
}

impl fmt::Display for ReplId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(std::str::from_utf8(&self.0).unwrap_or_default())
    }
}

impl fmt::Debug for ReplId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The histories that this server's data set belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct History {
    /// The present history.
    pub id: ReplId,
    /// The one it grew out of; [`ReplId::NONE`] if there is none.
    pub id2: ReplId,
    /// First byte that is not of `id2` any more; -1 if there is none.
    pub second_offset: i64,
}

impl Default for History {
    fn default() -> History {
        History::of(ReplId::random())
    }
}

impl History {
    /// A history without a past.
    pub fn of(id: ReplId) -> History {
        History {
            id,
            id2: ReplId::NONE,
            second_offset: -1,
        }
    }

    /// Begins a history of its own, `end` bytes into the present one: a promotion. Who knows the
    /// old id may continue up to here.
    pub fn shift(&mut self, end: u64) {
        self.grew_out_of(ReplId::random(), end);
        tracing::info!(
            "Setting secondary replication ID to {}, valid up to offset: {}. New replication ID \
             is {}",
            self.id2,
            self.second_offset,
            self.id
        );
    }

    /// The history goes on under another name from `end` on.
    pub fn grew_out_of(&mut self, id: ReplId, end: u64) {
        self.id2 = self.id;
        self.second_offset = as_wire(end);
        self.id = id;
    }

    /// A new history whose past, up to `end`, is that of `id`: what a primary that has loaded its
    /// file knows.
    pub fn continued(id: ReplId, end: u64) -> History {
        History {
            id: ReplId::random(),
            id2: id,
            second_offset: as_wire(end),
        }
    }
}

/// The wire's number of the byte behind `offset` bytes.
pub fn as_wire(offset: u64) -> i64 {
    i64::try_from(offset).map_or(i64::MAX, |o| o.saturating_add(1))
}

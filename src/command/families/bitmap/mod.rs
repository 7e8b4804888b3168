//! Strings as arrays of bits, the most significant one of each byte first.
//!
//! - [`single`]: SETBIT, GETBIT. [`span`]: BITCOUNT, BITPOS.
//! - [`op`]: BITOP. [`field`]: BITFIELD, BITFIELD_RO.
//!
//! A long string is counted and searched by its handle, when the locks are released.

mod field;
mod op;
mod single;
mod span;
#[cfg(test)]
mod tests;

use super::{Family, Locks};

/// The commands of this family.
pub const HANDLERS: Family = &[
    ("setbit", single::setbit, Locks::Keys),
    ("getbit", single::getbit, Locks::Keys),
    ("bitcount", span::bitcount, Locks::Keys),
    ("bitpos", span::bitpos, Locks::Keys),
    ("bitop", op::bitop, Locks::Keys),
    ("bitfield", field::bitfield, Locks::Keys),
    ("bitfield_ro", field::bitfield_ro, Locks::Keys),
];

//! The hash of a key: 64 bits, seeded once per process, so that nobody can craft keys that
//! crowd one segment.
//!
//! The upper bits choose the shard, the next ones the place in the table's directory, the next
//! sixteen the tag in the slot.

use std::sync::OnceLock;

use crate::base::random;
use crate::base::sip::SipHash13;

static SEED: OnceLock<SipHash13> = OnceLock::new();

/// The hash of `key`.
#[inline]
pub fn of(key: &[u8]) -> u64 {
    let hasher = SEED.get_or_init(|| SipHash13::new(random::u64(), random::u64()));
    hasher.hash(key)
}

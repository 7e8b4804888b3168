//! The elements of a packed block, read one by one.

use crate::persist::rdb::error::BadBlock;

pub use crate::keyspace::value::packed::Elem;

/// The elements of a packed block in order, each checked before it is handed out.
///
/// The end is checked too: only after `Ok(None)` is the whole block known to be sound.
pub trait Elems<'a> {
    /// The next element, `None` at a sound end.
    fn next_elem(&mut self) -> Result<Option<Elem<'a>>, BadBlock>;

    /// The byte of the block that is read next.
    fn at(&self) -> usize;
}

/// The little-endian signed integer of `bytes` (1 to 8 of them).
pub(super) fn signed_le(bytes: &[u8]) -> i64 {
    let unused = 64 - 8 * bytes.len().clamp(1, 8) as u32;
    let raw = bytes
        .iter()
        .rev()
        .fold(0u64, |value, &byte| (value << 8) | u64::from(byte));
    ((raw << unused) as i64) >> unused
}

/// The little-endian unsigned integer of `bytes` (at most 4 of them).
pub(super) fn unsigned_le(bytes: &[u8]) -> u32 {
    bytes
        .iter()
        .rev()
        .fold(0, |value, &byte| (value << 8) | u32::from(byte))
}

#[cfg(test)]
pub(super) fn collect<'a>(mut elems: impl Elems<'a>) -> Result<Vec<Vec<u8>>, BadBlock> {
    let mut all = Vec::new();
    while let Some(elem) = elems.next_elem()? {
        all.push(elem.to_vec());
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn little_endian_integers_keep_their_sign() {
        assert_eq!(signed_le(&[0xff]), -1);
        assert_eq!(signed_le(&[0x00, 0x80]), -32768);
        assert_eq!(signed_le(&[0xff, 0xff, 0x7f]), 8_388_607);
        assert_eq!(signed_le(&[0x00, 0x00, 0x80]), -8_388_608);
        assert_eq!(signed_le(&i64::MIN.to_le_bytes()), i64::MIN);
        assert_eq!(signed_le(&i64::MAX.to_le_bytes()), i64::MAX);
        assert_eq!(unsigned_le(&[1, 2, 3, 4]), 0x0403_0201);
    }
}

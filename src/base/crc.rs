//! Checksums of Redis's formats.
//!
//! CRC-64 (Jones polynomial, reflected, initial value 0, no final xor) closes RDB files and DUMP
//! payloads. CRC-16 (XMODEM) maps keys to the 16384 cluster slots.

use crc_fast::{CrcAlgorithm, Digest};

/// Number of cluster slots.
pub const SLOT_COUNT: u16 = 16384;

/// CRC-64 of `data`, continued from `crc` (0 to begin with).
pub fn crc64(crc: u64, data: &[u8]) -> u64 {
    let mut digest = Crc64::resume(crc);
    digest.update(data);
    digest.value()
}

/// CRC-64 of a stream that arrives in parts.
#[derive(Clone, Debug)]
pub struct Crc64 {
    digest: Digest,
}

impl Crc64 {
    /// The checksum of nothing yet.
    pub fn new() -> Self {
        Self::resume(0)
    }

    /// Goes on from the checksum of what came before.
    pub fn resume(crc: u64) -> Self {
        Self {
            digest: Digest::new_with_init_state(CrcAlgorithm::Crc64Redis, crc),
        }
    }

    /// Adds the next part.
    #[inline]
    pub fn update(&mut self, data: &[u8]) {
        self.digest.update(data);
    }

    /// The checksum of all parts so far.
    pub fn value(&self) -> u64 {
        self.digest.finalize()
    }
}

impl Default for Crc64 {
    fn default() -> Self {
        Self::new()
    }
}

const CRC16_TABLE: [u16; 256] = crc16_table();

#[expect(
    clippy::indexing_slicing,
    reason = "evaluated at compile time, where a miss is an error"
)]
const fn crc16_table() -> [u16; 256] {
    let mut table = [0u16; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = (byte as u16) << 8;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 0x8000 != 0 {
                (crc << 1) ^ 0x1021
            } else {
                crc << 1
            };
            bit += 1;
        }
        table[byte] = crc;
        byte += 1;
    }
    table
}

/// CRC-16/XMODEM.
pub fn crc16(data: &[u8]) -> u16 {
    data.iter().fold(0u16, |crc, &byte| {
        let index = usize::from((crc >> 8) as u8 ^ byte);
        (crc << 8) ^ CRC16_TABLE.get(index).copied().unwrap_or(0)
    })
}

/// The cluster slot of `key`: only what stands between the first `{` and the next `}` counts, if
/// that is not empty.
pub fn key_slot(key: &[u8]) -> u16 {
    crc16(hash_tag(key)) % SLOT_COUNT
}

fn hash_tag(key: &[u8]) -> &[u8] {
    let tag = memchr::memchr(b'{', key).and_then(|open| {
        let inner = key.get(open + 1..)?;
        let close = memchr::memchr(b'}', inner)?;
        inner.get(..close).filter(|tag| !tag.is_empty())
    });
    tag.unwrap_or(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn check_values_of_the_catalogue() {
        assert_eq!(crc64(0, b"123456789"), 0xe9c6_d914_c4b8_d9ca);
        assert_eq!(crc16(b"123456789"), 0x31c3);
    }

    #[test]
    fn parts_give_what_the_whole_gives() {
        let data: Vec<u8> = (0..5000u32).map(|i| (i * 31 % 251) as u8).collect();
        let whole = crc64(0, &data);
        for cut in [0, 1, 15, 16, 17, 255, 1024, 4999, 5000] {
            let (a, b) = data.split_at(cut);
            let mut digest = Crc64::new();
            digest.update(a);
            let half = digest.value();
            digest.update(b);
            assert_eq!(digest.value(), whole);
            assert_eq!(crc64(half, b), whole);
        }
    }

    #[test]
    fn slots_of_keys_with_and_without_tags() {
        assert_eq!(key_slot(b"foo"), 12182);
        assert_eq!(key_slot(b"{foo}bar"), 12182);
        assert_eq!(key_slot(b"a{foo}{bar}"), 12182);
        assert_eq!(key_slot(b"{}foo"), crc16(b"{}foo") % SLOT_COUNT);
        assert_eq!(key_slot(b"{foo"), crc16(b"{foo") % SLOT_COUNT);
        assert_eq!(key_slot(b"a{{b}c"), crc16(b"{b") % SLOT_COUNT);
    }
}

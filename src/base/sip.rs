//! SipHash-1-3 of byte strings that lie whole in memory: the hash of whoever must not be crowded by
//! crafted keys (Aumasson and Bernstein, "SipHash: a fast short-input PRF").
//!
//! It is computed for every key of every request. A crate's hasher keeps what it needs to go on
//! with further bytes; one that sees a whole string at once, and has mixed its key in beforehand,
//! takes two thirds of the time for the usual key.

/// A keyed hash function.
#[derive(Clone, Copy, Debug)]
pub struct SipHash13 {
    /// The state before the first word.
    start: [u64; 4],
}

impl SipHash13 {
    /// Under this key.
    pub const fn new(k0: u64, k1: u64) -> SipHash13 {
        SipHash13 {
            start: [
                k0 ^ 0x736f_6d65_7073_6575,
                k1 ^ 0x646f_7261_6e64_6f6d,
                k0 ^ 0x6c79_6765_6e65_7261,
                k1 ^ 0x7465_6462_7974_6573,
            ],
        }
    }

    /// The hash of `bytes`.
    #[inline]
    pub fn hash(&self, bytes: &[u8]) -> u64 {
        let mut state = self.start;
        let (words, tail) = bytes.as_chunks::<8>();
        for word in words {
            compress(&mut state, u64::from_le_bytes(*word));
        }
        compress(&mut state, last_word(bytes, tail.len()));
        let [_, _, v2, _] = &mut state;
        *v2 ^= 0xff;
        round(&mut state);
        round(&mut state);
        round(&mut state);
        let [v0, v1, v2, v3] = state;
        v0 ^ v1 ^ v2 ^ v3
    }
}

/// The last `tail` bytes, fewer than eight, below the length's lowest byte.
#[inline(always)]
fn last_word(bytes: &[u8], tail: usize) -> u64 {
    let length = (bytes.len() as u64) << 56;
    if tail == 0 {
        return length;
    }
    let rest = match bytes.last_chunk::<8>() {
        // The upper bytes of the eight that end the string.
        Some(end) => u64::from_le_bytes(*end) >> (64 - 8 * tail),
        None => short_word(bytes),
    };
    length | rest
}

/// Fewer than eight bytes as a word.
#[inline(always)]
fn short_word(bytes: &[u8]) -> u64 {
    match (bytes.first_chunk::<4>(), bytes.last_chunk::<4>()) {
        (Some(head), Some(end)) => {
            // They overlap in equal bytes.
            let shift = 8 * (bytes.len() - 4);
            u64::from(u32::from_le_bytes(*head)) | u64::from(u32::from_le_bytes(*end)) << shift
        }
        _ => bytes
            .iter()
            .rev()
            .fold(0, |word, byte| word << 8 | u64::from(*byte)),
    }
}

#[inline(always)]
fn compress(state: &mut [u64; 4], word: u64) {
    let [_, _, _, v3] = state;
    *v3 ^= word;
    round(state);
    let [v0, ..] = state;
    *v0 ^= word;
}

#[inline(always)]
fn round([v0, v1, v2, v3]: &mut [u64; 4]) {
    *v0 = v0.wrapping_add(*v1);
    *v2 = v2.wrapping_add(*v3);
    *v1 = v1.rotate_left(13) ^ *v0;
    *v3 = v3.rotate_left(16) ^ *v2;
    *v0 = v0.rotate_left(32);
    *v2 = v2.wrapping_add(*v1);
    *v0 = v0.wrapping_add(*v3);
    *v1 = v1.rotate_left(17) ^ *v2;
    *v3 = v3.rotate_left(21) ^ *v0;
    *v2 = v2.rotate_left(32);
}

#[cfg(test)]
mod tests {
    use super::*;
    use siphasher::sip::SipHasher13;

    #[test]
    fn every_length_hashes_as_the_reference_does() {
        let bytes: Vec<u8> = (0..100u8).map(|i| i.wrapping_mul(151) ^ 0xa5).collect();
        for (k0, k1) in [(0, 0), (1, 2), (u64::MAX, 3), (0x0706_0504, 0x0f0e_0d0c)] {
            let (ours, reference) = (SipHash13::new(k0, k1), SipHasher13::new_with_keys(k0, k1));
            for from in 0..20 {
                for to in from..bytes.len() {
                    let text = &bytes[from..to];
                    assert_eq!(ours.hash(text), reference.hash(text), "{from}..{to}");
                }
            }
        }
    }
}

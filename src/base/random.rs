//! Random numbers: a fast generator per thread for sampling, and the system's entropy for
//! identities.
//!
//! The generator is xoshiro256++ (Blackman and Vigna, public domain), seeded per thread from the
//! system. It is not for secrets; [`bytes`] and [`run_id`] read the system's entropy and are.

use std::cell::Cell;

thread_local! {
    static STATE: Cell<[u64; 4]> = Cell::new(seed());
}

fn seed() -> [u64; 4] {
    let mut state = [0u64; 4];
    for word in &mut state {
        let mut raw = [0u8; 8];
        fill(&mut raw);
        *word = u64::from_ne_bytes(raw);
    }
    // The all-zero state is the one from which the generator never moves.
    if state == [0; 4] { [1, 2, 3, 4] } else { state }
}

/// A uniform 64-bit number.
#[inline]
pub fn u64() -> u64 {
    STATE.with(|cell| {
        let [mut s0, mut s1, mut s2, mut s3] = cell.get();
        let result = s0.wrapping_add(s3).rotate_left(23).wrapping_add(s0);
        let shifted = s1 << 17;
        s2 ^= s0;
        s3 ^= s1;
        s1 ^= s2;
        s0 ^= s3;
        s2 ^= shifted;
        s3 = s3.rotate_left(45);
        cell.set([s0, s1, s2, s3]);
        result
    })
}

/// A uniform number in `0..n`; 0 if `n` is 0. Without bias (Lemire's multiply and reject).
#[inline]
pub fn below(n: u64) -> u64 {
    let mut product = u128::from(u64()) * u128::from(n);
    if (product as u64) < n {
        let threshold = n.wrapping_neg() % n.max(1);
        while (product as u64) < threshold {
            product = u128::from(u64()) * u128::from(n);
        }
    }
    (product >> 64) as u64
}

/// A uniform number in `[0, 1)` with 53 random bits.
#[inline]
pub fn unit() -> f64 {
    (u64() >> 11) as f64 / (1u64 << 53) as f64
}

/// `n` bytes of the system's entropy.
pub fn bytes(n: usize) -> Vec<u8> {
    let mut out = vec![0; n];
    fill(&mut out);
    out
}

/// Fills `out` from the system's entropy.
pub fn fill(out: &mut [u8]) {
    if getrandom::fill(out).is_ok() {
        return;
    }
    // No entropy device: time and address still tell processes and calls apart.
    let mut mix = super::clock::unix_us() as u64 ^ (out.as_ptr() as u64).rotate_left(32);
    mix ^= u64::from(std::process::id()).rotate_left(48);
    for byte in out {
        // SplitMix64.
        mix = mix.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = (mix ^ (mix >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        *byte = (z ^ (z >> 31)) as u8;
    }
}

/// 40 lower-case hex digits: run ids, replication ids, cluster node names.
pub fn run_id() -> String {
    hex(&bytes(20))
}

/// Lower-case hex of `bytes`.
pub fn hex(bytes: &[u8]) -> String {
    let nibbles = bytes.iter().flat_map(|byte| [byte >> 4, byte & 0x0f]);
    nibbles
        .filter_map(|nibble| char::from_digit(u32::from(nibble), 16))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn below_stays_below_and_reaches_all() {
        assert_eq!(below(0), 0);
        assert_eq!(below(1), 0);
        let mut seen = [0u32; 7];
        for _ in 0..7000 {
            seen[below(7) as usize] += 1;
        }
        assert!(
            seen.iter().all(|&count| (800..1200).contains(&count)),
            "{seen:?}"
        );
        for _ in 0..1000 {
            assert!(below(u64::MAX) < u64::MAX);
        }
    }

    #[test]
    fn run_ids_are_40_hex_digits_and_differ() {
        let id = run_id();
        assert_eq!(id.len(), 40);
        assert!(
            id.bytes()
                .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
        );
        assert_ne!(id, run_id());
    }

    #[test]
    fn threads_draw_different_numbers() {
        let other = std::thread::spawn(u64).join().unwrap();
        assert_ne!(other, u64());
        assert!((0.0..1.0).contains(&unit()));
    }
}

//! Byte strings that are nearly always short.

/// Whether two strings are the same; short ones are compared as two words, without a call.
#[inline]
pub fn same(a: &[u8], b: &[u8]) -> bool {
    /// The first and the last `N` bytes, which overlap in a string of fewer than `2 * N`.
    #[inline]
    fn ends<const N: usize>(text: &[u8]) -> Option<(&[u8; N], &[u8; N])> {
        text.first_chunk().zip(text.last_chunk())
    }
    match a.len() {
        len if len != b.len() => false,
        8..=16 => ends::<8>(a) == ends::<8>(b),
        4..8 => ends::<4>(a) == ends::<4>(b),
        2..4 => ends::<2>(a) == ends::<2>(b),
        1 => a.first() == b.first(),
        _ => a == b,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_of_every_length_differ_by_any_byte() {
        for len in 0..40 {
            let a: Vec<u8> = (0..len).map(|i| i as u8 + 1).collect();
            let mut b = a.clone();
            assert!(same(&a, &b));
            for at in 0..len {
                b[at] ^= 0x80;
                assert!(!same(&a, &b), "{len} bytes, byte {at}");
                b[at] ^= 0x80;
            }
            b.push(0);
            assert!(!same(&a, &b) && !same(&b, &a));
        }
    }
}

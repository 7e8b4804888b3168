//! Going from element to element without waiting for each.
//!
//! The first byte of an element tells where the next one begins, so a walk that goes by it waits
//! for the cache at every step. Neighbours are mostly of the same length. So it is guessed that the
//! next step is as long as the last, which a comparison confirms; the processor predicts that, too,
//! and reads on meanwhile. A walk past fifty names that come from counting takes half the time.

use super::elem::{short_span, span};

/// Steps of one element, or of two.
#[derive(Default)]
pub(super) struct Strides<const ELEMENTS: usize> {
    /// Lengths of the elements of the last step; 0 before the first.
    first: u8,
    second: u8,
    /// Their sum, and the first of them, kept by themselves: worked out from the lengths that have
    /// just been read they would have to wait for those.
    step: usize,
    half: usize,
}

impl<const ELEMENTS: usize> Strides<ELEMENTS> {
    /// Where the next step begins after the one at `at`, whose first byte is `head`. `None` if an
    /// element is missing.
    #[inline]
    pub fn next(&mut self, bytes: &[u8], at: usize, head: u8) -> Option<usize> {
        let first = short_span(head);
        if first == self.first && first > 0 {
            if ELEMENTS == 1 {
                return Some(at + self.step);
            }
            let second = short_span(bytes.get(at + self.half).copied()?);
            if second == self.second && second > 0 {
                return Some(at + self.step);
            }
        }
        self.measure(bytes, at)
    }

    /// Takes a step whose length is not the last one's.
    #[inline]
    fn measure(&mut self, bytes: &[u8], at: usize) -> Option<usize> {
        let rest = bytes.get(at..)?;
        let half = Some(span(rest)).filter(|half| *half > 0)?;
        self.first = short_span(*rest.first()?);
        let mut step = half;
        if ELEMENTS == 2 {
            let rest = rest.get(half..)?;
            self.second = short_span(*rest.first()?);
            step += span(rest);
        }
        (self.half, self.step) = std::hint::black_box((half, step));
        Some(at + step)
    }
}

#[cfg(test)]
mod tests {
    use super::super::elem::{Elem, Encoded};
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;

    fn walk<const ELEMENTS: usize>(bytes: &[u8]) -> Vec<usize> {
        let mut strides = Strides::<ELEMENTS>::default();
        let (mut at, mut seen) = (0, Vec::new());
        while let Some(&head) = bytes.get(at) {
            seen.push(at);
            match strides.next(bytes, at, head) {
                Some(next) => at = next,
                None => break,
            }
        }
        seen
    }

    fn kinds() -> Vec<Vec<u8>> {
        let lengths = [0, 1, 2, 5, 127, 128, 4095, 4096];
        let texts = lengths.map(|len| vec![b'x'; len]);
        let ints: [i64; 11] = [
            5,
            6,
            63,
            64,
            -1,
            4000,
            40_000,
            1 << 20,
            1 << 30,
            1 << 40,
            i64::MIN,
        ];
        let ints = ints.map(|int| int.to_string().into_bytes());
        texts.into_iter().chain(ints).collect()
    }

    proptest! {
        #[test]
        fn strides_are_those_of_the_elements_however_they_are_mixed(
            picks in vec((0usize..19, 1usize..6, any::<bool>()), 0..12)
        ) {
            let kinds = kinds();
            let (mut bytes, mut starts) = (Vec::new(), Vec::new());
            for (kind, times, expires) in picks {
                for _ in 0..times {
                    starts.push(bytes.len());
                    if expires && starts.len() % 2 == 0 {
                        Encoded::expiry(1 << 40).append(&mut bytes);
                    }
                    Encoded::new(Elem::Bytes(&kinds[kind])).append(&mut bytes);
                }
            }
            let pairs: Vec<usize> = starts.iter().copied().step_by(2).collect();
            prop_assert_eq!(walk::<1>(&bytes), starts);
            prop_assert_eq!(walk::<2>(&bytes), pairs);
        }
    }
}

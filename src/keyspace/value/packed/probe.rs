//! The search for one element among many.

use super::elem::{Elem, Encoded};

/// An element that is searched for among many. Two looks, without a call, tell nearly all others
/// apart: at the first byte, which gives a short string's length, and at the last eight, in which
/// names that come from counting differ.
pub(in crate::keyspace::value) struct Probe<'a> {
    encoded: Encoded<'a>,
    first: u8,
    /// Eight bytes of the element, where they begin, and which of them count: all but for an
    /// element that is shorter.
    at: usize,
    word: u64,
    mask: u64,
}

impl<'a> Probe<'a> {
    /// A search for this element.
    pub fn new(elem: Elem<'a>) -> Probe<'a> {
        let encoded = Encoded::new(elem);
        let (len, head) = (encoded.len(), encoded.head());
        let mut word = [0; 8];
        if len <= 8 {
            encoded.write(&mut word);
        } else if let Some(last) = encoded.body().last_chunk().or(head.last_chunk()) {
            word = *last;
        }
        Probe {
            first: head.first().copied().unwrap_or_default(),
            at: len.saturating_sub(8),
            word: u64::from_le_bytes(word),
            mask: u64::MAX >> (8 * 8usize.saturating_sub(len)).min(63),
            encoded,
        }
    }

    /// Whether this is the first byte of the element.
    #[inline]
    pub fn may_begin(&self, head: u8) -> bool {
        head == self.first
    }

    /// Whether `elements` begins with this very element.
    #[inline]
    pub fn begins(&self, elements: &[u8]) -> bool {
        if elements.first() != Some(&self.first) {
            return false;
        }
        match elements.get(self.at..).and_then(<[u8]>::first_chunk) {
            Some(word) if (u64::from_le_bytes(*word) ^ self.word) & self.mask != 0 => false,
            // No more than eight bytes, and they have all been seen.
            Some(_) if self.at == 0 => true,
            _ => self.encoded.begins(elements),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(elem: Elem<'_>) -> Vec<u8> {
        let mut out = Vec::new();
        Encoded::new(elem).append(&mut out);
        out
    }

    #[test]
    fn a_probe_finds_its_element_and_no_other() {
        let mut all: Vec<Vec<u8>> = vec![vec![], b"0".to_vec(), b"-1".to_vec(), b"07".to_vec()];
        for len in [1, 5, 6, 7, 8, 9, 126, 127, 128, 129, 4095, 4096, 4097] {
            for (at, byte) in [(0, b'a'), (0, b'b'), (len / 2, b'b'), (len - 1, b'b')] {
                let mut text = vec![b'a'; len];
                text[at] = byte;
                all.push(text);
            }
        }
        for int in [
            5,
            63,
            64,
            4095,
            4096,
            70_000,
            9_000_000,
            1 << 40,
            i64::MAX,
            -i64::MAX,
        ] {
            all.extend([int, int - 1, -int].map(|int: i64| int.to_string().into_bytes()));
        }
        all.sort();
        all.dedup();
        for wanted in &all {
            let probe = Probe::new(Elem::Bytes(wanted));
            for other in &all {
                let mut alone = encoded(Elem::Bytes(other));
                assert_eq!(
                    probe.begins(&alone),
                    wanted == other,
                    "{wanted:?} in {other:?}"
                );
                alone.extend_from_slice(b"and what follows it");
                assert_eq!(
                    probe.begins(&alone),
                    wanted == other,
                    "{wanted:?} in {other:?}"
                );
            }
            assert!(!probe.begins(b""));
        }
    }
}

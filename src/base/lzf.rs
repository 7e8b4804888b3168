//! LZF, the compression of strings in RDB files and of the inner nodes of lists; the stream is
//! liblzf's.
//!
//! ```text
//! 000LLLLL, L+1 bytes              literal run of 1..=32 bytes
//! LLLooooo oooooooo                copy L+2 bytes (3..=8) from o+1 bytes back
//! 111ooooo LLLLLLLL oooooooo       copy L+9 bytes (9..=264) from o+1 bytes back
//! ```
//!
//! The [`Compressor`] keeps its hash table from one call to the next and tells stale slots by
//! their position, so that compressing a short string does not begin by clearing a table larger
//! than it. The decoder grows its output only as the input yields bytes: a declared length is a
//! bound to check, never an amount to allocate.
//!
//! The crate `lzf` does the same job; ours needs no allocation or clearing per string, which for
//! the many short values of a snapshot is most of the time spent. `cargo bench --bench micro lzf`
//! shows both: of 64 bytes ours takes a seventieth of the time, of a mebibyte two thirds.

use std::cell::RefCell;

const HASH_BITS: u32 = 14;
const MAX_DISTANCE: usize = 1 << 13;
const MAX_COPY: usize = 264;
const MAX_LITERAL: usize = 32;
/// A copy of three bytes of input yields at most 264 bytes: nothing expands more than this.
const MAX_RATIO: u64 = 88;
/// Half as many positions are tried after 2^PATIENCE bytes without a copy, a third after twice
/// that, and so on.
const PATIENCE: u32 = 7;
/// Output reserved before the first byte has been decoded.
const FIRST_RESERVE: usize = 1 << 20;

/// The reusable state of compression.
pub struct Compressor {
    /// For each hash of three bytes, the last position it was seen at, counted over all calls.
    slots: Vec<u32>,
    /// Position that the first byte of the next input has.
    base: u32,
}

impl Default for Compressor {
    fn default() -> Self {
        Compressor {
            slots: Vec::new(),
            base: 1,
        }
    }
}

thread_local! {
    static OWN: RefCell<Compressor> = RefCell::default();
}

/// Gives `f` the calling thread's compressor, whose table is there already.
pub fn with_own<T>(f: impl FnOnce(&mut Compressor) -> T) -> T {
    OWN.with_borrow_mut(f)
}

fn slot_of(three: u32) -> usize {
    (three.wrapping_mul(0x9E37_79B1) >> (32 - HASH_BITS)) as usize
}

#[inline]
fn three_at(input: &[u8], at: usize) -> Option<u32> {
    let rest = input.get(at..)?;
    match rest.first_chunk::<4>() {
        Some(&four) => Some(u32::from_le_bytes(four) & 0x00ff_ffff),
        None => match *rest {
            [a, b, c] => Some(u32::from_le_bytes([a, b, c, 0])),
            _ => None,
        },
    }
}

/// Length of the common prefix of the bytes at `a` and at `b` (`a < b`), at most `max`.
#[inline]
fn common_length(input: &[u8], a: usize, b: usize, max: usize) -> usize {
    let eight = |at: usize| {
        let bytes = input.get(at..)?.first_chunk::<8>()?;
        Some(u64::from_le_bytes(*bytes))
    };
    let max = max.min(input.len().saturating_sub(b));
    let mut length = 0;
    while length < max {
        let (Some(left), Some(right)) = (eight(a + length), eight(b + length)) else {
            break;
        };
        let differing = left ^ right;
        if differing != 0 {
            return (length + (differing.trailing_zeros() / 8) as usize).min(max);
        }
        length += 8;
    }
    while length < max && input.get(a + length) == input.get(b + length) {
        length += 1;
    }
    length.min(max)
}

fn put_literals(out: &mut Vec<u8>, literals: &[u8]) {
    for run in literals.chunks(MAX_LITERAL) {
        out.push((run.len() - 1) as u8);
        out.extend_from_slice(run);
    }
}

fn put_copy(out: &mut Vec<u8>, distance: usize, length: usize) {
    let offset = distance - 1;
    let coded = length - 2;
    let [_, low] = (offset as u16).to_be_bytes();
    if coded < 7 {
        out.extend_from_slice(&[((coded << 5) | (offset >> 8)) as u8, low]);
    } else {
        out.extend_from_slice(&[((7 << 5) | (offset >> 8)) as u8, (coded - 7) as u8, low]);
    }
}

impl Compressor {
    /// Appends the compressed form of `input` to `out` if it is shorter than `input` by at least
    /// `saving` bytes. Otherwise leaves `out` as it was and says `false`.
    pub fn compress(&mut self, input: &[u8], saving: usize, out: &mut Vec<u8>) -> bool {
        let Some(limit) = input.len().checked_sub(saving).filter(|&limit| limit > 0) else {
            return false;
        };
        let Ok(length) = u32::try_from(input.len()) else {
            return false;
        };
        self.prepare(length);
        let start = out.len();
        let fits = self.run(input, start + limit, out);
        // `prepare` made sure that this does not wrap.
        self.base += length;
        if !fits {
            out.truncate(start);
        }
        fits
    }

    fn prepare(&mut self, length: u32) {
        let exhausted = self.base.checked_add(length).is_none();
        if self.slots.is_empty() || exhausted {
            self.slots.clear();
            self.slots.resize(1 << HASH_BITS, 0);
            self.base = 1;
        }
    }

    /// Last earlier position of these three bytes in this input; remembers the present one.
    #[inline]
    fn previous(&mut self, three: u32, at: usize) -> Option<usize> {
        let slot = self.slots.get_mut(slot_of(three))?;
        let now = self.base.wrapping_add(at as u32);
        let seen = std::mem::replace(slot, now);
        seen.checked_sub(self.base)
            .map(|position| position as usize)
    }

    fn run(&mut self, input: &[u8], end: usize, out: &mut Vec<u8>) -> bool {
        let mut at = 0;
        let mut literal_from = 0;
        while let Some(three) = three_at(input, at) {
            let seen = self.previous(three, at);
            let copy = seen.filter(|&from| {
                from < at && at - from <= MAX_DISTANCE && three_at(input, from) == Some(three)
            });
            let Some(from) = copy else {
                // What has not repeated for long is looked at ever more sparsely.
                at += 1 + ((at - literal_from) >> PATIENCE);
                continue;
            };
            let length = common_length(input, from, at, MAX_COPY);
            put_literals(out, input.get(literal_from..at).unwrap_or_default());
            put_copy(out, at - from, length);
            if out.len() > end {
                return false;
            }
            // The last two positions of the copy are enough to find what continues it.
            let next = at + length;
            for position in next.saturating_sub(2).max(at + 1)..next {
                if let Some(three) = three_at(input, position) {
                    self.previous(three, position);
                }
            }
            at = next;
            literal_from = next;
        }
        put_literals(out, input.get(literal_from..).unwrap_or_default());
        out.len() <= end
    }
}

/// Whether `compressed` bytes of LZF can yield `length` bytes at all.
pub fn plausible(compressed: u64, length: u64) -> bool {
    length <= compressed.saturating_mul(MAX_RATIO)
}

/// Appends the decompressed form of `input` to `out`. `None` when the stream is malformed or
/// does not yield exactly `length` bytes; `out` then holds what had been decoded.
pub fn decompress(input: &[u8], length: usize, out: &mut Vec<u8>) -> Option<()> {
    let start = out.len();
    let end = start.checked_add(length)?;
    out.reserve(length.min(FIRST_RESERVE));
    let mut rest = input;
    while let Some((&control, after)) = rest.split_first() {
        rest = after;
        if control < 32 {
            let (run, after) = rest.split_at_checked(usize::from(control) + 1)?;
            if out.len() + run.len() > end {
                return None;
            }
            out.extend_from_slice(run);
            rest = after;
            continue;
        }
        let mut count = usize::from(control >> 5);
        if count == 7 {
            let (&more, after) = rest.split_first()?;
            count += usize::from(more);
            rest = after;
        }
        let (&low, after) = rest.split_first()?;
        rest = after;
        let distance = (usize::from(control & 31) << 8) + usize::from(low) + 1;
        let mut count = count + 2;
        if out.len() + count > end {
            return None;
        }
        let from = out
            .len()
            .checked_sub(distance)
            .filter(|&from| from >= start)?;
        // A copy may overlap what it writes; what is there already repeats.
        while count > 0 {
            let piece = count.min(out.len() - from);
            out.extend_from_within(from..from + piece);
            count -= piece;
        }
    }
    (out.len() == end).then_some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn round_trip(compressor: &mut Compressor, input: &[u8]) -> bool {
        let mut packed = b"before".to_vec();
        if !compressor.compress(input, 4, &mut packed) {
            assert_eq!(packed, b"before");
            return false;
        }
        assert!(packed.len() - 6 <= input.len() - 4);
        let mut back = b"kept".to_vec();
        decompress(&packed[6..], input.len(), &mut back).unwrap();
        assert_eq!(&back[4..], input);
        true
    }

    #[test]
    fn repetition_shrinks_and_noise_is_refused() {
        let mut compressor = Compressor::default();
        assert!(round_trip(&mut compressor, &[b'a'; 21]));
        assert!(round_trip(&mut compressor, &[0; 100_000]));
        assert!(round_trip(
            &mut compressor,
            "abcdefgh".repeat(40).as_bytes()
        ));
        let noise: Vec<u8> = (0..64u8).map(|i| i.wrapping_mul(167)).collect();
        assert!(!round_trip(&mut compressor, &noise));
        assert!(!compressor.compress(b"", 0, &mut Vec::new()));
        assert!(!compressor.compress(b"aaaa", 4, &mut Vec::new()));
    }

    #[test]
    fn slots_of_an_earlier_input_are_not_believed() {
        let mut compressor = Compressor::default();
        for base in [1, u32::MAX - 30, u32::MAX - 3] {
            compressor.base = base;
            assert!(round_trip(&mut compressor, &[b'x'; 40]));
            assert!(round_trip(&mut compressor, &"yz".repeat(30).into_bytes()));
        }
    }

    #[test]
    fn known_stream_decodes() {
        // As liblzf writes 40 times `a`: one literal, then a copy of 39 from one byte back.
        let mut out = Vec::new();
        decompress(&[0x00, b'a', 0xE0, 30, 0x00], 40, &mut out).unwrap();
        assert_eq!(out, [b'a'; 40]);
    }

    #[test]
    fn malformed_streams_are_refused() {
        let cases: &[(&[u8], usize)] = &[
            (&[0x05, b'a'], 6),             // literal run longer than the input
            (&[0x20, 0x00], 3),             // copy with nothing before it
            (&[0x00, b'a', 0x20, 0x01], 4), // copy from before the start
            (&[0x00, b'a', 0xE0], 11),      // cut in the middle of a copy
            (&[0x00, b'a'], 2),             // short of the declared length
            (&[0x01, b'a', b'b'], 1),       // more than the declared length
            (&[0x00, b'a', 0xE0, 255, 0], 100),
        ];
        for (input, length) in cases {
            assert_eq!(
                decompress(input, *length, &mut Vec::new()),
                None,
                "{input:?}"
            );
        }
    }

    proptest! {
        #[test]
        fn any_input_survives(input in prop::collection::vec(0u8..4, 0..3000)) {
            round_trip(&mut Compressor::default(), &input);
        }

        #[test]
        fn any_stream_is_decoded_within_its_bound(
            input in prop::collection::vec(any::<u8>(), 0..200),
            length in 0usize..2000,
        ) {
            let mut out = Vec::new();
            let _ = decompress(&input, length, &mut out);
            prop_assert!(out.len() <= length);
        }
    }
}

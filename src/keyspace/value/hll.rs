//! HyperLogLog as Redis keeps it: a string of 16,384 registers of six bits, each the longest run
//! of zeros that a hash showed there.
//!
//! ```text
//!   0        4          5        8             16
//!   +--------+----------+--------+-------------+-------------- ... ---+
//!   | "HYLL" | encoding | unused | cardinality | registers            |
//!   | 4      | 1        | 3      | 8, LE       | dense: 12,288 bytes  |
//!   +--------+----------+--------+-------------+-------------- ... ---+
//! ```
//!
//! - `encoding`: 0 dense, 1 sparse.
//! - `cardinality`: the estimate of the last count; its top bit says that it no longer holds.
//! - dense: six bits a register, from the least significant bit of each byte on.
//! - sparse: runs of registers that are equal, see [`Run`]. A string longer than
//!   `hll-sparse-max-bytes` becomes dense, and so does one with a register above 32.
//!
//! The layout and the order in which runs are split and joined follow Redis's
//! `hyperloglog.c` (BSD), so that equal additions give equal bytes. The estimator is Otmar Ertl's,
//! "New cardinality estimation algorithms for HyperLogLog sketches", arXiv:1702.01284.
//!
//! A client can write any bytes into a string, so nothing here trusts them: runs that do not make
//! up all registers are [`Corrupted`].

mod estimate;
mod sparse;
#[cfg(test)]
mod tests;

use std::sync::atomic::{AtomicBool, Ordering};

pub use estimate::Histogram;
pub use sparse::{Cursor, Run, runs};

/// Number of registers.
pub const REGISTERS: usize = 1 << INDEX_BITS;

/// Bits of the hash that choose the register.
const INDEX_BITS: u32 = 14;
/// Bits of the hash whose zeros are counted.
const COUNTED_BITS: u32 = 64 - INDEX_BITS;
const HEADER_BYTES: usize = 16;
const DENSE_BYTES: usize = HEADER_BYTES + REGISTERS * 6 / 8;
const MAGIC: [u8; 4] = *b"HYLL";
const DENSE: u8 = 0;
const SPARSE: u8 = 1;
const HASH_SEED: u64 = 0xadc8_3b19;
/// The byte of the cardinality whose top bit says that it no longer holds.
const STALE_AT: usize = 15;
const STALE: u8 = 0x80;

/// Dense registers are read four at a time; else one by one (`PFDEBUG SIMD`).
static FOUR_AT_A_TIME: AtomicBool = AtomicBool::new(true);

/// All registers, a byte each.
pub type Registers = [u8; REGISTERS];

/// The runs of a sparse string do not make up its registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("Corrupted HLL object detected")]
pub struct Corrupted;

/// Whether the bytes begin as a HyperLogLog does and, if it is dense, have its length.
pub fn is_hll(bytes: &[u8]) -> bool {
    match bytes {
        [a, b, c, d, encoding, ..] if bytes.len() >= HEADER_BYTES => {
            [*a, *b, *c, *d] == MAGIC
                && match *encoding {
                    DENSE => bytes.len() == DENSE_BYTES,
                    encoding => encoding == SPARSE,
                }
        }
        _ => false,
    }
}

/// Whether a HyperLogLog is sparse.
pub fn is_sparse(bytes: &[u8]) -> bool {
    bytes.get(4) == Some(&SPARSE)
}

/// An empty one, sparse.
pub fn create() -> Vec<u8> {
    let mut bytes = vec![0; HEADER_BYTES];
    if let Some(magic) = bytes.get_mut(..4) {
        magic.copy_from_slice(&MAGIC);
    }
    if let Some(encoding) = bytes.get_mut(4) {
        *encoding = SPARSE;
    }
    Run::Zeros(REGISTERS).write(&mut bytes);
    bytes
}

/// The cardinality of the last count, if it still holds.
pub fn cached(bytes: &[u8]) -> Option<u64> {
    let field = bytes.get(8..HEADER_BYTES)?.as_array::<8>()?;
    let n = u64::from_le_bytes(*field);
    (n >> 63 == 0).then_some(n)
}

/// Keeps the cardinality of a count.
pub fn set_cached(bytes: &mut [u8], cardinality: u64) {
    if let Some(field) = bytes.get_mut(8..HEADER_BYTES) {
        field.copy_from_slice(&cardinality.to_le_bytes());
    }
}

/// Says that the cardinality no longer holds.
pub fn invalidate(bytes: &mut [u8]) {
    if let Some(byte) = bytes.get_mut(STALE_AT) {
        *byte |= STALE;
    }
}

fn body(bytes: &[u8]) -> &[u8] {
    bytes.get(HEADER_BYTES..).unwrap_or_default()
}

/// Counts an element in. Whether a register changed.
///
/// # Errors
/// [`Corrupted`].
pub fn add(bytes: &mut Vec<u8>, element: &[u8], sparse_max: usize) -> Result<bool, Corrupted> {
    let (index, zeros) = place(element);
    raise(bytes, &mut Cursor::default(), index, zeros, sparse_max)
}

/// Makes the register at `index` at least `value`, 1 to 63. Whether it was lower. `cursor` is where
/// the last call left it, if that was for a lower index of the same bytes.
///
/// # Errors
/// [`Corrupted`].
pub fn raise(
    bytes: &mut Vec<u8>,
    cursor: &mut Cursor,
    index: usize,
    value: u8,
    sparse_max: usize,
) -> Result<bool, Corrupted> {
    if is_sparse(bytes) {
        match sparse::raise(bytes, cursor, index, value, sparse_max)? {
            sparse::Raised::Not => return Ok(false),
            sparse::Raised::Done => {
                invalidate(bytes);
                return Ok(true);
            }
            sparse::Raised::TooLarge => {
                to_dense(bytes)?;
            }
        }
    }
    let registers = bytes.get_mut(HEADER_BYTES..).unwrap_or_default();
    let lower = get_dense(registers, index) < value;
    if lower {
        set_dense(registers, index, value);
    }
    Ok(lower)
}

/// Makes a sparse HyperLogLog dense; its cardinality stays. Whether it was sparse.
///
/// # Errors
/// [`Corrupted`].
pub fn to_dense(bytes: &mut Vec<u8>) -> Result<bool, Corrupted> {
    if !is_sparse(bytes) {
        return Ok(false);
    }
    let mut dense = vec![0; DENSE_BYTES];
    let (head, registers) = dense.split_at_mut(HEADER_BYTES);
    sparse::each(body(bytes), |index, value| {
        set_dense(registers, index, value)
    })?;
    head.copy_from_slice(bytes.get(..HEADER_BYTES).ok_or(Corrupted)?);
    if let Some(encoding) = head.get_mut(4) {
        *encoding = DENSE;
    }
    *bytes = dense;
    Ok(true)
}

/// Raises each of `registers` to what it is here.
///
/// # Errors
/// [`Corrupted`].
pub fn merge_into(registers: &mut Registers, bytes: &[u8]) -> Result<(), Corrupted> {
    let raise = |index: usize, value: u8| {
        if let Some(register) = registers.get_mut(index) {
            *register = value.max(*register);
        }
    };
    if is_sparse(bytes) {
        return sparse::each(body(bytes), raise);
    }
    each_dense(body(bytes), raise);
    Ok(())
}

/// The estimated number of distinct elements.
///
/// # Errors
/// [`Corrupted`].
pub fn count(bytes: &[u8]) -> Result<u64, Corrupted> {
    let mut histogram = Histogram::default();
    if is_sparse(bytes) {
        let mut covered = 0;
        for run in runs(body(bytes)) {
            let run = run?;
            histogram.add(run.value(), run.len() as u32);
            covered += run.len();
        }
        if covered != REGISTERS {
            return Err(Corrupted);
        }
    } else {
        each_dense(body(bytes), |_, value| histogram.add(value, 1));
    }
    Ok(histogram.estimate())
}

/// Chooses how dense registers are read, to compare the two ways.
pub fn read_four_at_a_time(on: bool) {
    FOUR_AT_A_TIME.store(on, Ordering::Relaxed);
}

/// Gives the values of dense registers to `each`, in order.
fn each_dense(registers: &[u8], mut each: impl FnMut(usize, u8)) {
    if !FOUR_AT_A_TIME.load(Ordering::Relaxed) {
        return (0..REGISTERS).for_each(|index| each(index, get_dense(registers, index)));
    }
    let (triples, _) = registers.as_chunks::<3>();
    for (n, &[a, b, c]) in triples.iter().enumerate() {
        let first = n * 4;
        each(first, a & 63);
        each(first + 1, (a >> 6 | b << 2) & 63);
        each(first + 2, (b >> 4 | c << 4) & 63);
        each(first + 3, c >> 2);
    }
}

/// Gives the values of a dense HyperLogLog's registers to `each`, in order.
pub fn each_register(bytes: &[u8], mut each: impl FnMut(u8)) {
    each_dense(body(bytes), |_, value| each(value));
}

/// The runs of a sparse HyperLogLog.
pub fn sparse_runs(bytes: &[u8]) -> impl Iterator<Item = Result<Run, Corrupted>> {
    runs(body(bytes))
}

fn get_dense(registers: &[u8], index: usize) -> u8 {
    let (at, shift) = (index * 6 / 8, index * 6 % 8);
    let byte = |at: usize| u16::from(registers.get(at).copied().unwrap_or(0));
    ((byte(at) | byte(at + 1) << 8) >> shift) as u8 & 63
}

fn set_dense(registers: &mut [u8], index: usize, value: u8) {
    let (at, shift) = (index * 6 / 8, index * 6 % 8);
    let (mask, value) = (63u16 << shift, u16::from(value & 63) << shift);
    let [low_mask, high_mask] = mask.to_le_bytes();
    let [low, high] = value.to_le_bytes();
    if let Some(byte) = registers.get_mut(at) {
        *byte = (*byte & !low_mask) | low;
    }
    if let Some(byte) = registers.get_mut(at + 1) {
        *byte = (*byte & !high_mask) | high;
    }
}

/// The register that an element counts in, and the length of its run of zeros, the one that ends
/// it included.
fn place(element: &[u8]) -> (usize, u8) {
    let hash = murmur64a(element, HASH_SEED);
    let index = hash as usize & (REGISTERS - 1);
    let counted = hash >> INDEX_BITS | 1 << COUNTED_BITS;
    (index, counted.trailing_zeros() as u8 + 1)
}

/// Austin Appleby's MurmurHash2 for 64 bits, read little-endian.
fn murmur64a(bytes: &[u8], seed: u64) -> u64 {
    const M: u64 = 0xc6a4_a793_5bd1_e995;
    const R: u32 = 47;
    let mut h = seed ^ (bytes.len() as u64).wrapping_mul(M);
    let (words, rest) = bytes.as_chunks::<8>();
    for word in words {
        let mut k = u64::from_le_bytes(*word).wrapping_mul(M);
        k ^= k >> R;
        h = (h ^ k.wrapping_mul(M)).wrapping_mul(M);
    }
    if !rest.is_empty() {
        let tail = rest
            .iter()
            .rev()
            .fold(0u64, |n, byte| n << 8 | u64::from(*byte));
        h = (h ^ tail).wrapping_mul(M);
    }
    h ^= h >> R;
    h = h.wrapping_mul(M);
    h ^ h >> R
}

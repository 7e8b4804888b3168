//! The parts of the server one by one: `cargo bench --bench micro [-- NAME]`.
//!
//! Each figure is the time of one operation in a loop, on one thread, with warm caches unless it
//! says otherwise. They tell where a change pays off, and whether it did; how the whole compares
//! with other servers is what `cargo bench --bench versus` tells.

mod files;
mod values;
mod wire;

use criterion::{criterion_group, criterion_main};

/// The server's allocator.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

criterion_group!(
    parts,
    wire::requests,
    wire::replies,
    values::table,
    values::lists,
    values::sets,
    values::sorted_sets,
    values::hashes,
    values::streams,
    files::log,
    files::rdb,
    files::checksums,
    files::compression
);
criterion_main!(parts);

/// Pseudorandom numbers that are the same in every run (SplitMix64 of Steele, Lea and Flood).
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }
}

/// The key, member or field with this number: 16 bytes.
fn name(i: u64) -> [u8; 16] {
    let mut text = *b"key:000000000000";
    let mut rest = i;
    for digit in text.iter_mut().skip(4).rev() {
        *digit = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
    text
}

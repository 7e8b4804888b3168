//! Payloads of DUMP with damage in them, given to RESTORE: never a panic, never memory for what is
//! only declared, and what is taken can be dumped again.
//!
//! A bounded fuzzer: the seeds are payloads of a real server, one of each type and encoding
//! (`tests/fixtures/restore`), the mutations come from a generator with a fixed seed.
//! `RUSSET_FUZZ_ROUNDS` makes it run longer, `RUSSET_FUZZ_SEED` elsewhere. A payload that once did
//! harm is added to the seeds.

use crate::base::crc::crc64;
use crate::persist::rdb::dump::{dump, restore};
use crate::persist::rdb::load::Limits;
use crate::persist::rdb::types::ObjectType;
use crate::persist::rdb::ziplist::tests::build;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use tikv_jemalloc_ctl::thread::allocatedp;

/// Version and checksum behind a payload.
const FOOTER: usize = 10;
/// What reading reserves at once, whatever the payload says.
const FIXED_BYTES: u64 = 8 << 20;
/// The most that LZF makes of a byte, and the copies on its way into a value.
const BYTES_PER_BYTE: u64 = 2000;

fn seeds() -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/restore");
    let mut seeds: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            (name, fs::read(path).unwrap())
        })
        .collect();
    seeds.extend(old_seeds());
    seeds.sort();
    seeds
}

/// What servers of long ago wrote.
fn old_seeds() -> Vec<(String, Vec<u8>)> {
    let pairs: &[&[u8]] = &[b"a", b"1", b"bb", b"-2.5", b"300", b"70000"];
    let ziplist = build(pairs);
    let quicklist = [&[1, ziplist.len() as u8][..], &ziplist].concat();
    let zipmap = b"\x02\x03foo\x03\x00bar\x05hello\x05\x02world..\xff".to_vec();
    [
        (ObjectType::HashZipmap, zipmap),
        (ObjectType::ListZiplist, ziplist.clone()),
        (ObjectType::ZsetZiplist, ziplist.clone()),
        (ObjectType::HashZiplist, ziplist.clone()),
        (ObjectType::Zset, b"\x02\x01a\x012\x01b\xff".to_vec()),
    ]
    .into_iter()
    .map(|(kind, block)| match kind {
        ObjectType::Zset => (kind, block),
        _ => (kind, [&[block.len() as u8][..], &block].concat()),
    })
    .chain([(ObjectType::ListQuicklist, quicklist)])
    .map(|(kind, body)| (kind.name().to_owned(), footed(kind, &body)))
    .collect()
}

fn footed(kind: ObjectType, body: &[u8]) -> Vec<u8> {
    let mut payload = [&[kind as u8][..], body, &[9, 0]].concat();
    payload.extend(crc64(0, &payload).to_le_bytes());
    payload
}

/// xorshift64*.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let roll = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16;
        (roll % limit.max(1) as u64) as usize
    }
}

/// Lengths and headers that stand for more than is there.
const TOO_MUCH: &[&[u8]] = &[
    b"\x80\xff\xff\xff\xff",
    b"\x81\x7f\xff\xff\xff\xff\xff\xff\xff",
    b"\x81\xff\xff\xff\xff\xff\xff\xff\xff",
    b"\x7f\xff",
    b"\x3f",
    b"\xc3\x01\x80\x3f\xff\xff\xff",
    b"\xf0\xff\xff\xff\x7f",
    b"\xfe\xff\xff\xff\xff",
    b"\xff\xff\xff\xff\xff\xff\xff\xff",
    b"\0\0\0\0",
];

/// Damages the bytes in front of the footer.
fn mutate(dice: &mut Dice, payload: &mut Vec<u8>, other: &[u8]) {
    for _ in 0..=dice.below(3) {
        let body = payload.len().saturating_sub(FOOTER);
        let at = dice.below(body);
        match dice.below(8) {
            0 => payload[at] = dice.below(256) as u8,
            1 => payload[at] ^= 1 << dice.below(8),
            2 => payload[at] = *[0, 1, 0x7f, 0x80, 0xfe, 0xff].get(dice.below(6)).unwrap(),
            3 => {
                let bytes = TOO_MUCH[dice.below(TOO_MUCH.len())];
                let end = (at + bytes.len()).min(body);
                payload[at..end].copy_from_slice(&bytes[..end - at]);
            }
            4 => {
                let bytes = TOO_MUCH[dice.below(TOO_MUCH.len())];
                payload.splice(at..at, bytes.iter().copied());
            }
            5 => {
                let end = (at + 1 + dice.below(16)).min(body);
                payload.drain(at..end);
            }
            6 => {
                let from = dice.below(other.len());
                let end = (from + 1 + dice.below(40)).min(other.len());
                payload.splice(at..at, other[from..end].iter().copied());
            }
            // Another type for the same bytes.
            _ => payload[0] = dice.below(28) as u8,
        }
        if payload.len() <= FOOTER {
            return;
        }
    }
}

/// What a payload came to: whether it was taken, and the bytes allocated on the way.
struct Attempt {
    taken: bool,
    used: u64,
}

/// Restores, watched.
fn attempt(payload: &[u8]) -> Result<Attempt, String> {
    let counter = allocatedp::read().map_err(|e| e.to_string())?;
    let before = counter.get();
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        let value = restore(payload, Limits::default(), true).ok()?;
        let again = dump(value.as_ref(), Default::default()).ok()?;
        Some(restore(&again, Limits::default(), false).is_ok())
    }));
    let used = counter.get() - before;
    let allowed = FIXED_BYTES + BYTES_PER_BYTE * payload.len() as u64;
    match outcome {
        Err(_) => Err("it panicked".to_owned()),
        Ok(_) if used > allowed => Err(format!("it took {used} bytes")),
        Ok(Some(false)) => Err("its own payload is refused".to_owned()),
        Ok(taken) => Ok(Attempt {
            taken: taken.is_some(),
            used,
        }),
    }
}

fn number(variable: &str, default: u64) -> u64 {
    let text = std::env::var(variable).ok();
    text.and_then(|text| text.parse().ok()).unwrap_or(default)
}

#[test]
fn the_payloads_of_a_real_server_are_taken() {
    let all = seeds();
    assert!(all.len() >= 20, "{} seeds", all.len());
    for (name, payload) in &all {
        let sum = restore(payload, Limits::default(), false);
        // What damage has made is kept to be tried again, not to be taken.
        if !name.starts_with("damaged") {
            assert!(sum.is_ok(), "{name}: {sum:?}");
        }
    }
}

#[test]
fn damaged_payloads_do_no_harm() {
    let all = seeds();
    let mut dice = Dice(number("RUSSET_FUZZ_SEED", 8) | 1);
    let (mut taken, mut most) = (0, 0);
    for round in 0..number("RUSSET_FUZZ_ROUNDS", 100_000) {
        let (name, seed) = &all[dice.below(all.len())];
        let (_, other) = &all[dice.below(all.len())];
        let mut payload = seed.clone();
        mutate(&mut dice, &mut payload, other);
        match attempt(&payload) {
            Ok(was) => {
                taken += u64::from(was.taken);
                most = most.max(was.used);
            }
            Err(what) => panic!(
                "round {round}, from {name}: {what}: \"{}\"",
                payload.escape_ascii()
            ),
        }
    }
    assert!(taken > 0, "nothing was taken: the mutations are too coarse");
    assert!(most > 0, "the allocator does not count");
}

//! Requests encoded beforehand, and the keys they name.

use std::io::Write;
use std::sync::Arc;

use crate::Outcome;

/// A small fast generator; its numbers are the same in every run.
pub struct Rng {
    state: u64,
    drawn: u64,
}

impl Rng {
    /// From a seed.
    pub fn new(seed: u64) -> Rng {
        Rng {
            state: seed,
            drawn: 0,
        }
    }

    /// How many numbers it has given.
    pub fn drawn(&self) -> u64 {
        self.drawn
    }

    /// The next 64 bits (SplitMix64).
    pub fn next(&mut self) -> u64 {
        self.drawn += 1;
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.state ^ (self.state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `n`.
    pub fn below(&mut self, n: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(n)) >> 64) as u64
    }

    /// A number in 0..1.
    pub fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// How keys are chosen.
pub enum Keys {
    /// Each as often as any other.
    Uniform(u64),
    /// The k-th most frequent with a chance in proportion to 1/k.
    Zipf(Vec<f64>),
}

impl Keys {
    /// Zipf's distribution over `n` keys.
    pub fn zipf(n: u64) -> Keys {
        let mut sum = 0.0;
        Keys::Zipf(
            (1..=n)
                .map(|k| {
                    sum += 1.0 / k as f64;
                    sum
                })
                .collect(),
        )
    }

    /// The number of a key.
    pub fn pick(&self, rng: &mut Rng) -> u64 {
        match self {
            Keys::Uniform(n) => rng.below(*n),
            Keys::Zipf(sums) => {
                let at = rng.unit() * sums.last().copied().unwrap_or(1.0);
                let rank = sums.partition_point(|s| *s < at) as u64;
                // Frequent keys lie apart, as they do in life.
                rank.wrapping_mul(7_919) % sums.len().max(1) as u64
            }
        }
    }
}

/// Appends a request.
pub fn encode(out: &mut Vec<u8>, argv: &[&[u8]]) {
    // Writing to a vector does not fail.
    drop(write!(out, "*{}\r\n", argv.len()));
    for arg in argv {
        drop(write!(out, "${}\r\n", arg.len()));
        out.extend_from_slice(arg);
        out.extend_from_slice(b"\r\n");
    }
}

/// Appends a request given as words.
pub fn encode_words(out: &mut Vec<u8>, words: &str) {
    let argv: Vec<&[u8]> = words.split_ascii_whitespace().map(str::as_bytes).collect();
    encode(out, &argv);
}

/// The key of a number: 16 bytes.
pub fn key(n: u64) -> String {
    format!("key:{n:012}")
}

/// A value of so many bytes, different for each number, that does not compress to nothing.
pub fn value(n: u64, len: usize) -> Vec<u8> {
    let mut rng = Rng::new(n);
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        for b in rng.next().to_le_bytes() {
            bytes.push(b'a' + b % 26);
        }
    }
    bytes.truncate(len);
    bytes
}

/// How replies are counted.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Replies {
    /// All have this many bytes.
    Fixed(usize),
    /// By looking at them.
    Counted,
}

/// Pipelines of requests, each sent with one write.
pub struct Batches {
    bytes: Vec<u8>,
    ends: Vec<usize>,
    /// Requests in each.
    pub depth: usize,
    /// How their replies are counted.
    pub replies: Replies,
}

impl Batches {
    /// About `requests` requests in pipelines of `depth`; `encode_one` appends one.
    pub fn new(
        requests: usize,
        depth: usize,
        replies: Replies,
        mut encode_one: impl FnMut(&mut Vec<u8>),
    ) -> Arc<Batches> {
        let mut batches = Batches {
            bytes: Vec::new(),
            ends: Vec::new(),
            depth,
            replies,
        };
        for _ in 0..requests.div_ceil(depth) {
            for _ in 0..depth {
                encode_one(&mut batches.bytes);
            }
            batches.ends.push(batches.bytes.len());
        }
        Arc::new(batches)
    }

    /// Requests drawn at random by `encode_one`, for each of the two load threads.
    pub fn drawn(
        requests: usize,
        depth: usize,
        encode_one: impl Fn(&mut Rng, &mut Vec<u8>),
    ) -> Vec<Arc<Batches>> {
        (1..=2)
            .map(|seed| {
                let mut rng = Rng::new(seed);
                Batches::new(requests, depth, Replies::Counted, |out| {
                    encode_one(&mut rng, out);
                })
            })
            .collect()
    }

    /// The same, each of whose batches is answered by `N` replies, whatever it is made of.
    pub fn of_replies<const N: usize>(batches: Arc<Batches>) -> Arc<Batches> {
        let Some(b) = Arc::into_inner(batches) else {
            return Batches::new(0, N, Replies::Counted, |_| {});
        };
        Arc::new(Batches { depth: N, ..b })
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// The bytes of one.
    pub fn get(&self, index: usize) -> Outcome<&[u8]> {
        let from = match index.checked_sub(1) {
            Some(before) => self.ends.get(before).copied(),
            None => Some(0),
        };
        from.zip(self.ends.get(index))
            .and_then(|(from, end)| self.bytes.get(from..*end))
            .ok_or_else(|| "no such batch".into())
    }
}

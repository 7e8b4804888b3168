//! From the registers' values to the number of elements.

use super::{COUNTED_BITS, REGISTERS, Registers};

/// 1 / (2 ln 2)
const ALPHA: f64 = 0.721_347_520_444_481_7;

/// How often each value occurs among the registers.
#[derive(Clone, Debug)]
pub struct Histogram([u32; 64]);

impl Default for Histogram {
    fn default() -> Histogram {
        Histogram([0; 64])
    }
}

impl Histogram {
    /// Of these registers.
    pub fn of(registers: &Registers) -> Histogram {
        let mut histogram = Histogram::default();
        registers.iter().for_each(|value| histogram.add(*value, 1));
        histogram
    }

    /// Counts `n` registers with this value.
    #[inline]
    pub fn add(&mut self, value: u8, n: u32) {
        if let Some(count) = self.0.get_mut(usize::from(value)) {
            *count += n;
        }
    }

    fn at(&self, value: u32) -> f64 {
        f64::from(self.0.get(value as usize).copied().unwrap_or(0))
    }

    /// The estimated number of elements.
    pub fn estimate(&self) -> u64 {
        let m = REGISTERS as f64;
        let mut z = m * tau((m - self.at(COUNTED_BITS + 1)) / m);
        for value in (1..=COUNTED_BITS).rev() {
            z += self.at(value);
            z *= 0.5;
        }
        z += m * sigma(self.at(0) / m);
        (ALPHA * m * m / z).round() as u64
    }
}

/// The part of the registers that are zero.
fn sigma(mut x: f64) -> f64 {
    if x == 1.0 {
        return f64::INFINITY;
    }
    let (mut y, mut z) = (1.0, x);
    loop {
        x *= x;
        let before = z;
        z += x * y;
        y += y;
        if z == before {
            return z;
        }
    }
}

/// The part of the registers that are full.
fn tau(mut x: f64) -> f64 {
    if x == 0.0 || x == 1.0 {
        return 0.0;
    }
    let (mut y, mut z) = (1.0, 1.0 - x);
    loop {
        x = x.sqrt();
        let before = z;
        y *= 0.5;
        z -= (1.0 - x) * (1.0 - x) * y;
        if z == before {
            return z / 3.0;
        }
    }
}

//! Unsigned integers of any size, as far as reading and printing long doubles needs them.
//!
//! Little-endian 64-bit limbs without leading zeros. Sizes are bounded by the callers: texts of
//! at most 5 KiB and exponents of 15 bits, some 600 limbs.

use std::cmp::Ordering;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Big {
    limbs: Vec<u64>,
}

impl Big {
    pub(super) fn from_u128(value: u128) -> Self {
        let mut big = Self {
            limbs: vec![value as u64, (value >> 64) as u64],
        };
        big.trim();
        big
    }

    /// The number that `digits`, ASCII decimals, write.
    pub(super) fn from_digits<'a>(digits: impl Iterator<Item = &'a u8>) -> Self {
        const CHUNK: u64 = 10_000_000_000_000_000_000;
        let mut big = Self { limbs: Vec::new() };
        let (mut chunk, mut scale) = (0u64, 1u64);
        for &digit in digits {
            chunk = chunk * 10 + u64::from(digit.wrapping_sub(b'0'));
            scale *= 10;
            if scale == CHUNK {
                big.mul_add(scale, chunk);
                (chunk, scale) = (0, 1);
            }
        }
        big.mul_add(scale, chunk);
        big
    }

    fn trim(&mut self) {
        while self.limbs.last() == Some(&0) {
            self.limbs.pop();
        }
    }

    pub(super) fn is_zero(&self) -> bool {
        self.limbs.is_empty()
    }

    pub(super) fn bit_len(&self) -> u64 {
        match self.limbs.last() {
            None => 0,
            Some(top) => self.limbs.len() as u64 * 64 - u64::from(top.leading_zeros()),
        }
    }

    /// `self = self * factor + addend`.
    pub(super) fn mul_add(&mut self, factor: u64, addend: u64) {
        let mut carry = u128::from(addend);
        for limb in &mut self.limbs {
            let product = u128::from(*limb) * u128::from(factor) + carry;
            *limb = product as u64;
            carry = product >> 64;
        }
        if carry != 0 {
            self.limbs.push(carry as u64);
        }
    }

    /// `self = self * 5^power`.
    pub(super) fn mul_pow5(&mut self, power: u64) {
        const STEP: u32 = 27;
        for _ in 0..power / u64::from(STEP) {
            self.mul_add(5u64.pow(STEP), 0);
        }
        self.mul_add(5u64.pow((power % u64::from(STEP)) as u32), 0);
    }

    pub(super) fn shl(&mut self, bits: u64) {
        if self.is_zero() {
            return;
        }
        let part = (bits % 64) as u32;
        if part != 0 {
            let mut carry = 0;
            for limb in &mut self.limbs {
                let next = *limb >> (64 - part);
                *limb = *limb << part | carry;
                carry = next;
            }
            if carry != 0 {
                self.limbs.push(carry);
            }
        }
        self.limbs
            .splice(0..0, std::iter::repeat_n(0, (bits / 64) as usize));
    }

    fn halve(&mut self) {
        let mut carry = 0;
        for limb in self.limbs.iter_mut().rev() {
            let next = *limb << 63;
            *limb = *limb >> 1 | carry;
            carry = next;
        }
        self.trim();
    }

    fn cmp(&self, other: &Self) -> Ordering {
        let by_size = self.limbs.len().cmp(&other.limbs.len());
        by_size.then_with(|| self.limbs.iter().rev().cmp(other.limbs.iter().rev()))
    }

    /// `self -= other`, which must not be greater.
    fn sub(&mut self, other: &Self) {
        let mut borrow = false;
        let others = other.limbs.iter().copied().chain(std::iter::repeat(0));
        for (limb, subtrahend) in self.limbs.iter_mut().zip(others) {
            let (difference, first) = limb.overflowing_sub(subtrahend);
            let (difference, second) = difference.overflowing_sub(u64::from(borrow));
            *limb = difference;
            borrow = first || second;
        }
        self.trim();
    }

    /// The upper 128 bits at most, how many bits were dropped below them, and whether one of
    /// those was set.
    pub(super) fn top_bits(&self) -> (u128, u64, bool) {
        let dropped = self.bit_len().saturating_sub(128);
        let (skip, part) = ((dropped / 64) as usize, (dropped % 64) as u32);
        let limb = |at: usize| u128::from(self.limbs.get(skip + at).copied().unwrap_or(0));
        let low = limb(0) | limb(1) << 64;
        let top = if part == 0 {
            low
        } else {
            low >> part | limb(2) << (128 - part)
        };
        let below = self.limbs.iter().take(skip).any(|&limb| limb != 0);
        let sticky = below || limb(0) & ((1 << part) - 1) != 0;
        (top, dropped, sticky)
    }

    /// `self / divisor` to at least 66 significant bits: `(quotient, exponent, inexact)` stands
    /// for `quotient * 2^exponent`, plus something less than one unit if inexact. Neither may be
    /// zero.
    pub(super) fn ratio(mut self, mut divisor: Self) -> (u128, i64, bool) {
        const BITS: i64 = 66;
        let scale = BITS - (self.bit_len() as i64 - divisor.bit_len() as i64);
        if scale > 0 {
            self.shl(scale as u64);
        } else {
            divisor.shl(scale.unsigned_abs());
        }
        // The quotient now has 66 or 67 bits: subtract and shift, one bit a round.
        divisor.shl(BITS as u64);
        let mut quotient = 0u128;
        for _ in 0..=BITS {
            quotient <<= 1;
            if self.cmp(&divisor) != Ordering::Less {
                self.sub(&divisor);
                quotient |= 1;
            }
            divisor.halve();
        }
        (quotient, -scale, !self.is_zero())
    }

    /// Decimal digits, most significant first; `0` for zero.
    pub(super) fn into_decimal(mut self) -> Vec<u8> {
        const CHUNK: u128 = 10_000_000_000_000_000_000;
        const CHUNK_DIGITS: usize = 19;
        let mut out = Vec::new();
        while !self.is_zero() {
            let mut remainder = 0u128;
            for limb in self.limbs.iter_mut().rev() {
                let value = remainder << 64 | u128::from(*limb);
                *limb = (value / CHUNK) as u64;
                remainder = value % CHUNK;
            }
            self.trim();
            for _ in 0..CHUNK_DIGITS {
                out.push(b'0' + (remainder % 10) as u8);
                remainder /= 10;
            }
        }
        while out.last() == Some(&b'0') {
            out.pop();
        }
        if out.is_empty() {
            out.push(b'0');
        }
        out.reverse();
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn digits_survive_the_round_trip() {
        let text = b"123456789012345678901234567890123456789012345678901234567890";
        assert_eq!(Big::from_digits(text.iter()).into_decimal(), text);
        assert_eq!(Big::from_u128(0).into_decimal(), b"0");
        let mut thousand = Big::from_u128(1);
        thousand.mul_pow5(100);
        thousand.shl(100);
        assert_eq!(thousand.into_decimal(), [&b"1"[..], &[b'0'; 100]].concat());
    }

    proptest! {
        #[test]
        fn ratio_agrees_with_native_division(a in 1u128.., b in 1u64..) {
            let (quotient, exponent, _) = Big::from_u128(a).ratio(Big::from_u128(b.into()));
            let whole = if exponent >= 0 {
                quotient << exponent
            } else {
                quotient >> exponent.unsigned_abs().min(127)
            };
            if exponent <= 0 {
                prop_assert_eq!(whole, a / u128::from(b));
            }
        }

        #[test]
        fn top_bits_of_a_shifted_number(a in 1u128.., shift in 0u64..400) {
            let mut big = Big::from_u128(a);
            big.shl(shift);
            let (top, dropped, sticky) = big.top_bits();
            prop_assert!(!sticky);
            prop_assert_eq!(top >> (shift - dropped), a);
        }
    }
}

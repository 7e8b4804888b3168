//! The x87 extended double in software: what INCRBYFLOAT and HINCRBYFLOAT compute in.
//!
//! A Redis built for x86-64 parses, adds and prints these commands' numbers as 80-bit `long
//! double`: a significand of 64 bits, exponents of 15. Their decimal texts show the rounding, so
//! we round as that format does, to nearest and ties to even, on every machine.
//!
//! A finite value is `(-1)^negative * significand * 2^exponent`. The significand's top bit is set
//! unless the exponent is the least one (subnormals and zero), so equal values are equal structs.
//!
//! Absent on purpose: everything but reading, adding and printing.

use super::bignum::Big;
use super::literal::{self, Format, Literal, Magnitude};
use super::num::NumText;

const FORMAT: Format = Format {
    bits: 64,
    min_exponent: -16445,
    max_exponent: 16320,
};

/// Redis copies the text into a buffer of this size and wants room for a NUL.
const MAX_TEXT_BYTES: usize = 5 * 1024;

/// An 80-bit extended double.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LongDouble {
    class: Class,
    negative: bool,
    significand: u64,
    exponent: i64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    Finite,
    Infinite,
    NaN,
}

impl LongDouble {
    /// Positive zero.
    pub const ZERO: Self = Self::finite(false, 0, FORMAT.min_exponent);

    const NAN: Self = Self {
        class: Class::NaN,
        negative: false,
        significand: 0,
        exponent: FORMAT.min_exponent,
    };

    const fn finite(negative: bool, significand: u64, exponent: i64) -> Self {
        Self {
            class: Class::Finite,
            negative,
            significand,
            exponent,
        }
    }

    const fn infinite(negative: bool) -> Self {
        let exponent = FORMAT.min_exponent;
        Self {
            class: Class::Infinite,
            negative,
            significand: 0,
            exponent,
        }
    }

    /// Rounds `(mantissa + s) * 2^exponent`; beyond the format's range that is infinity.
    fn rounded(negative: bool, mantissa: u128, exponent: i64, sticky: bool) -> Self {
        match literal::round(mantissa, exponent, sticky, FORMAT) {
            Some((significand, exponent)) => Self::finite(negative, significand, exponent),
            None => Self::infinite(negative),
        }
    }

    /// Reads the whole of `text` as `strtold` does, under Redis's rules for a float argument: no
    /// leading blank, no NaN, no finite text that overflows to infinity or vanishes to zero, and
    /// less than 5 KiB. `inf` and hexadecimal floats are numbers.
    pub fn parse(text: &[u8]) -> Option<Self> {
        if text.len() >= MAX_TEXT_BYTES {
            return None;
        }
        let Literal {
            negative,
            magnitude,
        } = literal::parse(text)?;
        let (value, is_zero) = match magnitude {
            Magnitude::Infinite => return Some(Self::infinite(negative)),
            Magnitude::Decimal {
                whole,
                fraction,
                exponent,
            } => {
                let (whole, fraction) = (strip_zeros(whole), fraction);
                decimal(negative, whole, fraction, exponent)
            }
            Magnitude::Binary {
                mantissa,
                exponent,
                sticky,
            } => (
                Self::rounded(negative, mantissa, exponent, sticky),
                mantissa == 0,
            ),
        };
        (value.is_finite() && (is_zero || value.significand != 0)).then_some(value)
    }

    /// `n`, exactly.
    pub fn from_i64(n: i64) -> Self {
        Self::rounded(n < 0, u128::from(n.unsigned_abs()), 0, false)
    }

    /// Neither infinite nor NaN.
    pub fn is_finite(self) -> bool {
        self.class == Class::Finite
    }

    /// Not a number: what infinities of opposite signs add up to.
    pub fn is_nan(self) -> bool {
        self.class == Class::NaN
    }

    /// `%.17Lf` without trailing zeros, nor a trailing point, nor the sign of a zero; `inf`,
    /// `-inf` and `nan` for what is not finite.
    pub fn fmt_human(self) -> NumText {
        match self.class {
            Class::Infinite if self.negative => return NumText::new(b"-inf"),
            Class::Infinite => return NumText::new(b"inf"),
            Class::NaN => return NumText::new(b"nan"),
            Class::Finite => {}
        }
        let mut digits = match self.in_units_of_1e17() {
            Ok(units) => itoa::Buffer::new().format(units).as_bytes().to_vec(),
            Err(integer) => return NumText::join(self.negative, &integer, b""),
        };
        if digits.len() <= DECIMALS {
            let missing = DECIMALS + 1 - digits.len();
            digits.splice(0..0, std::iter::repeat_n(b'0', missing));
        }
        let point = digits.len() - DECIMALS;
        let (whole, fraction) = digits.split_at_checked(point).unwrap_or((&digits, &[]));
        let kept = fraction
            .iter()
            .rposition(|&digit| digit != b'0')
            .map_or(0, |last| last + 1);
        let fraction = fraction.get(..kept).unwrap_or_default();
        let negative = self.negative && (whole != b"0" || !fraction.is_empty());
        NumText::join(negative, whole, fraction)
    }

    /// The magnitude in units of 10^-17, rounded to even; or, if it is an integer too large for
    /// that, its decimal digits.
    fn in_units_of_1e17(self) -> Result<u128, Vec<u8>> {
        const SCALE: u128 = 100_000_000_000_000_000;
        let significand = u128::from(self.significand);
        if self.exponent > 0 {
            let mut big = Big::from_u128(significand);
            big.shl(self.exponent.unsigned_abs());
            return Err(big.into_decimal());
        }
        // Below 2^64 * 10^17 < 2^121: nothing is lost before the shift, which drops the rest.
        let scaled = significand * SCALE;
        let shift = self.exponent.unsigned_abs();
        if shift == 0 {
            return Ok(scaled);
        }
        if shift > 127 {
            return Ok(0);
        }
        let kept = scaled >> shift;
        let half = 1u128 << (shift - 1);
        let dropped = scaled & (half | (half - 1));
        let up = dropped > half || (dropped == half && kept & 1 == 1);
        Ok(kept + u128::from(up))
    }
}

/// Digits behind the point that Redis asks printf for.
const DECIMALS: usize = 17;

impl std::ops::Add for LongDouble {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        match (self.class, other.class) {
            (Class::NaN, _) | (_, Class::NaN) => return Self::NAN,
            (Class::Infinite, Class::Infinite) if self.negative != other.negative => {
                return Self::NAN;
            }
            (Class::Infinite, _) => return self,
            (_, Class::Infinite) => return other,
            (Class::Finite, Class::Finite) => {}
        }
        let greater = |a: &Self| (a.exponent, a.significand);
        let (large, small) = if greater(&self) >= greater(&other) {
            (self, other)
        } else {
            (other, self)
        };
        // 62 guard bits below the larger significand; what the smaller one loses below those
        // only matters as "more than nothing", so it is folded into the last bit.
        const GUARD: u32 = 62;
        let large_bits = u128::from(large.significand) << GUARD;
        let small_bits = u128::from(small.significand) << GUARD;
        let distance = (large.exponent - small.exponent).unsigned_abs();
        let aligned = if distance > 127 {
            u128::from(small_bits != 0)
        } else {
            let shifted = small_bits >> distance;
            shifted | u128::from(shifted << distance != small_bits)
        };
        let (negative, sum) = if large.negative == small.negative {
            (large.negative, large_bits + aligned)
        } else if large_bits == aligned {
            (false, 0)
        } else {
            (large.negative, large_bits - aligned)
        };
        Self::rounded(negative, sum, large.exponent - i64::from(GUARD), false)
    }
}

fn strip_zeros(digits: &[u8]) -> &[u8] {
    let first = digits
        .iter()
        .position(|&digit| digit != b'0')
        .unwrap_or(digits.len());
    digits.get(first..).unwrap_or_default()
}

/// `whole.fraction * 10^exponent`, and whether that is exactly zero.
fn decimal(negative: bool, whole: &[u8], fraction: &[u8], exponent: i64) -> (LongDouble, bool) {
    // Decimal exponents from which on every nonzero value of the format's size is out of range.
    const HUGE: i64 = 4940;
    const TINY: i64 = -4970;
    let digits = || whole.iter().chain(fraction);
    let Some(leading) = digits().position(|&digit| digit != b'0') else {
        return (LongDouble::finite(negative, 0, FORMAT.min_exponent), true);
    };
    // The value lies in [10^(magnitude-1), 10^magnitude).
    let magnitude = whole.len() as i64 - leading as i64 + exponent;
    if magnitude > HUGE {
        return (LongDouble::infinite(negative), false);
    }
    if magnitude < TINY {
        return (LongDouble::finite(negative, 0, FORMAT.min_exponent), false);
    }
    let count = whole.len() + fraction.len() - leading;
    let power = exponent - fraction.len() as i64;
    if let Some(value) = short_decimal(negative, digits().skip(leading), count, power) {
        return (value, false);
    }
    let mut number = Big::from_digits(digits());
    let value = if power >= 0 {
        number.mul_pow5(power.unsigned_abs());
        let (top, dropped, sticky) = number.top_bits();
        LongDouble::rounded(negative, top, dropped as i64 + power, sticky)
    } else {
        let mut divisor = Big::from_u128(1);
        divisor.mul_pow5(power.unsigned_abs());
        let (quotient, scale, sticky) = number.ratio(divisor);
        LongDouble::rounded(negative, quotient, scale + power, sticky)
    };
    (value, false)
}

/// The usual sizes, in native arithmetic: `digits * 10^power` with at most 38 digits that are
/// integers or need a divisor of at most `5^27`, the greatest that fits 64 bits.
fn short_decimal<'a>(
    negative: bool,
    digits: impl Iterator<Item = &'a u8>,
    count: usize,
    power: i64,
) -> Option<LongDouble> {
    if count > 38 || !(-27..=0).contains(&power) {
        return None;
    }
    let number = digits.fold(0u128, |n, &digit| {
        n * 10 + u128::from(digit.wrapping_sub(b'0'))
    });
    if power == 0 {
        return Some(LongDouble::rounded(negative, number, 0, false));
    }
    let divisor = 5u128.pow(power.unsigned_abs() as u32);
    // 128 bits over at most 63 leave a quotient of at least 65: one more than the significand.
    let scale = number.leading_zeros();
    let scaled = number << scale;
    let (quotient, remainder) = (scaled / divisor, scaled % divisor);
    let exponent = power - i64::from(scale);
    Some(LongDouble::rounded(
        negative,
        quotient,
        exponent,
        remainder != 0,
    ))
}

#[cfg(test)]
mod tests;

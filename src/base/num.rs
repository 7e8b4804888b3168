//! Numbers as Redis reads and prints them.
//!
//! Integers are strict: what parses is exactly what printing the number gives back, so a stored
//! text may be kept as an integer. Doubles are read as `strtod` reads a whole text, and printed
//! with few digits that read back as the same double, in the layout of fpconv, which Redis uses
//! since 7.2: integers plain, a point within reach of the digits, else `1.5e+20`.

use super::grisu::{self, Decimal};
use super::literal::{self, Format, Literal, Magnitude};
use std::fmt;
use std::ops::Deref;

/// The text of a number. Inline unless it is a long double of many digits.
#[derive(Clone)]
pub struct NumText(Repr);

const INLINE_BYTES: usize = 46;

#[derive(Clone)]
enum Repr {
    Inline { len: u8, bytes: [u8; INLINE_BYTES] },
    Heap(Box<[u8]>),
}

impl NumText {
    pub(super) fn new(text: &[u8]) -> Self {
        let mut bytes = [0; INLINE_BYTES];
        match bytes.get_mut(..text.len()) {
            Some(room) => {
                room.copy_from_slice(text);
                Self(Repr::Inline {
                    len: text.len() as u8,
                    bytes,
                })
            }
            None => Self(Repr::Heap(text.into())),
        }
    }

    /// Sign, whole part, and the fraction behind a point if there is one.
    pub(super) fn join(negative: bool, whole: &[u8], fraction: &[u8]) -> Self {
        let mut text = Text::default();
        let sign: &[u8] = if negative { b"-" } else { b"" };
        let point: &[u8] = if fraction.is_empty() { b"" } else { b"." };
        let parts = [sign, whole, point, fraction];
        if parts.iter().map(|part| part.len()).sum::<usize>() > INLINE_BYTES {
            return Self(Repr::Heap(parts.concat().into()));
        }
        parts.iter().for_each(|part| text.push(part));
        text.done()
    }

    /// `n` in decimal.
    #[inline]
    pub fn from_i64(n: i64) -> Self {
        Self::new(itoa::Buffer::new().format(n).as_bytes())
    }

    /// The text, which is always ASCII.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(self).unwrap_or_default()
    }
}

impl Deref for NumText {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        match &self.0 {
            Repr::Inline { len, bytes } => bytes.get(..usize::from(*len)).unwrap_or_default(),
            Repr::Heap(text) => text,
        }
    }
}

impl AsRef<[u8]> for NumText {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl fmt::Debug for NumText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NumText({})", self.as_str())
    }
}

impl fmt::Display for NumText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// An inline text under construction; what does not fit is left out, so callers stay below.
struct Text {
    len: usize,
    bytes: [u8; INLINE_BYTES],
}

impl Default for Text {
    fn default() -> Self {
        Self {
            len: 0,
            bytes: [0; INLINE_BYTES],
        }
    }
}

impl Text {
    #[inline]
    fn push(&mut self, part: &[u8]) {
        let end = self.len + part.len();
        debug_assert!(end <= INLINE_BYTES);
        if let Some(room) = self.bytes.get_mut(self.len..end) {
            room.copy_from_slice(part);
            self.len = end;
        }
    }

    fn zeros(&mut self, count: usize) {
        for _ in 0..count {
            self.push(b"0");
        }
    }

    fn done(self) -> NumText {
        NumText(Repr::Inline {
            len: self.len as u8,
            bytes: self.bytes,
        })
    }
}

/// A decimal `i64` in its one canonical form: no blanks, no `+`, no leading zeros, no `-0`.
#[inline]
pub fn parse_i64(text: &[u8]) -> Option<i64> {
    match text {
        [b'0'] => Some(0),
        [b'-', digits @ ..] => {
            let magnitude = canonical_digits(digits)?;
            (magnitude <= i64::MIN.unsigned_abs()).then(|| (magnitude as i64).wrapping_neg())
        }
        digits => i64::try_from(canonical_digits(digits)?).ok(),
    }
}

/// The integer that a text begins with; 0 without one, saturated when it is too large. What follows
/// is not looked at.
pub fn leading_i64(text: &[u8]) -> i64 {
    let (negative, digits) = match text.split_first() {
        Some((b'-', digits)) => (true, digits),
        Some((b'+', digits)) => (false, digits),
        _ => (false, text),
    };
    let magnitude = digits
        .iter()
        .take_while(|byte| byte.is_ascii_digit())
        .fold(0i64, |n, byte| {
            n.saturating_mul(10).saturating_add(i64::from(byte - b'0'))
        });
    if negative { -magnitude } else { magnitude }
}

/// A decimal `u64` in its one canonical form.
#[inline]
pub fn parse_u64(text: &[u8]) -> Option<u64> {
    if text == b"0" {
        Some(0)
    } else {
        canonical_digits(text)
    }
}

/// One or more digits of which the first is not zero.
#[inline]
fn canonical_digits(digits: &[u8]) -> Option<u64> {
    let (&first, _) = digits.split_first()?;
    if !(b'1'..=b'9').contains(&first) || digits.len() > 20 {
        return None;
    }
    let mut value = 0u64;
    if digits.len() < 20 {
        for &byte in digits {
            let digit = byte.wrapping_sub(b'0');
            if digit > 9 {
                return None;
            }
            value = value.wrapping_mul(10).wrapping_add(u64::from(digit));
        }
        return Some(value);
    }
    for &byte in digits {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        value = value.checked_mul(10)?.checked_add(u64::from(digit))?;
    }
    Some(value)
}

/// A double as `strtod` reads the whole of `text`: decimal or hexadecimal, `inf` and `infinity`
/// in any case. Refused: blanks, NaN, and finite texts too large or too small for a double.
pub fn parse_f64(text: &[u8]) -> Option<f64> {
    const FORMAT: Format = Format {
        bits: 53,
        min_exponent: -1074,
        max_exponent: 971,
    };
    // Integers this short are exact and by far the commonest scores.
    if text.len() <= 15
        && let Some(n) = parse_i64(text)
    {
        return Some(n as f64);
    }
    let Literal {
        negative,
        magnitude,
    } = literal::parse(text)?;
    let value = match magnitude {
        Magnitude::Infinite => f64::INFINITY,
        Magnitude::Decimal {
            whole, fraction, ..
        } => {
            let unsigned = text
                .strip_prefix(b"-")
                .or(text.strip_prefix(b"+"))
                .unwrap_or(text);
            let value: f64 = std::str::from_utf8(unsigned).ok()?.parse().ok()?;
            let is_zero = whole.iter().chain(fraction).all(|&digit| digit == b'0');
            if value.is_infinite() || (value == 0.0 && !is_zero) {
                return None;
            }
            value
        }
        Magnitude::Binary {
            mantissa,
            exponent,
            sticky,
        } => {
            let (significand, exponent) = literal::round(mantissa, exponent, sticky, FORMAT)?;
            if significand == 0 && mantissa != 0 {
                return None;
            }
            assemble(significand, exponent)
        }
    };
    Some(if negative { -value } else { value })
}

/// `significand * 2^exponent` of a rounded double. Both steps are exact: the significand has at
/// most 53 bits, and the power is split where it would leave the range of normal numbers.
fn assemble(significand: u64, exponent: i64) -> f64 {
    let power = |n: i64| f64::from_bits(((n + 1023) as u64) << 52);
    let value = significand as f64;
    if exponent < -1000 {
        value * power(-1000) * power(exponent + 1000)
    } else {
        value * power(exponent)
    }
}

/// A double as C's `%.17g` prints it: 17 significant digits at most, without the zeros at the
/// end.
pub fn fmt_g17(value: f64) -> NumText {
    if !value.is_finite() || value == 0.0 {
        return fmt_f64(value);
    }
    let text = format!("{:.16e}", value.abs());
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let digits = mantissa.replace('.', "");
    let digits = digits.trim_end_matches('0');
    let sign = if value < 0.0 { "-" } else { "" };
    let places = usize::try_from(exponent).unwrap_or(0);
    let (at, tail) = match exponent {
        0..=16 => (places + 1, String::new()),
        -4..=-1 => {
            let zeros = "0".repeat(exponent.unsigned_abs() as usize - 1);
            return NumText::new(format!("{sign}0.{zeros}{digits}").as_bytes());
        }
        _ => (1, format!("e{exponent:+03}")),
    };
    let (whole, fraction) = digits.split_at(at.min(digits.len()));
    let point = if fraction.is_empty() { "" } else { "." };
    NumText::new(format!("{sign}{whole:0<at$}{point}{fraction}{tail}").as_bytes())
}

/// A double with few digits, as ZSCORE and RESP3 print it; `inf`, `-inf` or `nan` for what
/// is not finite.
pub fn fmt_f64(value: f64) -> NumText {
    /// Half of `i64::MAX`, as a double: integers up to here are printed as integers.
    const INTEGER_LIMIT: f64 = (i64::MAX / 2) as f64;
    if value.is_nan() {
        return NumText::new(b"nan");
    }
    if value.is_infinite() {
        return NumText::new(if value < 0.0 { b"-inf" } else { b"inf" });
    }
    if value == 0.0 {
        return NumText::new(if value.is_sign_negative() {
            b"-0"
        } else {
            b"0"
        });
    }
    if value.abs() <= INTEGER_LIMIT && value.trunc() == value {
        return NumText::from_i64(value as i64);
    }
    layout(value < 0.0, &grisu::digits(value.abs()))
}

/// A double as fpconv itself prints it, without the integers of [`fmt_f64`]: `1e+8`.
pub fn fmt_fpconv(value: f64) -> NumText {
    if value.is_finite() && value != 0.0 {
        layout(value < 0.0, &grisu::digits(value.abs()))
    } else {
        fmt_f64(value)
    }
}

/// fpconv's choice between the three notations.
fn layout(negative: bool, decimal: &Decimal) -> NumText {
    let all = decimal.digits();
    let count = all.len() as i32;
    // The exponents of the last and of the first digit.
    let last = decimal.exponent;
    let first = last + count - 1;
    let point = last + count;
    let mut text = Text::default();
    if negative {
        text.push(b"-");
    }
    if last >= 0 && first.abs() < count + 7 {
        text.push(all);
        text.zeros(last.unsigned_abs() as usize);
    } else if last < 0 && (last > -7 || first.abs() < 4) {
        if point <= 0 {
            text.push(b"0.");
            text.zeros(point.unsigned_abs() as usize);
            text.push(all);
        } else {
            let (whole, fraction) = all
                .split_at_checked(point.unsigned_abs() as usize)
                .unwrap_or((all, &[]));
            text.push(whole);
            text.push(b".");
            text.push(fraction);
        }
    } else {
        let (lead, more) = all.split_at_checked(1).unwrap_or((all, &[]));
        text.push(lead);
        if !more.is_empty() {
            text.push(b".");
            text.push(more);
        }
        text.push(if first < 0 { b"e-" } else { b"e+" });
        text.push(itoa::Buffer::new().format(first.unsigned_abs()).as_bytes());
    }
    text.done()
}

/// A size with an optional unit, as redis.conf writes them, in bytes: `100`, `1k` (1000), `1kb`
/// (1024), `m`, `mb`, `g`, `gb`, in any case. `None` if negative, malformed or beyond `i64`.
/// A unit alone counts as zero, as Redis has it.
pub fn parse_memory(text: &[u8]) -> Option<i64> {
    let end = text
        .iter()
        .position(|byte| !byte.is_ascii_digit())
        .unwrap_or(text.len());
    let (digits, unit) = text.split_at_checked(end)?;
    let factor: i64 = match unit.to_ascii_lowercase().as_slice() {
        b"" | b"b" => 1,
        b"k" => 1000,
        b"kb" => 1 << 10,
        b"m" => 1_000_000,
        b"mb" => 1 << 20,
        b"g" => 1_000_000_000,
        b"gb" => 1 << 30,
        _ => return None,
    };
    let value = digits.iter().try_fold(0i64, |value, &byte| {
        value.checked_mul(10)?.checked_add(i64::from(byte - b'0'))
    })?;
    value.checked_mul(factor)
}

#[cfg(test)]
mod tests;

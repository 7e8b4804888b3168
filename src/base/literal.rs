//! Floating-point literals as C's `strtod` and `strtold` read them, taken apart.
//!
//! The whole text must be one literal: no blanks, no trailing bytes. Decimal digits are kept as
//! text, because only the caller knows how many it can use; hexadecimal ones are reduced to 128
//! bits and a sticky bit, which is enough for any format of ours.

/// What a text turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Magnitude<'a> {
    /// `inf` or `infinity`.
    Infinite,
    /// `whole.fraction * 10^exponent`.
    Decimal {
        whole: &'a [u8],
        fraction: &'a [u8],
        exponent: i64,
    },
    /// `(mantissa + s) * 2^exponent`, where `s` is in (0, 1) if `sticky` and 0 if not.
    Binary {
        mantissa: u128,
        exponent: i64,
        sticky: bool,
    },
}

/// A sign and what follows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Literal<'a> {
    pub negative: bool,
    pub magnitude: Magnitude<'a>,
}

/// Exponents beyond this are beyond every format whatever the digits: inputs are shorter.
const EXPONENT_LIMIT: i64 = 1 << 40;

/// Takes `text` apart; `None` if it is no number. NaN counts as none.
pub(super) fn parse(text: &[u8]) -> Option<Literal<'_>> {
    let (negative, body) = match text {
        [b'-', body @ ..] => (true, body),
        [b'+', body @ ..] => (false, body),
        body => (false, body),
    };
    let magnitude = match body {
        [b'0', b'x' | b'X', hex @ ..] => parse_hex(hex)?,
        [b'0'..=b'9' | b'.', ..] => parse_decimal(body)?,
        _ if body.eq_ignore_ascii_case(b"inf") || body.eq_ignore_ascii_case(b"infinity") => {
            Magnitude::Infinite
        }
        _ => return None,
    };
    Some(Literal {
        negative,
        magnitude,
    })
}

fn parse_decimal(body: &[u8]) -> Option<Magnitude<'_>> {
    let (whole, rest) = leading(body, |byte| byte.is_ascii_digit());
    let (fraction, rest) = match rest {
        [b'.', after @ ..] => leading(after, |byte| byte.is_ascii_digit()),
        _ => (&[][..], rest),
    };
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let exponent = match rest {
        [] => 0,
        [b'e' | b'E', digits @ ..] => parse_exponent(digits)?,
        _ => return None,
    };
    Some(Magnitude::Decimal {
        whole,
        fraction,
        exponent,
    })
}

fn parse_hex(body: &[u8]) -> Option<Magnitude<'static>> {
    let (whole, rest) = leading(body, |byte| byte.is_ascii_hexdigit());
    let (fraction, rest) = match rest {
        [b'.', after @ ..] => leading(after, |byte| byte.is_ascii_hexdigit()),
        _ => (&[][..], rest),
    };
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let written = match rest {
        [] => 0,
        [b'p' | b'P', digits @ ..] => parse_exponent(digits)?,
        _ => return None,
    };
    let (mut mantissa, mut exponent, mut sticky) = (0u128, 0i64, false);
    for &byte in whole.iter().chain(fraction) {
        let digit = (byte as char).to_digit(16)?;
        if mantissa >> 124 == 0 {
            mantissa = mantissa << 4 | u128::from(digit);
        } else {
            exponent = exponent.checked_add(4)?;
            sticky |= digit != 0;
        }
    }
    let behind_point = i64::try_from(fraction.len()).ok()?.checked_mul(4)?;
    let exponent = exponent.checked_sub(behind_point)?.checked_add(written)?;
    Some(Magnitude::Binary {
        mantissa,
        exponent,
        sticky,
    })
}

/// A signed run of digits that is at least one long; saturates at [`EXPONENT_LIMIT`].
fn parse_exponent(text: &[u8]) -> Option<i64> {
    let (negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] => (false, digits),
        digits => (false, digits),
    };
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let value = digits.iter().fold(0i64, |value, &byte| {
        value
            .saturating_mul(10)
            .saturating_add(i64::from(byte - b'0'))
            .min(EXPONENT_LIMIT)
    });
    Some(if negative { -value } else { value })
}

fn leading(text: &[u8], wanted: impl Fn(&u8) -> bool) -> (&[u8], &[u8]) {
    let end = text
        .iter()
        .position(|byte| !wanted(byte))
        .unwrap_or(text.len());
    text.split_at_checked(end).unwrap_or((text, &[]))
}

/// A binary format, by the width of its significand and its exponents.
#[derive(Clone, Copy, Debug)]
pub(super) struct Format {
    /// Bits of the significand, the leading one included.
    pub bits: u32,
    /// Exponent of the last bit of the smallest numbers.
    pub min_exponent: i64,
    /// Exponent of the last bit of the greatest finite numbers.
    pub max_exponent: i64,
}

/// `(mantissa + s) * 2^exponent` rounded to `format`, ties to even: a significand of at most
/// `format.bits` bits and its exponent. The significand is full unless the exponent is the least
/// one. `None` if the result is beyond the greatest finite number.
pub(super) fn round(
    mantissa: u128,
    exponent: i64,
    sticky: bool,
    format: Format,
) -> Option<(u64, i64)> {
    if mantissa == 0 {
        return Some((0, format.min_exponent));
    }
    let width = i64::from(128 - mantissa.leading_zeros());
    let mut target = (exponent + width - i64::from(format.bits)).max(format.min_exponent);
    let shift = target - exponent;
    let mut rounded = if shift <= 0 {
        mantissa << shift.unsigned_abs()
    } else if shift > 128 {
        0
    } else {
        let kept = mantissa.checked_shr(shift as u32).unwrap_or(0);
        let half = 1u128 << (shift - 1);
        let dropped = mantissa & (half | (half - 1));
        let odd = kept & 1 == 1;
        kept + u128::from(dropped > half || (dropped == half && (sticky || odd)))
    };
    if rounded >> format.bits != 0 {
        rounded >>= 1;
        target += 1;
    }
    (target <= format.max_exponent).then_some((rounded as u64, target))
}

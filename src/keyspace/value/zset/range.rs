//! Ranges of scores and of members, and how clients write them.

use crate::base::num::parse_f64;

/// Scores between two bounds, each of which may be excluded.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ScoreRange {
    /// Lower bound.
    pub min: f64,
    /// Upper bound.
    pub max: f64,
    /// Whether the lower bound itself is outside.
    pub min_ex: bool,
    /// Whether the upper bound itself is outside.
    pub max_ex: bool,
}

impl ScoreRange {
    /// Reads two bounds as ZRANGEBYSCORE has them: `1.5`, `(1.5`, `-inf`, `+inf`. `None` when
    /// either is not a number.
    pub fn parse(min: &[u8], max: &[u8]) -> Option<ScoreRange> {
        let bound = |text: &[u8]| match text {
            [b'(', number @ ..] => Some((bound_number(number)?, true)),
            number => Some((bound_number(number)?, false)),
        };
        let ((min, min_ex), (max, max_ex)) = (bound(min)?, bound(max)?);
        Some(ScoreRange {
            min,
            max,
            min_ex,
            max_ex,
        })
    }

    /// Whether a score lies below the range.
    pub fn is_after(&self, score: f64) -> bool {
        if self.min_ex {
            score <= self.min
        } else {
            score < self.min
        }
    }

    /// Whether a score does not lie above the range.
    pub fn reaches(&self, score: f64) -> bool {
        if self.max_ex {
            score < self.max
        } else {
            score <= self.max
        }
    }

    /// Whether a score lies in the range.
    pub fn contains(&self, score: f64) -> bool {
        !self.is_after(score) && self.reaches(score)
    }
}

/// The number of a bound, which Redis reads otherwise than a score: nothing at all is 0, too large
/// is infinite, and hexadecimal numbers are none.
fn bound_number(text: &[u8]) -> Option<f64> {
    if text.is_empty() {
        return Some(0.0);
    }
    if text.iter().any(|byte| byte.eq_ignore_ascii_case(&b'x')) {
        return None;
    }
    parse_f64(text).or_else(|| {
        let number: f64 = std::str::from_utf8(text).ok()?.parse().ok()?;
        (!number.is_nan()).then_some(number)
    })
}

/// A bound of members.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LexBound<'a> {
    /// `-`: before all members.
    Lowest,
    /// `+`: after all members.
    Highest,
    /// `[member`.
    Included(&'a [u8]),
    /// `(member`.
    Excluded(&'a [u8]),
}

impl<'a> LexBound<'a> {
    fn parse(text: &'a [u8]) -> Option<LexBound<'a>> {
        match text {
            b"-" => Some(LexBound::Lowest),
            b"+" => Some(LexBound::Highest),
            [b'[', member @ ..] => Some(LexBound::Included(member)),
            [b'(', member @ ..] => Some(LexBound::Excluded(member)),
            _ => None,
        }
    }
}

/// Members between two bounds, compared byte by byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LexRange<'a> {
    /// Lower bound.
    pub min: LexBound<'a>,
    /// Upper bound.
    pub max: LexBound<'a>,
}

impl<'a> LexRange<'a> {
    /// Reads two bounds as ZRANGEBYLEX has them: `[a`, `(a`, `-`, `+`. `None` for anything else.
    pub fn parse(min: &'a [u8], max: &'a [u8]) -> Option<LexRange<'a>> {
        Some(LexRange {
            min: LexBound::parse(min)?,
            max: LexBound::parse(max)?,
        })
    }

    /// Whether a member lies below the range.
    pub fn is_after(&self, member: &[u8]) -> bool {
        match self.min {
            LexBound::Lowest => false,
            LexBound::Highest => true,
            LexBound::Included(bound) => member < bound,
            LexBound::Excluded(bound) => member <= bound,
        }
    }

    /// Whether a member does not lie above the range.
    pub fn reaches(&self, member: &[u8]) -> bool {
        match self.max {
            LexBound::Lowest => false,
            LexBound::Highest => true,
            LexBound::Included(bound) => member <= bound,
            LexBound::Excluded(bound) => member < bound,
        }
    }

    /// Whether a member lies in the range.
    pub fn contains(&self, member: &[u8]) -> bool {
        !self.is_after(member) && self.reaches(member)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn score_bounds_are_read_as_redis_writes_them() {
        let range = ScoreRange::parse(b"(1.5", b"+inf").unwrap();
        assert_eq!((range.min, range.min_ex, range.max_ex), (1.5, true, false));
        assert!(range.max.is_infinite());
        assert!(!range.contains(1.5) && range.contains(1.6) && range.contains(f64::INFINITY));
        assert!(ScoreRange::parse(b"-inf", b"(inf").is_some_and(|r| !r.contains(f64::INFINITY)));
        for bad in [
            &b"abc"[..],
            b"nan",
            b"(nan",
            b"[1",
            b"1 ",
            b" ",
            b" 1",
            b"0x1p3",
        ] {
            assert_eq!(ScoreRange::parse(bad, b"1"), None);
            assert_eq!(ScoreRange::parse(b"1", bad), None);
        }
    }

    #[test]
    fn score_bounds_may_be_empty_or_too_large() {
        let range = ScoreRange::parse(b"(", b"1e999").unwrap();
        assert_eq!(
            (range.min, range.min_ex, range.max),
            (0.0, true, f64::INFINITY)
        );
    }

    #[test]
    fn member_bounds_are_read_as_redis_writes_them() {
        let range = LexRange::parse(b"[b", b"(d").unwrap();
        let inside = |m: &[u8]| range.contains(m);
        assert!(inside(b"b") && inside(b"czz") && !inside(b"d") && !inside(b"a"));
        assert!(LexRange::parse(b"-", b"+").unwrap().contains(b""));
        assert!(!LexRange::parse(b"+", b"-").unwrap().contains(b"x"));
        for bad in [&b"b"[..], b"", b"-x", b"++"] {
            assert_eq!(LexRange::parse(bad, b"+"), None);
            assert_eq!(LexRange::parse(b"-", bad), None);
        }
    }
}

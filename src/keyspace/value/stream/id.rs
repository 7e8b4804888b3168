//! Ids of stream entries.

use crate::base::num;

/// The id of an entry: a Unix time in milliseconds, and a number within that millisecond.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId {
    /// Unix time, milliseconds.
    pub ms: u64,
    /// Number within the millisecond.
    pub seq: u64,
}

/// Room for the longest text of an id.
const TEXT_BYTES: usize = 41;

/// A longer text is not read as an id.
const MAX_GIVEN_BYTES: usize = 127;

/// The text of an id, on the stack.
#[derive(Clone, Copy)]
pub struct IdText {
    bytes: [u8; TEXT_BYTES],
    len: usize,
}

impl std::ops::Deref for IdText {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }
}

impl StreamId {
    /// `0-0`, which no entry has.
    pub const MIN: StreamId = StreamId { ms: 0, seq: 0 };
    /// The greatest id.
    pub const MAX: StreamId = StreamId {
        ms: u64::MAX,
        seq: u64::MAX,
    };

    /// An id of its two parts.
    pub const fn new(ms: u64, seq: u64) -> StreamId {
        StreamId { ms, seq }
    }

    /// The id right after this one.
    pub fn next(self) -> Option<StreamId> {
        match self.seq.checked_add(1) {
            Some(seq) => Some(StreamId { seq, ..self }),
            None => self.ms.checked_add(1).map(|ms| StreamId { ms, seq: 0 }),
        }
    }

    /// The id right before this one.
    pub fn previous(self) -> Option<StreamId> {
        match self.seq.checked_sub(1) {
            Some(seq) => Some(StreamId { seq, ..self }),
            None => self
                .ms
                .checked_sub(1)
                .map(|ms| StreamId { ms, seq: u64::MAX }),
        }
    }

    /// `<ms>-<seq>`, or `<ms>` alone, which stands for `missing_seq`.
    pub fn parse(text: &[u8], missing_seq: u64) -> Option<StreamId> {
        if text.len() > MAX_GIVEN_BYTES {
            return None;
        }
        match memchr::memchr(b'-', text) {
            None => Some(StreamId::new(number(text)?, missing_seq)),
            Some(dash) => {
                let (ms, seq) = text.split_at_checked(dash)?;
                Some(StreamId::new(number(ms)?, number(seq.get(1..)?)?))
            }
        }
    }

    /// The text `<ms>-<seq>`.
    pub fn text(self) -> IdText {
        let (mut ms, mut seq) = (itoa::Buffer::new(), itoa::Buffer::new());
        let parts = [
            ms.format(self.ms).as_bytes(),
            b"-",
            seq.format(self.seq).as_bytes(),
        ];
        let mut text = IdText {
            bytes: [0; TEXT_BYTES],
            len: 0,
        };
        for part in parts {
            let end = text.len + part.len();
            if let Some(place) = text.bytes.get_mut(text.len..end) {
                place.copy_from_slice(part);
                text.len = end;
            }
        }
        text
    }

    /// Sixteen bytes in the order of ids, as RDB files hold them.
    pub fn to_bytes(self) -> [u8; 16] {
        (u128::from(self.ms) << 64 | u128::from(self.seq)).to_be_bytes()
    }

    /// Takes back what [`StreamId::to_bytes`] gave.
    pub fn from_bytes(bytes: [u8; 16]) -> StreamId {
        let whole = u128::from_be_bytes(bytes);
        StreamId::new((whole >> 64) as u64, whole as u64)
    }
}

/// A number as Redis reads the parts of an id: in its canonical form, or as C's `strtoull` takes
/// it, blanks and a sign in front included. A canonical negative number is refused.
fn number(text: &[u8]) -> Option<u64> {
    if let Some(n) = num::parse_u64(text) {
        return Some(n);
    }
    if num::parse_i64(text).is_some() {
        return None;
    }
    let is_blank = |b: &u8| b.is_ascii_whitespace() || *b == 0x0b;
    let blanks = text.iter().take_while(|b| is_blank(b)).count();
    let rest = text.get(blanks..)?;
    let (negative, digits) = match rest.split_first()? {
        (b'-', digits) => (true, digits),
        (b'+', digits) => (false, digits),
        _ => (false, rest),
    };
    let mut value = (!digits.is_empty()).then_some(0u64);
    for digit in digits {
        let digit = char::from(*digit).to_digit(10)?;
        value = value?.checked_mul(10)?.checked_add(u64::from(digit));
    }
    value.map(|n| if negative { n.wrapping_neg() } else { n })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_read_and_written() {
        for (text, id) in [
            ("0-0", StreamId::MIN),
            ("18446744073709551615-18446744073709551615", StreamId::MAX),
            ("1526919030474-55", StreamId::new(1_526_919_030_474, 55)),
        ] {
            assert_eq!(StreamId::parse(text.as_bytes(), 9), Some(id));
            assert_eq!(&*id.text(), text.as_bytes());
            assert_eq!(StreamId::from_bytes(id.to_bytes()), id);
        }
        assert_eq!(StreamId::parse(b"7", 9), Some(StreamId::new(7, 9)));
        for (text, id) in [("01-1", (1, 1)), (" 7-+3", (7, 3)), ("8- 1", (8, 1))] {
            let id = StreamId::new(id.0, id.1);
            assert_eq!(StreamId::parse(text.as_bytes(), 0), Some(id), "{text}");
        }
        for bad in [
            "",
            "-",
            "1-",
            "-1",
            "1-2-3",
            "a",
            "1-b",
            "18446744073709551616",
            "1--3",
            "6-5 ",
            "+",
        ] {
            assert_eq!(StreamId::parse(bad.as_bytes(), 0), None, "{bad}");
        }
    }

    #[test]
    fn neighbours_cross_milliseconds_and_end() {
        let late = StreamId::new(5, u64::MAX);
        assert_eq!(late.next(), Some(StreamId::new(6, 0)));
        assert_eq!(StreamId::new(6, 0).previous(), Some(late));
        assert_eq!(StreamId::MAX.next(), None);
        assert_eq!(StreamId::MIN.previous(), None);
    }
}

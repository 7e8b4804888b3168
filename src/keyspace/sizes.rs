//! How large the values of a table are: for each type, how many have a length of 0, 1, 2 to 3, 4 to
//! 7 and so on. INFO's section Keysizes shows it.
//!
//! A table keeps its counts up to date as entries come and go; whoever changes a value in place
//! tells the table of it. Most changes stay within their power of two and cost a comparison.
//!
//! The length is that of STRLEN, LLEN, SCARD, ZCARD and HLEN. Streams are not counted.

use super::value::ValueKind;

/// Types that are counted: all that [`ValueKind`] names before the stream.
const KINDS: usize = ValueKind::Stream as usize;

/// Lengths below `2^(BINS - 1)`; what is longer is counted with the longest.
const BINS: usize = 40;

/// Type and power of two of a value: the place where it is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SizeClass(u16);

impl SizeClass {
    /// The place of something that is not counted.
    pub const NONE: SizeClass = SizeClass(u16::MAX);

    /// The place of a value of this type and length.
    #[inline]
    pub fn of(kind: ValueKind, len: usize) -> SizeClass {
        let bin = (usize::BITS - len.leading_zeros()) as usize;
        SizeClass((kind as u16) << 8 | bin.min(BINS - 1) as u16)
    }

    /// The place of a string that is the text of an integer, found without counting its digits.
    #[inline]
    pub fn of_int(n: i64) -> SizeClass {
        let bin = match n {
            0..=9 => 1,
            -99..=999 => 2,
            -999_999..=9_999_999 => 3,
            -99_999_999_999_999..=999_999_999_999_999 => 4,
            _ => 5,
        };
        SizeClass((ValueKind::String as u16) << 8 | bin)
    }

    #[inline]
    fn kind(self) -> usize {
        usize::from(self.0 >> 8)
    }

    #[inline]
    fn bin(self) -> usize {
        usize::from(self.0 & 0xff)
    }
}

/// The counts of one table, for each type. They take memory once something has been counted: there
/// are many tables, and few types in most.
#[derive(Clone, Debug, Default)]
pub struct Sizes([Option<Box<[u32; BINS]>>; KINDS]);

impl Sizes {
    /// Counts a value that came.
    #[inline]
    pub fn add(&mut self, class: SizeClass) {
        if let Some(counts) = self.0.get_mut(class.kind()) {
            let counts = counts.get_or_insert_with(|| Box::new([0; BINS]));
            if let Some(n) = counts.get_mut(class.bin()) {
                *n = n.wrapping_add(1);
            }
        }
    }

    /// Takes back the count of a value that goes.
    #[inline]
    pub fn remove(&mut self, class: SizeClass) {
        if let Some(Some(counts)) = self.0.get_mut(class.kind())
            && let Some(n) = counts.get_mut(class.bin())
        {
            *n = n.wrapping_sub(1);
        }
    }

    /// Follows a value that may have changed its length or its type.
    #[inline]
    pub fn moved(&mut self, before: SizeClass, after: SizeClass) {
        if before != after {
            self.remove(before);
            self.add(after);
        }
    }
}

/// The counts of many tables together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SizeSums(
    /// Nothing before the first table: most databases have none.
    Vec<u64>,
);

impl SizeSums {
    /// Adds the counts of a table.
    pub fn add(&mut self, table: &Sizes) {
        self.0.resize(KINDS * BINS, 0);
        for (sums, counts) in self.0.chunks_mut(BINS).zip(&table.0) {
            for (sum, n) in sums.iter_mut().zip(counts.iter().flat_map(|c| c.iter())) {
                *sum += u64::from(*n);
            }
        }
    }

    /// The lengths that some value of this type has, each as the least of its power of two, with
    /// the number of values.
    pub fn of(&self, kind: ValueKind) -> impl Iterator<Item = (u64, u64)> {
        let bins = self.0.chunks(BINS).nth(kind as usize).unwrap_or_default();
        let least = |bin: usize| if bin == 0 { 0 } else { 1 << (bin - 1) };
        let counted = bins.iter().enumerate().filter(|(_, n)| **n > 0);
        counted.map(move |(bin, n)| (least(bin), *n))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_counted_by_powers_of_two() {
        let mut sizes = Sizes::default();
        for len in [0, 1, 2, 3, 4, 7, 8, 1 << 20, usize::MAX] {
            sizes.add(SizeClass::of(ValueKind::Hash, len));
        }
        let mut sums = SizeSums::default();
        sums.add(&sizes);
        let seen: Vec<_> = sums.of(ValueKind::Hash).collect();
        let longest = 1 << (BINS - 2);
        let wanted = [
            (0, 1),
            (1, 1),
            (2, 2),
            (4, 2),
            (8, 1),
            (1 << 20, 1),
            (longest, 1),
        ];
        assert_eq!(seen, wanted);
        assert_eq!(sums.of(ValueKind::Zset).count(), 0);
    }

    #[test]
    fn an_integer_is_counted_as_its_text() {
        for power in 0..=18 {
            let ten = 10i64.pow(power);
            for n in [ten - 1, ten, ten + 1, 1 - ten, -ten, -1 - ten] {
                let text = SizeClass::of(ValueKind::String, n.to_string().len());
                assert_eq!(SizeClass::of_int(n), text, "{n}");
            }
        }
        for n in [i64::MIN, i64::MAX] {
            let text = SizeClass::of(ValueKind::String, n.to_string().len());
            assert_eq!(SizeClass::of_int(n), text);
        }
    }

    #[test]
    fn a_stream_is_not_counted_and_a_type_may_change() {
        let mut sizes = Sizes::default();
        sizes.add(SizeClass::of(ValueKind::Stream, 10));
        sizes.add(SizeClass::of(ValueKind::List, 10));
        sizes.moved(
            SizeClass::of(ValueKind::List, 10),
            SizeClass::of(ValueKind::String, 0),
        );
        let mut sums = SizeSums::default();
        sums.add(&sizes);
        assert_eq!(sums.of(ValueKind::List).count(), 0);
        assert_eq!(sums.of(ValueKind::String).collect::<Vec<_>>(), [(0, 1)]);
        assert_eq!(sums.0.iter().sum::<u64>(), 1);
    }
}

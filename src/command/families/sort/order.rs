//! The elements of a value, and their order.

use std::cmp::Ordering;
use std::ops::Range;

use crate::base::num;
use crate::command::ctx::CommandError;
use crate::keyspace::value::Value;
use crate::keyspace::value::list::End;
use crate::keyspace::value::packed::Elem;

use super::NOT_DOUBLE;
use super::request::Pattern;

/// Byte strings, one behind the other.
#[derive(Default)]
pub(super) struct Elements {
    bytes: Vec<u8>,
    /// Where each ends.
    ends: Vec<usize>,
}

impl Elements {
    pub(super) fn push(&mut self, element: &[u8]) {
        self.bytes.extend_from_slice(element);
        self.ends.push(self.bytes.len());
    }

    fn push_elem(&mut self, element: Elem<'_>) {
        self.push(element.to_bytes(&mut itoa::Buffer::new()));
    }

    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    pub(super) fn get(&self, index: usize) -> &[u8] {
        let before = index.checked_sub(1).and_then(|i| self.ends.get(i));
        let from = before.copied().unwrap_or(0);
        let to = self.ends.get(index).copied().unwrap_or(from);
        self.bytes.get(from..to).unwrap_or_default()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &[u8]> {
        (0..self.len()).map(|index| self.get(index))
    }

    /// Those of these places.
    fn only(&self, places: &[usize]) -> Elements {
        let mut only = Elements::default();
        places.iter().for_each(|place| only.push(self.get(*place)));
        only
    }
}

/// What elements are compared by.
pub(super) enum Weights {
    /// Themselves.
    Own,
    Numbers(Vec<f64>),
    /// Texts; an element without one comes first.
    Texts {
        texts: Elements,
        missing: Vec<bool>,
    },
    /// A weight is no number.
    Broken,
}

impl Weights {
    /// Those of these places.
    fn only(self, places: &[usize]) -> Weights {
        match self {
            Weights::Numbers(numbers) => {
                let kept = places.iter().filter_map(|place| numbers.get(*place));
                Weights::Numbers(kept.copied().collect())
            }
            Weights::Texts { texts, missing } => Weights::Texts {
                texts: texts.only(places),
                missing: places
                    .iter()
                    .filter_map(|place| missing.get(*place))
                    .copied()
                    .collect(),
            },
            same => same,
        }
    }
}

/// Elements in their order.
pub(super) struct Sorted {
    elements: Elements,
    order: Vec<usize>,
}

impl Sorted {
    pub(super) fn len(&self) -> usize {
        self.order.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &[u8]> {
        self.places().map(|(_, element)| element)
    }

    /// The elements, each with its place among those that were sorted.
    pub(super) fn places(&self) -> impl Iterator<Item = (usize, &[u8])> {
        self.order.iter().map(|&i| (i, self.elements.get(i)))
    }
}

/// The double that a weight is, as `strtod` reads a C string: nothing at all is zero.
pub(super) fn number(text: &[u8]) -> Option<f64> {
    let end = memchr::memchr(0, text).unwrap_or(text.len());
    let text = text.get(..end).unwrap_or_default();
    if text.is_empty() {
        return Some(0.0);
    }
    let is_blank = |byte: &u8| matches!(byte, b' ' | b'\t'..=b'\r');
    let blanks = text.iter().take_while(|byte| is_blank(byte)).count();
    num::parse_f64(text.get(blanks..).unwrap_or_default())
}

/// How a value's elements are to be sorted.
pub(super) struct Plan {
    pub(super) by: Option<Pattern>,
    pub(super) unsorted: bool,
    pub(super) alpha: bool,
    pub(super) descending: bool,
    /// What is otherwise equal is in the order of its bytes.
    pub(super) by_bytes_at_last: bool,
    /// First element, and how many; a negative count is all.
    pub(super) limit: (i64, i64),
}

impl Plan {
    /// Whether Redis leaves the order to chance, in part: where weights that are compared as texts
    /// are equal. A replica of Redis's would come to another one.
    pub(super) fn may_be_chance(&self) -> bool {
        self.by.is_some() && self.alpha
    }

    /// The places, of `len`, that LIMIT asks for.
    fn range(&self, len: usize) -> Range<usize> {
        let (start, count) = self.limit;
        let start = usize::try_from(start.max(0)).unwrap_or(len).min(len);
        match usize::try_from(count) {
            Err(_) => start..len,
            Ok(count) => start..start.saturating_add(count).min(len),
        }
    }

    /// The elements of `value`; of one that is not sorted those within LIMIT, in their order.
    pub(super) fn load(&self, value: &Value) -> Elements {
        let mut elements = Elements::default();
        let mut push = |element: Elem<'_>| elements.push_elem(element);
        let len = value.as_ref().elements();
        let range = if self.unsorted {
            self.range(len)
        } else {
            0..len
        };
        let reversed = self.unsorted && self.descending;
        let from_end = len - range.end..len - range.start;
        match value {
            Value::List(list) if reversed => list.visit(from_end, End::Tail, push),
            Value::List(list) => list.visit(range, End::Head, push),
            Value::Zset(zset) if reversed => zset.range(from_end, true).for_each(|(m, _)| push(m)),
            Value::Zset(zset) => zset
                .range(range, false)
                .for_each(|(member, _)| push(member)),
            Value::Set(set) => set
                .iter()
                .skip(range.start)
                .take(range.len())
                .for_each(push),
            _ => {}
        }
        elements
    }

    /// Loads and sorts.
    pub(super) fn sort(&self, value: &Value, weights: Weights) -> Result<Sorted, CommandError> {
        self.order(self.load(value), weights)
    }

    /// What the elements are compared by in the end.
    fn settled(&self, elements: &Elements, weights: Weights) -> Result<Weights, CommandError> {
        match weights {
            Weights::Broken => Err(NOT_DOUBLE),
            Weights::Own if !self.alpha => {
                let numbers: Option<Vec<f64>> = elements.iter().map(number).collect();
                Ok(Weights::Numbers(numbers.ok_or(NOT_DOUBLE)?))
            }
            weights => Ok(weights),
        }
    }

    /// The elements up to the end of LIMIT, in no order but their own; they sort as all would.
    pub(super) fn narrow(
        &self,
        elements: Elements,
        weights: Weights,
    ) -> Result<(Elements, Weights), CommandError> {
        let end = self.range(elements.len()).end;
        if self.unsorted || end >= elements.len() {
            return Ok((elements, weights));
        }
        let weights = self.settled(&elements, weights)?;
        let mut kept: Vec<usize> = (0..elements.len()).collect();
        kept.select_nth_unstable_by(end, |a, b| self.compare(&elements, &weights, *a, *b));
        kept.truncate(end);
        kept.sort_unstable();
        Ok((elements.only(&kept), weights.only(&kept)))
    }

    /// Sorts the elements of a value, and keeps those within LIMIT.
    pub(super) fn order(
        &self,
        elements: Elements,
        weights: Weights,
    ) -> Result<Sorted, CommandError> {
        let mut order: Vec<usize> = (0..elements.len()).collect();
        if self.unsorted {
            return Ok(Sorted { elements, order });
        }
        let weights = self.settled(&elements, weights)?;
        let range = self.range(order.len());
        let compare = |a: &usize, b: &usize| self.compare(&elements, &weights, *a, *b);
        if range.end < order.len() && !range.is_empty() {
            order.select_nth_unstable_by(range.end, compare);
        }
        order.truncate(range.end);
        order.sort_unstable_by(compare);
        order.drain(..range.start.min(order.len()));
        Ok(Sorted { elements, order })
    }

    fn compare(&self, elements: &Elements, weights: &Weights, a: usize, b: usize) -> Ordering {
        let bytes = || elements.get(a).cmp(elements.get(b));
        let compared = match weights {
            Weights::Numbers(numbers) => {
                let weight = |i: usize| numbers.get(i).copied().unwrap_or(0.0);
                let by_number = weight(a).partial_cmp(&weight(b));
                by_number.unwrap_or(Ordering::Equal).then_with(bytes)
            }
            Weights::Texts { texts, missing } => {
                let there = |i: usize| missing.get(i) == Some(&false);
                there(a)
                    .cmp(&there(b))
                    .then_with(|| texts.get(a).cmp(texts.get(b)))
            }
            Weights::Own | Weights::Broken => bytes(),
        };
        let compared = if self.descending {
            compared.reverse()
        } else {
            compared
        };
        let at_last = || {
            if self.by_bytes_at_last {
                bytes()
            } else {
                Ordering::Equal
            }
        };
        compared.then_with(at_last).then(a.cmp(&b))
    }
}

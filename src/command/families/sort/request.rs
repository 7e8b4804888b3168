//! The options of SORT.

use crate::command::ctx::{CommandError, int_arg};
use crate::keyspace::value::Value;

use super::order::Plan;

/// A pattern that makes a key of an element, and may name a field of the hash there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pattern {
    before: Vec<u8>,
    behind: Vec<u8>,
    pub(super) field: Option<Vec<u8>>,
}

impl Pattern {
    /// `None` if there is no place for the element in it.
    fn parse(text: &[u8]) -> Option<Pattern> {
        let star = memchr::memchr(b'*', text)?;
        let (before, rest) = text.split_at_checked(star)?;
        let rest = rest.get(1..)?;
        let arrow = memchr::memmem::find(rest, b"->");
        let split = arrow.and_then(|at| Some((rest.get(..at)?, rest.get(at + 2..)?)));
        let (behind, field) = match split {
            Some((behind, field)) if !field.is_empty() => (behind, Some(field.to_vec())),
            _ => (rest, None),
        };
        Some(Pattern {
            before: before.to_vec(),
            behind: behind.to_vec(),
            field,
        })
    }

    /// Writes the key for `element` into `key`.
    pub(super) fn key(&self, element: &[u8], key: &mut Vec<u8>) {
        key.clear();
        key.extend_from_slice(&self.before);
        key.extend_from_slice(element);
        key.extend_from_slice(&self.behind);
    }
}

/// What the elements are sorted by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum By {
    Element,
    /// A pattern without a place for the element: nothing is sorted.
    Nothing,
    Pattern(Pattern),
}

/// What is shown of an element.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Get {
    /// `#`, or no GET at all.
    Element,
    /// A pattern without a place for the element.
    Nothing,
    Pattern(Pattern),
}

impl Get {
    pub(super) fn is_pattern(&self) -> bool {
        matches!(self, Get::Pattern(_))
    }
}

/// A request.
pub(super) struct Request<'a> {
    pub(super) key: &'a [u8],
    pub(super) by: By,
    pub(super) gets: Vec<Get>,
    limit: (i64, i64),
    descending: bool,
    alpha: bool,
    pub(super) store: Option<&'a [u8]>,
}

impl<'a> Request<'a> {
    pub(super) fn parse(args: &[&'a [u8]], may_store: bool) -> Result<Request<'a>, CommandError> {
        let &[_, key, ref options @ ..] = args else {
            return Err(CommandError::SYNTAX);
        };
        let mut request = Request {
            key,
            by: By::Element,
            gets: Vec::new(),
            limit: (0, -1),
            descending: false,
            alpha: false,
            store: None,
        };
        let mut rest = options;
        while let [option, after @ ..] = rest {
            let is = |name: &[u8]| option.eq_ignore_ascii_case(name);
            rest = match after {
                _ if is(b"ASC") => {
                    request.descending = false;
                    after
                }
                _ if is(b"DESC") => {
                    request.descending = true;
                    after
                }
                _ if is(b"ALPHA") => {
                    request.alpha = true;
                    after
                }
                [start, count, after @ ..] if is(b"LIMIT") => {
                    request.limit = (int_arg(start)?, int_arg(count)?);
                    after
                }
                [target, after @ ..] if is(b"STORE") && may_store => {
                    request.store = Some(target);
                    after
                }
                [pattern, after @ ..] if is(b"BY") => {
                    request.by = Pattern::parse(pattern).map_or(By::Nothing, By::Pattern);
                    after
                }
                [pattern, after @ ..] if is(b"GET") => {
                    request.gets.push(match *pattern {
                        b"#" => Get::Element,
                        pattern => Pattern::parse(pattern).map_or(Get::Nothing, Get::Pattern),
                    });
                    after
                }
                _ => return Err(CommandError::SYNTAX),
            };
        }
        if request.gets.is_empty() {
            request.gets.push(Get::Element);
        }
        Ok(request)
    }

    /// How the elements of `value` are to be sorted.
    pub(super) fn plan(&self, value: &Value) -> Plan {
        let is_set = matches!(value, Value::Set(_));
        let mut plan = Plan {
            by: None,
            unsorted: false,
            alpha: self.alpha,
            descending: self.descending,
            by_bytes_at_last: is_set,
            limit: self.limit,
        };
        match &self.by {
            By::Element => {}
            By::Pattern(pattern) => plan.by = Some(pattern.clone()),
            // A set has no order of its own that a replica would share.
            By::Nothing if is_set && self.store.is_some() => plan.alpha = true,
            By::Nothing => plan.unsorted = true,
        }
        plan
    }
}

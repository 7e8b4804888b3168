//! Intersection, union and difference of sets.
//!
//! A result's representation is what adding its members one by one gives: an intset while all are
//! integers and few, then as for any set.

use super::{Set, SetLimits};
use crate::keyspace::value::packed::Elem;

/// Hands the members that all sets share on to `each` until it returns false. Without sets there
/// are none.
pub fn intersect<'a>(sets: &[&'a Set], mut each: impl FnMut(Elem<'a>) -> bool) {
    let mut by_len = sets.to_vec();
    // The smallest is walked, the next ones rule out soonest.
    by_len.sort_by_key(|set| set.len());
    let Some((smallest, others)) = by_len.split_first() else {
        return;
    };
    for member in smallest.iter() {
        let shared = others
            .iter()
            .all(|set| std::ptr::eq(*set, *smallest) || set.contains(member));
        if shared && !each(member) {
            return;
        }
    }
}

/// The members that all sets share.
pub fn intersection(sets: &[&Set], limits: &SetLimits) -> Set {
    let mut result = Set::new();
    intersect(sets, |member| {
        result.add(member, limits);
        true
    });
    result
}

/// How many members all sets share, counted no further than `limit` if that is not 0.
pub fn intersection_len(sets: &[&Set], limit: usize) -> usize {
    let mut len = 0;
    intersect(sets, |_| {
        len += 1;
        len != limit
    });
    len
}

/// The largest set, if it cannot change form.
fn base<'a>(sets: impl Iterator<Item = &'a Set>) -> Option<&'a Set> {
    sets.max_by_key(|set| set.len())
        .filter(|set| set.is_large())
}

/// How many members [`union`] goes through.
pub fn union_effort(sets: &[Set]) -> usize {
    let all: usize = sets.iter().map(Set::len).sum();
    all - base(sets.iter()).map_or(0, Set::len)
}

/// The members of any of the sets.
pub fn union(sets: &[&Set], limits: &SetLimits) -> Set {
    // The largest as it is: only the members of the others are added.
    let largest = base(sets.iter().copied());
    let mut result = largest.map_or_else(Set::new, Set::clone);
    for set in sets {
        if !largest.is_some_and(|largest| std::ptr::eq(*set, largest)) {
            for member in set.iter() {
                result.add(member, limits);
            }
        }
    }
    result
}

/// The members of the first set that no other has.
pub fn difference(sets: &[&Set], limits: &SetLimits) -> Set {
    let mut result = Set::new();
    let Some((first, others)) = sets.split_first() else {
        return result;
    };
    let others_len: usize = others.iter().map(|set| set.len()).sum();
    // Either each member of the first is looked up in the others, or the members of the others
    // are removed from a copy of the first. The former usually stops early, hence the half.
    if first.len().saturating_mul(others.len()) / 2 <= first.len().saturating_add(others_len) {
        let mut by_len = others.to_vec();
        by_len.sort_by_key(|set| std::cmp::Reverse(set.len()));
        for member in first.iter() {
            if !by_len.iter().any(|set| set.contains(member)) {
                result.add(member, limits);
            }
        }
        return result;
    }
    for member in first.iter() {
        result.add(member, limits);
    }
    for set in others {
        for member in set.iter() {
            result.remove(member);
        }
        if result.is_empty() {
            break;
        }
    }
    result
}

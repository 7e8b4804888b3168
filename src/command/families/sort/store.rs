//! SORT with STORE: the sorted elements become a list, as [`storing`] has it.
//!
//! Of few elements this is part of the unit that read them, and the effect is the command itself,
//! if that comes to the same everywhere. Many are sorted, and their list is made, beside the
//! workers; the effect is then the list in any case: patterns lead to more keys than can be
//! watched, and a replica need not sort again.

use crate::command::ctx::{CommandError, Ctx, Outcome};
use crate::command::limits;
use crate::command::storing::{self, Logged, Store};
use crate::keyspace::value::list::{End, List, ListLimits};
use crate::oplog::effect::Effect;
use crate::resp::reply::Reply;

use super::order::{Elements, Plan, Sorted};
use super::{Gathered, Shown};

/// Elements that a stored list is given at a time.
const BATCH: usize = 512;

/// Sorts, away from all locks.
pub(super) type Sort = Box<dyn FnOnce() -> Result<Sorted, CommandError> + Send>;

/// Hands on what is stored, a batch at a time.
fn batches(sorted: &Sorted, found: &Gathered, gets: usize, mut each: impl FnMut(&[&[u8]])) {
    let mut batch = Elements::default();
    for (place, element) in sorted.places() {
        match found {
            Gathered::Plain(shown) => {
                let text = |is_shown: &bool| if *is_shown { element } else { b"" };
                shown.iter().for_each(|s| batch.push(text(s)));
            }
            Gathered::Each(found, texts) => {
                for shown in found.iter().skip(place * gets).take(gets) {
                    match shown {
                        Shown::Element => batch.push(element),
                        Shown::Nothing => batch.push(b""),
                        Shown::Copy(text) => batch.push(texts.get(*text)),
                        Shown::Shared(bytes) => batch.push(bytes),
                    }
                }
            }
        }
        if batch.len() >= BATCH {
            each(&batch.iter().collect::<Vec<_>>());
            batch = Elements::default();
        }
    }
    if batch.len() > 0 {
        each(&batch.iter().collect::<Vec<_>>());
    }
}

fn list(sorted: &Sorted, found: &Gathered, gets: usize, limits: ListLimits) -> List {
    let mut list = List::default();
    batches(sorted, found, gets, |values| {
        list.push(limits, End::Tail, values);
    });
    list
}

fn stored<'a>(args: &'a [&'a [u8]], target: &'a [u8], logged: Logged<'a>) -> Store<'a> {
    Store {
        args,
        key: target,
        event: "sortstore",
        elements_count: true,
        logged,
    }
}

/// Makes the result the list at `target`, within the unit that read the elements.
pub(super) fn now(
    ctx: &mut Ctx<'_>,
    target: &[u8],
    plan: &Plan,
    sorted: &Sorted,
    found: &Gathered,
    gets: usize,
    reply: &mut Reply,
) -> Effect {
    let logged = if plan.may_be_chance() {
        Logged::Result
    } else {
        Logged::Request { reads: &[] }
    };
    let list = list(sorted, found, gets, limits::list(ctx.settings));
    storing::now(ctx, &stored(&[], target, logged), list, reply)
}

/// Sorts and stores on a thread of its own, then replies.
pub(super) fn later(
    ctx: &mut Ctx<'_>,
    args: &[&[u8]],
    target: &[u8],
    sort: Sort,
    found: Gathered,
    gets: usize,
) -> Outcome {
    let limits = limits::list(ctx.settings);
    let make = move || Ok(list(&sort()?, &found, gets, limits).into());
    storing::later(ctx, &stored(args, target, Logged::Result), Box::new(make))
}

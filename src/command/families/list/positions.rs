//! Finding elements by value.

use super::*;

const ZERO_RANK: &str = "ERR RANK can't be zero: use 1 to start from the first match, 2 from the \
     second ... or use negative to start from the end of the list";

/// What to look for in a list.
struct Search {
    from: End,
    /// Matches passed over.
    skip: usize,
    /// Matches wanted at most; `None`: one, and not as an array.
    count: Option<usize>,
    /// Elements looked at.
    max_len: usize,
}

/// Zero stands for no limit.
fn unlimited(n: usize) -> usize {
    if n == 0 { usize::MAX } else { n }
}

fn parse(mut options: &[&[u8]]) -> Result<Search, CommandError> {
    let mut search = Search {
        from: End::Head,
        skip: 0,
        count: None,
        max_len: usize::MAX,
    };
    while let [word, rest @ ..] = options {
        let [value, rest @ ..] = rest else {
            return Err(CommandError::SYNTAX);
        };
        options = rest;
        if word.eq_ignore_ascii_case(b"rank") {
            let rank = symmetric_arg(value)?;
            let skip = rank.unsigned_abs().checked_sub(1);
            let skip = skip.ok_or(CommandError::new(ZERO_RANK))?;
            search.skip = usize::try_from(skip).unwrap_or(usize::MAX);
            search.from = if rank < 0 { End::Tail } else { End::Head };
        } else if word.eq_ignore_ascii_case(b"count") {
            let count = count_arg(value, "ERR COUNT can't be negative")?;
            search.count = Some(unlimited(count));
        } else if word.eq_ignore_ascii_case(b"maxlen") {
            search.max_len = unlimited(count_arg(value, "ERR MAXLEN can't be negative")?);
        } else {
            return Err(CommandError::SYNTAX);
        }
    }
    Ok(search)
}

fn find(list: &List, value: &[u8], search: &Search, reply: &mut Reply) {
    let most = search.count.unwrap_or(1);
    let found = list.positions(value, search.from, search.skip, most, search.max_len);
    if search.count.is_some() {
        reply.array(found.len());
        found.into_iter().for_each(|index| reply.len_int(index));
    } else {
        match found.first() {
            Some(index) => reply.len_int(*index),
            None => reply.null(),
        }
    }
}

/// `LPOS key element [RANK rank] [COUNT num-matches] [MAXLEN len]`
pub fn lpos(ctx: &mut Ctx<'_>, args: &[&[u8]], reply: &mut Reply) -> Outcome {
    let value = arg(args, 2);
    let search = parse(args.get(3..).unwrap_or_default())?;
    match ctx.read_as::<List>(arg(args, 1))? {
        None if search.count.is_some() => reply.array(0),
        None => reply.null(),
        Some(list) if defers(list, list.len()) => {
            let (list, value) = (list.clone(), value.to_vec());
            let elements = list.len();
            let write = move |reply: &mut Reply| find(&list, &value, &search, reply);
            reply.deferred_of(elements, Box::new(write));
        }
        Some(list) => find(list, value, &search, reply),
    }
    Ok(Effect::None)
}

//! LCS: the longest common subsequence of two strings, by the table of all pairs of prefixes.
//!
//! Time and memory are the product of both lengths; `proto-max-bulk-len` bounds the table. Nothing
//! of it happens under the shards' locks: the command takes the strings by handle or copy, and
//! the table is made while the reply is formatted, or on a helper thread where it is large.
//!
//! Where several subsequences are longest, the walk back through the table decides which one is
//! told: it drops a byte of the second string unless that makes the rest shorter.

use crate::command::ctx::{CommandError, Ctx, Later, Outcome, int_arg};
use crate::keyspace::value::{Str, ValueRef};
use crate::oplog::effect::Effect;
use crate::resp::reply::Reply;

/// A table of more cells than this is made on a helper thread.
const HELPER_CELLS: usize = 1 << 20;

const NO_MEMORY: &str = "ERR Insufficient memory, failed allocating transient memory for LCS";

/// What the client wants to know.
#[derive(Clone, Copy, Default)]
struct Wanted {
    len: bool,
    idx: bool,
    with_match_len: bool,
    min_match_len: i64,
}

impl Wanted {
    fn parse(args: &[&[u8]]) -> Result<Wanted, CommandError> {
        let mut wanted = Wanted::default();
        let mut rest = args.iter();
        while let Some(arg) = rest.next() {
            let is = |name: &[u8]| arg.eq_ignore_ascii_case(name);
            if is(b"IDX") {
                wanted.idx = true;
            } else if is(b"LEN") {
                wanted.len = true;
            } else if is(b"WITHMATCHLEN") {
                wanted.with_match_len = true;
            } else if is(b"MINMATCHLEN")
                && let Some(min) = rest.next()
            {
                wanted.min_match_len = int_arg(min)?;
            } else {
                return Err(CommandError::SYNTAX);
            }
        }
        if wanted.len && wanted.idx {
            return Err(CommandError::new(
                "ERR If you want both the length and indexes, please just use IDX.",
            ));
        }
        Ok(wanted)
    }
}

/// The string at `key` to be looked at later; a missing key is the empty string.
fn string_at(ctx: &mut Ctx<'_>, key: &[u8]) -> Option<Str> {
    match ctx.read(key) {
        None => Some(Str::Inline(Box::default())),
        Some(ValueRef::Str(string)) => Some(string.to_str()),
        Some(_) => None,
    }
}

/// `LCS key1 key2 [LEN] [IDX] [MINMATCHLEN n] [WITHMATCHLEN]`
pub fn lcs(ctx: &mut Ctx<'_>, args: &[&[u8]], reply: &mut Reply) -> Outcome {
    let &[_, key1, key2, ref options @ ..] = args else {
        return Err(CommandError::SYNTAX);
    };
    let (Some(a), Some(b)) = (string_at(ctx, key1), string_at(ctx, key2)) else {
        return Err(CommandError::new(
            "ERR The specified keys must contain string values",
        ));
    };
    let wanted = Wanted::parse(options)?;
    let (a_len, b_len) = (a.as_ref().len(), b.as_ref().len());
    const MAX_LEN: usize = u32::MAX as usize - 1;
    if a_len >= MAX_LEN || b_len >= MAX_LEN {
        return Err(CommandError::new("ERR String too long for LCS"));
    }
    let cells = (a_len + 1).checked_mul(b_len + 1);
    let bytes = cells.and_then(|n| n.checked_mul(size_of::<u32>()));
    let (Some(cells), Some(bytes)) = (cells, bytes) else {
        return Err(CommandError::new(NO_MEMORY));
    };
    if bytes as u64 > ctx.settings.network.proto_max_bulk_len {
        return Err(CommandError::new(
            "ERR Insufficient memory, transient memory for LCS exceeds proto-max-bulk-len",
        ));
    }
    let find = move || {
        let (mut a_digits, mut b_digits) = (itoa::Buffer::new(), itoa::Buffer::new());
        let (a, b) = (a.as_ref(), b.as_ref());
        Common::of(a.as_bytes(&mut a_digits), b.as_bytes(&mut b_digits), wanted)
    };
    if cells > HELPER_CELLS && !ctx.nested {
        ctx.suspended = Some(Box::pin(async move {
            let common = tokio::task::spawn_blocking(find).await.ok().flatten();
            let write: Later = Box::new(move |_, reply| write(common.as_ref(), wanted, reply));
            write
        }));
    } else {
        reply.deferred(Box::new(move |reply| {
            write(find().as_ref(), wanted, reply);
        }));
    }
    Ok(Effect::None)
}

/// A stretch that both strings have, at `a` in the first and at `b` in the second.
#[derive(Clone, Copy)]
struct Match {
    a: usize,
    b: usize,
    len: usize,
}

/// What two strings have in common.
#[derive(Default)]
struct Common {
    len: usize,
    bytes: Vec<u8>,
    /// From the end of the strings to their beginning.
    matches: Vec<Match>,
}

impl Common {
    /// `None` if there is no memory for the table.
    fn of(a: &[u8], b: &[u8], wanted: Wanted) -> Option<Common> {
        let table = Table::fill(a, b)?;
        let mut common = Common {
            len: table.at(a.len(), b.len()) as usize,
            ..Common::default()
        };
        if wanted.idx || !wanted.len {
            common.walk_back(&table, a, b);
        }
        Some(common)
    }

    /// Follows the table from its end, and collects the bytes and the stretches on the way.
    fn walk_back(&mut self, table: &Table, a: &[u8], b: &[u8]) {
        let (mut i, mut j) = (a.len(), b.len());
        let mut open: Option<Match> = None;
        while i > 0 && j > 0 {
            let (Some(byte), Some(other)) = (a.get(i - 1), b.get(j - 1)) else {
                break;
            };
            if byte == other {
                self.bytes.push(*byte);
                open = match open {
                    Some(m) if m.a == i && m.b == j => Some(Match {
                        a: i - 1,
                        b: j - 1,
                        len: m.len + 1,
                    }),
                    earlier => {
                        self.matches.extend(earlier);
                        Some(Match {
                            a: i - 1,
                            b: j - 1,
                            len: 1,
                        })
                    }
                };
                i -= 1;
                j -= 1;
            } else {
                if table.at(i - 1, j) > table.at(i, j - 1) {
                    i -= 1;
                } else {
                    j -= 1;
                }
                self.matches.extend(open.take());
            }
        }
        self.matches.extend(open);
        self.bytes.reverse();
    }
}

/// Length of the longest common subsequence of each pair of prefixes.
struct Table {
    cells: Vec<u32>,
    width: usize,
}

impl Table {
    fn fill(a: &[u8], b: &[u8]) -> Option<Table> {
        let width = b.len() + 1;
        let mut cells: Vec<u32> = Vec::new();
        cells.try_reserve_exact((a.len() + 1) * width).ok()?;
        cells.resize((a.len() + 1) * width, 0);
        let mut rest = &mut cells[..];
        let (mut above, below) = rest.split_at_mut_checked(width)?;
        rest = below;
        for byte in a {
            let (row, below) = rest.split_at_mut_checked(width)?;
            let mut diagonal = 0;
            let mut left = 0;
            let columns = row.iter_mut().zip(above.iter()).skip(1);
            for ((cell, &up), other) in columns.zip(b) {
                left = if byte == other {
                    diagonal + 1
                } else {
                    up.max(left)
                };
                *cell = left;
                diagonal = up;
            }
            above = row;
            rest = below;
        }
        Some(Table { cells, width })
    }

    fn at(&self, i: usize, j: usize) -> u32 {
        self.cells.get(i * self.width + j).copied().unwrap_or(0)
    }
}

fn write(common: Option<&Common>, wanted: Wanted, reply: &mut Reply) {
    let Some(common) = common else {
        return reply.error(NO_MEMORY);
    };
    if wanted.idx {
        write_matches(common, wanted, reply);
    } else if wanted.len {
        reply.len_int(common.len);
    } else {
        reply.bulk(&common.bytes);
    }
}

fn write_matches(common: &Common, wanted: Wanted, reply: &mut Reply) {
    let min = usize::try_from(wanted.min_match_len).unwrap_or(0);
    let told = || common.matches.iter().filter(|m| m.len >= min);
    reply.map(2);
    reply.bulk(b"matches");
    reply.array(told().count());
    for m in told() {
        reply.array(2 + usize::from(wanted.with_match_len));
        for first in [m.a, m.b] {
            reply.array(2);
            reply.len_int(first);
            reply.len_int(first + m.len - 1);
        }
        if wanted.with_match_len {
            reply.len_int(m.len);
        }
    }
    reply.bulk(b"len");
    reply.len_int(common.len);
}

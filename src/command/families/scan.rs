//! SCAN, and what SSCAN, HSCAN and ZSCAN share with it: the cursor and the options.
//!
//! A cursor is a position in hash order. To clients it is told without its low bits, which are
//! always zero, so that it stays below 2^53: some clients keep numbers as doubles.
//!
//! SCAN locks a shard at a time, and for a few hundred keys at a time. The keys that are due among
//! those it comes by are removed, with their effects, in a unit of their own at the end.

use super::{Family, Locks, arg};
use crate::base::glob;
use crate::command::ctx::{CommandError, Ctx, Outcome, int_arg};
use crate::keyspace::hash;
use crate::keyspace::locks::ShardMask;
use crate::keyspace::unit::ExpiryMode;
use crate::keyspace::value::{Collection, Value, ValueKind};
use crate::oplog::effect::Effect;
use crate::resp::errors;
use crate::resp::reply::Reply;

/// The commands of this family.
pub const HANDLERS: Family = &[("scan", scan, Locks::Own)];

/// Low bits of a position that clients are not told.
const HIDDEN_BITS: u32 = 11;

/// Keys looked at under one hold of a shard's lock.
const STEP_KEYS: usize = 512;

/// What is scanned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scanned {
    /// The keys of a database: SCAN.
    Keys,
    /// Members: SSCAN, ZSCAN.
    Members,
    /// Fields: HSCAN.
    Fields,
}

/// `TYPE`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum TypeFilter {
    Any,
    Only(ValueKind),
    /// The name is no type's.
    Nothing,
}

/// One call of HSCAN, SSCAN or ZSCAN.
pub struct Walk {
    /// Where it begins.
    pub cursor: u64,
    /// About how many elements to look at, 1 at least.
    pub count: usize,
    /// What the elements are to match, if anything.
    pub pattern: Option<Vec<u8>>,
    /// Fields without their values.
    pub no_values: bool,
}

impl Walk {
    /// Whether an element is wanted.
    pub fn wants(&self, element: &[u8]) -> bool {
        let pattern = self.pattern.as_deref();
        pattern.is_none_or(|p| glob::matches(p, element, false))
    }
}

/// Walks count of more elements than this when the locks are released.
const DEFER_ABOVE: usize = 512;

/// HSCAN, SSCAN and ZSCAN: `show` replies for a collection that is there, now, or when the locks
/// are released if it is to look at many elements.
pub fn walk<T: Collection>(
    ctx: &mut Ctx<'_>,
    args: &[&[u8]],
    what: Scanned,
    reply: &mut Reply,
    show: impl FnOnce(&T, &Walk, &mut Reply) + Send + 'static,
) -> Outcome {
    let cursor = parse_cursor(arg(args, 2))?;
    let Some(collection) = ctx.read_as::<T>(arg(args, 1))? else {
        reply.array(2);
        reply.bulk(b"0");
        reply.array(0);
        return Ok(Effect::None);
    };
    // Only what is there has its options looked at, as in Redis.
    let options = ScanOptions::parse(args.get(3..).unwrap_or_default(), what)?;
    let walk = Walk {
        cursor,
        count: options.count,
        pattern: options.pattern.map(<[u8]>::to_vec),
        no_values: options.no_values,
    };
    if walk.count <= DEFER_ABOVE {
        show(collection, &walk, reply);
        return Ok(Effect::None);
    }
    let value: Value = collection.clone().into();
    let elements = walk.count.min(value.as_ref().elements());
    let write = move |reply: &mut Reply| {
        if let Some(collection) = T::from_ref(value.as_ref()) {
            show(collection, &walk, reply);
        }
    };
    reply.deferred_of(elements, Box::new(write));
    Ok(Effect::None)
}

/// The options behind the cursor.
#[derive(Clone, Copy, Debug)]
struct ScanOptions<'a> {
    /// `MATCH`; `None` if everything matches.
    pub pattern: Option<&'a [u8]>,
    /// `COUNT`: about how many elements to look at, 1 at least.
    pub count: usize,
    /// `NOVALUES`.
    pub no_values: bool,
    kind: TypeFilter,
}

impl<'a> ScanOptions<'a> {
    /// Reads the arguments behind the cursor.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn parse(args: &[&'a [u8]], what: Scanned) -> Result<ScanOptions<'a>, CommandError> {
        let mut o = ScanOptions {
            pattern: None,
            count: 10,
            no_values: false,
            kind: TypeFilter::Any,
        };
        let mut rest = args.iter().copied();
        while let Some(arg) = rest.next() {
            let is = |name: &[u8]| arg.eq_ignore_ascii_case(name);
            if is(b"NOVALUES") {
                if what != Scanned::Fields {
                    return Err(CommandError::new(
                        "ERR NOVALUES option can only be used in HSCAN",
                    ));
                }
                o.no_values = true;
                continue;
            }
            let value = rest.next().ok_or(CommandError::SYNTAX)?;
            if is(b"COUNT") {
                let count = int_arg(value)?;
                o.count = usize::try_from(count).map_err(|_| CommandError::SYNTAX)?;
                if o.count == 0 {
                    return Err(CommandError::SYNTAX);
                }
            } else if is(b"MATCH") {
                o.pattern = Some(value).filter(|&pattern| pattern != b"*");
            } else if is(b"TYPE") && what == Scanned::Keys {
                o.kind = type_filter(value);
            } else {
                return Err(CommandError::SYNTAX);
            }
        }
        Ok(o)
    }

    /// Whether `MATCH` lets an element through.
    pub fn matches(&self, element: &[u8]) -> bool {
        self.pattern
            .is_none_or(|pattern| glob::matches(pattern, element, false))
    }

    fn has_type(&self, kind: ValueKind) -> bool {
        match self.kind {
            TypeFilter::Any => true,
            TypeFilter::Only(wanted) => wanted == kind,
            TypeFilter::Nothing => false,
        }
    }
}

fn type_filter(name: &[u8]) -> TypeFilter {
    let kinds = [
        ValueKind::String,
        ValueKind::List,
        ValueKind::Set,
        ValueKind::Zset,
        ValueKind::Hash,
        ValueKind::Stream,
    ];
    let kind = kinds
        .into_iter()
        .find(|kind| name.eq_ignore_ascii_case(kind.name().as_bytes()));
    kind.map_or(TypeFilter::Nothing, TypeFilter::Only)
}

/// Reads a cursor as a client gives it, with `strtoull`'s leniency about blanks and a plus.
///
/// # Errors
/// `ERR invalid cursor`.
fn parse_cursor(arg: &[u8]) -> Result<u64, CommandError> {
    let digits = arg.trim_ascii_start();
    let digits = digits.strip_prefix(b"+").unwrap_or(digits);
    let all_digits = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(digits)
        .ok()
        .filter(|_| all_digits)
        .and_then(|digits| digits.parse().ok())
        .ok_or(CommandError::new(errors::INVALID_CURSOR))
}

/// A key that SCAN came by.
struct Found {
    key: Box<[u8]>,
    /// It is to be removed, not told.
    is_due: bool,
}

/// `SCAN cursor [MATCH pattern] [COUNT count] [TYPE type]`
pub fn scan(ctx: &mut Ctx<'_>, args: &[&[u8]], reply: &mut Reply) -> Outcome {
    let &[_, cursor, ref options @ ..] = args else {
        return Err(CommandError::SYNTAX);
    };
    let position = parse_cursor(cursor)? << HIDDEN_BITS;
    let o = ScanOptions::parse(options, Scanned::Keys)?;
    let (db, now_ms) = (ctx.db(), ctx.now_ms());
    let mode = ctx.unit.options.expiry;
    let mut found: Vec<Found> = Vec::new();
    let next = ctx.unit.walk(db, position, o.count, STEP_KEYS, |entry| {
        let due = mode != ExpiryMode::Ignore && entry.expire_ms().is_some_and(|at| at <= now_ms);
        let wanted = !due && o.has_type(entry.value_kind());
        if (due || wanted) && o.matches(entry.key()) {
            found.push(Found {
                key: entry.key().into(),
                is_due: due,
            });
        }
    });
    if mode == ExpiryMode::Remove {
        remove_due(ctx, &found);
    }
    reply.array(2);
    reply.bulk_int((next >> HIDDEN_BITS) as i64);
    let wanted = || found.iter().filter(|f| !f.is_due);
    reply.array(wanted().count());
    wanted().for_each(|f| reply.bulk(&f.key));
    Ok(Effect::None)
}

fn remove_due(ctx: &mut Ctx<'_>, found: &[Found]) {
    let due = || found.iter().filter(|f| f.is_due);
    if ctx.unit.mask().is_empty() {
        let mut mask = ShardMask::NONE;
        due().for_each(|f| mask.add_hash(hash::of(&f.key)));
        ctx.unit.relock(mask);
    }
    for f in due() {
        // A look at a key that is due removes it.
        ctx.exists(&f.key);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use crate::command::testing::{Resp, TestServer};

    /// The cursor and the keys of one call.
    fn step(t: &mut TestServer, line: &str) -> (String, Vec<String>) {
        let reply = t.reply(line);
        let [cursor, keys] = reply.elements() else {
            panic!("{reply}");
        };
        let keys = keys.elements().iter().map(Resp::text).collect();
        (cursor.text(), keys)
    }

    /// All keys that a whole scan tells, each as often as it is told.
    fn whole(t: &mut TestServer, options: &str) -> Vec<String> {
        let (mut cursor, mut all) = ("0".to_owned(), Vec::new());
        loop {
            let (next, keys) = step(t, &format!("SCAN {cursor} {options}"));
            all.extend(keys);
            if next == "0" {
                return all;
            }
            assert!(next.parse::<u64>().unwrap() < 1 << 53);
            cursor = next;
        }
    }

    fn populate(t: &mut TestServer, count: usize) {
        for n in 0..count {
            t.run(&format!("SET key:{n} v"));
        }
    }

    #[test]
    fn every_key_comes_exactly_once() {
        let mut t = TestServer::new();
        populate(&mut t, 5000);
        for options in ["", "COUNT 1", "COUNT 7", "COUNT 1000", "COUNT 100000"] {
            let keys = whole(&mut t, options);
            assert_eq!(keys.len(), 5000, "{options}");
            assert_eq!(
                keys.iter().collect::<BTreeSet<_>>().len(),
                5000,
                "{options}"
            );
        }
    }

    #[test]
    fn keys_present_throughout_come_whatever_else_changes() {
        let mut t = TestServer::new();
        populate(&mut t, 1000);
        let (mut cursor, mut seen) = ("0".to_owned(), Vec::new());
        for round in 0.. {
            let (next, keys) = step(&mut t, &format!("SCAN {cursor} COUNT 50"));
            seen.extend(keys.into_iter().filter(|k| k.starts_with("key:")));
            for n in 0..200 {
                t.run(&format!("SET other:{round}:{n} v"));
                t.run(&format!("DEL other:{}:{n}", round - 1));
            }
            if next == "0" {
                break;
            }
            cursor = next;
        }
        assert_eq!(seen.len(), 1000);
        assert_eq!(seen.into_iter().collect::<BTreeSet<_>>().len(), 1000);
    }

    #[test]
    fn a_small_database_comes_in_one_call() {
        let mut t = TestServer::new();
        populate(&mut t, 100);
        let (cursor, keys) = step(&mut t, "SCAN 0 COUNT 1000");
        assert_eq!((cursor.as_str(), keys.len()), ("0", 100));
    }

    #[test]
    fn elements_are_filtered_by_pattern_and_type() {
        let mut t = TestServer::new();
        populate(&mut t, 100);
        t.put_hash("h1", &[("f", "v")]);
        assert_eq!(whole(&mut t, "MATCH key:1?").len(), 10);
        assert_eq!(whole(&mut t, "MATCH *").len(), 101);
        assert_eq!(whole(&mut t, "TYPE hash"), ["h1"]);
        assert_eq!(whole(&mut t, "TYPE string MATCH h*"), [""; 0]);
        assert_eq!(whole(&mut t, "TYPE STRING COUNT 3").len(), 100);
        assert_eq!(whole(&mut t, "TYPE nonsense"), [""; 0]);
        assert_eq!(whole(&mut t, "match a match h* count 1 count 5"), ["h1"]);
    }

    #[test]
    fn what_is_due_and_matches_is_removed_each_by_an_effect_of_its_own() {
        let mut t = TestServer::new();
        populate(&mut t, 20);
        for key in ["a1", "a2", "b1"] {
            t.run(&format!("SET {key} v PX 10"));
        }
        t.effects();
        t.advance(10);
        assert_eq!(whole(&mut t, "MATCH a* TYPE hash COUNT 1000"), [""; 0]);
        let effects: BTreeSet<String> = t.effects().into_iter().collect();
        assert_eq!(effects, ["DEL a1", "DEL a2"].map(str::to_owned).into());
        assert_eq!(t.run("DBSIZE"), ":21");
        t.run("MULTI");
        t.run("SCAN 0 COUNT 1000");
        assert_eq!(
            t.reply("EXEC").elements()[0].elements()[1].elements().len(),
            20
        );
        assert_eq!(t.effects(), ["DEL b1"]);
    }

    #[test]
    fn a_replica_hides_what_is_due_and_removes_nothing() {
        let mut t = TestServer::new();
        t.run("SET due v PX 10");
        t.run("SET k v");
        t.advance(10);
        t.set_replica(true);
        assert_eq!(whole(&mut t, "COUNT 1000"), ["k"]);
        assert_eq!(t.run("DBSIZE"), ":2");
    }

    #[test]
    fn wrong_arguments_are_refused() {
        let mut t = TestServer::new();
        let (syntax, cursor) = ("-ERR syntax error", "-ERR invalid cursor");
        let empty = "[\"0\", []]";
        t.expect(&[
            ("SCAN -1", cursor),
            ("SCAN ''", cursor),
            ("SCAN 5x", cursor),
            ("SCAN 18446744073709551616", cursor),
            ("SCAN 18446744073709551615", empty),
            ("SCAN +5", empty),
            ("SCAN ' 5'", empty),
            ("SCAN 0 TYPE", syntax),
            ("SCAN 0 COUNT 0", syntax),
            ("SCAN 0 COUNT -1", syntax),
            ("SCAN 0 COUNT", syntax),
            (
                "SCAN 0 COUNT abc",
                "-ERR value is not an integer or out of range",
            ),
            ("SCAN 0 MATCH", syntax),
            ("SCAN 0 FOO bar", syntax),
            (
                "SCAN 0 NOVALUES",
                "-ERR NOVALUES option can only be used in HSCAN",
            ),
        ]);
    }
}

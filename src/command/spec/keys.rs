//! Where the keys of a request are.
//!
//! A command describes its keys by specs: where a search begins (an index, or after a word) and
//! how keys are found there (a range, or a count followed by that many keys). Most commands have
//! keys at fixed places, so a summary of all specs is made once, [`KeyShape`], from which the
//! usual request reads its positions without looking at an argument. The specs themselves serve
//! everything else: ACL, COMMAND GETKEYS, and commands whose keys move.
//!
//! Five commands have a function of their own, because their specs are unknown (SORT),
//! incomplete (MIGRATE) or have flags that depend on the options (SET, BITFIELD).
//!
//! Guarantee: positions are within the request and never name the command itself. A count
//! that the request only declares allocates nothing.

use serde::Deserialize;
use smallvec::SmallVec;

use super::flags::KeyFlags;
use crate::base::num::parse_i64;

/// One key of a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct KeyRef {
    /// Index into the request; the command's name is at 0.
    pub position: usize,
    /// How the command uses the key.
    pub flags: KeyFlags,
}

/// The keys of one request, in the order of the specs.
pub type KeyPositions = SmallVec<[KeyRef; 6]>;

/// The request is malformed where its keys should be: which keys it names cannot be told. The
/// handler answers such a request with an error, but may look at a key before it does.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("Invalid arguments specified for command")]
pub struct UnknownKeys;

/// Where the search for keys begins.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum BeginSearch {
    /// It cannot be described.
    Unknown,
    /// At this argument.
    Index(usize),
    /// Behind the first argument equal to `word`, looking from argument `start_from`; a negative
    /// one counts from the end and looks towards the front.
    Keyword {
        /// The word, compared without regard to case.
        word: String,
        /// Where to start looking.
        start_from: i32,
    },
}

/// How keys are found from where the search begins.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FindKeys {
    /// It cannot be described.
    Unknown,
    /// Every `step`-th argument up to `last`: relative to the beginning, or when negative to the
    /// end of the request. With `last` -1 a `limit` of n > 1 stops at an n-th of what remains.
    Range {
        /// The last key.
        last: i32,
        /// Distance of one key from the next.
        step: usize,
        /// Divisor of what remains; 0 and 1 are no limit.
        limit: usize,
    },
    /// The argument at `count_at` says how many keys there are, from `first` on.
    KeyNum {
        /// The count, relative to the beginning.
        count_at: usize,
        /// The first key, relative to the beginning.
        first: usize,
        /// Distance of one key from the next.
        step: usize,
    },
}

/// One key spec of a command.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KeySpec {
    /// How the keys are used.
    pub flags: KeyFlags,
    /// Where the search begins.
    pub begin: BeginSearch,
    /// How keys are found from there.
    pub find: FindKeys,
    /// What a reader of COMMAND may want to know.
    pub notes: Option<String>,
}

/// The functions of commands whose specs do not tell everything.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GetKeys {
    /// SET: reads the old value only with GET.
    Set,
    /// BITFIELD: writes only with SET or INCRBY.
    Bitfield,
    /// SORT: STORE may stand anywhere among the options.
    Sort,
    /// SORT_RO: one key; BY and GET reach keys that no argument names.
    SortRo,
    /// MIGRATE: one key, or those behind KEYS.
    Migrate,
}

/// First key, last key (negative: from the end of the request) and step, as COMMAND prints them;
/// all 0 when there are none.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct LegacyRange {
    /// Index of the first key.
    pub first: i32,
    /// Index of the last key.
    pub last: i32,
    /// Distance of one key from the next.
    pub step: i32,
}

/// Where the keys of any request of a command are, as far as that is the same for all requests.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum KeyShape {
    /// No argument is a key.
    None,
    /// Every `step`-th argument from `first` up to `last` (negative: from the end).
    Range {
        /// Index of the first key.
        first: usize,
        /// Index of the last key, or when negative its distance from the end.
        last: i32,
        /// Distance of one key from the next, at least 1.
        step: usize,
    },
    /// The arguments have to be read: [`KeyRule::keys`].
    Movable,
}

impl KeyShape {
    /// Where the key of a command with one key is.
    #[inline]
    pub fn only(self) -> Option<usize> {
        match self {
            Self::Range { first, last, .. } if usize::try_from(last) == Ok(first) => Some(first),
            _ => None,
        }
    }

    /// The key positions of a request of `argc` arguments; `None` when they are movable.
    ///
    /// Arity must have been checked; positions past the end are left out all the same.
    #[inline]
    pub fn positions(self, argc: usize) -> Option<impl Iterator<Item = usize> + Clone> {
        let (first, end, step) = match self {
            Self::Movable => return None,
            Self::None => (0, 0, 1),
            Self::Range { first, last, step } => (
                first,
                absolute(last, 0, argc).map_or(0, |last| last + 1),
                step,
            ),
        };
        Some((first..end.min(argc)).step_by(step))
    }
}

/// The index that `last` means: from `begin` on, or from the end when negative.
fn absolute(last: i32, begin: usize, argc: usize) -> Option<usize> {
    let base = if last < 0 { argc } else { begin };
    base.checked_add_signed(isize::try_from(last).ok()?)
}

/// All that is known about the keys of one command.
#[derive(Clone, Debug)]
pub struct KeyRule {
    /// The specs, in the order that `@n` in the arguments counts them.
    pub specs: Vec<KeySpec>,
    /// The function that knows better.
    pub get_keys: Option<GetKeys>,
    /// As COMMAND prints it.
    pub legacy: LegacyRange,
    /// The summary for the usual request.
    pub shape: KeyShape,
    /// Whether the legacy range misses keys (the flag movablekeys).
    pub movable: bool,
}

impl KeyRule {
    /// Summarises `specs`.
    pub fn new(specs: Vec<KeySpec>, get_keys: Option<GetKeys>) -> Self {
        let (legacy, movable) = legacy_range(&specs);
        let real = specs
            .iter()
            .any(|spec| !spec.flags.contains(KeyFlags::NOT_KEY));
        let shape = match (usize::try_from(legacy.first), usize::try_from(legacy.step)) {
            _ if !real => KeyShape::None,
            (Ok(first), Ok(step)) if !movable && first > 0 && step > 0 => KeyShape::Range {
                first,
                last: legacy.last,
                step,
            },
            _ => KeyShape::Movable,
        };
        Self {
            specs,
            get_keys,
            legacy,
            shape,
            movable,
        }
    }

    /// Whether a request of this command can name keys.
    pub fn has_keys(&self) -> bool {
        self.shape != KeyShape::None
    }

    /// The keys of the request `args` (the name first, then a subcommand's) with their flags.
    ///
    /// An empty result is a request that names no key, as `EVAL script 0` does.
    pub fn keys(&self, args: &[&[u8]]) -> Result<KeyPositions, UnknownKeys> {
        self.search(args, false)
    }

    /// As [`Self::keys`], with the shard channels that cluster slots are computed from.
    pub fn keys_and_channels(&self, args: &[&[u8]]) -> Result<KeyPositions, UnknownKeys> {
        self.search(args, true)
    }

    fn search(&self, args: &[&[u8]], not_keys: bool) -> Result<KeyPositions, UnknownKeys> {
        if let Some(function) = self.get_keys {
            let mut found = function.keys(args);
            // A request that is too short for the command has no such argument.
            found.retain(|key| key.position < args.len());
            return Ok(found);
        }
        let mut found = KeyPositions::new();
        for spec in &self.specs {
            if not_keys || !spec.flags.contains(KeyFlags::NOT_KEY) {
                spec.find(args, &mut found)?;
            }
        }
        Ok(found)
    }
}

impl KeySpec {
    fn begin(&self, args: &[&[u8]]) -> Result<Option<usize>, UnknownKeys> {
        let (word, start_from) = match &self.begin {
            BeginSearch::Unknown => return Err(UnknownKeys),
            BeginSearch::Index(at) => return Ok(Some(*at)),
            BeginSearch::Keyword { word, start_from } => (word.as_bytes(), *start_from),
        };
        let matches = |at: &usize| {
            args.get(*at)
                .is_some_and(|arg| arg.eq_ignore_ascii_case(word))
        };
        let at = match usize::try_from(start_from) {
            // Neither end of the search is looked at: a word there has nothing behind it, or
            // is the command's own first argument.
            Ok(start) => (start..args.len().saturating_sub(1)).find(matches),
            Err(_) => {
                let start = absolute(start_from, 0, args.len()).unwrap_or(0);
                (2..=start).rev().find(matches)
            }
        };
        Ok(at.map(|at| at + 1))
    }

    /// Appends the keys of this spec to `found`.
    fn find(&self, args: &[&[u8]], found: &mut KeyPositions) -> Result<(), UnknownKeys> {
        let Some(begin) = self.begin(args)? else {
            return Ok(());
        };
        let argc = args.len();
        let (first, last, step) = match self.find {
            FindKeys::Unknown => return Err(UnknownKeys),
            FindKeys::Range { last, step, limit } => {
                let last = match limit {
                    2.. if last < 0 => (begin + argc.saturating_sub(begin) / limit)
                        .checked_add_signed(isize::try_from(last).map_err(|_| UnknownKeys)?),
                    _ => absolute(last, begin, argc),
                };
                (begin, last.ok_or(UnknownKeys)?, step)
            }
            FindKeys::KeyNum {
                count_at,
                first,
                step,
            } => {
                let text = args.get(begin + count_at).ok_or(UnknownKeys)?;
                let count = parse_i64(text).and_then(|count| usize::try_from(count).ok());
                let first = begin + first;
                let last = first
                    .checked_add(count.ok_or(UnknownKeys)?)
                    .ok_or(UnknownKeys)?;
                (first, last.checked_sub(1).ok_or(UnknownKeys)?, step)
            }
        };
        if first > last || last >= argc || step == 0 {
            return Err(UnknownKeys);
        }
        let flags = self.flags;
        found.extend(
            (first..=last)
                .step_by(step)
                .map(|position| KeyRef { position, flags }),
        );
        Ok(())
    }
}

/// First, last and step over all specs that are plain consecutive ranges, and whether any
/// spec is something else. Clients that know no key specs live by these three numbers.
fn legacy_range(specs: &[KeySpec]) -> (LegacyRange, bool) {
    let incomplete = |spec: &KeySpec| spec.flags.contains(KeyFlags::INCOMPLETE);
    let plain = |spec: &KeySpec| match (&spec.begin, spec.find) {
        (BeginSearch::Index(at), FindKeys::Range { last, step, .. }) => {
            let first = i32::try_from(*at).ok()?;
            let last = if last < 0 {
                last
            } else {
                first.checked_add(last)?
            };
            Some(LegacyRange {
                first,
                last,
                step: i32::try_from(step).ok()?,
            })
        }
        _ => None,
    };
    if let [only] = specs
        && let Some(range) = plain(only)
    {
        return (range, incomplete(only));
    }
    let mut all: Option<LegacyRange> = None;
    let mut movable = false;
    for spec in specs {
        movable |= incomplete(spec);
        let consecutive = |range: &LegacyRange| {
            range.step == 1 && all.is_none_or(|all| all.last.checked_add(1) == Some(range.first))
        };
        let Some(range) = plain(spec).filter(consecutive) else {
            movable = true;
            continue;
        };
        let first = all.map_or(range.first, |all| all.first);
        all = Some(LegacyRange { first, ..range });
    }
    (all.unwrap_or_default(), movable)
}

impl GetKeys {
    fn keys(self, args: &[&[u8]]) -> KeyPositions {
        match self {
            Self::Set => set_keys(args),
            Self::Bitfield => bitfield_keys(args),
            Self::Sort => sort_keys(args),
            Self::SortRo => one_key(1, KeyFlags::RO.union(KeyFlags::ACCESS)),
            Self::Migrate => migrate_keys(args),
        }
    }
}

fn one_key(position: usize, flags: KeyFlags) -> KeyPositions {
    KeyPositions::from_iter([KeyRef { position, flags }])
}

fn is_word(arg: &[u8], word: &str) -> bool {
    arg.eq_ignore_ascii_case(word.as_bytes())
}

fn set_keys(args: &[&[u8]]) -> KeyPositions {
    let update = KeyFlags::UPDATE;
    let reads = args.iter().skip(3).any(|arg| is_word(arg, "get"));
    let flags = if reads {
        KeyFlags::RW.union(KeyFlags::ACCESS)
    } else {
        KeyFlags::OW
    };
    one_key(1, flags.union(update))
}

fn bitfield_keys(args: &[&[u8]]) -> KeyPositions {
    let access = KeyFlags::ACCESS;
    let writes = KeyFlags::RW.union(access).union(KeyFlags::UPDATE);
    let mut rest = args.get(2..).unwrap_or_default();
    while let Some((word, tail)) = rest.split_first() {
        let parameters = match () {
            () if is_word(word, "get") => 2,
            () if is_word(word, "overflow") => 1,
            // SET, INCRBY, or something that only the command itself can refuse.
            () => return one_key(1, writes),
        };
        let Some(tail) = tail.get(parameters..) else {
            return one_key(1, writes);
        };
        rest = tail;
    }
    one_key(1, KeyFlags::RO.union(access))
}

fn sort_keys(args: &[&[u8]]) -> KeyPositions {
    let mut found = one_key(1, KeyFlags::RO.union(KeyFlags::ACCESS));
    let mut store = None;
    let mut at = 2;
    while let Some(word) = args.get(at) {
        at += match () {
            () if is_word(word, "limit") => 3,
            () if is_word(word, "get") || is_word(word, "by") => 2,
            () => {
                // The last STORE is the one SORT obeys. What follows it is not skipped: the
                // command looks at every word in the place of an option.
                if is_word(word, "store") && at + 1 < args.len() {
                    store = Some(at + 1);
                }
                1
            }
        };
    }
    if let Some(position) = store {
        found.push(KeyRef {
            position,
            flags: KeyFlags::OW.union(KeyFlags::UPDATE),
        });
    }
    found
}

fn migrate_keys(args: &[&[u8]]) -> KeyPositions {
    let flags = KeyFlags::RW.union(KeyFlags::ACCESS).union(KeyFlags::DELETE);
    let mut at = 6;
    while let Some(word) = args.get(at) {
        // KEYS with nothing behind it is left to MIGRATE to refuse.
        if is_word(word, "keys") && at + 1 < args.len() {
            // With KEYS the single key must be empty; MIGRATE itself refuses anything else.
            let named = args.get(3).is_some_and(|key| !key.is_empty());
            let first = if named { args.len() } else { at + 1 };
            let many = (first..args.len()).map(|position| KeyRef { position, flags });
            return many.collect();
        }
        at += match () {
            () if is_word(word, "auth") => 2,
            () if is_word(word, "auth2") => 3,
            () => 1,
        };
    }
    one_key(3, flags)
}

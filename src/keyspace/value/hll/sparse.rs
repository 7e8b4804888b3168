//! The sparse form: runs of equal registers, one behind the other.
//!
//! ```text
//!   00llllll           1 to 64 registers are zero
//!   01llllll llllllll  1 to 16,384 registers are zero
//!   1vvvvvll           1 to 4 registers are 1 to 32
//! ```
//!
//! All numbers are kept less one. A register changes within its run, which is split in up to three;
//! then runs of one value that fit in one are joined, beginning with the run before it.

use super::{Corrupted, HEADER_BYTES, REGISTERS};

const SHORT_ZEROS: usize = 64;
const MOST_VALUES: usize = 4;
const LARGEST_VALUE: u8 = 32;
/// Runs that are looked at for others to join.
const JOIN_STEPS: usize = 5;

/// Registers of one value in a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Run {
    /// So many zeros.
    Zeros(usize),
    /// A value, and how many times.
    Values(u8, usize),
}

impl Run {
    /// The run that begins `bytes`, and its length in bytes.
    fn read(bytes: &[u8]) -> Option<(Run, usize)> {
        let &first = bytes.first()?;
        let low = usize::from(first & 0x3f);
        Some(match first >> 6 {
            0 => (Run::Zeros(low + 1), 1),
            1 => (Run::Zeros((low << 8 | usize::from(*bytes.get(1)?)) + 1), 2),
            _ => {
                let value = (first >> 2 & 0x1f) + 1;
                (Run::Values(value, usize::from(first & 3) + 1), 1)
            }
        })
    }

    /// Appends the run.
    pub(super) fn write(self, out: &mut impl Extend<u8>) {
        match self {
            Run::Zeros(n) if n <= SHORT_ZEROS => out.extend([(n - 1) as u8]),
            Run::Zeros(n) => out.extend([((n - 1) >> 8) as u8 | 0x40, (n - 1) as u8]),
            Run::Values(value, n) => out.extend([0x80 | (value - 1) << 2 | (n - 1) as u8]),
        }
    }

    /// Number of registers.
    pub fn len(self) -> usize {
        match self {
            Run::Zeros(n) | Run::Values(_, n) => n,
        }
    }

    /// A run has one register at least.
    pub fn is_empty(self) -> bool {
        false
    }

    /// What the registers are.
    pub fn value(self) -> u8 {
        match self {
            Run::Zeros(_) => 0,
            Run::Values(value, _) => value,
        }
    }

    /// The same value so many times.
    fn times(self, n: usize) -> Run {
        match self {
            Run::Zeros(_) => Run::Zeros(n),
            Run::Values(value, _) => Run::Values(value, n),
        }
    }
}

/// The runs in `bytes`, an error where the last one is cut off or too many registers come.
pub fn runs(mut bytes: &[u8]) -> impl Iterator<Item = Result<Run, Corrupted>> {
    let mut covered = 0;
    std::iter::from_fn(move || {
        if bytes.is_empty() {
            return None;
        }
        let read = Run::read(bytes).filter(|(run, _)| covered + run.len() <= REGISTERS);
        let Some((run, len)) = read else {
            bytes = &[];
            return Some(Err(Corrupted));
        };
        covered += run.len();
        bytes = bytes.get(len..).unwrap_or_default();
        Some(Ok(run))
    })
}

/// Gives every register that is not zero to `set`.
///
/// # Errors
/// [`Corrupted`] if the runs do not make up all registers; some have been given then.
pub(super) fn each(bytes: &[u8], mut set: impl FnMut(usize, u8)) -> Result<(), Corrupted> {
    let mut index = 0;
    for run in runs(bytes) {
        let run = run?;
        if let Run::Values(value, n) = run {
            (index..index + n).for_each(|i| set(i, value));
        }
        index += run.len();
    }
    if index == REGISTERS {
        Ok(())
    } else {
        Err(Corrupted)
    }
}

/// A place from which runs of higher registers are looked for.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cursor {
    /// Bytes behind the header where a run begins.
    offset: usize,
    /// Its first register.
    first: usize,
}

/// What came of raising a register.
pub(super) enum Raised {
    /// It was as high already.
    Not,
    Done,
    /// It does not fit in this form; nothing has changed.
    TooLarge,
}

/// The run that covers a register.
struct Found {
    run: Run,
    /// Its bytes.
    at: usize,
    size: usize,
    /// Its first register.
    first: usize,
    /// Where the run before it begins, as far as that was seen.
    before: Option<Cursor>,
    /// And the one before that.
    two_before: Option<Cursor>,
}

fn find(body: &[u8], from: Cursor, index: usize) -> Result<Found, Corrupted> {
    let Cursor {
        offset: mut at,
        mut first,
    } = from;
    let (mut before, mut two_before) = (None, None);
    loop {
        let ahead = body.get(at..).unwrap_or_default();
        let (run, size) = Run::read(ahead).ok_or(Corrupted)?;
        if index < first + run.len() {
            return Ok(Found {
                run,
                at,
                size,
                first,
                before,
                two_before,
            });
        }
        two_before = before;
        before = Some(Cursor { offset: at, first });
        at += size;
        first += run.len();
    }
}

/// Makes the register at `index` at least `value`. `cursor` may be where an earlier call for a
/// lower index left it; it is moved on.
pub(super) fn raise(
    bytes: &mut Vec<u8>,
    cursor: &mut Cursor,
    index: usize,
    value: u8,
    max_bytes: usize,
) -> Result<Raised, Corrupted> {
    if value > LARGEST_VALUE {
        return Ok(Raised::TooLarge);
    }
    let body = bytes.get(HEADER_BYTES..).unwrap_or_default();
    let found = find(body, *cursor, index)?;
    // Runs are joined from the one before on, so the one before that stays where it is.
    if let Some(place) = found.two_before {
        *cursor = place;
    }
    if found.run.value() >= value {
        return Ok(Raised::Not);
    }
    let mut new: smallvec::SmallVec<[u8; 8]> = smallvec::SmallVec::new();
    let ahead = index - found.first;
    let behind = found.run.len() - ahead - 1;
    if ahead > 0 {
        found.run.times(ahead).write(&mut new);
    }
    Run::Values(value, 1).write(&mut new);
    if behind > 0 {
        found.run.times(behind).write(&mut new);
    }
    if new.len() > found.size && bytes.len() + new.len() - found.size > max_bytes {
        return Ok(Raised::TooLarge);
    }
    let at = HEADER_BYTES + found.at;
    bytes.splice(at..at + found.size, new);
    let from = found.before.map_or(0, |place| place.offset);
    join(bytes, HEADER_BYTES + from);
    Ok(Raised::Done)
}

/// Joins runs of one value that fit in one, looking at a few from the one at `at` on.
fn join(bytes: &mut Vec<u8>, mut at: usize) {
    for _ in 0..JOIN_STEPS {
        let ahead = bytes.get(at..).unwrap_or_default();
        let Some((run, size)) = Run::read(ahead) else {
            return;
        };
        let next = ahead.get(size..).and_then(Run::read);
        if let (Run::Values(value, n), Some((Run::Values(other, more), _))) = (run, next)
            && value == other
            && n + more <= MOST_VALUES
        {
            bytes.remove(at);
            if let Some(byte) = bytes.get_mut(at) {
                *byte = 0x80 | (value - 1) << 2 | (n + more - 1) as u8;
            }
            continue;
        }
        at += size;
    }
}

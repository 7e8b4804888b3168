//! What a write leaves behind: commands in their final, deterministic form, already in RESP.
//!
//! A handler returns an [`Effect`]: nothing, "my own arguments, verbatim", or an [`Encoded`]
//! rewrite (SPOP as SREM, EXPIRE as PEXPIREAT). The dispatcher collects the effects of one unit
//! (one command, one EXEC, one script, one pipelined batch) in a [`UnitEffects`] and hands it to
//! [`crate::oplog::log::Log::append`] once, while the unit's shards are still locked.
//!
//! - A command is encoded once, here; the AOF, the backlog and every replica send these bytes.
//! - `UnitEffects` is meant to live as long as its worker: `clear` keeps the buffers, so a push
//!   allocates only while they still grow.
//! - Which database a command is for is kept beside the bytes, as segments. The log turns a
//!   change of database into SELECT, because only the log knows what the stream selected last.
//! - Large encodings are made before any lock is taken, and handed on without a copy: [`Shared`].
//! - [`UnitEffects::wrap_multi`] brackets what one command wrote in MULTI and EXEC when it wrote
//!   more than one command. MULTI comes before the SELECT of its first command, as Redis 7 and
//!   later order them, so MULTI itself belongs to no database.

use bytes::Bytes;
use smallvec::SmallVec;

const MULTI: &[u8] = b"*1\r\n$5\r\nMULTI\r\n";
const EXEC: &[u8] = b"*1\r\n$4\r\nEXEC\r\n";

/// What a handler did to the data, as replicas and the AOF must repeat it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Effect {
    /// Nothing was changed.
    #[default]
    None,
    /// The command's own arguments repeat the change exactly.
    Verbatim,
    /// These commands repeat the change; the command itself would not, or not exactly.
    Rewritten(Encoded),
}

/// One or more commands in RESP, back to back in one buffer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Encoded {
    bytes: Vec<u8>,
    count: u32,
}

impl Encoded {
    /// An encoding of the single command `argv`.
    pub fn one(argv: &[&[u8]]) -> Self {
        let mut encoded = Self::default();
        encoded.push(argv);
        encoded
    }

    /// Adds the command `argv` after those already there.
    pub fn push(&mut self, argv: &[&[u8]]) {
        encode(&mut self.bytes, argv);
        self.count = self.count.saturating_add(1);
    }

    /// How many commands there are.
    pub fn count(&self) -> u32 {
        self.count
    }

    /// The commands in RESP.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

impl From<Encoded> for Effect {
    fn from(encoded: Encoded) -> Self {
        if encoded.count == 0 {
            Effect::None
        } else {
            Effect::Rewritten(encoded)
        }
    }
}

/// Commands in RESP that nobody changes any more: a unit and the log take them over as they are,
/// whatever their length.
#[derive(Debug, Clone)]
pub struct Shared {
    bytes: Bytes,
    count: u32,
}

impl From<Encoded> for Shared {
    fn from(mut encoded: Encoded) -> Self {
        encoded.bytes.shrink_to_fit();
        Shared {
            bytes: encoded.bytes.into(),
            count: encoded.count,
        }
    }
}

/// Appends `argv` to `out` as a RESP array of bulk strings.
pub fn encode(out: &mut Vec<u8>, argv: &[&[u8]]) {
    // A header is '*' or '$', at most 20 digits and CRLF; most have one or two digits. Reserving
    // for the usual case up front leaves the appends below without a growth check that fails.
    let payload: usize = argv.iter().map(|arg| arg.len().saturating_add(10)).sum();
    out.reserve(payload.saturating_add(10));
    put_header(out, b'*', argv.len());
    for arg in argv {
        put_header(out, b'$', arg.len());
        out.extend_from_slice(arg);
        out.extend_from_slice(b"\r\n");
    }
}

#[inline]
fn put_header(out: &mut Vec<u8>, kind: u8, n: usize) {
    match u8::try_from(n) {
        Ok(digit @ 0..=9) => out.extend_from_slice(&[kind, b'0' + digit, b'\r', b'\n']),
        Ok(two @ 10..=99) => {
            out.extend_from_slice(&[kind, b'0' + two / 10, b'0' + two % 10, b'\r', b'\n']);
        }
        _ => {
            out.push(kind);
            out.extend_from_slice(itoa::Buffer::new().format(n).as_bytes());
            out.extend_from_slice(b"\r\n");
        }
    }
}

/// A stretch of a unit's bytes that is for one database and one audience.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Segment {
    /// `None`: no SELECT is needed before.
    db: Option<u32>,
    start: usize,
    /// Whether the AOF keeps it; replicas get everything.
    for_aof: bool,
}

/// One segment as the log takes it over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part<'a> {
    /// The database the commands ran in; `None` when they need no SELECT.
    pub db: Option<u32>,
    /// Whether the AOF keeps these commands; replicas get everything.
    pub for_aof: bool,
    /// The commands in RESP.
    pub bytes: &'a [u8],
    /// A handle on them, where there is one.
    pub shared: Option<&'a Bytes>,
}

/// A place in a [`UnitEffects`] from which [`UnitEffects::wrap_multi`] counts.
#[derive(Debug, Clone, Copy)]
pub struct Mark {
    bytes: usize,
    commands: u32,
}

/// Everything one unit wrote, in order.
#[derive(Debug, Default)]
pub struct UnitEffects {
    bytes: Vec<u8>,
    segments: SmallVec<[Segment; 4]>,
    /// Segments whose commands are not among `bytes`, ascending.
    shared: Vec<(usize, Bytes)>,
    commands: u32,
    unix_s: i64,
}

impl UnitEffects {
    /// An empty collection without buffers.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether the unit wrote nothing.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// How many commands the unit wrote, MULTI and EXEC not counted.
    pub fn commands(&self) -> u32 {
        self.commands
    }

    /// Bytes of RESP the unit wrote, without the SELECTs the log may add.
    pub fn len_bytes(&self) -> usize {
        let shared: usize = self.shared.iter().map(|(_, bytes)| bytes.len()).sum();
        self.bytes.len() + shared
    }

    /// Forgets the content and keeps the buffers, unless a huge command blew them up.
    pub fn clear(&mut self) {
        const KEEP_BYTES: usize = 256 * 1024;
        if self.bytes.capacity() > KEEP_BYTES {
            self.bytes = Vec::new();
        } else {
            self.bytes.clear();
        }
        self.segments.clear();
        self.shared.clear();
        self.commands = 0;
    }

    /// The second the unit runs in, for the AOF's timestamp annotations.
    pub fn set_unix_s(&mut self, unix_s: i64) {
        self.unix_s = unix_s;
    }

    /// See [`UnitEffects::set_unix_s`].
    pub fn unix_s(&self) -> i64 {
        self.unix_s
    }

    /// Adds the command `argv`, run in database `db`.
    #[inline]
    pub fn push(&mut self, db: u32, argv: &[&[u8]]) {
        self.enter(db, true);
        encode(&mut self.bytes, argv);
        self.commands = self.commands.saturating_add(1);
    }

    /// Adds the command `argv` for replicas alone, as PUBLISH is: it changes no data.
    pub fn push_for_replicas(&mut self, db: u32, argv: &[&[u8]]) {
        self.enter(db, false);
        encode(&mut self.bytes, argv);
        self.commands = self.commands.saturating_add(1);
    }

    /// Adds commands encoded before, run in database `db`.
    pub fn push_encoded(&mut self, db: u32, encoded: &Encoded) {
        if encoded.count == 0 {
            return;
        }
        self.enter(db, true);
        self.bytes.extend_from_slice(&encoded.bytes);
        self.commands = self.commands.saturating_add(encoded.count);
    }

    /// Adds commands encoded before, run in database `db`: several of them between MULTI and EXEC
    /// and without a copy. They are not to be wrapped again.
    pub fn push_shared(&mut self, db: u32, shared: &Shared) {
        self.commands = self.commands.saturating_add(shared.count);
        if shared.count < 2 {
            self.enter(db, true);
            self.bytes.extend_from_slice(&shared.bytes);
            return;
        }
        self.open(None, true);
        self.bytes.extend_from_slice(MULTI);
        self.open(Some(db), true);
        let segment = self.segments.len() - 1;
        self.shared.push((segment, shared.bytes.clone()));
        self.open(None, true);
        self.bytes.extend_from_slice(EXEC);
    }

    /// Adds what a handler returned for the command `argv`.
    pub fn push_effect(&mut self, db: u32, argv: &[&[u8]], effect: &Effect) {
        match effect {
            Effect::None => {}
            Effect::Verbatim => self.push(db, argv),
            Effect::Rewritten(encoded) => self.push_encoded(db, encoded),
        }
    }

    /// The present end, to hand to [`UnitEffects::wrap_multi`] later.
    #[inline]
    pub fn mark(&self) -> Mark {
        Mark {
            bytes: self.bytes.len(),
            commands: self.commands,
        }
    }

    /// Puts what was pushed since `mark` between MULTI and EXEC, if that is more than one
    /// command; a single command is atomic as it is.
    pub fn wrap_multi(&mut self, mark: Mark) {
        if self.commands.saturating_sub(mark.commands) < 2 || mark.bytes >= self.bytes.len() {
            return;
        }
        self.bytes
            .splice(mark.bytes..mark.bytes, MULTI.iter().copied());
        // The segment that the first wrapped command fell into is cut in two around MULTI.
        let at = self
            .segments
            .partition_point(|segment| segment.start <= mark.bytes);
        debug_assert!(self.shared.iter().all(|(segment, _)| *segment < at));
        let (before, after) = self.segments.split_at(at);
        let Some((into, before)) = before.split_last() else {
            return;
        };
        let mut segments: SmallVec<[Segment; 4]> = SmallVec::from_slice(before);
        if into.start < mark.bytes {
            segments.push(*into);
        }
        segments.push(Segment {
            db: None,
            start: mark.bytes,
            for_aof: true,
        });
        segments.push(Segment {
            start: mark.bytes + MULTI.len(),
            ..*into
        });
        segments.extend(after.iter().map(|late| Segment {
            start: late.start + MULTI.len(),
            ..*late
        }));
        // Commands for replicas alone must not take EXEC with them.
        if segments.last().is_some_and(|last| !last.for_aof) {
            segments.push(Segment {
                db: None,
                start: self.bytes.len(),
                for_aof: true,
            });
        }
        self.segments = segments;
        self.bytes.extend_from_slice(EXEC);
    }

    /// The bytes in order, cut where the database or the audience changes.
    pub fn parts(&self) -> impl Iterator<Item = Part<'_>> {
        let ends = self
            .segments
            .iter()
            .skip(1)
            .map(|next| next.start)
            .chain([self.bytes.len()]);
        let mut shared = self.shared.iter().peekable();
        let with_ends = self.segments.iter().zip(ends).enumerate();
        with_ends.map(move |(i, (segment, end))| {
            let shared = shared.next_if(|(of, _)| *of == i).map(|(_, bytes)| bytes);
            Part {
                db: segment.db,
                for_aof: segment.for_aof,
                bytes: match shared {
                    Some(bytes) => bytes,
                    None => self.bytes.get(segment.start..end).unwrap_or(&[]),
                },
                shared,
            }
        })
    }

    #[inline]
    fn enter(&mut self, db: u32, for_aof: bool) {
        let goes_on = |last: &Segment| last.db == Some(db) && last.for_aof == for_aof;
        if !self.segments.last().is_some_and(goes_on) {
            self.open(Some(db), for_aof);
        }
    }

    #[inline]
    fn open(&mut self, db: Option<u32>, for_aof: bool) {
        self.segments.push(Segment {
            db,
            start: self.bytes.len(),
            for_aof,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn flat(unit: &UnitEffects) -> Vec<(Option<u32>, String)> {
        unit.parts()
            .map(|part| (part.db, String::from_utf8_lossy(part.bytes).into_owned()))
            .collect()
    }

    #[test]
    fn a_command_is_an_array_of_bulk_strings() {
        let mut out = Vec::new();
        encode(&mut out, &[b"SET", b"k", &[b'x'; 12], &[b'y'; 123]]);
        let y = "y".repeat(123);
        let expected =
            format!("*4\r\n$3\r\nSET\r\n$1\r\nk\r\n$12\r\nxxxxxxxxxxxx\r\n$123\r\n{y}\r\n");
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }

    #[test]
    fn commands_of_one_database_share_a_segment() {
        let mut unit = UnitEffects::new();
        unit.push(0, &[b"A"]);
        unit.push(0, &[b"B"]);
        unit.push(3, &[b"C"]);
        assert_eq!(
            flat(&unit),
            [
                (Some(0), "*1\r\n$1\r\nA\r\n*1\r\n$1\r\nB\r\n".to_owned()),
                (Some(3), "*1\r\n$1\r\nC\r\n".to_owned()),
            ]
        );
        unit.clear();
        assert!(unit.is_empty());
        assert_eq!(unit.parts().count(), 0);
    }

    #[test]
    fn a_single_command_is_not_wrapped() {
        let mut unit = UnitEffects::new();
        unit.push(0, &[b"A"]);
        let mark = unit.mark();
        unit.push(0, &[b"B"]);
        unit.wrap_multi(mark);
        assert_eq!(flat(&unit).len(), 1);
    }

    #[test]
    fn wrapping_cuts_a_shared_segment_around_multi() {
        let mut unit = UnitEffects::new();
        unit.push(1, &[b"A"]);
        let mark = unit.mark();
        unit.push(1, &[b"B"]);
        unit.push(2, &[b"C"]);
        unit.wrap_multi(mark);
        unit.push(2, &[b"D"]);
        let multi = String::from_utf8_lossy(MULTI).into_owned();
        let exec = String::from_utf8_lossy(EXEC).into_owned();
        assert_eq!(
            flat(&unit),
            [
                (Some(1), "*1\r\n$1\r\nA\r\n".to_owned()),
                (None, multi),
                (Some(1), "*1\r\n$1\r\nB\r\n".to_owned()),
                (Some(2), format!("*1\r\n$1\r\nC\r\n{exec}*1\r\n$1\r\nD\r\n")),
            ]
        );
    }

    #[test]
    fn wrapping_the_whole_unit_puts_multi_first() {
        let mut unit = UnitEffects::new();
        let mark = unit.mark();
        unit.push_encoded(7, &{
            let mut two = Encoded::one(&[b"X"]);
            two.push(&[b"Y"]);
            two
        });
        unit.wrap_multi(mark);
        let dbs: Vec<_> = unit.parts().map(|part| part.db).collect();
        assert_eq!(dbs, [None, Some(7)]);
        assert_eq!(unit.commands(), 2);
    }

    #[test]
    fn exec_after_a_command_for_replicas_alone_still_reaches_the_aof() {
        let mut unit = UnitEffects::new();
        let mark = unit.mark();
        unit.push(0, &[b"A"]);
        unit.push_for_replicas(0, &[b"PUBLISH", b"c", b"m"]);
        unit.wrap_multi(mark);
        let for_aof: Vec<u8> = unit
            .parts()
            .filter(|part| part.for_aof)
            .flat_map(|part| part.bytes.to_vec())
            .collect();
        let expected = [MULTI, b"*1\r\n$1\r\nA\r\n", EXEC].concat();
        assert_eq!(for_aof, expected);
    }

    #[test]
    fn shared_commands_stand_where_they_were_pushed_and_are_not_copied() {
        let mut two = Encoded::one(&[b"X"]);
        two.push(&[b"Y"]);
        let (one, two) = (Shared::from(Encoded::one(&[b"Z"])), Shared::from(two));
        let mut unit = UnitEffects::new();
        unit.push(0, &[b"A"]);
        unit.push_shared(0, &two);
        unit.push_shared(2, &one);
        let mark = unit.mark();
        unit.push(0, &[b"B"]);
        unit.push(0, &[b"C"]);
        unit.wrap_multi(mark);
        let text = |argv: &[&[u8]]| {
            let mut out = Vec::new();
            encode(&mut out, argv);
            String::from_utf8(out).unwrap()
        };
        let expected = [
            (Some(0), text(&[b"A"])),
            (None, text(&[b"MULTI"])),
            (Some(0), text(&[b"X"]) + &text(&[b"Y"])),
            (None, text(&[b"EXEC"])),
            (Some(2), text(&[b"Z"])),
            (None, text(&[b"MULTI"])),
            (Some(0), text(&[b"B"]) + &text(&[b"C"]) + &text(&[b"EXEC"])),
        ];
        assert_eq!(flat(&unit), expected);
        assert_eq!(unit.commands(), 6);
        let all: usize = expected.iter().map(|part| part.1.len()).sum();
        assert_eq!(unit.len_bytes(), all);
        let handles: Vec<_> = unit.parts().filter_map(|part| part.shared).collect();
        assert_eq!(handles.len(), 1);
        assert_eq!(handles[0].as_ptr(), two.bytes.as_ptr());
        unit.clear();
        assert!(unit.is_empty() && unit.parts().count() == 0);
    }

    proptest! {
        /// Whatever is pushed and wrapped, the segments join up to the commands in order.
        #[test]
        fn segments_cover_the_bytes(groups in prop::collection::vec(
            prop::collection::vec((0u32..3, prop::collection::vec(any::<u8>(), 0..40)), 0..4), 0..5)
        ) {
            let mut unit = UnitEffects::new();
            let mut expected: Vec<u8> = Vec::new();
            for group in &groups {
                let mark = unit.mark();
                if group.len() > 1 { expected.extend_from_slice(MULTI); }
                for (db, arg) in group {
                    unit.push(*db, &[b"SET", arg]);
                    encode(&mut expected, &[b"SET", arg]);
                }
                if group.len() > 1 { expected.extend_from_slice(EXEC); }
                unit.wrap_multi(mark);
            }
            let joined: Vec<u8> = unit.parts().flat_map(|p| p.bytes.to_vec()).collect();
            prop_assert_eq!(joined, expected);
        }
    }
}

//! Reading a whole RDB stream: header, opcodes, entries, trailer.
//!
//! The reader drives a [`Sink`]. It blocks on its stream, so it runs on a thread of its own; an
//! atomic tells the rest of the server how far it is. It holds one key and one value at a time.
//!
//! Guarantees: an entry is handed over only after every byte of it has been checked, duplicates
//! inside collections included; what cannot be represented is refused by name and offset, never
//! left out (module data outside the keyspace excepted, which only its module could use); the
//! stream is not read past its end by more than what one read happened to return, and that is
//! given back.

use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use crate::keyspace::shard::NewValue;
use crate::persist::rdb::error::{Error, ErrorKind, Result};
use crate::persist::rdb::load::{Limits, Loader};
use crate::persist::rdb::source::Source;
use crate::persist::rdb::types::{
    MAX_READ_VERSION, MODULE_DOUBLE, MODULE_EOF, MODULE_FLOAT, MODULE_SINT, MODULE_STRING,
    MODULE_UINT, OP_AUX, OP_EOF, OP_EXPIRETIME, OP_EXPIRETIME_MS, OP_FREQ, OP_FUNCTION_PRE_GA,
    OP_FUNCTION2, OP_IDLE, OP_MODULE_AUX, OP_RESIZEDB, OP_SELECTDB, OP_SLOT_INFO, ObjectType,
};
use crate::persist::rdb::writer::Usage;

/// The first version with a checksum behind the end.
const FIRST_CHECKSUM_VERSION: i64 = 5;

/// A key with its value and what is known of it.
pub struct Entry<'a> {
    /// Its database.
    pub db: u64,
    /// The key.
    pub key: &'a [u8],
    /// The value. A short string is lent.
    pub value: NewValue<'a>,
    /// When it expires, unix milliseconds. May lie in the past: what that means depends on who
    /// loads.
    pub expire_ms: Option<i64>,
    /// What eviction knew of it.
    pub usage: Usage,
}

/// A value of a module, of which only the frame has been checked.
#[derive(Debug)]
pub struct ModuleEntry<'a> {
    /// The key.
    pub key: &'a [u8],
    /// When it expires, unix milliseconds.
    pub expire_ms: Option<i64>,
}

/// What a consumer says to something it was handed; the error text ends the load.
pub type Verdict = std::result::Result<(), String>;

/// Consumer of an RDB stream. `offset` is the position behind the item.
pub trait Sink {
    /// A named string about the file. Names not known are to be ignored.
    fn aux(&mut self, name: &[u8], value: &[u8], offset: u64) -> Verdict;
    /// The source of a function library.
    fn function(&mut self, code: &[u8], offset: u64) -> Verdict;
    /// Entries that follow belong to database `db`.
    fn select_db(&mut self, db: u64, offset: u64) -> Verdict;
    /// The selected database will have about so many keys, and so many with an expiry. The
    /// numbers are claims: reserve with care.
    fn size_hint(&mut self, keys: u64, expires: u64) {
        let _ = (keys, expires);
    }
    /// An entry.
    fn entry(&mut self, entry: Entry<'_>) -> Verdict;
    /// A key whose collection had no elements, which old versions of Redis could write; there is
    /// no such key.
    fn empty_key(&mut self, db: u64, key: &[u8]) -> Verdict {
        let _ = (db, key);
        Ok(())
    }
    /// Data of module `name` outside the keyspace was passed over.
    fn module_aux(&mut self, name: &str, offset: u64) {
        let _ = (name, offset);
    }
    /// A value of a module. Only called when [`Options::check_modules`] is set.
    fn module_entry(&mut self, entry: ModuleEntry<'_>) {
        let _ = entry;
    }
}

/// How to read.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Thresholds of the encodings that collections are loaded into.
    pub limits: Limits,
    /// Take the trailer as it is (`rdbchecksum no`).
    pub skip_checksum: bool,
    /// Check the frame of module values instead of refusing them; for the check program.
    pub check_modules: bool,
    /// Receives the number of bytes that have arrived.
    pub progress: Option<Arc<AtomicU64>>,
}

/// What the trailer's checksum said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Checksum {
    /// It is that of the bytes.
    Verified,
    /// It was zero: the file was written without one.
    WrittenWithout,
    /// The version has none, or the options leave it out.
    NotChecked,
}

/// A stream read to its end.
#[derive(Debug, Clone, Copy)]
pub struct Summary {
    /// Its version.
    pub version: i64,
    /// What became of its checksum.
    pub checksum: Checksum,
    /// Its length in bytes.
    pub length: u64,
}

/// What the reader was about to read when it failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// The signature.
    Start,
    /// A type or opcode.
    Type,
    /// An expiry.
    Expire,
    /// A key.
    Key,
    /// A value.
    Value,
    /// The trailer.
    Checksum,
    /// A database number or size.
    Length,
    /// A named string.
    Aux,
    /// Data of a module.
    ModuleAux,
    /// A function library.
    Functions,
}

impl Stage {
    /// The name `redis-check-rdb` prints.
    pub fn name(self) -> &'static str {
        match self {
            Stage::Start => "start",
            Stage::Type => "read-type",
            Stage::Expire => "read-expire",
            Stage::Key => "read-key",
            Stage::Value => "read-object-value",
            Stage::Checksum => "check-sum",
            Stage::Length => "read-len",
            Stage::Aux => "read-aux",
            Stage::ModuleAux => "read-module-aux",
            Stage::Functions => "read-functions",
        }
    }
}

/// A reader of one stream.
pub struct Reader<R> {
    source: Source<R>,
    loader: Loader,
    options: Options,
    stage: Stage,
    /// The key being read, while its value is.
    key: Vec<u8>,
    in_key: bool,
    kind: Option<ObjectType>,
    text: Vec<u8>,
}

/// What opcodes said of the next key.
#[derive(Default)]
struct Pending {
    expire_ms: Option<i64>,
    usage: Usage,
}

impl<R: Read> Reader<R> {
    /// Reads from `inner`, which need not be buffered.
    pub fn new(inner: R, options: Options) -> Reader<R> {
        let mut source = Source::new(inner);
        if options.skip_checksum {
            source.without_checksum();
        }
        if let Some(progress) = &options.progress {
            source.report_progress(Arc::clone(progress));
        }
        Reader {
            source,
            loader: Loader::new(options.limits),
            options,
            stage: Stage::Start,
            key: Vec::new(),
            in_key: false,
            kind: None,
            text: Vec::new(),
        }
    }

    /// What was being read last.
    pub fn stage(&self) -> Stage {
        self.stage
    }

    /// The key whose value was being read last, if one was.
    pub fn key(&self) -> Option<&[u8]> {
        self.in_key.then_some(&self.key)
    }

    /// The type that was being read last, if one was.
    pub fn kind(&self) -> Option<ObjectType> {
        self.kind
    }

    /// Bytes consumed.
    pub fn offset(&self) -> u64 {
        self.source.offset()
    }

    /// The stream, and what was read of it beyond the end of the RDB.
    pub fn into_rest(self) -> (R, Vec<u8>) {
        self.source.into_rest()
    }

    /// Reads the whole stream into `sink`.
    pub fn load(&mut self, sink: &mut impl Sink) -> Result<Summary> {
        let version = self.header()?;
        let mut db = 0;
        let mut pending = Pending::default();
        loop {
            self.stage = Stage::Type;
            let opcode = self.source.byte()?;
            match opcode {
                OP_EXPIRETIME => {
                    self.stage = Stage::Expire;
                    let seconds = i32::from_le_bytes(self.source.array()?);
                    pending.expire_ms = Some(i64::from(seconds) * 1000);
                }
                OP_EXPIRETIME_MS => {
                    self.stage = Stage::Expire;
                    pending.expire_ms = Some(self.source.millis()?);
                }
                OP_FREQ => pending.usage = Usage::Frequency(self.source.byte()?),
                OP_IDLE => pending.usage = Usage::IdleSeconds(self.source.length()?),
                OP_EOF => break,
                OP_SELECTDB => {
                    self.stage = Stage::Length;
                    db = self.source.length()?;
                    let verdict = sink.select_db(db, self.source.offset());
                    self.judge(verdict)?;
                }
                OP_RESIZEDB => {
                    self.stage = Stage::Length;
                    let keys = self.source.length()?;
                    sink.size_hint(keys, self.source.length()?);
                }
                OP_SLOT_INFO => {
                    self.stage = Stage::Length;
                    for _ in 0..3 {
                        self.source.length()?;
                    }
                }
                OP_AUX => self.aux(sink)?,
                OP_MODULE_AUX => self.module_aux(sink)?,
                OP_FUNCTION2 => self.function(sink)?,
                OP_FUNCTION_PRE_GA => {
                    let what = "Pre-release function format not supported.".to_owned();
                    return Err(self.source.fail(ErrorKind::Unsupported(what)));
                }
                _ => self.entry(opcode, db, std::mem::take(&mut pending), sink)?,
            }
        }
        let checksum = self.trailer(version)?;
        Ok(Summary {
            version,
            checksum,
            length: self.source.offset(),
        })
    }

    fn judge(&self, verdict: Verdict) -> Result<()> {
        verdict.map_err(|reason| self.source.fail(ErrorKind::Sink(reason)))
    }

    fn header(&mut self) -> Result<i64> {
        self.stage = Stage::Start;
        let [r, e, d, i, s, digits @ ..] = self.source.array::<9>()?;
        if [r, e, d, i, s] != *b"REDIS" {
            return Err(self.source.fail(ErrorKind::Signature));
        }
        let digits = digits.iter().take_while(|digit| digit.is_ascii_digit());
        let version = digits.fold(0, |value, &digit| value * 10 + i64::from(digit - b'0'));
        if !(1..=MAX_READ_VERSION).contains(&version) {
            return Err(self.source.fail(ErrorKind::Version(version)));
        }
        Ok(version)
    }

    fn aux(&mut self, sink: &mut impl Sink) -> Result<()> {
        self.stage = Stage::Aux;
        self.text.clear();
        self.source.text_into(&mut self.text)?;
        let mut value = Vec::new();
        self.source.text_into(&mut value)?;
        let verdict = sink.aux(&self.text, &value, self.source.offset());
        self.judge(verdict)
    }

    fn function(&mut self, sink: &mut impl Sink) -> Result<()> {
        self.stage = Stage::Functions;
        self.text.clear();
        self.source.text_into(&mut self.text)?;
        let verdict = sink.function(&self.text, self.source.offset());
        self.judge(verdict)
    }

    fn module_aux(&mut self, sink: &mut impl Sink) -> Result<()> {
        self.stage = Stage::ModuleAux;
        let name = module_name(self.source.length()?);
        let when_opcode = self.source.length()?;
        self.source.length()?;
        if when_opcode != MODULE_UINT {
            return Err(self.source.corrupt("bad when_opcode"));
        }
        let offset = self.source.offset();
        skip_module_value(&mut self.source, &name)?;
        sink.module_aux(&name, offset);
        Ok(())
    }

    fn entry(&mut self, byte: u8, db: u64, pending: Pending, sink: &mut impl Sink) -> Result<()> {
        let Some(kind) = ObjectType::from_byte(byte) else {
            return Err(self.source.fail(ErrorKind::UnknownType(byte)));
        };
        self.kind = Some(kind);
        self.stage = Stage::Key;
        self.key.clear();
        self.source.text_into(&mut self.key)?;
        self.in_key = true;
        self.stage = Stage::Value;
        if kind == ObjectType::Module2 {
            self.module_value(pending.expire_ms, sink)?;
        } else if let Some(value) = self.loader.load_new(kind, &mut self.source)? {
            let verdict = sink.entry(Entry {
                db,
                key: &self.key,
                value,
                expire_ms: pending.expire_ms,
                usage: pending.usage,
            });
            self.judge(verdict)?;
        } else {
            let verdict = sink.empty_key(db, &self.key);
            self.judge(verdict)?;
        }
        self.in_key = false;
        self.kind = None;
        Ok(())
    }

    fn module_value(&mut self, expire_ms: Option<i64>, sink: &mut impl Sink) -> Result<()> {
        let name = module_name(self.source.length()?);
        if !self.options.check_modules {
            return Err(self.source.fail(ErrorKind::Unsupported(format!(
                "The RDB file contains module data I can't load: no matching module type '{name}'"
            ))));
        }
        skip_module_value(&mut self.source, &name)?;
        sink.module_entry(ModuleEntry {
            key: &self.key,
            expire_ms,
        });
        Ok(())
    }

    fn trailer(&mut self, version: i64) -> Result<Checksum> {
        if version < FIRST_CHECKSUM_VERSION {
            return Ok(Checksum::NotChecked);
        }
        self.stage = Stage::Checksum;
        let expected = self.source.checksum();
        let got = u64::from_le_bytes(self.source.array()?);
        if self.options.skip_checksum {
            Ok(Checksum::NotChecked)
        } else if got == 0 {
            Ok(Checksum::WrittenWithout)
        } else if got == expected {
            Ok(Checksum::Verified)
        } else {
            Err(self.source.fail(ErrorKind::Checksum { expected, got }))
        }
    }
}

/// The nine characters in the upper bits of a module's identifier.
fn module_name(id: u64) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    (0..9)
        .map(|index| (id >> (64 - 6 * (index + 1))) & 63)
        .map(|six| char::from(ALPHABET.get(six as usize).copied().unwrap_or(b'?')))
        .collect()
}

/// Passes over what a module wrote: tagged numbers and strings up to an end mark.
fn skip_module_value<R: Read>(
    source: &mut Source<R>,
    name: &str,
) -> std::result::Result<(), Error> {
    loop {
        match source.length()? {
            MODULE_EOF => return Ok(()),
            MODULE_SINT | MODULE_UINT => {
                source.length()?;
            }
            MODULE_FLOAT => source.skip(4)?,
            MODULE_DOUBLE => source.skip(8)?,
            MODULE_STRING => source.skip_string()?,
            opcode => {
                return Err(source.corrupt(format!(
                    "Unknown opcode {opcode} in the value of module {name}"
                )));
            }
        }
    }
}

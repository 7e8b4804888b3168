//! How the common types of values are read, shown and written back: yes or no, numbers, one of
//! several words, text.
//!
//! A codec turns the arguments of a directive into a typed value and back. The texts of its errors
//! are Redis's, since clients show them and tools compare them.

use super::types::{Choice, TextValue};
use crate::base::args::quote;
use crate::base::num::{parse_i64, parse_memory};
use std::fmt::Debug;
use std::marker::PhantomData;

/// A line for CONFIG REWRITE.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Line {
    pub text: Vec<u8>,
    /// Whether the line is wanted even where the file does not mention the directive.
    pub force: bool,
}

/// Reads, shows and writes back the values of one type.
pub(super) trait Codec<T: PartialEq>: Sync {
    /// Whether the directive takes any number of arguments; otherwise it is given exactly one.
    fn takes_many(&self) -> bool {
        false
    }

    /// The value that `args` stand for. `current` is the value now in force, for directives that
    /// change only a part of it; `append` is explained at `Directive::set`.
    fn parse(&self, args: &[&[u8]], current: &T, append: bool) -> Result<T, String>;

    /// The value as CONFIG GET shows it.
    fn show(&self, value: &T) -> Vec<u8>;

    /// The lines that set `value` in a configuration file; none where absence means this value.
    fn lines(&self, name: &str, value: &T, default: &T) -> Vec<Line> {
        vec![Line {
            text: joined(name, &self.show(value)),
            force: value != default,
        }]
    }
}

/// `name`, a space, `value`.
pub(super) fn joined(name: &str, value: &[u8]) -> Vec<u8> {
    [name.as_bytes(), b" ", value].concat()
}

/// The one argument of a directive that takes exactly one.
pub(super) fn single<'a>(args: &[&'a [u8]]) -> Result<&'a [u8], String> {
    match args {
        [one] => Ok(one),
        _ => Err("wrong number of arguments".to_owned()),
    }
}

/// `yes` or `no`.
#[derive(Debug)]
pub(super) struct YesNo;

impl Codec<bool> for YesNo {
    fn parse(&self, args: &[&[u8]], _: &bool, _: bool) -> Result<bool, String> {
        let word = single(args)?;
        if word.eq_ignore_ascii_case(b"yes") {
            Ok(true)
        } else if word.eq_ignore_ascii_case(b"no") {
            Ok(false)
        } else {
            Err("argument must be 'yes' or 'no'".to_owned())
        }
    }

    fn show(&self, value: &bool) -> Vec<u8> {
        if *value {
            b"yes".to_vec()
        } else {
            b"no".to_vec()
        }
    }
}

/// A field type that holds a number. Ranges of the table keep values inside the type; the
/// conversions saturate, so that a wrong range could not wrap around either.
pub(super) trait Number: Copy + PartialEq + Debug {
    fn to_i64(self) -> i64;
    fn from_i64(value: i64) -> Self;
}

macro_rules! numbers {
    ($($ty:ty),*) => {$(
        impl Number for $ty {
            fn to_i64(self) -> i64 {
                i64::try_from(self).unwrap_or(i64::MAX)
            }
            fn from_i64(value: i64) -> Self {
                <$ty>::try_from(value).unwrap_or(if value < 0 { <$ty>::MIN } else { <$ty>::MAX })
            }
        }
    )*};
}
numbers!(u8, u16, u32, i32, u64, i64, usize);

#[derive(Debug, Clone, Copy)]
enum Style {
    Plain,
    Memory,
    Octal,
}

/// A number within bounds, plain, as an amount of memory (`64mb`), or octal.
#[derive(Debug)]
pub(super) struct Int {
    min: i64,
    max: i64,
    style: Style,
    /// Values inside `min..=max` are moved into this range without an error.
    clamp: Option<(i64, i64)>,
}

/// The largest value of Redis's `int` directives.
pub(super) const INT_MAX: i64 = i32::MAX as i64;

impl Int {
    pub const fn range(min: i64, max: i64) -> Int {
        Int {
            min,
            max,
            style: Style::Plain,
            clamp: None,
        }
    }

    pub const fn memory(min: i64, max: i64) -> Int {
        Int {
            min,
            max,
            style: Style::Memory,
            clamp: None,
        }
    }

    pub const fn octal(min: i64, max: i64) -> Int {
        Int {
            min,
            max,
            style: Style::Octal,
            clamp: None,
        }
    }

    pub const fn clamped(self, low: i64, high: i64) -> Int {
        Int {
            clamp: Some((low, high)),
            ..self
        }
    }

    fn read(&self, text: &[u8]) -> Result<i64, String> {
        let (value, problem) = match self.style {
            Style::Plain => (
                parse_i64(text),
                "argument couldn't be parsed into an integer",
            ),
            Style::Memory => (parse_memory(text), "argument must be a memory value"),
            Style::Octal => (
                octal(text),
                "argument couldn't be parsed as an octal number",
            ),
        };
        value.ok_or_else(|| problem.to_owned())
    }
}

fn octal(text: &[u8]) -> Option<i64> {
    i64::from_str_radix(std::str::from_utf8(text).ok()?, 8).ok()
}

impl<T: Number> Codec<T> for Int {
    fn parse(&self, args: &[&[u8]], _: &T, _: bool) -> Result<T, String> {
        let value = self.read(single(args)?)?;
        let (min, max) = (self.min, self.max);
        if !(min..=max).contains(&value) {
            return Err(match self.style {
                Style::Octal => format!("argument must be between {min:o} and {max:o} inclusive"),
                _ => format!("argument must be between {min} and {max} inclusive"),
            });
        }
        let (low, high) = self.clamp.unwrap_or((min, max));
        Ok(T::from_i64(value.clamp(low, high)))
    }

    fn show(&self, value: &T) -> Vec<u8> {
        let value = value.to_i64();
        match self.style {
            Style::Octal => format!("{value:o}"),
            Style::Plain | Style::Memory => value.to_string(),
        }
        .into_bytes()
    }

    fn lines(&self, name: &str, value: &T, default: &T) -> Vec<Line> {
        let shown = match self.style {
            Style::Memory => memory_text(value.to_i64()).into_bytes(),
            _ => self.show(value),
        };
        vec![Line {
            text: joined(name, &shown),
            force: value != default,
        }]
    }
}

/// An amount of memory with the largest unit that divides it.
pub(super) fn memory_text(bytes: i64) -> String {
    for (unit, suffix) in [(1_i64 << 30, "gb"), (1 << 20, "mb"), (1 << 10, "kb")] {
        if bytes != 0 && bytes % unit == 0 {
            return format!("{}{suffix}", bytes / unit);
        }
    }
    bytes.to_string()
}

/// One of the words of a [`Choice`].
pub(super) struct OneOf<E>(PhantomData<fn() -> E>);

impl<E> OneOf<E> {
    pub const fn new() -> OneOf<E> {
        OneOf(PhantomData)
    }
}

impl<E> Debug for OneOf<E> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("OneOf")
    }
}

/// The error for a word that is none of `words`.
pub(super) fn none_of(words: impl Iterator<Item = &'static str>) -> String {
    let words: Vec<_> = words.collect();
    format!(
        "argument(s) must be one of the following: {}",
        words.join(", ")
    )
}

impl<E: Choice> Codec<E> for OneOf<E> {
    fn parse(&self, args: &[&[u8]], _: &E, _: bool) -> Result<E, String> {
        let word = single(args)?;
        let found = E::WORDS
            .iter()
            .find(|(text, _)| text.as_bytes().eq_ignore_ascii_case(word));
        match found {
            Some((_, value)) => Ok(*value),
            None => Err(none_of(E::WORDS.iter().map(|(text, _)| *text))),
        }
    }

    fn show(&self, value: &E) -> Vec<u8> {
        value.as_str().as_bytes().to_vec()
    }
}

/// A check of a text before it is taken.
pub(super) type Check = fn(&[u8]) -> Result<(), &'static str>;

/// Text, quoted where a configuration file needs it.
#[derive(Debug)]
pub(super) struct Text {
    check: Option<Check>,
}

impl Text {
    pub const ANY: Text = Text { check: None };

    pub const fn checked(check: Check) -> Text {
        Text { check: Some(check) }
    }
}

impl<T: TextValue> Codec<T> for Text {
    fn parse(&self, args: &[&[u8]], _: &T, _: bool) -> Result<T, String> {
        let text = single(args)?;
        if let Some(check) = self.check {
            check(text)?;
        }
        T::from_bytes(text).ok_or_else(|| "argument must be UTF-8 text".to_owned())
    }

    fn show(&self, value: &T) -> Vec<u8> {
        value.bytes().unwrap_or_default().to_vec()
    }

    fn lines(&self, name: &str, value: &T, default: &T) -> Vec<Line> {
        let Some(text) = value.bytes() else {
            return Vec::new();
        };
        let text = joined(name, quote(text).as_bytes());
        vec![Line {
            text,
            force: value != default,
        }]
    }
}

fn is_base_name(text: &[u8]) -> bool {
    !text.contains(&b'/') && !text.contains(&b'\\')
}

/// The check of `dbfilename`.
pub(super) fn rdb_file_name(text: &[u8]) -> Result<(), &'static str> {
    if is_base_name(text) {
        Ok(())
    } else {
        Err("dbfilename can't be a path, just a filename")
    }
}

/// The check of `appendfilename`.
pub(super) fn aof_file_name(text: &[u8]) -> Result<(), &'static str> {
    match text {
        [] => Err("appendfilename can't be empty"),
        name if is_base_name(name) => Ok(()),
        _ => Err("appendfilename can't be a path, just a filename"),
    }
}

/// The check of `appenddirname`.
pub(super) fn aof_directory_name(text: &[u8]) -> Result<(), &'static str> {
    match text {
        [] => Err("appenddirname can't be empty"),
        name if is_base_name(name) => Ok(()),
        _ => Err("appenddirname can't be a path, just a dirname"),
    }
}

/// The check of `proc-title-template`: text with the variables Redis knows, in braces. Something
/// must be left of it where the title and the mode of a standalone server are empty.
pub(super) fn title_template(text: &[u8]) -> Result<(), &'static str> {
    const PROBLEM: &str = "template format is invalid or contains unknown variables";
    const KNOWN: [&[u8]; 7] = [
        b"title",
        b"listen-addr",
        b"server-mode",
        b"port",
        b"tls-port",
        b"unixsocket",
        b"config-file",
    ];
    let mut rest = text;
    let mut is_blank = true;
    while let Some(open) = rest.iter().position(|byte| *byte == b'{') {
        let (before, after) = rest.split_at_checked(open).ok_or(PROBLEM)?;
        let after = after.get(1..).unwrap_or_default();
        is_blank &= before.iter().all(|byte| *byte == b' ');
        if let Some(literal) = after.strip_prefix(b"{") {
            is_blank = false;
            rest = literal;
            continue;
        }
        let Some(close) = after.iter().position(|byte| *byte == b'}') else {
            return Err(PROBLEM);
        };
        let (variable, tail) = after.split_at_checked(close).ok_or(PROBLEM)?;
        if !KNOWN.contains(&variable) {
            return Err(PROBLEM);
        }
        is_blank &= matches!(variable, b"title" | b"server-mode");
        rest = tail.get(1..).unwrap_or_default();
    }
    is_blank &= rest.iter().all(|byte| *byte == b' ');
    if is_blank { Err(PROBLEM) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::super::types::AppendFsync;
    use super::*;

    fn int(codec: &Int, text: &str) -> Result<i64, String> {
        codec.parse(&[text.as_bytes()], &0_i64, false)
    }

    fn failure(text: &str) -> Result<i64, String> {
        Err(text.to_owned())
    }

    #[test]
    fn a_yes_or_no_is_read_in_any_case_and_nothing_else_is() {
        assert_eq!(YesNo.parse(&[b"YES"], &false, false), Ok(true));
        assert_eq!(YesNo.parse(&[b"no"], &false, false), Ok(false));
        let error = Err("argument must be 'yes' or 'no'".to_owned());
        assert_eq!(YesNo.parse(&[b"1"], &false, false), error);
    }

    #[test]
    fn a_number_outside_its_bounds_is_told_the_bounds() {
        let codec = Int::range(1, 10);
        assert_eq!(int(&codec, "10"), Ok(10));
        assert_eq!(
            int(&codec, "11"),
            failure("argument must be between 1 and 10 inclusive")
        );
        assert_eq!(
            int(&codec, "x"),
            failure("argument couldn't be parsed into an integer")
        );
        assert_eq!(
            int(&codec, " 5"),
            failure("argument couldn't be parsed into an integer")
        );
        assert_eq!(
            int(&codec, "+5"),
            failure("argument couldn't be parsed into an integer")
        );
    }

    #[test]
    fn memory_is_read_with_units_and_written_with_the_largest() {
        let codec = Int::memory(0, i64::MAX);
        assert_eq!(int(&codec, "64mb"), Ok(64 << 20));
        assert_eq!(int(&codec, "1k"), Ok(1000));
        assert_eq!(
            int(&codec, "-1"),
            failure("argument must be a memory value")
        );
        assert_eq!(
            int(&codec, "1.5mb"),
            failure("argument must be a memory value")
        );
        let texts: Vec<_> = [0, 1, 1024, 3 << 20, 5 << 30, 1025].map(memory_text).into();
        assert_eq!(texts, ["0", "1", "1kb", "3mb", "5gb", "1025"]);
    }

    #[test]
    fn permissions_are_octal() {
        let codec = Int::octal(0, 0o777);
        assert_eq!(codec.parse(&[b"755"], &0_u32, false), Ok(0o755));
        assert_eq!(Codec::<u32>::show(&codec, &0o700), b"700");
        let error = codec.parse(&[b"1000"], &0_u32, false);
        assert_eq!(
            error,
            Err("argument must be between 0 and 777 inclusive".to_owned())
        );
        let error = codec.parse(&[b"9"], &0_u32, false);
        assert_eq!(
            error,
            Err("argument couldn't be parsed as an octal number".to_owned())
        );
    }

    #[test]
    fn a_clamped_number_is_moved_into_its_range_without_an_error() {
        let codec = Int::range(0, INT_MAX).clamped(1, 500);
        assert_eq!((int(&codec, "0"), int(&codec, "1000")), (Ok(1), Ok(500)));
    }

    #[test]
    fn a_word_that_is_no_choice_is_told_the_choices() {
        let codec = OneOf::<AppendFsync>::new();
        let value = codec.parse(&[b"ALWAYS"], &AppendFsync::No, false);
        assert_eq!(value, Ok(AppendFsync::Always));
        let error = codec.parse(&[b"never"], &AppendFsync::No, false);
        let text = "argument(s) must be one of the following: everysec, always, no";
        assert_eq!(error, Err(text.to_owned()));
    }

    #[test]
    fn file_names_are_names_and_not_paths() {
        let problem = rdb_file_name(b"a/b");
        assert_eq!(problem, Err("dbfilename can't be a path, just a filename"));
        assert_eq!(aof_file_name(b""), Err("appendfilename can't be empty"));
        let problem = aof_directory_name(b"../x");
        assert_eq!(
            problem,
            Err("appenddirname can't be a path, just a dirname")
        );
        assert_eq!(aof_directory_name(b"appendonlydir"), Ok(()));
    }

    #[test]
    fn a_title_template_knows_its_variables() {
        assert_eq!(
            title_template(b"{title} {listen-addr} {server-mode}"),
            Ok(())
        );
        assert_eq!(title_template(b"--plain {{literal"), Ok(()));
        assert!(title_template(b"{bad}").is_err());
        assert!(title_template(b"{title").is_err());
        assert!(title_template(b"{title} ").is_err() && title_template(b"").is_err());
    }
}

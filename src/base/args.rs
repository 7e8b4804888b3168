//! Command lines as text: splitting one into arguments and quoting an argument for print.
//!
//! Inline requests, redis.conf lines and the `--directive value` command line all follow one
//! quoting rule: blanks separate, `"..."` understands backslash escapes and `\xHH`, `'...'` only
//! `\'`, and a closing quote must be followed by a blank or the end. [`quote`] is the inverse for
//! double quotes, the form in which MONITOR, SLOWLOG and redis.conf print arbitrary bytes.
//!
//! A NUL byte ends the line, as it does for every C reader of the same files.

/// C's `isspace` in the POSIX locale.
#[inline]
pub fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c)
}

/// What ends an unquoted token. Narrower than [`is_space`]: vertical tab and form feed belong to
/// a token once it has begun.
#[inline]
fn ends_token(byte: u8) -> bool {
    matches!(byte, b' ' | b'\n' | b'\r' | b'\t')
}

/// Splits `line` into its arguments. `None` if a quote is not closed, or is closed in the middle
/// of a word.
pub fn split_args(line: &[u8]) -> Option<Vec<Vec<u8>>> {
    let line = line.split(|&byte| byte == 0).next().unwrap_or(line);
    let mut rest = line;
    let mut args = Vec::new();
    loop {
        rest = skip_blanks(rest);
        if rest.is_empty() {
            return Some(args);
        }
        let mut token = Vec::new();
        rest = read_token(rest, &mut token)?;
        args.push(token);
    }
}

/// The tokens of a line that holds neither kind of quote, as slices of it.
pub fn split_unquoted(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = line.split(|&byte| byte == 0).next().unwrap_or(line);
    std::iter::from_fn(move || {
        rest = skip_blanks(rest);
        if rest.is_empty() {
            return None;
        }
        let end = rest
            .iter()
            .position(|&byte| ends_token(byte))
            .unwrap_or(rest.len());
        let (token, after) = rest.split_at_checked(end)?;
        rest = after;
        Some(token)
    })
}

fn skip_blanks(mut rest: &[u8]) -> &[u8] {
    while let [first, after @ ..] = rest
        && is_space(*first)
    {
        rest = after;
    }
    rest
}

/// Reads one token, whose first byte is not a blank, and returns what follows it.
fn read_token<'a>(mut rest: &'a [u8], token: &mut Vec<u8>) -> Option<&'a [u8]> {
    loop {
        match rest {
            [] => return Some(rest),
            [byte, ..] if ends_token(*byte) => return Some(rest),
            [b'"', after @ ..] => return closed(read_double_quoted(after, token)?),
            [b'\'', after @ ..] => return closed(read_single_quoted(after, token)?),
            [byte, after @ ..] => {
                token.push(*byte);
                rest = after;
            }
        }
    }
}

/// A closing quote ends the token, so a blank or the end of the line must come next.
fn closed(rest: &[u8]) -> Option<&[u8]> {
    match rest {
        [byte, ..] if !is_space(*byte) => None,
        _ => Some(rest),
    }
}

fn read_double_quoted<'a>(mut rest: &'a [u8], token: &mut Vec<u8>) -> Option<&'a [u8]> {
    loop {
        match rest {
            [] => return None,
            [b'"', after @ ..] => return Some(after),
            [b'\\', b'x', high, low, after @ ..]
                if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() =>
            {
                token.push(hex_digit(*high) << 4 | hex_digit(*low));
                rest = after;
            }
            [b'\\', escaped, after @ ..] => {
                token.push(match escaped {
                    b'n' => b'\n',
                    b'r' => b'\r',
                    b't' => b'\t',
                    b'b' => 0x08,
                    b'a' => 0x07,
                    other => *other,
                });
                rest = after;
            }
            [byte, after @ ..] => {
                token.push(*byte);
                rest = after;
            }
        }
    }
}

fn read_single_quoted<'a>(mut rest: &'a [u8], token: &mut Vec<u8>) -> Option<&'a [u8]> {
    loop {
        match rest {
            [] => return None,
            [b'\'', after @ ..] => return Some(after),
            [b'\\', b'\'', after @ ..] => {
                token.push(b'\'');
                rest = after;
            }
            [byte, after @ ..] => {
                token.push(*byte);
                rest = after;
            }
        }
    }
}

fn hex_digit(byte: u8) -> u8 {
    match byte {
        b'0'..=b'9' => byte - b'0',
        b'a'..=b'f' => byte - b'a' + 10,
        _ => (byte & 0xdf).wrapping_sub(b'A').wrapping_add(10) & 0x0f,
    }
}

/// `bytes` between double quotes with everything unprintable escaped: [`split_args`] of the
/// result is `bytes` again.
pub fn quote(bytes: &[u8]) -> String {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let mut out = String::with_capacity(bytes.len() + 2);
    out.push('"');
    for &byte in bytes {
        match byte {
            b'\\' | b'"' => {
                out.push('\\');
                out.push(byte as char);
            }
            b'\n' => out.push_str("\\n"),
            b'\r' => out.push_str("\\r"),
            b'\t' => out.push_str("\\t"),
            0x07 => out.push_str("\\a"),
            0x08 => out.push_str("\\b"),
            0x20..=0x7e => out.push(byte as char),
            _ => {
                out.push_str("\\x");
                for nibble in [byte >> 4, byte & 0x0f] {
                    out.push(HEX.get(nibble as usize).map_or('0', |&digit| digit as char));
                }
            }
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn split(line: &str) -> Option<Vec<String>> {
        let args = split_args(line.as_bytes())?;
        Some(
            args.into_iter()
                .map(|arg| String::from_utf8(arg).unwrap())
                .collect(),
        )
    }

    #[test]
    fn blanks_separate_and_quotes_join() {
        assert_eq!(
            split("  set  foo\tbar "),
            Some(vec!["set".into(), "foo".into(), "bar".into()])
        );
        assert_eq!(split(r#"set "a b" 'c d'"#).unwrap(), ["set", "a b", "c d"]);
        assert_eq!(split(r#"pre"fix ed""#).unwrap(), ["prefix ed"]);
        assert_eq!(split(r#""" ''"#).unwrap(), ["", ""]);
        assert_eq!(split("").unwrap(), [""; 0]);
    }

    #[test]
    fn escapes_work_in_double_quotes_only() {
        assert_eq!(
            split_args(br#""\x00\xfF\n\r\t\a\b\"\q""#).unwrap(),
            [b"\x00\xff\n\r\t\x07\x08\"q"]
        );
        assert_eq!(split(r"'\n\'x'").unwrap(), [r"\n'x"]);
        assert_eq!(split(r"a\nb").unwrap(), [r"a\nb"]);
        assert_eq!(split(r#""\xg1""#).unwrap(), ["xg1"]);
    }

    #[test]
    fn unbalanced_quotes_are_refused() {
        for line in [
            r#""a"#,
            "'a",
            r#""a"b"#,
            "'a'b",
            r#"set """k""" v"#,
            r#""a\"#,
        ] {
            assert_eq!(split(line), None, "{line}");
        }
    }

    #[test]
    fn a_nul_ends_the_line() {
        assert_eq!(split_args(b"ping\0 pong").unwrap(), [b"ping"]);
        assert_eq!(split_unquoted(b"a \0 b").count(), 1);
    }

    #[test]
    fn quote_prints_what_cannot_be_seen() {
        assert_eq!(quote(b"a\"\\\n\x00\xe9"), r#""a\"\\\n\x00\xe9""#);
    }

    proptest! {
        #[test]
        fn split_undoes_quote(args in proptest::collection::vec(any::<Vec<u8>>(), 0..5)) {
            let line = args.iter().map(|arg| quote(arg)).collect::<Vec<_>>().join(" ");
            prop_assert_eq!(split_args(line.as_bytes()), Some(args));
        }

        #[test]
        fn unquoted_lines_split_alike(line in "[a-c \t\r\n\x0b\x0c\\\\]{0,30}") {
            let slices = split_unquoted(line.as_bytes());
            let slices: Vec<Vec<u8>> = slices.map(<[u8]>::to_vec).collect();
            prop_assert_eq!(split_args(line.as_bytes()), Some(slices));
        }
    }
}

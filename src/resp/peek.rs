//! A look at a request before it is parsed.

/// Words of a request that is looked at, at most, and their length.
const MOST: usize = 16;
const LONGEST: usize = 4096;

/// The second word, which is the key of most commands, if `bytes` are one request and nothing
/// else: an array of a few bulk strings. Nothing is checked that is not needed to find that out.
pub fn key_of_one(bytes: &[u8]) -> Option<&[u8]> {
    let (count, mut rest) = number(bytes.strip_prefix(b"*")?)?;
    if !(2..=MOST).contains(&count) {
        return None;
    }
    let mut key = None;
    for i in 0..count {
        let (len, word) = number(rest.strip_prefix(b"$")?)?;
        if i == 1 {
            key = word.get(..len);
        }
        rest = word.get(len + 2..)?;
    }
    key.filter(|_| rest.is_empty())
}

/// A number, and what is behind its line.
#[inline]
fn number(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let mut number = 0;
    for (i, byte) in bytes.iter().enumerate() {
        match byte {
            b'0'..=b'9' if number <= LONGEST => {
                number = number * 10 + usize::from(byte - b'0');
            }
            b'\r' => return Some((number, bytes.get(i + 2..)?)),
            _ => return None,
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_key_is_seen_where_there_is_one_request() {
        for (bytes, word) in [
            (&b"*2\r\n$3\r\nGET\r\n$3\r\nkey\r\n"[..], Some(&b"key"[..])),
            (b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$2\r\nxy\r\n", Some(b"k")),
            (b"*2\r\n$3\r\nGET\r\n$0\r\n\r\n", Some(b"")),
            (b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$100\r\nxy", None),
            (b"*2\r\n$3\r\nGET\r\n$1\r\nk\r\n*1\r\n$4\r\nPING\r\n", None),
            (b"*1\r\n$4\r\nPING\r\n", None),
            (b"*2\r\n$3\r\nGET\r\n$3\r\nke", None),
            (b"*2\r\n$3\r\nGET\r\n$99999999999999999999\r\nk\r\n", None),
            (b"*99999999\r\n$3\r\nDEL\r\n", None),
            (b"*-1\r\n", None),
            (b"GET key\r\n", None),
            (b"", None),
        ] {
            assert_eq!(key_of_one(bytes), word, "{:?}", bytes.escape_ascii());
        }
    }

    proptest! {
        #[test]
        fn nothing_makes_it_stumble(bytes in "[*$0-9\r\na-c]{0,40}") {
            let _ = key_of_one(bytes.as_bytes());
        }

        #[test]
        fn it_sees_what_was_written(
            words in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..60), 2..5),
        ) {
            let mut bytes = format!("*{}\r\n", words.len()).into_bytes();
            for word in &words {
                bytes.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
                bytes.extend_from_slice(word);
                bytes.extend_from_slice(b"\r\n");
            }
            prop_assert_eq!(key_of_one(&bytes), Some(words[1].as_slice()));
            bytes.extend_from_slice(b"*");
            prop_assert_eq!(key_of_one(&bytes), None);
        }
    }
}

//! Glob patterns as KEYS, SCAN, PSUBSCRIBE, CONFIG GET and ACL rules use them: `*`, `?`, `[a-c]`,
//! `[^x]` and a backslash before what is meant literally.
//!
//! The match keeps one point to return to, the last `*`: what follows an earlier star has been
//! placed as far left as it can be, so trying it further right cannot help. Time is therefore at
//! most the product of both lengths and there is no recursion. Patterns with more than
//! [`MAX_STARS`] stars in play match nothing: real servers refuse them to bound their recursion.
//!
//! Oddities kept because clients see them: an empty text is matched by the empty pattern alone
//! (not by `*`), a class that is not closed ends with the pattern, and reversed ranges work.

/// How many separate stars of a pattern may be entered in one match.
const MAX_STARS: usize = 1000;

/// Whether `text` as a whole matches `pattern`. With `nocase`, ASCII letters match either case.
pub fn matches(pattern: &[u8], text: &[u8], nocase: bool) -> bool {
    let (mut rest, mut unread) = (pattern, text);
    // After the last star: the pattern that follows it and where in the text that was tried.
    let mut last_star: Option<(&[u8], &[u8])> = None;
    let mut stars = 0;
    while let Some((&first, _)) = unread.split_first() {
        if rest.first() == Some(&b'*') {
            rest = skip_stars(rest);
            if rest.is_empty() {
                return true;
            }
            stars += 1;
            if stars > MAX_STARS {
                return false;
            }
            last_star = Some((rest, unread));
            continue;
        }
        if let Some(after) = match_one(rest, first, nocase) {
            rest = after;
            unread = unread.get(1..).unwrap_or_default();
            if unread.is_empty() {
                // Each element after the last star takes one byte, so what is left over now
                // would be left over from any later start too.
                return skip_stars(rest).is_empty();
            }
            continue;
        }
        let Some((after_star, tried)) = last_star else {
            return false;
        };
        unread = tried.get(1..).unwrap_or_default();
        rest = after_star;
        last_star = Some((after_star, unread));
    }
    pattern.is_empty() && text.is_empty()
}

fn skip_stars(mut pattern: &[u8]) -> &[u8] {
    while let [b'*', rest @ ..] = pattern {
        pattern = rest;
    }
    pattern
}

/// Matches the first element of `pattern`, which is no star, with `byte`; returns what follows.
#[inline]
fn match_one(pattern: &[u8], byte: u8, nocase: bool) -> Option<&[u8]> {
    match pattern {
        [] => None,
        [b'?', rest @ ..] => Some(rest),
        [b'[', class @ ..] => {
            let (matched, rest) = match_class(class, byte, nocase);
            matched.then_some(rest)
        }
        [b'\\', literal, rest @ ..] | [literal, rest @ ..] => {
            same(*literal, byte, nocase).then_some(rest)
        }
    }
}

#[inline]
fn same(a: u8, b: u8, nocase: bool) -> bool {
    a == b || (nocase && a.eq_ignore_ascii_case(&b))
}

/// `class` begins after its `[`. Returns whether `byte` is in it and what follows its `]`.
fn match_class(mut class: &[u8], byte: u8, nocase: bool) -> (bool, &[u8]) {
    let negated = class.first() == Some(&b'^');
    if negated {
        class = class.get(1..).unwrap_or_default();
    }
    let fold = |b: u8| if nocase { b.to_ascii_lowercase() } else { b };
    let mut found = false;
    let rest = loop {
        match class {
            [] => break class,
            [b'\\', literal, rest @ ..] => {
                found |= *literal == byte;
                class = rest;
            }
            [b']', rest @ ..] => break rest,
            [from, b'-', to, rest @ ..] => {
                let (from, to) = (*from.min(to), *from.max(to));
                found |= (fold(from)..=fold(to)).contains(&fold(byte));
                class = rest;
            }
            [literal, rest @ ..] => {
                found |= same(*literal, byte, nocase);
                class = rest;
            }
        }
    };
    (found != negated, rest)
}

#[cfg(test)]
mod tests;

//! Patterns by example, and against a backtracking matcher written from the definition.

use super::*;
use proptest::prelude::*;

fn hit(pattern: &str, text: &str) -> bool {
    matches(pattern.as_bytes(), text.as_bytes(), false)
}

#[test]
fn stars_marks_and_classes() {
    for (pattern, text) in [
        ("*", "a"),
        ("h?llo", "hello"),
        ("h*llo", "heeeello"),
        ("h*llo*", "hllo"),
        ("h[ae]llo", "hallo"),
        ("h[^e]llo", "hallo"),
        ("h[a-b]llo", "hbllo"),
        ("h[b-a]llo", "hallo"),
        ("a**b", "ab"),
        ("*a*b*c", "xaybzc"),
        (r"a\*b", "a*b"),
        (r"a\", r"a\"),
        (r"[\]]x", "]x"),
        ("[a-", "-"),
        ("[abc", "c"),
        ("[^", "x"),
        ("", ""),
        ("foo*", "foo"),
    ] {
        assert!(hit(pattern, text), "{pattern} should match {text}");
    }
    for (pattern, text) in [
        ("h?llo", "hllo"),
        ("h[^e]llo", "hello"),
        ("a*b", "ac"),
        ("a", "ab"),
        ("ab", "a"),
        ("*", ""),
        ("**", ""),
        ("a*b", "a"),
        (r"a\*b", "axb"),
        ("[", "["),
        ("[]", "]"),
        ("A", "a"),
    ] {
        assert!(!hit(pattern, text), "{pattern} should not match {text}");
    }
}

#[test]
fn case_is_ignored_on_request() {
    assert!(matches(b"FOO[a-c]*", b"fooBxx", true));
    assert!(matches(b"[X]", b"x", true));
    assert!(!matches(b"FOO", b"foo", false));
}

#[test]
fn many_stars_match_nothing_and_cost_little() {
    let text = vec![b'a'; 50_000];
    assert!(!matches(&b"*?".repeat(50_000), &text, false));
    assert!(!matches(
        &[b"a*".repeat(900), b"b".to_vec()].concat(),
        &text,
        false
    ));
    assert!(matches(&b"*?".repeat(1000), &text, false));
    assert!(matches(&b"*".repeat(50_000), &text, false));
}

/// The definition, by recursion; an empty text is handled by the caller's rule.
fn oracle(pattern: &[u8], text: &[u8]) -> bool {
    let Some(&first) = pattern.first() else {
        return text.is_empty();
    };
    match first {
        b'*' => (0..=text.len()).any(|skip| oracle(&pattern[1..], &text[skip..])),
        _ if text.is_empty() => false,
        b'?' => oracle(&pattern[1..], &text[1..]),
        b'[' => {
            let close = pattern.iter().position(|&b| b == b']');
            let (body, rest) = match close {
                Some(at) => (&pattern[1..at], &pattern[at + 1..]),
                None => (&pattern[1..], &pattern[pattern.len()..]),
            };
            let (negated, body) = match body {
                [b'^', body @ ..] => (true, body),
                _ => (false, body),
            };
            body.contains(&text[0]) != negated && oracle(rest, &text[1..])
        }
        literal => literal == text[0] && oracle(&pattern[1..], &text[1..]),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn agrees_with_the_definition(
        pattern in r"([ab*?]|\[\^?[ab]{0,2}\]){0,8}",
        text in "[ab]{1,10}",
    ) {
        let (pattern, text) = (pattern.as_bytes(), text.as_bytes());
        prop_assert_eq!(matches(pattern, text, false), oracle(pattern, text));
    }

    #[test]
    fn any_bytes_are_safe(pattern: Vec<u8>, text: Vec<u8>, nocase: bool) {
        matches(&pattern, &text, nocase);
    }
}

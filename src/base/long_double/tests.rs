//! Values as an x86-64 C library prints them after adding long doubles.

use super::*;

fn shown(text: &str) -> Option<String> {
    LongDouble::parse(text.as_bytes()).map(|value| value.fmt_human().to_string())
}

fn sum(a: &str, b: &str) -> String {
    let value = |text: &str| LongDouble::parse(text.as_bytes()).unwrap();
    (value(a) + value(b)).fmt_human().to_string()
}

#[test]
fn everyday_numbers_print_as_they_were_written() {
    for text in [
        "0", "1", "-1", "0.1", "3.14", "10.5", "-0.001", "5000", "1234.5",
    ] {
        assert_eq!(shown(text).as_deref(), Some(text));
    }
    assert_eq!(shown("5.0e3").as_deref(), Some("5000"));
    assert_eq!(shown("-0").as_deref(), Some("0"));
    assert_eq!(shown("1e-18").as_deref(), Some("0"));
    assert_eq!(shown("-1e-18").as_deref(), Some("0"));
}

#[test]
fn sums_round_as_extended_precision_does() {
    assert_eq!(sum("10.50", "0.1"), "10.6");
    assert_eq!(sum("3.0e3", "200"), "3200");
    assert_eq!(sum("1", "-1"), "0");
    assert_eq!(sum("0.1", "0.2"), "0.3");
    assert_eq!(sum("17179869184", "1.5"), "17179869185.5");
    assert_eq!(sum("18446744073709551615", "1"), "18446744073709551616");
    assert_eq!(sum("1", "1e-19"), "1");
}

#[test]
fn what_is_not_a_finite_number() {
    for text in [
        "nan",
        "",
        " 1",
        "1 ",
        "1e5000",
        "-1e5000",
        "1e-5000",
        "0x1p16384",
        "abc",
    ] {
        assert_eq!(shown(text), None, "{text}");
    }
    assert_eq!(shown("-inf").as_deref(), Some("-inf"));
    let inf = LongDouble::parse(b"inf").unwrap();
    let minus = LongDouble::parse(b"-inf").unwrap();
    assert!((inf + minus).is_nan());
    assert!(!(inf + LongDouble::ZERO).is_finite());
    let huge = LongDouble::parse(b"1e4932").unwrap();
    assert!(huge.is_finite());
    assert_eq!((huge + huge).fmt_human().to_string(), "inf");
    assert_eq!(LongDouble::parse(&[b'1'; 5 * 1024]), None);
    assert!(LongDouble::parse(&[&[b'0'; 5000][..], b"7"].concat()).is_some());
}

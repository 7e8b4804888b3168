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

/// Two numbers and the text of their sum, as glibc on x86-64 computes and prints it.
const SUMS: &[(&str, &str, &str)] = &[
    ("9223372036854775807.5", "0.5", "9223372036854775808"),
    ("18446744073709551615.5", "0", "18446744073709551616"),
    ("0.1", "0.7", "0.8"),
    ("1e18", "0.1", "1000000000000000000.125"),
    ("99999999999999999.9", "0.1", "100000000000000000"),
    ("3.0", "1.000000000000000005", "4.00000000000000001"),
    ("0.000000000000000005", "0", "0"),
    ("0.000000000000000015", "0", "0.00000000000000002"),
    (
        "0.00000000000000000500000000001",
        "0",
        "0.00000000000000001",
    ),
    (
        "123456789.123456789",
        "987654321.987654321",
        "1111111111.11111110995989293",
    ),
    ("1e30", "-1e30", "0"),
    ("1e30", "1", "1000000000000000000024696061952"),
    ("4.5e15", "0.05", "4500000000000000.050048828125"),
    ("2.5", "-2.4999999999999999999", "0"),
    ("0x1.8p-20", "0x1p-64", "0.00000143051147461"),
    ("1e4000", "-1e4000", "0"),
    ("1", "-0.99999999999999999999", "0"),
    (
        "0.0000000000000017020",
        "-9730714710683099211e-4079",
        "0.0000000000000017",
    ),
    (
        "+341.54330709216986861",
        "-65768e-4936",
        "341.54330709216986861",
    ),
    (
        "6.361881521118753198027928128e13",
        "4186277210847225224",
        "4186340829662436411.5",
    ),
    (
        "0x0.3d0fcc48fd751ec4c52p79",
        "0.0000000000000000036509",
        "144177888455107765493760",
    ),
    (
        "-81555.76228371790784877",
        "0x6.ae731p-34",
        "-81555.76228371751894031",
    ),
    (
        "7193657146931873.749267578125",
        "+457.83645092343226679",
        "7193657146932331.58544921875",
    ),
    (
        ".83853994682155962710672",
        "1.3382830387424801824946277e-20",
        "0.83853994682155963",
    ),
    (
        "0.00000000000059553",
        "0.00000000000000004608",
        "0.00000000000059558",
    ),
    (
        "0.0000000000000021262",
        "-2568276.530319",
        "-2568276.53031899999996313",
    ),
    (
        "+2.49607056223151004e-11",
        "867291e-4929",
        "0.00000000002496071",
    ),
    (
        "5.26790812901340999",
        "+6.43119284171e-15",
        "5.26790812901341642",
    ),
    (
        "725863265.00194489",
        "89.90194362515498483",
        "725863354.90388851519674063",
    ),
    (
        "+884150823272932459128",
        "1.4521239587365670974518770e-27",
        "884150823272932459136",
    ),
    (
        "88785124209404815.01171875",
        "0.00000000000000062864",
        "88785124209404815.015625",
    ),
    (
        "-4.194661002815436e-3",
        "-3.8619142266e5",
        "-386191.4268546610028352",
    ),
    (
        "0xd.e3432ed00ec44p-28",
        "13326757.338236",
        "13326757.33823605173529359",
    ),
    (
        "9223372036854775813.5000000000000",
        "1522743114.711926",
        "9223372038377518929",
    ),
    (
        "0.48737833918964690858437658e14",
        "4868803576193142345e-2603",
        "48737833918964.69085693359375",
    ),
    (
        "-0xe.5b4314db2p-39",
        "-50113854443977672048898",
        "-50113854443977672048640",
    ),
    (
        "9223372036854775811.500000000",
        "388754e-4950",
        "9223372036854775812",
    ),
    (
        "+0xe.a30de8d07db5786ffda3p38",
        "9223372036854775812.50001",
        "9223376060223730724",
    ),
    (
        "0x0.41d7f61ffd2ab31b0c00e91b5fdp57",
        "8218387390605808245e-3212",
        "37066651169609062.2109375",
    ),
    (
        "546528278673360.1504974365234375",
        "1.8040042526699604544012634e2",
        "546528278673540.550933837890625",
    ),
    (
        "-2.988699694908e19",
        "+931314e-4931",
        "-29886996949080000000",
    ),
];

#[test]
fn sums_agree_with_the_c_library() {
    for (a, b, expected) in SUMS {
        assert_eq!(sum(a, b), *expected, "{a} + {b}");
        assert_eq!(sum(b, a), *expected, "{b} + {a}");
    }
}

#[test]
fn the_ends_of_the_range() {
    let text = shown("1.18973149535723176502e4932").unwrap();
    assert!(text.starts_with("118973149535723176502") && text.len() == 4933);
    assert_eq!(shown("1.18973149535723176509e4932"), None);
    assert_eq!(shown("3.6451995318824746025e-4951").as_deref(), Some("0"));
    assert_eq!(shown("1.8e-4951"), None);
    assert!(shown("1.83e-4951").is_some());
    let tiny = LongDouble::parse(b"3.6451995318824746025e-4951").unwrap();
    let minus = LongDouble::parse(b"-0x1p-16445").unwrap();
    assert_eq!(tiny + minus, LongDouble::ZERO);
    assert_eq!(
        shown(&format!("0.{}1e5000", "0".repeat(4999))).as_deref(),
        Some("1")
    );
    assert_eq!(
        shown(&format!("1{}e-5000", "0".repeat(5000))).as_deref(),
        Some("1")
    );
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

proptest::proptest! {
    #[test]
    fn any_bytes_are_safe(text: Vec<u8>) {
        LongDouble::parse(&text);
    }

    #[test]
    fn integers_are_exact(a: i64, b: i64) {
        let text = (LongDouble::from_i64(a) + LongDouble::from_i64(b)).fmt_human();
        // One bit more than the significand has: the sum of the two greatest may round.
        let exact = i128::from(a) + i128::from(b);
        proptest::prop_assume!(exact.unsigned_abs() <= u128::from(u64::MAX));
        proptest::prop_assert_eq!(text.to_string(), exact.to_string());
    }

    #[test]
    fn both_ways_of_reading_decimals_agree(digits in "[1-9][0-9]{0,37}", places in 0i64..28) {
        let fraction = digits.as_bytes();
        let short = decimal(false, b"", fraction, fraction.len() as i64 - places).0;
        // Zeros in front of the point's other side push it over the short way's limit.
        let padded = [fraction, &[b'0'; 40]].concat();
        let long = decimal(false, b"", &padded, fraction.len() as i64 - places).0;
        proptest::prop_assert_eq!(short, long);
    }
}

//! Tests of `entry`.

use super::super::value::{StrRef, ValueRef};
use super::*;

fn meta(expire_ms: Option<i64>) -> Meta {
    Meta {
        expire_ms,
        access: 0x00AB_CDEF,
        mark: true,
    }
}

#[test]
fn a_key_of_sixteen_and_a_value_of_eight_take_thirty_two_bytes() {
    let e = Entry::with_bytes(b"key:000000000001", b"abcdefgh", meta(None));
    assert_eq!(e.as_ref().size_bytes(), 32);
    let e = Entry::with_bytes(b"key:000000000001", &[b'x'; 64], meta(Some(1)));
    assert_eq!(e.as_ref().size_bytes(), 96);
}

#[test]
fn every_string_length_survives_expiry_coming_and_going() {
    for klen in [0usize, 1, 7, 8, 254, 255, 256, 70_000] {
        for vlen in [
            0usize,
            1,
            44,
            45,
            4095,
            INLINE_MAX_BYTES,
            INLINE_MAX_BYTES + 1,
        ] {
            let key = vec![b'k'; klen];
            let value = vec![b'v'; vlen];
            let e = Entry::with_bytes(&key, &value, meta(None));
            let e = e.with_expiry(Some(-5)).with_expiry(Some(77));
            let r = e.as_ref();
            assert_eq!(
                (r.key(), r.expire_ms(), r.access()),
                (&key[..], Some(77), 0xABCDEF)
            );
            assert!(r.mark());
            let e = e.with_expiry(None);
            let ValueRef::Str(s) = e.as_ref().value() else {
                panic!("not a string")
            };
            assert_eq!(s.to_vec(), value);
            assert_eq!(e.as_ref().key(), &key[..]);
        }
    }
}

#[test]
fn integers_are_kept_as_integers_and_only_canonical_ones() {
    for (text, int) in [
        ("0", true),
        ("-1", true),
        ("01", false),
        ("+1", false),
        ("", false),
    ] {
        let e = Entry::with_bytes(b"k", text.as_bytes(), meta(None));
        let ValueRef::Str(s) = e.as_ref().value() else {
            panic!("not a string")
        };
        assert_eq!(matches!(s, StrRef::Int(_)), int, "{text:?}");
        assert_eq!(s.to_vec(), text.as_bytes());
    }
}

#[test]
fn overwriting_in_place_needs_the_same_rounded_size() {
    let mut e = Entry::with_bytes(b"key", b"12345x", meta(None));
    assert!(e.as_mut().overwrite_bytes(b"abcdefgh1"));
    assert!(!e.as_mut().overwrite_bytes(&[b'y'; 40]));
    let ValueRef::Str(s) = e.as_ref().value() else {
        panic!("not a string")
    };
    assert_eq!(s.to_vec(), b"abcdefgh1");
}

#[test]
fn a_long_string_is_shared_not_copied() {
    let e = Entry::with_bytes(b"k", &vec![b'z'; 1 << 20], meta(Some(9)));
    let ValueRef::Str(s) = e.as_ref().value() else {
        panic!("not a string")
    };
    let shared = s.shared().unwrap();
    let Value::Str(Str::Heap(bytes)) = e.into_value() else {
        panic!("not shared")
    };
    assert_eq!(shared.as_ptr(), bytes.as_ptr());
}

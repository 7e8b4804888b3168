//! Cut and damaged streams: never a panic, never a hang, an error with an offset or a load.

use super::*;
use crate::persist::rdb::dump::restore;
use crate::persist::rdb::load::Limits;
use proptest::prelude::*;

const FIXTURES: &[&[u8]] = &[
    include_bytes!("../../../../tests/fixtures/rdb/redis-7.0.15.rdb"),
    include_bytes!("../../../../tests/fixtures/rdb/valkey-8.0.1.rdb"),
    include_bytes!("../../../../tests/fixtures/rdb/redis-8.0.2.rdb"),
    include_bytes!("../../../../tests/fixtures/rdb/redis-7.0.15-streams.rdb"),
    include_bytes!("../../../../tests/fixtures/rdb/redis-8.0.2-streams.rdb"),
    include_bytes!("../../../../tests/fixtures/rdb/redis-8.0.2-fields.rdb"),
];

fn attempt(bytes: &[u8]) {
    let options = Options {
        skip_checksum: true,
        ..Options::default()
    };
    let mut reader = Reader::new(bytes, options);
    if let Err(error) = reader.load(&mut Collect::default()) {
        assert!(error.offset <= bytes.len() as u64, "{error}");
        assert!(!error.log_lines().is_empty());
    }
}

#[test]
fn a_stream_cut_anywhere_is_refused() {
    for fixture in FIXTURES {
        // Every byte of the first keys, then steps that meet every kind of field.
        let ends = (0..2000).chain((2000..fixture.len() - 1).step_by(37));
        for end in ends.filter(|&end| end < fixture.len()) {
            assert!(read(&fixture[..end]).is_err(), "cut at {end}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn damaged_bytes_do_no_harm(
        which in 0..FIXTURES.len(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
    ) {
        let mut bytes = FIXTURES[which].to_vec();
        for (at, byte) in damage {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        attempt(&bytes);
    }

    #[test]
    fn any_body_does_no_harm(body in prop::collection::vec(any::<u8>(), 0..300)) {
        attempt(&stream(&body));
    }

    #[test]
    fn any_value_of_any_type_does_no_harm(
        kind in 0u8..30,
        value in prop::collection::vec(prop_oneof![any::<u8>(), 0u8..8], 0..200),
    ) {
        let payload = [&[kind][..], &value, &[11, 0], &[0; 8]].concat();
        let _ = restore(&payload, Limits::default(), true);
    }
}

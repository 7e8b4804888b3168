//! Streams: of real servers, to bytes and back, and damaged in every way.

use super::*;
use crate::keyspace::value::stream::group::{Group, Pending};
use crate::keyspace::value::stream::{NewId, StreamLimits, Trim, Until};
use crate::persist::rdb::dump::{RestoreError, dump, restore};
use crate::persist::rdb::listpack;
use crate::persist::rdb::load::Limits;
use crate::persist::rdb::types::ObjectType;
use proptest::prelude::*;

fn stream_of(bytes: &[u8], key: &[u8]) -> Stream {
    let (sink, _) = read(bytes).unwrap();
    let entry = sink.entries.iter().find(|e| e.key == key).unwrap();
    match &entry.value {
        Value::Stream(stream) => stream.clone(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn streams_of_real_servers_are_read_alike() {
    let fixtures: [&[u8]; 3] = [
        include_bytes!("../../../../tests/fixtures/rdb/redis-7.0.15-streams.rdb"),
        include_bytes!("../../../../tests/fixtures/rdb/redis-8.0.2-streams.rdb"),
        include_bytes!("../../../../tests/fixtures/rdb/valkey-8.0.1-streams.rdb"),
    ];
    let mut seen = Vec::new();
    for bytes in fixtures {
        let (sink, _) = read(bytes).unwrap();
        let streams = sink.entries.iter().filter_map(|e| match &e.value {
            Value::Stream(stream) => Some((e.key.clone(), stream.len(), stream.groups_len())),
            _ => None,
        });
        let mut streams: Vec<_> = streams.collect();
        streams.sort();
        assert!(!streams.is_empty());
        for (key, ..) in &streams {
            let stream = stream_of(bytes, key);
            round_trip(&stream);
        }
        seen.push(streams);
    }
    assert!(seen.windows(2).all(|pair| pair[0] == pair[1]), "{seen:?}");
}

fn round_trip(stream: &Stream) {
    let value = Value::from(stream.clone());
    for version in [10, 11] {
        let config = Config::default().with_version(version);
        let payload = dump(value.as_ref(), config).unwrap();
        let expected = if version == 10 { 19 } else { 21 };
        assert_eq!(payload[0], expected);
        let Value::Stream(back) = restore(&payload, Limits::default(), false).unwrap() else {
            panic!("another type")
        };
        let mut tokens = [stream_tokens(stream), stream_tokens(&back)];
        if version == 10 {
            // It does not carry when a consumer was active.
            tokens
                .iter_mut()
                .for_each(|t| t.retain(|t| !t.starts_with("consumer ")));
        }
        assert_eq!(tokens[0], tokens[1]);
        let blocks = |s: &Stream| -> Vec<_> {
            let block = |b: &crate::keyspace::value::stream::block::Block| {
                (b.base(), b.last(), b.live(), b.deleted(), b.listpack_len())
            };
            s.blocks().map(block).collect()
        };
        assert_eq!(blocks(stream), blocks(&back));
        let again = dump(Value::from(back).as_ref(), config).unwrap();
        assert!(version == 10 || again == payload);
    }
}

fn text() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        any::<i64>().prop_map(|n| n.to_string().into_bytes()),
        (0i64..200).prop_map(|n| n.to_string().into_bytes()),
        prop::collection::vec(any::<u8>(), 0..20),
        prop::collection::vec(any::<u8>(), 60..140),
    ]
}

fn stream() -> impl Strategy<Value = Stream> {
    let entry = (
        0u64..5,
        prop::collection::vec(text(), 2..5),
        any::<bool>(),
        0u8..8,
    );
    let pending = (0usize..60, 0u8..3, any::<i64>(), 0u64..1 << 40);
    (
        prop::collection::vec(entry, 0..60),
        prop::collection::vec((text(), prop::collection::vec(pending, 0..20)), 0..3),
        any::<prop::sample::Index>(),
    )
        .prop_map(|(entries, groups, trim)| {
            let mut stream = Stream::default();
            let limits = StreamLimits {
                max_bytes: 500,
                max_entries: 10,
            };
            let mut ids = vec![StreamId::new(9, 9)];
            for (step, texts, same, delete) in entries {
                let ms = stream.last_id().ms + step;
                let id = stream.new_id(NewId::OfMs(ms), 0).unwrap();
                let name: &[u8] = if same { b"f" } else { &texts[0] };
                let mut all = vec![name, &texts[1]];
                if texts.len() >= 4 {
                    all.extend([texts[2].as_slice(), &texts[3]]);
                }
                stream.append(limits, id, &all);
                ids.push(id);
                if delete == 0 {
                    stream.delete(id);
                }
            }
            stream.trim(Trim {
                until: Until::Id(ids[trim.index(ids.len())]),
                approximate: false,
                limit: 0,
            });
            for (name, pendings) in groups {
                let mut group = Group::new(ids[ids.len() / 2], None);
                for (which, who, time_ms, deliveries) in pendings {
                    let who = [who];
                    let owner = group
                        .number(&who)
                        .or_else(|| group.create_consumer(&who, time_ms));
                    let owner = owner.unwrap();
                    group.consumer_mut(owner).unwrap().active_ms = time_ms;
                    let pending = Pending {
                        time_ms,
                        deliveries,
                        owner,
                    };
                    group.assign(ids[which % ids.len()], pending);
                }
                stream.create_group(&name, group);
            }
            stream
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn any_stream_comes_back(stream in stream()) {
        round_trip(&stream);
    }

    #[test]
    fn a_damaged_stream_is_refused_or_sound(
        stream in stream(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let config = Config { compress: false, ..Config::default() };
        let mut payload = dump(Value::from(stream).as_ref(), config).unwrap();
        for (at, byte) in damage {
            let at = 1 + at.index(payload.len() - 11);
            payload[at] = byte;
        }
        if let Ok(Value::Stream(mut back)) = restore(&payload, Limits::default(), true) {
            // Whatever was let in can be read, trimmed, and added to.
            let forward: Vec<_> = stream_tokens(&back);
            prop_assert!(forward.len() > back.len());
            let mut last = None;
            for entry in back.range(StreamId::MIN, StreamId::MAX, false) {
                prop_assert!(last < Some(entry.id));
                last = Some(entry.id);
            }
            if let Some(id) = back.new_id(NewId::Auto, 0) {
                back.append(StreamLimits::default(), id, &[b"a", b"b"]);
                prop_assert_eq!(back.newest(), id);
            }
            back.trim(Trim { until: Until::Length(1), approximate: false, limit: 0 });
            prop_assert!(back.len() <= 1);
        }
    }
}

fn plain(bytes: &[u8]) -> Vec<u8> {
    let mut out = vec![0x80];
    out.extend_from_slice(&(bytes.len() as u32).to_be_bytes());
    out.extend_from_slice(bytes);
    out
}

/// A type 15 payload of one block with these integers, and this tail.
fn old(parts: &[i64], tail: &[u8]) -> Result<Vec<String>, String> {
    let mut builder = listpack::Builder::default();
    parts.iter().for_each(|n| builder.push_int(*n));
    let block = builder.finish().to_vec();
    let base = StreamId::new(5, 0).to_bytes();
    let kind = [ObjectType::StreamListpacks as u8, 1];
    let body = [&kind[..], &plain(&base), &plain(&block), tail].concat();
    let payload = [&body[..], &[11, 0], &[0; 8]].concat();
    match restore(&payload, Limits::default(), true) {
        Ok(Value::Stream(stream)) => Ok(stream_tokens(&stream)),
        Ok(other) => panic!("{other:?}"),
        Err(RestoreError::Data(error)) => Err(error.to_string()),
        Err(other) => panic!("{other}"),
    }
}

/// One field `7`; entries at 5-0 and 6-0.
const SOUND: [i64; 15] = [2, 0, 1, 7, 0, 2, 0, 0, 1, 4, 2, 1, 0, 2, 4];

#[test]
fn streams_before_redis_7_are_read() {
    // Two entries, last id 9-1; a group at 5-0 with one entry pending for one consumer.
    let id = StreamId::new(5, 0).to_bytes();
    let time = 1234i64.to_le_bytes();
    let group = [
        &[2, 9, 1, 1, 1, b'g', 5, 0, 1][..],
        &id,
        &time,
        &[3, 1, 1, b'c'],
        &time,
        &[1],
        &id,
    ]
    .concat();
    let tokens = old(&SOUND, &group).unwrap();
    assert_eq!(
        tokens,
        [
            "last=9-1 first=5-0 deleted=0-0 added=2",
            "5-0:37=31",
            "6-0:37=32",
            "group 67 last=5-0 read=Some(1)",
            "pending 5-0 1234 3 63",
            "consumer 63 1234 1234 1",
        ]
    );
}

#[test]
fn a_deleted_entry_out_of_order_is_left_out() {
    // 5-0, a deleted 9-0, then 6-0: what Redis 6 makes of XDEL, XSETID, XADD.
    let parts = [2, 1, 1, 7, 0, 2, 0, 0, 1, 4, 3, 4, 0, 1, 4, 2, 1, 0, 2, 4];
    let tokens = old(&parts, &[2, 9, 1, 0]).unwrap();
    assert_eq!(tokens[1..], ["5-0:37=31", "6-0:37=32"]);
}

#[test]
fn a_stream_that_contradicts_itself_is_refused() {
    let tail = [2, 9, 1, 0];
    assert!(old(&SOUND, &tail).is_ok());
    let damage = [
        (0, 3, "entry is cut"),
        (0, 1, "number of entries is wrong"),
        (0, -1, "count is negative"),
        (1, 1, "entry is cut"),
        (2, 2, "no zero behind the fields"),
        (4, 1, "no zero behind the fields"),
        (5, 0, "number of parts is wrong"),
        (9, 5, "number of parts is wrong"),
        (11, 0, "ids do not rise"),
        (11, -1, "ids do not rise"),
        (10, 3, "number of entries is wrong"),
    ];
    for (at, value, expected) in damage {
        let mut parts = SOUND;
        parts[at] = value;
        let error = old(&parts, &tail).unwrap_err();
        // The sum of the counts stays right for the second row only if one entry is left over.
        let left_over = "more behind the last entry";
        assert!(
            error.contains(expected) || error.contains(left_over),
            "{at}: {error}"
        );
        assert!(error.contains("Stream listpack integrity check failed."));
    }
    for tail in [&[3, 9, 1, 0][..], &[2, 5, 9, 0], &[1, 9, 1, 0]] {
        let error = old(&SOUND, tail).unwrap_err();
        assert!(error.contains("Stream length inconsistent"), "{error}");
    }
    let id = StreamId::new(5, 0).to_bytes();
    let time = [0; 8];
    let groups: [(&[&[u8]], &str); 5] = [
        (
            &[&[2, 9, 1, 2, 1, b'g', 0, 0, 0, 0, 1, b'g', 0, 0, 0, 0]],
            "Duplicated consumer group name g",
        ),
        (
            &[
                &[2, 9, 1, 1, 1, b'g', 0, 0, 2],
                &id,
                &time,
                &[1],
                &id,
                &time,
                &[1, 0],
            ],
            "Duplicated global PEL entry",
        ),
        (
            &[&[2, 9, 1, 1, 1, b'g', 0, 0, 1], &id, &time, &[1, 0]],
            "Stream CG PEL entry without consumer",
        ),
        (
            &[
                &[2, 9, 1, 1, 1, b'g', 0, 0, 0, 1, 1, b'c'],
                &time,
                &[1],
                &id,
            ],
            "Consumer entry not found in group global PEL",
        ),
        (
            &[
                &[2, 9, 1, 1, 1, b'g', 0, 0, 0, 2, 1, b'c'],
                &time,
                &[0, 1, b'c'],
                &time,
                &[0],
            ],
            "Duplicate stream consumer detected.",
        ),
    ];
    for (parts, expected) in groups {
        let error = old(&SOUND, &parts.concat()).unwrap_err();
        assert!(error.contains(expected), "{error}");
    }
}

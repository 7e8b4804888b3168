//! `Set` against a standard set.

use std::collections::HashSet;

use proptest::prelude::*;

use super::*;

type Model = HashSet<Vec<u8>>;

fn contents(set: &Set) -> Model {
    set.iter().map(Elem::to_vec).collect()
}

fn of<'a>(members: impl IntoIterator<Item = &'a str>) -> Set {
    let mut set = Set::new();
    for member in members {
        set.add(member.as_bytes(), &SetLimits::default());
    }
    set
}

fn agrees(set: &Set, model: &Model) {
    assert_eq!(set.len(), model.len());
    assert_eq!(set.iter().len(), model.len());
    assert!(contents(set) == *model);
    assert!(model.iter().all(|member| set.contains(member)));
    let (mut seen, mut cursor) = (Vec::new(), 0);
    loop {
        cursor = set.scan(cursor, 7, |member| seen.push(member.to_vec()));
        if cursor == 0 {
            break;
        }
    }
    assert_eq!(seen.len(), model.len());
    assert!(seen.into_iter().collect::<Model>() == *model);
    let ranked = (0..set.len()).filter_map(|rank| set.nth(rank));
    assert!(ranked.map(Elem::to_vec).collect::<Model>() == *model);
    assert_eq!(set.nth(model.len()), None);
}

fn member(strings: bool) -> BoxedStrategy<Vec<u8>> {
    let ints = prop_oneof![
        8 => -500..500i64,
        1 => any::<i32>().prop_map(i64::from),
        1 => proptest::sample::select(vec![i64::MIN, i64::MAX, 32767, 32768, -32769]),
    ];
    let ints = ints.prop_map(|n| n.to_string().into_bytes());
    if !strings {
        return ints.boxed();
    }
    prop_oneof![
        30 => ints,
        30 => (0..300).prop_map(|n| format!("member:{n}").into_bytes()),
        1 => proptest::sample::select(vec!["", "-0", "01", "+1", "9223372036854775808"])
            .prop_map(|s| s.as_bytes().to_vec()),
        1 => (60usize..70).prop_map(|n| vec![b'x'; n]),
        1 => (1020usize..1030).prop_map(|n| vec![b'x'; n]),
    ]
    .boxed()
}

fn ops() -> impl Strategy<Value = Vec<(u8, Vec<u8>)>> {
    any::<bool>().prop_flat_map(|s| proptest::collection::vec((0..10u8, member(s)), 0..1500))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(80))]
    #[test]
    fn it_agrees_with_a_standard_set(
        ops in ops(),
        limits in proptest::sample::select(vec![
            SetLimits::default(),
            SetLimits { max_intset_entries: 0, max_listpack_entries: 0, max_listpack_value: 0 },
            SetLimits { max_intset_entries: 5, max_listpack_entries: 9, max_listpack_value: 64 },
            SetLimits {
                max_intset_entries: 9000,
                max_listpack_entries: 9000,
                max_listpack_value: 9000,
            },
        ]),
    ) {
        let (mut set, mut model) = (Set::new(), Model::new());
        let mut held = Vec::new();
        for (n, (kind, member)) in ops.iter().enumerate() {
            match kind {
                0..=5 => prop_assert_eq!(set.add(member, &limits), model.insert(member.clone())),
                6..=7 => prop_assert_eq!(set.remove(member), model.remove(member)),
                8 => match set.pop_random() {
                    Some(member) => prop_assert!(model.remove(&member)),
                    None => prop_assert!(model.is_empty()),
                },
                _ => prop_assert_eq!(set.contains(member), model.contains(member)),
            }
            if n % 200 == 0 {
                held.push((set.clone(), model.clone()));
            }
        }
        agrees(&set, &model);
        for (set, model) in &held {
            agrees(set, model);
        }
    }

    #[test]
    fn algebra_agrees_with_standard_sets(
        lists in proptest::collection::vec(
            proptest::collection::vec(member(true), 0..400), 0..5),
    ) {
        let limits = SetLimits::default();
        let sets: Vec<Set> = lists.iter().map(|list| {
            let mut set = Set::new();
            for member in list {
                set.add(member, &limits);
            }
            set
        }).collect();
        let models: Vec<Model> = lists.iter().map(|list| list.iter().cloned().collect()).collect();
        let refs: Vec<&Set> = sets.iter().collect();
        let all: Model = models.iter().flatten().cloned().collect();
        let first = models.first().cloned().unwrap_or_default();
        let shared: Model =
            first.iter().filter(|m| models.iter().all(|set| set.contains(*m))).cloned().collect();
        let alone: Model = first.iter()
            .filter(|m| !models[1..].iter().any(|set| set.contains(*m))).cloned().collect();
        agrees(&union(&refs, &limits), &all);
        agrees(&intersection(&refs, &limits), &shared);
        agrees(&difference(&refs, &limits), &alone);
        prop_assert_eq!(intersection_len(&refs, 0), shared.len());
        prop_assert_eq!(intersection_len(&refs, 3), shared.len().min(3));
        for (set, model) in sets.iter().zip(&models) {
            agrees(set, model);
        }
    }
}

#[test]
fn it_changes_representation_as_redis_does() {
    let limits = SetLimits::default();
    let mut set = Set::new();
    for n in 0..512i64 {
        set.add(n, &limits);
    }
    assert_eq!(set.encoding(), "intset");
    assert!(!set.add(511, &limits));
    assert_eq!(set.encoding(), "intset");
    set.add(512, &limits);
    assert_eq!((set.encoding(), set.len()), ("hashtable", 513));

    let mut set = of(["1", "2", "x"]);
    assert_eq!(set.encoding(), "listpack");
    for n in 0..125i64 {
        set.add(n + 100, &limits);
    }
    assert_eq!((set.encoding(), set.len()), ("listpack", 128));
    set.add(b"y", &limits);
    assert_eq!((set.encoding(), set.len()), ("hashtable", 129));

    let mut ints = Set::new();
    for n in 0..128i64 {
        ints.add(n, &limits);
    }
    ints.add(b"x", &limits);
    assert_eq!((ints.encoding(), ints.len()), ("hashtable", 129));

    let mut long = of(["1"]);
    long.add(&[b'x'; 64], &limits);
    assert_eq!(long.encoding(), "listpack");
    long.add(&[b'y'; 65], &limits);
    assert_eq!(long.encoding(), "hashtable");
}

#[test]
fn it_is_created_for_what_will_come() {
    let limits = SetLimits::default();
    let created = |first: &[u8], count| {
        let mut set = Set::new();
        set.prepare(first, count, &limits);
        set.encoding()
    };
    assert_eq!(created(b"1", 512), "intset");
    assert_eq!(created(b"1", 513), "hashtable");
    assert_eq!(created(b"x", 128), "listpack");
    assert_eq!(created(b"x", 129), "hashtable");
    let mut ints = of(["1"]);
    ints.prepare(b"x", 512, &limits);
    assert_eq!(ints.encoding(), "intset");
    ints.prepare(b"x", 513, &limits);
    assert_eq!((ints.encoding(), ints.len()), ("hashtable", 1));
    let mut packed = of(["x"]);
    packed.prepare(b"1", 129, &limits);
    assert_eq!(packed.encoding(), "hashtable");
}

#[test]
fn popping_a_sample_parts_the_set_in_two() {
    let limits = SetLimits::default();
    for (strings, len) in [(false, 0), (false, 300), (true, 100), (true, 5000)] {
        for count in [0, 1, len / 2, len * 99 / 100, len, len + 1] {
            let mut set = Set::new();
            for n in 0..len {
                let member = if strings {
                    format!("m{n}")
                } else {
                    n.to_string()
                };
                set.add(member.as_bytes(), &limits);
            }
            let whole = contents(&set);
            let popped = set.pop_sample(count, &limits);
            assert_eq!(popped.len(), count.min(len));
            assert_eq!(set.len(), len - popped.len());
            let both: Model = contents(&set).union(&contents(&popped)).cloned().collect();
            assert!(both == whole);
        }
    }
    let mut large = Set::new();
    for n in 0..1000 {
        large.add(format!("m{n}").as_bytes(), &limits);
    }
    large.pop_sample(990, &limits);
    assert_eq!((large.len(), large.encoding()), (10, "listpack"));
}

#[test]
fn random_members_are_uniform_in_every_form() {
    let limits = SetLimits::default();
    for (prefix, len) in [("", 50), ("m", 50), ("m", 600)] {
        let mut set = Set::new();
        for n in 0..len {
            set.add(format!("{prefix}{n}").as_bytes(), &limits);
        }
        let mut hits = std::collections::HashMap::new();
        let draws = len * 100;
        for _ in 0..draws {
            *hits.entry(set.random().unwrap().to_vec()).or_insert(0u32) += 1;
        }
        let off = |&n: &u32| (f64::from(n) - 100.0).powi(2) / 100.0;
        let missing = (len as usize - hits.len()) as f64 * 100.0;
        let chi = hits.values().map(off).sum::<f64>() + missing;
        // Mean len - 1, deviation sqrt(2 len): seven deviations above.
        assert!(
            chi < f64::from(len) + 7.0 * (2.0 * f64::from(len)).sqrt(),
            "{prefix} {len} {chi}"
        );
    }
    assert!(Set::new().random().is_none() && Set::new().pop_random().is_none());
}

#[test]
fn samples_are_distinct_and_of_the_set() {
    for len in [0usize, 1, 120, 3000] {
        for prefix in ["", "m"] {
            let members: Vec<String> = (0..len).map(|n| format!("{prefix}{n}")).collect();
            let set = of(members.iter().map(String::as_str));
            for count in [0, 1, 10, 110, 9999] {
                let sample: Model = set.sample(count).into_iter().map(Elem::to_vec).collect();
                assert_eq!(sample.len(), count.min(len));
                assert!(sample.iter().all(|member| set.contains(member)));
            }
        }
    }
}

#[test]
fn stored_forms_are_open_to_a_writer() {
    let ints = of(["3", "-70000", "1"]);
    let (width, raw) = ints.as_ints().unwrap();
    assert_eq!((width, raw.len()), (4, 12));
    assert_eq!(raw[..4], (-70000i32).to_le_bytes());
    let set = of(["b", "1", "a"]);
    assert!(
        set.as_packed()
            .unwrap()
            .iter()
            .map(Elem::to_vec)
            .eq([b"b", b"1", b"a"])
    );
    let again = Set::from_packed(set.as_packed().unwrap().clone(), &SetLimits::default());
    assert_eq!((again.encoding(), &again), ("listpack", &set));
    let none = SetLimits {
        max_listpack_entries: 2,
        ..SetLimits::default()
    };
    let large = Set::from_packed(set.as_packed().unwrap().clone(), &none);
    assert_eq!((large.encoding(), &large), ("hashtable", &set));
}

#[test]
fn a_million_members_of_17_bytes_cost_at_most_30_bytes_each() {
    let mut set = Set::new();
    for n in 0..1_000_000 {
        set.add(format!("member:{n:010}").as_bytes(), &SetLimits::default());
    }
    let each = set.size_bytes() as f64 / 1e6;
    println!("{each} bytes a member");
    assert!(each <= 30.0, "{each}");
    assert_eq!(size_of::<Set>(), 8);
}

//! The forms against an array of registers.

use proptest::prelude::*;

use super::*;

const ROOMY: usize = 1 << 20;

fn values(bytes: &[u8]) -> Box<Registers> {
    let mut registers = Box::new([0; REGISTERS]);
    merge_into(&mut registers, bytes).unwrap();
    registers
}

/// Every run says what follows, and no two neighbours could be one.
fn check_runs(bytes: &[u8]) {
    let runs: Vec<Run> = sparse_runs(bytes).map(Result::unwrap).collect();
    assert_eq!(runs.iter().map(|r| r.len()).sum::<usize>(), REGISTERS);
    for pair in runs.windows(2) {
        if let [Run::Values(a, n), Run::Values(b, m)] = pair {
            assert!(a != b || n + m > 4, "{pair:?}");
        }
    }
}

fn config() -> ProptestConfig {
    ProptestConfig {
        cases: 64,
        failure_persistence: None,
        ..Default::default()
    }
}

fn any_index() -> impl Strategy<Value = usize> {
    prop_oneof![0usize..40, 16300usize..REGISTERS, 0usize..REGISTERS]
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn raised_registers_are_as_in_the_model(
        raises in prop::collection::vec((any_index(), 1u8..51), 1..300),
        limit in prop_oneof![Just(40usize), Just(300), Just(ROOMY)],
    ) {
        let mut bytes = create();
        let mut model = Box::new([0u8; REGISTERS]);
        for (index, value) in raises {
            let higher = model[index] < value;
            let raised = raise(&mut bytes, &mut Cursor::default(), index, value, limit).unwrap();
            prop_assert_eq!(raised, higher);
            model[index] = value.max(model[index]);
            prop_assert!(is_hll(&bytes));
            prop_assert!(!is_sparse(&bytes) || bytes.len() <= limit);
        }
        prop_assert!(values(&bytes) == model);
        if is_sparse(&bytes) {
            check_runs(&bytes);
        }
        let counted = count(&bytes).unwrap();
        prop_assert_eq!(Histogram::of(&model).estimate(), counted);
        to_dense(&mut bytes).unwrap();
        prop_assert!(values(&bytes) == model);
        prop_assert_eq!(count(&bytes).unwrap(), counted);
    }

    #[test]
    fn ascending_raises_with_a_cursor_give_the_same_bytes_as_without(
        raises in prop::collection::btree_map(0usize..REGISTERS, 1u8..6, 1..400),
        dense_part in prop::collection::btree_map(100usize..140, 1u8..4, 0..40),
        before in prop::collection::vec((0usize..REGISTERS, 1u8..6), 0..50),
    ) {
        let mut with = create();
        for (index, value) in before {
            raise(&mut with, &mut Cursor::default(), index, value, ROOMY).unwrap();
        }
        let mut without = with.clone();
        let mut cursor = Cursor::default();
        let raises: std::collections::BTreeMap<_, _> =
            raises.into_iter().chain(dense_part).collect();
        for (index, value) in raises {
            raise(&mut with, &mut cursor, index, value, ROOMY).unwrap();
            raise(&mut without, &mut Cursor::default(), index, value, ROOMY).unwrap();
        }
        prop_assert!(with == without);
    }

    #[test]
    fn no_bytes_can_do_harm(
        body in prop::collection::vec(any::<u8>(), 0..60),
        index in 0usize..REGISTERS,
    ) {
        let mut bytes = create();
        bytes.truncate(16);
        bytes.extend(body);
        let _ = count(&bytes);
        let _ = merge_into(&mut Box::new([0; REGISTERS]), &bytes);
        let _ = to_dense(&mut bytes.clone());
        let _ = raise(&mut bytes, &mut Cursor::default(), index, 7, 3000);
    }
}

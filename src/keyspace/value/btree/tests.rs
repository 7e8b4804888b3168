//! The tree against a plain vector of leaves.

use proptest::prelude::*;

use super::*;

/// Leaves are vectors of ordered keys here; a separator is the smallest key that may come.
type TestTree = Tree<u32, Vec<u32>>;

const LEAF: usize = 4;

fn insert(tree: &mut TestTree, key: u32) -> bool {
    let mut seek = By(|s: &u32| *s <= key);
    tree.edit(&mut seek, |level, i| {
        let Some(leaf) = level.leaf_mut(i) else {
            level.insert_leaf(0, 0, vec![key], 1);
            return true;
        };
        let Err(at) = leaf.binary_search(&key) else {
            return false;
        };
        leaf.insert(at, key);
        if leaf.len() > LEAF {
            let right = leaf.split_off(LEAF / 2);
            let kept = leaf.len() as u64;
            level.set_count(i, kept);
            let count = right.len() as u64;
            level.insert_leaf(i + 1, right[0], right, count);
        } else {
            let count = leaf.len() as u64;
            level.set_count(i, count);
        }
        true
    })
}

fn remove(tree: &mut TestTree, key: u32) -> bool {
    let mut seek = By(|s: &u32| *s <= key);
    tree.edit(&mut seek, |level, i| {
        let Some(leaf) = level.leaf_mut(i) else {
            return false;
        };
        let Ok(at) = leaf.binary_search(&key) else {
            return false;
        };
        leaf.remove(at);
        let count = leaf.len() as u64;
        level.set_count(i, count);
        if count == 0 {
            level.remove_leaf(i);
        }
        true
    })
}

fn forward(tree: &TestTree) -> Vec<u32> {
    let mut walk = tree.walk(&mut First);
    let mut all = Vec::new();
    while let Some(leaf) = walk.current() {
        assert_eq!(walk.count(), leaf.len() as u64);
        all.extend(leaf);
        walk.forward();
    }
    all
}

fn backward(tree: &TestTree) -> Vec<u32> {
    let mut walk = tree.walk(&mut Last);
    let mut all = Vec::new();
    while let Some(leaf) = walk.current() {
        all.extend(leaf.iter().rev());
        walk.backward();
    }
    all.reverse();
    all
}

fn check_level(level: &Level<u32, Vec<u32>>, low: u32, high: u32, is_root: bool) -> u64 {
    assert!(level.len() <= FANOUT);
    assert!(is_root || !level.is_empty());
    assert_eq!(level.counts.len(), level.separators.len());
    assert!(
        level
            .separators
            .get(1..)
            .is_none_or(|rest| rest.is_sorted())
    );
    let mut total = 0;
    for i in 0..level.len() {
        let from = if i == 0 { low } else { level.separators[i] };
        let to = level.separators.get(i + 1).copied().unwrap_or(high);
        let count = match &level.kids {
            Kids::Leaves(leaves) => {
                assert!(leaves[i].iter().all(|k| (from..to).contains(k)));
                leaves[i].len() as u64
            }
            Kids::Levels(levels) => check_level(&levels[i], from, to, false),
        };
        assert_eq!(count, level.counts[i]);
        total += count;
    }
    assert_eq!(total, level.total);
    total
}

fn check(tree: &TestTree, model: &[u32]) {
    if !model.is_empty() {
        assert_eq!(
            check_level(&tree.root, 0, u32::MAX, true),
            model.len() as u64
        );
    }
    assert_eq!(tree.len(), model.len() as u64);
    assert_eq!(forward(tree), model);
    assert_eq!(backward(tree), model);
}

#[test]
fn loading_in_order_from_either_end_makes_full_levels() {
    for keys in [(0..4000).collect::<Vec<u32>>(), (0..4000).rev().collect()] {
        let mut tree = Tree::<(), Vec<u32>>::default();
        let rising = keys[0] == 0;
        for key in keys {
            if rising {
                tree.edit(&mut Last, |level, _| {
                    level.insert_leaf(level.len(), (), vec![key], 1)
                });
            } else {
                tree.edit(&mut First, |level, _| {
                    level.insert_leaf(0, (), vec![key], 1)
                });
            }
        }
        assert_eq!(tree.len(), 4000);
        let Kids::Levels(levels) = &tree.root.kids else {
            panic!("two levels")
        };
        assert!(levels.len() <= 4000 / FANOUT + 3, "{}", levels.len());
        for (pos, want) in [(0, 0), (1, 1), (2500, 2500), (3999, 3999)] {
            assert_eq!(tree.find(&mut At(pos)), Some(&vec![want]));
        }
        assert_eq!(tree.leaves_up_to(1), None);
        assert_eq!(tree.leaves_up_to(4000), Some(4000));
    }
}

#[test]
fn ten_thousand_random_edits_agree_with_a_vector_and_clones_stay_exact() {
    let mut state = 0x9E37_79B9_7F4A_7C15u64;
    let mut next = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let (mut tree, mut model) = (TestTree::default(), Vec::<u32>::new());
    let mut kept = Vec::new();
    for step in 0..60_000u32 {
        let key = (next() % 9000) as u32;
        // Grows for a while, then shrinks to nothing, again and again.
        if (step / 12_000).is_multiple_of(2) || next() % 8 == 0 {
            assert_eq!(insert(&mut tree, key), !model.contains(&key));
            if let Err(at) = model.binary_search(&key) {
                model.insert(at, key);
            }
        } else {
            assert_eq!(remove(&mut tree, key), model.contains(&key));
            model.retain(|&k| k != key);
        }
        if step % 4001 == 0 {
            check(&tree, &model);
            kept.push((tree.clone(), model.clone()));
        }
    }
    for (tree, model) in &kept {
        check(tree, model);
    }
}

#[test]
fn ranked_seek_counts_what_lies_left() {
    let mut tree = TestTree::default();
    for key in 0..3000 {
        insert(&mut tree, key * 2);
    }
    for key in [0u32, 1, 2, 777, 2000, 5998, 9999] {
        let mut seek = Ranked {
            reaches: |s: &u32| *s <= key,
            before: 0,
        };
        let leaf = tree.find(&mut seek).unwrap();
        let rank = seek.before + leaf.iter().filter(|&&k| k < key).count() as u64;
        assert_eq!(rank, (0..3000).filter(|k| k * 2 < key).count() as u64);
    }
}

proptest! {
    #[test]
    fn any_edits_keep_order_counts_and_separators(
        keys in proptest::collection::vec((any::<bool>(), 0u32..600), 0..1500)
    ) {
        let (mut tree, mut model) = (TestTree::default(), std::collections::BTreeSet::new());
        for (add, key) in keys {
            if add {
                prop_assert_eq!(insert(&mut tree, key), model.insert(key));
            } else {
                prop_assert_eq!(remove(&mut tree, key), model.remove(&key));
            }
        }
        check(&tree, &model.into_iter().collect::<Vec<_>>());
    }
}

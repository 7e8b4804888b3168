//! Ranks drawn without repetition.

use hashbrown::HashSet;

use crate::base::random;

/// `count` distinct ranks below `len` (all of them if there are not as many), ascending, every
/// choice equally likely.
pub fn distinct_ranks(len: usize, count: usize) -> Vec<usize> {
    let count = count.min(len);
    // Many of them: one pass that takes each rank with the probability that keeps the choice fair
    // (Knuth, algorithm S). Few: one draw for each (Floyd).
    if count >= len / 4 {
        let mut ranks = Vec::with_capacity(count);
        for rank in 0..len {
            if random::below((len - rank) as u64) < (count - ranks.len()) as u64 {
                ranks.push(rank);
            }
        }
        return ranks;
    }
    let mut drawn = HashSet::with_capacity(count);
    for top in len - count..len {
        let rank = random::below(top as u64 + 1) as usize;
        if !drawn.insert(rank) {
            drawn.insert(top);
        }
    }
    let mut ranks: Vec<usize> = drawn.into_iter().collect();
    ranks.sort_unstable();
    ranks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_are_distinct_sorted_and_as_many_as_asked() {
        for (len, count) in [(0, 3), (1, 1), (5, 9), (100, 30), (100, 3), (10_000, 50)] {
            let ranks = distinct_ranks(len, count);
            assert_eq!(ranks.len(), count.min(len));
            assert!(ranks.is_sorted_by(|a, b| a < b));
            assert!(ranks.iter().all(|&rank| rank < len));
        }
    }

    #[test]
    fn every_rank_is_equally_likely() {
        for count in [1, 5, 10] {
            let mut hits = [0u32; 40];
            for _ in 0..8000 {
                for rank in distinct_ranks(40, count) {
                    hits[rank] += 1;
                }
            }
            let expected = 8000.0 * count as f64 / 40.0;
            // Chi-square of 39 degrees of freedom is below 90 with probability 0.999995.
            let off = |&n: &u32| (f64::from(n) - expected).powi(2) / expected;
            assert!(hits.iter().map(off).sum::<f64>() < 90.0, "{hits:?}");
        }
    }
}

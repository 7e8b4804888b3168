//! Which worker a connection is best served by: connections whose packets one processor handles
//! belong together.
//!
//! What a processor receives for many connections at the same time comes from one client thread on
//! this machine, or from one queue of a network card. If one worker serves all of these, it and
//! that thread wake each other up alone, and the scheduler keeps them close; if they are dealt out
//! to the workers in turn, every worker wakes every thread of the clients, mostly on another
//! processor. On two processors shared with two threads of load this costs a fourth of the
//! throughput, and the server a fifth to a third more processor time.
//!
//! The kernel tells which processor handled a socket's latest packet (`SO_INCOMING_CPU` in
//! socket(7)). Threads move between processors, and what they send comes from elsewhere then: so
//! the number of a processor means nothing from one moment to the next, but who is seen on the same
//! one at the same time does. In each round a worker counts its connections by processor. From the
//! counts of all workers follows what each of them is to have ([`shares`]): of a processor's
//! connections, as many as its own part of all connections allows, beginning with who has most of
//! them already. What it has beyond that moves to where it is lacking, each connection after it has
//! been found in the wrong place in some more rounds than in the right one.
//!
//! No worker gets more than its part of the connections that were served in a round, however few
//! processors they come from. Those that send nothing for longer than a round do not count, and
//! stay where they are.

use std::sync::Arc;

use parking_lot::Mutex;

use crate::base::clock;

/// Processors that are told from each other; beyond them, some are taken for the same.
const PROCESSORS: usize = 64;
/// How long a round takes.
const ROUND_US: u64 = 25_000;
/// Connections that a worker looks at in a round. It takes a system call for each.
const LOOKS: u32 = 256;
/// In how many more rounds a connection must be in the wrong place before it moves. Twice as many
/// for each further time: where threads move all the time, connections do not move with them for
/// long.
const PATIENCE: u32 = 4;

/// Connections by the processor that they come from.
type Counts = [u32; PROCESSORS];

/// What a worker saw in a round, and in the one before it.
#[derive(Default)]
struct Row {
    round: u64,
    counts: Vec<u32>,
    before: Vec<u32>,
}

impl Row {
    /// Counts a connection, in this round and not before.
    fn count(&mut self, round: u64, processor: usize) {
        if round != self.round {
            self.before = std::mem::take(&mut self.counts);
            if round != self.round + 1 {
                self.before.clear();
            }
            self.round = round;
        }
        if self.counts.len() <= processor {
            self.counts.resize(processor + 1, 0);
        }
        if let Some(count) = self.counts.get_mut(processor) {
            *count += 1;
        }
    }

    fn of(&self, round: u64) -> Counts {
        let mut counts = [0; PROCESSORS];
        let seen = match round {
            _ if round == self.round => &self.counts,
            _ if round + 1 == self.round => &self.before,
            _ => return counts,
        };
        counts
            .iter_mut()
            .zip(seen)
            .for_each(|(to, from)| *to = *from);
        counts
    }
}

/// What all workers have seen. Each writes its own row.
#[derive(Clone)]
pub struct Board(Arc<[Mutex<Row>]>);

impl Board {
    /// For so many workers.
    pub fn new(workers: usize) -> Board {
        Board((0..workers).map(|_| Mutex::default()).collect())
    }
}

/// Connections from a processor that are to move to another worker.
#[derive(Debug, PartialEq, Eq)]
struct Outflow {
    processor: usize,
    to: usize,
    count: u32,
}

/// A connection's part in this.
pub struct Place {
    /// The last round in which it was looked at, and the processor that it came from, if that was
    /// known.
    seen: (u64, Option<usize>),
    /// Rounds in which it was in the wrong place, less those in which it was in the right one.
    wrong: u32,
    /// How many of them it takes to move.
    patience: u32,
}

impl Default for Place {
    fn default() -> Place {
        Place {
            seen: (0, None),
            wrong: 0,
            patience: PATIENCE,
        }
    }
}

/// A worker's part in this.
pub struct Affinity {
    board: Board,
    worker: usize,
    round: u64,
    /// Looks left in this round.
    looks: u32,
    /// What is to move, by the round before this one.
    outflows: Vec<Outflow>,
    /// Connections came from several processors in it, which tells them apart.
    tells: bool,
}

impl Affinity {
    /// For the worker of this number.
    pub fn new(board: Board, worker: usize) -> Affinity {
        Affinity {
            board,
            worker,
            round: 0,
            looks: 0,
            outflows: Vec::new(),
            tells: false,
        }
    }

    /// The worker that a connection is to move to, if it is. To be asked whenever it has been
    /// served; `processor` is the one that handled its latest packet, if that is known.
    #[inline]
    pub fn better_worker(
        &mut self,
        place: &mut Place,
        processor: impl FnOnce() -> Option<usize>,
    ) -> Option<usize> {
        let round = clock::mono_us() / ROUND_US;
        if place.seen.0 == round {
            return None;
        }
        self.look(place, round, processor)
    }

    #[cold]
    fn look(
        &mut self,
        place: &mut Place,
        round: u64,
        processor: impl FnOnce() -> Option<usize>,
    ) -> Option<usize> {
        if round != self.round {
            self.begin(round);
        }
        if self.looks == 0 || self.board.0.len() < 2 {
            return None;
        }
        self.looks -= 1;
        // Whether it was in the right place is known when the round is over.
        if let (seen, Some(from)) = place.seen
            && seen + 1 == round
            && let Some(to) = self.judge(place, from)
        {
            *place = Place {
                seen: (0, None),
                wrong: 0,
                patience: place.patience.saturating_mul(2),
            };
            return Some(to);
        }
        // One that tells nothing, as of a Unix socket, has been looked at as well.
        place.seen = (round, processor().map(|p| p % PROCESSORS));
        let processor = place.seen.1?;
        if let Some(row) = self.board.0.get(self.worker) {
            row.lock().count(round, processor);
        }
        None
    }

    /// Judges a connection that came from this processor in the last round.
    fn judge(&mut self, place: &mut Place, processor: usize) -> Option<usize> {
        let mut outflows = self.outflows.iter_mut();
        let Some(out) = outflows.find(|o| o.processor == processor && o.count > 0) else {
            if self.tells {
                // Not forgotten at once: threads move while a round goes on, too.
                place.wrong = place.wrong.saturating_sub(1);
            }
            return None;
        };
        place.wrong += 1;
        if place.wrong < place.patience {
            return None;
        }
        out.count -= 1;
        Some(out.to)
    }

    /// Finds out what is to move by what all workers saw in the round before.
    fn begin(&mut self, round: u64) {
        let last = round.saturating_sub(1);
        let rows: Vec<Counts> = self.board.0.iter().map(|row| row.lock().of(last)).collect();
        self.round = round;
        self.looks = LOOKS;
        self.tells = tells(&rows);
        self.outflows = outflows(&rows, self.worker);
    }
}

/// How many connections come from a processor.
fn all_from(rows: &[Counts], processor: usize) -> u32 {
    rows.iter().map(|row| at(row, processor)).sum()
}

fn at(counts: &Counts, processor: usize) -> u32 {
    counts.get(processor).copied().unwrap_or(0)
}

/// Whether connections come from more than one processor, but for a few.
fn tells(rows: &[Counts]) -> bool {
    const FEW: u32 = 8;
    let all: u32 = rows.iter().flatten().sum();
    let many = |processor: &usize| all_from(rows, *processor) > all / FEW;
    (0..PROCESSORS).filter(many).count() > 1
}

/// What each worker is to have.
fn shares(rows: &[Counts]) -> Vec<Counts> {
    let all: u32 = rows.iter().flatten().sum();
    let part = all.div_ceil(u32::try_from(rows.len()).unwrap_or(u32::MAX).max(1));
    let mut room = vec![part; rows.len()];
    let mut left: Vec<u32> = (0..PROCESSORS).map(|p| all_from(rows, p)).collect();
    let mut shares = vec![[0; PROCESSORS]; rows.len()];
    let mut give = |worker: usize, processor: usize| {
        let share = shares.get_mut(worker).and_then(|s| s.get_mut(processor));
        if let (Some(room), Some(left), Some(share)) =
            (room.get_mut(worker), left.get_mut(processor), share)
        {
            let n = (*room).min(*left);
            *room -= n;
            *left -= n;
            *share += n;
        }
    };
    let mut present = Vec::new();
    for (worker, row) in rows.iter().enumerate() {
        let some = row.iter().enumerate().filter(|(_, n)| **n > 0);
        present.extend(some.map(|(processor, n)| (*n, worker, processor)));
    }
    present.sort_by_key(|(n, worker, processor)| (std::cmp::Reverse(*n), *worker, *processor));
    for (_, worker, processor) in &present {
        give(*worker, *processor);
    }
    // What is left over where all who have some of it are full.
    for (_, _, processor) in &present {
        (0..rows.len()).for_each(|worker| give(worker, *processor));
    }
    shares
}

/// What is to move from this worker, by what all of them have.
fn outflows(rows: &[Counts], from: usize) -> Vec<Outflow> {
    let shares = shares(rows);
    let mut outflows = Vec::new();
    for processor in 0..PROCESSORS {
        let pairs = || rows.iter().zip(&shares).enumerate();
        let mut lacking = pairs().filter_map(|(worker, (has, share))| {
            let n = at(share, processor).saturating_sub(at(has, processor));
            (n > 0).then_some((worker, n))
        });
        let mut open = None;
        for (worker, (has, share)) in pairs() {
            let mut beyond = at(has, processor).saturating_sub(at(share, processor));
            while beyond > 0 {
                let Some((to, n)) = open.take().or_else(|| lacking.next()) else {
                    break;
                };
                let count = beyond.min(n);
                if worker == from {
                    outflows.push(Outflow {
                        processor,
                        to,
                        count,
                    });
                }
                beyond -= count;
                open = (n > count).then_some((to, n - count));
            }
        }
    }
    outflows
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn rows(counts: &[&[u32]]) -> Vec<Counts> {
        let row = |few: &&[u32]| {
            let mut row = [0; PROCESSORS];
            row[..few.len()].copy_from_slice(few);
            row
        };
        counts.iter().map(row).collect()
    }

    fn moves(counts: &[&[u32]]) -> Vec<(usize, usize, usize, u32)> {
        let rows = rows(counts);
        let of = |from| {
            let all = outflows(&rows, from).into_iter();
            all.map(move |o| (o.processor, from, o.to, o.count))
        };
        (0..rows.len()).flat_map(of).collect()
    }

    #[test]
    fn what_comes_from_one_processor_comes_together() {
        let mixed = moves(&[&[13, 12], &[12, 13]]);
        assert_eq!(mixed, [(1, 0, 1, 12), (0, 1, 0, 12)]);
        // One worker has most of both.
        let mixed = moves(&[&[13, 13], &[12, 12]]);
        assert_eq!(mixed, [(1, 0, 1, 13), (0, 1, 0, 12)]);
        assert_eq!(moves(&[&[25, 0], &[0, 25]]), []);
        assert_eq!(moves(&[&[0, 25], &[25, 0]]), []);
        // Two of four workers for each.
        let mut all = [[0; 2]; 4];
        let start: [&[u32]; 4] = [&[7, 6], &[6, 6], &[6, 7], &[6, 6]];
        for (worker, has) in start.iter().enumerate() {
            all[worker] = [has[0], has[1]];
        }
        for (processor, from, to, n) in moves(&start) {
            all[from][processor] -= n;
            all[to][processor] += n;
        }
        assert_eq!(all, [[13, 0], [12, 1], [0, 13], [0, 11]]);
    }

    #[test]
    fn no_worker_has_more_than_its_part() {
        assert_eq!(moves(&[&[25], &[25]]), []);
        assert_eq!(moves(&[&[40], &[10]]), [(0, 0, 1, 15)]);
        assert_eq!(moves(&[&[1, 1], &[0, 0]]), [(1, 0, 1, 1)]);
        assert_eq!(
            moves(&[&[15, 10], &[15, 10]]),
            [(1, 0, 1, 10), (0, 1, 0, 10)]
        );
    }

    proptest! {
        #[test]
        fn shares_are_all_there_is_and_fit(
            counts in prop::collection::vec(prop::collection::vec(0_u32..40, 6), 1..6)
        ) {
            let few: Vec<&[u32]> = counts.iter().map(Vec::as_slice).collect();
            let mut rows = rows(&few);
            let shares = shares(&rows);
            let all: u32 = rows.iter().flatten().sum();
            let part = all.div_ceil(rows.len() as u32);
            for share in &shares {
                prop_assert!(share.iter().sum::<u32>() <= part);
            }
            for processor in 0..PROCESSORS {
                prop_assert_eq!(all_from(&rows, processor), all_from(&shares, processor));
            }
            for (processor, from, to, n) in moves(&few) {
                rows[from][processor] -= n;
                rows[to][processor] += n;
            }
            prop_assert_eq!(rows, shares);
        }
    }

    /// Two workers and their connections.
    struct Scene {
        workers: [Affinity; 2],
        /// Worker, place and thread of each.
        connections: Vec<(usize, Place, usize)>,
        round: u64,
        moved: usize,
    }

    impl Scene {
        /// So many connections of two threads, dealt out so that each worker has some of both.
        fn new(connections: usize) -> Scene {
            let board = Board::new(2);
            let deal = |i| (i % 2, Place::default(), i / 2 % 2);
            Scene {
                workers: [0, 1].map(|n| Affinity::new(board.clone(), n)),
                connections: (0..connections).map(deal).collect(),
                round: 100,
                moved: 0,
            }
        }

        /// A round in which all connections are served, their threads on these processors.
        fn round(&mut self, processors: [usize; 2]) {
            self.round += 1;
            for (worker, place, thread) in &mut self.connections {
                let affinity = &mut self.workers[*worker];
                if let Some(to) = affinity.look(place, self.round, || Some(processors[*thread])) {
                    *worker = to;
                    self.moved += 1;
                }
            }
        }

        fn is_apart(&self) -> bool {
            let of = |thread| {
                let mut all = self.connections.iter().filter(move |c| c.2 == thread);
                let first = all.next().unwrap().0;
                all.all(|c| c.0 == first).then_some(first)
            };
            of(0).is_some() && of(1).is_some() && of(0) != of(1)
        }
    }

    #[test]
    fn connections_of_two_threads_come_apart_and_stay_where_they_are() {
        let mut scene = Scene::new(48);
        for i in 0..10 {
            // That both are on one processor now and then tells nothing, and does no harm.
            scene.round(if i % 3 == 2 { [1, 1] } else { [0, 1] });
        }
        assert!(scene.is_apart());
        let moved = scene.moved;
        assert!(moved <= 26, "{moved}");
        // Whatever processors the threads go to.
        for i in 0..100 {
            scene.round([[0, 1], [1, 0], [3, 0], [2, 2]][i / 5 % 4]);
        }
        assert!(scene.is_apart());
        assert_eq!(scene.moved, moved);
    }

    #[test]
    fn connections_that_come_from_anywhere_do_not_move_for_long() {
        let mut scene = Scene::new(50);
        let mut chance = 1_u64;
        for _ in 0..4000 {
            for c in &mut scene.connections {
                chance = chance
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1);
                c.2 = (chance >> 63) as usize;
            }
            scene.round([0, 1]);
        }
        assert!(scene.moved < 50 * 6, "{}", scene.moved);
    }

    #[test]
    fn a_connection_is_looked_at_once_in_a_round_whether_it_tells_anything_or_not() {
        for processor in [None, Some(1)] {
            let mut affinity = Affinity::new(Board::new(2), 0);
            let mut place = Place::default();
            let mut looks = 0_u64;
            let round = || clock::mono_us() / ROUND_US;
            let begun = round();
            for _ in 0..10 * LOOKS {
                affinity.better_worker(&mut place, || {
                    looks += 1;
                    processor
                });
            }
            assert!((1..=round() - begun + 1).contains(&looks), "{looks}");
        }
    }

    #[test]
    fn a_worker_looks_at_so_many_connections_in_a_round_and_at_none_if_it_is_alone() {
        for (workers, expected) in [(2, LOOKS), (1, 0)] {
            let mut affinity = Affinity::new(Board::new(workers), 0);
            let mut looks = 0;
            for _ in 0..2 * LOOKS {
                let mut place = Place::default();
                affinity.look(&mut place, 7, || {
                    looks += 1;
                    None
                });
            }
            assert_eq!(looks, expected);
        }
    }
}

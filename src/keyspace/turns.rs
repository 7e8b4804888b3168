//! Turns: how workers get on with each other where several of them want the same shard all the
//! time.
//!
//! A worker that cannot have a shard looks again and again for as long as a unit usually takes.
//! Mostly that is enough. Where one key is what everybody wants, or few, and the machine has not a
//! processor to spare for each worker, it is not: the workers fall asleep and wake each other up
//! for every unit, and what they change travels from one processor's cache to another's and back.
//! On two processors with a load of 50 clients beside the server, turns save a third of what a ZADD
//! to the one key of all costs the server's processors, and 40 per cent of an XADD to one of 100.
//!
//! So when waits have been in vain too often lately, and this worker has often lost its processor,
//! the workers take turns for a while. Whoever finds a shard taken then, having no turn, sleeps
//! until it gets one:
//!
//! ```text
//!   has no turn --finds a shard taken--> waits --given the turn--> has it, for a slice
//!        ^                                                              |
//!        +-- passes it on when the slice is over, or as it has nothing to do
//! ```
//!
//! A turn is a courtesy, not a lock: who has none goes on with what it finds free, and whoever
//! waits too long goes on, too.
//!
//! Taking turns is for the moment. The worker that asked for it becomes the host: a connection that
//! had to wait for a turn moves there ([`Turns::host`]), and soon all that want the same shards are
//! with one worker, which waits for nobody and has what they change in its processor's cache. They
//! go home when the time is over. If the old trouble is back at once then, the next time is longer.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use crate::base::{clock, preemption};

use super::locks::ShardMask;

/// A turn ends after this if somebody waits for it.
const SLICE: Duration = Duration::from_micros(500);
/// Nobody waits longer.
const LONGEST: Duration = Duration::from_millis(1);
/// How long turns are taken until workers try again without,
const PERIOD_US: u64 = 100_000;
/// how long at most, where it is always the same,
const LONGEST_PERIOD_US: u64 = 16 * PERIOD_US;
/// which it is if no more than this has gone by in between.
const RELAPSE_US: u64 = 250_000;
/// Waits are judged by so many at a time,
const WINDOW: u32 = 256;
/// of which so many in vain are too many,
const TOO_MANY: u32 = 60;
/// or so many if turns have been taken until a moment ago,
const TOO_MANY_AGAIN: u32 = 15;
/// if they all fall into this time: rare ones do not matter.
const RECENT: Duration = Duration::from_millis(100);
/// Processors are scarce if a thread loses its own after no more than this, on average.
const SCARCE: Duration = Duration::from_millis(1);

/// How often to look whether a shard is free before falling asleep. Some microseconds: as long as
/// a unit takes. Where one key is all that everybody wants, whoever falls asleep costs more, by
/// being woken up, than the rest of the other's unit takes.
const LOOKS: usize = 400;
/// The same, for a worker that has no turn where another has.
const FEW_LOOKS: usize = 20;

/// What a thread knows of itself. One thread works for one keyspace.
struct Seat {
    /// It is a worker, that is, it calls [`Turns::go_on`] and [`Turns::rest`].
    takes_part: Cell<bool>,
    /// Its number among the workers.
    number: Cell<usize>,
    /// The shards for one of which it has waited for its latest turn.
    wanted: Cell<ShardMask>,
    /// It has waited for who is served now, or would have but for its turn.
    waited: Cell<bool>,
    /// When its turn began, if it has one.
    turn: Cell<Option<Instant>>,
    /// Waits of the window, and those in vain among them.
    waits: Cell<u32>,
    in_vain: Cell<u32>,
    /// When the first of them was, and how often the thread had lost its processor by then.
    first: Cell<Option<(Instant, u64)>>,
}

thread_local! {
    static SEAT: Seat = const {
        Seat {
            takes_part: Cell::new(false),
            number: Cell::new(0),
            wanted: Cell::new(ShardMask::NONE),
            waited: Cell::new(false),
            turn: Cell::new(None),
            waits: Cell::new(0),
            in_vain: Cell::new(0),
            first: Cell::new(None),
        }
    };
}

#[derive(Default)]
struct State {
    /// Somebody has the turn, or is about to wake up with it.
    taken: bool,
    /// The turn is for one of those who wait.
    passed_on: bool,
    waiting: usize,
}

/// See the module.
#[derive(Default)]
pub struct Turns {
    state: Mutex<State>,
    passed_on: Condvar,
    /// As in the state, to be looked at in passing.
    waiting: AtomicUsize,
    /// Turns are taken until then, in microseconds of [`clock::mono_us`]; 0 if never.
    until_us: AtomicU64,
    /// How long that is in all.
    period_us: AtomicU64,
    /// The number of the worker that is the host as long.
    host: AtomicUsize,
}

/// How a worker that has found a shard taken goes about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Manner {
    /// It just waits; not even noted.
    Plain,
    /// It waits, and how that went is noted.
    Noted,
    /// It leaves the shard to who has the turn.
    Polite,
}

impl Manner {
    /// How often it looks before it does anything else.
    pub(super) fn looks(self) -> usize {
        if self == Manner::Polite {
            FEW_LOOKS
        } else {
            LOOKS
        }
    }
}

impl Turns {
    /// The calling thread is the worker of this number and takes part from here on.
    pub fn enlist(number: usize) {
        SEAT.with(|seat| {
            seat.takes_part.set(true);
            seat.number.set(number);
        });
    }

    /// Whether turns are taken.
    pub fn are_taken(&self) -> bool {
        match self.until_us.load(Ordering::Relaxed) {
            0 => false,
            until => clock::mono_us() < until,
        }
    }

    /// The number of the worker where who has just been served by the calling one would not have
    /// had to wait as it had to here. `None` if it did not, or would there, too.
    #[inline]
    pub fn host(&self) -> Option<usize> {
        SEAT.with(|seat| {
            if !seat.waited.take() || !self.are_taken() {
                return None;
            }
            let host = self.host.load(Ordering::Relaxed);
            (host != seat.number.get()).then_some(host)
        })
    }

    /// A worker has done something for a connection and holds no shard: passes its turn on if that
    /// is over.
    #[inline]
    pub fn go_on(&self) {
        if self.waiting.load(Ordering::Relaxed) > 0 {
            self.heed();
        }
    }

    /// A worker has nothing to do.
    pub fn rest(&self) {
        let mine = SEAT.with(|seat| seat.turn.take()).is_some();
        if mine || self.waiting.load(Ordering::Relaxed) > 0 {
            let mut state = self.state.lock();
            if mine || !state.taken {
                self.pass_on(&mut state);
            }
        }
    }

    #[cold]
    fn heed(&self) {
        SEAT.with(|seat| {
            if !seat.takes_part.get() {
                return;
            }
            match seat.turn.get() {
                Some(began) if began.elapsed() >= SLICE => {
                    seat.turn.set(None);
                    self.pass_on(&mut self.state.lock());
                }
                Some(_) => {}
                // Whoever waits does so for one who has gone on without a turn: this may be it.
                None => {
                    let mut state = self.state.lock();
                    if !state.taken && state.waiting > 0 {
                        state.taken = true;
                        seat.turn.set(Some(Instant::now()));
                    }
                }
            }
        });
    }

    fn pass_on(&self, state: &mut State) {
        state.taken = state.waiting > 0;
        state.passed_on = state.taken;
        if state.taken {
            self.passed_on.notify_one();
        }
    }

    /// How the calling thread is to wait for a shard.
    pub(super) fn manner(&self) -> Manner {
        SEAT.with(|seat| {
            if !seat.takes_part.get() || seat.turn.get().is_some() {
                return Manner::Plain;
            }
            if self.are_taken() {
                Manner::Polite
            } else {
                Manner::Noted
            }
        })
    }

    /// A shard was looked at for as long as [`Manner::looks`] says. `had`: it is ours now.
    pub(super) fn looked(&self, manner: Manner, had: bool) {
        if manner == Manner::Noted {
            SEAT.with(|seat| self.note(seat, had, Instant::now(), preemption::count));
        }
    }

    /// Notes how a wait went, and begins to take turns if too many were in vain.
    fn note(&self, seat: &Seat, had: bool, now: Instant, preemptions: impl Fn() -> u64) {
        let (first, before) = seat.first.get().unwrap_or_else(|| (now, preemptions()));
        seat.first.set(Some((first, before)));
        seat.waits.set(seat.waits.get() + 1);
        seat.in_vain.set(seat.in_vain.get() + u32::from(!had));
        let ended = self.until_us.load(Ordering::Relaxed);
        let lately = ended > 0 && clock::mono_us().saturating_sub(ended) < RELAPSE_US;
        let most = if lately { TOO_MANY_AGAIN } else { TOO_MANY };
        let too_many = seat.in_vain.get() >= most;
        if seat.waits.get() < WINDOW && !too_many {
            return;
        }
        let took = now.saturating_duration_since(first);
        let lost = u32::try_from(preemptions().saturating_sub(before)).unwrap_or(u32::MAX);
        if too_many && took < RECENT && SCARCE.saturating_mul(lost) > took {
            self.begin(seat.number.get(), clock::mono_us());
        }
        seat.waits.set(0);
        seat.in_vain.set(0);
        seat.first.set(None);
    }

    /// Turns are taken from here on, with this worker as the host.
    fn begin(&self, host: usize, now_us: u64) {
        let last = self.until_us.load(Ordering::Relaxed);
        if now_us < last {
            // Another was faster.
            return;
        }
        let period = match self.period_us.load(Ordering::Relaxed) {
            before if before > 0 && now_us - last < RELAPSE_US => {
                (2 * before).min(LONGEST_PERIOD_US)
            }
            _ => PERIOD_US,
        };
        self.period_us.store(period, Ordering::Relaxed);
        self.host.store(host, Ordering::Relaxed);
        self.until_us.store(now_us + period, Ordering::Relaxed);
    }

    /// The calling thread has locked these shards. Who would have waited like the one before, had
    /// that not waited for a turn, is to move like that.
    #[inline]
    pub(super) fn locked(&self, shards: ShardMask) {
        if self.waiting.load(Ordering::Relaxed) > 0 {
            self.note_locked(shards);
        }
    }

    #[cold]
    fn note_locked(&self, shards: ShardMask) {
        SEAT.with(|seat| {
            if seat.turn.get().is_some() && seat.wanted.get().meets(shards) {
                seat.waited.set(true);
            }
        });
    }

    /// Waits for a turn, one of these shards being taken and none held; the calling thread has it
    /// then.
    pub(super) fn wait(&self, shards: ShardMask) {
        let mut state = self.state.lock();
        state.waiting += 1;
        self.waiting.store(state.waiting, Ordering::Relaxed);
        let until = Instant::now() + LONGEST;
        while !state.passed_on {
            if self.passed_on.wait_until(&mut state, until).timed_out() {
                break;
            }
        }
        // One that was not passed on is taken: who has it is busy with something else.
        state.passed_on = false;
        state.taken = true;
        state.waiting -= 1;
        self.waiting.store(state.waiting, Ordering::Relaxed);
        SEAT.with(|seat| {
            seat.turn.set(Some(Instant::now()));
            seat.wanted.set(shards);
            seat.waited.set(true);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::mpsc::channel;
    use std::thread;

    /// So many waits at `now`, each of them behind a loss of the processor if it is scarce.
    fn wait(turns: &Turns, times: u32, had: bool, now: Instant, scarce: bool) {
        let lost = Cell::new(0);
        for _ in 0..times {
            lost.set(lost.get() + u64::from(scarce));
            SEAT.with(|seat| turns.note(seat, had, now, || lost.get()));
        }
    }

    #[test]
    fn turns_are_taken_when_too_many_waits_were_in_vain_and_for_a_while() {
        let turns = Turns::default();
        let now = Instant::now();
        assert_eq!(turns.manner(), Manner::Plain, "it is no worker");
        Turns::enlist(0);
        wait(&turns, WINDOW - TOO_MANY + 1, true, now, true);
        wait(&turns, TOO_MANY - 1, false, now, true);
        assert_eq!(turns.manner(), Manner::Noted);
        wait(&turns, TOO_MANY, false, now, true);
        assert_eq!(turns.manner(), Manner::Polite);
        thread::sleep(Duration::from_micros(PERIOD_US));
        assert_eq!(turns.manner(), Manner::Noted);
        // Fewer are too many so soon.
        wait(&turns, TOO_MANY_AGAIN, false, now, true);
        assert_eq!(turns.manner(), Manner::Polite);
    }

    #[test]
    fn no_turns_are_taken_for_what_is_rare_or_where_there_are_processors() {
        let turns = Turns::default();
        let now = Instant::now();
        Turns::enlist(0);
        wait(&turns, TOO_MANY - 1, false, now, true);
        wait(&turns, 1, false, now + RECENT, true);
        assert_eq!(turns.manner(), Manner::Noted);
        wait(&turns, TOO_MANY - 1, false, now, false);
        wait(&turns, 1, false, now + SCARCE, false);
        assert_eq!(turns.manner(), Manner::Noted);
    }

    #[test]
    fn a_turn_goes_to_who_waits_when_its_slice_is_over_or_its_holder_rests() {
        for rests in [false, true] {
            let turns = Arc::new(Turns::default());
            Turns::enlist(0);
            turns.wait(ShardMask::NONE);
            assert_eq!(turns.manner(), Manner::Plain);
            let other = Arc::clone(&turns);
            let (tell, told) = channel();
            let waiter = thread::spawn(move || {
                Turns::enlist(0);
                tell.send(()).unwrap();
                other.wait(ShardMask::NONE);
                assert_eq!(other.manner(), Manner::Plain);
                other.rest();
            });
            told.recv().unwrap();
            while !waiter.is_finished() {
                if rests {
                    turns.rest();
                } else {
                    turns.go_on();
                }
            }
            waiter.join().unwrap();
            SEAT.with(|seat| seat.turn.set(None));
            assert!(!turns.state.lock().taken);
        }
    }

    #[test]
    fn who_had_to_wait_is_sent_to_the_host_as_long_as_turns_are_taken() {
        let turns = Turns::default();
        Turns::enlist(1);
        turns.begin(2, clock::mono_us());
        assert_eq!(turns.host(), None, "it has not waited");
        turns.wait(ShardMask::NONE);
        assert_eq!(turns.host(), Some(2));
        assert_eq!(turns.host(), None, "once for each wait");
        turns.wait(ShardMask::NONE);
        Turns::enlist(2);
        assert_eq!(turns.host(), None, "it is there");
        Turns::enlist(1);
        turns.wait(ShardMask::NONE);
        thread::sleep(Duration::from_micros(PERIOD_US));
        assert!(!turns.are_taken());
        assert_eq!(turns.host(), None);
        turns.rest();
    }

    #[test]
    fn who_would_have_had_to_wait_but_for_the_turn_moves_too() {
        let turns = Turns::default();
        let (hot, other) = (ShardMask::only(3), ShardMask::only(4));
        Turns::enlist(1);
        turns.begin(2, clock::mono_us());
        turns.wait(hot);
        turns.host();
        turns.locked(hot);
        assert_eq!(turns.host(), None, "nobody else is there");
        turns.waiting.store(1, Ordering::Relaxed);
        turns.locked(other);
        assert_eq!(turns.host(), None);
        turns.locked(hot);
        assert_eq!(turns.host(), Some(2));
    }

    #[test]
    fn turns_are_taken_for_longer_where_the_trouble_comes_back_at_once() {
        let turns = Turns::default();
        let lasts = |at| {
            turns.begin(0, at);
            turns.until_us.load(Ordering::Relaxed) - at
        };
        let mut now = 10_000_000;
        for times in [1, 2, 4, 8, 16, 16] {
            assert_eq!(lasts(now), times * PERIOD_US);
            now += times * PERIOD_US + RELAPSE_US - 1;
        }
        assert_eq!(lasts(now + 1), PERIOD_US);
        turns.begin(1, now + 2);
        assert_eq!(turns.host.load(Ordering::Relaxed), 0, "another was faster");
    }

    #[test]
    fn nobody_waits_for_ever_for_a_turn() {
        let turns = Arc::new(Turns::default());
        for _ in 0..3 {
            // Each ends with the turn, which it never passes on.
            let turns = Arc::clone(&turns);
            let worker = thread::spawn(move || {
                Turns::enlist(0);
                turns.wait(ShardMask::NONE);
            });
            worker.join().unwrap();
        }
        assert!(turns.state.lock().taken);
    }
}

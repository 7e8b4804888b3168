//! Holding back what works behind the clients' backs: snapshots, saves, and loads that nobody waits
//! for. What slows down under pressure is that work, never the clients.
//!
//! Two measures of pressure:
//!
//! - what the rest of the process does ([`yield_to_clients`]): for work beside this server's own
//!   clients alone;
//! - whether any processor of the machine is idle ([`MachinePacer`]): for a full sync, which two
//!   servers work at, so that neither sees from its own time what the other does to the clients.
//!   Where somebody is idle nothing is gained by waiting, and an idle machine works at full speed.

use std::cell::Cell;
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::time::Duration;

use rustix::time::ClockId;

use crate::base::clock;

/// How a thread yields.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Yields {
    Not,
    ToProcess,
    ToMachine,
}

thread_local! {
    /// How this thread yields.
    static YIELDS: Cell<Yields> = const { Cell::new(Yields::Not) };
}

/// From here on the calling thread yields to the clients: its priority is lower, and a [`Pacer`]
/// holds it back.
pub fn yield_to_clients() {
    const NICENESS: i32 = 10;
    yield_until_hurried();
    if let Some(id) =
        rustix::process::Pid::from_raw(rustix::thread::gettid().as_raw_nonzero().get())
    {
        let _ = rustix::process::setpriority_process(Some(id), NICENESS);
    }
}

/// As [`yield_to_clients`], for work that may come to hurry: a priority that was given up cannot be
/// had back without a privilege, so there is the [`Pacer`] alone.
pub fn yield_until_hurried() {
    YIELDS.set(Yields::ToProcess);
}

/// From here on a [`Pacer`] holds the calling thread back while the machine is busy. Its priority
/// stays, for it may come to hurry.
pub fn yield_to_machine() {
    YIELDS.set(Yields::ToMachine);
}

/// Holds a thread back while the rest of the process is busy: it then sleeps three times as long as
/// it works, so that it takes an eighth of two busy processors.
/// A low priority alone does not do: the scheduler may stop the thread while it holds a shard, and
/// a thread that always runs is stopped most often.
#[derive(Default)]
pub struct Pacer {
    last: Option<Times>,
    machine: MachinePacer,
}

/// Nanoseconds on three clocks.
#[derive(Clone, Copy)]
struct Times {
    wall: u64,
    thread: u64,
    process: u64,
}

fn nanoseconds(id: ClockId) -> u64 {
    let t = rustix::time::clock_gettime(id);
    t.tv_sec as u64 * 1_000_000_000 + t.tv_nsec as u64
}

impl Times {
    fn now() -> Times {
        Times {
            wall: clock::mono_ns(),
            thread: nanoseconds(ClockId::ThreadCPUTime),
            process: nanoseconds(ClockId::ProcessCPUTime),
        }
    }
}

/// How long a thread works before it looks up.
const WORK_NS: u64 = 500_000;

impl Pacer {
    /// Called between steps of the work, with no lock held.
    pub fn step(&mut self) {
        /// The rest of the process is busy if it takes this part of one core.
        const BUSY_PART: u64 = 20;
        /// How long a pause is then, in times of the work.
        const PAUSE: u64 = 3;
        match YIELDS.get() {
            Yields::Not => return,
            Yields::ToMachine => return self.machine.step(),
            Yields::ToProcess => {}
        }
        let Some(last) = self.last else {
            self.last = Some(Times::now());
            return;
        };
        if clock::mono_ns().saturating_sub(last.wall) < WORK_NS {
            return;
        }
        let now = Times::now();
        let (wall, own) = (
            now.wall.saturating_sub(last.wall),
            now.thread.saturating_sub(last.thread),
        );
        let others = now.process.saturating_sub(last.process).saturating_sub(own);
        if others > wall / BUSY_PART {
            std::thread::sleep(Duration::from_nanos(PAUSE * own.min(WORK_NS)));
            // What the others did meanwhile belongs to the next look.
            self.last = Some(Times {
                wall: clock::mono_ns(),
                ..now
            });
        } else {
            self.last = Some(now);
        }
    }
}

/// Holds a thread back while no processor of the machine is idle.
///
/// The pauses grow from one look at the machine to the next, up to [`MOST`] times the work. They
/// shrink when somebody is idle, and when there are none left there are none for a while: nobody
/// wanted the time that was given up.
#[derive(Default)]
pub struct MachinePacer {
    pressure: Pressure,
    stat: Option<File>,
    /// When the machine was looked at last, and how long its processors had been idle by then.
    looked: Option<(u64, u64)>,
    /// The thread's own time at its last pause.
    worked_ns: u64,
}

/// How long a thread that is held back sleeps at most, in times of what it worked.
const MOST: u64 = 14;
/// Between two looks at the machine: its idle time is told in hundredths of a second.
const LOOK_NS: u64 = 100_000_000;

/// What follows from one look after the other.
#[derive(Default)]
struct Pressure {
    /// Pauses, in times of the work.
    pause: u64,
    /// Looks for which there are no pauses whatever they show.
    rest: u32,
}

impl Pressure {
    fn note(&mut self, idle_ns: u64, wall_ns: u64) {
        /// Somebody is idle for this part of a core. Clients that each wait for their answer leave
        /// some time unused even where the machine is all that limits them.
        const IDLE_PART: u64 = 2;
        /// Looks without pauses after pauses that helped nobody.
        const REST: u32 = 10;
        if idle_ns > wall_ns / IDLE_PART {
            if self.pause == 1 {
                self.rest = REST;
            }
            self.pause /= 2;
        } else if self.rest > 0 {
            self.rest -= 1;
        } else {
            self.pause = (self.pause + 1).min(MOST);
        }
    }
}

/// Nanoseconds for which processors have been idle, all of them together, from the first line of
/// /proc/stat: `cpu user nice system idle iowait ...` in hundredths of a second.
fn idle_ns(stat: &str) -> Option<u64> {
    const TICK_NS: u64 = 10_000_000;
    let mut fields = stat.lines().next()?.split_ascii_whitespace().skip(4);
    let idle: u64 = fields.next()?.parse().ok()?;
    let waiting: u64 = fields.next()?.parse().ok()?;
    Some(idle.saturating_add(waiting).saturating_mul(TICK_NS))
}

impl MachinePacer {
    /// Called between steps of the work, with no lock held.
    pub fn step(&mut self) {
        let own = nanoseconds(ClockId::ThreadCPUTime);
        let worked = own.saturating_sub(self.worked_ns);
        if worked < WORK_NS {
            return;
        }
        self.worked_ns = own;
        let now = clock::mono_ns();
        match self.looked {
            None => self.looked = self.idle().map(|idle| (now, idle)),
            Some((then, before)) if now.saturating_sub(then) >= LOOK_NS => {
                let Some(idle) = self.idle() else { return };
                self.looked = Some((now, idle));
                let (idle, wall) = (idle.saturating_sub(before), now.saturating_sub(then));
                self.pressure.note(idle, wall);
            }
            Some(_) => {}
        }
        if self.pressure.pause > 0 {
            // A long step is not followed by a pause that keeps somebody waiting.
            let pause = worked.min(LOOK_NS / 10) * self.pressure.pause;
            std::thread::sleep(Duration::from_nanos(pause));
        }
    }

    /// See [`idle_ns`]. Without the file there are no pauses.
    fn idle(&mut self) -> Option<u64> {
        let mut line = [0; 256];
        if self.stat.is_none() {
            self.stat = File::open("/proc/stat").ok();
        }
        let n = self.stat.as_ref()?.read_at(&mut line, 0).ok()?;
        idle_ns(std::str::from_utf8(line.get(..n)?).ok()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_while_nobody_is_idle_and_end_when_somebody_is() {
        let mut p = Pressure::default();
        let mut pauses = Vec::new();
        for _ in 0..=MOST {
            p.note(0, LOOK_NS);
            pauses.push(p.pause);
        }
        assert_eq!(pauses, (1..=MOST).chain([MOST]).collect::<Vec<_>>());
        // A little is always left over.
        p.note(LOOK_NS / 3, LOOK_NS);
        assert_eq!(p.pause, MOST);
        pauses.clear();
        for _ in 0..4 {
            p.note(LOOK_NS, LOOK_NS);
            pauses.push(p.pause);
        }
        assert_eq!(pauses, [7, 3, 1, 0]);
        // Nobody wanted the time: it is a while before it is offered again.
        for _ in 0..10 {
            p.note(0, LOOK_NS);
            assert_eq!(p.pause, 0);
        }
        p.note(0, LOOK_NS);
        assert_eq!(p.pause, 1);
    }

    #[test]
    fn idle_time_is_that_of_all_processors() {
        let stat = "cpu  3367358 2331075 1196996 200 30 0 316736 6217 0 0\ncpu0 1 2 3 4 5\n";
        assert_eq!(idle_ns(stat), Some(2_300_000_000));
        assert_eq!(idle_ns("cpu 1 2"), None);
        assert_eq!(idle_ns(""), None);
    }

    #[test]
    fn a_machine_tells_its_idle_time() {
        let mut pacer = MachinePacer::default();
        let before = pacer.idle().unwrap();
        assert!(pacer.idle().unwrap() >= before);
    }
}

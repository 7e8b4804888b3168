//! Monotonic nanoseconds from the processor's time stamp counter.
//!
//! Reading the kernel's clock costs as much as parsing two requests, the counter a third of it.
//! It is used where the kernel itself keeps time by it, which means that the kernel has found it
//! constant, never stopping and equal on all cores, and goes on watching that.
//!
//! Each thread keeps an anchor, one reading of both clocks, and adds to it what the counter has
//! advanced. An anchor serves for [`WINDOW_NS`]; then the next one is taken and the counter's rate
//! is computed anew from the two, so neither an error of the rate nor a moved virtual machine
//! outlives a window. A thread that was told too late a time is not told an earlier one: its next
//! anchor stays ahead and runs slower until the kernel's clock has caught up. Without a rate (the
//! first [`MIN_SPAN_NS`] of a thread), and wherever the counter is not to be trusted, the kernel's
//! clock answers.
//!
//! Guarantees: a thread never sees time go back. Two threads agree to about a microsecond.

use std::cell::Cell;
use std::sync::OnceLock;
use std::time::Instant;

/// How long an anchor serves.
const WINDOW_NS: u64 = 200_000_000;
/// The shortest span from which a rate is computed.
const MIN_SPAN_NS: u64 = 10_000_000;
/// Readings of the two clocks further apart than this were interrupted and are not used.
const MAX_READING_TICKS: u64 = 10_000;
/// Bits behind the binary point of a rate.
const RATE_BITS: u32 = 32;

#[derive(Clone, Copy)]
struct Anchor {
    /// The counter at the anchor.
    ticks: u64,
    /// The kernel's time at the anchor.
    ns: u64,
    /// The time of the anchor as this thread was told it.
    base_ns: u64,
    /// Nanoseconds a tick, in units of 2^-32.
    rate: u64,
    /// Ticks for which the anchor serves; 0 while there is no rate.
    window: u64,
    /// No later answer may be less.
    floor_ns: u64,
}

thread_local! {
    static ANCHOR: Cell<Anchor> = const {
        Cell::new(Anchor { ticks: 0, ns: 0, base_ns: 0, rate: 0, window: 0, floor_ns: 0 })
    };
}

impl Anchor {
    #[inline]
    fn at(&self, delta: u64) -> u64 {
        self.base_ns + ((u128::from(delta) * u128::from(self.rate)) >> RATE_BITS) as u64
    }
}

/// Nanoseconds since the first call in this process.
#[inline]
pub(super) fn now_ns() -> u64 {
    ANCHOR.with(|cell| {
        let anchor = cell.get();
        if anchor.window != 0 {
            let delta = ticks().wrapping_sub(anchor.ticks);
            if delta < anchor.window {
                return anchor.at(delta);
            }
        }
        ask_kernel(cell)
    })
}

fn kernel_ns() -> u64 {
    static START: OnceLock<Instant> = OnceLock::new();
    let elapsed = START.get_or_init(Instant::now).elapsed();
    elapsed.as_secs() * 1_000_000_000 + u64::from(elapsed.subsec_nanos())
}

/// Answers from the kernel's clock, and moves the anchor if that is due and possible.
#[cold]
fn ask_kernel(cell: &Cell<Anchor>) -> u64 {
    let mut anchor = cell.get();
    let before = ticks();
    let ns = kernel_ns();
    let after = ticks();
    if anchor.window != 0 {
        // The greatest value that the old anchor can have given.
        let delta = after.wrapping_sub(anchor.ticks);
        anchor.floor_ns = anchor.at(delta.min(anchor.window));
    }
    let now_ns = ns.max(anchor.floor_ns);
    if is_trusted() && after.wrapping_sub(before) < MAX_READING_TICKS {
        let (span_ns, span_ticks) = (
            ns.saturating_sub(anchor.ns),
            before.wrapping_sub(anchor.ticks),
        );
        if anchor.ns == 0 {
            anchor = Anchor {
                ticks: before,
                ns: ns.max(1),
                ..anchor
            };
        } else if span_ns >= MIN_SPAN_NS && span_ticks > 0 {
            let rate = (u128::from(span_ns) << RATE_BITS) / u128::from(span_ticks);
            anchor = rated(before, ns, now_ns, u64::try_from(rate).unwrap_or(0));
        }
    } else {
        // Begin again with the next undisturbed reading.
        anchor = Anchor {
            ns: 0,
            window: 0,
            ..anchor
        };
    }
    cell.set(anchor);
    now_ns
}

/// An anchor with a rate, which may stand ahead of the kernel's clock. A rate of zero is none.
fn rated(ticks: u64, ns: u64, now_ns: u64, rate: u64) -> Anchor {
    let window = (u128::from(WINDOW_NS) << RATE_BITS)
        .checked_div(u128::from(rate))
        .unwrap_or(0);
    let window = u64::try_from(window).unwrap_or(0);
    let ahead_ns = now_ns.saturating_sub(ns).min(WINDOW_NS / 2);
    let slower = u128::from(rate) * u128::from(ahead_ns) / u128::from(WINDOW_NS);
    let rate = rate - u64::try_from(slower).unwrap_or(0);
    Anchor {
        ticks,
        ns,
        base_ns: now_ns,
        rate,
        window,
        floor_ns: now_ns,
    }
}

/// Whether the kernel keeps its own time by the counter.
fn is_trusted() -> bool {
    const SOURCE: &str = "/sys/devices/system/clocksource/clocksource0/current_clocksource";
    static TRUSTED: OnceLock<bool> = OnceLock::new();
    let by_kernel = || std::fs::read_to_string(SOURCE).is_ok_and(|name| name.trim() == "tsc");
    *TRUSTED.get_or_init(|| cfg!(all(target_arch = "x86_64", not(miri))) && by_kernel())
}

/// The counter; 0 where there is none, which [`is_trusted`] then says.
#[inline]
fn ticks() -> u64 {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    #[expect(
        unsafe_code,
        reason = "RDTSC touches no memory; every x86-64 has it in user mode"
    )]
    // SAFETY: the instruction has no operands and no effect but its result.
    return unsafe { std::arch::x86_64::_rdtsc() };
    #[cfg(not(all(target_arch = "x86_64", not(miri))))]
    return 0;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn follows_the_kernel_across_several_anchors() {
        let started = kernel_ns();
        let mut last = 0;
        while kernel_ns() - started < 700_000_000 {
            let before = kernel_ns();
            let now = now_ns();
            let after = kernel_ns();
            assert!(now >= last, "went back from {last} to {now}");
            assert!(
                now + 50_000 >= before && now <= after + 50_000,
                "{before} <= {now} <= {after}"
            );
            last = now;
        }
    }

    #[test]
    fn a_wrong_rate_is_corrected_without_turning_time_back() {
        if !is_trusted() {
            return;
        }
        while ANCHOR.get().window == 0 {
            now_ns();
        }
        let mut anchor = ANCHOR.get();
        anchor.rate += anchor.rate / 4;
        ANCHOR.set(anchor);
        let started = kernel_ns();
        let mut last = now_ns();
        while kernel_ns() - started < 900_000_000 {
            let now = now_ns();
            assert!(now >= last, "went back from {last} to {now}");
            last = now;
        }
        assert!(now_ns() <= kernel_ns() + 50_000);
    }
}

//! How often the calling thread has lost its processor to another that wanted it.

#![expect(unsafe_code, reason = "getrusage has no safe form for one thread")]

/// Involuntary context switches of the calling thread so far (`ru_nivcsw` in getrusage(2)). They
/// are rare where every busy thread has a processor to itself.
pub fn count() -> u64 {
    // SAFETY: zero is a value of every field, and the call writes none but the structure's own.
    let usage = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        libc::getrusage(libc::RUSAGE_THREAD, &raw mut usage);
        usage
    };
    u64::try_from(usage.ru_nivcsw).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    fn told_by_the_kernel() -> u64 {
        let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
        let line = status
            .lines()
            .find_map(|l| l.strip_prefix("nonvoluntary_ctxt_switches:"));
        line.unwrap().trim().parse().unwrap()
    }

    #[test]
    fn it_is_the_count_that_the_kernel_tells_of_this_thread() {
        let before = told_by_the_kernel();
        let count = super::count();
        assert!((before..=told_by_the_kernel()).contains(&count));
    }
}

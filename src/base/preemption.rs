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
    #[test]
    fn the_count_never_falls() {
        let before = super::count();
        std::thread::yield_now();
        assert!(super::count() >= before);
    }
}

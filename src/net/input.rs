//! The input buffer that a worker's connections share.
//!
//! A connection reads behind what others have read and not run yet. What it has read stays where
//! it is for as long as it says so, and the buffer is empty again when nobody does.

/// See the module.
pub struct Input {
    bytes: Box<[u8]>,
    /// How much of it belongs to somebody.
    taken: usize,
    /// To how many.
    holders: usize,
}

/// What a connection has read. Only good until it awaits something, unless it is held.
#[derive(Debug, Clone, Copy, Default)]
pub struct Fresh {
    from: usize,
    len: usize,
}

impl Fresh {
    /// How many bytes it is.
    pub fn len(self) -> usize {
        self.len
    }
}

impl Input {
    /// An empty buffer of this size.
    pub fn new(bytes: usize) -> Input {
        Input {
            bytes: vec![0; bytes].into(),
            taken: 0,
            holders: 0,
        }
    }

    /// Where the next read goes: half of the buffer at least.
    pub fn free(&mut self) -> &mut [u8] {
        self.bytes.get_mut(self.taken..).unwrap_or_default()
    }

    /// The first `len` bytes of what is free have been read.
    pub fn read(&self, len: usize) -> Fresh {
        let from = self.taken;
        Fresh { from, len }
    }

    /// What was read.
    pub fn get(&self, fresh: Fresh) -> &[u8] {
        let Fresh { from, len } = fresh;
        self.bytes.get(from..from + len).unwrap_or_default()
    }

    /// Keeps what has just been read until [`Input::release`], if that leaves half of the buffer
    /// to others.
    pub fn hold(&mut self, fresh: Fresh) -> bool {
        let end = fresh.from + fresh.len;
        if fresh.from != self.taken || end > self.bytes.len() / 2 {
            return false;
        }
        self.taken = end;
        self.holders += 1;
        true
    }

    /// How many hold something.
    pub fn holders(&self) -> usize {
        self.holders
    }

    /// Who has held something does no more.
    pub fn release(&mut self) {
        self.holders = self.holders.saturating_sub(1);
        if self.holders == 0 {
            self.taken = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(input: &mut Input, bytes: &[u8]) -> Fresh {
        input.free()[..bytes.len()].copy_from_slice(bytes);
        input.read(bytes.len())
    }

    #[test]
    fn what_is_held_stays_while_others_read() {
        let mut input = Input::new(32);
        let first = read(&mut input, b"first");
        assert!(input.hold(first));
        let second = read(&mut input, b"second");
        assert!(input.hold(second));
        let third = read(&mut input, b"not held");
        assert_eq!(input.get(third), b"not held");
        let third = read(&mut input, b"in its place");
        assert_eq!(input.get(third), b"in its place");
        assert_eq!(
            (input.get(first), input.get(second)),
            (&b"first"[..], &b"second"[..])
        );
        input.release();
        let third = read(&mut input, b"3");
        assert_eq!(
            (input.get(second), input.get(third)),
            (&b"second"[..], &b"3"[..])
        );
        input.release();
        assert_eq!(input.free().len(), 32);
    }

    #[test]
    fn half_of_it_is_always_free() {
        let mut input = Input::new(32);
        for _ in 0..3 {
            let five = read(&mut input, b"12345");
            assert!(input.hold(five));
        }
        let more = read(&mut input, b"12345");
        assert!(!input.hold(more));
        assert_eq!(input.free().len(), 17);
        let one = read(&mut input, b"1");
        assert!(input.hold(one) && input.free().len() == 16);
        (0..4).for_each(|_| input.release());
        assert_eq!(input.free().len(), 32);
    }
}

//! The RDB file's name, and who has a file on its way to it: a save, a full sync, a replica.
//!
//! A replica serves what it has received before the disk has all of it: a sync may take seconds.
//! Until then the last good file keeps the name. Who writes or reads a file of that name, or ends
//! the process, waits for the received one: a newer file must not be replaced by an older.

use std::sync::Arc;

use parking_lot::{Condvar, Mutex, MutexGuard};

/// See the module.
#[derive(Debug, Default)]
pub struct RdbName {
    claimed: Mutex<bool>,
    released: Condvar,
}

/// A file will have the name, or not, when this goes.
#[derive(Debug)]
pub struct Claim(Arc<RdbName>);

impl Drop for Claim {
    fn drop(&mut self) {
        *self.0.claimed.lock() = false;
        self.0.released.notify_all();
    }
}

impl RdbName {
    /// Claims the name for a file, behind the one that is on its way.
    pub fn claim(self: &Arc<Self>) -> Claim {
        *self.free() = true;
        Claim(Arc::clone(self))
    }

    /// Waits until no file is on its way to the name.
    pub fn wait(&self) {
        drop(self.free());
    }

    fn free(&self) -> MutexGuard<'_, bool> {
        let mut claimed = self.claimed.lock();
        self.released.wait_while(&mut claimed, |claimed| *claimed);
        claimed
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::time::Duration;

    #[test]
    fn who_wants_the_name_waits_for_the_file_that_is_on_its_way() {
        let name = Arc::new(RdbName::default());
        name.wait();
        let claim = name.claim();
        let is_there = Arc::new(AtomicBool::new(false));
        let (me, flag) = (Arc::clone(&name), Arc::clone(&is_there));
        let saver = std::thread::spawn(move || {
            me.wait();
            assert!(flag.load(Ordering::SeqCst));
            drop(me.claim());
        });
        std::thread::sleep(Duration::from_millis(20));
        is_there.store(true, Ordering::SeqCst);
        drop(claim);
        saver.join().unwrap();
        name.wait();
    }
}

//! Clients that wait for acknowledgements (WAIT, WAITAOF), where CLIENT UNBLOCK finds them.
//!
//! Such a wait holds no place in a queue and takes nothing with it, so ending it is no more than a
//! message to the connection; compare [`super::blocking`].

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::oneshot;

/// What ends a wait: an error, or as if the time were up.
type End = Option<&'static str>;

struct Slot {
    sender: oneshot::Sender<End>,
    has_timeout: bool,
}

/// The clients, by id.
#[derive(Default)]
pub struct AckWaits {
    slots: Mutex<HashMap<u64, Slot>>,
}

impl AckWaits {
    /// A client begins to wait; it does so until the result is dropped.
    pub fn begin(self: &Arc<Self>, client: u64, has_timeout: bool) -> AckWait {
        let (sender, end) = oneshot::channel();
        let slot = Slot {
            sender,
            has_timeout,
        };
        self.slots.lock().insert(client, slot);
        AckWait {
            waits: Arc::clone(self),
            client,
            end,
        }
    }

    /// Ends the wait of a client. Whether it waited.
    pub fn end(&self, client: u64, end: End) -> bool {
        let slot = self.slots.lock().remove(&client);
        slot.is_some_and(|slot| slot.sender.send(end).is_ok())
    }

    /// Number of clients that wait for a limited time.
    pub fn with_timeout(&self) -> usize {
        let slots = self.slots.lock();
        slots.values().filter(|slot| slot.has_timeout).count()
    }
}

/// A wait.
pub struct AckWait {
    waits: Arc<AckWaits>,
    client: u64,
    end: oneshot::Receiver<End>,
}

impl AckWait {
    /// Resolves when somebody ends the wait.
    pub async fn ended(&mut self) -> End {
        match (&mut self.end).await {
            Ok(end) => end,
            Err(_) => std::future::pending().await,
        }
    }
}

impl Drop for AckWait {
    fn drop(&mut self) {
        self.waits.slots.lock().remove(&self.client);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_is_ended_once_and_forgotten_when_it_is_dropped() {
        let waits = Arc::new(AckWaits::default());
        assert!(!waits.end(7, None));
        let mut wait = waits.begin(7, true);
        let other = waits.begin(8, false);
        assert_eq!(waits.with_timeout(), 1);
        assert!(waits.end(7, Some("told")));
        assert!(!waits.end(7, None));
        let ended = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap()
            .block_on(wait.ended());
        assert_eq!(ended, Some("told"));
        drop((wait, other));
        assert!(!waits.end(8, None));
    }
}

//! The slow log: the commands that took longer than `slowlog-log-slower-than`, newest first.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicI64, Ordering};

use parking_lot::Mutex;

use crate::config::is_sensitive;

/// Arguments kept of a command.
const ARGUMENTS_MAX: usize = 32;
/// Bytes kept of an argument.
const ARGUMENT_BYTES_MAX: usize = 128;

/// One slow command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlowEntry {
    /// Ascending number, unique over the server's life.
    pub id: u64,
    /// When it ran, Unix seconds.
    pub unix_s: i64,
    /// How long it took, microseconds.
    pub duration_us: i64,
    /// Its arguments, cut as Redis cuts them.
    pub args: Vec<Vec<u8>>,
    /// The client's address.
    pub addr: String,
    /// The client's name.
    pub name: Vec<u8>,
}

/// The log.
#[derive(Debug, Default)]
pub struct Slowlog {
    entries: Mutex<VecDeque<SlowEntry>>,
    next_id: AtomicI64,
}

impl Slowlog {
    /// Logs a command, keeping at most `max_len` of them.
    pub fn push(&self, mut entry: SlowEntry, max_len: usize) {
        let mut entries = self.entries.lock();
        entry.id = self.next_id.fetch_add(1, Ordering::Relaxed) as u64;
        entries.push_front(entry);
        entries.truncate(max_len);
    }

    /// The newest `count` entries.
    pub fn newest(&self, count: usize) -> Vec<SlowEntry> {
        self.entries.lock().iter().take(count).cloned().collect()
    }

    /// Number of entries.
    pub fn len(&self) -> usize {
        self.entries.lock().len()
    }

    /// Whether it has no entries.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Keeps the newest `max_len` entries.
    pub fn truncate(&self, max_len: usize) {
        self.entries.lock().truncate(max_len);
    }

    /// Forgets all entries.
    pub fn reset(&self) {
        self.entries.lock().clear();
    }
}

/// The arguments of the command with this full name as the slow log keeps them: without secrets,
/// and not too long.
pub fn kept(name: &str, args: &[&[u8]]) -> Vec<Vec<u8>> {
    let mut shown = args.to_vec();
    redact(name, &mut shown);
    trimmed(&shown)
}

/// Hides the secrets among the arguments of a command.
fn redact(name: &str, args: &mut [&[u8]]) {
    const HIDDEN: &[u8] = b"(redacted)";
    match name {
        "auth" => args.iter_mut().skip(1).for_each(|a| *a = HIDDEN),
        "hello" => {
            let auth = args.iter().position(|a| a.eq_ignore_ascii_case(b"auth"));
            if let Some(at) = auth {
                args.iter_mut()
                    .skip(at + 1)
                    .take(2)
                    .for_each(|a| *a = HIDDEN);
            }
        }
        "config|set" => {
            let (pairs, _) = args.get_mut(2..).unwrap_or_default().as_chunks_mut::<2>();
            for [directive, value] in pairs {
                if is_sensitive(directive) {
                    *value = HIDDEN;
                }
            }
        }
        _ => {}
    }
}

fn trimmed(args: &[&[u8]]) -> Vec<Vec<u8>> {
    let kept = if args.len() > ARGUMENTS_MAX {
        ARGUMENTS_MAX - 1
    } else {
        args.len()
    };
    let mut out: Vec<Vec<u8>> = args
        .iter()
        .take(kept)
        .map(|a| match a.get(..ARGUMENT_BYTES_MAX) {
            Some(head) if a.len() > ARGUMENT_BYTES_MAX => {
                let more = a.len() - ARGUMENT_BYTES_MAX;
                [head, format!("... ({more} more bytes)").as_bytes()].concat()
            }
            _ => a.to_vec(),
        })
        .collect();
    if args.len() > kept {
        out.push(format!("... ({} more arguments)", args.len() - kept).into_bytes());
    }
    out
}

//! What a benchmark that is interrupted still has to do: end the servers it started, by their
//! process ids, and remove their data.

use std::path::{Path, PathBuf};
use std::sync::Mutex;

use rustix::process::{Pid, Signal, kill_process};
use tokio::signal::unix::{SignalKind, signal};

use crate::Outcome;

static SERVERS: Mutex<Vec<(u32, PathBuf)>> = Mutex::new(Vec::new());

/// A server runs, with its data in `dir`.
pub fn started(pid: u32, dir: &Path) {
    if let Ok(mut servers) = SERVERS.lock() {
        servers.push((pid, dir.to_owned()));
    }
}

/// It is about to be waited for: its process id may be another's soon.
pub fn ended(pid: u32) {
    if let Ok(mut servers) = SERVERS.lock() {
        servers.retain(|(p, _)| *p != pid);
    }
}

/// Ends the servers, and this process, at SIGINT and SIGTERM.
pub fn on_interruption() -> Outcome<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()?;
    let (mut int, mut term) = {
        let _inside = runtime.enter();
        (
            signal(SignalKind::interrupt())?,
            signal(SignalKind::terminate())?,
        )
    };
    std::thread::spawn(move || {
        let status = runtime.block_on(async {
            tokio::select! {
                _ = int.recv() => 130,
                _ = term.recv() => 143,
            }
        });
        if let Ok(servers) = SERVERS.lock() {
            for (pid, dir) in servers.iter() {
                if let Some(pid) = i32::try_from(*pid).ok().and_then(Pid::from_raw) {
                    // It may have ended by itself.
                    let _ = kill_process(pid, Signal::KILL);
                }
                drop(std::fs::remove_dir_all(dir));
            }
        }
        std::process::exit(status);
    });
    Ok(())
}

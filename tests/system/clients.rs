//! Real clients against a pair started from conf/: redis-py, and Lettuce where Maven is present.
//!
//! `tests/run` prepares what they need under target/clients; without it these tests say what is
//! missing and end.

use crate::pair::Pair;
use std::path::{Path, PathBuf};
use std::process::Command;

fn clients() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients")
}

fn run(command: &mut Command) {
    let done = command.output().unwrap();
    assert!(
        done.status.success(),
        "{command:?}: {}\n{}{}",
        done.status,
        String::from_utf8_lossy(&done.stdout),
        String::from_utf8_lossy(&done.stderr),
    );
}

#[test]
fn redis_py_keeps_sessions_on_a_pair() {
    let python = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/clients/python/bin/python");
    if !python.exists() {
        eprintln!("skipped: no redis-py under target/clients (tests/run installs it)");
        return;
    }
    let pair = Pair::start();
    let ports = [pair.primary.port(), pair.replica.port()].map(|port| port.to_string());
    run(Command::new(python)
        .arg(clients().join("test_redis_py.py"))
        .args(ports));
}

#[test]
fn lettuce_keeps_sessions_on_a_pair() {
    if Command::new("mvn").arg("--version").output().is_err() {
        eprintln!("skipped: Maven is not installed");
        return;
    }
    let pair = Pair::start();
    let ports = [pair.primary.port(), pair.replica.port()];
    run(Command::new("mvn")
        .args(["--batch-mode", "--quiet", "--file"])
        .arg(clients().join("lettuce/pom.xml"))
        .args(["compile", "exec:java"])
        .arg(format!("-Dexec.args={} {}", ports[0], ports[1])));
}

//! Clients with several connections, each on a processor of its own.

use crate::support::{Client, Setup, field_of_clients};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

const CONNECTIONS: usize = 16;
/// How often to look whether each client's connections have come together.
const LOOKS: usize = 400;

/// The calling thread stays on the processor of this number among those that it may use.
fn stay_on(number: usize) {
    let all = sched_getaffinity(None).unwrap();
    let mut usable = (0..CpuSet::MAX_CPU).filter(|cpu| all.is_set(*cpu));
    let mut one = CpuSet::new();
    one.set(usable.nth(number).unwrap());
    sched_setaffinity(None, &one).unwrap();
}

fn processors() -> usize {
    sched_getaffinity(None).unwrap().count() as usize
}

/// Counts on all connections in turn until it shall stop.
fn count(mut connections: Vec<Client>, stop: &AtomicBool) {
    let mut round = 0;
    while !stop.load(Ordering::Relaxed) {
        round += 1;
        for (i, connection) in connections.iter_mut().enumerate() {
            connection
                .send(&["HINCRBY", "mine", &i.to_string(), "1"])
                .unwrap();
        }
        for connection in &mut connections {
            connection.receive().unwrap();
        }
        for connection in &mut connections {
            let total = connection.int(&["INCR", "all"]);
            assert!(total >= round);
        }
    }
}

/// Two clients whose connections came in at the same time, one of each in turn to each thread: the
/// server finds out which belong together, and no request is lost on the way.
#[test]
fn connections_of_one_client_come_together() {
    if processors() < 2 {
        return;
    }
    let server = Setup::russet().set("io-threads", &["2"]).start();
    let mut watcher = server.client();
    let mut clients = [Vec::new(), Vec::new()];
    let mut ids = [Vec::new(), Vec::new()];
    for i in 0..2 * CONNECTIONS {
        let mut connection = server.client();
        let client = i / 2 % 2;
        ids[client].push(connection.int(&["CLIENT", "ID"]) as u64);
        clients[client].push(connection);
    }
    let (stop, mut together) = (AtomicBool::new(false), false);
    thread::scope(|scope| {
        for (number, connections) in clients.into_iter().enumerate() {
            let stop = &stop;
            scope.spawn(move || {
                stay_on(number);
                count(connections, stop);
            });
        }
        together = (0..LOOKS).any(|_| {
            thread::sleep(Duration::from_millis(50));
            ids.iter().all(|ids| {
                let threads = field_of_clients(&mut watcher, ids, "io-thread");
                threads.iter().all(|thread| *thread == threads[0])
            })
        });
        stop.store(true, Ordering::Relaxed);
    });
    assert!(
        together,
        "connections of one client are with several threads"
    );
    let mine: i64 = (0..CONNECTIONS)
        .map(|i| {
            watcher
                .text(&["HGET", "mine", &i.to_string()])
                .parse::<i64>()
                .unwrap()
        })
        .sum();
    let all: i64 = watcher.text(&["GET", "all"]).parse().unwrap();
    assert_eq!(mine, all);
}

//! SORT with STORE of large values, which is done beside the threads that serve clients.

use crate::support::{Client, Reply, Server, Setup, wait_until};
use std::fs;
use std::time::Duration;

const SOON: Duration = Duration::from_secs(30);
const ELEMENTS: usize = 300_000;
/// As many threads as sort at most.
const THREADS: usize = 4;

/// A server with a long list `big`.
fn server_with_a_long_list() -> Server {
    let server = Setup::russet().start();
    let mut client = server.client();
    for first in (0..ELEMENTS).step_by(1000) {
        let mut request = vec!["RPUSH".to_owned(), "big".to_owned()];
        request.extend((first..first + 1000).map(|n| format!("{:x}", n * 7919 % ELEMENTS)));
        client.int(&request);
    }
    server
}

/// How many threads of the server sort or may sort.
fn sorting_threads(control: &mut Client) -> usize {
    let tasks = format!("/proc/{}/task", control.info("process_id"));
    let tasks = fs::read_dir(tasks).unwrap();
    let names = tasks.map(|task| fs::read_to_string(task.unwrap().path().join("comm")));
    names
        .filter(|n| n.as_ref().is_ok_and(|n| n.trim() == "aside"))
        .count()
}

#[test]
fn many_that_sort_share_a_few_threads() {
    let server = server_with_a_long_list();
    let mut control = server.client();
    let mut clients: Vec<_> = (0..12).map(|_| server.client()).collect();
    for (n, client) in clients.iter_mut().enumerate() {
        let request = ["SORT", "big", "ALPHA", "STORE", &format!("sorted:{n}")];
        client.send(&request).unwrap();
    }
    wait_until("the sorting to begin", SOON, || {
        sorting_threads(&mut control) > 0
    });
    for client in &mut clients {
        assert!(sorting_threads(&mut control) <= THREADS);
        assert_eq!(client.receive().unwrap(), Reply::Integer(ELEMENTS as i64));
    }
    assert!(sorting_threads(&mut control) <= THREADS);
    assert_eq!(control.int(&["EXISTS", "sorted:0", "sorted:11"]), 2);
}

#[test]
fn what_forbids_writes_by_then_forbids_the_storing() {
    let server = server_with_a_long_list();
    let mut control = server.client();
    for (directive, value, usual, refusal) in [
        ("min-replicas-to-write", "1", "0", "NOREPLICAS "),
        ("maxmemory", "1mb", "0", "OOM "),
    ] {
        let mut client = server.client();
        client
            .send(&["SORT", "big", "ALPHA", "STORE", "sorted"])
            .unwrap();
        wait_until("the sorting to begin", SOON, || {
            control.info("blocked_clients") == "1"
        });
        control.ok(&["CLIENT", "PAUSE", "60000", "WRITE"]);
        control.ok(&["CONFIG", "SET", directive, value]);
        control.ok(&["CLIENT", "UNPAUSE"]);
        let Reply::Error(error) = client.receive().unwrap() else {
            panic!("it was stored against {directive}");
        };
        assert!(error.starts_with(refusal), "{error}");
        assert_eq!(control.int(&["EXISTS", "sorted"]), 0);
        control.ok(&["CONFIG", "SET", directive, usual]);
    }
}

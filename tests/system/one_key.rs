//! Many clients that want the same key all the time.

use crate::support::{Client, Reply, Setup, encode, field_of_clients, wait_until};
use bytes::BytesMut;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

const CLIENTS: usize = 16;
const PIPELINE: usize = 16;
/// How often to look whether they have come together.
const LOOKS: usize = 400;
/// Processors for server and clients together, however many the machine has.
const PROCESSORS: usize = 2;

/// What is scarce must be: threads that have a processor each are not in each other's way.
fn share_few_processors() {
    let all = sched_getaffinity(None).unwrap();
    let mut few = CpuSet::new();
    (0..CpuSet::MAX_CPU)
        .filter(|cpu| all.is_set(*cpu))
        .take(PROCESSORS)
        .for_each(|cpu| few.set(cpu));
    sched_setaffinity(None, &few).unwrap();
}

/// Adds to the board until it shall stop, in pipelines one of which leaves a transaction open that
/// the next one closes.
fn add(number: usize, client: &mut Client, stop: &AtomicBool) {
    let own = format!("own:{number}");
    let (mut opens, mut closes) = (BytesMut::new(), BytesMut::new());
    encode(&mut closes, &["EXEC"]);
    for i in 0..PIPELINE {
        let member = format!("member:{}", number * PIPELINE + i);
        let score = (i * 7919 % 1000).to_string();
        encode(&mut opens, &["ZADD", "board", &score, &member]);
        encode(&mut closes, &["ZINCRBY", "board", "1", &member]);
    }
    encode(&mut opens, &["MULTI"]);
    encode(&mut opens, &["INCR", &own]);
    let mut round = 0;
    while !stop.load(Ordering::Relaxed) {
        round += 1;
        client.send_bytes(&opens).unwrap();
        for i in 0..PIPELINE {
            let new = i64::from(round == 1);
            assert_eq!(client.receive().unwrap(), Reply::Integer(new), "{i}");
        }
        for word in ["OK", "QUEUED"] {
            let word = Reply::SimpleString(word.as_bytes().to_vec());
            assert_eq!(client.receive().unwrap(), word);
        }
        client.send_bytes(&closes).unwrap();
        let counted = Reply::Array(vec![Reply::Integer(round)]);
        assert_eq!(client.receive().unwrap(), counted);
        for i in 0..PIPELINE {
            let score = (i * 7919 % 1000 + 1).to_string().into_bytes();
            assert_eq!(client.receive().unwrap(), Reply::BulkString(score));
        }
    }
}

/// However the server goes about it that all of them want the key, each is answered in order, and
/// afterwards as many threads serve them as before.
#[test]
fn clients_of_one_key_come_together_and_go_home_afterwards() {
    share_few_processors();
    let server = Setup::russet().set("io-threads", &["2"]).start();
    let mut watcher = server.client();
    let mut clients: Vec<Client> = (0..CLIENTS).map(|_| server.client()).collect();
    let ids: Vec<u64> = clients
        .iter_mut()
        .map(|c| c.int(&["CLIENT", "ID"]) as u64)
        .collect();
    let how_many = |threads: Vec<String>| threads.into_iter().collect::<BTreeSet<_>>().len();
    let before = how_many(field_of_clients(&mut watcher, &ids, "io-thread"));
    let (stop, mut together) = (AtomicBool::new(false), false);
    thread::scope(|scope| {
        for (number, client) in clients.iter_mut().enumerate() {
            let stop = &stop;
            scope.spawn(move || add(number, client, stop));
        }
        together = (0..LOOKS).any(|_| {
            thread::sleep(Duration::from_millis(50));
            let now = field_of_clients(&mut watcher, &ids, "io-thread");
            now.iter().all(|thread| *thread == now[0])
        });
        stop.store(true, Ordering::Relaxed);
    });
    assert!(together, "one thread never served them all");
    wait_until("they are home", Duration::from_secs(30), || {
        clients.iter_mut().for_each(|c| {
            c.call(&["PING"]);
        });
        how_many(field_of_clients(&mut watcher, &ids, "io-thread")) == before
    });
    let board = watcher.int(&["ZCARD", "board"]) as usize;
    assert_eq!(board, CLIENTS * PIPELINE);
}

//! A primary that never finishes a full sync must not cost the replica what it has on disk.
//!
//! The primary here is a thread that speaks just enough of the protocol to begin a full sync, and
//! then sends less than it announced, or something that is no data set.

use crate::support::{Reply, Setup, wait_until};
use redis_protocol::resp2::decode::decode;
use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

const SOON: Duration = Duration::from_secs(20);

/// Answers the handshake, announces a full sync of `announced` bytes and sends `payload`.
struct BrokenPrimary {
    port: u16,
    /// How many full syncs have been sent as far as they go.
    syncs: Arc<AtomicUsize>,
}

impl BrokenPrimary {
    fn sending(payload: Vec<u8>, announced: usize) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let syncs = Arc::new(AtomicUsize::new(0));
        let done = Arc::clone(&syncs);
        thread::spawn(move || {
            for link in listener.incoming() {
                let _ = serve(link.unwrap(), &payload, announced, &done);
            }
        });
        Self { port, syncs }
    }
}

fn serve(
    mut link: TcpStream,
    payload: &[u8],
    announced: usize,
    syncs: &AtomicUsize,
) -> std::io::Result<()> {
    let mut received = Vec::new();
    loop {
        let mut chunk = [0; 4096];
        let count = link.read(&mut chunk)?;
        if count == 0 {
            return Ok(());
        }
        received.extend_from_slice(&chunk[..count]);
        while let Ok(Some((Reply::Array(words), length))) = decode(&received) {
            received.drain(..length);
            let Some(Reply::BulkString(name)) = words.first() else {
                return Ok(());
            };
            match name.to_ascii_uppercase().as_slice() {
                b"PING" => link.write_all(b"+PONG\r\n")?,
                b"PSYNC" => {
                    let replid = "a".repeat(40);
                    write!(link, "+FULLRESYNC {replid} 1000\r\n${announced}\r\n")?;
                    link.write_all(payload)?;
                    syncs.fetch_add(1, Ordering::Relaxed);
                }
                _ => link.write_all(b"+OK\r\n")?,
            }
        }
    }
}

/// The RDB file of a server with other data.
fn foreign_rdb() -> Vec<u8> {
    let setup = Setup::russet();
    let server = setup.start();
    let mut client = server.client();
    for number in 0..2000 {
        client.ok(&["SET", &format!("foreign:{number}"), &"x".repeat(100)]);
    }
    client.ok(&["SAVE"]);
    fs::read(setup.dir().join("dump.rdb")).unwrap()
}

/// A replica with data of its own on disk meets the broken primary, is killed in the middle of
/// it, and must have its data when it starts by itself again.
fn survives(appendonly: &str, payload: Vec<u8>, announced: usize) {
    let setup = Setup::russet().set("appendonly", &[appendonly]);
    let server = setup.start();
    let mut client = server.client();
    for number in 0..100 {
        client.ok(&["SET", &format!("own:{number}"), "value"]);
    }
    if appendonly == "no" {
        client.ok(&["SAVE"]);
    }
    let own = client.digest();
    let primary = BrokenPrimary::sending(payload, announced);
    client.ok(&["REPLICAOF", "127.0.0.1", &primary.port.to_string()]);
    wait_until("the sync to break", SOON, || {
        primary.syncs.load(Ordering::Relaxed) > 0
    });
    thread::sleep(Duration::from_millis(300));
    server.kill();
    let server = setup.start();
    assert_eq!(server.client().digest(), own);
}

#[test]
fn half_a_full_sync_leaves_the_rdb_file_alone() {
    let rdb = foreign_rdb();
    survives("no", rdb[..rdb.len() / 2].to_vec(), rdb.len());
}

#[test]
fn half_a_full_sync_leaves_the_aof_alone() {
    let rdb = foreign_rdb();
    survives("yes", rdb[..rdb.len() / 2].to_vec(), rdb.len());
}

#[test]
fn a_full_sync_that_does_not_load_leaves_the_rdb_file_alone() {
    let mut rdb = foreign_rdb();
    let middle = rdb.len() / 2;
    rdb[middle..].fill(0xfa);
    let announced = rdb.len();
    survives("no", rdb, announced);
}

#[test]
fn a_full_sync_that_does_not_load_leaves_the_aof_alone() {
    let mut rdb = foreign_rdb();
    let middle = rdb.len() / 2;
    rdb[middle..].fill(0xfa);
    let announced = rdb.len();
    survives("yes", rdb, announced);
}

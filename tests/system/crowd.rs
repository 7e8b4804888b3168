//! Clients that are all ready at the same time.

use crate::support::{Client, Reply, Setup};

const CLIENTS: usize = 200;
const ROUNDS: usize = 4;

/// Lets `send` run while the server stands still, so that it finds all that was sent at once.
fn meanwhile(sleeper: &mut Client, send: impl FnOnce()) {
    sleeper.send_bytes(b"PING\r\nDEBUG SLEEP 0.3\r\n").unwrap();
    let pong = Reply::SimpleString(b"PONG".to_vec());
    assert_eq!(sleeper.receive().unwrap(), pong);
    send();
    let ok = Reply::SimpleString(b"OK".to_vec());
    assert_eq!(sleeper.receive().unwrap(), ok);
}

/// Long and short, one request and several, whole and cut off.
fn value(client: usize, round: usize) -> String {
    let len = [3, 60, 700, 980, 2500, 40_000][(client + round) % 6];
    format!("{client}-{round}-").repeat(len / 4)
}

#[test]
fn each_client_of_a_crowd_is_served_what_it_asked_for() {
    let server = Setup::russet().set("io-threads", &["1"]).start();
    let mut sleeper = server.client();
    let mut clients: Vec<_> = (0..CLIENTS).map(|_| server.client()).collect();
    for round in 0..ROUNDS {
        let mut rests = Vec::new();
        meanwhile(&mut sleeper, || {
            for (number, client) in clients.iter_mut().enumerate() {
                let (key, value) = (format!("key:{number}"), value(number, round));
                let set = format!(
                    "*3\r\n$3\r\nSET\r\n${}\r\n{key}\r\n${}\r\n{value}\r\n",
                    key.len(),
                    value.len()
                );
                let get = format!("*2\r\n$3\r\nGET\r\n${}\r\n{key}\r\n", key.len());
                let all = (set + &get).into_bytes();
                let cut = match number % 3 {
                    0 => all.len() - 5,
                    1 => all.len() - get.len(),
                    _ => all.len(),
                };
                let (now, later) = all.split_at(cut);
                client.send_bytes(now).unwrap();
                rests.push(later.to_vec());
            }
        });
        for (number, (client, rest)) in clients.iter_mut().zip(&rests).enumerate() {
            client.send_bytes(rest).unwrap();
            let ok = Reply::SimpleString(b"OK".to_vec());
            assert_eq!(client.receive().unwrap(), ok, "{number}");
            let expected = Reply::BulkString(value(number, round).into_bytes());
            assert!(client.receive().unwrap() == expected, "{number}");
        }
    }
}

#[test]
fn a_client_that_is_killed_runs_nothing_more_though_it_was_ready_too() {
    let server = Setup::russet().set("io-threads", &["1"]).start();
    let mut sleeper = server.client();
    let mut killer = server.client();
    let mut clients: Vec<_> = (0..10).map(|_| server.client()).collect();
    let mut kills: String = clients
        .iter_mut()
        .map(|client| match client.call(&["CLIENT", "ID"]) {
            Reply::Integer(id) => format!("CLIENT KILL ID {id}\r\n"),
            other => panic!("{other:?}"),
        })
        .collect();
    kills += "INCRBY count 0\r\n";
    // Those who are to be killed have been read from when the killer runs.
    meanwhile(&mut sleeper, || {
        for client in &mut clients {
            let incr = b"*2\r\n$4\r\nINCR\r\n$5\r\ncount\r\n";
            client.send_bytes(incr).unwrap();
        }
        killer.send_bytes(kills.as_bytes()).unwrap();
    });
    for _ in &clients {
        assert!(matches!(killer.receive().unwrap(), Reply::Integer(_)));
    }
    let behind_the_kills = killer.receive().unwrap();
    // Each has been closed, whatever it was told before.
    for client in &mut clients {
        while client.receive().is_ok() {}
    }
    assert_eq!(killer.call(&["INCRBY", "count", "0"]), behind_the_kills);
}

//! Clients that do not read what they asked for.

use crate::support::{Client, Server, Setup, wait_until};
use std::time::Duration;

const SOON: Duration = Duration::from_secs(20);

fn server_with_a_big_value() -> Server {
    let server = Setup::russet().start();
    server.client().ok(&["SET", "big", &"v".repeat(1 << 20)]);
    server
}

/// Connects under a name, and asks for so many big values, without reading any.
fn ask(server: &Server, name: &str, values: usize, then: &str) -> Client {
    let mut client = server.client();
    client.ok(&["CLIENT", "SETNAME", name]);
    let requests = "GET big\r\n".repeat(values) + then;
    client.send_bytes(requests.as_bytes()).unwrap();
    client
}

/// A field of a connection's line in CLIENT LIST.
fn field(control: &mut Client, name: &str, field: &str) -> Option<u64> {
    let list = control.text(&["CLIENT", "LIST"]);
    let line = list
        .lines()
        .find(|l| l.contains(&format!("name={name} ")))?;
    let prefix = format!("{field}=");
    let value = line.split(' ').find_map(|f| f.strip_prefix(&prefix));
    Some(value.unwrap().parse().unwrap())
}

#[test]
fn a_blocked_client_that_goes_away_behind_much_that_it_sent_is_given_nothing() {
    let server = Setup::russet().start();
    let mut control = server.client();
    let mut blocked = server.client();
    let much = format!("BLPOP q 0\r\nECHO {}\r\n", "x".repeat(60_000)).into_bytes();
    let more = format!("ECHO {}\r\n", "x".repeat(60_000)).repeat(50);
    blocked.send_bytes(&much).unwrap();
    blocked.send_bytes(more.as_bytes()).unwrap();
    wait_until("the client to block", SOON, || {
        control.info("blocked_clients") == "1"
    });
    drop(blocked);
    wait_until("the client to be gone", SOON, || {
        control.info("blocked_clients") == "0"
    });
    control.int(&["RPUSH", "q", "e"]);
    assert_eq!(control.int(&["LLEN", "q"]), 1);
}

#[test]
fn a_soft_limit_ends_a_client_that_waits_in_a_blocking_command() {
    let server = server_with_a_big_value();
    let mut control = server.client();
    control.ok(&[
        "CONFIG",
        "SET",
        "client-output-buffer-limit",
        "normal 0 1mb 1",
    ]);
    let _slow = ask(&server, "slow", 64, "BLPOP nothing 0\r\n");
    wait_until("the client to block", SOON, || {
        control.info("blocked_clients") == "1"
    });
    wait_until("the soft limit to be over", SOON, || {
        field(&mut control, "slow", "id").is_none()
    });
}

#[test]
fn a_client_that_waits_in_a_blocking_command_is_sent_what_it_had_asked_for() {
    let server = server_with_a_big_value();
    let mut client = ask(&server, "late", 64, "BLPOP nothing 0\r\n");
    let mut control = server.client();
    wait_until("the client to block", SOON, || {
        control.info("blocked_clients") == "1"
    });
    for _ in 0..64 {
        client.receive().unwrap();
    }
}

/// A pause holds commands back, and nothing that was answered before; nor does it keep a client.
#[test]
fn a_client_that_is_held_back_is_sent_what_it_had_asked_for_and_can_be_killed() {
    let server = server_with_a_big_value();
    let mut control = server.client();
    control.ok(&["CLIENT", "PAUSE", "60000", "WRITE"]);
    let mut client = ask(&server, "held", 64, "SET key value\r\n");
    wait_until("the client to be held back", SOON, || {
        control.info("blocked_clients") == "1"
    });
    for _ in 0..64 {
        client.receive().unwrap();
    }
    let id = field(&mut control, "held", "id").unwrap().to_string();
    assert_eq!(control.int(&["CLIENT", "KILL", "ID", &id]), 1);
    wait_until("the client to be gone", SOON, || {
        field(&mut control, "held", "id").is_none()
    });
    assert_eq!(control.int(&["EXISTS", "key"]), 0);
}

/// The end of the pause and that of the client may reach its worker together.
#[test]
fn who_is_killed_during_a_pause_runs_nothing_at_its_end() {
    let server = server_with_a_big_value();
    let mut control = server.client();
    for round in 0..20 {
        control.ok(&["CLIENT", "PAUSE", "60000", "WRITE"]);
        let name = format!("held{round}");
        let _client = ask(&server, &name, 0, "SET key value\r\n");
        wait_until("the client to be held back", SOON, || {
            control.info("blocked_clients") == "1"
        });
        let id = field(&mut control, &name, "id").unwrap();
        let both = format!("CLIENT KILL ID {id}\r\nCLIENT UNPAUSE\r\n");
        control.send_bytes(both.as_bytes()).unwrap();
        control.receive().unwrap();
        control.receive().unwrap();
        wait_until("the client to be gone", SOON, || {
            field(&mut control, &name, "id").is_none()
        });
        assert_eq!(control.int(&["EXISTS", "key"]), 0);
    }
}

#[test]
fn the_room_of_a_long_queue_of_replies_is_given_back_unless_debug_forbids_it() {
    let server = server_with_a_big_value();
    let mut control = server.client();
    for (resizing, is_kept) in [("1", false), ("0", true), ("1", false)] {
        control.ok(&["DEBUG", "REPLYBUFFER", "RESIZING", resizing]);
        let expands = control.info_number("reply_buffer_expands");
        let shrinks = control.info_number("reply_buffer_shrinks");
        let mut client = ask(&server, "queue", 200, "");
        wait_until("replies to queue up", SOON, || {
            field(&mut control, "queue", "rbs") > Some(0)
        });
        for _ in 0..200 {
            client.receive().unwrap();
        }
        // The last of it is still being sent when the last reply is here.
        if is_kept {
            client.text(&["PING"]);
            assert!(field(&mut control, "queue", "rbs") > Some(0));
            assert_eq!(control.info_number("reply_buffer_shrinks"), shrinks);
        } else {
            wait_until("the room to be given back", SOON, || {
                field(&mut control, "queue", "rbs") == Some(0)
            });
            assert!(control.info_number("reply_buffer_shrinks") > shrinks);
        }
        assert!(control.info_number("reply_buffer_expands") > expands);
        drop(client);
        wait_until("the client to be gone", SOON, || {
            field(&mut control, "queue", "id").is_none()
        });
    }
}

//! DEBUG SLEEP stops the server as a whole, whichever of its threads serve whom.

use crate::support::{Reply, Setup};
use std::thread::sleep;
use std::time::{Duration, Instant};

const ROUNDS: usize = 6;
const SLEEP: Duration = Duration::from_millis(500);

/// What arrives while the server sleeps runs before what arrives later, as where one thread does
/// everything: who is answered after the sleep finds done what others had sent before.
#[test]
fn what_arrives_during_a_sleep_runs_before_what_comes_later() {
    let server = Setup::russet().set("io-threads", &["4"]).start();
    let mut setup = server.client();
    setup.call(&["SETRANGE", "bits", "4000000", "x"]);
    for round in 0..ROUNDS {
        let number = round.to_string();
        let mut sleeper = server.client();
        let mut busy = server.client();
        // Connections go to the threads in turn: so they meet in another way each round.
        let others: Vec<_> = (0..round % 4).map(|_| server.client()).collect();
        let mut quick = server.client();
        for client in [&mut sleeper, &mut busy, &mut quick] {
            client.call(&["PING"]);
        }
        // On a loaded machine a thread may come late to what it is sent. The answer to what is in
        // front of it tells that the sleep has been ordered: all threads take it up first thing.
        let begun = Instant::now();
        sleeper.send_bytes(b"PING\r\nDEBUG SLEEP 0.5\r\n").unwrap();
        let pong = Reply::SimpleString(b"PONG".to_vec());
        assert_eq!(sleeper.receive().unwrap(), pong);
        let mut pipeline = "BITCOUNT bits\r\n".repeat(40);
        pipeline += &format!("SET done {number}\r\n");
        busy.send_bytes(pipeline.as_bytes()).unwrap();
        sleep(Duration::from_millis(100));
        quick.call(&["PING"]);
        let answered = begun.elapsed();
        let what = format!("round {round}, answered after {answered:?}");
        assert!(answered >= SLEEP, "{what}");
        assert_eq!(quick.text(&["GET", "done"]), number, "{what}");
        assert_eq!(
            sleeper.receive().unwrap(),
            Reply::SimpleString(b"OK".to_vec())
        );
        drop(others);
    }
}

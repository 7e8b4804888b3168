//! How long a server takes to serve again after a restart, from RDB and from AOF.

use std::time::Instant;

use crate::figures::{Bar, Figure};
use crate::requests::{encode, key, value};
use crate::servers::{Contender, Running};
use crate::{Bench, Outcome, progress};

const KEYS: u64 = 2_000_000;

/// Mostly strings; every tenth key a hash.
fn fill(server: &Running, keys: u64) -> Outcome<()> {
    server.control()?.fill(keys, |i, out| {
        let name = key(i);
        if i.is_multiple_of(10) {
            let (a, b) = (value(i, 12), value(i + 1, 12));
            encode(out, &[b"HSET", name.as_bytes(), b"one", &a, b"two", &b]);
        } else {
            encode(out, &[b"SET", name.as_bytes(), &value(i, 64)]);
        }
    })
}

/// Seconds to load what the server left behind, `rounds` times.
fn measure(
    bench: &Bench,
    contender: &Contender,
    figure: &mut Figure,
    directives: &[&str],
    how: &str,
) -> Outcome<()> {
    let keys = bench.scaled(KEYS);
    let server = contender.start(bench.base_port, directives)?;
    fill(&server, keys)?;
    let mut dir = server.shut_down(how)?;
    let rounds = bench.rounds.min(3);
    for round in 1..=rounds {
        progress(&format!(
            "restart: {}, round {round} of {rounds}, {}",
            figure.name, contender.name
        ));
        let begun = Instant::now();
        let server = contender.start_in(bench.base_port, directives, dir)?;
        figure.add(&contender.name, begun.elapsed().as_secs_f64());
        let size: u64 = server.control()?.ask("DBSIZE")?.parse()?;
        if size != keys {
            return Err(format!("{} came back with {size} keys", contender.name).into());
        }
        dir = server.shut_down("NOSAVE")?;
    }
    Ok(())
}

/// The scenario.
pub fn restart(bench: &Bench) -> Outcome<Vec<Figure>> {
    let mut rdb = Figure::named("from RDB").lower("s").bar(Bar::AtMost(0.5));
    let mut aof = Figure::named("from AOF, all of it commands").lower("s");
    for contender in &bench.contenders {
        measure(bench, contender, &mut rdb, &[], "SAVE")?;
        let directives = ["--appendonly", "yes", "--auto-aof-rewrite-percentage", "0"];
        measure(bench, contender, &mut aof, &directives, "NOSAVE")?;
    }
    Ok(vec![rdb, aof])
}

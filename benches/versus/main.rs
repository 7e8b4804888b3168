//! Russet beside the servers it stands in for, measured in one run on one machine.
//!
//!     cargo bench --bench versus                    every scenario
//!     cargo bench --bench versus -- pipeline memory some of them
//!     cargo bench --bench versus -- --list          what there is
//!
//! What makes the comparison fair:
//!
//! - every server is started the same way, on loopback, with the same settings; the peers are
//!   `redis-server` and `valkey-server` as found on PATH;
//! - rounds are interleaved, A B C C B A, so that what drifts on the machine drifts for all; the
//!   medians count, and the lowest and highest are shown beside them;
//! - throughput comes from a closed loop of requests encoded beforehand, whose replies are counted
//!   and not parsed, so that the load takes as little of the machine as it can;
//! - latency comes from an open loop: requests go out on a schedule, and each is measured from the
//!   instant it was meant to go out, so that a stalled server cannot hide its stall;
//! - the server's processor time (user and system, from /proc) per operation stands beside its
//!   throughput, because the load shares the machine with it.
//!
//! Times belong to the machine; ratios within one run are what can be compared.
//!
//! To add a scenario, write a function of [`Bench`] that gives [`Figure`]s, and name it in
//! [`scenarios::ALL`].

mod chart;
mod control;
mod ending;
mod figures;
mod load;
mod paced;
mod replies;
mod requests;
mod scenarios;
mod servers;

use std::error::Error;
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;

use figures::Figure;
use servers::{Contender, Running};

/// What can go wrong in a benchmark ends it, with its reason.
type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// How the benchmark is run.
#[derive(Parser)]
#[command(about = "Compares Russet with redis-server and valkey-server")]
struct Options {
    /// Scenarios to run; all of them if none is named.
    scenarios: Vec<String>,
    /// Names the scenarios.
    #[arg(long)]
    list: bool,
    /// Rounds of each measurement, for each server.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Seconds that are measured in a round.
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
    /// Depths of the pipelines of `pipeline` (1, 16 and 64) and `types` (16 and 64).
    #[arg(long, value_delimiter = ',')]
    depths: Vec<usize>,
    /// Divides the number of keys, for a quick look.
    #[arg(long, default_value_t = 1)]
    scale_down: u64,
    /// Of the commands of `types` and the loads of `memory` and `fullsync`, only those whose names
    /// contain this; other scenarios run whole.
    #[arg(long)]
    only: Option<String>,
    /// Seconds after which a full sync that does not end is given up.
    #[arg(long, default_value_t = 60)]
    patience: u64,
    /// Another server to stand in Russet's place.
    #[arg(long)]
    server: Option<PathBuf>,
    /// Peers, by the names of their programs; `none` for Russet alone.
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "redis-server,valkey-server"
    )]
    peers: Vec<String>,
    /// I/O threads of the peers; their default if not given.
    #[arg(long)]
    peer_io_threads: Option<u32>,
    /// First of the ports that servers listen on.
    #[arg(long, default_value_t = 24100)]
    base_port: u16,
    /// Given by `cargo bench`.
    #[arg(long, hide = true)]
    bench: bool,
}

/// What a scenario works with.
struct Bench {
    contenders: Vec<Contender>,
    rounds: usize,
    seconds: f64,
    scale_down: u64,
    depths: Vec<usize>,
    base_port: u16,
    only: Option<String>,
    patience: Duration,
}

impl Bench {
    /// Whether figures of this command or load were asked for.
    fn wants(&self, name: &str) -> bool {
        self.only.as_ref().is_none_or(|only| name.contains(only))
    }

    /// The depths of pipelines that were asked for, or these.
    fn depths_or(&self, usual: &[usize]) -> Vec<usize> {
        match self.depths.as_slice() {
            [] => usual.to_vec(),
            asked => asked.to_vec(),
        }
    }

    /// So many keys, or fewer in a quick look.
    fn scaled(&self, keys: u64) -> u64 {
        (keys / self.scale_down.max(1)).max(1000)
    }

    /// How long a round is measured.
    fn measured(&self) -> Duration {
        Duration::from_secs_f64(self.seconds)
    }

    /// Starts every server, with these directives beside the common ones.
    fn start_all(&self, directives: &[&str]) -> Outcome<Vec<Running>> {
        self.contenders
            .iter()
            .map(|c| c.start(self.base_port, directives))
            .collect()
    }

    /// Runs `measure` on each server in turn, forwards and backwards alternately, and gathers
    /// what it gives, one value for each of `names`.
    fn interleave(
        &self,
        what: &str,
        servers: &[Running],
        names: &[&str],
        mut measure: impl FnMut(&Running) -> Outcome<Vec<f64>>,
    ) -> Outcome<Vec<Figure>> {
        let mut figures: Vec<Figure> = names
            .iter()
            .map(|name| Figure::new(&format!("{what} {name}"), servers))
            .collect();
        for round in 0..self.rounds {
            let order: Vec<&Running> = if round % 2 == 0 {
                servers.iter().collect()
            } else {
                servers.iter().rev().collect()
            };
            for server in order {
                progress(&format!(
                    "{} round {} of {}, {}",
                    what,
                    round + 1,
                    self.rounds,
                    server.name
                ));
                for (figure, value) in figures.iter_mut().zip(measure(server)?) {
                    figure.add(&server.name, value);
                }
            }
        }
        Ok(figures)
    }
}

/// Shows what runs now: one line that is written over on a terminal, lines elsewhere.
fn progress(what: &str) {
    let mut err = std::io::stderr();
    let shown = if err.is_terminal() {
        write!(err, "\r\x1b[K{what}").and_then(|()| err.flush())
    } else {
        writeln!(err, "{what}")
    };
    // Nobody to show it to is no reason to stop measuring.
    drop(shown);
}

fn run() -> Outcome<()> {
    let options = Options::parse();
    if options.list {
        for s in scenarios::ALL {
            println!("{:12} {}", s.name, s.about);
        }
        return Ok(());
    }
    let chosen = scenarios::chosen(&options.scenarios)?;
    let russet = options
        .server
        .clone()
        .unwrap_or_else(|| env!("CARGO_BIN_EXE_russet").into());
    let bench = Bench {
        contenders: servers::contenders(&russet, &options.peers, options.peer_io_threads)?,
        rounds: options.rounds.max(1),
        seconds: options.seconds,
        scale_down: options.scale_down,
        depths: options.depths.clone(),
        base_port: options.base_port,
        only: options.only,
        patience: Duration::from_secs(options.patience),
    };
    for c in &bench.contenders {
        println!("{}: {}", c.name, c.version);
    }
    let mut all = Vec::new();
    for scenario in chosen {
        let figures = (scenario.run)(&bench)?;
        progress("");
        println!("\n{}: {}", scenario.name, scenario.about);
        figures::print(&figures);
        all.push((scenario.name, figures));
    }
    let target = Path::new(env!("CARGO_TARGET_TMPDIR"))
        .parent()
        .unwrap_or(Path::new("."));
    let json = figures::json(&bench.contenders, &all);
    std::fs::write(
        target.join("versus.json"),
        serde_json::to_vec_pretty(&json)?,
    )?;
    std::fs::write(target.join("versus.svg"), chart::draw(&all))?;
    println!(
        "\nThe same as {0}/versus.json and {0}/versus.svg",
        target.display()
    );
    Ok(())
}

fn main() -> ExitCode {
    match ending::on_interruption().and_then(|()| run()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("\nversus: {e}");
            ExitCode::FAILURE
        }
    }
}

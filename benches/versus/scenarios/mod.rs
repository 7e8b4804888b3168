//! The scenarios, each a function that measures and gives figures.

mod memory;
mod pipeline;
mod restart;
mod saving;

use crate::figures::Figure;
use crate::{Bench, Outcome};

/// A scenario.
pub struct Scenario {
    /// What it is called on the command line.
    pub name: &'static str,
    /// What it shows.
    pub about: &'static str,
    /// Measures it.
    pub run: fn(&Bench) -> Outcome<Vec<Figure>>,
}

/// All scenarios, in the order in which they run.
pub const ALL: &[Scenario] = &[
    Scenario {
        name: "pipeline",
        about: "GET and SET of 64 bytes by pipeline depth, 50 clients, 100,000 keys",
        run: pipeline::by_depth,
    },
    Scenario {
        name: "sizes",
        about: "GET and SET of 16, 512 and 4096 bytes, 50 clients, pipelines of 16",
        run: pipeline::by_size,
    },
    Scenario {
        name: "keys",
        about: "GET and SET over Zipf keys and over 5,000,000 keys, pipelines of 16",
        run: pipeline::by_keys,
    },
    Scenario {
        name: "mix",
        about: "ten GET to one SET, by pipeline depth",
        run: pipeline::mixed,
    },
    Scenario {
        name: "memory",
        about: "bytes of memory per item, by used_memory",
        run: memory::per_item,
    },
    Scenario {
        name: "bgsave",
        about: "BGSAVE of 2,000,000 keys under 20,000 writes a second",
        run: saving::bgsave,
    },
    Scenario {
        name: "restart",
        about: "seconds until a server with 2,000,000 keys serves again",
        run: restart::restart,
    },
];

/// The scenarios of these names, or all.
pub fn chosen(names: &[String]) -> Outcome<Vec<&'static Scenario>> {
    if names.is_empty() {
        return Ok(ALL.iter().collect());
    }
    names
        .iter()
        .map(|name| {
            ALL.iter()
                .find(|s| s.name == name)
                .ok_or_else(|| format!("there is no scenario {name}; --list names them").into())
        })
        .collect()
}

//! The scenarios, each a function that measures and gives figures.

mod beside;
mod memory;
mod pipeline;
mod replicas;
mod restart;
mod saving;
mod syncs;
mod types;

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
        about: "bytes of memory per item, by used_memory and by resident set",
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
    Scenario {
        name: "types",
        about: "common commands of each data type, 50 clients, pipelines of 16 and 64",
        run: types::common,
    },
    Scenario {
        name: "multi",
        about: "transactions of ten SET, 50 clients",
        run: types::transactions,
    },
    Scenario {
        name: "connections",
        about: "GET over 10, 1,000 and 10,000 connections",
        run: pipeline::by_connections,
    },
    Scenario {
        name: "bigreads",
        about: "whole collections of 1,000,000 elements beside 5,000 GET a second",
        run: beside::big_reads,
    },
    Scenario {
        name: "expiry",
        about: "1,000,000 keys due at once beside 5,000 GET a second",
        run: beside::expiry,
    },
    Scenario {
        name: "inserts",
        about: "20,000,000 new keys beside 2,000 GET a second",
        run: beside::inserts,
    },
    Scenario {
        name: "aof",
        about: "SET under each sync policy, 50 clients, GET beside",
        run: beside::aof,
    },
    Scenario {
        name: "replicas",
        about: "write throughput with 0, 1, 2 and 4 replicas",
        run: replicas::cost,
    },
    Scenario {
        name: "fullsync",
        about: "full sync of 1 GB under the load of 20 clients, to one and to four replicas",
        run: syncs::full_sync,
    },
    Scenario {
        name: "resync",
        about: "partial resync of a replica that was away for 2 s, under the load of 20 clients",
        run: syncs::partial_sync,
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

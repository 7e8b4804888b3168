//! INFO: the sections Redis prints, with the fields of those parts that exist.
//!
//! To add a field, add its line to its section's function; names and order are Redis's, because
//! exporters read by name and some clients by position.

mod commands;
mod memory;
mod server;
mod stats;

use std::fmt::Write as _;

use crate::client::registry::Survey;
use crate::command::host::DbInfo;
use crate::keyspace::value::ValueKind;

use super::host::Parts;

/// Sections that a plain INFO leaves out, and `all` and `everything` add.
const EXTRA: [&str; 2] = ["commandstats", "latencystats"];

/// Sections that only their name asks for.
const BY_NAME: [&str; 1] = ["debug"];

/// The order of all sections.
const ORDER: [&str; 16] = [
    "server",
    "clients",
    "memory",
    "persistence",
    "threads",
    "stats",
    "replication",
    "cpu",
    "modules",
    "commandstats",
    "errorstats",
    "latencystats",
    "cluster",
    "keyspace",
    "keysizes",
    "debug",
];

/// The text for these sections; none stands for the default ones.
pub fn text(
    parts: &Parts,
    sections: &[Vec<u8>],
    databases: &mut dyn FnMut() -> Vec<DbInfo>,
) -> String {
    let asked = |name: &str| {
        let by_name = BY_NAME.contains(&name);
        let is_default = !by_name && !EXTRA.contains(&name);
        if sections.is_empty() {
            return is_default;
        }
        sections.iter().any(|s| match s.as_slice() {
            b"default" => is_default,
            b"all" => (is_default || EXTRA.contains(&name)) && name != "modules",
            b"everything" => !by_name,
            s => s == name.as_bytes(),
        })
    };
    // What this text takes is not what is asked about.
    let used = if asked("memory") {
        memory::Used::now(parts)
    } else {
        memory::Used::default()
    };
    // Every shard is looked at for them.
    let databases = if asked("keyspace") || asked("keysizes") {
        databases()
    } else {
        Vec::new()
    };
    let databases = databases.as_slice();
    let connections = if asked("clients") || asked("threads") {
        parts.engine.clients.survey()
    } else {
        Survey::default()
    };
    let mut out = String::with_capacity(8192);
    for name in ORDER {
        if !asked(name) {
            continue;
        }
        if !out.is_empty() {
            out.push_str("\r\n");
        }
        match name {
            "server" => server::server(parts, &mut out),
            "clients" => server::clients(parts, &connections, &mut out),
            "memory" => memory::memory(parts, &used, &mut out),
            "persistence" => stats::persistence(parts, &mut out),
            "stats" => stats::stats(parts, &mut out),
            "replication" => stats::replication(parts, &mut out),
            "cpu" => server::cpu(&mut out),
            "modules" => out.push_str("# Modules\r\n"),
            "commandstats" => commands::commandstats(parts, &mut out),
            "errorstats" => commands::errorstats(parts, &mut out),
            "latencystats" => commands::latencystats(parts, &mut out),
            "cluster" => out.push_str("# Cluster\r\ncluster_enabled:0\r\n"),
            "debug" => stats::debug(parts, &mut out),
            "threads" => server::threads(parts, &connections, &mut out),
            "keyspace" => keyspace(databases, &mut out),
            _ => keysizes(databases, &mut out),
        }
    }
    out
}

/// Writes `name:value`.
fn line(out: &mut String, name: &str, value: impl Field) {
    out.push_str(name);
    out.push(':');
    value.put(out);
    out.push_str("\r\n");
}

/// A value of a line. Most are numbers and texts, which need no formatter.
trait Field {
    fn put(&self, out: &mut String);
}

impl Field for &str {
    fn put(&self, out: &mut String) {
        out.push_str(self);
    }
}

impl Field for String {
    fn put(&self, out: &mut String) {
        out.push_str(self);
    }
}

impl Field for std::fmt::Arguments<'_> {
    fn put(&self, out: &mut String) {
        let _ = out.write_fmt(*self);
    }
}

macro_rules! integer_fields {
    ($($integer:ty)*) => {$(
        impl Field for $integer {
            fn put(&self, out: &mut String) {
                out.push_str(itoa::Buffer::new().format(*self));
            }
        }
    )*};
}

integer_fields!(u16 u32 u64 usize i32 i64);

fn keyspace(databases: &[DbInfo], out: &mut String) {
    out.push_str("# Keyspace\r\n");
    for (n, db) in databases.iter().enumerate().filter(|(_, db)| db.keys > 0) {
        let _ = write!(
            out,
            "db{n}:keys={},expires={},avg_ttl={},subexpiry={}\r\n",
            db.keys, db.volatile, db.average_ttl_ms, db.timed
        );
    }
}

/// `# Keysizes`: for each type, how many values have which length, by powers of two.
fn keysizes(databases: &[DbInfo], out: &mut String) {
    const TYPES: [(ValueKind, &str); 5] = [
        (ValueKind::String, "strings_sizes"),
        (ValueKind::List, "lists_items"),
        (ValueKind::Set, "sets_items"),
        (ValueKind::Zset, "zsets_items"),
        (ValueKind::Hash, "hashes_items"),
    ];
    out.push_str("# Keysizes\r\n");
    for (n, db) in databases.iter().enumerate() {
        for (kind, name) in TYPES {
            let counted = db.sizes.of(kind);
            let bins: Vec<String> = counted
                .map(|(least, count)| format!("{}={count}", power_of_two(least)))
                .collect();
            if !bins.is_empty() {
                let _ = write!(out, "db{n}_distrib_{name}:{}\r\n", bins.join(","));
            }
        }
    }
}

/// A power of two as a person reads it: `512`, `1K`, `64M`.
fn power_of_two(n: u64) -> String {
    let thousands = n.checked_ilog2().unwrap_or(0) / 10;
    let unit = ["", "K", "M", "G"].get(thousands as usize);
    unit.map_or_else(
        || format!("{}T", n >> 40),
        |unit| format!("{}{unit}", n >> (10 * thousands)),
    )
}

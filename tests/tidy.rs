//! The house rules that a compiler does not check, read from the sources themselves.
//!
//! What is checked, and of which files:
//!
//! - `src`: every path that begins with `crate::` or climbs with `super::` stays inside the import
//!   table of the design ([`TABLE`]), groups (`use crate::{a, b}`) included; `src/main.rs` reaches
//!   the library through `russet::server` alone.
//! - `src`, `tests`, `benches`: a file opens with `//!`, has at most 600 lines of at most 100
//!   columns, its functions have at most 80 lines, and nothing in it is marked as unfinished.
//! - `Cargo.toml`: each dependency, or each run of adjacent ones, stands under a comment that says
//!   what it is for.
//!
//! The sources are cut into tokens first, so neither a comment nor a string literal can be taken
//! for a path or a brace. Macros are read as the text they are, not expanded.
#![cfg(test)]

#[path = "tidy/source.rs"]
mod source;

use source::{Kind, functions, is, references, tokens, word};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

/// A folder of `src` and what it may import: `"folder"` or `"folder::module"`.
type Row = (&'static str, &'static [&'static str]);

const TABLE: &[Row] = &[
    ("base", &[]),
    ("config", &["base"]),
    ("resp", &["base"]),
    ("oplog", &["base", "resp"]),
    ("keyspace", &["base", "oplog::effect"]),
    ("client", &["base", "resp"]),
    ("acl", &["base"]),
    (
        "command",
        &[
            "base", "config", "resp", "oplog", "keyspace", "client", "acl",
        ],
    ),
    (
        "script",
        &[
            "base", "config", "resp", "oplog", "keyspace", "client", "acl", "command",
        ],
    ),
    ("net", &["base", "config", "resp", "client", "command"]),
    ("persist", &["base", "config", "resp", "oplog", "keyspace"]),
    (
        "replication",
        &["base", "config", "resp", "oplog", "client", "persist::rdb"],
    ),
    ("control", &["base", "config", "resp", "keyspace::slots"]),
    (
        "server",
        &[
            "base",
            "config",
            "resp",
            "oplog",
            "keyspace",
            "client",
            "acl",
            "command",
            "script",
            "net",
            "persist",
            "replication",
            "control",
        ],
    ),
];

const MAX_COLUMNS: usize = 100;
const MAX_FILE_LINES: usize = 600;
const MAX_FUNCTION_LINES: usize = 80;

/// Files that may be longer than [`MAX_FILE_LINES`], each with the reason.
const LONG_FILES: &[(&str, &str)] = &[];

/// Functions, as `path::name`, that may be longer than [`MAX_FUNCTION_LINES`], with the reason.
const LONG_FUNCTIONS: &[(&str, &str)] = &[];

/// Says why `path`, named inside `folder`, is against the table; `None` when it is not.
fn refusal(folder: &str, path: &[String]) -> Option<String> {
    let Some(target) = path.first() else {
        return Some("names the crate root".to_owned());
    };
    if target == folder {
        return None;
    }
    if !TABLE.iter().any(|(name, _)| name == target) {
        return Some(format!("names {target}, which is no folder of the table"));
    }
    let full = path
        .get(1)
        .map(|second| format!("{target}::{second}"))
        .unwrap_or_default();
    let allowed = TABLE
        .iter()
        .find(|(name, _)| *name == folder)
        .is_some_and(|(_, allowed)| allowed.iter().any(|a| a == target || **a == full));
    (!allowed).then(|| format!("{folder} may not import {}", path.join("::")))
}

/// The module path of a file below `src`: `keyspace/value/hash.rs` is `keyspace::value::hash`.
fn module_path(below_src: &Path) -> Vec<String> {
    let mut path: Vec<String> = below_src
        .with_extension("")
        .components()
        .map(|part| part.as_os_str().to_string_lossy().into_owned())
        .collect();
    if path.last().is_some_and(|last| last == "mod") {
        path.pop();
    }
    path
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// The Rust files below the folders, as (path from the root, text).
fn sources(folders: &[&str]) -> Vec<(PathBuf, String)> {
    let mut pending: Vec<PathBuf> = folders.iter().map(PathBuf::from).collect();
    let mut found = Vec::new();
    while let Some(folder) = pending.pop() {
        let Ok(entries) = fs::read_dir(root().join(&folder)) else {
            continue;
        };
        for entry in entries {
            let entry = entry.unwrap();
            let path = folder.join(entry.file_name());
            if entry.file_type().unwrap().is_dir() {
                pending.push(path);
            } else if path.extension().is_some_and(|ext| ext == "rs") {
                let text = fs::read_to_string(root().join(&path)).unwrap();
                found.push((path, text));
            }
        }
    }
    found.sort();
    found
}

fn assert_none(what: &str, faults: &[String]) {
    let mut report = String::new();
    for fault in faults {
        writeln!(report, "  {fault}").unwrap();
    }
    assert!(faults.is_empty(), "{what}:\n{report}");
}

#[test]
fn folders_import_only_what_the_table_allows() {
    let mut faults = Vec::new();
    for (path, text) in sources(&["src"]) {
        let below = path.strip_prefix("src").unwrap();
        let module = module_path(below);
        let tokens = tokens(&text);
        if module == ["main"] {
            for (at, token) in tokens.iter().enumerate() {
                let from_library = token.kind == Kind::Word("russet".to_owned())
                    && is(&tokens, at + 1, &Kind::PathSep);
                if from_library && word(&tokens, at + 2) != Some("server") {
                    faults.push(format!("src/main.rs:{}: imports past server", token.line));
                }
            }
            continue;
        }
        let Some(folder) = module.first().filter(|first| *first != "lib") else {
            continue;
        };
        if !TABLE.iter().any(|(name, _)| name == folder) {
            faults.push(format!("{}: {folder} is not in the table", path.display()));
            continue;
        }
        for reference in references(&tokens, &module) {
            if let Some(why) = refusal(folder, &reference.path) {
                faults.push(format!("{}:{}: {why}", path.display(), reference.line));
            }
        }
    }
    assert_none("imports against the table", &faults);
}

#[test]
fn files_open_with_their_purpose() {
    let faults: Vec<String> = sources(&["src", "tests", "benches"])
        .iter()
        .filter(|(_, text)| !text.starts_with("//!"))
        .map(|(path, _)| path.display().to_string())
        .collect();
    assert_none("files that do not begin with //!", &faults);
}

#[test]
fn lines_and_files_stay_short() {
    let mut faults = Vec::new();
    for (path, text) in sources(&["src", "tests", "benches"]) {
        for (number, line) in text.lines().enumerate() {
            let columns = line.chars().count();
            if columns > MAX_COLUMNS {
                faults.push(format!(
                    "{}:{}: {columns} columns",
                    path.display(),
                    number + 1
                ));
            }
        }
        let lines = text.lines().count();
        let excused = LONG_FILES.iter().any(|(file, _)| Path::new(file) == path);
        if lines > MAX_FILE_LINES && !excused {
            faults.push(format!("{}: {lines} lines", path.display()));
        }
    }
    assert_none("longer than the house allows", &faults);
}

#[test]
fn functions_stay_short() {
    let mut faults = Vec::new();
    for (path, text) in sources(&["src", "tests", "benches"]) {
        for (name, first, lines) in functions(&tokens(&text)) {
            let place = format!("{}::{name}", path.display());
            let excused = LONG_FUNCTIONS
                .iter()
                .any(|(function, _)| *function == place);
            if lines > MAX_FUNCTION_LINES && !excused {
                faults.push(format!(
                    "{}:{first}: {name} has {lines} lines",
                    path.display()
                ));
            }
        }
    }
    assert_none("functions longer than the house allows", &faults);
}

#[test]
fn nothing_is_marked_unfinished() {
    let marks = [
        concat!("TO", "DO"),
        concat!("FIX", "ME"),
        concat!("XX", "X:"),
    ];
    let mut faults = Vec::new();
    for (path, text) in sources(&["src", "tests", "benches"]) {
        for (number, line) in text.lines().enumerate() {
            if marks.iter().any(|mark| line.contains(mark)) {
                faults.push(format!(
                    "{}:{}: {}",
                    path.display(),
                    number + 1,
                    line.trim()
                ));
            }
        }
    }
    assert_none("marks of unfinished work", &faults);
}

#[test]
fn dependencies_say_what_they_are_for() {
    let manifest = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let mut faults = Vec::new();
    let mut in_dependencies = false;
    let mut explained = false;
    for line in manifest.lines() {
        let line = line.trim();
        if line.starts_with('[') {
            in_dependencies = line.ends_with("dependencies]");
            explained = false;
        } else if line.is_empty() {
            explained = false;
        } else if line.starts_with('#') {
            explained = true;
        } else if in_dependencies && !explained {
            faults.push(line.to_owned());
        }
    }
    assert_none("dependencies without a comment", &faults);
}

mod the_checks_themselves {
    use super::*;

    fn named(text: &str, module: &[&str]) -> Vec<String> {
        let module: Vec<String> = module.iter().map(|part| (*part).to_owned()).collect();
        references(&tokens(text), &module)
            .iter()
            .map(|r| r.path.join("::"))
            .collect()
    }

    #[test]
    fn groups_are_read_member_by_member() {
        let text = "use crate::{base::num::{parse_i64, NumText}, resp as r, net::*};";
        let expected = [
            "base::num::parse_i64",
            "base::num::NumText",
            "resp",
            "net::*",
        ];
        assert_eq!(named(text, &["oplog"]), expected);
    }

    #[test]
    fn climbing_out_of_a_folder_is_seen() {
        assert_eq!(
            named("use super::super::net::X;", &["base", "num"]),
            ["net::X"]
        );
        assert_eq!(
            named("mod tests { use super::*; }", &["base", "num"]),
            ["base::num::*"]
        );
        let after = "mod a { mod b { } } fn f() { super::glob::x() }";
        assert_eq!(named(after, &["base", "num"]), ["base::glob::x"]);
        assert!(refusal("base", &["net".to_owned()]).is_some());
        assert!(refusal("base", &[]).is_some());
    }

    #[test]
    fn part_of_a_folder_may_be_allowed() {
        let path = |text: &str| -> Vec<String> { text.split("::").map(str::to_owned).collect() };
        assert_eq!(refusal("keyspace", &path("oplog::effect::Effect")), None);
        assert!(refusal("keyspace", &path("oplog::log::Log")).is_some());
        assert!(refusal("keyspace", &path("oplog")).is_some());
    }

    #[test]
    fn comments_and_literals_hold_no_paths_and_no_braces() {
        let text = "// crate::net::a\n/* crate::net /* b */ */ fn f<'a>() { \
                    \"crate::net }\"; r#\"crate::net \" }\"#; b'}'; '\\''; '}'; } fn g() {}";
        assert_eq!(named(text, &["base"]), Vec::<String>::new());
        let found = functions(&tokens(text));
        let names: Vec<&str> = found.iter().map(|(name, _, _)| name.as_str()).collect();
        assert_eq!(names, ["f", "g"]);
    }

    #[test]
    fn a_function_is_counted_from_its_name_to_its_last_brace() {
        let text = "trait T { fn none(x: [u8; 2]); }\nfn two() -> [u8; 2] {\n}\n";
        assert_eq!(functions(&tokens(text)), [("two".to_owned(), 2, 2)]);
    }
}

//! The files that an `include` directive names, wildcards expanded.
//!
//! A pattern is expanded component by component as glob(3) does it: `*`, `?` and `[...]` stay
//! within a component, names that begin with a dot need a pattern that does, and the result is
//! sorted.

use crate::base::glob;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

fn has_wildcard(text: &[u8]) -> bool {
    text.iter().any(|byte| matches!(byte, b'*' | b'?' | b'['))
}

/// The files that `pattern` stands for, seen from `dir`. Without wildcards that is the file of
/// that name, whether it exists or not; with wildcards it is what exists, perhaps nothing.
pub(super) fn expand(dir: &Path, pattern: &[u8]) -> Vec<PathBuf> {
    let path = dir.join(OsStr::from_bytes(pattern));
    if !has_wildcard(pattern) {
        return vec![path];
    }
    let mut found = vec![PathBuf::new()];
    for component in path.components() {
        let name = component.as_os_str();
        found = match component {
            Component::Normal(_) if has_wildcard(name.as_bytes()) => found
                .iter()
                .flat_map(|base| matching(base, name.as_bytes()))
                .collect(),
            _ => found.into_iter().map(|base| base.join(name)).collect(),
        };
    }
    found.retain(|path| path.exists());
    found
}

/// The entries of `dir` that match `pattern`, sorted.
fn matching(dir: &Path, pattern: &[u8]) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(dir) else {
        return Vec::new();
    };
    let pattern = with_caret(pattern);
    let matches = |name: &[u8]| {
        (!name.starts_with(b".") || pattern.starts_with(b"."))
            && glob::matches(&pattern, name, false)
    };
    let mut found: Vec<PathBuf> = entries
        .filter_map(Result::ok)
        .filter(|entry| matches(entry.file_name().as_bytes()))
        .map(|entry| entry.path())
        .collect();
    found.sort();
    found
}

/// glob(3) negates a class with `[!`, our matcher with `[^`.
fn with_caret(pattern: &[u8]) -> Vec<u8> {
    let mut text = pattern.to_vec();
    let mut previous = 0;
    for byte in &mut text {
        if previous == b'[' && *byte == b'!' {
            *byte = b'^';
        }
        previous = *byte;
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wildcards_find_what_exists_in_order() {
        let home = tempfile::tempdir().expect("a temporary directory");
        for name in ["b.conf", "a.conf", ".hidden.conf", "c.txt"] {
            std::fs::write(home.path().join(name), b"").expect("written");
        }
        std::fs::create_dir(home.path().join("sub")).expect("created");
        std::fs::write(home.path().join("sub/a.conf"), b"").expect("written");
        let names = |pattern: &str| {
            let found = expand(home.path(), pattern.as_bytes());
            let relative = |path: &PathBuf| {
                let path = path.strip_prefix(home.path()).expect("inside");
                path.to_string_lossy().into_owned()
            };
            found.iter().map(relative).collect::<Vec<_>>()
        };
        assert_eq!(names("*.conf"), ["a.conf", "b.conf"]);
        assert_eq!(names("[!a].conf"), ["b.conf"]);
        assert_eq!(names("s*/a.conf"), ["sub/a.conf"]);
        assert_eq!(names("nothing*"), Vec::<String>::new());
        assert_eq!(names("absent.conf"), ["absent.conf"]);
    }
}

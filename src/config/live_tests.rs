//! Tests of CONFIG GET and CONFIG SET as a client sees them.

use super::*;
use crate::config::{AppendFsync, Honour, MaxmemoryPolicy};

const FREE: SetContext = SetContext {
    loading: false,
    nested: false,
    protected_allowed: true,
};

fn config() -> Config {
    Config::new(Settings::default(), None, Vec::new())
}

fn shown(config: &Config, patterns: &[&str]) -> Vec<(String, String)> {
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("test values are text");
    config
        .get(patterns)
        .into_iter()
        .map(|(name, value)| (text(name), text(value)))
        .collect()
}

fn value(config: &Config, name: &str) -> String {
    let [(_, value)] = &shown(config, &[name])[..] else {
        panic!("{name} is not one directive")
    };
    value.clone()
}

/// CONFIG SET with side effects that always succeed.
fn set(config: &Config, pairs: &[(&str, &str)]) -> Result<Vec<&'static str>, String> {
    set_in(config, pairs, FREE)
}

fn set_in(
    config: &Config,
    pairs: &[(&str, &str)],
    context: SetContext,
) -> Result<Vec<&'static str>, String> {
    let changed = config.set(pairs, context, &mut |_| Ok(()));
    changed
        .map(|changed| changed.directives)
        .map_err(|error| error.to_string())
}

#[test]
fn get_shows_names_and_aliases_that_match_each_once() {
    let config = config();
    let all = shown(&config, &["maxmemory", "maxmemory*", "bind", "*of"]);
    let names: Vec<_> = all.iter().map(|(name, _)| name.as_str()).collect();
    for expected in [
        "maxmemory",
        "maxmemory-samples",
        "bind",
        "replicaof",
        "slaveof",
    ] {
        assert_eq!(
            names.iter().filter(|name| **name == expected).count(),
            1,
            "{expected}"
        );
    }
    assert_eq!(value(&config, "bind"), "* -::*");
    assert!(shown(&config, &["no-such-directive"]).is_empty());
}

#[test]
fn get_of_an_exact_name_answers_with_the_name_as_written() {
    let config = config();
    let list_size = shown(
        &config,
        &["LIST-Max-listpack-SIZE", "list-max-listpack-size"],
    );
    assert_eq!(
        list_size,
        [("LIST-Max-listpack-SIZE".to_owned(), "-2".to_owned())]
    );
}

#[test]
fn get_shows_hidden_directives_for_their_exact_name_only() {
    let config = config();
    let all = shown(&config, &["*"]);
    assert!(all.iter().all(|(name, _)| name != "key-load-delay"));
    assert_eq!(value(&config, "key-load-delay"), "0");
}

#[test]
fn set_of_several_directives_changes_all_of_them() {
    let config = config();
    let changed = set(
        &config,
        &[
            ("maxmemory", "10000001"),
            ("repl-backlog-size", "64kb"),
            ("save", "3000 5"),
            ("appendfsync", "everysec"),
        ],
    );
    assert_eq!(changed, Ok(vec!["maxmemory", "repl-backlog-size", "save"]));
    let settings = config.settings();
    assert_eq!(settings.memory.maxmemory, 10_000_001);
    assert_eq!(settings.replication.repl_backlog_size, 65_536);
    assert_eq!(value(&config, "save"), "3000 5");
}

#[test]
fn a_wrong_value_leaves_everything_as_it_was() {
    let config = config();
    let before = config.settings();
    let result = set(
        &config,
        &[
            ("maxmemory", "10000001"),
            ("maxmemory-clients", "200%"),
            ("client-query-buffer-limit", "invalid"),
        ],
    );
    let text = "ERR CONFIG SET failed (possibly related to argument 'maxmemory-clients') - \
                percentage argument must be less or equal to 100";
    assert_eq!(result, Err(text.to_owned()));
    assert_eq!(*config.settings(), *before);
}

#[test]
fn a_side_effect_that_fails_is_undone_newest_first_and_nothing_is_published() {
    let config = config();
    let before = config.settings();
    let mut calls = Vec::new();
    let pairs = [("maxmemory", "1mb"), ("port", "1"), ("hz", "50")];
    let result = config.set(&pairs, FREE, &mut |change| {
        calls.push((
            change.directive,
            change.old.network.port,
            change.new.network.port,
        ));
        let fails = change.directive == "port" && change.new.network.port == 1;
        if fails {
            Err("Unable to listen on this port. Check server logs.".to_owned())
        } else {
            Ok(())
        }
    });
    let text = "ERR CONFIG SET failed (possibly related to argument 'port') - \
                Unable to listen on this port. Check server logs.";
    assert_eq!(
        result.map_err(|error| error.to_string()).err(),
        Some(text.to_owned())
    );
    let expected = [
        ("maxmemory", 6379, 1),
        ("port", 6379, 1),
        ("port", 1, 6379),
        ("maxmemory", 1, 6379),
    ];
    assert_eq!(calls, expected);
    assert_eq!(*config.settings(), *before);
}

#[test]
fn a_hook_sees_the_old_settings_published_and_the_new_ones_beside_them() {
    let config = config();
    let result = config.set(&[("hz", "50")], FREE, &mut |change| {
        assert_eq!(
            (config.settings().process.hz, change.new.process.hz),
            (10, 50)
        );
        Ok(())
    });
    let changed = result.expect("valid");
    assert_eq!(
        (changed.directives, changed.settings.process.hz),
        (vec!["hz"], 50)
    );
}

#[test]
fn names_are_checked_before_any_value() {
    let config = config();
    let unknown = "ERR Unknown option or number of arguments for CONFIG SET - 'nO-such'";
    let result = set(&config, &[("port", "x"), ("nO-such", "1")]);
    assert_eq!(result, Err(unknown.to_owned()));
    let immutable = "ERR CONFIG SET failed (possibly related to argument 'Daemonize') - \
                     can't set immutable config";
    assert_eq!(
        set(&config, &[("Daemonize", "yes")]),
        Err(immutable.to_owned())
    );
    let duplicate = "ERR CONFIG SET failed (possibly related to argument 'maxmemory') - \
                     duplicate parameter";
    let result = set(&config, &[("maxmemory", "1"), ("maxmemory", "2")]);
    assert_eq!(result, Err(duplicate.to_owned()));
}

#[test]
fn a_name_and_its_alias_may_both_be_set_and_the_last_one_wins() {
    let config = config();
    let pairs = [("min-slaves-max-lag", "1"), ("min-replicas-max-lag", "2")];
    assert_eq!(set(&config, &pairs), Ok(vec!["min-replicas-max-lag"]));
    assert_eq!(value(&config, "min-slaves-max-lag"), "2");
    let text = "ERR CONFIG SET failed (possibly related to argument 'min-slaves-max-lag') - \
                argument couldn't be parsed into an integer";
    assert_eq!(
        set(&config, &[("MIN-slaves-max-lag", "x")]),
        Err(text.to_owned())
    );
}

#[test]
fn protected_directives_need_permission_and_some_wait_for_a_load() {
    let config = config();
    let guarded = SetContext {
        loading: false,
        nested: false,
        protected_allowed: false,
    };
    let text = "ERR CONFIG SET failed (possibly related to argument 'dbfilename') - \
                can't set protected config";
    assert_eq!(
        set_in(&config, &[("dbfilename", "x.rdb")], guarded),
        Err(text.to_owned())
    );
    assert_eq!(
        set_in(&config, &[("dbfilename", "x.rdb")], FREE),
        Ok(vec!["dbfilename"])
    );
    let loading = SetContext {
        loading: true,
        nested: false,
        protected_allowed: true,
    };
    let text = "LOADING Redis is loading the dataset in memory";
    assert_eq!(
        set_in(&config, &[("dir", "/")], loading),
        Err(text.to_owned())
    );
    assert_eq!(
        set_in(&config, &[("appendonly", "yes")], loading),
        Ok(vec!["appendonly"])
    );
    assert_eq!(
        set_in(&config, &[("loglevel", "debug")], loading),
        Ok(vec!["loglevel"])
    );
}

#[test]
fn what_is_not_there_yet_is_refused_with_its_reason() {
    let config = config();
    let text = "ERR CONFIG SET failed (possibly related to argument 'tls-port') - \
                TLS is not available in this version of Russet";
    assert_eq!(set(&config, &[("tls-port", "6380")]), Err(text.to_owned()));
    assert_eq!(set(&config, &[("tls-port", "0")]), Ok(Vec::new()));
}

#[test]
fn every_directive_takes_the_value_it_shows() {
    let config = config();
    for directive in directives() {
        if directive.flags.has(Flags::IMMUTABLE) || directive.name == "dir" {
            continue;
        }
        let shown = value(&config, directive.name);
        let result = set(&config, &[(directive.name, &shown)]);
        assert_eq!(result, Ok(Vec::new()), "{}", directive.name);
    }
}

#[test]
fn an_empty_value_is_no_arguments_to_a_directive_that_takes_several() {
    let config = config();
    assert_eq!(
        set(&config, &[("client-output-buffer-limit", "")]),
        Ok(Vec::new())
    );
    assert_eq!(set(&config, &[("bind", "")]), Ok(vec!["bind"]));
    assert_eq!(value(&config, "bind"), "");
    let text = "ERR CONFIG SET failed (possibly related to argument 'shutdown-on-sigint') - \
                argument(s) must be one of the following: default, save, nosave, now, force";
    assert_eq!(
        set(&config, &[("shutdown-on-sigint", "")]),
        Err(text.to_owned())
    );
}

#[test]
fn the_vacuous_values_are_kept_and_shown_all_the_same() {
    let config = config();
    let directive = lookup(b"activerehashing").expect("known").directive;
    assert!(matches!(directive.honour, Honour::NoEffect(_)));
    assert_eq!(
        set(&config, &[("activerehashing", "no")]),
        Ok(vec!["activerehashing"])
    );
    assert_eq!(value(&config, "activerehashing"), "no");
}

#[test]
fn a_value_that_is_too_small_or_too_large_to_work_is_brought_into_its_range() {
    let config = config();
    assert_eq!(set(&config, &[("hz", "0")]), Ok(vec!["hz"]));
    assert_eq!(value(&config, "hz"), "1");
    assert_eq!(set(&config, &[("hz", "1000")]), Ok(vec!["hz"]));
    assert_eq!(value(&config, "hz"), "500");
    assert_eq!(
        set(&config, &[("repl-backlog-size", "100")]),
        Ok(vec!["repl-backlog-size"])
    );
    assert_eq!(value(&config, "repl-backlog-size"), "16384");
}

#[test]
fn a_primary_chosen_at_run_time_is_shown_under_both_names() {
    let config = config();
    config.set_replicaof(Some(PrimaryAddress {
        host: "10.0.0.1".to_owned(),
        port: 6380,
    }));
    assert_eq!(value(&config, "replicaof"), "10.0.0.1 6380");
    assert_eq!(value(&config, "slaveof"), "10.0.0.1 6380");
    config.set_replicaof(None);
    assert_eq!(value(&config, "replicaof"), "");
}

#[test]
fn a_reader_keeps_the_settings_it_took() {
    let config = config();
    let taken = config.settings();
    set(&config, &[("appendfsync", "always")]).expect("valid");
    assert_eq!(taken.aof.appendfsync, AppendFsync::EverySecond);
    assert_eq!(config.current().aof.appendfsync, AppendFsync::Always);
    assert_eq!(
        config.current().memory.maxmemory_policy,
        MaxmemoryPolicy::NoEviction
    );
}

#[test]
fn without_a_file_nothing_can_be_rewritten() {
    let error = config().rewrite(false).expect_err("no file was given");
    assert_eq!(
        error.to_string(),
        "ERR The server is running without a config file"
    );
}

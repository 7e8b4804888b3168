//! Tests of loading: files, includes, the command line, and the errors of each.

use super::*;
use crate::config::LogLevel;
use tempfile::TempDir;

fn args(args: &[&str]) -> LoadSource {
    LoadSource::from_args(args.iter().map(OsString::from))
}

fn load(source: &LoadSource) -> Result<Config, LoadError> {
    Config::load(source, &mut |_, _| Ok(()))
}

fn loaded(arguments: &[&str]) -> Config {
    load(&args(arguments)).unwrap_or_else(|error| panic!("{arguments:?}: {error}"))
}

/// The fatal block for a command line, without its heading.
fn refusal(arguments: &[&str]) -> String {
    let error = load(&args(arguments))
        .expect_err("the arguments are wrong")
        .to_string();
    let heading = "\n*** FATAL CONFIG FILE ERROR (Redis 8.0.6) ***\n";
    error
        .strip_prefix(heading)
        .expect("the heading of Redis")
        .to_owned()
}

fn value(config: &Config, name: &str) -> String {
    let shown = config.get(&[name]);
    let [(_, value)] = shown.as_slice() else {
        panic!("{name} is not one directive")
    };
    String::from_utf8(value.clone()).expect("test values are text")
}

/// A directory of configuration files.
struct Files(TempDir);

impl Files {
    fn new(files: &[(&str, &str)]) -> Files {
        let home = tempfile::tempdir().expect("a temporary directory");
        for (name, text) in files {
            std::fs::write(home.path().join(name), text).expect("written");
        }
        Files(home)
    }

    fn path(&self, name: &str) -> String {
        self.0.path().join(name).to_string_lossy().into_owned()
    }
}

#[test]
fn a_file_is_read_line_by_line_with_quotes_and_comments() {
    let files = Files::new(&[(
        "redis.conf",
        "# a comment\r\n\n  PORT 7000\t\nmasterauth \"a \\x62\\n\"\nmasteruser 'it\\'s'\n\
         slaveof host 1\n   # indented\nbind 127.0.0.1 -::1\nlist-max-ziplist-value 64",
    )]);
    let config = loaded(&[&files.path("redis.conf")]);
    let settings = config.settings();
    assert_eq!(settings.network.port, 7000);
    assert_eq!(settings.replication.masterauth.as_bytes(), b"a b\n");
    assert_eq!(settings.replication.masteruser.as_bytes(), b"it's");
    assert_eq!(value(&config, "replicaof"), "host 1");
    assert_eq!(settings.network.bind, ["127.0.0.1", "-::1"]);
    assert_eq!(config.file(), Some(Path::new(&files.path("redis.conf"))));
}

#[test]
fn options_follow_the_file_and_win() {
    let files = Files::new(&[("redis.conf", "port 7000\nloglevel debug")]);
    let config = loaded(&[&files.path("redis.conf"), "--port", "7001"]);
    assert_eq!(config.settings().network.port, 7001);
    assert_eq!(config.settings().process.loglevel, LogLevel::Debug);
}

#[test]
fn the_first_save_replaces_the_defaults_and_the_next_ones_add_up() {
    assert_eq!(value(&loaded(&[]), "save"), "3600 1 300 100 60 10000");
    assert_eq!(value(&loaded(&["--save", "100", "100"]), "save"), "100 100");
    let files = Files::new(&[("redis.conf", "save 900 1\n")]);
    let file = files.path("redis.conf");
    assert_eq!(
        value(&loaded(&[&file, "--save", "100", "100"]), "save"),
        "900 1 100 100"
    );
    assert_eq!(
        value(&loaded(&[&file, "--save", "1 2 3 4"]), "save"),
        "900 1 1 2 3 4"
    );
    assert_eq!(value(&loaded(&[&file, "--save", ""]), "save"), "");
}

#[test]
fn save_without_a_value_means_none_before_another_option_and_at_the_end() {
    let verbose = |config: &Config| config.settings().process.loglevel == LogLevel::Verbose;
    for arguments in [
        &["--save", "--loglevel", "verbose"][..],
        &["--loglevel", "verbose", "--save"],
        &["--save", "", "--loglevel", "verbose"],
        &["--loglevel", "verbose", "--save", ""],
    ] {
        let config = loaded(arguments);
        assert_eq!(value(&config, "save"), "", "{arguments:?}");
        assert!(verbose(&config), "{arguments:?}");
    }
    let config = loaded(&[
        "--proc-title-template",
        "--save",
        "--save",
        "",
        "--loglevel",
        "verbose",
    ]);
    assert_eq!(value(&config, "proc-title-template"), "--save");
    assert_eq!(value(&config, "save"), "");
    assert!(verbose(&config));
}

#[test]
fn a_value_may_look_like_an_option_or_share_the_argument_of_its_name() {
    let config = loaded(&[
        "--proc-title-template",
        "--my--title",
        "--loglevel",
        "verbose",
    ]);
    assert_eq!(value(&config, "proc-title-template"), "--my--title");
    assert_eq!(value(&config, "loglevel"), "verbose");
    let config = loaded(&["--proc-title-template --my--title", "--loglevel verbose"]);
    assert_eq!(value(&config, "proc-title-template"), "--my--title");
    assert_eq!(value(&config, "loglevel"), "verbose");
    let config = loaded(&[
        "--maxmemory '700mb'",
        "--shutdown-on-sigterm",
        "nosave force",
    ]);
    assert_eq!(value(&config, "maxmemory"), "734003200");
    assert_eq!(value(&config, "shutdown-on-sigterm"), "nosave force");
    let config = loaded(&[
        "--shutdown-on-sigint",
        "nosave",
        "force",
        "now",
        "--port",
        "1",
    ]);
    assert_eq!(value(&config, "shutdown-on-sigint"), "nosave now force");
    assert_eq!(
        value(&loaded(&["--replicaof", "host 6379"]), "replicaof"),
        "host 6379"
    );
    assert_eq!(
        value(
            &loaded(&["--slowlog-log-slower-than", "-1"]),
            "slowlog-log-slower-than"
        ),
        "-1"
    );
}

#[test]
fn standard_input_is_the_first_or_the_last_argument() {
    assert!(args(&["-"]).stdin);
    assert!(args(&["-", "--port", "1"]).stdin);
    assert!(args(&["/redis.conf", "-"]).stdin);
    assert!(args(&["--port", "1", "-"]).stdin);
    let between = args(&["--logfile", "-", "--port", "1"]);
    assert!(!between.stdin);
    assert_eq!(between.options, b"logfile \"-\" \nport \"1\" ");
}

#[test]
fn wrong_options_are_told_as_redis_tells_them() {
    for (arguments, expected) in [
        (&["--port"][..], "2\n>>> 'port'\nwrong number of arguments"),
        (
            &["--port", "6380", "--loglevel"],
            "3\n>>> 'loglevel'\nwrong number of arguments",
        ),
        (
            &["--port", "1", "2"],
            "2\n>>> 'port \"1\" \"2\"'\nwrong number of arguments",
        ),
        (
            &["--port", "--loglevel", "verbose"],
            "2\n>>> 'port \"--loglevel\" \"verbose\"'\nwrong number of arguments",
        ),
        (
            &["--port", "--bla", "--loglevel", "verbose"],
            "2\n>>> 'port \"--bla\"'\nargument couldn't be parsed into an integer",
        ),
        (
            &["--shutdown-on-sigint"],
            "2\n>>> 'shutdown-on-sigint'\nargument(s) must be one of the following: default, \
             save, nosave, now, force",
        ),
        (
            &["--replicaof", "--127.0.0.1", "abc"],
            "2\n>>> 'replicaof \"--127.0.0.1\" \"abc\"'\nInvalid master port",
        ),
        (
            &["--replicaof", "--127.0.0.1", "--abc"],
            "2\n>>> 'replicaof \"--127.0.0.1\"'\nwrong number of arguments",
        ),
        (
            &["--invalid"],
            "2\n>>> 'invalid'\nBad directive or wrong number of arguments",
        ),
        (
            &["--unknown", "x"],
            "2\n>>> 'unknown \"x\"'\nBad directive or wrong number of arguments",
        ),
        (
            &["--save", "100"],
            "2\n>>> 'save \"100\"'\nInvalid save parameters",
        ),
        (
            &["--dir", "/no/such"],
            "2\n>>> 'dir \"/no/such\"'\nNo such file or directory",
        ),
    ] {
        let expected = format!("Reading the configuration file, at line {expected}");
        assert_eq!(refusal(arguments), expected, "{arguments:?}");
    }
}

#[test]
fn errors_of_a_file_name_the_line() {
    let files = Files::new(&[("redis.conf", "# one\nport \"21\nport 1\n")]);
    let expected = "Reading the configuration file, at line 2\n>>> 'port \"21'\n\
                    Unbalanced quotes in configuration line";
    assert_eq!(refusal(&[&files.path("redis.conf")]), expected);
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let files = Files::new(&[("redis.conf", "include /no/such.conf\n")]);
    let text = |arguments: &[&str]| load(&args(arguments)).expect_err("absent").to_string();
    let absent = files.path("absent.conf");
    let expected =
        format!("Fatal error, can't open config file '{absent}': No such file or directory");
    assert_eq!(text(&[&absent]), expected);
    let expected = "Fatal error, can't open config file '/no/such.conf': No such file or directory";
    assert_eq!(text(&[&files.path("redis.conf")]), expected);
}

#[test]
fn includes_are_read_where_they_stand_with_wildcards_and_in_order() {
    let files = Files::new(&[("a.conf", "port 1\nhz 20\n"), ("b.conf", "port 2\n")]);
    let main = files.path("main");
    let text = format!("hz 30\ninclude {}\ntimeout 3\n", files.path("*.conf"));
    std::fs::write(&main, text).expect("written");
    let settings = loaded(&[&main]).settings();
    let read = (
        settings.network.port,
        settings.process.hz,
        settings.network.timeout_seconds,
    );
    assert_eq!(read, (2, 20, 3));
    assert!(load(&args(&["--include", &files.path("none*.conf")])).is_ok());
}

#[test]
fn a_relative_include_starts_at_the_directory_set_before_it() {
    let files = Files::new(&[("a.conf", "port 1\n")]);
    let home = files.0.path().to_string_lossy().into_owned();
    let config = loaded(&["--dir", &home, "--include", "a.conf"]);
    assert_eq!(config.settings().network.port, 1);
    let dir = files.0.path().canonicalize().expect("it exists");
    assert_eq!(config.settings().process.dir, dir);
}

#[test]
fn an_error_in_an_included_file_names_the_file() {
    let files = Files::new(&[("a.conf", "port 1\nport x\n")]);
    let path = files.path("a.conf");
    let expected = format!(
        "In the included file '{path}'\nReading the configuration file, at line 2\n\
         >>> 'port x'\nargument couldn't be parsed into an integer"
    );
    assert_eq!(refusal(&["--include", &path]), expected);
}

#[test]
fn a_file_that_includes_itself_is_refused() {
    let files = Files::new(&[]);
    let (one, two) = (files.path("one.conf"), files.path("two.conf"));
    std::fs::write(&one, format!("include {two}\n")).expect("written");
    std::fs::write(&two, format!("include {one}\n")).expect("written");
    assert!(refusal(&[&one]).ends_with(&format!("'{one}' includes itself")));
    assert!(refusal(&["--include", &one]).ends_with(&format!("'{one}' includes itself")));
}

#[test]
fn files_that_include_each_other_twice_over_are_not_read_without_end() {
    let files = Files::new(&[]);
    for level in 0..40 {
        let next = files.path(&format!("{}.conf", level + 1));
        let text = format!("include {next}\ninclude {next}\n");
        std::fs::write(files.path(&format!("{level}.conf")), text).expect("written");
    }
    std::fs::write(files.path("40.conf"), "port 1\n").expect("written");
    assert!(refusal(&[&files.path("0.conf")]).ends_with("too many files are included"));
}

#[test]
fn renamed_commands_are_checked_and_kept_in_order() {
    let mut seen = Vec::new();
    let source = args(&[
        "--rename-command",
        "FLUSHALL",
        "",
        "--rename-command",
        "GET",
        "fetch",
    ]);
    let config = Config::load(&source, &mut |command, new| {
        seen.push((command.to_vec(), new.to_vec()));
        Ok(())
    });
    let config = config.expect("both are taken");
    assert_eq!(config.renamed_commands(), seen);
    assert_eq!(seen[1], (b"GET".to_vec(), b"fetch".to_vec()));
    let source = args(&["--rename-command", "foo", "bar"]);
    let check = &mut |_: &[u8], _: &[u8]| Err("No such command in rename-command".to_owned());
    let error = Config::load(&source, check)
        .expect_err("refused")
        .to_string();
    let expected = "at line 2\n>>> 'rename-command \"foo\" \"bar\"'\n\
                    No such command in rename-command";
    assert!(error.ends_with(expected));
}

#[test]
fn what_is_not_there_is_refused_and_its_absence_is_accepted() {
    for (arguments, reason) in [
        (
            &["--cluster-enabled", "yes"][..],
            "Cluster mode is not available",
        ),
        (&["--tls-port", "1"], "TLS is not available"),
        (
            &["--aclfile", "users.acl"],
            "users and rules are not available",
        ),
        (
            &["--user", "alice", "on"],
            "users and rules are not available",
        ),
        (
            &["--user", "default", "on", "-@all"],
            "users and rules are not available",
        ),
        (&["--loadmodule", "x.so"], "modules are not available"),
        (&["--search.threads", "4"], "modules are not available"),
        (&["--sentinel"], "Sentinel mode is not available"),
    ] {
        assert!(refusal(arguments).contains(reason), "{arguments:?}");
    }
    loaded(&[
        "--cluster-enabled",
        "no",
        "--tls-port",
        "0",
        "--aclfile",
        "",
    ]);
}

#[test]
fn the_line_of_the_default_user_must_agree_with_requirepass() {
    fn user(password: &str) -> Vec<&str> {
        vec![
            "--user",
            "default",
            "on",
            password,
            "sanitize-payload",
            "~*",
            "&*",
            "+@all",
        ]
    }
    loaded(&user("nopass"));
    let hash = String::from_utf8(hex_sha256(b"foo")).expect("hexadecimal");
    let hash = format!("#{hash}");
    loaded(&[&user(&hash)[..], &["--requirepass", "foo"]].concat());
    loaded(&[&["--requirepass", "foo"], &user(">foo")[..]].concat());
    let without_commands = ["--user", "default", "on", "nopass", "~*", "&*"];
    assert!(refusal(&without_commands).contains("users and rules are not available"));
    let without_password = ["--user", "default", "on", "~*", "&*", "+@all"];
    assert!(refusal(&without_password).contains("differs from requirepass"));
    assert!(refusal(&user(&hash)).contains("differs from requirepass"));
    let both = [&user("nopass")[..], &["--requirepass", "foo"]].concat();
    assert!(refusal(&both).contains("differs from requirepass"));
}

#[test]
fn a_log_file_that_cannot_be_opened_is_noticed_before_the_start() {
    let expected = "Can't open the log file: No such file or directory";
    assert_eq!(refusal(&["--logfile", "/no/such/file.log"]), expected);
    let files = Files::new(&[]);
    let home = files.0.path().to_string_lossy().into_owned();
    loaded(&["--logfile", "server.log", "--dir", &home]);
    assert!(files.0.path().join("server.log").exists());
}

#[test]
fn no_text_makes_loading_panic() {
    use proptest::prelude::*;
    let line = prop::sample::select(vec![
        "port",
        "save",
        "include",
        "user",
        "user default",
        "bind",
        "dir",
        "replicaof",
        "client-output-buffer-limit",
        "rename-command",
        "maxmemory-clients",
        "\"",
        "'",
        "\\x",
        "latency-tracking-info-percentiles",
        "shutdown-on-sigint",
        " ",
        "\n",
        "1",
        "-1",
        "yes",
        "99999999999999999999",
        "%",
        "#",
        "\u{0}",
        "é",
        "x.y",
        "nan",
        "proc-title-template {",
    ]);
    let text = prop::collection::vec(line, 0..40).prop_map(|parts| parts.concat());
    // A failure becomes a test of its own, so no file of seeds is kept.
    let config = ProptestConfig {
        failure_persistence: None,
        ..Default::default()
    };
    let mut runner = proptest::test_runner::TestRunner::new(config);
    let result = runner.run(&text, |text| {
        let source = LoadSource {
            options: text.into_bytes(),
            ..LoadSource::default()
        };
        let _ = load(&source);
        Ok(())
    });
    result.expect("loading ends with a configuration or an error");
}

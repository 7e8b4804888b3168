//! Tests of the directives with a grammar of their own.

use super::*;

fn args(text: &str) -> Vec<&[u8]> {
    text.split(' ').map(str::as_bytes).collect()
}

fn parsed<T: PartialEq, C: Codec<T>>(codec: &C, current: T, text: &str) -> Result<String, String> {
    let value = codec.parse(&args(text), &current, false)?;
    Ok(String::from_utf8(codec.show(&value)).expect("test values are text"))
}

fn shown(text: &str) -> Result<String, String> {
    Ok(text.to_owned())
}

fn failed(text: &str) -> Result<String, String> {
    Err(text.to_owned())
}

#[test]
fn save_points_replace_or_extend_the_list() {
    let save = |text| parsed(&Save, Vec::new(), text);
    assert_eq!(save("900 1 300 10"), shown("900 1 300 10"));
    assert_eq!(save(""), shown(""));
    for wrong in ["900", "900 1 5", "0 1", "1 -1", " 900 1", "a b"] {
        assert_eq!(save(wrong), failed("Invalid save parameters"), "{wrong}");
    }
    let first = vec![SavePoint {
        seconds: 1,
        changes: 2,
    }];
    let longer = Save.parse(&args("3 4"), &first, true).expect("valid");
    assert_eq!(Save.show(&longer), b"1 2 3 4");
    assert_eq!(Save.parse(&args(""), &first, true), Ok(Vec::new()));
}

#[test]
fn output_limits_change_only_the_classes_named() {
    let unlimited = OutputLimit {
        hard_bytes: 0,
        soft_bytes: 0,
        soft_seconds: 0,
    };
    let usual = OutputLimits {
        normal: unlimited,
        replica: unlimited,
        pubsub: unlimited,
    };
    let limits = |text| parsed(&OutputLimitsCodec, usual, text);
    let result = limits("replica 1mb 2kb 3");
    assert_eq!(
        result,
        shown("normal 0 0 0 slave 1048576 2048 3 pubsub 0 0 0")
    );
    let problem = failed("Wrong number of arguments in buffer limit configuration.");
    assert_eq!(limits("normal 1 2"), problem);
    let problem = failed("Invalid client class specified in buffer limit configuration.");
    assert_eq!(limits("master 1 2 3"), problem);
    let problem = "Error in hard, soft or soft_seconds setting in buffer limit configuration.";
    assert_eq!(limits("normal x 2 3"), failed(problem));
    assert_eq!(limits("normal 1 2 -3"), failed(problem));
}

#[test]
fn a_primary_is_a_host_and_a_port_or_no_one() {
    let replicaof = |text| parsed(&ReplicaOf, None, text);
    assert_eq!(replicaof("example.org 6379"), shown("example.org 6379"));
    assert_eq!(replicaof("NO one"), shown(""));
    assert_eq!(replicaof("host abc"), failed("Invalid master port"));
    assert_eq!(replicaof("host 65536"), failed("Invalid master port"));
    assert_eq!(replicaof("host"), failed("wrong number of arguments"));
}

#[test]
fn sixteen_addresses_can_be_bound_and_no_more() {
    let bind = |text: &str| parsed(&Bind, Vec::new(), text);
    assert_eq!(bind("127.0.0.1 -::1"), shown("127.0.0.1 -::1"));
    assert_eq!(bind(""), shown(""));
    let many = vec!["a"; 17].join(" ");
    assert_eq!(bind(&many), failed("Too many bind addresses specified."));
}

#[test]
fn shutdown_options_combine_except_for_a_contradiction() {
    let options = |text| parsed(&ShutdownCodec, ShutdownOptions::default(), text);
    assert_eq!(options("now force NOW save"), shown("save now force"));
    assert_eq!(options("default now"), shown("now"));
    assert_eq!(options("default"), shown("default"));
    let problem = "shutdown options SAVE and NOSAVE can't be used simultaneously";
    assert_eq!(options("save nosave"), failed(problem));
    let problem = "argument(s) must be one of the following: default, save, nosave, now, force";
    assert_eq!(options(""), failed(problem));
    let none = ShutdownCodec.parse(&[], &ShutdownOptions::default(), false);
    assert_eq!(none, Err(problem.to_owned()));
}

#[test]
fn percentiles_lie_between_0_and_100() {
    let percentiles = |text| parsed(&Percentiles, Vec::new(), text);
    assert_eq!(percentiles("50.0 99.99 100 1e1"), shown("50 99.99 100 10"));
    assert_eq!(percentiles(""), shown(""));
    let problem = "Invalid latency-tracking-info-percentiles parameters";
    assert_eq!(percentiles("x"), failed(problem));
    let problem = "latency-tracking-info-percentiles parameters should sit between [0.0,100.0]";
    assert_eq!(percentiles("101"), failed(problem));
}

#[test]
fn client_memory_is_bytes_or_percent() {
    let memory = |text| parsed(&MemoryOrPercentCodec, MemoryOrPercent::Bytes(0), text);
    assert_eq!(memory("1mb"), shown("1048576"));
    assert_eq!(memory("5%"), shown("5%"));
    let problem = "percentage argument must be less or equal to 100";
    assert_eq!(memory("200%"), failed(problem));
    assert_eq!(
        memory("%"),
        failed("argument must be a memory or percent value")
    );
    assert_eq!(
        memory("-5%"),
        failed("argument must be a memory or percent value")
    );
}

#[test]
fn a_directory_must_exist_and_is_kept_absolute() {
    let home = tempfile::tempdir().expect("a temporary directory");
    let base = home.path().canonicalize().expect("it exists");
    std::fs::create_dir(base.join("data")).expect("created");
    std::fs::write(base.join("file"), b"").expect("written");
    let dir = |text: &str| parsed(&Directory, base.clone(), text);
    assert_eq!(dir("data"), shown(&base.join("data").to_string_lossy()));
    assert_eq!(dir("./data/.."), shown(&base.to_string_lossy()));
    assert_eq!(dir("absent"), failed("No such file or directory"));
    assert_eq!(dir("file"), failed("Not a directory"));
    assert_eq!(dir(""), failed("No such file or directory"));
}

#[test]
fn oom_scores_are_three_within_bounds() {
    let scores = |text| parsed(&OomScores, [0, 200, 800], text);
    assert_eq!(scores("1 2 3"), shown("1 2 3"));
    assert_eq!(scores("1 2"), failed("wrong number of arguments"));
    let problem = "Invalid oom-score-adj-values, elements must be between -2000 and 2000.";
    assert_eq!(scores("1 2 5000"), failed(problem));
}

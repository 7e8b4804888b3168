//! Hash commands by their replies, effects and events.

use crate::command::testing::TestServer;

#[test]
fn fields_are_set_read_counted_and_removed() {
    let mut t = TestServer::new();
    assert_eq!(t.run("HSET h a 1 b 2 a 3"), ":2");
    assert_eq!(t.run("HGET h a"), r#""3""#);
    assert_eq!(t.run("HMGET h a x b"), r#"["3", nil, "2"]"#);
    assert_eq!(t.run("HSETNX h a 9"), ":0");
    assert_eq!(t.run("HLEN h"), ":2");
    assert_eq!(t.run("HSTRLEN h a"), ":1");
    assert_eq!(t.run("HDEL h a b c"), ":2");
    assert_eq!(t.run("HLEN h"), ":0");
    assert_eq!(t.effects(), ["HSET h a 1 b 2 a 3", "HDEL h a b c"]);
}

#[test]
fn increments_are_exact_and_floats_are_propagated_by_their_result() {
    let mut t = TestServer::new();
    assert_eq!(t.run("HINCRBY h n 5"), ":5");
    assert_eq!(t.run("HINCRBYFLOAT h f 0.1"), r#""0.1""#);
    assert_eq!(t.run("HINCRBYFLOAT h f 0.2"), r#""0.3""#);
    assert_eq!(t.run("HSET h s text"), ":1");
    assert_eq!(t.run("HINCRBY h s 1"), "-ERR hash value is not an integer");
    assert_eq!(
        t.run("HINCRBY h n 9223372036854775807"),
        "-ERR increment or decrement would overflow"
    );
    assert_eq!(
        t.effects(),
        [
            "HINCRBY h n 5",
            "HSET h f 0.1",
            "HSET h f 0.3",
            "HSET h s text"
        ]
    );
}

#[test]
fn a_taken_field_is_gone_the_second_time_it_is_named() {
    let mut t = TestServer::new();
    t.run("HSET h a 1 b 2");
    assert_eq!(t.run("HGETDEL h FIELDS 3 a a x"), r#"["1", nil, nil]"#);
    assert_eq!(t.effects(), ["HSET h a 1 b 2", "HDEL h a"]);
}

#[test]
fn a_large_hash_reads_whole() {
    let mut t = TestServer::new();
    for n in 0..1000 {
        t.run(&format!("HSET h field{n} {n}"));
    }
    assert_eq!(t.run("HVALS h").matches(',').count(), 999);
}

#[test]
fn a_key_of_another_type_is_refused() {
    let mut t = TestServer::new();
    t.run("SET s x");
    let refusal = "-WRONGTYPE Operation against a key holding the wrong kind of value";
    for command in [
        "HGET s f",
        "HSET s f v",
        "HDEL s f",
        "HLEN s",
        "HINCRBY s f 1",
    ] {
        assert_eq!(t.run(command), refusal, "{command}");
    }
}

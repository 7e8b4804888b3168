//! Tests of the CLIENT command.

use crate::command::engine::{Gate, Held};
use crate::command::testing::TestServer;

#[test]
fn a_connection_has_an_id_and_a_name() {
    let mut t = TestServer::new();
    assert_eq!(t.run("CLIENT ID"), ":1");
    assert_eq!(t.run("CLIENT GETNAME"), "nil");
    assert_eq!(t.run("CLIENT SETNAME me"), "+OK");
    assert_eq!(t.run("CLIENT GETNAME"), r#""me""#);
    assert_eq!(
        t.run(r#"CLIENT SETNAME "a b""#),
        "-ERR Client names cannot contain spaces, newlines or special characters."
    );
    assert_eq!(t.run("CLIENT SETNAME ''"), "+OK");
    assert_eq!(t.run("CLIENT GETNAME"), "nil");
}

#[test]
fn a_line_has_the_fields_of_redis_in_their_order() {
    let mut t = TestServer::new();
    t.run("CLIENT SETINFO lib-name some-lib");
    t.run("CLIENT SETINFO LIB-VER 1.2");
    t.advance(3000);
    let line = t.reply("CLIENT INFO").text();
    let names: Vec<&str> = line
        .split_whitespace()
        .map(|f| f.split('=').next().unwrap())
        .collect();
    let wanted = "id addr laddr fd name age idle flags db sub psub ssub multi watch qbuf \
                  qbuf-free argv-mem multi-mem rbs rbp obl oll omem tot-mem events cmd user redir \
                  resp lib-name lib-ver io-thread";
    assert_eq!(names.join(" "), wanted);
    for field in [
        "age=3 idle=0 flags=N db=0 ",
        " multi=-1 watch=0 qbuf=0 qbuf-free=0 argv-mem=10 ",
        " cmd=client|info user=default redir=-1 resp=2 lib-name=some-lib lib-ver=1.2 ",
    ] {
        assert!(line.contains(field), "{field} in {line}");
    }
    assert!(line.ends_with("io-thread=0\n"), "{line}");
}

#[test]
fn flags_tell_the_state_of_a_connection() {
    let mut t = TestServer::new();
    let mut other = t.client();
    other.run("WATCH k");
    other.run("MULTI");
    other.run("ECHO 12345");
    other.run("CLIENT NO-EVICT ON");
    let line = t.reply("CLIENT LIST ID 2").text();
    assert!(line.contains(" flags=x "), "{line}");
    assert!(line.contains(" multi=2 watch=1 "), "{line}");
    assert!(line.contains(" multi-mem=25 "), "{line}");
    t.run("SET k v");
    other.run("EXEC");
    other.run("CLIENT NO-TOUCH ON");
    other.run("CLIENT NO-EVICT ON");
    let line = t.reply("CLIENT LIST ID 2").text();
    assert!(line.contains(" flags=eT "), "{line}");
    assert!(line.contains(" cmd=client|no-evict "), "{line}");
}

#[test]
fn a_list_can_be_narrowed() {
    let mut t = TestServer::new();
    let _other = t.client();
    let lines = |text: String| text.lines().count();
    assert_eq!(lines(t.reply("CLIENT LIST").text()), 2);
    assert_eq!(lines(t.reply("CLIENT LIST TYPE normal").text()), 2);
    assert_eq!(lines(t.reply("CLIENT LIST TYPE replica").text()), 0);
    assert_eq!(lines(t.reply("CLIENT LIST ID 2 77 1").text()), 2);
    assert_eq!(t.run("CLIENT LIST ID x"), "-ERR Invalid client ID");
    assert_eq!(t.run("CLIENT LIST ID"), "-ERR syntax error");
    assert_eq!(t.run("CLIENT LIST TYPE x"), "-ERR Unknown client type 'x'");
}

#[test]
fn killing_others_takes_them_off_the_list() {
    let mut t = TestServer::new();
    let other = t.client();
    assert_eq!(t.run("CLIENT KILL 1.1.1.1:1"), "-ERR No such client");
    assert_eq!(t.run("CLIENT KILL ID 2 TYPE pubsub"), ":0");
    assert_eq!(t.run("CLIENT KILL TYPE normal"), ":1");
    assert!(other.session.client.is_killed());
    assert!(!t.session.closing);
    assert_eq!(t.reply("CLIENT LIST").text().lines().count(), 1);
    assert_eq!(
        t.run("CLIENT KILL ID 0"),
        "-ERR client-id should be greater than 0"
    );
    assert_eq!(
        t.run("CLIENT KILL USER nobody"),
        "-ERR No such user 'nobody'"
    );
    assert_eq!(t.run("CLIENT KILL ID 1 SKIPME"), "-ERR syntax error");
}

#[test]
fn age_and_user_are_conditions_too() {
    let mut t = TestServer::new();
    let _old = t.client();
    t.advance(5000);
    assert_eq!(t.run("CLIENT KILL MAXAGE 6 USER default"), ":0");
    assert_eq!(t.run("CLIENT KILL MAXAGE 5 USER default"), ":1");
    assert_eq!(
        t.run("CLIENT KILL MAXAGE 0"),
        "-ERR maxage should be greater than 0"
    );
}

#[test]
fn a_transaction_that_kills_its_own_connection_is_replied_to() {
    let mut t = TestServer::new();
    t.run("MULTI");
    t.run("CLIENT KILL TYPE normal SKIPME no");
    t.run("ECHO still");
    assert_eq!(t.run("EXEC"), r#"[:1, "still"]"#);
    assert!(t.session.closing);
}

#[test]
fn replies_can_be_turned_off_and_skipped() {
    let mut t = TestServer::new();
    let ping: &[&[u8]] = &[b"PING"];
    let mode = |m: &'static [u8]| -> Vec<&'static [u8]> { vec![b"CLIENT", b"REPLY", m] };
    let (off, on, skip) = (mode(b"OFF"), mode(b"ON"), mode(b"SKIP"));
    assert_eq!(t.pipeline(&[&off, ping, ping, &on]).len(), 1);
    assert_eq!(t.pipeline(&[&skip, ping, ping]).len(), 1);
    assert_eq!(t.pipeline(&[&skip, &skip, ping, ping]).len(), 1);
    assert_eq!(t.run("CLIENT REPLY x"), "-ERR syntax error");
}

#[test]
fn a_pause_holds_back_what_it_names() {
    let mut t = TestServer::new();
    assert_eq!(t.run("CLIENT PAUSE 1000 WRITE"), "+OK");
    assert_eq!(t.run("GET k"), "nil");
    let until = |concerns: fn(Held) -> bool| t.engine.pause.until(1_700_000_000_999, concerns);
    assert_eq!(until(|held| held == Held::Writes), Some(1_700_000_001_000));
    assert_eq!(until(|held| held == Held::All), None);
    assert_eq!(t.run("CLIENT UNPAUSE"), "+OK");
    assert_eq!(t.run("SET k v"), "+OK");
    t.run("CLIENT PAUSE 100 ALL");
    t.advance(100);
    t.run("CLIENT PAUSE 1000 WRITE");
    assert_eq!(
        t.run("GET k"),
        r#""v""#,
        "a pause that is over widens no other"
    );
    t.run("CLIENT PAUSE 1000 WRITE");
    assert_eq!(t.run("MULTI"), "+OK");
    assert!(t.paused_ms("SET k w").is_some(), "a write that is queued");
    t.engine.gates.set(Gate::FEW_REPLICAS, true);
    assert_eq!(
        t.run("SET k w"),
        "-NOREPLICAS Not enough good replicas to write.",
        "what is refused is refused at once"
    );
    t.engine.gates.set(Gate::FEW_REPLICAS, false);
    t.run("DISCARD");
    t.run("CLIENT UNPAUSE");
    assert_eq!(t.run("CLIENT PAUSE -1"), "-ERR timeout is negative");
    assert_eq!(
        t.run("CLIENT PAUSE 9223372036854775807"),
        "-ERR timeout is out of range"
    );
    assert_eq!(
        t.run("CLIENT PAUSE 1 x"),
        "-ERR CLIENT PAUSE mode must be WRITE or ALL"
    );
}

#[test]
fn a_load_is_told_only_when_it_lasts() {
    let mut t = TestServer::new();
    let mut c = t.client();
    t.engine.begin_loading(1_700_000_000_000);
    assert_eq!(t.run("CLIENT ID"), ":1");
    assert_eq!(
        c.paused_ms("GET k"),
        Some(250),
        "it may be over in a moment"
    );
    assert_eq!(c.paused_ms("REPLICAOF NO ONE"), Some(250));
    t.advance(250);
    let loading = "-LOADING Redis is loading the dataset in memory";
    assert_eq!(t.run("GET k"), loading);
    t.engine.end_loading(1_700_000_000_250);
    t.engine.begin_loading(1_700_000_000_250);
    t.engine.end_loading(1_700_000_000_250);
    assert_eq!(
        t.run("GET k"),
        "nil",
        "nobody waits for a load that is over"
    );
}

#[test]
fn beside_a_load_runs_only_what_may() {
    let mut t = TestServer::new();
    t.run("SET k v");
    t.engine.begin_loading_beside(1_700_000_000_000);
    let mut c = t.client();
    assert_eq!(c.paused_ms("BGSAVE"), Some(250), "it may be over");
    t.advance(250);
    let loading = "-LOADING Redis is loading the dataset in memory";
    t.expect(&[
        ("GET k", r#""v""#),
        ("REPLICAOF NO ONE", loading),
        ("BGSAVE", loading),
        ("MULTI", "+OK"),
        ("GET k", "+QUEUED"),
        ("SAVE", loading),
        (
            "EXEC",
            "-EXECABORT Transaction discarded because of previous errors.",
        ),
        ("CONFIG SET repl-diskless-load disabled", loading),
    ]);
    t.engine.end_loading(1_700_000_000_250);
    assert_ne!(t.run("REPLICAOF NO ONE"), loading);
}

#[test]
fn an_exec_that_is_refused_ends_its_transaction() {
    let mut t = TestServer::new();
    let refusal = "-EXECABORT Transaction discarded because of: wrong number of arguments for \
                   'exec' command";
    t.expect(&[
        ("MULTI", "+OK"),
        ("EXEC x", refusal),
        ("EXEC", "-ERR EXEC without MULTI"),
        ("EXEC x", refusal),
    ]);
}

#[test]
fn a_subcommand_is_queued_whatever_it_is_called() {
    let mut t = TestServer::new();
    t.expect(&[
        ("MULTI", "+OK"),
        ("SLOWLOG RESET", "+QUEUED"),
        ("LATENCY RESET", "+QUEUED"),
        ("DISCARD", "+OK"),
    ]);
}

#[test]
fn nobody_waits_to_be_unblocked() {
    let mut t = TestServer::new();
    t.expect(&[
        (
            "CLIENT UNBLOCK 1 TIMEOUT x",
            "-ERR unknown subcommand or wrong number of arguments for 'UNBLOCK'. Try CLIENT HELP.",
        ),
        (
            "CLIENT PAUSE 0 WRITE x",
            "-ERR unknown subcommand or wrong number of arguments for 'PAUSE'. Try CLIENT HELP.",
        ),
    ]);
    assert_eq!(t.run("CLIENT UNBLOCK 1"), ":0");
    assert_eq!(t.run("CLIENT UNBLOCK 1 ERROR"), ":0");
    assert_eq!(
        t.run("CLIENT UNBLOCK 1 x"),
        "-ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR"
    );
    let maint = t.run("CLIENT MAINT_NOTIFICATIONS ON");
    assert!(maint.starts_with("-ERR unknown subcommand"), "{maint}");
}

#[test]
fn a_client_that_waits_is_unblocked_by_another() {
    let mut t = TestServer::new();
    let mut c = t.client();
    let id = c.session.client.id;
    for (reason, reply) in [
        ("", "nil-array"),
        ("TIMEOUT", "nil-array"),
        ("ERROR", "-UNBLOCKED client unblocked via CLIENT UNBLOCK"),
    ] {
        let mut waiting = c.begin("BLPOP k 0");
        assert_eq!(t.run(&format!("CLIENT UNBLOCK {id} {reason}")), ":1");
        assert_eq!(t.run(&format!("CLIENT UNBLOCK {id} {reason}")), ":0");
        t.run("RPUSH k a");
        assert_eq!(c.reply_to(&mut waiting).as_deref(), Some(reply));
        assert_eq!(t.run("LPOP k"), r#""a""#);
    }
}

#[test]
fn a_killed_client_takes_nothing_any_more() {
    let mut t = TestServer::new();
    let mut c = t.client();
    let id = c.session.client.id;
    let mut waiting = c.begin("BLPOP k 0");
    t.expect(&[
        (&format!("CLIENT KILL ID {id}"), ":1"),
        ("RPUSH k a", ":1"),
        ("LLEN k", ":1"),
    ]);
    assert_eq!(c.reply_to(&mut waiting), None);
    assert!(c.session.closing);
}

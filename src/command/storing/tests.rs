//! Results stored within a unit and beside the workers: the same, whoever makes them, and what
//! happens meanwhile.

use crate::command::engine::{Held, PauseReason};
use crate::command::session::ReplyMode;
use crate::command::testing::{Begun, START_MS, TestServer};
use crate::keyspace::locks::ShardMask;
use crate::keyspace::value::list::{End, List};
use crate::keyspace::value::set::Set;
use crate::keyspace::value::zset::Zset;
use crate::resp::errors;

const MEMBERS: i32 = 5000;

/// A server with large sets `s1` (0..5000) and `s2` (2500..7500), sorted sets `z1` and `z2` of the
/// same, a list `l` and places `g`.
fn server() -> TestServer {
    let t = TestServer::with(&["--notify-keyspace-events", "KEA"]);
    for (n, from) in [(1, 0), (2, MEMBERS / 2)] {
        let (mut set, mut zset) = (Set::new(), Zset::new());
        for i in from..from + MEMBERS {
            let member = format!("m{i}");
            set.add(member.as_bytes(), &Default::default());
            zset.insert(&Default::default(), member.as_bytes(), f64::from(i) / 8.0);
        }
        t.put(format!("s{n}").as_bytes(), set.into());
        t.put(format!("z{n}").as_bytes(), zset.into());
    }
    let mut list = List::default();
    for i in 0..MEMBERS {
        list.push(
            Default::default(),
            End::Tail,
            &[(i * 7 % MEMBERS).to_string().as_bytes()],
        );
    }
    t.put(b"l", list.into());
    t
}

/// With threads beside the workers.
fn with_threads() -> TestServer {
    let mut t = server();
    add_places(&mut t);
    t.have_threads();
    t
}

fn add_places(t: &mut TestServer) {
    let place = |i| format!("{} {} p{i}", f64::from(i) / 3000.0, f64::from(i) / 6000.0);
    let places: Vec<String> = (0..MEMBERS).map(place).collect();
    t.run(&format!("GEOADD g {}", places.join(" ")));
    t.effects();
    t.events();
}

fn watched_keys(t: &TestServer) -> usize {
    let mut locked = t.engine.keyspace.lock(ShardMask::ALL);
    let shards = locked.mask();
    shards
        .iter()
        .filter_map(|i| locked.shard(i).map(|s| s.watched_keys()))
        .sum()
}

/// Lets the threads do what waits, and gives the reply.
fn end(t: &mut TestServer, begun: &mut Begun) -> String {
    t.do_work();
    t.reply_to(begun).expect("it is stored")
}

/// What a key holds, in an order of its own.
fn content(t: &mut TestServer, key: &str) -> Vec<String> {
    let line = match t.run(&format!("TYPE {key}")).as_str() {
        "+set" => format!("SMEMBERS {key}"),
        "+zset" => format!("ZRANGE {key} 0 -1 WITHSCORES"),
        "+list" => format!("LRANGE {key} 0 -1"),
        _ => return Vec::new(),
    };
    let is_set = line.starts_with("SMEMBERS");
    let mut content: Vec<String> = t.reply(&line).elements().iter().map(|e| e.text()).collect();
    if is_set {
        content.sort_unstable();
    }
    content
}

const COMMANDS: [&str; 13] = [
    "SUNIONSTORE d s1 s2",
    "SINTERSTORE d s1 s2",
    "SDIFFSTORE d s1 s2",
    "SDIFFSTORE s1 s1 s2",
    "ZUNIONSTORE d 2 z1 z2 WEIGHTS 2 3 AGGREGATE MAX",
    "ZUNIONSTORE z2 3 z1 s1 z2",
    "ZINTERSTORE d 2 z1 s2",
    "ZDIFFSTORE d 2 z1 z2",
    "ZDIFFSTORE d 2 z1 z1",
    "ZRANGESTORE d z1 10 -20 REV",
    "ZRANGESTORE d z1 5 600 BYSCORE LIMIT 7 4000",
    "GEOSEARCHSTORE d g FROMLONLAT 0.5 0.25 BYRADIUS 80 km DESC STOREDIST",
    "GEORADIUS g 0.5 0.25 80 km STORE d",
];

/// The key at which a command stores.
fn target_of(command: &str) -> &str {
    let first = command.split(' ').nth(1).unwrap();
    if first == "g" { "d" } else { first }
}

#[test]
fn what_is_made_beside_the_workers_is_what_is_made_at_once() {
    for command in COMMANDS {
        let (mut now, mut later) = (server(), with_threads());
        add_places(&mut now);
        for t in [&mut now, &mut later] {
            t.run("SET d old EX 1000");
            t.effects();
            t.events();
        }
        let target = target_of(command);
        let mut begun = later.begin(command);
        assert_eq!(later.run("GET d"), r#""old""#, "{command}");
        let reply = end(&mut later, &mut begun);
        assert_eq!(reply, now.run(command), "{command}");
        assert_eq!(content(&mut later, target), content(&mut now, target));
        assert_eq!(
            later.run(&format!("TTL {target}")),
            now.run(&format!("TTL {target}"))
        );
        let dirty = |t: &TestServer| t.engine.keyspace.dirty();
        assert_eq!(dirty(&later), dirty(&now), "{command}");
        let encoding = format!("OBJECT ENCODING {target}");
        assert_eq!(later.run(&encoding), now.run(&encoding), "{command}");
        assert_eq!(later.effects(), [command]);
        assert_eq!(now.effects(), [command]);
        assert_eq!(later.events(), now.events(), "{command}");
        assert_eq!(watched_keys(&later), 0);
    }
}

#[test]
fn what_was_changed_meanwhile_is_stored_as_it_was_and_logged_as_it_is() {
    for command in COMMANDS {
        for change in [
            "SADD s1 new|SREM s2 m3000|ZADD z1 1 m700|ZREM z2 m2800|GEOADD g 1 1 p1000",
            "DEL s1 s2 z1 z2 g",
            "FLUSHALL",
            "SWAPDB 0 1",
        ] {
            let (mut now, mut later) = (server(), with_threads());
            add_places(&mut now);
            let target = target_of(command);
            let mut begun = later.begin(command);
            change.split('|').for_each(|line| {
                later.client().run(line);
            });
            let before = later.effects();
            let reply = end(&mut later, &mut begun);
            assert_eq!(reply, now.run(command), "{command}");
            assert_eq!(
                content(&mut later, target),
                content(&mut now, target),
                "{command}"
            );
            let effects = later.effects();
            let mut replica = server();
            add_places(&mut replica);
            for line in before.iter().chain(&effects) {
                replica.run(line);
            }
            assert_eq!(
                content(&mut replica, target),
                content(&mut later, target),
                "{command}"
            );
            let words: usize = effects.iter().map(|e| e.split(' ').count()).sum();
            if reply == ":0" {
                assert!(effects.is_empty() || effects == [format!("DEL {target}")]);
            } else {
                assert_eq!(
                    effects.first().map(String::as_str),
                    Some("MULTI"),
                    "{command}"
                );
                assert!(words > 700, "{command}: {words}");
            }
        }
    }
}

#[test]
fn a_source_that_was_not_there_counts_as_changed_once_it_is() {
    let mut t = with_threads();
    let mut begun = t.begin("SDIFFSTORE d s1 none");
    t.client().run("SADD none m1 m2 m3");
    t.effects();
    assert_eq!(end(&mut t, &mut begun), ":5000");
    let effects = t.effects();
    assert_eq!(effects[..2], ["MULTI", "DEL d"]);
    assert_eq!(effects.len(), 2 + 10 + 1);
    let mut begun = t.begin("ZDIFFSTORE d 2 z1 none2");
    assert_eq!(end(&mut t, &mut begun), ":5000");
    assert_eq!(t.effects(), ["ZDIFFSTORE d 2 z1 none2"]);
}

#[test]
fn a_source_that_expires_meanwhile_counts_as_changed() {
    let mut t = with_threads();
    t.run("PEXPIRE z1 10");
    let mut begun = t.begin("ZRANGESTORE d z1 0 -1");
    t.advance(20);
    assert_eq!(t.client().run("EXISTS z1"), ":0");
    t.effects();
    assert_eq!(end(&mut t, &mut begun), ":5000");
    assert_eq!(t.effects()[..2], ["MULTI", "DEL d"]);
}

#[test]
fn little_work_is_done_at_once_however_large_what_it_reads() {
    let mut t = with_threads();
    t.run("SADD small m1 m2 x");
    t.run("ZADD zsmall 1 m1 2 x");
    t.expect(&[
        ("SINTERSTORE d small s1", ":2"),
        ("SDIFFSTORE d small s1", ":1"),
        ("SUNIONSTORE d small s1", ":5001"),
        ("ZINTERSTORE d 2 z1 zsmall", ":1"),
        ("ZDIFFSTORE d 2 zsmall z1", ":1"),
        ("ZRANGESTORE d z1 0 99", ":100"),
        ("ZRANGESTORE d z1 8000 9000", ":0"),
        ("GEOSEARCHSTORE d g FROMLONLAT 100 50 BYRADIUS 1 m", ":0"),
        (
            "SUNIONSTORE d s1 l",
            "-WRONGTYPE Operation against a key holding the wrong kind of value",
        ),
    ]);
}

#[test]
fn a_transaction_stores_within_its_unit() {
    let mut t = with_threads();
    t.expect(&[
        ("MULTI", "+OK"),
        ("ZUNIONSTORE d 2 z1 z2", "+QUEUED"),
        ("SUNIONSTORE s s1 s2", "+QUEUED"),
        ("ZCARD d", "+QUEUED"),
        ("EXEC", "[:7500, :7500, :7500]"),
    ]);
}

#[test]
fn what_watches_or_waits_for_the_key_learns_of_it() {
    let mut t = with_threads();
    let (mut watching, mut waiting) = (t.client(), t.client());
    watching.expect(&[("WATCH d", "+OK"), ("MULTI", "+OK"), ("PING", "+QUEUED")]);
    let mut popped = waiting.begin("BZPOPMIN d 0");
    t.effects();
    let mut begun = t.begin("ZUNIONSTORE d 2 z1 z2");
    assert_eq!(waiting.reply_to(&mut popped), None);
    assert_eq!(end(&mut t, &mut begun), ":7500");
    assert_eq!(
        waiting.reply_to(&mut popped).unwrap(),
        r#"["d", "m0", "0"]"#
    );
    assert_eq!(watching.run("EXEC"), "nil-array");
    assert_eq!(t.effects(), ["ZUNIONSTORE d 2 z1 z2", "ZPOPMIN d"]);
}

#[test]
fn what_forbids_writes_by_then_forbids_the_storing() {
    let mut t = with_threads();
    let mut begun = t.begin("SUNIONSTORE d s1 s2");
    t.set_replica(true);
    assert_eq!(end(&mut t, &mut begun), format!("-{}", errors::READ_ONLY));
    t.set_replica(false);
    let mut begun = t.begin("SUNIONSTORE d s1 s2");
    t.run("CONFIG SET maxmemory 1mb");
    t.be_short_of_memory(1000);
    assert_eq!(
        end(&mut t, &mut begun),
        format!("-{}", errors::OUT_OF_MEMORY)
    );
    t.be_short_of_memory(0);
    t.expect(&[("EXISTS d", ":0")]);
    assert_eq!(t.effects(), Vec::<String>::new());
    assert_eq!(watched_keys(&t), 0);
}

#[test]
fn who_is_held_back_stores_when_it_is_over() {
    let mut t = with_threads();
    let mut begun = t.begin("SUNIONSTORE d s1 s2");
    let engine = t.engine.clone();
    engine.hold_clients(
        PauseReason::Client,
        START_MS,
        START_MS + 60_000,
        Held::Writes,
    );
    let released = std::thread::spawn(move || {
        std::thread::sleep(std::time::Duration::from_millis(50));
        engine.release_clients(PauseReason::Client, START_MS);
    });
    assert_eq!(end(&mut t, &mut begun), ":7500");
    released.join().unwrap();
    assert_eq!(t.run("SCARD d"), ":7500");
}

#[test]
fn a_client_that_wants_no_reply_gets_none() {
    let mut t = with_threads();
    for mode in [ReplyMode::Off, ReplyMode::Skip] {
        t.session.reply_mode = mode;
        let mut begun = t.begin("SINTERSTORE d s1 s2");
        t.do_work();
        assert_eq!(t.reply_to(&mut begun), None);
        t.session.reply_mode = ReplyMode::On;
        t.expect(&[("SCARD d", ":2500"), ("DEL d", ":1")]);
    }
}

#[test]
fn a_client_that_goes_leaves_the_result_and_no_watch() {
    let mut t = with_threads();
    let begun = t.begin("ZINTERSTORE d 2 z1 z2");
    assert_eq!(watched_keys(&t), 2);
    drop(begun);
    assert_eq!(watched_keys(&t), 0);
    t.run("ZREM z1 m3000");
    t.effects();
    t.do_work();
    t.expect(&[("ZCARD d", ":2500")]);
    assert_eq!(t.effects()[..2], ["MULTI", "DEL d"]);
}

#[test]
fn a_logged_list_is_what_was_sorted() {
    let mut t = with_threads();
    let mut begun = t.begin("SORT l LIMIT 1 1200 STORE d");
    t.run("SET d x");
    t.effects();
    assert_eq!(end(&mut t, &mut begun), ":1200");
    let effects = t.effects();
    let mut replica = TestServer::new();
    effects.iter().for_each(|line| {
        replica.run(line);
    });
    let sorted: Vec<String> = (1..=1200).map(|i| i.to_string()).collect();
    assert_eq!(content(&mut replica, "d"), sorted);
    assert_eq!(content(&mut t, "d"), sorted);
    assert_eq!(effects.len(), 2 + 3 + 1);
}

#[test]
fn the_time_that_the_thread_takes_is_told() {
    let mut t = with_threads();
    t.run("CONFIG SET slowlog-log-slower-than 0");
    for command in ["ZUNIONSTORE d 2 z1 z2", "SORT l STORE d"] {
        let words: Vec<&[u8]> = command.split(' ').map(str::as_bytes).collect();
        let id = t.engine.table.lookup(&words).unwrap().spec.id;
        t.run("SLOWLOG RESET");
        let mut begun = t.begin(command);
        assert_eq!(t.engine.stats.command(id).calls, 0);
        assert!(
            t.engine
                .slowlog
                .newest(9)
                .iter()
                .all(|e| e.args[0] != words[0])
        );
        end(&mut t, &mut begun);
        let counted = t.engine.stats.command(id);
        let told = t.engine.slowlog.newest(1).remove(0);
        assert_eq!(counted.calls, 1);
        assert_eq!(told.args, words);
        assert!(told.duration_us >= 100);
        assert_eq!(counted.nanos / 1000, told.duration_us as u64);
    }
}

//! The log as its readers see it: same bytes for all, SELECTs where they belong, memory bounded.

use super::*;
use std::sync::atomic::AtomicBool;
use std::thread;
use std::time::Duration;

fn unit(db: u32, argvs: &[&[&[u8]]]) -> UnitEffects {
    let mut unit = UnitEffects::new();
    for argv in argvs {
        unit.push(db, argv);
    }
    unit
}

fn append(log: &Log, db: u32, name: &str) -> u64 {
    log.append(&unit(db, &[&[name.as_bytes()]]))
}

fn read_all(cursor: &mut Cursor) -> String {
    let mut out = Vec::new();
    while cursor.lag() > 0 {
        for bytes in cursor.try_read(1 << 20) {
            out.extend_from_slice(&bytes);
        }
    }
    String::from_utf8(out).unwrap()
}

fn read_all_aof(cursor: &mut Cursor) -> Vec<Piece> {
    let mut out = Vec::new();
    while cursor.try_read_aof(1 << 20, &mut out) == AofRead::More {}
    out
}

fn joined(pieces: &[Piece]) -> String {
    let mut out = Vec::new();
    for piece in pieces {
        match piece {
            Piece::Data(bytes) => out.extend_from_slice(bytes),
            Piece::Second(unix_s) => out.extend_from_slice(format!("#TS:{unix_s}\r\n").as_bytes()),
        }
    }
    String::from_utf8(out).unwrap()
}

const SELECT_0: &str = "*2\r\n$6\r\nSELECT\r\n$1\r\n0\r\n";
const SELECT_12: &str = "*2\r\n$6\r\nSELECT\r\n$2\r\n12\r\n";

#[test]
fn nobody_listens_and_the_offset_stands_still() {
    let log = Log::new();
    assert_eq!(append(&log, 0, "A"), 0);
    assert_eq!(log.append_not_for_aof(&[b"PING"]), 0);
    assert_eq!(log.append_raw(b"*1\r\n$1\r\nX\r\n", true, None), 0);
    assert!(!log.is_active());
}

#[test]
fn select_comes_with_a_change_of_database_and_when_forced() {
    let log = Log::new();
    let mut cursor = log.reader_at_end().unwrap();
    append(&log, 0, "A");
    append(&log, 0, "B");
    append(&log, 12, "C");
    log.force_select();
    assert_eq!(log.position().db, None);
    append(&log, 12, "D");
    let expected = format!(
        "{SELECT_0}*1\r\n$1\r\nA\r\n*1\r\n$1\r\nB\r\n{SELECT_12}*1\r\n$1\r\nC\r\n\
         {SELECT_12}*1\r\n$1\r\nD\r\n"
    );
    assert_eq!(read_all(&mut cursor), expected);
    assert_eq!(
        log.position(),
        Position {
            offset: expected.len() as u64,
            db: Some(12)
        }
    );
}

#[test]
fn multi_stands_before_the_select_of_its_first_command() {
    let log = Log::new();
    let mut cursor = log.reader_at_end().unwrap();
    let mut effects = unit(0, &[&[b"A"], &[b"B"]]);
    let start = UnitEffects::new().mark();
    effects.wrap_multi(start);
    log.append(&effects);
    let stream = read_all(&mut cursor);
    assert!(
        stream.starts_with(&format!("*1\r\n$5\r\nMULTI\r\n{SELECT_0}")),
        "{stream}"
    );
    assert!(stream.ends_with("*1\r\n$4\r\nEXEC\r\n"), "{stream}");
}

#[test]
fn the_primary_s_bytes_pass_verbatim_and_leave_their_database() {
    let log = Log::new();
    log.set_offset(5000, Some(3)).unwrap();
    let mut cursor = log.reader_at_end().unwrap();
    log.append_raw(b"*1\r\n$1\r\nX\r\n", true, None);
    assert_eq!(log.position().db, Some(3));
    let raw = format!("{SELECT_12}*1\r\n$1\r\nY\r\n");
    let end = log.append_raw(raw.as_bytes(), true, Some(12));
    assert_eq!(read_all(&mut cursor), format!("*1\r\n$1\r\nX\r\n{raw}"));
    assert_eq!(
        log.position(),
        Position {
            offset: end,
            db: Some(12)
        }
    );
    assert_eq!(end, 5000 + 11 + raw.len() as u64);
    assert_eq!(log.set_offset(1, None), Err(HasReaders { readers: 1 }));
}

#[test]
fn the_aof_misses_pings_and_nothing_else() {
    let log = Log::new();
    let mut aof = log.aof_reader().unwrap();
    let mut replica = log.reader_at_end().unwrap();
    log.append_not_for_aof(&[b"PING"]);
    append(&log, 0, "A");
    log.append_not_for_aof(&[b"REPLCONF", b"GETACK", b"*"]);
    log.append_not_for_aof(&[b"PING"]);
    let mut publish = UnitEffects::new();
    publish.push_for_replicas(0, &[b"PUBLISH", b"c", b"m"]);
    log.append(&publish);
    append(&log, 0, "B");
    log.append_not_for_aof(&[b"PING"]);
    assert_eq!(
        joined(&read_all_aof(&mut aof)),
        format!("{SELECT_0}*1\r\n$1\r\nA\r\n*1\r\n$1\r\nB\r\n")
    );
    assert_eq!(aof.position(), log.end_offset());
    assert_eq!(read_all(&mut replica).matches("PING").count(), 3);
    assert!(log.stream.state.lock().skips.is_empty());
}

#[test]
fn the_aof_stops_at_a_barrier_and_replicas_do_not() {
    let log = Log::new();
    assert_eq!(
        log.aof_barrier(),
        Position {
            offset: 0,
            db: None
        }
    );
    let mut aof = log.aof_reader().unwrap();
    let mut replica = log.reader_at_end().unwrap();
    let middle = append(&log, 0, "A");
    assert_eq!(
        log.aof_barrier(),
        Position {
            offset: middle,
            db: Some(0)
        }
    );
    append(&log, 0, "B");
    assert_eq!(
        joined(&read_all_aof(&mut aof)),
        format!("{SELECT_0}*1\r\n$1\r\nA\r\n")
    );
    assert_eq!(aof.position(), middle);
    assert_eq!(aof.try_read_aof(100, &mut Vec::new()), AofRead::Barrier);
    assert!(read_all(&mut replica).ends_with("*1\r\n$1\r\nB\r\n"));
    aof.pass_barrier();
    assert_eq!(joined(&read_all_aof(&mut aof)), "*1\r\n$1\r\nB\r\n");
}

#[test]
fn a_new_second_is_annotated_once_and_between_units() {
    let log = Log::new();
    let mut aof = log.aof_reader().unwrap();
    append(&log, 0, "A");
    log.set_annotations(true);
    let mut b = unit(0, &[&[b"B"]]);
    b.set_unix_s(100);
    log.append(&b);
    log.append(&b);
    log.append_not_for_aof(&[b"PING"]);
    b.set_unix_s(103);
    log.append(&b);
    let b = "*1\r\n$1\r\nB\r\n";
    assert_eq!(
        joined(&read_all_aof(&mut aof)),
        format!("{SELECT_0}*1\r\n$1\r\nA\r\n#TS:100\r\n{b}{b}#TS:103\r\n{b}")
    );
}

#[test]
fn a_backlog_serves_a_late_reader_from_what_it_still_holds() {
    let log = Log::new();
    append(&log, 0, "lost");
    log.backlog_create(40 * 1024);
    let mut ends = vec![log.end_offset()];
    for i in 0..20_000 {
        ends.push(append(&log, 0, &format!("N{i:06}")));
    }
    let backlog = log.backlog().unwrap();
    assert!(backlog.histlen >= 40 * 1024 && backlog.histlen < 40 * 1024 + 3 * 16 * 1024);
    assert_eq!(backlog.first + backlog.histlen, log.end_offset());
    assert!(log.reader(backlog.first - 1).is_none());
    assert!(log.reader(log.end_offset() + 1).is_none());
    let from = ends[ends.len() - 3];
    let mut cursor = log.reader(from).unwrap();
    assert_eq!(
        read_all(&mut cursor),
        "*1\r\n$7\r\nN019998\r\n*1\r\n$7\r\nN019999\r\n"
    );
    assert!(log.reader(log.backlog_first_offset().unwrap()).is_some());
}

#[test]
fn what_was_written_before_the_stream_knew_its_place_moves_there() {
    let log = Log::new();
    log.backlog_create(1 << 20);
    let mut unit = UnitEffects::new();
    for i in 0..5000u32 {
        unit.push(0, &[b"DEL", &i.to_be_bytes()]);
        log.append(&unit);
        unit.clear();
    }
    let written = log.end_offset();
    log.rebase(1_000_000).unwrap();
    assert_eq!(log.end_offset(), 1_000_000 + written);
    let backlog = log.backlog().unwrap();
    assert_eq!((backlog.first, backlog.histlen), (1_000_000, written));
    assert!(log.reader(999_999).is_none());
    let mut reader = log.reader(1_000_000).unwrap();
    let stream = reader.try_read(usize::MAX).concat();
    assert_eq!(stream.len() as u64, written);
    assert!(stream.starts_with(b"*2\r\n$6\r\nSELECT\r\n$1\r\n0\r\n*2\r\n$3\r\nDEL\r\n"));
    assert_eq!(log.rebase(1), Err(HasReaders { readers: 1 }));
}

#[test]
fn freeing_the_backlog_gives_the_memory_back_and_keeps_the_offset() {
    let log = Log::new();
    log.backlog_create(1 << 20);
    for i in 0..1000 {
        append(&log, 0, &format!("{i:0500}"));
    }
    let end = log.end_offset();
    assert!(log.memory_bytes() >= 500_000);
    log.backlog_free();
    assert_eq!(
        (log.end_offset(), log.memory_bytes(), log.backlog_histlen()),
        (end, 0, 0)
    );
    assert!(!log.is_active());
}

#[test]
fn a_slow_reader_holds_memory_and_dropping_it_frees_it() {
    let log = Log::new();
    let slow = log.reader_at_end().unwrap();
    let mut quick = log.reader_at_end().unwrap();
    for i in 0..1000 {
        append(&log, 0, &format!("{i:01000}"));
        read_all(&mut quick);
    }
    assert_eq!(slow.lag(), log.end_offset());
    assert!(log.memory_bytes() >= 1_000_000);
    drop(slow);
    assert!(
        log.memory_bytes() <= 2 * MAX_CHUNK_BYTES + 4096,
        "{}",
        log.memory_bytes()
    );
}

#[test]
fn what_a_reader_holds_is_the_log_s_until_it_lets_go() {
    let log = Log::new();
    log.backlog_create(10_000);
    let mut cursor = log.reader_at_end().unwrap();
    for i in 0..1000 {
        append(&log, 0, &format!("{i:0200}"));
    }
    let read = cursor.try_read_holding(150_000);
    assert_eq!(read.iter().map(|part| part.len()).sum::<usize>(), 150_000);
    append(&log, 0, "A");
    assert!(log.memory_bytes() >= 200_000);
    cursor.let_go();
    assert!((50_000..100_000).contains(&log.memory_bytes()));
    let rest = log.end_offset() - 150_000;
    assert_eq!((cursor.position(), cursor.lag()), (150_000, rest));
    // Nothing is read: nothing to let go.
    cursor.try_read(usize::MAX);
    assert!(cursor.try_read_holding(1).is_empty());
    cursor.let_go();
    assert!(log.memory_bytes() <= 20_000);
}

#[test]
fn what_a_reader_has_copied_of_the_tail_counts_until_it_lets_go() {
    let log = Log::new();
    log.backlog_create(10_000);
    let mut cursor = log.reader_at_end().unwrap();
    append(&log, 0, &"x".repeat(3000));
    let before = log.memory_bytes();
    let read: usize = cursor.try_read_holding(2000).iter().map(Bytes::len).sum();
    assert_eq!(log.memory_bytes(), before + read);
    cursor.let_go();
    assert_eq!(log.memory_bytes(), before);
    cursor.try_read(usize::MAX);
    assert_eq!(log.memory_bytes(), before);
}

#[test]
fn a_reader_that_keeps_up_is_settled_before_it_has_read() {
    let log = Log::new();
    log.backlog_create(10_000);
    let mut quick = log.reader_at_end().unwrap();
    quick.keeps_up(true);
    let mut slow = log.reader_at_end().unwrap();
    let read = |cursor: &mut Cursor| {
        drop(cursor.try_read_holding(usize::MAX));
        cursor.let_go();
    };
    let write = || (0..100).for_each(|i| _ = append(&log, 0, &format!("{i:0500}")));
    for _ in 0..3 {
        write();
        assert!(log.settled_bytes() >= 50_000);
        read(&mut slow);
        let settled = log.settled_bytes();
        assert!(settled < 25_000 && log.memory_bytes() > 50_000, "{settled}");
        read(&mut quick);
        assert_eq!(
            (log.settled_bytes(), log.memory_bytes()),
            (settled, settled)
        );
    }
    write();
    read(&mut slow);
    quick.keeps_up(false);
    assert_eq!(log.settled_bytes(), log.memory_bytes());
}

#[test]
fn a_large_append_lies_between_its_neighbours() {
    let log = Log::new();
    let mut cursor = log.reader_at_end().unwrap();
    let big = "x".repeat(300_000);
    append(&log, 0, "A");
    append(&log, 0, &big);
    append(&log, 0, "B");
    assert_eq!(
        read_all(&mut cursor),
        format!("{SELECT_0}*1\r\n$1\r\nA\r\n*1\r\n$300000\r\n{big}\r\n*1\r\n$1\r\nB\r\n")
    );
}

fn take_line(rest: &mut &[u8], kind: u8) -> usize {
    assert_eq!(rest[0], kind);
    let end = rest.iter().position(|byte| *byte == b'\r').unwrap();
    let n = std::str::from_utf8(&rest[1..end]).unwrap().parse().unwrap();
    *rest = &rest[end + 2..];
    n
}

/// The commands of a stream, each with the database selected for it.
fn decode(mut rest: &[u8]) -> Vec<(u32, Vec<String>)> {
    let mut db = u32::MAX;
    let mut out = Vec::new();
    while !rest.is_empty() {
        let mut argv = Vec::new();
        for _ in 0..take_line(&mut rest, b'*') {
            let len = take_line(&mut rest, b'$');
            argv.push(String::from_utf8(rest[..len].to_vec()).unwrap());
            rest = &rest[len + 2..];
        }
        if argv[0] == "SELECT" {
            db = argv[1].parse().unwrap();
        } else {
            out.push((db, argv));
        }
    }
    out
}

const THREADS: u32 = 4;
const UNITS: u32 = 3000;

/// Appends units of three commands each; every command says its database, writer and number.
fn write_units(log: &Log, writer: u32) {
    let mut effects = UnitEffects::new();
    for number in 0..UNITS {
        effects.clear();
        let padding = "p".repeat((number % 97) as usize * if number % 500 == 0 { 2000 } else { 1 });
        for step in 0..3 {
            let db = (number + step) % 3;
            let words = [db, writer, number, step].map(|n| n.to_string());
            let argv: Vec<&[u8]> = words
                .iter()
                .map(|w| w.as_bytes())
                .chain([padding.as_bytes()])
                .collect();
            effects.push(db, &argv);
        }
        log.append(&effects);
        if number % 50 == 0 {
            log.append_not_for_aof(&[b"PING"]);
        }
        log.wake();
    }
}

/// Reads until `done` and nothing is left, in steps of `max` bytes.
fn follow(mut cursor: Cursor, max: usize, done: &AtomicBool, pause: Duration) -> Vec<u8> {
    let mut out = Vec::new();
    loop {
        let finished = done.load(Ordering::SeqCst);
        if finished && cursor.lag() == 0 {
            return out;
        }
        cursor.wait(Some(Duration::from_millis(2)));
        for bytes in cursor.try_read(max) {
            out.extend_from_slice(&bytes);
        }
        thread::sleep(pause);
    }
}

async fn follow_async(mut cursor: Cursor, total: u64) -> Vec<u8> {
    let mut out = Vec::new();
    while (out.len() as u64) < total {
        cursor.readable().await;
        for bytes in cursor.try_read(10_000) {
            out.extend_from_slice(&bytes);
        }
        tokio::task::yield_now().await;
    }
    out
}

#[test]
fn readers_of_any_speed_see_one_stream() {
    let log = Log::new();
    log.backlog_create(100 * 1024);
    let done = AtomicBool::new(false);
    let quick = log.reader_at_end().unwrap();
    let slow = log.reader_at_end().unwrap();
    let task = log.reader_at_end().unwrap();
    let mut aof = log.aof_reader().unwrap();
    let (quick, slow, aof) = thread::scope(|scope| {
        let writers: Vec<_> = (0..THREADS)
            .map(|writer| {
                let log = &log;
                scope.spawn(move || write_units(log, writer))
            })
            .collect();
        let done = &done;
        let quick = scope.spawn(move || follow(quick, 1 << 20, done, Duration::ZERO));
        let slow = scope.spawn(move || follow(slow, 30_000, done, Duration::from_micros(300)));
        let aof = scope.spawn(move || {
            let mut out = Vec::new();
            while !done.load(Ordering::SeqCst) || aof.lag() > 0 {
                aof.wait(Some(Duration::from_millis(2)));
                aof.try_read_aof(7_000, &mut out);
            }
            joined(&out).into_bytes()
        });
        let resizer = scope.spawn(|| {
            for i in 0..200u64 {
                log.backlog_resize(20_000 + i % 5 * 100_000);
                assert!(log.backlog().unwrap().first <= log.end_offset());
                thread::sleep(Duration::from_millis(1));
            }
        });
        for writer in writers {
            writer.join().unwrap();
        }
        done.store(true, Ordering::SeqCst);
        resizer.join().unwrap();
        (
            quick.join().unwrap(),
            slow.join().unwrap(),
            aof.join().unwrap(),
        )
    });
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let task = runtime.block_on(follow_async(task, log.end_offset()));
    assert_eq!(quick.len() as u64, log.end_offset());
    assert!(quick == slow && quick == task);
    check_stream(&quick, &aof);
}

fn check_stream(stream: &[u8], aof: &[u8]) {
    let mut commands = decode(stream);
    assert_eq!(
        commands
            .iter()
            .filter(|(_, argv)| argv[0] == "PING")
            .count(),
        4 * 60
    );
    commands.retain(|(_, argv)| argv[0] != "PING");
    assert_eq!(commands, decode(aof));
    assert_eq!(commands.len() as u32, THREADS * UNITS * 3);
    let mut next = [0u32; THREADS as usize];
    for unit in commands.chunks(3) {
        let numbers: Vec<Vec<u32>> = unit
            .iter()
            .map(|(_, argv)| argv[..4].iter().map(|word| word.parse().unwrap()).collect())
            .collect();
        let writer = numbers[0][1];
        for (step, (command, (selected, _))) in numbers.iter().zip(unit).enumerate() {
            // Selected database, then writer and number as they were appended, units unbroken.
            assert_eq!(command[0], *selected);
            assert_eq!(command[1..], [writer, next[writer as usize], step as u32]);
        }
        next[writer as usize] += 1;
    }
}

#[test]
fn a_wake_handle_ends_a_wait_without_data() {
    let log = Log::new();
    let cursor = log.aof_reader().unwrap();
    let handle = cursor.wake_handle();
    let waiter = thread::spawn(move || cursor.wait(None));
    thread::sleep(Duration::from_millis(5));
    handle.wake();
    assert!(!waiter.join().unwrap());
}

#[test]
fn an_append_wakes_a_sleeping_thread() {
    let log = Log::new();
    let cursor = log.reader_at_end().unwrap();
    let waiter = thread::spawn(move || cursor.wait(None));
    thread::sleep(Duration::from_millis(5));
    append(&log, 0, "A");
    log.wake();
    assert!(waiter.join().unwrap());
}

#[test]
fn a_reader_that_wants_more_is_called_by_who_completes_it() {
    let log = Log::new();
    let cursor = log.aof_reader().unwrap();
    let waiter = cursor.waiter();
    let wanted = {
        append(&log, 0, "A");
        2 * log.end_offset()
    };
    let patient = thread::spawn(move || {
        assert!(waiter.wait_beyond(wanted - 1, Some(Duration::from_secs(30))));
    });
    thread::sleep(Duration::from_millis(5));
    log.wake();
    thread::sleep(Duration::from_millis(20));
    assert!(!patient.is_finished());
    while log.end_offset() < wanted {
        append(&log, 0, "A");
        log.wake();
    }
    patient.join().unwrap();
}

#[test]
fn a_reader_that_wants_nothing_is_not_woken_by_an_append() {
    let log = Log::new();
    let cursor = log.aof_reader().unwrap();
    let (waiter, handle) = (cursor.waiter(), cursor.wake_handle());
    let deaf = thread::spawn(move || {
        let begun = std::time::Instant::now();
        waiter.wait_beyond(u64::MAX, Some(Duration::from_secs(30)));
        begun.elapsed()
    });
    thread::sleep(Duration::from_millis(5));
    append(&log, 0, "A");
    log.wake();
    thread::sleep(Duration::from_millis(50));
    assert!(!deaf.is_finished());
    handle.wake();
    assert!(deaf.join().unwrap() < Duration::from_secs(30));
}

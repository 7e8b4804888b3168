//! Each reply in both protocols, and the order of the stream whatever its parts are.

use super::*;

fn both(write: impl Fn(&mut Reply)) -> (String, String) {
    let show = |proto| {
        let mut reply = Reply::new(proto);
        write(&mut reply);
        String::from_utf8(stream(&mut reply)).unwrap()
    };
    (show(Proto::Resp2), show(Proto::Resp3))
}

fn stream(reply: &mut Reply) -> Vec<u8> {
    reply.resolve();
    let by_slices: Vec<u8> = reply
        .io_slices()
        .iter()
        .flat_map(|slice| slice.to_vec())
        .collect();
    assert_eq!(reply.len_bytes(), by_slices.len());
    let by_chunks = reply.drain_chunks().concat();
    assert_eq!(by_slices, by_chunks);
    assert!(reply.is_empty() && reply.is_plain());
    by_chunks
}

fn same(text: &str) -> (String, String) {
    (text.into(), text.into())
}

fn differ(resp2: &str, resp3: &str) -> (String, String) {
    (resp2.into(), resp3.into())
}

#[test]
fn scalars() {
    assert_eq!(both(|r| r.ok()), same("+OK\r\n"));
    assert_eq!(both(|r| r.simple("hello")), same("+hello\r\n"));
    assert_eq!(both(|r| r.int(7)), same(":7\r\n"));
    assert_eq!(both(|r| r.int(-7)), same(":-7\r\n"));
    assert_eq!(both(|r| r.int(i64::MIN)), same(":-9223372036854775808\r\n"));
    assert_eq!(both(|r| r.bulk(b"")), same("$0\r\n\r\n"));
    assert_eq!(
        both(|r| r.bulk(b"abcdefghijk")),
        same("$11\r\nabcdefghijk\r\n")
    );
    assert_eq!(both(|r| r.bulk_int(-15)), same("$3\r\n-15\r\n"));
    assert_eq!(both(|r| r.bulk_opt(None)), differ("$-1\r\n", "_\r\n"));
    assert_eq!(both(|r| r.null_array()), differ("*-1\r\n", "_\r\n"));
    assert_eq!(both(|r| r.double(1.5)), differ("$3\r\n1.5\r\n", ",1.5\r\n"));
    assert_eq!(
        both(|r| r.double(f64::INFINITY)),
        differ("$3\r\ninf\r\n", ",inf\r\n")
    );
    let three = LongDouble::from_i64(3);
    assert_eq!(
        both(|r| r.long_double(three)),
        differ("$1\r\n3\r\n", ",3\r\n")
    );
    assert_eq!(both(|r| r.bool(true)), differ(":1\r\n", "#t\r\n"));
    assert_eq!(both(|r| r.bool(false)), differ(":0\r\n", "#f\r\n"));
    assert_eq!(
        both(|r| r.big_number(b"123")),
        differ("$3\r\n123\r\n", "(123\r\n")
    );
    assert_eq!(
        both(|r| r.verbatim("txt", b"hi")),
        differ("$2\r\nhi\r\n", "=6\r\ntxt:hi\r\n")
    );
    assert_eq!(
        both(|r| r.verbatim("x", b"")),
        differ("$0\r\n\r\n", "=4\r\nx  :\r\n")
    );
}

#[test]
fn aggregates() {
    assert_eq!(both(|r| r.array(0)), same("*0\r\n"));
    assert_eq!(both(|r| r.array(1000)), same("*1000\r\n"));
    assert_eq!(both(|r| r.map(2)), differ("*4\r\n", "%2\r\n"));
    assert_eq!(both(|r| r.set(2)), differ("*2\r\n", "~2\r\n"));
    assert_eq!(both(|r| r.push(3)), differ("*3\r\n", ">3\r\n"));
    let mut reply = Reply::new(Proto::Resp3);
    reply.attribute(1);
    assert_eq!(reply.plain(), b"|1\r\n");
}

#[test]
fn errors_are_one_line_and_counted() {
    let mut reply = Reply::new(Proto::Resp2);
    let before = reply.mark();
    reply.error("ERR a\r\nb\n");
    reply.error(format!("WRONGTYPE {}", "x"));
    reply.error(&b"-no code"[1..2]);
    assert_eq!(reply.plain(), b"-ERR a  b\r\n-WRONGTYPE x\r\n-n\r\n");
    assert_eq!(reply.errors_since(before), 3);
    let codes: Vec<_> = reply.drain_error_codes().collect();
    assert_eq!(
        codes.iter().map(|code| &**code).collect::<Vec<_>>(),
        ["ERR", "WRONGTYPE", "ERR"]
    );
    assert_eq!(reply.drain_error_codes().count(), 0);
}

#[test]
fn lengths_known_later_nest_and_close_in_any_order() {
    let write = |outer_first: bool| {
        let mut reply = Reply::new(Proto::Resp3);
        reply.ok();
        let outer = reply.defer_len();
        reply.int(1);
        let inner = reply.defer_len();
        reply.shared_bulk(Bytes::from(vec![b'x'; 5000]));
        reply.int(2);
        if outer_first {
            reply.set_array_len(outer, 12);
            reply.set_map_len(inner, 1);
        } else {
            reply.set_map_len(inner, 1);
            reply.set_array_len(outer, 12);
        }
        reply.int(3);
        stream(&mut reply)
    };
    let expected = format!(
        "+OK\r\n*12\r\n:1\r\n%1\r\n$5000\r\n{}\r\n:2\r\n:3\r\n",
        "x".repeat(5000)
    );
    assert_eq!(String::from_utf8(write(false)).unwrap(), expected);
    assert_eq!(String::from_utf8(write(true)).unwrap(), expected);
}

#[test]
fn a_length_after_a_shared_string_stays_behind_it() {
    let mut reply = Reply::new(Proto::Resp2);
    reply.raw_shared(Bytes::from(vec![b'y'; 4096]));
    let slot = reply.defer_len();
    reply.int(1);
    reply.set_array_len(slot, 1);
    assert_eq!(
        stream(&mut reply),
        [&[b'y'; 4096][..], b"*1\r\n:1\r\n"].concat()
    );
}

#[test]
fn deferred_parts_keep_their_places() {
    let big = Bytes::from(vec![b'z'; 4096]);
    let mut reply = Reply::new(Proto::Resp3);
    reply.array(5);
    reply.shared_bulk(big.clone());
    let later = big.clone();
    reply.deferred(Box::new(move |reply| {
        reply.null();
        reply.deferred(Box::new(|reply| reply.int(2)));
        reply.shared_bulk(later);
    }));
    reply.set_proto(Proto::Resp2);
    reply.null();
    reply.shared_bulk(big.clone());
    reply.deferred(Box::new(|reply| reply.error("ERR late")));
    assert!(reply.has_deferred() && !reply.is_plain());
    reply.resolve();
    assert!(!reply.has_deferred());
    assert_eq!(reply.errors(), 1);
    assert_eq!(reply.proto(), Proto::Resp2);
    let z = "z".repeat(4096);
    let expected = format!(
        "*5\r\n$4096\r\n{z}\r\n_\r\n:2\r\n$4096\r\n{z}\r\n$-1\r\n$4096\r\n{z}\r\n-ERR late\r\n"
    );
    assert_eq!(String::from_utf8(stream(&mut reply)).unwrap(), expected);
}

#[test]
fn rewinding_takes_back_every_kind_of_part() {
    let mut reply = Reply::new(Proto::Resp2);
    reply.ok();
    let mark = reply.mark();
    let slot = reply.defer_len();
    reply.shared_bulk(Bytes::from(vec![b'x'; 9000]));
    reply.deferred(Box::new(|reply| reply.ok()));
    reply.error("ERR x");
    assert!(reply.written_since(mark));
    reply.rewind(mark);
    drop(slot);
    assert!(!reply.written_since(mark) && reply.is_plain());
    assert_eq!(reply.errors_since(mark), 0);
    assert_eq!(stream(&mut reply), b"+OK\r\n");
}

#[test]
fn appending_moves_parts_along() {
    let mut inner = Reply::new(Proto::Resp2);
    inner.shared_bulk(Bytes::from(vec![b'q'; 4096]));
    inner.deferred(Box::new(|reply| reply.int(4)));
    inner.error("ERR inner");
    let mut reply = Reply::new(Proto::Resp2);
    reply.array(3);
    reply.append(&mut inner);
    reply.ok();
    assert!(inner.is_empty());
    assert_eq!(reply.errors(), 1);
    let expected = format!(
        "*3\r\n$4096\r\n{}\r\n:4\r\n-ERR inner\r\n+OK\r\n",
        "q".repeat(4096)
    );
    assert_eq!(String::from_utf8(stream(&mut reply)).unwrap(), expected);
}

#[test]
fn a_large_reply_does_not_keep_its_memory() {
    let mut reply = Reply::new(Proto::Resp2);
    reply.bulk(&vec![b'x'; 1 << 20]);
    reply.clear();
    assert!(reply.capacity_bytes() <= 64 * 1024);
    fn is_send<T: Send>(_: &T) {}
    is_send(&reply);
}

#[test]
fn a_streamed_reply_is_the_same_in_pieces_and_stops_when_nobody_wants_it() {
    use std::sync::{Arc, Mutex};
    let fill = |reply: &mut Reply| {
        reply.ok();
        let mut expected = b"+OK\r\n*100000\r\n".to_vec();
        reply.deferred_of(
            100_000,
            Box::new(|reply| {
                reply.array(100_000);
                for n in 0..100_000 {
                    reply.bulk_int(n);
                    if !reply.breathe() {
                        return;
                    }
                }
            }),
        );
        for n in 0..100_000i64 {
            let text = n.to_string();
            expected.extend(format!("${}\r\n{text}\r\n", text.len()).into_bytes());
        }
        reply.int(1);
        reply.deferred(Box::new(|reply| {
            reply.deferred(Box::new(|reply| reply.error("WRONGTYPE inner")));
            reply.shared_bulk(Bytes::from(vec![b'x'; 5000]));
        }));
        reply.int(2);
        expected.extend(b":1\r\n-WRONGTYPE inner\r\n$5000\r\n");
        expected.extend(vec![b'x'; 5000]);
        expected.extend(b"\r\n:2\r\n");
        expected
    };
    let mut reply = Reply::new(Proto::Resp2);
    let expected = fill(&mut reply);
    assert_eq!(reply.deferred_elements(), 100_000);
    let taken = reply.take();
    assert!(reply.is_empty() && !reply.has_deferred());
    let pieces: Arc<Mutex<Vec<Vec<Bytes>>>> = Arc::default();
    let theirs = Arc::clone(&pieces);
    let codes = taken.stream(Box::new(move |piece| {
        theirs.lock().unwrap().push(piece);
        true
    }));
    assert_eq!(codes, [Box::from("WRONGTYPE")]);
    let pieces = std::mem::take(&mut *pieces.lock().unwrap());
    assert!(pieces.len() > 3);
    let len = |piece: &Vec<Bytes>| piece.iter().map(Bytes::len).sum::<usize>();
    assert!(pieces.iter().all(|p| len(p) < 200_000));
    assert!(pieces.concat().concat() == expected);

    fill(&mut reply);
    let asked = Arc::new(Mutex::new(0));
    let theirs = Arc::clone(&asked);
    reply.take().stream(Box::new(move |_| {
        *theirs.lock().unwrap() += 1;
        false
    }));
    assert_eq!(*asked.lock().unwrap(), 1);
}

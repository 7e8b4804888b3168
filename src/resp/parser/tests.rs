//! Requests by example, errors by their texts, and redis-protocol as an oracle.

use super::*;
use proptest::prelude::*;
use redis_protocol::resp2::encode;
use redis_protocol::resp2::types::{OwnedFrame, Resp2Frame};

const LIMITS: Limits = Limits::authenticated(512 << 20);

fn owned(args: &ArgVec<'_>) -> Vec<Vec<u8>> {
    args.iter().map(|arg| arg.to_vec()).collect()
}

/// Feeds `input` in pieces that end at `cuts` and at its end, as a connection loop would.
fn feed(
    limits: Limits,
    input: &[u8],
    cuts: &[usize],
) -> (Vec<Vec<Vec<u8>>>, Result<usize, ProtocolError>) {
    let mut parser = Parser::new(limits);
    let mut requests = Vec::new();
    let mut start = 0;
    for &end in cuts.iter().chain([&input.len()]) {
        loop {
            let mut args = ArgVec::new();
            match parser.next(&input[start..end.min(input.len()).max(start)], &mut args) {
                Ok(Some(consumed)) => {
                    let quoted = parser.take_quoted();
                    start += consumed;
                    requests.push(if quoted.is_empty() {
                        owned(&args)
                    } else {
                        quoted
                    });
                    assert!(!parser.is_partial());
                }
                Ok(None) => {
                    assert!(args.is_empty());
                    break;
                }
                Err(error) => return (requests, Err(error)),
            }
        }
    }
    (requests, Ok(start))
}

fn error_of(limits: Limits, input: &[u8]) -> Option<String> {
    let whole = feed(limits, input, &[]).1.err();
    let every: Vec<usize> = (1..input.len()).step_by(1 + input.len() / 1000).collect();
    assert_eq!(
        feed(limits, input, &every).1.err(),
        whole,
        "in small pieces"
    );
    whole.map(|error| error.to_string())
}

#[test]
fn a_pipeline_in_one_read_and_byte_by_byte() {
    let input = b"*2\r\n$3\r\nGET\r\n$12\r\nkey:00000001\r\n*1\r\n$4\r\nPING\r\n*0\r\n*-1\r\n\
        \r\nping\r\nset  k v\n*3\r\n$3\r\nSET\r\n$0\r\n\r\n$2\r\n\r\n\r\n";
    let expected: Vec<Vec<&[u8]>> = vec![
        vec![b"GET", b"key:00000001"],
        vec![b"PING"],
        vec![],
        vec![],
        vec![],
        vec![b"ping"],
        vec![b"set", b"k", b"v"],
        vec![b"SET", b"", b"\r\n"],
    ];
    let every: Vec<usize> = (1..input.len()).collect();
    for cuts in [&[][..], &every] {
        let (requests, end) = feed(LIMITS, input, cuts);
        assert_eq!(requests, expected);
        assert_eq!(end, Ok(input.len()));
    }
}

#[test]
fn arguments_of_a_batch_share_one_vector() {
    let buf = b"*1\r\n$1\r\na\r\n*2\r\n$1\r\nb\r\n$1\r\nc\r\n*2\r\n$1\r\nd\r\n$";
    let mut parser = Parser::new(LIMITS);
    let mut args = ArgVec::new();
    let first = parser.next(buf, &mut args).unwrap().unwrap();
    let second = parser.next(&buf[first..], &mut args).unwrap().unwrap();
    assert_eq!(parser.next(&buf[first + second..], &mut args), Ok(None));
    assert!(parser.is_partial());
    assert_eq!(owned(&args), [b"a", b"b", b"c"]);
}

#[test]
fn quoted_inline_requests() {
    let (requests, end) = feed(LIMITS, b"set k \"a\\nb c\"\r\nset '' x\n", &[3, 9]);
    assert_eq!(
        requests,
        vec![
            vec![b"set".to_vec(), b"k".to_vec(), b"a\nb c".to_vec()],
            vec![b"set".to_vec(), b"".to_vec(), b"x".to_vec()],
        ]
    );
    assert_eq!(end, Ok(25));
}

#[test]
fn bytes_after_lengths_and_payloads_are_not_looked_at() {
    let (requests, _) = feed(LIMITS, b"*1\rX$4\rXPINGXY", &[]);
    assert_eq!(requests, vec![vec![b"PING".to_vec()]]);
}

#[test]
fn malformed_requests_get_redis_texts() {
    let unquoted = [b'x'; 64 * 1024 + 1];
    let long = |start: &[u8]| [start, &unquoted].concat();
    for (input, text) in [
        (b"*3000000000\r\n".to_vec(), "invalid multibulk length"),
        (b"*blabla\r\n".to_vec(), "invalid multibulk length"),
        (b"*\r\n".to_vec(), "invalid multibulk length"),
        (b"*01\r\n".to_vec(), "invalid multibulk length"),
        (b"*+1\r\n".to_vec(), "invalid multibulk length"),
        (
            b"*99999999999999999999\r\n".to_vec(),
            "invalid multibulk length",
        ),
        (
            b"*3\r\n$3\r\nSET\r\n$1\r\nx\r\nfooz\r\n".to_vec(),
            "expected '$', got 'f'",
        ),
        (b"*1\r\nfoo\r\n".to_vec(), "expected '$', got 'f'"),
        (b"*1\r\n$-10\r\n".to_vec(), "invalid bulk length"),
        (b"*1\r\n$2000000000\r\n".to_vec(), "invalid bulk length"),
        (b"*1\r\n$blabla\r\n".to_vec(), "invalid bulk length"),
        (b"*1\r\n$01\r\n".to_vec(), "invalid bulk length"),
        (b"*1\r\n$\r\n".to_vec(), "invalid bulk length"),
        (
            b"set \"\"\"k\"\"\" v\r\nping\r\n".to_vec(),
            "unbalanced quotes in request",
        ),
        (b"set 'k\r\n".to_vec(), "unbalanced quotes in request"),
        (long(b""), "too big inline request"),
        (long(b"\0"), "too big inline request"),
        (long(b"\0\n"), "too big inline request"),
        (long(b"*"), "too big mbulk count string"),
        (long(b"*\0\r\n"), "too big mbulk count string"),
        (long(b"*1\r\n$"), "too big bulk count string"),
        (long(b"*1\r\nx"), "too big bulk count string"),
    ] {
        let shown = String::from_utf8_lossy(&input[..input.len().min(40)]).into_owned();
        let expected = Some(format!("Protocol error: {text}"));
        assert_eq!(error_of(LIMITS, &input), expected, "{shown:?}");
    }
}

#[test]
fn what_is_only_unfinished_is_no_error() {
    for input in [
        &b"*3\r\n$3\r\nSE"[..],
        b"*1\r\nfoo",
        b"*1\r\n$4\r\nPING\r",
        b"*1\r",
        b"ping",
    ] {
        assert_eq!(error_of(LIMITS, input), None);
    }
    let line = [b'x'; 64 * 1024];
    assert_eq!(error_of(LIMITS, &line), None);
}

#[test]
fn the_unauthenticated_may_ask_for_little() {
    let limits = Limits::unauthenticated(512 << 20);
    let error = |input: &[u8]| error_of(limits, input);
    assert_eq!(error(b"*10\r\n$16384\r\n"), None);
    let text = Some("Protocol error: unauthenticated multibulk length".into());
    assert_eq!(error(b"*11\r\n"), text);
    let eleven = [&b"*11\r\n"[..], &b"$1\r\nx\r\n".repeat(11)].concat();
    assert_eq!(error(&eleven), text);
    let text = Some("Protocol error: unauthenticated bulk length".into());
    assert_eq!(error(b"*2\r\n$16385\r\n"), text);
    let large = [&b"*1\r\n$16385\r\n"[..], &[b'x'; 16385], b"\r\n"].concat();
    assert_eq!(error(&large), text);
    assert_eq!(error_of(LIMITS, &eleven), None);
    assert_eq!(error_of(LIMITS, &large), None);
    // Small limits hold for complete requests as well.
    assert_eq!(
        error_of(Limits::authenticated(2), b"*1\r\n$3\r\nGET\r\n").as_deref(),
        Some("Protocol error: invalid bulk length")
    );
}

#[test]
fn the_unexpected_byte_is_shown_as_it_came() {
    let (_, result) = feed(LIMITS, b"*1\r\n\xffx\r\n", &[]);
    let error = result.unwrap_err();
    assert_eq!(
        error.reply_text(),
        b"ERR Protocol error: expected '$', got '\xff'"
    );
    assert_eq!(
        ProtocolError::InvalidCount.reply_text(),
        b"ERR Protocol error: invalid multibulk length"
    );
}

#[test]
fn declared_sizes_allocate_nothing() {
    let mut parser = Parser::new(LIMITS);
    let mut args = ArgVec::new();
    let buf = b"*2147483647\r\n$536870912\r\nabc";
    assert_eq!(parser.next(buf, &mut args), Ok(None));
    assert_eq!(parser.missing_bytes(buf.len()), (512 << 20) + 2 - 3);
    assert!(parser.partial.spans.capacity() <= 64);
    assert!(args.capacity() <= 96);
}

#[test]
fn a_request_of_a_million_arguments_in_small_reads() {
    let count = 1_000_000;
    let input = [
        format!("*{count}\r\n").as_bytes(),
        &b"$1\r\nx\r\n".repeat(count),
    ]
    .concat();
    let cuts: Vec<usize> = (0..input.len()).step_by(701).collect();
    let started = std::time::Instant::now();
    let (requests, end) = feed(LIMITS, &input, &cuts);
    assert_eq!(end, Ok(input.len()));
    assert_eq!(requests[0].len(), count);
    // A parser that began anew at each read would look at some 35 GB.
    assert!(started.elapsed().as_secs() < 5);
}

fn encoded(request: &[Vec<u8>]) -> Vec<u8> {
    let items = request
        .iter()
        .map(|arg| OwnedFrame::BulkString(arg.clone()))
        .collect();
    let frame = OwnedFrame::Array(items);
    let mut out = vec![0; frame.encode_len(false)];
    let len = encode::encode(&mut out, &frame, false).unwrap();
    out.truncate(len);
    out
}

fn a_request() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let short = proptest::collection::vec(any::<u8>(), 0..20);
    let long = proptest::collection::vec(any::<u8>(), 90..1200);
    proptest::collection::vec(prop_oneof![8 => short, 1 => long], 1..14)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn agrees_with_another_codec_however_it_is_cut(
        requests in proptest::collection::vec(a_request(), 1..8),
        mut cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..40),
    ) {
        let input: Vec<u8> = requests.iter().flat_map(|request| encoded(request)).collect();
        let mut cuts: Vec<usize> = cuts.drain(..).map(|cut| cut.index(input.len())).collect();
        cuts.sort_unstable();
        let (parsed, end) = feed(LIMITS, &input, &cuts);
        prop_assert_eq!(parsed, requests);
        prop_assert_eq!(end, Ok(input.len()));
    }

    #[test]
    fn garbage_gives_the_same_however_it_is_cut(
        input in "(\\*[0-9-]{1,3}\r\n|\\$[0-9]{1,2}\r\n|[a-c\"' ]{0,6}|\r\n|\n|\\*|\\$|\0){0,20}",
        cut in any::<prop::sample::Index>(),
        any_limits in prop_oneof![Just(LIMITS), Just(Limits::unauthenticated(5))],
    ) {
        let input = input.as_bytes();
        let at = cut.index(input.len() + 1);
        let every: Vec<usize> = (0..input.len()).collect();
        let whole = feed(any_limits, input, &[]);
        prop_assert_eq!(&feed(any_limits, input, &[at]), &whole);
        prop_assert_eq!(&feed(any_limits, input, &every), &whole);
    }

    #[test]
    fn any_bytes_are_safe(input: Vec<u8>) {
        let _ = feed(LIMITS, &input, &[input.len() / 2]);
    }
}

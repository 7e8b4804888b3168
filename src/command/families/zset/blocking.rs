//! The pops that wait for an element.

use super::arg;
use super::pops::{MultiPop, Shape, Side, pop};
use crate::command::blocking::{Nothing, Wait, timeout_seconds};
use crate::command::ctx::{CommandError, Ctx, Outcome};
use crate::keyspace::value::ValueKind;
use crate::resp::reply::Reply;

/// `BZPOPMIN key [key ...] timeout`
pub(super) fn bzpopmin(ctx: &mut Ctx<'_>, args: &[&[u8]], reply: &mut Reply) -> Outcome {
    pop_or_wait(ctx, args, Side::Min, reply)
}

/// `BZPOPMAX key [key ...] timeout`
pub(super) fn bzpopmax(ctx: &mut Ctx<'_>, args: &[&[u8]], reply: &mut Reply) -> Outcome {
    pop_or_wait(ctx, args, Side::Max, reply)
}

fn pop_or_wait(ctx: &mut Ctx<'_>, args: &[&[u8]], side: Side, reply: &mut Reply) -> Outcome {
    let [_, keys @ .., timeout] = args else {
        return Err(CommandError::SYNTAX);
    };
    let timeout_ms = timeout_seconds(timeout, ctx.now_ms())?;
    for key in keys {
        if ctx.holds(key) && pop(ctx, key, side, 1, Shape::KeyFlat, reply)? > 0 {
            return Ok(ctx.rewritten(&[side.command(), key]));
        }
    }
    wait(ctx, keys, args, timeout_ms, reply)
}

/// `BZMPOP timeout numkeys key [key ...] <MIN | MAX> [COUNT count]`
pub(super) fn bzmpop(ctx: &mut Ctx<'_>, args: &[&[u8]], reply: &mut Reply) -> Outcome {
    let request = MultiPop::parse(args.get(2..).unwrap_or_default())?;
    let timeout_ms = timeout_seconds(arg(args, 1), ctx.now_ms())?;
    match request.pop(ctx, reply)? {
        Some(effect) => Ok(effect),
        None => wait(ctx, request.keys, args, timeout_ms, reply),
    }
}

fn wait(
    ctx: &mut Ctx<'_>,
    keys: &[&[u8]],
    argv: &[&[u8]],
    timeout_ms: u64,
    reply: &mut Reply,
) -> Outcome {
    let wait = Wait {
        keys,
        kind: ValueKind::Zset,
        on_gone: false,
        also: &[],
        timeout_ms,
        argv,
        nothing: Nothing::NullArray,
    };
    ctx.wait(&wait, reply)
}

#[cfg(test)]
mod tests {
    use crate::command::testing::{Begun, TestClient, TestServer};

    #[track_caller]
    fn served(client: &mut TestClient, waiting: &mut Begun, reply: &str) {
        assert_eq!(client.reply_to(waiting).as_deref(), Some(reply));
    }

    #[test]
    fn what_is_there_is_taken_at_once_and_logged_as_a_pop() {
        let mut t = TestServer::new();
        t.run("ZADD z 1 a 2 b 3 c 4 d");
        t.expect(&[
            ("BZPOPMIN y z 0", r#"["z", "a", "1"]"#),
            ("BZPOPMAX y z 0", r#"["z", "d", "4"]"#),
            (
                "BZMPOP 0 2 y z MIN COUNT 5",
                r#"["z", [["b", "2"], ["c", "3"]]]"#,
            ),
            ("BZPOPMIN y z 0.001", "nil-array"),
            ("BZMPOP 0.001 1 z MAX", "nil-array"),
            ("BZPOPMIN z -1", "-ERR timeout is negative"),
            (
                "BZMPOP x 1 z MIN",
                "-ERR timeout is not a float or out of range",
            ),
            ("BZMPOP x 1 z FOO", "-ERR syntax error"),
            (
                "BZMPOP x 1 z MIN COUNT 0",
                "-ERR count should be greater than 0",
            ),
        ]);
        assert_eq!(
            t.effects(),
            [
                "ZADD z 1 a 2 b 3 c 4 d",
                "ZPOPMIN z",
                "ZPOPMAX z",
                "ZPOPMIN z 2"
            ]
        );
    }

    #[test]
    fn an_element_serves_who_waits_and_a_list_does_not() {
        let mut t = TestServer::new();
        let (mut a, mut b) = (t.client(), t.client());
        b.set_resp3(true);
        let mut first = a.begin("BZPOPMAX z 0");
        let mut second = b.begin("BZMPOP 0 1 z MIN COUNT 2");
        for line in ["RPUSH z x", "DEL z", "ZADD z 1 a 2 b 3 c"] {
            t.run(line);
        }
        served(&mut a, &mut first, r#"["z", "c", "3"]"#);
        served(&mut b, &mut second, r#"["z", [["a", ,1], ["b", ,2]]]"#);
        assert_eq!(t.run("EXISTS z"), ":0");
    }
}

//! Clients that block on the same key one after the other, and what may serve them.
//!
//! The keys are of their own. `q0` is what is waited for, `q1` stays empty, `q2` is something to
//! move from, `q3` to move to. In the end enough is put into `q0` to serve everyone.

use super::{Run, words};
use crate::support::wait_until;
use std::time::Duration;

/// How many clients block at most.
pub const CLIENTS: usize = 3;
/// The longest until a client blocks.
const PATIENCE: Duration = Duration::from_secs(20);

/// A kind of thing to wait for.
struct Kind {
    before: &'static [&'static str],
    block: &'static [&'static str],
    /// Lines with several commands, of which one is sent.
    serve: &'static [&'static str],
    /// The same of Redis 8. Its predecessor serves a reader of a stream with nothing.
    serve_redis_8: &'static [&'static str],
    surely: &'static str,
}

const KINDS: [&Kind; 4] = [
    &Kind {
        before: &["RPUSH q2 a b c"],
        block: &[
            "BLPOP q1 q0 0",
            "BRPOP q0 q1 0",
            "BLMOVE q0 q3 LEFT RIGHT 0",
            "BRPOPLPUSH q0 q3 0",
            "BLMPOP 0 2 q1 q0 LEFT COUNT 2",
            "BLMPOP 0 1 q0 RIGHT",
        ],
        serve: &[
            "RPUSH q0 d",
            "LPUSH q0 d e",
            "RENAME q2 q0",
            "COPY q2 q0",
            "LMOVE q2 q0 RIGHT LEFT",
            "SORT q2 BY nosort STORE q0",
            "MULTI;RPUSH q0 d;LPOP q0;EXEC",
            "MULTI;RPUSH q0 d e;DEL q0;RPUSH q0 f;EXEC",
            "MULTI;LPUSH q0 d;LPUSH q0 e;EXEC;LLEN q0",
            "SADD q0 d;DEL q0",
            "SET q0 d;DEL q0",
            "SWAPDB 0 5;RPUSH q0 other;SWAPDB 0 5",
        ],
        serve_redis_8: &[],
        surely: "RPUSH q0 1 2 3 4 5 6 7 8",
    },
    &Kind {
        before: &["ZADD q2 1 a 2 b 3 c"],
        block: &[
            "BZPOPMIN q1 q0 0",
            "BZPOPMAX q0 q1 0",
            "BZMPOP 0 2 q1 q0 MIN COUNT 2",
            "BZMPOP 0 1 q0 MAX",
        ],
        serve: &[
            "ZADD q0 1 d 2 e",
            "ZINCRBY q0 5 d",
            "ZUNIONSTORE q0 2 q2 q1",
            "ZRANGESTORE q0 q2 0 -1",
            "GEOADD q0 1 1 d",
            "RENAME q2 q0",
            "MULTI;ZADD q0 1 d;ZREM q0 d;EXEC",
            "MULTI;ZADD q0 1 d;ZADD q0 0 e;EXEC",
            "LPUSH q0 d;DEL q0",
        ],
        serve_redis_8: &[],
        surely: "ZADD q0 1 k 2 l 3 m 4 n 5 o 6 p 7 q",
    },
    &Kind {
        before: &["XADD q2 3-1 f v"],
        block: &[
            "XREAD BLOCK 0 STREAMS q1 q0 $ $",
            "XREAD COUNT 1 BLOCK 0 STREAMS q0 7-0",
            "XREAD BLOCK 0 STREAMS q0 q2 0 $",
        ],
        serve: &[
            "XADD q0 5-1 f v",
            "MULTI;XADD q0 5-1 f v;XADD q0 5-2 f w;EXEC",
            "RENAME q2 q0",
            "XADD q0 MAXLEN 1 6-1 f v",
            "LPUSH q0 d;DEL q0",
        ],
        serve_redis_8: &[
            "MULTI;XADD q0 5-1 f v;XDEL q0 5-1;EXEC;DEL q0",
            "XADD q0 MAXLEN 0 6-1 f v",
        ],
        surely: "XADD q0 9-1 f v",
    },
    &Kind {
        before: &[
            "XGROUP CREATE q0 g $ MKSTREAM",
            "XGROUP CREATE q1 g $ MKSTREAM",
        ],
        block: &[
            "XREADGROUP GROUP g c1 BLOCK 0 STREAMS q0 >",
            "XREADGROUP GROUP g c2 COUNT 1 BLOCK 0 STREAMS q1 q0 > >",
            "XREADGROUP GROUP g c3 COUNT 2 BLOCK 0 NOACK STREAMS q0 >",
        ],
        serve: &[
            "XADD q0 5-1 f v",
            "MULTI;XADD q0 5-1 f v;XADD q0 5-2 f w;XADD q0 5-3 f w;EXEC",
            "XADD q0 5-1 f v;XADD q0 5-2 f w;XPENDING q0 g",
            "XGROUP SETID q0 g 0",
        ],
        serve_redis_8: &[],
        surely: "XADD q0 9-1 f v;XADD q0 9-2 f v;XADD q0 9-3 f v",
    },
];

impl Run {
    /// Clients block and are served, in the same way on both servers.
    pub fn block(&mut self) {
        let kind = KINDS[usize::try_from(self.dice.below(KINDS.len() as u64)).unwrap()];
        let mut batch = vec![words("DEL q0 q1 q2 q3")];
        batch.extend(kind.before.iter().map(|line| words(line)));
        self.pipeline(&batch);

        let count = 1 + usize::try_from(self.dice.below(CLIENTS as u64)).unwrap();
        let requests = [(); CLIENTS].map(|()| words(self.dice.pick(kind.block)));
        let requests = &requests[..count];
        for (n, request) in requests.iter().enumerate() {
            for side in &mut self.sides {
                side.blocked[n].send(request).unwrap();
                wait_until("a client to block", PATIENCE, || {
                    side.control.info_number("blocked_clients") == n as u64 + 1
                });
            }
        }
        let serve = if self.of_redis_8 && self.dice.below(4) == 0 && !kind.serve_redis_8.is_empty()
        {
            self.dice.pick(kind.serve_redis_8)
        } else {
            self.dice.pick(kind.serve)
        };
        let lines = serve.split(';').chain(kind.surely.split(';'));
        let batch: Vec<_> = lines.map(words).collect();
        self.pipeline(&batch);
        let protocol = self.protocol;
        for (n, request) in requests.iter().enumerate() {
            let [got, expected] = self.sides.each_mut().map(|side| {
                let length = |bytes: &[u8]| protocol.length(bytes);
                side.blocked[n].receive_raw(length).unwrap()
            });
            self.compare(request, &got, &expected);
        }
        let found = [
            "LRANGE q3 0 -1",
            "LRANGE q0 0 -1",
            "ZRANGE q0 0 -1",
            "XRANGE q0 - +",
        ];
        self.pipeline(&found.map(words));
    }
}

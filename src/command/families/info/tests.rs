//! What INFO is told about sizes agrees with the values themselves, whatever was done to them.

use crate::command::testing::TestServer;
use crate::keyspace::locks::{SHARD_BITS, SHARDS, ShardMask};
use crate::keyspace::sizes::{SizeSums, Sizes};

/// Commands of which each does something to a length; `K` and `L` are keys, `N` is a number.
const COMMANDS: &[&str] = &[
    "SET K N",
    "SET K xxxxxxxxxxxxxxxxxx",
    "SET K yyyyyyyy",
    "SET K 123 EX 100",
    "APPEND K zzzzzzzzzzzzzzzzz",
    "SETRANGE K N abc",
    "SETBIT K N 1",
    "INCRBY K N",
    "DECRBY K 1000000",
    "INCRBYFLOAT K 0.5",
    "GETDEL K",
    "PFADD K N a b c",
    "RPUSH K N N N N N",
    "LPOP K 3",
    "LTRIM K 1 3",
    "LMOVE K L LEFT RIGHT",
    "SADD K N N1 N2 N3",
    "SREM K N",
    "SPOP K 2",
    "SMOVE K L N",
    "SUNIONSTORE K K L",
    "ZADD K N N 1 N1 2 N2",
    "ZREM K N",
    "ZPOPMIN K 2",
    "ZUNIONSTORE K 2 K L",
    "HSET K N a f b g c",
    "HDEL K N f",
    "HPEXPIRE K 5 FIELDS 1 f",
    "HGET K f",
    "HSETEX K PX 3 FIELDS 1 N v",
    "XADD K * f v",
    "DEL K",
    "DEL K",
    "RENAME K L",
    "COPY K L REPLACE",
    "MOVE K 1",
    "PEXPIRE K 4",
    "PERSIST K",
    "SORT K ALPHA STORE L",
    "SWAPDB 0 1",
    "FLUSHDB",
];

fn recounted(t: &TestServer, db: usize) -> (SizeSums, SizeSums) {
    let (mut kept, mut counted) = (SizeSums::default(), SizeSums::default());
    for index in 0..SHARDS {
        let mut locked = t.engine.keyspace.lock(ShardMask::only(index));
        let Some(d) = locked.shard(index).and_then(|s| s.db(db)) else {
            continue;
        };
        let mut sizes = Sizes::default();
        let first = (index as u64) << (64 - SHARD_BITS);
        d.table
            .scan(first, usize::MAX, |e| sizes.add(e.size_class()));
        kept.add(d.table.sizes());
        counted.add(&sizes);
    }
    (kept, counted)
}

#[test]
fn sizes_are_those_of_the_values_whatever_was_done_to_them() {
    for seed in 0..8u64 {
        let mut t = TestServer::with(&["--hash-max-listpack-entries", "3"]);
        let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) + 1;
        let mut below = |n: usize| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (state >> 33) as usize % n
        };
        for step in 0..3000 {
            let template = COMMANDS[below(COMMANDS.len())];
            let number = [0, 3, 9, 10, 99, 1000, 70_000][below(7)].to_string();
            let words = template.split(' ').map(|word| match word {
                "K" | "L" => format!("key{}", below(6)),
                word => word.replace('N', &number),
            });
            let line: Vec<String> = match template.split_once(' ') {
                Some((name, _)) => std::iter::once(name.to_owned())
                    .chain(words.skip(1))
                    .collect(),
                None => vec![template.to_owned()],
            };
            t.run(&line.join(" "));
            if step % 5 == 0 {
                t.advance(1);
            }
            for db in 0..2 {
                let (kept, counted) = recounted(&t, db);
                assert_eq!(
                    kept,
                    counted,
                    "seed {seed}, step {step}, {}",
                    line.join(" ")
                );
            }
        }
    }
}

//! INFO and DBSIZE's relatives: what a server tells about itself.

use crate::keyspace::locks::{SHARDS, ShardMask};
use crate::keyspace::shard::Shard;
use crate::keyspace::sizes::SizeSums;
use crate::oplog::effect::Effect;
use crate::resp::reply::Reply;

use super::super::ctx::{Ctx, Outcome};
use super::super::host::DbInfo;
use super::{Family, Locks};

/// The family.
pub const HANDLERS: Family = &[("info", info, Locks::Own)];

/// Expiries of a shard's database that its average time to live is told from.
const SAMPLED: usize = 8;

/// `INFO [section ...]`
fn info(ctx: &mut Ctx<'_>, args: &[&[u8]], reply: &mut Reply) -> Outcome {
    let sections: Vec<Vec<u8>> = args
        .iter()
        .skip(1)
        .map(|a| a.to_ascii_lowercase())
        .collect();
    let engine = ctx.engine;
    let text = engine.host.info(&sections, &mut || databases(ctx));
    reply.verbatim("txt", text.as_bytes());
    Ok(Effect::None)
}

/// What the databases hold, shard by shard: not of one instant, and nobody waits.
fn databases(ctx: &mut Ctx<'_>) -> Vec<DbInfo> {
    let keyspace = &ctx.engine.keyspace;
    let mut sums = vec![Sum::default(); keyspace.databases()];
    for index in 0..SHARDS {
        if ctx.nested {
            if let Some(shard) = ctx.unit.shard(index) {
                add(shard, &mut sums);
            }
        } else if let Some(shard) = keyspace.lock(ShardMask::only(index)).shard(index) {
            add(shard, &mut sums);
        }
    }
    let now_ms = ctx.now_ms();
    sums.into_iter().map(|s| s.finish(now_ms)).collect()
}

#[derive(Clone, Default)]
struct Sum {
    keys: u64,
    volatile: u64,
    timed: u64,
    sizes: SizeSums,
    sampled: u64,
    expiries_ms: i128,
}

fn add(shard: &Shard, sums: &mut [Sum]) {
    for (n, sum) in sums.iter_mut().enumerate() {
        let Some(db) = shard.db(n) else { continue };
        if db.table.is_empty() {
            continue;
        }
        sum.keys += db.table.len() as u64;
        sum.volatile += db.table.volatile_len() as u64;
        sum.timed += db.table.timed_len() as u64;
        sum.sizes.add(db.table.sizes());
        if db.table.volatile_len() > 0 {
            let (expiries_ms, sampled) = db.table.sample_expiries(SAMPLED);
            sum.expiries_ms += expiries_ms;
            sum.sampled += sampled;
        }
    }
}

impl Sum {
    fn finish(self, now_ms: i64) -> DbInfo {
        let average = self
            .expiries_ms
            .checked_div(i128::from(self.sampled))
            .unwrap_or(0);
        let left = average - i128::from(now_ms);
        let average_ttl_ms = if self.sampled == 0 {
            0
        } else {
            i64::try_from(left).unwrap_or(0).max(0)
        };
        DbInfo {
            keys: self.keys,
            volatile: self.volatile,
            average_ttl_ms,
            timed: self.timed,
            sizes: self.sizes,
        }
    }
}

#[cfg(test)]
mod tests;

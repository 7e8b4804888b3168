//! Hashes whose fields have an expiry, as Redis 7.4 and later write them.
//!
//! ```text
//! 22            | count | (at, field, value) * count
//! 23                    | listpack of field, value, at
//! 24  | min u64 | count | (0, or at - min + 1; field, value) * count
//! 25  | min u64 |         listpack of field, value, at
//! ```
//!
//! `at` is the field's expiry in Unix milliseconds, 0 for none; outside of listpacks it is a length
//! field. `min` (little endian) is the earliest expiry and only the base that 24 counts from: what
//! is kept comes from the fields. 22 and 23 are of release candidates. The layouts are those of the
//! MIT-licensed readers librdb and RedisShake, and of files that Redis 8.0 wrote.

use std::io::Read;

use super::{FromBlock, Loader, block, non_empty_hash};
use crate::keyspace::value::Value;
use crate::keyspace::value::hash::{Hash, HashLimits, Lifetime};
use crate::keyspace::value::packed::MAX_EXPIRY_MS;
use crate::persist::rdb::elems::{Elem, Elems};
use crate::persist::rdb::error::{BadBlock, Result};
use crate::persist::rdb::listpack::Listpack;
use crate::persist::rdb::source::Source;

/// The expiry of a field, `None` if it cannot be one.
fn lifetime(at_ms: u64) -> Option<Lifetime> {
    match i64::try_from(at_ms).ok()? {
        0 => Some(Lifetime::Endless),
        at_ms => (at_ms <= MAX_EXPIRY_MS).then_some(Lifetime::Until(at_ms)),
    }
}

/// The base that expiries count from.
fn base<R: Read>(source: &mut Source<R>) -> Result<u64> {
    let base = u64::from_le_bytes(source.array()?);
    if lifetime(base).is_none() {
        return Err(source.corrupt("invalid minExpire time"));
    }
    Ok(base)
}

impl Loader {
    /// Field by field; `relative` if expiries count from the earliest one.
    pub(super) fn timed_hash<R: Read>(
        &mut self,
        source: &mut Source<R>,
        relative: bool,
    ) -> Result<Option<Value>> {
        let base = if relative { base(source)? } else { 0 };
        let mut hash = Hash::default();
        for _ in 0..source.length()? {
            let stored = source.length()?;
            let at_ms = match stored {
                0 => Some(0),
                _ if relative => (stored - 1).checked_add(base).filter(|at| *at > 0),
                at_ms => Some(at_ms),
            };
            let Some(lifetime) = at_ms.and_then(lifetime) else {
                return Err(source.corrupt("invalid expireAt time"));
            };
            self.field.clear();
            let int = source.string_into(&mut self.field)?;
            let field = int.map_or(Elem::Bytes(&self.field), Elem::Int);
            let value = source.string()?;
            if !hash.set_for(field, value, lifetime, &self.limits.hash) {
                return Err(source.corrupt("Duplicate hash fields detected"));
            }
        }
        Ok(non_empty_hash(hash))
    }

    /// A listpack; `based` if the earliest expiry stands in front.
    pub(super) fn timed_listpack<R: Read>(
        &mut self,
        source: &mut Source<R>,
        based: bool,
    ) -> Result<Option<Value>> {
        if based {
            base(source)?;
        }
        let limits = self.limits.hash;
        block(source, "Hash listpack", |block| triples(block, limits)).map(non_empty_hash)
    }
}

fn triples(block: &[u8], limits: HashLimits) -> FromBlock<Hash> {
    let mut hash = Hash::default();
    let mut elems = Listpack::new(block)?;
    let mut previous = 0;
    while let Some(field) = elems.next_elem()? {
        let at = elems.at();
        let value = elems.next_elem()?;
        let value = value.ok_or(BadBlock::new("field without value", at))?;
        let at_ms = match elems.next_elem()? {
            Some(at_ms) => at_ms.as_int().and_then(|at_ms| u64::try_from(at_ms).ok()),
            None => return Err(BadBlock::new("field without expiry", at)),
        };
        let lifetime = at_ms.and_then(lifetime);
        let lifetime = lifetime.ok_or(BadBlock::new("expiry is not a time", at))?;
        // Those without an expiry stand last.
        let order = at_ms.map_or(0, |at_ms| at_ms.wrapping_sub(1));
        if order < previous {
            return Err(BadBlock::new("expiries do not ascend", at));
        }
        previous = order;
        if !hash.set_for(field, value, lifetime, &limits) {
            return Err(BadBlock::new("field comes twice", at));
        }
    }
    Ok(hash)
}

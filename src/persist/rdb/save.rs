//! From a value to its bytes: the oldest type that carries it, compact for small collections.

mod stream;

use std::io::{self, Write};

use crate::base::num::fmt_f64;
use crate::keyspace::value::hash::{Hash, Record};
use crate::keyspace::value::list::{List, NodeView};
use crate::keyspace::value::packed::Packed;
use crate::keyspace::value::set::Set;
use crate::keyspace::value::zset::Zset;
use crate::keyspace::value::{StrRef, ValueRef};
use crate::persist::rdb::types::{NODE_PACKED, NODE_PLAIN, ObjectType};
use crate::persist::rdb::writer::{Usage, Writer};

impl<W: Write> Writer<W> {
    /// A key with its value, in database `db`.
    pub fn entry(
        &mut self,
        db: u32,
        key: &[u8],
        value: ValueRef<'_>,
        expire_ms: Option<i64>,
        usage: Usage,
    ) -> io::Result<()> {
        self.select_db(db)?;
        self.entry_head(self.object_type(value), key, expire_ms, usage)?;
        self.object(value)
    }

    /// The type that `value` is written as.
    pub fn object_type(&self, value: ValueRef<'_>) -> ObjectType {
        match value {
            ValueRef::Str(_) => ObjectType::String,
            ValueRef::List(_) => ObjectType::ListQuicklist2,
            ValueRef::Set(set) if set.as_ints().is_some() => ObjectType::SetIntset,
            ValueRef::Set(set) if set.as_packed().is_some() && self.has_set_listpack() => {
                ObjectType::SetListpack
            }
            ValueRef::Set(_) => ObjectType::Set,
            ValueRef::Hash(hash) => match (hash.as_packed().is_some(), hash.next_expiry()) {
                (true, None) => ObjectType::HashListpack,
                (true, Some(_)) => ObjectType::HashListpackEx,
                (false, None) => ObjectType::Hash,
                (false, Some(_)) => ObjectType::HashMetadata,
            },
            ValueRef::Zset(zset) if is_small(zset) => ObjectType::ZsetListpack,
            ValueRef::Zset(_) => ObjectType::Zset2,
            ValueRef::Stream(_) if self.has_active_times() => ObjectType::StreamListpacks3,
            ValueRef::Stream(_) => ObjectType::StreamListpacks2,
        }
    }

    /// The bytes of `value`, without its type.
    pub fn object(&mut self, value: ValueRef<'_>) -> io::Result<()> {
        match value {
            ValueRef::Str(string) => self.string_object(string),
            ValueRef::List(list) => self.list_object(list),
            ValueRef::Set(set) => self.set_object(set),
            ValueRef::Zset(zset) => self.zset_object(zset),
            ValueRef::Hash(hash) => self.hash_object(hash),
            ValueRef::Stream(stream) => self.stream_object(stream),
        }
    }

    fn string_object(&mut self, value: StrRef<'_>) -> io::Result<()> {
        match value {
            StrRef::Int(int) => self.int_string(int),
            StrRef::Inline(bytes) => self.string(bytes),
            StrRef::Heap(bytes) => self.string(bytes),
        }
    }

    fn list_object(&mut self, list: &List) -> io::Result<()> {
        let mut nodes = 0;
        list.nodes(|_| nodes += 1);
        self.length(nodes)?;
        let mut outcome = Ok(());
        list.nodes(|node| {
            if outcome.is_ok() {
                outcome = self.list_node(node);
            }
        });
        outcome
    }

    fn list_node(&mut self, node: NodeView<'_>) -> io::Result<()> {
        match node {
            NodeView::Packed { entries, count } => {
                self.length(NODE_PACKED)?;
                self.listpack.append_entries(entries, count as u64);
                self.built_listpack()
            }
            NodeView::Plain(bytes) => {
                self.length(NODE_PLAIN)?;
                self.string(bytes)
            }
        }
    }

    /// Small sets of strings became a type of their own with Redis 7.2.
    fn has_set_listpack(&self) -> bool {
        self.config().version >= 11
    }

    fn packed(&mut self, packed: &Packed) -> io::Result<()> {
        for elem in packed.iter() {
            self.listpack.push_elem(elem);
        }
        self.built_listpack()
    }

    fn set_object(&mut self, set: &Set) -> io::Result<()> {
        if let Some((width, members)) = set.as_ints() {
            let count = members.len() / width.max(1);
            let header = [(width as u32).to_le_bytes(), (count as u32).to_le_bytes()];
            return self.string(&[header.as_flattened(), members].concat());
        }
        if let Some(packed) = set.as_packed()
            && self.has_set_listpack()
        {
            return self.packed(packed);
        }
        self.length(set.len() as u64)?;
        for member in set.iter() {
            self.elem(member)?;
        }
        Ok(())
    }

    fn zset_object(&mut self, zset: &Zset) -> io::Result<()> {
        if is_small(zset) {
            for (member, score) in zset.iter() {
                self.listpack.push_elem(member);
                match integer(score) {
                    Some(int) => self.listpack.push_int(int),
                    None => self.listpack.push(&fmt_f64(score)),
                }
            }
            return self.built_listpack();
        }
        self.length(zset.len() as u64)?;
        // From the greatest on: a skiplist is built fastest if every element becomes its first.
        for (member, score) in zset.range(0..zset.len(), true) {
            self.elem(member)?;
            self.double(score)?;
        }
        Ok(())
    }

    fn hash_object(&mut self, hash: &Hash) -> io::Result<()> {
        if let Some(earliest) = hash.next_expiry() {
            return self.timed_hash_object(hash, earliest);
        }
        if let Some(packed) = hash.as_packed() {
            return self.packed(packed);
        }
        self.length(hash.len() as u64)?;
        for record in hash.iter() {
            self.elem(record.key)?;
            self.elem(record.value)?;
        }
        Ok(())
    }

    /// A hash whose fields expire; `load::timed` draws both forms. Redis keeps and expects the
    /// fields of a listpack in the order of their expiry.
    fn timed_hash_object(&mut self, hash: &Hash, earliest: i64) -> io::Result<()> {
        self.raw(&earliest.to_le_bytes())?;
        if hash.as_packed().is_none() {
            self.length(hash.len() as u64)?;
            for record in hash.iter() {
                let after = record.expire_ms.map_or(0, |at| at - earliest + 1);
                self.length(after.unsigned_abs())?;
                self.elem(record.key)?;
                self.elem(record.value)?;
            }
            return Ok(());
        }
        let mut records: Vec<Record<'_>> = hash.iter().collect();
        records.sort_by_key(|record| (record.expire_ms.is_none(), record.expire_ms));
        for record in records {
            self.listpack.push_elem(record.key);
            self.listpack.push_elem(record.value);
            self.listpack.push_int(record.expire_ms.unwrap_or(0));
        }
        self.built_listpack()
    }
}

fn is_small(zset: &Zset) -> bool {
    zset.encoding() == "listpack"
}

/// The score as an integer, if it is one of those that Redis packs as integers.
fn integer(score: f64) -> Option<i64> {
    const BOUND: f64 = (i64::MAX / 2) as f64;
    let int = score as i64;
    (score.abs() <= BOUND && int as f64 == score).then_some(int)
}

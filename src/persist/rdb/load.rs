//! From the bytes of a value to the value.
//!
//! Packed blocks are read element by element into our own types: the encodings in memory are ours
//! to choose by the configured thresholds, and reading each element is what checking it takes
//! anyway. A member or field that comes twice is refused, whatever the encoding. Only the nodes of
//! a list are taken as they are, after the same checks, because a list keeps them in that form.

mod stream;
mod timed;

use std::cmp::Ordering;
use std::io::Read;
use std::sync::Arc;

use smallvec::SmallVec;

use crate::base::num::parse_f64;
use crate::keyspace::shard::NewValue;
use crate::keyspace::value::hash::{Hash, HashLimits};
use crate::keyspace::value::list::{End, List, ListLimits};
use crate::keyspace::value::packed::Packed;
use crate::keyspace::value::set::{Set, SetLimits};
use crate::keyspace::value::zset::{Zset, ZsetLimits};
use crate::keyspace::value::{INLINE_MAX_BYTES, Str, Value};
use crate::persist::rdb::elems::{Elem, Elems};
use crate::persist::rdb::error::{BadBlock, ErrorKind, Result};
use crate::persist::rdb::intset::Intset;
use crate::persist::rdb::listpack::{self, Listpack};
use crate::persist::rdb::source::{Source, Text};
use crate::persist::rdb::types::{NODE_PACKED, NODE_PLAIN, ObjectType};
use crate::persist::rdb::ziplist::Ziplist;
use crate::persist::rdb::zipmap::Zipmap;

/// Thresholds of the encodings that collections are loaded into.
#[derive(Debug, Clone, Copy, Default)]
pub struct Limits {
    /// Of hashes.
    pub hash: HashLimits,
    /// Of lists.
    pub list: ListLimits,
    /// Of sets.
    pub set: SetLimits,
    /// Of sorted sets.
    pub zset: ZsetLimits,
}

/// Reads values, with room that is reused from one to the next.
pub struct Loader {
    limits: Limits,
    /// The field whose value is being read.
    field: Vec<u8>,
}

/// What a packed block held, or what is wrong with it.
type FromBlock<T> = std::result::Result<T, BadBlock>;

impl Loader {
    /// A loader for the given thresholds.
    pub fn new(limits: Limits) -> Loader {
        Loader {
            limits,
            field: Vec::new(),
        }
    }

    /// As [`Loader::load`]; a short string is lent from `source`.
    pub fn load_new<'s, R: Read>(
        &mut self,
        kind: ObjectType,
        source: &'s mut Source<R>,
    ) -> Result<Option<NewValue<'s>>> {
        if kind != ObjectType::String {
            return Ok(self.load(kind, source)?.map(NewValue::Value));
        }
        Ok(Some(match source.text(INLINE_MAX_BYTES)? {
            Text::Lent(Elem::Bytes(bytes)) => NewValue::Bytes(bytes),
            Text::Lent(Elem::Int(int)) => NewValue::Value(Value::Str(Str::Int(int))),
            Text::Own(bytes) => NewValue::Value(Value::Str(Str::Heap(Arc::new(bytes)))),
        }))
    }

    /// The value of type `kind` that follows in `source`; `None` for a collection without
    /// elements.
    pub fn load<R: Read>(
        &mut self,
        kind: ObjectType,
        source: &mut Source<R>,
    ) -> Result<Option<Value>> {
        let limits = self.limits;
        match kind {
            ObjectType::String => Ok(self.load_new(kind, source)?.map(NewValue::into_value)),
            ObjectType::List => self.list(source),
            ObjectType::ListZiplist => block(source, "List ziplist", |block| {
                let mut list = List::default();
                append_elems(&mut list, limits.list, Ziplist::new(block)?)?;
                Ok(list)
            })
            .map(|list| self.settled(list)),
            ObjectType::ListQuicklist => self.quicklist(source, |list, block| {
                append_elems(list, limits.list, Ziplist::new(block)?)
            }),
            ObjectType::ListQuicklist2 => self.quicklist2(source),
            ObjectType::Set => self.set(source),
            ObjectType::SetIntset => block(source, "Intset", |block| {
                intset(Intset::new(block)?, limits.set)
            })
            .map(non_empty_set),
            ObjectType::SetListpack => {
                block(source, "Set listpack", |block| set(block, limits.set)).map(non_empty_set)
            }
            ObjectType::Zset => self.zset(source, text_score),
            ObjectType::Zset2 => self.zset(source, Source::double),
            ObjectType::ZsetZiplist => block(source, "Zset ziplist", |block| {
                zset(Ziplist::new(block)?, limits.zset)
            })
            .map(non_empty_zset),
            ObjectType::ZsetListpack => block(source, "Zset listpack", |block| {
                zset(Listpack::new(block)?, limits.zset)
            })
            .map(non_empty_zset),
            ObjectType::Hash => self.hash(source),
            ObjectType::HashZipmap => block(source, "Zipmap", |block| {
                hash(|| Zipmap::new(block), limits.hash)
            })
            .map(non_empty_hash),
            ObjectType::HashZiplist => block(source, "Hash ziplist", |block| {
                hash(|| Ziplist::new(block), limits.hash)
            })
            .map(non_empty_hash),
            ObjectType::HashListpack => block(source, "Hash listpack", |block| {
                hash(|| Listpack::new(block), limits.hash)
            })
            .map(non_empty_hash),
            ObjectType::StreamListpacks
            | ObjectType::StreamListpacks2
            | ObjectType::StreamListpacks3 => self.stream(kind, source),
            ObjectType::HashMetadataPreGa => self.timed_hash(source, false),
            ObjectType::HashMetadata => self.timed_hash(source, true),
            ObjectType::HashListpackExPreGa => self.timed_listpack(source, false),
            ObjectType::HashListpackEx => self.timed_listpack(source, true),
            ObjectType::ModulePreGa => Err(source.fail(ErrorKind::Unsupported(
                "Pre-release module format not supported".to_owned(),
            ))),
            _ => Err(source.fail(ErrorKind::Unsupported(format!(
                "RDB object type {} ({}) is not supported by this server",
                kind as u8,
                kind.name()
            )))),
        }
    }

    fn settled(&self, mut list: List) -> Option<Value> {
        list.settle(self.limits.list);
        (!list.is_empty()).then(|| list.into())
    }

    fn list<R: Read>(&mut self, source: &mut Source<R>) -> Result<Option<Value>> {
        let mut list = List::default();
        let mut text = itoa::Buffer::new();
        for _ in 0..source.length()? {
            let elem = source.string()?;
            list.push(self.limits.list, End::Tail, &[elem.to_bytes(&mut text)]);
        }
        Ok(self.settled(list))
    }

    fn quicklist<R: Read>(
        &mut self,
        source: &mut Source<R>,
        append: impl Fn(&mut List, &[u8]) -> FromBlock<()>,
    ) -> Result<Option<Value>> {
        let mut list = List::default();
        for _ in 0..source.length()? {
            block(source, "Ziplist", |block| append(&mut list, block))?;
        }
        Ok(self.settled(list))
    }

    fn quicklist2<R: Read>(&mut self, source: &mut Source<R>) -> Result<Option<Value>> {
        let limits = self.limits.list;
        let mut list = List::default();
        let mut text = itoa::Buffer::new();
        for _ in 0..source.length()? {
            match source.length()? {
                NODE_PLAIN => {
                    let elem = source.string()?;
                    let bytes = elem.to_bytes(&mut text);
                    if bytes.is_empty() {
                        return Err(source.corrupt("Quicklist integrity check failed."));
                    }
                    list.push(limits, End::Tail, &[bytes]);
                }
                NODE_PACKED => {
                    block(source, "Listpack", |block| {
                        append_node(&mut list, limits, block)
                    })?;
                }
                _ => return Err(source.corrupt("Quicklist integrity check failed.")),
            }
        }
        Ok(self.settled(list))
    }

    fn set<R: Read>(&mut self, source: &mut Source<R>) -> Result<Option<Value>> {
        let mut set = Set::default();
        for _ in 0..source.length()? {
            if !set.add(source.string()?, &self.limits.set) {
                return Err(source.corrupt("Duplicate set members detected"));
            }
        }
        Ok(non_empty_set(set))
    }

    fn zset<R: Read>(
        &mut self,
        source: &mut Source<R>,
        score: impl Fn(&mut Source<R>) -> Result<f64>,
    ) -> Result<Option<Value>> {
        let mut zset = Zset::default();
        let mut text = itoa::Buffer::new();
        for _ in 0..source.length()? {
            self.field.clear();
            let int = source.string_into(&mut self.field)?;
            let score = score(source)?;
            if score.is_nan() {
                return Err(source.corrupt("Zset with NAN score detected"));
            }
            let member = int.map_or(Elem::Bytes(&self.field), Elem::Int);
            let member = member.to_bytes(&mut text);
            if zset.insert(&self.limits.zset, member, score).is_some() {
                return Err(source.corrupt("Duplicate zset fields detected"));
            }
        }
        Ok(non_empty_zset(zset))
    }

    fn hash<R: Read>(&mut self, source: &mut Source<R>) -> Result<Option<Value>> {
        let mut hash = Hash::default();
        for _ in 0..source.length()? {
            self.field.clear();
            let int = source.string_into(&mut self.field)?;
            let field = int.map_or(Elem::Bytes(&self.field), Elem::Int);
            let value = source.string()?;
            if !hash.set(field, value, &self.limits.hash) {
                return Err(source.corrupt("Duplicate hash fields detected"));
            }
        }
        Ok(non_empty_hash(hash))
    }
}

/// A score as text, behind its length; three lengths stand for what has no text.
fn text_score<R: Read>(source: &mut Source<R>) -> Result<f64> {
    let length = match source.byte()? {
        255 => return Ok(f64::NEG_INFINITY),
        254 => return Ok(f64::INFINITY),
        253 => return Ok(f64::NAN),
        length => length,
    };
    let mut text = Vec::new();
    source.append(u64::from(length), &mut text)?;
    parse_f64(&text).ok_or_else(|| source.corrupt("Zset with a score that is not a number"))
}

/// Reads a packed block, which is stored as a string, with `parse`. `name` begins the sentence
/// that tells of its failure.
fn block<R: Read, T>(
    source: &mut Source<R>,
    name: &str,
    parse: impl FnOnce(&[u8]) -> FromBlock<T>,
) -> Result<T> {
    let mut text = itoa::Buffer::new();
    let outcome = parse(source.string()?.to_bytes(&mut text));
    outcome.map_err(|bad| {
        source.fail(ErrorKind::block(
            &format!("{name} integrity check failed."),
            bad,
        ))
    })
}

fn append_elems<'a>(
    list: &mut List,
    limits: ListLimits,
    mut elems: impl Elems<'a>,
) -> FromBlock<()> {
    let mut text = itoa::Buffer::new();
    while let Some(elem) = elems.next_elem()? {
        list.push(limits, End::Tail, &[elem.to_bytes(&mut text)]);
    }
    Ok(())
}

/// Appends a whole listpack. Its entries are checked by the list, its frame and count here.
fn append_node(list: &mut List, limits: ListLimits, block: &[u8]) -> FromBlock<()> {
    let declared = Listpack::new(block)?.declared();
    let entries = listpack::entries(block);
    let before = list.len();
    if list.append_entries(limits, entries).is_none() {
        return Err(BadBlock::new("entry is malformed", 0));
    }
    if declared.is_some_and(|declared| list.len() - before != declared as usize) {
        return Err(BadBlock::new("element count is wrong", 4));
    }
    Ok(())
}

/// Passes over the elements of a block, which checks it, and tells how many there are.
fn count<'a>(mut elems: impl Elems<'a>) -> FromBlock<usize> {
    let mut count = 0;
    while elems.next_elem()?.is_some() {
        count += 1;
    }
    Ok(count)
}

/// The elements of a block that [`count`] has found sound.
fn sound<'a>(mut elems: impl Elems<'a>) -> impl Iterator<Item = Elem<'a>> {
    std::iter::from_fn(move || elems.next_elem().ok().flatten())
}

/// Whether no element comes twice. Sorts them: a crafted block has no collisions to offer.
fn distinct<'a>(elems: impl Iterator<Item = Elem<'a>>) -> bool {
    let mut elems: SmallVec<[Elem<'a>; 32]> = elems.map(Elem::canonical).collect();
    elems.sort_unstable_by(|left, right| match (left, right) {
        (Elem::Int(left), Elem::Int(right)) => left.cmp(right),
        (Elem::Int(_), Elem::Bytes(_)) => Ordering::Less,
        (Elem::Bytes(_), Elem::Int(_)) => Ordering::Greater,
        (Elem::Bytes(left), Elem::Bytes(right)) => (left.len(), left).cmp(&(right.len(), right)),
    });
    let twice = |pair: (&Elem<'_>, &Elem<'_>)| pair.0 == pair.1;
    !elems.iter().zip(elems.iter().skip(1)).any(twice)
}

/// The hash in the block that `open` begins to read. A small one is built in one allocation from
/// what passed all checks; a large one field by field.
fn hash<'a, E: Elems<'a>>(open: impl Fn() -> FromBlock<E>, limits: HashLimits) -> FromBlock<Hash> {
    let count = count(open()?)?;
    if count % 2 != 0 {
        return Err(BadBlock::new("field without value", 0));
    }
    if count / 2 <= limits.max_entries {
        if !distinct(sound(open()?).step_by(2)) {
            return Err(BadBlock::new("field comes twice", 0));
        }
        let packed: Packed = sound(open()?).collect();
        return Ok(Hash::from_packed(packed, &limits));
    }
    let mut hash = Hash::default();
    let mut elems = open()?;
    while let (Some(field), at) = (elems.next_elem()?, elems.at()) {
        let value = elems.next_elem()?.unwrap_or(Elem::Bytes(b""));
        if !hash.set(field, value, &limits) {
            return Err(BadBlock::new("field comes twice", at));
        }
    }
    Ok(hash)
}

fn set(block: &[u8], limits: SetLimits) -> FromBlock<Set> {
    if count(Listpack::new(block)?)? <= limits.max_listpack_entries {
        if !distinct(sound(Listpack::new(block)?)) {
            return Err(BadBlock::new("member comes twice", 0));
        }
        let packed: Packed = sound(Listpack::new(block)?).collect();
        return Ok(Set::from_packed(packed, &limits));
    }
    let mut set = Set::default();
    let mut elems = Listpack::new(block)?;
    while let Some(member) = elems.next_elem()? {
        if !set.add(member, &limits) {
            return Err(BadBlock::new("member comes twice", elems.at()));
        }
    }
    Ok(set)
}

fn intset(mut elems: Intset<'_>, limits: SetLimits) -> FromBlock<Set> {
    let mut set = Set::default();
    while let Some(member) = elems.next_elem()? {
        set.add(member, &limits);
    }
    Ok(set)
}

fn zset<'a>(mut elems: impl Elems<'a>, limits: ZsetLimits) -> FromBlock<Zset> {
    let mut zset = Zset::default();
    let mut text = itoa::Buffer::new();
    while let Some(member) = elems.next_elem()? {
        let at = elems.at();
        let score = match elems.next_elem()? {
            Some(Elem::Int(int)) => Some(int as f64),
            Some(Elem::Bytes(text)) => parse_f64(text),
            None => return Err(BadBlock::new("member without score", at)),
        };
        let score = score.ok_or(BadBlock::new("score is not a number", at))?;
        if zset
            .insert(&limits, member.to_bytes(&mut text), score)
            .is_some()
        {
            return Err(BadBlock::new("member comes twice", at));
        }
    }
    Ok(zset)
}

fn non_empty_zset(zset: Zset) -> Option<Value> {
    (!zset.is_empty()).then(|| zset.into())
}

fn non_empty_hash(hash: Hash) -> Option<Value> {
    (!hash.is_empty()).then(|| hash.into())
}

fn non_empty_set(set: Set) -> Option<Value> {
    (!set.is_empty()).then(|| set.into())
}

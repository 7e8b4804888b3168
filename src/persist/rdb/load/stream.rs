//! Streams of every version: types 15 (Redis 5), 19 (7.0) and 21 (7.2). The layout stands with the
//! code that writes it.
//!
//! Nothing of a payload is believed. Its blocks are read entry by entry into blocks of our own,
//! whose counts must be those that the payload names; ids must rise; what is pending must have
//! exactly one consumer. The first id is found, not read.
//!
//! Before Redis 7 `XSETID` could set a stream's last id below that of a deleted entry, so that a
//! later one came to lie behind it under the same id or a lower one. Deleted entries that break
//! the order that way are left out.

use std::io::Read;

use smallvec::SmallVec;

use super::{FromBlock, Loader};
use crate::keyspace::value::Value;
use crate::keyspace::value::stream::block::{Block, Item};
use crate::keyspace::value::stream::group::{Group, Pending};
use crate::keyspace::value::stream::id::StreamId;
use crate::keyspace::value::stream::pending::ById;
use crate::keyspace::value::stream::{Heading, Stream};
use crate::persist::rdb::elems::{Elem, Elems};
use crate::persist::rdb::error::{BadBlock, ErrorKind, Result};
use crate::persist::rdb::listpack::Listpack;
use crate::persist::rdb::source::Source;
use crate::persist::rdb::types::{ObjectType, STREAM_DELETED, STREAM_SAME_FIELDS};

/// Parts of an entry beside its texts: flags and the two differences of its id.
const ENTRY_PARTS: i64 = 3;

/// When and how often something was delivered.
type Delivery = (i64, u64);

impl Loader {
    pub(super) fn stream<R: Read>(
        &mut self,
        kind: ObjectType,
        source: &mut Source<R>,
    ) -> Result<Option<Value>> {
        let mut blocks = Vec::new();
        for _ in 0..source.length()? {
            let base = base_id(source)?;
            blocks.extend(super::block(
                source,
                "Stream listpack",
                |bytes| match unpack(base, bytes, true)? {
                    Some(block) => Ok(Some(block)),
                    None => unpack(base, bytes, false),
                },
            )?);
        }
        let mut heading = Heading {
            len: source.length()?,
            last_id: id(source)?,
            history: None,
        };
        if kind >= ObjectType::StreamListpacks2 {
            // The first id.
            id(source)?;
            heading.history = Some((id(source)?, source.length()?));
        }
        blocks.retain(|block| block.live() + block.deleted() > 0);
        let stream = Stream::from_blocks(blocks, heading);
        let mut stream =
            stream.ok_or_else(|| source.corrupt("Stream length inconsistent with rax entries"))?;
        for _ in 0..source.length()? {
            self.group(kind, source, &mut stream)?;
        }
        Ok(Some(stream.into()))
    }

    fn group<R: Read>(
        &mut self,
        kind: ObjectType,
        source: &mut Source<R>,
        stream: &mut Stream,
    ) -> Result<()> {
        self.field.clear();
        source.text_into(&mut self.field)?;
        let last_id = id(source)?;
        let entries_read = if kind >= ObjectType::StreamListpacks2 {
            entries_read(source)?
        } else {
            stream.added_up_to(last_id)
        };
        let mut group = Group::new(last_id, entries_read);
        let mut deliveries = ById::default();
        for _ in 0..source.length()? {
            let id = StreamId::from_bytes(source.array()?);
            let delivery: Delivery = (source.millis()?, source.length()?);
            if deliveries.insert(id, delivery).is_some() {
                return Err(
                    source.corrupt("Duplicated global PEL entry loading stream consumer group")
                );
            }
        }
        for _ in 0..source.length()? {
            consumer(kind, source, &mut group, &deliveries)?;
        }
        if group.pending_len() != deliveries.len() {
            return Err(source.corrupt("Stream CG PEL entry without consumer"));
        }
        if !stream.create_group(&self.field, group) {
            let name = String::from_utf8_lossy(&self.field);
            return Err(source.corrupt(format!("Duplicated consumer group name {name}")));
        }
        Ok(())
    }
}

fn consumer<R: Read>(
    kind: ObjectType,
    source: &mut Source<R>,
    group: &mut Group,
    deliveries: &ById<Delivery>,
) -> Result<()> {
    let mut name = Vec::new();
    source.text_into(&mut name)?;
    let seen_ms = source.millis()?;
    let active_ms = if kind >= ObjectType::StreamListpacks3 {
        source.millis()?
    } else {
        seen_ms
    };
    let Some(owner) = group.create_consumer(&name, seen_ms) else {
        return Err(source.corrupt("Duplicate stream consumer detected."));
    };
    if let Some(consumer) = group.consumer_mut(owner) {
        consumer.active_ms = active_ms;
    }
    for _ in 0..source.length()? {
        let id = StreamId::from_bytes(source.array()?);
        let Some(&(time_ms, deliveries)) = deliveries.get(id) else {
            return Err(source.corrupt("Consumer entry not found in group global PEL"));
        };
        if group.pending(id).is_some() {
            let what = "Duplicated consumer PEL entry loading a stream consumer group";
            return Err(source.corrupt(what));
        }
        let pending = Pending {
            time_ms,
            deliveries,
            owner,
        };
        group.assign(id, pending);
    }
    Ok(())
}

fn id<R: Read>(source: &mut Source<R>) -> Result<StreamId> {
    Ok(StreamId::new(source.length()?, source.length()?))
}

/// The id that a block's ids count from, which is stored as a string.
fn base_id<R: Read>(source: &mut Source<R>) -> Result<StreamId> {
    let bytes = match source.string()? {
        Elem::Bytes(bytes) => <[u8; 16]>::try_from(bytes).ok(),
        Elem::Int(_) => None,
    };
    bytes
        .map(StreamId::from_bytes)
        .ok_or_else(|| source.corrupt("Stream node key entry is not the size of a stream ID"))
}

fn entries_read<R: Read>(source: &mut Source<R>) -> Result<Option<i64>> {
    match source.length()? as i64 {
        -1 => Ok(None),
        n @ 0.. => Ok(Some(n)),
        _ => Err(source.fail(ErrorKind::corrupt("Stream cgroup offset is negative"))),
    }
}

/// The integers in front of and behind the texts of a listpack.
struct Parts<'a>(Listpack<'a>);

impl<'a> Parts<'a> {
    fn elem(&mut self) -> FromBlock<Elem<'a>> {
        let at = self.0.at();
        self.0.next_elem()?.ok_or(BadBlock::new("entry is cut", at))
    }

    fn int(&mut self) -> FromBlock<i64> {
        let at = self.0.at();
        let int = self.elem()?.as_int();
        int.ok_or(BadBlock::new("number expected", at))
    }

    fn count(&mut self) -> FromBlock<i64> {
        let at = self.0.at();
        match self.int()? {
            n @ 0..=0xffff_ffff => Ok(n),
            _ => Err(BadBlock::new("count is negative or too large", at)),
        }
    }
}

/// The block in a listpack, with its deleted entries or without. `None` if they break the order.
fn unpack(base: StreamId, bytes: &[u8], with_deleted: bool) -> FromBlock<Option<Block>> {
    let mut parts = Parts(Listpack::new(bytes)?);
    let (live, deleted) = (parts.count()?, parts.count()?);
    let names_count = parts.count()?;
    let mut names: SmallVec<[Elem<'_>; 16]> = SmallVec::new();
    for _ in 0..names_count {
        names.push(parts.elem()?);
    }
    if parts.int()? != 0 {
        return Err(BadBlock::new("no zero behind the fields", 0));
    }
    let mut block = Block::new(base, names.iter().copied());
    let (mut seen_live, mut last_live) = (0, None);
    let mut pairs: SmallVec<[(Elem<'_>, Elem<'_>); 16]> = SmallVec::new();
    for _ in 0..live.saturating_add(deleted) {
        let at = parts.0.at();
        let item = entry(&mut parts, base, &names, &mut pairs)?;
        if !item.deleted {
            if last_live >= Some(item.id) || item.id < base {
                return Err(BadBlock::new("ids do not rise", at));
            }
            seen_live += 1;
            last_live = Some(item.id);
        } else if !with_deleted {
            continue;
        }
        let first = block.live() + block.deleted() == 0;
        if item.id < base || (item.id <= block.last() && !first) {
            return Ok(None);
        }
        block.append(item, pairs.iter().copied());
    }
    if parts.0.next_elem()?.is_some() {
        return Err(BadBlock::new("more behind the last entry", parts.0.at()));
    }
    if seen_live != live {
        return Err(BadBlock::new("number of entries is wrong", 0));
    }
    block.shrink();
    Ok(Some(block))
}

/// Reads an entry, its texts into `pairs`.
fn entry<'a>(
    parts: &mut Parts<'a>,
    base: StreamId,
    names: &[Elem<'a>],
    pairs: &mut SmallVec<[(Elem<'a>, Elem<'a>); 16]>,
) -> FromBlock<Item> {
    pairs.clear();
    let flags = parts.int()?;
    let (ms, seq) = (parts.int()?, parts.int()?);
    let same = flags & STREAM_SAME_FIELDS != 0;
    let expected = if same {
        for name in names {
            pairs.push((*name, parts.elem()?));
        }
        names.len() as i64 + ENTRY_PARTS
    } else {
        let count = parts.count()?;
        for _ in 0..count {
            pairs.push((parts.elem()?, parts.elem()?));
        }
        2 * count + 1 + ENTRY_PARTS
    };
    let at = parts.0.at();
    if parts.int()? != expected {
        return Err(BadBlock::new("number of parts is wrong", at));
    }
    Ok(Item {
        id: StreamId::new(
            base.ms.wrapping_add(ms as u64),
            base.seq.wrapping_add(seq as u64),
        ),
        count: pairs.len(),
        same,
        deleted: flags & STREAM_DELETED != 0,
    })
}

//! Streams, as Redis 7.0 (type 19) and 7.2 (type 21) write them.
//!
//! ```text
//! blocks | base (16 bytes BE as a string), listpack | ...
//! entries | last id | first id | greatest deleted id | entries ever added
//! groups | name, last id, entries read
//!          pending | id (16 bytes), time (8 bytes), deliveries | ...
//!          consumers | name, seen, [active: type 21], pending | id | ... | ...
//!
//! listpack = live, deleted, fields, field ..., 0, entry ...
//! entry    = flags, ms and seq less the base's, [fields,] [field,] value ..., elements before this
//! ```
//!
//! A number without a description is a length field. What was never known (`entries read`) is -1,
//! as a length of 64 bits.

use std::io::{self, Write};

use crate::keyspace::value::stream::Stream;
use crate::keyspace::value::stream::block::{Block, Raw};
use crate::keyspace::value::stream::group::{Consumer, Group};
use crate::keyspace::value::stream::id::StreamId;
use crate::persist::rdb::listpack::Builder;
use crate::persist::rdb::types::{STREAM_DELETED, STREAM_SAME_FIELDS};
use crate::persist::rdb::writer::Writer;

impl<W: Write> Writer<W> {
    /// When a consumer was active became part of the format with Redis 7.2.
    pub(super) fn has_active_times(&self) -> bool {
        self.config().version >= 11
    }

    pub(super) fn stream_object(&mut self, stream: &Stream) -> io::Result<()> {
        self.length(stream.blocks().count() as u64)?;
        for block in stream.blocks() {
            self.string(&block.base().to_bytes())?;
            pack(&mut self.listpack, block);
            self.built_listpack()?;
        }
        self.length(stream.len() as u64)?;
        self.id(stream.last_id())?;
        self.id(stream.first_id())?;
        self.id(stream.max_deleted_id())?;
        self.length(stream.added())?;
        self.length(stream.groups_len() as u64)?;
        for (name, group) in stream.groups() {
            self.string(name)?;
            self.group(group)?;
        }
        Ok(())
    }

    fn id(&mut self, id: StreamId) -> io::Result<()> {
        self.length(id.ms)?;
        self.length(id.seq)
    }

    fn group(&mut self, group: &Group) -> io::Result<()> {
        self.id(group.last_id)?;
        self.length(group.entries_read.unwrap_or(-1) as u64)?;
        self.length(group.pending_len() as u64)?;
        for (id, pending) in group.pending_from(StreamId::MIN) {
            self.raw(&id.to_bytes())?;
            self.raw(&pending.time_ms.to_le_bytes())?;
            self.length(pending.deliveries)?;
        }
        self.length(group.consumers_len() as u64)?;
        for consumer in group.consumers() {
            self.consumer(consumer)?;
        }
        Ok(())
    }

    fn consumer(&mut self, consumer: &Consumer) -> io::Result<()> {
        self.string(consumer.name())?;
        self.raw(&consumer.seen_ms.to_le_bytes())?;
        if self.has_active_times() {
            self.raw(&consumer.active_ms.to_le_bytes())?;
        }
        self.length(consumer.pending_len() as u64)?;
        for id in consumer.pending_from(StreamId::MIN) {
            self.raw(&id.to_bytes())?;
        }
        Ok(())
    }
}

/// The listpack that Redis keeps the entries of a block in.
fn pack(out: &mut Builder, block: &Block) {
    out.push_int(block.live() as i64);
    out.push_int(block.deleted() as i64);
    out.push_int(block.names_count() as i64);
    block.names().for_each(|name| out.push_elem(name));
    out.push_int(0);
    for entry in block.raws() {
        pack_entry(out, block.base(), entry);
    }
}

fn pack_entry(out: &mut Builder, base: StreamId, entry: Raw<'_>) {
    let item = entry.item();
    let flag = |on: bool, flag: i64| if on { flag } else { 0 };
    out.push_int(flag(item.same, STREAM_SAME_FIELDS) | flag(item.deleted, STREAM_DELETED));
    out.push_int(item.id.ms.wrapping_sub(base.ms) as i64);
    out.push_int(item.id.seq.wrapping_sub(base.seq) as i64);
    let mut pieces = item.count + 3;
    if !item.same {
        out.push_int(item.count as i64);
        pieces += item.count + 1;
    }
    for (name, value) in entry.pairs() {
        if !item.same {
            out.push_elem(name);
        }
        out.push_elem(value);
    }
    out.push_int(pieces as i64);
}

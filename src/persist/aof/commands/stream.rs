//! Streams as commands: XADD for each entry, XSETID for what is known of them all, then the
//! groups, their consumers and what is pending for them.
//!
//! A stream without entries begins with one that is trimmed at once. When a consumer was seen and
//! active is not told, as in Redis.

use std::io::{self, Write};

use super::{Commands, put};
use crate::keyspace::value::stream::Stream;
use crate::keyspace::value::stream::block::Raw;
use crate::keyspace::value::stream::group::Group;
use crate::keyspace::value::stream::id::StreamId;

impl<W: Write> Commands<W> {
    pub(super) fn stream(&mut self, key: &[u8], stream: &Stream) -> io::Result<()> {
        if stream.is_empty() {
            let id = StreamId::new(0, 1).text();
            self.command(&[b"XADD", key, b"MAXLEN", b"0", &id, b"x", b"y"])?;
        }
        for entry in stream.range(StreamId::MIN, StreamId::MAX, false) {
            self.xadd(key, entry)?;
        }
        self.command(&[
            b"XSETID",
            key,
            &stream.last_id().text(),
            b"ENTRIESADDED",
            itoa::Buffer::new().format(stream.added()).as_bytes(),
            b"MAXDELETEDID",
            &stream.max_deleted_id().text(),
        ])?;
        for (name, group) in stream.groups() {
            self.group(key, name, group)?;
        }
        Ok(())
    }

    fn xadd(&mut self, key: &[u8], entry: Raw<'_>) -> io::Result<()> {
        let buffer = &mut self.buffer;
        write!(buffer, "*{}\r\n", 3 + 2 * entry.item().count)?;
        put(buffer, b"XADD")?;
        put(buffer, key)?;
        put(buffer, &entry.id.text())?;
        for (name, value) in entry.pairs() {
            put(buffer, name.to_bytes(&mut itoa::Buffer::new()))?;
            put(buffer, value.to_bytes(&mut itoa::Buffer::new()))?;
        }
        self.send()
    }

    fn group(&mut self, key: &[u8], name: &[u8], group: &Group) -> io::Result<()> {
        let entries_read = group.entries_read.unwrap_or(-1);
        self.command(&[
            b"XGROUP",
            b"CREATE",
            key,
            name,
            &group.last_id.text(),
            b"ENTRIESREAD",
            itoa::Buffer::new().format(entries_read).as_bytes(),
        ])?;
        for consumer in group.consumers() {
            if consumer.pending_len() == 0 {
                self.command(&[b"XGROUP", b"CREATECONSUMER", key, name, consumer.name()])?;
            }
            for id in consumer.pending_from(StreamId::MIN) {
                let Some(pending) = group.pending(id) else {
                    continue;
                };
                self.command(&[
                    b"XCLAIM",
                    key,
                    name,
                    consumer.name(),
                    b"0",
                    &id.text(),
                    b"TIME",
                    itoa::Buffer::new().format(pending.time_ms).as_bytes(),
                    b"RETRYCOUNT",
                    itoa::Buffer::new().format(pending.deliveries).as_bytes(),
                    b"JUSTID",
                    b"FORCE",
                ])?;
            }
        }
        Ok(())
    }
}

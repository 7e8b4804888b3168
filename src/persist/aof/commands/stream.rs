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

#[cfg(test)]
mod tests {
    use super::super::super::reader::CommandReader;
    use super::*;
    use crate::keyspace::value::Value;
    use crate::keyspace::value::stream::group::Pending;
    use crate::keyspace::value::stream::{StreamLimits, Trim, Until};

    fn written(stream: &Stream) -> Vec<String> {
        let mut out = Vec::new();
        let value = Value::from(stream.clone());
        Commands::new(&mut out)
            .entry(0, b"s", value.as_ref(), None)
            .unwrap();
        let mut reader = CommandReader::new(out.as_slice(), 0);
        let mut lines = Vec::new();
        while let Some(argv) = reader.next_command().unwrap() {
            let words = argv.iter().map(|word| String::from_utf8_lossy(word));
            lines.push(words.collect::<Vec<_>>().join(" "));
        }
        lines.split_off(1)
    }

    #[test]
    fn entries_groups_and_what_is_pending_are_told() {
        let mut stream = Stream::default();
        let limits = StreamLimits::default();
        stream.append(limits, StreamId::new(5, 0), &[b"a", b"1", b"b", b"x y"]);
        stream.append(limits, StreamId::new(5, 1), &[b"c", b"-7"]);
        stream.append(limits, StreamId::new(9, 0), &[b"a", b"2"]);
        stream.delete(StreamId::new(9, 0));
        let mut group = Group::new(StreamId::new(5, 1), Some(2));
        let owner = group.create_consumer(b"zoe", 1).unwrap();
        group.create_consumer(b"idle", 1);
        let pending = Pending {
            time_ms: 1234,
            deliveries: 3,
            owner,
        };
        group.assign(StreamId::new(5, 1), pending);
        stream.create_group(b"g", group);
        stream.create_group(b"empty", Group::new(StreamId::MIN, None));
        assert_eq!(
            written(&stream),
            [
                "XADD s 5-0 a 1 b x y",
                "XADD s 5-1 c -7",
                "XSETID s 9-0 ENTRIESADDED 3 MAXDELETEDID 9-0",
                "XGROUP CREATE s empty 0-0 ENTRIESREAD -1",
                "XGROUP CREATE s g 5-1 ENTRIESREAD 2",
                "XGROUP CREATECONSUMER s g idle",
                "XCLAIM s g zoe 0 5-1 TIME 1234 RETRYCOUNT 3 JUSTID FORCE",
            ]
        );
    }

    #[test]
    fn a_stream_without_entries_is_made_all_the_same() {
        let mut stream = Stream::default();
        stream.append(StreamLimits::default(), StreamId::new(7, 7), &[b"a", b"1"]);
        stream.trim(Trim {
            until: Until::Length(0),
            approximate: false,
            limit: 0,
        });
        assert_eq!(
            written(&stream),
            [
                "XADD s MAXLEN 0 0-1 x y",
                "XSETID s 7-7 ENTRIESADDED 1 MAXDELETEDID 0-0",
            ]
        );
    }
}

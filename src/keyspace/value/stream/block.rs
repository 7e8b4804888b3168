//! A block: neighbouring entries in one packed piece of memory.
//!
//! ```text
//! names | entry | entry | ...
//!
//! names = element ...                    the fields of the block's first entry
//! entry = head | time | number | [count] element ...
//!
//! head    varint: bytes after it, times 4; bit 1: deleted; bit 0: has the block's fields
//! time    varint: milliseconds since the entry before it, or since the block's base
//! number  varint: the id's second part, less that of the entry before it if `time` is 0
//! count   varint: how many fields, if they are not the block's
//! element the values in order, or field and value in turn (see `packed::elem`)
//! ```
//!
//! - An entry that is deleted stays in place with a bit set, as in Redis, whose listpacks the
//!   blocks stand for: they hold the same entries, and a block knows how long its listpack would
//!   be, so that `stream-node-max-bytes` and approximate trimming cut where Redis cuts.
//! - Ids rise strictly within a block, whether their entries are deleted or not.
//! - Reading goes forward. Whoever reads backward notes where the entries begin first.

use super::StreamLimits;
use super::id::StreamId;
use crate::keyspace::value::packed::Elem;
use crate::keyspace::value::packed::{Encoded, read};

const SAME_FIELDS: u64 = 1;
const DELETED: u8 = 2;

/// The most that Redis lets a listpack of a stream become.
const LISTPACK_MAX_BYTES: usize = 1 << 30;

/// Bytes of a listpack that are always there: header, end, and the zero behind the fields.
const LISTPACK_FRAME: usize = 6 + 1 + 2;

/// Neighbouring entries.
#[derive(Clone)]
pub struct Block {
    /// What the ids count from: the id that the listpack is filed under in Redis.
    base: StreamId,
    /// The id of the last entry, deleted or not.
    last: StreamId,
    /// Where the last entry begins, and the id before it: who reads backward mostly wants that
    /// one. `None` while there is none.
    last_at: Option<(usize, StreamId)>,
    live: u32,
    deleted: u32,
    names: u32,
    /// Where the entries begin.
    begin: usize,
    /// Length of the fields and the entries in a listpack.
    listpack_bytes: usize,
    bytes: Vec<u8>,
}

/// What an entry is besides its texts.
#[derive(Clone, Copy, Debug)]
pub struct Item {
    /// Its id.
    pub id: StreamId,
    /// How many fields it has.
    pub count: usize,
    /// Whether its fields are those of the block.
    pub same: bool,
    /// Whether it is deleted.
    pub deleted: bool,
}

/// One entry as it lies in its block.
#[derive(Clone, Copy)]
pub struct Raw<'a> {
    /// Its id.
    pub id: StreamId,
    /// Whether it is deleted.
    pub deleted: bool,
    same: bool,
    count: usize,
    names: &'a [u8],
    body: &'a [u8],
}

impl<'a> Raw<'a> {
    /// What it is besides its texts.
    pub fn item(&self) -> Item {
        Item {
            id: self.id,
            count: self.count,
            same: self.same,
            deleted: self.deleted,
        }
    }

    /// How many fields it has.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Its fields with their values, in order.
    pub fn pairs(&self) -> Pairs<'a> {
        Pairs {
            left: self.count,
            names: self.same.then_some(self.names),
            body: self.body,
        }
    }
}

/// Fields with their values.
#[derive(Clone)]
pub struct Pairs<'a> {
    left: usize,
    names: Option<&'a [u8]>,
    body: &'a [u8],
}

impl<'a> Iterator for Pairs<'a> {
    type Item = (Elem<'a>, Elem<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        let name = take(self.names.as_mut().unwrap_or(&mut self.body))?;
        Some((name, take(&mut self.body)?))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

fn take<'a>(bytes: &mut &'a [u8]) -> Option<Elem<'a>> {
    let (elem, rest) = read(bytes)?;
    *bytes = rest;
    Some(elem)
}

/// Entries from some place on, deleted ones too.
#[derive(Clone)]
pub struct Raws<'a> {
    block: &'a Block,
    /// The place of the next entry, and the id before it.
    pub(super) at: (usize, StreamId),
}

impl<'a> Iterator for Raws<'a> {
    type Item = Raw<'a>;

    fn next(&mut self) -> Option<Raw<'a>> {
        let (raw, next) = self.block.entry(self.at)?;
        self.at = (next, raw.id);
        Some(raw)
    }
}

impl Block {
    /// An empty block whose ids count from `base` and whose fields are `names`.
    pub fn new<'e>(base: StreamId, names: impl Iterator<Item = Elem<'e>>) -> Block {
        let mut bytes = Vec::new();
        let (mut count, mut listpack_bytes) = (0, 0);
        for name in names {
            Encoded::new(name).append(&mut bytes);
            listpack_bytes += listpack_elem(name);
            count += 1;
        }
        Block {
            base,
            last: base,
            last_at: None,
            live: 0,
            deleted: 0,
            names: count,
            begin: bytes.len(),
            listpack_bytes,
            bytes,
        }
    }

    /// Where its entries end, for a prefetch.
    pub fn end_address(&self) -> *const u8 {
        self.bytes.as_ptr().wrapping_add(self.bytes.len())
    }

    /// What the ids count from.
    pub fn base(&self) -> StreamId {
        self.base
    }

    /// The id of the last entry, deleted or not.
    pub fn last(&self) -> StreamId {
        self.last
    }

    /// The place of the last entry, deleted or not, for [`Block::raws_from`].
    pub(super) fn last_place(&self) -> Option<(usize, StreamId)> {
        self.last_at
    }

    /// Entries that are not deleted.
    pub fn live(&self) -> u64 {
        u64::from(self.live)
    }

    /// Entries that are deleted.
    pub fn deleted(&self) -> u64 {
        u64::from(self.deleted)
    }

    /// The block's fields.
    pub fn names(&self) -> impl Iterator<Item = Elem<'_>> {
        let mut rest = self.bytes.get(..self.begin).unwrap_or_default();
        std::iter::from_fn(move || take(&mut rest))
    }

    /// How many fields the block has.
    pub fn names_count(&self) -> usize {
        self.names as usize
    }

    /// All entries, deleted ones too.
    pub fn raws(&self) -> Raws<'_> {
        self.raws_from((self.begin, self.base))
    }

    /// The entries from a place on that [`Raws`] noted.
    pub(super) fn raws_from(&self, at: (usize, StreamId)) -> Raws<'_> {
        Raws { block: self, at }
    }

    /// The entry of this id, if it is there and not deleted.
    pub fn find(&self, id: StreamId) -> Option<Raw<'_>> {
        let found = self.raws().find(|raw| raw.id >= id)?;
        (found.id == id && !found.deleted).then_some(found)
    }

    /// Length that the listpack of this block has in Redis.
    pub fn listpack_len(&self) -> usize {
        let header: usize = [self.live, self.deleted, self.names]
            .into_iter()
            .map(|n| listpack_int(i64::from(n)))
            .sum();
        LISTPACK_FRAME + header + self.listpack_bytes
    }

    /// Whether an entry whose texts are `text_bytes` long opens another block.
    pub fn is_full(&self, limits: StreamLimits, text_bytes: usize) -> bool {
        let max_bytes = match limits.max_bytes {
            0 => LISTPACK_MAX_BYTES,
            n => n.min(LISTPACK_MAX_BYTES),
        };
        let entries = self.live() + self.deleted();
        self.listpack_len().saturating_add(text_bytes) >= max_bytes
            || (limits.max_entries != 0 && entries >= limits.max_entries)
            || entries >= u64::from(u32::MAX)
            || self.bytes.len() >= LISTPACK_MAX_BYTES
    }

    /// Whether these fields are the block's.
    pub fn has_names<'e>(&self, mut names: impl Iterator<Item = Elem<'e>>) -> bool {
        let mut rest = self.bytes.get(..self.begin).unwrap_or_default();
        for name in names.by_ref().take(self.names_count()) {
            let encoded = Encoded::new(name);
            if !encoded.begins(rest) {
                return false;
            }
            rest = rest.get(encoded.len()..).unwrap_or_default();
        }
        rest.is_empty() && names.next().is_none()
    }

    /// Appends an entry, whose id is greater than all before it.
    pub fn append<'e>(&mut self, item: Item, pairs: impl Iterator<Item = (Elem<'e>, Elem<'e>)>) {
        let Item {
            id, count, same, ..
        } = item;
        let head_at = self.bytes.len();
        self.bytes.push(0);
        let time = id.ms.wrapping_sub(self.last.ms);
        put_varint(&mut self.bytes, time);
        let number = if time == 0 {
            id.seq.wrapping_sub(self.last.seq)
        } else {
            id.seq
        };
        put_varint(&mut self.bytes, number);
        let mut listpack = 2
            + listpack_int(id.ms.wrapping_sub(self.base.ms) as i64)
            + listpack_int(id.seq.wrapping_sub(self.base.seq) as i64);
        let mut pieces = count + 3;
        if !same {
            put_varint(&mut self.bytes, count as u64);
            listpack += listpack_int(count as i64);
            pieces += count + 1;
        }
        for (name, value) in pairs {
            if !same {
                Encoded::new(name).append(&mut self.bytes);
                listpack += listpack_elem(name);
            }
            // Told apart once for both.
            let value = value.canonical();
            Encoded::of(value).append(&mut self.bytes);
            listpack += listpack_canonical(value);
        }
        self.listpack_bytes += listpack + listpack_int(pieces as i64);
        let body_len = (self.bytes.len() - head_at - 1) as u64;
        let head = body_len << 2 | if same { SAME_FIELDS } else { 0 };
        self.put_head(head_at, head);
        self.last_at = Some((head_at, self.last));
        self.last = id;
        self.live += 1;
        if item.deleted {
            self.mark(head_at);
        }
    }

    /// Puts a head in the place of one byte.
    fn put_head(&mut self, at: usize, head: u64) {
        if let (Ok(head @ 0..=0x7f), Some(byte)) = (u8::try_from(head), self.bytes.get_mut(at)) {
            *byte = head;
            return;
        }
        let mut long = Vec::with_capacity(10);
        put_varint(&mut long, head);
        self.bytes.splice(at..=at, long);
    }

    /// Gives back memory that further entries would have taken.
    pub fn shrink(&mut self) {
        self.bytes.shrink_to_fit();
    }

    /// Marks an entry as deleted. The id of the nearest entry before it, in this block, that is
    /// not.
    pub fn delete(&mut self, id: StreamId) -> Option<StreamId> {
        let mut raws = self.raws();
        let mut at = raws.at.0;
        let mut before = None;
        while let Some(raw) = raws.next() {
            if raw.id >= id {
                if raw.id == id && !raw.deleted {
                    self.mark(at);
                }
                return before;
            }
            if !raw.deleted {
                before = Some(raw.id);
            }
            at = raws.at.0;
        }
        None
    }

    /// Marks the entry at a place as deleted.
    fn mark(&mut self, at: usize) -> bool {
        let Some(head) = self.bytes.get_mut(at) else {
            return false;
        };
        *head |= DELETED;
        self.live -= 1;
        self.deleted += 1;
        true
    }

    /// Marks entries as deleted from the front on, until `stop` is true of one's id and of how
    /// many have been marked. Returns how many were.
    pub fn delete_front(&mut self, stop: impl Fn(StreamId, u64) -> bool) -> u64 {
        let mut marked = 0;
        let mut place = (self.begin, self.base);
        while let Some((raw, next)) = self.entry(place) {
            if stop(raw.id, marked) {
                break;
            }
            let (id, deleted) = (raw.id, raw.deleted);
            if !deleted && self.mark(place.0) {
                marked += 1;
            }
            place = (next, id);
        }
        marked
    }

    /// The same block without its deleted entries.
    pub fn compacted(&self) -> Block {
        let mut block = Block::new(self.base, self.names());
        for raw in self.raws().filter(|raw| !raw.deleted) {
            block.append(raw.item(), raw.pairs());
        }
        block
    }

    /// Bytes taken from the allocator.
    pub fn size_bytes(&self) -> usize {
        size_of::<Block>() + 16 + self.bytes.capacity()
    }

    /// The entry at a place, and where the next one is.
    fn entry(&self, (at, before): (usize, StreamId)) -> Option<(Raw<'_>, usize)> {
        let mut rest = self.bytes.get(at..)?;
        let deleted = rest.first()? & DELETED != 0;
        let head = take_varint(&mut rest)?;
        let (mut body, after) = rest.split_at_checked((head >> 2) as usize)?;
        let time = take_varint(&mut body)?;
        let number = take_varint(&mut body)?;
        let id = match time {
            0 => StreamId::new(before.ms, before.seq.wrapping_add(number)),
            _ => StreamId::new(before.ms.wrapping_add(time), number),
        };
        let same = head & SAME_FIELDS != 0;
        let count = if same {
            self.names_count()
        } else {
            take_varint(&mut body)? as usize
        };
        let names = self.bytes.get(..self.begin)?;
        let raw = Raw {
            id,
            deleted,
            same,
            count,
            names,
            body,
        };
        Some((raw, self.bytes.len() - after.len()))
    }
}

/// Appends a number, seven bits a byte, the low ones first.
fn put_varint(out: &mut Vec<u8>, mut n: u64) {
    while n >= 0x80 {
        out.push(n as u8 | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
}

/// Takes off what [`put_varint`] appended.
#[inline]
fn take_varint(bytes: &mut &[u8]) -> Option<u64> {
    let (mut value, mut shift) = (0u64, 0u32);
    loop {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f).checked_shl(shift)?;
        if byte < 0x80 {
            return Some(value);
        }
        shift += 7;
    }
}

/// Bytes of an integer in a listpack.
fn listpack_int(int: i64) -> usize {
    1 + match int {
        0..=127 => 1,
        -4096..=4095 => 2,
        -0x8000..=0x7fff => 3,
        -0x80_0000..=0x7f_ffff => 4,
        -0x8000_0000..=0x7fff_ffff => 5,
        _ => 9,
    }
}

/// Bytes of an element in a listpack.
fn listpack_elem(elem: Elem<'_>) -> usize {
    listpack_canonical(elem.canonical())
}

/// Bytes of an element in a listpack, of one that is `Bytes` only if it is no integer.
fn listpack_canonical(elem: Elem<'_>) -> usize {
    let text = match elem {
        Elem::Int(int) => return listpack_int(int),
        Elem::Bytes(bytes) => bytes.len(),
    };
    let forward = text
        + match text {
            0..=63 => 1,
            64..=4095 => 2,
            _ => 5,
        };
    let backward = match forward {
        0..=127 => 1,
        128..=16_382 => 2,
        16_383..=2_097_150 => 3,
        2_097_151..=268_435_454 => 4,
        _ => 5,
    };
    forward + backward
}

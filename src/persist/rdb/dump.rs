//! The payload of `DUMP` and `RESTORE`: one value with its type, and a footer.
//!
//! ```text
//! type | value | RDB version (u16 LE) | CRC-64 of everything before (u64 LE)
//! ```

use std::cell::RefCell;
use std::io;

use crate::base::crc::crc64;
use crate::base::lzf;
use crate::keyspace::value::{Value, ValueRef};
use crate::persist::rdb::error::{Error, ErrorKind};
use crate::persist::rdb::load::{Limits, Loader};
use crate::persist::rdb::source::Source;
use crate::persist::rdb::types::{MAX_READ_VERSION, ObjectType};
use crate::persist::rdb::writer::{Config, Room, Writer};

const FOOTER: usize = 10;
const SUM: usize = 8;

/// Why a payload was not taken.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// It has no footer, or one of a newer version, or another checksum.
    #[error("DUMP payload version or checksum are wrong")]
    Footer,
    /// What the footer vouches for is not a value; the reason is for the log.
    #[error("Bad data format")]
    Data(#[source] Error),
}

thread_local! {
    /// Most values are small: growing the buffers anew would be much of the work.
    static ROOM: RefCell<Room> = RefCell::default();
}

/// The payload of `value`. Fails only if memory does.
pub fn dump(value: ValueRef<'_>, config: Config) -> io::Result<Vec<u8>> {
    let mut writer = Writer::new(
        Vec::new(),
        Config {
            checksum: false,
            ..config
        },
    );
    ROOM.with_borrow_mut(|room| writer.swap_room(room));
    lzf::with_own(|own| writer.swap_compressor(own));
    let kind = writer.object_type(value);
    if matches!(kind, ObjectType::HashMetadata | ObjectType::HashListpackEx) {
        writer.carry_field_expiry();
    }
    writer.byte(kind as u8)?;
    writer.object(value)?;
    writer.flush_with_room(FOOTER)?;
    lzf::with_own(|own| writer.swap_compressor(own));
    ROOM.with_borrow_mut(|room| {
        writer.swap_room(room);
        room.shrink();
    });
    let version = writer.config().version;
    let mut payload = writer.into_inner()?;
    payload.extend_from_slice(&version.to_le_bytes());
    let sum = crc64(0, &payload);
    payload.extend_from_slice(&sum.to_le_bytes());
    Ok(payload)
}

/// The value of `payload`. `skip_checksum` believes the footer's sum, as a debugging command of
/// Redis's test suite asks for.
pub fn restore(payload: &[u8], limits: Limits, skip_checksum: bool) -> Result<Value, RestoreError> {
    let body = verify(payload, skip_checksum).ok_or(RestoreError::Footer)?;
    let mut source = Source::with_buffer(body, body.len().min(64 << 10));
    source.without_checksum();
    read(&mut source, limits).map_err(RestoreError::Data)
}

/// What lies before the footer, if the footer is right.
fn verify(payload: &[u8], skip_checksum: bool) -> Option<&[u8]> {
    let (body, footer) = payload.split_at_checked(payload.len().checked_sub(FOOTER)?)?;
    let version = u16::from_le_bytes(*footer.first_chunk()?);
    if i64::from(version) > MAX_READ_VERSION {
        return None;
    }
    let (summed, sum) = payload.split_at_checked(payload.len().checked_sub(SUM)?)?;
    let sum = u64::from_le_bytes(*sum.first_chunk()?);
    (skip_checksum || sum == crc64(0, summed)).then_some(body)
}

fn read(source: &mut Source<&[u8]>, limits: Limits) -> Result<Value, Error> {
    let byte = source.byte()?;
    let Some(kind) = ObjectType::from_byte(byte) else {
        return Err(source.fail(ErrorKind::UnknownType(byte)));
    };
    let value = Loader::new(limits).load(kind, source)?;
    value.ok_or_else(|| source.fail(ErrorKind::corrupt("Collection without elements")))
}

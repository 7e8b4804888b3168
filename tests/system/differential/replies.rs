//! Replies as bytes, and as what they hold where their order is open.

use crate::support::Client;
use crate::workload::{Request, is_unordered};
use redis_protocol::resp3::decode::complete::decode as decode3;
use redis_protocol::resp3::types::OwnedFrame as Frame;

#[derive(Clone, Copy, Debug)]
pub enum Protocol {
    Resp2,
    Resp3,
}

impl Protocol {
    /// Makes a new connection speak it.
    pub fn choose(self, client: &mut Client) {
        if let Protocol::Resp3 = self {
            client.send(&["HELLO", "3"]).unwrap();
            client.receive_raw(|bytes| self.length(bytes)).unwrap();
        }
    }

    /// The length of the first whole reply in `bytes`.
    pub fn length(self, bytes: &[u8]) -> Option<usize> {
        match self {
            Protocol::Resp2 => {
                let decoded = redis_protocol::resp2::decode::decode(bytes).unwrap();
                decoded.map(|(_, length)| length)
            }
            Protocol::Resp3 => decode3(bytes).unwrap().map(|(_, length)| length),
        }
    }

    fn frame(self, reply: &[u8]) -> Frame {
        match self {
            Protocol::Resp2 => {
                let decoded = redis_protocol::resp2::decode::decode(reply).unwrap();
                decoded.unwrap().0.into_resp3()
            }
            Protocol::Resp3 => decode3(reply).unwrap().unwrap().0,
        }
    }
}

/// How numbers are told apart by a comparison.
#[derive(Clone, Copy)]
enum Numbers {
    /// By their text.
    AsWritten,
    /// As the doubles that the text stands for.
    AsDoubles,
    /// As doubles, to 17 decimals: what Redis 7 writes of a coordinate, which is a digit too few
    /// for a double below 0.1.
    ToDecimals,
}

impl Numbers {
    /// What a comparison with a peer other than Redis 8 has to allow for in a command's reply.
    fn of(name: &[u8]) -> Numbers {
        let starts = |starts: &[&[u8]]| starts.iter().any(|start| name.starts_with(start));
        match name {
            _ if name == b"EXEC" || starts(&[b"GEO"]) => Numbers::ToDecimals,
            _ if starts(&[b"Z", b"BZ"]) => Numbers::AsDoubles,
            _ => Numbers::AsWritten,
        }
    }

    fn write(self, number: f64) -> String {
        match self {
            Numbers::ToDecimals if number.abs() < 0.1 => format!("{number:.17}"),
            Numbers::ToDecimals | Numbers::AsDoubles | Numbers::AsWritten => format!("{number}"),
        }
    }
}

/// A part as text.
fn text(frame: &Frame, numbers: Numbers) -> String {
    match frame {
        Frame::BlobString { data, .. } if !matches!(numbers, Numbers::AsWritten) => {
            let number = std::str::from_utf8(data)
                .ok()
                .and_then(|s| s.parse::<f64>().ok());
            number.map_or_else(|| format!("{data:?}"), |number| numbers.write(number))
        }
        Frame::Double { data, .. } => numbers.write(*data),
        Frame::Array { data, .. } => {
            let parts: Vec<_> = data.iter().map(|part| text(part, numbers)).collect();
            format!("{parts:?}")
        }
        // Its pairs come in an order of the decoder's own.
        Frame::Map { data, .. } => {
            let pairs = data.iter();
            let mut pairs: Vec<_> = pairs
                .map(|(key, value)| [text(key, numbers), text(value, numbers)])
                .collect();
            pairs.sort();
            format!("{pairs:?}")
        }
        other => format!("{other:?}"),
    }
}

/// The parts of a reply, in an order of their own if they have none.
/// Unless the peer is Redis 8, doubles may be written with more digits than they need.
pub fn contents(
    protocol: Protocol,
    of_redis_8: bool,
    request: &Request,
    reply: &[u8],
) -> Vec<String> {
    let has = |option: &[u8]| request.iter().any(|word| word == option);
    let (name, resp2) = (request[0].as_slice(), matches!(protocol, Protocol::Resp2));
    let in_pairs = match name {
        b"HGETALL" => resp2,
        b"HRANDFIELD" => resp2 && has(b"WITHVALUES"),
        b"ZRANDMEMBER" => resp2 && has(b"WITHSCORES"),
        b"HSCAN" => !has(b"NOVALUES"),
        b"ZSCAN" => true,
        _ => false,
    };
    let mut frame = protocol.frame(reply);
    let mut parts = Vec::new();
    if name.ends_with(b"SCAN")
        && let Frame::Array { data, .. } = &frame
        && let [cursor, found] = data.as_slice()
    {
        parts.push(format!("{cursor:?}"));
        frame = found.clone();
    }
    let numbers = match of_redis_8 {
        true => Numbers::AsWritten,
        false => Numbers::of(name),
    };
    match frame {
        Frame::Array { data, .. } if in_pairs => {
            let pairs = data.chunks(2);
            parts.extend(pairs.map(|pair| pair.iter().map(|part| text(part, numbers)).collect()));
        }
        Frame::Array { data, .. } => parts.extend(data.iter().map(|part| text(part, numbers))),
        Frame::Map { data, .. } => parts.extend(data.iter().map(|pair| format!("{pair:?}"))),
        Frame::Set { data, .. } => parts.extend(data.iter().map(|part| format!("{part:?}"))),
        other => parts.push(text(&other, numbers)),
    }
    if is_unordered(request) {
        parts.sort();
    }
    parts
}

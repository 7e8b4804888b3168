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

/// Whether a reply may hold scores, distances or coordinates.
fn tells_doubles(name: &[u8]) -> bool {
    name == b"EXEC"
        || [&b"Z"[..], b"BZ", b"GEO"]
            .iter()
            .any(|start| name.starts_with(start))
}

/// A part as text; what is a number in it as the double it is.
fn text(frame: &Frame, numbers: bool) -> String {
    match frame {
        Frame::BlobString { data, .. } if numbers => {
            let number = std::str::from_utf8(data)
                .ok()
                .and_then(|s| s.parse::<f64>().ok());
            number.map_or_else(|| format!("{data:?}"), |n| format!("{n}"))
        }
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
    let numbers = !of_redis_8 && tells_doubles(name);
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

//! A blocking client: requests encoded and replies decoded by the redis-protocol crate.

use bytes::BytesMut;
use redis_protocol::resp2::decode::decode;
use redis_protocol::resp2::encode::extend_encode;
use redis_protocol::resp2::types::OwnedFrame;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::time::Duration;

/// A reply in RESP2's types.
pub type Reply = OwnedFrame;

/// The longest a reply is waited for; a server that hangs fails the test.
const PATIENCE: Duration = Duration::from_secs(30);

pub struct Client {
    stream: TcpStream,
    received: BytesMut,
}

/// Appends one request to `out`.
pub fn encode<A: AsRef<[u8]>>(out: &mut BytesMut, request: &[A]) {
    let arguments = request
        .iter()
        .map(|arg| Reply::BulkString(arg.as_ref().to_vec()));
    let frame = Reply::Array(arguments.collect()).into_bytes_frame();
    extend_encode(out, &frame, false).unwrap();
}

impl Client {
    pub fn connect(port: u16) -> io::Result<Self> {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Self {
            stream,
            received: BytesMut::new(),
        })
    }

    pub fn send<A: AsRef<[u8]>>(&mut self, request: &[A]) -> io::Result<()> {
        let mut bytes = BytesMut::new();
        encode(&mut bytes, request);
        self.send_bytes(&bytes)
    }

    pub fn send_bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    pub fn receive(&mut self) -> io::Result<Reply> {
        loop {
            let decoded = decode(&self.received).map_err(io::Error::other)?;
            if let Some((reply, used)) = decoded {
                let _ = self.received.split_to(used);
                return Ok(reply);
            }
            self.read_more()?;
        }
    }

    /// The bytes of one reply, for which `length` says where it ends.
    pub fn receive_raw(&mut self, length: impl Fn(&[u8]) -> Option<usize>) -> io::Result<Vec<u8>> {
        loop {
            let whole = if self.received.is_empty() {
                None
            } else {
                length(&self.received)
            };
            if let Some(used) = whole {
                return Ok(self.received.split_to(used).to_vec());
            }
            self.read_more()?;
        }
    }

    fn read_more(&mut self) -> io::Result<()> {
        let mut chunk = [0; 16 * 1024];
        let count = self.stream.read(&mut chunk)?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.received.extend_from_slice(&chunk[..count]);
        Ok(())
    }

    pub fn try_call<A: AsRef<[u8]>>(&mut self, request: &[A]) -> io::Result<Reply> {
        self.send(request)?;
        self.receive()
    }

    /// One request and its reply, which may be an error reply; panics when the connection fails.
    pub fn call<A: AsRef<[u8]>>(&mut self, request: &[A]) -> Reply {
        let reply = self.try_call(request);
        reply.unwrap_or_else(|error| panic!("{}: {error}", shown(request)))
    }

    /// A request whose reply has to be `+OK`.
    pub fn ok<A: AsRef<[u8]>>(&mut self, request: &[A]) {
        let reply = self.call(request);
        assert_eq!(
            reply,
            Reply::SimpleString(b"OK".to_vec()),
            "{}",
            shown(request)
        );
    }

    /// A request whose reply has to be a string, of either kind.
    pub fn text<A: AsRef<[u8]>>(&mut self, request: &[A]) -> String {
        match self.call(request) {
            Reply::SimpleString(text) | Reply::BulkString(text) => {
                String::from_utf8_lossy(&text).into_owned()
            }
            other => panic!("{}: {other:?}", shown(request)),
        }
    }

    /// A request whose reply has to be an integer.
    pub fn int<A: AsRef<[u8]>>(&mut self, request: &[A]) -> i64 {
        match self.call(request) {
            Reply::Integer(value) => value,
            other => panic!("{}: {other:?}", shown(request)),
        }
    }

    /// A request whose reply has to be an error.
    pub fn error<A: AsRef<[u8]>>(&mut self, request: &[A]) -> String {
        match self.call(request) {
            Reply::Error(text) => text,
            other => panic!("{}: {other:?}", shown(request)),
        }
    }

    /// A field of INFO; empty when there is none.
    pub fn info(&mut self, field: &str) -> String {
        let info = self.text(&["INFO"]);
        let prefix = format!("{field}:");
        let line = info.lines().find_map(|line| line.strip_prefix(&prefix));
        line.unwrap_or_default().trim_end().to_owned()
    }

    /// A numeric field of INFO.
    pub fn info_number(&mut self, field: &str) -> u64 {
        let text = self.info(field);
        text.parse()
            .unwrap_or_else(|_| panic!("INFO's {field} is {text:?}"))
    }

    pub fn digest(&mut self) -> String {
        self.text(&["DEBUG", "DIGEST"])
    }
}

fn shown<A: AsRef<[u8]>>(request: &[A]) -> String {
    let parts = request
        .iter()
        .map(|arg| arg.as_ref().escape_ascii().to_string());
    parts.collect::<Vec<_>>().join(" ")
}

/// A field of CLIENT LIST for each of the clients of these numbers, in their order; 0 where the
/// server does not know it.
pub fn field_of_clients(watcher: &mut Client, ids: &[u64], field: &str) -> Vec<String> {
    let list = watcher.text(&["CLIENT", "LIST"]);
    let get = |line: &str, name: &str| {
        let mut words = line.split(' ').filter_map(|w| w.split_once('='));
        words.find(|w| w.0 == name).map_or("0", |w| w.1).to_owned()
    };
    let of = |id: &u64| list.lines().find(|l| get(l, "id") == id.to_string());
    ids.iter().map(|id| get(of(id).unwrap(), field)).collect()
}

//! A server for the tests of command families: an [`Engine`] without network or files, whose
//! commands are given as text and whose replies, effects and keyspace events come back as text.
//!
//! ```text
//!   let mut t = TestServer::new();            // time stands still at START_MS
//!   assert_eq!(t.run("SET k v PX 100"), "+OK");
//!   assert_eq!(t.run("GET k"), r#""v""#);
//!   assert_eq!(t.effects(), ["SET k v PXAT 1700000000100"]);
//!   t.advance(100);
//!   assert_eq!(t.run("GET k"), "nil");
//! ```
//!
//! A reply is written as: `+OK`, `-ERR text`, `:1`, `"bulk"`, `nil`, `nil-array`, `[a, b]`, and in
//! RESP3 `_`, `,1.5`, `#t`, `(123`, `=txt:text`, `{k: v}`, `~[a, b]`, `>[a, b]`.
//! An effect is written as its arguments, quoted where a blank or an unprintable byte needs it;
//! the stream begins with database 0 selected.

use std::ops::{Deref, DerefMut};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use parking_lot::Mutex;

use crate::base::{args, clock};
use crate::client::Registry;
use crate::client::registry::NewClient;
use crate::config::{Change, Config, LoadSource};
use crate::keyspace::entry::Meta;
use crate::keyspace::locks::{Keyspace, ShardMask};
use crate::keyspace::shard::NewValue;
use crate::keyspace::unit::{Event, Garbage};
use crate::keyspace::value::hash::{Hash, HashLimits};
use crate::keyspace::value::{Str, Value, ValueRef};
use crate::oplog::log::{Cursor, Log};
use crate::resp::reply::{Proto, Reply};

use super::ctx::{CommandError, Later, Suspended};
use super::dispatch::{Engine, Propagation, Ran, Scratch};
use super::engine::{Gate, Gates, Pause};
use super::families;
use super::host::{Aside, Host, Work};
use super::latency::LatencyMonitor;
use super::own_expiries::OwnExpiries;
use super::session::{Origin, Session};
use super::slowlog::Slowlog;
use super::spec::CommandTable;

/// The instant at which a test's time stands, Unix milliseconds.
pub const START_MS: i64 = 1_700_000_000_000;

/// A server, and one client of it that it derefs to.
pub struct TestServer {
    client: TestClient,
    host: Arc<TestHost>,
    log: Cursor,
    now_ms: i64,
}

/// A client of a [`TestServer`].
pub struct TestClient {
    /// The server's engine.
    pub engine: Arc<Engine>,
    /// The connection's state.
    pub session: Session,
    scratch: Scratch,
    proto: Proto,
}

/// What lies above the commands, as far as tests look at it.
#[derive(Default)]
pub struct TestHost {
    events: Mutex<Vec<Event>>,
    freed: AtomicUsize,
    /// How many more looks find too much memory in use.
    short: AtomicU64,
    /// Work for other threads, where there are any.
    work: Mutex<Vec<Work>>,
    has_threads: AtomicBool,
}

impl Default for TestServer {
    fn default() -> TestServer {
        TestServer::with(&[])
    }
}

impl TestServer {
    /// A server with default settings.
    pub fn new() -> TestServer {
        TestServer::default()
    }

    /// A server started with these arguments: `["--maxmemory", "1gb"]`.
    pub fn with(arguments: &[&str]) -> TestServer {
        clock::pinned::pin(START_MS);
        let source = LoadSource::from_args(arguments.iter().map(Into::into));
        let config = Config::load(&source, &mut |_, _| Ok(())).unwrap();
        let renames: &[(Vec<u8>, Vec<u8>)] = &[];
        let log = Log::new();
        log.set_offset(0, Some(0)).unwrap();
        let host = Arc::new(TestHost::default());
        let engine = Arc::new(Engine {
            keyspace: Arc::new(Keyspace::new(16)),
            log: Arc::clone(&log),
            table: CommandTable::build(&families::handlers(), renames).unwrap(),
            config: Arc::new(config),
            clients: Arc::new(Registry::default()),
            stats: Arc::default(),
            blocked: Arc::default(),
            gates: Gates::default(),
            pause: Pause::default(),
            slowlog: Slowlog::default(),
            latency: LatencyMonitor::default(),
            eviction: Default::default(),
            host: Arc::clone(&host) as Arc<dyn Host>,
            active_expire: AtomicBool::new(true),
            cron_paused: AtomicBool::new(false),
            own_expiries: OwnExpiries::default(),
            started_ms: AtomicI64::new(START_MS),
        });
        TestServer {
            client: TestClient::new(engine),
            host,
            log: log.reader(0).unwrap(),
            now_ms: START_MS,
        }
    }

    /// Another client.
    pub fn client(&self) -> TestClient {
        TestClient::new(Arc::clone(&self.engine))
    }

    /// The next looks at the memory in use, so many of them, find too much.
    pub fn be_short_of_memory(&self, looks: u64) {
        self.host.short.store(looks, Ordering::Relaxed);
    }

    /// From now on there are threads beside the workers, which begin to work when they are told.
    pub fn have_threads(&self) {
        self.host.has_threads.store(true, Ordering::Relaxed);
    }

    /// Has the work done that waits for other threads.
    pub fn do_work(&self) {
        let work = std::mem::take(&mut *self.host.work.lock());
        work.into_iter().for_each(|work| work(&self.engine));
    }

    /// Lets time pass.
    pub fn advance(&mut self, ms: i64) {
        self.now_ms += ms;
        clock::pinned::pin(self.now_ms);
    }

    /// Makes it a read-only replica, or a primary again.
    pub fn set_replica(&mut self, on: bool) {
        self.engine.gates.set(Gate::REPLICA, on);
        self.engine.gates.set(Gate::READ_ONLY, on);
    }

    /// What went to the replication stream since the last call, a command each.
    pub fn effects(&mut self) -> Vec<String> {
        let mut bytes = Vec::new();
        loop {
            let segments = self.log.try_read(1 << 20);
            if segments.is_empty() {
                break;
            }
            segments.iter().for_each(|s| bytes.extend_from_slice(s));
        }
        let mut rest = &bytes[..];
        let mut commands = Vec::new();
        while !rest.is_empty() {
            let command = Resp::decode(&mut rest);
            let words = command.elements();
            commands.push(words.iter().map(|w| word(w.bytes())).collect::<Vec<_>>());
        }
        commands.into_iter().map(|c| c.join(" ")).collect()
    }

    /// Keys whose values went to the freeing thread since the last call.
    pub fn freed_elsewhere(&self) -> usize {
        self.host.freed.swap(0, Ordering::Relaxed)
    }

    /// Keyspace events since the last call: `db event key`. The server must have been told to
    /// notify.
    pub fn events(&mut self) -> Vec<String> {
        let events = std::mem::take(&mut *self.host.events.lock());
        let show = |e: &Event| format!("{} {} {}", e.db, e.name, word(&e.key));
        events.iter().map(show).collect()
    }
}

impl TestServer {
    /// Sets a hash in database 0 behind the commands' back: nothing is logged.
    pub fn put_hash(&self, key: &str, fields: &[(&str, &str)]) {
        let mut hash = Hash::new();
        for (field, value) in fields {
            hash.set(field.as_bytes(), value.as_bytes(), &HashLimits::default());
        }
        self.put(key.as_bytes(), hash.into());
    }

    /// Sets a new key's value in database 0 behind the commands' back: nothing is logged.
    pub fn put(&self, key: &[u8], value: Value) {
        let hash = crate::keyspace::hash::of(key);
        let mut mask = ShardMask::NONE;
        mask.add_hash(hash);
        let mut locked = self.engine.keyspace.lock(mask);
        let shard = locked.shard_for(hash).unwrap();
        shard.insert(0, hash, key, NewValue::Value(value), Meta::default());
    }
}

impl Deref for TestServer {
    type Target = TestClient;

    fn deref(&self) -> &TestClient {
        &self.client
    }
}

impl DerefMut for TestServer {
    fn deref_mut(&mut self) -> &mut TestClient {
        &mut self.client
    }
}

impl TestClient {
    fn new(engine: Arc<Engine>) -> TestClient {
        let client = engine.clients.register(NewClient::default(), START_MS);
        TestClient {
            session: Session::new(client, Origin::Client, true),
            scratch: Scratch::new(&engine),
            proto: Proto::Resp2,
            engine,
        }
    }

    /// Replies come in RESP3 from now on, or in RESP2 again.
    pub fn set_resp3(&mut self, on: bool) {
        self.session.resp3 = on;
        self.proto = if on { Proto::Resp3 } else { Proto::Resp2 };
    }

    /// Runs a command line, with the quoting rules of inline commands.
    pub fn run(&mut self, line: &str) -> String {
        self.reply(line).to_string()
    }

    /// Runs each line and compares its reply.
    #[track_caller]
    pub fn expect(&mut self, lines: &[(&str, &str)]) {
        for (line, reply) in lines {
            assert_eq!(self.run(line), *reply, "{line}");
        }
    }

    /// As [`TestClient::run`], with the arguments as they are.
    pub fn run_args(&mut self, words: &[&[u8]]) -> String {
        self.reply_args(words).to_string()
    }

    /// As [`TestClient::run`], with the reply's structure.
    pub fn reply(&mut self, line: &str) -> Resp {
        let words = args::split_args(line.as_bytes()).unwrap();
        let words: Vec<&[u8]> = words.iter().map(Vec::as_slice).collect();
        self.reply_args(&words)
    }

    /// As [`TestClient::run_args`], with the reply's structure.
    pub fn reply_args(&mut self, words: &[&[u8]]) -> Resp {
        let mut replies = self.pipeline(&[words]);
        assert_eq!(replies.len(), 1, "one reply to one request");
        replies.remove(0)
    }

    /// Runs a command line that waits.
    pub fn begin(&mut self, line: &str) -> Begun {
        let words = args::split_args(line.as_bytes()).unwrap();
        let words: Vec<&[u8]> = words.iter().map(Vec::as_slice).collect();
        let mut reply = Reply::new(self.proto);
        let ran = self
            .engine
            .run(&mut self.scratch, &mut self.session, &[&words], &mut reply);
        let bytes = reply.drain_chunks().concat();
        assert!(bytes.is_empty(), "{line}: {:?}", bytes.escape_ascii());
        Begun(Some(ran.suspended.expect("it waits")))
    }

    /// The reply to what waited, if it is there.
    pub fn reply_to(&mut self, begun: &mut Begun) -> Option<String> {
        let mut context = Context::from_waker(Waker::noop());
        let Poll::Ready(later) = begun.0.as_mut()?.as_mut().poll(&mut context) else {
            return None;
        };
        begun.0 = None;
        let mut reply = Reply::new(self.proto);
        later(&mut self.session, &mut reply);
        let bytes = reply.drain_chunks().concat();
        (!bytes.is_empty()).then(|| Resp::decode(&mut &bytes[..]).to_string())
    }

    /// For how long a pause holds this command back; it has not run then.
    pub fn paused_ms(&mut self, line: &str) -> Option<u64> {
        self.ran(line).paused_ms
    }

    /// Up to where the log must be durable before this command's reply may go out.
    pub fn durable_at(&mut self, line: &str) -> u64 {
        self.ran(line).durable_at
    }

    fn ran(&mut self, line: &str) -> Ran {
        let args = args::split_args(line.as_bytes()).unwrap();
        let args: Vec<&[u8]> = args.iter().map(|a| &a[..]).collect();
        let mut reply = Reply::new(self.proto);
        let engine = &self.engine;
        engine.run(&mut self.scratch, &mut self.session, &[&args], &mut reply)
    }

    /// Runs requests as a connection does that read them at once.
    pub fn pipeline(&mut self, requests: &[&[&[u8]]]) -> Vec<Resp> {
        let mut reply = Reply::new(self.proto);
        let mut rest = requests;
        while !rest.is_empty() {
            let ran = self.engine.run_as(
                &mut self.scratch,
                &mut self.session,
                rest,
                &mut reply,
                Propagation::Own,
            );
            if let Some(suspended) = ran.suspended {
                let later = wait(suspended);
                later(&mut self.session, &mut reply);
            }
            assert_eq!(ran.paused_ms, None, "the test must end its pause");
            rest = &rest[ran.consumed..];
        }
        let bytes = reply.drain_chunks().concat();
        let mut rest = &bytes[..];
        let mut replies = Vec::new();
        while !rest.is_empty() {
            replies.push(Resp::decode(&mut rest));
        }
        replies
    }
}

fn wait(suspended: Suspended) -> Later {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(suspended)
}

/// A command that waits, for ever: there is no clock behind it. Dropped, its client is gone.
pub struct Begun(Option<Suspended>);

/// A decoded reply.
#[derive(Clone, Debug, PartialEq)]
pub enum Resp {
    /// A line: its type byte and its text (`+`, `-`, `:`, `,`, `#`, `(`, `_`).
    Line(u8, String),
    /// A bulk string.
    Bulk(Vec<u8>),
    /// A verbatim string, its format included.
    Verbatim(Vec<u8>),
    /// RESP2's null; `true` for the null array.
    Null(bool),
    /// `*`, `~`, `>` with their elements.
    Array(u8, Vec<Resp>),
    /// `%` and `|`, keys and values in turn.
    Map(u8, Vec<Resp>),
}

impl Resp {
    /// Takes one reply off the front of `rest`.
    pub fn decode(rest: &mut &[u8]) -> Resp {
        let end = memchr::memmem::find(rest, b"\r\n").unwrap();
        let (kind, text) = (rest[0], String::from_utf8_lossy(&rest[1..end]).into_owned());
        *rest = &rest[end + 2..];
        let many = |n: usize, rest: &mut &[u8]| (0..n).map(|_| Resp::decode(rest)).collect();
        match (kind, text.parse::<i64>()) {
            (b'$' | b'*', Ok(-1)) => Resp::Null(kind == b'*'),
            (b'$' | b'=', Ok(n)) => {
                let (bytes, after) = rest.split_at(n as usize);
                *rest = after.strip_prefix(b"\r\n").unwrap();
                if kind == b'$' {
                    Resp::Bulk(bytes.to_vec())
                } else {
                    Resp::Verbatim(bytes.to_vec())
                }
            }
            (b'*' | b'~' | b'>', Ok(n)) => Resp::Array(kind, many(n as usize, rest)),
            (b'%' | b'|', Ok(n)) => Resp::Map(kind, many(n as usize * 2, rest)),
            (b'+' | b'-' | b':' | b',' | b'#' | b'(' | b'_', _) => Resp::Line(kind, text),
            _ => panic!("not a reply: {}{text}", kind as char),
        }
    }

    /// The elements of an array or set, the keys and values of a map.
    pub fn elements(&self) -> &[Resp] {
        match self {
            Resp::Array(_, e) | Resp::Map(_, e) => e,
            other => panic!("not an aggregate: {other}"),
        }
    }

    /// The bytes of a bulk string.
    pub fn bytes(&self) -> &[u8] {
        match self {
            Resp::Bulk(b) => b,
            other => panic!("not a bulk string: {other}"),
        }
    }

    /// The bytes of a bulk or verbatim string, or of a status, as text.
    pub fn text(&self) -> String {
        match self {
            Resp::Line(_, text) => text.clone(),
            Resp::Verbatim(b) => String::from_utf8_lossy(&b[4..]).into_owned(),
            other => String::from_utf8_lossy(other.bytes()).into_owned(),
        }
    }

    /// The number of an integer reply.
    pub fn int(&self) -> i64 {
        match self {
            Resp::Line(b':', text) => text.parse().unwrap(),
            other => panic!("not an integer: {other}"),
        }
    }
}

impl std::fmt::Display for Resp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Resp::Line(kind, text) => write!(f, "{}{text}", *kind as char),
            Resp::Bulk(b) => f.write_str(&args::quote(b)),
            Resp::Verbatim(b) => write!(f, "={}", String::from_utf8_lossy(b)),
            Resp::Null(array) => f.write_str(if *array { "nil-array" } else { "nil" }),
            Resp::Array(kind, elements) => {
                if *kind != b'*' {
                    write!(f, "{}", *kind as char)?;
                }
                let elements: Vec<String> = elements.iter().map(Resp::to_string).collect();
                write!(f, "[{}]", elements.join(", "))
            }
            Resp::Map(kind, elements) => {
                if *kind != b'%' {
                    write!(f, "{}", *kind as char)?;
                }
                let pair = |p: &[Resp]| format!("{}: {}", p[0], p[1]);
                let pairs: Vec<String> = elements.chunks(2).map(pair).collect();
                write!(f, "{{{}}}", pairs.join(", "))
            }
        }
    }
}

/// An argument as it would be typed.
fn word(bytes: &[u8]) -> String {
    let quoted = args::quote(bytes);
    let bare = &quoted[1..quoted.len() - 1];
    let plain = bare.as_bytes() == bytes && !bytes.is_empty() && !bytes.contains(&b' ');
    if plain { bare.to_owned() } else { quoted }
}

impl Host for TestHost {
    fn aof_write_error(&self) -> Option<String> {
        None
    }

    fn publish_events(&self, events: &[Event]) {
        self.events.lock().extend_from_slice(events);
    }

    fn free_later(&self, garbage: Vec<Garbage>) {
        let keys: usize = garbage.iter().map(Garbage::keys).sum();
        self.freed.fetch_add(keys, Ordering::Relaxed);
    }

    fn memory_over(&self, _: u64) -> u64 {
        let less = |looks: u64| looks.checked_sub(1);
        self.short
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, less)
            .map_or(0, |_| u64::MAX)
    }

    fn free_apart(&self, garbage: Vec<Garbage>) {
        drop(garbage);
    }

    /// Strings alone, behind a mark.
    fn dump(&self, value: ValueRef<'_>) -> Result<Vec<u8>, CommandError> {
        match value {
            ValueRef::Str(string) => Ok([b"dump:", &string.to_vec()[..]].concat()),
            _ => Err(CommandError::new("ERR not a string")),
        }
    }

    fn restore(&self, payload: &[u8]) -> Result<Value, CommandError> {
        match payload.strip_prefix(b"dump:") {
            Some(bytes) => Ok(Str::new(bytes).into()),
            None => Err(CommandError::new(
                "ERR DUMP payload version or checksum are wrong",
            )),
        }
    }

    fn setting_changed(&self, _: &Change<'_>) -> Result<(), String> {
        Ok(())
    }

    fn reset_stats(&self) {}

    fn aside(&self) -> Option<&dyn Aside> {
        let has_threads = self.has_threads.load(Ordering::Relaxed);
        has_threads.then_some(self as &dyn Aside)
    }
}

impl Aside for TestHost {
    fn run(&self, work: Work) {
        self.work.lock().push(work);
    }

    fn stop_all_until(&self, _: Instant) -> Pin<Box<dyn Future<Output = ()>>> {
        Box::pin(std::future::ready(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_are_shown_as_text() {
        let mut t = TestServer::new();
        assert_eq!(t.run("MULTI"), "+OK");
        assert_eq!(t.run("DISCARD"), "+OK");
        assert_eq!(t.run("DISCARD"), "-ERR DISCARD without MULTI");
        let mut bytes = &b"*3\r\n$1\r\na\r\n$-1\r\n%1\r\n:1\r\n~1\r\n#t\r\n"[..];
        assert_eq!(
            Resp::decode(&mut bytes).to_string(),
            r#"["a", nil, {:1: ~[#t]}]"#
        );
        assert!(bytes.is_empty());
    }
}

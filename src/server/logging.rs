//! Log lines in Redis's form, through tracing.
//!
//! ```text
//! 4711:M 21 Nov 2026 01:37:01.123 * Ready to accept connections tcp
//! pid :role  time                 level  message
//! ```
//!
//! Levels: `#` warning (`warn!` and `error!`), `*` notice (`info!`), `-` verbose (`debug!`), `.`
//! debug (`trace!`). Role: `M` primary, `S` replica. The file is opened for each line, so that
//! it can be rotated by renaming it.

use std::fmt::Write as _;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};

use parking_lot::RwLock;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::{Context, SubscriberExt};

use crate::base::clock;
use crate::config::LogLevel;

static VERBOSITY: AtomicU8 = AtomicU8::new(2);
static IS_REPLICA: AtomicBool = AtomicBool::new(false);
static FILE: RwLock<Option<PathBuf>> = RwLock::new(None);

/// Sends every log line of the process here.
pub fn install() {
    let subscriber = tracing_subscriber::registry().with(RedisLayer);
    let _ = tracing::subscriber::set_global_default(subscriber);
}

/// Lines below this level are left out.
pub fn set_level(level: LogLevel) {
    let code = match level {
        LogLevel::Debug => 0,
        LogLevel::Verbose => 1,
        LogLevel::Notice => 2,
        LogLevel::Warning => 3,
        LogLevel::Nothing => 4,
    };
    VERBOSITY.store(code, Ordering::Relaxed);
}

/// Lines go to this file; to standard output if the path is empty.
pub fn set_file(path: &Path) {
    *FILE.write() = (!path.as_os_str().is_empty()).then(|| path.to_path_buf());
}

/// Which role the lines name.
pub fn set_replica(replica: bool) {
    IS_REPLICA.store(replica, Ordering::Relaxed);
}

/// Writes text as it is, whatever the level: the banner.
pub fn raw(text: &str) {
    emit(text.as_bytes());
}

struct RedisLayer;

fn rank(level: &Level) -> (u8, char) {
    match *level {
        Level::TRACE => (0, '.'),
        Level::DEBUG => (1, '-'),
        Level::INFO => (2, '*'),
        Level::WARN | Level::ERROR => (3, '#'),
    }
}

impl<S: Subscriber> Layer<S> for RedisLayer {
    fn enabled(&self, metadata: &Metadata<'_>, _: Context<'_, S>) -> bool {
        metadata.target().starts_with("russet")
            && rank(metadata.level()).0 >= VERBOSITY.load(Ordering::Relaxed)
    }

    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut message = Message(String::new());
        event.record(&mut message);
        let role = if IS_REPLICA.load(Ordering::Relaxed) {
            'S'
        } else {
            'M'
        };
        let (_, mark) = rank(event.metadata().level());
        let line = format!(
            "{}:{role} {} {mark} {}\n",
            std::process::id(),
            timestamp(clock::unix_ms()),
            message.0
        );
        emit(line.as_bytes());
    }
}

/// A warning as a line of the log, for a program that has no log of its own.
pub fn line_of_warning(text: &str) -> String {
    format!(
        "{}:C {} # {text}\n",
        std::process::id(),
        timestamp(clock::unix_ms())
    )
}

struct Message(String);

impl Visit for Message {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        if field.name() == "message" {
            let _ = write!(self.0, "{value:?}");
        }
    }
}

fn emit(line: &[u8]) {
    match &*FILE.read() {
        Some(path) => {
            if let Ok(mut f) = OpenOptions::new().create(true).append(true).open(path) {
                let _ = f.write_all(line);
            }
        }
        None => {
            let mut out = std::io::stdout().lock();
            let _ = out.write_all(line).and_then(|()| out.flush());
        }
    }
}

const MONTHS: [&str; 12] = [
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
];

/// `21 Nov 2026 01:37:01.123` in the local time zone.
fn timestamp(unix_ms: i64) -> String {
    let (seconds, millis) = (unix_ms.div_euclid(1000), unix_ms.rem_euclid(1000));
    let tm = local_time(seconds);
    let month = usize::try_from(tm.tm_mon)
        .ok()
        .and_then(|m| MONTHS.get(m))
        .unwrap_or(&"Jan");
    format!(
        "{:02} {month} {} {:02}:{:02}:{:02}.{millis:03}",
        tm.tm_mday,
        tm.tm_year + 1900,
        tm.tm_hour,
        tm.tm_min,
        tm.tm_sec
    )
}

#[expect(unsafe_code, reason = "the C library alone knows the local time zone")]
fn local_time(seconds: i64) -> libc::tm {
    // SAFETY: `tm` is plain data for which all zeroes is a value; both pointers are valid.
    unsafe {
        let mut tm: libc::tm = std::mem::zeroed();
        libc::localtime_r(&seconds, &mut tm);
        tm
    }
}

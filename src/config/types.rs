//! The value types of [`Settings`](super::Settings) that are more than a number or a flag.

use std::ffi::OsStr;
use std::fmt::{self, Debug};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

/// A type whose values are written as one of a few words.
pub trait Choice: Copy + PartialEq + Debug + 'static {
    /// The words and what they mean, in the order in which an error lists them.
    const WORDS: &'static [(&'static str, Self)];

    /// The word for this value.
    fn as_str(self) -> &'static str {
        let found = Self::WORDS.iter().find(|(_, value)| *value == self);
        found.map_or("unknown", |(text, _)| text)
    }
}

macro_rules! choices {
    ($($(#[doc = $doc:literal])+ $name:ident {
        $($(#[doc = $variant_doc:literal])+ $variant:ident = $word:literal,)+
    })+) => {$(
        $(#[doc = $doc])+
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum $name {
            $($(#[doc = $variant_doc])+ $variant,)+
        }

        impl Choice for $name {
            const WORDS: &'static [(&'static str, Self)] = &[$(($word, $name::$variant)),+];
        }
    )+};
}

choices! {
    /// `appendfsync`: when the AOF is forced to the disk.
    AppendFsync {
        /// Once a second.
        EverySecond = "everysec",
        /// Before the reply of a write is sent.
        Always = "always",
        /// When the operating system pleases.
        No = "no",
    }
    /// `loglevel`: the least severe messages that are logged.
    LogLevel {
        /// Everything.
        Debug = "debug",
        /// Much that is rarely of use.
        Verbose = "verbose",
        /// What production wants.
        Notice = "notice",
        /// What is important or critical.
        Warning = "warning",
        /// Nothing at all.
        Nothing = "nothing",
    }
    /// `supervised`: how a service manager is told that the server is ready.
    Supervised {
        /// By stopping until upstart lets it go on.
        Upstart = "upstart",
        /// By a message to systemd's `NOTIFY_SOCKET`.
        Systemd = "systemd",
        /// By whichever of the two the environment asks for.
        Auto = "auto",
        /// Not at all.
        No = "no",
    }
    /// `syslog-facility`.
    SyslogFacility {
        /// Messages of user programs.
        User = "user",
        /// Local use 0.
        Local0 = "local0",
        /// Local use 1.
        Local1 = "local1",
        /// Local use 2.
        Local2 = "local2",
        /// Local use 3.
        Local3 = "local3",
        /// Local use 4.
        Local4 = "local4",
        /// Local use 5.
        Local5 = "local5",
        /// Local use 6.
        Local6 = "local6",
        /// Local use 7.
        Local7 = "local7",
    }
    /// `repl-diskless-load`: whether a replica loads the data set from the socket.
    DisklessLoad {
        /// Never: the RDB file goes to the disk first.
        Disabled = "disabled",
        /// Only when there is nothing to lose.
        OnEmptyDb = "on-empty-db",
        /// Beside the present data set, which is swapped out at the end.
        SwapDb = "swapdb",
    }
    /// `enable-debug-command` and its like: who may use something dangerous.
    ProtectedAction {
        /// Nobody.
        No = "no",
        /// Everybody.
        Yes = "yes",
        /// Connections from this machine.
        Local = "local",
    }
    /// `oom-score-adj`.
    OomScoreAdj {
        /// The score is left alone.
        No = "no",
        /// The same as `relative`.
        Yes = "yes",
        /// Values are added to the score at start.
        Relative = "relative",
        /// Values replace the score.
        Absolute = "absolute",
    }
    /// `acl-pubsub-default`: the channels a new user may use.
    AclPubsubDefault {
        /// All of them.
        AllChannels = "allchannels",
        /// None of them.
        ResetChannels = "resetchannels",
    }
    /// `sanitize-dump-payload`: when payloads are checked in depth.
    SanitizeDumpPayload {
        /// Never.
        No = "no",
        /// Always.
        Yes = "yes",
        /// When they come from a client.
        Clients = "clients",
    }
    /// `propagation-error-behavior`: what follows a command that fails on a replica or in the AOF.
    PropagationErrorBehavior {
        /// It is logged.
        Ignore = "ignore",
        /// The process ends.
        Panic = "panic",
        /// The process ends if it is a replica.
        PanicOnReplicas = "panic-on-replicas",
    }
    /// `maxmemory-policy`: which keys make room when memory is short.
    MaxmemoryPolicy {
        /// The least recently used of those with a TTL.
        VolatileLru = "volatile-lru",
        /// The least frequently used of those with a TTL.
        VolatileLfu = "volatile-lfu",
        /// Any of those with a TTL.
        VolatileRandom = "volatile-random",
        /// Of those with a TTL, the one that expires soonest.
        VolatileTtl = "volatile-ttl",
        /// The least recently used.
        AllkeysLru = "allkeys-lru",
        /// The least frequently used.
        AllkeysLfu = "allkeys-lfu",
        /// Any.
        AllkeysRandom = "allkeys-random",
        /// None: writes that need memory are refused.
        NoEviction = "noeviction",
    }
    /// `tls-auth-clients`: whether a client must show a certificate.
    TlsAuthClients {
        /// It is not asked for one.
        No = "no",
        /// It must show a valid one.
        Yes = "yes",
        /// It may; one that it shows must be valid.
        Optional = "optional",
    }
    /// `cluster-preferred-endpoint-type`: how a node names itself to clients.
    ClusterEndpointType {
        /// By its address.
        Ip = "ip",
        /// By its announced host name.
        Hostname = "hostname",
        /// Not at all: the client keeps the host that it used.
        UnknownEndpoint = "unknown-endpoint",
    }
}

/// A secret: shown to whom CONFIG GET is allowed, never in a `Debug` text.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Secret(Vec<u8>);

impl Secret {
    /// The bytes of the secret; empty when none is set.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Whether none is set.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl From<&[u8]> for Secret {
    fn from(bytes: &[u8]) -> Secret {
        Secret(bytes.to_vec())
    }
}

impl Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_empty() {
            "Secret(none)"
        } else {
            "Secret(set)"
        })
    }
}

/// A field type that holds a text. `None` stands for a directive that is not set, which is how an
/// empty argument is understood where the type allows it.
pub(super) trait TextValue: PartialEq + Debug + Sized {
    fn from_bytes(bytes: &[u8]) -> Option<Self>;
    fn bytes(&self) -> Option<&[u8]>;
}

impl TextValue for String {
    fn from_bytes(bytes: &[u8]) -> Option<String> {
        String::from_utf8(bytes.to_vec()).ok()
    }

    fn bytes(&self) -> Option<&[u8]> {
        Some(self.as_bytes())
    }
}

impl TextValue for PathBuf {
    fn from_bytes(bytes: &[u8]) -> Option<PathBuf> {
        Some(PathBuf::from(OsStr::from_bytes(bytes)))
    }

    fn bytes(&self) -> Option<&[u8]> {
        Some(self.as_os_str().as_bytes())
    }
}

impl TextValue for Secret {
    fn from_bytes(bytes: &[u8]) -> Option<Secret> {
        Some(Secret(bytes.to_vec()))
    }

    fn bytes(&self) -> Option<&[u8]> {
        (!self.is_empty()).then_some(self.as_bytes())
    }
}

impl<T: TextValue> TextValue for Option<T> {
    fn from_bytes(bytes: &[u8]) -> Option<Option<T>> {
        if bytes.is_empty() {
            Some(None)
        } else {
            T::from_bytes(bytes).map(Some)
        }
    }

    fn bytes(&self) -> Option<&[u8]> {
        self.as_ref().and_then(TextValue::bytes)
    }
}

/// `save seconds changes`: save after `seconds` if there were at least `changes`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SavePoint {
    /// Seconds since the last save; at least 1.
    pub seconds: i64,
    /// Changes since the last save.
    pub changes: i64,
}

/// The limits of one class of clients in `client-output-buffer-limit`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OutputLimit {
    /// Above this a client is disconnected at once; 0 is no limit.
    pub hard_bytes: u64,
    /// Above this for `soft_seconds` on end a client is disconnected; 0 is no limit.
    pub soft_bytes: u64,
    /// How long the soft limit may be exceeded.
    pub soft_seconds: u64,
}

/// `client-output-buffer-limit`, by class of client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OutputLimits {
    /// Clients that are none of the others.
    pub normal: OutputLimit,
    /// Replicas.
    pub replica: OutputLimit,
    /// Subscribers.
    pub pubsub: OutputLimit,
}

/// The primary that this server replicates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PrimaryAddress {
    /// Host name or address.
    pub host: String,
    /// TCP port.
    pub port: u16,
}

/// `maxmemory-clients`: an amount of memory or a share of `maxmemory`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MemoryOrPercent {
    /// Bytes; 0 is no limit.
    Bytes(u64),
    /// Percent of `maxmemory`, at most 100.
    Percent(u8),
}

/// `shutdown-on-sigterm` and `shutdown-on-sigint`: the options of SHUTDOWN that a signal implies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ShutdownOptions {
    /// Save even without save points.
    pub save: bool,
    /// Do not save.
    pub nosave: bool,
    /// Do not wait for replicas.
    pub now: bool,
    /// Go on after an error that would otherwise stop the shutdown.
    pub force: bool,
}

/// `notify-keyspace-events` as bits, which are Redis's own.
#[derive(Clone, Copy, PartialEq, Eq, Default, Hash)]
pub struct NotifyClasses(u32);

impl NotifyClasses {
    /// The letters and their bits, in the order in which CONFIG GET shows them. `A` stands for
    /// the classes of [`NotifyClasses::ALL`].
    pub const LETTERS: [(u8, u32); 14] = [
        (b'g', 1 << 2),
        (b'$', 1 << 3),
        (b'l', 1 << 4),
        (b's', 1 << 5),
        (b'h', 1 << 6),
        (b'z', 1 << 7),
        (b'x', 1 << 8),
        (b'e', 1 << 9),
        (b't', 1 << 10),
        (b'd', 1 << 13),
        (b'n', 1 << 14),
        (b'K', 1 << 0),
        (b'E', 1 << 1),
        (b'm', 1 << 11),
    ];

    /// What `A` stands for: every class but `K` and `E`, which are the channels, and `m` and `n`.
    pub const ALL: u32 = 0b11_1111_1100 | 1 << 10 | 1 << 13;

    /// The letter `n`: hidden behind `A` when shown.
    const NEW: u32 = 1 << 14;

    /// The bits: `K` 0, `E` 1, `g` 2, `$` 3, `l` 4, `s` 5, `h` 6, `z` 7, `x` 8, `e` 9, `t` 10,
    /// `m` 11, `d` 13, `n` 14.
    pub fn bits(self) -> u32 {
        self.0
    }

    /// Reads the letters; `None` if one is unknown.
    pub fn parse(letters: &[u8]) -> Option<NotifyClasses> {
        let mut bits = 0;
        for letter in letters {
            bits |= match letter {
                b'A' => NotifyClasses::ALL,
                _ => {
                    NotifyClasses::LETTERS
                        .iter()
                        .find(|(known, _)| known == letter)?
                        .1
                }
            };
        }
        Some(NotifyClasses(bits))
    }

    /// The letters as CONFIG GET shows them.
    pub fn letters(self) -> String {
        let all = self.0 & NotifyClasses::ALL == NotifyClasses::ALL;
        let covered = if all {
            NotifyClasses::ALL | NotifyClasses::NEW
        } else {
            0
        };
        let mut shown = String::new();
        if all {
            shown.push('A');
        }
        let bits = self.0 & !covered;
        let letters = NotifyClasses::LETTERS
            .iter()
            .filter(|(_, bit)| bits & bit != 0);
        shown.extend(letters.map(|(letter, _)| char::from(*letter)));
        shown
    }
}

impl Debug for NotifyClasses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NotifyClasses({:?})", self.letters())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn event_classes_are_shown_as_redis_shows_them() {
        for (given, shown) in [
            ("An", "A"),
            ("KEA", "AKE"),
            ("Kxm", "xKm"),
            ("Kd", "dK"),
            ("KEAmn", "AKEm"),
            ("g$lshzxetd", "A"),
            ("g$lshzxet", "g$lshzxet"),
            ("", ""),
        ] {
            let classes = NotifyClasses::parse(given.as_bytes()).expect("known letters");
            assert_eq!(classes.letters(), shown, "{given}");
        }
        assert_eq!(NotifyClasses::parse(b"Kq"), None);
    }

    #[test]
    fn a_secret_is_never_printed() {
        assert_eq!(
            format!("{:?}", Secret::from(&b"hunter2"[..])),
            "Secret(set)"
        );
    }

    #[test]
    fn a_choice_knows_its_word() {
        assert_eq!(DisklessLoad::SwapDb.as_str(), "swapdb");
        assert_eq!(AppendFsync::EverySecond.as_str(), "everysec");
    }
}

//! The bit sets of the command table: command flags, ACL categories, key access flags.
//!
//! Each set is a `Copy` integer whose bits carry the names Redis prints, in the order Redis
//! prints them, so the same list parses the table and formats COMMAND's reply.

/// Declares a bit set: the bits in order, each with its printed name. `by` names the private
/// enum that numbers them.
macro_rules! bit_set {
    (
        $(#[$outer:meta])*
        pub struct $set:ident by $position:ident {
            $($(#[$inner:meta])* $bit:ident = $name:literal,)*
        }
    ) => {
        $(#[$outer])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug)]
        pub struct $set(u32);

        /// Counts the bits of the set.
        #[allow(non_camel_case_types, clippy::upper_case_acronyms)]
        enum $position { $($bit,)* }

        impl $set {
            /// No bit set.
            pub const EMPTY: Self = Self(0);
            /// Every bit with its printed name, in printing order.
            pub const ALL: &'static [(Self, &'static str)] = &[$((Self::$bit, $name),)*];

            $($(#[$inner])* pub const $bit: Self = Self(1 << $position::$bit as u32);)*

            /// The raw bits, the first declared one lowest.
            pub const fn bits(self) -> u32 {
                self.0
            }

            /// The set with exactly these raw bits; bits without a name are dropped.
            pub fn from_bits(bits: u32) -> Self {
                Self::ALL.iter().fold(Self::EMPTY, |set, (bit, _)| Self(set.0 | (bits & bit.0)))
            }

            /// Whether every bit of `other` is set.
            pub const fn contains(self, other: Self) -> bool {
                self.0 & other.0 == other.0
            }

            /// Whether any bit of `other` is set.
            pub const fn intersects(self, other: Self) -> bool {
                self.0 & other.0 != 0
            }

            /// Whether no bit is set.
            pub const fn is_empty(self) -> bool {
                self.0 == 0
            }

            /// The bits of either set.
            pub const fn union(self, other: Self) -> Self {
                Self(self.0 | other.0)
            }

            /// The bits of this set that are not in `other`.
            pub const fn without(self, other: Self) -> Self {
                Self(self.0 & !other.0)
            }

            /// Adds the bits of `other`.
            pub fn insert(&mut self, other: Self) {
                self.0 |= other.0;
            }

            /// The one bit of this printed name, in any case.
            pub fn from_name(name: &[u8]) -> Option<Self> {
                Self::ALL
                    .iter()
                    .find(|(_, known)| known.as_bytes().eq_ignore_ascii_case(name))
                    .map(|&(bit, _)| bit)
            }

            /// The printed names of the set bits, in printing order.
            pub fn names(self) -> impl Iterator<Item = &'static str> {
                Self::ALL
                    .iter()
                    .filter(move |(bit, _)| self.contains(*bit))
                    .map(|&(_, name)| name)
            }

            /// How many bits are set.
            pub const fn len(self) -> usize {
                self.0.count_ones() as usize
            }
        }
    };
}

bit_set! {
    /// What a command is and where it may run, as COMMAND prints it, and the flags it hides.
    pub struct CommandFlags by FlagPosition {
        /// Writes to the data set.
        WRITE = "write",
        /// Reads keys and changes none.
        READONLY = "readonly",
        /// Refused when memory is short.
        DENYOOM = "denyoom",
        /// Administration; gives `@admin` and `@dangerous`.
        ADMIN = "admin",
        /// Publish and subscribe.
        PUBSUB = "pubsub",
        /// Refused inside scripts.
        NOSCRIPT = "noscript",
        /// May block the client.
        BLOCKING = "blocking",
        /// Allowed while the data set is loading.
        LOADING = "loading",
        /// Allowed on a replica that does not serve stale data.
        STALE = "stale",
        /// Not shown to MONITOR.
        SKIP_MONITOR = "skip_monitor",
        /// Not entered into the slow log.
        SKIP_SLOWLOG = "skip_slowlog",
        /// Served in a slot that is being imported, without ASKING.
        ASKING = "asking",
        /// Constant or logarithmic time; gives `@fast`.
        FAST = "fast",
        /// Allowed before authentication.
        NO_AUTH = "no_auth",
        /// May write although it is no write command.
        MAY_REPLICATE = "may_replicate",
        /// Exists in Sentinel mode, too.
        SENTINEL = "sentinel",
        /// Has key arguments but may be called without any.
        NO_MANDATORY_KEYS = "no_mandatory_keys",
        /// Needs `enable-debug-command` or `enable-module-command`.
        PROTECTED = "protected",
        /// Refused while a replica loads asynchronously.
        NO_ASYNC_LOADING = "no_async_loading",
        /// Refused inside MULTI.
        NO_MULTI = "no_multi",
        /// The legacy key range does not tell every key.
        MOVABLE_KEYS = "movablekeys",
        /// Allowed while a script holds the server busy.
        ALLOW_BUSY = "allow_busy",
        /// Visits keys that its arguments do not name.
        TOUCHES_ARBITRARY_KEYS = "touches_arbitrary_keys",
    }
}

impl CommandFlags {
    /// The flags that COMMAND does not print.
    pub const HIDDEN: Self = Self::MAY_REPLICATE
        .union(Self::SENTINEL)
        .union(Self::PROTECTED)
        .union(Self::TOUCHES_ARBITRARY_KEYS);
}

bit_set! {
    /// ACL categories, in the order of ACL CAT.
    pub struct AclCategories by CategoryPosition {
        /// Any key whatever its type.
        KEYSPACE = "keyspace",
        /// Reads keys.
        READ = "read",
        /// Writes keys.
        WRITE = "write",
        /// Sets.
        SET = "set",
        /// Sorted sets.
        SORTEDSET = "sortedset",
        /// Lists.
        LIST = "list",
        /// Hashes.
        HASH = "hash",
        /// Strings.
        STRING = "string",
        /// Bitmaps.
        BITMAP = "bitmap",
        /// HyperLogLogs.
        HYPERLOGLOG = "hyperloglog",
        /// Geospatial indexes.
        GEO = "geo",
        /// Streams.
        STREAM = "stream",
        /// Publish and subscribe.
        PUBSUB = "pubsub",
        /// Administration.
        ADMIN = "admin",
        /// Quick commands.
        FAST = "fast",
        /// All commands that are not quick.
        SLOW = "slow",
        /// Commands that may block the client.
        BLOCKING = "blocking",
        /// Commands to be careful with.
        DANGEROUS = "dangerous",
        /// The connection itself.
        CONNECTION = "connection",
        /// MULTI and its kin.
        TRANSACTION = "transaction",
        /// Scripts and functions.
        SCRIPTING = "scripting",
    }
}

impl AclCategories {
    /// The categories that follow from a command's flags, given those it names itself.
    ///
    /// Scripting commands flagged readonly are not `@read`: what they run decides.
    pub fn implied(flags: CommandFlags, named: Self) -> Self {
        let mut all = named;
        let rules = [
            (flags.contains(CommandFlags::WRITE), Self::WRITE),
            (
                flags.contains(CommandFlags::READONLY) && !named.contains(Self::SCRIPTING),
                Self::READ,
            ),
            (
                flags.contains(CommandFlags::ADMIN),
                Self::ADMIN.union(Self::DANGEROUS),
            ),
            (flags.contains(CommandFlags::PUBSUB), Self::PUBSUB),
            (flags.contains(CommandFlags::BLOCKING), Self::BLOCKING),
            (flags.contains(CommandFlags::FAST), Self::FAST),
        ];
        for (applies, category) in rules {
            if applies {
                all.insert(category);
            }
        }
        if !all.contains(Self::FAST) {
            all.insert(Self::SLOW);
        }
        all
    }
}

bit_set! {
    /// How a command uses a key. Exactly one of RO, RW, OW, RM says what happens to the key as
    /// a whole; access, update, insert and delete say what happens to the user's data in it.
    pub struct KeyFlags by KeyFlagPosition {
        /// Reads the key.
        RO = "RO",
        /// Reads and writes the key.
        RW = "RW",
        /// Overwrites the key without reading it.
        OW = "OW",
        /// Removes the key.
        RM = "RM",
        /// Returns, copies or otherwise shows data of the value.
        ACCESS = "access",
        /// Changes data of the value.
        UPDATE = "update",
        /// Adds data to the value and changes none.
        INSERT = "insert",
        /// Deletes data of the value.
        DELETE = "delete",
        /// Not a key, but placed in a cluster as one (a shard channel).
        NOT_KEY = "not_key",
        /// The spec does not find every key.
        INCOMPLETE = "incomplete",
        /// The flags depend on the other arguments.
        VARIABLE_FLAGS = "variable_flags",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_print_in_order_and_parse_back() {
        let set = KeyFlags::ACCESS.union(KeyFlags::RW);
        assert_eq!(set.names().collect::<Vec<_>>(), ["RW", "access"]);
        assert_eq!(set.len(), 2);
        for &(bit, name) in CommandFlags::ALL {
            assert_eq!(
                CommandFlags::from_name(name.to_uppercase().as_bytes()),
                Some(bit)
            );
        }
        assert_eq!(CommandFlags::from_name(b"nonsense"), None);
    }

    #[test]
    fn a_readonly_script_command_is_not_in_the_read_category() {
        let readonly = CommandFlags::READONLY;
        let plain = AclCategories::implied(readonly, AclCategories::EMPTY);
        assert!(plain.contains(AclCategories::READ.union(AclCategories::SLOW)));
        let script = AclCategories::implied(readonly, AclCategories::SCRIPTING);
        assert!(!script.contains(AclCategories::READ));
    }
}

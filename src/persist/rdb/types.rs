//! The numbers of the format: object types, opcodes, length and string encodings.

/// The newest version this reader understands (Redis 7.4 to 8.0).
pub const MAX_READ_VERSION: i64 = 12;
/// The version written unless the configuration asks for an older one (Redis 7.2).
pub const DEFAULT_VERSION: u16 = 11;
/// The version that hashes came with whose fields expire (Redis 7.4). Written when there are such.
pub const FIELD_EXPIRY_VERSION: u16 = 12;
/// The oldest version the writer can be asked for (Redis 7.0).
pub const MIN_WRITE_VERSION: u16 = 10;

/// Per-slot size hints of a cluster node: slot, keys, keys with an expiry.
pub const OP_SLOT_INFO: u8 = 244;
/// A function library: its source as one string.
pub const OP_FUNCTION2: u8 = 245;
/// Function libraries as release candidates of Redis 7.0 wrote them.
pub const OP_FUNCTION_PRE_GA: u8 = 246;
/// Data of a module outside the keyspace.
pub const OP_MODULE_AUX: u8 = 247;
/// Seconds since the next key was used.
pub const OP_IDLE: u8 = 248;
/// LFU counter of the next key, one byte.
pub const OP_FREQ: u8 = 249;
/// A named string about the whole file.
pub const OP_AUX: u8 = 250;
/// Size hints of the selected database: keys, keys with an expiry.
pub const OP_RESIZEDB: u8 = 251;
/// Expiry of the next key: unix milliseconds, 8 bytes little endian.
pub const OP_EXPIRETIME_MS: u8 = 252;
/// Expiry of the next key: unix seconds, 4 bytes little endian.
pub const OP_EXPIRETIME: u8 = 253;
/// Database of the keys that follow.
pub const OP_SELECTDB: u8 = 254;
/// End of the file; from version 5 on a CRC-64 follows.
pub const OP_EOF: u8 = 255;

/// String form: a signed byte.
pub const ENC_INT8: u8 = 0;
/// String form: 16 bits, little endian.
pub const ENC_INT16: u8 = 1;
/// String form: 32 bits, little endian.
pub const ENC_INT32: u8 = 2;
/// String form: compressed length, length, LZF stream.
pub const ENC_LZF: u8 = 3;

/// Module data: its end.
pub const MODULE_EOF: u64 = 0;
/// Module data: a signed integer, as a length field.
pub const MODULE_SINT: u64 = 1;
/// Module data: an unsigned integer, as a length field.
pub const MODULE_UINT: u64 = 2;
/// Module data: a binary32.
pub const MODULE_FLOAT: u64 = 3;
/// Module data: a binary64.
pub const MODULE_DOUBLE: u64 = 4;
/// Module data: a string.
pub const MODULE_STRING: u64 = 5;

/// Quicklist node that is one element.
pub const NODE_PLAIN: u64 = 1;
/// Quicklist node that is a listpack.
pub const NODE_PACKED: u64 = 2;

/// Stream entry: its fields are those of its block.
pub const STREAM_SAME_FIELDS: i64 = 2;
/// Stream entry: it is deleted.
pub const STREAM_DELETED: i64 = 1;

macro_rules! object_types {
    ($($(#[$doc:meta])* $name:ident = $number:literal, $label:literal;)*) => {
        /// The encoding of a value, one byte in front of its key.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum ObjectType { $($(#[$doc])* $name = $number,)* }

        impl ObjectType {
            /// The type of a byte, if it is one.
            pub fn from_byte(byte: u8) -> Option<ObjectType> {
                match byte {
                    $($number => Some(ObjectType::$name),)*
                    _ => None,
                }
            }

            /// The name `redis-check-rdb` prints.
            pub fn name(self) -> &'static str {
                match self {
                    $(ObjectType::$name => $label,)*
                }
            }
        }
    };
}

object_types! {
    /// A string.
    String = 0, "string";
    /// Count, then that many strings.
    List = 1, "list-linked";
    /// Count, then that many strings.
    Set = 2, "set-hashtable";
    /// Count, then member and score as text, that many times.
    Zset = 3, "zset-v1";
    /// Count, then field and value, that many times.
    Hash = 4, "hash-hashtable";
    /// Count, then member and score as binary64, that many times.
    Zset2 = 5, "zset-v2";
    /// Module data of release candidates of Redis 4.0.
    ModulePreGa = 6, "module-pre-release";
    /// Module data that can be skipped without the module.
    Module2 = 7, "module-value";
    /// A zipmap (before Redis 2.6).
    HashZipmap = 9, "hash-zipmap";
    /// A ziplist.
    ListZiplist = 10, "list-ziplist";
    /// An intset.
    SetIntset = 11, "set-intset";
    /// A ziplist of members and scores.
    ZsetZiplist = 12, "zset-ziplist";
    /// A ziplist of fields and values.
    HashZiplist = 13, "hash-ziplist";
    /// Count, then that many ziplists.
    ListQuicklist = 14, "quicklist";
    /// A stream as Redis 5 wrote it.
    StreamListpacks = 15, "stream";
    /// A listpack of fields and values.
    HashListpack = 16, "hash-listpack";
    /// A listpack of members and scores.
    ZsetListpack = 17, "zset-listpack";
    /// Count, then container and listpack or element, that many times.
    ListQuicklist2 = 18, "quicklist-v2";
    /// A stream as Redis 7.0 wrote it.
    StreamListpacks2 = 19, "stream-v2";
    /// A listpack of members.
    SetListpack = 20, "set-listpack";
    /// A stream as Redis 7.2 writes it.
    StreamListpacks3 = 21, "stream-v3";
    /// Fields with expiry, release candidates of Redis 7.4.
    HashMetadataPreGa = 22, "hash-hashtable-md-pre-release";
    /// Listpack of fields with expiry, release candidates of Redis 7.4.
    HashListpackExPreGa = 23, "hash-listpack-md-pre-release";
    /// Earliest expiry, count, then expiry relative to it, field, value, that many times.
    HashMetadata = 24, "hash-hashtable-md";
    /// Earliest expiry, then a listpack of fields, values and expiries.
    HashListpackEx = 25, "hash-listpack-md";
}

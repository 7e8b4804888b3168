//! DEBUG DIGEST: one number for a data set that is the same on every server that holds the same
//! keys, whatever their order and encodings. The algorithm is Redis's (`debug.c`): every element
//! is hashed with SHA-1, unordered things are combined by XOR, ordered ones by hashing on.

use sha1::{Digest as _, Sha1};

use crate::base::num;
use crate::keyspace::value::list::End;
use crate::keyspace::value::packed::Elem;
use crate::keyspace::value::stream::id::StreamId;
use crate::keyspace::value::{ValueKind, ValueRef};

/// A digest on its way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Digest([u8; 20]);

impl Digest {
    /// Combines with data whose order does not matter.
    pub fn xor(&mut self, data: &[u8]) {
        let hash: [u8; 20] = Sha1::digest(data).into();
        for (a, b) in self.0.iter_mut().zip(hash) {
            *a ^= b;
        }
    }

    /// Combines with data whose order matters.
    pub fn mix(&mut self, data: &[u8]) {
        self.xor(data);
        self.0 = Sha1::digest(self.0).into();
    }

    /// Takes the digest of one key into that of a data set.
    fn xor_raw(&mut self, other: Digest) {
        for (a, b) in self.0.iter_mut().zip(other.0) {
            *a ^= b;
        }
    }

    /// Forty hexadecimal digits.
    pub fn hex(&self) -> String {
        self.0.iter().map(|b| format!("{b:02x}")).collect()
    }

    fn mix_elem(&mut self, elem: Elem<'_>) {
        self.mix(elem.to_bytes(&mut itoa::Buffer::new()));
    }

    /// Combines with a value and its expiry.
    pub fn add_value(&mut self, value: ValueRef<'_>, has_expiry: bool) {
        self.mix(&type_number(value.kind()).to_be_bytes());
        match value {
            ValueRef::Str(s) => self.mix(s.as_bytes(&mut itoa::Buffer::new())),
            ValueRef::List(list) => {
                list.visit(0..list.len(), End::Head, |elem| self.mix_elem(elem));
            }
            ValueRef::Set(set) => {
                for member in set.iter() {
                    self.xor(member.to_bytes(&mut itoa::Buffer::new()));
                }
            }
            ValueRef::Zset(zset) => {
                for (member, score) in zset.iter() {
                    let mut one = Digest::default();
                    one.mix_elem(member);
                    one.mix(&num::fmt_fpconv(score));
                    self.xor(&one.0);
                }
            }
            ValueRef::Stream(stream) => {
                for entry in stream.range(StreamId::MIN, StreamId::MAX, false) {
                    self.mix(format!("{}.{}", entry.id.ms, entry.id.seq).as_bytes());
                    for (name, value) in entry.pairs() {
                        self.mix_elem(name);
                        self.mix_elem(value);
                    }
                }
            }
            ValueRef::Hash(hash) => {
                for record in hash.iter() {
                    let mut one = Digest::default();
                    one.mix_elem(record.key);
                    one.mix_elem(record.value);
                    if record.expire_ms.is_some() {
                        one.xor(b"!!hexpire!!");
                    }
                    self.xor(&one.0);
                }
            }
        }
        if has_expiry {
            self.xor(b"!!expire!!");
        }
    }
}

/// The type's number in Redis.
fn type_number(kind: ValueKind) -> u32 {
    match kind {
        ValueKind::String => 0,
        ValueKind::List => 1,
        ValueKind::Set => 2,
        ValueKind::Zset => 3,
        ValueKind::Hash => 4,
        ValueKind::Stream => 6,
    }
}

/// The digest of a whole data set, whose keys may come in any order.
#[derive(Debug, Default)]
pub struct DatasetDigest {
    databases: Vec<Option<Digest>>,
}

impl DatasetDigest {
    /// Takes in a key.
    pub fn add(&mut self, db: usize, key: &[u8], value: ValueRef<'_>, has_expiry: bool) {
        let mut one = Digest::default();
        one.mix(key);
        one.add_value(value, has_expiry);
        if self.databases.len() <= db {
            self.databases.resize(db + 1, None);
        }
        if let Some(d) = self.databases.get_mut(db) {
            d.get_or_insert_default().xor(&one.0);
        }
    }

    /// The digest of everything taken in.
    pub fn finish(&self) -> Digest {
        let mut all = Digest::default();
        for (n, db) in self.databases.iter().enumerate() {
            if let Some(db) = db {
                all.mix(&(n as u32).to_be_bytes());
                all.xor_raw(*db);
            }
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use crate::command::testing::TestServer;

    /// The digests are those of Redis 8.0.
    #[test]
    fn scores_count_as_redis_prints_them_for_this() {
        let mut t = TestServer::with(&["--enable-debug-command", "yes"]);
        for (score, digest) in [
            ("1.5", "f29f9c665682a4014881977efb6199813e4f7c0b"),
            ("123456789", "c61b15fff85f8f2045a7b720a363e49476e03e78"),
            ("1e8", "c5a28a1acff0dc3412dd7dea6ba2fe8102a266d2"),
            ("1e16", "7055334b2453116b70554e4471ae51f56ecd6878"),
            ("-1e16", "31ebdea4c27865109a2e6aa5562b0eed0547c733"),
            ("5e18", "ac5641ba0d11efb1ed5e5bbd1af09978dabd5eb5"),
            ("inf", "2cc15cefc3305360a41433a51884a76e7abe1215"),
        ] {
            t.run(&format!("ZADD z {score} d"));
            t.expect(&[("DEBUG DIGEST-VALUE z", &format!("[+{digest}]"))]);
        }
    }
}

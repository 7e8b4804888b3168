//! Expiry: giving keys a time to live, asking for it, taking it away.
//!
//! A time is kept as an absolute one in milliseconds and logged as one: `EXPIRE k 10` goes to the
//! log as `PEXPIREAT k <ms>`, with its options, which give the same answer there. A time that is
//! past already removes the key, logged as DEL or UNLINK.

use smallvec::SmallVec;

use super::{Family, Locks};
use crate::command::ctx::{CommandError, Ctx, Outcome, int_arg};
use crate::keyspace::unit::{Free, NotifyClass};
use crate::oplog::effect::Effect;
use crate::resp::reply::Reply;

/// The commands of this family.
pub const HANDLERS: Family = &[
    ("expire", expire, Locks::Keys),
    ("pexpire", pexpire, Locks::Keys),
    ("expireat", expireat, Locks::Keys),
    ("pexpireat", pexpireat, Locks::Keys),
    ("ttl", ttl, Locks::Keys),
    ("pttl", pttl, Locks::Keys),
    ("expiretime", expiretime, Locks::Keys),
    ("pexpiretime", pexpiretime, Locks::Keys),
    ("persist", persist, Locks::Keys),
];

/// What must hold of the present expiry for a new one to be set.
#[derive(Clone, Copy, Default)]
pub(super) struct Conditions {
    none: bool,
    some: bool,
    greater: bool,
    less: bool,
}

impl Conditions {
    fn parse(options: &[&[u8]]) -> Result<Conditions, CommandError> {
        let mut c = Conditions::default();
        for option in options {
            if !c.add(option) {
                let option = String::from_utf8_lossy(option);
                let text = format!("ERR Unsupported option {option}");
                return Err(CommandError::new(text));
            }
        }
        if c.none && (c.some || c.greater || c.less) {
            return Err(CommandError::new(
                "ERR NX and XX, GT or LT options at the same time are not compatible",
            ));
        }
        if c.greater && c.less {
            return Err(CommandError::new(
                "ERR GT and LT options at the same time are not compatible",
            ));
        }
        Ok(c)
    }

    /// Adds what an option says. Whether it is one.
    pub(super) fn add(&mut self, option: &[u8]) -> bool {
        let is = |name: &[u8]| option.eq_ignore_ascii_case(name);
        let condition = match () {
            () if is(b"NX") => &mut self.none,
            () if is(b"XX") => &mut self.some,
            () if is(b"GT") => &mut self.greater,
            () if is(b"LT") => &mut self.less,
            () => return false,
        };
        *condition = true;
        true
    }

    /// Whether the expiry may become `at_ms`. No expiry counts as one that never comes.
    pub(super) fn allow(self, present: Option<i64>, at_ms: i64) -> bool {
        match present {
            None => !self.some && !self.greater,
            Some(present) => {
                !self.none && (!self.greater || at_ms > present) && (!self.less || at_ms < present)
            }
        }
    }
}

/// `EXPIRE key seconds [NX | XX | GT | LT]`
pub fn expire(ctx: &mut Ctx<'_>, args: &[&[u8]], reply: &mut Reply) -> Outcome {
    let now_ms = ctx.now_ms();
    set_expiry(ctx, args, "expire", (1000, now_ms), reply)
}

/// `PEXPIRE key milliseconds [NX | XX | GT | LT]`
pub fn pexpire(ctx: &mut Ctx<'_>, args: &[&[u8]], reply: &mut Reply) -> Outcome {
    let now_ms = ctx.now_ms();
    set_expiry(ctx, args, "pexpire", (1, now_ms), reply)
}

/// `EXPIREAT key unix-seconds [NX | XX | GT | LT]`
pub fn expireat(ctx: &mut Ctx<'_>, args: &[&[u8]], reply: &mut Reply) -> Outcome {
    set_expiry(ctx, args, "expireat", (1000, 0), reply)
}

/// `PEXPIREAT key unix-milliseconds [NX | XX | GT | LT]`
pub fn pexpireat(ctx: &mut Ctx<'_>, args: &[&[u8]], reply: &mut Reply) -> Outcome {
    set_expiry(ctx, args, "pexpireat", (1, 0), reply)
}

/// All four: the argument is in units of `unit_ms` from `base_ms` on.
fn set_expiry(
    ctx: &mut Ctx<'_>,
    args: &[&[u8]],
    command: &str,
    (unit_ms, base_ms): (i64, i64),
    reply: &mut Reply,
) -> Outcome {
    let &[_, key, time, ref options @ ..] = args else {
        return Err(CommandError::SYNTAX);
    };
    let conditions = Conditions::parse(options)?;
    let at_ms = int_arg(time)?
        .checked_mul(unit_ms)
        .and_then(|ms| ms.checked_add(base_ms))
        .ok_or_else(|| {
            CommandError::new(format!("ERR invalid expire time in '{command}' command"))
        })?;
    let db = ctx.db();
    let allowed = match ctx.unit.expire_of(db, key) {
        None => false,
        Some(present) => conditions.allow(present, at_ms),
    };
    reply.int(i64::from(allowed));
    ctx.touch(key);
    if !allowed {
        return Ok(Effect::None);
    }
    if at_ms <= ctx.now_ms() && ctx.deletes_expired() {
        return Ok(delete_expired(ctx, key));
    }
    ctx.set_expiry(key, Some(at_ms));
    ctx.notify(NotifyClass::GENERIC, "expire", key);
    if command == "pexpireat" {
        return Ok(Effect::Verbatim);
    }
    let mut text = itoa::Buffer::new();
    let mut effect: SmallVec<[&[u8]; 8]> = SmallVec::new();
    effect.extend([b"PEXPIREAT", key, text.format(at_ms).as_bytes()]);
    effect.extend_from_slice(options);
    Ok(ctx.rewritten(&effect))
}

/// Removes a key whose time a command has just set into the past; the effect of that.
pub fn delete_expired(ctx: &mut Ctx<'_>, key: &[u8]) -> Effect {
    let free = ctx.unit.options.expired;
    let db = ctx.db();
    ctx.unit.remove(db, key, free);
    ctx.notify(NotifyClass::GENERIC, "del", key);
    let name: &[u8] = match free {
        Free::Here => b"DEL",
        Free::Elsewhere => b"UNLINK",
    };
    ctx.rewritten(&[name, key])
}

/// `TTL key`
pub fn ttl(ctx: &mut Ctx<'_>, args: &[&[u8]], reply: &mut Reply) -> Outcome {
    let now_ms = ctx.now_ms();
    tell(ctx, args, reply, |at| rounded_seconds((at - now_ms).max(0)))
}

/// `PTTL key`
pub fn pttl(ctx: &mut Ctx<'_>, args: &[&[u8]], reply: &mut Reply) -> Outcome {
    let now_ms = ctx.now_ms();
    tell(ctx, args, reply, |at| (at - now_ms).max(0))
}

/// `EXPIRETIME key`
pub fn expiretime(ctx: &mut Ctx<'_>, args: &[&[u8]], reply: &mut Reply) -> Outcome {
    tell(ctx, args, reply, |at| rounded_seconds(at.max(0)))
}

/// `PEXPIRETIME key`
pub fn pexpiretime(ctx: &mut Ctx<'_>, args: &[&[u8]], reply: &mut Reply) -> Outcome {
    tell(ctx, args, reply, |at| at.max(0))
}

/// Seconds, rounded half up; `ms` is not negative.
fn rounded_seconds(ms: i64) -> i64 {
    ms / 1000 + i64::from(ms % 1000 >= 500)
}

/// Replies with what `show` makes of the key's expiry; -1 if it has none, -2 without a key.
fn tell(
    ctx: &mut Ctx<'_>,
    args: &[&[u8]],
    reply: &mut Reply,
    show: impl FnOnce(i64) -> i64,
) -> Outcome {
    let &[_, key] = args else {
        return Err(CommandError::SYNTAX);
    };
    let db = ctx.db();
    reply.int(match ctx.unit.inspect(db, key) {
        None => -2,
        Some(entry) => entry.expire_ms().map_or(-1, show),
    });
    Ok(Effect::None)
}

/// `PERSIST key`
pub fn persist(ctx: &mut Ctx<'_>, args: &[&[u8]], reply: &mut Reply) -> Outcome {
    let &[_, key] = args else {
        return Err(CommandError::SYNTAX);
    };
    let db = ctx.db();
    ctx.touch(key);
    if ctx.unit.expire_of(db, key).flatten().is_none() {
        reply.int(0);
        return Ok(Effect::None);
    }
    ctx.set_expiry(key, None);
    ctx.notify(NotifyClass::GENERIC, "persist", key);
    reply.int(1);
    Ok(Effect::Verbatim)
}

#[cfg(test)]
mod tests {
    use crate::command::testing::TestServer;

    #[test]
    fn an_expiry_is_logged_as_an_absolute_one_in_milliseconds() {
        let mut t = TestServer::new();
        t.run("MSET a 1 b 2");
        t.effects();
        t.expect(&[
            ("EXPIRE a 10", ":1"),
            ("PEXPIRE a 10 XX", ":1"),
            ("EXPIREAT a 1700000020 gt", ":1"),
            ("pexpireat a 1700000030000 GT XX", ":1"),
            ("PERSIST a", ":1"),
            ("PERSIST a", ":0"),
            ("PERSIST none", ":0"),
            ("EXPIRE none 10", ":0"),
            ("EXPIRE b -1", ":1"),
            ("EXPIREAT a 1 LT", ":1"),
            ("EXISTS a b", ":0"),
        ]);
        assert_eq!(
            t.effects(),
            [
                "PEXPIREAT a 1700000010000",
                "PEXPIREAT a 1700000000010 XX",
                "PEXPIREAT a 1700000020000 gt",
                "pexpireat a 1700000030000 GT XX",
                "PERSIST a",
                "DEL b",
                "DEL a",
            ]
        );
    }

    #[test]
    fn conditions_compare_with_the_present_expiry() {
        let mut t = TestServer::new();
        t.run("SET k v");
        t.expect(&[
            ("EXPIRE k 100 XX", ":0"),
            ("EXPIRE k 100 GT", ":0"),
            ("EXPIRE k 100 LT", ":1"),
            ("EXPIRE k 50 NX", ":0"),
            ("EXPIRE k 100 LT", ":0"),
            ("EXPIRE k 100 GT", ":0"),
            ("EXPIRE k 50 LT", ":1"),
            ("EXPIRE k 500 XX GT", ":1"),
            ("TTL k", ":500"),
            ("PERSIST k", ":1"),
            ("EXPIRE k 100 NX", ":1"),
        ]);
    }

    #[test]
    fn what_cannot_be_a_time_is_refused() {
        let mut t = TestServer::new();
        let both = "-ERR NX and XX, GT or LT options at the same time are not compatible";
        t.expect(&[
            ("EXPIRE k 10 NX XX", both),
            ("EXPIRE k 10 LT NX", both),
            (
                "EXPIRE k 10 GT LT",
                "-ERR GT and LT options at the same time are not compatible",
            ),
            ("EXPIRE k abc FOO", "-ERR Unsupported option FOO"),
            (
                "EXPIRE k abc",
                "-ERR value is not an integer or out of range",
            ),
            (
                "EXPIRE k 9223372036854775",
                "-ERR invalid expire time in 'expire' command",
            ),
            (
                "EXPIRE k -9223372036854775808",
                "-ERR invalid expire time in 'expire' command",
            ),
            (
                "PEXPIRE k 9223372036854775807",
                "-ERR invalid expire time in 'pexpire' command",
            ),
            (
                "EXPIREAT k 9223372036854776",
                "-ERR invalid expire time in 'expireat' command",
            ),
            ("EXPIREAT k 9223372036854775", ":0"),
            ("PEXPIREAT k 9223372036854775807", ":0"),
        ]);
    }

    #[test]
    fn the_time_left_is_told_in_both_units() {
        let mut t = TestServer::new();
        t.run("SET k v PX 1500");
        t.run("SET s v");
        t.expect(&[
            ("TTL k", ":2"),
            ("PTTL k", ":1500"),
            ("EXPIRETIME k", ":1700000002"),
            ("PEXPIRETIME k", ":1700000001500"),
            ("TTL s", ":-1"),
            ("PTTL none", ":-2"),
            ("EXPIRETIME s", ":-1"),
            ("PEXPIRETIME none", ":-2"),
            ("PEXPIREAT k 9223372036854775807", ":1"),
            ("EXPIRETIME k", ":9223372036854776"),
        ]);
    }

    #[test]
    fn lazyfree_turns_the_removal_into_unlink() {
        let mut t = TestServer::with(&["--lazyfree-lazy-expire", "yes"]);
        t.run("SET k v");
        t.run("EXPIRE k -1");
        t.run("SET k v PX 10");
        t.advance(10);
        t.run("GET k");
        assert_eq!(
            t.effects(),
            [
                "SET k v",
                "UNLINK k",
                "SET k v PXAT 1700000000010",
                "UNLINK k"
            ]
        );
    }

    #[test]
    fn a_replica_keeps_what_its_primary_lets_expire() {
        let mut t = TestServer::new();
        t.run("SET k v");
        t.set_replica(true);
        t.session.origin = crate::command::session::Origin::Primary;
        assert_eq!(t.run("PEXPIREAT k 1"), ":1");
        assert_eq!(t.run("EXISTS k"), ":1");
        t.session.origin = crate::command::session::Origin::Client;
        assert_eq!(t.run("EXISTS k"), ":0");
        assert_eq!(t.run("DBSIZE"), ":1");
    }

    #[test]
    fn events_tell_what_became_of_the_key() {
        let mut t = TestServer::with(&["--notify-keyspace-events", "KEA"]);
        for line in ["SET k v", "EXPIRE k 10", "PERSIST k", "EXPIRE k 0", "TTL k"] {
            t.run(line);
        }
        assert_eq!(
            t.events(),
            ["0 set k", "0 expire k", "0 persist k", "0 del k"]
        );
    }
}

//! Commands about the connection itself: greeting it, naming its protocol, its database and its
//! user, and ending it. TIME and LOLWUT are here as well, which look at nothing at all.
//!
//! There is one user, `default`, whose password is `requirepass`. Passwords are compared by
//! their SHA-256 digests in a time that does not depend on where they differ.

use std::sync::atomic::Ordering;

use sha2::{Digest, Sha256};

use super::{Family, Locks};
use crate::base::{clock, num, random};
use crate::client::ClientKind;
use crate::command::ctx::{CommandError, Ctx, Outcome};
use crate::command::engine::Gate;
use crate::command::multi;
use crate::command::session::{ReplyMode, Session};
use crate::config::REDIS_VERSION;
use crate::oplog::effect::Effect;
use crate::resp::errors;
use crate::resp::reply::{Proto, Reply};

/// PING, ECHO, SELECT, AUTH, HELLO, QUIT, RESET, TIME, LOLWUT.
pub const HANDLERS: Family = &[
    ("ping", ping, Locks::Nothing),
    ("echo", echo, Locks::Nothing),
    ("select", select, Locks::Nothing),
    ("auth", auth, Locks::Nothing),
    ("hello", hello, Locks::Nothing),
    ("quit", quit, Locks::Nothing),
    ("reset", reset, Locks::Own),
    ("time", time, Locks::Nothing),
    ("lolwut", lolwut, Locks::Nothing),
];

/// The only user there is.
const DEFAULT_USER: &[u8] = b"default";

/// `PING [message]`
pub fn ping(ctx: &mut Ctx<'_>, args: &[&[u8]], reply: &mut Reply) -> Outcome {
    if args.len() > 2 {
        return Err(CommandError::new(
            "ERR wrong number of arguments for 'ping' command",
        ));
    }
    let message = args.get(1).copied();
    // A subscriber that speaks RESP2 takes everything for a message, which is an array.
    if ctx.session.client.kind() == ClientKind::Pubsub && !reply.is_resp3() {
        reply.array(2);
        reply.bulk(b"pong");
        reply.bulk(message.unwrap_or_default());
    } else if let Some(message) = message {
        reply.bulk(message);
    } else {
        reply.pong();
    }
    Ok(Effect::None)
}

/// `ECHO message`
pub fn echo(_: &mut Ctx<'_>, args: &[&[u8]], reply: &mut Reply) -> Outcome {
    reply.bulk(args.get(1).copied().unwrap_or_default());
    Ok(Effect::None)
}

/// `SELECT index`
pub fn select(ctx: &mut Ctx<'_>, args: &[&[u8]], reply: &mut Reply) -> Outcome {
    let given = args.get(1).copied().unwrap_or_default();
    let index = num::parse_i64(given).ok_or(CommandError::NOT_INTEGER)?;
    let index = i32::try_from(index).map_err(|_| {
        CommandError::new(
            "ERR value is out of range, value must between -2147483648 and 2147483647",
        )
    })?;
    match usize::try_from(index) {
        Ok(db) if db < ctx.engine.keyspace.databases() => ctx.session.select(db),
        _ => return Err(CommandError::new(errors::DB_OUT_OF_RANGE)),
    }
    reply.ok();
    Ok(Effect::None)
}

/// `AUTH [username] password`
pub fn auth(ctx: &mut Ctx<'_>, args: &[&[u8]], reply: &mut Reply) -> Outcome {
    match *args {
        [_, password] => {
            if needs_no_password(ctx) {
                return Err(CommandError::new(
                    "ERR AUTH <password> called without any password configured for the default \
                     user. Are you sure your configuration is correct?",
                ));
            }
            authenticate(ctx, DEFAULT_USER, password)?;
        }
        [_, user, password] => authenticate(ctx, user, password)?,
        _ => return Err(CommandError::SYNTAX),
    }
    reply.ok();
    Ok(Effect::None)
}

/// Whether the default user may do without a password, by the settings of this very moment: an
/// earlier command of the same transaction may have changed them.
fn needs_no_password(ctx: &Ctx<'_>) -> bool {
    ctx.engine.config.current().acl.requirepass.is_empty()
}

fn authenticate(ctx: &mut Ctx<'_>, user: &[u8], password: &[u8]) -> Result<(), CommandError> {
    let settings = ctx.engine.config.current();
    let wanted = settings.acl.requirepass.as_bytes();
    let right = wanted.is_empty() || same_password(wanted, password);
    if user != DEFAULT_USER || !right {
        return Err(CommandError::new(
            "WRONGPASS invalid username-password pair or user is disabled.",
        ));
    }
    ctx.session.authenticated = true;
    ctx.session.client.names.lock().user = user.to_vec();
    Ok(())
}

fn same_password(a: &[u8], b: &[u8]) -> bool {
    let (a, b) = (Sha256::digest(a), Sha256::digest(b));
    a.iter().zip(&b).fold(0, |diff, (a, b)| diff | (a ^ b)) == 0
}

/// `HELLO [protover [AUTH username password] [SETNAME clientname]]`
pub fn hello(ctx: &mut Ctx<'_>, args: &[&[u8]], reply: &mut Reply) -> Outcome {
    let mut proto = None;
    let mut user_password = None;
    let mut name = None;
    let mut rest = args.get(1..).unwrap_or_default();
    if let [version, options @ ..] = rest {
        proto = Some(match num::parse_i64(version) {
            Some(2) => Proto::Resp2,
            Some(3) => Proto::Resp3,
            Some(_) => return Err(CommandError::new("NOPROTO unsupported protocol version")),
            None => {
                return Err(CommandError::new(
                    "ERR Protocol version is not an integer or out of range",
                ));
            }
        });
        rest = options;
    }
    while let [option, values @ ..] = rest {
        rest = match *values {
            [user, password, ref more @ ..] if option.eq_ignore_ascii_case(b"auth") => {
                user_password = Some((user, password));
                more
            }
            [value, ref more @ ..] if option.eq_ignore_ascii_case(b"setname") => {
                check_name(value)?;
                name = Some(value);
                more
            }
            _ => {
                return Err(CommandError::new(format!(
                    "ERR Syntax error in HELLO option '{}'",
                    String::from_utf8_lossy(option)
                )));
            }
        };
    }
    if let Some((user, password)) = user_password {
        authenticate(ctx, user, password)?;
    }
    if !ctx.session.authenticated {
        return Err(CommandError::new(
            "NOAUTH HELLO must be called with the client already authenticated, otherwise the \
             HELLO <proto> AUTH <user> <pass> option can be used to authenticate the client and \
             select the RESP protocol version at the same time",
        ));
    }
    if let Some(name) = name {
        ctx.session.client.names.lock().name = name.to_vec();
    }
    if let Some(proto) = proto {
        set_proto(ctx.session, proto, reply);
    }
    greet(ctx, reply);
    Ok(Effect::None)
}

fn greet(ctx: &Ctx<'_>, reply: &mut Reply) {
    let replica = ctx.engine.gates.is(Gate::REPLICA);
    reply.map(7);
    for (key, value) in [("server", "redis"), ("version", REDIS_VERSION)] {
        reply.bulk(key.as_bytes());
        reply.bulk(value.as_bytes());
    }
    reply.bulk(b"proto");
    reply.int(if reply.is_resp3() { 3 } else { 2 });
    reply.bulk(b"id");
    reply.int(i64::try_from(ctx.session.client.id).unwrap_or(i64::MAX));
    let role = if replica { "replica" } else { "master" };
    for (key, value) in [("mode", "standalone"), ("role", role)] {
        reply.bulk(key.as_bytes());
        reply.bulk(value.as_bytes());
    }
    reply.bulk(b"modules");
    reply.array(0);
}

fn set_proto(session: &mut Session, proto: Proto, reply: &mut Reply) {
    let resp3 = proto == Proto::Resp3;
    reply.set_proto(proto);
    session.resp3 = resp3;
    let version = if resp3 { 3 } else { 2 };
    session.client.resp.store(version, Ordering::Relaxed);
}

/// Checks a connection's name: printable, without blanks, so that CLIENT LIST stays readable.
///
/// # Errors
/// The error to reply with.
pub fn check_name(name: &[u8]) -> Result<(), CommandError> {
    if is_graphic(name) {
        return Ok(());
    }
    Err(CommandError::new(
        "ERR Client names cannot contain spaces, newlines or special characters.",
    ))
}

/// Whether a text may stand in a line of CLIENT LIST.
pub fn is_graphic(text: &[u8]) -> bool {
    text.iter().all(u8::is_ascii_graphic)
}

/// `QUIT`
pub fn quit(ctx: &mut Ctx<'_>, _: &[&[u8]], reply: &mut Reply) -> Outcome {
    ctx.session.closing = true;
    reply.ok();
    Ok(Effect::None)
}

/// `RESET`: the connection is as new.
pub fn reset(ctx: &mut Ctx<'_>, _: &[&[u8]], reply: &mut Reply) -> Outcome {
    if matches!(
        ctx.session.client.kind(),
        ClientKind::Replica | ClientKind::Primary
    ) {
        return Err(CommandError::new(
            "ERR can only reset normal client connections",
        ));
    }
    multi::discard_all(ctx);
    ctx.session.select(0);
    set_proto(ctx.session, Proto::Resp2, reply);
    ctx.session.reply_mode = ReplyMode::On;
    ctx.session.no_touch = false;
    ctx.session.authenticated = needs_no_password(ctx);
    let client = &ctx.session.client;
    client.no_touch.store(false, Ordering::Relaxed);
    client.no_evict.store(false, Ordering::Relaxed);
    {
        let mut names = client.names.lock();
        names.name.clear();
        names.user = DEFAULT_USER.to_vec();
    }
    reply.simple("RESET");
    Ok(Effect::None)
}

/// `TIME`
pub fn time(ctx: &mut Ctx<'_>, _: &[&[u8]], reply: &mut Reply) -> Outcome {
    // Inside a transaction or a script time stands still.
    let us = if ctx.nested {
        ctx.now_ms().saturating_mul(1000)
    } else {
        clock::unix_us()
    };
    reply.array(2);
    reply.bulk_int(us.div_euclid(1_000_000));
    reply.bulk_int(us.rem_euclid(1_000_000));
    Ok(Effect::None)
}

/// `LOLWUT [VERSION version] [columns [rows]]`: a maze of diagonals, another one each time.
pub fn lolwut(_: &mut Ctx<'_>, args: &[&[u8]], reply: &mut Reply) -> Outcome {
    let mut numbers = args.get(1..).unwrap_or_default();
    if let [word, version, more @ ..] = numbers
        && word.eq_ignore_ascii_case(b"version")
    {
        // Every version of the piece is this one.
        num::parse_i64(version).ok_or(CommandError::NOT_INTEGER)?;
        numbers = more;
    }
    let mut number = |default: u64, max: u64| {
        let Some((first, more)) = numbers.split_first() else {
            return Ok(default);
        };
        numbers = more;
        let n = num::parse_i64(first).ok_or(CommandError::NOT_INTEGER)?;
        Ok::<u64, CommandError>(u64::try_from(n).unwrap_or(1).clamp(1, max))
    };
    let columns = number(66, 1000)?;
    let rows = number(12, 200)?;
    let mut art = String::new();
    for _ in 0..rows {
        for _ in 0..columns {
            art.push(if random::below(2) == 0 { '╱' } else { '╲' });
        }
        art.push('\n');
    }
    art.push_str("\nA maze nobody planned. Redis ver. ");
    art.push_str(REDIS_VERSION);
    art.push('\n');
    reply.verbatim("txt", art.as_bytes());
    Ok(Effect::None)
}

#[cfg(test)]
mod tests {
    use crate::command::testing::TestServer;

    #[test]
    fn a_ping_is_answered_with_what_it_carries() {
        let mut t = TestServer::new();
        assert_eq!(t.run("PING"), "+PONG");
        assert_eq!(t.run("PING hi"), r#""hi""#);
        assert_eq!(
            t.run("PING a b"),
            "-ERR wrong number of arguments for 'ping' command"
        );
        assert_eq!(t.run("ECHO hi"), r#""hi""#);
    }

    #[test]
    fn databases_are_selected_by_index() {
        let mut t = TestServer::new();
        assert_eq!(t.run("SELECT 15"), "+OK");
        assert_eq!(t.session.db, 15);
        assert_eq!(t.run("SELECT 16"), "-ERR DB index is out of range");
        assert_eq!(t.run("SELECT -1"), "-ERR DB index is out of range");
        assert_eq!(
            t.run("SELECT x"),
            "-ERR value is not an integer or out of range"
        );
        assert_eq!(t.session.db, 15);
    }

    #[test]
    fn without_a_password_auth_says_so() {
        let mut t = TestServer::new();
        assert!(t.run("AUTH x").starts_with("-ERR AUTH <password> called"));
        assert_eq!(t.run("AUTH default x"), "+OK");
        assert!(t.run("AUTH nobody x").starts_with("-WRONGPASS "));
        assert_eq!(t.run("AUTH a b c"), "-ERR syntax error");
    }

    #[test]
    fn with_a_password_nothing_runs_before_auth() {
        let mut t = TestServer::with(&["--requirepass", "secret"]);
        t.session.authenticated = false;
        assert_eq!(t.run("PING"), "-NOAUTH Authentication required.");
        assert!(t.run("HELLO 3").starts_with("-NOAUTH HELLO must be called"));
        assert!(t.run("AUTH wrong").starts_with("-WRONGPASS "));
        assert_eq!(t.run("AUTH secret"), "+OK");
        assert_eq!(t.run("PING"), "+PONG");
        assert_eq!(t.run("RESET"), "+RESET");
        assert_eq!(t.run("PING"), "-NOAUTH Authentication required.");
    }

    #[test]
    fn hello_switches_the_protocol_of_its_own_reply() {
        let mut t = TestServer::with(&["--requirepass", "secret"]);
        t.session.authenticated = false;
        let greeting = t.run("hello 3 auth default secret setname me");
        assert_eq!(
            greeting,
            concat!(
                r#"{"server": "redis", "version": "8.0.6", "proto": :3, "id": :1, "#,
                r#""mode": "standalone", "role": "master", "modules": []}"#
            )
        );
        assert_eq!(t.session.client.names.lock().name, b"me");
        assert!(t.run("HELLO 2").starts_with(r#"["server", "redis""#));
        assert_eq!(t.run("HELLO 4"), "-NOPROTO unsupported protocol version");
        assert_eq!(
            t.run("HELLO 3 SETNAME"),
            "-ERR Syntax error in HELLO option 'SETNAME'"
        );
        assert!(!t.session.resp3);
    }

    #[test]
    fn reset_leaves_a_transaction_and_its_watches() {
        let mut t = TestServer::new();
        t.run("SELECT 3");
        t.run("WATCH k");
        t.run("MULTI");
        assert_eq!(t.run("RESET"), "+RESET");
        assert_eq!(t.session.db, 0);
        assert!(t.session.watched.is_empty());
        assert_eq!(t.run("EXEC"), "-ERR EXEC without MULTI");
    }

    #[test]
    fn quit_closes_behind_its_reply() {
        let mut t = TestServer::new();
        t.run("MULTI");
        assert_eq!(t.run("QUIT"), "+OK");
        assert!(t.session.closing);
    }

    #[test]
    fn lolwut_names_the_version() {
        let mut t = TestServer::new();
        let art = t.reply("LOLWUT VERSION 5 4 2").text();
        assert_eq!(
            art.lines()
                .take(2)
                .map(|l| l.chars().count())
                .sum::<usize>(),
            8
        );
        assert!(art.ends_with("Redis ver. 8.0.6\n"), "{art}");
    }
}

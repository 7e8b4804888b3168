//! SLOWLOG: the commands that took longer than `slowlog-log-slower-than`.

use super::{Family, Locks, help};
use crate::base::num;
use crate::command::ctx::{CommandError, Ctx, Outcome};
use crate::oplog::effect::Effect;
use crate::resp::reply::Reply;

/// SLOWLOG's subcommands.
pub const HANDLERS: Family = &[
    ("slowlog|get", get, Locks::Nothing),
    ("slowlog|help", help_handler, Locks::Nothing),
    ("slowlog|len", len, Locks::Nothing),
    ("slowlog|reset", reset, Locks::Nothing),
];

/// Entries shown when no count is given.
const DEFAULT_COUNT: usize = 10;

/// `SLOWLOG GET [count]`: -1 is all.
pub fn get(ctx: &mut Ctx<'_>, args: &[&[u8]], reply: &mut Reply) -> Outcome {
    let count = match args.get(2..).unwrap_or_default() {
        [] => DEFAULT_COUNT,
        [count] => match num::parse_i64(count) {
            Some(-1) => usize::MAX,
            Some(n) if n >= 0 => usize::try_from(n).unwrap_or(usize::MAX),
            _ => {
                return Err(CommandError::new(
                    "ERR count should be greater than or equal to -1",
                ));
            }
        },
        _ => {
            return Err(CommandError::new(
                "ERR unknown subcommand or wrong number of arguments for 'get'. Try SLOWLOG HELP.",
            ));
        }
    };
    let entries = ctx.engine.slowlog.newest(count);
    reply.array(entries.len());
    for entry in entries {
        reply.array(6);
        reply.int(i64::try_from(entry.id).unwrap_or(i64::MAX));
        reply.int(entry.unix_s);
        reply.int(entry.duration_us);
        reply.array(entry.args.len());
        entry.args.iter().for_each(|a| reply.bulk(a));
        reply.bulk(entry.addr.as_bytes());
        reply.bulk(&entry.name);
    }
    Ok(Effect::None)
}

/// `SLOWLOG LEN`
pub fn len(ctx: &mut Ctx<'_>, _: &[&[u8]], reply: &mut Reply) -> Outcome {
    reply.len_int(ctx.engine.slowlog.len());
    Ok(Effect::None)
}

/// `SLOWLOG RESET`
pub fn reset(ctx: &mut Ctx<'_>, _: &[&[u8]], reply: &mut Reply) -> Outcome {
    ctx.engine.slowlog.reset();
    reply.ok();
    Ok(Effect::None)
}

fn help_handler(_: &mut Ctx<'_>, args: &[&[u8]], reply: &mut Reply) -> Outcome {
    help(args, HELP, reply);
    Ok(Effect::None)
}

const HELP: &[&str] = &[
    "GET [<count>]",
    "    Show the newest <count> entries (default: 10, -1 for all), each with:",
    "    id, Unix time in seconds, duration in microseconds, arguments,",
    "    the client's address, the client's name",
    "LEN",
    "    Count the entries.",
    "RESET",
    "    Forget all entries.",
];

#[cfg(test)]
mod tests {
    use crate::command::testing::TestServer;

    fn commands(t: &mut TestServer) -> Vec<String> {
        let entries = t.reply("SLOWLOG GET -1");
        let args = entries
            .elements()
            .iter()
            .map(|e| e.elements()[3].to_string());
        args.collect()
    }

    #[test]
    fn slow_commands_are_shown_newest_first() {
        let mut t = TestServer::with(&["--slowlog-log-slower-than", "0", "--slowlog-max-len", "3"]);
        t.run("CLIENT SETNAME me");
        for n in 0..4 {
            t.run(&format!("ECHO {n}"));
        }
        assert_eq!(
            commands(&mut t),
            [r#"["ECHO", "3"]"#, r#"["ECHO", "2"]"#, r#"["ECHO", "1"]"#]
        );
        let newest = t.reply("SLOWLOG GET 1");
        let newest = newest.elements()[0].elements();
        assert_eq!(newest.len(), 6);
        assert_eq!(newest[1].to_string(), ":1700000000");
        assert_eq!(newest[5].to_string(), r#""me""#);
        t.run("CONFIG SET slowlog-max-len 0");
        t.run("PING");
        t.run("CONFIG SET slowlog-max-len 10");
        let next = t.reply("SLOWLOG GET 1").elements()[0].elements()[0].int();
        assert_eq!(next, newest[0].int() + 2, "nothing was numbered meanwhile");
        assert_eq!(t.run("CONFIG SET slowlog-log-slower-than -1"), "+OK");
        assert_eq!(t.run("SLOWLOG RESET"), "+OK");
        assert_eq!(t.run("SLOWLOG LEN"), ":0");
        let refused = "-ERR count should be greater than or equal to -1";
        assert_eq!(t.run("SLOWLOG GET -2"), refused);
    }

    #[test]
    fn secrets_are_not_kept() {
        let mut t = TestServer::with(&["--slowlog-log-slower-than", "0"]);
        t.run("CONFIG SET hz 20 masterauth pw");
        t.run("AUTH default pw");
        t.run("HELLO 2 AUTH default pw SETNAME x");
        assert_eq!(
            commands(&mut t),
            [
                r#"["HELLO", "2", "AUTH", "(redacted)", "(redacted)", "SETNAME", "x"]"#,
                r#"["AUTH", "(redacted)", "(redacted)"]"#,
                r#"["CONFIG", "SET", "hz", "20", "masterauth", "(redacted)"]"#,
            ]
        );
    }

    #[test]
    fn long_commands_are_cut() {
        let mut t = TestServer::with(&["--slowlog-log-slower-than", "0"]);
        let long = "x".repeat(200);
        t.run(&format!("ECHO {long}"));
        let shown = commands(&mut t);
        assert!(shown[0].contains("... (72 more bytes)"), "{shown:?}");
        let many = "k ".repeat(40);
        t.run(&format!("CONFIG GET {many}"));
        let shown = commands(&mut t);
        assert!(
            shown[0].ends_with(r#""... (11 more arguments)"]"#),
            "{shown:?}"
        );
    }
}

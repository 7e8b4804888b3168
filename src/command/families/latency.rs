//! LATENCY: the spikes that the [latency monitor](crate::command::latency) keeps, and how long
//! the calls of each command took.

use std::fmt::Write;

use super::{Action, Family, Locks, help};
use crate::command::ctx::{CommandError, Ctx, Outcome};
use crate::command::latency::Series;
use crate::command::spec::Command;
use crate::oplog::effect::Effect;
use crate::resp::reply::Reply;

/// LATENCY's subcommands.
pub const HANDLERS: Family = &[
    ("latency|doctor", doctor, Locks::Nothing),
    ("latency|graph", graph, Locks::Nothing),
    ("latency|help", help_handler, Locks::Nothing),
    ("latency|histogram", histogram, Locks::Nothing),
    ("latency|history", history, Locks::Nothing),
    ("latency|latest", latest, Locks::Nothing),
    ("latency|reset", reset, Locks::Nothing),
];

/// `LATENCY LATEST`
pub fn latest(ctx: &mut Ctx<'_>, _: &[&[u8]], reply: &mut Reply) -> Outcome {
    let events = ctx.engine.latency.all();
    reply.array(events.len());
    for (name, series) in events {
        let (at, ms) = series.samples.back().map_or((0, 0), |s| (s.unix_s, s.ms));
        reply.array(4);
        reply.bulk(name.as_bytes());
        reply.int(at);
        reply.int(number(ms));
        reply.int(number(series.max_ms));
    }
    Ok(Effect::None)
}

/// `LATENCY HISTORY event`
pub fn history(ctx: &mut Ctx<'_>, args: &[&[u8]], reply: &mut Reply) -> Outcome {
    let event = args.get(2).copied().unwrap_or_default();
    let samples = ctx.engine.latency.get(event).unwrap_or_default().samples;
    reply.array(samples.len());
    for s in samples {
        reply.array(2);
        reply.int(s.unix_s);
        reply.int(number(s.ms));
    }
    Ok(Effect::None)
}

/// `LATENCY RESET [event ...]`: how many events were forgotten.
pub fn reset(ctx: &mut Ctx<'_>, args: &[&[u8]], reply: &mut Reply) -> Outcome {
    let named = args.get(2..).unwrap_or_default();
    let count = ctx
        .engine
        .latency
        .reset(|name| named.is_empty() || named.contains(&name.as_bytes()));
    reply.len_int(count);
    Ok(Effect::None)
}

/// `LATENCY HISTOGRAM [command ...]`: for each command that was called, its calls and how many of
/// them took at most so many microseconds. A container stands for its subcommands.
pub fn histogram(ctx: &mut Ctx<'_>, args: &[&[u8]], reply: &mut Reply) -> Outcome {
    let table = &ctx.engine.table;
    let mut shown: Vec<&Command<Action>> = Vec::new();
    match args.get(2..).unwrap_or_default() {
        [] => shown.extend(table.all()),
        names => {
            for command in names.iter().filter_map(|name| table.lookup_name(name)) {
                shown.push(command);
                shown.extend(table.subcommands(command));
            }
        }
    }
    let slot = reply.defer_len();
    let mut count = 0;
    for command in shown {
        let buckets = ctx.engine.stats.latency(command.spec.id);
        if buckets.is_empty() {
            continue;
        }
        count += 1;
        reply.bulk(command.spec.full_name.as_bytes());
        write_histogram(&buckets, reply);
    }
    reply.set_map_len(slot, count);
    Ok(Effect::None)
}

/// The buckets of Redis's histogram: a power of two of nanoseconds each, from 1024 on, shown by
/// the largest duration in it that a precision of two digits tells apart, in microseconds.
fn write_histogram(buckets: &[(u64, u64)], reply: &mut Reply) {
    const LEAST: u64 = 1 << 10;
    const MOST: u64 = 1 << 30;
    let mut calls = 0;
    let mut cumulative: Vec<(u64, u64)> = Vec::new();
    for &(upper, n) in buckets {
        calls += n;
        let upper = upper.clamp(LEAST, MOST);
        let micros = (upper + upper / 128 - 1) / 1000;
        match cumulative.last_mut() {
            Some((last, sum)) if *last == micros => *sum = calls,
            _ => cumulative.push((micros, calls)),
        }
    }
    reply.map(2);
    reply.bulk(b"calls");
    reply.int(number(calls));
    reply.bulk(b"histogram_usec");
    reply.map(cumulative.len());
    for (micros, sum) in cumulative {
        reply.int(number(micros));
        reply.int(number(sum));
    }
}

/// `LATENCY GRAPH event`
pub fn graph(ctx: &mut Ctx<'_>, args: &[&[u8]], reply: &mut Reply) -> Outcome {
    let event = args.get(2).copied().unwrap_or_default();
    let shown = String::from_utf8_lossy(event);
    let Some(series) = ctx.engine.latency.get(event) else {
        return Err(CommandError::new(format!(
            "ERR No samples available for event '{shown}'"
        )));
    };
    let text = draw(&shown, &series, ctx.now_ms() / 1000);
    reply.verbatim("txt", text.as_bytes());
    Ok(Effect::None)
}

/// Rows of a graph.
const GRAPH_ROWS: u64 = 4;
/// Columns of a graph.
const GRAPH_COLUMNS: usize = 80;

/// A column for each spike, as high as it was long, with its age written downwards below.
fn draw(event: &str, series: &Series, now_s: i64) -> String {
    let skipped = series.samples.len().saturating_sub(GRAPH_COLUMNS);
    let samples: Vec<_> = series.samples.iter().skip(skipped).collect();
    let high = samples.iter().map(|s| s.ms).max().unwrap_or(0);
    let low = samples.iter().map(|s| s.ms).min().unwrap_or(0);
    let mut text = format!(
        "{event} - high {high} ms, low {low} ms (all time high {} ms)\n{}\n",
        series.max_ms,
        "-".repeat(GRAPH_COLUMNS)
    );
    // Every column reaches the lowest row; the highest one fills them all.
    let height = |ms: u64| 1 + (ms - low) * (GRAPH_ROWS - 1) / (high - low).max(1);
    for row in (1..=GRAPH_ROWS).rev() {
        text.extend(samples.iter().map(|s| match height(s.ms) {
            h if h == row => '_',
            h if h > row => '|',
            _ => ' ',
        }));
        text.push('\n');
    }
    text.push('\n');
    let ages: Vec<Vec<char>> = samples
        .iter()
        .map(|s| age(now_s - s.unix_s).chars().collect())
        .collect();
    for line in 0..ages.iter().map(Vec::len).max().unwrap_or(0) {
        text.extend(ages.iter().map(|a| a.get(line).copied().unwrap_or(' ')));
        text.push('\n');
    }
    text
}

/// A span of time in its largest unit.
fn age(seconds: i64) -> String {
    match seconds.max(0) {
        s if s < 60 => format!("{s}s"),
        s if s < 3600 => format!("{}m", s / 60),
        s if s < 86_400 => format!("{}h", s / 3600),
        s => format!("{}d", s / 86_400),
    }
}

/// `LATENCY DOCTOR`
pub fn doctor(ctx: &mut Ctx<'_>, _: &[&[u8]], reply: &mut Reply) -> Outcome {
    let threshold_ms = ctx.settings.observe.latency_monitor_threshold_ms;
    let events = ctx.engine.latency.all();
    let text = if threshold_ms == 0 && events.is_empty() {
        "The latency monitor is off. CONFIG SET latency-monitor-threshold <milliseconds> turns it \
         on; choose what counts as slow for you, and ask again after a while.\n"
            .to_owned()
    } else if events.is_empty() {
        format!("No latency spike of {threshold_ms} ms or more has been seen so far.\n")
    } else {
        diagnose(&events, ctx.now_ms() / 1000)
    };
    reply.verbatim("txt", text.as_bytes());
    Ok(Effect::None)
}

fn diagnose(events: &[(&'static str, Series)], now_s: i64) -> String {
    let mut text = "Latency spikes have been seen. By event:\n\n".to_owned();
    for (place, (name, series)) in events.iter().enumerate() {
        let n = series.samples.len() as u64;
        let sum: u64 = series.samples.iter().map(|s| s.ms).sum();
        let last = series.samples.back().map_or(0, |s| now_s - s.unix_s);
        // Writing to a string does not fail.
        let _ = writeln!(
            text,
            "{}. {name}: {n} spikes, {} ms on average, the longest ever {} ms, the last one {} \
             ago.",
            place + 1,
            sum / n.max(1),
            series.max_ms,
            age(last)
        );
    }
    text.push_str("\nWhat may help:\n\n");
    let has = |wanted: &str| events.iter().any(|(name, _)| *name == wanted);
    if has(crate::command::latency::COMMAND) {
        text.push_str(
            "- Look for slow commands with SLOWLOG GET, and for large keys with redis-cli \
             --bigkeys.\n",
        );
    }
    if has(crate::command::latency::FAST_COMMAND) {
        text.push_str(
            "- Fast commands were slow: the machine is short of CPU or memory. Look for other \
             processes, swapping, and a hypervisor that gives too little time.\n",
        );
    }
    if has(crate::command::latency::EXPIRE_CYCLE) {
        text.push_str("- Many keys are due at the same time: spread their expiry.\n");
    }
    text.push_str(
        "- CONFIG SET latency-monitor-threshold sets what is kept; LATENCY GRAPH and \
                   LATENCY HISTORY show when.\n",
    );
    text
}

fn number(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

fn help_handler(_: &mut Ctx<'_>, args: &[&[u8]], reply: &mut Reply) -> Outcome {
    help(args, HELP, reply);
    Ok(Effect::None)
}

const HELP: &[&str] = &[
    "DOCTOR",
    "    Say in words what the latency monitor has seen.",
    "GRAPH <event>",
    "    Draw the spikes of <event>.",
    "HISTOGRAM [<command> ...]",
    "    Show how long the calls of commands took, cumulatively; of all commands by default.",
    "HISTORY <event>",
    "    Show time and length of the spikes of <event>.",
    "LATEST",
    "    Show the newest spike of each event.",
    "RESET [<event> ...]",
    "    Forget the spikes of events, of all by default.",
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::latency::COMMAND;
    use crate::command::testing::{START_MS, TestServer};
    use crate::resp::reply::Proto;

    #[test]
    fn spikes_are_told_in_every_form() {
        let mut t = TestServer::new();
        assert_eq!(t.run("LATENCY LATEST"), "[]");
        assert_eq!(t.run("LATENCY HISTORY command"), "[]");
        assert_eq!(
            t.run("LATENCY GRAPH command"),
            "-ERR No samples available for event 'command'"
        );
        assert!(t.reply("LATENCY DOCTOR").text().contains("is off"));
        let start = START_MS / 1000;
        t.engine.latency.note(COMMAND, 400, 1, start - 70);
        t.engine.latency.note(COMMAND, 300, 1, start - 2);
        assert_eq!(
            t.run("LATENCY LATEST"),
            r#"[["command", :1699999998, :300, :400]]"#
        );
        assert_eq!(
            t.run("LATENCY HISTORY command"),
            "[[:1699999930, :400], [:1699999998, :300]]"
        );
        let graph = t.reply("LATENCY GRAPH command").text();
        let lines: Vec<&str> = graph.lines().collect();
        assert_eq!(
            lines[0],
            "command - high 400 ms, low 300 ms (all time high 400 ms)"
        );
        assert_eq!(&lines[2..], ["_ ", "| ", "| ", "|_", "", "12", "ms"]);
        let advice = t.reply("LATENCY DOCTOR").text();
        assert!(
            advice.contains("1. command: 2 spikes, 350 ms on average"),
            "{advice}"
        );
        assert_eq!(t.run("LATENCY RESET fork"), ":0");
        assert_eq!(t.run("LATENCY RESET"), ":1");
    }

    #[test]
    fn a_histogram_is_cumulative_and_in_redis_s_steps() {
        let mut r = Reply::new(Proto::Resp2);
        let buckets = [(256, 1), (1024, 1), (2048, 2), (32_768, 1), (1 << 33, 1)];
        write_histogram(&buckets, &mut r);
        let text = String::from_utf8(r.plain().to_vec()).unwrap();
        assert_eq!(
            text.replace("\r\n", " "),
            "*4 $5 calls :6 $14 histogram_usec *8 :1 :2 :2 :4 :33 :5 :1082130 :6 "
        );
    }

    #[test]
    fn histograms_tell_of_commands_that_were_called() {
        let mut t = TestServer::new();
        t.set_resp3(true);
        t.run("CONFIG GET hz");
        t.run("PING");
        let shown = t.run("LATENCY HISTOGRAM config ping nope echo");
        assert!(
            shown.starts_with(r#"{"config|get": {"calls": :1, "#),
            "{shown}"
        );
        assert!(
            shown.contains(r#""ping": {"calls": :1, "histogram_usec": {"#),
            "{shown}"
        );
        assert!(!shown.contains("echo"), "{shown}");
        t.run("CONFIG SET latency-tracking no");
        t.run("ECHO x");
        assert_eq!(t.run("LATENCY HISTOGRAM echo"), "{}");
        t.run("CONFIG RESETSTAT");
        assert_eq!(t.run("LATENCY HISTOGRAM ping"), "{}");
    }
}

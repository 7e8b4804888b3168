//! Codecs of the directives that are like no other: `save`, `bind`, `dir`, `replicaof`,
//! `client-output-buffer-limit` and the rest of those with a grammar of their own.

use super::codec::{Codec, Line, joined, memory_text, none_of, single};
use super::os_text;
use super::types::{
    MemoryOrPercent, NotifyClasses, OutputLimit, OutputLimits, PrimaryAddress, SavePoint,
    ShutdownOptions,
};
use crate::base::args::quote;
use crate::base::num::{parse_f64, parse_i64, parse_memory};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

fn spaced(parts: impl Iterator<Item = String>) -> String {
    parts.collect::<Vec<_>>().join(" ")
}

fn one_line(name: &str, value: &str, force: bool) -> Vec<Line> {
    vec![Line {
        text: joined(name, value.as_bytes()),
        force,
    }]
}

/// `text` as one argument of a line, quoted only where it would not be read back as one.
fn argument(text: &str) -> String {
    let plain = text
        .bytes()
        .all(|b| b.is_ascii_graphic() && !matches!(b, b'"' | b'\'' | b'\\'));
    if plain && !text.is_empty() {
        text.to_owned()
    } else {
        quote(text.as_bytes())
    }
}

/// No arguments, or the single empty one that stands for them.
fn is_empty_list(args: &[&[u8]]) -> bool {
    matches!(args, [] | [[]])
}

/// `save <seconds> <changes> ...`; `save ""` for none.
#[derive(Debug)]
pub(super) struct Save;

impl Codec<Vec<SavePoint>> for Save {
    fn takes_many(&self) -> bool {
        true
    }

    fn parse(
        &self,
        args: &[&[u8]],
        current: &Vec<SavePoint>,
        append: bool,
    ) -> Result<Vec<SavePoint>, String> {
        if is_empty_list(args) {
            return Ok(Vec::new());
        }
        let problem = || "Invalid save parameters".to_owned();
        let mut points = if append { current.clone() } else { Vec::new() };
        for pair in args.chunks(2) {
            let [seconds, changes] = pair else {
                return Err(problem());
            };
            let (Some(seconds), Some(changes)) = (parse_i64(seconds), parse_i64(changes)) else {
                return Err(problem());
            };
            if seconds < 1 || changes < 0 {
                return Err(problem());
            }
            points.push(SavePoint { seconds, changes });
        }
        Ok(points)
    }

    fn show(&self, value: &Vec<SavePoint>) -> Vec<u8> {
        spaced(value.iter().map(|p| format!("{} {}", p.seconds, p.changes))).into_bytes()
    }

    /// A line for each point, all of them wanted: without any, the defaults would apply.
    fn lines(&self, name: &str, value: &Vec<SavePoint>, _: &Vec<SavePoint>) -> Vec<Line> {
        if value.is_empty() {
            return one_line(name, "\"\"", true);
        }
        let line = |point: &SavePoint| {
            let text = format!("{name} {} {}", point.seconds, point.changes).into_bytes();
            Line { text, force: true }
        };
        value.iter().map(line).collect()
    }
}

/// `client-output-buffer-limit <class> <hard> <soft> <seconds> ...`; classes that are not named
/// keep their limits.
#[derive(Debug)]
pub(super) struct OutputLimitsCodec;

impl OutputLimitsCodec {
    fn limit(args: [&[u8]; 3]) -> Option<OutputLimit> {
        let [hard, soft, seconds] = args;
        Some(OutputLimit {
            hard_bytes: u64::try_from(parse_memory(hard)?).ok()?,
            soft_bytes: u64::try_from(parse_memory(soft)?).ok()?,
            soft_seconds: u64::try_from(parse_i64(seconds)?).ok()?,
        })
    }

    fn classes(value: &OutputLimits) -> [(&'static str, OutputLimit); 3] {
        [
            ("normal", value.normal),
            ("replica", value.replica),
            ("pubsub", value.pubsub),
        ]
    }
}

impl Codec<OutputLimits> for OutputLimitsCodec {
    fn takes_many(&self) -> bool {
        true
    }

    fn parse(
        &self,
        args: &[&[u8]],
        current: &OutputLimits,
        _: bool,
    ) -> Result<OutputLimits, String> {
        let mut limits = *current;
        for group in args.chunks(4) {
            let [class, hard, soft, seconds] = group else {
                let text = "Wrong number of arguments in buffer limit configuration.";
                return Err(text.to_owned());
            };
            let slot = match class.to_ascii_lowercase().as_slice() {
                b"normal" => &mut limits.normal,
                b"slave" | b"replica" => &mut limits.replica,
                b"pubsub" => &mut limits.pubsub,
                _ => {
                    let text = "Invalid client class specified in buffer limit configuration.";
                    return Err(text.to_owned());
                }
            };
            let limit = OutputLimitsCodec::limit([hard, soft, seconds]);
            *slot = limit.ok_or(
                "Error in hard, soft or soft_seconds setting in buffer limit configuration.",
            )?;
        }
        Ok(limits)
    }

    /// The class of replicas goes by its old name here, as in Redis.
    fn show(&self, value: &OutputLimits) -> Vec<u8> {
        let text = |(class, limit): (&str, OutputLimit)| {
            let class = if class == "replica" { "slave" } else { class };
            let OutputLimit {
                hard_bytes,
                soft_bytes,
                soft_seconds,
            } = limit;
            format!("{class} {hard_bytes} {soft_bytes} {soft_seconds}")
        };
        spaced(OutputLimitsCodec::classes(value).into_iter().map(text)).into_bytes()
    }

    fn lines(&self, name: &str, value: &OutputLimits, default: &OutputLimits) -> Vec<Line> {
        let bytes = |amount: u64| memory_text(i64::try_from(amount).unwrap_or(i64::MAX));
        let classes = OutputLimitsCodec::classes(value).into_iter();
        classes
            .zip(OutputLimitsCodec::classes(default))
            .map(|((class, limit), (_, usual))| {
                let (hard, soft) = (bytes(limit.hard_bytes), bytes(limit.soft_bytes));
                let text = format!("{name} {class} {hard} {soft} {}", limit.soft_seconds);
                Line {
                    text: text.into_bytes(),
                    force: limit != usual,
                }
            })
            .collect()
    }
}

/// `bind <address> ...`; `bind ""` for none. An address that begins with `-` may be missing.
#[derive(Debug)]
pub(super) struct Bind;

/// Redis's limit on the number of addresses.
const BIND_MAX: usize = 16;

impl Codec<Vec<String>> for Bind {
    fn takes_many(&self) -> bool {
        true
    }

    fn parse(&self, args: &[&[u8]], _: &Vec<String>, _: bool) -> Result<Vec<String>, String> {
        if args.len() > BIND_MAX {
            return Err("Too many bind addresses specified.".to_owned());
        }
        if is_empty_list(args) {
            return Ok(Vec::new());
        }
        let address = |arg: &&[u8]| {
            let text = String::from_utf8(arg.to_vec());
            text.map_err(|_| "argument must be UTF-8 text".to_owned())
        };
        args.iter().map(address).collect()
    }

    fn show(&self, value: &Vec<String>) -> Vec<u8> {
        value.join(" ").into_bytes()
    }

    fn lines(&self, name: &str, value: &Vec<String>, default: &Vec<String>) -> Vec<Line> {
        match value.as_slice() {
            _ if value == default => Vec::new(),
            [] => one_line(name, "\"\"", true),
            // The one argument of a line is taken for a list and divided once more.
            [address] => one_line(name, &argument(&argument(address)), true),
            addresses => {
                let addresses = addresses.iter().map(|address| argument(address));
                one_line(name, &spaced(addresses), true)
            }
        }
    }
}

/// `replicaof <host> <port>`; `replicaof no one` for a primary.
#[derive(Debug)]
pub(super) struct ReplicaOf;

impl Codec<Option<PrimaryAddress>> for ReplicaOf {
    fn takes_many(&self) -> bool {
        true
    }

    fn parse(
        &self,
        args: &[&[u8]],
        _: &Option<PrimaryAddress>,
        _: bool,
    ) -> Result<Option<PrimaryAddress>, String> {
        let [host, port] = args else {
            return Err("wrong number of arguments".to_owned());
        };
        if host.eq_ignore_ascii_case(b"no") && port.eq_ignore_ascii_case(b"one") {
            return Ok(None);
        }
        let port = parse_i64(port).and_then(|port| u16::try_from(port).ok());
        let port = port.ok_or("Invalid master port")?;
        let host = String::from_utf8(host.to_vec());
        let host = host.map_err(|_| "argument must be UTF-8 text".to_owned())?;
        Ok(Some(PrimaryAddress { host, port }))
    }

    fn show(&self, value: &Option<PrimaryAddress>) -> Vec<u8> {
        let text = value
            .as_ref()
            .map(|primary| format!("{} {}", primary.host, primary.port));
        text.unwrap_or_default().into_bytes()
    }

    fn lines(
        &self,
        name: &str,
        value: &Option<PrimaryAddress>,
        _: &Option<PrimaryAddress>,
    ) -> Vec<Line> {
        let Some(PrimaryAddress { host, port }) = value else {
            return Vec::new();
        };
        one_line(name, &format!("{} {port}", argument(host)), true)
    }
}

/// `dir <path>`: kept absolute, and checked to be a directory that can be entered. A relative path
/// starts at the directory now in force, as a change of directory does.
#[derive(Debug)]
pub(super) struct Directory;

fn enterable(path: &Path) -> std::io::Result<PathBuf> {
    let path = path.canonicalize()?;
    if !path.metadata()?.is_dir() {
        return Err(std::io::ErrorKind::NotADirectory.into());
    }
    rustix::fs::access(&path, rustix::fs::Access::EXEC_OK)?;
    Ok(path)
}

impl Codec<PathBuf> for Directory {
    fn parse(&self, args: &[&[u8]], current: &PathBuf, _: bool) -> Result<PathBuf, String> {
        let path = std::ffi::OsStr::from_bytes(single(args)?);
        if path.is_empty() {
            return Err("No such file or directory".to_owned());
        }
        enterable(&current.join(path)).map_err(|error| match error.kind() {
            std::io::ErrorKind::NotADirectory => "Not a directory".to_owned(),
            _ => os_text(&error),
        })
    }

    fn show(&self, value: &PathBuf) -> Vec<u8> {
        value.as_os_str().as_bytes().to_vec()
    }

    /// Always wanted: a relative path in the file would mean another directory after a restart
    /// from elsewhere.
    fn lines(&self, name: &str, value: &PathBuf, _: &PathBuf) -> Vec<Line> {
        one_line(name, &quote(value.as_os_str().as_bytes()), true)
    }
}

/// `notify-keyspace-events <letters>`.
#[derive(Debug)]
pub(super) struct Events;

impl Codec<NotifyClasses> for Events {
    fn parse(&self, args: &[&[u8]], _: &NotifyClasses, _: bool) -> Result<NotifyClasses, String> {
        let classes = NotifyClasses::parse(single(args)?);
        classes.ok_or_else(|| "Invalid event class character. Use 'Ag$lshzxeKEtmdn'.".to_owned())
    }

    fn show(&self, value: &NotifyClasses) -> Vec<u8> {
        value.letters().into_bytes()
    }

    fn lines(&self, name: &str, value: &NotifyClasses, default: &NotifyClasses) -> Vec<Line> {
        one_line(name, &quote(value.letters().as_bytes()), value != default)
    }
}

/// `latency-tracking-info-percentiles <percentile> ...`; `""` for none.
#[derive(Debug)]
pub(super) struct Percentiles;

impl Codec<Vec<f64>> for Percentiles {
    fn takes_many(&self) -> bool {
        true
    }

    fn parse(&self, args: &[&[u8]], _: &Vec<f64>, _: bool) -> Result<Vec<f64>, String> {
        if is_empty_list(args) {
            return Ok(Vec::new());
        }
        let percentile = |arg: &&[u8]| {
            let value =
                parse_f64(arg).ok_or("Invalid latency-tracking-info-percentiles parameters")?;
            if (0.0..=100.0).contains(&value) {
                Ok(value)
            } else {
                let text = "latency-tracking-info-percentiles parameters should sit between \
                            [0.0,100.0]";
                Err(text.to_owned())
            }
        };
        args.iter().map(percentile).collect()
    }

    fn show(&self, value: &Vec<f64>) -> Vec<u8> {
        let text = |percentile: &f64| {
            let text = format!("{percentile:.6}");
            text.trim_end_matches('0').trim_end_matches('.').to_owned()
        };
        spaced(value.iter().map(text)).into_bytes()
    }

    /// Always wanted, as Redis does: an empty list must not fall back to the default one.
    fn lines(&self, name: &str, value: &Vec<f64>, _: &Vec<f64>) -> Vec<Line> {
        if value.is_empty() {
            return one_line(name, "\"\"", true);
        }
        vec![Line {
            text: joined(name, &self.show(value)),
            force: true,
        }]
    }
}

/// `shutdown-on-sigterm <option> ...`.
#[derive(Debug)]
pub(super) struct ShutdownCodec;

impl Codec<ShutdownOptions> for ShutdownCodec {
    fn takes_many(&self) -> bool {
        true
    }

    fn parse(
        &self,
        args: &[&[u8]],
        _: &ShutdownOptions,
        _: bool,
    ) -> Result<ShutdownOptions, String> {
        let unknown = || none_of(["default", "save", "nosave", "now", "force"].into_iter());
        if args.is_empty() {
            return Err(unknown());
        }
        let mut options = ShutdownOptions::default();
        for arg in args {
            match arg.to_ascii_lowercase().as_slice() {
                b"default" => {}
                b"save" => options.save = true,
                b"nosave" => options.nosave = true,
                b"now" => options.now = true,
                b"force" => options.force = true,
                _ => return Err(unknown()),
            }
        }
        if options.save && options.nosave {
            let text = "shutdown options SAVE and NOSAVE can't be used simultaneously";
            return Err(text.to_owned());
        }
        Ok(options)
    }

    fn show(&self, value: &ShutdownOptions) -> Vec<u8> {
        let ShutdownOptions {
            save,
            nosave,
            now,
            force,
        } = *value;
        let named = [
            (save, "save"),
            (nosave, "nosave"),
            (now, "now"),
            (force, "force"),
        ];
        let text = spaced(
            named
                .iter()
                .filter(|(set, _)| *set)
                .map(|(_, name)| (*name).to_owned()),
        );
        if text.is_empty() {
            b"default".to_vec()
        } else {
            text.into_bytes()
        }
    }
}

/// `maxmemory-clients <bytes or percent>`.
#[derive(Debug)]
pub(super) struct MemoryOrPercentCodec;

impl Codec<MemoryOrPercent> for MemoryOrPercentCodec {
    fn parse(
        &self,
        args: &[&[u8]],
        _: &MemoryOrPercent,
        _: bool,
    ) -> Result<MemoryOrPercent, String> {
        let text = single(args)?;
        let problem = || "argument must be a memory or percent value".to_owned();
        let Some(percent) = text.strip_suffix(b"%") else {
            let bytes = parse_memory(text).and_then(|bytes| u64::try_from(bytes).ok());
            return bytes.map(MemoryOrPercent::Bytes).ok_or_else(problem);
        };
        let percent = parse_i64(percent)
            .filter(|percent| *percent >= 0)
            .ok_or_else(problem)?;
        match u8::try_from(percent) {
            Ok(percent) if percent <= 100 => Ok(MemoryOrPercent::Percent(percent)),
            _ => Err("percentage argument must be less or equal to 100".to_owned()),
        }
    }

    fn show(&self, value: &MemoryOrPercent) -> Vec<u8> {
        match value {
            MemoryOrPercent::Bytes(bytes) => bytes.to_string(),
            MemoryOrPercent::Percent(percent) => format!("{percent}%"),
        }
        .into_bytes()
    }
}

/// `oom-score-adj-values <primary> <replica> <child>`.
#[derive(Debug)]
pub(super) struct OomScores;

impl Codec<[i32; 3]> for OomScores {
    fn takes_many(&self) -> bool {
        true
    }

    fn parse(&self, args: &[&[u8]], _: &[i32; 3], _: bool) -> Result<[i32; 3], String> {
        let [primary, replica, child] = args else {
            return Err("wrong number of arguments".to_owned());
        };
        let score = |arg: &[u8]| {
            let value = parse_i64(arg).and_then(|value| i32::try_from(value).ok());
            value
                .filter(|value| (-2000..=2000).contains(value))
                .ok_or_else(|| {
                    "Invalid oom-score-adj-values, elements must be between -2000 and 2000."
                        .to_owned()
                })
        };
        Ok([score(primary)?, score(replica)?, score(child)?])
    }

    fn show(&self, value: &[i32; 3]) -> Vec<u8> {
        spaced(value.iter().map(ToString::to_string)).into_bytes()
    }
}

#[cfg(test)]
#[path = "special_tests.rs"]
mod tests;

//! What a replica says on its connection.

use crate::base::num;
use crate::command::spec::CommandFlags;

use super::Replication;

/// The name of a command that is none of a replica's, for the log.
pub fn command(repl: &Replication, args: &[&[u8]]) -> String {
    match repl.engine.table.lookup(args) {
        Some(known) => known.spec.full_name.clone(),
        None => String::from_utf8_lossy(args.first().copied().unwrap_or_default()).into_owned(),
    }
}

/// `REPLCONF ACK offset [FACK offset]`
pub fn acknowledgement(args: &[&[u8]]) -> Option<(u64, Option<u64>)> {
    let [command, ack, offset, rest @ ..] = args else {
        return None;
    };
    if !command.eq_ignore_ascii_case(b"replconf") || !ack.eq_ignore_ascii_case(b"ack") {
        return None;
    }
    let synced = match rest {
        [fack, synced, ..] if fack.eq_ignore_ascii_case(b"fack") => num::parse_u64(synced),
        _ => None,
    };
    Some((num::parse_u64(offset)?, synced))
}

/// Whether it is one of REPLCONF's words that are never replied to, understood or not.
pub fn needs_no_reply(args: &[&[u8]]) -> bool {
    let [command, word, ..] = args else {
        return false;
    };
    let silent: [&[u8]; 2] = [b"ack", b"getack"];
    command.eq_ignore_ascii_case(b"replconf") && silent.iter().any(|w| word.eq_ignore_ascii_case(w))
}

/// Whether a command reads or writes keys, which a replica must not do here.
pub fn concerns_keys(repl: &Replication, args: &[&[u8]]) -> bool {
    let concerned = [
        CommandFlags::READONLY,
        CommandFlags::WRITE,
        CommandFlags::MAY_REPLICATE,
    ];
    let known = repl.engine.table.lookup(args);
    known.is_some_and(|c| concerned.iter().any(|f| c.spec.flags.contains(*f)))
}

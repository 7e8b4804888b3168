//! SAVE, BGSAVE, LASTSAVE, SHUTDOWN: what a person asks of persistence.

use crate::oplog::effect::Effect;
use crate::resp::reply::Reply;

use super::super::ctx::{CommandError, Ctx, Outcome};
use super::super::host::{Persistence, ShutdownRequest};
use super::{Family, Locks};

/// The family.
pub const HANDLERS: Family = &[
    ("save", save, Locks::Own),
    ("bgsave", bgsave, Locks::Own),
    ("bgrewriteaof", bgrewriteaof, Locks::Own),
    ("lastsave", lastsave, Locks::Nothing),
    ("shutdown", shutdown, Locks::Own),
];

/// Who saves and loads.
fn persistence<'c>(ctx: &Ctx<'c>) -> Result<&'c dyn Persistence, CommandError> {
    let none = || CommandError::new("ERR this server keeps no files");
    ctx.engine.host.persistence().ok_or_else(none)
}

/// `SAVE`
fn save(ctx: &mut Ctx<'_>, _: &[&[u8]], _: &mut Reply) -> Outcome {
    ctx.suspended = Some(persistence(ctx)?.save());
    Ok(Effect::None)
}

/// `BGSAVE [SCHEDULE]`
fn bgsave(ctx: &mut Ctx<'_>, args: &[&[u8]], reply: &mut Reply) -> Outcome {
    let schedule = match args {
        [_] => false,
        [_, word] if word.eq_ignore_ascii_case(b"schedule") => true,
        _ => return Err(CommandError::SYNTAX),
    };
    let status = persistence(ctx)?.bgsave(schedule, ctx.nested)?;
    reply.simple(status);
    Ok(Effect::None)
}

/// `BGREWRITEAOF`
fn bgrewriteaof(ctx: &mut Ctx<'_>, _: &[&[u8]], reply: &mut Reply) -> Outcome {
    let status = persistence(ctx)?.bgrewriteaof(ctx.nested)?;
    reply.simple(status);
    Ok(Effect::None)
}

/// `LASTSAVE`
fn lastsave(ctx: &mut Ctx<'_>, _: &[&[u8]], reply: &mut Reply) -> Outcome {
    reply.int(persistence(ctx)?.last_save());
    Ok(Effect::None)
}

/// `SHUTDOWN [NOSAVE|SAVE] [NOW] [FORCE] [ABORT]`
fn shutdown(ctx: &mut Ctx<'_>, args: &[&[u8]], reply: &mut Reply) -> Outcome {
    let mut request = ShutdownRequest::default();
    let mut abort = false;
    for word in args.iter().skip(1) {
        match word.to_ascii_lowercase().as_slice() {
            b"nosave" if !request.save => request.no_save = true,
            b"save" if !request.no_save => request.save = true,
            b"now" => request.now = true,
            b"force" => request.force = true,
            b"abort" => abort = true,
            _ => return Err(CommandError::SYNTAX),
        }
    }
    if abort && args.len() > 2 {
        return Err(CommandError::SYNTAX);
    }
    if abort {
        if !persistence(ctx)?.shutdown_abort() {
            return Err(CommandError::new("ERR No shutdown in progress."));
        }
        reply.ok();
        return Ok(Effect::None);
    }
    ctx.suspended = Some(persistence(ctx)?.shutdown(request));
    Ok(Effect::None)
}

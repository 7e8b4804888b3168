//! CLIENT KILL.
//!
//! A killed connection leaves the registry at once, so that nobody is shown it any more, and
//! closes as soon as its worker looks. A connection that kills itself still gets the reply of
//! the command, or of the EXEC around it: it closes behind its replies, as Sentinel relies on.

use std::sync::Arc;

use super::{arg, kind};
use crate::base::num;
use crate::client::{Client, ClientKind};
use crate::command::ctx::{CommandError, Ctx, Outcome};
use crate::oplog::effect::Effect;
use crate::resp::reply::Reply;

/// What a connection must meet to be killed.
#[derive(Default)]
struct Filter<'a> {
    id: Option<u64>,
    kind: Option<ClientKind>,
    addr: Option<&'a [u8]>,
    laddr: Option<&'a [u8]>,
    user: Option<&'a [u8]>,
    max_age_seconds: Option<i64>,
    spare_me: bool,
}

/// `CLIENT KILL ip:port`, or with options of two words each.
pub fn kill(ctx: &mut Ctx<'_>, args: &[&[u8]], reply: &mut Reply) -> Outcome {
    if args.len() == 3 {
        let filter = Filter {
            addr: Some(arg(args, 2)),
            ..Filter::default()
        };
        if kill_all(ctx, &filter) == 0 {
            return Err(CommandError::new("ERR No such client"));
        }
        reply.ok();
        return Ok(Effect::None);
    }
    let filter = Filter::parse(args.get(2..).unwrap_or_default())?;
    let killed = kill_all(ctx, &filter);
    reply.len_int(killed);
    Ok(Effect::None)
}

impl<'a> Filter<'a> {
    fn parse(options: &[&'a [u8]]) -> Result<Filter<'a>, CommandError> {
        let mut filter = Filter {
            spare_me: true,
            ..Filter::default()
        };
        let (pairs, rest) = options.as_chunks::<2>();
        for &[option, value] in pairs {
            filter.add(option, value)?;
        }
        if !rest.is_empty() {
            return Err(CommandError::SYNTAX);
        }
        Ok(filter)
    }

    fn add(&mut self, option: &[u8], value: &'a [u8]) -> Result<(), CommandError> {
        match option.to_ascii_lowercase().as_slice() {
            b"id" => {
                let id = num::parse_u64(value).filter(|id| (1..=i64::MAX as u64).contains(id));
                let refused = "ERR client-id should be greater than 0";
                self.id = Some(id.ok_or(CommandError::new(refused))?);
            }
            b"maxage" => {
                let refused = "ERR maxage is not an integer or out of range";
                let age = num::parse_i64(value).ok_or(CommandError::new(refused))?;
                if age <= 0 {
                    return Err(CommandError::new("ERR maxage should be greater than 0"));
                }
                self.max_age_seconds = Some(age);
            }
            b"type" => self.kind = Some(kind(value)?),
            b"addr" => self.addr = Some(value),
            b"laddr" => self.laddr = Some(value),
            b"user" if value == b"default" => self.user = Some(value),
            b"user" => {
                return Err(CommandError::new(format!(
                    "ERR No such user '{}'",
                    String::from_utf8_lossy(value)
                )));
            }
            b"skipme" if value.eq_ignore_ascii_case(b"yes") => self.spare_me = true,
            b"skipme" if value.eq_ignore_ascii_case(b"no") => self.spare_me = false,
            _ => return Err(CommandError::SYNTAX),
        }
        Ok(())
    }

    fn takes(&self, client: &Client, me: u64, now_ms: i64) -> bool {
        let age_seconds = (now_ms - client.created_ms) / 1000;
        !(self.spare_me && client.id == me)
            && self.id.is_none_or(|id| id == client.id)
            && self.kind.is_none_or(|kind| kind == client.kind())
            && self.addr.is_none_or(|a| a == client.addr.as_bytes())
            && self.laddr.is_none_or(|a| a == client.laddr.as_bytes())
            && self.user.is_none_or(|u| u == client.names.lock().user)
            && self.max_age_seconds.is_none_or(|max| age_seconds >= max)
    }
}

/// Kills whom the filter takes. How many.
fn kill_all(ctx: &mut Ctx<'_>, filter: &Filter<'_>) -> usize {
    let registry = &ctx.engine.clients;
    let (me, now_ms) = (ctx.session.client.id, ctx.now_ms());
    let mut victims: Vec<Arc<Client>> = registry.all();
    victims.retain(|c| !c.is_killed() && filter.takes(c, me, now_ms));
    for client in &victims {
        if client.id == me {
            ctx.session.closing = true;
        } else {
            ctx.engine.blocked.cancel(client.id);
            client.kill();
            registry.forget(client.id);
        }
    }
    victims.len()
}

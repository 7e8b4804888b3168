//! Whether a command may run now: the checks before every command, in Redis's order, so that
//! where several apply the same error is replied.

use std::borrow::Cow;
use std::sync::atomic::Ordering;

use super::super::ctx::Ctx;
use super::super::engine::{Engine, Gate, Held};
use super::super::families::Action;
use super::super::multi;
use super::super::session::Origin;
use super::super::spec::{Command, CommandFlags};
use crate::client::ClientKind;
use crate::config::ProtectedAction;
use crate::resp::errors;

/// Commands that run inside MULTI instead of being queued.
const NEVER_QUEUED: [&str; 6] = ["exec", "discard", "multi", "watch", "quit", "reset"];

type Refusal = Cow<'static, [u8]>;

fn fixed(text: &'static str) -> Refusal {
    Cow::Borrowed(text.as_bytes())
}

/// What a command needs, to run whatever gates are shut.
struct Needs {
    flags: CommandFlags,
    denies_stale: bool,
    denies_loading: bool,
    is_ping: bool,
}

/// The refusal of a command as it is replied. An EXEC that is refused ends its transaction.
fn abort_by(ctx: &mut Ctx<'_>, command: &Command<Action>, refusal: Refusal) -> Refusal {
    if command.spec.name != "exec" {
        return refusal;
    }
    ctx.session.multi = None;
    multi::unwatch_all(ctx);
    Cow::Owned(
        [
            b"EXECABORT Transaction discarded because of: ",
            refusal.as_ref(),
        ]
        .concat(),
    )
}

impl Engine {
    /// The command to run now, `None` if it has been queued.
    ///
    /// # Errors
    /// The text of the error reply.
    #[inline]
    pub(super) fn admit<'e>(
        &self,
        ctx: &mut Ctx<'_>,
        command: Option<&'e Command<Action>>,
        args: &[&[u8]],
        gates: u32,
    ) -> Result<Option<(&'e Command<Action>, Action)>, Refusal> {
        let Some(command) = command else {
            return Err(self.unknown(ctx, args));
        };
        if !command.spec.arity_ok(args.len()) {
            let refusal = command.spec.arity_error();
            // Alone among the reasons, an EXEC's is told without a code.
            let reason = refusal
                .strip_prefix("ERR ")
                .filter(|_| command.spec.name == "exec");
            let refusal = reason.unwrap_or(&refusal).as_bytes().to_vec();
            return Err(abort_by(ctx, command, Cow::Owned(refusal)));
        }
        let Some(action) = command.handler else {
            return Err(Cow::Owned(command.spec.arity_error().into_bytes()));
        };
        let s = &ctx.session;
        let plain = gates == 0
            && s.authenticated
            && s.multi.is_none()
            && s.client.kind() == ClientKind::Normal;
        if plain && !command.spec.flags.contains(CommandFlags::PROTECTED) {
            return Ok(Some((command, action)));
        }
        if let Err(refusal) = self.check(ctx, command, gates) {
            return Err(abort_by(ctx, command, refusal));
        }
        if let Some(queue) = &mut ctx.session.multi
            && !NEVER_QUEUED.contains(&command.spec.full_name.as_str())
        {
            if command.spec.flags.contains(CommandFlags::NO_MULTI) {
                return Err(fixed("ERR Command not allowed inside a transaction"));
            }
            queue.push(args, command.spec.flags);
            let (len, bytes) = (queue.len() as i64, queue.size_bytes() as u64);
            let client = &ctx.session.client;
            client.multi.store(len, Ordering::Relaxed);
            client.multi_bytes.store(bytes, Ordering::Relaxed);
            return Ok(None);
        }
        Ok(Some((command, action)))
    }

    /// Milliseconds for which a pause holds this command back, if it does; one that is refused
    /// anyway is refused at once.
    pub(super) fn held_back(
        &self,
        ctx: &Ctx<'_>,
        command: Option<&Command<Action>>,
        args: &[&[u8]],
        gates: u32,
    ) -> Option<u64> {
        if !Gate::PAUSED.among(gates) || ctx.session.origin != Origin::Client {
            return None;
        }
        let now_ms = ctx.now_ms();
        if !self.pause.is_on(now_ms) {
            self.shut_pause_gate(now_ms);
            return None;
        }
        let command = command.filter(|c| c.spec.arity_ok(args.len()))?;
        let mut flags = command.spec.flags;
        let mut denied_while_loading = !flags.contains(CommandFlags::LOADING);
        if let Some(q) = &ctx.session.multi
            && command.spec.name == "exec"
        {
            flags.insert(q.flags);
            denied_while_loading |= q.denies_loading;
        }
        let writes = flags.intersects(CommandFlags::WRITE.union(CommandFlags::MAY_REPLICATE));
        let until = self.pause.until(now_ms, |held| match held {
            Held::All => true,
            Held::Writes => writes,
            Held::DeniedWhileLoading => denied_while_loading,
            Held::DeniedWhileLoadingBeside => flags.contains(CommandFlags::NO_ASYNC_LOADING),
        })?;
        // While a load may still be over in a moment, it is no reason to refuse anything.
        let unseen = |held| !matches!(held, Held::Writes | Held::All);
        let loading = match self.pause.until(now_ms, unseen) {
            Some(_) => Gate::LOADING.bit() | Gate::LOADING_BESIDE.bit(),
            None => 0,
        };
        if self.check(ctx, command, gates & !loading).is_err() {
            return None;
        }
        Some((until - now_ms).max(1) as u64)
    }

    /// The refusal of a command that does not exist. A browser that was made to talk to us sends
    /// HTTP, whose lines must not be taken for commands: the connection closes.
    fn unknown(&self, ctx: &mut Ctx<'_>, args: &[&[u8]]) -> Refusal {
        let name = args.first().copied().unwrap_or_default();
        if name.eq_ignore_ascii_case(b"post") || name.eq_ignore_ascii_case(b"host:") {
            tracing::warn!(
                "Possible SECURITY ATTACK detected. It looks like somebody is sending POST or \
                 Host: commands to Redis. This is likely due to an attacker attempting to use \
                 Cross Protocol Scripting to compromise your Redis instance. Connection from {} \
                 aborted.",
                ctx.session.client.addr
            );
            ctx.session.closing = true;
        }
        Cow::Owned(self.table.unknown_error(args))
    }

    fn check(&self, ctx: &Ctx<'_>, command: &Command<Action>, gates: u32) -> Result<(), Refusal> {
        let s = &ctx.session;
        let mut flags = command.spec.flags;
        if flags.contains(CommandFlags::PROTECTED) {
            let allowed = match ctx.settings.process.enable_debug_command {
                ProtectedAction::Yes => true,
                ProtectedAction::No => false,
                ProtectedAction::Local => s.is_local(),
            };
            if !allowed && s.origin == Origin::Client {
                return Err(fixed(DEBUG_NOT_ALLOWED));
            }
        }
        if !s.authenticated && !flags.contains(CommandFlags::NO_AUTH) {
            return Err(fixed(errors::NO_AUTH));
        }
        if s.origin != Origin::Client {
            return Ok(());
        }
        let mut denies_stale = !flags.contains(CommandFlags::STALE);
        let mut denies_loading = !flags.contains(CommandFlags::LOADING);
        if command.spec.name == "exec"
            && let Some(q) = &s.multi
        {
            flags.insert(q.flags);
            denies_stale |= q.denies_stale;
            denies_loading |= q.denies_loading;
        }
        let needs = Needs {
            flags,
            denies_stale,
            denies_loading,
            is_ping: command.spec.name == "ping",
        };
        self.check_gates(&needs, gates)?;
        if s.client.kind() == ClientKind::Replica
            && flags.intersects(CommandFlags::WRITE.union(CommandFlags::READONLY))
        {
            return Err(fixed("ERR Replica can't interact with the keyspace"));
        }
        Ok(())
    }

    /// Whether a write of these flags that was admitted earlier may be done now; `gates` has those
    /// that only the caller knows.
    ///
    /// # Errors
    /// The text of the error reply.
    pub fn check_late_write(&self, flags: CommandFlags, gates: u32) -> Result<(), Refusal> {
        let needs = Needs {
            flags,
            denies_stale: !flags.contains(CommandFlags::STALE),
            denies_loading: !flags.contains(CommandFlags::LOADING),
            is_ping: false,
        };
        self.check_gates(&needs, self.gates.load() | gates)
    }

    fn check_gates(&self, needs: &Needs, gates: u32) -> Result<(), Refusal> {
        let flags = needs.flags;
        let writes = flags.contains(CommandFlags::WRITE);
        if Gate::OUT_OF_MEMORY.among(gates) && flags.contains(CommandFlags::DENYOOM) {
            return Err(fixed(errors::OUT_OF_MEMORY));
        }
        self.check_disk_and_replicas(writes, needs.is_ping, gates)?;
        if writes && Gate::READ_ONLY.among(gates) {
            return Err(fixed(errors::READ_ONLY));
        }
        if Gate::STALE.among(gates) && needs.denies_stale {
            return Err(fixed(errors::MASTER_DOWN));
        }
        let denied_beside = flags.contains(CommandFlags::NO_ASYNC_LOADING);
        if Gate::LOADING.among(gates) && needs.denies_loading
            || Gate::LOADING_BESIDE.among(gates) && denied_beside
        {
            return Err(fixed(errors::LOADING));
        }
        Ok(())
    }

    fn check_disk_and_replicas(
        &self,
        writes: bool,
        is_ping: bool,
        gates: u32,
    ) -> Result<(), Refusal> {
        if (writes || is_ping) && !Gate::REPLICA.among(gates) {
            if Gate::SAVE_FAILED.among(gates) {
                return Err(fixed(errors::BGSAVE_FAILED));
            }
            if Gate::AOF_FAILED.among(gates)
                && let Some(refusal) = self.host.aof_write_error()
            {
                return Err(Cow::Owned(refusal.into_bytes()));
            }
        }
        if writes && Gate::FEW_REPLICAS.among(gates) && !Gate::REPLICA.among(gates) {
            return Err(fixed(errors::NO_REPLICAS));
        }
        Ok(())
    }
}

const DEBUG_NOT_ALLOWED: &str = "ERR DEBUG command not allowed. If the enable-debug-command option \
is set to \"local\", you can run it from a local connection, otherwise you need to set this option \
in the configuration file, and then restart the server.";

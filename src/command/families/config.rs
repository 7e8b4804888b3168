//! CONFIG: what the settings are, changing them, and writing them back into the file.
//!
//! A change takes effect through [`Host::setting_changed`](crate::command::host::Host), once for
//! each directive, before the new settings are published. CONFIG SET is a unit of its own, so that
//! whatever follows it in a pipeline runs under the new settings.

use super::{Family, Locks, help};
use crate::command::ctx::{CommandError, Ctx, Outcome};
use crate::command::session::Origin;
use crate::config::{ProtectedAction, RewriteError, SetContext};
use crate::oplog::effect::Effect;
use crate::resp::reply::Reply;

/// CONFIG's subcommands.
pub const HANDLERS: Family = &[
    ("config|get", get, Locks::Nothing),
    ("config|set", set, Locks::Own),
    ("config|rewrite", rewrite, Locks::Own),
    ("config|resetstat", resetstat, Locks::Nothing),
    ("config|help", help_handler, Locks::Nothing),
];

/// `CONFIG GET pattern [pattern ...]`
pub fn get(ctx: &mut Ctx<'_>, args: &[&[u8]], reply: &mut Reply) -> Outcome {
    let patterns = args.get(2..).unwrap_or_default();
    let shown = ctx.engine.config.get(patterns);
    reply.map(shown.len());
    for (name, value) in shown {
        reply.bulk(&name);
        reply.bulk(&value);
    }
    Ok(Effect::None)
}

/// `CONFIG SET directive value [directive value ...]`
pub fn set(ctx: &mut Ctx<'_>, args: &[&[u8]], reply: &mut Reply) -> Outcome {
    let (pairs, rest) = args.get(2..).unwrap_or_default().as_chunks::<2>();
    if !rest.is_empty() {
        return Err(CommandError::SYNTAX);
    }
    let pairs: Vec<(&[u8], &[u8])> = pairs.iter().map(|&[name, value]| (name, value)).collect();
    let context = SetContext {
        loading: ctx.engine.gates.is_loading(),
        nested: ctx.nested,
        protected_allowed: match ctx.settings.process.enable_protected_configs {
            ProtectedAction::Yes => true,
            ProtectedAction::No => false,
            ProtectedAction::Local => ctx.session.is_local(),
        } || ctx.session.origin != Origin::Client,
    };
    let host = &ctx.engine.host;
    ctx.engine
        .config
        .set(&pairs, context, &mut |change| host.setting_changed(change))
        .map_err(|e| CommandError::new(e.to_string()))?;
    reply.ok();
    Ok(Effect::None)
}

/// `CONFIG REWRITE`
pub fn rewrite(ctx: &mut Ctx<'_>, _: &[&[u8]], reply: &mut Reply) -> Outcome {
    ctx.engine.config.rewrite(false).map_err(|e| {
        if let RewriteError::Io(cause) = &e {
            tracing::warn!("CONFIG REWRITE failed: {cause}");
        }
        CommandError::new(e.to_string())
    })?;
    tracing::info!("CONFIG REWRITE executed with success.");
    reply.ok();
    Ok(Effect::None)
}

/// `CONFIG RESETSTAT`
pub fn resetstat(ctx: &mut Ctx<'_>, _: &[&[u8]], reply: &mut Reply) -> Outcome {
    ctx.engine.stats.reset();
    ctx.engine.clients.reset_counts();
    ctx.engine.host.reset_stats();
    reply.ok();
    Ok(Effect::None)
}

fn help_handler(_: &mut Ctx<'_>, args: &[&[u8]], reply: &mut Reply) -> Outcome {
    help(args, HELP, reply);
    Ok(Effect::None)
}

const HELP: &[&str] = &[
    "GET <pattern> [<pattern> ...]",
    "    Show the directives whose names match, with their values.",
    "SET <directive> <value> [<directive> <value> ...]",
    "    Change directives, all of them or none.",
    "RESETSTAT",
    "    Set the counters of INFO back to zero.",
    "REWRITE",
    "    Write the settings in force into the configuration file.",
];

#[cfg(test)]
mod tests {
    use crate::command::testing::TestServer;

    #[test]
    fn what_is_set_is_shown() {
        let mut t = TestServer::new();
        assert_eq!(t.run("CONFIG SET hz 50 save ''"), "+OK");
        assert_eq!(t.run("CONFIG GET hz save"), r#"["hz", "50", "save", ""]"#);
        t.set_resp3(true);
        assert_eq!(
            t.run("CONFIG GET slave-read-onl?"),
            r#"{"slave-read-only": "yes"}"#
        );
        assert_eq!(t.run("CONFIG GET nothing"), "{}");
    }

    #[test]
    fn one_wrong_value_leaves_all_as_it_was() {
        let mut t = TestServer::new();
        assert_eq!(
            t.run("CONFIG SET hz 50 port 70000"),
            "-ERR CONFIG SET failed (possibly related to argument 'port') - argument must be \
             between 0 and 65535 inclusive"
        );
        assert_eq!(t.run("CONFIG GET hz"), r#"["hz", "10"]"#);
        assert_eq!(t.run("CONFIG SET hz 50 port"), "-ERR syntax error");
        assert_eq!(
            t.run("CONFIG SET foo bar"),
            "-ERR Unknown option or number of arguments for CONFIG SET - 'foo'"
        );
    }

    #[test]
    fn a_protected_directive_needs_permission() {
        let refused = "-ERR CONFIG SET failed (possibly related to argument 'dbfilename') - \
                       can't set protected config";
        assert_eq!(
            TestServer::new().run("CONFIG SET dbfilename x.rdb"),
            refused
        );
        let mut t = TestServer::with(&["--enable-protected-configs", "yes"]);
        assert_eq!(t.run("CONFIG SET dbfilename x.rdb"), "+OK");
    }

    #[test]
    fn the_rest_of_a_pipeline_runs_under_the_new_settings() {
        let mut t = TestServer::new();
        let set: &[&[u8]] = &[b"CONFIG", b"SET", b"requirepass", b"pw"];
        let auth: &[&[u8]] = &[b"AUTH", b"nope"];
        let replies = t.pipeline(&[&[b"PING"], set, auth]);
        assert_eq!(replies[1].to_string(), "+OK");
        assert!(replies[2].to_string().starts_with("-WRONGPASS"));
    }

    #[test]
    fn without_a_file_there_is_nothing_to_rewrite() {
        let mut t = TestServer::new();
        assert_eq!(
            t.run("CONFIG REWRITE"),
            "-ERR The server is running without a config file"
        );
        assert_eq!(t.run("CONFIG RESETSTAT"), "+OK");
    }
}

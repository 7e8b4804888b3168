//! The process: its files, logging, databases, shutdown.

use super::super::codec::title_template;
use super::super::special::{Directory, OomScores, ShutdownCodec};
use super::super::types::{
    LogLevel, OomScoreAdj, ProtectedAction, ShutdownOptions, Supervised, SyslogFacility,
};
use super::{Directive, Flags, Honour, INT_MAX, Int, OneOf, Slot, Text, YesNo};
use std::path::PathBuf;

const NO_PINNING: Honour =
    Honour::Refused("threads are not bound to CPUs in this version of Russet");
const NO_SYSLOG: &str = "it qualifies syslog-enabled, which is refused";

group! {
    /// The process: its files, logging, databases, shutdown.
    Process in process {
        /// Go to the background after the start.
        "daemonize" = daemonize: bool = false, YesNo, [IMMUTABLE];
        /// How a service manager is told that the server is ready.
        "supervised" = supervised: Supervised = Supervised::No, OneOf::<Supervised>::new(),
            [IMMUTABLE];
        /// File that receives the process id.
        "pidfile" = pidfile: Option<PathBuf> = None, Text::ANY, [IMMUTABLE];
        /// The least severe messages that are logged.
        "loglevel" = loglevel: LogLevel = LogLevel::Notice, OneOf::<LogLevel>::new();
        /// File that receives the log; empty for standard output.
        "logfile" = logfile: PathBuf = PathBuf::new(), Text::ANY, [IMMUTABLE];
        /// Number of databases.
        "databases" = databases: u32 = 16, Int::range(1, INT_MAX), [IMMUTABLE];
        /// Working directory: data files are written there.
        "dir" = dir: PathBuf = PathBuf::from("."), Directory, [PROTECTED DENY_LOADING];
        /// Rounds of background work a second, 1 to 500.
        "hz" = hz: u32 = 10, Int::range(0, INT_MAX).clamped(1, 500);
        /// Raise the number of rounds with the number of clients.
        "dynamic-hz" = dynamic_hz: bool = true, YesNo
            => Honour::NoEffect("background work does not go through clients one by one");
        /// Seconds that a shutdown waits for replicas to catch up.
        "shutdown-timeout" = shutdown_timeout_seconds: u32 = 10, Int::range(0, INT_MAX);
        /// Options of SHUTDOWN that SIGINT implies.
        "shutdown-on-sigint" = shutdown_on_sigint: ShutdownOptions = ShutdownOptions::default(),
            ShutdownCodec;
        /// Options of SHUTDOWN that SIGTERM implies.
        "shutdown-on-sigterm" = shutdown_on_sigterm: ShutdownOptions = ShutdownOptions::default(),
            ShutdownCodec;
        /// Who may change `dir` and `dbfilename` while the server runs.
        "enable-protected-configs" = enable_protected_configs: ProtectedAction =
            ProtectedAction::No, OneOf::<ProtectedAction>::new(), [IMMUTABLE];
        /// Who may use the DEBUG command.
        "enable-debug-command" = enable_debug_command: ProtectedAction =
            ProtectedAction::No, OneOf::<ProtectedAction>::new(), [IMMUTABLE];
        /// Who may use the MODULE command.
        "enable-module-command" = enable_module_command: ProtectedAction =
            ProtectedAction::No, OneOf::<ProtectedAction>::new(), [IMMUTABLE]
            => Honour::NoEffect("there are no modules and no MODULE command to permit");
        /// Do without transparent huge pages.
        "disable-thp" = disable_thp: bool = true, YesNo, [IMMUTABLE];
        /// Milliseconds after which a script is answered for with BUSY.
        "busy-reply-threshold" | "lua-time-limit" = busy_reply_threshold_ms: u64 = 5000,
            Int::range(0, i64::MAX)
            => Honour::NoEffect("there are no scripts, and nothing else keeps a server busy");
        /// Adjust the score by which the kernel chooses a process to end when memory is short.
        "oom-score-adj" = oom_score_adj: OomScoreAdj = OomScoreAdj::No,
            OneOf::<OomScoreAdj>::new();
        /// The scores for a primary, a replica and a child process.
        "oom-score-adj-values" = oom_score_adj_values: [i32; 3] = [0, 200, 800], OomScores;
        /// Log to syslog.
        "syslog-enabled" = syslog_enabled: bool = false, YesNo, [IMMUTABLE]
            => Honour::Refused("syslog is not available in this version of Russet");
        /// The name under which syslog files the messages.
        "syslog-ident" = syslog_ident: String = "redis".to_owned(), Text::ANY, [IMMUTABLE]
            => Honour::NoEffect(NO_SYSLOG);
        /// The facility under which syslog files the messages.
        "syslog-facility" = syslog_facility: SyslogFacility = SyslogFacility::Local0,
            OneOf::<SyslogFacility>::new(), [IMMUTABLE] => Honour::NoEffect(NO_SYSLOG);
        /// Draw the logo when the server starts.
        "always-show-logo" = always_show_logo: bool = false, YesNo, [IMMUTABLE];
        /// Rewrite the command line that ps shows.
        "set-proc-title" = set_proc_title: bool = true, YesNo, [IMMUTABLE];
        /// What ps shows as the command line.
        "proc-title-template" = proc_title_template: String =
            "{title} {listen-addr} {server-mode}".to_owned(), Text::checked(title_template);
        /// The locale by which text is ordered.
        "locale-collate" = locale_collate: String = String::new(), Text::ANY
            => Honour::Refused("text is ordered byte by byte in this version of Russet");
        /// Log a report when the process crashes.
        "crash-log-enabled" = crash_log_enabled: bool = true, YesNo
            => Honour::NoEffect("a crash leaves its own message; there is no handler to remove");
        /// Test the memory when the process crashes.
        "crash-memcheck-enabled" = crash_memcheck_enabled: bool = true, YesNo
            => Honour::NoEffect("no memory test follows a crash");
        /// Leave by exit instead of by a signal when an assertion fails.
        "use-exit-on-panic" = use_exit_on_panic: bool = false, YesNo, [HIDDEN]
            => Honour::NoEffect("a failed assertion always ends the process at once");
        /// Milliseconds after which a stuck server logs its stack; 0 for never.
        "watchdog-period" = watchdog_period_ms: u32 = 0, Int::range(0, INT_MAX), [HIDDEN]
            => Honour::Refused("the software watchdog is not available in this version of Russet");
        /// Keep keys and values out of the log.
        "hide-user-data-from-log" = hide_user_data_from_log: bool = false, YesNo;
        /// Names of start-up warnings to leave out.
        "ignore-warnings" = ignore_warnings: String = String::new(), Text::ANY
            => Honour::NoEffect("the warning it can name is about fork, which is not used");
        /// CPUs for the threads that execute commands.
        "server-cpulist" | "server_cpulist" = server_cpulist: Option<String> = None, Text::ANY,
            [IMMUTABLE] => NO_PINNING;
        /// CPUs for the threads that sync and free.
        "bio-cpulist" | "bio_cpulist" = bio_cpulist: Option<String> = None, Text::ANY,
            [IMMUTABLE] => NO_PINNING;
        /// CPUs for an AOF rewrite.
        "aof-rewrite-cpulist" | "aof_rewrite_cpulist" = aof_rewrite_cpulist: Option<String> =
            None, Text::ANY, [IMMUTABLE] => NO_PINNING;
        /// CPUs for a background save.
        "bgsave-cpulist" | "bgsave_cpulist" = bgsave_cpulist: Option<String> = None, Text::ANY,
            [IMMUTABLE] => NO_PINNING;
    }
}

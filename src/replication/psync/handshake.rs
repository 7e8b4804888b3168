//! The replica's way from a fresh connection to a stream.
//!
//! ```text
//!   PING          -> +PONG, or an error that AUTH may cure
//!   AUTH          -> +OK                                    (if masterauth is set)
//!   REPLCONF listening-port / ip-address / capa  -> +OK, or an error that does no harm
//!   PSYNC id n    -> +FULLRESYNC id n | +CONTINUE [id] | +RDBCHANNELSYNC number
//!                    | -error | newlines meanwhile
//! ```
//!
//! Behind `+RDBCHANNELSYNC` a second connection begins, for the data set alone:
//!
//! ```text
//!   AUTH                                                       -> +OK   (if masterauth is set)
//!   REPLCONF capa eof rdb-only 1 rdb-channel 1 main-ch-client-id number listening-port p -> +OK
//!   PSYNC ? -1                                                 -> +FULLRESYNC id n
//! ```
//!
//! AUTH and the REPLCONFs are sent together; their replies come in that order. The machine is fed
//! lines and instants, and gives what to send and, once, how it ended.

use crate::oplog::effect::encode;
use crate::replication::history::{ReplId, as_wire};

/// What the replica tells about itself and knows already.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// `masteruser`, if set.
    pub user: Option<Vec<u8>>,
    /// `masterauth`, if set.
    pub password: Option<Vec<u8>>,
    /// The port others reach it by.
    pub port: u16,
    /// `replica-announce-ip`, if set.
    pub announce_ip: Option<String>,
    /// The history it could continue, and the bytes it has of it.
    pub resume: Option<(ReplId, u64)>,
    /// It takes its data set over a second connection, if the primary wants it so.
    pub rdb_channel: bool,
    /// `repl-timeout`, milliseconds.
    pub timeout_ms: u64,
}

/// How the handshake ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A data set follows, that of this point; `None` if the primary does not understand PSYNC, or
    /// told it wrongly: there is nothing to continue from later.
    Full(Option<(ReplId, u64)>),
    /// The stream goes on where the replica stands, under this id if it changed its name.
    Continue(Option<ReplId>),
    /// A data set can be had over a second connection, to be introduced by this number; the stream
    /// follows on this one.
    Side(u64),
    /// It failed, with what is to be logged; the connection is useless.
    Failed(String),
    /// The primary cannot serve now; to be tried again later.
    TryLater(String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Ping,
    Auth,
    Port,
    Address,
    Capabilities,
    Psync,
    SideAuth,
    SideIntroduced,
    SidePsync,
    Ended,
}

/// The machine.
#[derive(Debug)]
pub struct Handshake {
    settings: Settings,
    state: State,
    output: Vec<u8>,
    outcome: Option<Outcome>,
    last_io_ms: u64,
    /// The number of the main connection, on the second one.
    main_client: u64,
}

impl Handshake {
    /// The connection stands.
    pub fn new(settings: Settings, now_ms: u64) -> Handshake {
        let mut output = Vec::new();
        encode(&mut output, &[b"PING"]);
        Handshake {
            settings,
            state: State::Ping,
            output,
            outcome: None,
            last_io_ms: now_ms,
            main_client: 0,
        }
    }

    /// The second connection stands, whose main one has this number.
    pub fn of_side(settings: Settings, main_client: u64, now_ms: u64) -> Handshake {
        let mut h = Handshake {
            state: State::SideIntroduced,
            output: Vec::new(),
            outcome: None,
            last_io_ms: now_ms,
            main_client,
            settings,
        };
        if h.authenticate() {
            h.state = State::SideAuth;
        } else {
            h.introduce();
        }
        h
    }

    /// Says whose second connection this is.
    fn introduce(&mut self) {
        let (main, port) = (self.main_client.to_string(), self.settings.port.to_string());
        let words: [&[u8]; 11] = [
            b"REPLCONF",
            b"capa",
            b"eof",
            b"rdb-only",
            b"1",
            b"rdb-channel",
            b"1",
            b"main-ch-client-id",
            main.as_bytes(),
            b"listening-port",
            port.as_bytes(),
        ];
        encode(&mut self.output, &words);
        self.state = State::SideIntroduced;
    }

    /// Sends the password, if there is one. Whether there is.
    fn authenticate(&mut self) -> bool {
        let s = &self.settings;
        let Some(password) = &s.password else {
            return false;
        };
        match &s.user {
            Some(user) => encode(&mut self.output, &[b"AUTH", user, password]),
            None => encode(&mut self.output, &[b"AUTH", password]),
        }
        true
    }

    /// What is to be sent now.
    pub fn poll_output(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.output)
    }

    /// How it ended, once it has.
    pub fn poll_outcome(&mut self) -> Option<Outcome> {
        self.outcome.take()
    }

    /// When [`Handshake::handle_time`] will have something to say, in the caller's milliseconds.
    pub fn deadline_ms(&self) -> u64 {
        self.last_io_ms.saturating_add(self.settings.timeout_ms)
    }

    /// `repl-timeout` may have changed; it counts from the last sign of life.
    pub fn set_timeout_ms(&mut self, timeout_ms: u64) {
        self.settings.timeout_ms = timeout_ms;
    }

    /// Time has passed.
    pub fn handle_time(&mut self, now_ms: u64) {
        if self.state != State::Ended && now_ms >= self.deadline_ms() {
            self.end(Outcome::Failed(
                "Timeout connecting to the MASTER...".to_owned(),
            ));
        }
    }

    /// A line has come, without its end.
    pub fn handle_line(&mut self, line: &[u8], now_ms: u64) {
        self.last_io_ms = now_ms;
        let is_error = line.first() == Some(&b'-');
        let text = || String::from_utf8_lossy(line).into_owned();
        match self.state {
            State::Ping => self.pinged(line),
            State::Auth | State::SideAuth if is_error => {
                self.end(Outcome::Failed(format!(
                    "Unable to AUTH to MASTER: {}",
                    text()
                )));
            }
            State::Auth => self.state = State::Port,
            State::Port => {
                grumble(is_error, "listening-port", &text());
                self.state = if self.settings.announce_ip.is_some() {
                    State::Address
                } else {
                    State::Capabilities
                };
            }
            State::Address => {
                grumble(is_error, "ip-address", &text());
                self.state = State::Capabilities;
            }
            State::Capabilities => {
                grumble(is_error, "capa", &text());
                self.ask();
            }
            State::SideAuth => self.introduce(),
            State::SideIntroduced if is_error => {
                self.end(Outcome::Failed(format!(
                    "Master refuses the rdb-channel: {}",
                    text()
                )));
            }
            State::SideIntroduced => {
                self.state = State::SidePsync;
                encode(&mut self.output, &[b"PSYNC", b"?", b"-1"]);
            }
            State::Psync | State::SidePsync if line.is_empty() => {}
            State::SidePsync => {
                let point = line.strip_prefix(b"+FULLRESYNC").and_then(full_point);
                let failed = || {
                    Outcome::Failed(format!(
                        "Unexpected reply to PSYNC from master (rdb-channel): {}",
                        text()
                    ))
                };
                let outcome = point.map_or_else(failed, |point| Outcome::Full(Some(point)));
                self.end(outcome);
            }
            State::Psync => {
                let outcome = self.answered(line);
                self.end(outcome);
            }
            State::Ended => {}
        }
    }

    fn end(&mut self, outcome: Outcome) {
        self.state = State::Ended;
        self.outcome = Some(outcome);
    }

    fn pinged(&mut self, line: &[u8]) {
        let curable: [&[u8]; 3] = [b"-NOAUTH", b"-NOPERM", b"-ERR operation not permitted"];
        if line.first() != Some(&b'+') && !curable.iter().any(|e| line.starts_with(e)) {
            let text = String::from_utf8_lossy(line);
            let reason = format!("Error reply to PING from master: '{text}'");
            return self.end(Outcome::Failed(reason));
        }
        tracing::info!("Master replied to PING, replication can continue...");
        self.state = match self.authenticate() {
            true => State::Auth,
            false => State::Port,
        };
        let s = &self.settings;
        let port = s.port.to_string();
        encode(
            &mut self.output,
            &[b"REPLCONF", b"listening-port", port.as_bytes()],
        );
        if let Some(ip) = &s.announce_ip {
            encode(
                &mut self.output,
                &[b"REPLCONF", b"ip-address", ip.as_bytes()],
            );
        }
        let capabilities: [&[u8]; 7] = [
            b"REPLCONF",
            b"capa",
            b"eof",
            b"capa",
            b"psync2",
            b"capa",
            b"rdb-channel-repl",
        ];
        let told = if s.rdb_channel { 7 } else { 5 };
        encode(
            &mut self.output,
            capabilities.get(..told).unwrap_or_default(),
        );
    }

    fn ask(&mut self) {
        self.state = State::Psync;
        match self.settings.resume {
            Some((id, offset)) => {
                let (id, wanted) = (id.to_string(), as_wire(offset).to_string());
                tracing::info!("Trying a partial resynchronization (request {id}:{wanted}).");
                encode(
                    &mut self.output,
                    &[b"PSYNC", id.as_bytes(), wanted.as_bytes()],
                );
            }
            None => {
                tracing::info!("Partial resynchronization not possible (no cached master)");
                encode(&mut self.output, &[b"PSYNC", b"?", b"-1"]);
            }
        }
    }

    fn answered(&mut self, line: &[u8]) -> Outcome {
        let text = String::from_utf8_lossy(line);
        if let Some(rest) = line.strip_prefix(b"+FULLRESYNC") {
            let point = full_point(rest);
            match point {
                Some((id, offset)) => tracing::info!("Full resync from master: {id}:{offset}"),
                None => tracing::warn!("Master replied with wrong +FULLRESYNC syntax."),
            }
            return Outcome::Full(point);
        }
        if let Some(rest) = line.strip_prefix(b"+CONTINUE") {
            if self.settings.resume.is_none() {
                return Outcome::Failed(format!("Unexpected reply to PSYNC from master: {text}"));
            }
            tracing::info!("Successful partial resynchronization with master.");
            return Outcome::Continue(ReplId::parse(rest.trim_ascii()));
        }
        if let Some(rest) = line.strip_prefix(b"+RDBCHANNELSYNC ")
            && self.settings.rdb_channel
        {
            let number = std::str::from_utf8(rest).ok();
            return match number.and_then(|n| n.trim().parse().ok()) {
                Some(main_client) => {
                    tracing::info!("PSYNC is not possible, initialize RDB channel.");
                    Outcome::Side(main_client)
                }
                None => Outcome::Failed(format!(
                    "Master replied with wrong +RDBCHANNELSYNC syntax: {text}"
                )),
            };
        }
        if line.starts_with(b"-NOMASTERLINK") || line.starts_with(b"-LOADING") {
            return Outcome::TryLater(format!(
                "Master is currently unable to PSYNC but should be in the future: {text}"
            ));
        }
        if line.starts_with(b"-ERR") {
            tracing::info!("Master does not support PSYNC or is in error state (reply: {text})");
        } else {
            tracing::warn!("Unexpected reply to PSYNC from master: {text}");
        }
        tracing::info!("Retrying with SYNC...");
        self.output.extend_from_slice(b"SYNC\r\n");
        Outcome::Full(None)
    }
}

/// Notes an error that does no harm.
fn grumble(is_error: bool, what: &str, reply: &str) {
    if is_error {
        tracing::info!("(Non critical) Master does not understand REPLCONF {what}: {reply}");
    }
}

/// ` <id> <offset>`
fn full_point(rest: &[u8]) -> Option<(ReplId, u64)> {
    let mut words = rest.split(|b| *b == b' ').filter(|w| !w.is_empty());
    let id = ReplId::parse(words.next()?)?;
    let offset = std::str::from_utf8(words.next()?)
        .ok()?
        .trim()
        .parse()
        .ok()?;
    Some((id, offset))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

    fn text(h: &mut Handshake) -> String {
        let out = String::from_utf8(h.poll_output()).unwrap();
        let words = out.split("\r\n").filter(|w| !w.starts_with(['*', '$']));
        words.collect::<Vec<_>>().join(" ").trim().to_owned()
    }

    fn id() -> ReplId {
        ReplId::parse(ID.as_bytes()).unwrap()
    }

    fn at_psync(settings: Settings) -> Handshake {
        let lines = 2 + usize::from(settings.password.is_some());
        let mut h = Handshake::new(settings, 0);
        h.handle_line(b"+PONG", 0);
        for _ in 0..lines {
            h.handle_line(b"+OK", 0);
        }
        h.poll_output();
        h
    }

    /// A blank line, by which the primary shows that it is there, is no answer yet.
    fn asks_for_everything(mut h: Handshake) {
        assert_eq!(text(&mut h), "PSYNC ? -1");
        h.handle_line(b"", 4);
        assert_eq!(h.poll_outcome(), None);
        h.handle_line(format!("+FULLRESYNC {ID} 77").as_bytes(), 5);
        assert_eq!(h.poll_outcome(), Some(Outcome::Full(Some((id(), 77)))));
    }

    #[test]
    fn a_replica_introduces_itself_and_asks_for_everything_when_it_knows_nothing() {
        let mut h = Handshake::new(
            Settings {
                port: 6380,
                timeout_ms: 1000,
                ..Settings::default()
            },
            0,
        );
        assert_eq!(text(&mut h), "PING");
        h.handle_line(b"+PONG", 1);
        assert_eq!(
            text(&mut h),
            "REPLCONF listening-port 6380 REPLCONF capa eof capa psync2"
        );
        h.handle_line(b"+OK", 2);
        h.handle_line(b"+OK", 3);
        asks_for_everything(h);
    }

    #[test]
    fn a_name_and_an_address_are_told_and_errors_about_them_do_no_harm() {
        let mut h = Handshake::new(
            Settings {
                user: Some(b"u".to_vec()),
                password: Some(b"p w".to_vec()),
                port: 1,
                announce_ip: Some("10.0.0.1".to_owned()),
                resume: Some((id(), 100)),
                rdb_channel: false,
                timeout_ms: 1000,
            },
            0,
        );
        h.handle_line(b"-NOAUTH Authentication required.", 0);
        assert!(text(&mut h).contains("AUTH u p w REPLCONF listening-port 1 REPLCONF ip-address"));
        h.handle_line(b"+OK", 0);
        for _ in 0..3 {
            h.handle_line(b"-ERR unknown", 0);
        }
        assert_eq!(text(&mut h), format!("PSYNC {ID} 101"));
        h.handle_line(b"+CONTINUE", 0);
        assert_eq!(h.poll_outcome(), Some(Outcome::Continue(None)));
    }

    #[test]
    fn a_data_set_may_come_over_a_second_connection() {
        let settings = Settings {
            password: Some(b"p".to_vec()),
            port: 7,
            rdb_channel: true,
            timeout_ms: 1000,
            ..Settings::default()
        };
        let mut h = Handshake::new(settings.clone(), 0);
        h.handle_line(b"+PONG", 0);
        assert!(text(&mut h).ends_with("REPLCONF capa eof capa psync2 capa rdb-channel-repl"));
        for _ in 0..3 {
            h.handle_line(b"+OK", 0);
        }
        h.handle_line(b"+RDBCHANNELSYNC 16", 0);
        assert_eq!(h.poll_outcome(), Some(Outcome::Side(16)));
        let mut side = Handshake::of_side(settings, 16, 0);
        assert_eq!(text(&mut side), "AUTH p");
        side.handle_line(b"+OK", 0);
        assert_eq!(
            text(&mut side),
            "REPLCONF capa eof rdb-only 1 rdb-channel 1 main-ch-client-id 16 listening-port 7"
        );
        side.handle_line(b"+OK", 0);
        asks_for_everything(side);
    }

    #[test]
    fn a_second_connection_that_is_refused_failed() {
        for (lines, word) in [
            (&["-ERR Unrecognized RDB client id: 9"][..], "refuses"),
            (&["+OK", "-ERR no"][..], "Unexpected"),
        ] {
            let mut side = Handshake::of_side(Settings::default(), 9, 0);
            for line in lines {
                side.handle_line(line.as_bytes(), 0);
            }
            let Some(Outcome::Failed(reason)) = side.poll_outcome() else {
                panic!("{lines:?}");
            };
            assert!(reason.contains(word), "{reason}");
        }
        let mut h = at_psync(Settings {
            rdb_channel: true,
            ..Settings::default()
        });
        h.handle_line(b"+RDBCHANNELSYNC x", 0);
        assert!(matches!(h.poll_outcome(), Some(Outcome::Failed(_))));
    }

    #[test]
    fn the_history_may_have_changed_its_name() {
        let mut h = at_psync(Settings {
            resume: Some((id(), 5)),
            timeout_ms: 1,
            ..Settings::default()
        });
        let new = "b".repeat(40);
        h.handle_line(format!("+CONTINUE {new}").as_bytes(), 0);
        let new = ReplId::parse(new.as_bytes());
        assert_eq!(h.poll_outcome(), Some(Outcome::Continue(new)));
    }

    #[test]
    fn a_wrong_password_ends_it() {
        let mut h = Handshake::new(
            Settings {
                password: Some(b"x".to_vec()),
                ..Settings::default()
            },
            0,
        );
        h.handle_line(b"+PONG", 0);
        h.handle_line(b"-WRONGPASS invalid", 0);
        let expected = "Unable to AUTH to MASTER: -WRONGPASS invalid".to_owned();
        assert_eq!(h.poll_outcome(), Some(Outcome::Failed(expected)));
    }

    #[test]
    fn a_primary_that_is_busy_is_asked_again_and_one_that_is_old_is_asked_by_sync() {
        let mut h = at_psync(Settings::default());
        h.handle_line(
            b"-NOMASTERLINK Can't SYNC while not connected with my master",
            0,
        );
        assert!(matches!(h.poll_outcome(), Some(Outcome::TryLater(_))));
        let mut h = at_psync(Settings::default());
        h.handle_line(b"-ERR unknown command 'PSYNC'", 0);
        assert_eq!(h.poll_outcome(), Some(Outcome::Full(None)));
        assert_eq!(h.poll_output(), b"SYNC\r\n");
        let mut h = at_psync(Settings::default());
        h.handle_line(b"+FULLRESYNC short 1", 0);
        assert_eq!(h.poll_outcome(), Some(Outcome::Full(None)));
        assert!(h.poll_output().is_empty());
    }

    #[test]
    fn silence_is_borne_for_the_timeout_and_newlines_prolong_it() {
        let mut h = at_psync(Settings {
            timeout_ms: 100,
            ..Settings::default()
        });
        h.handle_time(99);
        assert_eq!(h.poll_outcome(), None);
        h.handle_line(b"", 99);
        h.handle_time(198);
        assert_eq!(h.poll_outcome(), None);
        h.set_timeout_ms(50);
        h.handle_time(148);
        assert_eq!(h.poll_outcome(), None);
        h.handle_time(149);
        assert!(matches!(h.poll_outcome(), Some(Outcome::Failed(_))));
    }

    #[test]
    fn a_continuation_that_nobody_asked_for_is_refused() {
        let mut h = at_psync(Settings::default());
        h.handle_line(b"+CONTINUE", 0);
        assert!(matches!(h.poll_outcome(), Some(Outcome::Failed(_))));
    }
}

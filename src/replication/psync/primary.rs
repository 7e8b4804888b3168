//! What a primary answers to PSYNC: go on from where the replica stands, or begin anew.
//!
//! Every refusal has its own reason, with what was asked and what there is, in Redis's sentences.

use crate::replication::history::{History, as_wire};

/// What the replica asked for.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// The history it knows; `?` if none.
    pub replid: &'a [u8],
    /// The first byte it wants.
    pub offset: i64,
}

impl Request<'_> {
    /// The replica wants a full sync.
    pub fn is_forced_full(&self) -> bool {
        self.replid.first() == Some(&b'?')
    }
}

/// What is kept of the stream.
#[derive(Clone, Copy, Debug)]
pub struct Kept {
    /// Bytes of stream before the oldest byte kept; `None` without a backlog.
    pub first: Option<u64>,
    /// Bytes of stream in all.
    pub end: u64,
}

/// The replica may continue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Partial {
    /// Bytes of stream that it has.
    pub from: u64,
    /// Bytes that it is sent at once.
    pub missing: u64,
}

/// Why a full sync is needed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The replica asked for it.
    #[error("Full resync requested by replica {replica}")]
    Requested {
        /// The replica.
        replica: String,
    },
    /// Its history is not ours.
    #[error(
        "Partial resynchronization not accepted: Replication ID mismatch (Replica asked for \
         '{asked}', my replication IDs are '{id}' and '{id2}')"
    )]
    OtherHistory {
        /// The history it asked for.
        asked: String,
        /// Ours.
        id: String,
        /// Our second one.
        id2: String,
    },
    /// It went further along our old history than we did.
    #[error(
        "Partial resynchronization not accepted: Requested offset for second ID was {asked}, but \
         I can reply up to {limit}"
    )]
    BeyondSecond {
        /// The byte it asked for.
        asked: i64,
        /// The last one we can say something about.
        limit: i64,
    },
    /// What it asks for is not kept.
    #[error(
        "Unable to partial resync with replica {replica} for lack of backlog (Replica request \
         was: {asked})."
    )]
    NotKept {
        /// The replica.
        replica: String,
        /// The byte it asked for.
        asked: i64,
        /// It asked for what does not exist yet.
        ahead: bool,
    },
}

/// Whether a replica that follows another server's stream, as we do, has come further along it than
/// we have: a little later its request can be granted.
pub fn is_ahead(history: &History, kept: Kept, request: Request<'_>) -> bool {
    history.id.is(request.replid) && kept.first.is_some() && request.offset > as_wire(kept.end)
}

/// Decides on a request.
///
/// # Errors
/// Why the replica must be given everything.
pub fn decide(
    history: &History,
    kept: Kept,
    request: Request<'_>,
    replica: &str,
) -> Result<Partial, Refusal> {
    let of_ours = history.id.is(request.replid);
    let of_second = history.second_offset >= 0 && history.id2.is(request.replid);
    let known = of_ours || of_second && request.offset <= history.second_offset;
    if !known {
        return Err(if request.is_forced_full() {
            Refusal::Requested {
                replica: replica.to_owned(),
            }
        } else if of_second {
            Refusal::BeyondSecond {
                asked: request.offset,
                limit: history.second_offset,
            }
        } else {
            Refusal::OtherHistory {
                asked: String::from_utf8_lossy(request.replid).into_owned(),
                id: history.id.to_string(),
                id2: history.id2.to_string(),
            }
        });
    }
    let not_kept = || Refusal::NotKept {
        replica: replica.to_owned(),
        asked: request.offset,
        ahead: request.offset > as_wire(kept.end),
    };
    let first = kept.first.ok_or_else(not_kept)?;
    let from = request
        .offset
        .checked_sub(1)
        .and_then(|from| u64::try_from(from).ok())
        .filter(|from| (first..=kept.end).contains(from))
        .ok_or_else(not_kept)?;
    Ok(Partial {
        from,
        missing: kept.end - from,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::replication::history::ReplId;

    const OURS: &[u8; 40] = b"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
    const OLD: &[u8; 40] = b"bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";
    const ALIEN: &[u8; 40] = b"cccccccccccccccccccccccccccccccccccccccc";

    fn ask(replid: &[u8], offset: i64, kept: Kept) -> Result<Partial, Refusal> {
        let history = History {
            id: ReplId::parse(OURS).unwrap(),
            id2: ReplId::parse(OLD).unwrap(),
            second_offset: 51,
        };
        decide(&history, kept, Request { replid, offset }, "r:1")
    }

    const KEPT: Kept = Kept {
        first: Some(20),
        end: 100,
    };

    #[test]
    fn a_replica_of_our_history_continues_from_any_byte_that_is_kept() {
        let whole = Partial {
            from: 20,
            missing: 80,
        };
        assert_eq!(ask(OURS, 21, KEPT), Ok(whole));
        let nothing = Partial {
            from: 100,
            missing: 0,
        };
        assert_eq!(ask(OURS, 101, KEPT), Ok(nothing));
        assert!(ask(&OURS.to_ascii_uppercase(), 101, KEPT).is_ok());
    }

    #[test]
    fn what_is_not_kept_any_more_or_not_yet_written_is_refused() {
        for (asked, is_ahead) in [
            (20, false),
            (0, false),
            (-1, false),
            (i64::MIN, false),
            (102, true),
        ] {
            match ask(OURS, asked, KEPT) {
                Err(Refusal::NotKept { ahead, .. }) => assert_eq!(ahead, is_ahead, "{asked}"),
                other => panic!("{other:?}"),
            }
        }
        let none = Kept {
            first: None,
            end: 100,
        };
        let text = ask(OURS, 50, none).unwrap_err().to_string();
        assert_eq!(
            text,
            "Unable to partial resync with replica r:1 for lack of backlog (Replica request was: \
             50)."
        );
    }

    #[test]
    fn the_second_history_is_good_up_to_the_promotion() {
        assert!(ask(OLD, 51, KEPT).is_ok());
        assert_eq!(
            ask(OLD, 52, KEPT).unwrap_err().to_string(),
            "Partial resynchronization not accepted: Requested offset for second ID was 52, but I \
             can reply up to 51"
        );
    }

    #[test]
    fn another_history_is_refused_by_name_and_a_wish_for_everything_is_no_error() {
        let text = ask(ALIEN, 30, KEPT).unwrap_err().to_string();
        assert!(text.contains("Replica asked for 'ccccc"), "{text}");
        assert!(text.contains("IDs are 'aaaa") && text.contains("and 'bbbb"));
        let text = ask(b"?", -1, KEPT).unwrap_err().to_string();
        assert_eq!(text, "Full resync requested by replica r:1");
    }

    #[test]
    fn a_server_without_a_past_does_not_take_zeroes_for_one() {
        let history = History::of(ReplId::parse(OURS).unwrap());
        let request = Request {
            replid: &[b'0'; 40],
            offset: -1,
        };
        let refusal = decide(&history, KEPT, request, "r:1").unwrap_err();
        assert!(matches!(refusal, Refusal::OtherHistory { .. }));
    }

    #[test]
    fn a_replica_that_is_ahead_in_our_present_history_alone_is_worth_waiting_for() {
        let history = History {
            id: ReplId::parse(OURS).unwrap(),
            id2: ReplId::parse(OLD).unwrap(),
            second_offset: 900,
        };
        let kept = Kept {
            first: Some(0),
            end: 1000,
        };
        let ahead = |replid, offset, kept| is_ahead(&history, kept, Request { replid, offset });
        assert!(ahead(OURS.as_slice(), 1002, kept));
        assert!(!ahead(OURS.as_slice(), 1001, kept));
        assert!(!ahead(OLD.as_slice(), 1002, kept));
        let none = Kept {
            first: None,
            ..kept
        };
        assert!(!ahead(OURS.as_slice(), 1002, none));
    }
}

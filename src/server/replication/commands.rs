//! What commands ask of replication.

use std::sync::Arc;
use std::time::Duration;

use crate::command::blocking::ROLE_CHANGED;
use crate::command::ctx::{CommandError, Later, Suspended};
use crate::command::host::{Replicating, Role, WaitRequest};
use crate::command::session::ReplicaFacts;
use crate::config::PrimaryAddress;
use crate::oplog::durable::Need;
use crate::resp::errors;

use super::{LinkState, Replication};

const NO_LINK: &str = "NOMASTERLINK Can't SYNC while not connected with my master";

impl Replicating for Arc<Replication> {
    fn replicaof(&self, host: &str, port: u16, locked: bool) -> bool {
        let host = host.to_owned();
        self.set_primary(PrimaryAddress { host, port }, locked)
    }

    fn promote(&self, locked: bool) -> bool {
        Replication::promote(self, locked)
    }

    fn role(&self) -> Role {
        Replication::role(self)
    }

    fn info(&self) -> String {
        Replication::info(self)
    }

    fn change_id(&self) {
        Replication::change_id(self);
    }

    fn may_sync(&self, facts: &ReplicaFacts) -> Result<(), CommandError> {
        let s = self.state.lock();
        if s.primary.is_some() && s.link != LinkState::Connected {
            return Err(CommandError::new(NO_LINK));
        }
        if (facts.filter_data || facts.filter_functions) && !facts.capa_eof {
            return Err(CommandError::new(
                "ERR Filtered replica requires EOF capability",
            ));
        }
        if facts.rdb_channel && facts.main_client.is_none() {
            return Err(CommandError::new(
                "ERR rdb-channel needs the id of the main channel's client",
            ));
        }
        Ok(())
    }

    fn awaits_side(&self, main_client: u64) -> bool {
        self.mains.is_awaited(main_client)
    }

    fn pause_at(&self, place: &[u8]) -> bool {
        Replication::pause_at(self, place)
    }

    fn acknowledged(&self, request: &WaitRequest) -> (bool, usize) {
        let log = &self.engine.log;
        let local = request.local.is_none()
            || log.durability().need() != Need::Nothing
                && log.durability().synced_offset() >= request.offset;
        let replicas = if request.local.is_some() {
            self.replicas.synced(request.offset)
        } else {
            self.replicas.acknowledged(request.offset)
        };
        (local, replicas)
    }

    fn wait(&self, request: WaitRequest) -> Suspended {
        let me = Arc::clone(self);
        let acks = &self.engine.blocked.acks;
        let mut wait = acks.begin(request.client, request.timeout_ms > 0);
        Box::pin(async move {
            let enough = |me: &Arc<Replication>| {
                let (local, replicas) = me.acknowledged(&request);
                replicas >= request.replicas && (local || request.local != Some(true))
            };
            let waiting = async {
                me.request_acks();
                loop {
                    let changed = me.replicas.on_change();
                    tokio::pin!(changed);
                    changed.as_mut().enable();
                    if me.state.lock().primary.is_some() {
                        return Err(ROLE_CHANGED);
                    }
                    if request.local == Some(true)
                        && me.engine.log.durability().need() == Need::Nothing
                    {
                        return Err(errors::WAITAOF_WITHOUT_AOF);
                    }
                    if enough(&me) {
                        return Ok(());
                    }
                    // Our own disk tells nobody but those who wait for replies.
                    let look_again = Duration::from_millis(10);
                    tokio::select! {
                        () = changed => {}
                        () = tokio::time::sleep(look_again), if request.local == Some(true) => {}
                    }
                }
            };
            let waiting = async {
                tokio::select! {
                    waited = waiting => waited,
                    end = wait.ended() => end.map_or(Ok(()), Err),
                }
            };
            let waited = match request.timeout_ms {
                0 => waiting.await,
                ms => tokio::time::timeout(Duration::from_millis(ms), waiting)
                    .await
                    .unwrap_or(Ok(())),
            };
            drop(wait);
            let later: Later = Box::new(move |_, reply| {
                if let Err(why) = waited {
                    return reply.error(why);
                }
                let (local, replicas) = me.acknowledged(&request);
                if request.local.is_some() {
                    reply.array(2);
                    reply.int(i64::from(local));
                }
                reply.len_int(replicas);
            });
            later
        })
    }
}

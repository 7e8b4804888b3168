//! `maxmemory-clients`: what all connections together may take.
//!
//! While there is a limit, each connection follows what it takes itself as it reads and writes, and
//! cron counts all anew. Whoever finds the sum above the limit has the largest connections closed
//! until it is below. Replicas and the link to a primary are not counted, they have limits of their
//! own, and a connection with CLIENT NO-EVICT is counted and spared.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::client::{Client, ClientKind};
use crate::config::{MemoryOrPercent, Settings};

use super::engine::Engine;

/// The limit that these settings stand for, in bytes; 0 for none.
fn limit(settings: &Settings) -> u64 {
    match settings.network.maxmemory_clients {
        MemoryOrPercent::Bytes(bytes) => bytes,
        MemoryOrPercent::Percent(percent) => {
            let all = u128::from(settings.memory.maxmemory);
            u64::try_from(all * u128::from(percent) / 100).unwrap_or(u64::MAX)
        }
    }
}

impl Engine {
    /// Puts the limit of these settings in force.
    pub fn limit_clients(&self, settings: &Settings) {
        self.clients.set_memory_limit(limit(settings));
        self.evict_clients();
    }

    /// Closes the largest connections if all together take more than they may.
    pub fn evict_clients(&self) {
        let limit = self.clients.memory_limit();
        if limit == 0 {
            return;
        }
        let _evicting = self.clients.evicting.lock();
        let mut sum = self.clients.account_all();
        if sum <= limit {
            return;
        }
        let may_go = |c: &Arc<Client>| {
            let kind = matches!(c.kind(), ClientKind::Normal | ClientKind::Pubsub);
            kind && !c.is_killed() && !c.no_evict.load(Ordering::Relaxed)
        };
        let clients = self.clients.all();
        let sized = clients.iter().filter(|c| may_go(c));
        let mut largest: Vec<(u64, &Arc<Client>)> = sized.map(|c| (c.memory_bytes(), c)).collect();
        largest.sort_unstable_by_key(|(bytes, c)| (std::cmp::Reverse(*bytes), c.id));
        for (bytes, client) in largest {
            if sum <= limit {
                return;
            }
            tracing::info!(
                "Evicting client: id={} addr={} tot-mem={bytes}",
                client.id,
                client.addr
            );
            self.blocked.cancel(client.id);
            client.kill();
            self.clients.forget(client.id);
            self.clients.evicted.fetch_add(1, Ordering::Relaxed);
            sum = sum.saturating_sub(bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::Ordering;

    use crate::client::registry::NewClient;
    use crate::client::{Client, ClientKind};
    use crate::command::testing::TestServer;

    fn client(t: &TestServer, query_bytes: u64) -> Arc<Client> {
        let client = t.engine.clients.register(NewClient::default(), 0);
        client.query_buffer.store(query_bytes, Ordering::Relaxed);
        client
    }

    #[test]
    fn the_largest_go_until_the_rest_may_stay() {
        let t = TestServer::new();
        let sizes = [100_000, 300_000, 200_000, 400_000, 900_000];
        let clients = sizes.map(|bytes| client(&t, bytes));
        clients[3].no_evict.store(true, Ordering::Relaxed);
        clients[4].set_kind(ClientKind::Replica);
        t.engine.clients.set_memory_limit(750_000);
        t.engine.evict_clients();
        let gone = clients.each_ref().map(|c| c.is_killed());
        assert_eq!(gone, [false, true, false, false, false]);
        let listed = clients
            .each_ref()
            .map(|c| t.engine.clients.get(c.id).is_some());
        assert_eq!(listed, gone.map(|gone| !gone));
        assert_eq!(t.engine.clients.evicted.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn a_connection_that_grows_tells_when_all_are_too_large() {
        let t = TestServer::new();
        let (small, large) = (client(&t, 1000), client(&t, 1000));
        t.engine.clients.set_memory_limit(100_000);
        t.engine.evict_clients();
        large.query_buffer.store(90_000, Ordering::Relaxed);
        assert!(!t.engine.clients.account(&large));
        small.multi_bytes.store(20_000, Ordering::Relaxed);
        assert!(t.engine.clients.account(&small));
        t.engine.clients.forget(large.id);
        assert!(!t.engine.clients.account(&small));
    }

    #[test]
    fn a_share_of_maxmemory_is_a_limit() {
        let mut t = TestServer::new();
        t.run("CONFIG SET maxmemory 1000000 maxmemory-clients 7%");
        t.engine.limit_clients(&t.engine.config.settings());
        assert_eq!(t.engine.clients.memory_limit(), 70_000);
    }
}

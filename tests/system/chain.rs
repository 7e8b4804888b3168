//! Five servers in a chain that is laid anew again and again under a write load, as after a row of
//! failovers. All of them have one history, so after the first full sync of each replica every
//! change has to cost partial resyncs alone.

use crate::interop::{Load, assert_equal_data, plain, write_some};
use crate::support::{Client, Dice, Server, Setup, rounds, wait_until};
use std::time::Duration;

const SOON: Duration = Duration::from_secs(30);
const SERVERS: usize = 5;

struct Chain {
    servers: Vec<Server>,
    clients: Vec<Client>,
    dice: Dice,
    primary: usize,
}

impl Chain {
    /// All servers replicate from the first.
    fn start(seed: u64) -> Self {
        let setup = || {
            // A PING that its primary sends while the chain is laid anew is a byte that only some
            // replicas have: here none may come between.
            plain(Setup::russet())
                .set("repl-ping-replica-period", &["3600"])
                .set("enable-debug-command", &["yes"])
        };
        let servers: Vec<Server> = (0..SERVERS).map(|_| setup().start()).collect();
        let clients = servers.iter().map(Server::client).collect();
        let mut chain = Self {
            servers,
            clients,
            dice: Dice::new(seed),
            primary: 0,
        };
        write_some(&mut chain.clients[0], seed, 2_000);
        for replica in 1..SERVERS {
            chain.attach(replica, 0);
        }
        chain
    }

    fn attach(&mut self, replica: usize, primary: usize) {
        let port = self.servers[primary].port().to_string();
        self.clients[replica].text(&["REPLICAOF", "127.0.0.1", &port]);
        // Who comes later may know the new history's name already, and ask for it here.
        wait_until("the link to come up", SOON, || {
            let id = self.clients[self.primary].info("master_replid");
            let client = &mut self.clients[replica];
            client.info("master_link_status") == "up" && client.info("master_replid") == id
        });
    }

    fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.dice.below(limit as u64)).unwrap()
    }

    /// Promotes a server and attaches the others to it, directly or to one that is attached
    /// already, in any order, while the new primary is written to.
    fn lay_anew(&mut self) {
        self.wait_for_equal_offsets();
        self.primary = self.below(SERVERS);
        self.clients[self.primary].ok(&["REPLICAOF", "NO", "ONE"]);
        let load = Load::on(&self.servers[self.primary]);
        let mut attached = vec![self.primary];
        let mut others: Vec<usize> = (0..SERVERS).filter(|&n| n != self.primary).collect();
        while !others.is_empty() {
            let which = self.below(others.len());
            let replica = others.swap_remove(which);
            let among = self.below(attached.len());
            self.attach(replica, attached[among]);
            attached.push(replica);
        }
        for _ in 0..3 {
            let victim = self.below(SERVERS);
            self.clients[victim].int(&["CLIENT", "KILL", "TYPE", "master"]);
            std::thread::sleep(Duration::from_millis(5));
        }
        load.stop();
    }

    fn wait_for_equal_offsets(&mut self) {
        let end = self.clients[self.primary].info("master_repl_offset");
        for (n, client) in self.clients.iter_mut().enumerate() {
            wait_until("every server to have everything", SOON, || {
                client.info("master_repl_offset") == end
                    && (n == self.primary || client.info("master_link_status") == "up")
            });
        }
    }

    fn full_syncs(&mut self) -> u64 {
        let all = self.clients.iter_mut();
        all.map(|c| c.info_number("sync_full")).sum()
    }

    fn logs(&self) -> String {
        let logs = self.servers.iter().map(|s| s.log());
        let lines = logs.flat_map(|log| log.lines().map(str::to_owned).collect::<Vec<_>>());
        let refusals = lines.filter(|l| l.contains("not accepted") || l.contains("Unable to"));
        refusals.collect::<Vec<_>>().join("\n")
    }
}

#[test]
fn a_chain_that_is_laid_anew_takes_no_full_sync() {
    for seed in [1, 2, 3] {
        let mut chain = Chain::start(seed);
        assert_eq!(chain.full_syncs(), SERVERS as u64 - 1);
        for round in 0..rounds("RUSSET_RESHAPES", 8) {
            chain.lay_anew();
            let full = chain.full_syncs();
            assert_eq!(
                full,
                SERVERS as u64 - 1,
                "seed {seed}, round {round}\n{}",
                chain.logs()
            );
        }
        chain.wait_for_equal_offsets();
        let mut primary = chain.clients.swap_remove(chain.primary);
        for replica in &mut chain.clients {
            assert_equal_data(&mut primary, replica);
        }
    }
}

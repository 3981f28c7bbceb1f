//! Redis Cluster, and Redis watched by Sentinels.

use std::time::{Duration, Instant};

use tokio::time::sleep;

use crate::{
    client::Reply,
    redis::{Redis, RedisOptions},
    temp::free_port,
};

/// How long a cluster or a failover may take on a busy machine.
const LIMIT: Duration = Duration::from_mins(1);
const SLOTS: usize = 16_384;
/// How long a node may be silent until the others vote on its replacement.
const NODE_TIMEOUT: &str = "1000";

/// A cluster: masters that share the slots evenly, and a replica of each.
#[derive(Debug)]
pub struct RedisCluster {
    masters: Vec<Redis>,
    replicas: Vec<Redis>,
}

/// A master, a replica of it, and three Sentinels that watch both.
#[derive(Debug)]
pub struct RedisSentinel {
    servers: [Redis; 2],
    sentinels: Vec<Redis>,
}

impl RedisCluster {
    /// Starts a cluster of `masters` masters and as many replicas.
    ///
    /// # Panics
    /// When a node does not start, or the nodes do not come together.
    pub async fn start(masters: usize) -> Self {
        let mut nodes = Vec::new();
        for _ in 0..2 * masters {
            let bus = free_port();
            let settings = [
                ("cluster-enabled", "yes"),
                ("cluster-port", &bus.to_string()),
                ("cluster-node-timeout", NODE_TIMEOUT),
                // A replica that has seen no master for a while may replace it all the same.
                ("cluster-replica-validity-factor", "0"),
            ]
            .map(|(name, value)| (name.to_owned(), value.to_owned()));
            let node = Redis::start(RedisOptions { settings: settings.into(), ..RedisOptions::default() }).await;
            if let Some((first, _)) = nodes.first() {
                let (first, port, bus): (&Redis, String, String) = (first, node.port().to_string(), bus.to_string());
                first.cli(&["CLUSTER", "MEET", "127.0.0.1", &port, &bus]).await;
            }
            nodes.push((node, bus));
        }
        let mut nodes: Vec<Redis> = nodes.into_iter().map(|(node, _)| node).collect();
        let replicas = nodes.split_off(masters);
        let cluster = Self { masters: nodes, replicas };
        for (number, master) in cluster.masters.iter().enumerate() {
            let first = SLOTS * number / masters;
            let last = SLOTS * (number + 1) / masters - 1;
            master.cli(&["CLUSTER", "ADDSLOTSRANGE", &first.to_string(), &last.to_string()]).await;
        }
        for node in cluster.nodes() {
            let known = format!("cluster_known_nodes:{}", 2 * masters);
            wait_for(node, &["CLUSTER", "INFO"], |info| info.contains("cluster_state:ok") && info.contains(&known))
                .await;
        }
        for (replica, master) in cluster.replicas.iter().zip(&cluster.masters) {
            let id = master.cli(&["CLUSTER", "MYID"]).await;
            replica.cli(&["CLUSTER", "REPLICATE", &id]).await;
            wait_for(replica, &["INFO", "replication"], |info| info.contains("master_link_status:up")).await;
        }
        // Until each master knows of its replica, nobody would replace it.
        for master in &cluster.masters {
            wait_for(master, &["INFO", "replication"], |info| info.contains("connected_slaves:1")).await;
        }
        cluster
    }

    /// The URL for clients.
    pub fn url(&self) -> String {
        let hosts: Vec<String> = self.nodes().map(|node| node.address().to_string()).collect();
        format!("redis-cluster://{}", hosts.join(","))
    }

    /// The nodes that were masters at first.
    pub fn masters(&self) -> &[Redis] {
        &self.masters
    }

    fn nodes(&self) -> impl Iterator<Item = &Redis> {
        self.masters.iter().chain(&self.replicas)
    }

    /// The number of the master that has a key's slot, as long as none was replaced.
    ///
    /// # Panics
    /// When the masters do not agree on one.
    pub async fn owner(&self, key: &str) -> usize {
        let begin = Instant::now();
        loop {
            let (mut owners, mut epochs) = (Vec::new(), Vec::new());
            for master in &self.masters {
                // A node that has not heard of the newest epoch would give a slot that it takes an epoch that another node has.
                let info = master.cli(&["CLUSTER", "INFO"]).await;
                epochs.push(info.lines().find(|line| line.starts_with("cluster_current_epoch:")).map(str::to_owned));
                let answer = master.try_cli(&["EXISTS", key]).await;
                owners.push(self.masters.iter().position(|other| match &answer {
                    Ok(_) => other.port() == master.port(),
                    Err(error) => error.contains("MOVED") && error.ends_with(&format!(":{}", other.port())),
                }));
            }
            let agree =
                owners.iter().all(|owner| *owner == owners[0]) && epochs.iter().all(|epoch| *epoch == epochs[0]);
            if let Some(owner) = owners[0].filter(|_| agree) {
                return owner;
            }
            assert!(begin.elapsed() < LIMIT, "the masters disagree on {key}: {owners:?}, {epochs:?}");
            sleep(Duration::from_millis(10)).await;
        }
    }

    /// Moves the slot of a key, with all keys in it, to the master with the number `to`.
    ///
    /// # Panics
    /// When a node refuses.
    pub async fn move_slot(&self, key: &str, to: usize) {
        let from = self.owner(key).await;
        if from == to {
            return;
        }
        let (source, target) = (&self.masters[from], &self.masters[to]);
        let slot = source.cli(&["CLUSTER", "KEYSLOT", key]).await;
        let (from_id, to_id) = (source.cli(&["CLUSTER", "MYID"]).await, target.cli(&["CLUSTER", "MYID"]).await);
        target.cli(&["CLUSTER", "SETSLOT", &slot, "IMPORTING", &from_id]).await;
        source.cli(&["CLUSTER", "SETSLOT", &slot, "MIGRATING", &to_id]).await;
        let port = target.port().to_string();
        let mut connection = source.client().await;
        loop {
            let Ok(Reply::List(keys)) = connection.call(&["CLUSTER", "GETKEYSINSLOT", &slot, "100"]).await else {
                panic!("the keys of slot {slot}")
            };
            if keys.is_empty() {
                break;
            }
            let keys: Vec<String> = keys.iter().map(Reply::text).collect();
            let mut words = vec!["MIGRATE", "127.0.0.1", &port, "", "0", "5000", "REPLACE", "KEYS"];
            words.extend(keys.iter().map(String::as_str));
            if let Reply::Error(error) = connection.call(&words).await.expect("an answer to MIGRATE") {
                panic!("{error}");
            }
        }
        // The target first: then there is no moment at which nobody has the slot.
        for node in [target, source].into_iter().chain(self.masters.iter().filter(|node| node.port() != source.port()))
        {
            node.cli(&["CLUSTER", "SETSLOT", &slot, "NODE", &to_id]).await;
        }
    }

    /// Waits until the nodes other than the master with this number have replaced it.
    ///
    /// # Panics
    /// When they do not.
    pub async fn wait_replaced(&self, number: usize) {
        let replica = &self.replicas[number];
        wait_for(replica, &["ROLE"], |role| role.starts_with("master")).await;
        for node in self.nodes().filter(|node| node.port() != self.masters[number].port()) {
            wait_for(node, &["CLUSTER", "INFO"], |info| info.contains("cluster_state:ok")).await;
        }
    }
}

impl RedisSentinel {
    /// Starts a master, a replica and three Sentinels.
    ///
    /// # Panics
    /// When one does not start, or the Sentinels do not find each other.
    pub async fn start() -> Self {
        let master = Redis::start(RedisOptions::default()).await;
        let port = master.port().to_string();
        let settings = vec![("replicaof".to_owned(), format!("127.0.0.1 {port}"))];
        let replica = Redis::start(RedisOptions { settings, ..RedisOptions::default() }).await;
        wait_for(&replica, &["INFO", "replication"], |info| info.contains("master_link_status:up")).await;
        let mut sentinels = Vec::new();
        for _ in 0..3 {
            let settings = [
                format!("monitor main 127.0.0.1 {port} 2"),
                "down-after-milliseconds main 500".to_owned(),
                "failover-timeout main 3000".to_owned(),
            ]
            .map(|value| ("sentinel".to_owned(), value));
            sentinels.push(Redis::start(RedisOptions { settings: settings.into(), ..RedisOptions::default() }).await);
        }
        for sentinel in &sentinels {
            let known = |state: &str| state.contains("num-other-sentinels\n2\n") && state.contains("num-slaves\n1\n");
            wait_for(sentinel, &["SENTINEL", "MASTER", "main"], known).await;
        }
        Self { servers: [master, replica], sentinels }
    }

    /// The URL for clients.
    pub fn url(&self) -> String {
        let hosts: Vec<String> = self.sentinels.iter().map(|sentinel| sentinel.address().to_string()).collect();
        format!("redis-sentinel://{}/main", hosts.join(","))
    }

    /// The server that was the master at first, and the one that was its replica.
    pub fn servers(&self) -> &[Redis; 2] {
        &self.servers
    }

    /// Makes the replica the master while both live.
    ///
    /// # Panics
    /// When the Sentinels refuse for long.
    pub async fn fail_over(&self) {
        let begin = Instant::now();
        // They refuse while they have just done so.
        while let Err(error) = self.sentinels[0].try_cli(&["SENTINEL", "FAILOVER", "main"]).await {
            assert!(begin.elapsed() < LIMIT, "{error}");
            sleep(Duration::from_millis(100)).await;
        }
    }

    /// Waits until the server with this number is the master, and every Sentinel says so.
    ///
    /// # Panics
    /// When it does not become it.
    pub async fn wait_master(&self, number: usize) {
        let port = self.servers[number].port().to_string();
        wait_for(&self.servers[number], &["ROLE"], |role| role.starts_with("master")).await;
        for sentinel in &self.sentinels {
            wait_for(sentinel, &["SENTINEL", "GET-MASTER-ADDR-BY-NAME", "main"], |at| at.contains(&port)).await;
        }
    }
}

/// Waits until a server answers as expected.
async fn wait_for(server: &Redis, words: &[&str], expected: impl Fn(&str) -> bool) {
    let begin = Instant::now();
    loop {
        let answer = server.try_cli(words).await.unwrap_or_else(|error| error);
        if expected(&answer) {
            return;
        }
        assert!(begin.elapsed() < LIMIT, "{}: {answer}", words.join(" "));
        sleep(Duration::from_millis(10)).await;
    }
}

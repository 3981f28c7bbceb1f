//! The processes: PostgreSQL, Redis, three replicas, and what is between them.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::anyhow;
use futures_util::future::try_join_all;
use larder_test_servers::{
    Faults, Gate, Passage, Postgres, PostgresOptions, Proxy, Redis, RedisOptions, Replica, free_port,
};

use crate::{psql::Psql, shop::Calling};

/// How many replicas there are.
pub(crate) const REPLICAS: usize = 3;
const DATABASE: &str = "larder";
/// Lines of each log that a report shows.
const LOG_LINES: usize = 3;

/// As whom a replica is known to the database, which so tells its connections from others'.
pub(crate) fn user(replica: usize) -> String {
    format!("replica_{}", replica + 1)
}

/// How a world is made.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    /// The binary `larder`.
    pub(crate) program: PathBuf,
    /// Lines of `postgresql.conf`.
    pub(crate) postgres: Vec<(String, String)>,
    /// Lines of `redis.conf`.
    pub(crate) redis: Vec<(String, String)>,
    /// Further variables of the replicas.
    pub(crate) replicas: Vec<(&'static str, String)>,
    /// Further variables of the first replica alone.
    pub(crate) first: Vec<(&'static str, String)>,
    /// Which replica the calls of the load go to.
    pub(crate) calls: Calling,
}

impl Plan {
    /// Nothing out of the ordinary.
    pub(crate) fn of(program: &Path) -> Self {
        let program = program.to_owned();
        // Some products change a hundred thousand times: without it what they were would be what takes time.
        let vacuum = ("autovacuum_naptime".to_owned(), "10s".to_owned());
        let calls = Calling::Named;
        Self { program, postgres: vec![vacuum], redis: Vec::new(), replicas: Vec::new(), first: Vec::new(), calls }
    }
}

/// A cluster in which every replica has a way of its own to Redis and to PostgreSQL. All of it ends when this is dropped,
/// and also when the process is killed.
#[derive(Debug)]
pub(crate) struct World {
    // In the order in which they end.
    replicas: Vec<Replica>,
    http: Vec<SocketAddr>,
    proxies: Vec<Proxy>,
    gates: Vec<Gate>,
    /// Redis.
    pub(crate) redis: Redis,
    /// PostgreSQL.
    pub(crate) postgres: Arc<Postgres>,
}

impl World {
    /// Starts everything, and waits until all replicas are ready.
    pub(crate) async fn start(plan: &Plan) -> anyhow::Result<Self> {
        let options = PostgresOptions { settings: plan.postgres.clone(), ..PostgresOptions::default() };
        let redis = RedisOptions { settings: plan.redis.clone(), ..RedisOptions::default() };
        let (postgres, redis) = tokio::join!(Postgres::start(options), Redis::start(redis));
        let postgres = Arc::new(postgres);
        postgres.psql("postgres", &format!("CREATE DATABASE {DATABASE}")).await;
        let (mut proxies, mut gates, mut starts) = (Vec::<Proxy>::new(), Vec::new(), Vec::new());
        let http: Vec<SocketAddr> = (0..REPLICAS).map(|_| ([127, 0, 0, 1], free_port()).into()).collect();
        for (number, http) in http.iter().enumerate() {
            let proxy = match proxies.first() {
                Some(first) => Proxy::start_beside(redis.address(), first),
                None => Proxy::start(redis.address()),
            };
            let gate = Gate::start(([127, 0, 0, 1], postgres.port()).into());
            let user = user(number);
            postgres.psql("postgres", &format!("CREATE ROLE {user} SUPERUSER LOGIN")).await;
            let mut variables = vec![
                ("DATABASE_URL", format!("postgres://{user}@{}/{DATABASE}", gate.address())),
                ("REDIS_URL", proxy.url()),
                ("LARDER_SAMPLE_CATALOGUE", "false".to_owned()),
                ("LARDER_LOG", "warn".to_owned()),
                ("LARDER_HTTP_LISTEN", http.to_string()),
                // Two processors are shared with everything else here.
                ("LARDER_WORKERS", "2".to_owned()),
            ];
            variables.extend(plan.replicas.iter().cloned());
            if number == 0 {
                variables.extend(plan.first.iter().cloned());
            }
            starts.push(async move {
                let replica = Replica::start(&plan.program, free_port(), &variables).await;
                replica.map_err(|log| anyhow!("replica {} did not become ready:\n{log}", number + 1))
            });
            proxies.push(proxy);
            gates.push(gate);
        }
        let replicas = try_join_all(starts).await?;
        Ok(Self { replicas, http, proxies, gates, redis, postgres })
    }

    /// The replicas.
    pub(crate) fn replicas(&self) -> &[Replica] {
        &self.replicas
    }

    /// Where the replicas show their metrics.
    pub(crate) fn http_addresses(&self) -> &[SocketAddr] {
        &self.http
    }

    /// What is before Redis, one for each replica.
    pub(crate) fn proxies(&self) -> &[Proxy] {
        &self.proxies
    }

    /// Puts faults in force for all replicas.
    pub(crate) fn set_faults(&self, faults: Faults) {
        for proxy in &self.proxies {
            proxy.set(faults);
        }
    }

    /// What is before PostgreSQL, one for each replica.
    pub(crate) fn gates(&self) -> &[Gate] {
        &self.gates
    }

    /// What becomes of what a replica and PostgreSQL say to each other.
    pub(crate) fn set_database(&self, replica: usize, passage: Passage) {
        self.gates[replica].set(passage);
    }

    /// The database, past every gate.
    pub(crate) fn url(&self) -> String {
        self.postgres.url(DATABASE)
    }

    /// A session of the database that knows nothing of Larder.
    pub(crate) async fn psql(&self) -> anyhow::Result<Psql> {
        Psql::start(&self.postgres.psql_program(), &self.postgres.url(DATABASE)).await
    }

    /// Whether a replica has logged something.
    pub(crate) fn has_logged(&self, replica: usize, text: &str) -> bool {
        std::fs::read_to_string(self.replicas[replica].log()).is_ok_and(|log| log.contains(text))
    }

    /// The last lines of each log that has any, for a report.
    pub(crate) fn logs(&self) -> Vec<String> {
        let mut logs = Vec::new();
        for (number, replica) in self.replicas.iter().enumerate() {
            let text = replica.last_lines();
            let lines: Vec<_> = text.lines().collect();
            let last = lines[lines.len().saturating_sub(LOG_LINES)..].iter();
            logs.extend(last.map(|line| format!("replica {} logged: {line}", number + 1)));
        }
        logs
    }
}
